//! What a commit changes: which files each table gets and loses, and which rows of its files are gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::commit::{Erased, FileEntry, FileId, ImportProgress};
use super::files::FileSnapshot;
use crate::model::ids::WalPosition;
use crate::storage::format::data_file::DataFile;
use crate::storage::format::registry::OwnedColumn;
use crate::storage::format::tables::{PerTable, Same};

/// One commit over all tables.
#[derive(Default)]
pub(crate) struct CatalogChange {
    /// With it the tables hold every operation of the log up to here.
    pub(crate) position: WalPosition,
    /// As in a commit.
    pub(crate) imports: BTreeMap<String, Option<ImportProgress>>,
    pub(crate) tables: PerTable<Same<TableChange>>,
}

#[derive(Default)]
pub(crate) struct TableChange {
    pub(crate) added: Vec<NewFile>,
    pub(crate) removed: Vec<RemovedFile>,
    /// Files with all their deleted rows as of the position; those that are committed already change nothing. One of
    /// them may have been removed since: its deletions go where its rows went.
    pub(crate) deletions: Vec<FileSnapshot>,
    /// Versions of what was erased, in files that may have been removed since as well.
    pub(crate) erased: Vec<ErasedRows>,
    /// Those of the new files, whether the table has them already or not.
    pub(crate) columns: Vec<OwnedColumn>,
}

/// Rows of a file that hold what was erased, dead ones too.
#[derive(Clone, Debug)]
pub(crate) struct ErasedRows {
    pub(crate) file: FileId,
    pub(crate) rows: RoaringBitmap,
    pub(crate) when: Erased,
}

/// A file that is durable, and its siblings and sidecars as well.
#[derive(Clone)]
pub(crate) struct NewFile {
    pub(crate) file: Arc<DataFile>,
    pub(crate) entry: FileEntry,
    /// Of a file of conversations.
    pub(crate) messages: Option<FileEntry>,
    pub(crate) threads: Option<FileEntry>,
}

/// A file that leaves its table, its siblings too.
#[derive(Clone)]
pub(crate) struct RemovedFile {
    pub(crate) id: FileId,
    pub(crate) moved: Arc<MovedRows>,
}

/// Where the rows of a removed file went: a change that was prepared before deletes them there.
pub(crate) struct MovedRows {
    pub(crate) to: FileId,
    /// By row of the removed file; none of rows that were left behind.
    pub(crate) rows: Vec<Option<u32>>,
}
