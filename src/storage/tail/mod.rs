//! The memory tail: what is acknowledged but not in files yet.
//!
//! Two generations. `active` takes new operations; at a flush it becomes `frozen` as a whole, and is dropped as a whole
//! once its rows are in a file. A row is found by key in `active` first, then in `frozen`, then in the files; a
//! tombstone in `active` hides what lies below. All parts are persistent or copy-on-write, so a snapshot is a clone.

pub(crate) mod segment;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use imbl::{OrdMap, OrdSet};
use roaring::RoaringBitmap;

use self::segment::{Segment, SegmentSnapshot};
use super::catalog::commit::{Erased, Moment};
use super::format::layout::Layout;
use super::format::table_row::{Reference, TableRow};
use super::format::tables::Family;
use crate::model::conversation::Conversation;
use crate::model::ids::{EpochMillis, Key, OrganizationId, ProjectId, lookup_hash};

/// Ordered so that the same id in all projects of an organization is one range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TailKey {
    organization_id: OrganizationId,
    /// An id or an externalId.
    text: Arc<str>,
    project_id: ProjectId,
}

impl TailKey {
    fn of_id<I: Borrow<str>>(key: &Key<I>) -> TailKey {
        TailKey {
            organization_id: key.organization_id.clone(),
            text: Arc::from(key.id.borrow()),
            project_id: key.project_id.clone(),
        }
    }

    fn of_external_id<I>(key: &Key<I>, external_id: &str) -> TailKey {
        TailKey {
            organization_id: key.organization_id.clone(),
            text: Arc::from(external_id),
            project_id: key.project_id.clone(),
        }
    }
}

#[derive(Clone)]
pub(crate) enum TailEntry<R = Conversation> {
    Live(TailRow<R>),
    /// Deleted in this generation; what older generations and files hold under the key is gone.
    Deleted,
}

/// A row of the tail. `sequence` orders all rows of the process and finds the row's segment.
#[derive(Clone)]
pub(crate) struct TailRow<R = Conversation> {
    pub(crate) sequence: u64,
    pub(crate) value: Arc<R>,
}

/// Rows of one generation. Invariants: segments are ordered by sequence; a live entry's row is in exactly one segment
/// and its deletion bit is not set.
#[derive(Clone)]
pub(crate) struct Generation<R: TableRow = Conversation> {
    by_id: OrdMap<TailKey, TailEntry<R>>,
    /// May be stale: the row found must still have the externalId.
    by_external_id: OrdMap<TailKey, R::Id>,
    /// Hashes of references and the ids of rows that have them. May be stale as well.
    by_reference: OrdSet<(u128, Arc<str>)>,
    segments: Vec<SegmentSnapshot<R>>,
    /// Rows in segments, deleted ones included.
    rows: usize,
    /// Bytes of the operations taken in, about what the rows need in memory.
    bytes: usize,
    /// Number of operations taken in, deletions too.
    operations: usize,
    /// What was erased, by the hash under which files have it in their indexes: a flush looks for all versions of it.
    erased: OrdMap<u128, Erased>,
}

impl<R: TableRow> Default for Generation<R> {
    fn default() -> Self {
        Generation {
            by_id: OrdMap::new(),
            by_external_id: OrdMap::new(),
            by_reference: OrdSet::new(),
            segments: Vec::new(),
            rows: 0,
            bytes: 0,
            operations: 0,
            erased: OrdMap::new(),
        }
    }
}

