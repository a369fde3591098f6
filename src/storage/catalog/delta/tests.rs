use std::sync::Arc;

use object_store::memory::InMemory;

use super::actions::Remove;
use super::deletion_vector::{self, DeletionVectorDescriptor};
use super::*;
use crate::storage::format::layout::{ColumnKind, JsonField, PropertyColumn};
use crate::storage::objects::faulty::{Fault, FlakyStore};

pub(crate) const NOW: EpochMillis = EpochMillis(1_700_000_000_000);

fn columns() -> Vec<TableColumn> {
    vec![
        TableColumn::new("id", DeltaType::String),
        TableColumn::new("createdAt", DeltaType::Timestamp),
        TableColumn::new("messageCount", DeltaType::Long),
        TableColumn::new("tags", DeltaType::StringList),
        TableColumn::of_property(&score()),
    ]
}

fn score() -> PropertyColumn {
    PropertyColumn {
        field: JsonField::UserProperties,
        path: vec!["a.b".to_owned(), "score".to_owned()],
        kind: ColumnKind::Number,
        name: "user_properties_a_u2e_b_score_number".to_owned(),
    }
}

fn add(path: &str) -> Add {
    let statistics = FileStatistics { num_records: 10, tight_bounds: true, ..FileStatistics::default() };
    let tags = [("convolake.layout".to_owned(), Some("{\"ü\":[1]}".to_owned()))].into();
    Add::new(path.to_owned(), 123, &statistics, tags, NOW)
}

async fn vector(store: &Arc<dyn ObjectStore>, rows: &[u32]) -> Option<DeletionVectorDescriptor> {
    deletion_vector::write(&environment(store), &Path::from("conversations"), &rows.iter().copied().collect())
        .await
        .unwrap()
}

async fn created(store: &Arc<dyn ObjectStore>) -> TableLog {
    TableLog::create(environment(store), Path::from("conversations"), &columns(), NOW).await.unwrap()
}

async fn opened(store: &Arc<dyn ObjectStore>) -> TableLog {
    TableLog::open(environment(store), Path::from("conversations")).await.unwrap().unwrap()
}

