//! Stores that older versions have made, in `tests/stores/`: every version opens them, answers as their makers did, and
//! goes on with them.
//!
//! A new one is made where what lies in a store has changed: `CONVOLAKE_MAKE_STORE=tests/stores/N cargo test --test
//! durability stores`. It holds files of several flushes and of an import, rows that were replaced, deleted and annotated, text indexes, and a
//! log beyond the files. Its keys are made for it and open nothing else.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, create_key, run};

/// What is in memory stays there until the stop.
const NO_FLUSH: [&str; 2] = ["--flush-seconds", "600"];
const CONVERSATIONS: u64 = 60;
/// The key, the questions and the answers, as JSON.
const EXPECTED: &str = "expected.json.zst";

fn document(number: u64, version: u64) -> Value {
    let plan = ["free", "pro", "team"][number as usize % 3];
    json!({"id": format!("c-{number}"), "externalId": format!("x-{number}"),
        "type": (if number.is_multiple_of(4) { "support_ticket" } else { "openai" }),
        "createdAt": format!("2026-03-{:02}T10:00:00Z", 1 + number % 28), "tags": [plan, "all"],
        "properties": {"plan": plan, "version": version, "score": 0.25 * number as f64, "deep": {"rare": [number, null]}},
        "userProperties": {"userId": format!("u-{}", number % 7), "vip": number.is_multiple_of(2)},
        "messages": [
            {"id": format!("m-{number}"), "role": "user", "content": format!("Where is door {number}?"),
                "createdAt": format!("2026-03-{:02}T10:00:01Z", 1 + number % 28)},
            {"role": "assistant", "content": format!("Door {number} is in house {version}."),
                "links": [{"url": "https://example.org/doors", "title": "Doors"}],
                "createdAt": format!("2026-03-{:02}T10:00:05Z", 1 + number % 28)}]})
}

fn post(server: &Server, key: &str, path: &str, body: Value) -> Value {
    server.expect_json(200, "POST", path, key, Some(&body))
}

fn event(number: u64) -> Value {
    match number % 3 {
        0 => json!({"id": format!("e-{number}"), "type": "search", "entityType": "search",
            "searchQuery": format!("door {}", number % 4), "createdAt": "2026-03-02T00:00:00Z",
            "userProperties": {"userId": "u-1"}}),
        1 => json!({"id": format!("e-{number}"), "type": "open", "entityType": "conversation",
            "conversationId": format!("c-{number}"), "createdAt": "2026-03-03T00:00:00Z"}),
        _ => json!({"id": format!("e-{number}"), "type": "click", "entityType": "message",
            "messageId": format!("m-{number}"), "createdAt": "2026-03-04T00:00:00Z", "properties": {"at": number}}),
    }
}

fn feedback(number: u64) -> Value {
    let kind = if number.is_multiple_of(2) { "positive" } else { "negative" };
    json!({"id": format!("f-{number}"), "type": kind, "messageId": format!("m-{number}"), "details": "As I thought",
        "reasons": [{"label": "clear", "details": "yes"}], "createdAt": "2026-03-05T00:00:00Z"})
}

/// All that is asked of a store.
fn questions() -> Vec<(&'static str, String, Value)> {
    let count = json!({"type": "aggregation", "aggregation": "count"});
    let by = |path: &str| json!({"field": "properties", "path": [path]});
    let ordered = |field: &str| json!({"orderBy": [{"field": field, "direction": "asc"}], "limit": 1_000});
    let average = json!({"type": "aggregation", "aggregation": "avg", "field": "properties", "path": ["score"]});
    let grouped = json!({"select": [count, average], "groupBy": [by("plan")],
        "orderBy": [{"field": "properties.plan", "direction": "asc"}]});
    let rare = json!({"select": [count], "where": {"condition": {"field": "properties", "operator": "jsonContains",
        "value": {"deep": {"rare": [7]}}}}});
    let fields = ["id", "title", "state", "assignee", "categories", "tags", "externalId", "durationMs", "user"];
    let fields: Vec<Value> = fields.iter().map(|field| json!({"type": "field", "field": field})).collect();
    let annotated = json!({"select": fields, "orderBy": [{"field": "id", "direction": "asc"}], "limit": 1_000});
    let post = |path: &str, body: Value| ("POST", path.to_owned(), body);
    let get = |path: String| ("GET", path, Value::Null);
    let mut all = vec![
        post("/query/conversations", ordered("id")),
        post("/query/conversations", grouped),
        post("/query/conversations", rare),
        post("/query/conversations", annotated),
        post("/query/semantic-threads", ordered("id")),
        post("/query/semantic-threads", json!({"query": "door 12", "orderBy": [{"field": "id", "direction": "asc"}]})),
        post("/query/events", ordered("id")),
        post("/query/feedback", ordered("id")),
        post("/query/property-keys", json!({"field": "properties"})),
        get("/query/top-search-queries".to_owned()),
        get("/conversations?limit=100".to_owned()),
        get("/webapi/v2/conversation_categories".to_owned()),
        get("/webapi/v2/conversations?searchTerm=house%203&order=CREATED_AT_ASC".to_owned()),
        get("/webapi/v2/conversations/c-5".to_owned()),
        get("/conversations/external/x-8".to_owned()),
    ];
    all.extend([1, 5, 9, 22, 31, 44, 52].map(|number| get(format!("/conversations/c-{number}"))));
    all.extend([2, 5].map(|number| get(format!("/feedback/f-{number}"))));
    all
}

