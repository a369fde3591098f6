//! Files are merged while everything else goes on, and nobody sees it but by the number of files.

use std::collections::BTreeSet;

use super::*;
use crate::model::search_text::SearchTerm;
use crate::storage::format::text_index::file::{self as text_index, TextIndex};
use crate::storage::maintain::compaction::policy::{Candidate, Choice};
use crate::storage::write::bulk::BulkLoader;

/// Everything that is there, as soon as it is more than one file or has deleted rows.
pub(super) fn all(files: &[Candidate]) -> Option<Choice> {
    let due = files.len() > 1 || files.iter().any(|file| file.deleted > 0);
    let level = files.iter().map(|file| file.level).max()?;
    due.then(|| Choice { files: files.iter().map(|file| file.id).collect(), level: level + 1 })
}

/// Until it is aborted.
pub(super) fn all_the_time(store: &Arc<Store>) -> tokio::task::JoinHandle<()> {
    let compactor = store.compactor(all, NO_DEADLINE);
    tokio::spawn(async move {
        loop {
            // A store that fails often fails here too.
            let _ = compactor.compact_once().await;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    })
}

async fn files(store: &Store) -> usize {
    store.snapshot().tables.conversations.files.len()
}

/// Rows that change between the choice of the files and the commit, and between the commit and the flush of the change.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_that_change_while_files_are_merged_stay_changed() {
    let disk = disk();
    let process = Process::start(&disk, 5).await;
    let store = &process.store;
    let mut model = BTreeMap::new();
    let compacting = all_the_time(store);
    for version in 0..40_u64 {
        for id in 0..9 {
            let id = format!("c{}", (id * 7 + version) % 23);
            if version % 5 == 4 && id.ends_with('1') {
                store.delete_conversation(&key(&id)).await.unwrap();
                model.remove(&id);
            } else {
                log(store, &id, version).await.unwrap();
                model.insert(id, (version, None));
            }
        }
        assert_eq!(scan(store).await, model, "{version}");
    }
    until("all files are one", async || files(store).await == 1).await;
    compacting.abort();
    assert_eq!(scan(store).await, model);
    for (id, (version, _)) in &model {
        let Identity { organization_id, project_id, .. } = identity();
        let found = store.find(&organization_id, Some(&project_id), Lookup::Id(id)).await.unwrap();
        assert_eq!(found.iter().map(|found| version_of(found)).collect::<Vec<_>>(), [*version], "{id}");
    }
    store.shutdown().await.unwrap();
    assert_eq!(live_rows(&disk, "conversations").await, model.len() as u64);
    process.end();
    assert_eq!(scan(&Process::start(&disk, 5).await.store).await, model);
}

/// Nobody makes indexes here but those who write the files.
#[tokio::test(flavor = "multi_thread")]
async fn a_merged_file_has_its_text_index_at_once() {
    let disk = disk();
    let mut loader = BulkLoader::open(Environment::of_test(disk.clone()), None).await.unwrap();
    let batch = ["alpha", "beta"].map(|id| (identity(), read(Some(id), None, 1)));
    loader.load(batch.to_vec(), None).await.unwrap();
    loader.finish().await.unwrap();
    let process = Process::start(&disk, 2).await;
    let store = &process.store;
    // An import waits for none.
    let imported = text_index::path(store.snapshot().tables.conversations.files.first().unwrap().file.id);
    assert!(TextIndex::open(disk.as_ref(), imported).await.unwrap().is_none());
    for id in ["alpha", "gamma"] {
        log(store, id, 2).await.unwrap();
    }
    until("two files", async || files(store).await == 2).await;
    assert!(store.compactor(all, NO_DEADLINE).compact_once().await.unwrap());
    let snapshot = store.snapshot();
    let [entry] = snapshot.tables.conversations.files.as_slice() else { panic!("one file") };
    let index = entry.file.text_index.get(store.snapshot().store.as_ref()).await.unwrap().expect("its index");
    assert_eq!((index.rows(), entry.file.rows), (3, 3));
    let (mut found, objects) = (BTreeSet::new(), snapshot.store.as_ref());
    for (term, count) in [("Alpha", 1), ("beta", 1), ("gamma", 1), ("delta", 0)] {
        let term = SearchTerm::new(term);
        let rows: Vec<u32> = index.candidates(objects, &term).await.unwrap().iter().collect();
        let have = index.verify(objects, &rows, &term).await.unwrap();
        let rows: Vec<u32> = rows.into_iter().zip(have).filter(|(_, has)| *has).map(|(row, _)| row).collect();
        assert_eq!(rows.len(), count, "{term:?}");
        found.extend(rows);
    }
    assert_eq!(found.len(), 3);
}

