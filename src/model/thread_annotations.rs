//! What a person or a model tells of a thread, and the body of `PATCH /semantic-threads/{id}` (contract A4).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fields::{self, DocumentError, Path};
use super::ids::EpochMillis;
use super::json::value::Json;

/// What only a person or a model can tell of a thread: null until it is set.
pub(crate) const ANNOTATIONS: [(&str, AnnotationKind); 14] = [
    ("isOnTopic", AnnotationKind::Flag),
    ("isClear", AnnotationKind::Flag),
    ("isDocumented", AnnotationKind::Flag),
    ("isFeatureSupported", AnnotationKind::Flag),
    ("isAnswerConfident", AnnotationKind::Flag),
    ("areAIAnnotationsVerified", AnnotationKind::Flag),
    ("gapSummary", AnnotationKind::Text),
    ("subject", AnnotationKind::Text),
    ("category", AnnotationKind::Text),
    ("emotion", AnnotationKind::Text),
    ("sentiment", AnnotationKind::Text),
    ("questionType", AnnotationKind::Text),
    ("firstPartyEntities", AnnotationKind::List),
    ("thirdPartyEntities", AnnotationKind::List),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnnotationKind {
    Flag,
    Text,
    List,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum AnnotationValue {
    Flag(bool),
    Text(String),
    List(Vec<String>),
}

/// What is set of [`ANNOTATIONS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ThreadAnnotations {
    /// Of question and answer: they hold as long as these stay the same.
    pub(crate) text_hash: u64,
    pub(crate) values: BTreeMap<String, AnnotationValue>,
    /// When they were last set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) updated_at: Option<EpochMillis>,
}

/// Annotations to set, or to clear where `None`.
pub(crate) type AnnotationUpdate = BTreeMap<String, Option<AnnotationValue>>;

impl ThreadAnnotations {
    /// What holds of a thread after an update.
    pub(crate) fn after(before: Option<&Self>, text_hash: u64, update: &AnnotationUpdate, now: EpochMillis) -> Self {
        let mut values = before.map(|before| before.values.clone()).unwrap_or_default();
        for (name, value) in update {
            match value {
                Some(value) => values.insert(name.clone(), value.clone()),
                None => values.remove(name),
            };
        }
        Self { text_hash, values, updated_at: Some(now) }
    }

    /// Whether an update changes nothing.
    pub(crate) fn has(&self, update: &AnnotationUpdate) -> bool {
        update.iter().all(|(name, value)| self.values.get(name) == value.as_ref())
    }

    /// Of the texts.
    pub(crate) fn text_bytes(&self) -> usize {
        let value = |value: &AnnotationValue| match value {
            AnnotationValue::Flag(_) => 1,
            AnnotationValue::Text(text) => text.len(),
            AnnotationValue::List(texts) => texts.iter().map(|text| text.len() + 3).sum(),
        };
        64 + self.values.iter().map(|(name, one)| name.len() + value(one)).sum::<usize>()
    }
}

/// What one update may say.
const MAX_UPDATE_BYTES: usize = 16 << 10;
/// What is kept of all threads of a conversation; it is written anew with each change of one.
pub(crate) const MAX_ANNOTATION_BYTES: usize = 1 << 20;

/// Parses and validates the body of `PATCH /semantic-threads/{id}`.
pub(crate) fn parse_update(body: &[u8]) -> Result<AnnotationUpdate, DocumentError> {
    let root = Path::Root;
    if body.len() > MAX_UPDATE_BYTES {
        return Err(root.error(format!("{} bytes given, at most {MAX_UPDATE_BYTES} are allowed", body.len())));
    }
    let members = match fields::parse_body(body)? {
        Json::Object(members) => members,
        other => return Err(fields::wrong_kind(root, &other, "an object")),
    };
    let mut update = AnnotationUpdate::new();
    for (name, value) in members {
        let path = root.key(&name);
        let Some((_, kind)) = ANNOTATIONS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = ANNOTATIONS.iter().map(|(known, _)| *known).collect();
            return Err(path.error(format!("unknown key; allowed: {}", known.join(", "))));
        };
        let value = match (kind, value) {
            (_, Json::Null) => None,
            (AnnotationKind::Flag, Json::Bool(flag)) => Some(AnnotationValue::Flag(flag)),
            (AnnotationKind::Text, Json::String(text)) => Some(AnnotationValue::Text(text)),
            (AnnotationKind::List, value @ Json::Array(_)) => {
                fields::string_list(Some(value), path)?.map(AnnotationValue::List)
            }
            (AnnotationKind::Flag, other) => return Err(fields::wrong_kind(path, &other, "a boolean or null")),
            (AnnotationKind::Text, other) => return Err(fields::wrong_kind(path, &other, "a string or null")),
            (AnnotationKind::List, other) => {
                return Err(fields::wrong_kind(path, &other, "an array of strings or null"));
            }
        };
        update.insert(name, value);
    }
    Ok(update)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_checked() {
        for (body, refused) in [
            (r#"{}"#, None),
            (r#"{"isClear":true,"subject":"keys","firstPartyEntities":["a"],"sentiment":null}"#, None),
            (r#"{"isClear":"yes"}"#, Some("isClear")),
            (r#"{"subject":1}"#, Some("subject")),
            (r#"{"thirdPartyEntities":["a",1]}"#, Some("thirdPartyEntities[1]")),
            (r#"{"question":"x"}"#, Some("question")),
            ("[]", Some("")),
        ] {
            let found = parse_update(body.as_bytes()).err();
            assert_eq!(found.as_ref().map(|error| error.path.as_str()), refused, "{body}: {found:?}");
        }
        let long = format!(r#"{{"subject":"{}"}}"#, "a".repeat(MAX_UPDATE_BYTES));
        assert!(parse_update(long.as_bytes()).is_err());
    }
}
