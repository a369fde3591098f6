//! What a store has done beside requests, to its end or once, and what is told of it.

use std::time::Duration;

use super::Store;
use super::status::{self, Known, Process, StoreStatus};
use crate::storage::error::StoreError;
use crate::storage::maintain::collector::{Collected, Collector};
use crate::storage::maintain::compaction::compactor::Compactor;
use crate::storage::maintain::compaction::policy::{self, Policy};
use crate::storage::maintain::eraser::{Eraser, Shares};
use crate::storage::maintain::text_indexer::Indexer;

impl Store {
    /// Makes and keeps the text indexes that searches use, in the background to the end of the store.
    pub(crate) fn index_texts(&self) -> Result<(), StoreError> {
        let (published, readiness) = (self.published.clone(), self.readiness.clone());
        let indexer = Indexer { published, readiness, stop: self.background.clone() };
        indexer.start().map_err(|error| StoreError::caused("the text indexer's thread could not start", error))
    }

    /// Merges files, in the background to the end of the store, and writes those again that hold what was erased.
    pub(crate) fn compact(&self, shares: Shares) -> Result<(), StoreError> {
        let started = self.compactor(policy::choose, shares).start();
        started.map_err(|error| StoreError::caused("the compactor's thread could not start", error))
    }

    /// Deletes what no commit has named for so long, in the background to the end of the store.
    pub(crate) fn collect(&self, grace: Duration, shares: Shares) {
        tokio::spawn(self.collector(grace, shares).run());
    }

    /// Has what was erased leave memory and the log, in the background to the end of the store.
    pub(crate) fn erase(&self, shares: Shares) {
        // As long as the store lives it is the same.
        let _ = self.erase_within.set(shares.within);
        let eraser = Eraser {
            environment: self.environment.clone(),
            published: self.published.clone(),
            readiness: self.readiness.clone(),
            commands: self.commands.downgrade(),
            erasures: self.erasures.clone(),
            log: self.log.clone(),
            shares,
            stop: self.background.clone(),
        };
        tokio::spawn(eraser.run());
    }

    /// As [`Self::collect`], once; also what is in no commit, however much it is, if `all_leftovers`.
    pub(crate) async fn collect_once(
        &self,
        grace: Duration,
        shares: Shares,
        all_leftovers: bool,
    ) -> Result<Collected, StoreError> {
        self.check_writable()?;
        Collector { all_leftovers, ..self.collector(grace, shares) }.collect().await
    }

    /// Merges what is most due; false if nothing is.
    pub(crate) async fn compact_once(&self, shares: Shares) -> Result<bool, StoreError> {
        self.check_writable()?;
        self.compactor(policy::choose, shares).compact_once().await
    }

    pub(super) fn collector(&self, grace: Duration, shares: Shares) -> Collector {
        Collector {
            environment: self.environment.clone(),
            published: self.published.clone(),
            readiness: self.readiness.clone(),
            retired: self.retired.clone(),
            work: self.work.clone(),
            first_own: self.first_own,
            grace,
            longest: shares.collect_after(),
            all_leftovers: false,
            stop: self.background.clone(),
        }
    }

    pub(super) fn compactor(&self, policy: Policy, shares: Shares) -> Compactor {
        Compactor {
            policy,
            environment: self.environment.clone(),
            published: self.published.clone(),
            commands: self.commands.downgrade(),
            retired: self.retired.clone(),
            rewrite_after: shares.rewrite_after(),
            work: self.work.clone(),
            stop: self.background.clone(),
        }
    }

    /// What an operator sees of it (contract A7).
    pub(crate) async fn status(&self) -> Result<StoreStatus, StoreError> {
        let known = Known {
            count: self.counted.get(&self.environment.objects).await?,
            waiting: &self.erasures.waiting().await?,
            erase_within: self.erase_within.get().copied(),
            waiting_for: self.readiness().reason(),
            process: Process::of(&self.environment, self.work.status()),
        };
        Ok(status::of_process(&self.snapshot(), known))
    }
}
