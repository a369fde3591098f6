//! Answers a request by walking over every document (contract A3).

use std::cmp::Ordering;
use std::collections::HashMap;

use super::folding::fold;
use super::having::{Shows, shows};
use super::json::{self, Value};
use super::number;
use super::request::{Column, Filter, Named, Place, Request};
use super::time;
use super::views::{Kind, Record};

/// One value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Text(String),
    Count(i64),
    /// Epoch milliseconds, shown as text.
    Time(i64),
    Flag(bool),
    List(Vec<String>),
    /// A whole JSON field.
    Json(Value),
    /// A result of `sum`, `avg`, `min` or `max`; None = no input.
    Double(Option<f64>),
    /// The same to about 1e-9 of it.
    Near(f64),
}

#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// More rows than may be filled: the server is to refuse it, and nothing else here counts.
    pub refused: bool,
    /// (column name, value), what is left out included as `Double(None)`.
    pub rows: Vec<Vec<(String, Cell)>>,
    /// Where they are asked for (contract A5).
    pub totals: Option<Vec<(String, Cell)>>,
    /// (name, type), where they are asked for.
    pub columns: Option<Vec<(String, &'static str)>>,
    pub total: usize,
    pub page_size: usize,
}

/// The rows of those `documents` that the key may see.
pub fn answer(documents: &[&Record], request: &Request) -> Answer {
    let matching: Vec<&Record> = documents
        .iter()
        .copied()
        .filter(|record| request.filter.as_ref().is_none_or(|filter| matches(record, filter)))
        .filter(|record| has_words(record, request))
        .collect();
    let groups = if request.grouped {
        match filled(group(&matching, &request.keys, request), request) {
            Some(groups) => groups,
            None => return Answer { refused: true, ..Answer::default() },
        }
    } else {
        matching.iter().map(|one| Group { keys: Vec::new(), members: vec![*one] }).collect()
    };
    let kept = groups.iter().filter(|group| {
        let value = |column: &Column| group_value(group, column, request);
        request.having.as_ref().is_none_or(|having| having.truth(&value) == Some(true))
    });
    let mut rows: Vec<Row> = kept.map(|group| Row::of(group, request)).collect();
    rows.sort_by(|left, right| left.compare(right, request));
    let total = rows.len();
    let rows = rows.into_iter().skip(request.offset).take(request.limit).map(|row| row.shown).collect();
    let totals = request.totals.then(|| {
        let named = request.columns.iter().filter(|named| named.shown);
        let over_all = named.filter(|named| matches!(named.column, Column::Aggregate { .. } | Column::Formula(_)));
        let all = Group { keys: Vec::new(), members: matching.clone() };
        let value = |named: &Named| shown(&named.column, group_value(&all, &named.column, request), request);
        over_all.map(|named| (named.name.clone(), value(named))).collect()
    });
    let columns = request.lists_columns.then(|| {
        let named = request.columns.iter().filter(|named| named.shown);
        named.map(|named| (named.name.clone(), type_of(&named.column, request))).collect()
    });
    Answer { refused: false, rows, totals, columns, total, page_size: request.limit }
}

/// As an answer's list of columns names it.
fn type_of(column: &Column, request: &Request) -> &'static str {
    match shows(request.view, column) {
        Shows::Number => "number",
        Shows::Text => "string",
        Shows::Flag => "boolean",
        Shows::Time => "time",
        Shows::Other => {
            let field = match column {
                Column::Field(place) | Column::Aggregate { of: Some(place), .. } => &place.field,
                Column::Made(made) => &made.place.field,
                other => panic!("{other:?}"),
            };
            if request.view.kind_of(field) == Ok(Kind::List) { "list" } else { "json" }
        }
    }
}

