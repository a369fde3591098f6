//! Reading: the immutable [`snapshot`], texts in it ([`text_search`]), ratings of its conversations ([`ratings`]).

pub(crate) mod ratings;
pub(crate) mod snapshot;
pub(crate) mod text_search;
