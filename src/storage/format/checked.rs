//! Reads of stored objects whose every byte is checked: an object, or a part of one, has a checksum of each of its
//! blocks, and a read is widened to whole blocks, verified and cut.
//!
//! Parquet's own page checksums would not do: parquet 59.3 cannot write them, they leave out footers and page headers,
//! and its decoder panics at some damaged footers.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::storage::error::{Cause, ErrorKind, StoreError};
use crate::storage::objects::disk_cache::Fresh;

/// Of data objects: small beside what a point read takes, and 0.05 % more to store.
pub(crate) const DATA_BLOCK_BYTES: u64 = 16 << 10;
pub(crate) const CHECKSUM_BYTES: u64 = 8;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{object} is damaged: {reason}; put a sound copy of it back")]
    Damaged { object: Path, reason: String },
    /// The object may be sound.
    #[error("{object} cannot be read: {source}")]
    Store { object: Path, source: Error },
    #[error("{object} is damaged and could not be made again: {source}")]
    NotRemade { object: Path, source: Box<StoreError> },
}

impl Cause for ReadError {
    fn kind(&self) -> ErrorKind {
        match self {
            ReadError::Damaged { .. } => ErrorKind::Damaged,
            ReadError::Store { source, .. } => source.kind(),
            ReadError::NotRemade { source, .. } => source.kind(),
        }
    }

    fn object(&self) -> Option<&Path> {
        match self {
            ReadError::Damaged { object, .. } | ReadError::Store { object, .. } => Some(object),
            ReadError::NotRemade { object, source } => Some(source.object().unwrap_or(object)),
        }
    }
}

/// Makes the checksums of an object's blocks from its bytes, however they come.
pub(crate) struct BlockHasher {
    block_bytes: u64,
    hash: Xxh3,
    /// Bytes in `hash`; fewer than a block.
    begun: u64,
    checksums: Vec<u64>,
}

impl BlockHasher {
    pub(crate) fn new(block_bytes: u64) -> Self {
        Self { block_bytes, hash: Xxh3::new(), begun: 0, checksums: Vec::new() }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min((self.block_bytes - self.begun) as usize));
            self.hash.update(now);
            self.begun += now.len() as u64;
            bytes = rest;
            if self.begun == self.block_bytes {
                self.end_block();
            }
        }
    }

    /// The last block may be shorter.
    pub(crate) fn finish(mut self) -> Vec<u64> {
        if self.begun > 0 {
            self.end_block();
        }
        self.checksums
    }

    fn end_block(&mut self) {
        self.checksums.push(self.hash.digest());
        self.hash.reset();
        self.begun = 0;
    }
}

/// `length` bytes of an object from `start` on. Ranges count from there.
#[derive(Debug)]
pub(crate) struct CheckedObject {
    path: Path,
    start: u64,
    length: u64,
    block_bytes: u64,
    checksums: Vec<u64>,
}

impl CheckedObject {
    /// A whole data object.
    pub(crate) fn data(path: Path, length: u64, checksums: Vec<u64>) -> Result<Self, ReadError> {
        Self::part((path, 0), length, DATA_BLOCK_BYTES, checksums)
    }

    pub(crate) fn part(
        (path, start): (Path, u64),
        length: u64,
        block_bytes: u64,
        checksums: Vec<u64>,
    ) -> Result<Self, ReadError> {
        if checksums.len() as u64 != length.div_ceil(block_bytes) {
            let reason = format!("{} checksums are known of its {length} bytes", checksums.len());
            return Err(ReadError::Damaged { object: path, reason });
        }
        Ok(Self { path, start, length, block_bytes, checksums })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.checksums.len() * size_of::<u64>()
    }

    fn damaged(&self, reason: String) -> ReadError {
        ReadError::Damaged { object: self.path.clone(), reason }
    }

    /// The bytes of each range. One request to the store; each block is read and verified once. What is given keeps the
    /// blocks around it alive.
    pub(crate) async fn read(&self, store: &dyn ObjectStore, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, ReadError> {
        let mut wide: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            if range.start > range.end || range.end > self.length {
                return Err(self.damaged(format!("bytes {range:?} are asked of its {}", self.length)));
            }
            if !range.is_empty() {
                wide.push(self.widened(range));
            }
        }
        let wide = united(wide);
        if wide.is_empty() {
            return Ok(vec![Bytes::new(); ranges.len()]);
        }
        let stored: Vec<Range<u64>> = wide.iter().map(|wide| wide.start + self.start..wide.end + self.start).collect();
        let mut read = match store.get_ranges(&self.path, &stored).await {
            Ok(read) => read,
            Err(source) => return Err(self.failed(store, source).await),
        };
        if read.len() != wide.len() {
            return Err(self.damaged(format!("{} of {} ranges were read", read.len(), wide.len())));
        }
        for (wide, bytes) in wide.iter().zip(&mut read) {
            if self.verify(wide, bytes).is_err() {
                // What lies between may be what is damaged: a cache.
                *bytes = self.read_fresh(store, wide).await?;
                self.verify(wide, bytes)?;
            }
        }
        let cut = |range: &Range<u64>| {
            if range.is_empty() {
                return Some(Bytes::new());
            }
            let at = wide.partition_point(|wide| wide.end <= range.start);
            let (wide, bytes) = wide.get(at).zip(read.get(at))?;
            let (start, end) = (range.start.checked_sub(wide.start)?, range.end.checked_sub(wide.start)?);
            (end <= bytes.len() as u64).then(|| bytes.slice(start as usize..end as usize))
        };
        let cut: Option<Vec<Bytes>> = ranges.iter().map(cut).collect();
        cut.ok_or_else(|| self.damaged("a range was not read".to_owned()))
    }

