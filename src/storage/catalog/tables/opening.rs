//! Opening the tables: their logs, their files, and what an intent left.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;
use roaring::RoaringBitmap;

use super::{
    CONVERSATIONS, EVENTS, FEEDBACK, INDEX_SIZE_TAG, INDEX_TAG, LAYOUT_TAG, MESSAGES, MESSAGES_SIZE_TAG, MESSAGES_TAG,
    OPENED_AT_ONCE, RecordTable, SEMANTIC_THREADS, THREADS_TAG, Tables, plain_columns,
};
use crate::model::conversation::Conversation;
use crate::model::event::Event;
use crate::model::feedback::Feedback;
use crate::model::ids::WalPosition;
use crate::model::thread::SemanticThread;
use crate::model::time;
use crate::storage::catalog::delta::{Action, Add, DeltaType, TableColumn, TableLog, Txn, deletion_vector};
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::error::StoreError;
use crate::storage::format::data_file::{DataFile, ThreadsFile};
use crate::storage::format::layout::Layout;
use crate::storage::format::parquet_file::ParquetFile;
use crate::storage::format::registry::ColumnRegistry;
use crate::storage::format::row_index::FileIndex;
use crate::storage::format::schema;
use crate::storage::format::statistics::DeltaStatistics;
use crate::storage::format::table_row::{FlatRow, TableRow};
use crate::storage::format::tables::{PerTable, for_each_table};

impl Tables {
    /// Opens the tables, or creates them, and finishes what an intent left. Numbers the files from `next_source`.
    pub(crate) async fn open(
        store: Arc<dyn ObjectStore>,
        mut next_source: impl FnMut() -> u32,
    ) -> Result<(Tables, PerTable<Vec<FileSnapshot>>), StoreError> {
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

        let files = PerTable::<Vec<FileSnapshot>> {
            conversations: tables.open_conversations(&mut next_source).await?,
            events: tables.open_files::<Event>(&tables.events.log, &mut next_source).await?,
            feedback: tables.open_files::<Feedback>(&tables.feedback.log, &mut next_source).await?,
        };
        for_each_table!(of_table in files.as_ref() => {
            tables.committed.extend(of_table.iter().map(|entry| (entry.file.number, entry.deleted.clone())));
        });
        Ok((tables, files))
    }

    pub(crate) async fn open_files<R: TableRow>(
        &self,
        log: &TableLog,
        next_source: &mut impl FnMut() -> u32,
    ) -> Result<Vec<FileSnapshot>, StoreError> {
        let adds: Vec<(u32, Arc<Add>)> = log.state().files.values().map(|add| (next_source(), add.clone())).collect();
        let files = stream::iter(adds).map(|(number, add)| self.open_file::<R>(log, number, add));
        files.buffered(OPENED_AT_ONCE).try_collect().await
    }

    pub(crate) async fn open_conversations(
        &self,
        next_source: &mut impl FnMut() -> u32,
    ) -> Result<Vec<FileSnapshot>, StoreError> {
        let adds = |log: &TableLog| -> BTreeMap<Path, Arc<Add>> {
            log.state().files.values().map(|add| (log.file_path(&add.path), add.clone())).collect()
        };
        let (conversations, threads) = (adds(&self.conversations), adds(&self.threads));
        let mut opened = self.open_files::<Conversation>(&self.conversations, next_source).await?;
        for entry in &mut opened {
            let add = conversations.get(entry.file.path());
            let Some(path) = add.and_then(|add| add.tag(THREADS_TAG).map(Path::from)) else { continue };
            let missing = || StoreError::Damaged(format!("{path} is not in the log of {}", self.threads.root()));
            let file = self.data_file::<SemanticThread>(
                &self.threads,
                next_source(),
                threads.get(&path).ok_or_else(missing)?,
                FileIndex::empty(),
            )?;
            let offsets = entry.file.index.thread_offsets(self.store.as_ref()).await;
            let offsets = offsets.map_err(|error| StoreError::caused("a sidecar index could not be read", error))?;
            let threads = threads_file(file, offsets)?;
            let opened = Arc::get_mut(&mut entry.file);
            opened.ok_or_else(|| StoreError::Bug(format!("{path} is open already")))?.threads = Some(threads);
        }
        Ok(opened)
    }

