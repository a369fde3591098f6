//! Buckets without rows (contract A5, `fill`): every bucket of a range, for each combination of the other keys.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMillisecondArray, UInt32Array, new_null_array,
};
use arrow::compute::{concat, concat_batches, take};
use arrow::datatypes::{DataType, Int64Type, TimestampMillisecondType};
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlanBuilder;

use super::execution::Execution;
use crate::model::ids::EpochMillis;
use crate::model::time::render;
use crate::query::compile::grouped::{TopValues, aggregated};
use crate::query::compile::source::SizedPlan;
use crate::query::dsl::{AggregateFunction, Fill, KeyExpr, Query, TimePart, TimeStep, TimeUnit};
use crate::query::error::QueryError;
use crate::query::functions::zone::ZoneBuckets;

/// Rows of a filled result.
const MOST_ROWS: usize = 100_000;

/// The groups of a query with those that its `fill` adds, and how many rows their batches may have.
pub(crate) async fn filled(
    execution: &Execution,
    query: &Query,
    fill: &Fill,
    tops: &[Option<TopValues>],
) -> Result<(LogicalPlanBuilder, usize), QueryError> {
    let failed = |error: DataFusionError| execution.error(error);
    let (groups, batch_size) = aggregated(query, tops, &execution.source).map_err(failed)?;
    let plan = SizedPlan { plan: groups.build().map_err(failed)?, batch_size };
    let mut stream = execution.stream(&plan).await?;
    let schema = stream.schema();
    let (mut batches, mut rows) = (Vec::new(), 0);
    while let Some(batch) = execution.next(&mut stream).await? {
        rows += batch.num_rows();
        if rows > MOST_ROWS {
            return Err(too_many(fill, "before"));
        }
        batches.push(batch);
    }
    let internal =
        |error: arrow::error::ArrowError| QueryError::Internal(format!("a result could not be filled: {error}"));
    let groups = concat_batches(&schema, &batches).map_err(internal)?;
    let groups = Filling { query, fill }.add(groups)?;
    let table = MemTable::try_new(groups.schema(), vec![vec![groups]]).map_err(failed)?;
    let builder = LogicalPlanBuilder::scan("groups", provider_as_source(Arc::new(table)), None).map_err(failed)?;
    Ok((builder, batch_size))
}

fn too_many(fill: &Fill, what: &str) -> QueryError {
    let message = format!("over {MOST_ROWS} rows {what} filling; narrow the range or take longer buckets");
    QueryError::Invalid { path: fill.place.clone(), message }
}

struct Filling<'a> {
    query: &'a Query,
    fill: &'a Fill,
}

