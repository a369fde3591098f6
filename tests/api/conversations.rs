//! What `POST /conversations` keeps and the reads give back (contract A2), from memory and, after a restart, from files.

use serde_json::{Value, json};

use crate::site::{Site, text};
use crate::support::percent_encode;

fn ticket(members: &str) -> String {
    format!(r#"{{"type":"support_ticket","messages":[{{"role":"customer","content":"hi"}}]{members}}}"#)
}

#[test]
fn a_bare_ticket_shows_every_nullable_field() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let stored = site.log(
        &key,
        r#"{"id":"c","type":"support_ticket","createdAt":"2024-08-26","updatedAt":"2024-08-27",
            "messages":[{"id":"m","role":"customer"}]}"#,
    );
    let expected = json!({
        "id": "c", "externalId": null, "externalUrl": null, "type": "support_ticket", "supportTicketConversationId": null,
        "createdAt": "2024-08-26T00:00:00.000Z", "updatedAt": "2024-08-27T00:00:00.000Z", "projectId": "docs",
        "integrationId": "bot", "properties": null, "userProperties": null, "tags": null, "visibility": null,
        "messages": [{
            "id": "m", "type": "support_ticket", "externalId": null, "externalUrl": null, "conversationId": "c",
            "createdAt": "2024-08-26T00:00:00.000Z", "updatedAt": "2024-08-26T00:00:00.000Z", "role": "customer",
            "content": null, "name": null, "links": null, "properties": null, "userProperties": null,
        }],
    });
    assert_eq!(stored, expected);
    site.restart();
    assert_eq!(site.get("/conversations/c", &key), expected);
}

fn full(kind: &str, contents: [&str; 2]) -> String {
    format!(
        r#"{{"id":"{kind}","externalId":"ext {kind}","externalUrl":"https://x/{kind}","type":"{kind}",
        "supportTicketConversationId":"t","createdAt":"2024-08-26T10:00:00Z","updatedAt":"2024-08-26T11:00:00Z",
        "projectId":"docs","integrationId":"own","properties":{{"plan":"pro","nested":{{"a":[null,{{}},[]]}}}},
        "userProperties":{{"id":7,"userId":"u","identificationType":"COOKIED","userType":"member","supportAgentName":null,"x":[1]}},
        "tags":["a","","ü"],"visibility":"public","unknown":{{"deep":[{{}}]}},
        "messages":[
          {{"id":"{kind}1","externalId":"m1","externalUrl":"https://x/m","type":"{kind}","createdAt":"2024-08-26T10:01:00Z",
            "updatedAt":"2024-08-26T10:02:00Z","role":"user","name":"Ann","content":{},"properties":{{"p":true}},
            "userProperties":{{"userId":1}},"unknown":1,
            "links":[{{"url":"https://l"}},{{"label":"1","url":"https://l2","title":"t","description":"d","type":"my own",
              "breadcrumbs":["a","b"],"unknown":1}}]}},
          {{"id":"{kind}2","role":"assistant",{}}}]}}"#,
        contents[0], contents[1]
    )
}

fn full_expected(kind: &str, contents: [Value; 2]) -> Value {
    json!({
        "id": kind, "externalId": format!("ext {kind}"), "externalUrl": format!("https://x/{kind}"), "type": kind,
        "supportTicketConversationId": "t", "createdAt": "2024-08-26T10:00:00.000Z",
        "updatedAt": "2024-08-26T11:00:00.000Z", "projectId": "docs", "integrationId": "own",
        "properties": {"plan": "pro", "nested": {"a": [null, {}, []]}},
        "userProperties": {"id": 7, "userId": "u", "identificationType": "COOKIED", "userType": "member",
            "supportAgentName": null, "x": [1]},
        "tags": ["a", "", "ü"], "visibility": "public",
        "messages": [
            {"id": format!("{kind}1"), "type": kind, "externalId": "m1", "externalUrl": "https://x/m",
             "conversationId": kind, "createdAt": "2024-08-26T10:01:00.000Z", "updatedAt": "2024-08-26T10:02:00.000Z",
             "role": "user", "content": contents[0], "name": "Ann",
             "links": [
                {"label": null, "url": "https://l", "title": null, "description": null, "type": null, "breadcrumbs": null},
                {"label": "1", "url": "https://l2", "title": "t", "description": "d", "type": "my own", "breadcrumbs": ["a", "b"]}],
             "properties": {"p": true}, "userProperties": {"userId": 1}},
            {"id": format!("{kind}2"), "type": kind, "externalId": null, "externalUrl": null, "conversationId": kind,
             "createdAt": "2024-08-26T10:00:00.000Z", "updatedAt": "2024-08-26T10:00:00.000Z", "role": "assistant",
             "content": contents[1], "name": null, "links": null, "properties": null, "userProperties": null},
        ],
    })
}

