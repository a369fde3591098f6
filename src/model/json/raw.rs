//! Values at paths straight from JSON text, without building a tree: this runs per row in queries. The text is JSON as
//! this server stored it (valid, unique keys); on anything else the answer is `None`, never a panic.

use std::borrow::Cow;
use std::collections::HashSet;

use super::parser::{self, unescape};
use super::value::next_special;
use super::{decimal, jsonb};

/// Deeper than anything the server stores.
const MAX_DEPTH: usize = 256;

/// The text of the value at a path, as `#>` finds it; tests hold it against `jsonb::at_path`.
pub(crate) fn at_path<'a>(text: &'a str, path: &[String]) -> Option<&'a str> {
    let bytes = text.as_bytes();
    let mut position = skip_space(bytes, 0);
    for element in path {
        position = match bytes.get(position)? {
            b'{' => find_key(text, position, element)?,
            b'[' => find_index(bytes, position, jsonb::array_index(element)?)?,
            _ => return None,
        };
    }
    text.get(position..skip_value(bytes, position)?)
}

/// The text at a path, as [`jsonb::text`] gives it; `None` for JSON null and missing values.
pub(crate) fn text_at<'a>(text: &'a str, path: &[String]) -> Option<Cow<'a, str>> {
    value_text(at_path(text, path)?)
}

/// [`jsonb::text`] of a whole JSON text.
pub(crate) fn value_text(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'n' => None,
        b'"' => string_value(raw),
        b'{' | b'[' => jsonb::text(&parser::parse(raw.as_bytes(), MAX_DEPTH).ok()?).map(Cow::Owned),
        b't' | b'f' => Some(Cow::Borrowed(raw)),
        _ => Some(decimal::plain(raw)),
    }
}

/// Decodes a JSON string, given with its quotes; `None` when it is none.
pub(crate) fn string_value(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.as_bytes().contains(&b'\\') { unescape(inner).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// `?` of the whole value: an object's key, an array's string element, or an equal string.
pub(crate) fn top_level_has_key(text: &str, key: &str) -> bool {
    let bytes = text.as_bytes();
    let start = skip_space(bytes, 0);
    match bytes.get(start) {
        Some(b'{') => find_key(text, start, key).is_some(),
        Some(b'[') => elements(bytes, start).any(|at| matches_string(text, at, key)),
        Some(b'"') => matches_string(text, start, key),
        _ => false,
    }
}

/// All keys that the whole value has, as [`top_level_has_key`] tells of one.
pub(crate) fn top_level_keys(text: &str) -> HashSet<Cow<'_, str>> {
    let elements = array_elements(text).filter_map(string_value);
    let keys: HashSet<Cow<'_, str>> = members(text).map(|(key, _)| key).chain(elements).collect();
    if keys.is_empty() {
        string_value(text.trim_start_matches([' ', '\n', '\r', '\t'])).into_iter().collect()
    } else {
        keys
    }
}

/// The members of an object, each with its key and the text of its value, in order; nothing for another value.
pub(crate) fn members(text: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    let bytes = text.as_bytes();
    let start = skip_space(bytes, 0);
    let mut next = (bytes.get(start) == Some(&b'{')).then(|| skip_space(bytes, start + 1));
    std::iter::from_fn(move || {
        let position = next.take()?;
        let (key_end, _) = string_end(bytes, position)?;
        let key = string_value(text.get(position..key_end)?)?;
        let colon = skip_space(bytes, key_end);
        if bytes.get(colon) != Some(&b':') {
            return None;
        }
        let value = skip_space(bytes, colon + 1);
        let end = skip_value(bytes, value)?;
        let after = skip_space(bytes, end);
        if bytes.get(after) == Some(&b',') {
            next = Some(skip_space(bytes, after + 1));
        }
        Some((key, text.get(value..end)?))
    })
}

/// The texts of an array's elements, in order; nothing for another value.
pub(crate) fn array_elements(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let start = skip_space(bytes, 0);
    let positions = (bytes.get(start) == Some(&b'[')).then(|| elements(bytes, start));
    positions.into_iter().flatten().map_while(move |at| text.get(at..skip_value(bytes, at)?))
}

fn matches_string(text: &str, start: usize, wanted: &str) -> bool {
    match string_end(text.as_bytes(), start) {
        Some((end, _)) => text.get(start..end).and_then(string_value).is_some_and(|value| value == wanted),
        None => false,
    }
}

fn skip_space(bytes: &[u8], mut position: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(position) {
        position += 1;
    }
    position
}

/// Where the string that starts at the quote `start` ends (after its quote), and whether it has escapes.
fn string_end(bytes: &[u8], start: usize) -> Option<(usize, bool)> {
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let mut position = next_special(bytes, start + 1);
    let mut escaped = false;
    loop {
        match bytes.get(position)? {
            b'"' => return Some((position + 1, escaped)),
            b'\\' => {
                escaped = true;
                position = next_special(bytes, position + 2);
            }
            _ => return None,
        }
    }
}

/// The position after the value at `start`.
fn skip_value(bytes: &[u8], start: usize) -> Option<usize> {
    match bytes.get(start)? {
        b'"' => string_end(bytes, start).map(|(end, _)| end),
        b'{' | b'[' => {
            let mut depth = 0usize;
            let mut position = start;
            loop {
                match bytes.get(position)? {
                    b'"' => {
                        position = string_end(bytes, position)?.0;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Some(position + 1);
                        }
                    }
                    _ => {}
                }
                position += 1;
            }
        }
        _ => {
            let rest = bytes.get(start..)?;
            let length = rest
                .iter()
                .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))
                .unwrap_or(rest.len());
            (length > 0).then_some(start + length)
        }
    }
}

