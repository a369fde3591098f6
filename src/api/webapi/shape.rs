//! A stored conversation as this API shows it (contract Part B, "Mapping").

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde::{Serialize, Serializer};

use crate::api::http::parameters::Parameters;
use crate::api::http::problem::Problem;
use crate::model::actor::user_id_text;
use crate::model::annotations::UNSET_STATE;
use crate::model::conversation::{Chat, Conversation};
use crate::model::ids::IntegrationId;
use crate::model::json::parser;
use crate::model::json::value::{Json, RawJson, to_raw};
use crate::model::rating::{Rater, Ratings};
use crate::model::search_text::user_name;

/// The most recent chats that a conversation shows.
const SHOWN_CHATS: usize = 20;
const MAX_VARIABLES: usize = 1_000;
const TITLE_CHARS: usize = 80;
/// Deeper than anything stored.
const MAX_DEPTH: usize = 64;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConversationShape<'a> {
    id: &'a str,
    title: Cow<'a, str>,
    user: Option<User>,
    created_at: i64,
    last_chat_time: i64,
    is_end: bool,
    state: &'a str,
    assignee: Option<&'a str>,
    categories: &'a [String],
    memo: &'a str,
    chats: Vec<ChatShape<'a>>,
    chat_count: usize,
    llm_app: Option<LlmApp<'a>>,
    variables: Variables<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct User {
    user_id: String,
    first_name: String,
    last_name: String,
}

#[derive(Serialize)]
struct LlmApp<'a> {
    id: &'a str,
    name: &'static str,
    description: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChatShape<'a> {
    id: &'a str,
    sender: &'static str,
    message: String,
    timestamp: i64,
    citations: Vec<Citation>,
    rating: Option<bool>,
    agent_rating: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Citation {
    clue_id: Option<String>,
    source: &'static str,
    title: Option<String>,
    knowledge_base_id: Option<String>,
    page_no: Option<i64>,
    url: Option<String>,
    text: Option<String>,
}

/// The parameter `variables`: distinct names; 400 for too many.
pub(crate) fn variable_names(parameters: &Parameters) -> Result<Vec<String>, Problem> {
    let mut names = parameters.list("variables");
    if names.len() > MAX_VARIABLES {
        let given = names.len();
        return Err(Problem::bad_request(format!(
            "variables: {given} names given, at most {MAX_VARIABLES} are allowed"
        )));
    }
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

/// Named variables and their JSON as it was spelled.
struct Variables<'a>(Vec<(&'a str, RawJson)>);

impl Serialize for Variables<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// The named top-level keys of `properties` that are there. `names` are distinct.
fn variables<'a>(properties: Option<&RawJson>, names: &'a [String]) -> Variables<'a> {
    let properties = properties.filter(|_| !names.is_empty());
    let parsed = properties.and_then(|properties| parser::parse(properties.get().as_bytes(), MAX_DEPTH).ok());
    let Some(Json::Object(members)) = parsed else { return Variables(Vec::new()) };
    let members: HashMap<&str, &Json> = members.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let named = |name: &'a String| Some((name.as_str(), to_raw(members.get(name.as_str())?)));
    Variables(names.iter().filter_map(named).collect())
}

/// The ids of the chats that a conversation shows.
pub(crate) fn recent_ids(conversation: &Conversation) -> Vec<&str> {
    recent_chats(conversation).into_iter().map(|chat| chat.message.id.as_str()).collect()
}

/// The chats that a conversation shows.
fn recent_chats(conversation: &Conversation) -> Vec<Chat<'_>> {
    let mut chats = conversation.chats_by_time();
    let recent = chats.len().saturating_sub(SHOWN_CHATS);
    chats.split_off(recent)
}

