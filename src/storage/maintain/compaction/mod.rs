//! Files that are many and small, or of which much is deleted, become few and whole, in the background.

pub(crate) mod compactor;
pub(crate) mod policy;
