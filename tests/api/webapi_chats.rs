//! The order and the times of chats (contract Part B): a message without a time follows the one before it.

use serde_json::{Value, json};

use crate::site::Site;
use crate::webapi::{ROOT, TEN};

fn log(site: &Site, key: &str, id: &str, messages: Value) {
    let document = json!({"id": id, "type": "openai", "createdAt": "2024-08-26T10:00:00Z", "messages": messages});
    site.log(key, &document.to_string());
}

fn message(id: &str, role: &str, minute: Option<i64>) -> Value {
    let mut message = json!({"id": id, "role": role, "content": format!("of {id}")});
    if let Some(minute) = minute {
        message["createdAt"] =
            json!(format!("2024-08-26T{:02}:{:02}:00Z", 10 + minute.div_euclid(60), minute.rem_euclid(60)));
    }
    message
}

/// Ids and minutes after ten.
fn chats(value: &Value) -> Vec<(String, i64)> {
    let chats = value["chats"].as_array().expect("chats");
    let minute = |chat: &Value| (chat["timestamp"].as_i64().expect("a number") - TEN).div_euclid(60_000);
    chats.iter().map(|chat| (chat["id"].as_str().expect("an id").to_owned(), minute(chat))).collect()
}

#[test]
fn a_message_without_a_time_follows_the_one_before_it() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    // A question with a time, its reply without.
    log(&site, &key, "reply", json!([message("q", "user", Some(5)), message("a", "assistant", None)]));
    // The first has none either: the conversation's time. The later ones go back and forth.
    let mixed = json!([
        message("m0", "system", None),
        message("m1", "user", Some(9)),
        message("m2", "assistant", None),
        message("m3", "user", Some(3)),
        message("m4", "assistant", None),
        message("m5", "user", None),
    ]);
    log(&site, &key, "mixed", mixed);
    // All that is given lies before the conversation.
    log(&site, &key, "early", json!([message("e0", "assistant", None), message("e1", "user", Some(-10))]));
    log(&site, &key, "none", json!([message("n0", "user", None), message("n1", "assistant", None)]));
    let pairs = |pairs: &[(&str, i64)]| -> Vec<(String, i64)> {
        pairs.iter().map(|(id, minute)| ((*id).to_owned(), *minute)).collect()
    };
    for _ in 0..2 {
        for (id, expected, title, running, last) in [
            ("reply", pairs(&[("q", 5), ("a", 5)]), "of q", false, 5),
            ("mixed", pairs(&[("m0", 0), ("m3", 3), ("m4", 3), ("m5", 3), ("m1", 9), ("m2", 9)]), "of m3", false, 9),
            ("early", pairs(&[("e1", -10), ("e0", 0)]), "of e1", false, 0),
            ("none", pairs(&[("n0", 0), ("n1", 0)]), "of n0", false, 0),
        ] {
            let whole = site.get(&format!("{ROOT}/{id}"), &key);
            assert_eq!(chats(&whole), expected, "{id}");
            assert_eq!(chats(&site.get(&format!("{ROOT}/{id}/chats"), &key)), expected, "{id}");
            assert_eq!(whole["title"], title, "{id}");
            assert_eq!(whole["lastChatTime"], json!(TEN + last * 60_000), "{id}");
            assert_eq!(site.get(&format!("{ROOT}/{id}/running"), &key), json!({ "isRunning": running }), "{id}");
            for (chat, minute) in &expected {
                let one = site.get(&format!("{ROOT}/{id}/chats/{chat}"), &key);
                assert_eq!(one["timestamp"], json!(TEN + minute * 60_000), "{id} {chat}");
            }
        }
        let running = site.get(&format!("{ROOT}?backgroundRunning=true"), &key);
        assert_eq!(running["conversations"], json!([]));
        site.restart();
    }
    // The user's last message has no time, and still is the last.
    log(&site, &key, "reply", json!([message("q", "assistant", Some(5)), message("a", "user", None)]));
    assert_eq!(site.get(&format!("{ROOT}/reply/running"), &key), json!({"isRunning": true}));
    // Part A shows the conversation's time (contract A2).
    assert_eq!(site.get("/conversations/reply", &key)["messages"][1]["createdAt"], "2024-08-26T10:00:00.000Z");
}

#[test]
fn the_latest_twenty_end_with_the_last_reply() {
    let site = Site::start(&[]);
    let key = site.api_key();
    // Only questions have times.
    let messages: Vec<Value> = (0..15)
        .flat_map(|turn| {
            [message(&format!("q{turn}"), "user", Some(turn)), message(&format!("a{turn}"), "assistant", None)]
        })
        .collect();
    log(&site, &key, "c", json!(messages));
    let expected: Vec<(String, i64)> =
        (5..15).flat_map(|turn| [(format!("q{turn}"), turn), (format!("a{turn}"), turn)]).collect();
    assert_eq!(chats(&site.get(&format!("{ROOT}/c"), &key)), expected);
    assert_eq!(chats(&site.get(ROOT, &key)["conversations"][0]), expected);
}

#[test]
fn page_numbers_start_at_one() {
    let site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, "c", json!([message("m", "user", None)]));
    for page in ["x", "0", "-1", "1.5", ""] {
        let path = format!("{ROOT}/c/chats?pageNo={page}");
        let detail = site.refused(400, "GET", &path, &key, None);
        assert!(detail.starts_with("pageNo") && detail.contains("from 1 to"), "{detail}");
    }
}

#[test]
fn users_and_citations_are_there_only_if_something_is_given() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let links = json!([
        {"url": "https://a", "title": "", "label": "Label"}, {"url": "https://b", "title": "", "label": ""},
        {"url": "https://c"}, {"url": "https://d", "title": "Title", "label": "Label"},
        {"url": "https://e", "title": null, "label": "Label"},
    ]);
    for (id, user) in [
        ("null", json!(null)),
        ("empty", json!({})),
        ("other", json!({"email": "a@x", "plan": "pro"})),
        ("blank", json!({"userId": "", "id": null, "firstName": ""})),
        ("id", json!({"userId": "", "id": "v"})),
        ("name", json!({"lastName": "Bo"})),
    ] {
        let document = json!({"id": id, "type": "openai", "userProperties": user,
            "messages": [{"id": "m", "role": "assistant", "content": "x", "links": links}]});
        site.log(&key, &document.to_string());
    }
    for _ in 0..2 {
        for (id, user) in [
            ("null", Value::Null),
            ("empty", Value::Null),
            ("other", Value::Null),
            ("blank", Value::Null),
            ("id", json!({"userId": "v", "firstName": "", "lastName": ""})),
            ("name", json!({"userId": "", "firstName": "", "lastName": "Bo"})),
        ] {
            let shown = site.get(&format!("{ROOT}/{id}"), &key);
            assert_eq!(shown["user"], user, "{id}");
            let citations = shown["chats"][0]["citations"].as_array().expect("citations");
            let titles: Vec<&Value> = citations.iter().map(|citation| &citation["title"]).collect();
            assert_eq!(json!(titles), json!(["Label", null, null, "Title", "Label"]));
        }
        site.restart();
    }
}
