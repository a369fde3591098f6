//! The API's description in OpenAPI 3.1, made from the table of routes and the entries here.
//!
//! - [`operation`]: what is said about a route. Entries are found by method and path; a route without one fails a test,
//!   and an entry whose route does not exist is left out.
//! - [`conversations`], [`queries`], [`events`], [`erasures`], [`projects`], [`webapi`], [`service`]: the entries, as the contract groups them.
//! - [`schemas`], and beside the entries: the shapes of bodies, made of the pieces in [`schema`]. Only those that some
//!   route reaches are in the document.

mod conversations;
mod erasures;
mod events;
mod operation;
mod problems;
mod projects;
mod queries;
mod schema;
mod schemas;
mod service;
mod webapi;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use self::operation::{Answer, Operation};
pub(crate) use self::schema::schema_name;
use crate::api::http::route::Route;

/// In the order in which readers meet them.
static TAGS: [(&str, &str); 8] = [
    ("Conversations", "Log, read and delete conversations."),
    ("Queries", "Aggregate, filter and export what was logged, in one JSON query language."),
    ("Events", "Log what users do: searches, clicks, anything with a name."),
    ("Feedback", "Log and read ratings of messages."),
    ("Erasure", "Have what belongs to a user, or single conversations and events, erased for good."),
    ("Projects", "How long a project's data is kept, and how much it may be."),
    ("Conversation API", "The conversation API under `/webapi/v2`: lists, categories, states, titles and memos."),
    ("Service", "Health, readiness and this reference."),
];

/// Where a route stands among the entries: the order in which to read them.
pub(crate) fn position(method: &str, path: &str) -> Option<usize> {
    operations().position(|operation| operation.method == method && operation.path == path)
}

/// The examples of a route's body and JSON answer, as they are written in its entry.
pub(crate) fn examples(method: &str, path: &str) -> (Option<&'static str>, Option<&'static str>) {
    let Some(operation) = entry(method, path) else { return (None, None) };
    let answer = match &operation.answer {
        Answer::Json(content) => Some(content.example),
        Answer::Csv { example } => Some(*example),
        Answer::Html | Answer::Empty => None,
    };
    (operation.request.as_ref().map(|request| request.example), answer)
}

/// The description of these routes.
pub(crate) fn document<S>(routes: &[Route<S>]) -> Value {
    let mut paths = Map::new();
    let mut used_tags = BTreeSet::new();
    for route in routes {
        let Some(operation) = entry(route.method.as_str(), route.path) else { continue };
        used_tags.insert(operation.tag);
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(route.method.as_str().to_lowercase(), operation.to_json(route.access));
        }
    }
    let tags = TAGS.iter().filter(|(name, _)| used_tags.contains(name));
    let tags: Vec<Value> = tags.map(|(name, about)| json!({"name": name, "description": about})).collect();
    let mut schemas = schemas::schemas();
    schemas.extend(events::schemas());
    schemas.extend(erasures::schemas());
    schemas.extend(projects::schemas());
    schemas.extend(webapi::schemas());
    let mut reached = BTreeSet::from(["Problem".to_owned()]);
    for item in paths.values() {
        reach(item, &schemas, &mut reached);
    }
    schemas.retain(|name, _| reached.contains(name));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "convolake",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Columnar analytics for AI-support conversations",
            "description": INFO,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": problems::responses(),
            "parameters": operation::header_parameters(),
            "headers": {
                "x-request-id": {"description": "Names this request, also in the server's log.", "schema": {"type": "string"}},
                "Retry-After": {"description": "Whole seconds.", "schema": {"type": "integer", "minimum": 1}},
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`Authorization: Bearer <key>`. Keys are made with `convolake keys create`; each belongs to one project and is of a kind: `api` reads and writes, `web` logs and reads single conversations (`--scope query` lets it query), `org` reaches every project of its organization."
                },
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "API-KEY",
                    "description": "Under `/webapi/v2` the key may also stand in this header. Two different keys in the two headers, or one header twice: 401."
                },
            },
        },
    })
}

const INFO: &str = "\
Errors are `application/problem+json`; `detail` names the place in the request and what is allowed there. Beyond the \
errors of each route, an unknown path is 404 and a known path with another method 405.

Request bodies are JSON of at most 2,097,152 bytes, also after decompression (`Content-Encoding: gzip` or `zstd`). \
Unknown fields of documents are ignored; unknown keys of queries and of bodies under `/webapi/v2` are 422 with a \
suggestion.

Every answer has the header `x-request-id`. Times are ISO 8601 in UTC, to the millisecond. A key never reads or changes \
what belongs to another project: there it finds nothing.";

/// Adds the schemas that a part of the document refers to, and those that they refer to.
fn reach(part: &Value, schemas: &Map<String, Value>, reached: &mut BTreeSet<String>) {
    match part {
        Value::Object(members) => {
            if let Some(name) = members.get("$ref").and_then(Value::as_str).and_then(schema_name)
                && reached.insert(name.to_owned())
                && let Some(schema) = schemas.get(name)
            {
                reach(schema, schemas, reached);
            }
            members.values().for_each(|member| reach(member, schemas, reached));
        }
        Value::Array(elements) => elements.iter().for_each(|element| reach(element, schemas, reached)),
        _ => {}
    }
}

fn entry(method: &str, path: &str) -> Option<&'static Operation> {
    operations().find(|operation| operation.method == method && operation.path == path)
}

/// Every entry, also of routes that are not there.
fn operations() -> impl Iterator<Item = &'static Operation> {
    let parts: [&'static [Operation]; 7] = [
        conversations::OPERATIONS,
        queries::OPERATIONS,
        events::OPERATIONS,
        erasures::OPERATIONS,
        projects::OPERATIONS,
        webapi::OPERATIONS,
        service::OPERATIONS,
    ];
    parts.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_distinct() {
        let keys: Vec<_> = operations().map(|operation| (operation.method, operation.path)).collect();
        let ids: BTreeSet<_> = operations().map(|operation| operation.id).collect();
        let distinct: BTreeSet<_> = keys.iter().collect();
        assert_eq!((distinct.len(), ids.len()), (keys.len(), keys.len()), "two entries of one route or one id");
    }

    #[test]
    fn examples_are_json_and_tags_are_known() {
        for operation in operations() {
            let place = format!("{} {}", operation.method, operation.path);
            for example in operation.examples() {
                assert!(serde_json::from_str::<Value>(example).is_ok(), "{place}: {example}");
            }
            assert!(TAGS.iter().any(|(tag, _)| *tag == operation.tag), "{place}: {}", operation.tag);
            assert!(!operation.summary.ends_with('.') && !operation.summary.is_empty(), "{place}");
        }
    }
}
