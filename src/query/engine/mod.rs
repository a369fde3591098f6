//! Runs queries: a slot, a session and a deadline for each, on threads of its own.
//!
//! A query is a task on the engine's runtime that writes chunks of the response into a short channel. Dropping the
//! answer's body ends the task, and with it every stream and spill file of the query.

mod found;
mod row_count;
mod session;
mod texts;

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};
use bytes::Bytes;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{Stream, StreamExt};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use self::row_count::RowCountExec;
use self::session::{Limits, Session, query_error, sorted};
use super::compile::grouped::{self, GroupedPlan};
use super::compile::page::{self, PageColumn, PagePlan};
pub(crate) use super::compile::report::SearchReport;
use super::compile::source::{SizedPlan, Source};
use super::compile::{count, latest, report};
use super::dsl::{Export, Filter, PropertyQuery, Query};
use super::error::QueryError;
use super::render::{self, Column, ColumnFormat, ResultWriter, RowWriter};
use super::scan::rows::RowReader;
use crate::model::scope::Scope;
use crate::storage::read::snapshot::{RowAddress, Snapshot, Table};
pub(crate) use found::FoundRows;
use found::addresses;

/// Plans of a thousand nested conditions are walked recursively.
const STACK_BYTES: usize = 32 << 20;
/// A chunk of the response is sent once it has this many bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// A sort keeps at most this many rows in one heap; above that it sorts everything, which can spill.
const MAX_TOP_ROWS: usize = 200_000;
/// Rows of the report on search texts (contract A4).
const TOP_SEARCH_QUERIES: usize = 100;

/// An export takes as long as its client reads, so it has this many times a query's deadline.
const EXPORT_DEADLINES: u32 = 10;

#[derive(Clone, Debug)]
pub(crate) struct QueryOptions {
    /// Threads, and partitions of a plan.
    pub(crate) threads: usize,
    /// Queries that run at once.
    pub(crate) slots: usize,
    /// How long a query waits for a slot before it is turned away.
    pub(crate) slot_wait: Duration,
    /// Of one query.
    pub(crate) memory_bytes: u64,
    /// Of one query, in `spill_dir`.
    pub(crate) spill_bytes: u64,
    pub(crate) spill_dir: PathBuf,
    /// From the request to the last byte, the wait for a slot not counted.
    pub(crate) deadline: Duration,
}

pub(crate) struct QueryEngine {
    /// Taken only by `drop`.
    runtime: Option<Runtime>,
    handle: Handle,
    slots: Arc<Semaphore>,
    slot_wait: Duration,
    deadline: Duration,
    limits: Arc<Limits>,
}

/// A response whose first chunk is there.
pub(crate) struct QueryAnswer {
    pub(crate) body: QueryBody,
}

