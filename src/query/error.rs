use thiserror::Error;

use crate::storage::error::ErrorKind;

/// Why a query was not answered. The API turns each kind into its status (contract A1).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum QueryError {
    /// The body is not JSON: 400.
    #[error("the body is not JSON: {0}")]
    Syntax(String),
    /// JSON, but no valid request: 422. `path` is the place in the request, such as
    /// `where.and[1].condition.operator`, and empty for the body itself.
    #[error("{}: {message}", if path.is_empty() { "request body" } else { path })]
    Invalid { path: String, message: String },
    /// 422 and not 5xx, which the official client would repeat for an hour.
    #[error("the query did not finish within {seconds} seconds; narrow it with `where`")]
    Deadline { seconds: u64 },
    /// 422.
    #[error("the query needs more than its memory limit of {bytes} bytes; narrow it or group by fewer values")]
    Memory { bytes: u64 },
    /// 422.
    #[error("the query needs more than the {bytes} bytes of disk space that queries may use; narrow it")]
    Spill { bytes: u64 },
    /// 429 where one's own share is over, else 503, both with `Retry-After`.
    #[error("{}; try again in {seconds} s", if *is_own { "the key or its organization runs as many queries as its share is" } else { "all query slots are taken" })]
    NoSlot { is_own: bool, seconds: u64 },
    /// 503 with `Retry-After`.
    #[error("the queries of all together need all the memory that there is for them; try again")]
    NoMemory,
    /// What is stored could not be read: 503 where that may pass, else 500. The text is for the log, the object is told.
    #[error("the query could not read what is stored: {cause}")]
    Storage { kind: ErrorKind, object: Option<String>, cause: String },
    /// 500. The text is for the log only.
    #[error("the query failed: {0}")]
    Internal(String),
}
