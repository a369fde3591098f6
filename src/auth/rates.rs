//! How many requests a second each key may send (contract A1, `--rate`).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::key::Key;

/// How often keys that send nothing are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// Requests that a key may still send at once; they grow again by its rate, up to two seconds' worth.
struct Bucket {
    left: f64,
    at: Instant,
}

pub(crate) struct Rates {
    state: Mutex<(HashMap<String, Bucket>, Instant)>,
}

impl Rates {
    pub(crate) fn new() -> Rates {
        Rates { state: Mutex::new((HashMap::new(), Instant::now())) }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// How long until the next one is taken.
    pub(crate) fn take(&self, key: &Key) -> Result<(), Duration> {
        let Some(rate) = key.requests_per_second().map(f64::from) else { return Ok(()) };
        let (now, burst) = (Instant::now(), 2.0 * rate);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (buckets, forgotten) = &mut *state;
        if now - *forgotten >= FORGET_EVERY {
            // After two seconds a bucket is full, as a new one is.
            buckets.retain(|_, bucket| now - bucket.at < FORGET_EVERY);
            *forgotten = now;
        }
        let bucket = match buckets.get_mut(&key.id) {
            Some(bucket) => bucket,
            None => buckets.entry(key.id.clone()).or_insert(Bucket { left: burst, at: now }),
        };
        bucket.left = (bucket.left + (now - bucket.at).as_secs_f64() * rate).min(burst);
        bucket.at = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / rate));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::key::KeyKind;
    use crate::model::ids::{EpochMillis, OrganizationId};

    fn key(id: &str, kind: KeyKind, rate: Option<u32>) -> Key {
        Key {
            id: id.to_owned(),
            kind,
            scopes: Vec::new(),
            organization_id: OrganizationId::new("acme"),
            project_id: None,
            integration_id: None,
            secret_sha256: String::new(),
            created_at: EpochMillis(0),
            expires_at: None,
            revoked_at: None,
            name: None,
            rate,
            external_ids: false,
            predecessors: Vec::new(),
        }
    }

    fn taken(rates: &Rates, key: &Key, tries: usize) -> usize {
        (0..tries).filter(|_| rates.take(key).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_has_its_rate_and_twice_as_many_at_once() {
        let rates = Rates::new();
        let (slow, web, api) =
            (key("slow", KeyKind::Api, Some(5)), key("web", KeyKind::Web, None), key("api", KeyKind::Api, None));
        assert_eq!(
            (taken(&rates, &slow, 100), taken(&rates, &web, 1_000), taken(&rates, &api, 1_000)),
            (10, 200, 1_000)
        );
        assert_eq!(rates.take(&slow), Err(Duration::from_millis(200)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((taken(&rates, &slow, 100), taken(&rates, &web, 1_000)), (5, 100));
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(taken(&rates, &slow, 100), 10);
        assert_eq!(rates.state.lock().unwrap().0.len(), 1);
    }
}
