//! By what the rows of a plan are sorted.

use datafusion::logical_expr::Expr;

/// A column to sort by, nulls last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SortColumn {
    pub(crate) name: String,
    pub(crate) descending: bool,
}

impl SortColumn {
    pub(crate) fn new(name: impl Into<String>, descending: bool) -> Self {
        Self { name: name.into(), descending }
    }
}

/// Appends what is not there yet: an earlier key of the same column decides.
pub(crate) fn push_key(keys: &mut Vec<(Expr, bool)>, expr: Expr, descending: bool) {
    if !keys.iter().any(|(present, _)| *present == expr) {
        keys.push((expr, descending));
    }
}
