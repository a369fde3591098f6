//! The store as the rest of the server sees it: log, find, delete, snapshot.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::status::Counted;
pub(crate) use self::writer::StoreOptions;
use self::writer::{Held, Opening, Writer};
use super::erasures::Erasures;
pub(crate) use super::error::StoreError;
use super::format::file_id::FileId;
use super::log::writer::PATIENCE;
use super::maintain::collector::Retired;
use super::maintain::project_sizes::ProjectSizes;
use super::projects::Projects;
use super::read::lookup::Lookup;
use super::read::snapshot::{RowAddress, Snapshot};
use super::readiness::Readiness;
use super::write::change::{Annotate, Change, Deleted, Outcome, Prefetched, Target};
use super::write::committer::{Command, Request};
use super::write::log_cleaner::LogCleaner;
use super::write::prefetch;
use super::write::work::Work;
use crate::environment::Environment;
use crate::model::actor::Actor;
use crate::model::annotation_change::AnnotationChange;
use crate::model::conversation::Conversation;
use crate::model::document::Document;
use crate::model::event::{Event, EventDocument};
use crate::model::feedback::{Feedback, FeedbackDocument};
use crate::model::ids::{ConversationKey, EventKey, FeedbackKey, OrganizationId, ProjectId};
use crate::model::resolve::Identity;

/// Changes that wait for the committer; more answer [`StoreError::Busy`].
const WAITING_CHANGES: usize = 4_096;

/// Seconds; nothing but a deletion makes room.
const FULL_PROJECT_WAITS: u64 = 60;
const NO_MORE: &str = "the store takes no more changes";

/// What one atomic change of annotations may rewrite; the whole rows are in memory meanwhile.
const MAX_ANNOTATED_BYTES: usize = 128 << 20;
/// Conversations read at once: first so many, then as many as have about this size together. Neighbours in a file are
/// read for little more than one.
const FIRST_READ: usize = 64;
const READ_BYTES: usize = 16 << 20;
const MAX_READ: usize = 4_096;

/// How a change of many conversations ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BulkOutcome {
    /// So many were there.
    Changed(usize),
    /// A flush came between: look up again.
    Stale,
    /// Together the conversations are larger than one change may be; nothing is changed.
    TooLarge,
}

/// What a change comes to, given a snapshot.
enum Proposal<T> {
    Change(Box<(Change, Prefetched)>),
    /// Nothing is to be changed.
    Answer(T),
}

impl<T> Proposal<T> {
    fn change(change: Change, prefetched: Prefetched) -> Proposal<T> {
        Proposal::Change(Box::new((change, prefetched)))
    }
}

pub(crate) struct Store {
    environment: Environment,
    published: Arc<ArcSwap<Snapshot>>,
    readiness: watch::Receiver<Readiness>,
    commands: mpsc::Sender<Command>,
    tail_bytes: usize,
    local_root: Option<PathBuf>,
    retired: Arc<Retired>,
    work: Arc<Work>,
    log: Arc<LogCleaner>,
    counted: Counted,
    /// Set where it is seen to.
    erase_within: OnceLock<Duration>,
    erasures: Arc<Erasures>,
    projects: Projects,
    project_sizes: ProjectSizes,
    /// Lower than the ids of all files that this process writes.
    first_own: FileId,
    /// Ends with the store.
    background: CancellationToken,
    held: Arc<Held>,
}

impl Store {
    /// Recovers what is acknowledged and fences older writers; a store that cannot be written now is opened for reading,
    /// and for writing once it can. `local_root` is the folder of a local store.
    pub(crate) async fn open(
        environment: Environment,
        local_root: Option<PathBuf>,
        options: &StoreOptions,
    ) -> Result<Arc<Store>, StoreError> {
        Store::start(environment, local_root, options, PATIENCE).await
    }

    /// A store in the environment of a test, which breaks its objects; a log write in doubt is told at once.
    #[cfg(test)]
    pub(crate) async fn open_on(environment: Environment, options: &StoreOptions) -> Result<Arc<Store>, StoreError> {
        Store::start(environment, None, options, Duration::ZERO).await
    }

