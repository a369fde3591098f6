//! Reading rows whose address is known.

use std::sync::Arc;

use futures::FutureExt;
use object_store::ObjectStore;

use super::snapshot::{RowAddress, Snapshot, TableSnapshot};
use crate::model::conversation::Conversation;
use crate::model::ids::Key;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::error::StoreError;
use crate::storage::format::entries;
use crate::storage::format::error::FileError;
use crate::storage::format::reader;
use crate::storage::format::stored_key::StoredKey;
use crate::storage::format::table_row::TableRow;

fn missing() -> StoreError {
    StoreError::Bug("a row address is not of this snapshot".into())
}

impl<R: TableRow<Entry = R>> TableSnapshot<R> {
    /// The rows at these addresses, in this order.
    pub(crate) async fn read_rows(
        &self,
        store: &Arc<dyn ObjectStore>,
        addresses: &[RowAddress],
    ) -> Result<Vec<Arc<R>>, StoreError> {
        let mut found: Vec<Option<Arc<R>>> = vec![None; addresses.len()];
        for entry in self.segments.iter() {
            for (slot, address) in found.iter_mut().zip(addresses) {
                if address.source == entry.segment.number {
                    *slot = Some(entry.segment.rows.get(address.row as usize).ok_or_else(missing)?.clone());
                }
            }
        }
        for entry in self.files.iter() {
            let (slots, rows) = rows_in(entry.file.number, addresses);
            for (slot, read) in slots.into_iter().zip(entry.entries::<R>(store, &rows).await?) {
                if let Some(slot) = found.get_mut(slot) {
                    *slot = Some(Arc::new(read));
                }
            }
        }
        found.into_iter().map(|row| row.ok_or_else(missing)).collect()
    }
}

impl<R: TableRow> TableSnapshot<R> {
    /// The keys of the rows at these addresses, in any order.
    pub(crate) async fn keys_at(
        &self,
        store: &Arc<dyn ObjectStore>,
        addresses: &[RowAddress],
    ) -> Result<Vec<Key<R::Id>>, StoreError> {
        let mut keys = Vec::with_capacity(addresses.len());
        for entry in self.segments.iter() {
            for address in addresses.iter().filter(|address| address.source == entry.segment.number) {
                keys.push(entry.segment.rows.get(address.row as usize).ok_or_else(missing)?.key());
            }
        }
        for entry in self.files.iter() {
            let (_, rows) = rows_in(entry.file.number, addresses);
            let stored = entry.keys::<R>(store, &rows).await?.into_iter();
            keys.extend(stored.map(|key| Key {
                organization_id: key.organization_id,
                project_id: key.project_id,
                id: R::make_id(&key.id),
            }));
        }
        if keys.len() == addresses.len() { Ok(keys) } else { Err(missing()) }
    }
}

/// The places among `addresses` that are of a source, and their rows, ascending.
fn rows_in(source: u32, addresses: &[RowAddress]) -> (Vec<usize>, Vec<u32>) {
    let of_source = addresses.iter().enumerate().filter(|(_, address)| address.source == source);
    let mut wanted: Vec<(u32, usize)> = of_source.map(|(slot, address)| (address.row, slot)).collect();
    wanted.sort_unstable();
    (wanted.iter().map(|(_, slot)| *slot).collect(), wanted.iter().map(|(row, _)| *row).collect())
}

impl Snapshot {
    /// The conversations at these addresses, in this order.
    pub(crate) async fn read_rows(&self, addresses: &[RowAddress]) -> Result<Vec<Arc<Conversation>>, StoreError> {
        let mut found: Vec<Option<Arc<Conversation>>> = vec![None; addresses.len()];
        for entry in self.tables.conversations.segments.iter() {
            for (slot, address) in found.iter_mut().zip(addresses) {
                if address.source == entry.segment.number {
                    let row = entry.segment.rows.get(address.row as usize).ok_or_else(missing)?;
                    *slot = Some(row.clone());
                }
            }
        }
        for entry in self.tables.conversations.files.iter() {
            let (slots, rows) = rows_in(entry.file.number, addresses);
            if rows.is_empty() {
                continue;
            }
            let conversations = entry.conversations(&self.store, &rows).await?;
            for (slot, conversation) in slots.into_iter().zip(conversations) {
                if let Some(slot) = found.get_mut(slot) {
                    *slot = Some(Arc::new(conversation));
                }
            }
        }
        found.into_iter().map(|conversation| conversation.ok_or_else(missing)).collect()
    }
}

fn unread(error: FileError) -> StoreError {
    StoreError::caused("stored rows could not be read", error)
}

impl FileSnapshot {
    /// What changes have to know of rows, in the order given.
    pub(crate) async fn entries<R: TableRow>(
        &self,
        store: &Arc<dyn ObjectStore>,
        rows: &[u32],
    ) -> Result<Vec<R::Entry>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        R::read_entries(store, &self.file, rows).await.map_err(unread)
    }

    /// The keys of rows, in the order given.
    pub(crate) async fn keys<R: TableRow>(
        &self,
        store: &Arc<dyn ObjectStore>,
        rows: &[u32],
    ) -> Result<Vec<StoredKey>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let file = &self.file;
        let read = |rows: Vec<u32>| async move { entries::read_keys::<R>(store, file, &rows).await }.boxed();
        file.keys.look_up(rows, read).await.map_err(unread)
    }

    /// Whole conversations, in the order given.
    pub(crate) async fn conversations(
        &self,
        store: &Arc<dyn ObjectStore>,
        rows: &[u32],
    ) -> Result<Vec<Conversation>, StoreError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let messages = self.file.messages.as_ref();
        let messages = messages.ok_or_else(|| StoreError::Damaged(format!("{} has no messages", self.file.path())))?;
        let ranges = self.file.index.message_ranges(store.as_ref(), rows).await;
        let ranges = ranges.map_err(|error| StoreError::caused("a sidecar index could not be read", error))?;
        let wanted: Vec<_> = rows.iter().copied().zip(ranges).collect();
        reader::read_conversations(store, &self.file.parquet, messages, &wanted).await.map_err(unread)
    }
}
