//! One immutable state of the store. Every request takes one and works on it to its end.

use std::sync::Arc;

use object_store::ObjectStore;

use crate::model::conversation::Conversation;
use crate::model::ids::{EpochMillis, WalPosition};
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::catalog::manifest::Manifest;
use crate::storage::format::table::Table;
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{Family, PerTable, for_each_table};
use crate::storage::tail::Tail;
use crate::storage::tail::segment::{ScannedSegment, SegmentSnapshot, ThreadsOf};

#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The commit that it stands on: the files are its files, with the deleted rows of what came since.
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) tables: PerTable<TableSnapshot>,
    /// The last object of the log that it shows.
    pub(crate) position: WalPosition,
    /// Counts the flushes that have moved rows from the tail to files.
    pub(crate) flush_generation: u64,
}

#[derive(Clone)]
pub(crate) struct TableSnapshot<R: TableRow = Conversation> {
    pub(crate) files: Arc<Vec<FileSnapshot>>,
    /// What is acknowledged but not in files yet.
    pub(crate) segments: Arc<Vec<SegmentSnapshot<R>>>,
    /// The same rows by key.
    pub(crate) tail: Tail<R>,
}

impl Family for TableSnapshot {
    type Of<R: TableRow> = TableSnapshot<R>;
}

impl<R: TableRow> Default for TableSnapshot<R> {
    fn default() -> Self {
        TableSnapshot { files: Arc::default(), segments: Arc::default(), tail: Tail::default() }
    }
}

impl<R: TableRow> TableSnapshot<R> {
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.segments.is_empty()
    }

    /// Nothing of another table.
    fn scanned(&self, table: Table, wanted: impl Fn(u32) -> bool) -> Vec<Box<dyn ScannedSegment + '_>> {
        let segments = self.segments.iter().filter(|one| R::TABLE == table && wanted(one.segment.number));
        segments.map(|segment| Box::new(segment.clone()) as Box<dyn ScannedSegment>).collect()
    }

    fn files_of(&self, table: Table) -> Option<Arc<Vec<FileSnapshot>>> {
        (R::TABLE == table).then(|| self.files.clone())
    }
}

impl Snapshot {
    /// Since when a deletion waits in memory for its flush.
    pub(crate) fn oldest_erasure(&self) -> Option<EpochMillis> {
        let mut oldest: Option<EpochMillis> = None;
        for_each_table!(table in self.tables.as_ref() => {
            oldest = oldest.into_iter().chain(table.tail.oldest_erasure()).min();
        });
        oldest
    }

    /// Of what is not in files yet.
    pub(crate) fn tail_bytes(&self) -> usize {
        let mut bytes = 0;
        for_each_table!(table in self.tables.as_ref() => bytes += table.tail.bytes());
        bytes
    }

    /// Of all projects, deleted ones among them.
    pub(crate) fn rows(&self, table: Table) -> u64 {
        let in_files = self.files_of(table).iter().map(|entry| u64::from(entry.file.rows)).sum::<u64>();
        in_files + self.segments_of(table).iter().map(|segment| segment.rows() as u64).sum::<u64>()
    }

    pub(crate) fn files_of(&self, table: Table) -> Arc<Vec<FileSnapshot>> {
        let mut files = None;
        for_each_table!(one in self.tables.as_ref() => files = files.or(one.files_of(table)));
        files.unwrap_or_else(|| Arc::new(self.files_of_threads()))
    }

    fn files_of_threads(&self) -> Vec<FileSnapshot> {
        let files = self.tables.conversations.files.iter().filter_map(|entry| {
            let threads = entry.file.threads.as_ref()?;
            let deleted = Arc::new(threads.rows_of(&entry.deleted));
            Some(FileSnapshot { file: threads.file.clone(), deleted })
        });
        files.collect()
    }

    pub(crate) fn segments_of(&self, table: Table) -> Vec<Box<dyn ScannedSegment + '_>> {
        self.segments_where(table, |_| true)
    }

    /// The one of this number.
    pub(crate) fn segment_of(&self, table: Table, number: u32) -> Option<Box<dyn ScannedSegment + '_>> {
        self.segments_where(table, |one| one == number).pop()
    }

    fn segments_where(&self, table: Table, wanted: impl Fn(u32) -> bool) -> Vec<Box<dyn ScannedSegment + '_>> {
        let mut segments: Vec<Box<dyn ScannedSegment + '_>> = Vec::new();
        for_each_table!(one in self.tables.as_ref() => segments.extend(one.scanned(table, &wanted)));
        if table == Table::SemanticThreads {
            let conversations = self.tables.conversations.segments.iter();
            for entry in conversations.filter(|one| wanted(one.segment.number)) {
                segments.push(Box::new(ThreadsOf::new(entry)));
            }
        }
        segments
    }
}

/// Where a row lies in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RowAddress {
    /// The number of the data file or of the tail's segment.
    pub(crate) source: u32,
    pub(crate) row: u32,
}
