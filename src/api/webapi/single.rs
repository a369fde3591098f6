//! One conversation and its chats.

use std::sync::Arc;

use axum::response::Response;

use super::ratings::of_recent;
use super::{actor, shape};
use crate::api::analytics::conversations::{find, unknown};
use crate::api::http::body::sized;
use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::services::Services;
use crate::model::actor::Actor;
use crate::model::conversation::{Conversation, Message};
use crate::model::rating::Ratings;
use crate::storage::store::Lookup;

const CHATS_PER_PAGE: usize = 100;

/// `GET /webapi/v2/conversations/{id}`
pub(crate) async fn get(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let variables = shape::variable_names(&call.parameters)?;
    let conversation = newest(services, call).await?;
    respond(services, variables, conversation).await
}

/// `GET /webapi/v2/conversations/{id}/chats`
pub(crate) async fn chats(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let page = call.parameters.number("pageNo", 1, i64::MAX as usize)?;
    let Some(skipped) = page.checked_sub(1).map(|pages| pages.saturating_mul(CHATS_PER_PAGE)) else {
        return Err(Problem::bad_request("pageNo: 0 given, a whole number from 1 is needed"));
    };
    let conversation = newest(services, call).await?;
    let ids: Vec<&str> = page_of(&conversation, skipped).map(|message| message.id.as_str()).collect();
    let ratings = services.store.snapshot().ratings(&conversation, &ids).await?;
    let body = sized(conversation.text_bytes(), move || {
        let mut body = b"{\"chats\":[".to_vec();
        for (position, message) in page_of(&conversation, skipped).enumerate() {
            if position > 0 {
                body.push(b',');
            }
            shape::write_chat(&conversation, message, &ratings, &mut body);
        }
        body.extend_from_slice(b"]}");
        body
    });
    Ok(json(body.await?))
}

/// `GET /webapi/v2/conversations/{id}/chats/{chatId}`
pub(crate) async fn chat(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let conversation = newest(services, call).await?;
    let message = chat_of(&conversation, call.second_id()?)?;
    let ratings = services.store.snapshot().ratings(&conversation, &[message.id.as_str()]).await?;
    Ok(respond_chat(&conversation, message, &ratings))
}

pub(crate) fn chat_of<'a>(conversation: &'a Conversation, id: &str) -> Result<&'a Message, Problem> {
    let message = conversation.messages.iter().find(|message| message.id.as_str() == id);
    message.ok_or_else(unknown_chat)
}

pub(crate) fn unknown_chat() -> Problem {
    Problem::not_found("no such chat")
}

pub(crate) fn respond_chat(conversation: &Conversation, message: &Message, ratings: &Ratings) -> Response {
    let mut body = Vec::new();
    shape::write_chat(conversation, message, ratings, &mut body);
    json(body)
}

fn page_of(conversation: &Conversation, skipped: usize) -> impl Iterator<Item = &Message> {
    conversation.messages_by_time().into_iter().skip(skipped).take(CHATS_PER_PAGE)
}

/// `GET /webapi/v2/conversations/{id}/running`
pub(crate) async fn running(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let conversation = newest(services, call).await?;
    Ok(json(if conversation.is_running() { r#"{"isRunning":true}"# } else { r#"{"isRunning":false}"# }))
}

/// The conversations of the path's id that the caller sees, newest first.
pub(crate) async fn visible(
    services: &Services,
    call: &Call,
    actor: &Actor,
) -> Result<Vec<Arc<Conversation>>, Problem> {
    let mut found = find(services, call, Lookup::Id(call.id()?)).await?;
    found.retain(|conversation| actor.sees(conversation.user_properties.as_ref()));
    Ok(found)
}

async fn newest(services: &Services, call: &Call) -> Result<Arc<Conversation>, Problem> {
    let actor = actor::actor(call.headers())?;
    visible(services, call, &actor).await?.into_iter().next().ok_or_else(unknown)
}

/// The conversation, with the variables of these names.
pub(crate) async fn respond(
    services: &Services,
    variables: Vec<String>,
    conversation: Arc<Conversation>,
) -> Result<Response, Problem> {
    let ratings = of_recent(&services.store.snapshot(), &conversation).await?;
    let body = sized(conversation.text_bytes(), move || {
        let mut body = Vec::new();
        shape::write_conversation(&conversation, &ratings, &variables, &mut body);
        body
    });
    Ok(json(body.await?))
}
