//! Conversations by what a path names, in the projects that the caller reaches.

use std::sync::Arc;

use super::http::call::Call;
use super::http::problem::Problem;
use super::services::Services;
use crate::model::conversation::Conversation;
use crate::storage::read::lookup::Lookup;

/// Newest first, of the projects that the caller reaches.
pub(crate) async fn find(
    services: &Services,
    call: &Call,
    lookup: Lookup<'_>,
) -> Result<Vec<Arc<Conversation>>, Problem> {
    match call.caller()?.reach(call.parameters.text("projectId")) {
        None => Ok(Vec::new()),
        Some(scope) => Ok(services.store.find(&scope.organization_id, scope.project_id.as_ref(), lookup).await?),
    }
}

/// What a change is meant for: 404 without any, 409 where several projects have one.
pub(crate) fn the_one(mut found: Vec<Arc<Conversation>>) -> Result<Arc<Conversation>, Problem> {
    if found.len() > 1 {
        let projects: Vec<&str> = found.iter().map(|conversation| conversation.project_id.as_str()).collect();
        return Err(Problem::conflict(format!(
            "several projects have this conversation, name one with ?projectId=: {}",
            projects.join(", ")
        )));
    }
    found.pop().ok_or_else(unknown)
}

pub(crate) fn unknown() -> Problem {
    Problem::not_found("no such conversation")
}
