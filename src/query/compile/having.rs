//! `having` as a DataFusion expression over the groups (contract A5): with SQL's three truth values, so that what
//! compares an absent value is unknown, and stays so when it is negated.

use datafusion::logical_expr::{Expr, lit, not, when};
use datafusion::scalar::ScalarValue;

use super::filter;
use super::group_value::{double, grouped_value};
use super::literal::WholeBounds;
use crate::query::dsl::{ColumnExpr, Comparison, Having, Query, ShownValue};
use crate::query::expr::{all_of, any_of};

pub(crate) fn compile(query: &Query, having: &Having) -> Expr {
    match having {
        Having::And(parts) => all_of(parts.iter().map(|part| compile(query, part)).collect()),
        Having::Or(parts) => any_of(parts.iter().map(|part| compile(query, part)).collect()),
        Having::Not(inner) => not(compile(query, inner)),
        Having::IsNull(column) => grouped_value(query, column).is_null(),
        Having::IsNotNull(column) => grouped_value(query, column).is_not_null(),
        Having::In { column, values, or_null, negated } => {
            let value = grouped_value(query, column);
            let found = any_of(values.iter().map(|one| equals(query, column, one)).collect());
            if *or_null {
                return value.clone().is_null().or(value.is_not_null().and(found));
            }
            let found = if values.is_empty() { unless_null(value, false) } else { found };
            if *negated { not(found) } else { found }
        }
        Having::Compare { column, comparison, value } => compare(query, column, *comparison, value),
    }
}

/// A truth value that is unknown where a value is absent.
fn unless_null(value: Expr, truth: bool) -> Expr {
    let unknown = lit(ScalarValue::Boolean(None));
    when(value.is_null(), unknown.clone()).otherwise(lit(truth)).unwrap_or(unknown)
}

fn equals(query: &Query, column: &ColumnExpr, value: &ShownValue) -> Expr {
    match value {
        ShownValue::Number(value) => double(query, column).eq(lit(*value)),
        ShownValue::Text(value) => grouped_value(query, column).eq(text(value)),
        ShownValue::Boolean(value) => grouped_value(query, column).eq(lit(*value)),
        ShownValue::Time(token) => match WholeBounds::of(token).exact() {
            Some(millis) => grouped_value(query, column).eq(filter::time(millis)),
            // No time is a fraction of a millisecond.
            None => unless_null(grouped_value(query, column), false),
        },
    }
}

fn compare(query: &Query, column: &ColumnExpr, comparison: Comparison, value: &ShownValue) -> Expr {
    let (column, value) = match value {
        ShownValue::Number(value) => (double(query, column), lit(*value)),
        ShownValue::Text(value) => (grouped_value(query, column), text(value)),
        ShownValue::Boolean(value) => (grouped_value(query, column), lit(*value)),
        ShownValue::Time(token) => {
            let bounds = WholeBounds::of(token);
            let bound = match comparison {
                Comparison::Gt | Comparison::Lte => bounds.floor,
                Comparison::Gte | Comparison::Lt => bounds.ceil,
            };
            (grouped_value(query, column), filter::time(bound))
        }
    };
    match comparison {
        Comparison::Gt => column.gt(value),
        Comparison::Gte => column.gt_eq(value),
        Comparison::Lt => column.lt(value),
        Comparison::Lte => column.lt_eq(value),
    }
}

fn text(value: &str) -> Expr {
    lit(ScalarValue::Utf8View(Some(value.to_owned())))
}
