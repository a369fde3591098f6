//! `/events` (contract A4).

use axum::response::Response;

use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::services::Services;
use crate::model::event;

/// `POST /events`
pub(crate) async fn log(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let document = call.read_json().await?.parse(event::parse).await??;
    let identity = call.caller()?.identity(document.project_id.as_deref(), document.integration_id.as_deref())?;
    let event = services.store.log_event(identity, document).await?;
    let mut body = Vec::new();
    event.write(&mut body);
    Ok(json(body))
}
