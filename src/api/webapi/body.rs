//! Reading the bodies of this API: 400 for what is not JSON, 422 naming the place for what is not allowed.

use crate::model::fields::DocumentError;
use crate::model::json::parser::{self, JsonErrorKind};
use crate::model::json::value::Json;
use crate::query::check::suggest::nearest;

const MAX_BODY_LEVELS: usize = 128;
/// Of a title, a state, an assignee or a memo.
const MAX_TEXT_CHARS: usize = 2_000;
/// Of a list in a body.
const MAX_VALUES: usize = 10_000;
const MAX_NAME_CHARS: usize = 50;

/// What a conversation gets. `None` stays; an inner `None` clears.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConversationInfo {
    pub(crate) state: Option<String>,
    pub(crate) assignee: Option<Option<String>>,
    pub(crate) title: Option<Option<String>>,
    pub(crate) category_ids: Option<Vec<String>>,
    pub(crate) memo: Option<Option<String>>,
}

/// What one conversation or many get; a memo is of one.
const INFO: [&str; 4] = ["state", "assignee", "categoryIds", "title"];
const INFO_OF_ONE: [&str; 5] = ["state", "assignee", "categoryIds", "title", "memo"];
const BULK: [&str; 5] = ["userIds", "llmAppIds", "categoryIds", "conversationIds", "conversationInfo"];
const RATING: [&str; 3] = ["rating", "feedbackSelection", "suggestedAnswer"];

/// A bulk update: each filter that is not empty narrows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BulkUpdate {
    pub(crate) user_ids: Vec<String>,
    pub(crate) llm_app_ids: Vec<String>,
    pub(crate) category_ids: Vec<String>,
    pub(crate) conversation_ids: Vec<String>,
    pub(crate) info: ConversationInfo,
}

pub(crate) fn conversation_info(body: &[u8]) -> Result<ConversationInfo, DocumentError> {
    info(&object(body, &INFO_OF_ONE)?, "")
}

pub(crate) fn title(body: &[u8]) -> Result<ConversationInfo, DocumentError> {
    let body = object(body, &["title"])?;
    if body.get("title").is_none() {
        return Err(invalid("title", "missing, a string or null is needed".to_owned()));
    }
    Ok(ConversationInfo { title: clearable(&body, "", "title")?, ..ConversationInfo::default() })
}

pub(crate) fn bulk_update(body: &[u8]) -> Result<BulkUpdate, DocumentError> {
    let body = object(body, &BULK)?;
    let list = |name: &str| Ok::<_, DocumentError>(texts(&body, "", name)?.unwrap_or_default());
    let (user_ids, llm_app_ids) = (list("userIds")?, list("llmAppIds")?);
    let (category_ids, conversation_ids) = (list("categoryIds")?, list("conversationIds")?);
    if [&user_ids, &llm_app_ids, &category_ids, &conversation_ids].iter().all(|list| list.is_empty()) {
        let message = "one of userIds, llmAppIds, categoryIds and conversationIds must have a value";
        return Err(invalid("", message.to_owned()));
    }
    let info = match body.get("conversationInfo") {
        Some(given @ Json::Object(_)) => {
            only(given, "conversationInfo.", &INFO)?;
            info(given, "conversationInfo.")?
        }
        given => return Err(invalid("conversationInfo", wrong(given, "an object"))),
    };
    Ok(BulkUpdate { user_ids, llm_app_ids, category_ids, conversation_ids, info })
}

/// The rating of a chat (contract Part B, 10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChatRating {
    /// `None` removes.
    pub(crate) rating: Option<bool>,
    pub(crate) selection: Option<String>,
    pub(crate) suggested_answer: Option<String>,
}

pub(crate) fn chat_rating(body: &[u8]) -> Result<ChatRating, DocumentError> {
    let body = object(body, &RATING)?;
    let rating = match body.get("rating") {
        Some(Json::Null) => None,
        Some(Json::Bool(rating)) => Some(*rating),
        given => return Err(invalid("rating", wrong(given, "true, false or null"))),
    };
    let selection = text(&body, "", "feedbackSelection")?.flatten();
    // An answer may be long; the body's own limit bounds it.
    let suggested_answer = match body.get("suggestedAnswer") {
        None | Some(Json::Null) => None,
        Some(Json::String(text)) => Some(text.clone()),
        given => return Err(invalid("suggestedAnswer", wrong(given, "a string or null"))),
    };
    Ok(ChatRating { rating, selection, suggested_answer })
}

pub(crate) fn category_name(body: &[u8]) -> Result<String, DocumentError> {
    let body = object(body, &["name"])?;
    let name = match body.get("name") {
        Some(Json::String(name)) => name,
        given => return Err(invalid("name", wrong(given, "a string"))),
    };
    let chars = name.chars().count();
    if name.trim().is_empty() || chars > MAX_NAME_CHARS {
        let message = format!("{chars} characters given, 1 to {MAX_NAME_CHARS} are allowed, not all of them spaces");
        return Err(invalid("name", message));
    }
    Ok(name.clone())
}

