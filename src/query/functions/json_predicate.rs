//! Predicates of raw JSON text with jsonb's semantics. JSON null counts as absent: the result is null, as for a null.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanBuilder};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use xxhash_rust::xxh3::Xxh3;

use super::json::parse;
use super::scalar::{Arguments, Kernel, function, name, single_text};
use crate::model::json::containment::Container;
use crate::model::json::jsonb::sort_key;
use crate::model::json::raw;
use crate::model::json::value::Json;
use crate::query::watch::Pace;

/// Up to so many keys are looked for in a text one by one; above, the text is taken apart once.
const SCANNED_KEYS: usize = 8;

/// The value equals any of `values`.
pub(crate) fn json_in(values: &[Json]) -> Arc<ScalarUDF> {
    function(Equality::new(Equal::In, values))
}

/// The value is an array that has an element equal to each of `values`.
pub(crate) fn json_array_contains(values: &[Json]) -> Arc<ScalarUDF> {
    function(Equality::new(Equal::Elements, values))
}

/// `@>`
pub(crate) fn json_contains(value: Json) -> Arc<ScalarUDF> {
    function(Containment::new(Side::Contains, value))
}

/// `<@`
pub(crate) fn json_contained_by(value: Json) -> Arc<ScalarUDF> {
    function(Containment::new(Side::ContainedBy, value))
}

/// The value is an array with an element that `@> object`.
pub(crate) fn json_array_contains_object(object: Json) -> Arc<ScalarUDF> {
    function(Containment::new(Side::HasElement, object))
}

/// `?&` (`all`) or `?|`; `?` with one key.
pub(crate) fn json_has_keys(keys: Vec<String>, all: bool) -> Arc<ScalarUDF> {
    function(HasKeys::new(keys, all))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Equal {
    In,
    Elements,
}

/// Values are their [`sort_key`]s: equal if and only if the values are, and short however a number is spelled.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Equality {
    test: Equal,
    /// Sorted, without duplicates.
    keys: Vec<Vec<u8>>,
    has_containers: bool,
}

impl Equality {
    fn new(test: Equal, values: &[Json]) -> Self {
        let mut keys: Vec<Vec<u8>> = values.iter().map(sort_key).collect();
        keys.sort_unstable();
        keys.dedup();
        let has_containers = values.iter().any(|value| matches!(value, Json::Array(_) | Json::Object(_)));
        Self { test, keys, has_containers }
    }

    /// Whether a value is one of these.
    pub(crate) fn any_of(values: &[Json]) -> Self {
        Self::new(Equal::In, values)
    }

    /// Whether an array has all of these.
    pub(crate) fn all_of(values: &[Json]) -> Self {
        Self::new(Equal::Elements, values)
    }

    pub(super) fn has(&self, value: &Json) -> bool {
        self.keys.binary_search(&sort_key(value)).is_ok()
    }

    pub(super) fn are_in(&self, value: &Json) -> bool {
        let Json::Array(elements) = value else { return false };
        if self.keys.len() > elements.len() {
            return false;
        }
        let mut elements = elements.iter().map(sort_key);
        match self.keys.as_slice() {
            [key] => elements.any(|element| element == *key),
            keys => {
                let elements: HashSet<Vec<u8>> = elements.collect();
                keys.iter().all(|key| elements.contains(key))
            }
        }
    }

    fn holds(&self, text: &str) -> Result<bool> {
        match self.test {
            Equal::In if !self.has_containers && text.starts_with(['{', '[']) => Ok(false),
            Equal::In => Ok(self.has(&parse(text)?)),
            Equal::Elements if !text.starts_with('[') => Ok(false),
            Equal::Elements => Ok(self.are_in(&parse(text)?)),
        }
    }
}

impl Kernel for Equality {
    fn name(&self) -> String {
        let function = match self.test {
            Equal::In => "json_in",
            Equal::Elements => "json_array_contains",
        };
        name(function, &digest(self.keys.iter().map(Vec::as_slice)))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Text
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        test_rows(columns, |text, _| self.holds(text))
    }
}

/// Constants may be long, so a name has their hash.
fn digest<'a>(constants: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hash = Xxh3::new();
    for constant in constants {
        hash.update(&(constant.len() as u64).to_le_bytes());
        hash.update(constant);
    }
    format!("#{:032x}", hash.digest128())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Contains,
    ContainedBy,
    /// An array has an element that contains the value.
    HasElement,
}

#[derive(Debug)]
pub(crate) struct Containment {
    side: Side,
    /// Of [`Side::HasElement`] an array of it alone.
    value: Json,
    /// Stands for the value in equality and hash.
    key: Vec<u8>,
}

impl Containment {
    pub(crate) fn new(side: Side, value: Json) -> Self {
        let value = if side == Side::HasElement { Json::Array(vec![value]) } else { value };
        Self { side, key: sort_key(&value), value }
    }

