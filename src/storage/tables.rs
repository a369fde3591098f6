//! The tables of a store in the writer's hands, and the one commit point: new rows and changed deletion vectors of all
//! tables, up to one position of the write-ahead log.
//!
//! A commit over several tables is made whole by an *intent*: after the data files are durable and before the first
//! table commit, an object under `intents/` lists the actions of every table. Who opens the store finishes what an
//! intent says, so no table is ever ahead of another when replay begins. Each commit carries the number of its intent:
//! a version number alone would not tell it from a commit of another program (a VACUUM makes some).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::columns::{ColumnRegistry, PathCounts};
use super::deletion_vector;
use super::error::StoreError;
use super::fail_point;
use super::index::{self, FileIndex, IndexBuilder};
use super::layout::Layout;
use super::parquet_file::{WrittenConversations, WrittenMessages, write_pair};
use super::rows::MessagesFile;
use super::schema::{self, ROW_COLUMN};
use super::snapshot::{ColumnStatistics, DataFile, FileSnapshot};
use super::statistics::DeltaStatistics;
use super::table_log::{Action, Add, DeltaType, FileStatistics, TableColumn, TableLog, Txn};
use crate::model::conversation::Conversation;
use crate::model::ids::{EpochMillis, OrganizationId, ProjectId, WalPosition};
use crate::model::resolve::Previous;
use crate::model::time;

const CONVERSATIONS: &str = "conversations";
const MESSAGES: &str = "messages";
const INTENTS: &str = "intents";
const OPENED_AT_ONCE: usize = 16;

/// Tags of an `add` action of `conversations`: what only this server needs of a file.
const LAYOUT_TAG: &str = "convolake.layout";
const MESSAGES_TAG: &str = "convolake.messages";
const MESSAGES_SIZE_TAG: &str = "convolake.messagesSize";
const INDEX_TAG: &str = "convolake.index";
const INDEX_SIZE_TAG: &str = "convolake.indexSize";

pub struct Tables {
    store: Arc<dyn ObjectStore>,
    conversations: TableLog,
    messages: TableLog,
    columns: ColumnRegistry,
    /// Deleted rows as the table logs have them, by [`DataFile::number`].
    committed: BTreeMap<u32, Arc<RoaringBitmap>>,
    /// A commit that may have begun: it is finished before anything else.
    pending: Option<Pending>,
}

/// What one commit brings.
pub struct Rows {
    /// New rows; any order.
    pub conversations: Vec<Arc<Conversation>>,
    /// [`DataFile::number`] of the new file.
    pub source: u32,
    /// The files with their deleted rows as of `position`.
    pub files: Vec<FileSnapshot>,
    pub position: WalPosition,
}

/// What a commit made.
#[derive(Clone)]
pub struct Committed {
    pub file: Option<Arc<DataFile>>,
    /// The new file's rows, in order.
    pub conversations: Arc<Vec<Arc<Conversation>>>,
}

#[derive(Clone)]
struct Pending {
    path: Path,
    intent: Intent,
    committed: BTreeMap<u32, Arc<RoaringBitmap>>,
    columns: ColumnRegistry,
    result: Committed,
}

#[derive(Clone, Serialize, Deserialize)]
struct Intent {
    /// Ascending from one commit to the next.
    number: u64,
    tables: Vec<TableIntent>,
}

#[derive(Clone, Serialize, Deserialize)]
struct TableIntent {
    table: String,
    actions: Vec<Action>,
}

