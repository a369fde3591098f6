//! The commits are the only authority on what the store holds. The logs for other engines are made again from them;
//! a damaged commit line stops the start, and nothing is ever deleted by it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, create_key};

pub const TABLES: [&str; 5] = ["conversations", "messages", "semantic_threads", "events", "feedback"];
/// Long enough that a test's flushes are those at a stop.
const NO_FLUSH: [&str; 2] = ["--flush-seconds", "600"];
const FLUSHES: u64 = 4;

fn document(number: u64, version: u64) -> Value {
    let plan = ["free", "pro", "team"][number as usize % 3];
    json!({"id": format!("c-{number}"), "type": "openai", "createdAt": "2026-03-01T10:00:00Z",
        "properties": {"plan": plan, "version": version},
        "messages": [
            {"id": format!("m-{number}"), "role": "user", "content": format!("Question {number}?")},
            {"role": "assistant", "content": format!("Answer {version} to {number}.")}]})
}

/// One more file of each table, with rows of the files before replaced and deleted.
fn flush(store: &Path, key: &str, round: u64) {
    let mut server = Server::start_on(store, &NO_FLUSH);
    let post = |path: &str, body: Value| server.expect_json(200, "POST", path, key, Some(&body));
    for number in round * 20..round * 20 + 30 {
        post("/conversations", document(number, round));
    }
    for number in round * 20..round * 20 + 5 {
        let message = format!("m-{number}");
        post(
            "/events",
            json!({"id": format!("e-{number}"), "type": "click", "entityType": "message", "messageId": message}),
        );
        post("/feedback", json!({"id": format!("f-{number}"), "type": "positive", "messageId": message}));
    }
    server.expect_json(200, "DELETE", &format!("/conversations/c-{}", round * 20 + 3), key, None);
    assert!(server.terminate().success(), "{}", server.stderr());
}

fn make_store(store: &Path) -> String {
    let key = create_key(store, "api", "acme", Some("line"), Some("bot"), &[]);
    for round in 0..FLUSHES {
        flush(store, &key, round);
    }
    key
}

/// What every table answers.
fn answers(server: &Server, key: &str) -> Vec<String> {
    let count = json!({"type": "aggregation", "aggregation": "count"});
    let plan = json!({"field": "properties", "path": ["plan"]});
    let mut answers = vec![];
    for (view, body) in [
        (
            "conversations",
            json!({"select": [count], "groupBy": [plan], "orderBy": [{"field": "count", "direction": "asc"}]}),
        ),
        ("conversations", json!({"limit": 100_000})),
        ("semantic-threads", json!({"limit": 100_000})),
        ("events", json!({"limit": 100_000})),
        ("feedback", json!({"limit": 100_000})),
    ] {
        answers.push(server.expect_json(200, "POST", &format!("/query/{view}"), key, Some(&body)).to_string());
    }
    answers.push(server.expect_json(200, "GET", "/conversations/c-25", key, None).to_string());
    answers
}

/// Files below a folder, by path.
pub fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                // What is half written is nobody's.
                path if path.ends_with(".staging") => {}
                path if path.is_dir() => folders.push(path),
                path => {
                    let bytes = std::fs::read(&path).expect("read");
                    found.insert(path, bytes);
                }
            }
        }
    }
    found
}

/// The last objects of a folder, by name.
fn last(folder: &Path, count: usize) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = files(folder).into_keys().collect();
    assert!(names.len() > count, "{} holds {names:?}", folder.display());
    names.split_off(names.len() - count)
}

fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().expect("a folder");
    for (path, bytes) in files(from) {
        let target = to.path().join(path.strip_prefix(from).expect("below"));
        std::fs::create_dir_all(target.parent().expect("a parent")).expect("a folder");
        std::fs::write(target, bytes).expect("written");
    }
    to
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).expect("read");
    bytes[at] ^= 1;
    std::fs::write(file, bytes).expect("written");
}