/// Those of the rows that a test has not changed; cursors differ from server to server.
fn answers(server: &Server, key: &str) -> Vec<Value> {
    let ask = |(method, path, body): (&str, String, Value)| {
        let body = (!body.is_null()).then_some(body);
        let mut answer = server.expect_json(200, method, &path, key, body.as_ref());
        if let Some(answer) = answer.as_object_mut() {
            answer.remove("cursor");
        }
        json!({"method": method, "path": path, "body": body, "answer": answer})
    };
    questions().into_iter().map(ask).collect()
}

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores");
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("read").flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else {
            std::fs::copy(&source, &target).expect("copied");
        }
    }
}

fn count_of(folder: &Path) -> usize {
    std::fs::read_dir(folder).into_iter().flatten().count()
}

#[test]
fn stores_of_older_versions_answer_and_go_on() {
    let folders = folders();
    assert!(!folders.is_empty(), "there is no store in tests/stores");
    for folder in folders {
        let name = folder.display();
        let packed = std::fs::read(folder.join(EXPECTED)).expect("the answers");
        let expected: Value = serde_json::from_slice(&zstd::decode_all(&*packed).expect("zstd")).expect("JSON");
        let key = expected["key"].as_str().expect("a key");
        let expected = expected["answers"].as_array().expect("answers");
        let store = TempDir::new().expect("a folder");
        copy(&folder.join("store"), store.path());
        // As it is, after a kill, and out of files that this version has written.
        for stop in [false, true, true] {
            let mut server = Server::start_on(store.path(), &NO_FLUSH);
            for (found, expected) in answers(&server, key).iter().zip(expected) {
                assert_eq!(found, expected, "{name}");
            }
            if stop {
                assert!(server.terminate().success(), "{}", server.stderr());
            } else {
                server.kill();
            }
        }

        let mut server = Server::start_on(store.path(), &NO_FLUSH);
        for number in [3, CONVERSATIONS + 1] {
            post(&server, key, "/conversations", document(number, 9));
        }
        post(&server, key, "/events", event(2));
        post(&server, key, "/feedback", feedback(3));
        server.expect_json(200, "DELETE", "/conversations/c-31", key, None);
        let count = |server: &Server| {
            let count = json!({"select": [{"type": "aggregation", "aggregation": "count"}]});
            post(server, key, "/query/conversations", count)["data"]["result"][0]["count"].clone()
        };
        let before = expected[0]["answer"]["data"]["total"].as_u64().expect("a total");
        for _ in 0..2 {
            assert_eq!(count(&server), json!(before), "{name}: one is new, one is gone");
            let changed = server.expect_json(200, "GET", "/conversations/c-3", key, None);
            assert_eq!(changed["properties"]["version"], json!(9), "{name}");
            assert_eq!(server.request("GET", "/conversations/c-31", Some(key), None).status, 404, "{name}");
            server.expect_json(200, "GET", "/feedback/f-3", key, None);
            let untouched = server.expect_json(200, "GET", "/conversations/c-44", key, None);
            let known = expected.iter().find(|one| one["path"] == "/conversations/c-44").expect("asked");
            assert_eq!(untouched, known["answer"], "{name}");
            assert!(server.terminate().success(), "{}", server.stderr());
            server = Server::start_on(store.path(), &NO_FLUSH);
        }
    }
}

