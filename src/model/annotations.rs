//! What is kept of a conversation beside its document; it survives a re-log (contract A4, Part B).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::actor::Actor;
use super::ids::{EpochMillis, MessageId, ThreadId, WalPosition};
use super::thread_annotations::ThreadAnnotations;

/// What `state` reads as until it is set (contract A3, Part B).
pub(crate) const UNSET_STATE: &str = "no";

/// What Part B of the contract sets on a conversation, and what its walks need to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Annotations {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    /// `None` reads as `"no"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) assignee: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) categories: Option<Vec<String>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_end: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memo: Option<String>,
    /// No field of the query language, like `changed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stopped: Option<Stopped>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) changed: Option<Changed>,
    /// The object of the log with the last re-log that gave it another `createdAt`; `None`: it has the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) moved: Option<WalPosition>,
    /// Of threads (contract A4).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) threads: BTreeMap<ThreadId, ThreadAnnotations>,
}

impl Annotations {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// About how many bytes their JSON has.
    pub(super) fn text_bytes(&self) -> usize {
        let Annotations { title, state, assignee, categories, is_end: _, memo, stopped, changed, moved: _, threads } =
            self;
        let texts = [title, state, assignee, memo].into_iter().flatten().map(String::len).sum::<usize>();
        let by = changed.as_ref().map_or(0, |changed| {
            let Actor { agent_email, user_email, own_user_id } = &changed.by;
            128 + [agent_email, user_email, own_user_id].into_iter().flatten().map(String::len).sum::<usize>()
        });
        texts
            + by
            + list_bytes(categories.as_deref())
            + stopped.as_ref().map_or(0, |stopped| 64 + stopped.last_message_id.as_str().len())
            + threads.iter().map(|(id, thread)| id.as_str().len() + thread.text_bytes()).sum::<usize>()
    }

    /// As they are stored; `None` where nothing is set.
    pub(crate) fn to_json(&self) -> Option<String> {
        // Maps with string keys always serialise.
        if self.is_default() { None } else { serde_json::to_string(self).ok() }
    }

    pub(crate) fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

/// The last change that was made through Part B.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Changed {
    pub(crate) at: EpochMillis,
    pub(crate) by: Actor,
}

/// A stop holds until a message comes after the one that was the last then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stopped {
    pub(crate) at: EpochMillis,
    pub(crate) last_message_id: MessageId,
}

/// With what a list has around each of its texts; in memory that is a little more.
pub(super) fn list_bytes(texts: Option<&[String]>) -> usize {
    texts.unwrap_or_default().iter().map(|text| text.len() + size_of::<String>()).sum()
}
