//! Expressions that plans and scans are built from.

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, lit};

/// The column of this name, which may hold any character.
pub(crate) fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// Conjunction as a balanced tree: recursion over it stays shallow. Of nothing: true.
pub(crate) fn all_of(parts: Vec<Expr>) -> Expr {
    balanced(parts, &Expr::and).unwrap_or_else(|| lit(true))
}

/// Disjunction as a balanced tree. Of nothing: false.
pub(crate) fn any_of(parts: Vec<Expr>) -> Expr {
    balanced(parts, &Expr::or).unwrap_or_else(|| lit(false))
}

fn balanced(mut parts: Vec<Expr>, join: &impl Fn(Expr, Expr) -> Expr) -> Option<Expr> {
    if parts.len() <= 1 {
        return parts.pop();
    }
    let right = parts.split_off(parts.len() / 2);
    match (balanced(parts, join), balanced(right, join)) {
        (Some(left), Some(right)) => Some(join(left, right)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(expr: &Expr) -> usize {
        match expr {
            Expr::BinaryExpr(binary) => 1 + depth(&binary.left).max(depth(&binary.right)),
            _ => 1,
        }
    }

    #[test]
    fn a_thousand_conditions_make_a_shallow_tree() {
        let tree = all_of((0..1000).map(lit).collect());
        assert_eq!(depth(&tree), 11);
        assert_eq!(all_of(Vec::new()), lit(true));
        assert_eq!(any_of(Vec::new()), lit(false));
    }
}
