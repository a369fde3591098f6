//! Values at a path of raw JSON text (compact, as stored), without building trees where a scan will do.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryBuilder, BooleanBuilder, Float64Builder, StringViewArray, StringViewBuilder,
};
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::logical_expr::ScalarUDF;

use super::number::write_shortest;
use super::scalar::{Arguments, Kernel, function, name, single_text};
use crate::model::json::value::Json;
use crate::model::json::{decimal, jsonb, parser, raw};
use crate::query::watch::Pace;

/// Above the nesting that a document may have (contract A2), so that stored JSON always parses.
const MAX_DEPTH: usize = 256;
/// Integers of so many digits are doubles, spelled as their shortest text.
const PLAIN_INTEGER_DIGITS: usize = 15;

/// The raw JSON at `path`: JSON null stays `null`, a missing value is null.
pub(crate) fn json_at(path: &[String]) -> Arc<ScalarUDF> {
    at_path(Part::Raw, path)
}

/// The text at `path` as `#>>` gives it.
pub(crate) fn json_text_at(path: &[String]) -> Arc<ScalarUDF> {
    at_path(Part::Text, path)
}

/// The string at `path`, decoded; null for any other type.
pub(crate) fn json_string_at(path: &[String]) -> Arc<ScalarUDF> {
    at_path(Part::String, path)
}

/// The JSON number at `path` as Float64 (negative zero as zero); null for any other type.
pub(crate) fn json_number_at(path: &[String]) -> Arc<ScalarUDF> {
    at_path(Part::Number, path)
}

/// The text of the JSON number at `path` as jsonb prints it, where it is not the shortest decimal of
/// [`json_number_at`]; else null.
pub(crate) fn json_number_text_at(path: &[String]) -> Arc<ScalarUDF> {
    at_path(Part::NumberText, path)
}

/// The JSON boolean at `path`; null for any other type.
pub(crate) fn json_boolean_at(path: &[String]) -> Arc<ScalarUDF> {
    at_path(Part::Boolean, path)
}

/// Whether there is a value at `path`, JSON null included; false for null input.
pub(crate) fn json_exists_at(path: &[String]) -> Arc<ScalarUDF> {
    at_path(Part::Exists, path)
}

/// The text that equals another's if and only if the values are equal in jsonb; null for JSON null.
pub(crate) fn json_canonical() -> Arc<ScalarUDF> {
    function(Whole::Canonical)
}

/// Binary whose order is that of jsonb; null for JSON null.
pub(crate) fn json_sort_key() -> Arc<ScalarUDF> {
    function(Whole::SortKey)
}

fn at_path(part: Part, path: &[String]) -> Arc<ScalarUDF> {
    function(AtPath { part, path: path.to_vec() })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Raw,
    Text,
    String,
    Number,
    NumberText,
    Boolean,
    Exists,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AtPath {
    part: Part,
    path: Vec<String>,
}

impl AtPath {
    /// The texts of the values at the path.
    fn values<'a>(&self, texts: &'a StringViewArray) -> impl Iterator<Item = Result<Option<&'a str>>> {
        let mut pace = Pace::current();
        texts.iter().map(move |text| {
            let Some(text) = text else { return Ok(None) };
            pace.step(text.len())?;
            Ok(raw::at_path(text, &self.path))
        })
    }

    fn strings<'a>(
        &self,
        texts: &'a StringViewArray,
        value: impl Fn(&'a str) -> Option<Cow<'a, str>>,
    ) -> Result<ArrayRef> {
        let mut values = StringViewBuilder::with_capacity(texts.len());
        for text in self.values(texts) {
            values.append_option(text?.and_then(&value));
        }
        Ok(Arc::new(values.finish()))
    }
}

impl Kernel for AtPath {
    fn name(&self) -> String {
        let function = match self.part {
            Part::Raw => "json_at",
            Part::Text => "json_text_at",
            Part::String => "json_string_at",
            Part::Number => "json_number_at",
            Part::NumberText => "json_number_text_at",
            Part::Boolean => "json_boolean_at",
            Part::Exists => "json_exists_at",
        };
        name(function, &format!("{:?}", self.path))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Text
    }

