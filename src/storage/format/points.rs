//! Point reads: some rows of some columns of a Parquet file. Only the needed columns and pages are fetched.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use futures::TryStreamExt;
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::{RowSelection, RowSelectionPolicy};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use super::error::FileError;
use super::pages::{self, GroupRows};
use super::parquet_file::{FileReader, ParquetFile};

/// How a point read goes about it.
pub(crate) struct PointRead<'a> {
    /// Names; in the result those that the file has.
    pub(crate) columns: &'a [String],
    /// Rows that are decoded at a time.
    pub(crate) batch_rows: usize,
    /// Bytes that the result may have, shared with other reads.
    pub(crate) budget: Option<&'a AtomicUsize>,
    pub(crate) policy: RowSelectionPolicy,
}

/// What a point read has read.
pub(crate) struct Points {
    pub(crate) file: Arc<ParquetFile>,
    /// The file's rows, sorted and apart.
    ranges: Vec<Range<u32>>,
    /// The number of rows before each range.
    starts: Vec<usize>,
    /// The rows in the file's order.
    pub(crate) batch: RecordBatch,
}

impl Points {
    /// The rows in `wanted`, whatever their order and however often they are named. `None` once the budget is used up.
    pub(crate) async fn read(
        store: &Arc<dyn ObjectStore>,
        file: &Arc<ParquetFile>,
        wanted: Vec<Range<u32>>,
        how: &PointRead<'_>,
    ) -> Result<Option<Self>, FileError> {
        let ranges = apart(wanted);
        let mut rows = 0;
        let starts = ranges
            .iter()
            .map(|range| {
                rows += range.len();
                rows - range.len()
            })
            .collect();

        let mut reader = FileReader::new(Arc::clone(store), Arc::clone(file));
        let metadata = reader.arrow_metadata().await?;
        let groups = groups_of(metadata.metadata(), &ranges);
        let absent = |name: &str| groups.iter().all(|one| holds_nothing(metadata.metadata(), one.group, name));
        let names = how.columns.iter().map(String::as_str);
        let (absent, present): (Vec<&str>, Vec<&str>) = names.partition(|name| absent(name));
        let fields = metadata.parquet_schema().root_schema().get_fields();
        let roots = fields.iter().enumerate().filter(|(_, field)| present.contains(&field.name()));
        let mask = ProjectionMask::roots(metadata.parquet_schema(), roots.map(|(index, _)| index));
        let schema = Arc::clone(metadata.schema());
        let batch_rows = how.batch_rows.min(rows).max(1);
        let fits = |batch: &RecordBatch| how.budget.is_none_or(|budget| within(budget, batch.get_array_memory_size()));
        let mut batches = Vec::new();
        let read;
        match pages::load(&mut reader, &metadata, &groups, &mask).await? {
            Some(loaded) => {
                let projected = schema.project(&root_indices(&schema, &present));
                read = Arc::new(projected.map_err(ParquetError::from)?);
                for group in loaded {
                    for batch in group.decode(mask.clone(), batch_rows)? {
                        let batch = batch?;
                        if !fits(&batch) {
                            return Ok(None);
                        }
                        batches.push(batch);
                    }
                }
            }
            None => {
                let (row_groups, selection) = selection_of(metadata.metadata(), groups);
                let mut stream = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata)
                    .with_projection(mask)
                    .with_row_groups(row_groups)
                    .with_row_selection(selection)
                    .with_row_selection_policy(how.policy)
                    .with_batch_size(batch_rows)
                    .build()?;
                read = Arc::clone(stream.schema());
                while let Some(batch) = stream.try_next().await? {
                    if !fits(&batch) {
                        return Ok(None);
                    }
                    batches.push(batch);
                }
            }
        }
        let batch = concat_batches(&read, &batches).map_err(ParquetError::from)?;
        let batch = with_absent(&batch, &schema, &absent)?;
        if batch.num_rows() != rows {
            let reason = format!("{} rows found, {rows} asked for", batch.num_rows());
            return Err(FileError::Damaged { path: file.path.clone(), reason });
        }
        Ok(Some(Self { file: Arc::clone(file), ranges, starts, batch }))
    }

    pub(crate) fn damaged(&self, reason: impl Into<String>) -> FileError {
        FileError::Damaged { path: self.file.path.clone(), reason: reason.into() }
    }

    /// Where a row of the file is in the batch.
    pub(crate) fn index(&self, row: u32) -> Result<usize, FileError> {
        let after = self.ranges.partition_point(|range| range.start <= row);
        let found = after.checked_sub(1).and_then(|at| self.ranges.get(at).zip(self.starts.get(at)));
        match found {
            Some((range, start)) if range.contains(&row) => Ok(start + (row - range.start) as usize),
            _ => Err(self.damaged(format!("row {row} was not read"))),
        }
    }
}

