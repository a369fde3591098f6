//! Random histories on a store that fails, delays, loses answers, tears and reorders: changes, flushes, merges,
//! collections, erasures, crashes, restarts, takeovers by a second writer, hours that pass. After each step, what must
//! always hold (`src/ARCHITECTURE.md`) is held against a model; at the end nothing is left of what was deleted.
//!
//! `CONVOLAKE_HISTORIES` says how many, `CONVOLAKE_HISTORY` plays one of them again.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::environment::test::TestClock;
use crate::model::event;
use crate::model::ids::{EpochMillis, EventId, EventKey, WalPosition};
use crate::storage::format::table_row::TableRow;
use crate::storage::maintain::absence;
use crate::storage::maintain::compaction::policy::{self, Policy};
use crate::storage::objects::adverse::AdverseStore;
use crate::storage::read::snapshot::TableSnapshot;

const STEPS: u64 = 40;
const FLUSH_ROWS: usize = 9;
/// At the same time: most of the time they wait.
const AT_ONCE: usize = 8;
const SHARES: Shares = Shares { within: Duration::from_secs(24 * 3_600) };
const GRACE: Duration = Duration::from_secs(3_600);
const HOUR: i64 = 3_600_000;
/// A change that is in doubt, or a store that is tried again, is settled by then.
const PATIENCE: Duration = Duration::from_secs(60);

type Rows = BTreeMap<String, (u64, Option<String>)>;

/// What is acknowledged.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    /// The step that logged it, and its externalId.
    conversations: Rows,
    events: BTreeMap<String, u64>,
}

struct Process {
    store: Arc<Store>,
    objects: AdverseStore,
    clock: Arc<TestClock>,
    compacting: Option<tokio::task::JoinHandle<Result<bool, StoreError>>>,
}

struct World {
    seed: u64,
    step: u64,
    random: StdRng,
    disk: Arc<dyn ObjectStore>,
    started: u64,
    /// Of a thousand requests, so many meet something.
    adverse: u64,
    now: EpochMillis,
    position: WalPosition,
    process: Process,
    model: Model,
    /// Every step that logged a thing.
    logged: BTreeMap<String, Vec<u64>>,
    /// Steps whose rows were deleted.
    gone: Vec<u64>,
}

/// In every text of what a step logs.
fn mark(seed: u64, step: u64) -> String {
    format!("mark{seed}x{step}x")
}

fn event_key(id: &str) -> EventKey {
    let Identity { organization_id, project_id, .. } = identity();
    EventKey { organization_id, project_id, id: EventId::new(id) }
}

/// Live rows of a table.
fn live<R: TableRow>(table: &TableSnapshot<R>) -> Vec<RowAddress> {
    let files = table.files.iter().map(|entry| (entry.file.number, entry.file.rows, &entry.deleted));
    let segments = table.segments.iter();
    let segments = segments.map(|entry| (entry.segment.number, entry.segment.rows.len() as u32, &entry.deleted));
    let rows = files.chain(segments).flat_map(|(source, rows, deleted)| {
        (0..rows).filter(|row| !deleted.contains(*row)).map(move |row| RowAddress { source, row })
    });
    rows.collect()
}

impl World {
    async fn start(seed: u64) -> World {
        let disk: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        disk.put(&Path::from("clock"), "x".into()).await.unwrap();
        let now = disk.head(&Path::from("clock")).await.unwrap().last_modified.timestamp_millis();
        disk.delete(&Path::from("clock")).await.unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        let adverse = [0, 20, 60, 150][random.random_range(0..4)];
        let now = EpochMillis(now);
        let process = Process::start(&disk, seed * 1_000, now, 0).await;
        process.objects.rage(adverse);
        World {
            seed,
            step: 0,
            random,
            disk,
            started: 0,
            adverse,
            now,
            position: WalPosition(0),
            process,
            model: Model::default(),
            logged: BTreeMap::new(),
            gone: Vec::new(),
        }
    }

    fn place(&self) -> String {
        format!("CONVOLAKE_HISTORY={} step {} ({} of 1000)", self.seed, self.step, self.adverse)
    }

