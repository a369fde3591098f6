//! The tables of a store in the writer's hands, and the one commit point: new files and changed deletion vectors of all
//! tables, up to one position of the write-ahead log.
//!
//! A commit over several tables is made whole by an *intent*: after the data files are durable and before the first
//! table commit, an object under `intents/` lists the actions of every table. Who opens the store finishes what an
//! intent says, so no table is ever ahead of another when replay begins. Each commit carries the number of its intent:
//! a version number alone would not tell it from a commit of another program (a VACUUM makes some).
//!
//! Messages and threads lie in files beside those of their conversations, in their order: they are written with them,
//! and a deleted conversation's are deleted with it.

mod actions;
mod columns;
mod opening;
mod siblings;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use self::actions::{INDEX_TAG, MESSAGES_TAG};
pub(crate) use self::siblings::MESSAGES;
use self::siblings::Siblings;
use self::table::DeltaTable;
use super::change::CatalogChange;
use super::delta::{Action, TableLog, Txn};
use crate::environment::Environment;
use crate::model::ids::WalPosition;
use crate::storage::error::StoreError;
use crate::storage::format::layout::Layout;
use crate::storage::format::registry::ColumnRegistry;
use crate::storage::format::table::Table;
use crate::storage::format::tables::{PerTable, Same, for_each_table, per_table};
use crate::storage::objects::fail_point;

const INTENTS: &str = "intents";

pub(crate) struct Tables {
    environment: Environment,
    tables: PerTable<DeltaTable>,
    siblings: Siblings,
    /// Deleted rows as the table logs have them, by the number of the data file.
    committed: BTreeMap<u32, Arc<RoaringBitmap>>,
    /// A commit that may have begun: it is finished before anything else.
    pending: Option<Pending>,
}

#[derive(Clone)]
struct Pending {
    path: Path,
    intent: Intent,
    committed: BTreeMap<u32, Arc<RoaringBitmap>>,
    columns: PerTable<Same<ColumnRegistry>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Intent {
    /// Ascending from one commit to the next.
    number: u64,
    tables: Vec<TableIntent>,
}

#[derive(Clone, Serialize, Deserialize)]
struct TableIntent {
    table: String,
    actions: Vec<Action>,
}

impl Tables {
    fn logs(&self) -> Vec<&TableLog> {
        let mut logs = vec![&self.siblings.messages, &self.siblings.threads];
        for_each_table!(table in self.tables.as_ref() => logs.push(&table.log));
        logs
    }

    fn log_mut(&mut self, name: &str) -> Option<&mut TableLog> {
        if name == MESSAGES {
            return Some(&mut self.siblings.messages);
        }
        if name == Table::SemanticThreads.name() {
            return Some(&mut self.siblings.threads);
        }
        let mut log = None;
        for_each_table!(table in self.tables.as_mut() => if table.name() == name {
            log = Some(&mut table.log);
        });
        log
    }

    /// The position up to which all tables hold every operation.
    pub(crate) fn position(&self) -> WalPosition {
        self.logs().iter().map(|log| log.state().wal_position()).min().unwrap_or_default()
    }

    pub(crate) fn columns(&self) -> PerTable<Same<ColumnRegistry>> {
        per_table!(table in self.tables.as_ref() => table.columns.clone())
    }

    /// The tables' columns, as the layouts that tail segments get.
    pub(crate) fn layouts(&self) -> PerTable<Same<Arc<Layout>>> {
        per_table!(table in self.tables.as_ref() => Arc::new(table.columns.layout()))
    }

    /// Paths of everything that the tables refer to.
    pub(crate) fn referenced(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        for log in self.logs() {
            for add in log.state().files.values() {
                paths.push(log.file_path(&add.path));
                paths.extend(add.tag(MESSAGES_TAG).map(Path::from));
                paths.extend(add.tag(INDEX_TAG).map(Path::from));
            }
            let vectors = log.state().files.values().filter_map(|add| add.deletion_vector.as_ref());
            paths.extend(vectors.filter_map(|vector| vector.file(log.root()).ok().flatten()));
        }
        paths
    }

    /// Makes the change in all tables or, after a crash, in none. After an error the same call may be made again: the
    /// change is committed once.
    pub(crate) async fn commit(&mut self, change: &CatalogChange) -> Result<(), StoreError> {
        if self.pending.is_none() {
            let mut written = Vec::new();
            match self.prepare(change, &mut written).await {
                Ok(pending) => self.pending = Some(pending),
                Err(error) => {
                    discard(self.environment.objects.as_ref(), &written).await;
                    return Err(error);
                }
            }
        }
        self.finish_pending().await
    }

