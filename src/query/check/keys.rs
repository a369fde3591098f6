//! Group keys that are made of values, and time selections that are filled (contract A5).

use super::context::Context;
use super::fields::PATH_ELEMENTS;
use super::filter::time_literal;
use super::reader::{At, Object, boolean, clipped, integer, list, string};
use crate::model::json::decimal;
use crate::model::json::jsonb;
use crate::model::json::value::Json;
use crate::query::dsl::{Bin, FieldRef, Fill, KeyExpr};
use crate::query::error::QueryError;
use crate::query::view::FieldKind;

const MOST_TOP: u64 = 1_000;
/// Of a label for what is not among the top.
const LABEL_CHARACTERS: usize = 128;
/// Of the plain text of a bin's width and offset.
const DECIMAL_CHARACTERS: usize = 64;

/// `top`, before it is known what its `by` names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AskedTop {
    pub(crate) limit: usize,
    pub(crate) by: Option<String>,
    pub(crate) other: Option<String>,
}

/// `unnest`, `bin` and `top` of a group key.
pub(crate) struct MadeOf {
    pub(crate) unnest: Option<Vec<String>>,
    pub(crate) bin: Option<Bin>,
    pub(crate) top: Option<AskedTop>,
}

pub(crate) fn made_of(
    object: &Object<'_>,
    of: &FieldRef,
    at: &At<'_>,
    context: &Context,
) -> Result<MadeOf, QueryError> {
    let unnest = match object.get("unnest") {
        Some(given) => unnest(given, of, &at.key("unnest"))?,
        None => None,
    };
    let bin = match object.get("bin") {
        Some(given) => Some(bin(given, of, unnest.is_some(), &at.key("bin"))?),
        None => None,
    };
    let is_text = bin.is_none() && (unnest.is_some() || shows_text(of));
    let top = match object.get("top") {
        Some(given) => Some(top(given, is_text, &at.key("top"))?),
        None => None,
    };
    ["unnest", "bin", "top"].into_iter().filter(|key| object.get(key).is_some()).for_each(|key| context.uses(key));
    Ok(MadeOf { unnest, bin, top })
}

fn shows_text(of: &FieldRef) -> bool {
    of.field.kind == FieldKind::Text || (of.field.kind == FieldKind::Json && !of.path.is_empty())
}

/// The path into the elements; empty: the elements themselves.
fn unnest(json: &Json, of: &FieldRef, at: &At<'_>) -> Result<Option<Vec<String>>, QueryError> {
    let path = match json {
        Json::Bool(false) => return Ok(None),
        Json::Bool(true) => Vec::new(),
        Json::Array(_) => {
            let elements = list(json, at, PATH_ELEMENTS)?.iter().enumerate();
            let texts = elements.map(|(index, one)| string(one, &at.index(index)).map(str::to_owned));
            texts.collect::<Result<_, _>>()?
        }
        other => return Err(at.wrong_kind(other, "`true` or a path (a list of strings)")),
    };
    match of.field.kind {
        FieldKind::TextList if path.is_empty() => Ok(Some(path)),
        FieldKind::TextList => Err(at.error(format!("`{}` is a list of strings and takes no path", of.field.name))),
        FieldKind::Json if of.field.is_list || !of.path.is_empty() => Ok(Some(path)),
        FieldKind::Json => Err(at.error(format!("the whole JSON field `{}` is no list; give a `path`", of.field.name))),
        _ => Err(at.error(format!("`{}` is no list and no JSON field", of.field.name))),
    }
}

fn bin(json: &Json, of: &FieldRef, unnested: bool, at: &At<'_>) -> Result<Bin, QueryError> {
    let object = Object::read(json, at, &["width", "offset"])?;
    let fits = match of.field.kind {
        FieldKind::Integer => true,
        FieldKind::Json => unnested || !of.path.is_empty(),
        FieldKind::TextList => unnested,
        FieldKind::Text | FieldKind::Time | FieldKind::Boolean | FieldKind::Binary => false,
    };
    if !fits {
        return Err(at.error(format!("`{}` is no number; bins take numbers, also at a path", of.field.name)));
    }
    let width_at = at.key("width");
    let width = plain_decimal(object.required("width", "a number above 0")?, &width_at)?;
    if decimal::compare(&width, "0").is_le() {
        return Err(width_at.error(format!("{} given, a number above 0 is needed", clipped(&width))));
    }
    let offset = match object.get("offset") {
        Some(given) => plain_decimal(given, &at.key("offset"))?,
        None => "0".to_owned(),
    };
    Ok(Bin { width, offset })
}

fn plain_decimal(json: &Json, at: &At<'_>) -> Result<String, QueryError> {
    let Json::Number(token) = json else { return Err(at.wrong_kind(json, "a number")) };
    if decimal::plain_length(token) > DECIMAL_CHARACTERS {
        return Err(at.error(format!("over {DECIMAL_CHARACTERS} characters in plain decimals")));
    }
    Ok(jsonb::number_text(token))
}

