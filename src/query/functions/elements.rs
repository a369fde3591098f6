//! Elements of lists as group keys, and bins of numbers (contract A5).

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Builder, ListBuilder, StringViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, Field};
use bigdecimal::{BigDecimal, One, RoundingMode, ToPrimitive};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::logical_expr::ScalarUDF;

use super::scalar::{Arguments, Kernel, function, name, single, single_text};
use crate::model::json::value::Json;
use crate::model::json::{decimal, jsonb, parser};
use crate::query::dsl::Bin;
use crate::query::watch::Pace;

/// Above the nesting that a document may have (contract A2).
const MAX_DEPTH: usize = 256;

/// Texts → Float64: the lower bounds of the bins that numbers and numerals lie in; null for any other text.
pub(crate) fn bin(bin: &Bin) -> Arc<ScalarUDF> {
    function(BinOf { bin: bin.clone(), bins: Bins::new(bin) })
}

/// JSON texts, or lists of strings → `List<Utf8View>`: the distinct texts of the elements, or of what they have at
/// `path`. With a bin → `List<Float64>`. What is not among the `kept` is one text more, or not there.
pub(crate) fn elements(path: &[String], bin: Option<&Bin>, kept: Option<Kept>) -> Arc<ScalarUDF> {
    let bins = bin.map(Bins::new);
    function(Elements { path: path.to_vec(), bin: bin.cloned(), bins, kept })
}

/// Which elements stay themselves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) texts: HashSet<String>,
    pub(crate) numbers: Vec<f64>,
    pub(crate) null: bool,
    /// What all others are.
    pub(crate) other: Option<String>,
}

#[derive(Clone, Debug)]
struct Bins {
    width: BigDecimal,
    offset: BigDecimal,
    /// Both as small integers, where they are.
    whole: Option<(i64, i64)>,
}

impl Bins {
    fn new(bin: &Bin) -> Bins {
        let exact = |text: &str| text.parse::<BigDecimal>().unwrap_or_default();
        let small = |text: &str| text.parse::<i64>().ok().filter(|value| value.abs() < 1 << 52);
        let whole = small(&bin.width).zip(small(&bin.offset));
        Bins { width: exact(&bin.width), offset: exact(&bin.offset), whole }
    }

    /// The bin of a numeral.
    fn of(&self, text: &str) -> Option<f64> {
        decimal::numeric_text(text)?;
        if let Some((width, offset)) = self.whole
            && let Ok(value) = text.parse::<i64>()
            && value.abs() < 1 << 52
        {
            return Some(((value - offset).div_euclid(width) * width + offset) as f64);
        }
        let value: BigDecimal = text.trim_start_matches('+').parse().ok()?;
        let distance = value - &self.offset;
        let mut bins = (&distance / &self.width).with_scale_round(0, RoundingMode::Floor);
        // The quotient has 100 digits only.
        if &bins * &self.width > distance {
            bins -= 1;
        } else if (&bins + BigDecimal::one()) * &self.width <= distance {
            bins += 1;
        }
        let bound = (bins * &self.width + &self.offset).to_f64()?;
        bound.is_finite().then_some(bound + 0.0)
    }
}

#[derive(Debug)]
struct BinOf {
    bin: Bin,
    bins: Bins,
}

impl PartialEq for BinOf {
    fn eq(&self, other: &Self) -> bool {
        self.bin == other.bin
    }
}

impl Eq for BinOf {}

impl Hash for BinOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bin.hash(state);
    }
}

impl Kernel for BinOf {
    fn name(&self) -> String {
        name("bin", &format!("{:?}", self.bin))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Text
    }

    fn return_type(&self) -> DataType {
        DataType::Float64
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let texts = single_text(columns)?;
        let mut pace = Pace::current();
        let mut bins = Float64Builder::with_capacity(texts.len());
        for text in &texts {
            pace.step(text.map_or(0, str::len))?;
            bins.append_option(text.and_then(|text| self.bins.of(text)));
        }
        Ok(Arc::new(bins.finish()))
    }
}

#[derive(Debug)]
struct Elements {
    path: Vec<String>,
    bin: Option<Bin>,
    bins: Option<Bins>,
    kept: Option<Kept>,
}

