//! `PUT /projects/{id}`, `GET /projects/{id}`, `convolake projects` (contract A1). That what is too old leaves every
//! object is tested among what is durable.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::site::{ORGANIZATION, PROJECT, Site};
use crate::support::run;

fn conversation(id: &str, time: &str) -> String {
    let message = json!({"id": format!("m-{id}"), "role": "user", "content": "x".repeat(2_000), "createdAt": time});
    json!({"id": id, "type": "openai", "messages": [message]}).to_string()
}

fn set(site: &Site, key: &str, project: &str, limits: &Value) -> Value {
    site.ok("PUT", &format!("/projects/{project}"), key, Some(&limits.to_string())).json()
}

fn ids(site: &Site, key: &str) -> Vec<String> {
    let rows =
        site.rows(key, r#"{"select":[{"type":"field","field":"id"}],"orderBy":[{"field":"id","direction":"asc"}]}"#);
    rows.as_array().expect("rows").iter().filter_map(|row| row["id"].as_str().map(str::to_owned)).collect()
}

fn wait_for(site: &Site, what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}\n{}", site.server.stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_organization_key_sets_the_limits_of_its_projects() {
    let mut site = Site::start(&[]);
    let org = site.key("org", ORGANIZATION, None, &[]);
    let other = site.key("org", "other", None, &[]);
    let none = json!({"id": PROJECT, "maxAge": null, "maxBytes": null});
    assert_eq!(site.get("/projects/docs", &org), none);
    let limits = json!({"maxAge": "720h", "maxBytes": 1_000_000_000});
    let expected = json!({"id": PROJECT, "maxAge": "30d", "maxBytes": 1_000_000_000});
    assert_eq!(set(&site, &org, PROJECT, &limits), expected);
    assert_eq!(site.get("/projects/docs", &org), expected);
    assert_eq!(site.get("/projects/docs", &other), none, "a project's name belongs to its organization");
    site.restart();
    assert_eq!(site.get("/projects/docs", &org), expected);
    // Both are set anew.
    let expected = json!({"id": PROJECT, "maxAge": null, "maxBytes": 5});
    assert_eq!(set(&site, &org, PROJECT, &json!({"maxBytes": 5})), expected);
    assert_eq!(set(&site, &org, PROJECT, &json!({})), none);
    let odd = set(&site, &org, "a%2Fb%20%C3%A9", &json!({"maxAge": "1d"}));
    assert_eq!(odd, json!({"id": "a/b é", "maxAge": "1d", "maxBytes": null}));
}

#[test]
fn other_keys_and_wrong_limits_are_refused() {
    let site = Site::start(&[]);
    let org = site.key("org", ORGANIZATION, None, &[]);
    for kind in ["api", "web"] {
        let key = site.key(kind, ORGANIZATION, Some(PROJECT), &[]);
        site.refused(403, "PUT", "/projects/docs", &key, Some("{}"));
        site.refused(403, "GET", "/projects/docs", &key, None);
    }
    for body in [
        "[]",
        r#"{"maxAge":"0s"}"#,
        r#"{"maxAge":"-1d"}"#,
        r#"{"maxAge":90}"#,
        r#"{"maxBytes":-1}"#,
        r#"{"maxBytes":"1"}"#,
        r#"{"max_age":"1d"}"#,
    ] {
        site.refused(422, "PUT", "/projects/docs", &org, Some(body));
    }
    site.refused(400, "PUT", "/projects/docs", &org, Some("{"));
    site.refused(422, "PUT", &format!("/projects/{}", "p".repeat(513)), &org, Some("{}"));
    site.refused(405, "DELETE", "/projects/docs", &org, None);
    assert_eq!(site.get("/projects/docs", &org)["maxAge"], Value::Null);
}

