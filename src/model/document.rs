//! Validation of the body of `POST /conversations` (contract A2), and of an import's lines, which have the same form.
//!
//! Unknown fields are left out at every level and an optional field that is null counts as absent; what remains is
//! normalised, so that nothing is stored that the official client would reject in an answer.

use std::collections::HashSet;
use std::fmt;

use super::conversation::{ConversationType, Visibility};
use super::ids::EpochMillis;
use super::json::value::{self, Json, JsonErrorKind, RawJson, push_key, string_to_raw, to_raw, write_string};
use super::time::parse_document_time;

/// Nesting of `properties` and `userProperties`; the field itself is level 1.
pub(crate) const MAX_PROPERTY_LEVELS: usize = 32;
/// Longest id, in bytes.
pub(crate) const MAX_ID_BYTES: usize = 512;
/// Nesting of a whole body, unknown fields included: keeps the parser's stack small.
const MAX_BODY_LEVELS: usize = 128;

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

/// Why a body is no valid document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DocumentError {
    /// The body is not JSON at all (400); else it is invalid (422).
    pub(crate) syntax: bool,
    /// Like `messages[0].role`; empty for the body itself.
    pub(crate) path: String,
    pub(crate) message: String,
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for DocumentError {}

/// Parses and validates a body.
pub(crate) fn parse(body: &[u8]) -> Result<Document, DocumentError> {
    from_json(parse_body(body)?)
}

