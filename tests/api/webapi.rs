//! One conversation through the conversation API (contract Part B): how it looks, what is set on it, what is refused.

use serde_json::{Value, json};

use crate::site::{Site, problem, text};
use crate::support::Answer;

pub const ROOT: &str = "/webapi/v2/conversations";
/// 2024-08-26T10:00:00Z
pub const TEN: i64 = 1_724_666_400_000;

/// A "no content" answer: 200 and nothing.
pub fn no_content(answer: &Answer) {
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
}

pub fn set(site: &Site, key: &str, id: &str, body: &str) -> Value {
    site.ok("PUT", &format!("{ROOT}/{id}"), key, Some(body)).json()
}

pub fn category(site: &Site, key: &str, name: &str) -> String {
    let body = json!({ "name": name }).to_string();
    let made = site.ok("POST", "/webapi/v2/conversation_categories", key, Some(&body)).json();
    assert_eq!((&made["name"], made.as_object().map(serde_json::Map::len)), (&json!(name), Some(2)));
    text(&made["categoryId"]).to_string()
}

const DOCUMENT: &str = r#"{"id":"c","type":"openai","createdAt":"2024-08-26T10:00:00Z","updatedAt":"2024-08-26T10:00:00Z",
    "properties":{"plan":"pro","n":1.10,"deep":{"a":[1]},"none":null},
    "userProperties":{"userId":7,"id":"x","firstName":"Ann","email":"ann@x"},
    "messages":[
      {"id":"m1","role":"user","createdAt":"2024-08-26T10:01:00Z","content":[{"type":"text","text":"How do I"},
        {"type":"image_url","image_url":{"url":"https://i"}},{"type":"text","text":"log in?"}]},
      {"id":"m2","role":"assistant","createdAt":"2024-08-26T10:02:00Z","content":"Like this",
        "links":[{"url":"https://a","title":"T","description":"D","type":"documentation"},
                 {"url":"https://b","label":"L","type":"custom_question_answer"},{"url":"https://c"}]},
      {"id":"m3","role":"system","createdAt":"2024-08-26T10:03:00Z","content":""}]}"#;

fn ids_of(list: &Value) -> Vec<&str> {
    list["conversations"].as_array().expect("a list").iter().map(|one| text(&one["id"])).collect()
}

fn citation(source: &str, title: Value, url: &str, text: Value) -> Value {
    json!({"clueId": null, "source": source, "title": title, "knowledgeBaseId": null, "pageNo": null, "url": url,
        "text": text})
}

fn chat(id: &str, sender: &str, message: &str, minutes: i64, citations: &[Value]) -> Value {
    json!({"id": id, "sender": sender, "message": message, "timestamp": TEN + minutes * 60_000,
        "citations": citations, "rating": null, "agentRating": null})
}

