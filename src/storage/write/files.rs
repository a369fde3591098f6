//! New files of the tables: rows in their order, columns chosen for them, the Parquet files and the index of each. All
//! of it is durable before a commit names it.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::scalar::ScalarValue;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use roaring::RoaringBitmap;

use super::texts;
use crate::environment::Environment;
use crate::model::conversation::Conversation;
use crate::model::event::Event;
use crate::model::feedback::Feedback;
use crate::model::ids::{EpochMillis, Key, OrganizationId, ProjectId};
use crate::model::search_text::append_search_text;
use crate::storage::catalog::change::{ErasedRows, NewFile, RemovedFile, TableChange};
use crate::storage::catalog::commit::{Erased, FileEntry, FileId, Times};
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::catalog::opening::{DescribedGroup, data_folder};
use crate::storage::catalog::remake::{Entries, Remaker};
use crate::storage::error::StoreError;
use crate::storage::format::error::{FileError, FlattenError};
use crate::storage::format::hex::Checksum;
use crate::storage::format::indexed::build_index;
use crate::storage::format::layout::Layout;
use crate::storage::format::parts::{Extras, Feed, Parts, Takers};
use crate::storage::format::rebuild::Indexed;
use crate::storage::format::registry::{Chosen, ColumnRegistry, OwnedColumn, PathCounts};
use crate::storage::format::sidecar::description::FileDescription;
use crate::storage::format::sidecar::file::{self as sidecar, BuiltIndex, DescribedFile, NewSidecar};
use crate::storage::format::statistics::ColumnStatistics;
use crate::storage::format::table::{MESSAGES, MESSAGES_TIME_COLUMN, Table};
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{Family, PerTable, Same, per_table};
use crate::storage::format::text_index::file as text_index;
use crate::storage::format::upload::Uploaded;
use crate::storage::format::writer::{SiblingPaths, WrittenRows, WrittenSiblings, write_rows, write_siblings};
use crate::storage::objects::fail_point;
use crate::storage::tail::Counters;

/// Rows of a table that are to lie in a file, in any order.
pub(crate) struct NewRows<R = Conversation> {
    pub(crate) rows: Vec<Arc<R>>,
    pub(crate) numbers: FileNumbers,
}

impl Family for NewRows {
    type Of<R: TableRow> = NewRows<R>;
}

/// The number ([`DataFile`](crate::storage::format::data_file::DataFile)) of a new file, and of the file of threads beside it.
#[derive(Clone, Copy)]
pub(crate) struct FileNumbers {
    file: u32,
    threads: u32,
}

impl FileNumbers {
    pub(crate) fn next(counters: &mut Counters) -> FileNumbers {
        FileNumbers { file: counters.file(), threads: counters.file() }
    }
}

/// A table's part of what was written.
pub(crate) struct Written<R = Conversation> {
    /// In the order of the file.
    pub(crate) rows: Arc<Vec<Arc<R>>>,
    /// None without rows.
    pub(crate) new: Option<NewFile>,
    /// The property columns of the file.
    columns: Vec<OwnedColumn>,
}

impl Family for Written {
    type Of<R: TableRow> = Written<R>;
}

impl<R> Written<R> {
    /// Where no row is left.
    pub(crate) fn nothing() -> Self {
        Written { rows: Arc::default(), new: None, columns: Vec::new() }
    }

    /// For the commit that puts the file in the place of others. `deleted` are its rows that went while it was written.
    /// `erased` tells of erasures that were committed meanwhile.
    pub(crate) fn replacement(
        &self,
        removed: Vec<RemovedFile>,
        deleted: RoaringBitmap,
        erased: Option<Erased>,
    ) -> TableChange {
        let erased = self.new.iter().zip(erased).map(|(new, when)| ErasedRows {
            file: new.entry.id,
            rows: deleted.clone(),
            when,
        });
        let erased = erased.collect();
        let deletions = self.new.iter().filter(|_| !deleted.is_empty());
        let deleted = Arc::new(deleted.clone());
        let deletions = deletions.map(|new| FileSnapshot { file: new.file.clone(), deleted: deleted.clone() });
        TableChange {
            added: self.new.iter().cloned().collect(),
            removed,
            deletions: deletions.collect(),
            erased,
            columns: self.columns.clone(),
        }
    }

