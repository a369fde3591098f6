//! Queries whose rows are groups.

use arrow::datatypes::DataType;
use datafusion::common::{Column, UnnestOptions};
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::{count, first_value, max, min};
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlanBuilder, SortExpr, cast, lit, when};
use datafusion::scalar::ScalarValue;

use super::columns::{Columns, is_whole_json, json_field};
use super::filter;
use super::group_value::{aggregate_name, group_name, grouped_value};
use super::having;
use super::order::{SortColumn, push_key};
use super::source::{SizedPlan, Source};
use crate::query::dsl::{AggregateFunction, Aggregation, ColumnExpr, DerivedKey, FieldRef, KeyExpr, Query, Share};
use crate::query::expr::{any_of, column};
use crate::query::functions::{self, Kept};
use crate::query::scan::column::{Form, ScanColumn};
use crate::query::view::FieldKind;

pub(crate) struct GroupedPlan {
    /// Its first columns are the output columns, in order; then what only the order needs.
    pub(crate) plan: SizedPlan,
    pub(crate) order: Vec<SortColumn>,
}

/// The plan of a grouped query, without its order and limit: every row of it counts for `total`. `tops` has the values
/// that rank highest, for the keys that ask for it.
pub(crate) fn grouped(query: &Query, tops: &[Option<TopValues>], source: &Source) -> Result<GroupedPlan> {
    let (groups, batch_size) = aggregated(query, tops, source)?;
    shown(query, groups, batch_size)
}

/// The groups with their aggregations, each with its name of [`super::group_value`].
pub(crate) fn aggregated(
    query: &Query,
    tops: &[Option<TopValues>],
    source: &Source,
) -> Result<(LogicalPlanBuilder, usize)> {
    let mut columns = Columns::default();
    let mut inputs: Vec<Expr> = Vec::new();
    let mut lists = Vec::new();
    let mut left_out = Vec::new();
    for (index, key) in query.groups.iter().enumerate() {
        let top = tops.get(index).and_then(Option::as_ref);
        let made = group_key(query, key, top, &mut columns)?;
        inputs.push(made.value.alias(group_name(index)));
        if made.is_list {
            lists.push(group_name(index));
        }
        left_out.extend(made.stays.map(|stays| (stays, format!("t{index}"))));
    }
    for (stays, name) in &left_out {
        inputs.push(stays.clone().alias(name));
    }
    let mut aggregates = Vec::new();
    for (index, aggregation) in query.aggregations.iter().enumerate() {
        inputs.extend(aggregate_inputs(aggregation, index, &mut columns)?);
        aggregates.push(aggregate(query, aggregation, index)?.alias(aggregate_name(index)));
    }
    if query.aggregations.iter().any(|one| is_ordered(one.function)) {
        for (index, name) in time_order(query).iter().enumerate() {
            inputs.push(columns.add(ScanColumn::Plain(name)).alias(order_name(index)));
        }
    }
    if query.groups.is_empty() && aggregates.is_empty() {
        // Formulas of numbers alone: still one row.
        aggregates.push(count(lit(1_i64)));
    }
    let narrow = !columns.read_json();
    let predicate = query.filter.as_ref().map(|filter| filter::compile(filter, &mut columns));
    let (mut builder, batch_size) = source.scan(columns, predicate.is_some() && !narrow)?;
    if let Some(predicate) = predicate {
        builder = builder.filter(predicate)?;
    }
    let keys: Vec<Expr> = (0..query.groups.len()).map(|index| column(&group_name(index))).collect();
    builder = builder.project(inputs)?;
    for (_, name) in &left_out {
        builder = builder.filter(column(name))?;
    }
    for list in lists {
        let no_nulls = UnnestOptions::new().with_preserve_nulls(false);
        builder = builder.unnest_column_with_options(Column::new_unqualified(list), no_nulls)?;
    }
    Ok((builder.aggregate(keys, aggregates)?, batch_size))
}

