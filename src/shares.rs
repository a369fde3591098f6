//! Shares of what is bounded (bytes of requests, connections, query slots), so that no organization, key or address can
//! stop another (contract A1).
//!
//! A share is measured by what is left over: an organization may hold as much as would still be free; a key a part of what
//! its organization has left, so that no key takes it all; and of a web key, an address as much as the key has left. So an
//! organization that is alone gets at most half, two get a third each, and however many want too much, something is left
//! for one that comes new: another organization, key or address. Nothing has to be known about who will come, and
//! nobody has to give back what it was given.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Who takes. Work of the server's own has none of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Taker {
    pub(crate) organization: Arc<str>,
    pub(crate) key: Arc<str>,
    /// Of a key that many share, such as a web key.
    pub(crate) address: Option<IpAddr>,
}

impl Taker {
    /// Work of the server's own for it.
    pub(crate) fn of_organization(organization: &str) -> Taker {
        Taker { organization: organization.into(), ..Taker::default() }
    }
}

/// Why nothing is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The taker has its share.
    Own,
    /// There is no more for anybody.
    All,
}

/// How large the shares are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) capacity: usize,
    /// So much everybody may have as long as it is there at all.
    pub(crate) floor: usize,
    /// Of what would be left over, what an organization may have.
    pub(crate) organization_part: Part,
    /// Of what its organization would have left, what a key may have; `None`: as much as the organization.
    pub(crate) key_part: Option<Part>,
}

/// A fraction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part(pub(crate) usize, pub(crate) usize);

impl Part {
    fn of(self, whole: usize) -> usize {
        whole.saturating_mul(self.0) / self.1.max(1)
    }
}

pub(crate) struct Shares {
    sizes: Sizes,
    held: Mutex<Held>,
    given_back: Notify,
}

#[derive(Default)]
struct Held {
    all: usize,
    most: usize,
    by_organization: HashMap<Arc<str>, usize>,
    by_key: HashMap<Arc<str>, usize>,
    by_address: HashMap<(Arc<str>, IpAddr), usize>,
}

/// What is held; dropping it gives it back.
pub(crate) struct Share {
    shares: Arc<Shares>,
    taker: Taker,
    amount: usize,
}

impl Shares {
    pub(crate) fn new(sizes: Sizes) -> Arc<Shares> {
        Arc::new(Shares { sizes, held: Mutex::default(), given_back: Notify::new() })
    }

    pub(crate) fn capacity(&self) -> usize {
        self.sizes.capacity
    }

    /// What is held by all together now, and the most that ever was.
    pub(crate) fn held(&self) -> (usize, usize) {
        let held = self.locked();
        (held.all, held.most)
    }

    pub(crate) fn by_organization(&self) -> Vec<(Arc<str>, usize)> {
        self.locked().by_organization.iter().map(|(name, amount)| (Arc::clone(name), *amount)).collect()
    }

    /// Nothing yet, to grow.
    pub(crate) fn empty(self: &Arc<Self>, taker: Taker) -> Share {
        Share { shares: Arc::clone(self), taker, amount: 0 }
    }

    pub(crate) fn try_take(self: &Arc<Self>, taker: &Taker, amount: usize) -> Result<Share, Over> {
        let mut share = self.empty(taker.clone());
        share.try_grow(amount).map(|()| share)
    }

    fn locked(&self) -> MutexGuard<'_, Held> {
        // Nothing in here panics halfway.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, taker: &Taker, amount: usize) -> Result<(), Over> {
        self.locked().take(&self.sizes, taker, amount)
    }
}

