//! The columns of each table that every row has, up to the raw JSON.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, ListBuilder, StringViewArray, StringViewBuilder, TimestampMicrosecondArray,
};

use crate::model::conversation::{Conversation, ConversationType, Visibility};
use crate::model::event::Event;
use crate::model::feedback::Feedback;
use crate::model::ids::EpochMillis;
use crate::model::thread::SemanticThread;
use crate::model::thread_annotations::{ANNOTATIONS, AnnotationKind};
use crate::storage::format::schema::list_element;

pub(crate) use crate::model::annotations::UNSET_STATE;

pub(crate) fn type_name(conversation_type: ConversationType) -> &'static str {
    match conversation_type {
        ConversationType::Openai => "openai",
        ConversationType::SupportTicket => "support_ticket",
        ConversationType::SupportCopilot => "support_copilot",
    }
}

pub(crate) fn type_named(name: &str) -> Option<ConversationType> {
    [ConversationType::Openai, ConversationType::SupportTicket, ConversationType::SupportCopilot]
        .into_iter()
        .find(|conversation_type| type_name(*conversation_type) == name)
}

pub(crate) fn visibility_name(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Private => "private",
        Visibility::Public => "public",
    }
}

pub(crate) fn visibility_named(name: &str) -> Option<Visibility> {
    [Visibility::Private, Visibility::Public].into_iter().find(|visibility| visibility_name(*visibility) == name)
}

/// In the order of the schema: `organizationId` to `userProperties`.
pub(crate) fn conversation_arrays(conversations: &[Arc<Conversation>]) -> Vec<ArrayRef> {
    let rows = Rows(conversations);
    vec![
        rows.text(|c| c.organization_id.as_str()),
        rows.text(|c| c.project_id.as_str()),
        rows.text(|c| c.id.as_str()),
        rows.text(|c| type_name(c.conversation_type)),
        rows.nullable_text(|c| c.integration_id.as_ref().map(|id| id.as_str())),
        rows.nullable_text(|c| c.external_id.as_deref()),
        rows.nullable_text(|c| c.external_url.as_deref()),
        rows.nullable_text(|c| c.support_ticket_conversation_id.as_deref()),
        rows.nullable_text(|c| c.visibility.map(visibility_name)),
        rows.nullable_text(|c| c.annotations.title.as_deref()),
        rows.nullable_text(|c| c.annotations.assignee.as_deref()),
        rows.text(|c| c.annotations.state.as_deref().unwrap_or(UNSET_STATE)),
        times(conversations.iter().map(|c| Some(c.created_at))),
        times(conversations.iter().map(|c| Some(c.updated_at))),
        times(conversations.iter().map(|c| Some(c.first_message_time()))),
        times(conversations.iter().map(|c| Some(c.last_message_time()))),
        Arc::new(Int64Array::from_iter_values(conversations.iter().map(|c| c.messages.len() as i64))),
        Arc::new(Int64Array::from_iter_values(conversations.iter().map(|c| c.user_message_count()))),
        rows.lists(|c| c.tags.as_deref()),
        rows.lists(|c| c.annotations.categories.as_deref()),
        Arc::new(BooleanArray::from_iter(conversations.iter().map(|c| Some(c.annotations.is_end)))),
        rows.nullable_text(|c| c.properties.as_ref().map(|raw| raw.get())),
        rows.nullable_text(|c| c.user_properties.as_ref().map(|raw| raw.get())),
    ]
}

pub(crate) fn times(times: impl Iterator<Item = Option<EpochMillis>>) -> ArrayRef {
    // Years 0001 to 9999 fit in microseconds.
    let array: TimestampMicrosecondArray = times.map(|time| time.map(|time| time.0.saturating_mul(1_000))).collect();
    Arc::new(array.with_timezone("UTC"))
}

/// In the order of the schema: `organizationId` to `userProperties`.
pub(crate) fn event_arrays(events: &[Arc<Event>]) -> Vec<ArrayRef> {
    let rows = Rows(events);
    vec![
        rows.text(|e| e.organization_id.as_str()),
        rows.text(|e| e.project_id.as_str()),
        rows.text(|e| e.id.as_str()),
        rows.text(|e| &e.event_type),
        rows.text(|e| e.entity_type.as_str()),
        rows.nullable_text(|e| e.integration_id.as_ref().map(|id| id.as_str())),
        rows.nullable_text(Event::message_id),
        rows.nullable_text(Event::conversation_id),
        rows.nullable_text(Event::search_query),
        times(events.iter().map(|e| Some(e.created_at))),
        rows.nullable_text(|e| e.properties.as_ref().map(|raw| raw.get())),
        rows.nullable_text(|e| e.user_properties.as_ref().map(|raw| raw.get())),
    ]
}

