//! A local folder as an object store whose writes survive a crash.
//!
//! `object_store` 0.13 never fsyncs local writes. Here an object is written to `<root>/.staging/`, fsynced, put in
//! place by a hard link (which never overwrites) or a rename, and then its folder is fsynced, as are the folders above
//! that are new. After a failed fsync of a folder nobody knows what is on the disk, and a second fsync may falsely
//! succeed, so the store then refuses every further write until it is opened again. An fsync that could not be tried
//! (no descriptor is free) is no such failure: it is owed, and paid before anything else is written.
//!
//! Files and folders are the owner's alone (0600, 0700): they hold conversations and secrets.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, future};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use tokio::task::spawn_blocking;
use url::Url;
use uuid::Uuid;

const STAGING: &str = ".staging";
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Every open store holds it shared; whoever gets it exclusively is alone and may clear the staging folder.
const STAGING_LOCK: &str = "lock";

#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenStoreError {
    #[error("the store {url} needs a build with remote stores")]
    Remote { url: String },
    #[error("the store {url} has the unknown scheme {scheme:?}; a folder, file:// or memory:// is needed")]
    Scheme { url: String, scheme: String },
    #[error("the store {url} is not a valid url: {reason}")]
    Url { url: String, reason: String },
    #[error("the store folder {} cannot be opened: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("the store folder {} cannot be opened: {source}", path.display())]
    Store { path: PathBuf, source: Error },
}

/// Opens a store by its URL, or by a local folder's path; the folder is created. Also gives the folder of a local one.
pub(crate) fn open_store(url_or_folder: &str) -> Result<(Arc<dyn ObjectStore>, Option<PathBuf>), OpenStoreError> {
    let folder = if url_or_folder.contains("://") {
        let owned = || url_or_folder.to_owned();
        let url = Url::parse(url_or_folder)
            .map_err(|error| OpenStoreError::Url { url: owned(), reason: error.to_string() })?;
        match url.scheme() {
            "file" => url.to_file_path().map_err(|()| OpenStoreError::Url {
                url: owned(),
                reason: "it does not name a local folder".to_owned(),
            })?,
            "memory" => return Ok((Arc::new(InMemory::new()), None)),
            "s3" | "s3a" | "gs" | "az" | "azure" | "abfs" | "abfss" | "adl" | "http" | "https" => {
                return Err(OpenStoreError::Remote { url: owned() });
            }
            scheme => return Err(OpenStoreError::Scheme { url: owned(), scheme: scheme.to_owned() }),
        }
    } else {
        PathBuf::from(url_or_folder)
    };
    let store = DurableLocalStore::open(&folder)?;
    let root = store.root().to_owned();
    Ok((Arc::new(store), Some(root)))
}

pub(crate) struct DurableLocalStore {
    disk: Arc<Disk>,
    reads: LocalFileSystem,
}

/// What blocking tasks share.
struct Disk {
    root: PathBuf,
    staging: PathBuf,
    folders: Mutex<Folders>,
    /// The first failed fsync of a folder.
    broken: OnceLock<String>,
    /// Keeps the shared lock on the staging folder.
    _lock: File,
}

#[derive(Default)]
struct Folders {
    /// Folders whose own entry is known to be on the disk, held open: an fsync of one needs no free descriptor.
    durable: HashMap<PathBuf, Arc<File>>,
    /// Folders that got an entry whose fsync could not be tried yet.
    owed: BTreeSet<PathBuf>,
}