#[test]
fn logs_for_other_engines_are_made_again() {
    let store = TempDir::new().expect("a folder");
    let key = make_store(store.path());
    let expected = answers(&Server::start_on(store.path(), &NO_FLUSH), &key);

    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("the log of conversations is gone", |store| {
            std::fs::rename(store.join("conversations/_delta_log"), store.join("moved")).expect("moved");
        }),
        ("the log of events is gone", |store| {
            std::fs::rename(store.join("events/_delta_log"), store.join("moved")).expect("moved");
        }),
        ("all logs are gone", |store| {
            for table in TABLES {
                std::fs::remove_dir_all(store.join(table).join("_delta_log")).expect("removed");
            }
        }),
        ("the newest versions of conversations are gone", |store| {
            last(&store.join("conversations/_delta_log"), 2)
                .iter()
                .for_each(|file| std::fs::remove_file(file).expect("removed"));
        }),
        ("a path in the newest version of conversations is another", |store| {
            let newest = last(&store.join("conversations/_delta_log"), 1).remove(0);
            let text = std::fs::read_to_string(&newest).expect("text");
            flip(&newest, text.find(".parquet").expect("an add") - 1);
        }),
        ("the newest versions of messages are gone", |store| {
            last(&store.join("messages/_delta_log"), 2)
                .iter()
                .for_each(|file| std::fs::remove_file(file).expect("removed"));
        }),
    ];
    for (what, damage) in damages {
        let copy = copy(store.path());
        let data: BTreeMap<_, _> = files(copy.path()).into_iter().filter(|(path, _)| is_data(path)).collect();
        damage(copy.path());
        let mut server = Server::start_on(copy.path(), &NO_FLUSH);
        assert_eq!(answers(&server, &key), expected, "{what}");
        // The next flush finds nothing in its way.
        server.expect_json(200, "POST", "/conversations", &key, Some(&document(1_000, 1)));
        assert!(server.terminate().success(), "{what}: {}", server.stderr());
        for table in TABLES {
            assert!(!files(&copy.path().join(table).join("_delta_log")).is_empty(), "{what}: no log of {table}");
        }
        let after = files(copy.path());
        assert!(data.iter().all(|(path, bytes)| after.get(path) == Some(bytes)), "{what}: a data file is gone");
        let server = Server::start_on(copy.path(), &NO_FLUSH);
        server.expect_json(200, "GET", "/conversations/c-1000", &key, None);
    }
}

fn is_data(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "parquet")
}

#[test]
fn a_damaged_commit_line_stops_the_start_and_deletes_nothing() {
    let store = TempDir::new().expect("a folder");
    let key = make_store(store.path());
    let expected = answers(&Server::start_on(store.path(), &NO_FLUSH), &key);

    type Damage = fn(&Path) -> PathBuf;
    let damages: [(&str, Damage); 5] = [
        ("all commits are gone", |store| {
            let first = files(&store.join("commits")).into_keys().next().expect("a commit");
            std::fs::remove_dir_all(store.join("commits")).expect("removed");
            first
        }),
        ("the newest commits are gone", |store| {
            // The last of all is that of the last start, which no log object names yet: without rows, nothing misses it.
            let newest = last(&store.join("commits"), 2);
            newest.iter().for_each(|file| std::fs::remove_file(file).expect("removed"));
            newest[0].clone()
        }),
        ("a commit in the middle is gone", |store| {
            let middle = last(&store.join("commits"), 3).remove(0);
            std::fs::remove_file(&middle).expect("removed");
            middle
        }),
        ("the newest commit is cut", |store| {
            let newest = last(&store.join("commits"), 1).remove(0);
            let bytes = std::fs::read(&newest).expect("read");
            std::fs::write(&newest, &bytes[..bytes.len() / 2]).expect("written");
            newest
        }),
        ("a bit of a commit is another", |store| {
            let middle = last(&store.join("commits"), 3).remove(0);
            flip(&middle, 70);
            middle
        }),
    ];
    for (what, damage) in damages {
        let damaged = copy(store.path());
        let whole = files(damaged.path());
        let object = damage(damaged.path());
        let before = files(damaged.path());
        for _ in 0..2 {
            let message =
                Server::attempt(damaged.path(), &NO_FLUSH).err().unwrap_or_else(|| panic!("{what}: it starts"));
            let name = object.file_name().expect("a name").to_string_lossy().into_owned();
            assert!(message.contains("commits"), "{what}: {message}");
            assert!(what == "all commits are gone" || message.contains(&name), "{what}: {message}");
        }
        let after = files(damaged.path());
        let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
        assert!(gone.is_empty(), "{what}: the start deleted {gone:?}");
        // Put back, it is whole again.
        for (path, bytes) in whole {
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, bytes).expect("written");
        }
        assert_eq!(answers(&Server::start_on(damaged.path(), &NO_FLUSH), &key), expected, "{what}");
    }
}