impl QueryEngine {
    /// # Errors
    /// If the threads or the spill folder cannot be made.
    pub(crate) fn new(options: QueryOptions) -> std::io::Result<QueryEngine> {
        std::fs::create_dir_all(&options.spill_dir)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads.max(1))
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()?;
        Ok(QueryEngine {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
            slots: Arc::new(Semaphore::new(options.slots.max(1))),
            slot_wait: options.slot_wait,
            deadline: options.deadline,
            limits: Arc::new(Limits {
                memory_bytes: options.memory_bytes,
                spill_bytes: options.spill_bytes,
                spill_dir: options.spill_dir,
                partitions: options.threads.max(1),
            }),
        })
    }

    /// Answers a query. Returns once the first chunk is ready, so that a limit hit before still gets its status.
    pub(crate) async fn run(
        &self,
        snapshot: Arc<Snapshot>,
        scope: Scope,
        query: Query,
    ) -> Result<QueryAnswer, QueryError> {
        let source = Source { snapshot, table: query.view.table, scope };
        self.start(source, self.deadline, Request::Query(query)).await
    }

    /// The same rows as CSV (contract A4).
    pub(crate) async fn export(
        &self,
        snapshot: Arc<Snapshot>,
        scope: Scope,
        export: Export,
    ) -> Result<QueryAnswer, QueryError> {
        let source = Source { snapshot, table: export.query.view.table, scope };
        self.start(source, EXPORT_DEADLINES * self.deadline, Request::Export(export)).await
    }

    /// Answers a report on search events (contract A4). `after`: epoch milliseconds, possibly with a fraction.
    pub(crate) async fn search_report(
        &self,
        snapshot: Arc<Snapshot>,
        scope: Scope,
        report: SearchReport,
        after: Option<String>,
    ) -> Result<QueryAnswer, QueryError> {
        let source = Source { snapshot, table: Table::Events, scope };
        self.start(source, self.deadline, Request::SearchReport(report, after)).await
    }

    async fn start(&self, source: Source, deadline: Duration, request: Request) -> Result<QueryAnswer, QueryError> {
        let slot = self.slot().await?;
        let deadline = Deadline::after(deadline);
        let limits = Arc::clone(&self.limits);
        let (sender, receiver) = mpsc::channel(4);
        let task = self.handle.spawn(async move {
            let mut output = Output { sender: sender.clone(), chunk: Vec::new() };
            let execution = Execution { source, limits };
            let answered = match &request {
                Request::Query(query) => deadline.limit(execution.answer(query, &mut output)).await,
                Request::Export(export) => deadline.limit(execution.export(export, &mut output)).await,
                Request::SearchReport(report, after) => {
                    deadline.limit(execution.answer_report(*report, after.as_deref(), &mut output)).await
                }
            };
            let last = match answered {
                Ok(()) => Message::End,
                Err(error) => Message::Failed(error),
            };
            // A client that stopped reading must not keep the slot; if it is gone, nobody is left to tell.
            drop(slot);
            let _ = sender.send(last).await;
        });
        let mut body = QueryBody { receiver, task: task.abort_handle(), first: None, done: false };
        match body.next().await {
            Some(Ok(chunk)) => {
                body.first = Some(chunk);
                Ok(QueryAnswer { body })
            }
            Some(Err(error)) => Err(error),
            None => Err(QueryError::Internal("the query gave no output".into())),
        }
    }

    /// Distinct property keys or values, sorted by code point.
    pub(crate) async fn properties(
        &self,
        snapshot: Arc<Snapshot>,
        scope: Scope,
        query: PropertyQuery,
    ) -> Result<Vec<String>, QueryError> {
        let slot = self.slot().await?;
        let deadline = Deadline::after(self.deadline);
        let limits = Arc::clone(&self.limits);
        let task = self.handle.spawn(async move {
            let _slot: OwnedSemaphorePermit = slot;
            let source = Source { snapshot, table: Table::Conversations, scope };
            let execution = Execution { source, limits };
            deadline.limit(execution.properties(&query)).await
        });
        let _abort = AbortOnDrop(task.abort_handle());
        task.await.unwrap_or_else(|error| Err(QueryError::Internal(format!("the query's task ended: {error}"))))
    }

    /// The addresses of the newest conversations, and the number of all (contract A2, `GET /conversations`).
    pub(crate) async fn latest(
        &self,
        snapshot: Arc<Snapshot>,
        scope: Scope,
        limit: usize,
        offset: usize,
    ) -> Result<(Vec<RowAddress>, u64), QueryError> {
        let source = Source { snapshot, table: Table::Conversations, scope };
        let (page, count) = (latest::latest(&source), count::row_count(&source));
        self.newest(source, page, count, limit, offset).await
    }

    /// The addresses of a page plan's rows, and what a count plan says.
    async fn newest(
        &self,
        source: Source,
        page: Result<PagePlan, DataFusionError>,
        count: Result<SizedPlan, DataFusionError>,
        limit: usize,
        offset: usize,
    ) -> Result<(Vec<RowAddress>, u64), QueryError> {
        let slot = self.slot().await?;
        let deadline = Deadline::after(self.deadline);
        let limits = Arc::clone(&self.limits);
        let task = self.handle.spawn(async move {
            let _slot: OwnedSemaphorePermit = slot;
            let execution = Execution { source, limits };
            deadline.limit(execution.newest(page, count, limit, offset)).await
        });
        let _abort = AbortOnDrop(task.abort_handle());
        task.await.unwrap_or_else(|error| Err(QueryError::Internal(format!("the query's task ended: {error}"))))
    }

    /// The addresses of the newest feedback of a type whose message is there, and the number of all (contract A4,
    /// `GET /feedback`).
    pub(crate) async fn latest_feedback(
        &self,
        snapshot: Arc<Snapshot>,
        scope: Scope,
        feedback_type: &'static str,
        limit: usize,
        offset: usize,
    ) -> Result<(Vec<RowAddress>, u64), QueryError> {
        let source = Source { snapshot, table: Table::Feedback, scope };
        let page = latest::latest_feedback(&source, feedback_type);
        let count = latest::feedback_count(&source, feedback_type);
        self.newest(source, page, count, limit, offset).await
    }

    /// The first matching conversations, by plain fields in order (`true`: descending).
    pub(crate) async fn rows(
        &self,
        snapshot: Arc<Snapshot>,
        scope: Scope,
        filter: Filter,
        order: Vec<(&'static str, bool)>,
        limit: usize,
    ) -> Result<FoundRows, QueryError> {
        let slot = self.slot().await?;
        let deadline = Deadline::after(self.deadline);
        let limits = Arc::clone(&self.limits);
        let task = self.handle.spawn(async move {
            let _slot: OwnedSemaphorePermit = slot;
            let source = Source { snapshot, table: Table::Conversations, scope };
            let page = page::rows(&filter, &order, &source);
            let execution = Execution { source, limits };
            deadline.limit(execution.rows(page, Window { skip: 0, left: limit })).await
        });
        let _abort = AbortOnDrop(task.abort_handle());
        task.await.unwrap_or_else(|error| Err(QueryError::Internal(format!("the query's task ended: {error}"))))
    }

    /// Runs work that decodes files on the query threads, so that it keeps no other request waiting.
    pub(crate) async fn decode<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, QueryError> {
        let task = self.handle.spawn(work);
        let _abort = AbortOnDrop(task.abort_handle());
        task.await.map_err(|error| QueryError::Internal(format!("the task ended: {error}")))
    }

    async fn slot(&self) -> Result<OwnedSemaphorePermit, QueryError> {
        match timeout(self.slot_wait, Arc::clone(&self.slots).acquire_owned()).await {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(QueryError::NoSlot),
        }
    }
}

