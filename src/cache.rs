//! What is expensive to read and cheap to read again stays in memory as long as it is used and there is room.

use std::any::Any;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A cache as an operator sees it.
pub(crate) trait Held: Send + Sync {
    /// What it holds now.
    fn bytes(&self) -> u64;

    /// What it holds at most.
    fn capacity(&self) -> u64;
}

/// Bounded by bytes; what was not used for the longest time goes first.
pub(crate) struct Cache {
    capacity: usize,
    uses: AtomicU64,
    state: Mutex<State>,
}

/// Whose value it is, and which of theirs.
type Key = (u64, u64);

/// `order` has each entry once, under its last use or an earlier one; `bytes` is the sum of theirs.
#[derive(Default)]
struct State {
    entries: BTreeMap<Key, Arc<Entry>>,
    order: BTreeMap<u64, Key>,
    bytes: usize,
    next_owner: u64,
}

struct Entry {
    value: Arc<dyn Any + Send + Sync>,
    bytes: usize,
    /// Its last use. A use is noted here alone, so that none waits for another.
    used: AtomicU64,
    /// Where `order` has it.
    ordered: AtomicU64,
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Arc<Cache> {
        Arc::new(Cache { capacity, uses: AtomicU64::new(0), state: Mutex::default() })
    }

    /// A place for one value, which is empty now and may be so again whenever it is looked at.
    pub(crate) fn slot<T: Send + Sync + 'static>(self: &Arc<Self>) -> Slot<T> {
        Slot { shelf: self.shelf(), entry: Mutex::default() }
    }

    /// A place for many values, each under a number of its own.
    pub(crate) fn shelf<T: Send + Sync + 'static>(self: &Arc<Self>) -> Shelf<T> {
        let mut state = self.state();
        state.next_owner += 1;
        Shelf { cache: Arc::clone(self), owner: state.next_owner, value: PhantomData }
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.state().bytes
    }

    fn next_use(&self) -> u64 {
        // The numbers alone are compared.
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    fn use_now(&self, entry: &Entry) -> Arc<dyn Any + Send + Sync> {
        entry.used.store(self.next_use(), Ordering::Relaxed);
        Arc::clone(&entry.value)
    }

    fn insert(&self, key: Key, value: Arc<dyn Any + Send + Sync>, bytes: usize) -> Arc<Entry> {
        let mut state = self.state();
        state.remove(key);
        let now = self.next_use();
        let entry = Arc::new(Entry { value, bytes, used: AtomicU64::new(now), ordered: AtomicU64::new(now) });
        state.entries.insert(key, Arc::clone(&entry));
        state.order.insert(now, key);
        state.bytes += bytes;
        while state.bytes > self.capacity && state.evict() {}
        entry
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held for Cache {
    fn bytes(&self) -> u64 {
        self.state().bytes as u64
    }

    fn capacity(&self) -> u64 {
        self.capacity as u64
    }
}

impl State {
    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.entries.remove(&key) {
            self.order.remove(&entry.ordered.load(Ordering::Relaxed));
            self.bytes -= entry.bytes;
        }
    }

    /// Removes what was used longest ago, or puts the first in the order to where it belongs by now. False if nothing is
    /// there.
    fn evict(&mut self) -> bool {
        let Some((ordered, key)) = self.order.pop_first() else { return false };
        let Some(entry) = self.entries.get(&key) else { return true };
        let used = entry.used.load(Ordering::Relaxed);
        if used == ordered {
            self.remove(key);
        } else {
            entry.ordered.store(used, Ordering::Relaxed);
            self.order.insert(used, key);
        }
        true
    }
}

pub(crate) struct Slot<T: Send + Sync + 'static> {
    shelf: Shelf<T>,
    /// Found without a look into the cache.
    entry: Mutex<Weak<Entry>>,
}

