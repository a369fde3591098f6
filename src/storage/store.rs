//! The store as the rest of the server sees it: log, find, delete, snapshot.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use object_store::ObjectStore;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::catalog::files::FileSnapshot;
pub(crate) use super::error::StoreError;
use super::format::reader;
use super::log::writer::PATIENCE;
use super::maintain::text_indexer::Indexer;
use super::read::snapshot::{RowAddress, Snapshot};
use super::write::committer::{
    Annotate, Change, Command, Committer, FileHit, FlushPolicy, Outcome, Prefetched, Request, StoredRow, Target,
};
use super::write::recovery;
use crate::model::actor::Actor;
use crate::model::annotation_change::AnnotationChange;
use crate::model::conversation::Conversation;
use crate::model::document::Document;
use crate::model::event::{Event, EventDocument};
use crate::model::feedback::{Feedback, FeedbackDocument};
use crate::model::ids::{ConversationId, ConversationKey, FeedbackKey, OrganizationId, ProjectId, lookup_hash};
use crate::model::json::value::RawJson;
use crate::model::resolve::{Identity, Previous};

/// Changes that wait for the committer; more answer [`StoreError::Busy`].
const WAITING_CHANGES: usize = 4_096;

/// What one atomic change of annotations may rewrite; the whole rows are in memory meanwhile.
const MAX_ANNOTATED_BYTES: usize = 128 << 20;
const READ_AT_ONCE: usize = 64;
/// Rows of a file whose messages are looked up one by one; of more, all of the file's are read at once.
const SINGLE_LOOKUPS: usize = 32;

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

