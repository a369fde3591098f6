//! Opening a store for writing: lock, tables, replay of the write-ahead log, fence, removal of leftovers.

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::logged::{RowChange, changes};
use super::state::{Staged, State};
use crate::environment::Environment;
use crate::model::ids::WalPosition;
use crate::storage::catalog::tables::{MESSAGES, Tables};
use crate::storage::error::{Cause, ErrorKind, StoreError};
use crate::storage::format::table::Table;
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{Kind, PerTable, for_each_table};
use crate::storage::log::operation::Operation;
use crate::storage::log::wal::{self, WalError};
use crate::storage::log::writer::{LogWriter, PATIENCE};
use crate::storage::read::snapshot::{RowAddress, Snapshot, TableSnapshot};
use crate::storage::tail::{Counters, Tail};

const LOCK_FILE: &str = "LOCK";
/// Folders in which every object belongs to a table or is a leftover of an unfinished flush.
pub(crate) fn data_folders() -> Vec<String> {
    let mut folders = vec![format!("{MESSAGES}/data"), format!("{}/data", Table::SemanticThreads.name())];
    for_each_table!(kind in PerTable::<Kind>::default() => {
        let table = kind.name();
        folders.extend([format!("{table}/data"), format!("{table}/index")]);
    });
    folders
}

pub(crate) struct Opened {
    pub(crate) environment: Environment,
    pub(crate) local_root: Option<PathBuf>,
    pub(crate) lock: Option<std::fs::File>,
    pub(crate) state: State,
    pub(crate) tables: Tables,
    pub(crate) writer: LogWriter,
    pub(crate) position: WalPosition,
    pub(crate) counters: Counters,
}

/// Takes the lock of a local store, then recovers.
pub(crate) async fn open(environment: Environment, local_root: Option<PathBuf>) -> Result<Opened, StoreError> {
    let lock = local_root.as_deref().map(lock).transpose()?;
    let opened = recover(environment).await?;
    Ok(Opened { local_root, lock, ..opened })
}

/// The store as its objects are; whoever calls holds the lock where there is one.
pub(crate) async fn recover(environment: Environment) -> Result<Opened, StoreError> {
    let mut counters = Counters::new();
    let (tables, files) = Tables::open(&environment, || counters.file()).await?;
    let mut state = State::default();
    for_each_table!(table in state.tables.as_mut(), of_table in files, columns in tables.layouts() => {
        (table.files, table.columns) = (of_table, columns);
    });
    let (last, epoch) = replay(&environment.objects, &mut state, &mut counters, tables.position()).await?;
    // The clock keeps the epochs rising also where old log objects are gone.
    let epoch = (epoch + 1).max(u64::try_from(environment.now().0).unwrap_or(0));
    let mut writer = LogWriter::new(environment.ids.random(), epoch);
    let position = WalPosition(last.0 + 1);
    let fence = writer.object(position, &[]).map_err(|error| StoreError::caused("a log object", error))?;
    fence.put(environment.objects.as_ref(), PATIENCE).await.map_err(|error| match error {
        WalError::Fenced { .. } => StoreError::Fenced(format!("another process has opened the store: {error}")),
        error => StoreError::caused("the write-ahead log cannot be written", error),
    })?;
    remove_leftovers(environment.objects.as_ref(), &tables).await?;
    Ok(Opened { environment, local_root: None, lock: None, state, tables, writer, position, counters })
}

/// One writing process per local store; the operating system frees the lock when the process ends, however it ends.
fn lock(root: &FilePath) -> Result<std::fs::File, StoreError> {
    let path = root.join(LOCK_FILE);
    let failed = |error: std::io::Error| StoreError::caused(path.display().to_string(), error);
    std::fs::create_dir_all(root).map_err(failed)?;
    let file = std::fs::File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Fenced(format!(
            "another process has the store {} open for writing; stop it first",
            root.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Takes in every operation above the tables' position. Gives the last position and the highest epoch seen.
async fn replay(
    store: &Arc<dyn ObjectStore>,
    state: &mut State,
    counters: &mut Counters,
    tables: WalPosition,
) -> Result<(WalPosition, u64), StoreError> {
    let listed = wal::list(store.as_ref()).await;
    let listed = listed.map_err(|error| StoreError::caused("the write-ahead log could not be listed", error))?;
    let mut last = tables;
    let mut epoch = 0;
    for position in listed.into_iter().filter(|position| *position > tables) {
        if position.0 != last.0 + 1 {
            return Err(StoreError::Damaged(format!(
                "the write-ahead log object {} is missing; put it back, or move {} and all later ones out of the \
                 store to start without the changes in them",
                wal::wal_path(WalPosition(last.0 + 1)),
                wal::wal_path(position)
            )));
        }
        let damaged = |reason: String| {
            let path = wal::wal_path(position);
            StoreError::Damaged(format!(
                "the write-ahead log object {path} is damaged: {reason}; to start without the changes in it, move it \
                 (and all later ones) out of the store"
            ))
        };
        let group = wal::read(store.as_ref(), position).await.map_err(|error| match error.kind() {
            ErrorKind::Damaged => damaged(error.to_string()),
            _ => StoreError::caused("the write-ahead log cannot be read now", error),
        })?;
        epoch = epoch.max(group.header.epoch);
        let snapshot = state.snapshot(store);
        let mut staged = Staged::begin(state);
        let mut bytes = 0;
        let mut file_deletions = Vec::new();
        for text in &group.operations {
            let operation: Operation = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
            file_deletions.extend(replaced_row(&snapshot, &staged, &operation).await?);
            staged.stage(&operation, counters);
            bytes += text.len();
        }
        staged.finish(state, bytes, counters);
        state.mark_deleted(&file_deletions);
        last = position;
    }
    Ok((last, epoch))
}

/// The file row that an operation replaces, if the tail does not know its key.
async fn replaced_row(
    snapshot: &Snapshot,
    staged: &Staged,
    operation: &Operation,
) -> Result<Option<RowAddress>, StoreError> {
    async fn of<R: TableRow>(
        store: &Arc<dyn ObjectStore>,
        table: &TableSnapshot<R>,
        tail: &Tail<R>,
        change: Option<RowChange<'_, R>>,
    ) -> Result<Option<RowAddress>, StoreError> {
        let Some(RowChange { key, .. }) = change.filter(|change| tail.get(&change.key).is_none()) else {
            return Ok(None);
        };
        Ok(table.find_key_in_files(store, &key).await?.map(|hit| hit.at))
    }
    let mut row = None;
    for_each_table!(
        table in snapshot.tables.as_ref(), group in staged.tables.as_ref(), change in changes(operation)
            => row = row.or(of(&snapshot.store, table, group.tail(), change).await?)
    );
    Ok(row)
}

/// Data files that no table refers to were written by a flush that never committed.
async fn remove_leftovers(store: &dyn ObjectStore, tables: &Tables) -> Result<(), StoreError> {
    let referenced: BTreeSet<Path> = tables.referenced().into_iter().collect();
    for folder in data_folders() {
        let listed: Result<Vec<_>, _> = store.list(Some(&Path::from(folder.as_str()))).try_collect().await;
        let listed = listed.map_err(|error| StoreError::caused(format!("{folder} could not be listed"), error))?;
        for object in listed {
            if !referenced.contains(&object.location) {
                tracing::info!(path = %object.location, "removing a file of an unfinished flush");
                if let Err(error) = store.delete(&object.location).await {
                    tracing::warn!(path = %object.location, %error, "a leftover could not be removed");
                }
            }
        }
    }
    Ok(())
}
