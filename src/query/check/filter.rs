//! `where`: the tree of conditions and the matrix of operators, field types and values.

use std::collections::HashMap;

use super::context::Context;
use super::fields::{field, path};
use super::reader::{At, Object, list, quoted, string, word};
use super::tree::{self, Tree};
use crate::model::json::jsonb;
use crate::model::json::value::Json;
use crate::model::time;
use crate::query::dsl::{Comparison, Condition, FieldRef, Filter, Literal};
use crate::query::error::QueryError;
use crate::query::view::{Field, FieldKind, View};

pub(crate) const LIST_VALUES: usize = 10_000;
/// What the values of a request's conditions may take in memory: numbers as they are spelled, however long they would be
/// as plain decimals. A body of 2 MB comes near it only with values of one character each.
const VALUE_BYTES: usize = 32 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal { negated: bool },
    Compare(Comparison),
    In { negated: bool },
    ArrayContains,
    JsonContains,
    JsonContainedBy,
    JsonHasKey,
    JsonHasKeys { all: bool },
    JsonArrayContainsObject,
    Null { negated: bool },
}

const OPERATORS: [(&str, Operator); 17] = [
    ("eq", Operator::Equal { negated: false }),
    ("neq", Operator::Equal { negated: true }),
    ("gt", Operator::Compare(Comparison::Gt)),
    ("gte", Operator::Compare(Comparison::Gte)),
    ("lt", Operator::Compare(Comparison::Lt)),
    ("lte", Operator::Compare(Comparison::Lte)),
    ("in", Operator::In { negated: false }),
    ("notIn", Operator::In { negated: true }),
    ("arrayContains", Operator::ArrayContains),
    ("jsonContains", Operator::JsonContains),
    ("jsonContainedBy", Operator::JsonContainedBy),
    ("jsonHasKey", Operator::JsonHasKey),
    ("jsonArrayContainsObject", Operator::JsonArrayContainsObject),
    ("jsonHasAnyKey", Operator::JsonHasKeys { all: false }),
    ("jsonHasAllKeys", Operator::JsonHasKeys { all: true }),
    ("isNull", Operator::Null { negated: false }),
    ("isNotNull", Operator::Null { negated: true }),
];

pub(crate) fn operator_names() -> impl Iterator<Item = &'static str> {
    OPERATORS.iter().map(|(name, _)| *name)
}

/// The checked filter with constants folded, so that its size is that of its conditions; none if it is always true.
pub(crate) fn filter(
    view: &'static View,
    json: &Json,
    at: &At<'_>,
    context: &Context,
) -> Result<Option<Filter>, QueryError> {
    let checker = FilterChecker { view, context };
    let condition = |json: &Json, at: &At<'_>| checker.condition(json, at);
    let tree = tree::Reader { context, keys: &["condition", "and", "or"], condition }.read(json, at)?;
    Ok(match folded(tree) {
        Filter::And(parts) if parts.is_empty() => None,
        filter => Some(filter),
    })
}

fn folded(tree: Tree<Condition>) -> Filter {
    match tree {
        Tree::And(parts) => all(parts.into_iter().map(folded).collect()),
        Tree::Or(parts) => any(parts.into_iter().map(folded).collect()),
        // Not among the keys that are read.
        Tree::Not(_) => Filter::Or(Vec::new()),
        Tree::Condition(condition) => Filter::Condition(condition),
    }
}

struct FilterChecker<'a> {
    view: &'static View,
    context: &'a Context,
}

impl FilterChecker<'_> {
    fn condition(&self, json: &Json, at: &At<'_>) -> Result<Condition, QueryError> {
        let object = Object::read(json, at, &["field", "operator", "value"])?;
        let field = field(self.view, object.required("field", "a field name")?, &at.key("field"))?;
        let operator_at = at.key("operator");
        let given = object.required("operator", "an operator")?;
        let operator = word(given, &operator_at, "operator", &OPERATORS)?;
        let operand_at = at.key("value");
        let inner_at = operand_at.key("value");
        let operand = match object.given("value") {
            Some(value) => match path_form(value) {
                Some((elements, value)) if field.kind == FieldKind::Json || !is_empty(elements) => {
                    let path = path(elements, &operand_at.key("path"), field)?;
                    Operand { target: FieldRef { field, path }, value, at: &inner_at, context: self.context }
                }
                _ => Operand { target: whole(field), value: Some(value), at: &operand_at, context: self.context },
            },
            None => Operand { target: whole(field), value: None, at: &operand_at, context: self.context },
        };
        if self.context.value(operand.value.map_or(0, held_bytes)) > VALUE_BYTES {
            return Err(
                operand_at.error(format!("the values of the conditions take over {VALUE_BYTES} bytes in memory"))
            );
        }
        if let Operator::Null { negated } = operator {
            return Ok(if negated { Condition::IsNotNull(operand.target) } else { Condition::IsNull(operand.target) });
        }
        operand.check_operator(operator, operator_name(operator), &operator_at)?;
        operand.condition(operator)
    }
}

