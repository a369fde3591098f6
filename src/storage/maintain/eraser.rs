//! Sees to it that what was erased leaves the log in time (contract A7): memory with deletions that wait is flushed, and
//! log objects that the files have taken over go, also where nobody writes any more.
//!
//! The rest of the way is the compactor's, which writes files again, and the collector's, which deletes what they
//! replace. Each has a share of the deadline ([`Shares`]), and none has to remember anything: what is due can be seen
//! from the tails, the commits and the objects themselves, so that a process that is killed goes on where it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;
use crate::model::ids::WalPosition;
use crate::storage::catalog::commit::FileId;
use crate::storage::erasures::Erasures;
use crate::storage::error::StoreError;
use crate::storage::log::wal;
use crate::storage::maintain::collector::list_files;
use crate::storage::read::snapshot::Snapshot;
use crate::storage::readiness::Readiness;
use crate::storage::write::committer::Command;
use crate::storage::write::log_cleaner::LogCleaner;

/// From one look to the next, at most.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// From one look for records of erasures that are to be forgotten to the next.
const FORGET_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// What each step of an erasure may take of the time from a deletion to the moment when all of it has to be gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    pub(crate) within: Duration,
}

impl Shares {
    /// A deletion waits so long in memory and the log: together with others it costs one flush.
    pub(crate) fn flush_after(self) -> Duration {
        self.within / 4
    }

    /// And so long, from its beginning, in files: one that is large is not written again for every row.
    pub(crate) fn rewrite_after(self) -> Duration {
        self.within / 2
    }

    /// So long stays what has left its table. Three of these are left for the writing of files.
    pub(crate) fn collect_after(self) -> Duration {
        self.within / 8
    }

    fn look_every(self) -> Duration {
        (self.within / 32).clamp(Duration::from_millis(20), LOOK_EVERY)
    }
}

pub(crate) struct Eraser {
    pub(crate) environment: Environment,
    pub(crate) published: Arc<ArcSwap<Snapshot>>,
    pub(crate) readiness: watch::Receiver<Readiness>,
    /// To the committer.
    pub(crate) commands: mpsc::WeakSender<Command>,
    pub(crate) erasures: Arc<Erasures>,
    pub(crate) log: Arc<LogCleaner>,
    pub(crate) shares: Shares,
    pub(crate) stop: CancellationToken,
}

/// A log object that the files have taken over, and since when it is there.
type Lagging = Option<(WalPosition, Instant)>;

/// By erasure: lower than the ids of all files that were begun once the commits had its deletions.
type Barriers = BTreeMap<String, FileId>;

impl Eraser {
    /// Runs to the stop.
    pub(crate) async fn run(self) {
        let mut lagging: Lagging = None;
        let mut barriers = Barriers::new();
        let mut forgot: Option<Instant> = None;
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(self.shares.look_every()) => {}
            }
            if *self.readiness.borrow() != Readiness::Ready {
                continue;
            }
            if let Err(error) = self.look(&mut lagging).await {
                tracing::warn!(%error, "what was erased is still in the log; tried again later");
            }
            if let Err(error) = self.end_erasures(&mut barriers).await {
                tracing::warn!(%error, "whether what was erased is gone is not known; looked again later");
            }
            if forgot.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
                forgot = Some(Instant::now());
                if let Err(error) = self.erasures.forget().await {
                    tracing::warn!(%error, "old records of erasures stay; tried again later");
                }
            }
        }
    }

    async fn look(&self, lagging: &mut Lagging) -> Result<(), StoreError> {
        let snapshot = self.published.load_full();
        let due_before = self.environment.now().minus(self.shares.flush_after());
        if snapshot.oldest_erasure().is_some_and(|since| since <= due_before) {
            self.send(Command::Flush).await?;
        }
        let taken_over = snapshot.manifest.wal_position;
        drop(snapshot);
        let first = self.log.first().filter(|first| *first <= taken_over);
        *lagging = first.map(|first| match *lagging {
            Some((known, since)) if known == first => (first, since),
            _ => (first, Instant::now()),
        });
        // A flush that has just ended deletes them itself.
        if lagging.is_some_and(|(_, since)| since.elapsed() >= self.shares.collect_after()) {
            let (reply, answer) = oneshot::channel();
            self.send(Command::SettleLog(reply)).await?;
            let position = answer.await.map_err(|_| unavailable())?;
            self.log.clean(self.environment.objects.as_ref(), position).await;
        }
        Ok(())
    }

    /// Tells of erasures that nothing is left of.
    async fn end_erasures(&self, barriers: &mut Barriers) -> Result<(), StoreError> {
        let mut waiting = self.erasures.waiting().await?;
        waiting.retain(|erasure| self.has_left_the_files(erasure.position));
        if waiting.is_empty() {
            return Ok(());
        }
        let listed = wal::list(self.environment.objects.as_ref()).await;
        let listed = listed.map_err(|error| StoreError::caused("the write-ahead log could not be listed", error))?;
        let log_begin = listed.first().copied();
        for erasure in waiting {
            if log_begin.is_some_and(|first| first <= erasure.position) {
                continue;
            }
            // What began to be written before may still have it; what begins from here on has not.
            let barrier =
                *barriers.entry(erasure.id.clone()).or_insert_with(|| FileId(self.environment.ids.in_order()));
            // Listed first: an object that a commit names meanwhile is seen by one of the two looks.
            let listed = list_files(&self.environment).await?;
            let manifest = self.published.load().manifest.clone();
            let is_left =
                |id: &FileId| *id < barrier && !manifest.tables.values().any(|table| table.files.contains_key(id));
            if !listed.iter().any(is_left) && self.has_left_the_files(erasure.position) {
                barriers.remove(&erasure.id);
                tracing::info!(erasure = erasure.id, "what was erased is gone from every object");
                self.erasures.end(erasure).await?;
            }
        }
        Ok(())
    }

    /// Whether the commits hold the deletions up to a position, and no file has rows of them.
    fn has_left_the_files(&self, position: WalPosition) -> bool {
        let manifest = self.published.load().manifest.clone();
        let mut files = manifest.tables.values().flat_map(|table| table.files.values());
        manifest.wal_position >= position
            && files.all(|file| file.erased.is_none_or(|erased| erased.oldest.position > position))
    }

    async fn send(&self, command: Command) -> Result<(), StoreError> {
        let sender = self.commands.upgrade().ok_or_else(unavailable)?;
        sender.send(command).await.map_err(|_| unavailable())
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("the store takes no more changes".to_owned())
}
