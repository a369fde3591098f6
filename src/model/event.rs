//! Events: what users did with a message, a conversation or the search (contract A4, `POST /events`).

use serde::{Deserialize, Serialize};

use super::fields::{self, DocumentError, Path};
use super::ids::{EpochMillis, EventId, EventKey, IntegrationId, OrganizationId, ProjectId};
use super::json::value::RawJson;
use super::origin::Origin;
use super::output::{write_field, write_raw, write_time};
use super::resolve::Identity;

/// What an event is about; each kind names it in a field of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EntityType {
    Message,
    Conversation,
    Search,
}

impl EntityType {
    pub(crate) const ALL: [EntityType; 3] = [EntityType::Message, EntityType::Conversation, EntityType::Search];

    /// As the API spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Conversation => "conversation",
            Self::Search => "search",
        }
    }

    /// The document's field that names the entity.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Message => "messageId",
            Self::Conversation => "conversationId",
            Self::Search => "searchQuery",
        }
    }
}

/// A validated document.
#[derive(Clone, Debug)]
pub(crate) struct EventDocument {
    pub(crate) id: Option<String>,
    pub(crate) event_type: String,
    pub(crate) entity_type: EntityType,
    /// The message's or conversation's id, or the search's text.
    pub(crate) entity: String,
    pub(crate) created_at: Option<EpochMillis>,
    pub(crate) project_id: Option<String>,
    pub(crate) integration_id: Option<String>,
    pub(crate) properties: Option<RawJson>,
    pub(crate) user_properties: Option<RawJson>,
}

/// A stored event. Optional fields are absent, never null.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    pub(crate) organization_id: OrganizationId,
    pub(crate) project_id: ProjectId,
    pub(crate) id: EventId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) integration_id: Option<IntegrationId>,
    #[serde(rename = "type")]
    pub(crate) event_type: String,
    pub(crate) entity_type: EntityType,
    pub(crate) entity: String,
    /// Of a message's event: the conversation that has the message, or had it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner_id: Option<String>,
    /// Whether the owner has the message no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) detached: bool,
    pub(crate) created_at: EpochMillis,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) properties: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_properties: Option<RawJson>,
    #[serde(default = "Origin::unknown")]
    pub(crate) origin: Origin,
}

/// Parses and validates a body.
pub(crate) fn parse(body: &[u8]) -> Result<EventDocument, DocumentError> {
    let root = Path::Root;
    let [
        id,
        event_type,
        entity_type,
        message_id,
        conversation_id,
        search_query,
        created_at,
        project_id,
        integration_id,
        properties,
        user_properties,
    ] = fields::named(
        fields::parse_body(body)?,
        root,
        [
            "id",
            "type",
            "entityType",
            "messageId",
            "conversationId",
            "searchQuery",
            "createdAt",
            "projectId",
            "integrationId",
            "properties",
            "userProperties",
        ],
    )?;
    let event_type = fields::required_string(event_type, root.key("type"))?;
    let entity_path = root.key("entityType");
    let named = fields::required_string(entity_type, entity_path)?;
    let entity_type = EntityType::ALL.into_iter().find(|entity| entity.as_str() == named);
    let entity_type =
        entity_type.ok_or_else(|| fields::not_allowed(entity_path, &named, "message, conversation, search"))?;
    let mut entity = None;
    for (kind, value) in EntityType::ALL.into_iter().zip([message_id, conversation_id, search_query]) {
        if kind == entity_type {
            let path = root.key(kind.field());
            let value = Some(fields::required(value, path, "a string")?);
            entity = match kind {
                EntityType::Search => fields::string(value, path)?,
                EntityType::Message | EntityType::Conversation => fields::id_text(value, path, true)?,
            };
        } else if value.is_some() {
            return Err(root
                .key(kind.field())
                .error(format!("given beside entityType {named}; allowed: only {}", entity_type.field())));
        }
    }
    Ok(EventDocument {
        id: fields::id_text(id, root.key("id"), true)?,
        event_type,
        entity_type,
        entity: entity.ok_or_else(|| root.key(entity_type.field()).error("missing, a string is needed".to_owned()))?,
        created_at: fields::time(created_at, root.key("createdAt"))?,
        project_id: fields::id_text(project_id, root.key("projectId"), false)?,
        integration_id: fields::id_text(integration_id, root.key("integrationId"), false)?,
        properties: fields::properties(properties, root.key("properties"))?,
        user_properties: fields::user_properties(user_properties, root.key("userProperties"))?,
    })
}

impl Event {
    pub(crate) fn key(&self) -> EventKey {
        EventKey {
            organization_id: self.organization_id.clone(),
            project_id: self.project_id.clone(),
            id: self.id.clone(),
        }
    }

