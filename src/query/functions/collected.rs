//! Aggregations that need all values of a group at once: percentiles and standard deviations (contract A5). Neither
//! depends on the order of rows.
#![expect(clippy::indexing_slicing, reason = "rows and groups are below the lengths that DataFusion gave")]

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err, internal_datafusion_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use super::aggregate::{emitted_groups, for_each_selected};
use super::exact::ExactSum;
use crate::query::dsl::Share;

/// Float64 → Float64: PostgreSQL's `percentile_cont`. Null without input.
pub(crate) fn percentile(share: Share) -> Arc<AggregateUDF> {
    Collected::udf(Outcome::Percentile(share))
}

/// Float64 → Float64: of a sample. Null for fewer than two values.
pub(crate) fn stddev() -> Arc<AggregateUDF> {
    Collected::udf(Outcome::Deviation)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Outcome {
    Percentile(Share),
    Deviation,
}

impl Outcome {
    fn of(self, values: &mut [f64]) -> Option<f64> {
        match self {
            Outcome::Percentile(share) => percentile_of(values, share.value()),
            Outcome::Deviation => deviation_of(values),
        }
    }
}

fn percentile_of(values: &mut [f64], share: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let place = share * last as f64;
    let below = (place.floor() as usize).min(last);
    let (_, &mut lower, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let fraction = place - below as f64;
    // The next value is the least of those that are not below.
    let upper = if fraction > 0.0 { above.iter().copied().min_by(f64::total_cmp).unwrap_or(lower) } else { lower };
    let value = lower + fraction * (upper - lower);
    // The difference of two finite doubles may not be finite.
    Some(if value.is_finite() { value } else { lower * (1.0 - fraction) + upper * fraction })
}

fn deviation_of(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let count = values.len() as f64;
    let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    if largest == 0.0 {
        return Some(0.0);
    }
    // Scaled by a power of two, which is exact, so that no square leaves the finite doubles.
    let exponent = largest.log2().floor().clamp(-1000.0, 1000.0) as i32;
    let scaled = |value: f64| value * 2f64.powi(-exponent);
    let mut sum = ExactSum::default();
    values.iter().for_each(|value| sum.add(scaled(*value)));
    let mean = sum.round()? / count;
    let spread = values.iter().fold(0.0, |spread: f64, value| spread.max((scaled(*value) - mean).abs()));
    if spread == 0.0 {
        return Some(0.0);
    }
    let (mut squares, mut rest) = (ExactSum::default(), ExactSum::default());
    for value in values {
        let deviation = (scaled(*value) - mean) / spread;
        squares.add(deviation * deviation);
        rest.add(deviation);
    }
    // The mean is rounded; what is left of the deviations corrects that.
    let rest = rest.round()?;
    let variance = (squares.round()? - rest * rest / count) / (count - 1.0);
    let deviation = variance.max(0.0).sqrt() * spread * 2f64.powi(exponent);
    deviation.is_finite().then_some(deviation)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Collected {
    outcome: Outcome,
    name: String,
    signature: Signature,
}

impl Collected {
    fn udf(outcome: Outcome) -> Arc<AggregateUDF> {
        let name = match outcome {
            Outcome::Percentile(share) => format!("percentile[{}]", share.value()),
            Outcome::Deviation => "stddev".to_owned(),
        };
        let signature = Signature::uniform(1, vec![DataType::Float64], Volatility::Immutable);
        Arc::new(AggregateUDF::new_from_impl(Self { outcome, name, signature }))
    }
}

impl AggregateUDFImpl for Collected {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let name = format_state_name(arguments.name, "values");
        Ok(vec![Arc::new(Field::new(name, DataType::List(element()), true))])
    }

    fn accumulator(&self, _arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Values { outcome: self.outcome, values: Vec::new() }))
    }

    fn groups_accumulator_supported(&self, _arguments: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _arguments: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(GroupedValues { outcome: self.outcome, total: 0, groups: Vec::new(), values: Vec::new() }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

fn element() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float64, true))
}

/// Calls `f` with the row and value of every input. What is not finite is no input (contract A3).
fn for_each_value(columns: &[ArrayRef], filter: Option<&BooleanArray>, mut f: impl FnMut(usize, f64)) -> Result<()> {
    let column = match columns {
        [column] => column.as_primitive_opt::<Float64Type>(),
        _ => None,
    };
    let column = column.ok_or_else(|| internal_datafusion_err!("one column of doubles is needed"))?;
    let values = column.values();
    for_each_selected(column, filter, |row| {
        if values[row].is_finite() {
            // Negative zero is zero.
            f(row, values[row] + 0.0);
        }
    });
    Ok(())
}

