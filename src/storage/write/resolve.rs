//! Decides a change against the state it meets: the operations that it comes to, with every id and time in them.

use std::sync::Arc;

use super::change::{Annotate, Change, Deleted, Outcome, Prefetched, Step};
use super::links::{self, Holder, holders_of, key_of};
use super::logged::Logged;
use super::state::Staged;
use crate::environment::Environment;
use crate::model::conversation::Conversation;
use crate::model::document::Document;
use crate::model::event::{Event, EventDocument};
use crate::model::feedback::{Feedback, FeedbackDocument};
use crate::model::ids::{ConversationId, ConversationKey, EpochMillis, Key};
use crate::model::origin::{Origin, Reach};
use crate::model::resolve::{self, Identity};
use crate::storage::error::StoreError;
use crate::storage::format::table_row::{IndexEntry, TableRow};
use crate::storage::log::operation::Operation;
use crate::storage::read::lookup::Hit;
use crate::storage::read::snapshot::RowAddress;
use crate::storage::tail::{Tail, TailEntry};

/// What a change comes to: its operations, in order, and what its sender is told.
pub(crate) struct Decision {
    pub(crate) steps: Vec<Step>,
    pub(crate) outcome: Outcome,
}

pub(crate) fn decide(
    staged: &Staged,
    change: &Change,
    prefetched: &Prefetched,
    environment: &Environment,
) -> Result<Decision, StoreError> {
    match change {
        Change::LogEvent { identity, document, .. } => {
            let (step, outcome) = resolve_event(staged, identity, document, prefetched, environment)?;
            Ok(Decision { steps: vec![step], outcome })
        }
        Change::LogFeedback { identity, document, .. } => {
            let (step, outcome) = resolve_feedback(staged, identity, document, prefetched, environment)?;
            Ok(Decision { steps: vec![step], outcome })
        }
        Change::DeleteFeedback { key, detached_too } => {
            let found = stored(staged.tables.feedback.tail(), key, prefetched.by_id.feedback.as_ref());
            // Feedback whose message is dropped is not found (contract A4).
            Ok(resolve_deletion(found.filter(|found| *detached_too || !found.entry.detached), environment.now()))
        }
        Change::DeleteEvent { key } => {
            let found = stored(staged.tables.events.tail(), key, prefetched.by_id.events.as_ref());
            Ok(resolve_deletion(found, environment.now()))
        }
        // No message changes, so no link does.
        Change::Annotate(annotate) => Ok(resolve_annotate(staged, annotate, environment.now())),
        Change::Log { .. } | Change::Delete { .. } => {
            let resolved = resolve_change(staged, change, prefetched, environment)?;
            let Some(operation) = resolved.operation else {
                return Ok(Decision { steps: Vec::new(), outcome: resolved.outcome });
            };
            let Some(following) = links::follow(staged, change, &operation, prefetched) else {
                return Ok(Decision { steps: Vec::new(), outcome: Outcome::Stale });
            };
            let mut steps = vec![Step { operation, replaces: resolved.replaces }];
            steps.extend(following);
            let outcome = match change {
                Change::Delete { .. } => Outcome::Deleted(Deleted::by(&steps)),
                _ => resolved.outcome,
            };
            Ok(Decision { steps, outcome })
        }
    }
}

/// A change decided against one state.
pub(crate) struct Resolved {
    /// `None` where nothing is to be done.
    pub(crate) operation: Option<Operation>,
    pub(crate) outcome: Outcome,
    /// The file row that goes with it.
    pub(crate) replaces: Option<RowAddress>,
    /// Whether there was a conversation under the key.
    pub(crate) existed: bool,
    /// Whether a log would change nothing but a defaulted `updatedAt`.
    pub(crate) unchanged: bool,
}

/// What is stored under a key: from the tail, else from the prefetched file row.
pub(crate) struct Stored<R: TableRow = Conversation> {
    pub(crate) entry: Arc<R::Entry>,
    /// Where it lies, if in a file.
    at: Option<RowAddress>,
}

impl<R: TableRow> Stored<R> {
    fn in_tail(row: &Arc<R>) -> Self {
        Stored { entry: row.entry(), at: None }
    }

    fn in_file(hit: &Hit<R>) -> Self {
        Stored { entry: hit.entry.clone(), at: Some(hit.at) }
    }
}

fn stored<R: TableRow>(tail: &Tail<R>, key: &Key<R::Id>, hit: Option<&Hit<R>>) -> Option<Stored<R>> {
    match tail.get(key) {
        Some(TailEntry::Live(row)) => Some(Stored::in_tail(&row.value)),
        Some(TailEntry::Deleted) => None,
        None => hit.filter(|hit| hit.entry.row_key() == *key).map(Stored::in_file),
    }
}

