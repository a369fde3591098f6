//! What bodies of the conversation API may hold (contract Part B).

use serde_json::{Value, json};

use crate::site::Site;
use crate::webapi::{ROOT, category, no_content, set};

fn log(site: &Site, key: &str, id: &str, user: &str) {
    let document = json!({"id": id, "type": "openai", "userProperties": {"userId": user},
        "messages": [{"id": "m", "role": "user", "content": "hi"}]});
    site.log(key, &document.to_string());
}

/// Everything that can be set.
fn state(site: &Site, key: &str, id: &str) -> Value {
    let shown = site.get(&format!("{ROOT}/{id}"), key);
    json!([shown["state"], shown["assignee"], shown["title"], shown["categories"], shown["memo"], shown["isEnd"]])
}

#[test]
fn unknown_keys_are_refused_with_a_suggestion() {
    let site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, "c", "u");
    log(&site, &key, "d", "u");
    let before = [state(&site, &key, "c"), state(&site, &key, "d")];
    for (method, path, body, place, suggestion) in [
        ("PATCH", "/c", json!({"stat": "x"}), "stat:", "`state`"),
        ("PUT", "/c", json!({"state": "x", "Title": "t"}), "Title:", "`title`"),
        ("PUT", "/c", json!({"categoryId": []}), "categoryId:", "`categoryIds`"),
        ("PUT", "/c", json!({"isEnd": true}), "isEnd:", "allowed: state"),
        ("PUT", "/c/title", json!({"title": "t", "state": "x"}), "state:", "allowed: title"),
        ("POST", "/c/title", json!({"titel": "t"}), "titel:", "`title`"),
        (
            "POST",
            "/c/chats/m/feedback",
            json!({"rating": true, "suggestedAnswr": "a"}),
            "suggestedAnswr:",
            "`suggestedAnswer`",
        ),
        (
            "POST",
            "/bulk_update",
            json!({"conversationIds": ["c"], "userId": ["v"], "conversationInfo": {"state": "x"}}),
            "userId:",
            "`userIds`",
        ),
        (
            "POST",
            "/bulk_update",
            json!({"conversationIds": ["c"], "conversationInfo": {"sate": "x"}}),
            "conversationInfo.sate:",
            "`state`",
        ),
        (
            "POST",
            "/bulk_update",
            json!({"conversationIds": ["c"], "conversationInfo": {"memo": "x"}}),
            "conversationInfo.memo:",
            "allowed: state",
        ),
    ] {
        let path = format!("{ROOT}{path}");
        let detail = site.refused(422, method, &path, &key, Some(&body.to_string()));
        assert!(detail.starts_with(place) && detail.contains(suggestion), "{body}: {detail}");
    }
    let path = "/webapi/v2/conversation_categories";
    let detail = site.refused(422, "POST", path, &key, Some(r#"{"nam":"Sales"}"#));
    assert!(detail.starts_with("nam:") && detail.contains("`name`"), "{detail}");
    assert_eq!([state(&site, &key, "c"), state(&site, &key, "d")], before);
    assert_eq!(site.get(path, &key), json!({"categories": []}));
    assert_eq!(site.get("/feedback", &key)["positiveFeedbackCount"], 0);
}

#[test]
fn null_and_blank_have_their_meanings() {
    let site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, "c", "u");
    let sales = category(&site, &key, "Sales");
    let all = json!({"state": "s", "assignee": "a", "title": "t", "categoryIds": [sales], "memo": "m"});
    set(&site, &key, "c", &all.to_string());
    // Absent.
    set(&site, &key, "c", r#"{"state":null,"categoryIds":null}"#);
    let body =
        json!({"conversationIds": ["c"], "userIds": null, "conversationInfo": {"state": null, "categoryIds": null}});
    no_content(&site.send("POST", &format!("{ROOT}/bulk_update"), &key, Some(&body.to_string())));
    assert_eq!(state(&site, &key, "c"), json!(["s", "a", "t", ["Sales"], "m", false]));
    for blank in ["", " ", "\t\n", "\u{3000}"] {
        let detail = site.refused(422, "PATCH", &format!("{ROOT}/c"), &key, Some(&json!({"state": blank}).to_string()));
        assert!(detail.starts_with("state:"), "{detail}");
        let body = json!({"conversationIds": ["c"], "conversationInfo": {"state": blank}}).to_string();
        let detail = site.refused(422, "POST", &format!("{ROOT}/bulk_update"), &key, Some(&body));
        assert!(detail.starts_with("conversationInfo.state:"), "{detail}");
    }
    assert_eq!(state(&site, &key, "c"), json!(["s", "a", "t", ["Sales"], "m", false]));
}

#[test]
fn texts_and_lists_are_bounded() {
    let site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, "c", "u");
    let path = format!("{ROOT}/c");
    // Characters, not bytes.
    let (longest, longer) = ("\u{1f600}".repeat(2_000), "\u{1f600}".repeat(2_001));
    for field in ["title", "state", "assignee", "memo"] {
        let mut body = json!({});
        body[field] = json!(longest);
        assert_eq!(set(&site, &key, "c", &body.to_string())[field], json!(longest), "{field}");
        body[field] = json!(longer);
        let detail = site.refused(422, "PUT", &path, &key, Some(&body.to_string()));
        assert!(detail.starts_with(field) && detail.contains("2000"), "{detail}");
    }
    let detail = site.refused(422, "PUT", &format!("{path}/title"), &key, Some(&json!({"title": longer}).to_string()));
    assert!(detail.starts_with("title"), "{detail}");
    let mut info = json!({});
    for field in ["title", "state", "assignee"] {
        info[field] = json!(longest);
        let body = json!({"conversationIds": ["c"], "conversationInfo": info}).to_string();
        no_content(&site.send("POST", &format!("{ROOT}/bulk_update"), &key, Some(&body)));
        let body = json!({"conversationIds": ["c"], "conversationInfo": { field: longer }}).to_string();
        let detail = site.refused(422, "POST", &format!("{ROOT}/bulk_update"), &key, Some(&body));
        assert!(detail.starts_with(&format!("conversationInfo.{field}")) && detail.contains("2000"), "{detail}");
    }
    // A title that is not set is cut between characters, wherever that is in bytes.
    let document = json!({"id": "d", "type": "openai", "messages": [{"role": "user", "content": longest}]});
    site.log(&key, &document.to_string());
    assert_eq!(site.get(&format!("{ROOT}/d"), &key)["title"], json!("\u{1f600}".repeat(80)));
    let ids = |count: usize| -> Vec<String> { (0..count).map(|number| format!("c{number}")).collect() };
    for field in ["userIds", "llmAppIds", "categoryIds", "conversationIds"] {
        let mut body = json!({"conversationInfo": {"assignee": "a"}});
        body[field] = json!(ids(10_000));
        no_content(&site.send("POST", &format!("{ROOT}/bulk_update"), &key, Some(&body.to_string())));
        body[field] = json!(ids(10_001));
        let detail = site.refused(422, "POST", &format!("{ROOT}/bulk_update"), &key, Some(&body.to_string()));
        assert!(detail.starts_with(field) && detail.contains("10000"), "{detail}");
    }
    let sales = category(&site, &key, "Sales");
    let chosen = |count: usize| json!({"categoryIds": vec![sales.as_str(); count]});
    assert_eq!(set(&site, &key, "c", &chosen(10_000).to_string())["categories"], json!(["Sales"]));
    let detail = site.refused(422, "PATCH", &path, &key, Some(&chosen(10_001).to_string()));
    assert!(detail.starts_with("categoryIds") && detail.contains("10000"), "{detail}");
    let body = json!({"conversationIds": ["c"], "conversationInfo": chosen(10_001)}).to_string();
    let detail = site.refused(422, "POST", &format!("{ROOT}/bulk_update"), &key, Some(&body));
    assert!(detail.starts_with("conversationInfo.categoryIds") && detail.contains("10000"), "{detail}");
}

