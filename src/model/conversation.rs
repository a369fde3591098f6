//! A stored conversation: resolved, that is, with every id, time and kept value in it (contract A2).

use serde::{Deserialize, Serialize};

use super::annotations::{Annotations, list_bytes};
use super::ids::{
    ConversationId, ConversationKey, EpochMillis, IntegrationId, MessageId, OrganizationId, ProjectId, WalPosition,
};
use super::json::value::{Json, RawJson};
use super::json::{parser, raw};
use super::origin::Origin;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ConversationType {
    Openai,
    SupportTicket,
    SupportCopilot,
}

impl ConversationType {
    /// As the API spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::SupportTicket => "support_ticket",
            Self::SupportCopilot => "support_copilot",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Visibility {
    Private,
    Public,
}

impl Visibility {
    /// As the API spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
        }
    }
}

/// A conversation as it is stored, logged in the WAL and returned. Optional fields are absent, never null.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Conversation {
    pub(crate) organization_id: OrganizationId,
    pub(crate) project_id: ProjectId,
    pub(crate) id: ConversationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) integration_id: Option<IntegrationId>,
    #[serde(rename = "type")]
    pub(crate) conversation_type: ConversationType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) external_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) external_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) support_ticket_conversation_id: Option<String>,
    pub(crate) created_at: EpochMillis,
    pub(crate) updated_at: EpochMillis,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) properties: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_properties: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) visibility: Option<Visibility>,
    pub(crate) messages: Vec<Message>,
    /// The object of the log that this version came with; each version has a later one.
    #[serde(default)]
    pub(crate) wal_position: WalPosition,
    /// The one that the first version came with.
    #[serde(default)]
    pub(crate) first_wal_position: WalPosition,
    #[serde(default = "Origin::unknown")]
    pub(crate) origin: Origin,
    /// What Part B sets; survives a re-log.
    #[serde(default, skip_serializing_if = "Annotations::is_default")]
    pub(crate) annotations: Annotations,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message {
    pub(crate) id: MessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) external_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) external_url: Option<String>,
    /// As given; a message without one shows the conversation's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created_at: Option<EpochMillis>,
    /// As given; a message without one shows its `createdAt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) updated_at: Option<EpochMillis>,
    pub(crate) role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// A JSON string, an array of parts, or absent for null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) links: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_calls: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) properties: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_properties: Option<RawJson>,
}

/// A message as Part B shows it.
#[derive(Clone, Copy)]
pub(crate) struct Chat<'a> {
    pub(crate) time: EpochMillis,
    pub(crate) message: &'a Message,
}

impl Message {
    /// The text as it is, of parts the texts joined by newlines, nothing for null.
    pub(crate) fn text(&self) -> String {
        let Some(content) = &self.content else { return String::new() };
        match raw::string_value(content.get()) {
            Some(text) => text.into_owned(),
            None => text_of_parts(content.get()),
        }
    }
}

