//! Arrow types of columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};

use super::layout::ColumnKind;

/// A row's number in its file or segment. It stands in the Arrow data only, not in the Delta schema.
pub(crate) const ROW_COLUMN: &str = "_row";

/// Every time column's type. Delta's is of microseconds, which readers make of it; stored so, the three digits that no
/// time has would cost ten bits of each.
pub(crate) fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
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
