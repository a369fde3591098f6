//! The text index of one data file.
//!
//! ```text
//! header (64 bytes: magic, counts, checksum of header and block table)
//! block table: first row u32, bytes u32, place u64 of each block, and a last entry
//! directory: where each bucket's rows start, u64, and where the last end
//! rows of each bucket: checksum u32, Roaring bitmap; without rows the checksum alone
//! blocks: zstd of the folded texts of some rows, behind where each ends (u32)
//! ```
//! Integers are little-endian. Block table and header are kept while there is room, some two bytes a row; everything else is
//! read by small ranges.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use roaring::RoaringBitmap;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

use super::grams;
use crate::model::fold::FOLDING;
use crate::model::search_text::SearchTerm;
use crate::storage::error::{Cause, ErrorKind};
use crate::storage::format::file_id::FileId;

const MAGIC: [u8; 8] = *b"CLTXT\x00\r\n";
/// Up to 2 the texts were folded by case alone, the folding had no number, and there were no n-grams around spaces; in 3
/// these shared the buckets of the others.
const VERSION: u64 = 4;
/// magic | version | rows | bucket bits u32, folding u32 | blocks | bytes of bucket rows | bytes of blocks | checksum
const HEADER_BYTES: usize = 64;
const BLOCK_ENTRY_BYTES: usize = 16;
/// Bytes of text from which a block is full; a text is never split.
const BLOCK_BYTES: usize = 32 << 10;
const ZSTD_LEVEL: i32 = 1;
/// Few buckets serve few rows: what they let through is verified soon.
const BUCKETS_PER_ROW: usize = 64;
const MIN_BUCKET_BITS: u32 = 10;
const MAX_BUCKET_BITS: u32 = 16;
/// Of the n-grams of a term those in the fewest rows are read, so many at once,
const READ_AT_ONCE: usize = 6;
/// until no more candidates are left than are soon verified,
const FEW_CANDIDATES: u64 = 32;
/// and no more than these.
const READ_BUCKETS: usize = 24;
/// Compressed blocks in memory at once.
const READ_BLOCKS: usize = 64;

#[derive(Debug, thiserror::Error)]
pub(crate) enum TextIndexError {
    #[error("the text index {path} is damaged: {reason}")]
    Corrupt { path: Path, reason: String },
    #[error("a text of {0} bytes is too long for a text index")]
    TooLong(usize),
    #[error("the texts could not be compressed: {0}")]
    Compress(std::io::Error),
    #[error("the text index {path} cannot be read: {source}")]
    Store { path: Path, source: Error },
}

impl Cause for TextIndexError {
    fn kind(&self) -> ErrorKind {
        match self {
            TextIndexError::Corrupt { .. } => ErrorKind::Damaged,
            TextIndexError::TooLong(_) | TextIndexError::Compress(_) => ErrorKind::Bug,
            TextIndexError::Store { source, .. } => source.kind(),
        }
    }
}

/// The folder of all of them.
pub(crate) const FOLDER: &str = "text_index";
const ENDING: &str = "ngrams";

/// Where the index of a data file is.
pub(crate) fn path(id: FileId) -> Path {
    Path::from(format!("{FOLDER}/{id}.{ENDING}"))
}

/// Takes the search texts of a file's rows in their order.
pub(crate) struct TextIndexBuilder {
    bits: u32,
    rows: u32,
    buckets: Vec<RoaringBitmap>,
    /// The last row that each bucket was given, plus one.
    last: Vec<u32>,
    compressor: Compressor<'static>,
    table: Vec<BlockEntry>,
    blocks: Vec<u8>,
    /// Of the block that is filling.
    first: u32,
    ends: Vec<u32>,
    texts: Vec<u8>,
}

#[derive(Clone, Copy)]
struct BlockEntry {
    first_row: u32,
    /// Uncompressed.
    bytes: u32,
    place: u64,
}

