//! What can be asked for rows.

use crate::query::compile::report::SearchReport;
use crate::query::dsl::{PropertyQuery, Query};
use crate::storage::format::table::Table;

#[derive(Debug)]
pub(crate) enum Question {
    /// The rows of a query, and how many match in all (contract A3).
    Query(Query),
    /// The same rows for an export: not counted, and whole JSON fields part by part where they are asked for like that
    /// (contract A4).
    Export(Query),
    /// A report on search events (contract A4).
    SearchReport {
        report: SearchReport,
        /// Epoch milliseconds, possibly with a fraction.
        after: Option<String>,
    },
    /// Distinct property keys or values, sorted by code point (contract A4).
    Properties(PropertyQuery),
}

impl Question {
    /// Whose rows are asked for. Property lists look at several tables in turn.
    pub(crate) fn table(&self) -> Table {
        match self {
            Question::Query(query) | Question::Export(query) => query.view.table,
            Question::SearchReport { .. } => Table::Events,
            Question::Properties(_) => Table::Conversations,
        }
    }
}
