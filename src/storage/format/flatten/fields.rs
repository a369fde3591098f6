//! The two JSON fields of each document, spread over property columns and the remainder.
#![expect(
    clippy::indexing_slicing,
    reason = "fields and kinds index arrays of as many; nodes and levels were pushed before"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBufferBuilder, BooleanBuilder, Float64Builder, StringViewBuilder, UInt32Array,
    new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::DataType;

use super::number;
use super::trie::{PathTrie, ROOT};
use super::walk::{Token, Visitor, unescape, walk};
use crate::model::json::jsonb;
use crate::storage::format::columns::column::{FlatRow, LongColumns};
use crate::storage::format::error::FlattenError;
use crate::storage::format::layout::{ColumnKind, FormatVersion, JsonField, Layout, PropertyColumn, RemainderPaths};

/// Paths of a remainder that a layout lists.
const MAX_REMAINDER_PATHS: usize = 1_000;
/// A path that is neither a column's nor worth remembering.
const UNKNOWN: u32 = u32::MAX;
const NO_SLOT: u32 = u32::MAX;

/// Fills the property columns of one file or segment, batch by batch.
pub(crate) struct PropertyFiller {
    fields: [FieldState; 2],
    slots: Vec<Slot>,
    max_json_bytes: u64,
}

/// The property part of a batch.
pub(crate) struct PropertyArrays {
    /// In the order of the layout.
    pub(crate) columns: Vec<(PropertyColumn, ArrayRef)>,
    pub(crate) remainders: [ArrayRef; 2],
}

impl PropertyFiller {
    /// With `any_text`, number columns get a text column whether the layout has one or not.
    pub(crate) fn new(wanted: &Layout, any_text: bool) -> Self {
        let mut filler = Self { fields: Default::default(), slots: Vec::new(), max_json_bytes: 0 };
        let mut columns = wanted.columns.clone();
        columns.sort();
        for column in columns {
            // In sorted order a number's text column comes right after it and shares its slot.
            if column.kind == ColumnKind::NumberText {
                if let Some(slot) = filler.slots.last_mut().filter(|slot| slot.is_number_of(&column)) {
                    slot.text = Some(column);
                }
                continue;
            }
            let field = &mut filler.fields[column.field as usize];
            let node = field.trie.intern_path(&column.path);
            field.grow();
            if let Some(slots) = field.slots.get_mut(node as usize) {
                slots[column.kind as usize] = filler.slots.len() as u32;
            }
            let text = (any_text && column.kind == ColumnKind::Number).then(|| column.text_column());
            filler.slots.push(Slot { column, text });
        }
        filler
    }

    pub(crate) fn fill<R: FlatRow>(&mut self, rows: &[Arc<R>]) -> Result<PropertyArrays, FlattenError> {
        let mut builders: Vec<Builder> = self.slots.iter().map(Builder::new).collect();
        let mut remainders = [StringViewBuilder::new(), StringViewBuilder::new()];
        let mut buffer = String::new();
        let long = LongColumns::<R>::new();
        for (row, filled) in rows.iter().enumerate() {
            self.max_json_bytes = self.max_json_bytes.max(long.longest(filled) as u64);
            for (field, get) in JsonField::ALL.into_iter().zip(R::SPREAD) {
                let remainder = &mut remainders[field as usize];
                let Some(text) = get.and_then(|get| get(filled)).map(|raw| raw.get()) else {
                    remainder.append_null();
                    continue;
                };
                buffer.clear();
                let mut filling = Filling {
                    state: &mut self.fields[field as usize],
                    builders: &mut builders,
                    row,
                    remainder: Remainder { text: &mut buffer, frames: vec![Frame::new("")] },
                };
                walk(text, ROOT, &mut filling)?;
                filling.remainder.close();
                match buffer.is_empty() {
                    true => remainder.append_null(),
                    false => remainder.try_append_value(&buffer)?,
                }
            }
        }
        let mut columns = Vec::new();
        for (slot, builder) in self.slots.iter().zip(builders) {
            let (values, texts) = builder.finish(rows.len())?;
            columns.push((slot.column.clone(), values));
            columns.extend(slot.text.clone().zip(texts));
        }
        Ok(PropertyArrays { columns, remainders: remainders.map(|mut builder| Arc::new(builder.finish()) as ArrayRef) })
    }

