//! The store's writer: there from the start or, where the store can only be read, as soon as it can be written.
//!
//! Until then the snapshot is what the commits and the log give, changes are refused with the reason, and the recovery
//! for writing is tried again and again. Once it succeeds, its snapshot takes the place of the other one. The numbers of
//! files and the count of flushes go on, so that no address that a change brings along means another row.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;
use crate::storage::error::{ErrorKind, StoreError};
use crate::storage::maintain::log_deriver::LogDeriver;
use crate::storage::maintain::takeover_watch::TakeoverWatch;
use crate::storage::read::snapshot::Snapshot;
use crate::storage::readiness::{Readiness, ReadinessSender};
use crate::storage::tail::Counters;
use crate::storage::write::committer::{Command, Committer, FlushPolicy};
use crate::storage::write::derived::DerivedTables;
use crate::storage::write::log_cleaner::LogCleaner;
use crate::storage::write::recovery::{self, Opened};
use crate::storage::write::work::Work;

/// From one try to become the writer to the next, at first and at most.
const FIRST_RETRY: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(1) };
const LAST_RETRY: Duration = if cfg!(test) { FIRST_RETRY } else { Duration::from_secs(30) };
const READ_ONLY: &str = "the store can only be read until it can be written";

#[derive(Clone, Debug)]
pub(crate) struct StoreOptions {
    /// Writers are told to wait when the memory tail holds about this many bytes.
    pub(crate) tail_bytes: usize,
    /// The tail is flushed to files at this many rows,
    pub(crate) flush_rows: usize,
    /// or when its oldest change is this old (or at half of `tail_bytes`).
    pub(crate) flush_interval: Duration,
}

/// Opens the store for writing, as often as it takes.
pub(super) struct Opening {
    pub(super) environment: Environment,
    pub(super) local_root: Option<PathBuf>,
    /// Kept between tries.
    lock: Option<File>,
    /// As the snapshot that is shown has left them.
    counters: Counters,
}

impl Opening {
    pub(super) fn new(environment: Environment, local_root: Option<PathBuf>) -> Opening {
        Opening { environment, local_root, lock: None, counters: Counters::new() }
    }

    pub(super) async fn for_writing(&mut self) -> Result<Opened, StoreError> {
        if let (None, Some(root)) = (&self.lock, &self.local_root) {
            self.lock = Some(recovery::lock(root)?);
        }
        recovery::recover(self.environment.clone(), &self.location(), self.counters.clone()).await
    }

    /// After a failure that may heal; or the failure, where the store can't be read either.
    pub(super) async fn for_reading(&mut self, failure: StoreError) -> Result<(Snapshot, StoreError), StoreError> {
        if !matches!(failure.kind(), ErrorKind::Retry | ErrorKind::Full | ErrorKind::Restart) {
            return Err(failure);
        }
        match recovery::read(&self.environment, &self.location(), &mut self.counters).await {
            Ok(state) => Ok((state.snapshot(&self.environment.objects), failure)),
            Err(error) => {
                tracing::error!(%error, "nor can the store be read");
                Err(failure)
            }
        }
    }

    fn location(&self) -> String {
        recovery::location(&self.environment, self.local_root.as_deref())
    }
}

/// What is there as long as this process writes.
#[derive(Default)]
pub(super) struct Held {
    lock: Mutex<Option<File>>,
    deriver: Mutex<Option<JoinHandle<()>>>,
    /// Ends after the last flush.
    pub(super) deriving: CancellationToken,
}

