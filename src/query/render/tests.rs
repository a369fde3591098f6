use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListBuilder, NullArray, RecordBatch, RecordBatchOptions,
    StringArray, StringViewArray, StringViewBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::Schema;

use super::*;
use crate::query::check::check;
use crate::query::view::CONVERSATIONS;

const AUGUST_26: i64 = 1_724_630_400_000;

fn column(name: &str, format: ColumnFormat, omit_null: bool) -> Column {
    Column { name: name.to_owned(), format, omit_null }
}

fn render_one(format: ColumnFormat, omit_null: bool, array: ArrayRef) -> Result<String, QueryError> {
    let batch = RecordBatch::try_from_iter_with_nullable([("c", array, true)]).expect("batch");
    let mut writer = RowWriter::new(vec![column("c", format, omit_null)]);
    let mut out = Vec::new();
    writer.write_batch(&batch, &mut out, 0..batch.num_rows(), usize::MAX)?;
    assert_eq!(writer.rows, batch.num_rows());
    Ok(String::from_utf8(out).expect("UTF-8"))
}

fn lists() -> ArrayRef {
    let mut builder = ListBuilder::new(StringViewBuilder::new());
    builder.append_value([Some("a"), Some("a \"long\" tag that does not fit a view")]);
    builder.append_null();
    builder.append_value([None::<&str>]);
    builder.append_value(Vec::<Option<&str>>::new());
    Arc::new(builder.finish())
}

