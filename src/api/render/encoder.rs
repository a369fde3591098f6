//! What a format of answers has to do.

use std::ops::Range;

use arrow::array::RecordBatch;

use crate::query::error::QueryError;
use crate::query::execute::columns::ResultColumn;
use crate::query::execute::row_stream::Totals;

/// What is known of an answer once its rows are read.
#[derive(Clone, Copy, Default)]
pub(crate) struct End<'a> {
    /// Of all matches, where they are counted.
    pub(crate) total: Option<u64>,
    /// The aggregations over all rows, where they are asked for.
    pub(crate) totals: Option<&'a Totals>,
}

/// Writes rows as one document. Runs on the query threads.
pub(crate) trait Encoder: Send + 'static {
    /// What stands before the first row.
    ///
    /// # Errors
    /// If the format cannot show these columns.
    fn open(&mut self, columns: &[ResultColumn], out: &mut Vec<u8>) -> Result<(), QueryError>;

    /// Appends `rows` of a batch with the columns that `open` was told of, until `out` has more than `most_bytes`;
    /// gives the row that comes next.
    ///
    /// # Errors
    /// [`QueryError::Internal`] if the batch has other columns or fewer rows; nothing is written then.
    fn write_batch(
        &mut self,
        batch: &RecordBatch,
        out: &mut Vec<u8>,
        rows: Range<usize>,
        most_bytes: usize,
    ) -> Result<usize, QueryError>;

    /// What stands after the last row.
    ///
    /// # Errors
    /// As [`Self::write_batch`], of the totals.
    fn close(&mut self, end: End<'_>, out: &mut Vec<u8>) -> Result<(), QueryError>;
}

pub(crate) fn check_shape(batch: &RecordBatch, rows: &Range<usize>, columns: usize) -> Result<(), QueryError> {
    if rows.end <= batch.num_rows() && columns <= batch.num_columns() {
        return Ok(());
    }
    Err(QueryError::Internal(format!(
        "rows up to {} and {columns} columns expected, the batch has {} and {}",
        rows.end,
        batch.num_rows(),
        batch.num_columns()
    )))
}