    pub(super) fn holds_of(&self, value: &Json, pace: &mut Pace) -> Result<bool> {
        let step = |bytes| pace.step(bytes);
        Ok(match (self.side, value) {
            (Side::Contains, _) | (Side::HasElement, Json::Array(_)) => {
                Container::new(value).contains(&self.value, step)?
            }
            (Side::ContainedBy, _) => Container::new(&self.value).contains(value, step)?,
            (Side::HasElement, _) => false,
        })
    }
}

impl PartialEq for Containment {
    fn eq(&self, other: &Self) -> bool {
        self.side == other.side && self.key == other.key
    }
}

impl Eq for Containment {}

impl Hash for Containment {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.side.hash(state);
        self.key.hash(state);
    }
}

impl Kernel for Containment {
    fn name(&self) -> String {
        let function = match self.side {
            Side::Contains => "json_contains",
            Side::ContainedBy => "json_contained_by",
            Side::HasElement => "json_array_contains_object",
        };
        name(function, &digest([self.key.as_slice()].into_iter()))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Text
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        // Serves all rows.
        let mut literal = Container::new(&self.value);
        test_rows(columns, |text, pace| match self.side {
            Side::Contains => raw_contains(text, &self.value, pace),
            Side::ContainedBy => Ok(literal.contains(&parse(text)?, |bytes| pace.step(bytes))?),
            Side::HasElement if text.starts_with('[') => parsed_contains(text, &self.value, pace),
            Side::HasElement => Ok(false),
        })
    }
}

fn parsed_contains(text: &str, value: &Json, pace: &mut Pace) -> Result<bool> {
    Ok(Container::new(&parse(text)?).contains(value, |bytes| pace.step(bytes))?)
}