/// The values of each state.
fn for_each_state(states: &[ArrayRef], mut f: impl FnMut(usize, &[f64])) -> Result<()> {
    let lists = states.first().and_then(|column| column.as_list_opt::<i32>());
    let lists = lists.ok_or_else(|| internal_datafusion_err!("a state of values is no list"))?;
    let values = lists.values().as_primitive_opt::<Float64Type>();
    let values = values.ok_or_else(|| internal_datafusion_err!("a state of values is no list of doubles"))?.values();
    for (row, range) in lists.value_offsets().windows(2).enumerate() {
        if lists.is_valid(row) {
            f(row, &values[range[0] as usize..range[1] as usize]);
        }
    }
    Ok(())
}

fn lists(lengths: impl IntoIterator<Item = usize>, values: Vec<f64>) -> Result<ListArray> {
    if i32::try_from(values.len()).is_err() {
        return exec_err!("over {} values in one state", i32::MAX);
    }
    let values: ArrayRef = Arc::new(Float64Array::from(values));
    Ok(ListArray::try_new(element(), OffsetBuffer::from_lengths(lengths), values, None)?)
}

#[derive(Debug)]
struct Values {
    outcome: Outcome,
    values: Vec<f64>,
}

impl Accumulator for Values {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        for_each_value(columns, None, |_, value| self.values.push(value))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.outcome.of(&mut self.values)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = std::mem::take(&mut self.values);
        Ok(vec![ScalarValue::List(Arc::new(lists([values.len()], values)?))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for_each_state(states, |_, values| self.values.extend_from_slice(values))
    }
}

/// The values of all groups in order of arrival, each with its group.
struct GroupedValues {
    outcome: Outcome,
    total: usize,
    groups: Vec<u32>,
    values: Vec<f64>,
}

impl GroupedValues {
    fn resize(&mut self, groups: usize) -> Result<()> {
        if u32::try_from(groups).is_err() {
            return exec_err!("over {} groups", u32::MAX);
        }
        self.total = groups;
        Ok(())
    }

