//! JSON trees with numbers as spelled, and PostgreSQL's `jsonb` rules on them.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::number;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Bool(bool),
    /// The token as spelled.
    Number(String),
    String(String),
    Array(Vec<Value>),
    /// In the order as sent, without duplicate keys.
    Object(Vec<(String, Value)>),
}

impl Value {
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Object(pairs) => pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// As [`Value::get`], null counting as absent.
    pub fn given(&self, key: &str) -> Option<&Value> {
        self.get(key).filter(|value| **value != Value::Null)
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// Compact JSON, numbers as spelled.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        write(self, &mut text, false);
        text
    }
}

pub fn string(text: impl AsRef<str>) -> Value {
    Value::String(text.as_ref().to_string())
}

pub fn integer(value: impl Into<i64>) -> Value {
    Value::Number(value.into().to_string())
}

pub fn object(pairs: Vec<(&str, Value)>) -> Value {
    Value::Object(pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect())
}

/// Parses a document: of duplicate keys the last value wins, at the first one's place.
pub fn parse(text: &str) -> Result<Value, String> {
    Parser { text, at: 0, duplicates: true }.whole()
}

/// Parses an answer of the server, where duplicate keys are an error.
pub fn parse_answer(text: &str) -> Result<Value, String> {
    Parser { text, at: 0, duplicates: false }.whole()
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    duplicates: bool,
}

impl Parser<'_> {
    fn whole(mut self) -> Result<Value, String> {
        let value = self.value()?;
        self.space();
        if self.at == self.text.len() { Ok(value) } else { Err(self.error("text after the end")) }
    }

    fn error(&self, message: &str) -> String {
        format!("{message} at byte {}", self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn value(&mut self) -> Result<Value, String> {
        self.space();
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.eat("null") => Ok(Value::Null),
            _ if self.eat("true") => Ok(Value::Bool(true)),
            _ if self.eat("false") => Ok(Value::Bool(false)),
            _ => Err(self.error("a value is missing")),
        }
    }

    fn object(&mut self) -> Result<Value, String> {
        self.at += 1;
        let mut pairs: Vec<(String, Value)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        self.space();
        if self.eat("}") {
            return Ok(Value::Object(pairs));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.error("a key is missing"));
            }
            let key = self.string()?;
            self.space();
            if !self.eat(":") {
                return Err(self.error("a colon is missing"));
            }
            let value = self.value()?;
            match places.get(&key) {
                Some(_) if !self.duplicates => return Err(self.error(&format!("the key {key:?} comes twice"))),
                Some(place) => pairs[*place].1 = value,
                None => {
                    places.insert(key.clone(), pairs.len());
                    pairs.push((key, value));
                }
            }
            self.space();
            if self.eat("}") {
                return Ok(Value::Object(pairs));
            }
            if !self.eat(",") {
                return Err(self.error("a comma is missing"));
            }
        }
    }

    fn array(&mut self) -> Result<Value, String> {
        self.at += 1;
        let mut elements = Vec::new();
        self.space();
        if self.eat("]") {
            return Ok(Value::Array(elements));
        }
        loop {
            elements.push(self.value()?);
            self.space();
            if self.eat("]") {
                return Ok(Value::Array(elements));
            }
            if !self.eat(",") {
                return Err(self.error("a comma is missing"));
            }
        }
    }

    fn digits(&mut self) -> usize {
        let begin = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - begin
    }

    fn number(&mut self) -> Result<Value, String> {
        let begin = self.at;
        self.eat("-");
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return Err(self.error("a broken number"));
        }
        if self.eat(".") && self.digits() == 0 {
            return Err(self.error("a broken fraction"));
        }
        if self.eat("e") || self.eat("E") {
            let _ = self.eat("+") || self.eat("-");
            if self.digits() == 0 {
                return Err(self.error("a broken exponent"));
            }
        }
        Ok(Value::Number(self.text[begin..self.at].to_string()))
    }

    fn string(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut result = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(end) = rest.find(|character: char| matches!(character, '"' | '\\') || character < ' ') else {
                return Err(self.error("a string without an end"));
            };
            result.push_str(&rest[..end]);
            self.at += end;
            if self.eat("\"") {
                return Ok(result);
            }
            if !self.eat("\\") {
                return Err(self.error("a control character in a string"));
            }
            let escape = self.peek();
            self.at += 1;
            match escape {
                Some(b'n') => result.push('\n'),
                Some(b'r') => result.push('\r'),
                Some(b't') => result.push('\t'),
                Some(b'b') => result.push('\u{8}'),
                Some(b'f') => result.push('\u{c}'),
                Some(plain @ (b'"' | b'\\' | b'/')) => result.push(char::from(plain)),
                Some(b'u') => {
                    let first = self.hex()?;
                    let code = if (0xd800..0xdc00).contains(&first) {
                        if !self.eat("\\u") {
                            return Err(self.error("a lone surrogate"));
                        }
                        let second = self.hex()?;
                        if !(0xdc00..0xe000).contains(&second) {
                            return Err(self.error("a lone surrogate"));
                        }
                        0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                    } else {
                        first
                    };
                    result.push(char::from_u32(code).ok_or_else(|| self.error("a lone surrogate"))?);
                }
                _ => return Err(self.error("an unknown escape")),
            }
        }
    }

    fn hex(&mut self) -> Result<u32, String> {
        let digits = self.text.get(self.at..self.at + 4).ok_or_else(|| self.error("a broken \\u escape"))?;
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| self.error("a broken \\u escape"))
    }
}

