//! API keys (contract A1): objects `keys/<id>.json` in the store, the secret only as a hash.
//!
//! The command line writes them through [`KeyStore`] without the write lock, while a server may hold the store; the
//! server reads them through a [`KeyRing`], which follows the prefix.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::environment::Environment;
use crate::model::ids::{EpochMillis, IntegrationId, OrganizationId, ProjectId};

const PREFIX: &str = "keys";
/// How often a server lists the prefix: a revocation acts within this and one LIST.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Look-ups of unknown ids per second, so that guessing keys does not become requests to the store.
const LOOKUPS_PER_SECOND: u32 = 20;
const FETCHES_AT_ONCE: usize = 16;
const MAX_NAME_BYTES: usize = 512;

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
}

impl Key {
    pub(crate) fn is_usable(&self, now: EpochMillis) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    pub(crate) fn has(&self, scope: KeyScope) -> bool {
        self.scopes.contains(&scope)
    }

    fn opens_with(&self, text: &str) -> bool {
        self.secret_sha256.as_bytes().ct_eq(hash(text).as_bytes()).into()
    }

    fn check(&self) -> Result<(), String> {
        for (name, text) in [
            ("organization", Some(self.organization_id.as_str())),
            ("project", self.project_id.as_ref().map(|id| id.as_str())),
            ("integration", self.integration_id.as_ref().map(|id| id.as_str())),
        ] {
            let Some(text) = text else { continue };
            if text.is_empty() || text.len() > MAX_NAME_BYTES || text.chars().any(char::is_control) {
                return Err(format!("{name}: 1 to {MAX_NAME_BYTES} bytes without control characters are allowed"));
            }
        }
        let name = self.kind.name();
        match self.kind {
            KeyKind::Api | KeyKind::Web if self.project_id.is_none() => {
                Err(format!("a key of kind {name} needs a project"))
            }
            KeyKind::Org if self.project_id.is_some() => {
                Err("a key of kind org reaches all projects, so it takes no project".to_owned())
            }
            _ => Ok(()),
        }
    }
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
    environment: Environment,
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

    async fn metas(&self) -> Result<Vec<ObjectMeta>, KeyError> {
        let metas = self.environment.objects.list(Some(&Path::from(PREFIX))).try_collect::<Vec<_>>().await?;
        Ok(metas.into_iter().filter(|meta| id_of(&meta.location).is_some()).collect())
    }

    async fn read(&self, path: &Path) -> Result<Option<Key>, KeyError> {
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

/// What tells one version of an object from another without fetching it.
type Version = (Option<String>, i64, u64);

fn version_of(meta: &ObjectMeta) -> Version {
    (meta.e_tag.clone(), meta.last_modified.timestamp_micros(), meta.size)
}

struct Ringed {
    key: Arc<Key>,
    /// Absent when the key came by a look-up: the next poll fetches it again.
    version: Option<Version>,
}

/// The keys of a store in memory. Follows changes within two seconds; a key that it does not know yet is looked up at
/// once, so that a fresh key works.
pub(crate) struct KeyRing {
    store: KeyStore,
    keys: ArcSwap<HashMap<String, Arc<Ringed>>>,
    lookups: Mutex<(Instant, u32)>,
}

impl KeyRing {
    /// Loads all keys and follows them until the ring is dropped.
    pub(crate) async fn open(store: KeyStore) -> Result<Arc<Self>, KeyError> {
        let ring = Arc::new(Self {
            store,
            keys: ArcSwap::from_pointee(HashMap::new()),
            lookups: Mutex::new((Instant::now(), 0)),
        });
        ring.refresh().await?;
        tokio::spawn(follow(Arc::downgrade(&ring)));
        Ok(ring)
    }

    /// The usable key with this text.
    pub(crate) async fn authenticate(&self, text: &str) -> Option<Arc<Key>> {
        let id = id_in_text(text)?;
        let known = self.keys.load().get(id).map(|ringed| Arc::clone(&ringed.key));
        let key = match known {
            Some(key) => key,
            None => self.look_up(id).await?,
        };
        (key.opens_with(text) && key.is_usable(self.store.environment.now())).then_some(key)
    }

    async fn look_up(&self, id: &str) -> Option<Arc<Key>> {
        if !self.may_look_up() {
            return None;
        }
        let key = match self.store.get(id).await {
            Ok(key) => Arc::new(key?),
            Err(error) => {
                tracing::warn!(%error, "key look-up failed");
                return None;
            }
        };
        self.keys.rcu(|keys| {
            let mut keys = HashMap::clone(keys);
            keys.entry(id.to_owned()).or_insert_with(|| Arc::new(Ringed { key: Arc::clone(&key), version: None }));
            keys
        });
        Some(key)
    }

    fn may_look_up(&self) -> bool {
        let mut lookups = self.lookups.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if lookups.0.elapsed() >= Duration::from_secs(1) {
            *lookups = (Instant::now(), 0);
        }
        lookups.1 += 1;
        lookups.1 <= LOOKUPS_PER_SECOND
    }

    /// Lists the prefix and fetches what changed. An object that cannot be fetched keeps its last known state; one that
    /// is no valid key opens nothing.
    async fn refresh(&self) -> Result<(), KeyError> {
        let metas = self.store.metas().await?;
        let old = self.keys.load_full();
        let entries: Vec<Option<(String, Arc<Ringed>)>> = futures::stream::iter(metas)
            .map(|meta| {
                let old = &old;
                async move {
                    let id = id_of(&meta.location)?.to_owned();
                    let version = Some(version_of(&meta));
                    let known = old.get(&id).cloned();
                    if let Some(known) = known.as_ref().filter(|known| known.version == version) {
                        return Some((id, Arc::clone(known)));
                    }
                    match self.store.read(&meta.location).await {
                        Ok(key) => Some((id, Arc::new(Ringed { key: Arc::new(key?), version }))),
                        Err(error @ KeyError::Store(_)) => {
                            tracing::warn!(%error, key = id, "key could not be fetched");
                            known.map(|known| (id, known))
                        }
                        Err(error) => {
                            tracing::warn!(%error, key = id, "key is not valid");
                            None
                        }
                    }
                }
            })
            .buffer_unordered(FETCHES_AT_ONCE)
            .collect()
            .await;
        self.keys.store(Arc::new(entries.into_iter().flatten().collect()));
        Ok(())
    }
}

async fn follow(ring: Weak<KeyRing>) {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(ring) = ring.upgrade() else { return };
        if let Err(error) = ring.refresh().await {
            tracing::warn!(%error, "keys could not be listed");
        }
    }
}

fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(text.as_bytes()))
}

