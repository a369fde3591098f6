//! What is asked of the objects: a remote store bills it, and each request takes its time.

use super::*;
use crate::requests::{Request, Requests};
use crate::storage::objects::counted::CountedStore;

const ROWS: u64 = 10;

async fn start(disk: &Arc<dyn ObjectStore>) -> (Arc<Store>, Arc<Requests>) {
    let counted = CountedStore::new(disk.clone());
    let requests = counted.requests();
    let environment = Environment::of_test(Arc::new(counted));
    let environment = environment.with_requests(Arc::clone(&requests), Some("s3://bucket".into()));
    let store = Store::open_on(environment, &options(ROWS as usize)).await.unwrap();
    // The logs for other engines are made at the start, and again after ten seconds.
    let last = Path::from("feedback/_delta_log/00000000000000000000.json");
    until("the logs are made", async || disk.head(&last).await.is_ok()).await;
    let mut since = Since::now(&requests);
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        if since.next().is_empty() {
            break;
        }
    }
    (store, requests)
}

/// Each kind's count since the last call. Not the reads, because a process looks now and then whether it was overtaken;
/// and not the deletions of log objects that a flush has replaced, of which one request takes many.
struct Since<'a> {
    requests: &'a Requests,
    counts: [u64; 7],
}

impl Since<'_> {
    fn now(requests: &Requests) -> Since<'_> {
        Since { requests, counts: Request::ALL.map(|request| requests.of(request)) }
    }

    fn next(&mut self) -> Vec<(Request, u64)> {
        let now = Request::ALL.map(|request| self.requests.of(request));
        let before = std::mem::replace(&mut self.counts, now);
        let counts = Request::ALL.into_iter().zip(now.into_iter().zip(before).map(|(now, before)| now - before));
        let behind = |request: Request| matches!(request, Request::Get | Request::Delete);
        counts.filter(|(request, count)| *count > 0 && !behind(*request)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_one_put_and_a_flush_its_files_and_one_commit() {
    let disk = disk();
    let (store, requests) = start(&disk).await;
    let mut since = Since::now(&requests);
    for round in 0..3 {
        let (files, number) = (files(&disk).await, store.snapshot().manifest.number);
        for row in 0..ROWS - 1 {
            log(&store, &format!("c{row}"), round).await.unwrap();
        }
        assert_eq!(since.next(), [(Request::Put, ROWS - 1)], "round {round}");
        log(&store, "last", round).await.unwrap();
        until("the flush has ended", async || store.snapshot().manifest.number > number).await;
        let new = super::requests::files(&disk).await - files;
        // Of conversations, messages and threads, or fewer, and their sidecar.
        assert!((3..=4).contains(&new), "{new} files");
        assert_eq!(since.next(), [(Request::Put, 1 + new + 1)], "round {round}");
    }
    // Questions of what is in files read the files alone.
    scan(&store).await;
    for _ in 0..3 {
        scan(&store).await;
    }
    assert_eq!(since.next(), []);
    store.shutdown().await.unwrap();
}

async fn files(disk: &Arc<dyn ObjectStore>) -> u64 {
    let mut files = names(disk, "sidecars").await.len();
    for table in ["conversations", "messages", "semantic_threads"] {
        files += names(disk, &format!("{table}/data")).await.len();
    }
    files as u64
}