#[test]
fn a_conversation_is_mapped() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, DOCUMENT);
    site.log(
        &key,
        r#"{"id":"bare","type":"support_ticket","createdAt":"2024-08-26T10:00:00Z","integrationId":"i",
        "messages":[{"id":"m","role":"customer"}]}"#,
    );
    site.log(
        &key,
        r#"{"id":"by-id","type":"openai","userProperties":{"id":"x","userId":null,"lastName":"Bo"},
        "messages":[{"role":"user","content":"hi"}]}"#,
    );
    let chats = [
        chat("m1", "USER", "How do I\nlog in?", 1, &[]),
        chat(
            "m2",
            "BOT",
            "Like this",
            2,
            &[
                citation("DOCUMENT", json!("T"), "https://a", json!("D")),
                citation("FAQ", json!("L"), "https://b", Value::Null),
                citation("WEB", Value::Null, "https://c", Value::Null),
            ],
        ),
        chat("m3", "AGENT", "", 3, &[]),
    ];
    let expected = json!({
        "id": "c", "title": "How do I\nlog in?", "user": {"userId": "7", "firstName": "Ann", "lastName": ""},
        "createdAt": TEN, "lastChatTime": TEN + 180_000, "isEnd": false, "state": "no", "assignee": null,
        "categories": [], "memo": "", "chats": chats, "chatCount": 3,
        "llmApp": {"id": "bot", "name": "", "description": ""}, "variables": {},
    });
    for _ in 0..2 {
        let path = format!("{ROOT}/c");
        assert_eq!(site.get(&path, &key), expected);
        let some = site.ok("GET", &format!("{path}?variables=n,deep,none,unknown,n"), &key, None);
        assert_eq!(some.json()["variables"], json!({"n": 1.1, "deep": {"a": [1]}, "none": null}));
        assert!(some.text().contains(r#""variables":{"n":1.10,"deep":{"a":[1]},"none":null}"#), "{}", some.text());
        assert_eq!(site.get(&format!("{path}/chats"), &key), json!({ "chats": chats }));
        assert_eq!(site.get(&format!("{path}/chats?pageNo=2"), &key), json!({"chats": []}));
        assert_eq!(site.get(&format!("{path}/chats/m2"), &key), chats[1]);
        assert_eq!(site.get(&format!("{path}/running"), &key), json!({"isRunning": false}));
        let bare = site.get(&format!("{ROOT}/bare"), &key);
        assert_eq!((&bare["title"], &bare["user"], &bare["llmApp"]["id"]), (&json!(""), &Value::Null, &json!("i")));
        assert_eq!((&bare["chats"][0]["sender"], &bare["chats"][0]["timestamp"]), (&json!("AGENT"), &json!(TEN)));
        let by_id = site.get(&format!("{ROOT}/by-id"), &key);
        assert_eq!(by_id["user"], json!({"userId": "x", "firstName": "", "lastName": "Bo"}));
        // The other way to send a key.
        let answer = site.server.request_with("GET", &path, None, None, &[("API-KEY", &key)]);
        assert_eq!((answer.status, answer.json()), (200, expected.clone()));
        site.restart();
    }
}

#[test]
fn chats_come_in_pages_and_the_last_twenty_with_the_conversation() {
    let site = Site::start(&[]);
    let key = site.api_key();
    // Later ones first, so that it shows that they are put in order.
    let messages: Vec<Value> = (0..205)
        .rev()
        .map(|n| {
            json!({"id": format!("m{n}"), "role": "user", "content": "é".repeat(100),
            "createdAt": format!("2024-08-26T10:{:02}:{:02}Z", n / 60, n % 60)})
        })
        .collect();
    site.log(&key, &json!({"id": "c", "type": "openai", "messages": messages}).to_string());
    let ids = |value: &Value| -> Vec<String> {
        value["chats"].as_array().expect("chats").iter().map(|chat| text(&chat["id"]).to_string()).collect()
    };
    let expect = |range: std::ops::Range<i32>| range.map(|n| format!("m{n}")).collect::<Vec<_>>();
    let conversation = site.get(&format!("{ROOT}/c"), &key);
    assert_eq!((ids(&conversation), &conversation["chatCount"]), (expect(185..205), &json!(205)));
    assert_eq!(text(&conversation["title"]), "é".repeat(80));
    for (page, range) in [("", 0..100), ("?pageNo=1", 0..100), ("?pageNo=2", 100..200), ("?pageNo=3", 200..205)] {
        assert_eq!(ids(&site.get(&format!("{ROOT}/c/chats{page}"), &key)), expect(range), "{page}");
    }
    for page in ["0", "-1", "x", "1.5", ""] {
        let path = format!("{ROOT}/c/chats?pageNo={page}");
        assert!(site.refused(400, "GET", &path, &key, None).contains("pageNo"));
    }
}

#[test]
fn what_is_set_shows_everywhere_and_stays() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, DOCUMENT);
    let (sales, billing) = (category(&site, &key, "Sales"), category(&site, &key, "Bïlling"));
    let path = format!("{ROOT}/c");
    let body =
        json!({"state": "open", "assignee": "bo@x", "categoryIds": [billing, sales, billing], "title": "My \"title\""});
    let changed = set(&site, &key, "c", &body.to_string());
    let fields = |value: &Value| -> Value {
        json!([value["state"], value["assignee"], value["categories"], value["title"], value["isEnd"]])
    };
    let mut expected = json!(["open", "bo@x", ["Bïlling", "Sales"], "My \"title\"", false]);
    assert_eq!(fields(&changed), expected);
    no_content(&site.send("POST", &format!("{path}/end"), &key, None));
    expected[4] = json!(true);
    let select: Vec<Value> = ["state", "assignee", "categories", "title", "isEnd"]
        .iter()
        .map(|field| json!({"type": "field", "field": field}))
        .collect();
    let request = json!({"select": select, "where": {"condition":
        {"field": "categories", "operator": "arrayContains", "value": "Sales"}}})
    .to_string();
    for round in 0..4 {
        assert_eq!(fields(&site.get(&path, &key)), expected, "{round}");
        assert_eq!(fields(&site.rows(&key, &request)[0]), expected, "{round}");
        // Neither a re-log nor files lose it; a re-log of what is in files, and one of what is in memory.
        if round == 1 {
            site.restart();
        }
        site.log(&key, DOCUMENT);
        if round == 2 {
            site.restart();
        }
    }
    // Absent fields stay; null and "" clear.
    set(&site, &key, "c", r#"{"state":"closed"}"#);
    let stayed = json!(["closed", "bo@x", ["Bïlling", "Sales"], "My \"title\"", true]);
    assert_eq!(fields(&site.get(&path, &key)), stayed);
    let cleared = site.ok("PATCH", &path, &key, Some(r#"{"assignee":null,"title":"","categoryIds":[]}"#)).json();
    assert_eq!(fields(&cleared), json!(["closed", null, [], "How do I\nlog in?", true]));
    assert_eq!(
        fields(&site.rows(&key, "{\"select\":[{\"type\":\"field\",\"field\":\"categories\"}]}")[0])[2],
        Value::Null
    );
    // So does the other of the two.
    set(&site, &key, "c", r#"{"assignee":"bo@x","title":"t"}"#);
    let cleared = set(&site, &key, "c", r#"{"assignee":"","title":null}"#);
    assert_eq!(fields(&cleared), json!(["closed", null, [], "How do I\nlog in?", true]));
    for (method, title) in [("PUT", "a"), ("POST", "b"), ("PATCH", "ü")] {
        let body = json!({ "title": title }).to_string();
        let answer = site.ok(method, &format!("{path}/title"), &key, Some(&body)).json();
        assert_eq!(answer["title"], title);
        assert_eq!(site.get(&path, &key)["title"], title);
    }
    no_content(&site.send("DELETE", &path, &key, None));
    site.refused(404, "GET", &path, &key, None);
    site.refused(404, "GET", "/conversations/c", &key, None);
    site.restart();
    site.refused(404, "GET", &path, &key, None);
}

#[test]
fn a_stop_holds_until_the_next_message() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let document = |messages: &str| format!(r#"{{"id":"c","type":"openai","messages":[{messages}]}}"#);
    let (first, second) = (r#"{"id":"m1","role":"user","content":"a"}"#, r#"{"id":"m2","role":"user","content":"b"}"#);
    site.log(&key, &document(first));
    let running = |site: &Site| site.get(&format!("{ROOT}/c/running"), &key)["isRunning"].as_bool().expect("a boolean");
    assert!(running(&site));
    no_content(&site.send("POST", &format!("{ROOT}/c/stop"), &key, None));
    assert!(!running(&site));
    for _ in 0..2 {
        // Neither files nor a re-log start it again.
        site.restart();
        assert!(!running(&site));
        site.log(&key, &document(first));
        assert!(!running(&site));
    }
    set(&site, &key, "c", r#"{"title":"t"}"#);
    site.restart();
    set(&site, &key, "c", r#"{"title":"u"}"#);
    assert!(!running(&site));
    let list = |site: &Site, wanted: bool| {
        site.get(&format!("{ROOT}?backgroundRunning={wanted}"), &key)["conversations"].as_array().map(Vec::len)
    };
    assert_eq!((list(&site, true), list(&site, false)), (Some(0), Some(1)));
    site.log(&key, &document(&format!("{first},{second}")));
    assert!(running(&site));
    assert_eq!((list(&site, true), list(&site, false)), (Some(1), Some(0)));
    no_content(&site.send("POST", &format!("{ROOT}/c/end"), &key, None));
    assert!(!running(&site));
    no_content(&site.send("POST", &format!("{ROOT}/c/stop"), &key, None));
}

#[test]
fn bad_calls_are_refused() {
    let site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, DOCUMENT);
    for (method, path) in [
        ("GET", "/x"),
        ("DELETE", "/x"),
        ("GET", "/x/chats"),
        ("GET", "/x/chats/m1"),
        ("GET", "/c/chats/x"),
        ("GET", "/x/running"),
        ("POST", "/x/stop"),
        ("POST", "/x/end"),
    ] {
        site.refused(404, method, &format!("{ROOT}{path}"), &key, None);
    }
    for (method, path) in
        [("PUT", "/x"), ("PATCH", "/x"), ("PUT", "/x/title"), ("POST", "/x/title"), ("PATCH", "/x/title")]
    {
        site.refused(404, method, &format!("{ROOT}{path}"), &key, Some(r#"{"title":"t"}"#));
    }
    for (path, body, place) in [
        ("/c", r#"{"title":1}"#, "title"),
        ("/c", r#"{"state":""}"#, "state"),
        ("/c", r#"{"assignee":[]}"#, "assignee"),
        ("/c", r#"{"categoryIds":["x"]}"#, "categoryIds[0]"),
        ("/c", r#"{"categoryIds":"x"}"#, "categoryIds"),
        ("/c", "[]", ""),
        ("/c/title", "{}", "title"),
        ("/c/title", r#"{"title":{}}"#, "title"),
    ] {
        let detail = site.refused(422, "PUT", &format!("{ROOT}{path}"), &key, Some(body));
        assert!(detail.contains(place), "{body}: {detail}");
    }
    site.refused(400, "PUT", &format!("{ROOT}/c"), &key, Some("{"));
    for (path, place) in [
        ("?pageSize=0", "pageSize"),
        ("?pageSize=51", "pageSize"),
        ("?order=NEWEST", "order"),
        ("?activeOnly=yes", "activeOnly"),
        ("?startedAt=now", "startedAt"),
        ("?cursor=x", "cursor"),
        ("/daily_count", "startDate"),
        ("/daily_count?startDate=2024-01-01", "endDate"),
        ("/daily_count?startDate=2024-01-01&endDate=2024-01-01&timeZone=x", "timeZone"),
        ("/daily_count?startDate=2014-01-01&endDate=2024-01-09", "3660"),
        ("/daily_count?startDate=2024-01-02&endDate=2024-01-01", "endDate"),
    ] {
        let path = format!("{ROOT}{path}");
        let detail = site.refused(400, "GET", &path, &key, None);
        assert!(detail.contains(place), "{path}: {detail}");
    }
    assert_eq!(ids_of(&site.get(&format!("{ROOT}?unknown=1&pageSize=1"), &key)), ["c"]);
    for headers in [&[][..], &[("API-KEY", "x")], &[("API-KEY", "")]] {
        let answer = site.server.request_with("GET", ROOT, None, None, headers);
        problem(&answer, 401, ROOT);
    }
    let web = site.key("web", "acme", Some("docs"), &["query"]);
    site.refused(403, "GET", ROOT, &web, None);
    for header in ["AGENT-EMAIL", "USER-EMAIL", "OWN-USER-ID"] {
        for value in ["", "base64:!"] {
            let answer = site.server.request_with("GET", ROOT, Some(&key), None, &[(header, value)]);
            assert!(problem(&answer, 400, ROOT).contains(header));
        }
    }
}

#[test]
fn days_are_counted_with_their_zeros() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    for (id, created_at) in [
        ("a", "2024-03-30T23:30:00Z"),
        ("b", "2024-03-31T21:59:59.999Z"),
        ("c", "2024-03-31T22:00:00Z"),
        ("d", "2024-04-02T12:00:00Z"),
    ] {
        site.log(&key, &format!(
            r#"{{"id":"{id}","type":"openai","createdAt":"{created_at}","messages":[{{"role":"user","content":"x","createdAt":"2020-01-01"}}]}}"#
        ));
    }
    for _ in 0..2 {
        for (zone, counts) in [("", [1, 2, 0, 1]), ("&timeZone=Europe/Berlin", [0, 2, 1, 1])] {
            let path = format!("{ROOT}/daily_count?startDate=2024-03-30&endDate=2024-04-02{zone}");
            let days = ["2024-03-30", "2024-03-31", "2024-04-01", "2024-04-02"];
            let expected: Vec<Value> =
                days.iter().zip(counts).map(|(date, count)| json!({"date": date, "count": count})).collect();
            assert_eq!(site.get(&path, &key), json!({ "counts": expected }), "{zone}");
        }
        let one = format!("{ROOT}/daily_count?startDate=2024-03-31&endDate=2024-03-31");
        assert_eq!(site.get(&one, &key), json!({"counts": [{"date": "2024-03-31", "count": 2}]}));
        site.restart();
    }
}

#[test]
fn days_of_all_years_and_zones_in_any_case_are_counted() {
    let site = Site::start(&[]);
    let key = site.api_key();
    for (id, created_at) in
        [("first", "0001-01-01T00:00:00Z"), ("last", "9999-12-31T23:59:59.999Z"), ("now", "2024-03-31T22:30:00Z")]
    {
        let document = format!(
            r#"{{"id":"{id}","type":"openai","createdAt":"{created_at}","messages":[{{"role":"user","content":"x"}}]}}"#
        );
        site.log(&key, &document);
    }
    let count = |start: &str, end: &str, zone: &str| -> Vec<Value> {
        let path = format!("{ROOT}/daily_count?startDate={start}&endDate={end}{zone}");
        let counted = site.get(&path, &key);
        counted["counts"].as_array().expect("counts").iter().map(|day| day["count"].clone()).collect()
    };
    assert_eq!(count("0001-01-01", "0001-01-02", ""), [1, 0]);
    assert_eq!(count("9999-12-30", "9999-12-31", ""), [0, 1]);
    for zone in ["Europe/Berlin", "europe/berlin", "EUROPE/BERLIN"] {
        assert_eq!(count("2024-03-31", "2024-04-01", &format!("&timeZone={zone}")), [0, 1], "{zone}");
    }
    for zone in ["UTC", "utc", "Etc/UTC", "etc/utc"] {
        assert_eq!(count("2024-03-31", "2024-04-01", &format!("&timeZone={zone}")), [1, 0], "{zone}");
    }
    for (start, end, place) in [
        ("0000-12-31", "0001-01-01", "startDate"),
        ("9999-12-31", "10000-01-01", "endDate"),
        ("", "2024-01-01", "startDate"),
        ("2024-01-01", "null", "endDate"),
    ] {
        let path = format!("{ROOT}/daily_count?startDate={start}&endDate={end}");
        let detail = site.refused(400, "GET", &path, &key, None);
        assert!(detail.starts_with(place), "{path}: {detail}");
    }
}
