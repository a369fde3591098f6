//! The fields of a body: what each may hold, and errors that say where and what is needed (contract A2).
//!
//! A field that is null counts as absent, and one that is not asked for is left out.

use std::fmt;

use super::ids::EpochMillis;
use super::json::parser::{self, JsonErrorKind, push_key};
use super::json::value::{Json, RawJson, to_raw, write_string};
use super::time::parse_document_time;

/// Nesting of `properties` and `userProperties`; the field itself is level 1.
const MAX_PROPERTY_LEVELS: usize = 32;
/// Longest id, in bytes.
const MAX_ID_BYTES: usize = 512;
/// Nesting of a whole body, unknown fields included: keeps the parser's stack small.
const MAX_BODY_LEVELS: usize = 128;

/// Why a body is no valid document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DocumentError {
    /// The body is not JSON at all (400); else it is invalid (422).
    pub(crate) syntax: bool,
    /// Like `messages[0].role`; empty for the body itself.
    pub(crate) path: String,
    pub(crate) message: String,
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for DocumentError {}

/// The JSON of a body within the limits that all documents share.
pub(crate) fn parse_body(body: &[u8]) -> Result<Json, DocumentError> {
    parser::parse(body, MAX_BODY_LEVELS).map_err(|error| match error.kind {
        JsonErrorKind::Syntax(_) => DocumentError { syntax: true, path: String::new(), message: error.to_string() },
        JsonErrorKind::TooDeep => DocumentError {
            syntax: false,
            path: error.path,
            message: format!("nested too deeply; allowed: {MAX_PROPERTY_LEVELS} levels in properties"),
        },
        kind => DocumentError { syntax: false, path: error.path, message: kind.to_string() },
    })
}

/// Where a value stands; made into text only for an error.
#[derive(Clone, Copy)]
pub(crate) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    pub(crate) fn key(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }

    pub(crate) fn index(&'a self, index: usize) -> Path<'a> {
        Path::Index(self, index)
    }

    fn write(&self, out: &mut String) {
        match self {
            Path::Root => {}
            Path::Key(parent, key) => {
                parent.write(out);
                push_key(out, key);
            }
            Path::Index(parent, index) => {
                parent.write(out);
                out.push_str(&format!("[{index}]"));
            }
        }
    }

    pub(crate) fn error(&self, message: String) -> DocumentError {
        let mut path = String::new();
        self.write(&mut path);
        DocumentError { syntax: false, path, message }
    }
}

pub(crate) fn wrong_kind(path: Path<'_>, given: &Json, needed: &str) -> DocumentError {
    path.error(format!("{} given, {needed} is needed", given.kind_name()))
}

pub(crate) fn not_allowed(path: Path<'_>, given: &str, allowed: &str) -> DocumentError {
    path.error(format!("{} given; allowed: {allowed}", shown(given)))
}

/// A given text in quotes, cut to a length that is good to read.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::new();
    match text.char_indices().nth(64).and_then(|(at, _)| text.get(..at)) {
        Some(start) => {
            write_string(start, &mut out);
            out.push('…');
        }
        None => write_string(text, &mut out),
    }
    out
}

/// The named members of an object, null as absent; others are dropped.
pub(crate) fn named<const N: usize>(
    value: Json,
    path: Path<'_>,
    names: [&str; N],
) -> Result<[Option<Json>; N], DocumentError> {
    let Json::Object(members) = value else { return Err(wrong_kind(path, &value, "an object")) };
    let mut found = [const { None }; N];
    for (key, value) in members {
        if let Some(slot) = names.iter().position(|name| *name == key).and_then(|at| found.get_mut(at))
            && value != Json::Null
        {
            *slot = Some(value);
        }
    }
    Ok(found)
}

