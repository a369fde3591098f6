//! A table of one snapshot as a query sees it: live rows of the key's organization and project, and
//! only the columns that the query names, values at paths among them as virtual columns.
//!
//! Files and segments that answer these columns from the same places ([`resolve`]) are one scan whose projection
//! computes the virtual columns; the scans are united. Filters reach Parquet through DataFusion's physical rules, which
//! write them back through that projection into the file's own columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, Statistics};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::memory::DataSourceExec;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, lit};
use datafusion::physical_expr::projection::{ProjectionExpr, ProjectionExprs};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExecBuilder;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::scalar::ScalarValue;

use super::column::ScanColumn;
use super::files::{self, ScannedFile};
use super::lookup::plan::LookupExec;
use super::lookup::rows::Lookup;
use super::lookup::{MESSAGE_COLUMNS, PLACE_COLUMNS, is_looked_up};
use super::resolve::{self, Places, typed};
use super::segments::{flat_batch, scan_segments};
use super::{feedback, source};
use crate::model::scope::Scope;
use crate::query::expr::{all_of, column};
use crate::storage::format::data_file::DataFile;
use crate::storage::format::layout::{FormatVersion, Layout};
use crate::storage::format::table::Table;
use crate::storage::read::row_filter::RowFilter;
use crate::storage::read::snapshot::Snapshot;
use crate::storage::tail::segment::ScannedSegment;

/// How Parquet is read; chosen per query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScanOptions {
    /// Whether filters run while decoding. Pays where they spare wide columns, costs in simple aggregations.
    pub(crate) pushdown_filters: bool,
    /// Rows per batch; small where batches carry raw JSON.
    pub(crate) batch_size: usize,
}

pub(crate) const OBJECT_STORE_URL: &str = "convolake://snapshot/";

pub(crate) struct SnapshotProvider {
    snapshot: Arc<Snapshot>,
    table: Table,
    scope: Scope,
    filter: Option<Arc<RowFilter>>,
    columns: Vec<ScanColumn>,
    schema: SchemaRef,
    options: ScanOptions,
}

impl std::fmt::Debug for SnapshotProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotProvider").field("columns", &self.columns).finish_non_exhaustive()
    }
}

/// Scans that can be one: equal places, and equally in need of the scope's filter.
type GroupKey = (Vec<Places>, bool);

#[derive(Default)]
struct Group<'a> {
    files: Vec<ScannedFile>,
    segments: Vec<(Box<dyn ScannedSegment + 'a>, RecordBatch)>,
}

impl SnapshotProvider {
    pub(crate) fn new(
        snapshot: Arc<Snapshot>,
        table: Table,
        scope: Scope,
        filter: Option<Arc<RowFilter>>,
        columns: Vec<ScanColumn>,
        options: ScanOptions,
    ) -> Result<Self> {
        let schema = schema(&columns, table)?;
        Ok(Self { snapshot, table, scope, filter, columns, schema, options })
    }

    fn scope_columns(&self) -> Vec<(ScanColumn, String)> {
        let organization = (ScanColumn::Plain("organizationId"), self.scope.organization_id.as_str().to_owned());
        let project = self.scope.project_id.as_ref().map(|id| (ScanColumn::Plain("projectId"), id.as_str().to_owned()));
        std::iter::once(organization).chain(project).collect()
    }

    /// What the file's statistics say about the scope: no row, every row, or unknown.
    fn in_scope(&self, file: &DataFile) -> Result<Option<bool>> {
        let mut all = Some(true);
        for (column, value) in self.scope_columns() {
            let Some(statistics) = file.statistics.get(&column.stored_name(self.table)?) else {
                all = None;
                continue;
            };
            let text =
                |bound: &Option<ScalarValue>| bound.as_ref().and_then(|v| v.try_as_str().flatten().map(str::to_owned));
            let (min, max) = (text(&statistics.min), text(&statistics.max));
            if min.as_ref().is_some_and(|min| *min > value) || max.as_ref().is_some_and(|max| *max < value) {
                return Ok(Some(false));
            }
            if min.as_ref() != Some(&value) || max.as_ref() != Some(&value) {
                all = None;
            }
        }
        Ok(all)
    }

