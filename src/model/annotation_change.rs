//! What the conversation API changes on a stored conversation (contract Part B).

use super::actor::Actor;
use super::annotations::{Changed, Stopped, UNSET_STATE};
use super::conversation::Conversation;
use super::ids::{EpochMillis, ThreadId};
use super::thread::SemanticThread;
use super::thread_annotations::{AnnotationUpdate, MAX_ANNOTATION_BYTES, ThreadAnnotations};

/// What `None` leaves as it is. An inner `None` clears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AnnotationChange {
    pub(crate) state: Option<String>,
    pub(crate) assignee: Option<Option<String>>,
    pub(crate) title: Option<Option<String>>,
    pub(crate) memo: Option<Option<String>>,
    pub(crate) categories: Option<CategoryChange>,
    pub(crate) end: bool,
    /// Stops it if it is running.
    pub(crate) stop: bool,
    /// A chat of it was rated, which changes nothing but the time of the last change.
    pub(crate) rated: bool,
    /// What to set on one of its threads, if it is there; no change of the conversation itself.
    pub(crate) thread: Option<(ThreadId, AnnotationUpdate)>,
}

/// By name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CategoryChange {
    Replace(Vec<String>),
    Remove(String),
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
        if let Some(memo) = &self.memo {
            annotations.memo.clone_from(memo);
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
                conversation.last_chat().map(|last| Stopped { at: now, last_message_id: last.message.id.clone() });
        }
        if self.rated || annotations != conversation.annotations {
            // Never earlier than it was, also where the clock was set back.
            let before = conversation.annotations.changed.as_ref().map_or(now, |changed| changed.at);
            annotations.changed = Some(Changed { at: now.max(before), by: by.clone() });
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
        Some(Conversation { annotations, ..conversation.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::document;
    use crate::model::ids::{MessageId, OrganizationId, ProjectId};
    use crate::model::origin::{Reach, Sender};
    use crate::model::resolve::{Identity, resolve};

    fn conversation(roles: &[&str]) -> Conversation {
        let messages: Vec<String> = roles.iter().map(|role| format!(r#"{{"role":"{role}","content":"x"}}"#)).collect();
        let text = format!(
            r#"{{"id":"c","type":"openai","createdAt":"2024-01-01","updatedAt":"2024-01-01","messages":[{}]}}"#,
            messages.join(",")
        );
        let document = document::parse(text.as_bytes()).unwrap();
        let identity = Identity {
            organization_id: OrganizationId::new("o"),
            project_id: ProjectId::new("p"),
            integration_id: None,
            sender: Sender::import(),
            reach: Reach::Everything,
        };
        resolve(&document, &identity, None, EpochMillis(0), || "new".to_owned())
    }

    #[test]
    fn what_is_so_already_is_no_change() {
        let now = EpochMillis(5);
        let stored = conversation(&["user", "assistant"]);
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
        let running = conversation(&["assistant", "user"]);
        assert!(running.is_running() && !conversation(&["user", "assistant"]).is_running());
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
