//! The query engine: what can be asked of a snapshot, each as a task on the query threads ([`super::admission`]) whose
//! plans ([`super::compile`]) become rows ([`super::execute`]).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::admission::{Admission, AdmissionOptions, Lane, Task};
use super::compile::page::PagePlan;
use super::compile::source::{SizedPlan, Source};
use super::compile::{count, latest, page};
use super::cost;
use super::dsl::Filter;
use super::error::QueryError;
use super::execute::execution::Execution;
use super::execute::found::FoundRows;
use super::execute::question::Question;
use super::execute::row_stream::RowStream;
use super::execute::session::Limits;
use super::execute::window::Window;
use super::turns::Turns;
use crate::memory::Budget;
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
    /// Queries that run at once; cheap ones have as many more.
    pub(crate) slots: usize,
    /// Exports at once.
    pub(crate) export_slots: usize,
    /// How long a query waits for a slot before it is turned away.
    pub(crate) slot_wait: Duration,
    /// Of one query.
    pub(crate) memory_bytes: u64,
    /// Of all of them together.
    pub(crate) memory: Arc<Budget>,
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
            export_slots: options.export_slots,
            slot_wait: options.slot_wait,
            deadline: options.deadline,
        };
        Ok(QueryEngine {
            admission: Admission::new(&admission)?,
            limits: Arc::new(Limits {
                memory_bytes: options.memory_bytes,
                memory: options.memory,
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
        let (lane, deadlines) = match &question {
            Question::Export(_) => (Lane::Export, EXPORT_DEADLINES),
            question if cost::is_cheap(question, snapshot.rows(question.table())) => (Lane::Cheap, 1),
            _ => (Lane::Full, 1),
        };
        let asker = scope.asker.clone();
        let execution = self.execution(snapshot, question.table(), scope);
        let work = async move |slot| read(RowStream::open(execution, question).await?.in_slot(slot)).await;
        self.admission.start(&asker, lane, deadlines, |slot| Box::pin(work(slot)) as BoxFuture<'static, _>).await
    }

    /// The addresses of the newest conversations, and the number of all (contract A2, `GET /conversations`).
    pub(crate) async fn latest(
        &self,
        snapshot: Arc<Snapshot>,
        scope: Scope,
        limit: usize,
        offset: usize,
    ) -> Result<(Vec<RowAddress>, u64), QueryError> {
        let (lane, asker) = (lane_of_list(None, snapshot.rows(Table::Conversations)), scope.asker.clone());
        let execution = self.execution(snapshot, Table::Conversations, scope);
        let window = Window::new(offset, limit);
        let work = async move {
            let failed = |error| execution.error(error);
            let page = latest::latest(&execution.source).map_err(failed)?;
            let count = count::row_count(&execution.source).map_err(failed)?;
            newest(&execution, &page, &count, window).await
        };
        self.admission.start(&asker, lane, 1, |_| work).await?.await
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
        let (lane, asker) = (lane_of_list(None, snapshot.rows(Table::Feedback)), scope.asker.clone());
        let execution = self.execution(snapshot, Table::Feedback, scope);
        let window = Window::new(offset, limit);
        let work = async move {
            let failed = |error| execution.error(error);
            let page = latest::latest_feedback(&execution.source, feedback_type).map_err(failed)?;
            let count = latest::feedback_count(&execution.source, feedback_type).map_err(failed)?;
            newest(&execution, &page, &count, window).await
        };
        self.admission.start(&asker, lane, 1, |_| work).await?.await
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
        let Source { snapshot, table, scope, .. } = &execution.source;
        let (lane, asker) = (lane_of_list(Some(&filter), snapshot.rows(*table)), scope.asker.clone());
        let work = async move {
            let page = page::rows(&filter, &order, &execution.source).map_err(|error| execution.error(error))?;
            FoundRows::read(&execution, &page, Window::new(0, limit)).await
        };
        self.admission.start(&asker, lane, 1, |_| work).await?.await
    }

    /// Runs work that decodes files on the query threads, so that it keeps no other request waiting. It takes no slot.
    pub(crate) async fn decode<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, QueryError> {
        self.admission.spawn(async move { Ok(work.await) }).await
    }

    /// The slots by name.
    pub(crate) fn lanes(&self) -> [(&'static str, &Arc<Turns>); 3] {
        self.admission.lanes()
    }

    /// What all queries together hold.
    pub(crate) fn memory(&self) -> &Budget {
        &self.limits.memory
    }

    fn execution(&self, snapshot: Arc<Snapshot>, table: Table, scope: Scope) -> Execution {
        Execution { source: Source { snapshot, table, scope, filter: None }, limits: Arc::clone(&self.limits) }
    }
}

fn lane_of_list(filter: Option<&Filter>, rows: u64) -> Lane {
    if cost::is_cheap_list(filter, rows) { Lane::Cheap } else { Lane::Full }
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
