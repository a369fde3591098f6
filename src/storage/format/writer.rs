//! Writing the Parquet files of a flush or a compaction.
//!
//! Encoding is work for a blocking thread; finished row groups leave through a [`Write`], so a file of any size needs
//! the memory of one row group. [`upload`] brings such a writer's bytes to the object store.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::error::{FileError, FlattenError};
use super::flatten::messages::{message_bytes, messages_batch};
use super::flatten::{Flattener, chunks};
use super::layout::Layout;
use super::schema::messages_schema;
use super::statistics::{ColumnStatistics, messages_statistics, rows_statistics};
use super::table_row::{FlatRow, json_bytes};
use crate::model::conversation::Conversation;
use crate::model::thread::SemanticThread;

const MAX_ROW_GROUP_ROWS: usize = 65_536;
/// Encoded.
const MAX_ROW_GROUP_BYTES: usize = 128 << 20;
/// A point read decodes one page per column.
const MAX_PAGE_ROWS: usize = 2_048;
const MAX_PAGE_BYTES: usize = 256 << 10;
/// Of raw JSON and message contents.
const MAX_TEXT_PAGE_BYTES: usize = 64 << 10;
/// A point read needs the whole dictionary of a column.
const MAX_DICTIONARY_BYTES: usize = 64 << 10;
/// A string's bytes in statistics; maxima are rounded up when cut.
const MAX_STATISTICS_BYTES: usize = 64;

/// Text of which nearly every row has its own: a dictionary would only be in the way.
const UNIQUE_COLUMNS: [&str; 14] = [
    "id",
    "conversationId",
    "externalId",
    "title",
    "properties",
    "userProperties",
    "properties:remainder",
    "userProperties:remainder",
    "content",
    "contentParts",
    "links",
    "toolCalls",
    "reasons",
    "sources",
];

/// Statistics of each page pay where rows are sorted by the column.
const SORTED_COLUMNS: [&str; 4] = ["organizationId", "projectId", "firstMessageTime", "createdAt"];

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
pub(crate) struct RowsWriter<R, W: Write + Send> {
    flattener: Flattener<R>,
    writer: ArrowWriter<W>,
}

impl<R: FlatRow, W: Write + Send> RowsWriter<R, W> {
    /// `columns`: the file's property columns, as [`super::registry::ColumnRegistry::choose`] gives them.
    pub(crate) fn new(sink: W, columns: &Layout) -> Result<Self, FileError> {
        let flattener = Flattener::new(columns);
        let schema = flattener.schema().clone();
        Ok(Self { flattener, writer: arrow_writer(sink, schema)? })
    }

