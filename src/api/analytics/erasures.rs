//! `/erase` (contract A7).

use std::sync::Arc;

use axum::response::Response;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json as value;

use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::lookup::several_projects;
use crate::api::services::Services;
use crate::auth::secret::Secret;
use crate::model::erasure_request::{self, Subject};
use crate::model::scope::Scope;
use crate::query::engine::QueryEngine;
use crate::query::erasing::{self, Eraser, Pace};
use crate::storage::erasures::Erasure;
use crate::storage::read::lookup::Lookup;
use crate::storage::store::Store;
use crate::storage::write::change::Deleted;

/// Ids that are looked up at once.
const LOOKUPS_AT_ONCE: usize = 32;
/// Keeps hashes of other uses of the secret apart.
const PURPOSE: &str = "erasure 1";

/// `POST /erase`
pub(crate) async fn erase(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let subject = call.read_json().await?.parse(erasure_request::parse).await??;
    let scope = call.caller()?.reach(call.parameters.text("projectId"));
    let scope = scope.ok_or_else(|| Problem::forbidden("projectId: another project than the key's is named"))?;
    services.store.check_writable()?;
    let (store, engine) = (Arc::clone(&services.store), Arc::clone(&services.engine));
    let subjects = hashes(&services.secret, &scope, &subject);
    // In a task of its own: a client that goes away must not leave half of it.
    let task = tokio::spawn(async move {
        let deleted = delete(&store, &engine, &scope, &subject).await?;
        record(&store, scope, subjects, deleted).await
    });
    let erasure = task.await.unwrap_or_else(|_| Err(Problem::internal()))?;
    Ok(json(told(&erasure)))
}

/// `GET /erase/{id}`
pub(crate) async fn get(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("no such erasure");
    let scope = call.caller()?.reach(call.parameters.text("projectId")).ok_or_else(unknown)?;
    let found = services.store.erasures().find(call.id()?).await?;
    let is_reached = |erasure: &Erasure| {
        let same_project = scope.project_id.is_none() || erasure.project_id == scope.project_id;
        erasure.organization_id == scope.organization_id && same_project
    };
    Ok(json(told(&found.filter(is_reached).ok_or_else(unknown)?)))
}

fn told(erasure: &Erasure) -> String {
    let Erasure { id, conversations, events, feedback, .. } = erasure;
    let state = erasure.state();
    value!({"id": id, "conversations": conversations, "events": events, "feedback": feedback, "state": state})
        .to_string()
}

async fn delete(store: &Store, engine: &QueryEngine, scope: &Scope, subject: &Subject) -> Result<Deleted, Problem> {
    match subject {
        Subject::User(user) => Ok(Eraser { store, engine, scope, pace: Pace::Fast }.user(user).await?),
        Subject::Conversations(ids) => {
            let find = |id: String| async move {
                let found = store.find(&scope.organization_id, scope.project_id.as_ref(), Lookup::Id(&id)).await?;
                one(&id, found.iter().map(|found| found.key()).collect(), |key| key.project_id.as_str())
            };
            let keys = stream::iter(ids.clone()).map(find).buffered(LOOKUPS_AT_ONCE).try_collect::<Vec<_>>().await?;
            Ok(erasing::delete_conversations(store, keys.into_iter().flatten().collect()).await?)
        }
        Subject::Events(ids) => {
            let snapshot = store.snapshot();
            let snapshot = &snapshot;
            let find = |id: String| async move {
                let (organization, project) = (&scope.organization_id, scope.project_id.as_ref());
                let found = snapshot.tables.events.find(&snapshot.store, organization, project, &id).await?;
                one(&id, found.iter().map(|found| found.key()).collect(), |key| key.project_id.as_str())
            };
            let keys = stream::iter(ids.clone()).map(find).buffered(LOOKUPS_AT_ONCE).try_collect::<Vec<_>>().await?;
            Ok(erasing::delete_events(store, keys.into_iter().flatten().collect()).await?)
        }
    }
}

/// What an id names: nothing, or one, never several projects' (contract A1).
fn one<K>(id: &str, mut found: Vec<K>, project: impl Fn(&K) -> &str) -> Result<Option<K>, Problem> {
    if found.len() > 1 {
        return Err(several_projects(&format!("{id:?}"), found.iter().map(project)));
    }
    Ok(found.pop())
}

async fn record(store: &Store, scope: Scope, subjects: Vec<String>, deleted: Deleted) -> Result<Erasure, Problem> {
    let environment = store.environment();
    let erasure = Erasure {
        id: environment.ids.of_document(),
        organization_id: scope.organization_id,
        project_id: scope.project_id,
        subjects,
        conversations: deleted.conversations,
        events: deleted.events,
        feedback: deleted.feedback,
        // Also of one that found nothing: what was deleted before by other means is gone as well then.
        position: store.snapshot().position,
        hidden_at: environment.now(),
        erased_at: None,
    };
    store.erasures().add(erasure.clone()).await?;
    Ok(erasure)
}

/// Of the texts that were asked for; parts carry their lengths, so that no two are the same.
fn hashes(secret: &Secret, scope: &Scope, subject: &Subject) -> Vec<String> {
    let project = scope.project_id.as_ref().map(|project| project.as_str()).unwrap_or_default();
    let (kind, texts) = match subject {
        Subject::User(user) => ("user", std::slice::from_ref(user)),
        Subject::Conversations(ids) => ("conversation", ids.as_slice()),
        Subject::Events(ids) => ("event", ids.as_slice()),
    };
    let hash = |text: &String| {
        let parts = [PURPOSE, kind, scope.organization_id.as_str(), project, text.as_str()];
        let message: Vec<u8> =
            parts.iter().flat_map(|part| [&(part.len() as u64).to_le_bytes()[..], part.as_bytes()].concat()).collect();
        const_hex::encode(secret.sign(&message))
    };
    texts.iter().map(hash).collect()
}