impl TextIndexBuilder {
    /// For a file of so many rows.
    pub(crate) fn new(rows: u32) -> Result<Self, TextIndexError> {
        let wanted = (rows as usize).saturating_mul(BUCKETS_PER_ROW).next_power_of_two().trailing_zeros();
        let bits = wanted.clamp(MIN_BUCKET_BITS, MAX_BUCKET_BITS);
        let mut compressor = Compressor::new(ZSTD_LEVEL).map_err(TextIndexError::Compress)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true)).map_err(TextIndexError::Compress)?;
        Ok(Self {
            bits,
            rows: 0,
            buckets: vec![RoaringBitmap::new(); grams::buckets(bits)],
            last: vec![0; grams::buckets(bits)],
            compressor,
            table: Vec::new(),
            blocks: Vec::new(),
            first: 0,
            ends: Vec::new(),
            texts: Vec::new(),
        })
    }

    pub(crate) fn push(&mut self, search_text: &[u8]) -> Result<(), TextIndexError> {
        let row = self.rows;
        let (buckets, last) = (&mut self.buckets, &mut self.last);
        grams::for_each_bucket(search_text, self.bits, |bucket| {
            let place = bucket as usize;
            if let (Some(rows), Some(last)) = (buckets.get_mut(place), last.get_mut(place))
                && *last != row + 1
            {
                *last = row + 1;
                // Rows come in order, so it is the greatest.
                let pushed = rows.try_push(row);
                debug_assert!(pushed.is_ok());
            }
        });
        self.texts.extend_from_slice(search_text);
        let end = u32::try_from(self.texts.len()).map_err(|_| TextIndexError::TooLong(self.texts.len()))?;
        self.ends.push(end);
        self.rows += 1;
        if self.texts.len() >= BLOCK_BYTES {
            self.finish_block()?;
        }
        Ok(())
    }

    fn finish_block(&mut self) -> Result<(), TextIndexError> {
        let mut block: Vec<u8> = self.ends.iter().flat_map(|end| end.to_le_bytes()).collect();
        block.append(&mut self.texts);
        let bytes = u32::try_from(block.len()).map_err(|_| TextIndexError::TooLong(block.len()))?;
        self.table.push(BlockEntry { first_row: self.first, bytes, place: self.blocks.len() as u64 });
        self.blocks.extend_from_slice(&self.compressor.compress(&block).map_err(TextIndexError::Compress)?);
        self.ends.clear();
        self.first = self.rows;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Bytes, TextIndexError> {
        if !self.ends.is_empty() {
            self.finish_block()?;
        }
        self.table.push(BlockEntry { first_row: self.rows, bytes: 0, place: self.blocks.len() as u64 });
        let mut directory = Vec::with_capacity((self.buckets.len() + 1) * 8);
        let mut postings = Vec::new();
        for (bucket, rows) in self.buckets.iter_mut().enumerate() {
            directory.extend_from_slice(&(postings.len() as u64).to_le_bytes());
            let mut bitmap = Vec::new();
            if !rows.is_empty() {
                rows.optimize();
                bitmap.reserve(rows.serialized_size());
                rows.serialize_into(&mut bitmap).map_err(TextIndexError::Compress)?;
                *rows = RoaringBitmap::new();
            }
            postings.extend_from_slice(&checksum(&bitmap, bucket as u64).to_le_bytes());
            postings.append(&mut bitmap);
        }
        directory.extend_from_slice(&(postings.len() as u64).to_le_bytes());
        let header = Header {
            rows: u64::from(self.rows),
            bits: u64::from(self.bits),
            folding: FOLDING,
            blocks: self.table.len() as u64 - 1,
            postings: postings.len() as u64,
            block_bytes: self.blocks.len() as u64,
        };
        let mut object = Vec::with_capacity(header.places().end as usize);
        header.write(&self.table, &mut object);
        object.append(&mut directory);
        object.append(&mut postings);
        object.append(&mut self.blocks);
        Ok(object.into())
    }
}

fn checksum(bitmap: &[u8], bucket: u64) -> u32 {
    xxh3_64_with_seed(bitmap, bucket) as u32
}

struct Header {
    rows: u64,
    bits: u64,
    folding: u32,
    blocks: u64,
    postings: u64,
    block_bytes: u64,
}

