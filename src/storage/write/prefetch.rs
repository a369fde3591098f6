//! What a change needs to know of stored rows, looked up in a snapshot before the change is queued: the committer reads
//! no file.

use std::collections::HashMap;

use super::change::{Links, MessageLinks, Prefetched};
use super::links::{Dependent, Rank, affected, key_of};
use super::resolve::existing_for;
use crate::model::document::Document;
use crate::model::event::{EntityType, Event, EventDocument};
use crate::model::feedback::{Feedback, FeedbackDocument};
use crate::model::ids::{ConversationId, ConversationKey, EventKey, FeedbackKey, OrganizationId, ProjectId};
use crate::model::origin::Origin;
use crate::model::resolve::{Identity, known_message_ids};
use crate::storage::error::StoreError;
use crate::storage::format::table_row::{Reference, TableRow};
use crate::storage::format::tables::{PerTable, for_each_table, per_table};
use crate::storage::read::lookup::{Hit, Lookup};
use crate::storage::read::snapshot::{Snapshot, TableSnapshot};

fn nothing(snapshot: &Snapshot) -> Prefetched {
    Prefetched { flush_generation: snapshot.flush_generation, ..Prefetched::default() }
}

/// What the files know of a document's id and externalId, as far as the tail does not know it better.
pub(crate) async fn of_document(
    snapshot: &Snapshot,
    identity: &Identity,
    document: &Document,
) -> Result<Prefetched, StoreError> {
    let conversations = &snapshot.tables.conversations;
    let mut prefetched = nothing(snapshot);
    if let Some(id) = &document.id {
        let key = key_of(identity, ConversationId::new(id.as_str()));
        if conversations.tail.get(&key).is_none() {
            prefetched.by_id.conversations = conversations.find_key_in_files(&snapshot.store, &key).await?;
        }
    }
    if let Some(external_id) = &document.external_id
        && conversations.tail.get_by_external_id(&key_of(identity, ConversationId::new("")), external_id).is_none()
    {
        prefetched.by_external_id = match &prefetched.by_id.conversations {
            // An externalId has one holder in a project.
            Some(hit) if hit.entry.external_id.as_ref() == Some(external_id) => Some(hit.clone()),
            _ => {
                let lookup = Lookup::ExternalId(external_id);
                conversations.find_in_files(&snapshot.store, project_of(identity), lookup).await?
            }
        };
    }
    prefetched.links = links_of_document(snapshot, identity, document, &prefetched).await?;
    Ok(prefetched)
}

pub(crate) async fn of_deletion(snapshot: &Snapshot, key: &ConversationKey) -> Result<Prefetched, StoreError> {
    let mut prefetched = nothing(snapshot);
    let project = (&key.organization_id, &key.project_id);
    prefetched.links.searched = true;
    prefetched.links.owned = dependents(snapshot, project, Reference::Conversation(key.id.as_str())).await?;
    let conversations = &snapshot.tables.conversations;
    if conversations.tail.get(key).is_none() {
        prefetched.by_id.conversations = conversations.find_key_in_files(&snapshot.store, key).await?;
    }
    Ok(prefetched)
}

pub(crate) async fn of_event(
    snapshot: &Snapshot,
    identity: &Identity,
    document: &EventDocument,
) -> Result<Prefetched, StoreError> {
    let mut prefetched = nothing(snapshot);
    if let Some(id) = &document.id {
        let key = key_of(identity, Event::make_id(id));
        prefetched.by_id.events = snapshot.tables.events.find_key_in_files(&snapshot.store, &key).await?;
    }
    if document.entity_type == EntityType::Message {
        prefetched.links = links_of_message(snapshot, identity, &document.entity).await?;
    }
    Ok(prefetched)
}

pub(crate) async fn of_feedback(
    snapshot: &Snapshot,
    identity: &Identity,
    document: &FeedbackDocument,
) -> Result<Prefetched, StoreError> {
    let mut prefetched = nothing(snapshot);
    if let Some(id) = &document.id {
        let key = key_of(identity, Feedback::make_id(id));
        prefetched.by_id.feedback = snapshot.tables.feedback.find_key_in_files(&snapshot.store, &key).await?;
    }
    prefetched.links = links_of_message(snapshot, identity, &document.message_id).await?;
    Ok(prefetched)
}

