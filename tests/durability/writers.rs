//! Threads that log, re-log and delete, and remember what was acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::support::Server;
use crate::threads;

/// What is known of one conversation: the last acknowledged state, and a change whose answer never came.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Version of the last acknowledged log, `None` when absent.
    pub acknowledged: Option<u64>,
    /// The change in flight: it may or may not have happened.
    pub in_doubt: Option<Option<u64>>,
    next_version: u64,
}

pub type Ledger = BTreeMap<String, Known>;

/// A document whose every part tells its version, so that a torn one shows.
pub fn document(id: &str, version: u64) -> Value {
    // Some message ids stay, and so do ids of threads.
    let roles = ["user assistant user assistant", "system user user assistant", "assistant user system assistant"];
    let roles = roles[(version / 4 % 3) as usize].split(' ').take(1 + (version % 4) as usize);
    let messages: Vec<Value> = roles
        .enumerate()
        .map(|(number, role)| {
            let message_id = (version % 3 > 0).then(|| format!("{id}-m{number}"));
            json!({"id": message_id, "role": role, "content": format!("{id} version {version} message {number}"),
                "externalId": format!("{id}-{version}-{number}"), "properties": {"version": version}})
        })
        .collect();
    json!({"id": id, "externalId": format!("ext-{id}"), "type": "openai",
        "createdAt": "2025-03-01T10:00:00Z",
        "properties": {"version": version, "name": id, "nested": {"half": version as f64 / 2.0}},
        "userProperties": {"userId": format!("user-{}", version % 7)}, "messages": messages})
}

/// Changes random conversations of `ledger` until told to stop or until the server is gone.
pub fn write(server: &Server, key: &str, prefix: &str, ledger: &mut Ledger, seed: u64, stop: &AtomicBool) {
    let mut random = SmallRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        let id = format!("{prefix}-{}", random.random_range(0..60));
        let known = ledger.entry(id.clone()).or_default();
        let change = if known.acknowledged.is_some() && random.random_bool(0.15) {
            None
        } else {
            known.next_version += 1;
            Some(known.next_version)
        };
        known.in_doubt = Some(change);
        let answer = match change {
            None => server.try_request("DELETE", &format!("/conversations/{id}"), Some(key), None, &[]),
            Some(version) => {
                let body = document(&id, version).to_string();
                server.try_request("POST", "/conversations", Some(key), Some(body.as_bytes()), &[])
            }
        };
        match answer {
            Ok(answer) if answer.status == 200 => {
                known.acknowledged = change;
                known.in_doubt = None;
            }
            Ok(answer) if answer.status == 429 => {
                known.in_doubt = None;
                std::thread::sleep(Duration::from_millis(20));
            }
            // Anything else leaves the change in doubt; a killed server answers nothing at all.
            _ => return,
        }
    }
}

/// Checks every conversation against the ledger, by id, by externalId and by query, and its threads; settles what was
/// in doubt.
pub fn verify(server: &Server, key: &str, ledger: &mut Ledger) {
    let mut live = 0;
    for (id, known) in ledger.iter_mut() {
        let answer = server.request("GET", &format!("/conversations/{id}"), Some(key), None);
        let found = match answer.status {
            404 => None,
            200 => {
                let body = answer.json();
                let version = body["properties"]["version"].as_u64().expect("a version");
                check_whole(id, version, &body);
                Some(version)
            }
            status => panic!("{id}: {status} {}", answer.text()),
        };
        let allowed = [Some(known.acknowledged), known.in_doubt];
        assert!(
            allowed.contains(&Some(found)),
            "{id}: found version {found:?}, acknowledged {:?}, in doubt {:?}\n{}",
            known.acknowledged,
            known.in_doubt,
            server.stderr()
        );
        known.acknowledged = found;
        known.in_doubt = None;
        live += u64::from(found.is_some());
        let external = server.request("GET", &format!("/conversations/external/ext-{id}"), Some(key), None);
        assert_eq!(external.status, if found.is_some() { 200 } else { 404 }, "{id} by externalId");
    }
    let request = json!({"select": [
        {"type": "aggregation", "aggregation": "count"},
        {"type": "aggregation", "aggregation": "max", "field": "properties", "path": ["version"]},
        {"type": "aggregation", "aggregation": "sum", "field": "messageCount"}],
        "groupBy": [{"field": "id"}], "limit": 100_000});
    let answer = server.expect_json(200, "POST", "/query/conversations", key, Some(&request));
    let rows = answer["data"]["result"].as_array().expect("rows");
    assert_eq!(rows.len() as u64, live, "conversations by query");
    for row in rows {
        let id = row["id"].as_str().expect("an id");
        let version = ledger[id].acknowledged.unwrap_or_else(|| panic!("{id} is deleted, but the query finds it"));
        assert_eq!(row["count"], json!(1), "{id} is there {} times", row["count"]);
        assert_eq!(row["max_properties.version"].as_f64(), Some(version as f64), "{id}");
        assert_eq!(row["sum_messageCount"].as_f64(), Some((1 + version % 4) as f64), "{id}");
    }
    threads::verify_derived(server, key);
}

fn check_whole(id: &str, version: u64, body: &Value) {
    let sent = document(id, version);
    for field in ["properties", "userProperties", "externalId"] {
        assert_eq!(body[field], sent[field], "{id} is torn: {body}");
    }
    let (messages, wanted) = (body["messages"].as_array(), sent["messages"].as_array());
    let (messages, wanted) = (messages.expect("messages"), wanted.expect("messages"));
    assert_eq!(messages.len(), wanted.len(), "{id} is torn: {body}");
    for (message, wanted) in messages.iter().zip(wanted) {
        for field in ["content", "role", "externalId", "properties"] {
            assert_eq!(message[field], wanted[field], "{id} is torn: {body}");
        }
    }
}
