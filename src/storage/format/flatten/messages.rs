//! The messages of conversations, a row each.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, StringViewArray};
use arrow::record_batch::RecordBatch;

use super::plain::{times, type_name};
use super::walk::unescape;
use crate::model::conversation::{Conversation, Message};
use crate::model::json::value::RawJson;
use crate::storage::format::error::FlattenError;
use crate::storage::format::schema::messages_schema;

/// The rows of all messages.
pub(crate) fn messages_batch(conversations: &[Arc<Conversation>]) -> Result<RecordBatch, FlattenError> {
    let all = || conversations.iter().flat_map(|c| c.messages.iter().map(move |message| (c.as_ref(), message)));
    let text = |value: for<'a> fn(&'a Conversation, &'a Message) -> Option<&'a str>| -> ArrayRef {
        Arc::new(all().map(|(c, m)| value(c, m)).collect::<StringViewArray>())
    };
    let positions = conversations.iter().flat_map(|c| 0..c.messages.len() as i32);
    let contents: Vec<Option<Cow<'_, str>>> = all().map(|(_, m)| decoded_content(m)).collect::<Result<_, _>>()?;
    let arrays = vec![
        text(|c, _| Some(c.organization_id.as_str())),
        text(|c, _| Some(c.project_id.as_str())),
        text(|c, _| Some(c.id.as_str())),
        text(|_, m| Some(m.id.as_str())),
        text(|c, _| Some(type_name(c.conversation_type))),
        text(|_, m| Some(&m.role)),
        Arc::new(Int32Array::from_iter_values(positions)) as ArrayRef,
        text(|_, m| m.external_id.as_deref()),
        text(|_, m| m.external_url.as_deref()),
        text(|_, m| m.name.as_deref()),
        Arc::new(contents.iter().map(|content| content.as_deref()).collect::<StringViewArray>()),
        text(|_, m| raw(&m.content).filter(|content| !content.starts_with('"'))),
        text(|_, m| raw(&m.links)),
        text(|_, m| raw(&m.tool_calls)),
        text(|_, m| raw(&m.properties)),
        text(|_, m| raw(&m.user_properties)),
        times(all().map(|(_, m)| m.created_at)),
        times(all().map(|(_, m)| m.updated_at)),
    ];
    Ok(RecordBatch::try_new(messages_schema(), arrays)?)
}

fn raw(value: &Option<RawJson>) -> Option<&str> {
    value.as_ref().map(|raw| raw.get())
}

/// The content's text when it is a string.
fn decoded_content(message: &Message) -> Result<Option<Cow<'_, str>>, FlattenError> {
    let Some(quoted) = raw(&message.content).filter(|content| content.starts_with('"')) else { return Ok(None) };
    unescape(quoted.get(1..quoted.len() - 1).unwrap_or_default()).map(Some)
}

/// Bytes that a conversation's messages take in a batch, about.
pub(crate) fn message_bytes(conversation: &Conversation) -> usize {
    let length = |raw: &Option<RawJson>| raw.as_ref().map_or(0, |raw| raw.get().len());
    let fields = |m: &Message| {
        length(&m.content)
            + length(&m.links)
            + length(&m.tool_calls)
            + length(&m.properties)
            + length(&m.user_properties)
    };
    conversation.messages.iter().map(fields).sum()
}
