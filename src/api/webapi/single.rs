//! One conversation and its chats.

use axum::response::Response;

use super::answer::{respond, respond_chat};
use super::lookup::{chat_of, newest};
use super::shape;
use crate::api::http::body::sized;
use crate::api::http::call::{Call, json};
use crate::api::http::problem::Problem;
use crate::api::services::Services;
use crate::model::conversation::{Chat, Conversation};

const CHATS_PER_PAGE: usize = 100;

/// `GET /webapi/v2/conversations/{id}`
pub(crate) async fn get(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let variables = shape::variable_names(&call.parameters)?;
    let conversation = newest(services, call).await?;
    respond(services, variables, conversation).await
}

/// `GET /webapi/v2/conversations/{id}/chats`
pub(crate) async fn chats(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let page = call.parameters.number("pageNo", 1, 1..=i64::MAX as usize)?;
    let skipped = page.saturating_sub(1).saturating_mul(CHATS_PER_PAGE);
    let conversation = newest(services, call).await?;
    let ids: Vec<&str> = page_of(&conversation, skipped).map(|chat| chat.message.id.as_str()).collect();
    let ratings = services.store.snapshot().ratings(&conversation, &ids).await?;
    let body = sized(conversation.text_bytes(), move || {
        let mut body = b"{\"chats\":[".to_vec();
        for (position, chat) in page_of(&conversation, skipped).enumerate() {
            if position > 0 {
                body.push(b',');
            }
            shape::write_chat(chat, &ratings, &mut body);
        }
        body.extend_from_slice(b"]}");
        body
    });
    Ok(json(body.await?))
}

/// `GET /webapi/v2/conversations/{id}/chats/{chatId}`
pub(crate) async fn chat(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let conversation = newest(services, call).await?;
    let chat = chat_of(&conversation, call.second_id()?)?;
    let ratings = services.store.snapshot().ratings(&conversation, &[chat.message.id.as_str()]).await?;
    Ok(respond_chat(chat, &ratings))
}

fn page_of(conversation: &Conversation, skipped: usize) -> impl Iterator<Item = Chat<'_>> {
    conversation.chats_by_time().into_iter().skip(skipped).take(CHATS_PER_PAGE)
}

/// `GET /webapi/v2/conversations/{id}/running`
pub(crate) async fn running(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let conversation = newest(services, call).await?;
    Ok(json(if conversation.is_running() { r#"{"isRunning":true}"# } else { r#"{"isRunning":false}"# }))
}