impl DurableLocalStore {
    /// Creates the folder where it is missing, and removes leftovers of interrupted writes unless another process has
    /// the same folder open.
    pub(crate) fn open(folder: impl AsRef<FilePath>) -> Result<Self, OpenStoreError> {
        let folder = folder.as_ref();
        let failed = |source| OpenStoreError::Folder { path: folder.to_owned(), source };
        let fresh: Vec<PathBuf> =
            folder.ancestors().take_while(|path| !path.exists()).map(FilePath::to_owned).collect();
        make_folders(folder).map_err(failed)?;
        for parent in fresh.iter().filter_map(|path| path.parent()) {
            let parent = if parent.as_os_str().is_empty() { FilePath::new(".") } else { parent };
            sync_folder(parent).map_err(failed)?;
        }
        let root = folder.canonicalize().map_err(failed)?;
        let staging = root.join(STAGING);
        make_folders(&staging).map_err(failed)?;
        let lock = clear_staging(&staging).map_err(failed)?;
        sync_folder(&root).map_err(failed)?;
        let reads = LocalFileSystem::new_with_prefix(&root)
            .map_err(|source| OpenStoreError::Store { path: root.clone(), source })?;
        let held = Arc::new(File::open(&root).map_err(failed)?);
        let folders = Folders { durable: HashMap::from([(root.clone(), held)]), owed: BTreeSet::new() };
        let folders = Mutex::new(folders);
        let disk = Arc::new(Disk { root, staging, folders, broken: OnceLock::new(), _lock: lock });
        Ok(Self { disk, reads })
    }

    pub(crate) fn root(&self) -> &FilePath {
        &self.disk.root
    }

    fn file_path(&self, location: &Path) -> Result<PathBuf> {
        if in_staging(location) {
            return Err(failure(&self.disk.staging, io::Error::other("the staging folder holds no objects")));
        }
        self.reads.path_to_filesystem(location)
    }

    /// Fsyncs the folder of an object that [`LocalFileSystem`] put in place.
    async fn sync_parent_of(&self, target: PathBuf) -> Result<()> {
        let disk = Arc::clone(&self.disk);
        blocking(move || disk.sync_entry(&target)).await
    }
}

fn clear_staging(staging: &FilePath) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let lock = options.create(true).truncate(false).write(true).mode(FILE_MODE).open(staging.join(STAGING_LOCK))?;
    match lock.try_lock() {
        Ok(()) => {
            for entry in fs::read_dir(staging)? {
                let entry = entry?;
                if entry.file_name() != STAGING_LOCK {
                    fs::remove_file(entry.path())?;
                }
            }
            lock.unlock()?;
        }
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(error),
    }
    lock.lock_shared()?;
    Ok(lock)
}

fn in_staging(location: &Path) -> bool {
    location.parts().next().is_some_and(|part| part.as_ref() == STAGING)
}

/// Those that are missing.
fn make_folders(folder: &FilePath) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)
}

fn sync_folder(folder: &FilePath) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn failure(path: &FilePath, source: io::Error) -> Error {
    let text = path.display().to_string();
    match source.kind() {
        ErrorKind::NotFound => Error::NotFound { path: text, source: source.into() },
        ErrorKind::AlreadyExists => Error::AlreadyExists { path: text, source: source.into() },
        ErrorKind::PermissionDenied => Error::PermissionDenied { path: text, source: source.into() },
        kind => Error::Generic {
            store: "DurableLocalStore",
            source: io::Error::new(kind, format!("{text}: {source}")).into(),
        },
    }
}

async fn blocking<T: Send + 'static>(task: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(task).await?
}

#[derive(Clone, Copy)]
enum Placing {
    Create,
    Overwrite,
}

impl Disk {
    fn check_whole(&self) -> Result<()> {
        match self.broken.get() {
            None => Ok(()),
            Some(first) => Err(Error::Generic {
                store: "DurableLocalStore",
                source: format!("no writes after a failed fsync ({first}); open the store again").into(),
            }),
        }
    }

    fn synced(&self, path: &FilePath, result: io::Result<()>) -> Result<()> {
        result.map_err(|error| {
            let _ = self.broken.set(format!("{}: {error}", path.display()));
            failure(path, error)
        })
    }

    fn stage(&self) -> Result<Staged> {
        self.check_whole()?;
        self.pay_owed()?;
        let path = self.staging.join(Uuid::new_v4().simple().to_string());
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(FILE_MODE).open(&path);
        let file = file.map_err(|error| failure(&path, error))?;
        Ok(Staged { path, file })
    }

