//! The catalog in the hands of the store's writer: the one commit point.
//!
//! Files are written and durable before a change names them ([`CatalogChange`]); what waits for the lock around the
//! catalog is only the commit itself, one object.

use std::sync::Arc;

use super::change::{CatalogChange, RemovedFile};
use super::commit::CommitNumber;
use super::edit::{Move, Moved, edit_of};
use super::line::CommitWriter;
use super::manifest::{Manifest, Table};
use crate::environment::{Clock, Environment};
use crate::storage::error::StoreError;
use crate::storage::format::layout::Layout;
use crate::storage::format::registry::ColumnRegistry;
use crate::storage::format::tables::{Kind, PerTable, Same, for_each_table, per_table};
use crate::storage::objects::fail_point;

pub(crate) struct Catalog {
    clock: Arc<dyn Clock>,
    line: CommitWriter,
    moved: Moved,
    /// Also those that a file under way has.
    columns: PerTable<Same<ColumnRegistry>>,
}

impl Catalog {
    pub(crate) fn new(environment: &Environment, line: CommitWriter) -> Catalog {
        let columns = columns_of(line.manifest());
        Catalog { clock: environment.clock.clone(), line, moved: Moved::new(), columns }
    }

    /// From now on no change comes that was prepared before this commit: where rows went until then may be forgotten.
    pub(crate) fn forget_moves(&mut self, up_to: CommitNumber) {
        self.moved.retain(|_, moved| moved.by > up_to);
    }

    /// As of the last commit.
    pub(crate) fn manifest(&self) -> &Arc<Manifest> {
        self.line.manifest()
    }

    /// Shared by all that write files.
    pub(crate) fn columns(&self) -> PerTable<Same<ColumnRegistry>> {
        self.columns.clone()
    }

    /// The tables' columns, as the layouts that tail segments get.
    pub(crate) fn layouts(&self) -> PerTable<Same<Arc<Layout>>> {
        per_table!(columns in self.columns.as_ref() => Arc::new(columns.layout()))
    }

    /// Makes the change in all tables, or in none. After an error the same call may be made again: the change is
    /// committed once.
    pub(crate) async fn commit(&mut self, change: &CatalogChange) -> Result<Arc<Manifest>, StoreError> {
        let edit = edit_of(change, self.manifest(), &self.moved)?;
        fail_point::reached("commit:before");
        let committed = self.line.append(&edit, self.clock.now()).await;
        let manifest = committed.map_err(|error| StoreError::caused("the commit failed", error))?;
        fail_point::reached("commit:after");
        for_each_table!(table in change.tables.as_ref() => {
            let moved = |removed: &RemovedFile| Move { by: manifest.number, rows: Arc::clone(&removed.moved) };
            self.moved.extend(table.removed.iter().map(|removed| (removed.id, moved(removed))));
        });
        if let Err(error) = self.line.checkpoint_if_due().await {
            tracing::warn!(%error, "no checkpoint of the commits could be written; the next commit tries again");
        }
        Ok(manifest)
    }
}

fn columns_of(manifest: &Manifest) -> PerTable<Same<ColumnRegistry>> {
    per_table!(kind in PerTable::<Kind>::default() => {
        manifest.tables.get(kind.name()).map(Table::column_registry).unwrap_or_default()
    })
}

/// The tables' columns as of a commit, as the layouts that tail segments get.
pub(crate) fn layouts_of(manifest: &Manifest) -> PerTable<Same<Arc<Layout>>> {
    per_table!(columns in columns_of(manifest) => Arc::new(columns.layout()))
}

#[cfg(test)]
mod tests;
