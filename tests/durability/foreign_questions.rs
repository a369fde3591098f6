//! Filtered questions over all tables, asked of the server and of deltalake, polars and DuckDB: the same answers after
//! re-logs and deletions, after a merge of files, and after a checkpoint of the derived logs. And what these engines try
//! to change harms nothing.
//!
//! Needs a Python with all three, named by `CONVOLAKE_PYTHON`; skips visibly without.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Server, create_key};

const TABLES: [&str; 5] = ["conversations", "messages", "semantic_threads", "events", "feedback"];
pub const ARGUMENTS: [&str; 4] = ["--flush-rows", "30", "--flush-seconds", "1"];
const PATIENCE: Duration = Duration::from_secs(90);

/// One question in both languages.
struct Question {
    table: &'static str,
    sql: &'static str,
    view: &'static str,
    query: Value,
}

fn questions() -> Vec<Question> {
    let count = || json!({"type": "aggregation", "aggregation": "count"});
    let sum = |field: &str| json!({"type": "aggregation", "aggregation": "sum", "field": field});
    let sum_at = |key: &str| json!({"type": "aggregation", "aggregation": "sum", "field": "properties", "path": [key]});
    let is = |field: &str, operator: &str, value: Value| json!({"condition": {"field": field, "operator": operator, "value": value}});
    let at = |key: &str, operator: &str, value: Value| json!({"condition": {"field": "properties", "operator": operator, "value": {"path": [key], "value": value}}});
    let and = |conditions: Value| json!({"and": conditions});
    let plan = json!({"field": "properties", "path": ["plan"]});
    let kind = json!({"field": "type"});
    let march =
        || and(json!([is("createdAt", "gte", json!("2026-03-10")), is("createdAt", "lt", json!("2026-03-20"))]));
    let question = |table, sql, view, query| Question { table, sql, view, query };
    vec![
        question(
            "conversations",
            "select properties_plan, count(*), sum(properties_score_number) from t where properties_plan <> 'free' \
             group by properties_plan",
            "conversations",
            json!({"select": [count(), sum_at("score")], "groupBy": [plan], "where": at("plan", "neq", json!("free"))}),
        ),
        question(
            "conversations",
            "select properties_plan, count(*) from t where created_at >= {2026-03-10T00:00:00Z} \
             and created_at < {2026-03-20T00:00:00Z} group by properties_plan",
            "conversations",
            json!({"select": [count()], "groupBy": [plan], "where": march()}),
        ),
        question(
            "conversations",
            "select count(*), sum(message_count) from t where properties_vip_boolean and properties_score_number > 10",
            "conversations",
            json!({"select": [count(), sum("messageCount")],
                "where": and(json!([at("vip", "eq", json!(true)), at("score", "gt", json!(10))]))}),
        ),
        question(
            "conversations",
            "select id, title from t where id in ('c-3', 'c-20', 'c-44', 'c-60', 'none')",
            "conversations",
            json!({"select": [{"type": "field", "field": "id"}, {"type": "field", "field": "title"}],
                "where": is("id", "in", json!(["c-3", "c-20", "c-44", "c-60", "none"]))}),
        ),
        question(
            "conversations",
            "select type, count(*) from t where properties_round_number >= 2 or title is not null group by type",
            "conversations",
            json!({"select": [count()], "groupBy": [kind],
                "where": {"or": [at("round", "gte", json!(2)), is("title", "isNotNull", Value::Null)]}}),
        ),
        question(
            "messages",
            "select count(*) from t where role = 'user' and conversation_id < 'c-3'",
            "conversations",
            json!({"select": [sum("userMessageCount")], "where": is("id", "lt", json!("c-3"))}),
        ),
        question(
            "semantic_threads",
            "select count(*), sum(messages_count) from t where messages_count > 1 \
             and first_message_time >= {2026-03-10T00:00:00Z}",
            "semantic-threads",
            json!({"select": [count(), sum("messagesCount")], "where": and(json!([
                is("messagesCount", "gt", json!(1)), is("firstMessageTime", "gte", json!("2026-03-10"))]))}),
        ),
        question(
            "semantic_threads",
            "select subject, count(*) from t where is_clear = false group by subject",
            "semantic-threads",
            json!({"select": [count()], "groupBy": [{"field": "subject"}], "where": is("isClear", "eq", json!(false))}),
        ),
        question(
            "events",
            "select type, count(*) from t where created_at >= {2020-01-01T00:00:00Z} and message_id <> 'm-3-1' group by type",
            "events",
            json!({"select": [count()], "groupBy": [kind], "where": and(json!([
                is("createdAt", "gte", json!("2020-01-01")), is("messageId", "neq", json!("m-3-1"))]))}),
        ),
        question(
            "feedback",
            "select conversation_id, count(*) from t where type = 'negative' group by conversation_id",
            "feedback",
            json!({"select": [count()], "groupBy": [{"field": "conversationId"}],
                "where": is("type", "eq", json!("negative"))}),
        ),
    ]
}

