//! The sidecar of a data file: from a conversation's key to its row, and from the row to what a re-log needs.
//!
//! ```text
//! header (64 bytes: magic, counts, checksum of the opening)
//! opening, read once and kept: for ids, external ids and references a Bloom filter and a fence
//! sorted entries (hash u128, row u32) of ids, of external ids, of references
//! message offsets, thread offsets (u32, rows + 1)    previous offsets (u64, rows + 1)    previous blobs
//! ```
//! Integers are little-endian. Everything after the opening is read by small ranges. About 1.6 bytes per key stay in
//! memory.

use std::ops::Range;

use crate::storage::error::{Cause, ErrorKind};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStore};
use xxhash_rust::xxh3::Xxh3;

const MAGIC: [u8; 8] = *b"CLIDX\x00\r\n";
const VERSION: u64 = 3;
/// magic | version | rows (= ids) | external ids | references | message rows | bytes of blobs | checksum
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: u64 = 20;
/// Entries from one fence post to the next: a lookup reads 2,560 bytes.
const FENCE_STEP: usize = 128;
/// What the first read of a sidecar takes; one read is enough for some 20,000 rows.
const FIRST_READ: u64 = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("the index {path} is damaged: {reason}")]
    Corrupt { path: Path, reason: String },
    #[error("row {row} is asked of the index {path}, which has {rows}")]
    Row { path: Path, row: u32, rows: u32 },
    #[error("an index of {count} {what} cannot be written; 4294967295 are allowed")]
    TooLarge { what: &'static str, count: u64 },
    #[error("the index {path} cannot be read: {source}")]
    Store { path: Path, source: Error },
}

impl Cause for IndexError {
    fn kind(&self) -> ErrorKind {
        match self {
            IndexError::Corrupt { .. } => ErrorKind::Damaged,
            IndexError::Row { .. } | IndexError::TooLarge { .. } => ErrorKind::Bug,
            IndexError::Store { source, .. } => source.kind(),
        }
    }
}

/// How many rows a conversation has in the sibling files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Siblings {
    pub(crate) messages: u32,
    pub(crate) threads: u32,
}

/// Takes the rows in the file's order.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    ids: Vec<(u128, u32)>,
    external_ids: Vec<(u128, u32)>,
    references: Vec<(u128, u32)>,
    message_offsets: Vec<u32>,
    messages: u64,
    thread_offsets: Vec<u32>,
    threads: u32,
    previous_offsets: Vec<u64>,
    previous: Vec<u8>,
}

impl IndexBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// `siblings` is how many rows the conversation has in the sibling files of messages and of threads, which start where
    /// those of the row before end. `previous` is what [`FileIndex::previous`] gives back.
    pub(crate) fn push(&mut self, id: u128, external_id: Option<u128>, siblings: Siblings, previous: &[u8]) {
        // A count beyond u32 is reported by `finish`.
        let row = self.ids.len() as u32;
        self.ids.push((id, row));
        self.external_ids.extend(external_id.map(|hash| (hash, row)));
        self.message_offsets.push(self.messages as u32);
        self.messages += u64::from(siblings.messages);
        self.thread_offsets.push(self.threads);
        // No more than messages, whose count is checked.
        self.threads = self.threads.saturating_add(siblings.threads);
        self.previous_offsets.push(self.previous.len() as u64);
        self.previous.extend_from_slice(previous);
    }

    /// A further key of the row that was pushed last; other rows may have it too.
    pub(crate) fn push_reference(&mut self, hash: u128) {
        self.references.push((hash, (self.ids.len() as u32).saturating_sub(1)));
    }

    pub(crate) fn finish(mut self) -> Result<Bytes, IndexError> {
        let counts = [
            ("rows", self.ids.len() as u64),
            ("messages", self.messages),
            ("references", self.references.len() as u64),
        ];
        for (what, count) in counts {
            if count > u64::from(u32::MAX) {
                return Err(IndexError::TooLarge { what, count });
            }
        }
        self.message_offsets.push(self.messages as u32);
        self.thread_offsets.push(self.threads);
        self.previous_offsets.push(self.previous.len() as u64);
        self.ids.sort_unstable();
        self.external_ids.sort_unstable();
        self.references.sort_unstable();
        self.references.dedup();

        let mut opening = Vec::new();
        for entries in [&self.ids, &self.external_ids, &self.references] {
            let mut bloom = Bloom::for_keys(entries.len());
            entries.iter().for_each(|(hash, _)| bloom.insert(*hash));
            bloom.write(&mut opening);
            entries.iter().step_by(FENCE_STEP).for_each(|(hash, _)| {
                opening.extend_from_slice(&high(*hash).to_le_bytes());
            });
        }
        let header = Header {
            rows: self.ids.len() as u64,
            external_ids: self.external_ids.len() as u64,
            references: self.references.len() as u64,
            messages: self.messages,
            previous_bytes: self.previous.len() as u64,
        };
        let mut object = Vec::with_capacity(header.places().end as usize);
        header.write(&opening, &mut object);
        object.append(&mut opening);
        for (hash, row) in self.ids.iter().chain(&self.external_ids).chain(&self.references) {
            object.extend_from_slice(&hash.to_le_bytes());
            object.extend_from_slice(&row.to_le_bytes());
        }
        let offsets = self.message_offsets.iter().chain(&self.thread_offsets);
        offsets.for_each(|offset| object.extend_from_slice(&offset.to_le_bytes()));
        self.previous_offsets.iter().for_each(|offset| object.extend_from_slice(&offset.to_le_bytes()));
        object.append(&mut self.previous);
        debug_assert_eq!(object.len() as u64, header.places().end);
        Ok(object.into())
    }
}

