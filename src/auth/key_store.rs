//! Keys as objects `keys/<id>.json` of the store. The command line writes them without the write lock, while a server
//! may hold the store.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::key::{Key, KeyKind, KeyScope, hash, is_key_id};
use crate::environment::Environment;
use crate::model::ids::{EpochMillis, IntegrationId, OrganizationId, ProjectId};

const PREFIX: &str = "keys";
pub(super) const FETCHES_AT_ONCE: usize = 16;

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("no key `{0}`")]
    Unknown(String),
    #[error("{0}")]
    Invalid(String),
    #[error("key object `{path}`: {message}")]
    Unreadable { path: String, message: String },
    #[error(transparent)]
    Store(#[from] object_store::Error),
}

/// What a new key is for.
#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    pub(crate) kind: KeyKind,
    pub(crate) scopes: Vec<KeyScope>,
    pub(crate) organization_id: OrganizationId,
    pub(crate) project_id: Option<ProjectId>,
    pub(crate) integration_id: Option<IntegrationId>,
}

/// A key and its text, which nothing stores.
pub(crate) struct CreatedKey {
    pub(crate) key: Key,
    pub(crate) text: String,
}

/// Reads and writes key objects.
#[derive(Clone)]
pub(crate) struct KeyStore {
    pub(super) environment: Environment,
}

impl KeyStore {
    pub(crate) fn new(environment: Environment) -> Self {
        Self { environment }
    }

    pub(crate) async fn create(&self, new: NewKey) -> Result<CreatedKey, KeyError> {
        let id = const_hex::encode(self.environment.random::<8>());
        let secret = URL_SAFE_NO_PAD.encode(self.environment.random::<32>());
        let text = format!("cl_{}_{id}_{secret}", new.kind.name());
        let key = Key {
            id,
            kind: new.kind,
            scopes: new.scopes,
            organization_id: new.organization_id,
            project_id: new.project_id,
            integration_id: new.integration_id,
            secret_sha256: hash(&text),
            created_at: self.environment.now(),
            expires_at: None,
            revoked_at: None,
        };
        key.check().map_err(KeyError::Invalid)?;
        self.put(&key, PutMode::Create).await?;
        Ok(CreatedKey { key, text })
    }

    /// Oldest first.
    pub(crate) async fn list(&self) -> Result<Vec<Key>, KeyError> {
        let metas = self.metas().await?;
        let mut keys: Vec<Key> = futures::stream::iter(metas)
            .map(|meta| async move { self.read(&meta.location).await })
            .buffer_unordered(FETCHES_AT_ONCE)
            .try_filter_map(|key| async move { Ok(key) })
            .try_collect()
            .await?;
        keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(keys)
    }

    pub(crate) async fn get(&self, id: &str) -> Result<Option<Key>, KeyError> {
        if !is_key_id(id) {
            return Ok(None);
        }
        self.read(&path_of(id)).await
    }

    /// Revoking twice keeps the first time.
    pub(crate) async fn revoke(&self, id: &str) -> Result<Key, KeyError> {
        let mut key = self.get(id).await?.ok_or_else(|| KeyError::Unknown(id.to_owned()))?;
        if key.revoked_at.is_none() {
            key.revoked_at = Some(self.environment.now());
            self.put(&key, PutMode::Overwrite).await?;
        }
        Ok(key)
    }

    /// A new key of the same reach; the old one expires after `overlap`, or earlier if it was to.
    pub(crate) async fn rotate(&self, id: &str, overlap: Duration) -> Result<CreatedKey, KeyError> {
        let now = self.environment.now();
        let old = self.get(id).await?.ok_or_else(|| KeyError::Unknown(id.to_owned()))?;
        if !old.is_usable(now) {
            return Err(KeyError::Invalid(format!("key `{id}` is expired or revoked; create a new one")));
        }
        let created = self
            .create(NewKey {
                kind: old.kind,
                scopes: old.scopes.clone(),
                organization_id: old.organization_id.clone(),
                project_id: old.project_id.clone(),
                integration_id: old.integration_id.clone(),
            })
            .await?;
        // Read again: a revocation since then must not be undone.
        let mut old = self.get(id).await?.ok_or_else(|| KeyError::Unknown(id.to_owned()))?;
        let end = now.0.saturating_add(i64::try_from(overlap.as_millis()).unwrap_or(i64::MAX));
        old.expires_at = Some(EpochMillis(old.expires_at.map_or(end, |earlier| earlier.0.min(end))));
        self.put(&old, PutMode::Overwrite).await?;
        Ok(created)
    }

    pub(super) async fn metas(&self) -> Result<Vec<ObjectMeta>, KeyError> {
        let metas = self.environment.objects.list(Some(&Path::from(PREFIX))).try_collect::<Vec<_>>().await?;
        Ok(metas.into_iter().filter(|meta| id_of(&meta.location).is_some()).collect())
    }

    pub(super) async fn read(&self, path: &Path) -> Result<Option<Key>, KeyError> {
        let bytes = match self.environment.objects.get(path).await {
            Ok(found) => found.bytes().await?,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let unreadable = |message| KeyError::Unreadable { path: path.to_string(), message };
        let key: Key = serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        key.check().map_err(unreadable)?;
        if id_of(path) != Some(key.id.as_str()) {
            return Err(unreadable("names another id than its object".to_owned()));
        }
        Ok(Some(key))
    }

    async fn put(&self, key: &Key, mode: PutMode) -> Result<(), KeyError> {
        let path = path_of(&key.id);
        let body = serde_json::to_vec(key)
            .map_err(|error| KeyError::Unreadable { path: path.to_string(), message: error.to_string() })?;
        self.environment
            .objects
            .put_opts(&path, PutPayload::from(body), PutOptions { mode, ..Default::default() })
            .await?;
        Ok(())
    }
}

pub(super) fn path_of(id: &str) -> Path {
    Path::from_iter([PREFIX, format!("{id}.json").as_str()])
}

pub(super) fn id_of(path: &Path) -> Option<&str> {
    let id = path.filename()?.strip_suffix(".json")?;
    is_key_id(id).then_some(id)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::environment::test::TestClock;

    pub(in crate::auth) fn store() -> (KeyStore, Arc<TestClock>) {
        let (environment, clock) = Environment::seeded(Arc::new(InMemory::new()), 1);
        (KeyStore::new(environment), clock)
    }

    pub(in crate::auth) fn api_key() -> NewKey {
        NewKey {
            kind: KeyKind::Api,
            scopes: Vec::new(),
            organization_id: OrganizationId::new("acme"),
            project_id: Some(ProjectId::new("docs")),
            integration_id: Some(IntegrationId::new("bot")),
        }
    }

    #[tokio::test]
    async fn a_key_reaches_what_its_kind_says() {
        let (store, _) = store();
        let without_project = NewKey { project_id: None, ..api_key() };
        assert!(store.create(without_project.clone()).await.is_err());
        assert!(store.create(NewKey { kind: KeyKind::Org, ..api_key() }).await.is_err());
        assert!(store.create(NewKey { kind: KeyKind::Org, ..without_project }).await.is_ok());
    }
}
