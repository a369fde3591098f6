//! Predicates of raw JSON text with jsonb's semantics. JSON null counts as absent: the result is null, as for a null.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanBuilder};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::json::{canonical_text, parse};
use super::scalar::{Arguments, Kernel, function, name, single_text};
use crate::model::json::value::Json;
use crate::model::json::{jsonb, raw};

/// The value equals any of `values`.
pub(crate) fn json_in(values: Vec<Json>) -> Arc<ScalarUDF> {
    predicate(Test::In, values)
}

/// `@>`
pub(crate) fn json_contains(value: Json) -> Arc<ScalarUDF> {
    predicate(Test::Contains, vec![value])
}

/// `<@`
pub(crate) fn json_contained_by(value: Json) -> Arc<ScalarUDF> {
    predicate(Test::ContainedBy, vec![value])
}

/// `?&` (`all`) or `?|`; `?` with one key.
pub(crate) fn json_has_keys(keys: Vec<String>, all: bool) -> Arc<ScalarUDF> {
    function(HasKeys { keys, all })
}

/// The value is an array with an element that `@> object`.
pub(crate) fn json_array_contains_object(object: Json) -> Arc<ScalarUDF> {
    predicate(Test::ArrayContainsObject, vec![object])
}

/// The value is an array that has an element equal to each of `values`.
pub(crate) fn json_array_contains(values: Vec<Json>) -> Arc<ScalarUDF> {
    predicate(Test::ArrayContains, values)
}

