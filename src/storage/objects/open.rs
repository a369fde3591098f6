//! Opens the object store that a folder or a URL names.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use url::Url;

use super::counted::CountedStore;
use super::disk::OpenFolderError;
use super::disk_cache::CachedStore;
use super::durable::DurableLocalStore;
use super::remote::{self, RemoteError};
use crate::environment::{Environment, Ids};
use crate::storage::error::{Cause, ErrorKind, StoreError};

#[derive(Debug, thiserror::Error)]
enum OpenStoreError {
    #[error(
        "the store {url} has the unknown scheme {scheme:?}; a folder, s3://, gs://, az://, file:// or memory:// is needed"
    )]
    Scheme { url: String, scheme: String },
    #[error("the store's url is not valid: {reason}")]
    Url { reason: String },
    #[error("the store {url} cannot be opened: {source}")]
    Remote { url: String, source: RemoteError },
    #[error("the store {folder} cannot be opened: {source}")]
    Folder { folder: String, source: OpenFolderError },
}

impl Cause for OpenStoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            OpenStoreError::Remote { .. } | OpenStoreError::Scheme { .. } | OpenStoreError::Url { .. } => {
                ErrorKind::Request
            }
            OpenStoreError::Folder { .. } => ErrorKind::Retry,
        }
    }
}

/// What a folder or a URL leads to.
struct OpenedStore {
    objects: Arc<dyn ObjectStore>,
    /// Of a local one.
    folder: Option<PathBuf>,
    /// Of one that is not on this machine, as it may be shown.
    remote: Option<Arc<str>>,
}

impl OpenedStore {
    fn near(objects: impl ObjectStore, folder: Option<PathBuf>) -> OpenedStore {
        OpenedStore { objects: Arc::new(objects), folder, remote: None }
    }
}

/// The system, with the objects behind a folder or URL, and the folder of a local store. No lock is taken, and nothing is
/// asked of a remote store.
pub(crate) fn open_environment(url_or_folder: &str) -> Result<(Environment, Option<PathBuf>), StoreError> {
    let opened = open_store(url_or_folder, Ids::system());
    // The place stands in the error, without what may be secret in it.
    let OpenedStore { objects, folder, remote } = opened.map_err(|error| StoreError::caused("--store", error))?;
    let counted = CountedStore::new(objects);
    let requests = counted.requests();
    Ok((Environment::system(Arc::new(counted)).with_requests(requests, remote), folder))
}

/// What is read of a remote store goes through a cache in this folder, of so many bytes; none with 0.
pub(crate) fn cached_on_disk(environment: Environment, folder: PathBuf, bytes: u64) -> Environment {
    match environment.remote.clone() {
        Some(url) if bytes > 0 => {
            let objects = CachedStore::new(Arc::clone(&environment.objects), &url, folder, bytes);
            let disk_cache = Some(objects.held());
            Environment { objects: Arc::new(objects), disk_cache, ..environment }
        }
        _ => environment,
    }
}

/// Opens a store by its URL, or by a local folder's path; the folder is created.
fn open_store(url_or_folder: &str, ids: Ids) -> Result<OpenedStore, OpenStoreError> {
    let folder = if url_or_folder.contains("://") {
        let url = Url::parse(url_or_folder).map_err(|error| OpenStoreError::Url { reason: error.to_string() })?;
        match url.scheme() {
            "file" => url
                .to_file_path()
                .map_err(|()| OpenStoreError::Url { reason: "it does not name a local folder".to_owned() })?,
            "memory" => return Ok(OpenedStore::near(InMemory::new(), None)),
            "s3" | "s3a" | "gs" | "az" | "azure" | "abfs" | "abfss" | "adl" | "http" | "https" => {
                let shown = remote::shown(&url);
                let objects =
                    remote::open(&url).map_err(|source| OpenStoreError::Remote { url: shown.clone(), source })?;
                return Ok(OpenedStore { objects, folder: None, remote: Some(shown.into()) });
            }
            scheme => return Err(OpenStoreError::Scheme { url: remote::shown(&url), scheme: scheme.to_owned() }),
        }
    } else {
        PathBuf::from(url_or_folder)
    };
    let store = DurableLocalStore::open(&folder, ids)
        .map_err(|source| OpenStoreError::Folder { folder: folder.display().to_string(), source })?;
    let root = store.root().to_owned();
    Ok(OpenedStore::near(store, Some(root)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn error(url: &str) -> String {
        open_environment(url).unwrap_err().to_string()
    }

    #[test]
    fn urls() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain dir");
        let opened = open_store(plain.to_str().unwrap(), Ids::system()).unwrap();
        assert_eq!(opened.folder.unwrap(), plain.canonicalize().unwrap());
        let url = Url::from_file_path(folder.path().join("by url")).unwrap();
        let opened = open_store(url.as_str(), Ids::system()).unwrap();
        assert!(opened.folder.unwrap().ends_with("by url") && opened.remote.is_none());
        assert!(open_store("memory://", Ids::system()).unwrap().folder.is_none());
        assert!(matches!(open_store("ftp://x", Ids::system()), Err(OpenStoreError::Scheme { .. })));
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(open_store(file.to_str().unwrap(), Ids::system()), Err(OpenStoreError::Folder { .. })));
    }

    #[test]
    fn a_remote_store_is_opened_without_a_request() {
        let (environment, folder) = open_environment("s3://bucket/a/b").unwrap();
        assert_eq!((environment.remote.as_deref(), folder), (Some("s3://bucket/a/b"), None));
        assert!(open_environment("gs://bucket").unwrap().0.remote.is_some());
    }

    #[test]
    fn errors_name_the_store_and_no_secret() {
        for url in
            ["s3://key:hidden@bucket/a", "s3://bucket/a?secret=hidden", "ftp://key:hidden@x", "https://x/a?hidden"]
        {
            let error = error(url);
            assert!(!error.contains("hidden") && error.contains("the store "), "{error}");
        }
        assert!(error("http://bucket/a").contains("http://bucket/a"));
    }
}
