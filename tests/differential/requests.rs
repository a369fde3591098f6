//! Random valid requests over what the documents hold, and a little that they don't.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;

use crate::generate::{MOMENTS, NUMBERS, TAGS, TEXTS, ZONES, anything, long_key};
use crate::oracle::folding::fold;
use crate::oracle::having::{Shows, shows};
use crate::oracle::json::{Value, integer, object, string};
use crate::oracle::query::Cell;
use crate::oracle::request::{AGGREGATIONS, Column, MORE_AGGREGATIONS, Named, PARTS, Request, SHARES};
use crate::oracle::time::render;
use crate::oracle::views::{Kind, Record, View};
use crate::random::Random;

/// Numbers that are in no document: beyond a double, and longer than what is stored.
const BEYOND: [&str; 8] = ["1e400", "-1e400", "1e309", "-1.5E+1000", "1e-1200", "-1e-5000", "1e308", "0.00e-2000"];

/// Of a request's `query`.
const SEARCHED_WORDS: usize = 40;
const SEARCHED_CHARACTERS: usize = 3_000;

/// Paths of one JSON field with some of the values found there.
type Paths = Vec<(Vec<String>, Vec<Value>)>;

/// One JSON field.
struct JsonField {
    name: &'static str,
    paths: Paths,
    wholes: Vec<Value>,
}

/// What the rows of a view hold.
pub struct Vocabulary {
    view: &'static View,
    /// `properties` come several times.
    json: Vec<JsonField>,
    texts: HashMap<&'static str, Vec<String>>,
    times: Vec<i64>,
    lists: HashMap<&'static str, Vec<Vec<String>>>,
    /// Time buckets in a zone leave out `updatedAt` and `lastUpdated`, whose edge values have no local time everywhere.
    zoned_times: Vec<&'static str>,
}

const SAMPLES: usize = 60;
const MOST_PATHS: usize = 2_500;

fn walk(value: &Value, path: &mut Vec<String>, into: &mut HashMap<Vec<String>, Vec<Value>>) {
    if !path.is_empty() {
        if !into.contains_key(path) && into.len() >= MOST_PATHS {
            return;
        }
        let samples = into.entry(path.clone()).or_default();
        if samples.len() < SAMPLES {
            samples.push(value.clone());
        }
    }
    match value {
        Value::Object(pairs) => {
            for (key, value) in pairs {
                path.push(key.clone());
                walk(value, path, into);
                path.pop();
            }
        }
        Value::Array(elements) => {
            for (place, value) in elements.iter().enumerate().take(2) {
                path.push(if place == 0 { "0" } else { "-1" }.to_string());
                walk(value, path, into);
                path.pop();
            }
        }
        _ => {}
    }
}

/// The commonest paths come several times, so that most conditions have something to find.
fn paths(found: HashMap<Vec<String>, Vec<Value>>) -> Paths {
    let mut paths: Paths = found.into_iter().collect();
    paths.sort_by(|left, right| left.0.cmp(&right.0));
    let common: Paths =
        paths.iter().filter(|(path, samples)| samples.len() >= 20 && path.len() <= 2).cloned().collect();
    if !common.is_empty() {
        let wanted = paths.len() * 3;
        while paths.len() < wanted {
            paths.extend(common.iter().cloned());
        }
    }
    paths
}

