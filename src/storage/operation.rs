//! One logical change, resolved: every id, time and kept value is in it, so that replay reads no previous state and
//! decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::conversation::Conversation;
use crate::model::event::Event;
use crate::model::feedback::Feedback;
use crate::model::ids::{ConversationKey, EventKey, FeedbackKey, ThreadId, ThreadKey};
use crate::model::thread::{SemanticThread, ThreadAnnotations};

/// Externally tagged, because a tagged-inside enum would lose the spelling of raw numbers while it buffers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// The whole new state; replaces what has its key.
    Upsert(Arc<Conversation>),
    Delete(ConversationKey),
    UpsertEvent(Arc<Event>),
    DeleteEvent(EventKey),
    UpsertFeedback(Arc<Feedback>),
    DeleteFeedback(FeedbackKey),
    /// Follows the upsert of a conversation and the deletions of its threads as they were.
    DeriveThreads(ThreadsOf),
    UpsertThread(Arc<SemanticThread>),
    DeleteThread(ThreadKey),
}

/// The threads to make of a conversation as it is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThreadsOf {
    pub conversation: ConversationKey,
    /// Annotations that still hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<ThreadId, ThreadAnnotations>,
}
