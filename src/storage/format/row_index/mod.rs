//! The sidecar of a data file: from a conversation's key to its row, and from the row to those of its messages
//! and threads.
//!
//! ```text
//! header (56 bytes: magic, counts, checksum of the opening)
//! opening, read once and kept: for ids, external ids and references a Bloom filter and a fence
//! sorted entries (hash u128, row u32) of ids, of external ids, of references
//! message offsets, thread offsets (u32, rows + 1)
//! ```
//! Integers are little-endian. [`header`] says where each part starts, [`keys`] finds an entry, [`builder`] writes the
//! object, [`file`](mod@file) reads it. Everything after the opening is read by small ranges. About 1.6 bytes per key
//! stay in memory.

pub(crate) mod builder;
pub(crate) mod error;
pub(crate) mod file;
mod header;
mod keys;
#[cfg(test)]
mod tests;
