//! Backfill: documents straight into files, without the write-ahead log. Each batch is acknowledged by its commit.
//!
//! A batch is resolved like a group of single changes, with a tail of its own that ends as the batch's file.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::{StreamExt, TryStreamExt, stream};

use super::change::{Change, Prefetched};
use super::derived::DerivedTables;
use super::files::{self, FileNumbers, NewRows};
use super::progress::{self, ImportPart, Imports, Place};
use super::recovery::{self, Opened};
use super::resolve::{Resolved, resolve_change};
use super::state::{Staged, State, TableState};
use super::{erasing, links, prefetch};
use crate::environment::Environment;
use crate::model::document::Document;
use crate::model::ids::WalPosition;
use crate::model::resolve::Identity;
use crate::storage::catalog::change::{CatalogChange, ErasedRows};
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::catalog::marker::Marker;
use crate::storage::catalog::writing::Catalog;
use crate::storage::error::StoreError;
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{PerTable, Same, for_each_table, per_table};
use crate::storage::log::writer::{LogWriter, PATIENCE};
use crate::storage::tail::Counters;

/// Index look-ups under way at once.
const LOOKUPS_AT_ONCE: usize = 1_024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) new: u64,
    pub(crate) replaced: u64,
    pub(crate) unchanged: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.new += other.new;
        self.replaced += other.replaced;
        self.unchanged += other.unchanged;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) counts: Counts,
    /// Documents that contradict what is stored: index in the batch, and why.
    pub(crate) rejected: Vec<(usize, String)>,
}

/// The store in the hands of one loading process.
pub(crate) struct BulkLoader {
    environment: Environment,
    catalog: Catalog,
    state: State,
    counters: Counters,
    writer: LogWriter,
    marker: Marker,
    _lock: Option<std::fs::File>,
}

impl BulkLoader {
    /// Opens the store for writing and flushes what its log still holds.
    pub(crate) async fn open(environment: Environment, local_root: Option<PathBuf>) -> Result<BulkLoader, StoreError> {
        let opened = recovery::open(environment, local_root.as_deref()).await?;
        let Opened { environment, lock, marker, state, catalog, writer, counters, .. } = opened;
        let mut loader = BulkLoader { environment, catalog, state, counters, writer, marker, _lock: lock };
        if loader.state.active().operations > 0 {
            loader.commit_tail(Imports::new()).await?;
        }
        Ok(loader)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state.tables.conversations.files.is_empty()
    }