    fn group(&self, wanted: &[ScanColumn]) -> Result<BTreeMap<GroupKey, Group<'_>>> {
        let mut groups: BTreeMap<GroupKey, Group<'_>> = BTreeMap::new();
        let since: Vec<FormatVersion> = wanted.iter().map(|column| column.since(self.table)).collect::<Result<_>>()?;
        let places = |layout: &Layout| -> Vec<Places> {
            let columns = wanted.iter().zip(&since);
            columns.map(|(column, since)| resolve::resolve(layout, column, *since)).collect()
        };
        for entry in self.snapshot.files_of(self.table).iter() {
            let in_scope = self.in_scope(&entry.file)?;
            if in_scope == Some(false) {
                continue;
            }
            let file = ScannedFile::new(entry, self.filter.as_deref());
            if file.rows() > 0 {
                let key = (places(&file.file.layout), in_scope.is_none());
                groups.entry(key).or_default().files.push(file);
            }
        }
        for segment in self.snapshot.segments_of(self.table) {
            if segment.rows() as u64 <= segment.deleted().len() {
                continue;
            }
            let flat = flat_batch(segment.as_ref())?;
            let (key, batch) = ((places(&flat.layout), true), flat.batch.clone());
            groups.entry(key).or_default().segments.push((segment, batch));
        }
        Ok(groups)
    }

    /// The scan of one group, with the columns of `wanted`.
    fn scan_group(
        &self,
        state: &dyn Session,
        wanted: &[ScanColumn],
        key: &GroupKey,
        group: &Group<'_>,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let (places, filter_scope) = key;
        let mut wanted: Vec<(ScanColumn, &Places)> = wanted.iter().cloned().zip(places).collect();
        let shown = wanted.len();
        if *filter_scope {
            for (column, _) in self.scope_columns() {
                if !wanted.iter().any(|(present, _)| *present == column) {
                    wanted.push((column, &Places::Plain));
                }
            }
        }
        let mut fields: Vec<Field> = Vec::new();
        for (column, places) in &wanted {
            for field in resolve::physical_fields(column, places, self.table)? {
                if !fields.iter().any(|present| present.name() == field.name()) {
                    fields.push(field);
                }
            }
        }
        let with_source = wanted.iter().any(|(_, places)| **places == Places::Source);
        let partition_fields: Vec<FieldRef> =
            with_source.then(|| ScanColumn::Source.arrow_field(self.table)).into_iter().collect::<Result<_>>()?;
        let file_schema = Arc::new(Schema::new(fields));
        let table_schema =
            TableSchema::builder(Arc::clone(&file_schema)).with_table_partition_cols(partition_fields).build();
        let input_schema = Arc::clone(table_schema.table_schema());
        let df_schema = DFSchema::try_from(Arc::clone(&input_schema))?;
        let mut projection = Vec::with_capacity(wanted.len());
        for (column, places) in &wanted {
            let expr = state.create_physical_expr(resolve::expression(column, places, self.table)?, &df_schema)?;
            let data_type = column.data_type(self.table)?;
            projection.push(ProjectionExpr::new(typed(expr, &data_type, &input_schema)?, column.name()));
        }

        let mut plans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !group.files.is_empty() {
            plans.push(self.scan_files(state, table_schema, &projection, &group.files, with_source)?);
        }
        if !group.segments.is_empty() {
            let partitions = state.config().target_partitions();
            plans.push(scan_segments(&input_schema, projection, &group.segments, partitions)?);
        }
        if *filter_scope {
            plans = plans.into_iter().map(|plan| self.filter_scope(state, plan, shown)).collect::<Result<_>>()?;
        }
        Ok(plans)
    }

    fn scan_files(
        &self,
        state: &dyn Session,
        table_schema: TableSchema,
        projection: &[ProjectionExpr],
        files: &[ScannedFile],
        with_source: bool,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let file_schema = Arc::clone(table_schema.file_schema());
        let partitioned = files.iter().map(|file| {
            let source = with_source.then_some(ScalarValue::UInt32(Some(file.file.number)));
            files::partitioned_file(file, &file_schema, source.into_iter().collect())
        });
        let file_groups = FileGroup::new(partitioned.collect()).split_files(state.config().target_partitions());
        let live: u64 = files.iter().map(ScannedFile::rows).sum();
        let statistics = Statistics::new_unknown(table_schema.table_schema())
            .with_num_rows(usize::try_from(live).map_or(Precision::Absent, Precision::Exact));
        let mut parquet = TableParquetOptions::default();
        parquet.global.pushdown_filters = self.options.pushdown_filters;
        parquet.global.reorder_filters = self.options.pushdown_filters;
        let source =
            ParquetSource::new(table_schema).with_table_parquet_options(parquet).with_parquet_file_reader_factory(
                Arc::new(files::DataFileReaders { store: Arc::clone(&self.snapshot.store) }),
            );
        let source = source::DataFileSource::new(source);
        let Some(source) = source.try_pushdown_projection(&ProjectionExprs::new(projection.iter().cloned()))? else {
            return datafusion::common::internal_err!("the Parquet source takes no projection");
        };
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(OBJECT_STORE_URL)?, source)
            .with_file_groups(file_groups)
            .with_statistics(statistics)
            .with_batch_size(Some(self.options.batch_size))
            .with_expr_adapter(Some(Arc::new(files::ByName)))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }

    /// Rows of the scope only, and the first `shown` columns.
    fn filter_scope(
        &self,
        state: &dyn Session,
        plan: Arc<dyn ExecutionPlan>,
        shown: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = plan.schema();
        let parts = self
            .scope_columns()
            .into_iter()
            .map(|(scoped, value)| column(&scoped.name()).eq(lit(ScalarValue::Utf8View(Some(value)))));
        let predicate = all_of(parts.collect());
        let predicate = state.create_physical_expr(predicate, &DFSchema::try_from(Arc::clone(&schema))?)?;
        let shown = (shown < schema.fields().len()).then(|| (0..shown).collect());
        Ok(Arc::new(FilterExecBuilder::new(predicate, plan).apply_projection(shown)?.build()?))
    }
}

