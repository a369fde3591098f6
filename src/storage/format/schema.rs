//! Arrow schemas of files and segments; tail batches and Parquet files share them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use super::arrow_types::{ROW_COLUMN, kind_type};
use super::columns::column::FlatRow;
use super::layout::Layout;

/// Of what queries read: the columns that every file of the layout's version has, the row's number, and the property
/// columns.
pub(crate) fn rows_schema<R: FlatRow>(layout: &Layout) -> SchemaRef {
    schema::<R>(layout, false)
}

/// With the hidden columns of files.
pub(crate) fn file_schema<R: FlatRow>(layout: &Layout) -> SchemaRef {
    schema::<R>(layout, true)
}

fn schema<R: FlatRow>(layout: &Layout, hidden: bool) -> SchemaRef {
    let fields = R::COLUMNS.iter().map(|column| &column.field).filter(|field| hidden || !field.hidden);
    let stored = fields.filter(|field| field.stored && field.since <= layout.version);
    let stored = stored.map(|field| Field::new(field.column(), field.data_type(), !field.required));
    let row = Field::new(ROW_COLUMN, DataType::Int32, false);
    let properties = layout.columns.iter().map(|column| Field::new(&column.name, kind_type(column.kind), true));
    Arc::new(Schema::new(stored.chain([row]).chain(properties).collect::<Fields>()))
}
