//! Columns of the JSON fields of conversations, for some rows of one file or segment.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::PhysicalExpr;
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::RowSelectionPolicy;

use crate::query::scan::chunk::{CHUNK_BYTES, MAX_CHUNK_ROWS};
use crate::query::scan::column::ScanColumn;
use crate::query::scan::resolve::{self, Places, typed};
use crate::storage::format::data_file::DataFile;
use crate::storage::format::points::{PointRead, Points};
use crate::storage::format::table::Table;

const TABLE: Table = Table::Conversations;

/// How the rows of files and segments with equal places answer the columns.
#[derive(Debug)]
pub(super) struct JsonColumns {
    /// Of the physical columns.
    schema: SchemaRef,
    /// Over those, one for each column.
    values: Vec<Arc<dyn PhysicalExpr>>,
}

/// Makes an expression over columns of a schema ready to run.
pub(crate) type Prepare<'a> = &'a dyn Fn(Expr, &DFSchema) -> Result<Arc<dyn PhysicalExpr>>;

impl JsonColumns {
    pub(super) fn new(columns: &[ScanColumn], places: &[Places], prepare: Prepare<'_>) -> Result<Self> {
        let mut fields: Vec<Field> = Vec::new();
        for (column, places) in columns.iter().zip(places) {
            for field in resolve::physical_fields(column, places, TABLE)? {
                if !fields.iter().any(|present| present.name() == field.name()) {
                    fields.push(field);
                }
            }
        }
        let schema = Arc::new(Schema::new(fields));
        let known = DFSchema::try_from(Arc::clone(&schema))?;
        let mut values = Vec::with_capacity(columns.len());
        for (column, places) in columns.iter().zip(places) {
            let expr = prepare(resolve::expression(column, places, TABLE)?, &known)?;
            values.push(typed(expr, &column.data_type(TABLE)?, &schema)?);
        }
        Ok(Self { schema, values })
    }

    /// Of these rows of a file, which ascend. `None` once the budget of bytes is used up.
    pub(super) async fn read_file(
        &self,
        store: &Arc<dyn ObjectStore>,
        file: &DataFile,
        rows: &[u32],
        budget: &AtomicUsize,
    ) -> Result<Option<Vec<ArrayRef>>> {
        if self.reads_nothing() {
            return self.evaluate(Vec::new(), rows.len()).map(Some);
        }
        let names: Vec<String> = self.schema.fields().iter().map(|field| field.name().clone()).collect();
        let per_batch = (CHUNK_BYTES / file.layout.max_json_bytes.max(1)).clamp(16, MAX_CHUNK_ROWS as u64);
        let how = PointRead {
            columns: &names,
            batch_rows: usize::try_from(per_batch).unwrap_or(MAX_CHUNK_ROWS),
            budget: Some(budget),
            policy: RowSelectionPolicy::default(),
        };
        let wanted = rows.iter().map(|row| *row..row.saturating_add(1)).collect();
        let read = Points::read(store, &file.parquet, wanted, &how).await;
        let Some(read) = read.map_err(|error| DataFusionError::External(Box::new(error)))? else { return Ok(None) };
        self.evaluate_columns_of(&read.batch).map(Some)
    }

    /// Of these rows of a segment, which ascend.
    pub(super) fn read_segment(&self, flat: &RecordBatch, rows: &[u32]) -> Result<Vec<ArrayRef>> {
        if self.reads_nothing() {
            return self.evaluate(Vec::new(), rows.len());
        }
        let indices = self.schema.fields().iter().map(|field| flat.schema().index_of(field.name()));
        let taken = flat.project(&indices.collect::<Result<Vec<_>, _>>()?)?;
        self.evaluate_columns_of(&take_record_batch(&taken, &UInt32Array::from(rows.to_vec()))?)
    }

    /// Whether no value can be there.
    fn reads_nothing(&self) -> bool {
        self.schema.fields().is_empty()
    }

    fn evaluate_columns_of(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let columns = self.schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
            Some(column) => Ok(cast(column, field.data_type())?),
            None => datafusion::common::internal_err!("conversations have no column {}", field.name()),
        });
        self.evaluate(columns.collect::<Result<_>>()?, batch.num_rows())
    }

    fn evaluate(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<Vec<ArrayRef>> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        self.values.iter().map(|value| value.evaluate(&batch)?.into_array(rows)).collect()
    }
}
