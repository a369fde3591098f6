//! Tail segments as batches in memory.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::projection::ProjectionExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use super::column::SOURCE_COLUMN;
use crate::storage::format::flatten::FlatBatch;
use crate::storage::tail::segment::ScannedSegment;

/// The segment's rows as columns, made on first use.
pub(crate) fn flat_batch(segment: &dyn ScannedSegment) -> Result<&FlatBatch> {
    segment.flat().map_err(|error| DataFusionError::External(Box::new(error)))
}

/// Their live rows, spread over the partitions.
pub(crate) fn scan_segments(
    input_schema: &SchemaRef,
    projection: Vec<ProjectionExpr>,
    segments: &[(Box<dyn ScannedSegment + '_>, RecordBatch)],
    partitions: usize,
) -> Result<Arc<dyn ExecutionPlan>> {
    let mut batches = vec![Vec::new(); partitions.clamp(1, segments.len().max(1))];
    let count = batches.len();
    for (position, (segment, flat)) in segments.iter().enumerate() {
        let columns = input_schema.fields().iter().map(|field| {
            if field.name() == SOURCE_COLUMN {
                return Ok(Arc::new(UInt32Array::from_value(segment.number(), flat.num_rows())) as _);
            }
            match flat.column_by_name(field.name()) {
                Some(column) => Ok(Arc::clone(column)),
                None => datafusion::common::internal_err!("a segment has no column {}", field.name()),
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(flat.num_rows()));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let mut batch = RecordBatch::try_new_with_options(Arc::clone(input_schema), columns, &options)?;
        if !segment.deleted().is_empty() {
            let mut live = vec![true; flat.num_rows()];
            for row in segment.deleted().iter() {
                if let Some(slot) = live.get_mut(row as usize) {
                    *slot = false;
                }
            }
            batch = filter_record_batch(&batch, &BooleanArray::from(live))?;
        }
        if let Some(partition) = batches.get_mut(position % count) {
            partition.push(batch);
        }
    }
    let source = MemorySourceConfig::try_new_exec(&batches, Arc::clone(input_schema), None)?;
    Ok(Arc::new(ProjectionExec::try_new(projection, source)?))
}