fn predicate(test: Test, values: Vec<Json>) -> Arc<ScalarUDF> {
    function(Predicate::new(test, values))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Test {
    In,
    Contains,
    ContainedBy,
    ArrayContainsObject,
    ArrayContains,
}

/// A test against constants; their canonical texts stand for them in equality and hash.
#[derive(Debug)]
struct Predicate {
    test: Test,
    values: Vec<Json>,
    /// Sorted, without duplicates.
    canonical: Vec<String>,
    /// `canonical`, for lookups.
    lookup: HashSet<String>,
    has_containers: bool,
}

impl Predicate {
    fn new(test: Test, values: Vec<Json>) -> Self {
        let mut canonical: Vec<String> = values.iter().map(jsonb::canonical).collect();
        canonical.sort_unstable();
        canonical.dedup();
        let has_containers = values.iter().any(|value| matches!(value, Json::Array(_) | Json::Object(_)));
        Self { test, lookup: canonical.iter().cloned().collect(), values, canonical, has_containers }
    }

    fn holds(&self, text: &str) -> Result<bool> {
        let is_array = text.starts_with('[');
        Ok(match self.test {
            Test::In if !self.has_containers && text.starts_with(['{', '[']) => false,
            Test::In => self.lookup.contains(canonical_text(text)?.as_ref()),
            Test::Contains => {
                for value in &self.values {
                    if !raw_contains(text, value)? {
                        return Ok(false);
                    }
                }
                true
            }
            Test::ContainedBy => {
                let given = parse(text)?;
                self.values.iter().all(|value| jsonb::contains(value, &given))
            }
            Test::ArrayContainsObject if is_array => {
                let Json::Array(elements) = parse(text)? else {
                    return Ok(false);
                };
                self.values.iter().all(|value| {
                    elements.iter().any(|element| matches!(element, Json::Object(_)) && jsonb::contains(element, value))
                })
            }
            Test::ArrayContains if is_array => {
                let Json::Array(elements) = parse(text)? else {
                    return Ok(false);
                };
                if self.canonical.len() > elements.len() {
                    false
                } else if self.canonical.len() == 1 {
                    self.values.iter().all(|value| elements.iter().any(|element| jsonb::equal(element, value)))
                } else {
                    let elements: HashSet<String> = elements.iter().map(jsonb::canonical).collect();
                    self.canonical.iter().all(|value| elements.contains(value))
                }
            }
            Test::ArrayContainsObject | Test::ArrayContains => false,
        })
    }
}

/// `text @> value` by scanning for the object keys of `value`; only arrays are parsed.
fn raw_contains(text: &str, value: &Json) -> Result<bool> {
    match value {
        Json::Object(members) => {
            if !text.starts_with('{') {
                return Ok(false);
            }
            for (key, member) in members {
                let Some(at_key) = raw::at_path(text, std::slice::from_ref(key)) else {
                    return Ok(false);
                };
                // An array contains a bare scalar at the top only.
                let is_bare = !matches!(member, Json::Array(_) | Json::Object(_));
                if (is_bare && at_key.starts_with(['[', '{'])) || !raw_contains(at_key, member)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ if text.starts_with('{') => Ok(false),
        _ => Ok(jsonb::contains(&parse(text)?, value)),
    }
}

impl PartialEq for Predicate {
    fn eq(&self, other: &Self) -> bool {
        self.test == other.test && self.canonical == other.canonical
    }
}

impl Eq for Predicate {}

impl std::hash::Hash for Predicate {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.test.hash(state);
        self.canonical.hash(state);
    }
}

impl Kernel for Predicate {
    fn name(&self) -> String {
        let function = match self.test {
            Test::In => "json_in",
            Test::Contains => "json_contains",
            Test::ContainedBy => "json_contained_by",
            Test::ArrayContainsObject => "json_array_contains_object",
            Test::ArrayContains => "json_array_contains",
        };
        name(function, &self.canonical.join(","))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Text
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        test_rows(columns, |text| self.holds(text))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct HasKeys {
    keys: Vec<String>,
    all: bool,
}

impl Kernel for HasKeys {
    fn name(&self) -> String {
        let function = if self.all { "json_has_all_keys" } else { "json_has_any_key" };
        name(function, &format!("{:?}", self.keys))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Text
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        test_rows(columns, |text| {
            let mut keys = self.keys.iter();
            let mut has = |key: &String| raw::top_level_has_key(text, key);
            Ok(if self.all { keys.all(&mut has) } else { keys.any(&mut has) })
        })
    }
}

fn test_rows(columns: &[ArrayRef], test: impl Fn(&str) -> Result<bool>) -> Result<ArrayRef> {
    let texts = single_text(columns)?;
    let mut results = BooleanBuilder::with_capacity(texts.len());
    for text in &texts {
        results.append_option(text.filter(|text| *text != "null").map(&test).transpose()?);
    }
    Ok(Arc::new(results.finish()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, StringViewArray};

    use super::*;

    fn rows(texts: &[&str]) -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(texts))
    }

    fn test(kernel: &impl Kernel, text: &str) -> Option<bool> {
        kernel.evaluate(&[rows(&[text])]).unwrap().as_boolean().iter().next().flatten()
    }

    fn values(texts: &[&str]) -> Vec<Json> {
        texts.iter().map(|text| parse(text).unwrap()).collect()
    }

    #[test]
    fn predicates_of_values() {
        use Test::{ArrayContains, ArrayContainsObject, ContainedBy, Contains, In};
        let cases: &[(Test, &[&str], &str, bool)] = &[
            (In, &["5", "\"5\""], "5.0", true),
            (In, &["\"5\""], "5", false),
            (In, &["\"aA\""], r#""a\u0041""#, true),
            (In, &["true"], "false", false),
            (In, &[r#"{"a":1,"b":[1.0]}"#], r#"{"b":[1],"a":1e0}"#, true),
            (In, &["1"], "[1]", false),
            (In, &[], "1", false),
            (Contains, &[r#"{"a":1}"#], r#"{"b":2,"a":1.0}"#, true),
            (Contains, &[r#"{"a":1}"#], r#"{"a":[1]}"#, false),
            (Contains, &[r#"{"a":[1]}"#], r#"{"a":[2,1]}"#, true),
            (Contains, &[r#"{"a":[1]}"#], r#"{"a":1}"#, false),
            (Contains, &[r#"{"a":{}}"#], r#"{"a":{"x":1}}"#, true),
            (Contains, &[r#"{"a":{}}"#], r#"{"a":[]}"#, false),
            (Contains, &[r#"{"a":null}"#], r#"{"a":null}"#, true),
            (Contains, &[r#"{"a":null}"#], r#"{"b":null}"#, false),
            (Contains, &["1"], "[2,1]", true),
            (Contains, &["[1]"], "1", false),
            (Contains, &[r#"[{"a":1}]"#], r#"[{"a":1,"b":2}]"#, true),
            (Contains, &["\"x\""], "\"x\"", true),
            (Contains, &["{}"], "[]", false),
            (ContainedBy, &[r#"{"a":1,"b":2}"#], r#"{"a":1}"#, true),
            (ContainedBy, &["[1,2]"], "2", true),
            (ContainedBy, &["{}"], r#"{"a":1}"#, false),
            (ArrayContainsObject, &[r#"{"a":1}"#], r#"[3,{"a":1,"b":2}]"#, true),
            (ArrayContainsObject, &[r#"{"a":1}"#], r#"{"a":1}"#, false),
            (ArrayContainsObject, &["{}"], "[[]]", false),
            (ArrayContains, &["1"], "[2,1.0]", true),
            (ArrayContains, &["1", "\"x\""], r#"["x",2,1]"#, true),
            (ArrayContains, &["1", "\"x\""], r#"["x",2]"#, false),
            (ArrayContains, &["[1]"], "[1,2]", false),
            (ArrayContains, &["1", "1.0"], "[1]", true),
            (ArrayContains, &[], "[]", true),
            (ArrayContains, &["1"], "1", false),
            (ArrayContains, &["null"], "[null]", true),
        ];
        for (kind, constants, text, expected) in cases {
            let kernel = Predicate::new(*kind, values(constants));
            assert_eq!(test(&kernel, text), Some(*expected), "{kind:?} {constants:?} {text}");
            assert_eq!(test(&kernel, "null"), None);
            if *kind == Contains {
                let direct = jsonb::contains(&parse(text).unwrap(), &values(constants)[0]);
                assert_eq!(direct, *expected, "{constants:?} {text}");
            }
        }
    }

    #[test]
    fn keys() {
        let keys = |keys: &[&str], all| HasKeys { keys: keys.iter().map(|key| (*key).to_owned()).collect(), all };
        for (kernel, text, expected) in [
            (keys(&["a"], true), r#"{"b":1,"a":null}"#, true),
            (keys(&["a", "c"], true), r#"{"b":1,"a":null}"#, false),
            (keys(&["a", "c"], false), r#"{"b":1,"a":null}"#, true),
            (keys(&[], true), "{}", true),
            (keys(&[], false), "{}", false),
            (keys(&["a"], false), r#"["a"]"#, true),
            (keys(&["a"], false), "\"a\"", true),
            (keys(&["1"], false), "1", false),
            (keys(&["x"], false), r#"{"a":{"x":1}}"#, false),
        ] {
            assert_eq!(test(&kernel, text), Some(expected), "{kernel:?} {text}");
        }
    }

    #[test]
    fn identity_covers_constants() {
        let predicate = |texts: &[&str]| Predicate::new(Test::In, values(texts));
        assert_eq!(predicate(&["1", "\"a\""]), predicate(&["\"a\"", "1.0"]));
        assert_ne!(predicate(&["1"]), predicate(&["2"]));
        assert_ne!(json_contains(Json::Null), json_contained_by(Json::Null));
        assert_ne!(json_has_keys(vec!["a".into()], true), json_has_keys(vec!["a".into()], false));
    }
}
