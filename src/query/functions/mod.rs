//! The scalar and aggregate functions that DataFusion lacks for contract A3.
//!
//! - `json`: values at a path, predicates and sort keys of raw JSON text.
//! - `json_filter`: conditions on many paths of one value.
//! - `number`: numerals in text, and exact decimals kept as a double plus text.
//! - `set`: `in` with many values.
//! - `list`: `arrayContains` on text lists; `text`: equal texts in any case, words in folded texts.
//! - `time_bucket`: first instants of hours, days, weeks and the like, and what the clock shows; `zone` has the
//!   arithmetic.
//! - `exact_sum`: `sum` and `avg` without rounding on the way; `exact` has the arithmetic.
//! - `collected`: percentiles and standard deviations; `formula`: calculations over aggregations.
//! - `elements`: elements of lists as group keys, bins of numbers.
//! - `count_distinct`: exact distinct counts over interned values; `pairs` has the set.
//!
//! A function keeps its constants (a path, a literal) in its instance and its name, so that plans with two of them stay
//! apart.

mod aggregate;
mod collected;
mod count_distinct;
mod elements;
mod exact;
mod exact_sum;
mod formula;
mod json;
mod json_filter;
mod json_predicate;
mod list;
mod number;
mod pairs;
mod scalar;
mod set;
mod text;
mod time_bucket;
pub(crate) mod zone;

pub(crate) use collected::{percentile, stddev};
pub(crate) use count_distinct::count_distinct;
pub(crate) use elements::{Kept, bin, elements};
pub(crate) use exact_sum::{exact_avg, exact_sum};
pub(crate) use formula::{constant, formula};
pub(crate) use json::{
    json_at, json_boolean_at, json_canonical, json_exists_at, json_number_at, json_number_text_at, json_sort_key,
    json_string_at, json_text_at,
};
pub(crate) use json_filter::{Compared, JsonFilter, JsonTest, json_filter};
pub(crate) use json_predicate::{
    Containment, Equality, HasKeys, Side, json_array_contains, json_array_contains_object, json_contained_by,
    json_contains, json_has_keys, json_in,
};
pub(crate) use list::list_contains_all;
pub(crate) use number::{NumberComparison, compare_number, number_text, numeric_of_text};
pub(crate) use set::{list_in, number_in, text_in, whole_in};
pub(crate) use text::{contains_words, same_in_any_case};
pub(crate) use time_bucket::{time_bucket, time_part};
