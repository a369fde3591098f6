//! A plan node that puts looked-up columns beside the threads of its input.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{SchemaRef, UInt32Type};
use datafusion::common::config::ConfigOptions;
use datafusion::common::internal_datafusion_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, CardinalityEffect, EmissionType};
use datafusion::physical_plan::expressions::Column;
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr, PlanProperties,
    SortOrderPushdownResult,
};
use futures::{StreamExt, stream};

use super::rows::{Lookup, ThreadPlace, text_bytes};
use crate::query::scan::chunk::{ChunkRows, LOOKED_UP_BYTES};
use crate::query::scan::column::SOURCE_COLUMN;

/// Filters and orders that need none of its columns go through to its input.
#[derive(Debug)]
pub(crate) struct LookupExec {
    input: Arc<dyn ExecutionPlan>,
    lookup: Arc<Lookup>,
    properties: Arc<PlanProperties>,
}

impl LookupExec {
    /// `schema`: of columns of the input, by name, and of the lookup.
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, lookup: Arc<Lookup>, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, lookup, properties: Arc::new(properties) }
    }

    fn on(&self, input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self::new(input, Arc::clone(&self.lookup), self.schema()))
    }
}

impl DisplayAs for LookupExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("LookupExec")
    }
}

impl ExecutionPlan for LookupExec {
    fn name(&self) -> &str {
        "LookupExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[_; 1]>::try_from(children) {
            Ok([input]) => Ok(self.on(input)),
            Err(_) => datafusion::common::internal_err!("LookupExec has one child"),
        }
    }

    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        child_pushdown_result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(child_pushdown_result))
    }

    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        let input = self.input.schema();
        let below = order.iter().map(|key| {
            let column = key.expr.downcast_ref::<Column>()?;
            let expr = Arc::new(Column::new_with_schema(column.name(), &input).ok()?);
            Some(PhysicalSortExpr::new(expr, key.options))
        });
        let Some(below) = below.collect::<Option<Vec<_>>>() else { return Ok(SortOrderPushdownResult::Unsupported) };
        Ok(match self.input.try_pushdown_sort(&below)? {
            SortOrderPushdownResult::Exact { inner } | SortOrderPushdownResult::Inexact { inner } => {
                SortOrderPushdownResult::Inexact { inner: self.on(inner) }
            }
            SortOrderPushdownResult::Unsupported => SortOrderPushdownResult::Unsupported,
        })
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let looking = Looking {
            input: self.input.execute(partition, Arc::clone(&context))?,
            lookup: Arc::clone(&self.lookup),
            schema: self.schema(),
            pending: None,
            rows: ChunkRows::starting_at(context.session_config().batch_size(), LOOKED_UP_BYTES),
            reservation: MemoryConsumer::new("what threads look up").register(context.memory_pool()),
        };
        let found = stream::try_unfold(looking, |mut looking| async move {
            Ok(looking.next().await?.map(|batch| (batch, looking)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), found)))
    }
}

struct Looking {
    input: SendableRecordBatchStream,
    lookup: Arc<Lookup>,
    schema: SchemaRef,
    pending: Option<Pending>,
    rows: ChunkRows,
    /// Of what was looked up last.
    reservation: MemoryReservation,
}

struct Pending {
    batch: RecordBatch,
    places: Vec<ThreadPlace>,
    done: usize,
}

impl Looking {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.reservation.free();
        loop {
            if let Some(Pending { batch, places, done }) = &mut self.pending
                && *done < places.len()
            {
                let (found, columns) = look_up(&self.lookup, &mut self.rows, batch, places, *done).await?;
                self.reservation.try_grow(columns.iter().map(text_bytes).sum())?;
                let found = batch.slice(*done, found);
                *done += found.num_rows();
                return joined(&self.schema, &found, &self.lookup, columns).map(Some);
            }
            let Some(batch) = self.input.next().await.transpose()? else { return Ok(None) };
            let places = ThreadPlace::all_of(&batch, self.lookup.reads_messages())?;
            self.pending = Some(Pending { batch, places, done: 0 });
        }
    }
}

/// As many of the rows from `done` on as fit, and are of one source.
async fn look_up(
    lookup: &Lookup,
    size: &mut ChunkRows,
    batch: &RecordBatch,
    places: &[ThreadPlace],
    done: usize,
) -> Result<(usize, Vec<ArrayRef>)> {
    let sources = batch.column_by_name(SOURCE_COLUMN).and_then(|column| column.as_primitive_opt::<UInt32Type>());
    let sources = sources.and_then(|sources| sources.values().get(done..)).unwrap_or_default();
    let places = places.get(done..).unwrap_or_default();
    let Some(source) = sources.first() else {
        return Err(internal_datafusion_err!("threads to look up come without their source"));
    };
    let of_source = sources.iter().take_while(|other| *other == source).count();
    let mut rows = size.of(of_source);
    loop {
        let budget = ChunkRows::budget(rows);
        if let Some(columns) = lookup.read(*source, places.get(..rows).unwrap_or(places), &budget).await? {
            size.learn(rows, columns.iter().map(text_bytes).sum());
            return Ok((rows, columns));
        }
        rows = ChunkRows::fewer(rows);
    }
}

/// The columns of the schema, from the threads or from what was looked up.
fn joined(schema: &SchemaRef, threads: &RecordBatch, lookup: &Lookup, found: Vec<ArrayRef>) -> Result<RecordBatch> {
    let names: Vec<String> = lookup.columns.iter().map(|column| column.name()).collect();
    let columns = schema.fields().iter().map(|field| {
        let looked_up = names.iter().zip(&found).find(|(name, _)| *name == field.name()).map(|(_, array)| array);
        let column = looked_up.or_else(|| threads.column_by_name(field.name()));
        column.map(Arc::clone).ok_or_else(|| internal_datafusion_err!("threads have no column {}", field.name()))
    });
    let options = RecordBatchOptions::new().with_row_count(Some(threads.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns.collect::<Result<_>>()?, &options)?)
}