    fn return_type(&self) -> DataType {
        match self.part {
            Part::Raw | Part::Text | Part::String | Part::NumberText => DataType::Utf8View,
            Part::Number => DataType::Float64,
            Part::Boolean | Part::Exists => DataType::Boolean,
        }
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let texts = &single_text(columns)?;
        Ok(match self.part {
            Part::Raw => self.strings(texts, |value| Some(Cow::Borrowed(value)))?,
            Part::Text => self.strings(texts, raw::value_text)?,
            Part::String => self.strings(texts, raw::string_value)?,
            Part::NumberText => self.strings(texts, unusual_number_text)?,
            Part::Number => {
                let mut numbers = Float64Builder::with_capacity(texts.len());
                for text in self.values(texts) {
                    numbers.append_option(text?.filter(|value| is_number(value)).and_then(decimal::double));
                }
                Arc::new(numbers.finish())
            }
            Part::Boolean => {
                let mut booleans = BooleanBuilder::with_capacity(texts.len());
                for text in self.values(texts) {
                    booleans.append_option(match text? {
                        Some("true") => Some(true),
                        Some("false") => Some(false),
                        _ => None,
                    });
                }
                Arc::new(booleans.finish())
            }
            Part::Exists => {
                let mut present = BooleanBuilder::with_capacity(texts.len());
                for text in self.values(texts) {
                    present.append_value(text?.is_some());
                }
                Arc::new(present.finish())
            }
        })
    }
}

/// Whether a JSON text is a number.
pub(crate) fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// Whether a JSON number is an integer spelled the only way jsonb and the shortest decimal spell it.
pub(crate) fn is_plain_integer(token: &str) -> bool {
    let digits = token.strip_prefix('-').unwrap_or(token);
    digits.len() <= PLAIN_INTEGER_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()) && token != "-0"
}

fn unusual_number_text(token: &str) -> Option<Cow<'_, str>> {
    if !is_number(token) || is_plain_integer(token) {
        return None;
    }
    let mut shortest = String::new();
    write_shortest(decimal::double(token)?, &mut shortest);
    Some(decimal::plain(token)).filter(|plain| *plain != shortest)
}

