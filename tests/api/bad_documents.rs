//! Every rule by which `POST /conversations` refuses a document (contract A2), and that a refusal changes nothing.

use crate::site::Site;
use crate::support::cut;

/// The stored document that every refused one would replace.
const KEPT: &str = r#"{"id":"kept","externalId":"kept","type":"openai","properties":{"state":"first"},
    "messages":[{"id":"m","role":"user","content":"first"}]}"#;

/// The refused documents carry the id of the stored one.
fn document(members: &str) -> String {
    format!(r#"{{"id":"kept","type":"support_ticket","messages":[{{"role":"x","content":"hi"}}],{members}}}"#)
}

fn without_id(members: &str) -> String {
    format!(r#"{{"type":"support_ticket","messages":[{{"role":"x","content":"hi"}}],{members}}}"#)
}

fn messages(messages: &str) -> String {
    format!(r#"{{"id":"kept","type":"openai","messages":[{messages}]}}"#)
}

/// An openai message with further members.
fn message(members: &str) -> String {
    messages(&format!(r#"{{"role":"user","content":"hi",{members}}}"#))
}

fn part(part: &str) -> String {
    messages(&format!(r#"{{"role":"user","content":[{part}]}}"#))
}

fn call(call: &str) -> String {
    message(&format!(r#""tool_calls":[{call}]"#))
}

/// Body, place that the detail must name, and a part of what it must say.
type Case = (String, &'static str, &'static str);

fn fields() -> Vec<Case> {
    let long = "é".repeat(257);
    let mut cases: Vec<Case> = vec![
        (r#"{"id":"kept","messages":[{"role":"x"}]}"#.into(), "type", "string"),
        (r#"{"id":"kept","type":null,"messages":[{"role":"x"}]}"#.into(), "type", "string"),
        (r#"{"id":"kept","type":5,"messages":[{"role":"x"}]}"#.into(), "type", "number"),
        (r#"{"id":"kept","type":"chat","messages":[{"role":"x"}]}"#.into(), "type", "support_copilot"),
        (r#"{"id":"kept","type":"OpenAI","messages":[{"role":"x"}]}"#.into(), "type", "openai"),
        (r#"{"id":"kept","type":"openai"}"#.into(), "messages", "at least one"),
        (r#"{"id":"kept","type":"openai","messages":null}"#.into(), "messages", "at least one"),
        (messages(""), "messages", "at least one"),
        (r#"{"id":"kept","type":"openai","messages":{}}"#.into(), "messages", "object"),
        (messages("null"), "messages[0]", "object"),
        (messages(r#"{"role":"user","content":""},5"#), "messages[1]", "number"),
        (document(r#""visibility":"secret""#), "visibility", "private, public"),
        (document(r#""visibility":true"#), "visibility", "boolean"),
        (document(r#""properties":[]"#), "properties", "object"),
        (document(r#""properties":"x""#), "properties", "object"),
        (document(r#""userProperties":5"#), "userProperties", "object"),
        (document(r#""userProperties":{"id":[]}"#), "userProperties.id", "number or null"),
        (document(r#""userProperties":{"id":true}"#), "userProperties.id", "number or null"),
        (document(r#""userProperties":{"userId":{}}"#), "userProperties.userId", "number or null"),
        (message(r#""properties":[]"#), "messages[0].properties", "object"),
        (message(r#""userProperties":"x""#), "messages[0].userProperties", "object"),
        (message(r#""userProperties":{"userId":false}"#), "messages[0].userProperties.userId", "number or null"),
        (document(r#""tags":"x""#), "tags", "array"),
        (document(r#""tags":["a",null]"#), "tags[1]", "string"),
        (document(r#""tags":[5]"#), "tags[0]", "number"),
        (without_id(r#""id":5"#), "id", "number"),
        (without_id(r#""id":"""#), "id", ""),
        (without_id(r#""id":".""#), "id", ""),
        (without_id(r#""id":"..""#), "id", ""),
        (without_id(&format!(r#""id":"{long}""#)), "id", "512"),
        (document(r#""externalId":"""#), "externalId", ""),
        (document(r#""externalId":".""#), "externalId", ""),
        (document(r#""externalId":"..""#), "externalId", ""),
        (document(&format!(r#""externalId":"{long}""#)), "externalId", "512"),
        (message(r#""id":"""#), "messages[0].id", ""),
        (message(r#""id":"..""#), "messages[0].id", ""),
        (message(&format!(r#""id":"{long}""#)), "messages[0].id", "512"),
        (message(r#""externalId":".""#), "messages[0].externalId", ""),
        (message(&format!(r#""externalId":"{long}""#)), "messages[0].externalId", "512"),
        (
            messages(
                r#"{"id":"a","role":"user","content":""},{"id":"b","role":"user","content":""},{"id":"a","role":"user","content":""}"#,
            ),
            "messages[2].id",
            "a",
        ),
    ];
    for name in ["externalId", "externalUrl", "supportTicketConversationId", "projectId", "integrationId", "createdAt"]
    {
        cases.push((document(&format!(r#""{name}":{{}}"#)), name, "string"));
        cases.push((document(&format!(r#""{name}":12"#)), name, "string"));
    }
    for name in ["identificationType", "supportAgentName", "supportAgentEmail", "userType"] {
        for value in ["5", "true", "[]", "{}"] {
            cases.push((
                document(&format!(r#""userProperties":{{"{name}":{value}}}"#)),
                "userProperties.",
                "string or null",
            ));
            cases.push((
                message(&format!(r#""userProperties":{{"{name}":{value}}}"#)),
                "messages[0].userProperties.",
                name,
            ));
        }
    }
    cases
}

fn message_fields() -> Vec<Case> {
    let mut cases: Vec<Case> = vec![
        (message(r#""type":"support_ticket""#), "messages[0].type", "openai"),
        (message(r#""type":5"#), "messages[0].type", ""),
        (messages(r#"{"content":"hi"}"#), "messages[0].role", "string"),
        (messages(r#"{"role":null,"content":"hi"}"#), "messages[0].role", "string"),
        (messages(r#"{"role":"robot","content":"hi"}"#), "messages[0].role", "system, user, assistant"),
        (messages(r#"{"role":"User","content":"hi"}"#), "messages[0].role", "user"),
        (r#"{"id":"kept","type":"support_ticket","messages":[{"content":"x"}]}"#.into(), "messages[0].role", "string"),
        (r#"{"id":"kept","type":"support_copilot","messages":[{"role":5}]}"#.into(), "messages[0].role", "number"),
        (
            r#"{"id":"kept","type":"support_ticket","messages":[{"role":"r","content":[]}]}"#.into(),
            "messages[0].content",
            "string",
        ),
        (
            r#"{"id":"kept","type":"support_copilot","messages":[{"role":"r","content":{}}]}"#.into(),
            "messages[0].content",
            "string",
        ),
        (messages(r#"{"role":"user"}"#), "messages[0].content", ""),
        (messages(r#"{"role":"assistant","content":null}"#), "messages[0].content", ""),
        (messages(r#"{"role":"assistant","content":null,"tool_calls":[]}"#), "messages[0].content", ""),
        (messages(r#"{"role":"user","content":5}"#), "messages[0].content", "number"),
        (part(r#""x""#), "messages[0].content[0]", "object"),
        (part("{}"), "messages[0].content[0].type", ""),
        (part(r#"{"type":null,"text":"x"}"#), "messages[0].content[0].type", ""),
        (part(r#"{"type":"audio"}"#), "messages[0].content[0].type", "text, image_url"),
        (part(r#"{"type":"text","text":5}"#), "messages[0].content[0].text", "string"),
        (part(r#"{"type":"image_url","image_url":"u"}"#), "messages[0].content[0].image_url", "object"),
        (part(r#"{"type":"image_url","image_url":{}}"#), "messages[0].content[0].image_url.url", "string"),
        (part(r#"{"type":"image_url","image_url":{"url":null}}"#), "messages[0].content[0].image_url.url", "string"),
        (
            part(r#"{"type":"image_url","image_url":{"url":"u","detail":"huge"}}"#),
            "messages[0].content[0].image_url.detail",
            "auto, low, high",
        ),
        (
            part(r#"{"type":"image_url","image_url":{"url":"u","detail":1}}"#),
            "messages[0].content[0].image_url.detail",
            "",
        ),
        (message(r#""name":5"#), "messages[0].name", "string"),
        (message(r#""externalUrl":[]"#), "messages[0].externalUrl", "string"),
        (message(r#""links":{}"#), "messages[0].links", "array"),
        (message(r#""links":["u"]"#), "messages[0].links[0]", "object"),
        (message(r#""links":[{"label":"x"}]"#), "messages[0].links[0].url", "string"),
        (message(r#""links":[{"url":null}]"#), "messages[0].links[0].url", "string"),
        (message(r#""links":[{"url":"u"},{"url":5}]"#), "messages[0].links[1].url", "string"),
        (message(r#""links":[{"url":"u","breadcrumbs":"x"}]"#), "messages[0].links[0].breadcrumbs", "array"),
        (message(r#""links":[{"url":"u","breadcrumbs":["x",null]}]"#), "messages[0].links[0].breadcrumbs[1]", "string"),
        (message(r#""tool_calls":{}"#), "messages[0].tool_calls", "array"),
        (call("5"), "messages[0].tool_calls[0]", "object"),
        (
            call(r#"{"type":"function","function":{"name":"f","arguments":""}}"#),
            "messages[0].tool_calls[0].id",
            "string",
        ),
        (
            call(r#"{"id":null,"type":"function","function":{"name":"f","arguments":""}}"#),
            "messages[0].tool_calls[0].id",
            "string",
        ),
        (call(r#"{"id":"t","function":{"name":"f","arguments":""}}"#), "messages[0].tool_calls[0].type", ""),
        (
            call(r#"{"id":"t","type":"tool","function":{"name":"f","arguments":""}}"#),
            "messages[0].tool_calls[0].type",
            "function",
        ),
        (call(r#"{"id":"t","type":"function"}"#), "messages[0].tool_calls[0].function", "object"),
        (
            call(r#"{"id":"t","type":"function","function":{"arguments":""}}"#),
            "messages[0].tool_calls[0].function.name",
            "string",
        ),
        (
            call(r#"{"id":"t","type":"function","function":{"name":"f"}}"#),
            "messages[0].tool_calls[0].function.arguments",
            "string",
        ),
        (
            call(r#"{"id":"t","type":"function","function":{"name":"f","arguments":{"a":1}}}"#),
            "messages[0].tool_calls[0].function.arguments",
            "string",
        ),
    ];
    for name in ["label", "title", "description", "type"] {
        cases.push((message(&format!(r#""links":[{{"url":"u","{name}":5}}]"#)), "messages[0].links[0].", name));
    }
    cases
}

fn values() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for time in [
        "yesterday",
        "",
        "2024",
        "2024-13-01",
        "2024-02-30",
        "2024-08-26T25:00:00Z",
        "2024-08-26T00:00:00",
        "2024-08-26 00:00",
        "0000-12-31T00:00:00Z",
        "0000-12-31",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "10000-01-01T00:00:00Z",
        "1724630400000",
    ] {
        cases.push((document(&format!(r#""createdAt":"{time}""#)), "createdAt", ""));
        cases.push((document(&format!(r#""updatedAt":"{time}""#)), "updatedAt", ""));
        cases.push((message(&format!(r#""createdAt":"{time}""#)), "messages[0].createdAt", ""));
        cases.push((message(&format!(r#""updatedAt":"{time}""#)), "messages[0].updatedAt", ""));
    }
    cases.push((document(r#""createdAt":1724630400000"#), "createdAt", "string"));
    for number in ["1e400", "-1e309", "1e-1200", &format!("0.{}1", "0".repeat(1_200)), &"9".repeat(400)] {
        cases.push((document(&format!(r#""properties":{{"n":[{number}]}}"#)), "properties.n[0]", "number"));
        cases.push((
            message(&format!(r#""userProperties":{{"n":{number}}}"#)),
            "messages[0].userProperties.n",
            "number",
        ));
    }
    for escape in [r"\u0000", r"\ud800", r"a\udc00b", r"\ud800\u0041"] {
        cases.push((message(&format!(r#""name":"{escape}""#)), "messages[0].name", ""));
        cases.push((document(&format!(r#""properties":{{"a":["{escape}"]}}"#)), "properties.a[0]", ""));
        cases.push((document(&format!(r#""properties":{{"x{escape}":1}}"#)), "properties", ""));
        cases.push((document(&format!(r#""externalId":"{escape}""#)), "externalId", ""));
    }
    let objects = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    let lists = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
    for nested in [objects(33), lists(33), objects(60)] {
        cases.push((document(&format!(r#""properties":{nested}"#)), "properties", "32"));
        cases.push((document(&format!(r#""userProperties":{nested}"#)), "userProperties", "32"));
        cases.push((message(&format!(r#""properties":{nested}"#)), "messages[0].properties", "32"));
    }
    cases
}

#[test]
fn invalid_documents_are_422_and_change_nothing() {
    let site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, KEPT);
    let before = site.ok("GET", "/conversations/kept", &key, None).text();

    let mut wrong = Vec::new();
    for (body, place, part) in fields().into_iter().chain(message_fields()).chain(values()) {
        let answer = site.send("POST", "/conversations", &key, Some(&body));
        if answer.status != 422 {
            wrong.push(format!("{} for {}: {}", answer.status, cut(&body, 200), cut(&answer.text(), 300)));
            continue;
        }
        let detail = crate::site::problem(&answer, 422, "/conversations");
        if !detail.contains(place) || !detail.contains(part) {
            wrong.push(format!("`{detail}` for {}: `{place}` and `{part}` expected", cut(&body, 200)));
        }
        assert!(detail.len() < 1_000, "a detail is short: {}", cut(&detail, 1_000));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));

    assert_eq!(site.ok("GET", "/conversations/kept", &key, None).text(), before);
    assert_eq!(site.get("/conversations", &key)["total"], 1);
    assert_eq!(site.query(&key, "{}")["total"], 1);
}

#[test]
fn what_is_at_the_limit_is_taken() {
    let site = Site::start(&[]);
    let key = site.api_key();
    let nested = format!("{}1{}", r#"{"a":"#.repeat(32), "}".repeat(32));
    for body in [
        without_id(&format!(r#""id":"{}""#, "é".repeat(256))),
        without_id(&format!(r#""properties":{nested},"userProperties":{nested}"#)),
        without_id(r#""createdAt":"0001-01-01T00:00:00Z","updatedAt":"9999-12-31T23:59:59.999Z""#),
        without_id(r#""properties":{"n":[1e308,-1.7976931348623157e308,1e-1000,5e-324]}"#),
        without_id(r#""properties":{"pair":"\ud83d\ude00","control":"\u0001\u007f"}"#),
        without_id(r#""id":"...","externalId":"a.""#),
        without_id(
            r#""userProperties":{"id":7,"userId":null,"userType":null,"userTypes":[1],"identificationType":"x"}"#,
        ),
        without_id(r#""tags":[],"properties":{},"visibility":"private""#),
        messages(r#"{"role":"assistant","content":[]},{"role":"system","content":""}"#),
        r#"{"type":"support_copilot","messages":[{"role":""}]}"#.to_string(),
    ] {
        site.log(&key, &body);
    }
}

#[test]
fn null_means_absent() {
    let site = Site::start(&[]);
    let key = site.api_key();
    let nulls = |names: &[&str]| names.iter().map(|name| format!(r#","{name}":null"#)).collect::<String>();
    let of_message = nulls(&[
        "id",
        "type",
        "externalId",
        "externalUrl",
        "createdAt",
        "updatedAt",
        "name",
        "links",
        "properties",
        "userProperties",
        "tool_calls",
    ]);
    let of_document = nulls(&[
        "id",
        "externalId",
        "externalUrl",
        "supportTicketConversationId",
        "createdAt",
        "updatedAt",
        "projectId",
        "integrationId",
        "properties",
        "userProperties",
        "tags",
        "visibility",
    ]);
    let link = r#"{"url":"u","label":null,"title":null,"description":null,"type":null,"breadcrumbs":null}"#;
    let parts =
        r#"[{"type":"image_url","text":null,"image_url":{"url":"u","detail":null}},{"type":"text","text":null}]"#;
    let stored = site.log(
        &key,
        &format!(
            r#"{{"type":"openai"{of_document},"messages":[{{"role":"user","content":""{of_message}}},
                {{"role":"user","content":{parts},"links":[{link}]}}]}}"#
        ),
    );
    assert_eq!(stored["integrationId"], crate::site::INTEGRATION);
    assert_eq!(stored["messages"][1]["content"][0]["image_url"], serde_json::json!({"url": "u"}));
}
