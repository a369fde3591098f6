//! The rows of a grouped query: a window of its ordered groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};

use super::execution::Execution;
use super::row_count::RowCountExec;
use super::session::sorted;
use super::window::Window;
use crate::query::compile::grouped::GroupedPlan;
use crate::query::error::QueryError;

pub(crate) struct Groups {
    execution: Execution,
    stream: SendableRecordBatchStream,
    window: Window,
    /// The first columns of the plan, by their positions; what follows is there for the order only.
    shown: Vec<usize>,
    /// Of all groups that were read.
    count: Arc<AtomicU64>,
}

impl Groups {
    pub(crate) async fn open(
        execution: Execution,
        grouped: &GroupedPlan,
        columns: usize,
        window: Window,
    ) -> Result<Groups, QueryError> {
        let session = execution.session(grouped.plan.batch_size)?;
        let plan = session.plan(&grouped.plan.plan).await.map_err(|error| execution.error(error))?;
        let count = Arc::new(AtomicU64::new(0));
        let counted: Arc<dyn ExecutionPlan> = Arc::new(RowCountExec::new(plan, Arc::clone(&count)));
        let plan = sorted(counted, &grouped.order, window.fetch()).map_err(|error| execution.error(error))?;
        let stream = execute_stream(plan, session.task()).map_err(|error| execution.error(error))?;
        Ok(Groups { execution, stream, window, shown: (0..columns).collect(), count })
    }

    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        while !self.window.is_full() {
            let Some(batch) = self.execution.next(&mut self.stream).await? else { break };
            let rows = self.window.cut(&batch);
            if rows.num_rows() > 0 {
                let shown = rows.project(&self.shown);
                return shown.map(Some).map_err(|error| QueryError::Internal(error.to_string()));
            }
        }
        Ok(None)
    }

    /// Complete once the first batch is there: the sort has read all its input before it gives its first row.
    pub(crate) fn total(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
