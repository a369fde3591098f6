//! What the columns of a grouped query show of a group.

use arrow::datatypes::DataType;
use datafusion::logical_expr::{Expr, cast, lit};
use datafusion::scalar::ScalarValue;

use crate::query::dsl::{AggregateFunction, ColumnExpr, Formula, Query};
use crate::query::expr::column;
use crate::query::functions;
use crate::query::view::FieldKind;

pub(crate) fn group_name(index: usize) -> String {
    format!("g{index}")
}

pub(crate) fn aggregate_name(index: usize) -> String {
    format!("a{index}")
}

/// What a column shows of a group.
pub(crate) fn grouped_value(query: &Query, expr: &ColumnExpr) -> Expr {
    match expr {
        ColumnExpr::Group(index) => column(&group_name(*index)),
        ColumnExpr::Aggregation(index) => column(&aggregate_name(*index)),
        ColumnExpr::Formula(index) => query.formulas.get(*index).map_or(lit(ScalarValue::Float64(None)), |formula| {
            let mut operands = Vec::new();
            let formula = with_operands(formula, &mut operands);
            if operands.is_empty() {
                return lit(ScalarValue::Float64(functions::constant(&formula)));
            }
            let operands = operands.into_iter().map(|index| double(query, &ColumnExpr::Aggregation(index)));
            functions::formula(formula).call(operands.collect())
        }),
        // `check` makes every field of a grouped query a group key.
        ColumnExpr::Field(_) => lit(ScalarValue::Utf8View(None)),
    }
}

/// The formula over its own operands: the aggregations that it names, each once.
fn with_operands(formula: &Formula, operands: &mut Vec<usize>) -> Formula {
    match formula {
        Formula::Number(value) => Formula::Number(*value),
        Formula::Aggregation(index) => {
            Formula::Aggregation(operands.iter().position(|one| one == index).unwrap_or_else(|| {
                operands.push(*index);
                operands.len() - 1
            }))
        }
        Formula::Negated(inner) => Formula::Negated(Box::new(with_operands(inner, operands))),
        Formula::Binary(left, operation, right) => {
            let (left, right) = (with_operands(left, operands), with_operands(right, operands));
            Formula::Binary(Box::new(left), *operation, Box::new(right))
        }
    }
}

/// A number that a column shows, as a double; of a time its milliseconds.
pub(crate) fn double(query: &Query, expr: &ColumnExpr) -> Expr {
    let value = grouped_value(query, expr);
    let of_time = match expr {
        ColumnExpr::Aggregation(index) => query.aggregations.get(*index).is_some_and(|one| {
            let of_time = one.argument.as_ref().is_some_and(|argument| argument.field.kind == FieldKind::Time);
            of_time && matches!(one.function, AggregateFunction::Min | AggregateFunction::Max)
        }),
        _ => false,
    };
    cast(if of_time { cast(value, DataType::Int64) } else { value }, DataType::Float64)
}
