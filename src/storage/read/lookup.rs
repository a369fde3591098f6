//! Finding rows by id, by externalId, by reference and by thread: in the tail, and in files through their sidecar
//! indexes.
//!
//! A row in a file whose key the tail knows is marked deleted, so nothing is found twice.

use std::borrow::Borrow;
use std::sync::Arc;

use object_store::ObjectStore;

use super::snapshot::{RowAddress, Snapshot, TableSnapshot};
use crate::model::conversation::Conversation;
use crate::model::ids::{ConversationId, ConversationKey, Key, OrganizationId, ProjectId, lookup_hash};
use crate::model::thread;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::error::StoreError;
use crate::storage::format::table_row::{IndexEntry, Reference, TableRow};
use crate::storage::format::tables::Family;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Lookup<'a> {
    Id(&'a str),
    ExternalId(&'a str),
}

impl Lookup<'_> {
    fn hash(&self, organization_id: &OrganizationId) -> u128 {
        let (Lookup::Id(text) | Lookup::ExternalId(text)) = self;
        lookup_hash(organization_id, text)
    }

    fn keys(&self) -> Keys {
        match self {
            Lookup::Id(_) => Keys::Ids,
            Lookup::ExternalId(_) => Keys::ExternalIds,
        }
    }

    fn is_of<E: IndexEntry>(&self, entry: &E) -> bool {
        match self {
            Lookup::Id(id) => entry.row_key().id.borrow() == *id,
            Lookup::ExternalId(external_id) => entry.has_external_id(external_id),
        }
    }

    /// Whether a conversation of a file is looked for.
    fn finds(
        &self,
        conversation: &Conversation,
        organization_id: &OrganizationId,
        project_id: Option<&ProjectId>,
    ) -> bool {
        conversation.organization_id == *organization_id
            && project_id.is_none_or(|project| conversation.project_id == *project)
            && match self {
                Lookup::Id(id) => conversation.id.as_str() == *id,
                Lookup::ExternalId(external_id) => conversation.external_id.as_deref() == Some(external_id),
            }
    }
}

/// A live row of a file, with what a change needs to know of it.
pub(crate) struct Hit<R: TableRow = Conversation> {
    pub(crate) at: RowAddress,
    pub(crate) entry: Arc<R::Entry>,
}

impl Family for Hit {
    type Of<R: TableRow> = Hit<R>;
}

impl<R: TableRow> Clone for Hit<R> {
    fn clone(&self) -> Self {
        Hit { at: self.at, entry: self.entry.clone() }
    }
}

/// Which keys of a row index to look in.
#[derive(Clone, Copy)]
enum Keys {
    Ids,
    ExternalIds,
    References,
}

