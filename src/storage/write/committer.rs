//! The single writer of a store: groups waiting changes, resolves them in arrival order, makes each group durable with
//! one WAL object, applies it to the tail and publishes a new snapshot; then it acknowledges.
//!
//! It runs on a thread of its own and never reads a file: what a change needs to know of stored rows, its request
//! brings along ([`Prefetched`]). While one WAL write is in flight the next group fills; no timer adds latency.
//!
//! A write whose outcome is unknown (the disk is full, the store does not answer) is neither applied nor forgotten: its
//! object is tried until it is settled. Meanwhile the state stands still and every change is refused, so that nothing is
//! acknowledged that a replay would put in another order.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::change::{Change, Outcome, Prefetched};
use super::compaction::{self, Committed, Compacted};
use super::files::FileNumbers;
use super::flush::{self, FlushJob, Flushed};
use super::log_cleaner::LogCleaner;
use super::resolve::decide;
use super::state::{Staged, State};
use super::work::Work;
use crate::environment::Environment;
use crate::model::ids::WalPosition;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::catalog::writing::Catalog;
use crate::storage::error::{Cause, ErrorKind, StoreError};
use crate::storage::format::registry::ColumnRegistry;
use crate::storage::format::tables::{PerTable, Same, for_each_table};
use crate::storage::log::wal::WalError;
use crate::storage::log::writer::{LogObject, LogWriter};
use crate::storage::read::snapshot::{RowAddress, Snapshot};
use crate::storage::readiness::{Readiness, ReadinessSender, in_short};
use crate::storage::tail::Counters;

/// A group closes at this many changes or bytes, so that one write stays short.
const GROUP_CHANGES: usize = 1_024;
const GROUP_BYTES: usize = 8 << 20;
/// After a failed flush, how long until the next try.
const FLUSH_RETRY: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(5) };

const LOG_UNWRITABLE: &str = "no changes are taken until the write-ahead log can be written";

pub(crate) struct Request {
    pub(crate) change: Change,
    pub(crate) prefetched: Prefetched,
    pub(crate) reply: oneshot::Sender<Result<Outcome, StoreError>>,
}

/// Files that are written, and wait to take the place of others; the answer is those others.
pub(crate) struct Compaction {
    pub(crate) tables: PerTable<Option<Compacted>>,
    pub(crate) reply: oneshot::Sender<Result<Vec<FileSnapshot>, StoreError>>,
}

pub(crate) struct NewFileContext {
    pub(crate) numbers: FileNumbers,
    /// All that write files choose columns from the same.
    pub(crate) columns: PerTable<Same<ColumnRegistry>>,
}

pub(crate) enum Command {
    Change(Box<Request>),
    Flushed(Result<Box<Flushed>, StoreError>),
    /// What a file needs that is to be written beside the committer.
    NewFile(oneshot::Sender<NewFileContext>),
    /// To commit and to show.
    Compact(Box<Compaction>),
    Compacted(Result<Box<Committed>, StoreError>, oneshot::Sender<Result<Vec<FileSnapshot>, StoreError>>),
    /// Starts a flush of what is in memory.
    Flush,
    /// Where the log ends that the files have surely taken over; an object that names the newest commit is put into the
    /// log where that takes it further.
    SettleLog(oneshot::Sender<WalPosition>),
    /// Another writer was seen in the log.
    Overtaken(WalError),
    /// Flush everything and stop; nothing is acknowledged afterwards.
    Stop(oneshot::Sender<Result<(), StoreError>>),
}

/// When a flush starts.
#[derive(Clone, Debug)]
pub(crate) struct FlushPolicy {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
    /// No changes are taken while the tail holds so many bytes.
    pub(crate) full_at: usize,
}

