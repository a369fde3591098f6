//! Predicates of plain text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, BooleanBuilder, StringViewArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use memchr::memmem::Finder;

use super::scalar::{Arguments, Kernel, function, name, single_text, text};
use crate::model::fold::fold_into;
use crate::query::watch::Pace;

/// Utf8View → Boolean: whether the text is this one, in any case.
pub(crate) fn same_in_any_case(text: &str) -> Arc<ScalarUDF> {
    function(SameInAnyCase { lower: text.to_lowercase() })
}

/// Utf8View columns → Boolean: whether each of these folded words is in one of the row's texts, folded. Never null.
pub(crate) fn contains_words(words: Vec<String>) -> Arc<ScalarUDF> {
    function(ContainsWords { words })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ContainsWords {
    words: Vec<String>,
}

impl Kernel for ContainsWords {
    fn name(&self) -> String {
        name("contains_words", &format!("{:?}", self.words))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Texts
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let columns: Vec<StringViewArray> = columns.iter().map(text).collect::<Result<_>>()?;
        let words: Vec<Finder> = self.words.iter().map(Finder::new).collect();
        let rows = columns.first().map_or(0, Array::len);
        let (mut found, mut folded) = (BooleanBuilder::with_capacity(rows), String::new());
        let mut missing: Vec<&Finder> = Vec::with_capacity(words.len());
        let mut pace = Pace::current();
        for row in 0..rows {
            missing.clear();
            missing.extend(&words);
            for texts in columns.iter().filter(|texts| texts.is_valid(row)) {
                folded.clear();
                fold_into(texts.value(row), &mut folded);
                pace.step(folded.len().saturating_mul(1 + missing.len() / 8))?;
                missing.retain(|word| word.find(folded.as_bytes()).is_none());
                if missing.is_empty() {
                    break;
                }
            }
            found.append_value(missing.is_empty());
        }
        Ok(Arc::new(found.finish()))
    }
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
    fn each_word_is_in_one_of_the_texts() {
        let questions: ArrayRef =
            Arc::new(StringViewArray::from_iter([Some("Straße DÉJÀ"), Some("a ﬁle"), None, None]));
        let answers: ArrayRef = Arc::new(StringViewArray::from_iter([Some("vu"), None, Some("strasse file"), None]));
        for (words, expected) in [
            (&["strasse", "deja", "vu"][..], [true, false, false, false]),
            (&["file"], [false, true, true, false]),
            (&["strasse", "file"], [false, false, true, false]),
            // What a word of marks alone folds to.
            (&[""], [true, true, true, false]),
            (&[], [true; 4]),
        ] {
            let kernel = ContainsWords { words: words.iter().map(|word| (*word).to_owned()).collect() };
            let found = kernel.evaluate(&[Arc::clone(&questions), Arc::clone(&answers)]).unwrap();
            assert_eq!(found.as_boolean().values().iter().collect::<Vec<_>>(), expected, "{words:?}");
        }
    }

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