impl PartialEq for Elements {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.bin == other.bin && self.kept == other.kept
    }
}

impl Eq for Elements {}

impl Hash for Elements {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path.hash(state);
        self.bin.hash(state);
    }
}

impl Kernel for Elements {
    fn name(&self) -> String {
        let kept = self.kept.as_ref().map(|kept| {
            let mut texts: Vec<&String> = kept.texts.iter().collect();
            texts.sort_unstable();
            (texts, &kept.numbers, kept.null, &kept.other)
        });
        name("elements", &format!("{:?} {:?} {kept:?}", self.path, self.bin))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Any
    }

    fn return_type(&self) -> DataType {
        let element = if self.bins.is_some() { DataType::Float64 } else { DataType::Utf8View };
        DataType::List(Arc::new(Field::new_list_field(element, true)))
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let column = single(columns)?;
        let mut rows = Rows::new(self);
        let mut pace = Pace::current();
        let mut texts: Vec<String> = Vec::new();
        match column.as_list_opt::<i32>() {
            Some(lists) => {
                for list in lists.iter() {
                    pace.step(list.as_ref().map_or(0, |list| list.len() * size_of::<u128>()))?;
                    texts.clear();
                    let Some(list) = list else {
                        rows.push(&mut texts);
                        continue;
                    };
                    let strings: &StringViewArray = list
                        .as_string_view_opt()
                        .ok_or_else(|| internal_datafusion_err!("elements of a list that has no strings"))?;
                    texts.extend(strings.iter().flatten().map(str::to_owned));
                    rows.push(&mut texts);
                }
            }
            None => {
                for json in single_text(columns)?.iter() {
                    pace.step(json.map_or(0, str::len))?;
                    texts.clear();
                    if let Some(json) = json.and_then(|json| parser::parse(json.as_bytes(), MAX_DEPTH).ok()) {
                        self.texts_of(&json, &mut texts);
                    }
                    rows.push(&mut texts);
                }
            }
        }
        Ok(rows.finish())
    }
}

impl Elements {
    /// A text, a number or a boolean counts as a list of itself; an object has no elements.
    fn texts_of(&self, json: &Json, texts: &mut Vec<String>) {
        let elements = match json {
            Json::Array(elements) => elements.as_slice(),
            Json::Null | Json::Object(_) => &[],
            single => std::slice::from_ref(single),
        };
        for element in elements {
            let found = if self.path.is_empty() { Some(element) } else { jsonb::at_path(element, &self.path) };
            texts.extend(found.and_then(jsonb::text));
        }
    }
}

/// The lists that are made, row by row.
struct Rows<'a> {
    of: &'a Elements,
    texts: ListBuilder<StringViewBuilder>,
    numbers: ListBuilder<Float64Builder>,
}

