//! The four views of the query language (contract A3, A4): every published field of each can be asked for in every way,
//! in memory and in files, and shows as null, or not at all, where it is absent.

use serde_json::{Value, json};

use crate::site::{ORGANIZATION, PROJECT, Site};

struct View {
    name: &'static str,
    /// All published fields, in the order of a row.
    fields: &'static str,
    /// Left out of a row where absent.
    left_out: &'static str,
    never_null: &'static str,
    default_time: &'static str,
    /// A field of another view.
    foreign: &'static str,
    rows: u64,
}

const JSON: [&str; 4] = ["properties", "userProperties", "reasons", "sources"];

const VIEWS: [View; 4] = [
    View {
        name: "conversations",
        fields: "id userMessageCount organizationId projectId integrationId firstMessageTime type properties userProperties",
        left_out: "",
        never_null: "id userMessageCount organizationId projectId firstMessageTime type",
        default_time: "firstMessageTime",
        foreign: "searchQuery",
        rows: 2,
    },
    View {
        name: "events",
        fields: "id organizationId messageId conversationId createdAt projectId integrationId eventType type searchQuery \
            properties userProperties",
        left_out: "messageId conversationId searchQuery",
        never_null: "id organizationId projectId createdAt eventType type",
        default_time: "createdAt",
        foreign: "firstMessageTime",
        rows: 4,
    },
    View {
        name: "feedback",
        fields: "id type messageId createdAt updatedAt organizationId reasons sources details properties userProperties \
            conversationId projectId integrationId",
        left_out: "conversationId",
        never_null: "id type messageId createdAt updatedAt organizationId projectId",
        default_time: "createdAt",
        foreign: "eventType",
        rows: 3,
    },
    View {
        name: "semantic-threads",
        fields: "id messageIds messagesCount organizationId question questionLength answer isOnTopic isClear isDocumented \
            isFeatureSupported isAnswerConfident gapSummary subject category languages firstPartyEntities \
            thirdPartyEntities emotion sentiment questionType projectId integrationId properties userProperties \
            firstMessageTime lastMessageTime lastUpdated hasPositiveFeedback hasNegativeFeedback conversationIds \
            areAIAnnotationsVerified isInitialQuestionAnswer",
        left_out: "question answer integrationId conversationIds",
        never_null: "id organizationId projectId firstMessageTime lastMessageTime lastUpdated hasPositiveFeedback \
            hasNegativeFeedback isInitialQuestionAnswer",
        default_time: "firstMessageTime",
        foreign: "messageId",
        rows: 3,
    },
];

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

/// Records with everything and records with as little as is allowed; gives a key of the organization.
fn fill(site: &Site) -> String {
    let (key, org) = (site.api_key(), site.key("org", ORGANIZATION, None, &[]));
    let whole = r#""properties":{"plan":"pro"},"userProperties":{"userId":"u"}"#;
    site.log(
        &key,
        &format!(
            r#"{{"id":"c","type":"openai","createdAt":"2024-08-26","updatedAt":"2024-08-27",{whole},"messages":[
        {{"id":"m1","role":"user","content":"Where?"}},{{"id":"m2","role":"assistant","content":"There."}},
        {{"id":"m3","role":"user","content":"Sure?"}}]}}"#
        ),
    );
    let bare = r#"{"id":"bare","projectId":"docs","type":"support_ticket","messages":[{"id":"n","role":"user"}]}"#;
    site.log(&org, bare);
    for event in [
        &format!(
            r#"{{"id":"e1","type":"t","entityType":"message","messageId":"m1","createdAt":"2024-08-26",{whole}}}"#
        ),
        r#"{"id":"e2","projectId":"docs","type":"t","entityType":"message","messageId":"unknown"}"#,
        r#"{"id":"e3","projectId":"docs","type":"t","entityType":"conversation","conversationId":"c"}"#,
        r#"{"id":"e4","projectId":"docs","type":"t","entityType":"search","searchQuery":"q"}"#,
    ] {
        let stored = site.ok("POST", "/events", if event.contains("e1") { &key } else { &org }, Some(event)).json();
        let integration = if event.contains("e1") { json!("bot") } else { json!(null) };
        assert_eq!((&stored["projectId"], &stored["integrationId"]), (&json!(PROJECT), &integration), "{stored}");
    }
    for feedback in [
        &format!(
            r#"{{"id":"f1","type":"positive","messageId":"m2","details":"d","reasons":[{{"label":"l","details":"d"}}],
            "sources":[{{"title":"t"}}],{whole}}}"#
        ),
        r#"{"id":"f2","type":"negative","messageId":"n"}"#,
        r#"{"id":"f3","type":"negative","messageId":"m3"}"#,
    ] {
        site.ok("POST", "/feedback", &key, Some(feedback));
    }
    // The message of f3 goes; what it was about comes again under another id.
    let messages = r#"[{"id":"m1","role":"user","content":"Where?"},{"id":"m2","role":"assistant","content":"There."},
        {"id":"m4","role":"user","content":"Why?"}]"#;
    site.log(&key, &format!(
        r#"{{"id":"c","type":"openai","createdAt":"2024-08-26","updatedAt":"2024-08-27",{whole},"messages":{messages}}}"#
    ));
    org
}

