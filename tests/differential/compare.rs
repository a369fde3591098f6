//! Compares answers, and makes a differing request small enough to read.

use crate::oracle::json::{self, Value};
use crate::oracle::query::{Answer, Cell, answer};
use crate::oracle::request::Request;
use crate::oracle::time::render;
use crate::oracle::views::{self, Record};
use crate::support::{Server, cut};

/// What one key sees of a view: the server that answers it and the rows that it may see.
pub struct View<'a> {
    pub server: &'a Server,
    pub key: &'a str,
    pub name: &'a str,
    pub of: &'static views::View,
    pub records: Vec<Record>,
}

impl View<'_> {
    fn answer(&self, request: &Request) -> Answer {
        answer(&self.records.iter().collect::<Vec<_>>(), request)
    }
}

pub const PATH: &str = "/query/conversations";

/// None = same answers. The request must be valid.
pub fn difference(view: &View, request: &Value) -> Option<String> {
    let parsed = Request::parse(view.of, request).unwrap_or_else(|error| panic!("{error}: {}", request.to_text()));
    let expected = view.answer(&parsed);
    let got = view.server.request("POST", &view.of.path(), Some(view.key), Some(request.to_text().as_bytes()));
    if expected.refused {
        return (got.status != 422).then(|| format!("status {} for more rows than may be filled", got.status));
    }
    if got.status != 200 {
        return Some(format!("status {} for a valid request: {}", got.status, cut(&got.text(), 600)));
    }
    let text = got.text();
    match json::parse_answer(&text) {
        Err(error) => Some(format!("the body is no JSON: {error}: {}", cut(&text, 600))),
        Ok(body) => compare(&expected, &body).err(),
    }
}

fn compare(expected: &Answer, body: &Value) -> Result<(), String> {
    if body.get("status").and_then(Value::as_str) != Some("ok") {
        return Err(format!("no status ok: {}", cut(&body.to_text(), 600)));
    }
    let data = body.get("data").ok_or("no data")?;
    let rows = data.get("result").and_then(Value::as_array).ok_or("no result list")?;
    let mut wrong = Vec::new();
    for (place, row) in expected.rows.iter().enumerate() {
        let Some(found) = rows.get(place) else { break };
        if let Err(reason) = compare_row(row, found) {
            let expected = cut(&show(row), 800);
            wrong.push(format!(
                "row {place}: {reason}\n      oracle: {expected}\n      server: {}",
                cut(&found.to_text(), 800)
            ));
            if wrong.len() == 2 {
                break;
            }
        }
    }
    if rows.len() != expected.rows.len() {
        wrong.push(format!("{} rows, should be {}", rows.len(), expected.rows.len()));
    }
    for (name, value) in [("total", expected.total), ("count", expected.rows.len()), ("pageSize", expected.page_size)] {
        let found = data.get(name).map(Value::to_text);
        if found.as_deref() != Some(value.to_string().as_str()) {
            wrong.push(format!("{name} is {found:?}, should be {value}"));
        }
    }
    match (&expected.totals, data.get("totals")) {
        (None, None) => {}
        (Some(totals), Some(found)) => {
            if let Err(reason) = compare_row(totals, found) {
                wrong.push(format!(
                    "totals: {reason}\n      oracle: {}\n      server: {}",
                    show(totals),
                    found.to_text()
                ));
            }
        }
        (expected, found) => wrong.push(format!("totals are {found:?}, should be {expected:?}")),
    }
    let listed = expected.columns.as_ref().map(|columns| {
        let column = |(name, kind): &(String, &str)| {
            json::object(vec![("name", json::string(name)), ("type", json::string(kind))])
        };
        Value::Array(columns.iter().map(column).collect())
    });
    if listed.as_ref() != data.get("columns") {
        wrong.push(format!("columns are {:?}, should be {listed:?}", data.get("columns")));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n    ")) }
}

fn compare_row(expected: &[(String, Cell)], found: &Value) -> Result<(), String> {
    let Value::Object(pairs) = found else { return Err("no object".to_string()) };
    for (name, cell) in expected {
        match (cell, found.get(name)) {
            (Cell::Double(None), None) => {}
            (Cell::Double(None), Some(_)) => return Err(format!("{name} should be left out")),
            (_, None) => return Err(format!("{name} is missing")),
            (cell, Some(value)) if same(cell, value) => {}
            _ => return Err(format!("{name} differs")),
        }
    }
    match pairs.iter().find(|(name, _)| !expected.iter().any(|(known, _)| known == name)) {
        Some((name, _)) => Err(format!("{name} should not be there")),
        None => Ok(()),
    }
}

fn same(cell: &Cell, value: &Value) -> bool {
    match (cell, value) {
        (Cell::Null, Value::Null) => true,
        (Cell::Text(text), Value::String(found)) => text == found,
        (Cell::Count(count), Value::Number(token)) => *token == count.to_string(),
        (Cell::Time(at), Value::String(found)) => render(*at) == *found,
        (Cell::Flag(flag), Value::Bool(found)) => flag == found,
        (Cell::List(list), Value::Array(found)) => {
            list.len() == found.len() && list.iter().zip(found).all(|(text, found)| found.as_str() == Some(text))
        }
        // Key order and number spelling count.
        (Cell::Json(value), found) => value == found,
        (Cell::Double(Some(double)), Value::Number(token)) => token.parse() == Ok(*double),
        (Cell::Near(double), Value::Number(token)) => {
            token.parse::<f64>().is_ok_and(|found| (found - double).abs() <= 1e-9 * double.abs())
        }
        _ => false,
    }
}

fn show(row: &[(String, Cell)]) -> String {
    let shown = row.iter().filter_map(|(name, cell)| {
        let value = match cell {
            Cell::Null => Value::Null,
            Cell::Text(text) => json::string(text),
            Cell::Count(count) => json::integer(*count),
            Cell::Time(at) => json::string(&render(*at)),
            Cell::Flag(flag) => Value::Bool(*flag),
            Cell::List(list) => Value::Array(list.iter().map(|text| json::string(text)).collect()),
            Cell::Json(value) => value.clone(),
            Cell::Double(double) => Value::Number(format!("{:e}", (*double)?)),
            Cell::Near(double) => Value::Number(format!("{double:e}")),
        };
        Some((name.clone(), value))
    });
    Value::Object(shown.collect()).to_text()
}

/// All that a failure needs: the shortest request that still differs, what differs, and the documents that only one
/// side matches.
pub fn report(view: &View, request: &Value, difference_found: &str) -> String {
    let (small, reason) = shrink(view, request.clone(), difference_found.to_string());
    let mut text = format!("  key: {}\n  request: {}\n    {reason}\n", view.name, cut(&small.to_text(), 3_000));
    if small != *request {
        text.push_str(&format!("  first seen with: {}\n", cut(&request.to_text(), 1_500)));
    }
    text.push_str(&rows_matched_by_one_side(view, &small));
    text
}

/// Removes parts as long as the answers still differ.
fn shrink(view: &View, mut request: Value, mut reason: String) -> (Value, String) {
    let mut tries = 0;
    'again: loop {
        for candidate in smaller(&request) {
            if Request::parse(view.of, &candidate).is_err() {
                continue;
            }
            tries += 1;
            if tries > 200 {
                return (request, reason);
            }
            if let Some(found) = difference(view, &candidate) {
                (request, reason) = (candidate, found);
                continue 'again;
            }
        }
        return (request, reason);
    }
}

