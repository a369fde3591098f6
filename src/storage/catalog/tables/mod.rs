//! The tables of a store in the writer's hands, and the one commit point: new rows and changed deletion vectors of all
//! tables, up to one position of the write-ahead log.
//!
//! A commit over several tables is made whole by an *intent*: after the data files are durable and before the first
//! table commit, an object under `intents/` lists the actions of every table. Who opens the store finishes what an
//! intent says, so no table is ever ahead of another when replay begins. Each commit carries the number of its intent:
//! a version number alone would not tell it from a commit of another program (a VACUUM makes some).
//!
//! Messages and threads lie in files beside those of their conversations, in their order: they are written with them,
//! and a deleted conversation's are deleted with it.

mod opening;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::opening::table_column;
use self::writing::{choose_columns, sort_rows};
use super::delta::{Action, TableColumn, TableLog, Txn, deletion_vector};
use crate::model::conversation::Conversation;
use crate::model::ids::{EpochMillis, WalPosition};
use crate::model::thread::SemanticThread;
use crate::model::time;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::error::StoreError;
use crate::storage::format::data_file::DataFile;
use crate::storage::format::layout::Layout;
use crate::storage::format::registry::ColumnRegistry;
use crate::storage::format::schema::ROW_COLUMN;
use crate::storage::format::table_row::{FlatRow, TableRow};
use crate::storage::format::tables::{Family, PerTable};
use crate::storage::objects::fail_point;

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

pub(crate) struct Tables {
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
pub(crate) struct Rows {
    pub(crate) position: WalPosition,
    pub(crate) tables: PerTable<NewRows>,
    /// [`DataFile::number`] of the new file of threads.
    pub(crate) threads_source: u32,
}

/// What it brings to one table.
pub(crate) struct NewRows<R = Conversation> {
    /// New rows; any order.
    pub(crate) rows: Vec<Arc<R>>,
    /// [`DataFile::number`] of the new file.
    pub(crate) source: u32,
    /// The table's files with their deleted rows as of the commit's position.
    pub(crate) files: Vec<FileSnapshot>,
}

impl Family for NewRows {
    type Of<R: TableRow> = NewRows<R>;
}

/// What a commit made of a table.
#[derive(Clone)]
pub(crate) struct CommittedRows<R = Conversation> {
    pub(crate) file: Option<Arc<DataFile>>,
    /// The new file's rows, in order.
    pub(crate) rows: Arc<Vec<Arc<R>>>,
}

impl Family for CommittedRows {
    type Of<R: TableRow> = CommittedRows<R>;
}

#[derive(Clone)]
struct Pending {
    path: Path,
    intent: Intent,
    committed: BTreeMap<u32, Arc<RoaringBitmap>>,
    columns: ColumnRegistry,
    events_columns: ColumnRegistry,
    feedback_columns: ColumnRegistry,
    result: PerTable<CommittedRows>,
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
    fn logs(&self) -> [&TableLog; 5] {
        [&self.conversations, &self.messages, &self.events.log, &self.feedback.log, &self.threads]
    }

    /// The position up to which all tables hold every operation.
    pub(crate) fn position(&self) -> WalPosition {
        self.logs().iter().map(|log| log.state().wal_position()).min().unwrap_or_default()
    }

    /// The tables' columns, as the layouts that tail segments get.
    pub(crate) fn layouts(&self) -> PerTable<Arc<Layout>> {
        PerTable {
            conversations: Arc::new(self.columns.layout()),
            events: Arc::new(self.events.columns.layout()),
            feedback: Arc::new(self.feedback.columns.layout()),
        }
    }

