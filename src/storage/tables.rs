//! The tables of a store in the writer's hands, and the one commit point: new rows and changed deletion vectors of all
//! tables, up to one position of the write-ahead log.
//!
//! A commit over several tables is made whole by an *intent*: after the data files are durable and before the first
//! table commit, an object under `intents/` lists the actions of every table. Who opens the store finishes what an
//! intent says, so no table is ever ahead of another when replay begins. Each commit carries the number of its intent:
//! a version number alone would not tell it from a commit of another program (a VACUUM makes some).

use std::borrow::Borrow;
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
use super::index::{FileIndex, IndexBuilder};
use super::layout::Layout;
use super::parquet_file::{SiblingPaths, WrittenRows, WrittenSiblings, write_rows, write_siblings};
use super::rows::MessagesFile;
use super::schema::{self, ROW_COLUMN};
use super::snapshot::{ColumnStatistics, DataFile, FileSnapshot, ThreadsFile};
use super::statistics::DeltaStatistics;
use super::table_log::{Action, Add, DeltaType, FileStatistics, TableColumn, TableLog, Txn};
use super::table_row::{FlatRow, TableRow};
use crate::model::conversation::Conversation;
use crate::model::event::Event;
use crate::model::feedback::Feedback;
use crate::model::ids::{EpochMillis, Key, WalPosition, lookup_hash};
use crate::model::thread::SemanticThread;
use crate::model::time;

const CONVERSATIONS: &str = "conversations";
const MESSAGES: &str = "messages";
const EVENTS: &str = "events";
const FEEDBACK: &str = "feedback";
const SEMANTIC_THREADS: &str = "semantic_threads";
const INTENTS: &str = "intents";
const OPENED_AT_ONCE: usize = 16;

/// Tags of an `add` action: what only this server needs of a file.
const LAYOUT_TAG: &str = "convolake.layout";
const MESSAGES_TAG: &str = "convolake.messages";
const MESSAGES_SIZE_TAG: &str = "convolake.messagesSize";
const THREADS_TAG: &str = "convolake.threads";
const INDEX_TAG: &str = "convolake.index";
const INDEX_SIZE_TAG: &str = "convolake.indexSize";

pub struct Tables {
    store: Arc<dyn ObjectStore>,
    conversations: TableLog,
    messages: TableLog,
    columns: ColumnRegistry,
    events: RecordTable,
    feedback: RecordTable,
    /// With the property columns of the conversations.
    threads: TableLog,
    /// Deleted rows as the table logs have them, by [`DataFile::number`].
    committed: BTreeMap<u32, Arc<RoaringBitmap>>,
    /// A commit that may have begun: it is finished before anything else.
    pending: Option<Pending>,
}

/// A table without a sibling.
struct RecordTable {
    log: TableLog,
    columns: ColumnRegistry,
}

/// What one commit brings.
pub struct Rows {
    pub position: WalPosition,
    pub conversations: NewRows<Conversation>,
    pub events: NewRows<Event>,
    pub feedback: NewRows<Feedback>,
    /// [`DataFile::number`] of the new file of threads.
    pub threads_source: u32,
}

/// What it brings to one table.
pub struct NewRows<R> {
    /// New rows; any order.
    pub rows: Vec<Arc<R>>,
    /// [`DataFile::number`] of the new file.
    pub source: u32,
    /// The table's files with their deleted rows as of the commit's position.
    pub files: Vec<FileSnapshot>,
}

/// What a commit made.
#[derive(Clone)]
pub struct Committed {
    pub conversations: CommittedRows<Conversation>,
    pub events: CommittedRows<Event>,
    pub feedback: CommittedRows<Feedback>,
}

#[derive(Clone)]
pub struct CommittedRows<R> {
    pub file: Option<Arc<DataFile>>,
    /// The new file's rows, in order.
    pub rows: Arc<Vec<Arc<R>>>,
}

