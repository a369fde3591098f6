use std::sync::atomic::{AtomicU32, Ordering};

use super::super::document;
use super::*;

fn read(text: &str) -> Document {
    document::parse(text.as_bytes()).unwrap()
}

fn identity() -> Identity {
    Identity {
        organization_id: OrganizationId::new("o"),
        project_id: ProjectId::new("p"),
        integration_id: Some(IntegrationId::new("key")),
        sender: Sender::import(),
        reach: Reach::Everything,
    }
}

fn log(text: &str, previous: Option<&Conversation>, now: i64) -> Conversation {
    resolve(&read(text), &identity(), previous.map(Previous::of).as_ref(), EpochMillis(now), new_id)
}

fn new_id() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("new-{:06}", LAST.fetch_add(1, Ordering::Relaxed))
}

/// A support ticket with these messages.
fn ticket(messages: &str) -> String {
    format!(r#"{{"type":"support_ticket","messages":[{messages}]}}"#)
}

#[test]
fn a_new_document_gets_ids_and_times() {
    let stored = log(&ticket(r#"{"role":"a"},{"role":"b"}"#), None, 5);
    assert_eq!((stored.created_at, stored.updated_at), (EpochMillis(5), EpochMillis(5)));
    assert_eq!(stored.integration_id, Some(IntegrationId::new("key")));
    let ids = [stored.id.as_str(), stored.messages[0].id.as_str(), stored.messages[1].id.as_str()];
    for id in ids {
        assert!(id.starts_with("new-"), "{id}");
    }
    assert!(ids[1] < ids[2]);
    assert_eq!(stored.messages[0].created_at, None);
    let named = log(
        r#"{"id":"x","integrationId":"own","type":"openai","createdAt":"1970-01-01","messages":[{"id":"m","role":"user","content":""}]}"#,
        None,
        5,
    );
    assert_eq!((named.id.as_str(), named.messages[0].id.as_str()), ("x", "m"));
    assert_eq!(named.integration_id, Some(IntegrationId::new("own")));
    assert_eq!((named.created_at, named.updated_at), (EpochMillis(0), EpochMillis(5)));
}

#[test]
fn a_re_log_keeps_what_the_contract_keeps() {
    let first = r#"{"externalId":"e","type":"openai","createdAt":"1970-01-02","properties":{"a":1},"tags":["t"],
        "messages":[{"role":"user","content":"q","createdAt":"1970-01-03"},{"role":"assistant","content":"a"}]}"#;
    let mut stored = log(first, None, 5);
    stored.annotations.title = Some("title".into());
    let again = log(
        r#"{"externalId":"e","type":"openai","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"b"}]}"#,
        Some(&stored),
        9,
    );
    assert_eq!(again.id, stored.id);
    assert_eq!((again.created_at, again.updated_at), (stored.created_at, EpochMillis(9)));
    assert_eq!(again.annotations, stored.annotations);
    assert!(again.properties.is_none() && again.tags.is_none());
    assert_eq!(again.messages[0].id, stored.messages[0].id);
    assert_eq!(again.messages[0].created_at, stored.messages[0].created_at);
    assert_ne!(again.messages[1].id, stored.messages[1].id);
    let moved = log(
        r#"{"externalId":"e","type":"openai","createdAt":"1970-01-09","updatedAt":"1970-01-10","messages":[{"role":"user","content":"q","createdAt":"1970-01-08"}]}"#,
        Some(&stored),
        9,
    );
    let day = 86_400_000;
    assert_eq!((moved.created_at, moved.updated_at), (EpochMillis(8 * day), EpochMillis(9 * day)));
    assert_eq!(moved.messages[0].created_at, Some(EpochMillis(7 * day)));
}

#[test]
fn messages_are_matched_by_id_then_external_id_then_position() {
    // The stored messages are A, B, C and D.
    let stored = r#"{"id":"A","externalId":"x","role":"r","content":"1"},{"id":"B","externalId":"x","role":"r","content":"2"},
        {"id":"C","role":"r","content":"3"},{"id":"D","externalId":"y","role":"r","content":"4"}"#;
    let cases = [
        (
            "all by position",
            r#"{"role":"r","content":"1"},{"role":"r","content":"2"},{"role":"r","content":"3"}"#,
            "A B C",
        ),
        ("other content or role", r#"{"role":"r","content":"9"},{"role":"s","content":"2"},{"role":"r"}"#, "- - -"),
        ("other position", r#"{"role":"r","content":"2"},{"role":"r","content":"1"}"#, "- -"),
        ("external id wherever it is", r#"{"externalId":"y","role":"s"},{"externalId":"x","role":"s"}"#, "D A"),
        (
            "external ids in order, each once",
            r#"{"externalId":"x","role":"s"},{"externalId":"x","role":"s"},{"externalId":"x","role":"s"}"#,
            "A B -",
        ),
        ("explicit ids first", r#"{"externalId":"x","role":"s"},{"id":"A","role":"s"}"#, "B A"),
        ("an explicit id elsewhere frees no position", r#"{"role":"r","content":"1"},{"id":"A","role":"s"}"#, "- A"),
        ("external id before position", r#"{"role":"r","content":"1"},{"externalId":"x","role":"s"}"#, "- A"),
        ("unknown external id falls back to the position", r#"{"externalId":"z","role":"r","content":"1"}"#, "A"),
        (
            "a new explicit id matches nothing",
            r#"{"id":"N","externalId":"x","role":"r","content":"1"},{"externalId":"x","role":"s"}"#,
            "N A",
        ),
    ];
    let stored = log(&ticket(stored), None, 1);
    for (name, messages, expected) in cases {
        let again = log(&ticket(messages), Some(&stored), 2);
        let known = |id: &str| if id.len() == 1 { id.to_owned() } else { "-".to_owned() };
        let ids: Vec<String> = again.messages.iter().map(|message| known(message.id.as_str())).collect();
        assert_eq!(ids.join(" "), expected, "{name}");
    }
}

#[test]
fn the_document_hash_tells_whether_a_re_log_changes_anything() {
    let text = r#"{"type":"openai","externalId":"e","properties":{"a":1.0},"tags":["a","b"],"messages":[
        {"role":"user","content":"q","createdAt":"1970-01-03","links":[{"url":"u"}]},{"role":"assistant","content":"a"}]}"#;
    let mut stored = log(text, None, 1);
    stored.annotations.is_end = true;
    let previous = Previous::of(&stored);
    let unchanged = |text: &str| {
        let document = read(text);
        let resolved = resolve(&document, &identity(), Some(&previous), EpochMillis(99), new_id);
        previous.is_unchanged_by(&document, &resolved)
    };
    assert!(unchanged(text));
    assert!(unchanged(&text.replace("\"role\":\"user\"", "\"role\" : \"\\u0075ser\"")));
    let changes = [
        ("1.0", "1.00"),
        ("\"a\",\"b\"", "\"a\""),
        ("\"a\",\"b\"", "\"ab\""),
        ("\"q\"", "\"Q\""),
        ("01-03", "01-04"),
        ("\"u\"", "\"v\""),
        ("\"e\",", "\"f\","),
        ("\"type\"", "\"visibility\":\"public\",\"type\""),
        ("\"type\"", "\"updatedAt\":\"2024-01-01\",\"type\""),
        ("\"type\"", "\"createdAt\":\"2024-01-01\",\"type\""),
        ("\"type\"", "\"integrationId\":\"other\",\"type\""),
        (",{\"role\":\"assistant\",\"content\":\"a\"}", ""),
    ];
    for (from, to) in changes {
        assert_ne!(text.replacen(from, to, 1), text, "{from}");
        assert!(!unchanged(&text.replacen(from, to, 1)), "{from} → {to}");
    }
}
