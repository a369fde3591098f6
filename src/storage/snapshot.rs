//! One immutable state of the store. Every request takes one and works on it to its end.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow::record_batch::RecordBatch;
use datafusion::scalar::ScalarValue;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::file::metadata::ParquetMetaData;
use roaring::RoaringBitmap;

use super::index::FileIndex;
use super::layout::Layout;
use super::rows::MessagesFile;
use super::tail::Tail;
use crate::model::conversation::Conversation;

/// Counts published states; two snapshots of one number are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotVersion(pub u64);

#[derive(Clone)]
pub struct Snapshot {
    pub version: SnapshotVersion,
    pub store: Arc<dyn ObjectStore>,
    /// Files of the `conversations` table.
    pub files: Arc<Vec<FileSnapshot>>,
    /// What is acknowledged but not in files yet.
    pub segments: Arc<Vec<SegmentSnapshot>>,
    /// The same rows by key.
    pub tail: Tail,
    /// Counts the flushes that have moved rows from the tail to files.
    pub flush_generation: u64,
}

#[derive(Clone)]
pub struct FileSnapshot {
    pub file: Arc<DataFile>,
    /// Row numbers that are replaced or deleted.
    pub deleted: Arc<RoaringBitmap>,
}

/// An immutable Parquet file of the `conversations` table.
pub struct DataFile {
    /// Unique within this process and never reused; with the row number it is a row's address.
    pub number: u32,
    pub path: Path,
    pub size: u64,
    pub rows: u32,
    pub layout: Layout,
    /// By column name: of the plain columns and of frequent property columns. Deleted rows are still counted in.
    pub statistics: BTreeMap<String, ColumnStatistics>,
    /// The footer, read once.
    pub metadata: OnceLock<Arc<ParquetMetaData>>,
    /// The sibling file of the `messages` table.
    pub messages: MessagesFile,
    /// Finds rows by id and externalId, and the messages of a row.
    pub index: FileIndex,
}

/// `min` and `max` are bounds (strings may be cut, the maximum rounded up), not necessarily values.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnStatistics {
    pub min: Option<ScalarValue>,
    pub max: Option<ScalarValue>,
    pub null_count: Option<u64>,
}

#[derive(Clone)]
pub struct SegmentSnapshot {
    pub segment: Arc<Segment>,
    pub deleted: Arc<RoaringBitmap>,
}

/// Conversations in the order of their log, and, once a query needs them, the same as an Arrow batch with the columns
/// and types of a Parquet file of the table.
pub struct Segment {
    /// Never the number of a [`DataFile`]; used again after 2^31 segments.
    pub number: u32,
    pub conversations: Vec<Arc<Conversation>>,
    /// The rows' numbers in the process-wide order of operations, ascending; as long as `conversations`.
    pub sequences: Vec<u64>,
    pub flat: OnceLock<FlatBatch>,
    /// The layout that `flat` gets: the columns that the table has when the segment is made.
    pub columns: Arc<Layout>,
}

impl Segment {
    pub fn last_sequence(&self) -> u64 {
        self.sequences.last().copied().unwrap_or(0)
    }
}

#[derive(Clone)]
pub struct FlatBatch {
    pub batch: RecordBatch,
    pub layout: Arc<Layout>,
}

/// Where a conversation lies in one snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowAddress {
    /// [`DataFile::number`] or [`Segment::number`].
    pub source: u32,
    pub row: u32,
}
