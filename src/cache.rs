//! What is expensive to read and cheap to read again stays in memory as long as it is used and there is room.

use std::any::Any;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    state: Mutex<State>,
}

/// Whose value it is, and which of theirs.
type Key = (u64, u64);

/// `order` has each entry's last use, `bytes` is the sum of theirs.
#[derive(Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    order: BTreeMap<u64, Key>,
    bytes: usize,
    next_owner: u64,
    next_use: u64,
}

struct Entry {
    value: Arc<dyn Any + Send + Sync>,
    bytes: usize,
    used: u64,
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Arc<Cache> {
        Arc::new(Cache { capacity, state: Mutex::default() })
    }

    /// A place for one value, which is empty now and may be so again whenever it is looked at.
    pub(crate) fn slot<T: Send + Sync + 'static>(self: &Arc<Self>) -> Slot<T> {
        Slot(self.shelf())
    }

    /// A place for many values, each under a number of its own.
    pub(crate) fn shelf<T: Send + Sync + 'static>(self: &Arc<Self>) -> Shelf<T> {
        let mut state = self.state();
        state.next_owner += 1;
        Shelf { cache: Arc::clone(self), owner: state.next_owner, value: PhantomData }
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
    fn get(&mut self, key: Key) -> Option<Arc<dyn Any + Send + Sync>> {
        self.next_use += 1;
        let entry = self.entries.get_mut(&key)?;
        self.order.remove(&entry.used);
        entry.used = self.next_use;
        self.order.insert(entry.used, key);
        Some(Arc::clone(&entry.value))
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.entries.remove(&key) {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    fn insert(&mut self, key: Key, value: Arc<dyn Any + Send + Sync>, bytes: usize, capacity: usize) {
        self.remove(key);
        self.next_use += 1;
        self.entries.insert(key, Entry { value, bytes, used: self.next_use });
        self.order.insert(self.next_use, key);
        self.bytes += bytes;
        while self.bytes > capacity
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            let oldest = *oldest;
            self.remove(oldest);
        }
    }
}

pub(crate) struct Slot<T: Send + Sync + 'static>(Shelf<T>);

impl<T: Send + Sync + 'static> Slot<T> {
    pub(crate) fn get(&self) -> Option<Arc<T>> {
        self.0.get(0)
    }

    /// `bytes`: about what the value holds in memory.
    pub(crate) fn set(&self, value: Arc<T>, bytes: usize) {
        self.0.set(0, value, bytes);
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
        let value = self.cache.state().get((self.owner, number))?;
        Arc::downcast(value).ok()
    }

    /// `bytes`: about what the value holds in memory.
    pub(crate) fn set(&self, number: u64, value: Arc<T>, bytes: usize) {
        self.cache.state().insert((self.owner, number), value, bytes, self.cache.capacity);
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