fn top(json: &Json, is_text: bool, at: &At<'_>) -> Result<AskedTop, QueryError> {
    let object = Object::read(json, at, &["limit", "by", "other"])?;
    let limit = integer(object.required("limit", "an integer from 1 to 1000")?, &at.key("limit"), 1, MOST_TOP)?;
    let by = match object.get("by") {
        Some(given) => Some(string(given, &at.key("by"))?.to_owned()),
        None => None,
    };
    let other_at = at.key("other");
    let other = match object.get("other") {
        Some(given) => {
            let label = string(given, &other_at)?;
            let characters = label.chars().count();
            if characters > LABEL_CHARACTERS {
                let message = format!("{characters} characters given, at most {LABEL_CHARACTERS} are allowed");
                return Err(other_at.error(message));
            }
            if !is_text {
                return Err(other_at.error("only a text key takes a label; leave `other` out to leave the rest out"));
            }
            Some(label.to_owned())
        }
        None => None,
    };
    Ok(AskedTop { limit, by, other })
}

/// The `fill` of a time selection.
pub(crate) fn fill(
    asked: &(usize, Json, String),
    groups: &[KeyExpr],
    filter: Option<&Json>,
    at: &At<'_>,
    context: &Context,
) -> Result<Fill, QueryError> {
    let (group, given, place) = asked;
    let empty = Fill { group: *group, from: None, to: None, place: place.clone() };
    // `at` is the request; errors are told at the selection's own place.
    let failed = |error: QueryError| match error {
        QueryError::Invalid { path, message } => QueryError::Invalid {
            path: if path.is_empty() { place.clone() } else { format!("{place}.{path}") },
            message,
        },
        other => other,
    };
    match (groups.get(*group), given) {
        (Some(KeyExpr::Part { .. }), given) => match boolean(given, at) {
            Ok(_) => Ok(empty),
            Err(error) => Err(failed(error)),
        },
        (Some(KeyExpr::Bucket { field, .. }), Json::Bool(_)) => {
            let (from, to) = filter.map_or((None, None), |filter| bounds(filter, field.name, context));
            Ok(Fill { from, to, ..empty })
        }
        (_, given) => {
            range(given, context).map(|(from, to)| Fill { from: Some(from), to: Some(to), ..empty }).map_err(failed)
        }
    }
}

/// `{from, to}`.
fn range(json: &Json, context: &Context) -> Result<(i64, i64), QueryError> {
    let root = At::ROOT;
    if !matches!(json, Json::Object(_)) {
        return Err(root.wrong_kind(json, "`true` or `{from, to}`"));
    }
    let object = Object::read(json, &root, &["from", "to"])?;
    let end = |key: &'static str| {
        let at = root.key(key);
        let given = object.required(key, "a time")?;
        let token = time_literal(given, &at, context)?;
        ceil(&token).ok_or_else(|| at.error("a time in the years 1 to 9999 is needed"))
    };
    let (from, to) = (end("from")?, end("to")?);
    if from >= to {
        return Err(root.error("`from` must be before `to`"));
    }
    Ok((from, to))
}

/// The tightest bounds that the conditions on a time field set which are the whole filter, or parts of an `and` that is.
fn bounds(filter: &Json, field: &str, context: &Context) -> (Option<i64>, Option<i64>) {
    let conditions: Vec<&Json> = match (filter.get("condition"), filter.get("and")) {
        (Some(condition), _) => vec![condition],
        (None, Some(Json::Array(parts))) => parts.iter().filter_map(|part| part.get("condition")).collect(),
        _ => Vec::new(),
    };
    let (mut from, mut to) = (None, None);
    for condition in conditions {
        let text = |key: &str| match condition.get(key) {
            Some(Json::String(text)) => Some(text.as_str()),
            _ => None,
        };
        if text("field") != Some(field) {
            continue;
        }
        let root = At::ROOT;
        let token = condition.get("value").and_then(|value| time_literal(value, &root, context).ok());
        let Some(token) = token else { continue };
        match text("operator") {
            Some("gte") => from = from.max(ceil(&token)),
            Some("gt") => from = from.max(floor(&token).and_then(|millis| millis.checked_add(1))),
            Some("lt") => to = least(to, ceil(&token)),
            Some("lte") => to = least(to, floor(&token).and_then(|millis| millis.checked_add(1))),
            _ => {}
        }
    }
    (from, to)
}

fn least(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.into_iter().chain(other).min()
}

/// Within the times that there are, whole milliseconds.
fn ceil(token: &str) -> Option<i64> {
    whole(token, true)
}

fn floor(token: &str) -> Option<i64> {
    whole(token, false)
}

fn whole(token: &str, up: bool) -> Option<i64> {
    let (whole, fraction) = token.split_once('.').unwrap_or((token, ""));
    let millis: i64 = whole.parse().ok()?;
    let has_fraction = fraction.bytes().any(|digit| digit != b'0');
    let negative = token.starts_with('-');
    let millis = match (has_fraction, up, negative) {
        (true, true, false) => millis + 1,
        (true, false, true) => millis - 1,
        _ => millis,
    };
    (FIRST_TIME..=LAST_TIME).contains(&millis).then_some(millis)
}

/// 0001-01-01, less a day for zones, and 9999-12-31, and a day.
const FIRST_TIME: i64 = -62_135_683_200_000;
const LAST_TIME: i64 = 253_402_387_200_000;
