//! Numbers: numerals in text, and exact decimals as a double with the exact text beside it where the two differ.

use std::cmp::Ordering;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Float64Array, Float64Builder, StringViewArray, StringViewBuilder,
};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::ScalarUDF;

use super::scalar::{Arguments, Kernel, function, name, single_text};
use crate::model::json::decimal;

/// Up to here every integer is a double, and its shortest text is its integer text.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// Text → Float64: strings that contract A3 counts as numeric; null for any other.
pub(crate) fn numeric_of_text() -> Arc<ScalarUDF> {
    function(NumericOfText)
}

/// (Float64, exact text) → Utf8View: the exact text, else the double's shortest decimal.
pub(crate) fn number_text() -> Arc<ScalarUDF> {
    function(NumberText)
}

/// (Float64, exact text) → Boolean: the exact value compared with the JSON number `literal`.
pub(crate) fn compare_number(literal: &str, comparison: NumberComparison) -> Arc<ScalarUDF> {
    function(CompareNumber::new(literal, comparison))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NumberComparison {
    Gt,
    Gte,
    Lt,
    Lte,
}

impl NumberComparison {
    pub(super) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Gt => ordering.is_gt(),
            Self::Gte => ordering.is_ge(),
            Self::Lt => ordering.is_lt(),
            Self::Lte => ordering.is_le(),
        }
    }
}

