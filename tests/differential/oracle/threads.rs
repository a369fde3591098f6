//! Threads: a run of user messages and what follows up to the next one (contract A4).

use std::collections::HashMap;

use super::attached::Attachments;
use super::documents::{Documents, Message, Stored};
use super::json::{self, Value};
use super::query::Cell;
use super::views::{Record, SEMANTIC_THREADS, json_cell};

/// Organization, project, conversation, and the ids of the messages.
pub type ThreadName = (String, String, String, Vec<String>);

/// What only the server can tell of a thread.
#[derive(Clone, Debug)]
pub struct Adopted {
    pub id: String,
    pub languages: Cell,
}

/// What was set, on which thread.
#[derive(Clone, Debug)]
pub struct Annotation {
    /// Organization, project and id.
    conversation: [String; 3],
    /// The message that names the thread.
    message: String,
    question: Option<String>,
    answer: Option<String>,
    pub values: HashMap<String, Cell>,
    pub at: i64,
}

pub struct Thread<'a> {
    pub stored: &'a Stored,
    messages: &'a [Message],
    is_initial: bool,
}

/// The threads of a conversation.
pub fn derive(stored: &Stored) -> Vec<Thread<'_>> {
    let messages = &stored.messages;
    let asks = |place: usize| messages[place].role == "user";
    let starts: Vec<usize> =
        (0..messages.len()).filter(|&place| asks(place) && (place == 0 || !asks(place - 1))).collect();
    let thread = |(number, &start): (usize, &usize)| {
        let end = starts.get(number + 1).copied().unwrap_or(messages.len());
        Thread { stored, messages: &messages[start..end], is_initial: number == 0 }
    };
    starts.iter().enumerate().map(thread).collect()
}

fn said(message: &Message) -> String {
    match json::parse(&message.content) {
        Ok(Value::String(text)) => text,
        Ok(Value::Array(parts)) => {
            let texts: Vec<&str> = parts.iter().filter_map(|part| part.given("text")?.as_str()).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

impl Annotation {
    pub fn of(thread: &Thread<'_>) -> Annotation {
        Annotation {
            conversation: place(thread.stored),
            message: thread.named(),
            question: thread.question(),
            answer: thread.answer(),
            values: HashMap::new(),
            at: 0,
        }
    }

    fn holds(&self, stored: &Stored) -> bool {
        let same = |thread: &Thread<'_>| {
            thread.named() == self.message && thread.question() == self.question && thread.answer() == self.answer
        };
        derive(stored).iter().any(same)
    }
}

fn place(stored: &Stored) -> [String; 3] {
    [&stored.organization, &stored.project, &stored.id].map(Clone::clone)
}

/// After a conversation was logged: annotations go with their thread, and where question or answer changed.
pub fn drop_annotations(annotations: &mut HashMap<String, Annotation>, stored: &Stored) {
    let place = place(stored);
    annotations.retain(|_, annotation| annotation.conversation != place || annotation.holds(stored));
}

impl Thread<'_> {
    /// The first message of the answer, else the last of the question.
    fn named(&self) -> String {
        let of_answer = self.messages.iter().find(|message| message.role != "user" && message.role != "system");
        let of_question = || self.messages.iter().rev().find(|message| message.role == "user");
        of_answer.or_else(of_question).map(|message| message.id.clone()).unwrap_or_default()
    }

    pub fn name(&self) -> ThreadName {
        let ids = self.messages.iter().map(|message| message.id.clone()).collect();
        (self.stored.organization.clone(), self.stored.project.clone(), self.stored.id.clone(), ids)
    }

    fn joined(&self, roles: impl Fn(&str) -> bool) -> Option<String> {
        let texts = self.messages.iter().filter(|message| roles(&message.role)).map(said);
        let texts: Vec<String> = texts.filter(|text| !text.trim().is_empty()).collect();
        (!texts.is_empty()).then(|| texts.join("\n\n"))
    }

    fn question(&self) -> Option<String> {
        self.joined(|role| role == "user")
    }

    fn answer(&self) -> Option<String> {
        self.joined(|role| role != "user" && role != "system")
    }

    fn record(
        &self,
        adopted: Option<&Adopted>,
        annotation: Option<&Annotation>,
        rated: impl Fn(&str) -> bool,
    ) -> Record {
        let stored = self.stored;
        let text = |text: Option<String>| text.map_or(Cell::Null, Cell::Text);
        let times = || self.messages.iter().map(|message| message.created_at.unwrap_or(stored.created_at));
        let question = self.question();
        Record::new(&SEMANTIC_THREADS, |field| match field {
            "id" => Cell::Text(adopted.map_or("not shown by the server".to_string(), |adopted| adopted.id.clone())),
            "languages" => adopted.map_or(Cell::Null, |adopted| adopted.languages.clone()),
            "organizationId" => Cell::Text(stored.organization.clone()),
            "projectId" => Cell::Text(stored.project.clone()),
            "integrationId" => text(stored.integration.clone()),
            "messageIds" => Cell::List(self.name().3),
            "conversationIds" => Cell::List(vec![stored.id.clone()]),
            "messagesCount" => Cell::Count(self.messages.len() as i64),
            "question" => text(question.clone()),
            "questionLength" => question.as_ref().map_or(Cell::Null, |text| Cell::Count(text.chars().count() as i64)),
            "answer" => text(self.answer()),
            "firstMessageTime" => Cell::Time(times().min().expect("a message")),
            "lastMessageTime" => Cell::Time(times().max().expect("a message")),
            "lastUpdated" => {
                Cell::Time(annotation.map_or(stored.updated_at, |annotation| annotation.at.max(stored.updated_at)))
            }
            "hasPositiveFeedback" => Cell::Flag(rated("positive")),
            "hasNegativeFeedback" => Cell::Flag(rated("negative")),
            "isInitialQuestionAnswer" => Cell::Flag(self.is_initial),
            "properties" => json_cell(stored.properties.as_ref()),
            "userProperties" => json_cell(stored.user_properties.as_ref()),
            other => annotation.and_then(|annotation| annotation.values.get(other)).cloned().unwrap_or(Cell::Null),
        })
    }
}

/// All threads; annotations are by thread id.
pub fn records(
    documents: &Documents,
    attachments: &Attachments,
    adopted: &HashMap<ThreadName, Adopted>,
    annotations: &HashMap<String, Annotation>,
) -> Vec<Record> {
    let threads = documents.all.iter().flat_map(derive);
    let record = |thread: Thread<'_>| {
        let name = thread.name();
        let adopted = adopted.get(&name);
        let annotation = adopted.and_then(|adopted| annotations.get(&adopted.id));
        let rated = |of: &str| attachments.feedback.iter().any(|one| one.rates(thread.stored, &name.3, of));
        thread.record(adopted, annotation, rated)
    };
    threads.map(record).collect()
}
