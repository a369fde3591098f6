//! What a snapshot shows, in the hands of the one writer, and a group of operations on its way into it.

use std::sync::Arc;

use object_store::ObjectStore;

use super::logged::{RowChange, changes};
use crate::model::conversation::Conversation;
use crate::model::ids::WalPosition;
use crate::storage::catalog::commit::{CommitNumber, Moment};
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::catalog::manifest::Manifest;
use crate::storage::format::layout::Layout;
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{Family, PerTable, for_each_table, per_table};
use crate::storage::log::operation::Operation;
use crate::storage::read::snapshot::{RowAddress, Snapshot, TableSnapshot};
use crate::storage::tail::{Counters, Tail, TailGroup};

#[derive(Default)]
pub(crate) struct State {
    /// The last commit that is taken in.
    pub(crate) manifest: Arc<Manifest>,
    /// The last durable object of the log.
    pub(crate) position: WalPosition,
    pub(crate) flush_generation: u64,
    /// Compactions that are being committed: their files are not these yet.
    pub(crate) compactions: u32,
    pub(crate) tables: PerTable<TableState>,
}

pub(crate) struct TableState<R: TableRow = Conversation> {
    pub(crate) tail: Tail<R>,
    pub(crate) files: Vec<FileSnapshot>,
    /// The property columns that the table has.
    pub(crate) columns: Arc<Layout>,
}

impl Family for TableState {
    type Of<R: TableRow> = TableState<R>;
}

impl<R: TableRow> Default for TableState<R> {
    fn default() -> Self {
        TableState { tail: Tail::default(), files: Vec::new(), columns: Arc::default() }
    }
}

/// What the active generations of all tables hold.
#[derive(Default)]
pub(crate) struct Active {
    pub(crate) operations: usize,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

impl State {
    /// The commit that the files surely stand on, and all before it.
    pub(crate) fn settled(&self) -> CommitNumber {
        if self.compactions == 0 { self.manifest.number } else { CommitNumber(0) }
    }

    /// A commit may be told of after a later one.
    pub(crate) fn take_manifest(&mut self, manifest: Arc<Manifest>) {
        if manifest.number > self.manifest.number {
            self.manifest = manifest;
        }
    }

    pub(crate) fn active(&self) -> Active {
        let mut all = Active::default();
        for_each_table!(table in self.tables.as_ref() => {
            let active = table.tail.active();
            all.operations += active.operations();
            all.rows += active.rows();
            all.bytes += active.bytes();
        });
        all
    }

    /// Starts a flush of all tables.
    pub(crate) fn freeze(&mut self) {
        for_each_table!(table in self.tables.as_mut() => table.tail.freeze());
    }

    pub(crate) fn snapshot(&self, store: &Arc<dyn ObjectStore>) -> Snapshot {
        Snapshot {
            store: store.clone(),
            manifest: self.manifest.clone(),
            tables: per_table!(table in self.tables.as_ref() => table.snapshot()),
            position: self.position,
            flush_generation: self.flush_generation,
        }
    }

    /// Sets deletion bits of any table: file numbers are one line over all tables.
    pub(crate) fn mark_deleted(&mut self, rows: &[RowAddress]) {
        for_each_table!(table in self.tables.as_mut() => table.mark_deleted(rows));
    }
}

impl<R: TableRow> TableState<R> {
    fn snapshot(&self) -> TableSnapshot<R> {
        TableSnapshot {
            files: Arc::new(self.files.clone()),
            segments: Arc::new(self.tail.segments()),
            tail: self.tail.clone(),
        }
    }

    fn mark_deleted(&mut self, rows: &[RowAddress]) {
        for address in rows {
            if let Some(entry) = self.files.iter_mut().find(|entry| entry.file.number == address.source) {
                Arc::make_mut(&mut entry.deleted).insert(address.row);
            }
        }
    }
}

/// One group of operations being taken in, on all tables.
pub(crate) struct Staged {
    /// What the group gets in the log.
    pub(crate) position: WalPosition,
    pub(crate) tables: PerTable<TailGroup>,
    /// What the group's rows take in memory beyond their texts.
    pub(super) derived: usize,
}

impl Staged {
    pub(crate) fn begin(state: &State) -> Staged {
        Staged {
            position: WalPosition(state.position.0 + 1),
            tables: per_table!(table in state.tables.as_ref() => TailGroup::begin(&table.tail)),
            derived: 0,
        }
    }

    pub(crate) fn stage(&mut self, operation: &Operation, counters: &mut Counters) {
        self.derived += operation.derived_bytes();
        for_each_table!(group in self.tables.as_mut(), change in changes(operation) => {
            if let Some(RowChange { key, value, erased_at }) = change {
                group.stage_row(&key, value, counters);
                if let Some(at) = erased_at {
                    group.note_erased(&key, Moment { position: self.position, at });
                }
            }
        });
    }

    /// Makes the group part of the state. `bytes` is its size in the log.
    pub(crate) fn finish(self, state: &mut State, bytes: usize, counters: &mut Counters) {
        // They count once, whatever the table: writers wait for the sum.
        let mut bytes = bytes + self.derived;
        for_each_table!(group in self.tables, table in state.tables.as_mut() => {
            table.tail = group.finish(std::mem::take(&mut bytes), &table.columns, counters);
        });
    }
}
