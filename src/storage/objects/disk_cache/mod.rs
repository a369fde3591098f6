//! A cache on the local disk for what is read of a remote store: data files, sidecars and text indexes, which do not change
//! once they are written, in aligned blocks. Everything else passes through.
//!
//! It is no part of the store: a block that is damaged, missing or of another object is read again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::task::spawn_blocking;
use xxhash_rust::xxh3::xxh3_128;

use self::folder::{Block, BlockFolder, Place};
use crate::cache::Held;

mod folder;

/// A point read takes some KiB, a scan megabytes; a request costs about what a quarter of a MiB does.
const BLOCK_BYTES: u64 = 256 << 10;
/// What one request reads at most, and how many are under way at once.
const REQUEST_BLOCKS: usize = 32;
const REQUESTS_AT_ONCE: usize = 8;

/// Among the extensions of a read: what is cached of the object is dropped, and the store is asked. For bytes that are
/// not what their checksum says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fresh;

pub(crate) struct CachedStore {
    inner: Arc<dyn ObjectStore>,
    /// Several stores may have one folder.
    store: String,
    blocks: Arc<BlockFolder>,
}

impl CachedStore {
    /// `store` tells its objects from those of others; `capacity` is in bytes.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, store: &str, folder: PathBuf, capacity: u64) -> CachedStore {
        let blocks = Arc::new(BlockFolder::new(folder, capacity));
        let look = Arc::clone(&blocks);
        spawn_blocking(move || look.look_through());
        CachedStore { inner, store: store.to_owned(), blocks }
    }

    /// How much it is.
    pub(crate) fn held(&self) -> Arc<dyn Held> {
        Arc::clone(&self.blocks) as Arc<dyn Held>
    }

    /// What the name of a cached object is hashed to; None for what may change.
    fn object(&self, path: &Path) -> Option<u128> {
        let parts: Vec<_> = path.parts().collect();
        let folders: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        let cached = matches!(folders.as_slice(), [_, "data", _] | ["sidecars" | "text_index", ..]);
        cached.then(|| xxh3_128(format!("{}\n{path}", self.store).as_bytes()))
    }

    /// The blocks of these numbers, from the folder or the store.
    async fn blocks(&self, object: u128, path: &Path, numbers: BTreeSet<u32>) -> Result<BTreeMap<u32, Block>> {
        let folder = Arc::clone(&self.blocks);
        let read = spawn_blocking(move || {
            let read = |number: u32| (number, folder.read(Place { object, number }));
            numbers.into_iter().map(read).collect::<Vec<_>>()
        });
        let mut found = BTreeMap::new();
        let mut missing: Vec<Range<u32>> = Vec::new();
        for (number, block) in read.await? {
            match (block, missing.last_mut()) {
                (Some(block), _) => _ = found.insert(number, block),
                (None, Some(run)) if run.end == number && run.len() < REQUEST_BLOCKS => run.end += 1,
                (None, _) => missing.push(number..number + 1),
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        let fetch = |run: Range<u32>| async move {
            let range = u64::from(run.start) * BLOCK_BYTES..u64::from(run.end) * BLOCK_BYTES;
            let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
            let got = self.inner.get_opts(path, options).await?;
            let size = got.meta.size;
            Ok::<_, object_store::Error>((run, size, got.bytes().await?))
        };
        let fetched: Vec<(Range<u32>, u64, Bytes)> =
            stream::iter(missing).map(fetch).buffered(REQUESTS_AT_ONCE).try_collect().await?;
        let mut new = Vec::new();
        for (run, size, bytes) in fetched {
            for (at, number) in run.enumerate() {
                let start = (at * BLOCK_BYTES as usize).min(bytes.len());
                let end = (start + BLOCK_BYTES as usize).min(bytes.len());
                let block = Block { size, bytes: bytes.slice(start..end) };
                // Else it is not a whole block, nor the object's last one.
                if start < end
                    && (u64::from(number) * BLOCK_BYTES + (end - start) as u64
                        == size.min((u64::from(number) + 1) * BLOCK_BYTES))
                {
                    new.push((Place { object, number }, block.clone()));
                }
                found.insert(number, block);
            }
        }
        let folder = Arc::clone(&self.blocks);
        let written = spawn_blocking(move || {
            let written = new.iter().try_for_each(|(place, block)| folder.write(*place, block));
            if folder.is_look_due() {
                folder.look_through();
            }
            written
        });
        if let Err(error) = written.await? {
            tracing::warn!(%error, "nothing is cached on the disk");
        }
        Ok(found)
    }

    /// The bytes of each range, and the object's size; None where the store has to say what is wrong with them.
    async fn read(&self, object: u128, path: &Path, ranges: &[Range<u64>]) -> Option<(Vec<Bytes>, u64)> {
        let mut numbers = BTreeSet::new();
        for range in ranges {
            if range.is_empty() {
                return None;
            }
            let last = u32::try_from((range.end - 1) / BLOCK_BYTES).ok()?;
            numbers.extend((range.start / BLOCK_BYTES) as u32..=last);
        }
        let blocks = match self.blocks(object, path, numbers).await {
            Ok(blocks) => blocks,
            Err(error) => {
                tracing::debug!(%error, "not read by blocks");
                return None;
            }
        };
        let size = blocks.values().next()?.size;
        let bytes = ranges.iter().map(|range| cut(&blocks, range)).collect::<Option<Vec<Bytes>>>()?;
        Some((bytes, size))
    }

    async fn forget(&self, path: &Path) {
        if let Some(object) = self.object(path) {
            let folder = Arc::clone(&self.blocks);
            // It ends, whoever waits for it.
            let _ = spawn_blocking(move || folder.forget(object)).await;
        }
    }
}

/// The range, or as much of it as the object has.
fn cut(blocks: &BTreeMap<u32, Block>, range: &Range<u64>) -> Option<Bytes> {
    let (first, last) = (range.start / BLOCK_BYTES, (range.end - 1) / BLOCK_BYTES);
    let part = |number: u64| {
        let block = blocks.get(&u32::try_from(number).ok()?)?;
        let begin = number * BLOCK_BYTES;
        let from = range.start.saturating_sub(begin).min(block.bytes.len() as u64);
        let to = (range.end - begin).min(block.bytes.len() as u64);
        Some(block.bytes.slice(from as usize..to as usize))
    };
    if first == last {
        return part(first);
    }
    let mut bytes = BytesMut::with_capacity((range.end - range.start) as usize);
    for number in first..=last {
        bytes.extend_from_slice(&part(number)?);
    }
    Some(bytes.freeze())
}

impl fmt::Debug for CachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl fmt::Display for CachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for CachedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let put = self.inner.put_opts(location, payload, options).await;
        // Also where its outcome is unknown.
        self.forget(location).await;
        put
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        // Of names that were never used before, so nothing of them is cached.
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if options.extensions.get::<Fresh>().is_some() {
            self.forget(location).await;
            return self.inner.get_opts(location, options).await;
        }
        let plain = options.if_match.is_none()
            && options.if_none_match.is_none()
            && options.if_modified_since.is_none()
            && options.if_unmodified_since.is_none()
            && options.version.is_none()
            && !options.head;
        if let (Some(object), Some(GetRange::Bounded(range)), true) = (self.object(location), &options.range, plain)
            && let Some((bytes, size)) = self.read(object, location, std::slice::from_ref(range)).await
            && let Some(bytes) = bytes.into_iter().next().filter(|bytes| !bytes.is_empty())
        {
            let range = range.start..range.start + bytes.len() as u64;
            // Nobody asks a file that does not change when it did.
            let meta = ObjectMeta {
                location: location.clone(),
                last_modified: Default::default(),
                size,
                e_tag: None,
                version: None,
            };
            let payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
            return Ok(GetResult { payload, meta, range, attributes: Attributes::default() });
        }
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(object) = self.object(location)
            && let Some((bytes, _)) = self.read(object, location, ranges).await
            && bytes.iter().zip(ranges).all(|(bytes, range)| bytes.len() as u64 == range.end - range.start)
        {
            return Ok(bytes);
        }
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (blocks, store) = (Arc::clone(&self.blocks), self.store.clone());
        let cache = CachedStore { inner: Arc::clone(&self.inner), store, blocks };
        let cache = Arc::new(cache);
        let deleted = self.inner.delete_stream(locations);
        deleted
            .then(move |deleted| {
                let cache = Arc::clone(&cache);
                async move {
                    if let Ok(path) = &deleted {
                        cache.forget(path).await;
                    }
                    deleted
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let copied = self.inner.copy_opts(from, to, options).await;
        self.forget(to).await;
        copied
    }
}

#[cfg(test)]
mod tests;
