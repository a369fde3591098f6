//! Keys and what they may do (contract A1). Every scope of a read and every identity of a write is made here from the
//! caller's key.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::problem::Problem;
use crate::auth::keys::{Key, KeyKind, KeyRing, KeyScope};
use crate::model::ids::{EpochMillis, IntegrationId, OrganizationId, ProjectId};
use crate::model::resolve::Identity;
use crate::query::engine::Scope;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// No key is needed.
    Public,
    /// Keys of every kind.
    Everyone,
    /// `api` and `org` keys, and `web` keys with the scope `query`.
    Queriers,
    /// `api` and `org` keys.
    Readers,
    /// `api` and `org` keys, which may also come in the header `API-KEY` (contract Part B).
    ConversationApi,
}

impl Access {
    pub(crate) fn allows(self, key: &Key) -> bool {
        match (self, key.kind) {
            (_, KeyKind::Api | KeyKind::Org) | (Access::Public | Access::Everyone, KeyKind::Web) => true,
            (Access::Queriers, KeyKind::Web) => key.has(KeyScope::Query),
            (Access::Readers | Access::ConversationApi, KeyKind::Web) => false,
        }
    }

    /// Whether some web key may call it, so that browsers must be able to.
    pub(crate) fn admits_web_keys(self) -> bool {
        matches!(self, Access::Everyone | Access::Queriers)
    }
}

/// The projects that a request may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// `None`: all projects of the organization.
    Projects(OrganizationId, Option<ProjectId>),
    /// A project that the key does not reach: nothing is found in it.
    Nothing,
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    key: Arc<Key>,
}

impl Caller {
    pub(crate) fn new(key: Arc<Key>) -> Self {
        Self { key }
    }

    /// 401 unless the header holds a usable key.
    pub(crate) async fn authenticate(
        ring: &KeyRing,
        headers: &HeaderMap,
        access: Access,
        now: EpochMillis,
    ) -> Result<Self, Problem> {
        let text = match access {
            Access::ConversationApi => api_key(headers)
                .or_else(|| bearer(headers))
                .ok_or("a header `API-KEY: <key>` or `Authorization: Bearer <key>` is needed"),
            _ => bearer(headers).ok_or("a header `Authorization: Bearer <key>` is needed"),
        };
        let text = text.map_err(Problem::unauthorized)?;
        let key = ring.authenticate(text, now).await;
        key.map(Self::new).ok_or_else(|| Problem::unauthorized("the key is unknown, expired or revoked"))
    }

    pub(crate) fn check(&self, access: Access) -> Result<(), Problem> {
        if access.allows(&self.key) {
            return Ok(());
        }
        let kind = self.key.kind.name();
        Err(Problem::forbidden(format!("a key of kind {kind} may not do this")))
    }

    pub(crate) fn key_id(&self) -> &str {
        &self.key.id
    }

    /// What lists and queries see.
    pub(crate) fn scope(&self) -> Scope {
        Scope { organization_id: self.key.organization_id.clone(), project_id: self.project().cloned() }
    }

    /// What a report sees whose parameter names a project: 403 for another one than the key's.
    pub(crate) fn scope_in(&self, named: Option<&str>) -> Result<Scope, Problem> {
        match self.reach(named) {
            Reach::Projects(organization_id, project_id) => Ok(Scope { organization_id, project_id }),
            Reach::Nothing => Err(Problem::forbidden("project_id: another project than the key's is named")),
        }
    }

    /// What a look-up by id sees; `named` is the parameter `projectId`, which narrows an `org` key.
    pub(crate) fn reach(&self, named: Option<&str>) -> Reach {
        let organization = self.key.organization_id.clone();
        match (self.project(), named) {
            (Some(own), Some(named)) if own.as_str() != named => Reach::Nothing,
            (Some(own), _) => Reach::Projects(organization, Some(own.clone())),
            (None, named) => Reach::Projects(organization, named.map(ProjectId::new)),
        }
    }

