//! Writing the Parquet files of a flush or a compaction.
//!
//! Encoding is work for a blocking thread; finished row groups leave through a [`Write`], so a file of any size needs
//! the memory of one row group. [`upload()`] brings such a writer's bytes to the object store.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::ParquetMetaData;

use super::columns::column::{FlatRow, LongColumns};
use super::columns::messages::MessageRow;
use super::encoding::arrow_writer;
use super::error::FileError;
use super::flatten::{Flattener, MAX_BATCH_ROWS, chunks};
use super::footer;
use super::layout::Layout;
use super::parts::Parts;
use super::statistics::{ColumnStatistics, rows_statistics};
use super::upload::{Uploaded, upload};
use crate::model::conversation::Conversation;
use crate::model::thread::SemanticThread;

pub(crate) struct WrittenFile {
    pub(crate) size: u64,
    pub(crate) rows: u32,
    /// The footer with its page index.
    pub(crate) metadata: Arc<ParquetMetaData>,
    pub(crate) statistics: BTreeMap<String, ColumnStatistics>,
}

pub(crate) struct WrittenRows {
    pub(crate) file: WrittenFile,
    pub(crate) layout: Layout,
}

/// Writes one file of a table, rows in the order given.
pub(crate) struct RowsWriter<R: FlatRow, W: Write + Send> {
    flattener: Flattener<R>,
    long: LongColumns<R>,
    writer: ArrowWriter<W>,
}

impl<R: FlatRow, W: Write + Send> RowsWriter<R, W> {
    /// `columns`: the file's property columns, as [`super::registry::ColumnRegistry::choose`] gives them.
    pub(crate) fn new(sink: W, columns: &Layout) -> Result<Self, FileError> {
        let flattener = Flattener::new(columns);
        let writer = arrow_writer::<R, W>(sink, flattener.schema(), columns)?;
        Ok(Self { flattener, long: LongColumns::new(), writer })
    }

    pub(crate) fn write(&mut self, rows: &[Arc<R>]) -> Result<(), FileError> {
        for chunk in chunks(rows, |row| self.long.bytes(row)) {
            let batch = self.flattener.batch(rows.get(chunk).unwrap_or_default())?;
            self.writer.write(&batch)?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<WrittenRows, FileError> {
        let layout = self.flattener.finish();
        self.writer.append_key_value_metadata(footer::layout_entry(&layout)?);
        let metadata = self.writer.finish()?;
        let statistics = rows_statistics::<R>(&metadata, &layout);
        Ok(WrittenRows { file: written(&self.writer, metadata, statistics), layout })
    }
}

fn written<W: Write + Send>(
    writer: &ArrowWriter<W>,
    metadata: ParquetMetaData,
    statistics: BTreeMap<String, ColumnStatistics>,
) -> WrittenFile {
    let rows = metadata.file_metadata().num_rows() as u32;
    WrittenFile { size: writer.bytes_written() as u64, rows, metadata: Arc::new(metadata), statistics }
}

/// Where the files of a flush go.
pub(crate) struct SiblingPaths {
    pub(crate) conversations: Path,
    pub(crate) messages: Path,
    pub(crate) threads: Path,
}

/// What a flush of conversations has written.
pub(crate) struct WrittenSiblings {
    pub(crate) conversations: Uploaded<WrittenRows>,
    pub(crate) messages: Uploaded<WrittenRows>,
    /// `None` where they have no threads.
    pub(crate) threads: Option<Uploaded<WrittenRows>>,
}

/// The conversations for their own file, for that of messages and, if there may be any, for that of threads.
pub(crate) type SiblingParts = (Parts<Conversation>, Parts<Conversation>, Option<Parts<Conversation>>);

/// All files of conversations, encoded side by side on blocking threads. After an error nothing is being written any
/// more.
pub(crate) async fn write_siblings(
    store: &Arc<dyn ObjectStore>,
    paths: SiblingPaths,
    (conversations, of_messages, of_threads): SiblingParts,
    columns: Layout,
) -> Result<WrittenSiblings, FileError> {
    let main = write_rows(store, paths.conversations, conversations, columns);
    let messages = upload(store, paths.messages, move |sink| {
        let mut writer = RowsWriter::new(sink, &Layout::default())?;
        let mut messages = Vec::new();
        for part in of_messages {
            for conversation in part.iter() {
                messages.extend(MessageRow::all_of(conversation).map(Arc::new));
                if messages.len() >= MAX_BATCH_ROWS {
                    writer.write(&std::mem::take(&mut messages))?;
                }
            }
        }
        writer.write(&messages)?;
        writer.finish()
    });
    let threads = async {
        let Some(rows) = of_threads else { return Ok(None) };
        let write = move |sink| {
            let mut writer = RowsWriter::new(sink, &Layout::default())?;
            let mut threads = Vec::new();
            let mut bytes = 0;
            for part in rows {
                for conversation in part.iter() {
                    bytes += conversation.text_bytes();
                    threads.extend(SemanticThread::derive(conversation).into_iter().map(Arc::new));
                    if bytes >= DERIVED_BYTES {
                        writer.write(&std::mem::take(&mut threads))?;
                        bytes = 0;
                    }
                }
            }
            writer.write(&threads)?;
            writer.finish()
        };
        upload(store, paths.threads, write).await.map(Some)
    };
    let (conversations, messages, threads) = futures::join!(main, messages, threads);
    Ok(WrittenSiblings { conversations: conversations?, messages: messages?, threads: threads? })
}

#[cfg(test)]
pub(crate) fn sibling_parts(rows: &Arc<Vec<Arc<Conversation>>>) -> SiblingParts {
    let takers = super::parts::Takers::of(rows);
    (takers.rows, Parts::Whole(Some(Arc::clone(rows))), takers.threads)
}

/// Of the conversations whose threads are in memory at once.
const DERIVED_BYTES: usize = 1 << 20;

/// The one file of a table without siblings.
pub(crate) async fn write_rows<R: FlatRow>(
    store: &Arc<dyn ObjectStore>,
    path: Path,
    rows: Parts<R>,
    columns: Layout,
) -> Result<Uploaded<WrittenRows>, FileError> {
    upload(store, path, move |sink| {
        let mut writer = RowsWriter::new(sink, &columns)?;
        for part in rows {
            writer.write(&part)?;
        }
        writer.finish()
    })
    .await
}