impl<R: TableRow> TableSnapshot<R> {
    /// At most `limit` rows of files under a hash, the newest file's first: that is where a row usually lives.
    async fn hits(
        &self,
        store: &Arc<dyn ObjectStore>,
        (keys, hash): (Keys, u128),
        limit: usize,
        is_it: impl Fn(&R::Entry) -> bool,
    ) -> Result<Vec<Hit<R>>, StoreError> {
        let mut found = Vec::new();
        for file in self.files.iter().rev() {
            let rows = file.candidates(store, (keys, hash)).await?;
            for (row, entry) in rows.iter().zip(file.entries::<R>(store, &rows).await?) {
                if is_it(&entry) {
                    let row = *row;
                    found.push(Hit { at: RowAddress { source: file.file.number, row }, entry: Arc::new(entry) });
                    if found.len() == limit {
                        return Ok(found);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Where the live row of a key lies in files, and nothing else of it.
    pub(crate) async fn locate_key_in_files(
        &self,
        store: &Arc<dyn ObjectStore>,
        key: &Key<R::Id>,
    ) -> Result<Option<RowAddress>, StoreError> {
        let hash = lookup_hash(&key.organization_id, key.id.borrow());
        for file in self.files.iter().rev() {
            let rows = file.candidates(store, (Keys::Ids, hash)).await?;
            for (row, found) in rows.iter().zip(file.keys::<R>(store, &rows).await?) {
                if found.organization_id == key.organization_id
                    && found.project_id == key.project_id
                    && found.id == key.id.borrow()
                {
                    return Ok(Some(RowAddress { source: file.file.number, row: *row }));
                }
            }
        }
        Ok(None)
    }

    /// Rows of files with an id or externalId, in one project or in all of an organization.
    async fn look_up(
        &self,
        store: &Arc<dyn ObjectStore>,
        organization_id: &OrganizationId,
        project_id: Option<&ProjectId>,
        lookup: Lookup<'_>,
    ) -> Result<Vec<Hit<R>>, StoreError> {
        let is_it = |entry: &R::Entry| {
            let key = entry.row_key();
            key.organization_id == *organization_id
                && project_id.is_none_or(|project| key.project_id == *project)
                && lookup.is_of(entry)
        };
        // In a project there is one.
        let limit = if project_id.is_some() { 1 } else { usize::MAX };
        self.hits(store, (lookup.keys(), lookup.hash(organization_id)), limit, is_it).await
    }

    /// The file row of a project with an id or externalId.
    pub(crate) async fn find_in_files(
        &self,
        store: &Arc<dyn ObjectStore>,
        (organization_id, project_id): (&OrganizationId, &ProjectId),
        lookup: Lookup<'_>,
    ) -> Result<Option<Hit<R>>, StoreError> {
        Ok(self.look_up(store, organization_id, Some(project_id), lookup).await?.pop())
    }

    /// The file row of a key.
    pub(crate) async fn find_key_in_files(
        &self,
        store: &Arc<dyn ObjectStore>,
        key: &Key<R::Id>,
    ) -> Result<Option<Hit<R>>, StoreError> {
        let project = (&key.organization_id, &key.project_id);
        self.find_in_files(store, project, Lookup::Id(key.id.borrow())).await
    }

    /// File rows of a project with a reference.
    pub(crate) async fn find_reference_in_files(
        &self,
        store: &Arc<dyn ObjectStore>,
        (organization_id, project_id): (&OrganizationId, &ProjectId),
        reference: Reference<'_>,
    ) -> Result<Vec<Hit<R>>, StoreError> {
        let is_it = |entry: &R::Entry| {
            let key = entry.row_key();
            key.organization_id == *organization_id && key.project_id == *project_id && entry.has_reference(reference)
        };
        let hash = reference.hash(organization_id, project_id);
        self.hits(store, (Keys::References, hash), usize::MAX, is_it).await
    }
}

impl<R: TableRow<Entry = R>> TableSnapshot<R> {
    /// Rows of an organization with an id; of one project, if it is named.
    pub(crate) async fn find(
        &self,
        store: &Arc<dyn ObjectStore>,
        organization_id: &OrganizationId,
        project_id: Option<&ProjectId>,
        id: &str,
    ) -> Result<Vec<Arc<R>>, StoreError> {
        let mut found: Vec<Arc<R>> = self.tail.find_id(organization_id, id);
        found.retain(|record| project_id.is_none_or(|project| record.key().project_id == *project));
        if found.is_empty() || project_id.is_none() {
            let hits = self.look_up(store, organization_id, project_id, Lookup::Id(id)).await?;
            found.extend(hits.into_iter().map(|hit| hit.entry));
        }
        Ok(found)
    }
}

impl Snapshot {
    /// Conversations of an organization by id or externalId, newest first (createdAt, then project).
    pub(crate) async fn find(
        &self,
        organization_id: &OrganizationId,
        project_id: Option<&ProjectId>,
        lookup: Lookup<'_>,
    ) -> Result<Vec<Arc<Conversation>>, StoreError> {
        let conversations = &self.tables.conversations;
        let mut found = match lookup {
            Lookup::Id(id) => conversations.tail.find_id(organization_id, id),
            Lookup::ExternalId(external_id) => conversations.tail.find_external_id(organization_id, external_id),
        };
        found.retain(|conversation| project_id.is_none_or(|project| conversation.project_id == *project));
        if found.is_empty() || project_id.is_none() {
            let in_files = self.find_in_files(organization_id, project_id, lookup).await?;
            found.extend(in_files.into_iter().map(|(_, conversation)| conversation));
        }
        found.sort_by(|a, b| {
            b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)).then_with(|| a.project_id.cmp(&b.project_id))
        });
        Ok(found)
    }

    /// Conversations of files by id or externalId, whole; of one project, if it is named.
    pub(crate) async fn find_in_files(
        &self,
        organization_id: &OrganizationId,
        project_id: Option<&ProjectId>,
        lookup: Lookup<'_>,
    ) -> Result<Vec<(RowAddress, Arc<Conversation>)>, StoreError> {
        let mut found = Vec::new();
        for file in self.tables.conversations.files.iter().rev() {
            let rows = file.candidates(&self.store, (lookup.keys(), lookup.hash(organization_id))).await?;
            for (row, conversation) in rows.iter().zip(file.conversations(&self.store, &rows).await?) {
                if lookup.finds(&conversation, organization_id, project_id) {
                    found.push((RowAddress { source: file.file.number, row: *row }, Arc::new(conversation)));
                }
            }
            // In a project there is one.
            if project_id.is_some() && !found.is_empty() {
                break;
            }
        }
        Ok(found)
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
        for entry in self.tables.conversations.segments.iter() {
            for (row, conversation) in entry.segment.rows.iter().enumerate() {
                let same = lookup_hash(organization_id, conversation.id.as_str()) == hash;
                if same && !entry.deleted.contains(row as u32) {
                    found.push(conversation.key());
                }
            }
        }
        found.retain(is_reached);
        for file in self.tables.conversations.files.iter() {
            let rows = file.candidates(&self.store, (Keys::Ids, hash)).await?;
            let keys = file.keys::<Conversation>(&self.store, &rows).await?;
            let keys = keys.into_iter().map(|key| ConversationKey {
                organization_id: key.organization_id,
                project_id: key.project_id,
                id: ConversationId::new(key.id),
            });
            let same = |key: &ConversationKey| lookup_hash(organization_id, key.id.as_str()) == hash;
            found.extend(keys.filter(|key| same(key) && is_reached(key)));
        }
        Ok(found)
    }
}

impl FileSnapshot {
    /// Live rows that may have a key, ascending.
    async fn candidates(
        &self,
        store: &Arc<dyn ObjectStore>,
        (keys, hash): (Keys, u128),
    ) -> Result<Vec<u32>, StoreError> {
        let index = &self.file.index;
        let rows = match keys {
            Keys::Ids => index.find_id(store.as_ref(), hash).await,
            Keys::ExternalIds => index.find_external_id(store.as_ref(), hash).await,
            Keys::References => index.find_reference(store.as_ref(), hash).await,
        };
        let mut rows = rows.map_err(|error| StoreError::caused("a sidecar index could not be read", error))?;
        rows.retain(|row| !self.deleted.contains(*row));
        Ok(rows)
    }

    /// All that may have an id, dead rows too, by the id's [`lookup_hash`].
    pub(crate) async fn versions(&self, store: &Arc<dyn ObjectStore>, hash: u128) -> Result<Vec<u32>, StoreError> {
        let rows = self.file.index.find_id(store.as_ref(), hash).await;
        rows.map_err(|error| StoreError::caused("a sidecar index could not be read", error))
    }
}
