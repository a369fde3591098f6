//! The first bytes of a sidecar: how long its parts are, and the checksum of all before the body.

use xxhash_rust::xxh3::Xxh3;

const MAGIC: [u8; 8] = *b"CLSIDE\r\n";
pub(super) const FORMAT: u64 = 1;
pub(super) const HEADER_BYTES: u64 = 48;
const CHECKED_BYTES: usize = 40;

/// Lengths, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) description: u64,
    pub(super) opening: u64,
    pub(super) body: u64,
    /// Of the checksums of the body's blocks.
    pub(super) blocks: u64,
}

impl Header {
    /// Up to the body; None where the lengths cannot be.
    pub(super) fn head_bytes(&self) -> Option<u64> {
        let Header { description, opening, blocks, .. } = *self;
        HEADER_BYTES.checked_add(description)?.checked_add(opening)?.checked_add(blocks)
    }

    /// The whole header; `rest` is what lies between it and the body.
    pub(super) fn encode(&self, rest: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
        bytes.extend_from_slice(&MAGIC);
        for number in [FORMAT, self.description, self.opening, self.body] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let checksum = checksum(&bytes, rest);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `size` is the object's. Also gives the checksum that is declared.
    pub(super) fn decode(bytes: &[u8], size: u64, block_bytes: u64) -> Result<(Header, u64), String> {
        let numbers = bytes.strip_prefix(&MAGIC).ok_or("it does not start as a sidecar does")?;
        let number = |index: usize| {
            let bytes = numbers.get(index * 8..index * 8 + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_le_bytes).ok_or("its header is cut")
        };
        let format = number(0)?;
        if format != FORMAT {
            return Err(format!("it has format {format}, {FORMAT} is read"));
        }
        let (description, opening, body) = (number(1)?, number(2)?, number(3)?);
        let blocks = body.div_ceil(block_bytes).saturating_mul(8);
        let header = Header { description, opening, body, blocks };
        let declared = header.head_bytes().and_then(|head| head.checked_add(body));
        if declared != Some(size) {
            return Err(format!("it has {size} bytes, its header declares other lengths"));
        }
        Ok((header, number(4)?))
    }
}

/// Of the header as far as it is checked, and what lies between it and the body.
pub(super) fn checksum(header: &[u8], rest: &[&[u8]]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(header.get(..CHECKED_BYTES).unwrap_or(header));
    rest.iter().for_each(|bytes| hash.update(bytes));
    hash.digest()
}
