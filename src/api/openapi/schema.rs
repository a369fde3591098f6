//! Pieces of JSON Schema (2020-12) that the shapes of bodies are made of.

use serde_json::{Value, json};

/// A reference to a schema of the document.
pub(crate) fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("{PREFIX}{schema}") })
}

/// The name in a reference to a schema of the document.
pub(crate) fn schema_name(reference: &str) -> Option<&str> {
    reference.strip_prefix(PREFIX)
}

const PREFIX: &str = "#/components/schemas/";

/// JSON that a test has parsed before.
pub(crate) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

pub(crate) fn object(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

/// An object of an answer: every property is always there.
pub(crate) fn whole(properties: Value) -> Value {
    let required: Vec<String> = properties.as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

pub(crate) fn text() -> Value {
    json!({"type": "string"})
}

pub(crate) fn nullable_text() -> Value {
    json!({"type": ["string", "null"]})
}

pub(crate) fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

pub(crate) fn nullable_time() -> Value {
    json!({"type": ["string", "null"], "format": "date-time", "description": "ISO 8601 with a zone, or a date; kept to the millisecond."})
}

pub(crate) fn nullable(schema: &str) -> Value {
    json!({"oneOf": [reference(schema), {"type": "null"}]})
}

pub(crate) fn list_of(schema: Value) -> Value {
    json!({"type": "array", "items": schema})
}

pub(crate) fn nullable_texts() -> Value {
    json!({"type": ["array", "null"], "items": {"type": "string"}})
}

/// A property that is left out where it does not apply.
pub(crate) fn optional(schema: &mut Value, property: &str) {
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name != property);
    }
}

fn or_null(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    if let Some(kind @ Value::String(_)) = members.get_mut("type") {
        *kind = json!([kind.take(), "null"]);
        if let Some(Value::Array(values)) = members.get_mut("enum") {
            values.push(Value::Null);
        }
    } else if let Some(Value::Array(values)) = members.get_mut("enum") {
        values.push(Value::Null);
    } else if !members.contains_key("type") {
        *schema = json!({"anyOf": [schema.take(), {"type": "null"}]});
    }
}

/// Of a request: null for an optional key counts as absent (contract A3).
pub(crate) fn closed(mut properties: Value, required: &[&str]) -> Value {
    for (name, schema) in properties.as_object_mut().into_iter().flatten() {
        if !required.contains(&name.as_str()) {
            or_null(schema);
        }
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}
