//! Who runs on the query threads, and for how long: a slot for each query, a deadline, and an end as soon as nobody
//! waits for the answer any more.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::error::QueryError;
use super::turns::{NoTurn, Turn, Turns};
use super::watch::Watch;
use crate::shares::Taker;

/// Plans of a thousand nested conditions are walked recursively.
const STACK_BYTES: usize = 32 << 20;

#[derive(Clone, Debug)]
pub(crate) struct AdmissionOptions {
    pub(crate) threads: usize,
    /// Queries that run at once; cheap ones have as many more.
    pub(crate) slots: usize,
    /// Exports at once, and other answers that a slow client takes.
    pub(crate) export_slots: usize,
    /// How long a query waits for a slot before it is turned away.
    pub(crate) slot_wait: Duration,
    /// From the slot to the last byte.
    pub(crate) deadline: Duration,
}

/// Which slots a question takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// It is cheap, so that it waits for no other.
    Cheap,
    Full,
    /// It takes as long as its client reads.
    Export,
}

struct Lanes {
    cheap: Arc<Turns>,
    full: Arc<Turns>,
    exports: Arc<Turns>,
}

impl Lanes {
    fn of(&self, lane: Lane) -> &Arc<Turns> {
        match lane {
            Lane::Cheap => &self.cheap,
            Lane::Full => &self.full,
            Lane::Export => &self.exports,
        }
    }
}

/// The slot that a question has; it is given back with the last of its clones.
#[derive(Clone)]
pub(crate) struct Slot(Arc<SlotOf>);

struct SlotOf {
    turn: Mutex<(Lane, Option<Turn>)>,
    taker: Taker,
    exports: Arc<Turns>,
}

impl Slot {
    /// The answer waits for who reads it. Such a one is no longer to keep others from asking, so it goes on in a slot of
    /// the exports, where there is one.
    pub(crate) fn waits_for_its_client(&self) {
        let SlotOf { turn, taker, exports } = self.0.as_ref();
        let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        if turn.0 != Lane::Export
            && let Ok(other) = exports.try_take(taker)
        {
            *turn = (Lane::Export, Some(other));
        }
    }
}

pub(crate) struct Admission {
    /// Taken only by `drop`.
    runtime: Option<Runtime>,
    handle: Handle,
    lanes: Lanes,
    slot_wait: Duration,
    deadline: Duration,
}

impl Admission {
    /// # Errors
    /// If the threads cannot be made.
    pub(crate) fn new(options: &AdmissionOptions) -> std::io::Result<Admission> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads.max(1))
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()?;
        let [cheap, full, exports] = [options.slots, options.slots, options.export_slots].map(Turns::new);
        Ok(Admission {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
            lanes: Lanes { cheap, full, exports },
            slot_wait: options.slot_wait,
            deadline: options.deadline,
        })
    }

    /// By name, for who watches.
    pub(crate) fn lanes(&self) -> [(&'static str, &Arc<Turns>); 3] {
        [("cheap", &self.lanes.cheap), ("full", &self.lanes.full), ("export", &self.lanes.exports)]
    }

    /// Starts a query once there is a slot for it. It ends at its deadline, or at so many of them.
    pub(crate) async fn start<T: Send + 'static, F: Future<Output = Result<T, QueryError>> + Send + 'static>(
        &self,
        taker: &Taker,
        lane: Lane,
        deadlines: u32,
        work: impl FnOnce(Slot) -> F + Send + 'static,
    ) -> Result<Task<T>, QueryError> {
        let turn = self.lanes.of(lane).take(taker, self.slot_wait).await;
        let turn = turn.map_err(|NoTurn { is_own, seconds }| QueryError::NoSlot { is_own, seconds })?;
        let exports = Arc::clone(&self.lanes.exports);
        let slot = Slot(Arc::new(SlotOf { turn: Mutex::new((lane, Some(turn))), taker: taker.clone(), exports }));
        let deadline = Deadline::after(deadlines * self.deadline);
        let watch = Watch::new(Some((deadline.at.into_std(), deadline.seconds)));
        Ok(self.spawn_watched(watch, async move {
            let done = deadline.limit(work(slot.clone())).await;
            drop(slot);
            done
        }))
    }

    /// Starts work that takes no slot.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
    ) -> Task<T> {
        self.spawn_watched(Watch::new(None), work)
    }

    fn spawn_watched<T: Send + 'static>(
        &self,
        watch: Arc<Watch>,
        work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
    ) -> Task<T> {
        Task { running: self.handle.spawn(Arc::clone(&watch).scope(work)), watch }
    }
}