    /// Everything but the commits. `written` gets the paths of new deletion vectors.
    async fn prepare(&self, change: &CatalogChange, written: &mut Vec<Path>) -> Result<Pending, StoreError> {
        let now = self.environment.now();
        let number = self.logs().iter().map(|log| log.state().intent()).max().unwrap_or(0) + 1;
        let marks = [Action::Txn(Txn::new(change.position, now)), Action::Txn(Txn::intent(number, now))];
        let mut intent = Intent { number, tables: Vec::new() };
        let mut add = |table: &str, actions: Vec<Action>| {
            let actions = marks.iter().cloned().chain(actions).collect();
            intent.tables.push(TableIntent { table: table.to_owned(), actions });
        };

        let conversations = (&self.tables.conversations, &change.tables.conversations);
        let siblings = self.siblings.actions(&self.environment, conversations, &self.committed, written, now).await?;
        add(MESSAGES, siblings.messages);
        add(Table::SemanticThreads.name(), siblings.threads);
        let mut committed = self.committed.clone();
        for_each_table!(table in self.tables.as_ref(), change in change.tables.as_ref() => {
            add(table.name(), table.actions(&self.environment, change, &self.committed, written, now).await?);
            for file in &change.removed {
                committed.remove(&file.number);
            }
            committed.extend(change.added.iter().map(|new| (new.file.number, Arc::default())));
            committed.extend(change.deletions.iter().map(|entry| (entry.file.number, entry.deleted.clone())));
        });
        let columns = per_table!(change in change.tables.as_ref() => change.columns.clone());
        let path =
            Path::from_iter([INTENTS, &format!("{:020}-{}.json", change.position.0, self.environment.ids.random())]);
        Ok(Pending { path, intent, committed, columns })
    }

    async fn finish_pending(&mut self) -> Result<(), StoreError> {
        let Some(pending) = self.pending.clone() else {
            return Err(StoreError::Bug("no commit is pending".into()));
        };
        let body = serde_json::to_vec(&pending.intent).map_err(|error| StoreError::unwritable("an intent", error))?;
        let put = self.environment.objects.put(&pending.path, PutPayload::from(body)).await;
        put.map_err(|error| StoreError::caused("an intent could not be written", error))?;
        fail_point::reached("flush:after-intent");
        self.finish_intent(&pending.intent).await?;
        fail_point::reached("flush:after-commits");
        self.forget_intent(&pending.path).await?;
        self.committed = pending.committed;
        for_each_table!(table in self.tables.as_mut(), columns in pending.columns => table.columns = columns);
        self.pending = None;
        Ok(())
    }

    /// Commits to each table what is not committed yet.
    async fn finish_intent(&mut self, intent: &Intent) -> Result<(), StoreError> {
        for part in &intent.tables {
            let unknown = || StoreError::Damaged(format!("an intent names the unknown table {:?}", part.table));
            let now = self.environment.now();
            let log = self.log_mut(&part.table).ok_or_else(unknown)?;
            // An earlier try may have ended in doubt.
            log.refresh().await.map_err(|error| StoreError::caused("a table log could not be read", error))?;
            if log.state().intent() < intent.number {
                let committed = log.commit(part.actions.clone(), now).await;
                committed.map_err(|error| StoreError::caused("a commit failed", error))?;
            }
            if part.table == MESSAGES {
                fail_point::reached("flush:between-commits");
            }
        }
        Ok(())
    }

    async fn finish_intents(&mut self) -> Result<(), StoreError> {
        let prefix = Path::from(INTENTS);
        let listed: Result<Vec<_>, _> = self.environment.objects.list(Some(&prefix)).try_collect().await;
        let mut listed = listed.map_err(|error| StoreError::caused("the intents could not be listed", error))?;
        listed.sort_by(|a, b| a.location.cmp(&b.location));
        for object in listed {
            let body = self
                .environment
                .objects
                .get(&object.location)
                .await
                .map_err(|error| StoreError::caused("an intent", error))?;
            let body = body.bytes().await.map_err(|error| StoreError::caused("an intent", error))?;
            let intent: Intent = serde_json::from_slice(&body)
                .map_err(|error| StoreError::Damaged(format!("the intent {}: {error}", object.location)))?;
            self.finish_intent(&intent).await?;
            self.forget_intent(&object.location).await?;
        }
        Ok(())
    }

    async fn forget_intent(&self, path: &Path) -> Result<(), StoreError> {
        match self.environment.objects.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(StoreError::caused("an intent could not be deleted", error)),
        }
    }
}

/// Deletes what a failed try wrote: the next one writes other files, and the disk may be full.
pub(crate) async fn discard(store: &dyn ObjectStore, written: &[Path]) {
    for path in written {
        match store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::warn!(%path, %error, "a file of a failed flush could not be deleted"),
        }
    }
}

#[cfg(test)]
mod tests;
