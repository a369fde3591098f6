//! Opening the tables: their logs, their files, and what an intent left.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use object_store::path::Path;
use roaring::RoaringBitmap;

use super::Tables;
use super::actions::{INDEX_SIZE_TAG, INDEX_TAG, LAYOUT_TAG, MESSAGES_SIZE_TAG, MESSAGES_TAG, THREADS_TAG};
use super::columns::{plain_columns, property_columns};
use super::siblings::{MESSAGES, Siblings};
use super::table::DeltaTable;
use crate::environment::Environment;
use crate::model::ids::{EpochMillis, WalPosition};
use crate::model::thread::SemanticThread;
use crate::storage::catalog::delta::{Action, Add, TableColumn, TableLog, Txn, deletion_vector};
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::error::StoreError;
use crate::storage::format::columns::column::FlatRow;
use crate::storage::format::columns::messages::MessageRow;
use crate::storage::format::data_file::{DataFile, ThreadsFile};
use crate::storage::format::layout::Layout;
use crate::storage::format::parquet_file::ParquetFile;
use crate::storage::format::registry::ColumnRegistry;
use crate::storage::format::row_index::file::FileIndex;
use crate::storage::format::schema;
use crate::storage::format::statistics::DeltaStatistics;
use crate::storage::format::table::Table;
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{Kind, PerTable, Same, for_each_table, per_table};

const OPENED_AT_ONCE: usize = 16;

impl Tables {
    /// Opens the tables, or creates them, and finishes what an intent left. Numbers the files from `next_number`.
    pub(crate) async fn open(
        environment: &Environment,
        mut next_number: impl FnMut() -> u32,
    ) -> Result<(Tables, PerTable<Same<Vec<FileSnapshot>>>), StoreError> {
        let tables = per_table!(kind in PerTable::<Kind>::default() => DeltaTable::open(environment, kind).await?);
        let siblings = Siblings {
            messages: open_or_create(environment, MESSAGES, plain_columns::<MessageRow>()).await?,
            threads: open_or_create(environment, Table::SemanticThreads.name(), plain_columns::<SemanticThread>())
                .await?,
        };
        let mut tables =
            Tables { environment: environment.clone(), tables, siblings, committed: BTreeMap::new(), pending: None };
        tables.finish_intents().await?;
        let mut position = WalPosition(0);
        for_each_table!(table in tables.tables.as_ref() => position = position.max(table.log.state().wal_position()));
        for_each_table!(table in tables.tables.as_mut() => {
            table.start_at(position, environment.now()).await?;
            table.columns = property_columns(&table.log)?;
        });
        let mut files: PerTable<Same<Vec<FileSnapshot>>> = per_table!(
            table in tables.tables.as_ref() => table.open_files(&environment.objects, &mut next_number).await?
        );
        tables.open_threads(&mut files.conversations, &mut next_number).await?;
        for_each_table!(of_table in files.as_ref() => {
            tables.committed.extend(of_table.iter().map(|entry| (entry.file.number, entry.deleted.clone())));
        });
        Ok((tables, files))
    }

    /// Gives the files of conversations those of their threads.
    async fn open_threads(
        &self,
        conversations: &mut [FileSnapshot],
        next_number: &mut impl FnMut() -> u32,
    ) -> Result<(), StoreError> {
        let entries = |log: &TableLog| -> BTreeMap<Path, Arc<Add>> {
            log.state().files.values().map(|add| (log.file_path(&add.path), add.clone())).collect()
        };
        let log = &self.siblings.threads;
        let (adds, threads) = (entries(&self.tables.conversations.log), entries(log));
        for entry in conversations {
            let add = adds.get(entry.file.path());
            let Some(path) = add.and_then(|add| add.tag(THREADS_TAG).map(Path::from)) else { continue };
            let missing = || StoreError::Damaged(format!("{path} is not in the log of {}", log.root()));
            let add = threads.get(&path).ok_or_else(missing)?;
            let file = data_file::<SemanticThread>(log, next_number(), add, FileIndex::empty())?;
            let offsets = entry.file.index.thread_offsets(self.environment.objects.as_ref()).await;
            let offsets = offsets.map_err(|error| StoreError::caused("a sidecar index could not be read", error))?;
            let threads = ThreadsFile::new(file, offsets).map_err(|error| StoreError::caused("threads", error))?;
            let opened = Arc::get_mut(&mut entry.file);
            opened.ok_or_else(|| StoreError::Bug(format!("{path} is open already")))?.threads = Some(threads);
        }
        Ok(())
    }
}

