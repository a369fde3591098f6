//! Who calls the conversation API (contract Part B): one key, and the headers that name an agent or a user.

use serde_json::{Value, json};

use crate::site::{Site, problem, text};
use crate::webapi::{ROOT, category};

fn log(site: &Site, key: &str, id: &str, user: &Value) {
    let document = json!({"id": id, "type": "openai", "createdAt": "2024-01-01", "userProperties": user,
        "messages": [{"id": "m", "role": "user", "content": "hi"}]});
    site.log(key, &document.to_string());
}

/// The ids of a list, sorted.
fn seen(site: &Site, key: &str, headers: &[(&str, &str)]) -> Vec<String> {
    let answer = site.server.request_with("GET", ROOT, Some(key), None, headers);
    assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text());
    let list = answer.json();
    let mut ids: Vec<String> =
        list["conversations"].as_array().expect("a list").iter().map(|one| text(&one["id"]).to_owned()).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_call_has_one_key() {
    let site = Site::start(&[]);
    let (key, other) = (site.api_key(), site.key("api", "acme", Some("shop"), &[]));
    log(&site, &key, "c", &Value::Null);
    let (bearer, others) = (format!("Bearer {key}"), format!("bearer {other}"));
    for (headers, status) in [
        (&[("API-KEY", key.as_str())][..], 200),
        (&[("Authorization", bearer.as_str())], 200),
        (&[("API-KEY", key.as_str()), ("Authorization", bearer.as_str())], 200),
        (&[("API-KEY", key.as_str()), ("Authorization", others.as_str())], 401),
        (&[("API-KEY", other.as_str()), ("Authorization", bearer.as_str())], 401),
        (&[("API-KEY", key.as_str()), ("API-KEY", key.as_str())], 401),
        (&[("API-KEY", key.as_str()), ("API-KEY", other.as_str())], 401),
        (&[("Authorization", bearer.as_str()), ("Authorization", bearer.as_str())], 401),
        (&[("Authorization", bearer.as_str()), ("Authorization", others.as_str())], 401),
    ] {
        let path = format!("{ROOT}/c");
        let answer = site.server.request_with("GET", &path, None, None, headers);
        if status == 200 {
            assert_eq!((answer.status, &answer.json()["id"]), (200, &json!("c")), "{headers:?}");
        } else {
            let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
            let detail = problem(&answer, status, &path);
            assert!(!detail.contains(&key) && !detail.contains(&other), "{names:?}: {detail}");
        }
    }
}

