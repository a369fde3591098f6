//! A checkpoint: the whole manifest after a commit, in one object `checkpoints/<the commit's number>`. A start reads
//! the newest and the commits after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::commit::{CommitNumber, Epoch, Erased, FileEntry, ImportProgress, RowSet};
use super::error::CatalogError;
use super::manifest::{Manifest, StoredFile, StoredImport, Table};
use crate::model::ids::{EpochMillis, WalPosition};
use crate::storage::format::hex::Checksum;
use crate::storage::format::registry::OwnedColumn;
use crate::storage::objects::frame::{self, Kind};

const FOLDER: &str = "checkpoints";
pub(crate) const KIND: Kind = Kind { name: "checkpoint", format: 3, reads: 1..=3 };

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Content {
    number: CommitNumber,
    /// The commit's checksum.
    commit: Checksum,
    epoch: Epoch,
    wal_position: WalPosition,
    time: Option<EpochMillis>,
    imports: BTreeMap<String, ImportProgress>,
    /// Of the commits that told of them.
    #[serde(default)]
    import_times: BTreeMap<String, EpochMillis>,
    tables: BTreeMap<String, TableContent>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableContent {
    files: Vec<FileContent>,
    columns: Vec<Arc<OwnedColumn>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileContent {
    entry: Arc<FileEntry>,
    added: EpochMillis,
    /// All of them.
    #[serde(default, skip_serializing_if = "RowSet::is_empty")]
    deleted: RowSet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    erased: Option<Erased>,
}

impl From<&StoredFile> for FileContent {
    fn from(StoredFile { entry, added, deleted, erased }: &StoredFile) -> Self {
        let deleted = RowSet(deleted.as_ref().clone());
        FileContent { entry: Arc::clone(entry), added: *added, deleted, erased: *erased }
    }
}

impl From<FileContent> for StoredFile {
    fn from(FileContent { entry, added, deleted, erased }: FileContent) -> Self {
        StoredFile { entry, added, deleted: Arc::new(deleted.0), erased }
    }
}

pub(crate) fn path(number: CommitNumber) -> Path {
    number.path_in(FOLDER)
}

/// Numbers of those that exist, ascending.
pub(crate) async fn list(objects: &dyn ObjectStore) -> Result<Vec<CommitNumber>, CatalogError> {
    list_numbers(objects, FOLDER).await
}

pub(super) async fn list_numbers(objects: &dyn ObjectStore, folder: &str) -> Result<Vec<CommitNumber>, CatalogError> {
    let prefix = Path::from(folder);
    let listed = objects.list(Some(&prefix));
    let numbers = listed.try_filter_map(async |object| Ok(CommitNumber::of_path(folder, &object.location)));
    let numbers: Result<Vec<CommitNumber>, _> = numbers.try_collect().await;
    let mut numbers = numbers.map_err(|source| CatalogError::unreadable(&prefix, source))?;
    numbers.sort_unstable();
    Ok(numbers)
}

pub(crate) fn encode(manifest: &Manifest) -> Result<Vec<u8>, CatalogError> {
    let table = |table: &Table| TableContent {
        files: table.files.values().map(|file| file.as_ref().into()).collect(),
        columns: table.columns.values().cloned().collect(),
    };
    let content = Content {
        number: manifest.number,
        commit: manifest.checksum,
        epoch: manifest.epoch,
        wal_position: manifest.wal_position,
        time: manifest.time,
        imports: manifest.imports.iter().map(|(id, import)| (id.clone(), import.progress)).collect(),
        import_times: manifest.imports.iter().map(|(id, import)| (id.clone(), import.time)).collect(),
        tables: manifest.tables.iter().map(|(name, content)| (name.clone(), table(content))).collect(),
    };
    let encoded = frame::encode(&KIND, &content);
    let (object, _) =
        encoded.map_err(|reason| CatalogError::Bug(format!("checkpoint {}: {reason}", manifest.number)))?;
    Ok(object)
}

/// Reads the object that lies at `number`.
pub(crate) fn decode(number: CommitNumber, object: &[u8]) -> Result<Manifest, CatalogError> {
    let path = path(number);
    let decoded = frame::decode::<Content>(&KIND, object);
    let (content, _) = decoded.map_err(|error| CatalogError::of_frame(&path, error))?;
    if content.number != number {
        return Err(CatalogError::damaged(&path, format!("it is checkpoint {} under another name", content.number)));
    }
    content.into_manifest().map_err(|reason| CatalogError::damaged(&path, reason))
}

impl Content {
    fn into_manifest(self) -> Result<Manifest, String> {
        let table = |(name, TableContent { files, columns }): (String, TableContent)| match Table::new(
            &name,
            files.into_iter().map(StoredFile::from),
            &columns,
        ) {
            Ok(table) => Ok((name, table)),
            Err(reason) => Err(format!("table {name:?}: {reason}")),
        };
        let times = self.import_times;
        let import = |(id, progress): (String, ImportProgress)| {
            let time = times.get(&id).copied().unwrap_or_default();
            (id, StoredImport { progress, time })
        };
        Ok(Manifest {
            number: self.number,
            checksum: self.commit,
            epoch: self.epoch,
            wal_position: self.wal_position,
            time: self.time,
            imports: self.imports.into_iter().map(import).collect(),
            tables: self.tables.into_iter().map(table).collect::<Result<_, String>>()?,
        })
    }
}

#[cfg(test)]
mod tests;
