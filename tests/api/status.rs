//! `GET /status` (contract A7), and the commands that work on a store without a server.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::site::{ORGANIZATION, PROJECT, Site};
use crate::support::{BINARY, run};

fn log(site: &Site, key: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let body =
            json!({"id": format!("c-{number}"), "type": "openai", "messages": [{"role": "user", "content": "hi"}]});
        site.ok("POST", "/conversations", key, Some(&body.to_string()));
    }
}

#[test]
fn an_organization_key_sees_what_the_store_holds() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let org = site.key("org", ORGANIZATION, None, &[]);
    log(&site, &key, 0..5);
    let status = site.ok("GET", "/status", &org, None).json();
    assert_eq!(
        (&status["tail"]["rows"], &status["tables"]["conversations"]["rows"]),
        (&json!(5), &json!(0)),
        "{status}"
    );
    site.restart();
    log(&site, &key, 0..2);
    log(&site, &key, 5..6);
    site.ok("DELETE", "/conversations/c-4", &key, None);
    site.restart();
    let status = site.ok("GET", "/status", &org, None).json();
    let conversations = &status["tables"]["conversations"];
    assert_eq!((&conversations["files"], &conversations["rows"]), (&json!(2), &json!(8)), "{status}");
    assert_eq!(conversations["deletedRows"], 3, "two were logged again, one is deleted: {status}");
    assert_eq!(conversations["levels"]["0"]["files"], 2, "{status}");
    assert_eq!(status["tables"]["messages"]["rows"], 8, "{status}");
    assert_eq!(status["tail"], json!({"rows": 0, "bytes": 0}), "{status}");
    assert!(status["objects"]["sidecars"]["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{status}");
    let erasures = &status["erasures"];
    assert_eq!((&erasures["waiting"], &erasures["done"], &erasures["files"]), (&json!(0), &json!(0), &json!(1)));
    assert!(erasures["oldest"].is_string() && erasures["due"].is_string(), "c-4 is deleted: {status}");
    assert!(status["requests"]["put"].as_u64().is_some_and(|count| count > 0), "{status}");
    assert_eq!(status["caches"]["memory"]["capacity"], 256 << 20, "{status}");
    // The file of which too much is deleted may be written again by now.
    let merging = &status["work"]["merging"];
    assert!(merging.is_null() || merging["table"] == "conversations", "{status}");
    assert!(status.get("waitingFor").is_none() && status["work"]["since"].is_string(), "{status}");
}

/// What was asked to be erased is told of until it is done, and then counted.
#[test]
fn erasures_are_told_of_from_the_request_to_their_end() {
    let site = Site::start(&["--erase-within", "4s"]);
    let key = site.api_key();
    let org = site.key("org", ORGANIZATION, None, &[]);
    log(&site, &key, 0..2);
    let erasures = || site.ok("GET", "/status", &org, None).json()["erasures"].clone();
    assert_eq!(erasures(), json!({"waiting": 0, "done": 0, "files": 0}));
    let asked = site.ok("POST", "/erase", &key, Some(r#"{"conversationIds":["c-0"]}"#)).json();
    let told = erasures();
    assert_eq!(told["waiting"], 1, "{told}");
    assert!(told["due"].as_str() > told["oldest"].as_str() && told["oldest"].is_string(), "{told}");
    let path = format!("/erase/{}", asked["id"].as_str().expect("an id"));
    let begun = Instant::now();
    while site.get(&path, &key)["state"] != "erased" {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}\n{}", erasures(), site.server.stderr());
        std::thread::sleep(Duration::from_millis(100));
    }
    let told = erasures();
    assert_eq!((&told["waiting"], told.get("oldest"), told.get("due")), (&json!(0), None, None), "{told}");
    if crate::support::is_remote() {
        return;
    }
    // Objects are counted anew by a command.
    let store = site.store().to_str().expect("UTF-8");
    let status: Value = serde_json::from_str(&run(&["status", "--json", "--store", store])).expect("JSON");
    assert_eq!(status["erasures"], json!({"waiting": 0, "done": 1, "files": 0}));
    assert!(status.get("requests").is_none() && status.get("caches").is_none(), "of no process: {status}");
    assert!(run(&["status", "--store", store]).contains("erasures: 0 wait, 1 are done"));
}

#[test]
fn other_keys_do_not() {
    let site = Site::start(&[]);
    for (kind, scopes) in [("api", &[][..]), ("web", &[]), ("web", &["query"])] {
        let key = site.key(kind, ORGANIZATION, Some(PROJECT), scopes);
        let answer = site.send("GET", "/status", &key, None);
        assert_eq!(answer.status, 403, "{kind}: {}", answer.text());
    }
    assert_eq!(site.server.request("GET", "/status", None, None).status, 401);
}

#[test]
fn a_store_is_shown_merged_and_cleared_by_commands() {
    // Nothing locks a store by URL: a command takes it over.
    if crate::support::is_remote() {
        return;
    }
    let mut site = Site::start(&["--flush-rows", "1"]);
    let (key, store) = (site.api_key(), site.store().to_str().expect("UTF-8").to_owned());
    log(&site, &key, 0..3);
    let status =
        |store: &str| -> Value { serde_json::from_str(&run(&["status", "--json", "--store", store])).expect("JSON") };
    // Also while the server runs.
    let shown = status(&store);
    assert!(shown.get("work").is_none() && shown["commit"].is_u64(), "{shown}");
    let refused =
        Command::new(BINARY).args(["compact", "--store", &store]).stdin(Stdio::null()).output().expect("runs");
    assert!(!refused.status.success(), "a server has the store open");
    for number in 3..12 {
        site.restart();
        log(&site, &key, number..number + 1);
    }
    assert!(site.server.terminate().success());
    let before = status(&store);
    assert!(run(&["compact", "--store", &store]).contains("data files are left"));
    let after = status(&store);
    assert_eq!(after["tables"]["conversations"]["rows"], 12, "{after}");
    let files = |status: &Value| status["tables"]["conversations"]["files"].as_u64().expect("a number");
    assert!(files(&after) < 8 && files(&after) <= files(&before), "{before}\n{after}");
    assert!(run(&["status", "--store", &store]).contains("conversations"), "a table");
    let collected = run(&["gc", "--store", &store, "--gc-grace-seconds", "1"]);
    assert!(collected.contains("are deleted"), "{collected}");
    let refused = run_failing(&["status", "--store", &format!("{store}/wal")]);
    assert!(refused.contains("not a store"), "{refused}");
    // A mistyped folder does not become a store.
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    for command in ["status", "compact", "gc"] {
        let refused = run_failing(&[command, "--store", folder.path().to_str().expect("UTF-8")]);
        assert!(refused.contains("no store to read"), "{command}: {refused}");
    }
    site.start_again();
    let rows = site.ok(
        "POST",
        "/query/conversations",
        &key,
        Some(r#"{"select":[{"type":"aggregation","aggregation":"count"}]}"#),
    );
    assert_eq!(rows.json()["data"]["result"][0]["count"], 12);
}

fn run_failing(arguments: &[&str]) -> String {
    let output = Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().expect("the binary runs");
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
