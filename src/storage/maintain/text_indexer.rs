//! Makes the text indexes that are missing, on a thread that gives way to everything else: those of flushes, which are not
//! to wait for them. An import and a compaction make theirs with the file.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::search_text::append_search_text;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::error::StoreError;
use crate::storage::format::text_index::file::{self as text_index, TextIndex, TextIndexBuilder, TextIndexError};
use crate::storage::maintain::idle;
use crate::storage::read::snapshot::Snapshot;
use crate::storage::read::text_search::ReadSize;
use crate::storage::readiness::Readiness;

/// From a flush to the beginning of its file's index.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// From a failure to the next try with the same file.
const RETRY_AFTER: Duration = Duration::from_secs(60);

pub(crate) struct Indexer {
    pub(crate) published: Arc<ArcSwap<Snapshot>>,
    /// None are made while nothing can be written.
    pub(crate) readiness: watch::Receiver<Readiness>,
    pub(crate) stop: CancellationToken,
}

impl Indexer {
    /// Runs to the stop on a thread of its own.
    pub(crate) fn start(self) -> std::io::Result<()> {
        let runtime = tokio::runtime::Handle::current();
        let run = move || runtime.block_on(self.run());
        std::thread::Builder::new().name("text-indexer".into()).spawn(run).map(|_| ())
    }

    async fn run(self) {
        let mut failed: HashMap<u32, Instant> = HashMap::new();
        let snapshot = self.published.load_full();
        // What is there already serves at once, before anything is made.
        for entry in snapshot.tables.conversations.files.iter() {
            if let Err(error) = entry.file.text_index.open(snapshot.store.as_ref()).await {
                tracing::warn!(%error, "a text index is made again");
            }
        }
        drop(snapshot);
        if let Err(error) = idle::give_way() {
            tracing::warn!(?error, "the text indexer runs at the priority of everything else");
        }
        loop {
            let snapshot = self.published.load_full();
            let missing = |entry: &&FileSnapshot| {
                let waits = failed.get(&entry.file.number).is_some_and(|at| at.elapsed() < RETRY_AFTER);
                !entry.file.text_index.is_there() && !waits
            };
            let writable = *self.readiness.borrow() == Readiness::Ready;
            let next = snapshot.tables.conversations.files.iter().find(missing).filter(|_| writable);
            let Some(entry) = next else {
                drop(snapshot);
                tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => continue,
                }
            };
            match self.open_or_make(&snapshot, entry).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    failed.insert(entry.file.number, Instant::now());
                    tracing::warn!(%error, file = %entry.file.path(), "a text index could not be made; searches read the file");
                }
            }
        }
    }

    /// A store that could only be read at first has its files opened anew once it can be written. False if it was
    /// stopped.
    async fn open_or_make(&self, snapshot: &Snapshot, entry: &FileSnapshot) -> Result<bool, StoreError> {
        // What cannot be opened is made again; why was said at the start.
        let kept = &entry.file.text_index;
        if !kept.is_damaged() && matches!(kept.open(snapshot.store.as_ref()).await, Ok(Some(_))) {
            return Ok(true);
        }
        self.make(snapshot, entry).await
    }

    /// False if it was stopped.
    async fn make(&self, snapshot: &Snapshot, entry: &FileSnapshot) -> Result<bool, StoreError> {
        let begun = Instant::now();
        let failed = |error: TextIndexError| StoreError::caused("a text index", error);
        let mut builder = TextIndexBuilder::new(entry.file.rows).map_err(failed)?;
        // Deleted ones too: an older snapshot that is still in use shows them.
        let rows: Vec<u32> = (0..entry.file.rows).collect();
        let (mut size, mut text) = (ReadSize::default(), Vec::new());
        let mut left = rows.as_slice();
        while !left.is_empty() {
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            let (part, rest) = left.split_at(size.rows().min(left.len()));
            let conversations = entry.conversations(&snapshot.store, part).await?;
            size.learn(conversations.iter());
            for conversation in &conversations {
                text.clear();
                append_search_text(conversation, &mut text);
                builder.push(&text).map_err(failed)?;
            }
            left = rest;
        }
        let object = builder.finish().map_err(failed)?;
        let path = text_index::path(entry.file.id);
        let put = snapshot.store.put(&path, PutPayload::from(object.clone())).await;
        put.map_err(|error| StoreError::caused("a text index could not be written", error))?;
        let index = TextIndex::from_bytes(path, &object).map_err(failed)?;
        entry.file.text_index.keep(index);
        let (rows, bytes) = (entry.file.rows, object.len());
        tracing::info!(file = %entry.file.path(), rows, bytes, seconds = begun.elapsed().as_secs_f64(), "texts are indexed");
        Ok(true)
    }
}
