//! `sum` and `avg` of contract A3: the exact sum of the inputs as doubles, rounded once.
#![expect(clippy::indexing_slicing, reason = "rows and groups are below the lengths that DataFusion gave")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Float64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, internal_datafusion_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use super::aggregate::for_each_selected;
use super::exact::ExactSum;

/// Float64 or Int64 → Float64. Null without input, and if the sum is beyond a finite double.
pub(crate) fn exact_sum() -> Arc<AggregateUDF> {
    ExactAggregate::udf(Kind::Sum)
}

/// Like [`exact_sum`], divided by the number of inputs.
pub(crate) fn exact_avg() -> Arc<AggregateUDF> {
    ExactAggregate::udf(Kind::Average)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Sum,
    Average,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactAggregate {
    kind: Kind,
    signature: Signature,
}

impl ExactAggregate {
    fn udf(kind: Kind) -> Arc<AggregateUDF> {
        let signature = Signature::uniform(1, vec![DataType::Float64, DataType::Int64], Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Self { kind, signature }))
    }
}

impl AggregateUDFImpl for ExactAggregate {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Sum => "exact_sum",
            Kind::Average => "exact_avg",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let name = format_state_name(arguments.name, self.name());
        Ok(vec![Arc::new(Field::new(name, DataType::Binary, true))])
    }

    fn accumulator(&self, _arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(ExactAccumulator { kind: self.kind, total: Total::default() }))
    }

    fn groups_accumulator_supported(&self, _arguments: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _arguments: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(ExactGroupsAccumulator { kind: self.kind, totals: Vec::new(), heap_size: 0 }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// State: the count (8 bytes, little endian), then the sum; null without input.
#[derive(Clone, Debug, Default)]
struct Total {
    sum: ExactSum,
    count: u64,
}

impl Total {
    #[inline]
    fn add(&mut self, value: f64) {
        // Stored numbers are finite; any other is no input (contract A3).
        if value.is_finite() {
            self.sum.add(value);
            self.count += 1;
        }
    }

    fn result(&self, kind: Kind) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let sum = self.sum.round()?;
        Some(match kind {
            Kind::Sum => sum,
            Kind::Average => sum / self.count as f64,
        })
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.count.to_le_bytes());
        self.sum.write(bytes);
    }

    fn merge_state(&mut self, state: &[u8]) -> Result<()> {
        let read = state.split_first_chunk::<8>().and_then(|(count, sum)| Some((count, ExactSum::read(sum)?)));
        let Some((count, sum)) = read else {
            return exec_err!("exact sum: state of {} bytes", state.len());
        };
        self.count += u64::from_le_bytes(*count);
        self.sum.merge(&sum);
        Ok(())
    }
}

/// Calls `f` with the row and value of every input.
fn for_each_value(values: &[ArrayRef], filter: Option<&BooleanArray>, mut f: impl FnMut(usize, f64)) -> Result<()> {
    let [column] = values else {
        return exec_err!("exact sum: one column needed, {} given", values.len());
    };
    match column.data_type() {
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>().values();
            for_each_selected(column, filter, |row| f(row, values[row]));
        }
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>().values();
            for_each_selected(column, filter, |row| f(row, values[row] as f64));
        }
        other => return exec_err!("exact sum: Float64 or Int64 needed, {other} given"),
    }
    Ok(())
}

fn state_column(states: &[ArrayRef]) -> Result<&BinaryArray> {
    states
        .first()
        .and_then(|column| column.as_binary_opt::<i32>())
        .ok_or_else(|| internal_datafusion_err!("exact sum: state is no Binary column"))
}

#[derive(Debug)]
struct ExactAccumulator {
    kind: Kind,
    total: Total,
}

impl Accumulator for ExactAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for_each_value(values, None, |_, value| self.total.add(value))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.total.result(self.kind)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.total.sum.heap_size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let bytes = (self.total.count > 0).then(|| {
            let mut bytes = Vec::new();
            self.total.write(&mut bytes);
            bytes
        });
        Ok(vec![ScalarValue::Binary(bytes)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        state_column(states)?.iter().flatten().try_for_each(|state| self.total.merge_state(state))
    }
}

struct ExactGroupsAccumulator {
    kind: Kind,
    totals: Vec<Total>,
    /// Heap memory of `totals` beside the vector.
    heap_size: usize,
}

impl ExactGroupsAccumulator {
    fn take(&mut self, emit_to: EmitTo) -> Vec<Total> {
        let taken = emit_to.take_needed(&mut self.totals);
        self.heap_size -= taken.iter().map(|total| total.sum.heap_size()).sum::<usize>();
        taken
    }
}