/// Where the parts of the object start.
#[derive(Clone, Copy)]
struct Places {
    directory: u64,
    postings: u64,
    blocks: u64,
    end: u64,
}

impl Header {
    fn table_bytes(&self) -> u64 {
        (self.blocks + 1) * BLOCK_ENTRY_BYTES as u64
    }

    fn places(&self) -> Places {
        let directory = HEADER_BYTES as u64 + self.table_bytes();
        let postings = directory + (grams::buckets(self.bits as u32) as u64 + 1) * 8;
        let blocks = postings.saturating_add(self.postings);
        Places { directory, postings, blocks, end: blocks.saturating_add(self.block_bytes) }
    }

    fn write(&self, table: &[BlockEntry], to: &mut Vec<u8>) {
        to.extend_from_slice(&MAGIC);
        let folding = u64::from(self.folding) << 32;
        let numbers = [VERSION, self.rows, folding | self.bits, self.blocks, self.postings, self.block_bytes];
        numbers.iter().for_each(|number| to.extend_from_slice(&number.to_le_bytes()));
        to.extend_from_slice(&[0; 8]);
        for entry in table {
            to.extend_from_slice(&entry.first_row.to_le_bytes());
            to.extend_from_slice(&entry.bytes.to_le_bytes());
            to.extend_from_slice(&entry.place.to_le_bytes());
        }
        let checksum = xxh3_64(to);
        if let Some(place) = to.get_mut(HEADER_BYTES - 8..HEADER_BYTES) {
            place.copy_from_slice(&checksum.to_le_bytes());
        }
    }

    /// Of an object of `size` bytes, whose first bytes these are; also the declared checksum. `None`: it was made by an
    /// older version, or of texts that were folded in another way.
    fn read(bytes: &[u8], size: u64) -> Result<Option<(Header, u64)>, String> {
        let numbers = bytes.strip_prefix(&MAGIC).ok_or("it does not start as a text index does")?;
        let number = |index: usize| u64_at(numbers, index * 8).ok_or("its header is cut");
        match number(0)? {
            VERSION => {}
            0..VERSION => return Ok(None),
            newer => return Err(format!("version {newer}, {VERSION} is supported")),
        }
        let bits = number(2)?;
        let header = Header {
            rows: number(1)?,
            bits: bits & u64::from(u32::MAX),
            folding: (bits >> 32) as u32,
            blocks: number(3)?,
            postings: number(4)?,
            block_bytes: number(5)?,
        };
        let in_bounds = header.rows <= u64::from(u32::MAX)
            && header.blocks <= header.rows
            && (u64::from(MIN_BUCKET_BITS)..=u64::from(MAX_BUCKET_BITS)).contains(&header.bits);
        if !in_bounds || header.places().end != size {
            return Err(format!("its header does not fit its {size} bytes"));
        }
        let declared = number(6)?;
        Ok((header.folding == FOLDING).then_some((header, declared)))
    }
}

/// An open text index.
pub(crate) struct TextIndex {
    path: Path,
    rows: u32,
    bits: u32,
    table: Vec<BlockEntry>,
    places: Places,
}

impl TextIndex {
    /// `None` where there is no such object, or one that is to be made again because texts are folded in another way now.
    pub(crate) async fn open(store: &dyn ObjectStore, path: Path) -> Result<Option<Self>, TextIndexError> {
        let size = match store.head(&path).await {
            Ok(object) => object.size,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(TextIndexError::Store { path, source }),
        };
        let failed = |source| TextIndexError::Store { path: path.clone(), source };
        let corrupt = |reason: String| TextIndexError::Corrupt { path: path.clone(), reason };
        let start = store.get_range(&path, 0..size.min(HEADER_BYTES as u64)).await.map_err(failed)?;
        let Some((header, _)) = Header::read(&start, size).map_err(corrupt)? else { return Ok(None) };
        let opening = store.get_range(&path, 0..header.places().directory).await.map_err(failed)?;
        Self::from_opening(path.clone(), &opening, size)
    }

