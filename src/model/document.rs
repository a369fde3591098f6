//! Validation of the body of `POST /conversations` (contract A2), and of an import's lines, which have the same form.
//!
//! Unknown fields are left out at every level and an optional field that is null counts as absent; what remains is
//! normalised, so that nothing is stored that the official client would reject in an answer.

use std::collections::HashSet;

use super::conversation::{ConversationType, Visibility};
use super::fields::{
    self, DocumentError, Path, array, id_text, named, normalised_list, not_allowed, object, required, required_string,
    shown, string, string_list, time, wrong_kind,
};
use super::ids::EpochMillis;
use super::json::value::{Json, RawJson, string_to_raw};

/// A validated document: fields as given, ids and times still optional.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) id: Option<String>,
    pub(crate) external_id: Option<String>,
    pub(crate) external_url: Option<String>,
    pub(crate) conversation_type: ConversationType,
    pub(crate) support_ticket_conversation_id: Option<String>,
    pub(crate) created_at: Option<EpochMillis>,
    pub(crate) updated_at: Option<EpochMillis>,
    pub(crate) project_id: Option<String>,
    pub(crate) integration_id: Option<String>,
    pub(crate) properties: Option<RawJson>,
    pub(crate) user_properties: Option<RawJson>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) visibility: Option<Visibility>,
    /// Never empty.
    pub(crate) messages: Vec<DocumentMessage>,
}

/// A validated message; the fields are those of [`super::conversation::Message`].
#[derive(Clone, Debug)]
pub(crate) struct DocumentMessage {
    pub(crate) id: Option<String>,
    pub(crate) external_id: Option<String>,
    pub(crate) external_url: Option<String>,
    pub(crate) created_at: Option<EpochMillis>,
    pub(crate) updated_at: Option<EpochMillis>,
    pub(crate) role: String,
    pub(crate) name: Option<String>,
    pub(crate) content: Option<RawJson>,
    pub(crate) links: Option<RawJson>,
    pub(crate) tool_calls: Option<RawJson>,
    pub(crate) properties: Option<RawJson>,
    pub(crate) user_properties: Option<RawJson>,
}

/// Parses and validates a body.
pub(crate) fn parse(body: &[u8]) -> Result<Document, DocumentError> {
    from_json(fields::parse_body(body)?)
}

/// Validates a parsed document.
pub(crate) fn from_json(value: Json) -> Result<Document, DocumentError> {
    let root = Path::Root;
    let [
        id,
        external_id,
        external_url,
        conversation_type,
        support_ticket_conversation_id,
        created_at,
        updated_at,
        project_id,
        integration_id,
        properties,
        user_properties,
        tags,
        visibility,
        messages,
    ] = named(
        value,
        root,
        [
            "id",
            "externalId",
            "externalUrl",
            "type",
            "supportTicketConversationId",
            "createdAt",
            "updatedAt",
            "projectId",
            "integrationId",
            "properties",
            "userProperties",
            "tags",
            "visibility",
            "messages",
        ],
    )?;
    let type_path = root.key("type");
    let conversation_type = match required_string(conversation_type, type_path)?.as_str() {
        "openai" => ConversationType::Openai,
        "support_ticket" => ConversationType::SupportTicket,
        "support_copilot" => ConversationType::SupportCopilot,
        other => return Err(not_allowed(type_path, other, "openai, support_ticket, support_copilot")),
    };
    let visibility_path = root.key("visibility");
    let visibility = match string(visibility, visibility_path)?.as_deref() {
        None => None,
        Some("private") => Some(Visibility::Private),
        Some("public") => Some(Visibility::Public),
        Some(other) => return Err(not_allowed(visibility_path, other, "private, public")),
    };
    let document = Document {
        id: id_text(id, root.key("id"), true)?,
        external_id: id_text(external_id, root.key("externalId"), true)?,
        external_url: string(external_url, root.key("externalUrl"))?,
        conversation_type,
        support_ticket_conversation_id: id_text(
            support_ticket_conversation_id,
            root.key("supportTicketConversationId"),
            false,
        )?,
        created_at: time(created_at, root.key("createdAt"))?,
        updated_at: time(updated_at, root.key("updatedAt"))?,
        project_id: id_text(project_id, root.key("projectId"), false)?,
        integration_id: id_text(integration_id, root.key("integrationId"), false)?,
        properties: fields::properties(properties, root.key("properties"))?,
        user_properties: fields::user_properties(user_properties, root.key("userProperties"))?,
        tags: string_list(tags, root.key("tags"))?,
        visibility,
        messages: self::messages(messages, conversation_type, root.key("messages"))?,
    };
    check_threads(&document, root.key("messages"))?;
    Ok(document)
}

