//! What an operator sees of a store (contract A7): its files, what waits in memory, what was written again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use object_store::ObjectStore;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::cache::Held;
use crate::environment::Environment;
use crate::model::ids::EpochMillis;
use crate::model::time;
use crate::requests::Request;
use crate::storage::catalog::manifest::{Manifest, StoredFile, Table as StoredTable};
use crate::storage::erasures::{self, Erasure, Erasures};
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
    pub(crate) erasures: ErasureStatus,
    /// Of the server that answers.
    #[serde(flatten)]
    pub(crate) process: Option<Process>,
}

/// How far what was deleted is from being gone (contract A7).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErasureStatus {
    /// Of those that were asked for by `POST /erase`: not gone from every object yet,
    pub(crate) waiting: u64,
    /// and gone, as far as they are remembered.
    pub(crate) done: u64,
    /// Data files that hold rows of any deletion.
    pub(crate) files: u64,
    /// ISO 8601; since when the oldest deletion waits to be gone. None waits: absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oldest: Option<String>,
    /// When that one has to be gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<String>,
}

/// What a process that has the store open has done to it, and holds of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Process {
    pub(crate) work: WorkStatus,
    /// To the object store since its start, by kind.
    pub(crate) requests: BTreeMap<&'static str, u64>,
    pub(crate) caches: Caches,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Caches {
    pub(crate) memory: CacheStatus,
    /// Of a store by URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disk: Option<CacheStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct CacheStatus {
    pub(crate) bytes: u64,
    pub(crate) capacity: u64,
}

impl CacheStatus {
    fn of(cache: &dyn Held) -> CacheStatus {
        CacheStatus { bytes: cache.bytes(), capacity: cache.capacity() }
    }
}

impl Process {
    pub(super) fn of(environment: &Environment, work: WorkStatus) -> Process {
        let requests = Request::ALL.into_iter().map(|request| (request.name(), environment.requests.of(request)));
        let disk = environment.disk_cache.as_deref().map(CacheStatus::of);
        let caches = Caches { memory: CacheStatus::of(environment.cache.as_ref()), disk };
        Process { work, requests: requests.collect(), caches }
    }
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
pub(crate) struct Counted(Mutex<Option<(Instant, Count)>>);

/// All objects, at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count {
    by_kind: BTreeMap<&'static str, Objects>,
    done_erasures: u64,
}

/// Of a store that a server may have open: nothing is written, and no lock taken.
pub(crate) async fn of_store(environment: &Environment, location: &str) -> Result<StoreStatus, StoreError> {
    let state = recovery::read(environment, location, &mut Counters::new()).await?;
    let count = count(environment.objects.as_ref()).await?;
    let waiting = Erasures::new(environment.clone()).waiting().await?;
    let snapshot = state.snapshot(&environment.objects);
    let erasures = erasure_status(&snapshot, &waiting, count.done_erasures, None);
    Ok(StoreStatus { erasures, ..status(&snapshot, count, None) })
}

impl Counted {
    /// Counts at most every so often.
    pub(crate) async fn get(&self, store: &Arc<dyn ObjectStore>) -> Result<Count, StoreError> {
        let mut counted = self.0.lock().await;
        if let Some((at, count)) = counted.as_ref()
            && at.elapsed() < COUNTED_FOR
        {
            return Ok(count.clone());
        }
        let count = count(store.as_ref()).await?;
        *counted = Some((Instant::now(), count.clone()));
        Ok(count)
    }
}

/// What only a process that has the store open knows.
pub(super) struct Known<'a> {
    pub(super) count: Count,
    pub(super) waiting: &'a [Erasure],
    pub(super) erase_within: Option<Duration>,
    /// Why no changes are taken.
    pub(super) waiting_for: Option<String>,
    pub(super) process: Process,
}

/// Of a store that this process has open.
pub(super) fn of_process(snapshot: &Snapshot, known: Known<'_>) -> StoreStatus {
    let Known { count, waiting, erase_within, waiting_for, process } = known;
    let erasures = erasure_status(snapshot, waiting, count.done_erasures, erase_within);
    StoreStatus { erasures, process: Some(process), ..status(snapshot, count, waiting_for) }
}

fn erasure_status(snapshot: &Snapshot, waiting: &[Erasure], done: u64, within: Option<Duration>) -> ErasureStatus {
    let files = snapshot.manifest.tables.values().flat_map(|table| table.files.values());
    let in_files: Vec<EpochMillis> = files.filter_map(|file| Some(file.erased?.oldest.at)).collect();
    let asked_for = waiting.iter().map(|erasure| erasure.hidden_at);
    let oldest = in_files.iter().copied().chain(asked_for).chain(snapshot.oldest_erasure()).min();
    ErasureStatus {
        waiting: waiting.len() as u64,
        done,
        files: in_files.len() as u64,
        oldest: oldest.map(time::render),
        due: oldest.zip(within).map(|(oldest, within)| time::render(oldest.plus(within).min(EpochMillis(time::LAST)))),
    }
}

/// Without what a process adds, and without erasures.
fn status(snapshot: &Snapshot, count: Count, waiting_for: Option<String>) -> StoreStatus {
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
        objects: count.by_kind,
        tail,
        imports: imports.collect(),
        erasures: ErasureStatus::default(),
        process: None,
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

async fn count(store: &dyn ObjectStore) -> Result<Count, StoreError> {
    let mut counted = Count::default();
    let mut listed = store.list(None);
    let failed = |error| StoreError::caused("the objects could not be listed", error);
    while let Some(object) = listed.try_next().await.map_err(failed)? {
        counted.done_erasures += u64::from(erasures::is_done(&object.location));
        let of_kind = counted.by_kind.entry(kind(object.location.as_ref())).or_default();
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
        "erasures" => "erasures",
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
            ("erasures/done/0190", "erasures"),
            ("FORMAT", "other"),
            ("keys/0123.json", "other"),
        ];
        for (path, expected) in kinds {
            assert_eq!(kind(path), expected, "{path}");
        }
    }
}