/// Of a change of a conversation.
pub(crate) fn resolve_change(
    staged: &Staged,
    change: &Change,
    prefetched: &Prefetched,
    environment: &Environment,
) -> Result<Resolved, StoreError> {
    let tail = staged.tables.conversations.tail();
    match change {
        Change::LogEvent { .. }
        | Change::LogFeedback { .. }
        | Change::DeleteEvent { .. }
        | Change::DeleteFeedback { .. }
        | Change::Annotate(_) => Err(StoreError::Bug("a change of no conversation was taken for one".into())),
        Change::Delete { key } => {
            let existing = stored(tail, key, prefetched.by_id.conversations.as_ref());
            let existed = existing.is_some();
            Ok(Resolved {
                operation: existed.then(|| Conversation::delete(key.clone(), environment.now())),
                outcome: Outcome::Deleted(Deleted::default()),
                replaces: existing.and_then(|existing| existing.at),
                existed,
                unchanged: false,
            })
        }
        Change::Log { identity, document, .. } => {
            let existing = existing_for(tail, identity, document, prefetched)?;
            let previous = existing.as_ref().map(|existing| existing.entry.as_ref());
            let new_id = || environment.ids.of_document();
            let mut resolved = resolve::resolve(document, identity, previous, environment.now(), new_id);
            if previous.is_some_and(|previous| previous.created_at != resolved.created_at) {
                resolved.annotations.moved = Some(staged.position);
            }
            let conversation = Arc::new(Conversation {
                wal_position: staged.position,
                first_wal_position: previous.map_or(staged.position, |previous| previous.first_wal_position),
                ..resolved
            });
            Ok(Resolved {
                operation: Some(Operation::Upsert(conversation.clone())),
                existed: existing.is_some(),
                unchanged: previous.is_some_and(|previous| previous.is_unchanged_by(document, &conversation)),
                outcome: Outcome::Logged(conversation),
                replaces: existing.and_then(|existing| existing.at),
            })
        }
    }
}

fn resolve_annotate(staged: &Staged, annotate: &Annotate, now: EpochMillis) -> Decision {
    let tail = staged.tables.conversations.tail();
    let mut steps = Vec::new();
    let mut found = Vec::new();
    for target in &annotate.targets {
        let (conversation, replaces) = match (tail.get(&target.key), &target.stored) {
            (Some(TailEntry::Live(row)), _) => (&row.value, None),
            (Some(TailEntry::Deleted), _) | (None, None) => continue,
            (None, Some((at, conversation))) => (conversation, Some(*at)),
        };
        if !annotate.actor.sees(conversation.user_properties.as_ref()) {
            continue;
        }
        match annotate.change.apply(conversation, &annotate.actor, now) {
            None => found.push(conversation.clone()),
            Some(changed) => {
                let changed = Arc::new(Conversation { wal_position: staged.position, ..changed });
                found.push(changed.clone());
                steps.push(Step { operation: Operation::Upsert(changed), replaces });
            }
        }
    }
    Decision { steps, outcome: Outcome::Annotated(found) }
}

/// The conversation that a document replaces, by the upsert rules of contract A2.
pub(crate) fn existing_for(
    tail: &Tail,
    identity: &Identity,
    document: &Document,
    prefetched: &Prefetched,
) -> Result<Option<Stored>, StoreError> {
    let key_of = |id: &str| ConversationKey {
        organization_id: identity.organization_id.clone(),
        project_id: identity.project_id.clone(),
        id: ConversationId::new(id),
    };
    let by_external_id = document.external_id.as_deref().and_then(|external_id| {
        if let Some(row) = tail.get_by_external_id(&key_of(""), external_id) {
            return Some(Stored::in_tail(&row.value));
        }
        let hit = prefetched.by_external_id.as_ref()?;
        // An entry in the tail is newer than the file: it holds another externalId now, or is deleted.
        let holds = tail.get(&hit.entry.key).is_none() && hit.entry.external_id.as_deref() == Some(external_id);
        holds.then(|| Stored::in_file(hit))
    });
    let Some(id) = document.id.as_deref() else {
        return match &by_external_id {
            Some(holder) if !identity.reach.admits_by_external_id(&holder.entry.origin) => Err(external_id_is_taken()),
            _ => Ok(by_external_id),
        };
    };
    let by_id = stored(tail, &key_of(id), prefetched.by_id.conversations.as_ref());
    if by_id.as_ref().is_some_and(|stored| !identity.reach.admits(&stored.entry.origin)) {
        return Err(StoreError::Conflict(
            "id: another conversation has it, which a web key does not reach; choose another or none".to_owned(),
        ));
    }
    match (&by_external_id, document.external_id.as_deref()) {
        (Some(holder), Some(external_id)) if holder.entry.key.id.as_str() != id => Err(match &identity.reach {
            Reach::Everything => StoreError::Conflict(format!(
                "externalId {external_id:?} belongs to the conversation {:?}, id names {id:?}",
                holder.entry.key.id
            )),
            Reach::Web { .. } => external_id_is_taken(),
        }),
        _ => Ok(by_id),
    }
}