fn environment(store: &Arc<dyn ObjectStore>) -> Environment {
    Environment::of_test(Arc::clone(store))
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

#[tokio::test]
async fn a_table_is_created_and_opened() {
    let store = memory();
    assert!(TableLog::open(environment(&store), Path::from("conversations")).await.unwrap().is_none());
    let log = created(&store).await;
    let again = TableLog::create(environment(&store), Path::from("conversations"), &columns(), NOW).await;
    assert!(matches!(again, Err(CommitError::Taken { version: 0, .. })));
    let opened = opened(&store).await;
    assert_eq!(opened.state(), log.state());
    assert_eq!(opened.state().columns().unwrap(), columns());
    let properties: Vec<_> = opened.state().columns().unwrap().iter().filter_map(TableColumn::property).collect();
    assert_eq!(properties, [score()]);
    assert_eq!((opened.version(), opened.state().wal_position()), (0, WalPosition(0)));
    assert_eq!(log.file_path("data/a%20b.parquet").as_ref(), "conversations/data/a b.parquet");
}

#[tokio::test]
async fn files_vectors_and_positions_replay() {
    let store = memory();
    let mut log = created(&store).await;
    let first =
        vec![Action::Add(add("data/a")), Action::Add(add("data/b")), Action::Txn(Txn::new(WalPosition(7), NOW))];
    assert_eq!(log.commit(first, NOW).await.unwrap(), 1);
    let deletions = vector(&store, &[1, 3]).await;
    let [remove, with_vector] = log.state().files["data/a"].replace_deletions(deletions.clone(), NOW);
    // The order within a commit has no meaning.
    log.commit(vec![with_vector, remove], NOW).await.unwrap();
    let removal = log.state().files["data/b"].to_remove(NOW);
    let mut wider = columns();
    wider.push(TableColumn::new("state", DeltaType::String));
    let meta_data = log.state().meta_data.as_ref().unwrap().with_columns(&wider);
    log.commit(vec![Action::MetaData(meta_data), Action::Remove(removal), Action::Add(add("data/c"))], NOW)
        .await
        .unwrap();

    let replayed = opened(&store).await;
    assert_eq!(replayed.state(), log.state());
    let state = replayed.state();
    assert_eq!(state.files.keys().collect::<Vec<_>>(), ["data/a", "data/c"]);
    assert_eq!(state.files["data/a"].deletion_vector, deletions);
    let statistics = state.files["data/a"].statistics().unwrap();
    assert_eq!((statistics.num_records, statistics.tight_bounds), (10, false));
    assert_eq!(state.files["data/c"].tag("convolake.layout"), Some("{\"ü\":[1]}"));
    assert_eq!(state.columns().unwrap(), wider);
    assert_eq!((state.version, state.wal_position()), (3, WalPosition(7)));
}

#[tokio::test]
async fn wrong_commits_are_refused() {
    let store = memory();
    let mut log = created(&store).await;
    log.commit(vec![Action::Add(add("data/a")), Action::Txn(Txn::new(WalPosition(7), NOW))], NOW).await.unwrap();
    let other_vector = Remove { deletion_vector: vector(&store, &[1]).await, ..add("data/a").to_remove(NOW) };
    let fewer = log.state().meta_data.as_ref().unwrap().with_columns(&columns()[1..]);
    let cases = [
        (vec![Action::Remove(add("data/b").to_remove(NOW))], "not live"),
        (vec![Action::Remove(other_vector)], "not live"),
        (vec![Action::Add(add("data/a"))], "without removing"),
        (vec![Action::Add(add("data/b")), Action::Add(add("data/b"))], "twice"),
        (vec![Action::Txn(Txn::new(WalPosition(6), NOW))], "goes back from log position 7 to 6"),
        (vec![Action::MetaData(fewer)], "loses the column \"id\""),
    ];
    for (actions, expected) in cases {
        let error = log.commit(actions, NOW).await.unwrap_err();
        assert!(matches!(error, CommitError::Invalid { version: 2, .. }) && error.to_string().contains(expected));
    }
    assert_eq!(opened(&store).await.version(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_settled() {
    let memory = memory();
    created(&memory).await;
    let faults = [Fault::NotWritten, Fault::AnswerLost, Fault::NotWritten];
    let flaky: Arc<dyn ObjectStore> = Arc::new(FlakyStore::new(Arc::clone(&memory), &faults));
    let mut log = opened(&flaky).await;
    assert_eq!(log.commit(vec![Action::Add(add("data/a"))], NOW).await.unwrap(), 1);
    assert_eq!(opened(&memory).await.state(), log.state());

    let dead: Arc<dyn ObjectStore> = Arc::new(FlakyStore::new(Arc::clone(&memory), &[Fault::NotWritten; 50]));
    let mut log = opened(&dead).await;
    let error = log.commit(vec![Action::Add(add("data/b"))], NOW).await.unwrap_err();
    assert!(matches!(error, CommitError::Unknown { version: 2, .. }));
    assert!(!log.refresh().await.unwrap());
}

#[tokio::test]
async fn of_two_writers_one_gets_the_version() {
    let store = memory();
    let mut one = created(&store).await;
    let mut two = opened(&store).await;
    one.commit(vec![Action::Add(add("data/a"))], NOW).await.unwrap();
    // The same actions: only the commits' own ids tell them apart.
    let taken = two.commit(vec![Action::Add(add("data/a"))], NOW).await;
    assert!(matches!(taken, Err(CommitError::Taken { version: 1, .. })));
    assert_eq!(two.version(), 0);
    assert!(two.refresh().await.unwrap());
    assert_eq!(two.state(), one.state());
    assert!(!two.refresh().await.unwrap());
    assert_eq!(two.commit(vec![Action::Add(add("data/b"))], NOW).await.unwrap(), 2);
}

async fn names(store: &dyn ObjectStore) -> Vec<String> {
    let objects = store.list(Some(&Path::from("conversations/_delta_log")));
    let mut names: Vec<String> =
        objects.map_ok(|object| object.location.filename().unwrap().to_owned()).try_collect().await.unwrap();
    names.sort();
    names
}

#[tokio::test]
async fn checkpoints_replace_the_commits_before_them() {
    let store = memory();
    let mut log = created(&store).await;
    let mut old_reader = opened(&store).await;
    for number in 1..=230 {
        let mut actions =
            vec![Action::Add(add(&format!("data/{number}"))), Action::Txn(Txn::new(WalPosition(number), NOW))];
        if number > 10 {
            let file = &log.state().files[&format!("data/{}", number - 10)];
            actions.extend(file.replace_deletions(vector(&store, &[number as u32]).await, NOW));
        }
        if number > 20 {
            actions.push(Action::Remove(log.state().files[&format!("data/{}", number - 20)].to_remove(NOW)));
        }
        log.commit(actions, NOW).await.unwrap();
    }
    let same = async |what: &str| {
        let mut read = opened(&store).await.state().clone();
        // A checkpoint repeats actions with `dataChange` false.
        let mut written = log.state().clone();
        for state in [&mut read, &mut written] {
            state.files.values_mut().for_each(|add| Arc::make_mut(add).data_change = false);
            state.tombstones.values_mut().for_each(|remove| remove.data_change = false);
        }
        assert_eq!(read, written, "{what}");
    };
    same("after the checkpoint of version 200").await;

    // A checkpoint or hint that cannot be read costs time, not data.
    let (hint, newest) = ("conversations/_delta_log/_last_checkpoint", "00000000000000000200.checkpoint.parquet");
    let newest = Path::from(format!("conversations/_delta_log/{newest}"));
    let whole = store.get(&newest).await.unwrap().bytes().await.unwrap();
    store.put(&newest, whole.slice(..100).into()).await.unwrap();
    same("with a damaged checkpoint").await;
    store.put(&newest, whole.into()).await.unwrap();
    store.put(&Path::from(hint), "{".into()).await.unwrap();
    same("with a damaged hint").await;
    store.put(&Path::from(hint), "{\"version\":100}".into()).await.unwrap();
    same("with an old hint").await;
    store.put(&Path::from(hint), "{\"version\":900}".into()).await.unwrap();
    same("with a wrong hint").await;
    store.put(&Path::from(hint), "{\"version\":200}".into()).await.unwrap();

    assert_eq!(log.delete_old_log(EpochMillis(0)).await.unwrap(), 0, "nothing is that old");
    assert_eq!(log.delete_old_log(EpochMillis(i64::MAX)).await.unwrap(), 201);
    let left = names(store.as_ref()).await;
    assert_eq!(left.first().unwrap(), "00000000000000000200.checkpoint.parquet");
    same("without the commits before").await;
    assert!(old_reader.refresh().await.unwrap(), "a reader whose commits are gone starts again");
    assert_eq!(old_reader.version(), 230);

    store.delete(&Path::from("conversations/_delta_log/00000000000000000215.json")).await.unwrap();
    let gap = TableLog::open(environment(&store), Path::from("conversations")).await.unwrap_err();
    assert!(matches!(gap, TableLogError::Corrupt { .. }), "{gap}");
}

#[tokio::test]
async fn tombstones_end_with_their_retention() {
    let store = memory();
    let mut log = created(&store).await;
    log.commit(vec![Action::Add(add("data/a")), Action::Add(add("data/b"))], NOW).await.unwrap();
    for (path, when) in [("data/a", NOW), ("data/b", EpochMillis(NOW.0 + 2000))] {
        let removal = Action::Remove(log.state().files[path].to_remove(when));
        log.commit(vec![removal], when).await.unwrap();
    }
    log.write_checkpoint(EpochMillis(NOW.0 + 24 * 60 * 60 * 1000 + 1000)).await.unwrap();
    let tombstones: Vec<_> = opened(&store).await.state.tombstones.into_keys().map(|(path, _)| path).collect();
    assert_eq!(tombstones, ["data/b"]);
}

#[tokio::test]
async fn foreign_features_are_refused_and_foreign_actions_skipped() {
    let store = memory();
    created(&store).await;
    let path = |version: u64| Path::from(format!("conversations/_delta_log/{version:020}.json"));
    let foreign = r#"{"domainMetadata":{"domain":"x","configuration":"","removed":false}}
{"txn":{"appId":"other","version":3}}

{"add":{"path":"x","partitionValues":{},"size":1,"modificationTime":1,"dataChange":true,"baseRowId":7}}"#;
    store.put(&path(1), foreign.into()).await.unwrap();
    let log = opened(&store).await;
    assert_eq!((log.version(), log.state().files.len(), log.state().wal_position()), (1, 1, WalPosition(0)));
    let protocol = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["columnMapping"],"writerFeatures":["columnMapping"]}}"#;
    store.put(&path(2), protocol.into()).await.unwrap();
    let error = TableLog::open(environment(&store), Path::from("conversations")).await.unwrap_err();
    assert!(error.to_string().contains("needs the feature \"columnMapping\""), "{error}");
    store.put(&path(2), "{\"add\":{}}".into()).await.unwrap();
    let error = TableLog::open(environment(&store), Path::from("conversations")).await.unwrap_err().to_string();
    assert!(error.contains("commit 2: line 1: missing field `path`"), "{error}");
}
