//! Walks through lists while conversations change (contract Part B): whatever was there when a walk began and still is,
//! is shown at least once, by `CREATED_AT` exactly once; and what `MODIFIED_AT` means.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::site::{Site, text};
use crate::support::percent_encode;
use crate::webapi::{ROOT, TEN, category, no_content, set};

/// A conversation whose last chat is so many minutes after ten.
fn log(site: &Site, key: &str, id: &str, created: i64, last: i64) {
    let time = |minute: i64| format!("2024-08-26T{:02}:{:02}:00Z", 10 + minute.div_euclid(60), minute.rem_euclid(60));
    let document = json!({"id": id, "type": "openai", "createdAt": time(created), "updatedAt": time(created),
        "messages": [{"id": "q", "role": "user", "content": format!("hello {id}"), "createdAt": time(created)},
                     {"id": "a", "role": "assistant", "content": "Hi", "createdAt": time(last)}]});
    site.log(key, &document.to_string());
}

/// The ids of each page; `between` runs after each page with its number and ids.
fn walk(site: &Site, key: &str, query: &str, mut between: impl FnMut(usize, &[String])) -> Vec<Vec<String>> {
    let mut pages: Vec<Vec<String>> = Vec::new();
    let mut cursor = String::new();
    loop {
        let list = site.get(&format!("{ROOT}?{query}{cursor}"), key);
        let ids: Vec<String> =
            list["conversations"].as_array().expect("a list").iter().map(|one| text(&one["id"]).to_owned()).collect();
        let distinct: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "twice on one page: {ids:?}");
        pages.push(ids.clone());
        assert!(pages.len() < 100, "the walk does not end: {pages:?}");
        match &list["cursor"] {
            Value::Null => return pages,
            next => cursor = format!("&cursor={}", percent_encode(text(next))),
        }
        between(pages.len(), &ids);
    }
}

fn times_shown(pages: &[Vec<String>]) -> BTreeMap<&str, usize> {
    let mut times = BTreeMap::new();
    for id in pages.iter().flatten() {
        *times.entry(id.as_str()).or_default() += 1;
    }
    times
}

const ORDERS: [&str; 6] = [
    "CREATED_AT_ASC",
    "CREATED_AT_DESC",
    "MODIFIED_AT_ASC",
    "MODIFIED_AT_DESC",
    "LAST_CHAT_TIME_ASC",
    "LAST_CHAT_TIME_DESC",
];