    /// The layout of all batches so far, without its columns.
    pub(crate) fn into_layout(self) -> Layout {
        let [properties, user_properties] = self.fields;
        Layout {
            version: FormatVersion::CURRENT,
            columns: Vec::new(),
            properties_remainder: properties.into_remainder(),
            user_properties_remainder: user_properties.into_remainder(),
            max_json_bytes: self.max_json_bytes,
        }
    }
}

struct Slot {
    column: PropertyColumn,
    text: Option<PropertyColumn>,
}

impl Slot {
    fn is_number_of(&self, text: &PropertyColumn) -> bool {
        let own = &self.column;
        own.kind == ColumnKind::Number && own.field == text.field && own.path == text.path
    }
}

/// Known paths of one field: those of its columns and, until they are too many, those seen in its remainder.
#[derive(Default)]
struct FieldState {
    trie: PathTrie,
    /// By node and kind.
    slots: Vec<[u32; 4]>,
    in_remainder: Vec<bool>,
    remainder_paths: usize,
}

impl FieldState {
    fn grow(&mut self) {
        self.slots.resize(self.trie.len(), [NO_SLOT; 4]);
        self.in_remainder.resize(self.trie.len(), false);
    }

    fn knows_remainder(&self) -> bool {
        self.remainder_paths <= MAX_REMAINDER_PATHS
    }

    fn slot(&self, node: u32, kind: ColumnKind) -> Option<usize> {
        let slot = self.slots.get(node as usize)?[kind as usize];
        (slot != NO_SLOT).then_some(slot as usize)
    }

    fn note_remainder(&mut self, node: u32) {
        if let Some(seen) = self.in_remainder.get_mut(node as usize)
            && !*seen
        {
            *seen = true;
            self.remainder_paths += 1;
        }
    }

    fn into_remainder(self) -> RemainderPaths {
        if !self.knows_remainder() {
            return RemainderPaths::Any;
        }
        let nodes = self.in_remainder.iter().enumerate().filter(|(_, seen)| **seen);
        RemainderPaths::Known(nodes.map(|(node, _)| self.trie.path(node as u32)).collect::<BTreeSet<_>>())
    }
}

struct Filling<'s, 'a> {
    state: &'s mut FieldState,
    builders: &'s mut [Builder],
    row: usize,
    remainder: Remainder<'s, 'a>,
}

impl Filling<'_, '_> {
    /// Puts a leaf in its column; false where it has none.
    fn place(&mut self, node: u32, token: Token, text: &str) -> Result<bool, FlattenError> {
        let kind = match token {
            Token::String => ColumnKind::String,
            Token::Number => ColumnKind::Number,
            Token::Boolean => ColumnKind::Boolean,
            Token::Other => return Ok(false),
        };
        let Some(builder) = self.state.slot(node, kind).and_then(|slot| self.builders.get_mut(slot)) else {
            return Ok(false);
        };
        match builder {
            Builder::String(strings) => {
                let inner = text.get(1..text.len() - 1).unwrap_or_default();
                strings.append(self.row, &unescape(inner)?)?;
            }
            Builder::Number { values, texts, takes_text } => {
                let Some(double) = number::double(text) else { return Ok(false) };
                if number::needs_text(text) {
                    if !*takes_text {
                        return Ok(false);
                    }
                    texts.append(self.row, &jsonb::number_text(text))?;
                }
                values.append_nulls(self.row.saturating_sub(values.len()));
                values.append_value(double);
            }
            Builder::Boolean(values) => {
                let missing = self.row.saturating_sub(values.len());
                values.append_nulls(missing);
                values.append_value(text == "true");
            }
        }
        Ok(true)
    }
}

impl<'a> Visitor<'a> for Filling<'_, 'a> {
    fn child(&mut self, parent: u32, key: &'a str) -> Result<u32, FlattenError> {
        if parent == UNKNOWN {
            return Ok(UNKNOWN);
        }
        if !self.state.knows_remainder() {
            return Ok(self.state.trie.find(parent, key)?.unwrap_or(UNKNOWN));
        }
        let node = self.state.trie.intern_raw(parent, key)?;
        if self.state.slots.len() <= node as usize {
            self.state.grow();
        }
        Ok(node)
    }

    fn open(&mut self, key: &'a str) {
        self.remainder.frames.push(Frame::new(key));
    }

    fn close(&mut self) {
        self.remainder.close();
    }

