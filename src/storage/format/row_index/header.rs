//! The first bytes of a sidecar, and where they say that its parts lie.

use xxhash_rust::xxh3::Xxh3;

use super::keys::{ENTRY_BYTES, Keys};

const MAGIC: [u8; 8] = *b"CLIDX\x00\r\n";
const VERSION: u64 = 5;
/// magic | version | rows (= ids) | external ids | references | message rows | checksum
pub(super) const HEADER_BYTES: usize = 56;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) rows: u64,
    pub(super) external_ids: u64,
    pub(super) references: u64,
    pub(super) messages: u64,
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
    fn keys(&self) -> [u64; 3] {
        [self.rows, self.external_ids, self.references]
    }

    pub(super) fn opening_bytes(&self) -> u64 {
        self.keys().into_iter().map(Keys::opening_bytes).sum()
    }

    pub(super) fn places(&self) -> Places {
        let ids = 0;
        let external_ids = ids + self.rows * ENTRY_BYTES;
        let references = external_ids + self.external_ids * ENTRY_BYTES;
        let message_offsets = references + self.references * ENTRY_BYTES;
        let thread_offsets = message_offsets + (self.rows + 1) * 4;
        let end = thread_offsets + (self.rows + 1) * 4;
        Places { entries: [ids, external_ids, references], message_offsets, thread_offsets, end }
    }

    fn numbers(&self) -> [u64; 5] {
        [VERSION, self.rows, self.external_ids, self.references, self.messages]
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

    /// Also gives the checksum that the header declares.
    pub(super) fn read(bytes: &[u8], size: u64) -> Result<(Self, u64), String> {
        if bytes.len() < HEADER_BYTES {
            return Err(format!("it has {} bytes, its header alone has {HEADER_BYTES}", bytes.len()));
        }
        let numbers = bytes.strip_prefix(&MAGIC).ok_or("it does not start as an index does")?;
        let number = |index: usize| u64_at(numbers, index).ok_or_else(|| "its header is cut".to_owned());
        if number(0)? != VERSION {
            return Err(format!("version {}, {VERSION} is supported", number(0)?));
        }
        let header =
            Header { rows: number(1)?, external_ids: number(2)?, references: number(3)?, messages: number(4)? };
        if [header.rows, header.external_ids, header.references, header.messages]
            .iter()
            .any(|&count| count > u64::from(u32::MAX))
        {
            return Err("its header counts more than 4294967295".to_owned());
        }
        let end = header.places().end;
        if end != size {
            return Err(format!("its body has {size} bytes, its header declares {end}"));
        }
        Ok((header, number(5)?))
    }
}

pub(super) fn u64_at(bytes: &[u8], index: usize) -> Option<u64> {
    bytes.get(index * 8..index * 8 + 8)?.try_into().ok().map(u64::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], index: usize) -> Option<u32> {
    bytes.get(index * 4..index * 4 + 4)?.try_into().ok().map(u32::from_le_bytes)
}
