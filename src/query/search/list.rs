//! Pages of conversations.
//!
//! What the columns tell is a query; it goes on after the last row shown by that row's place in the order, so that what
//! is logged meanwhile moves nothing. What they do not tell (the text of messages, whether a conversation is running) is
//! checked row by row in the same order, of a text only where the text index knows candidates. Such a page may end
//! early, once it has taken [`SCAN_TIME`].

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::check::Check;
use super::place::{ListOrder, Place};
use crate::model::scope::Scope;
use crate::query::dsl::Filter;
use crate::query::engine::QueryEngine;
use crate::query::error::QueryError;
use crate::query::execute::found::FoundRows;
use crate::storage::error::StoreError;
use crate::storage::read::row_filter::RowFilter;
use crate::storage::read::snapshot::{RowAddress, Snapshot};

/// Addresses that a scan asks of the query engine at once: first so many, then ever more, for what passes is rare.
const FIRST_SCAN_ROWS: usize = 128;
const SCAN_GROWTH: usize = 8;
const MAX_SCAN_ROWS: usize = 20_000;
/// Of these, checked between two looks at the clock.
const CHECKED_ROWS: usize = 1_024;
const MAX_CHECKED_AT_ONCE: usize = 4;
const SCAN_TIME: Duration = Duration::from_secs(20);
const SCAN_WAIT: Duration = Duration::from_secs(10);
/// Scans that run at once; each holds some whole conversations in memory.
const SCANS_AT_ONCE: usize = 4;

#[derive(Debug, Error)]
pub(crate) enum SearchError {
    #[error("too many searches are running")]
    Busy,
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Lets few searches run at a time.
pub(crate) struct Searches {
    scans: Semaphore,
}

impl Default for Searches {
    fn default() -> Self {
        Self { scans: Semaphore::new(SCANS_AT_ONCE) }
    }
}

impl Searches {
    /// The first conversations of a list, or those after a place in it.
    pub(crate) async fn page(
        &self,
        engine: &QueryEngine,
        list: &ConversationList,
        after: Option<Place>,
        size: usize,
    ) -> Result<Page, SearchError> {
        if !list.check.is_needed() {
            return Rows { engine, list, candidates: None }.page(after, size).await;
        }
        let _permit = match timeout(SCAN_WAIT, self.scans.acquire()).await {
            Ok(Ok(permit)) => permit,
            _ => return Err(SearchError::Busy),
        };
        let started = Instant::now();
        let candidates = match &list.check.term {
            None => None,
            Some(term) => {
                let (snapshot, term) = (Arc::clone(&list.snapshot), term.clone());
                Some(Arc::new(engine.decode(async move { snapshot.candidates(&term).await }).await?))
            }
        };
        Rows { engine, list, candidates }.scan(after, size, started).await
    }
}

/// Conversations of one snapshot in an order.
pub(crate) struct ConversationList {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) scope: Scope,
    /// All of them must hold.
    pub(crate) filters: Vec<Filter>,
    pub(crate) check: Check,
    pub(crate) order: ListOrder,
}

pub(crate) struct Page {
    pub(crate) rows: Vec<RowAddress>,
    /// The place of the last row looked at, unless there is none after it.
    pub(crate) next: Option<Place>,
}

/// The rows of a list that may pass its check.
struct Rows<'a> {
    engine: &'a QueryEngine,
    list: &'a ConversationList,
    candidates: Option<Arc<RowFilter>>,
}

impl Rows<'_> {
    async fn after(&self, place: Option<&Place>, limit: usize) -> Result<FoundRows, QueryError> {
        let list = self.list;
        let mut parts = list.filters.clone();
        if let Some(place) = place {
            parts.push(list.order.after(place)?);
        }
        let (snapshot, scope) = (Arc::clone(&list.snapshot), list.scope.clone());
        let (filter, order) = (Filter::And(parts), list.order.columns());
        self.engine.rows_among(snapshot, scope, self.candidates.clone(), filter, order, limit).await
    }

    async fn page(&self, after: Option<Place>, size: usize) -> Result<Page, SearchError> {
        let found = self.after(after.as_ref(), size.saturating_add(1)).await?;
        let more = found.addresses.len() > size;
        let next = if more { Some(self.list.order.place(&found, size.saturating_sub(1))?) } else { None };
        let mut rows = found.addresses;
        rows.truncate(size);
        Ok(Page { rows, next })
    }

    async fn scan(&self, mut after: Option<Place>, size: usize, started: Instant) -> Result<Page, SearchError> {
        let order = self.list.order;
        let mut page = Page { rows: Vec::new(), next: None };
        let mut limit = FIRST_SCAN_ROWS;
        loop {
            let found = self.after(after.as_ref(), limit).await?;
            let (mut looked_at, count) = (0, found.addresses.len());
            for part in found.addresses.chunks(CHECKED_ROWS) {
                for (row, passes) in part.iter().zip(self.check(part).await?) {
                    if passes && page.rows.len() == size {
                        page.next = if looked_at == 0 { after } else { Some(order.place(&found, looked_at - 1)?) };
                        return Ok(page);
                    }
                    if passes {
                        page.rows.push(*row);
                    }
                    looked_at += 1;
                }
                if started.elapsed() > SCAN_TIME {
                    page.next = Some(order.place(&found, looked_at - 1)?);
                    return Ok(page);
                }
            }
            if count < limit {
                return Ok(page);
            }
            after = Some(order.place(&found, count - 1)?);
            limit = (limit * SCAN_GROWTH).min(MAX_SCAN_ROWS);
        }
    }

    /// Whether each of these passes.
    async fn check(&self, rows: &[RowAddress]) -> Result<Vec<bool>, SearchError> {
        // Each part may have some conversations in memory.
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_CHECKED_AT_ONCE));
        let parts = rows.chunks(rows.len().div_ceil(cores).max(1)).map(|part| {
            let (snapshot, part) = (Arc::clone(&self.list.snapshot), part.to_vec());
            let check = self.list.check.clone();
            self.engine.decode(async move { check.pass(&snapshot, &part).await })
        });
        let mut passed = Vec::with_capacity(rows.len());
        for part in try_join_all(parts).await? {
            passed.extend(part?);
        }
        Ok(passed)
    }
}