    pub(crate) async fn open_file<R: TableRow>(
        &self,
        log: &TableLog,
        number: u32,
        add: Arc<Add>,
    ) -> Result<FileSnapshot, StoreError> {
        let path = log.file_path(&add.path);
        let damaged = |what: &str| StoreError::Damaged(format!("the log entry of {path} lacks {what}"));
        let index_size = add.tag(INDEX_SIZE_TAG).and_then(|size| size.parse::<u64>().ok());
        let index_path = add.tag(INDEX_TAG).map(Path::from).ok_or_else(|| damaged("its index"))?;
        let index_size = index_size.ok_or_else(|| damaged("its index's size"))?;
        let index = FileIndex::open(self.store.as_ref(), index_path, index_size).await;
        let index = index.map_err(|error| StoreError::caused("a sidecar index could not be opened", error))?;
        let deleted = match &add.deletion_vector {
            None => RoaringBitmap::new(),
            Some(vector) => deletion_vector::read(self.store.as_ref(), log.root(), vector)
                .await
                .map_err(|error| StoreError::caused(format!("the deletion vector of {path}"), error))?,
        };
        let file = self.data_file::<R>(log, number, &add, index)?;
        Ok(FileSnapshot { file: Arc::new(file), deleted: Arc::new(deleted) })
    }

    /// A file as its log entry tells it.
    pub(crate) fn data_file<R: FlatRow>(
        &self,
        log: &TableLog,
        number: u32,
        add: &Add,
        index: FileIndex,
    ) -> Result<DataFile, StoreError> {
        let path = log.file_path(&add.path);
        let damaged = |what: &str| StoreError::Damaged(format!("the log entry of {path} lacks {what}"));
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
            Some(path) => {
                let size = size_tag(MESSAGES_SIZE_TAG).ok_or_else(|| damaged("its messages' size"))?;
                Some(Arc::new(ParquetFile::new(path, size)))
            }
            None => None,
        };
        let size = u64::try_from(add.size).map_err(|_| damaged("a possible size"))?;
        let parquet = ParquetFile::new(path.clone(), size);
        let mut file = DataFile::new(number, parquet, rows, layout, statistics, index);
        file.messages = messages;
        Ok(file)
    }
}

pub(crate) async fn open_or_create(
    store: &Arc<dyn ObjectStore>,
    name: &str,
    columns: Vec<TableColumn>,
) -> Result<TableLog, StoreError> {
    let opened = TableLog::open(store.clone(), Path::from(name)).await;
    match opened.map_err(|error| StoreError::caused(format!("the table {name} could not be opened"), error))? {
        Some(log) => Ok(log),
        None => TableLog::create(store.clone(), Path::from(name), &columns, time::now())
            .await
            .map_err(|error| StoreError::caused(format!("the table {name} could not be created"), error)),
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
        committed.map_err(|error| StoreError::caused("a new table's position could not be written", error))?;
        Ok(())
    }
}

pub(crate) fn property_columns(log: &TableLog) -> Result<ColumnRegistry, StoreError> {
    let columns = log.state().columns();
    let columns = columns.map_err(|reason| StoreError::Damaged(format!("the schema of {}: {reason}", log.root())))?;
    Ok(ColumnRegistry::new(columns.iter().filter_map(TableColumn::property)))
}

pub(crate) fn messages_columns() -> Vec<TableColumn> {
    schema::messages_schema().fields().iter().map(|field| table_column(field)).collect()
}

pub(crate) fn table_column(field: &arrow::datatypes::Field) -> TableColumn {
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

pub(crate) fn threads_file(file: DataFile, offsets: Vec<u32>) -> Result<ThreadsFile, StoreError> {
    if offsets.last() != Some(&file.rows) {
        let (rows, counted) = (file.rows, offsets.last().copied().unwrap_or(0));
        return Err(StoreError::Damaged(format!("{} has {rows} threads, its index counts {counted}", file.path())));
    }
    Ok(ThreadsFile { file: Arc::new(file), offsets })
}
