//! Compaction: files of a table are written again as one, which takes their place in one commit and one snapshot.
//!
//! What was deleted by a commit when the work began is left behind. What is deleted meanwhile, or was deleted by a change
//! that only the log holds as yet, is still there and stays deleted: where each row went is known ([`MovedRows`]), to
//! the commit, to a flush that was prepared before, and to the snapshot.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use roaring::RoaringBitmap;

use super::files::{self, FileNumbers, Merge, SortKey, Stored, Written, sort_key};
use super::progress::Imports;
use super::state::{State, TableState};
use super::work::Merging;
use crate::environment::Environment;
use crate::model::conversation::Conversation;
use crate::storage::catalog::change::{CatalogChange, MovedRows, RemovedFile, TableChange};
use crate::storage::catalog::commit::Erased;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::catalog::manifest::{Manifest, Table as StoredTable};
use crate::storage::catalog::writing::Catalog;
use crate::storage::error::{ErrorKind, StoreError};
use crate::storage::format::layout::Layout;
use crate::storage::format::parts::Feed;
use crate::storage::format::registry::ColumnRegistry;
use crate::storage::format::table_row::TableRow;
use crate::storage::format::tables::{Family, Kind, PerTable, Same, for_each_table, per_table};
use crate::storage::objects::fail_point;

/// Of the rows of a part that is read or written at a time.
const PART_BYTES: usize = 4 << 20;
/// Rows of a part, of the first and at most.
const FIRST_PART: usize = 16;
/// As [`FIRST_PART`].
const MAX_PART: usize = 4_096;
/// About so many rows decide which paths are columns; of a file so many that lie together.
const SAMPLED_ROWS: usize = 4_096;
/// As [`SAMPLED_ROWS`].
const SAMPLED_TOGETHER: usize = 32;
/// A commit of unknown outcome is tried again until it is known: no other can be made before.
const RETRY_AFTER: Duration = if cfg!(test) { Duration::from_millis(10) } else { Duration::from_secs(1) };

/// Files of one table that are to become one.
pub(crate) struct Inputs {
    /// With the rows that commits have deleted.
    pub(crate) files: Vec<FileSnapshot>,
    /// Of the new file.
    pub(crate) level: u32,
    /// The erasures of each file that this compaction is for: whatever it drops was deleted with them, or before.
    pub(crate) erased: Vec<Option<Erased>>,
}

/// A new file that waits for its commit. With rows of none of the tables there is nothing to commit.
pub(crate) struct Compacted<R = Conversation> {
    written: Written<R>,
    /// The files that it replaces.
    inputs: Vec<FileSnapshot>,
    /// As [`Inputs`] has them.
    erased: Vec<Option<Erased>>,
    moved: Vec<Arc<MovedRows>>,
}

impl Family for Compacted {
    type Of<R: TableRow> = Compacted<R>;
}

/// Reads and writes; nothing of the store changes by it. Runs with what the machine can spare, in the memory of a few
/// thousand rows, however many there are.
pub(crate) async fn write<R: Stored>(
    environment: &Environment,
    Inputs { files, level, erased }: Inputs,
    (numbers, columns): (FileNumbers, ColumnRegistry),
    progress: &Merging,
) -> Result<Compacted<R>, StoreError> {
    let live: Vec<Vec<u32>> = files.iter().map(live_rows).collect();
    let mut moved: Vec<Vec<Option<u32>>> = files.iter().map(|file| vec![None; file.file.rows as usize]).collect();
    let mut written = Written::nothing();
    if live.iter().any(|rows| !rows.is_empty()) {
        let sample = sample(environment, &files, &live).await?;
        let have_threads = files.iter().any(|file| file.file.threads.is_some());
        let rows = live.iter().map(Vec::len).sum::<usize>();
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        let merge = Merge { numbers, level, have_threads, rows };
        let inputs = files.iter().zip(&live).map(|(file, rows)| Input::new(file, rows)).collect();
        let moves = &mut moved;
        let feed = async move |feed: Feed<R>| merge_rows(environment, inputs, (moves, progress), &feed).await;
        written = files::write_merged(environment, merge, columns, sample, feed).await?;
    }
    // Without rows nothing has moved anywhere, whatever the id.
    let to = written.new.as_ref().map(|new| new.file.id).or_else(|| files.first().map(|file| file.file.id));
    let to = to.ok_or_else(|| StoreError::Bug("a compaction of no files".to_owned()))?;
    let moved = moved.into_iter().map(|rows| Arc::new(MovedRows { to, rows })).collect();
    Ok(Compacted { written, inputs: files, erased, moved })
}

