//! What is deleted is gone from every object of the store within the deadline, and `convolake check --absent` proves it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{BINARY, Server, create_key, run};

/// In every text of what is erased.
const SECRET: &str = "Zw\u{f6}lf-Secrets";
const WITHIN: [&str; 4] = ["--erase-within", "4s", "--flush-rows", "10"];
/// Debug builds beside other tests.
const PATIENCE: Duration = Duration::from_secs(90);

/// What `check --absent` says of a text: its exit status, and its output.
fn check(store: &Path, text: &str) -> (Option<i32>, String) {
    let output =
        Command::new(BINARY).args(["check", "--absent", text, "--store"]).arg(store).output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

pub fn wait_until_absent(server: &Server, store: &Path, text: &str) {
    let begin = Instant::now();
    loop {
        let (status, said) = check(store, text);
        if status == Some(0) {
            assert!(said.contains("absent: "), "{said}");
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{text:?} is still there: {said}\n{}", server.stderr());
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn files_of(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(files_of(&path)) } else { files.push(path) }
    }
    files
}

/// As `grep -r` would.
fn grep(folder: &Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut files = files_of(folder);
    files.retain(|file| {
        let bytes = std::fs::read(file).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    });
    files
}

fn conversation(id: &str, text: &str) -> Value {
    json!({
        "id": id, "type": "openai", "externalId": format!("x-{id}"), "tags": [text],
        "properties": {"note": text, text: {"deep": text}}, "userProperties": {"userId": format!("u-{text}"), "name": text},
        "messages": [
            {"id": format!("m-{id}"), "role": "user", "content": format!("how does {text} work?")},
            {"role": "assistant", "content": format!("like {text}"), "links": [{"url": format!("https://e.org/{text}")}]},
        ],
    })
}

struct Fixture {
    store: TempDir,
    key: String,
}

impl Fixture {
    fn new() -> Fixture {
        let store = TempDir::new().expect("a folder");
        let key = create_key(store.path(), "api", "acme", Some("erase"), Some("bot"), &[]);
        Fixture { store, key }
    }

    fn start(&self, arguments: &[&str]) -> Server {
        Server::start_on(self.store.path(), arguments)
    }

    fn post(&self, server: &Server, path: &str, body: &Value) -> Value {
        server.expect_json(200, "POST", path, &self.key, Some(body))
    }

    /// Enough others to be flushed.
    fn fill(&self, server: &Server, name: &str) {
        for number in 0..12 {
            self.post(server, "/conversations", &conversation(&format!("{name}-{number}"), "nothing special"));
        }
    }

    fn count(&self, server: &Server) -> i64 {
        let body = json!({"select": [{"type": "aggregation", "aggregation": "count"}]});
        let answer = self.post(server, "/query/conversations", &body);
        answer["data"]["result"][0]["count"].as_i64().unwrap_or_else(|| panic!("{answer}"))
    }
}

/// Earlier versions, events, feedback, indexes, the log: all of it holds the text before and none of it after.
#[test]
fn what_is_deleted_is_gone_from_every_object_in_time() {
    let fixture = Fixture::new();
    let store = fixture.store.path();
    let server = fixture.start(&WITHIN);
    let id = "c-secret";
    fixture.post(&server, "/conversations", &conversation(id, SECRET));
    fixture.fill(&server, "a");
    // An earlier version in a file, one that a later one replaces there, and the last in memory.
    for version in 0..3 {
        fixture.post(&server, "/conversations", &conversation(id, &format!("{SECRET} {version}")));
        if version < 2 {
            fixture.fill(&server, &format!("b{version}"));
        }
    }
    let of_message = json!({"id": "e-secret", "type": SECRET, "entityType": "message", "messageId": format!("m-{id}"),
        "properties": {"note": SECRET}});
    fixture.post(&server, "/events", &of_message);
    let feedback = json!({"id": "f-secret", "type": "negative", "messageId": format!("m-{id}"), "details": SECRET});
    fixture.post(&server, "/feedback", &feedback);
    let (status, said) = check(store, SECRET);
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("found in conversations/data/") && said.contains("found in wal/"), "{said}");
    let before = fixture.count(&server);
    server.expect_json(200, "DELETE", &format!("/conversations/{id}"), &fixture.key, None);
    assert_eq!(fixture.count(&server), before - 1);
    for text in [SECRET, id, "e-secret", "f-secret"] {
        wait_until_absent(&server, store, text);
        assert_eq!(grep(store, text), Vec::<std::path::PathBuf>::new());
    }
    assert_eq!(fixture.count(&server), before - 1);
    // It may come again.
    fixture.post(&server, "/conversations", &conversation(id, SECRET));
    assert_eq!(check(store, SECRET).0, Some(3));
}

/// A user's conversation in an old file of many others, its later versions, its events; the server is killed again and
/// again on the way.
#[test]
fn an_erasure_ends_though_the_server_is_killed() {
    let fixture = Fixture::new();
    let store = fixture.store.path();
    let mut random = SmallRng::seed_from_u64(5);
    let server = fixture.start(&WITHIN);
    fixture.post(&server, "/conversations", &conversation("c-secret", SECRET));
    for round in 0..3 {
        fixture.fill(&server, &format!("k{round}"));
        fixture.post(&server, "/conversations", &conversation("c-secret", SECRET));
    }
    let of_search = json!({"id": "e-secret", "type": "search", "entityType": "search", "searchQuery": SECRET,
        "userProperties": {"userId": format!("u-{SECRET}")}});
    fixture.post(&server, "/events", &of_search);
    let before = fixture.count(&server);
    let asked = fixture.post(&server, "/erase", &json!({"userId": format!("u-{SECRET}")}));
    assert_eq!((&asked["conversations"], &asked["events"], &asked["state"]), (&json!(1), &json!(1), &json!("hidden")));
    let id = asked["id"].as_str().expect("an id").to_owned();
    drop(server);
    for kill in 0..rounds() {
        let server = fixture.start(&WITHIN);
        assert_eq!(fixture.count(&server), before - 1, "kill {kill}");
        std::thread::sleep(Duration::from_millis(random.random_range(0..1_500)));
        // Killed by its drop.
    }
    let server = fixture.start(&WITHIN);
    wait_until_erased(&server, &fixture.key, &id, PATIENCE);
    for text in [SECRET, "c-secret", "e-secret"] {
        let (status, said) = check(store, text);
        assert_eq!(status, Some(0), "{text}: {said}");
        assert_eq!(grep(store, text), Vec::<std::path::PathBuf>::new());
    }
    assert_eq!(fixture.count(&server), before - 1);
    assert_eq!(server.expect_json(404, "GET", "/conversations/c-secret", &fixture.key, None)["status"], 404);
}

/// A user who is erased goes on meanwhile: what was acknowledged before is gone, what came after stays.
#[test]
fn a_user_is_erased_who_keeps_writing() {
    let fixture = Fixture::new();
    let store = fixture.store.path();
    let server = fixture.start(&WITHIN);
    let user = format!("u-{SECRET}");
    let asked = std::sync::atomic::AtomicU8::new(0);
    let stage = || asked.load(std::sync::atomic::Ordering::SeqCst);
    let (before, after, answer) = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let (mut before, mut after) = (Vec::new(), Vec::new());
            for number in 0..2_000 {
                let begun = stage();
                if begun == 3 {
                    break;
                }
                let (id, text) = (format!("w-{number}"), format!("{SECRET} {number}."));
                let mut document = conversation(&id, &text);
                document["userProperties"] = json!({"userId": user});
                fixture.post(&server, "/conversations", &document);
                // Between the two it may be either.
                match (begun, stage()) {
                    (0, 0) => before.push((id, text)),
                    (2, _) => after.push((id, text)),
                    _ => {}
                }
            }
            (before, after)
        });
        let wait = || std::thread::sleep(Duration::from_millis(700));
        let go = |stage: u8| asked.store(stage, std::sync::atomic::Ordering::SeqCst);
        wait();
        go(1);
        let answer = fixture.post(&server, "/erase", &json!({"userId": user}));
        go(2);
        wait();
        go(3);
        let (before, after) = writing.join().expect("it writes");
        (before, after, answer)
    });
    assert!(before.len() > 5 && after.len() > 5, "{} before, {} after", before.len(), after.len());
    assert!(answer["conversations"].as_u64() >= Some(before.len() as u64), "{answer}");
    wait_until_erased(&server, &fixture.key, answer["id"].as_str().expect("an id"), PATIENCE);
    for (id, text) in before.iter().step_by((before.len() / 3).max(1)) {
        let (status, said) = check(store, text);
        assert_eq!(status, Some(0), "{id}: {said}");
    }
    for (id, _) in &before {
        assert_eq!(server.request("GET", &format!("/conversations/{id}"), Some(&fixture.key), None).status, 404);
    }
    for (id, _) in &after {
        server.expect_json(200, "GET", &format!("/conversations/{id}"), &fixture.key, None);
    }
}