/// What a group shows in a column.
fn group_value(group: &Group, column: &Column, request: &Request) -> Cell {
    let members = &group.members;
    match column {
        Column::Aggregate { kind, share, of, filter } => {
            let counted: Vec<&Record> = members
                .iter()
                .copied()
                .filter(|record| filter.as_ref().is_none_or(|filter| matches(record, filter)))
                .collect();
            let share = share.as_ref().map(|(share, _)| *share);
            aggregate(&counted, kind, share, of.as_ref(), request)
        }
        Column::Formula(formula) => {
            let value = formula.value(&|column| match group_value(group, column, request) {
                Cell::Count(count) => Some(count as f64),
                Cell::Double(double) => double,
                Cell::Near(double) => Some(double),
                other => panic!("no number: {other:?}"),
            });
            match value {
                Some(value) if column.is_inexact() => Cell::Near(value),
                value => Cell::Double(value),
            }
        }
        key if request.grouped => match &group.keys.iter().find(|(column, _)| column == key).expect("a key").1 {
            // A grouped JSON field shows the jsonb value, not one row's spelling of it.
            Cell::Json(value) => Cell::Json(json::canonical(value)),
            other => other.clone(),
        },
        key => row_value(members[0], key, request),
    }
}

/// Rows with equal keys.
struct Group<'a> {
    /// The keys' values, with their columns.
    keys: Vec<(Column, Cell)>,
    members: Vec<&'a Record>,
}

/// The groups of equal keys; without keys one group, even if it is empty. A row is in one for each combination of what
/// its keys are.
fn group<'a>(matching: &[&'a Record], keys: &[Column], request: &Request) -> Vec<Group<'a>> {
    if keys.is_empty() {
        return vec![Group { keys: Vec::new(), members: matching.to_vec() }];
    }
    let tops: Vec<Option<Vec<String>>> = keys.iter().map(|key| top(matching, key, request)).collect();
    let mut groups: HashMap<String, Group> = HashMap::new();
    for record in matching {
        let mut combinations: Vec<Vec<Cell>> = vec![Vec::new()];
        for (key, top) in keys.iter().zip(&tops) {
            let values = key_values(record, key, top.as_deref(), request);
            let longer = |one: &Vec<Cell>| {
                let one = one.clone();
                values.iter().map(move |value| one.iter().cloned().chain([value.clone()]).collect()).collect::<Vec<_>>()
            };
            combinations = combinations.iter().flat_map(longer).collect();
        }
        for cells in combinations {
            let new = || Group { keys: keys.iter().cloned().zip(cells.clone()).collect(), members: Vec::new() };
            groups.entry(identity(&cells)).or_insert_with(new).members.push(record);
        }
    }
    groups.into_values().collect()
}

/// The distinct values that a row has of a key.
fn key_values(record: &Record, key: &Column, top: Option<&[String]>, request: &Request) -> Vec<Cell> {
    let Column::Made(made) = key else { return vec![row_value(record, key, request)] };
    let mut values: Vec<Cell> = match &made.unnest {
        None => vec![value_at(record, &made.place)],
        Some(path) => elements(record, &made.place)
            .iter()
            .filter_map(|element| json::text(json::at_path(element, path)?).map(Cell::Text))
            .collect(),
    };
    if let Some((width, offset)) = &made.bin {
        for value in &mut values {
            let text = match value {
                Cell::Text(text) => Some(text.clone()),
                Cell::Count(count) => Some(count.to_string()),
                _ => None,
            };
            let bound = text.and_then(|text| number::lower_bound(&text, width, offset));
            *value = bound.map_or(Cell::Null, |bound| Cell::Double(Some(bound)));
        }
    }
    if let (Some(top), Some(asked)) = (top, &made.top) {
        let is_top = |value: &Cell| top.contains(&identity(std::slice::from_ref(value)));
        values = match &asked.other {
            None => values.into_iter().filter(is_top).collect(),
            Some(label) => {
                let label = Cell::Text(label.clone());
                values.into_iter().map(|value| if is_top(&value) { value } else { label.clone() }).collect()
            }
        };
    }
    let mut seen = Vec::new();
    values.retain(|value| {
        let identity = identity(std::slice::from_ref(value));
        let new = !seen.contains(&identity);
        seen.push(identity);
        new
    });
    values
}

/// What a row counts in: a text, a number or a boolean is a list of itself, an object is none.
fn elements(record: &Record, place: &Place) -> Vec<Value> {
    let value = if place.path.is_empty() {
        match record.cell(&place.field) {
            Cell::List(list) => Some(Value::Array(list.iter().cloned().map(Value::String).collect())),
            _ => record.json(&place.field).cloned(),
        }
    } else {
        json_at(record, place).cloned()
    };
    match value {
        Some(Value::Array(elements)) => elements,
        None | Some(Value::Null | Value::Object(_)) => Vec::new(),
        Some(single) => vec![single],
    }
}