/// A JSON string as PostgreSQL writes it.
pub fn write_string(text: &str, into: &mut String) {
    into.push('"');
    for character in text.chars() {
        match character {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            '\u{8}' => into.push_str("\\b"),
            '\u{c}' => into.push_str("\\f"),
            control if control < ' ' => into.push_str(&format!("\\u{:04x}", control as u32)),
            other => into.push(other),
        }
    }
    into.push('"');
}

/// `jsonb` = as `jsonb` prints it (key order, spaces, plain decimals); else compact and as spelled.
fn write(value: &Value, into: &mut String, jsonb: bool) {
    let (comma, colon) = if jsonb { (", ", ": ") } else { (",", ":") };
    match value {
        Value::Null => into.push_str("null"),
        Value::Bool(flag) => into.push_str(if *flag { "true" } else { "false" }),
        Value::Number(token) if jsonb => into.push_str(&number::numeric_text(token)),
        Value::Number(token) => into.push_str(token),
        Value::String(text) => write_string(text, into),
        Value::Array(elements) => {
            into.push('[');
            for (place, element) in elements.iter().enumerate() {
                if place > 0 {
                    into.push_str(comma);
                }
                write(element, into, jsonb);
            }
            into.push(']');
        }
        Value::Object(pairs) => {
            into.push('{');
            let pairs: Vec<&(String, Value)> = if jsonb { storage_order(pairs) } else { pairs.iter().collect() };
            for (place, (key, value)) in pairs.into_iter().enumerate() {
                if place > 0 {
                    into.push_str(comma);
                }
                write_string(key, into);
                into.push_str(colon);
                write(value, into, jsonb);
            }
            into.push('}');
        }
    }
}

/// Object keys as `jsonb` stores them: by byte length, then by bytes.
fn storage_order(pairs: &[(String, Value)]) -> Vec<&(String, Value)> {
    let mut sorted: Vec<&(String, Value)> = pairs.iter().collect();
    sorted.sort_by(|(left, _), (right, _)| left.len().cmp(&right.len()).then_with(|| left.cmp(right)));
    sorted
}

/// The text that `#>>` gives.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => {
            let mut text = String::new();
            write(other, &mut text, true);
            Some(text)
        }
    }
}

/// The value in `jsonb` key order, numbers without trailing fraction zeros: what a grouped whole field shows. Two
/// values are `jsonb`-equal exactly when these are the same.
pub fn canonical(value: &Value) -> Value {
    match value {
        Value::Number(token) => Value::Number(number::canonical_text(token)),
        Value::Array(elements) => Value::Array(elements.iter().map(canonical).collect()),
        Value::Object(pairs) => Value::Object(
            storage_order(pairs).into_iter().map(|(key, value)| (key.clone(), canonical(value))).collect(),
        ),
        other => other.clone(),
    }
}

/// The value at a path (`#>`); JSON null is a value here.
pub fn at_path<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    let mut current = value;
    for element in path {
        current = match current {
            Value::Object(_) => current.get(element)?,
            Value::Array(elements) => {
                let digits = element.strip_prefix('-').unwrap_or(element);
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return None;
                }
                let index: i64 = element.parse().ok()?;
                let index = if index < 0 { elements.len() as i64 + index } else { index };
                elements.get(usize::try_from(index).ok()?)?
            }
            _ => return None,
        };
    }
    Some(current)
}

