//! Reading: the immutable [`snapshot`], finding rows in it ([`lookup`]), choosing some beside it ([`row_filter`]),
//! reading them ([`rows`]), texts in it ([`text_search`]), ratings of its conversations ([`ratings`]).

pub(crate) mod lookup;
pub(crate) mod ratings;
pub(crate) mod row_filter;
pub(crate) mod rows;
pub(crate) mod snapshot;
pub(crate) mod text_search;
