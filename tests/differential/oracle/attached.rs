//! Events and feedback, which hang on conversations by their messages (contract A4).

use super::documents::{Documents, Identity, Stored};
use super::json::Value;
use super::query::Cell;
use super::time::{parse_document_time, render};
use super::views::{EVENTS, FEEDBACK, Record, View, json_cell, user_cell};

/// One stored event or feedback.
#[derive(Clone, Debug)]
pub struct Attached {
    pub organization: String,
    pub project: String,
    integration: Option<String>,
    id: String,
    /// The message that it is about.
    message: Option<String>,
    /// The conversation that has the message, or had it last; of a conversation's event that one.
    owner: Option<String>,
    /// Whether no conversation has the message any more.
    detached: bool,
    created_at: i64,
    updated_at: i64,
    /// As it was sent.
    document: Value,
}

/// All of them, in no order.
#[derive(Default)]
pub struct Attachments {
    pub events: Vec<Attached>,
    pub feedback: Vec<Attached>,
}

impl Attached {
    /// The conversation that queries show.
    pub fn conversation(&self) -> Option<&String> {
        self.owner.as_ref().filter(|_| !self.detached)
    }

    /// Whether it is feedback of a type on one of the messages.
    pub fn rates(&self, stored: &Stored, messages: &[String], feedback_type: &str) -> bool {
        self.organization == stored.organization
            && self.project == stored.project
            && self.conversation() == Some(&stored.id)
            && self.message.as_ref().is_some_and(|message| messages.contains(message))
            && self.document.get("type").and_then(Value::as_str) == Some(feedback_type)
    }

    fn record(&self, view: &'static View) -> Record {
        let text = |text: Option<&String>| text.map_or(Cell::Null, |text| Cell::Text(text.clone()));
        let given = |field: &str| self.document.given(field).and_then(Value::as_str).map(str::to_string);
        Record::new(view, |field| match field {
            "id" => Cell::Text(self.id.clone()),
            "organizationId" => Cell::Text(self.organization.clone()),
            "projectId" => Cell::Text(self.project.clone()),
            "integrationId" => text(self.integration.as_ref()),
            "messageId" => text(self.message.as_ref()),
            "conversationId" => text(self.conversation()),
            "createdAt" => Cell::Time(self.created_at),
            "updatedAt" => Cell::Time(self.updated_at),
            "eventType" => text(given("entityType").as_ref()),
            "type" | "searchQuery" | "details" => text(given(field).as_ref()),
            "user" => user_cell(self.document.given("userProperties")),
            json => json_cell(self.document.given(json)),
        })
    }

    /// `None` where no conversation of the project has the message.
    fn newest_holder(&self, documents: &Documents) -> Option<String> {
        let message = self.message.as_ref()?;
        let has = |stored: &&Stored| {
            stored.organization == self.organization
                && stored.project == self.project
                && stored.messages.iter().any(|one| one.id == *message)
        };
        let newest = documents.all.iter().filter(has).max_by_key(|stored| (stored.created_at, &stored.id));
        newest.map(|stored| stored.id.clone())
    }

    fn follow(&mut self, documents: &Documents) {
        let holder = self.newest_holder(documents);
        self.detached = self.message.is_some() && self.owner.is_some() && holder.is_none();
        self.owner = holder.or(self.owner.take());
    }
}

impl Attachments {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.feedback.is_empty()
    }

    /// The rows of a view of them.
    pub fn records(&self, view: &'static View) -> Vec<Record> {
        let all = if view.name == EVENTS.name { &self.events } else { &self.feedback };
        all.iter().map(|one| one.record(view)).collect()
    }

    /// Upserts one that the server accepted with `answer`. Gives what the answer has wrong.
    pub fn log(
        &mut self,
        view: &'static View,
        documents: &Documents,
        identity: &Identity,
        document: &Value,
        answer: &Value,
    ) -> Result<(), String> {
        let text = |key: &str| document.given(key).and_then(Value::as_str).map(str::to_string);
        let answered = |key: &str| answer.get(key).and_then(Value::as_str);
        let project = identity.project.clone().or_else(|| text("projectId")).ok_or("no project")?;
        let id = text("id").or_else(|| answered("id").map(str::to_string)).ok_or("the answer has no id")?;
        let all = if view.name == EVENTS.name { &mut self.events } else { &mut self.feedback };
        let same = |one: &Attached| one.organization == identity.organization && one.project == project && one.id == id;
        let previous = all.iter().position(same).map(|place| all.swap_remove(place));
        let message = text("messageId");
        let kept = previous.as_ref().filter(|previous| message.is_some() && previous.message == message);
        let time = |key: &str, kept: Option<i64>| {
            let given = text(key).as_deref().and_then(parse_document_time).or(kept);
            given.or_else(|| answered(key).and_then(parse_document_time)).unwrap_or_default()
        };
        let is_event = view.name == EVENTS.name;
        let mut one = Attached {
            integration: text("integrationId").filter(|_| is_event).or_else(|| identity.integration.clone()),
            owner: text("conversationId").or_else(|| kept.and_then(|previous| previous.owner.clone())),
            detached: false,
            created_at: time("createdAt", previous.as_ref().map(|previous| previous.created_at)),
            updated_at: time("updatedAt", None),
            document: document.clone(),
            organization: identity.organization.clone(),
            project,
            id,
            message,
        };
        one.follow(documents);

        let mut wrong = Vec::new();
        let mut expect = |key: &str, expected: &Value| {
            let found = answer.get(key).unwrap_or(&Value::Null);
            if found != expected {
                wrong.push(format!("{key} came back as {}, should be {}", found.to_text(), expected.to_text()));
            }
        };
        expect("id", &super::json::string(&one.id));
        expect("createdAt", &super::json::string(render(one.created_at)));
        let own: &[&str] = match view.name == FEEDBACK.name {
            true => &["type", "messageId", "reasons", "details", "properties", "userProperties", "sources"],
            false => &["type", "entityType", "properties", "userProperties"],
        };
        for key in own {
            expect(key, document.get(key).unwrap_or(&Value::Null));
        }
        all.push(one);
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    /// After a conversation was logged: links of those whose messages it has now, or had.
    pub fn follow(&mut self, documents: &Documents, messages: &[String]) {
        for one in self.events.iter_mut().chain(&mut self.feedback) {
            if one.message.as_ref().is_some_and(|message| messages.contains(message)) {
                one.follow(documents);
            }
        }
    }

    /// They go with their conversation.
    pub fn delete_conversation(&mut self, organization: &str, project: &str, id: &str) {
        let stays = |one: &Attached| {
            one.organization != organization || one.project != project || one.owner.as_deref() != Some(id)
        };
        self.events.retain(stays);
        self.feedback.retain(stays);
    }
}
