//! Events and feedback hang on conversations: they show the conversation that has their message (the newest, if several
//! have it), lose it when a re-log drops the message, get it back with the message, and go with the conversation.
//!
//! The link stands in their rows, so that queries need no join. A change of a conversation brings along what the files
//! have of it ([`Links`](super::change::Links)), and its operation is followed in the log by those of the rows whose link it changes.

use std::collections::HashSet;
use std::sync::Arc;

use super::change::{Change, Prefetched, Step};
use super::logged::Logged;
use super::state::Staged;
use crate::model::conversation::Conversation;
use crate::model::document::Document;
use crate::model::event::Event;
use crate::model::feedback::Feedback;
use crate::model::ids::{ConversationId, ConversationKey, EpochMillis, Key};
use crate::model::origin::Origin;
use crate::model::resolve::Identity;
use crate::storage::format::table_row::Reference;
use crate::storage::format::tables::for_each_table;
use crate::storage::log::operation::{Deletion, Operation};
use crate::storage::read::lookup::Hit;
use crate::storage::read::snapshot::RowAddress;
use crate::storage::tail::{Tail, TailEntry};

/// A row that may hang on a conversation.
pub(super) trait Dependent: Logged {
    /// False of conversations, which hang on none.
    const HANGS: bool = true;

    /// The row whose entry is kept.
    fn of_entry(entry: &Arc<Self::Entry>) -> Option<Arc<Self>>;

    /// The row with another link; `None` where it has it already. `holders` are the conversations with the message.
    fn linked(&self, holders: &[Holder]) -> Option<Self>;
}

impl Dependent for Conversation {
    const HANGS: bool = false;

    fn of_entry(_: &Arc<Self::Entry>) -> Option<Arc<Self>> {
        None
    }

    fn linked(&self, _: &[Holder]) -> Option<Self> {
        None
    }
}

impl Dependent for Event {
    fn of_entry(entry: &Arc<Self>) -> Option<Arc<Self>> {
        Some(entry.clone())
    }

    fn linked(&self, holders: &[Holder]) -> Option<Event> {
        let (owner_id, detached) = match Holder::greatest(holders) {
            Some(holder) => (Some(holder.id.as_str()), false),
            None => (self.owner_id.as_deref(), self.owner_id.is_some()),
        };
        let same = self.owner_id.as_deref() == owner_id && self.detached == detached;
        (!same).then(|| Event { owner_id: owner_id.map(str::to_owned), detached, ..self.clone() })
    }
}

impl Dependent for Feedback {
    fn of_entry(entry: &Arc<Self>) -> Option<Arc<Self>> {
        Some(entry.clone())
    }

    /// A rating stays with the conversation that it was given in.
    fn linked(&self, holders: &[Holder]) -> Option<Feedback> {
        let holder = match self.rated_by {
            Some(_) => holders.iter().find(|holder| holder.id == self.owner_id),
            None => Holder::greatest(holders),
        };
        let (owner_id, detached) = (holder.map_or(&self.owner_id, |holder| &holder.id), holder.is_none());
        let same = self.owner_id == *owner_id && self.detached == detached;
        (!same).then(|| Feedback { owner_id: owner_id.clone(), detached, ..self.clone() })
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
            let tail = staged.tables.conversations.tail();
            let (before, rank): (HashSet<&str>, Option<Rank>) = match tail.get(&key) {
                Some(TailEntry::Live(row)) => {
                    let messages = row.value.messages.iter().map(|message| message.id.as_str());
                    (messages.collect(), Some(Rank::new(&row.value.origin, row.value.created_at)))
                }
                Some(TailEntry::Deleted) => (HashSet::new(), None),
                None => {
                    let hits = [&prefetched.by_id.conversations, &prefetched.by_external_id];
                    let hit = hits.into_iter().flatten().map(|hit| &hit.entry).find(|previous| previous.key == key);
                    let messages = hit.into_iter().flat_map(|previous| &previous.messages).map(|m| m.id.as_str());
                    (messages.collect(), hit.map(|previous| Rank::new(&previous.origin, previous.created_at)))
                }
            };
            let after: HashSet<&str> = conversation.messages.iter().map(|message| message.id.as_str()).collect();
            let own = Holder::new(conversation.id.as_str(), conversation.created_at, &conversation.origin);
            let moved = rank.is_some_and(|rank| rank != own.rank);
            let affected = affected(document, &before, &after, moved);
            for message in affected {
                let reference = Reference::Message(message);
                let links = match prefetched.links.messages.get(message) {
                    Some(links) => links,
                    None if !prefetched.links.searched && !has_dependents(staged, &key, reference) => continue,
                    None => return None,
                };
                let others = holders(tail, &key, message, &links.holders).filter(|(holder, _)| *holder != key);
                let own = after.contains(message).then(|| own.clone());
                let holders: Vec<Holder> = others.map(|(_, holder)| holder).chain(own).collect();
                for_each_table!(group in staged.tables.as_ref(), hits in links.dependents.as_ref() => {
                    relink(group.tail(), in_tail(group.tail(), &key, reference), hits, &holders, &mut steps);
                });
            }
        }
        (Change::Delete { .. }, Operation::Delete(deletion)) => {
            for_each_table!(group in staged.tables.as_ref(), hits in prefetched.links.owned.as_ref() => {
                take_along(group.tail(), deletion, hits, &mut steps);
            });
        }
        _ => {}
    }
    Some(steps)
}