/// The JSON of a body within the limits that all documents share.
pub(crate) fn parse_body(body: &[u8]) -> Result<Json, DocumentError> {
    value::parse(body, MAX_BODY_LEVELS).map_err(|error| match error.kind {
        JsonErrorKind::Syntax(_) => DocumentError { syntax: true, path: String::new(), message: error.to_string() },
        JsonErrorKind::TooDeep => DocumentError {
            syntax: false,
            path: error.path,
            message: format!("nested too deeply; allowed: {MAX_PROPERTY_LEVELS} levels in properties"),
        },
        kind => DocumentError { syntax: false, path: error.path, message: kind.to_string() },
    })
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
    ] = fields(
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
        properties: self::properties(properties, root.key("properties"))?,
        user_properties: self::user_properties(user_properties, root.key("userProperties"))?,
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
    ] = fields(
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
        properties: self::properties(properties, path.key("properties"))?,
        user_properties: self::user_properties(user_properties, path.key("userProperties"))?,
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
    let [part_type, text, image_url] = fields(part, path, ["type", "text", "image_url"])?;
    let type_path = path.key("type");
    let part_type = required_string(part_type, type_path)?;
    if !matches!(part_type.as_str(), "text" | "image_url") {
        return Err(not_allowed(type_path, &part_type, "text, image_url"));
    }
    let image_path = path.key("image_url");
    let image_url = match image_url {
        None => None,
        Some(image) => {
            let [url, detail] = fields(image, image_path, ["url", "detail"])?;
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
        let [id, call_type, function] = fields(call, path, ["id", "type", "function"])?;
        let id = required_string(id, path.key("id"))?;
        let type_path = path.key("type");
        let call_type = required_string(call_type, type_path)?;
        if call_type != "function" {
            return Err(not_allowed(type_path, &call_type, "function"));
        }
        let function_path = path.key("function");
        let [name, arguments] =
            fields(required(function, function_path, "an object")?, function_path, ["name", "arguments"])?;
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
            fields(link, path, ["label", "url", "title", "description", "type", "breadcrumbs"])?;
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

pub(crate) fn properties(value: Option<Json>, path: Path<'_>) -> Result<Option<RawJson>, DocumentError> {
    let Some(value) = value else { return Ok(None) };
    if !matches!(value, Json::Object(_)) {
        return Err(wrong_kind(path, &value, "an object"));
    }
    if exceeds_levels(&value, MAX_PROPERTY_LEVELS) {
        return Err(path.error(format!("nested over {MAX_PROPERTY_LEVELS} levels; allowed: {MAX_PROPERTY_LEVELS}")));
    }
    Ok(Some(to_raw(&value)))
}

/// Properties whose well-known keys have fixed types.
pub(crate) fn user_properties(value: Option<Json>, path: Path<'_>) -> Result<Option<RawJson>, DocumentError> {
    if let Some(Json::Object(members)) = &value {
        for (key, value) in members {
            let needed = match (key.as_str(), value) {
                ("id" | "userId", Json::String(_) | Json::Number(_) | Json::Null) => continue,
                ("id" | "userId", _) => "a string, a number or null",
                (
                    "identificationType" | "supportAgentName" | "supportAgentEmail" | "userType",
                    Json::String(_) | Json::Null,
                ) => continue,
                ("identificationType" | "supportAgentName" | "supportAgentEmail" | "userType", _) => "a string or null",
                _ => continue,
            };
            return Err(wrong_kind(path.key(key), value, needed));
        }
    }
    properties(value, path)
}

fn exceeds_levels(value: &Json, levels: usize) -> bool {
    let below = |value: &Json| levels == 0 || exceeds_levels(value, levels - 1);
    match value {
        Json::Array(elements) => levels == 0 || elements.iter().any(below),
        Json::Object(members) => levels == 0 || members.iter().any(|(_, value)| below(value)),
        _ => false,
    }
}

/// Where a value stands; made into text only for an error.
#[derive(Clone, Copy)]
pub(crate) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    pub(crate) fn key(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }

    fn index(&'a self, index: usize) -> Path<'a> {
        Path::Index(self, index)
    }

    fn write(&self, out: &mut String) {
        match self {
            Path::Root => {}
            Path::Key(parent, key) => {
                parent.write(out);
                push_key(out, key);
            }
            Path::Index(parent, index) => {
                parent.write(out);
                out.push_str(&format!("[{index}]"));
            }
        }
    }

    pub(crate) fn error(&self, message: String) -> DocumentError {
        let mut path = String::new();
        self.write(&mut path);
        DocumentError { syntax: false, path, message }
    }
}

pub(crate) fn wrong_kind(path: Path<'_>, given: &Json, needed: &str) -> DocumentError {
    path.error(format!("{} given, {needed} is needed", given.kind_name()))
}

pub(crate) fn not_allowed(path: Path<'_>, given: &str, allowed: &str) -> DocumentError {
    path.error(format!("{} given; allowed: {allowed}", shown(given)))
}

/// A given text in quotes, cut to a length that is good to read.
fn shown(text: &str) -> String {
    let mut out = String::new();
    match text.char_indices().nth(64).and_then(|(at, _)| text.get(..at)) {
        Some(start) => {
            write_string(start, &mut out);
            out.push('…');
        }
        None => write_string(text, &mut out),
    }
    out
}

/// The named members of an object, null as absent; others are dropped.
pub(crate) fn fields<const N: usize>(
    value: Json,
    path: Path<'_>,
    names: [&str; N],
) -> Result<[Option<Json>; N], DocumentError> {
    let Json::Object(members) = value else { return Err(wrong_kind(path, &value, "an object")) };
    let mut found = [const { None }; N];
    for (key, value) in members {
        if let Some(slot) = names.iter().position(|name| *name == key).and_then(|at| found.get_mut(at))
            && value != Json::Null
        {
            *slot = Some(value);
        }
    }
    Ok(found)
}

/// An object of the members that are present.
pub(crate) fn object<const N: usize>(members: [(&str, Option<Json>); N]) -> Json {
    Json::Object(members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

pub(crate) fn required(value: Option<Json>, path: Path<'_>, needed: &str) -> Result<Json, DocumentError> {
    value.ok_or_else(|| path.error(format!("null or missing, {needed} is needed")))
}

pub(crate) fn array(value: Json, path: Path<'_>, needed: &str) -> Result<Vec<Json>, DocumentError> {
    match value {
        Json::Array(elements) => Ok(elements),
        other => Err(wrong_kind(path, &other, needed)),
    }
}

pub(crate) fn normalised_list(
    elements: Vec<Json>,
    path: Path<'_>,
    normalise: impl Fn(Json, Path<'_>) -> Result<Json, DocumentError>,
) -> Result<RawJson, DocumentError> {
    let normalised = elements
        .into_iter()
        .enumerate()
        .map(|(index, element)| normalise(element, path.index(index)))
        .collect::<Result<_, _>>()?;
    Ok(to_raw(&Json::Array(normalised)))
}

pub(crate) fn string(value: Option<Json>, path: Path<'_>) -> Result<Option<String>, DocumentError> {
    match value {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_kind(path, &other, "a string")),
    }
}

pub(crate) fn required_string(value: Option<Json>, path: Path<'_>) -> Result<String, DocumentError> {
    match required(value, path, "a string")? {
        Json::String(text) => Ok(text),
        other => Err(wrong_kind(path, &other, "a string")),
    }
}

pub(crate) fn string_list(value: Option<Json>, path: Path<'_>) -> Result<Option<Vec<String>>, DocumentError> {
    let Some(value) = value else { return Ok(None) };
    let texts =
        array(value, path, "an array of strings")?.into_iter().enumerate().map(|(index, element)| match element {
            Json::String(text) => Ok(text),
            other => Err(wrong_kind(path.index(index), &other, "a string")),
        });
    texts.collect::<Result<_, _>>().map(Some)
}

/// An id; one that stands in URLs (`in_paths`) can't be empty, `.` or `..`.
pub(crate) fn id_text(value: Option<Json>, path: Path<'_>, in_paths: bool) -> Result<Option<String>, DocumentError> {
    let Some(text) = string(value, path)? else { return Ok(None) };
    if text.len() > MAX_ID_BYTES {
        return Err(path.error(format!("{} bytes given; allowed: at most {MAX_ID_BYTES}", text.len())));
    }
    if in_paths && matches!(text.as_str(), "" | "." | "..") {
        return Err(path.error(format!("{} given; allowed: any other text, or null for none", shown(&text))));
    }
    Ok(Some(text))
}

pub(crate) fn time(value: Option<Json>, path: Path<'_>) -> Result<Option<EpochMillis>, DocumentError> {
    string(value, path)?.map(|text| parse_document_time(&text).map_err(|message| path.error(message))).transpose()
}

#[cfg(test)]
mod tests;