    /// For the commit that makes the file part of the table. `files` are the others, `erased` is what they hold of what
    /// was erased.
    pub(crate) fn change(&self, files: Vec<FileSnapshot>, erased: Vec<ErasedRows>) -> TableChange {
        TableChange {
            added: self.new.iter().cloned().collect(),
            removed: Vec::new(),
            deletions: files,
            erased,
            columns: self.columns.clone(),
        }
    }
}

/// Writes a file for each table that has rows. `columns` are the tables' so far. After a failure nothing is left: no
/// commit can name the files yet.
pub(crate) async fn write(
    environment: &Environment,
    rows: PerTable<NewRows>,
    columns: PerTable<Same<ColumnRegistry>>,
) -> Result<PerTable<Written>, StoreError> {
    fail_point::reached("flush:before-files");
    let mut paths = Vec::new();
    match write_tables(environment, rows, columns, &mut paths).await {
        Ok(written) => {
            fail_point::reached("flush:after-files");
            Ok(written)
        }
        Err(error) => {
            discard(environment.objects.as_ref(), &paths).await;
            Err(error)
        }
    }
}

/// A file that is written while its rows are read.
pub(crate) struct Merge {
    pub(crate) numbers: FileNumbers,
    pub(crate) level: u32,
    pub(crate) have_threads: bool,
    pub(crate) rows: u32,
}

/// Writes one file of a table, for a commit that takes others out for it. `feed` gives the rows in the file's order, and
/// `sample` are some of them, by which the columns are chosen. After a failure nothing is left.
pub(crate) async fn write_merged<R: Stored>(
    environment: &Environment,
    Merge { numbers, level, have_threads, rows }: Merge,
    registry: ColumnRegistry,
    sample: Arc<Vec<Arc<R>>>,
    feed: impl AsyncFnOnce(Feed<R>) -> Result<(), StoreError>,
) -> Result<Written<R>, StoreError> {
    let chosen = choose_columns(registry, sample).await?;
    let places = Places::new(R::TABLE, FileId(environment.ids.in_order()));
    let paths = places.all();
    let (fed, takers) = Feed::new(Extras { threads: have_threads, texts: Some(rows) });
    let write = write_file(environment, places, numbers, takers, chosen);
    // Both to their end: what is still being written could not be deleted.
    let (fed, written) = futures::join!(feed(fed), write);
    match fed.and(written) {
        Ok((mut new, columns)) => {
            let siblings = [new.messages.as_mut(), new.threads.as_mut()].into_iter().flatten();
            siblings.chain([&mut new.entry]).for_each(|entry| entry.level = level);
            Ok(Written { rows: Arc::default(), new: Some(new), columns })
        }
        Err(error) => {
            discard(environment.objects.as_ref(), &paths).await;
            Err(error)
        }
    }
}

/// `paths` gets those of new files before they are written.
async fn write_tables(
    environment: &Environment,
    rows: PerTable<NewRows>,
    columns: PerTable<Same<ColumnRegistry>>,
    paths: &mut Vec<Path>,
) -> Result<PerTable<Written>, StoreError> {
    Ok(per_table!(new in rows, registry in columns => write_table(environment, new, registry, paths).await?))
}

