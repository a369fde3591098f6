//! The key that a request's headers hold (contract A1).

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::problem::Problem;
use crate::auth::key::id_in_text;
use crate::auth::key_ring::KeyRing;
use crate::auth::scopes::{Access, Caller};

const API_KEY: &str = "api-key";

/// Who sent a request to a route of this access; 401 unless the headers hold a usable key.
pub(crate) async fn authenticate(ring: &KeyRing, headers: &HeaderMap, access: Access) -> Result<Caller, Problem> {
    let text = match access {
        Access::ConversationApi => either(headers)?,
        _ => {
            bearer(headers).ok_or_else(|| Problem::unauthorized("a header `Authorization: Bearer <key>` is needed"))?
        }
    };
    let key = ring.authenticate(text).await?;
    key.map(Caller::new).ok_or_else(|| Problem::unauthorized("the key is unknown, expired or revoked"))
}

/// The id in what is sent as a key, for the log.
pub(crate) fn claimed_id(headers: &HeaderMap) -> Option<&str> {
    id_in_text(api_key(headers).or_else(|| bearer(headers))?)
}

/// The key of the conversation API. Two that differ are refused, for the caller means one of them (contract Part B).
fn either(headers: &HeaderMap) -> Result<&str, Problem> {
    for name in [API_KEY, AUTHORIZATION.as_str()] {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(Problem::unauthorized(format!("the header `{name}` is given more than once")));
        }
    }
    match (api_key(headers), bearer(headers)) {
        (Some(one), Some(other)) if one != other => {
            Err(Problem::unauthorized("the headers `API-KEY` and `Authorization` hold two different keys"))
        }
        (Some(key), _) | (None, Some(key)) => Ok(key),
        (None, None) => {
            Err(Problem::unauthorized("a header `API-KEY: <key>` or `Authorization: Bearer <key>` is needed"))
        }
    }
}

/// The key text; the scheme in any case.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, text) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let text = text.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !text.is_empty()).then_some(text)
}

fn api_key(headers: &HeaderMap) -> Option<&str> {
    headers.get(API_KEY)?.to_str().ok().map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn bearer_takes_any_case_and_nothing_else() {
        for (value, expected) in [
            ("Bearer k", Some("k")),
            ("bearer k", Some("k")),
            ("BEARER  k ", Some("k")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Basic k", None),
            ("k", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            assert_eq!(bearer(&headers), expected, "{value}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn the_conversation_api_takes_one_key() {
        for (given, expected) in [
            (&[("api-key", "k")][..], Some("k")),
            (&[("authorization", "bearer k")], Some("k")),
            (&[("api-key", "k"), ("authorization", "Bearer k")], Some("k")),
            (&[("api-key", " "), ("authorization", "Bearer k")], Some("k")),
            (&[("api-key", "k"), ("authorization", "Basic x")], Some("k")),
            (&[("api-key", "k"), ("authorization", "Bearer l")], None),
            (&[("api-key", "k"), ("api-key", "k")], None),
            (&[("authorization", "Bearer k"), ("authorization", "Bearer k")], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in given {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(either(&headers).ok(), expected, "{given:?}");
        }
    }
}
