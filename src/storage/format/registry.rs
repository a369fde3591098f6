//! Which property paths become columns, and how the columns are named.
//!
//! A path becomes a column at flush when enough of the file's documents have it; until then it stays in the remainder.
//! Keys of public web pages may write anything, so the number of columns and the memory of counting are bounded.
#![expect(clippy::indexing_slicing, reason = "a JSON field indexes an array of as many")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::columns::column::FlatRow;
use super::columns::{conversations, events, feedback, threads};
use super::error::FlattenError;
use super::flatten::number::needs_text;
use super::flatten::trie::{PathTrie, ROOT};
use super::flatten::walk::{Token, Visitor, walk};
use super::layout::{ColumnKind, JsonField, Layout, PropertyColumn};

/// Property columns per table.
pub(crate) const MAX_COLUMNS: usize = 1_000;
/// Bytes of a column's path, its keys joined with dots.
pub(crate) const MAX_PATH_BYTES: usize = 256;
/// A new column needs this many documents of the file, and 1 % of them.
const MIN_DOCUMENTS: u64 = 20;
/// Paths counted at a time; above it the rare ones are forgotten.
const MAX_COUNTED_PATHS: usize = 100_000;

type ColumnKey = (JsonField, Vec<String>, ColumnKind);

/// The property columns of a table, by what they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ColumnRegistry {
    columns: BTreeMap<ColumnKey, String>,
}

