use std::collections::BTreeMap;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::model::document;
use crate::model::ids::ConversationId;
use crate::model::origin::{Reach, Sender};
use crate::storage::catalog::delta::TableLog;
use crate::storage::error::ErrorKind;
use crate::storage::maintain::eraser::Shares;
use crate::storage::objects::faulty::{Fault, FlakyStore};

/// Longer than any clock of a test goes.
const NO_DEADLINE: Shares = Shares { within: Duration::from_secs(1_000 * 365 * 24 * 3_600) };

mod cache;
mod collection;
mod compaction;
mod histories;
mod origin;
mod races;
mod readiness;
mod requests;
mod sidecars;

fn identity() -> Identity {
    Identity {
        organization_id: OrganizationId::new("o"),
        project_id: ProjectId::new("p"),
        integration_id: None,
        sender: Sender::import(),
        reach: Reach::Everything,
    }
}

fn key(id: &str) -> ConversationKey {
    let Identity { organization_id, project_id, .. } = identity();
    ConversationKey { organization_id, project_id, id: ConversationId::new(id) }
}

/// A document whose properties and number of messages tell its version.
fn text(id: Option<&str>, external_id: Option<&str>, version: u64) -> String {
    let messages: Vec<_> = (0..1 + version % 3)
        .map(|number| serde_json::json!({"role": "user", "content": format!("{version}.{number}")}))
        .collect();
    serde_json::json!({"id": id, "externalId": external_id, "type": "openai", "properties": {"version": version},
        "messages": messages})
    .to_string()
}

fn read(id: Option<&str>, external_id: Option<&str>, version: u64) -> Document {
    document::parse(text(id, external_id, version).as_bytes()).unwrap()
}

fn version_of(conversation: &Conversation) -> u64 {
    let text = conversation.properties.as_ref().unwrap().get();
    let version = serde_json::from_str::<serde_json::Value>(text).unwrap()["version"].as_u64().unwrap();
    assert_eq!(conversation.messages.len() as u64, 1 + version % 3, "messages of another version");
    for (number, message) in conversation.messages.iter().enumerate() {
        assert_eq!(message.content.as_ref().unwrap().get(), format!("\"{version}.{number}\""));
    }
    version
}

fn options(flush_rows: usize) -> StoreOptions {
    StoreOptions { tail_bytes: 512 << 20, flush_rows, flush_interval: Duration::from_secs(600) }
}

fn disk() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// A store on a disk, with what stands between them.
struct Process {
    store: Arc<Store>,
    objects: Arc<FlakyStore>,
}

impl Process {
    async fn try_start(
        disk: &Arc<dyn ObjectStore>,
        flush_rows: usize,
        faults: Option<(u64, f64)>,
    ) -> Result<Self, StoreError> {
        let objects = Arc::new(FlakyStore::new(disk.clone(), &[]));
        if let Some((seed, share)) = faults {
            objects.fail_often(seed, share);
        }
        Self::try_start_on(Environment::of_test(objects.clone()), objects, flush_rows).await
    }

    async fn try_start_on(
        environment: Environment,
        objects: Arc<FlakyStore>,
        flush_rows: usize,
    ) -> Result<Self, StoreError> {
        let opened = Store::open_on(environment, &options(flush_rows)).await;
        if opened.is_err() {
            objects.kill();
        }
        Ok(Process { store: opened?, objects })
    }

    async fn start(disk: &Arc<dyn ObjectStore>, flush_rows: usize) -> Self {
        Self::try_start(disk, flush_rows, None).await.unwrap()
    }

    /// As a crash: whatever it has under way comes to nothing.
    fn end(self) {
        self.objects.kill();
    }
}

async fn log(store: &Store, id: &str, version: u64) -> Result<Arc<Conversation>, StoreError> {
    store.log_conversation(identity(), read(Some(id), None, version)).await
}