/// The values that rank highest among all rows, by their identities.
fn top(matching: &[&Record], key: &Column, request: &Request) -> Option<Vec<String>> {
    let Column::Made(made) = key else { return None };
    let asked = made.top.as_ref()?;
    let mut alone = (**made).clone();
    alone.top = None;
    let alone = Column::Made(Box::new(alone));
    let groups = group(matching, std::slice::from_ref(&alone), request);
    let mut ranked: Vec<(Cell, Cell)> =
        groups.iter().map(|group| (group_value(group, &asked.by, request), group.keys[0].1.clone())).collect();
    ranked.sort_by(|left, right| {
        compare_nulls_last(&left.0, &right.0, true).then_with(|| compare_nulls_last(&left.1, &right.1, false))
    });
    Some(ranked.into_iter().take(asked.limit).map(|(_, value)| identity(&[value])).collect())
}

const MOST_FILLED: usize = 100_000;

/// With the buckets that have no rows; None if they are too many.
fn filled<'a>(mut groups: Vec<Group<'a>>, request: &Request) -> Option<Vec<Group<'a>>> {
    let Some(fill) = &request.fill else { return Some(groups) };
    if groups.len() > MOST_FILLED {
        return None;
    }
    let place = request.keys.iter().position(|key| *key == fill.key).expect("a key");
    let number = |cell: &Cell| match cell {
        Cell::Time(at) => Some(*at),
        Cell::Count(count) => Some(*count),
        Cell::Null => None,
        other => panic!("{other:?} is filled"),
    };
    let present: Vec<i64> = groups.iter().filter_map(|group| number(&group.keys[place].1)).collect();
    let (buckets, cell): (Vec<i64>, fn(i64) -> Cell) = match &fill.key {
        Column::Part { part, .. } => {
            let (first, last) = match part.as_str() {
                "hourOfDay" => (0, 23),
                "dayOfWeek" => (1, 7),
                "dayOfMonth" => (1, 31),
                _ => (1, 12),
            };
            (if groups.is_empty() { Vec::new() } else { (first..=last).collect() }, Cell::Count)
        }
        Column::Bucket { unit, step, .. } => {
            let start = |at: i64| time::bucket(at, *unit, *step, request.zone, request.week_start);
            let first = fill.from.map(start).or(present.iter().min().copied());
            let last = fill.to.map(|to| start(to - 1)).or(present.iter().max().copied());
            let contradictory = fill.from.zip(fill.to).is_some_and(|(from, to)| from >= to);
            match (first, last) {
                (Some(first), Some(last)) if !contradictory => {
                    (time::buckets(first, last, *unit, *step, request.zone, MOST_FILLED + 1), Cell::Time)
                }
                _ => (Vec::new(), Cell::Time),
            }
        }
        other => panic!("{other:?} is filled"),
    };
    let others = |group: &Group| -> Vec<(Column, Cell)> {
        let mut keys = group.keys.clone();
        keys.remove(place);
        keys
    };
    let mut combinations: HashMap<String, (Vec<(Column, Cell)>, Vec<i64>)> = HashMap::new();
    if request.keys.len() == 1 {
        combinations.insert(String::new(), (Vec::new(), Vec::new()));
    }
    for group in &groups {
        let others = others(group);
        let cells: Vec<Cell> = others.iter().map(|(_, cell)| cell.clone()).collect();
        let name = if cells.is_empty() { String::new() } else { identity(&cells) };
        combinations.entry(name).or_insert((others, Vec::new())).1.extend(number(&group.keys[place].1));
    }
    for (others, present) in combinations.into_values() {
        let present: std::collections::HashSet<i64> = present.into_iter().collect();
        for bucket in buckets.iter().filter(|bucket| !present.contains(bucket)) {
            let mut keys = others.clone();
            keys.insert(place, (fill.key.clone(), cell(*bucket)));
            groups.push(Group { keys, members: Vec::new() });
            if groups.len() > MOST_FILLED {
                return None;
            }
        }
    }
    Some(groups)
}

