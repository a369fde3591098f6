//! `/events` (contract A4).

use axum::response::Response;

use super::Services;
use super::gate::{Call, json};
use super::problem::Problem;
use crate::model::event;

/// `POST /events`
pub async fn log(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let document = call.read_json().await?.parse(event::parse).await??;
    let identity = call.caller()?.identity(document.project_id.as_deref(), document.integration_id.as_deref())?;
    let event = services.store.log_event(identity, document).await?;
    let mut body = Vec::new();
    event.write(&mut body);
    Ok(json(body))
}