impl Vocabulary {
    pub fn of(view: &'static View, records: &[Record]) -> Vocabulary {
        let json = view.of_kinds(&[Kind::Json, Kind::JsonList]).into_iter().map(|name| {
            let mut found = HashMap::new();
            let values: Vec<&Value> = records.iter().filter_map(|record| record.json(name)).collect();
            values.iter().for_each(|value| walk(value, &mut Vec::new(), &mut found));
            JsonField { name, paths: paths(found), wholes: values.into_iter().take(500).cloned().collect() }
        });
        let mut texts: HashMap<&'static str, Vec<String>> = HashMap::new();
        for field in view.of_kinds(&[Kind::Text]) {
            let known = texts.entry(field).or_default();
            for text in records.iter().filter_map(|record| record.text(field)) {
                if known.len() < 500 && !known.iter().any(|other| other == text) {
                    known.push(text.to_string());
                }
            }
        }
        let sample = || records.iter().take(500);
        let lists = view.of_kinds(&[Kind::List]).into_iter().map(|field| {
            let given = sample().filter_map(|record| match record.cell(field) {
                Cell::List(list) => Some(list.clone()),
                _ => None,
            });
            (field, given.collect())
        });
        let times = view.of_kinds(&[Kind::Time]);
        let zoned_times: Vec<&'static str> =
            times.into_iter().filter(|field| *field != "updatedAt" && *field != "lastUpdated").collect();
        let given = |field: &&'static str| {
            let field = *field;
            sample().filter_map(move |record| match record.cell(field) {
                Cell::Time(at) => Some(*at),
                _ => None,
            })
        };
        Vocabulary {
            view,
            json: json.collect(),
            texts,
            times: zoned_times.iter().flat_map(given).collect(),
            lists: lists.collect(),
            zoned_times,
        }
    }

    /// A request that the oracle accepts.
    pub fn request(&self, random: &mut Random) -> Value {
        loop {
            let request = self.attempt(random);
            if Request::parse(self.view, &request).is_ok() {
                return request;
            }
        }
    }

    fn attempt(&self, random: &mut Random) -> Value {
        let mut pairs: Vec<(&str, Value)> = Vec::new();
        let zone = random.percent(35).then(|| *random.pick(&ZONES));
        let grouped = random.percent(65);
        // What contract A5 adds, in some requests only.
        let extended = random.percent(50);
        let mut select = Vec::new();
        let mut keys: Vec<(String, Vec<String>)> = Vec::new();
        let mut hidden = Vec::new();
        if grouped {
            for _ in 0..[0, 1, 1, 1, 2, 3][random.below(6)] {
                let lists = self.view.of_kinds(&[Kind::List]);
                keys.push(match pick(random, &lists) {
                    Some(list) if extended && random.percent(20) => (list.to_string(), Vec::new()),
                    _ => self.key(random),
                });
            }
            for _ in 0..[0, 1, 1, 2, 3][random.below(5)] {
                select.push(self.aggregation(random, extended));
            }
            for _ in 0..[0, 0, 0, 1, 1, 2][random.below(6)] {
                select.push(self.bucket(random, zone.is_some(), extended));
            }
            let mut group_by = Vec::new();
            for (field, path) in &keys {
                let mut element = self.place(random, field, path);
                match random.below(5) {
                    0 => {
                        element.push(("includeInSelect", Value::Bool(false)));
                        hidden.push((field.clone(), path.clone()));
                    }
                    1 => element.push(("includeInSelect", Value::Bool(true))),
                    _ => {}
                }
                if extended && random.percent(20) {
                    element.push(("as", string(random.pick(&NAMES))));
                }
                if extended && random.percent(50) {
                    self.add_made(random, field, &mut element);
                }
                group_by.push(object(element));
                if random.percent(15) {
                    let mut selection = vec![("type", string("field"))];
                    selection.extend(self.place(random, field, path));
                    select.push(object(selection));
                }
            }
            if !group_by.is_empty() || random.percent(10) {
                pairs.push(("groupBy", Value::Array(group_by)));
            }
        } else if random.percent(80) {
            for _ in 0..1 + random.below(4) {
                let (field, path) = self.key(random);
                let mut selection = vec![("type", string("field"))];
                selection.extend(self.place(random, &field, &path));
                if random.percent(5) {
                    selection.push(("mode", string("unpack")));
                }
                select.push(object(selection));
            }
        }
        if extended && grouped && random.percent(40) {
            let so_far = object(vec![("select", Value::Array(select.clone()))]);
            if let Ok(request) = Request::parse(self.view, &so_far) {
                select.extend(formula(random, &request.columns));
            }
        }
        random.shuffle(&mut select);
        if !select.is_empty() || random.percent(10) {
            pairs.push(("select", Value::Array(select)));
        }
        if random.percent(65) {
            pairs.push(("where", self.filter(random, 3)));
        } else if random.percent(10) {
            pairs.push(("where", Value::Null));
        }
        if let Some(zone) = zone {
            pairs.push(("timeZone", string(zone)));
        }
        if random.percent(30) {
            let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
            pairs.push(("weekStart", string(random.pick(&days))));
        }
        if random.percent(45) {
            pairs.push(("limit", integer(1 + random.below(30) as i64)));
        }
        if random.percent(25) {
            pairs.push(("offset", integer(random.below(25) as i64)));
        }
        if random.percent(5) {
            pairs.push(("notes", string("seen by nobody")));
        }
        if let (Some([field, _]), true) = (self.view.searched, random.percent(25)) {
            pairs.push(("query", self.words(random, field)));
        }
        if random.percent(60) {
            self.add_order(random, &mut pairs, grouped, &hidden);
        }
        if extended {
            if grouped && random.percent(25) {
                self.add_having(random, &mut pairs);
            }
            for key in ["nulls", "columns", "totals"] {
                if random.percent(25) {
                    pairs.push((key, Value::Bool(random.percent(90))));
                }
            }
        }
        random.shuffle(&mut pairs);
        object(pairs)
    }

    /// Orders by output columns, and by others that may be asked for.
    fn add_order(
        &self,
        random: &mut Random,
        pairs: &mut Vec<(&str, Value)>,
        grouped: bool,
        hidden: &[(String, Vec<String>)],
    ) {
        let so_far = object(pairs.clone());
        let Ok(request) = Request::parse(self.view, &so_far) else { return };
        let mut orders = Vec::new();
        for _ in 0..1 + random.below(3) {
            let name = match random.below(10) {
                0..=6 => {
                    // What is not exact may order two rows otherwise.
                    let exact = request.columns.iter().filter(|named| !named.column.is_inexact());
                    let exact: Vec<&Named> = exact.collect();
                    let Some(named) = pick(random, &exact) else { return };
                    named.name.clone()
                }
                7 if !hidden.is_empty() => {
                    let (field, path) = random.pick(hidden);
                    joined(field, path)
                }
                _ if grouped => {
                    let (field, path) = self.splittable(random);
                    let place = joined(&field, &path);
                    match random.below(6) {
                        0 => "count".to_string(),
                        1 => "count_id".to_string(),
                        2 => format!("countDistinct_{place}"),
                        3 => format!("count_{place}"),
                        4 if !path.is_empty() => format!("{}_{place}", random.pick(&["sum", "avg", "min", "max"])),
                        _ => match self.view.of_kinds(&[Kind::Count]).last() {
                            Some(field) => format!("avg_{field}"),
                            None => format!("max_{}", self.view.default_time),
                        },
                    }
                }
                _ => {
                    let (field, path) = self.splittable(random);
                    joined(&field, &path)
                }
            };
            let direction = string(random.pick(&["asc", "desc"]));
            orders.push(object(vec![("field", string(&name)), ("direction", direction)]));
        }
        pairs.push(("orderBy", Value::Array(orders)));
    }

    /// Elements, bins and tops, where they fit.
    fn add_made(&self, random: &mut Random, field: &str, element: &mut Vec<(&'static str, Value)>) {
        let kind = self.view.kind_of(field).expect("a known field");
        let listed = matches!(kind, Kind::List | Kind::Json | Kind::JsonList);
        if listed && random.percent(60) {
            let path = ["k", "label", "0", "d"];
            element.push((
                "unnest",
                match kind {
                    Kind::List => Value::Bool(true),
                    _ if random.percent(60) => Value::Bool(true),
                    _ => Value::Array(vec![string(random.pick(&path))]),
                },
            ));
        }
        if (listed || kind == Kind::Count) && random.percent(30) {
            let mut bin =
                vec![("width", Value::Number(random.pick(&["1", "5", "0.1", "2.5e1", "1e3", "0.3"]).to_string()))];
            if random.percent(40) {
                bin.push(("offset", Value::Number(random.pick(&["1", "-0.05", "0.5", "0"]).to_string())));
            }
            element.push(("bin", object(bin)));
        }
        if random.percent(40) {
            let mut top = vec![("limit", integer(1 + random.below(4) as i64))];
            if random.percent(50) {
                let count = self.view.of_kinds(&[Kind::Count]).last().map(|field| format!("max_{field}"));
                let by = [Some("count".to_string()), Some("count_id".to_string()), count, Some("n".to_string())];
                top.extend(random.pick(&by).as_ref().map(|by| ("by", string(by))));
            }
            if random.percent(50) {
                top.push(("other", string(random.pick(&["rest", "pro", "x", ""]))));
            }
            element.push(("top", object(top)));
        }
    }

    fn add_having(&self, random: &mut Random, pairs: &mut Vec<(&str, Value)>) {
        let Ok(request) = Request::parse(self.view, &object(pairs.clone())) else { return };
        let exact = request.columns.iter().filter(|named| named.shown && !named.column.is_inexact());
        let exact: Vec<&Named> = exact.collect();
        if !exact.is_empty() {
            pairs.push(("having", self.having(random, &exact, 2)));
        }
    }

    fn having(&self, random: &mut Random, columns: &[&Named], depth: usize) -> Value {
        if depth > 0 && random.percent(40) {
            if random.percent(30) {
                return object(vec![("not", self.having(random, columns, depth - 1))]);
            }
            let parts = (0..random.below(4)).map(|_| self.having(random, columns, depth - 1)).collect();
            return object(vec![(*random.pick(&["and", "or"]), Value::Array(parts))]);
        }
        let column = *random.pick(columns);
        let shown = shows(self.view, &column.column);
        let operator = match shown {
            Shows::Other => *random.pick(&["isNull", "isNotNull"]),
            Shows::Flag => *random.pick(&["eq", "neq", "in", "notIn", "isNull", "isNotNull"]),
            _ => *random.pick(&["eq", "neq", "gt", "gte", "lt", "lte", "in", "notIn", "isNull", "isNotNull", "gt"]),
        };
        let null_allowed = matches!(operator, "eq" | "neq" | "in" | "notIn");
        let one = |random: &mut Random| match shown {
            _ if null_allowed && random.percent(10) => Value::Null,
            Shows::Number | Shows::Other => {
                Value::Number(random.pick(&["0", "1", "2", "3", "1.5", "10", "-1", "5e1", "1e12"]).to_string())
            }
            Shows::Text => string(random.pick(&TEXTS)),
            Shows::Flag => Value::Bool(random.percent(50)),
            Shows::Time => self.time(random),
        };
        let value = match operator {
            "isNull" | "isNotNull" => None,
            "in" | "notIn" => Some(Value::Array((0..random.below(4)).map(|_| one(random)).collect())),
            _ => Some(one(random)),
        };
        let mut condition = vec![("field", string(&column.name)), ("operator", string(operator))];
        condition.extend(value.map(|value| ("value", value)));
        object(vec![("condition", object(condition))])
    }

    /// A field or path that a name with dots can spell.
    fn splittable(&self, random: &mut Random) -> (String, Vec<String>) {
        loop {
            let (field, path) = self.key(random);
            if path.iter().all(|element| !element.is_empty() && !element.contains('.')) {
                return (field, path);
            }
        }
    }

    fn place(&self, random: &mut Random, field: &str, path: &[String]) -> Vec<(&'static str, Value)> {
        let mut pairs = vec![("field", string(field))];
        if !path.is_empty() {
            pairs.push(("path", Value::Array(path.iter().map(|element| string(element)).collect())));
        } else if random.percent(10) {
            pairs.push(("path", if random.percent(50) { Value::Null } else { Value::Array(Vec::new()) }));
        }
        pairs
    }

    /// A field, mostly a path of a JSON field.
    fn key(&self, random: &mut Random) -> (String, Vec<String>) {
        match random.below(20) {
            0..=9 => self.json_path(random),
            10 => (random.pick(&self.json).name.to_string(), Vec::new()),
            11..=14 => (random.pick(self.view.favourites).to_string(), Vec::new()),
            _ => (random.pick(self.view.fields).0.to_string(), Vec::new()),
        }
    }

    fn json_path(&self, random: &mut Random) -> (String, Vec<String>) {
        let JsonField { name: field, paths, .. } = self.json_field(random);
        let path = match random.below(20) {
            0 => vec!["missing".to_string()],
            1 => vec![random.pick(&["PLAN", "0", "a b", "-1", "nested"]).to_string(), "b".to_string()],
            2 if random.percent(30) => vec![long_key()],
            _ if paths.is_empty() => vec!["x".to_string()],
            3 => {
                let mut path = random.pick(paths).0.clone();
                path.push(random.pick(&["0", "-1", "c", "99999999999", "-0", "00", "missing"]).to_string());
                path
            }
            _ => random.pick(paths).0.clone(),
        };
        (field.to_string(), path.into_iter().take(32).collect())
    }

    /// Mostly `properties`.
    fn json_field(&self, random: &mut Random) -> &JsonField {
        let properties = self.json.iter().find(|field| field.name == "properties");
        properties.filter(|_| random.percent(60)).unwrap_or_else(|| random.pick(&self.json))
    }

    /// Some of a text that is there, or a few odd words.
    fn words(&self, random: &mut Random, field: &str) -> Value {
        let text = match pick(random, &self.texts[field]) {
            Some(text) if random.percent(80) => respelled(random, text),
            _ => random.pick(&["", " ", "5", "%", "_", "é ß", "no such words"]).to_string(),
        };
        let words: Vec<&str> = text.split_whitespace().take(SEARCHED_WORDS).collect();
        let mut words = subset(random, &words);
        while words.iter().map(|word| word.chars().count()).sum::<usize>() > SEARCHED_CHARACTERS {
            words.pop();
        }
        string(words.join("  "))
    }

    fn aggregation(&self, random: &mut Random, extended: bool) -> Value {
        let mut pairs = vec![("type", string("aggregation"))];
        let more = extended && random.percent(50);
        let aggregation = if more { *random.pick(&MORE_AGGREGATIONS) } else { *random.pick(&AGGREGATIONS) };
        pairs.push(("aggregation", string(aggregation)));
        if aggregation == "percentile" {
            pairs.push(("p", Value::Number(random.pick(&SHARES).0.to_string())));
        }
        if extended && random.percent(30) {
            pairs.push(("filter", self.filter(random, 2)));
        }
        if extended && random.percent(20) {
            pairs.push(("as", string(random.pick(&NAMES))));
        }
        if extended && random.percent(10) {
            pairs.push(("includeInSelect", Value::Bool(random.percent(20))));
        }
        match aggregation {
            "count" if random.percent(60) => {}
            "count" | "countDistinct" | "first" | "last" => {
                let (field, path) = self.key(random);
                pairs.extend(self.place(random, &field, &path));
            }
            _ if random.percent(25) => {
                let fields = self.view.of_kinds(&[Kind::Count, Kind::Time]);
                pairs.push(("field", string(random.pick(&fields))));
            }
            _ => {
                let (field, path) = self.json_path(random);
                pairs.extend(self.place(random, &field, &path));
            }
        }
        object(pairs)
    }

    fn bucket(&self, random: &mut Random, zoned: bool, extended: bool) -> Value {
        let mut pairs = vec![("type", string("time"))];
        if extended && random.percent(50) {
            let unit = match random.below(4) {
                0 => *random.pick(&PARTS),
                1 => "minute",
                _ => *random.pick(&["hour", "quarter", "year", "hour"]),
            };
            pairs.push(("timeUnit", string(unit)));
            let steps: &[i64] = match unit {
                "minute" => &[1, 5, 12, 15, 30, 60],
                "hour" => &[1, 2, 3, 6, 8, 12, 24],
                _ => &[],
            };
            pairs.extend(pick(random, steps).map(|step| ("step", integer(*step))));
            if random.percent(50) && (PARTS.contains(&unit) || matches!(unit, "quarter" | "year")) {
                pairs.push((
                    "fill",
                    match random.below(3) {
                        0 if unit == "quarter" || unit == "year" => {
                            object(vec![("from", self.time(random)), ("to", self.time(random))])
                        }
                        _ => Value::Bool(true),
                    },
                ));
            }
            if random.percent(20) {
                pairs.push(("as", string(random.pick(&NAMES))));
            }
        } else {
            let unit = *random.pick(&["hour", "day", "week", "month"]);
            pairs.push(("timeUnit", string(unit)));
            if extended && unit != "hour" && random.percent(70) {
                pairs.push(("fill", Value::Bool(true)));
            }
        }
        if random.percent(60) {
            let field = match self.view.of_kinds(&[Kind::Time]) {
                times if !zoned && random.percent(20) => *random.pick(&times),
                _ => *random.pick(&self.zoned_times),
            };
            pairs.push(("field", string(field)));
        }
        object(pairs)
    }

    fn filter(&self, random: &mut Random, depth: usize) -> Value {
        if depth > 0 && random.percent(40) {
            let parts = (0..random.below(4)).map(|_| self.filter(random, depth - 1)).collect();
            return object(vec![(*random.pick(&["and", "or"]), Value::Array(parts))]);
        }
        let mut pairs = match random.below(20) {
            0..=12 => self.path_condition(random),
            13..=14 => self.whole_condition(random),
            _ => self.plain_condition(random),
        };
        random.shuffle(&mut pairs);
        object(vec![("condition", object(pairs))])
    }

    fn path_condition(&self, random: &mut Random) -> Vec<(&'static str, Value)> {
        let (field, path) = self.json_path(random);
        let paths = self.json.iter().find(|known| known.name == field).map(|known| known.paths.as_slice());
        let samples: &[Value] = paths
            .unwrap_or_default()
            .iter()
            .find(|(other, _)| *other == path)
            .map(|(_, samples)| samples.as_slice())
            .unwrap_or_default();
        let operators = [
            "eq",
            "eq",
            "neq",
            "gt",
            "gte",
            "lt",
            "lte",
            "in",
            "notIn",
            "arrayContains",
            "jsonContains",
            "jsonContainedBy",
            "jsonHasKey",
            "jsonArrayContainsObject",
            "jsonHasAnyKey",
            "jsonHasAllKeys",
            "isNull",
            "isNotNull",
        ];
        let operator = *random.pick(&operators);
        let value = match operator {
            "isNull" | "isNotNull" => random.percent(20).then_some(Value::Null),
            "eq" | "neq" => Some(literal(random, samples)),
            "in" | "notIn" => Some(Value::Array((0..random.below(5)).map(|_| literal(random, samples)).collect())),
            "gt" | "gte" | "lt" | "lte" => Some(loop {
                let value = literal(random, samples);
                if matches!(value, Value::Number(_) | Value::String(_)) {
                    break value;
                }
                if random.percent(30) {
                    break Value::Number(random.pick(&NUMBERS).to_string());
                }
            }),
            "arrayContains" => Some(match pick(random, samples) {
                Some(Value::Array(elements)) if !elements.is_empty() && random.percent(80) => {
                    if random.percent(50) {
                        Value::Array(subset(random, elements))
                    } else {
                        not_null(random.pick(elements).clone())
                    }
                }
                _ => not_null(literal(random, samples)),
            }),
            "jsonContains" => Some(not_null(match pick(random, samples) {
                Some(value) if random.percent(80) => part_of(random, value),
                _ => literal(random, samples),
            })),
            "jsonContainedBy" => Some(match pick(random, samples) {
                Some(value) if random.percent(60) => not_null(more_than(random, value)),
                _ => Value::Array((0..random.below(6)).map(|_| not_null(literal(random, samples))).collect()),
            }),
            "jsonHasKey" => Some(string(&key_of(random, samples))),
            "jsonArrayContainsObject" => Some(match pick(random, samples) {
                Some(Value::Array(elements)) => {
                    match elements.iter().find(|element| matches!(element, Value::Object(_))) {
                        Some(element) => part_of(random, element),
                        None => Value::Object(Vec::new()),
                    }
                }
                _ => object(vec![("k", integer(random.below(3) as i64))]),
            }),
            _ => Some(Value::Array((0..random.below(4)).map(|_| string(&key_of(random, samples))).collect())),
        };
        let mut form = vec![("path", Value::Array(path.iter().map(|element| string(element)).collect()))];
        form.extend(value.map(|value| ("value", value)));
        vec![("field", string(&field)), ("operator", string(operator)), ("value", object(form))]
    }

    fn whole_condition(&self, random: &mut Random) -> Vec<(&'static str, Value)> {
        let JsonField { name: field, paths, wholes } = random.pick(&self.json);
        let is_list = self.view.kind_of(field) == Ok(Kind::JsonList);
        let empty = || if is_list { Value::Array(Vec::new()) } else { Value::Object(Vec::new()) };
        let whole = |random: &mut Random| {
            let value = pick(random, wholes).cloned();
            value.map(|value| crate::oracle::json::canonical(&value)).unwrap_or_else(empty)
        };
        let operator = *random.pick(&[
            "eq",
            "neq",
            "in",
            "notIn",
            "jsonContains",
            "jsonContains",
            "jsonContainedBy",
            "jsonHasKey",
            "jsonHasAnyKey",
            "jsonHasAllKeys",
            "jsonArrayContainsObject",
            "isNull",
            "isNotNull",
        ]);
        let key = |random: &mut Random| match pick(random, paths) {
            Some((path, _)) if random.percent(90) => string(&path[0]),
            _ => string("missing"),
        };
        let value = match operator {
            "eq" | "neq" => Some(if random.percent(15) { Value::Null } else { whole(random) }),
            "in" | "notIn" => Some(Value::Array(
                (0..random.below(4)).map(|_| if random.percent(15) { Value::Null } else { whole(random) }).collect(),
            )),
            "jsonContains" if is_list => {
                let Value::Array(elements) = whole(random) else { unreachable!("a whole value is a list") };
                Some(Value::Array(subset(random, &elements).iter().map(|value| part_of(random, value)).collect()))
            }
            "jsonContains" => {
                let Value::Object(pairs) = whole(random) else { unreachable!("a whole value is an object") };
                let few = subset(random, &pairs).into_iter().take(1 + random.below(2));
                let few = few.map(|(key, value)| (key, part_of(random, &value))).collect();
                Some(Value::Object(few))
            }
            "jsonContainedBy" => {
                let value = whole(random);
                Some(more_than(random, &value))
            }
            "jsonHasKey" => Some(key(random)),
            "jsonHasAnyKey" | "jsonHasAllKeys" => {
                Some(Value::Array((0..random.below(4)).map(|_| key(random)).collect()))
            }
            "jsonArrayContainsObject" => Some(match whole(random) {
                Value::Array(elements) if !elements.is_empty() => {
                    let element = random.pick(&elements);
                    part_of(random, element)
                }
                _ => object(vec![("k", integer(1))]),
            }),
            _ => None,
        };
        let mut pairs = vec![("field", string(field)), ("operator", string(operator))];
        pairs.extend(value.map(|value| ("value", value)));
        pairs
    }

    fn plain_condition(&self, random: &mut Random) -> Vec<(&'static str, Value)> {
        let field = match random.below(10) {
            0..=2 => *random.pick(self.view.favourites),
            3 => self.view.default_time,
            _ => random.pick(self.view.fields).0,
        };
        let kind = self.view.kind_of(field).expect("a known field");
        let operators: &[&str] = match kind {
            Kind::Text | Kind::Count | Kind::Time => {
                &["eq", "neq", "gt", "gte", "lt", "lte", "in", "notIn", "isNull", "isNotNull", "gte", "lt"]
            }
            Kind::Flag => &["eq", "neq", "in", "notIn", "isNull", "isNotNull"],
            Kind::List => {
                &["arrayContains", "arrayContains", "arrayContains", "eq", "neq", "in", "notIn", "isNull", "isNotNull"]
            }
            Kind::Json | Kind::JsonList => return self.whole_condition(random),
        };
        let operator = *random.pick(operators);
        let list_operator = matches!(operator, "in" | "notIn");
        let null_allowed = matches!(operator, "eq" | "neq" | "in" | "notIn");
        let one = |random: &mut Random| match kind {
            _ if null_allowed && random.percent(8) => Value::Null,
            Kind::Text => match self.texts.get(field) {
                Some(known) if !known.is_empty() && random.percent(90) => string(random.pick(known)),
                _ => string(random.pick(&["no", "C-1", "c-5", "", "Zebra", "nothing"])),
            },
            Kind::Count if random.percent(8) => Value::Number(random.pick(&BEYOND).to_string()),
            Kind::Count => {
                Value::Number(random.pick(&["0", "1", "2", "3", "1.0", "1.5", "2e0", "-1", "1e9"]).to_string())
            }
            Kind::Flag => Value::Bool(random.percent(50)),
            Kind::Time => self.time(random),
            Kind::List if operator == "arrayContains" && random.percent(60) => {
                let known = self.lists[field].iter().flatten().collect::<Vec<_>>();
                string(pick(random, &known).map_or(*random.pick(&TAGS), |text| text.as_str()))
            }
            Kind::List | Kind::Json | Kind::JsonList => match pick(random, &self.lists[field]) {
                Some(tags) if random.percent(80) => Value::Array(tags.iter().map(|tag| string(tag)).collect()),
                _ => Value::Array((0..random.below(3)).map(|_| string(random.pick(&TAGS))).collect()),
            },
        };
        let value = match operator {
            "isNull" | "isNotNull" => random.percent(20).then(|| one(random)),
            _ if list_operator => Some(Value::Array((0..random.below(5)).map(|_| one(random)).collect())),
            _ => Some(one(random)),
        };
        let mut pairs = vec![("field", string(field)), ("operator", string(operator))];
        pairs.extend(value.map(|value| ("value", value)));
        pairs
    }

    fn time(&self, random: &mut Random) -> Value {
        let Some(at) = pick(random, &self.times).copied() else { return string("2024-01-01") };
        match random.below(6) {
            0 if random.percent(15) => Value::Number(random.pick(&BEYOND).to_string()),
            0 => integer(at),
            1 => Value::Number(format!("{at}.5")),
            2 => string(render(at).trim_end_matches('Z')),
            3 => string(&render(at)[..10]),
            4 => string(random.pick(&MOMENTS)),
            _ => string(&render(at)),
        }
    }
}