/// `cl_<kind>_<id>_<secret>`; the secret may hold `_`.
fn id_in_text(text: &str) -> Option<&str> {
    let mut parts = text.strip_prefix("cl_")?.splitn(3, '_');
    let (_kind, id, _secret) = (parts.next()?, parts.next()?, parts.next()?);
    is_key_id(id).then_some(id)
}

/// Ids become object names, so nothing else gets through.
fn is_key_id(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn path_of(id: &str) -> Path {
    Path::from_iter([PREFIX, format!("{id}.json").as_str()])
}

fn id_of(path: &Path) -> Option<&str> {
    let id = path.filename()?.strip_suffix(".json")?;
    is_key_id(id).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::test::TestClock;
    use object_store::memory::InMemory;

    fn store() -> (KeyStore, Arc<TestClock>) {
        let (environment, clock) = Environment::seeded(Arc::new(InMemory::new()), 1);
        (KeyStore::new(environment), clock)
    }

    fn api_key() -> NewKey {
        NewKey {
            kind: KeyKind::Api,
            scopes: Vec::new(),
            organization_id: OrganizationId::new("acme"),
            project_id: Some(ProjectId::new("docs")),
            integration_id: Some(IntegrationId::new("bot")),
        }
    }

    async fn ring(store: &KeyStore) -> Arc<KeyRing> {
        KeyRing::open(store.clone()).await.unwrap()
    }

    #[tokio::test]
    async fn only_the_whole_text_opens_a_key_and_only_its_hash_is_stored() {
        let (store, _) = store();
        let created = store.create(api_key()).await.unwrap();
        let ring = ring(&store).await;
        assert!(created.text.starts_with(&format!("cl_api_{}_", created.key.id)));
        assert_eq!(ring.authenticate(&created.text).await.unwrap().id, created.key.id);
        let mut wrong = created.text.clone();
        wrong.push('x');
        let forged = created.text.replacen("cl_api", "cl_org", 1);
        for text in ["", "cl_api", &created.key.id, &wrong, &forged, "cl_api_../../x_y", "cl_api_0000000000000000_x"] {
            assert!(ring.authenticate(text).await.is_none(), "{text}");
        }
        let stored = store.environment.objects.get(&path_of(&created.key.id)).await.unwrap().bytes().await.unwrap();
        let secret = created.text.splitn(4, '_').nth(3).unwrap();
        assert!(!String::from_utf8_lossy(&stored).contains(secret));
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_key_works_at_once_and_a_revoked_one_stops() {
        let (store, _) = store();
        let ring = ring(&store).await;
        let created = store.create(api_key()).await.unwrap();
        assert!(ring.authenticate(&created.text).await.is_some());
        store.revoke(&created.key.id).await.unwrap();
        let revoked = Instant::now();
        while ring.authenticate(&created.text).await.is_some() {
            assert!(revoked.elapsed() < Duration::from_secs(2), "still open after two seconds");
            // The clock of a paused runtime goes on only here.
            tokio::time::advance(Duration::from_millis(50)).await;
        }
    }

    #[tokio::test]
    async fn a_rotated_key_expires_after_the_overlap() {
        let (store, clock) = store();
        let old = store.create(api_key()).await.unwrap();
        let new = store.rotate(&old.key.id, Duration::from_secs(60)).await.unwrap();
        let ring = ring(&store).await;
        for (text, later_ms, open) in
            [(&old.text, 0, true), (&old.text, 59_999, true), (&old.text, 1, false), (&new.text, 0, true)]
        {
            clock.advance(later_ms);
            assert_eq!(ring.authenticate(text).await.is_some(), open, "{later_ms}");
        }
        assert_eq!(new.key.project_id, old.key.project_id);
        let error = store.rotate(&old.key.id, Duration::ZERO).await.err();
        assert!(matches!(error, Some(KeyError::Invalid(_))));
        assert!(matches!(store.revoke("0000000000000000").await, Err(KeyError::Unknown(_))));
        assert_eq!(store.list().await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_key_reaches_what_its_kind_says() {
        let (store, _) = store();
        let without_project = NewKey { project_id: None, ..api_key() };
        assert!(store.create(without_project.clone()).await.is_err());
        assert!(store.create(NewKey { kind: KeyKind::Org, ..api_key() }).await.is_err());
        assert!(store.create(NewKey { kind: KeyKind::Org, ..without_project }).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn look_ups_of_unknown_keys_are_limited() {
        let ring = ring(&store().0).await;
        let allowed = (0..100).filter(|_| ring.may_look_up()).count();
        assert_eq!(allowed, LOOKUPS_PER_SECOND as usize);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(ring.may_look_up());
    }
}
