//! Keeps the logs for other engines near the commits, in the background: no change and no read waits for it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::storage::read::snapshot::Snapshot;
use crate::storage::write::derived::DerivedTables;

/// From one look to the next: flushes that come in between are derived together. A remote store bills each object.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY_REMOTE: Duration = Duration::from_secs(10);
/// After a failure, at first and at most.
const RETRY_AFTER: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(300);

pub(crate) struct LogDeriver {
    pub(crate) tables: DerivedTables,
    pub(crate) published: Arc<ArcSwap<Snapshot>>,
    pub(crate) stop: CancellationToken,
    pub(crate) remote: bool,
}

impl LogDeriver {
    /// Runs to the stop, and then once more. The first look reads the logs as they are, and mends them.
    pub(crate) async fn run(mut self) {
        let mut derived = None;
        let mut pause = RETRY_AFTER;
        while !self.stop.is_cancelled() {
            let mut wait = if self.remote { LOOK_EVERY_REMOTE } else { LOOK_EVERY };
            if derived != Some(self.published.load().manifest.number.0) {
                match self.tables.derive().await {
                    Ok(number) => (derived, pause) = (Some(number), RETRY_AFTER),
                    Err(error) => {
                        tracing::warn!(%error, "tried again later; nothing here depends on them");
                        wait = pause;
                        pause = (pause * 2).min(LAST_RETRY);
                    }
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        if derived != Some(self.published.load().manifest.number.0)
            && let Err(error) = self.tables.derive().await
        {
            tracing::warn!(%error, "the next start tries again");
        }
    }
}