    fn store(&self) -> &Arc<Store> {
        &self.process.store
    }

    fn document(&self, id: &str, external_id: Option<&str>) -> Document {
        let mark = mark(self.seed, self.step);
        let messages: Vec<_> = (0..1 + self.step % 3)
            .map(|number| serde_json::json!({"role": "user", "content": format!("{mark} {number}")}))
            .collect();
        let text = serde_json::json!({"id": id, "externalId": external_id, "type": "openai",
            "properties": {"step": self.step, "mark": mark}, "messages": messages});
        document::parse(text.to_string().as_bytes()).unwrap()
    }

    async fn act(&mut self) {
        let id = format!("c{}", self.random.random_range(0..12));
        let event = format!("e{}", self.random.random_range(0..6));
        match self.random.random_range(0..100) {
            0..34 => self.log(&id).await,
            34..44 => self.log_event(&event).await,
            44..56 => self.delete(&id).await,
            56..60 => self.delete_event(&event).await,
            60..68 => self.flush().await,
            68..80 => self.compact().await,
            80..86 => _ = self.collect(false).await,
            86..90 => self.restart(true).await,
            90..93 => self.restart(false).await,
            93..96 => self.take_over().await,
            96..98 => self.erase_some().await,
            _ => {
                self.now = EpochMillis(self.now.0 + self.random.random_range(1..20) * HOUR);
                self.process.clock.set(self.now);
            }
        }
    }

    async fn log(&mut self, id: &str) {
        let external_id = self.random.random_bool(0.4).then(|| format!("x{}", self.random.random_range(0..6)));
        let holder = external_id.as_ref().and_then(|wanted| {
            let mut rows = self.model.conversations.iter();
            rows.find(|(_, (_, own))| own.as_ref() == Some(wanted)).map(|(holder, _)| holder.clone())
        });
        let conflict = holder.is_some_and(|holder| holder != id);
        let document = self.document(id, external_id.as_deref());
        // Whatever comes of it: it may be in the log.
        match self.store().log_conversation(identity(), document).await {
            Ok(_) => {
                assert!(!conflict, "{}: no conflict was seen", self.place());
                self.has_logged(id);
                self.model.conversations.insert(id.to_owned(), (self.step, external_id));
            }
            Err(StoreError::Conflict(_)) => assert!(conflict, "{}: a conflict with nobody", self.place()),
            Err(error) => {
                self.in_doubt(error).await;
                let found = self.find(id).await;
                let before = self.model.conversations.get(id).cloned();
                let wanted = Some((self.step, external_id));
                assert!(found == before || (found == wanted && !conflict), "{}: {found:?}", self.place());
                if found == wanted {
                    self.has_logged(id);
                    self.model.conversations.extend(found.map(|found| (id.to_owned(), found)));
                }
            }
        }
    }

    fn has_logged(&mut self, id: &str) {
        self.logged.entry(id.to_owned()).or_default().push(self.step);
    }

    fn has_deleted(&mut self, id: &str) {
        self.gone.extend(self.logged.remove(id).into_iter().flatten());
    }

    async fn log_event(&mut self, id: &str) {
        let mark = mark(self.seed, self.step);
        let text = serde_json::json!({"id": id, "type": mark, "entityType": "search", "searchQuery": mark,
            "properties": {"step": self.step}});
        let document = event::parse(text.to_string().as_bytes()).unwrap();
        let logged = match self.store().log_event(identity(), document).await {
            Ok(_) => true,
            Err(error) => {
                self.in_doubt(error).await;
                let (found, before) = (self.find_event(id).await, self.model.events.get(id).copied());
                assert!(found == before || found == Some(self.step), "{}: {found:?}", self.place());
                found == Some(self.step)
            }
        };
        if logged {
            self.has_logged(id);
            self.model.events.insert(id.to_owned(), self.step);
        }
    }

