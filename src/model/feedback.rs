//! Feedback on messages (contract A4, `POST /feedback`).

use serde::{Deserialize, Serialize};

use super::actor::Actor;
use super::fields::{self, DocumentError, Path};
use super::ids::{EpochMillis, FeedbackId, FeedbackKey, IntegrationId, OrganizationId, ProjectId};
use super::json::value::{Json, RawJson};
use super::origin::Origin;
use super::output::{write_field, write_raw, write_time};
use super::resolve::Identity;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FeedbackType {
    Positive,
    Negative,
}

impl FeedbackType {
    /// As the API spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::Negative => "negative",
        }
    }
}

/// A validated document.
#[derive(Clone, Debug)]
pub(crate) struct FeedbackDocument {
    pub(crate) id: Option<String>,
    pub(crate) feedback_type: FeedbackType,
    pub(crate) message_id: String,
    pub(crate) created_at: Option<EpochMillis>,
    pub(crate) updated_at: Option<EpochMillis>,
    /// For an organization's key, which has no project of its own.
    pub(crate) project_id: Option<String>,
    /// `[{"label","details"}]`, both strings.
    pub(crate) reasons: Option<RawJson>,
    pub(crate) details: Option<String>,
    pub(crate) properties: Option<RawJson>,
    pub(crate) user_properties: Option<RawJson>,
    /// `[{"type","title"?,"url"?}]`, `type` always there, also as null.
    pub(crate) sources: Option<RawJson>,
    /// Only of feedback that the conversation API gives.
    pub(crate) rating: Option<Rating>,
}

/// What makes feedback a rating of a chat (contract Part B, 10): it stays with the conversation that the chat was rated
/// in, also where another one has the message too.
#[derive(Clone, Debug)]
pub(crate) struct Rating {
    pub(crate) conversation_id: String,
    pub(crate) by: Actor,
}

/// Stored feedback. Optional fields are absent, never null.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Feedback {
    pub(crate) organization_id: OrganizationId,
    pub(crate) project_id: ProjectId,
    pub(crate) id: FeedbackId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) integration_id: Option<IntegrationId>,
    #[serde(rename = "type")]
    pub(crate) feedback_type: FeedbackType,
    pub(crate) message_id: String,
    /// The conversation that has the message, or had it last.
    pub(crate) owner_id: String,
    /// Whether the owner has the message no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) detached: bool,
    pub(crate) created_at: EpochMillis,
    pub(crate) updated_at: EpochMillis,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reasons: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) details: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) properties: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_properties: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sources: Option<RawJson>,
    /// In whose name the conversation API set it; Part A's answers do not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rated_by: Option<Actor>,
    #[serde(default = "Origin::unknown")]
    pub(crate) origin: Origin,
}

/// Parses and validates a body.
pub(crate) fn parse(body: &[u8]) -> Result<FeedbackDocument, DocumentError> {
    let root = Path::Root;
    let [
        id,
        feedback_type,
        message_id,
        created_at,
        updated_at,
        project_id,
        reasons,
        details,
        properties,
        user_properties,
        sources,
    ] = fields::named(
        fields::parse_body(body)?,
        root,
        [
            "id",
            "type",
            "messageId",
            "createdAt",
            "updatedAt",
            "projectId",
            "reasons",
            "details",
            "properties",
            "userProperties",
            "sources",
        ],
    )?;
    let type_path = root.key("type");
    let feedback_type = match fields::required_string(feedback_type, type_path)?.as_str() {
        "positive" => FeedbackType::Positive,
        "negative" => FeedbackType::Negative,
        other => return Err(fields::not_allowed(type_path, other, "positive, negative")),
    };
    let message_path = root.key("messageId");
    let message_id = Some(fields::required(message_id, message_path, "a string")?);
    let message_id = fields::id_text(message_id, message_path, true)?
        .ok_or_else(|| message_path.error("missing, a string is needed".to_owned()))?;
    Ok(FeedbackDocument {
        id: fields::id_text(id, root.key("id"), true)?,
        feedback_type,
        message_id,
        created_at: fields::time(created_at, root.key("createdAt"))?,
        updated_at: fields::time(updated_at, root.key("updatedAt"))?,
        project_id: fields::id_text(project_id, root.key("projectId"), false)?,
        reasons: objects(reasons, root.key("reasons"), reason)?,
        details: fields::string(details, root.key("details"))?,
        properties: fields::properties(properties, root.key("properties"))?,
        user_properties: fields::user_properties(user_properties, root.key("userProperties"))?,
        sources: objects(sources, root.key("sources"), source)?,
        rating: None,
    })
}

