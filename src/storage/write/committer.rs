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
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use object_store::ObjectStore;
use tokio::sync::{mpsc, oneshot};

use super::flush::{self, FlushJob, Flushed, FlushedFile, TableJob};
use super::links::{self, Links, RecordHit, Staged, Step, mark_all_deleted};
use crate::model::actor::Actor;
use crate::model::annotation_change::AnnotationChange;
use crate::model::conversation::Conversation;
use crate::model::document::Document;
use crate::model::event::{Event, EventDocument};
use crate::model::feedback::{Feedback, FeedbackDocument};
use crate::model::ids::{ConversationId, ConversationKey, FeedbackKey, WalPosition};
use crate::model::resolve::{self, Identity, Previous};
use crate::model::time;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::catalog::tables::Tables;
use crate::storage::error::StoreError;
use crate::storage::format::table_row::TableRow;
use crate::storage::log::operation::Operation;
use crate::storage::log::wal::WalError;
use crate::storage::log::writer::{LogObject, LogWriter};
use crate::storage::read::snapshot::{Snapshot, TableSnapshot};
use crate::storage::tail::{Counters, Tail, TailEntry};

/// A group closes at this many changes or bytes, so that one write stays short.
const GROUP_CHANGES: usize = 1_024;
const GROUP_BYTES: usize = 8 << 20;
/// After a failed flush, how long until the next try.
const FLUSH_RETRY: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(5) };

/// A stored row that a change replaces or deletes.
#[derive(Clone, Debug)]
pub(crate) struct FileHit {
    pub(crate) source: u32,
    pub(crate) row: u32,
    pub(crate) previous: Previous,
}

/// What the files knew of a change's keys at one state of the store. Looked up only where the tail knew nothing: later
/// changes of these keys are in the tail, unless a flush has moved them, which `flush_generation` tells.
#[derive(Debug, Default)]
pub(crate) struct Prefetched {
    pub(crate) flush_generation: u64,
    pub(crate) by_id: Option<FileHit>,
    pub(crate) by_external_id: Option<FileHit>,
    /// The stored event or feedback of the id.
    pub(crate) event: Option<RecordHit<Event>>,
    pub(crate) feedback: Option<RecordHit<Feedback>>,
    pub(crate) links: Links,
}

pub(crate) enum Change {
    Log { identity: Identity, document: Arc<Document>, bytes: usize },
    Delete { key: ConversationKey },
    LogEvent { identity: Identity, document: Arc<EventDocument>, bytes: usize },
    LogFeedback { identity: Identity, document: Arc<FeedbackDocument>, bytes: usize },
    DeleteFeedback { key: FeedbackKey },
    Annotate(Annotate),
}

/// One change of what Part B sets, on all of the targets or, where the log write fails, on none.
pub(crate) struct Annotate {
    pub(crate) targets: Vec<Target>,
    pub(crate) change: AnnotationChange,
    /// Targets that this caller may not see are left out.
    pub(crate) actor: Actor,
    /// About what the targets' rows have.
    pub(crate) bytes: usize,
}

pub(crate) struct Target {
    pub(crate) key: ConversationKey,
    /// The whole row, where it lies in a file.
    pub(crate) stored: Option<StoredRow>,
}

pub(crate) struct StoredRow {
    pub(crate) source: u32,
    pub(crate) row: u32,
    /// With all of its annotations.
    pub(crate) conversation: Arc<Conversation>,
}

impl Change {
    fn bytes(&self) -> usize {
        match self {
            Change::Log { bytes, .. } | Change::LogEvent { bytes, .. } | Change::LogFeedback { bytes, .. } => *bytes,
            Change::Delete { .. } | Change::DeleteFeedback { .. } => 0,
            Change::Annotate(annotate) => annotate.bytes,
        }
    }
}

pub(crate) enum Outcome {
    Logged(Arc<Conversation>),
    Event(Arc<Event>),
    Feedback(Arc<Feedback>),
    Deleted(bool),
    /// The targets that were there, as they are now.
    Annotated(Vec<Arc<Conversation>>),
    /// A flush came between look-up and commit: look up again.
    Stale,
}

pub(crate) struct Request {
    pub(crate) change: Change,
    pub(crate) prefetched: Prefetched,
    pub(crate) reply: oneshot::Sender<Result<Outcome, StoreError>>,
}

pub(crate) enum Command {
    Change(Box<Request>),
    Flushed(Result<Box<Flushed>, StoreError>),
    /// Flush everything and stop; nothing is acknowledged afterwards.
    Stop(oneshot::Sender<Result<(), StoreError>>),
}

