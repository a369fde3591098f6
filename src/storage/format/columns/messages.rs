//! The columns of `messages`: contents; the rows of one conversation are contiguous.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::column::{Column, FlatRow, Set};
use super::field::Values;
use crate::model::conversation::{Conversation, Message};
use crate::model::ids::MessageId;
use crate::model::json::value::{RawJson, write_string};

/// A message beside the conversation that it is of.
pub(crate) struct MessageRow {
    conversation: Arc<Conversation>,
    position: usize,
}

impl MessageRow {
    /// Those of a conversation, in its order.
    pub(crate) fn all_of(conversation: &Arc<Conversation>) -> impl Iterator<Item = MessageRow> + '_ {
        (0..conversation.messages.len()).map(|position| MessageRow { conversation: Arc::clone(conversation), position })
    }

    fn message(&self) -> Option<&Message> {
        self.conversation.messages.get(self.position)
    }
}

/// What is read back of a message's row.
pub(crate) struct StoredMessage {
    pub(crate) conversation_id: String,
    pub(crate) position: i64,
    pub(crate) message: Message,
}

/// What threads are looked up in.
pub(crate) const ID: &str = "id";
pub(crate) const ROLE: &str = "role";
/// A content that is a string, as text.
pub(crate) const CONTENT: &str = "content";
/// Any other, as JSON.
pub(crate) const CONTENT_PARTS: &str = "contentParts";

type Entry = Column<MessageRow>;

impl FlatRow for MessageRow {
    type Back = StoredMessage;

    const COLUMNS: &'static [Column<Self>] = &[
        Entry::text(ID, |m| Some(m.message()?.id.as_str()))
            .required()
            .values(Values::Prefixed)
            .set(Set::Text(|m, id| m.message.id = MessageId::new(id))),
        Entry::text("conversationId", |m| Some(m.conversation.id.as_str()))
            .required()
            .values(Values::Unique)
            .set(Set::Text(|m, id| m.conversation_id = id.to_owned())),
        Entry::text("organizationId", |m| Some(m.conversation.organization_id.as_str())).required().sorted(),
        Entry::text("projectId", |m| Some(m.conversation.project_id.as_str())).required().sorted(),
        Entry::integer("position", |m| i64::try_from(m.position).ok())
            .required()
            .values(Values::Unique)
            .set(Set::Integer(|m, position| m.position = position)),
        Entry::text(ROLE, |m| Some(&m.message()?.role))
            .required()
            .set(Set::Text(|m, role| m.message.role = role.to_owned())),
        Entry::text("name", |m| m.message()?.name.as_deref())
            .set(Set::Text(|m, name| m.message.name = Some(name.to_owned()))),
        Entry::json_string(CONTENT, |m| m.message()?.content.as_ref().filter(is_string)).without_statistics().set(
            Set::Checked(|m, text| {
                // Spelled as the model spells strings, so that a content comes back byte for byte.
                let mut quoted = String::with_capacity(text.len() + 2);
                write_string(text, &mut quoted);
                m.message.content = RawValue::from_string(quoted).ok();
                m.message.content.is_some()
            }),
        ),
        Entry::json(CONTENT_PARTS, |m| m.message()?.content.as_ref().filter(|content| !is_string(content)))
            .set(Set::Json(|m, parts| m.message.content = Some(parts))),
        Entry::time("createdAt", |m| m.message()?.created_at)
            .sorted()
            .set(Set::Time(|m, time| m.message.created_at = Some(time))),
        Entry::time("updatedAt", |m| m.message()?.updated_at)
            .set(Set::Time(|m, time| m.message.updated_at = Some(time))),
        Entry::text("externalId", |m| m.message()?.external_id.as_deref())
            .values(Values::Prefixed)
            .set(Set::Text(|m, id| m.message.external_id = Some(id.to_owned()))),
        Entry::text("externalUrl", |m| m.message()?.external_url.as_deref())
            .set(Set::Text(|m, url| m.message.external_url = Some(url.to_owned()))),
        Entry::json("toolCalls", |m| m.message()?.tool_calls.as_ref())
            .list()
            .set(Set::Json(|m, calls| m.message.tool_calls = Some(calls))),
        Entry::json("links", |m| m.message()?.links.as_ref())
            .list()
            .set(Set::Json(|m, links| m.message.links = Some(links))),
        Entry::json("properties", |m| m.message()?.properties.as_ref())
            .set(Set::Json(|m, json| m.message.properties = Some(json))),
        Entry::json("userProperties", |m| m.message()?.user_properties.as_ref())
            .set(Set::Json(|m, json| m.message.user_properties = Some(json))),
        Entry::text("type", |m| Some(m.conversation.conversation_type.as_str())).required(),
    ];

    fn blank() -> StoredMessage {
        let message = Message {
            id: MessageId::new(""),
            external_id: None,
            external_url: None,
            created_at: None,
            updated_at: None,
            role: String::new(),
            name: None,
            content: None,
            links: None,
            tool_calls: None,
            properties: None,
            user_properties: None,
        };
        StoredMessage { conversation_id: String::new(), position: 0, message }
    }
}

fn is_string(content: &&RawJson) -> bool {
    content.get().starts_with('"')
}