/// What a value takes in memory.
fn held_bytes(value: &Json) -> usize {
    let below = match value {
        Json::Null | Json::Bool(_) => 0,
        Json::Number(text) | Json::String(text) => text.len(),
        Json::Array(elements) => elements.iter().map(held_bytes).sum(),
        Json::Object(members) => {
            members.iter().map(|(key, member)| size_of::<String>() + key.len() + held_bytes(member)).sum()
        }
    };
    size_of::<Json>() + below
}

fn operator_name(operator: Operator) -> &'static str {
    OPERATORS.iter().find(|(_, one)| *one == operator).map_or("", |(name, _)| name)
}

fn whole(field: &'static Field) -> FieldRef {
    FieldRef { field, path: Vec::new() }
}

fn is_empty(list: &Json) -> bool {
    matches!(list, Json::Array(elements) if elements.is_empty())
}

/// `{path, value}` or `{path}`, where `path` is a list of strings; every other object is a value itself.
fn path_form(value: &Json) -> Option<(&Json, Option<&Json>)> {
    let Json::Object(entries) = value else { return None };
    let path = value.get("path")?;
    let Json::Array(elements) = path else { return None };
    let strings = elements.iter().all(|element| matches!(element, Json::String(_)));
    let keys = entries.iter().all(|(key, _)| key == "path" || key == "value");
    (strings && keys).then(|| (path, value.get("value")))
}

/// The two sides of a condition, and the place of its value.
struct Operand<'a> {
    target: FieldRef,
    value: Option<&'a Json>,
    at: &'a At<'a>,
    context: &'a Context,
}

