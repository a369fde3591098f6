//! The columns that a query can name: plain fields, whole JSON fields and, as virtual columns, values at a path.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::internal_datafusion_err;
use datafusion::error::Result;

use crate::query::view;
use crate::storage::format::layout::{FormatVersion, JsonField};
use crate::storage::format::table::Table;

/// In what form a query needs the value at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Form {
    /// What PostgreSQL's `#>>` gives (contract A3); Utf8View.
    Text,
    /// JSON text of the value; Utf8View.
    Json,
    /// The string's value, null for any other JSON type; Utf8View.
    Str,
    /// The nearest double, null for any other JSON type; Float64.
    Number,
    /// The exact decimal where the nearest double does not tell it; Utf8View.
    NumberText,
    /// Null for any other JSON type; Boolean.
    Boolean,
    /// JSON numbers and numeral strings, for `sum avg min max`; Float64.
    Numeric,
    /// Whether the path exists, JSON null included; Boolean, never null.
    Exists,
    /// Whether the path holds anything but JSON null; Boolean, never null.
    Present,
    /// JSON text of an array at the path; other values may be null or incomplete. Arrays are never split into columns.
    Array,
}

/// A column of [`super::provider::SnapshotProvider`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ScanColumn {
    /// A plain field of the view, by the contract's name.
    Plain(&'static str),
    /// The raw JSON text of a whole field.
    Whole(JsonField),
    Path {
        field: JsonField,
        path: Vec<String>,
        form: Form,
    },
    /// `RowAddress::source`; UInt32.
    Source,
    /// `RowAddress::row`; Int32.
    Row,
}

pub(crate) const SOURCE_COLUMN: &str = "_source";

impl ScanColumn {
    /// Unique per column; only an address, never parsed.
    pub(crate) fn name(&self) -> String {
        match self {
            ScanColumn::Plain(name) => (*name).to_owned(),
            ScanColumn::Whole(field) => field.name().to_owned(),
            ScanColumn::Path { field, path, form } => format!("{}{path:?}:{form:?}", field.name()),
            ScanColumn::Source => SOURCE_COLUMN.to_owned(),
            ScanColumn::Row => crate::storage::format::arrow_types::ROW_COLUMN.to_owned(),
        }
    }

    /// Of a column that lies in files as it is: its name there.
    pub(crate) fn stored_name(&self, table: Table) -> Result<String> {
        Ok(match self {
            ScanColumn::Plain(name) => plain_field(table, name)?.column(),
            ScanColumn::Whole(field) => field.raw_column().to_owned(),
            ScanColumn::Path { .. } | ScanColumn::Source | ScanColumn::Row => self.name(),
        })
    }

    /// In a scan of `table`.
    pub(crate) fn data_type(&self, table: Table) -> Result<DataType> {
        Ok(match self {
            ScanColumn::Plain(name) => plain_field(table, name)?.data_type(),
            ScanColumn::Whole(_) => DataType::Utf8View,
            ScanColumn::Path { form, .. } => form.data_type(),
            ScanColumn::Source => DataType::UInt32,
            ScanColumn::Row => DataType::Int32,
        })
    }

    pub(crate) fn arrow_field(&self, table: Table) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), self.data_type(table)?, true)))
    }

    /// Older files have no such column.
    pub(crate) fn since(&self, table: Table) -> Result<FormatVersion> {
        match self {
            ScanColumn::Plain(name) => Ok(plain_field(table, name)?.since),
            _ => Ok(FormatVersion::FIRST),
        }
    }

    /// Whether values may be as long as a document.
    pub(crate) fn is_long(&self, table: Table) -> bool {
        match self {
            ScanColumn::Plain(name) => plain_field(table, name).is_ok_and(view::Field::is_long),
            ScanColumn::Whole(_) => true,
            _ => false,
        }
    }
}

impl Form {
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Form::Text | Form::Json | Form::Str | Form::NumberText | Form::Array => DataType::Utf8View,
            Form::Number | Form::Numeric => DataType::Float64,
            Form::Boolean | Form::Exists | Form::Present => DataType::Boolean,
        }
    }
}

/// What a plain column of the table is.
fn plain_field(table: Table, name: &str) -> Result<&'static view::Field> {
    let field = view::of(table).column(name);
    field.ok_or_else(|| internal_datafusion_err!("the table {table:?} has no column {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::format::arrow_types::timestamp_type;

    #[test]
    fn a_column_is_of_the_type_that_its_own_table_has() {
        let type_in = |name, table| ScanColumn::Plain(name).data_type(table).map_err(|error| error.to_string());
        // Only events have the one, and only threads the other.
        assert_eq!(type_in("searchQuery", Table::Events), Ok(DataType::Utf8View));
        assert_eq!(type_in("lastUpdated", Table::SemanticThreads), Ok(timestamp_type()));
        for table in [Table::Conversations, Table::Events, Table::Feedback, Table::SemanticThreads] {
            for field in view::of(table).columns {
                assert_eq!(type_in(field.name, table), Ok(field.data_type()), "{table:?} {}", field.name);
            }
        }
        assert!(type_in("lastUpdated", Table::Conversations).is_err());
    }
}