impl Held {
    pub(super) fn take_deriver(&self) -> Option<JoinHandle<()>> {
        self.deriver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The other ends of what a store has.
pub(super) struct Writer {
    pub(super) options: StoreOptions,
    pub(super) patience: Duration,
    pub(super) published: Arc<ArcSwap<Snapshot>>,
    pub(super) readiness: ReadinessSender,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) own_commands: mpsc::WeakSender<Command>,
    pub(super) background: CancellationToken,
    pub(super) held: Arc<Held>,
    pub(super) work: Arc<Work>,
    pub(super) log: Arc<LogCleaner>,
}

impl Writer {
    /// Takes changes from now on.
    pub(super) fn begin(self, opened: Opened, opening: Opening) -> Result<(), StoreError> {
        let Writer { options, patience, published, readiness, commands, own_commands, background, held, work, log } =
            self;
        let Opened { environment, marker, mut state, catalog, writer, log_begin, named_position, counters, .. } =
            opened;
        log.begins_at(log_begin);
        // What was looked up in the snapshot before is stale.
        state.flush_generation = published.load().flush_generation + 1;
        published.store(Arc::new(state.snapshot(&environment.objects)));
        *held.lock.lock().unwrap_or_else(PoisonError::into_inner) = opening.lock;
        let deriver = LogDeriver {
            tables: DerivedTables::new(&environment, marker.store, published.clone()),
            published: published.clone(),
            stop: held.deriving.clone(),
            remote: environment.remote.is_some(),
        };
        *held.deriver.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(deriver.run()));
        let watch = TakeoverWatch {
            objects: environment.objects.clone(),
            published: published.clone(),
            writer_id: writer.writer_id().to_owned(),
            commands: own_commands.clone(),
            stop: background,
        };
        tokio::spawn(watch.run());
        readiness.send_replace(Readiness::Ready);
        let committer = Committer {
            environment,
            published,
            readiness,
            commands,
            own_commands,
            policy: FlushPolicy {
                rows: options.flush_rows,
                bytes: options.tail_bytes / 2,
                age: options.flush_interval,
                full_at: options.tail_bytes,
            },
            writer,
            log,
            patience,
            counters,
            catalog: Arc::new(tokio::sync::Mutex::new(catalog)),
            named_position,
            state,
            work,
            deferred: VecDeque::new(),
        };
        let runtime = tokio::runtime::Handle::current();
        let started = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || runtime.block_on(committer.run()))
            .map_err(|error| StoreError::caused("the committer thread could not start", error));
        started.map(|_| ())
    }

    /// Refuses changes until the store can be written, then takes them. Ends with the store. The failure is told already.
    pub(super) async fn stand_by(mut self, mut opening: Opening, mut failure: StoreError) {
        let mut pause = FIRST_RETRY;
        loop {
            if !heals(&failure) {
                self.refuse_until(std::future::pending::<()>()).await;
                return;
            }
            let attempt = async {
                tokio::time::sleep(pause).await;
                opening.for_writing().await
            };
            match self.refuse_until(attempt).await {
                None => return,
                Some(Ok(opened)) => {
                    match self.begin(opened, opening) {
                        Ok(()) => tracing::info!("the store can be written; changes are taken"),
                        Err(error) => tracing::error!(%error, "the store takes no changes"),
                    }
                    return;
                }
                Some(Err(error)) => failure = error,
            }
            self.tell(&failure);
            pause = (pause * 2).min(LAST_RETRY);
        }
    }

    /// Why changes are refused.
    pub(super) fn tell(&self, failure: &StoreError) {
        let readiness = if heals(failure) {
            tracing::warn!(error = %failure, "the store can only be read; tried again until it can be written");
            Readiness::waiting(READ_ONLY, failure)
        } else {
            tracing::error!(error = %failure, "the store can only be read");
            Readiness::ended(failure.kind(), failure)
        };
        self.readiness.send_replace(readiness);
    }

    /// None where the store was told to stop meanwhile.
    async fn refuse_until<T>(&mut self, done: impl Future<Output = T>) -> Option<T> {
        let mut done = std::pin::pin!(done);
        loop {
            let command = tokio::select! {
                done = &mut done => return Some(done),
                command = self.commands.recv() => command,
            };
            match command {
                Some(Command::Change(request)) => {
                    let refusal = self.readiness.borrow().refusal();
                    let refusal = refusal.unwrap_or_else(|| StoreError::Unavailable(READ_ONLY.to_owned()));
                    let _ = request.reply.send(Err(refusal));
                }
                Some(Command::Flushed(_) | Command::Overtaken(_) | Command::Flush) => {}
                // Whoever waits for an answer tries again later.
                Some(Command::NewFile(_) | Command::Compact(_) | Command::Compacted(..) | Command::SettleLog(_)) => {}
                Some(Command::Stop(reply)) => {
                    // Nothing is in memory alone.
                    let _ = reply.send(Ok(()));
                    return None;
                }
                None => return None,
            }
        }
    }
}

fn heals(failure: &StoreError) -> bool {
    matches!(failure.kind(), ErrorKind::Retry | ErrorKind::Full)
}