/// The value with one part removed, or replaced by one of its own parts.
fn smaller(value: &Value) -> Vec<Value> {
    let mut candidates = Vec::new();
    match value {
        Value::Array(elements) => {
            for place in 0..elements.len() {
                let mut fewer = elements.clone();
                fewer.remove(place);
                candidates.push(Value::Array(fewer));
            }
            for (place, element) in elements.iter().enumerate() {
                for smaller in smaller(element) {
                    let mut changed = elements.clone();
                    changed[place] = smaller;
                    candidates.push(Value::Array(changed));
                }
            }
        }
        Value::Object(pairs) => {
            for (key, inner) in pairs {
                if let ("and" | "or", Value::Array(parts)) = (key.as_str(), inner) {
                    candidates.extend(parts.iter().cloned());
                }
            }
            for place in 0..pairs.len() {
                let mut fewer = pairs.clone();
                fewer.remove(place);
                candidates.push(Value::Object(fewer));
            }
            for (place, (key, inner)) in pairs.iter().enumerate() {
                if key == "path" || key == "condition" && inner.given("operator").is_none() {
                    continue;
                }
                for smaller in smaller(inner) {
                    let mut changed = pairs.clone();
                    changed[place].1 = smaller;
                    candidates.push(Value::Object(changed));
                }
            }
        }
        _ => {}
    }
    candidates
}

fn rows_matched_by_one_side(view: &View, request: &Value) -> String {
    let field = |name: &str| json::object(vec![("type", json::string("field")), ("field", json::string(name))]);
    let mut pairs =
        vec![("select", Value::Array(vec![field("id"), field("projectId")])), ("limit", json::integer(100_000))];
    for key in ["where", "query"] {
        pairs.extend(request.given(key).map(|value| (key, value.clone())));
    }
    let request = json::object(pairs);
    let Ok(parsed) = Request::parse(view.of, &request) else { return String::new() };
    let expected: Vec<String> = view.answer(&parsed).rows.iter().map(|row| show(row)).collect();
    let got = view.server.request("POST", &view.of.path(), Some(view.key), Some(request.to_text().as_bytes()));
    let found: Vec<String> = match json::parse_answer(&got.text()) {
        Ok(body) => {
            let rows =
                body.get("data").and_then(|data| data.get("result")).and_then(Value::as_array).unwrap_or_default();
            let row = |row: &Value| {
                let value = |key: &str| row.get(key).cloned().unwrap_or(Value::Null);
                json::object(vec![("id", value("id")), ("projectId", value("projectId"))]).to_text()
            };
            rows.iter().map(row).collect()
        }
        Err(_) => return String::new(),
    };
    let mut text = String::new();
    for (side, here, there) in [("oracle", &expected, &found), ("server", &found, &expected)] {
        let only: Vec<&String> = here.iter().filter(|row| !there.contains(row)).collect();
        if only.is_empty() {
            continue;
        }
        text.push_str(&format!("  {} rows matched by the {side} only, such as:\n", only.len()));
        for row in only.iter().take(2) {
            let record = view.records.iter().find(|record| {
                let text = |field: &str| json::string(record.text(field).unwrap_or_default());
                **row == json::object(vec![("id", text("id")), ("projectId", text("projectId"))]).to_text()
            });
            let shown = record.map(describe).unwrap_or_else(|| "(not stored)".to_string());
            text.push_str(&format!("    {row}: {}\n", cut(&shown, 1_500)));
        }
    }
    text
}

