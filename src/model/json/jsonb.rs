//! PostgreSQL's `jsonb` semantics on [`Json`] (contract A3): values at paths, printing, order.

#[cfg(test)]
use std::cmp::Ordering;

use super::decimal;
use super::value::{Json, write_string};

/// An array position as a path element spells it: `-?\d+`, negative from the end.
pub(crate) fn array_index(element: &str) -> Option<i64> {
    let digits = element.strip_prefix('-').unwrap_or(element);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    element.parse().ok()
}

/// The value at a path (`#>`); the empty path is the value itself. JSON null is `Some(Null)`.
pub(crate) fn at_path<'a>(value: &'a Json, path: &[String]) -> Option<&'a Json> {
    path.iter().try_fold(value, |value, element| match value {
        Json::Object(_) => value.get(element),
        Json::Array(elements) => {
            let index = array_index(element)?;
            let index = if index < 0 { index.checked_add(elements.len() as i64)? } else { index };
            elements.get(usize::try_from(index).ok()?)
        }
        _ => None,
    })
}

/// A value as text (`#>>`): null is `None`, strings as they are, the rest as jsonb prints it.
pub(crate) fn text(value: &Json) -> Option<String> {
    match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        other => {
            let mut out = String::new();
            print(other, false, &mut out);
            Some(out)
        }
    }
}

/// A number as jsonb prints it: plain decimal, trailing fraction zeros kept, no negative zero.
pub(crate) fn number_text(token: &str) -> String {
    decimal::plain(token).into_owned()
}

/// The value as jsonb prints it, numbers without trailing fraction zeros: equal texts if and only if the values are
/// equal.
pub(crate) fn canonical(value: &Json) -> String {
    let mut out = String::new();
    print(value, true, &mut out);
    out
}

fn print(value: &Json, trim_numbers: bool, out: &mut String) {
    match value {
        Json::Number(token) => {
            let plain = decimal::plain(token);
            let trimmed = if trim_numbers && plain.contains('.') {
                plain.trim_end_matches('0').trim_end_matches('.')
            } else {
                &plain
            };
            out.push_str(trimmed);
        }
        Json::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                print(element, trim_numbers, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (index, (key, value)) in in_jsonb_order(members).into_iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write_string(key, out);
                out.push_str(": ");
                print(value, trim_numbers, out);
            }
            out.push('}');
        }
        scalar => scalar.write_compact(out),
    }
}

/// Members by key length, then key bytes: the order jsonb stores and prints.
fn in_jsonb_order(members: &[(String, Json)]) -> Vec<&(String, Json)> {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    sorted
}

/// `value ? key`: an object's key, an array's string element, or an equal string.
#[cfg(test)]
pub(crate) fn has_key(value: &Json, key: &str) -> bool {
    match value {
        Json::Object(_) => value.get(key).is_some(),
        Json::Array(elements) => elements.iter().any(|element| matches!(element, Json::String(text) if text == key)),
        Json::String(text) => text == key,
        _ => false,
    }
}

/// Equality of jsonb values: neither key order nor number spelling matters.
pub(crate) fn equal(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Null, Json::Null) => true,
        (Json::Bool(a), Json::Bool(b)) => a == b,
        (Json::String(a), Json::String(b)) => a == b,
        (Json::Number(a), Json::Number(b)) => decimal::compare(a, b).is_eq(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Json::Object(left), Json::Object(right)) => {
            if left.len() != right.len() {
                return false;
            }
            if left.iter().zip(right).all(|((a, _), (b, _))| a == b) {
                return left.iter().zip(right).all(|((_, a), (_, b))| equal(a, b));
            }
            let pairs = in_jsonb_order(left).into_iter().zip(in_jsonb_order(right));
            pairs.into_iter().all(|((key_a, a), (key_b, b))| key_a == key_b && equal(a, b))
        }
        _ => false,
    }
}

/// The order of jsonb's B-tree: Object > Array > Boolean > Number > String > Null; of two arrays or objects the one with
/// more members is greater; strings and keys by code point. As in PostgreSQL, an empty array at the top is below all.
#[cfg(test)]
pub(crate) fn compare(a: &Json, b: &Json) -> Ordering {
    match (is_empty_array(a), is_empty_array(b)) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        _ => deep_compare(a, b),
    }
}

