//! Rows that a plan found: where they lie and by what they are sorted.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, UInt32Array};
use arrow::datatypes::TimestampMillisecondType;
use arrow::record_batch::RecordBatch;

use super::execution::Execution;
use super::window::Window;
use crate::model::ids::EpochMillis;
use crate::query::compile::order::SortColumn;
use crate::query::compile::page::{AddressColumns, PagePlan};
use crate::query::error::QueryError;
use crate::storage::read::snapshot::RowAddress;

/// Rows in their order.
#[derive(Default)]
pub(crate) struct FoundRows {
    pub(crate) addresses: Vec<RowAddress>,
    /// The sort columns of the same rows, batch by batch.
    keys: Vec<Vec<ArrayRef>>,
}

impl FoundRows {
    /// The rows that a page plan has in a window.
    pub(crate) async fn read(execution: &Execution, page: &PagePlan, window: Window) -> Result<FoundRows, QueryError> {
        let mut found = FoundRows::default();
        let Some(address) = page.address else { return Ok(found) };
        let mut window = window;
        let mut stream = execution.page_stream(page, window.fetch()).await?;
        while let Some(batch) = execution.next(&mut stream).await? {
            found.push(&window.cut(&batch), page, address)?;
            if window.is_full() {
                break;
            }
        }
        Ok(found)
    }

    /// Takes the next rows, whose source and row number are in these columns.
    fn push(&mut self, batch: &RecordBatch, plan: &PagePlan, address: AddressColumns) -> Result<(), QueryError> {
        self.addresses.extend(addresses(batch, address)?);
        let key = |column: &SortColumn| batch.column_by_name(&column.name).map(Arc::clone);
        self.keys.push(plan.order.iter().filter_map(key).collect());
        Ok(())
    }

    /// The value of a row's sort column, which is a time.
    pub(crate) fn time(&self, row: usize, column: usize) -> Option<EpochMillis> {
        let (array, row) = self.key(row, column)?;
        let times = array.as_primitive_opt::<TimestampMillisecondType>()?;
        times.is_valid(row).then(|| EpochMillis(times.value(row)))
    }

    /// The same of a text.
    pub(crate) fn text(&self, row: usize, column: usize) -> Option<&str> {
        let (array, row) = self.key(row, column)?;
        let texts = array.as_string_view_opt()?;
        texts.is_valid(row).then(|| texts.value(row))
    }

    fn key(&self, mut row: usize, column: usize) -> Option<(&ArrayRef, usize)> {
        for columns in &self.keys {
            let array = columns.get(column)?;
            if row < array.len() {
                return Some((array, row));
            }
            row -= array.len();
        }
        None
    }
}

pub(crate) fn addresses(batch: &RecordBatch, columns: AddressColumns) -> Result<Vec<RowAddress>, QueryError> {
    let wrong = || QueryError::Internal("a page has no row addresses".into());
    let sources = batch.columns().get(columns.source).and_then(|column| column.as_any().downcast_ref::<UInt32Array>());
    let rows = batch.columns().get(columns.row).and_then(|column| column.as_any().downcast_ref::<Int32Array>());
    let (sources, rows) = (sources.ok_or_else(wrong)?, rows.ok_or_else(wrong)?);
    let address =
        |(&source, &row): (&u32, &i32)| u32::try_from(row).map(|row| RowAddress { source, row }).map_err(|_| wrong());
    sources.values().iter().zip(rows.values().iter()).map(address).collect()
}
