//! The parser of JSON values, and errors that say where in the text a value stands.

use std::fmt;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::decimal;
use super::value::{Json, next_special, write_string};

/// A number's plain decimal text may have so many characters (contract A2).
pub(crate) const MAX_NUMBER_CHARS: usize = 1_100;

/// Objects up to this size are searched for duplicate keys one by one; larger ones through a hash table.
const LINEAR_KEYS: usize = 24;

/// How much of a key, and of a whole path, an error message shows.
const SHOWN_KEY_CHARS: usize = 64;
const SHOWN_PATH_CHARS: usize = 400;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonErrorKind {
    #[error("not valid JSON: {0}")]
    Syntax(String),
    #[error("nested too deeply")]
    TooDeep,
    #[error("a string or key holds the character NUL, which is not allowed")]
    Nul,
    #[error("a string or key holds an unpaired surrogate, which is not allowed")]
    LoneSurrogate,
    #[error(
        "the number is too large or too long; allowed: finite as a double, at most {MAX_NUMBER_CHARS} characters as plain \
         decimal text"
    )]
    NumberTooLong,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct JsonError {
    pub(crate) kind: JsonErrorKind,
    /// Where it stands, like `messages[2].role`; empty for the whole value. A bad key shows its object's path.
    pub(crate) path: String,
    /// Byte offset in the input.
    pub(crate) offset: usize,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let JsonErrorKind::Syntax(_) = self.kind {
            return write!(f, "{} at byte {}", self.kind, self.offset);
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        fmt::Display::fmt(&self.kind, f)
    }
}

/// Parses one JSON text (RFC 8259, strictly). `max_depth` counts arrays and objects; 0 allows scalars only.
pub(crate) fn parse(input: &[u8], max_depth: usize) -> Result<Json, JsonError> {
    parse_with(input, max_depth, false)
}

/// The same with numbers of any size, for what is compared and never stored.
pub(crate) fn parse_literals(input: &[u8], max_depth: usize) -> Result<Json, JsonError> {
    parse_with(input, max_depth, true)
}

fn parse_with(input: &[u8], max_depth: usize, any_number: bool) -> Result<Json, JsonError> {
    let text = std::str::from_utf8(input).map_err(|error| JsonError {
        kind: JsonErrorKind::Syntax("not UTF-8".into()),
        path: String::new(),
        offset: error.valid_up_to(),
    })?;
    let mut parser = Parser { text, bytes: input, position: 0, levels_left: max_depth, any_number };
    let value = parser.value().and_then(|value| {
        parser.skip_space();
        if parser.position < input.len() { Err(parser.syntax("text after the value")) } else { Ok(value) }
    });
    value.map_err(|failure| JsonError { path: failure.path(), kind: failure.kind, offset: failure.offset })
}

/// Decodes what stands between the quotes of a JSON string.
pub(crate) fn unescape(text: &str) -> Result<String, JsonErrorKind> {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut start = 0;
    loop {
        let stop = next_special(bytes, start);
        out.push_str(text.get(start..stop).unwrap_or_default());
        if stop >= bytes.len() {
            return Ok(out);
        }
        if bytes.get(stop) != Some(&b'\\') {
            return Err(JsonErrorKind::Syntax("a control character in a string".into()));
        }
        start = stop + 2;
        match bytes.get(stop + 1) {
            Some(&plain @ (b'"' | b'\\' | b'/')) => out.push(char::from(plain)),
            Some(b'n') => out.push('\n'),
            Some(b't') => out.push('\t'),
            Some(b'r') => out.push('\r'),
            Some(b'b') => out.push('\u{8}'),
            Some(b'f') => out.push('\u{c}'),
            Some(b'u') => {
                let unit = hex4(bytes, start)?;
                start += 4;
                let code = match unit {
                    0xD800..=0xDBFF => {
                        if bytes.get(start) != Some(&b'\\') || bytes.get(start + 1) != Some(&b'u') {
                            return Err(JsonErrorKind::LoneSurrogate);
                        }
                        let low = hex4(bytes, start + 2)?;
                        start += 6;
                        if !(0xDC00..=0xDFFF).contains(&low) {
                            return Err(JsonErrorKind::LoneSurrogate);
                        }
                        0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
                    }
                    other => other,
                };
                match char::from_u32(code) {
                    Some('\0') => return Err(JsonErrorKind::Nul),
                    Some(character) => out.push(character),
                    None => return Err(JsonErrorKind::LoneSurrogate),
                }
            }
            _ => return Err(JsonErrorKind::Syntax("an unknown escape in a string".into())),
        }
    }
}

