use super::*;

fn read(text: &str) -> Document {
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn refused(text: &str) -> String {
    let error = parse(text.as_bytes()).expect_err(text);
    assert!(!error.syntax, "{error}");
    error.to_string()
}

/// A document with these extra members, and one whose only message has them.
fn with(members: &str) -> String {
    format!(r#"{{"type":"support_ticket","messages":[{{"role":"x","content":"hi"}}],{members}}}"#)
}

fn with_message(members: &str) -> String {
    format!(r#"{{"type":"openai","messages":[{{"role":"user","content":"hi",{members}}}]}}"#)
}

fn openai(message: &str) -> String {
    format!(r#"{{"type":"openai","messages":[{message}]}}"#)
}

#[test]
fn takes_every_field() {
    let document = read(
        r#"{"id":"c1","externalId":"e1","externalUrl":"u","type":"openai","supportTicketConversationId":"s",
        "createdAt":"2024-08-26T02:00:00+02:00","updatedAt":"2024-08-27","projectId":"p","integrationId":"i",
        "properties":{"b":1.10,"a":[1e5,null],"b":9007199254740993},"userProperties":{"id":7,"userId":null,"userType":"x","other":[1]},
        "tags":["a",""],"visibility":"public","unknown":{"x":[1]},
        "messages":[{"id":"m1","type":"openai","externalId":"me","externalUrl":"mu","createdAt":"2024-08-26","updatedAt":null,
        "role":"assistant","name":"n","content":"h\u00e9\n","links":[{"url":"l","x":1,"label":null,"breadcrumbs":["a"],"type":"zzz"}],
        "properties":{},"userProperties":{"supportAgentEmail":null},"conversationId":"c1",
        "tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f","arguments":"{\"a\":1}","z":1}}]}]}"#,
    );
    assert_eq!(document.id.as_deref(), Some("c1"));
    assert_eq!(document.external_id.as_deref(), Some("e1"));
    assert_eq!(document.created_at, Some(EpochMillis(1_724_630_400_000)));
    assert_eq!(document.updated_at, Some(EpochMillis(1_724_716_800_000)));
    assert_eq!(document.project_id.as_deref(), Some("p"));
    assert_eq!(document.visibility, Some(Visibility::Public));
    assert_eq!(document.tags, Some(vec!["a".into(), String::new()]));
    assert_eq!(document.properties.unwrap().get(), r#"{"b":9007199254740993,"a":[1e5,null]}"#);
    assert_eq!(document.user_properties.unwrap().get(), r#"{"id":7,"userId":null,"userType":"x","other":[1]}"#);
    let message = &document.messages[0];
    assert_eq!(message.content.as_ref().unwrap().get(), r#""hé\n""#);
    assert_eq!(message.links.as_ref().unwrap().get(), r#"[{"url":"l","type":"zzz","breadcrumbs":["a"]}]"#);
    let calls = r#"[{"id":"t","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]"#;
    assert_eq!(message.tool_calls.as_ref().unwrap().get(), calls);
    assert_eq!(message.created_at, Some(EpochMillis(1_724_630_400_000)));
    assert_eq!(message.updated_at, None);
}

#[test]
fn null_is_absent() {
    let names = [
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
    ];
    for name in names {
        read(&with(&format!("\"{name}\":null")));
    }
    for name in [
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
    ] {
        read(&with_message(&format!("\"{name}\":null")));
    }
    read(r#"{"type":"support_copilot","messages":[{"role":""}]}"#);
}

#[test]
fn content_rules() {
    let content = |text: &str| read(text).messages[0].content.as_ref().map(|raw| raw.get().to_owned());
    let call = r#""tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":""}}]"#;
    let cases = [
        (openai(r#"{"role":"user","content":""}"#), Some("\"\"")),
        (openai(r#"{"role":"user","content":[]}"#), Some("[]")),
        (openai(&format!(r#"{{"role":"assistant","content":null,{call}}}"#)), Some("\"\"")),
        (openai(&format!(r#"{{"role":"assistant",{call}}}"#)), Some("\"\"")),
        (
            openai(
                r#"{"role":"user","content":[{"type":"text","text":"a","z":1},{"image_url":{"url":"u","detail":null,"z":1},"type":"image_url"},
                {"type":"text","text":null,"image_url":null},{"type":"image_url","image_url":{"url":"u","detail":"low"}}]}"#,
            ),
            Some(
                r#"[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"u"}},{"type":"text"},{"type":"image_url","image_url":{"url":"u","detail":"low"}}]"#,
            ),
        ),
        (r#"{"type":"support_ticket","messages":[{"role":"r","content":null}]}"#.into(), None),
        (r#"{"type":"support_ticket","messages":[{"role":"r","content":"x","tool_calls":5}]}"#.into(), Some("\"x\"")),
    ];
    for (text, expected) in cases {
        assert_eq!(content(&text).as_deref(), expected, "{text}");
    }
    let ticket = read(r#"{"type":"support_ticket","messages":[{"role":"r","tool_calls":[]}]}"#);
    assert!(ticket.messages[0].tool_calls.is_none());
}

#[test]
fn names_the_path_and_what_is_allowed() {
    let message = |members: &str| with_message(members);
    let string = "a string is needed";
    let missing = "null or missing, a string is needed";
    let id_512 = format!("\"id\":\"{}\"", "é".repeat(257));
    let cases: Vec<(String, String)> = vec![
        ("[]".into(), "array given, an object is needed".into()),
        ("null".into(), "null given, an object is needed".into()),
        ("\"x\"".into(), "string given, an object is needed".into()),
        ("{}".into(), format!("type: {missing}")),
        (r#"{"type":1}"#.into(), format!("type: number given, {string}")),
        (r#"{"type":"chat"}"#.into(), r#"type: "chat" given; allowed: openai, support_ticket, support_copilot"#.into()),
        (r#"{"type":"openai"}"#.into(), "messages: null or missing, an array of at least one message is needed".into()),
        (
            r#"{"type":"openai","messages":[]}"#.into(),
            "messages: empty array given, an array of at least one message is needed".into(),
        ),
        (
            r#"{"type":"openai","messages":{}}"#.into(),
            "messages: object given, an array of at least one message is needed".into(),
        ),
        (openai("null"), "messages[0]: null given, an object is needed".into()),
        (with(r#""visibility":"x""#), r#"visibility: "x" given; allowed: private, public"#.into()),
        (with(r#""id":5"#), format!("id: number given, {string}")),
        (with(r#""id":"""#), r#"id: "" given; allowed: any other text, or null for none"#.into()),
        (with(r#""id":".""#), r#"id: "." given; allowed: any other text, or null for none"#.into()),
        (with(r#""externalId":"..""#), r#"externalId: ".." given; allowed: any other text, or null for none"#.into()),
        (with(&id_512), "id: 514 bytes given; allowed: at most 512".into()),
        (with(r#""projectId":{}"#), format!("projectId: object given, {string}")),
        (with(r#""externalUrl":true"#), format!("externalUrl: boolean given, {string}")),
        (with(r#""createdAt":1724630400000"#), format!("createdAt: number given, {string}")),
        (with(r#""properties":[]"#), "properties: array given, an object is needed".into()),
        (with(r#""userProperties":"x""#), "userProperties: string given, an object is needed".into()),
        (
            with(r#""userProperties":{"id":[]}"#),
            "userProperties.id: array given, a string, a number or null is needed".into(),
        ),
        (
            with(r#""userProperties":{"userId":true}"#),
            "userProperties.userId: boolean given, a string, a number or null is needed".into(),
        ),
        (
            with(r#""userProperties":{"userType":5}"#),
            "userProperties.userType: number given, a string or null is needed".into(),
        ),
        (
            with(r#""userProperties":{"identificationType":{}}"#),
            "userProperties.identificationType: object given, a string or null is needed".into(),
        ),
        (with(r#""tags":"x""#), "tags: string given, an array of strings is needed".into()),
        (with(r#""tags":["x",null]"#), format!("tags[1]: null given, {string}")),
        (
            with(r#""properties":{"a b":["\u0000"]}"#),
            r#"properties["a b"][0]: a string or key holds the character NUL, which is not allowed"#.into(),
        ),
        (with(r#""x":"\ud800""#), "x: a string or key holds an unpaired surrogate, which is not allowed".into()),
        (message(r#""type":"support_ticket""#), r#"messages[0].type: "support_ticket" given; allowed: openai"#.into()),
        (message(r#""role":"robot""#), r#"messages[0].role: "robot" given; allowed: system, user, assistant"#.into()),
        (message(r#""role":null"#), format!("messages[0].role: {missing}")),
        (
            message(r#""content":null"#),
            "messages[0].content: null or missing, a string or an array of parts is needed".into(),
        ),
        (
            message(r#""content":null,"tool_calls":[]"#),
            "messages[0].content: null or missing, a string or an array of parts is needed".into(),
        ),
        (
            message(r#""content":5"#),
            "messages[0].content: number given, a string or an array of parts is needed".into(),
        ),
        (message(r#""content":[{}]"#), format!("messages[0].content[0].type: {missing}")),
        (message(r#""content":["x"]"#), "messages[0].content[0]: string given, an object is needed".into()),
        (
            message(r#""content":[{"type":"audio"}]"#),
            r#"messages[0].content[0].type: "audio" given; allowed: text, image_url"#.into(),
        ),
        (
            message(r#""content":[{"type":"text","text":1}]"#),
            format!("messages[0].content[0].text: number given, {string}"),
        ),
        (
            message(r#""content":[{"type":"image_url","image_url":{}}]"#),
            format!("messages[0].content[0].image_url.url: {missing}"),
        ),
        (
            message(r#""content":[{"type":"image_url","image_url":{"url":"u","detail":"hi"}}]"#),
            r#"messages[0].content[0].image_url.detail: "hi" given; allowed: auto, low, high"#.into(),
        ),
        (message(r#""name":1"#), format!("messages[0].name: number given, {string}")),
        (message(r#""links":{}"#), "messages[0].links: object given, an array is needed".into()),
        (message(r#""links":[{"label":"x"}]"#), format!("messages[0].links[0].url: {missing}")),
        (message(r#""links":[{"url":"u","type":1}]"#), format!("messages[0].links[0].type: number given, {string}")),
        (
            message(r#""links":[{"url":"u","breadcrumbs":[null]}]"#),
            format!("messages[0].links[0].breadcrumbs[0]: null given, {string}"),
        ),
        (message(r#""tool_calls":[{"id":"x"}]"#), format!("messages[0].tool_calls[0].type: {missing}")),
        (
            message(r#""tool_calls":[{"id":"x","type":"tool"}]"#),
            r#"messages[0].tool_calls[0].type: "tool" given; allowed: function"#.into(),
        ),
        (
            message(r#""tool_calls":[{"id":"x","type":"function"}]"#),
            "messages[0].tool_calls[0].function: null or missing, an object is needed".into(),
        ),
        (
            message(r#""tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":{}}}]"#),
            format!("messages[0].tool_calls[0].function.arguments: object given, {string}"),
        ),
        (
            message(r#""userProperties":{"supportAgentName":1}"#),
            "messages[0].userProperties.supportAgentName: number given, a string or null is needed".into(),
        ),
        (message(r#""id":"..""#), r#"messages[0].id: ".." given; allowed: any other text, or null for none"#.into()),
        (
            message(r#""externalId":"""#),
            r#"messages[0].externalId: "" given; allowed: any other text, or null for none"#.into(),
        ),
        (
            openai(
                r#"{"id":"a","role":"user","content":""},{"id":"b","role":"user","content":""},{"id":"a","role":"user","content":""}"#,
            ),
            r#"messages[2].id: "a" given a second time; allowed: an id once in a document"#.into(),
        ),
        (
            r#"{"type":"support_ticket","messages":[{"role":"r","content":[]}]}"#.into(),
            format!("messages[0].content: array given, {string}"),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refused(&text), expected, "{text}");
    }
    assert!(
        refused(&with(r#""createdAt":"2024-08-26T00:00:00""#))
            .starts_with("createdAt: \"2024-08-26T00:00:00\" given, which has no zone")
    );
    assert!(refused(&with(r#""properties":{"n":1e400}"#)).starts_with("properties.n: the number is too large"));
    read(&with(&format!("\"id\":\"{}\"", "é".repeat(256))));
}

#[test]
fn property_nesting() {
    let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let lists = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    for field in ["properties", "userProperties"] {
        for make in [&nested as &dyn Fn(usize) -> String, &lists] {
            read(&with(&format!("\"{field}\":{}", make(32))));
            read(&with_message(&format!("\"{field}\":{}", make(32))));
            let text = "nested over 32 levels; allowed: 32";
            assert_eq!(refused(&with(&format!("\"{field}\":{}", make(33)))), format!("{field}: {text}"));
            assert_eq!(
                refused(&with_message(&format!("\"{field}\":{}", make(33)))),
                format!("messages[0].{field}: {text}")
            );
            assert!(refused(&with(&format!("\"{field}\":{}", make(5000)))).contains("nested too deeply"));
        }
    }
    assert!(refused(&"[".repeat(2_000_000)).contains("nested too deeply"));
}

#[test]
fn what_is_not_json_is_a_syntax_error() {
    for text in ["", "{", "{]", "hello", "{\"type\":\"openai\"} x"] {
        let error = parse(text.as_bytes()).expect_err(text);
        assert!(error.syntax && error.path.is_empty() && error.to_string().starts_with("not valid JSON: "), "{error}");
    }
    assert!(parse(b"{\"a\":\"\xff\"}").expect_err("bad UTF-8").syntax);
}

#[test]
fn long_values_are_cut_in_messages() {
    let error = refused(&format!(r#"{{"type":"{}"}}"#, "x".repeat(100_000)));
    assert!(error.len() < 200, "{error}");
}