#[test]
fn all_three_types_come_back_whole() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let call = r#"{"id":"t1","type":"function","function":{"name":"f","arguments":"{\"a\": 1.10,  \"b\":1e5}"}}"#;
    let parts = r#"[{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"https://i","detail":"low"}},
        {"type":"image_url","image_url":{"url":"https://j","detail":null}}]"#;
    let openai = full("openai", [parts, &format!(r#""tool_calls":[{call}]"#)]);
    let shown_parts = json!([
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "https://i", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://j"}},
    ]);
    let shown_call: Value = serde_json::from_str(call).expect("JSON");
    let mut openai_expected = full_expected("openai", [shown_parts.clone(), json!("")]);
    openai_expected["messages"][0]["tool_calls"] = Value::Null;
    openai_expected["messages"][1]["tool_calls"] = json!([shown_call]);
    openai_expected["messagesOpenAIFormat"] = json!([
        {"role": "user", "name": "Ann", "content": shown_parts, "tool_calls": null},
        {"role": "assistant", "name": null, "content": "", "tool_calls": [shown_call]},
    ]);
    let mut expected = vec![("openai", openai_expected, openai)];
    for kind in ["support_ticket", "support_copilot"] {
        // tool_calls of these are unknown fields.
        let document = full(kind, [r#""text \"é\u0001😀\n""#, r#""content":null,"tool_calls":[5]"#]);
        expected.push((kind, full_expected(kind, [json!("text \"é\u{1}😀\n"), Value::Null]), document));
    }
    for (_, expected, document) in &expected {
        assert_eq!(site.log(&key, document), *expected);
    }
    for round in 0..2 {
        for (kind, expected, _) in &expected {
            let one = site.get(&format!("/conversations/{kind}"), &key);
            assert_eq!(one, *expected, "round {round}");
            let external = format!("/conversations/external/{}", percent_encode(&format!("ext {kind}")));
            assert_eq!(site.get(&external, &key), *expected, "round {round}");
            // An answer can be logged again as it is.
            let answer = site.ok("GET", &format!("/conversations/{kind}"), &key, None).text();
            assert_eq!(site.ok("POST", "/conversations", &key, Some(&answer)).text(), answer, "round {round}");
        }
        let list = site.get("/conversations", &key);
        assert_eq!(list["total"], 3);
        for conversation in list["conversations"].as_array().expect("a list") {
            let expected = expected.iter().find(|(kind, ..)| conversation["id"] == *kind).expect("logged");
            assert_eq!(*conversation, expected.1, "round {round}");
        }
        site.restart();
    }
}

#[test]
fn values_come_back_as_spelled() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let properties = r#"{"z":9007199254740993,"y":1.10,"x":1e5,"w":-0.0,"v":1E+2,"u":123456789012345678901234567890.50,"t":[1.0,{"b":1,"a":2}],"é":"\u0001/","":""}"#;
    let stored = site.ok(
        "POST",
        "/conversations",
        &key,
        Some(&format!(
            r#"{{"id":"c","type":"support_ticket","type":"openai","properties":{{"a":1}},"properties":{properties},
            "userProperties":{{"k":1,"l":2,"k":3.50}},
            "messages":[{{"role":"user","content":"first"}}],
            "messages":[{{"role":"user","role":"assistant","content":"1e5 \u00e9","properties":{properties},"userProperties":{properties},
              "tool_calls":[{{"id":"t","type":"function","function":{{"name":"f","arguments":"{{\"a\":1.10,\n\"a\":1E5}}"}}}}]}}]}}"#
        )),
    );
    for round in 0..2 {
        let shown = site.ok("GET", "/conversations/c", &key, None).text();
        assert_eq!(shown, stored.text(), "round {round}");
        for expected in [
            r#""z":9007199254740993,"y":1.10,"x":1e5,"w":-0.0,"v":1E+2,"u":123456789012345678901234567890.50,"t":[1.0,{"b":1,"a":2}],"#,
            r#""k":3.50"#,
            r#""arguments":"{\"a\":1.10,\n\"a\":1E5}""#,
            r#""role":"assistant""#,
            r#""type":"openai""#,
        ] {
            assert!(shown.contains(expected), "{expected} in {shown}");
        }
        let value: Value = serde_json::from_str(&shown).expect("JSON");
        assert_eq!(value["properties"]["é"], "\u{1}/");
        assert_eq!(value["properties"][""], "");
        assert_eq!(value["properties"], value["messages"][0]["properties"]);
        assert_eq!(value["properties"], value["messages"][0]["userProperties"]);
        assert_eq!(value["userProperties"], json!({"k": 3.5, "l": 2}));
        assert_eq!(value["messages"].as_array().map(Vec::len), Some(1));
        assert_eq!(value["messages"][0]["content"], "1e5 é");
        // Queries show the same text.
        let row = site
            .ok("POST", "/query/conversations", &key, Some(r#"{"select":[{"type":"field","field":"properties"}]}"#))
            .text();
        assert!(row.contains(r#""z":9007199254740993,"y":1.10,"x":1e5,"w":-0.0,"v":1E+2,"#), "round {round}: {row}");
        site.restart();
    }
}

#[test]
fn times() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let cases = [
        ("2024-08-26", "2024-08-26T00:00:00.000Z"),
        ("2024-08-26T02:00:00+02:00", "2024-08-26T00:00:00.000Z"),
        ("2024-08-26T00:00:00.123987Z", "2024-08-26T00:00:00.123Z"),
        ("2024-08-26T00:00:00.9999999Z", "2024-08-26T00:00:00.999Z"),
        ("2024-08-25T19:30:00.5-04:30", "2024-08-26T00:00:00.500Z"),
        ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
        ("1900-02-28T23:59:59.0001Z", "1900-02-28T23:59:59.000Z"),
        ("0001-01-01", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ("2024-02-29T12:00:00Z", "2024-02-29T12:00:00.000Z"),
    ];
    for (index, (given, _)) in cases.iter().enumerate() {
        site.log(
            &key,
            &format!(
                r#"{{"id":"{index}","type":"support_copilot","createdAt":"{given}","updatedAt":"{given}","messages":[
                {{"role":"a"}},{{"role":"a","createdAt":"{given}"}},{{"role":"a","createdAt":"2000-01-01","updatedAt":"{given}"}}]}}"#
            ),
        );
    }
    for round in 0..2 {
        for (index, (given, shown)) in cases.iter().enumerate() {
            let stored = site.get(&format!("/conversations/{index}"), &key);
            for (time, expected) in [
                (&stored["createdAt"], *shown),
                (&stored["updatedAt"], *shown),
                // A message without a time shows the conversation's, one without updatedAt its createdAt.
                (&stored["messages"][0]["createdAt"], *shown),
                (&stored["messages"][0]["updatedAt"], *shown),
                (&stored["messages"][1]["createdAt"], *shown),
                (&stored["messages"][1]["updatedAt"], *shown),
                (&stored["messages"][2]["createdAt"], "2000-01-01T00:00:00.000Z"),
                (&stored["messages"][2]["updatedAt"], *shown),
            ] {
                assert_eq!(*time, expected, "{given}, round {round}: {stored}");
            }
            let request = format!(
                r#"{{"select":[{{"type":"field","field":"createdAt"}}],"where":{{"condition":{{"field":"createdAt","operator":"eq","value":"{shown}"}}}}}}"#
            );
            let rows = site.rows(&key, &request);
            assert!(rows.as_array().is_some_and(|rows| !rows.is_empty()), "{given}, round {round}");
            assert_eq!(rows[0]["createdAt"], *shown);
        }
        site.restart();
    }
    // Absent times are now.
    let stored = site.log(&key, &ticket(""));
    assert_eq!(stored["createdAt"], stored["updatedAt"]);
    let created: chrono::DateTime<chrono::Utc> = text(&stored["createdAt"]).parse().expect("a time");
    assert!((chrono::Utc::now() - created).num_seconds().abs() < 60, "{created}");
}

#[test]
fn the_list() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let empty = site.get("/conversations", &key);
    assert_eq!(empty, json!({"conversations": [], "total": 0, "pageSize": 20, "count": 0}));
    // Five days with five conversations each, in no order.
    let mut expected: Vec<(String, String)> = Vec::new();
    for index in 0..25 {
        let (day, id) = (index * 7 % 5 + 1, format!("c{:02}", index * 11 % 25));
        site.log(&key, &ticket(&format!(r#","id":"{id}","createdAt":"2024-01-0{day}""#)));
        expected.push((format!("2024-01-0{day}T00:00:00.000Z"), id));
        if index == 12 {
            site.restart(); // one half in files, one in memory
        }
    }
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let ids: Vec<&str> = expected.iter().map(|(_, id)| id.as_str()).collect();
    for round in 0..2 {
        let page = |query: &str| {
            let page = site.get(&format!("/conversations{query}"), &key);
            let found: Vec<String> = page["conversations"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|one| text(&one["id"]).to_string())
                .collect();
            assert_eq!(page["count"], found.len(), "{query}, round {round}");
            assert_eq!(page["total"], 25, "{query}, round {round}");
            (found, page["pageSize"].clone())
        };
        assert_eq!(page(""), (ids[..20].iter().map(ToString::to_string).collect(), json!(20)), "round {round}");
        assert_eq!(page("?limit=100"), (ids.iter().map(ToString::to_string).collect(), json!(100)), "round {round}");
        assert_eq!(page("?limit=0"), (vec![], json!(0)), "round {round}");
        assert_eq!(page("?offset=20").0, ids[20..], "round {round}");
        assert_eq!(page("?offset=25").0.len(), 0, "round {round}");
        assert_eq!(page("?offset=1000000000000").0.len(), 0, "round {round}");
        let pages: Vec<String> = (0..9).flat_map(|number| page(&format!("?limit=3&offset={}", number * 3)).0).collect();
        assert_eq!(pages, ids, "round {round}");
        site.restart();
    }
}

#[test]
fn a_deleted_conversation_is_gone_at_once() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    for round in 0..2 {
        for id in ["a", "b", "c"] {
            site.log(&key, &ticket(&format!(r#","id":"{id}","externalId":"ext-{id}","properties":{{"n":1}}"#)));
        }
        if round == 1 {
            site.restart(); // delete from files
        }
        let count = |site: &Site| {
            let select = r#"{"select":[{"type":"aggregation","aggregation":"count"},{"type":"aggregation","aggregation":"sum","field":"properties","path":["n"]}]}"#;
            let row = site.rows(&key, select)[0].clone();
            assert_eq!(row["count"], row["sum_properties.n"], "round {round}");
            row["count"].clone()
        };
        assert_eq!(count(&site), 3);
        let answer = site.ok("DELETE", "/conversations/b", &key, None).json();
        assert_eq!(answer["success"], true);
        assert!(
            answer["message"].is_string() && answer.as_object().is_some_and(|fields| fields.len() == 2),
            "{answer}"
        );
        for after in 0..2 {
            let context = format!("round {round}, after {after}");
            for (method, path) in
                [("GET", "/conversations/b"), ("GET", "/conversations/external/ext-b"), ("DELETE", "/conversations/b")]
            {
                site.refused(404, method, path, &key, None);
            }
            assert_eq!(count(&site), 2, "{context}");
            assert_eq!(site.get("/conversations", &key)["total"], 2, "{context}");
            assert_eq!(site.query(&key, "{}")["total"], 2, "{context}");
            assert_eq!(site.get("/conversations/external/ext-a", &key)["id"], "a", "{context}");
            site.restart();
        }
        // Logged again it is new.
        let again = site.log(&key, &ticket(r#","id":"b","externalId":"ext-b","createdAt":"2024-01-01""#));
        assert_eq!(again["properties"], Value::Null);
        assert_eq!(site.get("/conversations", &key)["total"], 3);
        site.ok("DELETE", "/conversations/b", &key, None);
    }
}

#[test]
fn ids_of_any_text() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let ids = [
        "a/b",
        "a%2Fb",
        "ü 😀",
        "a b+c?d#e&f=g",
        "external",
        "external/x",
        "../x",
        "%",
        "a\\b\"c'",
        "\u{1}\n",
        "...",
        "ünïcode",
    ];
    for id in ids {
        let spelled = serde_json::to_string(id).expect("JSON");
        let message = format!(r#"{{"id":{spelled},"externalId":{spelled},"role":"a"}}"#);
        site.log(
            &key,
            &format!(r#"{{"id":{spelled},"externalId":{spelled},"type":"support_ticket","messages":[{message}]}}"#),
        );
    }
    for _ in 0..2 {
        for id in ids {
            let encoded = percent_encode(id);
            for path in [format!("/conversations/{encoded}"), format!("/conversations/external/{encoded}")] {
                let stored = site.get(&path, &key);
                for found in [
                    &stored["id"],
                    &stored["externalId"],
                    &stored["messages"][0]["conversationId"],
                    &stored["messages"][0]["id"],
                ] {
                    assert_eq!(*found, id, "{path}");
                }
            }
        }
        assert_eq!(site.get("/conversations", &key)["total"], ids.len());
        site.restart();
    }
    for id in ids {
        site.ok("DELETE", &format!("/conversations/{}", percent_encode(id)), &key, None);
    }
    assert_eq!(site.get("/conversations", &key)["total"], 0);
}
