//! The operations of the log as changes of rows of the tables.

use std::sync::Arc;

use crate::model::conversation::Conversation;
use crate::model::event::Event;
use crate::model::feedback::Feedback;
use crate::model::ids::{EpochMillis, Key};
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{Family, PerTable};
use crate::storage::log::operation::{Deletion, Operation};

/// A row that the log has operations for.
pub(crate) trait Logged: TableRow {
    /// That the row is stored.
    fn upsert(self: Arc<Self>) -> Operation;

    /// That what has the key is deleted, and since when.
    fn delete(key: Key<Self::Id>, at: EpochMillis) -> Operation;
}

impl Logged for Conversation {
    fn upsert(self: Arc<Self>) -> Operation {
        Operation::Upsert(self)
    }

    fn delete(key: Key<Self::Id>, at: EpochMillis) -> Operation {
        Operation::Delete(Deletion { key, at })
    }
}

impl Logged for Event {
    fn upsert(self: Arc<Self>) -> Operation {
        Operation::UpsertEvent(self)
    }

    fn delete(key: Key<Self::Id>, at: EpochMillis) -> Operation {
        Operation::DeleteEvent(Deletion { key, at })
    }
}

impl Logged for Feedback {
    fn upsert(self: Arc<Self>) -> Operation {
        Operation::UpsertFeedback(self)
    }

    fn delete(key: Key<Self::Id>, at: EpochMillis) -> Operation {
        Operation::DeleteFeedback(Deletion { key, at })
    }
}

/// What an operation does to a row: the row that its key has from then on, or none.
pub(crate) struct RowChange<'a, R: TableRow = Conversation> {
    pub(crate) key: Key<R::Id>,
    pub(crate) value: Option<&'a Arc<R>>,
    /// Of a deletion.
    pub(crate) erased_at: Option<EpochMillis>,
}

impl<'a> Family for RowChange<'a> {
    type Of<R: TableRow> = RowChange<'a, R>;
}

impl<'a, R: TableRow> RowChange<'a, R> {
    fn upsert(value: &'a Arc<R>) -> Option<Self> {
        Some(RowChange { key: value.key(), value: Some(value), erased_at: None })
    }

    fn delete(Deletion { key, at }: &Deletion<R::Id>) -> Option<Self> {
        Some(RowChange { key: key.clone(), value: None, erased_at: Some(*at) })
    }
}

/// An operation under its table; there is nothing for the others.
pub(crate) fn changes(operation: &Operation) -> PerTable<Option<RowChange<'_>>> {
    let mut changes = PerTable::default();
    match operation {
        Operation::Upsert(conversation) => changes.conversations = RowChange::upsert(conversation),
        Operation::Delete(deletion) => changes.conversations = RowChange::delete(deletion),
        Operation::UpsertEvent(event) => changes.events = RowChange::upsert(event),
        Operation::DeleteEvent(deletion) => changes.events = RowChange::delete(deletion),
        Operation::UpsertFeedback(feedback) => changes.feedback = RowChange::upsert(feedback),
        Operation::DeleteFeedback(deletion) => changes.feedback = RowChange::delete(deletion),
    }
    changes
}
