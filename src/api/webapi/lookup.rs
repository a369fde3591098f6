//! What the path names, as far as the caller sees it.

use std::sync::Arc;

use super::actor;
use crate::api::http::call::Call;
use crate::api::http::problem::Problem;
use crate::api::lookup::{find, unknown};
use crate::api::services::Services;
use crate::model::actor::Actor;
use crate::model::conversation::{Chat, Conversation};
use crate::storage::read::lookup::Lookup;

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

/// The newest of them.
pub(crate) async fn newest(services: &Services, call: &Call) -> Result<Arc<Conversation>, Problem> {
    let actor = actor::actor(call.headers())?;
    visible(services, call, &actor).await?.into_iter().next().ok_or_else(unknown)
}

pub(crate) fn chat_of<'a>(conversation: &'a Conversation, id: &str) -> Result<Chat<'a>, Problem> {
    conversation.chats().find(|chat| chat.message.id.as_str() == id).ok_or_else(unknown_chat)
}

pub(crate) fn unknown_chat() -> Problem {
    Problem::not_found("no such chat")
}
