//! The columns of `semantic_threads`. None is read back: threads are derived from their conversations. What is their
//! conversation's or their messages' is looked up there, so that a conversation of many threads is stored once.

use super::column::{Column, FlatRow, TextList, fields, shown, shown_count};
use super::field::{Field, FieldKind, Values};
use crate::model::ids::IntegrationId;
use crate::model::json::value::RawJson;
use crate::model::thread::SemanticThread;
use crate::storage::format::layout::JsonField;

pub(crate) static FIELDS: [&Field; SemanticThread::COLUMNS.len()] = fields::<SemanticThread, _>();
pub(crate) static SHOWN: [&Field; shown_count::<SemanticThread>()] = shown::<SemanticThread, _>();

/// Made by the scan from the feedback of the same snapshot.
pub(crate) const HAS_POSITIVE_FEEDBACK: &str = "hasPositiveFeedback";
/// As [`HAS_POSITIVE_FEEDBACK`].
pub(crate) const HAS_NEGATIVE_FEEDBACK: &str = "hasNegativeFeedback";

/// Looked up among the messages.
pub(crate) const MESSAGE_IDS: &str = "messageIds";
/// As [`MESSAGE_IDS`].
pub(crate) const QUESTION: &str = "question";
/// As [`MESSAGE_IDS`].
pub(crate) const ANSWER: &str = "answer";

/// Where the thread's messages begin in its conversation.
pub(crate) const FIRST_MESSAGE_POSITION: &str = "firstMessagePosition";
/// How many there are.
pub(crate) const MESSAGES_COUNT: &str = "messagesCount";

type Entry = Column<SemanticThread>;

impl FlatRow for SemanticThread {
    type Back = ();

    const COLUMNS: &'static [Column<Self>] = &[
        Entry::text("id", |t| Some(t.id.as_str())).required().values(Values::Unique).published(),
        Entry::looked_up(MESSAGE_IDS, FieldKind::TextList, |_| 0).published(),
        Entry::integer(MESSAGES_COUNT, |t| Some(t.messages.len() as i64)).required().published(),
        Entry::text("organizationId", |t| Some(t.organization_id.as_str())).required().sorted().published(),
        Entry::looked_up(QUESTION, FieldKind::Text, SemanticThread::text_bytes).values(Values::Long).left_out(),
        Entry::integer("questionLength", SemanticThread::question_length).published(),
        Entry::looked_up(ANSWER, FieldKind::Text, SemanticThread::text_bytes).values(Values::Long).left_out(),
        Entry::boolean("isOnTopic", |t| t.flag("isOnTopic")).published(),
        Entry::boolean("isClear", |t| t.flag("isClear")).published(),
        Entry::boolean("isDocumented", |t| t.flag("isDocumented")).published(),
        Entry::boolean("isFeatureSupported", |t| t.flag("isFeatureSupported")).published(),
        Entry::boolean("isAnswerConfident", |t| t.flag("isAnswerConfident")).published(),
        Entry::text("gapSummary", |t| t.text("gapSummary")).published(),
        Entry::text("subject", |t| t.text("subject")).published(),
        Entry::text("category", |t| t.text("category")).published(),
        Entry::text_list("languages", |t| t.languages().map(TextList::Many)).published(),
        Entry::text_list("firstPartyEntities", |t| t.list("firstPartyEntities").map(TextList::Many)).published(),
        Entry::text_list("thirdPartyEntities", |t| t.list("thirdPartyEntities").map(TextList::Many)).published(),
        Entry::text("emotion", |t| t.text("emotion")).published(),
        Entry::text("sentiment", |t| t.text("sentiment")).published(),
        Entry::text("questionType", |t| t.text("questionType")).published(),
        Entry::text("projectId", |t| Some(t.project_id.as_str())).required().sorted().published(),
        Entry::text("integrationId", |t| t.integration_id.as_ref().map(IntegrationId::as_str)).left_out(),
        Entry::looked_up(JsonField::Properties.name(), FieldKind::Json, |t| bytes(&t.conversation.properties))
            .values(Values::Long)
            .published(),
        Entry::looked_up(JsonField::UserProperties.name(), FieldKind::Json, |t| bytes(&t.conversation.user_properties))
            .values(Values::Long)
            .published(),
        Entry::time("firstMessageTime", |t| Some(t.first_message_time)).required().sorted().published(),
        Entry::time("lastMessageTime", |t| Some(t.last_message_time)).required().published(),
        Entry::time("lastUpdated", |t| Some(t.last_updated())).required().published(),
        Entry::computed(HAS_POSITIVE_FEEDBACK, FieldKind::Boolean).published(),
        Entry::computed(HAS_NEGATIVE_FEEDBACK, FieldKind::Boolean).published(),
        Entry::text_list("conversationIds", |t| Some(TextList::One(t.conversation_id.as_str())))
            .values(Values::Unique)
            .left_out(),
        Entry::boolean("areAIAnnotationsVerified", |t| t.flag("areAIAnnotationsVerified")).published(),
        Entry::boolean("isInitialQuestionAnswer", |t| Some(t.is_initial)).required().published(),
        Entry::integer(FIRST_MESSAGE_POSITION, |t| i64::try_from(t.messages.start).ok())
            .required()
            .values(Values::Unique)
            .without_statistics(),
    ];

    fn blank() {}
}

fn bytes(json: &Option<RawJson>) -> usize {
    json.as_ref().map_or(0, |json| json.get().len())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::Array;

    use super::*;
    use crate::model::thread_annotations::{ANNOTATIONS, AnnotationKind, AnnotationValue, ThreadAnnotations};
    use crate::storage::format::flatten::flatten;
    use crate::storage::format::flatten::test_support::conversation;
    use crate::storage::format::layout::Layout;
    use crate::storage::format::physical_name::snake_case;

    /// What can be set of a thread is a field, and each field tells what is set under its name.
    #[test]
    fn every_annotation_has_its_column() {
        let conversation = Arc::new(conversation(0, None, None));
        for (name, kind) in ANNOTATIONS {
            let mut thread = SemanticThread::derive(&conversation).remove(0);
            let value = match kind {
                AnnotationKind::Flag => AnnotationValue::Flag(true),
                AnnotationKind::Text => AnnotationValue::Text("x".to_owned()),
                AnnotationKind::List => AnnotationValue::List(vec!["x".to_owned()]),
            };
            thread.annotations = ThreadAnnotations {
                values: BTreeMap::from([(name.to_owned(), value)]),
                ..ThreadAnnotations::default()
            };
            let flat = flatten(&[Arc::new(thread)], &Layout::default()).unwrap();
            for (other, _) in ANNOTATIONS {
                let column = flat.batch.column_by_name(&snake_case(other)).unwrap();
                assert_eq!(column.is_valid(0), name == other, "{other} where {name} is set");
            }
        }
    }
}
