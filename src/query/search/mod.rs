//! Which conversations match, in an order and page by page: what the columns tell, and what only the conversations
//! themselves do.
//!
//! - [`list`]: the pages; [`place`]: the order, and where a page goes on; [`check`]: what is looked up in each row.

pub(crate) mod check;
pub(crate) mod list;
pub(crate) mod place;
