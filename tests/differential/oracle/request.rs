//! A query request taken apart (contract A3).
//!
//! Reads valid requests; what the contract refuses is refused here as far as the generator can make it, so that it can
//! throw such a request away.

use chrono_tz::Tz;

use super::folding::fold;
use super::json::Value;
use super::number;
use super::time::{self, Unit};
use super::views::{Kind, View};

pub const DEFAULT_LIMIT: usize = 10_000;
pub const AGGREGATIONS: [&str; 6] = ["sum", "count", "countDistinct", "avg", "min", "max"];

/// A field, or a path in a JSON field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub field: String,
    pub path: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    Field(Place),
    Bucket { field: String, unit: Unit },
    Aggregate { kind: String, of: Option<Place> },
}

impl Place {
    fn name(&self) -> String {
        let mut name = self.field.clone();
        for element in &self.path {
            name.push('.');
            name.push_str(element);
        }
        name
    }

    fn parse(view: &View, name: &str) -> Result<Place, String> {
        let mut parts = name.split('.').map(str::to_string);
        let field = parts.next().unwrap_or_default();
        let path: Vec<String> = parts.collect();
        if !view.kind_of(&field)?.is_json() && !path.is_empty() {
            return Err(format!("{field} takes no path"));
        }
        Ok(Place { field, path })
    }
}

impl Column {
    pub fn name(&self) -> String {
        match self {
            Column::Field(place) => place.name(),
            Column::Bucket { field, unit } => format!("{field}_{}", unit.name()),
            Column::Aggregate { kind, of: None } => kind.clone(),
            Column::Aggregate { kind, of: Some(place) } => format!("{kind}_{}", place.name()),
        }
    }

    fn parse_aggregate(view: &View, name: &str) -> Result<Column, String> {
        let (kind, of) = match name.split_once('_') {
            Some((kind, rest)) => (kind, Some(Place::parse(view, rest)?)),
            None => (name, None),
        };
        aggregate(view, kind, of)
    }
}

fn aggregate(view: &View, kind: &str, of: Option<Place>) -> Result<Column, String> {
    let numeric = match &of {
        None => false,
        Some(place) => match view.kind_of(&place.field)? {
            Kind::Count | Kind::Time => true,
            Kind::Json | Kind::JsonList => !place.path.is_empty(),
            Kind::Text | Kind::Flag | Kind::List => false,
        },
    };
    let allowed = match kind {
        "count" => true,
        "countDistinct" => of.is_some(),
        "sum" | "avg" | "min" | "max" => numeric,
        _ => false,
    };
    if !allowed {
        return Err(format!("{kind} of {of:?}"));
    }
    Ok(Column::Aggregate { kind: kind.to_string(), of })
}

#[derive(Clone, Debug)]
pub enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Condition { place: Place, operator: String, value: Value },
}

/// A request, ready to be answered.
#[derive(Clone)]
pub struct Request {
    pub view: &'static View,
    /// What question or answer must contain, in lower case.
    pub words: Vec<String>,
    /// Output columns by name.
    pub columns: Vec<Column>,
    /// Group keys in the order that breaks ties.
    pub keys: Vec<Column>,
    pub grouped: bool,
    pub filter: Option<Filter>,
    /// (column, descending)
    pub order: Vec<(Column, bool)>,
    pub limit: usize,
    pub offset: usize,
    pub zone: Tz,
    pub week_start: u32,
}

