//! Flush: a frozen generation of the tail becomes files, in one commit over all tables.

use std::collections::HashMap;
use std::sync::Arc;

use imbl::OrdMap;
use tokio::sync::OnceCell;

use super::erasing;
use super::files::{self, FileNumbers, NewRows, Written};
use super::log_cleaner::LogCleaner;
use super::progress::Imports;
use super::state::{State, TableState};
use crate::environment::Environment;
use crate::model::conversation::Conversation;
use crate::model::ids::WalPosition;
use crate::storage::catalog::change::{CatalogChange, ErasedRows};
use crate::storage::catalog::commit::{CommitNumber, Erased};
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::catalog::manifest::Manifest;
use crate::storage::catalog::writing::Catalog;
use crate::storage::error::StoreError;
use crate::storage::format::data_file::DataFile;
use crate::storage::format::layout::Layout;
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{Family, PerTable, Same, for_each_table, per_table};
use crate::storage::objects::fail_point;
use crate::storage::tail::Counters;
use crate::storage::tail::segment::SegmentSnapshot;

/// Everything as of the freeze, so that a second try does the same.
#[derive(Clone)]
pub(crate) struct FlushJob {
    environment: Environment,
    position: WalPosition,
    /// The log may go up to here once the flush has ended. That is not its own position: a commit may be lost as long
    /// as no log object names it, and then the log still has what it held.
    clean_to: WalPosition,
    log: Arc<LogCleaner>,
    /// What the files of the job stand on.
    base: CommitNumber,
    tables: PerTable<TableJob>,
    /// The new files, once they are written: a second try commits them and writes no others.
    written: Arc<OnceCell<NewState>>,
}

struct NewState {
    files: PerTable<Written>,
    /// What the files before them hold of what was erased.
    erased: PerTable<Same<Vec<ErasedRows>>>,
}

#[derive(Clone)]
struct TableJob<R = Conversation> {
    segments: Vec<SegmentSnapshot<R>>,
    files: Vec<FileSnapshot>,
    /// With this flush.
    erased: OrdMap<u128, Erased>,
    numbers: FileNumbers,
}

impl Family for TableJob {
    type Of<R: TableRow> = TableJob<R>;
}

impl FlushJob {
    /// Of the frozen generations.
    pub(crate) fn new(
        environment: &Environment,
        (position, clean_to): (WalPosition, WalPosition),
        log: &Arc<LogCleaner>,
        state: &State,
        counters: &mut Counters,
    ) -> FlushJob {
        FlushJob {
            environment: environment.clone(),
            position,
            clean_to,
            log: Arc::clone(log),
            base: state.settled(),
            tables: per_table!(table in state.tables.as_ref() => TableJob::new(table, counters)),
            written: Arc::default(),
        }
    }
}

impl<R: TableRow> TableJob<R> {
    fn new(table: &TableState<R>, counters: &mut Counters) -> TableJob<R> {
        TableJob {
            segments: table.tail.frozen().map(|frozen| frozen.segments().to_vec()).unwrap_or_default(),
            files: table.files.clone(),
            erased: table.tail.frozen().map(|frozen| frozen.erased().clone()).unwrap_or_default(),
            numbers: FileNumbers::next(counters),
        }
    }

    /// With their numbers in the order of operations.
    fn live_rows(&self) -> impl Iterator<Item = (&Arc<R>, u64)> {
        self.segments.iter().flat_map(|entry| {
            let rows = entry.segment.rows.iter().zip(&entry.segment.sequences).enumerate();
            let live = rows.filter(|(row, _)| !entry.deleted.contains(*row as u32));
            live.map(|(_, (value, sequence))| (value, *sequence))
        })
    }

    fn new_rows(&self) -> NewRows<R> {
        NewRows { rows: self.live_rows().map(|(value, _)| value.clone()).collect(), numbers: self.numbers }
    }

    /// Where each flushed row went. The file has the allocations that the segments have.
    fn rows_by_sequence(&self, written: &Written<R>) -> HashMap<u64, u32> {
        let sequences: HashMap<*const R, u64> =
            self.live_rows().map(|(value, sequence)| (Arc::as_ptr(value), sequence)).collect();
        let rows = written.rows.iter().enumerate();
        rows.filter_map(|(row, value)| Some((*sequences.get(&Arc::as_ptr(value))?, row as u32))).collect()
    }
}

pub(crate) struct Flushed {
    pub(crate) manifest: Arc<Manifest>,
    tables: PerTable<Same<FlushedTable>>,
}

struct FlushedTable {
    file: Option<FlushedFile>,
    /// The table's columns after the flush.
    columns: Arc<Layout>,
}

struct FlushedFile {
    file: Arc<DataFile>,
    rows_by_sequence: HashMap<u64, u32>,
}

impl Flushed {
    /// Of the new files.
    pub(crate) fn bytes(&self) -> u64 {
        let mut bytes = 0;
        for_each_table!(table in self.tables.as_ref() => bytes += table.file.as_ref().map_or(0, |file| file.file.bytes()));
        bytes
    }

    /// Swaps the frozen rows for their files.
    pub(crate) fn install(self, job: &FlushJob, state: &mut State) {
        for_each_table!(table in state.tables.as_mut(), new in self.tables, of_job in job.tables.as_ref() => {
            new.install(of_job, table);
        });
        state.take_manifest(self.manifest);
        state.flush_generation += 1;
    }
}

impl FlushedTable {
    fn new<R: TableRow>(job: &TableJob<R>, written: &Written<R>, columns: Arc<Layout>) -> FlushedTable {
        let file = written
            .new
            .as_ref()
            .map(|new| FlushedFile { file: new.file.clone(), rows_by_sequence: job.rows_by_sequence(written) });
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

/// Only the columns and the commit need the catalog; the files are written while others may have it.
pub(crate) async fn run(job: FlushJob, catalog: Arc<tokio::sync::Mutex<Catalog>>) -> Result<Flushed, StoreError> {
    let columns = {
        let mut catalog = catalog.lock().await;
        catalog.forget_moves(job.base);
        catalog.columns()
    };
    let write = || async {
        // First, since a failure here leaves nothing behind.
        let erased = per_table!(table in job.tables.as_ref() => {
            erasing::rows_in(&job.environment.objects, &table.files, &table.erased).await?
        });
        let rows = per_table!(table in job.tables.as_ref() => table.new_rows());
        let files = files::write(&job.environment, rows, columns).await?;
        Ok::<_, StoreError>(NewState { files, erased })
    };
    // Whether a commit that failed names them may be unknown: from here on they stay.
    let NewState { files: written, erased } = job.written.get_or_try_init(write).await?;
    let change = CatalogChange {
        position: job.position,
        imports: Imports::new(),
        tables: per_table!(
            table in job.tables.as_ref(), new in written.as_ref(), erased in erased.as_ref()
                => new.change(table.files.clone(), erased.clone())
        ),
    };
    let (manifest, layouts) = {
        let mut catalog = catalog.lock().await;
        (catalog.commit(&change).await?, catalog.layouts())
    };
    let tables = per_table!(
        table in job.tables.as_ref(), new in written.as_ref(), columns in layouts
            => FlushedTable::new(table, new, columns)
    );
    fail_point::reached("flush:before-log-cleaning");
    job.log.clean(job.environment.objects.as_ref(), job.clean_to).await;
    Ok(Flushed { manifest, tables })
}
