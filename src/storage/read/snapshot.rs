//! One immutable state of the store. Every request takes one and works on it to its end.

use std::sync::{Arc, OnceLock};

use object_store::ObjectStore;
use roaring::RoaringBitmap;

use crate::model::conversation::Conversation;
use crate::model::event::Event;
use crate::model::feedback::Feedback;
use crate::model::thread::SemanticThread;
use crate::storage::format::data_file::{DataFile, rows_of};
use crate::storage::format::flatten::{FlatBatch, FlattenError, flatten};
use crate::storage::format::layout::Layout;
use crate::storage::format::table_row::TableRow;
use crate::storage::tail::Tail;

/// Counts published states; two snapshots of one number are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SnapshotVersion(pub(crate) u64);

#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) version: SnapshotVersion,
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

#[derive(Clone)]
pub(crate) struct FileSnapshot {
    pub(crate) file: Arc<DataFile>,
    /// Row numbers that are replaced or deleted.
    pub(crate) deleted: Arc<RoaringBitmap>,
}

#[derive(Clone)]
pub(crate) struct SegmentSnapshot<R = Conversation> {
    pub(crate) segment: Arc<Segment<R>>,
    pub(crate) deleted: Arc<RoaringBitmap>,
}

/// Rows in the order of their log, and, once a query needs them, the same as an Arrow batch with the columns
/// and types of a Parquet file of the table.
pub(crate) struct Segment<R = Conversation> {
    /// Never the number of a [`DataFile`]; used again after 2^31 segments.
    pub(crate) number: u32,
    pub(crate) rows: Vec<Arc<R>>,
    /// The rows' numbers in the process-wide order of operations, ascending; as long as `rows`.
    pub(crate) sequences: Vec<u64>,
    pub(crate) flat: OnceLock<FlatBatch>,
    /// The threads of conversations, once a query needs them.
    pub(crate) threads: OnceLock<FlatBatch>,
    /// The layout that `flat` gets: the columns that the table has when the segment is made.
    pub(crate) columns: Arc<Layout>,
}

impl<R> Segment<R> {
    pub(crate) fn last_sequence(&self) -> u64 {
        self.sequences.last().copied().unwrap_or(0)
    }
}

/// A tail segment of any table, as a scan sees it.
pub(crate) trait ScannedSegment: Send + Sync {
    /// [`Segment::number`].
    fn number(&self) -> u32;

    fn rows(&self) -> usize;

    fn deleted(&self) -> &RoaringBitmap;

    /// The rows as columns, made on first use.
    fn flat(&self) -> Result<&FlatBatch, FlattenError>;
}

impl<R: TableRow> ScannedSegment for SegmentSnapshot<R> {
    fn number(&self) -> u32 {
        self.segment.number
    }

    fn rows(&self) -> usize {
        self.segment.rows.len()
    }

    fn deleted(&self) -> &RoaringBitmap {
        &self.deleted
    }

    fn flat(&self) -> Result<&FlatBatch, FlattenError> {
        if let Some(flat) = self.segment.flat.get() {
            return Ok(flat);
        }
        let flat = flatten(&self.segment.rows, &self.segment.columns)?;
        Ok(self.segment.flat.get_or_init(|| flat))
    }
}

/// The threads of a segment of conversations.
struct ThreadsOf<'a> {
    segment: &'a Segment,
    offsets: Vec<u32>,
    deleted: RoaringBitmap,
}

impl<'a> ThreadsOf<'a> {
    fn new(entry: &'a SegmentSnapshot) -> Self {
        let mut rows = 0;
        let counts = entry.segment.rows.iter().map(|conversation| {
            rows += SemanticThread::count(conversation) as u32;
            rows
        });
        let offsets: Vec<u32> = [0].into_iter().chain(counts).collect();
        let deleted = rows_of(&offsets, &entry.deleted);
        Self { segment: &entry.segment, offsets, deleted }
    }
}

impl ScannedSegment for ThreadsOf<'_> {
    fn number(&self) -> u32 {
        self.segment.number
    }

    fn rows(&self) -> usize {
        self.offsets.last().map_or(0, |rows| *rows as usize)
    }

    fn deleted(&self) -> &RoaringBitmap {
        &self.deleted
    }

    fn flat(&self) -> Result<&FlatBatch, FlattenError> {
        if let Some(flat) = self.segment.threads.get() {
            return Ok(flat);
        }
        let threads = self.segment.rows.iter().flat_map(SemanticThread::derive);
        let flat = flatten(&threads.map(Arc::new).collect::<Vec<_>>(), &self.segment.columns)?;
        Ok(self.segment.threads.get_or_init(|| flat))
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
    /// [`DataFile::number`] or [`Segment::number`].
    pub(crate) source: u32,
    pub(crate) row: u32,
}