fn required_text<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value.given(key).and_then(Value::as_str).ok_or_else(|| format!("{key} is missing"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.given(key).and_then(Value::as_array).unwrap_or_default()
}

fn whole_number(value: &Value, key: &str) -> Result<Option<usize>, String> {
    match value.given(key) {
        None => Ok(None),
        Some(Value::Number(token)) => token.parse().map(Some).map_err(|_| format!("{key} {token}")),
        Some(other) => Err(format!("{key} {other:?}")),
    }
}

fn strings(values: &[Value]) -> Result<Vec<String>, String> {
    values.iter().map(|value| value.as_str().map(str::to_string).ok_or_else(|| "no string".to_string())).collect()
}

fn place(view: &View, value: &Value) -> Result<Place, String> {
    let field = required_text(value, "field")?.to_string();
    let path = strings(list(value, "path"))?;
    if !view.kind_of(&field)?.is_json() && !path.is_empty() {
        return Err(format!("{field} takes no path"));
    }
    Ok(Place { field, path })
}

fn add(columns: &mut Vec<Column>, column: Column) {
    if !columns.contains(&column) {
        columns.push(column);
    }
}

impl Request {
    pub fn parse(view: &'static View, body: &Value) -> Result<Request, String> {
        let mut columns = Vec::new();
        let mut keys = Vec::new();
        let mut selected_fields = Vec::new();
        let mut grouped = false;
        for selection in list(body, "select") {
            let column = match required_text(selection, "type")? {
                "field" => {
                    let place = place(view, selection)?;
                    if !place.path.is_empty() && selection.given("mode").and_then(Value::as_str) == Some("json") {
                        return Err("path with mode json".to_string());
                    }
                    selected_fields.push(Column::Field(place.clone()));
                    Column::Field(place)
                }
                "time" => {
                    let field = selection.given("field").and_then(Value::as_str).unwrap_or(view.default_time);
                    if view.kind_of(field)? != Kind::Time {
                        return Err(format!("{field} is no time"));
                    }
                    let unit = Unit::parse(required_text(selection, "timeUnit")?).ok_or("no such unit")?;
                    grouped = true;
                    let bucket = Column::Bucket { field: field.to_string(), unit };
                    add(&mut keys, bucket.clone());
                    bucket
                }
                "aggregation" => {
                    grouped = true;
                    let of = if selection.given("field").is_some() { Some(place(view, selection)?) } else { None };
                    aggregate(view, required_text(selection, "aggregation")?, of)?
                }
                other => return Err(format!("selection type {other}")),
            };
            add(&mut columns, column);
        }
        for element in list(body, "groupBy") {
            grouped = true;
            let key = Column::Field(place(view, element)?);
            if element.given("includeInSelect") != Some(&Value::Bool(false)) {
                add(&mut columns, key.clone());
            }
            add(&mut keys, key);
        }
        if grouped && let Some(field) = selected_fields.iter().find(|field| !keys.contains(field)) {
            return Err(format!("{} is no group key", field.name()));
        }
        if !grouped && columns.is_empty() {
            columns = view.fields[..view.published]
                .iter()
                .map(|(field, _)| Column::Field(Place { field: field.to_string(), path: Vec::new() }))
                .collect();
        }
        if columns.is_empty() {
            return Err("no column".to_string());
        }
        // Two columns of one name are an error; a key that is not shown may not clash either, to be on the safe side.
        let mut named: Vec<&Column> = columns.iter().collect();
        named.extend(keys.iter().filter(|key| !columns.contains(key)));
        for (place, column) in named.iter().enumerate() {
            if named[..place].iter().any(|other| other.name() == column.name()) {
                return Err(format!("two columns {}", column.name()));
            }
        }
        let mut order = Vec::new();
        for element in list(body, "orderBy") {
            let name = required_text(element, "field")?;
            let descending = match required_text(element, "direction")? {
                "asc" => false,
                "desc" => true,
                other => return Err(format!("direction {other}")),
            };
            let known = named.iter().find(|column| column.name() == name).map(|column| (*column).clone());
            let column = match known {
                Some(column) => column,
                None if grouped => Column::parse_aggregate(view, name)?,
                None => Column::Field(Place::parse(view, name)?),
            };
            order.push((column, descending));
        }
        let zone = match body.given("timeZone").and_then(Value::as_str) {
            None => chrono_tz::UTC,
            Some(name) => name.parse().map_err(|_| format!("no zone {name}"))?,
        };
        let week_start = match body.given("weekStart").and_then(Value::as_str) {
            None => 0,
            Some(name) => time::weekday(name).ok_or_else(|| format!("no day {name}"))?,
        };
        let limit = whole_number(body, "limit")?.unwrap_or(DEFAULT_LIMIT);
        if limit == 0 || limit > 100_000 {
            return Err(format!("limit {limit}"));
        }
        let words = match body.given("query") {
            None => Vec::new(),
            Some(_) if view.searched.is_none() => return Err("query".to_string()),
            Some(query) => words(query.as_str().ok_or("query")?)?,
        };
        Ok(Request {
            view,
            words,
            filter: body.given("where").map(|filter| parse_filter(view, filter)).transpose()?,
            columns,
            keys,
            grouped,
            order,
            limit,
            offset: whole_number(body, "offset")?.unwrap_or(0),
            zone,
            week_start,
        })
    }
}

fn parse_filter(view: &View, value: &Value) -> Result<Filter, String> {
    let Value::Object(pairs) = value else { return Err("a filter is an object".to_string()) };
    let given: Vec<&(String, Value)> = pairs.iter().filter(|(_, value)| *value != Value::Null).collect();
    let [(key, value)] = given[..] else { return Err("exactly one of condition, and, or".to_string()) };
    let parts = |value: &Value| -> Result<Vec<Filter>, String> {
        value.as_array().ok_or("a list is needed")?.iter().map(|part| parse_filter(view, part)).collect()
    };
    match key.as_str() {
        "and" => Ok(Filter::And(parts(value)?)),
        "or" => Ok(Filter::Or(parts(value)?)),
        "condition" => parse_condition(view, value),
        other => Err(format!("filter key {other}")),
    }
}

/// The path form: an object of `path`, a list of strings, and at most `value`.
fn path_form(value: &Value) -> Option<(Vec<String>, Option<Value>)> {
    let Value::Object(pairs) = value else { return None };
    let path = strings(value.get("path")?.as_array()?).ok()?;
    pairs.iter().all(|(key, _)| key == "path" || key == "value").then(|| (path, value.get("value").cloned()))
}

fn parse_condition(view: &View, condition: &Value) -> Result<Filter, String> {
    let field = required_text(condition, "field")?.to_string();
    let operator = required_text(condition, "operator")?.to_string();
    let kind = view.kind_of(&field)?;
    let form = condition.get("value").filter(|_| kind.is_json()).and_then(path_form);
    let (path, value) = match form {
        Some((path, value)) => (path, value),
        None => (Vec::new(), condition.get("value").cloned()),
    };
    let value = match value {
        None if operator == "isNull" || operator == "isNotNull" => Value::Null,
        None => return Err("a value is missing".to_string()),
        Some(value) => value,
    };
    check_value(kind, !path.is_empty(), &operator, &value)?;
    Ok(Filter::Condition { place: Place { field, path }, operator, value })
}

fn check_value(kind: Kind, at_path: bool, operator: &str, value: &Value) -> Result<(), String> {
    let whole_json = kind.is_json() && !at_path;
    let fits_whole = |value: &Value| match kind {
        Kind::JsonList => matches!(value, Value::Array(_)),
        _ => matches!(value, Value::Object(_)),
    };
    let wrong = || Err(format!("{operator} with {} on {kind:?}, path {at_path}", value.to_text()));
    let literal_fits = |value: &Value| match (kind, value) {
        (_, Value::Null) => true,
        (Kind::Json | Kind::JsonList, _) => at_path || fits_whole(value),
        (Kind::Text, Value::String(_)) | (Kind::Count, Value::Number(_)) | (Kind::Flag, Value::Bool(_)) => true,
        (Kind::Time, value) => query_time(value).is_some(),
        (Kind::List, Value::Array(elements)) => strings(elements).is_ok(),
        _ => false,
    };
    let all_strings = |value: &Value| value.as_array().is_some_and(|elements| strings(elements).is_ok());
    let fits = match operator {
        "isNull" | "isNotNull" => true,
        "eq" | "neq" => literal_fits(value),
        "in" | "notIn" => value.as_array().is_some_and(|elements| elements.iter().all(literal_fits)),
        "gt" | "gte" | "lt" | "lte" => {
            let json = matches!(value, Value::String(_) | Value::Number(_)) && at_path;
            json || (matches!(kind, Kind::Text | Kind::Count | Kind::Time)
                && *value != Value::Null
                && literal_fits(value))
        }
        "arrayContains" => match kind {
            Kind::List => value.as_str().is_some() || all_strings(value),
            Kind::Json => at_path && *value != Value::Null,
            Kind::JsonList => *value != Value::Null,
            _ => false,
        },
        "jsonContains" | "jsonContainedBy" if whole_json => fits_whole(value),
        "jsonContains" | "jsonContainedBy" => kind.is_json() && *value != Value::Null,
        "jsonHasKey" => kind.is_json() && value.as_str().is_some(),
        "jsonHasAnyKey" | "jsonHasAllKeys" => kind.is_json() && all_strings(value),
        "jsonArrayContainsObject" => kind.is_json() && matches!(value, Value::Object(_)),
        _ => false,
    };
    if fits { Ok(()) } else { wrong() }
}

/// A time literal as epoch milliseconds, a decimal.
pub fn query_time(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => time::parse_query_time(text),
        Value::Number(token) => Some(number::numeric_text(token)),
        _ => None,
    }
}

/// The words of a search, folded.
fn words(query: &str) -> Result<Vec<String>, String> {
    let words: Vec<&str> = query.split_whitespace().collect();
    if words.len() > 100 || words.iter().map(|word| word.chars().count()).sum::<usize>() > 3_000 {
        return Err("query".to_string());
    }
    Ok(words.into_iter().map(fold).collect())
}