/// What a web key is told: neither an id nor whose it is (contract A1).
fn external_id_is_taken() -> StoreError {
    let told = "externalId: a stored conversation has it, and for this key it selects none; send the `id` of the first \
                answer, or make the key with --external-ids";
    StoreError::Conflict(told.to_owned())
}

/// Events and feedback that others than web keys made are not theirs to replace.
fn check_replaces(identity: &Identity, previous: Option<&Origin>) -> Result<(), StoreError> {
    match previous {
        Some(origin) if !identity.reach.replaces(origin) => {
            Err(StoreError::Conflict("id: it is taken; a web key replaces only what web keys made".to_owned()))
        }
        _ => Ok(()),
    }
}

fn resolve_event(
    staged: &Staged,
    identity: &Identity,
    document: &EventDocument,
    prefetched: &Prefetched,
    environment: &Environment,
) -> Result<(Step, Outcome), StoreError> {
    let stored = document.id.as_deref().and_then(|id| {
        stored(staged.tables.events.tail(), &key_of(identity, Event::make_id(id)), prefetched.by_id.events.as_ref())
    });
    let previous = stored.as_ref().map(|stored| stored.entry.as_ref());
    check_replaces(identity, previous.map(|previous| &previous.origin))?;
    let event = Event::resolve(document, identity, previous, environment.now(), || environment.ids.of_document());
    let holders = event.message_id().map(|message| holders_of(staged, identity, message, prefetched));
    let (owner_id, detached) = match Holder::greatest(holders.iter().flatten()) {
        Some(holder) => (Some(holder.id.clone()), false),
        // It stays the event of the conversation that had the message.
        None => {
            let kept = previous.filter(|previous| previous.message_id() == event.message_id());
            let kept = kept.and_then(|previous| previous.owner_id.clone());
            (kept.clone(), kept.is_some())
        }
    };
    let event = Arc::new(Event { owner_id, detached, ..event });
    let replaces = stored.and_then(|stored| stored.at);
    Ok((Step { operation: Operation::UpsertEvent(event.clone()), replaces }, Outcome::Event(event)))
}

/// # Errors
/// [`StoreError::Invalid`] where no conversation of the project that the sender reaches has the message, or not the one
/// that a rating names.
fn resolve_feedback(
    staged: &Staged,
    identity: &Identity,
    document: &FeedbackDocument,
    prefetched: &Prefetched,
    environment: &Environment,
) -> Result<(Step, Outcome), StoreError> {
    let stored = document.id.as_deref().and_then(|id| {
        stored(
            staged.tables.feedback.tail(),
            &key_of(identity, Feedback::make_id(id)),
            prefetched.by_id.feedback.as_ref(),
        )
    });
    let previous = stored.as_ref().map(|stored| stored.entry.as_ref());
    check_replaces(identity, previous.map(|previous| &previous.origin))?;
    let mut holders = holders_of(staged, identity, &document.message_id, prefetched);
    holders.retain(|holder| identity.reach.admits(&holder.origin));
    let rated_in = Feedback::rated_in(document, previous);
    let rated_in = holders.iter().find(|holder| rated_in.is_some_and(|id| holder.id == id));
    let newest = Holder::greatest(&holders).filter(|_| document.rating.is_none());
    let holder = rated_in.or(newest).ok_or_else(|| {
        StoreError::Invalid("messageId: no stored conversation of the project has this message".to_owned())
    })?;
    let new_id = || environment.ids.of_document();
    let feedback = Arc::new(Feedback::resolve(document, identity, &holder.id, previous, environment.now(), new_id));
    let replaces = stored.and_then(|stored| stored.at);
    Ok((Step { operation: Operation::UpsertFeedback(feedback.clone()), replaces }, Outcome::Feedback(feedback)))
}

/// Of a row that nothing hangs on.
fn resolve_deletion<R: Logged<Entry = R>>(found: Option<Stored<R>>, now: EpochMillis) -> Decision {
    let step = |found: Stored<R>| Step { operation: R::delete(found.entry.key(), now), replaces: found.at };
    let steps: Vec<Step> = found.map(step).into_iter().collect();
    Decision { outcome: Outcome::Deleted(Deleted::by(&steps)), steps }
}
