//! How many rows are read at a time where their values may be long: as many as fit in a bounded chunk.

use std::sync::atomic::AtomicUsize;

/// Bytes that a chunk is planned to have.
pub(crate) const CHUNK_BYTES: u64 = 32 << 20;
/// The same of what a plan looks up and drops again: the next chunk then fits where it was.
pub(crate) const LOOKED_UP_BYTES: u64 = 8 << 20;
/// A chunk with more bytes than this is given up and read again with fewer rows.
const MAX_CHUNK_BYTES: usize = 128 << 20;
/// Rows of a chunk at most.
pub(crate) const MAX_CHUNK_ROWS: usize = 8192;

/// Learns from the chunks before.
#[derive(Debug)]
pub(crate) struct ChunkRows {
    next: usize,
    bytes: u64,
}

impl ChunkRows {
    pub(crate) fn starting_at(rows: usize, bytes: u64) -> Self {
        ChunkRows { next: rows.clamp(1, MAX_CHUNK_ROWS), bytes }
    }

    /// Of the next chunk, where so many are left.
    pub(crate) fn of(&self, left: usize) -> usize {
        self.next.clamp(1, left.max(1))
    }

    /// What these rows may have; a single one may have any.
    pub(crate) fn budget(rows: usize) -> AtomicUsize {
        AtomicUsize::new(if rows > 1 { MAX_CHUNK_BYTES } else { usize::MAX })
    }

    /// Instead of so many, which were too large.
    pub(crate) fn fewer(rows: usize) -> usize {
        rows.div_ceil(4).min(rows.saturating_sub(1)).max(1)
    }

    pub(crate) fn learn(&mut self, rows: usize, bytes: usize) {
        let per_row = (bytes / rows.max(1)).max(1) as u64;
        let fitting = usize::try_from(self.bytes / per_row).unwrap_or(MAX_CHUNK_ROWS);
        self.next = fitting.clamp(1, MAX_CHUNK_ROWS);
    }
}
