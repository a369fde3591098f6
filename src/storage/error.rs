//! What can go wrong in the store; the variant tells the caller what to do.

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
    /// The store takes no changes now; what was acknowledged is safe.
    #[error("{0}")]
    Unavailable(String),
    /// Another process has the store open for writing.
    #[error("{0}")]
    Locked(String),
    /// What is stored contradicts itself. The message names the object and what an operator can do.
    #[error("{0}")]
    Corrupt(String),
    #[error("{context}: {source}")]
    Io { context: String, source: Box<dyn std::error::Error + Send + Sync> },
}

impl StoreError {
    pub(crate) fn io(
        context: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError::Io { context: context.into(), source: source.into() }
    }
}
