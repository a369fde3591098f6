//! Events and feedback hang on conversations: they show the conversation that has their message (the newest, if several
//! have it), lose it when a re-log drops the message, get it back with the message, and go with the conversation.
//!
//! The link stands in their rows, so that queries need no join. A change of a conversation brings along what the files
//! have of it ([`Links`]), and its operation is followed in the log by those of the rows whose link it changes.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use object_store::ObjectStore;
use serde::de::DeserializeOwned;

use super::committer::{Change, FileHit, Outcome, Prefetched, State, existing_for};
use crate::model::document::Document;
use crate::model::event::{Event, EventDocument};
use crate::model::feedback::{Feedback, FeedbackDocument};
use crate::model::ids::{ConversationId, ConversationKey, EpochMillis, Key, OrganizationId, ProjectId, lookup_hash};
use crate::model::resolve::{Identity, Previous, known_message_ids};
use crate::model::{thread, time};
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::error::StoreError;
use crate::storage::format::table_row::{Reference, TableRow};
use crate::storage::log::operation::Operation;
use crate::storage::read::snapshot::{RowAddress, Snapshot, TableSnapshot};
use crate::storage::tail::{Counters, Tail, TailEntry, TailGroup};

/// A stored row of `events` or `feedback` that a change may replace or delete.
#[derive(Clone, Debug)]
pub(crate) struct RecordHit<R> {
    pub(crate) source: u32,
    pub(crate) row: u32,
    pub(crate) record: Arc<R>,
}

/// What the files know around a change: looked up before it is queued.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// False where there was no event and no feedback at all.
    searched: bool,
    messages: HashMap<String, MessageLinks>,
    /// What a deleted conversation takes with it.
    owned: Dependents,
}

#[derive(Debug, Default)]
struct MessageLinks {
    /// Conversations that have the message.
    holders: Vec<FileHit>,
    dependents: Dependents,
}

#[derive(Debug, Default)]
struct Dependents {
    events: Vec<RecordHit<Event>>,
    feedback: Vec<RecordHit<Feedback>>,
}

/// One group of operations being taken in, on all tables.
pub(crate) struct Staged {
    pub(crate) conversations: TailGroup,
    pub(crate) events: TailGroup<Event>,
    pub(crate) feedback: TailGroup<Feedback>,
}

impl Staged {
    pub(crate) fn begin(state: &State) -> Staged {
        Staged {
            conversations: TailGroup::begin(&state.tail),
            events: TailGroup::begin(&state.events.tail),
            feedback: TailGroup::begin(&state.feedback.tail),
        }
    }

    pub(crate) fn stage(&mut self, operation: &Operation, counters: &mut Counters) {
        match operation {
            Operation::UpsertEvent(event) => self.events.stage_row(&event.key(), Some(event), counters),
            Operation::DeleteEvent(key) => self.events.stage_row(key, None, counters),
            Operation::UpsertFeedback(feedback) => self.feedback.stage_row(&feedback.key(), Some(feedback), counters),
            Operation::DeleteFeedback(key) => self.feedback.stage_row(key, None, counters),
            conversations => self.conversations.stage(conversations, counters),
        }
    }

    /// Makes the group part of the state. `bytes` is its size in the log.
    pub(crate) fn finish(self, state: &mut State, bytes: usize, counters: &mut Counters) {
        state.tail = self.conversations.finish(bytes, &state.columns, counters);
        state.events.tail = self.events.finish(0, &state.events.columns, counters);
        state.feedback.tail = self.feedback.finish(0, &state.feedback.columns, counters);
    }
}

/// An operation and the file row that goes with it.
pub(crate) struct Step {
    pub(crate) operation: Operation,
    pub(crate) replaces: Option<(u32, u32)>,
}

/// A row of `events` or `feedback`, which may hang on a conversation.
trait Dependent: TableRow {
    /// The row with another link; `None` where it has it already. `holders` are the conversations with the message.
    fn linked(&self, holders: &[Holder]) -> Option<Self>;

    fn upsert(self: Arc<Self>) -> Operation;

    fn delete(&self) -> Operation;

