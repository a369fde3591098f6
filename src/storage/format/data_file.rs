//! A data file and what is known of it without reading it.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::path::Path;
use roaring::RoaringBitmap;

use super::coalesce::Coalesced;
use super::error::FileError;
use super::file_id::FileId;
use super::layout::Layout;
use super::parquet_file::ParquetFile;
use super::row_index::file::FileIndex;
use super::statistics::ColumnStatistics;
use super::stored_key::StoredKey;
use super::text_index::kept::KeptTextIndex;
use crate::cache::Cache;
use crate::model::previous::Previous;

/// An immutable Parquet file of a table that queries read.
pub(crate) struct DataFile {
    /// For as long as the store lives; the sibling files have the same.
    pub(crate) id: FileId,
    /// Unique within this process and never reused; with the row number it is a row's address.
    pub(crate) number: u32,
    pub(crate) parquet: Arc<ParquetFile>,
    pub(crate) rows: u32,
    pub(crate) layout: Layout,
    /// By column name: of the plain columns and of frequent property columns. Deleted rows are still counted in.
    pub(crate) statistics: BTreeMap<String, ColumnStatistics>,
    /// The sibling file of the `messages` table; conversations have one.
    pub(crate) messages: Option<Arc<ParquetFile>>,
    /// The sibling file of the `semantic_threads` table; conversations have one, unless they have no threads.
    pub(crate) threads: Option<ThreadsFile>,
    /// Finds rows by id, externalId and reference, and the messages of a row; empty of threads.
    pub(crate) index: FileIndex,
    /// Of conversations, once it is made.
    pub(crate) text_index: KeptTextIndex,
    /// Of conversations: what re-logs look up.
    pub(crate) previous: Coalesced<Previous>,
    /// What finds rows again.
    pub(crate) keys: Coalesced<StoredKey>,
}

impl DataFile {
    /// Without siblings and text index.
    pub(crate) fn new(
        (id, number): (FileId, u32),
        parquet: ParquetFile,
        rows: u32,
        layout: Layout,
        statistics: BTreeMap<String, ColumnStatistics>,
        index: FileIndex,
        cache: &Arc<Cache>,
    ) -> Self {
        let parquet = Arc::new(parquet);
        Self {
            id,
            number,
            parquet,
            rows,
            layout,
            statistics,
            messages: None,
            threads: None,
            index,
            text_index: KeptTextIndex::new(id, rows, cache),
            previous: Coalesced::default(),
            keys: Coalesced::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.parquet.path
    }

    /// With its siblings'.
    pub(crate) fn bytes(&self) -> u64 {
        let messages = self.messages.as_ref().map_or(0, |messages| messages.size);
        let threads = self.threads.as_ref().map_or(0, |threads| threads.file.parquet.size);
        self.parquet.size + messages + threads
    }
}

/// The threads of a file's conversations, in their order.
pub(crate) struct ThreadsFile {
    pub(crate) file: Arc<DataFile>,
    /// First row of each conversation's, then their count.
    pub(crate) offsets: Vec<u32>,
}

impl ThreadsFile {
    pub(crate) fn new(file: DataFile, offsets: Vec<u32>) -> Result<Self, FileError> {
        if offsets.last() != Some(&file.rows) {
            let counted = offsets.last().copied().unwrap_or(0);
            let reason = format!("it has {} threads, its index counts {counted}", file.rows);
            return Err(FileError::Damaged { path: file.path().clone(), reason });
        }
        Ok(ThreadsFile { file: Arc::new(file), offsets })
    }

    /// The rows of these conversations.
    pub(crate) fn rows_of(&self, conversations: &RoaringBitmap) -> RoaringBitmap {
        rows_of(&self.offsets, conversations)
    }
}

/// The conversation of a sibling row.
pub(crate) fn conversation_of(offsets: &[u32], row: u32) -> Option<u32> {
    let after = offsets.partition_point(|start| *start <= row);
    // The last offset is the count.
    let found = after.checked_sub(1).filter(|_| after < offsets.len());
    found.and_then(|conversation| u32::try_from(conversation).ok())
}

/// The sibling rows of these conversations, whose siblings start at `offsets`.
pub(crate) fn rows_of(offsets: &[u32], conversations: &RoaringBitmap) -> RoaringBitmap {
    let mut rows = RoaringBitmap::new();
    for conversation in conversations {
        if let Some([start, end]) = offsets.get(conversation as usize..conversation as usize + 2) {
            rows.insert_range(*start..*end);
        }
    }
    rows
}
