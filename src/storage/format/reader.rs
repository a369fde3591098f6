//! Point reads: stored conversations back out of their pair of Parquet files.
//!
//! Only the needed columns and pages are fetched. The typed property columns are not read: the raw JSON is exact.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, RecordBatch, RecordBatchOptions, StringArray, new_null_array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int32Type, Schema, TimestampMicrosecondType};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelectionPolicy};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use serde_json::value::RawValue;

use super::data_file::{DataFile, MessagesFile};
use super::error::FileError;
use super::flatten::plain::{UNSET_STATE, type_named, visibility_named};
use crate::model::annotations::Annotations;
use crate::model::conversation::{Conversation, Message};
use crate::model::ids::{ConversationId, EpochMillis, IntegrationId, MessageId, OrganizationId, ProjectId};
use crate::model::json::value::{RawJson, write_string};

/// Read from a file's end at first, to get the footer and its index in one request.
const FOOTER_BYTES: usize = 256 << 10;

const CONVERSATION_COLUMNS: [&str; 19] = [
    "organizationId",
    "projectId",
    "id",
    "type",
    "integrationId",
    "externalId",
    "externalUrl",
    "supportTicketConversationId",
    "visibility",
    "title",
    "assignee",
    "state",
    "createdAt",
    "updatedAt",
    "tags",
    "categories",
    "isEnd",
    "properties",
    "userProperties",
];

const MESSAGE_COLUMNS: [&str; 15] = [
    "conversationId",
    "id",
    "role",
    "position",
    "externalId",
    "externalUrl",
    "name",
    "content",
    "contentParts",
    "links",
    "toolCalls",
    "properties",
    "userProperties",
    "createdAt",
    "updatedAt",
];

/// The footer of a file with its page index.
pub(crate) async fn load_metadata(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    size: u64,
    cached: &OnceLock<Arc<ParquetMetaData>>,
) -> Result<Arc<ParquetMetaData>, FileError> {
    if let Some(metadata) = cached.get() {
        return Ok(metadata.clone());
    }
    let mut source = StoredFile { store: store.clone(), path: path.clone(), metadata: None };
    let metadata = ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Optional)
        .with_prefetch_hint(Some(FOOTER_BYTES))
        .load_and_finish(&mut source, size)
        .await?;
    Ok(cached.get_or_init(|| Arc::new(metadata)).clone())
}

/// The conversations at `rows`, each with the rows of its messages, in the order given.
pub(crate) async fn read_conversations(
    store: &Arc<dyn ObjectStore>,
    file: &DataFile,
    messages: &MessagesFile,
    rows: &[(u32, Range<u32>)],
) -> Result<Vec<Conversation>, FileError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let main = async {
        let metadata = load_metadata(store, &file.path, file.size, &file.metadata).await?;
        let wanted = rows.iter().map(|(row, _)| *row..row.saturating_add(1)).collect();
        Selected::read(store, &file.path, metadata, &CONVERSATION_COLUMNS, wanted).await
    };
    let texts = async {
        let metadata = load_metadata(store, &messages.path, messages.size, &messages.metadata).await?;
        let wanted = rows.iter().map(|(_, range)| range.clone()).collect();
        Selected::read(store, &messages.path, metadata, &MESSAGE_COLUMNS, wanted).await
    };
    let (main, texts) = futures::try_join!(main, texts)?;
    let (columns, bodies) = (ConversationColumns::new(&main)?, MessageColumns::new(&texts)?);
    rows.iter()
        .map(|(row, range)| {
            let mut conversation = columns.conversation(main.index(*row)?)?;
            conversation.messages = range
                .clone()
                .map(|row| bodies.message(texts.index(row)?, &conversation.id))
                .collect::<Result<_, FileError>>()?;
            Ok(conversation)
        })
        .collect()
}

