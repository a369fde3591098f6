//! A sidecar made again from its files, where it is missing, damaged, of another version or of other files.
//!
//! The files are read whole first and compared with what their commits say of them: what is made of a damaged file
//! would make its damage the truth.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use xxhash_rust::xxh3::Xxh3;

use super::commit::{FileEntry, FileId};
use crate::environment::Environment;
use crate::model::thread::SemanticThread;
use crate::storage::error::{Cause, StoreError};
use crate::storage::format::checked::{BlockHasher, DATA_BLOCK_BYTES, ReadError};
use crate::storage::format::columns::column::FlatRow;
use crate::storage::format::columns::messages::MessageRow;
use crate::storage::format::error::FileError;
use crate::storage::format::footer;
use crate::storage::format::hex::Checksum;
use crate::storage::format::parquet_file::{Blocks, FileReader, ParquetFile};
use crate::storage::format::rebuild::{Indexed, Source};
use crate::storage::format::sidecar::description::FileDescription;
use crate::storage::format::sidecar::file::{DescribedFile, NewSidecar, Sidecar};
use crate::storage::format::sidecar::part::{Remade, Remake};
use crate::storage::format::statistics::rows_statistics;
use crate::storage::format::table::{MESSAGES, Table};

/// The files of a group, by their tables.
pub(crate) type Entries = BTreeMap<&'static str, Arc<FileEntry>>;

/// Makes the sidecar of one group.
pub(crate) struct Remaker<R> {
    environment: Environment,
    id: FileId,
    entries: Entries,
    row: PhantomData<fn() -> R>,
}

impl<R: Indexed> Remaker<R> {
    pub(crate) fn new(environment: &Environment, id: FileId, entries: &Entries) -> Arc<Remaker<R>> {
        Arc::new(Remaker { environment: environment.clone(), id, entries: entries.clone(), row: PhantomData })
    }

    /// Stored, or in memory alone where nothing can be written now.
    pub(crate) async fn sidecar(self: Arc<Self>) -> Result<Sidecar, StoreError> {
        let made = self.make().await?;
        if self.write(&made).await {
            let cache = Arc::clone(&self.environment.cache);
            let stored = made.stored(self, &cache);
            return stored.map_err(|error| StoreError::caused("a sidecar just written", error));
        }
        Ok(made.in_memory())
    }

    async fn make(&self) -> Result<NewSidecar, StoreError> {
        let Remaker { environment, id, entries, .. } = self;
        let (mut described, mut files) = (BTreeMap::new(), BTreeMap::new());
        for (table, entry) in entries {
            let blocks = verify(environment.objects.as_ref(), entry).await;
            let blocks = blocks.map_err(not_made)?;
            let path = Path::from(entry.path.as_str());
            let file = ParquetFile::new(path, entry.size, Blocks::Known(blocks.clone()), &environment.cache);
            let file = Arc::new(file);
            let description = match *table {
                MESSAGES => describe::<MessageRow>(environment, entry, &file).await,
                table if table == Table::SemanticThreads.name() => {
                    describe::<SemanticThread>(environment, entry, &file).await
                }
                _ => describe::<R>(environment, entry, &file).await,
            };
            let description = description.map_err(not_made)?;
            described.insert((*table).to_owned(), DescribedFile { description, blocks });
            files.insert(*table, (entry.rows, file));
        }
        let (rows, parquet) = files
            .get(R::TABLE.name())
            .ok_or_else(|| StoreError::Bug(format!("a group without a file of {}", R::TABLE.name())))?;
        let source = Source { parquet, rows: *rows, messages: files.get(MESSAGES).map(|(_, file)| file) };
        let index = R::rebuild_index(&environment.objects, source).await.map_err(not_made)?;
        NewSidecar::new((R::TABLE.name(), *id), described, index)
            .map_err(|reason| StoreError::Bug(format!("a sidecar that is made again: {reason}")))
    }

    async fn write(&self, made: &NewSidecar) -> bool {
        let written = made.write(self.environment.objects.as_ref()).await;
        if let Err(error) = &written {
            tracing::warn!(file = %self.id, %error, "a sidecar made again could not be written; it is kept in memory");
        }
        written.is_ok()
    }
}

#[async_trait]
impl<R: Indexed> Remake for Remaker<R> {
    async fn again(&self) -> Result<Remade, StoreError> {
        let made = self.make().await?;
        self.write(&made).await;
        Ok(made.parts())
    }
}

fn not_made(error: impl Cause) -> StoreError {
    StoreError::caused("a sidecar cannot be made again", error)
}

/// Reads a whole data object; gives the checksums of its blocks if it is the one that was committed.
async fn verify(store: &dyn ObjectStore, entry: &FileEntry) -> Result<Vec<u64>, ReadError> {
    let path = Path::from(entry.path.as_str());
    let failed = |source| ReadError::Store { object: path.clone(), source };
    let mut chunks = store.get(&path).await.map_err(failed)?.into_stream();
    let (mut hash, mut blocks, mut size) = (Xxh3::new(), BlockHasher::new(DATA_BLOCK_BYTES), 0);
    while let Some(chunk) = chunks.try_next().await.map_err(failed)? {
        hash.update(&chunk);
        blocks.update(&chunk);
        size += chunk.len() as u64;
    }
    let found = Checksum(hash.digest128());
    if (size, found) != (entry.size, entry.checksum) {
        let FileEntry { size: declared, checksum, .. } = entry;
        let reason =
            format!("it has {size} bytes with the checksum {found}, its commit says {declared} and {checksum}");
        return Err(ReadError::Damaged { object: path, reason });
    }
    Ok(blocks.finish())
}

async fn describe<R: FlatRow>(
    environment: &Environment,
    entry: &FileEntry,
    file: &Arc<ParquetFile>,
) -> Result<FileDescription, FileError> {
    let footer = FileReader::new(Arc::clone(&environment.objects), Arc::clone(file)).footer().await?;
    let layout = footer::layout(&footer);
    let layout = layout.map_err(|reason| FileError::Damaged { path: file.path.clone(), reason })?;
    let statistics = rows_statistics::<R>(&footer, &layout);
    Ok(FileDescription::new((entry.checksum, entry.size), &layout, &statistics))
}
