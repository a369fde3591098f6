use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::*;
use crate::model::ids::{EpochMillis, WalPosition};
use crate::storage::catalog::checkpoint;
use crate::storage::catalog::commit::tests::{NOW, adds};
use crate::storage::catalog::commit::{Commit, CommitNumber, Edit, Epoch};
use crate::storage::catalog::error::CatalogError;
use crate::storage::catalog::manifest::Manifest;
use crate::storage::objects::faulty::{Fault, FlakyStore};

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

fn writer(epoch: u64) -> Writer {
    Writer { id: format!("w{epoch}"), epoch: Epoch(epoch), patience: Duration::from_millis(100) }
}

async fn opened(store: &Arc<dyn ObjectStore>) -> CommitLine {
    CommitLine::open(Arc::clone(store), &Evidence::default()).await.unwrap()
}

async fn refused(store: &Arc<dyn ObjectStore>, evidence: &Evidence) -> CatalogError {
    CommitLine::open(Arc::clone(store), evidence).await.unwrap_err()
}

async fn begun(store: &Arc<dyn ObjectStore>, epoch: u64) -> CommitWriter {
    CommitWriter::begin(opened(store).await, writer(epoch), NOW).await.unwrap()
}

/// A line of so many commits, each of which adds a file, with its checkpoints.
async fn line_of(store: &Arc<dyn ObjectStore>, commits: u64) -> CommitWriter {
    let mut writer = begun(store, 1).await;
    for number in 2..=commits {
        writer.append(&file(number), NOW).await.unwrap();
        writer.checkpoint_if_due().await.unwrap();
    }
    writer
}

fn file(id: u64) -> Edit {
    Edit { wal_position: Some(WalPosition(id)), ..adds("events", [id]) }
}

async fn names(store: &Arc<dyn ObjectStore>) -> Vec<String> {
    let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
    let mut names: Vec<String> = objects.into_iter().map(|object| object.location.to_string()).collect();
    names.sort();
    names
}

async fn bytes(store: &Arc<dyn ObjectStore>, path: &Path) -> bytes::Bytes {
    store.get(path).await.unwrap().bytes().await.unwrap()
}

/// Does something to an object and puts it back afterwards.
async fn without<T>(store: &Arc<dyn ObjectStore>, path: &Path, then: impl AsyncFnOnce() -> T) -> T {
    let whole = bytes(store, path).await;
    store.delete(path).await.unwrap();
    let result = then().await;
    store.put(path, whole.into()).await.unwrap();
    result
}

#[tokio::test]
async fn an_empty_store_has_an_empty_line() {
    let store = memory();
    assert_eq!(opened(&store).await.manifest().as_ref(), &Manifest::default());
    assert_eq!(names(&store).await, Vec::<String>::new(), "reading writes nothing");
}