/// The text of a content that is no string.
pub(crate) fn text_of_parts(content: &str) -> String {
    let Ok(Json::Array(parts)) = parser::parse(content.as_bytes(), MAX_CONTENT_LEVELS) else {
        return String::new();
    };
    let texts = parts.iter().filter_map(|part| match part.get("text") {
        Some(Json::String(text)) => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// Roles of those who neither ask nor answer.
fn is_of_machinery(role: &str) -> bool {
    matches!(role, "system" | "developer" | "tool")
}

/// Deeper than any stored content.
const MAX_CONTENT_LEVELS: usize = 64;

impl Conversation {
    pub(crate) fn key(&self) -> ConversationKey {
        ConversationKey {
            organization_id: self.organization_id.clone(),
            project_id: self.project_id.clone(),
            id: self.id.clone(),
        }
    }

    /// Earliest given message time, else the conversation's `createdAt` (contract A3).
    pub(crate) fn first_message_time(&self) -> EpochMillis {
        self.messages.iter().filter_map(|message| message.created_at).min().unwrap_or(self.created_at)
    }

    /// Latest given message time, else the conversation's `createdAt` (contract A3).
    pub(crate) fn last_message_time(&self) -> EpochMillis {
        self.messages.iter().filter_map(|message| message.created_at).max().unwrap_or(self.created_at)
    }

    pub(crate) fn user_message_count(&self) -> i64 {
        self.messages.iter().filter(|message| message.role == "user").count() as i64
    }

    pub(crate) fn assistant_message_count(&self) -> i64 {
        self.messages.iter().filter(|message| message.role == "assistant").count() as i64
    }

    /// Of agents and whoever else answers beside the assistant (contract A5).
    pub(crate) fn other_message_count(&self) -> i64 {
        let known = |role: &str| role == "user" || role == "assistant" || is_of_machinery(role);
        self.messages.iter().filter(|message| !known(&message.role)).count() as i64
    }

    /// From the first question to the first answer after it; messages without a given time do not count (contract A5).
    pub(crate) fn first_response_ms(&self) -> Option<i64> {
        let timed = self.messages.iter().enumerate().filter_map(|(place, m)| Some(((m.created_at?, place), &m.role)));
        let asked = timed.clone().filter(|(_, role)| *role == "user").map(|(moment, _)| moment).min()?;
        let answers = timed.filter(|(moment, role)| *moment > asked && *role != "user" && !is_of_machinery(role));
        let (answered, _) = answers.map(|(moment, _)| moment).min()?;
        Some(answered.0 - asked.0.0)
    }

    /// When a message was written, as Part A shows it.
    pub(crate) fn message_time(&self, message: &Message) -> EpochMillis {
        message.created_at.unwrap_or(self.created_at)
    }

    /// The messages as Part B shows them, in the order of the document: one without a time takes that of the message
    /// before it, so that no reply comes before its question.
    pub(crate) fn chats(&self) -> impl Iterator<Item = Chat<'_>> {
        self.messages.iter().scan(self.created_at, |time, message| {
            *time = message.created_at.unwrap_or(*time);
            Some(Chat { time: *time, message })
        })
    }

    /// The same in the order of their times; those of one time as they were given.
    pub(crate) fn chats_by_time(&self) -> Vec<Chat<'_>> {
        let mut chats: Vec<Chat<'_>> = self.chats().collect();
        chats.sort_by_key(|chat| chat.time);
        chats
    }

    /// The greatest time that Part B shows.
    pub(crate) fn last_chat_time(&self) -> EpochMillis {
        self.chats().map(|chat| chat.time).max().unwrap_or(self.created_at)
    }

    /// The least of them.
    pub(crate) fn first_chat_time(&self) -> EpochMillis {
        self.chats().map(|chat| chat.time).min().unwrap_or(self.created_at)
    }

    /// When the document was updated or Part B last changed it, whichever is later.
    pub(crate) fn modified_at(&self) -> EpochMillis {
        self.annotations.changed.as_ref().map_or(self.updated_at, |changed| changed.at.max(self.updated_at))
    }

    /// The last in the order of [`Self::chats_by_time`].
    pub(crate) fn last_chat(&self) -> Option<Chat<'_>> {
        self.chats().max_by_key(|chat| chat.time)
    }

    /// Not ended, the last message is the user's, and not stopped since (contract Part B).
    pub(crate) fn is_running(&self) -> bool {
        !self.annotations.is_end
            && self.last_chat().is_some_and(|last| {
                let stopped = self.annotations.stopped.as_ref();
                last.message.role == "user" && stopped.is_none_or(|stopped| stopped.last_message_id != last.message.id)
            })
    }

    /// About how many bytes it has in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.text_bytes() + self.messages.len() * size_of::<Message>()
    }

    /// About how many bytes its JSON has. Each field is named, so that none is left out.
    pub(crate) fn text_bytes(&self) -> usize {
        let Conversation {
            organization_id,
            project_id,
            id,
            integration_id,
            conversation_type: _,
            external_id,
            external_url,
            support_ticket_conversation_id,
            created_at: _,
            updated_at: _,
            properties,
            user_properties,
            tags,
            visibility: _,
            messages,
            wal_position: _,
            first_wal_position: _,
            origin,
            annotations,
        } = self;
        let ids = organization_id.as_str().len() + project_id.as_str().len() + id.as_str().len();
        let texts = [external_id, external_url, support_ticket_conversation_id, &origin.sender.key];
        let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
        256 + ids
            + integration_id.as_ref().map_or(0, |id| id.as_str().len())
            + texts
            + raw_bytes([properties, user_properties])
            + list_bytes(tags.as_deref())
            + messages.iter().map(Message::text_bytes).sum::<usize>()
            + annotations.text_bytes()
    }
}

