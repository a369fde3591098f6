//! Deleting everything that matches, as if each had been deleted by itself (contract A7).

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::dsl::{FieldRef, Filter, Literal};
use super::engine::QueryEngine;
use super::error::QueryError;
use super::search::list::SearchError;
use super::view;
use crate::model::ids::{ConversationKey, EventKey};
use crate::model::scope::Scope;
use crate::storage::error::StoreError;
use crate::storage::format::table::Table;
use crate::storage::store::Store;
use crate::storage::write::change::Deleted;

/// Rows that are looked up at once,
const FOUND_AT_ONCE: usize = 10_000;
/// and deletions under way: they wait for the log together.
const DELETIONS_AT_ONCE: usize = 256;

/// Everything of a user: conversations with all that hangs on them, and events.
pub(crate) async fn erase_user(
    store: &Store,
    engine: &QueryEngine,
    scope: &Scope,
    user: &str,
) -> Result<Deleted, SearchError> {
    let is_user = |view| {
        let field = FieldRef::of(view, "user")?;
        Ok::<_, QueryError>(Filter::equal(field, Literal::Text(user.to_owned())))
    };
    let mut deleted = erase_conversations(store, engine, scope, is_user(&view::CONVERSATIONS)?).await?;
    deleted += erase_events(store, engine, scope, is_user(&view::EVENTS)?).await?;
    Ok(deleted)
}

/// Again and again, so that what is logged meanwhile goes too.
async fn erase_conversations(
    store: &Store,
    engine: &QueryEngine,
    scope: &Scope,
    filter: Filter,
) -> Result<Deleted, SearchError> {
    let mut all = Deleted::default();
    loop {
        let snapshot = store.snapshot();
        let found =
            engine.addresses(Arc::clone(&snapshot), Table::Conversations, scope.clone(), filter.clone(), FOUND_AT_ONCE);
        let found = found.await?;
        let keys = snapshot.tables.conversations.keys_at(&snapshot.store, &found).await?;
        drop(snapshot);
        let deleted = delete_conversations(store, keys).await?;
        all += deleted;
        if deleted.is_nothing() {
            return Ok(all);
        }
    }
}

async fn erase_events(
    store: &Store,
    engine: &QueryEngine,
    scope: &Scope,
    filter: Filter,
) -> Result<Deleted, SearchError> {
    let mut all = Deleted::default();
    loop {
        let snapshot = store.snapshot();
        let found =
            engine.addresses(Arc::clone(&snapshot), Table::Events, scope.clone(), filter.clone(), FOUND_AT_ONCE);
        let found = found.await?;
        let keys = snapshot.tables.events.keys_at(&snapshot.store, &found).await?;
        drop(snapshot);
        let deleted = delete_events(store, keys).await?;
        all += deleted;
        if deleted.is_nothing() {
            return Ok(all);
        }
    }
}

pub(crate) async fn delete_conversations(store: &Store, keys: Vec<ConversationKey>) -> Result<Deleted, StoreError> {
    let delete = |key| async move { store.delete_conversation(&key).await };
    sum(stream::iter(keys).map(delete).buffer_unordered(DELETIONS_AT_ONCE)).await
}

pub(crate) async fn delete_events(store: &Store, keys: Vec<EventKey>) -> Result<Deleted, StoreError> {
    let delete = |key| async move { store.delete_event(&key).await };
    sum(stream::iter(keys).map(delete).buffer_unordered(DELETIONS_AT_ONCE)).await
}

async fn sum(deletions: impl futures::Stream<Item = Result<Deleted, StoreError>>) -> Result<Deleted, StoreError> {
    deletions
        .try_fold(Deleted::default(), async |mut all, deleted| {
            all += deleted;
            Ok(all)
        })
        .await
}
