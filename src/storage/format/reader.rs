//! Stored conversations back out of their pair of Parquet files.
//!
//! The typed property columns are not read: the raw JSON is exact.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, PrimitiveArray, StringArray};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::RowSelectionPolicy;
use serde_json::value::RawValue;

use super::error::FileError;
use super::flatten::plain::{UNSET_STATE, type_named, visibility_named};
use super::parquet_file::ParquetFile;
use super::points::{PointRead, Points};
use crate::model::annotations::Annotations;
use crate::model::conversation::{Conversation, Message};
use crate::model::ids::{ConversationId, EpochMillis, IntegrationId, MessageId, OrganizationId, ProjectId};
use crate::model::json::value::{RawJson, write_string};

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

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 8_192;

/// The conversations at `rows`, each with the rows of its messages, in the order given.
pub(crate) async fn read_conversations(
    store: &Arc<dyn ObjectStore>,
    file: &Arc<ParquetFile>,
    messages: &Arc<ParquetFile>,
    rows: &[(u32, Range<u32>)],
) -> Result<Vec<Conversation>, FileError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = rows.iter().map(|(row, _)| *row..row.saturating_add(1)).collect();
    let main = read_whole_columns(store, file, &CONVERSATION_COLUMNS, wanted);
    let wanted = rows.iter().map(|(_, range)| range.clone()).collect();
    let texts = read_whole_columns(store, messages, &MESSAGE_COLUMNS, wanted);
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

async fn read_whole_columns(
    store: &Arc<dyn ObjectStore>,
    file: &Arc<ParquetFile>,
    columns: &[&str],
    wanted: Vec<Range<u32>>,
) -> Result<Points, FileError> {
    let policy = RowSelectionPolicy::Selectors;
    let how = PointRead { columns, batch_rows: BATCH_ROWS, budget: None, policy };
    let read = Points::read(store, file, wanted, &how).await?;
    read.ok_or_else(|| FileError::Aborted { path: file.path.clone() })
}

fn column<'a>(file: &'a Points, name: &str) -> Result<&'a ArrayRef, FileError> {
    file.batch.column_by_name(name).ok_or_else(|| file.damaged(format!("no column {name}")))
}

fn wrong_type(file: &Points, name: &str) -> FileError {
    file.damaged(format!("column {name} is of another type"))
}

fn text<'a>(file: &'a Points, name: &str) -> Result<Text<'a>, FileError> {
    let array = column(file, name)?.as_string_opt().ok_or_else(|| wrong_type(file, name))?;
    Ok(Text { array, file })
}

fn times<'a>(file: &'a Points, name: &str) -> Result<Times<'a>, FileError> {
    let array = column(file, name)?.as_primitive_opt().ok_or_else(|| wrong_type(file, name))?;
    Ok(Times { array, file })
}

fn list<'a>(file: &'a Points, name: &str) -> Result<&'a ListArray, FileError> {
    column(file, name)?.as_list_opt().ok_or_else(|| wrong_type(file, name))
}

#[derive(Clone, Copy)]
struct Text<'a> {
    array: &'a StringArray,
    file: &'a Points,
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
    array: &'a PrimitiveArray<TimestampMicrosecondType>,
    file: &'a Points,
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
    file: &'a Points,
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
    fn new(file: &'a Points) -> Result<Self, FileError> {
        Ok(Self {
            file,
            organization_id: text(file, "organizationId")?,
            project_id: text(file, "projectId")?,
            id: text(file, "id")?,
            conversation_type: text(file, "type")?,
            integration_id: text(file, "integrationId")?,
            external_id: text(file, "externalId")?,
            external_url: text(file, "externalUrl")?,
            support_ticket_conversation_id: text(file, "supportTicketConversationId")?,
            visibility: text(file, "visibility")?,
            title: text(file, "title")?,
            assignee: text(file, "assignee")?,
            state: text(file, "state")?,
            created_at: times(file, "createdAt")?,
            updated_at: times(file, "updatedAt")?,
            tags: list(file, "tags")?,
            categories: list(file, "categories")?,
            is_end: column(file, "isEnd")?.as_boolean_opt().ok_or_else(|| wrong_type(file, "isEnd"))?,
            properties: text(file, "properties")?,
            user_properties: text(file, "userProperties")?,
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
                memo: None,
                stopped: None,
                changed: None,
                threads: BTreeMap::new(),
            },
        })
    }
}

fn strings(file: &Points, lists: &ListArray, row: usize) -> Result<Option<Vec<String>>, FileError> {
    if lists.is_null(row) {
        return Ok(None);
    }
    let elements = lists.value(row);
    let elements = elements.as_string_opt::<i32>().ok_or_else(|| file.damaged("a list is of another type"))?;
    Ok(Some(elements.iter().flatten().map(str::to_owned).collect()))
}

