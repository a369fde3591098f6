//! What the store holds. The [`line`](mod@line) of commits ([`commit`]) is the only authority: added up, it is the [`manifest`]
//! (and a [`checkpoint`] of it). [`writing`] makes a [`change`] of the tables the next commit, [`opening`] opens the
//! [`files`] of a manifest by their sidecars, which [`remake`] makes again. The logs in Delta format ([`delta`]) are for other engines. A
//! [`marker`] says that a folder is a store.

pub(crate) mod change;
pub(crate) mod checkpoint;
pub(crate) mod commit;
pub(crate) mod delta;
mod edit;
pub(crate) mod error;
pub(crate) mod files;
pub(crate) mod line;
pub(crate) mod manifest;
pub(crate) mod marker;
pub(crate) mod opening;
pub(crate) mod remake;
pub(crate) mod writing;
