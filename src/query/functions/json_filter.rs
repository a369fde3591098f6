//! A filter over many paths of one JSON value: each path would be a column of the scan, and planning grows with the
//! square of those. Here a row's value is parsed once, whatever is asked of it.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanBuilder};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use xxhash_rust::xxh3::Xxh3;

use super::json::parse;
use super::json_predicate::{Containment, Equality, HasKeys};
use super::number::NumberComparison;
use super::scalar::{Arguments, Kernel, function, name, single_text};
use crate::model::json::jsonb::{self, sort_key};
use crate::model::json::value::Json;
use crate::query::watch::Pace;

/// What a look at a path costs beside the value there, about, in bytes that are gone through.
const LOOK: usize = 128;

/// What is asked of one JSON value. True or false, never null.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) enum JsonFilter {
    /// Of nothing: true.
    All(Vec<JsonFilter>),
    /// Of nothing: false.
    Any(Vec<JsonFilter>),
    At {
        path: Vec<String>,
        test: JsonTest,
    },
}

/// Of the value at a path. JSON null is absent, and but for [`JsonTest::Absent`] and `or_null` an absent value passes
/// none.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) enum JsonTest {
    Present,
    Absent,
    In {
        values: Equality,
        or_null: bool,
        negated: bool,
    },
    /// It is an array that has each of these.
    Elements(Equality),
    Compare(Compared),
    Containment(Containment),
    HasKeys(HasKeys),
}

/// A comparison with a number or a string; values of other types do not match.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Compared {
    comparison: NumberComparison,
    /// Of the literal. The first byte of a sort key tells the type.
    key: Vec<u8>,
}

impl Compared {
    pub(crate) fn new(comparison: NumberComparison, literal: &Json) -> Self {
        Self { comparison, key: sort_key(literal) }
    }

    fn holds(&self, value: &Json) -> bool {
        if matches!(value, Json::Array(_) | Json::Object(_)) {
            return false;
        }
        let key = sort_key(value);
        key.first() == self.key.first() && self.comparison.holds(key.cmp(&self.key))
    }
}

/// JSON text → Boolean
pub(crate) fn json_filter(filter: JsonFilter) -> Arc<ScalarUDF> {
    function(filter)
}

impl JsonFilter {
    fn holds(&self, value: Option<&Json>, pace: &mut Pace) -> Result<bool> {
        Ok(match self {
            JsonFilter::All(parts) => {
                for part in parts {
                    if !part.holds(value, pace)? {
                        return Ok(false);
                    }
                }
                true
            }
            JsonFilter::Any(parts) => {
                for part in parts {
                    if part.holds(value, pace)? {
                        return Ok(true);
                    }
                }
                false
            }
            JsonFilter::At { path, test } => {
                pace.step(LOOK)?;
                let found = value.and_then(|value| jsonb::at_path(value, path));
                test.holds(found.filter(|found| !matches!(found, Json::Null)), pace)?
            }
        })
    }
}

impl JsonTest {
    fn holds(&self, value: Option<&Json>, pace: &mut Pace) -> Result<bool> {
        let Some(value) = value else {
            return Ok(matches!(self, JsonTest::Absent | JsonTest::In { or_null: true, negated: false, .. }));
        };
        Ok(match self {
            JsonTest::Present => true,
            JsonTest::Absent => false,
            JsonTest::In { values, negated, .. } => values.has(value) != *negated,
            JsonTest::Elements(values) => values.are_in(value),
            JsonTest::Compare(compared) => compared.holds(value),
            JsonTest::Containment(containment) => containment.holds_of(value, pace)?,
            JsonTest::HasKeys(keys) => keys.are_in(value),
        })
    }
}

impl Kernel for JsonFilter {
    fn name(&self) -> String {
        let mut hash = Xxh3::new();
        self.hash(&mut hash);
        name("json_filter", &format!("#{:016x}{:016x}", hash.finish(), hash.digest128()))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Text
    }

    fn return_type(&self) -> DataType {
        DataType::Boolean
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let texts = single_text(columns)?;
        let mut results = BooleanBuilder::with_capacity(texts.len());
        let mut pace = Pace::current();
        for text in &texts {
            pace.step(text.map_or(0, str::len))?;
            let value = text.map(parse).transpose()?;
            results.append_value(self.holds(value.as_ref(), &mut pace)?);
        }
        Ok(Arc::new(results.finish()))
    }
}