impl Tables {
    /// Opens the tables, or creates them, and finishes what an intent left. Numbers the files from `next_source`.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        mut next_source: impl FnMut() -> u32,
    ) -> Result<(Tables, Vec<FileSnapshot>), StoreError> {
        let conversations = open_or_create(&store, CONVERSATIONS, conversations_columns()).await?;
        let messages = open_or_create(&store, MESSAGES, messages_columns()).await?;
        let mut tables = Tables {
            store,
            conversations,
            messages,
            columns: ColumnRegistry::default(),
            committed: BTreeMap::new(),
            pending: None,
        };
        tables.finish_intents().await?;
        let columns = tables.conversations.state().columns();
        let columns =
            columns.map_err(|reason| StoreError::Corrupt(format!("the schema of {CONVERSATIONS}: {reason}")))?;
        tables.columns = ColumnRegistry::new(columns.iter().filter_map(TableColumn::property));

        let adds: Vec<(u32, Arc<Add>)> =
            tables.conversations.state().files.values().map(|add| (next_source(), add.clone())).collect();
        let files: Vec<FileSnapshot> = stream::iter(adds)
            .map(|(number, add)| tables.open_file(number, add))
            .buffered(OPENED_AT_ONCE)
            .try_collect()
            .await?;
        tables.committed = files.iter().map(|entry| (entry.file.number, entry.deleted.clone())).collect();
        Ok((tables, files))
    }

    /// The position up to which all tables hold every operation.
    pub fn position(&self) -> WalPosition {
        let (conversations, messages) = (self.conversations.state(), self.messages.state());
        conversations.wal_position().min(messages.wal_position())
    }

    /// The table's columns, as the layout that tail segments get.
    pub fn layout(&self) -> Arc<Layout> {
        Arc::new(self.columns.layout())
    }

    /// Paths of everything that the tables refer to.
    pub fn referenced(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        for add in self.conversations.state().files.values() {
            paths.push(self.conversations.file_path(&add.path));
            paths.extend(add.tag(MESSAGES_TAG).map(Path::from));
            paths.extend(add.tag(INDEX_TAG).map(Path::from));
        }
        for log in [&self.conversations, &self.messages] {
            let vectors = log.state().files.values().filter_map(|add| add.deletion_vector.as_ref());
            paths.extend(vectors.filter_map(|vector| vector.file(log.root()).ok().flatten()));
        }
        paths
    }

    /// Writes the new rows to files and commits them with the deleted rows of all files. After an error the same call
    /// may be made again; rows are committed once.
    pub async fn commit(&mut self, rows: Rows) -> Result<Committed, StoreError> {
        if self.pending.is_none() {
            let mut written = Vec::new();
            match self.prepare(rows, &mut written).await {
                Ok(pending) => self.pending = Some(pending),
                Err(error) => {
                    self.discard(&written).await;
                    return Err(error);
                }
            }
        }
        self.finish_pending().await
    }

    /// Deletes what a failed try wrote: the next one writes other files, and the disk may be full.
    async fn discard(&self, written: &[Path]) {
        for path in written {
            match self.store.delete(path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => tracing::warn!(%path, %error, "a file of a failed flush could not be deleted"),
            }
        }
    }

    /// Everything but the commits. `written` gets the paths of new files before they are written.
    async fn prepare(&self, rows: Rows, written: &mut Vec<Path>) -> Result<Pending, StoreError> {
        let now = time::now();
        let Rows { conversations: mut sorted, source, files, position } = rows;
        sort_rows(&mut sorted);
        let sorted = Arc::new(sorted);
        let mut columns = self.columns.clone();
        let intent_number = self.conversations.state().intent().max(self.messages.state().intent()) + 1;
        let mut of_conversations =
            vec![Action::Txn(Txn::new(position, now)), Action::Txn(Txn::intent(intent_number, now))];
        let mut of_messages = of_conversations.clone();
        let mut committed = self.committed.clone();

        fail_point::reached("flush:before-files");
        let mut file = None;
        if !sorted.is_empty() {
            let (layout, registry) = choose_columns(&self.columns, sorted.clone()).await?;
            let new = self.write_files(sorted.clone(), layout, source, written).await?;
            if registry != self.columns {
                columns = registry;
                let meta_data = self
                    .conversations
                    .state()
                    .meta_data
                    .as_ref()
                    .ok_or_else(|| StoreError::Corrupt(format!("the table {CONVERSATIONS} has no metadata")))?;
                let mut all = conversations_columns();
                all.extend(columns.columns().map(|column| TableColumn::of_property(&column)));
                of_conversations.push(Action::MetaData(meta_data.with_columns(&all)));
            }
            of_conversations.push(Action::Add(new.conversations));
            of_messages.push(Action::Add(new.messages));
            committed.insert(source, Arc::new(RoaringBitmap::new()));
            file = Some(Arc::new(new.file));
        }
        fail_point::reached("flush:after-files");

        for entry in &files {
            let number = entry.file.number;
            if committed.get(&number).is_some_and(|deleted| **deleted == *entry.deleted) {
                continue;
            }
            let message_rows = deleted_messages(&self.store, entry).await?;
            let replaced = [
                (&self.conversations, &entry.file.path, &*entry.deleted, &mut of_conversations),
                (&self.messages, &entry.file.messages.path, &message_rows, &mut of_messages),
            ];
            for (log, file, deleted, actions) in replaced {
                actions.extend(self.replace_deletions(log, file, deleted, written, now).await?);
            }
            committed.insert(number, entry.deleted.clone());
        }
        let intent = Intent {
            number: intent_number,
            tables: vec![
                TableIntent { table: MESSAGES.into(), actions: of_messages },
                TableIntent { table: CONVERSATIONS.into(), actions: of_conversations },
            ],
        };
        let path = Path::from_iter([INTENTS, &format!("{:020}-{}.json", position.0, Uuid::new_v4())]);
        Ok(Pending { path, intent, committed, columns, result: Committed { file, conversations: sorted } })
    }

    async fn finish_pending(&mut self) -> Result<Committed, StoreError> {
        let Some(pending) = self.pending.clone() else {
            return Err(StoreError::Unavailable("no commit is pending".into()));
        };
        let body = serde_json::to_vec(&pending.intent).map_err(|error| StoreError::io("an intent", error))?;
        let put = self.store.put(&pending.path, PutPayload::from(body)).await;
        put.map_err(|error| StoreError::io("an intent could not be written", error))?;
        fail_point::reached("flush:after-intent");
        self.finish_intent(&pending.intent).await?;
        fail_point::reached("flush:after-commits");
        self.forget_intent(&pending.path).await?;
        self.committed = pending.committed;
        self.columns = pending.columns;
        self.pending = None;
        Ok(pending.result)
    }

    /// Commits to each table what is not committed yet.
    async fn finish_intent(&mut self, intent: &Intent) -> Result<(), StoreError> {
        for part in &intent.tables {
            let log = match part.table.as_str() {
                CONVERSATIONS => &mut self.conversations,
                MESSAGES => &mut self.messages,
                other => return Err(StoreError::Corrupt(format!("an intent names the unknown table {other:?}"))),
            };
            // An earlier try may have ended in doubt.
            log.refresh().await.map_err(|error| StoreError::io("a table log could not be read", error))?;
            if log.state().intent() < intent.number {
                let committed = log.commit(part.actions.clone(), time::now()).await;
                committed.map_err(|error| StoreError::io("a commit failed", error))?;
            }
            if part.table == MESSAGES {
                fail_point::reached("flush:between-commits");
            }
        }
        Ok(())
    }

    async fn finish_intents(&mut self) -> Result<(), StoreError> {
        let prefix = Path::from(INTENTS);
        let listed: Result<Vec<_>, _> = self.store.list(Some(&prefix)).try_collect().await;
        let mut listed = listed.map_err(|error| StoreError::io("the intents could not be listed", error))?;
        listed.sort_by(|a, b| a.location.cmp(&b.location));
        for object in listed {
            let body = self.store.get(&object.location).await.map_err(|error| StoreError::io("an intent", error))?;
            let body = body.bytes().await.map_err(|error| StoreError::io("an intent", error))?;
            let intent: Intent = serde_json::from_slice(&body)
                .map_err(|error| StoreError::Corrupt(format!("the intent {}: {error}", object.location)))?;
            self.finish_intent(&intent).await?;
            self.forget_intent(&object.location).await?;
        }
        Ok(())
    }

    async fn forget_intent(&self, path: &Path) -> Result<(), StoreError> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(StoreError::io("an intent could not be deleted", error)),
        }
    }

    async fn replace_deletions(
        &self,
        log: &TableLog,
        file: &Path,
        deleted: &RoaringBitmap,
        written: &mut Vec<Path>,
        now: EpochMillis,
    ) -> Result<Vec<Action>, StoreError> {
        let add = log.state().files.values().find(|add| log.file_path(&add.path) == *file);
        let add = add.ok_or_else(|| StoreError::Corrupt(format!("{file} is not in the log of {}", log.root())))?;
        let vector = deletion_vector::write(self.store.as_ref(), log.root(), deleted).await;
        let vector = vector.map_err(|error| StoreError::io("a deletion vector could not be written", error))?;
        written.extend(vector.as_ref().and_then(|vector| vector.file(log.root()).ok().flatten()));
        Ok(add.replace_deletions(vector, now).into())
    }

    async fn write_files(
        &self,
        rows: Arc<Vec<Arc<Conversation>>>,
        layout: Layout,
        source: u32,
        written: &mut Vec<Path>,
    ) -> Result<NewFile, StoreError> {
        let stem = Uuid::new_v4().to_string();
        let (main_name, messages_name) = (format!("data/{stem}.parquet"), format!("data/{stem}.parquet"));
        let main_path = self.conversations.file_path(&main_name);
        let messages_path = self.messages.file_path(&messages_name);
        let index_path = self.conversations.file_path(&format!("index/{stem}.idx"));
        written.extend([main_path.clone(), messages_path.clone(), index_path.clone()]);
        let index = async {
            let of_rows = rows.clone();
            let built = tokio::task::spawn_blocking(move || build_index(&of_rows)).await;
            let bytes = built.map_err(|error| StoreError::io("building an index", error))??;
            let put = self.store.put(&index_path, PutPayload::from(bytes.clone())).await;
            put.map_err(|error| StoreError::io("an index could not be written", error))?;
            Ok(bytes)
        };
        let pair = async {
            write_pair(&self.store, main_path.clone(), messages_path.clone(), rows.clone(), layout)
                .await
                .map_err(|error| StoreError::io("data files could not be written", error))
        };
        // Both to their end: what is still being written could not be deleted.
        let (index, pair): (Result<Bytes, StoreError>, Result<_, StoreError>) = futures::join!(index, pair);
        let (index_bytes, (main, messages)): (Bytes, (WrittenConversations, WrittenMessages)) = (index?, pair?);
        let index = FileIndex::from_bytes(index_path.clone(), &index_bytes)
            .map_err(|error| StoreError::io("an index just written", error))?;
        let now = time::now();
        let layout_text =
            serde_json::to_string(&main.layout).map_err(|error| StoreError::io("a file's layout", error))?;
        let tags = BTreeMap::from([
            (LAYOUT_TAG.to_owned(), Some(layout_text)),
            (MESSAGES_TAG.to_owned(), Some(messages_path.to_string())),
            (MESSAGES_SIZE_TAG.to_owned(), Some(messages.file.size.to_string())),
            (INDEX_TAG.to_owned(), Some(index_path.to_string())),
            (INDEX_SIZE_TAG.to_owned(), Some(index_bytes.len().to_string())),
        ]);
        let main_statistics = log_statistics(main.file.rows, &main.file.statistics);
        let messages_statistics = log_statistics(messages.file.rows, &messages.file.statistics);
        let file = DataFile {
            number: source,
            path: main_path,
            size: main.file.size,
            rows: main.file.rows,
            layout: main.layout,
            statistics: main.file.statistics,
            metadata: OnceLock::from(main.file.metadata),
            messages: MessagesFile {
                path: messages_path,
                size: messages.file.size,
                metadata: OnceLock::from(messages.file.metadata),
            },
            index,
        };
        Ok(NewFile {
            conversations: Add::new(main_name, file.size, &main_statistics, tags, now),
            messages: Add::new(messages_name, file.messages.size, &messages_statistics, BTreeMap::new(), now),
            file,
        })
    }

    async fn open_file(&self, number: u32, add: Arc<Add>) -> Result<FileSnapshot, StoreError> {
        let path = self.conversations.file_path(&add.path);
        let damaged = |what: &str| StoreError::Corrupt(format!("the log entry of {path} lacks {what}"));
        let size_tag = |name: &str| add.tag(name).and_then(|size| size.parse::<u64>().ok());
        let layout: Layout = add
            .tag(LAYOUT_TAG)
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| damaged("its layout"))?;
        let statistics = add.statistics().ok_or_else(|| damaged("its statistics"))?;
        let rows = u32::try_from(statistics.num_records).map_err(|_| damaged("a possible row count"))?;
        let delta = DeltaStatistics {
            min_values: statistics.min_values,
            max_values: statistics.max_values,
            null_count: statistics.null_count.into_iter().map(|(name, count)| (name, count.into())).collect(),
        };
        let schema = schema::conversations_schema(&layout);
        let statistics = delta.read(schema.fields().iter().map(|field| (field.name().as_str(), field.data_type())));
        let index_path = add.tag(INDEX_TAG).map(Path::from).ok_or_else(|| damaged("its index"))?;
        let index_size = size_tag(INDEX_SIZE_TAG).ok_or_else(|| damaged("its index's size"))?;
        let index = FileIndex::open(self.store.as_ref(), index_path, index_size).await;
        let index = index.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let deleted = match &add.deletion_vector {
            None => RoaringBitmap::new(),
            Some(vector) => deletion_vector::read(self.store.as_ref(), self.conversations.root(), vector)
                .await
                .map_err(|error| StoreError::Corrupt(format!("the deletion vector of {path}: {error}")))?,
        };
        let messages = MessagesFile {
            path: add.tag(MESSAGES_TAG).map(Path::from).ok_or_else(|| damaged("its messages"))?,
            size: size_tag(MESSAGES_SIZE_TAG).ok_or_else(|| damaged("its messages' size"))?,
            metadata: OnceLock::new(),
        };
        let size = u64::try_from(add.size).map_err(|_| damaged("a possible size"))?;
        let file = DataFile {
            number,
            path: path.clone(),
            size,
            rows,
            layout,
            statistics,
            metadata: OnceLock::new(),
            messages,
            index,
        };
        Ok(FileSnapshot { file: Arc::new(file), deleted: Arc::new(deleted) })
    }
}

