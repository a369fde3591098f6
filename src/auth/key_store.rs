//! Keys as objects `keys/<id>` of the store, each with its checksum: a flipped bit makes no other right of a key. The command line writes them without the write lock, while a server
//! may hold the store.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode, PutPayload};

use super::key::{Key, KeyKind, KeyScope, hash, is_key_id};
use super::last_used::{self, LastUsed};
use crate::environment::Environment;
use crate::model::ids::{EpochMillis, IntegrationId, OrganizationId, ProjectId};
use crate::storage::error::{Cause, ErrorKind};
use crate::storage::objects::frame::{self, Kind, Unsound};

const PREFIX: &str = "keys";
const KIND: Kind = Kind { name: "key", format: 1, reads: 1..=1 };
pub(super) const FETCHES_AT_ONCE: usize = 16;
const MOST_PREDECESSORS: usize = 100;

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("no key `{0}`")]
    Unknown(String),
    #[error("{0}")]
    Invalid(String),
    /// The key opens nothing until a sound copy of its object is put back.
    #[error("the key object {0}")]
    Unsound(#[from] Unsound),
    #[error("a key could not be put into an object: {0}")]
    Bug(String),
    #[error(transparent)]
    Store(#[from] object_store::Error),
}

impl Cause for KeyError {
    fn kind(&self) -> ErrorKind {
        match self {
            KeyError::Unknown(_) | KeyError::Invalid(_) => ErrorKind::Request,
            KeyError::Unsound(unsound) => unsound.kind(),
            KeyError::Bug(_) => ErrorKind::Bug,
            KeyError::Store(error) => error.kind(),
        }
    }

    fn object(&self) -> Option<&Path> {
        match self {
            KeyError::Unsound(unsound) => unsound.object(),
            _ => None,
        }
    }
}

/// All keys of a store.
pub(crate) struct Listed {
    /// Oldest first.
    pub(crate) keys: Vec<Key>,
    /// Objects that are no sound keys, by their ids.
    pub(crate) unsound: Vec<(String, Unsound)>,
}

/// What a revocation found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Revoked {
    Key,
    /// Nothing in it says whose key it was: it is deleted, and the key is unknown from then on.
    DamagedObject,
}

/// What a new key is for.
#[derive(Clone, Debug)]
pub(crate) struct NewKey {
    pub(crate) kind: KeyKind,
    pub(crate) scopes: Vec<KeyScope>,
    pub(crate) organization_id: OrganizationId,
    pub(crate) project_id: Option<ProjectId>,
    pub(crate) integration_id: Option<IntegrationId>,
    pub(crate) name: Option<String>,
    pub(crate) expires_at: Option<EpochMillis>,
    /// See [`Key::rate`].
    pub(crate) rate: Option<u32>,
    /// See [`Key::external_ids`].
    pub(crate) external_ids: bool,
    /// See [`Key::predecessors`].
    pub(crate) predecessors: Vec<String>,
}

