//! What no commit names any more goes, after the grace period, and nothing else.

use super::compaction::all;
use super::*;
use crate::environment::test::TestClock;
use crate::storage::maintain::collector::Collected;

const GRACE: Duration = Duration::from_secs(3_600);
/// Ahead of the time at which the objects of a test were made.
const AHEAD_MILLIS: i64 = 400 * 24 * 3_600 * 1_000;

async fn start(disk: &Arc<dyn ObjectStore>) -> (Arc<Store>, Arc<TestClock>) {
    let (environment, clock) = Environment::seeded(disk.clone(), 7);
    (Store::open_on(environment, &options(4)).await.unwrap(), clock)
}

/// So many flushes, and a model of what is there.
async fn fill(store: &Store, flushes: u64) -> BTreeMap<String, (u64, Option<String>)> {
    let mut model = BTreeMap::new();
    for flush in 0..flushes {
        let before = store.snapshot().manifest.number;
        for row in 0..4 {
            let id = format!("c{}", flush * 3 + row);
            log(store, &id, flush).await.unwrap();
            model.insert(id, (flush, None));
        }
        until("the flush has ended", async || store.snapshot().manifest.number > before).await;
    }
    model
}

#[tokio::test(flavor = "multi_thread")]
async fn what_merges_replaced_goes_once_nobody_can_want_it() {
    let disk = disk();
    let (store, clock) = start(&disk).await;
    fill(&store, 5).await;
    let old = store.snapshot();
    assert!(store.compactor(all, NO_DEADLINE).compact_once().await.unwrap());
    let collector = store.collector(GRACE, NO_DEADLINE);
    let before = names(&disk, "").await;
    assert_eq!(collector.collect().await.unwrap(), Collected::default(), "the grace period is not over");
    clock.advance(AHEAD_MILLIS);
    assert_eq!(collector.collect().await.unwrap(), Collected::default(), "one of the newest commits took them out");
    assert_eq!(names(&disk, "").await, before);

    let model = fill(&store, 12).await;
    clock.advance(AHEAD_MILLIS);
    assert_eq!(collector.collect().await.unwrap(), Collected::default(), "a reader has them");
    drop(old);
    let collected = collector.collect().await.unwrap();
    // Five files of conversations, of messages and of threads, and their sidecars.
    assert!((15..=20).contains(&collected.objects), "{collected:?}");
    let live = store.snapshot().manifest.tables["conversations"].files.len();
    assert_eq!(names(&disk, "conversations/data").await.len(), live);
    assert_eq!(names(&disk, "sidecars").await.len(), live);
    let mut found = scan(&store).await;
    found.retain(|id, _| model.contains_key(id));
    assert_eq!(found, model);
    let all_of_it = scan(&store).await;
    store.shutdown().await.unwrap();
    drop(store);
    assert_eq!(scan(&start(&disk).await.0).await, all_of_it);
}

#[tokio::test(flavor = "multi_thread")]
async fn much_that_is_in_no_commit_is_left_alone() {
    let disk = disk();
    let (store, clock) = start(&disk).await;
    fill(&store, 12).await;
    clock.advance(AHEAD_MILLIS);
    let leave = async |count: u128| {
        for number in 0..count {
            let path = format!("conversations/data/{}.parquet", uuid::Uuid::from_u128(number));
            disk.put(&Path::from(path), "left".into()).await.unwrap();
        }
    };
    // A file of one's own may wait for its commit as long as the store takes none.
    let own = format!("conversations/data/{}.parquet", store.environment.ids.in_order());
    disk.put(&Path::from(own.as_str()), "waits".into()).await.unwrap();
    leave(3).await;
    disk.put(&Path::from("conversations/data/notes.txt"), "not ours".into()).await.unwrap();
    assert_eq!(store.collector(GRACE, NO_DEADLINE).collect().await.unwrap().objects, 3);
    leave(65).await;
    let error = store.collector(GRACE, NO_DEADLINE).collect().await.unwrap_err();
    assert!(error.to_string().contains("65 of"), "{error}");
    let left = names(&disk, "conversations/data").await;
    assert!(left.contains(&"conversations/data/notes.txt".to_owned()) && left.contains(&own), "{left:?}");
    assert_eq!(store.collect_once(GRACE, NO_DEADLINE, true).await.unwrap().objects, 65, "somebody has said so");
    assert_eq!(names(&disk, "conversations/data").await.len(), left.len() - 65);
}

/// It does not know what the other has written.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_overtaken_deletes_nothing() {
    let disk = disk();
    let (store, clock) = start(&disk).await;
    fill(&store, 2).await;
    clock.advance(AHEAD_MILLIS);
    let second = Store::open_on(Environment::of_test(disk.clone()), &options(4)).await.unwrap();
    fill(&second, 2).await;
    let before = names(&disk, "").await;
    let error = store.collector(GRACE, NO_DEADLINE).collect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    assert_eq!(names(&disk, "").await, before);
}