impl<T: Send + Sync + 'static> Slot<T> {
    pub(crate) fn get(&self) -> Option<Arc<T>> {
        let entry = self.entry().upgrade()?;
        Arc::downcast(self.shelf.cache.use_now(&entry)).ok()
    }

    /// `bytes`: about what the value holds in memory.
    pub(crate) fn set(&self, value: Arc<T>, bytes: usize) {
        let mut held = self.entry();
        *held = Arc::downgrade(&self.shelf.insert(0, value, bytes));
    }

    fn entry(&self) -> MutexGuard<'_, Weak<Entry>> {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Cache::shelf`].
pub(crate) struct Shelf<T: Send + Sync + 'static> {
    cache: Arc<Cache>,
    owner: u64,
    value: PhantomData<fn() -> T>,
}

impl<T: Send + Sync + 'static> Shelf<T> {
    pub(crate) fn get(&self, number: u64) -> Option<Arc<T>> {
        let entry = Arc::clone(self.cache.state().entries.get(&(self.owner, number))?);
        Arc::downcast(self.cache.use_now(&entry)).ok()
    }

    /// `bytes`: about what the value holds in memory.
    pub(crate) fn set(&self, number: u64, value: Arc<T>, bytes: usize) {
        self.insert(number, value, bytes);
    }

    fn insert(&self, number: u64, value: Arc<T>, bytes: usize) -> Arc<Entry> {
        self.cache.insert((self.owner, number), value, bytes)
    }
}

impl<T: Send + Sync + 'static> Drop for Shelf<T> {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        let own = state.entries.range((self.owner, 0)..=(self.owner, u64::MAX));
        let own: Vec<Key> = own.map(|(key, _)| *key).collect();
        own.into_iter().for_each(|key| state.remove(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl State {
        fn is_empty(&self) -> bool {
            self.entries.is_empty() && self.order.is_empty() && self.bytes == 0
        }
    }

    fn held(slots: &[Slot<u32>]) -> Vec<Option<u32>> {
        slots.iter().map(|slot| slot.get().map(|value| *value)).collect()
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let cache = Cache::new(100);
        let slots: Vec<Slot<u32>> = (0..4).map(|_| cache.slot()).collect();
        assert_eq!(held(&slots), [None; 4]);
        for (slot, value) in slots.iter().zip(0..3) {
            slot.set(Arc::new(value), 40);
        }
        assert_eq!(held(&slots), [None, Some(1), Some(2), None]);
        slots[1].get();
        slots[3].set(Arc::new(3), 60);
        assert_eq!(held(&slots), [None, Some(1), None, Some(3)]);
        slots[3].set(Arc::new(4), 10);
        slots[0].set(Arc::new(0), 50);
        assert_eq!(held(&slots), [Some(0), Some(1), None, Some(4)]);
        assert_eq!(cache.state().bytes, 100);
        // Larger than all of it: not kept, and nothing else is then.
        slots[2].set(Arc::new(2), 101);
        assert_eq!(held(&slots), [None; 4]);
        assert!(cache.state().is_empty());
    }

    #[test]
    fn a_slot_that_is_gone_holds_nothing() {
        let cache = Cache::new(100);
        let slot = cache.slot();
        slot.set(Arc::new("x"), 10);
        drop(slot);
        assert!(cache.state().is_empty());
    }

    #[test]
    fn a_shelf_holds_many_values_and_goes_with_all_of_them() {
        let cache = Cache::new(100);
        let (shelf, other) = (cache.shelf(), cache.shelf());
        (0..10).for_each(|number| shelf.set(number * 1_000, Arc::new(number), 10));
        assert_eq!((shelf.get(3_000).as_deref(), shelf.get(3_001).as_deref()), (Some(&3), None));
        other.set(3_000, Arc::new(7), 5);
        assert_eq!((other.get(3_000).as_deref(), shelf.get(0).as_deref()), (Some(&7), None));
        drop(shelf);
        assert_eq!(cache.state().bytes, 5);
        drop(other);
        assert!(cache.state().is_empty());
    }
}
