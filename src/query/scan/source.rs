//! [`ParquetSource`] for tables whose columns have other names than in files.
//!
//! Filters that read a list stay above the scan.
//! 55.2 decides twice whether a filter can run while decoding: when it plans, and again on each file after simplifying
//! the filter with what that file makes constant. A filter that reads a list passes if it also holds some `IS NULL`;
//! where simplifying removes that, the second decision is "no" and the filter is dropped without a word, although the
//! plan above no longer has it. Lists are the only columns of these tables for which the two decisions differ.
//!
//! A sort above reads the files and row groups first that have what comes first, so that what it has kept soon shows
//! that the others have nothing for it. 55.2 looks for the sort's columns among those of the files by their names, and
//! orders files by the least that they have: a file of the newest rows and a single old one would come last.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileSource, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalSortExpr};
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, PhysicalExpr, SortOrderPushdownResult};
use datafusion::scalar::ScalarValue;
use datafusion_datasource::morsel::Morselizer;
use object_store::ObjectStore;

pub(crate) struct DataFileSource {
    inner: Arc<dyn FileSource>,
    /// By which files are read, if a sort is above.
    first: Option<First>,
}

/// What a sort begins with.
#[derive(Clone, Copy)]
struct First {
    /// Of the files' schema.
    column: usize,
    descending: bool,
}

impl DataFileSource {
    pub(crate) fn new(parquet: ParquetSource) -> Self {
        Self { inner: Arc::new(parquet), first: None }
    }

    fn wrap(&self, inner: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self { inner, first: self.first })
    }

    /// The order in terms of the files' columns, as far as it has such.
    fn stored_order(&self, order: &[PhysicalSortExpr]) -> Vec<PhysicalSortExpr> {
        let projection = self.inner.projection();
        let stored = |key: &PhysicalSortExpr| {
            let shown = key.expr.downcast_ref::<Column>()?;
            let expr = match projection {
                Some(projection) => &projection.as_ref().get(shown.index())?.expr,
                None => &key.expr,
            };
            expr.downcast_ref::<Column>()?;
            Some(PhysicalSortExpr::new(Arc::clone(expr), key.options))
        };
        order.iter().map_while(stored).collect()
    }
}

impl First {
    fn of(order: &[PhysicalSortExpr], files: &Schema) -> Option<First> {
        let first = order.first()?;
        let column = files.index_of(first.expr.downcast_ref::<Column>()?.name()).ok()?;
        Some(First { column, descending: first.options.descending })
    }

    /// A file's value that comes first.
    fn of_file<'a>(&self, file: &'a PartitionedFile) -> Option<&'a ScalarValue> {
        let statistics = file.statistics.as_ref()?.column_statistics.get(self.column)?;
        let bound = if self.descending { &statistics.max_value } else { &statistics.min_value };
        bound.get_value().filter(|value| !value.is_null())
    }

    fn compare(&self, a: &PartitionedFile, b: &PartitionedFile) -> Ordering {
        match (self.of_file(a), self.of_file(b)) {
            (Some(a), Some(b)) => {
                let ordering = a.partial_cmp(b).unwrap_or(Ordering::Equal);
                if self.descending { ordering.reverse() } else { ordering }
            }
            // What is not known comes last, as rows without a value do.
            (a, b) => a.is_none().cmp(&b.is_none()),
        }
    }

    /// Parts of one file lie in the order of its rows: those of a project by time.
    fn compare_parts(&self, a: &PartitionedFile, b: &PartitionedFile) -> Ordering {
        let start = |file: &PartitionedFile| file.range.as_ref().map(|range| range.start);
        let ordering = start(a).cmp(&start(b));
        if self.descending { ordering.reverse() } else { ordering }
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
        let inner = self.inner.try_pushdown_filters(passed, config)?;
        let mut decided = inner.filters.into_iter();
        let of = |stays: bool| if stays { None } else { decided.next() };
        let results = stays.into_iter().map(of).map(|result| result.unwrap_or(PushedDown::No)).collect();
        let propagation = FilterPushdownPropagation::with_parent_pushdown_result(results);
        Ok(match inner.updated_node {
            Some(updated) => propagation.with_updated_node(self.wrap(updated)),
            None => propagation,
        })
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        Ok(self.inner.try_pushdown_projection(projection)?.map(|inner| self.wrap(inner)))
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        equivalences: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        let stored = self.stored_order(order);
        let first = First::of(&stored, self.table_schema().file_schema());
        // No file's rows are known to be in an order, and what is equal to something counts by the names above.
        if first.is_none() || equivalences.ordering_satisfy(order.iter().cloned())? {
            return Ok(self.inner.try_pushdown_sort(order, equivalences)?.map(|inner| self.wrap(inner)));
        }
        let unordered = EquivalenceProperties::new(Arc::clone(self.table_schema().table_schema()));
        let pushed = self.inner.try_pushdown_sort(&stored, &unordered)?;
        Ok(pushed.map(|inner| -> Arc<dyn FileSource> { Arc::new(Self { inner, first }) }))
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        self.wrap(self.inner.with_batch_size(batch_size))
    }

    fn create_file_opener(
        &self,
        object_store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.inner.create_file_opener(object_store, config, partition)
    }

    fn create_morselizer(
        &self,
        object_store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        self.inner.create_morselizer(object_store, config, partition)
    }

    fn table_schema(&self) -> &TableSchema {
        self.inner.table_schema()
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.inner.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.inner.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.inner.metrics()
    }

    fn file_type(&self) -> &str {
        self.inner.file_type()
    }

    fn fmt_extra(&self, display: DisplayFormatType, formatter: &mut fmt::Formatter) -> fmt::Result {
        self.inner.fmt_extra(display, formatter)
    }

    fn reorder_files(&self, mut files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        let Some(first) = self.first else { return self.inner.reorder_files(files) };
        files.sort_by(|a, b| {
            first.compare(a, b).then_with(|| a.path().cmp(b.path())).then_with(|| first.compare_parts(a, b))
        });
        files
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(visit)
    }
}

