//! Answers that several routes of this API give.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;

use super::shape;
use crate::api::http::body::sized;
use crate::api::http::call::json;
use crate::api::http::problem::Problem;
use crate::api::services::Services;
use crate::model::conversation::{Chat, Conversation};
use crate::model::rating::Ratings;

/// The conversation, with the variables of these names.
pub(crate) async fn respond(
    services: &Services,
    variables: Vec<String>,
    conversation: Arc<Conversation>,
) -> Result<Response, Problem> {
    let ratings = services.store.snapshot().ratings(&conversation, &shape::recent_ids(&conversation)).await?;
    let body = sized(conversation.text_bytes(), move || {
        let mut body = Vec::new();
        shape::write_conversation(&conversation, &ratings, &variables, &mut body);
        body
    });
    Ok(json(body.await?))
}

/// One chat.
pub(crate) fn respond_chat(chat: Chat<'_>, ratings: &Ratings) -> Response {
    let mut body = Vec::new();
    shape::write_chat(chat, ratings, &mut body);
    json(body)
}

/// "No content" is 200 with an empty body (contract Part B).
pub(crate) fn no_content() -> Response {
    Response::new(Body::empty())
}
