//! Flush: a frozen generation of the tail becomes files, in one commit over all tables.

use std::collections::HashMap;
use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt};

use super::state::{State, TableState};
use crate::model::conversation::Conversation;
use crate::model::ids::WalPosition;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::catalog::tables::{CommittedRows, NewRows, Rows, Tables};
use crate::storage::error::StoreError;
use crate::storage::format::data_file::DataFile;
use crate::storage::format::layout::Layout;
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{Family, PerTable, for_each_table, per_table};
use crate::storage::log::wal;
use crate::storage::objects::fail_point;
use crate::storage::tail::Counters;
use crate::storage::tail::segment::SegmentSnapshot;

/// Everything as of the freeze, so that a second try does the same.
#[derive(Clone)]
pub(crate) struct FlushJob {
    store: Arc<dyn ObjectStore>,
    position: WalPosition,
    tables: PerTable<TableJob>,
    /// Number of the new file of threads.
    threads_source: u32,
}

#[derive(Clone)]
struct TableJob<R = Conversation> {
    segments: Vec<SegmentSnapshot<R>>,
    files: Vec<FileSnapshot>,
    /// Number of the new file.
    source: u32,
}

impl Family for TableJob {
    type Of<R: TableRow> = TableJob<R>;
}

impl FlushJob {
    /// Of the frozen generations.
    pub(crate) fn new(
        store: &Arc<dyn ObjectStore>,
        position: WalPosition,
        state: &State,
        counters: &mut Counters,
    ) -> FlushJob {
        FlushJob {
            store: store.clone(),
            position,
            tables: per_table!(table in state.tables.as_ref() => TableJob::new(table, counters)),
            threads_source: counters.file(),
        }
    }
}

impl<R: TableRow> TableJob<R> {
    fn new(table: &TableState<R>, counters: &mut Counters) -> TableJob<R> {
        TableJob {
            segments: table.tail.frozen().map(|frozen| frozen.segments().to_vec()).unwrap_or_default(),
            files: table.files.clone(),
            source: counters.file(),
        }
    }

    /// The rows to write, and their numbers by allocation: the commit gives the same allocations back, in the file's
    /// order.
    fn live_rows(self) -> (NewRows<R>, Sequences) {
        let mut rows = Vec::new();
        let mut sequences = HashMap::new();
        for entry in &self.segments {
            for (row, (value, sequence)) in entry.segment.rows.iter().zip(&entry.segment.sequences).enumerate() {
                if !entry.deleted.contains(row as u32) {
                    sequences.insert(Arc::as_ptr(value) as usize, *sequence);
                    rows.push(value.clone());
                }
            }
        }
        (NewRows { rows, source: self.source, files: self.files }, Sequences(sequences))
    }
}

struct Sequences(HashMap<usize, u64>);

impl Family for Sequences {
    type Of<R: TableRow> = Sequences;
}

pub(crate) struct Flushed {
    tables: PerTable<FlushedTable>,
}

struct FlushedTable {
    file: Option<FlushedFile>,
    /// The table's columns after the flush.
    columns: Arc<Layout>,
}

impl Family for FlushedTable {
    type Of<R: TableRow> = FlushedTable;
}

struct FlushedFile {
    file: Arc<DataFile>,
    /// Where each flushed row went.
    rows_by_sequence: HashMap<u64, u32>,
}

impl Flushed {
    /// Swaps the frozen rows for their files.
    pub(crate) fn install(self, job: &FlushJob, state: &mut State) {
        for_each_table!(table in state.tables.as_mut(), new in self.tables, job in job.tables.as_ref() => {
            new.install(job, table);
        });
        state.flush_generation += 1;
    }
}

impl FlushedTable {
    fn new<R>(committed: CommittedRows<R>, sequences: &Sequences, columns: Arc<Layout>) -> FlushedTable {
        let CommittedRows { file, rows } = committed;
        let rows = rows.iter().enumerate();
        let file = file.map(|file| FlushedFile {
            file,
            rows_by_sequence: rows
                .filter_map(|(row, value)| Some((*sequences.0.get(&(Arc::as_ptr(value) as usize))?, row as u32)))
                .collect(),
        });
        FlushedTable { file, columns }
    }

    fn install<R: TableRow>(self, job: &TableJob<R>, table: &mut TableState<R>) {
        if let Some(frozen) = table.tail.drop_frozen()
            && let Some(new) = self.file
        {
            let deleted = frozen.deleted_since(&job.segments, &new.rows_by_sequence);
            table.files.push(FileSnapshot { file: new.file, deleted: Arc::new(deleted) });
        }
        table.columns = self.columns;
    }
}

pub(crate) async fn run(job: FlushJob, tables: Arc<tokio::sync::Mutex<Tables>>) -> Result<Flushed, StoreError> {
    let mut tables = tables.lock().await;
    let FlushJob { store, position, tables: jobs, threads_source } = job;
    let live: PerTable<(NewRows, Sequences)> = per_table!(job in jobs => job.live_rows());
    let (new, sequences) = live.unzip();
    let committed = tables.commit(Rows { position, tables: new, threads_source }).await?;
    let flushed = Flushed {
        tables: per_table!(
            rows in committed, numbers in sequences, columns in tables.layouts()
                => FlushedTable::new(rows, &numbers, columns)
        ),
    };
    fail_point::reached("flush:before-log-cleaning");
    clean_log(store.as_ref(), tables.position()).await;
    Ok(flushed)
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
