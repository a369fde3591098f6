//! `/conversations` (contract A2).

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;

use crate::api::http::body::sized;
use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::lookup::{find, the_one, unknown};
use crate::api::pages::{Written, stream_list};
use crate::api::services::Services;
use crate::model::conversation::Conversation;
use crate::model::document;
use crate::model::output::{self, Pieces};
use crate::model::rating::Ratings;
use crate::storage::read::lookup::Lookup;

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;
/// A piece of an answer is sent once it has this many bytes.
const PIECE_BYTES: usize = 128 << 10;

/// `POST /conversations`
pub(crate) async fn log(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let document = call.read_json().await?.parse(document::parse).await??;
    let identity = call.caller()?.identity(document.project_id.as_deref(), document.integration_id.as_deref())?;
    let conversation = services.store.log_conversation(identity, document).await?;
    respond(conversation).await
}

/// `GET /conversations`
pub(crate) async fn list(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let limit = call.parameters.number("limit", DEFAULT_LIMIT, 0..=MAX_LIMIT)?;
    let offset = call.parameters.number("offset", 0, 0..=i64::MAX as usize)?;
    let scope = call.caller()?.scope();
    let snapshot = services.store.snapshot();
    let (rows, total) = services.engine.latest(Arc::clone(&snapshot), scope, limit, offset).await?;
    let tail = format!("],\"total\":{total},\"pageSize\":{limit},\"count\":{}}}", rows.len());
    stream_list(services, call, snapshot, &rows, tail, Arc::new(AsLogged)).await
}

/// As [`output`] shows them.
struct AsLogged;

impl Written for AsLogged {
    fn rated<'a>(&self, _: &'a Conversation) -> Vec<&'a str> {
        Vec::new()
    }

    fn write(&self, conversation: &Conversation, _: &Ratings, out: &mut Vec<u8>) {
        output::write_conversation(conversation, out);
    }
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
    if services.store.delete_conversation(&conversation.key()).await?.is_nothing() {
        return Err(unknown());
    }
    Ok(json(r#"{"success":true,"message":"Conversation deleted"}"#))
}

/// Sent in pieces as they are written: an answer may be ten times as long as the document.
async fn respond(conversation: Arc<Conversation>) -> Result<Response, Problem> {
    let mut pieces = Pieces::new(conversation);
    let next = async |mut pieces: Pieces| {
        let bytes = pieces.largest_left();
        sized(bytes, move || Some((pieces.next(PIECE_BYTES)?, pieces))).await
    };
    let Some((first, rest)) = next(pieces).await? else { return Err(Problem::internal()) };
    pieces = rest;
    if pieces.is_done() {
        return Ok(json(first));
    }
    let rest = futures::stream::try_unfold(pieces, move |pieces| async move {
        let piece = next(pieces).await.map_err(|_| std::io::Error::other("a piece could not be written"))?;
        Ok::<_, std::io::Error>(piece.map(|(piece, pieces)| (Bytes::from(piece), pieces)))
    });
    let first = futures::stream::iter([Ok(Bytes::from(first))]);
    Ok(json(Body::from_stream(futures::StreamExt::chain(first, rest))))
}
