//! `GET /webapi/v2/conversations` (contract Part B, row 1).

use serde_json::{Value, json};

use crate::site::{Site, text};
use crate::support::percent_encode;
use crate::webapi::{ROOT, TEN, no_content, set};

fn ids(list: &Value) -> Vec<String> {
    list["conversations"].as_array().expect("a list").iter().map(|one| text(&one["id"]).to_string()).collect()
}

fn log(site: &Site, key: &str, n: i64, minutes: i64, more: Value) {
    let time = |minutes: i64| format!("2024-08-26T{:02}:{:02}:00Z", 10 + minutes / 60, minutes % 60);
    let mut document = json!({"id": format!("c{n}"), "type": "openai", "createdAt": time(n), "updatedAt": time(200 - n),
        "messages": [{"role": "user", "content": format!("hello {n}"), "createdAt": time(0)},
                     {"role": "assistant", "content": "Hi", "createdAt": time(minutes)}]});
    for (name, value) in more.as_object().expect("an object") {
        document[name] = value.clone();
    }
    site.log(key, &document.to_string());
}

/// All pages of a list.
fn pages(site: &Site, key: &str, query: &str, mut between: impl FnMut(usize)) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let list = site.get(&format!("{ROOT}?{query}{cursor}"), key);
        assert_eq!(list.as_object().map(serde_json::Map::len), Some(2), "{list}");
        pages.push(ids(&list));
        match &list["cursor"] {
            Value::Null => return pages,
            next => cursor = format!("&cursor={}", percent_encode(text(next))),
        }
        assert!(pages.len() < 100, "the list does not end");
        between(pages.len());
    }
}

#[test]
fn orders_and_pages() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    assert_eq!(site.get(ROOT, &key), json!({"conversations": [], "cursor": null}));
    // Last chats come in pairs of one time, so that ids decide.
    for n in 0..7 {
        log(&site, &key, n, 100 + n / 2, json!({}));
        if n == 3 {
            site.restart();
        }
    }
    let order = |numbers: &[i64]| numbers.iter().map(|n| format!("c{n}")).collect::<Vec<_>>();
    let (up, down) = (order(&[0, 1, 2, 3, 4, 5, 6]), order(&[6, 5, 4, 3, 2, 1, 0]));
    for _ in 0..2 {
        for (name, expected) in [
            ("", &down),
            ("order=LAST_CHAT_TIME_DESC&", &down),
            ("order=LAST_CHAT_TIME_ASC&", &up),
            ("order=CREATED_AT_DESC&", &down),
            ("order=CREATED_AT_ASC&", &up),
            ("order=MODIFIED_AT_DESC&", &up),
            ("order=MODIFIED_AT_ASC&", &down),
        ] {
            for size in [1, 2, 3, 7, 50] {
                let found = pages(&site, &key, &format!("{name}pageSize={size}"), |_| {});
                assert_eq!(found.len(), 7_usize.div_ceil(size), "{name}{size}");
                assert_eq!(found.concat(), *expected, "{name}{size}");
            }
        }
        site.restart();
    }
    assert_eq!(site.get(&format!("{ROOT}?pageSize=1&variables=x"), &key)["conversations"][0]["chatCount"], 2);
}

#[test]
fn filters_narrow() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, 0, 10, json!({"userProperties": {"userId": "u"}, "integrationId": "i", "properties": {"p": 1}}));
    log(&site, &key, 1, 20, json!({"userProperties": {"userId": 7, "id": "u"}, "integrationId": "j"}));
    log(&site, &key, 2, 30, json!({"userProperties": {"userId": null, "id": "u"}}));
    log(&site, &key, 3, 40, json!({"userProperties": {"userId": "7"}}));
    log(&site, &key, 4, 50, json!({}));
    no_content(&site.send("POST", &format!("{ROOT}/c4/end"), &key, None));
    let at = |minutes: i64| TEN + minutes * 60_000;
    for _ in 0..2 {
        for (query, expected) in [
            ("userIds=u".to_string(), "c2 c0"),
            ("userIds=7".into(), "c3 c1"),
            ("userIds=u,7".into(), "c3 c2 c1 c0"),
            ("userIds=u&userIds=7".into(), "c3 c2 c1 c0"),
            ("userIds[]=u&userIds[]=x".into(), "c2 c0"),
            ("userIds=x".into(), ""),
            ("llmAppId=i".into(), "c0"),
            ("llmAppId=bot".into(), "c4 c3 c2"),
            ("activeOnly=true".into(), "c3 c2 c1 c0"),
            ("activeOnly=false".into(), "c4 c3 c2 c1 c0"),
            (format!("startedAt={}", at(30)), "c4 c3 c2"),
            (format!("endAt={}.9", at(30)), "c2 c1 c0"),
            (format!("startedAt={}&endAt={}", at(30), at(30)), "c2"),
            (format!("startedAt={}", at(50) + 1), ""),
            (format!("firstChatStartedAt={}&firstChatEndAt={}", at(0), at(0)), "c4 c3 c2 c1 c0"),
            (format!("firstChatStartedAt={}", at(0) + 1), ""),
            ("userIds=u&llmAppId=bot".into(), "c2"),
        ] {
            let found = ids(&site.get(&format!("{ROOT}?{query}"), &key));
            assert_eq!(found.join(" "), expected, "{query}");
        }
        let list = site.get(&format!("{ROOT}?userIds=u&variables[]=p&variables=q"), &key);
        assert_eq!(
            (&list["conversations"][1]["variables"], &list["conversations"][0]["variables"]),
            (&json!({"p": 1}), &json!({}))
        );
        site.restart();
    }
}

