//! Opens the object store that a folder or a URL names.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use url::Url;

use super::disk::OpenFolderError;
use super::durable::DurableLocalStore;
use crate::environment::{Environment, Ids};
use crate::storage::error::{Cause, ErrorKind, StoreError};

#[derive(Debug, thiserror::Error)]
enum OpenStoreError {
    #[error("the store {url} needs a build with remote stores")]
    Remote { url: String },
    #[error("the store {url} has the unknown scheme {scheme:?}; a folder, file:// or memory:// is needed")]
    Scheme { url: String, scheme: String },
    #[error("the store {url} is not a valid url: {reason}")]
    Url { url: String, reason: String },
    #[error(transparent)]
    Folder(#[from] OpenFolderError),
}

impl Cause for OpenStoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            OpenStoreError::Remote { .. } | OpenStoreError::Scheme { .. } | OpenStoreError::Url { .. } => {
                ErrorKind::Request
            }
            OpenStoreError::Folder(_) => ErrorKind::Retry,
        }
    }
}

/// The system, with the objects behind a folder or URL, and the folder of a local store. No lock is taken.
pub(crate) fn open_environment(url_or_folder: &str) -> Result<(Environment, Option<PathBuf>), StoreError> {
    let opened = open_store(url_or_folder, Ids::system());
    let failed = |error| StoreError::caused(format!("the store {url_or_folder} cannot be opened"), error);
    let (objects, local_root) = opened.map_err(failed)?;
    Ok((Environment::system(objects), local_root))
}

/// Opens a store by its URL, or by a local folder's path; the folder is created. Also gives the folder of a local one.
fn open_store(url_or_folder: &str, ids: Ids) -> Result<(Arc<dyn ObjectStore>, Option<PathBuf>), OpenStoreError> {
    let folder = if url_or_folder.contains("://") {
        let owned = || url_or_folder.to_owned();
        let url = Url::parse(url_or_folder)
            .map_err(|error| OpenStoreError::Url { url: owned(), reason: error.to_string() })?;
        match url.scheme() {
            "file" => url.to_file_path().map_err(|()| OpenStoreError::Url {
                url: owned(),
                reason: "it does not name a local folder".to_owned(),
            })?,
            "memory" => return Ok((Arc::new(InMemory::new()), None)),
            "s3" | "s3a" | "gs" | "az" | "azure" | "abfs" | "abfss" | "adl" | "http" | "https" => {
                return Err(OpenStoreError::Remote { url: owned() });
            }
            scheme => return Err(OpenStoreError::Scheme { url: owned(), scheme: scheme.to_owned() }),
        }
    } else {
        PathBuf::from(url_or_folder)
    };
    let store = DurableLocalStore::open(&folder, ids)?;
    let root = store.root().to_owned();
    Ok((Arc::new(store), Some(root)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn urls() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain dir");
        let (_, path) = open_store(plain.to_str().unwrap(), Ids::system()).unwrap();
        assert_eq!(path.unwrap(), plain.canonicalize().unwrap());
        let url = Url::from_file_path(folder.path().join("by url")).unwrap();
        assert!(open_store(url.as_str(), Ids::system()).unwrap().1.unwrap().ends_with("by url"));
        assert!(open_store("memory://", Ids::system()).unwrap().1.is_none());
        for remote in ["s3://bucket/x", "gs://bucket", "az://container/x"] {
            assert!(
                open_store(remote, Ids::system()).unwrap_err().to_string().contains("needs a build with remote stores")
            );
        }
        assert!(matches!(open_store("ftp://x", Ids::system()), Err(OpenStoreError::Scheme { .. })));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(open_store(file.to_str().unwrap(), Ids::system()), Err(OpenStoreError::Folder(_))));
    }
}