/// Message ids that a conversation gains or loses, and all of them where its rank is `moved`: another one with the
/// message may now be the greatest. Ids that are made for the document are nobody's yet.
pub(super) fn affected<'a>(
    document: &'a Document,
    before: &HashSet<&'a str>,
    after: &HashSet<&str>,
    moved: bool,
) -> Vec<&'a str> {
    let given = document.messages.iter().filter_map(|message| message.id.as_deref());
    let gained = given.filter(|id| !before.contains(id));
    gained.chain(before.iter().copied().filter(|id| moved || !after.contains(id))).collect()
}

/// The newest is greatest (contract A4, feedback). One that a web key logged is so only among its like: whoever copies
/// a message's id into a public page gets nothing of what hangs on the message (contract A1, what a web key is).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    is_private: bool,
    created_at: EpochMillis,
}

impl Rank {
    pub(super) fn new(origin: &Origin, created_at: EpochMillis) -> Rank {
        Rank { is_private: !origin.is_of_web_key(), created_at }
    }
}

/// A conversation that has a message.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    rank: Rank,
    pub(super) id: String,
    pub(super) origin: Origin,
}

impl Holder {
    fn new(id: &str, created_at: EpochMillis, origin: &Origin) -> Holder {
        Holder { rank: Rank::new(origin, created_at), id: id.to_owned(), origin: origin.clone() }
    }

    /// Which of them shows what hangs on the message.
    pub(super) fn greatest<'a>(holders: impl IntoIterator<Item = &'a Holder>) -> Option<&'a Holder> {
        holders.into_iter().max_by_key(|holder| (holder.rank, &holder.id))
    }
}

/// All conversations of a project with a message, in the tail and in files.
fn holders<'a, I>(
    tail: &'a Tail,
    project: &'a Key<I>,
    message: &'a str,
    hits: &'a [Hit],
) -> impl Iterator<Item = (ConversationKey, Holder)> + 'a {
    let in_tail = tail.find_reference(&project.organization_id, &project.project_id, Reference::Message(message));
    let in_tail = in_tail.into_iter().map(|row| (row.key(), Holder::new(row.id.as_str(), row.created_at, &row.origin)));
    let in_files = hits.iter().map(|hit| &hit.entry).filter(|previous| tail.get(&previous.key).is_none());
    in_tail.chain(in_files.map(|previous| {
        (previous.key.clone(), Holder::new(previous.key.id.as_str(), previous.created_at, &previous.origin))
    }))
}

/// Rows of the tail that hang on a conversation.
fn in_tail<R: Dependent, I>(tail: &Tail<R>, project: &Key<I>, reference: Reference<'_>) -> Vec<Arc<R>> {
    if !R::HANGS {
        return Vec::new();
    }
    tail.find_reference(&project.organization_id, &project.project_id, reference)
}

fn has_dependents(staged: &Staged, key: &ConversationKey, reference: Reference<'_>) -> bool {
    let mut has = false;
    for_each_table!(group in staged.tables.as_ref() => has |= !in_tail(group.tail(), key, reference).is_empty());
    has
}

/// Rows of files that hang on a conversation, as far as the tail does not know them better.
fn in_files<'a, R: Dependent>(
    tail: &'a Tail<R>,
    hits: &'a [Hit<R>],
) -> impl Iterator<Item = (Arc<R>, RowAddress)> + 'a {
    let records = hits.iter().filter_map(|hit| Some((R::of_entry(&hit.entry)?, hit.at)));
    records.filter(|(record, _)| tail.get(&record.key()).is_none())
}

fn relink<R: Dependent>(
    tail: &Tail<R>,
    of_tail: Vec<Arc<R>>,
    hits: &[Hit<R>],
    holders: &[Holder],
    steps: &mut Vec<Step>,
) {
    let of_tail = of_tail.into_iter().map(|record| (record, None));
    let of_files = in_files(tail, hits).map(|(record, at)| (record, Some(at)));
    for (record, replaces) in of_tail.chain(of_files) {
        if let Some(linked) = record.linked(holders) {
            steps.push(Step { operation: Arc::new(linked).upsert(), replaces });
        }
    }
}

fn take_along<R: Dependent>(
    tail: &Tail<R>,
    Deletion { key, at: when }: &Deletion<ConversationId>,
    hits: &[Hit<R>],
    steps: &mut Vec<Step>,
) {
    for record in in_tail(tail, key, Reference::Conversation(key.id.as_str())) {
        steps.push(Step { operation: R::delete(record.key(), *when), replaces: None });
    }
    for (record, at) in in_files(tail, hits) {
        steps.push(Step { operation: R::delete(record.key(), *when), replaces: Some(at) });
    }
}

/// The conversations of the project that have the message.
pub(super) fn holders_of(staged: &Staged, identity: &Identity, message: &str, prefetched: &Prefetched) -> Vec<Holder> {
    let key = key_of(identity, ConversationId::new(""));
    let hits = prefetched.links.messages.get(message).map_or(&[][..], |links| &links.holders);
    holders(staged.tables.conversations.tail(), &key, message, hits).map(|(_, holder)| holder).collect()
}

pub(super) fn key_of<I>(identity: &Identity, id: I) -> Key<I> {
    Key { organization_id: identity.organization_id.clone(), project_id: identity.project_id.clone(), id }
}
