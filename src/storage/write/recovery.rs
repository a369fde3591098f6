//! Opening a store for writing: the lock, the log's fence, the commit line, and the replay of what the log has beyond
//! the files. Nothing is deleted: what a crash has left costs space, and what seems to be left may be somebody's only
//! copy.

use std::path::{Path as FilePath, PathBuf};

use object_store::ObjectStore;
use object_store::path::Path;

use super::replay::{self, Range};
use super::state::State;
use crate::environment::Environment;
use crate::model::ids::WalPosition;
use crate::storage::catalog::commit::{CommitNumber, Epoch};
use crate::storage::catalog::line::{CommitLine, CommitWriter, Evidence, Writer};
use crate::storage::catalog::manifest::Manifest;
use crate::storage::catalog::marker::{self, Marker, Purpose};
use crate::storage::catalog::opening::{data_folder, open_files};
use crate::storage::catalog::writing::Catalog;
use crate::storage::error::StoreError;
use crate::storage::format::hex::StoreId;
use crate::storage::format::table::{MESSAGES, Table};
use crate::storage::format::tables::{Kind, PerTable, for_each_table};
use crate::storage::log::wal::{self, WalError};
use crate::storage::log::writer::{LogWriter, PATIENCE};
use crate::storage::tail::Counters;

const LOCK_FILE: &str = "LOCK";
/// Numbers that an older writer may take while this one puts its fence.
const FENCE_TRIES: u64 = 1_000;

pub(crate) struct Opened {
    pub(crate) environment: Environment,
    pub(crate) local_root: Option<PathBuf>,
    pub(crate) lock: Option<std::fs::File>,
    pub(crate) marker: Marker,
    pub(crate) state: State,
    pub(crate) catalog: Catalog,
    pub(crate) writer: LogWriter,
    /// What the files held as of the commit that the fence names.
    pub(crate) named_position: WalPosition,
    pub(crate) counters: Counters,
}

/// Folders of the tables' data files.
pub(crate) fn data_folders() -> Vec<Path> {
    let mut folders = vec![data_folder(MESSAGES), data_folder(Table::SemanticThreads.name())];
    for_each_table!(kind in PerTable::<Kind>::default() => folders.push(data_folder(kind.name())));
    folders
}

/// That the objects are a store's. Is there nothing yet, they become one. `location` is for errors.
pub(crate) async fn open_marker(environment: &Environment, location: &str) -> Result<Marker, StoreError> {
    let new_store = StoreId(environment.ids.random().as_u128());
    let opened = marker::open(environment.objects.as_ref(), location, Purpose::Writing { new_store }).await;
    opened.map_err(|error| StoreError::caused("the store cannot be opened", error))
}

/// Takes the lock of a local store, then recovers.
pub(crate) async fn open(environment: Environment, local_root: Option<PathBuf>) -> Result<Opened, StoreError> {
    let location = local_root.as_ref().map_or("the object store".to_owned(), |root| root.display().to_string());
    let lock = local_root.as_deref().map(lock).transpose()?;
    let opened = recover(environment, &location).await?;
    Ok(Opened { local_root, lock, ..opened })
}

/// The store as its objects are; whoever calls holds the lock where there is one.
pub(crate) async fn recover(environment: Environment, location: &str) -> Result<Opened, StoreError> {
    let objects = environment.objects.as_ref();
    let marker = open_marker(&environment, location).await?;
    let newest = newest_object(objects).await?;
    let evidence = Evidence { newest_known: newest.commit, data_folders: data_folders() };
    let opened = CommitLine::open(environment.objects.clone(), &evidence).await;
    let line = opened.map_err(|error| StoreError::caused("the commits cannot be read", error))?;
    let Manifest { number, epoch, wal_position: named_position, .. } = *line.manifest().as_ref();

    // The clock keeps the epochs rising also where old log objects are gone.
    let epoch = (newest.epoch.max(epoch.0) + 1).max(u64::try_from(environment.now().0).unwrap_or(0));
    let mut writer = LogWriter::new(environment.ids.random(), epoch);
    writer.knows_commit(number.0);
    let free = WalPosition(newest.position.max(named_position).0 + 1);
    let position = put_fence(objects, &mut writer, epoch, free).await?;
    // From here on older writers acknowledge nothing; from the first commit on they commit nothing.
    let committing = Writer { id: writer.writer_id().to_owned(), epoch: Epoch(epoch), patience: PATIENCE };
    let begun = CommitWriter::begin(line, committing, environment.now()).await;
    let line = begun.map_err(|error| StoreError::caused("the first commit failed", error))?;
    let catalog = Catalog::new(&environment, line);
    let manifest = catalog.manifest().clone();
    writer.knows_commit(manifest.number.0);

    let mut counters = Counters::new();
    let files = open_files(&environment, &manifest, || counters.file()).await?;
    let mut state = State { manifest: manifest.clone(), ..State::default() };
    for_each_table!(table in state.tables.as_mut(), of_table in files, columns in catalog.layouts() => {
        (table.files, table.columns) = (of_table, columns);
    });
    let range = Range { after: manifest.wal_position, fence: position };
    replay::replay(&environment.objects, &mut state, &mut counters, range).await?;
    state.position = position;
    let (local_root, lock) = (None, None);
    Ok(Opened { environment, local_root, lock, marker, state, catalog, writer, named_position, counters })
}

/// What the newest object of the log tells of the store.
#[derive(Default)]
struct Newest {
    position: WalPosition,
    epoch: u64,
    commit: CommitNumber,
}

async fn newest_object(objects: &dyn ObjectStore) -> Result<Newest, StoreError> {
    let listed = wal::list(objects).await;
    let listed = listed.map_err(|error| StoreError::caused("the write-ahead log could not be listed", error))?;
    let Some(position) = listed.last().copied() else { return Ok(Newest::default()) };
    let header = replay::read_group(objects, position).await?.header;
    Ok(Newest { position, epoch: header.epoch, commit: CommitNumber(header.newest_commit) })
}

/// At the first number from `free` on that no older writer takes.
async fn put_fence(
    objects: &dyn ObjectStore,
    writer: &mut LogWriter,
    own_epoch: u64,
    free: WalPosition,
) -> Result<WalPosition, StoreError> {
    for position in (free.0..free.0 + FENCE_TRIES).map(WalPosition) {
        let fence = writer.object(position, &[]).map_err(|error| StoreError::caused("a log object", error))?;
        match fence.put(objects, PATIENCE).await {
            Ok(()) => return Ok(position),
            Err(WalError::Fenced { epoch, .. }) if epoch < own_epoch => {}
            Err(error @ WalError::Fenced { .. }) => {
                return Err(StoreError::Fenced(format!("another process has opened the store: {error}")));
            }
            Err(error) => return Err(StoreError::caused("the write-ahead log cannot be written", error)),
        }
    }
    Err(StoreError::Fenced("another process writes the store; stop it first".into()))
}

/// One writing process per local store; the operating system frees the lock when the process ends, however it ends.
fn lock(root: &FilePath) -> Result<std::fs::File, StoreError> {
    let path = root.join(LOCK_FILE);
    let failed = |error: std::io::Error| StoreError::caused(path.display().to_string(), error);
    std::fs::create_dir_all(root).map_err(failed)?;
    let file = std::fs::File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Fenced(format!(
            "another process has the store {} open for writing; stop it first",
            root.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}
