//! What a log does not say yet.

use std::sync::Arc;

use object_store::{Error, ObjectStoreExt};
use roaring::RoaringBitmap;

use super::expected::{Expected, owner_of};
use super::table::{DeltaTable, DeriveError, SiblingRows};
use crate::model::ids::EpochMillis;
use crate::storage::catalog::commit::FileId;
use crate::storage::catalog::delta::actions::{Action, Add};
use crate::storage::catalog::delta::deletion_vector::{self, DeletionVectorDescriptor, DeletionVectorError};
use crate::storage::catalog::delta::{TableLog, TableLogError};
use crate::storage::catalog::manifest::{Manifest, StoredFile};

/// Which files are looked at.
pub(super) enum Scope<'a> {
    /// All, with their deleted rows: after a start nobody knows what happened to the log.
    All,
    /// Those that are not as they were here.
    Since(&'a Manifest),
}

impl Scope<'_> {
    fn covers(&self, table: &DeltaTable, file: &Arc<StoredFile>, owner: Option<&Arc<StoredFile>>) -> bool {
        let Scope::Since(before) = self else { return true };
        let id = &file.entry.id;
        let known = before.tables.get(&table.name).and_then(|table| table.files.get(id));
        let is_same = |one: Option<&Arc<StoredFile>>, other: Option<&Arc<StoredFile>>| match (one, other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        !is_same(known, Some(file)) || !is_same(owner_of(before, table, id), owner)
    }
}

pub(super) struct News {
    /// Without deleted rows.
    pub(super) actions: Vec<Action>,
    pub(super) deleted: Deleted,
}

/// By their paths in the log: files that get other deleted rows.
pub(super) type Deleted = Vec<(String, RoaringBitmap)>;

/// None where the log says something that a commit cannot take back.
pub(super) async fn find(
    log: &TableLog,
    expected: &Expected<'_>,
    scope: Scope<'_>,
    siblings: &dyn SiblingRows,
    now: EpochMillis,
) -> Result<Option<News>, DeriveError> {
    let mut news = News { actions: Vec::new(), deleted: Vec::new() };
    let Some(meta_data) = &log.state.meta_data else { return Ok(None) };
    let wanted = expected.meta_data(meta_data.created_time);
    if log.state.protocol.as_ref() != Some(&expected.protocol()) {
        return Ok(None);
    }
    if wanted != **meta_data {
        let mut other_columns = wanted.clone();
        other_columns.schema_string.clone_from(&meta_data.schema_string);
        if other_columns != **meta_data {
            return Ok(None);
        }
        news.actions.push(Action::MetaData(wanted));
    }
    let gone = log.state.files.iter().filter(|(path, _)| !expected.files.contains_key(*path));
    news.actions.extend(gone.map(|(_, add)| Action::Remove(add.to_remove(now))));
    for (path, file) in &expected.files {
        let told = log.state.files.get(path);
        if told.is_some() && !scope.covers(expected.table, file, expected.owner_of(&file.entry.id)) {
            continue;
        }
        let rows = deleted_rows(expected, file, siblings).await?;
        let is_told = match told {
            None => {
                news.actions.push(Action::Add(expected.add(file)?));
                rows.is_empty()
            }
            Some(add) if !expected.is_told(file, add)? => return Ok(None),
            Some(add) => match scope {
                Scope::All => has_deleted(log, add, &rows).await?,
                // Deleted rows stay deleted.
                Scope::Since(_) => count(add) == rows.len(),
            },
        };
        if !is_told {
            news.deleted.push((path.clone(), rows));
        }
    }
    Ok(Some(news))
}

fn count(add: &Add) -> u64 {
    let vector = add.deletion_vector.as_ref();
    vector.map_or(0, |vector| u64::try_from(vector.cardinality).unwrap_or(u64::MAX))
}

/// Whether the log's deletion vector is sound and is of these rows. An error where that cannot be known now.
async fn has_deleted(log: &TableLog, add: &Add, rows: &RoaringBitmap) -> Result<bool, DeriveError> {
    let Some(vector) = &add.deletion_vector else { return Ok(rows.is_empty()) };
    let source = match deletion_vector::read(log.environment.objects.as_ref(), &log.root, vector).await {
        Ok(told) => return Ok(told == *rows),
        Err(DeletionVectorError::Store { source, .. }) => source,
        Err(_) => return Ok(false),
    };
    // Each store has an error of its own for a range that is not there.
    let Ok(Some(file)) = vector.file(&log.root) else { return Ok(false) };
    match log.environment.objects.head(&file).await {
        Ok(object) if object.size >= vector_end(vector) => {
            Err(TableLogError::Store { table: log.root.clone(), source }.into())
        }
        Ok(_) | Err(Error::NotFound { .. }) => Ok(false),
        Err(source) => Err(TableLogError::Store { table: log.root.clone(), source }.into()),
    }
}

/// Where a vector's checksum ends in its file.
fn vector_end(vector: &DeletionVectorDescriptor) -> u64 {
    let number = |number: i32| u64::try_from(number).unwrap_or(u64::MAX);
    number(vector.offset.unwrap_or(1)).saturating_add(number(vector.size_in_bytes)).saturating_add(8)
}

/// Of a file, its own or by its owner's.
pub(super) async fn deleted_rows(
    expected: &Expected<'_>,
    file: &StoredFile,
    siblings: &dyn SiblingRows,
) -> Result<RoaringBitmap, DeriveError> {
    let table = expected.table;
    if table.owner.is_none() {
        return Ok(file.deleted.as_ref().clone());
    }
    let id: &FileId = &file.entry.id;
    let owner = expected.owner_of(id).ok_or_else(|| DeriveError::Bug {
        table: table.name.clone(),
        reason: format!("{} has no file of the id {id}", table.owner()),
    })?;
    if owner.deleted.is_empty() {
        return Ok(RoaringBitmap::new());
    }
    let rows = siblings.rows(&table.name, &file.entry, &owner.deleted).await;
    rows.map_err(|source| DeriveError::vector(&file.entry.path, source))
}
