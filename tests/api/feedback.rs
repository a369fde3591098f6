//! Feedback (contract A4): logging, listing, deleting it, and `POST /query/feedback`.

use serde_json::{Value, json};

use crate::site::{PROJECT, Site};

fn log(site: &Site, key: &str, feedback: &Value) -> Value {
    site.ok("POST", "/feedback", key, Some(&feedback.to_string())).json()
}

fn rows(site: &Site, key: &str, request: &str) -> Value {
    site.query_view("feedback", key, request)["result"].clone()
}

fn conversation(id: &str, created_at: &str, messages: &[&str]) -> String {
    let messages: Vec<Value> =
        messages.iter().map(|id| json!({"id": id, "role": "user", "content": format!("of {id}")})).collect();
    json!({"id": id, "type": "openai", "createdAt": created_at, "messages": messages}).to_string()
}

#[test]
fn feedback_is_stored_and_shown_with_its_conversation() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let web = site.key("web", "acme", Some(PROJECT), &[]);
    // What a web key reaches (contract A1).
    site.log(&web, &conversation("c", "2024-08-26", &["m1", "m2"]));
    let whole = json!({"id": "f", "type": "negative", "messageId": "m2", "createdAt": "2024-08-27", "updatedAt": "2024-08-28",
        "reasons": [{"label": "wrong", "details": "", "more": 1}], "details": "d", "properties": {"a": [1.10]},
        "userProperties": {"userId": 5}, "sources": [{"title": "t"}, {"type": "positive", "url": null}]});
    let stored = json!({"id": "f", "type": "negative", "messageId": "m2", "createdAt": "2024-08-27T00:00:00.000Z",
        "updatedAt": "2024-08-28T00:00:00.000Z", "reasons": [{"label": "wrong", "details": ""}], "details": "d",
        "properties": {"a": [1.10]}, "userProperties": {"userId": 5},
        "sources": [{"type": null, "title": "t"}, {"type": "positive"}]});
    assert_eq!(log(&site, &web, &whole), stored);
    let minimal = log(&site, &key, &json!({"type": "positive", "messageId": "m1"}));
    let expected = json!({"id": minimal["id"], "type": "positive", "messageId": "m1", "createdAt": minimal["createdAt"],
        "updatedAt": minimal["createdAt"], "reasons": null, "details": null, "properties": null, "userProperties": null,
        "sources": null});
    assert_eq!(minimal, expected);
    for _ in 0..2 {
        let of = site.get("/conversations/c", &key);
        let mut shown = stored.clone();
        shown["conversation"] = of.clone();
        shown["message"] = of["messages"][1].clone();
        assert_eq!(site.get("/feedback/f", &key), shown);
        let mut other = minimal.clone();
        other["conversation"] = of.clone();
        other["message"] = of["messages"][0].clone();
        let all = json!({"positiveFeedbackCount": 1, "negativeFeedbackCount": 1, "positiveFeedback": [other],
            "negativeFeedback": [shown]});
        assert_eq!(site.get("/feedback", &key), all);
        let none = json!({"positiveFeedbackCount": 1, "negativeFeedbackCount": 1, "positiveFeedback": [],
            "negativeFeedback": []});
        assert_eq!(site.get("/feedback?limit=0", &key), none);
        assert_eq!(site.get("/feedback?offset=1", &key), none);
        site.restart();
    }
    site.ok("DELETE", "/feedback/f", &key, None);
    for method in ["GET", "DELETE"] {
        site.refused(404, method, "/feedback/f", &key, None);
        site.refused(403, method, "/feedback/f", &web, None);
    }
    site.refused(403, "GET", "/feedback", &web, None);
    assert_eq!(site.get("/feedback", &key)["negativeFeedbackCount"], 0);
    site.restart();
    site.refused(404, "GET", "/feedback/f", &key, None);
}

