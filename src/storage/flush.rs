//! Flush: a frozen generation of the tail becomes files, in one commit over all tables.

use std::collections::HashMap;
use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt};

use super::error::StoreError;
use super::fail_point;
use super::layout::Layout;
use super::snapshot::{DataFile, FileSnapshot, SegmentSnapshot};
use super::tables::{Committed, Rows, Tables};
use super::wal;
use crate::model::ids::WalPosition;

/// Everything as of the freeze, so that a second try does the same.
#[derive(Clone)]
pub struct FlushJob {
    pub store: Arc<dyn ObjectStore>,
    pub segments: Vec<SegmentSnapshot>,
    pub files: Vec<FileSnapshot>,
    pub position: WalPosition,
    /// Number of the new file.
    pub source: u32,
}

pub struct Flushed {
    pub file: Option<FlushedFile>,
    /// The table's columns after the flush.
    pub columns: Arc<Layout>,
}

pub struct FlushedFile {
    pub file: Arc<DataFile>,
    /// Where each flushed row went.
    pub rows_by_sequence: HashMap<u64, u32>,
}

pub async fn run(job: FlushJob, tables: Arc<tokio::sync::Mutex<Tables>>) -> Result<Flushed, StoreError> {
    let mut tables = tables.lock().await;
    let mut conversations = Vec::new();
    // By address: the commit gives the same allocations back, in the file's order.
    let mut sequences: HashMap<usize, u64> = HashMap::new();
    for entry in &job.segments {
        let rows = entry.segment.conversations.iter().zip(&entry.segment.sequences);
        for (row, (conversation, sequence)) in rows.enumerate() {
            if !entry.deleted.contains(row as u32) {
                sequences.insert(Arc::as_ptr(conversation) as usize, *sequence);
                conversations.push(conversation.clone());
            }
        }
    }
    let rows = Rows { conversations, source: job.source, files: job.files, position: job.position };
    let Committed { file, conversations } = tables.commit(rows).await?;
    let file = file.map(|file| FlushedFile {
        file,
        rows_by_sequence: conversations
            .iter()
            .enumerate()
            .filter_map(|(row, conversation)| {
                Some((*sequences.get(&(Arc::as_ptr(conversation) as usize))?, row as u32))
            })
            .collect(),
    });
    fail_point::reached("flush:before-log-cleaning");
    clean_log(job.store.as_ref(), tables.position()).await;
    Ok(Flushed { file, columns: tables.layout() })
}

/// Deletes log objects that every table holds. What is left behind only costs space; the next flush tries again.
async fn clean_log(store: &dyn ObjectStore, position: WalPosition) {
    let listed = match wal::list(store).await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(%error, "the write-ahead log could not be listed for cleaning");
            return;
        }
    };
    for old in listed.into_iter().take_while(|old| *old <= position) {
        if let Err(error) = store.delete(&wal::wal_path(old)).await {
            tracing::warn!(%error, position = old.0, "an old log object could not be deleted");
            return;
        }
    }
}