/// In the order of the schema: `organizationId` to `userProperties`.
pub(crate) fn feedback_arrays(feedback: &[Arc<Feedback>]) -> Vec<ArrayRef> {
    let rows = Rows(feedback);
    vec![
        rows.text(|f| f.organization_id.as_str()),
        rows.text(|f| f.project_id.as_str()),
        rows.text(|f| f.id.as_str()),
        rows.text(|f| f.feedback_type.as_str()),
        rows.text(|f| &f.message_id),
        rows.nullable_text(|f| f.integration_id.as_ref().map(|id| id.as_str())),
        rows.nullable_text(Feedback::conversation_id),
        rows.nullable_text(|f| f.details.as_deref()),
        times(feedback.iter().map(|f| Some(f.created_at))),
        times(feedback.iter().map(|f| Some(f.updated_at))),
        rows.nullable_text(|f| f.reasons.as_ref().map(|raw| raw.get())),
        rows.nullable_text(|f| f.sources.as_ref().map(|raw| raw.get())),
        rows.nullable_text(|f| f.properties.as_ref().map(|raw| raw.get())),
        rows.nullable_text(|f| f.user_properties.as_ref().map(|raw| raw.get())),
    ]
}

/// In the order of the schema: `organizationId` to `userProperties`.
pub(crate) fn thread_arrays(threads: &[Arc<SemanticThread>]) -> Vec<ArrayRef> {
    let rows = Rows(threads);
    let flags = |flag: &dyn Fn(&SemanticThread) -> Option<bool>| -> ArrayRef {
        Arc::new(threads.iter().map(|thread| flag(thread)).collect::<BooleanArray>())
    };
    let conversation_ids: Vec<[String; 1]> = threads.iter().map(|t| [t.conversation_id.as_str().to_owned()]).collect();
    let mut arrays = vec![
        rows.text(|t| t.organization_id.as_str()),
        rows.text(|t| t.project_id.as_str()),
        rows.text(|t| t.id.as_str()),
        rows.nullable_text(|t| t.integration_id.as_ref().map(|id| id.as_str())),
        rows.nullable_text(|t| t.question.as_deref()),
        rows.nullable_text(|t| t.answer.as_deref()),
        Arc::new(threads.iter().map(|t| t.question_length()).collect::<Int64Array>()),
        Arc::new(Int64Array::from_iter_values(threads.iter().map(|t| t.message_ids.len() as i64))),
        times(threads.iter().map(|t| Some(t.first_message_time))),
        times(threads.iter().map(|t| Some(t.last_message_time))),
        times(threads.iter().map(|t| Some(t.last_updated()))),
        flags(&|t| Some(t.is_initial)),
        rows.lists(|t| Some(&t.message_ids)),
        lists(conversation_ids.iter().map(|ids| Some(ids.as_slice()))),
        rows.lists(SemanticThread::languages),
    ];
    arrays.extend(ANNOTATIONS.iter().map(|(name, kind)| match kind {
        AnnotationKind::Flag => flags(&|t| t.flag(name)),
        AnnotationKind::Text => rows.nullable_text(|t| t.text(name)),
        AnnotationKind::List => rows.lists(|t| t.list(name)),
    }));
    arrays.push(rows.nullable_text(|t| t.conversation.properties.as_ref().map(|raw| raw.get())));
    arrays.push(rows.nullable_text(|t| t.conversation.user_properties.as_ref().map(|raw| raw.get())));
    arrays
}

fn lists<'a>(rows: impl Iterator<Item = Option<&'a [String]>>) -> ArrayRef {
    let mut lists = ListBuilder::new(StringViewBuilder::new()).with_field(list_element());
    for row in rows {
        match row {
            Some(elements) => {
                elements.iter().for_each(|element| lists.values().append_value(element));
                lists.append(true);
            }
            None => lists.append(false),
        }
    }
    Arc::new(lists.finish())
}

struct Rows<'a, R>(&'a [Arc<R>]);

impl<'a, R> Rows<'a, R> {
    fn text(&self, value: impl Fn(&'a R) -> &'a str) -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(self.0.iter().map(|c| value(c))))
    }

    fn nullable_text(&self, value: impl Fn(&'a R) -> Option<&'a str>) -> ArrayRef {
        Arc::new(self.0.iter().map(|c| value(c)).collect::<StringViewArray>())
    }

    fn lists(&self, value: impl Fn(&'a R) -> Option<&'a [String]>) -> ArrayRef {
        lists(self.0.iter().map(|row| value(row)))
    }
}
