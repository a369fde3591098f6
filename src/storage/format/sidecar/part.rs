//! A part of a sidecar's body: what is read of it is verified, and made again where it is damaged.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::OnceCell;
use xxhash_rust::xxh3::xxh3_64;

use crate::cache::{Cache, Shelf};
use crate::storage::error::{Cause, ErrorKind, StoreError};
use crate::storage::format::checked::{CheckedObject, ReadError};

/// A lookup reads one or two.
pub(crate) const BODY_BLOCK_BYTES: u64 = 4 << 10;
/// Blocks of larger reads are not kept: who reads so much keeps what it makes of it.
const MAX_KEPT_BLOCKS: usize = 256;

/// Ranges count from its start.
#[derive(Clone)]
pub(crate) struct Part {
    body: Arc<Body>,
    range: Range<u64>,
}

enum Body {
    Stored(Stored),
    /// Of a sidecar that could not be written, and of tests.
    Memory(Path, Remade),
}

struct Stored {
    object: CheckedObject,
    length: u64,
    opening: OpeningPlace,
    /// Verified, by their numbers.
    blocks: Shelf<Bytes>,
    remake: Arc<dyn Remake>,
    /// Once it was damaged.
    remade: OnceCell<Remade>,
}

/// Where the opening of the row index lies in the sidecar, and its checksum.
pub(crate) struct OpeningPlace {
    range: Range<u64>,
    checksum: u64,
}

impl OpeningPlace {
    pub(crate) fn new(start: u64, opening: &[u8]) -> OpeningPlace {
        OpeningPlace { range: start..start.saturating_add(opening.len() as u64), checksum: xxh3_64(opening) }
    }

    fn verify(&self, object: &CheckedObject, opening: &[u8]) -> Result<(), ReadError> {
        let found = xxh3_64(opening);
        if found == self.checksum {
            return Ok(());
        }
        let reason = format!("its opening has the checksum {found:016x}, {:016x} is known of it", self.checksum);
        Err(ReadError::Damaged { object: object.path().clone(), reason })
    }
}

/// The parts of a sidecar that are read later on, in memory.
pub(crate) struct Remade {
    /// Of the row index.
    pub(crate) opening: Bytes,
    pub(crate) body: Bytes,
}

/// Makes a sidecar again from its files, and stores it where that can be done.
#[async_trait]
pub(crate) trait Remake: Send + Sync {
    async fn again(&self) -> Result<Remade, StoreError>;
}

impl Part {
    /// All of a body.
    pub(crate) fn stored(
        object: CheckedObject,
        length: u64,
        opening: OpeningPlace,
        remake: Arc<dyn Remake>,
        cache: &Arc<Cache>,
    ) -> Part {
        let (blocks, remade) = (cache.shelf(), OnceCell::new());
        let body = Body::Stored(Stored { object, length, opening, blocks, remake, remade });
        Part { body: Arc::new(body), range: 0..length }
    }

    pub(crate) fn in_memory(path: Path, parts: Remade) -> Part {
        let range = 0..parts.body.len() as u64;
        Part { body: Arc::new(Body::Memory(path, parts)), range }
    }

    pub(crate) fn none() -> Part {
        Part::in_memory(Path::default(), Remade { opening: Bytes::new(), body: Bytes::new() })
    }

    /// A part of this one; None where it ends before.
    pub(crate) fn part(&self, range: Range<u64>) -> Option<Part> {
        let range = self.absolute(range)?;
        Some(Part { body: Arc::clone(&self.body), range })
    }

