//! `/webapi/v2/conversation_categories`

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use futures::{StreamExt, stream};
use serde_json::json as value;

use super::answer::no_content;
use super::{ConversationApi, actor, body, filters};
use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::services::Services;
use crate::model::actor::Actor;
use crate::model::annotation_change::{AnnotationChange, CategoryChange};
use crate::model::scope::Scope;
use crate::query::engine::QueryEngine;
use crate::shares::Taker;
use crate::storage::categories::{Category, CategoryError, CategoryOwner, Changing};
use crate::storage::read::snapshot::RowAddress;
use crate::storage::store::{BulkOutcome, Store, StoreError};

/// Conversations that are looked up at once to take a category off them,
const FOUND_AT_ONCE: usize = 20_000;
/// that are changed at once,
const ROWS_AT_ONCE: usize = 2_048;
/// and how many such changes are under way: while one is written, the next is read.
const CHANGES_AT_ONCE: usize = 2;

/// `GET /webapi/v2/conversation_categories`
pub(crate) async fn list(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    actor::actor(call.headers())?;
    let categories = services.conversation_api.categories.list(&actor::category_owner(call)?).await?;
    Ok(json(value!({ "categories": categories }).to_string()))
}

/// `POST /webapi/v2/conversation_categories`
pub(crate) async fn create(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let actor = actor::actor(call.headers())?;
    let owner = actor::category_owner(call)?;
    services.store.check_writable()?;
    let name = call.read_json().await?.parse(body::category_name).await??;
    let work = Work::new(services, owner, actor);
    let category = run(async move {
        let changing = work.api.categories.changing(&work.owner).await;
        // A name that is still being taken off conversations must not come back onto them.
        for category in work.api.categories.unfinished(&changing).await? {
            if category.name == name {
                work.take_off(&changing, &category).await?;
            }
        }
        work.api.categories.create(&changing, &name).await.map_err(|error| match error {
            CategoryError::Store(error) => error.into(),
            error => Problem::unprocessable(format!("name: {error}")),
        })
    });
    Ok(json(value!(category.await?).to_string()))
}

/// `DELETE /webapi/v2/conversation_categories/{categoryId}`
pub(crate) async fn delete(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let actor = actor::actor(call.headers())?;
    let owner = actor::category_owner(call)?;
    let id = call.id()?.to_owned();
    services.store.check_writable()?;
    let work = Work::new(services, owner, actor);
    run(async move {
        let changing = work.api.categories.changing(&work.owner).await;
        let category = work.api.categories.begin_removal(&changing, &id).await?;
        let category = category.ok_or_else(|| Problem::not_found("no such category"))?;
        work.take_off(&changing, &category).await
    })
    .await?;
    Ok(no_content())
}

/// Ends also if the client goes away.
async fn run<T: Send + 'static>(work: impl Future<Output = Result<T, Problem>> + Send + 'static) -> Result<T, Problem> {
    tokio::spawn(work).await.unwrap_or_else(|_| Err(Problem::internal()))
}

struct Work {
    api: Arc<ConversationApi>,
    store: Arc<Store>,
    engine: Arc<QueryEngine>,
    owner: CategoryOwner,
    actor: Actor,
}

impl Work {
    fn new(services: &Services, owner: CategoryOwner, actor: Actor) -> Work {
        Work {
            api: Arc::clone(&services.conversation_api),
            store: Arc::clone(&services.store),
            engine: Arc::clone(&services.engine),
            owner,
            // A category is the project's: it goes off every user's conversations.
            actor: Actor { agent_email: actor.agent_email, ..Actor::default() },
        }
    }

    /// Takes a category that left the list off its conversations, a bounded part at a time.
    async fn take_off(&self, changing: &Changing, category: &Category) -> Result<(), Problem> {
        let scope = Scope {
            organization_id: self.owner.organization_id.clone(),
            project_id: Some(self.owner.project_id.clone()),
            asker: Taker::of_organization(self.owner.organization_id.as_str()),
        };
        let filter = filters::category_in(std::slice::from_ref(&category.name))?;
        let change = AnnotationChange {
            categories: Some(CategoryChange::Remove(category.name.clone())),
            ..AnnotationChange::default()
        };
        let mut at_once = ROWS_AT_ONCE;
        loop {
            let snapshot = self.store.snapshot();
            let order = vec![("createdAt", false)];
            let found = self.engine.rows(Arc::clone(&snapshot), scope.clone(), filter.clone(), order, FOUND_AT_ONCE);
            let mut rows = found.await?.addresses;
            if rows.is_empty() {
                return Ok(self.api.categories.end_removal(changing, &category.category_id).await?);
            }
            rows.sort_unstable();
            // Each part is a change of its own: what a crash leaves undone is found again.
            let parts: Vec<Vec<RowAddress>> = rows.chunks(at_once).map(<[RowAddress]>::to_vec).collect();
            let parts = parts.into_iter().map(|part| {
                let (store, snapshot) = (Arc::clone(&self.store), Arc::clone(&snapshot));
                let (change, actor) = (change.clone(), self.actor.clone());
                self.engine.decode(async move { store.annotate_all(&snapshot, &part, &change, &actor).await })
            });
            let mut outcomes = stream::iter(parts).buffered(CHANGES_AT_ONCE);
            let mut wait = None;
            while let Some(outcome) = outcomes.next().await {
                match outcome? {
                    Ok(BulkOutcome::Changed(_)) => {}
                    Ok(BulkOutcome::Stale) => break,
                    Ok(BulkOutcome::TooLarge) => {
                        at_once = (at_once / 4).max(1);
                        break;
                    }
                    Err(StoreError::Busy { retry_after_seconds }) => {
                        wait = Some(Duration::from_secs(retry_after_seconds));
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if let Some(wait) = wait {
                tokio::time::sleep(wait).await;
            }
        }
    }
}
