//! What can go wrong while rows become files and files rows.

use std::io;

use arrow::error::ArrowError;
use object_store::path::Path;
use parquet::errors::ParquetError;

use super::checked::ReadError;
use super::row_index::error::IndexError;
use crate::storage::error::{Cause, ErrorKind};

#[derive(Debug, thiserror::Error)]
pub(crate) enum FlattenError {
    #[error("stored JSON is damaged at byte {offset}")]
    Json { offset: usize },
    #[error("row {row} does not fit in 31 bits")]
    TooManyRows { row: usize },
    #[error("building a batch failed: {0}")]
    Arrow(#[from] ArrowError),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Flatten(#[from] FlattenError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("parquet: {0}")]
    Parquet(ParquetError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("object store: {0}")]
    Store(#[from] object_store::Error),
    #[error("writing {path}: {source}")]
    Write { path: Path, source: io::Error },
    #[error("a layout cannot be written: {0}")]
    Layout(#[from] serde_json::Error),
    #[error("{path} is damaged: {reason}")]
    Damaged { path: Path, reason: String },
    #[error("writing {path} was given up")]
    Aborted { path: Path },
}

impl Cause for FlattenError {
    fn kind(&self) -> ErrorKind {
        match self {
            FlattenError::Json { .. } => ErrorKind::Damaged,
            FlattenError::TooManyRows { .. } | FlattenError::Arrow(_) => ErrorKind::Bug,
        }
    }
}

impl Cause for FileError {
    fn kind(&self) -> ErrorKind {
        match self {
            FileError::Flatten(error) => error.kind(),
            FileError::Index(error) => error.kind(),
            FileError::Parquet(_) | FileError::Damaged { .. } => ErrorKind::Damaged,
            FileError::Read(error) => error.kind(),
            FileError::Store(error) => error.kind(),
            FileError::Write { source, .. } => match Cause::kind(source) {
                // Nothing was read: what is missing is a place to write to.
                ErrorKind::Damaged => ErrorKind::Retry,
                kind => kind,
            },
            FileError::Layout(_) | FileError::Aborted { .. } => ErrorKind::Bug,
        }
    }

    fn object(&self) -> Option<&Path> {
        match self {
            FileError::Read(error) => error.object(),
            FileError::Index(error) => error.object(),
            FileError::Write { path, .. } | FileError::Damaged { path, .. } | FileError::Aborted { path } => Some(path),
            FileError::Flatten(_) | FileError::Parquet(_) | FileError::Store(_) | FileError::Layout(_) => None,
        }
    }
}

/// What went wrong in a read comes through the decoder.
impl From<ParquetError> for FileError {
    fn from(error: ParquetError) -> FileError {
        match error {
            ParquetError::External(source) => match source.downcast::<ReadError>() {
                Ok(error) => FileError::Read(*error),
                Err(source) => FileError::Parquet(ParquetError::External(source)),
            },
            error => FileError::Parquet(error),
        }
    }
}