#[tokio::test]
async fn what_is_appended_is_read() {
    let store = memory();
    let mut writer = begun(&store, 1).await;
    let mut follower = opened(&store).await;
    let manifest = writer.append(&file(9), NOW).await.unwrap();
    assert_eq!((manifest.number, manifest.wal_position), (CommitNumber(2), WalPosition(9)));
    writer.append(&Edit::default(), EpochMillis(NOW.0 + 1)).await.unwrap();
    assert_eq!(opened(&store).await.manifest(), writer.manifest());
    assert_eq!(writer.manifest().wal_position, WalPosition(9), "an edit without a position keeps it");
    let passed = follower.refresh().await.unwrap();
    assert_eq!(passed.iter().map(|commit| commit.number.0).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(follower.manifest(), writer.manifest());
    assert!(follower.refresh().await.unwrap().is_empty());
    assert_eq!(names(&store).await.len(), 3, "one object a commit");
}

#[tokio::test]
async fn a_start_reads_a_checkpoint_and_what_follows() {
    let store = memory();
    let mut writer = line_of(&store, 330).await;
    assert_eq!(checkpoint::list(store.as_ref()).await.unwrap(), [100, 200, 300].map(CommitNumber));
    let same = async |what: &str| assert_eq!(opened(&store).await.manifest(), writer.manifest(), "{what}");
    same("from the newest checkpoint").await;

    let old = old_objects(store.as_ref(), 2).await.unwrap();
    assert_eq!(old.len(), 199 + 1);
    assert_eq!(old.last().unwrap(), &checkpoint::path(CommitNumber(100)));
    let newest = checkpoint::path(CommitNumber(300));
    let whole = bytes(&store, &newest).await;
    store.put(&newest, whole.slice(..50).into()).await.unwrap();
    same("from the one before a damaged checkpoint").await;
    let fewer = old_objects(store.as_ref(), 2).await.unwrap();
    assert_eq!(fewer.len(), 99, "a damaged checkpoint does not count");
    assert_eq!(old_objects(store.as_ref(), 3).await.unwrap(), []);
    store.put(&newest, whole.into()).await.unwrap();

    for path in old {
        store.delete(&path).await.unwrap();
    }
    same("without what is old").await;
    assert_eq!(old_objects(store.as_ref(), 2).await.unwrap(), []);
    assert!(!writer.checkpoint_if_due().await.unwrap());
}

#[tokio::test]
async fn a_start_without_any_checkpoint_reads_all() {
    let store = memory();
    let writer = line_of(&store, 230).await;
    for number in [100, 200].map(CommitNumber) {
        store.put(&checkpoint::path(number), "damaged".into()).await.unwrap();
    }
    let mut line = opened(&store).await;
    assert_eq!(line.manifest(), writer.manifest());
    // Nothing is left to go on without them.
    store.delete(&CommitNumber(1).path()).await.unwrap();
    let error = refused(&store, &Evidence::default()).await;
    let CatalogError::Missing { object, .. } = error else { panic!("{error}") };
    assert_eq!(object, CommitNumber(1).path());
    line.refresh().await.unwrap();
}

#[tokio::test]
async fn a_checkpoint_that_failed_is_made_up_for() {
    let memory = memory();
    let flaky = Arc::new(FlakyStore::new(Arc::clone(&memory), &[]));
    let store: Arc<dyn ObjectStore> = flaky.clone();
    let mut writer = line_of(&store, 99).await;
    flaky.fail(Some(("checkpoints/", Fault::NotWritten)));
    for number in 100..=102 {
        writer.append(&file(number), NOW).await.unwrap();
        let error = writer.checkpoint_if_due().await.unwrap_err();
        assert!(matches!(error, CatalogError::Unwritable { .. }), "{error}");
    }
    flaky.fail(None);
    assert!(writer.checkpoint_if_due().await.unwrap());
    assert!(!writer.checkpoint_if_due().await.unwrap());
    assert_eq!(checkpoint::list(store.as_ref()).await.unwrap(), [CommitNumber(102)]);
    assert_eq!(opened(&memory).await.manifest(), writer.manifest());
}

#[tokio::test]
async fn a_gap_is_never_the_end() {
    let store = memory();
    line_of(&store, 40).await;
    let known = |newest_known| Evidence { newest_known: CommitNumber(newest_known), data_folders: Vec::new() };
    for number in (1..40).map(CommitNumber) {
        let error = without(&store, &number.path(), async || refused(&store, &Evidence::default()).await).await;
        let CatalogError::Missing { object, .. } = error else { panic!("{number}: {error}") };
        assert_eq!(object, number.path());
    }
    // The end itself is known from the write-ahead log.
    without(&store, &CommitNumber(40).path(), async || {
        assert_eq!(opened(&store).await.manifest().number, CommitNumber(39));
        let error = refused(&store, &known(40)).await;
        assert!(error.to_string().contains("commits/00000000000000000040 is missing"), "{error}");
        assert!(error.to_string().contains("names commit 40"), "{error}");
        CommitLine::open(Arc::clone(&store), &known(39)).await.unwrap();
    })
    .await;
    let error = refused(&store, &known(41)).await;
    assert!(matches!(&error, CatalogError::Missing { object, .. } if *object == CommitNumber(41).path()), "{error}");
}

#[tokio::test]
async fn a_line_that_is_gone_is_missed() {
    let store = memory();
    line_of(&store, 20).await;
    store.put(&Path::from("events/data/x.parquet"), "x".into()).await.unwrap();
    let evidence = Evidence { data_folders: vec![Path::from("messages"), Path::from("events")], ..Evidence::default() };
    CommitLine::open(Arc::clone(&store), &evidence).await.unwrap();
    for number in (1..=20).map(CommitNumber) {
        store.delete(&number.path()).await.unwrap();
    }
    let before = names(&store).await;
    let error = refused(&store, &evidence).await.to_string();
    assert!(error.contains("commits/00000000000000000001 is missing"), "{error}");
    assert!(error.contains("such as events/data/x.parquet"), "{error}");
    assert_eq!(names(&store).await, before);
}

#[tokio::test]
async fn a_checkpoint_is_never_newer_than_the_line() {
    let store = memory();
    line_of(&store, 130).await;
    for number in (101..=130).map(CommitNumber) {
        store.delete(&number.path()).await.unwrap();
    }
    assert_eq!(opened(&store).await.manifest().number, CommitNumber(100), "what only the log can know");
    without(&store, &CommitNumber(100).path(), async || {
        let error = refused(&store, &Evidence::default()).await.to_string();
        assert!(error.contains("commits/00000000000000000100 is missing"), "{error}");
        assert!(error.contains("checkpoints/00000000000000000100 is there"), "{error}");
    })
    .await;
    let damaged = checkpoint::path(CommitNumber(110));
    store.put(&damaged, "x".into()).await.unwrap();
    let error = refused(&store, &Evidence::default()).await;
    assert!(matches!(&error, CatalogError::Damaged { object, .. } if *object == damaged), "{error}");
    assert!(error.to_string().contains("commits/00000000000000000101, which would do instead, is missing"), "{error}");
}

#[tokio::test]
async fn a_damaged_commit_stops_the_start() {
    let store = memory();
    line_of(&store, 20).await;
    let before = names(&store).await;
    for number in (1..=20).map(CommitNumber) {
        let path = number.path();
        let whole = bytes(&store, &path).await;
        let mut flipped = whole.to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        // Also a whole commit of another place.
        let other = bytes(&store, &CommitNumber(number.0 % 20 + 1).path()).await;
        for damaged in [flipped.into(), whole.slice(..middle), other] {
            store.put(&path, damaged.into()).await.unwrap();
            let error = refused(&store, &Evidence::default()).await;
            assert!(matches!(&error, CatalogError::Damaged { object, .. } if *object == path), "{error}");
            assert!(error.to_string().contains("Nothing was changed or deleted"), "{error}");
        }
        store.put(&path, whole.into()).await.unwrap();
    }
    assert_eq!(names(&store).await, before);
}

/// Two stores copied over one another have sound commits that never were one line.
#[tokio::test]
async fn commits_of_two_stores_are_told_apart() {
    let (one, two) = (memory(), memory());
    for (store, epoch) in [(&one, 1), (&two, 2)] {
        let mut writer = begun(store, epoch).await;
        for number in 2..=5 {
            writer.append(&file(number), NOW).await.unwrap();
        }
    }
    let path = CommitNumber(4).path();
    one.put(&path, bytes(&two, &path).await.into()).await.unwrap();
    let error = refused(&one, &Evidence::default()).await;
    assert!(matches!(&error, CatalogError::Damaged { object, .. } if *object == path), "{error}");
}

mod writers;