impl Held {
    fn take(&mut self, sizes: &Sizes, taker: &Taker, amount: usize) -> Result<(), Over> {
        let all = self.all.saturating_add(amount);
        let free = sizes.capacity.checked_sub(all).ok_or(Over::All)?;
        let of = |held: Option<&usize>| held.copied().unwrap_or_default().saturating_add(amount);
        let by_organization = of(self.by_organization.get(&taker.organization));
        let by_key = of(self.by_key.get(&taker.key));
        let share_of_organization = sizes.organization_part.of(free);
        let left = share_of_organization.saturating_sub(by_organization);
        let share_of_key = sizes.key_part.map_or(share_of_organization, |part| part.of(left));
        let is_within = |held: usize, share: usize| held <= share.max(sizes.floor);
        let mut is_own = is_within(by_organization, share_of_organization) && is_within(by_key, share_of_key);
        if let Some(address) = taker.address {
            let by_address = of(self.by_address.get(&(Arc::clone(&taker.key), address)));
            is_own &= is_within(by_address, share_of_key.saturating_sub(by_key));
        }
        if !is_own {
            return Err(Over::Own);
        }
        self.all = all;
        self.most = self.most.max(all);
        *self.by_organization.entry(Arc::clone(&taker.organization)).or_default() = by_organization;
        *self.by_key.entry(Arc::clone(&taker.key)).or_default() = by_key;
        if let Some(address) = taker.address {
            *self.by_address.entry((Arc::clone(&taker.key), address)).or_default() += amount;
        }
        Ok(())
    }

    fn give_back(&mut self, taker: &Taker, amount: usize) {
        fn from<K: Eq + Hash>(map: &mut HashMap<K, usize>, key: &K, amount: usize) {
            if let Some(held) = map.get_mut(key) {
                *held = held.saturating_sub(amount);
                if *held == 0 {
                    map.remove(key);
                }
            }
        }
        self.all = self.all.saturating_sub(amount);
        from(&mut self.by_organization, &taker.organization, amount);
        from(&mut self.by_key, &taker.key, amount);
        if let Some(address) = taker.address {
            from(&mut self.by_address, &(Arc::clone(&taker.key), address), amount);
        }
    }
}

impl Share {
    pub(crate) fn amount(&self) -> usize {
        self.amount
    }

    pub(crate) fn try_grow(&mut self, amount: usize) -> Result<(), Over> {
        self.shares.take(&self.taker, amount)?;
        self.amount += amount;
        Ok(())
    }

    /// As above; waits so long for others to give something back.
    pub(crate) async fn grow(&mut self, amount: usize, patience: Duration) -> Result<(), Over> {
        let until = Instant::now() + patience;
        loop {
            let shares = Arc::clone(&self.shares);
            // Before the try, so that nothing that is given back after it is missed.
            let given_back = shares.given_back.notified();
            let over = match self.try_grow(amount) {
                Ok(()) => return Ok(()),
                Err(over) => over,
            };
            if timeout_at(until, given_back).await.is_err() {
                return Err(over);
            }
        }
    }