/// Rows per batch of a plan that reads these columns: fewer where files answer them from JSON text, so that a batch of
/// the longest texts stays within [`BATCH_JSON_BYTES`]. DataFusion's memory pool does not count what streams through.
pub(crate) fn batch_size(
    snapshot: &Snapshot,
    table: Table,
    filter: Option<&RowFilter>,
    columns: &[ScanColumn],
    most: usize,
) -> usize {
    let reads_json = |layout: &Layout| {
        columns
            .iter()
            .any(|column| column.is_long(table) || resolve::resolve(layout, column, FormatVersion::FIRST).reads_json())
    };
    // Segments are in memory as they are. Threads have what their conversations have.
    let owners = if table == Table::SemanticThreads { Table::Conversations } else { table };
    let longest = |file: &DataFile| {
        let texts =
            file.threads.as_ref().filter(|_| owners != table).map_or(0, |threads| threads.file.layout.max_json_bytes);
        if reads_json(&file.layout) { file.layout.max_json_bytes.max(texts) } else { 0 }
    };
    let files = snapshot.files_of(owners);
    let asked = files.iter().filter(|entry| filter.is_none_or(|filter| filter.asks(entry.file.number)));
    let longest = asked.map(|entry| longest(&entry.file)).max().unwrap_or(0).max(1);
    usize::try_from(BATCH_JSON_BYTES / longest).unwrap_or(most).clamp(LEAST_BATCH_ROWS.min(most), most)
}

const BATCH_JSON_BYTES: u64 = 64 << 20;
const LEAST_BATCH_ROWS: usize = 16;

