//! What a key is (contract A1); its secret is kept only as a hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::model::ids::{EpochMillis, IntegrationId, OrganizationId, ProjectId};

const MAX_NAME_BYTES: usize = 512;
const WEB_REQUESTS_PER_SECOND: u32 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyKind {
    /// Reads and writes its project.
    Api,
    /// Stands in web pages: logs, and gets or deletes one conversation by its id.
    Web,
    /// Reads and writes every project of its organization.
    Org,
}

impl KeyKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            KeyKind::Api => "api",
            KeyKind::Web => "web",
            KeyKind::Org => "org",
        }
    }
}

/// What a key may do beyond its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyScope {
    /// A `web` key may also call `POST /query/conversations`.
    Query,
}

impl KeyScope {
    pub(crate) fn name(self) -> &'static str {
        match self {
            KeyScope::Query => "query",
        }
    }
}

/// `project_id` is present unless the kind is `org`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) kind: KeyKind,
    #[serde(default)]
    pub(crate) scopes: Vec<KeyScope>,
    pub(crate) organization_id: OrganizationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) project_id: Option<ProjectId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) integration_id: Option<IntegrationId>,
    /// SHA-256 of the whole key text in base64url; 32 random bytes in it need no slow hash.
    pub(crate) secret_sha256: String,
    pub(crate) created_at: EpochMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<EpochMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revoked_at: Option<EpochMillis>,
    /// For people, who it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Requests a second, twice as many at once; without it as its kind says ([`Key::requests_per_second`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<u32>,
    /// A `web` key's externalIds select the conversations that it made.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) external_ids: bool,
    /// The ids of the keys that this one has succeeded: what they made counts as its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) predecessors: Vec<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Key {
    pub(crate) fn is_usable(&self, now: EpochMillis) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// `None`: as many as come. A web key is public, so it has a limit unless it is made with another.
    pub(crate) fn requests_per_second(&self) -> Option<u32> {
        self.rate.or((self.kind == KeyKind::Web).then_some(WEB_REQUESTS_PER_SECOND))
    }

    pub(crate) fn has(&self, scope: KeyScope) -> bool {
        self.scopes.contains(&scope)
    }

    pub(super) fn opens_with(&self, text: &str) -> bool {
        self.secret_sha256.as_bytes().ct_eq(hash(text).as_bytes()).into()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        for (name, text) in [
            ("organization", Some(self.organization_id.as_str())),
            ("project", self.project_id.as_ref().map(|id| id.as_str())),
            ("integration", self.integration_id.as_ref().map(|id| id.as_str())),
            ("name", self.name.as_deref()),
        ] {
            let Some(text) = text else { continue };
            if text.is_empty() || text.len() > MAX_NAME_BYTES || text.chars().any(char::is_control) {
                return Err(format!("{name}: 1 to {MAX_NAME_BYTES} bytes without control characters are allowed"));
            }
        }
        if self.rate == Some(0) {
            return Err("rate: at least one request a second is allowed; to end a key, revoke it".to_owned());
        }
        let name = self.kind.name();
        match self.kind {
            KeyKind::Api | KeyKind::Web if self.project_id.is_none() => {
                Err(format!("a key of kind {name} needs a project"))
            }
            KeyKind::Org if self.project_id.is_some() => {
                Err("a key of kind org reaches all projects, so it takes no project".to_owned())
            }
            KeyKind::Api | KeyKind::Org if self.external_ids => {
                Err(format!("a key of kind {name} selects by externalId as it is; this is for web keys"))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()))
}

/// `cl_<kind>_<id>_<secret>`; the secret may hold `_`.
pub(crate) fn id_in_text(text: &str) -> Option<&str> {
    let mut parts = text.strip_prefix("cl_")?.splitn(3, '_');
    let (_kind, id, _secret) = (parts.next()?, parts.next()?, parts.next()?);
    is_key_id(id).then_some(id)
}

/// Ids become object names, so nothing else gets through.
pub(super) fn is_key_id(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
