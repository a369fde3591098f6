//! `/semantic-threads` (contract A4): what people and models say of a thread.

use axum::response::Response;

use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::render::json::first_row;
use crate::api::services::Services;
use crate::model::actor::Actor;
use crate::model::annotation_change::AnnotationChange;
use crate::model::conversation::Conversation;
use crate::model::ids::ThreadId;
use crate::model::thread::SemanticThread;
use crate::model::thread_annotations::{self, MAX_ANNOTATION_BYTES};
use crate::query::check::check;
use crate::query::dsl::{FieldRef, Filter, Literal};
use crate::query::execute::question::Question;
use crate::query::execute::row_stream::RowStream;
use crate::query::view;

/// `PATCH /semantic-threads/{id}`: answers with the thread's row.
pub(crate) async fn annotate(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let body = call.read_json().await?;
    let update = body.parse(thread_annotations::parse_update).await??;
    let scope = call.caller()?.reach(call.parameters.text("projectId")).ok_or_else(unknown)?;
    let (organization, project) = (&scope.organization_id, scope.project_id.as_ref());
    let id = call.id()?.to_owned();
    let change = AnnotationChange { thread: Some((ThreadId::new(id.as_str()), update)), ..AnnotationChange::default() };
    // One of them has it; the others stay as they are.
    for key in services.store.snapshot().find_by_thread(organization, project, &id).await? {
        let Some(now) = services.store.annotate(&key, &change, &Actor::default()).await? else { continue };
        let mut threads = SemanticThread::text_hashes(&now);
        if threads.any(|(thread, _)| thread.as_str() == id) && !has(&now, &id, &change) {
            return Err(Problem::unprocessable(format!(
                "the threads of this conversation would have more than {MAX_ANNOTATION_BYTES} bytes of annotations"
            )));
        }
    }

    let mut query = check(&view::SEMANTIC_THREADS, b"{}")?;
    query.filter = Some(Filter::equal(FieldRef::of(&view::SEMANTIC_THREADS, "id")?, Literal::Text(id)));
    let first = async |mut rows: RowStream| match rows.next().await? {
        Some(batch) => first_row(rows.columns(), &batch).map(Some),
        None => Ok(None),
    };
    let task = services.engine.ask(services.store.snapshot(), scope, Question::Query(query), first).await?;
    Ok(json(task.await?.ok_or_else(unknown)?))
}

/// Whether the thread is as the change makes it.
fn has(conversation: &Conversation, thread: &str, change: &AnnotationChange) -> bool {
    let Some((_, update)) = &change.thread else { return true };
    let found = conversation.annotations.threads.get(thread);
    found.map_or(update.values().all(Option::is_none), |found| found.has(update))
}

fn unknown() -> Problem {
    Problem::not_found("no such thread")
}