#[test]
fn a_message_of_the_project_is_needed() {
    let mut site = Site::start(&[]);
    let (key, other) = (site.api_key(), site.key("api", "acme", Some("shop"), &[]));
    let org = site.key("org", "acme", None, &[]);
    site.log(&key, &conversation("c", "2024-08-26", &["m"]));
    let body = json!({"id": "f", "type": "positive", "messageId": "m"});
    for _ in 0..2 {
        let detail = site.refused(422, "POST", "/feedback", &other, Some(&body.to_string()));
        assert!(detail.starts_with("messageId"), "{detail}");
        site.refused(422, "POST", "/feedback", &org, Some(&body.to_string()));
        let unknown = json!({"type": "positive", "messageId": "c"}).to_string();
        site.refused(422, "POST", "/feedback", &key, Some(&unknown));
        log(&site, &key, &body);
        for path in ["/feedback/f", "/feedback/f?projectId=docs"] {
            site.refused(404, "GET", path, &other, None);
            site.refused(404, "DELETE", path, &other, None);
        }
        assert_eq!(rows(&site, &other, "{}"), json!([]));
        assert_eq!(site.get("/feedback/f?projectId=docs", &org)["id"], "f");
        site.restart();
    }
    site.refused(400, "GET", "/feedback?limit=101", &key, None);
    site.refused(422, "POST", "/feedback", &key, Some(r#"{"type":"neutral","messageId":"m"}"#));
}

#[test]
fn feedback_on_a_dropped_message_is_hidden_until_it_is_back() {
    for restarts in [false, true] {
        let mut site = Site::start(&[]);
        let key = site.api_key();
        let settle = |site: &mut Site| {
            if restarts {
                site.restart();
            }
        };
        let owner = |site: &Site| rows(site, &key, r#"{"select":[{"type":"field","field":"conversationId"}]}"#);
        site.log(&key, &conversation("c", "2024-08-26", &["m1", "m2"]));
        settle(&mut site);
        log(&site, &key, &json!({"id": "f", "type": "negative", "messageId": "m2"}));
        assert_eq!(owner(&site), json!([{"conversationId": "c"}]));
        settle(&mut site);
        site.log(&key, &conversation("c", "2024-08-26", &["m1"]));
        for _ in 0..2 {
            assert_eq!(owner(&site), json!([{}]));
            site.refused(404, "GET", "/feedback/f", &key, None);
            site.refused(404, "DELETE", "/feedback/f", &key, None);
            assert_eq!(site.get("/feedback", &key)["negativeFeedbackCount"], 0);
            assert_eq!(site.get("/feedback", &key)["negativeFeedback"], json!([]));
            settle(&mut site);
        }
        site.log(&key, &conversation("c", "2024-08-26", &["m2", "m1"]));
        assert_eq!(owner(&site), json!([{"conversationId": "c"}]));
        assert_eq!(site.get("/feedback/f", &key)["message"]["id"], "m2");
        settle(&mut site);
        // The newest of several conversations with the message is meant; feedback goes with it.
        site.log(&key, &conversation("newer", "2024-08-27", &["m2"]));
        assert_eq!(site.get("/feedback/f", &key)["conversation"]["id"], "newer");
        settle(&mut site);
        site.ok("DELETE", "/conversations/newer", &key, None);
        site.refused(404, "GET", "/feedback/f", &key, None);
        assert_eq!(rows(&site, &key, "{}"), json!([]));
        settle(&mut site);
        assert_eq!(rows(&site, &key, "{}"), json!([]));
    }
}

#[test]
fn the_newest_conversation_with_the_message_is_meant() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, &conversation("a", "2024-08-26", &["m", "x"]));
    site.log(&key, &conversation("b", "2024-08-27", &["m"]));
    log(&site, &key, &json!({"id": "f", "type": "positive", "messageId": "m"}));
    site.ok("POST", "/events", &key, Some(r#"{"id":"e","type":"t","entityType":"message","messageId":"m"}"#));
    // A re-log that changes nothing but the time may change which is the newest.
    for (restarts, created_at, newest) in
        [(false, "2024-08-27", "b"), (false, "2024-08-25", "a"), (true, "2024-08-28", "b"), (true, "2024-08-24", "a")]
    {
        if restarts {
            site.restart();
        }
        site.log(&key, &conversation("b", created_at, &["m"]));
        for _ in 0..2 {
            assert_eq!(rows(&site, &key, "{}")[0]["conversationId"], newest, "{created_at}");
            assert_eq!(site.query_view("events", &key, "{}")["result"][0]["conversationId"], newest, "{created_at}");
            assert_eq!(site.get("/feedback/f", &key)["conversation"]["id"], newest, "{created_at}");
            if restarts {
                site.restart();
            }
        }
    }
}

#[test]
fn queries_reach_into_reasons_and_sources() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, &conversation("c", "2024-08-26", &["m"]));
    let reason = |label: &str| json!({"label": label, "details": "d"});
    for (id, kind, reasons) in [
        ("a", "negative", json!([reason("slow"), reason("wrong")])),
        ("b", "negative", json!([reason("wrong")])),
        ("c", "positive", json!(null)),
    ] {
        let body = json!({"id": id, "type": kind, "messageId": "m", "createdAt": "2024-08-27", "updatedAt": "2024-08-27",
            "reasons": reasons, "sources": [{"type": null}]});
        log(&site, &key, &body);
    }
    for _ in 0..2 {
        let found = rows(&site, &key, r#"{"where":{"condition":{"field":"id","operator":"eq","value":"b"}}}"#);
        let row = json!({"id": "b", "type": "negative", "messageId": "m", "createdAt": "2024-08-27T00:00:00.000Z",
            "updatedAt": "2024-08-27T00:00:00.000Z", "organizationId": "acme", "reasons": [reason("wrong")],
            "sources": [{"type": null}], "details": null, "properties": null, "userProperties": null,
            "conversationId": "c", "projectId": "docs", "integrationId": "bot"});
        assert_eq!(found, json!([row]));
        let request = r#"{"select":[{"type":"aggregation","aggregation":"count"}],
            "groupBy":[{"field":"reasons","path":["0","label"]}]}"#;
        let groups = json!([{"reasons.0.label": "slow", "count": 1}, {"reasons.0.label": "wrong", "count": 1},
            {"reasons.0.label": null, "count": 1}]);
        let mut grouped = rows(&site, &key, request);
        for row in grouped.as_array_mut().expect("rows") {
            assert_eq!(row.as_object().map(serde_json::Map::len), Some(2));
        }
        assert_eq!(grouped, groups);
        for (operator, value, expected) in [
            ("jsonArrayContainsObject", json!({"label": "wrong"}), 2),
            ("jsonContains", json!([{"label": "slow"}]), 1),
            ("eq", json!([reason("wrong")]), 1),
            ("neq", json!([reason("wrong")]), 1),
            ("arrayContains", reason("slow"), 1),
            ("eq", json!({"path": ["-1", "label"], "value": "wrong"}), 2),
            ("jsonHasKey", json!("0"), 0),
            ("isNull", json!(null), 1),
            ("isNotNull", json!({"path": ["1"]}), 1),
        ] {
            let request = json!({"where": {"condition": {"field": "reasons", "operator": operator, "value": value}}});
            let found = site.query_view("feedback", &key, &request.to_string());
            assert_eq!(found["total"], expected, "{request}: {found}");
        }
        for (operator, value) in [("eq", json!({"label": "wrong"})), ("jsonContains", json!("x")), ("gt", json!([]))] {
            let request = json!({"where": {"condition": {"field": "reasons", "operator": operator, "value": value}}});
            site.refused(422, "POST", "/query/feedback", &key, Some(&request.to_string()));
        }
        site.restart();
    }
}

#[test]
fn exports_unpack_reasons_and_sources() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, &conversation("c", "2024-08-26", &["m"]));
    let reasons = json!([{"label": "slow, very", "details": ""}, {"label": "wrong", "details": "d"}]);
    log(&site, &key, &json!({"id": "f", "type": "negative", "messageId": "m", "reasons": reasons}));
    let event = r#"{"id":"e","type":"x","entityType":"message","messageId":"m","properties":{"n":1.50,"l":[1]}}"#;
    site.ok("POST", "/events", &key, Some(event));
    let export = |site: &Site, view: &str, select: &str| {
        let path = format!("/query/{view}/export");
        let answer = site.send("POST", &path, &key, Some(&format!(r#"{{"select":[{select}]}}"#)));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().replace("\r\n", "|")
    };
    for _ in 0..2 {
        let unpacked = export(
            &site,
            "feedback",
            r#"{"type":"field","field":"reasons"},{"type":"field","field":"conversationId"}"#,
        );
        let expected = "reasons.0.details,reasons.0.label,reasons.1.details,reasons.1.label,conversationId|\
            \"\",\"slow, very\",d,wrong,c|";
        assert_eq!(unpacked, expected);
        let unpacked =
            export(&site, "events", r#"{"type":"field","field":"properties"},{"type":"field","field":"searchQuery"}"#);
        assert_eq!(unpacked, "properties.l,properties.n,searchQuery|[1],1.50,|");
        let keys = site.ok("POST", "/query/property-keys", &key, Some(r#"{"field":"properties"}"#)).json();
        assert_eq!(keys, json!({"results": ["l", "n"]}));
        site.restart();
    }
}

#[test]
fn the_two_lists_are_paged_each_by_itself() {
    let mut site = Site::start(&[]);
    let (key, other) = (site.api_key(), site.key("api", "acme", Some("shop"), &[]));
    for key in [&key, &other] {
        site.log(key, &conversation("c", "2024-08-26", &["m"]));
    }
    // Pairs of one time, so that ids decide; the newest are not those that came last.
    let give = |key: &str, kind: &str, number: usize| {
        let day = format!("2024-08-{:02}", 1 + number / 2);
        log(&site, key, &json!({"id": format!("{kind}{number:02}"), "type": kind, "messageId": "m", "createdAt": day}));
    };
    for number in (0..12).rev() {
        give(&key, "positive", number);
    }
    for number in 0..3 {
        give(&key, "negative", number);
        give(&other, "negative", number);
    }
    let ids = |list: &Value| -> Vec<String> {
        list.as_array().expect("a list").iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
    };
    let named = |kind: &str, numbers: &[usize]| -> Vec<String> {
        numbers.iter().map(|number| format!("{kind}{number:02}")).collect()
    };
    let positive: Vec<usize> = (0..12).rev().collect();
    for _ in 0..2 {
        for (query, limit, offset) in [
            ("", 10, 0),
            ("?offset=10", 10, 10),
            ("?limit=2&offset=1", 2, 1),
            ("?limit=100", 100, 0),
            ("?limit=0", 0, 0),
        ] {
            let page = |all: &[usize]| all.iter().copied().skip(offset).take(limit).collect::<Vec<_>>();
            let list = site.get(&format!("/feedback{query}"), &key);
            assert_eq!((&list["positiveFeedbackCount"], &list["negativeFeedbackCount"]), (&json!(12), &json!(3)));
            assert_eq!(ids(&list["positiveFeedback"]), named("positive", &page(&positive)), "{query}");
            assert_eq!(ids(&list["negativeFeedback"]), named("negative", &page(&[2, 1, 0])), "{query}");
        }
        site.restart();
    }
    for query in ["limit=101", "limit=-1", "offset=x"] {
        site.refused(400, "GET", &format!("/feedback?{query}"), &key, None);
    }
}

#[test]
fn an_upsert_replaces_by_id() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, &conversation("c", "2024-08-26", &["m1", "m2"]));
    let first = json!({"id": "f", "type": "positive", "messageId": "m1", "createdAt": "2024-08-27", "details": "d",
        "properties": {"a": 1}});
    log(&site, &key, &first);
    for _ in 0..2 {
        // What the new one does not give is gone.
        let stored = log(&site, &key, &json!({"id": "f", "type": "negative", "messageId": "m2", "reasons": null}));
        assert_eq!(
            json!([stored["type"], stored["messageId"], stored["details"], stored["properties"], stored["createdAt"]]),
            json!(["negative", "m2", null, null, "2024-08-27T00:00:00.000Z"])
        );
        for _ in 0..2 {
            let list = site.get("/feedback", &key);
            assert_eq!((&list["positiveFeedbackCount"], &list["negativeFeedbackCount"]), (&json!(0), &json!(1)));
            assert_eq!(rows(&site, &key, "{}").as_array().map(Vec::len), Some(1));
            assert_eq!(site.get("/feedback/f", &key)["message"]["id"], "m2");
            site.restart();
        }
    }
    let gone = site.ok("DELETE", "/feedback/f", &key, None).json();
    assert_eq!((gone["success"].as_bool(), gone["message"].is_string()), (Some(true), true), "{gone}");
    assert_eq!(gone.as_object().map(serde_json::Map::len), Some(2));
}
