//! The lists of the conversation API (contract Part B, 1), from its rules alone: what a conversation shows, which lists
//! it is in, and in which order.
//!
//! When the server makes a change is known only between two looks at the clock, so `MODIFIED_AT` is a range here.

use serde_json::{Value, json};

use super::folding::fold;

const SHOWN_CHATS: usize = 20;
const TITLE_CHARACTERS: usize = 80;

#[derive(Clone, Debug)]
pub struct Message {
    pub id: String,
    pub role: &'static str,
    pub text: String,
    /// Epoch milliseconds.
    pub time: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct User {
    pub id: &'static str,
    pub first_name: &'static str,
    pub last_name: &'static str,
}

#[derive(Clone, Debug)]
pub struct Conversation {
    pub id: String,
    pub project: &'static str,
    pub created: i64,
    /// Of the document.
    pub updated: i64,
    pub integration: &'static str,
    pub user: Option<User>,
    /// In the document's order.
    pub messages: Vec<Message>,
    pub title: Option<String>,
    pub state: Option<String>,
    pub assignee: Option<String>,
    pub memo: Option<String>,
    /// Names.
    pub categories: Vec<String>,
    pub is_end: bool,
    /// The last message when it was stopped.
    pub stopped: Option<String>,
    /// The last change made through the conversation API: not before and not after.
    pub changed: Option<(i64, i64)>,
}

/// A message as it is shown.
pub struct Chat<'a> {
    pub message: &'a Message,
    pub time: i64,
}

impl Conversation {
    /// By time; a message without one takes that of the message before it, the first the conversation's.
    pub fn chats(&self) -> Vec<Chat<'_>> {
        let mut time = self.created;
        let mut chats = Vec::new();
        for message in &self.messages {
            time = message.time.unwrap_or(time);
            chats.push(Chat { message, time });
        }
        chats.sort_by_key(|chat| chat.time);
        chats
    }

    pub fn last_chat_time(&self) -> i64 {
        self.chats().last().expect("a message").time
    }

    pub fn is_running(&self) -> bool {
        let chats = self.chats();
        let last = chats.last().expect("a message").message;
        !self.is_end && last.role == "user" && self.stopped.as_ref() != Some(&last.id)
    }

    pub fn stop(&mut self) {
        if self.is_running() {
            self.stopped = Some(self.chats().last().expect("a message").message.id.clone());
        }
    }

    /// The later of the document's time and that of the last change.
    pub fn modified(&self) -> (i64, i64) {
        let (least, most) = self.changed.unwrap_or((i64::MIN, i64::MIN));
        (self.updated.max(least), self.updated.max(most))
    }

    pub fn shown(&self) -> Value {
        let chats = self.chats();
        let first = chats.iter().find(|chat| chat.message.role == "user");
        let cut = || first.map_or(String::new(), |chat| chat.message.text.chars().take(TITLE_CHARACTERS).collect());
        let recent = &chats[chats.len().saturating_sub(SHOWN_CHATS)..];
        let chat = |chat: &Chat<'_>| {
            let sender = match chat.message.role {
                "user" => "USER",
                "assistant" => "BOT",
                _ => "AGENT",
            };
            json!({"id": chat.message.id, "sender": sender, "message": chat.message.text, "timestamp": chat.time,
                "citations": [], "rating": null, "agentRating": null})
        };
        json!({
            "id": self.id,
            "title": self.title.clone().unwrap_or_else(cut),
            "user": self.user.as_ref().map(|user| json!({
                "userId": user.id, "firstName": user.first_name, "lastName": user.last_name})),
            "createdAt": self.created,
            "lastChatTime": self.last_chat_time(),
            "isEnd": self.is_end,
            "state": self.state.as_deref().unwrap_or("no"),
            "assignee": self.assignee,
            "categories": self.categories,
            "memo": self.memo.as_deref().unwrap_or(""),
            "chats": recent.iter().map(chat).collect::<Vec<_>>(),
            "chatCount": self.messages.len(),
            "llmApp": {"id": self.integration, "name": "", "description": ""},
            "variables": {},
        })
    }

    fn has(&self, term: &str) -> bool {
        let term = fold(term);
        let mut texts: Vec<String> = self.messages.iter().map(|message| message.text.clone()).collect();
        texts.extend(self.title.clone());
        if let Some(user) = &self.user {
            let names = [user.first_name, user.last_name].map(str::to_owned);
            texts.push(names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(" "));
            texts.push(user.id.to_owned());
        }
        fold(&self.id) == term || texts.iter().any(|text| fold(text).contains(&term))
    }
}

/// What a list is asked for.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    pub users: Vec<String>,
    pub integration: Option<String>,
    /// The name.
    pub category: Option<String>,
    /// Inclusive.
    pub last_chat: (Option<i64>, Option<i64>),
    pub first_chat: (Option<i64>, Option<i64>),
    pub active_only: bool,
    pub running: Option<bool>,
    pub term: Option<String>,
    /// Of the key or the parameter.
    pub project: Option<&'static str>,
}

impl Filters {
    pub fn hold(&self, one: &Conversation) -> bool {
        let chats = one.chats();
        let (first, last) = (chats.first().expect("a message").time, one.last_chat_time());
        let within = |at: i64, (from, to): (Option<i64>, Option<i64>)| {
            from.is_none_or(|from| at >= from) && to.is_none_or(|to| at <= to)
        };
        let user = one.user.as_ref().map_or("", |user| user.id);
        self.project.is_none_or(|project| one.project == project)
            && (self.users.is_empty() || !user.is_empty() && self.users.iter().any(|one| one == user))
            && self.integration.as_ref().is_none_or(|integration| integration == one.integration)
            && self.category.as_ref().is_none_or(|category| one.categories.contains(category))
            && within(last, self.last_chat)
            && within(first, self.first_chat)
            && !(self.active_only && one.is_end)
            && self.running.is_none_or(|running| running == one.is_running())
            && self.term.as_ref().is_none_or(|term| one.has(term))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Created,
    Modified,
    LastChat,
}

#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub name: &'static str,
    pub by: By,
    pub descending: bool,
}

pub const ORDERS: [Order; 6] = [
    Order { name: "CREATED_AT_ASC", by: By::Created, descending: false },
    Order { name: "CREATED_AT_DESC", by: By::Created, descending: true },
    Order { name: "MODIFIED_AT_ASC", by: By::Modified, descending: false },
    Order { name: "MODIFIED_AT_DESC", by: By::Modified, descending: true },
    Order { name: "LAST_CHAT_TIME_ASC", by: By::LastChat, descending: false },
    Order { name: "LAST_CHAT_TIME_DESC", by: By::LastChat, descending: true },
];

impl Order {
    /// Whether the first may stand before the second: by time, then by id in the same direction.
    pub fn allows(self, first: &Conversation, second: &Conversation) -> bool {
        let (earlier, later) = if self.descending { (second, first) } else { (first, second) };
        match self.by {
            By::Created => (earlier.created, &earlier.id) <= (later.created, &later.id),
            By::LastChat => (earlier.last_chat_time(), &earlier.id) <= (later.last_chat_time(), &later.id),
            By::Modified => {
                let ((least, most), (other_least, other_most)) = (earlier.modified(), later.modified());
                // Both known: the ids decide at one time.
                if least == most && other_least == other_most {
                    return (least, &earlier.id) <= (other_least, &later.id);
                }
                least <= other_most
            }
        }
    }
}
