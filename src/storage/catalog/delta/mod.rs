//! The Delta log of one table: which files it has, which of their rows are deleted, and up to which position of the
//! write-ahead log it reaches.
//!
//! A commit is one object, `_delta_log/<version of 20 digits>.json`, created only if absent: that is the one commit
//! point of a table. Every 100 commits a checkpoint sums the log up. Written by the Delta protocol (reader version 3,
//! writer version 7, deletion vectors), so other engines read the tables as they are.

pub(crate) mod actions;
mod checkpoint;
pub(crate) mod deletion_vector;
pub(crate) mod derive;
mod error;
mod log_files;
pub(crate) mod schema;
mod state;

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use serde_json::json;
use tokio::time::sleep;

pub(crate) use self::actions::Action;
#[cfg(test)]
pub(crate) use self::actions::{Add, FileStatistics, MetaData, Protocol, Txn};
pub(crate) use self::error::{CommitError, TableLogError};
use self::log_files::{Listing, LogFiles};
pub(crate) use self::schema::{DeltaType, TableColumn};
pub(crate) use self::state::TableState;
use crate::environment::Environment;
use crate::model::ids::EpochMillis;
#[cfg(test)]
use crate::model::ids::WalPosition;

const CHECKPOINT_INTERVAL: u64 = 100;
const READS_AT_ONCE: usize = 16;
const PUT_TRIES: u32 = 6;
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// The writer's (or a reader's) view of one table's log.
#[derive(Debug)]
pub(crate) struct TableLog {
    environment: Environment,
    /// The table's folder, such as `conversations`.
    root: Path,
    state: TableState,
    /// Version of the newest checkpoint that is known.
    checkpoint: Option<u64>,
}

impl TableLog {
    /// None where there is no table. Reads the newest checkpoint and the commits after it.
    pub(crate) async fn open(environment: Environment, prefix: Path) -> Result<Option<Self>, TableLogError> {
        let files = LogFiles { store: environment.objects.as_ref(), table: &prefix };
        let Some((state, checkpoint)) = read_state(&files).await? else { return Ok(None) };
        Ok(Some(Self { environment, root: prefix, state, checkpoint }))
    }

