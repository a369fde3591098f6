//! Query rows as CSV (contract A4): RFC 4180, UTF-8, lines that end in CR LF, a header line always.
//!
//! Null is an empty cell, the empty string is `""`, as PostgreSQL writes them. A line of one null cell is `""` too:
//! readers skip empty lines. Texts stand as they are; times, numbers and lists as in the JSON response.
//!
//! A whole JSON field in mode `unpack` is one column per key, `properties.plan`, sorted by name; of a list it is one per
//! position and key, `reasons.0.label`. Such a cell is the text at that path (`#>>`), so that it is the same as that of
//! a selected path; a value that is a list or an object is JSON text.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use arrow::array::RecordBatch;

use super::cells::Cells;
use super::encoder::{Encoder, End, check_shape};
use crate::model::ids::EpochMillis;
use crate::model::json::raw;
use crate::model::time;
use crate::query::error::QueryError;
use crate::query::execute::columns::{ResultColumn, ResultKind};
use crate::query::execute::parts::each_part;

/// Cells of a line: more than any spreadsheet takes, few enough for a line to stay small.
const MOST_COLUMNS: usize = 10_000;

/// What a spreadsheet may take for the begin of a formula: the signs, and what it trims before it looks (contract A5,
/// `formulaSafe`).
const FORMULA_STARTS: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\n'];

#[derive(Debug)]
pub(crate) struct CsvWriter {
    columns: Vec<CsvColumn>,
    header: Vec<String>,
    formula_safe: bool,
}

#[derive(Debug)]
struct CsvColumn {
    kind: ResultKind,
    /// Positions of the parts of an unpacked column among its cells.
    parts: Option<HashMap<String, usize>>,
}

impl CsvWriter {
    /// With `formula_safe`, cells that a spreadsheet would run as a formula get a leading apostrophe.
    pub(crate) fn new(formula_safe: bool) -> CsvWriter {
        CsvWriter { columns: Vec::new(), header: Vec::new(), formula_safe }
    }

    fn set_columns(&mut self, shown: &[ResultColumn]) -> Result<(), QueryError> {
        let selected: BTreeSet<&str> = shown.iter().map(|column| column.name.as_str()).collect();
        for column in shown {
            let Some(names) = &column.parts else {
                self.header.push(column.name.clone());
                self.columns.push(CsvColumn { kind: column.kind, parts: None });
                continue;
            };
            let mut parts = HashMap::new();
            for part in names {
                let name = format!("{}.{part}", column.name);
                // A selected path of that name is the same column, and appears once.
                if !selected.contains(name.as_str()) {
                    parts.insert(part.clone(), parts.len());
                    self.header.push(name);
                }
            }
            // However the view shows the whole field, its parts are those of its JSON.
            self.columns.push(CsvColumn { kind: ResultKind::Json, parts: Some(parts) });
        }
        if self.header.len() > MOST_COLUMNS {
            let message = format!(
                "the export has {} columns, at most {MOST_COLUMNS} are allowed; select `properties` and `userProperties` \
                 with mode `json`, or by path",
                self.header.len()
            );
            return Err(QueryError::Invalid { path: "select".to_owned(), message });
        }
        Ok(())
    }

    fn text(&self, text: &str, out: &mut Vec<u8>) {
        if self.formula_safe && text.starts_with(FORMULA_STARTS) {
            return write_text(&format!("'{text}"), out);
        }
        write_text(text, out);
    }

    fn cell(&self, cells: &Cells<'_>, row: usize, out: &mut Vec<u8>) {
        match cells {
            Cells::Text(strings) | Cells::Json(strings) => self.text(strings.value(row), out),
            Cells::Time(times) => self.text(&time::render(EpochMillis(times.value(row))), out),
            // Numbers are no formulas, whatever they begin with.
            Cells::Integer(_) | Cells::Double(_) | Cells::EpochMillis(_) | Cells::Boolean(_) => cells.write(row, out),
            _ => {
                let mut json = Vec::new();
                cells.write(row, &mut json);
                self.text(&String::from_utf8_lossy(&json), out);
            }
        }
    }

    /// The cells of an unpacked column's parts.
    fn parts(&self, text: Option<&str>, parts: &HashMap<String, usize>, line: &mut Line<'_>) {
        let mut values: Vec<Option<&str>> = vec![None; parts.len()];
        if let Some(text) = text {
            each_part(text, |name, value| {
                if let Some(slot) = parts.get(name).and_then(|position| values.get_mut(*position)) {
                    *slot = Some(value);
                }
            });
        }
        for value in values {
            line.next_cell();
            if let Some(text) = value.and_then(raw::value_text) {
                self.text(&text, line.out);
            }
        }
    }
}