    /// Of an object that has just been written.
    pub(crate) fn from_bytes(path: Path, object: &[u8]) -> Result<Self, TextIndexError> {
        let older = TextIndexError::Corrupt { path: path.clone(), reason: "it is of an older version".to_owned() };
        Self::from_opening(path, object, object.len() as u64)?.ok_or(older)
    }

    fn from_opening(path: Path, bytes: &[u8], size: u64) -> Result<Option<Self>, TextIndexError> {
        let corrupt = |reason: String| TextIndexError::Corrupt { path: path.clone(), reason };
        let Some((header, declared)) = Header::read(bytes, size).map_err(corrupt)? else { return Ok(None) };
        let places = header.places();
        let opening = bytes.get(..places.directory as usize);
        let mut opening = opening.ok_or_else(|| corrupt("its block table is cut".to_owned()))?.to_vec();
        if let Some(place) = opening.get_mut(HEADER_BYTES - 8..HEADER_BYTES) {
            place.fill(0);
        }
        let found = xxh3_64(&opening);
        if found != declared {
            return Err(corrupt(format!("checksum {found:016x}, {declared:016x} is declared")));
        }
        let entries = opening.get(HEADER_BYTES..).unwrap_or_default().as_chunks::<BLOCK_ENTRY_BYTES>().0;
        let entry = |entry: &[u8; BLOCK_ENTRY_BYTES]| {
            Some(BlockEntry { first_row: u32_at(entry, 0)?, bytes: u32_at(entry, 4)?, place: u64_at(entry, 8)? })
        };
        let table = entries.iter().filter_map(entry).collect();
        Ok(Some(Self { path, rows: header.rows as u32, bits: header.bits as u32, table, places }))
    }

    #[cfg(test)]
    pub(crate) fn rows(&self) -> u32 {
        self.rows
    }

