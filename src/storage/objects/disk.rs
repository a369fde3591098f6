//! A local folder on which what is put in place stays: staging, names, and fsyncs in their order.
//!
//! An object is written to `<root>/.staging/`, fsynced, put in place by a hard link (which never overwrites) or a
//! rename, and then its folder is fsynced, as are the folders above that are new. After a failed fsync of a folder
//! nobody knows what is on the disk, and a second fsync may falsely succeed, so every further write is then refused
//! until the folder is opened again. An fsync that could not be tried (no descriptor is free) is no such failure: it is
//! owed, and paid before anything else is written.
//!
//! Files and folders are the owner's alone (0600, 0700): they hold conversations and secrets.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use object_store::path::Path;
use object_store::{Error, PutPayload, Result};
use tokio::task::spawn_blocking;

use crate::environment::Ids;
use crate::storage::error::FailedFsync;

pub(super) const STAGING: &str = ".staging";
/// In errors.
const STORE: &str = "DurableLocalStore";
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Every open store holds it shared; whoever gets it exclusively is alone and may clear the staging folder.
const STAGING_LOCK: &str = "lock";

#[derive(Debug, thiserror::Error)]
#[error("the store folder {} cannot be opened: {source}", path.display())]
pub(crate) struct OpenFolderError {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
struct OnPath {
    path: String,
    source: io::Error,
}

/// What blocking tasks share.
pub(super) struct Disk {
    root: PathBuf,
    staging: PathBuf,
    /// Of the names of staged files; other processes stage in the same folder.
    ids: Ids,
    folders: Mutex<Folders>,
    /// The first failed fsync of a folder.
    broken: OnceLock<FailedFsync>,
    /// The shared lock on the staging folder: None as long as nothing could be written.
    staging_lock: Mutex<Option<File>>,
}

#[derive(Default)]
struct Folders {
    /// Folders whose own entry is known to be on the disk, held open: an fsync of one needs no free descriptor.
    durable: HashMap<PathBuf, Arc<File>>,
    /// Folders that got an entry whose fsync could not be tried yet.
    owed: BTreeSet<PathBuf>,
}

#[derive(Clone, Copy)]
pub(super) enum Placing {
    Create,
    Overwrite,
}

impl Disk {
    /// Creates the folder where it is missing. One that is there can be read also where nothing can be written, and
    /// what writing needs is tried again by the next write.
    pub(super) fn open(folder: &FilePath, ids: Ids) -> Result<Disk, OpenFolderError> {
        let failed = |source| OpenFolderError { path: folder.to_owned(), source };
        let fresh: Vec<PathBuf> =
            folder.ancestors().take_while(|path| !path.exists()).map(FilePath::to_owned).collect();
        make_folders(folder).map_err(failed)?;
        for parent in fresh.iter().filter_map(|path| path.parent()) {
            let parent = if parent.as_os_str().is_empty() { FilePath::new(".") } else { parent };
            sync_folder(parent).map_err(failed)?;
        }
        let root = folder.canonicalize().map_err(failed)?;
        let staging = root.join(STAGING);
        let held = Arc::new(File::open(&root).map_err(failed)?);
        let folders = Folders { durable: HashMap::from([(root.clone(), held)]), owed: BTreeSet::new() };
        let (folders, staging_lock) = (Mutex::new(folders), Mutex::new(None));
        let disk = Disk { root, staging, ids, folders, broken: OnceLock::new(), staging_lock };
        if let Err(error) = disk.prepare() {
            tracing::warn!(%error, "the store can't be written now");
        }
        Ok(disk)
    }

    /// What the first write needs: the staging folder, without leftovers of interrupted writes unless another process
    /// has the same folder open.
    fn prepare(&self) -> Result<()> {
        let mut lock = self.staging_lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.is_some() && self.staging.exists() {
            return Ok(());
        }
        let prepared = make_folders(&self.staging).and_then(|()| clear_staging(&self.staging));
        let prepared = prepared.map_err(|error| failure(&self.staging, error))?;
        self.sync_folder_of_entries(&self.root)?;
        *lock = Some(prepared);
        Ok(())
    }

    pub(super) fn root(&self) -> &FilePath {
        &self.root
    }

    pub(super) fn check_whole(&self) -> Result<()> {
        match self.broken.get() {
            None => Ok(()),
            Some(first) => Err(Error::Generic { store: STORE, source: first.clone().into() }),
        }
    }

    fn synced(&self, path: &FilePath, result: io::Result<()>) -> Result<()> {
        if let Err(error) = result {
            let _ = self.broken.set(FailedFsync::new(path.to_owned(), error));
        }
        self.check_whole()
    }

