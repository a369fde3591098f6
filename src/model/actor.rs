//! In whose name a call of the conversation API is made, and whose conversations it may see (contract Part B).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::json::value::{Json, RawJson};
use super::json::{decimal, parser, raw};

/// In whose name a call was made: its headers `AGENT-EMAIL`, `USER-EMAIL` and `OWN-USER-ID`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Actor {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent_email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) own_user_id: Option<String>,
}

impl Actor {
    /// As it is stored.
    pub(crate) fn to_json(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    pub(crate) fn from_json(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Whether the caller may see a conversation with these user properties: an end user sees the own ones. E-mails
    /// compare without case.
    pub(crate) fn sees(&self, user_properties: Option<&RawJson>) -> bool {
        self.own_user_id
            .as_deref()
            .is_none_or(|own| user_properties.and_then(user_id_json).is_some_and(|stored| is_user_id(stored, own)))
            && self.user_email.as_deref().is_none_or(|own| {
                let stored = user_properties.and_then(|raw| raw::at_path(raw.get(), &["email".to_owned()]));
                stored.and_then(raw::string_value).is_some_and(|stored| stored.to_lowercase() == own.to_lowercase())
            })
    }
}

/// `userId`, else `id`, as JSON; null and `""` count as absent.
fn user_id_json(properties: &RawJson) -> Option<&str> {
    let member = |name: &str| {
        raw::at_path(properties.get(), &[name.to_owned()]).filter(|value| !matches!(*value, "null" | "\"\""))
    };
    member("userId").or_else(|| member("id"))
}

/// The field `user`: as [`user_id_text`], but `""` is a user too (contract A5).
pub(crate) fn user_text(properties: &RawJson) -> Option<Cow<'_, str>> {
    let member = |name: &str| raw::text_at(properties.get(), &[name.to_owned()]);
    member("userId").or_else(|| member("id"))
}

/// Strings by text, numbers by value.
fn is_user_id(stored: &str, wanted: &str) -> bool {
    match raw::string_value(stored) {
        Some(text) => text == wanted,
        None => is_number(wanted) && decimal::compare(stored, wanted).is_eq(),
    }
}

/// Whether a text is a JSON number, so that it may mean a user id that was given as one.
pub(crate) fn is_number(text: &str) -> bool {
    text.len() <= 64 && matches!(parser::parse(text.as_bytes(), 0), Ok(Json::Number(_)))
}

/// The text that a user's id is shown as.
pub(crate) fn user_id_text(properties: &RawJson) -> Option<String> {
    user_id_json(properties).and_then(raw::value_text).map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::value::to_raw;

    /// What a document with these user properties stores.
    fn properties(json: &str) -> Option<RawJson> {
        let value = parser::parse(json.as_bytes(), 8).unwrap();
        (value != Json::Null).then(|| to_raw(&value))
    }

    #[test]
    fn a_user_sees_the_own_conversations() {
        for (user, own, seen) in [
            (r#"{"userId":"u"}"#, "u", true),
            (r#"{"userId":"u","id":"v"}"#, "v", false),
            (r#"{"userId":null,"id":"v"}"#, "v", true),
            (r#"{"userId":7}"#, "7", true),
            (r#"{"userId":"7"}"#, "7", true),
            (r#"{"userId":7.0}"#, "7", true),
            (r#"{"userId":"7.0"}"#, "7", false),
            (r#"{"userId":"\u00fc"}"#, "ü", true),
            (r#"{"userId":"null"}"#, "null", true),
            (r#"{"userId":null}"#, "null", false),
            (r#"{"userId":"","id":"v"}"#, "v", true),
            (r#"{"userId":"","id":""}"#, "", false),
            ("{}", "", false),
            ("null", "u", false),
        ] {
            let actor = Actor { own_user_id: Some(own.to_owned()), ..Actor::default() };
            assert_eq!(actor.sees(properties(user).as_ref()), seen, "{user} {own}");
        }
        let by_email = Actor { user_email: Some("a@b".to_owned()), ..Actor::default() };
        assert!(by_email.sees(properties(r#"{"email":"a@b"}"#).as_ref()));
        assert!(by_email.sees(properties(r#"{"email":"A@B"}"#).as_ref()));
        assert!(!by_email.sees(properties(r#"{"email":"c@b"}"#).as_ref()));
        assert!(!by_email.sees(properties("null").as_ref()));
        assert!(Actor::default().sees(properties("null").as_ref()));
    }
}