#[test]
fn every_format() {
    let utc = |array: TimestampMicrosecondArray| Arc::new(array.with_timezone("UTC")) as ArrayRef;
    let times = || TimestampMicrosecondArray::from(vec![Some(AUGUST_26 * 1_000), None, Some(-1)]);
    let cases: Vec<(ColumnFormat, bool, ArrayRef, &str)> = vec![
        (
            ColumnFormat::Text,
            false,
            Arc::new(StringViewArray::from(vec![Some("a\n"), None])),
            r#"{"c":"a\n"},{"c":null}"#,
        ),
        (ColumnFormat::Text, false, Arc::new(StringArray::from(vec!["x"])), r#"{"c":"x"}"#),
        (
            ColumnFormat::RawJson,
            false,
            Arc::new(StringViewArray::from(vec![Some(r#"{"a":1.10}"#), None])),
            r#"{"c":{"a":1.10}},{"c":null}"#,
        ),
        (
            ColumnFormat::Time,
            false,
            utc(times()),
            r#"{"c":"2024-08-26T00:00:00.000Z"},{"c":null},{"c":"1969-12-31T23:59:59.999Z"}"#,
        ),
        (ColumnFormat::EpochMillis, true, utc(times()), r#"{"c":1724630400000},{},{"c":-1}"#),
        (
            ColumnFormat::EpochMillis,
            true,
            Arc::new(Float64Array::from(vec![1_724_630_400_000.0])),
            r#"{"c":1724630400000}"#,
        ),
        (ColumnFormat::EpochMillis, true, Arc::new(Int64Array::from(vec![5])), r#"{"c":5}"#),
        (ColumnFormat::Integer, false, Arc::new(Int64Array::from(vec![Some(-7), None])), r#"{"c":-7},{"c":null}"#),
        (
            ColumnFormat::Number,
            true,
            Arc::new(Float64Array::from(vec![Some(2.0), None, Some(0.5), Some(f64::INFINITY), Some(f64::NAN)])),
            r#"{"c":2},{},{"c":0.5},{},{}"#,
        ),
        (ColumnFormat::Number, false, Arc::new(Int64Array::from(vec![3])), r#"{"c":3}"#),
        (
            ColumnFormat::Boolean,
            false,
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
            r#"{"c":true},{"c":false},{"c":null}"#,
        ),
        (
            ColumnFormat::TextList,
            false,
            lists(),
            r#"{"c":["a","a \"long\" tag that does not fit a view"]},{"c":null},{"c":[null]},{"c":[]}"#,
        ),
        (ColumnFormat::Text, false, Arc::new(NullArray::new(2)), r#"{"c":null},{"c":null}"#),
    ];
    for (format, omit_null, array, expected) in cases {
        assert_eq!(render_one(format, omit_null, Arc::clone(&array)).expect("rendered"), expected, "{format:?}");
        // A slice of a longer array shows the same rows.
        let halves: Vec<String> = [array.slice(0, 1), array.slice(1, array.len() - 1)]
            .into_iter()
            .map(|slice| render_one(format, omit_null, slice).expect("rendered"))
            .filter(|rows| !rows.is_empty())
            .collect();
        assert_eq!(halves.join(","), expected, "{format:?} in slices");
    }
}

#[test]
fn mismatches_are_errors() {
    let cases: Vec<(ColumnFormat, ArrayRef)> = vec![
        (ColumnFormat::Text, Arc::new(Int64Array::from(vec![1]))),
        (ColumnFormat::Time, Arc::new(Int64Array::from(vec![1]))),
        (ColumnFormat::Integer, Arc::new(Float64Array::from(vec![1.0]))),
        (ColumnFormat::Boolean, Arc::new(StringArray::from(vec!["true"]))),
        (ColumnFormat::TextList, Arc::new(StringArray::from(vec!["a"]))),
    ];
    for (format, array) in cases {
        assert!(matches!(render_one(format, false, array), Err(QueryError::Internal(_))), "{format:?}");
    }
}

#[test]
fn rows_over_several_batches() {
    let names: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b", "c"]));
    let sums: ArrayRef = Arc::new(Float64Array::from(vec![None, Some(1.5), None]));
    let batch = RecordBatch::try_from_iter_with_nullable([("x", names, true), ("y", sums, true)]).expect("batch");
    let columns =
        vec![column("properties.\"q\"", ColumnFormat::Text, false), column("sum_x", ColumnFormat::Number, true)];
    let mut writer = RowWriter::new(columns);
    let mut out = Vec::new();
    open_envelope(&mut out);
    writer.write_batch(&batch, &mut out, 1..3, usize::MAX).expect("written");
    writer.write_batch(&batch, &mut out, 2..2, usize::MAX).expect("written");
    writer.write_batch(&batch.slice(1, 1), &mut out, 0..1, usize::MAX).expect("written");
    assert!(writer.write_batch(&batch, &mut out, 2..4, usize::MAX).is_err());
    close_envelope(&mut out, 9, 3, writer.rows);
    assert_eq!(
        String::from_utf8(out).expect("UTF-8"),
        concat!(
            r#"{"status":"ok","data":{"result":["#,
            r#"{"properties.\"q\"":"b","sum_x":1.5},{"properties.\"q\"":"c"},{"properties.\"q\"":"b","sum_x":1.5}"#,
            r#"],"total":9,"pageSize":3,"count":3}}"#
        )
    );
}

#[test]
fn rows_without_columns() {
    let options = RecordBatchOptions::new().with_row_count(Some(2));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).expect("batch");
    let mut out = Vec::new();
    RowWriter::new(vec![]).write_batch(&batch, &mut out, 0..2, usize::MAX).expect("written");
    assert_eq!(out, b"{},{}");
    let mut wanting = RowWriter::new(vec![column("c", ColumnFormat::Text, false)]);
    assert!(wanting.write_batch(&batch, &mut out, 0..2, usize::MAX).is_err());
}

#[test]
fn formats_of_columns() {
    let shown = |body: &str| -> Vec<(String, ColumnFormat, bool)> {
        let query = check(&CONVERSATIONS, body.as_bytes()).expect("valid");
        formats(&query).into_iter().map(|column| (column.name, column.format, column.omit_null)).collect()
    };
    let expected = |columns: &[(&str, ColumnFormat, bool)]| -> Vec<(String, ColumnFormat, bool)> {
        columns.iter().map(|(name, format, omit)| ((*name).to_owned(), *format, *omit)).collect()
    };
    assert_eq!(
        shown("{}"),
        expected(&[
            ("id", ColumnFormat::Text, false),
            ("userMessageCount", ColumnFormat::Integer, false),
            ("organizationId", ColumnFormat::Text, false),
            ("projectId", ColumnFormat::Text, false),
            ("integrationId", ColumnFormat::Text, false),
            ("firstMessageTime", ColumnFormat::Time, false),
            ("type", ColumnFormat::Text, false),
            ("properties", ColumnFormat::RawJson, false),
            ("userProperties", ColumnFormat::RawJson, false),
        ])
    );
    assert_eq!(
        shown(
            r#"{"select":[
                {"type":"time","timeUnit":"week"},
                {"type":"aggregation","aggregation":"count"},
                {"type":"aggregation","aggregation":"countDistinct","field":"id"},
                {"type":"aggregation","aggregation":"sum","field":"firstMessageTime"},
                {"type":"aggregation","aggregation":"avg","field":"properties","path":["score"]},
                {"type":"aggregation","aggregation":"min","field":"createdAt"},
                {"type":"aggregation","aggregation":"max","field":"messageCount"}],
               "groupBy":[{"field":"properties","path":["plan"]},{"field":"tags"},{"field":"isEnd"}]}"#
        ),
        expected(&[
            ("firstMessageTime_week", ColumnFormat::Time, false),
            ("count", ColumnFormat::Integer, false),
            ("countDistinct_id", ColumnFormat::Integer, false),
            ("sum_firstMessageTime", ColumnFormat::Number, true),
            ("avg_properties.score", ColumnFormat::Number, true),
            ("min_createdAt", ColumnFormat::EpochMillis, true),
            ("max_messageCount", ColumnFormat::Number, true),
            ("properties.plan", ColumnFormat::Text, false),
            ("tags", ColumnFormat::TextList, false),
            ("isEnd", ColumnFormat::Boolean, false),
        ])
    );
}