fn objects(
    value: Option<Json>,
    path: Path<'_>,
    normalise: impl Fn(Json, Path<'_>) -> Result<Json, DocumentError>,
) -> Result<Option<RawJson>, DocumentError> {
    let Some(value) = value else { return Ok(None) };
    let elements = fields::array(value, path, "an array")?;
    fields::normalised_list(elements, path, normalise).map(Some)
}

fn reason(value: Json, path: Path<'_>) -> Result<Json, DocumentError> {
    let [label, details] = fields::named(value, path, ["label", "details"])?;
    let label = fields::required_string(label, path.key("label"))?;
    let details = fields::required_string(details, path.key("details"))?;
    Ok(fields::object([("label", Some(Json::String(label))), ("details", Some(Json::String(details)))]))
}

/// `type` is stored also as null, as every answer must show it; `title` and `url` are left out when not given.
fn source(value: Json, path: Path<'_>) -> Result<Json, DocumentError> {
    let [source_type, title, url] = fields::named(value, path, ["type", "title", "url"])?;
    let type_path = path.key("type");
    let source_type = fields::string(source_type, type_path)?;
    if let Some(other) = source_type.as_deref().filter(|one| !matches!(*one, "positive" | "negative" | "new")) {
        return Err(fields::not_allowed(type_path, other, "positive, negative, new, null"));
    }
    Ok(fields::object([
        ("type", Some(source_type.map_or(Json::Null, Json::String))),
        ("title", fields::string(title, path.key("title"))?.map(Json::String)),
        ("url", fields::string(url, path.key("url"))?.map(Json::String)),
    ]))
}

impl Feedback {
    pub(crate) fn key(&self) -> FeedbackKey {
        FeedbackKey {
            organization_id: self.organization_id.clone(),
            project_id: self.project_id.clone(),
            id: self.id.clone(),
        }
    }

    /// The conversation that a rating stays with: the one named, or that of the rating which is stored under the id.
    pub(crate) fn rated_in<'a>(document: &'a FeedbackDocument, previous: Option<&'a Feedback>) -> Option<&'a str> {
        let rated = previous.filter(|previous| previous.is_rating_of(document)).map(|previous| &previous.owner_id);
        document.rating.as_ref().map(|rating| &rating.conversation_id).or(rated).map(String::as_str)
    }

    fn is_rating_of(&self, document: &FeedbackDocument) -> bool {
        self.rated_by.is_some() && self.message_id == document.message_id
    }

    /// The feedback to store, on a message of the conversation `owner_id`. `previous` is the stored one of the id: an
    /// upsert that names no `createdAt` keeps its, and a rating that Part A writes again stays one.
    pub(crate) fn resolve(
        document: &FeedbackDocument,
        identity: &Identity,
        owner_id: &str,
        previous: Option<&Feedback>,
        now: EpochMillis,
        new_id: impl FnOnce() -> String,
    ) -> Feedback {
        Feedback {
            organization_id: identity.organization_id.clone(),
            project_id: identity.project_id.clone(),
            id: FeedbackId::new(document.id.clone().unwrap_or_else(new_id)),
            integration_id: identity.integration_id.clone(),
            feedback_type: document.feedback_type,
            message_id: document.message_id.clone(),
            owner_id: owner_id.to_owned(),
            detached: false,
            created_at: document.created_at.or(previous.map(|previous| previous.created_at)).unwrap_or(now),
            updated_at: document.updated_at.unwrap_or(now),
            reasons: document.reasons.clone(),
            details: document.details.clone(),
            properties: document.properties.clone(),
            user_properties: document.user_properties.clone(),
            sources: document.sources.clone(),
            origin: Origin::resolve(
                &identity.sender,
                document.id.as_deref(),
                previous.map(|previous| previous.origin.id),
            ),
            rated_by: match &document.rating {
                Some(rating) => Some(rating.by.clone()),
                None => previous
                    .filter(|previous| previous.is_rating_of(document) && previous.owner_id == owner_id)
                    .and_then(|previous| previous.rated_by.clone()),
            },
        }
    }

    /// What a query shows: none where the conversation has the message no more.
    pub(crate) fn conversation_id(&self) -> Option<&str> {
        (!self.detached).then_some(&self.owner_id)
    }

    /// Appends the stored feedback's JSON object without its closing brace, so that more members can follow.
    pub(crate) fn write_open(&self, text: &mut String) {
        text.push('{');
        write_field("id", Some(self.id.as_str()), text);
        write_field("type", Some(self.feedback_type.as_str()), text);
        write_field("messageId", Some(&self.message_id), text);
        write_time("createdAt", self.created_at, text);
        write_time("updatedAt", self.updated_at, text);
        write_raw("reasons", self.reasons.as_ref(), text);
        write_field("details", self.details.as_deref(), text);
        write_raw("properties", self.properties.as_ref(), text);
        write_raw("userProperties", self.user_properties.as_ref(), text);
        write_raw("sources", self.sources.as_ref(), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_checked() {
        for (fields, refused) in [
            (r#""type":"positive","messageId":"m""#, None),
            (r#""type":"negative","messageId":"m","reasons":null,"sources":[],"details":null,"x":1"#, None),
            (r#""type":"positive","messageId":"m","reasons":[{"label":"a","details":"b","more":1}]"#, None),
            (r#""type":"positive","messageId":"m","sources":[{"type":"new"},{"type":null,"url":"u"}]"#, None),
            (r#""messageId":"m""#, Some("type")),
            (r#""type":"neutral","messageId":"m""#, Some("type")),
            (r#""type":"positive""#, Some("messageId")),
            (r#""type":"positive","messageId":null"#, Some("messageId")),
            (r#""type":"positive","messageId":7"#, Some("messageId")),
            (r#""type":"positive","messageId":"m","reasons":{}"#, Some("reasons")),
            (r#""type":"positive","messageId":"m","reasons":[{"label":"a"}]"#, Some("reasons[0].details")),
            (r#""type":"positive","messageId":"m","reasons":[{"label":1,"details":""}]"#, Some("reasons[0].label")),
            (r#""type":"positive","messageId":"m","sources":[{"type":"neutral"}]"#, Some("sources[0].type")),
            (r#""type":"positive","messageId":"m","sources":[{"type":null,"title":1}]"#, Some("sources[0].title")),
            (r#""type":"positive","messageId":"m","details":5"#, Some("details")),
            (r#""type":"positive","messageId":"m","updatedAt":"never""#, Some("updatedAt")),
        ] {
            let found = parse(format!("{{{fields}}}").as_bytes()).err();
            assert_eq!(found.as_ref().map(|error| error.path.as_str()), refused, "{fields}: {found:?}");
        }
        let body = br#"{"type":"positive","messageId":"m","sources":[{"url":"u"}]}"#;
        assert_eq!(parse(body).unwrap().sources.unwrap().get(), r#"[{"type":null,"url":"u"}]"#);
    }
}
