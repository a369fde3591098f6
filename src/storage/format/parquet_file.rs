//! A Parquet file in the object store, and the one place where footers are read.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

/// Read from a file's end at first, to get the footer and its index in one request.
const FOOTER_BYTES: usize = 256 << 10;

/// Immutable; its size is known without asking the store.
pub(crate) struct ParquetFile {
    pub(crate) path: Path,
    pub(crate) size: u64,
    /// The footer with its page index, read once.
    footer: OnceLock<Arc<ParquetMetaData>>,
    /// What it says in Arrow's terms: made for the first point read, as scans make their own.
    arrow: OnceLock<ArrowReaderMetadata>,
}

impl ParquetFile {
    pub(crate) fn new(path: Path, size: u64) -> Self {
        Self { path, size, footer: OnceLock::new(), arrow: OnceLock::new() }
    }

    /// One that has just been written.
    pub(crate) fn written(path: Path, size: u64, footer: Arc<ParquetMetaData>) -> Self {
        Self { path, size, footer: OnceLock::from(footer), arrow: OnceLock::new() }
    }
}

impl fmt::Debug for ParquetFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetFile").field("path", &self.path).field("size", &self.size).finish_non_exhaustive()
    }
}

/// Reads a file's ranges from the store, its footer only if nobody has yet.
#[derive(Clone, Debug)]
pub(crate) struct FileReader {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) file: Arc<ParquetFile>,
}

impl FileReader {
    async fn footer(&mut self) -> Result<Arc<ParquetMetaData>> {
        if let Some(footer) = self.file.footer.get() {
            return Ok(Arc::clone(footer));
        }
        let size = self.file.size;
        let footer = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Optional)
            .with_prefetch_hint(Some(FOOTER_BYTES))
            .load_and_finish(&mut *self, size)
            .await?;
        Ok(Arc::clone(self.file.footer.get_or_init(|| Arc::new(footer))))
    }

    /// With the Arrow types that the Parquet types alone give: text as `Utf8`, whose arrays are copies. Views would keep
    /// whole pages of other rows alive.
    pub(crate) async fn arrow_metadata(&mut self) -> Result<ArrowReaderMetadata> {
        if let Some(arrow) = self.file.arrow.get() {
            return Ok(arrow.clone());
        }
        let arrow = ArrowReaderMetadata::try_new(self.footer().await?, ArrowReaderOptions::new())?;
        Ok(self.file.arrow.get_or_init(|| arrow).clone())
    }
}

fn store_error(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for FileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move { self.store.get_range(&self.file.path, range).await.map_err(store_error) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { self.store.get_ranges(&self.file.path, &ranges).await.map_err(store_error) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        self.footer().boxed()
    }
}
