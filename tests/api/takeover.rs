//! Two servers on one store by URL: nothing locks it, so the second takes it over, and the first acknowledges nothing more.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::site::{Site, text};
use crate::support::{Server, is_remote};

fn document(id: &str) -> String {
    json!({"id": id, "type": "openai", "messages": [{"role": "user", "content": "hi"}]}).to_string()
}

#[test]
fn the_second_server_takes_over_and_the_first_acknowledges_nothing() {
    // A folder has a lock.
    if !is_remote() {
        return;
    }
    let site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, &document("of-first"));
    let second = Server::start_on(site.store(), &[]);
    let got = second.expect_json(200, "GET", "/conversations/of-first", &key, None);
    assert_eq!(text(&got["id"]), "of-first");
    // Also before it has noticed.
    let refused = site.send("POST", "/conversations", &key, Some(&document("late")));
    assert_eq!(refused.status, 503, "{}", refused.text());
    second.expect_json(
        200,
        "POST",
        "/conversations",
        &key,
        Some(&serde_json::from_str(&document("of-second")).expect("JSON")),
    );
    let begun = Instant::now();
    while site.server.request("GET", "/ready", None, None).status != 503 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the first is still ready");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(second.request("GET", "/ready", None, None).status, 200);
    for (method, path) in [("DELETE", "/conversations/of-first"), ("DELETE", "/conversations/of-second")] {
        let answer = site.send(method, path, &key, None);
        assert!([404, 503].contains(&answer.status), "{method} {path}: {}", answer.text());
    }
    for id in ["of-first", "of-second"] {
        second.expect_json(200, "GET", &format!("/conversations/{id}"), &key, None);
    }
    second.expect_json(404, "GET", "/conversations/late", &key, None);
    // It is not the first one's end that tells.
    drop(second);
    let third = Server::start_on(site.store(), &[]);
    let rows = json!({"select": [{"type": "aggregation", "aggregation": "count"}]});
    let answer = third.expect_json(200, "POST", "/query/conversations", &key, Some(&rows));
    assert_eq!(answer["data"]["result"][0]["count"], 2, "{answer}");
}