    #[cfg(test)]
    /// Writes version 0: protocol, columns and position 0 of the write-ahead log. Fails with [`CommitError::Taken`]
    /// where the table exists.
    pub(crate) async fn create(
        environment: Environment,
        prefix: Path,
        columns: &[TableColumn],
        now: EpochMillis,
    ) -> Result<Self, CommitError> {
        let (id, name) = (environment.ids.random(), prefix.filename().unwrap_or_default());
        let actions = vec![
            Action::Protocol(Protocol::own()),
            Action::MetaData(MetaData::new(id, name, columns, now)),
            Action::Txn(Txn::new(WalPosition(0), now)),
        ];
        let mut log = Self { environment, root: prefix, state: TableState::default(), checkpoint: None };
        log.put_commit(0, actions, now).await?;
        Ok(log)
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> &TableState {
        &self.state
    }

    pub(crate) fn version(&self) -> u64 {
        self.state.version
    }

    #[cfg(test)]
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    #[cfg(test)]
    /// Where the data file of an [`Add`] or [`Remove`](actions::Remove) lies in the store.
    pub(crate) fn file_path(&self, relative: &str) -> Path {
        file_path(&self.root, relative)
    }

    /// Writes the next version; gives its number. An unclear answer is settled by trying again and reading back. A
    /// checkpoint follows where one is due; its failure is only logged.
    pub(crate) async fn commit(&mut self, actions: Vec<Action>, now: EpochMillis) -> Result<u64, CommitError> {
        let version = self.state.version + 1;
        self.put_commit(version, actions, now).await?;
        if version.is_multiple_of(CHECKPOINT_INTERVAL)
            && let Err(error) = self.write_checkpoint(now).await
        {
            tracing::warn!(table = %self.root, version, %error, "the checkpoint was not written");
        }
        Ok(version)
    }

    async fn put_commit(&mut self, version: u64, actions: Vec<Action>, now: EpochMillis) -> Result<(), CommitError> {
        let invalid = |reason: String| CommitError::Invalid { table: self.root.clone(), version, reason };
        self.state.check(&actions).map_err(invalid)?;
        // The id makes two writers' commits differ, so that one's own is recognised when it is read back.
        let info = json!({
            "timestamp": now.0,
            "operation": "WRITE",
            "operationParameters": {},
            "engineInfo": concat!("convolake/", env!("CARGO_PKG_VERSION")),
            "txnId": self.environment.ids.random().to_string(),
        });
        let mut body = Vec::new();
        for action in std::iter::once(&Action::CommitInfo(info)).chain(&actions) {
            serde_json::to_writer(&mut body, action).map_err(|error| invalid(error.to_string()))?;
            body.push(b'\n');
        }
        self.put_once(version, body.into()).await?;
        self.state.apply(version, actions);
        Ok(())
    }

    async fn put_once(&self, version: u64, body: Bytes) -> Result<(), CommitError> {
        let files = LogFiles { store: self.environment.objects.as_ref(), table: &self.root };
        let path = files.commit(version);
        let mut pause = FIRST_RETRY;
        let mut tries = 1;
        loop {
            let put =
                self.environment.objects.put_opts(&path, PutPayload::from(body.clone()), PutMode::Create.into()).await;
            let source = match put {
                Ok(_) => return Ok(()),
                Err(Error::AlreadyExists { .. }) => match files.read(&path).await {
                    Ok(stored) if stored == body => return Ok(()),
                    Ok(_) => return Err(CommitError::Taken { table: self.root.clone(), version }),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if tries == PUT_TRIES {
                return Err(CommitError::Unknown { table: self.root.clone(), version, source });
            }
            tracing::warn!(table = %self.root, version, error = %source, "writing the commit again");
            sleep(pause).await;
            pause *= 2;
            tries += 1;
        }
    }

    #[cfg(test)]
    /// Takes in what other writers have committed. True where the table has changed.
    pub(crate) async fn refresh(&mut self) -> Result<bool, TableLogError> {
        let files = LogFiles { store: self.environment.objects.as_ref(), table: &self.root };
        let listing = files.list_after(Some(self.state.version)).await?;
        let last = listing.commits.last().copied();
        let Some(last) = last.filter(|last| *last > self.state.version) else { return Ok(false) };
        if listing.has_commits(self.state.version + 1..=last) {
            let commits = read_commits(&files, self.state.version + 1..=last).await?;
            for (version, actions) in commits {
                self.state.apply(version, actions);
            }
            self.checkpoint = listing.checkpoints.last().copied().or(self.checkpoint);
            return Ok(true);
        }
        // The commits in between are summed up in a checkpoint and gone.
        let state = read_state(&files).await?;
        let (state, checkpoint) = state.ok_or_else(|| files.corrupt("the table is gone"))?;
        self.state = state;
        self.checkpoint = checkpoint;
        Ok(true)
    }

    /// Sums the log up to the current version. Usually called by [`TableLog::commit`].
    pub(crate) async fn write_checkpoint(&mut self, now: EpochMillis) -> Result<(), TableLogError> {
        let version = self.state.version;
        self.state.forget_old_tombstones(now);
        let files = LogFiles { store: self.environment.objects.as_ref(), table: &self.root };
        let state = self.state.clone();
        let encoded = tokio::task::spawn_blocking(move || checkpoint::encode(&state)).await;
        let (object, hint) = match encoded {
            Ok(Ok(encoded)) => encoded,
            Ok(Err(reason)) => return Err(files.corrupt(reason)),
            Err(error) => return Err(files.failed(Error::JoinError { source: error })),
        };
        let hint = serde_json::to_vec(&hint).map_err(|error| files.corrupt(error.to_string()))?;
        for (path, object) in [(files.checkpoint(version), object), (files.hint(), hint)] {
            self.environment.objects.put(&path, object.into()).await.map_err(|error| files.failed(error))?;
        }
        self.checkpoint = Some(version);
        Ok(())
    }

    /// Deletes commits and checkpoints that the newest known checkpoint replaces and that are older than `before`.
    /// Gives how many.
    pub(crate) async fn delete_old_log(&self, before: EpochMillis) -> Result<usize, TableLogError> {
        let Some(checkpoint) = self.checkpoint else { return Ok(0) };
        let files = LogFiles { store: self.environment.objects.as_ref(), table: &self.root };
        let old = files.older_than(checkpoint, before).await?;
        let deleted = self.environment.objects.delete_stream(stream::iter(old.into_iter().map(Ok)).boxed());
        let deleted = deleted.filter(|result| std::future::ready(!matches!(result, Err(Error::NotFound { .. }))));
        deleted.try_fold(0, async |count, _| Ok(count + 1)).await.map_err(|error| files.failed(error))
    }
}

#[cfg(test)]
/// A path of the log is relative to the table's folder and percent-encoded, as a URL is.
fn file_path(root: &Path, relative: &str) -> Path {
    let decoded = percent_encoding::percent_decode_str(relative).decode_utf8_lossy();
    root.parts().chain(Path::from(decoded.as_ref()).parts()).collect()
}

async fn read_commits(
    files: &LogFiles<'_>,
    versions: std::ops::RangeInclusive<u64>,
) -> Result<Vec<(u64, Vec<Action>)>, TableLogError> {
    let read = async |version| {
        let body = files.read(&files.commit(version)).await.map_err(|error| files.failed(error))?;
        let actions =
            actions::parse_lines(&body).map_err(|reason| files.corrupt(format!("commit {version}: {reason}")))?;
        Ok((version, actions))
    };
    stream::iter(versions).map(read).buffered(READS_AT_ONCE).try_collect().await
}

type StateAndCheckpoint = (TableState, Option<u64>);

/// The newest state and the version of the checkpoint it was read from; None where there is no log.
async fn read_state(files: &LogFiles<'_>) -> Result<Option<StateAndCheckpoint>, TableLogError> {
    if let Some(hint) = files.read_hint().await? {
        match read_newest(files, &files.list_after(Some(hint)).await?).await {
            Err(TableLogError::Corrupt { reason, .. }) => {
                tracing::warn!(table = %files.table, hint, reason, "reading the whole table log");
            }
            Ok(None) => {}
            found => return found,
        }
    }
    read_newest(files, &files.list_after(None).await?).await
}

/// Starts at the newest checkpoint that can be read and has all later commits, or at version 0.
async fn read_newest(files: &LogFiles<'_>, listing: &Listing) -> Result<Option<StateAndCheckpoint>, TableLogError> {
    let Some(last) = listing.last_version() else { return Ok(None) };
    let mut problems = Vec::new();
    for start in listing.checkpoints.iter().rev().copied().map(Some).chain([None]) {
        let first = start.map_or(0, |version| version + 1);
        if first <= last && !listing.has_commits(first..=last) {
            problems.push(format!("commits from {first} to {last} are not all there"));
            continue;
        }
        let mut state = match start {
            None => TableState::default(),
            Some(version) => match read_checkpoint(files, version).await {
                Ok(state) => state,
                Err(TableLogError::Corrupt { reason, .. }) => {
                    tracing::warn!(table = %files.table, version, reason, "the checkpoint is skipped");
                    problems.push(reason);
                    continue;
                }
                Err(error) => return Err(error),
            },
        };
        if first <= last {
            for (version, actions) in read_commits(files, first..=last).await? {
                state.apply(version, actions);
            }
        }
        state.check_readable(files.table)?;
        return Ok(Some((state, start)));
    }
    Err(files.corrupt(problems.join("; ")))
}

async fn read_checkpoint(files: &LogFiles<'_>, version: u64) -> Result<TableState, TableLogError> {
    let object = files.read(&files.checkpoint(version)).await.map_err(|error| files.failed(error))?;
    let decoded = tokio::task::spawn_blocking(move || checkpoint::decode(object)).await;
    let actions = match decoded {
        Ok(Ok(actions)) => actions,
        Ok(Err(reason)) => return Err(files.corrupt(format!("checkpoint {version}: {reason}"))),
        // parquet 59.3 panics at some footers that are damaged.
        Err(error) if error.is_panic() => return Err(files.corrupt(format!("checkpoint {version}: {error}"))),
        Err(error) => return Err(files.failed(Error::JoinError { source: error })),
    };
    let mut state = TableState::default();
    state.apply(version, actions);
    Ok(state)
}

#[cfg(test)]
mod foreign_readers;
#[cfg(test)]
mod tests;
