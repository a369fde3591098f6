//! What the conversation API changes on a stored conversation, in whose name, and whom a call may see (contract Part B).

use serde::{Deserialize, Serialize};

use super::conversation::Conversation;
use super::ids::{EpochMillis, MessageId, ThreadId};
use super::json::value::RawJson;
use super::json::{decimal, raw};
use super::thread::{AnnotationUpdate, MAX_ANNOTATION_BYTES, SemanticThread, ThreadAnnotations};

/// What `state` reads as until it is set (contract A3, Part B).
pub(crate) const UNSET_STATE: &str = "no";

/// In whose name a call was made: its headers `AGENT-EMAIL`, `USER-EMAIL` and `OWN-USER-ID`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Actor {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent_email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) own_user_id: Option<String>,
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

/// What `None` leaves as it is. An inner `None` clears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AnnotationChange {
    pub(crate) state: Option<String>,
    pub(crate) assignee: Option<Option<String>>,
    pub(crate) title: Option<Option<String>>,
    pub(crate) categories: Option<CategoryChange>,
    pub(crate) end: bool,
    /// Stops it if it is running.
    pub(crate) stop: bool,
    /// What to set on one of its threads, if it is there; no change of the conversation itself.
    pub(crate) thread: Option<(ThreadId, AnnotationUpdate)>,
}

/// By name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CategoryChange {
    Replace(Vec<String>),
    Remove(String),
}

impl Actor {
    /// Whether the caller may see a conversation: an end user sees the own ones.
    pub(crate) fn sees(&self, conversation: &Conversation) -> bool {
        let properties = conversation.user_properties.as_ref();
        self.own_user_id
            .as_deref()
            .is_none_or(|own| properties.and_then(user_id_json).is_some_and(|stored| is_user_id(stored, own)))
            && self.user_email.as_deref().is_none_or(|own| {
                let stored = properties.and_then(|raw| raw::at_path(raw.get(), &["email".to_owned()]));
                stored.and_then(raw::string_value).is_some_and(|stored| stored == own)
            })
    }
}

/// `userId`, else `id`, as JSON; null counts as absent.
fn user_id_json(properties: &RawJson) -> Option<&str> {
    let member = |name: &str| raw::at_path(properties.get(), &[name.to_owned()]).filter(|value| *value != "null");
    member("userId").or_else(|| member("id"))
}

/// Strings by text, numbers by value.
fn is_user_id(stored: &str, wanted: &str) -> bool {
    match raw::string_value(stored) {
        Some(text) => text == wanted,
        None => is_number(wanted) && decimal::compare(stored, wanted).is_eq(),
    }
}

/// Whether a text is a JSON number, so that it may mean a user id that was given as one.
pub(crate) fn is_number(text: &str) -> bool {
    text.len() <= 64 && matches!(super::json::value::parse(text.as_bytes(), 0), Ok(super::json::value::Json::Number(_)))
}

/// The text that a user's id is shown as.
pub(crate) fn user_id_text(properties: &RawJson) -> Option<String> {
    user_id_json(properties).and_then(raw::value_text).map(|text| text.into_owned())
}