#[derive(Clone, Debug)]
pub(crate) struct StoreOptions {
    /// A folder, or a URL of an object store.
    pub(crate) url: String,
    /// Writers are told to wait when the memory tail holds about this many bytes.
    pub(crate) tail_bytes: usize,
    /// The tail is flushed to files at this many rows,
    pub(crate) flush_rows: usize,
    /// or when its oldest change is this old (or at half of `tail_bytes`).
    pub(crate) flush_interval: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            url: "data/store".into(),
            tail_bytes: 512 << 20,
            flush_rows: 65_536,
            flush_interval: Duration::from_secs(60),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Lookup<'a> {
    Id(&'a str),
    ExternalId(&'a str),
}

pub(crate) struct Store {
    object_store: Arc<dyn ObjectStore>,
    published: Arc<ArcSwap<Snapshot>>,
    commands: mpsc::Sender<Command>,
    tail_bytes: usize,
    local_root: Option<PathBuf>,
    /// Ends with the store.
    background: CancellationToken,
    /// Held as long as this process may write.
    _lock: Option<std::fs::File>,
}

impl Store {
    /// Opens for writing: recovers what is acknowledged, fences older writers.
    pub(crate) async fn open(options: StoreOptions) -> Result<Arc<Store>, StoreError> {
        let opened = recovery::open(&options.url).await?;
        Store::start(opened, &options, PATIENCE)
    }

    /// A store of the objects of a test, which breaks them; a log write in doubt is told at once.
    #[cfg(test)]
    pub(crate) async fn open_on(
        objects: Arc<dyn ObjectStore>,
        options: &StoreOptions,
    ) -> Result<Arc<Store>, StoreError> {
        Store::start(recovery::recover(objects).await?, options, Duration::ZERO)
    }

    fn start(opened: recovery::Opened, options: &StoreOptions, patience: Duration) -> Result<Arc<Store>, StoreError> {
        let recovery::Opened { object_store, local_root, lock, state, tables, writer, position, counters } = opened;
        let published = Arc::new(ArcSwap::from_pointee(state.snapshot(&object_store)));
        let (sender, receiver) = mpsc::channel(WAITING_CHANGES);
        let committer = Committer {
            store: object_store.clone(),
            published: published.clone(),
            commands: receiver,
            own_commands: sender.downgrade(),
            policy: FlushPolicy {
                rows: options.flush_rows,
                bytes: options.tail_bytes / 2,
                age: options.flush_interval,
            },
            writer,
            patience,
            counters,
            tables: Arc::new(tokio::sync::Mutex::new(tables)),
            position,
            state,
            deferred: VecDeque::new(),
        };
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || runtime.block_on(committer.run()))
            .map_err(|error| StoreError::io("the committer thread could not start", error))?;
        Ok(Arc::new(Store {
            object_store,
            published,
            commands: sender,
            tail_bytes: options.tail_bytes,
            local_root,
            background: CancellationToken::new(),
            _lock: lock,
        }))
    }

    /// Makes and keeps the text indexes that searches use, in the background to the end of the store.
    pub(crate) fn index_texts(&self) -> Result<(), StoreError> {
        let indexer = Indexer { published: self.published.clone(), stop: self.background.clone() };
        indexer.start().map_err(|error| StoreError::io("the text indexer's thread could not start", error))
    }

    pub(crate) fn object_store(&self) -> &Arc<dyn ObjectStore> {
        &self.object_store
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
        let bytes = document_bytes(&document);
        let document = Arc::new(document);
        loop {
            let snapshot = self.snapshot();
            self.check_room(&snapshot)?;
            let prefetched = snapshot.prefetch(&identity, &document).await?;
            let change = Change::Log { identity: identity.clone(), document: document.clone(), bytes };
            match self.submit(change, prefetched).await? {
                Outcome::Logged(conversation) => return Ok(conversation),
                Outcome::Stale => continue,
                _ => return Err(other_answer()),
            }
        }
    }

    /// Whether it was there. Its feedback and events go with it.
    pub(crate) async fn delete_conversation(&self, key: &ConversationKey) -> Result<bool, StoreError> {
        loop {
            let snapshot = self.snapshot();
            let links = snapshot.prefetch_owned(key).await?;
            let mut prefetched =
                Prefetched { flush_generation: snapshot.flush_generation, links, ..Prefetched::default() };
            if snapshot.tail.get(key).is_none() {
                prefetched.by_id = snapshot.find_in_files(key, Lookup::Id(key.id.as_str())).await?;
            }
            match self.submit(Change::Delete { key: key.clone() }, prefetched).await? {
                Outcome::Deleted(found) => return Ok(found),
                Outcome::Stale => continue,
                _ => return Err(other_answer()),
            }
        }
    }

    /// Upserts by id (contract A4). Returns once the event is durable and visible.
    pub(crate) async fn log_event(
        &self,
        identity: Identity,
        document: EventDocument,
    ) -> Result<Arc<Event>, StoreError> {
        let length = |raw: &Option<RawJson>| raw.as_ref().map_or(0, |raw| raw.get().len());
        let bytes = 256 + length(&document.properties) + length(&document.user_properties) + document.entity.len();
        let document = Arc::new(document);
        loop {
            let snapshot = self.snapshot();
            self.check_room(&snapshot)?;
            let prefetched = snapshot.prefetch_event(&identity, &document).await?;
            let change = Change::LogEvent { identity: identity.clone(), document: document.clone(), bytes };
            match self.submit(change, prefetched).await? {
                Outcome::Event(event) => return Ok(event),
                Outcome::Stale => continue,
                _ => return Err(other_answer()),
            }
        }
    }

    /// Upserts by id (contract A4). [`StoreError::Invalid`] where no conversation of the project has the message.
    pub(crate) async fn log_feedback(
        &self,
        identity: Identity,
        document: FeedbackDocument,
    ) -> Result<Arc<Feedback>, StoreError> {
        let length = |raw: &Option<RawJson>| raw.as_ref().map_or(0, |raw| raw.get().len());
        let lists = length(&document.reasons) + length(&document.sources);
        let details = document.details.as_ref().map_or(0, String::len);
        let bytes = 256 + lists + details + length(&document.properties) + length(&document.user_properties);
        let document = Arc::new(document);
        loop {
            let snapshot = self.snapshot();
            self.check_room(&snapshot)?;
            let prefetched = snapshot.prefetch_feedback(&identity, &document).await?;
            let change = Change::LogFeedback { identity: identity.clone(), document: document.clone(), bytes };
            match self.submit(change, prefetched).await? {
                Outcome::Feedback(feedback) => return Ok(feedback),
                Outcome::Stale => continue,
                _ => return Err(other_answer()),
            }
        }
    }

    /// Whether it was there; feedback whose message is dropped counts as not there.
    pub(crate) async fn delete_feedback(&self, key: &FeedbackKey) -> Result<bool, StoreError> {
        loop {
            let snapshot = self.snapshot();
            let feedback = snapshot.feedback.find_in_files(&snapshot.store, key).await?;
            let prefetched =
                Prefetched { flush_generation: snapshot.flush_generation, feedback, ..Prefetched::default() };
            match self.submit(Change::DeleteFeedback { key: key.clone() }, prefetched).await? {
                Outcome::Deleted(found) => return Ok(found),
                Outcome::Stale => continue,
                _ => return Err(other_answer()),
            }
        }
    }

    /// Changes what is set on one conversation; `None` if the actor sees none of this key. Returns once the change
    /// is durable and visible.
    pub(crate) async fn annotate(
        &self,
        key: &ConversationKey,
        change: &AnnotationChange,
        actor: &Actor,
    ) -> Result<Option<Arc<Conversation>>, StoreError> {
        loop {
            let snapshot = self.snapshot();
            self.check_room(&snapshot)?;
            let mut target = Target { key: key.clone(), stored: None };
            let mut bytes = snapshot.tail.live(key).map_or(0, |row| row.value.text_bytes());
            if snapshot.tail.get(key).is_none() {
                let hits = snapshot
                    .file_hits(&key.organization_id, Some(&key.project_id), Lookup::Id(key.id.as_str()))
                    .await?;
                let Some((entry, hit)) = hits.into_iter().next() else { return Ok(None) };
                let (source, row) = (hit.source, hit.row);
                let conversation = entry.read_whole(&self.object_store, hit).await?;
                bytes = conversation.text_bytes();
                target.stored = Some(StoredRow { source, row, conversation });
            }
            let annotate = Annotate { targets: vec![target], change: change.clone(), actor: actor.clone(), bytes };
            match self.submit_annotate(annotate, snapshot.flush_generation).await? {
                Some(found) => return Ok(found.into_iter().next()),
                None => continue,
            }
        }
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
        for part in addresses.chunks(READ_AT_ONCE) {
            let conversations = snapshot.read_whole(part).await?;
            for (address, conversation) in part.iter().zip(conversations) {
                bytes += conversation.text_bytes();
                let stored = StoredRow { source: address.source, row: address.row, conversation };
                targets.push(Target { key: stored.conversation.key(), stored: Some(stored) });
            }
            if bytes > MAX_ANNOTATED_BYTES {
                return Ok(BulkOutcome::TooLarge);
            }
        }
        let annotate = Annotate { targets, change: change.clone(), actor: actor.clone(), bytes };
        Ok(match self.submit_annotate(annotate, snapshot.flush_generation).await? {
            Some(found) => BulkOutcome::Changed(found.len()),
            None => BulkOutcome::Stale,
        })
    }

    /// `None`: a flush came between.
    async fn submit_annotate(
        &self,
        annotate: Annotate,
        flush_generation: u64,
    ) -> Result<Option<Vec<Arc<Conversation>>>, StoreError> {
        let prefetched = Prefetched { flush_generation, ..Prefetched::default() };
        match self.submit(Change::Annotate(annotate), prefetched).await? {
            Outcome::Annotated(found) => Ok(Some(found)),
            Outcome::Stale => Ok(None),
            _ => Err(other_answer()),
        }
    }

    fn check_room(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        if snapshot.tail.bytes() >= self.tail_bytes {
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
                return Err(StoreError::Unavailable("the store takes no more changes".into()));
            }
        }
        answer.await.map_err(|_| StoreError::Unavailable("the store takes no more changes".into()))?
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

    /// Flushes and stops taking changes.
    pub(crate) async fn shutdown(&self) -> Result<(), StoreError> {
        self.background.cancel();
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Stop(reply)).await.is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.background.cancel();
    }
}

