//! What a web key is (contract A1): it stands in public pages, so it reaches what web keys made and what nobody can guess,
//! and nothing that it is told names an id or an owner.

use serde_json::{Value, json};

use crate::site::{ORGANIZATION, PROJECT, Site, text};
use crate::support::run;

fn document(fields: Value) -> String {
    let mut document = json!({"type": "openai", "messages": [{"role": "user", "content": "hi"}]});
    let object = document.as_object_mut().expect("an object");
    object.extend(fields.as_object().expect("an object").clone());
    document.to_string()
}

/// Of a refusal: it tells of none of these.
fn tells_nothing(detail: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!detail.contains(secret), "{detail}");
    }
}

#[test]
fn a_web_key_reaches_what_web_keys_made_and_what_nobody_can_guess() {
    let mut site = Site::start(&[]);
    let (api, web, other) = (site.api_key(), site.web_key(&[]), site.web_key(&[]));
    let message = json!([{"id": "m-secret", "role": "user", "content": "hi"}]);
    site.log(&api, &document(json!({"id": "secret-id", "externalId": "ticket-1", "messages": message})));
    let made = site.log(&api, &document(json!({"externalId": "ticket-2"})));
    let (made, made_message) = (text(&made["id"]).to_owned(), text(&made["messages"][0]["id"]).to_owned());
    site.log(&other, &document(json!({"id": "of-a-page", "externalId": "ticket-3"})));
    let event =
        |id: &str| json!({"id": id, "type": "seen", "entityType": "message", "messageId": made_message}).to_string();
    let feedback = |id: &str, message: &str| json!({"id": id, "type": "positive", "messageId": message}).to_string();
    site.ok("POST", "/events", &api, Some(&event("secret-event")));
    site.ok("POST", "/feedback", &api, Some(&feedback("secret-feedback", "m-secret")));

    for round in 0..2 {
        let before = site.ok("GET", "/conversations/secret-id", &api, None).text();
        let fed_back = site.ok("GET", "/feedback/secret-feedback", &api, None).text();

        // Unknown to it.
        site.refused(404, "GET", "/conversations/secret-id", &web, None);
        site.refused(404, "DELETE", "/conversations/secret-id", &web, None);
        // An id or an externalId that it may not name: neither told whose it is nor taken.
        for fields in [
            json!({"id": "secret-id"}),
            json!({"id": "secret-id", "externalId": "ticket-1"}),
            json!({"id": "probe", "externalId": "ticket-1"}),
            json!({"externalId": "ticket-1"}),
            json!({"externalId": "ticket-2"}),
            json!({"externalId": "ticket-3"}),
            json!({"id": "of-a-page", "externalId": "ticket-1"}),
        ] {
            let detail = site.refused(409, "POST", "/conversations", &web, Some(&document(fields)));
            tells_nothing(&detail, &["secret-id", &made, "ticket", ORGANIZATION, PROJECT]);
        }
        site.refused(404, "GET", "/conversations/probe", &api, None);
        // Feedback as on a message that is not there, and others' events and feedback are not replaced.
        site.refused(422, "POST", "/feedback", &web, Some(&feedback("f-new", "m-secret")));
        for (path, body) in
            [("/events", event("secret-event")), ("/feedback", feedback("secret-feedback", &made_message))]
        {
            let detail = site.refused(409, "POST", path, &web, Some(&body));
            tells_nothing(&detail, &["secret", &made]);
        }
        // Another integration is not the page's to name.
        for path in ["/conversations", "/events"] {
            let body = match path {
                "/events" => {
                    json!({"type": "t", "entityType": "conversation", "conversationId": "c", "integrationId": "x"})
                }
                _ => serde_json::from_str(&document(json!({"integrationId": "x"}))).expect("JSON"),
            };
            site.refused(403, "POST", path, &web, Some(&body.to_string()));
        }
        // What it brings with the id of another's message takes nothing from that message's conversation.
        let copy = json!({"id": format!("copy{round}"), "createdAt": "2090-01-01", "messages": message});
        site.log(&web, &document(copy));
        assert_eq!(site.ok("GET", "/feedback/secret-feedback", &api, None).text(), fed_back);
        site.ok("DELETE", &format!("/conversations/copy{round}"), &web, None);
        assert_eq!(site.ok("GET", "/feedback/secret-feedback", &api, None).text(), fed_back);
        assert_eq!(site.ok("GET", "/conversations/secret-id", &api, None).text(), before);

        // What it reaches: of the server's ids, of other pages, of its own.
        site.ok("GET", &format!("/conversations/{made}"), &web, None);
        site.ok("GET", "/conversations/of-a-page", &web, None);
        let own = site.log(&web, &document(json!({"properties": {"round": round}})));
        let own = text(&own["id"]).to_owned();
        site.log(&web, &document(json!({"id": own, "integrationId": "bot", "properties": {"again": true}})));
        assert_eq!(site.get(&format!("/conversations/{own}"), &web)["properties"], json!({"again": true}));
        site.log(&web, &document(json!({"id": made, "externalId": "ticket-2", "properties": {"round": round}})));
        site.log(&web, &document(json!({"id": "of-a-page", "externalId": "ticket-3"})));
        for _ in 0..2 {
            site.ok("POST", "/events", &web, Some(&event(&format!("e{round}"))));
            site.ok("POST", "/feedback", &web, Some(&feedback(&format!("f{round}"), &made_message)));
        }
        site.ok("DELETE", &format!("/conversations/{own}"), &web, None);
        site.refused(404, "GET", &format!("/conversations/{own}"), &web, None);
        site.restart();
    }
}