struct MessageColumns<'a> {
    file: &'a Points,
    conversation_id: Text<'a>,
    id: Text<'a>,
    role: Text<'a>,
    position: &'a PrimitiveArray<Int32Type>,
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
    fn new(file: &'a Points) -> Result<Self, FileError> {
        let position = column(file, "position")?.as_primitive_opt().ok_or_else(|| wrong_type(file, "position"))?;
        Ok(Self {
            file,
            conversation_id: text(file, "conversationId")?,
            id: text(file, "id")?,
            role: text(file, "role")?,
            position,
            external_id: text(file, "externalId")?,
            external_url: text(file, "externalUrl")?,
            name: text(file, "name")?,
            content: text(file, "content")?,
            content_parts: text(file, "contentParts")?,
            links: text(file, "links")?,
            tool_calls: text(file, "toolCalls")?,
            properties: text(file, "properties")?,
            user_properties: text(file, "userProperties")?,
            created_at: times(file, "createdAt")?,
            updated_at: times(file, "updatedAt")?,
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

#[cfg(test)]
mod tests {
    use datafusion::prelude::{ParquetReadOptions, SessionContext};
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;

    use super::*;
    use crate::storage::format::flatten::test_support::random_conversation;
    use crate::storage::format::registry::{ColumnRegistry, PathCounts};
    use crate::storage::format::schema::rows_schema;
    use crate::storage::format::writer::{SiblingPaths, WrittenFile, WrittenRows, WrittenSiblings, write_siblings};

    struct Pair {
        store: Arc<dyn ObjectStore>,
        main: WrittenRows,
        messages: WrittenFile,
        /// The rows of each conversation's messages.
        ranges: Vec<Range<u32>>,
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
        let mut rows = 0;
        let ranges = conversations.iter().map(|conversation| {
            rows += conversation.messages.len() as u32;
            rows - conversation.messages.len() as u32..rows
        });
        Pair { store, main, messages, ranges: ranges.collect() }
    }

    impl Pair {
        /// With `fresh`, the footers are read from the store.
        fn files(&self, fresh: bool) -> [Arc<ParquetFile>; 2] {
            let file = |path: &str, written: &WrittenFile| match fresh {
                true => ParquetFile::new(path.into(), written.size),
                false => ParquetFile::written(path.into(), written.size, written.metadata.clone()),
            };
            [Arc::new(file("c", &self.main.file)), Arc::new(file("m", &self.messages))]
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
        assert_eq!(pair.store.head(&"m".into()).await.unwrap().size, pair.messages.size);
        for fresh in [false, true] {
            let [file, messages] = pair.files(fresh);
            let mut wanted: Vec<u32> = (0..9_000).collect();
            wanted.shuffle(&mut rng);
            wanted.truncate(500);
            wanted.extend([0, 8_999, wanted[0]]);
            let rows: Vec<_> = wanted.iter().map(|&row| (row, pair.ranges[row as usize].clone())).collect();
            let read = read_conversations(&pair.store, &file, &messages, &rows).await.unwrap();
            assert_eq!(read.len(), wanted.len());
            for (read, row) in read.iter().zip(wanted) {
                assert_eq!(text(read), text(&stored[row as usize]));
            }
        }
        let [file, messages] = pair.files(false);
        let wrong = [(3, pair.ranges[4].clone())];
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
        let [file, messages] = pair.files(false);
        for wanted in [vec![65_535, 65_536], vec![69_999], vec![1], vec![65_536], (65_530..65_540).collect()] {
            let rows: Vec<_> = wanted.iter().map(|&row| (row, pair.ranges[row as usize].clone())).collect();
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
        println!("count and write both: {:?}, {} + {} bytes", start.elapsed(), pair.main.file.size, pair.messages.size);
        let folder = tempfile::tempdir().unwrap();
        let folder = std::env::var("CONVOLAKE_TEST_FILES").map_or(folder.path().to_owned(), Into::into);
        for name in ["c", "m"] {
            let bytes = pair.store.get(&name.into()).await.unwrap().bytes().await.unwrap();
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        let store: Arc<dyn ObjectStore> =
            Arc::new(object_store::local::LocalFileSystem::new_with_prefix(folder).unwrap());
        let [file, messages] = pair.files(true);
        for row in [1u32, 2, 30_000, 65_000, 12_345] {
            let rows = [(row, pair.ranges[row as usize].clone())];
            let start = std::time::Instant::now();
            let read = read_conversations(&store, &file, &messages, &rows).await.unwrap();
            println!("row {row}: {:?}", start.elapsed());
            assert_eq!(text(&read[0]), text(&stored[row as usize]));
        }
    }
}