/// Rows without order, numbers as they compare: 5 and 5.0 are one.
fn normal(rows: Vec<Vec<Value>>) -> Vec<Vec<String>> {
    let text = |value: &Value| value.as_f64().map_or_else(|| value.to_string(), |number| number.to_string());
    let row = |row: &Vec<Value>| {
        let mut values: Vec<String> = row.iter().map(text).collect();
        values.sort();
        values
    };
    let mut rows: Vec<_> = rows.iter().map(row).collect();
    rows.sort();
    rows
}

pub fn own_answers(server: &Server, key: &str) -> Vec<Vec<Vec<String>>> {
    let ask = |question: &Question| {
        let answer = server.expect_json(200, "POST", &format!("/query/{}", question.view), key, Some(&question.query));
        let rows = answer["data"]["result"].as_array().expect("rows").clone();
        normal(rows.iter().map(|row| row.as_object().expect("a row").values().cloned().collect()).collect())
    };
    questions().iter().map(ask).collect()
}

fn run(python: &str, arguments: &[&str], store: &Path, input: &[u8]) -> String {
    let mut command = Command::new(python);
    command.args(arguments).arg(store).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("Python starts");
    child.stdin.take().expect("piped").write_all(input).expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asks the other engines; with `--change` after they have tried to change every table. Gives what was refused.
fn check(python: &str, store: &Path, own: &[Vec<Vec<String>>], change: &[&str], what: &str) -> Value {
    let asked: Vec<Value> =
        questions().iter().map(|question| json!({"table": question.table, "sql": question.sql})).collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign_questions.py");
    let text = run(python, &[&[script], change].concat(), store, json!(asked).to_string().as_bytes());
    let mut answer: Value = serde_json::from_str(&text).expect("JSON from the script");
    for engine in ["deltalake", "polars", "duckdb"] {
        let answers = answer["answers"][engine].take();
        let answers: Vec<Vec<Vec<Value>>> = serde_json::from_value(answers).expect("rows");
        for ((found, own), question) in answers.into_iter().zip(own).zip(questions()) {
            assert_eq!(&normal(found), own, "{what}: {engine}: {}", question.sql);
            assert!(!own.is_empty(), "no rows for {}", question.sql);
        }
    }
    answer["refused"].take()
}

/// Round by round: new conversations, re-logs, events, feedback, annotations, deletions.
pub fn write(server: &Server, key: &str, rounds: std::ops::Range<u64>) {
    let of = |names: &[&str], number: u64| names[number as usize % names.len()].to_owned();
    let post = |path: &str, body: Value| server.expect_json(200, "POST", path, key, Some(&body));
    for round in rounds {
        for number in round * 25..round * 25 + 40 {
            let properties = json!({"plan": of(&["free", "pro", "team"], number), "score": number as f64 / 8.0,
                "vip": number % 5 == 0, "round": round});
            let messages = json!([
                {"id": format!("m-{number}-0"), "role": "user", "content": format!("How do I export report {number}?")},
                {"id": format!("m-{number}-1"), "role": "assistant", "content": format!("As in round {round}.")},
            ]);
            post(
                "/conversations",
                json!({"id": format!("c-{number}"), "type": of(&["openai", "support_ticket"], number),
                    "createdAt": format!("2026-03-{:02}T10:00:00Z", 1 + number % 28), "properties": properties,
                    "messages": messages}),
            );
        }
        for number in round * 25..round * 25 + 12 {
            let message = format!("m-{number}-1");
            post(
                "/events",
                json!({"id": format!("e-{number}"), "type": of(&["click", "copy"], number), "entityType": "message",
                    "messageId": message}),
            );
            post(
                "/feedback",
                json!({"id": format!("f-{number}"), "type": of(&["positive", "negative"], number), "messageId": message}),
            );
        }
        let title = json!({"title": format!("Round {round}")});
        server.expect_json(200, "PATCH", &format!("/webapi/v2/conversations/c-{}", round * 25 + 10), key, Some(&title));
        let ids = json!({"select": [{"type": "field", "field": "id"}], "limit": 3});
        let threads = post("/query/semantic-threads", ids);
        for thread in threads["data"]["result"].as_array().expect("rows") {
            let path = format!("/semantic-threads/{}", thread["id"].as_str().expect("an id"));
            let clear = json!({"isClear": false, "subject": format!("s{}", round % 2)});
            server.expect_json(200, "PATCH", &path, key, Some(&clear));
        }
        server.expect_json(200, "DELETE", &format!("/conversations/c-{}", round * 25 + 20), key, None);
        server.expect_json(200, "DELETE", &format!("/feedback/f-{}", round * 25 + 3), key, None);
    }
}

fn wait(what: &str, server: &Server, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "{what}: {}", server.stderr());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Answers of a server that then stops, so that the derived logs are at its last commit.
pub fn last_answers(mut server: Server, key: &str) -> Vec<Vec<Vec<String>>> {
    let own = own_answers(&server, key);
    assert!(server.terminate().success(), "{}", server.stderr());
    own
}

#[test]
fn other_engines_answer_filtered_questions_as_the_server_does() {
    let Ok(python) = std::env::var("CONVOLAKE_PYTHON") else {
        println!("SKIPPED: CONVOLAKE_PYTHON names no Python with deltalake, polars and DuckDB");
        return;
    };
    let folder = TempDir::new().expect("a folder");
    let store = folder.path();
    let key = create_key(store, "api", "acme", Some("foreign"), Some("bot"), &[]);
    let server = Server::start_on(store, &ARGUMENTS);
    write(&server, &key, 0..3);
    check(&python, store, &last_answers(server, &key), &[], "after re-logs and deletions");

    let server = Server::start_on(store, &ARGUMENTS);
    write(&server, &key, 3..12);
    wait("no files are merged", &server, || server.stderr().contains("files are merged"));
    check(&python, store, &last_answers(server, &key), &[], "after a merge");

    // Logs that nobody can read are made again as a checkpoint, and go on from it.
    for table in TABLES {
        let log = store.join(table).join("_delta_log");
        std::fs::remove_file(log.join("00000000000000000001.json")).expect("a version of the log");
    }
    let server = Server::start_on(store, &ARGUMENTS);
    wait("no checkpoints", &server, || {
        TABLES.iter().all(|table| store.join(table).join("_delta_log/_last_checkpoint").exists())
    });
    write(&server, &key, 12..14);
    let own = last_answers(server, &key);
    check(&python, store, &own, &[], "after a checkpoint");

    let refused = check(&python, store, &own, &["--change"], "after other engines tried to change the tables");
    for table in TABLES {
        for change in ["append", "compact", "delete", "vacuum"] {
            let told = refused[table][change].as_str().unwrap_or_default();
            assert!(told.contains("convolakeDerived"), "{change} of {table} is not refused: {told:?}");
        }
    }
    assert_eq!(last_answers(Server::start_on(store, &ARGUMENTS), &key), own);
    check(&python, store, &own, &[], "after a start behind that");

    let readme = include_str!("../../README.md");
    let snippet = readme.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a snippet");
    let snippet = snippet.replace("data/store", store.to_str().expect("UTF-8"));
    let said = run(&python, &["-c", &snippet], store, b"");
    assert_eq!(said.matches("│ pro ").count(), 2, "{said}");
}
