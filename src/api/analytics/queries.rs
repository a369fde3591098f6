//! `/query/…` (contracts A3 and A4).

use axum::response::Response;

use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::render::body::encode;
use crate::api::render::json::{Envelope, JsonRows};
use crate::api::services::Services;
use crate::query::check::check;
use crate::query::execute::question::Question;
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
    let caller = call.caller()?;
    caller.check_extension(query.extension())?;
    let scope = caller.scope();
    let envelope = Envelope::Query { page_size: query.limit, lists_columns: query.shape.columns };
    let (read, chunks) = encode(JsonRows::new(envelope), call.holder().clone());
    let task = services.engine.ask(services.store.snapshot(), scope, Question::Query(query), read).await?;
    Ok(json(chunks.body(task, "query").await?))
}