/// Where the value of `key` starts in the object at `start`.
fn find_key(text: &str, start: usize, key: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut position = skip_space(bytes, start + 1);
    loop {
        let (key_end, escaped) = string_end(bytes, position)?;
        let found = if escaped {
            string_value(text.get(position..key_end)?)? == key
        } else {
            bytes.get(position + 1..key_end - 1)? == key.as_bytes()
        };
        position = skip_space(bytes, key_end);
        if bytes.get(position) != Some(&b':') {
            return None;
        }
        position = skip_space(bytes, position + 1);
        if found {
            return Some(position);
        }
        position = skip_space(bytes, skip_value(bytes, position)?);
        if bytes.get(position) != Some(&b',') {
            return None;
        }
        position = skip_space(bytes, position + 1);
    }
}

/// Where each element of the array at `start` starts.
fn elements(bytes: &[u8], start: usize) -> impl Iterator<Item = usize> + '_ {
    let first = skip_space(bytes, start + 1);
    let mut next = (bytes.get(first) != Some(&b']')).then_some(first);
    std::iter::from_fn(move || {
        let current = next.take()?;
        let end = skip_space(bytes, skip_value(bytes, current)?);
        if bytes.get(end) == Some(&b',') {
            next = Some(skip_space(bytes, end + 1));
        }
        Some(current)
    })
}

fn find_index(bytes: &[u8], start: usize, index: i64) -> Option<usize> {
    let index = if index < 0 { index.checked_add(elements(bytes, start).count() as i64)? } else { index };
    elements(bytes, start).nth(usize::try_from(index).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::random::Random;
    use crate::model::json::value::Json;

    #[test]
    fn members_and_elements() {
        let found: Vec<_> = members(r#" { "a" : 1 , "b\u0041\"":{"a":[1,"}"]},"":null , "s" : "x,}" } "#).collect();
        let expected = [("a", "1"), ("bA\"", r#"{"a":[1,"}"]}"#), ("", "null"), ("s", r#""x,}""#)];
        assert_eq!(found.iter().map(|(key, value)| (key.as_ref(), *value)).collect::<Vec<_>>(), expected);
        for none in ["{}", "{ }", "[]", r#"["a"]"#, "null", r#""{}""#, ""] {
            assert_eq!(members(none).count(), 0, "{none}");
        }
        let found: Vec<_> = array_elements(r#"[ 1, "a]" ,{"b":[2]} , [] ]"#).collect();
        assert_eq!(found, ["1", r#""a]""#, r#"{"b":[2]}"#, "[]"]);
        for none in ["[]", "[ ]", "{}", r#"{"a":[1]}"#, "7", ""] {
            assert_eq!(array_elements(none).count(), 0, "{none}");
        }
    }

    #[test]
    fn agrees_with_the_tree() {
        let mut random = Random::new(3);
        let mut found = 0;
        for _ in 0..20_000 {
            let value = Json::Array((0..6).map(|_| random.json(4)).collect());
            let mut path = random.path();
            path.insert(0, random.pick(&["0", "1", "-1", "2", "-3", "9"]).to_owned());
            let key = random.key();
            let text = value.to_string();
            let expected = jsonb::at_path(&value, &path);
            assert_eq!(at_path(&text, &path), expected.map(Json::to_string).as_deref(), "{text} {path:?}");
            let expected_text = expected.and_then(jsonb::text);
            assert_eq!(text_at(&text, &path).as_deref(), expected_text.as_deref(), "{text} {path:?}");
            assert_eq!(top_level_has_key(&text, &key), jsonb::has_key(&value, &key), "{text} {key:?}");
            found += usize::from(expected.is_some() && path.len() > 1);
        }
        assert!(found > 300, "{found}");
    }

    #[test]
    fn white_space_is_skipped() {
        let text = " { \"a\" : [ 1 , { \"b\" : \"x\\n\" } ] } ";
        let path = |elements: &[&str]| elements.iter().map(|element| (*element).to_owned()).collect::<Vec<_>>();
        assert_eq!(at_path(text, &path(&["a", "0"])), Some("1"));
        assert_eq!(text_at(text, &path(&["a", "-1", "b"])).as_deref(), Some("x\n"));
        assert_eq!(at_path(text, &path(&["b"])), None);
    }

    #[test]
    fn strings() {
        assert!(matches!(string_value(r#""abc""#), Some(Cow::Borrowed("abc"))));
        assert_eq!(string_value(r#""a\u00e9\n""#).as_deref(), Some("aé\n"));
        assert_eq!(string_value("1"), None);
        assert_eq!(string_value("\""), None);
    }

    #[test]
    fn broken_text_does_no_harm() {
        let mut random = Random::new(5);
        for _ in 0..20_000 {
            let mut text = random.json(4).to_string();
            let mut cut = random.below(text.len() + 1);
            while !text.is_char_boundary(cut) {
                cut -= 1;
            }
            text.truncate(cut);
            let _ = text_at(&text, &random.path());
            let _ = top_level_has_key(&text, "a");
            let _ = string_value(&text);
            let _ = value_text(&text);
        }
    }
}