    async fn delete(&mut self, id: &str) {
        let gone = match self.store().delete_conversation(&key(id)).await {
            Ok(deleted) => {
                let was_there = self.model.conversations.contains_key(id);
                assert_eq!(!deleted.is_nothing(), was_there, "{}: {id}", self.place());
                true
            }
            Err(error) => {
                self.in_doubt(error).await;
                let (found, before) = (self.find(id).await, self.model.conversations.get(id).cloned());
                assert!(found.is_none() || found == before, "{}: {found:?}", self.place());
                found.is_none()
            }
        };
        if gone && self.model.conversations.remove(id).is_some() {
            self.has_deleted(id);
        }
    }

    async fn delete_event(&mut self, id: &str) {
        let gone = match self.store().delete_event(&event_key(id)).await {
            Ok(deleted) => {
                assert_eq!(!deleted.is_nothing(), self.model.events.contains_key(id), "{}: {id}", self.place());
                true
            }
            Err(error) => {
                self.in_doubt(error).await;
                self.find_event(id).await.is_none()
            }
        };
        if gone && self.model.events.remove(id).is_some() {
            self.has_deleted(id);
        }
    }

    /// As `POST /erase` of a user with several.
    async fn erase_some(&mut self) {
        let ids: Vec<String> = self.model.conversations.keys().step_by(3).cloned().collect();
        for id in ids {
            self.delete(&id).await;
        }
    }

