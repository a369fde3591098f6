//! What a column is, whatever the rows that it stands in: enough for schemas, encodings, views and documentation.

use arrow::datatypes::DataType;

use crate::storage::format::arrow_types::{list_element, timestamp_type};
use crate::storage::format::layout::FormatVersion;
use crate::storage::format::physical_name::snake_case;

/// What a field holds, and so which operators and aggregations it takes (contract A3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum FieldKind {
    Text,
    /// Compared as a time, aggregated as epoch milliseconds, shown as ISO 8601.
    Time,
    Integer,
    Boolean,
    /// A list of strings.
    TextList,
    /// A JSON value that takes a `path`.
    Json,
    /// Bytes that mean something to this server only; never a field of a view.
    Binary,
}

/// Who sees a column as a field of its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Shown {
    /// Nobody: it serves the server.
    Never,
    /// Requests that name it.
    WhenAsked,
    /// Also a request without `select` and `groupBy`.
    ByDefault,
}

/// How much the values of a column repeat, and how long they get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Values {
    /// There are fewer values than rows, so that a dictionary pays.
    Repeated,
    /// Nearly every row has its own: a dictionary would only be in the way.
    Unique,
    /// The same, and it mostly begins as that of the row before.
    Prefixed,
    /// And one may be as long as a document: batches that hold it are bounded by bytes.
    Long,
}

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Field {
    /// The contract's name.
    pub(crate) name: &'static str,
    pub(crate) kind: FieldKind,
    /// Of [`FieldKind::Json`]: whether it is a list, not an object.
    pub(crate) is_list: bool,
    /// Whether it is never null.
    pub(crate) required: bool,
    /// Files of an older version have no such column.
    pub(crate) since: FormatVersion,
    /// Whether files have it; else the scan makes it.
    pub(crate) stored: bool,
    /// Whether only files have it: no query reads it, so batches of the tail go without. Its name begins with an
    /// underscore.
    pub(crate) hidden: bool,
    /// Whether the scan takes it from rows of another table.
    pub(crate) looked_up: bool,
    pub(crate) shown: Shown,
    /// Whether it is an extension of the query language (contract A5), which web keys may not use.
    pub(crate) extension: bool,
    /// Whether it is left out of a row where it is null: the published type is not nullable.
    pub(crate) omit_null: bool,
    pub(crate) values: Values,
    /// Whether rows are sorted by it, so that statistics of each page pay.
    pub(crate) sorted: bool,
    /// Whether its least and greatest value are worth knowing.
    pub(crate) statistics: bool,
}

impl Field {
    /// The name of its column in files.
    pub(crate) fn column(&self) -> String {
        snake_case(self.name)
    }

    pub(crate) fn is_published(&self) -> bool {
        self.shown == Shown::ByDefault
    }

    /// Whether a value may be as long as a document.
    pub(crate) fn is_long(&self) -> bool {
        self.values == Values::Long
    }

    pub(crate) fn data_type(&self) -> DataType {
        match self.kind {
            FieldKind::Text | FieldKind::Json => DataType::Utf8View,
            FieldKind::Time => timestamp_type(),
            FieldKind::Integer => DataType::Int64,
            FieldKind::Boolean => DataType::Boolean,
            FieldKind::TextList => DataType::List(list_element()),
            FieldKind::Binary => DataType::Binary,
        }
    }
}