impl Drop for QueryEngine {
    /// A runtime must not block on its own end inside another runtime's thread.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a task answers.
enum Request {
    Query(Query),
    Export(Export),
    SearchReport(SearchReport, Option<String>),
}

#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    seconds: u64,
}

impl Deadline {
    fn after(duration: Duration) -> Self {
        Deadline { at: Instant::now() + duration, seconds: duration.as_secs() }
    }

    async fn limit<T>(self, work: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
        let over = Err(QueryError::Deadline { seconds: self.seconds });
        // `timeout_at` polls the work first, which may be done at once.
        if Instant::now() >= self.at {
            return over;
        }
        timeout_at(self.at, work).await.unwrap_or(over)
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

enum Message {
    Chunk(Bytes),
    Failed(QueryError),
    End,
}

/// The response in chunks. An error is the last item, and then the body is no valid JSON.
pub(crate) struct QueryBody {
    receiver: mpsc::Receiver<Message>,
    task: AbortHandle,
    first: Option<Bytes>,
    done: bool,
}

impl Stream for QueryBody {
    type Item = Result<Bytes, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(chunk) = self.first.take() {
            return Poll::Ready(Some(Ok(chunk)));
        }
        if self.done {
            return Poll::Ready(None);
        }
        self.receiver.poll_recv(context).map(|message| match message {
            Some(Message::Chunk(chunk)) => Some(Ok(chunk)),
            Some(Message::End) => {
                self.done = true;
                None
            }
            Some(Message::Failed(error)) => {
                self.done = true;
                Some(Err(error))
            }
            // Only a panic ends the task without a last message.
            None => {
                self.done = true;
                Some(Err(QueryError::Internal("the query's task ended".into())))
            }
        })
    }
}

impl Drop for QueryBody {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Output {
    sender: mpsc::Sender<Message>,
    chunk: Vec<u8>,
}

impl Output {
    /// Sends rows in chunks, so that a client which does not read holds a few of them in memory, however long the rows.
    async fn write(
        &mut self,
        writer: &mut impl ResultWriter,
        batch: &RecordBatch,
        rows: std::ops::Range<usize>,
    ) -> Result<(), QueryError> {
        let mut next = rows.start;
        while next < rows.end {
            next = writer.write_batch(batch, &mut self.chunk, next..rows.end, CHUNK_BYTES)?;
            self.flush_above(CHUNK_BYTES).await?;
        }
        Ok(())
    }

