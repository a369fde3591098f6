//! Looks whether another process has taken the store over. A writer learns it from its next write; one that only reads
//! would answer from the past for ever.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use object_store::{Error, ObjectStore};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::model::ids::WalPosition;
use crate::storage::log::wal::{self, WalError};
use crate::storage::read::snapshot::Snapshot;
use crate::storage::write::committer::Command;

const LOOK_EVERY: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(5) };
/// A look reads the place after the last own object, where another writer would begin. Whoever was asleep for long may
/// find nothing there any more, because it was collected: each of so many looks lists the log.
const LIST_EVERY: u64 = if cfg!(test) { 1_000 } else { 12 };

pub(crate) struct TakeoverWatch {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) published: Arc<ArcSwap<Snapshot>>,
    /// Of this process.
    pub(crate) writer_id: String,
    pub(crate) commands: mpsc::WeakSender<Command>,
    pub(crate) stop: CancellationToken,
}

impl TakeoverWatch {
    /// Runs until somebody has, or to the stop.
    pub(crate) async fn run(self) {
        let mut seen = WalPosition(0);
        for look in 0_u64.. {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            // What cannot be read now can be read the next time.
            let Ok(found) = self.look(&mut seen, look % LIST_EVERY == 0).await else { continue };
            let Some(commands) = self.commands.upgrade() else { return };
            if let Some(overtaken) = found {
                // Closed: the committer has ended already.
                let _ = commands.send(Command::Overtaken(overtaken)).await;
                return;
            }
        }
    }

    /// The newest object of the log is the newest writer's: each begins with one, and only its own come after it.
    async fn look(&self, seen: &mut WalPosition, list: bool) -> Result<Option<WalError>, WalError> {
        *seen = (*seen).max(self.published.load().position);
        let position = if list {
            let listed = wal::list_after(self.objects.as_ref(), *seen).await?;
            let Some(position) = listed.last().copied() else { return Ok(None) };
            position
        } else {
            WalPosition(seen.0 + 1)
        };
        let header = match wal::read(self.objects.as_ref(), position).await {
            Ok(group) => group.header,
            Err(WalError::Store(Error::NotFound { .. })) if !list => return Ok(None),
            Err(error) => return Err(error),
        };
        *seen = position;
        let foreign = header.writer_id != self.writer_id;
        Ok(foreign.then(|| WalError::Fenced { position, writer_id: header.writer_id, epoch: header.epoch }))
    }
}