    async fn start(
        environment: Environment,
        local_root: Option<PathBuf>,
        options: &StoreOptions,
        patience: Duration,
    ) -> Result<Arc<Store>, StoreError> {
        let first_own = FileId(environment.ids.in_order());
        let mut opening = Opening::new(environment.clone(), local_root.clone());
        let (snapshot, opened) = match opening.for_writing().await {
            Ok(opened) => (opened.state.snapshot(&environment.objects), Ok(opened)),
            Err(failure) => {
                let (snapshot, failure) = opening.for_reading(failure).await?;
                (snapshot, Err(failure))
            }
        };
        let published = Arc::new(ArcSwap::from_pointee(snapshot));
        let (sender, receiver) = mpsc::channel(WAITING_CHANGES);
        let work = Arc::new(Work::new(environment.now()));
        let (ready, readiness) = watch::channel(Readiness::Ready);
        let (background, held) = (CancellationToken::new(), Arc::new(Held::default()));
        let log = Arc::new(LogCleaner::default());
        let writer = Writer {
            options: options.clone(),
            patience,
            published: published.clone(),
            readiness: ready,
            commands: receiver,
            own_commands: sender.downgrade(),
            background: background.clone(),
            held: held.clone(),
            work: work.clone(),
            log: log.clone(),
        };
        match opened {
            Ok(opened) => writer.begin(opened, opening)?,
            Err(failure) => {
                writer.tell(&failure);
                // On a thread of its own, as the committer is.
                let runtime = tokio::runtime::Handle::current();
                std::thread::Builder::new()
                    .name("standby".into())
                    .spawn(move || runtime.block_on(writer.stand_by(opening, failure)))
                    .map_err(|error| StoreError::caused("the standby thread could not start", error))?;
            }
        }
        let (commands, tail_bytes) = (sender, options.tail_bytes);
        let erasures = Arc::new(Erasures::new(environment.clone()));
        let projects = Projects::new(environment.clone());
        Ok(Arc::new(Store {
            environment,
            published,
            readiness,
            commands,
            tail_bytes,
            local_root,
            retired: Arc::default(),
            work,
            log,
            counted: Counted::default(),
            erase_within: OnceLock::new(),
            erasures,
            projects,
            project_sizes: ProjectSizes::default(),
            first_own,
            background,
            held,
        }))
    }

    /// What was asked to be erased, and whether it is.
    pub(crate) fn erasures(&self) -> &Erasures {
        &self.erasures
    }

    /// Cancelled when the store ends.
    pub(crate) fn ending(&self) -> CancellationToken {
        self.background.clone()
    }

    /// What is set of projects.
    pub(crate) fn projects(&self) -> &Projects {
        &self.projects
    }