    /// Past every cache.
    async fn read_fresh(&self, store: &dyn ObjectStore, range: &Range<u64>) -> Result<Bytes, ReadError> {
        let stored = GetRange::Bounded(range.start + self.start..range.end + self.start);
        let mut options = GetOptions { range: Some(stored), ..GetOptions::default() };
        options.extensions.insert(Fresh);
        let read = async { store.get_opts(&self.path, options).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(bytes),
            Err(source) => Err(self.failed(store, source).await),
        }
    }

    /// Stores tell a read beyond an object's end from one that failed in their own ways only.
    async fn failed(&self, store: &dyn ObjectStore, source: Error) -> ReadError {
        let needed = self.start + self.length;
        match store.head(&self.path).await {
            Ok(found) if found.size < needed => self.damaged(format!("it has {} bytes of {needed}", found.size)),
            _ => ReadError::Store { object: self.path.clone(), source },
        }
    }

    /// Whether these are the bytes from a block's start to a block's end (or the last one's).
    pub(crate) fn verify(&self, range: &Range<u64>, bytes: &[u8]) -> Result<(), ReadError> {
        if bytes.len() as u64 != range.end - range.start {
            return Err(self.damaged(format!("it ends within bytes {range:?}, {} were read", bytes.len())));
        }
        let first = (range.start / self.block_bytes) as usize;
        let declared = self.checksums.get(first..).unwrap_or_default();
        for (number, block) in bytes.chunks(self.block_bytes as usize).enumerate() {
            let found = xxh3_64(block);
            match declared.get(number) {
                Some(declared) if *declared == found => {}
                declared => {
                    let from = self.start + range.start + number as u64 * self.block_bytes;
                    let declared = declared.copied().unwrap_or_default();
                    let reason = format!(
                        "the {} bytes from {from} on have the checksum {found:016x}, {declared:016x} is known of them",
                        block.len()
                    );
                    return Err(self.damaged(reason));
                }
            }
        }
        Ok(())
    }

    fn widened(&self, range: &Range<u64>) -> Range<u64> {
        let end = range.end.div_ceil(self.block_bytes) * self.block_bytes;
        range.start / self.block_bytes * self.block_bytes..end.min(self.length)
    }
}

/// Sorted; those that overlap become one.
fn united(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut united: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match united.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => united.push(range),
        }
    }
    united
}

/// Of a whole data object.
#[cfg(test)]
pub(crate) fn checksums(object: &[u8]) -> Vec<u64> {
    object.chunks(DATA_BLOCK_BYTES as usize).map(xxh3_64).collect()
}

/// As they are stored.
pub(crate) fn checksum_bytes(checksums: &[u64]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(checksums.len() * CHECKSUM_BYTES as usize);
    checksums.iter().for_each(|checksum| bytes.extend_from_slice(&checksum.to_le_bytes()));
    bytes.freeze()
}