fn high(hash: u128) -> u64 {
    (hash >> 64) as u64
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    rows: u64,
    external_ids: u64,
    references: u64,
    messages: u64,
    previous_bytes: u64,
}

/// Where each part of the object starts.
#[derive(Clone, Copy, Debug)]
struct Places {
    entries: [u64; 3],
    message_offsets: u64,
    thread_offsets: u64,
    previous_offsets: u64,
    previous: u64,
    end: u64,
}

impl Header {
    fn keys(&self) -> [u64; 3] {
        [self.rows, self.external_ids, self.references]
    }

    fn opening_bytes(&self) -> u64 {
        self.keys().iter().map(|&keys| Bloom::bytes_for(keys as usize) + keys.div_ceil(FENCE_STEP as u64) * 8).sum()
    }

    fn places(&self) -> Places {
        let ids = HEADER_BYTES as u64 + self.opening_bytes();
        let external_ids = ids + self.rows * ENTRY_BYTES;
        let references = external_ids + self.external_ids * ENTRY_BYTES;
        let message_offsets = references + self.references * ENTRY_BYTES;
        let thread_offsets = message_offsets + (self.rows + 1) * 4;
        let previous_offsets = thread_offsets + (self.rows + 1) * 4;
        let previous = previous_offsets + (self.rows + 1) * 8;
        let end = previous.saturating_add(self.previous_bytes);
        Places {
            entries: [ids, external_ids, references],
            message_offsets,
            thread_offsets,
            previous_offsets,
            previous,
            end,
        }
    }

    fn numbers(&self) -> [u64; 6] {
        [VERSION, self.rows, self.external_ids, self.references, self.messages, self.previous_bytes]
    }

    fn checksum(&self, opening: &[u8]) -> u64 {
        let mut hash = Xxh3::new();
        self.numbers().iter().for_each(|number| hash.update(&number.to_le_bytes()));
        hash.update(opening);
        hash.digest()
    }

    fn write(&self, opening: &[u8], to: &mut Vec<u8>) {
        to.extend_from_slice(&MAGIC);
        self.numbers().iter().for_each(|number| to.extend_from_slice(&number.to_le_bytes()));
        to.extend_from_slice(&self.checksum(opening).to_le_bytes());
    }

