//! The first bytes of an index, and where they say that its parts lie.

use xxhash_rust::xxh3::Xxh3;

use super::keys::{Keys, Shape};
use super::offsets::Offsets;

const MAGIC: [u8; 8] = *b"CLIDX\x00\r\n";
const VERSION: u64 = 7;
/// magic | version | rows (= ids) | external ids | references | messages | threads | bits of their counts (2) | bits of
/// the steps of ids, external ids and references | checksum
pub(super) const HEADER_BYTES: usize = 104;

#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) rows: u64,
    /// Of ids, external ids and references.
    pub(super) shapes: [Shape; 3],
    pub(super) messages: Offsets,
    pub(super) threads: Offsets,
}

/// Where each part of the body starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) entries: [u64; 3],
    pub(super) message_offsets: u64,
    pub(super) thread_offsets: u64,
    pub(super) end: u64,
}

impl Header {
    pub(super) fn opening_bytes(&self) -> u64 {
        self.shapes.iter().map(|shape| Keys::opening_bytes(shape.count())).sum()
    }

    pub(super) fn places(&self) -> Places {
        let [ids, external_ids, references] = self.shapes.map(|shape| shape.bytes());
        let message_offsets = ids + external_ids + references;
        let thread_offsets = message_offsets + self.messages.bytes();
        let end = thread_offsets + self.threads.bytes();
        Places { entries: [0, ids, ids + external_ids], message_offsets, thread_offsets, end }
    }

    fn numbers(&self) -> [u64; 11] {
        let Header { rows, shapes, messages, threads } = *self;
        let [_, external_ids, references] = shapes.map(|shape| shape.count());
        let [id_bits, external_id_bits, reference_bits] = shapes.map(|shape| u64::from(shape.step_bits()));
        let (message_bits, thread_bits) = (u64::from(messages.width), u64::from(threads.width));
        [
            VERSION,
            rows,
            external_ids,
            references,
            messages.total,
            threads.total,
            message_bits,
            thread_bits,
            id_bits,
            external_id_bits,
            reference_bits,
        ]
    }

    pub(super) fn checksum(&self, opening: &[u8]) -> u64 {
        let mut hash = Xxh3::new();
        self.numbers().iter().for_each(|number| hash.update(&number.to_le_bytes()));
        hash.update(opening);
        hash.digest()
    }

    pub(super) fn write(&self, opening: &[u8], to: &mut Vec<u8>) {
        to.extend_from_slice(&MAGIC);
        self.numbers().iter().for_each(|number| to.extend_from_slice(&number.to_le_bytes()));
        to.extend_from_slice(&self.checksum(opening).to_le_bytes());
    }

    /// Of an index whose body has `size` bytes. Also gives the checksum that the header declares.
    pub(super) fn read(bytes: &[u8], size: u64) -> Result<(Self, u64), String> {
        if bytes.len() < HEADER_BYTES {
            return Err(format!("it has {} bytes, its header alone has {HEADER_BYTES}", bytes.len()));
        }
        let numbers = bytes.strip_prefix(&MAGIC).ok_or("it does not start as an index does")?;
        let number = |index: usize| u64_at(numbers, index).ok_or_else(|| "its header is cut".to_owned());
        if number(0)? != VERSION {
            return Err(format!("version {}, {VERSION} is supported", number(0)?));
        }
        let count = |index: usize| match number(index)? {
            count if count <= u64::from(u32::MAX) => Ok(count),
            _ => Err("its header counts more than 4294967295".to_owned()),
        };
        let width = |index: usize| match number(index)? {
            width @ 0..=32 => Ok(width as u32),
            width => Err(format!("its header tells of counts of {width} bits")),
        };
        let rows = count(1)?;
        let shape = |count: u64, index: usize| {
            let step_bits = number(index)?;
            let shape = Shape::declared(count, rows, u32::try_from(step_bits).unwrap_or(u32::MAX));
            if u64::from(shape.step_bits()) == step_bits {
                Ok(shape)
            } else {
                Err(format!("its header tells of steps of {step_bits} bits"))
            }
        };
        let header = Header {
            rows,
            shapes: [shape(rows, 8)?, shape(count(2)?, 9)?, shape(count(3)?, 10)?],
            messages: Offsets { rows, total: count(4)?, width: width(6)? },
            threads: Offsets { rows, total: count(5)?, width: width(7)? },
        };
        let end = header.places().end;
        if end != size {
            return Err(format!("its body has {size} bytes, its header declares {end}"));
        }
        Ok((header, number(11)?))
    }
}

fn u64_at(bytes: &[u8], index: usize) -> Option<u64> {
    bytes.get(index * 8..index * 8 + 8)?.try_into().ok().map(u64::from_le_bytes)
}
