//! Reading the line, and whether it is all there.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::storage::catalog::checkpoint;
use crate::storage::catalog::commit::{self, Commit, CommitNumber};
use crate::storage::catalog::error::{CatalogError, read_object};
use crate::storage::catalog::manifest::Manifest;
use crate::storage::format::hex::Checksum;

/// Commits read at once, and numbers tried after a free one.
const WINDOW: u64 = 16;
/// A start begins anew so often when checkpoints replace what it reads.
const TRIES: u32 = 3;

/// What is known from elsewhere of how far the line goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// The newest commit that an object of the write-ahead log names.
    pub(crate) newest_known: CommitNumber,
    /// Folders in which nothing lies before the first commit: those of the tables.
    pub(crate) data_folders: Vec<Path>,
}

/// A reader's view of the line: the manifest at one commit.
#[derive(Clone, Debug)]
pub(crate) struct CommitLine {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) manifest: Arc<Manifest>,
    /// The newest checkpoint that can be read.
    pub(super) checkpoint: CommitNumber,
}

impl CommitLine {
    /// Reads the newest checkpoint and the commits after it. Writes nothing. A store without commits has an empty line.
    pub(crate) async fn open(objects: Arc<dyn ObjectStore>, evidence: &Evidence) -> Result<CommitLine, CatalogError> {
        let mut tries = 1;
        loop {
            let checkpoints = checkpoint::list(objects.as_ref()).await?;
            let error = match open_listed(&objects, &checkpoints).await {
                Ok(line) => {
                    line.check_end(evidence).await?;
                    return Ok(line);
                }
                Err(error) => error,
            };
            // What is missing may have been replaced by a newer checkpoint meanwhile.
            let is_missing = matches!(error, CatalogError::Missing { .. } | CatalogError::Damaged { .. });
            if !is_missing || tries == TRIES || checkpoint::list(objects.as_ref()).await? == checkpoints {
                return Err(error);
            }
            tries += 1;
        }
    }

    pub(crate) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    #[cfg(test)]
    /// Takes in the commits that came since; gives them.
    pub(crate) async fn refresh(&mut self) -> Result<Vec<Arc<Commit>>, CatalogError> {
        let passed = self.read_forward().await?;
        let newest = checkpoint::list(self.objects.as_ref()).await?.last().copied().unwrap_or_default();
        if newest > self.manifest.number {
            let object = self.manifest.number.next().path();
            return Err(CatalogError::missing(&object, format!("{} is newer", checkpoint::path(newest))));
        }
        Ok(passed)
    }

    /// Applies the commits after this one, up to the first number that is free.
    async fn read_forward(&mut self) -> Result<Vec<Arc<Commit>>, CatalogError> {
        let mut passed = Vec::new();
        loop {
            let first = self.manifest.number.next();
            let numbers = (0..WINDOW).map(|offset| CommitNumber(first.0.saturating_add(offset)));
            let read = async |number| Ok((number, read_commit(self.objects.as_ref(), number).await?));
            let found = stream::iter(numbers).map(read).buffered(WINDOW as usize);
            let found: Vec<(CommitNumber, Option<(Commit, Checksum)>)> = found.try_collect().await?;
            let mut free = None;
            for (number, commit) in found {
                match (commit, free) {
                    (None, None) => free = Some(number),
                    (None, Some(_)) => {}
                    (Some((commit, checksum)), None) => {
                        self.apply(&commit, checksum)?;
                        passed.push(Arc::new(commit));
                    }
                    // Written between the two reads, or missing.
                    (Some(_), Some(gap)) if read_commit(self.objects.as_ref(), gap).await?.is_none() => {
                        let reason = format!("{} is there", number.path());
                        return Err(CatalogError::missing(&gap.path(), reason));
                    }
                    (Some(_), Some(_)) => {
                        free = None;
                        break;
                    }
                }
            }
            // All numbers of the window are free: what came before the free one was read in an earlier round.
            if free == Some(first) {
                return Ok(passed);
            }
        }
    }

    pub(super) fn apply(&mut self, commit: &Commit, checksum: Checksum) -> Result<(), CatalogError> {
        let applied = self.manifest.apply(commit, checksum);
        let applied = applied.map_err(|reason| CatalogError::damaged(&commit.number.path(), reason))?;
        self.manifest = Arc::new(applied);
        Ok(())
    }

    /// Whether the line goes as far as it must.
    async fn check_end(&self, evidence: &Evidence) -> Result<(), CatalogError> {
        let number = self.manifest.number;
        let next = number.next().path();
        if number < evidence.newest_known {
            let reason = format!("the write-ahead log names commit {}", evidence.newest_known);
            return Err(CatalogError::missing(&next, reason));
        }
        if number > CommitNumber(0) {
            return Ok(());
        }
        for folder in &evidence.data_folders {
            let object = self.objects.list(Some(folder)).try_next().await;
            let object = object.map_err(|source| CatalogError::unreadable(folder, source))?;
            if let Some(object) = object {
                return Err(CatalogError::missing(&next, format!("the store has files, such as {}", object.location)));
            }
        }
        Ok(())
    }
}

/// The line as it is with these checkpoints: from the newest that is sound, or from its start.
async fn open_listed(objects: &Arc<dyn ObjectStore>, checkpoints: &[CommitNumber]) -> Result<CommitLine, CatalogError> {
    let mut base = Manifest::default();
    let mut skipped = None;
    for number in checkpoints.iter().rev().copied() {
        let path = checkpoint::path(number);
        let Some(object) = read_object(objects.as_ref(), &path).await? else { continue };
        match checkpoint::decode(number, &object) {
            Ok(manifest) => {
                check_commit_of(objects.as_ref(), &manifest).await?;
                base = manifest;
                break;
            }
            Err(CatalogError::Damaged { object, reason }) => {
                tracing::warn!(%object, reason, "the checkpoint is skipped");
                skipped = skipped.or(Some((object, reason)));
            }
            Err(error) => return Err(error),
        }
    }
    let checkpoint = base.number;
    let mut line = CommitLine { objects: Arc::clone(objects), manifest: Arc::new(base), checkpoint };
    line.read_forward().await?;
    let newest = checkpoints.last().copied().unwrap_or_default();
    if line.manifest.number >= newest {
        return Ok(line);
    }
    let next = line.manifest.number.next().path();
    Err(match skipped {
        Some((object, reason)) => CatalogError::Damaged {
            object,
            reason: format!("{reason}; and {next}, which would do instead, is missing"),
        },
        None => CatalogError::missing(&next, format!("{} is newer", checkpoint::path(newest))),
    })
}

/// A checkpoint's own commit stays as long as the checkpoint: without it the end of the line may be missing too.
async fn check_commit_of(objects: &dyn ObjectStore, manifest: &Manifest) -> Result<(), CatalogError> {
    let path = manifest.number.path();
    let checkpoint = checkpoint::path(manifest.number);
    match read_commit(objects, manifest.number).await? {
        None => Err(CatalogError::missing(&path, format!("{checkpoint} is there"))),
        Some((_, checksum)) if checksum != manifest.checksum => {
            Err(CatalogError::damaged(&path, format!("it is not the commit of which {checkpoint} tells")))
        }
        Some(_) => Ok(()),
    }
}

/// None where the number is free.
pub(crate) async fn read_commit(
    objects: &dyn ObjectStore,
    number: CommitNumber,
) -> Result<Option<(Commit, Checksum)>, CatalogError> {
    let object = read_object(objects, &number.path()).await?;
    object.map(|object| commit::decode(number, &object)).transpose()
}
