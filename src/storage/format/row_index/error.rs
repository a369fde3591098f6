//! Why a sidecar cannot be written or read.

use object_store::path::Path;

use crate::storage::error::{Cause, ErrorKind};
use crate::storage::format::checked::ReadError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("the index {path} is damaged: {reason}")]
    Corrupt { path: Path, reason: String },
    #[error("row {row} is asked of the index {path}, which has {rows}")]
    Row { path: Path, row: u32, rows: u32 },
    #[error("an index of {count} {what} cannot be written; 4294967295 are allowed")]
    TooLarge { what: &'static str, count: u64 },
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Cause for IndexError {
    fn kind(&self) -> ErrorKind {
        match self {
            IndexError::Corrupt { .. } => ErrorKind::Damaged,
            IndexError::Row { .. } | IndexError::TooLarge { .. } => ErrorKind::Bug,
            IndexError::Read(error) => error.kind(),
        }
    }

    fn object(&self) -> Option<&Path> {
        match self {
            IndexError::Corrupt { path, .. } | IndexError::Row { path, .. } => Some(path),
            IndexError::Read(error) => error.object(),
            IndexError::TooLarge { .. } => None,
        }
    }
}
