//! The one way to change what the store holds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::{Error, ObjectStore, PutMode, PutPayload};
use tokio::time::{Instant, sleep};

use super::reader::{CommitLine, read_commit};
use crate::model::ids::EpochMillis;
use crate::storage::catalog::checkpoint;
use crate::storage::catalog::commit::{self, Commit, CommitNumber, Edit, Epoch};
use crate::storage::catalog::error::CatalogError;
use crate::storage::catalog::manifest::Manifest;
use crate::storage::error::{Cause, ErrorKind};
use crate::storage::format::hex::Checksum;

const CHECKPOINT_INTERVAL: u64 = 100;
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// Another writer has taken over: this one commits nothing any more.
    #[error("commit {number} was made by {writer} in epoch {}: this writer is fenced", epoch.0)]
    Fenced { number: CommitNumber, writer: String, epoch: Epoch },
    /// It may be committed or not. Only the same edit may be appended next.
    #[error("the outcome of commit {number} is unknown after {} ms: {source}", waited.as_millis())]
    Unknown { number: CommitNumber, waited: Duration, source: Error },
    #[error("the outcome of commit {number} is unknown; no other change can be committed before it is known")]
    Unsettled { number: CommitNumber },
    /// It was prepared before the last commit of a writer that this one has fenced, say with the name of a column that
    /// this commit gives to another.
    #[error("the change does not fit commit {number}, which {writer} made before it was fenced: {reason}")]
    Outdated { number: CommitNumber, writer: String, reason: String },
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Cause for AppendError {
    fn kind(&self) -> ErrorKind {
        match self {
            AppendError::Fenced { .. } => ErrorKind::Fenced,
            // What this process knows of the store is not what it is; the next one reads it anew.
            AppendError::Outdated { .. } => ErrorKind::Restart,
            AppendError::Unknown { source, .. } if source.kind() == ErrorKind::Restart => ErrorKind::Restart,
            AppendError::Unknown { .. } | AppendError::Unsettled { .. } => ErrorKind::Retry,
            AppendError::Catalog(error) => error.kind(),
        }
    }
}

/// Who appends. The id is the process's own, the epoch higher than all that the line has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) id: String,
    pub(crate) epoch: Epoch,
    /// How long one call tries.
    pub(crate) patience: Duration,
}

/// The line in the hands of the store's writer. One append at a time: `&mut` says so.
///
/// The writer's first commit is empty and carries its epoch; commits of older writers that came before it are passed.
/// From then on every older writer meets this one at the number that it tries next, and stops. So an edit is never
/// overtaken: what fits the manifest when it is appended fits the commit before it.
pub(crate) struct CommitWriter {
    line: CommitLine,
    writer: Writer,
    next_nonce: u64,
    /// A commit that may be in the store.
    pending: Option<Pending>,
    fenced: Option<Fence>,
    passed: Option<Passed>,
}

struct Pending {
    edit: Edit,
    commit: Commit,
    object: Bytes,
    checksum: Checksum,
}

/// Commits of older writers that came in before this one's first, until it has made another.
struct Passed {
    before: Arc<Manifest>,
    /// Of the last.
    number: CommitNumber,
    writer: String,
}

#[derive(Clone)]
struct Fence {
    number: CommitNumber,
    writer: String,
    epoch: Epoch,
}

/// How a put ended.
enum Outcome {
    Written,
    /// Another commit has the number.
    Taken(Commit, Checksum),
}

impl CommitWriter {
    /// Takes the line over. Fails with [`AppendError::Fenced`] where it has seen this epoch or a higher one.
    pub(crate) async fn begin(
        line: CommitLine,
        writer: Writer,
        time: EpochMillis,
    ) -> Result<CommitWriter, AppendError> {
        let mut begun = CommitWriter { line, writer, next_nonce: 0, pending: None, fenced: None, passed: None };
        let before = Arc::clone(&begun.line.manifest);
        loop {
            let Manifest { number, epoch, .. } = *begun.line.manifest;
            if begun.writer.epoch <= epoch && number > CommitNumber(0) {
                return Err(AppendError::Fenced { number, writer: "another writer".to_owned(), epoch });
            }
            let pending = begun.prepare(&Edit::default(), time)?;
            match begun.settle(pending).await? {
                None => return Ok(begun),
                Some((older, checksum)) => {
                    begun.line.apply(&older, checksum)?;
                    let (number, before) = (older.number, Arc::clone(&before));
                    begun.passed = Some(Passed { before, number, writer: older.writer });
                }
            }
        }
    }

    pub(crate) fn manifest(&self) -> &Arc<Manifest> {
        &self.line.manifest
    }

    /// Durably makes the edit the next commit. After [`AppendError::Unknown`] the same call goes on where it was: the
    /// same bytes at the same number, never the next. So does the next call after one that was dropped.
    pub(crate) async fn append(&mut self, edit: &Edit, time: EpochMillis) -> Result<Arc<Manifest>, AppendError> {
        if let Some(Fence { number, writer, epoch }) = self.fenced.clone() {
            return Err(AppendError::Fenced { number, writer, epoch });
        }
        let pending = match self.pending.take() {
            Some(pending) if pending.edit == *edit => pending,
            Some(pending) => {
                let number = pending.commit.number;
                self.pending = Some(pending);
                return Err(AppendError::Unsettled { number });
            }
            None => {
                if let Err(reason) = self.line.manifest.check(edit) {
                    return Err(self.unfit(edit, reason).await?);
                }
                self.prepare(edit, time)?
            }
        };
        if let Some((older, checksum)) = self.settle(pending).await? {
            // No writer of a lower epoch gets past this one's first commit.
            self.line.apply(&older, checksum)?;
            let reason = "a commit of an older writer follows this one's";
            return Err(CatalogError::damaged(&older.number.path(), reason).into());
        }
        self.passed = None;
        Ok(Arc::clone(&self.line.manifest))
    }

