//! Predicates of plain text.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::scalar::{Arguments, Kernel, function, name, single_text};

/// Utf8View → Boolean: whether the text is this one, in any case.
pub(crate) fn same_in_any_case(text: &str) -> Arc<ScalarUDF> {
    function(SameInAnyCase { lower: text.to_lowercase() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SameInAnyCase {
    lower: String,
}

impl SameInAnyCase {
    fn is(&self, text: &str) -> bool {
        // In ASCII no letter changes its length.
        if text.is_ascii() { text.eq_ignore_ascii_case(&self.lower) } else { text.to_lowercase() == self.lower }
    }
}

impl Kernel for SameInAnyCase {
    fn name(&self) -> String {
        name("same_in_any_case", &format!("{:?}", self.lower))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Text
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let texts = single_text(columns)?;
        let same: BooleanArray = texts.iter().map(|text| text.map(|text| self.is(text))).collect();
        Ok(Arc::new(same))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, StringViewArray};

    use super::*;

    #[test]
    fn case_does_not_count() {
        let texts = [Some("Ann@X"), Some("ann@x"), Some("ann@xy"), Some("JÜRGEN@x"), None, Some("")];
        let column: ArrayRef = Arc::new(StringViewArray::from_iter(texts));
        for (wanted, expected) in [
            ("ANN@x", [Some(true), Some(true), Some(false), Some(false), None, Some(false)]),
            ("jürgen@X", [Some(false), Some(false), Some(false), Some(true), None, Some(false)]),
            ("", [Some(false), Some(false), Some(false), Some(false), None, Some(true)]),
        ] {
            let kernel = SameInAnyCase { lower: wanted.to_lowercase() };
            let found = kernel.evaluate(&[Arc::clone(&column)]).unwrap();
            assert_eq!(found.as_boolean().iter().collect::<Vec<_>>(), expected, "{wanted}");
        }
    }
}
