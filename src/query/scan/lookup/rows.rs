//! The looked-up columns of threads at given rows.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int32Type, Int64Type, UInt32Type};
use datafusion::common::internal_datafusion_err;
use datafusion::error::{DataFusionError, Result};
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::RowSelectionPolicy;

use super::json::{JsonColumns, Prepare};
use super::messages::{MessageColumns, Wanted};
use crate::query::scan::chunk::{CHUNK_BYTES, MAX_CHUNK_ROWS};
use crate::query::scan::column::ScanColumn;
use crate::query::scan::resolve::{self, Places};
use crate::query::scan::segments::flat_batch;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::format::arrow_types::ROW_COLUMN;
use crate::storage::format::columns::threads::{FIRST_MESSAGE_POSITION, MESSAGES_COUNT};
use crate::storage::format::data_file::{DataFile, conversation_of};
use crate::storage::format::layout::{FormatVersion, Layout};
use crate::storage::format::points::{PointRead, Points, within};
use crate::storage::read::snapshot::Snapshot;
use crate::storage::tail::segment::{Segment, SegmentSnapshot, thread_offsets};

/// A thread, and where its messages stand in its conversation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadPlace {
    pub(crate) row: u32,
    first_message: u32,
    messages: u32,
}

impl ThreadPlace {
    pub(crate) const COLUMNS: [&'static str; 3] = [ROW_COLUMN, FIRST_MESSAGE_POSITION, MESSAGES_COUNT];

    /// Of rows that have the columns for it; where no messages are looked up, that of the row is enough.
    pub(crate) fn all_of(batch: &RecordBatch, with_messages: bool) -> Result<Vec<ThreadPlace>> {
        let column = |name: &'static str| {
            let column = batch.column_by_name(name);
            column.ok_or_else(|| internal_datafusion_err!("threads to look up come without {name}"))
        };
        let wrong_type = || internal_datafusion_err!("a place of a thread is of another type");
        let out_of_bounds = || internal_datafusion_err!("a place of a thread is out of bounds");
        let rows = column(ROW_COLUMN)?.as_primitive_opt::<Int32Type>().ok_or_else(wrong_type)?;
        if !with_messages {
            let place = |row: &i32| Some(ThreadPlace { row: u32::try_from(*row).ok()?, first_message: 0, messages: 0 });
            let places: Option<_> = rows.values().iter().map(place).collect();
            return places.ok_or_else(out_of_bounds);
        }
        let first = column(FIRST_MESSAGE_POSITION)?.as_primitive_opt::<Int64Type>().ok_or_else(wrong_type)?;
        let counts = column(MESSAGES_COUNT)?.as_primitive_opt::<Int64Type>().ok_or_else(wrong_type)?;
        let places = rows.values().iter().zip(first.values()).zip(counts.values()).map(|((row, first), count)| {
            let place = u32::try_from(*row).ok().zip(u32::try_from(*first).ok()).zip(u32::try_from(*count).ok());
            let ((row, first_message), messages) = place?;
            Some(ThreadPlace { row, first_message, messages })
        });
        places.collect::<Option<_>>().ok_or_else(out_of_bounds)
    }

    /// Its messages, where those of its conversation are these.
    fn messages_of(&self, conversation: &Range<u32>) -> Option<Range<u32>> {
        let start = conversation.start.checked_add(self.first_message)?;
        let end = start.checked_add(self.messages)?;
        (end <= conversation.end).then_some(start..end)
    }
}

/// What one plan or reader looks up.
#[derive(Debug)]
pub(crate) struct Lookup {
    store: Arc<dyn ObjectStore>,
    pub(crate) columns: Vec<ScanColumn>,
    messages: Wanted,
    /// By the number of the file or segment of threads.
    sources: HashMap<u32, Conversations>,
}

/// The conversations of a file or segment of threads.
struct Conversations {
    rows: Rows,
    /// `None` where no JSON field is looked up.
    json: Option<Arc<JsonColumns>>,
}

enum Rows {
    File(Arc<DataFile>),
    /// With its first row of threads for each conversation, then their count.
    Segment {
        segment: Arc<Segment>,
        offsets: Vec<u32>,
        flat: Option<RecordBatch>,
    },
}

impl std::fmt::Debug for Conversations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversations").finish_non_exhaustive()
    }
}

/// Made once for files and segments that answer from the same places.
struct Templates<'a> {
    columns: Vec<ScanColumn>,
    made: BTreeMap<Vec<Places>, Arc<JsonColumns>>,
    prepare: Prepare<'a>,
}