/// An object with no other members than these.
fn object(body: &[u8], known: &[&str]) -> Result<Json, DocumentError> {
    match parser::parse(body, MAX_BODY_LEVELS) {
        Ok(object @ Json::Object(_)) => only(&object, "", known).map(|()| object),
        Ok(other) => Err(invalid("", wrong(Some(&other), "an object"))),
        Err(error) if matches!(error.kind, JsonErrorKind::Syntax(_)) => {
            Err(DocumentError { syntax: true, path: String::new(), message: error.to_string() })
        }
        Err(error) => Err(invalid(&error.path, error.kind.to_string())),
    }
}

/// A misspelt filter would change more than was meant, a misspelt field nothing: both are refused (contract Part B).
fn only(object: &Json, prefix: &str, known: &[&str]) -> Result<(), DocumentError> {
    let Json::Object(members) = object else { return Ok(()) };
    let Some((name, _)) = members.iter().find(|(name, _)| !known.contains(&name.as_str())) else { return Ok(()) };
    let hint = nearest(name, known.iter().copied()).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let shown: String = name.chars().take(MAX_NAME_CHARS).collect();
    Err(invalid(&format!("{prefix}{shown}"), format!("unknown; {hint}allowed: {}", known.join(", "))))
}

/// Null counts as absent but where it clears.
fn info(object: &Json, prefix: &str) -> Result<ConversationInfo, DocumentError> {
    let state = text(object, prefix, "state")?.flatten();
    if state.as_deref().is_some_and(|state| state.trim().is_empty()) {
        return Err(invalid(&format!("{prefix}state"), "blank, a state is needed".to_owned()));
    }
    Ok(ConversationInfo {
        state,
        assignee: clearable(object, prefix, "assignee")?,
        title: clearable(object, prefix, "title")?,
        category_ids: texts(object, prefix, "categoryIds")?,
        memo: clearable(object, prefix, "memo")?,
    })
}

/// Null and `""` clear.
fn clearable(object: &Json, prefix: &str, name: &str) -> Result<Option<Option<String>>, DocumentError> {
    Ok(text(object, prefix, name)?.map(|text| text.filter(|text| !text.is_empty())))
}

/// The outer `None`: not given; the inner: null.
fn text(object: &Json, prefix: &str, name: &str) -> Result<Option<Option<String>>, DocumentError> {
    match object.get(name) {
        None => Ok(None),
        Some(Json::Null) => Ok(Some(None)),
        Some(Json::String(text)) if text.chars().count() <= MAX_TEXT_CHARS => Ok(Some(Some(text.clone()))),
        Some(Json::String(text)) => {
            let message = format!("{} characters given, at most {MAX_TEXT_CHARS} are allowed", text.chars().count());
            Err(invalid(&format!("{prefix}{name}"), message))
        }
        given => Err(invalid(&format!("{prefix}{name}"), wrong(given, "a string or null"))),
    }
}

fn texts(object: &Json, prefix: &str, name: &str) -> Result<Option<Vec<String>>, DocumentError> {
    let elements = match object.get(name) {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::Array(elements)) => elements,
        given => return Err(invalid(&format!("{prefix}{name}"), wrong(given, "a list of strings"))),
    };
    if elements.len() > MAX_VALUES {
        let message = format!("{} values given, at most {MAX_VALUES} are allowed", elements.len());
        return Err(invalid(&format!("{prefix}{name}"), message));
    }
    let element = |(index, element): (usize, &Json)| match element {
        Json::String(text) => Ok(text.clone()),
        other => Err(invalid(&format!("{prefix}{name}[{index}]"), wrong(Some(other), "a string"))),
    };
    elements.iter().enumerate().map(element).collect::<Result<_, _>>().map(Some)
}

fn wrong(given: Option<&Json>, needed: &str) -> String {
    match given {
        None => format!("missing, {needed} is needed"),
        Some(given) => format!("{} given, {needed} is needed", given.kind_name()),
    }
}

