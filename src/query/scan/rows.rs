//! Reads stored columns of given rows, in the given order: the wide columns of a page.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{cast, interleave_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, internal_datafusion_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::expressions::Column;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use parquet::arrow::arrow_reader::RowSelectionPolicy;

use super::chunk::{CHUNK_BYTES, ChunkRows, MAX_CHUNK_ROWS};
use super::column::ScanColumn;
use super::lookup::is_looked_up;
use super::lookup::rows::{Lookup, ThreadPlace, text_bytes};
use super::segments::flat_batch;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::format::data_file::DataFile;
use crate::storage::format::layout::JsonField;
use crate::storage::format::physical_name::snake_case;
use crate::storage::format::points::{PointRead, Points, within};
use crate::storage::format::table::Table;
use crate::storage::read::snapshot::{RowAddress, Snapshot};

/// Files read at the same time: hides the latency of a remote store.
const SOURCES_AT_ONCE: usize = 8;

pub(crate) struct RowReader {
    snapshot: Arc<Snapshot>,
    table: Table,
    columns: Vec<&'static str>,
    /// What is read of the table's own rows, by the names in files.
    stored: Vec<(&'static str, String)>,
    /// What they have elsewhere.
    lookup: Option<Lookup>,
    files: Arc<Vec<FileSnapshot>>,
    rows: ChunkRows,
}

const FIRST_CHUNK_ROWS: usize = 256;

/// The chunk has become too large.
struct TooLarge;

impl RowReader {
    pub(crate) fn new(snapshot: Arc<Snapshot>, table: Table, columns: Vec<&'static str>) -> Result<Self> {
        let scanned = columns.iter().map(|name| (*name, scan_column(name)));
        let (elsewhere, own): (Vec<_>, Vec<_>) = scanned.partition(|(_, column)| is_looked_up(table, column));
        let mut stored: Vec<&'static str> = own.into_iter().map(|(name, _)| name).collect();
        let mut lookup = None;
        if !elsewhere.is_empty() {
            let wanted = elsewhere.into_iter().map(|(_, column)| column).collect();
            lookup = Some(Lookup::new(&snapshot, wanted, &plain_column)?);
            let places = ThreadPlace::COLUMNS.into_iter().filter(|name| !columns.contains(name));
            stored.extend(places);
        }
        let files = snapshot.files_of(table);
        let stored = stored.into_iter().map(|name| (name, snake_case(name))).collect();
        Ok(Self {
            snapshot,
            table,
            columns,
            stored,
            lookup,
            files,
            rows: ChunkRows::starting_at(FIRST_CHUNK_ROWS, CHUNK_BYTES),
        })
    }

    /// Reads the first of the given rows, as many as fit in a chunk and at least one.
    pub(crate) async fn next_chunk(&mut self, addresses: &[RowAddress]) -> Result<RecordBatch> {
        let mut rows = self.rows.of(addresses.len());
        loop {
            let chunk = addresses.get(..rows).unwrap_or(addresses);
            match self.read(chunk, &ChunkRows::budget(rows)).await? {
                Ok(batch) => {
                    self.rows.learn(rows, batch.get_array_memory_size());
                    return Ok(batch);
                }
                Err(TooLarge) => rows = ChunkRows::fewer(rows),
            }
        }
    }