/// Every live row, by scanning; twice the same id fails.
async fn scan(store: &Store) -> BTreeMap<String, (u64, Option<String>)> {
    let snapshot = store.snapshot();
    let files =
        snapshot.tables.conversations.files.iter().map(|entry| (entry.file.number, entry.file.rows, &entry.deleted));
    let segments = snapshot
        .tables
        .conversations
        .segments
        .iter()
        .map(|entry| (entry.segment.number, entry.segment.rows.len() as u32, &entry.deleted));
    let mut addresses = Vec::new();
    for (source, rows, deleted) in files.chain(segments) {
        addresses.extend((0..rows).filter(|row| !deleted.contains(*row)).map(|row| RowAddress { source, row }));
    }
    let mut found = BTreeMap::new();
    for conversation in store.read_rows(&snapshot, &addresses).await.unwrap() {
        let state = (version_of(&conversation), conversation.external_id.clone());
        let before = found.insert(conversation.id.as_str().to_owned(), state);
        assert!(before.is_none(), "{} is there twice", conversation.id);
    }
    found
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    for _ in 0..2_000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_write_in_doubt_is_settled_and_applied() {
    for fault in [Fault::NotWritten, Fault::AnswerLost] {
        let disk = disk();
        let process = Process::start(&disk, 100).await;
        let (store, objects) = (&process.store, &process.objects);
        log(store, "before", 1).await.unwrap();
        objects.fail(Some(("wal/", fault)));
        let doubtful = log(store, "doubtful", 2).await.unwrap_err();
        assert!(matches!(&doubtful, StoreError::Unavailable(text) if text.contains("may or may not")), "{doubtful}");
        if fault == Fault::NotWritten {
            let refused = log(store, "refused", 3).await.unwrap_err();
            assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
            assert_eq!(scan(store).await.len(), 1, "nothing that is in doubt is visible");
        }
        objects.fail(None);
        until("the log object is settled", async || {
            store.snapshot().tables.conversations.tail.live(&key("doubtful")).is_some()
        })
        .await;
        log(store, "after", 4).await.unwrap();
        let seen = scan(store).await;
        assert_eq!(seen.keys().collect::<Vec<_>>(), ["after", "before", "doubtful"]);
        process.end();
        assert_eq!(scan(&Process::start(&disk, 100).await.store).await, seen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_log_write_in_doubt() {
    let Process { store, objects } = Process::start(&disk(), 100).await;
    objects.fail(Some(("wal/", Fault::NotWritten)));
    log(&store, "doubtful", 1).await.unwrap_err();
    let stopped = tokio::time::timeout(Duration::from_secs(5), store.shutdown()).await.unwrap();
    assert!(matches!(stopped, Err(StoreError::Unavailable(_))), "{stopped:?}");
}

/// The end of a flush must wait for the group in doubt, which was resolved against the tail before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_ends_while_a_log_write_is_in_doubt_doubles_nothing() {
    let disk = disk();
    let process = Process::start(&disk, 3).await;
    let (store, objects) = (&process.store, &process.objects);
    log(store, "a", 1).await.unwrap();
    log(store, "b", 2).await.unwrap();
    objects.fail(Some(("messages/data", Fault::Held)));
    log(store, "c", 3).await.unwrap();
    // Taken in after the freeze.
    log(store, "d", 3).await.unwrap();
    assert!(store.snapshot().tables.conversations.tail.frozen().is_some());
    objects.fail(Some(("wal/", Fault::NotWritten)));
    log(store, "a", 4).await.unwrap_err();
    // After that of the start.
    until("the flush has committed", async || names(&disk, "commits").await.len() == 2).await;
    objects.fail(None);
    until("the flush has ended", async || !store.snapshot().tables.conversations.files.is_empty()).await;
    until("the change is visible", async || store.snapshot().tables.conversations.tail.live(&key("a")).is_some()).await;
    let seen = scan(store).await;
    assert_eq!(
        seen.iter().map(|(id, (version, _))| (id.as_str(), *version)).collect::<Vec<_>>(),
        [("a", 4), ("b", 2), ("c", 3), ("d", 3)]
    );
    process.end();
    assert_eq!(scan(&Process::start(&disk, 3).await.store).await, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_change_while_they_are_flushed_stay_changed() {
    let disk = disk();
    let process = Process::start(&disk, 4).await;
    let (store, objects) = (&process.store, &process.objects);
    for (number, id) in ["replaced", "deleted", "back", "kept"].into_iter().enumerate() {
        if id == "kept" {
            objects.fail(Some(("conversations/data", Fault::Held)));
        }
        log(store, id, number as u64).await.unwrap();
    }
    // Frozen by the next look of the committer at its policy.
    log(store, "new", 9).await.unwrap();
    assert!(store.snapshot().tables.conversations.tail.frozen().is_some());
    log(store, "replaced", 10).await.unwrap();
    assert!(!store.delete_conversation(&key("deleted")).await.unwrap().is_nothing());
    assert!(!store.delete_conversation(&key("back")).await.unwrap().is_nothing());
    log(store, "back", 11).await.unwrap();
    let seen = scan(store).await;
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["back", "kept", "new", "replaced"]);
    objects.fail(None);
    until("the flush has ended", async || !store.snapshot().tables.conversations.files.is_empty()).await;
    assert_eq!(scan(store).await, seen);
    process.end();
    assert_eq!(scan(&Process::start(&disk, 100).await.store).await, seen, "after a replay over the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_fails_leaves_no_files() {
    let disk = disk();
    let process = Process::start(&disk, 2).await;
    let (store, objects) = (&process.store, &process.objects);
    objects.fail(Some(("messages/data", Fault::NotWritten)));
    log(store, "a", 1).await.unwrap();
    log(store, "b", 2).await.unwrap();
    let before = objects.failed_puts();
    until("some tries have failed", async || objects.failed_puts() >= before + 3).await;
    assert!(store.snapshot().tables.conversations.files.is_empty());
    objects.fail(None);
    until("the flush has ended", async || store.snapshot().tables.conversations.files.len() == 1).await;
    for folder in &crate::storage::write::recovery::data_folders() {
        let folder = folder.as_ref();
        let written = !folder.starts_with("events") && !folder.starts_with("feedback");
        assert_eq!(names(&disk, folder).await.len(), usize::from(written), "{folder}");
    }
    assert_eq!(names(&disk, "sidecars").await.len(), 1);
}

/// Only what was read and is wrong is damaged; what could not be read may be well.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_now_is_not_called_damaged() {
    let disk = disk();
    let objects = Arc::new(FlakyStore::new(disk.clone(), &[]));
    // What was read once would be found in memory.
    let environment = Environment::of_test(objects.clone()).with_cache_bytes(0);
    let process = Process::try_start_on(environment, objects, 2).await.unwrap();
    log(&process.store, "a", 1).await.unwrap();
    log(&process.store, "b", 2).await.unwrap();
    let store = &process.store;
    until("the flush has ended", async || !store.snapshot().tables.conversations.files.is_empty()).await;
    log(store, "c", 3).await.unwrap();

    process.objects.fail_reads(Some("sidecars/"));
    let organization = identity().organization_id;
    let find = || store.find(&organization, None, Lookup::Id("a"));
    assert_eq!(find().await.unwrap_err().kind(), ErrorKind::Retry);
    assert_eq!(store.delete_conversation(&key("a")).await.unwrap_err().kind(), ErrorKind::Retry);
    process.objects.fail_reads(None);
    assert_eq!(find().await.unwrap().len(), 1);
    process.end();

    for prefix in ["wal/", "commits/", "FORMAT", "sidecars/"] {
        let objects = FlakyStore::new(disk.clone(), &[]);
        objects.fail_reads(Some(prefix));
        let error = Store::open_on(Environment::of_test(Arc::new(objects)), &options(100)).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Retry, "{prefix}: {error}");
        assert!(!error.to_string().contains("damaged"), "{prefix}: {error}");
    }
    for folder in ["wal", "commits", "conversations/data"] {
        let path = Path::from(names(&disk, folder).await.into_iter().next_back().unwrap());
        let bytes = disk.get(&path).await.unwrap().bytes().await.unwrap();
        disk.put(&path, bytes.slice(..bytes.len() / 2).into()).await.unwrap();
        let error = Store::open_on(Environment::of_test(disk.clone()), &options(100)).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{path}: {error}");
        assert!(error.to_string().contains(path.as_ref()), "{path}: {error}");
        disk.put(&path, bytes.into()).await.unwrap();
    }
    assert_eq!(scan(&Process::start(&disk, 100).await.store).await.len(), 3);
}

/// A VACUUM of another engine, say, puts its own commits into the table logs.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_another_program_hides_none_of_ours() {
    let disk = disk();
    let process = Process::start(&disk, 2).await;
    let store = &process.store;
    let flushed = |count: usize| {
        until("the flush has ended", async move || store.snapshot().tables.conversations.files.len() == count)
    };
    log(store, "a", 1).await.unwrap();
    log(store, "b", 2).await.unwrap();
    flushed(1).await;
    let derived = async || names(&disk, "messages/_delta_log").await.len();
    until("the log is derived", async || derived().await > 0).await;
    for table in ["conversations", "messages"] {
        let environment = Environment::of_test(disk.clone());
        let mut other = TableLog::open(environment.clone(), Path::from(table)).await.unwrap().unwrap();
        other.commit(Vec::new(), environment.now()).await.unwrap();
    }
    log(store, "a", 3).await.unwrap();
    log(store, "c", 4).await.unwrap();
    flushed(2).await;
    // This flush's position is above what the lost one would have left in the log.
    log(store, "d", 5).await.unwrap();
    log(store, "e", 6).await.unwrap();
    flushed(3).await;
    let seen = scan(store).await;
    store.shutdown().await.unwrap();
    assert_eq!(live_rows(&disk, "conversations").await, seen.len() as u64, "for other engines");
    process.end();
    assert_eq!(scan(&Process::start(&disk, 2).await.store).await, seen);
}

/// Random changes on a store whose writes often fail, against a map. A change whose answer is an error is in doubt
/// until the next look.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_store_loses_and_doubles_nothing() {
    let seeds = std::env::var("CONVOLAKE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    for seed in 0..seeds {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = disk();
        let mut model: BTreeMap<String, (u64, Option<String>)> = BTreeMap::new();
        let mut process = Process::start(&disk, 7).await;
        process.objects.fail_often(seed, 0.08);
        // Files are merged all the time, beside everything else.
        let mut compacting = compaction::all_the_time(&process.store);
        for step in 0..150_u64 {
            let store = process.store.clone();
            let id = format!("c{}", random.random_range(0..14));
            let external_id = random.random_bool(0.5).then(|| format!("e{}", random.random_range(0..8)));
            let holder = |model: &BTreeMap<String, (u64, Option<String>)>, external_id: &str| {
                model.iter().find(|(_, (_, own))| own.as_deref() == Some(external_id)).map(|(id, _)| id.clone())
            };
            let (target, wanted) = match random.random_range(0..10) {
                0..7 => {
                    let holder = external_id.as_deref().and_then(|external_id| holder(&model, external_id));
                    // By externalId alone where somebody holds it.
                    let by_external_id = holder.is_some() && random.random_bool(0.5);
                    let target = if by_external_id { holder.clone().unwrap_or_default() } else { id.clone() };
                    let named = (!by_external_id).then_some(id.as_str());
                    let document = read(named, external_id.as_deref(), step);
                    let answer = store.log_conversation(identity(), document).await;
                    let conflict = holder.is_some_and(|holder| holder != target);
                    match answer {
                        Ok(conversation) => {
                            assert!(!conflict, "seed {seed} step {step}: no conflict was seen");
                            assert_eq!(conversation.id.as_str(), target, "seed {seed} step {step}");
                            model.insert(target, (step, external_id));
                            continue;
                        }
                        Err(StoreError::Conflict(_)) if conflict => continue,
                        Err(StoreError::Unavailable(_)) if conflict => continue,
                        Err(StoreError::Unavailable(_)) => (target, Some((step, external_id))),
                        Err(error) => panic!("seed {seed} step {step}: {error}"),
                    }
                }
                7..9 => match store.delete_conversation(&key(&id)).await {
                    Ok(found) => {
                        assert_eq!(!found.is_nothing(), model.remove(&id).is_some(), "seed {seed} step {step}");
                        continue;
                    }
                    Err(StoreError::Unavailable(_)) => (id, None),
                    Err(error) => panic!("seed {seed} step {step}: {error}"),
                },
                _ => {
                    if random.random_bool(0.3) {
                        // A stop whose last flush fails is a crash.
                        let _ = store.shutdown().await;
                    }
                    drop(store);
                    compacting.abort();
                    process.end();
                    process = loop {
                        match Process::try_start(&disk, 7, Some((random.random(), 0.08))).await {
                            Ok(process) => break process,
                            Err(error) if error.kind() == ErrorKind::Retry => {}
                            Err(error) => panic!("seed {seed} step {step}: {error}"),
                        }
                    };
                    assert_eq!(scan(&process.store).await, model, "seed {seed} step {step}");
                    compacting = compaction::all_the_time(&process.store);
                    continue;
                }
            };
            // In doubt: wait until changes are taken again, then see which way it went.
            loop {
                match store.delete_conversation(&key("nobody")).await {
                    Ok(_) => break,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
            let Identity { organization_id, project_id, .. } = identity();
            let found = store.find(&organization_id, Some(&project_id), Lookup::Id(&target)).await.unwrap();
            let found = found.first().map(|found| (version_of(found), found.external_id.clone()));
            let before = model.get(&target).cloned();
            assert!(found == before || found == wanted, "seed {seed} step {step}: {found:?}, {before:?} or {wanted:?}");
            match found {
                Some(found) => model.insert(target, found),
                None => model.remove(&target),
            };
        }
        assert_eq!(scan(&process.store).await, model, "seed {seed}");
        compacting.abort();
        process.end();
        let process = Process::start(&disk, 7).await;
        process.store.shutdown().await.unwrap();
        let wanted: u64 = model.values().map(|(version, _)| 1 + version % 3).sum();
        assert_eq!(live_rows(&disk, "conversations").await, model.len() as u64, "seed {seed}");
        assert_eq!(live_rows(&disk, "messages").await, wanted, "seed {seed}");
        assert_eq!(scan(&Process::start(&disk, 7).await.store).await, model, "seed {seed}");
    }
}

/// Rows of a table as its log tells them to anybody.
async fn live_rows(disk: &Arc<dyn ObjectStore>, table: &str) -> u64 {
    let log = TableLog::open(Environment::of_test(disk.clone()), Path::from(table)).await.unwrap().unwrap();
    let live = log.state().files.values().map(|add| {
        let deleted = add.deletion_vector.as_ref().map_or(0, |vector| vector.cardinality);
        add.statistics().unwrap().num_records - u64::try_from(deleted).unwrap()
    });
    live.sum()
}

async fn names(disk: &Arc<dyn ObjectStore>, prefix: &str) -> Vec<String> {
    let listed = disk.list(Some(&Path::from(prefix)));
    let mut names: Vec<String> = listed.map_ok(|object| object.location.to_string()).try_collect().await.unwrap();
    names.sort();
    names
}

/// Documents, annotations, flushes and a restart at the same time: nobody's change is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn annotations_and_documents_do_not_overwrite_each_other() {
    let disk = disk();
    let process = Process::start(&disk, 8).await;
    for number in 0..6 {
        log(&process.store, &format!("c{number}"), 0).await.unwrap();
    }
    let logging = {
        let store = process.store.clone();
        tokio::spawn(async move {
            for version in 1..40 {
                for number in 0..6 {
                    log(&store, &format!("c{number}"), version).await.unwrap();
                }
            }
        })
    };
    let actor = Actor { agent_email: Some("agent".to_owned()), ..Actor::default() };
    let change = |title: String| AnnotationChange { title: Some(Some(title)), ..AnnotationChange::default() };
    for round in 0..40 {
        for number in 0..3 {
            let annotated = process
                .store
                .annotate(&key(&format!("c{number}")), &change(format!("t{round}")), &actor)
                .await
                .unwrap();
            assert_eq!(annotated.unwrap().annotations.title, Some(format!("t{round}")));
        }
        let bulk = AnnotationChange { state: Some(format!("s{round}")), stop: true, ..AnnotationChange::default() };
        loop {
            let snapshot = process.store.snapshot();
            let mut addresses = Vec::new();
            for entry in snapshot.tables.conversations.files.iter() {
                let live = (0..entry.file.rows).filter(|row| !entry.deleted.contains(*row));
                addresses.extend(live.map(|row| RowAddress { source: entry.file.number, row }));
            }
            for entry in snapshot.tables.conversations.segments.iter() {
                let rows = entry.segment.rows.len() as u32;
                let live = (0..rows).filter(|row| !entry.deleted.contains(*row));
                addresses.extend(live.map(|row| RowAddress { source: entry.segment.number, row }));
            }
            match process.store.annotate_all(&snapshot, &addresses, &bulk, &actor).await.unwrap() {
                BulkOutcome::Changed(count) => break assert_eq!(count, 6),
                BulkOutcome::Stale => {}
                BulkOutcome::TooLarge => panic!("these are small"),
            }
        }
    }
    logging.await.unwrap();
    assert!(process.store.annotate(&key("unknown"), &change("t".into()), &actor).await.unwrap().is_none());
    let check = async |store: &Store| {
        for number in 0..6 {
            let id = format!("c{number}");
            let found = store.find(&identity().organization_id, None, Lookup::Id(&id)).await.unwrap();
            let [found] = found.as_slice() else { panic!("{id} is there {} times", found.len()) };
            assert_eq!(version_of(found), 39);
            let annotations = &found.annotations;
            assert_eq!(annotations.state.as_deref(), Some("s39"));
            assert_eq!(annotations.title.as_deref(), (number < 3).then_some("t39"));
            assert_eq!(annotations.changed.as_ref().map(|changed| &changed.by), Some(&actor));
            assert!(annotations.stopped.is_some());
        }
    };
    check(&process.store).await;
    process.end();
    let process = Process::start(&disk, 8).await;
    check(&process.store).await;
    process.store.shutdown().await.unwrap();
    let process = Process::start(&disk, 8).await;
    check(&process.store).await;
}

/// Short messages are more in memory than in the log, and count so: also once they are replayed.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_derived_counts_in_the_tail() {
    let disk = disk();
    let process = Process::start(&disk, 1_000).await;
    let messages = vec![serde_json::json!({"role": "user", "content": "x"}); 1_000];
    let body = serde_json::json!({"id": "many", "type": "openai", "messages": messages});
    let document = crate::model::document::parse(body.to_string().as_bytes()).unwrap();
    process.store.log_conversation(identity(), document).await.unwrap();
    let bytes = process.store.snapshot().tail_bytes();
    assert!(bytes > 1_000 * 512, "{bytes}");
    process.end();
    let process = Process::start(&disk, 1_000).await;
    assert_eq!(process.store.snapshot().tail_bytes(), bytes);
    process.end();
}
