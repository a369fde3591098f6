//! `/events` (contract A4).

use axum::response::Response;

use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::lookup::several_projects;
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

/// `DELETE /events/{id}`
pub(crate) async fn delete(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("no such event");
    let scope = call.caller()?.reach(call.parameters.text("projectId")).ok_or_else(unknown)?;
    let snapshot = services.store.snapshot();
    let (organization, project) = (&scope.organization_id, scope.project_id.as_ref());
    let found = snapshot.tables.events.find(&snapshot.store, organization, project, call.id()?).await?;
    let event = match found.as_slice() {
        [] => return Err(unknown()),
        [event] => event,
        several => return Err(several_projects("this event", several.iter().map(|event| event.project_id.as_str()))),
    };
    if services.store.delete_event(&event.key()).await?.is_nothing() {
        return Err(unknown());
    }
    Ok(json(r#"{"success":true,"message":"Event deleted"}"#))
}
