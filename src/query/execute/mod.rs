//! Plans become rows.
//!
//! - [`question`]: what can be asked; [`row_stream`]: the rows of the answer and its [`columns`]. [`groups`] and
//!   [`page`] are the two ways to them, each through a [`window`]; [`parts`], [`texts`]: what exports and property lists
//!   gather first.
//! - [`tops`], [`fill`]: what grouped queries ask first, and which groups they add.
//! - [`words`]: which rows need not be looked at.
//! - [`found`]: where rows lie that somebody else reads.
//! - [`execution`], [`session`], [`pool`], [`row_count`]: how a plan runs, within its limits.

pub(crate) mod columns;
pub(crate) mod execution;
mod fill;
pub(crate) mod found;
mod groups;
mod page;
pub(crate) mod parts;
mod pool;
pub(crate) mod question;
mod row_count;
pub(crate) mod row_stream;
pub(crate) mod session;
mod texts;
mod tops;
pub(crate) mod window;
mod words;
