//! What every plan of one query shares: what it reads, its limits, and how a plan becomes a stream.

use std::sync::Arc;

use arrow::array::{Array, Int64Array, RecordBatch};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;

use super::session::{Limits, Session, query_error};
use crate::query::compile::page::PagePlan;
use crate::query::compile::source::{SizedPlan, Source};
use crate::query::error::QueryError;

#[derive(Clone)]
pub(crate) struct Execution {
    pub(crate) source: Source,
    pub(crate) limits: Arc<Limits>,
}

impl Execution {
    pub(crate) fn error(&self, error: DataFusionError) -> QueryError {
        query_error(&error, &self.limits)
    }

    pub(crate) fn session(&self, batch_size: usize) -> Result<Session, QueryError> {
        let store = Arc::clone(&self.source.snapshot.store);
        Session::new(&self.limits, store, batch_size).map_err(|error| self.error(error))
    }

    pub(crate) async fn stream(&self, plan: &SizedPlan) -> Result<SendableRecordBatchStream, QueryError> {
        let session = self.session(plan.batch_size)?;
        let plan = session.plan(&plan.plan).await.map_err(|error| self.error(error))?;
        execute_stream(plan, session.task()).map_err(|error| self.error(error))
    }

    /// The first `fetch` rows of a page plan in order.
    pub(crate) async fn page_stream(
        &self,
        page: &PagePlan,
        fetch: Option<usize>,
    ) -> Result<SendableRecordBatchStream, QueryError> {
        let session = self.session(page.plan.batch_size)?;
        let plan = session.plan_sorted(&page.plan.plan, &page.order, fetch).await.map_err(|error| self.error(error))?;
        execute_stream(plan, session.task()).map_err(|error| self.error(error))
    }

    /// The number that a count plan gives.
    pub(crate) async fn count(&self, plan: &SizedPlan) -> Result<u64, QueryError> {
        let mut stream = self.stream(plan).await?;
        let batch = self.next(&mut stream).await?;
        let count = batch.as_ref().and_then(|batch| batch.columns().first()).and_then(|column| {
            let column = column.as_any().downcast_ref::<Int64Array>()?;
            (!column.is_empty()).then(|| column.value(0))
        });
        count
            .and_then(|count| u64::try_from(count).ok())
            .ok_or_else(|| QueryError::Internal("a count gave no number".into()))
    }

    /// The next batch that has rows.
    pub(crate) async fn next(&self, stream: &mut SendableRecordBatchStream) -> Result<Option<RecordBatch>, QueryError> {
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| self.error(error))?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}