/// Some rows of some columns of a file.
struct Selected {
    path: Path,
    /// File rows, sorted and apart.
    ranges: Vec<Range<u32>>,
    /// The number of rows before each range.
    starts: Vec<usize>,
    batch: RecordBatch,
}

impl Selected {
    async fn read(
        store: &Arc<dyn ObjectStore>,
        path: &Path,
        metadata: Arc<ParquetMetaData>,
        columns: &[&str],
        mut wanted: Vec<Range<u32>>,
    ) -> Result<Self, FileError> {
        wanted.retain(|range| !range.is_empty());
        wanted.sort_by_key(|range| range.start);
        let mut ranges: Vec<Range<u32>> = Vec::with_capacity(wanted.len());
        for range in wanted {
            match ranges.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => ranges.push(range),
            }
        }
        let mut rows = 0;
        let starts = ranges
            .iter()
            .map(|range| {
                rows += range.len();
                rows - range.len()
            })
            .collect();

        let (row_groups, selection) = select(&metadata, &ranges);
        let source = StoredFile { store: store.clone(), path: path.clone(), metadata: Some(metadata.clone()) };
        let reader = ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new())?;
        let schema = reader.schema().clone();
        let fields = reader.parquet_schema().root_schema().get_fields();
        let absent = |name: &str| row_groups.iter().all(|group| holds_nothing(reader.metadata(), *group, name));
        let (absent, present): (Vec<&str>, Vec<&str>) = columns.iter().partition(|name| absent(name));
        let roots = fields.iter().enumerate().filter(|(_, field)| present.contains(&field.name()));
        let mask = ProjectionMask::roots(reader.parquet_schema(), roots.map(|(index, _)| index));
        let stream = ParquetRecordBatchStreamBuilder::new_with_metadata(source, reader)
            .with_projection(mask)
            .with_row_groups(row_groups)
            .with_row_selection(selection)
            .with_row_selection_policy(RowSelectionPolicy::Selectors)
            .with_batch_size(rows.clamp(1, 8_192))
            .build()?;
        let read = stream.schema().clone();
        let batches: Vec<RecordBatch> = stream.try_collect().await?;
        let batch = concat_batches(&read, &batches).map_err(ParquetError::from)?;
        let batch = with_absent(&batch, &schema, &absent)?;
        if batch.num_rows() != rows {
            let reason = format!("{} rows found, {rows} asked for", batch.num_rows());
            return Err(FileError::Damaged { path: path.clone(), reason });
        }
        Ok(Self { path: path.clone(), ranges, starts, batch })
    }

    fn damaged(&self, reason: impl Into<String>) -> FileError {
        FileError::Damaged { path: self.path.clone(), reason: reason.into() }
    }

    /// Where a row of the file is in the batch.
    fn index(&self, row: u32) -> Result<usize, FileError> {
        let after = self.ranges.partition_point(|range| range.start <= row);
        let found = after.checked_sub(1).and_then(|at| self.ranges.get(at).zip(self.starts.get(at)));
        match found {
            Some((range, start)) if range.contains(&row) => Ok(start + (row - range.start) as usize),
            _ => Err(self.damaged(format!("row {row} was not read"))),
        }
    }

    fn column(&self, name: &str) -> Result<&ArrayRef, FileError> {
        self.batch.column_by_name(name).ok_or_else(|| self.damaged(format!("no column {name}")))
    }

    fn wrong_type(&self, name: &str) -> FileError {
        self.damaged(format!("column {name} is of another type"))
    }

    fn text(&self, name: &str) -> Result<Text<'_>, FileError> {
        let array = self.column(name)?.as_string_opt().ok_or_else(|| self.wrong_type(name))?;
        Ok(Text { array, file: self })
    }

    fn times(&self, name: &str) -> Result<Times<'_>, FileError> {
        let array = self.column(name)?.as_primitive_opt().ok_or_else(|| self.wrong_type(name))?;
        Ok(Times { array, file: self })
    }

    fn list(&self, name: &str) -> Result<&ListArray, FileError> {
        self.column(name)?.as_list_opt().ok_or_else(|| self.wrong_type(name))
    }
}