#[test]
fn a_cursor_stays_in_its_place_and_in_its_list() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    for n in 0..10 {
        log(&site, &key, n, 50, json!({}));
    }
    // New ones before and after the place, a deleted one, a changed one.
    let found = pages(&site, &key, "order=CREATED_AT_DESC&pageSize=3", |page| {
        log(&site, &key, 100 + page as i64, 50, json!({}));
        if page == 1 {
            log(&site, &key, 150, 50, json!({"createdAt": "2024-08-26T10:03:30Z"}));
            set(&site, &key, "c4", r#"{"title":"new"}"#);
            no_content(&site.send("DELETE", &format!("{ROOT}/c5"), &key, None));
        }
    });
    assert_eq!(found.concat().join(" "), "c9 c8 c7 c6 c4 c150 c3 c2 c1 c0");
    let first = site.get(&format!("{ROOT}?pageSize=2"), &key);
    let cursor = text(&first["cursor"]).to_string();
    let with = |query: &str, cursor: &str| format!("{ROOT}?{query}&cursor={}", percent_encode(cursor));
    let second = site.get(&with("pageSize=3", &cursor), &key);
    assert_eq!(ids(&second).len(), 3);
    for position in [0, cursor.len() / 2, cursor.len() - 1] {
        let mut tampered = cursor.clone().into_bytes();
        tampered[position] = if tampered[position] == b'x' { b'y' } else { b'x' };
        let tampered = String::from_utf8(tampered).expect("ASCII");
        let detail = site.refused(400, "GET", &with("", &tampered), &key, None);
        assert!(detail.contains("cursor"), "{detail}");
    }
    for query in ["order=CREATED_AT_ASC", "userIds=u", "activeOnly=true", "searchTerm=x", "startedAt=1"] {
        assert!(site.refused(400, "GET", &with(query, &cursor), &key, None).contains("cursor"), "{query}");
    }
    let other = site.key("api", "acme", Some("shop"), &[]);
    site.refused(400, "GET", &with("", &cursor), &other, None);
    // The key that signs is the store's.
    site.restart();
    assert_eq!(ids(&site.get(&with("pageSize=3", &cursor), &key)), ids(&second));
}

#[test]
fn a_search_finds_every_text_in_any_case() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let say = |content: Value| json!({"messages": [{"role": "user", "content": "first"}, {"role": "assistant", "content": content}]});
    log(&site, &key, 0, 0, say(json!("Größe der STRASSE")));
    log(&site, &key, 1, 1, say(json!("ΟΔΟΣ 日本語のテキスト")));
    log(
        &site,
        &key,
        2,
        2,
        say(json!([{"type": "text", "text": "part one"}, {"type": "text", "text": "a \"quoted\" \\ line\nbreak 😀"}])),
    );
    log(
        &site,
        &key,
        3,
        3,
        json!({"userProperties": {"userId": "User-42", "firstName": "Zoë", "lastName": "Ångström"}}),
    );
    log(&site, &key, 4, 4, json!({"properties": {"hidden": "needle"}}));
    log(&site, &key, 5, 5, json!({}));
    set(&site, &key, "c5", r#"{"title":"A Needle in the title"}"#);
    let find = |site: &Site, term: &str| {
        let path = format!("{ROOT}?order=CREATED_AT_ASC&searchTerm={}", percent_encode(term));
        ids(&site.get(&path, &key)).join(" ")
    };
    for _ in 0..2 {
        for (term, expected) in [
            ("GRÖSSE", "c0"),
            ("straße", "c0"),
            ("οδος", "c1"),
            ("日本", "c1"),
            ("QUOTED\" \\ Line\nbreak", "c2"),
            ("😀", "c2"),
            ("one\na", "c2"),
            ("user-42", "c3"),
            ("ZOË", "c3"),
            ("ångström", "c3"),
            ("zoë ÅNGSTRÖM", "c3"),
            ("ångström zoë", ""),
            ("C4", "c4"),
            ("c", ""),
            ("4", "c3 c4"),
            ("needle", "c5"),
            ("hello", "c3 c4 c5"),
            ("HELLO 4", "c4"),
            ("nothing", ""),
            (" ", "c0 c1 c2 c3 c4 c5"),
        ] {
            assert_eq!(find(&site, term), expected, "{term}");
        }
        let found = pages(&site, &key, "searchTerm=Hello&pageSize=1&order=CREATED_AT_DESC", |_| {});
        assert_eq!(found, [["c5"], ["c4"], ["c3"]]);
        site.restart();
    }
}