/// Copied folder by folder while documents come in and are flushed.
#[test]
fn a_copy_of_a_running_store_opens_at_one_commit_or_names_what_is_missing() {
    let store = TempDir::new().expect("a folder");
    let key = make_store(store.path());
    let server = Server::start_on(store.path(), &["--flush-rows", "20", "--flush-seconds", "1"]);
    let orders: [&[&str]; 4] = [
        &[
            "wal",
            "checkpoints",
            "commits",
            "sidecars",
            "conversations",
            "messages",
            "semantic_threads",
            "events",
            "feedback",
        ],
        &[
            "conversations",
            "messages",
            "semantic_threads",
            "events",
            "feedback",
            "sidecars",
            "commits",
            "checkpoints",
            "wal",
        ],
        &[
            "commits",
            "checkpoints",
            "conversations",
            "messages",
            "semantic_threads",
            "events",
            "feedback",
            "sidecars",
            "wal",
        ],
        &[
            "feedback",
            "events",
            "messages",
            "wal",
            "semantic_threads",
            "sidecars",
            "conversations",
            "checkpoints",
            "commits",
        ],
    ];
    let (mut opened, mut number) = (0, 10_000);
    let write = |number: &mut u64, count: u64| {
        for _ in 0..count {
            server.expect_json(200, "POST", "/conversations", &key, Some(&document(*number, 1)));
            *number += 1;
        }
    };
    write(&mut number, 60);
    for order in orders {
        let acknowledged = number;
        let to = TempDir::new().expect("a folder");
        let copy_of = |path: PathBuf, bytes: Vec<u8>| {
            let target = to.path().join(path.strip_prefix(store.path()).expect("below"));
            std::fs::create_dir_all(target.parent().expect("a parent")).expect("a folder");
            std::fs::write(target, bytes).expect("written");
        };
        for folder in order {
            write(&mut number, 25);
            std::thread::sleep(Duration::from_millis(300));
            files(&store.path().join(folder)).into_iter().for_each(|(path, bytes)| copy_of(path, bytes));
        }
        let rest = files(store.path()).into_iter().filter(|(path, _)| {
            let name = path.strip_prefix(store.path()).expect("below").iter().next().expect("a name").to_string_lossy();
            !order.contains(&name.as_ref()) && !["LOCK", "spill"].contains(&name.as_ref())
        });
        rest.for_each(|(path, bytes)| copy_of(path, bytes));
        match Server::attempt(to.path(), &NO_FLUSH) {
            Err(message) => {
                assert!(message.contains("missing") || message.contains("not there"), "{order:?}: {message}");
                let named = |path: &PathBuf| message.contains(&*path.file_name().expect("a name").to_string_lossy());
                let there = files(to.path());
                let missing = files(store.path()).into_keys().filter(|path| {
                    !there.contains_key(&to.path().join(path.strip_prefix(store.path()).expect("below")))
                });
                assert!(missing.into_iter().any(|path| named(&path)), "{order:?}: {message}");
            }
            Ok(mut copy) => {
                opened += 1;
                let select = json!({"select": [{"type": "aggregation", "aggregation": "count"},
                    {"type": "aggregation", "aggregation": "sum", "field": "messageCount"}],
                    "where": {"condition": {"field": "id", "operator": "gte", "value": "c-10000"}}});
                let counted = copy.expect_json(200, "POST", "/query/conversations", &key, Some(&select));
                let row = &counted["data"]["result"][0];
                let (rows, messages) = (row["count"].as_u64().expect("a count"), row["sum_messageCount"].as_f64());
                assert!(rows >= acknowledged - 10_000, "{order:?}: {rows} of {}", acknowledged - 10_000);
                assert_eq!(messages, Some(rows as f64 * 2.0), "{order:?}");
                for number in (10_000..acknowledged).step_by(7) {
                    copy.expect_json(200, "GET", &format!("/conversations/c-{number}"), &key, None);
                }
                copy.expect_json(200, "POST", "/conversations", &key, Some(&document(1, 99)));
                assert!(copy.terminate().success(), "{order:?}: {}", copy.stderr());
                let copy = Server::start_on(to.path(), &NO_FLUSH);
                copy.expect_json(200, "GET", "/conversations/c-1", &key, None);
            }
        }
    }
    assert!(opened > 0, "no copy opened");
}