fn hex4(bytes: &[u8], start: usize) -> Result<u32, JsonErrorKind> {
    let digits = bytes.get(start..start + 4).unwrap_or_default();
    if digits.len() < 4 {
        return Err(JsonErrorKind::Syntax("an incomplete \\u escape".into()));
    }
    digits.iter().try_fold(0, |code, &byte| match char::from(byte).to_digit(16) {
        Some(digit) => Ok(code * 16 + digit),
        None => Err(JsonErrorKind::Syntax("an incomplete \\u escape".into())),
    })
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    position: usize,
    levels_left: usize,
    /// Whether numbers may be longer than what is stored.
    any_number: bool,
}

/// An error on its way up; each level adds where it stands.
struct Failure {
    kind: JsonErrorKind,
    offset: usize,
    segments: Vec<Segment>,
}

enum Segment {
    Key(String),
    Index(usize),
}

impl Failure {
    fn at(mut self: Box<Self>, segment: Segment) -> Box<Self> {
        self.segments.push(segment);
        self
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for segment in self.segments.iter().rev() {
            match segment {
                Segment::Key(key) => push_key(&mut path, key),
                Segment::Index(index) => path.push_str(&format!("[{index}]")),
            }
            if path.len() > SHOWN_PATH_CHARS {
                path.push('…');
                break;
            }
        }
        path
    }
}

/// Appends `.key`, or `["key"]` where the key is no plain name; long keys are cut.
pub(crate) fn push_key(path: &mut String, key: &str) {
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-$".contains(&byte));
    let cut = key.char_indices().nth(SHOWN_KEY_CHARS).map(|(at, _)| at);
    let shown = cut.and_then(|at| key.get(..at)).unwrap_or(key);
    if plain {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(shown);
    } else {
        path.push('[');
        write_string(shown, path);
        path.push(']');
    }
    if cut.is_some() {
        path.push('…');
    }
}

