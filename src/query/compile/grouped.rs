//! Queries whose rows are groups.

use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::{count, max, min};
use datafusion::logical_expr::{Expr, cast, lit, when};
use datafusion::scalar::ScalarValue;

use super::columns::{Columns, is_whole_json, json_field};
use super::filter;
use super::order::{SortColumn, push_key};
use super::source::{SizedPlan, Source};
use crate::query::dsl::{AggregateFunction, Aggregation, ColumnExpr, FieldRef, KeyExpr, Query};
use crate::query::expr::column;
use crate::query::functions;
use crate::query::scan::column::{Form, ScanColumn};
use crate::query::view::FieldKind;

pub(crate) struct GroupedPlan {
    /// Its first columns are the output columns, in order; then what only the order needs.
    pub(crate) plan: SizedPlan,
    pub(crate) order: Vec<SortColumn>,
}

/// The plan of a grouped query, without its order and limit: every row of it counts for `total`.
pub(crate) fn grouped(query: &Query, source: &Source) -> Result<GroupedPlan> {
    let mut columns = Columns::default();
    let mut inputs: Vec<Expr> = Vec::new();
    for (index, key) in query.groups.iter().enumerate() {
        inputs.push(group_key(query, key, &mut columns).alias(group_name(index)));
    }
    let mut aggregates = Vec::new();
    for (index, aggregation) in query.aggregations.iter().enumerate() {
        let argument = match aggregation.argument.as_ref() {
            Some(reference) => Some(argument(aggregation.function, reference, &mut columns)?),
            None => None,
        };
        let name = format!("v{index}");
        aggregates.push(aggregate(aggregation, argument.as_ref().map(|_| column(&name))).alias(aggregate_name(index)));
        inputs.extend(argument.map(|argument| argument.alias(name)));
    }
    let narrow = !columns.read_json();
    let predicate = query.filter.as_ref().map(|filter| filter::compile(filter, &mut columns));
    let (mut builder, batch_size) = source.scan(columns, predicate.is_some() && !narrow)?;
    if let Some(predicate) = predicate {
        builder = builder.filter(predicate)?;
    }
    let keys: Vec<Expr> = (0..query.groups.len()).map(|index| column(&group_name(index))).collect();
    builder = builder.project(inputs)?.aggregate(keys, aggregates)?;

    let mut output: Vec<Expr> = Vec::new();
    for (index, shown) in query.columns.iter().enumerate() {
        output.push(grouped_value(&shown.expr).alias(format!("o{index}")));
    }
    let mut sort_keys: Vec<(Expr, bool)> = Vec::new();
    for order in &query.order {
        push_key(&mut sort_keys, grouped_sort_key(query, &order.expr), order.descending);
    }
    for index in 0..query.groups.len() {
        push_key(&mut sort_keys, grouped_sort_key(query, &ColumnExpr::Group(index)), false);
    }
    let mut order = Vec::new();
    for (index, (expr, descending)) in sort_keys.into_iter().enumerate() {
        output.push(expr.alias(format!("s{index}")));
        order.push(SortColumn::new(format!("s{index}"), descending));
    }
    Ok(GroupedPlan { plan: SizedPlan { plan: builder.project(output)?.build()?, batch_size }, order })
}

fn group_name(index: usize) -> String {
    format!("g{index}")
}

fn aggregate_name(index: usize) -> String {
    format!("a{index}")
}

fn group_key(query: &Query, key: &KeyExpr, columns: &mut Columns) -> Expr {
    match key {
        KeyExpr::Field(reference) if is_whole_json(reference) => {
            functions::json_canonical().call(vec![columns.field(reference)])
        }
        KeyExpr::Field(reference) => columns.field(reference),
        KeyExpr::Bucket { field, unit } => {
            let time = columns.add(ScanColumn::Plain(field.name));
            functions::time_bucket(*unit, query.time_zone.clone(), query.week_start).call(vec![time])
        }
    }
}

fn grouped_value(expr: &ColumnExpr) -> Expr {
    match expr {
        ColumnExpr::Group(index) => column(&group_name(*index)),
        ColumnExpr::Aggregation(index) => column(&aggregate_name(*index)),
        // `check` makes every field of a grouped query a group key.
        ColumnExpr::Field(_) => lit(ScalarValue::Utf8View(None)),
    }
}

fn grouped_sort_key(query: &Query, expr: &ColumnExpr) -> Expr {
    let value = grouped_value(expr);
    match expr {
        ColumnExpr::Group(index) => match query.groups.get(*index) {
            Some(KeyExpr::Field(reference)) if is_whole_json(reference) => functions::json_sort_key().call(vec![value]),
            _ => value,
        },
        _ => value,
    }
}

/// What an aggregation reads of its field.
fn argument(function: AggregateFunction, reference: &FieldRef, columns: &mut Columns) -> Result<Expr> {
    let json = json_field(reference.field.name).filter(|_| reference.field.kind == FieldKind::Json);
    let at_path = json.filter(|_| !reference.path.is_empty());
    Ok(match (function, at_path) {
        (AggregateFunction::Count, Some(json)) => {
            when(columns.path(json, &reference.path, Form::Present), lit(1_i32)).end()?
        }
        (AggregateFunction::Count, None) => columns.field(reference),
        (AggregateFunction::CountDistinct, _) if is_whole_json(reference) => {
            functions::json_canonical().call(vec![columns.field(reference)])
        }
        (AggregateFunction::CountDistinct, _) => columns.field(reference),
        (_, Some(json)) => columns.path(json, &reference.path, Form::Numeric),
        (AggregateFunction::Sum | AggregateFunction::Avg, None) => {
            let value = columns.field(reference);
            match reference.field.kind {
                FieldKind::Time => cast(cast(value, DataType::Int64), DataType::Float64),
                _ => cast(value, DataType::Float64),
            }
        }
        (AggregateFunction::Min | AggregateFunction::Max, None) => columns.field(reference),
    })
}

fn aggregate(aggregation: &Aggregation, argument: Option<Expr>) -> Expr {
    let Some(argument) = argument else { return count(lit(1_i64)) };
    match aggregation.function {
        AggregateFunction::Count => count(argument),
        AggregateFunction::CountDistinct => functions::count_distinct().call(vec![argument]),
        AggregateFunction::Sum => functions::exact_sum().call(vec![argument]),
        AggregateFunction::Avg => functions::exact_avg().call(vec![argument]),
        AggregateFunction::Min => min(argument),
        AggregateFunction::Max => max(argument),
    }
}