/// Whether a row group has nothing but nulls in a column, by its statistics. Not told of lists: an empty one and an
/// absent one count alike.
fn holds_nothing(metadata: &ParquetMetaData, row_group: usize, name: &str) -> bool {
    let Some(group) = metadata.row_groups().get(row_group) else { return false };
    let column = group.columns().iter().find(|column| column.column_path().parts() == [name]);
    let nulls = column.and_then(|column| column.statistics()?.null_count_opt());
    nulls.is_some_and(|nulls| u64::try_from(group.num_rows()).is_ok_and(|rows| rows == nulls))
}

/// The batch and, as columns of nulls, what was not read of the file's `schema`.
fn with_absent(batch: &RecordBatch, schema: &Schema, absent: &[&str]) -> Result<RecordBatch, ParquetError> {
    let mut fields = batch.schema().fields().to_vec();
    let mut columns = batch.columns().to_vec();
    for field in schema.fields().iter().filter(|field| absent.contains(&field.name().as_str())) {
        columns.push(new_null_array(field.data_type(), batch.num_rows()));
        fields.push(field.clone());
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// The row groups that hold `ranges`, and the selection within them.
fn select(metadata: &ParquetMetaData, ranges: &[Range<u32>]) -> (Vec<usize>, RowSelection) {
    let mut row_groups = Vec::new();
    let mut selected = Vec::new();
    let mut chosen_rows = 0usize;
    let mut first = 0usize;
    for (number, row_group) in metadata.row_groups().iter().enumerate() {
        let end = first + row_group.num_rows() as usize;
        let from = ranges.partition_point(|range| range.end as usize <= first);
        let inside = ranges.iter().skip(from).take_while(|range| (range.start as usize) < end);
        let before = selected.len();
        for range in inside {
            let (start, stop) = ((range.start as usize).max(first), (range.end as usize).min(end));
            selected.push(start - first + chosen_rows..stop - first + chosen_rows);
        }
        if selected.len() > before {
            row_groups.push(number);
            chosen_rows += end - first;
        }
        first = end;
    }
    (row_groups, RowSelection::from_consecutive_ranges(selected.into_iter(), chosen_rows))
}

#[derive(Clone, Copy)]
struct Text<'a> {
    array: &'a StringArray,
    file: &'a Selected,
}

impl<'a> Text<'a> {
    fn get(&self, index: usize) -> Option<&'a str> {
        (!self.array.is_null(index)).then(|| self.array.value(index))
    }

    fn owned(&self, index: usize) -> Option<String> {
        self.get(index).map(str::to_owned)
    }

    fn required(&self, index: usize) -> Result<&'a str, FileError> {
        self.get(index).ok_or_else(|| self.file.damaged("null in a column that has none"))
    }

    fn raw(&self, index: usize) -> Result<Option<RawJson>, FileError> {
        let Some(text) = self.owned(index) else { return Ok(None) };
        let raw = RawValue::from_string(text).map_err(|error| self.file.damaged(format!("raw JSON: {error}")))?;
        Ok(Some(raw))
    }
}

#[derive(Clone, Copy)]
struct Times<'a> {
    array: &'a arrow::array::PrimitiveArray<TimestampMicrosecondType>,
    file: &'a Selected,
}

impl Times<'_> {
    fn get(&self, index: usize) -> Option<EpochMillis> {
        (!self.array.is_null(index)).then(|| EpochMillis(self.array.value(index).div_euclid(1_000)))
    }

    fn required(&self, index: usize) -> Result<EpochMillis, FileError> {
        self.get(index).ok_or_else(|| self.file.damaged("null in a column that has none"))
    }
}

