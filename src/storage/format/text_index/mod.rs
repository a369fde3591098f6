//! Which rows of a file may have which n-grams of characters ([`grams`]), and the folded texts themselves
//! ([`file`](mod@file)), so that a candidate is verified without its Parquet rows. An index is no part of a commit: what
//! is missing is made again.

pub(crate) mod file;
pub(crate) mod grams;
pub(crate) mod kept;