    fn leaf(&mut self, node: u32, key: &'a str, token: Token, text: &'a str) -> Result<(), FlattenError> {
        if !self.place(node, token, text)? {
            self.state.note_remainder(node);
            self.remainder.leaf(key, text);
        }
        Ok(())
    }
}

/// Writes the remainder of one document; an object is opened when it gets its first entry.
struct Remainder<'s, 'a> {
    text: &'s mut String,
    frames: Vec<Frame<'a>>,
}

struct Frame<'a> {
    key: &'a str,
    open: bool,
    entries: bool,
}

impl<'a> Frame<'a> {
    fn new(key: &'a str) -> Self {
        Self { key, open: false, entries: false }
    }
}

impl<'a> Remainder<'_, 'a> {
    fn leaf(&mut self, key: &str, value: &str) {
        let first_closed = self.frames.iter().rposition(|frame| frame.open).map_or(0, |last_open| last_open + 1);
        for level in first_closed..self.frames.len() {
            let own = self.frames[level].key;
            if level > 0 {
                self.key(level - 1, own);
            }
            self.text.push('{');
            self.frames[level].open = true;
        }
        if let Some(last) = self.frames.len().checked_sub(1) {
            self.key(last, key);
        }
        self.text.push_str(value);
    }

    /// The key of the next entry of the object at `level`.
    fn key(&mut self, level: usize, key: &str) {
        if let Some(frame) = self.frames.get_mut(level) {
            if frame.entries {
                self.text.push(',');
            }
            frame.entries = true;
        }
        self.text.push('"');
        self.text.push_str(key);
        self.text.push_str("\":");
    }

    fn close(&mut self) {
        if self.frames.pop().is_some_and(|frame| frame.open) {
            self.text.push('}');
        }
    }
}

enum Builder {
    String(SparseStrings),
    Number { values: Float64Builder, texts: SparseStrings, takes_text: bool },
    Boolean(BooleanBuilder),
}

impl Builder {
    fn new(slot: &Slot) -> Self {
        match slot.column.kind {
            ColumnKind::String | ColumnKind::NumberText => Builder::String(SparseStrings::default()),
            ColumnKind::Number => Builder::Number {
                values: Float64Builder::with_capacity(0),
                texts: SparseStrings::default(),
                takes_text: slot.text.is_some(),
            },
            ColumnKind::Boolean => Builder::Boolean(BooleanBuilder::with_capacity(0)),
        }
    }

    fn finish(self, rows: usize) -> Result<(ArrayRef, Option<ArrayRef>), FlattenError> {
        Ok(match self {
            Builder::String(strings) => (strings.finish(rows)?, None),
            Builder::Number { mut values, texts, .. } => {
                values.append_nulls(rows.saturating_sub(values.len()));
                (Arc::new(values.finish()), Some(texts.finish(rows)?))
            }
            Builder::Boolean(mut values) => {
                values.append_nulls(rows.saturating_sub(values.len()));
                (Arc::new(values.finish()), None)
            }
        })
    }
}

/// Strings of some rows. Of a wide file most columns are mostly null: values first, spread over the rows at the end.
#[derive(Default)]
struct SparseStrings {
    values: StringViewBuilder,
    /// The row of each value, ascending.
    rows: Vec<u32>,
}

impl SparseStrings {
    fn append(&mut self, row: usize, value: &str) -> Result<(), FlattenError> {
        let row = u32::try_from(row).map_err(|_| FlattenError::TooManyRows { row })?;
        self.rows.push(row);
        Ok(self.values.try_append_value(value)?)
    }

    fn finish(mut self, rows: usize) -> Result<ArrayRef, FlattenError> {
        if self.rows.is_empty() {
            return Ok(new_null_array(&DataType::Utf8View, rows));
        }
        let values = self.values.finish();
        if self.rows.len() == rows {
            return Ok(Arc::new(values));
        }
        let mut indices = vec![0u32; rows];
        let mut valid = BooleanBufferBuilder::new(rows);
        valid.append_n(rows, false);
        for (index, &row) in self.rows.iter().enumerate() {
            if let Some(slot) = indices.get_mut(row as usize) {
                *slot = index as u32;
                valid.set_bit(row as usize, true);
            }
        }
        let indices = UInt32Array::try_new(indices.into(), Some(NullBuffer::new(valid.finish())))?;
        Ok(take(&values, &indices, None)?)
    }
}