#[test]
fn what_is_older_than_its_project_keeps_it_is_deleted() {
    let mut site = Site::start(&["--erase-within", "4s"]);
    let key = site.api_key();
    let org = site.key("org", ORGANIZATION, None, &[]);
    let shop = site.key("api", ORGANIZATION, Some("shop"), &[]);
    for key in [&key, &shop] {
        for (id, time) in [("old", "2020-01-01T00:00:00Z"), ("new", "2999-01-01T00:00:00Z")] {
            site.log(key, &conversation(id, time));
            let feedback = json!({"id": format!("f-{id}"), "type": "positive", "messageId": format!("m-{id}")});
            site.ok("POST", "/feedback", key, Some(&feedback.to_string()));
        }
        let event = json!({"id": "e-old", "type": "search", "entityType": "search", "searchQuery": "q",
            "createdAt": "2020-01-01T00:00:00Z"});
        site.ok("POST", "/events", key, Some(&event.to_string()));
    }
    site.restart();
    set(&site, &org, PROJECT, &json!({"maxAge": "365d"}));
    wait_for(&site, "what is old is still there", || ids(&site, &key) == ["new"]);
    let events = || site.query_view("events", &key, "{}")["total"].clone();
    wait_for(&site, "the event is still there", || events() == json!(0));
    assert_eq!(site.get("/feedback", &key)["positiveFeedbackCount"], 1);
    assert_eq!(ids(&site, &shop), ["new", "old"], "another project keeps it");
    // Also what comes later.
    site.log(&key, &conversation("late", "2020-01-01T00:00:00Z"));
    wait_for(&site, "what came late is still there", || ids(&site, &key) == ["new"]);
}

#[test]
fn a_project_takes_no_more_than_it_may_have() {
    let site = Site::start(&[]);
    let key = site.api_key();
    let org = site.key("org", ORGANIZATION, None, &[]);
    let shop = site.key("api", ORGANIZATION, Some("shop"), &[]);
    site.log(&key, &conversation("a", "2026-01-01T00:00:00Z"));
    set(&site, &org, PROJECT, &json!({"maxBytes": 1_000_000_000}));
    site.log(&key, &conversation("b", "2026-01-01T00:00:00Z"));
    set(&site, &org, PROJECT, &json!({"maxBytes": 100}));
    let event = json!({"type": "t", "entityType": "search", "searchQuery": "q"}).to_string();
    let feedback = json!({"type": "positive", "messageId": "m-a"}).to_string();
    for (path, body) in
        [("/conversations", conversation("a", "2026-01-01T00:00:00Z")), ("/events", event), ("/feedback", feedback)]
    {
        let answer = site.send("POST", path, &key, Some(&body));
        assert_eq!(answer.status, 429, "{path}: {}", answer.text());
        assert_eq!(answer.header("retry-after"), Some("60"));
        assert!(
            answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("maxBytes")),
            "{}",
            answer.text()
        );
    }
    // Nobody else's, and it can be read and made less.
    site.log(&shop, &conversation("a", "2026-01-01T00:00:00Z"));
    assert_eq!(ids(&site, &key), ["a", "b"]);
    for id in ["a", "b"] {
        site.ok("DELETE", &format!("/conversations/{id}"), &key, None);
    }
    set(&site, &org, PROJECT, &json!({"maxBytes": 100}));
    site.log(&key, &conversation("c", "2026-01-01T00:00:00Z"));
    set(&site, &org, PROJECT, &json!({"maxBytes": 0}));
    assert_eq!(site.send("POST", "/conversations", &key, Some(&conversation("d", "2026-01-01T00:00:00Z"))).status, 429);
}

#[test]
fn limits_are_set_and_listed_by_commands() {
    let site = Site::start(&[]);
    let org = site.key("org", ORGANIZATION, None, &[]);
    let store = site.store().to_str().expect("UTF-8").to_owned();
    let command = |arguments: &[&str]| run(&[&["projects"], arguments, &["--store", &store]].concat());
    let set = |arguments: &[&str]| command(&[&["set", "--organization", ORGANIZATION], arguments].concat());
    let shown = set(&["--project", PROJECT, "--max-age", "90d"]);
    assert!(shown.contains("acme") && shown.contains("docs") && shown.contains("90d"), "{shown}");
    set(&["--project", PROJECT, "--max-bytes", "1000"]);
    set(&["--project", "shop", "--max-bytes", "5"]);
    assert_eq!(site.get("/projects/docs", &org), json!({"id": PROJECT, "maxAge": "90d", "maxBytes": 1000}));
    set(&["--project", PROJECT, "--max-age", "none"]);
    let listed: Value = serde_json::from_str(&command(&["list", "--json"])).expect("JSON");
    let expected = json!([
        {"organization": "acme", "project": "docs", "maxAge": null, "maxBytes": 1000},
        {"organization": "acme", "project": "shop", "maxAge": null, "maxBytes": 5},
    ]);
    assert_eq!(listed, expected);
    assert!(command(&["list"]).contains("shop"));
}
