//! Ratings of chats (contract Part B, 10): the same feedback as that of Part A.

use serde_json::{Value, json};

use crate::site::{Site, problem, text};
use crate::webapi::ROOT;

const AGENT: &[(&str, &str)] = &[("AGENT-EMAIL", "agent@x")];

fn log(site: &Site, key: &str, id: &str, messages: &[&str]) {
    let messages: Vec<Value> =
        messages.iter().map(|id| json!({"id": id, "role": "user", "content": format!("of {id}")})).collect();
    let document = json!({"id": id, "type": "openai", "createdAt": "2024-08-26", "messages": messages,
        "userProperties": {"userId": id}});
    site.log(key, &document.to_string());
}

/// Rates a chat; gives the answer's two ratings, after checking that it is the whole chat.
fn rate(site: &Site, key: &str, chat: &str, headers: &[(&str, &str)], body: &Value) -> Value {
    let path = format!("{ROOT}/{chat}/feedback");
    let body = body.to_string();
    let answer = site.server.request_with("POST", &path, Some(key), Some(body.as_bytes()), headers);
    assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
    let answer = answer.json();
    assert_eq!(answer, site.get(&format!("{ROOT}/{chat}"), key));
    ratings(&answer)
}

fn ratings(chat: &Value) -> Value {
    json!([chat["rating"], chat["agentRating"]])
}

fn shown(site: &Site, key: &str, chat: &str) -> Value {
    ratings(&site.get(&format!("{ROOT}/{chat}"), key))
}

fn feedback(site: &Site, key: &str) -> Value {
    let request = r#"{"orderBy":[{"field":"createdAt","direction":"asc"}]}"#;
    site.query_view("feedback", key, request)["result"].clone()
}

