//! A stored conversation as the analytics API shows it (contract A2, output).
//!
//! The official client (`@inkeep/inkeep-analytics` 0.2.4) validates every answer: nullable fields are present as null,
//! only `image_url.detail` is left out when not given.

use std::sync::Arc;

use super::conversation::{Conversation, ConversationType, Message};
use super::ids::{EpochMillis, IntegrationId};
use super::json::parser;
use super::json::value::{Json, RawJson, write_string};
use super::time::render;

/// Deeper than any stored list of links or parts.
const MAX_DEPTH: usize = 16;

/// Appends the conversation as one JSON object.
pub(crate) fn write_conversation(conversation: &Conversation, out: &mut Vec<u8>) {
    let mut text = String::with_capacity(1024);
    let mut next = Some(Part::Head);
    while let Some(part) = next {
        next = part.write(conversation, &mut text);
    }
    out.extend_from_slice(text.as_bytes());
}

/// The same in pieces.
pub(crate) struct Pieces {
    conversation: Arc<Conversation>,
    next: Option<Part>,
}

impl Pieces {
    pub(crate) fn new(conversation: Arc<Conversation>) -> Pieces {
        Pieces { conversation, next: Some(Part::Head) }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.next.is_none()
    }

    /// What the next piece may come to beyond what it is asked for.
    pub(crate) fn largest_left(&self) -> usize {
        if self.is_done() { 0 } else { self.conversation.text_bytes() }
    }

    /// The next piece, of a little over `bytes`; `None` after the last.
    pub(crate) fn next(&mut self, bytes: usize) -> Option<Vec<u8>> {
        self.next?;
        let mut text = String::new();
        while let Some(part) = self.next
            && text.len() <= bytes
        {
            self.next = part.write(&self.conversation, &mut text);
        }
        Some(text.into_bytes())
    }
}

/// What of a conversation is written at once.
#[derive(Clone, Copy)]
enum Part {
    /// All before its messages.
    Head,
    /// A message, by its place.
    Message(usize),
    /// The same as OpenAI has it.
    OpenAi(usize),
}

impl Part {
    /// Gives the part that comes next.
    fn write(self, conversation: &Conversation, text: &mut String) -> Option<Part> {
        let is_openai = conversation.conversation_type == ConversationType::Openai;
        let messages = &conversation.messages;
        match self {
            Part::Head => {
                write_head(conversation, text);
                Some(Part::Message(0))
            }
            Part::Message(at) => match messages.get(at) {
                Some(message) => {
                    text.push_str(if at == 0 { "" } else { "," });
                    write_message(conversation, message, text);
                    Some(Part::Message(at + 1))
                }
                None if is_openai => {
                    text.push_str("],\"messagesOpenAIFormat\":[");
                    Some(Part::OpenAi(0))
                }
                None => {
                    text.push_str("]}");
                    None
                }
            },
            Part::OpenAi(at) => match messages.get(at) {
                Some(message) => {
                    text.push_str(if at == 0 { "{" } else { ",{" });
                    write_field("role", Some(&message.role), text);
                    write_field("name", message.name.as_deref(), text);
                    write_openai_content(message, text);
                    write_raw("tool_calls", message.tool_calls.as_ref(), text);
                    text.push('}');
                    Some(Part::OpenAi(at + 1))
                }
                None => {
                    text.push_str("]}");
                    None
                }
            },
        }
    }
}

