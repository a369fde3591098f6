//! Whose conversations a call sees (contract Part B, headers), and that keys of other projects see nothing.

use serde_json::{Value, json};

use crate::site::{Site, problem};
use crate::webapi::{ROOT, category};

fn log(site: &Site, key: &str, id: &str, user: Value) {
    let document = json!({"id": id, "type": "openai", "createdAt": "2024-01-01T00:00:00Z", "userProperties": user,
        "messages": [{"id": "m", "role": "user", "content": "needle"}]});
    site.log(key, &document.to_string());
}

/// Every call on one conversation.
fn calls(id: &str) -> Vec<(&'static str, String, Option<&'static str>)> {
    let at = |rest: &str| format!("{ROOT}/{id}{rest}");
    vec![
        ("GET", at(""), None),
        ("GET", at("/chats"), None),
        ("GET", at("/chats/m"), None),
        ("GET", at("/running"), None),
        ("PUT", at(""), Some(r#"{"state":"theirs"}"#)),
        ("PATCH", at(""), Some(r#"{"state":"theirs"}"#)),
        ("PUT", at("/title"), Some(r#"{"title":"theirs"}"#)),
        ("POST", at("/title"), Some(r#"{"title":"theirs"}"#)),
        ("PATCH", at("/title"), Some(r#"{"title":"theirs"}"#)),
        ("POST", at("/chats/m/feedback"), Some(r#"{"rating":false}"#)),
        ("POST", at("/stop"), None),
        ("POST", at("/end"), None),
        ("DELETE", at(""), None),
    ]
}

#[test]
fn a_user_sees_and_changes_the_own_conversations_only() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, "own", json!({"userId": "Zoë", "email": "zoe@x"}));
    log(&site, &key, "number", json!({"userId": 7}));
    log(&site, &key, "by-id", json!({"id": "7"}));
    log(&site, &key, "hidden-id", json!({"userId": "other", "id": "7"}));
    log(&site, &key, "nobody", Value::Null);
    let send = |site: &Site, headers: &[(&str, &str)], method: &str, path: &str, body: Option<&str>| {
        site.server.request_with(method, path, Some(&key), body.map(str::as_bytes), headers)
    };
    let days = format!("{ROOT}/daily_count?startDate=2024-01-01&endDate=2024-01-01");
    for _ in 0..2 {
        for (headers, own) in [
            (&[("OWN-USER-ID", "base64:Wm/Dqw==")][..], &["own"][..]),
            (&[("OWN-USER-ID", "7")], &["by-id", "number"]),
            (&[("USER-EMAIL", "zoe@x")], &["own"]),
            (&[("OWN-USER-ID", "7"), ("USER-EMAIL", "zoe@x")], &[]),
            (&[("OWN-USER-ID", "nobody")], &[]),
            (&[("AGENT-EMAIL", "agent@x")], &["by-id", "hidden-id", "nobody", "number", "own"]),
        ] {
            for query in ["", "?searchTerm=needle", "?userIds=7,other"] {
                let list = send(&site, headers, "GET", &format!("{ROOT}{query}"), None).json();
                let mut found: Vec<&str> = list["conversations"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .filter_map(|one| one["id"].as_str())
                    .collect();
                found.sort_unstable();
                let sevens = ["by-id", "hidden-id", "number"];
                let expected: Vec<&str> =
                    own.iter().copied().filter(|id| !query.contains("userIds") || sevens.contains(id)).collect();
                assert_eq!(found, expected, "{headers:?} {query}");
            }
            let counted = send(&site, headers, "GET", &days, None).json();
            assert_eq!(counted, json!({"counts": [{"date": "2024-01-01", "count": own.len()}]}), "{headers:?}");
            for id in ["own", "number", "by-id", "hidden-id", "nobody"].iter().filter(|id| !own.contains(id)) {
                for (method, path, body) in calls(id) {
                    problem(&send(&site, headers, method, &path, body), 404, &path);
                }
            }
        }
        // A bulk update stays among the own ones.
        let body = json!({"conversationIds": ["own", "nobody", "number"], "conversationInfo": {"state": "mine"}});
        let path = format!("{ROOT}/bulk_update");
        let answer = send(&site, &[("OWN-USER-ID", "7")], "POST", &path, Some(&body.to_string()));
        assert_eq!(answer.status, 200);
        let state = |id: &str| site.get(&format!("{ROOT}/{id}"), &key)["state"].clone();
        assert_eq!([state("own"), state("nobody"), state("number")], [json!("no"), json!("no"), json!("mine")]);
        site.restart();
    }
    let user = |site: &Site| site.get("/conversations/number", &key)["userProperties"].clone();
    for (method, path, body) in calls("number") {
        // Whoever calls, it stays this user's.
        assert_eq!(user(&site), json!({"userId": 7}));
        let answer = send(&site, &[("OWN-USER-ID", "7"), ("AGENT-EMAIL", "a@x")], method, &path, body);
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
    }
}

#[test]
fn nothing_crosses_a_project() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let strangers = [
        site.key("api", "acme", Some("shop"), &[]),
        site.key("api", "umbrella", Some("docs"), &[]),
        site.key("org", "umbrella", None, &[]),
    ];
    log(&site, &key, "theirs", json!({"userId": "u"}));
    let sales = category(&site, &key, "Sales");
    for _ in 0..2 {
        let before = site.get(&format!("{ROOT}/theirs"), &key);
        for stranger in &strangers {
            for parameters in ["", "?projectId=docs"] {
                for (method, path, body) in calls("theirs") {
                    site.refused(404, method, &format!("{path}{parameters}"), stranger, body);
                }
            }
            for query in ["", "?searchTerm=needle", "?userIds=u", "?projectId=docs", "?backgroundRunning=true"] {
                let list = site.get(&format!("{ROOT}{query}"), stranger);
                assert_eq!(list, json!({"conversations": [], "cursor": null}), "{query}");
            }
            let days = format!("{ROOT}/daily_count?startDate=2024-01-01&endDate=2024-01-01");
            assert_eq!(site.get(&days, stranger)["counts"][0]["count"], 0);
            for body in [
                json!({"conversationIds": ["theirs"], "conversationInfo": {"state": "taken"}}),
                json!({"userIds": ["u"], "conversationInfo": {"title": "taken"}}),
            ] {
                site.send("POST", &format!("{ROOT}/bulk_update?projectId=docs"), stranger, Some(&body.to_string()));
                site.send("POST", &format!("{ROOT}/bulk_update"), stranger, Some(&body.to_string()));
            }
            let path = format!("/webapi/v2/conversation_categories/{sales}?projectId=docs");
            site.refused(404, "DELETE", &path, stranger, None);
        }
        assert_eq!(site.get(&format!("{ROOT}/theirs"), &key), before);
        assert_eq!(site.get("/webapi/v2/conversation_categories", &key)["categories"][0]["name"], "Sales");
        site.restart();
    }
    // An organization's key reaches both projects, and names one for a change where both have the id.
    let (org, shop) = (site.key("org", "acme", None, &[]), &strangers[0]);
    log(&site, shop, "theirs", json!({"userId": "v"}));
    assert_eq!(site.get(ROOT, &org)["conversations"].as_array().map(Vec::len), Some(2));
    assert_eq!(site.get(&format!("{ROOT}?projectId=shop"), &org)["conversations"].as_array().map(Vec::len), Some(1));
    site.refused(409, "PUT", &format!("{ROOT}/theirs"), &org, Some(r#"{"state":"s"}"#));
    site.ok("PUT", &format!("{ROOT}/theirs?projectId=shop"), &org, Some(r#"{"state":"s"}"#));
    assert_eq!(site.get(&format!("{ROOT}/theirs"), &key)["state"], "no");
    assert_eq!(site.get(&format!("{ROOT}/theirs"), shop)["state"], "s");
}
