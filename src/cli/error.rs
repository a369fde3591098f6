/// What ends a command; printed to stderr, with exit status 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Store(#[from] crate::storage::store::StoreError),
    #[error(transparent)]
    Key(#[from] crate::auth::key_store::KeyError),
    #[error(transparent)]
    Query(#[from] crate::query::error::QueryError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error("{0}")]
    Argument(String),
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
}

/// What ends an import before its files do; a rejected line does not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("{path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] crate::storage::error::StoreError),
    #[error("a parsing thread stopped unexpectedly")]
    Thread,
}
