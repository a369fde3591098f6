//! Threads are those that the stored conversations give, whenever the server is killed and wherever its flush stands:
//! none missing, none twice, none of a conversation that was logged again or deleted; and annotations hold as long as
//! question and answer stay the same.
//!
//! What they should be is worked out here, from contract A4, of what `GET` shows of each conversation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::crashes::FAIL_POINTS;
use crate::support::{Server, create_key};

/// A conversation and the message that names the thread: the first of the answer, else the last of the question.
type ThreadName = (String, String);

/// A thread as it should be.
#[derive(Clone, Debug)]
pub struct Thread {
    name: ThreadName,
    message_ids: Vec<String>,
    /// What its row shows; null stands for a field that is left out or null.
    row: Value,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key}: {value}"))
}

/// The texts that say something, a paragraph each.
fn paragraphs(messages: &[&Value]) -> Value {
    let said = |message: &&Value| match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    };
    let texts: Vec<String> = messages.iter().map(said).filter(|text| !text.trim().is_empty()).collect();
    if texts.is_empty() { Value::Null } else { json!(texts.join("\n\n")) }
}

/// The threads of a conversation as it is shown.
pub fn derive(conversation: &Value) -> Vec<Thread> {
    let mut runs: Vec<Vec<&Value>> = Vec::new();
    let mut asked = false;
    for message in conversation["messages"].as_array().expect("messages") {
        let asks = message["role"] == "user";
        if asks && !asked {
            runs.push(Vec::new());
        }
        asked = asks;
        if let Some(run) = runs.last_mut() {
            run.push(message);
        }
    }
    let thread = |(number, run): (usize, Vec<&Value>)| {
        let of = |is_it: fn(&str) -> bool| -> Vec<&Value> {
            run.iter().copied().filter(|message| is_it(text(message, "role"))).collect()
        };
        let (asked, answered) = (of(|role| role == "user"), of(|role| role != "user" && role != "system"));
        let named = answered.first().or(asked.last()).expect("a question");
        let times: BTreeSet<&str> = run.iter().map(|message| text(message, "createdAt")).collect();
        let message_ids: Vec<String> = run.iter().map(|message| text(message, "id").to_owned()).collect();
        let question = paragraphs(&asked);
        Thread {
            name: (text(conversation, "id").to_owned(), text(named, "id").to_owned()),
            row: json!({
                "messageIds": message_ids, "messagesCount": run.len(), "conversationIds": [conversation["id"]],
                "questionLength": question.as_str().map(|text| text.chars().count()), "question": question,
                "answer": paragraphs(&answered), "isInitialQuestionAnswer": number == 0,
                "projectId": conversation["projectId"], "integrationId": conversation["integrationId"],
                "properties": conversation["properties"], "userProperties": conversation["userProperties"],
                "firstMessageTime": times.first(), "lastMessageTime": times.last(),
            }),
            message_ids,
        }
    };
    runs.into_iter().enumerate().map(thread).collect()
}

fn rows(server: &Server, key: &str, view: &str) -> Vec<Value> {
    let answer = server.expect_json(200, "POST", &format!("/query/{view}"), key, Some(&json!({"limit": 100_000})));
    answer["data"]["result"].as_array().expect("rows").clone()
}

fn conversations(server: &Server, key: &str) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let path = format!("/conversations?limit=100&offset={}", all.len());
        let page = server.expect_json(200, "GET", &path, key, None);
        let conversations = page["conversations"].as_array().expect("conversations");
        if conversations.is_empty() {
            assert_eq!(page["total"].as_u64(), Some(all.len() as u64));
            return all;
        }
        all.extend(conversations.iter().cloned());
    }
}

