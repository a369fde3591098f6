//! Sorted lists of keys: a Bloom filter and a fence of each in memory, their entries in the object.

use std::ops::Range;

use parquet::bloom_filter::Sbbf;

pub(super) const ENTRY_BYTES: u64 = 20;
/// Entries from one fence post to the next: a lookup reads 2,560 bytes.
const FENCE_STEP: usize = 128;

/// Parquet's split block Bloom filter. With 12 bits per key about 0.5 % of absent keys seem present.
struct Bloom(Sbbf);

const BLOOM_BITS_PER_KEY: usize = 12;
const BLOOM_BLOCK_BYTES: usize = 32;

impl Bloom {
    /// Not a power of two, to which Parquet's own constructors round up.
    fn bytes_for(keys: u64) -> usize {
        (keys as usize * BLOOM_BITS_PER_KEY).div_ceil(BLOOM_BLOCK_BYTES * 8) * BLOOM_BLOCK_BYTES
    }

    fn for_keys(keys: u64) -> Self {
        Self(Sbbf::new(&vec![0; Self::bytes_for(keys)]))
    }

    fn insert(&mut self, hash: u128) {
        // One without blocks would panic.
        if self.0.num_blocks() > 0 {
            self.0.insert(hash.to_le_bytes().as_slice());
        }
    }

    fn may_contain(&self, hash: u128) -> bool {
        self.0.num_blocks() > 0 && self.0.check(hash.to_le_bytes().as_slice())
    }
}

/// One sorted list of keys: what of it is in memory.
pub(super) struct Keys {
    bloom: Bloom,
    /// Upper half of every 128th hash.
    fence: Vec<u64>,
    count: u64,
    /// Where its entries start in the object.
    start: u64,
}

impl Keys {
    pub(super) fn none() -> Self {
        Self { bloom: Bloom::for_keys(0), fence: Vec::new(), count: 0, start: 0 }
    }

    /// Of `count` keys: the bytes of what is kept in memory.
    pub(super) fn opening_bytes(count: u64) -> u64 {
        Bloom::bytes_for(count) as u64 + count.div_ceil(FENCE_STEP as u64) * 8
    }

    /// Writes those of sorted entries.
    pub(super) fn write_opening(entries: &[(u128, u32)], opening: &mut Vec<u8>) {
        let mut bloom = Bloom::for_keys(entries.len() as u64);
        entries.iter().for_each(|(hash, _)| bloom.insert(*hash));
        let written = bloom.0.write_bitset(&mut *opening);
        debug_assert!(written.is_ok(), "a vector takes every byte");
        let posts = entries.iter().step_by(FENCE_STEP);
        posts.for_each(|(hash, _)| opening.extend_from_slice(&high(*hash).to_le_bytes()));
    }

    /// Takes them from the front of an opening that is long enough.
    pub(super) fn read(opening: &mut &[u8], count: u64, start: u64) -> Self {
        let (bloom, rest) = opening.split_at(Bloom::bytes_for(count));
        let (fence, rest) = rest.split_at(count.div_ceil(FENCE_STEP as u64) as usize * 8);
        *opening = rest;
        let fence = fence.as_chunks::<8>().0.iter().map(|post| u64::from_le_bytes(*post)).collect();
        Self { bloom: Bloom(Sbbf::new(bloom)), fence, count, start }
    }

    /// Bytes of the entries among which `hash` is, if it is at all.
    pub(super) fn range(&self, hash: u128) -> Option<Range<u64>> {
        if !self.bloom.may_contain(hash) {
            return None;
        }
        // Equal hashes may start in the middle of the block before the first post that is not below them.
        let first = self.fence.partition_point(|post| *post < high(hash)).saturating_sub(1) as u64;
        let after = self.fence.partition_point(|post| *post <= high(hash)) as u64;
        let step = FENCE_STEP as u64;
        let entry = |number: u64| self.start + number.min(self.count) * ENTRY_BYTES;
        (after > first).then(|| entry(first * step)..entry(after * step))
    }

    #[cfg(test)]
    pub(super) fn may_contain(&self, hash: u128) -> bool {
        self.bloom.may_contain(hash)
    }

    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.bloom.0.num_blocks() * BLOOM_BLOCK_BYTES + self.fence.len() * 8
    }
}

fn high(hash: u128) -> u64 {
    (hash >> 64) as u64
}

pub(super) fn write_entry((hash, row): &(u128, u32), to: &mut Vec<u8>) {
    to.extend_from_slice(&hash.to_le_bytes());
    to.extend_from_slice(&row.to_le_bytes());
}

/// The rows of a hash in sorted entries.
pub(super) fn rows_of(entries: &[u8], hash: u128) -> Vec<u32> {
    let (entries, _) = entries.as_chunks::<{ ENTRY_BYTES as usize }>();
    let split = |entry: &[u8; ENTRY_BYTES as usize]| {
        let (hash, row) = entry.split_first_chunk::<16>()?;
        Some((u128::from_le_bytes(*hash), u32::from_le_bytes(row.try_into().ok()?)))
    };
    let first = entries.partition_point(|entry| split(entry).is_some_and(|(found, _)| found < hash));
    let equal = entries.iter().skip(first).map_while(split).take_while(|(found, _)| *found == hash);
    equal.map(|(_, row)| row).collect()
}
