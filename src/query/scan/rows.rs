//! Reads stored columns of given rows, in the given order: the wide columns of a page.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{cast, interleave_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::error::{DataFusionError, Result};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use parquet::arrow::arrow_reader::RowSelectionPolicy;

use super::segments::flat_batch;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::format::data_file::DataFile;
use crate::storage::format::points::{PointRead, Points, within};
use crate::storage::format::table::Table;
use crate::storage::read::snapshot::{RowAddress, Snapshot};

/// Bytes that a chunk is planned to have.
const CHUNK_BYTES: u64 = 32 << 20;
/// A chunk with more bytes than this is given up and read again with fewer rows.
const MAX_CHUNK_BYTES: usize = 128 << 20;
/// Files read at the same time: hides the latency of a remote store.
const SOURCES_AT_ONCE: usize = 8;
/// Rows of a chunk at most.
const MAX_CHUNK_ROWS: usize = 8192;

pub(crate) struct RowReader {
    snapshot: Arc<Snapshot>,
    table: Table,
    columns: Vec<&'static str>,
    files: Arc<Vec<FileSnapshot>>,
    /// Rows of the next chunk; learned from the ones before.
    rows: Option<usize>,
}

/// The chunk has become too large.
struct TooLarge;

impl RowReader {
    pub(crate) fn new(snapshot: Arc<Snapshot>, table: Table, columns: Vec<&'static str>) -> Self {
        let files = snapshot.files_of(table);
        Self { snapshot, table, columns, files, rows: None }
    }

    /// Reads the first of the given rows, as many as fit in a chunk and at least one.
    pub(crate) async fn next_chunk(&mut self, addresses: &[RowAddress]) -> Result<RecordBatch> {
        let mut rows = self.rows.unwrap_or(256).clamp(1, addresses.len().max(1));
        loop {
            let chunk = addresses.get(..rows).unwrap_or(addresses);
            match self.read(chunk, rows > 1).await? {
                Ok(batch) => {
                    let bytes = batch.get_array_memory_size() as u64;
                    let per_row = (bytes / rows as u64).max(1);
                    let fitting = usize::try_from(CHUNK_BYTES / per_row).unwrap_or(MAX_CHUNK_ROWS);
                    self.rows = Some(fitting.clamp(1, MAX_CHUNK_ROWS));
                    return Ok(batch);
                }
                Err(TooLarge) => rows = rows.div_ceil(4).min(rows - 1).max(1),
            }
        }
    }

    async fn read(
        &self,
        addresses: &[RowAddress],
        bounded: bool,
    ) -> Result<std::result::Result<RecordBatch, TooLarge>> {
        let mut by_source: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for address in addresses {
            by_source.entry(address.source).or_default().push(address.row);
        }
        for rows in by_source.values_mut() {
            rows.sort_unstable();
            rows.dedup();
        }
        let budget = AtomicUsize::new(if bounded { MAX_CHUNK_BYTES } else { usize::MAX });
        let mut sources: Vec<BoxFuture<'_, Result<Option<RecordBatch>>>> = Vec::with_capacity(by_source.len());
        for (source, rows) in &by_source {
            sources.push(self.read_source(*source, rows, &budget).boxed());
        }
        let parts: Vec<Option<RecordBatch>> = stream::iter(sources).buffered(SOURCES_AT_ONCE).try_collect().await?;
        let Some(parts) = parts.into_iter().collect::<Option<Vec<RecordBatch>>>() else {
            return Ok(Err(TooLarge));
        };
        let mut order = Vec::with_capacity(addresses.len());
        for address in addresses {
            let place = by_source.iter().enumerate().find_map(|(part, (source, rows))| {
                if *source != address.source {
                    return None;
                }
                rows.binary_search(&address.row).ok().map(|position| (part, position))
            });
            match place {
                Some(place) => order.push(place),
                None => return datafusion::common::internal_err!("a row was not read"),
            }
        }
        let parts: Vec<&RecordBatch> = parts.iter().collect();
        Ok(Ok(interleave_record_batch(&parts, &order)?))
    }

    /// `rows` are sorted and distinct. `None` once the budget of bytes is used up.
    async fn read_source(&self, source: u32, rows: &[u32], budget: &AtomicUsize) -> Result<Option<RecordBatch>> {
        if let Some(file) = self.files.iter().find(|file| file.file.number == source) {
            return self.read_file(&file.file, rows, budget).await;
        }
        let Some(segment) = self.snapshot.segment_of(self.table, source) else {
            return datafusion::common::internal_err!("the snapshot has no rows of source {source}");
        };
        let flat = flat_batch(segment.as_ref())?;
        let taken = take_record_batch(&self.project(&flat.batch)?, &UInt32Array::from(rows.to_vec()))?;
        let part = normalized(taken)?;
        Ok(within(budget, part.get_array_memory_size()).then_some(part))
    }

    fn project(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let indices = self.columns.iter().map(|name| batch.schema().index_of(name)).collect::<Result<Vec<_>, _>>()?;
        Ok(batch.project(&indices)?)
    }

    async fn read_file(&self, file: &Arc<DataFile>, rows: &[u32], budget: &AtomicUsize) -> Result<Option<RecordBatch>> {
        let per_batch = (CHUNK_BYTES / file.layout.max_json_bytes.max(1)).clamp(16, MAX_CHUNK_ROWS as u64);
        let how = PointRead {
            columns: &self.columns,
            batch_rows: usize::try_from(per_batch).unwrap_or(MAX_CHUNK_ROWS),
            budget: Some(budget),
            policy: RowSelectionPolicy::default(),
        };
        let wanted = rows.iter().map(|row| *row..row.saturating_add(1)).collect();
        let read = Points::read(&self.snapshot.store, &file.parquet, wanted, &how).await;
        let read = read.map_err(|error| DataFusionError::External(Box::new(error)))?;
        read.map(|read| normalized(self.project(&read.batch)?)).transpose()
    }
}

/// One type per column, wherever it comes from.
fn normalized(batch: RecordBatch) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let array = match array.data_type() {
            DataType::Utf8View => cast(array, &DataType::Utf8)?,
            DataType::List(element) if *element.data_type() == DataType::Utf8View => {
                let element = element.as_ref().clone().with_data_type(DataType::Utf8);
                cast(array, &DataType::List(Arc::new(element)))?
            }
            _ => Arc::clone(array),
        };
        fields.push(Field::new(field.name(), array.data_type().clone(), true));
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
}