#[test]
fn every_field_of_every_view() {
    let mut site = Site::start(&[]);
    let key = fill(&site);
    for _ in 0..2 {
        for view in &VIEWS {
            whole_rows(&site, &key, view);
            for field in words(view.fields) {
                one_field(&site, &key, view, field);
            }
        }
        site.restart();
    }
}

fn is_in(list: &str, field: &str) -> bool {
    words(list).any(|one| one == field)
}

fn whole_rows(site: &Site, key: &str, view: &View) {
    let data = site.query_view(view.name, key, "{}");
    assert_eq!(data["total"], view.rows, "{}: {data}", view.name);
    let mut absent: Vec<&str> = words(view.left_out).collect();
    for row in data["result"].as_array().expect("rows") {
        let row = row.as_object().expect("an object");
        for field in words(view.fields) {
            match row.get(field) {
                None => assert!(is_in(view.left_out, field), "{}: no {field} in {row:?}", view.name),
                Some(Value::Null) => {
                    let allowed = !is_in(view.left_out, field) && !is_in(view.never_null, field);
                    assert!(allowed, "{}: {field} is null in {row:?}", view.name);
                }
                Some(_) => {}
            }
        }
        let unknown: Vec<_> = row.keys().filter(|name| !is_in(view.fields, name)).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", view.name);
        absent.retain(|field| row.contains_key(*field));
    }
    // The least of these records do not have them, but every conversation of a thread is known.
    assert!(absent.iter().all(|field| *field == "conversationIds"), "{}: {absent:?} is in every row", view.name);
    let bucket = r#"{"select":[{"type":"time","timeUnit":"day"},{"type":"aggregation","aggregation":"count"}]}"#;
    let column = format!("{}_day", view.default_time);
    for row in site.query_view(view.name, key, bucket)["result"].as_array().expect("rows") {
        assert!(row[&column].as_str().is_some_and(|day| day.ends_with("T00:00:00.000Z")), "{}: {row}", view.name);
    }
    let foreign = format!(r#"{{"select":[{{"type":"field","field":"{}"}}]}}"#, view.foreign);
    for path in [format!("/query/{}", view.name), format!("/query/{}/export", view.name)] {
        let detail = site.refused(422, "POST", &path, key, Some(&foreign));
        assert!(detail.starts_with("select[0].field"), "{detail}");
    }
}

fn one_field(site: &Site, key: &str, view: &View, field: &str) {
    let context = format!("{field} of {}", view.name);
    let ask = |request: Value| site.query_view(view.name, key, &request.to_string());
    let selected = json!({"type": "field", "field": field});
    let data = ask(json!({"select": [selected], "orderBy": [{"field": field, "direction": "desc"}]}));
    let rows = data["result"].as_array().expect("rows");
    assert_eq!(rows.len() as u64, view.rows, "{context}");
    let (given, nulls): (Vec<_>, Vec<_>) =
        rows.iter().partition(|row| row.get(field).is_some_and(|one| !one.is_null()));
    if is_in(view.left_out, field) {
        assert!(nulls.iter().all(|row| row.get(field).is_none()), "{context}: {nulls:?}");
    } else {
        assert!(nulls.iter().all(|row| row.get(field) == Some(&Value::Null)), "{context}: {nulls:?}");
        assert!(nulls.is_empty() || !is_in(view.never_null, field), "{context}: {nulls:?}");
    }
    let is_null = |row: &Value| row.get(field).is_none_or(Value::is_null);
    assert!(rows.iter().skip_while(|row| !is_null(row)).all(is_null), "{context}: nulls are last: {rows:?}");
    for (operator, count) in [("isNull", nulls.len()), ("isNotNull", given.len())] {
        let found = ask(json!({"where": {"condition": {"field": field, "operator": operator}}}));
        assert_eq!(found["total"], count, "{context}: {operator}");
    }
    let counted = format!("count_{field}");
    let count = json!({"type": "aggregation", "aggregation": "count", "field": field});
    assert_eq!(ask(json!({"select": [count]}))["result"], json!([{&counted: given.len()}]), "{context}");

    let count = json!({"type": "aggregation", "aggregation": "count"});
    let groups = ask(json!({"select": [count], "groupBy": [{"field": field}]}));
    let groups = groups["result"].as_array().expect("groups");
    let total: u64 = groups.iter().filter_map(|row| row["count"].as_u64()).sum();
    assert_eq!(total, view.rows, "{context}: {groups:?}");
    for group in groups {
        let is_shown = group.get(field).is_some();
        let is_absent = if is_in(view.left_out, field) { !is_shown } else { group[field].is_null() };
        assert!(is_shown || is_absent, "{context}: {group}");
        assert!(!is_in(view.left_out, field) || group.get(field) != Some(&Value::Null), "{context}: {group}");
    }
    assert_eq!(groups.iter().any(is_null), !nulls.is_empty(), "{context}: {groups:?}");

    for mode in ["unpack", "json"] {
        let path = format!("/query/{}/export", view.name);
        let request = json!({"select": [{"type": "field", "field": field, "mode": mode}]}).to_string();
        let answer = site.send("POST", &path, key, Some(&request));
        assert_eq!(answer.status, 200, "{context}: {}", answer.text());
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/csv")), "{context}");
        let text = answer.text();
        let header = text.split("\r\n").next().expect("a header");
        if mode == "json" || !JSON.contains(&field) {
            assert_eq!(header, field, "{context}");
        } else {
            assert!(header.starts_with(&format!("{field}.")), "{context}: {header}");
        }
    }
    if JSON.contains(&field) {
        let request = json!({"select": [{"type": "field", "field": field, "path": ["a"], "mode": "json"}]}).to_string();
        for path in [format!("/query/{}", view.name), format!("/query/{}/export", view.name)] {
            let detail = site.refused(422, "POST", &path, key, Some(&request));
            assert!(detail.contains("path"), "{context}: {detail}");
        }
    }
}

#[test]
fn lists_of_threads_are_searched() {
    let mut site = Site::start(&[]);
    let key = fill(&site);
    let rows = site.query_view(
        "semantic-threads",
        &key,
        r#"{"where":{"condition":{"field":"answer","operator":"eq","value":"There."}}}"#,
    );
    let id = rows["result"][0]["id"].as_str().expect("an id").to_owned();
    let body = json!({"firstPartyEntities": ["a b"], "thirdPartyEntities": ["c"]}).to_string();
    site.ok("PATCH", &format!("/semantic-threads/{id}"), &key, Some(&body));
    for _ in 0..2 {
        for (field, value, found) in [
            ("messageIds", json!("m1"), true),
            ("messageIds", json!(["m2", "m1"]), true),
            ("messageIds", json!(["m1", "m4"]), false),
            ("conversationIds", json!("c"), true),
            ("firstPartyEntities", json!(["a b"]), true),
            ("firstPartyEntities", json!("c"), false),
            ("thirdPartyEntities", json!("c"), true),
        ] {
            let contains = json!({"condition": {"field": field, "operator": "arrayContains", "value": value}});
            let one = json!({"condition": {"field": "id", "operator": "eq", "value": id}});
            let request = json!({"where": {"and": [contains, one]}}).to_string();
            assert_eq!(site.query_view("semantic-threads", &key, &request)["total"], u64::from(found), "{request}");
        }
        site.restart();
    }
}