    async fn flush_above(&mut self, bytes: usize) -> Result<(), QueryError> {
        if self.chunk.len() <= bytes {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.chunk));
        let sent = self.sender.send(Message::Chunk(chunk)).await;
        sent.map_err(|_| QueryError::Internal("the client is gone".into()))
    }
}

/// Skips the first rows of a stream and ends after a number of rows.
struct Window {
    skip: usize,
    left: usize,
}

impl Window {
    /// The rows of the next batch that are in the window.
    fn take(&mut self, rows: usize) -> std::ops::Range<usize> {
        let start = self.skip.min(rows);
        self.skip -= start;
        let end = start + self.left.min(rows - start);
        self.left -= end - start;
        start..end
    }
}

struct Execution {
    source: Source,
    limits: Arc<Limits>,
}

impl Execution {
    fn error(&self, error: DataFusionError) -> QueryError {
        query_error(&error, &self.limits)
    }

    fn session(&self, batch_size: usize) -> Result<Session, QueryError> {
        let store = Arc::clone(&self.source.snapshot.store);
        Session::new(&self.limits, store, batch_size).map_err(|error| self.error(error))
    }

    async fn answer(&self, query: &Query, output: &mut Output) -> Result<(), QueryError> {
        self.write(query, &mut RowWriter::new(render::formats(query)), output).await
    }

    async fn write<W: ResultWriter + Send>(
        &self,
        query: &Query,
        writer: &mut W,
        output: &mut Output,
    ) -> Result<(), QueryError> {
        let total = if query.grouped {
            let grouped = grouped::grouped(query, &self.source).map_err(|error| self.error(error))?;
            writer.open(&mut output.chunk);
            let window = Window { skip: query.offset, left: query.limit };
            self.write_groups(grouped, fetch(query), window, writer, output).await?
        } else {
            self.write_rows(query, writer, output).await?
        };
        writer.close(&mut output.chunk, total, query.limit);
        output.flush_above(0).await
    }

