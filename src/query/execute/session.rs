//! One DataFusion session per query: bounded memory and disk, and only the optimizer rules that these plans need.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_optimizer::pushdown_sort::PushdownSort;
use datafusion::physical_plan::expressions::Column;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionConfig;
use object_store::ObjectStore;
use url::Url;

use super::pool::{ALL_TAKEN, QueryPool};
use crate::memory::Budget;
use crate::query::compile::order::SortColumn;
use crate::query::error::QueryError;
use crate::query::scan::provider::OBJECT_STORE_URL;
use crate::query::watch::{self, Stopped};
use crate::storage::error::Cause;
use crate::storage::format::checked::ReadError;
use crate::storage::format::error::FileError;

pub(crate) struct Limits {
    /// Of one query.
    pub(crate) memory_bytes: u64,
    /// Of all of them.
    pub(crate) memory: Arc<Budget>,
    pub(crate) spill_bytes: u64,
    pub(crate) spill_dir: PathBuf,
    pub(crate) partitions: usize,
}

pub(crate) struct Session {
    state: SessionState,
}

impl Session {
    pub(crate) fn new(limits: &Limits, store: Arc<dyn ObjectStore>, batch_size: usize) -> Result<Self> {
        let memory = usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX);
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![limits.spill_dir.clone()]))
            .with_max_temp_directory_size(limits.spill_bytes);
        let builder = || RuntimeEnvBuilder::new().with_memory_pool(Arc::new(QueryPool::new(memory, &limits.memory)));
        // It makes a folder for each query. Where none can be made, queries that fit in memory are still answered.
        let runtime: Arc<RuntimeEnv> = match builder().with_disk_manager_builder(disk).build_arc() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::warn!(%error, "the query runs without a place to spill to");
                let none = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
                builder().with_disk_manager_builder(none).build_arc()?
            }
        };
        let url = Url::parse(OBJECT_STORE_URL).map_err(|error| DataFusionError::External(Box::new(error)))?;
        runtime.register_object_store(&url, store);

        let mut config = SessionConfig::new()
            .with_target_partitions(limits.partitions)
            .with_batch_size(batch_size)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(false);
        config.options_mut().optimizer.repartition_file_min_size = 256 << 10;
        // 55.2 filters by the bounds of those aggregates alone that already have one, and so loses the first value of
        // the others.
        config.options_mut().optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_optimizer_rules(vec![
                Arc::new(SimplifyExpressions::new()),
                Arc::new(MayGoOn),
                Arc::new(EliminateFilter::new()),
                Arc::new(OptimizeProjections::new()),
                Arc::new(MayGoOn),
            ])
            .build();
        Ok(Self { state })
    }

    pub(crate) fn task(&self) -> Arc<TaskContext> {
        self.state.task_ctx()
    }

    pub(crate) async fn plan(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        self.state.create_physical_plan(plan).await
    }

    /// The plan's first `fetch` rows in order. The sort is put on top by hand: 55.2 loses sort keys below a union whose
    /// inputs differ in what they know to be constant, and then refuses the plan. The rules that let the sort prune the
    /// scan (reading promising row groups first, and its growing threshold as a filter) run afterwards.
    pub(crate) async fn plan_sorted(
        &self,
        plan: &LogicalPlan,
        order: &[SortColumn],
        fetch: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut plan = sorted(self.plan(plan).await?, order, fetch)?;
        let rules: [Arc<dyn PhysicalOptimizerRule + Send + Sync>; 2] =
            [Arc::new(PushdownSort::new()), Arc::new(FilterPushdown::new_post_optimization())];
        for rule in rules {
            plan = rule.optimize(plan, self.state.config_options())?;
        }
        Ok(plan)
    }
}

/// Ends the planning of a query that is to stop.
#[derive(Debug)]
struct MayGoOn;

impl OptimizerRule for MayGoOn {
    fn name(&self) -> &str {
        "may_go_on"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        watch::check()?;
        Ok(Transformed::no(plan))
    }
}

/// Sorts into one partition, nulls last; keeps the first `fetch` rows.
pub(crate) fn sorted(
    plan: Arc<dyn ExecutionPlan>,
    order: &[SortColumn],
    fetch: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = plan.schema();
    let mut keys = Vec::with_capacity(order.len());
    for key in order {
        let options = SortOptions { descending: key.descending, nulls_first: false };
        keys.push(PhysicalSortExpr::new(Arc::new(Column::new_with_schema(&key.name, &schema)?), options));
    }
    let Some(ordering) = LexOrdering::new(keys) else { return Ok(plan) };
    let partitions = plan.output_partitioning().partition_count();
    let sort: Arc<dyn ExecutionPlan> =
        Arc::new(SortExec::new(ordering.clone(), plan).with_fetch(fetch).with_preserve_partitioning(partitions > 1));
    if partitions == 1 {
        return Ok(sort);
    }
    Ok(Arc::new(SortPreservingMergeExec::new(ordering, sort).with_fetch(fetch)))
}

/// What a failed plan tells the client. Memory and disk are the only limits that DataFusion enforces here.
pub(crate) fn query_error(error: &DataFusionError, limits: &Limits) -> QueryError {
    // 55.2 raises the spill limit while Arrow writes the file, so it may come wrapped as an I/O error of Arrow's.
    if error.to_string().contains("The used disk space during the spilling process has exceeded") {
        return QueryError::Spill { bytes: limits.spill_bytes };
    }
    match error.find_root() {
        DataFusionError::ResourcesExhausted(reason) if reason.contains(ALL_TAKEN) => QueryError::NoMemory,
        DataFusionError::ResourcesExhausted(_) => QueryError::Memory { bytes: limits.memory_bytes },
        _ => told(error).unwrap_or_else(|| QueryError::Internal(error.strip_backtrace())),
    }
}

fn told(error: &DataFusionError) -> Option<QueryError> {
    stopped(error).map(QueryError::from).or_else(|| storage_error(error))
}

/// What ended the query amid its work, however deep it is wrapped.
fn stopped(error: &DataFusionError) -> Option<Stopped> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(one) = next {
        if let Some(stopped) = one.downcast_ref::<Stopped>() {
            return Some(*stopped);
        }
        next = one.source();
    }
    None
}

/// What a read of a data file failed of, however deep it is wrapped.
fn storage_error(error: &DataFusionError) -> Option<QueryError> {
    let told = |cause: &dyn Cause| QueryError::Storage {
        kind: cause.kind(),
        object: cause.object().map(ToString::to_string),
        cause: cause.to_string(),
    };
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(one) = next {
        if let Some(read) = one.downcast_ref::<ReadError>() {
            return Some(told(read));
        }
        if let Some(file) = one.downcast_ref::<FileError>() {
            return Some(told(file));
        }
        next = one.source();
    }
    None
}