#[test]
fn identity_headers_are_given_once_and_not_empty() {
    let site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, "c", &json!({"userId": "Zoë", "email": "zoë@x"}));
    let path = format!("{ROOT}/c");
    for header in ["AGENT-EMAIL", "USER-EMAIL", "OWN-USER-ID"] {
        for values in [&[""][..], &[" "], &["base64:"], &["base64:!"], &["base64:/w=="], &["a", "a"], &["a", "b"]] {
            let headers: Vec<(&str, &str)> = values.iter().map(|value| (header, *value)).collect();
            for (method, path, body) in [
                ("GET", path.as_str(), None),
                ("GET", ROOT, None),
                ("PATCH", path.as_str(), Some(r#"{"state":"s"}"#)),
                ("DELETE", path.as_str(), None),
            ] {
                let answer = site.server.request_with(method, path, Some(&key), body.map(str::as_bytes), &headers);
                let detail = problem(&answer, 400, path);
                assert!(detail.contains(header), "{method} {path} {headers:?}: {detail}");
            }
        }
    }
    // The base64 form of each: `Zoë`, `zoë@x`, `ägent@x`.
    assert_eq!(seen(&site, &key, &[("OWN-USER-ID", "base64:Wm/Dqw==")]), ["c"]);
    assert_eq!(seen(&site, &key, &[("USER-EMAIL", "base64:em/Dq0B4")]), ["c"]);
    assert_eq!(seen(&site, &key, &[("AGENT-EMAIL", "base64:w6RnZW50QHg=")]), ["c"]);
    let chat = format!("{path}/chats/m/feedback");
    let headers = [("AGENT-EMAIL", "base64:w6RnZW50QHg=")];
    site.server.request_with("POST", &chat, Some(&key), Some(br#"{"rating":true}"#), &headers);
    let feedback = site.get("/feedback", &key);
    assert_eq!(feedback["positiveFeedback"][0]["userProperties"]["supportAgentEmail"], "ägent@x");
}

#[test]
fn no_route_takes_a_bad_identity_header() {
    let site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, "c", &json!({"userId": "u"}));
    let kept = category(&site, &key, "Kept");
    let categories = "/webapi/v2/conversation_categories";
    let at = |rest: &str| format!("{ROOT}{rest}");
    let before = site.get(&at("/c"), &key);
    for (method, path, body) in [
        ("GET", at(""), None),
        ("GET", at("?searchTerm=hi"), None),
        ("POST", at("/bulk_update"), Some(r#"{"conversationIds":["c"],"conversationInfo":{"state":"s"}}"#)),
        ("GET", at("/c"), None),
        ("PUT", at("/c"), Some(r#"{"state":"s"}"#)),
        ("PATCH", at("/c"), Some(r#"{"state":"s"}"#)),
        ("GET", at("/c/chats"), None),
        ("GET", at("/c/chats/m"), None),
        ("GET", at("/c/running"), None),
        ("POST", at("/c/stop"), None),
        ("POST", at("/c/end"), None),
        ("DELETE", at("/c"), None),
        ("PUT", at("/c/title"), Some(r#"{"title":"t"}"#)),
        ("POST", at("/c/title"), Some(r#"{"title":"t"}"#)),
        ("PATCH", at("/c/title"), Some(r#"{"title":"t"}"#)),
        ("POST", at("/c/chats/m/feedback"), Some(r#"{"rating":true}"#)),
        ("GET", at("/daily_count?startDate=2024-01-01&endDate=2024-01-01"), None),
        ("GET", categories.to_owned(), None),
        ("POST", categories.to_owned(), Some(r#"{"name":"Sales"}"#)),
        ("DELETE", format!("{categories}/{kept}"), None),
    ] {
        for header in ["AGENT-EMAIL", "USER-EMAIL", "OWN-USER-ID"] {
            for values in [&[""][..], &["base64:!"], &["u", "u"]] {
                let headers: Vec<(&str, &str)> = values.iter().map(|value| (header, *value)).collect();
                let answer = site.server.request_with(method, &path, Some(&key), body.map(str::as_bytes), &headers);
                let detail = problem(&answer, 400, path.split('?').next().unwrap_or_default());
                assert!(detail.contains(header), "{method} {path} {headers:?}: {detail}");
            }
        }
    }
    assert_eq!(site.get(&at("/c"), &key), before);
    assert_eq!(site.get(categories, &key), json!({"categories": [{"categoryId": kept, "name": "Kept"}]}));
}

#[test]
fn emails_compare_without_case_and_an_empty_id_is_none() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, "upper", &json!({"userId": "u", "email": "ANN@Example.com"}));
    log(&site, &key, "lower", &json!({"userId": "u", "email": "ann@example.com"}));
    log(&site, &key, "umlaut", &json!({"email": "JÜRGEN@x"}));
    log(&site, &key, "longer", &json!({"email": "ann@example.community"}));
    log(&site, &key, "wild", &json!({"email": "ann_example%com"}));
    log(&site, &key, "number", &json!({"email": 7}));
    log(&site, &key, "by-id", &json!({"userId": "", "id": "v"}));
    log(&site, &key, "nobody", &json!({"userId": "", "id": ""}));
    for _ in 0..2 {
        for (headers, expected) in [
            (&[("USER-EMAIL", "Ann@example.COM")][..], &["lower", "upper"][..]),
            (&[("USER-EMAIL", "base64:asO8cmdlbkB4")], &["umlaut"]),
            (&[("USER-EMAIL", "ann%")], &[]),
            (&[("USER-EMAIL", "7")], &[]),
            (&[("OWN-USER-ID", "v")], &["by-id"]),
        ] {
            assert_eq!(seen(&site, &key, headers), expected, "{headers:?}");
            for id in ["upper", "lower", "umlaut", "longer", "wild", "number", "by-id", "nobody"] {
                let path = format!("{ROOT}/{id}");
                let status = if expected.contains(&id) { 200 } else { 404 };
                let answer = site.server.request_with("GET", &path, Some(&key), None, headers);
                assert_eq!(answer.status, status, "{headers:?} {id}");
            }
        }
        let list = site.get(&format!("{ROOT}?userIds=v"), &key);
        assert_eq!(list["conversations"][0]["id"], "by-id");
        assert_eq!(list["conversations"][0]["user"]["userId"], "v");
        site.restart();
    }
}