    /// Why an edit does not fit: somebody else has committed what its maker did not know, or this program is wrong.
    async fn unfit(&mut self, edit: &Edit, reason: String) -> Result<AppendError, AppendError> {
        let number = self.line.manifest.number.next();
        if let Some((Commit { writer, epoch, .. }, _)) = read_commit(self.line.objects.as_ref(), number).await?
            && epoch >= self.writer.epoch
        {
            self.fenced = Some(Fence { number, writer: writer.clone(), epoch });
            return Ok(AppendError::Fenced { number, writer, epoch });
        }
        Ok(match self.passed.as_ref().filter(|passed| passed.before.check(edit).is_ok()) {
            Some(Passed { number, writer, .. }) => {
                AppendError::Outdated { number: *number, writer: writer.clone(), reason }
            }
            None => CatalogError::Bug(reason).into(),
        })
    }

    /// Puts a commit and takes it in; or gives the commit of an older writer that has its number.
    async fn settle(&mut self, pending: Pending) -> Result<Option<(Commit, Checksum)>, AppendError> {
        let (own, object) = (pending.commit.clone(), pending.object.clone());
        let checksum = pending.checksum;
        // Kept before anything is sent: this future may be dropped while it waits.
        self.pending = Some(pending);
        let outcome = put(self.line.objects.as_ref(), own.number, object, &own, self.writer.patience).await?;
        self.pending = None;
        match outcome {
            Outcome::Written => {
                self.line.apply(&own, checksum)?;
                Ok(None)
            }
            Outcome::Taken(Commit { writer, epoch, .. }, _) if epoch >= self.writer.epoch => {
                let number = own.number;
                self.fenced = Some(Fence { number, writer: writer.clone(), epoch });
                Err(AppendError::Fenced { number, writer, epoch })
            }
            Outcome::Taken(older, checksum) => Ok(Some((older, checksum))),
        }
    }

    fn prepare(&mut self, edit: &Edit, time: EpochMillis) -> Result<Pending, CatalogError> {
        let manifest = &self.line.manifest;
        let commit = Commit {
            number: manifest.number.next(),
            previous: manifest.checksum,
            epoch: self.writer.epoch,
            writer: self.writer.id.clone(),
            nonce: self.next_nonce,
            wal_position: edit.wal_position.unwrap_or(manifest.wal_position),
            time,
            imports: edit.imports.clone(),
            tables: edit.tables.clone(),
        };
        let (object, checksum) = commit::encode(&commit)?;
        self.next_nonce += 1;
        Ok(Pending { edit: edit.clone(), commit, object: object.into(), checksum })
    }

    /// Writes a checkpoint where one is due; true where it did. It is not needed for the commit to stand, so its
    /// failure is no reason to stop: the next call tries again.
    pub(crate) async fn checkpoint_if_due(&mut self) -> Result<bool, CatalogError> {
        let number = self.line.manifest.number;
        if number.0 / CHECKPOINT_INTERVAL == self.line.checkpoint.0 / CHECKPOINT_INTERVAL {
            return Ok(false);
        }
        let path = checkpoint::path(number);
        let manifest = Arc::clone(&self.line.manifest);
        let encoded = tokio::task::spawn_blocking(move || checkpoint::encode(&manifest)).await;
        let object = encoded.map_err(|error| CatalogError::Bug(error.to_string()))??;
        // Replaces one of this number that is damaged.
        let put = self.line.objects.put_opts(&path, object.into(), PutMode::Overwrite.into()).await;
        put.map_err(|source| CatalogError::Unwritable { object: path, source })?;
        self.line.checkpoint = number;
        Ok(true)
    }
}

/// Puts the object at this number until the outcome is known. A lost answer shows on the next try as an object that
/// exists already: it is read back, and is one's own or another writer's.
async fn put(
    objects: &dyn ObjectStore,
    number: CommitNumber,
    object: Bytes,
    own: &Commit,
    patience: Duration,
) -> Result<Outcome, AppendError> {
    let path = number.path();
    let start = Instant::now();
    let mut pause = FIRST_RETRY;
    loop {
        let put = objects.put_opts(&path, PutPayload::from(object.clone()), PutMode::Create.into()).await;
        let source = match put {
            Ok(_) => return Ok(Outcome::Written),
            Err(error @ Error::AlreadyExists { .. }) => match read_commit(objects, number).await {
                Ok(Some((commit, _))) if commit.is_same_write(own) => return Ok(Outcome::Written),
                Ok(Some((commit, checksum))) => return Ok(Outcome::Taken(commit, checksum)),
                Ok(None) => error,
                Err(CatalogError::Unreadable { source, .. }) => source,
                Err(error) => return Err(error.into()),
            },
            Err(source) => source,
        };
        let waited = start.elapsed();
        if waited + pause > patience || source.kind() == ErrorKind::Restart {
            return Err(AppendError::Unknown { number, waited, source });
        }
        tracing::warn!(%number, error = %source, "writing the commit again");
        sleep(pause).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}