pub fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => number::compare(left, right) == Ordering::Equal,
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(pairs)) => {
            left.len() == pairs.len()
                && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => left == right,
    }
}

/// `container @> contained`.
pub fn contains(container: &Value, contained: &Value) -> bool {
    match (container, contained) {
        // The one exception to equal shapes, at the top level only: an array may contain a primitive.
        (Value::Array(elements), Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            elements.iter().any(|element| equal(element, contained))
        }
        _ => contains_inside(container, contained),
    }
}

fn contains_inside(container: &Value, contained: &Value) -> bool {
    match (container, contained) {
        (Value::Object(_), Value::Object(pairs)) => {
            pairs.iter().all(|(key, wanted)| container.get(key).is_some_and(|value| contains_inside(value, wanted)))
        }
        (Value::Array(elements), Value::Array(wanted)) => {
            wanted.iter().all(|wanted| elements.iter().any(|element| contains_inside(element, wanted)))
        }
        (Value::Object(_) | Value::Array(_), _) | (_, Value::Object(_) | Value::Array(_)) => false,
        _ => equal(container, contained),
    }
}

/// `value ? key`.
pub fn has_key(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(_) => value.get(key).is_some(),
        Value::Array(elements) => elements.iter().any(|element| element.as_str() == Some(key)),
        Value::String(text) => text == key,
        _ => false,
    }
}

