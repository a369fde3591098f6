//! Documents become Arrow columns: the plain columns, a typed column per chosen property path, and the remainder.
//!
//! [`flatten`] makes one batch of a tail segment. [`Flattener`] makes the batches of one file, a bounded number of
//! bytes each; the layout is the whole file's.

pub(crate) mod fields;
pub(crate) mod number;
#[cfg(test)]
pub(crate) mod test_support;
pub(crate) mod trie;
pub(crate) mod walk;

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int32Array};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use self::fields::PropertyFiller;
use super::columns::arrays::arrays;
use super::columns::column::FlatRow;
use super::error::FlattenError;
use super::layout::{Layout, PropertyColumn};
use super::schema::{file_schema, rows_schema};
use crate::model::conversation::Conversation;

/// Rows of one batch of a file.
pub(crate) const MAX_BATCH_ROWS: usize = 4_096;
/// JSON and content bytes of one batch of a file; a single row may be larger.
const MAX_BATCH_BYTES: usize = 8 << 20;

#[derive(Clone)]
pub(crate) struct FlatBatch {
    pub(crate) batch: RecordBatch,
    pub(crate) layout: Arc<Layout>,
}

/// A tail segment as one batch: of the columns of `wanted` those that hold something. A number that needs its text gets
/// a text column even where `wanted` has none.
pub(crate) fn flatten<R: FlatRow>(rows: &[Arc<R>], wanted: &Layout) -> Result<FlatBatch, FlattenError> {
    let mut filler = PropertyFiller::new(wanted, true);
    let parts = filler.fill(rows)?;
    let mut layout = filler.into_layout();
    let mut values = Vec::new();
    for (column, array) in parts.columns {
        if array.null_count() < array.len() {
            layout.columns.push(column);
            values.push(array);
        }
    }
    let schema = rows_schema::<R>(&layout);
    let batch = assemble(schema, rows, parts.remainders, None, values)?;
    Ok(FlatBatch { batch, layout: Arc::new(layout) })
}

/// Makes the batches of one file.
pub(crate) struct Flattener<R = Conversation> {
    filler: PropertyFiller,
    columns: Vec<PropertyColumn>,
    schema: SchemaRef,
    next_row: usize,
    rows: PhantomData<fn(&R)>,
}

impl<R: FlatRow> Flattener<R> {
    /// The file's columns are exactly those of `chosen`.
    pub(crate) fn new(chosen: &Layout) -> Self {
        let mut columns = chosen.columns.clone();
        columns.sort();
        let layout = Layout { columns, ..Layout::default() };
        Self {
            filler: PropertyFiller::new(&layout, false),
            schema: file_schema::<R>(&layout),
            columns: layout.columns,
            next_row: 0,
            rows: PhantomData,
        }
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows of the file as one batch.
    pub(crate) fn batch(&mut self, rows: &[Arc<R>]) -> Result<RecordBatch, FlattenError> {
        let parts = self.filler.fill(rows)?;
        let values = parts.columns.into_iter().map(|(_, array)| array).collect();
        let batch = assemble(self.schema.clone(), rows, parts.remainders, Some(self.next_row), values)?;
        self.next_row += rows.len();
        Ok(batch)
    }

    /// The layout of the whole file.
    pub(crate) fn finish(self) -> Layout {
        Layout { columns: self.columns, ..self.filler.into_layout() }
    }
}

/// `in_file` is the number of the first row in its file, which has the hidden columns too.
fn assemble<R: FlatRow>(
    schema: SchemaRef,
    rows: &[Arc<R>],
    remainders: [ArrayRef; 2],
    in_file: Option<usize>,
    values: Vec<ArrayRef>,
) -> Result<RecordBatch, FlattenError> {
    let first_row = in_file.unwrap_or(0);
    let end = first_row + rows.len();
    let end_row = i32::try_from(end).map_err(|_| FlattenError::TooManyRows { row: end })?;
    let mut arrays = arrays(rows, &remainders, in_file.is_some())?;
    arrays.push(Arc::new(Int32Array::from_iter_values(first_row as i32..end_row)));
    arrays.extend(values);
    Ok(RecordBatch::try_new(schema, arrays)?)
}

/// Cuts rows into runs whose batches stay within the limits of rows and bytes.
pub(crate) fn chunks<R>(of: &[Arc<R>], bytes: impl Fn(&R) -> usize) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let (mut start, mut chunk_bytes) = (0, 0);
    for (index, row) in of.iter().enumerate() {
        let bytes = bytes(row);
        if index > start && (index - start >= MAX_BATCH_ROWS || chunk_bytes + bytes > MAX_BATCH_BYTES) {
            chunks.push(start..index);
            (start, chunk_bytes) = (index, 0);
        }
        chunk_bytes += bytes;
    }
    if start < of.len() {
        chunks.push(start..of.len());
    }
    chunks
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::array::{AsArray, StringViewArray};
    use arrow::datatypes::Float64Type;

    use super::*;
    use crate::storage::format::flatten::test_support::{column, conversation};
    use crate::storage::format::layout::{ColumnKind, RemainderPaths};

    fn layout(columns: &[(&[&str], ColumnKind)]) -> Layout {
        let columns = columns.iter().map(|(path, kind)| column(path, *kind)).collect();
        Layout { columns, ..Layout::default() }
    }

