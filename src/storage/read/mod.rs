//! Reading: the immutable [`snapshot`], texts in it ([`text_search`]), ratings of its conversations ([`ratings`]).

pub mod ratings;
pub mod snapshot;
pub mod text_search;
