//! `in` with many values: one look-up a row, however many there are.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::logical_expr::ScalarUDF;
use xxhash_rust::xxh3::xxh3_128;

use super::number::{number_columns, write_shortest};
use super::scalar::{Arguments, Kernel, function, name, single, single_text};
use crate::model::json::decimal;

/// Utf8View → Boolean
pub(crate) fn text_in(texts: Vec<String>) -> Arc<ScalarUDF> {
    function(TextIn(Constants::new(texts.into_iter().collect())))
}

/// Int64 or what is one (times are milliseconds) → Boolean
pub(crate) fn whole_in(numbers: Vec<i64>) -> Arc<ScalarUDF> {
    function(WholeIn(Constants::new(numbers.into_iter().collect())))
}

/// `List<Utf8View>` → Boolean: the whole list equals one of these.
pub(crate) fn list_in(lists: Vec<Vec<String>>) -> Arc<ScalarUDF> {
    function(ListIn(Constants::new(lists.into_iter().map(|list| list.into_iter().map(Some).collect()).collect())))
}

/// (Float64, exact text) → Boolean: the exact value equals one of these JSON numbers.
pub(crate) fn number_in(tokens: &[&str]) -> Arc<ScalarUDF> {
    function(NumberIn::new(tokens))
}

/// A set that has a name.
#[derive(Debug)]
struct Constants<T: Eq + Hash> {
    values: HashSet<T>,
    digest: String,
}

impl<T: Eq + Hash + Ord> Constants<T> {
    fn new(values: HashSet<T>) -> Self
    where
        T: std::fmt::Debug,
    {
        let mut sorted: Vec<&T> = values.iter().collect();
        sorted.sort_unstable();
        let mut text = String::new();
        // Writing to a string can't fail.
        sorted.iter().for_each(|value| _ = write!(text, "{value:?},"));
        let digest = format!("{:032x}", xxh3_128(text.as_bytes()));
        Self { values, digest }
    }
}

impl<T: Eq + Hash> PartialEq for Constants<T> {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl<T: Eq + Hash> Eq for Constants<T> {}

impl<T: Eq + Hash> Hash for Constants<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextIn(Constants<String>);

impl Kernel for TextIn {
    fn name(&self) -> String {
        name("text_in", &self.0.digest)
    }

