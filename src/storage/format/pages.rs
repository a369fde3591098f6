//! Single pages of a row group, for reads of few rows: only the pages that hold them are read and decoded, and small
//! ones are kept for the next read.
//!
//! Parquet's own reader makes two Zstandard contexts for each column of each read, one of them to compress with, which
//! costs more than what is read. It is told that nothing is compressed, and pages are unpacked here.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::{Buf, Bytes};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, RowGroups, RowSelection};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::get_frame_content_size;

use super::error::FileError;
use super::parquet_file::{FileReader, ParquetFile};

/// Of all that is read at once. What has more is read by Parquet's reader, a part at a time.
const MAX_READ_BYTES: u64 = 4 << 20;
/// Unpacked. The pages of ids, times and what re-logs look up are smaller, those of texts larger.
const MAX_KEPT_BYTES: usize = 32 << 10;
/// What a page that is kept takes beside its bytes, about.
const KEPT_PAGE_BYTES: usize = 256;
/// Where fewer rows than this come on a range, Parquet's reader may decode all rows between the first and the last.
const DENSE_ROWS: usize = 64;

/// Rows of a row group, counted in it: ranges that ascend and do not touch.
pub(super) struct GroupRows {
    pub(super) group: usize,
    pub(super) ranges: Vec<Range<usize>>,
}

impl GroupRows {
    /// A page with some of these is needed.
    fn needed(&self, rows: usize) -> Vec<Range<usize>> {
        let dense = rows < (self.ranges.len() + 1).saturating_mul(2 * DENSE_ROWS);
        let whole = self.ranges.first().zip(self.ranges.last()).filter(|_| dense);
        match whole.map(|(first, last)| first.start..last.end) {
            Some(whole) => Vec::from([whole]),
            None => self.ranges.clone(),
        }
    }
}

/// The pages of one row group that a read needs, in memory.
pub(super) struct GroupPages {
    metadata: Arc<ParquetMetaData>,
    group: usize,
    rows: usize,
    selection: RowSelection,
    file: Arc<ParquetFile>,
    /// By the number of the column that has values.
    columns: HashMap<usize, Arc<VecDeque<HeldPage>>>,
}

/// `None`: the dictionary.
type PageNumber = Option<usize>;

#[derive(Clone)]
struct HeldPage {
    number: PageNumber,
    /// In the file.
    offset: u64,
    held: Held,
}

#[derive(Clone)]
enum Held {
    Page(Arc<Page>),
    Stored(Bytes),
}

/// The pages that hold these rows of some columns. `None` where they are many, or not as this build writes them.
pub(super) async fn load(
    reader: &mut FileReader,
    metadata: &ArrowReaderMetadata,
    groups: &[GroupRows],
    mask: &ProjectionMask,
) -> std::result::Result<Option<Vec<GroupPages>>, FileError> {
    let file = Arc::clone(reader.file());
    let metadata = Arc::clone(metadata.metadata());
    let Some(needed) = needed_pages(&metadata, groups, mask) else { return Ok(None) };
    let kept: Vec<Option<Arc<Page>>> = needed.iter().map(|page| file.pages.get(page.bytes.start)).collect();
    let missing = needed.iter().zip(&kept).filter(|(_, kept)| kept.is_none());
    let ranges: Vec<Range<u64>> = missing.map(|(page, _)| page.bytes.clone()).collect();
    if ranges.iter().map(|range| range.end - range.start).sum::<u64>() > MAX_READ_BYTES {
        return Ok(None);
    }
    let mut read = if ranges.is_empty() { Vec::new() } else { reader.read(&ranges).await? }.into_iter();
    let mut columns: HashMap<(usize, usize), VecDeque<HeldPage>> = HashMap::new();
    for (page, kept) in needed.into_iter().zip(kept) {
        let held = match kept {
            Some(kept) => Held::Page(kept),
            None => Held::Stored(read.next().ok_or_else(|| not_read(&file))?),
        };
        let held = HeldPage { number: page.number, offset: page.bytes.start, held };
        columns.entry((page.group, page.column)).or_default().push_back(held);
    }
    let mut loaded = Vec::with_capacity(groups.len());
    for GroupRows { group, ranges } in groups {
        let rows = metadata.row_groups().get(*group).map_or(0, |group| group.num_rows() as usize);
        let own = columns.iter().filter(|((of, _), _)| of == group);
        loaded.push(GroupPages {
            metadata: Arc::clone(&metadata),
            group: *group,
            rows,
            selection: RowSelection::from_consecutive_ranges(ranges.iter().cloned(), rows),
            file: Arc::clone(&file),
            columns: own.map(|((_, column), pages)| (*column, Arc::new(pages.clone()))).collect(),
        });
    }
    Ok(Some(loaded))
}