/// The files of a store that is opened.
pub struct OpenedFiles {
    pub conversations: Vec<FileSnapshot>,
    pub events: Vec<FileSnapshot>,
    pub feedback: Vec<FileSnapshot>,
}

#[derive(Clone)]
struct Pending {
    path: Path,
    intent: Intent,
    committed: BTreeMap<u32, Arc<RoaringBitmap>>,
    columns: ColumnRegistry,
    events_columns: ColumnRegistry,
    feedback_columns: ColumnRegistry,
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
    ) -> Result<(Tables, OpenedFiles), StoreError> {
        let conversations = open_or_create(&store, CONVERSATIONS, plain_columns::<Conversation>()).await?;
        let messages = open_or_create(&store, MESSAGES, messages_columns()).await?;
        let events = RecordTable::open::<Event>(&store, EVENTS).await?;
        let feedback = RecordTable::open::<Feedback>(&store, FEEDBACK).await?;
        let threads = open_or_create(&store, SEMANTIC_THREADS, plain_columns::<SemanticThread>()).await?;
        let mut tables = Tables {
            store,
            conversations,
            messages,
            columns: ColumnRegistry::default(),
            events,
            feedback,
            threads,
            committed: BTreeMap::new(),
            pending: None,
        };
        tables.finish_intents().await?;
        let position = tables.conversations.state().wal_position();
        tables.events.start_at(position).await?;
        tables.feedback.start_at(position).await?;
        tables.columns = property_columns(&tables.conversations)?;
        tables.events.columns = property_columns(&tables.events.log)?;
        tables.feedback.columns = property_columns(&tables.feedback.log)?;

        let files = OpenedFiles {
            conversations: tables.open_conversations(&mut next_source).await?,
            events: tables.open_files::<Event>(&tables.events.log, &mut next_source).await?,
            feedback: tables.open_files::<Feedback>(&tables.feedback.log, &mut next_source).await?,
        };
        let all = files.conversations.iter().chain(&files.events).chain(&files.feedback);
        tables.committed = all.map(|entry| (entry.file.number, entry.deleted.clone())).collect();
        Ok((tables, files))
    }

    async fn open_files<R: TableRow>(
        &self,
        log: &TableLog,
        next_source: &mut impl FnMut() -> u32,
    ) -> Result<Vec<FileSnapshot>, StoreError> {
        let adds: Vec<(u32, Arc<Add>)> = log.state().files.values().map(|add| (next_source(), add.clone())).collect();
        let files = stream::iter(adds).map(|(number, add)| self.open_file::<R>(log, number, add));
        files.buffered(OPENED_AT_ONCE).try_collect().await
    }

    fn logs(&self) -> [&TableLog; 5] {
        [&self.conversations, &self.messages, &self.events.log, &self.feedback.log, &self.threads]
    }

    /// The position up to which all tables hold every operation.
    pub fn position(&self) -> WalPosition {
        self.logs().iter().map(|log| log.state().wal_position()).min().unwrap_or_default()
    }

    /// The table's columns, as the layout that tail segments get.
    pub fn layout(&self) -> Arc<Layout> {
        Arc::new(self.columns.layout())
    }

    pub fn events_layout(&self) -> Arc<Layout> {
        Arc::new(self.events.columns.layout())
    }

    pub fn feedback_layout(&self) -> Arc<Layout> {
        Arc::new(self.feedback.columns.layout())
    }

    /// Paths of everything that the tables refer to.
    pub fn referenced(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        for log in self.logs() {
            for add in log.state().files.values() {
                paths.push(log.file_path(&add.path));
                paths.extend(add.tag(MESSAGES_TAG).map(Path::from));
                paths.extend(add.tag(INDEX_TAG).map(Path::from));
            }
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
        let Rows { position, conversations, events, feedback, threads_source } = rows;
        let NewRows { rows: mut sorted, source, files } = conversations;
        sort_rows(&mut sorted);
        let sorted = Arc::new(sorted);
        let mut columns = self.columns.clone();
        let intent_number = self.logs().iter().map(|log| log.state().intent()).max().unwrap_or(0) + 1;
        let mut of_conversations =
            vec![Action::Txn(Txn::new(position, now)), Action::Txn(Txn::intent(intent_number, now))];
        let mut of_messages = of_conversations.clone();
        let mut of_threads = of_conversations.clone();
        let both = of_conversations.clone();
        let mut committed = self.committed.clone();

        fail_point::reached("flush:before-files");
        let mut file = None;
        if !sorted.is_empty() {
            let (layout, registry) = choose_columns(&self.columns, sorted.clone()).await?;
            let new = self.write_files(sorted.clone(), layout, [source, threads_source], written).await?;
            if registry != self.columns {
                columns = registry;
                of_conversations.push(new_columns::<Conversation>(&self.conversations, &columns)?);
                of_threads.push(new_columns::<SemanticThread>(&self.threads, &columns)?);
            }
            of_conversations.push(Action::Add(new.conversations));
            of_messages.push(Action::Add(new.messages));
            of_threads.extend(new.threads.map(Action::Add));
            committed.insert(source, Arc::new(RoaringBitmap::new()));
            file = Some(Arc::new(new.file));
        }
        let (of_events, events, events_columns) =
            self.prepare_records(&self.events, events, both.clone(), &mut committed, written, now).await?;
        let (of_feedback, feedback, feedback_columns) =
            self.prepare_records(&self.feedback, feedback, both, &mut committed, written, now).await?;
        fail_point::reached("flush:after-files");

        for entry in &files {
            let number = entry.file.number;
            if committed.get(&number).is_some_and(|deleted| **deleted == *entry.deleted) {
                continue;
            }
            let message_rows = deleted_messages(&self.store, entry).await?;
            let messages = entry.file.messages.as_ref();
            let messages =
                messages.ok_or_else(|| StoreError::Corrupt(format!("{} has no messages", entry.file.path)))?;
            let threads = entry.file.threads.as_ref();
            let threads = threads.map(|threads| (&threads.file.path, threads.rows_of(&entry.deleted)));
            let replaced = [
                Some((&self.conversations, &entry.file.path, &*entry.deleted, &mut of_conversations)),
                Some((&self.messages, &messages.path, &message_rows, &mut of_messages)),
                threads.as_ref().map(|(path, rows)| (&self.threads, *path, rows, &mut of_threads)),
            ]
            .into_iter()
            .flatten();
            for (log, file, deleted, actions) in replaced {
                actions.extend(self.replace_deletions(log, file, deleted, written, now).await?);
            }
            committed.insert(number, entry.deleted.clone());
        }
        let intent = Intent {
            number: intent_number,
            tables: vec![
                TableIntent { table: MESSAGES.into(), actions: of_messages },
                TableIntent { table: EVENTS.into(), actions: of_events },
                TableIntent { table: FEEDBACK.into(), actions: of_feedback },
                TableIntent { table: SEMANTIC_THREADS.into(), actions: of_threads },
                TableIntent { table: CONVERSATIONS.into(), actions: of_conversations },
            ],
        };
        let path = Path::from_iter([INTENTS, &format!("{:020}-{}.json", position.0, Uuid::new_v4())]);
        let result = Committed { conversations: CommittedRows { file, rows: sorted }, events, feedback };
        Ok(Pending { path, intent, committed, columns, events_columns, feedback_columns, result })
    }

    /// The actions of a table without a sibling: after `actions`, its new file and changed deletion vectors.
    async fn prepare_records<R: TableRow>(
        &self,
        table: &RecordTable,
        new: NewRows<R>,
        mut actions: Vec<Action>,
        committed: &mut BTreeMap<u32, Arc<RoaringBitmap>>,
        written: &mut Vec<Path>,
        now: EpochMillis,
    ) -> Result<(Vec<Action>, CommittedRows<R>, ColumnRegistry), StoreError> {
        let NewRows { rows: mut sorted, source, files } = new;
        sort_rows(&mut sorted);
        let rows = Arc::new(sorted);
        let mut columns = table.columns.clone();
        let mut file = None;
        if !rows.is_empty() {
            let (layout, registry) = choose_columns(&table.columns, rows.clone()).await?;
            let (add, new_file) = self.write_records(&table.log, rows.clone(), layout, source, written).await?;
            if registry != table.columns {
                columns = registry;
                actions.push(new_columns::<R>(&table.log, &columns)?);
            }
            actions.push(Action::Add(add));
            committed.insert(source, Arc::new(RoaringBitmap::new()));
            file = Some(Arc::new(new_file));
        }
        for entry in &files {
            let number = entry.file.number;
            if committed.get(&number).is_none_or(|deleted| **deleted != *entry.deleted) {
                let path = &entry.file.path;
                actions.extend(self.replace_deletions(&table.log, path, &entry.deleted, written, now).await?);
                committed.insert(number, entry.deleted.clone());
            }
        }
        Ok((actions, CommittedRows { file, rows }, columns))
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
        self.events.columns = pending.events_columns;
        self.feedback.columns = pending.feedback_columns;
        self.pending = None;
        Ok(pending.result)
    }

    /// Commits to each table what is not committed yet.
    async fn finish_intent(&mut self, intent: &Intent) -> Result<(), StoreError> {
        for part in &intent.tables {
            let log = match part.table.as_str() {
                CONVERSATIONS => &mut self.conversations,
                MESSAGES => &mut self.messages,
                EVENTS => &mut self.events.log,
                FEEDBACK => &mut self.feedback.log,
                SEMANTIC_THREADS => &mut self.threads,
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
        [source, threads_source]: [u32; 2],
        written: &mut Vec<Path>,
    ) -> Result<NewFile, StoreError> {
        let stem = Uuid::new_v4().to_string();
        let name = format!("data/{stem}.parquet");
        let main_path = self.conversations.file_path(&name);
        let messages_path = self.messages.file_path(&name);
        let threads_path = self.threads.file_path(&name);
        let index_path = self.conversations.file_path(&format!("index/{stem}.idx"));
        written.extend([main_path.clone(), messages_path.clone(), threads_path.clone(), index_path.clone()]);
        let index = self.write_index(&index_path, rows.clone());
        let paths = SiblingPaths {
            conversations: main_path.clone(),
            messages: messages_path.clone(),
            threads: threads_path.clone(),
        };
        let data = write_siblings(&self.store, paths, rows.clone(), layout);
        // Both to their end: what is still being written could not be deleted.
        let (index, data) = futures::join!(index, data);
        let data = data.map_err(|error| StoreError::io("data files could not be written", error));
        let (index_bytes, WrittenSiblings { conversations: main, messages, threads }) = (index?, data?);
        let index = FileIndex::from_bytes(index_path.clone(), &index_bytes)
            .map_err(|error| StoreError::io("an index just written", error))?;
        let now = time::now();
        let mut tags = BTreeMap::from([
            layout_tag(&main.layout)?,
            (MESSAGES_TAG.to_owned(), Some(messages_path.to_string())),
            (MESSAGES_SIZE_TAG.to_owned(), Some(messages.file.size.to_string())),
            (INDEX_TAG.to_owned(), Some(index_path.to_string())),
            (INDEX_SIZE_TAG.to_owned(), Some(index_bytes.len().to_string())),
        ]);
        let mut add_of_threads = None;
        let threads = match threads {
            None => None,
            Some(WrittenRows { file, layout }) => {
                tags.insert(THREADS_TAG.to_owned(), Some(threads_path.to_string()));
                let (statistics, tags) = (log_statistics(file.rows, &file.statistics), [layout_tag(&layout)?].into());
                add_of_threads = Some(Add::new(name.clone(), file.size, &statistics, tags, now));
                let file = DataFile {
                    number: threads_source,
                    path: threads_path,
                    size: file.size,
                    rows: file.rows,
                    layout,
                    statistics: file.statistics,
                    metadata: OnceLock::from(file.metadata),
                    messages: None,
                    threads: None,
                    index: FileIndex::empty(),
                    text_index: OnceLock::new(),
                };
                let offsets = index.thread_offsets(self.store.as_ref()).await;
                let offsets = offsets.map_err(|error| StoreError::io("an index just written", error))?;
                Some(threads_file(file, offsets)?)
            }
        };
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
            messages: Some(MessagesFile {
                path: messages_path,
                size: messages.file.size,
                metadata: OnceLock::from(messages.file.metadata),
            }),
            threads,
            index,
            text_index: OnceLock::new(),
        };
        Ok(NewFile {
            conversations: Add::new(name.clone(), file.size, &main_statistics, tags, now),
            messages: Add::new(name, messages.file.size, &messages_statistics, BTreeMap::new(), now),
            threads: add_of_threads,
            file,
        })
    }

    async fn write_index<R: TableRow>(&self, path: &Path, rows: Arc<Vec<Arc<R>>>) -> Result<Bytes, StoreError> {
        let built = tokio::task::spawn_blocking(move || build_index(&rows)).await;
        let bytes = built.map_err(|error| StoreError::io("building an index", error))??;
        let put = self.store.put(path, PutPayload::from(bytes.clone())).await;
        put.map_err(|error| StoreError::io("an index could not be written", error))?;
        Ok(bytes)
    }

    async fn write_records<R: TableRow>(
        &self,
        log: &TableLog,
        rows: Arc<Vec<Arc<R>>>,
        layout: Layout,
        source: u32,
        written: &mut Vec<Path>,
    ) -> Result<(Add, DataFile), StoreError> {
        let stem = Uuid::new_v4().to_string();
        let name = format!("data/{stem}.parquet");
        let (path, index_path) = (log.file_path(&name), log.file_path(&format!("index/{stem}.idx")));
        written.extend([path.clone(), index_path.clone()]);
        let index = self.write_index(&index_path, rows.clone());
        let data = write_rows(&self.store, path.clone(), rows, layout);
        // Both to their end: what is still being written could not be deleted.
        let (index, data) = futures::join!(index, data);
        let (index, data) = (index?, data.map_err(|error| StoreError::io("a data file could not be written", error))?);
        let tags = BTreeMap::from([
            layout_tag(&data.layout)?,
            (INDEX_TAG.to_owned(), Some(index_path.to_string())),
            (INDEX_SIZE_TAG.to_owned(), Some(index.len().to_string())),
        ]);
        let index = FileIndex::from_bytes(index_path, &index)
            .map_err(|error| StoreError::io("an index just written", error))?;
        let statistics = log_statistics(data.file.rows, &data.file.statistics);
        let add = Add::new(name, data.file.size, &statistics, tags, time::now());
        let file = DataFile {
            number: source,
            path,
            size: data.file.size,
            rows: data.file.rows,
            layout: data.layout,
            statistics: data.file.statistics,
            metadata: OnceLock::from(data.file.metadata),
            messages: None,
            threads: None,
            index,
            text_index: OnceLock::new(),
        };
        Ok((add, file))
    }

    async fn open_conversations(&self, next_source: &mut impl FnMut() -> u32) -> Result<Vec<FileSnapshot>, StoreError> {
        let threads: BTreeMap<Path, Arc<Add>> =
            self.threads.state().files.values().map(|add| (self.threads.file_path(&add.path), add.clone())).collect();
        let mut opened = self.open_files::<Conversation>(&self.conversations, next_source).await?;
        for entry in &mut opened {
            let add = self.conversations.state().files.values();
            let add = add.into_iter().find(|add| self.conversations.file_path(&add.path) == entry.file.path);
            let Some(path) = add.and_then(|add| add.tag(THREADS_TAG).map(Path::from)) else { continue };
            let missing = || StoreError::Corrupt(format!("{path} is not in the log of {}", self.threads.root()));
            let file = self.data_file::<SemanticThread>(
                &self.threads,
                next_source(),
                threads.get(&path).ok_or_else(missing)?,
                FileIndex::empty(),
            )?;
            let offsets = entry.file.index.thread_offsets(self.store.as_ref()).await;
            let offsets = offsets.map_err(|error| StoreError::Corrupt(error.to_string()))?;
            let threads = threads_file(file, offsets)?;
            let opened = Arc::get_mut(&mut entry.file);
            opened.ok_or_else(|| StoreError::Corrupt(format!("{path} is open already")))?.threads = Some(threads);
        }
        Ok(opened)
    }

    async fn open_file<R: TableRow>(
        &self,
        log: &TableLog,
        number: u32,
        add: Arc<Add>,
    ) -> Result<FileSnapshot, StoreError> {
        let path = log.file_path(&add.path);
        let damaged = |what: &str| StoreError::Corrupt(format!("the log entry of {path} lacks {what}"));
        let index_size = add.tag(INDEX_SIZE_TAG).and_then(|size| size.parse::<u64>().ok());
        let index_path = add.tag(INDEX_TAG).map(Path::from).ok_or_else(|| damaged("its index"))?;
        let index_size = index_size.ok_or_else(|| damaged("its index's size"))?;
        let index = FileIndex::open(self.store.as_ref(), index_path, index_size).await;
        let index = index.map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let deleted = match &add.deletion_vector {
            None => RoaringBitmap::new(),
            Some(vector) => deletion_vector::read(self.store.as_ref(), log.root(), vector)
                .await
                .map_err(|error| StoreError::Corrupt(format!("the deletion vector of {path}: {error}")))?,
        };
        let file = self.data_file::<R>(log, number, &add, index)?;
        Ok(FileSnapshot { file: Arc::new(file), deleted: Arc::new(deleted) })
    }

    /// A file as its log entry tells it.
    fn data_file<R: FlatRow>(
        &self,
        log: &TableLog,
        number: u32,
        add: &Add,
        index: FileIndex,
    ) -> Result<DataFile, StoreError> {
        let path = log.file_path(&add.path);
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
        let schema = schema::rows_schema::<R>(&layout);
        let statistics = delta.read(schema.fields().iter().map(|field| (field.name().as_str(), field.data_type())));
        let messages = match add.tag(MESSAGES_TAG).map(Path::from) {
            Some(path) => Some(MessagesFile {
                path,
                size: size_tag(MESSAGES_SIZE_TAG).ok_or_else(|| damaged("its messages' size"))?,
                metadata: OnceLock::new(),
            }),
            None => None,
        };
        let size = u64::try_from(add.size).map_err(|_| damaged("a possible size"))?;
        Ok(DataFile {
            number,
            path: path.clone(),
            size,
            rows,
            layout,
            statistics,
            metadata: OnceLock::new(),
            messages,
            threads: None,
            index,
            text_index: OnceLock::new(),
        })
    }
}

fn layout_tag(layout: &Layout) -> Result<(String, Option<String>), StoreError> {
    let text = serde_json::to_string(layout).map_err(|error| StoreError::io("a file's layout", error))?;
    Ok((LAYOUT_TAG.to_owned(), Some(text)))
}

fn threads_file(file: DataFile, offsets: Vec<u32>) -> Result<ThreadsFile, StoreError> {
    if offsets.last() != Some(&file.rows) {
        let (rows, counted) = (file.rows, offsets.last().copied().unwrap_or(0));
        return Err(StoreError::Corrupt(format!("{} has {rows} threads, its index counts {counted}", file.path)));
    }
    Ok(ThreadsFile { file: Arc::new(file), offsets })
}

struct NewFile {
    file: DataFile,
    conversations: Add,
    messages: Add,
    threads: Option<Add>,
}

/// The order of rows in a file: what is asked together lies together.
fn sort_rows<R: TableRow>(rows: &mut [Arc<R>]) {
    rows.sort_by_cached_key(|row| {
        let Key { organization_id, project_id, id } = row.key();
        (organization_id, project_id, row.sort_time(), Arc::<str>::from(id.borrow()))
    });
}

async fn choose_columns<R: TableRow>(
    registry: &ColumnRegistry,
    rows: Arc<Vec<Arc<R>>>,
) -> Result<(Layout, ColumnRegistry), StoreError> {
    let registry = registry.clone();
    let chosen = tokio::task::spawn_blocking(move || {
        let mut counts = PathCounts::new(&registry);
        for row in rows.iter() {
            counts.add(row.as_ref())?;
        }
        Ok(registry.choose(&counts))
    });
    let chosen: Result<_, super::flatten::FlattenError> =
        chosen.await.map_err(|error| StoreError::io("counting property paths", error))?;
    chosen.map_err(|error| StoreError::io("counting property paths", error))
}

fn build_index<R: TableRow>(rows: &[Arc<R>]) -> Result<Bytes, StoreError> {
    let mut builder = IndexBuilder::new();
    for row in rows {
        let Key { organization_id, project_id, id } = row.key();
        let id = lookup_hash(&organization_id, id.borrow());
        let external_id = row.external_id().map(|text| lookup_hash(&organization_id, text));
        let entry = row.index_entry().map_err(|error| StoreError::io("an index row", error))?;
        builder.push(id, external_id, row.siblings(), &entry);
        for reference in row.references() {
            builder.push_reference(reference.hash(&organization_id, &project_id));
        }
    }
    builder.finish().map_err(|error| StoreError::io("an index could not be built", error))
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

impl RecordTable {
    async fn open<R: TableRow>(store: &Arc<dyn ObjectStore>, name: &str) -> Result<RecordTable, StoreError> {
        let log = open_or_create(store, name, plain_columns::<R>()).await?;
        Ok(RecordTable { log, columns: ColumnRegistry::default() })
    }

    /// A store that had no such table yet holds nothing for it up to where its other tables are.
    async fn start_at(&mut self, position: WalPosition) -> Result<(), StoreError> {
        if self.log.version() > 0 || self.log.state().wal_position() >= position {
            return Ok(());
        }
        let now = time::now();
        let committed = self.log.commit(vec![Action::Txn(Txn::new(position, now))], now).await;
        committed.map_err(|error| StoreError::io("a new table's position could not be written", error))?;
        Ok(())
    }
}

fn property_columns(log: &TableLog) -> Result<ColumnRegistry, StoreError> {
    let columns = log.state().columns();
    let columns = columns.map_err(|reason| StoreError::Corrupt(format!("the schema of {}: {reason}", log.root())))?;
    Ok(ColumnRegistry::new(columns.iter().filter_map(TableColumn::property)))
}

/// The schema of a table that gets property columns.
fn new_columns<R: FlatRow>(log: &TableLog, columns: &ColumnRegistry) -> Result<Action, StoreError> {
    let meta_data = log.state().meta_data.as_ref();
    let meta_data =
        meta_data.ok_or_else(|| StoreError::Corrupt(format!("the table {} has no metadata", log.root())))?;
    let mut all = plain_columns::<R>();
    all.extend(columns.columns().map(|column| TableColumn::of_property(&column)));
    Ok(Action::MetaData(meta_data.with_columns(&all)))
}

fn plain_columns<R: FlatRow>() -> Vec<TableColumn> {
    let fields = R::plain_fields();
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