impl Encoder for CsvWriter {
    /// # Errors
    /// [`QueryError::Invalid`] if a line would have too many cells.
    fn open(&mut self, columns: &[ResultColumn], out: &mut Vec<u8>) -> Result<(), QueryError> {
        self.set_columns(columns)?;
        let mut line = Line::begin(out);
        for name in &self.header {
            line.next_cell();
            self.text(name, line.out);
        }
        line.end(self.header.len());
        Ok(())
    }

    fn write_batch(
        &mut self,
        batch: &RecordBatch,
        out: &mut Vec<u8>,
        rows: Range<usize>,
        most_bytes: usize,
    ) -> Result<usize, QueryError> {
        check_shape(batch, &rows, self.columns.len())?;
        let columns = self.columns.iter().zip(batch.columns());
        let cells = columns
            .map(|(column, array)| Ok((column, Cells::new(column.kind, array.as_ref())?)))
            .collect::<Result<Vec<_>, QueryError>>()?;
        let end = rows.end;
        for row in rows {
            if out.len() > most_bytes {
                return Ok(row);
            }
            let mut line = Line::begin(out);
            for (column, cells) in &cells {
                let is_null = cells.is_null(row);
                match (&column.parts, cells) {
                    (Some(parts), Cells::Text(strings) | Cells::Json(strings)) => {
                        self.parts((!is_null).then(|| strings.value(row)), parts, &mut line);
                    }
                    (Some(parts), _) => self.parts(None, parts, &mut line),
                    (None, _) => {
                        line.next_cell();
                        if !is_null {
                            self.cell(cells, row, line.out);
                        }
                    }
                }
            }
            line.end(self.header.len());
        }
        Ok(end)
    }

    fn close(&mut self, _end: End<'_>, _out: &mut Vec<u8>) -> Result<(), QueryError> {
        Ok(())
    }
}

struct Line<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    is_first: bool,
}

