//! Names and listings of the objects in `_delta_log`.

use std::ops::RangeInclusive;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use serde::Deserialize;

use super::error::TableLogError;
use crate::model::ids::EpochMillis;

pub(crate) struct LogFiles<'a> {
    pub(crate) store: &'a dyn ObjectStore,
    pub(crate) table: &'a Path,
}

/// Versions, ascending.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) commits: Vec<u64>,
    pub(crate) checkpoints: Vec<u64>,
}

impl Listing {
    pub(crate) fn has_commits(&self, versions: RangeInclusive<u64>) -> bool {
        let wanted = versions.end().saturating_sub(*versions.start()) + 1;
        self.commits.iter().filter(|version| versions.contains(version)).count() as u64 == wanted
    }

    pub(crate) fn last_version(&self) -> Option<u64> {
        self.commits.last().max(self.checkpoints.last()).copied()
    }
}

enum LogFile {
    Commit(u64),
    Checkpoint(u64),
}

/// None for everything else: checksums, compacted logs, and checkpoints of other kinds, which are never needed as long
/// as the commits or a classic checkpoint are there.
fn parse(path: &Path) -> Option<LogFile> {
    let (version, kind) = path.filename()?.split_at_checked(20)?;
    let version = version.bytes().all(|byte| byte.is_ascii_digit()).then(|| version.parse().ok())??;
    match kind {
        ".json" => Some(LogFile::Commit(version)),
        ".checkpoint.parquet" => Some(LogFile::Checkpoint(version)),
        _ => None,
    }
}

impl LogFiles<'_> {
    fn folder(&self) -> Path {
        self.table.clone().join("_delta_log")
    }

    pub(crate) fn commit(&self, version: u64) -> Path {
        self.folder().join(format!("{version:020}.json"))
    }

    pub(crate) fn checkpoint(&self, version: u64) -> Path {
        self.folder().join(format!("{version:020}.checkpoint.parquet"))
    }

    pub(crate) fn hint(&self) -> Path {
        self.folder().join("_last_checkpoint")
    }

    pub(crate) fn corrupt(&self, reason: impl Into<String>) -> TableLogError {
        TableLogError::Corrupt { table: self.table.clone(), reason: reason.into() }
    }

    pub(crate) fn failed(&self, source: Error) -> TableLogError {
        TableLogError::Store { table: self.table.clone(), source }
    }

    pub(crate) async fn read(&self, path: &Path) -> Result<Bytes, Error> {
        self.store.get(path).await?.bytes().await
    }

    /// The version `_last_checkpoint` names. It is only a hint: where it cannot be read, the whole log is listed.
    pub(crate) async fn read_hint(&self) -> Result<Option<u64>, TableLogError> {
        #[derive(Deserialize)]
        struct Hint {
            version: u64,
        }
        match self.read(&self.hint()).await {
            Ok(text) => Ok(serde_json::from_slice::<Hint>(&text).ok().map(|hint| hint.version)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// What the log has of `version` and above (None: all).
    pub(crate) async fn list_after(&self, version: Option<u64>) -> Result<Listing, TableLogError> {
        // A bare number sorts before every object of that version.
        let offset = self.folder().join(format!("{:020}", version.unwrap_or(0)));
        let mut listing = Listing::default();
        let mut objects = self.store.list_with_offset(Some(&self.folder()), &offset);
        while let Some(object) = objects.try_next().await.map_err(|error| self.failed(error))? {
            match parse(&object.location) {
                Some(LogFile::Commit(version)) => listing.commits.push(version),
                Some(LogFile::Checkpoint(version)) => listing.checkpoints.push(version),
                None => {}
            }
        }
        listing.commits.sort_unstable();
        listing.checkpoints.sort_unstable();
        Ok(listing)
    }

    /// Commits and checkpoints below `checkpoint` that were written before `before`.
    pub(crate) async fn older_than(&self, checkpoint: u64, before: EpochMillis) -> Result<Vec<Path>, TableLogError> {
        let objects = self.store.list(Some(&self.folder())).try_filter_map(async |object| {
            let is_below = match parse(&object.location) {
                Some(LogFile::Commit(version) | LogFile::Checkpoint(version)) => version < checkpoint,
                None => false,
            };
            let is_old = object.last_modified.timestamp_millis() < before.0;
            Ok((is_below && is_old).then_some(object.location))
        });
        objects.try_collect().await.map_err(|error| self.failed(error))
    }
}
