//! `/query/property-keys` and `/query/property-values` (contract A4).

use axum::response::Response;
use serde_json::json;

use super::Services;
use super::body::sized;
use super::gate::{Call, json};
use super::problem::Problem;
use crate::query::check::{check_property_keys, check_property_values};
use crate::query::dsl::PropertyQuery;

/// `POST /query/property-keys`
pub async fn keys(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let query = call.read_json().await?.parse(check_property_keys).await??;
    answer(services, call, query).await
}

/// `POST /query/property-values`
pub async fn values(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let query = call.read_json().await?.parse(check_property_values).await??;
    answer(services, call, query).await
}

async fn answer(services: &Services, call: &Call, query: PropertyQuery) -> Result<Response, Problem> {
    let scope = call.caller()?.scope();
    let results = services.engine.properties(services.store.snapshot(), scope, query).await?;
    let bytes = results.iter().map(String::len).sum();
    Ok(json(sized(bytes, move || json!({ "results": results }).to_string()).await?))
}