    async fn answer_report(
        &self,
        report: SearchReport,
        after: Option<&str>,
        output: &mut Output,
    ) -> Result<(), QueryError> {
        let grouped = report::search_report(report, after, &self.source).map_err(|error| self.error(error))?;
        let (names, format, limit) = match report {
            SearchReport::TopQueries => (["search_query", "count"], ColumnFormat::Text, Some(TOP_SEARCH_QUERIES)),
            SearchReport::WeeklyUsers => (["week", "unique_users"], ColumnFormat::Time, None),
        };
        let formats = names.into_iter().zip([format, ColumnFormat::Text]);
        let columns = formats.map(|(name, format)| Column { name: name.to_owned(), format, omit_null: false });
        let mut writer = RowWriter::new(columns.collect());
        output.chunk.extend_from_slice(br#"{"data":{"result":["#);
        let window = Window { skip: 0, left: limit.unwrap_or(usize::MAX) };
        let total = self.write_groups(grouped, limit, window, &mut writer, output).await?;
        output.chunk.extend_from_slice(format!("],\"total\":{total}}}}}").as_bytes());
        output.flush_above(0).await
    }

    /// Writes a window of the ordered groups; gives the number of all.
    async fn write_groups<W: ResultWriter + Send>(
        &self,
        grouped: GroupedPlan,
        fetch: Option<usize>,
        mut window: Window,
        writer: &mut W,
        output: &mut Output,
    ) -> Result<u64, QueryError> {
        let session = self.session(grouped.plan.batch_size)?;
        let plan = session.plan(&grouped.plan.plan).await.map_err(|error| self.error(error))?;
        let groups = Arc::new(AtomicU64::new(0));
        let counted: Arc<dyn ExecutionPlan> = Arc::new(RowCountExec::new(plan, Arc::clone(&groups)));
        let plan = sorted(counted, &grouped.order, fetch).map_err(|error| self.error(error))?;
        let mut stream = execute_stream(plan, session.task()).map_err(|error| self.error(error))?;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| self.error(error))?;
            let rows = window.take(batch.num_rows());
            output.write(writer, &batch, rows).await?;
            if window.left == 0 {
                // The sort has read all its input before it gave its first row.
                break;
            }
        }
        Ok(groups.load(Ordering::Relaxed))
    }

    async fn write_rows<W: ResultWriter + Send>(
        &self,
        query: &Query,
        writer: &mut W,
        output: &mut Output,
    ) -> Result<u64, QueryError> {
        let page = page::page(query, &self.source).map_err(|error| self.error(error))?;
        let mut stream = self.page_stream(&page, fetch(query)).await?;
        let mut window = Window { skip: query.offset, left: query.limit };
        // Two batches ahead: a page that ends within the first is known to be all there is.
        let mut batch = next(&mut stream).await.map_err(|error| self.error(error))?;
        let following = match batch {
            Some(_) => next(&mut stream).await.map_err(|error| self.error(error))?,
            None => None,
        };
        let first_rows = batch.as_ref().map_or(0, RecordBatch::num_rows);
        let complete = following.is_none() && fetch(query).is_none_or(|fetch| first_rows < fetch);
        let total = if complete || !W::SHOWS_TOTAL { first_rows as u64 } else { self.count(query).await? };
        writer.open(&mut output.chunk);
        let mut following = following;
        let mut reader = self.row_reader(&page);
        while let Some(current) = batch {
            let rows = window.take(current.num_rows());
            self.write_page(&page, &mut reader, &current.slice(rows.start, rows.len()), writer, output).await?;
            if window.left == 0 {
                break;
            }
            batch = following.take();
            if batch.is_some() {
                following = next(&mut stream).await.map_err(|error| self.error(error))?;
            }
        }
        Ok(total)
    }

    /// Of the stored columns of a page, in the order of their use.
    fn row_reader(&self, page: &PagePlan) -> RowReader {
        let stored = page.columns.iter().filter_map(|column| match column {
            PageColumn::Stored(name) => Some(*name),
            PageColumn::Page(_) => None,
        });
        RowReader::new(Arc::clone(&self.source.snapshot), self.source.table, stored.collect())
    }

    /// Writes rows of a page, with the stored columns that the sort did not carry.
    async fn write_page<W: ResultWriter + Send>(
        &self,
        page: &PagePlan,
        reader: &mut RowReader,
        rows: &RecordBatch,
        writer: &mut W,
        output: &mut Output,
    ) -> Result<(), QueryError> {
        let Some(address) = page.address else {
            let columns: Vec<usize> = page.columns.iter().map(|column| position(column).unwrap_or(0)).collect();
            let batch = rows.project(&columns).map_err(|error| QueryError::Internal(error.to_string()))?;
            return output.write(writer, &batch, 0..batch.num_rows()).await;
        };
        let addresses = addresses(rows, address)?;
        let mut done = 0;
        while done < addresses.len() {
            let left = addresses.get(done..).unwrap_or_default();
            let wide = reader.next_chunk(left).await.map_err(|error| self.error(error))?;
            let narrow = rows.slice(done, wide.num_rows());
            let batch = joined(&page.columns, &narrow, &wide)?;
            output.write(writer, &batch, 0..batch.num_rows()).await?;
            done += batch.num_rows();
        }
        Ok(())
    }

