//! From record batches to the JSON response of contract A3, or to CSV ([`csv`]), written straight into bytes.

mod cells;
pub(crate) mod csv;
mod text;

use std::ops::Range;

use arrow::array::RecordBatch;

use self::cells::Cells;
use self::text::write_string;
use super::dsl::{AggregateFunction, Aggregation, ColumnExpr, FieldRef, KeyExpr, Query};
use super::error::QueryError;
use super::view::{FieldKind, View};

/// How the cells of a column are written, and which Arrow types it takes. A null cell is `null` in every format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnFormat {
    /// Strings.
    Text,
    /// Timestamps, as `"2024-08-26T00:00:00.000Z"`.
    Time,
    /// Timestamps or numbers of milliseconds, as a number of milliseconds since 1970.
    EpochMillis,
    Integer,
    /// Integers or doubles, in the shortest form that reads back as the same double.
    Number,
    Boolean,
    /// Strings that are JSON already.
    RawJson,
    /// JSON objects, each value shown as text, nulls left out (contract A4, events).
    JsonTexts,
    /// Lists of strings.
    TextList,
}

impl ColumnFormat {
    pub(crate) fn of(query: &Query, expr: &ColumnExpr) -> ColumnFormat {
        match expr {
            ColumnExpr::Field(reference) => Self::of_field(query.view, reference),
            ColumnExpr::Group(index) => match query.groups.get(*index) {
                Some(KeyExpr::Field(reference)) => Self::of_field(query.view, reference),
                Some(KeyExpr::Bucket { .. }) => ColumnFormat::Time,
                None => ColumnFormat::Text,
            },
            ColumnExpr::Aggregation(index) => {
                query.aggregations.get(*index).map_or(ColumnFormat::Integer, Self::of_aggregation)
            }
        }
    }

    fn of_field(view: &View, reference: &FieldRef) -> ColumnFormat {
        match reference.field.kind {
            FieldKind::Json if !reference.path.is_empty() => ColumnFormat::Text,
            FieldKind::Json if view.shows_texts => ColumnFormat::JsonTexts,
            FieldKind::Json => ColumnFormat::RawJson,
            FieldKind::Text => ColumnFormat::Text,
            FieldKind::Time => ColumnFormat::Time,
            FieldKind::Integer => ColumnFormat::Integer,
            FieldKind::Boolean => ColumnFormat::Boolean,
            FieldKind::TextList => ColumnFormat::TextList,
        }
    }

    fn of_aggregation(aggregation: &Aggregation) -> ColumnFormat {
        let of_time = aggregation.argument.as_ref().is_some_and(|argument| argument.field.kind == FieldKind::Time);
        match aggregation.function {
            AggregateFunction::Count | AggregateFunction::CountDistinct => ColumnFormat::Integer,
            AggregateFunction::Min | AggregateFunction::Max if of_time => ColumnFormat::EpochMillis,
            AggregateFunction::Min | AggregateFunction::Max => ColumnFormat::Number,
            AggregateFunction::Sum | AggregateFunction::Avg => ColumnFormat::Number,
        }
    }
}

/// A column of the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) format: ColumnFormat,
    /// Left out of the rows where it is null: the published types of `sum avg min max` and of some fields are not
    /// nullable.
    pub(crate) omit_null: bool,
}

/// The output columns of a query, in order.
pub(crate) fn formats(query: &Query) -> Vec<Column> {
    let omits_null = |expr: &ColumnExpr| match expr {
        ColumnExpr::Field(reference) => reference.field.omit_null,
        ColumnExpr::Group(index) => match query.groups.get(*index) {
            Some(KeyExpr::Field(reference)) => reference.field.omit_null,
            _ => false,
        },
        ColumnExpr::Aggregation(index) => query.aggregations.get(*index).is_some_and(|one| one.function.is_numeric()),
    };
    let column = |column: &super::dsl::OutputColumn| Column {
        name: column.name.clone(),
        format: ColumnFormat::of(query, &column.expr),
        omit_null: omits_null(&column.expr),
    };
    query.columns.iter().map(column).collect()
}

/// Writes the rows of a query as a document of one format.
pub(crate) trait ResultWriter {
    /// Whether the document says how many rows match in all.
    const SHOWS_TOTAL: bool;

    /// What stands before the first row.
    fn open(&self, out: &mut Vec<u8>);

    /// Appends `rows` of a batch whose first columns are the output columns, in order, until `out` has more than
    /// `most_bytes`; gives the row that comes next.
    ///
    /// # Errors
    /// [`QueryError::Internal`] if the batch has other columns or fewer rows; nothing is written then.
    fn write_batch(
        &mut self,
        batch: &RecordBatch,
        out: &mut Vec<u8>,
        rows: Range<usize>,
        most_bytes: usize,
    ) -> Result<usize, QueryError>;

    /// What stands after the last row.
    fn close(&self, out: &mut Vec<u8>, total: u64, page_size: usize);
}

fn check_shape(batch: &RecordBatch, rows: &Range<usize>, columns: usize) -> Result<(), QueryError> {
    if rows.end <= batch.num_rows() && columns <= batch.num_columns() {
        return Ok(());
    }
    Err(QueryError::Internal(format!(
        "rows up to {} and {columns} columns expected, the batch has {} and {}",
        rows.end,
        batch.num_rows(),
        batch.num_columns()
    )))
}

/// Writes rows as JSON objects with commas between them, over any number of batches.
#[derive(Debug)]
pub(crate) struct RowWriter {
    columns: Vec<WriterColumn>,
    rows: usize,
}

#[derive(Debug)]
struct WriterColumn {
    /// `"name":`, escaped once.
    key: Vec<u8>,
    format: ColumnFormat,
    omit_null: bool,
}

impl RowWriter {
    pub(crate) fn new(columns: Vec<Column>) -> Self {
        let column = |column: Column| {
            let mut key = Vec::with_capacity(column.name.len() + 3);
            write_string(&column.name, &mut key);
            key.push(b':');
            WriterColumn { key, format: column.format, omit_null: column.omit_null }
        };
        RowWriter { columns: columns.into_iter().map(column).collect(), rows: 0 }
    }
}

impl ResultWriter for RowWriter {
    const SHOWS_TOTAL: bool = true;

    fn open(&self, out: &mut Vec<u8>) {
        open_envelope(out);
    }

    fn close(&self, out: &mut Vec<u8>, total: u64, page_size: usize) {
        close_envelope(out, total, page_size, self.rows);
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
            .map(|(column, array)| Ok((column, Cells::new(column.format, array.as_ref())?)))
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
            out.push(b'{');
            let mut first = true;
            for (column, cells) in &cells {
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
        Ok(end)
    }
}

/// The response up to its first row.
fn open_envelope(out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"status":"ok","data":{"result":["#);
}

/// The response after its last row. `total` counts all matches, `count` the rows of this response.
fn close_envelope(out: &mut Vec<u8>, total: u64, page_size: usize, count: usize) {
    let end = format!(r#"],"total":{total},"pageSize":{page_size},"count":{count}}}}}"#);
    out.extend_from_slice(end.as_bytes());
}

#[cfg(test)]
mod tests;
