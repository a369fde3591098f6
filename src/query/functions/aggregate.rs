//! What the aggregate functions share.

use arrow::array::{Array, BooleanArray};
use arrow::buffer::NullBuffer;
use datafusion::logical_expr::EmitTo;

/// Calls `f` for every row that is not null and that the filter lets through (a null there does not).
pub(crate) fn for_each_selected(column: &dyn Array, filter: Option<&BooleanArray>, mut f: impl FnMut(usize)) {
    match selected(column, filter) {
        None => (0..column.len()).for_each(f),
        Some(selected) => selected.valid_indices().for_each(&mut f),
    }
}

/// Rows that count, as set bits; all of them if none.
pub(crate) fn selected(column: &dyn Array, filter: Option<&BooleanArray>) -> Option<NullBuffer> {
    let passed = filter.map(|filter| {
        let passed = match filter.nulls() {
            Some(nulls) => filter.values() & nulls.inner(),
            None => filter.values().clone(),
        };
        NullBuffer::new(passed)
    });
    NullBuffer::union(column.logical_nulls().as_ref(), passed.as_ref()).filter(|selected| selected.null_count() > 0)
}

pub(crate) fn emitted_groups(emit_to: EmitTo, groups: usize) -> usize {
    match emit_to {
        EmitTo::All => groups,
        EmitTo::First(first) => first.min(groups),
    }
}
