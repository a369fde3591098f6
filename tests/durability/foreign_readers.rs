//! The tables are read by `deltalake` and `polars`, deletion vectors included: same rows, same values.
//!
//! Needs a Python with both, named by `CONVOLAKE_PYTHON`; skips visibly without.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
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
    let rated = |number: &u64| wanted.get(&format!("f-{number}")).is_some_and(|version| version % 3 > 0);
    let rated: Vec<u64> = (0..150).filter(rated).collect();
    let write = |server: &Server, numbers: &[u64], feedback: &str| {
        for number in numbers {
            let message = format!("f-{number}-m0");
            let event =
                json!({"id": format!("e-{number}"), "type": feedback, "entityType": "message", "messageId": message});
            server.expect_json(200, "POST", "/events", &key, Some(&event));
            let feedback = json!({"id": format!("r-{number}"), "type": feedback, "messageId": message,
                "reasons": [{"label": "é", "details": number.to_string()}], "properties": {"n": number, "list": [1, null]}});
            server.expect_json(200, "POST", "/feedback", &key, Some(&feedback));
        }
    };
    write(&server, &rated, "positive");
    for number in 0..10 {
        let event = json!({"id": format!("s-{number}"), "type": "search", "entityType": "search", "searchQuery": "q"});
        server.expect_json(200, "POST", "/events", &key, Some(&event));
    }
    assert!(server.terminate().success(), "{}", server.stderr());

    // Of every table, rows of files are replaced, and some go.
    let mut server = Server::start_on(store.path(), &["--flush-seconds", "600"]);
    write(&server, &rated[..20], "negative");
    server.expect_json(200, "DELETE", &format!("/feedback/r-{}", rated[30]), &key, None);
    for number in &rated[40..50] {
        // A version without given message ids: its feedback and events lose their conversation.
        let id = format!("f-{number}");
        server.expect_json(200, "POST", "/conversations", &key, Some(&document(&id, 303)));
        wanted.insert(id, 303);
    }
    let id = format!("f-{}", rated[60]);
    server.expect_json(200, "DELETE", &format!("/conversations/{id}"), &key, None);
    wanted.remove(&id);
    for row in own_rows(&server, &key, "semantic-threads").values().step_by(9) {
        let path = format!("/semantic-threads/{}", row["id"].as_str().expect("an id"));
        let annotations = json!({"isClear": false, "subject": "keys", "firstPartyEntities": ["a", "é"]});
        server.expect_json(200, "PATCH", &path, &key, Some(&annotations));
    }
    let views = [("events", "events"), ("feedback", "feedback"), ("semantic-threads", "semantic_threads")];
    let own = BTreeMap::from(views.map(|(view, table)| (table, own_rows(&server, &key, view))));
    assert!(own.values().all(|rows| rows.len() > 50), "{own:?}");
    assert!(server.terminate().success(), "{}", server.stderr());
    for table in ["conversations", "events", "feedback", "semantic_threads"] {
        assert!(has_deletion_vector(store.path(), table), "no deleted row in the files of {table}");
    }

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
                assert_eq!(row["project_id"], json!("foreign"));
                assert_eq!(row["message_count"].as_u64(), Some(1 + version % 4));
                (row["id"].as_str().expect("an id").to_owned(), version)
            })
            .collect();
        assert_eq!(found.len(), rows.len(), "{reader} sees a conversation twice");
        assert_eq!(found, wanted, "{reader} sees other conversations");
        for (name, own) in &own {
            let rows = table(name);
            let ids: BTreeSet<&str> = rows.iter().filter_map(|row| row["id"].as_str()).collect();
            assert_eq!((ids.len(), rows.len()), (own.len(), own.len()), "{reader} sees other rows of {name}");
            for row in &rows {
                let id = row["id"].as_str().expect("an id");
                same_values(&own[id], row).unwrap_or_else(|field| {
                    panic!("{reader} sees another {field} in {name}: {row}\nthe server: {}", own[id])
                });
            }
        }
        let messages = table("messages");
        let wanted_messages: u64 = wanted.values().map(|version| 1 + version % 4).sum();
        assert_eq!(messages.len() as u64, wanted_messages, "{reader} sees other messages");

        // What threads do not repeat is found where the README says.
        let ids: BTreeMap<(&str, u64), &str> =
            messages.iter().map(|row| (place(row, "conversation_id"), id_of(row))).collect();
        for row in &table("semantic_threads") {
            let own = &own["semantic_threads"][id_of(row)];
            let (_, first) = place(row, "id");
            let conversation = own["conversationIds"][0].as_str().expect("an id");
            let count = own["messagesCount"].as_u64().expect("a count");
            let found: Vec<Option<&&str>> = (first..first + count).map(|at| ids.get(&(conversation, at))).collect();
            assert_eq!(json!(found), own["messageIds"], "{reader} finds other messages of {row}");
        }
    }
}

