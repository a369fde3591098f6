//! Deletes what no commit names any more: files that merges replaced, what crashed writers left, and the part of the
//! commit line that no start needs.
//!
//! Nothing goes before a grace period is over: neither what a commit has taken out of the store within it, nor an object
//! that was made within it, which may be on its way into a commit. Nor what one of the newest commits names, as long as
//! the deadline of erasures allows it, or what a reader of this process still holds. A writer that was overtaken knows too little to delete anything, so the line's
//! end is looked up anew each time. What was never in a commit is only believed to be left over while there is little
//! of it: much of it means that the commits are not those of these files.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStoreExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;
use crate::model::ids::EpochMillis;
use crate::storage::catalog::commit::{CommitNumber, FileId};
use crate::storage::catalog::error::CatalogError;
use crate::storage::catalog::line::{old_objects, read_commit};
use crate::storage::catalog::manifest::Manifest;
use crate::storage::error::StoreError;
use crate::storage::format::data_file::DataFile;
use crate::storage::format::sidecar::file::FOLDER as SIDECARS;

use crate::storage::format::text_index::file::FOLDER as TEXT_INDEXES;
use crate::storage::read::snapshot::Snapshot;
use crate::storage::readiness::Readiness;
use crate::storage::write::recovery::data_folders;
use crate::storage::write::work::Work;

/// From one look to the next.
const LOOK_EVERY: Duration = Duration::from_secs(300);
/// Of the newest commits: what they name stays, whatever their time.
const KEPT_COMMITS: u64 = 10;
/// Of sound checkpoints.
const KEPT_CHECKPOINTS: usize = 3;
/// Objects that were in no commit: so many may go at once,
const LEFTOVERS: usize = 64;
/// or so many of a hundred of all.
const LEFTOVER_PERCENT: usize = 10;

/// Files that have left their tables while somebody may still read them.
#[derive(Default)]
pub(crate) struct Retired(Mutex<Vec<Weak<DataFile>>>);

impl Retired {
    pub(crate) fn add(&self, file: &Arc<DataFile>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(file));
    }

    /// Those that are in use.
    fn in_use(&self) -> BTreeSet<FileId> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.retain(|file| file.strong_count() > 0);
        files.iter().filter_map(Weak::upgrade).map(|file| file.id).collect()
    }
}

pub(crate) struct Collector {
    pub(crate) environment: Environment,
    pub(crate) published: Arc<ArcSwap<Snapshot>>,
    pub(crate) readiness: watch::Receiver<Readiness>,
    pub(crate) retired: Arc<Retired>,
    pub(crate) work: Arc<Work>,
    /// Higher than those of all files that were there when this process opened the store.
    pub(crate) first_own: FileId,
    pub(crate) grace: Duration,
    /// What has left its table goes after this time even if one of the newest commits names it: it may hold what was
    /// erased.
    pub(crate) longest: Duration,
    /// However much was in no commit: somebody has looked and said so.
    pub(crate) all_leftovers: bool,
    pub(crate) stop: CancellationToken,
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Collected {
    pub(crate) objects: usize,
    pub(crate) bytes: u64,
}

impl Collector {
    /// Runs to the stop.
    pub(crate) async fn run(self) {
        let every = LOOK_EVERY.min(self.grace.max(Duration::from_secs(1))).min(self.longest);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
            // Who cannot write may not know what another has written.
            if *self.readiness.borrow() != Readiness::Ready {
                continue;
            }
            match self.collect().await {
                Ok(Collected { objects: 0, .. }) => {}
                Ok(Collected { objects, bytes }) => tracing::info!(objects, bytes, "old objects are deleted"),
                Err(error) => tracing::warn!(%error, "old objects were not deleted; tried again later"),
            }
        }
    }

    pub(crate) async fn collect(&self) -> Result<Collected, StoreError> {
        let manifest = self.published.load().manifest.clone();
        let now = self.environment.now();
        let before = now.minus(self.grace.min(self.longest));
        let Some(condemned) = self.condemned(&manifest, before, now.minus(self.longest)).await? else {
            return Ok(Collected::default());
        };
        let mut collected = Collected::default();
        let (old, all) = self.old_files(&manifest, &condemned, before).await?;
        let leftovers = old.iter().filter(|object| !condemned.before.contains(&object.file)).count();
        if !self.all_leftovers && leftovers > LEFTOVERS && leftovers * 100 > all * LEFTOVER_PERCENT {
            let reason = format!("{leftovers} of {all} objects are in no commit that is left");
            return Err(StoreError::Damaged(format!(
                "{reason}; nothing is deleted, since that is more than a crash leaves. If they are rightly left over, stop the \
                 server and run `convolake gc --yes`"
            )));
        }
        for object in old {
            self.delete(&object.meta, &mut collected).await?;
        }
        let objects = self.environment.objects.as_ref();
        let old = old_objects(objects, KEPT_CHECKPOINTS).await.map_err(unread)?;
        for path in old {
            match objects.head(&path).await {
                Ok(meta) if modified(&meta) < before => self.delete(&meta, &mut collected).await?,
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(StoreError::caused(path.to_string(), error)),
            }
        }
        Ok(collected)
    }