    /// Gives the rest back.
    pub(crate) fn shrink_to(&mut self, amount: usize) {
        let over = self.amount.saturating_sub(amount);
        if over > 0 {
            self.amount -= over;
            self.shares.locked().give_back(&self.taker, over);
            self.shares.given_back.notify_waiters();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn shares(capacity: usize, floor: usize) -> Arc<Shares> {
        Shares::new(Sizes { capacity, floor, organization_part: Part(1, 1), key_part: Some(Part(1, 2)) })
    }

    fn taker(organization: &str, key: &str, address: Option<u8>) -> Taker {
        Taker {
            organization: organization.into(),
            key: key.into(),
            address: address.map(|last| IpAddr::from([10, 0, 0, last])),
        }
    }

    /// One by one until nothing more is given.
    fn take_all(shares: &Arc<Shares>, taker: &Taker) -> (Share, Over) {
        let mut share = shares.empty(taker.clone());
        loop {
            if let Err(over) = share.try_grow(1) {
                return (share, over);
            }
        }
    }

    #[test]
    fn whoever_comes_new_finds_something() {
        let shares = shares(1_200, 0);
        let mut held = Vec::new();
        let (share, over) = take_all(&shares, &taker("a", "a1", None));
        assert_eq!((share.amount(), over), (300, Over::Own), "a key gets a quarter");
        held.push(share);
        for (key, least) in [("a2", 150), ("a3", 75), ("a4", 37), ("a5", 18), ("a6", 9)] {
            let (share, over) = take_all(&shares, &taker("a", key, None));
            assert!(share.amount() >= least && over == Over::Own, "{key} gets {}", share.amount());
            held.push(share);
        }
        let of_organization = held.iter().map(Share::amount).sum::<usize>();
        assert!((585..600).contains(&of_organization), "an organization gets half: {of_organization}");
        for organization in ["b", "c", "d"] {
            let (share, over) = take_all(&shares, &taker(organization, organization, None));
            assert!(share.amount() >= 70 && over == Over::Own, "{organization} gets {}", share.amount());
            held.push(share);
        }
        assert!(shares.held().0 < 1_200);
        drop(held);
        assert_eq!(shares.held().0, 0);
        assert!(shares.by_organization().is_empty());
        assert!(shares.locked().by_key.is_empty());
    }

    #[test]
    fn a_web_key_is_shared_out_by_address() {
        let shares = shares(1_200, 0);
        let (one, _) = take_all(&shares, &taker("a", "web", Some(1)));
        assert!((150..=200).contains(&one.amount()), "{}", one.amount());
        let (other, _) = take_all(&shares, &taker("a", "web", Some(2)));
        assert!((50..=100).contains(&other.amount()), "{}", other.amount());
        // Another key of the organization gets as much as beside a key without addresses.
        let all: Vec<Share> = (3..100).map(|last| take_all(&shares, &taker("a", "web", Some(last))).0).collect();
        assert!(take_all(&shares, &taker("a", "api", None)).0.amount() >= 150);
        drop((one, other, all));
        assert!(shares.locked().by_address.is_empty());
    }

    #[test]
    fn a_floor_is_everybodys_as_long_as_there_is_any() {
        let shares = shares(10, 4);
        let (one, over) = take_all(&shares, &taker("a", "a", None));
        assert_eq!((one.amount(), over), (4, Over::Own));
        let (two, _) = take_all(&shares, &taker("b", "b", None));
        let (three, over) = take_all(&shares, &taker("c", "c", None));
        assert_eq!((two.amount(), three.amount(), over), (4, 2, Over::All));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_is_given_on() {
        let shares = shares(10, 10);
        let held = shares.try_take(&taker("a", "a", None), 8).unwrap();
        let mut waiting = shares.empty(taker("b", "b", None));
        assert_eq!(waiting.grow(5, Duration::from_secs(1)).await, Err(Over::All));
        let later = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(held);
        };
        let (grown, ()) = tokio::join!(waiting.grow(5, Duration::from_secs(1)), later);
        assert_eq!((grown, waiting.amount(), shares.held()), (Ok(()), 5, (5, 8)));
        waiting.shrink_to(2);
        assert_eq!((waiting.amount(), shares.held()), (2, (2, 8)));
    }

    #[test]
    fn never_more_than_all_whatever_is_asked() {
        let mut random = StdRng::seed_from_u64(42);
        let shares = shares(1_000, 30);
        let mut held: Vec<Share> = Vec::new();
        for _ in 0..20_000 {
            match random.random_range(0..4) {
                0 if !held.is_empty() => drop(held.swap_remove(random.random_range(0..held.len()))),
                1 if !held.is_empty() => {
                    let at = random.random_range(0..held.len());
                    let to = random.random_range(0..100);
                    held[at].shrink_to(to);
                }
                _ => {
                    let (organization, key) = (random.random_range(0..4), random.random_range(0..3));
                    let address = random.random_bool(0.5).then(|| random.random_range(0..5));
                    let taker = taker(&organization.to_string(), &format!("{organization}-{key}"), address);
                    held.extend(shares.try_take(&taker, random.random_range(0..200)));
                }
            }
            let (all, most) = shares.held();
            assert!(all <= 1_000 && most <= 1_000);
            assert_eq!(all, held.iter().map(Share::amount).sum::<usize>());
        }
    }
}
