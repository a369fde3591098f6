//! What is stored after a series of upserts and deletions (contract A2), as far as queries see it.

use super::json::{self, Value};
use super::query::Cell;
use super::time::parse_document_time;
use super::views::{CONVERSATIONS, Record, json_cell, text_cell, user_cell};

/// Whom a key stands for.
#[derive(Clone, Debug)]
pub struct Identity {
    pub organization: String,
    /// None = a key of the whole organization: documents name their project.
    pub project: Option<String>,
    pub integration: Option<String>,
}

/// One stored conversation.
#[derive(Clone, Debug)]
pub struct Stored {
    pub organization: String,
    pub project: String,
    pub integration: Option<String>,
    pub id: String,
    pub external_id: Option<String>,
    pub external_url: Option<String>,
    pub ticket_id: Option<String>,
    pub kind: String,
    pub visibility: Option<String>,
    pub tags: Option<Vec<String>>,
    pub created_at: i64,
    pub updated_at: i64,
    pub properties: Option<Value>,
    pub user_properties: Option<Value>,
    pub messages: Vec<Message>,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub id: String,
    pub external_id: Option<String>,
    pub role: String,
    /// As compact JSON.
    pub content: String,
    /// As given, now or in an earlier version of the document.
    pub created_at: Option<i64>,
}

impl Stored {
    pub fn first_message_time(&self) -> i64 {
        self.messages.iter().filter_map(|message| message.created_at).min().unwrap_or(self.created_at)
    }

    pub fn last_message_time(&self) -> i64 {
        self.messages.iter().filter_map(|message| message.created_at).max().unwrap_or(self.created_at)
    }

    pub fn record(&self) -> Record {
        let text = |value: &Option<String>| text_cell(value.as_ref());
        Record::new(&CONVERSATIONS, |field| match field {
            "id" => Cell::Text(self.id.clone()),
            "organizationId" => Cell::Text(self.organization.clone()),
            "projectId" => Cell::Text(self.project.clone()),
            "integrationId" => text(&self.integration),
            "type" => Cell::Text(self.kind.clone()),
            "externalId" => text(&self.external_id),
            "externalUrl" => text(&self.external_url),
            "supportTicketConversationId" => text(&self.ticket_id),
            "visibility" => text(&self.visibility),
            "state" => Cell::Text("no".to_string()),
            "title" | "assignee" | "categories" => Cell::Null,
            "isEnd" => Cell::Flag(false),
            "tags" => self.tags.clone().map_or(Cell::Null, Cell::List),
            "userMessageCount" => Cell::Count(self.user_message_count()),
            "messageCount" => Cell::Count(self.messages.len() as i64),
            "createdAt" => Cell::Time(self.created_at),
            "updatedAt" => Cell::Time(self.updated_at),
            "firstMessageTime" => Cell::Time(self.first_message_time()),
            "lastMessageTime" => Cell::Time(self.last_message_time()),
            "durationMs" => Cell::Count(self.last_message_time() - self.first_message_time()),
            "assistantMessageCount" => Cell::Count(self.count_roles(|role| role == "assistant")),
            "otherMessageCount" => Cell::Count(
                self.count_roles(|role| !["user", "assistant", "system", "developer", "tool"].contains(&role)),
            ),
            "firstResponseMs" => self.first_response().map_or(Cell::Null, Cell::Count),
            "user" => user_cell(self.user_properties.as_ref()),
            "properties" => json_cell(self.properties.as_ref()),
            "userProperties" => json_cell(self.user_properties.as_ref()),
            other => panic!("no field {other}"),
        })
    }

    pub fn user_message_count(&self) -> i64 {
        self.count_roles(|role| role == "user")
    }

    fn count_roles(&self, counts: impl Fn(&str) -> bool) -> i64 {
        self.messages.iter().filter(|message| counts(&message.role)).count() as i64
    }

    /// Contract A5, word by word.
    fn first_response(&self) -> Option<i64> {
        let mut timed: Vec<(i64, &str)> =
            self.messages.iter().filter_map(|message| Some((message.created_at?, message.role.as_str()))).collect();
        timed.sort_by_key(|(time, _)| *time);
        let question = timed.iter().position(|(_, role)| *role == "user")?;
        let answer =
            timed[question + 1..].iter().find(|(_, role)| !["user", "system", "developer", "tool"].contains(role))?;
        Some(answer.0 - timed[question].0)
    }
}

/// All stored conversations, in no order.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    pub all: Vec<Stored>,
    made_ids: usize,
}