/// A text that is the same exactly for equal values.
fn identity(cells: &[Cell]) -> String {
    let canonical: Vec<Cell> = cells
        .iter()
        .map(|cell| match cell {
            Cell::Json(value) => Cell::Json(json::canonical(value)),
            other => other.clone(),
        })
        .collect();
    format!("{canonical:?}")
}

/// A view's own way with null and with whole JSON fields (contract A4).
fn shown(column: &Column, cell: Cell, request: &Request) -> Cell {
    let place = match column {
        Column::Field(place) => place,
        Column::Made(made) if made.unnest.is_none() && made.bin.is_none() => &made.place,
        Column::Aggregate { kind, of: Some(place), .. } if kind == "first" || kind == "last" => place,
        _ if request.nulls && matches!(cell, Cell::Double(None)) => return Cell::Null,
        _ => return cell,
    };
    match cell {
        Cell::Null if matches!(column, Column::Aggregate { .. }) && !request.nulls => Cell::Double(None),
        Cell::Null if request.nulls => Cell::Null,
        Cell::Null if place.path.is_empty() && request.view.left_out.contains(&place.field.as_str()) => {
            Cell::Double(None)
        }
        Cell::Json(Value::Object(pairs)) if request.view.shows_texts => {
            let texts = pairs.iter().filter_map(|(key, value)| Some((key.clone(), Value::String(json::text(value)?))));
            Cell::Json(Value::Object(texts.collect()))
        }
        other => other,
    }
}

/// Whether each word is in the question or in the answer.
fn has_words(record: &Record, request: &Request) -> bool {
    let Some(fields) = request.view.searched else { return true };
    let texts: Vec<String> = fields.into_iter().filter_map(|field| record.text(field)).map(fold).collect();
    request.words.iter().all(|word| texts.iter().any(|text| text.contains(word)))
}

struct Row {
    shown: Vec<(String, Cell)>,
    order: Vec<Cell>,
    /// Group keys, or the ungrouped order's time and ids.
    ties: Vec<Cell>,
}

impl Row {
    fn of(group: &Group, request: &Request) -> Row {
        let value = |column: &Column| group_value(group, column, request);
        let ties = if request.grouped {
            request.keys.iter().map(value).collect()
        } else {
            let one = group.members[0];
            vec![
                match one.cell(request.view.default_time) {
                    Cell::Time(at) => Cell::Time(-at),
                    other => panic!("no time: {other:?}"),
                },
                one.cell("id").clone(),
                one.cell("projectId").clone(),
                one.cell("organizationId").clone(),
            ]
        };
        Row {
            shown: request
                .columns
                .iter()
                .filter(|named| named.shown)
                .map(|named| (named.name.clone(), shown(&named.column, value(&named.column), request)))
                .collect(),
            order: request.order.iter().map(|(column, _)| value(column)).collect(),
            ties,
        }
    }

    fn compare(&self, other: &Row, request: &Request) -> Ordering {
        let asked = self.order.iter().zip(&other.order).zip(&request.order);
        let asked = asked.map(|((left, right), (_, descending))| compare_nulls_last(left, right, *descending));
        let ties = self.ties.iter().zip(&other.ties).map(|(left, right)| compare_nulls_last(left, right, false));
        asked.chain(ties).find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal)
    }
}

fn compare_nulls_last(left: &Cell, right: &Cell, descending: bool) -> Ordering {
    let is_null = |cell: &Cell| matches!(cell, Cell::Null | Cell::Double(None));
    match (is_null(left), is_null(right)) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let order = compare(left, right);
            if descending { order.reverse() } else { order }
        }
    }
}

fn compare(left: &Cell, right: &Cell) -> Ordering {
    match (left, right) {
        (Cell::Text(left), Cell::Text(right)) => left.chars().cmp(right.chars()),
        (Cell::Count(left), Cell::Count(right)) | (Cell::Time(left), Cell::Time(right)) => left.cmp(right),
        (Cell::Flag(left), Cell::Flag(right)) => left.cmp(right),
        // As PostgreSQL's text[]: element by element, then by length.
        (Cell::List(left), Cell::List(right)) => left.cmp(right),
        (Cell::Json(left), Cell::Json(right)) => json::compare(left, right),
        (Cell::Double(Some(left)), Cell::Double(Some(right))) => left.partial_cmp(right).expect("no NaN"),
        _ => panic!("values of two kinds in one column: {left:?} {right:?}"),
    }
}

