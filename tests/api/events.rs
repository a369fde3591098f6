//! Events (contract A4): logging them, and `POST /query/events`.

use serde_json::{Value, json};

use crate::site::{PROJECT, Site};
use crate::support::create_key;

fn rows(site: &Site, key: &str, request: &str) -> Vec<Value> {
    site.query_view("events", key, request)["result"].as_array().expect("rows").clone()
}

fn log(site: &Site, key: &str, event: &str) -> Value {
    site.ok("POST", "/events", key, Some(event)).json()
}

#[test]
fn the_answer_is_the_event_as_given() {
    let site = Site::start(&[]);
    // The page's first: it replaces only what web keys made, and names its own integration only (contract A1).
    let web = create_key(site.store(), "web", "acme", Some(PROJECT), Some("mine"), &[]);
    let keys = [site.api_key(), web];
    for (key, integration) in keys.iter().zip(["bot", "mine"]).rev() {
        let whole = r#"{"id":"e1","type":"any one","entityType":"message","messageId":"m1","createdAt":"2024-08-26T10:00:00+02:00",
            "projectId":"docs","integrationId":"mine","properties":{"a":1.10,"n":null},"userProperties":{"userId":7},"x":1}"#;
        let expected = json!({"id": "e1", "type": "any one", "entityType": "message", "messageId": "m1",
            "createdAt": "2024-08-26T08:00:00.000Z", "projectId": "docs", "integrationId": "mine",
            "properties": {"a": 1.10, "n": null}, "userProperties": {"userId": 7}});
        assert_eq!(log(&site, key, whole), expected);
        let answer = log(&site, key, r#"{"type":"q","entityType":"search","searchQuery":"how to"}"#);
        let expected = json!({"id": answer["id"], "type": "q", "entityType": "search", "searchQuery": "how to",
            "createdAt": answer["createdAt"], "projectId": "docs", "integrationId": integration,
            "properties": null, "userProperties": null});
        assert_eq!(answer, expected);
        assert!(answer["id"].as_str().is_some_and(|id| id.len() == 36), "{answer}");
    }
    // Every rule of the body has its case in the unit tests; here is one refusal of each kind.
    for (status, body) in [
        (400, "{"),
        (422, r#"{"type":"x","entityType":"message"}"#),
        (422, r#"{"type":"x","entityType":"message","messageId":"m","conversationId":"c"}"#),
        (403, r#"{"type":"x","entityType":"search","searchQuery":"q","projectId":"other"}"#),
    ] {
        site.refused(status, "POST", "/events", &keys[0], Some(body));
    }
    site.refused(405, "GET", "/events", &keys[0], None);
    site.refused(403, "POST", "/query/events", &keys[1], Some("{}"));
    let org = site.key("org", "acme", None, &[]);
    let event = r#"{"id":"e1","type":"x","entityType":"search","searchQuery":"q"}"#;
    site.refused(422, "POST", "/events", &org, Some(event));
    log(&site, &org, &event.replace('{', r#"{"projectId":"shop","#));
    assert_eq!(rows(&site, &org, "{}").len(), 4);
    assert_eq!(rows(&site, &keys[0], "{}").len(), 3);
}

#[test]
fn rows_leave_out_what_is_absent_and_show_properties_as_text() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    log(
        &site,
        &key,
        r#"{"id":"a","type":"shared","entityType":"conversation","conversationId":"c","createdAt":"2024-08-26",
            "properties":{"n":1.50,"b":true,"o":{"k":[1,"x"]},"s":"t","z":null},
            "userProperties":{"userId":7,"name":null}}"#,
    );
    log(
        &site,
        &key,
        r#"{"id":"b","type":"searched","entityType":"search","searchQuery":"q","createdAt":"2024-08-27"}"#,
    );
    let expected = json!([
        {"id": "b", "organizationId": "acme", "createdAt": "2024-08-27T00:00:00.000Z", "projectId": "docs",
         "integrationId": "bot", "eventType": "search", "type": "searched", "searchQuery": "q", "properties": null,
         "userProperties": null},
        {"id": "a", "organizationId": "acme", "conversationId": "c", "createdAt": "2024-08-26T00:00:00.000Z",
         "projectId": "docs", "integrationId": "bot", "eventType": "conversation", "type": "shared",
         "properties": {"n": "1.50", "b": "true", "o": "{\"k\": [1, \"x\"]}", "s": "t"},
         "userProperties": {"userId": "7"}},
    ]);
    for _ in 0..2 {
        assert_eq!(json!(rows(&site, &key, "{}")), expected);
        let request = r#"{"select":[{"type":"aggregation","aggregation":"count"},{"type":"time","timeUnit":"week"}],
            "groupBy":[{"field":"searchQuery"},{"field":"properties","path":["n"]}]}"#;
        assert_eq!(
            json!(rows(&site, &key, request)),
            json!([
                {"count": 1, "createdAt_week": "2024-08-26T00:00:00.000Z", "searchQuery": "q", "properties.n": null},
                {"count": 1, "createdAt_week": "2024-08-26T00:00:00.000Z", "properties.n": "1.50"},
            ])
        );
        let request = r#"{"groupBy":[{"field":"userProperties"}]}"#;
        assert_eq!(
            json!(rows(&site, &key, request)),
            json!([{"userProperties": {"userId": "7"}}, {"userProperties": null}])
        );
        let request = r#"{"where":{"condition":{"field":"searchQuery","operator":"isNull"}},
            "select":[{"type":"field","field":"id"}]}"#;
        assert_eq!(json!(rows(&site, &key, request)), json!([{"id": "a"}]));
        site.refused(422, "POST", "/query/events", &key, Some(r#"{"groupBy":[{"field":"tags"}]}"#));
        site.restart();
    }
}

/// The rows' id and conversationId, by id.
fn links(site: &Site, key: &str) -> Value {
    let request = r#"{"select":[{"type":"field","field":"id"},{"type":"field","field":"conversationId"}],
        "orderBy":[{"field":"id","direction":"asc"}]}"#;
    json!(rows(site, key, request))
}

fn conversation(id: &str, created_at: &str, messages: &[&str]) -> String {
    let messages: Vec<Value> =
        messages.iter().map(|id| json!({"id": id, "role": "user", "content": format!("of {id}")})).collect();
    json!({"id": id, "type": "openai", "createdAt": created_at, "messages": messages}).to_string()
}

#[test]
fn a_message_event_follows_its_message() {
    for restarts in [false, true] {
        let mut site = Site::start(&[]);
        let key = site.api_key();
        let settle = |site: &mut Site| {
            if restarts {
                site.restart();
            }
        };
        log(&site, &key, r#"{"id":"e","type":"x","entityType":"message","messageId":"m"}"#);
        assert_eq!(links(&site, &key), json!([{"id": "e"}]));
        settle(&mut site);
        site.log(&key, &conversation("old", "2024-01-02", &["m", "n"]));
        assert_eq!(links(&site, &key), json!([{"id": "e", "conversationId": "old"}]));
        settle(&mut site);
        // The newest conversation that has the message is meant.
        site.log(&key, &conversation("older", "2024-01-01", &["m"]));
        assert_eq!(links(&site, &key), json!([{"id": "e", "conversationId": "old"}]));
        site.log(&key, &conversation("new", "2024-01-03", &["m"]));
        assert_eq!(links(&site, &key), json!([{"id": "e", "conversationId": "new"}]));
        settle(&mut site);
        site.log(&key, &conversation("new", "2024-01-03", &["other"]));
        assert_eq!(links(&site, &key), json!([{"id": "e", "conversationId": "old"}]));
        settle(&mut site);
        site.log(&key, &conversation("old", "2024-01-02", &["n"]));
        site.log(&key, &conversation("older", "2024-01-02", &["n2"]));
        assert_eq!(links(&site, &key), json!([{"id": "e"}]));
        settle(&mut site);
        site.log(&key, &conversation("old", "2024-01-02", &["m", "n"]));
        log(&site, &key, r#"{"id":"f","type":"x","entityType":"message","messageId":"n"}"#);
        log(&site, &key, r#"{"id":"g","type":"x","entityType":"conversation","conversationId":"old"}"#);
        log(&site, &key, r#"{"id":"h","type":"x","entityType":"conversation","conversationId":"older"}"#);
        let linked = |id: &str, conversation: &str| json!({"id": id, "conversationId": conversation});
        let all = json!([linked("e", "old"), linked("f", "old"), linked("g", "old"), linked("h", "older")]);
        assert_eq!(links(&site, &key), all);
        settle(&mut site);
        // It also goes with it.
        site.ok("DELETE", "/conversations/old", &key, None);
        assert_eq!(links(&site, &key), json!([linked("h", "older")]));
        settle(&mut site);
        assert_eq!(links(&site, &key), json!([linked("h", "older")]));
    }
}

#[test]
fn an_upsert_replaces_by_id_within_the_project() {
    let mut site = Site::start(&[]);
    let (key, other) = (site.api_key(), site.key("api", "acme", Some("shop"), &[]));
    let event = |kind: &str, time: &str| {
        format!(r#"{{"id":"e","type":"{kind}","entityType":"search","searchQuery":"{kind}"{time}}}"#)
    };
    log(&site, &key, &event("one", r#","createdAt":"2024-01-01""#));
    log(&site, &other, &event("theirs", ""));
    for kind in ["two", "three"] {
        let stored = log(&site, &key, &event(kind, ""));
        assert_eq!((&stored["type"], &stored["createdAt"]), (&json!(kind), &json!("2024-01-01T00:00:00.000Z")));
        for _ in 0..2 {
            let found = rows(&site, &key, "{}");
            assert_eq!((found.len(), &found[0]["type"]), (1, &json!(kind)));
            assert_eq!(rows(&site, &other, "{}")[0]["type"], "theirs");
            site.restart();
        }
    }
}

#[test]
fn search_reports() {
    let mut site = Site::start(&[]);
    let (key, other) = (site.api_key(), site.key("api", "acme", Some("shop"), &[]));
    let search = |key: &str, text: &str, day: &str, user: Value| {
        let event = json!({"type": "s", "entityType": "search", "searchQuery": text, "createdAt": day,
            "userProperties": user});
        log(&site, key, &event.to_string());
    };
    let empty = json!({"data": {"result": [], "total": 0}});
    for path in ["/query/top-search-queries", "/query/weekly-search-users"] {
        assert_eq!(site.get(path, &key), empty);
    }
    search(&key, "b", "2024-08-26", json!({"userId": "u"}));
    search(&key, "a", "2024-09-01T23:59:59.999Z", json!({"userId": null, "id": "u"}));
    search(&key, "b", "2024-08-27", json!({"userId": 5, "id": "u"}));
    search(&key, "c", "2024-09-02", json!({"userId": "u"}));
    search(&key, "c", "2024-09-03", json!({"other": "u"}));
    search(&key, "B", "2024-09-08", json!(null));
    search(&other, "theirs", "2024-09-08", json!({"userId": "x"}));
    log(&site, &key, r#"{"type":"s","entityType":"message","messageId":"m","userProperties":{"userId":"y"}}"#);
    let top = |rows: &[(&str, &str)]| {
        let rows: Vec<Value> = rows.iter().map(|(text, count)| json!({"search_query": text, "count": count})).collect();
        json!({"data": {"result": rows, "total": rows.len()}})
    };
    let weeks = |rows: &[(&str, &str)]| {
        let row = |(day, users): &(&str, &str)| json!({"week": format!("{day}T00:00:00.000Z"), "unique_users": users});
        let rows: Vec<Value> = rows.iter().map(row).collect();
        json!({"data": {"result": rows, "total": rows.len()}})
    };
    for _ in 0..2 {
        let queries = top(&[("b", "2"), ("c", "2"), ("B", "1"), ("a", "1")]);
        assert_eq!(site.get("/query/top-search-queries", &key), queries);
        assert_eq!(site.get("/query/top-search-queries?project_id=docs", &key), queries);
        let later = top(&[("c", "2"), ("B", "1")]);
        assert_eq!(site.get("/query/top-search-queries?after=2024-09-02", &key), later);
        assert_eq!(site.get("/query/top-search-queries?after=2024-09-02T02:00:00%2B02:00", &key), later);
        let users = weeks(&[("2024-08-26", "2"), ("2024-09-02", "1")]);
        assert_eq!(site.get("/query/weekly-search-users", &key), users);
        assert_eq!(
            site.get("/query/weekly-search-users?after=2024-09-01", &key),
            weeks(&[("2024-08-26", "1"), ("2024-09-02", "1")])
        );
        site.restart();
    }
    for path in ["/query/top-search-queries", "/query/weekly-search-users"] {
        site.refused(400, "GET", &format!("{path}?after=soon"), &key, None);
        site.refused(403, "GET", &format!("{path}?project_id=shop"), &key, None);
        let web = site.key("web", "acme", Some(PROJECT), &["query"]);
        site.refused(403, "GET", path, &web, None);
    }
}

#[test]
fn a_hundred_searches_are_shown_and_all_are_counted() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    for number in (0..103).chain(100..103) {
        log(
            &site,
            &key,
            &json!({"type": "s", "entityType": "search", "searchQuery": format!("q{number:03}")}).to_string(),
        );
    }
    for _ in 0..2 {
        let data = site.get("/query/top-search-queries", &key)["data"].clone();
        let shown: Vec<&str> =
            data["result"].as_array().expect("rows").iter().filter_map(|row| row["search_query"].as_str()).collect();
        let expected: Vec<String> = (100..103).chain(0..97).map(|number| format!("q{number:03}")).collect();
        assert_eq!((shown, &data["total"]), (expected.iter().map(String::as_str).collect(), &json!(103)));
        assert_eq!(data["result"][2]["count"], "2");
        site.restart();
    }
}
