//! Whether a query is to go on. Its task ends at the next point where it waits, and computing does not wait: what may
//! compute for long (the kernels of [`super::functions`], planning, gathering) asks here.
//!
//! A [`Watch`] belongs to a task, and DataFusion spawns tasks of its own for parts of a plan: each starts with the watch
//! of the task that spawned it. Beside a task there is none, and everything goes on.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use datafusion::common::runtime::{JoinSetTracer, set_join_set_tracer};
use datafusion::error::{DataFusionError, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use thiserror::Error;

use super::error::QueryError;

tokio::task_local! {
    static WATCH: Arc<Watch>;
}

/// Why a query stops amid its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Stopped {
    #[error("the query is over its deadline of {seconds} seconds")]
    Deadline { seconds: u64 },
    #[error("nobody waits for the query any more")]
    Left,
}

/// Of one query.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    left: AtomicBool,
    /// And how long it was.
    deadline: Option<(Instant, u64)>,
    #[cfg(test)]
    counted: counted::Looks,
}

impl Watch {
    /// Without a deadline it stops only when it is left.
    pub(crate) fn new(deadline: Option<(Instant, u64)>) -> Arc<Watch> {
        // Whoever is first sets it, for the process; the others find it set.
        let _ = set_join_set_tracer(&HandedOn);
        Arc::new(Watch { deadline, ..Watch::default() })
    }

    /// Nobody waits any more.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    pub(crate) fn scope<F: Future>(self: Arc<Self>, work: F) -> impl Future<Output = F::Output> {
        WATCH.scope(self, work)
    }

    fn check(&self) -> Result<(), Stopped> {
        #[cfg(test)]
        self.count_look();
        if self.left.load(Ordering::Relaxed) {
            return Err(Stopped::Left);
        }
        match self.deadline {
            Some((deadline, seconds)) if Instant::now() >= deadline => Err(Stopped::Deadline { seconds }),
            _ => Ok(()),
        }
    }
}

/// The watch of this task.
pub(crate) fn current() -> Option<Arc<Watch>> {
    WATCH.try_with(Arc::clone).ok()
}

/// Work for a task that this one spawns, with the watch of this one.
pub(crate) async fn handed_on<T>(work: impl Future<Output = T>, watch: Option<Arc<Watch>>) -> T {
    match watch {
        Some(watch) => watch.scope(work).await,
        None => work.await,
    }
}

/// Work between two looks, in bytes that are gone through or what takes about as long: some tens of microseconds.
pub(crate) const LOOK_EVERY: usize = 64 << 10;
/// What each step costs whatever its size.
const STEP: usize = 16;

/// Asks the watch of this task every now and then.
pub(crate) struct Pace {
    watch: Option<Arc<Watch>>,
    done: usize,
}

impl Pace {
    pub(crate) fn current() -> Pace {
        Pace { watch: current(), done: 0 }
    }

    /// After, or before, work on so many bytes.
    pub(crate) fn step(&mut self, bytes: usize) -> Result<(), Stopped> {
        self.done = self.done.saturating_add(bytes).saturating_add(STEP);
        if self.done < LOOK_EVERY {
            return Ok(());
        }
        self.done = 0;
        self.watch.as_ref().map_or(Ok(()), |watch| watch.check())
    }
}

/// Looks at once.
pub(crate) fn check() -> Result<(), Stopped> {
    current().map_or(Ok(()), |watch| watch.check())
}

impl From<Stopped> for QueryError {
    fn from(stopped: Stopped) -> QueryError {
        match stopped {
            Stopped::Deadline { seconds } => QueryError::Deadline { seconds },
            // Nobody hears it.
            Stopped::Left => QueryError::Internal(stopped.to_string()),
        }
    }
}

impl From<Stopped> for DataFusionError {
    fn from(stopped: Stopped) -> DataFusionError {
        DataFusionError::External(Box::new(stopped))
    }
}

/// Hands the watch of a task on to those that it spawns.
struct HandedOn;

type Done = Box<dyn Any + Send>;

impl JoinSetTracer for HandedOn {
    fn trace_future(&self, work: BoxFuture<'static, Done>) -> BoxFuture<'static, Done> {
        match current() {
            Some(watch) => WATCH.scope(watch, work).boxed(),
            None => work,
        }
    }

    fn trace_block(&self, work: Box<dyn FnOnce() -> Done + Send>) -> Box<dyn FnOnce() -> Done + Send> {
        match current() {
            Some(watch) => Box::new(move || WATCH.sync_scope(watch, work)),
            None => work,
        }
    }
}

#[cfg(test)]
mod counted {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// What tests count.
    #[derive(Debug, Default)]
    pub(super) struct Looks {
        looks: AtomicUsize,
        /// From this look on nobody waits; 0: never.
        leave_at: usize,
    }

    impl Watch {
        pub(crate) fn leaving_at(look: usize) -> Arc<Watch> {
            let Some(watch) = Arc::into_inner(Watch::new(None)) else { unreachable!() };
            Arc::new(Watch { counted: Looks { leave_at: look, ..Looks::default() }, ..watch })
        }

        pub(crate) fn looks(&self) -> usize {
            self.counted.looks.load(Ordering::Relaxed)
        }

        pub(super) fn count_look(&self) {
            let look = self.counted.looks.fetch_add(1, Ordering::Relaxed) + 1;
            if look == self.counted.leave_at {
                self.leave();
            }
        }
    }
}
