//! The body of `POST /erase` (contract A7): whose or which.

use super::fields::{self, DocumentError, Path};
use super::json::value::Json;

/// Ids in one request.
const MAX_IDS: usize = 10_000;
const NAMES: [&str; 3] = ["userId", "conversationIds", "eventIds"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    User(String),
    Conversations(Vec<String>),
    Events(Vec<String>),
}

pub(crate) fn parse(body: &[u8]) -> Result<Subject, DocumentError> {
    let root = Path::Root;
    let body = fields::parse_body(body)?;
    // What is not understood might have narrowed it.
    if let Json::Object(members) = &body
        && let Some((key, _)) = members.iter().find(|(key, _)| !NAMES.contains(&key.as_str()))
    {
        return Err(root.key(key).error(format!("unknown; allowed: {}", NAMES.join(", "))));
    }
    let [user, conversations, events] = fields::named(body, root, NAMES)?;
    match (user, conversations, events) {
        (Some(user), None, None) => match user {
            Json::String(text) if !text.is_empty() => Ok(Subject::User(text)),
            Json::Number(text) => Ok(Subject::User(text)),
            given => Err(fields::wrong_kind(root.key("userId"), &given, "a non-empty string or a number")),
        },
        (None, Some(ids), None) => Ok(Subject::Conversations(texts(ids, root.key("conversationIds"))?)),
        (None, None, Some(ids)) => Ok(Subject::Events(texts(ids, root.key("eventIds"))?)),
        _ => Err(root.error(format!("exactly one of {} is needed", NAMES.join(", ")))),
    }
}

fn texts(given: Json, path: Path<'_>) -> Result<Vec<String>, DocumentError> {
    let ids = fields::string_list(Some(given), path)?.unwrap_or_default();
    match ids.len() {
        1..=MAX_IDS => Ok(ids),
        count => Err(path.error(format!("{count} ids given; allowed: 1 to {MAX_IDS}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_of_subject_is_named() {
        let texts = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        for (body, expected) in [
            (r#"{"userId":"u"}"#, Subject::User("u".to_owned())),
            (r#"{"userId":17,"eventIds":null}"#, Subject::User("17".to_owned())),
            (r#"{"conversationIds":["a","b"]}"#, Subject::Conversations(texts(&["a", "b"]))),
            (r#"{"eventIds":["e"]}"#, Subject::Events(texts(&["e"]))),
        ] {
            assert_eq!(parse(body.as_bytes()), Ok(expected), "{body}");
        }
        for (body, path) in [
            ("{}", ""),
            ("[]", ""),
            (r#"{"userId":""}"#, "userId"),
            (r#"{"userId":true}"#, "userId"),
            (r#"{"userId":"u","eventIds":["e"]}"#, ""),
            (r#"{"userID":"u"}"#, "userID"),
            (r#"{"userId":"u","projectId":"p"}"#, "projectId"),
            (r#"{"eventIds":[]}"#, "eventIds"),
            (r#"{"eventIds":"e"}"#, "eventIds"),
            (r#"{"conversationIds":["a",1]}"#, "conversationIds[1]"),
        ] {
            assert_eq!(parse(body.as_bytes()).unwrap_err().path, path, "{body}");
        }
        assert!(parse(b"{").unwrap_err().syntax);
    }
}
