//! Whether other engines read the tables: `tests/foreign_readers.py` is run on a store made here.

use std::process::Command;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListBuilder, RecordBatch, StringViewArray,
    StringViewBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::deletion_vector;
use super::tests::NOW;
use super::*;
use crate::environment::Ids;
use crate::storage::format::layout::{ColumnKind, JsonField, PropertyColumn};
use crate::storage::objects::durable::DurableLocalStore;

const ROWS: u32 = 20_000;
const SCORE: &str = "properties_a_u2e_b_score_number";

fn columns(with_score: bool) -> Vec<TableColumn> {
    let mut columns = vec![
        TableColumn::new("id", DeltaType::String),
        TableColumn::new("created_at", DeltaType::Timestamp),
        TableColumn::new("message_count", DeltaType::Long),
        TableColumn::new("position", DeltaType::Integer),
        TableColumn::new("is_end", DeltaType::Boolean),
        TableColumn::new("tags", DeltaType::StringList),
        TableColumn::new("properties_remainder", DeltaType::String),
    ];
    if with_score {
        let path = vec!["a.b".to_owned(), "score".to_owned()];
        let kind = ColumnKind::Number;
        let column = PropertyColumn { field: JsonField::Properties, path, kind, name: SCORE.to_owned() };
        columns.push(TableColumn::of_property(&column));
    }
    columns
}

/// Rows `first..first + ROWS`. The column `_row` is in no schema.
fn batch(first: u32, with_score: bool) -> RecordBatch {
    let rows = || first..first + ROWS;
    let mut tags =
        ListBuilder::new(StringViewBuilder::new()).with_field(Field::new("element", DataType::Utf8View, true));
    for row in rows() {
        if row % 3 != 0 {
            tags.values().append_value(format!("t{}", row % 5));
        }
        tags.append(row % 7 != 0 || row % 3 != 0);
    }
    let times = TimestampMicrosecondArray::from_iter_values(rows().map(|row| (NOW.0 + i64::from(row)) * 1000));
    let remainders = rows().map(|row| (row % 2 == 0).then_some("{\"x\":null}"));
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(StringViewArray::from_iter_values(rows().map(|row| format!("c{row:06}"))))),
        ("created_at", Arc::new(times.with_timezone("UTC"))),
        ("message_count", Arc::new(Int64Array::from_iter_values(rows().map(i64::from)))),
        ("position", Arc::new(Int32Array::from_iter_values(rows().map(|row| row as i32 % 9)))),
        ("is_end", Arc::new(BooleanArray::from_iter(rows().map(|row| Some(row % 2 == 1))))),
        ("tags", Arc::new(tags.finish())),
        ("properties_remainder", Arc::new(StringViewArray::from_iter(remainders))),
        ("_row", Arc::new(Int32Array::from_iter_values(0..ROWS as i32))),
    ];
    if with_score {
        columns.push((SCORE, Arc::new(Float64Array::from_iter(rows().map(score)))));
    }
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn score(row: u32) -> Option<f64> {
    (row % 4 != 1).then(|| f64::from(row) / 4.0)
}

async fn file(log: &TableLog, name: &str, first: u32, with_score: bool) -> Add {
    let batch = batch(first, with_score);
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let object = writer.into_inner().unwrap();
    let size = object.len() as u64;
    log.environment.objects.put(&log.file_path(name), object.into()).await.unwrap();
    let id = |row: u32| json!(format!("c{row:06}"));
    let time = |row: u32| {
        let time = jiff::Timestamp::from_millisecond(NOW.0 + i64::from(row)).unwrap();
        json!(format!("{time:.3}"))
    };
    let last = first + ROWS - 1;
    let statistics = FileStatistics {
        num_records: u64::from(ROWS),
        min_values: [("id".to_owned(), id(first)), ("created_at".to_owned(), time(first))].into_iter().collect(),
        max_values: [("id".to_owned(), id(last)), ("created_at".to_owned(), time(last))].into_iter().collect(),
        null_count: [("id".to_owned(), 0), ("created_at".to_owned(), 0)].into(),
        tight_bounds: true,
    };
    let tags = [("convolake.layout".to_owned(), Some("{\"columns\":[]}".to_owned()))].into();
    Add::new(name.to_owned(), size, &statistics, tags, NOW)
}

/// A commit that marks `rows` of a file, counted within it, as deleted.
async fn delete_rows(log: &mut TableLog, name: &str, rows: impl Iterator<Item = u32>) {
    let vector = deletion_vector::write(&log.environment, log.root(), &rows.collect()).await.unwrap();
    let actions = log.state().files[name].replace_deletions(vector, NOW);
    log.commit(actions.into(), NOW).await.unwrap();
}

