//! Data files as DataFusion scans them: deleted rows left out, statistics for pruning.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{ColumnStatistics, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::error::Result;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::scalar::ScalarValue;
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::arrow::async_reader::AsyncFileReader;
use roaring::RoaringBitmap;

use crate::storage::catalog::files::FileSnapshot;
use crate::storage::format::data_file::DataFile;
use crate::storage::format::parquet_file::{FileReader, ParquetFile};
use crate::storage::read::row_filter::RowFilter;

/// Carried by every `PartitionedFile` of a scan; names the file that the reader opens.
struct FileHandle(Arc<ParquetFile>);

/// Opens data files through the snapshot's store. Needs no listing and no request for a size: both stand in the
/// snapshot.
#[derive(Debug)]
pub(crate) struct DataFileReaders {
    pub(crate) store: Arc<dyn ObjectStore>,
}

impl ParquetFileReaderFactory for DataFileReaders {
    fn create_reader(
        &self,
        _partition_index: usize,
        file: PartitionedFile,
        _metadata_size_hint: Option<usize>,
        _metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        match file.extension::<FileHandle>() {
            Some(FileHandle(file)) => Ok(Box::new(FileReader::new(Arc::clone(&self.store), Arc::clone(file)))),
            None => datafusion::common::internal_err!("a scanned file carries no handle: {}", file.path()),
        }
    }
}

/// A file and the rows of it that a scan leaves out.
pub(crate) struct ScannedFile {
    pub(crate) file: Arc<DataFile>,
    pub(crate) left_out: Arc<RoaringBitmap>,
}

impl ScannedFile {
    /// With `filter`, only the rows that it asks for.
    pub(crate) fn new(entry: &FileSnapshot, filter: Option<&RowFilter>) -> Self {
        let left_out = filter.map_or_else(|| Arc::clone(&entry.deleted), |filter| filter.left_out(entry));
        Self { file: Arc::clone(&entry.file), left_out }
    }

    /// How many rows are read.
    pub(crate) fn rows(&self) -> u64 {
        u64::from(self.file.rows).saturating_sub(self.left_out.len())
    }
}

/// The form of a file that DataFusion scans: its rows, and bounds of the columns of `schema` for pruning.
pub(crate) fn partitioned_file(
    file: &ScannedFile,
    schema: &Schema,
    partition_values: Vec<ScalarValue>,
) -> PartitionedFile {
    let data_file = &file.file;
    let mut partitioned = PartitionedFile::new(data_file.path().as_ref(), data_file.parquet.size);
    partitioned.partition_values = partition_values;
    partitioned = partitioned
        .with_statistics(Arc::new(file_statistics(data_file, schema)))
        .with_extension(FileHandle(Arc::clone(&data_file.parquet)));
    if !file.left_out.is_empty() {
        partitioned = partitioned.with_extension(ParquetRowSelection::new(rows_but(&file.left_out, data_file.rows)));
    }
    partitioned
}

/// For pruning only, where bounds serve as well as values, and rows that are gone do no harm; so they count as exact.
/// What DataFusion may fold into results are the scan's statistics, not these.
fn file_statistics(file: &DataFile, schema: &Schema) -> Statistics {
    let columns = schema.fields().iter().map(|field| {
        let mut column = ColumnStatistics::new_unknown();
        if let Some(known) = file.statistics.get(field.name()) {
            let bound = |value: &Option<ScalarValue>| match value {
                Some(value) if value.data_type() == *field.data_type() => Precision::Exact(value.clone()),
                Some(value) => value.cast_to(field.data_type()).map_or(Precision::Absent, Precision::Exact),
                None => Precision::Absent,
            };
            column.min_value = bound(&known.min);
            column.max_value = bound(&known.max);
            column.null_count = match known.null_count {
                Some(count) => usize::try_from(count).map_or(Precision::Absent, Precision::Exact),
                None => Precision::Absent,
            };
        }
        column
    });
    Statistics {
        num_rows: Precision::Exact(file.rows as usize),
        total_byte_size: Precision::Absent,
        column_statistics: columns.collect(),
    }
}

/// All rows but these, as a selection over the whole file.
fn rows_but(left_out: &RoaringBitmap, rows: u32) -> RowSelection {
    let mut selectors = Vec::new();
    let mut next = 0_u32;
    let mut iter = left_out.iter();
    while let Some(range) = iter.next_range() {
        let (first, last) = (*range.start(), (*range.end()).min(rows.saturating_sub(1)));
        if first >= rows {
            break;
        }
        if first > next {
            selectors.push(RowSelector::select((first - next) as usize));
        }
        selectors.push(RowSelector::skip((last - first + 1) as usize));
        next = last + 1;
    }
    if rows > next {
        selectors.push(RowSelector::select((rows - next) as usize));
    }
    RowSelection::from(selectors)
}

/// Finds columns by name in each file. The default adapter also casts where only nullability differs, which hides
/// columns from pruning, and fills in nulls where a column is missing, which would hide a wrong layout.
#[derive(Debug)]
pub(crate) struct ByName;

impl PhysicalExprAdapterFactory for ByName {
    fn create(&self, logical: SchemaRef, physical: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        Ok(Arc::new(ByNameIn { logical, physical }))
    }
}

#[derive(Debug)]
struct ByNameIn {
    logical: SchemaRef,
    physical: SchemaRef,
}

impl PhysicalExprAdapter for ByNameIn {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        expr.transform(|expr| match expr.downcast_ref::<Column>() {
            Some(column) => {
                let found: Arc<dyn PhysicalExpr> = Arc::new(Column::new_with_schema(column.name(), &self.physical)?);
                let needed = self.logical.field_with_name(column.name())?.data_type();
                if found.data_type(&self.physical)? == *needed {
                    return Ok(Transformed::yes(found));
                }
                // DataFusion 55.2 reads strings as views, but not the strings of a list.
                Ok(Transformed::yes(Arc::new(CastExpr::new(found, needed.clone(), None))))
            }
            None => Ok(Transformed::no(expr)),
        })
        .data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_leave_out_runs_of_rows() {
        type Case = (&'static [u32], u32, &'static [(usize, bool)]);
        let cases: [Case; 4] = [
            (&[0, 1, 5], 8, &[(2, true), (3, false), (1, true), (2, false)]),
            (&[7], 8, &[(7, false), (1, true)]),
            (&[0, 1, 2], 3, &[(3, true)]),
            (&[], 3, &[(3, false)]),
        ];
        for (deleted, rows, expected) in cases {
            let selection: Vec<RowSelector> = rows_but(&deleted.iter().copied().collect(), rows).into();
            let found: Vec<(usize, bool)> = selection.iter().map(|s| (s.row_count, s.skip)).collect();
            assert_eq!(found, expected);
        }
    }
}