/// To the begin of the list of messages.
fn write_head(conversation: &Conversation, text: &mut String) {
    text.push('{');
    write_field("id", Some(conversation.id.as_str()), text);
    write_field("externalId", conversation.external_id.as_deref(), text);
    write_field("externalUrl", conversation.external_url.as_deref(), text);
    write_field("type", Some(conversation.conversation_type.as_str()), text);
    let ticket = conversation.support_ticket_conversation_id.as_deref();
    write_field("supportTicketConversationId", ticket, text);
    write_time("createdAt", conversation.created_at, text);
    write_time("updatedAt", conversation.updated_at, text);
    write_field("projectId", Some(conversation.project_id.as_str()), text);
    write_field("integrationId", conversation.integration_id.as_ref().map(IntegrationId::as_str), text);
    write_raw("properties", conversation.properties.as_ref(), text);
    write_raw("userProperties", conversation.user_properties.as_ref(), text);
    write_key("tags", text);
    match &conversation.tags {
        Some(tags) => write_list(tags, text, |tag, text| write_string(tag, text)),
        None => text.push_str("null"),
    }
    write_field("visibility", conversation.visibility.map(|visibility| visibility.as_str()), text);
    write_key("messages", text);
    text.push('[');
}

pub(crate) fn write_message(conversation: &Conversation, message: &Message, text: &mut String) {
    let openai = conversation.conversation_type == ConversationType::Openai;
    let created_at = message.created_at.unwrap_or(conversation.created_at);
    text.push('{');
    write_field("id", Some(message.id.as_str()), text);
    write_field("type", Some(conversation.conversation_type.as_str()), text);
    write_field("externalId", message.external_id.as_deref(), text);
    write_field("externalUrl", message.external_url.as_deref(), text);
    write_field("conversationId", Some(conversation.id.as_str()), text);
    write_time("createdAt", created_at, text);
    write_time("updatedAt", message.updated_at.unwrap_or(created_at), text);
    write_field("role", Some(&message.role), text);
    if openai {
        write_openai_content(message, text);
    } else {
        write_raw("content", message.content.as_ref(), text);
    }
    write_field("name", message.name.as_deref(), text);
    write_key("links", text);
    match &message.links {
        Some(links) => write_objects(links, &["label", "url", "title", "description", "type", "breadcrumbs"], text),
        None => text.push_str("null"),
    }
    write_raw("properties", message.properties.as_ref(), text);
    write_raw("userProperties", message.user_properties.as_ref(), text);
    if openai {
        write_raw("tool_calls", message.tool_calls.as_ref(), text);
    }
    text.push('}');
}

/// A string, or parts with just the fields that were given (contract A2): people send them back to OpenAI, which takes
/// no nulls in them. Never null itself.
fn write_openai_content(message: &Message, text: &mut String) {
    write_key("content", text);
    match &message.content {
        Some(content) => text.push_str(content.get()),
        None => text.push_str("\"\""),
    }
}

/// A stored list of objects, each with all of `names`; a missing one is null.
fn write_objects(list: &RawJson, names: &[&str], text: &mut String) {
    let Ok(Json::Array(elements)) = parser::parse(list.get().as_bytes(), MAX_DEPTH) else {
        text.push_str(list.get());
        return;
    };
    write_list(&elements, text, |element, text| {
        text.push('{');
        for name in names {
            write_key(name, text);
            element.get(name).unwrap_or(&Json::Null).write_compact(text);
        }
        text.push('}');
    });
}

fn write_list<T>(elements: &[T], text: &mut String, write: impl Fn(&T, &mut String)) {
    text.push('[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write(element, text);
    }
    text.push(']');
}

pub(crate) fn write_key(key: &str, text: &mut String) {
    if !text.ends_with('{') {
        text.push(',');
    }
    write_string(key, text);
    text.push(':');
}

pub(crate) fn write_field(key: &str, value: Option<&str>, text: &mut String) {
    write_key(key, text);
    match value {
        Some(value) => write_string(value, text),
        None => text.push_str("null"),
    }
}

pub(crate) fn write_raw(key: &str, value: Option<&RawJson>, text: &mut String) {
    write_key(key, text);
    text.push_str(value.map_or("null", |value| value.get()));
}

pub(crate) fn write_time(key: &str, time: EpochMillis, text: &mut String) {
    write_field(key, Some(&render(time)), text);
}

#[cfg(test)]
mod tests;
