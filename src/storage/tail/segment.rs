//! Rows of the tail that came together, as rows and as columns.

use std::sync::{Arc, OnceLock};

use roaring::RoaringBitmap;

use crate::model::conversation::Conversation;
use crate::model::thread::SemanticThread;
use crate::storage::format::data_file::rows_of;
use crate::storage::format::error::FlattenError;
use crate::storage::format::flatten::{FlatBatch, flatten};
use crate::storage::format::layout::Layout;
use crate::storage::format::table_row::TableRow;

#[derive(Clone)]
pub(crate) struct SegmentSnapshot<R = Conversation> {
    pub(crate) segment: Arc<Segment<R>>,
    pub(crate) deleted: Arc<RoaringBitmap>,
}

/// Rows in the order of their log, and, once a query needs them, the same as an Arrow batch with the columns
/// and types of a Parquet file of the table.
pub(crate) struct Segment<R = Conversation> {
    /// Never the number of a data file; used again after 2^31 segments.
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

/// First row of each conversation's threads, then their count.
pub(crate) fn thread_offsets(segment: &Segment) -> Vec<u32> {
    let mut rows = 0;
    let counts = segment.rows.iter().map(|conversation| {
        rows += SemanticThread::count(conversation) as u32;
        rows
    });
    [0].into_iter().chain(counts).collect()
}

/// The threads of a segment of conversations.
pub(crate) struct ThreadsOf<'a> {
    segment: &'a Segment,
    offsets: Vec<u32>,
    deleted: RoaringBitmap,
}

impl<'a> ThreadsOf<'a> {
    pub(crate) fn new(entry: &'a SegmentSnapshot) -> Self {
        let offsets = thread_offsets(&entry.segment);
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
        let flat = flatten(&threads.map(Arc::new).collect::<Vec<_>>(), &Layout::default())?;
        Ok(self.segment.threads.get_or_init(|| flat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::format::flatten::test_support::{conversation, message, raw};

    /// Properties and texts are looked up.
    #[test]
    fn threads_as_columns_have_no_copies() {
        let properties = format!(r#"{{"plan":"pro","text":"{}"}}"#, "x".repeat(1 << 20));
        let content = format!("\"{}\"", "y".repeat(1 << 12));
        let mut rows = Vec::new();
        for number in 0..4 {
            let mut conversation = conversation(number, Some(&properties), Some(&properties));
            conversation.messages = (0..62)
                .map(|place| {
                    let mut message = message(place, None);
                    message.content = Some(raw(&content));
                    message.role = ["user", "assistant"][place % 2].to_owned();
                    message
                })
                .collect();
            rows.push(Arc::new(conversation));
        }
        let segment = Segment {
            number: 1 << 31,
            sequences: (0..rows.len() as u64).collect(),
            rows,
            flat: OnceLock::new(),
            threads: OnceLock::new(),
            columns: Arc::default(),
        };
        let entry = SegmentSnapshot { segment: Arc::new(segment), deleted: Arc::default() };
        let threads = ThreadsOf::new(&entry);
        assert_eq!(threads.rows(), 4 * 31);
        let flat = threads.flat().unwrap();
        let bytes = flat.batch.get_array_memory_size();
        assert!(bytes < 200_000, "{bytes} bytes");
        // What bounds the batches of queries that look them up.
        assert_eq!(flat.layout.max_json_bytes, properties.len() as u64);
    }
}