/// Appends the conversation with its most recent chats and the variables of these distinct names.
pub(crate) fn write_conversation(conversation: &Conversation, ratings: &Ratings, names: &[String], out: &mut Vec<u8>) {
    let annotations = &conversation.annotations;
    let shape = ConversationShape {
        id: conversation.id.as_str(),
        title: title(conversation),
        user: conversation.user_properties.as_ref().and_then(user),
        created_at: conversation.created_at.0,
        last_chat_time: conversation.last_chat_time().0,
        is_end: annotations.is_end,
        state: annotations.state.as_deref().unwrap_or(UNSET_STATE),
        assignee: annotations.assignee.as_deref(),
        categories: annotations.categories.as_deref().unwrap_or_default(),
        memo: annotations.memo.as_deref().unwrap_or_default(),
        chats: recent_chats(conversation).into_iter().map(|chat| shown(chat, ratings)).collect(),
        chat_count: conversation.messages.len(),
        llm_app: conversation.integration_id.as_ref().map(IntegrationId::as_str).map(|id| LlmApp {
            id,
            name: "",
            description: "",
        }),
        variables: variables(conversation.properties.as_ref(), names),
    };
    append(&shape, out);
}

/// Appends one chat.
pub(crate) fn write_chat(chat: Chat<'_>, ratings: &Ratings, out: &mut Vec<u8>) {
    append(&shown(chat, ratings), out);
}

fn append(shape: &impl Serialize, out: &mut Vec<u8>) {
    // Text, numbers and stored JSON into memory: nothing that can fail.
    if let Err(error) = serde_json::to_writer(&mut *out, shape) {
        debug_assert!(false, "{error}");
    }
}

fn shown<'a>(chat: Chat<'a>, ratings: &Ratings) -> ChatShape<'a> {
    let message = chat.message;
    ChatShape {
        id: message.id.as_str(),
        sender: match message.role.as_str() {
            "user" => "USER",
            "assistant" => "BOT",
            _ => "AGENT",
        },
        message: message.text(),
        timestamp: chat.time.0,
        citations: message.links.as_ref().map(citations).unwrap_or_default(),
        rating: ratings.get(message.id.as_str(), Rater::User),
        agent_rating: ratings.get(message.id.as_str(), Rater::Agent),
    }
}

/// The set title, else the beginning of the first user message.
pub(crate) fn title(conversation: &Conversation) -> Cow<'_, str> {
    if let Some(title) = &conversation.annotations.title {
        return Cow::Borrowed(title);
    }
    let first = conversation.chats_by_time().into_iter().find(|chat| chat.message.role == "user");
    Cow::Owned(first.map(|chat| chat.message.text().chars().take(TITLE_CHARS).collect()).unwrap_or_default())
}

/// `None` where neither an id nor a name is given.
fn user(properties: &RawJson) -> Option<User> {
    let user = User {
        user_id: user_id_text(properties).unwrap_or_default(),
        first_name: user_name(properties, "firstName"),
        last_name: user_name(properties, "lastName"),
    };
    let is_known = [&user.user_id, &user.first_name, &user.last_name].iter().any(|text| !text.is_empty());
    is_known.then_some(user)
}

fn text_of(object: &Json, name: &str) -> Option<String> {
    match object.get(name) {
        Some(Json::String(text)) => Some(text.clone()),
        _ => None,
    }
}

fn citations(links: &RawJson) -> Vec<Citation> {
    let Ok(Json::Array(links)) = parser::parse(links.get().as_bytes(), MAX_DEPTH) else { return Vec::new() };
    let citation = |link: &Json| Citation {
        clue_id: None,
        source: match text_of(link, "type").as_deref() {
            Some("custom_question_answer") => "FAQ",
            Some("documentation") => "DOCUMENT",
            _ => "WEB",
        },
        title: ["title", "label"].iter().filter_map(|name| text_of(link, name)).find(|text| !text.is_empty()),
        knowledge_base_id: None,
        page_no: None,
        url: text_of(link, "url"),
        text: text_of(link, "description"),
    };
    links.iter().map(citation).collect()
}
