//! [`ParquetSource`], but filters that read a list stay above the scan.
//!
//! 55.2 decides twice whether a filter can run while decoding: when it plans, and again on each file after simplifying
//! the filter with what that file makes constant. A filter that reads a list passes if it also holds some `IS NULL`;
//! where simplifying removes that, the second decision is "no" and the filter is dropped without a word, although the
//! plan above no longer has it. Lists are the only columns of these tables for which the two decisions differ.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileSource, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalSortExpr};
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, PhysicalExpr, SortOrderPushdownResult};
use datafusion_datasource::morsel::Morselizer;
use object_store::ObjectStore;

pub(crate) struct DataFileSource(Arc<dyn FileSource>);

impl DataFileSource {
    pub(crate) fn new(parquet: ParquetSource) -> Self {
        Self(Arc::new(parquet))
    }

    fn wrap(inner: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self(inner))
    }
}

fn reads_list(filter: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    collect_columns(filter)
        .iter()
        .any(|column| schema.fields().get(column.index()).is_none_or(|field| field.data_type().is_nested()))
}

impl FileSource for DataFileSource {
    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let schema = self.table_schema().table_schema();
        let stays: Vec<bool> = filters.iter().map(|filter| reads_list(filter, schema)).collect();
        let passed = filters.into_iter().zip(&stays).filter(|(_, stays)| !**stays).map(|(filter, _)| filter).collect();
        let inner = self.0.try_pushdown_filters(passed, config)?;
        let mut decided = inner.filters.into_iter();
        let of = |stays: bool| if stays { None } else { decided.next() };
        let results = stays.into_iter().map(of).map(|result| result.unwrap_or(PushedDown::No)).collect();
        let propagation = FilterPushdownPropagation::with_parent_pushdown_result(results);
        Ok(match inner.updated_node {
            Some(updated) => propagation.with_updated_node(Self::wrap(updated)),
            None => propagation,
        })
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        Ok(self.0.try_pushdown_projection(projection)?.map(Self::wrap))
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        equivalences: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        Ok(self.0.try_pushdown_sort(order, equivalences)?.map(Self::wrap))
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        Self::wrap(self.0.with_batch_size(batch_size))
    }

    fn create_file_opener(
        &self,
        object_store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.0.create_file_opener(object_store, config, partition)
    }

    fn create_morselizer(
        &self,
        object_store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        self.0.create_morselizer(object_store, config, partition)
    }

    fn table_schema(&self) -> &TableSchema {
        self.0.table_schema()
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.0.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.0.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.0.metrics()
    }

    fn file_type(&self) -> &str {
        self.0.file_type()
    }

    fn fmt_extra(&self, display: DisplayFormatType, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt_extra(display, formatter)
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.0.reorder_files(files)
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.0.apply_expressions(visit)
    }
}
