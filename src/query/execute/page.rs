//! The rows of a query without groups: a window of the sorted rows, and the stored columns that the sort did not carry.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};
use datafusion::error::Result as PlanResult;
use datafusion::execution::SendableRecordBatchStream;

use super::execution::Execution;
use super::found::addresses;
use super::window::Window;
use crate::query::compile::page::{PageColumn, PagePlan};
use crate::query::compile::{count, page};
use crate::query::dsl::Query;
use crate::query::error::QueryError;
use crate::query::scan::rows::RowReader;
use crate::storage::read::snapshot::RowAddress;

pub(crate) struct Page {
    execution: Execution,
    plan: PagePlan,
    stream: SendableRecordBatchStream,
    /// What was read of the stream to know whether it is short.
    ahead: VecDeque<RecordBatch>,
    window: Window,
    reader: RowReader,
    /// Rows of the page whose stored columns are still to be read.
    pending: Option<Pending>,
    total: Option<u64>,
}

struct Pending {
    rows: RecordBatch,
    addresses: Vec<RowAddress>,
    done: usize,
}

impl Page {
    /// Reads as far as the first rows, and counts all if the answer says how many match.
    pub(crate) async fn open(execution: Execution, query: &Query, counts: bool) -> Result<Page, QueryError> {
        let plan = page::page(query, &execution.source).map_err(|error| execution.error(error))?;
        let window = Window::new(query.offset, query.limit);
        let fetch = window.fetch();
        let mut stream = execution.page_stream(&plan, fetch).await?;
        // Two batches ahead: a page that ends within the first is known to be all there is.
        let mut ahead = VecDeque::new();
        while ahead.len() < 2
            && let Some(batch) = execution.next(&mut stream).await?
        {
            ahead.push_back(batch);
        }
        let first_rows = ahead.front().map_or(0, RecordBatch::num_rows);
        let complete = ahead.len() < 2 && fetch.is_none_or(|fetch| first_rows < fetch);
        let total = match (counts, complete) {
            (false, _) => None,
            (true, true) => Some(first_rows as u64),
            (true, false) => {
                let plan = count::matches(query, &execution.source).map_err(|error| execution.error(error))?;
                Some(execution.count(&plan).await?)
            }
        };
        let reader = row_reader(&execution, &plan).map_err(|error| execution.error(error))?;
        Ok(Page { execution, plan, stream, ahead, window, reader, pending: None, total })
    }

    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        loop {
            if let Some(batch) = self.next_pending().await? {
                return Ok(Some(batch));
            }
            if self.window.is_full() {
                return Ok(None);
            }
            let batch = match self.ahead.pop_front() {
                Some(batch) => batch,
                None => match self.execution.next(&mut self.stream).await? {
                    Some(batch) => batch,
                    None => return Ok(None),
                },
            };
            let rows = self.window.cut(&batch);
            if rows.num_rows() == 0 {
                continue;
            }
            let Some(columns) = self.plan.address else {
                let shown: Vec<usize> = self.plan.columns.iter().map(|column| position(column).unwrap_or(0)).collect();
                let shown = rows.project(&shown);
                return shown.map(Some).map_err(|error| QueryError::Internal(error.to_string()));
            };
            let addresses = addresses(&rows, columns)?;
            self.pending = Some(Pending { rows, addresses, done: 0 });
        }
    }

    /// The next pending rows, as many as fit in memory with their stored columns.
    async fn next_pending(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        let Some(pending) = &mut self.pending else { return Ok(None) };
        let left = pending.addresses.get(pending.done..).unwrap_or_default();
        if left.is_empty() {
            self.pending = None;
            return Ok(None);
        }
        let wide = self.reader.next_chunk(left).await.map_err(|error| self.execution.error(error))?;
        let narrow = pending.rows.slice(pending.done, wide.num_rows());
        pending.done += wide.num_rows();
        joined(&self.plan.columns, &narrow, &wide).map(Some)
    }

    pub(crate) fn total(&self) -> Option<u64> {
        self.total
    }
}

/// Of the stored columns of a page, in the order of their use.
fn row_reader(execution: &Execution, page: &PagePlan) -> PlanResult<RowReader> {
    let stored = page.columns.iter().filter_map(|column| match column {
        PageColumn::Stored(name) => Some(*name),
        PageColumn::Page(_) => None,
    });
    RowReader::new(Arc::clone(&execution.source.snapshot), execution.source.table, stored.collect())
}

fn position(column: &PageColumn) -> Option<usize> {
    match column {
        PageColumn::Page(position) => Some(*position),
        PageColumn::Stored(_) => None,
    }
}

/// The output columns in order, from the page and from the stored columns (which stand in the order of their use).
fn joined(columns: &[PageColumn], narrow: &RecordBatch, wide: &RecordBatch) -> Result<RecordBatch, QueryError> {
    let missing = || QueryError::Internal("a page lacks a column".into());
    let mut stored = wide.columns().iter();
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
    for column in columns {
        let array = match column {
            PageColumn::Page(position) => narrow.columns().get(*position),
            PageColumn::Stored(_) => stored.next(),
        };
        arrays.push(Arc::clone(array.ok_or_else(missing)?));
    }
    let fields: Vec<Field> = arrays
        .iter()
        .enumerate()
        .map(|(index, array)| Field::new(format!("o{index}"), array.data_type().clone(), true))
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(narrow.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| QueryError::Internal(error.to_string()))
}
