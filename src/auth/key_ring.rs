//! The keys that a server takes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use object_store::ObjectMeta;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::key::{Key, id_in_text};
use super::key_store::{FETCHES_AT_ONCE, KeyError, KeyStore, id_of};
use super::last_used::{LastUsed, Uses};
use crate::storage::error::StoreError;
use crate::storage::objects::frame::Unsound;

/// How often a server lists the prefix: a revocation acts within this and one LIST. Of a remote store, how often it looks
/// whether there was a change.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// And how often it lists the prefix of a remote store whatever it was told.
const LIST_INTERVAL: Duration = Duration::from_secs(60);
/// How often it is written when keys were used.
const WRITE_INTERVAL: Duration = Duration::from_secs(3_600);
/// Look-ups of unknown ids per second, so that guessing keys does not become requests to the store. Above it an id waits
/// for the next poll to tell.
const LOOKUPS_PER_SECOND: u32 = 20;
/// How long it waits: two polls, and what they take.
const POLL_WAIT: Duration = Duration::from_secs(5);
/// One id is looked up once, however many requests bring it at a time; few ids share a turn.
const LOOKUP_TURNS: usize = 64;

/// What tells one version of an object from another without fetching it.
type Version = (Option<String>, i64, u64);

fn version_of(meta: &ObjectMeta) -> Version {
    (meta.e_tag.clone(), meta.last_modified.timestamp_micros(), meta.size)
}

/// A key, or what is wrong with its object: it opens nothing, whatever it was known to be before.
type Found = Result<Arc<Key>, Unsound>;

struct Ringed {
    found: Found,
    /// Absent when the key came by a look-up: the next poll fetches it again.
    version: Option<Version>,
}

/// The keys of a store in memory. Follows changes within two seconds; a key that it does not know yet is looked up at
/// once, so that a fresh key works.
pub(crate) struct KeyRing {
    store: KeyStore,
    keys: ArcSwap<HashMap<String, Arc<Ringed>>>,
    lookups: Mutex<(Instant, u32)>,
    turns: [tokio::sync::Mutex<()>; LOOKUP_TURNS],
    hasher: RandomState,
    /// Polls that began, and the last one that found out all there is.
    polls: AtomicU64,
    polled: watch::Sender<u64>,
    uses: Uses,
}

impl KeyRing {
    /// Loads all keys and follows them until the ring is dropped.
    pub(crate) async fn open(store: KeyStore) -> Result<Arc<Self>, KeyError> {
        let ring = Arc::new(Self {
            store,
            keys: ArcSwap::from_pointee(HashMap::new()),
            lookups: Mutex::new((Instant::now(), 0)),
            turns: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            hasher: RandomState::new(),
            polls: AtomicU64::new(0),
            polled: watch::Sender::new(0),
            uses: Uses::default(),
        });
        ring.refresh().await?;
        tokio::spawn(follow(Arc::downgrade(&ring)));
        Ok(ring)
    }