impl Parser<'_> {
    fn fail(&self, kind: JsonErrorKind, offset: usize) -> Box<Failure> {
        Box::new(Failure { kind, offset, segments: Vec::new() })
    }

    fn syntax(&self, what: &str) -> Box<Failure> {
        let what = if self.position >= self.bytes.len() { "the text ends too early" } else { what };
        self.fail(JsonErrorKind::Syntax(what.into()), self.position)
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.position) {
            self.position += 1;
        }
    }

    /// The next byte that is no white space, not consumed.
    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.bytes.get(self.position).copied()
    }

    fn value(&mut self) -> Result<Json, Box<Failure>> {
        match self.peek() {
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true", Json::Bool(true)),
            Some(b'f') => self.literal("false", Json::Bool(false)),
            Some(b'n') => self.literal("null", Json::Null),
            _ => Err(self.syntax("a value is needed")),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Json, Box<Failure>>) -> Result<Json, Box<Failure>> {
        if self.levels_left == 0 {
            return Err(self.fail(JsonErrorKind::TooDeep, self.position));
        }
        self.levels_left -= 1;
        self.position += 1;
        let value = read(self);
        self.levels_left += 1;
        value
    }

    fn literal(&mut self, word: &str, value: Json) -> Result<Json, Box<Failure>> {
        if self.bytes.get(self.position..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            self.position += word.len();
            return Ok(value);
        }
        Err(self.syntax("a value is needed"))
    }

    fn array(&mut self) -> Result<Json, Box<Failure>> {
        let mut elements = Vec::new();
        if self.peek() == Some(b']') {
            self.position += 1;
            return Ok(Json::Array(elements));
        }
        loop {
            elements.push(self.value().map_err(|failure| failure.at(Segment::Index(elements.len())))?);
            match self.peek() {
                Some(b',') => self.position += 1,
                Some(b']') => {
                    self.position += 1;
                    return Ok(Json::Array(elements));
                }
                _ => return Err(self.syntax("a comma or ] is needed")),
            }
        }
    }

    fn object(&mut self) -> Result<Json, Box<Failure>> {
        if self.peek() == Some(b'}') {
            self.position += 1;
            return Ok(Json::Object(Vec::new()));
        }
        let mut members = Members { list: Vec::with_capacity(8), ..Members::default() };
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.syntax("a key in quotes is needed"));
            }
            let key = self.string()?;
            if self.peek() != Some(b':') {
                return Err(self.syntax("a colon is needed"));
            }
            self.position += 1;
            match self.value() {
                Ok(value) => members.insert(key, value),
                Err(failure) => return Err(failure.at(Segment::Key(key))),
            }
            match self.peek() {
                Some(b',') => self.position += 1,
                Some(b'}') => {
                    self.position += 1;
                    return Ok(Json::Object(members.list));
                }
                _ => return Err(self.syntax("a comma or } is needed")),
            }
        }
    }

    fn string(&mut self) -> Result<String, Box<Failure>> {
        let start = self.position + 1;
        let mut end = next_special(self.bytes, start);
        let mut escaped = false;
        loop {
            match self.bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    end = next_special(self.bytes, end + 2);
                }
                Some(_) => {
                    self.position = end;
                    return Err(self.syntax("a control character in a string"));
                }
                None => {
                    self.position = self.bytes.len();
                    return Err(self.syntax(""));
                }
            }
        }
        self.position = end + 1;
        let inner = self.text.get(start..end).unwrap_or_default();
        if escaped { unescape(inner).map_err(|kind| self.fail(kind, start)) } else { Ok(inner.to_owned()) }
    }

    fn digits(&mut self) -> bool {
        let start = self.position;
        while let Some(b'0'..=b'9') = self.bytes.get(self.position) {
            self.position += 1;
        }
        self.position > start
    }

    fn number(&mut self) -> Result<Json, Box<Failure>> {
        let start = self.position;
        if self.bytes.get(start) == Some(&b'-') {
            self.position += 1;
        }
        match self.bytes.get(self.position) {
            Some(b'0') => self.position += 1,
            _ if self.digits() => {}
            _ => return Err(self.syntax("a digit is needed")),
        }
        if self.bytes.get(self.position) == Some(&b'.') {
            self.position += 1;
            if !self.digits() {
                return Err(self.syntax("a digit is needed"));
            }
        }
        let mut plain = true;
        if let Some(b'e' | b'E') = self.bytes.get(self.position) {
            plain = false;
            self.position += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.position) {
                self.position += 1;
            }
            if !self.digits() {
                return Err(self.syntax("a digit is needed"));
            }
        }
        let token = self.text.get(start..self.position).unwrap_or_default();
        // 300 plain digits are below the largest double.
        let known_good = self.any_number || (plain && token.len() <= 300);
        if !known_good && (decimal::plain_length(token) > MAX_NUMBER_CHARS || decimal::double(token).is_none()) {
            return Err(self.fail(JsonErrorKind::NumberTooLong, start));
        }
        Ok(Json::Number(token.to_owned()))
    }
}

/// The members of an object being read; of a key given twice the last value stays, at the first place.
#[derive(Default)]
struct Members {
    list: Vec<(String, Json)>,
    /// Positions in `list` by key, once there are more than [`LINEAR_KEYS`].
    index: HashTable<usize>,
    hasher: Option<DefaultHashBuilder>,
}

impl Members {
    fn insert(&mut self, key: String, value: Json) {
        let found = match &self.hasher {
            Some(hasher) => {
                let list = &self.list;
                let same = |&at: &usize| list.get(at).is_some_and(|(name, _)| *name == key);
                self.index.find(hasher.hash_one(key.as_str()), same).copied()
            }
            None => self.list.iter().position(|(name, _)| *name == key),
        };
        if let Some(slot) = found.and_then(|at| self.list.get_mut(at)) {
            slot.1 = value;
            return;
        }
        self.list.push((key, value));
        if self.list.len() > LINEAR_KEYS {
            let hasher = self.hasher.get_or_insert_default();
            let hash_of =
                |list: &[(String, Json)], at: usize| list.get(at).map_or(0, |(name, _)| hasher.hash_one(name.as_str()));
            let list = &self.list;
            if self.index.is_empty() {
                self.index.reserve(8 * LINEAR_KEYS, |_| 0);
            }
            for at in self.index.len()..list.len() {
                self.index.insert_unique(hash_of(list, at), at, |&other| hash_of(list, other));
            }
        }
    }
}

#[cfg(test)]
mod tests;