    async fn read(
        &self,
        addresses: &[RowAddress],
        budget: &AtomicUsize,
    ) -> Result<std::result::Result<RecordBatch, TooLarge>> {
        let mut by_source: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for address in addresses {
            by_source.entry(address.source).or_default().push(address.row);
        }
        for rows in by_source.values_mut() {
            rows.sort_unstable();
            rows.dedup();
        }
        let mut sources: Vec<BoxFuture<'_, Result<Option<RecordBatch>>>> = Vec::with_capacity(by_source.len());
        for (source, rows) in &by_source {
            sources.push(self.read_source(*source, rows, budget).boxed());
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
        let Some(stored) = self.read_stored(source, rows, budget).await? else { return Ok(None) };
        let Some(lookup) = &self.lookup else { return self.normalized(&stored, &[]).map(Some) };
        let found = lookup.read(source, &ThreadPlace::all_of(&stored, true)?, budget).await?;
        let found = found.map(|found| lookup.columns.iter().map(ScanColumn::name).zip(found).collect::<Vec<_>>());
        found.map(|found| self.normalized(&stored, &found)).transpose()
    }

    async fn read_stored(&self, source: u32, rows: &[u32], budget: &AtomicUsize) -> Result<Option<RecordBatch>> {
        if let Some(file) = self.files.iter().find(|file| file.file.number == source) {
            return self.read_file(&file.file, rows, budget).await;
        }
        let Some(segment) = self.snapshot.segment_of(self.table, source) else {
            return datafusion::common::internal_err!("the snapshot has no rows of source {source}");
        };
        let flat = flat_batch(segment.as_ref())?;
        let part = take_record_batch(&self.named(&flat.batch)?, &UInt32Array::from(rows.to_vec()))?;
        Ok(within(budget, part.columns().iter().map(text_bytes).sum()).then_some(part))
    }

    async fn read_file(&self, file: &Arc<DataFile>, rows: &[u32], budget: &AtomicUsize) -> Result<Option<RecordBatch>> {
        let per_batch = (CHUNK_BYTES / file.layout.max_json_bytes.max(1)).clamp(16, MAX_CHUNK_ROWS as u64);
        let columns: Vec<String> = self.stored.iter().map(|(_, column)| column.clone()).collect();
        let how = PointRead {
            columns: &columns,
            batch_rows: usize::try_from(per_batch).unwrap_or(MAX_CHUNK_ROWS),
            budget: Some(budget),
            policy: RowSelectionPolicy::default(),
        };
        let wanted = rows.iter().map(|row| *row..row.saturating_add(1)).collect();
        let read = Points::read(&self.snapshot.store, &file.parquet, wanted, &how).await;
        let read = read.map_err(|error| DataFusionError::External(Box::new(error)))?;
        read.map(|read| self.named(&read.batch)).transpose()
    }

    /// What was read of a file or segment, by the names of the fields.
    fn named(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut fields = Vec::with_capacity(self.stored.len());
        let mut arrays = Vec::with_capacity(self.stored.len());
        for (name, column) in &self.stored {
            let (index, field) = batch.schema_ref().column_with_name(column).ok_or_else(|| not_read(name))?;
            fields.push(field.clone().with_name(*name));
            arrays.push(Arc::clone(batch.column(index)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
    }

    /// The columns in their order, of one type each, wherever it comes from.
    fn normalized(&self, stored: &RecordBatch, looked_up: &[(String, ArrayRef)]) -> Result<RecordBatch> {
        let mut fields = Vec::with_capacity(self.columns.len());
        let mut arrays = Vec::with_capacity(self.columns.len());
        for name in &self.columns {
            let found = looked_up.iter().find(|(found, _)| found == name).map(|(_, array)| array);
            let array = found.or_else(|| stored.column_by_name(name)).ok_or_else(|| not_read(name))?;
            let array = plain(array)?;
            fields.push(Field::new(*name, array.data_type().clone(), true));
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(stored.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
    }
}

fn not_read(name: &str) -> DataFusionError {
    internal_datafusion_err!("{name} was not read")
}

/// Whole fields are read as they are.
fn plain_column(expr: Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    match expr {
        Expr::Column(column) => Ok(Arc::new(Column::new_with_schema(&column.name, schema.as_arrow())?)),
        other => datafusion::common::internal_err!("{other} is no stored column"),
    }
}

fn scan_column(name: &'static str) -> ScanColumn {
    let json = JsonField::ALL.into_iter().find(|field| field.name() == name);
    json.map_or(ScanColumn::Plain(name), ScanColumn::Whole)
}

fn plain(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Utf8View => cast(array, &DataType::Utf8)?,
        DataType::List(element) if *element.data_type() == DataType::Utf8View => {
            let element = element.as_ref().clone().with_data_type(DataType::Utf8);
            cast(array, &DataType::List(Arc::new(element)))?
        }
        _ => Arc::clone(array),
    })
}