pub(crate) async fn of_event_deletion(snapshot: &Snapshot, key: &EventKey) -> Result<Prefetched, StoreError> {
    let mut prefetched = nothing(snapshot);
    prefetched.by_id.events = snapshot.tables.events.find_key_in_files(&snapshot.store, key).await?;
    Ok(prefetched)
}

pub(crate) async fn of_feedback_deletion(snapshot: &Snapshot, key: &FeedbackKey) -> Result<Prefetched, StoreError> {
    let mut prefetched = nothing(snapshot);
    prefetched.by_id.feedback = snapshot.tables.feedback.find_key_in_files(&snapshot.store, key).await?;
    Ok(prefetched)
}

/// Of changes that bring the whole rows along.
pub(crate) fn of_annotations(snapshot: &Snapshot) -> Prefetched {
    nothing(snapshot)
}

/// What the files know of the messages that a document takes from its conversation or gives to it.
async fn links_of_document(
    snapshot: &Snapshot,
    identity: &Identity,
    document: &Document,
    prefetched: &Prefetched,
) -> Result<Links, StoreError> {
    let mut links = Links::default();
    // A contradiction is told when the change is decided.
    let Ok(existing) = existing_for(&snapshot.tables.conversations.tail, identity, document, prefetched) else {
        return Ok(Links { searched: true, ..links });
    };
    if !may_have_dependents(snapshot) {
        return Ok(links);
    }
    links.searched = true;
    let previous = existing.as_ref().map(|existing| existing.entry.as_ref());
    let before = previous.iter().flat_map(|previous| &previous.messages).map(|m| m.id.as_str()).collect();
    let after = known_message_ids(document, previous).into_iter().flatten().collect();
    let moved = previous.is_some_and(|previous| {
        let created_at = document.created_at.unwrap_or(previous.created_at);
        let before = Rank::new(&previous.origin, previous.created_at);
        Rank::new(&Origin { sender: identity.sender.clone(), ..previous.origin.clone() }, created_at) != before
    });
    for message in affected(document, &before, &after, moved) {
        let mut of_message = holders_in_files(snapshot, identity, message).await?;
        of_message.dependents = dependents(snapshot, project_of(identity), Reference::Message(message)).await?;
        links.messages.insert(message.to_owned(), of_message);
    }
    Ok(links)
}

async fn links_of_message(snapshot: &Snapshot, identity: &Identity, message: &str) -> Result<Links, StoreError> {
    let of_message = holders_in_files(snapshot, identity, message).await?;
    let messages = HashMap::from([(message.to_owned(), of_message)]);
    Ok(Links { searched: true, messages, ..Links::default() })
}

async fn holders_in_files(snapshot: &Snapshot, identity: &Identity, message: &str) -> Result<MessageLinks, StoreError> {
    let conversations = &snapshot.tables.conversations;
    let reference = Reference::Message(message);
    let holders = conversations.find_reference_in_files(&snapshot.store, project_of(identity), reference).await?;
    Ok(MessageLinks { holders, dependents: PerTable::default() })
}

/// Whether anything at all may hang on a conversation.
pub(crate) fn may_have_dependents(snapshot: &Snapshot) -> bool {
    fn has_any<R: Dependent>(table: &TableSnapshot<R>) -> bool {
        R::HANGS && !table.is_empty()
    }
    let mut any = false;
    for_each_table!(table in snapshot.tables.as_ref() => any |= has_any(table));
    any
}

/// File rows of all tables that hang on what a reference names.
async fn dependents(
    snapshot: &Snapshot,
    project: (&OrganizationId, &ProjectId),
    reference: Reference<'_>,
) -> Result<PerTable<Vec<Hit>>, StoreError> {
    async fn of<R: Dependent>(
        snapshot: &Snapshot,
        table: &TableSnapshot<R>,
        project: (&OrganizationId, &ProjectId),
        reference: Reference<'_>,
    ) -> Result<Vec<Hit<R>>, StoreError> {
        if !R::HANGS {
            return Ok(Vec::new());
        }
        table.find_reference_in_files(&snapshot.store, project, reference).await
    }
    Ok(per_table!(table in snapshot.tables.as_ref() => of(snapshot, table, project, reference).await?))
}

fn project_of(identity: &Identity) -> (&OrganizationId, &ProjectId) {
    (&identity.organization_id, &identity.project_id)
}