impl Templates<'_> {
    fn of(&mut self, layout: &Layout) -> Result<Arc<JsonColumns>> {
        // The JSON fields are in files of every version.
        let places = |column| resolve::resolve(layout, column, FormatVersion::FIRST);
        let places: Vec<Places> = self.columns.iter().map(places).collect();
        if let Some(made) = self.made.get(&places) {
            return Ok(Arc::clone(made));
        }
        let made = Arc::new(JsonColumns::new(&self.columns, &places, self.prepare)?);
        self.made.insert(places, Arc::clone(&made));
        Ok(made)
    }
}

impl Lookup {
    pub(crate) fn new(snapshot: &Snapshot, columns: Vec<ScanColumn>, prepare: Prepare<'_>) -> Result<Lookup> {
        let mut messages = Wanted::default();
        columns.iter().for_each(|column| messages.add(column));
        let json: Vec<ScanColumn> = columns.iter().filter(|column| is_json(column)).cloned().collect();
        let mut templates = (!json.is_empty()).then_some(Templates { columns: json, made: BTreeMap::new(), prepare });
        let mut sources = HashMap::new();
        for FileSnapshot { file, .. } in snapshot.tables.conversations.files.iter() {
            let Some(threads) = &file.threads else { continue };
            let json = templates.as_mut().map(|templates| templates.of(&file.layout)).transpose()?;
            sources.insert(threads.file.number, Conversations { rows: Rows::File(Arc::clone(file)), json });
        }
        for entry in snapshot.tables.conversations.segments.iter() {
            sources.insert(entry.segment.number, of_segment(entry, templates.as_mut())?);
        }
        Ok(Lookup { store: Arc::clone(&snapshot.store), columns, messages, sources })
    }

    /// What has to be known of a thread: see [`ThreadPlace::all_of`].
    pub(crate) fn reads_messages(&self) -> bool {
        !self.messages.is_none()
    }

    /// The columns of these threads of a source, in the order given. `None` once the budget of bytes is used up.
    pub(crate) async fn read(
        &self,
        source: u32,
        threads: &[ThreadPlace],
        budget: &AtomicUsize,
    ) -> Result<Option<Vec<ArrayRef>>> {
        let Some(conversations) = self.sources.get(&source) else {
            return datafusion::common::internal_err!("the snapshot has no threads of source {source}");
        };
        let (rows, places) = conversations.owners(threads)?;

        let json = match conversations.json(&self.store, &rows, budget).await? {
            Some(json) => json.iter().map(|values| take(values, &places, None)).collect::<Result<Vec<_>, _>>()?,
            None => return Ok(None),
        };
        let messages = match self.messages.is_none() {
            true => None,
            false => match self.read_messages(conversations, threads, (&rows, &places), budget).await? {
                Some(messages) => Some(messages.finish()),
                None => return Ok(None),
            },
        };
        if !within(budget, json.iter().map(text_bytes).sum()) {
            return Ok(None);
        }
        let mut json = json.into_iter();
        let columns = self.columns.iter().map(|column| {
            let found = match messages.as_ref().and_then(|messages| messages.column(column)) {
                Some(found) => Some(Arc::clone(found)),
                None => json.next(),
            };
            found.ok_or_else(|| internal_datafusion_err!("{} was not looked up", column.name()))
        });
        columns.collect::<Result<_>>().map(Some)
    }

    /// Of threads whose conversations are at `places` of `rows`.
    async fn read_messages(
        &self,
        conversations: &Conversations,
        threads: &[ThreadPlace],
        (rows, places): (&[u32], &UInt32Array),
        budget: &AtomicUsize,
    ) -> Result<Option<MessageColumns>> {
        let mut columns = MessageColumns::new(self.messages);
        match &conversations.rows {
            Rows::File(file) => {
                let ranges = file.index.message_ranges(self.store.as_ref(), rows).await;
                let ranges = ranges.map_err(|error| DataFusionError::External(Box::new(error)))?;
                let damaged = || DataFusionError::External(format!("{} and its threads differ", file.path()).into());
                let owned = threads.iter().zip(places.values()).map(|(thread, place)| {
                    let conversation = ranges.get(*place as usize).ok_or_else(damaged)?;
                    thread.messages_of(conversation).ok_or_else(damaged)
                });
                let owned = owned.collect::<Result<Vec<Range<u32>>>>()?;
                let how = PointRead {
                    columns: &self.messages.columns(),
                    batch_rows: batch_rows(file),
                    budget: Some(budget),
                    // Texts of other threads in the same pages are passed over, not decoded and then dropped.
                    policy: RowSelectionPolicy::Selectors,
                };
                let messages = file.messages.as_ref().ok_or_else(damaged)?;
                let read = Points::read(&self.store, messages, owned.clone(), &how).await;
                let Some(read) = read.map_err(|error| DataFusionError::External(Box::new(error)))? else {
                    return Ok(None);
                };
                for range in owned {
                    columns.push_stored(&read, range)?;
                }
            }
            Rows::Segment { segment, .. } => {
                let missing = || internal_datafusion_err!("a segment has no messages of a thread");
                for (thread, place) in threads.iter().zip(places.values()) {
                    let conversation = rows.get(*place as usize).and_then(|row| segment.rows.get(*row as usize));
                    let messages = &conversation.ok_or_else(missing)?.messages;
                    let range = thread.messages_of(&(0..u32::try_from(messages.len()).unwrap_or(u32::MAX)));
                    let range = range.ok_or_else(missing)?;
                    let own = messages.get(range.start as usize..range.end as usize);
                    columns.push(own.ok_or_else(missing)?)?;
                }
            }
        }
        let fits = within(budget, columns.bytes());
        Ok(fits.then_some(columns))
    }
}

