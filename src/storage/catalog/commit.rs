//! A commit: one object `commits/<number of 20 digits>`, created only if absent, with what it changes in all tables at
//! once. The commits in their order, the *commit line*, are the only authority on what the store holds.
//!
//! A commit names its predecessor by checksum, so a line of objects that were never one (a copy of two stores, an
//! object put back at another number) is found. It carries no text of documents and no statistics of their values: row
//! counts and times are all that it tells of rows. Nor does it name sidecars: these are made again from the data files,
//! so nobody has to know them.
//!
//! Fields that a version does not know are refused: they would change what the store holds. Whoever adds one raises
//! [`KIND`]'s format.

mod erased;
mod file;

use std::collections::BTreeMap;
use std::fmt;

use object_store::path::Path;
use serde::{Deserialize, Serialize};

pub(crate) use self::erased::{Erased, Moment};
pub(crate) use self::file::{DeletionEdit, FileEntry, FileId, RowSet, Times};
use super::error::CatalogError;
use crate::model::ids::{EpochMillis, WalPosition};
use crate::storage::format::hex::Checksum;
use crate::storage::format::registry::OwnedColumn;
use crate::storage::objects::frame::{self, Kind};

pub(crate) const FOLDER: &str = "commits";
pub(crate) const KIND: Kind = Kind { name: "commit", format: 3, reads: 1..=3 };

/// Of a commit. 0 is "nothing yet", the first commit is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct CommitNumber(pub(crate) u64);

impl CommitNumber {
    pub(crate) fn next(self) -> Self {
        CommitNumber(self.0.saturating_add(1))
    }

    pub(crate) fn path(self) -> Path {
        self.path_in(FOLDER)
    }

    pub(super) fn path_in(self, folder: &str) -> Path {
        Path::from_iter([folder, &format!("{:020}", self.0)])
    }

    /// None for objects that are not named by a number in this folder.
    pub(super) fn of_path(folder: &str, path: &Path) -> Option<Self> {
        let number = CommitNumber(path.filename()?.parse().ok()?);
        (number.path_in(folder) == *path).then_some(number)
    }
}

impl fmt::Display for CommitNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Of a writer; each that opens the store takes a higher one, which fences those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Epoch(pub(crate) u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Commit {
    pub(crate) number: CommitNumber,
    /// Checksum of the commit before; zero of the first.
    pub(crate) previous: Checksum,
    pub(crate) epoch: Epoch,
    pub(crate) writer: String,
    /// Tells the commits of one writer apart, so that one whose answer was lost is known again.
    pub(crate) nonce: u64,
    /// The files hold every operation up to and with this one.
    pub(crate) wal_position: WalPosition,
    pub(crate) time: EpochMillis,
    /// By import id. None: the import is forgotten.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) imports: BTreeMap<String, Option<ImportProgress>>,
    /// By the table's name, which is its folder's too. A table without news is not in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tables: BTreeMap<String, TableEdit>,
}

impl Commit {
    pub(crate) fn is_same_write(&self, other: &Commit) -> bool {
        self.writer == other.writer && self.nonce == other.nonce
    }
}

/// What a writer wants to commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Edit {
    /// None: as it stands.
    pub(crate) wal_position: Option<WalPosition>,
    pub(crate) imports: BTreeMap<String, Option<ImportProgress>>,
    pub(crate) tables: BTreeMap<String, TableEdit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ImportProgress {
    /// Lines of the import that are done, counted from its start over all of its inputs: what they bring is in the files
    /// of this commit and those before, or was refused. Behind them nothing is.
    pub(crate) lines: u64,
    /// The input that the last of them stands in, counted from 0 in the order in which they were given,
    #[serde(default)]
    pub(crate) input: u32,
    /// and how many of its own lines are done. All of the inputs before it is.
    #[serde(default)]
    pub(crate) input_lines: u64,
    /// Whether nothing is left to be done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) finished: bool,
}

/// Applied in the order of the fields but for `remove`, which comes first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct TableEdit {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) add: Vec<FileEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove: Vec<FileId>,
    /// Also of files that this commit adds. Tables whose rows hang on those of another have none: theirs follow from
    /// the other's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) deletions: BTreeMap<FileId, DeletionEdit>,
    /// Files, also of those that this commit adds, that have to be written again, because they hold what was erased.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) erased: BTreeMap<FileId, Erased>,
    /// Property columns that the table gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) columns: Vec<OwnedColumn>,
}

/// The object and its checksum.
pub(crate) fn encode(commit: &Commit) -> Result<(Vec<u8>, Checksum), CatalogError> {
    let encoded = frame::encode(&KIND, commit);
    let (object, checksum) =
        encoded.map_err(|reason| CatalogError::Bug(format!("commit {}: {reason}", commit.number)))?;
    Ok((object, Checksum(checksum)))
}

/// Reads the object that lies at `number`.
pub(crate) fn decode(number: CommitNumber, object: &[u8]) -> Result<(Commit, Checksum), CatalogError> {
    let path = number.path();
    let decoded = frame::decode::<Commit>(&KIND, object);
    let (commit, checksum) = decoded.map_err(|error| CatalogError::of_frame(&path, error))?;
    if commit.number != number {
        return Err(CatalogError::damaged(&path, format!("it is commit {} under another name", commit.number)));
    }
    Ok((commit, Checksum(checksum)))
}

#[cfg(test)]
pub(crate) mod tests;