struct NewFile {
    file: DataFile,
    conversations: Add,
    messages: Add,
}

/// The order of rows in a file: what is asked together lies together.
fn sort_rows(rows: &mut [Arc<Conversation>]) {
    rows.sort_by_cached_key(|row| {
        (row.organization_id.clone(), row.project_id.clone(), row.first_message_time(), row.id.clone())
    });
}

async fn choose_columns(
    registry: &ColumnRegistry,
    rows: Arc<Vec<Arc<Conversation>>>,
) -> Result<(Layout, ColumnRegistry), StoreError> {
    let registry = registry.clone();
    let chosen = tokio::task::spawn_blocking(move || {
        let mut counts = PathCounts::new(&registry);
        for row in rows.iter() {
            counts.add(row)?;
        }
        Ok(registry.choose(&counts))
    });
    let chosen: Result<_, super::flatten::FlattenError> =
        chosen.await.map_err(|error| StoreError::io("counting property paths", error))?;
    chosen.map_err(|error| StoreError::io("counting property paths", error))
}

fn build_index(rows: &[Arc<Conversation>]) -> Result<Bytes, StoreError> {
    let mut builder = IndexBuilder::new();
    for row in rows {
        let id = lookup_hash(&row.organization_id, row.id.as_str());
        let external_id = row.external_id.as_deref().map(|text| lookup_hash(&row.organization_id, text));
        let previous = serde_json::to_vec(&Previous::of(row)).map_err(|error| StoreError::io("an index row", error))?;
        builder.push(id, external_id, row.messages.len() as u32, &previous);
    }
    builder.finish().map_err(|error| StoreError::io("an index could not be built", error))
}