/// When a flush starts.
#[derive(Clone, Debug)]
pub(crate) struct FlushPolicy {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    pub(crate) age: Duration,
}

pub(crate) struct Committer {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) published: Arc<ArcSwap<Snapshot>>,
    pub(crate) commands: mpsc::Receiver<Command>,
    /// For the flush task's answer.
    pub(crate) own_commands: mpsc::WeakSender<Command>,
    pub(crate) policy: FlushPolicy,
    pub(crate) writer: LogWriter,
    /// How long the changes of a group wait for its log write; then they are told that its outcome is unknown.
    pub(crate) patience: Duration,
    pub(crate) counters: Counters,
    pub(crate) tables: Arc<tokio::sync::Mutex<Tables>>,
    /// The last durable WAL object.
    pub(crate) position: WalPosition,
    pub(crate) state: State,
    /// Commands taken from the channel while they could not be worked on.
    pub(crate) deferred: VecDeque<Command>,
}

/// Why a committer ends.
enum End {
    Stopped,
    /// Nothing can be acknowledged any more.
    Refusing(StoreError),
}

/// What a snapshot shows, in the committer's hands.
pub(crate) struct State {
    pub(crate) flush_generation: u64,
    pub(crate) tail: Tail,
    pub(crate) files: Vec<FileSnapshot>,
    pub(crate) columns: Arc<crate::storage::format::layout::Layout>,
    pub(crate) events: TableState<Event>,
    pub(crate) feedback: TableState<Feedback>,
}

/// The same of a table beside the conversations.
pub(crate) struct TableState<R: TableRow> {
    pub(crate) tail: Tail<R>,
    pub(crate) files: Vec<FileSnapshot>,
    pub(crate) columns: Arc<crate::storage::format::layout::Layout>,
}

/// A flush from freeze to swap. A second try runs the same job, so that it commits the same.
struct Flush {
    job: FlushJob,
    running: bool,
    /// When to try again after a failure.
    retry_at: Option<Instant>,
}