struct ConversationColumns<'a> {
    file: &'a Selected,
    organization_id: Text<'a>,
    project_id: Text<'a>,
    id: Text<'a>,
    conversation_type: Text<'a>,
    integration_id: Text<'a>,
    external_id: Text<'a>,
    external_url: Text<'a>,
    support_ticket_conversation_id: Text<'a>,
    visibility: Text<'a>,
    title: Text<'a>,
    assignee: Text<'a>,
    state: Text<'a>,
    created_at: Times<'a>,
    updated_at: Times<'a>,
    tags: &'a ListArray,
    categories: &'a ListArray,
    is_end: &'a BooleanArray,
    properties: Text<'a>,
    user_properties: Text<'a>,
}

impl<'a> ConversationColumns<'a> {
    fn new(file: &'a Selected) -> Result<Self, FileError> {
        Ok(Self {
            file,
            organization_id: file.text("organizationId")?,
            project_id: file.text("projectId")?,
            id: file.text("id")?,
            conversation_type: file.text("type")?,
            integration_id: file.text("integrationId")?,
            external_id: file.text("externalId")?,
            external_url: file.text("externalUrl")?,
            support_ticket_conversation_id: file.text("supportTicketConversationId")?,
            visibility: file.text("visibility")?,
            title: file.text("title")?,
            assignee: file.text("assignee")?,
            state: file.text("state")?,
            created_at: file.times("createdAt")?,
            updated_at: file.times("updatedAt")?,
            tags: file.list("tags")?,
            categories: file.list("categories")?,
            is_end: file.column("isEnd")?.as_boolean_opt().ok_or_else(|| file.wrong_type("isEnd"))?,
            properties: file.text("properties")?,
            user_properties: file.text("userProperties")?,
        })
    }

    /// Without its messages.
    fn conversation(&self, row: usize) -> Result<Conversation, FileError> {
        let type_text = self.conversation_type.required(row)?;
        let visibility = self
            .visibility
            .get(row)
            .map(|name| visibility_named(name).ok_or_else(|| self.file.damaged(format!("unknown visibility {name}"))));
        Ok(Conversation {
            organization_id: OrganizationId::new(self.organization_id.required(row)?),
            project_id: ProjectId::new(self.project_id.required(row)?),
            id: ConversationId::new(self.id.required(row)?),
            integration_id: self.integration_id.get(row).map(IntegrationId::new),
            conversation_type: type_named(type_text)
                .ok_or_else(|| self.file.damaged(format!("unknown type {type_text}")))?,
            external_id: self.external_id.owned(row),
            external_url: self.external_url.owned(row),
            support_ticket_conversation_id: self.support_ticket_conversation_id.owned(row),
            created_at: self.created_at.required(row)?,
            updated_at: self.updated_at.required(row)?,
            properties: self.properties.raw(row)?,
            user_properties: self.user_properties.raw(row)?,
            tags: strings(self.file, self.tags, row)?,
            visibility: visibility.transpose()?,
            messages: Vec::new(),
            annotations: Annotations {
                title: self.title.owned(row),
                state: self.state.owned(row).filter(|state| state != UNSET_STATE),
                assignee: self.assignee.owned(row),
                categories: strings(self.file, self.categories, row)?,
                is_end: self.is_end.value(row),
                // The sidecar has the rest ([`crate::storage::store`]).
                stopped: None,
                changed: None,
                threads: BTreeMap::new(),
            },
        })
    }
}

fn strings(file: &Selected, lists: &ListArray, row: usize) -> Result<Option<Vec<String>>, FileError> {
    if lists.is_null(row) {
        return Ok(None);
    }
    let elements = lists.value(row);
    let elements = elements.as_string_opt::<i32>().ok_or_else(|| file.damaged("a list is of another type"))?;
    Ok(Some(elements.iter().flatten().map(str::to_owned).collect()))
}