/// The `jsonb` btree order.
pub fn compare(left: &Value, right: &Value) -> Ordering {
    fn rank(value: &Value) -> u8 {
        match value {
            Value::Null => 0,
            Value::String(_) => 1,
            Value::Number(_) => 2,
            Value::Bool(_) => 3,
            Value::Array(_) => 4,
            Value::Object(_) => 5,
        }
    }
    match (left, right) {
        (Value::String(left), Value::String(right)) => left.chars().cmp(right.chars()),
        (Value::Number(left), Value::Number(right)) => number::compare(left, right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Array(left), Value::Array(right)) => left.len().cmp(&right.len()).then_with(|| {
            let orders = left.iter().zip(right).map(|(left, right)| compare(left, right));
            orders.fold(Ordering::Equal, Ordering::then)
        }),
        (Value::Object(left), Value::Object(right)) => left.len().cmp(&right.len()).then_with(|| {
            let pairs = storage_order(left).into_iter().zip(storage_order(right));
            let orders = pairs.map(|((left_key, left), (right_key, right))| {
                left_key.chars().cmp(right_key.chars()).then_with(|| compare(left, right))
            });
            orders.fold(Ordering::Equal, Ordering::then)
        }),
        _ => rank(left).cmp(&rank(right)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn parses() {
        assert_eq!(
            json(r#" {"a" : [1e5,-0.0,true,null,"\u00e9\ud83d\ude00\n"]} "#).to_text(),
            "{\"a\":[1e5,-0.0,true,null,\"é😀\\n\"]}"
        );
        assert_eq!(json(r#"{"a":1,"b":2,"a":3}"#).to_text(), r#"{"a":3,"b":2}"#);
        assert!(parse_answer(r#"{"a":1,"a":3}"#).is_err());
        for broken in
            ["", "01", "1.", ".5", "1e", "[1,]", "{\"a\":1,}", "\"\u{1}\"", "\"\\ud800\"", "nul", "1 2", "+1", "{a:1}"]
        {
            assert!(parse(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn prints_text_as_jsonb() {
        for (value, expected) in [
            ("\"a\\nb\"", Some("a\nb")),
            ("true", Some("true")),
            ("null", None),
            ("1e5", Some("100000")),
            ("1.10", Some("1.10")),
            (
                r#"{"bb":1,"a":[1.0,null,"x\"\u0001"],"c":{}}"#,
                Some("{\"a\": [1.0, null, \"x\\\"\\u0001\"], \"c\": {}, \"bb\": 1}"),
            ),
            ("[]", Some("[]")),
            // Byte length first: é has two bytes, so z comes before it.
            (r#"{"é":1,"z":2,"aa":3}"#, Some("{\"z\": 2, \"aa\": 3, \"é\": 1}")),
        ] {
            assert_eq!(text(&json(value)).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn walks_paths() {
        let value = json(r#"{"a":{"0":"key","b":[10,[20,30],null]},"":1}"#);
        let at = |path: &[&str]| {
            let path: Vec<String> = path.iter().map(ToString::to_string).collect();
            at_path(&value, &path).map(Value::to_text)
        };
        assert_eq!(at(&["a", "0"]).as_deref(), Some("\"key\""));
        assert_eq!(at(&["a", "b", "0"]).as_deref(), Some("10"));
        assert_eq!(at(&["a", "b", "-2", "-1"]).as_deref(), Some("30"));
        assert_eq!(at(&["a", "b", "01", "0"]).as_deref(), Some("20"));
        assert_eq!(at(&["a", "b", "2"]).as_deref(), Some("null"));
        assert_eq!(at(&[""]).as_deref(), Some("1"));
        for missing in [
            &["a", "b", "3"][..],
            &["a", "b", "-4"],
            &["a", "b", "x"],
            &["a", "b", "+1"],
            &["a", "b", ""],
            &["a", "b", "0", "0"],
            &["b"],
        ] {
            assert_eq!(at(missing), None, "{missing:?}");
        }
    }

    #[test]
    fn contains_as_postgresql() {
        for (container, contained, expected) in [
            ("[1,2,3]", "[1,3]", true),
            ("[1,2,3]", "[3,1,1]", true),
            (r#"{"product":"x","jsonb":true}"#, r#"{"jsonb":true}"#, true),
            ("[1,2,[1,3]]", "[1,3]", false),
            ("[1,2,[1,3]]", "[[1,3]]", true),
            ("[[1,2]]", "[[1]]", true),
            (r#"{"foo":{"bar":"baz"}}"#, r#"{"bar":"baz"}"#, false),
            (r#"{"foo":{"bar":"baz"}}"#, r#"{"foo":{}}"#, true),
            (r#"["foo","bar"]"#, "\"bar\"", true),
            ("\"bar\"", r#"["bar"]"#, false),
            ("5", "5.0", true),
            (r#"{"a":[1,2]}"#, r#"{"a":1}"#, false),
            ("[null]", "null", true),
            (r#"{"a":null}"#, r#"{"a":null}"#, true),
            ("{}", "{}", true),
            ("[]", "{}", false),
            ("[]", "[]", true),
            (r#"[{"a":1,"b":2}]"#, r#"[{"a":1}]"#, true),
            (r#"[{"a":1,"b":2}]"#, r#"{"a":1}"#, false),
        ] {
            assert_eq!(contains(&json(container), &json(contained)), expected, "{container} @> {contained}");
        }
    }

    #[test]
    fn equals_and_orders() {
        assert!(equal(&json(r#"{"a":1.0,"b":[1e1]}"#), &json(r#"{"b":[10],"a":1}"#)));
        assert!(!equal(&json("5"), &json("\"5\"")));
        assert!(!equal(&json("[1,2]"), &json("[2,1]")));
        let ascending = [
            "null",
            "\"\"",
            "\"Z\"",
            "\"a\"",
            "\"é\"",
            "\"\u{1f600}\"",
            "-5",
            "1.5",
            "10",
            "false",
            "true",
            "[]",
            "[9]",
            "[1,1]",
            "[1,2]",
            "{}",
            r#"{"b":1}"#,
            r#"{"a":1,"b":0}"#,
            r#"{"a":1,"b":1}"#,
            r#"{"a":2,"b":0}"#,
        ];
        for (left, first) in ascending.iter().enumerate() {
            for (right, second) in ascending.iter().enumerate() {
                assert_eq!(compare(&json(first), &json(second)), left.cmp(&right), "{first} {second}");
            }
        }
        // Keys are compared in storage order: `b` before `aa`, so `{"b":…}` against `{"aa":…}` is b > aa.
        assert_eq!(compare(&json(r#"{"b":1,"aa":9}"#), &json(r#"{"aa":0,"cc":1}"#)), Ordering::Greater);
    }

    #[test]
    fn looks_up_keys() {
        for (value, key, expected) in [
            (r#"{"a":null}"#, "a", true),
            (r#"["a",1]"#, "a", true),
            (r#"["a",1]"#, "1", false),
            ("\"a\"", "a", true),
            ("5", "5", false),
            (r#"{"a":{"b":1}}"#, "b", false),
        ] {
            assert_eq!(has_key(&json(value), key), expected, "{value} ? {key}");
        }
    }
}