fn write_states<'a>(totals: impl ExactSizeIterator<Item = &'a Total>) -> ArrayRef {
    let mut states = BinaryBuilder::with_capacity(totals.len(), totals.len() * 24);
    let mut bytes = Vec::new();
    for total in totals {
        if total.count == 0 {
            states.append_null();
        } else {
            bytes.clear();
            total.write(&mut bytes);
            states.append_value(&bytes);
        }
    }
    Arc::new(states.finish())
}

impl GroupsAccumulator for ExactGroupsAccumulator {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_groups: usize,
    ) -> Result<()> {
        self.totals.resize(total_groups, Total::default());
        let Self { totals, heap_size, .. } = self;
        for_each_value(values, filter, |row, value| {
            let total = &mut totals[group_indices[row]];
            let before = total.sum.heap_size();
            total.add(value);
            *heap_size += total.sum.heap_size() - before;
        })
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let totals = self.take(emit_to);
        Ok(Arc::new(Float64Array::from_iter(totals.iter().map(|total| total.result(self.kind)))))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![write_states(self.take(emit_to).iter())])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], total_groups: usize) -> Result<()> {
        self.totals.resize(total_groups, Total::default());
        for (state, &group) in state_column(states)?.iter().zip(group_indices) {
            if let Some(state) = state {
                let total = &mut self.totals[group];
                let before = total.sum.heap_size();
                total.merge_state(state)?;
                self.heap_size += total.sum.heap_size() - before;
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut totals = vec![Total::default(); values.first().map_or(0, |column| column.len())];
        for_each_value(values, filter, |row, value| totals[row].add(value))?;
        Ok(vec![write_states(totals.iter())])
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<Total>() + self.heap_size
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn groups(kind: Kind) -> ExactGroupsAccumulator {
        ExactGroupsAccumulator { kind, totals: Vec::new(), heap_size: 0 }
    }

    fn floats(values: &[Option<f64>]) -> [ArrayRef; 1] {
        [Arc::new(Float64Array::from(values.to_vec()))]
    }

    #[test]
    fn groups_are_independent_of_partitioning() {
        let values = [Some(1e308), Some(0.1), None, Some(5e-324), Some(-1e308), Some(0.2), Some(7.0), Some(1e308)];
        let indices = [0, 1, 1, 0, 0, 1, 3, 3];
        let filter = BooleanArray::from(vec![Some(true); 7].into_iter().chain([None]).collect::<Vec<_>>());
        let expected = Float64Array::from(vec![Some(5e-324), Some(0.30000000000000004), None, Some(7.0)]);

        let mut whole = groups(Kind::Sum);
        whole.update_batch(&floats(&values), &indices, Some(&filter), 4).unwrap();
        assert_eq!(whole.evaluate(EmitTo::All).unwrap().as_primitive::<Float64Type>(), &expected);
        assert_eq!(whole.heap_size, 0);

        let mut merged = groups(Kind::Sum);
        for row in (0..8).rev() {
            let column = floats(&values[row..=row]);
            let filter = filter.slice(row, 1);
            let states = if row % 2 == 0 {
                merged.convert_to_state(&column, Some(&filter)).unwrap()
            } else {
                let mut part = groups(Kind::Sum);
                part.update_batch(&column, &[0], Some(&filter), 1).unwrap();
                part.state(EmitTo::All).unwrap()
            };
            merged.merge_batch(&states, &[indices[row]], 4).unwrap();
        }
        assert!(merged.size() > 4 * size_of::<Total>());
        let first = merged.evaluate(EmitTo::First(1)).unwrap();
        assert_eq!(first.as_primitive::<Float64Type>(), &expected.slice(0, 1));
        let rest = merged.evaluate(EmitTo::All).unwrap();
        assert_eq!(rest.as_primitive::<Float64Type>(), &expected.slice(1, 3));
    }

    #[test]
    fn averages_and_single_group() {
        let run = |kind, values: &[ArrayRef]| {
            let mut first = ExactAccumulator { kind, total: Total::default() };
            first.update_batch(values).unwrap();
            let states: Vec<ArrayRef> = first.state().unwrap().iter().map(|state| state.to_array().unwrap()).collect();
            let mut second = ExactAccumulator { kind, total: Total::default() };
            second.merge_batch(&states).unwrap();
            second.evaluate().unwrap()
        };
        let integers: [ArrayRef; 1] = [Arc::new(Int64Array::from(vec![Some(1), None, Some(4)]))];
        assert_eq!(run(Kind::Sum, &integers), ScalarValue::Float64(Some(5.0)));
        assert_eq!(run(Kind::Average, &integers), ScalarValue::Float64(Some(2.5)));
        assert_eq!(run(Kind::Average, &floats(&[None])), ScalarValue::Float64(None));
        assert_eq!(run(Kind::Sum, &floats(&[Some(f64::INFINITY)])), ScalarValue::Float64(None));
        assert_eq!(run(Kind::Average, &floats(&[Some(1e308), Some(1e308)])), ScalarValue::Float64(None));
    }
}