#[test]
fn null_and_nothing_mean_not_given() {
    let site = Site::start(&[]);
    let key = site.api_key();
    for n in 0..3 {
        log(&site, &key, n, 10 + n, json!({"userProperties": {"userId": "u"}, "properties": {"p": n}}));
    }
    let all = site.get(ROOT, &key);
    assert_eq!(ids(&all), ["c2", "c1", "c0"]);
    let parameters = [
        "userIds",
        "userIds[]",
        "llmAppId",
        "categoryId",
        "startedAt",
        "endAt",
        "firstChatStartedAt",
        "firstChatEndAt",
        "searchTerm",
        "cursor",
        "variables[]",
        "variables",
        "pageSize",
        "activeOnly",
        "backgroundRunning",
        "order",
    ];
    for name in parameters {
        assert_eq!(site.get(&format!("{ROOT}?{name}=null"), &key), all, "{name}");
        let path = format!("{ROOT}?{name}=");
        if ["userIds", "userIds[]", "searchTerm", "cursor"].contains(&name) {
            assert_eq!(site.get(&path, &key), all, "{name}");
        } else {
            let detail = site.refused(400, "GET", &path, &key, None);
            assert!(detail.starts_with(name.trim_end_matches("[]")), "{name}: {detail}");
        }
    }
    let every: Vec<String> = parameters.iter().map(|name| format!("{name}=null")).collect();
    assert_eq!(site.get(&format!("{ROOT}?{}", every.join("&")), &key), all);
    // Not given is given after all.
    assert_eq!(ids(&site.get(&format!("{ROOT}?pageSize=null&pageSize=1"), &key)), ["c2"]);
    assert_eq!(site.get(&format!("{ROOT}?unknown=&other=null"), &key), all);
    for (query, place) in [
        // Commas alone are empty values, not an empty parameter.
        ("userIds=,", "userIds"),
        ("llmAppId=,", "llmAppId"),
        ("categoryId[]=,,", "categoryId"),
        ("activeOnly=NULL", "activeOnly"),
        ("startedAt=nil", "startedAt"),
        ("pageSize=0", "from 1 to 50"),
        ("pageSize=x", "from 1 to 50"),
    ] {
        let detail = site.refused(400, "GET", &format!("{ROOT}?{query}"), &key, None);
        assert!(detail.contains(place), "{query}: {detail}");
    }
}

#[test]
fn an_id_with_a_comma_is_one() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    for (n, user) in ["a,b", "a", "b", "c d"].into_iter().enumerate() {
        log(&site, &key, n as i64, 10 - n as i64, json!({"userProperties": {"userId": user}}));
    }
    for _ in 0..2 {
        for (query, expected) in [
            ("userIds[]=a,b", "c0"),
            ("userIds%5B%5D=a%2Cb", "c0"),
            ("userIds=a,b", "c1 c2"),
            ("userIds[]=a,b&userIds[]=c+d", "c0 c3"),
            ("userIds[]=a,b&userIds=a,b", "c0 c1 c2"),
        ] {
            assert_eq!(ids(&site.get(&format!("{ROOT}?{query}"), &key)).join(" "), expected, "{query}");
        }
        site.restart();
    }
}

#[test]
fn a_cursor_of_an_organization_serves_its_key() {
    let site = Site::start(&[]);
    let (docs, shop) = (site.api_key(), site.key("api", "acme", Some("shop"), &[]));
    let (org, other) = (site.key("org", "acme", None, &[]), site.key("org", "acme", None, &[]));
    for n in 0..4 {
        log(&site, if n % 2 == 0 { &docs } else { &shop }, n, 10 + n, json!({}));
    }
    let first = site.get(&format!("{ROOT}?pageSize=3"), &org);
    assert_eq!(ids(&first), ["c3", "c2", "c1"]);
    let next = format!("{ROOT}?pageSize=3&cursor={}", percent_encode(text(&first["cursor"])));
    assert_eq!(ids(&site.get(&next, &org)), ["c0"]);
    for key in [&other, &docs, &shop] {
        assert!(site.refused(400, "GET", &next, key, None).contains("cursor"));
    }
    assert!(site.refused(400, "GET", &format!("{next}&projectId=docs"), &org, None).contains("cursor"));
    // A project's serves its keys.
    let first = site.get(&format!("{ROOT}?pageSize=1"), &docs);
    let next = format!("{ROOT}?cursor={}", percent_encode(text(&first["cursor"])));
    assert_eq!(ids(&site.get(&next, &site.api_key())), ["c0"]);
}