fn not_read(file: &ParquetFile) -> ParquetError {
    ParquetError::General(format!("a page of {} was not read", file.path))
}

struct NeededPage {
    group: usize,
    column: usize,
    number: PageNumber,
    /// In the file, with its header.
    bytes: Range<u64>,
}

/// In the order of columns, the dictionary of each first.
fn needed_pages(metadata: &ParquetMetaData, groups: &[GroupRows], mask: &ProjectionMask) -> Option<Vec<NeededPage>> {
    let index = metadata.offset_index()?;
    let mut needed = Vec::new();
    for group in groups {
        let row_group = metadata.row_groups().get(group.group)?;
        let total = usize::try_from(row_group.num_rows()).ok()?;
        let wanted = group.needed(total);
        for (column, chunk) in row_group.columns().iter().enumerate().filter(|(column, _)| mask.leaf_included(*column))
        {
            if !matches!(chunk.compression(), Compression::ZSTD(_)) {
                return None;
            }
            let locations = index.get(group.group)?.get(column)?.page_locations();
            let (start, _) = chunk.byte_range();
            let first = u64::try_from(locations.first()?.offset).ok()?;
            let mut push = |number, bytes| needed.push(NeededPage { group: group.group, column, number, bytes });
            if first > start {
                push(None, start..first);
            }
            for (number, location) in locations.iter().enumerate() {
                let rows = page_rows(locations, number, total)?;
                let after = wanted.partition_point(|range| range.end <= rows.start);
                if wanted.get(after).is_some_and(|range| range.start < rows.end) {
                    let start = u64::try_from(location.offset).ok()?;
                    push(Some(number), start..start.checked_add(u64::try_from(location.compressed_page_size).ok()?)?);
                }
            }
        }
    }
    Some(needed)
}

fn page_rows(locations: &[PageLocation], number: usize, total: usize) -> Option<Range<usize>> {
    let row = |location: &PageLocation| usize::try_from(location.first_row_index).ok();
    let end = locations.get(number + 1).map_or(Some(total), row)?;
    Some(row(locations.get(number)?)?..end)
}

impl GroupPages {
    /// Decodes the rows, so many at a time.
    pub(super) fn decode(
        &self,
        mask: ProjectionMask,
        batch_rows: usize,
    ) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
        let schema = self.metadata.file_metadata().schema_descr();
        let levels = parquet_to_arrow_field_levels(schema, mask, None)?;
        let batch_rows = batch_rows.min(self.selection.row_count()).max(1);
        let selection = Some(self.selection.clone());
        let reader = ParquetRecordBatchReader::try_new_with_row_groups(&levels, self, batch_rows, selection)?;
        Ok(reader.map(|batch| batch.map_err(ParquetError::from)))
    }
}

impl RowGroups for GroupPages {
    fn num_rows(&self) -> usize {
        self.rows
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        let pages = self.columns.get(&column).ok_or_else(|| not_read(&self.file))?;
        let group = self.metadata.row_groups().get(self.group).ok_or_else(|| not_read(&self.file))?;
        let chunk = group.columns().get(column).ok_or_else(|| not_read(&self.file))?.clone();
        Ok(Box::new(OneChunk(Some(ChunkPages {
            metadata: Arc::clone(&self.metadata),
            group: self.group,
            column,
            rows: self.rows,
            plain: chunk.into_builder().set_compression(Compression::UNCOMPRESSED).build()?,
            file: Arc::clone(&self.file),
            pages: VecDeque::clone(pages),
            next: 0,
        }))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.metadata.row_groups().get(self.group).into_iter())
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

struct OneChunk(Option<ChunkPages>);

impl Iterator for OneChunk {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|chunk| Ok(Box::new(chunk) as Box<dyn PageReader>))
    }
}

impl PageIterator for OneChunk {}

/// Goes through the pages of a column; those that are not in memory can only be skipped.
struct ChunkPages {
    metadata: Arc<ParquetMetaData>,
    group: usize,
    column: usize,
    rows: usize,
    /// Said to hold no compressed pages.
    plain: ColumnChunkMetaData,
    file: Arc<ParquetFile>,
    /// Those that are left.
    pages: VecDeque<HeldPage>,
    /// The data page that comes next.
    next: usize,
}

impl ChunkPages {
    fn locations(&self) -> &[PageLocation] {
        let column = self.metadata.offset_index().and_then(|index| index.get(self.group)?.get(self.column));
        column.map_or(&[], |column| column.page_locations().as_slice())
    }

