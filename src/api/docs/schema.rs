//! JSON Schema as readers see it.

use std::fmt::Write;

use serde_json::Value;

use super::html::{elements, escape, inline, members, put, text};
use crate::api::openapi::schema_name;

/// Inline objects within objects are shown this deep; named ones are links.
const LEVELS: usize = 6;

/// What a reference means, or the value itself.
pub(crate) fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    target.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

/// The type in a few words, as HTML.
pub(crate) fn type_of(schema: &Value) -> String {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(schema_name) {
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    if let Some(value) = schema.get("const") {
        return format!("<code>{}</code>", escape(&value.to_string()));
    }
    if schema.get("enum").is_some() {
        return one_of(schema);
    }
    let choices: Vec<String> = elements(schema, "oneOf").map(type_of).collect();
    if !choices.is_empty() {
        return choices.join(" or ");
    }
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return "any".to_owned(),
    };
    let kinds: Vec<String> = kinds
        .into_iter()
        .map(|kind| match (kind, schema.get("items")) {
            ("array", Some(items)) => format!("list of {}", type_of(items)),
            ("string", _) if text(schema, "format") == "date-time" => "time".to_owned(),
            (kind, _) => kind.to_owned(),
        })
        .collect();
    kinds.join(" or ")
}

fn one_of(schema: &Value) -> String {
    let words: Vec<String> = elements(schema, "enum").map(|word| escape(&word.to_string())).collect();
    if words.len() <= 6 {
        return words.iter().map(|word| format!("<code>{word}</code>")).collect::<Vec<_>>().join(" or ");
    }
    let words: String = words.iter().map(|word| format!("<code>{word}</code> ")).collect();
    format!("<details class=\"words\"><summary>one of {}</summary>{words}</details>", elements(schema, "enum").count())
}

/// The schema with its fields, as HTML.
pub(crate) fn body(schema: &Value) -> String {
    let mut html = String::new();
    write_body(schema, LEVELS, &mut html);
    html
}

fn write_body(schema: &Value, levels: usize, html: &mut String) {
    let about = text(schema, "description");
    if !about.is_empty() {
        put!(html, "<p>{}</p>", inline(about));
    }
    if levels > 0 {
        write_inner(schema, levels, html);
    }
}

/// What lies within a schema, its own description aside.
fn write_inner(schema: &Value, levels: usize, html: &mut String) {
    if schema.get("properties").is_some() {
        html.push_str("<div class=\"fields\">");
        let is_needed = |name: &str| elements(schema, "required").any(|one| one == name);
        let all = || members(schema, "properties");
        for (name, field) in all().filter(|(name, _)| is_needed(name)) {
            write_field(name, field, true, levels, html);
        }
        for (name, field) in all().filter(|(name, _)| !is_needed(name)) {
            write_field(name, field, false, levels, html);
        }
        html.push_str("</div>");
        return;
    }
    for choice in elements(schema, "oneOf").filter(|choice| choice.get("properties").is_some()) {
        html.push_str("<div class=\"choice\">");
        write_body(choice, levels - 1, html);
        html.push_str("</div>");
    }
    if let Some(items) = schema.get("items") {
        write_inner(items, levels, html);
    }
}

fn write_field(name: &str, field: &Value, needed: bool, levels: usize, html: &mut String) {
    let needed = if needed { " <em>required</em>" } else { "" };
    let about = text(field, "description");
    let has_inner = has_inner(field);
    let kind = if has_inner && field.get("items").is_some() {
        "list".to_owned()
    } else if has_inner {
        "object".to_owned()
    } else {
        type_of(field)
    };
    put!(
        html,
        "<div class=\"field\"><code>{}</code> <span class=\"type\">{kind}{}</span>{needed}",
        escape(name),
        limits(field)
    );
    if !about.is_empty() {
        put!(html, "<p>{}</p>", inline(about));
    }
    if has_inner && levels > 1 {
        html.push_str("<details><summary>fields</summary>");
        write_inner(field, levels - 1, html);
        html.push_str("</details>");
    }
    html.push_str("</div>");
}

fn has_inner(schema: &Value) -> bool {
    schema.get("properties").is_some()
        || elements(schema, "oneOf").any(|choice| choice.get("properties").is_some())
        || schema.get("items").is_some_and(has_inner)
}

/// The bounds and the default of a value, as HTML.
pub(crate) fn limits(schema: &Value) -> String {
    let mut html = String::new();
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => put!(html, " · {least} to {most}"),
        (Some(least), None) => put!(html, " · from {least}"),
        _ => {}
    }
    for (key, before, after) in
        [("minItems", "at least", ""), ("maxItems", "at most", ""), ("maxLength", "at most", " characters")]
    {
        if let Some(bound) = schema.get(key) {
            put!(html, " · {before} {bound}{after}");
        }
    }
    if let Some(value) = schema.get("default") {
        put!(html, " · default <code>{}</code>", escape(&value.to_string()));
    }
    html
}
