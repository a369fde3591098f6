//! `/openapi.json` and `/docs` say what the server does: every route is there, what they show is valid, the documented
//! requests are taken, and the answers to them have the documented shape and nothing else.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::site::{ORGANIZATION, Site};
use crate::support::cut;

fn description(site: &Site) -> Value {
    let answer = site.server.request("GET", "/openapi.json", None, None);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    answer.json()
}

fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is outside the document"));
            document.pointer(pointer).unwrap_or_else(|| panic!("nothing at {reference}"))
        }
        None => value,
    }
}

fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(elements) => elements.iter().for_each(|element| references(element, found)),
        _ => {}
    }
}

/// What is wrong with a value by the part of JSON Schema that the document uses.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let schema = resolve(document, schema);
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = |choice: &&Value| {
            let mut inner = Vec::new();
            faults(document, choice, value, at, &mut inner);
            inner.is_empty()
        };
        let fitting = choices.iter().filter(fits).count();
        if fitting != 1 {
            // Of the only object among the choices the faults are told one by one.
            let objects: Vec<&Value> =
                choices.iter().map(|choice| resolve(document, choice)).filter(|one| one["type"] == "object").collect();
            match (objects.as_slice(), value) {
                ([object], Value::Object(_)) => faults(document, object, value, at, found),
                _ => found.push(format!("{at}: {fitting} choices fit {}", cut(&value.to_string(), 100))),
            }
        }
        return;
    }
    if let Some(expected) = schema.get("const")
        && expected != value
    {
        found.push(format!("{at}: {value}, {expected} expected"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        found.push(format!("{at}: {value} is none of the words"));
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let fits = |kind: &&str| match *kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{at}: unknown type {other}"),
    };
    if !kinds.is_empty() && !kinds.iter().any(fits) {
        found.push(format!("{at}: {} is no {kinds:?}", cut(&value.to_string(), 100)));
    }
    if let Value::Object(members) = value {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                found.push(format!("{at}: {name} is missing"));
            }
        }
        for (name, member) in members {
            let at = format!("{at}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => found.push(format!("{at}: not documented")),
                (Value::Null, more @ Value::Object(_)) => faults(document, more, member, &at, found),
                (Value::Null, _) => {}
                (known, _) => faults(document, known, member, &at, found),
            }
        }
    }
    if let (Value::Array(elements), Some(items)) = (value, schema.get("items")) {
        for (index, element) in elements.iter().enumerate() {
            faults(document, items, element, &format!("{at}[{index}]"), found);
        }
    }
}

fn check(document: &Value, schema: &Value, value: &Value, what: &str) {
    let mut found = Vec::new();
    faults(document, schema, value, "", &mut found);
    assert!(found.is_empty(), "{what}:\n{}\n{}", found.join("\n"), cut(&value.to_string(), 2000));
}

/// Path, method and operation of everything that is documented.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let of = |(path, item): (&String, &'_ Value)| -> Vec<(String, String)> {
        item.as_object().expect("an item").keys().map(|method| (path.clone(), method.clone())).collect()
    };
    let keys: Vec<(String, String)> = paths.iter().flat_map(of).collect();
    keys.into_iter()
        .map(|(path, method)| {
            let operation = &document["paths"][&path][&method];
            (path, method, operation)
        })
        .collect()
}

#[test]
fn every_reference_leads_somewhere() {
    let site = Site::start(&[]);
    let document = description(&site);
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 10);
    for reference in found {
        assert!(
            reference.starts_with("#/") && document.pointer(&reference[1..]).is_some(),
            "{reference} leads nowhere"
        );
    }
    let tags: BTreeSet<&str> =
        document["tags"].as_array().expect("tags").iter().filter_map(|tag| tag["name"].as_str()).collect();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let place = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].to_string()), "{place}: operationId");
        for key in ["summary", "description"] {
            assert!(operation[key].as_str().is_some_and(|text| !text.is_empty()), "{place}: {key}");
        }
        assert!(tags.contains(operation["tags"][0].as_str().unwrap_or("")), "{place}: tags");
        // Every parameter of the path.
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let is_documented =
                parameters.iter().any(|one| one["name"] == name && one["in"] == "path" && one["required"] == true);
            assert!(is_documented, "{place}: parameter {name}");
        }
        // Every error, each with its shape and an example.
        let responses = operation["responses"].as_object().expect("responses");
        let is_public = operation["security"].as_array().is_some_and(Vec::is_empty);
        let needed = [("200", true), ("500", true), ("401", !is_public), ("403", !is_public)];
        let of_bodies = ["400", "413", "415", "422"].map(|status| (status, operation["requestBody"].is_object()));
        for (status, needed) in needed.into_iter().chain(of_bodies) {
            assert!(!needed || responses.contains_key(status), "{place}: {status}");
        }
        for (status, response) in responses.iter().filter(|(status, _)| *status != "200") {
            let content = &resolve(&document, response)["content"]["application/problem+json"];
            assert_eq!(content["example"]["status"].to_string(), *status, "{place}");
            check(&document, &content["schema"], &content["example"], &format!("{place}: {status}"));
        }
        // Examples have the documented shape.
        let request = &operation["requestBody"]["content"]["application/json"];
        if request.is_object() {
            check(&document, &request["schema"], &request["example"], &format!("{place}: request"));
        }
        let answer = &operation["responses"]["200"]["content"]["application/json"];
        if answer.is_object() {
            check(&document, &answer["schema"], &answer["example"], &format!("{place}: answer"));
        }
    }
}