    /// Paths of everything that the tables refer to.
    pub(crate) fn referenced(&self) -> Vec<Path> {
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
    pub(crate) async fn commit(&mut self, rows: Rows) -> Result<PerTable<CommittedRows>, StoreError> {
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
        let Rows { position, tables, threads_source } = rows;
        let PerTable { conversations, events, feedback } = tables;
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
                messages.ok_or_else(|| StoreError::Damaged(format!("{} has no messages", entry.file.path())))?;
            let threads = entry.file.threads.as_ref();
            let threads = threads.map(|threads| (threads.file.path(), threads.rows_of(&entry.deleted)));
            // A file may be replaced only by itself with another vector; what is deleted may have no threads.
            let before = committed.get(&number).zip(entry.file.threads.as_ref());
            let before = before.map(|(before, threads)| threads.rows_of(before)).unwrap_or_default();
            let threads = threads.filter(|(_, rows)| *rows != before);
            let replaced = [
                Some((&self.conversations, entry.file.path(), &*entry.deleted, &mut of_conversations)),
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
        let result = PerTable { conversations: CommittedRows { file, rows: sorted }, events, feedback };
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
                let path = entry.file.path();
                actions.extend(self.replace_deletions(&table.log, path, &entry.deleted, written, now).await?);
                committed.insert(number, entry.deleted.clone());
            }
        }
        Ok((actions, CommittedRows { file, rows }, columns))
    }

    async fn finish_pending(&mut self) -> Result<PerTable<CommittedRows>, StoreError> {
        let Some(pending) = self.pending.clone() else {
            return Err(StoreError::Bug("no commit is pending".into()));
        };
        let body = serde_json::to_vec(&pending.intent).map_err(|error| StoreError::unwritable("an intent", error))?;
        let put = self.store.put(&pending.path, PutPayload::from(body)).await;
        put.map_err(|error| StoreError::caused("an intent could not be written", error))?;
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
                other => return Err(StoreError::Damaged(format!("an intent names the unknown table {other:?}"))),
            };
            // An earlier try may have ended in doubt.
            log.refresh().await.map_err(|error| StoreError::caused("a table log could not be read", error))?;
            if log.state().intent() < intent.number {
                let committed = log.commit(part.actions.clone(), time::now()).await;
                committed.map_err(|error| StoreError::caused("a commit failed", error))?;
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
        let mut listed = listed.map_err(|error| StoreError::caused("the intents could not be listed", error))?;
        listed.sort_by(|a, b| a.location.cmp(&b.location));
        for object in listed {
            let body =
                self.store.get(&object.location).await.map_err(|error| StoreError::caused("an intent", error))?;
            let body = body.bytes().await.map_err(|error| StoreError::caused("an intent", error))?;
            let intent: Intent = serde_json::from_slice(&body)
                .map_err(|error| StoreError::Damaged(format!("the intent {}: {error}", object.location)))?;
            self.finish_intent(&intent).await?;
            self.forget_intent(&object.location).await?;
        }
        Ok(())
    }

    async fn forget_intent(&self, path: &Path) -> Result<(), StoreError> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(StoreError::caused("an intent could not be deleted", error)),
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
        let add = add.ok_or_else(|| StoreError::Damaged(format!("{file} is not in the log of {}", log.root())))?;
        let vector = deletion_vector::write(self.store.as_ref(), log.root(), deleted).await;
        let vector = vector.map_err(|error| StoreError::caused("a deletion vector could not be written", error))?;
        written.extend(vector.as_ref().and_then(|vector| vector.file(log.root()).ok().flatten()));
        Ok(add.replace_deletions(vector, now).into())
    }
}

async fn deleted_messages(store: &Arc<dyn ObjectStore>, entry: &FileSnapshot) -> Result<RoaringBitmap, StoreError> {
    let offsets = entry.file.index.message_offsets(store.as_ref()).await;
    let offsets = offsets.map_err(|error| StoreError::caused("an index could not be read", error))?;
    let mut rows = RoaringBitmap::new();
    for row in entry.deleted.iter() {
        if let Some([start, end]) = offsets.get(row as usize..row as usize + 2) {
            rows.insert_range(*start..*end);
        }
    }
    Ok(rows)
}

/// The schema of a table that gets property columns.
fn new_columns<R: FlatRow>(log: &TableLog, columns: &ColumnRegistry) -> Result<Action, StoreError> {
    let meta_data = log.state().meta_data.as_ref();
    let meta_data =
        meta_data.ok_or_else(|| StoreError::Damaged(format!("the table {} has no metadata", log.root())))?;
    let mut all = plain_columns::<R>();
    all.extend(columns.columns().map(|column| TableColumn::of_property(&column)));
    Ok(Action::MetaData(meta_data.with_columns(&all)))
}

fn plain_columns<R: FlatRow>() -> Vec<TableColumn> {
    let fields = R::plain_fields();
    fields.iter().filter(|field| field.name() != ROW_COLUMN).map(table_column).collect()
}