fn describe(record: &Record) -> String {
    let request = Request::parse(record.view, &Value::Object(Vec::new())).expect("the empty request is valid");
    answer(&[record], &request).rows.first().map(|row| show(row)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::documents::{Documents, Identity, log_text};

    fn verdict(request: &str, result: &str) -> Result<(), String> {
        let mut documents = Documents::default();
        let identity = Identity { organization: "o".into(), project: Some("p".into()), integration: None };
        for id in ["a", "b"] {
            let text = format!(
                r#"{{"id":"{id}","type":"openai","createdAt":"2024-01-01","properties":{{"x":1.10,"y":{{"k":1,"j":2}}}},
                "messages":[{{"role":"user","content":"x"}}]}}"#
            );
            log_text(&mut documents, &identity, &text);
        }
        let records = documents.records();
        let request = Request::parse(&views::CONVERSATIONS, &json::parse(request)?)?;
        let body = format!(r#"{{"status":"ok","data":{result}}}"#);
        compare(&answer(&records.iter().collect::<Vec<_>>(), &request), &json::parse_answer(&body)?)
    }

    #[test]
    fn tells_right_answers_from_wrong_ones() {
        let ids = r#"{"select":[{"type":"field","field":"id"},{"type":"field","field":"properties"}],"limit":1}"#;
        let sums = r#"{"select":[{"type":"aggregation","aggregation":"sum","field":"properties","path":["x"]},
            {"type":"aggregation","aggregation":"max","field":"properties","path":["y"]}]}"#;
        for (request, result, right) in [
            (
                ids,
                r#"{"result":[{"properties":{"x":1.10,"y":{"k":1,"j":2}},"id":"a"}],"total":2,"pageSize":1,"count":1}"#,
                true,
            ),
            (
                ids,
                r#"{"result":[{"properties":{"x":1.1,"y":{"k":1,"j":2}},"id":"a"}],"total":2,"pageSize":1,"count":1}"#,
                false,
            ),
            (
                ids,
                r#"{"result":[{"properties":{"x":1.10,"y":{"j":2,"k":1}},"id":"a"}],"total":2,"pageSize":1,"count":1}"#,
                false,
            ),
            (
                ids,
                r#"{"result":[{"properties":{"x":1.10,"y":{"k":1,"j":2}},"id":"b"}],"total":2,"pageSize":1,"count":1}"#,
                false,
            ),
            (
                ids,
                r#"{"result":[{"properties":{"x":1.10,"y":{"k":1,"j":2}},"id":"a"}],"total":1,"pageSize":1,"count":1}"#,
                false,
            ),
            (ids, r#"{"result":[],"total":2,"pageSize":1,"count":0}"#, false),
            (sums, r#"{"result":[{"sum_properties.x":2.2}],"total":1,"pageSize":10000,"count":1}"#, true),
            (sums, r#"{"result":[{"sum_properties.x":22E-1}],"total":1,"pageSize":10000,"count":1}"#, true),
            (
                sums,
                r#"{"result":[{"sum_properties.x":2.2000000000000006}],"total":1,"pageSize":10000,"count":1}"#,
                false,
            ),
            (sums, r#"{"result":[{"sum_properties.x":"2.2"}],"total":1,"pageSize":10000,"count":1}"#, false),
            (
                sums,
                r#"{"result":[{"sum_properties.x":2.2,"max_properties.y":null}],"total":1,"pageSize":10000,"count":1}"#,
                false,
            ),
        ] {
            assert_eq!(verdict(request, result).is_ok(), right, "{result}: {:?}", verdict(request, result));
        }
    }

    #[test]
    fn makes_requests_smaller() {
        let request = json::parse(r#"{"where":{"and":[{"or":[]},{"and":[]}]},"limit":3}"#).expect("JSON");
        let texts: Vec<String> = smaller(&request).iter().map(Value::to_text).collect();
        for expected in
            [r#"{"limit":3}"#, r#"{"where":{"or":[]},"limit":3}"#, r#"{"where":{"and":[{"and":[]}]},"limit":3}"#]
        {
            assert!(texts.iter().any(|text| text == expected), "{expected} is not in {texts:?}");
        }
    }
}