impl Message {
    /// As of a conversation.
    fn text_bytes(&self) -> usize {
        let Message {
            id,
            external_id,
            external_url,
            created_at: _,
            updated_at: _,
            role,
            name,
            content,
            links,
            tool_calls,
            properties,
            user_properties,
        } = self;
        let texts = [external_id, external_url, name].into_iter().flatten().map(String::len).sum::<usize>();
        256 + id.as_str().len()
            + role.len()
            + texts
            + raw_bytes([content, links, tool_calls, properties, user_properties])
    }
}

fn raw_bytes<const N: usize>(values: [&Option<RawJson>; N]) -> usize {
    values.into_iter().flatten().map(|json| json.get().len()).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Makes the text at this number longer, counted over the whole value; whether there is one.
    fn lengthen(value: &mut Value, number: &mut usize) -> bool {
        match value {
            Value::String(text) => {
                let is_it = *number == 0 && text.starts_with("text");
                if is_it {
                    text.push_str(&"x".repeat(100_000));
                }
                *number = number.wrapping_sub(usize::from(text.starts_with("text")));
                is_it
            }
            Value::Array(list) => list.iter_mut().any(|one| lengthen(one, number)),
            Value::Object(members) => members.values_mut().any(|one| lengthen(one, number)),
            _ => false,
        }
    }

    #[test]
    fn every_text_counts() {
        let whole = json!({
            "organizationId": "text", "projectId": "text", "id": "text", "integrationId": "text", "type": "openai",
            "externalId": "text", "externalUrl": "text", "supportTicketConversationId": "text",
            "createdAt": 0, "updatedAt": 0, "properties": {"a": "text"}, "userProperties": {"a": "text"},
            "tags": ["text", "text"], "visibility": "public",
            "origin": {"sender": {"kind": "api", "key": "text"}, "id": "client"},
            "annotations": {
                "title": "text", "state": "text", "assignee": "text", "categories": ["text", "text"], "memo": "text",
                "stopped": {"at": 0, "lastMessageId": "text"},
                "changed": {"at": 0, "by": {"agentEmail": "text", "userEmail": "text", "ownUserId": "text"}},
                "threads": {"0123": {"textHash": 0, "values": {"subject": "text", "firstPartyEntities": ["text"]}}},
            },
            "messages": [{
                "id": "text", "externalId": "text", "externalUrl": "text", "role": "text", "name": "text",
                "content": "text", "links": ["text"], "toolCalls": ["text"], "properties": {"a": "text"},
                "userProperties": {"a": "text"},
            }],
        });
        let of = |value: &Value| {
            let conversation: Conversation = serde_json::from_str(&value.to_string()).unwrap();
            (conversation.text_bytes(), serde_json::to_string(&conversation).unwrap().len())
        };
        let (before, length) = of(&whole);
        assert!(before >= length, "{before} of {length}");
        let mut texts = 0;
        loop {
            let mut longer = whole.clone();
            if !lengthen(&mut longer, &mut texts.clone()) {
                break;
            }
            let (bytes, long) = of(&longer);
            assert!(bytes >= before + 100_000 && long >= length + 100_000, "text {texts} is left out");
            texts += 1;
        }
        assert_eq!(texts, 34);
    }
}
