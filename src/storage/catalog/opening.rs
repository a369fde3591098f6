//! The data files of a manifest, opened: what has to be known of them is read, they themselves are not.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;

use super::commit::{FileEntry, FileId};
use super::files::FileSnapshot;
use super::manifest::{Manifest, StoredFile};
use super::remake::{Entries, Remaker};
use crate::environment::Environment;
use crate::model::thread::SemanticThread;
use crate::storage::error::{ErrorKind, StoreError};
use crate::storage::format::checked::ReadError;
use crate::storage::format::columns::column::FlatRow;
use crate::storage::format::data_file::{DataFile, ThreadsFile};
use crate::storage::format::parquet_file::{Blocks, ParquetFile};
use crate::storage::format::rebuild::Indexed;
use crate::storage::format::row_index::file::FileIndex;
use crate::storage::format::schema;
use crate::storage::format::sidecar::description::{Description, FileDescription};
use crate::storage::format::sidecar::file::{self as sidecar, Sidecar};
use crate::storage::format::sidecar::part::Remake;
use crate::storage::format::table::{MESSAGES, Table};
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{Kind, PerTable, Same, per_table};

const OPENED_AT_ONCE: usize = 16;

/// Each file gets the next number, as many as there are, in the order of their ids.
pub(crate) async fn open_files(
    environment: &Environment,
    manifest: &Manifest,
    mut next_number: impl FnMut() -> u32,
) -> Result<PerTable<Same<Vec<FileSnapshot>>>, StoreError> {
    check_presence(environment.objects.as_ref(), manifest).await?;
    Ok(per_table!(kind in PerTable::<Kind>::default() => {
        open_table(environment, manifest, kind, &mut next_number).await?
    }))
}

/// A copy of a store may lack files that its commits name: said at the start, not to the first who asks for them.
async fn check_presence(objects: &dyn ObjectStore, manifest: &Manifest) -> Result<(), StoreError> {
    for (name, table) in manifest.tables.iter().filter(|(_, table)| !table.files.is_empty()) {
        let folder = data_folder(name);
        let listed = objects.list(Some(&folder)).map_ok(|object| (object.location.to_string(), object.size));
        let found: BTreeMap<String, u64> = listed
            .try_collect()
            .await
            .map_err(|error| StoreError::caused(format!("{folder} could not be listed"), error))?;
        for file in table.files.values() {
            let FileEntry { path, size, .. } = file.entry.as_ref();
            match found.get(path) {
                Some(found) if found == size => {}
                Some(found) => {
                    let reason = format!("{path} is damaged: it has {found} bytes, its commit says {size}");
                    return Err(StoreError::Damaged(format!("{reason}; put a sound copy of it back")));
                }
                None => {
                    let reason = format!("{path} is missing, a commit names it; put it back");
                    return Err(StoreError::Damaged(format!("{reason}. Nothing was changed or deleted")));
                }
            }
        }
    }
    Ok(())
}

pub(crate) fn data_folder(table: &str) -> Path {
    Path::from_iter([table, "data"])
}

async fn open_table<R: Indexed>(
    environment: &Environment,
    manifest: &Manifest,
    kind: Kind<R>,
    next_number: &mut impl FnMut() -> u32,
) -> Result<Vec<FileSnapshot>, StoreError> {
    let Some(table) = manifest.tables.get(kind.name()) else { return Ok(Vec::new()) };
    let files: Vec<((u32, u32), &Arc<StoredFile>)> =
        table.files.values().map(|file| ((next_number(), next_number()), file)).collect();
    let opened = stream::iter(files).map(|(numbers, file)| open_group::<R>(environment, manifest, numbers, file));
    opened.buffered(OPENED_AT_ONCE).try_collect().await
}

/// A file with its siblings.
async fn open_group<R: Indexed>(
    environment: &Environment,
    manifest: &Manifest,
    (number, threads_number): (u32, u32),
    stored: &StoredFile,
) -> Result<FileSnapshot, StoreError> {
    let id = stored.entry.id;
    let entries = group_entries(manifest, R::TABLE, &stored.entry);
    let remaker = Remaker::<R>::new(environment, id, &entries);
    let open = async |sidecar: &Sidecar| {
        DescribedGroup { sidecar, entries: &entries, environment }.open::<R>(number, threads_number).await
    };
    let opened = async {
        let sidecar = open_sidecar(environment, R::TABLE, &entries, id, remaker.clone()).await;
        open(&sidecar.map_err(|error| StoreError::caused("what has to be known of a data file", error))?).await
    };
    let file = match opened.await {
        Err(error) if error.kind() == ErrorKind::Damaged => {
            tracing::warn!(%error, "a sidecar is missing or damaged; it is made again");
            open(&remaker.sidecar().await?).await?
        }
        opened => opened?,
    };
    // The files beside it are of the same version.
    let version = file.layout.version.check();
    version.map_err(|reason| StoreError::Damaged(format!("the data file {} has {reason}", file.path())))?;
    Ok(FileSnapshot { file: Arc::new(file), deleted: Arc::clone(&stored.deleted) })
}