/// A document's value in a column that is no aggregate.
fn row_value(record: &Record, column: &Column, request: &Request) -> Cell {
    match column {
        Column::Field(place) => value_at(record, place),
        Column::Bucket { field, unit, step } => match *record.cell(field) {
            Cell::Time(at) => Cell::Time(time::bucket(at, *unit, *step, request.zone, request.week_start)),
            ref other => panic!("{field} is no time: {other:?}"),
        },
        Column::Part { field, part } => match *record.cell(field) {
            Cell::Time(at) => Cell::Count(time::part(at, part, request.zone)),
            ref other => panic!("{field} is no time: {other:?}"),
        },
        Column::Made(_) => panic!("a key that a row may have several values of"),
        Column::Aggregate { .. } | Column::Formula(_) => panic!("an aggregate of one row"),
    }
}

fn value_at(record: &Record, place: &Place) -> Cell {
    if place.path.is_empty() {
        return record.cell(&place.field).clone();
    }
    json_at(record, place).and_then(json::text).map_or(Cell::Null, Cell::Text)
}

/// The JSON value at a path, null counting as absent.
fn json_at<'a>(record: &'a Record, place: &Place) -> Option<&'a Value> {
    json::at_path(record.json(&place.field)?, &place.path).filter(|value| **value != Value::Null)
}

fn aggregate(members: &[&Record], kind: &str, share: Option<f64>, of: Option<&Place>, request: &Request) -> Cell {
    let Some(place) = of else { return Cell::Count(members.len() as i64) };
    if kind == "first" || kind == "last" {
        let order = |record: &&&Record| {
            let time = match record.cell(request.view.default_time) {
                Cell::Time(at) => *at,
                other => panic!("no time: {other:?}"),
            };
            let text = |field| record.text(field).unwrap_or_default().to_string();
            (time, text("id"), text("projectId"), text("organizationId"))
        };
        let present = members.iter().filter(|record| value_at(record, place) != Cell::Null);
        let chosen = if kind == "first" { present.min_by_key(order) } else { present.max_by_key(order) };
        return chosen.map_or(Cell::Null, |record| value_at(record, place));
    }
    if kind == "count" || kind == "countDistinct" {
        let values = members.iter().map(|record| value_at(record, place)).filter(|value| *value != Cell::Null);
        let mut identities: Vec<String> = values.map(|value| identity(&[value])).collect();
        if kind == "countDistinct" {
            identities.sort();
            identities.dedup();
        }
        return Cell::Count(identities.len() as i64);
    }
    let inputs: Vec<f64> = members.iter().filter_map(|record| numeric(record, place)).collect();
    if inputs.is_empty() {
        return Cell::Double(None);
    }
    Cell::Double(match kind {
        "min" => inputs.iter().copied().reduce(f64::min),
        "max" => inputs.iter().copied().reduce(f64::max),
        "sum" => number::exact_sum(&inputs),
        "avg" => number::exact_sum(&inputs).map(|sum| sum / inputs.len() as f64),
        "median" => Some(percentile(inputs, 0.5)),
        "percentile" => Some(percentile(inputs, share.expect("a share"))),
        "stddev" => return number::deviation(&inputs).map_or(Cell::Double(None), Cell::Near),
        other => panic!("no aggregation {other}"),
    })
}

/// PostgreSQL's `percentile_cont`.
fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = share * (values.len() - 1) as f64;
    let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
    low + (place - place.floor()) * (high - low)
}

/// What `sum`, `avg`, `min` and `max` take of a document.
fn numeric(record: &Record, place: &Place) -> Option<f64> {
    if place.path.is_empty() {
        return match record.cell(&place.field).clone() {
            Cell::Count(value) | Cell::Time(value) => Some(value as f64),
            Cell::Null => None,
            other => panic!("not numeric: {other:?}"),
        };
    }
    match json_at(record, place)? {
        Value::Number(token) => number::double(token),
        Value::String(text) => number::double_of_string(text),
        _ => None,
    }
}

