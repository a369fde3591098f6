//! Arrow schemas of the tables; tail batches and Parquet files share them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use super::layout::{ColumnKind, JsonField, Layout, PropertyColumn};
use super::table_row::FlatRow;
use crate::model::thread_annotations::{ANNOTATIONS, AnnotationKind};

/// A row's number in its file or segment. It stands in the Arrow data only, not in the Delta schema.
pub(crate) const ROW_COLUMN: &str = "_row";

/// Every time column's type; its values are whole milliseconds.
pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Lists name their element as Delta and the Parquet specification do.
pub(crate) fn list_element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Utf8View, true))
}

pub(crate) fn kind_type(kind: ColumnKind) -> DataType {
    match kind {
        ColumnKind::String | ColumnKind::NumberText => DataType::Utf8View,
        ColumnKind::Number => DataType::Float64,
        ColumnKind::Boolean => DataType::Boolean,
    }
}

pub(crate) fn property_field(column: &PropertyColumn) -> Field {
    Field::new(&column.name, kind_type(column.kind), true)
}

fn required(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// The columns that every file of `conversations` has, `_row` last.
pub(crate) fn conversations_plain_fields() -> Vec<Field> {
    let list = DataType::List(list_element());
    vec![
        required("organizationId", DataType::Utf8View),
        required("projectId", DataType::Utf8View),
        required("id", DataType::Utf8View),
        required("type", DataType::Utf8View),
        optional("integrationId", DataType::Utf8View),
        optional("externalId", DataType::Utf8View),
        optional("externalUrl", DataType::Utf8View),
        optional("supportTicketConversationId", DataType::Utf8View),
        optional("visibility", DataType::Utf8View),
        optional("title", DataType::Utf8View),
        optional("assignee", DataType::Utf8View),
        required("state", DataType::Utf8View),
        required("createdAt", timestamp_type()),
        required("updatedAt", timestamp_type()),
        required("firstMessageTime", timestamp_type()),
        required("lastMessageTime", timestamp_type()),
        required("messageCount", DataType::Int64),
        required("userMessageCount", DataType::Int64),
        optional("tags", list.clone()),
        optional("categories", list),
        required("isEnd", DataType::Boolean),
        optional(JsonField::Properties.name(), DataType::Utf8View),
        optional(JsonField::UserProperties.name(), DataType::Utf8View),
        optional(JsonField::Properties.remainder_column(), DataType::Utf8View),
        optional(JsonField::UserProperties.remainder_column(), DataType::Utf8View),
        required(ROW_COLUMN, DataType::Int32),
    ]
}

/// The columns that every file of `events` has, `_row` last.
pub(crate) fn events_plain_fields() -> Vec<Field> {
    let mut fields = vec![
        required("organizationId", DataType::Utf8View),
        required("projectId", DataType::Utf8View),
        required("id", DataType::Utf8View),
        required("type", DataType::Utf8View),
        required("eventType", DataType::Utf8View),
        optional("integrationId", DataType::Utf8View),
        optional("messageId", DataType::Utf8View),
        optional("conversationId", DataType::Utf8View),
        optional("searchQuery", DataType::Utf8View),
        required("createdAt", timestamp_type()),
    ];
    fields.extend(last_fields());
    fields
}

/// The columns that every file of `feedback` has, `_row` last.
pub(crate) fn feedback_plain_fields() -> Vec<Field> {
    let mut fields = vec![
        required("organizationId", DataType::Utf8View),
        required("projectId", DataType::Utf8View),
        required("id", DataType::Utf8View),
        required("type", DataType::Utf8View),
        required("messageId", DataType::Utf8View),
        optional("integrationId", DataType::Utf8View),
        optional("conversationId", DataType::Utf8View),
        optional("details", DataType::Utf8View),
        required("createdAt", timestamp_type()),
        required("updatedAt", timestamp_type()),
        optional(JsonField::Reasons.name(), DataType::Utf8View),
        optional(JsonField::Sources.name(), DataType::Utf8View),
    ];
    fields.extend(last_fields());
    fields
}

/// The columns that every file of `semantic_threads` has, `_row` last.
pub(crate) fn semantic_threads_plain_fields() -> Vec<Field> {
    let list = || DataType::List(list_element());
    let mut fields = vec![
        required("organizationId", DataType::Utf8View),
        required("projectId", DataType::Utf8View),
        required("id", DataType::Utf8View),
        optional("integrationId", DataType::Utf8View),
        optional("question", DataType::Utf8View),
        optional("answer", DataType::Utf8View),
        optional("questionLength", DataType::Int64),
        required("messagesCount", DataType::Int64),
        required("firstMessageTime", timestamp_type()),
        required("lastMessageTime", timestamp_type()),
        required("lastUpdated", timestamp_type()),
        required("isInitialQuestionAnswer", DataType::Boolean),
        optional("messageIds", list()),
        optional("conversationIds", list()),
        optional("languages", list()),
    ];
    fields.extend(ANNOTATIONS.iter().map(|(name, kind)| match kind {
        AnnotationKind::Flag => optional(name, DataType::Boolean),
        AnnotationKind::Text => optional(name, DataType::Utf8View),
        AnnotationKind::List => optional(name, list()),
    }));
    fields.extend(last_fields());
    fields
}

fn last_fields() -> [Field; 5] {
    [
        optional(JsonField::Properties.name(), DataType::Utf8View),
        optional(JsonField::UserProperties.name(), DataType::Utf8View),
        optional(JsonField::Properties.remainder_column(), DataType::Utf8View),
        optional(JsonField::UserProperties.remainder_column(), DataType::Utf8View),
        required(ROW_COLUMN, DataType::Int32),
    ]
}

/// The schema of a file or segment with these property columns.
pub(crate) fn rows_schema<R: FlatRow>(layout: &Layout) -> SchemaRef {
    let mut fields = R::plain_fields();
    fields.extend(layout.columns.iter().map(property_field));
    Arc::new(Schema::new(Fields::from(fields)))
}

pub(crate) fn messages_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        required("organizationId", DataType::Utf8View),
        required("projectId", DataType::Utf8View),
        required("conversationId", DataType::Utf8View),
        required("id", DataType::Utf8View),
        required("type", DataType::Utf8View),
        required("role", DataType::Utf8View),
        required("position", DataType::Int32),
        optional("externalId", DataType::Utf8View),
        optional("externalUrl", DataType::Utf8View),
        optional("name", DataType::Utf8View),
        optional("content", DataType::Utf8View),
        optional("contentParts", DataType::Utf8View),
        optional("links", DataType::Utf8View),
        optional("toolCalls", DataType::Utf8View),
        optional("properties", DataType::Utf8View),
        optional("userProperties", DataType::Utf8View),
        optional("createdAt", timestamp_type()),
        optional("updatedAt", timestamp_type()),
    ]))
}