impl NewKey {
    /// Of a kind and its reach, and nothing more.
    pub(crate) fn new(
        kind: KeyKind,
        organization_id: OrganizationId,
        project_id: Option<ProjectId>,
        integration_id: Option<IntegrationId>,
    ) -> NewKey {
        NewKey {
            kind,
            scopes: Vec::new(),
            organization_id,
            project_id,
            integration_id,
            name: None,
            expires_at: None,
            rate: None,
            external_ids: false,
            predecessors: Vec::new(),
        }
    }
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
            expires_at: new.expires_at,
            revoked_at: None,
            name: new.name,
            rate: new.rate,
            external_ids: new.external_ids,
            predecessors: new.predecessors,
        };
        key.check().map_err(KeyError::Invalid)?;
        self.put(&key, PutMode::Create).await?;
        Ok(CreatedKey { key, text })
    }

    pub(crate) async fn list(&self) -> Result<Listed, KeyError> {
        let metas = self.metas().await?;
        let read = |meta: ObjectMeta| async move { (self.read(&meta.location).await, meta.location) };
        let read: Vec<_> = futures::stream::iter(metas).map(read).buffer_unordered(FETCHES_AT_ONCE).collect().await;
        let mut listed = Listed { keys: Vec::new(), unsound: Vec::new() };
        for (key, path) in read {
            match key {
                Ok(key) => listed.keys.extend(key),
                Err(KeyError::Unsound(unsound)) => {
                    listed.unsound.extend(id_of(&path).map(|id| (id.to_owned(), unsound)));
                }
                Err(error) => return Err(error),
            }
        }
        listed.keys.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        listed.unsound.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(listed)
    }

    pub(crate) async fn get(&self, id: &str) -> Result<Option<Key>, KeyError> {
        if !is_key_id(id) {
            return Ok(None);
        }
        self.read(&path_of(id)).await
    }

    /// Revoking twice keeps the first time.
    pub(crate) async fn revoke(&self, id: &str) -> Result<Revoked, KeyError> {
        let mut key = match self.get(id).await {
            Err(KeyError::Unsound(unsound)) if unsound.is_damaged() => {
                self.environment.objects.delete(&unsound.object).await?;
                self.tell_of_change().await;
                return Ok(Revoked::DamagedObject);
            }
            found => found?.ok_or_else(|| KeyError::Unknown(id.to_owned()))?,
        };
        if key.revoked_at.is_none() {
            key.revoked_at = Some(self.environment.now());
            self.put(&key, PutMode::Overwrite).await?;
        }
        Ok(Revoked::Key)
    }

    /// A new key of the same reach; the old one expires after `overlap`, or earlier if it was to.
    pub(crate) async fn rotate(&self, id: &str, overlap: Duration) -> Result<CreatedKey, KeyError> {
        let now = self.environment.now();
        let old = self.get(id).await?.ok_or_else(|| KeyError::Unknown(id.to_owned()))?;
        if !old.is_usable(now) {
            return Err(KeyError::Invalid(format!("key `{id}` is expired or revoked; create a new one")));
        }
        let mut predecessors = old.predecessors.clone();
        predecessors.push(old.id.clone());
        // The oldest go: widgets have long logged again with a later one.
        predecessors.drain(..predecessors.len().saturating_sub(MOST_PREDECESSORS));
        let created = self
            .create(NewKey {
                kind: old.kind,
                scopes: old.scopes.clone(),
                organization_id: old.organization_id.clone(),
                project_id: old.project_id.clone(),
                integration_id: old.integration_id.clone(),
                name: old.name.clone(),
                // An end that it was to have is not its successor's: it is rotated to go on.
                expires_at: None,
                rate: old.rate,
                external_ids: old.external_ids,
                predecessors,
            })
            .await?;
        // Read again: a revocation since then must not be undone.
        let mut old = self.get(id).await?.ok_or_else(|| KeyError::Unknown(id.to_owned()))?;
        let end = now.0.saturating_add(i64::try_from(overlap.as_millis()).unwrap_or(i64::MAX));
        old.expires_at = Some(EpochMillis(old.expires_at.map_or(end, |earlier| earlier.0.min(end))));
        self.put(&old, PutMode::Overwrite).await?;
        Ok(created)
    }

    /// As servers have written it. What cannot be read is only not known.
    pub(crate) async fn last_used(&self) -> Result<LastUsed, KeyError> {
        match self.environment.objects.get(&last_used::path()).await {
            Ok(found) => {
                let decoded = frame::decode::<LastUsed>(&last_used::KIND, &found.bytes().await?);
                Ok(decoded.map(|(used, _)| used).unwrap_or_default())
            }
            Err(object_store::Error::NotFound { .. }) => Ok(LastUsed::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds to it; of two servers that do so at once one may be late by an hour.
    pub(super) async fn add_uses(&self, uses: LastUsed, is_known: impl Fn(&str) -> bool) -> Result<(), KeyError> {
        let mut used = self.last_used().await?;
        used.merge(uses);
        used.keep(is_known);
        let (body, _) = frame::encode(&last_used::KIND, &used).map_err(KeyError::Bug)?;
        self.environment.objects.put(&last_used::path(), Bytes::from(body).into()).await?;
        Ok(())
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
        let decoded = frame::decode::<Key>(&KIND, &bytes);
        let (key, _) = decoded.map_err(|error| Unsound { object: path.clone(), error })?;
        key.check().map_err(|reason| Unsound::damaged(path, reason))?;
        if id_of(path) != Some(key.id.as_str()) {
            return Err(Unsound::damaged(path, format!("it is the key {} under another name", key.id)).into());
        }
        Ok(Some(key))
    }

    async fn put(&self, key: &Key, mode: PutMode) -> Result<(), KeyError> {
        let (path, objects) = (path_of(&key.id), &self.environment.objects);
        let (body, _) = frame::encode(&KIND, key).map_err(KeyError::Bug)?;
        let body = Bytes::from(body);
        match objects.put_opts(&path, PutPayload::from(body.clone()), mode.into()).await {
            Ok(_) => {}
            // A lost answer: the client of the store has tried again, and has met its own object.
            Err(error @ object_store::Error::AlreadyExists { .. }) => {
                if objects.get(&path).await?.bytes().await? != body {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.tell_of_change().await;
        Ok(())
    }

    /// Servers of a remote store look at one object, not at all keys: what is in it differs each time.
    async fn tell_of_change(&self) {
        if self.environment.remote.is_none() {
            return;
        }
        let body = const_hex::encode(self.environment.random::<16>());
        if let Err(error) = self.environment.objects.put(&changes(), body.into()).await {
            tracing::warn!(%error, "servers learn of this change of keys within a minute only");
        }
    }

    /// Which change was the last one; None before the first.
    pub(super) async fn last_change(&self) -> Result<Option<ObjectMeta>, KeyError> {
        match self.environment.objects.head(&changes()).await {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// No key's id.
fn changes() -> Path {
    Path::from_iter([PREFIX, "changes"])
}

pub(super) fn path_of(id: &str) -> Path {
    Path::from_iter([PREFIX, id])
}

pub(super) fn id_of(path: &Path) -> Option<&str> {
    path.filename().filter(|id| is_key_id(id))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::environment::test::TestClock;
    use crate::storage::objects::faulty::{Fault, FlakyStore};

    pub(in crate::auth) fn store() -> (KeyStore, Arc<TestClock>) {
        let (environment, clock) = Environment::seeded(Arc::new(InMemory::new()), 1);
        (KeyStore::new(environment), clock)
    }

    pub(in crate::auth) fn api_key() -> NewKey {
        let (project, integration) = (ProjectId::new("docs"), IntegrationId::new("bot"));
        NewKey::new(KeyKind::Api, OrganizationId::new("acme"), Some(project), Some(integration))
    }

    #[tokio::test]
    async fn a_key_whose_answer_was_lost_is_made() {
        let memory = Arc::new(InMemory::new());
        let flaky = Arc::new(FlakyStore::new(memory, &[Fault::MetAgain]));
        let store = KeyStore::new(Environment::of_test(flaky));
        let created = store.create(api_key()).await.unwrap();
        assert_eq!(store.get(&created.key.id).await.unwrap().unwrap().id, created.key.id);
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