    /// The values of the first groups, group by group, and how many each has; the other groups count from 0 afterwards.
    fn take(&mut self, emit_to: EmitTo) -> (Vec<usize>, Vec<f64>) {
        let taken = emitted_groups(emit_to, self.total);
        let mut lengths = vec![0; taken];
        for &group in &self.groups {
            if let Some(length) = lengths.get_mut(group as usize) {
                *length += 1;
            }
        }
        let mut places: Vec<usize> = Vec::with_capacity(taken);
        let mut end = 0;
        for length in &lengths {
            places.push(end);
            end += length;
        }
        let mut sorted = vec![0.0; end];
        let (mut groups, mut values) = (Vec::new(), Vec::new());
        for (group, value) in std::mem::take(&mut self.groups).into_iter().zip(std::mem::take(&mut self.values)) {
            match places.get_mut(group as usize) {
                Some(place) => {
                    sorted[*place] = value;
                    *place += 1;
                }
                None => {
                    groups.push(group - taken as u32);
                    values.push(value);
                }
            }
        }
        (self.groups, self.values) = (groups, values);
        self.total -= taken;
        (lengths, sorted)
    }
}

impl GroupsAccumulator for GroupedValues {
    fn update_batch(
        &mut self,
        columns: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_groups: usize,
    ) -> Result<()> {
        self.resize(total_groups)?;
        for_each_value(columns, filter, |row, value| {
            self.groups.push(group_indices[row] as u32);
            self.values.push(value);
        })
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (lengths, mut values) = self.take(emit_to);
        let mut rest = values.as_mut_slice();
        let outcomes = lengths.into_iter().map(|length| {
            let (of_group, others) = std::mem::take(&mut rest).split_at_mut(length);
            rest = others;
            self.outcome.of(of_group)
        });
        Ok(Arc::new(Float64Array::from_iter(outcomes)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (lengths, values) = self.take(emit_to);
        Ok(vec![Arc::new(lists(lengths, values)?)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], total_groups: usize) -> Result<()> {
        self.resize(total_groups)?;
        for_each_state(states, |row, values| {
            self.groups.extend(std::iter::repeat_n(group_indices[row] as u32, values.len()));
            self.values.extend_from_slice(values);
        })
    }

    fn convert_to_state(&self, columns: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut lengths = vec![0; columns.first().map_or(0, |column| column.len())];
        let mut values = Vec::with_capacity(lengths.len());
        for_each_value(columns, filter, |row, value| {
            lengths[row] = 1;
            values.push(value);
        })?;
        Ok(vec![Arc::new(lists(lengths, values)?)])
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<u32>() + self.values.capacity() * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(value: f64) -> Outcome {
        Outcome::Percentile(Share::new(value).expect("a share"))
    }

    #[test]
    fn percentiles_interpolate_as_postgresql_does() {
        let of = |value: f64, values: &[f64]| share(value).of(&mut values.to_vec());
        assert_eq!(of(0.5, &[]), None);
        assert_eq!(of(0.95, &[7.0]), Some(7.0));
        assert_eq!(of(0.5, &[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(of(0.25, &[4.0, 1.0, 3.0, 2.0]), Some(1.75));
        assert_eq!(of(0.0, &[4.0, -1.0, 3.0]), Some(-1.0));
        assert_eq!(of(1.0, &[4.0, -1.0, 3.0]), Some(4.0));
        assert_eq!(of(0.5, &[-1.7e308, 1.7e308]), Some(0.0));
    }

    #[test]
    fn deviations_of_a_sample() {
        let of = |values: &[f64]| Outcome::Deviation.of(&mut values.to_vec());
        assert_eq!(of(&[1.0]), None);
        assert_eq!(of(&[3.0, 3.0, 3.0]), Some(0.0));
        assert_eq!(of(&[1.0, 3.0]), Some(2f64.sqrt()));
        let near = |got: Option<f64>, expected: f64| assert!((got.unwrap() / expected - 1.0).abs() < 1e-12, "{got:?}");
        // Far from zero, where squares of the values themselves would cancel out.
        near(of(&[1.7e12, 1.7e12 + 1.0, 1.7e12 + 2.0]), 1.0);
        near(of(&[1e300, 3e300]), 2e300 / 2f64.sqrt());
        near(of(&[1e-300, 3e-300]), 2e-300 / 2f64.sqrt());
        assert_eq!(of(&[0.0, 0.0]), Some(0.0));
    }

    #[test]
    fn groups_are_independent_of_partitioning() {
        let values = [Some(5.0), Some(1.0), None, Some(f64::NAN), Some(3.0), Some(2.0), Some(9.0), Some(4.0)];
        let indices = [0, 1, 1, 0, 0, 1, 3, 0];
        let passed = BooleanArray::from(vec![Some(true); 7].into_iter().chain([None]).collect::<Vec<_>>());
        let column = |values: &[Option<f64>]| -> [ArrayRef; 1] { [Arc::new(Float64Array::from(values.to_vec()))] };
        let new = || GroupedValues { outcome: share(0.5), total: 0, groups: Vec::new(), values: Vec::new() };
        let expected = Float64Array::from(vec![Some(4.0), Some(1.5), None, Some(9.0)]);

        let mut whole = new();
        whole.update_batch(&column(&values), &indices, Some(&passed), 4).unwrap();
        let first = whole.evaluate(EmitTo::First(1)).unwrap();
        assert_eq!(first.as_primitive::<Float64Type>(), &expected.slice(0, 1));
        let rest = whole.evaluate(EmitTo::All).unwrap();
        assert_eq!(rest.as_primitive::<Float64Type>(), &expected.slice(1, 3));

        let mut merged = new();
        for row in (0..values.len()).rev() {
            let (one, passed) = (column(&values[row..=row]), passed.slice(row, 1));
            let states = if row % 2 == 0 {
                merged.convert_to_state(&one, Some(&passed)).unwrap()
            } else {
                let mut part = new();
                part.update_batch(&one, &[0], Some(&passed), 1).unwrap();
                part.state(EmitTo::All).unwrap()
            };
            merged.merge_batch(&states, &[indices[row]], 4).unwrap();
        }
        assert!(merged.size() > 0);
        assert_eq!(merged.evaluate(EmitTo::All).unwrap().as_primitive::<Float64Type>(), &expected);

        let mut single = Values { outcome: share(0.5), values: Vec::new() };
        single.update_batch(&column(&values)).unwrap();
        let state = single.state().unwrap()[0].to_array().unwrap();
        let mut other = Values { outcome: share(0.5), values: vec![100.0] };
        other.merge_batch(&[state]).unwrap();
        assert_eq!(other.evaluate().unwrap(), ScalarValue::Float64(Some(4.0)));
    }
}
