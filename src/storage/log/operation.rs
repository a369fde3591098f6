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

/// What has the key is deleted. Every deletion is an erasure (contract A7).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deletion<I> {
    #[serde(flatten)]
    pub(crate) key: Key<I>,
    /// From when on the time counts within which all of it has to be gone.
    #[serde(default)]
    pub(crate) at: EpochMillis,
}