pub fn matches(record: &Record, filter: &Filter) -> bool {
    match filter {
        Filter::And(parts) => parts.iter().all(|part| matches(record, part)),
        Filter::Or(parts) => parts.iter().any(|part| matches(record, part)),
        Filter::Condition { place, operator, value } => condition(record, place, operator, value),
    }
}

fn condition(record: &Record, place: &Place, operator: &str, literal: &Value) -> bool {
    let field_kind = record.view.kind_of(&place.field).expect("a checked field");
    let value = match field_kind {
        Kind::Json | Kind::JsonList => json_at(record, place).cloned(),
        _ => as_json(&record.cell(&place.field).clone()),
    };
    let equals = |literal: &Value| match &value {
        None => *literal == Value::Null,
        Some(value) => json::equal(value, literal),
    };
    let listed = || literal.as_array().expect("a checked list");
    match operator {
        "isNull" => return value.is_none(),
        "isNotNull" => return value.is_some(),
        "eq" => return equals(literal),
        "in" => return listed().iter().any(equals),
        _ => {}
    }
    // From here on an absent value satisfies nothing.
    let Some(value) = &value else { return false };
    let keys = || listed().iter().map(|key| key.as_str().expect("a checked key"));
    match operator {
        "neq" => !equals(literal),
        "notIn" => !listed().iter().any(equals),
        "gt" | "gte" | "lt" | "lte" => {
            let order = match (value, literal) {
                (Value::Number(left), Value::Number(right)) => number::compare(left, right),
                (Value::String(left), Value::String(right)) => left.chars().cmp(right.chars()),
                _ => return false,
            };
            match operator {
                "gt" => order.is_gt(),
                "gte" => order.is_ge(),
                "lt" => order.is_lt(),
                _ => order.is_le(),
            }
        }
        "arrayContains" => {
            let Value::Array(elements) = value else { return false };
            let holds = |wanted: &Value| elements.iter().any(|element| json::equal(element, wanted));
            match literal {
                Value::Array(wanted) => wanted.iter().all(holds),
                wanted => holds(wanted),
            }
        }
        "jsonContains" => json::contains(value, literal),
        "jsonContainedBy" => json::contains(literal, value),
        "jsonHasKey" => json::has_key(value, literal.as_str().expect("a checked key")),
        "jsonHasAnyKey" => keys().any(|key| json::has_key(value, key)),
        "jsonHasAllKeys" => keys().all(|key| json::has_key(value, key)),
        "jsonArrayContainsObject" => {
            value.as_array().is_some_and(|elements| elements.iter().any(|element| json::contains(element, literal)))
        }
        other => panic!("no operator {other}"),
    }
}

