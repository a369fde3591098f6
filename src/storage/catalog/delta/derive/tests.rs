use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;

use super::*;
use crate::storage::catalog::commit::tests::{NOW, adds, column, deletes, edit, file, id};
use crate::storage::catalog::commit::{Commit, DeletionEdit, Edit, Epoch, FileEntry, FileId, RowSet, TableEdit};
use crate::storage::catalog::delta::actions::Action;
use crate::storage::catalog::delta::deletion_vector;
use crate::storage::catalog::delta::schema::{DeltaType, TableColumn};
use crate::storage::catalog::line::{CommitLine, CommitWriter, Evidence, Writer};
use crate::storage::catalog::manifest::tests::commit;
use crate::storage::format::hex::Checksum;
use crate::storage::objects::faulty::{Fault, FlakyStore};

mod damage;
mod foreign;

const STORE: StoreId = StoreId(5);

/// Each event has three details, one after the other.
struct Details;

#[async_trait]
impl SiblingRows for Details {
    async fn rows(
        &self,
        table: &str,
        file: &FileEntry,
        deleted: &RoaringBitmap,
    ) -> Result<RoaringBitmap, Box<dyn std::error::Error + Send + Sync>> {
        assert!(file.path.starts_with("details/") && table == "details");
        Ok(deleted.iter().flat_map(|row| row * 3..row * 3 + 3).collect())
    }
}