fn other_answer() -> StoreError {
    StoreError::Unavailable("the committer answered another change".into())
}

/// About what a document needs in the log.
fn document_bytes(document: &Document) -> usize {
    let length = |raw: &Option<RawJson>| raw.as_ref().map_or(0, |raw| raw.get().len());
    let messages = document.messages.iter().map(|message| 128 + length(&message.content) + length(&message.properties));
    256 + length(&document.properties) + length(&document.user_properties) + messages.sum::<usize>()
}

impl Snapshot {
    /// What the files know of a document's id and externalId, as far as the tail does not know it better.
    pub(crate) async fn prefetch(&self, identity: &Identity, document: &Document) -> Result<Prefetched, StoreError> {
        let key_of = |id: &str| ConversationKey {
            organization_id: identity.organization_id.clone(),
            project_id: identity.project_id.clone(),
            id: ConversationId::new(id),
        };
        let mut prefetched = Prefetched { flush_generation: self.flush_generation, ..Prefetched::default() };
        if let Some(id) = &document.id
            && self.tail.get(&key_of(id)).is_none()
        {
            prefetched.by_id = self.find_in_files(&key_of(id), Lookup::Id(id)).await?;
        }
        if let Some(external_id) = &document.external_id
            && self.tail.get_by_external_id(&key_of(""), external_id).is_none()
        {
            prefetched.by_external_id = match &prefetched.by_id {
                // An externalId has one holder in a project.
                Some(hit) if hit.previous.external_id.as_ref() == Some(external_id) => Some(hit.clone()),
                _ => self.find_in_files(&key_of(""), Lookup::ExternalId(external_id)).await?,
            };
        }
        prefetched.links = self.prefetch_links(identity, document, &prefetched).await?;
        Ok(prefetched)
    }