/// Each thread of a conversation shows its properties (contract A4), so what they have together is limited.
fn check_threads(document: &Document, path: Path<'_>) -> Result<(), DocumentError> {
    let mut before = "";
    let mut questions = 0_usize;
    for message in &document.messages {
        questions += usize::from(message.role == "user" && before != "user");
        before = &message.role;
    }
    let both = [&document.properties, &document.user_properties].into_iter().flatten();
    let bytes: usize = both.map(|raw| raw.get().len()).sum();
    if questions.saturating_mul(bytes) > MAX_THREAD_PROPERTY_BYTES {
        return Err(path.error(format!(
            "{questions} questions given with {bytes} bytes of properties and userProperties; allowed: \
             {MAX_THREAD_PROPERTY_BYTES} bytes for all questions together"
        )));
    }
    Ok(())
}

const MAX_THREAD_PROPERTY_BYTES: usize = 32 << 20;

fn messages(
    value: Option<Json>,
    conversation_type: ConversationType,
    path: Path<'_>,
) -> Result<Vec<DocumentMessage>, DocumentError> {
    const NEEDED: &str = "an array of at least one message";
    let elements = array(required(value, path, NEEDED)?, path, NEEDED)?;
    if elements.is_empty() {
        return Err(path.error(format!("empty array given, {NEEDED} is needed")));
    }
    let messages = elements
        .into_iter()
        .enumerate()
        .map(|(index, element)| message(element, conversation_type, path.index(index)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut seen = HashSet::new();
    for (index, message) in messages.iter().enumerate() {
        if let Some(id) = &message.id
            && !seen.insert(id.as_str())
        {
            return Err(path
                .index(index)
                .key("id")
                .error(format!("{} given a second time; allowed: an id once in a document", shown(id))));
        }
    }
    Ok(messages)
}

fn message(value: Json, conversation_type: ConversationType, path: Path<'_>) -> Result<DocumentMessage, DocumentError> {
    let [
        id,
        message_type,
        external_id,
        external_url,
        created_at,
        updated_at,
        role,
        content,
        name,
        links,
        properties,
        user_properties,
        tool_calls,
    ] = named(
        value,
        path,
        [
            "id",
            "type",
            "externalId",
            "externalUrl",
            "createdAt",
            "updatedAt",
            "role",
            "content",
            "name",
            "links",
            "properties",
            "userProperties",
            "tool_calls",
        ],
    )?;
    let type_path = path.key("type");
    if let Some(given) = string(message_type, type_path)?
        && given != conversation_type.as_str()
    {
        return Err(not_allowed(type_path, &given, conversation_type.as_str()));
    }
    let role_path = path.key("role");
    let role = required_string(role, role_path)?;
    let content_path = path.key("content");
    let (content, tool_calls) = if conversation_type == ConversationType::Openai {
        if !matches!(role.as_str(), "system" | "user" | "assistant") {
            return Err(not_allowed(role_path, &role, "system, user, assistant"));
        }
        let tool_calls = self::tool_calls(tool_calls, path.key("tool_calls"))?;
        let calls_tools = tool_calls.as_ref().is_some_and(|calls| calls.get() != "[]");
        (Some(openai_content(content, calls_tools, content_path)?), tool_calls)
    } else {
        (string(content, content_path)?.as_deref().map(string_to_raw), None)
    };
    Ok(DocumentMessage {
        id: id_text(id, path.key("id"), true)?,
        external_id: id_text(external_id, path.key("externalId"), true)?,
        external_url: string(external_url, path.key("externalUrl"))?,
        created_at: time(created_at, path.key("createdAt"))?,
        updated_at: time(updated_at, path.key("updatedAt"))?,
        role,
        name: string(name, path.key("name"))?,
        content,
        links: self::links(links, path.key("links"))?,
        tool_calls,
        properties: fields::properties(properties, path.key("properties"))?,
        user_properties: fields::user_properties(user_properties, path.key("userProperties"))?,
    })
}

fn openai_content(value: Option<Json>, calls_tools: bool, path: Path<'_>) -> Result<RawJson, DocumentError> {
    const NEEDED: &str = "a string or an array of parts";
    match value {
        Some(Json::String(text)) => Ok(string_to_raw(&text)),
        Some(Json::Array(parts)) => normalised_list(parts, path, content_part),
        Some(other) => Err(wrong_kind(path, &other, NEEDED)),
        None if calls_tools => Ok(string_to_raw("")),
        None => Err(path.error(format!("null or missing, {NEEDED} is needed"))),
    }
}

fn content_part(part: Json, path: Path<'_>) -> Result<Json, DocumentError> {
    let [part_type, text, image_url] = named(part, path, ["type", "text", "image_url"])?;
    let type_path = path.key("type");
    let part_type = required_string(part_type, type_path)?;
    if !matches!(part_type.as_str(), "text" | "image_url") {
        return Err(not_allowed(type_path, &part_type, "text, image_url"));
    }
    let image_path = path.key("image_url");
    let image_url = match image_url {
        None => None,
        Some(image) => {
            let [url, detail] = named(image, image_path, ["url", "detail"])?;
            let url = required_string(url, image_path.key("url"))?;
            let detail_path = image_path.key("detail");
            let detail = string(detail, detail_path)?;
            if let Some(other) = detail.as_deref().filter(|detail| !matches!(*detail, "auto" | "low" | "high")) {
                return Err(not_allowed(detail_path, other, "auto, low, high"));
            }
            Some(object([("url", Some(Json::String(url))), ("detail", detail.map(Json::String))]))
        }
    };
    Ok(object([
        ("type", Some(Json::String(part_type))),
        ("text", string(text, path.key("text"))?.map(Json::String)),
        ("image_url", image_url),
    ]))
}

fn tool_calls(value: Option<Json>, path: Path<'_>) -> Result<Option<RawJson>, DocumentError> {
    let Some(value) = value else { return Ok(None) };
    let calls = array(value, path, "an array")?;
    normalised_list(calls, path, |call, path| {
        let [id, call_type, function] = named(call, path, ["id", "type", "function"])?;
        let id = required_string(id, path.key("id"))?;
        let type_path = path.key("type");
        let call_type = required_string(call_type, type_path)?;
        if call_type != "function" {
            return Err(not_allowed(type_path, &call_type, "function"));
        }
        let function_path = path.key("function");
        let [name, arguments] =
            named(required(function, function_path, "an object")?, function_path, ["name", "arguments"])?;
        let function = object([
            ("name", Some(Json::String(required_string(name, function_path.key("name"))?))),
            ("arguments", Some(Json::String(required_string(arguments, function_path.key("arguments"))?))),
        ]);
        Ok(object([
            ("id", Some(Json::String(id))),
            ("type", Some(Json::String(call_type))),
            ("function", Some(function)),
        ]))
    })
    .map(Some)
}

fn links(value: Option<Json>, path: Path<'_>) -> Result<Option<RawJson>, DocumentError> {
    let Some(value) = value else { return Ok(None) };
    let links = array(value, path, "an array")?;
    normalised_list(links, path, |link, path| {
        let [label, url, title, description, link_type, breadcrumbs] =
            named(link, path, ["label", "url", "title", "description", "type", "breadcrumbs"])?;
        let breadcrumbs = string_list(breadcrumbs, path.key("breadcrumbs"))?
            .map(|crumbs| Json::Array(crumbs.into_iter().map(Json::String).collect()));
        Ok(object([
            ("label", string(label, path.key("label"))?.map(Json::String)),
            ("url", Some(Json::String(required_string(url, path.key("url"))?))),
            ("title", string(title, path.key("title"))?.map(Json::String)),
            ("description", string(description, path.key("description"))?.map(Json::String)),
            ("type", string(link_type, path.key("type"))?.map(Json::String)),
            ("breadcrumbs", breadcrumbs),
        ]))
    })
    .map(Some)
}

#[cfg(test)]
mod tests;