#[test]
fn what_moves_is_shown_at_least_once() {
    for restarts in [false, true] {
        for (position, order) in ORDERS.into_iter().enumerate() {
            for search in ["", "&searchTerm=hello", "&backgroundRunning=false"] {
                let mut site = Site::start(&[]);
                let key = site.api_key();
                for n in 0..40 {
                    log(&site, &key, &format!("c{n:02}"), n, 60 + n);
                    if restarts && n == 25 {
                        site.restart();
                    }
                }
                // Twelve get a message or a change after the first page: some shown already, some not.
                let moved: Vec<String> = (0..12).map(|n| format!("c{:02}", (n * 7 + position) % 40)).collect();
                let pages = walk(&site, &key, &format!("order={order}&pageSize=10{search}"), |page, _| {
                    if page == 1 {
                        for (n, id) in moved.iter().enumerate() {
                            let number: i64 = id.get(1..).and_then(|number| number.parse().ok()).expect("a number");
                            // To the end of the list or to its beginning.
                            log(&site, &key, id, number, if n % 2 == 0 { 200 + number } else { number });
                            set(&site, &key, id, r#"{"state":"moved"}"#);
                        }
                        log(&site, &key, "new", 5, 300);
                        no_content(&site.send("DELETE", &format!("{ROOT}/c39"), &key, None));
                    }
                });
                let shown = times_shown(&pages);
                for n in 0..39 {
                    let id = format!("c{n:02}");
                    let times = shown.get(id.as_str()).copied().unwrap_or_default();
                    if order.starts_with("CREATED_AT") {
                        assert_eq!(times, 1, "{order}{search} {id}: {pages:?}");
                    } else {
                        assert!(times >= 1, "{order}{search} {id}: {pages:?}");
                        assert!(times == 1 || moved.contains(&id), "{order}{search} {id} did not move: {pages:?}");
                    }
                }
                if order == "LAST_CHAT_TIME_DESC" {
                    // What moved to the beginning comes at the end, also what was shown already: a client's last copy
                    // is the newest.
                    let all: Vec<&String> = pages.iter().flatten().collect();
                    let last = |id: &str| all.iter().rposition(|one| *one == id);
                    let stayed = (0..39).map(|n| format!("c{n:02}")).filter(|id| !moved.contains(id));
                    let stayed = stayed.filter_map(|id| last(&id)).max();
                    for id in moved.iter().step_by(2) {
                        assert!(last(id) > stayed, "{search} {id}: {pages:?}");
                    }
                }
                assert!(shown.get("new").is_none_or(|times| *times == 1), "{order}{search}: {pages:?}");
            }
        }
    }
}

/// Back before the walk, ahead of it, and to where it is; some twice.
#[test]
fn what_gets_another_created_at_during_a_walk_is_not_missed() {
    for (order, restarts) in [("CREATED_AT_ASC", false), ("CREATED_AT_DESC", false), ("CREATED_AT_ASC", true)] {
        for search in ["", "&searchTerm=hello"] {
            let mut site = Site::start(&[]);
            let key = site.api_key();
            // One of them had another before the walk, which is nothing to it.
            log(&site, &key, "c11", 90, 190);
            for n in 0..40 {
                log(&site, &key, &format!("c{n:02}"), n, 160 + n);
            }
            if restarts {
                site.restart();
            }
            let moves: [(usize, &str, i64); 9] = [
                (1, "c02", 110),
                (1, "c03", -50),
                (1, "c37", -40),
                (1, "c36", 105),
                (1, "c20", 1),
                (2, "c20", 38),
                (2, "c02", -60),
                (2, "c38", 20),
                (3, "c02", 120),
            ];
            let pages = walk(&site, &key, &format!("order={order}&pageSize=10{search}"), |page, _| {
                for (_, id, created) in moves.iter().filter(|(at, ..)| *at == page) {
                    log(&site, &key, id, *created, 200);
                }
                // A change that moves nothing, and a new conversation on either side.
                set(&site, &key, "c01", &json!({ "state": format!("page {page}") }).to_string());
                log(&site, &key, &format!("new{page}"), if page == 2 { -70 } else { 130 }, 200);
            });
            let shown = times_shown(&pages);
            for n in 0..40 {
                let id = format!("c{n:02}");
                let times = shown.get(id.as_str()).copied().unwrap_or_default();
                let most = if moves.iter().any(|(_, moved, _)| *moved == id) { 2 } else { 1 };
                assert!((1..=most).contains(&times), "{order}{search} {id}: {times} {pages:?}");
            }
            assert!(
                shown.iter().all(|(id, times)| !id.starts_with("new") || *times == 1),
                "{order}{search}: {pages:?}"
            );
        }
    }
}

#[test]
fn the_last_copies_of_a_walk_are_current() {
    let site = Site::start(&[]);
    let key = site.api_key();
    for n in 0..40 {
        log(&site, &key, &format!("c{n:02}"), n, 60 + n);
    }
    for (round, order) in ORDERS.into_iter().filter(|order| !order.starts_with("CREATED_AT")).enumerate() {
        let mut copies: BTreeMap<String, Value> = BTreeMap::new();
        let (mut cursor, mut page) = (String::new(), 0);
        loop {
            let list = site.get(&format!("{ROOT}?order={order}&pageSize=7{cursor}"), &key);
            for one in list["conversations"].as_array().expect("a list") {
                copies.insert(text(&one["id"]).to_owned(), one.clone());
            }
            let Some(next) = list["cursor"].as_str() else { break };
            cursor = format!("&cursor={}", percent_encode(next));
            page += 1;
            // Of every part of the list, seen and not.
            for n in (0..40).filter(|n| page <= 3 && n % 9 == page) {
                let id = format!("c{n:02}");
                log(&site, &key, &id, n, (61 + n * 7 + page * 31 + round as i64 * 11) % 300 + n);
                set(&site, &key, &id, &json!({"state": format!("{order} {page}")}).to_string());
            }
        }
        let all = site.get(&format!("{ROOT}?pageSize=50"), &key);
        for one in all["conversations"].as_array().expect("a list") {
            assert_eq!(copies.get(text(&one["id"])), Some(one), "{order}");
        }
        assert_eq!(copies.len(), 40, "{order}");
    }
}

#[test]
fn a_walk_that_changes_what_it_sees_ends() {
    let site = Site::start(&[]);
    let key = site.api_key();
    for n in 0..12 {
        log(&site, &key, &format!("c{n:02}"), n, 60 + n);
    }
    for order in ORDERS {
        for size in [1, 5, 12, 50] {
            let mut changes = 0;
            let pages = walk(&site, &key, &format!("order={order}&pageSize={size}"), |_, ids| {
                for id in ids {
                    changes += 1;
                    set(&site, &key, id, &json!({"assignee": format!("{order} {size} {changes}")}).to_string());
                }
            });
            let shown = times_shown(&pages);
            assert_eq!(shown.len(), 12, "{order} {size}: {pages:?}");
            let most = if order.starts_with("CREATED_AT") { 1 } else { 3 };
            assert!(shown.values().all(|times| *times <= most), "{order} {size}: {pages:?}");
        }
    }
}

#[test]
fn a_walk_over_what_stays_shows_each_once() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    for n in 0..20 {
        log(&site, &key, &format!("c{n:02}"), n, 60 + n);
    }
    for order in ORDERS {
        for size in [1, 3, 10, 20, 50] {
            let pages = walk(&site, &key, &format!("order={order}&pageSize={size}"), |_, _| {});
            assert_eq!(pages.len(), 20_usize.div_ceil(size), "{order} {size}");
            assert!(times_shown(&pages).values().all(|times| *times == 1), "{order} {size}: {pages:?}");
        }
    }
    // What is logged as it is stays, and so does a cursor over a restart.
    let pages = walk(&site, &key, "pageSize=7", |_, ids| {
        assert!(!ids.is_empty());
    });
    assert_eq!(pages.len(), 3);
    let first = site.get(&format!("{ROOT}?pageSize=15"), &key);
    log(&site, &key, "c19", 19, 400);
    site.restart();
    let next = format!("{ROOT}?pageSize=15&cursor={}", percent_encode(text(&first["cursor"])));
    let rest = site.get(&next, &key);
    let ids: Vec<&str> = rest["conversations"].as_array().expect("a list").iter().map(|one| text(&one["id"])).collect();
    assert_eq!((ids, &rest["cursor"]), (vec!["c04", "c03", "c02", "c01", "c00", "c19"], &Value::Null));
}

