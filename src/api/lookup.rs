//! Conversations by what a path names, in the projects that the caller reaches.

use std::sync::Arc;

use super::http::call::Call;
use super::http::problem::Problem;
use super::services::Services;
use crate::model::conversation::Conversation;
use crate::storage::read::lookup::Lookup;

/// Newest first, of the projects that the caller reaches; a web key finds what it reaches (contract A1).
pub(crate) async fn find(
    services: &Services,
    call: &Call,
    lookup: Lookup<'_>,
) -> Result<Vec<Arc<Conversation>>, Problem> {
    let caller = call.caller()?;
    let Some(scope) = caller.reach(call.parameters.text("projectId")) else { return Ok(Vec::new()) };
    let turn = call.holder().turn_to_read().await?;
    let mut found = services.store.find(&scope.organization_id, scope.project_id.as_ref(), lookup).await?;
    found.retain(|conversation| caller.finds(&conversation.origin));
    // And once more what is answered of them.
    call.hold(2 * found.iter().map(|conversation| conversation.memory_bytes()).sum::<usize>())?;
    drop(turn);
    Ok(found)
}

/// What a change is meant for: 404 without any, 409 where several projects have one.
pub(crate) fn the_one(mut found: Vec<Arc<Conversation>>) -> Result<Arc<Conversation>, Problem> {
    if found.len() > 1 {
        let projects = found.iter().map(|conversation| conversation.project_id.as_str());
        return Err(several_projects("this conversation", projects));
    }
    found.pop().ok_or_else(unknown)
}

/// 409: a change by an organization's key must not mean more than one project.
pub(crate) fn several_projects<'a>(what: &str, projects: impl IntoIterator<Item = &'a str>) -> Problem {
    let projects: Vec<&str> = projects.into_iter().collect();
    Problem::conflict(format!("several projects have {what}, name one with ?projectId=: {}", projects.join(", ")))
}

pub(crate) fn unknown() -> Problem {
    Problem::not_found("no such conversation")
}
