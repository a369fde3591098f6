//! A view is data: its fields, their kinds and its default time field. Each names the columns of one table.

use crate::storage::format::table::Table;

/// What a field holds, and so which operators and aggregations it takes (contract A3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FieldKind {
    Text,
    /// Compared as a time, aggregated as epoch milliseconds, shown as ISO 8601.
    Time,
    Integer,
    Boolean,
    /// A list of strings.
    TextList,
    /// A JSON value that takes a `path`.
    Json,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Field {
    /// The contract's name, also the table's column name.
    pub(crate) name: &'static str,
    pub(crate) kind: FieldKind,
    /// Whether a request without `select` and `groupBy` shows it.
    pub(crate) published: bool,
    /// Whether it is left out of a row where it is null: the published type is not nullable.
    pub(crate) omit_null: bool,
    /// Of [`FieldKind::Json`]: whether it is a list, not an object.
    pub(crate) is_list: bool,
}

#[derive(Debug)]
pub(crate) struct View {
    pub(crate) name: &'static str,
    pub(crate) table: Table,
    pub(crate) fields: &'static [Field],
    /// Whether whole JSON fields show each value as text and leave nulls out (contract A4, events).
    pub(crate) shows_texts: bool,
    /// The field of a `time` selection that names none.
    pub(crate) default_time_field: &'static str,
    /// The fields that the words of a request's `query` are looked for in; without any the key is unknown.
    pub(crate) searched: &'static [&'static str],
}

impl View {
    pub(crate) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

const fn field(name: &'static str, kind: FieldKind, published: bool) -> Field {
    Field { name, kind, published, omit_null: false, is_list: false }
}

/// Left out of rows where it is null.
const fn omitted(name: &'static str, kind: FieldKind) -> Field {
    Field { name, kind, published: true, omit_null: true, is_list: false }
}

const fn json_list(name: &'static str) -> Field {
    Field { name, kind: FieldKind::Json, published: true, omit_null: false, is_list: true }
}

pub(crate) static CONVERSATIONS: View = View {
    name: "conversations",
    table: Table::Conversations,
    shows_texts: false,
    fields: &[
        field("id", FieldKind::Text, true),
        field("userMessageCount", FieldKind::Integer, true),
        field("organizationId", FieldKind::Text, true),
        field("projectId", FieldKind::Text, true),
        field("integrationId", FieldKind::Text, true),
        field("firstMessageTime", FieldKind::Time, true),
        field("type", FieldKind::Text, true),
        field("properties", FieldKind::Json, true),
        field("userProperties", FieldKind::Json, true),
        field("externalId", FieldKind::Text, false),
        field("externalUrl", FieldKind::Text, false),
        field("supportTicketConversationId", FieldKind::Text, false),
        field("createdAt", FieldKind::Time, false),
        field("updatedAt", FieldKind::Time, false),
        field("lastMessageTime", FieldKind::Time, false),
        field("messageCount", FieldKind::Integer, false),
        field("tags", FieldKind::TextList, false),
        field("visibility", FieldKind::Text, false),
        field("title", FieldKind::Text, false),
        field("state", FieldKind::Text, false),
        field("assignee", FieldKind::Text, false),
        field("categories", FieldKind::TextList, false),
        field("isEnd", FieldKind::Boolean, false),
    ],
    default_time_field: "firstMessageTime",
    searched: &[],
};

pub(crate) static EVENTS: View = View {
    name: "events",
    table: Table::Events,
    shows_texts: true,
    fields: &[
        field("id", FieldKind::Text, true),
        field("organizationId", FieldKind::Text, true),
        omitted("messageId", FieldKind::Text),
        omitted("conversationId", FieldKind::Text),
        field("createdAt", FieldKind::Time, true),
        field("projectId", FieldKind::Text, true),
        field("integrationId", FieldKind::Text, true),
        field("eventType", FieldKind::Text, true),
        field("type", FieldKind::Text, true),
        omitted("searchQuery", FieldKind::Text),
        field("properties", FieldKind::Json, true),
        field("userProperties", FieldKind::Json, true),
    ],
    default_time_field: "createdAt",
    searched: &[],
};

pub(crate) static FEEDBACK: View = View {
    name: "feedback",
    table: Table::Feedback,
    shows_texts: false,
    fields: &[
        field("id", FieldKind::Text, true),
        field("type", FieldKind::Text, true),
        field("messageId", FieldKind::Text, true),
        field("createdAt", FieldKind::Time, true),
        field("updatedAt", FieldKind::Time, true),
        field("organizationId", FieldKind::Text, true),
        json_list("reasons"),
        json_list("sources"),
        field("details", FieldKind::Text, true),
        field("properties", FieldKind::Json, true),
        field("userProperties", FieldKind::Json, true),
        omitted("conversationId", FieldKind::Text),
        field("projectId", FieldKind::Text, true),
        field("integrationId", FieldKind::Text, true),
    ],
    default_time_field: "createdAt",
    searched: &[],
};

pub(crate) static SEMANTIC_THREADS: View = View {
    name: "semantic-threads",
    table: Table::SemanticThreads,
    shows_texts: false,
    fields: &[
        field("id", FieldKind::Text, true),
        field("messageIds", FieldKind::TextList, true),
        field("messagesCount", FieldKind::Integer, true),
        field("organizationId", FieldKind::Text, true),
        omitted("question", FieldKind::Text),
        field("questionLength", FieldKind::Integer, true),
        omitted("answer", FieldKind::Text),
        field("isOnTopic", FieldKind::Boolean, true),
        field("isClear", FieldKind::Boolean, true),
        field("isDocumented", FieldKind::Boolean, true),
        field("isFeatureSupported", FieldKind::Boolean, true),
        field("isAnswerConfident", FieldKind::Boolean, true),
        field("gapSummary", FieldKind::Text, true),
        field("subject", FieldKind::Text, true),
        field("category", FieldKind::Text, true),
        field("languages", FieldKind::TextList, true),
        field("firstPartyEntities", FieldKind::TextList, true),
        field("thirdPartyEntities", FieldKind::TextList, true),
        field("emotion", FieldKind::Text, true),
        field("sentiment", FieldKind::Text, true),
        field("questionType", FieldKind::Text, true),
        field("projectId", FieldKind::Text, true),
        omitted("integrationId", FieldKind::Text),
        field("properties", FieldKind::Json, true),
        field("userProperties", FieldKind::Json, true),
        field("firstMessageTime", FieldKind::Time, true),
        field("lastMessageTime", FieldKind::Time, true),
        field("lastUpdated", FieldKind::Time, true),
        field(HAS_POSITIVE_FEEDBACK, FieldKind::Boolean, true),
        field(HAS_NEGATIVE_FEEDBACK, FieldKind::Boolean, true),
        omitted("conversationIds", FieldKind::TextList),
        field("areAIAnnotationsVerified", FieldKind::Boolean, true),
        field("isInitialQuestionAnswer", FieldKind::Boolean, true),
    ],
    default_time_field: "firstMessageTime",
    searched: &["question", "answer"],
};

/// Whether a field stands in no stored column.
pub(crate) fn is_computed(name: &str) -> bool {
    name == HAS_POSITIVE_FEEDBACK || name == HAS_NEGATIVE_FEEDBACK
}

/// Made by the scan from the feedback of the same snapshot.
pub(crate) const HAS_POSITIVE_FEEDBACK: &str = "hasPositiveFeedback";
/// As [`HAS_POSITIVE_FEEDBACK`].
pub(crate) const HAS_NEGATIVE_FEEDBACK: &str = "hasNegativeFeedback";
