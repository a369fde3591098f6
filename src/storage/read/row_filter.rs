//! A choice of rows beside a snapshot.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::storage::catalog::files::FileSnapshot;

/// Rows of data files that somebody asks for; of a file that is not named, and of segments, all. The snapshot stays as
/// it is: whatever is kept of it holds for every choice.
#[derive(Debug, Default)]
pub(crate) struct RowFilter {
    /// By the files' numbers.
    asked: HashMap<u32, RoaringBitmap>,
}

impl RowFilter {
    /// Only these rows of a file.
    pub(crate) fn ask_only(&mut self, file: u32, rows: RoaringBitmap) {
        self.asked.insert(file, rows);
    }

    /// Whether a file has rows that are asked for.
    pub(crate) fn asks(&self, file: u32) -> bool {
        self.asked.get(&file).is_none_or(|rows| !rows.is_empty())
    }

    /// Rows of a file that a scan leaves out: those that are deleted, and those that are not asked for.
    pub(crate) fn left_out(&self, entry: &FileSnapshot) -> Arc<RoaringBitmap> {
        let Some(asked) = self.asked.get(&entry.file.number) else { return Arc::clone(&entry.deleted) };
        let mut left_out = RoaringBitmap::new();
        left_out.insert_range(0..entry.file.rows);
        left_out -= asked;
        left_out |= &*entry.deleted;
        Arc::new(left_out)
    }
}
