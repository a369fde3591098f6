//! The keys that a server takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use object_store::ObjectMeta;
use tokio::time::Instant;

use super::key::{Key, id_in_text};
use super::key_store::{FETCHES_AT_ONCE, KeyError, KeyStore, id_of};

/// How often a server lists the prefix: a revocation acts within this and one LIST.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Look-ups of unknown ids per second, so that guessing keys does not become requests to the store.
const LOOKUPS_PER_SECOND: u32 = 20;

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

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;
    use crate::auth::key_store::path_of;
    use crate::auth::key_store::tests::{api_key, store};

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

    #[tokio::test(start_paused = true)]
    async fn look_ups_of_unknown_keys_are_limited() {
        let ring = ring(&store().0).await;
        let allowed = (0..100).filter(|_| ring.may_look_up()).count();
        assert_eq!(allowed, LOOKUPS_PER_SECOND as usize);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(ring.may_look_up());
    }
}
