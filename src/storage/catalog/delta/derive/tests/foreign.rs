//! Whether other engines read the derived logs, and leave them alone: `tests/foreign_engines.py` is run on them.

use std::process::Command;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::*;
use crate::environment::Ids;
use crate::storage::objects::durable::DurableLocalStore;

const ROWS: u32 = 8_000;

fn plan(row: u32) -> &'static str {
    if row.is_multiple_of(3) { "pro" } else { "free" }
}

/// Rows `number * ROWS` and the next; the first file has no plan yet.
async fn write_file(store: &Arc<dyn ObjectStore>, number: u32) -> FileEntry {
    let rows = || number * ROWS..(number + 1) * ROWS;
    let times = TimestampMicrosecondArray::from_iter_values(rows().map(|row| NOW.0 * 1000 + i64::from(row)));
    let ids = StringViewArray::from_iter_values(rows().map(|row| format!("e{row:06}")));
    let mut columns: Vec<(&str, ArrayRef)> =
        vec![("id", Arc::new(ids)), ("created_at", Arc::new(times.with_timezone("UTC")))];
    if number > 0 {
        columns.push(("properties_plan", Arc::new(StringViewArray::from_iter_values(rows().map(plan)))));
    }
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    let object = writer.into_inner().unwrap();
    let entry = FileEntry { size: object.len() as u64, ..file("events", u64::from(number) + 1, ROWS) };
    store.put(&Path::from(entry.path.as_str()), object.into()).await.unwrap();
    entry
}

struct Engines<'a> {
    python: &'a str,
    folder: &'a std::path::Path,
}

impl Engines<'_> {
    fn run(&self, arguments: &[&str]) -> Value {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign_engines.py");
        let table = self.folder.join("events");
        let mut command = Command::new(self.python);
        let output = command.arg(script).arg(table).args(["--columns", "id,properties_plan"]).args(arguments).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Of a question with a filter and one without, by all engines.
    fn check(&self, manifest: &Manifest, what: &str) {
        let live = |row: &u32| {
            let file = manifest.tables["events"].files.get(&id(u64::from(row / ROWS) + 1));
            file.is_some_and(|file| !file.deleted.contains(row % ROWS))
        };
        let plan = |row: u32| if row < ROWS { None } else { Some(plan(row)) };
        let rows = || (0..5 * ROWS).filter(live).map(|row| (json!([format!("e{row:06}"), plan(row)]), plan(row)));
        let all: Vec<Value> = rows().map(|(row, _)| row).collect();
        let pro: Vec<Value> = rows().filter(|(_, plan)| *plan == Some("pro")).map(|(row, _)| row).collect();
        for (arguments, expected) in [(&[][..], all), (&["--where", "properties_plan = 'pro'"], pro)] {
            let answer = self.run(arguments);
            for (engine, found) in answer.as_object().unwrap() {
                let found = found.as_array().unwrap();
                let wrong = found.iter().zip(&expected).find(|(found, expected)| found != expected);
                assert!(wrong.is_none(), "{what}: {engine}: {wrong:?}");
                assert_eq!(found.len(), expected.len(), "{what}: {engine}: {arguments:?}");
            }
            assert!(answer.as_object().unwrap().len() >= 2, "{what}: {answer}");
        }
    }
}

/// Skips visibly without `CONVOLAKE_PYTHON`, a Python with deltalake and polars; `.ci/run` makes one.
#[tokio::test]
async fn other_engines_read_the_table_and_may_not_write() {
    let Ok(python) = std::env::var("CONVOLAKE_PYTHON") else {
        println!("SKIPPED: CONVOLAKE_PYTHON names no Python with deltalake and polars");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let engines = Engines { python: &python, folder: folder.path() };
    let store: Arc<dyn ObjectStore> = Arc::new(DurableLocalStore::open(folder.path(), Ids::system()).unwrap());
    let mut logs = logs(&store);
    let add = |entries: Vec<FileEntry>| TableEdit { add: entries, ..TableEdit::default() };
    let mut manifest = after(&Arc::default(), edit("events", add(vec![write_file(&store, 0).await])));
    derive(&mut logs, &manifest).await;
    let mut wider = add(Vec::new());
    for number in 1..4 {
        wider.add.push(write_file(&store, number).await);
    }
    wider.columns = vec![column("properties_plan", &["plan"])];
    manifest = after(&manifest, edit("events", wider));
    derive(&mut logs, &manifest).await;
    engines.check(&manifest, "a column that an older file lacks");

    let scattered: Vec<u32> = (0..ROWS).filter(|row| row.wrapping_mul(2_654_435_761).is_multiple_of(3)).collect();
    let mut deletions = TableEdit { deletions: deletes(1, 2, [3, ROWS - 1]), ..TableEdit::default() };
    deletions.deletions.extend(deletes(2, scattered.len() as u64, scattered.clone()));
    deletions.deletions.extend(deletes(3, scattered.len() as u64, scattered));
    deletions.deletions.extend(deletes(4, 7_400, 100..7_500));
    manifest = after(&manifest, edit("events", deletions));
    derive(&mut logs, &manifest).await;
    let log = read(&store, "events").await;
    let vectors = log.state().files.values().filter_map(|add| add.deletion_vector.as_ref());
    let vectors: Vec<(&str, Option<i32>)> =
        vectors.map(|vector| (vector.storage_type.as_str(), vector.offset)).collect();
    assert!(matches!(vectors[..], [("i", None), ("u", Some(1)), ("u", Some(2..)), ("i", None)]), "{vectors:?}");
    engines.check(&manifest, "vectors in the commit and in a file of several");

    let refused = engines.run(&["--change"])["refused"].clone();
    for change in ["append", "compact", "delete", "vacuum"] {
        let told = refused[change].as_str().unwrap_or_default();
        assert!(told.contains("convolakeDerived"), "{change} is not refused: {told:?}");
    }
    derive(&mut self::logs(&store), &manifest).await;
    assert_told(&store, &manifest, "after other engines tried").await;
    engines.check(&manifest, "after other engines tried");

    // A commit in the middle is gone, so that nobody can read any version.
    store.delete(&Path::from("events/_delta_log/00000000000000000001.json")).await.unwrap();
    derive(&mut self::logs(&store), &manifest).await;
    engines.check(&manifest, "a log that starts over");
    let mut merged = add(vec![write_file(&store, 4).await]);
    merged.remove = vec![id(2)];
    manifest = after(&manifest, edit("events", merged));
    derive(&mut self::logs(&store), &manifest).await;
    engines.check(&manifest, "a log that has started over");
    store.delete(&Path::from("events/_delta_log/_last_checkpoint")).await.unwrap();
    engines.check(&manifest, "a log that has started over, without its hint");
}