/// Takes bytes from the budget; false once they exceed it.
pub(crate) fn within(budget: &AtomicUsize, bytes: usize) -> bool {
    budget.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
}

/// The same rows as ranges that ascend and do not touch.
fn apart(mut wanted: Vec<Range<u32>>) -> Vec<Range<u32>> {
    wanted.retain(|range| !range.is_empty());
    wanted.sort_by_key(|range| range.start);
    let mut ranges: Vec<Range<u32>> = Vec::with_capacity(wanted.len());
    for range in wanted {
        match ranges.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => ranges.push(range),
        }
    }
    ranges
}

/// Whether a row group has nothing but nulls in a column, by its statistics. Not told of lists: an empty one and an
/// absent one count alike.
fn holds_nothing(metadata: &ParquetMetaData, row_group: usize, name: &str) -> bool {
    let Some(group) = metadata.row_groups().get(row_group) else { return false };
    let column = group.columns().iter().find(|column| column.column_path().parts() == [name]);
    let nulls = column.and_then(|column| column.statistics()?.null_count_opt());
    nulls.is_some_and(|nulls| u64::try_from(group.num_rows()).is_ok_and(|rows| rows == nulls))
}

/// The batch and, as columns of nulls, what was not read of the file's `schema`.
fn with_absent(batch: &RecordBatch, schema: &Schema, absent: &[&str]) -> Result<RecordBatch, ParquetError> {
    let mut fields = batch.schema().fields().to_vec();
    let mut columns = batch.columns().to_vec();
    for field in schema.fields().iter().filter(|field| absent.contains(&field.name().as_str())) {
        columns.push(new_null_array(field.data_type(), batch.num_rows()));
        fields.push(field.clone());
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// The file's columns of these names, by their places.
fn root_indices(schema: &Schema, names: &[&str]) -> Vec<usize> {
    let fields = schema.fields().iter().enumerate();
    fields.filter(|(_, field)| names.contains(&field.name().as_str())).map(|(index, _)| index).collect()
}

/// The row groups that hold `ranges`, and which of their rows.
fn groups_of(metadata: &ParquetMetaData, ranges: &[Range<u32>]) -> Vec<GroupRows> {
    let mut groups = Vec::new();
    let mut first = 0usize;
    for (group, row_group) in metadata.row_groups().iter().enumerate() {
        let end = first + row_group.num_rows() as usize;
        let from = ranges.partition_point(|range| range.end as usize <= first);
        let inside = ranges.iter().skip(from).take_while(|range| (range.start as usize) < end);
        let own = inside.map(|range| (range.start as usize).max(first) - first..(range.end as usize).min(end) - first);
        let ranges: Vec<Range<usize>> = own.collect();
        if !ranges.is_empty() {
            groups.push(GroupRows { group, ranges });
        }
        first = end;
    }
    groups
}

/// The row groups, and the selection within them.
fn selection_of(metadata: &ParquetMetaData, groups: Vec<GroupRows>) -> (Vec<usize>, RowSelection) {
    let (mut row_groups, mut selected, mut before) = (Vec::new(), Vec::new(), 0);
    for GroupRows { group, ranges } in groups {
        row_groups.push(group);
        selected.extend(ranges.into_iter().map(|range| range.start + before..range.end + before));
        before += metadata.row_groups().get(group).map_or(0, |group| group.num_rows() as usize);
    }
    (row_groups, RowSelection::from_consecutive_ranges(selected.into_iter(), before))
}