impl Committer {
    /// Runs until stopped or until the store is fenced.
    pub(crate) async fn run(mut self) {
        let mut flush: Option<Flush> = None;
        let mut oldest: Option<Instant> = None;
        let mut stopping: Option<oneshot::Sender<Result<(), StoreError>>> = None;
        loop {
            let now = Instant::now();
            let active = self.state.active();
            if active.operations > 0 && oldest.is_none() {
                oldest = Some(now);
            }
            let due = active.operations > 0
                && (stopping.is_some()
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
                    oldest = None;
                    flush = Some(Flush { job: self.flush_job(), running: false, retry_at: None });
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
                Some(at) => match tokio::time::timeout_at(at.into(), self.next_command()).await {
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
                        Err(End::Refusing(error)) => {
                            tracing::error!(%error, "the store takes no more changes");
                            self.refuse_all(error).await;
                            return;
                        }
                    }
                }
                Some(Command::Flushed(Ok(flushed))) => {
                    if let Some(flush) = flush.take() {
                        self.end_flush(*flushed, &flush.job);
                    }
                }
                Some(Command::Flushed(Err(error))) => {
                    tracing::error!(%error, "flush failed; the changes stay in the write-ahead log and in memory");
                    if let Some(flush) = &mut flush {
                        flush.running = false;
                        flush.retry_at = Some(Instant::now() + FLUSH_RETRY);
                    }
                    if let Some(reply) = stopping.take() {
                        let _ = reply.send(Err(error));
                        return;
                    }
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
        let mut file_deletions: Vec<(u32, u32)> = Vec::new();
        let mut replies = Vec::with_capacity(group.len());
        for request in group {
            if request.prefetched.flush_generation != self.state.flush_generation {
                let _ = request.reply.send(Ok(Outcome::Stale));
                continue;
            }
            let decided = decide(&staged, &request.change, &request.prefetched).and_then(|decision| {
                let texts = decision.steps.iter().map(|step| serde_json::to_vec(&step.operation));
                let texts: Result<Vec<_>, _> = texts.collect();
                let texts =
                    texts.map_err(|error| StoreError::io("an operation could not be written as JSON", error))?;
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
            let position = WalPosition(self.position.0 + 1);
            let object = match self.writer.object(position, &encoded) {
                Ok(object) => object,
                Err(error) => {
                    // Nothing was written: the next group may have the position.
                    let message = format!("the change is not stored: {error}");
                    refuse(replies, &message);
                    return Ok(());
                }
            };
            if let Err(error) = object.put(self.store.as_ref(), self.patience).await {
                refuse(std::mem::take(&mut replies), &format!("the change may or may not be stored: {error}"));
                if !matches!(error, WalError::Unknown { .. }) {
                    return Err(End::Refusing(StoreError::Unavailable(error.to_string())));
                }
                tracing::error!(%error, "no changes are taken until the log object is written");
                self.settle(&object, &error.to_string()).await?;
                tracing::info!(position = position.0, "the log object is written; changes are taken again");
            }
            self.position = position;
            staged.finish(&mut self.state, bytes, &mut self.counters);
            mark_all_deleted(&mut self.state, &file_deletions);
            self.publish();
        }
        for (reply, outcome) in replies {
            let _ = reply.send(Ok(outcome));
        }
        Ok(())
    }

    /// Tries an object until it is durable. Changes are refused meanwhile, and the end of a flush waits: the staged group
    /// was resolved against the state as it is.
    async fn settle(&mut self, object: &LogObject, reason: &str) -> Result<(), End> {
        let store = self.store.clone();
        let mut put = pin!(object.put(store.as_ref(), Duration::MAX));
        let mut held = VecDeque::new();
        loop {
            let command = match self.deferred.pop_front() {
                Some(command) => Some(command),
                None => tokio::select! {
                    outcome = &mut put => {
                        self.deferred = held;
                        return outcome.map_err(|error| End::Refusing(StoreError::Unavailable(error.to_string())));
                    }
                    command = self.commands.recv() => command,
                },
            };
            match command {
                Some(Command::Change(request)) => {
                    let refused = format!("no changes are taken until the log can be written: {reason}");
                    let _ = request.reply.send(Err(StoreError::Unavailable(refused)));
                }
                Some(flushed @ Command::Flushed(_)) => held.push_back(flushed),
                Some(Command::Stop(reply)) => {
                    let _ = reply.send(Err(StoreError::Unavailable(reason.to_owned())));
                    return Err(End::Stopped);
                }
                None => return Err(End::Stopped),
            }
        }
    }

    fn publish(&mut self) {
        self.published.store(Arc::new(self.state.snapshot(&self.store)));
    }

    fn flush_job(&mut self) -> FlushJob {
        FlushJob {
            store: self.store.clone(),
            position: self.position,
            conversations: table_job(&self.state.tail, &self.state.files, &mut self.counters),
            events: table_job(&self.state.events.tail, &self.state.events.files, &mut self.counters),
            feedback: table_job(&self.state.feedback.tail, &self.state.feedback.files, &mut self.counters),
            threads_source: self.counters.file(),
        }
    }

    fn spawn_flush(&self, job: FlushJob) {
        let tables = self.tables.clone();
        let sender = self.own_commands.clone();
        tokio::spawn(async move {
            let result = flush::run(job, tables).await;
            if let Some(sender) = sender.upgrade() {
                let _ = sender.send(Command::Flushed(result.map(Box::new))).await;
            }
        });
    }

    /// Swaps the frozen rows for their file, in one snapshot.
    fn end_flush(&mut self, flushed: Flushed, job: &FlushJob) {
        swap(&mut self.state.tail, &mut self.state.files, flushed.conversations.file, &job.conversations);
        swap(&mut self.state.events.tail, &mut self.state.events.files, flushed.events.file, &job.events);
        swap(&mut self.state.feedback.tail, &mut self.state.feedback.files, flushed.feedback.file, &job.feedback);
        self.state.columns = flushed.conversations.columns;
        self.state.events.columns = flushed.events.columns;
        self.state.feedback.columns = flushed.feedback.columns;
        self.state.flush_generation += 1;
        self.publish();
    }

    /// Once fenced: nothing later may be acknowledged.
    async fn refuse_all(&mut self, error: StoreError) {
        let message = error.to_string();
        while let Some(command) = self.next_command().await {
            match command {
                Command::Change(request) => {
                    let _ = request.reply.send(Err(StoreError::Unavailable(message.clone())));
                }
                Command::Flushed(_) => {}
                Command::Stop(reply) => {
                    let _ = reply.send(Err(StoreError::Unavailable(message.clone())));
                    return;
                }
            }
        }
    }
}

fn table_job<R: TableRow>(tail: &Tail<R>, files: &[FileSnapshot], counters: &mut Counters) -> TableJob<R> {
    TableJob {
        segments: tail.frozen().map(|frozen| frozen.segments().to_vec()).unwrap_or_default(),
        files: files.to_vec(),
        source: counters.file(),
    }
}

/// Swaps the frozen rows of one table for their file.
fn swap<R: TableRow>(tail: &mut Tail<R>, files: &mut Vec<FileSnapshot>, new: Option<FlushedFile>, job: &TableJob<R>) {
    let Some(frozen) = tail.drop_frozen() else { return };
    if let Some(new) = new {
        let deleted = frozen.deleted_since(&job.segments, &new.rows_by_sequence);
        files.push(FileSnapshot { file: new.file, deleted: Arc::new(deleted) });
    }
}

/// What the active generations of all tables hold.
pub(crate) struct Active {
    pub(crate) operations: usize,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

impl State {
    pub(crate) fn active(&self) -> Active {
        fn of<R: TableRow>(tail: &Tail<R>) -> [usize; 3] {
            let active = tail.active();
            [active.operations(), active.rows(), active.bytes()]
        }
        let all = [of(&self.tail), of(&self.events.tail), of(&self.feedback.tail)];
        let [operations, rows, bytes] = std::array::from_fn(|part| all.iter().filter_map(|one| one.get(part)).sum());
        Active { operations, rows, bytes }
    }

    /// Starts a flush of all tables.
    pub(crate) fn freeze(&mut self) {
        self.tail.freeze();
        self.events.tail.freeze();
        self.feedback.tail.freeze();
    }

    pub(crate) fn snapshot(&self, store: &Arc<dyn ObjectStore>) -> Snapshot {
        Snapshot {
            store: store.clone(),
            files: Arc::new(self.files.clone()),
            segments: Arc::new(self.tail.segments()),
            tail: self.tail.clone(),
            flush_generation: self.flush_generation,
            events: self.events.snapshot(),
            feedback: self.feedback.snapshot(),
        }
    }
}

impl<R: TableRow> TableState<R> {
    fn snapshot(&self) -> TableSnapshot<R> {
        TableSnapshot {
            files: Arc::new(self.files.clone()),
            segments: Arc::new(self.tail.segments()),
            tail: self.tail.clone(),
        }
    }
}

fn refuse(replies: Vec<(oneshot::Sender<Result<Outcome, StoreError>>, Outcome)>, message: &str) {
    for (reply, _) in replies {
        let _ = reply.send(Err(StoreError::Unavailable(message.to_owned())));
    }
}

/// Sets deletion bits; `rows` are (source, row).
pub(crate) fn mark_deleted(files: &mut [FileSnapshot], rows: &[(u32, u32)]) {
    for (source, row) in rows {
        if let Some(entry) = files.iter_mut().find(|entry| entry.file.number == *source) {
            Arc::make_mut(&mut entry.deleted).insert(*row);
        }
    }
}

/// What a change comes to: its operations, in order, and what its sender is told.
struct Decision {
    steps: Vec<Step>,
    outcome: Outcome,
}

fn decide(staged: &Staged, change: &Change, prefetched: &Prefetched) -> Result<Decision, StoreError> {
    match change {
        Change::LogEvent { identity, document, .. } => {
            let (step, outcome) = links::resolve_event(staged, identity, document, prefetched);
            Ok(Decision { steps: vec![step], outcome })
        }
        Change::LogFeedback { identity, document, .. } => {
            let (step, outcome) = links::resolve_feedback(staged, identity, document, prefetched)?;
            Ok(Decision { steps: vec![step], outcome })
        }
        Change::DeleteFeedback { key } => {
            let step = links::resolve_feedback_deletion(staged, key, prefetched);
            let outcome = Outcome::Deleted(step.is_some());
            Ok(Decision { steps: step.into_iter().collect(), outcome })
        }
        // No message changes, so no link does.
        Change::Annotate(annotate) => Ok(resolve_annotate(staged.conversations.tail(), annotate)),
        Change::Log { .. } | Change::Delete { .. } => {
            let resolved = resolve_change(staged.conversations.tail(), change, prefetched)?;
            let Some(operation) = resolved.operation else {
                return Ok(Decision { steps: Vec::new(), outcome: resolved.outcome });
            };
            let Some(following) = links::follow(staged, change, &operation, prefetched) else {
                return Ok(Decision { steps: Vec::new(), outcome: Outcome::Stale });
            };
            let mut steps = vec![Step { operation, replaces: resolved.replaces }];
            steps.extend(following);
            Ok(Decision { steps, outcome: resolved.outcome })
        }
    }
}

/// A change decided against one state.
pub(crate) struct Resolved {
    /// `None` where nothing is to be done.
    pub(crate) operation: Option<Operation>,
    pub(crate) outcome: Outcome,
    /// The file row that goes with it.
    pub(crate) replaces: Option<(u32, u32)>,
    /// Whether there was a conversation under the key.
    pub(crate) existed: bool,
    /// Whether a log would change nothing but a defaulted `updatedAt`.
    pub(crate) unchanged: bool,
}

/// What is stored under a key: from the tail, else from the prefetched file row.
pub(crate) struct Existing {
    pub(crate) previous: Previous,
    row: Option<(u32, u32)>,
}

/// Of a change of a conversation.
pub(crate) fn resolve_change(tail: &Tail, change: &Change, prefetched: &Prefetched) -> Result<Resolved, StoreError> {
    match change {
        Change::LogEvent { .. } | Change::LogFeedback { .. } | Change::DeleteFeedback { .. } | Change::Annotate(_) => {
            Err(StoreError::Unavailable("a change of no conversation was taken for one".into()))
        }
        Change::Delete { key } => {
            let existing = existing_by_id(tail, key, prefetched.by_id.as_ref());
            let existed = existing.is_some();
            Ok(Resolved {
                operation: existed.then(|| Operation::Delete(key.clone())),
                outcome: Outcome::Deleted(existed),
                replaces: existing.and_then(|existing| existing.row),
                existed,
                unchanged: false,
            })
        }
        Change::Log { identity, document, .. } => {
            let existing = existing_for(tail, identity, document, prefetched)?;
            let previous = existing.as_ref().map(|existing| &existing.previous);
            let conversation = Arc::new(resolve::resolve(document, identity, previous, time::now()));
            Ok(Resolved {
                operation: Some(Operation::Upsert(conversation.clone())),
                existed: existing.is_some(),
                unchanged: previous.is_some_and(|previous| previous.is_unchanged_by(document, &conversation)),
                outcome: Outcome::Logged(conversation),
                replaces: existing.and_then(|existing| existing.row),
            })
        }
    }
}

fn resolve_annotate(tail: &Tail, annotate: &Annotate) -> Decision {
    let now = time::now();
    let mut steps = Vec::new();
    let mut found = Vec::new();
    for target in &annotate.targets {
        let (conversation, replaces) = match (tail.get(&target.key), &target.stored) {
            (Some(TailEntry::Live(row)), _) => (&row.value, None),
            (Some(TailEntry::Deleted), _) | (None, None) => continue,
            (None, Some(stored)) => (&stored.conversation, Some((stored.source, stored.row))),
        };
        if !annotate.actor.sees(conversation.user_properties.as_ref()) {
            continue;
        }
        match annotate.change.apply(conversation, &annotate.actor, now) {
            None => found.push(conversation.clone()),
            Some(changed) => {
                let changed = Arc::new(changed);
                found.push(changed.clone());
                steps.push(Step { operation: Operation::Upsert(changed), replaces });
            }
        }
    }
    Decision { steps, outcome: Outcome::Annotated(found) }
}

fn existing_by_id(tail: &Tail, key: &ConversationKey, hit: Option<&FileHit>) -> Option<Existing> {
    match tail.get(key) {
        Some(TailEntry::Live(row)) => Some(Existing { previous: Previous::of(&row.value), row: None }),
        Some(TailEntry::Deleted) => None,
        None => hit
            .filter(|hit| hit.previous.key == *key)
            .map(|hit| Existing { previous: hit.previous.clone(), row: Some((hit.source, hit.row)) }),
    }
}

/// The conversation that a document replaces, by the upsert rules of contract A2.
pub(crate) fn existing_for(
    tail: &Tail,
    identity: &Identity,
    document: &Document,
    prefetched: &Prefetched,
) -> Result<Option<Existing>, StoreError> {
    let key_of = |id: &str| ConversationKey {
        organization_id: identity.organization_id.clone(),
        project_id: identity.project_id.clone(),
        id: ConversationId::new(id),
    };
    let by_external_id = document.external_id.as_deref().and_then(|external_id| {
        if let Some(row) = tail.get_by_external_id(&key_of(""), external_id) {
            return Some(Existing { previous: Previous::of(&row.value), row: None });
        }
        let hit = prefetched.by_external_id.as_ref()?;
        // An entry in the tail is newer than the file: it holds another externalId now, or is deleted.
        let holds = tail.get(&hit.previous.key).is_none() && hit.previous.external_id.as_deref() == Some(external_id);
        holds.then(|| Existing { previous: hit.previous.clone(), row: Some((hit.source, hit.row)) })
    });
    let Some(id) = document.id.as_deref() else { return Ok(by_external_id) };
    let by_id = existing_by_id(tail, &key_of(id), prefetched.by_id.as_ref());
    match (&by_external_id, document.external_id.as_deref()) {
        (Some(holder), Some(external_id)) if holder.previous.key.id.as_str() != id => {
            Err(StoreError::Conflict(format!(
                "externalId {external_id:?} belongs to the conversation {:?}, id names {id:?}",
                holder.previous.key.id
            )))
        }
        _ => Ok(by_id),
    }
}