impl Drop for Admission {
    /// A runtime must not block on its own end inside another runtime's thread.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Work on the query threads. Dropping it ends the work, also amid a computation, and with it every stream and spill file
/// of a query.
pub(crate) struct Task<T> {
    running: JoinHandle<Result<T, QueryError>>,
    watch: Arc<Watch>,
}

impl<T> Future for Task<T> {
    type Output = Result<T, QueryError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let done = ready!(Pin::new(&mut self.running).poll(context));
        Poll::Ready(done.unwrap_or_else(|error| Err(QueryError::Internal(format!("the query's task ended: {error}")))))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.watch.leave();
        self.running.abort();
    }
}

#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    seconds: u64,
}

impl Deadline {
    fn after(duration: Duration) -> Self {
        Deadline { at: Instant::now() + duration, seconds: duration.as_secs() }
    }

    async fn limit<T>(self, work: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
        let over = Err(QueryError::Deadline { seconds: self.seconds });
        // `timeout_at` polls the work first, which may be done at once.
        if Instant::now() >= self.at {
            return over;
        }
        timeout_at(self.at, work).await.unwrap_or(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(slots: usize, deadline: Duration) -> Admission {
        let slot_wait = Duration::from_millis(20);
        Admission::new(&AdmissionOptions { threads: 1, slots, export_slots: 1, slot_wait, deadline }).unwrap()
    }

    /// Never ends, and tells when it is dropped.
    fn endless() -> (impl Future<Output = Result<(), QueryError>> + Send + 'static, tokio::sync::oneshot::Receiver<()>)
    {
        let (sender, dropped) = tokio::sync::oneshot::channel::<()>();
        let work = async move {
            let _sender = sender;
            std::future::pending().await
        };
        (work, dropped)
    }

    async fn start<T: Send + 'static>(
        admission: &Admission,
        lane: Lane,
        deadlines: u32,
        work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
    ) -> Result<Task<T>, QueryError> {
        admission.start(&Taker::default(), lane, deadlines, |_| work).await
    }

    #[tokio::test]
    async fn a_task_that_nobody_waits_for_ends_and_frees_its_slot() {
        let admission = admission(1, Duration::from_secs(60));
        let (work, dropped) = endless();
        let task = start(&admission, Lane::Full, 1, work).await.unwrap();
        let no_slot = QueryError::NoSlot { is_own: false, seconds: 1 };
        assert_eq!(start(&admission, Lane::Full, 1, async { Ok(1) }).await.err(), Some(no_slot));
        // What is cheap waits for nothing heavy.
        assert_eq!(start(&admission, Lane::Cheap, 1, async { Ok(1) }).await.unwrap().await, Ok(1));
        drop(task);
        assert!(dropped.await.is_err());
        let mut again = start(&admission, Lane::Full, 1, async { Ok(2) }).await;
        while matches!(again, Err(QueryError::NoSlot { .. })) {
            again = start(&admission, Lane::Full, 1, async { Ok(2) }).await;
        }
        assert_eq!(again.unwrap().await, Ok(2));
    }

    #[tokio::test]
    async fn an_answer_that_waits_for_its_client_frees_its_slot() {
        let admission = admission(1, Duration::from_secs(60));
        let (sender, waits) = tokio::sync::oneshot::channel();
        let slow = |slot: Slot| async move {
            slot.waits_for_its_client();
            sender.send(()).unwrap();
            std::future::pending::<Result<(), QueryError>>().await
        };
        let task = admission.start(&Taker::default(), Lane::Full, 1, slow).await.unwrap();
        waits.await.unwrap();
        assert_eq!(start(&admission, Lane::Full, 1, async { Ok(1) }).await.unwrap().await, Ok(1));
        // Of exports there are as many as there may be now.
        assert!(start(&admission, Lane::Export, 1, async { Ok(1) }).await.is_err());
        drop(task);
    }

    #[tokio::test]
    async fn a_task_ends_at_its_deadline_and_with_its_error() {
        let admission = admission(1, Duration::from_millis(10));
        let (work, dropped) = endless();
        let task = start(&admission, Lane::Full, 2, work).await.unwrap();
        assert_eq!(task.await, Err(QueryError::Deadline { seconds: 0 }));
        assert!(dropped.await.is_err());
        let failed = async { Err::<(), _>(QueryError::Internal("x".into())) };
        let failed = start(&admission, Lane::Full, 1, failed).await.unwrap();
        assert_eq!(failed.await, Err(QueryError::Internal("x".into())));
        let panicked = admission.spawn(async { if true { panic!("a bug") } else { Ok(()) } });
        assert!(matches!(panicked.await, Err(QueryError::Internal(cause)) if cause.contains("ended")));
    }
}