fn id_of(row: &Value) -> &str {
    row["id"].as_str().expect("an id")
}

/// A text of a row, and the position that it tells.
fn place<'a>(row: &'a Value, name: &str) -> (&'a str, u64) {
    let position = row.get("position").unwrap_or(&row["first_message_position"]);
    (row[name].as_str().expect("a text"), position.as_u64().expect("a position"))
}

/// What the server shows of a view, by id.
fn own_rows(server: &Server, key: &str, view: &str) -> BTreeMap<String, Value> {
    let answer = server.expect_json(200, "POST", &format!("/query/{view}"), key, Some(&json!({"limit": 100_000})));
    let rows = answer["data"]["result"].as_array().expect("rows").iter();
    rows.map(|row| (row["id"].as_str().expect("an id").to_owned(), row.clone())).collect()
}

/// Compares all fields but those that stand in no column; gives the first that differs.
fn same_values(own: &Value, read: &Value) -> Result<(), String> {
    let (own, read) = (own.as_object().expect("a row"), read.as_object().expect("a row"));
    let is_event = own.contains_key("eventType");
    let is_thread = own.contains_key("messagesCount");
    let own: BTreeMap<String, &Value> = own.iter().map(|(field, value)| (column_name(field), value)).collect();
    for column in own.keys().chain(read.keys()) {
        let value = own.get(column).copied().unwrap_or(&Value::Null);
        let same = match (column.as_str(), read.get(column)) {
            // Made of feedback when asked.
            ("has_positive_feedback" | "has_negative_feedback", None) => true,
            // Their conversation's and their messages'.
            ("message_ids" | "question" | "answer" | "properties" | "user_properties", None) if is_thread => true,
            ("first_message_position", Some(_)) => is_thread,
            // A query shows them as texts.
            ("properties" | "user_properties", None) => is_event,
            ("properties" | "user_properties" | "reasons" | "sources", Some(Value::String(text))) => {
                serde_json::from_str::<Value>(text).is_ok_and(|read| read == *value)
            }
            (_, found) => found == Some(value),
        };
        if !same {
            return Err(column.clone());
        }
    }
    Ok(())
}

/// What the column of a field is called in files.
fn column_name(field: &str) -> String {
    let mut name = String::new();
    let letters: Vec<char> = field.chars().collect();
    for (place, letter) in letters.iter().enumerate() {
        let next_is_small = letters.get(place + 1).is_some_and(char::is_ascii_lowercase);
        let after_small = place > 0 && letters[place - 1].is_ascii_lowercase();
        if letter.is_ascii_uppercase() && (after_small || next_is_small) {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Whether a commit of a table has a file with deleted rows.
fn has_deletion_vector(store: &Path, table: &str) -> bool {
    let commits = std::fs::read_dir(store.join(table).join("_delta_log")).expect("the table log");
    let commits = commits.map(|entry| entry.expect("an entry").path());
    let mut texts = commits.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    texts.any(|path| {
        let text = std::fs::read_to_string(path).expect("a commit");
        let mut actions = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        actions.any(|action| action["add"]["deletionVector"].is_object())
    })
}