    /// The event to store; its link to a conversation is made where conversations are known. `previous` is the stored
    /// one of the id: an upsert that names no `createdAt` keeps its.
    pub(crate) fn resolve(
        document: &EventDocument,
        identity: &Identity,
        previous: Option<&Event>,
        now: EpochMillis,
        new_id: impl FnOnce() -> String,
    ) -> Event {
        Event {
            organization_id: identity.organization_id.clone(),
            project_id: identity.project_id.clone(),
            id: EventId::new(document.id.clone().unwrap_or_else(new_id)),
            integration_id: match &document.integration_id {
                Some(id) => Some(IntegrationId::new(id.as_str())),
                None => identity.integration_id.clone(),
            },
            event_type: document.event_type.clone(),
            entity_type: document.entity_type,
            entity: document.entity.clone(),
            owner_id: None,
            detached: false,
            created_at: document.created_at.or(previous.map(|previous| previous.created_at)).unwrap_or(now),
            properties: document.properties.clone(),
            user_properties: document.user_properties.clone(),
            origin: Origin::resolve(
                &identity.sender,
                document.id.as_deref(),
                previous.map(|previous| previous.origin.id),
            ),
        }
    }

    /// Appends the answer to `POST /events`.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let mut text = String::with_capacity(512);
        text.push('{');
        write_field("id", Some(self.id.as_str()), &mut text);
        write_field("type", Some(&self.event_type), &mut text);
        write_field("entityType", Some(self.entity_type.as_str()), &mut text);
        write_field(self.entity_type.field(), Some(&self.entity), &mut text);
        write_time("createdAt", self.created_at, &mut text);
        write_field("projectId", Some(self.project_id.as_str()), &mut text);
        write_field("integrationId", self.integration_id.as_ref().map(IntegrationId::as_str), &mut text);
        write_raw("properties", self.properties.as_ref(), &mut text);
        write_raw("userProperties", self.user_properties.as_ref(), &mut text);
        text.push('}');
        out.extend_from_slice(text.as_bytes());
    }

    fn entity_of(&self, entity_type: EntityType) -> Option<&str> {
        (self.entity_type == entity_type).then_some(&self.entity)
    }

    pub(crate) fn message_id(&self) -> Option<&str> {
        self.entity_of(EntityType::Message)
    }

    pub(crate) fn search_query(&self) -> Option<&str> {
        self.entity_of(EntityType::Search)
    }

    /// The conversation with which the event is deleted.
    pub(crate) fn owner_id(&self) -> Option<&str> {
        self.entity_of(EntityType::Conversation).or(self.owner_id.as_deref())
    }

    /// What a query shows: none where the message's conversation is not known, or has the message no more.
    pub(crate) fn conversation_id(&self) -> Option<&str> {
        self.owner_id().filter(|_| !self.detached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_checked() {
        for (body, refused) in [
            (r#"{"type":"x","entityType":"message","messageId":"m"}"#, None),
            (r#"{"type":"","entityType":"search","searchQuery":"","messageId":null,"unknown":1}"#, None),
            (r#"{"type":"x","entityType":"conversation","conversationId":"c","createdAt":"2024-08-26"}"#, None),
            (r#"{"entityType":"message","messageId":"m"}"#, Some("type")),
            (r#"{"type":null,"entityType":"message","messageId":"m"}"#, Some("type")),
            (r#"{"type":"x","messageId":"m"}"#, Some("entityType")),
            (r#"{"type":"x","entityType":"page","messageId":"m"}"#, Some("entityType")),
            (r#"{"type":"x","entityType":"message"}"#, Some("messageId")),
            (r#"{"type":"x","entityType":"message","messageId":5}"#, Some("messageId")),
            (r#"{"type":"x","entityType":"message","messageId":""}"#, Some("messageId")),
            (r#"{"type":"x","entityType":"message","messageId":"m","searchQuery":"q"}"#, Some("searchQuery")),
            (r#"{"type":"x","entityType":"search","conversationId":"c"}"#, Some("conversationId")),
            (r#"{"type":"x","entityType":"search","searchQuery":"q","id":".."}"#, Some("id")),
            (r#"{"type":"x","entityType":"search","searchQuery":"q","createdAt":"soon"}"#, Some("createdAt")),
            (r#"{"type":"x","entityType":"search","searchQuery":"q","properties":[]}"#, Some("properties")),
            (
                r#"{"type":"x","entityType":"search","searchQuery":"q","userProperties":{"userId":true}}"#,
                Some("userProperties.userId"),
            ),
            ("[]", Some("")),
        ] {
            let found = parse(body.as_bytes()).err();
            assert_eq!(found.as_ref().map(|error| error.path.as_str()), refused, "{body}: {found:?}");
        }
        assert!(parse(b"{").err().is_some_and(|error| error.syntax));
    }
}