struct MessageColumns<'a> {
    file: &'a Selected,
    conversation_id: Text<'a>,
    id: Text<'a>,
    role: Text<'a>,
    position: &'a arrow::array::PrimitiveArray<Int32Type>,
    external_id: Text<'a>,
    external_url: Text<'a>,
    name: Text<'a>,
    content: Text<'a>,
    content_parts: Text<'a>,
    links: Text<'a>,
    tool_calls: Text<'a>,
    properties: Text<'a>,
    user_properties: Text<'a>,
    created_at: Times<'a>,
    updated_at: Times<'a>,
}

impl<'a> MessageColumns<'a> {
    fn new(file: &'a Selected) -> Result<Self, FileError> {
        let position = file.column("position")?.as_primitive_opt().ok_or_else(|| file.wrong_type("position"))?;
        Ok(Self {
            file,
            conversation_id: file.text("conversationId")?,
            id: file.text("id")?,
            role: file.text("role")?,
            position,
            external_id: file.text("externalId")?,
            external_url: file.text("externalUrl")?,
            name: file.text("name")?,
            content: file.text("content")?,
            content_parts: file.text("contentParts")?,
            links: file.text("links")?,
            tool_calls: file.text("toolCalls")?,
            properties: file.text("properties")?,
            user_properties: file.text("userProperties")?,
            created_at: file.times("createdAt")?,
            updated_at: file.times("updatedAt")?,
        })
    }

    /// The message in `row`, which must be one of `conversation`: an index beside the file named it.
    fn message(&self, row: usize, conversation: &ConversationId) -> Result<Message, FileError> {
        let own = self.conversation_id.required(row)?;
        if own != conversation.as_str() || self.position.value(row) < 0 {
            return Err(self.file.damaged(format!("a message of {own} stands where one of {conversation} should")));
        }
        let content = match self.content.get(row) {
            Some(text) => Some(json_string(text).map_err(|error| self.file.damaged(error.to_string()))?),
            None => self.content_parts.raw(row)?,
        };
        Ok(Message {
            id: MessageId::new(self.id.required(row)?),
            external_id: self.external_id.owned(row),
            external_url: self.external_url.owned(row),
            created_at: self.created_at.get(row),
            updated_at: self.updated_at.get(row),
            role: self.role.required(row)?.to_owned(),
            name: self.name.owned(row),
            content,
            links: self.links.raw(row)?,
            tool_calls: self.tool_calls.raw(row)?,
            properties: self.properties.raw(row)?,
            user_properties: self.user_properties.raw(row)?,
        })
    }
}

/// Spelled as the model spells strings, so that a content comes back byte for byte.
fn json_string(text: &str) -> Result<RawJson, serde_json::Error> {
    let mut quoted = String::with_capacity(text.len() + 2);
    write_string(text, &mut quoted);
    RawValue::from_string(quoted)
}

/// A Parquet file in the object store whose footer may be known already.
struct StoredFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    metadata: Option<Arc<ParquetMetaData>>,
}

