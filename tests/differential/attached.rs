//! Events, feedback and threads of a [`World`].

use std::collections::HashMap;

use crate::compare::View;
use crate::generate::{TEXTS, moment, properties, user_properties, with};
use crate::oracle::documents::Stored;
use crate::oracle::json::{self, Value, integer, object, string};
use crate::oracle::query::Cell;
use crate::oracle::threads::{self, Adopted, Annotation, ThreadName};
use crate::oracle::time::parse_document_time;
use crate::oracle::views::{self, EVENTS, FEEDBACK, Record, SEMANTIC_THREADS};
use crate::random::Random;
use crate::support::cut;
use crate::world::{World, ask_random};

/// What both have.
fn frame(random: &mut Random, prefix: &str) -> Vec<(&'static str, Value)> {
    let mut pairs = vec![("properties", properties(random)), ("userProperties", user_properties(random))];
    if random.percent(80) {
        // Some come again.
        pairs.push(("id", string(format!("{prefix}-{}", random.below(400)))));
    }
    if random.percent(70) {
        pairs.push(("createdAt", moment(random)));
    }
    pairs
}

/// On a message or a conversation that may be unknown, or known later.
fn event(random: &mut Random, of_project: &[&Stored], next_number: usize) -> Value {
    let mut pairs = frame(random, "e");
    let stored = (!of_project.is_empty()).then(|| *random.pick(of_project));
    let later = random.below(next_number + 60);
    let (entity, key, value) = match random.below(3) {
        0 => ("search", "searchQuery", random.pick(&TEXTS).to_string()),
        1 => (
            "conversation",
            "conversationId",
            match stored {
                Some(stored) if random.percent(80) => stored.id.clone(),
                _ => format!("c-{later}"),
            },
        ),
        _ => (
            "message",
            "messageId",
            match stored {
                Some(stored) if random.percent(80) => random.pick(&stored.messages).id.clone(),
                _ => format!("message-{}", later * 100 + 1 + random.below(3)),
            },
        ),
    };
    pairs.extend([("entityType", string(entity)), (key, string(value))]);
    pairs.push(("type", string(random.pick(&["copied", "opened", "search", "é", ""]))));
    if random.percent(20) {
        pairs.push(("integrationId", string(random.pick(&["widget", "cli", "5"]))));
    }
    random.shuffle(&mut pairs);
    object(pairs)
}

/// Of a conversation that is there.
fn feedback(random: &mut Random, stored: &Stored) -> Value {
    let mut pairs = frame(random, "f");
    pairs.push(("type", string(random.pick(&["positive", "negative"]))));
    pairs.push(("messageId", string(&random.pick(&stored.messages).id)));
    if random.percent(70) {
        pairs.push(("details", string(random.pick(&TEXTS))));
    }
    if random.percent(40) {
        pairs.push(("updatedAt", moment(random)));
    }
    let reason = |random: &mut Random| {
        let label = string(random.pick(&["wrong", "outdated", "é", "5", ""]));
        object(vec![("label", label), ("details", string(random.pick(&TEXTS)))])
    };
    if random.percent(60) {
        pairs.push(("reasons", Value::Array((0..random.below(4)).map(|_| reason(random)).collect())));
    }
    let source = |random: &mut Random| {
        let kind = match random.below(4) {
            0 => Value::Null,
            _ => string(random.pick(&["positive", "negative", "new"])),
        };
        object(vec![("type", kind), ("title", string(random.pick(&TEXTS))), ("url", string("https://example.org"))])
    };
    if random.percent(60) {
        pairs.push(("sources", Value::Array((0..random.below(3)).map(|_| source(random)).collect())));
    }
    random.shuffle(&mut pairs);
    object(pairs)
}

/// The year 2100, in epoch milliseconds.
const FUTURE: i64 = 4_102_444_800_000;

impl World {
    pub fn add_events(&mut self, count: usize) {
        for _ in 0..count {
            self.attach(&EVENTS);
        }
    }

    pub fn add_feedback(&mut self, count: usize) {
        for _ in 0..count {
            self.attach(&FEEDBACK);
        }
    }

    /// Posts one event or feedback.
    fn attach(&mut self, view: &'static views::View) {
        let place = [0, 0, 1, 2, 3][self.random.below(5)];
        let identity = self.keys[place].identity.clone();
        let project = match &identity.project {
            Some(project) => project.clone(),
            None => self.random.pick(&["support", "Docs", "third project"]).to_string(),
        };
        let of_project: Vec<&Stored> = self.documents.all.iter().collect();
        let is_of = |stored: &&Stored| stored.organization == identity.organization && stored.project == project;
        let of_project: Vec<&Stored> = of_project.into_iter().filter(is_of).collect();
        let (path, mut document) = if view.name == EVENTS.name {
            ("/events", event(&mut self.random, &of_project, self.next_number))
        } else {
            let Some(stored) = (!of_project.is_empty()).then(|| *self.random.pick(&of_project)) else { return };
            ("/feedback", feedback(&mut self.random, stored))
        };
        if identity.project.is_none() {
            document = with(document, "projectId", string(&project));
        }
        let text = document.to_text();
        let answer = self.server.request("POST", path, Some(&self.keys[place].secret), Some(text.as_bytes()));
        let checked = match answer.status {
            200 => json::parse_answer(&answer.text())
                .and_then(|answer| self.attached.log(view, &self.documents, &identity, &document, &answer)),
            status => Err(format!("status {status}: {}", cut(&answer.text(), 600))),
        };
        if let Err(problem) = checked {
            let name = self.keys[place].name;
            self.failures.push(format!("POST {path} with the {name}: {problem}\n  {}\n", cut(&text, 1_500)));
        }
    }