/// Stored JSON as a tree.
pub(crate) fn parse(text: &str) -> Result<Json> {
    parser::parse(text.as_bytes(), MAX_DEPTH)
        .map_err(|error| internal_datafusion_err!("stored JSON does not parse: {error}"))
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Whole {
    Canonical,
    SortKey,
}

impl Kernel for Whole {
    fn name(&self) -> String {
        match self {
            Self::Canonical => "json_canonical".to_owned(),
            Self::SortKey => "json_sort_key".to_owned(),
        }
    }

    fn arguments(&self) -> Arguments {
        Arguments::Text
    }

    fn return_type(&self) -> DataType {
        match self {
            Self::Canonical => DataType::Utf8View,
            Self::SortKey => DataType::Binary,
        }
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let texts = single_text(columns)?;
        let mut pace = Pace::current();
        let values = texts.iter().map(|text| {
            let text = text.filter(|text| *text != "null");
            pace.step(text.map_or(0, str::len))?;
            Ok(text)
        });
        Ok(match self {
            Self::Canonical => {
                let mut canonical = StringViewBuilder::with_capacity(texts.len());
                for text in values {
                    let text: Result<Option<&str>> = text;
                    canonical.append_option(text?.map(canonical_text).transpose()?);
                }
                Arc::new(canonical.finish())
            }
            Self::SortKey => {
                let mut keys = BinaryBuilder::with_capacity(texts.len(), texts.len() * 16);
                for text in values {
                    let text: Result<Option<&str>> = text;
                    keys.append_option(text?.map(|text| parse(text).map(|value| jsonb::sort_key(&value))).transpose()?);
                }
                Arc::new(keys.finish())
            }
        })
    }
}

/// [`jsonb::canonical`] of a text; most scalars are spelled that way already.
pub(crate) fn canonical_text(text: &str) -> Result<Cow<'_, str>> {
    let is_canonical = match text.as_bytes().first() {
        Some(b'"') => !text.contains('\\'),
        Some(b't' | b'f' | b'n') => true,
        _ => is_plain_integer(text),
    };
    Ok(if is_canonical { Cow::Borrowed(text) } else { Cow::Owned(jsonb::canonical(&parse(text)?)) })
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Float64Type;

    use super::*;

    const ROW: &str = r#"{"s":"a\"ä","n":1.10,"i":42,"z":-0,"e":1e5,"big":9007199254740993,"t":true,"x":null,"o":{"bb":1,"a":[10,"20",false]},"str":"12"}"#;

    fn column(texts: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringViewArray::from_iter(texts.iter().copied()))
    }

    fn at(part: Part, path: &str) -> ArrayRef {
        let path = path.split('.').filter(|element| !element.is_empty()).map(str::to_owned).collect();
        let kernel = AtPath { part, path };
        let values = kernel.evaluate(&[column(&[Some(ROW), None])]).unwrap();
        assert_eq!(values.data_type(), &kernel.return_type());
        assert_eq!(values.is_null(1), part != Part::Exists);
        values
    }

    fn string(part: Part, path: &str) -> Option<String> {
        at(part, path).as_string_view().iter().next().flatten().map(str::to_owned)
    }

    #[test]
    fn texts_at_paths() {
        let cases = [
            // path, raw, text, string, number text
            ("s", Some(r#""a\"ä""#), Some("a\"ä"), Some("a\"ä"), None),
            ("n", Some("1.10"), Some("1.10"), None, Some("1.10")),
            ("i", Some("42"), Some("42"), None, None),
            ("z", Some("-0"), Some("0"), None, None),
            ("e", Some("1e5"), Some("100000"), None, None),
            ("big", Some("9007199254740993"), Some("9007199254740993"), None, Some("9007199254740993")),
            ("x", Some("null"), None, None, None),
            ("none", None, None, None, None),
            ("x.y", None, None, None, None),
            ("o", Some(r#"{"bb":1,"a":[10,"20",false]}"#), Some(r#"{"a": [10, "20", false], "bb": 1}"#), None, None),
            ("o.a.-2", Some(r#""20""#), Some("20"), Some("20"), None),
            ("o.a.0", Some("10"), Some("10"), None, None),
            ("o.a.3", None, None, None, None),
        ];
        for (path, raw, text, decoded, number_text) in cases {
            assert_eq!(string(Part::Raw, path).as_deref(), raw, "{path}");
            assert_eq!(string(Part::Text, path).as_deref(), text, "{path}");
            assert_eq!(string(Part::String, path).as_deref(), decoded, "{path}");
            assert_eq!(string(Part::NumberText, path).as_deref(), number_text, "{path}");
        }
        assert_eq!(string(Part::Raw, "").as_deref(), Some(ROW));
    }

    #[test]
    fn other_types_at_paths() {
        for (path, number, boolean, exists) in [
            ("n", Some(1.1), None, true),
            ("z", Some(0.0), None, true),
            ("str", None, None, true),
            ("t", None, Some(true), true),
            ("o.a.2", None, Some(false), true),
            ("x", None, None, true),
            ("none", None, None, false),
        ] {
            let numbers = at(Part::Number, path);
            let numbers = numbers.as_primitive::<Float64Type>();
            assert_eq!(numbers.iter().next().flatten().map(f64::to_bits), number.map(f64::to_bits), "{path}");
            assert_eq!(at(Part::Boolean, path).as_boolean().iter().next().flatten(), boolean, "{path}");
            assert_eq!(at(Part::Exists, path).as_boolean().iter().collect::<Vec<_>>(), [Some(exists), Some(false)]);
        }
    }

    #[test]
    fn whole_values() {
        let rows =
            column(&[Some(r#"{"bb":1.0,"a":"x"}"#), Some("null"), None, Some("7"), Some(r#""a\u0041""#), Some("-0")]);
        let canonical = Whole::Canonical.evaluate(&[Arc::clone(&rows)]).unwrap();
        let expected = [Some(r#"{"a": "x", "bb": 1}"#), None, None, Some("7"), Some(r#""aA""#), Some("0")];
        assert_eq!(canonical.as_string_view().iter().collect::<Vec<_>>(), expected);
        let keys = Whole::SortKey.evaluate(&[rows]).unwrap();
        let keys = keys.as_binary::<i32>();
        assert!(keys.is_null(1) && keys.is_null(2) && keys.value(0) > keys.value(3) && keys.value(3) > keys.value(4));
    }

    #[test]
    fn identity_covers_path_and_type() {
        let path = |element: &str| vec![element.to_owned()];
        assert_eq!(json_at(&path("a")), json_at(&path("a")));
        assert_ne!(json_at(&path("a")), json_at(&path("b")));
        assert_ne!(json_at(&path("a")), json_text_at(&path("a")));
        assert_ne!(json_at(&path("a")).name(), json_at(&path("b")).name());
        assert_ne!(json_at(&["a.b".to_owned()]).name(), json_at(&["a".to_owned(), "b".to_owned()]).name());
        let long = |last: &str| json_at(&["x".repeat(200), last.to_owned()]);
        assert_ne!(long("a").name(), long("b").name());
        assert!(long("a").name().len() < 100);
    }
}
