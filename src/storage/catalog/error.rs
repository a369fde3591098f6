//! What can be wrong with the commit line. The variant tells apart what is damaged, what a newer version wrote, and what
//! could only not be read now: advice for one of them loses data with another.

use std::ops::RangeInclusive;

use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};

use crate::storage::error::{Cause, ErrorKind};
use crate::storage::objects::frame::FrameError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogError {
    #[error("{object} is damaged: {reason}; put a sound copy of it back. Nothing was changed or deleted")]
    Damaged { object: Path, reason: String },
    #[error("{object} is missing: {reason}; put it back. Nothing was changed or deleted")]
    Missing { object: Path, reason: String },
    #[error(
        "{object} has format {found}, this version reads formats {} to {}; start a version that reads it",
        reads.start(), reads.end()
    )]
    Format { object: Path, found: u32, reads: RangeInclusive<u32> },
    /// The object may be sound: the disk, the network or a permission is not. To try again loses nothing.
    #[error("{object} cannot be read: {source}")]
    Unreadable { object: Path, source: Error },
    #[error("{object} cannot be written: {source}")]
    Unwritable { object: Path, source: Error },
    /// This program made something that does not fit what is stored; nothing of it was written.
    #[error("a wrong change was prepared: {0}")]
    Bug(String),
}

impl Cause for CatalogError {
    fn kind(&self) -> ErrorKind {
        match self {
            CatalogError::Damaged { .. } | CatalogError::Missing { .. } | CatalogError::Format { .. } => {
                ErrorKind::Damaged
            }
            CatalogError::Unreadable { source, .. } | CatalogError::Unwritable { source, .. } => source.kind(),
            CatalogError::Bug(_) => ErrorKind::Bug,
        }
    }
}

impl CatalogError {
    pub(crate) fn damaged(object: &Path, reason: impl Into<String>) -> Self {
        CatalogError::Damaged { object: object.clone(), reason: reason.into() }
    }

    pub(crate) fn missing(object: &Path, reason: impl Into<String>) -> Self {
        CatalogError::Missing { object: object.clone(), reason: reason.into() }
    }

    pub(crate) fn unreadable(object: &Path, source: Error) -> Self {
        CatalogError::Unreadable { object: object.clone(), source }
    }

    pub(crate) fn of_frame(object: &Path, error: FrameError) -> Self {
        match error {
            FrameError::Damaged(reason) => CatalogError::damaged(object, reason),
            FrameError::Format { found, reads } => CatalogError::Format { object: object.clone(), found, reads },
        }
    }
}

/// The object's bytes; None where there is none.
pub(crate) async fn read_object(
    objects: &dyn ObjectStore,
    object: &Path,
) -> Result<Option<bytes::Bytes>, CatalogError> {
    let read = async { objects.get(object).await?.bytes().await };
    match read.await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(source) => Err(CatalogError::unreadable(object, source)),
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn only_what_could_not_be_tried_is_tried_again() {
        let path = Path::from("commits/1");
        assert_eq!(read_object(&InMemory::new(), &path).await.unwrap(), None);
        let refused = || Error::Generic { store: "s", source: "503".into() };
        let cases = [
            (CatalogError::damaged(&path, "x"), ErrorKind::Damaged),
            (CatalogError::missing(&path, "x"), ErrorKind::Damaged),
            (CatalogError::Format { object: path.clone(), found: 2, reads: 1..=1 }, ErrorKind::Damaged),
            (CatalogError::unreadable(&path, refused()), ErrorKind::Retry),
            (CatalogError::Unwritable { object: path.clone(), source: refused() }, ErrorKind::Retry),
            (CatalogError::Bug("x".to_owned()), ErrorKind::Bug),
        ];
        for (error, kind) in cases {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