pub(crate) struct Committer {
    pub(crate) environment: Environment,
    pub(crate) published: Arc<ArcSwap<Snapshot>>,
    pub(crate) readiness: ReadinessSender,
    pub(crate) commands: mpsc::Receiver<Command>,
    /// For the flush task's answer.
    pub(crate) own_commands: mpsc::WeakSender<Command>,
    pub(crate) policy: FlushPolicy,
    pub(crate) writer: LogWriter,
    /// Deletes what the files hold of the log.
    pub(crate) log: Arc<LogCleaner>,
    /// How long the changes of a group wait for its log write; then they are told that its outcome is unknown.
    pub(crate) patience: Duration,
    pub(crate) counters: Counters,
    pub(crate) catalog: Arc<tokio::sync::Mutex<Catalog>>,
    /// What the files held as of the commit that the last durable log object names.
    pub(crate) named_position: WalPosition,
    pub(crate) state: State,
    pub(crate) work: Arc<Work>,
    /// Commands taken from the channel while they could not be worked on.
    pub(crate) deferred: VecDeque<Command>,
}

/// Why a committer ends.
enum End {
    Stopped,
    /// Nothing can be acknowledged any more.
    Refusing(StoreError),
}

impl End {
    fn refusing(error: WalError) -> End {
        End::Refusing(StoreError::caused("the write-ahead log cannot be written", error))
    }
}

/// A flush from freeze to swap. A second try runs the same job, so that it commits the same.
struct Flush {
    job: FlushJob,
    running: bool,
    /// When to try again after a failure.
    retry_at: Option<Instant>,
}

impl Committer {
    /// Runs until stopped, or until nothing can be written any more: what may heal is tried again, and nothing else.
    pub(crate) async fn run(mut self) {
        let mut flush: Option<Flush> = None;
        let mut oldest: Option<Instant> = None;
        let mut asked = false;
        let mut stopping: Option<oneshot::Sender<Result<(), StoreError>>> = None;
        loop {
            let now = Instant::now();
            let active = self.state.active();
            if active.operations > 0 && oldest.is_none() {
                oldest = Some(now);
            }
            let due = active.operations > 0
                && (stopping.is_some()
                    || asked
                    || active.rows >= self.policy.rows
                    || active.bytes >= self.policy.bytes
                    || oldest.is_some_and(|since| now >= since + self.policy.age));
            match &mut flush {
                Some(flush) if !flush.running && flush.retry_at.is_none_or(|at| now >= at) => {
                    flush.running = true;
                    self.spawn_flush(flush.job.clone());
                }
                Some(_) => {}
                None if due => {
                    self.state.freeze();
                    (oldest, asked) = (None, false);
                    let positions = (self.state.position, self.named_position);
                    let job = FlushJob::new(&self.environment, positions, &self.log, &self.state, &mut self.counters);
                    flush = Some(Flush { job, running: false, retry_at: None });
                    continue;
                }
                None => {
                    if let Some(reply) = stopping.take() {
                        let _ = reply.send(Ok(()));
                        return;
                    }
                }
            }
            let wake = match &flush {
                Some(flush) => flush.retry_at.filter(|_| !flush.running),
                None => oldest.map(|since| since + self.policy.age),
            };
            let command = match wake {
                Some(at) => match tokio::time::timeout_at(at, self.next_command()).await {
                    Ok(command) => command,
                    Err(_) => continue,
                },
                None => self.next_command().await,
            };
            match command {
                None => return,
                Some(Command::Change(first)) => {
                    let group = self.fill_group(*first);
                    if stopping.is_some() {
                        for request in group {
                            let _ = request.reply.send(Err(StoreError::Unavailable("the server is stopping".into())));
                        }
                        continue;
                    }
                    match self.commit(group).await {
                        Ok(()) => {}
                        Err(End::Stopped) => return,
                        Err(End::Refusing(error)) => return self.refuse_all(&error, stopping).await,
                    }
                }
                Some(Command::Flushed(Ok(flushed))) => {
                    if let Some(flush) = flush.take() {
                        self.end_flush(*flushed, &flush.job);
                    }
                }
                Some(Command::Flushed(Err(error))) if !matches!(error.kind(), ErrorKind::Retry | ErrorKind::Full) => {
                    return self.refuse_all(&error, stopping).await;
                }
                Some(Command::Flushed(Err(error))) => {
                    tracing::error!(%error, "flush failed; the changes stay in the write-ahead log and in memory");
                    self.tell_whether_full(&error);
                    if let Some(flush) = &mut flush {
                        flush.running = false;
                        flush.retry_at = Some(Instant::now() + FLUSH_RETRY);
                    }
                    if let Some(reply) = stopping.take() {
                        let _ = reply.send(Err(error));
                        return;
                    }
                }
                Some(Command::Flush) => asked = true,
                Some(Command::SettleLog(reply)) => match self.settle_log().await {
                    Ok(position) => {
                        // Whoever asked may be gone.
                        let _ = reply.send(position);
                    }
                    Err(End::Stopped) => return,
                    Err(End::Refusing(error)) => return self.refuse_all(&error, stopping).await,
                },
                Some(Command::NewFile(reply)) => self.tell_of_new_file(reply),
                Some(Command::Compact(compaction)) => self.spawn_compaction(*compaction),
                Some(Command::Compacted(Ok(committed), reply)) => {
                    self.state.compactions -= 1;
                    let replaced = committed.install(&mut self.state);
                    self.writer.knows_commit(self.state.manifest.number.0);
                    self.publish();
                    let _ = reply.send(Ok(replaced));
                }
                Some(Command::Compacted(Err(error), _)) if error.kind() == ErrorKind::Fenced => {
                    return self.refuse_all(&error, stopping).await;
                }
                // The files stay as they are.
                Some(Command::Compacted(Err(error), reply)) => {
                    self.state.compactions -= 1;
                    let _ = reply.send(Err(error));
                }
                Some(Command::Overtaken(error)) => {
                    let error = StoreError::caused("the write-ahead log has another writer", error);
                    return self.refuse_all(&error, stopping).await;
                }
                Some(Command::Stop(reply)) => stopping = Some(reply),
            }
        }
    }

