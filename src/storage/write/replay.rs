//! Taking in what the log has beyond the files.
//!
//! Which file rows the operations replace is looked up for many at once, and in the files as the commit left them: a
//! row that an operation of the log has replaced already has a key that the tail knows, and is not looked up again. So
//! no group needs a snapshot of its own.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;

use super::logged::{RowChange, changes};
use super::state::{Staged, State};
use crate::model::ids::WalPosition;
use crate::storage::error::{Cause, ErrorKind, StoreError};
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::for_each_table;
use crate::storage::log::operation::Operation;
use crate::storage::log::wal::{self, WalError, WalGroup};
use crate::storage::read::snapshot::{RowAddress, Snapshot, TableSnapshot};
use crate::storage::tail::{Counters, Tail};

/// Log objects that are read ahead.
const READ_AHEAD: usize = 8;
/// Look-ups under way at once.
const LOOKUPS_AT_ONCE: usize = 1_024;

/// Of the log, without its ends.
pub(crate) struct Range {
    pub(crate) after: WalPosition,
    pub(crate) fence: WalPosition,
}

pub(crate) async fn replay(
    store: &Arc<dyn ObjectStore>,
    state: &mut State,
    counters: &mut Counters,
    range: Range,
) -> Result<(), StoreError> {
    let files = state.snapshot(store);
    let mut groups = stream::iter(positions(store.as_ref(), &range).await?)
        .map(|position| read_operations(store.clone(), position))
        .buffered(READ_AHEAD);
    let mut deleted = Vec::new();
    while let Some((position, operations, bytes)) = groups.try_next().await? {
        let replaced = replaced_rows(&files, state, &operations).await?;
        let mut staged = Staged { position, ..Staged::begin(state) };
        for (operation, row) in operations.iter().zip(replaced) {
            deleted.extend(row.filter(|_| !knows(&staged, operation)));
            staged.stage(operation, counters);
        }
        staged.finish(state, bytes, counters);
    }
    drop(files);
    state.mark_deleted(&deleted);
    Ok(())
}

/// Every one between the ends: a missing one would be a hole in what was acknowledged.
async fn positions(store: &dyn ObjectStore, range: &Range) -> Result<Vec<WalPosition>, StoreError> {
    let listed = wal::list_after(store, range.after).await;
    let listed = listed.map_err(|error| StoreError::caused("the write-ahead log could not be listed", error))?;
    let listed: BTreeSet<WalPosition> = listed.into_iter().filter(|position| *position < range.fence).collect();
    for number in range.after.0 + 1..range.fence.0 {
        if !listed.contains(&WalPosition(number)) {
            let missing = wal::wal_path(WalPosition(number));
            let mut message = format!("the write-ahead log object {missing} is missing; put it back");
            if let Some(next) = listed.range(WalPosition(number)..).next() {
                let next = wal::wal_path(*next);
                message += &format!(
                    ". {next} and all later ones build on it, and their changes were acknowledged: only to give them up, \
                     move them out of the store, and keep them"
                );
            }
            return Err(StoreError::Damaged(message));
        }
    }
    Ok(listed.into_iter().collect())
}

/// Its bytes are not those that were written.
async fn damaged(store: &dyn ObjectStore, position: WalPosition, error: WalError) -> StoreError {
    let path = wal::wal_path(position);
    let later = match wal::list_after(store, position).await {
        Ok(later) if later.is_empty() => String::new(),
        Ok(later) => format!(" and in the {} later ones, which build on it,", later.len()),
        Err(_) => " and in all later ones, which build on it,".to_owned(),
    };
    StoreError::Damaged(format!(
        "the write-ahead log object {path} is damaged: {error}; put a sound copy of it back. The changes in it{later} \
         were acknowledged and may be nowhere else: only to give them up, move these objects out of the store, and keep \
         them. Nothing was changed or deleted"
    ))
}

/// Its bytes are those that were written.
fn not_understood(position: WalPosition, reason: &dyn Error) -> StoreError {
    let path = wal::wal_path(position);
    StoreError::Damaged(format!(
        "the write-ahead log object {path} was written by a newer version, which this one does not understand: {reason}; \
         start the newer version. The object is whole: do not move it. Nothing was changed or deleted"
    ))
}

pub(super) async fn read_group(store: &dyn ObjectStore, position: WalPosition) -> Result<WalGroup, StoreError> {
    let error = match wal::read(store, position).await {
        Ok(group) => return Ok(group),
        Err(error) => error,
    };
    if error.is_of_another_version() {
        return Err(not_understood(position, &error));
    }
    Err(match (error.kind(), &error) {
        (ErrorKind::Damaged, WalError::Store(_)) => {
            let path = wal::wal_path(position);
            StoreError::Damaged(format!("the write-ahead log object {path} is missing; put it back"))
        }
        (ErrorKind::Damaged, _) => damaged(store, position, error).await,
        _ => {
            let path = wal::wal_path(position);
            let advice = "that says nothing about what is in it: put it right and start again; nothing was changed or \
                          deleted";
            StoreError::caused(format!("the write-ahead log object {path} could not be read ({advice})"), error)
        }
    })
}

/// Also where they are, and the bytes of their texts.
async fn read_operations(
    store: Arc<dyn ObjectStore>,
    position: WalPosition,
) -> Result<(WalPosition, Vec<Operation>, usize), StoreError> {
    let texts: Vec<Bytes> = read_group(store.as_ref(), position).await?.operations;
    let bytes = texts.iter().map(Bytes::len).sum();
    let parse = move || texts.iter().map(|text| serde_json::from_slice(text)).collect::<Result<Vec<Operation>, _>>();
    let parsed = tokio::task::spawn_blocking(parse).await;
    let parsed = parsed.map_err(|error| StoreError::caused("a log object", error))?;
    Ok((position, parsed.map_err(|error| not_understood(position, &error))?, bytes))
}

/// Whether a tail has the operation's key.
fn knows(staged: &Staged, operation: &Operation) -> bool {
    let mut known = false;
    for_each_table!(group in staged.tables.as_ref(), change in changes(operation) => {
        known |= is_known(group.tail(), change.as_ref());
    });
    known
}

fn is_known<R: TableRow>(tail: &Tail<R>, change: Option<&RowChange<'_, R>>) -> bool {
    change.is_some_and(|change| tail.get(&change.key).is_some())
}

/// For each operation the file row that it replaces, if the tail does not know its key.
async fn replaced_rows(
    files: &Snapshot,
    state: &State,
    operations: &[Operation],
) -> Result<Vec<Option<RowAddress>>, StoreError> {
    async fn of<R: TableRow>(
        store: &Arc<dyn ObjectStore>,
        table: &TableSnapshot<R>,
        tail: &Tail<R>,
        change: Option<RowChange<'_, R>>,
    ) -> Result<Option<RowAddress>, StoreError> {
        match change.filter(|change| !is_known(tail, Some(change))) {
            Some(RowChange { key, .. }) => table.locate_key_in_files(store, &key).await,
            None => Ok(None),
        }
    }
    let look_up = async |operation| {
        let mut row: Option<RowAddress> = None;
        for_each_table!(
            table in files.tables.as_ref(), state in state.tables.as_ref(), change in changes(operation)
                => row = row.or(of(&files.store, table, &state.tail, change).await?)
        );
        Ok(row)
    };
    stream::iter(operations).map(look_up).buffered(LOOKUPS_AT_ONCE).try_collect().await
}
