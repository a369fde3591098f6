//! What a plan scans, and the plan over it.

use std::sync::Arc;

use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};

use super::columns::Columns;
use crate::model::scope::Scope;
use crate::query::scan::provider::{ScanOptions, SnapshotProvider, batch_size};
use crate::storage::format::table::Table;
use crate::storage::read::row_filter::RowFilter;
use crate::storage::read::snapshot::Snapshot;

/// What a plan scans.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) table: Table,
    pub(crate) scope: Scope,
    /// Rows of the snapshot that are asked for; `None`: all.
    pub(crate) filter: Option<Arc<RowFilter>>,
}

/// Rows per batch where none carries JSON text.
const BATCH_ROWS: usize = 8192;

impl Source {
    pub(crate) fn scan(&self, columns: Columns, pushdown_filters: bool) -> Result<(LogicalPlanBuilder, usize)> {
        let columns = columns.into_vec();
        let batch_size = batch_size(&self.snapshot, self.table, self.filter.as_deref(), &columns, BATCH_ROWS);
        let provider = SnapshotProvider::new(
            Arc::clone(&self.snapshot),
            self.table,
            self.scope.clone(),
            self.filter.clone(),
            columns,
            ScanOptions { pushdown_filters, batch_size },
        )?;
        let builder = LogicalPlanBuilder::scan("rows", provider_as_source(Arc::new(provider)), None)?;
        Ok((builder, batch_size))
    }
}

/// A plan and how many rows its batches may have.
pub(crate) struct SizedPlan {
    pub(crate) plan: LogicalPlan,
    pub(crate) batch_size: usize,
}
