//! The set of (group, value id) pairs behind `count_distinct`.
#![expect(clippy::indexing_slicing, reason = "groups and ids are below the lengths that the set was made or grown to")]

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Bitmaps are given up for the hash table once they take more than this per member, about what the table takes.
const BITMAP_BYTES_PER_MEMBER: usize = 16;
/// Bitmaps up to this size in all stay, however sparse.
const SMALL_BITMAPS: usize = 1 << 20;

/// Pairs of a group and a value id, each a `u32`. Few groups that share many values are bitmaps (fast, and in cache);
/// many groups with few values each are one hash table. Never a set per group.
#[derive(Debug)]
pub(crate) struct PairSet {
    members: Members,
    /// Members of each group.
    counts: Vec<u32>,
    total: usize,
}

#[derive(Debug)]
enum Members {
    /// Bit `id` of the group's words.
    Bits { groups: Vec<Vec<u64>>, words: usize },
    /// `group << 32 | id`
    Table(HashTable<u64>),
}

impl Default for PairSet {
    fn default() -> Self {
        Self { members: Members::Bits { groups: Vec::new(), words: 0 }, counts: Vec::new(), total: 0 }
    }
}

/// Members of the first groups, ordered by group: those of group `g` are `ids[offsets[g]..offsets[g + 1]]`.
pub(crate) struct Taken {
    pub(crate) offsets: Vec<usize>,
    pub(crate) ids: Vec<u32>,
}

impl PairSet {
    pub(crate) fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Makes groups up to `groups` known.
    pub(crate) fn resize(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
        if let Members::Bits { groups: bitmaps, .. } = &mut self.members {
            bitmaps.resize_with(groups, Vec::new);
        }
    }

    /// `group` must be known.
    #[inline]
    pub(crate) fn insert(&mut self, group: usize, id: u32) {
        let added = match &mut self.members {
            Members::Bits { groups, words } => {
                let bitmap = &mut groups[group];
                let word = id as usize / 64;
                if word >= bitmap.len() {
                    // Grown by half at least, so that rising ids copy each word a few times only.
                    let length = (word + 1).max(bitmap.len() + bitmap.len() / 2);
                    *words += length - bitmap.len();
                    bitmap.resize(length, 0);
                    let bytes = *words * 8;
                    if bytes > SMALL_BITMAPS && bytes > BITMAP_BYTES_PER_MEMBER * self.total {
                        self.change_to_table();
                        return self.insert(group, id);
                    }
                }
                let bitmap = &mut groups[group];
                let bit = 1 << (id % 64);
                let added = bitmap[word] & bit == 0;
                bitmap[word] |= bit;
                added
            }
            Members::Table(table) => insert_key(table, (group as u64) << 32 | u64::from(id)),
        };
        if added {
            self.counts[group] += 1;
            self.total += 1;
        }
    }

    /// Removes the first `count` groups; the others move down.
    pub(crate) fn take_first(&mut self, count: usize) -> Taken {
        let rest = self.counts.split_off(count);
        let counts = std::mem::replace(&mut self.counts, rest);
        let mut offsets = Vec::with_capacity(count + 1);
        let mut end = 0;
        offsets.push(end);
        offsets.extend(counts.iter().map(|&members| {
            end += members as usize;
            end
        }));
        let mut ids = vec![0; end];
        match &mut self.members {
            Members::Bits { groups, words } => {
                let rest = groups.split_off(count);
                let mut slots = ids.iter_mut();
                for bitmap in std::mem::replace(groups, rest) {
                    *words -= bitmap.len();
                    // The bits come first: a zip drops what its first half gave when the second ends.
                    set_bits(&bitmap).zip(slots.by_ref()).for_each(|(id, slot)| *slot = id);
                }
            }
            Members::Table(table) => {
                let mut next = offsets.clone();
                let mut rest = HashTable::with_capacity(self.total - end);
                for key in table.drain() {
                    let group = (key >> 32) as usize;
                    if group < count {
                        ids[next[group]] = key as u32;
                        next[group] += 1;
                    } else {
                        insert_key(&mut rest, key - ((count as u64) << 32));
                    }
                }
                *table = rest;
            }
        }
        self.total -= end;
        if self.counts.is_empty() {
            *self = Self::default();
        }
        Taken { offsets, ids }
    }

    /// Replaces every id.
    pub(crate) fn renumber(&mut self, mut new_id: impl FnMut(u32) -> u32) {
        let groups = self.counts.len();
        let Taken { offsets, ids } = self.take_first(groups);
        self.resize(groups);
        for (group, range) in offsets.windows(2).enumerate() {
            for &id in &ids[range[0]..range[1]] {
                self.insert(group, new_id(id));
            }
        }
    }

    pub(crate) fn size(&self) -> usize {
        let members = match &self.members {
            Members::Bits { groups, words } => groups.capacity() * size_of::<Vec<u64>>() + words * 8,
            Members::Table(table) => table.allocation_size(),
        };
        members + self.counts.capacity() * size_of::<u32>()
    }

    fn change_to_table(&mut self) {
        let Members::Bits { groups, .. } = &self.members else {
            return;
        };
        let mut table = HashTable::with_capacity(self.total * 2);
        for (group, bitmap) in groups.iter().enumerate() {
            for id in set_bits(bitmap) {
                insert_key(&mut table, (group as u64) << 32 | u64::from(id));
            }
        }
        self.members = Members::Table(table);
    }
}

fn set_bits(bitmap: &[u64]) -> impl Iterator<Item = u32> {
    bitmap.iter().enumerate().flat_map(|(index, &word)| {
        let mut left = word;
        std::iter::from_fn(move || {
            let bit = left.trailing_zeros();
            (left != 0).then(|| {
                left &= left - 1;
                index as u32 * 64 + bit
            })
        })
    })
}

#[inline]
fn insert_key(table: &mut HashTable<u64>, key: u64) -> bool {
    match table.entry(hash(key), |&other| other == key, |&other| hash(other)) {
        Entry::Occupied(_) => false,
        Entry::Vacant(vacant) => {
            vacant.insert(key);
            true
        }
    }
}

/// The keys are dense numbers; the table takes its tags from the top bits and its buckets from the bottom ones.
#[inline]
fn hash(key: u64) -> u64 {
    let product = u128::from(key) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn equals_hash_set() {
        let mut state = 88_172_645_463_325_252u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % below
        };
        // Dense bitmaps; sparse ones that stay small; a table.
        for (groups, ids, rows, is_table) in
            [(5, 3_000, 20_000, false), (40, 5_000, 100, false), (3_000, 100_000, 60_000, true)]
        {
            let mut pairs = PairSet::default();
            let mut expected = HashSet::new();
            pairs.resize(groups);
            for _ in 0..rows {
                let (group, id) = (random(groups as u64) as usize, random(ids) as u32);
                pairs.insert(group, id);
                expected.insert((group, id));
            }
            assert_eq!(matches!(pairs.members, Members::Table(_)), is_table);
            assert_eq!(pairs.counts().iter().map(|&count| count as usize).sum::<usize>(), expected.len());
            assert!(pairs.size() > 0);

            pairs.renumber(|id| id * 2 + 1);
            let mut found = HashSet::new();
            for (first, count) in [(0, groups / 3), (groups / 3, groups - groups / 3)] {
                let taken = pairs.take_first(count);
                for (group, range) in taken.offsets.windows(2).enumerate() {
                    for id in &taken.ids[range[0]..range[1]] {
                        assert!(found.insert((first + group, (id - 1) / 2)));
                    }
                }
            }
            assert_eq!(found, expected);
            assert!(pairs.counts().is_empty());
        }
    }
}
