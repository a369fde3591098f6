//! `/query/…` (contract A3).

use axum::body::Body;
use axum::response::Response;
use futures::TryStreamExt;

use super::Services;
use super::gate::{Call, json};
use super::problem::Problem;
use crate::query::check::check;
use crate::query::view;

/// `POST /query/conversations`
pub async fn conversations(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let query = call.read_json().await?.parse(|body| check(&view::CONVERSATIONS, body)).await??;
    let scope = call.caller()?.scope();
    let answer = services.engine.run(services.store.snapshot(), scope, query).await?;
    // An error from here on breaks the connection off: a cut body must not look like an answer.
    let body = answer.body.inspect_err(|error| tracing::warn!(%error, "query failed after its first byte"));
    Ok(json(Body::from_stream(body)))
}