    /// Fsyncs the staged file and gives it its name.
    fn place(&self, staged: &Staged, target: &FilePath, placing: Placing) -> Result<()> {
        self.check_whole()?;
        // If it fails, the file never gets its name: nothing is in doubt.
        staged.file.sync_all().map_err(|error| failure(target, error))?;
        self.make_parents(target)?;
        let put = || match placing {
            Placing::Create => fs::hard_link(&staged.path, target),
            Placing::Overwrite => fs::rename(&staged.path, target),
        };
        let mut outcome = put();
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            // Somebody removed the folder since it was made.
            self.folders().durable.retain(|folder, _| *folder == self.root);
            self.make_parents(target)?;
            outcome = put();
        }
        outcome.map_err(|error| failure(target, error))?;
        self.sync_entry(target)
    }

    /// Before [`LocalFileSystem`] puts an object in place.
    async fn make_room_for(self: &Arc<Self>, target: &FilePath) -> Result<()> {
        let (disk, target) = (Arc::clone(self), target.to_owned());
        blocking(move || {
            disk.check_whole()?;
            disk.pay_owed()?;
            disk.make_parents(&target)
        })
        .await
    }

    /// Fsyncs the folder of an entry that is new.
    fn sync_entry(&self, target: &FilePath) -> Result<()> {
        self.sync_folder_of_entries(target.parent().unwrap_or(&self.root))
    }

    fn sync_folder_of_entries(&self, folder: &FilePath) -> Result<()> {
        let known = self.folders().durable.get(folder).cloned();
        let opened = match known {
            Some(held) => Ok(held),
            None => File::open(folder).map(Arc::new),
        };
        match opened {
            Ok(held) => {
                self.synced(folder, held.sync_all())?;
                self.folders().owed.remove(folder);
                Ok(())
            }
            Err(error) => {
                self.folders().owed.insert(folder.to_owned());
                Err(failure(folder, error))
            }
        }
    }

    /// Fsyncs what could not be fsynced when it was due. Who finds an own object in place after a failed write relies
    /// on it: the object is durable once a later write has passed here.
    fn pay_owed(&self) -> Result<()> {
        let owed: Vec<PathBuf> = self.folders().owed.iter().cloned().collect();
        owed.iter().try_for_each(|folder| self.sync_folder_of_entries(folder))
    }

    /// Creates missing folders above `target`. A folder counts as durable only once this process has fsynced the folder
    /// it lies in: another thread may have created it a moment ago.
    fn make_parents(&self, target: &FilePath) -> Result<()> {
        let Some(parent) = target.parent() else { return Ok(()) };
        if self.folders().durable.contains_key(parent) {
            return Ok(());
        }
        make_folders(parent).map_err(|error| failure(parent, error))?;
        let above: Vec<&FilePath> = parent.ancestors().take_while(|folder| *folder != self.root).collect();
        for folder in above.iter().rev() {
            if self.folders().durable.contains_key(*folder) {
                continue;
            }
            let held = Arc::new(File::open(folder).map_err(|error| failure(folder, error))?);
            self.sync_entry(folder)?;
            self.folders().durable.insert((*folder).to_owned(), held);
        }
        Ok(())
    }

    fn folders(&self) -> std::sync::MutexGuard<'_, Folders> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file in the staging folder, which goes when this goes (a hard link to it stays).
struct Staged {
    path: PathBuf,
    file: File,
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename there is nothing to remove. What stays by another error goes when the store is opened.
        let _ = fs::remove_file(&self.path);
    }
}

impl fmt::Debug for DurableLocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableLocalStore").field("root", &self.disk.root).finish_non_exhaustive()
    }
}

impl fmt::Display for DurableLocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableLocalStore({})", self.disk.root.display())
    }
}

