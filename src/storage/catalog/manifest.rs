//! What the store holds after a commit: all commits up to it, added up.
//!
//! Cheap to clone, so that every snapshot has the one it stands on; two of them share what is the same in both.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use roaring::RoaringBitmap;

use super::commit::{Commit, CommitNumber, Edit, Epoch, Erased, FileEntry, FileId, ImportProgress, TableEdit};
use crate::model::ids::{EpochMillis, WalPosition};
use crate::storage::format::hex::Checksum;
use crate::storage::format::layout::{ColumnKind, JsonField, PropertyColumn};
use crate::storage::format::registry::{ColumnRegistry, OwnedColumn};

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Manifest {
    /// Of the last commit.
    pub(crate) number: CommitNumber,
    /// Of the last commit's object.
    pub(crate) checksum: Checksum,
    /// The highest so far.
    pub(crate) epoch: Epoch,
    /// The files hold every operation up to and with this one.
    pub(crate) wal_position: WalPosition,
    pub(crate) time: Option<EpochMillis>,
    /// By id.
    pub(crate) imports: OrdMap<String, StoredImport>,
    /// By name. A table that never had a file or column is not in it.
    pub(crate) tables: OrdMap<String, Table>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) files: OrdMap<FileId, Arc<StoredFile>>,
    /// Property columns by what they hold.
    pub(crate) columns: OrdMap<ColumnPlace, Arc<OwnedColumn>>,
    /// Their names in lower case: two that differ only by case are refused by other engines.
    column_names: OrdSet<String>,
}

pub(crate) type ColumnPlace = (JsonField, Vec<String>, ColumnKind);

/// What the store has of a data file. Its deleted rows are all in memory: every snapshot needs them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredFile {
    pub(crate) entry: Arc<FileEntry>,
    /// When the commit was made that added it.
    pub(crate) added: EpochMillis,
    pub(crate) deleted: Arc<RoaringBitmap>,
    /// None where nothing in it was erased: its deleted rows were replaced.
    pub(crate) erased: Option<Erased>,
}

/// How far an import was, as of the newest commit that tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredImport {
    pub(crate) progress: ImportProgress,
    pub(crate) time: EpochMillis,
}

impl Manifest {
    /// Imports that are to be forgotten, so that no more than `kept` stay: those that nobody has heard of for longest.
    pub(crate) fn old_imports(&self, kept: usize) -> Vec<&String> {
        let mut by_time: Vec<(EpochMillis, &String)> = self.imports.iter().map(|(id, one)| (one.time, id)).collect();
        by_time.sort_unstable();
        let old = by_time.len().saturating_sub(kept);
        by_time.into_iter().take(old).map(|(_, id)| id).collect()
    }

    /// With the next commit, whose object has this checksum. An error says what in the line is damaged.
    pub(crate) fn apply(&self, commit: &Commit, checksum: Checksum) -> Result<Manifest, String> {
        if commit.number != self.number.next() {
            return Err(format!("commit {} does not follow commit {}", commit.number, self.number));
        }
        if commit.previous != self.checksum {
            let Commit { number, previous, .. } = commit;
            return Err(format!("it follows a commit {} with the checksum {previous}, not this one's", number.0 - 1));
        }
        if commit.epoch < self.epoch {
            return Err(format!("its epoch {} is below {}, its predecessor's", commit.epoch.0, self.epoch.0));
        }
        let mut next = self.clone();
        next.change(commit.wal_position, &commit.imports, &commit.tables, commit.time)?;
        next.number = commit.number;
        next.checksum = checksum;
        next.epoch = commit.epoch;
        next.time = Some(commit.time);
        Ok(next)
    }

    /// Whether the edit can be the next commit.
    pub(crate) fn check(&self, edit: &Edit) -> Result<(), String> {
        let position = edit.wal_position.unwrap_or(self.wal_position);
        self.clone().change(position, &edit.imports, &edit.tables, EpochMillis(0))
    }

    fn change(
        &mut self,
        position: WalPosition,
        imports: &BTreeMap<String, Option<ImportProgress>>,
        tables: &BTreeMap<String, TableEdit>,
        time: EpochMillis,
    ) -> Result<(), String> {
        if position < self.wal_position {
            return Err(format!("it goes back from log position {} to {}", self.wal_position.0, position.0));
        }
        self.wal_position = position;
        for (id, progress) in imports {
            let Some(progress) = progress else {
                self.imports.remove(id);
                continue;
            };
            let import = StoredImport { progress: *progress, time };
            if let Some(StoredImport { progress: before, .. }) = self.imports.insert(id.clone(), import)
                && progress.lines < before.lines
            {
                return Err(format!("import {id:?} goes back from line {} to {}", before.lines, progress.lines));
            }
        }
        for (name, edit) in tables {
            let mut table = self.tables.get(name).cloned().unwrap_or_default();
            table.change(name, edit, time).map_err(|reason| format!("table {name:?}: {reason}"))?;
            self.tables.insert(name.clone(), table);
        }
        Ok(())
    }
}