/// A file's entry and those of the files beside it.
fn group_entries(manifest: &Manifest, table: Table, entry: &Arc<FileEntry>) -> Entries {
    let mut entries = Entries::from([(table.name(), Arc::clone(entry))]);
    if table == Table::Conversations {
        for name in [MESSAGES, Table::SemanticThreads.name()] {
            let files = manifest.tables.get(name).map(|table| &table.files);
            entries.extend(files.and_then(|files| files.get(&entry.id)).map(|file| (name, Arc::clone(&file.entry))));
        }
    }
    entries
}

/// The sidecar of exactly these files.
async fn open_sidecar(
    environment: &Environment,
    table: Table,
    entries: &Entries,
    id: FileId,
    remake: Arc<dyn Remake>,
) -> Result<Sidecar, ReadError> {
    let sidecar = Sidecar::open(environment.objects.as_ref(), id, remake, &environment.cache).await?;
    let Description { table: found, files, .. } = &sidecar.description;
    let same = |(name, entry): (&&str, &Arc<FileEntry>)| {
        files.get(*name).is_some_and(|file| file.checksum == entry.checksum && file.size == entry.size)
    };
    if found != table.name() || files.len() != entries.len() || !entries.iter().all(same) {
        let reason = format!("it tells of other files than the commits have of {id}");
        return Err(ReadError::Damaged { object: sidecar::path(id), reason });
    }
    Ok(sidecar)
}

/// A group of files as its commit and its sidecar tell it.
pub(crate) struct DescribedGroup<'a> {
    pub(crate) sidecar: &'a Sidecar,
    pub(crate) entries: &'a Entries,
    pub(crate) environment: &'a Environment,
}

impl DescribedGroup<'_> {
    /// Reads the offsets of threads and no more.
    pub(crate) async fn open<R: TableRow>(&self, number: u32, threads_number: u32) -> Result<DataFile, StoreError> {
        let failed = |error| StoreError::caused("what has to be known of a data file", error);
        let body = self.sidecar.index_body().map_err(failed)?;
        let index = FileIndex::open(&self.sidecar.opening, body, &self.environment.cache);
        let index = index.map_err(|error| StoreError::caused("a row index could not be opened", error))?;
        let mut file = self.file::<R>(R::TABLE, number, index)?;
        file.messages =
            self.entries.get(MESSAGES).map(|entry| self.parquet(MESSAGES, entry)).transpose()?.map(Arc::new);
        if self.entries.contains_key(Table::SemanticThreads.name()) {
            let threads = self.file::<SemanticThread>(Table::SemanticThreads, threads_number, FileIndex::empty())?;
            let offsets = file.index.thread_offsets(self.environment.objects.as_ref()).await;
            let offsets = offsets.map_err(|error| StoreError::caused("a row index could not be read", error))?;
            let threads = ThreadsFile::new(threads, offsets).map_err(|error| StoreError::caused("threads", error))?;
            file.threads = Some(threads);
        }
        Ok(file)
    }

    fn parquet(&self, table: &str, entry: &FileEntry) -> Result<ParquetFile, StoreError> {
        let blocks = self.sidecar.blocks_of(table);
        let blocks = blocks.map_err(|error| StoreError::caused("the checksums of a data file", error))?;
        let path = Path::from(entry.path.as_str());
        Ok(ParquetFile::new(path, entry.size, Blocks::Stored(blocks), &self.environment.cache))
    }

    fn file<R: FlatRow>(&self, table: Table, number: u32, index: FileIndex) -> Result<DataFile, StoreError> {
        let described = self.entries.get(table.name()).zip(self.sidecar.description.files.get(table.name()));
        let (entry, FileDescription { layout, statistics, .. }) =
            described.ok_or_else(|| StoreError::Bug(format!("a group without a file of {}", table.name())))?;
        let schema = schema::rows_schema::<R>(layout);
        let columns = schema.fields().iter().map(|field| (field.name().as_str(), field.data_type()));
        let (statistics, parquet) = (statistics.read(columns), self.parquet(table.name(), entry)?);
        let cache = &self.environment.cache;
        Ok(DataFile::new((entry.id, number), parquet, entry.rows, layout.clone(), statistics, index, cache))
    }
}
