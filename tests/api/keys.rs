//! Who may call what (contract A1): kinds and scopes of keys, their life through the command line, and that a secret is
//! nowhere but in the answer of `keys create`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::site::{ORGANIZATION, PROJECT, Site, problem, text};
use crate::support::{create_key, run};

const DOCUMENT: &str = r#"{"id":"c","externalId":"e","type":"openai","messages":[{"role":"user","content":"hi"}]}"#;

/// Method, path, body of every route.
const ROUTES: [(&str, &str, Option<&str>); 9] = [
    ("POST", "/conversations", Some(DOCUMENT)),
    ("GET", "/conversations", None),
    ("GET", "/conversations/c", None),
    ("GET", "/conversations/external/e", None),
    ("POST", "/query/conversations", Some("{}")),
    ("POST", "/query/conversations/export", Some("{}")),
    ("POST", "/query/property-keys", Some(r#"{"field":"properties"}"#)),
    ("POST", "/query/property-values", Some(r#"{"field":"properties","key":"a"}"#)),
    ("DELETE", "/conversations/c", None),
];

#[test]
fn kinds_and_scopes() {
    let site = Site::start(&[]);
    let web = site.key("web", ORGANIZATION, Some(PROJECT), &[]);
    let web_query = site.key("web", ORGANIZATION, Some(PROJECT), &["query"]);
    let api = site.api_key();
    let org = site.key("org", ORGANIZATION, None, &[]);
    let org_document = DOCUMENT.replace(r#""type""#, r#""projectId":"docs","type""#);
    for (name, key, statuses) in [
        ("web", &web, [200, 403, 200, 403, 403, 403, 403, 403, 200]),
        ("web with query", &web_query, [200, 403, 200, 403, 200, 403, 403, 403, 200]),
        ("api", &api, [200; 9]),
        ("org", &org, [200; 9]),
    ] {
        for ((method, path, body), expected) in ROUTES.into_iter().zip(statuses) {
            let body =
                if name == "org" && path == "/conversations" { body.map(|_| org_document.as_str()) } else { body };
            let answer = site.send(method, path, key, body);
            assert_eq!(answer.status, expected, "{name}: {method} {path}: {}", answer.text());
            if expected == 403 {
                problem(&answer, 403, path);
            }
        }
    }
}

/// Method and path of what only readers may call, besides [`ROUTES`].
const OF_READERS: &str = "GET /feedback, GET /feedback/f, DELETE /feedback/f, DELETE /events/e, POST /erase, GET /erase/x, POST /query/events, POST /query/feedback, \
    POST /query/semantic-threads, POST /query/events/export, POST /query/feedback/export, \
    POST /query/semantic-threads/export, GET /query/top-search-queries, GET /query/weekly-search-users, \
    GET /webapi/v2/conversations, POST /webapi/v2/conversations/bulk_update, GET /webapi/v2/conversations/daily_count, \
    GET /webapi/v2/conversations/c, PUT /webapi/v2/conversations/c, PATCH /webapi/v2/conversations/c, \
    DELETE /webapi/v2/conversations/c, GET /webapi/v2/conversations/c/chats, GET /webapi/v2/conversations/c/chats/m, \
    GET /webapi/v2/conversations/c/running, POST /webapi/v2/conversations/c/stop, POST /webapi/v2/conversations/c/end, \
    PUT /webapi/v2/conversations/c/title, POST /webapi/v2/conversations/c/title, \
    PATCH /webapi/v2/conversations/c/title, POST /webapi/v2/conversations/c/chats/m/feedback, \
    GET /webapi/v2/conversation_categories, POST /webapi/v2/conversation_categories, \
    DELETE /webapi/v2/conversation_categories/x";

#[test]
fn web_keys_write_and_read_nothing_else() {
    let site = Site::start(&[]);
    let api = site.api_key();
    let widget = site.key("web", ORGANIZATION, Some(PROJECT), &[]);
    site.log(&widget, &DOCUMENT.replace(r#""role""#, r#""id":"m","role""#));
    let before = site.ok("GET", "/conversations/c", &api, None).text();
    for scopes in [&[][..], &["query"]] {
        let web = site.key("web", ORGANIZATION, Some(PROJECT), scopes);
        for route in OF_READERS.split(", ") {
            let (method, path) = route.split_once(' ').expect("method and path");
            let body = (method != "GET" && method != "DELETE").then_some(r#"{"name":"n","title":"t","state":"s"}"#);
            site.refused(403, method, path, &web, body);
        }
        let event = r#"{"id":"e","type":"t","entityType":"message","messageId":"m"}"#;
        site.ok("POST", "/events", &web, Some(event));
        site.ok("POST", "/feedback", &web, Some(r#"{"id":"f","type":"positive","messageId":"m"}"#));
    }
    assert_eq!(site.ok("GET", "/conversations/c", &api, None).text(), before);
    assert_eq!(site.get("/feedback", &api)["positiveFeedbackCount"], 1);
}

#[test]
fn without_a_key_nothing_is_done() {
    let site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, DOCUMENT);
    let before = site.ok("GET", "/conversations/c", &key, None).text();
    let (head, tail) = key.split_at(key.len() - 1);
    let other_end = if tail == "A" { "B" } else { "A" };
    let wrong = [
        None,
        Some(String::new()),
        Some("Bearer".into()),
        Some("Bearer ".into()),
        Some(key.clone()),
        Some(format!("Basic {key}")),
        Some(format!("Bearer{key}")),
        Some("Bearer wrong".into()),
        Some(format!("Bearer {head}")),
        Some(format!("Bearer {key}x")),
        Some(format!("Bearer {head}{other_end}")),
        Some(format!("Bearer {}", key.to_uppercase())),
        Some(format!("Bearer {key} {key}")),
    ];
    for (method, path, body) in ROUTES {
        for header in &wrong {
            let headers: Vec<(&str, &str)> = header.iter().map(|value| ("authorization", value.as_str())).collect();
            let body = body.map(|_| r#"{"id":"c","broken":"#.as_bytes());
            problem(&site.server.request_with(method, path, None, body, &headers), 401, path);
        }
        let parameter = format!("{path}?apiKey={key}");
        problem(&site.server.request_with(method, &parameter, None, None, &[("API-KEY", &key)]), 401, &parameter);
    }
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let value = format!("{scheme} {key}");
        let answer = site.server.request_with("GET", "/conversations/c", None, None, &[("authorization", &value)]);
        assert_eq!((answer.status, answer.text()), (200, before.clone()), "{scheme}");
    }
}

fn keys(site: &Site, arguments: &[&str]) -> String {
    let mut all = vec!["keys"];
    all.extend(arguments);
    all.extend(["--store", site.store().to_str().expect("UTF-8")]);
    run(&all)
}

/// The id of the only key in the list with this integration.
fn key_id(site: &Site, integration: &str) -> String {
    let list = keys(site, &["list"]);
    let lines: Vec<&str> =
        list.lines().filter(|line| line.split_whitespace().any(|word| word == integration)).collect();
    assert_eq!(lines.len(), 1, "{integration} in\n{list}");
    lines[0].split_whitespace().next().expect("an id").to_string()
}

fn status(site: &Site, key: &str) -> u16 {
    site.send("GET", "/conversations?limit=0", key, None).status
}

/// How long until the key is refused.
fn refused_after(site: &Site, key: &str) -> Duration {
    let begin = Instant::now();
    while status(site, key) != 401 {
        assert!(begin.elapsed() < Duration::from_secs(10), "the key still works");
        std::thread::sleep(Duration::from_millis(50));
    }
    begin.elapsed()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn the_life_of_a_key() {
    let mut site = Site::start(&[]);
    let create =
        |integration: &str| create_key(site.store(), "api", ORGANIZATION, Some(PROJECT), Some(integration), &[]);
    let (stays, revoked, rotated) = (create("stays"), create("revoked"), create("rotated"));
    // Made while the server runs, they work at once.
    for key in [&stays, &revoked, &rotated] {
        assert_eq!(status(&site, key), 200);
    }
    site.log(&stays, DOCUMENT);
    assert_eq!(site.get("/conversations/c", &stays)["integrationId"], "stays");

    keys(&site, &["revoke", &key_id(&site, "revoked")]);
    let took = refused_after(&site, &revoked);
    assert!(took < Duration::from_millis(2_500), "a revocation acts within 2 seconds, this one after {took:?}");

    let successor = keys(&site, &["rotate", &key_id(&site, "rotated"), "--overlap", "4s"]).trim().to_string();
    let begin = Instant::now();
    assert_ne!(successor, rotated);
    assert_eq!((status(&site, &successor), status(&site, &rotated)), (200, 200), "both work during the overlap");
    refused_after(&site, &rotated);
    assert!(begin.elapsed() > Duration::from_secs(3), "the overlap is kept");
    assert!(begin.elapsed() < Duration::from_secs(8), "the overlap ends");
    assert_eq!((status(&site, &successor), status(&site, &stays)), (200, 200));
    site.log(&successor, DOCUMENT);
    assert_eq!(site.get("/conversations/c", &successor)["integrationId"], "rotated", "it is the same integration");

    // Secrets are neither listed nor stored; the part after the third `_` is the secret alone.
    let list = keys(&site, &["list"]);
    site.restart();
    if crate::support::is_remote() {
        return;
    }
    let mut stored = Vec::new();
    files(site.store(), &mut stored);
    assert!(stored.len() > 4, "{stored:?}");
    for key in [&stays, &revoked, &rotated, &successor] {
        let secret = key.splitn(4, '_').nth(3).expect("kind, id and secret");
        assert!(secret.len() >= 22, "128 bits or more: {}", secret.len());
        assert!(!list.contains(secret) && !site.server.stderr().contains(secret));
        for file in &stored {
            let bytes = std::fs::read(file).expect("a file of the store");
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a secret is in {}", file.display());
        }
    }
    let expected = [(&stays, 200), (&revoked, 401), (&rotated, 401), (&successor, 200)];
    for (key, expected) in expected {
        assert_eq!(status(&site, key), expected, "after a restart");
    }
}

#[test]
fn an_organization_key_names_the_project() {
    let mut site = Site::start(&[]);
    let org = site.key("org", ORGANIZATION, None, &[]);
    let document = |project: &str, created: &str| {
        format!(
            r#"{{"id":"same","externalId":"ext","type":"openai","createdAt":"{created}",{project}"messages":[{{"role":"user","content":""}}]}}"#
        )
    };
    for body in [document("", "2024-01-01"), document(r#""projectId":null,"#, "2024-01-01")] {
        let detail = site.refused(422, "POST", "/conversations", &org, Some(&body));
        assert!(detail.contains("projectId"), "{detail}");
    }
    // Also when the key calls it a parameter: a document names its project itself.
    let one = site.log(&org, &document(r#""projectId":"one","#, "2024-01-01"));
    let two = site.log(&org, &document(r#""projectId":"two","#, "2024-01-02"));
    assert_eq!((&one["projectId"], &two["projectId"]), (&json!("one"), &json!("two")));
    assert_eq!(one["integrationId"], json!(null));
    for _ in 0..2 {
        for path in ["/conversations/same", "/conversations/external/ext"] {
            assert_eq!(site.get(path, &org)["projectId"], "two", "the newest match");
            assert_eq!(site.get(&format!("{path}?projectId=one"), &org), one);
            assert_eq!(site.get(&format!("{path}?projectId=two"), &org), two);
            site.refused(404, "GET", &format!("{path}?projectId=three"), &org, None);
        }
        let list = site.get("/conversations", &org);
        assert_eq!((&list["total"], &list["conversations"]), (&json!(2), &json!([two, one])));
        let rows = site.rows(&org, r#"{"select":[{"type":"field","field":"projectId"},{"type":"field","field":"organizationId"},{"type":"field","field":"integrationId"}]}"#);
        let row = |project: &str| json!({"projectId": project, "organizationId": ORGANIZATION, "integrationId": null});
        assert_eq!(rows, json!([row("two"), row("one")]));
        let detail = site.refused(409, "DELETE", "/conversations/same", &org, None);
        assert!(detail.contains("one") && detail.contains("two"), "{detail}");
        site.refused(404, "DELETE", "/conversations/same?projectId=three", &org, None);
        assert_eq!(site.get("/conversations", &org)["total"], 2);
        site.restart();
    }
    site.ok("DELETE", "/conversations/same?projectId=two", &org, None);
    assert_eq!(site.get("/conversations/same", &org), one);
    site.ok("DELETE", "/conversations/same", &org, None);
    site.refused(404, "GET", "/conversations/same", &org, None);
    assert_eq!(text(&one["id"]), "same");
}
