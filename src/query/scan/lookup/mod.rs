//! What threads do not store: the properties of their conversations, and ids and texts of their messages. They are
//! looked up in the rows of the same snapshot that have them, for the threads that a plan has left.
//!
//! - [`rows`]: the values for threads at given rows; [`json`] and [`messages`] are its two kinds.
//! - [`plan`]: puts them beside the rows of a scan.

mod json;
mod messages;
pub(crate) mod plan;
pub(crate) mod rows;

use super::column::ScanColumn;
use crate::query::view;
use crate::storage::format::columns::threads::{FIRST_MESSAGE_POSITION, MESSAGES_COUNT};
use crate::storage::format::table::Table;

/// What is read of threads to look something up,
pub(crate) const PLACE_COLUMNS: [ScanColumn; 2] = [ScanColumn::Source, ScanColumn::Row];
/// and beside it where messages are.
pub(crate) const MESSAGE_COLUMNS: [ScanColumn; 2] =
    [ScanColumn::Plain(FIRST_MESSAGE_POSITION), ScanColumn::Plain(MESSAGES_COUNT)];

/// Whether the table's rows lack the column, and others have it.
pub(crate) fn is_looked_up(table: Table, column: &ScanColumn) -> bool {
    let name = match column {
        ScanColumn::Plain(name) => name,
        ScanColumn::Whole(field) | ScanColumn::Path { field, .. } => field.name(),
        ScanColumn::Source | ScanColumn::Row => return false,
    };
    view::of(table).column(name).is_some_and(|field| field.looked_up)
}
