//! Errors as `application/problem+json` (contract A1). The one place that turns the layers' errors into statuses.

use std::fmt::Display;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::json;

use crate::auth::scopes::Denied;
use crate::model::fields::DocumentError;
use crate::query::error::QueryError;
use crate::query::search::list::SearchError;
use crate::storage::error::{ErrorKind, StoreError};

/// A refusal. `detail` may name what the caller sent, so it is answered, never logged.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    retry_after_seconds: Option<u64>,
    /// Set where the rest of the request was given up on.
    closes: bool,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after_seconds: None, closes: false }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "the route exists, but not with this method")
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than the limit of {limit} bytes"))
    }

    pub(crate) fn unsupported(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    pub(crate) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    pub(crate) fn unavailable(detail: impl Into<String>, retry_after_seconds: u64) -> Self {
        let retry_after_seconds = Some(retry_after_seconds.max(1));
        Self { retry_after_seconds, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// `wait`: until it may be tried again.
    pub(crate) fn too_many(detail: impl Into<String>, wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1_000).max(1);
        let retry_after_seconds = Some(u64::try_from(seconds).unwrap_or(u64::MAX));
        Self { retry_after_seconds, ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// Says nothing about the cause; log that where it is known.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed; its log has the requestId")
    }

    pub(crate) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    pub(crate) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    fn code(&self) -> &'static str {
        match self.status {
            StatusCode::BAD_REQUEST => "bad_request",
            StatusCode::UNAUTHORIZED => "unauthorized",
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
            StatusCode::CONFLICT => "conflict",
            StatusCode::PAYLOAD_TOO_LARGE => "payload_too_large",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
            StatusCode::UNPROCESSABLE_ENTITY => "unprocessable_entity",
            StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
            StatusCode::SERVICE_UNAVAILABLE => "service_unavailable",
            _ => "internal_server_error",
        }
    }

    /// `instance` is the request's path. The header `x-request-id` is the gate's.
    pub(crate) fn into_response(self, instance: &str, request_id: &str) -> Response {
        let code = self.code();
        let body = json!({
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "instance": instance,
            "requestId": request_id,
            "code": code,
            "error": {"code": code, "message": self.detail},
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.closes {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<DocumentError> for Problem {
    fn from(error: DocumentError) -> Self {
        let detail = error.to_string();
        if error.syntax { Self::bad_request(detail) } else { Self::unprocessable(detail) }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Kind(_) | Denied::OtherProject(_) | Denied::OtherIntegration | Denied::Extension(_) => {
                Self::forbidden(denied.to_string())
            }
            Denied::NoProject => Self::unprocessable(denied.to_string()),
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match &error {
            QueryError::Syntax(_) => Self::bad_request(error.to_string()),
            // 422 also for a query that hits a limit: the official client repeats 5xx for an hour.
            QueryError::Invalid { .. }
            | QueryError::Deadline { .. }
            | QueryError::Memory { .. }
            | QueryError::Spill { .. } => Self::unprocessable(error.to_string()),
            QueryError::Storage { kind, object, .. } => Self::of_store(*kind, object.as_deref(), &error),
            QueryError::NoSlot { is_own: true, seconds } => {
                Self::too_many(error.to_string(), Duration::from_secs(*seconds))
            }
            QueryError::NoSlot { is_own: false, seconds } => Self::unavailable(error.to_string(), *seconds),
            QueryError::NoMemory => Self::unavailable(error.to_string(), 1),
            QueryError::Internal(cause) => {
                tracing::error!(cause, "query failed");
                Self::internal()
            }
        }
    }
}

impl From<SearchError> for Problem {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Busy => Self::unavailable(error.to_string(), 1),
            SearchError::Query(error) => error.into(),
            SearchError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(detail) => Self::conflict(detail),
            StoreError::Invalid(detail) => Self::unprocessable(detail),
            StoreError::Busy { retry_after_seconds } => Self {
                retry_after_seconds: Some(retry_after_seconds.max(1)),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "more is being logged than the store takes; try again later")
            },
            StoreError::ProjectFull { retry_after_seconds } => Self {
                retry_after_seconds: Some(retry_after_seconds.max(1)),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, error.to_string())
            },
            StoreError::Unavailable(detail) => Self::unavailable(detail, 1),
            StoreError::Ended { reason, .. } => Self::unavailable(reason, 60),
            error => Self::of_store(error.kind(), error.object().map(AsRef::as_ref), &error),
        }
    }
}

impl Problem {
    /// What is wrong inside is logged, not told; but the damaged object is, by its path in the store.
    fn of_store(kind: ErrorKind, object: Option<&str>, error: &dyn Display) -> Self {
        match kind {
            ErrorKind::Retry | ErrorKind::Restart | ErrorKind::Full => {
                tracing::error!(%error, "store is unavailable");
                Self::unavailable("the store is unavailable", 1)
            }
            ErrorKind::Fenced => {
                tracing::error!(%error, "another process writes the store");
                Self::unavailable("this server takes no more changes: another one does", 1)
            }
            ErrorKind::Damaged => {
                tracing::error!(%error, "store is damaged");
                match object {
                    Some(object) => Self::new(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        format!(
                            "what is stored is damaged: {object}; the server's log says how, and what an operator can do"
                        ),
                    ),
                    None => Self::internal(),
                }
            }
            ErrorKind::Request | ErrorKind::Bug => {
                tracing::error!(%error, "store failed: this is a bug");
                Self::internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn every_problem_has_the_published_shape() {
        let busy = Problem::from(StoreError::Busy { retry_after_seconds: 0 });
        for (problem, status, code, title) in [
            (Problem::bad_request("d"), 400, "bad_request", "Bad Request"),
            (Problem::unauthorized("d"), 401, "unauthorized", "Unauthorized"),
            (Problem::forbidden("d"), 403, "forbidden", "Forbidden"),
            (Problem::not_found("d"), 404, "not_found", "Not Found"),
            (Problem::method_not_allowed(), 405, "method_not_allowed", "Method Not Allowed"),
            (Problem::conflict("d"), 409, "conflict", "Conflict"),
            (Problem::too_large(5), 413, "payload_too_large", "Payload Too Large"),
            (Problem::unsupported("d"), 415, "unsupported_media_type", "Unsupported Media Type"),
            (Problem::unprocessable("d"), 422, "unprocessable_entity", "Unprocessable Entity"),
            (busy, 429, "too_many_requests", "Too Many Requests"),
            (Problem::internal(), 500, "internal_server_error", "Internal Server Error"),
            (Problem::unavailable("d", 3), 503, "service_unavailable", "Service Unavailable"),
        ] {
            let detail = problem.detail.clone();
            let response = problem.into_response("/conversations/\"x\"", "r1");
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().parse::<u64>());
            assert_eq!(
                retry.is_some_and(|seconds| seconds.is_ok_and(|seconds| seconds > 0)),
                [429, 503].contains(&status)
            );
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let expected = json!({
                "title": title, "status": status, "detail": detail, "instance": "/conversations/\"x\"",
                "requestId": "r1", "code": code, "error": {"code": code, "message": detail},
            });
            assert_eq!(body, expected);
        }
    }

    /// Contract A1: what the caller can do about it decides, not where it failed.
    #[test]
    fn a_failure_of_the_store_says_what_to_do() {
        let broken = |kind: io::ErrorKind| StoreError::caused("/srv/data/store/wal/7", io::Error::from(kind));
        let missing = object_store::Error::NotFound { path: "/srv/data/store/x".into(), source: "gone".into() };
        for (error, status, retry) in [
            (StoreError::Conflict("d".into()), 409, false),
            (StoreError::Invalid("d".into()), 422, false),
            (StoreError::Busy { retry_after_seconds: 2 }, 429, true),
            (StoreError::Unavailable("d".into()), 503, true),
            (broken(io::ErrorKind::PermissionDenied), 503, true),
            (broken(io::ErrorKind::TimedOut), 503, true),
            (StoreError::Ended { kind: ErrorKind::Damaged, reason: "d".into() }, 503, true),
            (StoreError::Fenced("d".into()), 503, true),
            (StoreError::Damaged("/srv/data/store/wal/7".into()), 500, false),
            (StoreError::caused("an index", missing), 500, false),
            (StoreError::Bug("no commit is pending".into()), 500, false),
        ] {
            let text = error.to_string();
            let problem = Problem::from(error);
            assert_eq!((problem.status().as_u16(), problem.retry_after_seconds.is_some()), (status, retry), "{text}");
            assert!(!problem.detail.contains("/srv") && !problem.detail.contains("pending"), "{}", problem.detail);
        }
    }

    #[test]
    fn failures_inside_are_not_told() {
        let store = Problem::from(StoreError::Damaged("/srv/data/store/wal/7".to_owned()));
        let query = Problem::from(QueryError::Internal("column secret".to_owned()));
        for problem in [store, query] {
            assert_eq!(problem.status().as_u16(), 500);
            assert!(!problem.detail.contains("secret") && !problem.detail.contains("/srv"));
        }
    }
}
