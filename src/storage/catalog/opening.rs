//! The data files of a manifest, opened: what has to be known of them is read, they themselves are not.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;

use super::commit::{FileEntry, FileId};
use super::description::{self, Description, FileDescription};
use super::files::FileSnapshot;
use super::hex::Checksum;
use super::manifest::{Manifest, StoredFile};
use crate::model::thread::SemanticThread;
use crate::storage::error::StoreError;
use crate::storage::format::columns::column::FlatRow;
use crate::storage::format::data_file::{DataFile, ThreadsFile};
use crate::storage::format::parquet_file::ParquetFile;
use crate::storage::format::row_index::file::FileIndex;
use crate::storage::format::schema;
use crate::storage::format::table::{MESSAGES, Table};
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{Kind, PerTable, Same, per_table};

const OPENED_AT_ONCE: usize = 16;

/// Each file gets the next number, as many as there are, in the order of their ids.
pub(crate) async fn open_files(
    objects: &Arc<dyn ObjectStore>,
    manifest: &Manifest,
    mut next_number: impl FnMut() -> u32,
) -> Result<PerTable<Same<Vec<FileSnapshot>>>, StoreError> {
    check_presence(objects.as_ref(), manifest).await?;
    Ok(per_table!(kind in PerTable::<Kind>::default() => {
        open_table(objects, manifest, kind, &mut next_number).await?
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

async fn open_table<R: TableRow>(
    objects: &Arc<dyn ObjectStore>,
    manifest: &Manifest,
    kind: Kind<R>,
    next_number: &mut impl FnMut() -> u32,
) -> Result<Vec<FileSnapshot>, StoreError> {
    let Some(table) = manifest.tables.get(kind.name()) else { return Ok(Vec::new()) };
    let files: Vec<((u32, u32), &Arc<StoredFile>)> =
        table.files.values().map(|file| ((next_number(), next_number()), file)).collect();
    let opened = stream::iter(files).map(|(numbers, file)| open_group::<R>(objects, manifest, numbers, file));
    opened.buffered(OPENED_AT_ONCE).try_collect().await
}

/// A file with its siblings.
async fn open_group<R: TableRow>(
    objects: &Arc<dyn ObjectStore>,
    manifest: &Manifest,
    (number, threads_number): (u32, u32),
    stored: &StoredFile,
) -> Result<FileSnapshot, StoreError> {
    let id = stored.entry.id;
    let sibling = |name: &str| {
        let files = manifest.tables.get(name).filter(|_| R::TABLE == Table::Conversations).map(|table| &table.files);
        files.and_then(|files| files.get(&id)).map(|file| &file.entry)
    };
    let Description { index_bytes, rows, threads, .. } = description::read(objects.as_ref(), id)
        .await
        .map_err(|error| StoreError::caused("what has to be known of a data file", error))?;
    let index = FileIndex::open(objects.as_ref(), description::index_path(id), index_bytes).await;
    let index = index.map_err(|error| StoreError::caused("a sidecar index could not be opened", error))?;
    let mut file = data_file::<R>(number, &stored.entry, rows, index)?;
    file.messages = sibling(MESSAGES).map(|entry| Arc::new(parquet(entry)));
    if let Some(entry) = sibling(Table::SemanticThreads.name()) {
        let missing = || StoreError::Damaged(format!("{} does not tell of {}", description::path(id), entry.path));
        let threads =
            data_file::<SemanticThread>(threads_number, entry, threads.ok_or_else(missing)?, FileIndex::empty())?;
        let offsets = file.index.thread_offsets(objects.as_ref()).await;
        let offsets = offsets.map_err(|error| StoreError::caused("a sidecar index could not be read", error))?;
        let threads = ThreadsFile::new(threads, offsets).map_err(|error| StoreError::caused("threads", error))?;
        file.threads = Some(threads);
    }
    Ok(FileSnapshot { file: Arc::new(file), deleted: Arc::clone(&stored.deleted) })
}

fn parquet(entry: &FileEntry) -> ParquetFile {
    ParquetFile::new(Path::from(entry.path.as_str()), entry.size)
}

/// A file as its commit and its description tell it.
fn data_file<R: FlatRow>(
    number: u32,
    entry: &FileEntry,
    described: FileDescription,
    index: FileIndex,
) -> Result<DataFile, StoreError> {
    let FileDescription { checksum, layout, statistics } = described;
    if checksum != entry.checksum {
        let object = description::path(entry.id);
        return Err(of_another_file(&object, entry.id, checksum));
    }
    let schema = schema::rows_schema::<R>(&layout);
    let statistics = statistics.read(schema.fields().iter().map(|field| (field.name().as_str(), field.data_type())));
    Ok(DataFile::new((entry.id, number), parquet(entry), entry.rows, layout, statistics, index))
}

fn of_another_file(object: &Path, id: FileId, checksum: Checksum) -> StoreError {
    let reason = format!("it tells of a file with the checksum {checksum}, which is not {id}'s");
    StoreError::Damaged(format!("{object} is damaged: {reason}; put a sound copy of it back"))
}