/// What a query shows of groups, and what they are sorted by.
pub(crate) fn shown(query: &Query, groups: LogicalPlanBuilder, batch_size: usize) -> Result<GroupedPlan> {
    let mut builder = groups;
    if let Some(having) = &query.having {
        builder = builder.filter(having::compile(query, having))?;
    }

    let mut output: Vec<Expr> = Vec::new();
    for (index, shown) in query.columns.iter().enumerate() {
        output.push(grouped_value(query, &shown.expr).alias(format!("o{index}")));
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

/// A group key as a column of the rows.
struct MadeKey {
    value: Expr,
    /// Whether a row counts in each element of it.
    is_list: bool,
    /// Where some rows are left out: whether a row stays.
    stays: Option<Expr>,
}

impl MadeKey {
    fn plain(value: Expr) -> MadeKey {
        MadeKey { value, is_list: false, stays: None }
    }
}

fn group_key(query: &Query, key: &KeyExpr, top: Option<&TopValues>, columns: &mut Columns) -> Result<MadeKey> {
    Ok(match key {
        KeyExpr::Field(reference) => MadeKey::plain(field_key(reference, columns)),
        KeyExpr::Bucket { field, step } => {
            let time = columns.add(ScanColumn::Plain(field.name));
            let bucket = functions::time_bucket(*step, query.time_zone.clone(), query.week_start);
            MadeKey::plain(bucket.call(vec![time]))
        }
        KeyExpr::Part { field, part } => {
            let time = columns.add(ScanColumn::Plain(field.name));
            MadeKey::plain(functions::time_part(*part, query.time_zone.clone()).call(vec![time]))
        }
        KeyExpr::Derived(derived) => derived_key(derived, top, columns)?,
    })
}

fn field_key(reference: &FieldRef, columns: &mut Columns) -> Expr {
    let value = columns.field(reference);
    if is_whole_json(reference) { functions::json_canonical().call(vec![value]) } else { value }
}

fn derived_key(derived: &DerivedKey, top: Option<&TopValues>, columns: &mut Columns) -> Result<MadeKey> {
    let other = derived.top.as_ref().and_then(|top| top.other.clone());
    if let Some(path) = &derived.unnest {
        let list = match json_field(derived.of.field.name).filter(|_| derived.of.field.kind == FieldKind::Json) {
            Some(field) if derived.of.path.is_empty() => columns.add(ScanColumn::Whole(field)),
            Some(field) => columns.path(field, &derived.of.path, Form::Json),
            None => columns.field(&derived.of),
        };
        let kept = top.map(|top| top.kept(other));
        let elements = functions::elements(path, derived.bin.as_ref(), kept).call(vec![list]);
        return Ok(MadeKey { value: elements, is_list: true, stays: None });
    }
    let value = match &derived.bin {
        Some(bin) => {
            let value = columns.field(&derived.of);
            let text = if derived.of.field.kind == FieldKind::Json { value } else { cast(value, DataType::Utf8View) };
            functions::bin(bin).call(vec![text])
        }
        None => field_key(&derived.of, columns),
    };
    let Some(top) = top else { return Ok(MadeKey::plain(value)) };
    let stays = top.contains(&value);
    Ok(match other {
        Some(label) => {
            let label = lit(ScalarValue::Utf8View(Some(label)));
            MadeKey::plain(when(stays, value).otherwise(label)?)
        }
        None => MadeKey { value, is_list: false, stays: Some(when(stays, lit(true)).end()?) },
    })
}

/// The values of a key that rank highest.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopValues(pub(crate) Vec<ScalarValue>);

impl TopValues {
    fn contains(&self, value: &Expr) -> Expr {
        let (nulls, values): (Vec<&ScalarValue>, Vec<&ScalarValue>) = self.0.iter().partition(|value| value.is_null());
        let is_list = values.iter().any(|value| matches!(value, ScalarValue::List(_)));
        let found = if values.is_empty() {
            lit(false)
        } else if is_list {
            any_of(values.into_iter().map(|one| value.clone().eq(lit(one.clone()))).collect())
        } else {
            value.clone().in_list(values.into_iter().map(|one| lit(one.clone())).collect(), false)
        };
        let found = found.is_true();
        if nulls.is_empty() { found } else { found.or(value.clone().is_null()) }
    }

    fn kept(&self, other: Option<String>) -> Kept {
        let texts = self.0.iter().filter_map(|value| value.try_as_str().flatten().map(str::to_owned));
        let numbers = self.0.iter().filter_map(|value| match value {
            ScalarValue::Float64(number) => *number,
            _ => None,
        });
        let null = self.0.iter().any(ScalarValue::is_null);
        Kept { texts: texts.collect(), numbers: numbers.collect(), null, other }
    }
}

fn grouped_sort_key(query: &Query, expr: &ColumnExpr) -> Expr {
    let value = grouped_value(query, expr);
    let shown = match expr {
        ColumnExpr::Group(index) => match query.groups.get(*index) {
            Some(KeyExpr::Field(reference)) => Some(reference),
            Some(KeyExpr::Derived(derived)) if derived.unnest.is_none() => Some(&derived.of),
            _ => None,
        },
        ColumnExpr::Aggregation(index) => {
            let aggregation = query.aggregations.get(*index).filter(|one| is_ordered(one.function));
            aggregation.and_then(|one| one.argument.as_ref())
        }
        _ => None,
    };
    if shown.is_some_and(is_whole_json) { functions::json_sort_key().call(vec![value]) } else { value }
}

/// What an aggregation reads of a row: its argument, and whether the row counts.
fn aggregate_inputs(aggregation: &Aggregation, index: usize, columns: &mut Columns) -> Result<Vec<Expr>> {
    let mut inputs = Vec::new();
    let mut counts = aggregation.filter.as_ref().map(|filter| filter::compile(filter, columns));
    if let Some(reference) = &aggregation.argument {
        let value = argument(aggregation.function, reference, columns)?;
        if is_ordered(aggregation.function) {
            let present = value.clone().is_not_null();
            counts = Some(match counts {
                Some(counts) => counts.and(present),
                None => present,
            });
        }
        inputs.push(value.alias(argument_name(index)));
    }
    if let Some(counts) = counts {
        // Null instead of false: DataFusion 55.2 wants logical and physical columns to agree in whether they may be null,
        // and `IS TRUE` of a function that may give null never is for the one and may be for the other.
        inputs.push(when(counts, lit(true)).end()?.alias(filter_name(index)));
    }
    Ok(inputs)
}

fn argument_name(index: usize) -> String {
    format!("v{index}")
}

fn filter_name(index: usize) -> String {
    format!("f{index}")
}

fn order_name(index: usize) -> String {
    format!("k{index}")
}

/// Whether it takes its value from one row, by the order of all.
fn is_ordered(function: AggregateFunction) -> bool {
    matches!(function, AggregateFunction::First | AggregateFunction::Last)
}

/// The order of rows that `first` and `last` mean (contract A5).
fn time_order(query: &Query) -> [&'static str; 4] {
    [query.view.default_time_field, "id", "projectId", "organizationId"]
}

/// What an aggregation reads of its field.
fn argument(function: AggregateFunction, reference: &FieldRef, columns: &mut Columns) -> Result<Expr> {
    use AggregateFunction::{Avg, Count, CountDistinct, First, Last, Max, Median, Min, Percentile, Stddev, Sum};
    let json = json_field(reference.field.name).filter(|_| reference.field.kind == FieldKind::Json);
    let at_path = json.filter(|_| !reference.path.is_empty());
    Ok(match (function, at_path) {
        (Count, Some(json)) => when(columns.path(json, &reference.path, Form::Present), lit(1_i32)).end()?,
        (CountDistinct, _) if is_whole_json(reference) => {
            functions::json_canonical().call(vec![columns.field(reference)])
        }
        (Count, None) | (CountDistinct | First | Last, _) | (Min | Max, None) => columns.field(reference),
        (Sum | Avg | Min | Max | Percentile(_) | Median | Stddev, Some(json)) => {
            columns.path(json, &reference.path, Form::Numeric)
        }
        (Sum | Avg | Percentile(_) | Median | Stddev, None) => {
            let value = columns.field(reference);
            match reference.field.kind {
                FieldKind::Time => cast(cast(value, DataType::Int64), DataType::Float64),
                _ => cast(value, DataType::Float64),
            }
        }
    })
}

fn aggregate(query: &Query, aggregation: &Aggregation, index: usize) -> Result<Expr> {
    use AggregateFunction::{Avg, Count, CountDistinct, First, Last, Max, Median, Min, Percentile, Stddev, Sum};
    let argument = match &aggregation.argument {
        Some(_) => column(&argument_name(index)),
        None => lit(1_i64),
    };
    let by_time = |ascending| {
        let keys = (0..time_order(query).len()).map(|key| SortExpr::new(column(&order_name(key)), ascending, false));
        keys.collect::<Vec<_>>()
    };
    let function = aggregation.function;
    let aggregate = match function {
        Count => count(argument),
        CountDistinct => functions::count_distinct().call(vec![argument]),
        Sum => functions::exact_sum().call(vec![argument]),
        Avg => functions::exact_avg().call(vec![argument]),
        Min => min(argument),
        Max => max(argument),
        Percentile(share) => functions::percentile(share).call(vec![argument]),
        Median => functions::percentile(Share::HALF).call(vec![argument]),
        Stddev => functions::stddev().call(vec![argument]),
        First | Last => first_value(argument, Vec::new()),
    };
    match function {
        // The builder forgets an order that was given before.
        First | Last => aggregate.order_by(by_time(function == First)).filter(column(&filter_name(index))).build(),
        _ if aggregation.filter.is_some() => aggregate.filter(column(&filter_name(index))).build(),
        _ => Ok(aggregate),
    }
}
