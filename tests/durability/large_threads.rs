//! Threads repeat nothing of their conversations: many questions over a large document cost its bytes once, in files,
//! in memory and while a flush writes them.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, create_key};

const DOCUMENTS: u64 = 48;
const QUESTIONS: u64 = 31;
const PROPERTY_BYTES: usize = 1 << 20;

/// Text that does not compress to nothing.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text
}

fn document(number: u64) -> Value {
    let message = |place: u64| {
        let role = ["user", "assistant"][(place % 2) as usize];
        json!({"id": format!("d{number}-m{place}"), "role": role, "content": format!("t{place}x of {number}")})
    };
    let messages: Vec<Value> = (0..2 * QUESTIONS).map(message).collect();
    let plan = ["pro", "free"][(number % 2) as usize];
    json!({"id": format!("d{number}"), "type": "openai", "messages": messages,
        "properties": {"plan": plan, "text": noise(number + 1, PROPERTY_BYTES)}})
}

fn ask(server: &Server, key: &str, request: &Value) -> Value {
    server.expect_json(200, "POST", "/query/semantic-threads", key, Some(request))["data"].clone()
}

fn check_answers(server: &Server, key: &str) {
    let by_plan = json!({"groupBy": [{"field": "properties", "path": ["plan"]}],
        "select": [{"type": "aggregation", "aggregation": "count"}]});
    let counts = ask(server, key, &by_plan);
    for plan in ["free", "pro"] {
        let row = json!({"count": DOCUMENTS / 2 * QUESTIONS, "properties.plan": plan});
        assert!(counts["result"].as_array().is_some_and(|rows| rows.contains(&row)), "{counts}");
    }
    let whole = json!({"query": "t17x of", "limit": 3,
        "where": {"condition": {"field": "properties", "operator": "jsonContains", "value": {"plan": "free"}}}});
    let page = ask(server, key, &whole);
    // The words stand in answers.
    assert_eq!(page["total"], json!(DOCUMENTS / 2));
    for row in page["result"].as_array().expect("rows") {
        let number: u64 = row["conversationIds"][0].as_str().expect("an id")[1..].parse().expect("a number");
        assert!(row["properties"] == document(number)["properties"], "d{number} has other properties");
        assert_eq!(row["messageIds"], json!([format!("d{number}-m16"), format!("d{number}-m17")]));
        assert_eq!(row["question"], format!("t16x of {number}"));
        assert_eq!(row["answer"], format!("t17x of {number}"));
    }
    let texts = json!({"select": [{"type": "field", "field": "answer"}], "limit": 2 * DOCUMENTS * QUESTIONS});
    let mut found: Vec<String> = ask(server, key, &texts)["result"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["answer"].as_str().expect("an answer").to_owned())
        .collect();
    found.sort();
    found.dedup();
    assert_eq!(found.len() as u64, DOCUMENTS * QUESTIONS);
}

/// The most memory that the process had, in MiB; 0 where the system does not tell.
fn peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn bytes_of(table: &Path) -> u64 {
    let files = std::fs::read_dir(table.join("data")).expect("data files");
    files.map(|file| file.expect("a file").metadata().expect("metadata").len()).sum()
}

#[test]
fn many_questions_over_large_documents_cost_their_bytes_once() {
    let store = TempDir::new().expect("a folder");
    let key = create_key(store.path(), "api", "acme", Some("large"), Some("bot"), &[]);
    let mut server = Server::start_on(store.path(), &["--flush-seconds", "600"]);
    for number in 0..DOCUMENTS {
        server.expect_json(200, "POST", "/conversations", &key, Some(&document(number)));
    }
    check_answers(&server, &key);
    let in_memory = peak(&server);
    assert!(server.terminate().success(), "{}", server.stderr());

    let threads = bytes_of(&store.path().join("semantic_threads"));
    assert!(threads < 256 << 10, "{threads} bytes of threads");
    let conversations = bytes_of(&store.path().join("conversations"));
    assert!(conversations < 2 * DOCUMENTS * PROPERTY_BYTES as u64, "{conversations} bytes of conversations");

    let server = Server::start_on(store.path(), &["--flush-seconds", "600"]);
    check_answers(&server, &key);
    let of_files = peak(&server);
    eprintln!("{in_memory} MiB over the tail, {of_files} MiB over files, {threads} bytes of threads");
    assert!(in_memory < 900 && of_files < 900, "{in_memory} MiB, then {of_files} MiB");
}