    /// Also gives the checksum that the header declares.
    fn read(bytes: &[u8], size: u64) -> Result<(Self, u64), String> {
        if bytes.len() < HEADER_BYTES {
            return Err(format!("it has {} bytes, its header alone has {HEADER_BYTES}", bytes.len()));
        }
        let numbers = bytes.strip_prefix(&MAGIC).ok_or("it does not start as an index does")?;
        let number = |index: usize| u64_at(numbers, index).ok_or_else(|| "its header is cut".to_owned());
        if number(0)? != VERSION {
            return Err(format!("version {}, {VERSION} is supported", number(0)?));
        }
        let header = Header {
            rows: number(1)?,
            external_ids: number(2)?,
            references: number(3)?,
            messages: number(4)?,
            previous_bytes: number(5)?,
        };
        if [header.rows, header.external_ids, header.references, header.messages]
            .iter()
            .any(|&count| count > u64::from(u32::MAX))
        {
            return Err("its header counts more than 4294967295".to_owned());
        }
        let end = header.places().end;
        if end != size {
            return Err(format!("it has {size} bytes, its header declares {end}"));
        }
        Ok((header, number(6)?))
    }
}

fn u64_at(bytes: &[u8], index: usize) -> Option<u64> {
    bytes.get(index * 8..index * 8 + 8)?.try_into().ok().map(u64::from_le_bytes)
}

fn u32_at(bytes: &[u8], index: usize) -> Option<u32> {
    bytes.get(index * 4..index * 4 + 4)?.try_into().ok().map(u32::from_le_bytes)
}

/// Split block Bloom filter, the kind Parquet has: a key sets one bit in each of a block's eight words. With 12 bits
/// per key about 0.5 % of absent keys seem present.
struct Bloom {
    blocks: Vec<[u32; 8]>,
}

const BLOOM_BITS_PER_KEY: usize = 12;
const BLOOM_BLOCK_BYTES: usize = 32;
/// Odd multipliers of Parquet's filter; each gives another bit.
const BLOOM_SALTS: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

impl Bloom {
    fn blocks_for(keys: usize) -> usize {
        (keys * BLOOM_BITS_PER_KEY).div_ceil(BLOOM_BLOCK_BYTES * 8)
    }

    fn bytes_for(keys: usize) -> u64 {
        (Self::blocks_for(keys) * BLOOM_BLOCK_BYTES) as u64
    }

    fn for_keys(keys: usize) -> Self {
        Self { blocks: vec![[0; 8]; Self::blocks_for(keys)] }
    }

    /// Uses the lower half of the hash; fences use the upper.
    fn place(&self, hash: u128) -> (usize, [u32; 8]) {
        let block = (((hash as u64) >> 32) * self.blocks.len() as u64) >> 32;
        (block as usize, BLOOM_SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27)))
    }

    fn insert(&mut self, hash: u128) {
        let (block, bits) = self.place(hash);
        if let Some(block) = self.blocks.get_mut(block) {
            block.iter_mut().zip(bits).for_each(|(word, bit)| *word |= bit);
        }
    }

    fn may_contain(&self, hash: u128) -> bool {
        let (block, bits) = self.place(hash);
        self.blocks.get(block).is_some_and(|block| block.iter().zip(bits).all(|(word, bit)| word & bit != 0))
    }

    fn write(&self, to: &mut Vec<u8>) {
        self.blocks.iter().flatten().for_each(|word| to.extend_from_slice(&word.to_le_bytes()));
    }

    fn read(bytes: &[u8]) -> Self {
        let word = |block: &[u8], index| u32_at(block, index).unwrap_or_default();
        let (blocks, _) = bytes.as_chunks::<BLOOM_BLOCK_BYTES>();
        Self { blocks: blocks.iter().map(|block| std::array::from_fn(|index| word(block, index))).collect() }
    }
}

/// One sorted list of keys: what of it is in memory.
struct Keys {
    bloom: Bloom,
    /// Upper half of every 128th hash.
    fence: Vec<u64>,
    count: u64,
    /// Where its entries start in the object.
    start: u64,
}