impl Table {
    /// What a checkpoint tells of a table; as strict as the commits that it adds up.
    pub(super) fn new(
        name: &str,
        files: impl IntoIterator<Item = StoredFile>,
        columns: &[Arc<OwnedColumn>],
    ) -> Result<Table, String> {
        let mut table = Table::default();
        for file in files {
            let id = file.entry.id;
            if table.files.contains_key(&id) {
                return Err(format!("it has the file {id} twice"));
            }
            table.insert(name, file)?;
        }
        columns.iter().try_for_each(|column| table.add_column(column))?;
        Ok(table)
    }

    pub(crate) fn has_column(&self, PropertyColumn { field, path, kind, name }: &PropertyColumn) -> bool {
        let known = self.columns.get(&(*field, path.clone(), *kind));
        known.is_some_and(|known| known.column.name == *name)
    }

    pub(crate) fn column_registry(&self) -> ColumnRegistry {
        ColumnRegistry::new(self.columns.values().map(|column| column.as_ref().clone()))
    }

    fn change(&mut self, name: &str, edit: &TableEdit, time: EpochMillis) -> Result<(), String> {
        for id in &edit.remove {
            self.files.remove(id).ok_or_else(|| format!("it removes the file {id}, which is not there"))?;
        }
        for entry in &edit.add {
            // An id that this commit has just removed is not free either.
            if self.files.contains_key(&entry.id) || edit.remove.contains(&entry.id) {
                return Err(format!("it adds the file {} twice", entry.id));
            }
            let file =
                StoredFile { entry: Arc::new(entry.clone()), added: time, deleted: Arc::default(), erased: None };
            self.insert(name, file)?;
        }
        for (id, edit) in &edit.deletions {
            let file = self.files.get(id);
            let file = file.ok_or_else(|| format!("it deletes rows of the file {id}, which is not there"))?;
            let deleted = file.deleted.as_ref() | &edit.rows.0;
            // Deleted rows stay deleted, and none is deleted twice.
            let (before, new, after) = (file.deleted.len(), edit.rows.0.len(), deleted.len());
            if after != before + new || after != edit.total {
                let total = edit.total;
                return Err(format!("file {id}: {before} deleted rows and {new} new ones make {after}, not {total}"));
            }
            let changed = StoredFile { deleted: Arc::new(deleted), ..file.as_ref().clone() };
            self.insert(name, changed)?;
        }
        for (id, erased) in &edit.erased {
            let file = self.files.get(id);
            let file = file.ok_or_else(|| format!("it tells of erasures in the file {id}, which is not there"))?;
            let changed = StoredFile { erased: Some(erased.merged(file.erased)), ..file.as_ref().clone() };
            self.insert(name, changed)?;
        }
        edit.columns.iter().try_for_each(|column| self.add_column(&Arc::new(column.clone())))
    }

    /// Takes the file as it is given, once it is known to be right.
    fn insert(&mut self, table: &str, file: StoredFile) -> Result<(), String> {
        file.check(table).map_err(|reason| format!("file {}: {reason}", file.entry.id))?;
        self.files.insert(file.entry.id, Arc::new(file));
        Ok(())
    }

    fn add_column(&mut self, owned: &Arc<OwnedColumn>) -> Result<(), String> {
        let column = &owned.column;
        let place = (column.field, column.path.clone(), column.kind);
        if let Some(known) = self.columns.get(&place) {
            return Err(format!("the column {:?} is there already, as {:?}", column.name, known.column.name));
        }
        if self.column_names.insert(column.name.to_lowercase()).is_some() {
            return Err(format!("there is a column {:?} already, or only the case differs", column.name));
        }
        self.columns.insert(place, Arc::clone(owned));
        Ok(())
    }
}

impl StoredFile {
    fn check(&self, table: &str) -> Result<(), String> {
        let FileEntry { id, path, rows, times, .. } = self.entry.as_ref();
        let (folder, name) = path.rsplit_once('/').unwrap_or_default();
        if folder.split('/').next() != Some(table) || !name.contains(&id.to_string()) {
            return Err(format!("its path {path:?} is not in the table's folder, or does not name it"));
        }
        if let Some(times) = times.filter(|times| times.from > times.to) {
            return Err(format!("its times end before they begin: {times:?}"));
        }
        match self.deleted.max() {
            Some(last) if last >= *rows => Err(format!("its row {last} is deleted, of {rows} rows")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
