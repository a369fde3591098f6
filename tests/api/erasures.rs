//! `POST /erase`, `GET /erase/{id}`, `DELETE /events/{id}` (contract A7). That nothing is left in the store is tested
//! among what is durable.

use serde_json::{Value, json};

use crate::site::{ORGANIZATION, Site, text};

fn log(site: &Site, key: &str, id: &str, user: &Value) {
    let document = json!({"id": id, "type": "openai", "userProperties": user,
        "messages": [{"id": format!("m-{id}"), "role": "user", "content": "hello"}]});
    site.log(key, &document.to_string());
    let event = json!({"id": format!("e-{id}"), "type": "t", "entityType": "message", "messageId": format!("m-{id}")});
    site.ok("POST", "/events", key, Some(&event.to_string()));
    let feedback = json!({"id": format!("f-{id}"), "type": "positive", "messageId": format!("m-{id}")});
    site.ok("POST", "/feedback", key, Some(&feedback.to_string()));
}

fn search(site: &Site, key: &str, id: &str, user: &Value) {
    let event = json!({"id": id, "type": "t", "entityType": "search", "searchQuery": "q", "userProperties": user});
    site.ok("POST", "/events", key, Some(&event.to_string()));
}

fn ids(site: &Site, key: &str, view: &str) -> Vec<String> {
    let rows = site.query_view(view, key, r#"{"select":[{"type":"field","field":"id"}]}"#)["result"].clone();
    let mut ids: Vec<String> = rows.as_array().expect("rows").iter().map(|row| text(&row["id"]).to_owned()).collect();
    ids.sort();
    ids
}

fn erase(site: &Site, path: &str, key: &str, body: &Value) -> Value {
    site.ok("POST", path, key, Some(&body.to_string())).json()
}

#[test]
fn a_user_is_erased_with_all_that_hangs_on_them() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, "a", &json!({"userId": "u", "id": "v"}));
    log(&site, &key, "b", &json!({"id": "u"}));
    log(&site, &key, "c", &json!({"userId": "v", "id": "u"}));
    log(&site, &key, "n", &json!({"userId": 17}));
    log(&site, &key, "o", &Value::Null);
    search(&site, &key, "s-u", &json!({"userId": "u"}));
    search(&site, &key, "s-v", &json!({"userId": "v"}));
    // Half of them in files.
    site.restart();
    log(&site, &key, "d", &json!({"userId": "u"}));
    let answer = erase(&site, "/erase", &key, &json!({"userId": "u"}));
    let expected = json!({"id": answer["id"], "conversations": 3, "events": 4, "feedback": 3, "state": "hidden"});
    assert_eq!(answer, expected);
    assert_eq!(site.get(&format!("/erase/{}", text(&answer["id"])), &key), expected);
    assert_eq!(ids(&site, &key, "conversations"), ["c", "n", "o"]);
    assert_eq!(ids(&site, &key, "events"), ["e-c", "e-n", "e-o", "s-v"]);
    assert_eq!(ids(&site, &key, "feedback"), ["f-c", "f-n", "f-o"]);
    assert_eq!(erase(&site, "/erase", &key, &json!({"userId": 17}))["conversations"], 1);
    assert_eq!(erase(&site, "/erase", &key, &json!({"userId": "u"}))["conversations"], 0);
    // It may come again.
    log(&site, &key, "a", &json!({"userId": "u"}));
    assert_eq!(ids(&site, &key, "conversations"), ["a", "c", "o"]);
    if crate::support::is_remote() {
        return;
    }
    let record = std::fs::read_dir(site.store().join("erasures/waiting")).expect("records").count();
    assert_eq!(record, 3);
}

#[test]
fn conversations_and_events_are_erased_by_their_ids() {
    let site = Site::start(&[]);
    let key = site.api_key();
    for id in ["a", "b", "c"] {
        log(&site, &key, id, &Value::Null);
    }
    search(&site, &key, "s", &Value::Null);
    let answer = erase(&site, "/erase", &key, &json!({"conversationIds": ["a", "b", "unknown", "a"]}));
    assert_eq!((&answer["conversations"], &answer["events"], &answer["feedback"]), (&json!(2), &json!(2), &json!(2)));
    assert_eq!(ids(&site, &key, "conversations"), ["c"]);
    let answer = erase(&site, "/erase", &key, &json!({"eventIds": ["s", "e-c", "e-a"]}));
    assert_eq!((&answer["conversations"], &answer["events"]), (&json!(0), &json!(2)));
    assert!(ids(&site, &key, "events").is_empty());
    search(&site, &key, "s", &Value::Null);
    assert_eq!(site.ok("DELETE", "/events/s", &key, None).json(), json!({"success": true, "message": "Event deleted"}));
    site.refused(404, "DELETE", "/events/s", &key, None);
    for body in ["{}", r#"{"userId":""}"#, r#"{"userId":"u","eventIds":["e"]}"#, r#"{"conversationIds":[]}"#] {
        site.refused(422, "POST", "/erase", &key, Some(body));
    }
    site.refused(404, "GET", "/erase/unknown", &key, None);
}

/// A key erases in its project only, and sees no other's erasures.
#[test]
fn a_key_erases_only_what_it_reaches() {
    let site = Site::start(&[]);
    let docs = site.api_key();
    let shop = site.key("api", ORGANIZATION, Some("shop"), &[]);
    let org = site.key("org", ORGANIZATION, None, &[]);
    let other = site.key("org", "other", None, &[]);
    let user = json!({"userId": "u"});
    for key in [&docs, &shop] {
        log(&site, key, "same", &user);
        search(&site, key, "s", &user);
    }
    let whole = json!({"conversationIds": ["same"]});
    assert_eq!(erase(&site, "/erase", &other, &json!({"userId": "u"}))["conversations"], 0);
    assert_eq!(erase(&site, "/erase", &other, &whole)["conversations"], 0);
    site.refused(403, "POST", "/erase?projectId=shop", &docs, Some(&whole.to_string()));
    let detail = site.refused(409, "POST", "/erase", &org, Some(&whole.to_string()));
    assert!(detail.contains("docs") && detail.contains("shop"), "{detail}");
    site.refused(409, "POST", "/erase", &org, Some(r#"{"eventIds":["s"]}"#));
    site.refused(409, "DELETE", "/events/s", &org, None);
    site.refused(404, "DELETE", "/events/s", &other, None);
    site.refused(404, "DELETE", "/events/s?projectId=docs", &shop, None);
    assert_eq!((ids(&site, &org, "conversations").len(), ids(&site, &org, "events").len()), (2, 4));

    let answer = erase(&site, "/erase", &docs, &whole);
    assert_eq!(answer["conversations"], 1);
    assert_eq!((ids(&site, &docs, "conversations").len(), ids(&site, &shop, "conversations").len()), (0, 1));
    let path = format!("/erase/{}", text(&answer["id"]));
    assert_eq!(site.get(&path, &docs)["state"], "hidden");
    assert_eq!(site.get(&path, &org)["state"], "hidden");
    for key in [&shop, &other] {
        site.refused(404, "GET", &path, key, None);
    }
    log(&site, &docs, "same", &user);
    let answer = erase(&site, "/erase", &org, &json!({"userId": "u"}));
    assert_eq!(answer["conversations"], 2);
    site.refused(404, "GET", &format!("/erase/{}", text(&answer["id"])), &docs, None);
    assert!(ids(&site, &org, "conversations").is_empty() && ids(&site, &org, "events").is_empty());
}
