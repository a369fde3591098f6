//! What projects may keep and have (contract A1): deletes what is older than its project keeps it (`maxAge`), and looks
//! at how much there is of projects that may have only so much (`maxBytes`). In the background of the writer.
//!
//! A deletion here is one as by `DELETE`: hidden at once, gone from every object within the deadline of erasures. Nothing
//! is remembered between two looks, so a process that is killed goes on where it was.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::engine::QueryEngine;
use super::erasing::{Eraser, Pace};
use super::search::list::SearchError;
use crate::model::scope::Scope;
use crate::shares::Taker;
use crate::storage::store::Store;
use crate::storage::write::change::Deleted;

/// From one look at sizes to the next, at most,
const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// and from one look for what is too old.
const DELETE_EVERY: Duration = Duration::from_secs(600);

pub(crate) struct Retention {
    pub(crate) store: Arc<Store>,
    pub(crate) engine: Arc<QueryEngine>,
    /// Within which what is deleted has to be gone.
    pub(crate) within: Duration,
    pub(crate) stop: CancellationToken,
}

impl Retention {
    /// Runs to the stop.
    pub(crate) async fn run(self) {
        let share = (self.within / 32).max(Duration::from_millis(100));
        let mut looked: Option<Instant> = None;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(share.min(MEASURE_EVERY)) => {}
            }
            if self.store.check_writable().is_err() {
                continue;
            }
            if let Err(error) = self.store.measure_projects().await {
                tracing::warn!(%error, "how much projects have is not known; looked again later");
            }
            if looked.is_some_and(|at| at.elapsed() < share.min(DELETE_EVERY)) {
                continue;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                deleted = self.delete_old() => match deleted {
                    Ok(deleted) => {
                        looked = Some(Instant::now());
                        tell(deleted);
                    }
                    Err(error) => tracing::warn!(%error, "what is too old was not deleted; tried again later"),
                },
            }
        }
    }

    /// All of it, in batches.
    pub(crate) async fn delete_old(&self) -> Result<Deleted, SearchError> {
        let mut all = Deleted::default();
        for (project, limits) in self.store.projects().known().await?.iter() {
            let Some(max_age) = limits.max_age else { continue };
            let before = self.store.environment().now().minus(max_age.duration());
            let scope = Scope {
                organization_id: project.organization_id.clone(),
                project_id: Some(project.project_id.clone()),
                asker: Taker::of_organization(project.organization_id.as_str()),
            };
            let eraser = Eraser { store: &self.store, engine: &self.engine, scope: &scope, pace: Pace::Gentle };
            all += eraser.older_than(before).await?;
        }
        Ok(all)
    }
}