/// What is older than its project keeps it goes by itself, and as a deletion does.
#[test]
fn what_is_too_old_is_gone_from_every_object() {
    let fixture = Fixture::new();
    let store = fixture.store.path();
    let org = create_key(store, "org", "acme", None, None, &[]);
    let server = fixture.start(&WITHIN);
    let mut old = conversation("c-secret", SECRET);
    old["createdAt"] = json!("2020-01-01T00:00:00Z");
    fixture.post(&server, "/conversations", &old);
    fixture.fill(&server, "a");
    fixture.post(&server, "/conversations", &old);
    // Dropped feedback is in no list, and goes all the same.
    let feedback = json!({"id": "f-secret", "type": "negative", "messageId": "m-a-1", "details": SECRET,
        "createdAt": "2020-01-01T00:00:00Z"});
    fixture.post(&server, "/feedback", &feedback);
    let without = json!({"id": "a-1", "type": "openai", "messages": [{"id": "other", "role": "user", "content": "x"}]});
    fixture.post(&server, "/conversations", &without);
    let event = json!({"id": "e-secret", "type": "search", "entityType": "search", "searchQuery": SECRET,
        "createdAt": "2020-01-01T00:00:00Z"});
    fixture.post(&server, "/events", &event);
    let before = fixture.count(&server);
    server.expect_json(200, "PUT", "/projects/erase", &org, Some(&json!({"maxAge": "365d"})));
    for text in [SECRET, "c-secret", "f-secret", "e-secret"] {
        wait_until_absent(&server, store, text);
        assert_eq!(grep(store, text), Vec::<std::path::PathBuf>::new());
    }
    assert_eq!(fixture.count(&server), before - 1);
}