    /// Itself, if it is of a data file of so many rows.
    pub(super) fn of_rows(self, rows: u32) -> Result<Self, TextIndexError> {
        match self.rows == rows {
            true => Ok(self),
            false => Err(self.corrupt(format!("it has {} rows, its data file {rows}", self.rows))),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.table.len() * size_of::<BlockEntry>()
    }

    fn corrupt(&self, reason: impl Into<String>) -> TextIndexError {
        TextIndexError::Corrupt { path: self.path.clone(), reason: reason.into() }
    }

    fn failed(&self, source: Error) -> TextIndexError {
        TextIndexError::Store { path: self.path.clone(), source }
    }

    /// Rows that may have the term; the others have not.
    pub(crate) async fn candidates(
        &self,
        store: &dyn ObjectStore,
        term: &SearchTerm,
    ) -> Result<RoaringBitmap, TextIndexError> {
        let buckets: Vec<u32> = grams::term_buckets(term.folded(), self.bits).into_iter().collect();
        let place = |bucket: u32| self.places.directory + u64::from(bucket) * 8;
        let entries: Vec<_> = buckets.iter().map(|bucket| place(*bucket)..place(*bucket) + 16).collect();
        let entries = store.get_ranges(&self.path, &entries).await.map_err(|source| self.failed(source))?;
        let mut ranges = Vec::with_capacity(buckets.len());
        for (bucket, entry) in buckets.into_iter().zip(entries) {
            let bounds = u64_at(&entry, 0).zip(u64_at(&entry, 8));
            let (start, end) = bounds.ok_or_else(|| self.corrupt("its directory is cut"))?;
            if start > end || end > self.places.blocks - self.places.postings {
                return Err(self.corrupt(format!("bucket {bucket} is at {start} to {end}")));
            }
            ranges.push((end - start, bucket, self.places.postings + start..self.places.postings + end));
        }
        ranges.sort_unstable_by_key(|(bytes, bucket, _)| (*bytes, *bucket));
        ranges.truncate(READ_BUCKETS);
        let mut candidates: Option<RoaringBitmap> = None;
        for part in ranges.chunks(READ_AT_ONCE) {
            if candidates.as_ref().is_some_and(|rows| rows.len() <= FEW_CANDIDATES) {
                break;
            }
            let places: Vec<_> = part.iter().map(|(_, _, range)| range.clone()).collect();
            let postings = store.get_ranges(&self.path, &places).await.map_err(|source| self.failed(source))?;
            for ((_, bucket, _), bytes) in part.iter().zip(postings) {
                let rows = self.rows_of(*bucket, &bytes)?;
                candidates = Some(match candidates {
                    Some(candidates) => candidates & rows,
                    None => rows,
                });
            }
        }
        // An empty term is in every text.
        Ok(candidates.unwrap_or_else(|| (0..self.rows).collect()))
    }

    /// Of a bucket, as it is read.
    fn rows_of(&self, bucket: u32, bytes: &[u8]) -> Result<RoaringBitmap, TextIndexError> {
        let (declared, bitmap) = bytes.split_first_chunk::<4>().ok_or_else(|| self.corrupt("a bucket is cut"))?;
        if checksum(bitmap, u64::from(bucket)) != u32::from_le_bytes(*declared) {
            return Err(self.corrupt(format!("the rows of bucket {bucket} fail their checksum")));
        }
        if bitmap.is_empty() {
            return Ok(RoaringBitmap::new());
        }
        RoaringBitmap::deserialize_from(bitmap).map_err(|error| self.corrupt(error.to_string()))
    }

    /// Whether each of these rows has the term; `rows` ascending.
    pub(crate) async fn verify(
        &self,
        store: &dyn ObjectStore,
        rows: &[u32],
        term: &SearchTerm,
    ) -> Result<Vec<bool>, TextIndexError> {
        // A block and its rows.
        let mut wanted: Vec<(BlockEntry, u64, Vec<u32>)> = Vec::new();
        for &row in rows {
            let after = self.table.partition_point(|entry| entry.first_row <= row);
            let block = after.checked_sub(1).and_then(|at| self.table.get(at).zip(self.table.get(after)));
            let (block, next) = block.ok_or_else(|| self.corrupt(format!("it has no row {row}")))?;
            match wanted.last_mut() {
                Some((last, _, rows)) if last.first_row == block.first_row => rows.push(row),
                _ => wanted.push((*block, next.place, vec![row])),
            }
        }
        let mut found = Vec::with_capacity(rows.len());
        let mut decompressor = Decompressor::new().map_err(|error| self.corrupt(error.to_string()))?;
        let mut text = Vec::new();
        for part in wanted.chunks(READ_BLOCKS) {
            let range = |(block, end, _): &(BlockEntry, u64, Vec<u32>)| {
                self.places.blocks + block.place..self.places.blocks + *end
            };
            let ranges: Vec<_> = part.iter().map(range).collect();
            let blocks = store.get_ranges(&self.path, &ranges).await.map_err(|source| self.failed(source))?;
            for ((block, _, rows), compressed) in part.iter().zip(blocks) {
                text.clear();
                text.reserve(block.bytes as usize);
                let read = decompressor.decompress_to_buffer(&compressed, &mut text);
                read.map_err(|error| self.corrupt(format!("the block of row {}: {error}", block.first_row)))?;
                for row in rows {
                    let text = self.text(*block, &text, *row).ok_or_else(|| self.corrupt("a block is cut"))?;
                    found.push(term.is_in(text));
                }
            }
        }
        Ok(found)
    }

    fn text<'a>(&self, block: BlockEntry, bytes: &'a [u8], row: u32) -> Option<&'a [u8]> {
        let after = self.table.partition_point(|entry| entry.first_row <= block.first_row);
        let rows = (self.table.get(after)?.first_row - block.first_row) as usize;
        let (ends, texts) = bytes.split_at_checked(rows * 4)?;
        let number = (row - block.first_row) as usize;
        let start = match number.checked_sub(1) {
            Some(before) => u32_at(ends, before * 4)?,
            None => 0,
        };
        texts.get(start as usize..u32_at(ends, number * 4)? as usize)
    }
}

fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    bytes.get(place..place + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], place: usize) -> Option<u64> {
    bytes.get(place..place + 8)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests;