    async fn next_command(&mut self) -> Option<Command> {
        match self.deferred.pop_front() {
            Some(command) => Some(command),
            None => self.commands.recv().await,
        }
    }

    /// Takes what waits behind `first`, up to the group's limits or to a command that is no change.
    fn fill_group(&mut self, first: Request) -> Vec<Request> {
        let mut bytes = first.change.bytes();
        let mut group = vec![first];
        while group.len() < GROUP_CHANGES && bytes < GROUP_BYTES {
            match self.commands.try_recv() {
                Ok(Command::Change(request)) => {
                    bytes += request.change.bytes();
                    group.push(*request);
                }
                Ok(other) => {
                    self.deferred.push_back(other);
                    break;
                }
                Err(_) => break,
            }
        }
        group
    }

    /// One group: resolve, make durable, apply, publish, acknowledge. In every case the requests of the group are told.
    async fn commit(&mut self, group: Vec<Request>) -> Result<(), End> {
        let mut staged = Staged::begin(&self.state);
        let mut encoded: Vec<Vec<u8>> = Vec::with_capacity(group.len());
        let mut file_deletions: Vec<RowAddress> = Vec::new();
        let mut replies = Vec::with_capacity(group.len());
        for request in group {
            if request.prefetched.flush_generation != self.state.flush_generation {
                let _ = request.reply.send(Ok(Outcome::Stale));
                continue;
            }
            let decided =
                decide(&staged, &request.change, &request.prefetched, &self.environment).and_then(|decision| {
                    let texts = decision.steps.iter().map(|step| serde_json::to_vec(&step.operation));
                    let texts: Result<Vec<_>, _> = texts.collect();
                    let texts = texts
                        .map_err(|error| StoreError::unwritable("an operation could not be written as JSON", error))?;
                    Ok((decision, texts))
                });
            match decided {
                Err(error) => {
                    let _ = request.reply.send(Err(error));
                }
                Ok((decision, texts)) => {
                    for step in &decision.steps {
                        file_deletions.extend(step.replaces);
                        staged.stage(&step.operation, &mut self.counters);
                    }
                    encoded.extend(texts);
                    replies.push((request.reply, decision.outcome));
                }
            }
        }
        if !encoded.is_empty() {
            let bytes = encoded.iter().map(Vec::len).sum();
            let position = staged.position;
            let object = match self.writer.object(position, &encoded) {
                Ok(object) => object,
                Err(error) => {
                    // Nothing was written: the next group may have the position.
                    refuse(replies, ErrorKind::Bug, &format!("the change is not stored: {error}"));
                    return Ok(());
                }
            };
            self.put(position, &object, &mut replies).await?;
            staged.finish(&mut self.state, bytes, &mut self.counters);
            self.state.mark_deleted(&file_deletions);
            self.publish();
        }
        for (reply, outcome) in replies {
            let _ = reply.send(Ok(outcome));
        }
        Ok(())
    }

