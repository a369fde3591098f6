//! One table of columns for each type of row: [`conversations`], [`messages`], [`threads`], [`events`], [`feedback`].
//!
//! An entry says all that there is to say of a column ([`field`], [`column`](mod@column)); the schema of its files,
//! their arrays ([`arrays`]), encodings and statistics, the row that is read back, the view's field and its documentation
//! derive from it.

pub(crate) mod arrays;
pub(crate) mod column;
pub(crate) mod conversations;
pub(crate) mod events;
pub(crate) mod feedback;
pub(crate) mod field;
pub(crate) mod messages;
pub(crate) mod threads;
