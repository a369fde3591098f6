//! What the logs are derived from, and what can go wrong.

use async_trait::async_trait;
use object_store::path::Path;
use roaring::RoaringBitmap;

use crate::storage::catalog::commit::FileEntry;
use crate::storage::catalog::delta::deletion_vector::DeletionVectorError;
use crate::storage::catalog::delta::schema::TableColumn;
use crate::storage::catalog::delta::{CommitError, TableLogError};
use crate::storage::error::{Cause, ErrorKind};

/// Of `txn` actions: the commit that a log stands for, and the epoch of the writer that derived it.
pub(super) const COMMIT_APP_ID: &str = "convolake.commit";
pub(super) const EPOCH_APP_ID: &str = "convolake.epoch";
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeriveError {
    /// A newer writer derives the logs: this one is fenced.
    #[error("the table log {table} was derived in epoch {found}, this writer's is {own}")]
    Fenced { table: Path, found: u64, own: u64 },
    #[error(transparent)]
    Log(#[from] TableLogError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("the deleted rows of {file} cannot be written for other engines: {source}")]
    Vector { file: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("the table {table} cannot be told in a table log: {reason}")]
    Bug { table: String, reason: String },
}

impl Cause for DeriveError {
    fn kind(&self) -> ErrorKind {
        match self {
            DeriveError::Fenced { .. } => ErrorKind::Fenced,
            DeriveError::Log(error) => error.kind(),
            DeriveError::Commit(error) => error.kind(),
            DeriveError::Vector { .. } => ErrorKind::Retry,
            DeriveError::Bug { .. } => ErrorKind::Bug,
        }
    }
}

impl DeriveError {
    pub(super) fn vector(file: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        DeriveError::Vector { file: file.to_owned(), source: source.into() }
    }
}

impl From<DeletionVectorError> for DeriveError {
    fn from(error: DeletionVectorError) -> Self {
        DeriveError::vector("a file", error)
    }
}

/// A table as other engines see it.
#[derive(Clone, Debug)]
pub(crate) struct DeltaTable {
    /// In the manifest, and the folder.
    pub(crate) name: String,
    /// The columns that every file has; property columns come from the manifest.
    pub(crate) plain_columns: Vec<TableColumn>,
    /// The column whose bounds the files' times are.
    pub(crate) time_column: Option<String>,
    /// The table whose deletions are this one's; files that belong together have one id.
    pub(crate) owner: Option<String>,
}

impl DeltaTable {
    pub(super) fn owner(&self) -> &str {
        self.owner.as_deref().unwrap_or(&self.name)
    }
}

/// Rows that hang on those of another table.
#[async_trait]
pub(crate) trait SiblingRows: Send + Sync {
    /// Those of `file` of a table with an owner, for deleted rows of the owner's file of the same id.
    async fn rows(
        &self,
        table: &str,
        file: &FileEntry,
        deleted: &RoaringBitmap,
    ) -> Result<RoaringBitmap, Box<dyn std::error::Error + Send + Sync>>;
}
