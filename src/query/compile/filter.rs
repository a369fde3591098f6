//! `where` as a DataFusion expression (contract A3, "Decided semantics").
//!
//! Null counts as false at the top, and nothing here negates an expression that can be null: `neq` and `notIn` are
//! presence and "not true", so three-valued logic never shows.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StringViewArray};
use arrow::buffer::OffsetBuffer;
use datafusion::logical_expr::{Expr, lit};
use datafusion::scalar::ScalarValue;

use super::columns::{Columns, json_field};
use super::literal::{WholeBounds, is_shortest_decimal};
use crate::model::json::decimal;
use crate::model::json::value::Json;
use crate::query::dsl::{Comparison, Condition, FieldRef, Filter, Literal};
use crate::query::expr::{all_of, any_of};
use crate::query::functions::{self, NumberComparison};
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
    match filter {
        Filter::And(parts) => all_of(parts.iter().map(|part| compile(part, columns)).collect()),
        Filter::Or(parts) => any_of(parts.iter().map(|part| compile(part, columns)).collect()),
        Filter::Condition(condition) => compile_condition(condition, columns),
    }
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
                functions::json_array_contains(values.clone()).call(vec![raw]).is_true()
            }
            Target::Path(field, path) => {
                let array = columns.path(field, &path, Form::Array);
                functions::json_array_contains(values.clone()).call(vec![array]).is_true()
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

fn text(value: &str) -> Expr {
    lit(ScalarValue::Utf8View(Some(value.to_owned())))
}

pub(crate) fn time(millis: i64) -> Expr {
    lit(ScalarValue::TimestampMillisecond(Some(millis), Some("UTC".into())))
}

fn in_list(expr: Expr, mut values: Vec<Expr>) -> Expr {
    match values.len() {
        0 => lit(false),
        1 => expr.eq(values.swap_remove(0)),
        _ => expr.in_list(values, false),
    }
}

fn is_in(target: &Target, values: &[Literal], columns: &mut Columns) -> Expr {
    match target {
        Target::Plain(name, kind) => {
            let column = columns.add(ScanColumn::Plain(name));
            let literals = values.iter().filter_map(|value| match (kind, value) {
                (_, Literal::Text(value)) => Some(text(value)),
                (_, Literal::Boolean(value)) => Some(lit(*value)),
                (FieldKind::Time, Literal::Time(token)) => WholeBounds::of(token).exact().map(time),
                (_, Literal::Number(token) | Literal::Time(token)) => WholeBounds::of(token).exact().map(lit),
                (FieldKind::TextList, Literal::Json(Json::Array(elements))) => text_list(elements),
                (_, Literal::Json(_)) => None,
            });
            let literals: Vec<Expr> = literals.collect();
            if *kind == FieldKind::TextList {
                return any_of(literals.into_iter().map(|list| column.clone().eq(list)).collect());
            }
            in_list(column, literals)
        }
        Target::Whole(field) => {
            let values = values.iter().filter_map(as_json).collect();
            let raw = columns.add(ScanColumn::Whole(*field));
            functions::json_in(values).call(vec![raw]).is_true()
        }
        Target::Path(field, path) => {
            let values: Vec<Json> = values.iter().filter_map(as_json).collect();
            path_is_in(*field, path, &values, columns)
        }
    }
}

fn as_json(literal: &Literal) -> Option<Json> {
    Some(match literal {
        Literal::Json(value) => value.clone(),
        Literal::Text(value) => Json::String(value.clone()),
        Literal::Number(token) => Json::Number(token.clone()),
        Literal::Boolean(value) => Json::Bool(*value),
        Literal::Time(_) => return None,
    })
}

fn as_string(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// A list of strings as a literal of the column's type; nothing else equals such a list.
fn text_list(elements: &[Json]) -> Option<Expr> {
    let strings: Option<Vec<String>> = elements.iter().map(as_string).collect();
    let values: ArrayRef = Arc::new(StringViewArray::from_iter_values(strings?));
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    let list = ListArray::try_new(list_element(), offsets, values, None).ok()?;
    Some(lit(ScalarValue::List(Arc::new(list))))
}

/// Each JSON type is looked for where its values lie.
fn path_is_in(field: JsonField, path: &[String], values: &[Json], columns: &mut Columns) -> Expr {
    let (mut strings, mut numbers, mut booleans) = (Vec::new(), Vec::new(), Vec::new());
    let (mut arrays, mut objects) = (Vec::new(), Vec::new());
    for value in values {
        match value {
            Json::Null => {}
            Json::String(value) => strings.push(text(value)),
            Json::Number(token) => numbers.push(token.as_str()),
            Json::Bool(value) => booleans.push(lit(*value)),
            Json::Array(_) => arrays.push(value.clone()),
            Json::Object(_) => objects.push(value.clone()),
        }
    }
    let mut parts = Vec::new();
    if !strings.is_empty() {
        parts.push(in_list(columns.path(field, path, Form::Str), strings));
    }
    if !numbers.is_empty() {
        parts.push(number_is_in(field, path, &numbers, columns));
    }
    if !booleans.is_empty() {
        parts.push(in_list(columns.path(field, path, Form::Boolean), booleans));
    }
    if !arrays.is_empty() {
        let array = columns.path(field, path, Form::Array);
        parts.push(functions::json_in(arrays).call(vec![array]).is_true());
    }
    if !objects.is_empty() {
        let json = columns.path(field, path, Form::Json);
        parts.push(functions::json_in(objects).call(vec![json]).is_true());
    }
    any_of(parts)
}

/// A number without an exact text is the shortest decimal of its double, so there equal doubles mean equal numbers if
/// the literal is such a decimal too; numbers with an exact text are compared by it.
fn number_is_in(field: JsonField, path: &[String], tokens: &[&str], columns: &mut Columns) -> Expr {
    let number = columns.path(field, path, Form::Number);
    let exact = columns.path(field, path, Form::NumberText);
    let (mut all, mut shortest, mut compared) = (Vec::new(), Vec::new(), Vec::new());
    for token in tokens {
        let Some(double) = decimal::double(token) else { continue };
        all.push(lit(double));
        if is_shortest_decimal(token, double) {
            shortest.push(lit(double));
        }
        let equal = functions::compare_number(token, NumberComparison::Eq);
        compared.push(equal.call(vec![number.clone(), exact.clone()]));
    }
    any_of(vec![
        all_of(vec![in_list(number.clone(), shortest), exact.clone().is_null()]),
        all_of(vec![exact.is_not_null(), in_list(number, all), any_of(compared)]),
    ])
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
        (Target::Plain(name, _), Literal::Text(value)) => plainly(columns.add(ScanColumn::Plain(name)), text(value)),
        (Target::Path(field, path), Literal::Text(value)) => {
            plainly(columns.path(*field, path, Form::Str), text(value))
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

fn has_keys(target: &Target, keys: &[String], all: bool, columns: &mut Columns) -> Expr {
    match target {
        // Of a list a key is one of its strings, not a path.
        Target::Whole(field) if !keys.is_empty() && JsonField::ALL.contains(field) => {
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
