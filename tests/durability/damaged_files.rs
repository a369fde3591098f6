//! A flipped bit in a data file or in what is kept beside it: the same answer or an error that names the object.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::damage::{copy, objects};
use crate::support::{Server, create_key};

const ARGUMENTS: [&str; 2] = ["--flush-seconds", "600"];
const ROWS: u64 = 120;

/// One file of each table.
fn make_store(store: &Path) -> String {
    let key = create_key(store, "api", "acme", Some("damage"), Some("bot"), &[]);
    let mut server = Server::start_on(store, &ARGUMENTS);
    for number in 0..ROWS {
        let plan = ["free", "pro", "team"][number as usize % 3];
        let document = json!({"id": format!("c-{number}"), "externalId": format!("x-{number}"), "type": "openai",
            "properties": {"plan": plan, "score": number}, "messages": [
                {"id": format!("m-{number}"), "role": "user", "content": format!("Question {number} of {plan}?")},
                {"id": format!("n-{number}"), "role": "assistant", "content": format!("Answer {number}.")}]});
        server.expect_json(200, "POST", "/conversations", &key, Some(&document));
    }
    assert!(server.terminate().success(), "{}", server.stderr());
    key
}

fn questions() -> Vec<(&'static str, String, Option<Value>)> {
    let count = json!({"type": "aggregation", "aggregation": "count"});
    let sum = json!({"type": "aggregation", "aggregation": "sum", "field": "properties", "path": ["score"]});
    let plan = json!({"field": "properties", "path": ["plan"]});
    let mut questions = vec![
        ("POST", "/query/conversations".to_owned(), Some(json!({"select": [count, sum], "groupBy": [plan]}))),
        ("POST", "/query/conversations/export".to_owned(), Some(json!({}))),
        ("POST", "/query/semantic-threads".to_owned(), Some(json!({"limit": 1_000}))),
    ];
    questions.extend((0..ROWS).step_by(7).map(|number| ("GET", format!("/conversations/c-{number}"), None)));
    questions.extend((0..ROWS).step_by(11).map(|number| ("GET", format!("/conversations/external/x-{number}"), None)));
    questions
}

type Asked = Vec<(u16, Vec<u8>)>;

fn ask(server: &Server, key: &str) -> Asked {
    let asked = questions().into_iter().map(|(method, path, body)| {
        let body = body.map(|body| body.to_string().into_bytes());
        match server.try_request(method, &path, Some(key), body.as_deref(), &[]) {
            Ok(answer) => (answer.status, answer.body),
            // An export that broke off.
            Err(error) => (0, error.to_string().into_bytes()),
        }
    });
    asked.collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= 1 << (at % 8);
    std::fs::write(path, bytes).expect("written");
}

fn objects_in(store: &Path, folder: &str) -> Vec<(String, u64)> {
    let found: Vec<_> = objects(store).into_iter().filter(|(path, _)| path.starts_with(folder)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found
}

#[test]
fn a_flipped_bit_in_a_data_file_never_gives_another_answer() {
    let store = TempDir::new().expect("a folder");
    let key = make_store(store.path());
    let expected = ask(&Server::start_on(store.path(), &ARGUMENTS), &key);
    let mut refused = 0;
    for folder in ["conversations/data", "messages/data", "semantic_threads/data"] {
        let (path, size) = objects_in(store.path(), folder).remove(0);
        for place in 0..8 {
            let copy = copy(store.path());
            flip(&copy.path().join(&path), (size as usize - 1) * place / 7);
            // The footer is read with the first question, not at the start.
            let server = Server::start_on(copy.path(), &ARGUMENTS);
            let answers = ask(&server, &key);
            for (((status, body), expected), question) in answers.into_iter().zip(&expected).zip(questions()) {
                if (status, &body) == (expected.0, &expected.1) {
                    continue;
                }
                refused += 1;
                let text = String::from_utf8_lossy(&body);
                match status {
                    500 => assert!(text.contains(&path), "{question:?}, place {place}: {text}"),
                    0 => assert!(server.stderr().contains(&path), "{question:?}, place {place}: {}", server.stderr()),
                    _ => panic!("{question:?}, place {place} of {path}: {status} {text}"),
                }
            }
        }
    }
    assert!(refused > 20, "only {refused} questions were refused");
}

/// An unreadable file is not a damaged one: to try again may help.
#[cfg(unix)]
#[test]
fn a_data_file_that_cannot_be_read_now_is_not_called_damaged() {
    use std::os::unix::fs::symlink;

    let store = TempDir::new().expect("a folder");
    let key = make_store(store.path());
    let (path, _) = objects_in(store.path(), "conversations/data").remove(0);
    let server = Server::start_on(store.path(), &ARGUMENTS);
    // Whoever runs the tests may read everything, so a loop stands for what the system refuses.
    let (file, away) = (store.path().join(&path), store.path().join("away"));
    std::fs::rename(&file, &away).expect("moved");
    symlink(&file, &file).expect("linked");
    let question = json!({"select": [{"type": "aggregation", "aggregation": "sum", "field": "properties",
        "path": ["score"]}]})
    .to_string();
    let ask = || server.request("POST", "/query/conversations", Some(&key), Some(question.as_bytes()));
    let refused = ask();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.text());
    assert!(!refused.text().contains("damaged"), "{}", refused.text());
    std::fs::remove_file(&file).expect("removed");
    std::fs::rename(&away, &file).expect("moved back");
    assert_eq!(ask().status, 200);
}