fn deleted(row: u32) -> bool {
    let within = row % ROWS;
    match row / ROWS {
        0 => within == 3 || within == ROWS - 1,
        1 => within.wrapping_mul(2_654_435_761) % 3 == 0,
        2 => (100..19_000).contains(&within),
        _ => false,
    }
}

async fn write_table(store: Arc<dyn ObjectStore>) -> TableLog {
    let mut log =
        TableLog::create(Environment::of_test(store), Path::from("conversations"), &columns(false), NOW).await.unwrap();
    let first = file(&log, "data/0.parquet", 0, false).await;
    log.commit(vec![Action::Add(first)], NOW).await.unwrap();
    let meta_data = log.state().meta_data.as_ref().unwrap().with_columns(&columns(true));
    let mut actions = vec![Action::MetaData(meta_data)];
    for number in 1..4 {
        let name = format!("data/{number}.parquet");
        actions.push(Action::Add(file(&log, &name, number * ROWS, true).await));
    }
    log.commit(actions, NOW).await.unwrap();
    for number in 0..3 {
        let name = format!("data/{number}.parquet");
        delete_rows(&mut log, &name, std::iter::once(50)).await;
        delete_rows(&mut log, &name, (0..ROWS).filter(|row| deleted(number * ROWS + row))).await;
    }
    let kinds: Vec<String> = log
        .state()
        .files
        .values()
        .filter_map(|add| add.deletion_vector.as_ref().map(|vector| vector.storage_type.clone()))
        .collect();
    assert_eq!(kinds, ["i", "u", "i"], "both kinds of vectors are tested");
    log
}

fn run(python: &str, folder: &std::path::Path) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign_readers.py");
    let columns = format!("id,created_at,message_count,is_end,tags,properties_remainder,{SCORE}");
    let output = Command::new(python).arg(script).arg(folder).args(["--columns", &columns]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn expected() -> Vec<Value> {
    let row = |row: u32| {
        let time = jiff::Timestamp::from_millisecond(NOW.0 + i64::from(row)).unwrap();
        let tags = match (row % 3 != 0, row % 7 != 0) {
            (true, _) => json!([format!("t{}", row % 5)]),
            (false, true) => json!([]),
            (false, false) => Value::Null,
        };
        let score = if row < ROWS { None } else { score(row) };
        let remainder = (row % 2 == 0).then_some("{\"x\":null}");
        json!({
            "id": format!("c{row:06}"),
            "created_at": format!("{time:.3}"),
            "message_count": row,
            "is_end": row % 2 == 1,
            "tags": tags,
            "properties_remainder": remainder,
            SCORE: score,
        })
    };
    (0..4 * ROWS).filter(|number| !deleted(*number)).map(row).collect()
}

/// Skips visibly without `CONVOLAKE_PYTHON`, a Python with both; `.ci/run` makes one.
#[tokio::test]
async fn deltalake_and_polars_read_the_table() {
    let Ok(python) = std::env::var("CONVOLAKE_PYTHON") else {
        println!("SKIPPED: CONVOLAKE_PYTHON names no Python with deltalake and polars");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(DurableLocalStore::open(folder.path(), Ids::system()).unwrap());
    let mut log = write_table(store).await;
    let expected = expected();
    let check = |what: &str| {
        let answer = run(&python, folder.path());
        for engine in ["deltalake", "polars"] {
            let table = &answer["conversations"][engine];
            assert_eq!(table["rows"], expected.len(), "{what}: {engine}");
            let found = table["data"].as_array().unwrap();
            let wrong = found.iter().zip(&expected).find(|(found, expected)| found != expected);
            assert!(wrong.is_none() && found.len() == expected.len(), "{what}: {engine}: {wrong:?}");
        }
    };
    check("commits only");
    log.write_checkpoint(NOW).await.unwrap();
    check("checkpoint and commits");
    let last = log.state().files["data/3.parquet"].to_remove(NOW);
    log.commit(vec![Action::Remove(last)], NOW).await.unwrap();
    let back = file(&log, "data/4.parquet", 3 * ROWS, true).await;
    log.commit(vec![Action::Add(back)], NOW).await.unwrap();
    check("checkpoint and later commits");
    assert_eq!(log.delete_old_log(EpochMillis(i64::MAX)).await.unwrap(), 8);
    check("checkpoint without the commits before it");
}