/// The same id or externalId in all projects of an organization has one hash, so that a key of the organization finds
/// it without knowing the project; the rows tell the projects apart.
pub fn lookup_hash(organization_id: &OrganizationId, text: &str) -> u128 {
    index::key_hash(organization_id, &ProjectId::new(""), text)
}

async fn deleted_messages(store: &Arc<dyn ObjectStore>, entry: &FileSnapshot) -> Result<RoaringBitmap, StoreError> {
    let offsets = entry.file.index.message_offsets(store.as_ref()).await;
    let offsets = offsets.map_err(|error| StoreError::io("an index could not be read", error))?;
    let mut rows = RoaringBitmap::new();
    for row in entry.deleted.iter() {
        if let Some([start, end]) = offsets.get(row as usize..row as usize + 2) {
            rows.insert_range(*start..*end);
        }
    }
    Ok(rows)
}

fn log_statistics(rows: u32, statistics: &BTreeMap<String, ColumnStatistics>) -> FileStatistics {
    let delta = DeltaStatistics::new(statistics);
    FileStatistics {
        num_records: u64::from(rows),
        min_values: delta.min_values,
        max_values: delta.max_values,
        null_count: delta.null_count.into_iter().filter_map(|(name, count)| Some((name, count.as_u64()?))).collect(),
        tight_bounds: true,
    }
}