/// What `as` gives columns.
const NAMES: [&str; 7] = ["n", "x y", "count", "é", "count_id", "a.b", "say \"hi\""];

/// A calculation over the numbers of `select`.
fn formula(random: &mut Random, columns: &[Named]) -> Option<Value> {
    let of_number =
        |named: &&Named| matches!(&named.column, Column::Aggregate { kind, .. } if kind != "first" && kind != "last");
    let names: Vec<&str> = columns.iter().filter(of_number).map(|named| named.name.as_str()).collect();
    let text = calculation(random, &names, 3);
    let mut pairs = vec![("type", string("formula")), ("formula", string(&text))];
    if random.percent(70) {
        pairs.push(("as", string(random.pick(&["f", "share", "n"]))));
    }
    (text.len() <= 1_000).then(|| object(pairs))
}

fn calculation(random: &mut Random, names: &[&str], depth: usize) -> String {
    if depth > 0 && random.percent(60) {
        let left = calculation(random, names, depth - 1);
        let right = calculation(random, names, depth - 1);
        return format!("{left} {} {right}", random.pick(&["+", "-", "*", "/"]));
    }
    match random.below(10) {
        0 => random.pick(&["2", "0", "100", "0.5"]).to_string(),
        1 => format!("-{}", calculation(random, names, 0)),
        2 if depth > 0 => format!("({})", calculation(random, names, depth - 1)),
        _ => pick(random, names).map_or("1".to_string(), |name| format!("\"{}\"", name.replace('"', "\"\""))),
    }
}

