//! A change of the tables as the commit line takes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::change::{CatalogChange, MovedRows, TableChange};
use super::commit::{CommitNumber, DeletionEdit, Edit, Erased, FileId, RowSet, TableEdit};
use super::manifest::{Manifest, Table as StoredTable};
use crate::storage::error::StoreError;
use crate::storage::format::table::{MESSAGES, Table};
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{Kind, PerTable, for_each_table};

/// By the removed file.
pub(super) type Moved = BTreeMap<FileId, Move>;

/// Where the rows of a removed file went, and with which commit.
pub(super) struct Move {
    pub(super) by: CommitNumber,
    pub(super) rows: Arc<MovedRows>,
}

/// What the change is to a store at this manifest. The same change gives the same edit as long as nothing else is
/// committed, so that a commit of unknown outcome is tried again as it was.
pub(super) fn edit_of(change: &CatalogChange, manifest: &Manifest, moved: &Moved) -> Result<Edit, StoreError> {
    let imports = change.imports.clone();
    let mut edit = Edit { wal_position: Some(change.position), imports, ..Edit::default() };
    for_each_table!(kind in PerTable::<Kind>::default(), change in change.tables.as_ref() => {
        add_table(&mut edit, &kind, change, manifest, moved)?;
    });
    edit.tables.retain(|_, table| *table != TableEdit::default());
    Ok(edit)
}

fn add_table<R: TableRow>(
    edit: &mut Edit,
    _: &Kind<R>,
    change: &TableChange,
    manifest: &Manifest,
    moved: &Moved,
) -> Result<(), StoreError> {
    let name = R::TABLE.name();
    let none = StoredTable::default();
    let stored = manifest.tables.get(name).unwrap_or(&none);
    let remove: Vec<FileId> = change.removed.iter().map(|removed| removed.id).collect();
    for sibling in [MESSAGES, Table::SemanticThreads.name()] {
        let entries = change.added.iter().filter_map(|new| match sibling {
            MESSAGES => new.messages.clone(),
            _ => new.threads.clone(),
        });
        let files = manifest.tables.get(sibling).map(|table| &table.files);
        let its = |id: &&FileId| R::TABLE == Table::Conversations && files.is_some_and(|files| files.contains_key(*id));
        let of_sibling = edit.tables.entry(sibling.to_owned()).or_default();
        of_sibling.add.extend(entries);
        of_sibling.remove.extend(remove.iter().filter(its));
    }
    let of_table = TableEdit {
        add: change.added.iter().map(|new| new.entry.clone()).collect(),
        deletions: deletions(change, stored, moved)?,
        erased: erased(change, stored, moved)?,
        columns: change.columns.iter().filter(|owned| !stored.has_column(&owned.column)).cloned().collect(),
        remove,
    };
    edit.tables.insert(name.to_owned(), of_table);
    Ok(())
}

/// Deleted rows that are not committed yet.
fn deletions(
    change: &TableChange,
    stored: &StoredTable,
    moved: &Moved,
) -> Result<BTreeMap<FileId, DeletionEdit>, StoreError> {
    let is_removed = |id: &FileId| change.removed.iter().any(|removed| removed.id == *id);
    let mut deleted: BTreeMap<FileId, RoaringBitmap> = BTreeMap::new();
    for entry in change.deletions.iter().filter(|entry| !is_removed(&entry.file.id)) {
        let (id, rows) = where_now(entry.file.id, entry.deleted.as_ref().clone(), change, stored, moved)?;
        *deleted.entry(id).or_default() |= rows;
    }
    let mut edits = BTreeMap::new();
    for (id, rows) in deleted {
        let before = stored.files.get(&id).map(|file| Arc::clone(&file.deleted)).unwrap_or_default();
        let new = rows - before.as_ref();
        if !new.is_empty() {
            let total = before.len() + new.len();
            edits.insert(id, DeletionEdit { rows: RowSet(new), total });
        }
    }
    Ok(edits)
}

/// Files that hold what was erased. Rows that a compaction has left behind meanwhile are gone already.
fn erased(change: &TableChange, stored: &StoredTable, moved: &Moved) -> Result<BTreeMap<FileId, Erased>, StoreError> {
    let mut edits: BTreeMap<FileId, Erased> = BTreeMap::new();
    for erased in &change.erased {
        let (id, rows) = where_now(erased.file, erased.rows.clone(), change, stored, moved)?;
        if !rows.is_empty() {
            let merged = erased.when.merged(edits.get(&id).copied());
            edits.insert(id, merged);
        }
    }
    Ok(edits)
}

/// Where rows of a file are that may have been removed since.
fn where_now(
    mut id: FileId,
    mut rows: RoaringBitmap,
    change: &TableChange,
    stored: &StoredTable,
    moved: &Moved,
) -> Result<(FileId, RoaringBitmap), StoreError> {
    let is_added = |id: &FileId| change.added.iter().any(|new| new.entry.id == *id);
    while !rows.is_empty() && !stored.files.contains_key(&id) && !is_added(&id) {
        let Some(MovedRows { to, rows: places }) = moved.get(&id).map(|moved| moved.rows.as_ref()) else {
            return Err(StoreError::Bug(format!("rows of the file {id} are deleted, which is not there")));
        };
        rows = rows.iter().filter_map(|row| places.get(row as usize).copied().flatten()).collect();
        id = *to;
    }
    Ok((id, rows))
}
