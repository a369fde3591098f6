//! Columns of the tables as their logs have them.

use arrow::datatypes::{DataType, Field};

use crate::storage::catalog::delta::{Action, DeltaType, TableColumn, TableLog};
use crate::storage::error::StoreError;
use crate::storage::format::registry::ColumnRegistry;
use crate::storage::format::schema::{self, ROW_COLUMN};
use crate::storage::format::table_row::FlatRow;

pub(super) fn plain_columns<R: FlatRow>() -> Vec<TableColumn> {
    let fields = R::plain_fields();
    fields.iter().filter(|field| field.name() != ROW_COLUMN).map(table_column).collect()
}

pub(super) fn messages_columns() -> Vec<TableColumn> {
    schema::messages_schema().fields().iter().map(|field| table_column(field)).collect()
}

/// The schema of a table that gets property columns.
pub(super) fn new_columns<R: FlatRow>(log: &TableLog, columns: &ColumnRegistry) -> Result<Action, StoreError> {
    let meta_data = log.state().meta_data.as_ref();
    let meta_data =
        meta_data.ok_or_else(|| StoreError::Damaged(format!("the table {} has no metadata", log.root())))?;
    let mut all = plain_columns::<R>();
    all.extend(columns.columns().map(|column| TableColumn::of_property(&column)));
    Ok(Action::MetaData(meta_data.with_columns(&all)))
}

pub(super) fn property_columns(log: &TableLog) -> Result<ColumnRegistry, StoreError> {
    let columns = log.state().columns();
    let columns = columns.map_err(|reason| StoreError::Damaged(format!("the schema of {}: {reason}", log.root())))?;
    Ok(ColumnRegistry::new(columns.iter().filter_map(TableColumn::property)))
}

fn table_column(field: &Field) -> TableColumn {
    let data_type = match field.data_type() {
        DataType::Int32 => DeltaType::Integer,
        DataType::Int64 => DeltaType::Long,
        DataType::Float64 => DeltaType::Double,
        DataType::Boolean => DeltaType::Boolean,
        DataType::Timestamp(..) => DeltaType::Timestamp,
        DataType::List(_) => DeltaType::StringList,
        _ => DeltaType::String,
    };
    TableColumn::new(field.name(), data_type)
}