fn not_implemented<T>(operation: &str) -> Result<T> {
    Err(Error::NotImplemented { operation: operation.to_owned(), implementer: "DurableLocalStore".to_owned() })
}

#[async_trait]
impl ObjectStore for DurableLocalStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let placing = match options.mode {
            PutMode::Create => Placing::Create,
            PutMode::Overwrite => Placing::Overwrite,
            PutMode::Update(_) => return not_implemented("`put_opts` with mode `PutMode::Update`"),
        };
        if !options.attributes.is_empty() {
            return not_implemented("`put_opts` with attributes");
        }
        let target = self.file_path(location)?;
        let disk = Arc::clone(&self.disk);
        blocking(move || {
            let mut staged = disk.stage()?;
            payload.iter().try_for_each(|part| staged.file.write_all(part)).map_err(|error| failure(&target, error))?;
            disk.place(&staged, &target, placing)
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    /// Completing fails with `AlreadyExists` where an object of that name exists; it is never overwritten.
    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() {
            return not_implemented("`put_multipart_opts` with attributes");
        }
        let target = self.file_path(location)?;
        let disk = Arc::clone(&self.disk);
        let staged = blocking({
            let disk = Arc::clone(&disk);
            move || disk.stage()
        })
        .await?;
        Ok(Box::new(DurableUpload { disk, target, staged: Some(Arc::new(staged)), length: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.reads.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.reads.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.reads.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        without_staging(self.reads.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        without_staging(self.reads.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut result = self.reads.list_with_delimiter(prefix).await?;
        result.common_prefixes.retain(|path| !in_staging(path));
        result.objects.retain(|object| !in_staging(&object.location));
        Ok(result)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let (source, target) = (self.file_path(from)?, self.file_path(to)?);
        if matches!(options.mode, CopyMode::Create) {
            let disk = Arc::clone(&self.disk);
            return blocking(move || {
                disk.check_whole()?;
                disk.pay_owed()?;
                fs::metadata(&source).map_err(|error| failure(&source, error))?;
                disk.make_parents(&target)?;
                fs::hard_link(&source, &target).map_err(|error| failure(&target, error))?;
                disk.sync_entry(&target)
            })
            .await;
        }
        self.disk.make_room_for(&target).await?;
        self.reads.copy_opts(from, to, options).await?;
        self.sync_parent_of(target).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let (source, target) = (self.file_path(from)?, self.file_path(to)?);
        self.disk.make_room_for(&target).await?;
        self.reads.rename_opts(from, to, options).await?;
        self.sync_parent_of(target).await?;
        self.sync_parent_of(source).await
    }
}

fn without_staging(objects: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    let visible = |object: &Result<ObjectMeta>| object.as_ref().map_or(true, |object| !in_staging(&object.location));
    objects.filter(move |object| future::ready(visible(object))).boxed()
}

struct DurableUpload {
    disk: Arc<Disk>,
    target: PathBuf,
    /// None once completed or aborted.
    staged: Option<Arc<Staged>>,
    length: u64,
}

impl fmt::Debug for DurableUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableUpload").field("target", &self.target).finish_non_exhaustive()
    }
}

impl DurableUpload {
    fn ended(&self) -> Error {
        failure(&self.target, io::Error::other("the upload is already completed or aborted"))
    }
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(staged) = self.staged.clone() else { return future::ready(Err(self.ended())).boxed() };
        let mut offset = self.length;
        self.length += data.content_length() as u64;
        blocking(move || {
            for part in data.iter() {
                staged.file.write_all_at(part, offset).map_err(|error| failure(&staged.path, error))?;
                offset += part.len() as u64;
            }
            Ok(())
        })
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let staged = self.staged.take().ok_or_else(|| self.ended())?;
        let (disk, target) = (Arc::clone(&self.disk), self.target.clone());
        blocking(move || disk.place(&staged, &target, Placing::Create)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        self.staged.take().map(drop).ok_or_else(|| self.ended())
    }
}

#[cfg(test)]
mod tests;
