//! Reading request JSON: where one is, what was given, what is allowed there.

use std::fmt;

use super::suggest::nearest;
use crate::model::json::jsonb;
use crate::model::json::parser::{self, JsonErrorKind};
use crate::model::json::value::Json;
use crate::query::error::QueryError;

/// JSON levels of a request body. 64 filter levels cost two each, so this leaves over 100 for a condition's value;
/// stored properties have at most 32.
const JSON_LEVELS: usize = 256;
pub(crate) fn parse(body: &[u8]) -> Result<Json, QueryError> {
    // Numbers beyond the doubles compare as PostgreSQL's numeric does.
    parser::parse_literals(body, JSON_LEVELS).map_err(|error| {
        let message = match error.kind {
            JsonErrorKind::Syntax(message) => {
                return QueryError::Syntax(format!("{message} at byte {}", error.offset));
            }
            JsonErrorKind::TooDeep => format!("nested over {JSON_LEVELS} levels deep"),
            kind => kind.to_string(),
        };
        QueryError::Invalid { path: error.path, message }
    })
}

/// A place in the request: a chain of keys and indexes that lives on the stack and is printed only in errors.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    pub(crate) const ROOT: At<'static> = At { parent: None, step: Step::Root };

    pub(crate) fn key(&'a self, key: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Key(key) }
    }

    pub(crate) fn index(&'a self, index: usize) -> At<'a> {
        At { parent: Some(self), step: Step::Index(index) }
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> QueryError {
        QueryError::Invalid { path: self.to_string(), message: message.into() }
    }

    pub(crate) fn wrong_kind(&self, given: &Json, needed: &str) -> QueryError {
        self.error(format!("{} given, {needed} is needed", given.kind_name()))
    }

    /// An unknown word, with the nearest allowed one and the list of all.
    pub(crate) fn unknown<'n>(
        &self,
        what: &str,
        name: &str,
        allowed: impl Iterator<Item = &'n str> + Clone,
    ) -> QueryError {
        let hint = match nearest(name, allowed.clone()) {
            Some(near) => format!("did you mean `{near}`? "),
            None => String::new(),
        };
        let list = allowed.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        self.error(format!("unknown {what} {}; {hint}allowed: {list}", quoted(name)))
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Key(key) => {
                let dot = if self.parent.is_some_and(|parent| parent.parent.is_some()) { "." } else { "" };
                write!(f, "{dot}{}", clipped(key))
            }
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// Clients' words are repeated in errors only up to this many characters: a body may be 2 MB of one key.
const QUOTED_CHARACTERS: usize = 80;

pub(crate) fn clipped(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARACTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", clipped(text))
}

/// A request object all of whose keys are known.
pub(crate) struct Object<'a> {
    at: &'a At<'a>,
    json: &'a Json,
}

impl<'a> Object<'a> {
    pub(crate) fn read(json: &'a Json, at: &'a At<'a>, known: &[&str]) -> Result<Self, QueryError> {
        let Json::Object(entries) = json else {
            return Err(at.wrong_kind(json, "an object"));
        };
        for (key, _) in entries {
            if !known.contains(&key.as_str()) {
                return Err(at.key(key).unknown("key", key, known.iter().copied()));
            }
        }
        Ok(Object { at, json })
    }

    /// Null counts as absent for every optional key (contract A3).
    pub(crate) fn get(&self, key: &str) -> Option<&'a Json> {
        self.given(key).filter(|value| !matches!(value, Json::Null))
    }

    /// As [`Self::get`], but null is a value.
    pub(crate) fn given(&self, key: &str) -> Option<&'a Json> {
        self.json.get(key)
    }

    pub(crate) fn required(&self, key: &str, needed: &str) -> Result<&'a Json, QueryError> {
        self.get(key).ok_or_else(|| self.at.key(key).error(format!("missing; {needed} is needed")))
    }
}

pub(crate) fn string<'a>(json: &'a Json, at: &At<'_>) -> Result<&'a str, QueryError> {
    match json {
        Json::String(text) => Ok(text),
        other => Err(at.wrong_kind(other, "a string")),
    }
}

pub(crate) fn boolean(json: &Json, at: &At<'_>) -> Result<bool, QueryError> {
    match json {
        Json::Bool(value) => Ok(*value),
        other => Err(at.wrong_kind(other, "a boolean")),
    }
}

pub(crate) fn list<'a>(json: &'a Json, at: &At<'_>, most: usize) -> Result<&'a [Json], QueryError> {
    match json {
        Json::Array(elements) if elements.len() > most => {
            Err(at.error(format!("{} elements given, at most {most} are allowed", elements.len())))
        }
        Json::Array(elements) => Ok(elements),
        other => Err(at.wrong_kind(other, "a list")),
    }
}

/// One word of a closed set.
pub(crate) fn word<T: Copy>(json: &Json, at: &At<'_>, what: &str, words: &[(&str, T)]) -> Result<T, QueryError> {
    let given = string(json, at)?;
    match words.iter().find(|(word, _)| *word == given) {
        Some((_, meaning)) => Ok(*meaning),
        None => Err(at.unknown(what, given, words.iter().map(|(word, _)| *word))),
    }
}

/// An integer in any JSON spelling (`100`, `100.0`, `1e2`).
pub(crate) fn integer(json: &Json, at: &At<'_>, least: u64, most: u64) -> Result<usize, QueryError> {
    let Json::Number(token) = json else {
        return Err(at.wrong_kind(json, &format!("an integer from {least} to {most}")));
    };
    let plain = jsonb::number_text(token);
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let value = if whole == "-0" { Some(0) } else { whole.parse::<u64>().ok() };
    match value.and_then(|value| usize::try_from(value).ok().filter(|_| (least..=most).contains(&value))) {
        Some(value) if fraction.bytes().all(|digit| digit == b'0') => Ok(value),
        _ => Err(at.error(format!("{} given, an integer from {least} to {most} is needed", clipped(token)))),
    }
}