async fn write_table<R: Stored>(
    environment: &Environment,
    new: NewRows<R>,
    registry: ColumnRegistry,
    paths: &mut Vec<Path>,
) -> Result<Written<R>, StoreError> {
    let NewRows { mut rows, numbers } = new;
    if rows.is_empty() {
        return Ok(Written { rows: Arc::default(), new: None, columns: Vec::new() });
    }
    sort_rows(&mut rows);
    let rows = Arc::new(rows);
    let chosen = choose_columns(registry, rows.clone()).await?;
    let places = Places::new(R::TABLE, FileId(environment.ids.in_order()));
    paths.extend(places.all());
    let takers = Takers::of(&rows);
    let (new, columns) = write_file(environment, places, numbers, takers, chosen).await?;
    Ok(Written { rows, new: Some(new), columns })
}

async fn write_file<R: Stored>(
    environment: &Environment,
    places: Places,
    numbers: FileNumbers,
    takers: Takers<R>,
    Chosen { layout, columns }: Chosen,
) -> Result<(NewFile, Vec<OwnedColumn>), StoreError> {
    let Takers { index, rows, messages, threads, texts } = takers;
    let index = make_index(index);
    let data = R::write(&environment.objects, &places, (rows, messages, threads), layout);
    let texts = texts::index(texts, R::append_search_text);
    // All to their end, as above.
    let (index, data, texts) = futures::join!(index, data, texts);
    let data = data.map_err(|error| StoreError::caused("a data file could not be written", error));
    let new = new_file::<R>(environment, places, numbers, index?, data?).await?;
    if let Some(texts) = texts {
        texts::keep(environment, &new.file, texts).await;
    }
    Ok((new, columns))
}

/// Where the parts of a new file go.
pub(crate) struct Places {
    id: FileId,
    data: Path,
    sidecar: Path,
    messages: Path,
    threads: Path,
    texts: Path,
}

impl Places {
    fn new(table: Table, id: FileId) -> Places {
        let data = |table: &str| data_folder(table).join(format!("{id}.parquet"));
        Places {
            id,
            data: data(table.name()),
            sidecar: sidecar::path(id),
            messages: data(MESSAGES),
            threads: data(Table::SemanticThreads.name()),
            texts: text_index::path(id),
        }
    }

    fn all(&self) -> [Path; 5] {
        [&self.data, &self.sidecar, &self.messages, &self.threads, &self.texts].map(Clone::clone)
    }
}

pub(crate) struct WrittenData {
    rows: Uploaded<WrittenRows>,
    messages: Option<Uploaded<WrittenRows>>,
    threads: Option<Uploaded<WrittenRows>>,
}

/// How the rows of a table become Parquet files, and come back.
pub(crate) trait Stored: Indexed {
    /// About what it takes in memory.
    fn bytes(&self) -> usize;

    /// Appends the text that searches look through; only conversations have one.
    fn append_search_text(&self, _out: &mut Vec<u8>) {}

    /// Whole rows of a file, in the order given.
    fn read_whole(
        store: &Arc<dyn ObjectStore>,
        file: &FileSnapshot,
        rows: &[u32],
    ) -> impl Future<Output = Result<Vec<Self>, StoreError>> + Send;

    fn write(
        store: &Arc<dyn ObjectStore>,
        places: &Places,
        (rows, _, _): (Parts<Self>, Option<Parts<Self>>, Option<Parts<Self>>),
        layout: Layout,
    ) -> impl Future<Output = Result<WrittenData, FileError>> + Send {
        async move {
            let rows = write_rows(store, places.data.clone(), rows, layout).await?;
            Ok(WrittenData { rows, messages: None, threads: None })
        }
    }
}

impl Stored for Event {
    fn bytes(&self) -> usize {
        let json = [&self.properties, &self.user_properties];
        512 + json.into_iter().flatten().map(|json| json.get().len()).sum::<usize>()
    }

    async fn read_whole(
        store: &Arc<dyn ObjectStore>,
        file: &FileSnapshot,
        rows: &[u32],
    ) -> Result<Vec<Self>, StoreError> {
        file.entries::<Self>(store, rows).await
    }
}

