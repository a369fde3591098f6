//! What a process has done to its store since it opened it: how much it took in, and how often that was written again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    merging: Mutex<Option<Arc<Merging>>>,
}

/// Files that are being written again.
pub(crate) struct Merging {
    pub(crate) table: &'static str,
    pub(crate) files: usize,
    /// Of the new file.
    pub(crate) level: u32,
    /// That it will have.
    pub(crate) rows: u64,
    pub(crate) since: EpochMillis,
    done: AtomicU64,
}

impl Merging {
    pub(crate) fn new(table: &'static str, files: usize, level: u32, rows: u64, since: EpochMillis) -> Arc<Merging> {
        Arc::new(Merging { table, files, level, rows, since, done: AtomicU64::new(0) })
    }

    /// So many rows more are read.
    pub(crate) fn advance(&self, rows: usize) {
        add(&self.done, rows as u64);
    }
}

/// Tells of it until it is dropped.
pub(crate) struct Telling<'a>(&'a Work);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        self.0.tell(None);
    }
}

/// As it is told (contract A7).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MergingStatus {
    pub(crate) table: &'static str,
    pub(crate) files: usize,
    pub(crate) level: u32,
    pub(crate) rows: u64,
    /// Of those, read so far.
    pub(crate) rows_done: u64,
    pub(crate) since: String,
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
    /// What is being merged or written again now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) merging: Option<MergingStatus>,
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
            merging: Mutex::default(),
        }
    }

    /// Files are being written again, until what is given back is dropped.
    pub(crate) fn begins(&self, merging: Arc<Merging>) -> Telling<'_> {
        self.tell(Some(merging));
        Telling(self)
    }

    fn tell(&self, merging: Option<Arc<Merging>>) {
        *self.merging.lock().unwrap_or_else(PoisonError::into_inner) = merging;
    }

    fn merging(&self) -> Option<MergingStatus> {
        let merging = self.merging.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let Merging { table, files, level, rows, since, done } = merging.as_ref();
        let (rows_done, since) = (get(done).min(*rows), time::render(*since));
        Some(MergingStatus { table, files: *files, level: *level, rows: *rows, rows_done, since })
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
            merging: self.merging(),
        }
    }
}

fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_merge_is_told_of_until_it_ends() {
        let work = Work::new(EpochMillis(0));
        assert_eq!(work.status().merging, None);
        let merging = Merging::new("events", 8, 1, 100, EpochMillis(1_000));
        {
            let _told = work.begins(Arc::clone(&merging));
            merging.advance(30);
            merging.advance(10);
            let told = work.status().merging.unwrap();
            assert_eq!((told.table, told.files, told.level, told.rows, told.rows_done), ("events", 8, 1, 100, 40));
            assert_eq!(told.since, "1970-01-01T00:00:01.000Z");
        }
        assert_eq!(work.status().merging, None);
    }
}
