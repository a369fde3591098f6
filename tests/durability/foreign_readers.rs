//! The tables are read by `deltalake` and `polars`, deletion vectors included: same rows, same values.
//!
//! Needs a Python with both, named by `CONVOLAKE_PYTHON`; skips visibly without.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, create_key};
use crate::writers::document;

#[test]
fn other_readers_find_the_same_rows_and_values() {
    let Some(python) = std::env::var_os("CONVOLAKE_PYTHON") else {
        eprintln!("SKIPPED: CONVOLAKE_PYTHON names no Python with deltalake and polars");
        println!("SKIPPED: CONVOLAKE_PYTHON names no Python with deltalake and polars");
        return;
    };
    let store = TempDir::new().expect("a folder");
    let key = create_key(store.path(), "api", "acme", Some("foreign"), Some("bot"), &[]);
    let mut server = Server::start_on(store.path(), &["--flush-rows", "40", "--flush-seconds", "1"]);
    let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
    for number in 0..260_u64 {
        // Later rounds replace rows of earlier files.
        let id = format!("f-{}", number % 150);
        server.expect_json(200, "POST", "/conversations", &key, Some(&document(&id, number + 1)));
        wanted.insert(id, number + 1);
    }
    for number in (0..150).step_by(7) {
        let id = format!("f-{number}");
        server.expect_json(200, "DELETE", &format!("/conversations/{id}"), &key, None);
        wanted.remove(&id);
    }
    for number in 0..60 {
        let id = format!("e-{}", number % 50);
        let event = json!({"id": id, "type": "search", "entityType": "search", "searchQuery": "q"});
        server.expect_json(200, "POST", "/events", &key, Some(&event));
    }
    assert!(server.terminate().success(), "{}", server.stderr());

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign_readers.py");
    let output = Command::new(python).arg(script).arg(store.path()).output().expect("the script runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).expect("JSON from the script");
    for reader in ["deltalake", "polars"] {
        let table = |name: &str| {
            let rows = read[name][reader]["data"].as_array();
            rows.unwrap_or_else(|| panic!("{reader} read no {name}: {read}")).clone()
        };
        let rows = table("conversations");
        let found: BTreeMap<String, u64> = rows
            .iter()
            .map(|row| {
                let properties: Value = serde_json::from_str(row["properties"].as_str().expect("text")).expect("JSON");
                let version = properties["version"].as_u64().expect("a version");
                assert_eq!(row["projectId"], json!("foreign"));
                assert_eq!(row["messageCount"].as_u64(), Some(1 + version % 4));
                (row["id"].as_str().expect("an id").to_owned(), version)
            })
            .collect();
        assert_eq!(found.len(), rows.len(), "{reader} sees a conversation twice");
        assert_eq!(found, wanted, "{reader} sees other conversations");
        let events: BTreeSet<String> = table("events").iter().map(|row| row["id"].to_string()).collect();
        assert_eq!((events.len(), table("events").len()), (50, 50), "{reader} sees other events");
        let messages = table("messages");
        let wanted_messages: u64 = wanted.values().map(|version| 1 + version % 4).sum();
        assert_eq!(messages.len() as u64, wanted_messages, "{reader} sees other messages");
    }
}
