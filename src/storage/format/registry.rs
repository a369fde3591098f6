//! Which property paths become columns, and how the columns are named.
//!
//! A path becomes a column at flush when enough of a project's documents in the file have it; until then it stays in the
//! remainder. Columns are of a table and shared by path, but each counts towards the cap of the project that brought it
//! in. Keys of public web pages may write anything: they use up the columns of their own project and no other's, and the
//! memory of counting is bounded.
#![expect(clippy::indexing_slicing, reason = "a JSON field indexes an array of as many")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::columns::column::FlatRow;
use super::columns::{conversations, events, feedback, threads};
use super::error::FlattenError;
use super::flatten::number::needs_text;
use super::flatten::trie::{PathTrie, ROOT};
use super::flatten::walk::{Token, Visitor, walk};
use super::layout::{ColumnKind, JsonField, Layout, PropertyColumn};
use super::physical_name::property_column;
use crate::model::ids::{OrganizationId, ProjectId};

/// Property columns that a project may bring into a table.
pub(crate) const MAX_PROJECT_COLUMNS: usize = 1_000;
/// Property columns of a file, shared out between the projects in it.
pub(crate) const MAX_FILE_COLUMNS: usize = 4_000;
/// Bytes of a column's path, its keys joined with dots.
pub(crate) const MAX_PATH_BYTES: usize = 256;
/// A new column needs this many of its project's documents in the file, and 1 % of them.
const MIN_DOCUMENTS: u64 = 20;
/// Paths counted at a time; above it the rare ones are forgotten.
const MAX_COUNTED_PATHS: usize = 100_000;

type ColumnKey = (JsonField, Vec<String>, ColumnKind);

pub(crate) type Project = (OrganizationId, ProjectId);

/// A property column of a table, and the project whose documents brought it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OwnedColumn {
    pub(crate) organization_id: OrganizationId,
    pub(crate) project_id: ProjectId,
    pub(crate) column: PropertyColumn,
}

impl OwnedColumn {
    fn project(&self) -> Project {
        (self.organization_id.clone(), self.project_id.clone())
    }
}

/// The property columns of a table: those that are committed, and those of files that are being written. All that write
/// files share it, so that of two files written side by side none takes the other's name for another path.
#[derive(Clone, Default)]
pub(crate) struct ColumnRegistry(Arc<Mutex<Columns>>);

#[derive(Default)]
struct Columns {
    by_key: BTreeMap<ColumnKey, OwnedColumn>,
    by_project: BTreeMap<Project, usize>,
    names: Names,
}

/// The columns of a file. The layout's remainder is not known yet.
pub(crate) struct Chosen {
    pub(crate) layout: Layout,
    pub(crate) columns: Vec<OwnedColumn>,
}

impl ColumnRegistry {
    pub(crate) fn new(columns: impl IntoIterator<Item = OwnedColumn>) -> Self {
        let mut known = Columns::default();
        columns.into_iter().for_each(|column| known.insert(column));
        Self(Arc::new(Mutex::new(known)))
    }

    /// The columns that a tail segment gets: all of the table, as long as a file could have them.
    pub(crate) fn layout(&self) -> Layout {
        let columns = self.columns();
        let mut of_projects: BTreeMap<Project, Vec<&PropertyColumn>> = BTreeMap::new();
        for owned in columns.by_key.values() {
            of_projects.entry(owned.project()).or_default().push(&owned.column);
        }
        let turns = of_projects.values().map(Vec::len).max().unwrap_or(0);
        let shared = (0..turns).flat_map(|turn| of_projects.values().filter_map(move |of| of.get(turn).copied()));
        let mut columns: Vec<PropertyColumn> = shared.take(MAX_FILE_COLUMNS).cloned().collect();
        columns.sort();
        Layout { columns, ..Layout::default() }
    }

    /// The columns for a file with these projects' documents. The projects take turns, each with its most frequent path
    /// that the file has not yet.
    pub(crate) fn choose(&self, counted: Vec<ProjectPaths>) -> Chosen {
        let mut known = self.columns();
        let mut chosen = BTreeMap::new();
        let mut turns: Vec<_> = counted.into_iter().map(|of| (of.project, of.paths.into_iter())).collect();
        while !turns.is_empty() {
            turns.retain_mut(|(project, paths)| {
                paths.by_ref().any(|candidate| known.take(project, &candidate, &mut chosen))
            });
        }
        let columns: Vec<OwnedColumn> = chosen.into_values().collect();
        let mut of_file: Vec<PropertyColumn> = columns.iter().map(|owned| owned.column.clone()).collect();
        of_file.sort();
        Chosen { layout: Layout { columns: of_file, ..Layout::default() }, columns }
    }

