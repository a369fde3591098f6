//! A view is data: its fields, which are columns of one table, and its default time field.

pub(crate) use crate::storage::format::columns::field::{Field, FieldKind};
use crate::storage::format::columns::{conversations, events, feedback, threads};
use crate::storage::format::table::Table;

#[derive(Debug)]
pub(crate) struct View {
    pub(crate) name: &'static str,
    pub(crate) table: Table,
    pub(crate) fields: &'static [&'static Field],
    /// And those that nobody sees.
    pub(crate) columns: &'static [&'static Field],
    /// Whether whole JSON fields show each value as text and leave nulls out (contract A4, events).
    pub(crate) shows_texts: bool,
    /// The field of a `time` selection that names none.
    pub(crate) default_time_field: &'static str,
    /// The fields that the words of a request's `query` are looked for in; without any the key is unknown.
    pub(crate) searched: &'static [&'static str],
}

impl View {
    /// A column of the table, whether anybody sees it or not.
    pub(crate) fn column(&self, name: &str) -> Option<&'static Field> {
        self.columns.iter().copied().find(|field| field.name == name)
    }

    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().copied().find(|field| field.name == name)
    }
}

pub(crate) static CONVERSATIONS: View = View {
    name: "conversations",
    table: Table::Conversations,
    shows_texts: false,
    fields: &conversations::SHOWN,
    columns: &conversations::FIELDS,
    default_time_field: "firstMessageTime",
    searched: &[],
};

pub(crate) static EVENTS: View = View {
    name: "events",
    table: Table::Events,
    shows_texts: true,
    fields: &events::SHOWN,
    columns: &events::FIELDS,
    default_time_field: "createdAt",
    searched: &[],
};

pub(crate) static FEEDBACK: View = View {
    name: "feedback",
    table: Table::Feedback,
    shows_texts: false,
    fields: &feedback::SHOWN,
    columns: &feedback::FIELDS,
    default_time_field: "createdAt",
    searched: &[],
};

pub(crate) static SEMANTIC_THREADS: View = View {
    name: "semantic-threads",
    table: Table::SemanticThreads,
    shows_texts: false,
    fields: &threads::SHOWN,
    columns: &threads::FIELDS,
    default_time_field: "firstMessageTime",
    searched: &["question", "answer"],
};

/// The view of a table.
pub(crate) fn of(table: Table) -> &'static View {
    match table {
        Table::Conversations => &CONVERSATIONS,
        Table::Events => &EVENTS,
        Table::Feedback => &FEEDBACK,
        Table::SemanticThreads => &SEMANTIC_THREADS,
    }
}
