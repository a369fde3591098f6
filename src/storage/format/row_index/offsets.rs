//! Where the sibling rows of each row start: a sum at each block of rows, packed counts between.

use std::ops::Range;

use super::bits::{Packed, bits_for, pack, packed_bytes};

/// Rows of a block, which is what a look-up reads.
const BLOCK_ROWS: usize = 128;

/// One list of counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offsets {
    pub(super) rows: u64,
    /// Of all counts.
    pub(super) total: u64,
    /// Of each count.
    pub(super) width: u32,
}

impl Offsets {
    /// How these counts lie; their sum may be more than fits.
    pub(super) fn of(counts: &[u32]) -> Self {
        let greatest = counts.iter().copied().max().unwrap_or(0);
        let total = counts.iter().map(|count| u64::from(*count)).sum();
        Offsets { rows: counts.len() as u64, total, width: bits_for(u64::from(greatest)) }
    }

    fn block_bytes(&self) -> u64 {
        4 + packed_bytes(BLOCK_ROWS as u64, self.width)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.rows.div_ceil(BLOCK_ROWS as u64) * self.block_bytes()
    }

    pub(super) fn write(&self, counts: &[u32], to: &mut Vec<u8>) {
        let mut start = 0_u32;
        for block in counts.chunks(BLOCK_ROWS) {
            to.extend_from_slice(&start.to_le_bytes());
            let padded = block.iter().copied().chain(std::iter::repeat(0)).take(BLOCK_ROWS);
            pack(padded.map(u64::from), self.width, to);
            start = block.iter().fold(start, |sum, count| sum.wrapping_add(*count));
        }
    }

    /// The bytes of the block that tells of a row.
    pub(super) fn block(&self, row: u32) -> Range<u64> {
        let start = u64::from(row) / BLOCK_ROWS as u64 * self.block_bytes();
        start..start + self.block_bytes()
    }

    /// The sibling rows of a row, out of its block. `None`: they lie beyond the total.
    pub(super) fn range(&self, block: &[u8], row: u32) -> Option<Range<u32>> {
        let (mut start, counts) = self.split(block)?;
        let within = row as usize % BLOCK_ROWS;
        for before in 0..within {
            start += counts.get(before);
        }
        let end = start + counts.get(within);
        (end <= self.total).then_some(start as u32..end as u32)
    }

    fn split<'a>(&self, block: &'a [u8]) -> Option<(u64, Packed<'a>)> {
        let (start, bytes) = block.split_first_chunk::<4>()?;
        Some((u64::from(u32::from_le_bytes(*start)), Packed { bytes, width: self.width }))
    }

    /// The first sibling row of each row, then the total. `None`: sums and counts do not agree.
    pub(super) fn all(&self, bytes: &[u8]) -> Option<Vec<u32>> {
        let mut offsets = Vec::with_capacity(self.rows as usize + 1);
        let mut next = 0_u64;
        for block in bytes.chunks(self.block_bytes() as usize) {
            let (start, counts) = self.split(block)?;
            if start != next {
                return None;
            }
            for within in 0..BLOCK_ROWS.min((self.rows as usize).saturating_sub(offsets.len())) {
                offsets.push(next as u32);
                next += counts.get(within);
                if next > self.total {
                    return None;
                }
            }
        }
        offsets.push(next as u32);
        (next == self.total && offsets.len() as u64 == self.rows + 1).then_some(offsets)
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, RngCore, SeedableRng};

    use super::*;

    #[test]
    fn counts_come_back_as_sums_and_damage_never_panics() {
        let mut random = StdRng::seed_from_u64(2);
        for rows in [0_usize, 1, 127, 128, 129, 1_000] {
            for greatest in [0, 1, 5, 70_000] {
                let counts: Vec<u32> = (0..rows).map(|_| random.random_range(0..=greatest)).collect();
                let offsets = Offsets::of(&counts);
                let mut bytes = Vec::new();
                offsets.write(&counts, &mut bytes);
                assert_eq!(bytes.len() as u64, offsets.bytes());
                let all = offsets.all(&bytes).unwrap();
                assert_eq!((all.len(), u64::from(all[rows])), (rows + 1, offsets.total));
                for row in 0..rows {
                    let block = offsets.block(row as u32);
                    let range = offsets.range(&bytes[block.start as usize..block.end as usize], row as u32).unwrap();
                    assert_eq!((range.start, range.end), (all[row], all[row] + counts[row]));
                }
                random.fill_bytes(&mut bytes);
                let _ = offsets.all(&bytes);
                let _ = offsets.all(&bytes[..bytes.len() / 2]);
                let read = (rows > 0).then(|| offsets.range(&bytes, rows as u32 - 1)).flatten();
                assert!(read.is_none_or(|range| u64::from(range.end) <= offsets.total));
            }
        }
    }
}
