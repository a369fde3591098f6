//! Flush: a frozen generation of the tail becomes files, in one commit over all tables.

use std::collections::HashMap;
use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt};

use crate::model::conversation::Conversation;
use crate::model::event::Event;
use crate::model::feedback::Feedback;
use crate::model::ids::WalPosition;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::catalog::tables::{CommittedRows, NewRows, Rows, Tables};
use crate::storage::error::StoreError;
use crate::storage::format::data_file::DataFile;
use crate::storage::format::layout::Layout;
use crate::storage::log::wal;
use crate::storage::objects::fail_point;
use crate::storage::tail::segment::SegmentSnapshot;

/// Everything as of the freeze, so that a second try does the same.
#[derive(Clone)]
pub(crate) struct FlushJob {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) position: WalPosition,
    pub(crate) conversations: TableJob<Conversation>,
    pub(crate) events: TableJob<Event>,
    pub(crate) feedback: TableJob<Feedback>,
    /// Number of the new file of threads.
    pub(crate) threads_source: u32,
}

#[derive(Clone)]
pub(crate) struct TableJob<R> {
    pub(crate) segments: Vec<SegmentSnapshot<R>>,
    pub(crate) files: Vec<FileSnapshot>,
    /// Number of the new file.
    pub(crate) source: u32,
}

pub(crate) struct Flushed {
    pub(crate) conversations: FlushedTable,
    pub(crate) events: FlushedTable,
    pub(crate) feedback: FlushedTable,
}

pub(crate) struct FlushedTable {
    pub(crate) file: Option<FlushedFile>,
    /// The table's columns after the flush.
    pub(crate) columns: Arc<Layout>,
}

pub(crate) struct FlushedFile {
    pub(crate) file: Arc<DataFile>,
    /// Where each flushed row went.
    pub(crate) rows_by_sequence: HashMap<u64, u32>,
}

pub(crate) async fn run(job: FlushJob, tables: Arc<tokio::sync::Mutex<Tables>>) -> Result<Flushed, StoreError> {
    let mut tables = tables.lock().await;
    let FlushJob { store, position, conversations, events, feedback, threads_source } = job;
    let (conversations, conversation_sequences) = live_rows(conversations);
    let (events, event_sequences) = live_rows(events);
    let (feedback, feedback_sequences) = live_rows(feedback);
    let committed = tables.commit(Rows { position, conversations, events, feedback, threads_source }).await?;
    let flushed = Flushed {
        conversations: flushed(committed.conversations, &conversation_sequences, tables.layout()),
        events: flushed(committed.events, &event_sequences, tables.events_layout()),
        feedback: flushed(committed.feedback, &feedback_sequences, tables.feedback_layout()),
    };
    fail_point::reached("flush:before-log-cleaning");
    clean_log(store.as_ref(), tables.position()).await;
    Ok(flushed)
}

/// The rows to write, and their numbers by address: the commit gives the same allocations back, in the file's order.
fn live_rows<R>(job: TableJob<R>) -> (NewRows<R>, HashMap<usize, u64>) {
    let mut rows = Vec::new();
    let mut sequences: HashMap<usize, u64> = HashMap::new();
    for entry in &job.segments {
        for (row, (value, sequence)) in entry.segment.rows.iter().zip(&entry.segment.sequences).enumerate() {
            if !entry.deleted.contains(row as u32) {
                sequences.insert(Arc::as_ptr(value) as usize, *sequence);
                rows.push(value.clone());
            }
        }
    }
    (NewRows { rows, source: job.source, files: job.files }, sequences)
}

fn flushed<R>(committed: CommittedRows<R>, sequences: &HashMap<usize, u64>, columns: Arc<Layout>) -> FlushedTable {
    let CommittedRows { file, rows } = committed;
    let file = file.map(|file| FlushedFile {
        file,
        rows_by_sequence: rows
            .iter()
            .enumerate()
            .filter_map(|(row, value)| Some((*sequences.get(&(Arc::as_ptr(value) as usize))?, row as u32)))
            .collect(),
    });
    FlushedTable { file, columns }
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
