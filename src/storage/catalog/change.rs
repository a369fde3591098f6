//! What a commit changes: which files each table gets and loses, and which rows of its files are gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::path::Path;
use roaring::RoaringBitmap;

use super::files::FileSnapshot;
use crate::model::ids::WalPosition;
use crate::storage::format::data_file::DataFile;
use crate::storage::format::registry::ColumnRegistry;
use crate::storage::format::statistics::ColumnStatistics;
use crate::storage::format::tables::{PerTable, Same};

/// One commit over all tables.
pub(crate) struct CatalogChange {
    /// With it the tables hold every operation of the log up to here.
    pub(crate) position: WalPosition,
    pub(crate) tables: PerTable<Same<TableChange>>,
}

#[derive(Default)]
pub(crate) struct TableChange {
    pub(crate) added: Vec<NewFile>,
    pub(crate) removed: Vec<Arc<DataFile>>,
    /// Files that stay, with their deleted rows as of the position; of those that are as they were, nothing changes.
    pub(crate) deletions: Vec<FileSnapshot>,
    /// The property columns that the table has from then on.
    pub(crate) columns: ColumnRegistry,
}

/// A file that is durable, and its siblings and sidecar as well.
#[derive(Clone)]
pub(crate) struct NewFile {
    pub(crate) file: Arc<DataFile>,
    pub(crate) index: Sidecar,
    /// Of a file of conversations.
    pub(crate) messages: Option<Arc<MessagesWritten>>,
}

#[derive(Clone)]
pub(crate) struct Sidecar {
    pub(crate) path: Path,
    pub(crate) size: u64,
}

/// What other engines are told of the file of messages.
pub(crate) struct MessagesWritten {
    pub(crate) rows: u32,
    pub(crate) statistics: BTreeMap<String, ColumnStatistics>,
}

impl TableChange {
    /// Files whose deleted rows are others than those that are committed, by file number.
    pub(crate) fn changed_deletions(
        &self,
        committed: &BTreeMap<u32, Arc<RoaringBitmap>>,
    ) -> impl Iterator<Item = &FileSnapshot> {
        let is_new =
            |entry: &&FileSnapshot| committed.get(&entry.file.number).is_none_or(|deleted| **deleted != *entry.deleted);
        self.deletions.iter().filter(is_new)
    }
}
