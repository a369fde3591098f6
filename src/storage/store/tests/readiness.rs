//! What `GET /ready` tells while something is wrong, and what goes on meanwhile.

use super::*;
use crate::storage::readiness::Readiness;

async fn until_ready(store: &Store) {
    until("it is ready", async || store.readiness() == Readiness::Ready).await;
}

/// What it waits for; anything else fails.
fn waits_for(store: &Store) -> String {
    match store.readiness() {
        Readiness::Waiting { reason } => reason,
        other => panic!("{other:?}"),
    }
}

async fn until_ended(store: &Store, wanted: ErrorKind) -> String {
    until("writing has ended", async || matches!(store.readiness(), Readiness::Ended { .. })).await;
    let Readiness::Ended { kind, reason } = store.readiness() else { panic!("it had ended") };
    assert_eq!(kind, wanted, "{reason}");
    assert!(!reason.contains("/srv"), "{reason}");
    let refused = log(store, "refused", 1).await.unwrap_err();
    assert_eq!((refused.kind(), refused.to_string()), (wanted, reason.clone()));
    reason
}

/// Also one that only reads, and so meets nobody in the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_another_one_overtook_is_not_ready() {
    let disk = disk();
    let old = Process::start(&disk, 100).await;
    log(&old.store, "a", 1).await.unwrap();
    assert_eq!(old.store.readiness(), Readiness::Ready);
    let new = Process::start(&disk, 100).await;
    let reason = until_ended(&old.store, ErrorKind::Fenced).await;
    assert!(reason.contains("send all requests there"), "{reason}");
    assert_eq!(scan(&old.store).await.len(), 1, "reads go on");
    log(&new.store, "b", 1).await.unwrap();
    assert_eq!(new.store.readiness(), Readiness::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_is_told_until_it_can() {
    let Process { store, objects } = Process::start(&disk(), 100).await;
    objects.fail(Some(("wal/", Fault::NotWritten)));
    log(&store, "a", 1).await.unwrap_err();
    let reason = waits_for(&store);
    assert!(reason.contains("write-ahead log"), "{reason}");
    assert_eq!(log(&store, "b", 1).await.unwrap_err().to_string(), reason);
    objects.fail(None);
    until_ready(&store).await;
    log(&store, "b", 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_fsync_only_reads_go_on() {
    for prefix in ["wal/", "commits/", "messages/data"] {
        let Process { store, objects } = Process::start(&disk(), 2).await;
        log(&store, "a", 1).await.unwrap();
        objects.fail(Some((prefix, Fault::FailedFsync)));
        // Where it is the flush that fails, this one is taken.
        let _ = log(&store, "b", 1).await;
        let reason = until_ended(&store, ErrorKind::Restart).await;
        assert!(reason.contains("fsync") && reason.contains("start it again"), "{prefix}: {reason}");
        assert!(scan(&store).await.contains_key("a"), "{prefix}");
        objects.fail(None);
        let stopped = store.shutdown().await.unwrap_err();
        assert_eq!(stopped.kind(), ErrorKind::Restart, "{prefix}");
    }
}

/// What cannot heal is not tried for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_can_never_end_ends_the_writing() {
    let Process { store, objects } = Process::start(&disk(), 2).await;
    objects.fail(Some(("messages/data", Fault::Impossible)));
    log(&store, "a", 1).await.unwrap();
    log(&store, "b", 1).await.unwrap();
    until_ended(&store, ErrorKind::Bug).await;
    assert_eq!(scan(&store).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_written_are_told_once_memory_is_full() {
    let objects = Arc::new(FlakyStore::new(disk(), &[]));
    let small = StoreOptions { tail_bytes: 20_000, ..options(3) };
    let store = Store::open_on(Environment::of_test(objects.clone()), &small).await.unwrap();
    objects.fail(Some(("messages/data", Fault::NotWritten)));
    for number in 0..4 {
        log(&store, &format!("c{number}"), 1).await.unwrap();
    }
    let before = objects.failed_puts();
    until("a flush has failed", async || objects.failed_puts() > before).await;
    assert_eq!(store.readiness(), Readiness::Ready, "there is room");
    let mut number = 4;
    let refused = loop {
        match log(&store, &format!("c{number}"), 1).await {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused.kind(), ErrorKind::Full | ErrorKind::Retry), "{refused}");
    until("it is told", async || store.readiness() != Readiness::Ready).await;
    let reason = waits_for(&store);
    assert_eq!(log(&store, "more", 1).await.unwrap_err().to_string(), reason);
    objects.fail(None);
    until_ready(&store).await;
    until("there is room", async || log(&store, "more", 1).await.is_ok()).await;
    assert_eq!(scan(&store).await.len(), number + 1);
}

/// A store that cannot be written opens for reading, and is written once it can be.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_written_is_read_until_it_can() {
    for (prefix, fault) in [("commits/", Fault::FailedFsync), ("wal/", Fault::FailedFsync), ("wal/", Fault::NotWritten)]
    {
        let disk = disk();
        let process = Process::start(&disk, 2).await;
        for id in ["a", "b", "c"] {
            log(&process.store, id, 1).await.unwrap();
        }
        let files = async || process.store.snapshot().tables.conversations.files.len();
        until("the flush has ended", async || files().await == 1).await;
        log(&process.store, "a", 2).await.unwrap();
        let seen = scan(&process.store).await;
        process.end();

        let objects = Arc::new(FlakyStore::new(disk.clone(), &[]));
        objects.fail(Some((prefix, fault)));
        let store = Store::open_on(Environment::of_test(objects.clone()), &options(100)).await.unwrap();
        assert_eq!(scan(&store).await, seen, "{prefix}");
        let refused = log(&store, "d", 1).await.unwrap_err();
        assert_eq!(refused.to_string(), store.readiness().refusal().unwrap().to_string());
        if fault == Fault::FailedFsync {
            until_ended(&store, ErrorKind::Restart).await;
            store.shutdown().await.unwrap();
            continue;
        }
        let reason = waits_for(&store);
        assert!(reason.contains("can only be read"), "{reason}");
        let before = store.snapshot();
        objects.fail(None);
        until_ready(&store).await;
        assert_eq!(scan(&store).await, seen);
        // What was looked up before is stale now, and addresses of then mean no other row.
        let after = store.snapshot();
        assert_ne!(before.flush_generation, after.flush_generation);
        let numbers = |snapshot: &Snapshot| -> Vec<u32> {
            snapshot.tables.conversations.files.iter().map(|entry| entry.file.number).collect()
        };
        assert!(numbers(&before).iter().all(|number| !numbers(&after).contains(number)));
        log(&store, "b", 3).await.unwrap();
        store.shutdown().await.unwrap();
        assert_eq!(scan(&Process::start(&disk, 2).await.store).await["b"].0, 3);
    }
}