    fn strings<'a>(flat: &'a FlatBatch, name: &str) -> Vec<Option<&'a str>> {
        let array: &StringViewArray = flat.batch.column_by_name(name).unwrap().as_string_view();
        array.iter().collect()
    }

    fn flat(documents: &[&str], wanted: &Layout) -> FlatBatch {
        let documents: Vec<_> =
            documents.iter().enumerate().map(|(n, text)| Arc::new(conversation(n, Some(text), None))).collect();
        flatten(&documents, wanted).unwrap()
    }

    #[test]
    fn leaves_go_to_their_columns_and_the_rest_to_the_remainder() {
        let wanted = layout(&[
            (&["a"], ColumnKind::String),
            (&["a"], ColumnKind::Number),
            (&["o", "b"], ColumnKind::Boolean),
            (&["unused"], ColumnKind::String),
        ]);
        let flat = flat(
            &[
                r#"{"a":"x\ny","o":{"b":true}}"#,
                r#"{"a":1.10,"o":{"b":"no","c":{},"d":[1,{"x":"]"}]}}"#,
                r#"{"a":true,"\u00e9":null,"o":{"b":false,"deep":{"er":1e5}}}"#,
                "{}",
            ],
            &wanted,
        );
        assert_eq!(strings(&flat, "properties_a"), [Some("x\ny"), None, None, None]);
        assert_eq!(strings(&flat, "properties_a_number:text"), [None, Some("1.10"), None, None]);
        let numbers = flat.batch.column_by_name("properties_a_number").unwrap().as_primitive::<Float64Type>();
        assert_eq!(numbers.iter().collect::<Vec<_>>(), [None, Some(1.1), None, None]);
        let booleans = flat.batch.column_by_name("properties_o_b_boolean").unwrap().as_boolean();
        assert_eq!(booleans.iter().collect::<Vec<_>>(), [Some(true), None, Some(false), None]);
        assert_eq!(
            strings(&flat, "properties_remainder"),
            [
                None,
                Some(r#"{"o":{"b":"no","c":{},"d":[1,{"x":"]"}]}}"#),
                Some(r#"{"a":true,"\u00e9":null,"o":{"deep":{"er":1e5}}}"#),
                None
            ]
        );
        let paths = [&["a"][..], &["é"], &["o", "b"], &["o", "c"], &["o", "d"], &["o", "deep", "er"]];
        let paths: BTreeSet<Vec<String>> =
            paths.iter().map(|path| path.iter().map(|key| key.to_string()).collect()).collect();
        assert_eq!(flat.layout.properties_remainder, RemainderPaths::Known(paths));
        assert_eq!(flat.layout.columns.len(), 4);
        assert!(flat.layout.columns.is_sorted());
        assert_eq!(flat.batch.schema(), rows_schema::<Conversation>(&flat.layout));
    }

    #[test]
    fn a_remainder_of_too_many_paths_may_hold_anything() {
        let document = |keys: usize| {
            let keys: Vec<String> = (0..keys).map(|key| format!(r#""k{key}":1"#)).collect();
            format!("{{\"c\":\"x\",{}}}", keys.join(","))
        };
        let wanted = layout(&[(&["c"], ColumnKind::String)]);
        let few = flat(&[&document(1_000)], &wanted);
        assert!(matches!(few.layout.properties_remainder, RemainderPaths::Known(ref paths) if paths.len() == 1_000));
        let text = document(1_001);
        let many = flat(&[&text, r#"{"c":"y","k":{"c":2}}"#], &wanted);
        assert_eq!(many.layout.properties_remainder, RemainderPaths::Any);
        assert_eq!(strings(&many, "properties_c"), [Some("x"), Some("y")]);
        assert_eq!(strings(&many, "properties_remainder")[1], Some(r#"{"k":{"c":2}}"#));
        assert_eq!(many.layout.max_json_bytes, text.len() as u64);
    }

    #[test]
    fn batches_of_a_file_count_rows_through_and_share_a_layout() {
        let mut wanted = layout(&[(&["a"], ColumnKind::Number), (&["a"], ColumnKind::String)]);
        wanted.columns.reverse();
        let mut flattener = Flattener::new(&wanted);
        let first = flattener.batch(&[Arc::new(conversation(0, Some(r#"{"a":1}"#), None))]).unwrap();
        // Without a text column this number would lose digits, so it stays in the remainder.
        let second = flattener.batch(&[Arc::new(conversation(1, Some(r#"{"a":1.0}"#), None))]).unwrap();
        assert_eq!(first.schema(), second.schema());
        let rows = second.column_by_name("_row").unwrap().as_primitive::<arrow::datatypes::Int32Type>();
        assert_eq!(rows.value(0), 1);
        assert_eq!(second.column_by_name("properties_remainder").unwrap().as_string_view().value(0), r#"{"a":1.0}"#);
        let layout = flattener.finish();
        assert_eq!(layout.columns.len(), 2);
        assert_eq!(layout.properties_remainder, RemainderPaths::Known([vec!["a".to_owned()]].into()));
    }

    #[test]
    fn what_is_no_compact_object_is_an_error() {
        for text in ["[1]", "3", "{\"a\" :1}", "{\"a\": 1}"] {
            let damaged = conversation(0, Some(text), None);
            assert!(flatten(&[Arc::new(damaged)], &Layout::default()).is_err(), "{text}");
        }
    }
}
