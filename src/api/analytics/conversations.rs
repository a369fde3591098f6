//! `/conversations` (contract A2).

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;

use crate::api::http::access::Reach;
use crate::api::http::body::sized;
use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::services::Services;
use crate::api::webapi::ratings::of_recent;
use crate::model::conversation::Conversation;
use crate::model::rating::Ratings;
use crate::model::{document, output};
use crate::storage::read::snapshot::{RowAddress, Snapshot};
use crate::storage::read::text_search::ReadSize;
use crate::storage::store::{Lookup, Store};

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;

/// `POST /conversations`
pub(crate) async fn log(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let document = call.read_json().await?.parse(document::parse).await??;
    let identity = call.caller()?.identity(document.project_id.as_deref(), document.integration_id.as_deref())?;
    let conversation = services.store.log_conversation(identity, document).await?;
    respond(conversation).await
}

/// `GET /conversations`
pub(crate) async fn list(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let limit = call.parameters.number("limit", DEFAULT_LIMIT, MAX_LIMIT)?;
    let offset = call.parameters.number("offset", 0, i64::MAX as usize)?;
    let scope = call.caller()?.scope();
    let snapshot = services.store.snapshot();
    let (rows, total) = services.engine.latest(Arc::clone(&snapshot), scope, limit, offset).await?;
    let tail = format!("],\"total\":{total},\"pageSize\":{limit},\"count\":{}}}", rows.len());
    stream_list(services, snapshot, &rows, tail, None).await
}

/// `{"conversations":[`, the conversations at these addresses, and `tail`. With `chats` as the conversation API shows
/// them.
pub(crate) async fn stream_list(
    services: &Services,
    snapshot: Arc<Snapshot>,
    rows: &[RowAddress],
    tail: String,
    chats: Option<WriteRated>,
) -> Result<Response, Problem> {
    let pages = Pages {
        store: Arc::clone(&services.store),
        snapshot,
        rows: rows.to_vec().into(),
        size: ReadSize::default(),
        head: Some("{\"conversations\":["),
        tail: Some(tail),
        chats,
    };
    // The first piece before the headers, so that a store that cannot read still answers 500.
    let Some((first, pages)) = pages.next().await? else { return Err(Problem::internal()) };
    let rest = futures::stream::try_unfold(pages, |pages| async {
        pages.next().await.map_err(|problem| std::io::Error::other(format!("{problem:?}")))
    });
    let first = futures::stream::iter([Ok::<_, std::io::Error>(first)]);
    Ok(json(Body::from_stream(futures::StreamExt::chain(first, rest))))
}

/// `GET /conversations/{id}`
pub(crate) async fn get(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let found = find(services, call, Lookup::Id(call.id()?)).await?;
    respond(found.into_iter().next().ok_or_else(unknown)?).await
}

/// `GET /conversations/external/{externalId}`
pub(crate) async fn get_external(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let found = find(services, call, Lookup::ExternalId(call.id()?)).await?;
    respond(found.into_iter().next().ok_or_else(unknown)?).await
}

/// `DELETE /conversations/{id}`
pub(crate) async fn delete(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let conversation = the_one(find(services, call, Lookup::Id(call.id()?)).await?)?;
    if !services.store.delete_conversation(&conversation.key()).await? {
        return Err(unknown());
    }
    Ok(json(r#"{"success":true,"message":"Conversation deleted"}"#))
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

/// Newest first, of the projects that the caller reaches.
pub(crate) async fn find(
    services: &Services,
    call: &Call,
    lookup: Lookup<'_>,
) -> Result<Vec<Arc<Conversation>>, Problem> {
    match call.caller()?.reach(call.parameters.text("projectId")) {
        Reach::Nothing => Ok(Vec::new()),
        Reach::Projects(organization, project) => {
            Ok(services.store.find(&organization, project.as_ref(), lookup).await?)
        }
    }
}

pub(crate) fn unknown() -> Problem {
    Problem::not_found("no such conversation")
}

async fn respond(conversation: Arc<Conversation>) -> Result<Response, Problem> {
    let body = sized(conversation.text_bytes(), move || {
        let mut body = Vec::new();
        output::write_conversation(&conversation, &mut body);
        body
    });
    Ok(json(body.await?))
}

/// The rest of a list's body, made piece by piece from one snapshot.
struct Pages {
    store: Arc<Store>,
    snapshot: Arc<Snapshot>,
    rows: VecDeque<RowAddress>,
    size: ReadSize,
    head: Option<&'static str>,
    tail: Option<String>,
    chats: Option<WriteRated>,
}

/// Appends a conversation and the ratings of its recent chats as JSON.
pub(crate) type WriteRated = Arc<dyn Fn(&Conversation, &Ratings, &mut Vec<u8>) + Send + Sync>;

impl Pages {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Problem> {
        if self.tail.is_none() {
            return Ok(None);
        }
        let rows: Vec<RowAddress> = self.rows.drain(..self.size.rows().min(self.rows.len())).collect();
        let conversations = self.store.read_rows(&self.snapshot, &rows).await?;
        self.size.learn(conversations.iter().map(Arc::as_ref));
        let (head, tail) = (self.head.take(), if self.rows.is_empty() { self.tail.take() } else { None });
        let mut chats = None;
        if let Some(write) = &self.chats {
            let ratings = conversations.iter().map(|conversation| of_recent(&self.snapshot, conversation));
            chats = Some((Arc::clone(write), futures::future::try_join_all(ratings).await?));
        }
        let bytes = conversations.iter().map(|conversation| conversation.text_bytes()).sum();
        let piece = sized(bytes, move || {
            let mut piece = Vec::new();
            let mut first = head.is_some();
            piece.extend_from_slice(head.unwrap_or_default().as_bytes());
            for (index, conversation) in conversations.iter().enumerate() {
                if !std::mem::take(&mut first) {
                    piece.push(b',');
                }
                match &chats {
                    None => output::write_conversation(conversation, &mut piece),
                    Some((write, ratings)) => {
                        let none = Ratings::default();
                        write(conversation, ratings.get(index).unwrap_or(&none), &mut piece);
                    }
                }
            }
            piece.extend_from_slice(tail.unwrap_or_default().as_bytes());
            piece
        });
        Ok(Some((piece.await?.into(), self)))
    }
}
