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
use super::place::{ListOrder, Place, Progress};
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
const MAX_SCAN_ROWS: usize = 131_072;
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
    /// The first conversations of a list, or those after what a walk has seen.
    pub(crate) async fn page(
        &self,
        engine: &QueryEngine,
        list: &ConversationList,
        progress: Option<Progress>,
        size: usize,
    ) -> Result<Page, SearchError> {
        if !list.check.is_needed() {
            return Walk { engine, list, candidates: None, started: Instant::now() }.page(progress, size).await;
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
        Walk { engine, list, candidates, started }.page(progress, size).await
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
    /// How far the walk has come, unless it is at its end.
    pub(crate) next: Option<Progress>,
}

/// A walk through a list, of the rows that may pass its check.
struct Walk<'a> {
    engine: &'a QueryEngine,
    list: &'a ConversationList,
    candidates: Option<Arc<RowFilter>>,
    started: Instant,
}

/// Rows in an order, and whether there are more.
struct Part {
    rows: Vec<RowAddress>,
    /// The place to go on after; the inner `None`: before the first row.
    next: Option<Option<Place>>,
}

impl Walk<'_> {
    async fn page(&self, progress: Option<Progress>, size: usize) -> Result<Page, SearchError> {
        let now = self.list.snapshot.position;
        let Progress { began, again, place } = progress.unwrap_or(Progress { began: now, again: false, place: None });
        let (mut rows, mut after) = (Vec::new(), place);
        if !again {
            let order = self.list.order;
            let mut filters = self.list.filters.clone();
            if began != now {
                filters.extend(order.left_for_later(began)?);
            }
            let part = self.part(order, &filters, after, size, &[]).await?;
            rows = part.rows;
            if let Some(place) = part.next {
                return Ok(Page { rows, next: Some(Progress { began, again, place }) });
            }
            if began == now {
                return Ok(Page { rows, next: None });
            }
            after = None;
        }
        let changed = [self.list.filters.as_slice(), &[self.list.order.again(began)?]].concat();
        let part = self.part(ListOrder::AGAIN, &changed, after, size.saturating_sub(rows.len()), &rows).await?;
        rows.extend(part.rows);
        Ok(Page { rows, next: part.next.map(|place| Progress { began, again: true, place }) })
    }

    /// Up to `size` rows after a place, without those that are shown already.
    async fn part(
        &self,
        order: ListOrder,
        filters: &[Filter],
        after: Option<Place>,
        size: usize,
        shown: &[RowAddress],
    ) -> Result<Part, SearchError> {
        let mut part = Part { rows: Vec::new(), next: None };
        let is_scan = self.list.check.is_needed();
        let mut limit = if is_scan { FIRST_SCAN_ROWS } else { size.saturating_add(shown.len()).saturating_add(1) };
        let mut after = after;
        loop {
            let found = self.after(order, filters, after.as_ref(), limit).await?;
            let (mut looked_at, count) = (0, found.addresses.len());
            let place = |looked_at: usize, after: Option<Place>| match looked_at.checked_sub(1) {
                None => Ok(after),
                Some(last) => order.place(&found, last).map(Some),
            };
            for rows in found.addresses.chunks(CHECKED_ROWS) {
                for (row, passes) in rows.iter().zip(self.check(rows).await?) {
                    let is_wanted = passes && !shown.contains(row);
                    if is_wanted && part.rows.len() == size {
                        part.next = Some(place(looked_at, after)?);
                        return Ok(part);
                    }
                    if is_wanted {
                        part.rows.push(*row);
                    }
                    looked_at += 1;
                }
                if is_scan && self.started.elapsed() > SCAN_TIME {
                    part.next = Some(place(looked_at, after)?);
                    return Ok(part);
                }
            }
            if count < limit {
                return Ok(part);
            }
            after = place(count, after)?;
            limit = (limit * SCAN_GROWTH).min(MAX_SCAN_ROWS);
        }
    }

    async fn after(
        &self,
        order: ListOrder,
        filters: &[Filter],
        place: Option<&Place>,
        limit: usize,
    ) -> Result<FoundRows, QueryError> {
        let mut parts = filters.to_vec();
        if let Some(place) = place {
            parts.push(order.after(place)?);
        }
        let (snapshot, scope) = (Arc::clone(&self.list.snapshot), self.list.scope.clone());
        let filter = Filter::And(parts);
        self.engine.rows_among(snapshot, scope, self.candidates.clone(), filter, order.columns(), limit).await
    }

    /// Whether each of these passes.
    async fn check(&self, rows: &[RowAddress]) -> Result<Vec<bool>, SearchError> {
        if !self.list.check.is_needed() {
            return Ok(vec![true; rows.len()]);
        }
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