fn store_error(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move { self.store.get_range(&self.path, range).await.map_err(store_error) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(store_error) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let metadata = self.metadata.clone();
        async move { metadata.ok_or_else(|| ParquetError::General("the footer is not read yet".to_owned())) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{ParquetReadOptions, SessionContext};
    use object_store::memory::InMemory;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;

    use super::*;
    use crate::storage::format::flatten::test_support::random_conversation;
    use crate::storage::format::registry::{ColumnRegistry, PathCounts};
    use crate::storage::format::schema::rows_schema;
    use crate::storage::format::writer::{SiblingPaths, WrittenMessages, WrittenRows, WrittenSiblings, write_siblings};

    struct Pair {
        store: Arc<dyn ObjectStore>,
        main: WrittenRows,
        messages: WrittenMessages,
    }

    async fn written(conversations: &[Arc<Conversation>]) -> Pair {
        let registry = ColumnRegistry::default();
        let mut counts = PathCounts::new(&registry);
        conversations.iter().for_each(|conversation| counts.add(conversation.as_ref()).unwrap());
        let (columns, _) = registry.choose(&counts);
        assert!(!columns.columns.is_empty());
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let all = Arc::new(conversations.to_vec());
        let paths = SiblingPaths { conversations: "c".into(), messages: "m".into(), threads: "t".into() };
        let written = write_siblings(&store, paths, all, columns).await.unwrap();
        let WrittenSiblings { conversations: main, messages, .. } = written;
        Pair { store, main, messages }
    }

    impl Pair {
        /// With `fresh`, the footers are read from the store.
        fn files(&self, fresh: bool) -> (DataFile, MessagesFile) {
            let known = |metadata: &Arc<ParquetMetaData>| match fresh {
                true => OnceLock::new(),
                false => OnceLock::from(metadata.clone()),
            };
            let (main, messages) = (&self.main.file, &self.messages.file);
            let file = DataFile {
                number: 1,
                path: "c".into(),
                size: main.size,
                rows: main.rows,
                layout: self.main.layout.clone(),
                statistics: main.statistics.clone(),
                metadata: known(&main.metadata),
                messages: None,
                index: crate::storage::format::row_index::FileIndex::empty(),
                threads: None,
                text_index: OnceLock::new(),
            };
            (file, MessagesFile { path: "m".into(), size: messages.size, metadata: known(&messages.metadata) })
        }
    }

    fn text(conversation: &Conversation) -> String {
        serde_json::to_string(conversation).unwrap()
    }

    #[tokio::test]
    async fn conversations_come_back_as_they_were() {
        let mut rng = StdRng::seed_from_u64(7);
        let stored: Vec<_> = (0..9_000).map(|n| Arc::new(random_conversation(n, &mut rng))).collect();
        let pair = written(&stored).await;
        assert!(pair.main.file.metadata.offset_index().is_some());
        assert_eq!(pair.store.head(&"c".into()).await.unwrap().size, pair.main.file.size);
        assert_eq!(pair.store.head(&"m".into()).await.unwrap().size, pair.messages.file.size);
        for fresh in [false, true] {
            let (file, messages) = pair.files(fresh);
            let mut wanted: Vec<u32> = (0..9_000).collect();
            wanted.shuffle(&mut rng);
            wanted.truncate(500);
            wanted.extend([0, 8_999, wanted[0]]);
            let rows: Vec<_> = wanted.iter().map(|&row| (row, pair.messages.ranges[row as usize].clone())).collect();
            let read = read_conversations(&pair.store, &file, &messages, &rows).await.unwrap();
            assert_eq!(read.len(), wanted.len());
            for (read, row) in read.iter().zip(wanted) {
                assert_eq!(text(read), text(&stored[row as usize]));
            }
        }
        let (file, messages) = pair.files(false);
        let wrong = [(3, pair.messages.ranges[4].clone())];
        assert!(read_conversations(&pair.store, &file, &messages, &wrong).await.is_err());
        let beyond = [(9_000, 0..1)];
        assert!(read_conversations(&pair.store, &file, &messages, &beyond).await.is_err());
    }

    #[tokio::test]
    async fn rows_are_found_in_every_row_group() {
        let mut rng = StdRng::seed_from_u64(8);
        let few: Vec<_> = (0..50).map(|n| Arc::new(random_conversation(n, &mut rng))).collect();
        let stored: Vec<_> = (0..70_000).map(|n| few[n % 50].clone()).collect();
        let pair = written(&stored).await;
        assert_eq!(pair.main.file.metadata.num_row_groups(), 2);
        let (file, messages) = pair.files(false);
        for wanted in [vec![65_535, 65_536], vec![69_999], vec![1], vec![65_536], (65_530..65_540).collect()] {
            let rows: Vec<_> = wanted.iter().map(|&row| (row, pair.messages.ranges[row as usize].clone())).collect();
            let read = read_conversations(&pair.store, &file, &messages, &rows).await.unwrap();
            for (read, row) in read.iter().zip(wanted) {
                assert_eq!(text(read), text(&stored[row as usize]));
            }
        }
        // DataFusion, told the table's schema, reads exactly its types.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.parquet");
        std::fs::write(&path, pair.store.get(&"c".into()).await.unwrap().bytes().await.unwrap()).unwrap();
        let schema = rows_schema::<Conversation>(&pair.main.layout);
        let options = ParquetReadOptions::default().schema(&schema);
        let frame = SessionContext::new().read_parquet(path.to_str().unwrap(), options).await.unwrap();
        let batches = frame.limit(65_000, Some(1_000)).unwrap().collect().await.unwrap();
        assert!(batches.iter().all(|batch| batch.schema().fields().iter().eq(schema.fields().iter())));
        assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1_000);
        // What the footer says of the whole file.
        let statistics = &pair.main.file.statistics;
        let created = few.iter().map(|c| c.created_at.0 * 1_000);
        let time = |micros| datafusion::scalar::ScalarValue::TimestampMicrosecond(micros, Some("UTC".into()));
        assert_eq!(statistics["createdAt"].min, Some(time(created.clone().min())));
        assert_eq!(statistics["createdAt"].max, Some(time(created.max())));
        assert_eq!(statistics["id"].null_count, Some(0));
        assert!(statistics.contains_key("properties.plan") && !statistics.contains_key("properties"));
    }

    /// Run by hand: prints how long a point read takes and writes the files where `CONVOLAKE_TEST_FILES` says.
    #[tokio::test]
    #[ignore = "a measurement"]
    async fn measure() {
        let mut rng = StdRng::seed_from_u64(9);
        let stored: Vec<_> = (0..65_536)
            .map(|n| {
                let mut conversation = random_conversation(n, &mut rng);
                let keys: Vec<String> = (0..25)
                    .map(|k| format!(r#""key{}":"value {} of {k}","n{k}":{n}"#, n % 20 * 25 + k, n % 97))
                    .collect();
                conversation.properties = Some(RawValue::from_string(format!("{{{}}}", keys.join(","))).unwrap());
                Arc::new(conversation)
            })
            .collect();
        let bytes: usize = stored.iter().map(|c| crate::storage::format::table_row::json_bytes(c.as_ref())).sum();
        let registry = ColumnRegistry::default();
        let start = std::time::Instant::now();
        let mut counts = PathCounts::new(&registry);
        stored.iter().for_each(|conversation| counts.add(conversation.as_ref()).unwrap());
        println!("count: {:?}, {} bytes each", start.elapsed(), bytes / stored.len());
        let (columns, _) = registry.choose(&counts);
        let start = std::time::Instant::now();
        let flat = crate::storage::format::flatten::flatten(&stored, &columns).unwrap();
        println!("flatten: {:?}, {} columns", start.elapsed(), flat.layout.columns.len());
        let start = std::time::Instant::now();
        let pair = written(&stored).await;
        println!(
            "count and write both: {:?}, {} + {} bytes",
            start.elapsed(),
            pair.main.file.size,
            pair.messages.file.size
        );
        let folder = tempfile::tempdir().unwrap();
        let folder = std::env::var("CONVOLAKE_TEST_FILES").map_or(folder.path().to_owned(), Into::into);
        for name in ["c", "m"] {
            let bytes = pair.store.get(&name.into()).await.unwrap().bytes().await.unwrap();
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        let store: Arc<dyn ObjectStore> =
            Arc::new(object_store::local::LocalFileSystem::new_with_prefix(folder).unwrap());
        let (file, messages) = pair.files(true);
        for row in [1u32, 2, 30_000, 65_000, 12_345] {
            let rows = [(row, pair.messages.ranges[row as usize].clone())];
            let start = std::time::Instant::now();
            let read = read_conversations(&store, &file, &messages, &rows).await.unwrap();
            println!("row {row}: {:?}", start.elapsed());
            assert_eq!(text(&read[0]), text(&stored[row as usize]));
        }
    }
}