    fn hits(dependents: &Dependents) -> &[RecordHit<Self>];
}

impl Dependent for Event {
    fn linked(&self, holders: &[Holder]) -> Option<Event> {
        let (owner_id, detached) = match holders.iter().max() {
            Some(holder) => (Some(holder.id.as_str()), false),
            None => (self.owner_id.as_deref(), self.owner_id.is_some()),
        };
        let same = self.owner_id.as_deref() == owner_id && self.detached == detached;
        (!same).then(|| Event { owner_id: owner_id.map(str::to_owned), detached, ..self.clone() })
    }

    fn upsert(self: Arc<Self>) -> Operation {
        Operation::UpsertEvent(self)
    }

    fn delete(&self) -> Operation {
        Operation::DeleteEvent(self.key())
    }

    fn hits(dependents: &Dependents) -> &[RecordHit<Event>] {
        &dependents.events
    }
}

impl Dependent for Feedback {
    /// A rating stays with the conversation that it was given in.
    fn linked(&self, holders: &[Holder]) -> Option<Feedback> {
        let holder = match self.rated_by {
            Some(_) => holders.iter().find(|holder| holder.id == self.owner_id),
            None => holders.iter().max(),
        };
        let (owner_id, detached) = (holder.map_or(&self.owner_id, |holder| &holder.id), holder.is_none());
        let same = self.owner_id == *owner_id && self.detached == detached;
        (!same).then(|| Feedback { owner_id: owner_id.clone(), detached, ..self.clone() })
    }

    fn upsert(self: Arc<Self>) -> Operation {
        Operation::UpsertFeedback(self)
    }

    fn delete(&self) -> Operation {
        Operation::DeleteFeedback(self.key())
    }

    fn hits(dependents: &Dependents) -> &[RecordHit<Feedback>] {
        &dependents.feedback
    }
}

/// What a decided change of a conversation means for its events and feedback. `None`: the look-up is out of date.
pub(crate) fn follow(
    staged: &Staged,
    change: &Change,
    operation: &Operation,
    prefetched: &Prefetched,
) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    match (change, operation) {
        (Change::Log { document, .. }, Operation::Upsert(conversation)) => {
            let key = conversation.key();
            let tail = staged.conversations.tail();
            let (before, created_at): (HashSet<&str>, Option<EpochMillis>) = match tail.get(&key) {
                Some(TailEntry::Live(row)) => {
                    let messages = row.value.messages.iter().map(|message| message.id.as_str());
                    (messages.collect(), Some(row.value.created_at))
                }
                Some(TailEntry::Deleted) => (HashSet::new(), None),
                None => {
                    let hits = [&prefetched.by_id, &prefetched.by_external_id];
                    let hit = hits.into_iter().flatten().find(|hit| hit.previous.key == key).map(|hit| &hit.previous);
                    let messages = hit.into_iter().flat_map(|previous| &previous.messages).map(|m| m.id.as_str());
                    (messages.collect(), hit.map(|previous| previous.created_at))
                }
            };
            let after: HashSet<&str> = conversation.messages.iter().map(|message| message.id.as_str()).collect();
            let moved = created_at.is_some_and(|at| at != conversation.created_at);
            let affected = affected(document, &before, &after, moved);
            let own = Holder { created_at: conversation.created_at, id: conversation.id.as_str().to_owned() };
            for message in affected {
                let reference = Reference::Message(message);
                let of_tail =
                    (in_tail(staged.events.tail(), &key, reference), in_tail(staged.feedback.tail(), &key, reference));
                let links = match prefetched.links.messages.get(message) {
                    Some(links) => links,
                    None if !prefetched.links.searched && of_tail.0.is_empty() && of_tail.1.is_empty() => continue,
                    None => return None,
                };
                let others = holders(tail, &key, message, &links.holders).filter(|(holder, _)| *holder != key);
                let own = after.contains(message).then(|| own.clone());
                let holders: Vec<Holder> = others.map(|(_, holder)| holder).chain(own).collect();
                relink(staged.events.tail(), of_tail.0, &links.dependents, &holders, &mut steps);
                relink(staged.feedback.tail(), of_tail.1, &links.dependents, &holders, &mut steps);
            }
        }
        (Change::Delete { .. }, Operation::Delete(key)) => {
            take_along(staged.events.tail(), key, &prefetched.links.owned, &mut steps);
            take_along(staged.feedback.tail(), key, &prefetched.links.owned, &mut steps);
        }
        _ => {}
    }
    Some(steps)
}

