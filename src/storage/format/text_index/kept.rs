//! The text index of a data file as those who ask it have it: known to be there or not, and open while there is room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use object_store::ObjectStore;
use object_store::path::Path;

use super::file::{TextIndex, TextIndexError, path};
use crate::cache::{Cache, Slot};
use crate::storage::error::{Cause, ErrorKind};
use crate::storage::format::file_id::FileId;

pub(crate) struct KeptTextIndex {
    path: Path,
    /// Of the data file.
    rows: u32,
    state: AtomicU8,
    opened: Slot<TextIndex>,
}

/// Not known to be there: not made yet, or not looked for.
const UNKNOWN: u8 = 0;
const THERE: u8 = 1;
/// To be made again.
const DAMAGED: u8 = 2;

impl KeptTextIndex {
    pub(crate) fn new(id: FileId, rows: u32, cache: &Arc<Cache>) -> Self {
        Self { path: path(id), rows, state: AtomicU8::new(UNKNOWN), opened: cache.slot() }
    }

    pub(crate) fn is_there(&self) -> bool {
        self.state.load(Ordering::Acquire) == THERE
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.state.load(Ordering::Acquire) == DAMAGED
    }

    /// One that has been written or opened.
    pub(crate) fn keep(&self, index: TextIndex) -> Arc<TextIndex> {
        let index = Arc::new(index);
        self.opened.set(Arc::clone(&index), index.memory_bytes());
        self.state.store(THERE, Ordering::Release);
        index
    }

    /// Looks for one that is not known yet.
    pub(crate) async fn open(&self, store: &dyn ObjectStore) -> Result<Option<Arc<TextIndex>>, TextIndexError> {
        let opened = TextIndex::open(store, self.path.clone()).await;
        match opened.and_then(|index| index.map(|index| index.of_rows(self.rows)).transpose()) {
            Ok(Some(index)) => Ok(Some(self.keep(index))),
            Ok(None) => {
                self.state.store(UNKNOWN, Ordering::Release);
                Ok(None)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The one that is known; read again if there was no room for it.
    pub(crate) async fn get(&self, store: &dyn ObjectStore) -> Result<Option<Arc<TextIndex>>, TextIndexError> {
        if !self.is_there() {
            return Ok(None);
        }
        match self.opened.get() {
            Some(index) => Ok(Some(index)),
            None => self.open(store).await,
        }
    }

    /// What is found damaged is made again; what could not be read now may be read later.
    pub(crate) fn failed(&self, error: TextIndexError) -> TextIndexError {
        if error.kind() == ErrorKind::Damaged {
            self.state.store(DAMAGED, Ordering::Release);
        }
        error
    }
}