fn live_rows(file: &FileSnapshot) -> Vec<u32> {
    (0..file.file.rows).filter(|row| !file.deleted.contains(*row)).collect()
}

/// Rows from all over the files, or all of them where they are few.
async fn sample<R: Stored>(
    environment: &Environment,
    files: &[FileSnapshot],
    live: &[Vec<u32>],
) -> Result<Arc<Vec<Arc<R>>>, StoreError> {
    let all: usize = live.iter().map(Vec::len).sum();
    let mut sample = Vec::new();
    for (file, rows) in files.iter().zip(live) {
        let parts: Vec<&[u32]> = rows.chunks(SAMPLED_TOGETHER).collect();
        let step = (all / SAMPLED_ROWS).max(1);
        for part in parts.into_iter().step_by(step) {
            let read = R::read_whole(&environment.objects, file, part).await?;
            sample.extend(read.into_iter().map(Arc::new));
        }
    }
    Ok(Arc::new(sample))
}

/// A file on its way into the merge: its rows in their order, read part by part.
struct Input<'a, R> {
    file: &'a FileSnapshot,
    /// That are still to be read.
    rows: &'a [u32],
    /// How many are read next: as many as have about [`PART_BYTES`], judged by those before.
    next_part: usize,
    /// With their places in the file.
    read: VecDeque<(u32, SortKey, Arc<R>)>,
}

impl<'a, R: Stored> Input<'a, R> {
    fn new(file: &'a FileSnapshot, rows: &'a [u32]) -> Self {
        Input { file, rows, next_part: FIRST_PART, read: VecDeque::new() }
    }

    async fn fill(&mut self, environment: &Environment) -> Result<(), StoreError> {
        if !self.read.is_empty() || self.rows.is_empty() {
            return Ok(());
        }
        let (part, rest) = self.rows.split_at(self.next_part.min(self.rows.len()));
        let read = R::read_whole(&environment.objects, self.file, part).await?;
        let bytes: usize = read.iter().map(R::bytes).sum();
        let fitting = PART_BYTES / (bytes / part.len().max(1)).max(1);
        self.next_part = fitting.clamp(1, (part.len() * 4).clamp(FIRST_PART, MAX_PART));
        self.rows = rest;
        let rows = part.iter().zip(read).map(|(row, value)| (*row, sort_key(&value), Arc::new(value)));
        self.read.extend(rows);
        Ok(())
    }
}

/// Feeds the rows of all inputs in the order of a file, and notes where each went.
async fn merge_rows<R: Stored>(
    environment: &Environment,
    mut inputs: Vec<Input<'_, R>>,
    (moved, progress): (&mut [Vec<Option<u32>>], &Merging),
    feed: &Feed<R>,
) -> Result<(), StoreError> {
    let (mut part, mut bytes, mut next) = (Vec::new(), 0, 0_u32);
    loop {
        for input in &mut inputs {
            input.fill(environment).await?;
        }
        let heads = inputs.iter().enumerate().filter_map(|(number, input)| Some((number, &input.read.front()?.1)));
        let first = heads.min_by(|(_, a), (_, b)| a.cmp(b)).map(|(number, _)| number);
        let taken = first.and_then(|number| Some((number, inputs.get_mut(number)?.read.pop_front()?)));
        let ended = taken.is_none();
        if let Some((number, (row, _, value))) = taken {
            if let Some(slot) = moved.get_mut(number).and_then(|rows| rows.get_mut(row as usize)) {
                *slot = Some(next);
            }
            next += 1;
            bytes += value.bytes();
            part.push(value);
        }
        if ended || bytes >= PART_BYTES || part.len() >= MAX_PART {
            progress.advance(part.len());
            // If one takes no more, its error is told.
            if !part.is_empty() && !feed.give(std::mem::take(&mut part)).await {
                return Ok(());
            }
            bytes = 0;
        }
        if ended {
            return Ok(());
        }
    }
}

impl<R: TableRow> Compacted<R> {
    /// Of the new file.
    pub(crate) fn bytes(&self) -> u64 {
        self.written.new.as_ref().map_or(0, |new| new.file.bytes())
    }