impl<'a> Rows<'a> {
    fn new(of: &'a Elements) -> Rows<'a> {
        Rows { of, texts: ListBuilder::new(StringViewBuilder::new()), numbers: ListBuilder::new(Float64Builder::new()) }
    }

    fn push(&mut self, texts: &mut Vec<String>) {
        let kept = self.of.kept.as_ref();
        if let Some(bins) = &self.of.bins {
            let mut numbers: Vec<Option<f64>> = texts.iter().map(|text| bins.of(text)).collect();
            numbers.sort_unstable_by(|left, right| left.partial_cmp(right).unwrap_or(std::cmp::Ordering::Equal));
            numbers.dedup();
            numbers.retain(|number| {
                kept.is_none_or(|kept| match number {
                    Some(number) => kept.numbers.contains(number),
                    None => kept.null,
                })
            });
            numbers.into_iter().for_each(|number| self.numbers.values().append_option(number));
            return self.numbers.append(true);
        }
        texts.sort_unstable();
        texts.dedup();
        let (mut rest, mut label_stays) = (false, false);
        for text in texts.iter() {
            if kept.is_none_or(|kept| kept.texts.contains(text)) {
                self.texts.values().append_value(text);
                label_stays |= kept.is_some_and(|kept| kept.other.as_ref() == Some(text));
            } else {
                rest = true;
            }
        }
        // Of what does not stay the row has one, also where that is one of those that do.
        if let Some(label) = kept.and_then(|kept| kept.other.as_ref()).filter(|_| rest && !label_stays) {
            self.texts.values().append_value(label);
        }
        self.texts.append(true);
    }

    fn finish(mut self) -> ArrayRef {
        if self.of.bins.is_some() { Arc::new(self.numbers.finish()) } else { Arc::new(self.texts.finish()) }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Float64Type;

    use super::*;

    fn bin_of(width: &str, offset: &str, text: &str) -> Option<f64> {
        Bins::new(&Bin { width: width.to_owned(), offset: offset.to_owned() }).of(text)
    }

    #[test]
    fn bins_are_exact() {
        for (width, offset, text, expected) in [
            ("10", "0", "9", Some(0.0)),
            ("10", "0", "10", Some(10.0)),
            ("10", "0", "-1", Some(-10.0)),
            ("10", "5", "4", Some(-5.0)),
            // In doubles 0.3 / 0.1 is below 3.
            ("0.1", "0", "0.3", Some(0.3)),
            ("0.1", "0", "+.3e0", Some(0.3)),
            ("0.25", "0.05", "0.29", Some(0.05)),
            (
                "3",
                "0",
                "2.99999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999",
                Some(0.0),
            ),
            ("10", "0", "9007199254740999", Some(9007199254740990.0)),
            ("1", "0", "1e309", None),
            ("1", "0", "true", None),
            ("1", "0", "-0.5", Some(-1.0)),
        ] {
            assert_eq!(bin_of(width, offset, text), expected, "{width} {offset} {text}");
        }
    }

    fn texts(kernel: &Elements, json: &str) -> Vec<String> {
        let column: ArrayRef = Arc::new(StringViewArray::from(vec![json]));
        let lists = kernel.evaluate(&[column]).expect("a list");
        let list = lists.as_list::<i32>().value(0);
        match list.as_string_view_opt() {
            Some(strings) => strings.iter().map(|text| text.expect("no null").to_owned()).collect(),
            None => list.as_primitive::<Float64Type>().iter().map(|number| format!("{number:?}")).collect(),
        }
    }

    #[test]
    fn elements_are_distinct_texts() {
        let plain = Elements { path: Vec::new(), bin: None, bins: None, kept: None };
        assert_eq!(texts(&plain, r#"["b",1,1.0,null,"1",{"k":1},true,"b"]"#), ["1", "1.0", "b", "true", r#"{"k": 1}"#]);
        assert_eq!(texts(&plain, "\"x\""), ["x"]);
        assert!(
            texts(&plain, r#"{"a":1}"#).is_empty()
                && texts(&plain, "[]").is_empty()
                && texts(&plain, "null").is_empty()
        );
        let names = Elements { path: vec!["name".to_owned()], bin: None, bins: None, kept: None };
        assert_eq!(texts(&names, r#"[{"name":"b"},{"name":"a"},{"name":"b"},{"x":1},3]"#), ["a", "b"]);
        let bin = Bin { width: "10".to_owned(), offset: "0".to_owned() };
        let binned = Elements { path: Vec::new(), bins: Some(Bins::new(&bin)), bin: Some(bin), kept: None };
        assert_eq!(texts(&binned, r#"[1,9,"12","x",null]"#), ["None", "Some(0.0)", "Some(10.0)"]);
    }

    #[test]
    fn a_row_has_the_rest_once() {
        let kept = |other: &str| Kept {
            texts: ["a", "b"].map(str::to_owned).into(),
            numbers: Vec::new(),
            null: false,
            other: (!other.is_empty()).then(|| other.to_owned()),
        };
        let of = |other| Elements { path: Vec::new(), bin: None, bins: None, kept: Some(kept(other)) };
        assert_eq!(texts(&of("other"), r#"["a","c","d","other"]"#), ["a", "other"]);
        assert_eq!(texts(&of("b"), r#"["c","b"]"#), ["b"]);
        assert_eq!(texts(&of("b"), r#"["c"]"#), ["b"]);
        assert_eq!(texts(&of(""), r#"["a","c"]"#), ["a"]);
    }
}
