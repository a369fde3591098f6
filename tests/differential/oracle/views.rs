//! The views' fields, and a row as the values of its view's fields (contract A3 and A4).

use super::json::{self, Value};
use super::query::Cell;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Count,
    Time,
    Flag,
    List,
    /// An object.
    Json,
    JsonList,
}

impl Kind {
    pub fn is_json(self) -> bool {
        matches!(self, Kind::Json | Kind::JsonList)
    }
}

pub struct View {
    /// The last part of the query's path.
    pub name: &'static str,
    pub fields: &'static [(&'static str, Kind)],
    /// How many of the fields a request without `select` and `groupBy` gives.
    pub published: usize,
    pub default_time: &'static str,
    /// Left out of rows where null.
    pub left_out: &'static [&'static str],
    /// Whole JSON fields show each value as text, and no nulls.
    pub shows_texts: bool,
    /// Fields that random requests group and filter by more often than by others.
    pub favourites: &'static [&'static str],
    /// Whether a request may have `query`: words that one of these two fields must have.
    pub searched: Option<[&'static str; 2]>,
}

impl View {
    pub fn kind_of(&self, field: &str) -> Result<Kind, String> {
        let found = self.fields.iter().find(|(name, _)| *name == field);
        found.map(|(_, kind)| *kind).ok_or_else(|| format!("no field {field}"))
    }

    /// Fields of some kinds.
    pub fn of_kinds(&self, kinds: &[Kind]) -> Vec<&'static str> {
        self.fields.iter().filter(|(_, kind)| kinds.contains(kind)).map(|(name, _)| *name).collect()
    }

    pub fn path(&self) -> String {
        format!("/query/{}", self.name)
    }
}

/// One row.
#[derive(Clone)]
pub struct Record {
    pub view: &'static View,
    /// In the order of the view's fields; JSON fields as `Cell::Json`.
    cells: Vec<Cell>,
}

impl Record {
    pub fn new(view: &'static View, value: impl Fn(&str) -> Cell) -> Record {
        Record { view, cells: view.fields.iter().map(|(field, _)| value(field)).collect() }
    }

    pub fn cell(&self, field: &str) -> &Cell {
        let place = self.view.fields.iter().position(|(name, _)| *name == field);
        &self.cells[place.unwrap_or_else(|| panic!("no field {field}"))]
    }