    async fn count(&self, query: &Query) -> Result<u64, QueryError> {
        let plan = count::matches(query, &self.source).map_err(|error| self.error(error))?;
        self.single_count(&plan).await
    }

    async fn single_count(&self, plan: &SizedPlan) -> Result<u64, QueryError> {
        let mut stream = self.stream(plan).await?;
        let batch = next(&mut stream).await.map_err(|error| self.error(error))?;
        let count = batch.as_ref().and_then(|batch| batch.columns().first()).and_then(|column| {
            let column = column.as_any().downcast_ref::<Int64Array>()?;
            (!column.is_empty()).then(|| column.value(0))
        });
        count
            .and_then(|count| u64::try_from(count).ok())
            .ok_or_else(|| QueryError::Internal("a count gave no number".into()))
    }

    async fn stream(&self, plan: &SizedPlan) -> Result<SendableRecordBatchStream, QueryError> {
        let session = self.session(plan.batch_size)?;
        let plan = session.plan(&plan.plan).await.map_err(|error| self.error(error))?;
        execute_stream(plan, session.task()).map_err(|error| self.error(error))
    }

    /// The first `fetch` rows of a page plan in order.
    async fn page_stream(
        &self,
        page: &PagePlan,
        fetch: Option<usize>,
    ) -> Result<SendableRecordBatchStream, QueryError> {
        let session = self.session(page.plan.batch_size)?;
        let plan = session.plan_sorted(&page.plan.plan, &page.order, fetch).await.map_err(|error| self.error(error))?;
        execute_stream(plan, session.task()).map_err(|error| self.error(error))
    }

    async fn newest(
        &self,
        page: Result<PagePlan, DataFusionError>,
        count: Result<SizedPlan, DataFusionError>,
        limit: usize,
        offset: usize,
    ) -> Result<(Vec<RowAddress>, u64), QueryError> {
        let plan = count.map_err(|error| self.error(error))?;
        let total = self.single_count(&plan).await?;
        if limit == 0 || offset as u64 >= total {
            return Ok((Vec::new(), total));
        }
        Ok((self.rows(page, Window { skip: offset, left: limit }).await?.addresses, total))
    }

    /// The rows that a page plan has in a window.
    async fn rows(&self, page: Result<PagePlan, DataFusionError>, mut window: Window) -> Result<FoundRows, QueryError> {
        let mut found = FoundRows::default();
        let page = page.map_err(|error| self.error(error))?;
        let Some(address) = page.address else { return Ok(found) };
        let fetch = window.skip.checked_add(window.left).filter(|&rows| rows <= MAX_TOP_ROWS);
        let mut stream = self.page_stream(&page, fetch).await?;
        while let Some(batch) = next(&mut stream).await.map_err(|error| self.error(error))? {
            let rows = window.take(batch.num_rows());
            found.push(&batch.slice(rows.start, rows.len()), &page, address)?;
            if window.left == 0 {
                break;
            }
        }
        Ok(found)
    }
}

/// How many sorted rows the answer needs; `None`: too many for a heap, so all are sorted.
fn fetch(query: &Query) -> Option<usize> {
    query.offset.checked_add(query.limit).filter(|&rows| rows <= MAX_TOP_ROWS)
}

/// The next batch that has rows.
async fn next(stream: &mut SendableRecordBatchStream) -> Result<Option<RecordBatch>, DataFusionError> {
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            return Ok(Some(batch));
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests;