    /// Where a document goes that names `project` and `integration` (or not).
    pub(crate) fn identity(&self, project: Option<&str>, integration: Option<&str>) -> Result<Identity, Problem> {
        let project_id = match (self.project(), project) {
            (Some(own), Some(named)) if own.as_str() != named => {
                return Err(Problem::forbidden("projectId: another project than the key's is named".to_owned()));
            }
            (Some(own), _) => own.clone(),
            (None, Some(named)) if !named.is_empty() => ProjectId::new(named),
            (None, _) => {
                return Err(Problem::unprocessable(
                    "projectId: a project is needed with an organization's key".to_owned(),
                ));
            }
        };
        let integration_id = integration.map(IntegrationId::new).or_else(|| self.key.integration_id.clone());
        Ok(Identity { organization_id: self.key.organization_id.clone(), project_id, integration_id })
    }

    /// `None` only for `org` keys. A key without a project that is of another kind is never loaded
    /// ([`crate::auth::keys`]).
    fn project(&self) -> Option<&ProjectId> {
        self.key.project_id.as_ref()
    }
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
pub(crate) mod tests {
    use super::*;
    use axum::http::HeaderValue;

    pub(crate) fn key(kind: KeyKind, scopes: &[KeyScope]) -> Arc<Key> {
        Arc::new(Key {
            id: "0123456789abcdef".to_owned(),
            kind,
            scopes: scopes.to_vec(),
            organization_id: OrganizationId::new("acme"),
            project_id: (kind != KeyKind::Org).then(|| ProjectId::new("docs")),
            integration_id: (kind != KeyKind::Org).then(|| IntegrationId::new("bot")),
            secret_sha256: String::new(),
            created_at: EpochMillis(0),
            expires_at: None,
            revoked_at: None,
        })
    }

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
    fn kinds_of_keys_may_call_what_the_contract_says() {
        let keys = [
            key(KeyKind::Api, &[]),
            key(KeyKind::Org, &[]),
            key(KeyKind::Web, &[]),
            key(KeyKind::Web, &[KeyScope::Query]),
        ];
        for (access, allowed) in [
            (Access::Everyone, [true, true, true, true]),
            (Access::Queriers, [true, true, false, true]),
            (Access::Readers, [true, true, false, false]),
            (Access::ConversationApi, [true, true, false, false]),
        ] {
            let found: Vec<bool> = keys.iter().map(|key| access.allows(key)).collect();
            assert_eq!(found, allowed, "{access:?}");
        }
    }

    #[test]
    fn a_project_key_stays_in_its_project() {
        let caller = Caller::new(key(KeyKind::Api, &[]));
        let own = Reach::Projects(OrganizationId::new("acme"), Some(ProjectId::new("docs")));
        assert_eq!(caller.reach(None), own);
        assert_eq!(caller.reach(Some("docs")), own);
        assert_eq!(caller.reach(Some("other")), Reach::Nothing);
        assert_eq!(caller.scope().project_id, Some(ProjectId::new("docs")));
        assert_eq!(caller.identity(None, None).unwrap().project_id.as_str(), "docs");
        assert_eq!(caller.identity(Some("docs"), None).unwrap().integration_id.unwrap().as_str(), "bot");
        assert_eq!(caller.identity(None, Some("mine")).unwrap().integration_id.unwrap().as_str(), "mine");
        assert_eq!(caller.identity(Some("other"), None).err().unwrap().status().as_u16(), 403);
    }

    #[test]
    fn an_organization_key_names_its_project() {
        let caller = Caller::new(key(KeyKind::Org, &[]));
        assert_eq!(caller.reach(None), Reach::Projects(OrganizationId::new("acme"), None));
        let named = Reach::Projects(OrganizationId::new("acme"), Some(ProjectId::new("docs")));
        assert_eq!(caller.reach(Some("docs")), named);
        assert_eq!(caller.scope().project_id, None);
        assert_eq!(caller.identity(Some("docs"), None).unwrap().project_id.as_str(), "docs");
        for project in [None, Some("")] {
            assert_eq!(caller.identity(project, None).err().unwrap().status().as_u16(), 422);
        }
    }
}