#[test]
fn make_a_store() {
    let Ok(folder) = std::env::var("CONVOLAKE_MAKE_STORE") else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let store = folder.join("store");
    assert!(!folder.exists(), "{} is there already", folder.display());
    std::fs::create_dir_all(&store).expect("a folder");
    let key = create_key(&store, "api", "acme", Some("aged"), Some("bot"), &[]);
    let web = create_key(&store, "web", "acme", Some("aged"), Some("page"), &[]);

    let input = TempDir::new().expect("a folder");
    let lines: String = (0..20).map(|number| format!("{}\n", document(number, 0))).collect();
    std::fs::write(input.path().join("in.ndjson"), lines).expect("written");
    let (input, path) = (input.path().join("in.ndjson"), store.to_str().expect("UTF-8"));
    let input = input.to_str().expect("UTF-8");
    run(&["import", "--organization", "acme", "--project", "aged", "--store", path, input]);

    for round in 1..=2_u64 {
        let mut server = Server::start_on(&store, &NO_FLUSH);
        for number in round * 18..round * 18 + 22 {
            let sender = if number.is_multiple_of(5) { &web } else { &key };
            post(&server, sender, "/conversations", document(number, round));
        }
        for number in (round - 1) * 6..round * 6 {
            post(&server, &key, "/events", event(number));
            post(&server, &key, "/feedback", feedback(number));
        }
        server.expect_json(200, "DELETE", &format!("/conversations/c-{}", round * 18 + 1), &key, None);
        assert!(server.terminate().success(), "{}", server.stderr());
    }

    // An index for each file of conversations.
    let mut server = Server::start_on(&store, &NO_FLUSH);
    let started = Instant::now();
    while count_of(&store.join("text_index")) < count_of(&store.join("conversations/data")) {
        assert!(started.elapsed() < Duration::from_secs(60), "no text indexes");
        std::thread::sleep(Duration::from_millis(100));
    }
    let category = post(&server, &key, "/webapi/v2/conversation_categories", json!({"name": "Doors"}));
    let change = json!({"title": "A door", "state": "open", "assignee": "kim@example.org", "categoryIds": [category["categoryId"]]});
    for number in [5, 22] {
        server.expect_json(200, "PUT", &format!("/webapi/v2/conversations/c-{number}"), &key, Some(&change));
    }
    let threads =
        post(&server, &key, "/query/semantic-threads", json!({"orderBy": [{"field": "id", "direction": "asc"}]}));
    let thread = threads["data"]["result"][4]["id"].as_str().expect("a thread").to_owned();
    let said = json!({"isOnTopic": true, "subject": "doors", "firstPartyEntities": ["door"]});
    server.expect_json(200, "PATCH", &format!("/semantic-threads/{thread}"), &key, Some(&said));
    assert!(server.terminate().success(), "{}", server.stderr());

    // Only in the log.
    let mut server = Server::start_on(&store, &NO_FLUSH);
    for number in [8, 44, 52] {
        post(&server, &key, "/conversations", document(number, 3));
    }
    post(&server, &key, "/events", event(13));
    server.expect_json(200, "DELETE", "/conversations/c-30", &key, None);
    let answers = answers(&server, &key);
    server.kill();

    // What is made again where it is missing, so that the store is small: the logs for other engines, and all text
    // indexes but one.
    let _ = std::fs::remove_file(store.join("LOCK"));
    let tables = ["conversations", "messages", "semantic_threads", "events", "feedback"];
    let logs = tables.map(|table| store.join(table).join("_delta_log"));
    logs.into_iter().chain([store.join(".staging"), store.join("spill")]).for_each(|folder| {
        let _ = std::fs::remove_dir_all(folder);
    });
    for index in std::fs::read_dir(store.join("text_index")).expect("read").flatten().skip(1) {
        std::fs::remove_file(index.path()).expect("removed");
    }
    let expected = json!({"key": key, "answers": answers}).to_string();
    let packed = zstd::encode_all(expected.as_bytes(), 19).expect("zstd");
    std::fs::write(folder.join(EXPECTED), packed).expect("written");
}