/// An object of the members that are present.
pub(crate) fn object<const N: usize>(members: [(&str, Option<Json>); N]) -> Json {
    Json::Object(members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

pub(crate) fn required(value: Option<Json>, path: Path<'_>, needed: &str) -> Result<Json, DocumentError> {
    value.ok_or_else(|| path.error(format!("null or missing, {needed} is needed")))
}

pub(crate) fn array(value: Json, path: Path<'_>, needed: &str) -> Result<Vec<Json>, DocumentError> {
    match value {
        Json::Array(elements) => Ok(elements),
        other => Err(wrong_kind(path, &other, needed)),
    }
}

pub(crate) fn normalised_list(
    elements: Vec<Json>,
    path: Path<'_>,
    normalise: impl Fn(Json, Path<'_>) -> Result<Json, DocumentError>,
) -> Result<RawJson, DocumentError> {
    let normalised = elements
        .into_iter()
        .enumerate()
        .map(|(index, element)| normalise(element, path.index(index)))
        .collect::<Result<_, _>>()?;
    Ok(to_raw(&Json::Array(normalised)))
}

pub(crate) fn string(value: Option<Json>, path: Path<'_>) -> Result<Option<String>, DocumentError> {
    match value {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_kind(path, &other, "a string")),
    }
}

pub(crate) fn required_string(value: Option<Json>, path: Path<'_>) -> Result<String, DocumentError> {
    match required(value, path, "a string")? {
        Json::String(text) => Ok(text),
        other => Err(wrong_kind(path, &other, "a string")),
    }
}

pub(crate) fn string_list(value: Option<Json>, path: Path<'_>) -> Result<Option<Vec<String>>, DocumentError> {
    let Some(value) = value else { return Ok(None) };
    let texts =
        array(value, path, "an array of strings")?.into_iter().enumerate().map(|(index, element)| match element {
            Json::String(text) => Ok(text),
            other => Err(wrong_kind(path.index(index), &other, "a string")),
        });
    texts.collect::<Result<_, _>>().map(Some)
}

/// An id; one that stands in URLs (`in_paths`) can't be empty, `.` or `..`.
pub(crate) fn id_text(value: Option<Json>, path: Path<'_>, in_paths: bool) -> Result<Option<String>, DocumentError> {
    let Some(text) = string(value, path)? else { return Ok(None) };
    if text.len() > MAX_ID_BYTES {
        return Err(path.error(format!("{} bytes given; allowed: at most {MAX_ID_BYTES}", text.len())));
    }
    if in_paths && matches!(text.as_str(), "" | "." | "..") {
        return Err(path.error(format!("{} given; allowed: any other text, or null for none", shown(&text))));
    }
    Ok(Some(text))
}

pub(crate) fn time(value: Option<Json>, path: Path<'_>) -> Result<Option<EpochMillis>, DocumentError> {
    string(value, path)?.map(|text| parse_document_time(&text).map_err(|message| path.error(message))).transpose()
}

pub(crate) fn properties(value: Option<Json>, path: Path<'_>) -> Result<Option<RawJson>, DocumentError> {
    let Some(value) = value else { return Ok(None) };
    if !matches!(value, Json::Object(_)) {
        return Err(wrong_kind(path, &value, "an object"));
    }
    if exceeds_levels(&value, MAX_PROPERTY_LEVELS) {
        return Err(path.error(format!("nested over {MAX_PROPERTY_LEVELS} levels; allowed: {MAX_PROPERTY_LEVELS}")));
    }
    Ok(Some(to_raw(&value)))
}

/// Properties whose well-known keys have fixed types.
pub(crate) fn user_properties(value: Option<Json>, path: Path<'_>) -> Result<Option<RawJson>, DocumentError> {
    if let Some(Json::Object(members)) = &value {
        for (key, value) in members {
            let needed = match (key.as_str(), value) {
                ("id" | "userId", Json::String(_) | Json::Number(_) | Json::Null) => continue,
                ("id" | "userId", _) => "a string, a number or null",
                (
                    "identificationType" | "supportAgentName" | "supportAgentEmail" | "userType",
                    Json::String(_) | Json::Null,
                ) => continue,
                ("identificationType" | "supportAgentName" | "supportAgentEmail" | "userType", _) => "a string or null",
                _ => continue,
            };
            return Err(wrong_kind(path.key(key), value, needed));
        }
    }
    properties(value, path)
}

fn exceeds_levels(value: &Json, levels: usize) -> bool {
    let below = |value: &Json| levels == 0 || exceeds_levels(value, levels - 1);
    match value {
        Json::Array(elements) => levels == 0 || elements.iter().any(below),
        Json::Object(members) => levels == 0 || members.iter().any(|(_, value)| below(value)),
        _ => false,
    }
}