impl ColumnRegistry {
    pub(crate) fn new(columns: impl IntoIterator<Item = PropertyColumn>) -> Self {
        Self { columns: columns.into_iter().map(|c| ((c.field, c.path, c.kind), c.name)).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = PropertyColumn> + '_ {
        self.columns.iter().map(|((field, path, kind), name)| PropertyColumn {
            field: *field,
            path: path.clone(),
            kind: *kind,
            name: name.clone(),
        })
    }

    /// All columns of the table, as the `wanted` layout of a tail segment.
    pub(crate) fn layout(&self) -> Layout {
        Layout { columns: self.columns().collect(), ..Layout::default() }
    }

    /// The columns for a file with the counted documents, and the table's columns once that file is in it. The
    /// layout's remainder is not known yet.
    pub(crate) fn choose(&self, counts: &PathCounts) -> (Layout, ColumnRegistry) {
        let threshold = MIN_DOCUMENTS.max(counts.documents.div_ceil(100));
        let mut candidates = counts.candidates();
        candidates.retain(|c| c.count >= threshold || self.has(c, c.main_kind()));
        // The table's own columns first, then by frequency.
        candidates.sort_by(|a, b| {
            let known = |c: &Candidate| !self.has(c, c.main_kind());
            (known(a), b.count, a.field, &a.path).cmp(&(known(b), a.count, b.field, &b.path))
        });
        let mut registry = self.clone();
        let mut names = Names::new(self);
        let mut columns = Vec::new();
        for candidate in candidates {
            // A number column stands only with the text column that its numbers need: else they would lose digits.
            let new = candidate.kinds.iter().filter(|&&kind| !registry.has(&candidate, kind)).count();
            if registry.len() + new > MAX_COLUMNS {
                continue;
            }
            for &kind in &candidate.kinds {
                let key = (candidate.field, candidate.path.clone(), kind);
                let name =
                    registry.columns.entry(key).or_insert_with(|| names.make(candidate.field, &candidate.path, kind));
                columns.push(PropertyColumn {
                    field: candidate.field,
                    path: candidate.path.clone(),
                    kind,
                    name: name.clone(),
                });
            }
        }
        columns.sort();
        (Layout { columns, ..Layout::default() }, registry)
    }

    fn has(&self, candidate: &Candidate, kind: ColumnKind) -> bool {
        self.columns.contains_key(&(candidate.field, candidate.path.clone(), kind))
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
    fn main_kind(&self) -> ColumnKind {
        self.kinds.first().copied().unwrap_or(ColumnKind::String)
    }
}

/// How many documents have a leaf of a kind at a path.
pub(crate) struct PathCounts {
    documents: u64,
    fields: [FieldCounts; 2],
}

impl PathCounts {
    /// The table's own columns are counted even when they are rare.
    pub(crate) fn new(registry: &ColumnRegistry) -> Self {
        let mut fields = [FieldCounts::default(), FieldCounts::default()];
        for (field, path, _) in registry.columns.keys() {
            let counts = &mut fields[*field as usize];
            let node = counts.trie.intern_path(path);
            counts.kept.insert(node);
            counts.grow();
        }
        Self { documents: 0, fields }
    }

    pub(crate) fn add<R: FlatRow>(&mut self, row: &R) -> Result<(), FlattenError> {
        self.documents += 1;
        for (counts, get) in self.fields.iter_mut().zip(R::SPREAD) {
            if let Some(raw) = get.and_then(|get| get(row)) {
                walk(raw.get(), ROOT, counts)?;
                if counts.trie.len() > MAX_COUNTED_PATHS {
                    counts.forget_rare();
                }
            }
        }
        Ok(())
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
    kept: BTreeSet<u32>,
    /// Some counts are too low, so that a 0 says nothing.
    forgot: bool,
}

impl FieldCounts {
    fn grow(&mut self) {
        self.counts.resize(self.trie.len(), KindCounts::default());
    }

    /// Keeps the more frequent half. A forgotten path starts again from 0, so counts may be too low, never too high.
    fn forget_rare(&mut self) {
        let mut least = MIN_DOCUMENTS as u32;
        loop {
            let mut next = FieldCounts { forgot: true, ..FieldCounts::default() };
            for (node, count) in self.counts.iter().enumerate() {
                let kept = self.kept.contains(&(node as u32));
                if kept || count.any() >= least {
                    let new = next.trie.intern_path(&self.trie.path(node as u32));
                    next.grow();
                    if let Some(slot) = next.counts.get_mut(new as usize) {
                        *slot = *count;
                    }
                    if kept {
                        next.kept.insert(new);
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

/// Makes column names that differ from all others by more than case: one clash makes Delta readers refuse a table.
struct Names {
    /// In lower case.
    taken: BTreeSet<String>,
}

impl Names {
    fn new(registry: &ColumnRegistry) -> Self {
        let tables = [&conversations::FIELDS[..], &threads::FIELDS, &events::FIELDS, &feedback::FIELDS];
        let plain = tables.into_iter().flatten().map(|field| field.name);
        let names = plain.chain(registry.columns.values().map(String::as_str));
        Self { taken: names.map(|name| name.to_lowercase()).collect() }
    }

    fn make(&mut self, field: JsonField, path: &[String], kind: ColumnKind) -> String {
        let base = column_name(field, path, kind);
        let mut name = base.clone();
        let mut number = 2;
        while !self.taken.insert(name.to_lowercase()) {
            name = format!("{base}~{number}");
            number += 1;
        }
        name
    }
}

/// `properties.plan`, `properties.score:number`; everything outside `[A-Za-z0-9_-]` percent-escaped, an empty key `%`.
pub(crate) fn column_name(field: JsonField, path: &[String], kind: ColumnKind) -> String {
    let mut name = field.name().to_owned();
    for key in path {
        name.push('.');
        if key.is_empty() {
            name.push('%');
        }
        for &byte in key.as_bytes() {
            if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
                name.push(char::from(byte));
            } else {
                let _ = write!(name, "%{byte:02X}");
            }
        }
    }
    name.push_str(match kind {
        ColumnKind::String => "",
        ColumnKind::Number => ":number",
        ColumnKind::NumberText => ":number_text",
        ColumnKind::Boolean => ":boolean",
    });
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::format::flatten::test_support::conversation;

    fn counts(registry: &ColumnRegistry, documents: impl IntoIterator<Item = String>) -> PathCounts {
        let mut counts = PathCounts::new(registry);
        for (number, text) in documents.into_iter().enumerate() {
            counts.add(&conversation(number, Some(&text), None)).unwrap();
        }
        counts
    }

    fn names(layout: &Layout) -> Vec<&str> {
        layout.columns.iter().map(|column| column.name.as_str()).collect()
    }

    fn path(keys: &[&str]) -> Vec<String> {
        keys.iter().map(|key| key.to_string()).collect()
    }

    #[test]
    fn names_are_escaped() {
        for (keys, kind, name) in [
            (&["plan"][..], ColumnKind::String, "properties.plan"),
            (&["a", "b"], ColumnKind::Number, "properties.a.b:number"),
            (&["a.b"], ColumnKind::NumberText, "properties.a%2Eb:number_text"),
            (&["", "é"], ColumnKind::Boolean, "properties.%.%C3%A9:boolean"),
        ] {
            assert_eq!(column_name(JsonField::Properties, &path(keys), kind), name);
        }
    }

    #[test]
    fn a_new_column_needs_twenty_documents_and_one_percent() {
        let empty = ColumnRegistry::default();
        let documents = (0..3_000).map(|n| match n {
            0..19 => r#"{"few":1}"#.to_owned(),
            19..48 => r#"{"nearly":"x"}"#.to_owned(),
            48..78 => r#"{"enough":"x","deep":{"er":true}}"#.to_owned(),
            _ => "{}".to_owned(),
        });
        let (layout, registry) = empty.choose(&counts(&empty, documents));
        assert_eq!(names(&layout), ["properties.deep.er:boolean", "properties.enough"]);
        // What the table has stays a column in a file where it is rare, and is left out of one without it.
        let (layout, next) = registry.choose(&counts(&registry, [r#"{"enough":"y","few":2}"#.to_owned()]));
        assert_eq!(names(&layout), ["properties.enough"]);
        assert_eq!(next, registry);
    }

    #[test]
    fn kinds_are_columns_of_their_own_and_case_clashes_get_a_number() {
        let empty = ColumnRegistry::default();
        let documents = (0..60).map(|n| match n % 3 {
            0 => r#"{"x":1.0,"X":"s"}"#.to_owned(),
            1 => r#"{"x":"t","X":"s"}"#.to_owned(),
            _ => r#"{"x":2,"X":"s"}"#.to_owned(),
        });
        let (layout, _) = empty.choose(&counts(&empty, documents));
        assert_eq!(
            names(&layout),
            ["properties.X", "properties.x~2", "properties.x:number", "properties.x:number_text"]
        );
    }

    #[test]
    fn the_cap_holds_and_the_frequent_paths_win() {
        let empty = ColumnRegistry::default();
        let documents = (0..40).map(|n| {
            let keys = (0..1_100).filter(|key| n < 20 || *key >= 600).map(|key| format!(r#""k{key}":1"#));
            format!("{{{}}}", keys.collect::<Vec<_>>().join(","))
        });
        let (layout, registry) = empty.choose(&counts(&empty, documents));
        assert_eq!((layout.columns.len(), registry.len()), (MAX_COLUMNS, MAX_COLUMNS));
        assert!((600..1_100).all(|key| layout.columns.iter().any(|c| c.path == [format!("k{key}")])));
    }

    #[test]
    fn random_keys_are_forgotten_and_frequent_ones_survive() {
        let empty = ColumnRegistry::default();
        let documents = (0..3_000).map(|n| {
            let keys = (0..100).map(|key| format!(r#""r{n}_{key}":1"#)).collect::<Vec<_>>().join(",");
            format!(r#"{{"kept":1,{keys}}}"#)
        });
        let counts = counts(&empty, documents);
        assert!(counts.fields[0].trie.len() <= MAX_COUNTED_PATHS + 101);
        assert_eq!(names(&empty.choose(&counts).0), ["properties.kept:number", "properties.kept:number_text"]);
    }

    #[test]
    fn long_paths_are_no_columns() {
        let empty = ColumnRegistry::default();
        let long = |length: usize| format!(r#"{{"{}":{{"b":1}}}}"#, "a".repeat(length - 2));
        let documents = (0..40).map(|n| long(256 + n % 2));
        let (layout, _) = empty.choose(&counts(&empty, documents));
        assert_eq!(layout.columns.len(), 1);
        assert_eq!(layout.columns[0].path[0].len(), 254);
    }
}
