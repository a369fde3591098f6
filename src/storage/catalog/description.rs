//! What has to be known of a group of data files before they are read (a file, and the siblings that lie beside it):
//! where their columns are and within which bounds their values. One object for each group, outside the tables'
//! folders, so that a clean-up by another engine spares it.
//!
//! It belongs to its files and goes with them, so it may tell of values what commits, which outlive them, do not.

use std::collections::BTreeMap;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use super::commit::FileId;
use super::error::{CatalogError, read_object};
use super::frame::{self, Kind};
use super::hex::Checksum;
use crate::storage::format::layout::Layout;
use crate::storage::format::statistics::{ColumnStatistics, DeltaStatistics};

const FOLDER: &str = "sidecars";
const KIND: Kind = Kind { name: "description", format: 1, reads: 1..=1 };

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Description {
    pub(crate) id: FileId,
    /// Of the index beside it.
    pub(crate) index_bytes: u64,
    pub(crate) rows: FileDescription,
    pub(crate) threads: Option<FileDescription>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FileDescription {
    /// The data file's, as its commit has it.
    pub(crate) checksum: Checksum,
    pub(crate) layout: Layout,
    pub(crate) statistics: DeltaStatistics,
}

impl FileDescription {
    pub(crate) fn new(checksum: Checksum, layout: &Layout, statistics: &BTreeMap<String, ColumnStatistics>) -> Self {
        FileDescription { checksum, layout: layout.clone(), statistics: DeltaStatistics::new(statistics) }
    }
}

pub(crate) fn path(id: FileId) -> Path {
    Path::from_iter([FOLDER, &format!("{id}.json")])
}

/// Of the index of the group's rows.
pub(crate) fn index_path(id: FileId) -> Path {
    Path::from_iter([FOLDER, &format!("{id}.idx")])
}

pub(crate) async fn write(objects: &dyn ObjectStore, description: &Description) -> Result<(), CatalogError> {
    let path = path(description.id);
    let (object, _) = frame::encode(&KIND, description).map_err(CatalogError::Bug)?;
    let put = objects.put(&path, object.into()).await;
    put.map(|_| ()).map_err(|source| CatalogError::Unwritable { object: path, source })
}

pub(crate) async fn read(objects: &dyn ObjectStore, id: FileId) -> Result<Description, CatalogError> {
    let path = path(id);
    let Some(object) = read_object(objects, &path).await? else {
        return Err(CatalogError::missing(&path, format!("a commit has the file {id}")));
    };
    let (description, _) =
        frame::decode::<Description>(&KIND, &object).map_err(|error| CatalogError::of_frame(&path, error))?;
    if description.id != id {
        return Err(CatalogError::damaged(&path, format!("it is of the file {}", description.id)));
    }
    Ok(description)
}
