//! `/query/…/export`: the rows of a query as CSV (contract A4).

use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::Response;

use crate::api::http::call::Call;
use crate::api::http::problem::Problem;
use crate::api::render::body::encode;
use crate::api::render::csv::CsvWriter;
use crate::api::services::Services;
use crate::query::check::check_export;
use crate::query::execute::question::Question;
use crate::query::view::{self, View};

/// `POST /query/conversations/export`
pub(crate) async fn conversations(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    export(services, call, &view::CONVERSATIONS).await
}

/// `POST /query/events/export`
pub(crate) async fn events(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    export(services, call, &view::EVENTS).await
}

/// `POST /query/feedback/export`
pub(crate) async fn feedback(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    export(services, call, &view::FEEDBACK).await
}

/// `POST /query/semantic-threads/export`
pub(crate) async fn semantic_threads(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    export(services, call, &view::SEMANTIC_THREADS).await
}

async fn export(services: &Services, call: &mut Call, view: &'static View) -> Result<Response, Problem> {
    let export = call.read_json().await?.parse(|body| check_export(view, body)).await??;
    let scope = call.caller()?.scope();
    let (read, chunks) = encode(CsvWriter::new(export.formula_safe), call.holder().clone());
    let task = services.engine.ask(services.store.snapshot(), scope, Question::Export(export.query), read).await?;
    let mut response = Response::new(chunks.body(task, "export").await?);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    if let Ok(disposition) = HeaderValue::try_from(format!("attachment; filename=\"{}.csv\"", view.name)) {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}
