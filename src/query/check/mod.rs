//! Checks a query request against contract A3: its JSON becomes a [`Query`], or an error that says where and why.

mod context;
mod fields;
mod filter;
mod formula;
mod having;
mod keys;
mod names;
mod order;
mod properties;
mod reader;
mod select;
pub(crate) mod suggest;
#[cfg(test)]
mod tests;
mod tree;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use self::context::Context;
pub(crate) use self::properties::{check_property_keys, check_property_values};
use self::reader::{At, Object, boolean, integer, parse, quoted, string, word};
use super::dsl::{Condition, Export, FieldRef, Filter, Query, Shape};
use super::error::QueryError;
use super::view::View;
use crate::model::fold::fold;
use crate::model::json::value::Json;

const NOTES_CHARACTERS: usize = 80;
const DEFAULT_LIMIT: usize = 10_000;
const LARGEST_LIMIT: u64 = 100_000;
/// The largest integer that every JSON client can spell exactly.
const LARGEST_OFFSET: u64 = (1 << 53) - 1;

/// Of `query`, and how long they are together.
const SEARCHED_WORDS: usize = 100;
const SEARCHED_CHARACTERS: usize = 3_000;

/// Of every request for rows.
const COMMON_KEYS: [&str; 12] = [
    "select",
    "groupBy",
    "where",
    "having",
    "orderBy",
    "notes",
    "limit",
    "offset",
    "timeZone",
    "weekStart",
    "nulls",
    "columns",
];

/// The keys of a query, or of an export.
pub(crate) fn request_keys(export: bool) -> impl Iterator<Item = &'static str> {
    COMMON_KEYS.into_iter().chain([if export { "csvFormulaSafe" } else { "totals" }])
}

/// The closed sets of words in a request, for its documentation.
pub(crate) struct Vocabulary {
    pub(crate) operators: Vec<&'static str>,
    pub(crate) aggregations: Vec<&'static str>,
    pub(crate) time_units: Vec<&'static str>,
    pub(crate) weekdays: Vec<&'static str>,
    /// Of the property lists.
    pub(crate) views: Vec<&'static str>,
}

