//! The tables of a snapshot as a query sees them.
//!
//! - [`column`](mod@column): what a query can name; [`resolve`]: from which places a file or segment answers it.
//! - [`provider`]: one table, a scan of its files ([`files`], [`source`]) and of its [`segments`], within the scope of
//!   the key; [`feedback`]: what threads have of feedback.
//! - [`lookup`]: what threads take from other rows.
//! - [`rows`]: stored columns of given rows, read after a page is known. [`chunk`]: how many at a time.

pub(crate) mod chunk;
pub(crate) mod column;
mod feedback;
pub(crate) mod files;
pub(crate) mod lookup;
pub(crate) mod provider;
pub(crate) mod resolve;
pub(crate) mod rows;
mod segments;
mod source;