pub(crate) fn invalid(path: &str, message: String) -> DocumentError {
    DocumentError { syntax: false, path: path.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_fields_replace_and_null_clears() {
        let some = |text: &str| Some(text.to_owned());
        for (body, expected) in [
            ("{}", ConversationInfo::default()),
            (r#"{"state":null,"categoryIds":null}"#, ConversationInfo::default()),
            (
                r#"{"title":null,"assignee":""}"#,
                ConversationInfo { title: Some(None), assignee: Some(None), ..ConversationInfo::default() },
            ),
            (
                r#"{"title":"t","assignee":"a","state":"s","categoryIds":["c"]}"#,
                ConversationInfo {
                    title: Some(some("t")),
                    assignee: Some(some("a")),
                    state: some("s"),
                    category_ids: Some(vec!["c".to_owned()]),
                    memo: None,
                },
            ),
            (r#"{"memo":"m"}"#, ConversationInfo { memo: Some(some("m")), ..ConversationInfo::default() }),
            (r#"{"memo":""}"#, ConversationInfo { memo: Some(None), ..ConversationInfo::default() }),
            (
                r#"{"categoryIds":[]}"#,
                ConversationInfo { category_ids: Some(Vec::new()), ..ConversationInfo::default() },
            ),
        ] {
            assert_eq!(conversation_info(body.as_bytes()), Ok(expected), "{body}");
        }
    }

    #[test]
    fn bad_bodies_are_named() {
        for (body, path) in [
            ("[]", ""),
            (r#"{"state":1}"#, "state"),
            (r#"{"state":""}"#, "state"),
            (r#"{"state":" \t"}"#, "state"),
            (r#"{"memo":1}"#, "memo"),
            (r#"{"stat":"x"}"#, "stat"),
            (r#"{"assignee":{}}"#, "assignee"),
            (r#"{"title":["t"]}"#, "title"),
            (r#"{"title":"\u0000"}"#, "title"),
            (r#"{"categoryIds":"c"}"#, "categoryIds"),
            (r#"{"categoryIds":["c",null]}"#, "categoryIds[1]"),
        ] {
            let error = conversation_info(body.as_bytes()).unwrap_err();
            assert_eq!((error.path.as_str(), error.syntax), (path, false), "{body}: {error}");
        }
        let long = format!(r#"{{"title":"{}"}}"#, "x".repeat(MAX_TEXT_CHARS + 1));
        assert_eq!(conversation_info(long.as_bytes()).unwrap_err().path, "title");
        assert!(conversation_info(b"{").unwrap_err().syntax);
        assert_eq!(title(b"{}").unwrap_err().path, "title");
        for (body, path) in [
            (r#"{"conversationInfo":{}}"#, ""),
            (r#"{"userIds":[],"conversationInfo":{}}"#, ""),
            (r#"{"userIds":["u"]}"#, "conversationInfo"),
            (r#"{"userIds":["u"],"conversationInfo":[]}"#, "conversationInfo"),
            (r#"{"userIds":["u"],"conversationInfo":{"state":1}}"#, "conversationInfo.state"),
            (r#"{"userIds":[1],"conversationInfo":{}}"#, "userIds[0]"),
            (r#"{"userIds":["u"],"userId":["v"],"conversationInfo":{}}"#, "userId"),
            (r#"{"userIds":["u"],"conversationInfo":{"memo":"m"}}"#, "conversationInfo.memo"),
        ] {
            let error = bulk_update(body.as_bytes()).unwrap_err();
            assert_eq!((error.path.as_str(), error.syntax), (path, false), "{body}: {error}");
        }
    }

    #[test]
    fn ratings_are_checked() {
        let some = |text: &str| Some(text.to_owned());
        for (body, rating, selection, suggested_answer) in [
            (r#"{"rating":true}"#, Some(true), None, None),
            (r#"{"rating":null,"feedbackSelection":null,"suggestedAnswer":null}"#, None, None, None),
            (r#"{"rating":false,"feedbackSelection":"s","suggestedAnswer":""}"#, Some(false), some("s"), some("")),
        ] {
            assert_eq!(chat_rating(body.as_bytes()), Ok(ChatRating { rating, selection, suggested_answer }), "{body}");
        }
        let long = format!(r#"{{"rating":true,"feedbackSelection":"{}"}}"#, "x".repeat(MAX_TEXT_CHARS + 1));
        for (body, path) in [
            ("[]", ""),
            ("{}", "rating"),
            (r#"{"rating":"true"}"#, "rating"),
            (r#"{"rating":1}"#, "rating"),
            (r#"{"rating":null,"x":1}"#, "x"),
            (r#"{"rating":true,"feedbackSelection":["s"]}"#, "feedbackSelection"),
            (r#"{"rating":null,"suggestedAnswer":5}"#, "suggestedAnswer"),
            (r#"{"rating":null,"x":1}"#, "x"),
            (long.as_str(), "feedbackSelection"),
        ] {
            assert_eq!(chat_rating(body.as_bytes()).unwrap_err().path, path, "{body}");
        }
    }

    #[test]
    fn names_of_categories_are_short() {
        let fifty = "\u{fc}".repeat(MAX_NAME_CHARS);
        for (name, allowed) in [("a", true), (fifty.as_str(), true), ("", false), ("  ", false)] {
            assert_eq!(category_name(format!(r#"{{"name":"{name}"}}"#).as_bytes()).is_ok(), allowed, "{name}");
        }
        assert!(category_name(format!(r#"{{"name":"{fifty}x"}}"#).as_bytes()).is_err());
        assert!(category_name(b"{}").is_err() && category_name(br#"{"name":1}"#).is_err());
    }
}
