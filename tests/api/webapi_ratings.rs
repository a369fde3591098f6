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
        assert_eq!(agent["userProperties"], json!({"supportAgentEmail": "agent@x", "userType": "agent"}));
        let rows = feedback(&site, &key);
        assert_eq!((rows.as_array().map(Vec::len), &rows[0]["conversationId"]), (Some(2), &json!("c")));
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
        // What Part A was given stays, so the newest of it comes up; so does the other rater's.
        assert_eq!(rate(&site, &key, "c/chats/m", &[], &nothing), json!([true, true]));
        assert_eq!(feedback(&site, &key).as_array().map(Vec::len), Some(4));
        site.restart();
    }
    assert_eq!(rate(&site, &key, "c/chats/m", AGENT, &nothing), json!([true, null]));
    let left = feedback(&site, &key);
    assert_eq!(json!([left[0]["id"], left[1]["id"], left[2]["id"], left[3]]), json!(["f2", "f1", "f3", null]));
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

#[test]
fn null_removes_only_what_this_api_gave() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let web = site.key("web", "acme", Some("docs"), &[]);
    log(&site, &web, "c", &["m"]);
    let visitor = json!({"id": "visitor", "type": "negative", "messageId": "m", "details": "no"}).to_string();
    site.ok("POST", "/feedback", &web, Some(&visitor));
    let nothing = json!({"rating": null});
    for _ in 0..2 {
        // Nothing was given here: by the key, by the user, by an agent.
        for headers in [&[][..], &[("OWN-USER-ID", "c")], AGENT, &[("OWN-USER-ID", "c"), ("USER-EMAIL", "")][..1]] {
            assert_eq!(rate(&site, &key, "c/chats/m", headers, &nothing), json!([false, null]), "{headers:?}");
        }
        assert_eq!(site.get("/feedback/visitor", &key)["details"], "no");
        site.restart();
    }
    // Another user's call finds no such conversation.
    let path = format!("{ROOT}/c/chats/m/feedback");
    let answer =
        site.server.request_with("POST", &path, Some(&key), Some(br#"{"rating":null}"#), &[("OWN-USER-ID", "other")]);
    problem(&answer, 404, &path);
    assert_eq!(rate(&site, &key, "c/chats/m", &[("OWN-USER-ID", "c")], &json!({"rating": true})), json!([true, null]));
    assert_eq!(rate(&site, &key, "c/chats/m", &[], &nothing), json!([true, null]));
    assert_eq!(rate(&site, &key, "c/chats/m", &[("OWN-USER-ID", "c")], &nothing), json!([false, null]));
    assert_eq!(feedback(&site, &key).as_array().map(Vec::len), Some(1));
}

#[test]
fn each_agent_and_each_user_has_one() {
    let mut site = Site::start(&[]);
    let (key, other_key) = (site.api_key(), site.api_key());
    let document = json!({"id": "c", "type": "openai", "userProperties": {"userId": "u", "email": "u@x"},
        "messages": [{"id": "m", "role": "user", "content": "x"}]});
    site.log(&key, &document.to_string());
    let (ann, bo) = (&[("AGENT-EMAIL", "ann@x")], &[("AGENT-EMAIL", "bo@x")]);
    let user = &[("OWN-USER-ID", "u")];
    let chat = "c/chats/m";
    // The newest of each kind shows.
    assert_eq!(rate(&site, &key, chat, ann, &json!({"rating": true})), json!([null, true]));
    assert_eq!(rate(&site, &key, chat, bo, &json!({"rating": false})), json!([null, false]));
    assert_eq!(rate(&site, &key, chat, user, &json!({"rating": false})), json!([false, false]));
    assert_eq!(rate(&site, &key, chat, &[], &json!({"rating": true})), json!([true, false]));
    assert_eq!(rate(&site, &other_key, chat, &[], &json!({"rating": false})), json!([false, false]));
    assert_eq!(feedback(&site, &key).as_array().map(Vec::len), Some(5));
    site.restart();
    // One each, whatever the case of an e-mail.
    assert_eq!(rate(&site, &key, chat, &[("AGENT-EMAIL", "ANN@X")], &json!({"rating": true})), json!([false, true]));
    assert_eq!(feedback(&site, &key).as_array().map(Vec::len), Some(5));
    assert_eq!(rate(&site, &key, chat, user, &json!({"rating": true})), json!([true, true]));
    assert_eq!(rate(&site, &key, chat, user, &json!({"rating": false})), json!([false, true]));
    // An e-mail alone names no user, so it is the key's.
    let email = &[("USER-EMAIL", "u@x")];
    assert_eq!(rate(&site, &key, chat, email, &json!({"rating": true})), json!([true, true]));
    assert_eq!(rate(&site, &other_key, chat, &[], &json!({"rating": false})), json!([false, true]));
    let rows = feedback(&site, &key);
    let who: Vec<&Value> = rows.as_array().expect("rows").iter().map(|row| &row["userProperties"]).collect();
    assert_eq!(who.iter().filter(|who| ***who == json!({"email": "u@x"})).count(), 1, "{who:?}");
    assert_eq!(who.len(), 5);
    // A removal brings up the newest one left, and takes nobody else's.
    let nothing = json!({"rating": null});
    for (key, headers, expected, left) in [
        (&key, &ann[..], json!([false, false]), 4),
        (&key, &ann[..], json!([false, false]), 4),
        (&other_key, &[][..], json!([true, false]), 3),
        (&key, &[][..], json!([false, false]), 2),
        (&key, &bo[..], json!([false, null]), 1),
        (&other_key, &user[..], json!([null, null]), 0),
    ] {
        assert_eq!(rate(&site, key, chat, headers, &nothing), expected, "{headers:?}");
        site.restart();
        assert_eq!(shown(&site, key, chat), expected, "{headers:?}");
        assert_eq!(feedback(&site, key).as_array().map(Vec::len), Some(left), "{headers:?}");
    }
}

#[test]
fn part_a_tells_whose_rating_it_is() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let document = json!({"id": "c", "type": "openai", "userProperties": {"userId": "u", "email": "U@x"},
        "messages": [{"id": "m", "role": "user", "content": "x"}]});
    site.log(&key, &document.to_string());
    let chat = "c/chats/m";
    let (user, email, agent) = (("OWN-USER-ID", "u"), ("USER-EMAIL", "u@x"), ("AGENT-EMAIL", "ann@x"));
    rate(&site, &key, chat, &[], &json!({"rating": true}));
    rate(&site, &key, chat, &[user, email], &json!({"rating": true}));
    rate(&site, &key, chat, &[agent], &json!({"rating": true}));
    rate(&site, &key, chat, &[("AGENT-EMAIL", "bo@x"), user, email], &json!({"rating": false}));
    for _ in 0..2 {
        let rows = feedback(&site, &key);
        let who: Vec<&Value> = rows.as_array().expect("rows").iter().map(|row| &row["userProperties"]).collect();
        assert_eq!(
            json!(who),
            json!([
                null,
                {"userId": "u", "email": "u@x"},
                {"supportAgentEmail": "ann@x", "userType": "agent"},
                {"userId": "u", "email": "u@x", "supportAgentEmail": "bo@x", "userType": "agent"},
            ])
        );
        // So agents' ratings can be counted by themselves.
        let request = json!({"select": [{"type": "aggregation", "aggregation": "count"}], "where": {"condition":
            {"field": "userProperties", "operator": "eq", "value": {"path": ["userType"], "value": "agent"}}}});
        assert_eq!(site.query_view("feedback", &key, &request.to_string())["result"], json!([{"count": 2}]));
        site.restart();
    }
}
