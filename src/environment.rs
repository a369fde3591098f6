//! What the server takes from outside: the time, ids, randomness, and the objects of its store. It is passed in, so that
//! a test can set the time, repeat a seed and break the store. Only waiting (timers, deadlines) is the runtime's own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use object_store::ObjectStore;
use rand::RngCore;
use uuid::{Builder, Uuid};

use crate::cache::{Cache, Held};
use crate::model::ids::EpochMillis;
use crate::model::time::LAST;
use crate::requests::Requests;

/// Shared by clones.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) randomness: Arc<dyn Randomness>,
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// What the objects have cost so far.
    pub(crate) requests: Arc<Requests>,
    /// The URL of a store that is not on this machine: each request to it takes its time and is billed.
    pub(crate) remote: Option<Arc<str>>,
    /// What of the objects stays in memory.
    pub(crate) cache: Arc<Cache>,
    /// What of them lies on the local disk.
    pub(crate) disk_cache: Option<Arc<dyn Held>>,
}

/// If nothing else is said.
pub(crate) const CACHE_BYTES: usize = 256 << 20;

/// The time of day; it may be set back.
pub(crate) trait Clock: Send + Sync {
    /// At most the last time that a document may name (contract A2).
    fn now(&self) -> EpochMillis;
}

/// Bytes that nobody can foresee: secrets are made of them.
pub(crate) trait Randomness: Send + Sync {
    fn fill(&self, bytes: &mut [u8]);
}

/// Makes UUIDs from the clock and from randomness.
pub(crate) struct Ids {
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    /// Milliseconds and a 12-bit count within them, of the last id in order.
    last: AtomicU64,
}

impl Environment {
    /// The system's clock and randomness.
    pub(crate) fn system(objects: Arc<dyn ObjectStore>) -> Environment {
        Environment::new(Arc::new(SystemClock), Arc::new(SystemRandomness), objects)
    }

    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        randomness: Arc<dyn Randomness>,
        objects: Arc<dyn ObjectStore>,
    ) -> Environment {
        let ids = Arc::new(Ids::new(Arc::clone(&clock), Arc::clone(&randomness)));
        let cache = Cache::new(CACHE_BYTES);
        Environment { clock, ids, randomness, objects, requests: Arc::default(), remote: None, cache, disk_cache: None }
    }

    /// As the objects have been opened.
    pub(crate) fn with_requests(self, requests: Arc<Requests>, remote: Option<Arc<str>>) -> Environment {
        Environment { requests, remote, ..self }
    }

    pub(crate) fn with_cache_bytes(self, bytes: usize) -> Environment {
        Environment { cache: Cache::new(bytes), ..self }
    }

    pub(crate) fn now(&self) -> EpochMillis {
        self.clock.now()
    }

    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.randomness.fill(&mut bytes);
        bytes
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

impl Ids {
    pub(crate) fn new(clock: Arc<dyn Clock>, randomness: Arc<dyn Randomness>) -> Ids {
        Ids { clock, randomness, last: AtomicU64::new(0) }
    }

    /// For what is made before an environment is.
    pub(crate) fn system() -> Ids {
        Ids::new(Arc::new(SystemClock), Arc::new(SystemRandomness))
    }

    /// Random (UUIDv4).
    pub(crate) fn random(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.randomness.fill(&mut bytes);
        Builder::from_random_bytes(bytes).into_uuid()
    }

    /// For a document that names none.
    pub(crate) fn of_document(&self) -> String {
        self.in_order().to_string()
    }

    /// After every one before it (UUIDv7), also among those of one millisecond and where the clock was set back.
    pub(crate) fn in_order(&self) -> Uuid {
        let now = u64::try_from(self.clock.now().0).unwrap_or(0) << 12;
        let next = |last: u64| now.max(last + 1);
        // Only its own value matters, so no order of other memory is needed.
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        let stamp = next(last.unwrap_or_else(|last| last));
        let mut rest = [0; 10];
        self.randomness.fill(&mut rest);
        // Version and variant take the upper bits of the first and of the third byte.
        let [count, low, ..] = &mut rest;
        [*count, *low] = (stamp as u16 & 0xfff).to_be_bytes();
        Builder::from_unix_timestamp_millis(stamp >> 12, &rest).into_uuid()
    }
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "here it comes from")]
    fn now(&self) -> EpochMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        EpochMillis(i64::try_from(since.as_millis()).unwrap_or(LAST).min(LAST))
    }
}