    /// Returns once the object is durable. Where that takes long, those who wait for it are told of the doubt.
    async fn put(&mut self, position: WalPosition, object: &LogObject, replies: &mut Replies) -> Result<(), End> {
        if let Err(error) = object.put(self.environment.objects.as_ref(), self.patience).await {
            let heals = error.kind() == ErrorKind::Retry;
            if heals {
                tracing::error!(%error, "no changes are taken until the log object is written");
                self.readiness.send_replace(Readiness::waiting(LOG_UNWRITABLE, &error));
            }
            let doubt = format!("the change may or may not be stored ({})", in_short(&error));
            refuse(std::mem::take(replies), error.kind(), &doubt);
            if !heals {
                return Err(End::refusing(error));
            }
            self.settle(object).await?;
            tracing::info!(position = position.0, "the log object is written; changes are taken again");
            self.readiness.send_replace(Readiness::Ready);
        }
        self.named_position = self.state.manifest.wal_position;
        self.state.position = position;
        Ok(())
    }

    /// A commit may be lost as long as no object of the log names it, and an object stays as long as what it holds may
    /// be: on a store that nobody writes it would stay for ever.
    async fn settle_log(&mut self) -> Result<WalPosition, End> {
        if self.named_position < self.state.manifest.wal_position {
            let position = WalPosition(self.state.position.0 + 1);
            let object = self.writer.object(position, &[]).map_err(End::refusing)?;
            self.put(position, &object, &mut Vec::new()).await?;
            self.publish();
        }
        Ok(self.named_position)
    }

    /// Tries an object until it is durable. Changes are refused meanwhile, and the end of a flush waits: the staged group
    /// was resolved against the state as it is.
    async fn settle(&mut self, object: &LogObject) -> Result<(), End> {
        let store = self.environment.objects.clone();
        let mut put = pin!(object.put(store.as_ref(), Duration::MAX));
        let mut held = VecDeque::new();
        loop {
            let command = match self.deferred.pop_front() {
                Some(command) => Some(command),
                None => tokio::select! {
                    outcome = &mut put => {
                        self.deferred = held;
                        return outcome.map_err(End::refusing);
                    }
                    command = self.commands.recv() => command,
                },
            };
            match command {
                Some(Command::Change(request)) => {
                    let _ = request.reply.send(Err(self.refusal()));
                }
                // They change what the group was resolved against.
                Some(later @ (Command::Flushed(_) | Command::Compacted(..))) => held.push_back(later),
                // They are asked for again.
                Some(Command::Flush | Command::SettleLog(_)) => {}
                Some(Command::NewFile(reply)) => self.tell_of_new_file(reply),
                Some(Command::Compact(compaction)) => self.spawn_compaction(*compaction),
                Some(Command::Overtaken(error)) => return Err(End::refusing(error)),
                Some(Command::Stop(reply)) => {
                    let _ = reply.send(Err(self.refusal()));
                    return Err(End::Stopped);
                }
                None => return Err(End::Stopped),
            }
        }
    }

    fn publish(&mut self) {
        self.published.store(Arc::new(self.state.snapshot(&self.environment.objects)));
    }

