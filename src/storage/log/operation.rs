//! One logical change, resolved: every id, time and kept value is in it, so that replay reads no previous state and
//! decides nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::conversation::Conversation;
use crate::model::event::Event;
use crate::model::feedback::Feedback;
use crate::model::ids::{ConversationKey, EventKey, FeedbackKey};

/// Externally tagged, because a tagged-inside enum would lose the spelling of raw numbers while it buffers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Operation {
    /// The whole new state; replaces what has its key.
    Upsert(Arc<Conversation>),
    Delete(ConversationKey),
    UpsertEvent(Arc<Event>),
    DeleteEvent(EventKey),
    UpsertFeedback(Arc<Feedback>),
    DeleteFeedback(FeedbackKey),
}