impl Documents {
    /// Upserts a document that the server accepted. Ids and times that the document leaves to the server are taken
    /// from `answer`, the stored conversation that it sent back (None: made up, to be set later). Gives what the
    /// answer has wrong.
    pub fn log(&mut self, identity: &Identity, document: &Value, answer: Option<&Value>) -> Result<(), String> {
        let text = |key: &str| document.given(key).and_then(Value::as_str).map(str::to_string);
        let answered = |key: &str| answer.and_then(|answer| answer.given(key)).and_then(Value::as_str);
        let time_of = |value: &Value| value.as_str().and_then(parse_document_time);
        let project = identity.project.clone().or_else(|| text("projectId")).ok_or("no project")?;
        let (id, external_id) = (text("id"), text("externalId"));
        let previous_place = self.all.iter().position(|stored| {
            stored.organization == identity.organization
                && stored.project == project
                && match &id {
                    Some(id) => stored.id == *id,
                    None => external_id.is_some() && stored.external_id == external_id,
                }
        });
        let previous = previous_place.map(|place| self.all.swap_remove(place));

        let id = match (&id, &previous) {
            (Some(id), _) => id.clone(),
            (None, Some(previous)) => previous.id.clone(),
            (None, None) => match answered("id") {
                Some(id) => id.to_string(),
                None => {
                    self.made_ids += 1;
                    format!("made-{}", self.made_ids)
                }
            },
        };
        let created_at = document
            .given("createdAt")
            .and_then(time_of)
            .or(previous.as_ref().map(|previous| previous.created_at))
            .or_else(|| answered("createdAt").and_then(parse_document_time))
            .unwrap_or(0);
        let updated_at = document
            .given("updatedAt")
            .and_then(time_of)
            .or_else(|| answered("updatedAt").and_then(parse_document_time))
            .unwrap_or(0);
        let strings = |value: &Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|element| element.as_str().map(str::to_string)).collect()
        };
        let answered_messages = answer.and_then(|answer| answer.get("messages")).and_then(Value::as_array);
        let messages = resolve_messages(document, previous.as_ref(), answered_messages);

        let mut wrong = Vec::new();
        if answer.is_some() {
            let mut expect = |what: String, expected: &str, found: Option<&str>| {
                if found != Some(expected) {
                    wrong.push(format!("{what} is {found:?}, should be {expected:?}"));
                }
            };
            expect("id".to_string(), &id, answered("id"));
            expect("projectId".to_string(), &project, answered("projectId"));
            expect("createdAt".to_string(), &super::time::render(created_at), answered("createdAt"));
            for (place, message) in messages.iter().enumerate() {
                let found = answered_messages.and_then(|messages| messages.get(place));
                let field = |key: &str| found.and_then(|message| message.given(key)).and_then(Value::as_str);
                let time = super::time::render(message.created_at.unwrap_or(created_at));
                expect(format!("messages[{place}].createdAt"), &time, field("createdAt"));
                expect(format!("messages[{place}].id"), &message.id, field("id"));
            }
            for key in ["properties", "userProperties"] {
                let found = answer.and_then(|answer| answer.get(key));
                let sent = document.get(key).unwrap_or(&Value::Null);
                if found != Some(sent) {
                    let found = found.map(Value::to_text);
                    wrong.push(format!("{key} came back as {found:?}, sent: {}", sent.to_text()));
                }
            }
        }
        self.all.push(Stored {
            organization: identity.organization.clone(),
            project,
            integration: text("integrationId").or_else(|| identity.integration.clone()),
            id,
            external_id,
            external_url: text("externalUrl"),
            ticket_id: text("supportTicketConversationId"),
            kind: text("type").ok_or("no type")?,
            visibility: text("visibility"),
            tags: document.given("tags").and_then(strings),
            created_at,
            updated_at,
            properties: document.given("properties").cloned(),
            user_properties: document.given("userProperties").cloned(),
            messages,
        });
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    pub fn records(&self) -> Vec<Record> {
        self.all.iter().map(Stored::record).collect()
    }

    pub fn delete(&mut self, organization: &str, project: &str, id: &str) -> bool {
        let before = self.all.len();
        self.all
            .retain(|stored| !(stored.organization == organization && stored.project == project && stored.id == id));
        self.all.len() < before
    }
}

