//! Look-ups of a file that come at the same time are one read: each would decode whole pages for its row.
//!
//! Who comes first reads for all who have come once it is its turn; while a read runs, the next ones gather.

use std::sync::{Mutex, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot};

use super::error::FileError;

/// Reads of a file at a time.
const READS: usize = 2;
/// A look-up of more rows is read by itself.
const MAX_ROWS: usize = 64;

pub(crate) type Reading<'a, E> = BoxFuture<'a, Result<Vec<E>, FileError>>;

pub(crate) struct Coalesced<E> {
    waiting: Mutex<Vec<Waiting<E>>>,
    turns: Semaphore,
}

struct Waiting<E> {
    rows: Vec<u32>,
    /// Dropped where nothing comes of it: then who waits reads for itself.
    found: oneshot::Sender<Vec<E>>,
}

impl<E> Default for Coalesced<E> {
    fn default() -> Self {
        Coalesced { waiting: Mutex::default(), turns: Semaphore::new(READS) }
    }
}

impl<E: Clone> Coalesced<E> {
    /// What `read` gives for these rows, in their order. `read` may be asked for those of others too, ascending.
    pub(crate) async fn look_up<'a>(
        &'a self,
        rows: &[u32],
        read: impl Fn(Vec<u32>) -> Reading<'a, E> + Send + Sync,
    ) -> Result<Vec<E>, FileError> {
        if rows.len() > MAX_ROWS {
            return read(rows.to_vec()).await;
        }
        let (found, answer) = oneshot::channel();
        if self.wait(Waiting { rows: rows.to_vec(), found }) {
            self.read_for_all(&read).await?;
        }
        match answer.await {
            Ok(found) => Ok(found),
            // Who was to read has failed or gone.
            Err(_) => read(rows.to_vec()).await,
        }
    }

    /// True for the first.
    fn wait(&self, one: Waiting<E>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(one);
        waiting.len() == 1
    }

    fn take(&self) -> Vec<Waiting<E>> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn read_for_all<'a>(&self, read: &(impl Fn(Vec<u32>) -> Reading<'a, E> + Sync)) -> Result<(), FileError> {
        let leading = Leading(Some(self));
        // Those of the same moment come before the turn does.
        tokio::task::yield_now().await;
        let _turn = self.turns.acquire().await;
        let all = leading.take();
        let mut rows: Vec<u32> = all.iter().flat_map(|one| one.rows.iter().copied()).collect();
        rows.sort_unstable();
        rows.dedup();
        let found = read(rows.clone()).await?;
        for Waiting { rows: wanted, found: reply } in all {
            let of = |row: &u32| rows.binary_search(row).ok().and_then(|at| found.get(at).cloned());
            if let Some(found) = wanted.iter().map(of).collect() {
                let _ = reply.send(found);
            }
        }
        Ok(())
    }
}

/// If the one that leads is dropped, nobody waits for it.
struct Leading<'a, E: Clone>(Option<&'a Coalesced<E>>);

impl<E: Clone> Leading<'_, E> {
    fn take(mut self) -> Vec<Waiting<E>> {
        self.0.take().map(Coalesced::take).unwrap_or_default()
    }
}

impl<E: Clone> Drop for Leading<'_, E> {
    fn drop(&mut self) {
        if let Some(coalesced) = self.0 {
            drop(coalesced.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::FutureExt;
    use futures::future::join_all;
    use object_store::path::Path;

    use super::*;

    fn failed() -> FileError {
        FileError::Aborted { path: Path::from("f") }
    }

    #[tokio::test]
    async fn what_comes_together_is_read_once() {
        let (coalesced, reads) = (Coalesced::default(), AtomicUsize::new(0));
        let read = |rows: Vec<u32>| -> Reading<'_, u32> {
            reads.fetch_add(1, Ordering::Relaxed);
            assert!(rows.is_sorted());
            let read = async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok(rows.iter().map(|row| row * 10).collect())
            };
            read.boxed()
        };
        let wanted: Vec<Vec<u32>> = (0..100).map(|n| vec![n * 7 % 50, n]).collect();
        let found = join_all(wanted.iter().map(|rows| coalesced.look_up(rows, read))).await;
        for (rows, found) in wanted.iter().zip(found) {
            assert_eq!(found.unwrap(), rows.iter().map(|row| row * 10).collect::<Vec<_>>());
        }
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }

    /// A failure, and a leader that goes away, are nobody else's.
    #[tokio::test]
    async fn the_others_read_for_themselves() {
        let (coalesced, tries) = (Coalesced::default(), AtomicUsize::new(0));
        let read = |rows: Vec<u32>| -> Reading<'_, u32> {
            let first = tries.fetch_add(1, Ordering::Relaxed) == 0;
            std::future::ready(if first { Err(failed()) } else { Ok(rows) }).boxed()
        };
        let rows = [[0_u32], [1], [2]];
        let found = join_all(rows.iter().map(|rows| coalesced.look_up(rows, read))).await;
        assert!(found[0].is_err());
        assert_eq!(found[1..].iter().map(|found| found.as_ref().unwrap()[0]).collect::<Vec<_>>(), [1, 2]);

        let leader = coalesced.look_up(&[1], |_| std::future::pending().boxed());
        let follower = coalesced.look_up(&[2], |rows| std::future::ready(Ok(rows)).boxed());
        let both = futures::future::join(tokio::time::timeout(Duration::from_millis(20), leader), follower);
        let (led, followed) = tokio::time::timeout(Duration::from_secs(5), both).await.unwrap();
        assert!(led.is_err());
        assert_eq!(followed.unwrap(), [2]);
    }
}