#[test]
fn a_rating_is_feedback_of_part_a() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, "c", &["m1", "m2"]);
    let body = json!({"rating": false, "feedbackSelection": "wrong", "suggestedAnswer": "Better"});
    assert_eq!(rate(&site, &key, "c/chats/m2", &[], &body), json!([false, null]));
    assert_eq!(rate(&site, &key, "c/chats/m2", AGENT, &json!({"rating": true})), json!([false, true]));
    let title = site.ok("PUT", &format!("{ROOT}/c/title"), &key, Some(r#"{"title":"t"}"#)).json();
    assert_eq!(ratings(&title["chats"][1]), json!([false, true]));
    let all = site.get("/feedback", &key);
    let (user, agent) = (all["negativeFeedback"][0].clone(), all["positiveFeedback"][0].clone());
    for _ in 0..2 {
        assert_eq!(site.get("/feedback", &key), all);
        assert_eq!(
            (&all["positiveFeedbackCount"], &all["negativeFeedbackCount"], &user["conversation"]["id"]),
            (&json!(1), &json!(1), &json!("c"))
        );
        let id = text(&user["id"]);
        let stored = json!({"id": id, "type": "negative", "messageId": "m2", "createdAt": user["createdAt"],
            "updatedAt": user["createdAt"], "reasons": [{"label": "wrong", "details": ""}], "details": "Better",
            "properties": null, "userProperties": null, "sources": null,
            "conversation": site.get("/conversations/c", &key), "message": user["message"]});
        // No more than Part A's fixed shape: nothing of who set it.
        assert_eq!(site.get(&format!("/feedback/{id}"), &key), stored);
        assert_eq!((&agent["reasons"], &agent["details"]), (&Value::Null, &Value::Null));
        let rows = feedback(&site, &key);
        assert_eq!((rows.as_array().map(Vec::len), &rows[0]["conversationId"]), (Some(2), &json!("c")));
        assert!(!rows.to_string().contains("agent@x") && !all.to_string().contains("agent@x"));
        // Every face of the conversation shows it.
        let whole = site.get(&format!("{ROOT}/c"), &key);
        let list = site.get(ROOT, &key)["conversations"][0].clone();
        let chats = site.get(&format!("{ROOT}/c/chats"), &key);
        for chats in [&whole["chats"], &list["chats"], &chats["chats"]] {
            assert_eq!((ratings(&chats[0]), ratings(&chats[1])), (json!([null, null]), json!([false, true])));
        }
        site.restart();
    }
    // Again: the same record, newer.
    for _ in 0..2 {
        assert_eq!(rate(&site, &key, "c/chats/m2", &[], &json!({"rating": true})), json!([true, true]));
        let again = site.get(&format!("/feedback/{}", text(&user["id"])), &key);
        assert_eq!(
            (&again["type"], &again["reasons"], &again["details"]),
            (&json!("positive"), &json!(null), &json!(null))
        );
        assert_eq!(feedback(&site, &key).as_array().map(Vec::len), Some(2));
        site.restart();
    }
    // Written again by Part A it stays the agent's; deleted there it is gone.
    let path = format!("/feedback/{}", text(&agent["id"]));
    let body = json!({"id": agent["id"], "type": "negative", "messageId": "m2"}).to_string();
    site.ok("POST", "/feedback", &key, Some(&body));
    assert_eq!(shown(&site, &key, "c/chats/m2"), json!([true, false]));
    site.ok("DELETE", &path, &key, None);
    assert_eq!(shown(&site, &key, "c/chats/m2"), json!([true, null]));
    site.restart();
    assert_eq!(shown(&site, &key, "c/chats/m2"), json!([true, null]));
}

#[test]
fn the_newest_counts_and_null_removes() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, "c", &["m"]);
    let submit = |site: &Site, id: &str, kind: &str, created_at: &str| {
        let body = json!({"id": id, "type": kind, "messageId": "m", "createdAt": created_at}).to_string();
        site.ok("POST", "/feedback", &key, Some(&body));
    };
    submit(&site, "f1", "positive", "2024-08-27");
    assert_eq!(shown(&site, &key, "c/chats/m"), json!([true, null]));
    submit(&site, "f2", "negative", "2024-08-26");
    for _ in 0..2 {
        assert_eq!(shown(&site, &key, "c/chats/m"), json!([true, null]));
        site.restart();
    }
    assert_eq!(rate(&site, &key, "c/chats/m", &[], &json!({"rating": false})), json!([false, null]));
    // Ahead of the clock; what is given later is newer all the same.
    submit(&site, "f3", "positive", "2999-01-01");
    assert_eq!(shown(&site, &key, "c/chats/m"), json!([true, null]));
    assert_eq!(rate(&site, &key, "c/chats/m", &[], &json!({"rating": false})), json!([false, null]));
    assert_eq!(rate(&site, &key, "c/chats/m", AGENT, &json!({"rating": true})), json!([false, true]));
    site.restart();
    assert_eq!(feedback(&site, &key).as_array().map(Vec::len), Some(5));
    let nothing = json!({"rating": null, "feedbackSelection": "ignored"});
    for _ in 0..2 {
        // No older one comes up, and the other rater's stays.
        assert_eq!(rate(&site, &key, "c/chats/m", &[], &nothing), json!([null, true]));
        assert_eq!(feedback(&site, &key).as_array().map(Vec::len), Some(1));
        site.restart();
    }
    assert_eq!(rate(&site, &key, "c/chats/m", AGENT, &nothing), json!([null, null]));
    assert_eq!(feedback(&site, &key), json!([]));
}

