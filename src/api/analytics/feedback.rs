//! `/feedback` (contract A4).

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;

use crate::api::http::call::{Call, json};
use crate::api::http::held::Holder;
use crate::api::http::problem::Problem;
use crate::api::lookup::several_projects;
use crate::api::services::Services;
use crate::model::conversation::{Conversation, Message};
use crate::model::feedback::{self, Feedback, FeedbackType};
use crate::model::output;
use crate::storage::read::lookup::Lookup;
use crate::storage::read::snapshot::{RowAddress, Snapshot};

const DEFAULT_LIMIT: usize = 10;
const MAX_LIMIT: usize = 100;

/// `POST /feedback`
pub(crate) async fn log(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let document = call.read_json().await?.parse(feedback::parse).await??;
    let identity = call.caller()?.identity(document.project_id.as_deref(), None)?;
    let feedback = services.store.log_feedback(identity, document).await?;
    let mut text = String::new();
    feedback.write_open(&mut text);
    text.push('}');
    Ok(json(text))
}

/// `GET /feedback`
pub(crate) async fn list(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let limit = call.parameters.number("limit", DEFAULT_LIMIT, 0..=MAX_LIMIT)?;
    let offset = call.parameters.number("offset", 0, 0..=i64::MAX as usize)?;
    let scope = call.caller()?.scope();
    let snapshot = services.store.snapshot();
    let page = |kind: FeedbackType| {
        services.engine.latest_feedback(Arc::clone(&snapshot), scope.clone(), kind.as_str(), limit, offset)
    };
    let (positive, positive_count) = page(FeedbackType::Positive).await?;
    let (negative, negative_count) = page(FeedbackType::Negative).await?;
    let head = format!(
        "{{\"positiveFeedbackCount\":{positive_count},\"negativeFeedbackCount\":{negative_count},\"positiveFeedback\":["
    );
    let pages = Pages {
        snapshot,
        holder: call.holder().clone(),
        head: Some(head),
        lists: VecDeque::from([positive.into(), negative.into()]),
    };
    // The first piece before the headers, so that a store that cannot read still answers 500.
    let Some((first, pages)) = pages.next().await? else { return Err(Problem::internal()) };
    let rest = futures::stream::try_unfold(pages, |pages| async {
        pages.next().await.map_err(|problem| std::io::Error::other(format!("{problem:?}")))
    });
    let first = futures::stream::iter([Ok::<_, std::io::Error>(first)]);
    Ok(json(Body::from_stream(futures::StreamExt::chain(first, rest))))
}

/// `GET /feedback/{id}`
pub(crate) async fn get(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let snapshot = services.store.snapshot();
    let found = find(&snapshot, call).await?;
    let feedback = found.first().ok_or_else(unknown)?;
    let mut text = String::new();
    write_with_conversation(&snapshot, call.holder(), feedback, &mut text).await?;
    Ok(json(Body::from(call.holder().counted(text.into_bytes()).await)))
}

/// `DELETE /feedback/{id}`
pub(crate) async fn delete(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let found = find(&services.store.snapshot(), call).await?;
    let feedback = match found.as_slice() {
        [] => return Err(unknown()),
        [feedback] => feedback,
        several => {
            let projects = several.iter().map(|feedback| feedback.project_id.as_str());
            return Err(several_projects("this feedback", projects));
        }
    };
    if services.store.delete_feedback(&feedback.key()).await?.is_nothing() {
        return Err(unknown());
    }
    Ok(json(r#"{"success":true,"message":"Feedback deleted"}"#))
}

fn unknown() -> Problem {
    Problem::not_found("no such feedback")
}

/// Newest first, of the projects that the caller reaches; feedback whose message is dropped is not found.
async fn find(snapshot: &Snapshot, call: &Call) -> Result<Vec<Arc<Feedback>>, Problem> {
    let Some(scope) = call.caller()?.reach(call.parameters.text("projectId")) else {
        return Ok(Vec::new());
    };
    let (organization, project) = (&scope.organization_id, scope.project_id.as_ref());
    let mut found = snapshot.tables.feedback.find(&snapshot.store, organization, project, call.id()?).await?;
    found.retain(|feedback| !feedback.detached);
    found.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.project_id.cmp(&b.project_id)));
    Ok(found)
}

/// The feedback with its whole conversation and message.
async fn write_with_conversation(
    snapshot: &Snapshot,
    holder: &Holder,
    feedback: &Feedback,
    text: &mut String,
) -> Result<(), Problem> {
    let lookup = Lookup::Id(&feedback.owner_id);
    let turn = holder.turn_to_read().await?;
    let found = snapshot.find(&feedback.organization_id, Some(&feedback.project_id), lookup).await?;
    // And what is written of it.
    let mut held = holder.nothing();
    held.grow(2 * found.iter().map(|conversation| conversation.memory_bytes()).sum::<usize>()).await?;
    drop(turn);
    let held = found.first().and_then(|conversation| Some((conversation, message_of(conversation, feedback)?)));
    // The link and the conversation are of one snapshot.
    let Some((conversation, message)) = held else { return Err(Problem::internal()) };
    feedback.write_open(text);
    let mut whole = Vec::new();
    output::write_conversation(conversation, &mut whole);
    text.push_str(",\"conversation\":");
    text.push_str(&String::from_utf8_lossy(&whole));
    text.push_str(",\"message\":");
    output::write_message(conversation, message, text);
    text.push('}');
    Ok(())
}

fn message_of<'a>(conversation: &'a Conversation, feedback: &Feedback) -> Option<&'a Message> {
    conversation.messages.iter().find(|message| message.id.as_str() == feedback.message_id)
}

/// The rest of a list's body, made feedback by feedback from one snapshot: each brings a whole conversation along.
struct Pages {
    snapshot: Arc<Snapshot>,
    holder: Holder,
    head: Option<String>,
    /// What is left of the positive list and of the negative one; the negative alone once the positive is closed.
    lists: VecDeque<VecDeque<RowAddress>>,
}

impl Pages {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Problem> {
        let mut text = String::new();
        let mut first = self.head.is_some();
        text.push_str(&self.head.take().unwrap_or_default());
        while let Some(list) = self.lists.front_mut() {
            let Some(address) = list.pop_front() else {
                self.lists.pop_front();
                // Closes a list and opens the next one, or ends the body.
                text.push_str(if self.lists.is_empty() { "]}" } else { "],\"negativeFeedback\":[" });
                first = true;
                if self.lists.is_empty() { break } else { continue }
            };
            let rows = self.snapshot.tables.feedback.read_rows(&self.snapshot.store, &[address]).await?;
            for feedback in &rows {
                if !std::mem::take(&mut first) {
                    text.push(',');
                }
                write_with_conversation(&self.snapshot, &self.holder, feedback, &mut text).await?;
            }
            if text.len() > PIECE_BYTES {
                break;
            }
        }
        if text.is_empty() { Ok(None) } else { Ok(Some((self.holder.counted(text.into_bytes()).await, self))) }
    }
}

/// A piece of a list's body is sent once it has this many bytes.
const PIECE_BYTES: usize = 256 << 10;