#[test]
fn a_change_here_is_no_update_of_the_document() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let sales = category(&site, &key, "Sales");
    // Named in the order of their changes, which decides among those of one millisecond.
    let all = ["0-none", "1-title", "2-bulk", "3-stop", "4-end", "5-rating", "6-unrated", "7-category", "8-memo"];
    for (n, id) in all.iter().enumerate() {
        log(&site, &key, id, n as i64, 60);
    }
    let rate = |site: &Site, id: &str, rating: Value| {
        let body = json!({ "rating": rating }).to_string();
        site.ok("POST", &format!("{ROOT}/{id}/chats/a/feedback"), &key, Some(&body));
    };
    rate(&site, "6-unrated", json!(true));
    set(&site, &key, "7-category", &json!({ "categoryIds": [sales] }).to_string());
    site.log(
        &key,
        &json!({"id": "3-stop", "type": "openai", "createdAt": "2024-08-26T10:03:00Z",
            "updatedAt": "2024-08-26T10:03:00Z", "messages": [{"role": "user", "content": "x"}]})
        .to_string(),
    );
    let updated = |site: &Site, id: &str| site.get(&format!("/conversations/{id}"), &key)["updatedAt"].clone();
    let before: Vec<Value> = all.iter().map(|id| updated(&site, id)).collect();
    let latest = |site: &Site| {
        let list = site.get(&format!("{ROOT}?order=MODIFIED_AT_DESC&pageSize=1"), &key);
        text(&list["conversations"][0]["id"]).to_owned()
    };
    set(&site, &key, "1-title", r#"{"title":"t"}"#);
    assert_eq!(latest(&site), "1-title");
    let bulk = json!({"conversationIds": ["2-bulk"], "conversationInfo": {"state": "s"}}).to_string();
    no_content(&site.send("POST", &format!("{ROOT}/bulk_update"), &key, Some(&bulk)));
    assert_eq!(latest(&site), "2-bulk");
    no_content(&site.send("POST", &format!("{ROOT}/3-stop/stop"), &key, None));
    assert_eq!(latest(&site), "3-stop");
    no_content(&site.send("POST", &format!("{ROOT}/4-end/end"), &key, None));
    assert_eq!(latest(&site), "4-end");
    rate(&site, "5-rating", json!(true));
    assert_eq!(latest(&site), "5-rating");
    rate(&site, "6-unrated", Value::Null);
    assert_eq!(latest(&site), "6-unrated");
    // Nothing is removed, so nothing changes.
    rate(&site, "0-none", Value::Null);
    assert_eq!(latest(&site), "6-unrated");
    no_content(&site.send("DELETE", &format!("/webapi/v2/conversation_categories/{sales}"), &key, None));
    assert_eq!(latest(&site), "7-category");
    set(&site, &key, "8-memo", r#"{"memo":"m"}"#);
    for _ in 0..2 {
        assert_eq!(latest(&site), "8-memo");
        let now: Vec<Value> = all.iter().map(|id| updated(&site, id)).collect();
        assert_eq!(now, before);
        let list = site.get(&format!("{ROOT}?order=MODIFIED_AT_ASC"), &key);
        assert_eq!(list["conversations"][0]["id"], "0-none");
        site.restart();
    }
    // A re-log with an older time keeps the change, one with a later time is later.
    log(&site, &key, "8-memo", 8, 60);
    log(&site, &key, "1-title", 1, 60);
    for _ in 0..2 {
        assert_eq!(latest(&site), "8-memo");
        assert_eq!(updated(&site, "8-memo"), "2024-08-26T10:08:00.000Z");
        site.restart();
    }
    // Also where it was changed here before.
    let later = json!({"id": "1-title", "type": "openai", "updatedAt": "2998-01-01",
        "messages": [{"role": "user", "content": "x"}]});
    site.log(&key, &later.to_string());
    for _ in 0..2 {
        assert_eq!(latest(&site), "1-title");
        site.restart();
    }
    let later = json!({"id": "0-none", "type": "openai", "updatedAt": "2999-01-01",
        "messages": [{"role": "user", "content": "x"}]});
    site.log(&key, &later.to_string());
    for _ in 0..2 {
        assert_eq!(latest(&site), "0-none");
        site.restart();
    }
    set(&site, &key, "0-none", r#"{"state":"s"}"#);
    assert_eq!(updated(&site, "0-none"), "2999-01-01T00:00:00.000Z");
    assert_eq!(latest(&site), "0-none");
}

#[test]
fn the_chat_times_that_are_shown_order_and_filter() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let message = |id: &str, role: &str, time: Option<&str>| {
        let mut message = json!({"id": id, "role": role, "content": "x"});
        if let Some(time) = time {
            message["createdAt"] = json!(format!("2024-08-26T{time}:00Z"));
        }
        message
    };
    for (id, messages) in [
        // Shown: 10:00, of the conversation, and 09:50; the latest given time is 09:50.
        ("early", json!([message("e0", "assistant", None), message("e1", "user", Some("09:50"))])),
        ("between", json!([message("b", "user", Some("09:55"))])),
        // Shown: 10:00 and 10:05; the first given time is 10:05.
        ("late", json!([message("l0", "user", None), message("l1", "user", Some("10:05"))])),
    ] {
        let document = json!({"id": id, "type": "openai", "createdAt": "2024-08-26T10:00:00Z", "messages": messages});
        site.log(&key, &document.to_string());
    }
    let ids = |site: &Site, query: &str| -> Vec<String> {
        let list = site.get(&format!("{ROOT}?{query}"), &key);
        let found = list["conversations"].as_array().expect("a list").iter();
        found.map(|one| text(&one["id"]).to_owned()).collect()
    };
    for _ in 0..2 {
        assert_eq!(ids(&site, ""), ["late", "early", "between"]);
        assert_eq!(ids(&site, "order=LAST_CHAT_TIME_ASC"), ["between", "early", "late"]);
        assert_eq!(ids(&site, &format!("startedAt={TEN}")), ["late", "early"]);
        assert_eq!(ids(&site, &format!("endAt={}", TEN - 1)), ["between"]);
        assert_eq!(ids(&site, &format!("firstChatStartedAt={TEN}")), ["late"]);
        assert_eq!(ids(&site, &format!("firstChatEndAt={TEN}")), ["late", "early", "between"]);
        // Part A goes by given times (contract A3).
        let rows = site.rows(
            &key,
            r#"{"select":[{"type":"field","field":"lastMessageTime"}],
            "where":{"condition":{"field":"id","operator":"eq","value":"early"}}}"#,
        );
        assert_eq!(rows[0]["lastMessageTime"], "2024-08-26T09:50:00.000Z");
        site.restart();
    }
}
