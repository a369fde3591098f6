//! A JSON value whose numbers stay as spelled, and its compact writer.

use std::fmt;

use serde_json::value::RawValue;

/// Object keys are unique and in the order given; numbers are the client's tokens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Compact JSON text as the client spelled its tokens: key order and number spelling kept, white space and duplicate
/// keys (the last wins) removed.
pub(crate) type RawJson = Box<RawValue>;

impl Json {
    /// The member of that name; `None` also for what is no object.
    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "boolean",
            Json::Number(_) => "number",
            Json::String(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        }
    }

    /// Appends compact JSON; numbers as spelled.
    pub(crate) fn write_compact(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(true) => out.push_str("true"),
            Json::Bool(false) => out.push_str("false"),
            Json::Number(token) => out.push_str(token),
            Json::String(text) => write_string(text, out),
            Json::Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    element.write_compact(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_string(key, out);
                    out.push(':');
                    value.write_compact(out);
                }
                out.push('}');
            }
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write_compact(&mut text);
        f.write_str(&text)
    }
}

/// The compact text of a value, in the form conversations keep it.
pub(crate) fn to_raw(value: &Json) -> RawJson {
    if let Json::String(text) = value {
        return string_to_raw(text);
    }
    let mut text = String::with_capacity(256);
    value.write_compact(&mut text);
    let raw = RawValue::from_string(text);
    debug_assert!(raw.is_ok(), "a parsed value has valid number tokens");
    raw.unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Like [`to_raw`] for a string, without the check that its text is JSON.
pub(crate) fn string_to_raw(text: &str) -> RawJson {
    serde_json::value::to_raw_value(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Appends a JSON string; escapes only what JSON and PostgreSQL's jsonb escape.
pub(crate) fn write_string(text: &str, out: &mut String) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push('"');
    let mut start = 0;
    loop {
        let stop = next_special(bytes, start);
        out.push_str(text.get(start..stop).unwrap_or_default());
        let Some(&byte) = bytes.get(stop) else { break };
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            other => {
                out.push_str("\\u00");
                let hex = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
                out.push(hex(other >> 4));
                out.push(hex(other & 15));
            }
        }
        start = stop + 1;
    }
    out.push('"');
}

/// Position of the next quote, backslash or control character, else the length. Eight bytes at a time: this is where
/// most of the time of an import goes.
pub(crate) fn next_special(bytes: &[u8], from: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut position = from;
    while let Some(chunk) = bytes.get(position..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        // Borrows only run upward, so the lowest mark is always a true one.
        let marks =
            (control | (quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash)) & HIGHS;
        if marks != 0 {
            return position + (marks.trailing_zeros() / 8) as usize;
        }
        position += 8;
    }
    let rest = bytes.get(position..).unwrap_or_default();
    rest.iter()
        .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
        .map_or(bytes.len().max(from), |offset| position + offset)
}
