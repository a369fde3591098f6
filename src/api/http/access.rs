//! The key that a request's headers hold (contract A1).

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::problem::Problem;
use crate::auth::keys::KeyRing;
use crate::auth::scopes::{Access, Caller};

/// Who sent a request to a route of this access; 401 unless the headers hold a usable key.
pub(crate) async fn authenticate(ring: &KeyRing, headers: &HeaderMap, access: Access) -> Result<Caller, Problem> {
    let text = match access {
        Access::ConversationApi => api_key(headers)
            .or_else(|| bearer(headers))
            .ok_or("a header `API-KEY: <key>` or `Authorization: Bearer <key>` is needed"),
        _ => bearer(headers).ok_or("a header `Authorization: Bearer <key>` is needed"),
    };
    let text = text.map_err(Problem::unauthorized)?;
    let key = ring.authenticate(text).await;
    key.map(Caller::new).ok_or_else(|| Problem::unauthorized("the key is unknown, expired or revoked"))
}

/// The key text; the scheme in any case.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, text) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let text = text.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !text.is_empty()).then_some(text)
}

fn api_key(headers: &HeaderMap) -> Option<&str> {
    headers.get("api-key")?.to_str().ok().map(str::trim).filter(|text| !text.is_empty())
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
}