impl Stored for Feedback {
    fn bytes(&self) -> usize {
        let json = [&self.properties, &self.user_properties, &self.reasons, &self.sources];
        let details = self.details.as_ref().map_or(0, String::len);
        512 + details + json.into_iter().flatten().map(|json| json.get().len()).sum::<usize>()
    }

    async fn read_whole(
        store: &Arc<dyn ObjectStore>,
        file: &FileSnapshot,
        rows: &[u32],
    ) -> Result<Vec<Self>, StoreError> {
        file.entries::<Self>(store, rows).await
    }
}

impl Stored for Conversation {
    fn bytes(&self) -> usize {
        self.text_bytes()
    }

    fn append_search_text(&self, out: &mut Vec<u8>) {
        append_search_text(self, out);
    }

    async fn read_whole(
        store: &Arc<dyn ObjectStore>,
        file: &FileSnapshot,
        rows: &[u32],
    ) -> Result<Vec<Self>, StoreError> {
        file.conversations(store, rows).await
    }

    async fn write(
        store: &Arc<dyn ObjectStore>,
        places: &Places,
        (rows, messages, threads): (Parts<Self>, Option<Parts<Self>>, Option<Parts<Self>>),
        layout: Layout,
    ) -> Result<WrittenData, FileError> {
        let Some(messages) = messages else { return Err(FileError::Aborted { path: places.messages.clone() }) };
        let paths = SiblingPaths {
            conversations: places.data.clone(),
            messages: places.messages.clone(),
            threads: places.threads.clone(),
        };
        let WrittenSiblings { conversations, messages, threads } =
            write_siblings(store, paths, (rows, messages, threads), layout).await?;
        Ok(WrittenData { rows: conversations, messages: Some(messages), threads })
    }
}

/// Writes the sidecar of what is written.
async fn new_file<R: Indexed>(
    environment: &Environment,
    places: Places,
    numbers: FileNumbers,
    index: BuiltIndex,
    data: WrittenData,
) -> Result<NewFile, StoreError> {
    let Places { id, .. } = places;
    let WrittenData { rows, messages, threads } = data;
    let mut files = WrittenFiles::default();
    files.add((R::TABLE.name(), R::TABLE.time_column()), (id, &places.data), &rows);
    if let Some(messages) = &messages {
        files.add((MESSAGES, MESSAGES_TIME_COLUMN), (id, &places.messages), messages);
    }
    if let Some(threads) = &threads {
        let table = Table::SemanticThreads;
        files.add((table.name(), table.time_column()), (id, &places.threads), threads);
    }
    let WrittenFiles { entries, described } = files;
    let sidecar = NewSidecar::new((R::TABLE.name(), id), described, index)
        .map_err(|reason| StoreError::Bug(format!("the sidecar of a data file: {reason}")))?;
    let written = sidecar.write(environment.objects.as_ref()).await;
    written.map_err(|error| StoreError::caused("the sidecar of a data file could not be written", error))?;
    let failed = |error| StoreError::caused("a sidecar just written", error);
    let by_table: Entries = entries.iter().map(|(table, entry)| (*table, Arc::new(entry.clone()))).collect();
    let sidecar = sidecar.stored(Remaker::<R>::new(environment, id, &by_table), &environment.cache).map_err(failed)?;
    let group = DescribedGroup { sidecar: &sidecar, entries: &by_table, environment };
    let file = group.open::<R>(numbers.file, numbers.threads).await?;
    // Their footers are here: the first reads need not fetch them.
    let footers = [
        (Some(&file.parquet), Some((&rows.content.file, &rows.blocks))),
        (file.messages.as_ref(), messages.as_ref().map(|written| (&written.content.file, &written.blocks))),
        (
            file.threads.as_ref().map(|threads| &threads.file.parquet),
            threads.as_ref().map(|written| (&written.content.file, &written.blocks)),
        ),
    ];
    for (parquet, (written, blocks)) in footers.into_iter().filter_map(|(parquet, written)| parquet.zip(written)) {
        parquet.keep_footer(blocks.clone(), written.metadata.clone()).map_err(failed)?;
    }
    let mut entries = entries;
    let mut entry = |table: &str| entries.remove(table);
    let own = entry(R::TABLE.name()).ok_or_else(|| StoreError::Bug("a file without an entry".to_owned()))?;
    let (messages, threads) = (entry(MESSAGES), entry(Table::SemanticThreads.name()));
    Ok(NewFile { file: Arc::new(file), entry: own, messages, threads })
}

