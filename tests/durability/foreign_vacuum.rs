//! A vacuum of another engine that does not know our feature: what no version of a table names is gone from the table's
//! folder. The server answers as before, and what is derived goes on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::commit_line::{TABLES, files};
use crate::foreign_questions::{ARGUMENTS, last_answers, own_answers, write};
use crate::support::{Server, create_key};

const PATIENCE: Duration = Duration::from_secs(120);
/// In a debug build beside other tests.
const LOG_DELAY: Duration = Duration::from_secs(20);

/// The file name of a deletion vector whose name is a UUID in z85.
fn vector_name(text: &str) -> String {
    const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let digit = |byte: &u8| DIGITS.iter().position(|digit| digit == byte).expect("z85") as u32;
    let text = &text.as_bytes()[text.len() - 20..];
    let bytes: Vec<u8> =
        text.chunks(5).flat_map(|five| five.iter().fold(0, |sum, byte| sum * 85 + digit(byte)).to_be_bytes()).collect();
    format!("deletion_vector_{}.bin", uuid::Uuid::from_slice(&bytes).expect("a uuid"))
}

/// What the newest version of a table's log names, replayed from its first.
fn named(table: &Path) -> BTreeSet<PathBuf> {
    let mut adds: Vec<Value> = Vec::new();
    let key = |action: &Value| (action["path"].clone(), action["deletionVector"]["pathOrInlineDv"].clone());
    let versions = files(&table.join("_delta_log"));
    let versions = versions.iter().filter(|(path, _)| path.extension().is_some_and(|ending| ending == "json"));
    for (number, (path, bytes)) in versions.enumerate() {
        assert!(path.ends_with(format!("{number:020}.json")), "{} is not the next version", path.display());
        for line in String::from_utf8_lossy(bytes).lines() {
            let action: Value = serde_json::from_str(line).expect("JSON");
            if action["remove"].is_object() {
                adds.retain(|add| key(add) != key(&action["remove"]));
            } else if action["add"].is_object() {
                adds.push(action["add"].clone());
            }
        }
    }
    let mut named = BTreeSet::new();
    for add in adds {
        named.insert(table.join(add["path"].as_str().expect("a path")));
        let vector = &add["deletionVector"];
        if vector["storageType"] == "u" {
            named.insert(table.join(vector_name(vector["pathOrInlineDv"].as_str().expect("a name"))));
        }
    }
    named
}

/// Of files younger than the retention none goes, as Delta has it. Gives how many went.
fn vacuum(store: &Path, retention: Duration) -> usize {
    let mut gone = 0;
    for table in TABLES {
        let table = store.join(table);
        let named = named(&table);
        let (there, log) = (files(&table), table.join("_delta_log"));
        let missing: Vec<_> = named.iter().filter(|path| !there.contains_key(*path)).collect();
        assert!(missing.is_empty(), "the log names {missing:?}");
        let old = |path: &Path| {
            let written = path.metadata().and_then(|metadata| metadata.modified()).expect("a time");
            written.elapsed().is_ok_and(|age| age >= retention)
        };
        let unnamed = there.keys().filter(|path| !path.starts_with(&log) && !named.contains(*path));
        for path in unnamed.filter(|path| old(path)) {
            std::fs::remove_file(path).expect("removed");
            gone += 1;
        }
    }
    gone
}

#[test]
fn a_vacuum_of_another_engine_harms_nothing() {
    let folder = TempDir::new().expect("a folder");
    let store = folder.path();
    let key = create_key(store, "api", "acme", Some("vacuum"), Some("bot"), &[]);
    let server = Server::start_on(store, &ARGUMENTS);
    write(&server, &key, 0..10);
    let begin = Instant::now();
    while !server.stderr().contains("files are merged") {
        assert!(begin.elapsed() < PATIENCE, "no files are merged: {}", server.stderr());
        std::thread::sleep(Duration::from_millis(100));
    }
    let own = last_answers(server, &key);
    // What was merged is still there for queries of before; the vacuum takes it, and vectors of before.
    let gone = vacuum(store, Duration::ZERO);
    assert!(gone > 5, "{gone} files are gone");
    let server = Server::start_on(store, &ARGUMENTS);
    assert_eq!(own_answers(&server, &key), own);
    // Beside a server that runs, which then goes on. The logs are some seconds behind it.
    std::thread::sleep(LOG_DELAY);
    vacuum(store, LOG_DELAY);
    assert_eq!(own_answers(&server, &key), own);
    write(&server, &key, 10..13);
    let own = last_answers(server, &key);
    vacuum(store, Duration::ZERO);
    // Even what a vacuum leaves: every vector and every log.
    for table in TABLES {
        let table = store.join(table);
        for path in files(&table).keys().filter(|path| !path.starts_with(table.join("data"))) {
            std::fs::remove_file(path).expect("removed");
        }
    }
    let server = Server::start_on(store, &ARGUMENTS);
    assert_eq!(last_answers(server, &key), own);
    for table in TABLES {
        assert!(!files(&store.join(table).join("_delta_log")).is_empty(), "no log of {table} is made again");
    }
}