/// Compares all threads of the key's project with those of its conversations and its feedback. Gives the rows by name.
pub fn verify_derived(server: &Server, key: &str) -> BTreeMap<ThreadName, Value> {
    let rated: BTreeSet<(String, String, String)> = rows(server, key, "feedback")
        .iter()
        .filter(|row| row.get("conversationId").is_some())
        .map(|row| ["conversationId", "messageId", "type"].map(|field| text(row, field).to_owned()).into())
        .collect();
    let mut found: BTreeMap<(String, Vec<String>), Value> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for row in rows(server, key, "semantic-threads") {
        assert!(ids.insert(text(&row, "id").to_owned()), "two threads of one id: {row}");
        let texts =
            |field: &str| -> Vec<String> { serde_json::from_value(row[field].clone()).expect("a list of texts") };
        let place = (texts("conversationIds").concat(), texts("messageIds"));
        if let Some(other) = found.insert(place, row) {
            panic!("a thread is there twice: {other}");
        }
    }
    let mut named = BTreeMap::new();
    for conversation in conversations(server, key) {
        for thread in derive(&conversation) {
            let (id, updated_at) = (thread.name.0.clone(), text(&conversation, "updatedAt"));
            let row = found.remove(&(id.clone(), thread.message_ids.clone()));
            let row = row.unwrap_or_else(|| panic!("no thread of {id} is {}\n{}", thread.row, server.stderr()));
            for (field, value) in thread.row.as_object().expect("an object") {
                assert_eq!(row.get(field).unwrap_or(&Value::Null), value, "{field} of {row}");
            }
            for (field, rating) in [("hasPositiveFeedback", "positive"), ("hasNegativeFeedback", "negative")] {
                let rates = |message: &String| rated.contains(&(id.clone(), message.clone(), rating.to_owned()));
                assert_eq!(row[field], json!(thread.message_ids.iter().any(rates)), "{field} of {row}");
            }
            assert!(text(&row, "lastUpdated") >= updated_at, "{row}");
            named.insert(thread.name, row);
        }
    }
    assert!(found.is_empty(), "threads that no conversation has: {found:?}\n{}", server.stderr());
    named
}

/// What must be there.
#[derive(Clone, Default)]
struct Model {
    /// By number, as answered.
    stored: BTreeMap<u64, Value>,
    /// Subjects that were set, null where cleared, and when.
    subjects: BTreeMap<ThreadName, (Value, String)>,
    /// A thread keeps its id as long as its conversation and the message that names it are the same.
    ids: BTreeMap<ThreadName, String>,
    /// How often a re-log left an annotation, and dropped one.
    left: (usize, usize),
}

enum Change {
    Log(u64, Value),
    Delete(u64),
    Annotate(ThreadName, Value),
    Rate(Value),
}

impl Model {
    fn threads(&self) -> Vec<Thread> {
        self.stored.values().flat_map(derive).collect()
    }

    /// `after` is the answer's body; of a change without an answer, what is found later.
    fn apply(&mut self, change: &Change, after: Value) {
        match change {
            Change::Log(number, _) => {
                let texts = |thread: &Thread| (thread.row["question"].clone(), thread.row["answer"].clone());
                let now: BTreeMap<_, _> = derive(&after).iter().map(|one| (one.name.clone(), texts(one))).collect();
                for old in self.stored.insert(*number, after).iter().flat_map(derive) {
                    let same = now.get(&old.name) == Some(&texts(&old));
                    match same {
                        true => self.left.0 += usize::from(self.subjects.contains_key(&old.name)),
                        false => self.left.1 += usize::from(self.subjects.remove(&old.name).is_some()),
                    }
                }
            }
            Change::Delete(number) => {
                self.stored.remove(number);
                self.subjects.retain(|(conversation, _), _| *conversation != format!("c{number}"));
            }
            Change::Annotate(name, subject) => {
                let at = text(&after, "lastUpdated").to_owned();
                self.subjects.insert(name.clone(), (subject.clone(), at));
            }
            Change::Rate(_) => {}
        }
    }

    fn random_change(&self, random: &mut SmallRng) -> Change {
        let number = random.random_range(0..CONVERSATIONS);
        let threads = self.threads();
        let one = (!threads.is_empty()).then(|| &threads[random.random_range(0..threads.len())]);
        match (random.random_range(0..10), one) {
            (0, _) if self.stored.contains_key(&number) => Change::Delete(number),
            (1..=3, Some(thread)) => {
                let subject =
                    if random.random_bool(0.2) { Value::Null } else { json!(format!("s{}", random.random::<u16>())) };
                Change::Annotate(thread.name.clone(), subject)
            }
            (4, Some(thread)) => {
                let rating = ["positive", "negative"][random.random_range(0..2)];
                let id = format!("f{}", random.random_range(0..20));
                Change::Rate(json!({"id": id, "type": rating, "messageId": thread.message_ids.last()}))
            }
            _ => Change::Log(number, document(number, self.stored.get(&number), random)),
        }
    }