    /// Sets annotations of some threads.
    pub fn annotate(&mut self, count: usize) {
        let adopted = self.adopt_threads();
        for _ in 0..count {
            // Where the conversation's own time is in the future, the annotation's does not show.
            let past = self.documents.all.iter().filter(|stored| stored.updated_at < FUTURE);
            let all: Vec<_> = past.flat_map(threads::derive).collect();
            let thread = self.random.pick(&all);
            let key = self.key_for(thread.stored);
            let Some(Adopted { id, .. }) = adopted.get(&thread.name()) else { continue };
            let random = &mut self.random;
            let entities: Vec<String> =
                (0..random.below(3)).map(|_| random.pick(&["Ada", "ada", "é", ""]).to_string()).collect();
            let values = [
                ("isClear", Cell::Flag(random.percent(50))),
                ("isOnTopic", Cell::Flag(random.percent(50))),
                ("subject", Cell::Text(random.pick(&TEXTS).to_string())),
                ("category", Cell::Text(random.pick(&["keys", "billing"]).to_string())),
                ("thirdPartyEntities", Cell::List(entities)),
            ];
            let values: Vec<(&str, Cell)> = values.into_iter().filter(|_| random.percent(60)).collect();
            let sent = values.iter().map(|(name, cell)| {
                let value = match cell {
                    Cell::Flag(flag) => Value::Bool(*flag),
                    Cell::List(list) => Value::Array(list.iter().map(string).collect()),
                    Cell::Text(text) => string(text),
                    other => panic!("no annotation: {other:?}"),
                };
                (*name, value)
            });
            let (path, body) = (format!("/semantic-threads/{id}"), object(sent.collect()).to_text());
            let answer = self.server.request("PATCH", &path, Some(&self.keys[key].secret), Some(body.as_bytes()));
            assert_eq!(answer.status, 200, "PATCH {path} {body}: {}", cut(&answer.text(), 600));
            let row = json::parse_answer(&answer.text()).expect("JSON");
            let at = row.get("lastUpdated").and_then(Value::as_str).and_then(parse_document_time).expect("a time");
            let annotation = self.annotations.entry(id.clone()).or_insert_with(|| Annotation::of(thread));
            annotation.at = at;
            annotation.values.extend(values.into_iter().map(|(name, cell)| (name.to_string(), cell)));
        }
    }

    /// Ids and languages of all threads, which the contract leaves to the server.
    fn adopt_threads(&self) -> HashMap<ThreadName, Adopted> {
        let fields = ["id", "projectId", "conversationIds", "messageIds", "languages"];
        let select = fields.map(|field| object(vec![("type", string("field")), ("field", string(field))]));
        let body = object(vec![("select", Value::Array(select.to_vec())), ("limit", integer(100_000))]).to_text();
        let mut adopted = HashMap::new();
        for key in [&self.keys[2], &self.keys[3]] {
            let path = SEMANTIC_THREADS.path();
            let answer = self.server.request("POST", &path, Some(&key.secret), Some(body.as_bytes()));
            assert_eq!(answer.status, 200, "{}", cut(&answer.text(), 1_000));
            let answer = json::parse_answer(&answer.text()).expect("JSON");
            let rows = answer.get("data").and_then(|data| data.get("result")).and_then(Value::as_array).expect("rows");
            for row in rows {
                let text = |key: &str| row.get(key).and_then(Value::as_str).expect("a text").to_string();
                let texts = |key: &str| -> Option<Vec<String>> {
                    let list = row.get(key)?.as_array()?.iter();
                    Some(list.map(|text| text.as_str().expect("a text").to_string()).collect())
                };
                let conversation = texts("conversationIds").expect("a list").concat();
                let messages = texts("messageIds").expect("a list");
                let name = (key.identity.organization.clone(), text("projectId"), conversation, messages);
                let languages = texts("languages").map_or(Cell::Null, Cell::List);
                adopted.insert(name, Adopted { id: text("id"), languages });
            }
        }
        adopted
    }

    fn records_of(&self, view: &'static views::View) -> Vec<Record> {
        if view.name == SEMANTIC_THREADS.name {
            let adopted = self.adopt_threads();
            return threads::records(&self.documents, &self.attached, &adopted, &self.annotations);
        }
        self.attached.records(view)
    }

    /// Compares `count` random requests of each of the three views.
    pub fn ask_attached(&mut self, state: &str, seed: u64, count: usize) {
        for view in [&EVENTS, &FEEDBACK, &SEMANTIC_THREADS] {
            let records = self.records_of(view);
            let views: Vec<View> = (0..self.keys.len()).map(|key| self.view_of(key, view, records.clone())).collect();
            let failures = ask_random(&views, &format!("{state}, {}", view.name), seed, count);
            println!("{state}: {count} requests of {}, {} rows, {} failures", view.name, records.len(), failures.len());
            self.failures.extend(failures);
        }
    }
}