    fn columns(&self) -> MutexGuard<'_, Columns> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_path(&self, field: JsonField, path: &[String]) -> bool {
        let from = (field, path.to_vec(), ColumnKind::String);
        let columns = self.columns();
        let next = columns.by_key.range(from..).next();
        next.is_some_and(|((found, at, _), _)| *found == field && at == path)
    }

    fn has(&self, candidate: &Candidate) -> bool {
        let main = candidate.kinds.first().copied().unwrap_or(ColumnKind::String);
        self.columns().by_key.contains_key(&candidate.key(main))
    }
}

impl Columns {
    fn insert(&mut self, owned: OwnedColumn) {
        *self.by_project.entry(owned.project()).or_default() += 1;
        self.names.taken.insert(owned.column.name.clone());
        let PropertyColumn { field, path, kind, .. } = owned.column.clone();
        self.by_key.insert((field, path, kind), owned);
    }

    /// Adds a path to those of a file. False where that changes nothing: the file has it, or there is no room for it. A
    /// number column stands only with the text column that its numbers need: else they would lose digits.
    fn take(
        &mut self,
        project: &Project,
        candidate: &Candidate,
        chosen: &mut BTreeMap<ColumnKey, OwnedColumn>,
    ) -> bool {
        let mut keys: Vec<ColumnKey> = candidate.kinds.iter().map(|kind| candidate.key(*kind)).collect();
        keys.retain(|key| !chosen.contains_key(key));
        let new = keys.iter().filter(|key| !self.by_key.contains_key(*key)).count();
        let used = self.by_project.get(project).copied().unwrap_or(0);
        let has_room = used + new <= MAX_PROJECT_COLUMNS || new == 0;
        if keys.is_empty() || chosen.len() + keys.len() > MAX_FILE_COLUMNS || !has_room {
            return false;
        }
        for key in keys {
            if !self.by_key.contains_key(&key) {
                let (field, path, kind) = key.clone();
                let column = PropertyColumn { name: self.names.make(field, &path, kind), field, path, kind };
                let (organization_id, project_id) = project.clone();
                self.insert(OwnedColumn { organization_id, project_id, column });
            }
            if let Some(owned) = self.by_key.get(&key) {
                chosen.insert(key, owned.clone());
            }
        }
        true
    }
}

struct Candidate {
    field: JsonField,
    path: Vec<String>,
    /// One kind, or a number and its text.
    kinds: Vec<ColumnKind>,
    count: u64,
}

impl Candidate {
    fn key(&self, kind: ColumnKind) -> ColumnKey {
        (self.field, self.path.clone(), kind)
    }
}

/// What a project's documents in a file have.
pub(crate) struct ProjectPaths {
    project: Project,
    /// Those that qualify. The table's own columns first, then by frequency.
    paths: Vec<Candidate>,
}

/// How many documents have a leaf of a kind at a path, project by project.
pub(crate) struct PathCounts<'r> {
    registry: &'r ColumnRegistry,
    counted: Vec<ProjectPaths>,
    project: Option<Project>,
    documents: u64,
    fields: [FieldCounts; 2],
}

impl<'r> PathCounts<'r> {
    /// The table's own columns qualify even when they are rare.
    pub(crate) fn new(registry: &'r ColumnRegistry) -> Self {
        Self { registry, counted: Vec::new(), project: None, documents: 0, fields: Default::default() }
    }

