//! What needs no key: whether the server is alive and ready, and the reference of its API.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::Response;

use super::docs;
use super::http::call::{Call, json};
use super::http::problem::Problem;
use super::services::Services;

static DOCS_POLICY: LazyLock<String> = LazyLock::new(docs::policy);

/// `GET /health`
pub(crate) async fn health(_: &Services, _: &mut Call) -> Result<Response, Problem> {
    Ok(json(r#"{"status":"ok"}"#))
}

/// `GET /ready`
pub(crate) async fn ready(services: &Services, _: &mut Call) -> Result<Response, Problem> {
    services.store.check_writable()?;
    Ok(json(r#"{"status":"ready"}"#))
}

/// `GET /status`
pub(crate) async fn status(services: &Services, _: &mut Call) -> Result<Response, Problem> {
    let status = services.store.status().await?;
    let body = serde_json::to_vec(&status).map_err(|_| Problem::internal())?;
    Ok(json(body))
}

/// `GET /openapi.json`
pub(crate) async fn openapi(services: &Services, _: &mut Call) -> Result<Response, Problem> {
    Ok(json(services.reference.openapi.clone()))
}

/// `GET /docs`
pub(crate) async fn docs(services: &Services, _: &mut Call) -> Result<Response, Problem> {
    let mut response = Response::new(Body::from(services.reference.docs.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(policy) = HeaderValue::try_from(DOCS_POLICY.as_str()) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    Ok(response)
}