pub(crate) fn vocabulary() -> Vocabulary {
    fn first<T>(words: &[(&'static str, T)]) -> Vec<&'static str> {
        words.iter().map(|(word, _)| *word).collect()
    }
    Vocabulary {
        operators: filter::operator_names().collect(),
        aggregations: first(&names::FUNCTION_NAMES),
        time_units: first(&names::TIME_NAMES),
        weekdays: first(&WEEKDAYS),
        views: first(&properties::VIEWS),
    }
}

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

/// Checks a request body on `view`.
///
/// # Errors
/// [`QueryError::Syntax`] if the body is not JSON, else [`QueryError::Invalid`].
pub(crate) fn check(view: &'static View, body: &[u8]) -> Result<Query, QueryError> {
    check_json(view, &parse(body)?)
}

/// Checks the body of an export from `view`: that of a query, without a default limit, and `csvFormulaSafe`.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_export(view: &'static View, body: &[u8]) -> Result<Export, QueryError> {
    let body = parse(body)?;
    let root = At::ROOT;
    let request = Object::read(&body, &root, &known_keys(view, true))?;
    let formula_safe = match request.get("csvFormulaSafe") {
        Some(given) => boolean(given, &root.key("csvFormulaSafe"))?,
        None => false,
    };
    let (query, mode_conflict) = check_request(view, &request, &root, usize::MAX)?;
    match mode_conflict {
        Some(error) => Err(error),
        None => Ok(Export { query, formula_safe }),
    }
}

fn check_json(view: &'static View, body: &Json) -> Result<Query, QueryError> {
    let root = At::ROOT;
    let request = Object::read(body, &root, &known_keys(view, false))?;
    Ok(check_request(view, &request, &root, DEFAULT_LIMIT)?.0)
}

/// The query, and what makes it no export.
fn check_request(
    view: &'static View,
    request: &Object<'_>,
    root: &At<'_>,
    default_limit: usize,
) -> Result<(Query, Option<QueryError>), QueryError> {
    if let Some(notes) = request.get("notes") {
        check_notes(notes, &root.key("notes"))?;
    }
    let time_zone = match request.get("timeZone") {
        Some(name) => time_zone(name, &root.key("timeZone"))?,
        None => TimeZone::UTC,
    };
    let week_start = match request.get("weekStart") {
        Some(day) => word(day, &root.key("weekStart"), "day", &WEEKDAYS)?,
        None => Weekday::Monday,
    };
    let context = Context::new(time_zone, week_start);
    let mut columns = select::columns(view, request.get("select"), request.get("groupBy"), root, &context)?;
    let filter = match request.get("where") {
        Some(filter) => filter::filter(view, filter, &root.key("where"), &context)?,
        None => None,
    };
    let filter = match request.get("query") {
        Some(words) => contains_words(view, string(words, &root.key("query"))?, &root.key("query"), filter)?,
        None => filter,
    };
    let fill = match &columns.filled {
        Some(asked) => Some(keys::fill(asked, &columns.groups, request.get("where"), root, &context)?),
        None => None,
    };
    let having = match request.get("having") {
        Some(given) => Some(having::having(&columns, given, &root.key("having"), &context)?),
        None => None,
    };
    let order = match request.get("orderBy") {
        Some(order) => order::orders(view, order, &root.key("orderBy"), &mut columns)?,
        None => Vec::new(),
    };
    let limit = match request.get("limit") {
        Some(limit) => integer(limit, &root.key("limit"), 1, LARGEST_LIMIT)?,
        None => default_limit,
    };
    let offset = match request.get("offset") {
        Some(offset) => integer(offset, &root.key("offset"), 0, LARGEST_OFFSET)?,
        None => 0,
    };
    let asked = |key: &'static str| match request.get(key) {
        Some(given) => {
            context.uses(key);
            boolean(given, &root.key(key))
        }
        None => Ok(false),
    };
    let shape = Shape { nulls: asked("nulls")?, columns: asked("columns")?, totals: asked("totals")? };
    let query = Query {
        view,
        groups: columns.groups,
        aggregations: columns.aggregations,
        grouped: columns.grouped,
        formulas: columns.formulas,
        columns: columns.columns,
        filter,
        fill,
        having,
        order,
        limit,
        offset,
        extension: context.extension(),
        time_zone: context.time_zone,
        week_start: context.week_start,
        shape,
    };
    Ok((query, columns.mode_conflict))
}

fn known_keys(view: &View, export: bool) -> Vec<&'static str> {
    let search = (!view.searched.is_empty()).then_some("query");
    request_keys(export).chain(search).collect()
}

/// The filter, and that each of the words is in one of the view's searched fields. Blank: the filter as it is.
fn contains_words(
    view: &'static View,
    text: &str,
    at: &At<'_>,
    filter: Option<Filter>,
) -> Result<Option<Filter>, QueryError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() > SEARCHED_WORDS {
        return Err(at.error(format!("{} words given, at most {SEARCHED_WORDS} are allowed", words.len())));
    }
    let characters: usize = words.iter().map(|word| word.chars().count()).sum();
    if characters > SEARCHED_CHARACTERS {
        return Err(at.error(format!(
            "words of {characters} characters together given, at most {SEARCHED_CHARACTERS} are allowed"
        )));
    }
    if words.is_empty() {
        return Ok(filter);
    }
    let targets = view.searched.iter().filter_map(|name| view.field(name));
    let targets = targets.map(|field| FieldRef { field, path: Vec::new() }).collect();
    let mut words: Vec<String> = words.into_iter().map(fold).collect();
    words.sort_unstable();
    words.dedup();
    let search = Filter::Condition(Condition::ContainsWords { targets, words });
    Ok(Some(match filter {
        Some(filter) => Filter::And(vec![filter, search]),
        None => search,
    }))
}

fn check_notes(notes: &Json, at: &At<'_>) -> Result<(), QueryError> {
    let characters = string(notes, at)?.chars().count();
    if characters > NOTES_CHARACTERS {
        return Err(at.error(format!("{characters} characters given, at most {NOTES_CHARACTERS} are allowed")));
    }
    Ok(())
}

fn time_zone(json: &Json, at: &At<'_>) -> Result<TimeZone, QueryError> {
    let name = string(json, at)?;
    match TimeZone::get(name) {
        Ok(zone) if !zone.is_unknown() => Ok(zone),
        _ => Err(at.error(format!(
            "unknown time zone {}; an IANA name such as `Europe/Berlin` or `UTC` is needed",
            quoted(name)
        ))),
    }
}
