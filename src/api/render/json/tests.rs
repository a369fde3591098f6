use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, ListBuilder, NullArray, RecordBatch, RecordBatchOptions,
    StringArray, StringViewArray, StringViewBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::Schema;

use super::*;

const AUGUST_26: i64 = 1_724_630_400_000;

fn column(name: &str, kind: ResultKind, omit_null: bool) -> ResultColumn {
    ResultColumn { omit_null, ..ResultColumn::new(name, kind) }
}

fn render_one(kind: ResultKind, omit_null: bool, array: ArrayRef) -> Result<String, QueryError> {
    let batch = RecordBatch::try_from_iter_with_nullable([("c", array, true)]).expect("batch");
    let mut writer = JsonRows::new(Envelope::Report);
    writer.open(&[column("c", kind, omit_null)], &mut Vec::new())?;
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
    let cases: Vec<(ResultKind, bool, ArrayRef, &str)> = vec![
        (
            ResultKind::Text,
            false,
            Arc::new(StringViewArray::from(vec![Some("a\n"), None])),
            r#"{"c":"a\n"},{"c":null}"#,
        ),
        (ResultKind::Text, false, Arc::new(StringArray::from(vec!["x"])), r#"{"c":"x"}"#),
        (
            ResultKind::Json,
            false,
            Arc::new(StringViewArray::from(vec![Some(r#"{"a":1.10}"#), None])),
            r#"{"c":{"a":1.10}},{"c":null}"#,
        ),
        (
            ResultKind::Time,
            false,
            utc(times()),
            r#"{"c":"2024-08-26T00:00:00.000Z"},{"c":null},{"c":"1969-12-31T23:59:59.999Z"}"#,
        ),
        (ResultKind::EpochMillis, true, utc(times()), r#"{"c":1724630400000},{},{"c":-1}"#),
        (
            ResultKind::EpochMillis,
            true,
            Arc::new(Float64Array::from(vec![1_724_630_400_000.0])),
            r#"{"c":1724630400000}"#,
        ),
        (ResultKind::EpochMillis, true, Arc::new(Int64Array::from(vec![5])), r#"{"c":5}"#),
        (ResultKind::Integer, false, Arc::new(Int64Array::from(vec![Some(-7), None])), r#"{"c":-7},{"c":null}"#),
        (
            ResultKind::Number,
            true,
            Arc::new(Float64Array::from(vec![Some(2.0), None, Some(0.5), Some(f64::INFINITY), Some(f64::NAN)])),
            r#"{"c":2},{},{"c":0.5},{},{}"#,
        ),
        (ResultKind::Number, false, Arc::new(Int64Array::from(vec![3])), r#"{"c":3}"#),
        (
            ResultKind::Boolean,
            false,
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
            r#"{"c":true},{"c":false},{"c":null}"#,
        ),
        (
            ResultKind::TextList,
            false,
            lists(),
            r#"{"c":["a","a \"long\" tag that does not fit a view"]},{"c":null},{"c":[null]},{"c":[]}"#,
        ),
        (ResultKind::Text, false, Arc::new(NullArray::new(2)), r#"{"c":null},{"c":null}"#),
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
    let cases: Vec<(ResultKind, ArrayRef)> = vec![
        (ResultKind::Text, Arc::new(Int64Array::from(vec![1]))),
        (ResultKind::Time, Arc::new(Int64Array::from(vec![1]))),
        (ResultKind::Integer, Arc::new(Float64Array::from(vec![1.0]))),
        (ResultKind::Boolean, Arc::new(StringArray::from(vec!["true"]))),
        (ResultKind::TextList, Arc::new(StringArray::from(vec!["a"]))),
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
    let columns = vec![column("properties.\"q\"", ResultKind::Text, false), column("sum_x", ResultKind::Number, true)];
    let mut writer = JsonRows::new(Envelope::Query { lists_columns: false, page_size: 3 });
    let mut out = Vec::new();
    writer.open(&columns, &mut out).expect("opened");
    writer.write_batch(&batch, &mut out, 1..3, usize::MAX).expect("written");
    writer.write_batch(&batch, &mut out, 2..2, usize::MAX).expect("written");
    writer.write_batch(&batch.slice(1, 1), &mut out, 0..1, usize::MAX).expect("written");
    assert!(writer.write_batch(&batch, &mut out, 2..4, usize::MAX).is_err());
    writer.close(End { total: Some(9), totals: None }, &mut out).unwrap();
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
    JsonRows::new(Envelope::Report).write_batch(&batch, &mut out, 0..2, usize::MAX).expect("written");
    assert_eq!(out, b"{},{}");
    let mut wanting = JsonRows::new(Envelope::Report);
    wanting.open(&[column("c", ResultKind::Text, false)], &mut Vec::new()).expect("opened");
    assert!(wanting.write_batch(&batch, &mut out, 0..2, usize::MAX).is_err());
}

#[test]
fn a_report_and_a_list() {
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "b\"\u{1}"]));
    let batch = RecordBatch::try_from_iter_with_nullable([("results", texts, true)]).expect("batch");
    let columns = [column("results", ResultKind::Text, false)];
    let written = |encoder: &mut dyn Encoder, total| {
        let mut out = Vec::new();
        encoder.open(&columns, &mut out).expect("opened");
        let next = encoder.write_batch(&batch, &mut out, 0..2, 0).expect("written");
        encoder.write_batch(&batch, &mut out, next..2, usize::MAX).expect("written");
        encoder.close(End { total, totals: None }, &mut out).unwrap();
        String::from_utf8(out).expect("UTF-8")
    };
    let mut report = JsonRows::new(Envelope::Report);
    assert_eq!(
        written(&mut report, Some(2)),
        r#"{"data":{"result":[{"results":"a"},{"results":"b\"\u0001"}],"total":2}}"#
    );
    assert_eq!(written(&mut JsonList::default(), None), r#"{"results":["a","b\"\u0001"]}"#);
    assert_eq!(first_row(&columns, &batch).expect("a row"), br#"{"results":"a"}"#);
}