impl<'a> Line<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Line { out, start, is_first: true }
    }

    fn next_cell(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
    }

    fn end(self, cells: usize) {
        if cells == 1 && self.out.len() == self.start {
            self.out.extend_from_slice(b"\"\"");
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Quoted where RFC 4180 needs it, where the text is empty (else it would be null), and where a reader might trim it.
fn write_text(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let is_plain = !bytes.is_empty()
        && !bytes.iter().any(|byte| matches!(byte, b'"' | b',' | b'\r' | b'\n'))
        && !text.starts_with([' ', '\t'])
        && !text.ends_with([' ', '\t']);
    if is_plain {
        return out.extend_from_slice(bytes);
    }
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    for run in bytes.split_inclusive(|&byte| byte == b'"') {
        out.extend_from_slice(run);
        if run.ends_with(b"\"") {
            out.push(b'"');
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringViewArray};

    use super::*;
    use crate::query::check::check_export;
    use crate::query::dsl::Query;
    use crate::query::execute::columns::{columns_of, unpacked};
    use crate::query::view::CONVERSATIONS;

    /// The columns of an export's query; those that are unpacked have these parts.
    fn columns(query: &Query, parts: &[&str]) -> Vec<ResultColumn> {
        let parts: BTreeSet<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        let mut columns = columns_of(query);
        for (asked, column) in query.columns.iter().zip(&mut columns) {
            column.parts = unpacked(query, asked).map(|_| parts.clone());
        }
        columns
    }

    fn csv(body: &str, parts: &[&str], arrays: Vec<ArrayRef>) -> String {
        let export = check_export(&CONVERSATIONS, body.as_bytes()).expect("valid");
        let mut writer = CsvWriter::new(export.formula_safe);
        let names = (0..arrays.len()).map(|index| format!("c{index}"));
        let batch = RecordBatch::try_from_iter_with_nullable(names.zip(arrays).map(|(n, c)| (n, c, true)));
        let batch = batch.expect("batch");
        let mut out = Vec::new();
        writer.open(&columns(&export.query, parts), &mut out).expect("few columns");
        writer.write_batch(&batch, &mut out, 0..batch.num_rows(), usize::MAX).expect("written");
        writer.close(End::default(), &mut out).expect("no totals");
        String::from_utf8(out).expect("UTF-8")
    }

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringViewArray::from_iter(values.iter().copied()))
    }

    #[test]
    fn quoting() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("a,b", "\"a,b\""),
            ("\"", "\"\"\"\""),
            ("say \"hi\"!", "\"say \"\"hi\"\"!\""),
            ("two\nlines", "\"two\nlines\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            (" edge", "\" edge\""),
            ("大家 🙂;'", "大家 🙂;'"),
            ("=1+1", "=1+1"),
        ] {
            let mut out = Vec::new();
            write_text(text, &mut out);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
        }
    }

    #[test]
    fn nulls_and_empty_texts_differ() {
        let one = r#"{"select":[{"type":"field","field":"id"}]}"#;
        assert_eq!(csv(one, &[], vec![texts(&[Some("a"), None, Some("")])]), "id\r\na\r\n\"\"\r\n\"\"\r\n");
        let two = r#"{"select":[{"type":"field","field":"id"},{"type":"field","field":"type"}]}"#;
        let columns = vec![texts(&[None, Some("")]), texts(&[Some("x"), None])];
        assert_eq!(csv(two, &[], columns), "id,type\r\n,x\r\n\"\",\r\n");
    }

    #[test]
    fn parts_of_a_json_field() {
        let rows = [
            Some(r#"{"s":"a,b","n":1.10,"b":true,"z":null,"o":{"k":[1]},"e":""}"#),
            None,
            Some(r#"{"n":1e5,"n":-0,"new":1}"#),
        ];
        let request = |mode: &str| format!(r#"{{"select":[{{"type":"field","field":"properties"{mode}}}]}}"#);
        let keys = ["b", "e", "n", "o", "s", "z"];
        assert_eq!(
            csv(&request(""), &keys, vec![texts(&rows)]),
            "properties.b,properties.e,properties.n,properties.o,properties.s,properties.z\r\n\
             true,\"\",1.10,\"{\"\"k\"\": [1]}\",\"a,b\",\r\n,,,,,\r\n,,0,,,\r\n"
        );
        let json = csv(&request(r#","mode":"json""#), &keys, vec![texts(&[Some(r#"{"a":1.10}"#), None])]);
        assert_eq!(json, "properties\r\n\"{\"\"a\"\":1.10}\"\r\n\"\"\r\n");
        let list = texts(&[Some(r#"[{"label":"x"},"y"]"#)]);
        let header = "properties.0.label,properties.1\r\n";
        assert_eq!(csv(&request(""), &["0.label", "1"], vec![list]), format!("{header}x,y\r\n"));
    }

    #[test]
    fn a_part_that_is_selected_by_path_too_appears_once() {
        let body =
            r#"{"select":[{"type":"field","field":"properties","path":["a"]},{"type":"field","field":"properties"}]}"#;
        let columns = vec![texts(&[Some("1")]), texts(&[Some(r#"{"a":1,"b":2}"#)])];
        assert_eq!(csv(body, &["a", "b"], columns), "properties.a,properties.b\r\n1,2\r\n");
    }

    #[test]
    fn formulas() {
        let body = |safe: &str| {
            format!(
                r#"{{"select":[{{"type":"aggregation","aggregation":"count"}}],"groupBy":[{{"field":"id"}}]{safe}}}"#
            )
        };
        let ids = ["=1", "+1", "-1", "@x", "\tx", "\rx", "\n=x", "a=1", "'"];
        let columns = || -> Vec<ArrayRef> {
            let ids: Vec<_> = ids.iter().map(|id| Some(*id)).collect();
            vec![Arc::new(Int64Array::from(vec![-1; 9])), texts(&ids)]
        };
        assert_eq!(
            csv(&body(r#","csvFormulaSafe":true"#), &[], columns()),
            "count,id\r\n-1,'=1\r\n-1,'+1\r\n-1,'-1\r\n-1,'@x\r\n-1,'\tx\r\n-1,\"'\rx\"\r\n-1,\"'\n=x\"\r\n-1,a=1\r\n-1,'\r\n"
        );
        assert!(csv(&body(""), &[], columns()).contains("\r\n-1,=1\r\n"));
    }

    #[test]
    fn too_many_columns() {
        let export = check_export(&CONVERSATIONS, b"{}").expect("valid");
        let mut columns = columns(&export.query, &[]);
        let properties = columns.iter_mut().find(|column| column.name == "properties").expect("a column");
        properties.parts = Some((0..10_000).map(|key| key.to_string()).collect());
        let error = CsvWriter::new(false).open(&columns, &mut Vec::new()).expect_err("too many");
        assert!(matches!(&error, QueryError::Invalid { path, .. } if path == "select"), "{error}");
    }
}