struct SystemRandomness;

impl Randomness for SystemRandomness {
    #[expect(clippy::disallowed_methods, reason = "here it comes from")]
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

/// A clock that stands until a test moves it, and randomness from a seed.
#[cfg(test)]
pub(crate) mod test {
    use std::sync::atomic::AtomicI64;
    use std::sync::{Mutex, PoisonError};

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    pub(crate) struct TestClock(AtomicI64);

    impl TestClock {
        pub(crate) fn at(now: EpochMillis) -> Arc<TestClock> {
            Arc::new(TestClock(AtomicI64::new(now.0)))
        }

        pub(crate) fn set(&self, now: EpochMillis) {
            self.0.store(now.0, Ordering::SeqCst);
        }

        pub(crate) fn advance(&self, millis: i64) {
            self.0.fetch_add(millis, Ordering::SeqCst);
        }
    }

    impl Clock for TestClock {
        fn now(&self) -> EpochMillis {
            EpochMillis(self.0.load(Ordering::SeqCst))
        }
    }

    pub(crate) struct Seeded(Mutex<StdRng>);

    impl Seeded {
        pub(crate) fn new(seed: u64) -> Arc<Seeded> {
            Arc::new(Seeded(Mutex::new(StdRng::seed_from_u64(seed))))
        }
    }

    impl Randomness for Seeded {
        fn fill(&self, bytes: &mut [u8]) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
        }
    }

    /// 2026-01-01T00:00:00Z, from when every test goes on by itself.
    pub(crate) const START: EpochMillis = EpochMillis(1_767_225_600_000);

    static OTHERS: AtomicU64 = AtomicU64::new(1 << 32);

    impl Environment {
        /// Of a seed that no other has, so that two writers of one store differ.
        pub(crate) fn of_test(objects: Arc<dyn ObjectStore>) -> Environment {
            Environment::seeded(objects, OTHERS.fetch_add(1, Ordering::Relaxed)).0
        }

        /// Of one seed, with the clock that the test moves.
        pub(crate) fn seeded(objects: Arc<dyn ObjectStore>, seed: u64) -> (Environment, Arc<TestClock>) {
            let clock = TestClock::at(START);
            (Environment::new(Arc::clone(&clock) as Arc<dyn Clock>, Seeded::new(seed), objects), clock)
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::test::START;
    use super::*;

    #[test]
    fn a_seed_gives_the_same_twice() {
        let made = |seed| {
            let (environment, clock) = Environment::seeded(Arc::new(InMemory::new()), seed);
            clock.advance(5);
            let ids = [environment.ids.random(), environment.ids.in_order(), environment.ids.in_order()];
            (environment.now(), ids, environment.random::<8>())
        };
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
        assert_eq!(made(1).0, EpochMillis(START.0 + 5));
    }

    #[test]
    fn ids_stay_in_order() {
        let (environment, clock) = Environment::seeded(Arc::new(InMemory::new()), 7);
        let mut ids = Vec::new();
        for now in [START.0, START.0, START.0 + 1, START.0 - 1_000, START.0 + 5_000, -1] {
            clock.set(EpochMillis(now));
            // More than the count has room for within a millisecond.
            ids.extend((0..5_000).map(|_| environment.ids.in_order()));
        }
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert!(ids.iter().all(|id| id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122));
        let (seconds, nanos) = ids[0].get_timestamp().unwrap().to_unix();
        assert_eq!(seconds as i64 * 1_000 + i64::from(nanos) / 1_000_000, START.0);
        assert_eq!(environment.ids.random().get_version_num(), 4);
    }

    #[test]
    fn the_system_has_a_time_and_randomness() {
        let environment = Environment::system(Arc::new(InMemory::new()));
        assert!(environment.now() > EpochMillis(1_700_000_000_000));
        assert_ne!(environment.random::<16>(), environment.random::<16>());
        assert_ne!(environment.ids.in_order(), environment.ids.in_order());
    }
}