/// Message ids that a conversation gains or loses, and all of them where its time is `moved`: another one with the
/// message may now be the newest. Ids that are made for the document are nobody's yet.
fn affected<'a>(document: &'a Document, before: &HashSet<&'a str>, after: &HashSet<&str>, moved: bool) -> Vec<&'a str> {
    let given = document.messages.iter().filter_map(|message| message.id.as_deref());
    let gained = given.filter(|id| !before.contains(id));
    gained.chain(before.iter().copied().filter(|id| moved || !after.contains(id))).collect()
}

/// The newest is greatest (contract A4, feedback).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Holder {
    created_at: EpochMillis,
    id: String,
}

/// All conversations of a project with a message, in the tail and in files.
fn holders<'a, I>(
    tail: &'a Tail,
    project: &'a Key<I>,
    message: &'a str,
    hits: &'a [FileHit],
) -> impl Iterator<Item = (ConversationKey, Holder)> + 'a {
    let in_tail = tail.find_reference(&project.organization_id, &project.project_id, Reference::Message(message));
    let in_tail = in_tail
        .into_iter()
        .map(|row| (row.key(), Holder { created_at: row.created_at, id: row.id.as_str().to_owned() }));
    let in_files = hits.iter().map(|hit| &hit.previous).filter(|previous| tail.get(&previous.key).is_none());
    in_tail.chain(in_files.map(|previous| {
        (previous.key.clone(), Holder { created_at: previous.created_at, id: previous.key.id.as_str().to_owned() })
    }))
}

fn in_tail<R: TableRow, I>(tail: &Tail<R>, project: &Key<I>, reference: Reference<'_>) -> Vec<Arc<R>> {
    tail.find_reference(&project.organization_id, &project.project_id, reference)
}

fn relink<R: Dependent>(
    tail: &Tail<R>,
    of_tail: Vec<Arc<R>>,
    dependents: &Dependents,
    holders: &[Holder],
    steps: &mut Vec<Step>,
) {
    let of_tail = of_tail.into_iter().map(|record| (record, None));
    let of_files = R::hits(dependents).iter().filter(|hit| tail.get(&hit.record.key()).is_none());
    for (record, replaces) in of_tail.chain(of_files.map(|hit| (hit.record.clone(), Some((hit.source, hit.row))))) {
        if let Some(linked) = record.linked(holders) {
            steps.push(Step { operation: Arc::new(linked).upsert(), replaces });
        }
    }
}

fn take_along<R: Dependent>(tail: &Tail<R>, key: &ConversationKey, owned: &Dependents, steps: &mut Vec<Step>) {
    for record in in_tail(tail, key, Reference::Conversation(key.id.as_str())) {
        steps.push(Step { operation: record.delete(), replaces: None });
    }
    for hit in R::hits(owned).iter().filter(|hit| tail.get(&hit.record.key()).is_none()) {
        steps.push(Step { operation: hit.record.delete(), replaces: Some((hit.source, hit.row)) });
    }
}

/// What is stored under a key.
struct Stored<R> {
    record: Arc<R>,
    /// Where it lies, if in a file.
    row: Option<(u32, u32)>,
}

/// The stored row of a key: from the tail, else from the prefetched file row.
fn existing<R: TableRow>(tail: &Tail<R>, key: &Key<R::Id>, hit: Option<&RecordHit<R>>) -> Option<Stored<R>> {
    match tail.get(key) {
        Some(TailEntry::Live(row)) => Some(Stored { record: row.value.clone(), row: None }),
        Some(TailEntry::Deleted) => None,
        None => hit.map(|hit| Stored { record: hit.record.clone(), row: Some((hit.source, hit.row)) }),
    }
}

