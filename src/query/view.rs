//! A view is data: its fields, their kinds and its default time field. Each names the columns of one table.

/// What a field holds, and so which operators and aggregations it takes (contract A3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
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
pub struct Field {
    /// The contract's name, also the table's column name.
    pub name: &'static str,
    pub kind: FieldKind,
    /// Whether a request without `select` and `groupBy` shows it.
    pub published: bool,
}

#[derive(Debug)]
pub struct View {
    pub name: &'static str,
    pub fields: &'static [Field],
    /// The field of a `time` selection that names none.
    pub default_time_field: &'static str,
}

impl View {
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

const fn field(name: &'static str, kind: FieldKind, published: bool) -> Field {
    Field { name, kind, published }
}

pub static CONVERSATIONS: View = View {
    name: "conversations",
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
};
