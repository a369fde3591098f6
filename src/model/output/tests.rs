use super::super::document;
use super::super::ids::{OrganizationId, ProjectId};
use super::super::origin::{Reach, Sender};
use super::super::resolve::{Identity, resolve};
use super::*;

fn stored(text: &str) -> Conversation {
    let identity = Identity {
        organization_id: OrganizationId::new("o"),
        project_id: ProjectId::new("p"),
        integration_id: None,
        sender: Sender::import(),
        reach: Reach::Everything,
    };
    resolve(&document::parse(text.as_bytes()).unwrap(), &identity, None, EpochMillis(0), || "new".to_owned())
}

fn shown(conversation: &Conversation) -> String {
    let mut out = Vec::new();
    write_conversation(conversation, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_bare_ticket_shows_every_nullable_field() {
    let conversation = stored(r#"{"id":"c","type":"support_ticket","messages":[{"id":"m","role":"r"}]}"#);
    let expected = concat!(
        r#"{"id":"c","externalId":null,"externalUrl":null,"type":"support_ticket","supportTicketConversationId":null,"#,
        r#""createdAt":"1970-01-01T00:00:00.000Z","updatedAt":"1970-01-01T00:00:00.000Z","projectId":"p","integrationId":null,"#,
        r#""properties":null,"userProperties":null,"tags":null,"visibility":null,"messages":[{"id":"m","type":"support_ticket","#,
        r#""externalId":null,"externalUrl":null,"conversationId":"c","createdAt":"1970-01-01T00:00:00.000Z","#,
        r#""updatedAt":"1970-01-01T00:00:00.000Z","role":"r","content":null,"name":null,"links":null,"properties":null,"#,
        r#""userProperties":null}]}"#
    );
    assert_eq!(shown(&conversation), expected);
}

#[test]
fn an_openai_conversation_is_shown_with_its_chat_format() {
    let conversation = stored(
        r#"{"id":"c","type":"openai","externalId":"e","createdAt":"2024-01-01","properties":{"b":1.10,"a":9007199254740993},
        "userProperties":{"id":1},"tags":["x\"y"],"visibility":"private","messages":[
        {"id":"1","role":"user","name":"n","createdAt":"2024-01-02","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"u"}}],
         "links":[{"url":"l"},{"url":"l","breadcrumbs":["b"],"type":"site"}]},
        {"id":"2","role":"assistant","tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]}]}"#,
    );
    let parts = r#"[{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":"u"}}]"#;
    let calls = r#"[{"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]"#;
    let links = concat!(
        r#"[{"label":null,"url":"l","title":null,"description":null,"type":null,"breadcrumbs":null},"#,
        r#"{"label":null,"url":"l","title":null,"description":null,"type":"site","breadcrumbs":["b"]}]"#
    );
    let text = shown(&conversation);
    for expected in [
        r#""properties":{"b":1.10,"a":9007199254740993},"userProperties":{"id":1},"tags":["x\"y"],"visibility":"private""#.to_owned(),
        format!(
            r#""createdAt":"2024-01-02T00:00:00.000Z","updatedAt":"2024-01-02T00:00:00.000Z","role":"user","content":{parts},"name":"n","links":{links},"properties":null,"userProperties":null,"tool_calls":null}}"#
        ),
        format!(
            r#""createdAt":"2024-01-01T00:00:00.000Z","updatedAt":"2024-01-01T00:00:00.000Z","role":"assistant","content":"","name":null,"links":null,"properties":null,"userProperties":null,"tool_calls":{calls}}}"#
        ),
        format!(
            r#""messagesOpenAIFormat":[{{"role":"user","name":"n","content":{parts},"tool_calls":null}},{{"role":"assistant","name":null,"content":"","tool_calls":{calls}}}]}}"#
        ),
    ] {
        assert!(text.contains(&expected), "{expected}\nin\n{text}");
    }
    // Pieces of any size are the same text.
    let conversation = Arc::new(conversation);
    for bytes in [0, 100, 1_000_000] {
        let (mut pieces, mut joined) = (Pieces::new(Arc::clone(&conversation)), Vec::new());
        while let Some(piece) = pieces.next(bytes) {
            assert!(!piece.is_empty());
            joined.extend(piece);
        }
        assert!(pieces.is_done());
        assert_eq!(String::from_utf8(joined).unwrap(), text);
    }
    // An answer can be logged again as it is.
    let again = stored(&text);
    assert_eq!(shown(&again), text);
}