/// The conversations of the project that have the message.
fn holders_of(staged: &Staged, identity: &Identity, message: &str, prefetched: &Prefetched) -> Vec<Holder> {
    let key = key_of(identity, ConversationId::new(""));
    let hits = prefetched.links.messages.get(message).map_or(&[][..], |links| &links.holders);
    holders(staged.conversations.tail(), &key, message, hits).map(|(_, holder)| holder).collect()
}

fn key_of<I>(identity: &Identity, id: I) -> Key<I> {
    Key { organization_id: identity.organization_id.clone(), project_id: identity.project_id.clone(), id }
}

pub(crate) fn resolve_event(
    staged: &Staged,
    identity: &Identity,
    document: &EventDocument,
    prefetched: &Prefetched,
) -> (Step, Outcome) {
    let stored = document.id.as_deref().and_then(|id| {
        existing(staged.events.tail(), &key_of(identity, Event::make_id(id)), prefetched.event.as_ref())
    });
    let previous = stored.as_ref().map(|stored| stored.record.as_ref());
    let event = Event::resolve(document, identity, previous, time::now());
    let holder =
        event.message_id().and_then(|message| holders_of(staged, identity, message, prefetched).into_iter().max());
    let (owner_id, detached) = match holder {
        Some(holder) => (Some(holder.id), false),
        // It stays the event of the conversation that had the message.
        None => {
            let kept = previous.filter(|previous| previous.message_id() == event.message_id());
            let kept = kept.and_then(|previous| previous.owner_id.clone());
            (kept.clone(), kept.is_some())
        }
    };
    let event = Arc::new(Event { owner_id, detached, ..event });
    let replaces = stored.and_then(|stored| stored.row);
    (Step { operation: Operation::UpsertEvent(event.clone()), replaces }, Outcome::Event(event))
}

/// # Errors
/// [`StoreError::Invalid`] where no conversation of the project has the message, or not the one that a rating names.
pub(crate) fn resolve_feedback(
    staged: &Staged,
    identity: &Identity,
    document: &FeedbackDocument,
    prefetched: &Prefetched,
) -> Result<(Step, Outcome), StoreError> {
    let stored = document.id.as_deref().and_then(|id| {
        existing(staged.feedback.tail(), &key_of(identity, Feedback::make_id(id)), prefetched.feedback.as_ref())
    });
    let previous = stored.as_ref().map(|stored| stored.record.as_ref());
    let holders = holders_of(staged, identity, &document.message_id, prefetched);
    let rated_in = Feedback::rated_in(document, previous);
    let rated_in = holders.iter().find(|holder| rated_in.is_some_and(|id| holder.id == id));
    let newest = holders.iter().max().filter(|_| document.rating.is_none());
    let holder = rated_in.or(newest).ok_or_else(|| {
        StoreError::Invalid("messageId: no stored conversation of the project has this message".to_owned())
    })?;
    let feedback = Arc::new(Feedback::resolve(document, identity, &holder.id, previous, time::now()));
    let replaces = stored.and_then(|stored| stored.row);
    Ok((Step { operation: Operation::UpsertFeedback(feedback.clone()), replaces }, Outcome::Feedback(feedback)))
}

/// Feedback whose message is dropped is not found (contract A4).
pub(crate) fn resolve_feedback_deletion(
    staged: &Staged,
    key: &Key<<Feedback as TableRow>::Id>,
    prefetched: &Prefetched,
) -> Option<Step> {
    let stored = existing(staged.feedback.tail(), key, prefetched.feedback.as_ref())?;
    (!stored.record.detached).then(|| Step { operation: stored.record.delete(), replaces: stored.row })
}

/// Which keys of a sidecar index to look in.
#[derive(Clone, Copy)]
enum Section {
    Ids,
    References,
}