impl Keys {
    /// Bytes of the entries among which `hash` is, if it is at all.
    fn range(&self, hash: u128) -> Option<Range<u64>> {
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
}

fn rows_of(entries: &[u8], hash: u128) -> Vec<u32> {
    let (entries, _) = entries.as_chunks::<{ ENTRY_BYTES as usize }>();
    let split = |entry: &[u8; ENTRY_BYTES as usize]| {
        let (hash, row) = entry.split_first_chunk::<16>()?;
        Some((u128::from_le_bytes(*hash), u32_at(row, 0)?))
    };
    let first = entries.partition_point(|entry| split(entry).is_some_and(|(found, _)| found < hash));
    let equal = entries.iter().skip(first).map_while(split).take_while(|(found, _)| *found == hash);
    equal.map(|(_, row)| row).collect()
}

/// An open sidecar.
pub(crate) struct FileIndex {
    path: Path,
    header: Header,
    places: Places,
    ids: Keys,
    external_ids: Keys,
    references: Keys,
}

impl FileIndex {
    /// `size` is the object's, in bytes. One read, or two of large indexes.
    pub(crate) async fn open(store: &dyn ObjectStore, path: Path, size: u64) -> Result<Self, IndexError> {
        let first = read(store, &path, 0..size.min(FIRST_READ)).await?;
        let (header, _) =
            Header::read(&first, size).map_err(|reason| IndexError::Corrupt { path: path.clone(), reason })?;
        let end = HEADER_BYTES as u64 + header.opening_bytes();
        if end <= first.len() as u64 {
            return Self::from_start(path, &first, size);
        }
        let mut start = first.to_vec();
        start.extend_from_slice(&read(store, &path, first.len() as u64..end).await?);
        Self::from_start(path, &start, size)
    }

    /// Of no rows: for files whose rows are found by those of a sibling.
    pub(crate) fn empty() -> Self {
        let header = Header { rows: 0, external_ids: 0, references: 0, messages: 0, previous_bytes: 0 };
        let none = || Keys { bloom: Bloom::for_keys(0), fence: Vec::new(), count: 0, start: 0 };
        let (ids, external_ids, references) = (none(), none(), none());
        Self { path: Path::default(), places: header.places(), header, ids, external_ids, references }
    }

    /// Of an object that has just been written.
    pub(crate) fn from_bytes(path: Path, object: &[u8]) -> Result<Self, IndexError> {
        Self::from_start(path, object, object.len() as u64)
    }

    fn from_start(path: Path, start: &[u8], size: u64) -> Result<Self, IndexError> {
        let corrupt = |reason: String| IndexError::Corrupt { path: path.clone(), reason };
        let (header, declared) = Header::read(start, size).map_err(corrupt)?;
        let mut opening = start
            .get(HEADER_BYTES..HEADER_BYTES + header.opening_bytes() as usize)
            .ok_or_else(|| corrupt("its opening is cut".to_owned()))?;
        let checksum = header.checksum(opening);
        if checksum != declared {
            return Err(corrupt(format!("checksum {checksum:016x}, {declared:016x} is declared")));
        }
        let places = header.places();
        let mut take = |count: u64, start: u64| {
            let (bloom, rest) = opening.split_at(Bloom::bytes_for(count as usize) as usize);
            let (fence, rest) = rest.split_at(count.div_ceil(FENCE_STEP as u64) as usize * 8);
            opening = rest;
            let fence = fence.as_chunks::<8>().0.iter().map(|post| u64::from_le_bytes(*post)).collect();
            Keys { bloom: Bloom::read(bloom), fence, count, start }
        };
        let ids = take(header.rows, places.entries[0]);
        let external_ids = take(header.external_ids, places.entries[1]);
        let references = take(header.references, places.entries[2]);
        Ok(Self { path, header, places, ids, external_ids, references })
    }

    pub(crate) fn rows(&self) -> u32 {
        self.header.rows as u32
    }

    /// Rows of the sibling messages file.
    pub(crate) fn messages(&self) -> u32 {
        self.header.messages as u32
    }

    /// What it holds in memory.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> usize {
        let keys = [&self.ids, &self.external_ids, &self.references];
        size_of::<Self>() + keys.iter().map(|keys| keys.bloom.blocks.len() * 32 + keys.fence.len() * 8).sum::<usize>()
    }

    /// False is certain; reads nothing.
    #[cfg(test)]
    pub(crate) fn may_contain_id(&self, hash: u128) -> bool {
        self.ids.bloom.may_contain(hash)
    }