/// The shortest plain decimal that reads back as `value`.
pub(crate) fn write_shortest(value: f64, text: &mut String) {
    // Writing to a string can't fail.
    let _ = if value.trunc() == value && value.abs() < EXACT_INTEGERS {
        write!(text, "{}", value as i64)
    } else {
        write!(text, "{value}")
    };
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NumericOfText;

impl Kernel for NumericOfText {
    fn name(&self) -> String {
        "numeric_of_text".to_owned()
    }

    fn arguments(&self) -> Arguments {
        Arguments::Text
    }

    fn return_type(&self) -> DataType {
        DataType::Float64
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let texts = single_text(columns)?;
        let mut numbers = Float64Builder::with_capacity(texts.len());
        for text in &texts {
            numbers.append_option(text.and_then(decimal::numeric_text));
        }
        Ok(Arc::new(numbers.finish()))
    }
}

pub(super) fn number_columns(columns: &[ArrayRef]) -> Result<(&Float64Array, &StringViewArray)> {
    if let [doubles, exact] = columns
        && let Some(doubles) = doubles.as_primitive_opt::<Float64Type>()
        && let Some(exact) = exact.as_string_view_opt()
    {
        return Ok((doubles, exact));
    }
    internal_err!("Float64 and Utf8View columns needed")
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NumberText;

impl Kernel for NumberText {
    fn name(&self) -> String {
        "number_text".to_owned()
    }

    fn arguments(&self) -> Arguments {
        Arguments::Number
    }

    fn return_type(&self) -> DataType {
        DataType::Utf8View
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let (doubles, exact) = number_columns(columns)?;
        let mut texts = StringViewBuilder::with_capacity(doubles.len());
        let mut text = String::new();
        for (double, exact) in doubles.iter().zip(exact) {
            match (double, exact) {
                (_, Some(exact)) => texts.append_value(exact),
                (Some(double), None) => {
                    text.clear();
                    write_shortest(double, &mut text);
                    texts.append_value(&text);
                }
                (None, None) => texts.append_null(),
            }
        }
        Ok(Arc::new(texts.finish()))
    }
}

#[derive(Debug)]
struct CompareNumber {
    literal: String,
    comparison: NumberComparison,
    /// Of the literal, which may be as long as a request.
    key: Vec<u8>,
    /// The literal's nearest double; infinite beyond the doubles.
    double: f64,
    /// How `double` itself compares with the literal.
    double_to_literal: Ordering,
}

impl CompareNumber {
    fn new(literal: &str, comparison: NumberComparison) -> Self {
        let double = decimal::double(literal).unwrap_or(if literal.starts_with('-') {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        });
        let mut shortest = String::new();
        let double_to_literal = if double.is_finite() {
            write_shortest(double, &mut shortest);
            decimal::compare(&shortest, literal)
        } else {
            Ordering::Equal
        };
        let mut key = Vec::new();
        decimal::write_sort_key(literal, &mut key);
        Self { literal: literal.to_owned(), comparison, key, double, double_to_literal }
    }
}

impl PartialEq for CompareNumber {
    fn eq(&self, other: &Self) -> bool {
        self.literal == other.literal && self.comparison == other.comparison
    }
}

impl Eq for CompareNumber {}

impl Hash for CompareNumber {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.literal.hash(state);
        self.comparison.hash(state);
    }
}

impl Kernel for CompareNumber {
    fn name(&self) -> String {
        name("compare_number", &format!("{:?},{}", self.comparison, self.literal))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Number
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let (doubles, exact) = number_columns(columns)?;
        let mut results = BooleanBuilder::with_capacity(doubles.len());
        let mut key = Vec::new();
        for (row, double) in doubles.iter().enumerate() {
            // Rounding keeps order, so unequal doubles decide.
            results.append_option(double.map(|double| {
                let ordering = match double.partial_cmp(&self.double) {
                    Some(Ordering::Equal) if exact.is_valid(row) => {
                        key.clear();
                        decimal::write_sort_key(exact.value(row), &mut key);
                        key.cmp(&self.key)
                    }
                    Some(Ordering::Equal) => self.double_to_literal,
                    Some(unequal) => unequal,
                    None => return false,
                };
                self.comparison.holds(ordering)
            }));
        }
        Ok(Arc::new(results.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number_columns_of(rows: &[(Option<f64>, Option<&str>)]) -> [ArrayRef; 2] {
        [
            Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.0))),
            Arc::new(StringViewArray::from_iter(rows.iter().map(|row| row.1))),
        ]
    }

    #[test]
    fn texts_of_numbers() {
        let columns = number_columns_of(&[
            (Some(5.0), None),
            (Some(-0.5), None),
            (Some(1e21), None),
            (Some(1.1), Some("1.10")),
            (None, None),
            (Some(9007199254740992.0), Some("9007199254740993")),
            (Some(1e-7), None),
        ]);
        let texts = NumberText.evaluate(&columns).unwrap();
        let expected = [
            Some("5"),
            Some("-0.5"),
            Some("1000000000000000000000"),
            Some("1.10"),
            None,
            Some("9007199254740993"),
            Some("0.0000001"),
        ];
        assert_eq!(texts.as_string_view().iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn numerals_in_text() {
        let texts = ["5", "+.5e1", "1.", "-0", "1e400", "", "abc", " 1", "0x1"];
        let column: ArrayRef = Arc::new(StringViewArray::from_iter(texts.map(Some).into_iter().chain([None])));
        let numbers = NumericOfText.evaluate(&[column]).unwrap();
        let expected = [Some(5.0), Some(5.0), Some(1.0), Some(0.0), None, None, None, None, None, None];
        assert_eq!(numbers.as_primitive::<Float64Type>().iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn comparisons_are_exact() {
        use NumberComparison::{Gt, Gte, Lt, Lte};
        let big = "9007199254740993";
        let cases = [
            (Some(5.0), None, "5.0", Lte, Some(true)),
            (Some(5.0), None, "5.0000000000000000001", Lt, Some(true)),
            (Some(5.0), None, "5.0000000000000000001", Gte, Some(false)),
            (Some(5.0), None, "1e400", Lt, Some(true)),
            (Some(5.0), None, "-1e400", Lte, Some(false)),
            (Some(1e308), None, "1e99999999999999999999", Gt, Some(false)),
            (Some(0.0), None, "1e-99999999999999999999", Lt, Some(true)),
            (Some(9007199254740992.0), Some(big), "9007199254740992", Gt, Some(true)),
            (Some(9007199254740992.0), None, big, Lt, Some(true)),
            (Some(9007199254740992.0), Some(big), big, Gte, Some(true)),
            (Some(1.1), Some("1.10"), "1.1", Lte, Some(true)),
            (Some(1.1), Some("1.10"), "1.1", Lt, Some(false)),
            (Some(0.1), None, "0.1", Lte, Some(true)),
            (Some(0.0), None, "-0.0", Gte, Some(true)),
            (Some(7.0), None, "1e1", Lt, Some(true)),
            (None, None, "1", Gt, None),
        ];
        for (double, exact, literal, comparison, expected) in cases {
            let kernel = CompareNumber::new(literal, comparison);
            let result = kernel.evaluate(&number_columns_of(&[(double, exact)])).unwrap();
            assert_eq!(
                result.as_boolean().iter().next(),
                Some(expected),
                "{double:?} {exact:?} {comparison:?} {literal}"
            );
        }
    }
}
