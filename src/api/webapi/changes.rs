//! What this API sets on conversations.
//!
//! A change runs in a task of its own: a client that goes away must not free the categories' lock while the change
//! waits for the log.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::response::Response;

use super::answer::{no_content, respond};
use super::body::{self, BulkUpdate, ConversationInfo, invalid};
use super::lookup::visible;
use super::{actor, filters, shape};
use crate::api::http::call::Call;
use crate::api::http::problem::Problem;
use crate::api::lookup::{several_projects, the_one, unknown};
use crate::api::services::Services;
use crate::model::actor::Actor;
use crate::model::annotation_change::{AnnotationChange, CategoryChange};
use crate::model::conversation::Conversation;
use crate::model::scope::Scope;
use crate::query::dsl::Filter;
use crate::query::engine::QueryEngine;
use crate::storage::categories::{Assignable, CategoryOwner};
use crate::storage::store::{BulkOutcome, Store};

/// Conversations that one bulk update may change.
const MAX_BULK_ROWS: usize = 100_000;

/// `PUT` or `PATCH /webapi/v2/conversations/{id}`
pub(crate) async fn update(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let info = call.read_json().await?.parse(body::conversation_info).await??;
    let variables = shape::variable_names(&call.parameters)?;
    let conversation = annotate(services, call, info).await?;
    respond(services, variables, conversation).await
}

/// `PUT`, `POST` or `PATCH /webapi/v2/conversations/{id}/title`
pub(crate) async fn set_title(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let info = call.read_json().await?.parse(body::title).await??;
    let variables = shape::variable_names(&call.parameters)?;
    let conversation = annotate(services, call, info).await?;
    respond(services, variables, conversation).await
}

/// `POST /webapi/v2/conversations/{id}/stop`
pub(crate) async fn stop(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    change_one(services, call, AnnotationChange { stop: true, ..AnnotationChange::default() }).await
}

/// `POST /webapi/v2/conversations/{id}/end`
pub(crate) async fn end(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    change_one(services, call, AnnotationChange { end: true, ..AnnotationChange::default() }).await
}

/// `DELETE /webapi/v2/conversations/{id}`
pub(crate) async fn delete(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let actor = actor::actor(call.headers())?;
    let conversation = the_one(visible(services, call, &actor).await?)?;
    if services.store.delete_conversation(&conversation.key()).await?.is_nothing() {
        return Err(unknown());
    }
    Ok(no_content())
}

/// `POST /webapi/v2/conversations/bulk_update`
pub(crate) async fn bulk_update(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let actor = actor::actor(call.headers())?;
    let update = call.read_json().await?.parse(body::bulk_update).await??;
    let names_categories = !update.category_ids.is_empty() || update.info.category_ids.is_some();
    let Some(scope) = actor::scope(call)? else { return Ok(no_content()) };
    let owner = if names_categories { Some(actor::category_owner(call)?) } else { None };
    let filter = bulk_filter(services, &update, owner.as_ref(), &actor).await?;
    let (change, assignable) = change_of(services, update.info, owner.as_ref(), "conversationInfo.").await?;
    let (store, engine) = (Arc::clone(&services.store), Arc::clone(&services.engine));
    let task = tokio::spawn(async move {
        let _assignable = assignable;
        change_all(store, &engine, scope, filter, change, actor).await
    });
    task.await.unwrap_or_else(|_| Err(Problem::internal()))?;
    Ok(no_content())
}

async fn bulk_filter(
    services: &Services,
    update: &BulkUpdate,
    owner: Option<&CategoryOwner>,
    actor: &Actor,
) -> Result<Filter, Problem> {
    let mut parts = filters::visible_to(actor)?;
    if !update.user_ids.is_empty() {
        parts.push(filters::user_in(&update.user_ids)?);
    }
    if !update.llm_app_ids.is_empty() {
        parts.push(filters::integration_in(&update.llm_app_ids)?);
    }
    if !update.conversation_ids.is_empty() {
        parts.push(filters::id_in(&update.conversation_ids)?);
    }
    if let Some(owner) = owner.filter(|_| !update.category_ids.is_empty()) {
        let known = services.conversation_api.categories.list(owner).await?;
        let named = known.into_iter().filter(|one| update.category_ids.contains(&one.category_id));
        parts.push(filters::category_in(&named.map(|category| category.name).collect::<Vec<_>>())?);
    }
    Ok(Filter::And(parts))
}

