//! A data file and what is known of it without reading it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use object_store::path::Path;
use parquet::file::metadata::ParquetMetaData;
use roaring::RoaringBitmap;

use super::layout::Layout;
use super::row_index::FileIndex;
use super::statistics::ColumnStatistics;
use super::text_index::file::TextIndex;

/// An immutable Parquet file of a table that queries read.
pub(crate) struct DataFile {
    /// Unique within this process and never reused; with the row number it is a row's address.
    pub(crate) number: u32,
    pub(crate) path: Path,
    pub(crate) size: u64,
    pub(crate) rows: u32,
    pub(crate) layout: Layout,
    /// By column name: of the plain columns and of frequent property columns. Deleted rows are still counted in.
    pub(crate) statistics: BTreeMap<String, ColumnStatistics>,
    /// The footer, read once.
    pub(crate) metadata: OnceLock<Arc<ParquetMetaData>>,
    /// The sibling file of the `messages` table; conversations have one.
    pub(crate) messages: Option<MessagesFile>,
    /// The sibling file of the `semantic_threads` table; conversations have one, unless they have no threads.
    pub(crate) threads: Option<ThreadsFile>,
    /// Finds rows by id, externalId and reference, and the messages of a row; empty of threads.
    pub(crate) index: FileIndex,
    /// Of conversations, once it is made.
    pub(crate) text_index: OnceLock<TextIndex>,
}

/// The file of `messages` beside a [`DataFile`].
pub(crate) struct MessagesFile {
    pub(crate) path: Path,
    pub(crate) size: u64,
    /// The footer, read once.
    pub(crate) metadata: OnceLock<Arc<ParquetMetaData>>,
}

/// The threads of a file's conversations, in their order.
pub(crate) struct ThreadsFile {
    pub(crate) file: Arc<DataFile>,
    /// First row of each conversation's, then their count.
    pub(crate) offsets: Vec<u32>,
}

impl ThreadsFile {
    /// The rows of these conversations.
    pub(crate) fn rows_of(&self, conversations: &RoaringBitmap) -> RoaringBitmap {
        rows_of(&self.offsets, conversations)
    }
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
