//! Taking in what the log has beyond the files.
//!
//! Which file rows the operations replace is looked up for many at once, and in the files as the commit left them: a
//! row that an operation of the log has replaced already has a key that the tail knows, and is not looked up again. So
//! no group needs a snapshot of its own.

use std::collections::BTreeSet;
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
use crate::storage::log::wal::{self, WalGroup};
use crate::storage::read::snapshot::{RowAddress, Snapshot, TableSnapshot};
use crate::storage::tail::{Counters, Tail};

/// Log objects that are read ahead.
const READ_AHEAD: usize = 8;
/// Look-ups under way at once.
const LOOKUPS_AT_ONCE: usize = 64;

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
    while let Some((operations, bytes)) = groups.try_next().await? {
        let replaced = replaced_rows(&files, state, &operations).await?;
        let mut staged = Staged::begin(state);
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
                    ", or move {next} and all later ones out of the store to start without the changes in them"
                );
            }
            return Err(StoreError::Damaged(message));
        }
    }
    Ok(listed.into_iter().collect())
}

fn damaged(position: WalPosition, reason: &str) -> StoreError {
    let path = wal::wal_path(position);
    StoreError::Damaged(format!(
        "the write-ahead log object {path} is damaged: {reason}; to start without the changes in it, move it (and all \
         later ones) out of the store"
    ))
}

pub(super) async fn read_group(store: &dyn ObjectStore, position: WalPosition) -> Result<WalGroup, StoreError> {
    wal::read(store, position).await.map_err(|error| match error.kind() {
        ErrorKind::Damaged => damaged(position, &error.to_string()),
        _ => StoreError::caused("the write-ahead log cannot be read now", error),
    })
}

/// Also the bytes of their texts.
async fn read_operations(
    store: Arc<dyn ObjectStore>,
    position: WalPosition,
) -> Result<(Vec<Operation>, usize), StoreError> {
    let texts: Vec<Bytes> = read_group(store.as_ref(), position).await?.operations;
    let bytes = texts.iter().map(Bytes::len).sum();
    let parse = move || texts.iter().map(|text| serde_json::from_slice(text)).collect::<Result<Vec<Operation>, _>>();
    let parsed = tokio::task::spawn_blocking(parse).await;
    let parsed = parsed.map_err(|error| StoreError::caused("a log object", error))?;
    Ok((parsed.map_err(|error| damaged(position, &error.to_string()))?, bytes))
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
