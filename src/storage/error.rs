//! What can go wrong in the store, and what whoever asked should do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::path::Path;
use tokio::task::JoinError;

/// What to do about a failure. There are more ways to fail than ways to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// Try again: it could not be tried, or not to its end. What was acknowledged is safe. No free descriptor, no
    /// permission, a store that does not answer: none of it says that anything stored is wrong.
    Retry,
    /// Send another request: this one contradicts what is stored, or names what is not.
    Request,
    /// Start the process again: this one can write nothing more. What was acknowledged is safe.
    Restart,
    /// Wait: there is no room until more is written to files.
    Full,
    /// Have an operator look: what is stored contradicts itself, or is not there.
    Damaged,
    /// Go to the process that writes the store now.
    Fenced,
    /// Report it: this program broke a rule of its own.
    Bug,
}

/// A failure of a layer below.
pub(crate) trait Cause: Error + Send + Sync + 'static {
    fn kind(&self) -> ErrorKind;

    /// The stored object that it is about, where it knows.
    fn object(&self) -> Option<&Path> {
        None
    }
}

/// After it nobody knows what is on the disk, and a second fsync may falsely succeed.
#[derive(Clone, Debug)]
pub(crate) struct FailedFsync {
    path: PathBuf,
    first: Arc<io::Error>,
}

impl FailedFsync {
    pub(crate) fn new(path: PathBuf, first: io::Error) -> FailedFsync {
        FailedFsync { path, first: Arc::new(first) }
    }
}

impl fmt::Display for FailedFsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FailedFsync { path, first } = self;
        write!(f, "no writes after a failed fsync ({}: {first}); open the store again", path.display())
    }
}

impl Error for FailedFsync {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.first.as_ref())
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The request contradicts what is stored; the caller has to change it.
    #[error("{0}")]
    Conflict(String),
    /// The request names something that is not stored.
    #[error("{0}")]
    Invalid(String),
    /// The memory tail is full; try again after this time.
    #[error(
        "the server takes no more changes until it has written some to files; try again in {retry_after_seconds} s"
    )]
    Busy { retry_after_seconds: u64 },
    /// The project has reached what was set for it (contract A1).
    #[error(
        "the project has reached its maxBytes: it takes no documents until some are deleted or the limit is raised"
    )]
    ProjectFull { retry_after_seconds: u64 },
    /// The store takes no changes now; what was acknowledged is safe. The caller is told it as it is.
    #[error("{0}")]
    Unavailable(String),
    /// This process takes no changes any more. The caller is told the reason as it is.
    #[error("{reason}")]
    Ended { kind: ErrorKind, reason: String },
    /// Another process writes the store.
    #[error("{0}")]
    Fenced(String),
    /// What is stored contradicts itself. The message names the object and what an operator can do.
    #[error("{0}")]
    Damaged(String),
    /// What cannot be, unless this program is wrong.
    #[error("{0}")]
    Bug(String),
    #[error("{context}: {source}")]
    Caused { context: String, kind: ErrorKind, object: Option<Path>, source: Box<dyn Error + Send + Sync> },
}

impl StoreError {
    pub(crate) fn caused(context: impl Into<String>, source: impl Cause) -> StoreError {
        let (kind, object) = (source.kind(), source.object().cloned());
        StoreError::Caused { context: context.into(), kind, object, source: source.into() }
    }

    /// The stored object that it is about, where that is known.
    pub(crate) fn object(&self) -> Option<&Path> {
        match self {
            StoreError::Caused { object, .. } => object.as_ref(),
            _ => None,
        }
    }

    /// A value of our own that could not be written as JSON.
    pub(crate) fn unwritable(context: impl Into<String>, source: serde_json::Error) -> StoreError {
        StoreError::Caused { context: context.into(), kind: ErrorKind::Bug, object: None, source: source.into() }
    }

