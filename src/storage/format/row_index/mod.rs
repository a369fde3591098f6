//! The sidecar of a data file: from a conversation's key to its row, and from the row to those of its messages
//! and threads.
//!
//! ```text
//! header (80 bytes: magic, counts, checksum of the opening)
//! opening, read once and kept: for ids, external ids and references a Bloom filter and a fence
//! body: sorted entries (some bits of a hash, row) of ids, of external ids, of references; message counts, thread counts
//! ```
//! Integers are little-endian; entries and counts have as many bits as the file's need ([`bits`]). [`header`] says where
//! each part starts, [`keys`] finds an entry, [`offsets`] the sibling rows of a row, [`builder`] writes the object,
//! [`file`](mod@file) reads it. The body is read by small ranges. About 1.3 bytes per key stay in memory.

mod bits;
pub(crate) mod builder;
pub(crate) mod error;
pub(crate) mod file;
mod header;
mod keys;
mod offsets;
#[cfg(test)]
mod tests;