impl Operand<'_> {
    fn is_whole_json(&self) -> bool {
        self.target.field.kind == FieldKind::Json && self.target.path.is_empty()
    }

    /// Whether the operator takes the field at all, whatever the value.
    fn check_operator(&self, operator: Operator, name: &str, at: &At<'_>) -> Result<(), QueryError> {
        let Field { name: field, kind, .. } = self.target.field;
        let message = match (operator, kind) {
            (Operator::Compare(_), FieldKind::Boolean) => {
                format!("`{name}` does not take the boolean field `{field}`; `eq` and `neq` do")
            }
            (Operator::Compare(_), FieldKind::TextList) => {
                format!("`{name}` does not take the list field `{field}`; `arrayContains` does")
            }
            (Operator::Compare(_), FieldKind::Json) if self.is_whole_json() => {
                format!("`{name}` does not take the whole JSON field `{field}`; give `{{path, value}}` as value")
            }
            (Operator::ArrayContains, FieldKind::Json) if self.is_whole_json() && !self.target.field.is_list => {
                format!("`{name}` does not take the whole JSON field `{field}`; give `{{path, value}}` as value")
            }
            (Operator::ArrayContains, FieldKind::Text | FieldKind::Time | FieldKind::Integer | FieldKind::Boolean) => {
                format!("`{name}` needs a list field or a path into a JSON field, and `{field}` is neither")
            }
            (
                Operator::JsonContains
                | Operator::JsonContainedBy
                | Operator::JsonHasKey
                | Operator::JsonHasKeys { .. }
                | Operator::JsonArrayContainsObject,
                kind,
            ) if *kind != FieldKind::Json => format!("`{name}` needs a JSON field, and `{field}` is none"),
            _ => return Ok(()),
        };
        Err(at.error(message))
    }

    fn condition(self, operator: Operator) -> Result<Condition, QueryError> {
        let Some(value) = self.value else {
            return Err(self.at.error(format!("missing; `{}` needs a value", operator_name(operator))));
        };
        if let Json::Array(_) = value {
            list(value, self.at, LIST_VALUES)?;
        }
        Ok(match operator {
            Operator::Null { negated: false } => Condition::IsNull(self.target),
            Operator::Null { negated: true } => Condition::IsNotNull(self.target),
            Operator::Equal { negated } if matches!(value, Json::Null) => {
                if negated {
                    Condition::IsNotNull(self.target)
                } else {
                    Condition::IsNull(self.target)
                }
            }
            Operator::Equal { negated } => {
                let values = vec![literal(&self.target, value, self.at, self.context)?];
                Condition::In { target: self.target, values, or_null: false, negated }
            }
            Operator::In { negated } => self.membership(value, negated)?,
            Operator::Compare(comparison) => self.comparison(value, comparison)?,
            Operator::ArrayContains => self.array_contains(value)?,
            Operator::JsonContains => Condition::JsonContains { value: self.containment(value)?, target: self.target },
            Operator::JsonContainedBy => {
                Condition::JsonContainedBy { value: self.containment(value)?, target: self.target }
            }
            Operator::JsonHasKey => {
                let keys = vec![string(value, self.at)?.to_owned()];
                Condition::JsonHasKeys { target: self.target, keys, all: true }
            }
            Operator::JsonHasKeys { all } => {
                Condition::JsonHasKeys { keys: strings(value, self.at)?, target: self.target, all }
            }
            Operator::JsonArrayContainsObject => match value {
                Json::Object(_) => Condition::JsonArrayContainsObject { target: self.target, object: value.clone() },
                other => return Err(self.at.wrong_kind(other, "an object")),
            },
        })
    }

    /// `in` with a null also matches absent values; a null in `notIn` adds nothing.
    fn membership(self, value: &Json, negated: bool) -> Result<Condition, QueryError> {
        let given = list(value, self.at, LIST_VALUES)?;
        let mut values = Vec::with_capacity(given.len());
        let mut has_null = false;
        for (index, element) in given.iter().enumerate() {
            match element {
                Json::Null => has_null = true,
                element => values.push(literal(&self.target, element, &self.at.index(index), self.context)?),
            }
        }
        Ok(Condition::In { target: self.target, values, or_null: has_null && !negated, negated })
    }

    fn comparison(self, value: &Json, comparison: Comparison) -> Result<Condition, QueryError> {
        let value = match (self.target.field.kind, value) {
            (FieldKind::Json, Json::String(text)) => Literal::Text(text.clone()),
            (FieldKind::Json, Json::Number(token)) => Literal::Number(token.clone()),
            (FieldKind::Json, other) => return Err(self.at.wrong_kind(other, "a number or a string")),
            _ => literal(&self.target, value, self.at, self.context)?,
        };
        Ok(Condition::Compare { target: self.target, comparison, value })
    }

    fn array_contains(self, value: &Json) -> Result<Condition, QueryError> {
        let values = match value {
            Json::Array(values) => values.clone(),
            single => vec![single.clone()],
        };
        if self.target.field.kind == FieldKind::TextList
            && let Some(other) = values.iter().find(|value| !matches!(value, Json::String(_)))
        {
            return Err(self.at.wrong_kind(other, "a string or a list of strings"));
        }
        Ok(Condition::ArrayContains { target: self.target, values })
    }

    fn containment(&self, value: &Json) -> Result<Json, QueryError> {
        if !self.is_whole_json() {
            return Ok(value.clone());
        }
        match (self.target.field.is_list, value) {
            (false, Json::Object(_)) | (true, Json::Array(_)) => Ok(value.clone()),
            (false, other) => Err(self.at.wrong_kind(other, "an object or `{path, value}`")),
            (true, other) => Err(self.at.wrong_kind(other, "a list or `{path, value}`")),
        }
    }
}

