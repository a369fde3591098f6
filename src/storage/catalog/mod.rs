//! What the store holds: the [`files`] of the [`tables`] and their commits, each with a log in Delta format ([`delta`]).

pub(crate) mod delta;
pub(crate) mod files;
pub(crate) mod tables;