impl<R: TableRow> Generation<R> {
    pub(crate) fn segments(&self) -> &[SegmentSnapshot<R>] {
        &self.segments
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn operations(&self) -> usize {
        self.operations
    }

    pub(crate) fn erased(&self) -> &OrdMap<u128, Erased> {
        &self.erased
    }

    /// Rows of the file that the generation became which were replaced or deleted while it was written. `before` are
    /// this generation's segments as of the freeze.
    pub(crate) fn deleted_since(
        &self,
        before: &[SegmentSnapshot<R>],
        rows_by_sequence: &HashMap<u64, u32>,
    ) -> RoaringBitmap {
        let mut deleted = RoaringBitmap::new();
        for (entry, before) in self.segments.iter().zip(before) {
            debug_assert_eq!(entry.segment.number, before.segment.number, "frozen segments stay as they are");
            let sequences = (&*entry.deleted - &*before.deleted).into_iter();
            let sequences = sequences.filter_map(|row| entry.segment.sequences.get(row as usize));
            deleted.extend(sequences.filter_map(|sequence| rows_by_sequence.get(sequence)));
        }
        deleted
    }

    fn mark_deleted(&mut self, sequence: u64) -> bool {
        let position = self.segments.partition_point(|entry| entry.segment.last_sequence() < sequence);
        let Some(entry) = self.segments.get_mut(position) else { return false };
        let Ok(row) = entry.segment.sequences.binary_search(&sequence) else { return false };
        Arc::make_mut(&mut entry.deleted).insert(row as u32);
        true
    }
}

/// The tail of one table.
#[derive(Clone)]
pub(crate) struct Tail<R: TableRow = Conversation> {
    active: Generation<R>,
    frozen: Option<Generation<R>>,
}

impl Family for Tail {
    type Of<R: TableRow> = Tail<R>;
}

impl<R: TableRow> Default for Tail<R> {
    fn default() -> Self {
        Tail { active: Generation::default(), frozen: None }
    }
}

/// Numbers for rows and for data sources; one of each per process.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    next_sequence: u64,
    next_file: u32,
    next_segment: u32,
}

/// Segments are numbered from here on, files below. A busy server makes thousands of segments a second: they go round
/// after weeks, when those of the same numbers are long gone, and never meet a file's number.
const FIRST_SEGMENT: u32 = 1 << 31;

impl Counters {
    pub(crate) fn new() -> Counters {
        Counters { next_sequence: 1, next_file: 1, next_segment: FIRST_SEGMENT }
    }

