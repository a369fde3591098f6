//! Events and feedback survive as conversations do: each acknowledged one is there exactly once, linked to its
//! conversation and seen by its threads, whenever the server is killed and wherever its flush stands.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::crashes::FAIL_POINTS;
use crate::support::{Server, create_key};
use crate::threads;

const CONVERSATIONS: u64 = 8;

/// What must be there, by id.
#[derive(Default)]
struct Model {
    /// Events and feedback by id; both hang on message `m<n>` of conversation `c<n>`.
    records: BTreeMap<String, Record>,
    /// Whether the conversation exists and has its message.
    holds: BTreeMap<u64, bool>,
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Record {
    version: u64,
    /// Whether it has ever met its conversation, so that it goes with it.
    owned: bool,
}

/// Whether a record hangs on conversation `c<number>`.
fn is_of(id: &str, number: u64) -> bool {
    id.get(1..).is_some_and(|rest| rest.starts_with(&format!("{number}-")))
}

fn conversation(number: u64, holds: bool) -> Value {
    let message = if holds { format!("m{number}") } else { "none".to_owned() };
    json!({"id": format!("c{number}"), "type": "openai", "messages": [{"id": message, "role": "user", "content": "x"}]})
}

/// Makes random changes, each of which must be acknowledged, up to `count`; false once the server is gone.
/// The change that gets no answer may have happened or not.
fn change(server: &Server, key: &str, model: &mut Model, random: &mut SmallRng, count: usize) -> bool {
    for _ in 0..count {
        let number = random.random_range(0..CONVERSATIONS);
        model.next += 1;
        let version = model.next;
        let holds = model.holds.get(&number).copied();
        let choice = random.random_range(0..10);
        let (method, path, body) = match choice {
            0 if holds.is_some() => ("DELETE", format!("/conversations/c{number}"), None),
            0..=2 => ("POST", "/conversations".to_owned(), Some(conversation(number, choice > 0 && version % 4 > 0))),
            3..=6 => {
                let event = json!({"id": format!("e{number}-{}", version % 3), "type": version.to_string(),
                    "entityType": "message", "messageId": format!("m{number}")});
                ("POST", "/events".to_owned(), Some(event))
            }
            _ if holds == Some(true) => {
                let feedback = json!({"id": format!("f{number}-{}", version % 3), "type": "positive",
                    "details": version.to_string(), "messageId": format!("m{number}")});
                ("POST", "/feedback".to_owned(), Some(feedback))
            }
            _ => continue,
        };
        let text = body.as_ref().map(Value::to_string);
        let answer = server.try_request(method, &path, Some(key), text.as_deref().map(str::as_bytes), &[]);
        let Ok(answer) = answer else { return false };
        if answer.status == 503 || answer.status == 500 {
            return false;
        }
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        match (method, body) {
            ("DELETE", _) => {
                model.holds.remove(&number);
                model.records.retain(|id, record| !(record.owned && is_of(id, number)));
            }
            (_, Some(body)) if path == "/conversations" => {
                holds_now(model, number, body["messages"][0]["id"] != "none");
            }
            (_, Some(body)) => {
                let id = body["id"].as_str().expect("an id").to_owned();
                let before = model.records.get(&id).is_some_and(|record| record.owned);
                let owned = before || holds == Some(true);
                model.records.insert(id, Record { version, owned });
            }
            _ => {}
        }
    }
    true
}

fn holds_now(model: &mut Model, number: u64, holds: bool) {
    model.holds.insert(number, holds);
    if holds {
        let of_it = model.records.iter_mut().filter(|(id, _)| is_of(id, number));
        of_it.for_each(|(_, record)| record.owned = true);
    }
}

/// Ids, versions and links of all rows of both views.
fn found(server: &Server, key: &str) -> BTreeMap<String, (u64, Option<String>)> {
    let mut all = BTreeMap::new();
    for (view, version) in [("events", "type"), ("feedback", "details")] {
        let answer = server.expect_json(200, "POST", &format!("/query/{view}"), key, Some(&json!({"limit": 100_000})));
        for row in answer["data"]["result"].as_array().expect("rows") {
            let id = row["id"].as_str().expect("an id").to_owned();
            let version = row[version].as_str().and_then(|text| text.parse().ok()).expect("a version");
            let link = row.get("conversationId").and_then(Value::as_str).map(str::to_owned);
            assert!(all.insert(id.clone(), (version, link)).is_none(), "{id} is there twice");
        }
    }
    all
}

/// Checks the store against the model.
fn verify(server: &Server, key: &str, model: &Model) {
    let all = found(server, key);
    let versions: BTreeMap<String, u64> = all.iter().map(|(id, (version, _))| (id.clone(), *version)).collect();
    let known: BTreeMap<String, u64> = model.records.iter().map(|(id, record)| (id.clone(), record.version)).collect();
    assert_eq!(versions, known);
    for (id, (_, link)) in &all {
        let number: u64 = id[1..].split('-').next().and_then(|text| text.parse().ok()).expect("a number");
        let holds = model.holds.get(&number) == Some(&true);
        assert_eq!(link.as_deref(), holds.then_some(format!("c{number}")).as_deref(), "{id}");
        if id.starts_with('f') {
            let answer = server.request("GET", &format!("/feedback/{id}"), Some(key), None);
            assert_eq!(answer.status, if holds { 200 } else { 404 }, "{id}");
        }
    }
    threads::verify_derived(server, key);
}

/// The model as the store is, after a change whose answer never came.
fn relearn(server: &Server, key: &str, model: &mut Model) {
    let before = std::mem::take(&mut model.records);
    for (id, (version, link)) in found(server, key) {
        let owned = link.is_some() || before.get(&id).is_some_and(|record| record.owned);
        model.records.insert(id, Record { version, owned });
    }
    for number in 0..CONVERSATIONS {
        let answer = server.request("GET", &format!("/conversations/c{number}"), Some(key), None);
        match answer.status {
            200 => model.holds.insert(number, answer.json()["messages"][0]["id"] != "none"),
            _ => model.holds.remove(&number),
        };
    }
}

/// Every conversation exists, so that every event meets its own.
fn begin(server: &Server, key: &str, model: &mut Model) {
    for number in 0..CONVERSATIONS {
        if !model.holds.contains_key(&number) {
            server.expect_json(200, "POST", "/conversations", key, Some(&conversation(number, true)));
            holds_now(model, number, true);
        }
    }
}

#[test]
fn acknowledged_events_and_feedback_survive_kills() {
    let store = TempDir::new().expect("a folder");
    let key = create_key(store.path(), "api", "acme", Some("kill"), Some("bot"), &[]);
    let mut random = SmallRng::seed_from_u64(7);
    let mut model = Model::default();
    for round in 0..8 {
        // Sometimes everything stays in the log, sometimes flushes come all the time.
        let rows = if round % 2 == 0 { "100000".to_owned() } else { random.random_range(5..30).to_string() };
        let mut server = Server::start_on(store.path(), &["--flush-rows", &rows, "--flush-seconds", "600"]);
        verify(&server, &key, &model);
        begin(&server, &key, &mut model);
        for _ in 0..6 {
            begin(&server, &key, &mut model);
            assert!(change(&server, &key, &mut model, &mut random, 15));
            verify(&server, &key, &model);
        }
        server.kill();
    }
    let mut server = Server::start_on(store.path(), &[]);
    verify(&server, &key, &model);
    assert!(server.terminate().success());
    let server = Server::start_on(store.path(), &[]);
    verify(&server, &key, &model);
    assert!(!model.records.is_empty());
}

#[test]
fn a_crash_at_any_point_of_a_flush_loses_and_doubles_no_event() {
    let store = TempDir::new().expect("a folder");
    let key = create_key(store.path(), "api", "acme", Some("crash"), Some("bot"), &[]);
    let mut random = SmallRng::seed_from_u64(8);
    let mut model = Model::default();
    // Twice: the second time there are files whose rows are being replaced.
    for point in FAIL_POINTS.iter().chain(&FAIL_POINTS) {
        let mut server = Server::start_on(store.path(), &["--flush-seconds", "600"]);
        verify(&server, &key, &model);
        begin(&server, &key, &mut model);
        assert!(change(&server, &key, &mut model, &mut random, 20));
        // An empty log: what it held would start the flush, and so the crash, before the server answers.
        assert!(server.terminate().success());
        let arguments = ["--flush-rows", "15", "--flush-seconds", "600"];
        let Some(mut server) = Server::start_to_abort(store.path(), &arguments, point) else { continue };
        while change(&server, &key, &mut model, &mut random, 10) && server.is_running() {}
        let began = Instant::now();
        while server.is_running() {
            assert!(began.elapsed() < Duration::from_secs(20), "{point} was never reached");
            std::thread::sleep(Duration::from_millis(10));
        }
        let server = Server::start_on(store.path(), &["--flush-seconds", "600"]);
        let before = model.records.clone();
        relearn(&server, &key, &mut model);
        let same =
            |id: &String, record: &Record| model.records.get(id).is_some_and(|now| now.version == record.version);
        let changed = before.iter().filter(|(id, record)| !same(id, record)).count();
        // One change had no answer; a deletion takes at most the six records of a conversation with it.
        assert!(changed <= 6, "{changed} acknowledged records are not as they were after {point}");
        verify(&server, &key, &model);
    }
}