    /// The live file row of a project's conversation by id or externalId (`owner` names organization and project).
    pub(crate) async fn find_in_files(
        &self,
        owner: &ConversationKey,
        lookup: Lookup<'_>,
    ) -> Result<Option<FileHit>, StoreError> {
        let hits = self.file_hits(&owner.organization_id, Some(&owner.project_id), lookup).await?;
        Ok(hits.into_iter().next().map(|(_, hit)| hit))
    }

    async fn file_hits(
        &self,
        organization_id: &OrganizationId,
        project_id: Option<&ProjectId>,
        lookup: Lookup<'_>,
    ) -> Result<Vec<(&FileSnapshot, FileHit)>, StoreError> {
        let mut hits = Vec::new();
        let hash = lookup.hash(organization_id);
        // Newest files first: that is where a row found by id usually lives.
        for entry in self.files.iter().rev() {
            let index = &entry.file.index;
            let rows = match lookup {
                Lookup::Id(_) => index.find_id(self.store.as_ref(), hash).await,
                Lookup::ExternalId(_) => index.find_external_id(self.store.as_ref(), hash).await,
            };
            for row in rows.map_err(|error| StoreError::io("a sidecar index could not be read", error))? {
                if entry.deleted.contains(row) {
                    continue;
                }
                let previous = entry.previous(&self.store, row).await?;
                if previous.key.organization_id != *organization_id
                    || project_id.is_some_and(|project| previous.key.project_id != *project)
                {
                    continue;
                }
                let same = match lookup {
                    Lookup::Id(id) => previous.key.id.as_str() == id,
                    Lookup::ExternalId(external_id) => previous.external_id.as_deref() == Some(external_id),
                };
                if same {
                    hits.push((entry, FileHit { source: entry.file.number, row, previous }));
                    if project_id.is_some() {
                        return Ok(hits);
                    }
                }
            }
        }
        Ok(hits)
    }