impl AnnotationChange {
    /// The changed conversation; `None` where it is so already.
    pub(crate) fn apply(&self, conversation: &Conversation, by: &Actor, now: EpochMillis) -> Option<Conversation> {
        let mut annotations = conversation.annotations.clone();
        if let Some(state) = &self.state {
            annotations.state = Some(state.clone()).filter(|state| state != UNSET_STATE);
        }
        if let Some(assignee) = &self.assignee {
            annotations.assignee.clone_from(assignee);
        }
        if let Some(title) = &self.title {
            annotations.title.clone_from(title);
        }
        match &self.categories {
            None => {}
            Some(CategoryChange::Replace(names)) => {
                annotations.categories = Some(names.clone()).filter(|names| !names.is_empty());
            }
            Some(CategoryChange::Remove(name)) => {
                let kept = annotations.categories.take().map(|names| names.into_iter().filter(|one| one != name));
                annotations.categories = kept.map(Iterator::collect).filter(|names: &Vec<String>| !names.is_empty());
            }
        }
        annotations.is_end |= self.end;
        if self.stop && conversation.is_running() {
            annotations.stopped =
                conversation.last_message().map(|message| Stopped { at: now, last_message_id: message.id.clone() });
        }
        let mut updated_at = conversation.updated_at;
        if annotations != conversation.annotations {
            annotations.changed = Some(Changed { at: now, by: by.clone() });
            // Never earlier than it was: documents may carry times ahead of this clock.
            updated_at = updated_at.max(now);
        }
        if let Some((id, update)) = &self.thread
            && let Some((_, hash)) = SemanticThread::text_hashes(conversation).find(|(thread, _)| thread == id)
        {
            let before = annotations.threads.get(id).filter(|before| before.text_hash == hash);
            if !before.unwrap_or(&ThreadAnnotations::default()).has(update) {
                let after = ThreadAnnotations::after(before, hash, update, now);
                annotations.threads.insert(id.clone(), after);
            }
            if annotations.threads.values().map(ThreadAnnotations::text_bytes).sum::<usize>() > MAX_ANNOTATION_BYTES {
                annotations.threads.clone_from(&conversation.annotations.threads);
            }
        }
        if annotations == conversation.annotations {
            return None;
        }
        Some(Conversation { annotations, updated_at, ..conversation.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::document;
    use crate::model::ids::{OrganizationId, ProjectId};
    use crate::model::resolve::{Identity, resolve};

    fn conversation(user: &str, roles: &[&str]) -> Conversation {
        let messages: Vec<String> = roles.iter().map(|role| format!(r#"{{"role":"{role}","content":"x"}}"#)).collect();
        let text = format!(
            r#"{{"id":"c","type":"openai","createdAt":"2024-01-01","updatedAt":"2024-01-01","userProperties":{user},"messages":[{}]}}"#,
            messages.join(",")
        );
        let document = document::parse(text.as_bytes()).unwrap();
        let identity = Identity {
            organization_id: OrganizationId::new("o"),
            project_id: ProjectId::new("p"),
            integration_id: None,
        };
        resolve(&document, &identity, None, EpochMillis(0))
    }

    #[test]
    fn a_user_sees_the_own_conversations() {
        for (user, own, seen) in [
            (r#"{"userId":"u"}"#, "u", true),
            (r#"{"userId":"u","id":"v"}"#, "v", false),
            (r#"{"userId":null,"id":"v"}"#, "v", true),
            (r#"{"userId":7}"#, "7", true),
            (r#"{"userId":"7"}"#, "7", true),
            (r#"{"userId":7.0}"#, "7", true),
            (r#"{"userId":"7.0"}"#, "7", false),
            (r#"{"userId":"\u00fc"}"#, "ü", true),
            (r#"{"userId":"null"}"#, "null", true),
            (r#"{"userId":null}"#, "null", false),
            ("{}", "", false),
            ("null", "u", false),
        ] {
            let actor = Actor { own_user_id: Some(own.to_owned()), ..Actor::default() };
            assert_eq!(actor.sees(&conversation(user, &["user"])), seen, "{user} {own}");
        }
        let by_email = Actor { user_email: Some("a@b".to_owned()), ..Actor::default() };
        assert!(by_email.sees(&conversation(r#"{"email":"a@b"}"#, &["user"])));
        assert!(!by_email.sees(&conversation(r#"{"email":"c@b"}"#, &["user"])));
        assert!(!by_email.sees(&conversation("null", &["user"])));
        assert!(Actor::default().sees(&conversation("null", &["user"])));
    }

    #[test]
    fn what_is_so_already_is_no_change() {
        let now = EpochMillis(5);
        let stored = conversation("null", &["user", "assistant"]);
        let actor = Actor { agent_email: Some("agent@x".to_owned()), ..Actor::default() };
        for change in [
            AnnotationChange::default(),
            AnnotationChange { title: Some(None), ..AnnotationChange::default() },
            AnnotationChange { stop: true, ..AnnotationChange::default() },
            AnnotationChange {
                categories: Some(CategoryChange::Remove("a".to_owned())),
                ..AnnotationChange::default()
            },
        ] {
            assert!(change.apply(&stored, &actor, now).is_none(), "{change:?}");
        }
        let names = vec!["a".to_owned(), "b".to_owned()];
        let change = AnnotationChange {
            title: Some(Some("t".to_owned())),
            categories: Some(CategoryChange::Replace(names.clone())),
            end: true,
            ..AnnotationChange::default()
        };
        let changed = change.apply(&stored, &actor, now).unwrap();
        assert_eq!(changed.annotations.title.as_deref(), Some("t"));
        assert_eq!(changed.annotations.categories, Some(names));
        assert_eq!(changed.annotations.changed, Some(Changed { at: now, by: actor.clone() }));
        assert_eq!(changed.updated_at, stored.updated_at);
        assert!(changed.annotations.is_end && change.apply(&changed, &actor, now).is_none());
        let removal = |name: &str| AnnotationChange {
            categories: Some(CategoryChange::Remove(name.to_owned())),
            ..AnnotationChange::default()
        };
        let left = removal("a").apply(&changed, &actor, now).unwrap();
        assert_eq!(left.annotations.categories, Some(vec!["b".to_owned()]));
        assert_eq!(removal("b").apply(&left, &actor, now).unwrap().annotations.categories, None);
    }

    #[test]
    fn a_stop_holds_until_the_next_message() {
        let stop = AnnotationChange { stop: true, ..AnnotationChange::default() };
        let running = conversation("null", &["assistant", "user"]);
        assert!(running.is_running() && !conversation("null", &["user", "assistant"]).is_running());
        let mut stopped = stop.apply(&running, &Actor::default(), EpochMillis(9)).unwrap();
        assert!(!stopped.is_running());
        let mut next = stopped.messages[1].clone();
        next.id = MessageId::new("next");
        stopped.messages.push(next);
        assert!(stopped.is_running());
        stopped.annotations.is_end = true;
        assert!(!stopped.is_running());
    }
}