    /// Refuses the documents of projects that have reached their `maxBytes`, from now on to the next call.
    pub(crate) async fn measure_projects(&self) -> Result<(), StoreError> {
        let known = self.projects.known().await?;
        let limited = known.iter().filter_map(|(project, limits)| Some((project, limits.max_bytes?)));
        let limited: Vec<_> = limited.collect();
        if limited.is_empty() {
            self.projects.refuse(HashSet::new());
            return Ok(());
        }
        let sizes = self.project_sizes.of(&self.snapshot()).await?;
        let full = limited.into_iter().filter(|(project, max)| sizes.get(*project).copied().unwrap_or(0) >= *max);
        self.projects.refuse(full.map(|(project, _)| project.clone()).collect());
        Ok(())
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Whether changes are taken and reads are current.
    pub(crate) fn readiness(&self) -> Readiness {
        let known = self.readiness.borrow().clone();
        if known == Readiness::Ready && self.commands.is_closed() {
            return Readiness::Waiting { reason: NO_MORE.to_owned() };
        }
        known
    }

    /// For what is written beside the log.
    pub(crate) fn check_writable(&self) -> Result<(), StoreError> {
        self.readiness().refusal().map_or(Ok(()), Err)
    }

    /// The folder of a local store.
    pub(crate) fn local_root(&self) -> Option<&PathBuf> {
        self.local_root.as_ref()
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// Upserts by id, else by externalId (contract A2). Returns once the conversation is durable and visible.
    pub(crate) async fn log_conversation(
        &self,
        identity: Identity,
        document: Document,
    ) -> Result<Arc<Conversation>, StoreError> {
        let (identity, document) = (&identity, &Arc::new(document));
        let propose = |snapshot: Arc<Snapshot>| async move {
            self.check_share(identity)?;
            self.check_room(&snapshot)?;
            let prefetched = prefetch::of_document(&snapshot, identity, document).await?;
            Ok(Proposal::change(Change::log(identity, document), prefetched))
        };
        self.change(propose, Outcome::into_logged).await
    }

    /// Its feedback and events go with it.
    pub(crate) async fn delete_conversation(&self, key: &ConversationKey) -> Result<Deleted, StoreError> {
        let propose = |snapshot: Arc<Snapshot>| async move {
            let prefetched = prefetch::of_deletion(&snapshot, key).await?;
            Ok(Proposal::change(Change::Delete { key: key.clone() }, prefetched))
        };
        self.change(propose, Outcome::into_deleted).await
    }

    /// Upserts by id (contract A4). Returns once the event is durable and visible.
    pub(crate) async fn log_event(
        &self,
        identity: Identity,
        document: EventDocument,
    ) -> Result<Arc<Event>, StoreError> {
        let (identity, document) = (&identity, &Arc::new(document));
        let propose = |snapshot: Arc<Snapshot>| async move {
            self.check_share(identity)?;
            self.check_room(&snapshot)?;
            let prefetched = prefetch::of_event(&snapshot, identity, document).await?;
            Ok(Proposal::change(Change::log_event(identity, document), prefetched))
        };
        self.change(propose, Outcome::into_event).await
    }

    /// Upserts by id (contract A4). [`StoreError::Invalid`] where no conversation of the project has the message.
    pub(crate) async fn log_feedback(
        &self,
        identity: Identity,
        document: FeedbackDocument,
    ) -> Result<Arc<Feedback>, StoreError> {
        let (identity, document) = (&identity, &Arc::new(document));
        let propose = |snapshot: Arc<Snapshot>| async move {
            self.check_share(identity)?;
            self.check_room(&snapshot)?;
            let prefetched = prefetch::of_feedback(&snapshot, identity, document).await?;
            Ok(Proposal::change(Change::log_feedback(identity, document), prefetched))
        };
        self.change(propose, Outcome::into_feedback).await
    }

    pub(crate) async fn delete_event(&self, key: &EventKey) -> Result<Deleted, StoreError> {
        let propose = |snapshot: Arc<Snapshot>| async move {
            let prefetched = prefetch::of_event_deletion(&snapshot, key).await?;
            Ok(Proposal::change(Change::DeleteEvent { key: key.clone() }, prefetched))
        };
        self.change(propose, Outcome::into_deleted).await
    }

    /// Feedback whose message is dropped counts as not there.
    pub(crate) async fn delete_feedback(&self, key: &FeedbackKey) -> Result<Deleted, StoreError> {
        self.take_feedback(key, false).await
    }

    /// Also where its message is dropped.
    pub(crate) async fn erase_feedback(&self, key: &FeedbackKey) -> Result<Deleted, StoreError> {
        self.take_feedback(key, true).await
    }

    async fn take_feedback(&self, key: &FeedbackKey, detached_too: bool) -> Result<Deleted, StoreError> {
        let propose = |snapshot: Arc<Snapshot>| async move {
            let prefetched = prefetch::of_feedback_deletion(&snapshot, key).await?;
            Ok(Proposal::change(Change::DeleteFeedback { key: key.clone(), detached_too }, prefetched))
        };
        self.change(propose, Outcome::into_deleted).await
    }

    /// Changes what is set on one conversation; `None` if the actor sees none of this key. Returns once the change
    /// is durable and visible.
    pub(crate) async fn annotate(
        &self,
        key: &ConversationKey,
        change: &AnnotationChange,
        actor: &Actor,
    ) -> Result<Option<Arc<Conversation>>, StoreError> {
        let propose = |snapshot: Arc<Snapshot>| async move {
            self.check_room(&snapshot)?;
            let conversations = &snapshot.tables.conversations;
            let mut target = Target { key: key.clone(), stored: None };
            let mut bytes = conversations.tail.live(key).map_or(0, |row| row.value.text_bytes());
            if conversations.tail.get(key).is_none() {
                let (organization, project) = (&key.organization_id, Some(&key.project_id));
                let found = snapshot.find_in_files(organization, project, Lookup::Id(key.id.as_str())).await?.pop();
                let Some((at, conversation)) = found else { return Ok(Proposal::Answer(Vec::new())) };
                bytes = conversation.text_bytes();
                target.stored = Some((at, conversation));
            }
            let annotate = Annotate { targets: vec![target], change: change.clone(), actor: actor.clone(), bytes };
            Ok(Proposal::change(Change::Annotate(Box::new(annotate)), prefetch::of_annotations(&snapshot)))
        };
        Ok(self.change(propose, Outcome::into_annotated).await?.pop())
    }

    /// Changes what Part B sets on all conversations at these addresses of `snapshot` that the actor sees, as one atomic
    /// change.
    pub(crate) async fn annotate_all(
        &self,
        snapshot: &Snapshot,
        addresses: &[RowAddress],
        change: &AnnotationChange,
        actor: &Actor,
    ) -> Result<BulkOutcome, StoreError> {
        self.check_room(snapshot)?;
        let mut targets = Vec::with_capacity(addresses.len());
        let mut bytes = 0;
        let mut left = addresses.to_vec();
        // Neighbours together.
        left.sort_unstable();
        while !left.is_empty() {
            let average = bytes / targets.len().max(1);
            let count = if targets.is_empty() { FIRST_READ } else { (READ_BYTES / average.max(1)).clamp(1, MAX_READ) };
            let part: Vec<RowAddress> = left.drain(..count.min(left.len())).collect();
            let conversations = snapshot.read_rows(&part).await?;
            for (address, conversation) in part.iter().zip(conversations) {
                bytes += conversation.text_bytes();
                targets.push(Target { key: conversation.key(), stored: Some((*address, conversation)) });
            }
            if bytes > MAX_ANNOTATED_BYTES {
                return Ok(BulkOutcome::TooLarge);
            }
        }
        let annotate = Annotate { targets, change: change.clone(), actor: actor.clone(), bytes };
        Ok(match self.submit(Change::Annotate(Box::new(annotate)), prefetch::of_annotations(snapshot)).await? {
            Outcome::Stale => BulkOutcome::Stale,
            outcome => BulkOutcome::Changed(outcome.into_annotated().ok_or_else(other_answer)?.len()),
        })
    }

    /// Looks up and submits, again and again as long as a flush comes between.
    async fn change<T, F: Future<Output = Result<Proposal<T>, StoreError>>>(
        &self,
        propose: impl Fn(Arc<Snapshot>) -> F,
        answer: impl Fn(Outcome) -> Option<T>,
    ) -> Result<T, StoreError> {
        loop {
            let (change, prefetched) = match propose(self.snapshot()).await? {
                Proposal::Change(change) => *change,
                Proposal::Answer(answer) => return Ok(answer),
            };
            match self.submit(change, prefetched).await? {
                Outcome::Stale => continue,
                outcome => return answer(outcome).ok_or_else(other_answer),
            }
        }
    }

    fn check_share(&self, identity: &Identity) -> Result<(), StoreError> {
        match self.projects.is_full(&identity.organization_id, &identity.project_id) {
            true => Err(StoreError::ProjectFull { retry_after_seconds: FULL_PROJECT_WAITS }),
            false => Ok(()),
        }
    }

    fn check_room(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        if snapshot.tail_bytes() >= self.tail_bytes {
            self.check_writable()?;
            return Err(StoreError::Busy { retry_after_seconds: 1 });
        }
        Ok(())
    }

    async fn submit(&self, change: Change, prefetched: Prefetched) -> Result<Outcome, StoreError> {
        let (reply, answer) = oneshot::channel();
        let request = Request { change, prefetched, reply };
        match self.commands.try_send(Command::Change(Box::new(request))) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(StoreError::Busy { retry_after_seconds: 1 }),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return Err(StoreError::Unavailable(NO_MORE.to_owned()));
            }
        }
        answer.await.map_err(|_| StoreError::Unavailable(NO_MORE.to_owned()))?
    }

