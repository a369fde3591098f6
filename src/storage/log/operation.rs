//! One logical change, resolved: every id, time and kept value is in it, so that replay reads no previous state and
//! decides nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::conversation::Conversation;
use crate::model::event::Event;
use crate::model::feedback::Feedback;
use crate::model::ids::{ConversationId, EpochMillis, EventId, FeedbackId, Key};

/// Externally tagged, because a tagged-inside enum would lose the spelling of raw numbers while it buffers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Operation {
    /// The whole new state; replaces what has its key.
    Upsert(Arc<Conversation>),
    Delete(Deletion<ConversationId>),
    UpsertEvent(Arc<Event>),
    DeleteEvent(Deletion<EventId>),
    UpsertFeedback(Arc<Feedback>),
    DeleteFeedback(Deletion<FeedbackId>),
}

/// What is made of a message beside its texts: itself, its row, its part of a thread, and their places in indexes.
const DERIVED_OF_MESSAGE: usize = 512;

impl Operation {
    /// What it comes to in memory beyond its text: many short messages take more than they look.
    pub(crate) fn derived_bytes(&self) -> usize {
        match self {
            Operation::Upsert(conversation) => conversation.messages.len() * DERIVED_OF_MESSAGE,
            Operation::UpsertEvent(_) | Operation::UpsertFeedback(_) => DERIVED_OF_MESSAGE,
            Operation::Delete(_) | Operation::DeleteEvent(_) | Operation::DeleteFeedback(_) => 0,
        }
    }
}

/// What has the key is deleted. Every deletion is an erasure (contract A7).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deletion<I> {
    #[serde(flatten)]
    pub(crate) key: Key<I>,
    /// From when on the time counts within which all of it has to be gone.
    #[serde(default)]
    pub(crate) at: EpochMillis,
}