    /// Makes the change; false when no answer came.
    fn change(&mut self, server: &Server, key: &str, change: &Change) -> bool {
        let (method, path, body) = match change {
            Change::Log(_, document) => ("POST", "/conversations".to_owned(), Some(document.clone())),
            Change::Delete(number) => ("DELETE", format!("/conversations/c{number}"), None),
            Change::Annotate(name, subject) => {
                let path = format!("/semantic-threads/{}", self.ids[name]);
                ("PATCH", path, Some(json!({"subject": subject})))
            }
            Change::Rate(feedback) => ("POST", "/feedback".to_owned(), Some(feedback.clone())),
        };
        let body = body.map(|body| body.to_string().into_bytes());
        let Ok(answer) = server.try_request(method, &path, Some(key), body.as_deref(), &[]) else { return false };
        if answer.status == 503 || answer.status == 500 {
            return false;
        }
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        self.apply(change, answer.json());
        self.learn_ids(server, key, change);
        true
    }

    /// Ids of new threads, which no answer tells.
    fn learn_ids(&mut self, server: &Server, key: &str, change: &Change) {
        let Change::Log(number, _) = change else { return };
        let filter = json!({"select": [{"type": "field", "field": "id"}, {"type": "field", "field": "messageIds"}],
            "where": {"condition": {"field": "conversationIds", "operator": "arrayContains", "value": format!("c{number}")}}});
        // A crash comes at its own time.
        let body = filter.to_string();
        let Ok(answer) = server.try_request("POST", "/query/semantic-threads", Some(key), Some(body.as_bytes()), &[])
        else {
            return;
        };
        let rows = answer.json()["data"]["result"].as_array().expect("rows").clone();
        for thread in derive(&self.stored[number]) {
            let row = rows.iter().find(|row| row["messageIds"] == json!(thread.message_ids));
            let id = text(row.unwrap_or_else(|| panic!("no {thread:?} in {rows:?}")), "id").to_owned();
            assert_eq!(*self.ids.entry(thread.name).or_insert_with(|| id.clone()), id);
        }
    }

    /// How the rows differ from the model, if they do.
    fn difference(&self, found: &BTreeMap<ThreadName, Value>) -> Option<String> {
        let wanted: BTreeSet<ThreadName> = self.threads().into_iter().map(|thread| thread.name).collect();
        if !found.keys().eq(&wanted) {
            return Some(format!("threads {:?}, should be {wanted:?}", found.keys()));
        }
        found.iter().find_map(|(name, row)| {
            if self.ids.get(name).is_some_and(|id| row["id"] != json!(id)) {
                return Some(format!("{name:?} has another id: {row}"));
            }
            let updated_at =
                self.stored.values().find(|stored| stored["id"] == name.0).map(|one| text(one, "updatedAt"))?;
            let (subject, at) = match self.subjects.get(name) {
                Some((subject, at)) => (subject, at.as_str().max(updated_at)),
                None => (&Value::Null, updated_at),
            };
            let same = row["subject"] == *subject && row["lastUpdated"] == at;
            (!same).then(|| format!("{name:?} should have {subject} of {at}: {row}"))
        })
    }

    fn verify(&self, server: &Server, key: &str) {
        if let Some(difference) = self.difference(&verify_derived(server, key)) {
            panic!("{difference}\n{}", server.stderr());
        }
    }
}

const CONVERSATIONS: u64 = 24;

/// Mostly the stored document with something changed at its end, so that threads before it stay as they were.
fn document(number: u64, stored: Option<&Value>, random: &mut SmallRng) -> Value {
    let ticket = number % 3 == 0;
    let mut messages: Vec<Value> = match stored {
        Some(stored) if random.random_bool(0.8) => {
            let messages = stored["messages"].as_array().expect("messages").iter();
            messages.map(|one| json!({"id": one["id"], "role": one["role"], "content": one["content"]})).collect()
        }
        _ => Vec::new(),
    };
    messages.truncate(random.random_range(0..8));
    for _ in 0..random.random_range(1..4) {
        let roles = if ticket { ["user", "agent", "system", "bot"] } else { ["user", "user", "system", "assistant"] };
        let content = match random.random_range(0..6) {
            0 => json!(" "),
            1 if ticket => Value::Null,
            1 => json!([{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {"url": "x"}},
                {"type": "text", "text": "two"}]),
            _ => json!(format!("text {} é", random.random_range(0..3))),
        };
        let id = format!("c{number}-m{}", messages.len());
        messages.push(json!({"id": id, "role": roles[random.random_range(0..4)], "content": content}));
    }
    for (minute, message) in messages.iter_mut().enumerate().filter(|_| number % 2 == 0) {
        // Not in the order of the document.
        message["createdAt"] = json!(format!("2025-03-01T10:{:02}:00Z", minute * 7 % 60));
    }
    json!({"id": format!("c{number}"), "type": if ticket { "support_ticket" } else { "openai" },
        "createdAt": "2025-03-01", "properties": {"number": number}, "messages": messages})
}

