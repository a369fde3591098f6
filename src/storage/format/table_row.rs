//! What the stored things have in common, so that one tail, one flush and one scan serve all their tables.

use std::borrow::Borrow;
use std::fmt::Debug;
use std::sync::Arc;

use futures::FutureExt;
use object_store::ObjectStore;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::columns::column::FlatRow;
use super::data_file::DataFile;
use super::entries;
use super::error::FileError;
use super::row_index::builder::Siblings;
use super::table::Table;
use crate::model::conversation::Conversation;
use crate::model::event::Event;
use crate::model::feedback::Feedback;
use crate::model::ids::{ConversationId, EpochMillis, EventId, FeedbackId, Key, OrganizationId, ProjectId, key_hash};
use crate::model::previous::Previous;
use crate::model::thread::SemanticThread;

/// A row of `conversations`, `events` or `feedback`: it is logged, found by key, replaced and deleted.
pub(crate) trait TableRow: FlatRow + Clone + Debug + Serialize + DeserializeOwned {
    type Id: Borrow<str> + Clone + Debug + Eq + Send + Sync + 'static;

    const TABLE: Table;

    /// What a later change needs to know of a row.
    type Entry: IndexEntry<Id = Self::Id>;

    fn key(&self) -> Key<Self::Id>;

    fn make_id(text: &str) -> Self::Id;

    fn external_id(&self) -> Option<&str> {
        None
    }

    /// What else in its project the row is found by.
    fn references(&self) -> Vec<Reference<'_>>;

    /// Rows of a project lie in a file in this order.
    fn sort_time(&self) -> EpochMillis;

    /// Rows in sibling files.
    fn siblings(&self) -> Siblings {
        Siblings::default()
    }

    fn entry(self: &Arc<Self>) -> Arc<Self::Entry>;

    /// Those of rows of a file, in the order given; one read, however many rows.
    fn read_entries(
        store: &Arc<dyn ObjectStore>,
        file: &DataFile,
        rows: &[u32],
    ) -> impl Future<Output = Result<Vec<Self::Entry>, FileError>> + Send;
}

/// A key that is no id; several rows may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference<'a> {
    /// Of a conversation: that it has the message; of others: that they are about it.
    Message(&'a str),
    /// The conversation with which the row is deleted.
    Conversation(&'a str),
}

impl Reference<'_> {
    pub(crate) fn hash(&self, organization_id: &OrganizationId, project_id: &ProjectId) -> u128 {
        let text = match self {
            Reference::Message(id) => format!("message:{id}"),
            Reference::Conversation(id) => format!("conversation:{id}"),
        };
        key_hash(organization_id, project_id, &text)
    }
}

/// See [`TableRow::Entry`].
pub(crate) trait IndexEntry: Debug + Send + Sync + 'static {
    type Id: Borrow<str>;

    fn row_key(&self) -> Key<Self::Id>;

    fn has_external_id(&self, external_id: &str) -> bool;

    fn has_reference(&self, reference: Reference<'_>) -> bool;
}

/// The whole row.
impl<R: TableRow> IndexEntry for R {
    type Id = R::Id;

    fn row_key(&self) -> Key<R::Id> {
        self.key()
    }

    fn has_external_id(&self, external_id: &str) -> bool {
        self.external_id() == Some(external_id)
    }

    fn has_reference(&self, reference: Reference<'_>) -> bool {
        self.references().contains(&reference)
    }
}

impl IndexEntry for Previous {
    type Id = ConversationId;

    fn row_key(&self) -> Key<ConversationId> {
        self.key.clone()
    }

    fn has_external_id(&self, external_id: &str) -> bool {
        self.external_id.as_deref() == Some(external_id)
    }

    fn has_reference(&self, reference: Reference<'_>) -> bool {
        match reference {
            Reference::Message(id) => self.messages.iter().any(|message| message.id.as_str() == id),
            Reference::Conversation(_) => false,
        }
    }
}

impl TableRow for Conversation {
    type Id = ConversationId;
    type Entry = Previous;

    const TABLE: Table = Table::Conversations;

    fn key(&self) -> Key<ConversationId> {
        Conversation::key(self)
    }

    fn make_id(text: &str) -> ConversationId {
        ConversationId::new(text)
    }

    fn external_id(&self) -> Option<&str> {
        self.external_id.as_deref()
    }

    fn references(&self) -> Vec<Reference<'_>> {
        self.messages.iter().map(|message| Reference::Message(message.id.as_str())).collect()
    }

    fn sort_time(&self) -> EpochMillis {
        self.first_message_time()
    }

    fn siblings(&self) -> Siblings {
        Siblings { messages: self.messages.len() as u32, threads: SemanticThread::count(self) as u32 }
    }

    fn entry(self: &Arc<Self>) -> Arc<Previous> {
        Arc::new(Previous::of(self))
    }

    async fn read_entries(
        store: &Arc<dyn ObjectStore>,
        file: &DataFile,
        rows: &[u32],
    ) -> Result<Vec<Previous>, FileError> {
        let read = |rows: Vec<u32>| async move { entries::read_previous(store, file, &rows).await }.boxed();
        file.previous.look_up(rows, read).await
    }
}

impl TableRow for Event {
    type Id = EventId;
    type Entry = Self;

    const TABLE: Table = Table::Events;

    fn key(&self) -> Key<EventId> {
        Event::key(self)
    }

    fn make_id(text: &str) -> EventId {
        EventId::new(text)
    }

    fn references(&self) -> Vec<Reference<'_>> {
        let message = self.message_id().map(Reference::Message);
        message.into_iter().chain(self.owner_id().map(Reference::Conversation)).collect()
    }

    fn sort_time(&self) -> EpochMillis {
        self.created_at
    }

    /// The whole event: a change of its conversation stores it again.
    fn entry(self: &Arc<Self>) -> Arc<Self> {
        self.clone()
    }

    async fn read_entries(
        store: &Arc<dyn ObjectStore>,
        file: &DataFile,
        rows: &[u32],
    ) -> Result<Vec<Event>, FileError> {
        entries::read_whole::<Event>(store, file, rows).await
    }
}

impl TableRow for Feedback {
    type Id = FeedbackId;
    type Entry = Self;

    const TABLE: Table = Table::Feedback;

    fn key(&self) -> Key<FeedbackId> {
        Feedback::key(self)
    }

    fn make_id(text: &str) -> FeedbackId {
        FeedbackId::new(text)
    }

    fn references(&self) -> Vec<Reference<'_>> {
        vec![Reference::Message(&self.message_id), Reference::Conversation(&self.owner_id)]
    }

    fn sort_time(&self) -> EpochMillis {
        self.created_at
    }

    /// The whole feedback, which point reads show.
    fn entry(self: &Arc<Self>) -> Arc<Self> {
        self.clone()
    }

    async fn read_entries(
        store: &Arc<dyn ObjectStore>,
        file: &DataFile,
        rows: &[u32],
    ) -> Result<Vec<Feedback>, FileError> {
        entries::read_whole::<Feedback>(store, file, rows).await
    }
}