/// Live rows of files under a hash, with what the sidecar keeps of each.
async fn entries<E: DeserializeOwned>(
    store: &Arc<dyn ObjectStore>,
    files: &[FileSnapshot],
    section: Section,
    hash: u128,
    is_it: impl Fn(&E) -> bool,
) -> Result<Vec<(u32, u32, E)>, StoreError> {
    let failed = |error| StoreError::io("a sidecar index could not be read", error);
    let mut found = Vec::new();
    for file in files.iter().rev() {
        let index = &file.file.index;
        let rows = match section {
            Section::Ids => index.find_id(store.as_ref(), hash).await,
            Section::References => index.find_reference(store.as_ref(), hash).await,
        };
        for row in rows.map_err(failed)?.into_iter().filter(|row| !file.deleted.contains(*row)) {
            let entry: E = file.index_entry(store, row).await?;
            if is_it(&entry) {
                found.push((file.file.number, row, entry));
            }
        }
    }
    Ok(found)
}

impl FileSnapshot {
    pub(crate) async fn index_entry<E: DeserializeOwned>(
        &self,
        store: &Arc<dyn ObjectStore>,
        row: u32,
    ) -> Result<E, StoreError> {
        let bytes = self.file.index.previous(store.as_ref(), row).await;
        let bytes = bytes.map_err(|error| StoreError::io("a sidecar index could not be read", error))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::Corrupt(format!("row {row} of the index of {}: {error}", self.file.path)))
    }
}

impl<R: TableRow> TableSnapshot<R> {
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.segments.is_empty()
    }

    async fn hits(
        &self,
        store: &Arc<dyn ObjectStore>,
        project: (&OrganizationId, &ProjectId),
        reference: Reference<'_>,
    ) -> Result<Vec<RecordHit<R>>, StoreError> {
        let hash = reference.hash(project.0, project.1);
        let is_it = |record: &R| {
            let key = record.key();
            (&key.organization_id, &key.project_id) == project && record.references().contains(&reference)
        };
        let found = entries(store, &self.files, Section::References, hash, is_it).await?;
        Ok(found.into_iter().map(|(source, row, record)| RecordHit { source, row, record: Arc::new(record) }).collect())
    }

    /// The live file row of a key.
    pub(crate) async fn find_in_files(
        &self,
        store: &Arc<dyn ObjectStore>,
        key: &Key<R::Id>,
    ) -> Result<Option<RecordHit<R>>, StoreError> {
        let hash = lookup_hash(&key.organization_id, key.id.borrow());
        let found = entries(store, &self.files, Section::Ids, hash, |record: &R| record.key() == *key).await?;
        let hit = found.into_iter().next();
        Ok(hit.map(|(source, row, record)| RecordHit { source, row, record: Arc::new(record) }))
    }

    /// Rows of an organization with an id; of one project, if it is named.
    pub(crate) async fn find(
        &self,
        store: &Arc<dyn ObjectStore>,
        organization_id: &OrganizationId,
        project_id: Option<&ProjectId>,
        id: &str,
    ) -> Result<Vec<Arc<R>>, StoreError> {
        let is_it = |record: &R| {
            let key = record.key();
            key.organization_id == *organization_id
                && project_id.is_none_or(|project| key.project_id == *project)
                && key.id.borrow() == id
        };
        let mut found: Vec<Arc<R>> = self.tail.find_id(organization_id, id);
        found.retain(|record| is_it(record));
        // A row in a file whose key the tail knows is marked deleted, so nothing is found twice.
        let hash = lookup_hash(organization_id, id);
        let hits = entries(store, &self.files, Section::Ids, hash, is_it).await?;
        found.extend(hits.into_iter().map(|(_, _, record)| Arc::new(record)));
        Ok(found)
    }

    /// The rows at these addresses, in this order.
    pub(crate) async fn read_rows(
        &self,
        store: &Arc<dyn ObjectStore>,
        addresses: &[RowAddress],
    ) -> Result<Vec<Arc<R>>, StoreError> {
        let missing = || StoreError::Corrupt("a row address is not of this snapshot".into());
        let mut found = Vec::with_capacity(addresses.len());
        for address in addresses {
            let segment = self.segments.iter().find(|entry| entry.segment.number == address.source);
            found.push(match segment {
                Some(entry) => entry.segment.rows.get(address.row as usize).ok_or_else(missing)?.clone(),
                None => {
                    let file = self.files.iter().find(|entry| entry.file.number == address.source);
                    Arc::new(file.ok_or_else(missing)?.index_entry(store, address.row).await?)
                }
            });
        }
        Ok(found)
    }
}

