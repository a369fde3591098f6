//! What is asked of a remote store before anything else is: whether it is there, and, before it is written to, whether
//! it creates an object only once. Everything that keeps two writers apart stands on that, and imitations of S3 exist
//! that take both.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode};
use uuid::Uuid;

use crate::storage::error::{Cause, ErrorKind};

/// Of the object that the probe makes and removes.
pub(crate) const FOLDER: &str = "probe";

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    #[error("{location} is not there: make the bucket or container first, or name another endpoint ({reason})")]
    Missing { location: String, reason: String },
    #[error("{location} refuses the credentials that the environment gives ({reason})")]
    Refused { location: String, reason: String },
    #[error(
        "{location} needs credentials, and the environment has none: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
         GOOGLE_SERVICE_ACCOUNT, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (profiles in files are not \
         read), or run where the machine has a role ({reason})"
    )]
    NoCredentials { location: String, reason: String },
    #[error("{location} cannot be reached: {reason}")]
    Unreachable { location: String, reason: String },
    #[error(
        "{location} cannot be written to safely: it took an object twice that may be created only once, so two writers \
         would overwrite each other. Use a store that honours `If-None-Match: *` (Amazon S3, MinIO, SeaweedFS, Google \
         Cloud Storage, Azure), or a newer version of this one"
    )]
    CreatesTwice { location: String },
}

impl Cause for ProbeError {
    fn kind(&self) -> ErrorKind {
        match self {
            // The place, or what is given to open it, has to change.
            ProbeError::Missing { .. }
            | ProbeError::Refused { .. }
            | ProbeError::NoCredentials { .. }
            | ProbeError::CreatesTwice { .. } => ErrorKind::Request,
            ProbeError::Unreachable { .. } => ErrorKind::Retry,
        }
    }
}

/// Of machines in the cloud: clients ask there when they are given no credentials.
const METADATA_SERVICES: [&str; 2] = ["169.254.169.254", "metadata.google.internal"];

/// `object_store` 0.13 gives the status of an answer only as text where a prefix was listed.
fn failed(location: &str, source: &Error) -> ProbeError {
    let (location, reason) = (location.to_owned(), reason(source));
    let says = |texts: &[&str]| texts.iter().any(|text| reason.contains(text));
    if says(&METADATA_SERVICES) {
        ProbeError::NoCredentials { location, reason }
    } else if matches!(source, Error::NotFound { .. }) || says(&["404 Not Found", "NoSuchBucket"]) {
        ProbeError::Missing { location, reason }
    } else if matches!(source, Error::PermissionDenied { .. } | Error::Unauthenticated { .. })
        || says(&["401 Unauthorized", "403 Forbidden"])
    {
        ProbeError::Refused { location, reason }
    } else {
        ProbeError::Unreachable { location, reason }
    }
}

/// With what stands at the end of the chain, such as that a connection was refused.
fn reason(error: &Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let (text, last) = (error.to_string(), last.to_string());
    if text.contains(&last) { text } else { format!("{text}: {last}") }
}

/// That the store answers. One LIST: to read a missing object of a missing bucket gives the same as of one that is there.
pub(crate) async fn reach(objects: &dyn ObjectStore, location: &str) -> Result<(), ProbeError> {
    let listed = objects.list(Some(&Path::from(FOLDER))).try_next().await;
    listed.map(|_| ()).map_err(|source| failed(location, &source))
}

/// That of two who create an object only one does.
pub(crate) async fn creates_once(objects: &dyn ObjectStore, location: &str, nonce: Uuid) -> Result<(), ProbeError> {
    let path = Path::from_iter([FOLDER, nonce.to_string().as_str()]);
    let creates = create_twice(objects, &path).await;
    if let Err(error) = objects.delete(&path).await {
        tracing::warn!(%error, object = %path, "what the probe of the store made could not be removed");
    }
    match creates {
        Ok(true) => Ok(()),
        Ok(false) => Err(ProbeError::CreatesTwice { location: location.to_owned() }),
        Err(source) => Err(failed(location, &source)),
    }
}

/// Whether the first one stayed and the second one was told so.
async fn create_twice(objects: &dyn ObjectStore, path: &Path) -> Result<bool, Error> {
    match objects.put_opts(path, "first".into(), PutMode::Create.into()).await {
        // Its answer was lost, and the client has tried again: nobody else knows the name.
        Ok(_) | Err(Error::AlreadyExists { .. }) => {}
        Err(error) => return Err(error),
    }
    match objects.put_opts(path, "second".into(), PutMode::Create.into()).await {
        Ok(_) => Ok(false),
        Err(Error::AlreadyExists { .. }) => Ok(objects.get(path).await?.bytes().await?.as_ref() == b"first"),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::storage::objects::faulty::{Fault, FlakyStore};

    const LOCATION: &str = "s3://bucket/a";

    async fn probed(objects: &dyn ObjectStore) -> Result<(), ProbeError> {
        creates_once(objects, LOCATION, Uuid::from_u128(7)).await
    }

    async fn is_empty(objects: &InMemory) -> bool {
        objects.list(None).try_next().await.unwrap().is_none()
    }

    #[tokio::test]
    async fn a_store_that_creates_once_is_taken_and_left_as_it_was() {
        let objects = InMemory::new();
        probed(&objects).await.unwrap();
        assert!(is_empty(&objects).await);
    }

    #[tokio::test]
    async fn a_store_that_takes_both_is_refused_by_name() {
        let objects = Arc::new(InMemory::new());
        let flaky = FlakyStore::new(objects.clone(), &[]);
        flaky.fail(Some((FOLDER, Fault::CreatedAgain)));
        let error = probed(&flaky).await.unwrap_err();
        assert!(matches!(error, ProbeError::CreatesTwice { .. }), "{error}");
        assert!(error.to_string().starts_with(LOCATION) && error.to_string().contains("If-None-Match"), "{error}");
        assert_eq!(error.kind(), ErrorKind::Request);
        assert!(is_empty(&objects).await);
    }

    #[test]
    fn errors_say_what_to_do() {
        let listed = |text: &str| failed(LOCATION, &Error::Generic { store: "S3", source: text.to_owned().into() });
        let missing = listed("Error performing list request: … 404 Not Found: <Code>NoSuchBucket</Code>");
        assert!(missing.to_string().starts_with("s3://bucket/a is not there: make the bucket"), "{missing}");
        let refused = listed("Server returned non-2xx status code: 403 Forbidden: <Code>InvalidAccessKeyId</Code>");
        assert!(refused.to_string().contains("refuses the credentials"), "{refused}");
        let none = listed("Error performing PUT http://169.254.169.254/latest/api/token: 403 Forbidden");
        assert!(none.to_string().contains("AWS_ACCESS_KEY_ID"), "{none}");
        let away = listed("connection refused");
        assert!(away.to_string().starts_with("s3://bucket/a cannot be reached: "), "{away}");
        assert_eq!([missing.kind(), refused.kind(), none.kind(), away.kind()], {
            [ErrorKind::Request, ErrorKind::Request, ErrorKind::Request, ErrorKind::Retry]
        });
    }

    #[tokio::test]
    async fn a_lost_answer_is_no_refusal_and_a_store_that_fails_is_not_called_unsafe() {
        let objects = Arc::new(InMemory::new());
        let flaky = FlakyStore::new(objects.clone(), &[Fault::AnswerLost]);
        // The client of a remote store tries again by itself.
        let error = probed(&flaky).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retry);
        probed(&flaky).await.unwrap();
        assert!(is_empty(&objects).await);
    }
}
