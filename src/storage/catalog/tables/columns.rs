//! Columns of the tables as their logs have them.

use crate::storage::catalog::delta::{Action, DeltaType, TableColumn, TableLog};
use crate::storage::error::StoreError;
use crate::storage::format::columns::column::FlatRow;
use crate::storage::format::columns::field::{Field, FieldKind};
use crate::storage::format::registry::ColumnRegistry;

pub(super) fn plain_columns<R: FlatRow>() -> Vec<TableColumn> {
    R::COLUMNS.iter().map(|column| &column.field).filter(|field| field.stored).map(table_column).collect()
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
    let data_type = match field.kind {
        FieldKind::Text | FieldKind::Json => DeltaType::String,
        FieldKind::Time => DeltaType::Timestamp,
        FieldKind::Integer => DeltaType::Long,
        FieldKind::Boolean => DeltaType::Boolean,
        FieldKind::TextList => DeltaType::StringList,
    };
    TableColumn::new(field.name, data_type)
}
