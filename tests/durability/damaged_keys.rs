//! A key whose object is damaged: named, refused, no hindrance to other keys, and ended on the command line.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Server, create_key};

/// What a command prints: stdout, then stderr.
fn keys(store: &Path, arguments: &[&str]) -> (bool, String) {
    let binary = env!("CARGO_BIN_EXE_convolake");
    let output = Command::new(binary).arg("keys").args(arguments).arg("--store").arg(store).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_damaged_key_is_named_refused_and_can_be_ended() {
    let store = TempDir::new().expect("a folder");
    let key = |integration| create_key(store.path(), "api", "acme", Some("p"), Some(integration), &[]);
    let (one, other) = (key("one"), key("other"));
    let id = one.split('_').nth(2).expect("an id");
    let object = store.path().join("keys").join(id);
    let sound = std::fs::read(&object).expect("the key's object");
    let mut damaged = sound.clone();
    *damaged.last_mut().expect("not empty") ^= 4;
    std::fs::write(&object, damaged).expect("written");

    let server = Server::start_on(store.path(), &[]);
    let ask = |key: &str| server.request("POST", "/query/conversations", Some(key), Some(b"{}"));
    assert_eq!(ask(&other).status, 200);
    let refused = ask(&one);
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(refused.text().contains(&format!("keys/{id}")), "{}", refused.text());
    assert!(server.stderr().contains(&format!("keys/{id} is damaged")), "{}", server.stderr());

    let (listed, text) = keys(store.path(), &["list"]);
    let row = text.lines().find(|line| line.trim_start().starts_with(id)).unwrap_or_default();
    assert!(listed && row.contains("damaged") && text.contains("active"), "{text}");
    assert!(text.contains(&format!("keys/{id} is damaged")), "{text}");
    let (rotated, text) = keys(store.path(), &["rotate", id, "--overlap", "1h"]);
    assert!(!rotated && text.contains(&format!("keys/{id} is damaged")), "{text}");
    let (revoked, text) = keys(store.path(), &["revoke", id]);
    assert!(revoked, "{text}");
    let begin = std::time::Instant::now();
    while ask(&one).status != 401 {
        assert!(begin.elapsed().as_secs() < 20, "the key is still known: {}", ask(&one).text());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    // A sound copy of the object, put back, is the key again.
    std::fs::write(&object, sound).expect("written");
    assert_eq!(ask(&one).status, 200, "{}", ask(&one).text());
    server.expect_json(200, "POST", "/query/conversations", &other, Some(&json!({})));
}
