//! Rows as JSON (contracts A3, A4).

use std::ops::Range;

use arrow::array::RecordBatch;

use super::cells::Cells;
use super::encoder::{Encoder, End, check_shape};
use super::text::write_string;
use crate::query::error::QueryError;
use crate::query::execute::columns::{ResultColumn, ResultKind};

/// What stands around the rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Envelope {
    /// Of a query: with the number of all matches, and of the rows asked for and shown.
    Query { page_size: usize, lists_columns: bool },
    /// Of a report: with the number of all rows.
    Report,
}

/// Writes rows as JSON objects, over any number of batches.
#[derive(Debug)]
pub(crate) struct JsonRows {
    envelope: Envelope,
    columns: Vec<Column>,
    rows: usize,
}

/// The type of a column in an answer's list of them (contract A5).
fn type_name(kind: ResultKind) -> &'static str {
    match kind {
        ResultKind::Text => "string",
        ResultKind::Time => "time",
        ResultKind::EpochMillis | ResultKind::Integer | ResultKind::Number => "number",
        ResultKind::Boolean => "boolean",
        ResultKind::Json | ResultKind::JsonTexts => "json",
        ResultKind::TextList => "list",
    }
}

#[derive(Debug)]
struct Column {
    /// `"name":`, escaped once.
    key: Vec<u8>,
    kind: ResultKind,
    omit_null: bool,
}

impl Column {
    fn new(column: &ResultColumn) -> Self {
        let mut key = Vec::with_capacity(column.name.len() + 3);
        write_string(&column.name, &mut key);
        key.push(b':');
        Column { key, kind: column.kind, omit_null: column.omit_null }
    }
}

impl JsonRows {
    pub(crate) fn new(envelope: Envelope) -> Self {
        JsonRows { envelope, columns: Vec::new(), rows: 0 }
    }
}

impl Encoder for JsonRows {
    fn open(&mut self, columns: &[ResultColumn], out: &mut Vec<u8>) -> Result<(), QueryError> {
        self.columns = columns.iter().map(Column::new).collect();
        let start: &[u8] = match self.envelope {
            Envelope::Query { .. } => br#"{"status":"ok","data":{"result":["#,
            Envelope::Report => br#"{"data":{"result":["#,
        };
        out.extend_from_slice(start);
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
            if self.rows > 0 {
                out.push(b',');
            }
            self.rows += 1;
            write_row(&cells, row, out);
        }
        Ok(end)
    }

    fn close(&mut self, end: End<'_>, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let total = end.total.unwrap_or_default();
        out.extend_from_slice(format!(r#"],"total":{total}"#).as_bytes());
        if let Envelope::Query { page_size, lists_columns } = self.envelope {
            out.extend_from_slice(format!(r#","pageSize":{page_size},"count":{}"#, self.rows).as_bytes());
            if let Some(totals) = end.totals {
                out.extend_from_slice(br#","totals":"#);
                out.extend(first_row(&totals.columns, &totals.row)?);
            }
            if lists_columns {
                self.write_columns(out);
            }
        }
        out.extend_from_slice(b"}}");
        Ok(())
    }
}

impl JsonRows {
    fn write_columns(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#","columns":["#);
        for (index, column) in self.columns.iter().enumerate() {
            out.extend_from_slice(if index > 0 { br#",{"name":"#.as_slice() } else { br#"{"name":"# });
            out.extend_from_slice(column.key.strip_suffix(b":").unwrap_or(&column.key));
            out.extend_from_slice(format!(r#","type":"{}"}}"#, type_name(column.kind)).as_bytes());
        }
        out.push(b']');
    }
}

fn write_row(cells: &[(&Column, Cells<'_>)], row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    for (column, cells) in cells {
        let is_null = cells.is_null(row);
        if is_null && column.omit_null {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        out.extend_from_slice(&column.key);
        if is_null {
            out.extend_from_slice(b"null");
        } else {
            cells.write(row, out);
        }
    }
    out.push(b'}');
}

/// The first row of a batch, alone.
pub(crate) fn first_row(columns: &[ResultColumn], batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
    check_shape(batch, &(0..1), columns.len())?;
    let columns: Vec<Column> = columns.iter().map(Column::new).collect();
    let cells = columns
        .iter()
        .zip(batch.columns())
        .map(|(column, array)| Ok((column, Cells::new(column.kind, array.as_ref())?)))
        .collect::<Result<Vec<_>, QueryError>>()?;
    let mut out = Vec::new();
    write_row(&cells, 0, &mut out);
    Ok(out)
}

/// Writes the first column as a list, `{"results":[…]}` by the column's name.
#[derive(Debug, Default)]
pub(crate) struct JsonList {
    column: Option<Column>,
    rows: usize,
}

impl Encoder for JsonList {
    fn open(&mut self, columns: &[ResultColumn], out: &mut Vec<u8>) -> Result<(), QueryError> {
        let [column] = columns else {
            return Err(QueryError::Internal(format!("a list is made of one column, not of {}", columns.len())));
        };
        let column = Column::new(column);
        out.push(b'{');
        out.extend_from_slice(&column.key);
        out.push(b'[');
        self.column = Some(column);
        Ok(())
    }

    fn write_batch(
        &mut self,
        batch: &RecordBatch,
        out: &mut Vec<u8>,
        rows: Range<usize>,
        most_bytes: usize,
    ) -> Result<usize, QueryError> {
        check_shape(batch, &rows, 1)?;
        let (Some(column), Some(array)) = (&self.column, batch.columns().first()) else { return Ok(rows.end) };
        let cells = Cells::new(column.kind, array.as_ref())?;
        let end = rows.end;
        for row in rows {
            if out.len() > most_bytes {
                return Ok(row);
            }
            if self.rows > 0 {
                out.push(b',');
            }
            self.rows += 1;
            if cells.is_null(row) {
                out.extend_from_slice(b"null");
            } else {
                cells.write(row, out);
            }
        }
        Ok(end)
    }

    fn close(&mut self, _end: End<'_>, out: &mut Vec<u8>) -> Result<(), QueryError> {
        out.extend_from_slice(b"]}");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