fn of_segment(entry: &SegmentSnapshot, templates: Option<&mut Templates<'_>>) -> Result<Conversations> {
    let (segment, offsets) = (Arc::clone(&entry.segment), thread_offsets(&entry.segment));
    let Some(templates) = templates else {
        return Ok(Conversations { rows: Rows::Segment { segment, offsets, flat: None }, json: None });
    };
    let flat = flat_batch(entry)?;
    let json = Some(templates.of(&flat.layout)?);
    Ok(Conversations { rows: Rows::Segment { segment, offsets, flat: Some(flat.batch.clone()) }, json })
}

impl Conversations {
    /// The rows of the threads' conversations, which ascend, and the place of each thread's among them.
    fn owners(&self, threads: &[ThreadPlace]) -> Result<(Vec<u32>, UInt32Array)> {
        let offsets = match &self.rows {
            Rows::File(file) => file.threads.as_ref().map_or(&[][..], |threads| threads.offsets.as_slice()),
            Rows::Segment { offsets, .. } => offsets,
        };
        let (mut rows, mut places): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::with_capacity(threads.len()));
        // Those of one conversation come one after the other, and mostly the next conversation's then.
        let mut ascend = true;
        for thread in threads {
            let same = rows.last().copied().filter(|last| has(offsets, *last, thread.row));
            let next = || rows.last().map(|last| last + 1).filter(|next| has(offsets, *next, thread.row));
            let owner = same.or_else(next).or_else(|| conversation_of(offsets, thread.row));
            let owner = owner.ok_or_else(|| internal_datafusion_err!("a thread has no conversation"))?;
            if same.is_none() {
                ascend &= rows.last().is_none_or(|last| *last < owner);
                rows.push(owner);
            }
            places.push(rows.len() as u32 - 1);
        }
        if ascend {
            return Ok((rows, places.into()));
        }
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let place = |owner: &u32| sorted.binary_search(owner).ok().and_then(|place| u32::try_from(place).ok());
        let moved: UInt32Array = rows.iter().map(place).collect();
        let places = take(&moved, &UInt32Array::from(places), None)?.as_primitive::<UInt32Type>().clone();
        Ok((sorted, places))
    }

    /// The JSON columns of these conversations, which ascend; none where none is asked for.
    async fn json(
        &self,
        store: &Arc<dyn ObjectStore>,
        rows: &[u32],
        budget: &AtomicUsize,
    ) -> Result<Option<Vec<ArrayRef>>> {
        let Some(json) = &self.json else { return Ok(Some(Vec::new())) };
        match &self.rows {
            Rows::File(file) => json.read_file(store, file, rows, budget).await,
            Rows::Segment { flat: Some(flat), .. } => json.read_segment(flat, rows).map(Some),
            Rows::Segment { flat: None, .. } => datafusion::common::internal_err!("a segment was not made columns"),
        }
    }
}

/// Messages that are decoded at a time: mostly all of a chunk's, which are then copied into no other batch.
fn batch_rows(conversations: &DataFile) -> usize {
    let longest = conversations.threads.as_ref().map_or(u64::MAX, |threads| threads.file.layout.max_json_bytes);
    let fitting = usize::try_from(CHUNK_BYTES / longest.max(1)).unwrap_or(usize::MAX);
    fitting.clamp(MAX_CHUNK_ROWS, 4 * MAX_CHUNK_ROWS)
}

/// Whether a thread is one of a conversation's.
fn has(offsets: &[u32], conversation: u32, thread: u32) -> bool {
    let of = offsets.get(conversation as usize).zip(offsets.get(conversation as usize + 1));
    of.is_some_and(|(start, end)| (*start..*end).contains(&thread))
}

fn is_json(column: &ScanColumn) -> bool {
    matches!(column, ScanColumn::Whole(_) | ScanColumn::Path { .. })
}

/// Of the texts in a column; a text that several rows share counts for each.
pub(crate) fn text_bytes(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().lengths().map(|length| length as usize).sum(),
        DataType::List(_) => array.as_list::<i32>().values().get_array_memory_size(),
        _ => array.get_array_memory_size(),
    }
}