async fn open_or_create(
    store: &Arc<dyn ObjectStore>,
    name: &str,
    columns: Vec<TableColumn>,
) -> Result<TableLog, StoreError> {
    let opened = TableLog::open(store.clone(), Path::from(name)).await;
    match opened.map_err(|error| StoreError::Corrupt(error.to_string()))? {
        Some(log) => Ok(log),
        None => TableLog::create(store.clone(), Path::from(name), &columns, time::now())
            .await
            .map_err(|error| StoreError::io(format!("the table {name} could not be created"), error)),
    }
}

fn conversations_columns() -> Vec<TableColumn> {
    let fields = schema::conversations_plain_fields();
    fields.iter().filter(|field| field.name() != ROW_COLUMN).map(table_column).collect()
}

fn messages_columns() -> Vec<TableColumn> {
    schema::messages_schema().fields().iter().map(|field| table_column(field)).collect()
}

fn table_column(field: &arrow::datatypes::Field) -> TableColumn {
    use arrow::datatypes::DataType;
    let data_type = match field.data_type() {
        DataType::Int32 => DeltaType::Integer,
        DataType::Int64 => DeltaType::Long,
        DataType::Float64 => DeltaType::Double,
        DataType::Boolean => DeltaType::Boolean,
        DataType::Timestamp(..) => DeltaType::Timestamp,
        DataType::List(_) => DeltaType::StringList,
        _ => DeltaType::String,
    };
    TableColumn::new(field.name(), data_type)
}