    fn spawn_flush(&self, job: FlushJob) {
        let catalog = self.catalog.clone();
        let sender = self.own_commands.clone();
        tokio::spawn(async move {
            // In a task of its own, so that a panic is an answer too.
            let result = match tokio::spawn(flush::run(job, catalog)).await {
                Ok(result) => result,
                Err(error) => Err(StoreError::caused("the flush ended unexpectedly", error)),
            };
            if let Some(sender) = sender.upgrade() {
                let _ = sender.send(Command::Flushed(result.map(Box::new))).await;
            }
        });
    }

    /// The catalog may be busy with a commit.
    fn tell_of_new_file(&mut self, reply: oneshot::Sender<NewFileContext>) {
        let numbers = FileNumbers::next(&mut self.counters);
        let catalog = self.catalog.clone();
        tokio::spawn(async move {
            let columns = catalog.lock().await.columns();
            let _ = reply.send(NewFileContext { numbers, columns });
        });
    }

    fn spawn_compaction(&mut self, Compaction { tables, reply }: Compaction) {
        self.state.compactions += 1;
        let catalog = self.catalog.clone();
        let sender = self.own_commands.clone();
        tokio::spawn(async move {
            let result = compaction::commit(tables, catalog).await;
            if let Some(sender) = sender.upgrade() {
                let _ = sender.send(Command::Compacted(result.map(Box::new), reply)).await;
            }
        });
    }

    /// Swaps the frozen rows for their file, in one snapshot.
    fn end_flush(&mut self, flushed: Flushed, job: &FlushJob) {
        self.work.flushed(flushed.bytes());
        flushed.install(job, &mut self.state);
        self.writer.knows_commit(self.state.manifest.number.0);
        self.publish();
        self.readiness.send_replace(Readiness::Ready);
    }

    /// After a failed flush. As long as there is room, changes are taken.
    fn tell_whether_full(&self, error: &StoreError) {
        let mut bytes = 0;
        for_each_table!(table in self.state.tables.as_ref() => bytes += table.tail.bytes());
        let full = bytes >= self.policy.full_at;
        self.readiness.send_replace(match full {
            true => Readiness::waiting("no changes are taken until those in memory can be written to files", error),
            false => Readiness::Ready,
        });
    }

    fn refusal(&self) -> StoreError {
        let refusal = self.readiness.borrow().refusal();
        refusal.unwrap_or_else(|| StoreError::Unavailable(LOG_UNWRITABLE.to_owned()))
    }

    /// Nothing later may be acknowledged.
    async fn refuse_all(&mut self, error: &StoreError, stopping: Option<oneshot::Sender<Result<(), StoreError>>>) {
        tracing::error!(%error, "the store takes no more changes");
        self.readiness.send_replace(Readiness::ended(error.kind(), error));
        let refusal = || StoreError::refused(error.kind(), error.to_string());
        if let Some(reply) = stopping {
            let _ = reply.send(Err(refusal()));
            return;
        }
        while let Some(command) = self.next_command().await {
            match command {
                Command::Change(request) => {
                    let _ = request.reply.send(Err(self.refusal()));
                }
                Command::Flushed(_) | Command::NewFile(_) | Command::Overtaken(_) => {}
                Command::Flush | Command::SettleLog(_) => {}
                Command::Compact(compaction) => {
                    let _ = compaction.reply.send(Err(self.refusal()));
                }
                Command::Compacted(_, reply) => {
                    let _ = reply.send(Err(self.refusal()));
                }
                Command::Stop(reply) => {
                    let _ = reply.send(Err(refusal()));
                    return;
                }
            }
        }
    }
}

/// Who waits for a group, and what they are told once it is durable.
type Replies = Vec<(oneshot::Sender<Result<Outcome, StoreError>>, Outcome)>;

fn refuse(replies: Replies, kind: ErrorKind, message: &str) {
    for (reply, _) in replies {
        let _ = reply.send(Err(StoreError::refused(kind, message)));
    }
}