    async fn delete(&self, object: &ObjectMeta, collected: &mut Collected) -> Result<(), StoreError> {
        match self.environment.objects.delete(&object.location).await {
            Ok(()) => {
                self.work.collected(1, object.size);
                collected.objects += 1;
                collected.bytes += object.size;
                Ok(())
            }
            Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(StoreError::caused(format!("{} could not be deleted", object.location), error)),
        }
    }

    /// Files that commits have taken out, by whether that was long enough ago. None while a commit of one's own is not
    /// shown yet.
    async fn condemned(
        &self,
        manifest: &Manifest,
        before: EpochMillis,
        long_before: EpochMillis,
    ) -> Result<Option<Condemned>, StoreError> {
        let objects = self.environment.objects.as_ref();
        match read_commit(objects, manifest.number.next()).await.map_err(unread)? {
            None => {}
            Some((next, _)) if next.epoch == manifest.epoch => return Ok(None),
            Some(_) => return Err(StoreError::Fenced("another process writes the store".to_owned())),
        }
        let mut condemned = Condemned::default();
        let mut number = manifest.number;
        while number > CommitNumber(0) {
            // Older ones are deleted already.
            let Some((commit, _)) = read_commit(objects, number).await.map_err(unread)? else { break };
            let removed = commit.tables.values().flat_map(|table| table.remove.iter().copied());
            let is_new = manifest.number.0 - number.0 < KEPT_COMMITS && commit.time >= long_before;
            let recent = is_new || commit.time >= before;
            if recent {
                condemned.recently.extend(removed);
            } else {
                condemned.before.extend(removed);
            }
            number = CommitNumber(number.0 - 1);
        }
        Ok(Some(condemned))
    }

    /// And how many there are, old or not.
    async fn old_files(
        &self,
        manifest: &Manifest,
        condemned: &Condemned,
        before: EpochMillis,
    ) -> Result<(Vec<Object>, usize), StoreError> {
        let in_use = self.retired.in_use();
        let named = |id: &FileId| manifest.tables.values().any(|table| table.files.contains_key(id));
        let (mut old, mut all) = (Vec::new(), 0);
        for object in list_objects(&self.environment).await? {
            let Object { file, meta } = &object;
            all += 1;
            let is_condemned = condemned.before.contains(file);
            let in_doubt = *file >= self.first_own && !is_condemned;
            let stays = named(file) || in_doubt || condemned.recently.contains(file) || in_use.contains(file);
            if !stays && (is_condemned || modified(meta) < before) {
                old.push(object);
            }
        }
        Ok((old, all))
    }
}

#[derive(Default)]
struct Condemned {
    before: BTreeSet<FileId>,
    recently: BTreeSet<FileId>,
}

/// An object of a file: its data, its siblings', what finds its rows and texts.
struct Object {
    file: FileId,
    meta: ObjectMeta,
}

/// All that belong to a file, whether a commit names it or not.
async fn list_objects(environment: &Environment) -> Result<Vec<Object>, StoreError> {
    let mut objects = Vec::new();
    for folder in data_folders().into_iter().chain([SIDECARS, TEXT_INDEXES].map(Path::from)) {
        let listed = environment.objects.list(Some(&folder)).try_collect().await;
        let listed: Vec<ObjectMeta> =
            listed.map_err(|error| StoreError::caused(format!("{folder} could not be listed"), error))?;
        objects.extend(listed.into_iter().filter_map(|meta| Some(Object { file: file_of(&meta.location)?, meta })));
    }
    Ok(objects)
}

/// The files that there are objects of.
pub(crate) async fn list_files(environment: &Environment) -> Result<BTreeSet<FileId>, StoreError> {
    Ok(list_objects(environment).await?.into_iter().map(|object| object.file).collect())
}

fn unread(error: CatalogError) -> StoreError {
    StoreError::caused("the commits cannot be read", error)
}

fn modified(object: &ObjectMeta) -> EpochMillis {
    EpochMillis(object.last_modified.timestamp_millis())
}

/// An object's name begins with its file's id. None of one that is not named so.
fn file_of(path: &Path) -> Option<FileId> {
    let name = path.filename()?;
    FileId::try_from(name.split('.').next()?.to_owned()).ok()
}
