//! A query request taken apart (contracts A3, A5).
//!
//! Reads valid requests; what the contract refuses is refused here as far as the generator can make it, so that it can
//! throw such a request away.

use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive};
use chrono_tz::Tz;

use super::folding::fold;
use super::formula::{self, Formula};
use super::having::{self, Having};
use super::json::Value;
use super::number;
use super::time::{self, Unit};
use super::views::{Kind, View};

pub const DEFAULT_LIMIT: usize = 10_000;
pub const AGGREGATIONS: [&str; 6] = ["sum", "count", "countDistinct", "avg", "min", "max"];
/// Of contract A5.
pub const MORE_AGGREGATIONS: [&str; 5] = ["median", "percentile", "stddev", "first", "last"];
/// Shares of `percentile`, and how columns are named by them.
pub const SHARES: [(&str, &str); 8] = [
    ("0", "0"),
    ("0.05", "5"),
    ("0.25", "25"),
    ("0.5", "50"),
    ("0.95", "95"),
    ("0.999", "99.9"),
    ("1", "100"),
    ("5e-1", "50"),
];
pub const PARTS: [&str; 4] = ["hourOfDay", "dayOfWeek", "dayOfMonth", "monthOfYear"];

/// A field, or a path in a JSON field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub field: String,
    pub path: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    Field(Place),
    Bucket {
        field: String,
        unit: Unit,
        step: i64,
    },
    Part {
        field: String,
        part: String,
    },
    /// A group key made of a field's values.
    Made(Box<Made>),
    /// `share` is the text that a `p` is known by.
    Aggregate {
        kind: String,
        share: Option<(f64, String)>,
        of: Option<Place>,
        filter: Option<Filter>,
    },
    Formula(Formula),
}

/// `unnest`, `bin` and `top` of a group key.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    pub place: Place,
    /// The path into the elements.
    pub unnest: Option<Vec<String>>,
    /// Width and offset.
    pub bin: Option<(String, String)>,
    pub top: Option<Top>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Top {
    pub limit: usize,
    pub by: Column,
    pub other: Option<String>,
}

/// Which buckets are added: of this key, from a millisecond to before another.
#[derive(Clone, Debug)]
pub struct Fill {
    pub key: Column,
    pub from: Option<i64>,
    pub to: Option<i64>,
}

/// An output column, or one that only the order and formulas know.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    pub column: Column,
    pub shown: bool,
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
            Column::Bucket { field, unit, .. } => format!("{field}_{}", unit.name()),
            Column::Part { field, part } => format!("{field}_{part}"),
            Column::Made(made) => made.place.name(),
            Column::Aggregate { kind, share, of, .. } => {
                let kind = share.as_ref().map_or(kind.clone(), |(_, percent)| format!("p{percent}"));
                of.as_ref().map_or(kind.clone(), |place| format!("{kind}_{}", place.name()))
            }
            Column::Formula(_) => String::new(),
        }
    }

    /// Whether its value is not the same to the last bit wherever it is computed.
    pub fn is_inexact(&self) -> bool {
        match self {
            Column::Aggregate { kind, .. } => kind == "stddev",
            Column::Formula(formula) => formula.columns().iter().any(|column| column.is_inexact()),
            _ => false,
        }
    }

    fn parse_aggregate(view: &View, name: &str) -> Result<Column, String> {
        let (kind, of) = match name.split_once('_') {
            Some((kind, rest)) => (kind, Some(Place::parse(view, rest)?)),
            None => (name, None),
        };
        if !AGGREGATIONS.contains(&kind) {
            return Err(format!("no aggregation {kind}"));
        }
        aggregate(view, kind, None, of)
    }
}

fn aggregate(view: &View, kind: &str, share: Option<(f64, String)>, of: Option<Place>) -> Result<Column, String> {
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
        "countDistinct" | "first" | "last" => of.is_some(),
        "sum" | "avg" | "min" | "max" | "median" | "stddev" | "percentile" => numeric,
        _ => false,
    };
    if !allowed || share.is_some() != (kind == "percentile") {
        return Err(format!("{kind} of {of:?}"));
    }
    Ok(Column::Aggregate { kind: kind.to_string(), share, of, filter: None })
}

#[derive(Clone, Debug, PartialEq)]
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
    pub columns: Vec<Named>,
    /// Group keys in the order that breaks ties.
    pub keys: Vec<Column>,
    pub grouped: bool,
    pub filter: Option<Filter>,
    pub fill: Option<Fill>,
    pub having: Option<Having>,
    pub nulls: bool,
    pub lists_columns: bool,
    pub totals: bool,
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