    /// The documents of a project come one after another.
    pub(crate) fn add<R: FlatRow>(&mut self, project: &Project, row: &R) -> Result<(), FlattenError> {
        if self.project.as_ref() != Some(project) {
            self.end_project();
            self.project = Some(project.clone());
        }
        self.documents += 1;
        for (counts, (field, get)) in self.fields.iter_mut().zip(JsonField::ALL.into_iter().zip(R::SPREAD)) {
            if let Some(raw) = get.and_then(|get| get(row)) {
                walk(raw.get(), ROOT, counts)?;
                if counts.trie.len() > MAX_COUNTED_PATHS {
                    counts.forget_rare(|path| self.registry.has_path(field, path));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Vec<ProjectPaths> {
        self.end_project();
        self.counted
    }

    fn end_project(&mut self) {
        let threshold = MIN_DOCUMENTS.max(self.documents.div_ceil(100));
        if let Some(project) = self.project.take() {
            let known = |candidate: Candidate| (!self.registry.has(&candidate), candidate);
            let mut paths: Vec<(bool, Candidate)> = self.candidates().into_iter().map(known).collect();
            paths.retain(|(is_new, candidate)| !is_new || candidate.count >= threshold);
            paths.sort_by(|(a_is_new, a), (b_is_new, b)| {
                (a_is_new, b.count, a.field, &a.path).cmp(&(b_is_new, a.count, b.field, &b.path))
            });
            paths.truncate(MAX_FILE_COLUMNS);
            self.counted.push(ProjectPaths { project, paths: paths.into_iter().map(|(_, path)| path).collect() });
        }
        self.documents = 0;
        self.fields = Default::default();
    }

    fn candidates(&self) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for field in JsonField::ALL {
            let counts = &self.fields[field as usize];
            for (node, count) in counts.counts.iter().enumerate().filter(|(_, count)| count.any() > 0) {
                let path = counts.trie.path(node as u32);
                if path.iter().map(|key| key.len() + 1).sum::<usize>() > MAX_PATH_BYTES + 1 {
                    continue;
                }
                let number = match count.text == 0 && !counts.forgot {
                    true => vec![ColumnKind::Number],
                    false => vec![ColumnKind::Number, ColumnKind::NumberText],
                };
                for (kinds, count) in [
                    (vec![ColumnKind::String], count.string),
                    (number, count.number),
                    (vec![ColumnKind::Boolean], count.boolean),
                ] {
                    if count > 0 {
                        candidates.push(Candidate { field, path: path.clone(), kinds, count: u64::from(count) });
                    }
                }
            }
        }
        candidates
    }
}

#[derive(Clone, Copy, Default)]
struct KindCounts {
    string: u32,
    number: u32,
    text: u32,
    boolean: u32,
}

impl KindCounts {
    fn any(&self) -> u32 {
        self.string.max(self.number).max(self.boolean)
    }
}

#[derive(Default)]
struct FieldCounts {
    trie: PathTrie,
    counts: Vec<KindCounts>,
    /// Some counts are too low, so that a 0 says nothing.
    forgot: bool,
}

impl FieldCounts {
    fn grow(&mut self) {
        self.counts.resize(self.trie.len(), KindCounts::default());
    }

    /// Keeps the more frequent half, and what is `known`. A forgotten path starts again from 0, so counts may be too low,
    /// never too high.
    fn forget_rare(&mut self, known: impl Fn(&[String]) -> bool) {
        let mut least = MIN_DOCUMENTS as u32;
        loop {
            let mut next = FieldCounts { forgot: true, ..FieldCounts::default() };
            for (node, count) in self.counts.iter().enumerate() {
                let path = self.trie.path(node as u32);
                if count.any() >= least || (count.any() > 0 && known(&path)) {
                    let new = next.trie.intern_path(&path);
                    next.grow();
                    if let Some(slot) = next.counts.get_mut(new as usize) {
                        *slot = *count;
                    }
                }
            }
            if next.trie.len() <= MAX_COUNTED_PATHS / 2 || least > u32::MAX / 2 {
                *self = next;
                return;
            }
            least *= 2;
        }
    }
}

impl<'a> Visitor<'a> for FieldCounts {
    fn child(&mut self, parent: u32, key: &'a str) -> Result<u32, FlattenError> {
        let node = self.trie.intern_raw(parent, key)?;
        if self.counts.len() <= node as usize {
            self.grow();
        }
        Ok(node)
    }

    fn open(&mut self, _key: &'a str) {}

    fn close(&mut self) {}

    fn leaf(&mut self, node: u32, _key: &'a str, token: Token, text: &'a str) -> Result<(), FlattenError> {
        let Some(counts) = self.counts.get_mut(node as usize) else { return Ok(()) };
        match token {
            Token::String => counts.string += 1,
            Token::Boolean => counts.boolean += 1,
            Token::Number => {
                counts.number += 1;
                counts.text += u32::from(needs_text(text));
            }
            Token::Other => {}
        }
        Ok(())
    }
}

/// Gives each column a name of its own.
struct Names {
    taken: BTreeSet<String>,
}

impl Default for Names {
    fn default() -> Self {
        let tables = [&conversations::FIELDS[..], &threads::FIELDS, &events::FIELDS, &feedback::FIELDS];
        Self { taken: tables.into_iter().flatten().map(|field| field.column()).collect() }
    }
}

impl Names {
    fn make(&mut self, field: JsonField, path: &[String], kind: ColumnKind) -> String {
        let base = property_column(field, path, kind);
        let mut name = base.clone();
        let mut number = 2;
        while !self.taken.insert(name.clone()) {
            name = format!("{base}_{number}");
            number += 1;
        }
        name
    }
}

#[cfg(test)]
mod tests;
