//! `/query/property-keys` and `/query/property-values` (contract A4).

use axum::response::Response;

use crate::api::http::body::Payload;
use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::render::body::encode;
use crate::api::render::json::JsonList;
use crate::api::services::Services;
use crate::query::check::{check_property_keys, check_property_values};
use crate::query::dsl::PropertyQuery;
use crate::query::execute::question::Question;

/// `POST /query/property-keys`
pub(crate) async fn keys(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let query = read(call).await?.parse(check_property_keys).await??;
    answer(services, call, query).await
}

/// `POST /query/property-values`
pub(crate) async fn values(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let query = read(call).await?.parse(check_property_values).await??;
    answer(services, call, query).await
}

/// Without any body: 400, whatever its type would have been.
async fn read(call: &mut Call) -> Result<Payload, Problem> {
    if call.has_body() { call.read_json().await } else { Err(Problem::bad_request("a JSON body is needed")) }
}

async fn answer(services: &Services, call: &Call, query: PropertyQuery) -> Result<Response, Problem> {
    let scope = call.caller()?.scope();
    let (read, chunks) = encode(JsonList::default(), call.holder().clone());
    let task = services.engine.ask(services.store.snapshot(), scope, Question::Properties(query), read).await?;
    Ok(json(chunks.body(task, "list of properties").await?))
}
