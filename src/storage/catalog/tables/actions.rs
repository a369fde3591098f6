//! Entries of the table logs: what they say of a file, and how the deleted rows of one change.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::path::Path;
use roaring::RoaringBitmap;

use crate::environment::Environment;
use crate::model::ids::EpochMillis;
use crate::storage::catalog::change::NewFile;
use crate::storage::catalog::delta::{Action, Add, FileStatistics, TableLog, deletion_vector};
use crate::storage::error::StoreError;
use crate::storage::format::data_file::DataFile;
use crate::storage::format::layout::Layout;
use crate::storage::format::statistics::{ColumnStatistics, DeltaStatistics};

/// Tags of an `add` action: what only this server needs of a file.
pub(super) const LAYOUT_TAG: &str = "convolake.layout";
pub(super) const MESSAGES_TAG: &str = "convolake.messages";
pub(super) const MESSAGES_SIZE_TAG: &str = "convolake.messagesSize";
pub(super) const THREADS_TAG: &str = "convolake.threads";
pub(super) const INDEX_TAG: &str = "convolake.index";
pub(super) const INDEX_SIZE_TAG: &str = "convolake.indexSize";

type Tag = (String, Option<String>);

fn tag(name: &str, value: impl ToString) -> Tag {
    (name.to_owned(), Some(value.to_string()))
}

fn layout_tag(layout: &Layout) -> Result<Tag, StoreError> {
    let text = serde_json::to_string(layout).map_err(|error| StoreError::unwritable("a file's layout", error))?;
    Ok(tag(LAYOUT_TAG, text))
}

/// The entry of a file with an index of its own.
pub(super) fn add_of(log: &TableLog, new: &NewFile, now: EpochMillis) -> Result<Add, StoreError> {
    let file = &new.file;
    let mut tags = BTreeMap::from([
        layout_tag(&file.layout)?,
        tag(INDEX_TAG, &new.index.path),
        tag(INDEX_SIZE_TAG, new.index.size),
    ]);
    if let Some(messages) = &file.messages {
        tags.extend([tag(MESSAGES_TAG, &messages.path), tag(MESSAGES_SIZE_TAG, messages.size)]);
    }
    tags.extend(file.threads.iter().map(|threads| tag(THREADS_TAG, threads.file.path())));
    let statistics = log_statistics(file.rows, &file.statistics);
    Ok(Add::new(name_in(log, file.path())?, file.parquet.size, &statistics, tags, now))
}

pub(super) fn add_of_threads(log: &TableLog, file: &DataFile, now: EpochMillis) -> Result<Add, StoreError> {
    let (statistics, tags) = (log_statistics(file.rows, &file.statistics), [layout_tag(&file.layout)?].into());
    Ok(Add::new(name_in(log, file.path())?, file.parquet.size, &statistics, tags, now))
}

pub(super) fn add_of_messages(log: &TableLog, new: &NewFile, now: EpochMillis) -> Result<Add, StoreError> {
    let (Some(file), Some(written)) = (&new.file.messages, &new.messages) else {
        return Err(StoreError::Bug(format!("{} is written without messages", new.file.path())));
    };
    let statistics = log_statistics(written.rows, &written.statistics);
    Ok(Add::new(name_in(log, &file.path)?, file.size, &statistics, BTreeMap::new(), now))
}

/// A file's path as its table's log has it.
fn name_in(log: &TableLog, path: &Path) -> Result<String, StoreError> {
    let name = path.prefix_match(log.root()).map(|parts| Path::from_iter(parts).to_string());
    name.ok_or_else(|| StoreError::Bug(format!("{path} is no file of {}", log.root())))
}

fn log_statistics(rows: u32, statistics: &BTreeMap<String, ColumnStatistics>) -> FileStatistics {
    let delta = DeltaStatistics::new(statistics);
    FileStatistics {
        num_records: u64::from(rows),
        min_values: delta.min_values,
        max_values: delta.max_values,
        null_count: delta.null_count.into_iter().filter_map(|(name, count)| Some((name, count.as_u64()?))).collect(),
        tight_bounds: true,
    }
}

fn entry<'a>(log: &'a TableLog, file: &Path) -> Result<&'a Add, StoreError> {
    let add = log.state().files.values().find(|add| log.file_path(&add.path) == *file);
    add.map(Arc::as_ref).ok_or_else(|| StoreError::Damaged(format!("{file} is not in the log of {}", log.root())))
}

pub(super) fn remove(log: &TableLog, file: &Path, now: EpochMillis) -> Result<Action, StoreError> {
    Ok(Action::Remove(entry(log, file)?.to_remove(now)))
}

/// A file is replaced by itself with another deletion vector, whose path `written` gets.
pub(super) async fn replace_deletions(
    environment: &Environment,
    log: &TableLog,
    file: &Path,
    deleted: &RoaringBitmap,
    written: &mut Vec<Path>,
    now: EpochMillis,
) -> Result<[Action; 2], StoreError> {
    let add = entry(log, file)?;
    let vector = deletion_vector::write(environment, log.root(), deleted).await;
    let vector = vector.map_err(|error| StoreError::caused("a deletion vector could not be written", error))?;
    written.extend(vector.as_ref().and_then(|vector| vector.file(log.root()).ok().flatten()));
    Ok(add.replace_deletions(vector, now))
}
