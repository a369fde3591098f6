//! Exact distinct counts. Values are interned once per accumulator, whatever the number of groups; a group's values are
//! then integer ids.
#![expect(
    clippy::indexing_slicing,
    reason = "rows, groups and ids are below the lengths that DataFusion or the interner gave"
)]

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, UInt32Array, new_empty_array};
use arrow::buffer::{BooleanBuffer, OffsetBuffer};
use arrow::compute::{cast, filter, take};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{Result, ScalarValue, exec_err, internal_datafusion_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::aggregate::{emitted_groups, for_each_selected, selected};
use super::pairs::PairSet;

/// One column of any type → Int64; nulls are skipped, and 0 without input.
pub(crate) fn count_distinct() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(CountDistinct { signature: Signature::any(1, Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CountDistinct {
    signature: Signature,
}

impl AggregateUDFImpl for CountDistinct {
    fn name(&self) -> &str {
        "count_distinct"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, _data_type: &DataType) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(0)))
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let types = ValueTypes::new(only_type(arguments.input_fields)?);
        let name = format_state_name(arguments.name, self.name());
        Ok(vec![Arc::new(Field::new(name, types.state(), true))])
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(DistinctAccumulator::try_new(only_type(arguments.expr_fields)?)?))
    }

    fn groups_accumulator_supported(&self, _arguments: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(DistinctGroupsAccumulator::try_new(only_type(arguments.expr_fields)?)?))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

fn only_type(fields: &[FieldRef]) -> Result<&DataType> {
    match fields {
        [field] => Ok(field.data_type()),
        _ => exec_err!("count_distinct: one column needed, {} given", fields.len()),
    }
}

/// The state is one list of values per group. Text is interned as views but listed as LargeUtf8: slices of a view column
/// keep all its buffers, and DataFusion 55 would write them with every slice that it spills.
#[derive(Clone, Debug)]
struct ValueTypes {
    interned: DataType,
    item: FieldRef,
}

impl ValueTypes {
    fn new(input: &DataType) -> Self {
        let (interned, listed) = match input {
            DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8 => (DataType::Utf8View, DataType::LargeUtf8),
            other => (other.clone(), other.clone()),
        };
        Self { interned, item: Arc::new(Field::new_list_field(listed, true)) }
    }

    fn state(&self) -> DataType {
        DataType::List(Arc::clone(&self.item))
    }

    /// `values` cut into lists at `offsets`.
    fn lists(&self, offsets: &[usize], values: &ArrayRef) -> Result<ListArray> {
        let offsets = offsets
            .iter()
            .map(|&offset| i32::try_from(offset))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| internal_datafusion_err!("count_distinct: over {} values in a state", i32::MAX))?;
        let values = cast(values, self.item.data_type())?;
        Ok(ListArray::try_new(Arc::clone(&self.item), OffsetBuffer::new(offsets.into()), values, None)?)
    }
}

/// Gives equal values equal ids, counted from 0.
struct Interner {
    types: ValueTypes,
    values: Box<dyn GroupValues>,
    /// Null gets an id as well.
    null_id: Option<usize>,
    ids: Vec<usize>,
}

impl Interner {
    fn try_new(input: &DataType) -> Result<Self> {
        let types = ValueTypes::new(input);
        let values = new_values(&types.interned)?;
        Ok(Self { types, values, null_id: None, ids: Vec::new() })
    }

    /// The id of each row.
    fn intern(&mut self, column: &ArrayRef) -> Result<&[usize]> {
        let converted;
        let column = if column.data_type() == &self.types.interned {
            column
        } else {
            converted = cast(column, &self.types.interned)?;
            &converted
        };
        self.values.intern(std::slice::from_ref(column), &mut self.ids)?;
        if self.null_id.is_none() && column.null_count() > 0 {
            self.null_id = (0..column.len()).find(|&row| column.is_null(row)).map(|row| self.ids[row]);
        }
        if u32::try_from(self.values.len()).is_err() {
            return exec_err!("count_distinct: over {} different values", u32::MAX);
        }
        Ok(&self.ids)
    }

