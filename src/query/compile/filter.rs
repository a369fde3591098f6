//! `where` as a DataFusion expression (contract A3, "Decided semantics").
//!
//! Null counts as false at the top, and nothing here negates an expression that can be null: `neq` and `notIn` are
//! presence and "not true", so three-valued logic never shows.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StringViewArray};
use arrow::buffer::OffsetBuffer;
use datafusion::logical_expr::{Expr, ScalarUDF, lit};
use datafusion::scalar::ScalarValue;

use super::columns::{Columns, json_field};
use super::literal::WholeBounds;
use super::many_paths::{as_json, crowded_fields, of_one_field};
use crate::model::json::decimal;
use crate::model::json::value::Json;
use crate::query::dsl::{Comparison, Condition, FieldRef, Filter, Literal};
use crate::query::expr::{all_of, any_of};
use crate::query::functions::{self, JsonFilter, NumberComparison};
use crate::query::scan::column::{Form, ScanColumn};
use crate::query::scan::resolve::is_array_index;
use crate::query::view::FieldKind;
use crate::storage::format::arrow_types::list_element;
use crate::storage::format::layout::JsonField;

/// Where a condition looks.
enum Target {
    Plain(&'static str, FieldKind),
    Whole(JsonField),
    Path(JsonField, Vec<String>),
}

fn target_of(reference: &FieldRef) -> Target {
    let field = reference.field;
    match (field.kind, json_field(field.name)) {
        (FieldKind::Json, Some(json)) if reference.path.is_empty() => Target::Whole(json),
        (FieldKind::Json, Some(json)) => Target::Path(json, reference.path.clone()),
        _ => Target::Plain(field.name, field.kind),
    }
}

pub(crate) fn compile(filter: &Filter, columns: &mut Columns) -> Expr {
    compile_beside(filter, &crowded_fields(filter), columns)
}

/// Path by path, but for those of crowded fields.
fn compile_beside(filter: &Filter, crowded: &HashSet<JsonField>, columns: &mut Columns) -> Expr {
    if !crowded.is_empty()
        && let Some((field, filter)) = of_one_field(filter, crowded)
    {
        return on_whole(field, filter, columns);
    }
    match filter {
        Filter::And(parts) => {
            let (mut exprs, whole) = compile_parts(parts, crowded, columns);
            exprs.extend(whole.into_iter().map(|(field, parts)| on_whole(field, JsonFilter::All(parts), columns)));
            all_of(exprs)
        }
        Filter::Or(parts) => {
            let (mut exprs, whole) = compile_parts(parts, crowded, columns);
            exprs.extend(whole.into_iter().map(|(field, parts)| on_whole(field, JsonFilter::Any(parts), columns)));
            any_of(exprs)
        }
        Filter::Condition(condition) => compile_condition(condition, columns),
    }
}

fn on_whole(field: JsonField, filter: JsonFilter, columns: &mut Columns) -> Expr {
    functions::json_filter(filter).call(vec![columns.add(ScanColumn::Whole(field))])
}

/// What is compiled by itself, and what is asked of each crowded field together.
fn compile_parts(
    parts: &[Filter],
    crowded: &HashSet<JsonField>,
    columns: &mut Columns,
) -> (Vec<Expr>, Vec<(JsonField, Vec<JsonFilter>)>) {
    let (mut exprs, mut whole): (_, Vec<(JsonField, Vec<JsonFilter>)>) = (Vec::new(), Vec::new());
    for part in parts {
        let Some((field, filter)) = of_one_field(part, crowded) else {
            exprs.push(compile_beside(part, crowded, columns));
            continue;
        };
        match whole.iter_mut().find(|(other, _)| *other == field) {
            Some((_, filters)) => filters.push(filter),
            None => whole.push((field, vec![filter])),
        }
    }
    (exprs, whole)
}

fn compile_condition(condition: &Condition, columns: &mut Columns) -> Expr {
    match condition {
        Condition::IsNull(target) => is_absent(&target_of(target), columns),
        Condition::IsNotNull(target) => is_present(&target_of(target), columns),
        Condition::In { target, values, or_null, negated } => {
            let target = target_of(target);
            let found = is_in(&target, values, columns);
            if *negated {
                return all_of(vec![is_present(&target, columns), found.is_not_true()]);
            }
            let mut parts = vec![found];
            if *or_null {
                parts.push(is_absent(&target, columns));
            }
            any_of(parts)
        }
        Condition::ContainsWords { targets, words } => {
            let texts = targets.iter().map(|target| columns.add(ScanColumn::Plain(target.field.name))).collect();
            functions::contains_words(words.clone()).call(texts)
        }
        Condition::SameText { target, text } => {
            let column = match target_of(target) {
                Target::Plain(name, _) => columns.add(ScanColumn::Plain(name)),
                Target::Whole(_) => return lit(false),
                Target::Path(field, path) => columns.path(field, &path, Form::Str),
            };
            functions::same_in_any_case(text).call(vec![column]).is_true()
        }
        Condition::Compare { target, comparison, value } => compare(&target_of(target), *comparison, value, columns),
        Condition::ArrayContains { target, values } => match target_of(target) {
            Target::Plain(name, _) => {
                let list = columns.add(ScanColumn::Plain(name));
                let strings: Option<Vec<String>> = values.iter().map(as_string).collect();
                match strings {
                    Some(strings) => functions::list_contains_all(strings).call(vec![list]).is_true(),
                    None => lit(false),
                }
            }
            Target::Whole(field) => {
                let raw = columns.add(ScanColumn::Whole(field));
                functions::json_array_contains(values).call(vec![raw]).is_true()
            }
            Target::Path(field, path) => {
                let array = columns.path(field, &path, Form::Array);
                functions::json_array_contains(values).call(vec![array]).is_true()
            }
        },
        Condition::JsonContains { target, value } => contains(&target_of(target), value, columns),
        Condition::JsonContainedBy { target, value } => {
            let json = json(&target_of(target), columns);
            functions::json_contained_by(value.clone()).call(vec![json]).is_true()
        }
        Condition::JsonHasKeys { target, keys, all } => has_keys(&target_of(target), keys, *all, columns),
        Condition::JsonArrayContainsObject { target, object } => {
            let array = match target_of(target) {
                Target::Path(field, path) => columns.path(field, &path, Form::Array),
                other => json(&other, columns),
            };
            functions::json_array_contains_object(object.clone()).call(vec![array]).is_true()
        }
    }
}

/// The JSON text at the target.
fn json(target: &Target, columns: &mut Columns) -> Expr {
    match target {
        Target::Plain(name, _) => columns.add(ScanColumn::Plain(name)),
        Target::Whole(field) => columns.add(ScanColumn::Whole(*field)),
        Target::Path(field, path) => columns.path(*field, path, Form::Json),
    }
}

fn is_present(target: &Target, columns: &mut Columns) -> Expr {
    match target {
        Target::Plain(name, _) => columns.add(ScanColumn::Plain(name)).is_not_null(),
        Target::Whole(field) => columns.add(ScanColumn::Whole(*field)).is_not_null(),
        Target::Path(field, path) => columns.path(*field, path, Form::Present),
    }
}

fn is_absent(target: &Target, columns: &mut Columns) -> Expr {
    match target {
        Target::Plain(name, _) => columns.add(ScanColumn::Plain(name)).is_null(),
        Target::Whole(field) => columns.add(ScanColumn::Whole(*field)).is_null(),
        Target::Path(field, path) => columns.path(*field, path, Form::Present).is_not_true(),
    }
}

fn text(value: String) -> Expr {
    lit(ScalarValue::Utf8View(Some(value)))
}

pub(crate) fn time(millis: i64) -> Expr {
    lit(ScalarValue::TimestampMillisecond(Some(millis), Some("UTC".into())))
}

/// Up to so many values are compared one by one, which row groups are left out by.
const LISTED_VALUES: usize = 20;

/// Whether a column has one of these values. Of many, row groups are left out by the least and the greatest.
fn is_among<T: Ord + Clone>(
    column: Expr,
    mut values: Vec<T>,
    literal: impl Fn(T) -> Expr,
    set: impl Fn(Vec<T>) -> Arc<ScalarUDF>,
) -> Expr {
    values.sort_unstable();
    values.dedup();
    match values.as_slice() {
        [] => lit(false),
        [value] => column.eq(literal(value.clone())),
        [least, .., greatest] if values.len() > LISTED_VALUES => all_of(vec![
            column.clone().gt_eq(literal(least.clone())),
            column.clone().lt_eq(literal(greatest.clone())),
            set(values).call(vec![column]),
        ]),
        _ => column.in_list(values.into_iter().map(literal).collect(), false),
    }
}

fn is_in(target: &Target, values: &[Literal], columns: &mut Columns) -> Expr {
    match target {
        Target::Plain(name, kind) => {
            let column = columns.add(ScanColumn::Plain(name));
            let (mut texts, mut wholes, mut booleans, mut lists) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for value in values {
                match (kind, value) {
                    (_, Literal::Text(value)) => texts.push(value.clone()),
                    (_, Literal::Boolean(value)) => booleans.push(lit(*value)),
                    (_, Literal::Number(token) | Literal::Time(token)) => wholes.extend(WholeBounds::of(token).exact()),
                    (FieldKind::TextList, Literal::Json(Json::Array(elements))) => lists.extend(strings(elements)),
                    // `check` lets no other pair through.
                    (_, Literal::Json(_)) => {}
                }
            }
            match kind {
                FieldKind::Time => is_among(column, wholes, time, functions::whole_in),
                FieldKind::Integer => is_among(column, wholes, lit, functions::whole_in),
                FieldKind::Boolean => one_of(column, booleans),
                FieldKind::TextList => is_among(column, lists, text_list, functions::list_in),
                _ => is_among(column, texts, text, functions::text_in),
            }
        }
        Target::Whole(field) => {
            let values: Vec<Json> = values.iter().filter_map(as_json).collect();
            let raw = columns.add(ScanColumn::Whole(*field));
            functions::json_in(&values).call(vec![raw]).is_true()
        }
        Target::Path(field, path) => {
            let values: Vec<Json> = values.iter().filter_map(as_json).collect();
            path_is_in(*field, path, &values, columns)
        }
    }
}

/// Of few literals.
fn one_of(column: Expr, values: Vec<Expr>) -> Expr {
    any_of(values.into_iter().map(|value| column.clone().eq(value)).collect())
}

fn as_string(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn strings(elements: &[Json]) -> Option<Vec<String>> {
    elements.iter().map(as_string).collect()
}

/// A list of strings as a literal of the column's type.
fn text_list(strings: Vec<String>) -> Expr {
    let values: ArrayRef = Arc::new(StringViewArray::from_iter_values(strings));
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    let list = ListArray::try_new(list_element(), offsets, values, None).ok();
    list.map_or_else(|| lit(false), |list| lit(ScalarValue::List(Arc::new(list))))
}

/// Each JSON type is looked for where its values lie.
fn path_is_in(field: JsonField, path: &[String], values: &[Json], columns: &mut Columns) -> Expr {
    let (mut strings, mut numbers, mut booleans) = (Vec::new(), Vec::new(), Vec::new());
    let (mut arrays, mut objects) = (Vec::new(), Vec::new());
    for value in values {
        match value {
            Json::Null => {}
            Json::String(value) => strings.push(value.clone()),
            Json::Number(token) => numbers.push(token.as_str()),
            Json::Bool(value) if booleans.contains(value) => {}
            Json::Bool(value) => booleans.push(*value),
            Json::Array(_) => arrays.push(value.clone()),
            Json::Object(_) => objects.push(value.clone()),
        }
    }
    let mut parts = Vec::new();
    if !strings.is_empty() {
        parts.push(is_among(columns.path(field, path, Form::Str), strings, text, functions::text_in));
    }
    if !numbers.is_empty() {
        parts.push(number_is_in(field, path, &numbers, columns));
    }
    if !booleans.is_empty() {
        parts.push(one_of(columns.path(field, path, Form::Boolean), booleans.into_iter().map(lit).collect()));
    }
    if !arrays.is_empty() {
        let array = columns.path(field, path, Form::Array);
        parts.push(functions::json_in(&arrays).call(vec![array]).is_true());
    }
    if !objects.is_empty() {
        let json = columns.path(field, path, Form::Json);
        parts.push(functions::json_in(&objects).call(vec![json]).is_true());
    }
    any_of(parts)
}

/// By the nearest doubles, which row groups are left out by, and exactly.
fn number_is_in(field: JsonField, path: &[String], tokens: &[&str], columns: &mut Columns) -> Expr {
    let number = columns.path(field, path, Form::Number);
    let exact = columns.path(field, path, Form::NumberText);
    let mut doubles: Vec<f64> = tokens.iter().filter_map(|token| decimal::double(token)).collect();
    doubles.sort_unstable_by(f64::total_cmp);
    doubles.dedup();
    let nearest = match doubles.as_slice() {
        [] => return lit(false),
        [double] => number.clone().eq(lit(*double)),
        [least, .., greatest] if doubles.len() > LISTED_VALUES => {
            all_of(vec![number.clone().gt_eq(lit(*least)), number.clone().lt_eq(lit(*greatest))])
        }
        doubles => number.clone().in_list(doubles.iter().map(|double| lit(*double)).collect(), false),
    };
    all_of(vec![nearest, functions::number_in(tokens).call(vec![number, exact])])
}

fn compare(target: &Target, comparison: Comparison, value: &Literal, columns: &mut Columns) -> Expr {
    let bounded = |column: Expr, bounds: WholeBounds, literal: fn(i64) -> Expr| match comparison {
        Comparison::Gt => column.gt(literal(bounds.floor)),
        Comparison::Gte => column.gt_eq(literal(bounds.ceil)),
        Comparison::Lt => column.lt(literal(bounds.ceil)),
        Comparison::Lte => column.lt_eq(literal(bounds.floor)),
    };
    let plainly = |column: Expr, value: Expr| match comparison {
        Comparison::Gt => column.gt(value),
        Comparison::Gte => column.gt_eq(value),
        Comparison::Lt => column.lt(value),
        Comparison::Lte => column.lt_eq(value),
    };
    match (target, value) {
        (Target::Plain(name, FieldKind::Time), Literal::Time(token) | Literal::Number(token)) => {
            bounded(columns.add(ScanColumn::Plain(name)), WholeBounds::of(token), time)
        }
        (Target::Plain(name, _), Literal::Number(token)) => {
            bounded(columns.add(ScanColumn::Plain(name)), WholeBounds::of(token), lit)
        }
        (Target::Plain(name, _), Literal::Text(value)) => {
            plainly(columns.add(ScanColumn::Plain(name)), text(value.clone()))
        }
        (Target::Path(field, path), Literal::Text(value)) => {
            plainly(columns.path(*field, path, Form::Str), text(value.clone()))
        }
        (Target::Path(field, path), Literal::Number(token)) => {
            let number = columns.path(*field, path, Form::Number);
            let exact = columns.path(*field, path, Form::NumberText);
            let (comparison, rounded) = match comparison {
                Comparison::Gt => (NumberComparison::Gt, Comparison::Gte),
                Comparison::Gte => (NumberComparison::Gte, Comparison::Gte),
                Comparison::Lt => (NumberComparison::Lt, Comparison::Lte),
                Comparison::Lte => (NumberComparison::Lte, Comparison::Lte),
            };
            let exactly = functions::compare_number(token, comparison).call(vec![number.clone(), exact]).is_true();
            // Rounding is monotone: what Parquet's statistics can decide, decided on doubles.
            match (decimal::double(token), rounded) {
                (Some(double), Comparison::Gte) => all_of(vec![number.gt_eq(lit(double)), exactly]),
                (Some(double), _) => all_of(vec![number.lt_eq(lit(double)), exactly]),
                (None, _) => exactly,
            }
        }
        // `check` lets no other pair through.
        _ => lit(false),
    }
}

/// A path that is asked for is a column of the scan: so many of a condition's, and the whole JSON for the rest.
const PATH_COLUMNS: usize = 32;

fn has_keys(target: &Target, keys: &[String], all: bool, columns: &mut Columns) -> Expr {
    match target {
        // Of a list a key is one of its strings, not a path.
        Target::Whole(field) if (1..=PATH_COLUMNS).contains(&keys.len()) && JsonField::ALL.contains(field) => {
            let exist = keys.iter().map(|key| columns.path(*field, std::slice::from_ref(key), Form::Exists)).collect();
            if all { all_of(exist) } else { any_of(exist) }
        }
        target => {
            let json = json(target, columns);
            functions::json_has_keys(keys.to_vec(), all).call(vec![json]).is_true()
        }
    }
}

/// `@>`. Objects of scalars are decided by the columns of their leaves; arrays lie in the remainder; the whole JSON is
/// read for the rest only, after the leaves have thinned out the rows.
fn contains(target: &Target, value: &Json, columns: &mut Columns) -> Expr {
    let on_json = |json: Expr| functions::json_contains(value.clone()).call(vec![json]).is_true();
    let (field, path) = match target {
        Target::Path(field, path) => (*field, path.clone()),
        Target::Whole(field) => (*field, Vec::new()),
        Target::Plain(..) => return on_json(json(target, columns)),
    };
    match value {
        Json::Object(_) => {
            let mut leaves = Vec::new();
            let decided = leaf_conditions(field, &path, value, columns, &mut leaves) && !leaves.is_empty();
            if !decided {
                leaves.push(on_json(json(target, columns)));
            }
            all_of(leaves)
        }
        Json::Array(_) => on_json(columns.path(field, &path, Form::Array)),
        // A primitive equals the value, or is an element of the array (a peculiarity of PostgreSQL's `@>`).
        Json::Null => on_json(columns.path(field, &path, Form::Json)),
        primitive => {
            let equal = path_is_in(field, &path, std::slice::from_ref(primitive), columns);
            any_of(vec![equal, on_json(columns.path(field, &path, Form::Array))])
        }
    }
}

/// Collects a necessary condition per leaf of an object; says whether together they are sufficient.
fn leaf_conditions(
    field: JsonField,
    path: &[String],
    value: &Json,
    columns: &mut Columns,
    leaves: &mut Vec<Expr>,
) -> bool {
    if leaves.len() >= PATH_COLUMNS {
        return false;
    }
    match value {
        Json::Object(members) => {
            let mut decided = !members.is_empty();
            for (key, member) in members {
                // At a path, a key that looks like an index would also find an array's element.
                if !path.is_empty() && is_array_index(key) {
                    decided = false;
                    continue;
                }
                let below: Vec<String> = path.iter().chain([key]).cloned().collect();
                decided &= leaf_conditions(field, &below, member, columns, leaves);
            }
            decided
        }
        Json::String(_) | Json::Number(_) | Json::Bool(_) => {
            leaves.push(path_is_in(field, path, std::slice::from_ref(value), columns));
            true
        }
        Json::Array(_) | Json::Null => false,
    }
}
