//! Reading rows whose address is known.

use std::sync::Arc;

use object_store::ObjectStore;
use serde::de::DeserializeOwned;

use super::lookup::Hit;
use super::snapshot::{RowAddress, Snapshot, TableSnapshot};
use crate::model::conversation::Conversation;
use crate::model::resolve::Previous;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::error::StoreError;
use crate::storage::format::reader;
use crate::storage::format::table_row::TableRow;

/// Rows of a file whose messages are looked up one by one; of more, all of the file's are read at once.
const SINGLE_LOOKUPS: usize = 32;

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
        let mut found = Vec::with_capacity(addresses.len());
        for address in addresses {
            let segment = self.segments.iter().find(|entry| entry.segment.number == address.source);
            found.push(match segment {
                Some(entry) => entry.segment.rows.get(address.row as usize).ok_or_else(missing)?.clone(),
                None => {
                    let file = self.file(address.source).ok_or_else(missing)?;
                    Arc::new(file.index_entry(store, address.row).await?)
                }
            });
        }
        Ok(found)
    }
}

impl Snapshot {
    /// Like [`Self::read_rows`], with the annotations that are no columns.
    pub(crate) async fn read_whole(&self, addresses: &[RowAddress]) -> Result<Vec<Arc<Conversation>>, StoreError> {
        let mut conversations = self.read_rows(addresses).await?;
        for (address, conversation) in addresses.iter().zip(&mut conversations) {
            if let Some(entry) = self.tables.conversations.file(address.source) {
                let previous: Previous = entry.index_entry(&self.store, address.row).await?;
                Arc::make_mut(conversation).annotations = previous.annotations;
            }
        }
        Ok(conversations)
    }

    /// A conversation of a file with all of its annotations.
    pub(crate) async fn read_hit(&self, hit: &Hit) -> Result<Arc<Conversation>, StoreError> {
        let file = self.tables.conversations.file(hit.at.source).ok_or_else(missing)?;
        let read = file.conversations(&self.store, &[hit.at.row]).await?;
        let mut conversation = read
            .into_iter()
            .next()
            .ok_or_else(|| StoreError::Damaged(format!("{} has no row {}", file.file.path(), hit.at.row)))?;
        conversation.annotations = hit.entry.annotations.clone();
        Ok(Arc::new(conversation))
    }

    /// Of what is in files only the annotations that are columns are read.
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
            let mut wanted: Vec<(u32, usize)> = addresses
                .iter()
                .enumerate()
                .filter(|(_, address)| address.source == entry.file.number)
                .map(|(slot, address)| (address.row, slot))
                .collect();
            if wanted.is_empty() {
                continue;
            }
            wanted.sort_unstable();
            let rows: Vec<u32> = wanted.iter().map(|(row, _)| *row).collect();
            let conversations = entry.conversations(&self.store, &rows).await?;
            for ((_, slot), conversation) in wanted.into_iter().zip(conversations) {
                if let Some(slot) = found.get_mut(slot) {
                    *slot = Some(Arc::new(conversation));
                }
            }
        }
        found.into_iter().map(|conversation| conversation.ok_or_else(missing)).collect()
    }
}

impl FileSnapshot {
    /// What the file's index keeps of a row.
    pub(crate) async fn index_entry<E: DeserializeOwned>(
        &self,
        store: &Arc<dyn ObjectStore>,
        row: u32,
    ) -> Result<E, StoreError> {
        let bytes = self.file.index.previous(store.as_ref(), row).await;
        let bytes = bytes.map_err(|error| StoreError::caused("a sidecar index could not be read", error))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::Damaged(format!("row {row} of the index of {}: {error}", self.file.path())))
    }

    /// Whole conversations, but for the annotations that are no columns; `rows` ascending.
    pub(crate) async fn conversations(
        &self,
        store: &Arc<dyn ObjectStore>,
        rows: &[u32],
    ) -> Result<Vec<Conversation>, StoreError> {
        let failed = |error| StoreError::caused("a sidecar index could not be read", error);
        let index = &self.file.index;
        let mut wanted = Vec::with_capacity(rows.len());
        if rows.len() > SINGLE_LOOKUPS {
            let offsets = index.message_offsets(store.as_ref()).await.map_err(failed)?;
            for row in rows {
                let range = offsets.get(*row as usize).zip(offsets.get(*row as usize + 1));
                let (start, end) = range
                    .ok_or_else(|| StoreError::Damaged(format!("the index of {} lacks row {row}", self.file.path())))?;
                wanted.push((*row, *start..*end));
            }
        } else {
            for row in rows {
                wanted.push((*row, index.message_range(store.as_ref(), *row).await.map_err(failed)?));
            }
        }
        let messages = self.file.messages.as_ref();
        let messages = messages.ok_or_else(|| StoreError::Damaged(format!("{} has no messages", self.file.path())))?;
        let read = reader::read_conversations(store, &self.file.parquet, messages, &wanted).await;
        read.map_err(|error| StoreError::caused("conversations could not be read", error))
    }
}