    /// Conversations of an organization by id or externalId, newest first (createdAt, then project).
    pub(crate) async fn find(
        &self,
        organization_id: &OrganizationId,
        project_id: Option<&ProjectId>,
        lookup: Lookup<'_>,
    ) -> Result<Vec<Arc<Conversation>>, StoreError> {
        self.snapshot().find(organization_id, project_id, lookup).await
    }

    /// The conversations at these addresses of one snapshot, in this order.
    pub(crate) async fn read_rows(
        &self,
        snapshot: &Snapshot,
        addresses: &[RowAddress],
    ) -> Result<Vec<Arc<Conversation>>, StoreError> {
        snapshot.read_rows(addresses).await
    }

    /// Flushes and stops taking changes; other engines then see what was flushed.
    pub(crate) async fn shutdown(&self) -> Result<(), StoreError> {
        self.background.cancel();
        let (reply, answer) = oneshot::channel();
        let stopped = match self.commands.send(Command::Stop(reply)).await {
            Ok(()) => answer.await.unwrap_or(Ok(())),
            Err(_) => Ok(()),
        };
        self.held.deriving.cancel();
        if let Some(deriver) = self.held.take_deriver() {
            // Nothing here depends on how it ended.
            let _ = deriver.await;
        }
        stopped
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.background.cancel();
        self.held.deriving.cancel();
    }
}

fn other_answer() -> StoreError {
    StoreError::Bug("the committer answered another change".into())
}

mod background;
pub(crate) mod status;
mod writer;

#[cfg(test)]
mod tests;
