//! Feedback of one conversation, which its chats show as ratings (contract Part B, 10).

use super::snapshot::Snapshot;
use crate::model::conversation::Conversation;
use crate::model::feedback::Feedback;
use crate::model::rating::Ratings;
use crate::storage::error::StoreError;
use crate::storage::format::table_row::{Reference, TableRow};

/// Rows of feedback that are in memory at once.
const READ_AT_ONCE: usize = 256;
/// A conversation with more messages than this for each one asked about is not looked up as a whole.
const MESSAGES_PER_LOOKUP: usize = 10;

impl Snapshot {
    /// The ratings of these messages of a conversation.
    pub(crate) async fn ratings(
        &self,
        conversation: &Conversation,
        message_ids: &[&str],
    ) -> Result<Ratings, StoreError> {
        let mut ratings = Ratings::of_messages(message_ids.iter().copied());
        if conversation.messages.len() <= message_ids.len().saturating_mul(MESSAGES_PER_LOOKUP) {
            let reference = Reference::Conversation(conversation.id.as_str());
            self.each_feedback(conversation, reference, |feedback| ratings.add(feedback)).await?;
            return Ok(ratings);
        }
        for message in message_ids {
            let reference = Reference::Message(message);
            self.each_feedback(conversation, reference, |feedback| ratings.add(feedback)).await?;
        }
        Ok(ratings)
    }

    /// Visits the feedback of a conversation under a reference, one after another, in any order.
    pub(crate) async fn each_feedback(
        &self,
        conversation: &Conversation,
        reference: Reference<'_>,
        mut visit: impl FnMut(&Feedback),
    ) -> Result<(), StoreError> {
        let (organization_id, project_id) = (&conversation.organization_id, &conversation.project_id);
        let mut offer = |feedback: &Feedback| {
            let is_its = feedback.organization_id == *organization_id
                && feedback.project_id == *project_id
                && feedback.conversation_id() == Some(conversation.id.as_str());
            if is_its && feedback.references().contains(&reference) {
                visit(feedback);
            }
        };
        for feedback in self.tables.feedback.tail.find_reference(organization_id, project_id, reference) {
            offer(&feedback);
        }
        let hash = reference.hash(organization_id, project_id);
        for entry in self.tables.feedback.files.iter() {
            let rows = entry.file.index.find_reference(self.store.as_ref(), hash).await;
            let rows = rows.map_err(|error| StoreError::caused("a sidecar index could not be read", error))?;
            // A row in a file whose key the tail knows is marked deleted, so nothing is found twice.
            let live: Vec<u32> = rows.into_iter().filter(|row| !entry.deleted.contains(*row)).collect();
            for rows in live.chunks(READ_AT_ONCE) {
                entry.entries::<Feedback>(&self.store, rows).await?.iter().for_each(&mut offer);
            }
        }
        Ok(())
    }
}