fn pick<'a, T>(random: &mut Random, from: &'a [T]) -> Option<&'a T> {
    if from.is_empty() { None } else { Some(random.pick(from)) }
}

/// A literal for a path: mostly a value that is there, some of them spelled or typed otherwise.
fn literal(random: &mut Random, samples: &[Value]) -> Value {
    let sample = pick(random, samples).cloned();
    match (random.below(10), sample) {
        (0..=5, Some(value)) => value,
        (6, Some(Value::Number(token))) => string(&token),
        (7, Some(Value::Number(token))) if !token.contains(['e', 'E', '.']) => Value::Number(format!("{token}.0")),
        (6, Some(Value::String(text))) => string(&text.to_uppercase()),
        (8, _) if random.percent(30) => Value::Number(random.pick(&BEYOND).to_string()),
        (8, _) => Value::Number(random.pick(&NUMBERS).to_string()),
        (9, _) => anything(random, 1),
        _ => string(random.pick(&TEXTS)),
    }
}

/// What null means as a literal of other operators than `eq`, `neq`, `in` and `notIn` is not for us to try.
fn not_null(value: Value) -> Value {
    if value == Value::Null { Value::Bool(true) } else { value }
}

fn subset<T: Clone>(random: &mut Random, items: &[T]) -> Vec<T> {
    let mut chosen: Vec<T> = items.iter().filter(|_| random.percent(50)).cloned().collect();
    random.shuffle(&mut chosen);
    chosen
}