    /// Loads a batch as one file (as several, where documents of one conversation in it have feedback to be linked). It
    /// is durable and visible to the next process when this returns. The commits tell how far the import is whose `part`
    /// the batch is.
    pub(crate) async fn load(
        &mut self,
        batch: Vec<(Identity, Document)>,
        part: Option<&ImportPart>,
    ) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded::default();
        let batch = batch.into_iter().map(|(identity, document)| (identity, Arc::new(document)));
        let mut left: Vec<(usize, (Identity, Arc<Document>))> = batch.enumerate().collect();
        while !left.is_empty() {
            left = self.load_part(left, part, &mut loaded).await?;
        }
        Ok(loaded)
    }

    /// Loads documents up to one whose look-up is made out of date by those before it; gives the rest.
    async fn load_part(
        &mut self,
        batch: Vec<(usize, (Identity, Arc<Document>))>,
        part: Option<&ImportPart>,
        loaded: &mut Loaded,
    ) -> Result<Vec<(usize, (Identity, Arc<Document>))>, StoreError> {
        let snapshot = self.state.snapshot(&self.environment.objects);
        let snapshot = &snapshot;
        let prefetched: Vec<Prefetched> = stream::iter(&batch)
            .map(|(_, (identity, document))| prefetch::of_document(snapshot, identity, document))
            .buffered(LOOKUPS_AT_ONCE)
            .try_collect()
            .await?;

        let mut staged = Staged::begin(&self.state);
        if !prefetch::may_have_dependents(snapshot) {
            // Nothing to link.
            staged.tables.conversations.without_references();
        }
        let mut file_deletions = Vec::new();
        let mut documents = batch.into_iter().zip(prefetched);
        let mut rest = Vec::new();
        while let Some(((index, (identity, document)), prefetched)) = documents.next() {
            let change = Change::log(&identity, &document);
            match resolve_change(&staged, &change, &prefetched, &self.environment) {
                Err(StoreError::Conflict(reason)) => loaded.rejected.push((index, reason)),
                Err(error) => return Err(error),
                Ok(Resolved { unchanged: true, .. }) => loaded.counts.unchanged += 1,
                Ok(Resolved { operation: None, .. }) => {}
                Ok(Resolved { operation: Some(operation), replaces, existed, .. }) => {
                    let Some(following) = links::follow(&staged, &change, &operation, &prefetched) else {
                        rest.push((index, (identity, document)));
                        rest.extend(documents.map(|(document, _)| document));
                        break;
                    };
                    if existed {
                        loaded.counts.replaced += 1;
                    } else {
                        loaded.counts.new += 1;
                    }
                    file_deletions.extend(replaces);
                    staged.stage(&operation, &mut self.counters);
                    for step in following {
                        file_deletions.extend(step.replaces);
                        staged.stage(&step.operation, &mut self.counters);
                    }
                }
            }
        }
        staged.finish(&mut self.state, 0, &mut self.counters);
        self.state.mark_deleted(&file_deletions);
        let left = rest.first().map(|(index, _)| *index);
        let imports = part.map(|part| part.done(left, &self.state.manifest)).unwrap_or_default();
        if self.state.active().operations > 0 || !imports.is_empty() {
            self.commit_tail(imports).await?;
        }
        Ok(rest)
    }

    /// Commits that nothing of an import is left.
    pub(crate) async fn end_import(&mut self, import: &str, end: Place) -> Result<(), StoreError> {
        self.commit_tail(progress::finished(import, end, &self.state.manifest)).await
    }

    /// Ends the loading. The log gets an object without operations: what was loaded is in no other, so only this one
    /// tells that the commits are missing, should they ever be.
    pub(crate) async fn finish(mut self) -> Result<(), StoreError> {
        self.writer.knows_commit(self.state.manifest.number.0);
        let position = WalPosition(self.state.position.0 + 1);
        let end = self.writer.object(position, &[]).map_err(|error| StoreError::caused("a log object", error))?;
        let put = end.put(self.environment.objects.as_ref(), PATIENCE).await;
        put.map_err(|error| StoreError::caused("the write-ahead log cannot be written", error))?;
        let snapshot = Arc::new(ArcSwap::from_pointee(self.state.snapshot(&self.environment.objects)));
        let mut derived = DerivedTables::new(&self.environment, self.marker.store, snapshot);
        if let Err(error) = derived.derive().await {
            tracing::warn!(%error, "the next start tries again");
        }
        Ok(())
    }

    async fn commit_tail(&mut self, imports: Imports) -> Result<(), StoreError> {
        let (state, counters) = (&mut self.state, &mut self.counters);
        let old_rows: PerTable<Same<Vec<ErasedRows>>> = per_table!(table in state.tables.as_ref() => {
            erasing::rows_in(&self.environment.objects, &table.files, table.tail.active().erased()).await?
        });
        let rows = per_table!(table in state.tables.as_mut() => take(table, counters));
        let written = files::write(&self.environment, rows, self.catalog.columns()).await?;
        let change = CatalogChange {
            position: state.position,
            imports,
            tables: per_table!(
                table in state.tables.as_ref(), new in written.as_ref(), erased in old_rows
                    => new.change(table.files.clone(), erased)
            ),
        };
        state.manifest = self.catalog.commit(&change).await?;
        for_each_table!(
            table in state.tables.as_mut(), written in written, columns in self.catalog.layouts() => {
                let file = written.new.map(|new| FileSnapshot { file: new.file, deleted: Arc::default() });
                table.files.extend(file);
                table.columns = columns;
            }
        );
        Ok(())
    }
}

/// Empties the tail of a table into rows for a file.
fn take<R: TableRow>(table: &mut TableState<R>, counters: &mut Counters) -> NewRows<R> {
    let mut live = Vec::new();
    for entry in std::mem::take(&mut table.tail).segments() {
        let rows = entry.segment.rows.iter().enumerate();
        live.extend(rows.filter(|(row, _)| !entry.deleted.contains(*row as u32)).map(|(_, value)| value.clone()));
    }
    NewRows { rows: live, numbers: FileNumbers::next(counters) }
}
