//! Ratings of chats: the feedback of Part A on their messages, one of each agent and of each user (contract Part B, 10).

use std::sync::Arc;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::actor;
use super::answer::respond_chat;
use super::body::{self, ChatRating};
use super::lookup::{chat_of, unknown_chat, visible};
use crate::api::http::call::Call;
use crate::api::http::problem::Problem;
use crate::api::lookup::the_one;
use crate::api::services::Services;
use crate::model::actor::Actor;
use crate::model::annotation_change::AnnotationChange;
use crate::model::conversation::Conversation;
use crate::model::feedback::{FeedbackDocument, FeedbackType, Rating};
use crate::model::ids::{EpochMillis, FeedbackId, FeedbackKey};
use crate::model::json::value::{Json, RawJson, to_raw};
use crate::model::origin::{Reach, Sender};
use crate::model::rating::Rater;
use crate::model::resolve::Identity;
use crate::model::time;
use crate::storage::store::{Store, StoreError};

/// `POST /webapi/v2/conversations/{id}/chats/{chatId}/feedback`
pub(crate) async fn rate(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let given = call.read_json().await?.parse(body::chat_rating).await??;
    let actor = actor::actor(call.headers())?;
    let conversation = the_one(visible(services, call, &actor).await?)?;
    let id = call.second_id()?;
    let chat = chat_of(&conversation, id)?;
    let own = OwnRating {
        key: rating_key(&conversation, id, &actor, call.caller()?.key_id()),
        store: Arc::clone(&services.store),
        conversation: Arc::clone(&conversation),
        message_id: id.to_owned(),
        sender: call.caller()?.sender(),
        actor,
    };
    // A task of its own, so that a client that goes away leaves no change half done.
    let task = tokio::spawn(async move {
        match given.rating {
            Some(positive) => own.set(positive, given).await,
            None => own.remove().await,
        }
    });
    task.await.map_err(|_| Problem::internal())??;
    let ratings = services.store.snapshot().ratings(&conversation, &[id]).await?;
    Ok(respond_chat(chat, &ratings))
}

/// What this API keeps of one agent or user on a chat.
struct OwnRating {
    key: FeedbackKey,
    store: Arc<Store>,
    conversation: Arc<Conversation>,
    message_id: String,
    sender: Sender,
    actor: Actor,
}

impl OwnRating {
    async fn set(self, positive: bool, given: ChatRating) -> Result<(), Problem> {
        let ratings = self.store.snapshot().ratings(&self.conversation, &[&self.message_id]).await?;
        // What is given now is the newest, also next to feedback with times ahead of this clock.
        let newest = ratings.given_at(&self.message_id, Rater::of(&self.actor));
        let after = newest.map_or(i64::MIN, |given_at| given_at.0.saturating_add(1));
        let now = EpochMillis(self.store.environment().now().0.max(after.min(time::LAST)));
        let reason = |label: &str| object(&[("label", Some(label)), ("details", Some(""))]);
        let document = FeedbackDocument {
            id: Some(self.key.id.as_str().to_owned()),
            feedback_type: if positive { FeedbackType::Positive } else { FeedbackType::Negative },
            message_id: self.message_id.clone(),
            created_at: Some(now),
            updated_at: Some(now),
            project_id: None,
            reasons: given.selection.map(|label| to_raw(&Json::Array(vec![reason(&label)]))),
            details: given.suggested_answer,
            properties: None,
            user_properties: user_properties(&self.actor),
            sources: None,
            rating: Some(Rating { conversation_id: self.conversation.id.as_str().to_owned(), by: self.actor.clone() }),
        };
        let identity = Identity {
            organization_id: self.key.organization_id.clone(),
            project_id: self.key.project_id.clone(),
            integration_id: self.conversation.integration_id.clone(),
            sender: self.sender.clone(),
            // Web keys do not get here.
            reach: Reach::Everything,
        };
        match self.store.log_feedback(identity, document).await {
            Ok(_) => self.changed().await,
            // The conversation or the message went meanwhile.
            Err(StoreError::Invalid(_)) => Err(unknown_chat()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what was set here and nothing else: feedback of Part A stays, so an older rating may come up again.
    async fn remove(self) -> Result<(), Problem> {
        let snapshot = self.store.snapshot();
        let (organization, project) = (&self.key.organization_id, &self.key.project_id);
        let held =
            snapshot.tables.feedback.find(&snapshot.store, organization, Some(project), self.key.id.as_str()).await?;
        let is_rating = held.iter().any(|feedback| feedback.rated_by.is_some());
        if is_rating && !self.store.delete_feedback(&self.key).await?.is_nothing() {
            self.changed().await?;
        }
        Ok(())
    }

    /// A rating is a change of its conversation.
    async fn changed(&self) -> Result<(), Problem> {
        let change = AnnotationChange { rated: true, ..AnnotationChange::default() };
        self.store.annotate(&self.conversation.key(), &change, &self.actor).await?;
        Ok(())
    }
}

/// What tells Part A whose rating it is.
fn user_properties(actor: &Actor) -> Option<RawJson> {
    let agent = actor.agent_email.as_deref();
    let members = [
        ("userId", actor.own_user_id.as_deref()),
        ("email", actor.user_email.as_deref()),
        ("supportAgentEmail", agent),
        ("userType", agent.map(|_| "agent")),
    ];
    members.iter().any(|(_, value)| value.is_some()).then(|| to_raw(&object(&members)))
}

fn object(members: &[(&str, Option<&str>)]) -> Json {
    let given =
        members.iter().filter_map(|(name, value)| Some(((*name).to_owned(), Json::String((*value)?.to_owned()))));
    Json::Object(given.collect())
}

/// The same for every call of one agent on one chat, and for those of one user; a caller who names nobody is the key.
fn rating_key(conversation: &Conversation, message_id: &str, actor: &Actor, key_id: &str) -> FeedbackKey {
    let (kind, rater) = match (&actor.agent_email, &actor.own_user_id) {
        (Some(email), _) => ("agent", email.to_lowercase()),
        (None, Some(id)) => ("user", id.clone()),
        (None, None) => ("key", key_id.to_owned()),
    };
    let mut hash = Sha256::new();
    for part in [conversation.id.as_str(), message_id, kind, &rater] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    FeedbackKey {
        organization_id: conversation.organization_id.clone(),
        project_id: conversation.project_id.clone(),
        id: FeedbackId::new(format!("rating-{}", URL_SAFE_NO_PAD.encode(hash))),
    }
}