/// A file of which everything is deleted goes, and nothing takes its place.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_all_deleted_leaves_no_file() {
    let disk = disk();
    let process = Process::start(&disk, 4).await;
    let store = &process.store;
    for id in ["a", "b", "c", "d"] {
        log(store, id, 1).await.unwrap();
    }
    until("a file", async || files(store).await == 1).await;
    for id in ["a", "b", "c", "d"] {
        assert!(!store.delete_conversation(&key(id)).await.unwrap().is_nothing());
    }
    store.shutdown().await.unwrap();
    process.end();
    let process = Process::start(&disk, 4).await;
    let store = &process.store;
    assert!(store.compactor(all, NO_DEADLINE).compact_once().await.unwrap());
    assert_eq!(files(store).await, 0);
    log(store, "a", 2).await.unwrap();
    process.end();
    let process = Process::start(&disk, 4).await;
    assert_eq!(scan(&process.store).await, BTreeMap::from([("a".to_owned(), (2, None))]));
}

/// A flush and a compaction whose commits are in doubt at the same time do not wait for each other for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_compaction_lets_a_flush_go_on_whose_commit_is_in_doubt() {
    let process = Process::start(&disk(), 4).await;
    let store = &process.store;
    for flush in 0..2 {
        for row in 0..4 {
            log(store, &format!("c{}", flush * 4 + row), 1).await.unwrap();
        }
        until("a flush", async || files(store).await == flush + 1).await;
    }
    process.objects.fail(Some(("commits/", Fault::NotWritten)));
    for row in 8..12 {
        log(store, &format!("c{row}"), 1).await.unwrap();
    }
    until("the commit of the flush is in doubt", async || process.objects.failed_puts() > 0).await;
    let compactor = store.compactor(all, NO_DEADLINE);
    let compacting = tokio::spawn(async move { compactor.compact_once().await });
    // Until the flush has given up once, which is when the compaction gets at the commits.
    tokio::time::sleep(PATIENCE + PATIENCE / 2).await;
    process.objects.fail(None);
    let compacted = tokio::time::timeout(Duration::from_secs(20), compacting).await.expect("it ends");
    assert!(compacted.unwrap().unwrap());
    until("the flush ends", async || store.snapshot().manifest.tables["conversations"].files.len() == 2).await;
    assert_eq!(scan(store).await.len(), 12);
}

/// Files that cannot be merged, as long as that lasts, keep nobody from logging, erasing and asking.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_go_on_while_every_compaction_fails() {
    let disk = disk();
    let process = Process::start(&disk, 4).await;
    let store = &process.store;
    let mut model = BTreeMap::new();
    for flush in 0..3 {
        for row in 0..4 {
            let id = format!("c{}", flush * 4 + row);
            log(store, &id, 1).await.unwrap();
            model.insert(id, (1, None));
        }
        until("a flush", async || files(store).await == flush + 1).await;
    }
    // Sooner or later: where the file is written, and where it is committed.
    for (round, prefix) in ["conversations/data", "messages/data", "sidecars/", "commits/"].into_iter().enumerate() {
        let (commit, version) = (store.snapshot().manifest.number, 10 + round as u64);
        for id in ["c0", "c1", "c2", "c3"] {
            log(store, id, version).await.unwrap();
            model.insert(id.to_owned(), (version, None));
        }
        until("something to merge", async || store.snapshot().manifest.number > commit && files(store).await > 1).await;
        process.objects.fail(Some((prefix, Fault::NotWritten)));
        let compactor = store.compactor(all, NO_DEADLINE);
        let compacting = tokio::spawn(async move {
            let mut failed = 0;
            // As many as a minute's worth of retries, or until its commit is made at last.
            while failed < 60 && compactor.compact_once().await.is_err() {
                failed += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            failed
        });
        for id in ["c0", "c5", "new"] {
            log(store, id, version).await.unwrap();
            model.insert(id.to_owned(), (version, None));
        }
        let gone = format!("c{}", 6 + round);
        assert!(!store.delete_conversation(&key(&gone)).await.unwrap().is_nothing());
        model.remove(&gone);
        assert_eq!(scan(store).await, model, "{prefix}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        process.objects.fail(None);
        let failed = tokio::time::timeout(Duration::from_secs(30), compacting).await.expect("it ends").unwrap();
        assert!(failed > 0 || prefix == "commits/" || prefix == "sidecars/", "{prefix} never failed");
        assert_eq!(scan(store).await, model, "{prefix}");
    }
    let compactor = store.compactor(all, NO_DEADLINE);
    until("all files are one", async || {
        let _ = compactor.compact_once().await;
        files(store).await <= 1
    })
    .await;
    assert_eq!(scan(store).await, model);
    store.shutdown().await.unwrap();
    process.end();
    assert_eq!(scan(&Process::start(&disk, 4).await.store).await, model);
}
