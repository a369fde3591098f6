//! Backfill: documents straight into files, without the write-ahead log. Each batch is acknowledged by its commit.
//!
//! A batch is resolved like a group of single changes, with a tail of its own that ends as the batch's file.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;

use super::committer::{Change, Prefetched, Resolved, State, mark_deleted, resolve_change};
use super::error::StoreError;
use super::recovery::{self, Opened};
use super::snapshot::FileSnapshot;
use super::tables::{Committed, Rows, Tables};
use super::tail::{Counters, Tail, TailGroup};
use crate::model::document::Document;
use crate::model::ids::WalPosition;
use crate::model::resolve::Identity;

/// Index look-ups under way at once.
const LOOKUPS_AT_ONCE: usize = 32;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub new: u64,
    pub replaced: u64,
    pub unchanged: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.new += other.new;
        self.replaced += other.replaced;
        self.unchanged += other.unchanged;
    }
}

#[derive(Debug, Default)]
pub struct Loaded {
    pub counts: Counts,
    /// Documents that contradict what is stored: index in the batch, and why.
    pub rejected: Vec<(usize, String)>,
}

/// The store in the hands of one loading process.
pub struct BulkLoader {
    store: Arc<dyn ObjectStore>,
    tables: Tables,
    state: State,
    counters: Counters,
    position: WalPosition,
    _lock: Option<std::fs::File>,
}

impl BulkLoader {
    /// Opens the store for writing and flushes what its log still holds.
    pub async fn open(url: &str) -> Result<BulkLoader, StoreError> {
        let Opened { object_store, lock, state, tables, position, counters, .. } = recovery::open(url).await?;
        let mut loader = BulkLoader { store: object_store, tables, state, counters, position, _lock: lock };
        if loader.state.tail.active().operations() > 0 {
            loader.commit_tail().await?;
        }
        Ok(loader)
    }

    pub fn is_empty(&self) -> bool {
        self.state.files.is_empty()
    }

    /// Loads a batch as one file. It is durable and visible to the next process when this returns.
    pub async fn load(&mut self, batch: Vec<(Identity, Document)>) -> Result<Loaded, StoreError> {
        let snapshot = self.state.snapshot(&self.store);
        let snapshot = &snapshot;
        let prefetched: Vec<Prefetched> = stream::iter(&batch)
            .map(|(identity, document)| snapshot.prefetch(identity, document))
            .buffered(LOOKUPS_AT_ONCE)
            .try_collect()
            .await?;

        let mut loaded = Loaded::default();
        let mut staged = TailGroup::begin(&self.state.tail);
        let mut file_deletions = Vec::new();
        for (index, ((identity, document), prefetched)) in batch.into_iter().zip(prefetched).enumerate() {
            let change = Change::Log { identity, document: Arc::new(document), bytes: 0 };
            match resolve_change(staged.tail(), &change, &prefetched) {
                Err(StoreError::Conflict(reason)) => loaded.rejected.push((index, reason)),
                Err(error) => return Err(error),
                Ok(Resolved { unchanged: true, .. }) => loaded.counts.unchanged += 1,
                Ok(Resolved { operation: None, .. }) => {}
                Ok(Resolved { operation: Some(operation), replaces, existed, .. }) => {
                    if existed {
                        loaded.counts.replaced += 1;
                    } else {
                        loaded.counts.new += 1;
                    }
                    file_deletions.extend(replaces);
                    staged.stage(&operation, &mut self.counters);
                }
            }
        }
        self.state.tail = staged.finish(0, &self.state.columns, &mut self.counters);
        mark_deleted(&mut self.state.files, &file_deletions);
        if self.state.tail.active().operations() > 0 {
            self.commit_tail().await?;
        }
        Ok(loaded)
    }

    async fn commit_tail(&mut self) -> Result<(), StoreError> {
        let mut conversations = Vec::new();
        for entry in self.state.tail.segments() {
            let rows = entry.segment.conversations.iter().enumerate();
            conversations.extend(rows.filter(|(row, _)| !entry.deleted.contains(*row as u32)).map(|(_, c)| c.clone()));
        }
        self.state.tail = Tail::default();
        let rows = Rows {
            conversations,
            source: self.counters.file(),
            files: self.state.files.clone(),
            position: self.position,
        };
        let Committed { file, .. } = self.tables.commit(rows).await?;
        if let Some(file) = file {
            self.state.files.push(FileSnapshot { file, deleted: Arc::default() });
        }
        self.state.columns = self.tables.layout();
        Ok(())
    }
}