impl Filling<'_> {
    fn add(&self, groups: RecordBatch) -> Result<RecordBatch, QueryError> {
        let internal =
            |error: arrow::error::ArrowError| QueryError::Internal(format!("a result could not be filled: {error}"));
        let Some(column) = groups.columns().get(self.fill.group) else { return Ok(groups) };
        let keys = numbers(column)?;
        let buckets = self.buckets(&keys)?;
        let others: Vec<usize> = (0..self.query.groups.len()).filter(|index| *index != self.fill.group).collect();
        // One row of each combination of the other keys, and the buckets that it has.
        let mut combinations: Vec<(Option<u32>, HashSet<i64>)> = Vec::new();
        if others.is_empty() {
            combinations.push((None, keys.iter().flatten().copied().collect()));
        } else {
            let columns: Vec<ArrayRef> =
                others.iter().filter_map(|index| groups.columns().get(*index).cloned()).collect();
            let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
            let converter = RowConverter::new(fields).map_err(internal)?;
            let rows = converter.convert_columns(&columns).map_err(internal)?;
            let mut places: HashMap<OwnedRow, usize> = HashMap::new();
            for (row, key) in keys.iter().enumerate() {
                let place = *places.entry(rows.row(row).owned()).or_insert_with(|| {
                    combinations.push((u32::try_from(row).ok(), HashSet::new()));
                    combinations.len() - 1
                });
                if let (Some((_, present)), Some(key)) = (combinations.get_mut(place), key) {
                    present.insert(*key);
                }
            }
        }
        let (mut representatives, mut values) = (Vec::new(), Vec::new());
        for (representative, present) in &combinations {
            for bucket in buckets.iter().filter(|bucket| !present.contains(bucket)) {
                representatives.push(*representative);
                values.push(*bucket);
            }
            if groups.num_rows() + values.len() > MOST_ROWS {
                let (first, last) = (buckets.first().copied(), buckets.last().copied());
                let shown = |bucket: Option<i64>| self.shown(bucket.unwrap_or_default());
                return Err(too_many(self.fill, &format!("from {} to {} after", shown(first), shown(last))));
            }
        }
        if values.is_empty() {
            return Ok(groups);
        }
        let representatives = UInt32Array::from(representatives);
        let mut columns = Vec::with_capacity(groups.num_columns());
        for (index, column) in groups.columns().iter().enumerate() {
            let added: ArrayRef = if index == self.fill.group {
                match column.data_type() {
                    DataType::Int64 => Arc::new(Int64Array::from(values.clone())),
                    _ => Arc::new(TimestampMillisecondArray::from(values.clone()).with_timezone("UTC")),
                }
            } else if index < self.query.groups.len() {
                take(column, &representatives, None).map_err(internal)?
            } else if self.counts(index - self.query.groups.len()) {
                Arc::new(Int64Array::from(vec![0; values.len()]))
            } else {
                new_null_array(column.data_type(), values.len())
            };
            columns.push(concat(&[column, &added]).map_err(internal)?);
        }
        // Aggregations that are never null in groups are in filled ones.
        let fields =
            groups.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
        RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns).map_err(internal)
    }

    fn counts(&self, aggregation: usize) -> bool {
        let function = self.query.aggregations.get(aggregation).map(|one| one.function);
        matches!(function, Some(AggregateFunction::Count | AggregateFunction::CountDistinct))
    }

    /// In ascending order.
    fn buckets(&self, keys: &[Option<i64>]) -> Result<Vec<i64>, QueryError> {
        match self.query.groups.get(self.fill.group) {
            Some(KeyExpr::Part { part, .. }) => {
                let range = match part {
                    TimePart::HourOfDay => 0..=23,
                    TimePart::DayOfWeek => 1..=7,
                    TimePart::DayOfMonth => 1..=31,
                    TimePart::MonthOfYear => 1..=12,
                };
                // Without any row there is nothing to fill between, as for buckets of time without bounds.
                Ok(if keys.is_empty() { Vec::new() } else { range.collect() })
            }
            Some(KeyExpr::Bucket { step, .. }) => self.time_buckets(*step, keys),
            _ => Ok(Vec::new()),
        }
    }

    fn time_buckets(&self, step: TimeStep, keys: &[Option<i64>]) -> Result<Vec<i64>, QueryError> {
        let mut zone = ZoneBuckets::new(&self.query.time_zone, step, self.query.week_start, Vec::new());
        let present: BTreeSet<i64> = keys.iter().flatten().copied().collect();
        let first = self.fill.from.map(|from| zone.first_instant(from)).or_else(|| present.first().copied());
        let last = self.fill.to.map(|to| zone.first_instant(to - 1)).or_else(|| present.last().copied());
        let (Some(first), Some(last)) = (first, last) else { return Ok(Vec::new()) };
        if let (Some(from), Some(to)) = (self.fill.from, self.fill.to)
            && from >= to
        {
            return Ok(Vec::new());
        }
        let quarter = nominal_millis(step) / 4;
        let mut buckets = Vec::new();
        let mut bucket = first;
        while bucket <= last {
            buckets.push(bucket);
            if buckets.len() > MOST_ROWS {
                return Err(too_many(self.fill, &format!("from {} to {} after", self.shown(first), self.shown(last))));
            }
            let mut probe = bucket + 3 * quarter;
            while zone.first_instant(probe) <= bucket {
                probe += quarter;
            }
            bucket = zone.first_instant(probe);
        }
        Ok(buckets)
    }

    fn shown(&self, bucket: i64) -> String {
        match self.query.groups.get(self.fill.group) {
            Some(KeyExpr::Bucket { .. }) => render(EpochMillis(bucket)),
            _ => bucket.to_string(),
        }
    }
}

/// About how long a bucket is.
fn nominal_millis(step: TimeStep) -> i64 {
    const MINUTE: i64 = 60_000;
    let unit = match step.unit {
        TimeUnit::Minute => MINUTE,
        TimeUnit::Hour => 60 * MINUTE,
        TimeUnit::Day => 24 * 60 * MINUTE,
        TimeUnit::Week => 7 * 24 * 60 * MINUTE,
        TimeUnit::Month => 28 * 24 * 60 * MINUTE,
        TimeUnit::Quarter => 90 * 24 * 60 * MINUTE,
        TimeUnit::Year => 365 * 24 * 60 * MINUTE,
    };
    unit * i64::from(step.count)
}

/// Times as milliseconds, and plain numbers.
fn numbers(column: &ArrayRef) -> Result<Vec<Option<i64>>, QueryError> {
    if let Some(times) = column.as_primitive_opt::<TimestampMillisecondType>() {
        return Ok(times.iter().collect());
    }
    match column.as_primitive_opt::<Int64Type>() {
        Some(numbers) => Ok(numbers.iter().collect()),
        None => Err(QueryError::Internal(format!("a filled key is of type {}", column.data_type()))),
    }
}
