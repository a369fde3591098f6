//! `/projects/{id}` (contract A1).

use axum::response::Response;
use serde_json::json as value;

use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::services::Services;
use crate::model::fields::{self, Path};
use crate::model::ids::ProjectId;
use crate::model::json::value::Json;
use crate::model::project_limits::{self, ProjectLimits};
use crate::storage::projects::ProjectKey;

/// `PUT /projects/{id}`
pub(crate) async fn set(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let limits = call.read_json().await?.parse(project_limits::parse).await??;
    let project = project(call)?;
    services.store.check_writable()?;
    services.store.projects().set(project.clone(), limits).await?;
    // So that they hold when this is answered.
    services.store.measure_projects().await?;
    Ok(json(told(&project, limits)))
}

/// `GET /projects/{id}`
pub(crate) async fn get(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let project = project(call)?;
    let limits = services.store.projects().get(&project).await?;
    Ok(json(told(&project, limits)))
}

/// Of the caller's organization; any name is one, also of a project that has nothing yet.
fn project(call: &Call) -> Result<ProjectKey, Problem> {
    let id = fields::id_text(Some(Json::String(call.id()?.to_owned())), Path::Root.key("id"), true)?;
    let project_id = ProjectId::new(id.unwrap_or_default());
    Ok(ProjectKey { organization_id: call.caller()?.scope().organization_id, project_id })
}

fn told(project: &ProjectKey, limits: ProjectLimits) -> String {
    let max_age = limits.max_age.map(|age| age.render());
    value!({"id": project.project_id.as_str(), "maxAge": max_age, "maxBytes": limits.max_bytes}).to_string()
}