    pub(crate) async fn find(
        &self,
        organization_id: &OrganizationId,
        project_id: Option<&ProjectId>,
        lookup: Lookup<'_>,
    ) -> Result<Vec<Arc<Conversation>>, StoreError> {
        let mut found = match lookup {
            Lookup::Id(id) => self.tail.find_id(organization_id, id),
            Lookup::ExternalId(external_id) => self.tail.find_external_id(organization_id, external_id),
        };
        found.retain(|conversation| project_id.is_none_or(|project| conversation.project_id == *project));
        if found.is_empty() || project_id.is_none() {
            // A row in a file whose key the tail knows is marked deleted, so nothing is found twice.
            let hits = self.file_hits(organization_id, project_id, lookup).await?;
            for (entry, hit) in hits {
                found.push(entry.read_whole(&self.store, hit).await?);
            }
        }
        found.sort_by(|a, b| {
            b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)).then_with(|| a.project_id.cmp(&b.project_id))
        });
        Ok(found)
    }

    /// Like [`Self::read_rows`], with the annotations that are no columns.
    pub(crate) async fn read_whole(&self, addresses: &[RowAddress]) -> Result<Vec<Arc<Conversation>>, StoreError> {
        let mut conversations = self.read_rows(addresses).await?;
        for (address, conversation) in addresses.iter().zip(&mut conversations) {
            if let Some(entry) = self.files.iter().find(|entry| entry.file.number == address.source) {
                let previous = entry.previous(&self.store, address.row).await?;
                Arc::make_mut(conversation).annotations = previous.annotations;
            }
        }
        Ok(conversations)
    }

    /// Of what is in files only the annotations that are columns are read.
    pub(crate) async fn read_rows(&self, addresses: &[RowAddress]) -> Result<Vec<Arc<Conversation>>, StoreError> {
        let missing = || StoreError::Corrupt("a row address is not of this snapshot".into());
        let mut found: Vec<Option<Arc<Conversation>>> = vec![None; addresses.len()];
        for entry in self.segments.iter() {
            for (slot, address) in found.iter_mut().zip(addresses) {
                if address.source == entry.segment.number {
                    let row = entry.segment.rows.get(address.row as usize).ok_or_else(missing)?;
                    *slot = Some(row.clone());
                }
            }
        }
        for entry in self.files.iter() {
            let mut wanted: Vec<(u32, usize)> = addresses
                .iter()
                .enumerate()
                .filter(|(_, address)| address.source == entry.file.number)
                .map(|(slot, address)| (address.row, slot))
                .collect();
            if wanted.is_empty() {
                continue;
            }
            wanted.sort_unstable();
            let rows: Vec<u32> = wanted.iter().map(|(row, _)| *row).collect();
            let conversations = entry.conversations(&self.store, &rows).await?;
            for ((_, slot), conversation) in wanted.into_iter().zip(conversations) {
                if let Some(slot) = found.get_mut(slot) {
                    *slot = Some(Arc::new(conversation));
                }
            }
        }
        found.into_iter().map(|conversation| conversation.ok_or_else(missing)).collect()
    }
}

impl Lookup<'_> {
    pub(crate) fn hash(&self, organization_id: &OrganizationId) -> u128 {
        let (Lookup::Id(text) | Lookup::ExternalId(text)) = self;
        lookup_hash(organization_id, text)
    }
}

impl FileSnapshot {
    /// What a re-log needs to know of a row.
    pub(crate) async fn previous(&self, store: &Arc<dyn ObjectStore>, row: u32) -> Result<Previous, StoreError> {
        let bytes = self.file.index.previous(store.as_ref(), row).await;
        let bytes = bytes.map_err(|error| StoreError::io("a sidecar index could not be read", error))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::Corrupt(format!("row {row} of the index of {}: {error}", self.file.path)))
    }

    /// A conversation with all of its annotations.
    async fn read_whole(&self, store: &Arc<dyn ObjectStore>, hit: FileHit) -> Result<Arc<Conversation>, StoreError> {
        let read = self.conversations(store, &[hit.row]).await?;
        let mut conversation = read
            .into_iter()
            .next()
            .ok_or_else(|| StoreError::Corrupt(format!("{} has no row {}", self.file.path, hit.row)))?;
        conversation.annotations = hit.previous.annotations;
        Ok(Arc::new(conversation))
    }

    /// Whole conversations, but for the annotations that are no columns; `rows` ascending.
    pub(crate) async fn conversations(
        &self,
        store: &Arc<dyn ObjectStore>,
        rows: &[u32],
    ) -> Result<Vec<Conversation>, StoreError> {
        let failed = |error| StoreError::io("a sidecar index could not be read", error);
        let index = &self.file.index;
        let mut wanted = Vec::with_capacity(rows.len());
        if rows.len() > SINGLE_LOOKUPS {
            let offsets = index.message_offsets(store.as_ref()).await.map_err(failed)?;
            for row in rows {
                let range = offsets.get(*row as usize).zip(offsets.get(*row as usize + 1));
                let (start, end) = range
                    .ok_or_else(|| StoreError::Corrupt(format!("the index of {} lacks row {row}", self.file.path)))?;
                wanted.push((*row, *start..*end));
            }
        } else {
            for row in rows {
                wanted.push((*row, index.message_range(store.as_ref(), *row).await.map_err(failed)?));
            }
        }
        let messages = self.file.messages.as_ref();
        let messages = messages.ok_or_else(|| StoreError::Corrupt(format!("{} has no messages", self.file.path)))?;
        let read = reader::read_conversations(store, &self.file, messages, &wanted).await;
        read.map_err(|error| StoreError::io("conversations could not be read", error))
    }
}

#[cfg(test)]
mod tests;