/// Each stored message is matched at most once: explicit ids first, then external ids in order, then positions with
/// the same role and content.
fn resolve_messages(document: &Value, previous: Option<&Stored>, answered: Option<&[Value]>) -> Vec<Message> {
    let given = document.given("messages").and_then(Value::as_array).unwrap_or_default();
    let old: &[Message] = previous.map(|previous| previous.messages.as_slice()).unwrap_or_default();
    let text = |message: &Value, key: &str| message.given(key).and_then(Value::as_str).map(str::to_string);
    let content = |message: &Value| message.get("content").unwrap_or(&Value::Null).to_text();
    let mut matched: Vec<Option<usize>> = vec![None; given.len()];
    let mut taken = vec![false; old.len()];
    let mut take = |place: usize, candidate: Option<usize>| {
        if let Some(candidate) = candidate
            && matched[place].is_none()
            && !taken[candidate]
        {
            matched[place] = Some(candidate);
            taken[candidate] = true;
        }
    };
    for (place, message) in given.iter().enumerate() {
        if let Some(id) = text(message, "id") {
            take(place, old.iter().position(|old| old.id == id));
        }
    }
    let without_id = || given.iter().enumerate().filter(|(_, message)| text(message, "id").is_none());
    for (place, message) in without_id() {
        if let Some(external_id) = text(message, "externalId") {
            take(place, old.iter().position(|old| old.external_id.as_ref() == Some(&external_id)));
        }
    }
    for (place, message) in without_id() {
        let same = old
            .get(place)
            .is_some_and(|old| Some(&old.role) == text(message, "role").as_ref() && old.content == content(message));
        take(place, same.then_some(place));
    }
    given
        .iter()
        .enumerate()
        .map(|(place, message)| {
            let old = matched[place].map(|place| &old[place]);
            let answered_id = answered.and_then(|messages| messages.get(place)).and_then(|message| text(message, "id"));
            Message {
                id: text(message, "id").or_else(|| old.map(|old| old.id.clone())).or(answered_id).unwrap_or_default(),
                external_id: text(message, "externalId"),
                role: text(message, "role").unwrap_or_default(),
                content: content(message),
                created_at: message
                    .given("createdAt")
                    .and_then(Value::as_str)
                    .and_then(parse_document_time)
                    .or_else(|| old.and_then(|old| old.created_at)),
            }
        })
        .collect()
}

/// Parses a document's text and upserts it.
pub fn log_text(documents: &mut Documents, identity: &Identity, text: &str) {
    let document = json::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    documents.log(identity, &document, None).unwrap_or_else(|error| panic!("{error}: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { organization: "o".into(), project: Some("p".into()), integration: Some("i".into()) }
    }

    #[test]
    fn upserts_keep_times() {
        let mut documents = Documents::default();
        let log = |documents: &mut Documents, text: &str| log_text(documents, &identity(), text);
        log(
            &mut documents,
            r#"{"id":"a","externalId":"x","type":"openai","createdAt":"2024-01-05","messages":[
            {"role":"user","content":"one","createdAt":"2024-01-02T00:00:00Z"},
            {"role":"assistant","content":"two","externalId":"e2","createdAt":"2024-01-03T00:00:00Z"}]}"#,
        );
        assert_eq!(documents.all[0].first_message_time(), parse_document_time("2024-01-02").expect("a time"));
        // By external id; the first message keeps its time by position, the third by external id.
        log(
            &mut documents,
            r#"{"externalId":"x","type":"openai","messages":[
            {"role":"user","content":"one"},{"role":"user","content":"new"},
            {"role":"assistant","content":"changed","externalId":"e2"}]}"#,
        );
        let stored = &documents.all[0];
        assert_eq!((documents.all.len(), stored.id.as_str()), (1, "a"));
        assert_eq!(stored.created_at, parse_document_time("2024-01-05").expect("a time"));
        assert_eq!(stored.first_message_time(), parse_document_time("2024-01-02").expect("a time"));
        assert_eq!(stored.last_message_time(), parse_document_time("2024-01-03").expect("a time"));
        assert_eq!(stored.messages[1].created_at, None);
        assert_eq!(stored.user_message_count(), 2);
        // Other content at the position: no match, no given time left, the conversation's counts.
        log(&mut documents, r#"{"id":"a","type":"openai","messages":[{"role":"user","content":"ONE"}]}"#);
        let stored = &documents.all[0];
        assert_eq!(stored.first_message_time(), parse_document_time("2024-01-05").expect("a time"));
        assert_eq!(stored.external_id, None);
        assert!(documents.delete("o", "p", "a"));
        assert!(!documents.delete("o", "p", "a"));
    }

    #[test]
    fn the_same_id_in_two_projects_is_two_conversations() {
        let mut documents = Documents::default();
        let anyone = Identity { project: None, integration: None, ..identity() };
        let document = |project: &str| {
            format!(
                r#"{{"id":"a","projectId":"{project}","type":"openai","messages":[{{"role":"user","content":""}}]}}"#
            )
        };
        log_text(&mut documents, &anyone, &document("p"));
        log_text(&mut documents, &anyone, &document("q"));
        log_text(&mut documents, &identity(), &document("p"));
        assert_eq!(documents.all.len(), 2);
        assert_eq!(documents.all.iter().filter(|stored| stored.integration.is_some()).count(), 1);
    }
}
