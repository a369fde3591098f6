//! What is asked of the committer, with what was looked up for it, and what it answers.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::actor::Actor;
use crate::model::annotation_change::AnnotationChange;
use crate::model::conversation::Conversation;
use crate::model::document::Document;
use crate::model::event::{Event, EventDocument};
use crate::model::feedback::{Feedback, FeedbackDocument};
use crate::model::ids::{ConversationKey, EventKey, FeedbackKey};
use crate::model::json::value::RawJson;
use crate::model::resolve::Identity;
use crate::storage::format::tables::PerTable;
use crate::storage::log::operation::Operation;
use crate::storage::read::lookup::Hit;
use crate::storage::read::snapshot::RowAddress;

pub(crate) enum Change {
    Log {
        identity: Identity,
        document: Arc<Document>,
        bytes: usize,
    },
    Delete {
        key: ConversationKey,
    },
    LogEvent {
        identity: Identity,
        document: Arc<EventDocument>,
        bytes: usize,
    },
    LogFeedback {
        identity: Identity,
        document: Arc<FeedbackDocument>,
        bytes: usize,
    },
    DeleteEvent {
        key: EventKey,
    },
    /// Feedback whose message is dropped counts as not there, but where all of it is to go.
    DeleteFeedback {
        key: FeedbackKey,
        detached_too: bool,
    },
    Annotate(Box<Annotate>),
}

/// One change of what Part B sets, on all of the targets or, where the log write fails, on none.
pub(crate) struct Annotate {
    pub(crate) targets: Vec<Target>,
    pub(crate) change: AnnotationChange,
    /// Targets that this caller may not see are left out.
    pub(crate) actor: Actor,
    /// About what the targets' rows have.
    pub(crate) bytes: usize,
}

pub(crate) struct Target {
    pub(crate) key: ConversationKey,
    /// Where it lies in a file: the whole row, with all of its annotations.
    pub(crate) stored: Option<(RowAddress, Arc<Conversation>)>,
}

impl Change {
    pub(crate) fn log(identity: &Identity, document: &Arc<Document>) -> Change {
        let messages = document.messages.iter();
        let messages = messages.map(|message| 128 + length(&message.content) + length(&message.properties));
        let bytes = 256 + length(&document.properties) + length(&document.user_properties) + messages.sum::<usize>();
        Change::Log { identity: identity.clone(), document: document.clone(), bytes }
    }

    pub(crate) fn log_event(identity: &Identity, document: &Arc<EventDocument>) -> Change {
        let bytes = 256 + length(&document.properties) + length(&document.user_properties) + document.entity.len();
        Change::LogEvent { identity: identity.clone(), document: document.clone(), bytes }
    }

    pub(crate) fn log_feedback(identity: &Identity, document: &Arc<FeedbackDocument>) -> Change {
        let lists = length(&document.reasons) + length(&document.sources);
        let details = document.details.as_ref().map_or(0, String::len);
        let bytes = 256 + lists + details + length(&document.properties) + length(&document.user_properties);
        Change::LogFeedback { identity: identity.clone(), document: document.clone(), bytes }
    }

    /// About what it needs in the log.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Change::Log { bytes, .. } | Change::LogEvent { bytes, .. } | Change::LogFeedback { bytes, .. } => *bytes,
            Change::Delete { .. } | Change::DeleteEvent { .. } | Change::DeleteFeedback { .. } => 0,
            Change::Annotate(annotate) => annotate.bytes,
        }
    }
}

fn length(raw: &Option<RawJson>) -> usize {
    raw.as_ref().map_or(0, |raw| raw.get().len())
}

/// How much was deleted; nothing where it was not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deleted {
    pub(crate) conversations: u64,
    pub(crate) events: u64,
    pub(crate) feedback: u64,
}

impl Deleted {
    /// What the steps of a decision delete.
    pub(crate) fn by(steps: &[Step]) -> Deleted {
        let mut deleted = Deleted::default();
        for step in steps {
            match &step.operation {
                Operation::Delete(_) => deleted.conversations += 1,
                Operation::DeleteEvent(_) => deleted.events += 1,
                Operation::DeleteFeedback(_) => deleted.feedback += 1,
                Operation::Upsert(_) | Operation::UpsertEvent(_) | Operation::UpsertFeedback(_) => {}
            }
        }
        deleted
    }

    pub(crate) fn is_nothing(self) -> bool {
        self == Deleted::default()
    }
}

impl std::ops::AddAssign for Deleted {
    fn add_assign(&mut self, other: Deleted) {
        self.conversations += other.conversations;
        self.events += other.events;
        self.feedback += other.feedback;
    }
}

pub(crate) enum Outcome {
    Logged(Arc<Conversation>),
    Event(Arc<Event>),
    Feedback(Arc<Feedback>),
    Deleted(Deleted),
    /// The targets that were there, as they are now.
    Annotated(Vec<Arc<Conversation>>),
    /// A flush came between look-up and commit: look up again.
    Stale,
}

impl Outcome {
    pub(crate) fn into_logged(self) -> Option<Arc<Conversation>> {
        match self {
            Outcome::Logged(conversation) => Some(conversation),
            _ => None,
        }
    }

    pub(crate) fn into_event(self) -> Option<Arc<Event>> {
        match self {
            Outcome::Event(event) => Some(event),
            _ => None,
        }
    }

    pub(crate) fn into_feedback(self) -> Option<Arc<Feedback>> {
        match self {
            Outcome::Feedback(feedback) => Some(feedback),
            _ => None,
        }
    }

    pub(crate) fn into_deleted(self) -> Option<Deleted> {
        match self {
            Outcome::Deleted(deleted) => Some(deleted),
            _ => None,
        }
    }

    pub(crate) fn into_annotated(self) -> Option<Vec<Arc<Conversation>>> {
        match self {
            Outcome::Annotated(found) => Some(found),
            _ => None,
        }
    }
}

/// What the files knew of a change's keys at one state of the store. Looked up only where the tail knew nothing: later
/// changes of these keys are in the tail, unless a flush has moved them, which `flush_generation` tells.
#[derive(Default)]
pub(crate) struct Prefetched {
    pub(crate) flush_generation: u64,
    /// The row of the change's id, in the change's table.
    pub(crate) by_id: PerTable<Option<Hit>>,
    pub(crate) by_external_id: Option<Hit>,
    pub(crate) links: Links,
}

/// What the files know around a change.
#[derive(Default)]
pub(crate) struct Links {
    /// False where there was nothing at all that could hang on a conversation.
    pub(super) searched: bool,
    pub(super) messages: HashMap<String, MessageLinks>,
    /// What a deleted conversation takes with it.
    pub(super) owned: PerTable<Vec<Hit>>,
}

#[derive(Default)]
pub(super) struct MessageLinks {
    /// Conversations that have the message.
    pub(super) holders: Vec<Hit>,
    pub(super) dependents: PerTable<Vec<Hit>>,
}

/// An operation and the file row that goes with it.
pub(crate) struct Step {
    pub(crate) operation: Operation,
    pub(crate) replaces: Option<RowAddress>,
}
