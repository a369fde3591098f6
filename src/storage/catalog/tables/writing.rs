//! Writing the files of a commit, with their indexes and log entries.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use uuid::Uuid;

use super::opening::threads_file;
use super::{INDEX_SIZE_TAG, INDEX_TAG, LAYOUT_TAG, MESSAGES_SIZE_TAG, MESSAGES_TAG, THREADS_TAG, Tables};
use crate::model::conversation::Conversation;
use crate::model::ids::{Key, lookup_hash};
use crate::model::time;
use crate::storage::catalog::delta::{Add, FileStatistics, TableLog};
use crate::storage::error::StoreError;
use crate::storage::format::data_file::DataFile;
use crate::storage::format::error::FlattenError;
use crate::storage::format::layout::Layout;
use crate::storage::format::parquet_file::ParquetFile;
use crate::storage::format::registry::{ColumnRegistry, PathCounts};
use crate::storage::format::row_index::{FileIndex, IndexBuilder};
use crate::storage::format::statistics::ColumnStatistics;
use crate::storage::format::statistics::DeltaStatistics;
use crate::storage::format::table_row::TableRow;
use crate::storage::format::writer::{SiblingPaths, WrittenRows, WrittenSiblings, write_rows, write_siblings};

impl Tables {
    pub(crate) async fn write_files(
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
        let data = data.map_err(|error| StoreError::caused("data files could not be written", error));
        let (index_bytes, WrittenSiblings { conversations: main, messages, threads }) = (index?, data?);
        let index = FileIndex::from_bytes(index_path.clone(), &index_bytes)
            .map_err(|error| StoreError::caused("an index just written", error))?;
        let now = time::now();
        let mut tags = BTreeMap::from([
            layout_tag(&main.layout)?,
            (MESSAGES_TAG.to_owned(), Some(messages_path.to_string())),
            (MESSAGES_SIZE_TAG.to_owned(), Some(messages.size.to_string())),
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
                let parquet = ParquetFile::written(threads_path, file.size, file.metadata);
                let (rows, statistics) = (file.rows, file.statistics);
                let file = DataFile::new(threads_source, parquet, rows, layout, statistics, FileIndex::empty());
                let offsets = index.thread_offsets(self.store.as_ref()).await;
                let offsets = offsets.map_err(|error| StoreError::caused("an index just written", error))?;
                Some(threads_file(file, offsets)?)
            }
        };
        let main_statistics = log_statistics(main.file.rows, &main.file.statistics);
        let messages_statistics = log_statistics(messages.rows, &messages.statistics);
        let (size, messages_size) = (main.file.size, messages.size);
        let parquet = ParquetFile::written(main_path, size, main.file.metadata);
        let mut file = DataFile::new(source, parquet, main.file.rows, main.layout, main.file.statistics, index);
        file.messages = Some(Arc::new(ParquetFile::written(messages_path, messages_size, messages.metadata)));
        file.threads = threads;
        Ok(NewFile {
            conversations: Add::new(name.clone(), size, &main_statistics, tags, now),
            messages: Add::new(name, messages_size, &messages_statistics, BTreeMap::new(), now),
            threads: add_of_threads,
            file,
        })
    }

    pub(crate) async fn write_index<R: TableRow>(
        &self,
        path: &Path,
        rows: Arc<Vec<Arc<R>>>,
    ) -> Result<Bytes, StoreError> {
        let built = tokio::task::spawn_blocking(move || build_index(&rows)).await;
        let bytes = built.map_err(|error| StoreError::caused("building an index", error))??;
        let put = self.store.put(path, PutPayload::from(bytes.clone())).await;
        put.map_err(|error| StoreError::caused("an index could not be written", error))?;
        Ok(bytes)
    }

    pub(crate) async fn write_records<R: TableRow>(
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
        let (index, data) =
            (index?, data.map_err(|error| StoreError::caused("a data file could not be written", error))?);
        let tags = BTreeMap::from([
            layout_tag(&data.layout)?,
            (INDEX_TAG.to_owned(), Some(index_path.to_string())),
            (INDEX_SIZE_TAG.to_owned(), Some(index.len().to_string())),
        ]);
        let index = FileIndex::from_bytes(index_path, &index)
            .map_err(|error| StoreError::caused("an index just written", error))?;
        let statistics = log_statistics(data.file.rows, &data.file.statistics);
        let add = Add::new(name, data.file.size, &statistics, tags, time::now());
        let parquet = ParquetFile::written(path, data.file.size, data.file.metadata);
        let file = DataFile::new(source, parquet, data.file.rows, data.layout, data.file.statistics, index);
        Ok((add, file))
    }
}

pub(crate) struct NewFile {
    pub(crate) file: DataFile,
    pub(crate) conversations: Add,
    pub(crate) messages: Add,
    pub(crate) threads: Option<Add>,
}

/// The order of rows in a file: what is asked together lies together.
pub(crate) fn sort_rows<R: TableRow>(rows: &mut [Arc<R>]) {
    rows.sort_by_cached_key(|row| {
        let Key { organization_id, project_id, id } = row.key();
        (organization_id, project_id, row.sort_time(), Arc::<str>::from(id.borrow()))
    });
}

pub(crate) async fn choose_columns<R: TableRow>(
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
    let chosen: Result<_, FlattenError> =
        chosen.await.map_err(|error| StoreError::caused("counting property paths", error))?;
    chosen.map_err(|error| StoreError::caused("counting property paths", error))
}

pub(crate) fn build_index<R: TableRow>(rows: &[Arc<R>]) -> Result<Bytes, StoreError> {
    let mut builder = IndexBuilder::new();
    for row in rows {
        let Key { organization_id, project_id, id } = row.key();
        let id = lookup_hash(&organization_id, id.borrow());
        let external_id = row.external_id().map(|text| lookup_hash(&organization_id, text));
        let entry =
            serde_json::to_vec(row.entry().as_ref()).map_err(|error| StoreError::unwritable("an index row", error))?;
        builder.push(id, external_id, row.siblings(), &entry);
        for reference in row.references() {
            builder.push_reference(reference.hash(&organization_id, &project_id));
        }
    }
    builder.finish().map_err(|error| StoreError::caused("an index could not be built", error))
}

pub(crate) fn log_statistics(rows: u32, statistics: &BTreeMap<String, ColumnStatistics>) -> FileStatistics {
    let delta = DeltaStatistics::new(statistics);
    FileStatistics {
        num_records: u64::from(rows),
        min_values: delta.min_values,
        max_values: delta.max_values,
        null_count: delta.null_count.into_iter().filter_map(|(name, count)| Some((name, count.as_u64()?))).collect(),
        tight_bounds: true,
    }
}

pub(crate) fn layout_tag(layout: &Layout) -> Result<(String, Option<String>), StoreError> {
    let text = serde_json::to_string(layout).map_err(|error| StoreError::unwritable("a file's layout", error))?;
    Ok((LAYOUT_TAG.to_owned(), Some(text)))
}
