//! One table and its log.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use object_store::path::Path;
use roaring::RoaringBitmap;

use super::actions::{add_of, remove, replace_deletions};
use super::columns::new_columns;
use crate::environment::Environment;
use crate::model::conversation::Conversation;
use crate::model::ids::EpochMillis;
use crate::storage::catalog::change::TableChange;
use crate::storage::catalog::delta::{Action, TableLog};
use crate::storage::error::StoreError;
use crate::storage::format::registry::ColumnRegistry;
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::Family;

pub(super) struct DeltaTable<R: TableRow = Conversation> {
    pub(super) log: TableLog,
    pub(super) columns: ColumnRegistry,
    pub(super) rows: PhantomData<R>,
}

impl Family for DeltaTable {
    type Of<R: TableRow> = DeltaTable<R>;
}

impl<R: TableRow> DeltaTable<R> {
    pub(super) fn name(&self) -> &'static str {
        R::TABLE.name()
    }

    /// The table's part of a commit. `written` gets the paths of new deletion vectors.
    pub(super) async fn actions(
        &self,
        environment: &Environment,
        change: &TableChange,
        committed: &BTreeMap<u32, Arc<RoaringBitmap>>,
        written: &mut Vec<Path>,
        now: EpochMillis,
    ) -> Result<Vec<Action>, StoreError> {
        let mut actions = Vec::new();
        if change.columns != self.columns {
            actions.push(new_columns::<R>(&self.log, &change.columns)?);
        }
        for file in &change.removed {
            actions.push(remove(&self.log, file.path(), now)?);
        }
        for new in &change.added {
            actions.push(Action::Add(add_of(&self.log, new, now)?));
        }
        for entry in change.changed_deletions(committed) {
            let path = entry.file.path();
            actions.extend(replace_deletions(environment, &self.log, path, &entry.deleted, written, now).await?);
        }
        Ok(actions)
    }
}