#[async_trait]
impl TableProvider for SnapshotProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted: Vec<ScanColumn> = match projection {
            Some(indices) => indices.iter().filter_map(|&index| self.columns.get(index).cloned()).collect(),
            None => self.columns.clone(),
        };
        if self.table == Table::SemanticThreads && wanted.iter().any(|column| feedback::marked_type(column).is_some()) {
            return self.scan_with_feedback(state, &wanted).await;
        }
        self.scan_rows(state, &wanted)
    }
}

impl SnapshotProvider {
    /// Threads with what their feedback tells.
    async fn scan_with_feedback(&self, state: &dyn Session, wanted: &[ScanColumn]) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = feedback::FEEDBACK_COLUMNS.to_vec();
        let (snapshot, scope) = (Arc::clone(&self.snapshot), self.scope.clone());
        let source = SnapshotProvider::new(snapshot, Table::Feedback, scope, None, columns.clone(), self.options)?;
        let task = state.task_ctx();
        let rows = execute_stream(source.scan_stored(state, &columns)?, Arc::clone(&task))?;
        let marks = Arc::new(feedback::Marks::read(rows, &task).await?);

        let mut stored: Vec<ScanColumn> =
            wanted.iter().filter(|column| feedback::marked_type(column).is_none()).cloned().collect();
        for column in feedback::THREAD_COLUMNS {
            if !stored.contains(&column) {
                stored.push(column);
            }
        }
        let plan = self.scan_rows(state, &stored)?;
        let schema = DFSchema::try_from(plan.schema())?;
        let named = |wanted: &ScanColumn| column(&wanted.name());
        let mut projection = Vec::with_capacity(wanted.len());
        for column in wanted {
            let expr = match feedback::marked_type(column) {
                Some(feedback_type) => {
                    let arguments = feedback::THREAD_COLUMNS.iter().map(named).collect();
                    feedback::has_feedback(Arc::clone(&marks), feedback_type).call(arguments)
                }
                None => named(column),
            };
            projection.push(ProjectionExpr::new(state.create_physical_expr(expr, &schema)?, column.name()));
        }
        Ok(Arc::new(ProjectionExec::try_new(projection, plan)?))
    }

    /// Stored columns, and what is looked up in other rows.
    fn scan_rows(&self, state: &dyn Session, wanted: &[ScanColumn]) -> Result<Arc<dyn ExecutionPlan>> {
        let (looked_up, mut stored): (Vec<ScanColumn>, Vec<ScanColumn>) =
            wanted.iter().cloned().partition(|column| is_looked_up(self.table, column));
        if looked_up.is_empty() {
            return self.scan_stored(state, wanted);
        }
        let prepare = |expr: Expr, schema: &DFSchema| state.create_physical_expr(expr, schema);
        let lookup = Arc::new(Lookup::new(&self.snapshot, looked_up, &prepare)?);
        let of_messages = MESSAGE_COLUMNS.into_iter().filter(|_| lookup.reads_messages());
        for column in PLACE_COLUMNS.into_iter().chain(of_messages) {
            if !stored.contains(&column) {
                stored.push(column);
            }
        }
        let plan = self.scan_stored(state, &stored)?;
        Ok(Arc::new(LookupExec::new(plan, lookup, schema(wanted, self.table)?)))
    }

    fn scan_stored(&self, state: &dyn Session, wanted: &[ScanColumn]) -> Result<Arc<dyn ExecutionPlan>> {
        let mut plans = Vec::new();
        for (key, group) in &self.group(wanted)? {
            plans.extend(self.scan_group(state, wanted, key, group)?);
        }
        match plans.len() {
            0 => Ok(Arc::new(EmptyExec::new(schema(wanted, self.table)?))),
            1 => Ok(plans.swap_remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}

fn schema(columns: &[ScanColumn], table: Table) -> Result<SchemaRef> {
    let fields = columns.iter().map(|column| column.arrow_field(table)).collect::<Result<Vec<FieldRef>>>()?;
    Ok(Arc::new(Schema::new(fields)))
}