/// The same expression under the same name appears once.
fn add(columns: &mut Vec<Named>, one: Named) {
    match columns.iter_mut().find(|other| other.name == one.name && other.column == one.column) {
        Some(same) => same.shown |= one.shown,
        None => columns.push(one),
    }
}

impl Request {
    pub fn parse(view: &'static View, body: &Value) -> Result<Request, String> {
        let zone = match body.given("timeZone").and_then(Value::as_str) {
            None => chrono_tz::UTC,
            Some(name) => name.parse().map_err(|_| format!("no zone {name}"))?,
        };
        let mut columns: Vec<Named> = Vec::new();
        let mut keys = Vec::new();
        let mut selected_fields = Vec::new();
        let mut formulas = Vec::new();
        let mut fill = None;
        let mut grouped = false;
        for selection in list(body, "select") {
            let shown = selection.given("includeInSelect") != Some(&Value::Bool(false));
            let name = selection.given("as").and_then(Value::as_str);
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
                    grouped = true;
                    let name = required_text(selection, "timeUnit")?;
                    let key = if PARTS.contains(&name) {
                        Column::Part { field: field.to_string(), part: name.to_string() }
                    } else {
                        let unit = Unit::parse(name).ok_or("no such unit")?;
                        let step = whole_number(selection, "step")?.unwrap_or(1) as i64;
                        let whole = match unit {
                            Unit::Minute => 60,
                            Unit::Hour => 24,
                            _ => 1,
                        };
                        if whole % step.max(1) != 0 || step < 1 {
                            return Err(format!("step {step}"));
                        }
                        Column::Bucket { field: field.to_string(), unit, step }
                    };
                    if !keys.contains(&key) {
                        keys.push(key.clone());
                    }
                    match selection.given("fill") {
                        None | Some(Value::Bool(false)) => {}
                        Some(_) if fill.is_some() => return Err("a second fill".to_string()),
                        Some(given) => fill = Some(parse_fill(given, &key, body.given("where"), zone)?),
                    }
                    key
                }
                "aggregation" => {
                    grouped = true;
                    let of = if selection.given("field").is_some() { Some(place(view, selection)?) } else { None };
                    let share = match selection.given("p") {
                        None => None,
                        Some(Value::Number(token)) => {
                            let (_, percent) = SHARES.iter().find(|(share, _)| share == token).ok_or("p")?;
                            Some((token.parse::<f64>().map_err(|_| "p")?, percent.to_string()))
                        }
                        Some(_) => return Err("p".to_string()),
                    };
                    let mut column = aggregate(view, required_text(selection, "aggregation")?, share, of)?;
                    if let (Column::Aggregate { filter, .. }, Some(given)) = (&mut column, selection.given("filter")) {
                        *filter = Some(parse_filter(view, given, zone)?);
                    }
                    column
                }
                "formula" => {
                    grouped = true;
                    let text = required_text(selection, "formula")?;
                    // Its names are known once all of `select` is read.
                    formulas.push((columns.len(), text.to_string()));
                    columns.push(Named {
                        name: name.unwrap_or(text.trim()).to_string(),
                        column: Column::Formula(Formula::Number(0.0)),
                        shown,
                    });
                    continue;
                }
                other => return Err(format!("selection type {other}")),
            };
            let name = name.map_or_else(|| column.name(), str::to_string);
            add(&mut columns, Named { name, column, shown });
        }
        let operands = columns.clone();
        for (place, text) in formulas {
            columns[place].column = Column::Formula(formula::parse(&text, &operands)?);
        }
        let selected = columns.len();
        let mut hidden_keys = Vec::new();
        for element in list(body, "groupBy") {
            grouped = true;
            let place = place(view, element)?;
            let key = match made(view, element, &place, &columns)? {
                Some(made) => Column::Made(Box::new(made)),
                None => Column::Field(place),
            };
            let name = element.given("as").and_then(Value::as_str).map_or_else(|| key.name(), str::to_string);
            if element.given("includeInSelect") == Some(&Value::Bool(false)) {
                hidden_keys.push(Named { name, column: key.clone(), shown: false });
            } else if !is_shown_by_selection(&key, &keys, &selected_fields) {
                // What `select` has of that name is the first key of the field.
                if columns.iter().take(selected).any(|one| one.name == name) {
                    return Err(format!("two columns {name}"));
                }
                add(&mut columns, Named { name, column: key.clone(), shown: true });
            }
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        // A field selection means the first key of that field.
        for field in &selected_fields {
            let is_of = |key: &&Column| match (key, field) {
                (Column::Made(made), Column::Field(place)) => made.place == *place,
                (key, field) => *key == field,
            };
            match keys.iter().find(is_of) {
                None if grouped => return Err(format!("{} is no group key", field.name())),
                Some(key) if grouped => {
                    columns
                        .iter_mut()
                        .take(selected)
                        .filter(|one| one.column == *field)
                        .for_each(|one| one.column = key.clone());
                }
                _ => {}
            }
        }
        if !grouped && columns.is_empty() {
            columns = view.fields[..view.published]
                .iter()
                .map(|(field, _)| Column::Field(Place { field: field.to_string(), path: Vec::new() }))
                .map(|column| Named { name: column.name(), column, shown: true })
                .collect();
        }
        if !columns.iter().any(|named| named.shown) {
            return Err("no column".to_string());
        }
        // Two columns of one name are an error; a key that is not shown may not clash either, to be on the safe side.
        let mut named: Vec<Named> = columns.clone();
        named.extend(hidden_keys);
        for key in &keys {
            if !named.iter().any(|named| named.name == key.name()) {
                named.push(Named { name: key.name(), column: key.clone(), shown: false });
            }
        }
        for (place, one) in named.iter().enumerate() {
            if named[..place].iter().any(|other| other.name == one.name && other.column != one.column) {
                return Err(format!("two columns {}", one.name));
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
            let known = named.iter().find(|column| column.name == name).map(|named| named.column.clone());
            let column = match known {
                Some(column) => column,
                None if grouped => Column::parse_aggregate(view, name)?,
                None => Column::Field(Place::parse(view, name)?),
            };
            order.push((column, descending));
        }
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
            filter: body.given("where").map(|filter| parse_filter(view, filter, zone)).transpose()?,
            fill,
            having: match body.given("having") {
                None => None,
                Some(_) if !grouped => return Err("having without groups".to_string()),
                Some(having) => Some(having::parse(view, having, &columns, zone)?),
            },
            nulls: body.given("nulls") == Some(&Value::Bool(true)),
            lists_columns: body.given("columns") == Some(&Value::Bool(true)),
            totals: body.given("totals") == Some(&Value::Bool(true)),
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

fn parse_filter(view: &View, value: &Value, zone: Tz) -> Result<Filter, String> {
    let Value::Object(pairs) = value else { return Err("a filter is an object".to_string()) };
    let given: Vec<&(String, Value)> = pairs.iter().filter(|(_, value)| *value != Value::Null).collect();
    let [(key, value)] = given[..] else { return Err("exactly one of condition, and, or".to_string()) };
    let parts = |value: &Value| -> Result<Vec<Filter>, String> {
        value.as_array().ok_or("a list is needed")?.iter().map(|part| parse_filter(view, part, zone)).collect()
    };
    match key.as_str() {
        "and" => Ok(Filter::And(parts(value)?)),
        "or" => Ok(Filter::Or(parts(value)?)),
        "condition" => parse_condition(view, value, zone),
        other => Err(format!("filter key {other}")),
    }
}

/// The path form: an object of `path`, a list of strings, and at most `value`.
fn path_form(value: &Value) -> Option<(Vec<String>, Option<Value>)> {
    let Value::Object(pairs) = value else { return None };
    let path = strings(value.get("path")?.as_array()?).ok()?;
    pairs.iter().all(|(key, _)| key == "path" || key == "value").then(|| (path, value.get("value").cloned()))
}

fn parse_condition(view: &View, condition: &Value, zone: Tz) -> Result<Filter, String> {
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
    // Times are compared as numbers of milliseconds.
    let value = match (kind, value) {
        (Kind::Time, Value::Array(elements)) => Value::Array(elements.iter().map(|one| as_millis(one, zone)).collect()),
        (Kind::Time, value) => as_millis(&value, zone),
        (_, value) => value,
    };
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
        (Kind::Time, value) => query_time(value, chrono_tz::UTC).is_some(),
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
pub fn query_time(value: &Value, zone: Tz) -> Option<String> {
    match value {
        Value::String(text) => time::parse_query_time(text, zone),
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

/// Whether a field selection shows the key: it means the first one of its field.
fn is_shown_by_selection(key: &Column, before: &[Column], selected_fields: &[Column]) -> bool {
    let place = |key: &Column| match key {
        Column::Field(place) => Some(place.clone()),
        Column::Made(made) => Some(made.place.clone()),
        _ => None,
    };
    let first = before.iter().find(|other| place(other) == place(key)).unwrap_or(key);
    first == key && place(key).is_some_and(|place| selected_fields.contains(&Column::Field(place)))
}

/// What makes a group key more than a field.
fn made(view: &View, element: &Value, place: &Place, columns: &[Named]) -> Result<Option<Made>, String> {
    let kind = view.kind_of(&place.field)?;
    let at_path = !place.path.is_empty();
    let unnest = match element.given("unnest") {
        None | Some(Value::Bool(false)) => None,
        Some(Value::Bool(true)) => Some(Vec::new()),
        Some(path) => Some(strings(path.as_array().ok_or("unnest")?)?),
    };
    if let Some(path) = &unnest {
        let fits = match kind {
            Kind::List => path.is_empty(),
            Kind::Json => at_path,
            Kind::JsonList => true,
            _ => false,
        };
        if !fits {
            return Err(format!("unnest of {place:?}"));
        }
    }
    let decimal = |value: Option<&Value>| match value {
        Some(Value::Number(token)) => Ok(token.clone()),
        other => Err(format!("bin {other:?}")),
    };
    let bin = match element.given("bin") {
        None => None,
        Some(bin) => {
            let fits = match kind {
                Kind::Count => true,
                Kind::Json | Kind::JsonList => at_path || unnest.is_some(),
                Kind::List => unnest.is_some(),
                _ => false,
            };
            let offset = bin.given("offset").map_or(Ok("0".to_string()), |offset| decimal(Some(offset)))?;
            let width = decimal(bin.given("width"))?;
            if !fits || number::compare(&width, "0").is_le() {
                return Err(format!("bin of {place:?}"));
            }
            Some((width, offset))
        }
    };
    let is_text = bin.is_none() && (unnest.is_some() || kind == Kind::Text || kind.is_json() && at_path);
    let top = match element.given("top") {
        None => None,
        Some(top) => {
            let limit = whole_number(top, "limit")?.filter(|limit| (1..=1_000).contains(limit)).ok_or("limit")?;
            let other = top.given("other").and_then(Value::as_str).map(str::to_string);
            if other.is_some() && !is_text {
                return Err("a label".to_string());
            }
            let by = match top.given("by").and_then(Value::as_str) {
                None => Column::parse_aggregate(view, "count")?,
                Some(name) => {
                    let calculated =
                        |named: &&Named| matches!(named.column, Column::Aggregate { .. } | Column::Formula(_));
                    match columns.iter().filter(calculated).find(|named| named.name == name) {
                        Some(Named { column: Column::Aggregate { kind, .. }, .. })
                            if kind == "first" || kind == "last" =>
                        {
                            return Err(format!("a rank by {name}"));
                        }
                        Some(named) => named.column.clone(),
                        None => Column::parse_aggregate(view, name)?,
                    }
                }
            };
            if by.is_inexact() {
                return Err("a rank that is not exact".to_string());
            }
            Some(Top { limit, by, other })
        }
    };
    let made = Made { place: place.clone(), unnest, bin, top };
    Ok((made.unnest.is_some() || made.bin.is_some() || made.top.is_some()).then_some(made))
}

fn parse_fill(given: &Value, key: &Column, filter: Option<&Value>, zone: Tz) -> Result<Fill, String> {
    let instant = |value: &Value, up: bool, more: i64| -> Option<i64> {
        let exact = query_time(value, zone)?.parse::<BigDecimal>().ok()?;
        let mode = if up { RoundingMode::Ceiling } else { RoundingMode::Floor };
        exact.with_scale_round(0, mode).to_i64().map(|millis| millis + more)
    };
    let fill = Fill { key: key.clone(), from: None, to: None };
    let Column::Bucket { field, .. } = key else {
        return if *given == Value::Bool(true) { Ok(fill) } else { Err("fill".to_string()) };
    };
    if *given != Value::Bool(true) {
        let end = |key: &str| given.given(key).and_then(|end| instant(end, true, 0)).ok_or("fill");
        let (from, to) = (end("from")?, end("to")?);
        return if from < to { Ok(Fill { from: Some(from), to: Some(to), ..fill }) } else { Err("fill".to_string()) };
    }
    let conditions: Vec<&Value> = match (filter.and_then(|filter| filter.given("condition")), filter) {
        (Some(condition), _) => vec![condition],
        (None, Some(filter)) => list(filter, "and").iter().filter_map(|part| part.given("condition")).collect(),
        (None, None) => Vec::new(),
    };
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for condition in conditions {
        let Some(value) = condition.given("value") else { continue };
        if condition.given("field").and_then(Value::as_str) != Some(field) {
            continue;
        }
        match condition.given("operator").and_then(Value::as_str) {
            Some("gte") => from.extend(instant(value, true, 0)),
            Some("gt") => from.extend(instant(value, false, 1)),
            Some("lt") => to.extend(instant(value, true, 0)),
            Some("lte") => to.extend(instant(value, false, 1)),
            _ => {}
        }
    }
    Ok(Fill { from: from.into_iter().max(), to: to.into_iter().min(), ..fill })
}

fn as_millis(value: &Value, zone: Tz) -> Value {
    query_time(value, zone).map_or(value.clone(), Value::Number)
}
