//! The memory of one query: its own limit, and what all queries together may hold.

use std::fmt;
use std::sync::Arc;

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

use crate::memory::Budget;

/// What the error says where not the query's own limit is met.
pub(super) const ALL_TAKEN: &str = "the memory of all queries is taken";

/// Shared out among the operators of one query, which spill where it ends; and counted in the budget of all.
#[derive(Debug)]
pub(super) struct QueryPool {
    own: FairSpillPool,
    all: Arc<Budget>,
}

impl QueryPool {
    pub(super) fn new(bytes: usize, all: &Arc<Budget>) -> QueryPool {
        QueryPool { own: FairSpillPool::new(bytes), all: Arc::clone(all) }
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.own.unregister(consumer);
    }

    /// What is there already, and can only be counted.
    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        self.all.take_anyway(additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.all.give_back(shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.own.try_grow(reservation, additional)?;
        if self.all.try_take(additional) {
            return Ok(());
        }
        self.own.shrink(reservation, additional);
        Err(DataFusionError::ResourcesExhausted(ALL_TAKEN.to_owned()))
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_its_own_limit_and_its_part_of_all() {
        let all = Arc::new(Budget::new(1_500));
        let pools: Vec<Arc<dyn MemoryPool>> =
            (0..2).map(|_| Arc::new(QueryPool::new(1_000, &all)) as Arc<dyn MemoryPool>).collect();
        let [one, other] = &pools[..] else { panic!("two pools") };
        let held = MemoryConsumer::new("one").register(one);
        assert!(held.try_grow(1_100).is_err_and(|error| !error.to_string().contains(ALL_TAKEN)));
        held.try_grow(900).unwrap();
        let more = MemoryConsumer::new("other").register(other);
        assert!(more.try_grow(700).is_err_and(|error| error.to_string().contains(ALL_TAKEN)));
        more.try_grow(600).unwrap();
        assert_eq!(all.held().0, 1_500);
        drop(held);
        assert_eq!((all.held(), other.reserved()), ((600, 1_500), 600));
        drop(more);
        assert_eq!(all.held().0, 0);
    }
}