    pub(crate) fn sequence(&mut self) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        sequence
    }

    pub(crate) fn file(&mut self) -> u32 {
        let file = self.next_file;
        self.next_file += 1;
        file
    }

    pub(crate) fn segment(&mut self) -> u32 {
        let segment = self.next_segment;
        self.next_segment = segment.checked_add(1).unwrap_or(FIRST_SEGMENT);
        segment
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: TableRow> Tail<R> {
    pub(crate) fn active(&self) -> &Generation<R> {
        &self.active
    }

    pub(crate) fn frozen(&self) -> Option<&Generation<R>> {
        self.frozen.as_ref()
    }

    /// Frozen segments first: the order of the log.
    pub(crate) fn segments(&self) -> Vec<SegmentSnapshot<R>> {
        let frozen = self.frozen.iter().flat_map(|generation| generation.segments.iter());
        frozen.chain(self.active.segments.iter()).cloned().collect()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.active.bytes + self.frozen.as_ref().map_or(0, |generation| generation.bytes)
    }

    /// Since when something waits for its erasure, if anything does.
    pub(crate) fn oldest_erasure(&self) -> Option<EpochMillis> {
        self.generations().flat_map(|generation| generation.erased.values()).map(|erased| erased.oldest.at).min()
    }

    /// The newest entry of a key, or `None` if the tail knows nothing of it.
    pub(crate) fn get(&self, key: &Key<R::Id>) -> Option<&TailEntry<R>> {
        let key = TailKey::of_id(key);
        self.generations().find_map(|generation| generation.by_id.get(&key))
    }

    /// The live row that holds an externalId in a project.
    pub(crate) fn get_by_external_id(&self, owner: &Key<R::Id>, external_id: &str) -> Option<&TailRow<R>> {
        let key = TailKey::of_external_id(owner, external_id);
        let found = self.generations().filter_map(|generation| generation.by_external_id.get(&key));
        found
            .filter_map(|id| {
                self.live(&Key {
                    organization_id: key.organization_id.clone(),
                    project_id: key.project_id.clone(),
                    id: id.clone(),
                })
            })
            .find(|row| row.value.external_id() == Some(external_id))
    }

    pub(crate) fn live(&self, key: &Key<R::Id>) -> Option<&TailRow<R>> {
        match self.get(key) {
            Some(TailEntry::Live(row)) => Some(row),
            _ => None,
        }
    }

    /// Live rows of a project with a reference.
    pub(crate) fn find_reference(
        &self,
        organization_id: &OrganizationId,
        project_id: &ProjectId,
        reference: Reference<'_>,
    ) -> Vec<Arc<R>> {
        let hash = reference.hash(organization_id, project_id);
        let mut ids = BTreeSet::new();
        for generation in self.generations() {
            let from = (hash, Arc::from(""));
            ids.extend(generation.by_reference.range(from..).take_while(|one| one.0 == hash).map(|one| &one.1));
        }
        let rows = ids.into_iter().filter_map(|id| {
            let key =
                Key { organization_id: organization_id.clone(), project_id: project_id.clone(), id: R::make_id(id) };
            self.live(&key).map(|row| row.value.clone())
        });
        rows.filter(|row| row.references().contains(&reference)).collect()
    }

    /// Live rows with this id, in all projects of the organization.
    pub(crate) fn find_id(&self, organization_id: &OrganizationId, id: &str) -> Vec<Arc<R>> {
        let mut projects: BTreeMap<ProjectId, Option<Arc<R>>> = BTreeMap::new();
        for generation in self.generations() {
            for (key, entry) in generation.by_id.range(first_key(organization_id, id)..) {
                if key.organization_id != *organization_id || &*key.text != id {
                    break;
                }
                projects.entry(key.project_id.clone()).or_insert_with(|| match entry {
                    TailEntry::Live(row) => Some(row.value.clone()),
                    TailEntry::Deleted => None,
                });
            }
        }
        projects.into_values().flatten().collect()
    }

    /// Live rows with this externalId, in all projects of the organization.
    pub(crate) fn find_external_id(&self, organization_id: &OrganizationId, external_id: &str) -> Vec<Arc<R>> {
        let mut found: BTreeMap<ProjectId, Arc<R>> = BTreeMap::new();
        for generation in self.generations() {
            for (key, id) in generation.by_external_id.range(first_key(organization_id, external_id)..) {
                if key.organization_id != *organization_id || &*key.text != external_id {
                    break;
                }
                let key = Key {
                    organization_id: key.organization_id.clone(),
                    project_id: key.project_id.clone(),
                    id: id.clone(),
                };
                if let Some(row) = self.live(&key)
                    && row.value.external_id() == Some(external_id)
                {
                    found.entry(key.project_id).or_insert_with(|| row.value.clone());
                }
            }
        }
        found.into_values().collect()
    }

    fn generations(&self) -> impl Iterator<Item = &Generation<R>> {
        std::iter::once(&self.active).chain(self.frozen.iter())
    }

    fn mark_deleted(&mut self, sequence: u64) {
        let marked = self.active.mark_deleted(sequence)
            || self.frozen.as_mut().is_some_and(|generation| generation.mark_deleted(sequence));
        debug_assert!(marked, "a live row {sequence} is in no segment");
    }

    /// Merges geometrically, so that a snapshot holds about log2(rows) segments and each row moves as often.
    fn merge_segments(&mut self, columns: &Arc<Layout>, counters: &mut Counters) {
        let segments = &mut self.active.segments;
        while let [.., older, newer] = segments.as_slice()
            && older.segment.rows.len() <= 2 * newer.segment.rows.len()
        {
            let (older, newer) = (older.clone(), newer.clone());
            let mut rows = Vec::new();
            let mut sequences = Vec::new();
            for part in [&older, &newer] {
                for (row, (value, sequence)) in part.segment.rows.iter().zip(&part.segment.sequences).enumerate() {
                    if !part.deleted.contains(row as u32) {
                        rows.push(value.clone());
                        sequences.push(*sequence);
                    }
                }
            }
            let before = older.segment.rows.len() + newer.segment.rows.len();
            self.active.rows -= before - rows.len();
            segments.truncate(segments.len() - 2);
            if rows.is_empty() {
                break;
            }
            segments.push(SegmentSnapshot {
                segment: Arc::new(Segment {
                    number: counters.segment(),
                    rows,
                    sequences,
                    flat: OnceLock::new(),
                    threads: OnceLock::new(),
                    columns: columns.clone(),
                }),
                deleted: Arc::new(RoaringBitmap::new()),
            });
        }
    }

    /// Starts a flush: everything taken in so far becomes the frozen generation. There must be none yet.
    pub(crate) fn freeze(&mut self) {
        debug_assert!(self.frozen.is_none(), "one flush at a time");
        self.frozen = Some(std::mem::take(&mut self.active));
    }

    /// Ends a flush: the frozen rows are in files now.
    pub(crate) fn drop_frozen(&mut self) -> Option<Generation<R>> {
        self.frozen.take()
    }
}

/// One group of operations being taken in. It works on a clone, so that a group whose log write fails leaves no trace.
pub(crate) struct TailGroup<R: TableRow = Conversation> {
    tail: Tail<R>,
    rows: Vec<Arc<R>>,
    sequences: Vec<u64>,
    /// Rows of this group that a later operation of the same group replaced or deleted.
    deleted: RoaringBitmap,
    with_references: bool,
}

impl Family for TailGroup {
    type Of<R: TableRow> = TailGroup<R>;
}

impl<R: TableRow> TailGroup<R> {
    pub(crate) fn begin(tail: &Tail<R>) -> TailGroup<R> {
        TailGroup {
            tail: tail.clone(),
            rows: Vec::new(),
            sequences: Vec::new(),
            deleted: RoaringBitmap::new(),
            with_references: true,
        }
    }

    /// For a tail that is never asked for references: each message would be put in an ordered set.
    pub(crate) fn without_references(&mut self) {
        self.with_references = false;
    }

    /// The state after the operations staged so far; their rows are not in segments yet.
    pub(crate) fn tail(&self) -> &Tail<R> {
        &self.tail
    }

    /// Puts a row under its key, or takes away what is there.
    pub(crate) fn stage_row(&mut self, key: &Key<R::Id>, value: Option<&Arc<R>>, counters: &mut Counters) {
        if let Some(sequence) = self.tail.live(key).map(|row| row.sequence) {
            match self.sequences.binary_search(&sequence) {
                Ok(row) => {
                    self.deleted.insert(row as u32);
                }
                Err(_) => self.tail.mark_deleted(sequence),
            }
        }
        let active = &mut self.tail.active;
        let tail_key = TailKey::of_id(key);
        let entry = match value {
            Some(value) => {
                let sequence = counters.sequence();
                if let Some(external_id) = value.external_id() {
                    active.by_external_id.insert(TailKey::of_external_id(key, external_id), key.id.clone());
                }
                let references = if self.with_references { value.references() } else { Vec::new() };
                for reference in references {
                    let hash = reference.hash(&key.organization_id, &key.project_id);
                    active.by_reference.insert((hash, tail_key.text.clone()));
                }
                self.rows.push(value.clone());
                self.sequences.push(sequence);
                TailEntry::Live(TailRow { sequence, value: value.clone() })
            }
            None => TailEntry::Deleted,
        };
        active.by_id.insert(tail_key, entry);
        active.operations += 1;
    }

    /// That all versions of what had the key are to be gone from all files.
    pub(crate) fn note_erased(&mut self, key: &Key<R::Id>, moment: Moment) {
        let hash = lookup_hash(&key.organization_id, key.id.borrow());
        let erased = &mut self.tail.active.erased;
        let merged = Erased::at(moment).merged(erased.get(&hash).copied());
        erased.insert(hash, merged);
    }

    /// The tail with the group's rows as a new segment. `bytes` is the group's size in the log.
    pub(crate) fn finish(self, bytes: usize, columns: &Arc<Layout>, counters: &mut Counters) -> Tail<R> {
        let TailGroup { mut tail, rows, sequences, deleted, .. } = self;
        tail.active.bytes += bytes;
        if !rows.is_empty() {
            tail.active.rows += rows.len();
            tail.active.segments.push(SegmentSnapshot {
                segment: Arc::new(Segment {
                    number: counters.segment(),
                    rows,
                    sequences,
                    flat: OnceLock::new(),
                    threads: OnceLock::new(),
                    columns: columns.clone(),
                }),
                deleted: Arc::new(deleted),
            });
            tail.merge_segments(columns, counters);
        }
        tail
    }
}

fn first_key(organization_id: &OrganizationId, text: &str) -> TailKey {
    TailKey { organization_id: organization_id.clone(), text: Arc::from(text), project_id: ProjectId::new("") }
}

#[cfg(test)]
mod tests;
