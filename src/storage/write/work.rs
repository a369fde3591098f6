//! What a process has done to its store since it opened it: how much it took in, and how often that was written again.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::model::ids::EpochMillis;
use crate::model::time;

/// Sizes are of data files with their siblings, without sidecars and indexes, which are derived from them.
pub(crate) struct Work {
    since: EpochMillis,
    taken_bytes: AtomicU64,
    merges: AtomicU64,
    merged_bytes: AtomicU64,
    rewrites: AtomicU64,
    rewritten_bytes: AtomicU64,
    collected_objects: AtomicU64,
    collected_bytes: AtomicU64,
}

/// As it is told (contract A7).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkStatus {
    /// ISO 8601; when the process opened the store.
    pub(crate) since: String,
    /// Written by flushes.
    pub(crate) flushed_bytes: u64,
    /// Files that took the place of several, and their bytes.
    pub(crate) merges: u64,
    pub(crate) merged_bytes: u64,
    /// Files that were written again alone, for their deleted rows.
    pub(crate) rewrites: u64,
    pub(crate) rewritten_bytes: u64,
    /// Bytes written by flushes, merges and rewrites per byte flushed; absent before the first flush.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) write_amplification: Option<f64>,
    /// Old objects that were deleted.
    pub(crate) collected_objects: u64,
    pub(crate) collected_bytes: u64,
}

impl Work {
    pub(crate) fn new(since: EpochMillis) -> Work {
        Work {
            since,
            taken_bytes: AtomicU64::new(0),
            merges: AtomicU64::new(0),
            merged_bytes: AtomicU64::new(0),
            rewrites: AtomicU64::new(0),
            rewritten_bytes: AtomicU64::new(0),
            collected_objects: AtomicU64::new(0),
            collected_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn flushed(&self, bytes: u64) {
        add(&self.taken_bytes, bytes);
    }

    /// A file was written in the place of so many.
    pub(crate) fn compacted(&self, files: usize, bytes: u64) {
        let (count, sum) = match files {
            1 => (&self.rewrites, &self.rewritten_bytes),
            _ => (&self.merges, &self.merged_bytes),
        };
        add(count, 1);
        add(sum, bytes);
    }

    pub(crate) fn collected(&self, objects: usize, bytes: u64) {
        add(&self.collected_objects, objects as u64);
        add(&self.collected_bytes, bytes);
    }

    pub(crate) fn status(&self) -> WorkStatus {
        let (flushed, merged, rewritten) =
            (get(&self.taken_bytes), get(&self.merged_bytes), get(&self.rewritten_bytes));
        WorkStatus {
            since: time::render(self.since),
            flushed_bytes: flushed,
            merges: get(&self.merges),
            merged_bytes: merged,
            rewrites: get(&self.rewrites),
            rewritten_bytes: rewritten,
            write_amplification: (flushed > 0)
                .then(|| ((flushed + merged + rewritten) as f64 / flushed as f64 * 1_000.0).round() / 1_000.0),
            collected_objects: get(&self.collected_objects),
            collected_bytes: get(&self.collected_bytes),
        }
    }
}

fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