fn is_empty_array(value: &Json) -> bool {
    matches!(value, Json::Array(elements) if elements.is_empty())
}

fn rank(value: &Json) -> u8 {
    match value {
        Json::Null => 1,
        Json::String(_) => 2,
        Json::Number(_) => 3,
        Json::Bool(_) => 4,
        Json::Array(_) => 5,
        Json::Object(_) => 6,
    }
}

#[cfg(test)]
fn deep_compare(a: &Json, b: &Json) -> Ordering {
    let first_difference = |mut pairs: Box<dyn Iterator<Item = Ordering> + '_>| {
        pairs.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    match (a, b) {
        (Json::String(a), Json::String(b)) => a.cmp(b),
        (Json::Number(a), Json::Number(b)) => decimal::compare(a, b),
        (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
        (Json::Array(a), Json::Array(b)) => a
            .len()
            .cmp(&b.len())
            .then_with(|| first_difference(Box::new(a.iter().zip(b).map(|(a, b)| deep_compare(a, b))))),
        (Json::Object(a), Json::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
            let pairs = in_jsonb_order(a).into_iter().zip(in_jsonb_order(b));
            first_difference(Box::new(
                pairs.map(|((key_a, a), (key_b, b))| key_a.cmp(key_b).then_with(|| deep_compare(a, b))),
            ))
        }),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// Bytes whose order is that of jsonb values; tests hold it against `compare`.
pub(crate) fn sort_key(value: &Json) -> Vec<u8> {
    let mut out = Vec::new();
    if is_empty_array(value) {
        out.push(0);
    } else {
        write_sort_key(value, &mut out);
    }
    out
}

fn write_sort_key(value: &Json, out: &mut Vec<u8>) {
    out.push(rank(value));
    match value {
        Json::Null => {}
        Json::Bool(value) => out.push(u8::from(*value)),
        Json::Number(token) => decimal::write_sort_key(token, out),
        Json::String(text) => write_text_key(text, out),
        Json::Array(elements) => {
            out.extend_from_slice(&(elements.len() as u64).to_be_bytes());
            for element in elements {
                write_sort_key(element, out);
            }
        }
        Json::Object(members) => {
            out.extend_from_slice(&(members.len() as u64).to_be_bytes());
            for (key, value) in in_jsonb_order(members) {
                write_text_key(key, out);
                write_sort_key(value, out);
            }
        }
    }
}

/// The text, ended so that a prefix sorts first; a NUL in it would be `00 ff`.
fn write_text_key(text: &str, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::parser;
    use crate::model::json::random::Random;

    fn read(text: &str) -> Json {
        parser::parse(text.as_bytes(), 64).unwrap()
    }

    fn path(elements: &[&str]) -> Vec<String> {
        elements.iter().map(|element| (*element).to_owned()).collect()
    }

    #[test]
    fn values_at_paths() {
        let value = read(r#"{"a":{"b":[10,20,{"c":null}]},"0":"zero","":1}"#);
        let cases: &[(&[&str], Option<&str>)] = &[
            (&[], Some(r#"{"a":{"b":[10,20,{"c":null}]},"0":"zero","":1}"#)),
            (&["a", "b", "0"], Some("10")),
            (&["a", "b", "-1", "c"], Some("null")),
            (&["a", "b", "-3"], Some("10")),
            (&["a", "b", "-4"], None),
            (&["a", "b", "3"], None),
            (&["a", "b", "+1"], None),
            (&["a", "b", "1x"], None),
            (&["a", "b", "-"], None),
            (&["a", "b", ""], None),
            (&["a", "b", "01"], Some("20")),
            (&["a", "b", "-0"], Some("10")),
            (&["a", "b", "99999999999999999999"], None),
            (&["a", "b", "-9223372036854775808"], None),
            (&["0"], Some("\"zero\"")),
            (&["0", "x"], None),
            (&[""], Some("1")),
            (&["b"], None),
        ];
        for (elements, expected) in cases {
            let found = at_path(&value, &path(elements));
            assert_eq!(found.map(Json::to_string).as_deref(), *expected, "{elements:?}");
        }
    }

    #[test]
    fn texts() {
        let cases = [
            ("null", None),
            ("true", Some("true")),
            (r#""a\"b""#, Some("a\"b")),
            ("1e5", Some("100000")),
            ("-0.0", Some("0.0")),
            (
                r#"{"bb":1.10,"a":[1e2,null,"x\n\u0001é"],"aa":{}}"#,
                Some(r#"{"a": [100, null, "x\n\u0001é"], "aa": {}, "bb": 1.10}"#),
            ),
            ("[]", Some("[]")),
        ];
        for (value, expected) in cases {
            assert_eq!(text(&read(value)).as_deref(), expected, "{value}");
        }
        assert_eq!(
            canonical(&read(r#"{"b":1.10,"a":[2.0,-0.0,100,1e2,0.50]}"#)),
            r#"{"a": [2, 0, 100, 100, 0.5], "b": 1.1}"#
        );
        assert_eq!(canonical(&read("null")), "null");
    }

    #[test]
    fn keys() {
        let cases = [
            (r#"{"a":null}"#, "a", true),
            (r#"{"b":"a"}"#, "a", false),
            (r#"["a",1]"#, "a", true),
            (r#"[["a"],{"a":1}]"#, "a", false),
            ("[1]", "1", false),
            (r#""a""#, "a", true),
            (r#""ab""#, "a", false),
            ("null", "null", false),
            ("1", "1", false),
            (r#"{"a\nb":1}"#, "a\nb", true),
            ("{}", "", false),
        ];
        for (value, key, expected) in cases {
            assert_eq!(has_key(&read(value), key), expected, "{value} ? {key}");
            assert_eq!(crate::model::json::raw::top_level_has_key(value, key), expected, "raw {value} ? {key}");
        }
    }

    #[test]
    fn order_as_postgresql() {
        let ascending = [
            "[]",
            "null",
            r#""""#,
            r#""B""#,
            r#""a""#,
            r#""aa""#,
            r#""é""#,
            "-1.5",
            "0",
            "1.10",
            "10",
            "false",
            "true",
            "[2]",
            "[3]",
            r#"[{}]"#,
            "[1,2]",
            r#"[null,[]]"#,
            "{}",
            r#"{"a":1}"#,
            r#"{"a":2}"#,
            r#"{"a":[]}"#,
            r#"{"aa":0}"#,
            r#"{"b":0}"#,
            r#"{"a":1,"b":1}"#,
            r#"{"a":1,"c":0}"#,
        ];
        let mut values: Vec<Json> = ascending.iter().map(|text| read(text)).collect();
        // `[null,[]]` is below `[1,2]`, by its first element.
        values.swap(16, 17);
        for (i, a) in values.iter().enumerate() {
            for (j, b) in values.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
        // Inside, an empty array is like any other array.
        assert!(compare(&read("[[]]"), &read("[1]")).is_gt());
    }

    #[test]
    fn order_equality_printing_and_sort_keys_agree() {
        let mut random = Random::new(7);
        let values: Vec<Json> = (0..400).map(|_| random.json(3)).collect();
        for a in &values {
            for b in &values {
                let order = compare(a, b);
                assert_eq!(order, compare(b, a).reverse(), "{a} {b}");
                assert_eq!(order, sort_key(a).cmp(&sort_key(b)), "{a} {b}");
                assert_eq!(order.is_eq(), equal(a, b), "{a} {b}");
                assert_eq!(order.is_eq(), canonical(a) == canonical(b), "{a} {b}");
            }
        }
    }

    #[test]
    fn key_order_does_not_matter() {
        let (a, b) = (read(r#"{"a":1,"bb":{"x":1,"y":2}}"#), read(r#"{"bb":{"y":2.0,"x":1},"a":1e0}"#));
        assert!(equal(&a, &b));
        assert_eq!(canonical(&a), canonical(&b));
        assert_eq!(sort_key(&a), sort_key(&b));
    }
}
