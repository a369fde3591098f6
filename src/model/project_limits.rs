//! The body of `PUT /projects/{id}` (contract A1): how long a project's data is kept, and how much it may be.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;
use super::fields::{self, DocumentError, Path};
use super::json::value::Json;

const NAMES: [&str; 2] = ["maxAge", "maxBytes"];
/// What every reader of JSON takes exactly.
const MAX_BYTES: u64 = (1 << 53) - 1;

/// None: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProjectLimits {
    /// What is older is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_age: Option<Age>,
    /// Above it no document is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_bytes: Option<u64>,
}

/// At least a second; stored as seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Age {
    seconds: u64,
}

impl Age {
    /// `30d`, `12h` …
    pub(crate) fn parse(text: &str) -> Result<Age, String> {
        let seconds = duration::parse(text)?.as_secs();
        if seconds == 0 { Err("at least 1s is needed: nothing would be kept".to_owned()) } else { Ok(Age { seconds }) }
    }

    pub(crate) fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub(crate) fn render(self) -> String {
        duration::render(self.duration())
    }
}

/// Both limits are set anew; absent and null are none.
pub(crate) fn parse(body: &[u8]) -> Result<ProjectLimits, DocumentError> {
    let root = Path::Root;
    let body = fields::parse_body(body)?;
    // A mistyped limit would be no limit.
    if let Json::Object(members) = &body
        && let Some((key, _)) = members.iter().find(|(key, _)| !NAMES.contains(&key.as_str()))
    {
        return Err(root.key(key).error(format!("unknown; allowed: {}", NAMES.join(", "))));
    }
    let [age, bytes] = fields::named(body, root, NAMES)?;
    let max_age = fields::string(age, root.key("maxAge"))?;
    let max_age = max_age.map(|text| Age::parse(&text).map_err(|message| root.key("maxAge").error(message)));
    Ok(ProjectLimits { max_age: max_age.transpose()?, max_bytes: max_bytes(bytes, root.key("maxBytes"))? })
}

fn max_bytes(given: Option<Json>, path: Path<'_>) -> Result<Option<u64>, DocumentError> {
    let needed = "a whole number of bytes from 0 to 9007199254740991";
    match given {
        None => Ok(None),
        Some(Json::Number(text)) => {
            let number = text.parse::<u64>().ok().filter(|number| *number <= MAX_BYTES);
            number.map(Some).ok_or_else(|| path.error(format!("{text} given, {needed} is needed")))
        }
        Some(other) => Err(fields::wrong_kind(path, &other, needed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_or_none() {
        let days = |days: u64| Some(Age { seconds: days * 86_400 });
        for (body, max_age, max_bytes) in [
            ("{}", None, None),
            (r#"{"maxAge":null,"maxBytes":null}"#, None, None),
            (r#"{"maxAge":"90d"}"#, days(90), None),
            (r#"{"maxAge":"24h","maxBytes":0}"#, days(1), Some(0)),
            (r#"{"maxBytes":9007199254740991}"#, None, Some(MAX_BYTES)),
        ] {
            assert_eq!(parse(body.as_bytes()), Ok(ProjectLimits { max_age, max_bytes }), "{body}");
        }
        for (body, path) in [
            ("[]", ""),
            (r#"{"maxage":"90d"}"#, "maxage"),
            (r#"{"maxAge":"0d"}"#, "maxAge"),
            (r#"{"maxAge":"ninety"}"#, "maxAge"),
            (r#"{"maxAge":90}"#, "maxAge"),
            (r#"{"maxBytes":"1"}"#, "maxBytes"),
            (r#"{"maxBytes":-1}"#, "maxBytes"),
            (r#"{"maxBytes":1.5}"#, "maxBytes"),
            (r#"{"maxBytes":9007199254740992}"#, "maxBytes"),
        ] {
            assert_eq!(parse(body.as_bytes()).unwrap_err().path, path, "{body}");
        }
        assert!(parse(b"{").unwrap_err().syntax);
        let limits = ProjectLimits { max_age: days(2), max_bytes: None };
        assert_eq!(serde_json::to_string(&limits).unwrap(), r#"{"maxAge":172800}"#);
    }
}