#[test]
fn acknowledged_threads_survive_kills() {
    let store = TempDir::new().expect("a folder");
    let key = create_key(store.path(), "api", "acme", Some("kill"), Some("bot"), &[]);
    let mut random = SmallRng::seed_from_u64(21);
    let mut model = Model::default();
    for round in 0..8 {
        // Sometimes everything stays in the log, sometimes flushes come all the time.
        let rows = if round % 2 == 0 { "100000".to_owned() } else { random.random_range(5..30).to_string() };
        let mut server = Server::start_on(store.path(), &["--flush-rows", &rows, "--flush-seconds", "600"]);
        model.verify(&server, &key);
        for _ in 0..3 {
            for _ in 0..25 {
                let change = model.random_change(&mut random);
                assert!(model.change(&server, &key, &change), "{}", server.stderr());
            }
            model.verify(&server, &key);
        }
        server.kill();
    }
    let mut server = Server::start_on(store.path(), &[]);
    model.verify(&server, &key);
    assert!(server.terminate().success());
    let server = Server::start_on(store.path(), &[]);
    model.verify(&server, &key);
    assert!(model.left.0 > 10 && model.left.1 > 10, "re-logs left and dropped {:?} annotations", model.left);
}

#[test]
fn a_crash_at_any_point_of_a_flush_loses_and_doubles_no_thread() {
    let store = TempDir::new().expect("a folder");
    let key = create_key(store.path(), "api", "acme", Some("crash"), Some("bot"), &[]);
    let mut random = SmallRng::seed_from_u64(22);
    let mut model = Model::default();
    // Twice: the second time there are files whose rows are being replaced.
    for point in FAIL_POINTS.iter().chain(&FAIL_POINTS) {
        let mut server = Server::start_on(store.path(), &["--flush-seconds", "600"]);
        for _ in 0..20 {
            let change = model.random_change(&mut random);
            assert!(model.change(&server, &key, &change), "{}", server.stderr());
        }
        model.verify(&server, &key);
        // An empty log: what it held would start the flush, and so the crash, before the server answers.
        assert!(server.terminate().success());
        let arguments = ["--flush-rows", "12", "--flush-seconds", "600"];
        let Some(mut server) = Server::start_to_abort(store.path(), &arguments, point) else { continue };
        let begin = Instant::now();
        let in_doubt = loop {
            assert!(begin.elapsed() < Duration::from_secs(20), "{point} was never reached");
            let change = model.random_change(&mut random);
            if let Change::Annotate(name, _) = &change
                && !model.ids.contains_key(name)
            {
                continue;
            }
            if !model.change(&server, &key, &change) {
                break change;
            }
        };
        while server.is_running() {
            assert!(begin.elapsed() < Duration::from_secs(20), "{point} was passed");
            std::thread::sleep(Duration::from_millis(10));
        }
        let server = Server::start_on(store.path(), &["--flush-seconds", "600"]);
        let found = verify_derived(&server, &key);
        // The crash may have kept the answer to an acknowledged change from telling its threads' ids.
        found.iter().for_each(|(name, row)| {
            model.ids.entry(name.clone()).or_insert_with(|| text(row, "id").to_owned());
        });
        let Some(without) = model.difference(&found) else { continue };
        // Then the change that got no answer was made.
        let after = match &in_doubt {
            Change::Log(number, _) => server.expect_json(200, "GET", &format!("/conversations/c{number}"), &key, None),
            Change::Annotate(name, _) => found.get(name).cloned().unwrap_or_default(),
            Change::Delete(_) | Change::Rate(_) => Value::Null,
        };
        model.apply(&in_doubt, after);
        if let Some(with) = model.difference(&found) {
            panic!("after {point}: without the change in doubt {without}\nwith it {with}\n{}", server.stderr());
        }
    }
    assert!(model.left.0 > 5 && model.left.1 > 5, "re-logs left and dropped {:?} annotations", model.left);
}