/// `CONVOLAKE_KILL_ROUNDS` overrides the number of rounds.
fn rounds() -> u64 {
    std::env::var("CONVOLAKE_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

fn wait_until_erased(server: &Server, key: &str, id: &str, patience: Duration) {
    let begin = Instant::now();
    while server.expect_json(200, "GET", &format!("/erase/{id}"), key, None)["state"] != "erased" {
        assert!(begin.elapsed() < patience, "it is still hidden only\n{}", server.stderr());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One row of a large file. `CONVOLAKE_ERASURE_ROWS` overrides the number of rows, of 1,500 bytes each: with 700,000 it
/// is the file of 1 GB of JSON.
#[test]
fn one_row_of_a_large_file_is_erased() {
    let rows = std::env::var("CONVOLAKE_ERASURE_ROWS").unwrap_or_else(|_| "12000".to_owned());
    let fixture = Fixture::new();
    let store = fixture.store.path();
    let folder = TempDir::new().expect("a folder");
    let input = folder.path().join("large.ndjson");
    let mut lines = run(&["sample", "--rows", &rows]);
    lines.push_str(&format!("{}\n", conversation("c-secret", SECRET)));
    std::fs::write(&input, &lines).expect("written");
    run(&[
        "import",
        "--store",
        store.to_str().expect("UTF-8"),
        "--organization",
        "acme",
        "--project",
        "erase",
        "--integration",
        "bot",
        input.to_str().expect("UTF-8"),
    ]);
    assert!(check(store, SECRET).1.contains("found in conversations/data/"));
    let server = fixture.start(&WITHIN);
    let before = fixture.count(&server);
    let asked = fixture.post(&server, "/erase", &json!({"conversationIds": ["c-secret"]}));
    // A file of 1 GB is written again in minutes by a debug build.
    let patience = PATIENCE.max(Duration::from_millis(2 * rows.parse::<u64>().expect("a number")));
    wait_until_erased(&server, &fixture.key, asked["id"].as_str().expect("an id"), patience);
    for text in [SECRET, "c-secret"] {
        let (status, said) = check(store, text);
        assert_eq!(status, Some(0), "{text}: {said}");
    }
    assert_eq!(fixture.count(&server), before - 1);
}