/// What is deleted is in no commit and in no log for other engines, before as after.
#[test]
fn commits_and_logs_tell_nothing_of_the_rows_but_counts_and_times() {
    let store = TempDir::new().expect("a folder");
    let key = create_key(store.path(), "api", "acme", Some("line"), Some("bot"), &[]);
    let secrets = [
        "whisperedquestion",
        "whisperedanswer",
        "whisperedtitle",
        "whispered.example",
        "whispereddetail",
        "whispereduser",
        "whisperedsearch",
        "whisperedplan",
        "whisperedkey",
    ];
    let mut server = Server::start_on(store.path(), &NO_FLUSH);
    for number in 0..60 {
        let body = json!({"id": format!("c-{number}"), "type": "openai", "externalUrl": "https://whispered.example/1",
            "properties": {"plan": "whisperedplan", "whisperedkey": 1}, "userProperties": {"userId": "whispereduser"},
            "messages": [{"id": format!("m-{number}"), "role": "user", "content": "whisperedquestion"},
                {"role": "assistant", "content": "whisperedanswer", "links": [{"url": "https://whispered.example/2"}]}]});
        server.expect_json(200, "POST", "/conversations", &key, Some(&body));
    }
    server.expect_json(
        200,
        "POST",
        "/feedback",
        &key,
        Some(&json!({"type": "negative", "messageId": "m-1", "details": "whispereddetail"})),
    );
    server.expect_json(
        200,
        "POST",
        "/events",
        &key,
        Some(&json!({"type": "search", "entityType": "search", "searchQuery": "whisperedsearch"})),
    );
    server.expect_json(200, "PATCH", "/webapi/v2/conversations/c-2", &key, Some(&json!({"title": "whisperedtitle"})));
    assert!(server.terminate().success(), "{}", server.stderr());
    let mut server = Server::start_on(store.path(), &NO_FLUSH);
    for number in 0..60 {
        server.expect_json(200, "DELETE", &format!("/conversations/c-{number}"), &key, None);
    }
    assert!(server.terminate().success(), "{}", server.stderr());

    let mut read = 0;
    for (path, bytes) in files(store.path()) {
        let name = path.strip_prefix(store.path()).expect("below").to_string_lossy().into_owned();
        let text = if name.starts_with("commits") || name.starts_with("checkpoints") {
            let start = bytes.windows(4).position(|four| four == [0x28, 0xb5, 0x2f, 0xfd]).expect("zstd");
            String::from_utf8(zstd::decode_all(&bytes[start..]).expect("whole")).expect("text")
        } else if name.contains("_delta_log") {
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            continue;
        };
        read += 1;
        // A property's path names its column; nothing else of a document is told.
        let columns: &[&str] = &["whisperedkey"];
        for secret in secrets.iter().filter(|secret| !columns.contains(secret)) {
            assert!(!text.contains(secret), "{name} tells {secret}");
        }
    }
    assert!(read > 6, "{read} objects");
}

/// A flush costs what changed, however many there were before.
#[test]
fn logs_grow_with_what_changes() {
    let store = TempDir::new().expect("a folder");
    let key = create_key(store.path(), "api", "acme", Some("line"), Some("bot"), &[]);
    let server = Server::start_on(store.path(), &["--flush-rows", "12", "--flush-seconds", "600"]);
    let flushed = || files(&store.path().join("conversations/data")).len() as u64;
    let logs = |parts: &[&str]| {
        let all = files(store.path()).into_iter();
        let logs = all.filter(|(path, _)| parts.iter().any(|part| path.to_string_lossy().contains(part)));
        logs.fold((0, 0), |(count, bytes), (_, object)| (count + 1, bytes + object.len() as u64))
    };
    let all = ["/commits/", "/checkpoints/", "/_delta_log/", "deletion_vector"];
    let mut number = 0;
    let mut write_until = |flushes: u64| {
        let begin = Instant::now();
        while flushed() < flushes {
            assert!(begin.elapsed() < Duration::from_secs(240), "{} of {flushes} flushes", flushed());
            for _ in 0..12 {
                // Each fifth replaces one of before.
                let id = if number % 5 == 4 { number / 2 } else { number };
                server.expect_json(200, "POST", "/conversations", &key, Some(&document(id, number)));
                number += 1;
            }
        }
        // The logs for other engines come behind.
        std::thread::sleep(Duration::from_millis(2_500));
        (flushed(), logs(&all[..1]), logs(&all))
    };
    let flushes = std::env::var("CONVOLAKE_FLUSHES").ok().and_then(|text| text.parse().ok()).unwrap_or(80);
    let (first, (_, first_commits), (first_objects, first_bytes)) = write_until(flushes / 2);
    let (second, (_, commits), (objects, bytes)) = write_until(flushes);
    println!("{first} flushes: {first_objects} objects, {first_bytes} bytes; {second}: {objects}, {bytes}");
    let growth = |from: u64, to: u64| {
        let (before, after) = (from as f64 / first as f64, (to - from) as f64 / (second - first) as f64);
        after / before
    };
    let of_commits = growth(first_commits, commits);
    assert!(of_commits <= 1.2, "commits of the second half have {of_commits:.2} times the bytes of the first");
    // How many flushes a version for other engines takes together depends on the time that they take.
    let (of_all, most) = (growth(first_bytes, bytes), if flushes >= 500 { 1.2 } else { 1.6 });
    assert!(of_all <= most, "logs of the second half have {of_all:.2} times the bytes of the first");
    let each = (objects - first_objects) as f64 / (second - first) as f64;
    assert!(each <= 4.0, "{each:.1} objects a flush beside data files and sidecars");
}
