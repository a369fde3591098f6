//! One immutable state of the store. Every request takes one and works on it to its end.

use std::sync::Arc;

use object_store::ObjectStore;

use crate::model::event::Event;
use crate::model::feedback::Feedback;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::format::table_row::TableRow;
use crate::storage::tail::Tail;
use crate::storage::tail::segment::{ScannedSegment, SegmentSnapshot, ThreadsOf};

#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Files of the `conversations` table; the other tables stand below.
    pub(crate) files: Arc<Vec<FileSnapshot>>,
    /// What is acknowledged but not in files yet.
    pub(crate) segments: Arc<Vec<SegmentSnapshot>>,
    /// The same rows by key.
    pub(crate) tail: Tail,
    /// Counts the flushes that have moved rows from the tail to files.
    pub(crate) flush_generation: u64,
    pub(crate) events: TableSnapshot<Event>,
    pub(crate) feedback: TableSnapshot<Feedback>,
}

/// The same of a table beside the conversations.
#[derive(Clone)]
pub(crate) struct TableSnapshot<R: TableRow> {
    pub(crate) files: Arc<Vec<FileSnapshot>>,
    pub(crate) segments: Arc<Vec<SegmentSnapshot<R>>>,
    pub(crate) tail: Tail<R>,
}

impl<R: TableRow> Default for TableSnapshot<R> {
    fn default() -> Self {
        TableSnapshot { files: Arc::default(), segments: Arc::default(), tail: Tail::default() }
    }
}

/// The tables that queries read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    Conversations,
    Events,
    Feedback,
    SemanticThreads,
}

impl Snapshot {
    pub(crate) fn files_of(&self, table: Table) -> Arc<Vec<FileSnapshot>> {
        match table {
            Table::Conversations => self.files.clone(),
            Table::Events => self.events.files.clone(),
            Table::Feedback => self.feedback.files.clone(),
            Table::SemanticThreads => {
                let files = self.files.iter().filter_map(|entry| {
                    let threads = entry.file.threads.as_ref()?;
                    let deleted = Arc::new(threads.rows_of(&entry.deleted));
                    Some(FileSnapshot { file: threads.file.clone(), deleted })
                });
                Arc::new(files.collect())
            }
        }
    }

    pub(crate) fn segments_of(&self, table: Table) -> Vec<Box<dyn ScannedSegment + '_>> {
        self.segments_where(table, |_| true)
    }

    /// The one of this number.
    pub(crate) fn segment_of(&self, table: Table, number: u32) -> Option<Box<dyn ScannedSegment + '_>> {
        self.segments_where(table, |one| one == number).pop()
    }

    fn segments_where(&self, table: Table, wanted: impl Fn(u32) -> bool) -> Vec<Box<dyn ScannedSegment + '_>> {
        fn scanned<R: TableRow>(
            segments: &[SegmentSnapshot<R>],
            wanted: impl Fn(u32) -> bool,
        ) -> Vec<Box<dyn ScannedSegment + '_>> {
            let segments = segments.iter().filter(|one| wanted(one.segment.number));
            segments.map(|segment| Box::new(segment.clone()) as Box<dyn ScannedSegment>).collect()
        }
        match table {
            Table::Conversations => scanned(&self.segments, wanted),
            Table::Events => scanned(&self.events.segments, wanted),
            Table::Feedback => scanned(&self.feedback.segments, wanted),
            Table::SemanticThreads => {
                let segments = self.segments.iter().filter(|one| wanted(one.segment.number));
                segments.map(|entry| Box::new(ThreadsOf::new(entry)) as Box<dyn ScannedSegment + '_>).collect()
            }
        }
    }
}

/// Where a row lies in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RowAddress {
    /// The number of the data file or of the tail's segment.
    pub(crate) source: u32,
    pub(crate) row: u32,
}