/// The documented requests, in an order in which each can succeed, and the answers that they get.
#[test]
fn the_documented_requests_are_answered_as_documented() {
    let site = Site::start(&[]);
    let (key, organization) = (site.api_key(), site.key("org", ORGANIZATION, None, &[]));
    let document = description(&site);
    let mut all = operations(&document);
    // What makes the example conversation, then its messages' feedback and events, then the rest; deletions last.
    let rank = |path: &str, method: &str| match (path, method) {
        ("/conversations", "post") => 0,
        ("/webapi/v2/conversation_categories", "post") => 1,
        ("/feedback" | "/events", "post") => 2,
        ("/conversations/{id}" | "/webapi/v2/conversations/{id}", "delete") => 5,
        ("/erase", "post") => 6,
        ("/erase/{id}", "get") => 7,
        (_, "delete") => 4,
        _ => 3,
    };
    all.sort_by_key(|(path, method, _)| rank(path, method));
    let (mut category, mut event, mut erasure) = (String::new(), String::new(), String::new());
    for (path, method, operation) in all {
        if path == "/webapi/v2/conversations/{id}" && method == "delete" {
            // The other way to delete the example was taken before.
            site.log(&key, r#"{"id":"c-1","type":"openai","messages":[{"role":"user","content":"again"}]}"#);
        }
        let filled = path
            .replace("/feedback/{id}", "/feedback/f-1")
            .replace("/semantic-threads/{id}", &format!("/semantic-threads/{}", thread(&site, &key)))
            .replace("/events/{id}", &format!("/events/{event}"))
            .replace("/erase/{id}", &format!("/erase/{erasure}"))
            .replace("{id}", "c-1")
            .replace("{externalId}", "t-1")
            .replace("{chatId}", "m-2")
            .replace("{categoryId}", &category);
        let mut filled = filled;
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = resolve(&document, parameter);
            let required = parameter["in"] == "query" && parameter["required"] == true;
            if let (true, Some(name), Some(example)) =
                (required, parameter["name"].as_str(), parameter["schema"]["examples"][0].as_str())
            {
                filled.push_str(if filled.contains('?') { "&" } else { "?" });
                filled.push_str(&format!("{name}={example}"));
            }
        }
        let request = &operation["requestBody"]["content"]["application/json"]["example"];
        let body = (!request.is_null()).then(|| request.to_string());
        let caller = if operation["x-keys"] == json!(["org"]) { &organization } else { &key };
        let answer = site.send(&method.to_uppercase(), &filled, caller, body.as_deref());
        let place = format!("{method} {filled}");
        assert_eq!(answer.status, 200, "{place}: {}\n{}", cut(&answer.text(), 1000), site.server.stderr());
        let kinds = operation["responses"]["200"]["content"].as_object().cloned().unwrap_or_default();
        let Some((kind, content)) = kinds.iter().next() else {
            assert!(answer.body.is_empty(), "{place}: {}", answer.text());
            continue;
        };
        let sent = answer.header("content-type").unwrap_or("");
        assert!(sent.split(';').next() == Some(kind), "{place}: {sent}, {kind} is documented");
        if kind == "application/json" {
            check(&document, &content["schema"], &answer.json(), &place);
        }
        match (path.as_str(), method.as_str()) {
            ("/events", "post") => event = answer.json()["id"].as_str().unwrap_or("").to_string(),
            ("/erase", "post") => erasure = answer.json()["id"].as_str().unwrap_or("").to_string(),
            _ => {}
        }
        if path == "/webapi/v2/conversation_categories" && method == "post" {
            category = answer.json()["categoryId"].as_str().unwrap_or("").to_string();
        }
    }
}

#[test]
fn the_page_needs_nothing_else() {
    let site = Site::start(&[]);
    let answer = site.server.request("GET", "/docs", None, None);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let page = answer.text();
    for (path, method, _) in operations(&description(&site)) {
        let entry = format!("data-search=\"{method} {path} ").to_lowercase();
        assert_eq!(page.matches(&entry).count(), 2, "{entry}: in the menu and in the text");
    }
    for loaded in ["<link rel=\"stylesheet\"", "<script src", "<img", "<iframe", "http-equiv"] {
        assert!(!page.contains(loaded), "{loaded}");
    }
}

/// The id of some thread.
fn thread(site: &Site, key: &str) -> String {
    let threads = site.query_view("semantic-threads", key, "{}");
    threads["result"][0]["id"].as_str().unwrap_or("none").to_owned()
}
