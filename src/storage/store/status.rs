//! What an operator sees of a store (contract A7): its files, what waits in memory, what was written again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use object_store::ObjectStore;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::environment::Environment;
use crate::model::time;
use crate::storage::catalog::manifest::{Manifest, StoredFile, Table as StoredTable};
use crate::storage::error::StoreError;
use crate::storage::format::table::{MESSAGES, Table};
use crate::storage::format::tables::for_each_table;
use crate::storage::read::snapshot::Snapshot;
use crate::storage::tail::Counters;
use crate::storage::write::recovery;
use crate::storage::write::work::WorkStatus;

/// The objects are counted anew after this long: that is a list of all of them.
const COUNTED_FOR: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoreStatus {
    /// Of the server.
    pub(crate) version: &'static str,
    /// None: ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) waiting_for: Option<String>,
    /// The number of the last commit, and when it was made.
    pub(crate) commit: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commit_time: Option<String>,
    /// By name.
    pub(crate) tables: BTreeMap<&'static str, TableStatus>,
    /// By what they are for.
    pub(crate) objects: BTreeMap<&'static str, Objects>,
    /// What is acknowledged and not in files yet.
    pub(crate) tail: Tail,
    /// By import id.
    pub(crate) imports: BTreeMap<String, Import>,
    /// Of the server that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) work: Option<WorkStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TableStatus {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// In files, deleted ones included.
    pub(crate) rows: u64,
    /// Of those; their files are written again without them once they are many. Absent of tables whose rows go with
    /// their conversations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deleted_rows: Option<u64>,
    /// Files by the number of merges behind them.
    pub(crate) levels: BTreeMap<u32, Level>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Level {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Objects {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Tail {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Import {
    pub(crate) lines: u64,
    pub(crate) finished: bool,
}

/// Keeps the last count.
#[derive(Default)]
pub(crate) struct Counted(Mutex<Option<(Instant, BTreeMap<&'static str, Objects>)>>);

/// Of a store that a server may have open: nothing is written, and no lock taken.
pub(crate) async fn of_store(environment: &Environment, location: &str) -> Result<StoreStatus, StoreError> {
    let state = recovery::read(environment, location, &mut Counters::new()).await?;
    let objects = count(environment.objects.as_ref()).await?;
    Ok(status(&state.snapshot(&environment.objects), objects, None, None))
}

impl Counted {
    /// Counts at most every so often.
    pub(crate) async fn get(
        &self,
        store: &Arc<dyn ObjectStore>,
    ) -> Result<BTreeMap<&'static str, Objects>, StoreError> {
        let mut counted = self.0.lock().await;
        if let Some((at, objects)) = counted.as_ref()
            && at.elapsed() < COUNTED_FOR
        {
            return Ok(objects.clone());
        }
        let objects = count(store.as_ref()).await?;
        *counted = Some((Instant::now(), objects.clone()));
        Ok(objects)
    }
}

/// `work` is that of the process that has the store open.
pub(crate) fn status(
    snapshot: &Snapshot,
    objects: BTreeMap<&'static str, Objects>,
    waiting_for: Option<String>,
    work: Option<WorkStatus>,
) -> StoreStatus {
    let manifest = &snapshot.manifest;
    let mut tail = Tail::default();
    for_each_table!(table in snapshot.tables.as_ref() => {
        let active = table.tail.active();
        let frozen = table.tail.frozen();
        tail.rows += (active.rows() + frozen.map_or(0, |frozen| frozen.rows())) as u64;
        tail.bytes += table.tail.bytes() as u64;
    });
    let imports = manifest.imports.iter().map(|(id, progress)| {
        (id.clone(), Import { lines: progress.progress.lines, finished: progress.progress.finished })
    });
    StoreStatus {
        version: env!("CARGO_PKG_VERSION"),
        waiting_for,
        commit: manifest.number.0,
        commit_time: manifest.time.map(time::render),
        tables: tables(manifest),
        objects,
        tail,
        imports: imports.collect(),
        work,
    }
}

fn tables(manifest: &Manifest) -> BTreeMap<&'static str, TableStatus> {
    let names = [
        Table::Conversations.name(),
        MESSAGES,
        Table::SemanticThreads.name(),
        Table::Events.name(),
        Table::Feedback.name(),
    ];
    let table = |name| (name, manifest.tables.get(name).map(|table| table_status(name, table)).unwrap_or_default());
    names.into_iter().map(table).collect()
}

fn table_status(name: &str, table: &StoredTable) -> TableStatus {
    let own_deletions = name != MESSAGES && name != Table::SemanticThreads.name();
    let mut status = TableStatus { deleted_rows: own_deletions.then_some(0), ..TableStatus::default() };
    for StoredFile { entry, deleted, .. } in table.files.values().map(Arc::as_ref) {
        let (bytes, rows) = (entry.size, u64::from(entry.rows));
        status.files += 1;
        status.bytes += bytes;
        status.rows += rows;
        status.deleted_rows = status.deleted_rows.map(|rows| rows + deleted.len());
        let level = status.levels.entry(entry.level).or_default();
        level.files += 1;
        level.bytes += bytes;
        level.rows += rows;
    }
    status
}

async fn count(store: &dyn ObjectStore) -> Result<BTreeMap<&'static str, Objects>, StoreError> {
    let mut counted: BTreeMap<&'static str, Objects> = BTreeMap::new();
    let mut listed = store.list(None);
    let failed = |error| StoreError::caused("the objects could not be listed", error);
    while let Some(object) = listed.try_next().await.map_err(failed)? {
        let of_kind = counted.entry(kind(object.location.as_ref())).or_default();
        of_kind.objects += 1;
        of_kind.bytes += object.size;
    }
    Ok(counted)
}

fn kind(path: &str) -> &'static str {
    let (folder, rest) = path.split_once('/').unwrap_or(("", path));
    match folder {
        "commits" | "checkpoints" => "commits",
        "wal" => "log",
        "sidecars" => "sidecars",
        "text_index" => "textIndexes",
        _ if rest.starts_with("data/") => "data",
        // What other engines read, made from the commits.
        _ if rest.starts_with("_delta_log/") || rest.starts_with("deletion_vector_") => "derived",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_a_kind() {
        let kinds = [
            ("commits/00000000000000000001", "commits"),
            ("checkpoints/00000000000000000100", "commits"),
            ("wal/00000000000000000001", "log"),
            ("conversations/data/0190.parquet", "data"),
            ("semantic_threads/_delta_log/00000000000000000000.json", "derived"),
            ("events/deletion_vector_0190.bin", "derived"),
            ("sidecars/0190.sidecar", "sidecars"),
            ("text_index/0190.text", "textIndexes"),
            ("FORMAT", "other"),
            ("keys/0123.json", "other"),
        ];
        for (path, expected) in kinds {
            assert_eq!(kind(path), expected, "{path}");
        }
    }
}