#[test]
fn external_ids_select_what_the_same_key_made_where_the_key_was_made_so() {
    let mut site = Site::start(&[]);
    let (api, plain, other) = (site.api_key(), site.web_key(&[]), site.web_key(&["--external-ids"]));
    let web = site.web_key(&["--external-ids", "--name", "the widget of the shop"]);
    site.log(&api, &document(json!({"externalId": "of-api"})));
    let first = site.log(&web, &document(json!({"externalId": "visit"})));
    for round in 0..2 {
        let again = site.log(&web, &document(json!({"externalId": "visit", "properties": {"round": round}})));
        assert_eq!(again["id"], first["id"]);
        for (key, external_id) in [(&plain, "visit"), (&other, "visit"), (&web, "of-api")] {
            let detail =
                site.refused(409, "POST", "/conversations", key, Some(&document(json!({"externalId": external_id}))));
            assert!(detail.contains("first answer"), "{detail}");
            tells_nothing(&detail, &[text(&first["id"])]);
        }
        site.restart();
    }
    // Its successor goes on where it was.
    let store = site.store().to_str().expect("UTF-8");
    let list = run(&["keys", "list", "--store", store]);
    let line = list.lines().find(|line| line.contains("the widget of the shop")).expect("the key");
    let id = line.split_whitespace().next().expect("an id");
    let successor = run(&["keys", "rotate", id, "--store", store]).trim().to_owned();
    assert_eq!(site.log(&successor, &document(json!({"externalId": "visit"})))["id"], first["id"]);
}

#[test]
fn a_key_has_a_rate_and_every_answer_its_type() {
    let site = Site::start(&[]);
    let web = site.web_key(&["--rate", "1"]);
    let (api, unknown) = (site.api_key(), "/conversations/none");
    let refused = (0..5).map(|_| site.send("GET", unknown, &web, None)).find(|answer| answer.status != 404);
    let refused = refused.expect("no more than two at once");
    crate::site::problem(&refused, 429, unknown);
    // Nobody else has to wait for it.
    (0..20).for_each(|_| drop(site.refused(404, "GET", unknown, &api, None)));
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    site.refused(404, "GET", unknown, &web, None);
    for (method, path) in [("GET", "/health"), ("GET", unknown), ("OPTIONS", "/conversations"), ("GET", "/docs")] {
        let answer = site.send(method, path, &api, None);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {path}");
    }
}