    pub fn text(&self, field: &str) -> Option<&str> {
        match self.cell(field) {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn json(&self, field: &str) -> Option<&Value> {
        match self.cell(field) {
            Cell::Json(value) => Some(value),
            _ => None,
        }
    }
}

/// Cells of values that may be absent.
pub fn text_cell(value: Option<&String>) -> Cell {
    value.map_or(Cell::Null, |text| Cell::Text(text.clone()))
}

pub fn json_cell(value: Option<&Value>) -> Cell {
    value.map_or(Cell::Null, |value| Cell::Json(value.clone()))
}

/// `user` of a row with these user properties (contract A5).
pub fn user_cell(user_properties: Option<&Value>) -> Cell {
    let id = |key: &str| user_properties.and_then(|properties| properties.given(key));
    id("userId").or_else(|| id("id")).and_then(json::text).map_or(Cell::Null, Cell::Text)
}

pub static CONVERSATIONS: View = View {
    name: "conversations",
    fields: &[
        ("id", Kind::Text),
        ("userMessageCount", Kind::Count),
        ("organizationId", Kind::Text),
        ("projectId", Kind::Text),
        ("integrationId", Kind::Text),
        ("firstMessageTime", Kind::Time),
        ("type", Kind::Text),
        ("properties", Kind::Json),
        ("userProperties", Kind::Json),
        ("externalId", Kind::Text),
        ("externalUrl", Kind::Text),
        ("supportTicketConversationId", Kind::Text),
        ("createdAt", Kind::Time),
        ("updatedAt", Kind::Time),
        ("lastMessageTime", Kind::Time),
        ("messageCount", Kind::Count),
        ("tags", Kind::List),
        ("visibility", Kind::Text),
        ("title", Kind::Text),
        ("state", Kind::Text),
        ("assignee", Kind::Text),
        ("categories", Kind::List),
        ("isEnd", Kind::Flag),
        ("durationMs", Kind::Count),
        ("assistantMessageCount", Kind::Count),
        ("otherMessageCount", Kind::Count),
        ("firstResponseMs", Kind::Count),
        ("user", Kind::Text),
    ],
    published: 9,
    default_time: "firstMessageTime",
    left_out: &[],
    shows_texts: false,
    favourites: &["type", "projectId", "integrationId", "userMessageCount", "durationMs", "user", "firstResponseMs"],
    searched: None,
};

pub static EVENTS: View = View {
    name: "events",
    fields: &[
        ("id", Kind::Text),
        ("organizationId", Kind::Text),
        ("messageId", Kind::Text),
        ("conversationId", Kind::Text),
        ("createdAt", Kind::Time),
        ("projectId", Kind::Text),
        ("integrationId", Kind::Text),
        ("eventType", Kind::Text),
        ("type", Kind::Text),
        ("searchQuery", Kind::Text),
        ("properties", Kind::Json),
        ("userProperties", Kind::Json),
        ("user", Kind::Text),
    ],
    published: 12,
    default_time: "createdAt",
    left_out: &["messageId", "conversationId", "searchQuery"],
    shows_texts: true,
    favourites: &["type", "eventType", "conversationId", "searchQuery"],
    searched: None,
};

pub static FEEDBACK: View = View {
    name: "feedback",
    fields: &[
        ("id", Kind::Text),
        ("type", Kind::Text),
        ("messageId", Kind::Text),
        ("createdAt", Kind::Time),
        ("updatedAt", Kind::Time),
        ("organizationId", Kind::Text),
        ("reasons", Kind::JsonList),
        ("sources", Kind::JsonList),
        ("details", Kind::Text),
        ("properties", Kind::Json),
        ("userProperties", Kind::Json),
        ("conversationId", Kind::Text),
        ("projectId", Kind::Text),
        ("integrationId", Kind::Text),
        ("user", Kind::Text),
    ],
    published: 14,
    default_time: "createdAt",
    left_out: &["conversationId"],
    shows_texts: false,
    favourites: &["type", "details", "conversationId", "reasons"],
    searched: None,
};

pub static SEMANTIC_THREADS: View = View {
    name: "semantic-threads",
    fields: &[
        ("id", Kind::Text),
        ("messageIds", Kind::List),
        ("messagesCount", Kind::Count),
        ("organizationId", Kind::Text),
        ("question", Kind::Text),
        ("questionLength", Kind::Count),
        ("answer", Kind::Text),
        ("isOnTopic", Kind::Flag),
        ("isClear", Kind::Flag),
        ("isDocumented", Kind::Flag),
        ("isFeatureSupported", Kind::Flag),
        ("isAnswerConfident", Kind::Flag),
        ("gapSummary", Kind::Text),
        ("subject", Kind::Text),
        ("category", Kind::Text),
        ("languages", Kind::List),
        ("firstPartyEntities", Kind::List),
        ("thirdPartyEntities", Kind::List),
        ("emotion", Kind::Text),
        ("sentiment", Kind::Text),
        ("questionType", Kind::Text),
        ("projectId", Kind::Text),
        ("integrationId", Kind::Text),
        ("properties", Kind::Json),
        ("userProperties", Kind::Json),
        ("firstMessageTime", Kind::Time),
        ("lastMessageTime", Kind::Time),
        ("lastUpdated", Kind::Time),
        ("hasPositiveFeedback", Kind::Flag),
        ("hasNegativeFeedback", Kind::Flag),
        ("conversationIds", Kind::List),
        ("areAIAnnotationsVerified", Kind::Flag),
        ("isInitialQuestionAnswer", Kind::Flag),
    ],
    published: 33,
    default_time: "firstMessageTime",
    left_out: &["question", "answer", "integrationId", "conversationIds"],
    shows_texts: false,
    favourites: &["hasPositiveFeedback", "isInitialQuestionAnswer", "isClear", "subject", "messagesCount", "answer"],
    searched: Some(["question", "answer"]),
};
