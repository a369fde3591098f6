//! A Parquet file in the object store, and the one way to read of it: what is read is verified first, by the checksums
//! of its blocks that the sidecar has, the footer too.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::column::page::Page;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use super::checked::{CheckedObject, ReadError, read_checksums};
use super::sidecar::part::Part;
use crate::cache::{Cache, Shelf, Slot};

/// Read from a file's end at first, to get the footer and its index in one request.
const FOOTER_BYTES: usize = 256 << 10;

/// Immutable; its size is known without asking the store.
pub(crate) struct ParquetFile {
    pub(crate) path: Path,
    pub(crate) size: u64,
    blocks: Blocks,
    opened: Slot<Opened>,
    /// Small ones that were read, by where they lie.
    pub(super) pages: Shelf<Page>,
}

/// Where the checksums of a file's blocks are.
pub(crate) enum Blocks {
    Known(Vec<u64>),
    Stored(Part),
}

/// What a file's first reader has read.
struct Opened {
    object: Arc<CheckedObject>,
    /// With its page index.
    footer: Arc<ParquetMetaData>,
    /// What it says in Arrow's terms: made for the first point read, as scans make their own.
    arrow: OnceLock<ArrowReaderMetadata>,
}

impl ParquetFile {
    pub(crate) fn new(path: Path, size: u64, blocks: Blocks, cache: &Arc<Cache>) -> Self {
        Self { path, size, blocks, opened: cache.slot(), pages: cache.shelf() }
    }

    /// One that has just been written: its footer need not be read.
    pub(crate) fn keep_footer(&self, blocks: Vec<u64>, footer: Arc<ParquetMetaData>) -> Result<(), ReadError> {
        let object = Arc::new(CheckedObject::data(self.path.clone(), self.size, blocks)?);
        self.keep(object, footer);
        Ok(())
    }

    fn keep(&self, object: Arc<CheckedObject>, footer: Arc<ParquetMetaData>) -> Arc<Opened> {
        // What it says in Arrow's terms is as large again.
        let bytes = object.memory_bytes() + 2 * footer.memory_size();
        let opened = Arc::new(Opened { object, footer, arrow: OnceLock::new() });
        self.opened.set(Arc::clone(&opened), bytes);
        opened
    }
}

impl fmt::Debug for ParquetFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetFile").field("path", &self.path).field("size", &self.size).finish_non_exhaustive()
    }
}

/// Reads a file's ranges from the store, its footer only if that is not in memory.
pub(crate) struct FileReader {
    store: Arc<dyn ObjectStore>,
    file: Arc<ParquetFile>,
    object: Option<Arc<CheckedObject>>,
}

impl FileReader {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, file: Arc<ParquetFile>) -> Self {
        Self { store, file, object: None }
    }

    pub(super) fn file(&self) -> &Arc<ParquetFile> {
        &self.file
    }

    async fn object(&mut self) -> Result<Arc<CheckedObject>, ReadError> {
        if let Some(object) = &self.object {
            return Ok(Arc::clone(object));
        }
        let object = match self.file.opened.get() {
            Some(opened) => Arc::clone(&opened.object),
            None => {
                let checksums = match &self.file.blocks {
                    Blocks::Known(checksums) => checksums.clone(),
                    Blocks::Stored(part) => read_checksums(&part.read(self.store.as_ref(), 0..part.length()).await?),
                };
                Arc::new(CheckedObject::data(self.file.path.clone(), self.file.size, checksums)?)
            }
        };
        Ok(Arc::clone(self.object.insert(object)))
    }

    async fn opened(&mut self) -> Result<Arc<Opened>> {
        if let Some(opened) = self.file.opened.get() {
            return Ok(opened);
        }
        let object = self.object().await.map_err(external)?;
        let size = self.file.size;
        let footer = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Optional)
            .with_prefetch_hint(Some(FOOTER_BYTES))
            .load_and_finish(&mut *self, size)
            .await?;
        Ok(self.file.keep(object, Arc::new(footer)))
    }

    pub(crate) async fn footer(&mut self) -> Result<Arc<ParquetMetaData>> {
        Ok(Arc::clone(&self.opened().await?.footer))
    }

    /// With the Arrow types that the Parquet types alone give: text as `Utf8`, whose arrays are copies. Views would keep
    /// whole pages of other rows alive.
    pub(crate) async fn arrow_metadata(&mut self) -> Result<ArrowReaderMetadata> {
        let opened = self.opened().await?;
        if let Some(arrow) = opened.arrow.get() {
            return Ok(arrow.clone());
        }
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let arrow = ArrowReaderMetadata::try_new(Arc::clone(&opened.footer), options)?;
        Ok(opened.arrow.get_or_init(|| arrow).clone())
    }

    pub(super) async fn read(&mut self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let object = self.object().await.map_err(external)?;
        object.read(self.store.as_ref(), ranges).await.map_err(external)
    }
}

fn external(error: ReadError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for FileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move { Ok(self.read(std::slice::from_ref(&range)).await?.pop().unwrap_or_default()) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { self.read(&ranges).await }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        self.footer().boxed()
    }
}
