//! The tables whose files lie beside those of conversations, and whose rows go with theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;
use roaring::RoaringBitmap;

use super::actions::{add_of_messages, add_of_threads, remove, replace_deletions};
use super::columns::new_columns;
use super::table::DeltaTable;
use crate::environment::Environment;
use crate::model::ids::EpochMillis;
use crate::model::thread::SemanticThread;
use crate::storage::catalog::change::TableChange;
use crate::storage::catalog::delta::{Action, TableLog};
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::error::StoreError;
use crate::storage::format::data_file::{DataFile, rows_of};
use crate::storage::format::parquet_file::ParquetFile;

pub(crate) const MESSAGES: &str = "messages";

pub(super) struct Siblings {
    pub(super) messages: TableLog,
    /// With the property columns of the conversations.
    pub(super) threads: TableLog,
}

#[derive(Default)]
pub(super) struct SiblingActions {
    pub(super) messages: Vec<Action>,
    pub(super) threads: Vec<Action>,
}

impl Siblings {
    /// What a change of conversations means for them. `written` gets the paths of new deletion vectors.
    pub(super) async fn actions(
        &self,
        environment: &Environment,
        (conversations, change): (&DeltaTable, &TableChange),
        committed: &BTreeMap<u32, Arc<RoaringBitmap>>,
        written: &mut Vec<Path>,
        now: EpochMillis,
    ) -> Result<SiblingActions, StoreError> {
        let mut actions = SiblingActions::default();
        if change.columns != conversations.columns {
            actions.threads.push(new_columns::<SemanticThread>(&self.threads, &change.columns)?);
        }
        for file in &change.removed {
            actions.messages.push(remove(&self.messages, &messages_of(file)?.path, now)?);
            if let Some(threads) = &file.threads {
                actions.threads.push(remove(&self.threads, threads.file.path(), now)?);
            }
        }
        for new in &change.added {
            actions.messages.push(Action::Add(add_of_messages(&self.messages, new, now)?));
            if let Some(threads) = &new.file.threads {
                actions.threads.push(Action::Add(add_of_threads(&self.threads, &threads.file, now)?));
            }
        }
        for entry in change.changed_deletions(committed) {
            let (path, rows) = (&messages_of(&entry.file)?.path, deleted_messages(&environment.objects, entry).await?);
            actions.messages.extend(replace_deletions(environment, &self.messages, path, &rows, written, now).await?);
            let Some(threads) = &entry.file.threads else { continue };
            // A file may be replaced only by itself with another vector; what is deleted may have no threads.
            let rows = threads.rows_of(&entry.deleted);
            let before = committed.get(&entry.file.number).map(|before| threads.rows_of(before)).unwrap_or_default();
            if rows != before {
                let path = threads.file.path();
                actions.threads.extend(replace_deletions(environment, &self.threads, path, &rows, written, now).await?);
            }
        }
        Ok(actions)
    }
}

fn messages_of(file: &DataFile) -> Result<&ParquetFile, StoreError> {
    let messages = file.messages.as_deref();
    messages.ok_or_else(|| StoreError::Damaged(format!("{} has no messages", file.path())))
}

async fn deleted_messages(store: &Arc<dyn ObjectStore>, entry: &FileSnapshot) -> Result<RoaringBitmap, StoreError> {
    let offsets = entry.file.index.message_offsets(store.as_ref()).await;
    let offsets = offsets.map_err(|error| StoreError::caused("an index could not be read", error))?;
    Ok(rows_of(&offsets, &entry.deleted))
}