    pub(crate) fn write(&mut self, rows: &[Arc<R>]) -> Result<(), FileError> {
        for chunk in chunks(rows, |_| 1, json_bytes) {
            let batch = self.flattener.batch(rows.get(chunk).unwrap_or_default())?;
            self.writer.write(&batch)?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<WrittenRows, FileError> {
        let metadata = self.writer.finish()?;
        let layout = self.flattener.finish();
        let statistics = rows_statistics::<R>(&metadata, &layout);
        Ok(WrittenRows { file: written(&self.writer, metadata, statistics), layout })
    }
}

/// Writes one file of `messages`, in the order of the sibling file's conversations.
pub(crate) struct MessagesWriter<W: Write + Send> {
    writer: ArrowWriter<W>,
    rows: usize,
}

impl<W: Write + Send> MessagesWriter<W> {
    pub(crate) fn new(sink: W) -> Result<Self, FileError> {
        Ok(Self { writer: arrow_writer(sink, messages_schema())?, rows: 0 })
    }

    pub(crate) fn write(&mut self, conversations: &[Arc<Conversation>]) -> Result<(), FileError> {
        for chunk in chunks(conversations, |c| c.messages.len(), message_bytes) {
            let batch = messages_batch(conversations.get(chunk).unwrap_or_default())?;
            self.rows += batch.num_rows();
            if self.rows > i32::MAX as usize {
                return Err(FlattenError::TooManyRows { row: self.rows }.into());
            }
            self.writer.write(&batch)?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<WrittenFile, FileError> {
        let metadata = self.writer.finish()?;
        let statistics = messages_statistics(&metadata);
        Ok(written(&self.writer, metadata, statistics))
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
    pub(crate) conversations: WrittenRows,
    pub(crate) messages: WrittenFile,
    /// `None` where they have no threads.
    pub(crate) threads: Option<WrittenRows>,
}

/// All files of a flush of conversations, encoded side by side on blocking threads. After an error nothing is being
/// written any more.
pub(crate) async fn write_siblings(
    store: &Arc<dyn ObjectStore>,
    paths: SiblingPaths,
    conversations: Arc<Vec<Arc<Conversation>>>,
    columns: Layout,
) -> Result<WrittenSiblings, FileError> {
    let main = write_rows(store, paths.conversations, conversations.clone(), columns.clone());
    let rows = conversations.clone();
    let messages = upload(store, paths.messages, move |sink| {
        let mut writer = MessagesWriter::new(sink)?;
        writer.write(&rows)?;
        writer.finish()
    });
    let threads = async {
        if conversations.iter().all(|conversation| SemanticThread::count(conversation) == 0) {
            return Ok(None);
        }
        let write = move |sink| {
            let mut writer = RowsWriter::new(sink, &columns)?;
            let mut threads = Vec::new();
            let mut bytes = 0;
            for conversation in conversations.iter() {
                bytes += conversation.text_bytes();
                threads.extend(SemanticThread::derive(conversation).into_iter().map(Arc::new));
                if bytes >= DERIVED_BYTES {
                    writer.write(&std::mem::take(&mut threads))?;
                    bytes = 0;
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

/// Of the conversations whose threads are in memory at once.
const DERIVED_BYTES: usize = 1 << 20;

/// The one file of a flush of a table without siblings.
pub(crate) async fn write_rows<R: FlatRow>(
    store: &Arc<dyn ObjectStore>,
    path: Path,
    rows: Arc<Vec<Arc<R>>>,
    columns: Layout,
) -> Result<WrittenRows, FileError> {
    upload(store, path, move |sink| {
        let mut writer = RowsWriter::new(sink, &columns)?;
        writer.write(&rows)?;
        writer.finish()
    })
    .await
}

/// Runs `write` on a blocking thread and stores what it writes under `path`, once it has succeeded.
pub(crate) async fn upload<T: Send + 'static>(
    store: &Arc<dyn ObjectStore>,
    path: Path,
    write: impl FnOnce(ChannelWriter) -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    let (sender, mut receiver) = mpsc::channel(CHANNEL_CHUNKS);
    let encoding = tokio::task::spawn_blocking(move || write(ChannelWriter { sender, buffer: Vec::new() }));
    let mut object = BufWriter::new(store.clone(), path.clone());
    let mut stored = Ok(());
    while let Some(chunk) = receiver.recv().await {
        stored = object.put(chunk).await;
        if stored.is_err() {
            break;
        }
    }
    // Ends the encoding too when storing failed.
    drop(receiver);
    let encoded = encoding.await.unwrap_or_else(|_| Err(FileError::Aborted { path: path.clone() }));
    match (stored, encoded) {
        (Ok(()), Ok(value)) => match object.shutdown().await {
            Ok(()) => Ok(value),
            Err(source) => Err(FileError::Write { path, source }),
        },
        (stored, encoded) => {
            // Nothing refers to what was stored of it; garbage collection takes what an abort leaves behind.
            let _ = object.abort().await;
            stored?;
            encoded
        }
    }
}

const CHANNEL_CHUNKS: usize = 4;
const CHUNK_BYTES: usize = 1 << 20;

/// Hands bytes from a blocking thread to [`upload`]; waits while the store is slower.
pub(crate) struct ChannelWriter {
    sender: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
}

impl ChannelWriter {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender.blocking_send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    /// The last bytes leave here: the Parquet writer flushes after its footer.
    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

/// Without the Arrow schema in the footer: with it PyArrow reads strings as `string_view`, which most of its functions
/// (26.0) refuse. The Parquet types say the rest; readers here ask for the types of [`super::schema`].
fn arrow_writer<W: Write + Send>(sink: W, schema: SchemaRef) -> Result<ArrowWriter<W>, FileError> {
    let options = ArrowWriterOptions::new().with_properties(writer_properties(&schema)).with_skip_arrow_metadata(true);
    Ok(ArrowWriter::try_new_with_options(sink, schema, options)?)
}

fn writer_properties(schema: &SchemaRef) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by(concat!("convolake ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(MAX_ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(MAX_ROW_GROUP_BYTES))
        .set_data_page_row_count_limit(MAX_PAGE_ROWS)
        .set_data_page_size_limit(MAX_PAGE_BYTES)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(MAX_STATISTICS_BYTES))
        .set_column_index_truncate_length(Some(MAX_STATISTICS_BYTES));
    for field in schema.fields() {
        let name = field.name().as_str();
        let path = || ColumnPath::new(vec![name.to_owned()]);
        if UNIQUE_COLUMNS.contains(&name) {
            builder = builder
                .set_column_dictionary_enabled(path(), false)
                .set_column_data_page_size_limit(path(), MAX_TEXT_PAGE_BYTES);
        } else if field.data_type() == &DataType::Utf8View && !name.contains('.') {
            builder = builder.set_column_dictionary_page_size_limit(path(), MAX_DICTIONARY_BYTES);
        }
        match field.data_type() {
            // Version 2's default, DELTA_BYTE_ARRAY, cannot be read as views into the page.
            DataType::Utf8View => builder = builder.set_column_encoding(path(), Encoding::PLAIN),
            DataType::Timestamp(..) | DataType::Int32 => {
                builder = builder.set_column_dictionary_enabled(path(), false);
            }
            _ => {}
        }
        if SORTED_COLUMNS.contains(&name) {
            builder = builder.set_column_statistics_enabled(path(), EnabledStatistics::Page);
        }
    }
    builder.build()
}
