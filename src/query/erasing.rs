//! Deleting everything that matches, as if each had been deleted by itself (contract A7).

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::dsl::{Comparison, FieldRef, Filter, Literal};
use super::engine::QueryEngine;
use super::error::QueryError;
use super::search::list::SearchError;
use super::view::{self, View};
use crate::model::ids::{ConversationKey, EpochMillis, EventKey, FeedbackKey};
use crate::model::scope::Scope;
use crate::storage::error::StoreError;
use crate::storage::format::table::Table;
use crate::storage::store::Store;
use crate::storage::write::change::Deleted;

/// Rows that are looked up at once,
const FOUND_AT_ONCE: usize = 10_000;
/// and deletions under way: they wait for the log together.
const DELETIONS_AT_ONCE: usize = 256;

/// Between two batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Somebody waits for it.
    Fast,
    /// Rests for as long as the last batch took, so that half of the time is for others.
    Gentle,
}

/// Whose rows are deleted, and how.
pub(crate) struct Eraser<'a> {
    pub(crate) store: &'a Store,
    pub(crate) engine: &'a QueryEngine,
    pub(crate) scope: &'a Scope,
    pub(crate) pace: Pace,
}

impl Eraser<'_> {
    /// Everything of a user: conversations with all that hangs on them, and events.
    pub(crate) async fn user(&self, user: &str) -> Result<Deleted, SearchError> {
        let is_user = |view: &View| {
            let field = FieldRef::of(view, "user")?;
            Ok::<_, QueryError>(Filter::equal(field, Literal::Text(user.to_owned())))
        };
        let mut deleted = self.matching(Table::Conversations, is_user(&view::CONVERSATIONS)?).await?;
        deleted += self.matching(Table::Events, is_user(&view::EVENTS)?).await?;
        Ok(deleted)
    }

    /// Conversations whose last message is older, with all that hangs on them; events and feedback that are older
    /// themselves.
    pub(crate) async fn older_than(&self, time: EpochMillis) -> Result<Deleted, SearchError> {
        let is_older = |view: &View, field| {
            let field = FieldRef::of(view, field)?;
            Ok::<_, QueryError>(Filter::compare(field, Comparison::Lt, Literal::Time(time.0.to_string())))
        };
        let mut deleted =
            self.matching(Table::Conversations, is_older(&view::CONVERSATIONS, "lastMessageTime")?).await?;
        deleted += self.matching(Table::Events, is_older(&view::EVENTS, "createdAt")?).await?;
        deleted += self.matching(Table::Feedback, is_older(&view::FEEDBACK, "createdAt")?).await?;
        Ok(deleted)
    }

    /// Again and again, so that what is logged meanwhile goes too.
    async fn matching(&self, table: Table, filter: Filter) -> Result<Deleted, SearchError> {
        let mut all = Deleted::default();
        loop {
            let begun = Instant::now();
            let deleted = self.batch(table, filter.clone()).await?;
            all += deleted;
            if deleted.is_nothing() {
                return Ok(all);
            }
            if self.pace == Pace::Gentle {
                tokio::time::sleep(begun.elapsed().min(Duration::from_secs(10))).await;
            }
        }
    }

    async fn batch(&self, table: Table, filter: Filter) -> Result<Deleted, SearchError> {
        let snapshot = self.store.snapshot();
        let found = self.engine.addresses(Arc::clone(&snapshot), table, self.scope.clone(), filter, FOUND_AT_ONCE);
        let found = found.await?;
        let (tables, objects) = (&snapshot.tables, &snapshot.store);
        let deleted = match table {
            Table::Conversations => {
                let keys = tables.conversations.keys_at(objects, &found).await?;
                delete_conversations(self.store, keys).await?
            }
            Table::Events => delete_events(self.store, tables.events.keys_at(objects, &found).await?).await?,
            Table::Feedback => erase_feedback(self.store, tables.feedback.keys_at(objects, &found).await?).await?,
            // They go with their conversations.
            Table::SemanticThreads => Deleted::default(),
        };
        Ok(deleted)
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

async fn erase_feedback(store: &Store, keys: Vec<FeedbackKey>) -> Result<Deleted, StoreError> {
    let erase = |key| async move { store.erase_feedback(&key).await };
    sum(stream::iter(keys).map(erase).buffer_unordered(DELETIONS_AT_ONCE)).await
}

async fn sum(deletions: impl Stream<Item = Result<Deleted, StoreError>>) -> Result<Deleted, StoreError> {
    deletions
        .try_fold(Deleted::default(), async |mut all, deleted| {
            all += deleted;
            Ok(all)
        })
        .await
}
