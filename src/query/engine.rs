//! The query engine: what can be asked of a snapshot, each as a task on the query threads ([`super::admission`]) whose
//! plans ([`super::compile`]) become rows ([`super::execute`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::admission::{Admission, AdmissionOptions, Task};
use super::compile::page::PagePlan;
use super::compile::source::{SizedPlan, Source};
use super::compile::{count, latest, page};
use super::dsl::Filter;
use super::error::QueryError;
use super::execute::execution::Execution;
use super::execute::found::FoundRows;
use super::execute::question::Question;
use super::execute::row_stream::RowStream;
use super::execute::session::Limits;
use super::execute::window::Window;
use crate::model::scope::Scope;
use crate::storage::format::table::Table;
use crate::storage::read::row_filter::RowFilter;
use crate::storage::read::snapshot::{RowAddress, Snapshot};

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
    admission: Admission,
    limits: Arc<Limits>,
}

impl QueryEngine {
    /// # Errors
    /// If the threads cannot be made.
    pub(crate) fn new(options: QueryOptions) -> std::io::Result<QueryEngine> {
        let admission = AdmissionOptions {
            threads: options.threads,
            slots: options.slots,
            slot_wait: options.slot_wait,
            deadline: options.deadline,
        };
        Ok(QueryEngine {
            admission: Admission::new(&admission)?,
            limits: Arc::new(Limits {
                memory_bytes: options.memory_bytes,
                spill_bytes: options.spill_bytes,
                spill_dir: options.spill_dir,
                partitions: options.threads.max(1),
            }),
        })
    }

    /// Asks a question and gives its rows to `read`, which works on the query threads too. Returns once there is a
    /// slot; the task ends with what `read` gives.
    pub(crate) async fn ask<T, F>(
        &self,
        snapshot: Arc<Snapshot>,
        scope: Scope,
        question: Question,
        read: impl FnOnce(RowStream) -> F + Send + 'static,
    ) -> Result<Task<T>, QueryError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, QueryError>> + Send + 'static,
    {
        let deadlines = if matches!(question, Question::Export(_)) { EXPORT_DEADLINES } else { 1 };
        let execution = self.execution(snapshot, question.table(), scope);
        self.admission.start(deadlines, async move { read(RowStream::open(execution, question).await?).await }).await
    }

    /// The addresses of the newest conversations, and the number of all (contract A2, `GET /conversations`).
    pub(crate) async fn latest(
        &self,
        snapshot: Arc<Snapshot>,
        scope: Scope,
        limit: usize,
        offset: usize,
    ) -> Result<(Vec<RowAddress>, u64), QueryError> {
        let execution = self.execution(snapshot, Table::Conversations, scope);
        let window = Window::new(offset, limit);
        let work = async move {
            let failed = |error| execution.error(error);
            let page = latest::latest(&execution.source).map_err(failed)?;
            let count = count::row_count(&execution.source).map_err(failed)?;
            newest(&execution, &page, &count, window).await
        };
        self.admission.start(1, work).await?.await
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
        let execution = self.execution(snapshot, Table::Feedback, scope);
        let window = Window::new(offset, limit);
        let work = async move {
            let failed = |error| execution.error(error);
            let page = latest::latest_feedback(&execution.source, feedback_type).map_err(failed)?;
            let count = latest::feedback_count(&execution.source, feedback_type).map_err(failed)?;
            newest(&execution, &page, &count, window).await
        };
        self.admission.start(1, work).await?.await
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
        self.rows_among(snapshot, scope, None, filter, order, limit).await
    }

    /// The same among the rows that `candidates` asks for.
    pub(crate) async fn rows_among(
        &self,
        snapshot: Arc<Snapshot>,
        scope: Scope,
        candidates: Option<Arc<RowFilter>>,
        filter: Filter,
        order: Vec<(&'static str, bool)>,
        limit: usize,
    ) -> Result<FoundRows, QueryError> {
        let mut execution = self.execution(snapshot, Table::Conversations, scope);
        execution.source.filter = candidates;
        self.found(execution, filter, order, limit).await
    }

    /// The addresses of rows of any table that match, in no order; at most so many.
    pub(crate) async fn addresses(
        &self,
        snapshot: Arc<Snapshot>,
        table: Table,
        scope: Scope,
        filter: Filter,
        limit: usize,
    ) -> Result<Vec<RowAddress>, QueryError> {
        let execution = self.execution(snapshot, table, scope);
        Ok(self.found(execution, filter, vec![("id", false)], limit).await?.addresses)
    }

    async fn found(
        &self,
        execution: Execution,
        filter: Filter,
        order: Vec<(&'static str, bool)>,
        limit: usize,
    ) -> Result<FoundRows, QueryError> {
        let work = async move {
            let page = page::rows(&filter, &order, &execution.source).map_err(|error| execution.error(error))?;
            FoundRows::read(&execution, &page, Window::new(0, limit)).await
        };
        self.admission.start(1, work).await?.await
    }

    /// Runs work that decodes files on the query threads, so that it keeps no other request waiting. It takes no slot.
    pub(crate) async fn decode<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, QueryError> {
        self.admission.spawn(async move { Ok(work.await) }).await
    }

    fn execution(&self, snapshot: Arc<Snapshot>, table: Table, scope: Scope) -> Execution {
        Execution { source: Source { snapshot, table, scope, filter: None }, limits: Arc::clone(&self.limits) }
    }
}

/// The addresses of a page plan's rows in a window, and what a count plan says.
async fn newest(
    execution: &Execution,
    page: &PagePlan,
    count: &SizedPlan,
    window: Window,
) -> Result<(Vec<RowAddress>, u64), QueryError> {
    let total = execution.count(count).await?;
    if !window.reaches(total) {
        return Ok((Vec::new(), total));
    }
    Ok((FoundRows::read(execution, page, window).await?.addresses, total))
}

#[cfg(test)]
mod tests;
