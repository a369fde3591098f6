//! Conversations for the tests of this layer.

use serde_json::value::RawValue;

use crate::model::annotations::Annotations;
use crate::model::conversation::{Conversation, ConversationType, Message, Visibility};
use crate::model::ids::{
    ConversationId, EpochMillis, IntegrationId, MessageId, OrganizationId, ProjectId, WalPosition,
};
use crate::model::json::value::RawJson;
use crate::model::origin::{IdOrigin, Origin, Sender, SenderKind};
use crate::storage::format::layout::{ColumnKind, JsonField, PropertyColumn};
use crate::storage::format::physical_name::property_column;

pub(crate) fn raw(text: &str) -> RawJson {
    RawValue::from_string(text.to_owned()).unwrap()
}

pub(crate) fn column(path: &[&str], kind: ColumnKind) -> PropertyColumn {
    let path: Vec<String> = path.iter().map(|key| key.to_string()).collect();
    let name = property_column(JsonField::Properties, &path, kind);
    PropertyColumn { field: JsonField::Properties, path, kind, name }
}

pub(crate) fn message(number: usize, content: Option<&str>) -> Message {
    Message {
        id: MessageId::new(format!("m{number}")),
        external_id: None,
        external_url: None,
        created_at: None,
        updated_at: None,
        role: "user".to_owned(),
        name: None,
        content: content.map(raw),
        links: None,
        tool_calls: None,
        properties: None,
        user_properties: None,
    }
}

pub(crate) fn conversation(number: usize, properties: Option<&str>, user_properties: Option<&str>) -> Conversation {
    Conversation {
        organization_id: OrganizationId::new("org"),
        project_id: ProjectId::new("project"),
        id: ConversationId::new(format!("c{number}")),
        integration_id: None,
        conversation_type: ConversationType::Openai,
        external_id: None,
        external_url: None,
        support_ticket_conversation_id: None,
        created_at: EpochMillis(1_724_630_400_000 + number as i64),
        updated_at: EpochMillis(1_724_630_400_000 + number as i64),
        properties: properties.map(raw),
        user_properties: user_properties.map(raw),
        tags: None,
        visibility: None,
        messages: vec![message(0, Some("\"hello\""))],
        wal_position: WalPosition(number as u64),
        first_wal_position: WalPosition(1),
        origin: Origin::unknown(),
        annotations: Annotations::default(),
    }
}

/// A conversation whose every field depends on the random number generator.
pub(crate) fn random_conversation(number: usize, rng: &mut impl rand::Rng) -> Conversation {
    let text = |rng: &mut dyn rand::RngCore, name: &str| {
        (rng.next_u32() % 2 == 0).then(|| format!("{name}-{}-é\n\"\\", rng.next_u32() % 50))
    };
    let json = |rng: &mut dyn rand::RngCore| {
        let (a, b) = (rng.next_u32() % 100, rng.next_u32());
        match a % 5 {
            0 => None,
            1 => Some("{}".to_owned()),
            2 => Some(format!(r#"{{"plan":"p{a}","score":{a}.50,"n":{{"ok":true,"list":[{b},null]}}}}"#)),
            3 => Some(format!(r#"{{"k{b}":1e5,"plan":{a},"n":{{"ok":null}},"text":"\u00e9\"{b}"}}"#)),
            _ => Some(format!(r#"{{"plan":"p{a}","score":{b},"pad":"{}"}}"#, "x".repeat(a as usize * 20))),
        }
    };
    let time = |rng: &mut dyn rand::RngCore| EpochMillis(i64::from(rng.next_u32()) * 1_001 - 62_135_596_800);
    let mut conversation = conversation(number, json(rng).as_deref(), json(rng).as_deref());
    conversation.conversation_type =
        [ConversationType::Openai, ConversationType::SupportTicket, ConversationType::SupportCopilot][number % 3];
    conversation.project_id = ProjectId::new(format!("p{}", rng.random_range(0..3)));
    conversation.integration_id = text(rng, "integration").map(IntegrationId::new);
    conversation.external_id = text(rng, "external");
    conversation.external_url = text(rng, "url");
    conversation.support_ticket_conversation_id = text(rng, "ticket");
    conversation.created_at = time(rng);
    conversation.updated_at = time(rng);
    conversation.visibility = [None, Some(Visibility::Private), Some(Visibility::Public)][rng.random_range(0..3)];
    let kind = [SenderKind::Web, SenderKind::Api, SenderKind::Org, SenderKind::Import][rng.random_range(0..4)];
    let id = [IdOrigin::Client, IdOrigin::Server][rng.random_range(0..2)];
    conversation.origin = Origin { sender: Sender { kind, key: text(rng, "key") }, id };
    conversation.tags = [None, Some(vec![]), Some(vec!["a".into(), "é".into()])][rng.random_range(0..3)].clone();
    conversation.annotations = Annotations {
        title: text(rng, "title"),
        state: text(rng, "state"),
        assignee: text(rng, "assignee"),
        categories: [None, Some(vec!["c".to_owned()])][rng.random_range(0..2)].clone(),
        is_end: rng.random_bool(0.5),
        ..Annotations::default()
    };
    let messages = rng.random_range(1..8);
    conversation.messages = (0..messages)
        .map(|n| {
            let content = [None, Some(r#""text\n\"x\"""#), Some(r#""""#), Some(r#"[{"type":"text","text":"x"}]"#)];
            let mut message = message(n, content[rng.random_range(0..4)]);
            message.external_id = text(rng, "external");
            message.external_url = text(rng, "url");
            message.created_at = rng.random_bool(0.5).then(|| time(rng));
            message.updated_at = rng.random_bool(0.5).then(|| time(rng));
            message.role = ["user", "assistant"][rng.random_range(0..2)].to_owned();
            message.name = text(rng, "name");
            message.links = rng.random_bool(0.2).then(|| raw(r#"[{"url":"https://example.org"}]"#));
            message.tool_calls = rng.random_bool(0.2).then(|| raw(r#"[{"id":"1"}]"#));
            message.properties = json(rng).as_deref().map(raw);
            message.user_properties = json(rng).as_deref().map(raw);
            message
        })
        .collect();
    conversation
}
