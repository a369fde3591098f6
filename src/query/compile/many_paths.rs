//! Filters on so many paths of a JSON field that no column is made for each.

use std::collections::{HashMap, HashSet};

use super::columns::json_field;
use crate::model::json::value::Json;
use crate::query::dsl::{Comparison, Condition, FieldRef, Filter, Literal};
use crate::query::functions::{Compared, Containment, Equality, HasKeys, JsonFilter, JsonTest, NumberComparison, Side};
use crate::query::view::FieldKind;
use crate::storage::format::layout::JsonField;

/// Paths of one field in one filter that are columns of the scan; a filter with more of them reads the whole field.
const PATHS: usize = 64;

/// The fields of which a filter names too many paths.
pub(super) fn crowded_fields(filter: &Filter) -> HashSet<JsonField> {
    let mut paths: HashMap<JsonField, HashSet<&[String]>> = HashMap::new();
    gather(filter, &mut paths);
    paths.into_iter().filter(|(_, paths)| paths.len() > PATHS).map(|(field, _)| field).collect()
}

fn gather<'a>(filter: &'a Filter, paths: &mut HashMap<JsonField, HashSet<&'a [String]>>) {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().for_each(|part| gather(part, paths)),
        Filter::Condition(condition) => {
            for target in condition.targets() {
                if let Some(field) = path_field(target) {
                    paths.entry(field).or_default().insert(&target.path);
                }
            }
        }
    }
}

fn path_field(target: &FieldRef) -> Option<JsonField> {
    let is_path = target.field.kind == FieldKind::Json && !target.path.is_empty();
    is_path.then(|| json_field(target.field.name)).flatten()
}

/// A filter that names nothing but paths of one crowded field, as one of its whole value.
pub(super) fn of_one_field(filter: &Filter, crowded: &HashSet<JsonField>) -> Option<(JsonField, JsonFilter)> {
    match filter {
        Filter::And(parts) => of_parts(parts, crowded).map(|(field, parts)| (field, JsonFilter::All(parts))),
        Filter::Or(parts) => of_parts(parts, crowded).map(|(field, parts)| (field, JsonFilter::Any(parts))),
        Filter::Condition(condition) => {
            let [target] = condition.targets() else { return None };
            let field = path_field(target).filter(|field| crowded.contains(field))?;
            Some((field, JsonFilter::At { path: target.path.clone(), test: test(condition)? }))
        }
    }
}

fn of_parts(parts: &[Filter], crowded: &HashSet<JsonField>) -> Option<(JsonField, Vec<JsonFilter>)> {
    let mut of_field = None;
    let mut filters = Vec::with_capacity(parts.len());
    for part in parts {
        let (field, filter) = of_one_field(part, crowded)?;
        if *of_field.get_or_insert(field) != field {
            return None;
        }
        filters.push(filter);
    }
    of_field.map(|field| (field, filters))
}

fn test(condition: &Condition) -> Option<JsonTest> {
    Some(match condition {
        Condition::IsNull(_) => JsonTest::Absent,
        Condition::IsNotNull(_) => JsonTest::Present,
        Condition::In { values, or_null, negated, .. } => {
            let values: Option<Vec<Json>> = values.iter().map(as_json).collect();
            JsonTest::In { values: Equality::any_of(&values?), or_null: *or_null, negated: *negated }
        }
        Condition::Compare { comparison, value, .. } => {
            JsonTest::Compare(Compared::new(as_number_comparison(*comparison), &as_json(value)?))
        }
        Condition::ArrayContains { values, .. } => JsonTest::Elements(Equality::all_of(values)),
        Condition::JsonContains { value, .. } => JsonTest::Containment(Containment::new(Side::Contains, value.clone())),
        Condition::JsonContainedBy { value, .. } => {
            JsonTest::Containment(Containment::new(Side::ContainedBy, value.clone()))
        }
        Condition::JsonArrayContainsObject { object, .. } => {
            JsonTest::Containment(Containment::new(Side::HasElement, object.clone()))
        }
        Condition::JsonHasKeys { keys, all, .. } => JsonTest::HasKeys(HasKeys::new(keys.clone(), *all)),
        Condition::ContainsWords { .. } | Condition::SameText { .. } => return None,
    })
}

fn as_number_comparison(comparison: Comparison) -> NumberComparison {
    match comparison {
        Comparison::Gt => NumberComparison::Gt,
        Comparison::Gte => NumberComparison::Gte,
        Comparison::Lt => NumberComparison::Lt,
        Comparison::Lte => NumberComparison::Lte,
    }
}

/// The JSON value that a literal at a path stands for.
pub(super) fn as_json(literal: &Literal) -> Option<Json> {
    Some(match literal {
        Literal::Json(value) => value.clone(),
        Literal::Text(value) => Json::String(value.clone()),
        Literal::Number(token) => Json::Number(token.clone()),
        Literal::Boolean(value) => Json::Bool(*value),
        Literal::Time(_) => return None,
    })
}