    /// Number of values, null left out.
    fn distinct(&self) -> usize {
        self.values.len() - usize::from(self.null_id.is_some())
    }

    /// All values in order of their ids; none is left.
    fn take(&mut self) -> Result<ArrayRef> {
        self.null_id = None;
        if self.values.is_empty() {
            return Ok(new_empty_array(&self.types.interned));
        }
        let mut old = std::mem::replace(&mut self.values, new_values(&self.types.interned)?);
        let column = old.emit(EmitTo::All)?.into_iter().next();
        column.ok_or_else(|| internal_datafusion_err!("count_distinct: no column of values"))
    }

    fn size(&self) -> usize {
        self.values.size() + self.ids.capacity() * size_of::<usize>()
    }
}

fn new_values(data_type: &DataType) -> Result<Box<dyn GroupValues>> {
    let schema = Arc::new(Schema::new(vec![Field::new("value", data_type.clone(), true)]));
    new_group_values(schema, &GroupOrdering::None)
}

fn only_column(columns: &[ArrayRef]) -> Result<&ArrayRef> {
    match columns {
        [column] => Ok(column),
        _ => exec_err!("count_distinct: one column needed, {} given", columns.len()),
    }
}

fn state_lists(states: &[ArrayRef]) -> Result<&ListArray> {
    only_column(states)?
        .as_list_opt::<i32>()
        .ok_or_else(|| internal_datafusion_err!("count_distinct: state is no List column"))
}

/// The lists' values without those before and after them, and the position of the first in the lists' offsets.
fn listed_values(lists: &ListArray) -> (ArrayRef, usize) {
    let offsets = lists.value_offsets();
    let (first, end) = match offsets {
        [first, .., end] => (*first as usize, *end as usize),
        _ => (0, 0),
    };
    (lists.values().slice(first, end - first), first)
}

/// Without groups the interner is the set.
struct DistinctAccumulator {
    /// `GroupValues` is not `Sync`, which an accumulator must be; nobody ever waits for this lock.
    interner: Mutex<Interner>,
    size: usize,
}

impl fmt::Debug for DistinctAccumulator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DistinctAccumulator").field("size", &self.size).finish_non_exhaustive()
    }
}

impl DistinctAccumulator {
    fn try_new(input: &DataType) -> Result<Self> {
        Ok(Self { interner: Mutex::new(Interner::try_new(input)?), size: 0 })
    }