/// A plain value as the JSON that it is compared with.
fn as_json(cell: &Cell) -> Option<Value> {
    Some(match cell {
        Cell::Null | Cell::Double(_) | Cell::Near(_) => return None,
        Cell::Text(text) => Value::String(text.clone()),
        Cell::Count(value) | Cell::Time(value) => json::integer(*value),
        Cell::Flag(flag) => Value::Bool(*flag),
        Cell::List(elements) => Value::Array(elements.iter().cloned().map(Value::String).collect()),
        Cell::Json(value) => value.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::documents::{Documents, Identity, log_text};
    use super::super::views::CONVERSATIONS;
    use super::*;

    /// Five conversations, `a` to `e`, a day apart, newest first in the default order.
    fn documents() -> Documents {
        let mut documents = Documents::default();
        let identity = Identity { organization: "o".into(), project: Some("p".into()), integration: None };
        for (id, day, properties) in [
            ("a", 5, r#"{"plan":"pro","score":5,"tags":["x",{"k":1,"l":2},1.0],"n":0.1}"#),
            ("b", 4, r#"{"plan":"free","score":"5","n":0.2,"s":{"t":1.10}}"#),
            ("c", 3, r#"{"plan":null,"score":"x","n":"1e1","s":{"t":1.1}}"#),
            ("d", 2, r#"{"plan":"pro","score":5.0,"n":9007199254740993}"#),
            ("e", 1, "null"),
        ] {
            log_text(
                &mut documents,
                &identity,
                &format!(
                    r#"{{"id":"{id}","type":"openai","createdAt":"2024-01-0{day}","tags":{},"properties":{properties},
                    "messages":[{{"role":"user","content":"x"}}]}}"#,
                    if day > 3 { r#"["x","y"]"# } else { "null" }
                ),
            );
        }
        documents
    }

    fn ask(request: &str) -> Answer {
        let documents = documents();
        let records = documents.records();
        let visible: Vec<&Record> = records.iter().collect();
        let body = json::parse(request).unwrap_or_else(|error| panic!("{request}: {error}"));
        answer(&visible, &Request::parse(&CONVERSATIONS, &body).unwrap_or_else(|error| panic!("{request}: {error}")))
    }

    fn ids_where(condition: &str) -> String {
        let rows = ask(&format!(r#"{{"select":[{{"type":"field","field":"id"}}],"where":{condition}}}"#)).rows;
        let id = |row: &Vec<(String, Cell)>| match &row[0].1 {
            Cell::Text(id) => id.clone(),
            other => panic!("{other:?}"),
        };
        rows.iter().map(id).collect()
    }

    #[test]
    fn filters() {
        for (field, operator, value, expected) in [
            ("properties", "eq", r#"{"path":["score"],"value":5}"#, "ad"),
            ("properties", "eq", r#"{"path":["score"],"value":"5"}"#, "b"),
            ("properties", "neq", r#"{"path":["score"],"value":5}"#, "bc"),
            ("properties", "in", r#"{"path":["score"],"value":[5,null]}"#, "ade"),
            ("properties", "notIn", r#"{"path":["plan"],"value":["pro",null]}"#, "b"),
            ("properties", "notIn", r#"{"path":["plan"],"value":[]}"#, "abd"),
            ("properties", "in", r#"{"path":["plan"],"value":[]}"#, ""),
            ("properties", "isNull", r#"{"path":["plan"]}"#, "ce"),
            ("properties", "eq", r#"{"path":["plan"],"value":null}"#, "ce"),
            ("properties", "neq", r#"{"path":["plan"],"value":null}"#, "abd"),
            ("properties", "isNull", "7", "e"),
            ("properties", "gt", r#"{"path":["n"],"value":9007199254740992}"#, "d"),
            ("properties", "lte", r#"{"path":["n"],"value":0.2}"#, "ab"),
            ("properties", "gte", r#"{"path":["n"],"value":""}"#, "c"),
            ("properties", "arrayContains", r#"{"path":["tags"],"value":1}"#, "a"),
            ("properties", "arrayContains", r#"{"path":["tags"],"value":["x",1]}"#, "a"),
            ("properties", "arrayContains", r#"{"path":["tags"],"value":{"k":1}}"#, ""),
            ("properties", "jsonArrayContainsObject", r#"{"path":["tags"],"value":{"k":1}}"#, "a"),
            ("properties", "jsonContains", r#"{"s":{"t":1.100}}"#, "bc"),
            ("properties", "jsonHasKey", "\"plan\"", "abcd"),
            ("properties", "jsonHasAllKeys", "[]", "abcd"),
            ("properties", "jsonHasAnyKey", "[]", ""),
            ("properties", "jsonHasKey", r#"{"path":["plan"],"value":"pro"}"#, "ad"),
            ("properties", "jsonContainedBy", r#"{"path":["score"],"value":[5,6]}"#, "ad"),
            ("tags", "arrayContains", "[\"y\",\"x\"]", "ab"),
            ("tags", "arrayContains", "[]", "ab"),
            ("tags", "eq", "[\"x\",\"y\"]", "ab"),
            ("createdAt", "gt", "\"2024-01-04\"", "a"),
            ("createdAt", "eq", "\"2024-01-04T01:00:00+01:00\"", "b"),
            ("createdAt", "in", "[1704067200000,null]", "e"),
            ("id", "gte", "\"d\"", "de"),
            ("messageCount", "eq", "1.0", "abcde"),
            ("isEnd", "neq", "true", "abcde"),
            ("assignee", "notIn", "[]", ""),
        ] {
            let condition = format!(r#"{{"condition":{{"field":"{field}","operator":"{operator}","value":{value}}}}}"#);
            assert_eq!(ids_where(&condition), expected, "{condition}");
        }
        assert_eq!(ids_where(r#"{"and":[]}"#), "abcde");
        assert_eq!(ids_where(r#"{"or":[]}"#), "");
    }

    #[test]
    fn groups_and_sums() {
        let result = ask(r#"{"select":[{"type":"aggregation","aggregation":"count"},
                {"type":"aggregation","aggregation":"avg","field":"properties","path":["n"]},
                {"type":"aggregation","aggregation":"countDistinct","field":"properties","path":["score"]}],
                "groupBy":[{"field":"properties","path":["plan"]}],"orderBy":[{"field":"count","direction":"desc"}]}"#);
        let cells: Vec<Vec<Cell>> =
            result.rows.into_iter().map(|row| row.into_iter().map(|(_, cell)| cell).collect()).collect();
        let pro = (0.1 + 9007199254740992.0) / 2.0;
        assert_eq!(
            cells,
            vec![
                // 5 and 5.0 are two texts.
                vec![Cell::Count(2), Cell::Double(Some(pro)), Cell::Count(2), Cell::Text("pro".into())],
                // JSON null and no properties at all; the string 1e1 is a number to avg.
                vec![Cell::Count(2), Cell::Double(Some(10.0)), Cell::Count(1), Cell::Null],
                vec![Cell::Count(1), Cell::Double(Some(0.2)), Cell::Count(1), Cell::Text("free".into())],
            ]
        );
        // Equal counts: ties by the key ascending, nulls last; 1.10 and 1.1 are two texts but one jsonb value.
        let keys = |request: &str| -> Vec<Cell> { ask(request).rows.into_iter().map(|row| row[0].1.clone()).collect() };
        assert_eq!(
            keys(r#"{"groupBy":[{"field":"properties","path":["s","t"]}]}"#),
            vec![Cell::Text("1.1".into()), Cell::Text("1.10".into()), Cell::Null]
        );
        assert_eq!(keys(r#"{"groupBy":[{"field":"properties"}]}"#).len(), 5);
        assert_eq!(
            ask(r#"{"select":[{"type":"aggregation","aggregation":"sum","field":"properties","path":["q"]}]}"#).rows,
            vec![vec![("sum_properties.q".to_string(), Cell::Double(None))]]
        );
        assert_eq!(ask(r#"{"select":[{"type":"time","timeUnit":"week"}]}"#).total, 1);
        assert_eq!(ask(r#"{"limit":2,"offset":4}"#).rows.len(), 1);
    }

    #[test]
    fn refuses() {
        for request in [
            r#"{"select":[{"type":"aggregation","aggregation":"sum","field":"id"}]}"#,
            r#"{"select":[{"type":"aggregation","aggregation":"sum","field":"properties"}]}"#,
            r#"{"select":[{"type":"aggregation","aggregation":"count"},{"type":"field","field":"id"}]}"#,
            r#"{"where":{"condition":{"field":"id","operator":"eq","value":5}}}"#,
            r#"{"where":{"condition":{"field":"properties","operator":"eq","value":"x"}}}"#,
            r#"{"where":{"condition":{"field":"properties","operator":"gt","value":{"path":["a"],"value":null}}}}"#,
            r#"{"where":{"condition":{"field":"id","operator":"eq"}}}"#,
            r#"{"where":{}}"#,
            r#"{"select":[{"type":"field","field":"properties","path":["a","b"]},{"type":"field","field":"properties","path":["a.b"]}]}"#,
            r#"{"orderBy":[{"field":"count","direction":"asc"}]}"#,
            r#"{"limit":0}"#,
        ] {
            let body = json::parse(request).unwrap_or_else(|error| panic!("{request}: {error}"));
            assert!(Request::parse(&CONVERSATIONS, &body).is_err(), "{request}");
        }
    }

    /// A field without a reader fails here, not in a long run.
    #[test]
    fn reads_every_field() {
        let record = documents().all[0].record();
        let given = CONVERSATIONS.fields.iter().filter(|(field, _)| *record.cell(field) != Cell::Null);
        let given: Vec<&str> = given.map(|(field, _)| *field).collect();
        let expected = "id userMessageCount organizationId projectId firstMessageTime type properties createdAt updatedAt \
                        lastMessageTime messageCount tags state isEnd durationMs \
                        assistantMessageCount otherMessageCount";
        assert_eq!(given.join(" "), expected);
    }
}