    /// A change is refused for what `cause` says of the store, not for what the change is.
    pub(crate) fn refused(cause: ErrorKind, message: impl Into<String>) -> StoreError {
        let message = message.into();
        match cause {
            ErrorKind::Fenced => StoreError::Fenced(message),
            ErrorKind::Damaged => StoreError::Damaged(message),
            ErrorKind::Bug => StoreError::Bug(message),
            ErrorKind::Restart => StoreError::Ended { kind: cause, reason: message },
            ErrorKind::Retry | ErrorKind::Request | ErrorKind::Full => StoreError::Unavailable(message),
        }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            StoreError::Conflict(_) | StoreError::Invalid(_) => ErrorKind::Request,
            StoreError::Busy { .. } | StoreError::ProjectFull { .. } => ErrorKind::Full,
            StoreError::Unavailable(_) => ErrorKind::Retry,
            StoreError::Fenced(_) => ErrorKind::Fenced,
            StoreError::Damaged(_) => ErrorKind::Damaged,
            StoreError::Bug(_) => ErrorKind::Bug,
            StoreError::Ended { kind, .. } | StoreError::Caused { kind, .. } => *kind,
        }
    }
}

impl Cause for object_store::Error {
    fn kind(&self) -> ErrorKind {
        use object_store::Error;
        match self {
            // Whatever is read is named by something that is stored.
            Error::NotFound { .. } => ErrorKind::Damaged,
            Error::Generic { source, .. } if source.is::<FailedFsync>() => ErrorKind::Restart,
            Error::Generic { .. } | Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => ErrorKind::Retry,
            Error::JoinError { source } => source.kind(),
            // Names are made here, and what a store must be able to do is known.
            _ => ErrorKind::Bug,
        }
    }
}

impl Cause for io::Error {
    fn kind(&self) -> ErrorKind {
        // Writers that look like files have the object store's errors inside.
        let inside = self.get_ref().and_then(|source| source.downcast_ref::<object_store::Error>());
        inside.map_or(ErrorKind::Retry, Cause::kind)
    }
}

/// A task that was stopped comes to no end; one that panicked is wrong.
impl Cause for JoinError {
    fn kind(&self) -> ErrorKind {
        if self.is_panic() { ErrorKind::Bug } else { ErrorKind::Retry }
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::local::LocalFileSystem;

    use super::*;

    fn kind_of(error: object_store::Error) -> ErrorKind {
        StoreError::caused("x", error).kind()
    }

    #[tokio::test]
    async fn what_could_not_be_tried_is_not_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        assert_eq!(kind_of(store.get(&Path::from("missing")).await.unwrap_err()), ErrorKind::Damaged);
        let denied = || object_store::Error::PermissionDenied { path: "p".into(), source: "denied".into() };
        assert_eq!(kind_of(denied()), ErrorKind::Retry);
        // No descriptor is free: too many open files.
        let source = io::Error::from_raw_os_error(24).into();
        assert_eq!(kind_of(object_store::Error::Generic { store: "s", source }), ErrorKind::Retry);
        assert_eq!(kind_of(object_store::Error::NotImplemented { operation: "o".into(), implementer: "i".into() }), {
            ErrorKind::Bug
        });
    }

    #[tokio::test]
    async fn a_panic_is_a_bug_and_a_stop_is_none() {
        let panicked = tokio::spawn(async { panic!("of a test") }).await.unwrap_err();
        assert_eq!(StoreError::caused("x", panicked).kind(), ErrorKind::Bug);
        let stopped = tokio::spawn(std::future::pending::<()>());
        stopped.abort();
        assert_eq!(StoreError::caused("x", stopped.await.unwrap_err()).kind(), ErrorKind::Retry);
    }

    #[test]
    fn a_refusal_is_of_its_causes_kind_and_never_the_requests() {
        for kind in [ErrorKind::Retry, ErrorKind::Restart, ErrorKind::Fenced, ErrorKind::Damaged, ErrorKind::Bug] {
            assert_eq!(StoreError::refused(kind, "m").kind(), kind);
        }
        for kind in [ErrorKind::Request, ErrorKind::Full] {
            assert_eq!(StoreError::refused(kind, "m").kind(), ErrorKind::Retry);
        }
    }
}
