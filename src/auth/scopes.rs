//! What keys may do (contract A1). Every scope of a read and every identity of a write is made here from the caller's
//! key.

use std::net::IpAddr;
use std::sync::Arc;

use super::key::{Key, KeyKind, KeyScope};
use crate::model::ids::{IntegrationId, ProjectId};
use crate::model::origin::{Origin, Reach, Sender, SenderKind};
use crate::model::resolve::Identity;
use crate::model::scope::Scope;
use crate::shares::Taker;

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
    /// `org` keys.
    Operators,
}

impl Access {
    pub(crate) fn allows(self, key: &Key) -> bool {
        match (self, key.kind) {
            (Access::Operators, kind) => kind == KeyKind::Org,
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

/// What a key may not do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    #[error("a key of kind {} may not do this", .0.name())]
    Kind(KeyKind),
    /// Names the field.
    #[error("{0}: another project than the key's is named")]
    OtherProject(&'static str),
    #[error("integrationId: another integration than the key's is named, which a web key may not do")]
    OtherIntegration,
    #[error("{0}: an extension of the query language, which a web key may not use")]
    Extension(&'static str),
    #[error("projectId: a project is needed with an organization's key")]
    NoProject,
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    key: Arc<Key>,
    /// From where, where that is known.
    address: Option<IpAddr>,
}

impl Caller {
    pub(crate) fn new(key: Arc<Key>) -> Self {
        Self { key, address: None }
    }

    pub(crate) fn at(self, address: Option<IpAddr>) -> Self {
        Self { address, ..self }
    }

    pub(crate) fn check(&self, access: Access) -> Result<(), Denied> {
        if access.allows(&self.key) { Ok(()) } else { Err(Denied::Kind(self.key.kind)) }
    }

    /// `named`: what a query names of the extensions of the query language (contract A5).
    pub(crate) fn check_extension(&self, named: Option<&'static str>) -> Result<(), Denied> {
        match named {
            Some(name) if self.key.kind == KeyKind::Web => Err(Denied::Extension(name)),
            _ => Ok(()),
        }
    }

    /// Who takes a share of what is bounded; a web key is shared out by address.
    pub(crate) fn taker(&self) -> Taker {
        Taker {
            organization: self.key.organization_id.as_str().into(),
            key: self.key.id.as_str().into(),
            address: self.address.filter(|_| self.key.kind == KeyKind::Web),
        }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn key_id(&self) -> &str {
        &self.key.id
    }

    /// Whether the key is an organization's.
    pub(crate) fn reaches_all_projects(&self) -> bool {
        self.project().is_none()
    }

    /// What lists and queries see.
    pub(crate) fn scope(&self) -> Scope {
        self.scope_of(self.project().cloned())
    }

    fn scope_of(&self, project_id: Option<ProjectId>) -> Scope {
        Scope { organization_id: self.key.organization_id.clone(), project_id, asker: self.taker() }
    }

    /// What a report sees whose parameter names a project.
    pub(crate) fn scope_in(&self, named: Option<&str>) -> Result<Scope, Denied> {
        self.reach(named).ok_or(Denied::OtherProject("project_id"))
    }

    /// What a look-up by id sees; `named` is the parameter `projectId`, which narrows an `org` key. `None`: a project
    /// that the key does not reach, nothing is found in it.
    pub(crate) fn reach(&self, named: Option<&str>) -> Option<Scope> {
        let project_id = match (self.project(), named) {
            (Some(own), Some(named)) if own.as_str() != named => return None,
            (Some(own), _) => Some(own.clone()),
            (None, named) => named.map(ProjectId::new),
        };
        Some(self.scope_of(project_id))
    }

    /// Where a document goes that names `project` and `integration` (or not).
    pub(crate) fn identity(&self, project: Option<&str>, integration: Option<&str>) -> Result<Identity, Denied> {
        let project_id = match (self.project(), project) {
            (Some(own), Some(named)) if own.as_str() != named => return Err(Denied::OtherProject("projectId")),
            (Some(own), _) => own.clone(),
            (None, Some(named)) if !named.is_empty() => ProjectId::new(named),
            (None, _) => return Err(Denied::NoProject),
        };
        let own = self.key.integration_id.as_ref();
        if self.key.kind == KeyKind::Web && integration.is_some_and(|named| own.is_none_or(|own| own.as_str() != named))
        {
            return Err(Denied::OtherIntegration);
        }
        let integration_id = integration.map(IntegrationId::new).or_else(|| own.cloned());
        let (organization_id, sender, reach) = (self.key.organization_id.clone(), self.sender(), self.named());
        Ok(Identity { organization_id, project_id, integration_id, sender, reach })
    }

    /// Which stored rows this caller may name.
    fn named(&self) -> Reach {
        match self.key.kind {
            KeyKind::Api | KeyKind::Org => Reach::Everything,
            KeyKind::Web if self.key.external_ids => {
                let made_by = self.key.predecessors.iter().chain([&self.key.id]);
                Reach::Web { external_ids_of: made_by.cloned().collect() }
            }
            KeyKind::Web => Reach::Web { external_ids_of: Vec::new() },
        }
    }

    /// Whether a look-up by id finds the row.
    pub(crate) fn finds(&self, origin: &Origin) -> bool {
        self.named().admits(origin)
    }

    /// In whose name this caller writes.
    pub(crate) fn sender(&self) -> Sender {
        let kind = match self.key.kind {
            KeyKind::Web => SenderKind::Web,
            KeyKind::Api => SenderKind::Api,
            KeyKind::Org => SenderKind::Org,
        };
        Sender { kind, key: Some(self.key.id.clone()) }
    }

    /// `None` only for `org` keys. A key without a project that is of another kind is never loaded ([`super::key_store`]).
    fn project(&self) -> Option<&ProjectId> {
        self.key.project_id.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::{EpochMillis, OrganizationId};

    fn key(kind: KeyKind, scopes: &[KeyScope]) -> Arc<Key> {
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
            name: None,
            rate: None,
            external_ids: false,
            predecessors: Vec::new(),
        })
    }

    fn scope(project: Option<&str>) -> Option<Scope> {
        let key = "0123456789abcdef".into();
        let asker = Taker { organization: "acme".into(), key, address: None };
        Some(Scope { organization_id: OrganizationId::new("acme"), project_id: project.map(ProjectId::new), asker })
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
            (Access::Operators, [false, true, false, false]),
        ] {
            let found: Vec<bool> = keys.iter().map(|key| access.allows(key)).collect();
            assert_eq!(found, allowed, "{access:?}");
        }
    }

    #[test]
    fn a_project_key_stays_in_its_project() {
        let caller = Caller::new(key(KeyKind::Api, &[]));
        assert_eq!(caller.reach(None), scope(Some("docs")));
        assert_eq!(caller.reach(Some("docs")), scope(Some("docs")));
        assert_eq!(caller.reach(Some("other")), None);
        assert_eq!(caller.scope().project_id, Some(ProjectId::new("docs")));
        assert_eq!(caller.identity(None, None).unwrap().project_id.as_str(), "docs");
        assert_eq!(caller.identity(Some("docs"), None).unwrap().integration_id.unwrap().as_str(), "bot");
        assert_eq!(caller.identity(None, Some("mine")).unwrap().integration_id.unwrap().as_str(), "mine");
        assert_eq!(caller.identity(Some("other"), None), Err(Denied::OtherProject("projectId")));
    }

    #[test]
    fn a_web_key_names_its_own_integration_only() {
        let caller = Caller::new(key(KeyKind::Web, &[]));
        for named in [None, Some("bot")] {
            assert_eq!(caller.identity(None, named).unwrap().integration_id.unwrap().as_str(), "bot");
        }
        for named in ["", "other"] {
            assert_eq!(caller.identity(None, Some(named)), Err(Denied::OtherIntegration));
        }
    }

    #[test]
    fn an_organization_key_names_its_project() {
        let caller = Caller::new(key(KeyKind::Org, &[]));
        assert_eq!(caller.reach(None), scope(None));
        assert_eq!(caller.reach(Some("docs")), scope(Some("docs")));
        assert_eq!(caller.scope().project_id, None);
        assert_eq!(caller.identity(Some("docs"), None).unwrap().project_id.as_str(), "docs");
        for project in [None, Some("")] {
            assert_eq!(caller.identity(project, None), Err(Denied::NoProject));
        }
    }
}