/// By their tables: what commits and what sidecars tell of them.
#[derive(Default)]
struct WrittenFiles {
    entries: BTreeMap<&'static str, FileEntry>,
    described: BTreeMap<String, DescribedFile>,
}

impl WrittenFiles {
    fn add(
        &mut self,
        (table, time_column): (&'static str, &str),
        (id, path): (FileId, &Path),
        uploaded: &Uploaded<WrittenRows>,
    ) {
        let (WrittenRows { file: written, layout }, checksum) = (&uploaded.content, Checksum(uploaded.checksum));
        let entry = FileEntry {
            id,
            path: path.to_string(),
            size: written.size,
            checksum,
            rows: written.rows,
            level: 0,
            times: written.statistics.get(time_column).and_then(times),
        };
        let description = FileDescription::new((checksum, written.size), layout, &written.statistics);
        self.entries.insert(table, entry);
        self.described.insert(table.to_owned(), DescribedFile { description, blocks: uploaded.blocks.clone() });
    }
}

fn times(ColumnStatistics { min, max, .. }: &ColumnStatistics) -> Option<Times> {
    match (min, max) {
        (
            Some(ScalarValue::TimestampMillisecond(Some(from), _)),
            Some(ScalarValue::TimestampMillisecond(Some(to), _)),
        ) => Some(Times { from: EpochMillis(*from), to: EpochMillis(*to) }),
        _ => None,
    }
}

/// Deletes what a failed try wrote: the next one writes other files, and the disk may be full.
async fn discard(store: &dyn ObjectStore, written: &[Path]) {
    for path in written {
        match store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::warn!(%path, %error, "a file of a failed flush could not be deleted"),
        }
    }
}

/// The order of rows in a file: what is asked together lies together.
pub(crate) type SortKey = (OrganizationId, ProjectId, EpochMillis, Arc<str>);

pub(crate) fn sort_key<R: TableRow>(row: &R) -> SortKey {
    let Key { organization_id, project_id, id } = row.key();
    (organization_id, project_id, row.sort_time(), Arc::<str>::from(id.borrow()))
}

fn sort_rows<R: TableRow>(rows: &mut [Arc<R>]) {
    rows.sort_by_cached_key(|row| sort_key(row.as_ref()));
}

async fn choose_columns<R: TableRow>(registry: ColumnRegistry, rows: Arc<Vec<Arc<R>>>) -> Result<Chosen, StoreError> {
    let chosen = tokio::task::spawn_blocking(move || {
        let mut counts = PathCounts::new(&registry);
        for row in rows.iter() {
            let Key { organization_id, project_id, .. } = row.key();
            counts.add(&(organization_id, project_id), row.as_ref())?;
        }
        Ok(registry.choose(counts.finish()))
    });
    let chosen: Result<_, FlattenError> =
        chosen.await.map_err(|error| StoreError::caused("counting property paths", error))?;
    chosen.map_err(|error| StoreError::caused("counting property paths", error))
}

async fn make_index<R: TableRow>(parts: Parts<R>) -> Result<BuiltIndex, StoreError> {
    let built = tokio::task::spawn_blocking(move || build_index(parts)).await;
    let built = built.map_err(|error| StoreError::caused("building an index", error))?;
    built.map_err(|error| StoreError::caused("an index could not be built", error))
}
