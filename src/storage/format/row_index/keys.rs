//! Sorted lists of keys: a Bloom filter and a fence of each in memory, their entries in the object.

use std::ops::Range;

use parquet::bloom_filter::Sbbf;

use super::bits::{Packed, bits_for, pack, packed_bytes};

/// Entries from one fence post to the next: a lookup reads about 600 bytes.
const FENCE_STEP: usize = 128;

/// Parquet's split block Bloom filter. With 10 bits per key about 1 % of absent keys seem present.
struct Bloom(Sbbf);

const BLOOM_BITS_PER_KEY: usize = 10;
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
    /// Hash of every 128th entry.
    fence: Vec<u64>,
    shape: Shape,
    /// Where its entries start in the body.
    start: u64,
}

/// What is kept of a key: so many first bits of its hash that few others share them, and the row. They are in the order
/// of both. An entry has of the hash what it exceeds that of the fence post before it.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    count: u64,
    hash_bits: u32,
    row_bits: u32,
    /// Of the greatest step from a post to an entry behind it.
    step_bits: u32,
}

/// One of 1,024 look-ups of absent keys finds a row, beyond those that the Bloom filter ends. Who reads the row sees that
/// it is another's.
const SPARE_BITS: u32 = 10;

impl Shape {
    /// Of these entries, which are in the order of their hashes, of a file of `rows` rows.
    pub(super) fn of(entries: &[(u128, u32)], rows: u64) -> Self {
        let shape = Self::declared(entries.len() as u64, rows, 0);
        let step = |block: &[(u128, u32)]| match block {
            [(first, _), .., (last, _)] => shape.hash(*last) - shape.hash(*first),
            _ => 0,
        };
        let greatest = entries.chunks(FENCE_STEP).map(step).max().unwrap_or(0);
        Shape { step_bits: bits_for(greatest), ..shape }
    }

    /// Of `count` entries whose steps are known.
    pub(super) fn declared(count: u64, rows: u64, step_bits: u32) -> Self {
        let row_bits = bits_for(rows.saturating_sub(1));
        let hash_bits = (bits_for(count) + SPARE_BITS).min(u64::BITS - row_bits);
        Shape { count, hash_bits, row_bits, step_bits: step_bits.min(hash_bits) }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn step_bits(&self) -> u32 {
        self.step_bits
    }

    fn width(&self) -> u32 {
        self.step_bits + self.row_bits
    }

    fn hash(&self, hash: u128) -> u64 {
        (hash >> (u128::BITS - self.hash_bits)) as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        packed_bytes(self.count, self.width())
    }

    /// Of entries in the order of their hashes, which is nearly that of what is written. Whole hashes yet.
    fn entries(&self, entries: &[(u128, u32)]) -> Vec<u64> {
        let packed = |(hash, row): &(u128, u32)| self.hash(*hash) << self.row_bits | u64::from(*row);
        let mut packed: Vec<u64> = entries.iter().map(packed).collect();
        packed.sort_unstable();
        packed
    }
}

impl Keys {
    /// Of `count` keys: the bytes of what is kept in memory.
    pub(super) fn opening_bytes(count: u64) -> u64 {
        Bloom::bytes_for(count) as u64 + count.div_ceil(FENCE_STEP as u64) * 8
    }

    /// Writes what is kept in memory to the opening, the entries to the body.
    pub(super) fn write(entries: &[(u128, u32)], shape: Shape, opening: &mut Vec<u8>, body: &mut Vec<u8>) {
        let mut bloom = Bloom::for_keys(entries.len() as u64);
        entries.iter().for_each(|(hash, _)| bloom.insert(*hash));
        let written = bloom.0.write_bitset(&mut *opening);
        debug_assert!(written.is_ok(), "a vector takes every byte");
        let packed = shape.entries(entries);
        let post = |block: &[u64]| block.first().map_or(0, |first| first >> shape.row_bits);
        packed.chunks(FENCE_STEP).for_each(|block| opening.extend_from_slice(&post(block).to_le_bytes()));
        let steps = packed.chunks(FENCE_STEP).flat_map(|block| {
            let before = post(block) << shape.row_bits;
            block.iter().map(move |entry| entry - before)
        });
        pack(steps, shape.width(), body);
    }

    /// Takes them from the front of an opening that is long enough.
    pub(super) fn read(opening: &mut &[u8], shape: Shape, start: u64) -> Self {
        let (bloom, rest) = opening.split_at(Bloom::bytes_for(shape.count));
        let (fence, rest) = rest.split_at(shape.count.div_ceil(FENCE_STEP as u64) as usize * 8);
        *opening = rest;
        let fence = fence.as_chunks::<8>().0.iter().map(|post| u64::from_le_bytes(*post)).collect();
        Self { bloom: Bloom(Sbbf::new(bloom)), fence, shape, start }
    }

    /// Bytes of the entries among which `hash` is, if it is at all.
    pub(super) fn range(&self, hash: u128) -> Option<Range<u64>> {
        if !self.bloom.may_contain(hash) {
            return None;
        }
        let blocks = self.blocks(self.shape.hash(hash));
        let place = |block: usize| self.start + (block as u64 * self.block_bytes()).min(self.shape.bytes());
        (!blocks.is_empty()).then(|| place(blocks.start)..place(blocks.end))
    }

    /// 128 entries end at a whole byte.
    fn block_bytes(&self) -> u64 {
        packed_bytes(FENCE_STEP as u64, self.shape.width())
    }

    fn blocks(&self, hash: u64) -> Range<usize> {
        // Equal hashes may start in the middle of the block before the first post that is not below them.
        let first = self.fence.partition_point(|post| *post < hash).saturating_sub(1);
        first..self.fence.partition_point(|post| *post <= hash).max(first)
    }

    /// The rows of a hash in what [`Self::range`] names, ascending; a few may be those of others.
    pub(super) fn rows_of(&self, entries: &[u8], hash: u128) -> Vec<u32> {
        let Shape { count, row_bits, .. } = self.shape;
        let (hash, block_bytes) = (self.shape.hash(hash), self.block_bytes() as usize);
        let mut rows = Vec::new();
        for (place, block) in self.blocks(hash).enumerate() {
            let Some(step) = self.fence.get(block).and_then(|post| hash.checked_sub(*post)) else { continue };
            let bytes = entries.get(place * block_bytes..).unwrap_or_default();
            let packed = Packed { bytes, width: self.shape.width() };
            let (mut low, mut high) = (0, FENCE_STEP.min((count as usize).saturating_sub(block * FENCE_STEP)));
            let end = high;
            while low < high {
                let middle = low.midpoint(high);
                if packed.get(middle) >> row_bits < step { low = middle + 1 } else { high = middle }
            }
            let found = (low..end).map(|at| packed.get(at)).take_while(|entry| entry >> row_bits == step);
            rows.extend(found.map(|entry| (entry & ((1 << row_bits) - 1)) as u32));
        }
        rows.dedup();
        rows
    }

    #[cfg(test)]
    pub(super) fn may_contain(&self, hash: u128) -> bool {
        self.bloom.may_contain(hash)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.bloom.0.num_blocks() * BLOOM_BLOCK_BYTES + self.fence.len() * 8
    }
}