    /// Where deleted rows of the inputs went; `deleted` tells those of an input.
    fn moved_rows(&self, deleted: impl Fn(&FileSnapshot) -> Option<Arc<RoaringBitmap>>) -> RoaringBitmap {
        let mut rows = RoaringBitmap::new();
        for (input, moved) in self.inputs.iter().zip(&self.moved) {
            let deleted = deleted(input).unwrap_or_default();
            rows.extend(deleted.iter().filter_map(|row| moved.rows.get(row as usize).copied().flatten()));
        }
        rows
    }

    fn change(&self, stored: Option<&StoredTable>) -> Result<TableChange, StoreError> {
        let stored_file = |input: &FileSnapshot| stored.and_then(|table| table.files.get(&input.file.id));
        if let Some(gone) = self.inputs.iter().find(|input| stored_file(input).is_none()) {
            return Err(StoreError::Bug(format!("the file {} was taken out by another", gone.file.id)));
        }
        let deleted = self.moved_rows(|input| stored_file(input).map(|file| Arc::clone(&file.deleted)));
        let removed = self.inputs.iter().zip(&self.moved);
        let removed = removed.map(|(input, moved)| RemovedFile { id: input.file.id, moved: Arc::clone(moved) });
        let since = self.inputs.iter().zip(&self.erased);
        let since = since.filter_map(|(input, done)| stored_file(input)?.erased?.since(*done));
        let erased = since.reduce(|all, one| one.merged(Some(all)));
        Ok(self.written.replacement(removed.collect(), deleted, erased))
    }

    fn install(self, table: &mut TableState<R>) {
        let current = |input: &FileSnapshot| {
            let entry = table.files.iter().find(|entry| entry.file.number == input.file.number);
            entry.map(|entry| Arc::clone(&entry.deleted))
        };
        let deleted = Arc::new(self.moved_rows(current));
        table.files.retain(|entry| !self.inputs.iter().any(|input| input.file.number == entry.file.number));
        if let Some(new) = self.written.new {
            table.files.push(FileSnapshot { file: new.file, deleted });
        }
    }
}

/// A compaction that is committed, and what the committer takes over of it.
pub(crate) struct Committed {
    manifest: Arc<Manifest>,
    tables: PerTable<Option<Compacted>>,
    columns: PerTable<Same<Arc<Layout>>>,
}

/// Puts the new files in the place of the old ones, in one commit.
pub(crate) async fn commit(
    tables: PerTable<Option<Compacted>>,
    catalog: Arc<tokio::sync::Mutex<Catalog>>,
) -> Result<Committed, StoreError> {
    fail_point::reached("compaction:before-commit");
    let (manifest, columns) = loop {
        // Held for one try only: what is in doubt may be a flush's commit, which goes on while this one waits.
        let tried = {
            let mut catalog = catalog.lock().await;
            let change = change_of(&tables, catalog.manifest())?;
            let committed = catalog.commit(&change).await;
            committed.map(|manifest| (manifest, catalog.layouts()))
        };
        match tried {
            Err(error) if matches!(error.kind(), ErrorKind::Retry | ErrorKind::Full) => {
                tracing::warn!(%error, "the commit of a compaction is tried again");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            outcome => break outcome?,
        }
    };
    fail_point::reached("compaction:after-commit");
    Ok(Committed { manifest, tables, columns })
}

/// As of a manifest; the same for the same one, so that a commit of unknown outcome is tried again as it was.
fn change_of(tables: &PerTable<Option<Compacted>>, manifest: &Manifest) -> Result<CatalogChange, StoreError> {
    let tables = per_table!(kind in PerTable::<Kind>::default(), table in tables.as_ref() => {
        match table {
            Some(table) => table.change(manifest.tables.get(kind.name()))?,
            None => TableChange::default(),
        }
    });
    Ok(CatalogChange { position: manifest.wal_position, imports: Imports::new(), tables })
}

impl Committed {
    /// Swaps the files in the state that the next snapshot is made of. Gives those that are replaced.
    pub(crate) fn install(self, state: &mut State) -> Vec<FileSnapshot> {
        let mut replaced = Vec::new();
        for_each_table!(table in state.tables.as_mut(), compacted in self.tables, columns in self.columns => {
            if let Some(compacted) = compacted {
                replaced.extend(compacted.inputs.iter().cloned());
                compacted.install(table);
            }
            table.columns = columns;
        });
        state.take_manifest(self.manifest);
        // What was looked up in the files is looked up again.
        state.flush_generation += 1;
        replaced
    }
}