/// `text @> value` by scanning for the object keys of `value`; only arrays are parsed.
fn raw_contains(text: &str, value: &Json, pace: &mut Pace) -> Result<bool> {
    match value {
        Json::Object(members) if text.starts_with('{') && members.len() <= SCANNED_KEYS => {
            for (key, member) in members {
                pace.step(text.len())?;
                let Some(at_key) = raw::at_path(text, std::slice::from_ref(key)) else {
                    return Ok(false);
                };
                // An array contains a bare scalar at the top only.
                let is_bare = !matches!(member, Json::Array(_) | Json::Object(_));
                if (is_bare && at_key.starts_with(['[', '{'])) || !raw_contains(at_key, member, pace)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Json::Object(_) if !text.starts_with('{') => Ok(false),
        Json::Object(_) => parsed_contains(text, value, pace),
        _ if text.starts_with('{') => Ok(false),
        _ => parsed_contains(text, value, pace),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct HasKeys {
    keys: Vec<String>,
    all: bool,
}

impl HasKeys {
    pub(crate) fn new(keys: Vec<String>, all: bool) -> Self {
        Self { keys, all }
    }

    pub(super) fn are_in(&self, value: &Json) -> bool {
        let of_value: HashSet<&str> = match value {
            Json::Object(members) => members.iter().map(|(key, _)| key.as_str()).collect(),
            Json::Array(elements) => elements.iter().filter_map(as_string).collect(),
            Json::String(text) => HashSet::from([text.as_str()]),
            _ => HashSet::new(),
        };
        let mut has = |key: &String| of_value.contains(key.as_str());
        if self.all { self.keys.iter().all(&mut has) } else { self.keys.iter().any(&mut has) }
    }
}

fn as_string(value: &Json) -> Option<&str> {
    match value {
        Json::String(text) => Some(text),
        _ => None,
    }
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
        test_rows(columns, |text, pace| {
            let mut keys = self.keys.iter();
            if self.keys.len() <= SCANNED_KEYS {
                pace.step(text.len().saturating_mul(self.keys.len()))?;
                let mut has = |key: &String| raw::top_level_has_key(text, key);
                return Ok(if self.all { keys.all(&mut has) } else { keys.any(&mut has) });
            }
            let of_text = raw::top_level_keys(text);
            let mut has = |key: &String| of_text.contains(key.as_str());
            Ok(if self.all { keys.all(&mut has) } else { keys.any(&mut has) })
        })
    }
}

/// What `test` says of each row that has a value.
fn test_rows(columns: &[ArrayRef], mut test: impl FnMut(&str, &mut Pace) -> Result<bool>) -> Result<ArrayRef> {
    let texts = single_text(columns)?;
    let mut results = BooleanBuilder::with_capacity(texts.len());
    let mut pace = Pace::current();
    for text in &texts {
        results.append_option(match text {
            Some(text) if text != "null" => {
                pace.step(text.len())?;
                Some(test(text, &mut pace)?)
            }
            _ => None,
        });
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

    #[derive(Debug)]
    enum Kind {
        Equality(Equal),
        Containment(Side),
    }

    #[test]
    fn predicates_of_values() {
        use Kind::{Containment, Equality};
        let cases: &[(Kind, &[&str], &str, bool)] = &[
            (Equality(Equal::In), &["5", "\"5\""], "5.0", true),
            (Equality(Equal::In), &["\"5\""], "5", false),
            (Equality(Equal::In), &["\"aA\""], r#""a\u0041""#, true),
            (Equality(Equal::In), &["true"], "false", false),
            (Equality(Equal::In), &[r#"{"a":1,"b":[1.0]}"#], r#"{"b":[1],"a":1e0}"#, true),
            (Equality(Equal::In), &["1"], "[1]", false),
            (Equality(Equal::In), &[], "1", false),
            (Containment(Side::Contains), &[r#"{"a":1}"#], r#"{"b":2,"a":1.0}"#, true),
            (Containment(Side::Contains), &[r#"{"a":1}"#], r#"{"a":[1]}"#, false),
            (Containment(Side::Contains), &[r#"{"a":[1]}"#], r#"{"a":[2,1]}"#, true),
            (Containment(Side::Contains), &[r#"{"a":[1]}"#], r#"{"a":1}"#, false),
            (Containment(Side::Contains), &[r#"{"a":{}}"#], r#"{"a":{"x":1}}"#, true),
            (Containment(Side::Contains), &[r#"{"a":{}}"#], r#"{"a":[]}"#, false),
            (Containment(Side::Contains), &[r#"{"a":null}"#], r#"{"a":null}"#, true),
            (Containment(Side::Contains), &[r#"{"a":null}"#], r#"{"b":null}"#, false),
            (Containment(Side::Contains), &["1"], "[2,1]", true),
            (Containment(Side::Contains), &["[1]"], "1", false),
            (Containment(Side::Contains), &[r#"[{"a":1}]"#], r#"[{"a":1,"b":2}]"#, true),
            (Containment(Side::Contains), &["\"x\""], "\"x\"", true),
            (Containment(Side::Contains), &["{}"], "[]", false),
            (Containment(Side::ContainedBy), &[r#"{"a":1,"b":2}"#], r#"{"a":1}"#, true),
            (Containment(Side::ContainedBy), &["[1,2]"], "2", true),
            (Containment(Side::ContainedBy), &["{}"], r#"{"a":1}"#, false),
            (Containment(Side::HasElement), &[r#"{"a":1}"#], r#"[3,{"a":1,"b":2}]"#, true),
            (Containment(Side::HasElement), &[r#"{"a":1}"#], r#"{"a":1}"#, false),
            (Containment(Side::HasElement), &["{}"], "[[]]", false),
            (Equality(Equal::Elements), &["1"], "[2,1.0]", true),
            (Equality(Equal::Elements), &["1", "\"x\""], r#"["x",2,1]"#, true),
            (Equality(Equal::Elements), &["1", "\"x\""], r#"["x",2]"#, false),
            (Equality(Equal::Elements), &["[1]"], "[1,2]", false),
            (Equality(Equal::Elements), &["1", "1.0"], "[1]", true),
            (Equality(Equal::Elements), &[], "[]", true),
            (Equality(Equal::Elements), &["1"], "1", false),
            (Equality(Equal::Elements), &["null"], "[null]", true),
        ];
        for (kind, constants, text, expected) in cases {
            let values = values(constants);
            let kernel: &dyn Fn(&str) -> Option<bool> = match kind {
                Kind::Equality(equal) => &|text| test(&super::Equality::new(*equal, &values), text),
                Kind::Containment(side) => &|text| test(&super::Containment::new(*side, values[0].clone()), text),
            };
            assert_eq!(kernel(text), Some(*expected), "{kind:?} {constants:?} {text}");
            assert_eq!(kernel("null"), None);
        }
    }

    /// Whether keys are looked for one by one or at once.
    #[test]
    fn many_keys_are_as_few() {
        let many: String = (0..20).map(|number| format!(r#""k{number}":1,"#)).collect();
        for (of_twenty, text) in [
            (20, format!("{{{many}\"x\":1}}")),
            (1, r#"["k3", 1, ["k4"]]"#.to_owned()),
            (1, "\"k7\"".to_owned()),
            (0, "7".to_owned()),
        ] {
            for all in [true, false] {
                let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
                let expected = if all { of_twenty == 20 } else { of_twenty > 0 };
                assert_eq!(test(&HasKeys { keys, all }, &text), Some(expected), "{text} {all}");
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
        let predicate = |texts: &[&str]| Equality::new(Equal::In, &values(texts));
        assert_eq!(predicate(&["1", "\"a\""]), predicate(&["\"a\"", "1.0"]));
        assert_ne!(predicate(&["1"]), predicate(&["2"]));
        assert_ne!(json_contains(Json::Null), json_contained_by(Json::Null));
        assert_ne!(json_has_keys(vec!["a".into()], true), json_has_keys(vec!["a".into()], false));
    }
}
