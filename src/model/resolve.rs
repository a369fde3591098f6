//! From a validated document to the conversation that is stored: ids, times and kept values (contract A2, upsert).

use std::collections::HashMap;

use super::conversation::{Conversation, Message};
use super::document::{Document, DocumentMessage};
use super::ids::{
    ConversationId, EpochMillis, IntegrationId, MessageId, OrganizationId, ProjectId, ThreadId, WalPosition,
};
use super::origin::{Origin, Reach, Sender};
use super::previous::{Previous, PreviousMessage, content_hash, text_hash};
use super::thread::SemanticThread;

/// In whose name a document is logged: the key's, or what an `org` key's document names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) organization_id: OrganizationId,
    pub(crate) project_id: ProjectId,
    /// The key's; a document that names its own overrules it.
    pub(crate) integration_id: Option<IntegrationId>,
    pub(crate) sender: Sender,
    /// Which stored rows its documents may name.
    pub(crate) reach: Reach,
}

/// Makes the conversation to store. `previous` is the stored one with the same id, else externalId, in the project;
/// `new_id` makes the ids that nothing names.
pub(crate) fn resolve(
    document: &Document,
    identity: &Identity,
    previous: Option<&Previous>,
    now: EpochMillis,
    new_id: impl Fn() -> String,
) -> Conversation {
    let id = match (&document.id, previous) {
        (Some(id), _) => ConversationId::new(id.as_str()),
        (None, Some(previous)) => previous.key.id.clone(),
        (None, None) => ConversationId::new(new_id()),
    };
    let kept = match_messages(&document.messages, previous.map_or(&[], |previous| &previous.messages));
    let messages = document.messages.iter().zip(kept).map(|(message, kept)| Message {
        id: match (&message.id, kept) {
            (Some(id), _) => MessageId::new(id.as_str()),
            (None, Some(kept)) => kept.id.clone(),
            (None, None) => MessageId::new(new_id()),
        },
        external_id: message.external_id.clone(),
        external_url: message.external_url.clone(),
        created_at: message.created_at.or_else(|| kept.and_then(|kept| kept.created_at)),
        updated_at: message.updated_at,
        role: message.role.clone(),
        name: message.name.clone(),
        content: message.content.clone(),
        links: message.links.clone(),
        tool_calls: message.tool_calls.clone(),
        properties: message.properties.clone(),
        user_properties: message.user_properties.clone(),
    });
    let mut conversation = Conversation {
        organization_id: identity.organization_id.clone(),
        project_id: identity.project_id.clone(),
        id,
        integration_id: match &document.integration_id {
            Some(id) => Some(IntegrationId::new(id.as_str())),
            None => identity.integration_id.clone(),
        },
        conversation_type: document.conversation_type,
        external_id: document.external_id.clone(),
        external_url: document.external_url.clone(),
        support_ticket_conversation_id: document.support_ticket_conversation_id.clone(),
        created_at: document.created_at.or(previous.map(|previous| previous.created_at)).unwrap_or(now),
        updated_at: document.updated_at.unwrap_or(now),
        properties: document.properties.clone(),
        user_properties: document.user_properties.clone(),
        tags: document.tags.clone(),
        visibility: document.visibility,
        messages: messages.collect(),
        // The writer knows them.
        wal_position: WalPosition::default(),
        first_wal_position: WalPosition::default(),
        origin: Origin::resolve(&identity.sender, document.id.as_deref(), previous.map(|previous| previous.origin.id)),
        annotations: previous.map(|previous| previous.annotations.clone()).unwrap_or_default(),
    };
    if !conversation.annotations.threads.is_empty() {
        // What is said of a thread holds as long as its question and answer stay the same (contract A4).
        let now: HashMap<ThreadId, u64> = SemanticThread::text_hashes(&conversation).collect();
        conversation.annotations.threads.retain(|id, annotations| now.get(id) == Some(&annotations.text_hash));
    }
    conversation
}

/// The ids that a document's messages have once it is stored; `None` for those that get a new one.
pub(crate) fn known_message_ids<'a>(document: &'a Document, previous: Option<&'a Previous>) -> Vec<Option<&'a str>> {
    let kept = match_messages(&document.messages, previous.map_or(&[], |previous| &previous.messages));
    let ids = document.messages.iter().zip(kept);
    ids.map(|(message, kept)| message.id.as_deref().or(kept.map(|kept| kept.id.as_str()))).collect()
}

/// For each message the stored one it continues. A stored message is matched at most once: explicit ids first, then
/// externalIds in order, then positions with the same role and content.
fn match_messages<'a>(messages: &[DocumentMessage], stored: &'a [PreviousMessage]) -> Vec<Option<&'a PreviousMessage>> {
    let mut matched = vec![None; messages.len()];
    if stored.is_empty() {
        return matched;
    }
    let mut free = vec![true; stored.len()];
    let by_id: HashMap<&str, usize> =
        stored.iter().enumerate().map(|(at, message)| (message.id.as_str(), at)).collect();
    let mut take = |at: usize| if std::mem::take(free.get_mut(at)?) { stored.get(at) } else { None };
    for (slot, message) in matched.iter_mut().zip(messages) {
        *slot = message.id.as_deref().and_then(|id| by_id.get(id)).and_then(|at| take(*at));
    }
    // Positions of each externalId, last first, so that popping goes in order.
    let mut by_external_id: HashMap<u64, Vec<usize>> = HashMap::new();
    for (at, message) in stored.iter().enumerate().rev() {
        if let Some(hash) = message.external_id_hash {
            by_external_id.entry(hash).or_default().push(at);
        }
    }
    for (slot, message) in matched.iter_mut().zip(messages).filter(|(_, message)| message.id.is_none()) {
        if let Some(positions) = message.external_id.as_deref().and_then(|id| by_external_id.get_mut(&text_hash(id))) {
            while slot.is_none()
                && let Some(at) = positions.pop()
            {
                *slot = take(at);
            }
        }
    }
    for (at, (slot, message)) in matched.iter_mut().zip(messages).enumerate() {
        if slot.is_none()
            && message.id.is_none()
            && stored
                .get(at)
                .is_some_and(|stored| stored.content_hash == content_hash(&message.role, message.content.as_ref()))
        {
            *slot = take(at);
        }
    }
    matched
}

#[cfg(test)]
mod tests;
