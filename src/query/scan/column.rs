//! The columns that a query can name: plain fields, whole JSON fields and, as virtual columns, values at a path.

use arrow::datatypes::{DataType, Field, FieldRef};
use std::sync::Arc;

use crate::query::view::{self, FieldKind};
use crate::storage::format::layout::JsonField;
use crate::storage::format::schema::{list_element, timestamp_type};

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
            ScanColumn::Row => crate::storage::format::schema::ROW_COLUMN.to_owned(),
        }
    }

    pub(crate) fn data_type(&self) -> DataType {
        match self {
            ScanColumn::Plain(name) => plain_type(name),
            ScanColumn::Whole(_) => DataType::Utf8View,
            ScanColumn::Path { form, .. } => form.data_type(),
            ScanColumn::Source => DataType::UInt32,
            ScanColumn::Row => DataType::Int32,
        }
    }

    pub(crate) fn arrow_field(&self) -> FieldRef {
        Arc::new(Field::new(self.name(), self.data_type(), true))
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

/// The Arrow type of a plain field of the view.
pub(crate) fn plain_type(name: &str) -> DataType {
    let field = view::CONVERSATIONS.field(name).or_else(|| view::SEMANTIC_THREADS.field(name));
    match field.map(|field| field.kind) {
        Some(FieldKind::Time) => timestamp_type(),
        Some(FieldKind::Integer) => DataType::Int64,
        Some(FieldKind::Boolean) => DataType::Boolean,
        Some(FieldKind::TextList) => DataType::List(list_element()),
        Some(FieldKind::Text | FieldKind::Json) | None => DataType::Utf8View,
    }
}
