//! The headers that say in whose name a call is made.

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use crate::api::http::call::Call;
use crate::api::http::problem::Problem;
use crate::model::actor::Actor;
use crate::model::ids::{OrganizationId, ProjectId};
use crate::model::scope::Scope;
use crate::storage::categories::CategoryOwner;

const MAX_HEADER_BYTES: usize = 512;

/// 400 naming the header unless each is given once, not empty, and text.
pub(crate) fn actor(headers: &HeaderMap) -> Result<Actor, Problem> {
    Ok(Actor {
        agent_email: header(headers, "AGENT-EMAIL")?,
        user_email: header(headers, "USER-EMAIL")?,
        own_user_id: header(headers, "OWN-USER-ID")?,
    })
}

/// Plain ASCII, or `base64:` and the base64 of UTF-8. Empty is refused: a caller that forgot to fill in the user must not
/// see everybody's conversations.
fn header(headers: &HeaderMap, name: &str) -> Result<Option<String>, Problem> {
    let refuse = |reason: &str| Problem::bad_request(format!("header {name}: {reason}"));
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refuse("given more than once, one value is allowed"));
    }
    let text =
        value.to_str().map_err(|_| refuse("not ASCII; other texts are sent as `base64:<base64 of the UTF-8>`"))?;
    let text = match text.trim().strip_prefix("base64:") {
        None => text.trim().to_owned(),
        Some(encoded) => {
            let engines = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD];
            let bytes = engines.iter().find_map(|engine| engine.decode(encoded.trim()).ok());
            bytes
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| refuse("what follows `base64:` is not the base64 of UTF-8"))?
        }
    };
    if text.is_empty() || text.len() > MAX_HEADER_BYTES || text.contains('\0') {
        return Err(refuse(&format!("{} bytes given, 1 to {MAX_HEADER_BYTES} without NUL are allowed", text.len())));
    }
    Ok(Some(text))
}

/// What a list sees; `None`: nothing.
pub(crate) fn scope(call: &Call) -> Result<Option<Scope>, Problem> {
    Ok(call.caller()?.reach(call.parameters.text("projectId")))
}

/// The project whose categories a call means; 400 where an organization's key names none, 404 where a key names
/// another project than its own.
pub(crate) fn category_owner(call: &Call) -> Result<CategoryOwner, Problem> {
    match scope(call)? {
        Some(Scope { organization_id, project_id: Some(project_id), .. }) => owner(organization_id, project_id),
        Some(Scope { project_id: None, .. }) => {
            Err(Problem::bad_request("projectId: with an organization's key the project of the categories is needed"))
        }
        None => Err(Problem::not_found("no such project")),
    }
}

fn owner(organization_id: OrganizationId, project_id: ProjectId) -> Result<CategoryOwner, Problem> {
    if project_id.as_str().is_empty() {
        return Err(Problem::bad_request("projectId: empty, the name of a project is needed"));
    }
    Ok(CategoryOwner { organization_id, project_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn headers_are_text_or_base64() {
        for (value, expected) in [
            (&b"u1"[..], Some("u1")),
            (b" u 1 ", Some("u 1")),
            (b"base64:w7w=", Some("\u{fc}")),
            (b"base64:w7w", Some("\u{fc}")),
            (b"Base64:w7w=", Some("Base64:w7w=")),
            (b"", None),
            (b"base64:", None),
            (b"base64:!", None),
            (b"base64:/w==", None),
            (b"base64:AA==", None),
            (b"\xc3\xbc", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("own-user-id", HeaderValue::from_bytes(value).unwrap());
            let found = actor(&headers);
            assert_eq!(found.as_ref().ok().and_then(|actor| actor.own_user_id.as_deref()), expected, "{value:?}");
            assert!(found.err().is_none_or(|problem| problem.status().as_u16() == 400));
        }
        let mut twice = HeaderMap::new();
        twice.append("user-email", HeaderValue::from_static("a@x"));
        twice.append("user-email", HeaderValue::from_static("b@x"));
        assert!(actor(&twice).is_err());
        assert_eq!(actor(&HeaderMap::new()).unwrap(), Actor::default());
    }
}
