//! When keys were last used: kept in memory, written to one object from time to time, so that a request costs no write.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::model::ids::EpochMillis;
use crate::storage::objects::frame::Kind;

pub(super) const KIND: Kind = Kind { name: "key-times", format: 1, reads: 1..=1 };

/// No key's id.
pub(super) fn path() -> Path {
    Path::from_iter(["keys", "last-used"])
}

/// By the keys' ids, in epoch milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastUsed(BTreeMap<String, EpochMillis>);

impl LastUsed {
    pub(crate) fn get(&self, key: &str) -> Option<EpochMillis> {
        self.0.get(key).copied()
    }

    /// What another process knew is older, or of other keys.
    pub(super) fn merge(&mut self, other: LastUsed) {
        for (key, at) in other.0 {
            let known = self.0.entry(key).or_insert(at);
            *known = (*known).max(at);
        }
    }

    pub(super) fn keep(&mut self, is_known: impl Fn(&str) -> bool) {
        self.0.retain(|key, _| is_known(key));
    }
}

/// Since the last write.
#[derive(Default)]
pub(super) struct Uses(Mutex<LastUsed>);

impl Uses {
    pub(super) fn used(&self, key: &str, now: EpochMillis) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match used.0.get_mut(key) {
            Some(at) => *at = (*at).max(now),
            None => drop(used.0.insert(key.to_owned(), now)),
        }
    }

    pub(super) fn take(&self) -> LastUsed {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn give_back(&self, uses: LastUsed) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).merge(uses);
    }
}