    pub(crate) fn length(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Of the sidecar.
    pub(crate) fn path(&self) -> &Path {
        match self.body.as_ref() {
            Body::Stored(stored) => stored.object.path(),
            Body::Memory(path, _) => path,
        }
    }

    /// The opening of the row index.
    pub(crate) async fn opening(&self, store: &dyn ObjectStore) -> Result<Bytes, ReadError> {
        match self.body.as_ref() {
            Body::Memory(_, parts) => Ok(parts.opening.clone()),
            Body::Stored(stored) => match stored.remade.get() {
                Some(parts) => Ok(parts.opening.clone()),
                None => match stored.read_opening(store).await {
                    Err(error) if error.kind() == ErrorKind::Damaged => {
                        Ok(stored.made_again(error).await?.opening.clone())
                    }
                    read => read,
                },
            },
        }
    }

    pub(crate) async fn read(&self, store: &dyn ObjectStore, range: Range<u64>) -> Result<Bytes, ReadError> {
        let read = self.read_all(store, std::slice::from_ref(&range)).await?.pop();
        read.ok_or_else(|| self.beyond(&range))
    }

    /// The bytes of each range, in one read.
    pub(crate) async fn read_all(
        &self,
        store: &dyn ObjectStore,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, ReadError> {
        let absolute = |range: &Range<u64>| self.absolute(range.clone()).ok_or_else(|| self.beyond(range));
        let absolute: Vec<Range<u64>> = ranges.iter().map(absolute).collect::<Result<_, _>>()?;
        let cut = |bytes: &Bytes| {
            let cut = absolute.iter().map(|range| {
                let inside = range.end <= bytes.len() as u64;
                let cut = || bytes.slice(range.start as usize..range.end as usize);
                inside.then(cut).ok_or_else(|| self.beyond(range))
            });
            cut.collect()
        };
        match self.body.as_ref() {
            Body::Memory(_, parts) => cut(&parts.body),
            Body::Stored(stored) => match stored.remade.get() {
                Some(parts) => cut(&parts.body),
                None => match stored.read(store, &absolute).await {
                    Err(error) if error.kind() == ErrorKind::Damaged => cut(&stored.made_again(error).await?.body),
                    read => read,
                },
            },
        }
    }

    fn beyond(&self, range: &Range<u64>) -> ReadError {
        let reason = format!("bytes {range:?} are asked of a part of {}", self.length());
        ReadError::Damaged { object: self.path().clone(), reason }
    }

    fn absolute(&self, range: Range<u64>) -> Option<Range<u64>> {
        let (start, end) = (self.range.start.checked_add(range.start)?, self.range.start.checked_add(range.end)?);
        (start <= end && end <= self.range.end).then_some(start..end)
    }
}

impl Stored {
    /// Out of blocks that were read before, as far as they are still there.
    async fn read(&self, store: &dyn ObjectStore, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, ReadError> {
        let asked = ranges.iter().filter(|range| !range.is_empty()).flat_map(blocks_of);
        let mut blocks: BTreeMap<u64, Option<Arc<Bytes>>> = BTreeMap::new();
        for number in asked {
            if blocks.len() > MAX_KEPT_BLOCKS {
                return self.object.read(store, ranges).await;
            }
            blocks.entry(number).or_insert_with(|| self.blocks.get(number));
        }
        let missing: Vec<u64> = blocks.iter().filter(|(_, block)| block.is_none()).map(|(number, _)| *number).collect();
        if !missing.is_empty() {
            let places = missing.iter().map(|number| {
                let start = number * BODY_BLOCK_BYTES;
                start..(start + BODY_BLOCK_BYTES).min(self.length)
            });
            let places: Vec<Range<u64>> = places.collect();
            for (number, block) in missing.into_iter().zip(self.object.read(store, &places).await?) {
                // A copy: what was read holds the blocks beside it too.
                let block = Arc::new(Bytes::copy_from_slice(&block));
                self.blocks.set(number, Arc::clone(&block), block.len());
                blocks.insert(number, Some(block));
            }
        }
        let joined = |range: &Range<u64>| {
            let mut parts = blocks_of(range).filter(|_| !range.is_empty()).map(|number| {
                let (block, start) = (blocks.get(&number)?.as_deref()?, number * BODY_BLOCK_BYTES);
                let from = range.start.saturating_sub(start).min(block.len() as u64);
                let to = range.end.saturating_sub(start).min(block.len() as u64);
                Some(block.slice(from as usize..to as usize))
            });
            let first = parts.next().unwrap_or_else(|| Some(Bytes::new()))?;
            if first.len() as u64 == range.end - range.start {
                return Some(first);
            }
            let rest: Vec<Bytes> = parts.collect::<Option<_>>()?;
            Some(std::iter::once(first).chain(rest).collect::<Vec<Bytes>>().concat().into())
        };
        let read: Option<Vec<Bytes>> = ranges.iter().map(joined).collect();
        read.ok_or_else(|| ReadError::Damaged {
            object: self.object.path().clone(),
            reason: "a block was not read".to_owned(),
        })
    }

    async fn read_opening(&self, store: &dyn ObjectStore) -> Result<Bytes, ReadError> {
        let path = self.object.path();
        let opening = store.get_range(path, self.opening.range.clone()).await;
        let opening = opening.map_err(|source| ReadError::Store { object: path.clone(), source })?;
        self.opening.verify(&self.object, &opening)?;
        Ok(opening)
    }

    async fn made_again(&self, damage: ReadError) -> Result<&Remade, ReadError> {
        self.remade.get_or_try_init(|| self.make_again(damage)).await
    }

    /// The checksums in memory are sound: what is made again has to have the same.
    async fn make_again(&self, damage: ReadError) -> Result<Remade, ReadError> {
        tracing::warn!(%damage, "a sidecar is damaged; it is made again");
        let not_remade = |source| ReadError::NotRemade { object: self.object.path().clone(), source: Box::new(source) };
        let made = self.remake.again().await.map_err(not_remade)?;
        self.object.verify(&(0..self.length), &made.body)?;
        self.opening.verify(&self.object, &made.opening)?;
        Ok(made)
    }
}

/// The blocks that a range lies in.
fn blocks_of(range: &Range<u64>) -> Range<u64> {
    range.start / BODY_BLOCK_BYTES..range.end.div_ceil(BODY_BLOCK_BYTES)
}