    fn interner(&mut self) -> &mut Interner {
        self.interner.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accumulator for DistinctAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let interner = self.interner();
        interner.intern(only_column(values)?)?;
        self.size = interner.size();
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Int64(Some(self.interner().distinct() as i64)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.size
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let interner = self.interner();
        let values = interner.take()?;
        let lists = interner.types.lists(&[0, values.len()], &values)?;
        self.size = 0;
        Ok(vec![ScalarValue::List(Arc::new(lists))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = state_lists(states)?;
        let interner = self.interner();
        for list in lists.iter().flatten() {
            interner.intern(&list)?;
        }
        self.size = interner.size();
        Ok(())
    }
}

struct DistinctGroupsAccumulator {
    interner: Interner,
    pairs: PairSet,
}

impl DistinctGroupsAccumulator {
    fn try_new(input: &DataType) -> Result<Self> {
        Ok(Self { interner: Interner::try_new(input)?, pairs: PairSet::default() })
    }

    fn resize(&mut self, groups: usize) -> Result<()> {
        if u32::try_from(groups).is_err() {
            return exec_err!("count_distinct: over {} groups", u32::MAX);
        }
        self.pairs.resize(groups);
        Ok(())
    }

    /// Forgets the values that no remaining group has, given all values in order of their ids.
    fn keep_remaining(&mut self, values: &ArrayRef) -> Result<()> {
        const UNUSED: u32 = u32::MAX;
        let mut new_ids = vec![UNUSED; values.len()];
        let mut kept = Vec::new();
        self.pairs.renumber(|id| {
            let new_id = &mut new_ids[id as usize];
            if *new_id == UNUSED {
                *new_id = kept.len() as u32;
                kept.push(id);
            }
            *new_id
        });
        if !kept.is_empty() {
            // Ids are given in order of first appearance, so these get the numbers just assigned.
            self.interner.intern(&take(values, &UInt32Array::from(kept), None)?)?;
        }
        Ok(())
    }
}

impl GroupsAccumulator for DistinctGroupsAccumulator {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_groups: usize,
    ) -> Result<()> {
        self.resize(total_groups)?;
        let column = only_column(values)?;
        let ids = self.interner.intern(column)?;
        for_each_selected(column, opt_filter, |row| self.pairs.insert(group_indices[row], ids[row] as u32));
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let groups = emitted_groups(emit_to, self.pairs.counts().len());
        let counts: Int64Array = self.pairs.counts().iter().take(groups).map(|&count| i64::from(count)).collect();
        self.pairs.take_first(groups);
        let values = self.interner.take()?;
        self.keep_remaining(&values)?;
        Ok(Arc::new(counts))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = emitted_groups(emit_to, self.pairs.counts().len());
        let taken = self.pairs.take_first(groups);
        let values = self.interner.take()?;
        let members = take(&values, &UInt32Array::from(taken.ids), None)?;
        let lists = self.interner.types.lists(&taken.offsets, &members)?;
        self.keep_remaining(&values)?;
        Ok(vec![Arc::new(lists)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], total_groups: usize) -> Result<()> {
        self.resize(total_groups)?;
        let lists = state_lists(states)?;
        let (values, first) = listed_values(lists);
        if values.is_empty() {
            return Ok(());
        }
        let ids = self.interner.intern(&values)?;
        for (row, (range, &group)) in lists.value_offsets().windows(2).zip(group_indices).enumerate() {
            if lists.is_valid(row) {
                let (start, end) = (range[0] as usize - first, range[1] as usize - first);
                for (position, id) in ids.iter().enumerate().take(end).skip(start) {
                    if values.is_valid(position) {
                        self.pairs.insert(group, *id as u32);
                    }
                }
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let column = only_column(values)?;
        let types = &self.interner.types;
        let lists = match selected(column, opt_filter) {
            None => types.lists(&(0..=column.len()).collect::<Vec<_>>(), column)?,
            Some(selected) => {
                let mut offsets = Vec::with_capacity(column.len() + 1);
                let mut end = 0;
                offsets.push(end);
                offsets.extend(selected.iter().map(|is_selected| {
                    end += usize::from(is_selected);
                    end
                }));
                let mask: &BooleanBuffer = selected.inner();
                types.lists(&offsets, &filter(column, &BooleanArray::new(mask.clone(), None))?)?
            }
        };
        Ok(vec![Arc::new(lists)])
    }

    fn size(&self) -> usize {
        self.interner.size() + self.pairs.size()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use arrow::array::{ListBuilder, StringViewArray, StringViewBuilder};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn random() -> impl FnMut(u64) -> u64 {
        let mut state = 0x2545_f491_4f6c_dd1du64;
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % below
        }
    }

    fn counts(array: &ArrayRef) -> Vec<i64> {
        array.as_primitive::<Int64Type>().values().to_vec()
    }

    /// Rows of (group, value) in batches of texts, short and long, with nulls.
    fn check_groups(groups: u64, values: u64, batches: usize) {
        let mut random = random();
        let mut expected: Vec<HashSet<String>> = vec![HashSet::new(); groups as usize];
        let mut final_groups = DistinctGroupsAccumulator::try_new(&DataType::Utf8View).unwrap();
        let mut partial = DistinctGroupsAccumulator::try_new(&DataType::Utf8View).unwrap();
        let all_groups: Vec<usize> = (0..groups as usize).collect();
        for batch in 0..batches {
            let mut indices = Vec::new();
            let mut texts = Vec::new();
            let mut passed = Vec::new();
            for _ in 0..500 {
                let (group, value) = (random(groups) as usize, random(values));
                let text = match value % 3 {
                    0 => Some(format!("{value}")),
                    1 => Some(format!("a longer text number {value}")),
                    _ => (value % 30 != 2).then(|| format!("user-{value:08}")),
                };
                let pass = random(10) != 0;
                if let (Some(text), true) = (&text, pass) {
                    expected[group].insert(text.clone());
                }
                indices.push(group);
                texts.push(text);
                passed.push(Some(pass));
            }
            let column: ArrayRef = Arc::new(StringViewArray::from_iter(texts));
            let passed = BooleanArray::from(passed);
            if batch % 4 == 3 {
                let states = partial.convert_to_state(&[column], Some(&passed)).unwrap();
                final_groups.merge_batch(&states, &indices, groups as usize).unwrap();
                continue;
            }
            partial.update_batch(&[column], &indices, Some(&passed), groups as usize).unwrap();
            if batch % 4 == 2 {
                // Some groups first, then the rest, as slices of a state column.
                let first = groups as usize / 3;
                let states = partial.state(EmitTo::First(first)).unwrap();
                final_groups.merge_batch(&states, &all_groups[..first], groups as usize).unwrap();
                let states = partial.state(EmitTo::All).unwrap();
                for row in 0..states[0].len() {
                    let state = states[0].slice(row, 1);
                    final_groups.merge_batch(&[state], &[first + row], groups as usize).unwrap();
                }
            }
        }
        let states = partial.state(EmitTo::All).unwrap();
        final_groups.merge_batch(&states, &all_groups[..states[0].len()], groups as usize).unwrap();
        assert!(final_groups.size() > 0);

        let expected: Vec<i64> = expected.iter().map(|values| values.len() as i64).collect();
        let first = groups as usize / 2;
        let mut got = counts(&final_groups.evaluate(EmitTo::First(first)).unwrap());
        assert_eq!(got.len(), first);
        got.extend(counts(&final_groups.evaluate(EmitTo::All).unwrap()));
        assert_eq!(got, expected);
        assert_eq!(final_groups.pairs.counts().len(), 0);
    }

    #[test]
    fn groups_equal_hash_sets() {
        check_groups(3, 1_000, 12);
        check_groups(700, 100_000, 41);
    }

    #[test]
    fn other_types() {
        let mut tags =
            ListBuilder::new(StringViewBuilder::new()).with_field(Field::new("element", DataType::Utf8View, true));
        for row in [vec!["a", "b"], vec!["b", "a"], vec![], vec!["a", "b"]] {
            row.iter().for_each(|tag| tags.values().append_value(tag));
            tags.append(true);
        }
        tags.append(false);
        let columns: [(ArrayRef, i64); 4] = [
            (Arc::new(tags.finish()), 3),
            (Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(1), None])), 2),
            (Arc::new(BooleanArray::from(vec![Some(true), None, Some(true), Some(true), Some(true)])), 1),
            (Arc::new(StringViewArray::from(vec![None::<&str>; 5])), 0),
        ];
        for (column, expected) in columns {
            let input = column.data_type().clone();
            let mut single = DistinctAccumulator::try_new(&input).unwrap();
            single.update_batch(&[Arc::clone(&column)]).unwrap();
            single.update_batch(&[column.slice(1, 3)]).unwrap();
            let state = single.state().unwrap();
            let mut merged = DistinctAccumulator::try_new(&input).unwrap();
            let state = state[0].to_array().unwrap();
            assert_eq!(state.data_type(), &ValueTypes::new(&input).state());
            merged.merge_batch(&[state]).unwrap();
            assert_eq!(merged.evaluate().unwrap(), ScalarValue::Int64(Some(expected)), "{input}");

            let mut groups = DistinctGroupsAccumulator::try_new(&input).unwrap();
            groups.update_batch(&[Arc::clone(&column)], &[0; 5], None, 2).unwrap();
            let state = groups.state(EmitTo::All).unwrap();
            groups.merge_batch(&state, &[1, 0], 2).unwrap();
            assert_eq!(counts(&groups.evaluate(EmitTo::All).unwrap()), [0, expected], "{input}");
        }
    }
}
