//! What keeps a table log from being read, or a commit from being made.

use object_store::Error;
use object_store::path::Path;

use crate::storage::error::{Cause, ErrorKind};

#[derive(Debug, thiserror::Error)]
pub(crate) enum TableLogError {
    #[error("the table log {table} is damaged: {reason}")]
    Corrupt { table: Path, reason: String },
    #[error("the table {table} needs {what}, which this version does not have")]
    Unsupported { table: Path, what: String },
    #[error("the table log {table} cannot be read: {source}")]
    Store { table: Path, source: Error },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// Another writer has this version. The caller reads the log anew before going on.
    #[error("version {version} of the table {table} was committed by another writer")]
    Taken { table: Path, version: u64 },
    /// The commit may be durable or not; reading the log anew tells, once the store answers.
    #[error("the outcome of committing version {version} of the table {table} is unknown: {source}")]
    Unknown { table: Path, version: u64, source: Error },
    /// The actions do not fit the table; nothing was written.
    #[error("the commit of version {version} of the table {table} is wrong: {reason}")]
    Invalid { table: Path, version: u64, reason: String },
}

impl Cause for TableLogError {
    fn kind(&self) -> ErrorKind {
        match self {
            TableLogError::Corrupt { .. } | TableLogError::Unsupported { .. } => ErrorKind::Damaged,
            TableLogError::Store { source, .. } => source.kind(),
        }
    }
}

impl Cause for CommitError {
    fn kind(&self) -> ErrorKind {
        match self {
            CommitError::Taken { .. } => ErrorKind::Fenced,
            CommitError::Unknown { .. } => ErrorKind::Retry,
            CommitError::Invalid { .. } => ErrorKind::Bug,
        }
    }
}