pub(crate) fn read_checksums(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks::<{ CHECKSUM_BYTES as usize }>().0.iter().map(|checksum| u64::from_le_bytes(*checksum)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use rand::rngs::SmallRng;
    use rand::{Rng, RngCore, SeedableRng};

    use super::*;
    use crate::storage::objects::disk_cache::CachedStore;

    const BLOCK: u64 = 64;

    /// An object whose part from `start` on is checked.
    async fn stored(store: &InMemory, bytes: &[u8], start: u64) -> CheckedObject {
        let path = Path::from("o");
        store.put(&path, bytes.to_vec().into()).await.unwrap();
        let part = &bytes[start as usize..];
        CheckedObject::part((path, start), part.len() as u64, BLOCK, part.chunks(BLOCK as usize).map(xxh3_64).collect())
            .unwrap()
    }

    fn random_bytes(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        SmallRng::seed_from_u64(length as u64).fill_bytes(&mut bytes);
        bytes
    }

    #[test]
    fn checksums_do_not_depend_on_how_the_bytes_come() {
        for length in [0, 1, 63, 64, 65, 128, 1_000] {
            let bytes = random_bytes(length);
            let expected: Vec<u64> = bytes.chunks(64).map(xxh3_64).collect();
            for step in [1, 7, 64, 65, 1_000] {
                let mut hasher = BlockHasher::new(64);
                bytes.chunks(step).for_each(|chunk| hasher.update(chunk));
                assert_eq!(hasher.finish(), expected, "{length} bytes by {step}");
            }
            assert_eq!(read_checksums(&checksum_bytes(&expected)), expected);
        }
    }

    #[tokio::test]
    async fn ranges_are_cut_out_of_blocks() {
        let store = InMemory::new();
        let mut random = SmallRng::seed_from_u64(3);
        for (length, start) in [(1, 0), (64, 0), (65, 3), (640, 64), (1_001, 5)] {
            let bytes = random_bytes(length);
            let object = stored(&store, &bytes, start).await;
            let part = &bytes[start as usize..];
            for _ in 0..200 {
                let ranges: Vec<Range<u64>> = (0..random.random_range(0..5))
                    .map(|_| {
                        let from = random.random_range(0..=part.len() as u64);
                        from..random.random_range(from..=part.len() as u64)
                    })
                    .collect();
                let read = object.read(&store, &ranges).await.unwrap();
                let expected = ranges.iter().map(|range| &part[range.start as usize..range.end as usize]);
                assert!(read.iter().eq(expected), "{ranges:?} of {length} bytes");
            }
            let beyond = 0..part.len() as u64 + 1;
            assert_eq!(object.read(&store, &[beyond]).await.unwrap_err().kind(), ErrorKind::Damaged);
        }
    }

    #[tokio::test]
    async fn every_flipped_bit_is_found_by_the_reads_of_its_block_alone() {
        let store = InMemory::new();
        let bytes = random_bytes(200);
        let object = stored(&store, &bytes, 8).await;
        for at in 8..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                store.put(&Path::from("o"), flipped.into()).await.unwrap();
                for block in 0..3 {
                    let byte = block * BLOCK + 10..block * BLOCK + 11;
                    let read = object.read(&store, std::slice::from_ref(&byte)).await;
                    assert_eq!(read.is_err(), (at as u64 - 8) / BLOCK == block, "byte {at}, bit {bit}, block {block}");
                    if let Err(error) = read {
                        assert_eq!((error.kind(), error.object()), (ErrorKind::Damaged, Some(&Path::from("o"))));
                    }
                }
                assert!(object.read(&store, std::slice::from_ref(&(0..192))).await.is_err());
            }
        }
    }

    #[tokio::test]
    async fn what_is_wrong_in_a_cache_only_is_read_again() {
        let (memory, folder) = (Arc::new(InMemory::new()), tempfile::tempdir().unwrap());
        let cache = CachedStore::new(memory.clone(), "s3://bucket", folder.path().to_owned(), 1 << 20);
        let path = Path::from("events/data/a.parquet");
        let bytes = random_bytes(500);
        let object = CheckedObject::part((path.clone(), 0), 500, BLOCK, bytes.chunks(64).map(xxh3_64).collect());
        let object = object.unwrap();
        memory.put(&path, vec![7; 500].into()).await.unwrap();
        let range = std::slice::from_ref(&(100..300));
        assert_eq!(object.read(&cache, range).await.unwrap_err().kind(), ErrorKind::Damaged);
        // It was damaged when it was cached, and is not any more.
        cache.get_range(&path, 0..500).await.unwrap();
        memory.put(&path, bytes.clone().into()).await.unwrap();
        assert!(cache.get_range(&path, 0..500).await.unwrap().iter().all(|byte| *byte == 7));
        assert_eq!(object.read(&cache, range).await.unwrap(), [&bytes[100..300]]);
        assert_eq!(cache.get_range(&path, 0..500).await.unwrap(), bytes);
    }

    #[tokio::test]
    async fn what_is_cut_is_damaged_and_what_is_refused_is_not() {
        let store = InMemory::new();
        let bytes = random_bytes(200);
        let object = stored(&store, &bytes, 0).await;
        for length in [0, 1, 64, 128, 199] {
            store.put(&Path::from("o"), bytes[..length].to_vec().into()).await.unwrap();
            let error = object.read(&store, std::slice::from_ref(&(150..200))).await.unwrap_err();
            assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
            assert!(error.to_string().starts_with("o is damaged"), "{error}");
        }
        let refused = Error::Generic { store: "s", source: "503".into() };
        let error = ReadError::Store { object: Path::from("o"), source: refused };
        assert_eq!(error.kind(), ErrorKind::Retry);
        store.delete(&Path::from("o")).await.unwrap();
        assert_eq!(object.read(&store, std::slice::from_ref(&(0..1))).await.unwrap_err().kind(), ErrorKind::Damaged);
        assert!(CheckedObject::data(Path::from("o"), DATA_BLOCK_BYTES + 1, vec![0]).is_err());
    }
}