#[cfg(test)]
mod tests {
    use arrow::compute::SortOptions;
    use arrow::datatypes::{DataType, Field};
    use datafusion::common::stats::Precision;
    use datafusion::common::{ColumnStatistics, Statistics};
    use datafusion::physical_expr::expressions::lit;
    use datafusion::physical_expr::projection::ProjectionExpr;

    use super::*;

    fn key(name: &str, index: usize, descending: bool) -> PhysicalSortExpr {
        let options = SortOptions { descending, nulls_first: false };
        PhysicalSortExpr::new(Arc::new(Column::new(name, index)), options)
    }

    fn file(name: &str, bounds: Option<(i64, i64)>) -> PartitionedFile {
        let mut times = ColumnStatistics::new_unknown();
        if let Some((min, max)) = bounds {
            times.min_value = Precision::Exact(ScalarValue::Int64(Some(min)));
            times.max_value = Precision::Exact(ScalarValue::Int64(Some(max)));
        }
        let column_statistics = vec![ColumnStatistics::new_unknown(), times];
        let (num_rows, total_byte_size) = (Precision::Absent, Precision::Absent);
        PartitionedFile::new(name, 1).with_statistics(Arc::new(Statistics {
            num_rows,
            total_byte_size,
            column_statistics,
        }))
    }

    /// The names of queries are not those in files.
    #[test]
    fn a_sort_decides_which_files_and_row_groups_are_read_first() {
        let columns = ["id", "first_message_time"].map(|name| Field::new(name, DataType::Int64, true));
        let source =
            DataFileSource::new(ParquetSource::new(TableSchema::from(&Arc::new(Schema::new(columns.to_vec())))));
        let shown = [
            ProjectionExpr::new(lit(1_i64), "computed"),
            ProjectionExpr::new(Arc::new(Column::new("first_message_time", 1)), "firstMessageTime"),
        ];
        let source = source.try_pushdown_projection(&ProjectionExprs::new(shown)).unwrap().unwrap();
        let unordered = EquivalenceProperties::new(Arc::clone(source.table_schema().table_schema()));
        let pushed = |order: &[PhysicalSortExpr]| match source.try_pushdown_sort(order, &unordered).unwrap() {
            SortOrderPushdownResult::Inexact { inner } => Some(inner),
            SortOrderPushdownResult::Unsupported => None,
            SortOrderPushdownResult::Exact { .. } => panic!("nothing is known to be in an order"),
        };
        for (descending, expected) in [(true, ["c", "b", "a", "none"]), (false, ["b", "a", "c", "none"])] {
            // A file of the newest rows that has the oldest too.
            let files = [("none", None), ("a", Some((10, 20))), ("b", Some((0, 30))), ("c", Some((30, 40)))];
            let files = files.map(|(name, bounds)| file(name, bounds)).to_vec();
            let order = [key("firstMessageTime", 1, descending), key("computed", 0, false)];
            let inner = pushed(&order).expect("a stored column comes first");
            let names: Vec<String> = inner.reorder_files(files).iter().map(|file| file.path().to_string()).collect();
            assert_eq!(names, expected);
            let inner = inner.with_batch_size(7);
            assert_eq!(inner.reorder_files(vec![file("x", None), file("y", Some((1, 1)))])[0].path().as_ref(), "y");
        }
        assert!(pushed(&[key("computed", 0, false)]).is_none());
    }
}