#[test]
fn a_rating_stays_with_its_conversation_and_message() {
    for restarts in [false, true] {
        let mut site = Site::start(&[]);
        let key = site.api_key();
        let settle = |site: &mut Site| {
            if restarts {
                site.restart();
            }
        };
        log(&site, &key, "a", &["m", "n"]);
        log(&site, &key, "b", &["m"]);
        // Both have the message; Part A means the newest (here by id), Part B the one named.
        settle(&mut site);
        assert_eq!(rate(&site, &key, "a/chats/m", &[], &json!({"rating": true})), json!([true, null]));
        assert_eq!(shown(&site, &key, "b/chats/m"), json!([null, null]));
        assert_eq!(rate(&site, &key, "b/chats/m", &[], &json!({"rating": false})), json!([false, null]));
        settle(&mut site);
        let owners = |site: &Site| {
            let rows = feedback(site, &key);
            json!([[rows[0]["type"], rows[0]["conversationId"]], [rows[1]["type"], rows[1]["conversationId"]]])
        };
        assert_eq!(owners(&site), json!([["positive", "a"], ["negative", "b"]]));
        // A re-log keeps it, also one that takes the message from the other conversation and gives it back.
        log(&site, &key, "a", &["n", "m"]);
        log(&site, &key, "b", &["x"]);
        settle(&mut site);
        assert_eq!(shown(&site, &key, "a/chats/m"), json!([true, null]));
        assert_eq!(owners(&site), json!([["positive", "a"], ["negative", null]]));
        log(&site, &key, "b", &["x", "m"]);
        settle(&mut site);
        assert_eq!(
            (shown(&site, &key, "a/chats/m"), shown(&site, &key, "b/chats/m")),
            (json!([true, null]), json!([false, null]))
        );
        assert_eq!(owners(&site), json!([["positive", "a"], ["negative", "b"]]));
        site.ok("DELETE", "/conversations/b", &key, None);
        settle(&mut site);
        assert_eq!(shown(&site, &key, "a/chats/m"), json!([true, null]));
        assert_eq!(feedback(&site, &key).as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn long_conversations_show_their_ratings() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let ids: Vec<String> = (0..1_100).map(|number| format!("m{number}")).collect();
    log(&site, &key, "c", &ids.iter().map(String::as_str).collect::<Vec<_>>());
    for id in ["m0", "m1099"] {
        rate(&site, &key, &format!("c/chats/{id}"), &[], &json!({"rating": true}));
    }
    for _ in 0..2 {
        let of = |chats: &Value, id: &str| {
            let chats = chats["chats"].as_array().expect("chats");
            chats.iter().find(|chat| chat["id"] == id).map(ratings)
        };
        assert_eq!(of(&site.get(&format!("{ROOT}/c"), &key), "m1099"), Some(json!([true, null])));
        assert_eq!(of(&site.get(&format!("{ROOT}/c/chats"), &key), "m0"), Some(json!([true, null])));
        assert_eq!(of(&site.get(&format!("{ROOT}/c/chats?pageNo=11"), &key), "m1099"), Some(json!([true, null])));
        assert_eq!(of(&site.get(&format!("{ROOT}/c/chats"), &key), "m1"), Some(json!([null, null])));
        site.restart();
    }
}

#[test]
fn bad_ratings_are_refused() {
    let site = Site::start(&[]);
    let key = site.api_key();
    let web = site.key("web", "acme", Some("docs"), &["query"]);
    log(&site, &key, "c", &["m"]);
    let path = format!("{ROOT}/c/chats/m/feedback");
    for (body, place) in [
        ("{}", "rating"),
        (r#"{"rating":"true"}"#, "rating"),
        (r#"{"rating":1}"#, "rating"),
        (r#"{"rating":true,"feedbackSelection":5}"#, "feedbackSelection"),
        (r#"{"rating":true,"suggestedAnswer":[]}"#, "suggestedAnswer"),
        (r#"{"rating":true,"suggestedAnswer":"\u0000"}"#, "suggestedAnswer"),
        ("[]", ""),
    ] {
        let detail = site.refused(422, "POST", &path, &key, Some(body));
        assert!(detail.starts_with(place), "{body}: {detail}");
    }
    site.refused(400, "POST", &path, &key, Some("{"));
    let rating = Some(r#"{"rating":true}"#);
    site.refused(403, "POST", &path, &web, rating);
    for chat in ["c/chats/x", "x/chats/m"] {
        for body in [r#"{"rating":true}"#, r#"{"rating":null}"#] {
            site.refused(404, "POST", &format!("{ROOT}/{chat}/feedback"), &key, Some(body));
        }
    }
    for (headers, status) in
        [(&[("OWN-USER-ID", "other")], 404), (&[("OWN-USER-ID", "c")], 200), (&[("AGENT-EMAIL", "")], 400)]
    {
        let answer = site.server.request_with("POST", &path, Some(&key), rating.map(str::as_bytes), headers);
        if status == 200 {
            assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text());
        } else {
            problem(&answer, status, &path);
        }
    }
    assert_eq!(feedback(&site, &key).as_array().map(Vec::len), Some(1));
}