fn tell(deleted: Deleted) {
    if !deleted.is_nothing() {
        let Deleted { conversations, events, feedback } = deleted;
        tracing::info!(conversations, events, feedback, "what is older than its project keeps it is deleted");
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStore;
    use object_store::memory::InMemory;

    use super::*;
    use crate::environment::Environment;
    use crate::environment::test::{START, TestClock};
    use crate::memory::Budget;
    use crate::model::ids::{EpochMillis, OrganizationId, ProjectId};
    use crate::model::origin::{Reach, Sender};
    use crate::model::project_limits::{Age, ProjectLimits};
    use crate::model::resolve::Identity;
    use crate::model::time;
    use crate::model::{document, event, feedback};
    use crate::query::dsl::Filter;
    use crate::query::engine::QueryOptions;
    use crate::storage::format::table::Table;
    use crate::storage::maintain::absence;
    use crate::storage::maintain::eraser::Shares;
    use crate::storage::projects::ProjectKey;
    use crate::storage::store::StoreOptions;

    const DAY: i64 = 86_400_000;

    struct Process {
        clock: Arc<TestClock>,
        retention: Retention,
    }

    impl Process {
        async fn start(disk: &Arc<dyn ObjectStore>, seed: u64, now: EpochMillis) -> Process {
            let (environment, clock) = Environment::seeded(disk.clone(), seed);
            clock.set(now);
            let flush_interval = Duration::from_secs(600);
            let options = StoreOptions { tail_bytes: 512 << 20, flush_rows: 10, flush_interval };
            let store = Store::open_on(environment, &options).await.unwrap();
            let engine = QueryEngine::new(QueryOptions {
                threads: 1,
                slots: 4,
                export_slots: 4,
                slot_wait: Duration::from_secs(60),
                memory_bytes: 1 << 30,
                memory: Arc::new(Budget::new(usize::MAX)),
                spill_bytes: 0,
                spill_dir: std::env::temp_dir().join("convolake-retention-tests"),
                deadline: Duration::from_secs(60),
            });
            let (engine, within) = (Arc::new(engine.unwrap()), Duration::from_secs(86_400));
            let stop = CancellationToken::new();
            Process { clock, retention: Retention { store, engine, within, stop } }
        }

        fn store(&self) -> &Store {
            &self.retention.store
        }

        /// A conversation, an event about its message and one about none, and feedback.
        async fn log(&self, project: &str, id: &str, at: EpochMillis) {
            let identity = || Identity {
                organization_id: OrganizationId::new("o"),
                project_id: ProjectId::new(project),
                integration_id: None,
                sender: Sender::import(),
                reach: Reach::Everything,
            };
            let (at, text) = (time::render(at), format!("text-{project}-{id}"));
            let message = serde_json::json!({"id": format!("m-{id}"), "role": "user", "content": text});
            let body = serde_json::json!({"id": id, "type": "openai", "createdAt": at, "messages": [message]});
            let body = document::parse(body.to_string().as_bytes()).unwrap();
            self.store().log_conversation(identity(), body).await.unwrap();
            for (entity, name, about) in
                [("message", "messageId", format!("m-{id}")), ("search", "searchQuery", text.clone())]
            {
                let body = serde_json::json!({"id": format!("{entity}-{id}"), "type": text, "entityType": entity,
                    name: about, "createdAt": at});
                let body = event::parse(body.to_string().as_bytes()).unwrap();
                self.store().log_event(identity(), body).await.unwrap();
            }
            let body = serde_json::json!({"id": format!("f-{id}"), "type": "positive", "messageId": format!("m-{id}"),
                "details": text, "createdAt": at});
            let body = feedback::parse(body.to_string().as_bytes()).unwrap();
            self.store().log_feedback(identity(), body).await.unwrap();
        }

        /// Conversations, events and feedback.
        async fn rows(&self) -> [usize; 3] {
            let snapshot = self.store().snapshot();
            let mut rows = [0; 3];
            let tables = [Table::Conversations, Table::Events, Table::Feedback];
            for (count, table) in rows.iter_mut().zip(tables) {
                let asker = Taker::default();
                let scope = Scope { organization_id: OrganizationId::new("o"), project_id: None, asker };
                let all = Filter::And(Vec::new());
                let found = self.retention.engine.addresses(Arc::clone(&snapshot), table, scope, all, usize::MAX);
                *count = found.await.unwrap().len();
            }
            rows
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_grows_too_old_is_deleted_with_all_that_hangs_on_it() {
        let disk: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let after = |days: i64| EpochMillis(START.0 + days * DAY);
        let process = Process::start(&disk, 1, START).await;
        let project =
            |name: &str| ProjectKey { organization_id: OrganizationId::new("o"), project_id: ProjectId::new(name) };
        let limits = ProjectLimits { max_age: Some(Age::parse("30d").unwrap()), max_bytes: None };
        process.store().projects().set(project("p"), limits).await.unwrap();
        for (id, days) in [("a", 0), ("b", 1), ("c", 20)] {
            process.log("p", id, after(days)).await;
            process.log("kept", id, after(days)).await;
        }
        process.clock.set(after(30));
        assert!(process.retention.delete_old().await.unwrap().is_nothing(), "not a millisecond early");
        process.clock.set(EpochMillis(after(30).0 + 1));
        let deleted = process.retention.delete_old().await.unwrap();
        assert_eq!(deleted, Deleted { conversations: 1, events: 2, feedback: 1 });
        assert_eq!(process.rows().await, [5, 10, 5]);
        process.store().shutdown().await.unwrap();
        drop(process);

        // Another process knows the limit, and what it finds old lies in files.
        let process = Process::start(&disk, 2, after(32)).await;
        assert_eq!(process.rows().await, [5, 10, 5]);
        let deleted = process.retention.delete_old().await.unwrap();
        assert_eq!(deleted, Deleted { conversations: 1, events: 2, feedback: 1 });
        assert!(process.retention.delete_old().await.unwrap().is_nothing());
        process.store().shutdown().await.unwrap();
        drop(process);

        // The rest of the way is that of every deletion. The log keeps what a commit holds until a later object names it.
        let shares = Shares { within: Duration::from_secs(86_400) };
        for round in 0..4 {
            let process = Process::start(&disk, 3 + round, after(400 * (round as i64 + 1))).await;
            while process.store().compact_once(shares).await.unwrap() {}
            process.clock.advance(DAY);
            process.store().collect_once(Duration::ZERO, shares, true).await.unwrap();
            process.log("kept", &format!("later-{round}"), START).await;
            process.store().shutdown().await.unwrap();
        }
        let environment = Environment::of_test(disk.clone());
        for (text, is_gone) in [("text-p-a", true), ("text-p-b", true), ("text-p-c", false), ("text-kept-a", false)] {
            let absence = absence::look_for(&environment, None, text).await.unwrap();
            assert_eq!(absence.found.is_empty(), is_gone, "{text}: {:?}", absence.found);
            assert!(absence.unread.is_empty());
        }
    }
}