    /// False is certain; reads nothing.
    #[cfg(test)]
    pub(crate) fn may_contain_external_id(&self, hash: u128) -> bool {
        self.external_ids.bloom.may_contain(hash)
    }

    /// Rows, ascending, whose id has this hash; deleted ones too. The caller compares the ids. At most one read.
    pub(crate) async fn find_id(&self, store: &dyn ObjectStore, hash: u128) -> Result<Vec<u32>, IndexError> {
        self.find(store, &self.ids, hash).await
    }

    /// As [`FileIndex::find_id`].
    pub(crate) async fn find_external_id(&self, store: &dyn ObjectStore, hash: u128) -> Result<Vec<u32>, IndexError> {
        self.find(store, &self.external_ids, hash).await
    }

    /// As [`FileIndex::find_id`].
    pub(crate) async fn find_reference(&self, store: &dyn ObjectStore, hash: u128) -> Result<Vec<u32>, IndexError> {
        self.find(store, &self.references, hash).await
    }

    async fn find(&self, store: &dyn ObjectStore, keys: &Keys, hash: u128) -> Result<Vec<u32>, IndexError> {
        let Some(range) = keys.range(hash) else { return Ok(Vec::new()) };
        let rows = rows_of(&read(store, &self.path, range).await?, hash);
        match rows.iter().find(|row| **row >= self.rows()) {
            None => Ok(rows),
            Some(row) => Err(self.corrupt(format!("an entry names row {row} of {}", self.rows()))),
        }
    }

    /// The blob of a row. Two reads.
    pub(crate) async fn previous(&self, store: &dyn ObjectStore, row: u32) -> Result<Bytes, IndexError> {
        self.check_row(row)?;
        let start = self.places.previous_offsets + u64::from(row) * 8;
        let offsets = read(store, &self.path, start..start + 16).await?;
        let range = match (u64_at(&offsets, 0), u64_at(&offsets, 1)) {
            (Some(start), Some(end)) if start <= end && end <= self.header.previous_bytes => start..end,
            found => return Err(self.corrupt(format!("the blob of row {row} lies at {found:?}"))),
        };
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        read(store, &self.path, self.places.previous + range.start..self.places.previous + range.end).await
    }

    /// Rows of a conversation in the sibling messages file. One read.
    pub(crate) async fn message_range(&self, store: &dyn ObjectStore, row: u32) -> Result<Range<u32>, IndexError> {
        self.check_row(row)?;
        let start = self.places.message_offsets + u64::from(row) * 4;
        let offsets = read(store, &self.path, start..start + 8).await?;
        match (u32_at(&offsets, 0), u32_at(&offsets, 1)) {
            (Some(start), Some(end)) if start <= end && end <= self.messages() => Ok(start..end),
            found => Err(self.corrupt(format!("the messages of row {row} lie at {found:?}"))),
        }
    }

    /// First message row of every conversation, then the count of message rows. One read of 4 bytes per row.
    pub(crate) async fn message_offsets(&self, store: &dyn ObjectStore) -> Result<Vec<u32>, IndexError> {
        let offsets = self.offsets(store, self.places.message_offsets..self.places.thread_offsets).await?;
        if offsets.last() != Some(&self.messages()) {
            return Err(self.corrupt("the message offsets do not end at the count".to_owned()));
        }
        Ok(offsets)
    }

    /// The same of threads.
    pub(crate) async fn thread_offsets(&self, store: &dyn ObjectStore) -> Result<Vec<u32>, IndexError> {
        self.offsets(store, self.places.thread_offsets..self.places.previous_offsets).await
    }

    async fn offsets(&self, store: &dyn ObjectStore, range: Range<u64>) -> Result<Vec<u32>, IndexError> {
        let bytes = read(store, &self.path, range).await?;
        let offsets: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|offset| u32::from_le_bytes(*offset)).collect();
        if !offsets.is_sorted() || offsets.first().is_some_and(|first| *first != 0) {
            return Err(self.corrupt("offsets do not ascend from 0".to_owned()));
        }
        Ok(offsets)
    }

    fn check_row(&self, row: u32) -> Result<(), IndexError> {
        let rows = self.rows();
        if row < rows { Ok(()) } else { Err(IndexError::Row { path: self.path.clone(), row, rows }) }
    }

    fn corrupt(&self, reason: String) -> IndexError {
        IndexError::Corrupt { path: self.path.clone(), reason }
    }
}

