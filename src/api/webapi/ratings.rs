//! Ratings of chats: the feedback of Part A on their messages.

use std::sync::Arc;

use axum::response::Response;
use futures::{StreamExt, TryStreamExt, stream};
use xxhash_rust::xxh3::xxh3_128;

use super::actor;
use super::answer::respond_chat;
use super::body::{self, ChatRating};
use super::lookup::{chat_of, unknown_chat, visible};
use crate::api::http::call::Call;
use crate::api::http::problem::Problem;
use crate::api::lookup::the_one;
use crate::api::services::Services;
use crate::model::actor::Actor;
use crate::model::conversation::Conversation;
use crate::model::feedback::{FeedbackDocument, FeedbackType, Rating};
use crate::model::ids::{EpochMillis, FeedbackKey};
use crate::model::json::value::{Json, to_raw};
use crate::model::rating::Rater;
use crate::model::resolve::Identity;
use crate::model::time;
use crate::storage::format::table_row::Reference;
use crate::storage::store::{Store, StoreError};

const REMOVALS_AT_ONCE: usize = 16;

/// `POST /webapi/v2/conversations/{id}/chats/{chatId}/feedback`
pub(crate) async fn rate(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let given = call.read_json().await?.parse(body::chat_rating).await??;
    let actor = actor::actor(call.headers())?;
    let conversation = the_one(visible(services, call, &actor).await?)?;
    let id = call.second_id()?;
    let message = chat_of(&conversation, id)?;
    // A task of its own, so that a client that goes away leaves no removal half done.
    let (store, of, message_id) = (Arc::clone(&services.store), Arc::clone(&conversation), id.to_owned());
    let task = tokio::spawn(async move {
        match given.rating {
            Some(positive) => set(&store, &of, &message_id, positive, given, actor).await,
            None => remove(&store, &of, &message_id, Rater::of(&actor)).await,
        }
    });
    task.await.map_err(|_| Problem::internal())??;
    let ratings = services.store.snapshot().ratings(&conversation, &[id]).await?;
    Ok(respond_chat(&conversation, message, &ratings))
}

async fn set(
    store: &Store,
    conversation: &Conversation,
    message_id: &str,
    positive: bool,
    given: ChatRating,
    actor: Actor,
) -> Result<(), Problem> {
    let rater = Rater::of(&actor);
    let ratings = store.snapshot().ratings(conversation, &[message_id]).await?;
    // What is given now is the newest, also next to feedback with times ahead of this clock.
    let after = ratings.given_at(message_id, rater).map_or(i64::MIN, |given_at| given_at.0.saturating_add(1));
    let now = EpochMillis(store.environment().now().0.max(after.min(time::LAST)));
    let reason = |label| {
        let members = [("label", label), ("details", String::new())];
        Json::Object(members.into_iter().map(|(name, text)| (name.to_owned(), Json::String(text))).collect())
    };
    let document = FeedbackDocument {
        id: Some(rating_id(conversation, message_id, rater)),
        feedback_type: if positive { FeedbackType::Positive } else { FeedbackType::Negative },
        message_id: message_id.to_owned(),
        created_at: Some(now),
        updated_at: Some(now),
        project_id: None,
        reasons: given.selection.map(|label| to_raw(&Json::Array(vec![reason(label)]))),
        details: given.suggested_answer,
        properties: None,
        user_properties: None,
        sources: None,
        rating: Some(Rating { conversation_id: conversation.id.as_str().to_owned(), by: actor }),
    };
    let identity = Identity {
        organization_id: conversation.organization_id.clone(),
        project_id: conversation.project_id.clone(),
        integration_id: conversation.integration_id.clone(),
    };
    match store.log_feedback(identity, document).await {
        Ok(_) => Ok(()),
        // The conversation or the message went meanwhile.
        Err(StoreError::Invalid(_)) => Err(unknown_chat()),
        Err(error) => Err(error.into()),
    }
}

/// Removes all feedback of the rater on the message: nothing older comes up again.
async fn remove(store: &Store, conversation: &Conversation, message_id: &str, rater: Rater) -> Result<(), Problem> {
    let mut keys: Vec<FeedbackKey> = Vec::new();
    let reference = Reference::Message(message_id);
    let snapshot = store.snapshot();
    let visit = snapshot.each_feedback(conversation, reference, |feedback| {
        if feedback.rater() == rater {
            keys.push(feedback.key());
        }
    });
    visit.await?;
    let removals = stream::iter(keys).map(|key| async move { store.delete_feedback(&key).await });
    removals.buffer_unordered(REMOVALS_AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

/// One feedback of each rater on a chat, whoever they are.
fn rating_id(conversation: &Conversation, message_id: &str, rater: Rater) -> String {
    let chat = format!("{}:{}{message_id}", conversation.id.as_str().len(), conversation.id.as_str());
    format!("rating-{}-{:032x}", rater.as_str(), xxh3_128(chat.as_bytes()))
}
