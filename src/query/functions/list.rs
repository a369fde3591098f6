//! Predicates of text lists.
#![expect(clippy::indexing_slicing, reason = "a window of two offsets has two")]

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::logical_expr::ScalarUDF;

use super::scalar::{Arguments, Kernel, function, name, single};

/// Up to this many values a list is searched for each; above, a set of its elements is made.
const SEARCHED_VALUES: usize = 8;

/// `List<Utf8View>` → Boolean: whether the list has every value.
pub(crate) fn list_contains_all(values: Vec<String>) -> Arc<ScalarUDF> {
    function(ListContainsAll::new(values))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ListContainsAll {
    /// Sorted, without duplicates.
    values: Vec<String>,
}

impl ListContainsAll {
    fn new(mut values: Vec<String>) -> Self {
        values.sort_unstable();
        values.dedup();
        Self { values }
    }
}

impl Kernel for ListContainsAll {
    fn name(&self) -> String {
        name("list_contains_all", &format!("{:?}", self.values))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Any
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let wrong_type = || internal_datafusion_err!("list_contains_all needs List<Utf8View>");
        let lists = single(columns)?.as_list_opt::<i32>().ok_or_else(wrong_type)?;
        let elements = lists.values().as_string_view_opt().ok_or_else(wrong_type)?;
        let mut results = BooleanBuilder::with_capacity(lists.len());
        for (row, range) in lists.value_offsets().windows(2).enumerate() {
            if lists.is_null(row) {
                results.append_null();
                continue;
            }
            let (start, end) = (range[0] as usize, range[1] as usize);
            let texts = || (start..end).filter(|&index| elements.is_valid(index)).map(|index| elements.value(index));
            let has_all = if end - start < self.values.len() {
                false
            } else if self.values.len() <= SEARCHED_VALUES {
                self.values.iter().all(|value| texts().any(|text| text == value))
            } else {
                let texts: HashSet<&str> = texts().collect();
                self.values.iter().all(|value| texts.contains(value.as_str()))
            };
            results.append_value(has_all);
        }
        Ok(Arc::new(results.finish()))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ListBuilder, StringViewBuilder};

    use super::*;

    #[test]
    fn finds_every_value() {
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        lists.values().append_value("unused");
        lists.append(true);
        for tag in 0..20 {
            lists.values().append_value(format!("tag {tag}"));
        }
        lists.append(true);
        lists.append(true);
        lists.append(false);
        lists.values().append_null();
        lists.values().append_value("tag 3");
        lists.append(true);
        let column: ArrayRef = Arc::new(lists.finish().slice(1, 4));
        let many: Vec<String> = (0..20).map(|tag| format!("tag {tag}")).collect();
        let cases: [(Vec<String>, [Option<bool>; 4]); 5] = [
            (vec![], [Some(true), Some(true), None, Some(true)]),
            (vec!["tag 3".into(), "tag 3".into()], [Some(true), Some(false), None, Some(true)]),
            (vec!["tag 3".into(), "unused".into()], [Some(false), Some(false), None, Some(false)]),
            (many[..12].to_vec(), [Some(true), Some(false), None, Some(false)]),
            (
                many.iter().take(19).cloned().chain(["unused".into()]).collect(),
                [Some(false), Some(false), None, Some(false)],
            ),
        ];
        for (values, expected) in cases {
            let results = ListContainsAll::new(values.clone()).evaluate(&[Arc::clone(&column)]).unwrap();
            assert_eq!(results.as_boolean().iter().collect::<Vec<_>>(), expected, "{values:?}");
        }
    }
}