/// A value that is not null, as the target's type has it.
fn literal(target: &FieldRef, value: &Json, at: &At<'_>, context: &Context) -> Result<Literal, QueryError> {
    Ok(match (target.field.kind, value) {
        (FieldKind::Text, Json::String(text)) => Literal::Text(text.clone()),
        (FieldKind::Integer, Json::Number(token)) => Literal::Number(token.clone()),
        (FieldKind::Boolean, Json::Bool(value)) => Literal::Boolean(*value),
        (FieldKind::Time, Json::Number(token)) => Literal::Time(token.clone()),
        (FieldKind::Time, value) => Literal::Time(time_literal(value, at, context)?),
        (FieldKind::TextList, Json::Array(_)) => {
            strings(value, at)?;
            Literal::Json(value.clone())
        }
        (FieldKind::Json, Json::Object(_)) if !target.field.is_list => Literal::Json(value.clone()),
        (FieldKind::Json, Json::Array(_)) if target.field.is_list => Literal::Json(value.clone()),
        (FieldKind::Json, _) if !target.path.is_empty() => Literal::Json(value.clone()),
        (FieldKind::Text | FieldKind::Binary, other) => return Err(at.wrong_kind(other, "a string")),
        (FieldKind::Integer, other) => return Err(at.wrong_kind(other, "a number")),
        (FieldKind::Boolean, other) => return Err(at.wrong_kind(other, "a boolean")),
        (FieldKind::TextList, other) => return Err(at.wrong_kind(other, "a list of strings")),
        (FieldKind::Json, other) if target.field.is_list => {
            return Err(at.wrong_kind(other, "a list or `{path, value}`"));
        }
        (FieldKind::Json, other) => return Err(at.wrong_kind(other, "an object or `{path, value}`")),
    })
}

/// A time as exact decimal epoch milliseconds; one without a zone is of the request's local clock.
pub(crate) fn time_literal(value: &Json, at: &At<'_>, context: &Context) -> Result<String, QueryError> {
    match value {
        Json::Number(token) => Ok(jsonb::number_text(token)),
        Json::String(text) => {
            let date = |local| context.clock().first_instant(local);
            let parsed = time::parse_local_time(text, date, |local| context.clock().instant(local));
            parsed.ok_or_else(|| at.error(format!("{} is no ISO 8601 date or time", quoted(text))))
        }
        other => Err(at.wrong_kind(other, "an ISO 8601 time or a number of epoch milliseconds")),
    }
}

fn strings(json: &Json, at: &At<'_>) -> Result<Vec<String>, QueryError> {
    let elements = list(json, at, LIST_VALUES)?.iter().enumerate();
    elements.map(|(index, element)| string(element, &at.index(index)).map(str::to_owned)).collect()
}

/// A conjunction without constants and nested conjunctions.
fn all(parts: Vec<Filter>) -> Filter {
    let mut kept = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Filter::And(inner) => kept.extend(inner),
            Filter::Or(inner) if inner.is_empty() => return Filter::Or(inner),
            other => kept.push(other),
        }
    }
    single(merged(kept, true)).unwrap_or_else(Filter::And)
}

/// A disjunction without constants and nested disjunctions.
fn any(parts: Vec<Filter>) -> Filter {
    let mut kept = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Filter::Or(inner) => kept.extend(inner),
            Filter::And(inner) if inner.is_empty() => return Filter::And(inner),
            other => kept.push(other),
        }
    }
    single(merged(kept, false)).unwrap_or_else(Filter::Or)
}

/// Where several parts of a disjunction ask whether one target has a value, they ask once whether it has one of them;
/// and where several parts of a conjunction (`negated`) ask whether it has another one.
fn merged(parts: Vec<Filter>, negated_ones: bool) -> Vec<Filter> {
    let mut kept: Vec<Filter> = Vec::with_capacity(parts.len());
    let mut places: HashMap<FieldRef, usize> = HashMap::new();
    for part in parts {
        let Filter::Condition(Condition::In { target, values, or_null, negated }) = part else {
            kept.push(part);
            continue;
        };
        let place = (negated == negated_ones).then(|| places.get(&target).copied()).flatten();
        if let Some(Filter::Condition(Condition::In { values: all, or_null: any_null, .. })) =
            place.and_then(|place| kept.get_mut(place))
        {
            all.extend(values);
            *any_null |= or_null;
            continue;
        }
        if negated == negated_ones {
            places.insert(target.clone(), kept.len());
        }
        kept.push(Filter::Condition(Condition::In { target, values, or_null, negated }));
    }
    kept
}

fn single(mut parts: Vec<Filter>) -> Result<Filter, Vec<Filter>> {
    match parts.pop() {
        Some(only) if parts.is_empty() => Ok(only),
        Some(last) => {
            parts.push(last);
            Err(parts)
        }
        None => Err(parts),
    }
}