    pub(super) fn stage(&self) -> Result<Staged> {
        self.check_whole()?;
        self.prepare()?;
        self.pay_owed()?;
        let path = self.staging.join(self.ids.random().simple().to_string());
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(FILE_MODE).open(&path);
        let file = file.map_err(|error| failure(&path, error))?;
        Ok(Staged { path, file })
    }

    /// Fsyncs the staged file and gives it its name.
    pub(super) fn place(&self, staged: &Staged, target: &FilePath, placing: Placing) -> Result<()> {
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

    /// Before `LocalFileSystem` puts an object in place.
    pub(super) async fn make_room_for(self: &Arc<Self>, target: &FilePath) -> Result<()> {
        let (disk, target) = (Arc::clone(self), target.to_owned());
        blocking(move || {
            disk.check_whole()?;
            disk.pay_owed()?;
            disk.make_parents(&target)
        })
        .await
    }

    /// Fsyncs the folder of an entry that is new.
    pub(super) fn sync_entry(&self, target: &FilePath) -> Result<()> {
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
    pub(super) fn pay_owed(&self) -> Result<()> {
        let owed: Vec<PathBuf> = self.folders().owed.iter().cloned().collect();
        owed.iter().try_for_each(|folder| self.sync_folder_of_entries(folder))
    }

    /// Creates missing folders above `target`. A folder counts as durable only once this process has fsynced the folder
    /// it lies in: another thread may have created it a moment ago.
    pub(super) fn make_parents(&self, target: &FilePath) -> Result<()> {
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
pub(super) struct Staged {
    path: PathBuf,
    file: File,
}

impl Staged {
    /// `target` is named in errors.
    pub(super) fn write(&mut self, payload: &PutPayload, target: &FilePath) -> Result<()> {
        let written = payload.iter().try_for_each(|part| self.file.write_all(part));
        written.map_err(|error| failure(target, error))
    }

    pub(super) fn write_at(&self, payload: &PutPayload, mut offset: u64) -> Result<()> {
        for part in payload.iter() {
            self.file.write_all_at(part, offset).map_err(|error| failure(&self.path, error))?;
            offset += part.len() as u64;
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename there is nothing to remove. What stays by another error goes when the store is opened.
        let _ = fs::remove_file(&self.path);
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

pub(super) fn in_staging(location: &Path) -> bool {
    location.parts().next().is_some_and(|part| part.as_ref() == STAGING)
}

/// Those that are missing.
fn make_folders(folder: &FilePath) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)
}

fn sync_folder(folder: &FilePath) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

pub(super) fn failure(path: &FilePath, source: io::Error) -> Error {
    let text = path.display().to_string();
    match source.kind() {
        ErrorKind::NotFound => Error::NotFound { path: text, source: source.into() },
        ErrorKind::AlreadyExists => Error::AlreadyExists { path: text, source: source.into() },
        ErrorKind::PermissionDenied => Error::PermissionDenied { path: text, source: source.into() },
        _ => Error::Generic { store: STORE, source: OnPath { path: text, source }.into() },
    }
}

pub(super) async fn blocking<T: Send + 'static>(task: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(task).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(disk: &Disk, path: &str) -> Result<()> {
        let target = disk.root().join(path);
        disk.stage().and_then(|staged| disk.place(&staged, &target, Placing::Overwrite))
    }

    #[test]
    fn nothing_is_written_after_a_failed_fsync() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path(), Ids::system()).unwrap();
        let failed = disk.synced(folder.path(), Err(io::Error::other("input/output error")));
        assert!(failed.is_err());
        let refused = put(&disk, "a").unwrap_err().to_string();
        assert!(refused.contains("failed fsync") && refused.contains("input/output error"), "{refused}");
    }

    #[test]
    fn an_fsync_that_could_not_be_tried_is_owed_and_paid() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(folder.path(), Ids::system()).unwrap();
        put(&disk, "f/a").unwrap();
        let held = disk.folders().durable.remove(&disk.root.join("f")).unwrap();
        // Without a free descriptor the folder cannot be opened; a missing one stands for it here.
        fs::rename(folder.path().join("f"), folder.path().join("g")).unwrap();
        assert!(disk.sync_entry(&disk.root.join("f/a")).is_err());
        let refused = put(&disk, "b").unwrap_err().to_string();
        assert!(!refused.contains("failed fsync"), "{refused}");
        fs::rename(folder.path().join("g"), folder.path().join("f")).unwrap();
        put(&disk, "b").unwrap();
        assert!(disk.folders().owed.is_empty());
        drop(held);
    }
}