fn tables() -> Vec<DeltaTable> {
    let plain = |name: &str, data_type| TableColumn::new(name, data_type);
    let events = DeltaTable {
        name: "events".to_owned(),
        plain_columns: vec![plain("id", DeltaType::String), plain("created_at", DeltaType::Timestamp)],
        time_column: Some("created_at".to_owned()),
        owner: None,
    };
    let details = DeltaTable {
        name: "details".to_owned(),
        plain_columns: vec![plain("id", DeltaType::String)],
        time_column: None,
        owner: Some("events".to_owned()),
    };
    let feedback = DeltaTable { name: "feedback".to_owned(), ..events.clone() };
    vec![events, details, feedback]
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

fn logs(store: &Arc<dyn ObjectStore>) -> DerivedLogs {
    DerivedLogs::new(Environment::of_test(Arc::clone(store)), STORE, Arc::new(Details))
}

async fn derive(logs: &mut DerivedLogs, manifest: &Arc<Manifest>) {
    logs.derive(manifest, &tables(), NOW).await.unwrap();
}

/// The manifest after one more commit.
fn after(manifest: &Arc<Manifest>, edit: Edit) -> Arc<Manifest> {
    let next = commit(manifest, edit);
    Arc::new(manifest.apply(&next, Checksum(u128::from(next.number.0))).unwrap())
}

/// Files of 100 rows in `events`, of 300 in `details`.
fn both(numbers: impl IntoIterator<Item = u64> + Clone) -> Edit {
    let mut both = adds("events", []);
    for (table, rows) in [("events", 100), ("details", 300)] {
        let add = numbers.clone().into_iter().map(|number| file(table, number, rows)).collect();
        both.tables.insert(table.to_owned(), TableEdit { add, ..TableEdit::default() });
    }
    both
}

fn deleting(number: u64, total: u64, rows: impl IntoIterator<Item = u32>) -> Edit {
    edit("events", TableEdit { deletions: deletes(number, total, rows), ..TableEdit::default() })
}

async fn names(store: &Arc<dyn ObjectStore>) -> Vec<String> {
    let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
    let mut names: Vec<String> = objects.into_iter().map(|object| object.location.to_string()).collect();
    names.sort();
    names
}

async fn read(store: &Arc<dyn ObjectStore>, table: &str) -> TableLog {
    TableLog::open(Environment::of_test(Arc::clone(store)), Path::from(table)).await.unwrap().unwrap()
}

/// The logs say what the manifest says: to the reader of this crate, and beside it to the rows of their vectors.
async fn assert_told(store: &Arc<dyn ObjectStore>, manifest: &Arc<Manifest>, what: &str) {
    for table in tables() {
        let log = read(store, &table.name).await;
        let expected = Expected::new(STORE, manifest, &table).unwrap();
        let state = log.state();
        assert_eq!(state.protocol, Some(expected.protocol()), "{what}");
        let meta_data = state.meta_data.as_ref().unwrap();
        assert_eq!(**meta_data, expected.meta_data(meta_data.created_time), "{what}");
        assert!(state.files.keys().eq(expected.files.keys()), "{what}: {:?}", state.files.keys());
        for (path, stored) in &expected.files {
            let add = &state.files[path];
            assert!(expected.is_told(stored, add).unwrap(), "{what}: {add:?}");
            let rows = news::deleted_rows(&expected, stored, &Details).await.unwrap();
            let told = match &add.deletion_vector {
                Some(vector) => deletion_vector::read(store.as_ref(), log.root(), vector).await.unwrap(),
                None => RoaringBitmap::new(),
            };
            assert_eq!(told, rows, "{what}: {path}");
        }
    }
}

fn since(before: &[String], after: &[String]) -> Vec<String> {
    after.iter().filter(|name| !before.contains(name)).cloned().collect()
}

#[tokio::test]
async fn a_table_without_news_gets_no_object() {
    let store = memory();
    let mut logs = logs(&store);
    let mut manifest = after(&Arc::default(), both([1, 2]));
    derive(&mut logs, &manifest).await;
    let first = |table: &str| format!("{table}/_delta_log/00000000000000000000.json");
    assert_eq!(names(&store).await, ["details", "events", "feedback"].map(first), "every table is there");
    assert_told(&store, &manifest, "the first version").await;

    let version = |table: &str, version: u64| format!("{table}/_delta_log/{version:020}.json");
    let steps = [
        (Edit::default(), vec![]),
        (adds("feedback", [7]), vec![version("feedback", 1)]),
        (deleting(1, 2, [3, 5]), vec![version("details", 1), version("events", 1)]),
        (both([3]), vec![version("details", 2), version("events", 2)]),
        (
            deleting(1, 100, (0..100).filter(|row| ![3, 5].contains(row))),
            vec![version("details", 3), version("events", 3)],
        ),
        (
            edit("events", TableEdit { columns: vec![column("properties_plan", &["plan"])], ..TableEdit::default() }),
            // A table with an owner has none of its property columns.
            vec![version("events", 4)],
        ),
    ];
    for (step, expected) in steps {
        let before = names(&store).await;
        manifest = after(&manifest, step.clone());
        derive(&mut logs, &manifest).await;
        assert_eq!(since(&before, &names(&store).await), expected, "{step:?}");
        assert_told(&store, &manifest, "a step").await;
    }
    let before = names(&store).await;
    derive(&mut self::logs(&store), &manifest).await;
    assert_eq!(names(&store).await, before, "after a restart nothing is new");
    let log = read(&store, "events").await;
    assert_eq!((log.state().number_of("convolake.commit"), log.state().number_of("convolake.epoch")), (7, 0));
}

#[tokio::test]
async fn several_commits_are_told_at_once() {
    let store = memory();
    let mut logs = logs(&store);
    let mut manifest = after(&Arc::default(), both([1, 2]));
    derive(&mut logs, &manifest).await;
    let mut merged = both([3]);
    for changes in merged.tables.values_mut() {
        changes.remove = vec![id(1), id(2)];
    }
    let mut with_column = both([4]);
    with_column.tables.get_mut("events").unwrap().columns = vec![column("properties_plan", &["plan"])];
    for step in [deleting(1, 1, [9]), merged, deleting(3, 2, [0, 1]), with_column] {
        manifest = after(&manifest, step);
    }
    let before = names(&store).await;
    derive(&mut logs, &manifest).await;
    assert_eq!(since(&before, &names(&store).await).len(), 2);
    assert_told(&store, &manifest, "four commits").await;
    let text = store.get(&Path::from("events/_delta_log/00000000000000000001.json")).await.unwrap();
    let text = String::from_utf8(text.bytes().await.unwrap().to_vec()).unwrap();
    let kinds = ["commitInfo", "metaData", "remove", "remove", "add", "add", "txn", "txn"];
    let found: Vec<&str> = text.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(found, kinds, "columns come with the files that have them");
}

/// What a log tells of rows outlives them.
#[tokio::test]
async fn a_log_tells_counts_and_times_only() {
    let store = memory();
    let manifest = after(&after(&Arc::default(), both([1])), deleting(1, 1, [4]));
    derive(&mut logs(&store), &manifest).await;
    let log = read(&store, "events").await;
    let add = log.state().files.values().next().unwrap();
    assert_eq!(
        add.stats.as_deref().unwrap(),
        r#"{"numRecords":100,"minValues":{"created_at":"2023-11-14T22:13:20.000Z"},"maxValues":{"created_at":"2023-11-14T22:13:20.005Z"},"nullCount":{},"tightBounds":false}"#
    );
    assert_eq!((add.tags.as_ref(), add.modification_time), (None, NOW.0));
    let details = read(&store, "details").await;
    let add = details.state().files.values().next().unwrap();
    assert_eq!(add.statistics().unwrap().min_values.len(), 0);
}

#[tokio::test]
async fn many_deleted_rows_take_one_file() {
    let store = memory();
    let mut logs = logs(&store);
    let mut wide = both([]);
    for number in 1..=8 {
        wide.tables.get_mut("events").unwrap().add.push(file("events", number, 1_000_000));
        wide.tables.get_mut("details").unwrap().add.push(file("details", number, 3_000_000));
    }
    let mut manifest = after(&Arc::default(), wide);
    derive(&mut logs, &manifest).await;
    let mut deletions = TableEdit::default();
    for number in 1..=8u32 {
        let rows: Vec<u32> = (number..1_000_000).step_by(if number < 6 { 97 } else { 9_973 }).collect();
        deletions.deletions.extend(deletes(u64::from(number), rows.len() as u64, rows));
    }
    manifest = after(&manifest, edit("events", deletions));
    let before = names(&store).await;
    derive(&mut logs, &manifest).await;
    let new = since(&before, &names(&store).await);
    assert_eq!(new.len(), 4, "a commit and a file of vectors for each of two tables: {new:?}");
    assert_told(&store, &manifest, "vectors in a file").await;
    assert_eq!(logs.vector_files().unwrap().len(), 2);
    let log = read(&store, "events").await;
    let kinds: Vec<&str> = log
        .state()
        .files
        .values()
        .filter_map(|add| add.deletion_vector.as_ref().map(|vector| vector.storage_type.as_str()))
        .collect();
    assert_eq!(kinds, ["u", "u", "u", "u", "u", "i", "i", "i"]);

    manifest = after(&manifest, deleting(1, 10_312, [0, 5]));
    derive(&mut logs, &manifest).await;
    assert_told(&store, &manifest, "a vector replaced").await;
    assert_eq!(logs.vector_files().unwrap().len(), 4, "the first files are still in use");
}

#[tokio::test]
async fn checkpoints_stay_small_and_old_versions_go() {
    let store = memory();
    let mut logs = logs(&store);
    let mut manifest = Arc::default();
    let far = EpochMillis(i64::MAX);
    let mut sizes = Vec::new();
    for number in 1..=420u64 {
        let mut step = both([number]);
        if let Some(old) = number.checked_sub(10).filter(|old| *old > 0) {
            step.tables.values_mut().for_each(|changes| changes.remove = vec![id(old)]);
        }
        manifest = after(&manifest, step);
        logs.derive(&manifest, &tables(), far).await.unwrap();
        let path = Path::from(format!("events/_delta_log/{:020}.checkpoint.parquet", number - 1));
        sizes.extend(store.head(&path).await.ok().map(|object| object.size));
    }
    assert_eq!(sizes.len(), 4);
    assert!(sizes[3] < sizes[0] + sizes[0] / 10, "removed files are not remembered: {sizes:?}");
    assert_told(&store, &manifest, "after old versions are gone").await;
    let left = names(&store).await;
    assert!(left.contains(&"events/_delta_log/00000000000000000400.json".to_owned()));
    assert!(!left.contains(&"events/_delta_log/00000000000000000399.json".to_owned()), "{left:?}");
}

#[tokio::test]
async fn a_failing_table_holds_no_other_up() {
    let memory = memory();
    let flaky = Arc::new(FlakyStore::new(Arc::clone(&memory), &[]));
    let store: Arc<dyn ObjectStore> = flaky.clone();
    let mut logs = logs(&store);
    let mut manifest = after(&Arc::default(), both([1]));
    derive(&mut logs, &manifest).await;
    for fault in [Fault::NotWritten, Fault::AnswerLost] {
        manifest = after(&manifest, both([manifest.number.0 * 10]));
        flaky.fail(Some(("events/", fault)));
        logs.derive(&manifest, &tables(), NOW).await.unwrap_err();
        let details = read(&memory, "details").await;
        assert_eq!(details.state().files.len() as u64, manifest.tables["details"].files.len() as u64);
        flaky.fail(None);
        let deleted = manifest.tables["events"].files[&id(1)].deleted.len();
        manifest = after(&manifest, deleting(1, deleted + 1, [deleted as u32]));
        derive(&mut logs, &manifest).await;
        assert_told(&memory, &manifest, "once the store answers").await;
    }
}

/// Flushes of 100 rows with a fifth of them written before: the line and the logs grow with what changes, not with what
/// is there.
#[tokio::test]
async fn logs_grow_with_what_changes() {
    let store = memory();
    let mut logs = logs(&store);
    let line = CommitLine::open(Arc::clone(&store), &Evidence::default()).await.unwrap();
    let writer = Writer { id: "w".to_owned(), epoch: Epoch(1), patience: Duration::ZERO };
    let mut line = CommitWriter::begin(line, writer, NOW).await.unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let mut halves = Vec::new();
    for half in 0..2u64 {
        let mut bytes = 0;
        let mut objects = 0;
        for number in half * 250 + 1..=half * 250 + 250 {
            let mut step = both([number]);
            let mut deleted: BTreeMap<FileId, RoaringBitmap> = BTreeMap::new();
            if number > 5 {
                for _ in 0..20 {
                    deleted.entry(id(random.random_range(1..number))).or_default().insert(random.random_range(0..100));
                }
            }
            for (id, rows) in deleted {
                let known = &line.manifest().tables["events"].files[&id].deleted;
                let (rows, total) = (&rows - known.as_ref(), known.union_len(&rows));
                let rows = DeletionEdit { rows: RowSet(rows), total };
                if !rows.rows.is_empty() {
                    step.tables.get_mut("events").unwrap().deletions.insert(id, rows);
                }
            }
            let before: BTreeSet<String> = names(&store).await.into_iter().collect();
            let manifest = line.append(&step, NOW).await.unwrap();
            derive(&mut logs, &manifest).await;
            line.checkpoint_if_due().await.unwrap();
            for name in names(&store).await.into_iter().filter(|name| !before.contains(name)) {
                bytes += store.head(&Path::from(name)).await.unwrap().size;
                objects += 1;
            }
        }
        assert!(objects <= 3 * 250 + 15, "a commit and two tables with news, and a few checkpoints: {objects}");
        halves.push(bytes);
    }
    assert!(halves[1] * 10 <= halves[0] * 12, "{halves:?}");
}