/// One atomic change of everything that matches.
async fn change_all(
    store: Arc<Store>,
    engine: &QueryEngine,
    scope: Scope,
    filter: Filter,
    change: AnnotationChange,
    actor: Actor,
) -> Result<(), Problem> {
    loop {
        let snapshot = store.snapshot();
        let order = vec![("projectId", false)];
        let found = engine.rows(Arc::clone(&snapshot), scope.clone(), filter.clone(), order, MAX_BULK_ROWS + 1);
        let found = found.await?;
        let projects: BTreeSet<&str> = (0..found.addresses.len()).filter_map(|row| found.text(row, 0)).collect();
        if projects.len() > 1 {
            return Err(several_projects("what matches", projects));
        }
        let rows = found.addresses;
        if rows.len() > MAX_BULK_ROWS {
            return Err(Problem::unprocessable(format!(
                "more than {MAX_BULK_ROWS} conversations match, which is what one bulk update may change; narrow it"
            )));
        }
        let (store, change, actor) = (Arc::clone(&store), change.clone(), actor.clone());
        // Whole conversations are read: not on the threads that serve requests.
        let changed = engine.decode(async move { store.annotate_all(&snapshot, &rows, &change, &actor).await });
        match changed.await?? {
            BulkOutcome::Changed(_) => return Ok(()),
            BulkOutcome::Stale => continue,
            BulkOutcome::TooLarge => {
                return Err(Problem::unprocessable(
                    "the conversations that match are together larger than what one bulk update may change; narrow it",
                ));
            }
        }
    }
}

async fn change_one(services: &Services, call: &Call, change: AnnotationChange) -> Result<Response, Problem> {
    let actor = actor::actor(call.headers())?;
    let conversation = the_one(visible(services, call, &actor).await?)?;
    let changed = services.store.annotate(&conversation.key(), &change, &actor).await?;
    changed.map(|_| no_content()).ok_or_else(unknown)
}

async fn annotate(services: &Services, call: &Call, info: ConversationInfo) -> Result<Arc<Conversation>, Problem> {
    let actor = actor::actor(call.headers())?;
    let conversation = the_one(visible(services, call, &actor).await?)?;
    let owner = CategoryOwner {
        organization_id: conversation.organization_id.clone(),
        project_id: conversation.project_id.clone(),
    };
    let (change, assignable) = change_of(services, info, Some(&owner), "").await?;
    let store = Arc::clone(&services.store);
    let task = tokio::spawn(async move {
        let _assignable = assignable;
        store.annotate(&conversation.key(), &change, &actor).await
    });
    task.await.map_err(|_| Problem::internal())??.ok_or_else(unknown)
}

/// The change, and what keeps its categories in the list until it is made. 422 for an unknown category.
async fn change_of(
    services: &Services,
    info: ConversationInfo,
    owner: Option<&CategoryOwner>,
    prefix: &str,
) -> Result<(AnnotationChange, Option<Assignable>), Problem> {
    let mut change = AnnotationChange {
        state: info.state,
        assignee: info.assignee,
        title: info.title,
        memo: info.memo,
        ..AnnotationChange::default()
    };
    let (Some(ids), Some(owner)) = (info.category_ids, owner) else { return Ok((change, None)) };
    let assignable = services.conversation_api.categories.assignable(owner).await?;
    let mut names: Vec<String> = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        let Some(category) = assignable.categories.iter().find(|category| category.category_id == *id) else {
            let message = "unknown, the categoryId of one of the project's categories is needed".to_owned();
            return Err(invalid(&format!("{prefix}categoryIds[{index}]"), message).into());
        };
        if !names.contains(&category.name) {
            names.push(category.name.clone());
        }
    }
    change.categories = Some(CategoryChange::Replace(names));
    Ok((change, Some(assignable)))
}