    /// The usable key with this text. An error: whether there is one can't be told, for its object is damaged or cannot be
    /// read now.
    pub(crate) async fn authenticate(&self, text: &str) -> Result<Option<Arc<Key>>, StoreError> {
        let Some(id) = id_in_text(text) else { return Ok(None) };
        let found = match self.known(id) {
            Some(found) => found,
            None => match self.look_up(id).await? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        let key = found.map_err(|unsound| StoreError::caused("a key is refused", unsound))?;
        let now = self.store.environment.now();
        if !key.opens_with(text) || !key.is_usable(now) {
            return Ok(None);
        }
        self.uses.used(&key.id, now);
        Ok(Some(key))
    }

    /// Writes when keys were used since the last time. What cannot be written is written the next time.
    pub(crate) async fn write_uses(&self) {
        let uses = self.uses.take();
        if uses == LastUsed::default() {
            return;
        }
        let keys = self.keys.load_full();
        if let Err(error) = self.store.add_uses(uses.clone(), |key| keys.contains_key(key)).await {
            tracing::warn!(%error, "when keys were last used could not be written");
            self.uses.give_back(uses);
        }
    }

    fn known(&self, id: &str) -> Option<Found> {
        self.keys.load().get(id).map(|ringed| ringed.found.clone())
    }

    async fn look_up(&self, id: &str) -> Result<Option<Found>, StoreError> {
        let turn = usize::try_from(self.hasher.hash_one(id) % LOOKUP_TURNS as u64).unwrap_or_default();
        let Some(turn) = self.turns.get(turn) else { return Ok(None) };
        let turn = turn.lock().await;
        if let Some(found) = self.known(id) {
            return Ok(Some(found));
        }
        if !self.may_look_up() {
            drop(turn);
            return self.next_poll(id).await;
        }
        let found = match self.store.get(id).await {
            Ok(None) => return Ok(None),
            Ok(Some(key)) => Ok(Arc::new(key)),
            Err(KeyError::Unsound(unsound)) => Err(unsound),
            Err(error) => return Err(StoreError::caused(format!("the key {id} could not be read"), error)),
        };
        self.keys.rcu(|keys| {
            let mut keys = HashMap::clone(keys);
            let ringed = || Arc::new(Ringed { found: found.clone(), version: None });
            keys.entry(id.to_owned()).or_insert_with(ringed);
            keys
        });
        Ok(Some(found))
    }

    /// What the next poll says of an id.
    async fn next_poll(&self, id: &str) -> Result<Option<Found>, StoreError> {
        // The one that runs now may have listed already.
        let next = self.polls.load(Ordering::Acquire) + 1;
        let mut polled = self.polled.subscribe();
        match timeout(POLL_WAIT, polled.wait_for(|poll| *poll >= next)).await {
            Ok(Ok(_)) => Ok(self.known(id)),
            _ => Err(StoreError::Unavailable("whether the key is known cannot be told now; try again".into())),
        }
    }

    fn may_look_up(&self) -> bool {
        let mut lookups = self.lookups.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if lookups.0.elapsed() >= Duration::from_secs(1) {
            *lookups = (Instant::now(), 0);
        }
        lookups.1 += 1;
        lookups.1 <= LOOKUPS_PER_SECOND
    }

    /// Lists the prefix and fetches what changed; says whether that was all. An object that cannot be fetched keeps its
    /// last known state; one that is no sound key opens nothing, and stops no other.
    async fn refresh(&self) -> Result<bool, KeyError> {
        let metas = self.store.metas().await?;
        let old = self.keys.load_full();
        let complete = AtomicBool::new(true);
        let entries: Vec<Option<(String, Arc<Ringed>)>> = futures::stream::iter(metas)
            .map(|meta| {
                let (old, complete) = (&old, &complete);
                async move {
                    let id = id_of(&meta.location)?.to_owned();
                    let version = Some(version_of(&meta));
                    let known = old.get(&id).cloned();
                    if let Some(known) = known.as_ref().filter(|known| known.version == version) {
                        return Some((id, Arc::clone(known)));
                    }
                    match self.store.read(&meta.location).await {
                        Ok(key) => Some((id, Arc::new(Ringed { found: Ok(Arc::new(key?)), version }))),
                        Err(KeyError::Unsound(unsound)) => {
                            tracing::error!(
                                error = %unsound,
                                "a key is refused; put a sound copy of its object back, or end it with `keys revoke` and \
                                 make another"
                            );
                            Some((id, Arc::new(Ringed { found: Err(unsound), version })))
                        }
                        Err(error) => {
                            tracing::warn!(%error, key = id, "key could not be fetched");
                            complete.store(false, Ordering::Relaxed);
                            known.map(|known| (id, known))
                        }
                    }
                }
            })
            .buffer_unordered(FETCHES_AT_ONCE)
            .collect()
            .await;
        let new: HashMap<String, Arc<Ringed>> = entries.into_iter().flatten().collect();
        if !old.is_empty() {
            tell_changes(&old, &new);
        }
        self.keys.store(Arc::new(new));
        Ok(complete.into_inner())
    }
}

/// Lines for who audits: the command line writes keys, and only a server has a log.
fn tell_changes(old: &HashMap<String, Arc<Ringed>>, new: &HashMap<String, Arc<Ringed>>) {
    for (id, ringed) in new {
        let Ok(key) = &ringed.found else { continue };
        let before = old.get(id).and_then(|ringed| ringed.found.as_ref().ok());
        let (kind, organization) = (key.kind.name(), key.organization_id.as_str());
        let name = key.name.as_deref().unwrap_or("-");
        match before {
            None => tracing::info!(target: "audit", key = id, kind, organization, name, "key created"),
            Some(before) if before.revoked_at.is_none() && key.revoked_at.is_some() => {
                tracing::info!(target: "audit", key = id, kind, organization, name, "key revoked");
            }
            Some(before) if before.expires_at != key.expires_at => {
                tracing::info!(target: "audit", key = id, kind, organization, name, "key expires");
            }
            Some(_) => {}
        }
    }
}

async fn follow(ring: Weak<KeyRing>) {
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut listed = Instant::now();
    let mut written = Instant::now();
    let mut known = None;
    loop {
        ticks.tick().await;
        let Some(ring) = ring.upgrade() else { return };
        let poll = ring.polls.fetch_add(1, Ordering::AcqRel) + 1;
        if written.elapsed() >= WRITE_INTERVAL {
            ring.write_uses().await;
            written = Instant::now();
        }
        if ring.store.environment.remote.is_some() {
            // Before the LIST, which then has it.
            let last = match ring.store.last_change().await {
                Ok(last) => Some(last.as_ref().map(version_of)),
                Err(error) => {
                    tracing::warn!(%error, "whether keys have changed could not be seen");
                    None
                }
            };
            if listed.elapsed() < LIST_INTERVAL && (last.is_none() || last == known) {
                if last.is_some() {
                    ring.polled.send_replace(poll);
                }
                continue;
            }
            known = last;
        }
        match ring.refresh().await {
            Ok(true) => {
                listed = Instant::now();
                ring.polled.send_replace(poll);
            }
            // What could not be fetched is tried again at once.
            Ok(false) => known = None,
            Err(error) => {
                tracing::warn!(%error, "keys could not be listed");
                known = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;
    use crate::auth::key_store::tests::{api_key, store};
    use crate::auth::key_store::{Revoked, path_of};
    use crate::environment::Environment;
    use crate::requests::Request;
    use crate::storage::error::ErrorKind;
    use crate::storage::objects::counted::CountedStore;
    use crate::storage::objects::faulty::FlakyStore;

    async fn ring(store: &KeyStore) -> Arc<KeyRing> {
        KeyRing::open(store.clone()).await.unwrap()
    }

    async fn opened(ring: &KeyRing, text: &str) -> Option<Arc<Key>> {
        ring.authenticate(text).await.unwrap()
    }

    #[tokio::test]
    async fn only_the_whole_text_opens_a_key_and_only_its_hash_is_stored() {
        let (store, _) = store();
        let created = store.create(api_key()).await.unwrap();
        let ring = ring(&store).await;
        assert!(created.text.starts_with(&format!("cl_api_{}_", created.key.id)));
        assert_eq!(opened(&ring, &created.text).await.unwrap().id, created.key.id);
        let mut wrong = created.text.clone();
        wrong.push('x');
        let forged = created.text.replacen("cl_api", "cl_org", 1);
        for text in ["", "cl_api", &created.key.id, &wrong, &forged, "cl_api_../../x_y", "cl_api_0000000000000000_x"] {
            assert!(opened(&ring, text).await.is_none(), "{text}");
        }
        let stored = store.environment.objects.get(&path_of(&created.key.id)).await.unwrap().bytes().await.unwrap();
        let secret = created.text.splitn(4, '_').nth(3).unwrap();
        assert!(!String::from_utf8_lossy(&stored).contains(secret));
    }

    #[tokio::test(start_paused = true)]
    async fn a_remote_store_is_listed_only_when_keys_change() {
        let counted = CountedStore::new(Arc::new(InMemory::new()));
        let requests = counted.requests();
        let environment = Environment::of_test(Arc::new(counted));
        let store = KeyStore::new(environment.with_requests(Arc::clone(&requests), Some("s3://bucket".into())));
        let created = store.create(api_key()).await.unwrap();
        let ring = ring(&store).await;
        let wait = async |seconds: u64| {
            for _ in 0..seconds * 10 {
                tokio::time::advance(Duration::from_millis(100)).await;
            }
        };
        wait(5).await;
        let (lists, heads) = (requests.of(Request::List), requests.of(Request::Head));
        wait(40).await;
        assert_eq!(requests.of(Request::List), lists);
        let looks = requests.of(Request::Head) - heads;
        assert!((30..=41).contains(&looks), "{looks} looks");
        assert!(opened(&ring, &created.text).await.is_some());
        store.revoke(&created.key.id).await.unwrap();
        wait(2).await;
        assert!(opened(&ring, &created.text).await.is_none());
        assert_eq!(requests.of(Request::List), lists + 1);
        // By a version that tells nobody of its changes.
        wait(61).await;
        assert_eq!(requests.of(Request::List), lists + 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_key_works_at_once_and_a_revoked_one_stops() {
        let (store, _) = store();
        let ring = ring(&store).await;
        let created = store.create(api_key()).await.unwrap();
        assert!(opened(&ring, &created.text).await.is_some());
        store.revoke(&created.key.id).await.unwrap();
        let revoked = Instant::now();
        while opened(&ring, &created.text).await.is_some() {
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
            assert_eq!(opened(&ring, text).await.is_some(), open, "{later_ms}");
        }
        assert_eq!(new.key.project_id, old.key.project_id);
        let error = store.rotate(&old.key.id, Duration::ZERO).await.err();
        assert!(matches!(error, Some(KeyError::Invalid(_))));
        assert!(matches!(store.revoke("0000000000000000").await, Err(KeyError::Unknown(_))));
        assert_eq!(store.list().await.unwrap().keys.len(), 2);
    }

    /// Each bit flipped, and each cut: refused by name, and of no other right. The other key of the store works on.
    #[tokio::test]
    async fn a_damaged_key_is_refused_by_name_and_stops_no_other() {
        let (store, _) = store();
        let (one, other) = (store.create(api_key()).await.unwrap(), store.create(api_key()).await.unwrap());
        let (path, objects) = (path_of(&one.key.id), &store.environment.objects);
        let sound = objects.get(&path).await.unwrap().bytes().await.unwrap();
        let flips = (0..sound.len() * 8).map(|bit| {
            let mut flipped = sound.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        });
        let cuts = (0..sound.len()).map(|length| sound[..length].to_vec());
        for (number, damaged) in flips.chain(cuts).enumerate() {
            objects.put(&path, damaged.into()).await.unwrap();
            let error = store.get(&one.key.id).await.unwrap_err();
            assert!(matches!(&error, KeyError::Unsound(unsound) if unsound.is_damaged()), "{number}: {error}");
        }
        let ring = ring(&store).await;
        let error = ring.authenticate(&one.text).await.unwrap_err();
        assert_eq!((error.kind(), error.object()), (ErrorKind::Damaged, Some(&path)), "{error}");
        assert!(opened(&ring, &other.text).await.is_some());
        let listed = store.list().await.unwrap();
        assert_eq!((listed.keys.len(), listed.unsound.len()), (1, 1));
        assert!(listed.unsound.iter().all(|(id, unsound)| *id == one.key.id && unsound.object == path));
        assert!(matches!(store.rotate(&one.key.id, Duration::ZERO).await, Err(KeyError::Unsound(_))));

        assert_eq!(store.revoke(&one.key.id).await.unwrap(), Revoked::DamagedObject);
        ring.refresh().await.unwrap();
        assert!(opened(&ring, &one.text).await.is_none());
        assert!(store.list().await.unwrap().unsound.is_empty());
        // The object of another key is none of this one's.
        let other = objects.get(&path_of(&other.key.id)).await.unwrap().bytes().await.unwrap();
        objects.put(&path, other.into()).await.unwrap();
        ring.refresh().await.unwrap();
        assert_eq!(ring.authenticate(&one.text).await.unwrap_err().object(), Some(&path));
        objects.put(&path, sound.into()).await.unwrap();
        ring.refresh().await.unwrap();
        assert!(opened(&ring, &one.text).await.is_some());
    }

    /// What could only not be read is no unknown key: the caller is to try again.
    #[tokio::test]
    async fn a_key_that_cannot_be_read_now_is_not_unknown() {
        let objects = Arc::new(FlakyStore::new(Arc::new(InMemory::new()), &[]));
        let store = KeyStore::new(Environment::of_test(objects.clone()));
        let ring = ring(&store).await;
        let created = store.create(api_key()).await.unwrap();
        objects.fail_reads(Some("keys"));
        assert_eq!(ring.authenticate(&created.text).await.unwrap_err().kind(), ErrorKind::Retry);
    }

    /// A good key is never taken for an unknown one, however many ids are looked up meanwhile: one look-up serves all who
    /// bring it, and above the limit the next poll tells.
    #[tokio::test(start_paused = true)]
    async fn above_the_limit_of_look_ups_a_fresh_key_waits_and_works() {
        let objects = CountedStore::new(Arc::new(InMemory::new()));
        let requests = objects.requests();
        let store = KeyStore::new(Environment::of_test(Arc::new(objects)));
        let ring = ring(&store).await;
        let (one, other) = (store.create(api_key()).await.unwrap(), store.create(api_key()).await.unwrap());
        let gets = requests.of(Request::Get);
        let together = futures::future::join_all((0..100).map(|_| opened(&ring, &one.text))).await;
        assert!(together.iter().all(Option::is_some));
        assert_eq!(requests.of(Request::Get) - gets, 1);
        while ring.may_look_up() {}
        assert!(opened(&ring, &other.text).await.is_some());
        while ring.may_look_up() {}
        assert!(opened(&ring, "cl_api_0000000000000000_x").await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_tells_of_a_key_above_the_limit_the_caller_is_to_try_again() {
        let objects = Arc::new(FlakyStore::new(Arc::new(InMemory::new()), &[]));
        let store = KeyStore::new(Environment::of_test(objects.clone()));
        let ring = ring(&store).await;
        let created = store.create(api_key()).await.unwrap();
        objects.fail_reads(Some("keys"));
        while ring.may_look_up() {}
        assert_eq!(ring.authenticate(&created.text).await.unwrap_err().kind(), ErrorKind::Retry);
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