#[test]
fn a_memo_is_set_kept_and_cleared() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, "c", "u");
    let memo = |site: &Site| site.get(&format!("{ROOT}/c"), &key)["memo"].clone();
    assert_eq!(memo(&site), "");
    assert_eq!(set(&site, &key, "c", r#"{"memo":"called twice"}"#)["memo"], "called twice");
    for round in 0..3 {
        assert_eq!(memo(&site), "called twice", "{round}");
        assert_eq!(site.get(ROOT, &key)["conversations"][0]["memo"], "called twice", "{round}");
        // Neither a re-log nor another change loses it, in memory and in files.
        log(&site, &key, "c", "u");
        set(&site, &key, "c", &json!({"state": format!("s{round}")}).to_string());
        site.restart();
    }
    let changed = site.ok("PATCH", &format!("{ROOT}/c"), &key, Some(r#"{"memo":"ü"}"#)).json();
    assert_eq!(changed["memo"], "ü");
    for clearing in [r#"{"memo":null}"#, r#"{"memo":""}"#] {
        set(&site, &key, "c", r#"{"memo":"m"}"#);
        assert_eq!(set(&site, &key, "c", clearing)["memo"], "");
    }
    site.restart();
    assert_eq!(memo(&site), "");
    site.refused(422, "PATCH", &format!("{ROOT}/c"), &key, Some(r#"{"memo":5}"#));
}

#[test]
fn a_bulk_update_stays_in_one_project() {
    let mut site = Site::start(&[]);
    let (docs, shop) = (site.api_key(), site.key("api", "acme", Some("shop"), &[]));
    let org = site.key("org", "acme", None, &[]);
    for (key, id) in [(&docs, "both"), (&shop, "both"), (&docs, "one")] {
        log(&site, key, id, "u");
    }
    let path = format!("{ROOT}/bulk_update");
    let states = |site: &Site| {
        let of = |key: &str, id: &str| site.get(&format!("{ROOT}/{id}"), key)["state"].clone();
        json!([of(&docs, "both"), of(&shop, "both"), of(&docs, "one")])
    };
    for _ in 0..2 {
        for filter in [json!({"conversationIds": ["both"]}), json!({"userIds": ["u"]})] {
            let mut body = filter.clone();
            body["conversationInfo"] = json!({"state": "wrong"});
            let detail = site.refused(409, "POST", &path, &org, Some(&body.to_string()));
            assert!(detail.contains("docs, shop") && detail.contains("projectId"), "{detail}");
        }
        site.restart();
    }
    assert_eq!(states(&site), json!(["no", "no", "no"]));
    // Matches of one project, and a project that is named.
    let one = json!({"conversationIds": ["one"], "conversationInfo": {"state": "a"}}).to_string();
    no_content(&site.send("POST", &path, &org, Some(&one)));
    let both = json!({"userIds": ["u"], "conversationInfo": {"state": "b"}}).to_string();
    no_content(&site.send("POST", &format!("{path}?projectId=shop"), &org, Some(&both)));
    assert_eq!(states(&site), json!(["no", "b", "a"]));
}

#[test]
fn what_is_so_already_is_done() {
    let site = Site::start(&[]);
    let key = site.api_key();
    let document = json!({"id": "c", "type": "openai", "messages": [{"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"}]});
    site.log(&key, &document.to_string());
    // It does not run, and it ends twice.
    for action in ["stop", "stop", "end", "end", "stop"] {
        no_content(&site.send("POST", &format!("{ROOT}/c/{action}"), &key, None));
    }
    let sales = category(&site, &key, "Sales");
    for name in ["Sales", "", " ", "\t"] {
        let body = json!({ "name": name }).to_string();
        site.refused(422, "POST", "/webapi/v2/conversation_categories", &key, Some(&body));
    }
    let listed = site.get("/webapi/v2/conversation_categories", &key);
    assert_eq!(listed, json!({"categories": [{"categoryId": sales, "name": "Sales"}]}));
}
