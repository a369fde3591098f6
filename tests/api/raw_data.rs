//! The real data sets as their files spell them, and how Part B of the contract shows them: the independent side of
//! `webapi_real_data`, which shares nothing with the server.

use std::path::{Path, PathBuf};

use chrono::DateTime;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::folding::fold;
use crate::support::cut;

/// The data lies beside the repository; it is no part of it.
pub fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|path| path.to_str().is_some_and(|path| path.ends_with(".ndjson.zst")));
    files.sort();
    if files.is_empty() {
        println!("SKIPPED: no *.ndjson.zst in {}", folder.display());
    }
    files
}

/// A line of a data set. What is not named here does not show in Part B.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Raw {
    pub external_id: String,
    pub project_id: String,
    pub integration_id: String,
    created_at: String,
    updated_at: String,
    properties: Value,
    user_properties: Value,
    messages: Vec<RawMessage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMessage {
    role: String,
    created_at: String,
    content: String,
    #[serde(default)]
    links: Option<Vec<Value>>,
}

/// A conversation, and what the test has done to it.
pub struct Known {
    /// As the server named it; the data has no ids.
    pub id: String,
    pub project: String,
    pub external_id: String,
    pub integration: String,
    pub created: i64,
    pub updated: i64,
    /// When the test changed it; the server did a little before.
    pub changed: Option<i64>,
    pub is_ended: bool,
    pub is_stopped: bool,
    pub set_title: Option<String>,
    properties: Value,
    user: Value,
    /// By time; what has the same time in the order of the file.
    messages: Vec<Message>,
}

struct Message {
    role: String,
    time: i64,
    content: String,
    links: Vec<Value>,
}

pub fn millis(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap_or_else(|error| panic!("{text}: {error}")).timestamp_millis()
}

/// Every conversation of the files.
pub fn read(files: &[PathBuf]) -> Vec<Known> {
    let mut all = Vec::new();
    for file in files {
        let packed = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let text = zstd::decode_all(packed.as_slice()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let raw: Raw = serde_json::from_slice(line)
                .unwrap_or_else(|error| panic!("{error}: {}", cut(&String::from_utf8_lossy(line), 500)));
            all.push(Known::new(raw));
        }
    }
    all
}

impl Known {
    fn new(raw: Raw) -> Known {
        let message = |message: RawMessage| Message {
            role: message.role,
            time: millis(&message.created_at),
            content: message.content,
            links: message.links.unwrap_or_default(),
        };
        let mut messages: Vec<Message> = raw.messages.into_iter().map(message).collect();
        messages.sort_by_key(|message| message.time);
        Known {
            id: String::new(),
            project: raw.project_id,
            external_id: raw.external_id,
            integration: raw.integration_id,
            created: millis(&raw.created_at),
            updated: millis(&raw.updated_at),
            changed: None,
            is_ended: false,
            is_stopped: false,
            set_title: None,
            properties: raw.properties,
            user: raw.user_properties,
            messages,
        }
    }

    pub fn first_chat(&self) -> i64 {
        self.messages.first().expect("a message").time
    }

    pub fn last_chat(&self) -> i64 {
        self.messages.last().expect("a message").time
    }

    pub fn chat_count(&self) -> usize {
        self.messages.len()
    }

    pub fn user_id(&self) -> String {
        let texts = ["userId", "id"].map(|name| self.user_text(name));
        texts.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
    }

    fn user_text(&self, name: &str) -> String {
        match &self.user[name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    pub fn is_running(&self) -> bool {
        !self.is_ended && !self.is_stopped && self.messages.last().is_some_and(|message| message.role == "user")
    }

    fn title(&self) -> String {
        if let Some(title) = &self.set_title {
            return title.clone();
        }
        let first = self.messages.iter().find(|message| message.role == "user");
        first.map(|message| message.content.chars().take(80).collect()).unwrap_or_default()
    }

    /// Whether title, user names and ids, or the text of a message have `term`, folded.
    pub fn has(&self, term: &str) -> bool {
        let term = fold(term);
        let has = |text: &str| fold(text).contains(&term);
        has(&self.title())
            || ["userId", "id", "firstName", "lastName"].iter().any(|name| has(&self.user_text(name)))
            || self.messages.iter().any(|message| has(&message.content))
    }

    /// The conversation of Part B with its most recent chats, which have no ids here.
    pub fn shown(&self, variables: &[&str]) -> Value {
        let named = variables.iter().filter_map(|name| Some(((*name).to_owned(), self.properties.get(name)?.clone())));
        let chats = self.chats();
        json!({
            "id": self.id,
            "title": self.title(),
            "user": {
                "userId": self.user_id(),
                "firstName": self.user_text("firstName"),
                "lastName": self.user_text("lastName"),
            },
            "createdAt": self.created,
            "lastChatTime": self.last_chat(),
            "isEnd": self.is_ended,
            "state": "no",
            "assignee": null,
            "categories": [],
            "memo": "",
            "chats": chats[chats.len().saturating_sub(20)..],
            "chatCount": chats.len(),
            "llmApp": {"id": self.integration, "name": "", "description": ""},
            "variables": Value::Object(named.collect()),
        })
    }

    /// All chats, without their ids.
    pub fn chats(&self) -> Vec<Value> {
        self.messages.iter().map(Message::shown).collect()
    }
}

impl Message {
    fn shown(&self) -> Value {
        let sender = match self.role.as_str() {
            "user" => "USER",
            "assistant" => "BOT",
            _ => "AGENT",
        };
        let citations: Vec<Value> = self.links.iter().map(citation).collect();
        json!({"sender": sender, "message": self.content, "timestamp": self.time, "citations": citations,
            "rating": null, "agentRating": null})
    }
}

fn citation(link: &Value) -> Value {
    let source = match link["type"].as_str() {
        Some("custom_question_answer") => "FAQ",
        Some("documentation") => "DOCUMENT",
        _ => "WEB",
    };
    let title = if link["title"].is_null() { &link["label"] } else { &link["title"] };
    json!({"clueId": null, "source": source, "title": title, "knowledgeBaseId": null, "pageNo": null,
        "url": link["url"], "text": link["description"]})
}