impl Snapshot {
    /// What the files know of the messages that a document takes from its conversation or gives to it.
    pub(crate) async fn prefetch_links(
        &self,
        identity: &Identity,
        document: &Document,
        prefetched: &Prefetched,
    ) -> Result<Links, StoreError> {
        let mut links = Links::default();
        // A contradiction is told when the change is decided.
        let Ok(existing) = existing_for(&self.tail, identity, document, prefetched) else {
            return Ok(Links { searched: true, ..links });
        };
        if self.events.is_empty() && self.feedback.is_empty() {
            return Ok(links);
        }
        links.searched = true;
        let previous: Option<&Previous> = existing.as_ref().map(|existing| &existing.previous);
        let before = previous.iter().flat_map(|previous| &previous.messages).map(|m| m.id.as_str()).collect();
        let after = known_message_ids(document, previous).into_iter().flatten().collect();
        let moved = previous.is_some_and(|previous| document.created_at.is_some_and(|at| at != previous.created_at));
        for message in affected(document, &before, &after, moved) {
            let mut of_message = self.holders_in_files(identity, message).await?;
            of_message.dependents = self.dependents(identity, Reference::Message(message)).await?;
            links.messages.insert(message.to_owned(), of_message);
        }
        Ok(links)
    }

    /// What goes with a conversation.
    pub(crate) async fn prefetch_owned(&self, key: &ConversationKey) -> Result<Links, StoreError> {
        let identity = Identity {
            organization_id: key.organization_id.clone(),
            project_id: key.project_id.clone(),
            integration_id: None,
        };
        let owned = self.dependents(&identity, Reference::Conversation(key.id.as_str())).await?;
        Ok(Links { searched: true, messages: HashMap::new(), owned })
    }

    pub(crate) async fn prefetch_event(
        &self,
        identity: &Identity,
        document: &EventDocument,
    ) -> Result<Prefetched, StoreError> {
        let mut prefetched = Prefetched { flush_generation: self.flush_generation, ..Prefetched::default() };
        if let Some(id) = &document.id {
            let key = key_of(identity, Event::make_id(id));
            prefetched.event = self.events.find_in_files(&self.store, &key).await?;
        }
        if document.entity_type == crate::model::event::EntityType::Message {
            prefetched.links = self.links_of_message(identity, &document.entity).await?;
        }
        Ok(prefetched)
    }

    pub(crate) async fn prefetch_feedback(
        &self,
        identity: &Identity,
        document: &FeedbackDocument,
    ) -> Result<Prefetched, StoreError> {
        let mut prefetched = Prefetched { flush_generation: self.flush_generation, ..Prefetched::default() };
        if let Some(id) = &document.id {
            let key = key_of(identity, Feedback::make_id(id));
            prefetched.feedback = self.feedback.find_in_files(&self.store, &key).await?;
        }
        prefetched.links = self.links_of_message(identity, &document.message_id).await?;
        Ok(prefetched)
    }

    async fn links_of_message(&self, identity: &Identity, message: &str) -> Result<Links, StoreError> {
        let of_message = self.holders_in_files(identity, message).await?;
        let messages = HashMap::from([(message.to_owned(), of_message)]);
        Ok(Links { searched: true, messages, ..Links::default() })
    }

