//! `/query/…` (contracts A3 and A4).

use axum::body::Body;
use axum::response::Response;
use futures::TryStreamExt;

use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::services::Services;
use crate::query::check::check;
use crate::query::view::{self, View};

/// `POST /query/conversations`
pub(crate) async fn conversations(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    answer(services, call, &view::CONVERSATIONS).await
}

/// `POST /query/events`
pub(crate) async fn events(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    answer(services, call, &view::EVENTS).await
}

/// `POST /query/feedback`
pub(crate) async fn feedback(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    answer(services, call, &view::FEEDBACK).await
}

/// `POST /query/semantic-threads`
pub(crate) async fn semantic_threads(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    answer(services, call, &view::SEMANTIC_THREADS).await
}

async fn answer(services: &Services, call: &mut Call, view: &'static View) -> Result<Response, Problem> {
    let query = call.read_json().await?.parse(move |body| check(view, body)).await??;
    let scope = call.caller()?.scope();
    let answer = services.engine.run(services.store.snapshot(), scope, query).await?;
    // An error from here on breaks the connection off: a cut body must not look like an answer.
    let body = answer.body.inspect_err(|error| tracing::warn!(%error, "query failed after its first byte"));
    Ok(json(Body::from_stream(body)))
}