/// By `get_ranges`: on a local store that is one open and one read in one blocking call.
async fn read(store: &dyn ObjectStore, path: &Path, range: Range<u64>) -> Result<Bytes, IndexError> {
    let length = range.end - range.start;
    let parts = store.get_ranges(path, std::slice::from_ref(&range)).await;
    let parts = parts.map_err(|source| IndexError::Store { path: path.clone(), source })?;
    match parts.into_iter().next() {
        Some(bytes) if bytes.len() as u64 == length => Ok(bytes),
        _ => Err(IndexError::Corrupt { path: path.clone(), reason: format!("it ends within {range:?}") }),
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    fn siblings(messages: u32, threads: u32) -> Siblings {
        Siblings { messages, threads }
    }

    use xxhash_rust::xxh3::xxh3_128;

    use super::*;
    use crate::model::ids::{OrganizationId, ProjectId, key_hash};

    fn hash(number: u32) -> u128 {
        xxh3_128(&number.to_le_bytes())
    }

    fn external(number: u32) -> Option<u128> {
        (number % 3 == 0).then(|| hash(number / 30 + 1_000_000_000))
    }

    fn build(rows: u32) -> Bytes {
        let mut builder = IndexBuilder::new();
        for row in 0..rows {
            builder.push(
                hash(row),
                external(row),
                siblings(row % 5, row % 3),
                format!("{row}").repeat(row as usize % 4).as_bytes(),
            );
        }
        builder.finish().unwrap()
    }

    async fn stored(rows: u32) -> (InMemory, FileIndex) {
        let (store, path) = (InMemory::new(), Path::from("conversations/index/a.idx"));
        let object = build(rows);
        let size = object.len() as u64;
        store.put(&path, object.into()).await.unwrap();
        let index = FileIndex::open(&store, path, size).await.unwrap();
        (store, index)
    }

    #[tokio::test]
    async fn every_row_is_found() {
        for rows in [0, 1, 127, 128, 129, 1000, 30_000] {
            let (store, index) = stored(rows).await;
            assert_eq!((index.rows(), index.memory_bytes() < 200 + 8 * rows as usize + 200), (rows, true));
            let offsets = index.message_offsets(&store).await.unwrap();
            assert_eq!(offsets.len(), rows as usize + 1);
            for row in (0..rows).step_by(1 + rows as usize / 300).chain(rows.checked_sub(1)) {
                assert_eq!(index.find_id(&store, hash(row)).await.unwrap(), [row]);
                let messages = index.message_range(&store, row).await.unwrap();
                assert_eq!(messages, offsets[row as usize]..offsets[row as usize + 1]);
                assert_eq!(messages.len(), row as usize % 5);
                let previous = index.previous(&store, row).await.unwrap();
                assert_eq!(previous, format!("{row}").repeat(row as usize % 4));
                if let Some(key) = external(row) {
                    let expected: Vec<u32> = (0..rows).filter(|other| external(*other) == Some(key)).collect();
                    assert_eq!(index.find_external_id(&store, key).await.unwrap(), expected);
                }
            }
            assert!(matches!(index.previous(&store, rows).await, Err(IndexError::Row { .. })));
            assert!(matches!(index.message_range(&store, rows).await, Err(IndexError::Row { .. })));
        }
    }

    #[tokio::test]
    async fn references_find_all_their_rows_once() {
        let mut builder = IndexBuilder::new();
        for row in 0..2_000 {
            builder.push(hash(row), None, siblings(2, 1), b"x");
            // Twice the same, one that many rows share, one of its own.
            for reference in [row % 7, row % 7, 1_000 + row] {
                builder.push_reference(hash(10_000 + reference));
            }
        }
        let (store, path, object) = (InMemory::new(), Path::from("a.idx"), builder.finish().unwrap());
        store.put(&path, object.clone().into()).await.unwrap();
        let index = FileIndex::open(&store, path, object.len() as u64).await.unwrap();
        for shared in 0..7 {
            let expected: Vec<u32> = (0..2_000).filter(|row| row % 7 == shared).collect();
            assert_eq!(index.find_reference(&store, hash(10_000 + shared)).await.unwrap(), expected);
        }
        for row in (0..2_000).step_by(13) {
            assert_eq!(index.find_reference(&store, hash(11_000 + row)).await.unwrap(), [row]);
            assert_eq!(index.previous(&store, row).await.unwrap(), "x");
            assert_eq!(index.message_range(&store, row).await.unwrap(), row * 2..row * 2 + 2);
        }
        assert!(index.find_reference(&store, hash(1)).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn absent_keys_are_not_found_and_seldom_read() {
        let (store, index) = stored(20_000).await;
        let absent = 50_000..100_000;
        let seeming = absent.clone().filter(|number| index.may_contain_id(hash(*number))).count();
        assert!(seeming < 500, "{seeming} of 50000 absent keys seem present");
        for number in absent.filter(|number| index.may_contain_id(hash(*number))) {
            assert!(index.find_id(&store, hash(number)).await.unwrap().is_empty());
        }
        assert!(!index.may_contain_external_id(hash(7)));
    }

    /// Equal hashes that fill several blocks, and fence posts that equal a hash only in the upper half.
    #[tokio::test]
    async fn equal_hashes_across_blocks() {
        let mut builder = IndexBuilder::new();
        let key = |row: u32| (u128::from(row / 300) << 64) | u128::from((row % 3) << 7) | 0x5555_0000_0000;
        for row in 0..1500 {
            builder.push(key(row), None, Siblings::default(), b"");
        }
        let object = builder.finish().unwrap();
        let (store, path) = (InMemory::new(), Path::from("a.idx"));
        store.put(&path, object.clone().into()).await.unwrap();
        let index = FileIndex::from_bytes(path, &object).unwrap();
        for row in (0..1500).step_by(7) {
            let expected: Vec<u32> = (0..1500).filter(|other| key(*other) == key(row)).collect();
            assert_eq!(index.find_id(&store, key(row)).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn a_million_rows_fit_in_8_mb() {
        let mut builder = IndexBuilder::new();
        for row in 0..1_000_000 {
            builder.push(hash(row), Some(hash(row ^ 0x8000_0000)), siblings(1, 1), b"");
        }
        let index = FileIndex::from_bytes(Path::from("a"), &builder.finish().unwrap()).unwrap();
        assert!(index.memory_bytes() < 8 << 20, "{} bytes", index.memory_bytes());
    }

    #[tokio::test]
    async fn a_damaged_opening_is_refused() {
        let object = build(300);
        let opening = HEADER_BYTES + Header::read(&object, object.len() as u64).unwrap().0.opening_bytes() as usize;
        for index in 0..opening {
            let mut damaged = object.to_vec();
            damaged[index] ^= 4;
            let result = FileIndex::from_bytes(Path::from("a"), &damaged);
            assert!(matches!(result, Err(IndexError::Corrupt { .. })), "byte {index}");
        }
        for length in [0, 5, HEADER_BYTES, opening, object.len() - 1] {
            assert!(FileIndex::from_bytes(Path::from("a"), &object[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn keys_of_other_parts_differ() {
        let hash = |organization: &str, project: &str, id: &str| {
            key_hash(&OrganizationId::new(organization), &ProjectId::new(project), id)
        };
        let keys = [("a", "b", "c"), ("ab", "", "c"), ("", "ab", "c"), ("a", "bc", ""), ("a", "", "bc")];
        for (number, (organization, project, id)) in keys.iter().enumerate() {
            let same = keys.iter().filter(|key| hash(key.0, key.1, key.2) == hash(organization, project, id)).count();
            assert_eq!(same, 1, "{number}");
        }
        // It stands in files, so it may never change.
        assert_eq!(hash("a", "b", "c"), 123_901_051_403_331_717_176_519_081_376_268_818_236);
    }
}