    fn arguments(&self) -> Arguments {
        Arguments::Text
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let texts = single_text(columns)?;
        let found: BooleanArray = texts.iter().map(|text| text.map(|text| self.0.values.contains(text))).collect();
        Ok(Arc::new(found))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WholeIn(Constants<i64>);

impl Kernel for WholeIn {
    fn name(&self) -> String {
        name("whole_in", &self.0.digest)
    }

    fn arguments(&self) -> Arguments {
        Arguments::Any
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let numbers = cast(single(columns)?, &DataType::Int64)?;
        let numbers: Option<&Int64Array> = numbers.as_primitive_opt();
        let numbers = numbers.ok_or_else(|| internal_datafusion_err!("whole_in needs whole numbers"))?;
        let found: BooleanArray = numbers.iter().map(|one| one.map(|one| self.0.values.contains(&one))).collect();
        Ok(Arc::new(found))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ListIn(Constants<Vec<Option<String>>>);

impl Kernel for ListIn {
    fn name(&self) -> String {
        name("list_in", &self.0.digest)
    }

    fn arguments(&self) -> Arguments {
        Arguments::Any
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let lists = single(columns)?.as_list_opt::<i32>();
        let lists = lists.ok_or_else(|| internal_datafusion_err!("list_in needs List<Utf8View>"))?;
        let mut results = BooleanBuilder::with_capacity(lists.len());
        for list in lists.iter() {
            results.append_option(match list {
                None => None,
                Some(list) => {
                    let texts = single_text(&[list])?;
                    let texts: Vec<Option<String>> = texts.iter().map(|text| text.map(str::to_owned)).collect();
                    Some(self.0.values.contains(&texts))
                }
            });
        }
        Ok(Arc::new(results.finish()))
    }
}

/// A number without an exact text is the shortest decimal of its double; one with it is compared by it.
#[derive(Debug)]
struct NumberIn {
    keys: Constants<Vec<u8>>,
    /// By the bits of the nearest doubles, whether one of the numbers is the shortest decimal of it.
    doubles: HashMap<u64, bool>,
}

impl NumberIn {
    fn new(tokens: &[&str]) -> Self {
        let (mut keys, mut doubles, mut shortest) = (HashSet::new(), HashMap::new(), String::new());
        for token in tokens {
            // Nothing that is stored is beyond the doubles.
            let Some(double) = decimal::double(token) else { continue };
            shortest.clear();
            write_shortest(double, &mut shortest);
            *doubles.entry(bits(double)).or_insert(false) |= decimal::compare(&shortest, token).is_eq();
            keys.insert(key(token));
        }
        Self { keys: Constants::new(keys), doubles }
    }
}

/// Both zeros are one.
fn bits(double: f64) -> u64 {
    (double + 0.0).to_bits()
}

fn key(token: &str) -> Vec<u8> {
    let mut key = Vec::new();
    decimal::write_sort_key(token, &mut key);
    key
}

impl PartialEq for NumberIn {
    fn eq(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

impl Eq for NumberIn {}

impl Hash for NumberIn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.keys.hash(state);
    }
}

impl Kernel for NumberIn {
    fn name(&self) -> String {
        name("number_in", &self.keys.digest)
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
        for (row, double) in doubles.iter().enumerate() {
            results.append_option(double.map(|double| match self.doubles.get(&bits(double)) {
                None => false,
                Some(_) if exact.is_valid(row) => self.keys.values.contains(&key(exact.value(row))),
                Some(is_shortest) => *is_shortest,
            }));
        }
        Ok(Arc::new(results.finish()))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, ListBuilder, StringViewArray, StringViewBuilder, TimestampMillisecondArray};

    use super::*;

    fn answers(kernel: &impl Kernel, columns: &[ArrayRef]) -> Vec<Option<bool>> {
        kernel.evaluate(columns).unwrap().as_boolean().iter().collect()
    }

    #[test]
    fn texts_numbers_times_and_lists() {
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter([Some("a"), Some("c"), None]));
        let wanted = ["a", "b"].map(str::to_owned);
        assert_eq!(answers(&TextIn(Constants::new(wanted.clone().into())), &[texts]), [Some(true), Some(false), None]);
        let times: ArrayRef =
            Arc::new(TimestampMillisecondArray::from_iter([Some(5), Some(-1), None]).with_timezone("UTC"));
        assert_eq!(answers(&WholeIn(Constants::new([5, 7].into())), &[times]), [Some(true), Some(false), None]);
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        lists.append_value([Some("a"), Some("b")]);
        lists.append_value([Some("b"), Some("a")]);
        lists.append(false);
        let lists: ArrayRef = Arc::new(lists.finish());
        let wanted = wanted.into_iter().map(Some).collect();
        assert_eq!(answers(&ListIn(Constants::new([wanted].into())), &[lists]), [Some(true), Some(false), None]);
    }

    /// As many comparisons one by one.
    #[test]
    fn exact_numbers() {
        let rows: [(Option<f64>, Option<&str>); 8] = [
            (Some(5.0), None),
            (Some(0.0), None),
            (Some(1.1), Some("1.10")),
            (Some(9_007_199_254_740_992.0), Some("9007199254740993")),
            (Some(9_007_199_254_740_992.0), Some("9007199254740992")),
            (Some(0.1), None),
            (Some(-2.5e20), Some("-250000000000000000000")),
            (None, None),
        ];
        let columns: [ArrayRef; 2] = [
            Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.0))),
            Arc::new(StringViewArray::from_iter(rows.iter().map(|row| row.1))),
        ];
        let lists: [&[&str]; 7] = [
            &["5.00", "-0.0"],
            &["1.1"],
            &["9007199254740993", "7"],
            &["9007199254740992.0"],
            &["0.1000000000000000055511151231257827", "1e400"],
            &["1e-1", "-2.5e20"],
            &[],
        ];
        for tokens in lists {
            let expected = rows.map(|(double, exact)| {
                let text =
                    exact.map_or_else(|| double.map(|double| double.to_string()), |exact| Some(exact.to_owned()));
                text.map(|text| tokens.iter().any(|token| decimal::compare(&text, token).is_eq()))
            });
            assert_eq!(answers(&NumberIn::new(tokens), &columns), expected, "{tokens:?}");
        }
        assert_eq!(NumberIn::new(&["5", "1e1"]), NumberIn::new(&["10.0", "5.0"]));
        assert_eq!(NumberIn::new(&["5", "1e1"]).name(), NumberIn::new(&["10.0", "5.0"]).name());
        assert_ne!(NumberIn::new(&["5"]).name(), NumberIn::new(&["6"]).name());
    }
}