    /// Until changes are taken again, which tells what came of the one before.
    async fn in_doubt(&self, error: StoreError) {
        assert!(matches!(error.kind(), ErrorKind::Retry | ErrorKind::Full), "{}: {error}", self.place());
        let settled = async {
            while self.store().delete_conversation(&key("nobody")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        tokio::time::timeout(PATIENCE, settled).await.unwrap_or_else(|_| panic!("{}: never settled", self.place()));
    }

    /// Without anything that meets the reads.
    async fn find(&self, id: &str) -> Option<(u64, Option<String>)> {
        self.process.objects.rage(0);
        let Identity { organization_id, project_id, .. } = identity();
        let found = self.store().find(&organization_id, Some(&project_id), Lookup::Id(id)).await;
        let found = found.unwrap_or_else(|error| panic!("{}: {error}", self.place()));
        self.process.objects.rage(self.adverse);
        assert!(found.len() <= 1, "{}: {id} is found {} times", self.place(), found.len());
        found.first().map(|found| (self.step_of(found), found.external_id.clone()))
    }

    async fn find_event(&self, id: &str) -> Option<u64> {
        self.process.objects.rage(0);
        let (Identity { organization_id, project_id, .. }, snapshot) = (identity(), self.store().snapshot());
        let found = snapshot.tables.events.find(&snapshot.store, &organization_id, Some(&project_id), id).await;
        let found = found.unwrap_or_else(|error| panic!("{}: {error}", self.place()));
        self.process.objects.rage(self.adverse);
        assert!(found.len() <= 1, "{}: {id} is found {} times", self.place(), found.len());
        found.first().map(|found| self.step_of_event(&found.event_type))
    }

    /// A row is one version's as a whole.
    fn step_of(&self, conversation: &Conversation) -> u64 {
        let properties: serde_json::Value =
            serde_json::from_str(conversation.properties.as_ref().unwrap().get()).unwrap();
        let step = properties["step"].as_u64().unwrap();
        let mark = mark(self.seed, step);
        assert_eq!(properties["mark"], mark.as_str(), "{}", self.place());
        let contents = conversation.messages.iter().map(|message| message.content.as_ref().unwrap().get().to_owned());
        let wanted = (0..1 + step % 3).map(|number| format!("\"{mark} {number}\""));
        assert!(contents.eq(wanted), "{}: messages of another version", self.place());
        step
    }

    fn step_of_event(&self, event_type: &str) -> u64 {
        let step = event_type.split('x').nth(1).and_then(|step| step.parse().ok());
        step.unwrap_or_else(|| panic!("{}: {event_type}", self.place()))
    }

    async fn flush(&self) {
        let _ = self.store().commands.send(Command::Flush).await;
    }

    /// One merge at a time, beside what comes next.
    async fn compact(&mut self) {
        self.end_compaction().await;
        let policy: Policy = if self.random.random_bool(0.5) { compaction::all } else { policy::choose };
        let compactor = self.store().compactor(policy, SHARES);
        self.process.compacting = Some(tokio::spawn(async move { compactor.compact_once().await }));
        if self.random.random_bool(0.5) {
            self.end_compaction().await;
        }
    }

    async fn end_compaction(&mut self) {
        let Some(compacting) = self.process.compacting.take() else { return };
        match tokio::time::timeout(PATIENCE, compacting).await {
            Ok(Ok(Ok(_))) => {}
            Ok(Ok(Err(error))) if matches!(error.kind(), ErrorKind::Retry | ErrorKind::Full) => {}
            other => panic!("{}: {other:?}", self.place()),
        }
    }

    async fn collect(&self, all_leftovers: bool) -> usize {
        match self.store().collect_once(GRACE, SHARES, all_leftovers).await {
            Ok(collected) => collected.objects,
            Err(error) if error.kind() == ErrorKind::Retry => 0,
            Err(error) if error.to_string().contains("more than a crash leaves") => 0,
            Err(error) => panic!("{}: {error}", self.place()),
        }
    }

    async fn restart(&mut self, crash: bool) {
        if !crash {
            // A stop whose last flush fails is a crash.
            let _ = tokio::time::timeout(PATIENCE, self.store().shutdown()).await.expect("it stops");
        }
        self.end_process();
        self.begin_process().await;
    }

    fn end_process(&mut self) {
        if let Some(compacting) = self.process.compacting.take() {
            compacting.abort();
        }
        self.process.objects.kill();
    }

    async fn begin_process(&mut self) {
        self.started += 1;
        let seed = self.seed * 1_000 + self.started;
        self.process = Process::start(&self.disk, seed, self.now, self.adverse).await;
        self.position = WalPosition(0);
    }

    /// Another process opens the store while this one writes: this one acknowledges nothing more.
    async fn take_over(&mut self) {
        self.started += 1;
        let seed = self.seed * 1_000 + self.started;
        let second = Process::start(&self.disk, seed, self.now, self.adverse).await;
        let first = std::mem::replace(&mut self.process, second);
        let refused = first.store.log_conversation(identity(), self.document("fenced", None)).await;
        assert!(refused.is_err(), "{}: who was taken over acknowledges", self.place());
        if let Some(compacting) = &first.compacting {
            compacting.abort();
        }
        first.objects.kill();
        self.position = WalPosition(0);
    }

    async fn check(&mut self) {
        let snapshot = self.store().snapshot();
        assert!(snapshot.position >= self.position, "{}: positions go back", self.place());
        self.position = snapshot.position;
        assert!(snapshot.manifest.wal_position <= snapshot.position, "{}", self.place());
        self.process.objects.rage(0);
        let mut seen = Model::default();
        let conversations = snapshot.read_rows(&live(&snapshot.tables.conversations)).await;
        for row in conversations.unwrap_or_else(|error| panic!("{}: {error}", self.place())) {
            let state = (self.step_of(&row), row.external_id.clone());
            let before = seen.conversations.insert(row.id.as_str().to_owned(), state);
            assert!(before.is_none(), "{}: {} is there twice", self.place(), row.id);
        }
        let events = &snapshot.tables.events;
        let rows = events.read_rows(&snapshot.store, &live(events)).await;
        for row in rows.unwrap_or_else(|error| panic!("{}: {error}", self.place())) {
            let before = seen.events.insert(row.id.as_str().to_owned(), self.step_of_event(&row.event_type));
            assert!(before.is_none(), "{}: {} is there twice", self.place(), row.id.as_str());
        }
        assert_eq!(seen, self.model, "{}", self.place());
        // What the commits name is there.
        for (table, stored) in &snapshot.manifest.tables {
            for file in stored.files.values() {
                let path = Path::from(format!("{table}/data/{}.parquet", file.entry.id));
                let found = self.disk.head(&path).await;
                assert!(found.is_ok_and(|meta| meta.size == file.entry.size), "{}: {path}", self.place());
            }
        }
        self.process.objects.rage(self.adverse);
        let id = format!("c{}", self.random.random_range(0..12));
        assert_eq!(self.find(&id).await, self.model.conversations.get(&id).cloned(), "{}: {id}", self.place());
    }

    /// Within the deadline nothing is left of what was deleted, and all the rest is there.
    async fn end(&mut self) {
        self.adverse = 0;
        self.erase_some().await;
        self.end_compaction().await;
        for _ in 0..4 {
            self.restart(false).await;
            self.now = EpochMillis(self.now.0 + 25 * HOUR);
            self.process.clock.set(self.now);
            while self.store().compactor(policy::choose, SHARES).compact_once().await.unwrap() {}
            let (reply, answer) = oneshot::channel();
            self.store().commands.send(Command::SettleLog(reply)).await.unwrap();
            let position = answer.await.unwrap();
            self.store().log.clean(self.disk.as_ref(), position).await;
            self.now = EpochMillis(self.now.0 + 25 * HOUR);
            self.process.clock.set(self.now);
            self.collect(true).await;
            self.check().await;
        }
        let environment = Environment::of_test(self.disk.clone());
        let gone: Vec<u64> = self.gone.iter().copied().step_by((self.gone.len() / 3).max(1)).collect();
        for step in gone {
            let absence = absence::look_for(&environment, None, &mark(self.seed, step)).await.unwrap();
            assert!(absence.unread.is_empty(), "{}: {:?}", self.place(), absence.unread);
            assert!(absence.found.is_empty(), "{}: step {step} is in {:?}", self.place(), absence.found);
        }
        self.store().shutdown().await.unwrap();
        let messages: u64 = self.model.conversations.values().map(|(step, _)| 1 + step % 3).sum();
        if !self.model.conversations.is_empty() {
            assert_eq!(live_rows(&self.disk, "conversations").await, self.model.conversations.len() as u64);
            assert_eq!(live_rows(&self.disk, "messages").await, messages, "{}", self.place());
        }
        self.restart(true).await;
        self.check().await;
        self.end_process();
    }
}

impl Process {
    /// As often as it takes.
    async fn start(disk: &Arc<dyn ObjectStore>, seed: u64, now: EpochMillis, adverse: u64) -> Process {
        let started = async {
            for attempt in 0.. {
                // Neither the same fate again, nor a writer that is taken for the one before.
                let seed = seed + (attempt << 40);
                let objects = AdverseStore::new(disk.clone(), seed);
                let (environment, clock) = Environment::seeded(Arc::new(objects.clone()), seed);
                clock.set(now);
                objects.rage(adverse / 2);
                match Store::open_on(environment, &options(FLUSH_ROWS)).await {
                    Ok(store) => {
                        while store.check_writable().is_err() {
                            objects.rage(0);
                            tokio::time::sleep(Duration::from_millis(3)).await;
                        }
                        objects.rage(adverse);
                        return Process { store, objects, clock, compacting: None };
                    }
                    Err(error) => {
                        objects.kill();
                        assert_eq!(error.kind(), ErrorKind::Retry, "seed {seed}: {error}");
                    }
                }
            }
            unreachable!("there is always another try")
        };
        tokio::time::timeout(PATIENCE, started).await.unwrap_or_else(|_| panic!("{seed}: it never starts"))
    }
}

async fn play(seed: u64) {
    let mut world = World::start(seed).await;
    for step in 1..=STEPS {
        world.step = step;
        world.act().await;
        world.check().await;
    }
    world.end().await;
}

#[test]
fn random_histories_keep_what_must_always_hold() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("CONVOLAKE_HISTORY") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CONVOLAKE_HISTORIES").unwrap_or(30),
    };
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| seeds.contains(seed)) {
                    let run = move || {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                        runtime.block_on(play(seed));
                    };
                    // A thread each, so that the others go on. It has said which step and why.
                    failed.fetch_add(u64::from(std::thread::spawn(run).join().is_err()), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(failed.into_inner(), 0, "histories have failed");
}