    fn is_dictionary_next(&self) -> bool {
        self.pages.front().is_some_and(|page| page.number.is_none())
    }

    fn unpack(&self, HeldPage { offset, held, .. }: HeldPage) -> Result<Page> {
        let stored = match held {
            Held::Page(page) => return Ok(Page::clone(&page)),
            Held::Stored(stored) => stored,
        };
        let place = PageLocation {
            offset: i64::try_from(self.plain.byte_range().0)?,
            compressed_page_size: i32::try_from(stored.len())?,
            first_row_index: 0,
        };
        let mut single =
            SerializedPageReader::new(Arc::new(OnePage(stored)), &self.plain, self.rows, Some(vec![place]))?;
        let page = unpacked(single.get_next_page()?.ok_or_else(|| not_read(&self.file))?)?;
        let bytes = page.buffer().len();
        if bytes <= MAX_KEPT_BYTES {
            self.file.pages.set(offset, Arc::new(page.clone()), bytes + KEPT_PAGE_BYTES);
        }
        Ok(page)
    }
}

impl PageReader for ChunkPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let is_dictionary = self.is_dictionary_next();
        if !is_dictionary && self.next >= self.locations().len() {
            return Ok(None);
        }
        let wanted = if is_dictionary { None } else { Some(self.next) };
        match self.pages.pop_front() {
            Some(page) if page.number == wanted => {
                self.next += usize::from(!is_dictionary);
                self.unpack(page).map(Some)
            }
            _ => Err(not_read(&self.file)),
        }
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        if self.is_dictionary_next() {
            return Ok(Some(PageMetadata { num_rows: None, num_levels: None, is_dict: true }));
        }
        let rows = page_rows(self.locations(), self.next, self.rows);
        Ok(rows.map(|rows| PageMetadata { num_rows: Some(rows.len()), num_levels: None, is_dict: false }))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        if self.is_dictionary_next() {
            self.pages.pop_front();
            return Ok(());
        }
        if self.pages.front().is_some_and(|page| page.number == Some(self.next)) {
            self.pages.pop_front();
        }
        self.next += 1;
        Ok(())
    }

    /// Pages that an index tells of begin with a row.
    fn at_record_boundary(&mut self) -> Result<bool> {
        Ok(true)
    }
}

impl Iterator for ChunkPages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

/// A page with its header, wherever it is said to lie.
struct OnePage(Bytes);

impl Length for OnePage {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

impl ChunkReader for OnePage {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, _: u64) -> Result<Self::T> {
        Ok(self.0.clone().reader())
    }

    fn get_bytes(&self, _: u64, length: usize) -> Result<Bytes> {
        Ok(self.0.slice(..length.min(self.0.len())))
    }
}

/// The page as one that was never compressed.
fn unpacked(page: Page) -> Result<Page> {
    Ok(match page {
        Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics } => {
            let buf = decompressed(&buf, 0)?;
            Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics }
        }
        Page::DataPageV2 {
            buf,
            num_values,
            encoding,
            num_nulls,
            num_rows,
            def_levels_byte_len,
            rep_levels_byte_len,
            is_compressed,
            statistics,
        } => {
            let levels = def_levels_byte_len as usize + rep_levels_byte_len as usize;
            Page::DataPageV2 {
                // A page of nulls has nothing but levels.
                buf: if is_compressed && buf.len() > levels { decompressed(&buf, levels)? } else { buf },
                num_values,
                encoding,
                num_nulls,
                num_rows,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed: false,
                statistics,
            }
        }
        Page::DictionaryPage { buf, num_values, encoding, is_sorted } => {
            Page::DictionaryPage { buf: decompressed(&buf, 0)?, num_values, encoding, is_sorted }
        }
    })
}

thread_local! {
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The first bytes as they are, the others decompressed.
fn decompressed(bytes: &Bytes, plain: usize) -> Result<Bytes> {
    let broken = || ParquetError::General("a page is not compressed as it says".to_owned());
    let (plain, compressed) = bytes.split_at_checked(plain).ok_or_else(broken)?;
    let size = get_frame_content_size(compressed).ok().flatten().and_then(|size| usize::try_from(size).ok());
    let mut page = Vec::with_capacity(plain.len() + size.ok_or_else(broken)?);
    page.extend_from_slice(plain);
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        let decompressor = match decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new()?),
        };
        let mut end = std::io::Cursor::new(&mut page);
        end.set_position(plain.len() as u64);
        decompressor.decompress_to_buffer(compressed, &mut end)
    })?;
    Ok(page.into())
}
