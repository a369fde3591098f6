//! Reports on search events (contract A4).

use axum::response::Response;

use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::render::body::encode;
use crate::api::render::json::{Envelope, JsonRows};
use crate::api::services::Services;
use crate::model::time;
use crate::query::compile::report::SearchReport;
use crate::query::execute::question::Question;

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
    let (read, chunks) = encode(JsonRows::new(Envelope::Report), call.holder().clone());
    let question = Question::SearchReport { report, after };
    let task = services.engine.ask(services.store.snapshot(), scope, question, read).await?;
    Ok(json(chunks.body(task, "report").await?))
}