/// The same to a search, mostly.
fn respelled(random: &mut Random, text: &str) -> String {
    match random.below(5) {
        0 => text.nfd().collect(),
        1 => text.nfkc().collect(),
        2 => fold(text),
        3 => text.to_lowercase(),
        _ => text.to_uppercase(),
    }
}

/// Something that the value contains, mostly.
fn part_of(random: &mut Random, value: &Value) -> Value {
    match value {
        Value::Array(elements) if random.percent(20) => {
            let scalars: Vec<&Value> = elements
                .iter()
                .filter(|one| !matches!(one, Value::Array(_) | Value::Object(_) | Value::Null))
                .collect();
            pick(random, &scalars).map(|value| (*value).clone()).unwrap_or(Value::Array(Vec::new()))
        }
        Value::Array(elements) => {
            let some = subset(random, elements);
            Value::Array(some.iter().map(|element| part_of(random, element)).collect())
        }
        Value::Object(pairs) => {
            let some = subset(random, pairs);
            Value::Object(some.into_iter().map(|(key, value)| (key, part_of(random, &value))).collect())
        }
        other => other.clone(),
    }
}

/// Something that contains the value, mostly.
fn more_than(random: &mut Random, value: &Value) -> Value {
    let mut value = value.clone();
    match &mut value {
        Value::Object(pairs) => {
            if random.percent(50) && !pairs.iter().any(|(key, _)| key == "extra") {
                pairs.push(("extra".to_string(), Value::Null));
            }
            if random.percent(20) {
                pairs.pop();
            }
            random.shuffle(pairs);
        }
        Value::Array(elements) => {
            elements.push(string("extra"));
            random.shuffle(elements);
        }
        _ if random.percent(50) => value = Value::Array(vec![string("extra"), value]),
        _ => {}
    }
    value
}

fn key_of(random: &mut Random, samples: &[Value]) -> String {
    match pick(random, samples) {
        Some(Value::Object(pairs)) if !pairs.is_empty() => random.pick(pairs).0.clone(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(elements)) => {
            let strings: Vec<&str> = elements.iter().filter_map(Value::as_str).collect();
            pick(random, &strings).copied().unwrap_or("k").to_string()
        }
        _ => random.pick(&["a", "k", "5", "", "missing"]).to_string(),
    }
}

fn joined(field: &str, path: &[String]) -> String {
    let mut name = field.to_string();
    for element in path {
        name.push('.');
        name.push_str(element);
    }
    name
}