impl<R: TableRow> DeltaTable<R> {
    async fn open(environment: &Environment, _: Kind<R>) -> Result<DeltaTable<R>, StoreError> {
        let log = open_or_create(environment, R::TABLE.name(), plain_columns::<R>()).await?;
        Ok(DeltaTable { log, columns: ColumnRegistry::default(), rows: PhantomData })
    }

    /// A store that had no such table yet holds nothing for it up to where its other tables are.
    async fn start_at(&mut self, position: WalPosition, now: EpochMillis) -> Result<(), StoreError> {
        if self.log.version() > 0 || self.log.state().wal_position() >= position {
            return Ok(());
        }
        let committed = self.log.commit(vec![Action::Txn(Txn::new(position, now))], now).await;
        committed.map_err(|error| StoreError::caused("a new table's position could not be written", error))?;
        Ok(())
    }

    async fn open_files(
        &self,
        store: &Arc<dyn ObjectStore>,
        next_number: &mut impl FnMut() -> u32,
    ) -> Result<Vec<FileSnapshot>, StoreError> {
        let adds = self.log.state().files.values();
        let adds: Vec<(u32, Arc<Add>)> = adds.map(|add| (next_number(), add.clone())).collect();
        let files = stream::iter(adds).map(|(number, add)| self.open_file(store, number, add));
        files.buffered(OPENED_AT_ONCE).try_collect().await
    }

    async fn open_file(
        &self,
        store: &Arc<dyn ObjectStore>,
        number: u32,
        add: Arc<Add>,
    ) -> Result<FileSnapshot, StoreError> {
        let path = self.log.file_path(&add.path);
        let damaged = |what: &str| StoreError::Damaged(format!("the log entry of {path} lacks {what}"));
        let index_path = add.tag(INDEX_TAG).map(Path::from).ok_or_else(|| damaged("its index"))?;
        let index_size = size_tag(&add, INDEX_SIZE_TAG).ok_or_else(|| damaged("its index's size"))?;
        let index = FileIndex::open(store.as_ref(), index_path, index_size).await;
        let index = index.map_err(|error| StoreError::caused("a sidecar index could not be opened", error))?;
        let deleted = match &add.deletion_vector {
            None => RoaringBitmap::new(),
            Some(vector) => deletion_vector::read(store.as_ref(), self.log.root(), vector)
                .await
                .map_err(|error| StoreError::caused(format!("the deletion vector of {path}"), error))?,
        };
        let file = data_file::<R>(&self.log, number, &add, index)?;
        Ok(FileSnapshot { file: Arc::new(file), deleted: Arc::new(deleted) })
    }
}

fn size_tag(add: &Add, name: &str) -> Option<u64> {
    add.tag(name)?.parse().ok()
}

/// A file as its log entry tells it.
fn data_file<R: FlatRow>(log: &TableLog, number: u32, add: &Add, index: FileIndex) -> Result<DataFile, StoreError> {
    let path = log.file_path(&add.path);
    let damaged = |what: &str| StoreError::Damaged(format!("the log entry of {path} lacks {what}"));
    let layout: Layout =
        add.tag(LAYOUT_TAG).and_then(|text| serde_json::from_str(text).ok()).ok_or_else(|| damaged("its layout"))?;
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
            let size = size_tag(add, MESSAGES_SIZE_TAG).ok_or_else(|| damaged("its messages' size"))?;
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

async fn open_or_create(
    environment: &Environment,
    name: &str,
    columns: Vec<TableColumn>,
) -> Result<TableLog, StoreError> {
    let opened = TableLog::open(environment.clone(), Path::from(name)).await;
    match opened.map_err(|error| StoreError::caused(format!("the table {name} could not be opened"), error))? {
        Some(log) => Ok(log),
        None => TableLog::create(environment.clone(), Path::from(name), &columns, environment.now())
            .await
            .map_err(|error| StoreError::caused(format!("the table {name} could not be created"), error)),
    }
}
