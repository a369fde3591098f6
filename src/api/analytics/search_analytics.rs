//! Reports on search events (contract A4).

use axum::body::Body;
use axum::response::Response;
use futures::TryStreamExt;

use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::services::Services;
use crate::model::time;
use crate::query::engine::SearchReport;

/// `GET /query/top-search-queries`
pub(crate) async fn top_search_queries(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    report(services, call, SearchReport::TopQueries).await
}

/// `GET /query/weekly-search-users`
pub(crate) async fn weekly_search_users(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    report(services, call, SearchReport::WeeklyUsers).await
}

async fn report(services: &Services, call: &Call, report: SearchReport) -> Result<Response, Problem> {
    let after = match call.parameters.text("after") {
        None => None,
        Some(text) => Some(time::parse_query_time(text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Problem::bad_request(format!("after: `{shown}` given, an ISO 8601 time or date is needed"))
        })?),
    };
    let scope = call.caller()?.scope_in(call.parameters.text("project_id"))?;
    let answer = services.engine.search_report(services.store.snapshot(), scope, report, after).await?;
    let body = answer.body.inspect_err(|error| tracing::warn!(%error, "report failed after its first byte"));
    Ok(json(Body::from_stream(body)))
}