    /// Conversations that may have a thread: several only where projects have one of the same id.
    pub(crate) async fn find_by_thread(
        &self,
        organization_id: &OrganizationId,
        project_id: Option<&ProjectId>,
        thread: &str,
    ) -> Result<Vec<ConversationKey>, StoreError> {
        let Some(hash) = thread::conversation_hash(thread) else { return Ok(Vec::new()) };
        let is_reached = |key: &ConversationKey| {
            key.organization_id == *organization_id && project_id.is_none_or(|project| key.project_id == *project)
        };
        let mut found = Vec::new();
        for entry in self.segments.iter() {
            for (row, conversation) in entry.segment.rows.iter().enumerate() {
                let same = lookup_hash(organization_id, conversation.id.as_str()) == hash;
                if same && !entry.deleted.contains(row as u32) {
                    found.push(conversation.key());
                }
            }
        }
        found.retain(is_reached);
        let is_it = |previous: &Previous| is_reached(&previous.key);
        let of_files = entries(&self.store, &self.files, Section::Ids, hash, is_it).await?;
        found.extend(of_files.into_iter().map(|(_, _, previous)| previous.key));
        Ok(found)
    }

    async fn holders_in_files(&self, identity: &Identity, message: &str) -> Result<MessageLinks, StoreError> {
        let hash = Reference::Message(message).hash(&identity.organization_id, &identity.project_id);
        let is_it = |previous: &Previous| {
            previous.key.organization_id == identity.organization_id
                && previous.key.project_id == identity.project_id
                && previous.messages.iter().any(|one| one.id.as_str() == message)
        };
        let found = entries(&self.store, &self.files, Section::References, hash, is_it).await?;
        let holders = found.into_iter().map(|(source, row, previous)| FileHit { source, row, previous }).collect();
        Ok(MessageLinks { holders, dependents: Dependents::default() })
    }

    async fn dependents(&self, identity: &Identity, reference: Reference<'_>) -> Result<Dependents, StoreError> {
        let project = (&identity.organization_id, &identity.project_id);
        Ok(Dependents {
            events: self.events.hits(&self.store, project, reference).await?,
            feedback: self.feedback.hits(&self.store, project, reference).await?,
        })
    }
}

/// File rows that an operation of the log replaces, for its replay: those of keys that the tail does not know.
pub(crate) async fn replaced_rows(
    snapshot: &Snapshot,
    staged: &Staged,
    operation: &Operation,
) -> Result<Option<(u32, u32)>, StoreError> {
    async fn of<R: TableRow>(
        store: &Arc<dyn ObjectStore>,
        table: &TableSnapshot<R>,
        tail: &Tail<R>,
        key: &Key<R::Id>,
    ) -> Result<Option<(u32, u32)>, StoreError> {
        if tail.get(key).is_some() {
            return Ok(None);
        }
        Ok(table.find_in_files(store, key).await?.map(|hit| (hit.source, hit.row)))
    }
    let store = &snapshot.store;
    match operation {
        Operation::Upsert(conversation) => conversation_row(snapshot, staged, &conversation.key()).await,
        Operation::Delete(key) => conversation_row(snapshot, staged, key).await,
        Operation::UpsertEvent(event) => of(store, &snapshot.events, staged.events.tail(), &event.key()).await,
        Operation::DeleteEvent(key) => of(store, &snapshot.events, staged.events.tail(), key).await,
        Operation::UpsertFeedback(one) => of(store, &snapshot.feedback, staged.feedback.tail(), &one.key()).await,
        Operation::DeleteFeedback(key) => of(store, &snapshot.feedback, staged.feedback.tail(), key).await,
    }
}

async fn conversation_row(
    snapshot: &Snapshot,
    staged: &Staged,
    key: &ConversationKey,
) -> Result<Option<(u32, u32)>, StoreError> {
    if staged.conversations.tail().get(key).is_some() {
        return Ok(None);
    }
    let hash = lookup_hash(&key.organization_id, key.id.as_str());
    let is_it = |previous: &Previous| previous.key == *key;
    let found = entries(&snapshot.store, &snapshot.files, Section::Ids, hash, is_it).await?;
    Ok(found.into_iter().next().map(|(source, row, _)| (source, row)))
}

/// Sets deletion bits of any table: file numbers are one line over all tables.
pub(crate) fn mark_all_deleted(state: &mut State, rows: &[(u32, u32)]) {
    super::committer::mark_deleted(&mut state.files, rows);
    super::committer::mark_deleted(&mut state.events.files, rows);
    super::committer::mark_deleted(&mut state.feedback.files, rows);
}
