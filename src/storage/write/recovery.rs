//! Opening a store for writing: the lock, the log's fence, the commit line, and the replay of what the log has beyond
//! the files; and opening one for reading, which writes nothing. Nothing is deleted: what a crash has left costs space, and what seems to be left may be somebody's only
//! copy.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path as FilePath;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path;

use super::replay::{self, Range};
use super::state::State;
use crate::environment::Environment;
use crate::model::ids::WalPosition;
use crate::storage::catalog::commit::{CommitNumber, Epoch};
use crate::storage::catalog::line::{CommitLine, CommitWriter, Evidence, Writer};
use crate::storage::catalog::manifest::Manifest;
use crate::storage::catalog::marker::{self, Marker, MarkerError, Purpose};
use crate::storage::catalog::opening::{data_folder, open_files};
use crate::storage::catalog::writing::{Catalog, layouts_of};
use crate::storage::error::StoreError;
use crate::storage::format::hex::StoreId;
use crate::storage::format::table::{MESSAGES, Table};
use crate::storage::format::tables::{Kind, PerTable, for_each_table};
use crate::storage::log::wal::{self, WalError};
use crate::storage::log::writer::{LogWriter, PATIENCE};
use crate::storage::objects::probe;
use crate::storage::tail::Counters;

const LOCK_FILE: &str = "LOCK";
/// Numbers that an older writer may take while this one puts its fence.
const FENCE_TRIES: u64 = 1_000;

pub(crate) struct Opened {
    pub(crate) environment: Environment,
    pub(crate) lock: Option<File>,
    pub(crate) marker: Marker,
    pub(crate) state: State,
    pub(crate) catalog: Catalog,
    pub(crate) writer: LogWriter,
    /// The first object of the log.
    pub(crate) log_begin: WalPosition,
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
    if let Some(url) = &environment.remote {
        reach(environment, url).await?;
        // Before the first write, and not among objects that are somebody else's.
        match marker::open(environment.objects.as_ref(), location, Purpose::Reading).await {
            Ok(_) | Err(MarkerError::Empty { .. }) => {}
            Err(error) => return Err(StoreError::caused("the store cannot be opened", error)),
        }
        let probed = probe::creates_once(environment.objects.as_ref(), url, environment.ids.random()).await;
        probed.map_err(|error| StoreError::caused("the store cannot be opened", error))?;
    }
    let new_store = StoreId(environment.ids.random().as_u128());
    let opened = marker::open(environment.objects.as_ref(), location, Purpose::Writing { new_store }).await;
    opened.map_err(|error| StoreError::caused("the store cannot be opened", error))
}

/// That the objects are a store's; nothing is written.
pub(crate) async fn read_marker(environment: &Environment, location: &str) -> Result<Marker, StoreError> {
    if let Some(url) = &environment.remote {
        reach(environment, url).await?;
    }
    let opened = marker::open(environment.objects.as_ref(), location, Purpose::Reading).await;
    opened.map_err(|error| StoreError::caused("the store cannot be opened", error))
}

async fn reach(environment: &Environment, url: &str) -> Result<(), StoreError> {
    let reached = probe::reach(environment.objects.as_ref(), url).await;
    reached.map_err(|error| StoreError::caused("the store cannot be opened", error))
}

/// Of a store, for errors.
pub(crate) fn location(environment: &Environment, local_root: Option<&FilePath>) -> String {
    let place = local_root.map(|root| root.display().to_string());
    let place = place.or_else(|| environment.remote.as_deref().map(str::to_owned));
    place.unwrap_or_else(|| "the object store".to_owned())
}

/// Takes the lock of a local store, then recovers.
pub(crate) async fn open(environment: Environment, local_root: Option<&FilePath>) -> Result<Opened, StoreError> {
    let lock = local_root.map(lock).transpose()?;
    let location = location(&environment, local_root);
    let opened = recover(environment, &location, Counters::new()).await?;
    Ok(Opened { lock, ..opened })
}

/// The store as its objects are now. Nobody is fenced, so a writer may go on behind it.
pub(crate) async fn read(
    environment: &Environment,
    location: &str,
    counters: &mut Counters,
) -> Result<State, StoreError> {
    let objects = environment.objects.as_ref();
    read_marker(environment, location).await?;
    let newest = newest_object(objects).await?;
    let manifest = read_line(environment, &newest).await?.manifest().clone();
    let position = newest.position.max(manifest.wal_position);
    let mut state = state_at(environment, manifest, counters, WalPosition(position.0 + 1)).await?;
    state.position = position;
    Ok(state)
}

/// The store as its objects are; whoever calls holds the lock where there is one.
pub(crate) async fn recover(
    environment: Environment,
    location: &str,
    mut counters: Counters,
) -> Result<Opened, StoreError> {
    let objects = environment.objects.as_ref();
    let marker = open_marker(&environment, location).await?;
    let newest = newest_object(objects).await?;
    let line = read_line(&environment, &newest).await?;
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

    let mut state = state_at(&environment, manifest, &mut counters, position).await?;
    state.position = position;
    let log_begin = newest.first.unwrap_or(position);
    Ok(Opened { environment, lock: None, marker, state, catalog, writer, log_begin, named_position, counters })
}

async fn read_line(environment: &Environment, newest: &Newest) -> Result<CommitLine, StoreError> {
    let evidence = Evidence { newest_known: newest.commit, data_folders: data_folders() };
    let opened = CommitLine::open(environment.objects.clone(), &evidence).await;
    opened.map_err(|error| StoreError::caused("the commits cannot be read", error))
}

/// The files of a commit, and what the log has beyond them, up to its position `end`.
async fn state_at(
    environment: &Environment,
    manifest: Arc<Manifest>,
    counters: &mut Counters,
    end: WalPosition,
) -> Result<State, StoreError> {
    let range = Range { after: manifest.wal_position, fence: end };
    let files = open_files(environment, &manifest, || counters.file()).await?;
    let layouts = layouts_of(&manifest);
    let mut state = State { manifest, ..State::default() };
    for_each_table!(table in state.tables.as_mut(), of_table in files, columns in layouts => {
        (table.files, table.columns) = (of_table, columns);
    });
    replay::replay(&environment.objects, &mut state, counters, range).await?;
    Ok(state)
}

/// What the newest object of the log tells of the store.
#[derive(Default)]
struct Newest {
    /// Of the oldest one.
    first: Option<WalPosition>,
    position: WalPosition,
    epoch: u64,
    commit: CommitNumber,
}

async fn newest_object(objects: &dyn ObjectStore) -> Result<Newest, StoreError> {
    let listed = wal::list(objects).await;
    let listed = listed.map_err(|error| StoreError::caused("the write-ahead log could not be listed", error))?;
    let Some(position) = listed.last().copied() else { return Ok(Newest::default()) };
    let header = replay::read_group(objects, position).await?.header;
    let first = listed.first().copied();
    Ok(Newest { first, position, epoch: header.epoch, commit: CommitNumber(header.newest_commit) })
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
pub(crate) fn lock(root: &FilePath) -> Result<File, StoreError> {
    let path = root.join(LOCK_FILE);
    let failed = |error: std::io::Error| StoreError::caused(path.display().to_string(), error);
    let file = open_lock(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Fenced(format!(
            "another process has the store {} open for writing; stop it first",
            root.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn open_lock(path: &FilePath) -> std::io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    options.open(path).or_else(|error| match error.kind() {
        // Where nothing can be written it still tells whether somebody else writes.
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied | ErrorKind::StorageFull => {
            File::open(path).map_err(|_| error)
        }
        _ => Err(error),
    })
}
