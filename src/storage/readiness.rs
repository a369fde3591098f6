//! Whether the store takes changes and shows all that is acknowledged, and if not, why: what `GET /ready` tells
//! (contract A7).
//!
//! Anybody may read a reason, so it names no file and nothing that is stored; the log has the whole error.

use std::error::Error;
use std::io;
use std::iter;

use tokio::sync::watch;

use super::error::{ErrorKind, StoreError};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Readiness {
    #[default]
    Ready,
    /// No changes are taken. It heals by itself once the reason is gone.
    Waiting { reason: String },
    /// No changes are taken by this process any more.
    Ended { kind: ErrorKind, reason: String },
}

/// Who writes the store tells it, everybody else looks.
pub(crate) type ReadinessSender = watch::Sender<Readiness>;

impl Readiness {
    /// `what` is what cannot be done for now.
    pub(crate) fn waiting(what: &str, error: &(dyn Error + 'static)) -> Readiness {
        Readiness::Waiting { reason: format!("{what} ({})", in_short(error)) }
    }

    pub(crate) fn ended(kind: ErrorKind, error: &(dyn Error + 'static)) -> Readiness {
        let reason = match kind {
            ErrorKind::Fenced => {
                "another process writes the store now: this one takes no changes and does not see those \
                                  of the other one; send all requests there and stop this one"
                    .to_owned()
            }
            ErrorKind::Restart => format!(
                "an fsync failed ({}), so this process writes nothing more; check the disk, then start it again. What \
                 was acknowledged is safe and can be read",
                in_short(error)
            ),
            ErrorKind::Damaged => "what is stored is not as it must be, so this process writes nothing more; its log \
                                   names the object and what to do. What was acknowledged can be read"
                .to_owned(),
            _ => {
                "the server failed, so this process writes nothing more; its log has the error. What was acknowledged \
                  is safe and can be read; start it again"
                    .to_owned()
            }
        };
        Readiness::Ended { kind, reason }
    }

    /// Why no changes are taken.
    pub(crate) fn reason(&self) -> Option<String> {
        match self {
            Readiness::Ready => None,
            Readiness::Waiting { reason } | Readiness::Ended { reason, .. } => Some(reason.clone()),
        }
    }

    /// What a change is told.
    pub(crate) fn refusal(&self) -> Option<StoreError> {
        match self.clone() {
            Readiness::Ready => None,
            Readiness::Waiting { reason } => Some(StoreError::Unavailable(reason)),
            Readiness::Ended { kind, reason } => Some(StoreError::Ended { kind, reason }),
        }
    }
}

/// What is at the bottom of an error, without the names that those above add.
pub(crate) fn in_short(error: &(dyn Error + 'static)) -> String {
    let chain = iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    match chain.filter_map(|error| error.downcast_ref::<io::Error>()).last() {
        // Of the operating system, which knows no names.
        Some(error) if error.raw_os_error().is_some() => error.to_string(),
        Some(error) => error.kind().to_string(),
        None => "the object store failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_the_cause_and_no_file() {
        let full = || io::Error::from_raw_os_error(28);
        let nested = StoreError::caused("/srv/store/wal/7", full());
        assert_eq!(in_short(&nested), full().to_string());
        let own = StoreError::caused("x", io::Error::new(io::ErrorKind::PermissionDenied, "/srv/store/wal/7"));
        assert_eq!(in_short(&own), "permission denied");
        let source = object_store::Error::Generic { store: "s", source: full().into() };
        let store = StoreError::caused("x", source);
        assert_eq!(in_short(&store), full().to_string());
        let Readiness::Waiting { reason } = Readiness::waiting("the log cannot be written", &store) else {
            panic!("it waits")
        };
        assert!(reason.starts_with("the log cannot be written (No space left"), "{reason}");
        for kind in [ErrorKind::Fenced, ErrorKind::Restart, ErrorKind::Damaged, ErrorKind::Bug] {
            let ended = Readiness::ended(kind, &nested);
            let refusal = ended.refusal().unwrap();
            assert_eq!(refusal.kind(), kind);
            assert!(!refusal.to_string().contains("/srv"), "{refusal}");
        }
    }
}
