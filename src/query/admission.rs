//! Who runs on the query threads, and for how long: a slot for each query, a deadline, and an end as soon as nobody
//! waits for the answer any more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::QueryError;
use super::watch::Watch;

/// Plans of a thousand nested conditions are walked recursively.
const STACK_BYTES: usize = 32 << 20;

#[derive(Clone, Debug)]
pub(crate) struct AdmissionOptions {
    pub(crate) threads: usize,
    /// Queries that run at once.
    pub(crate) slots: usize,
    /// How long a query waits for a slot before it is turned away.
    pub(crate) slot_wait: Duration,
    /// From the slot to the last byte.
    pub(crate) deadline: Duration,
}

pub(crate) struct Admission {
    /// Taken only by `drop`.
    runtime: Option<Runtime>,
    handle: Handle,
    slots: Arc<Semaphore>,
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
        Ok(Admission {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
            slots: Arc::new(Semaphore::new(options.slots.max(1))),
            slot_wait: options.slot_wait,
            deadline: options.deadline,
        })
    }

    /// Starts a query once there is a slot for it. It ends at its deadline, or at so many of them.
    pub(crate) async fn start<T: Send + 'static>(
        &self,
        deadlines: u32,
        work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
    ) -> Result<Task<T>, QueryError> {
        let slot = match timeout(self.slot_wait, Arc::clone(&self.slots).acquire_owned()).await {
            Ok(Ok(slot)) => slot,
            _ => return Err(QueryError::NoSlot),
        };
        let deadline = Deadline::after(deadlines * self.deadline);
        let watch = Watch::new(Some((deadline.at.into_std(), deadline.seconds)));
        Ok(self.spawn_watched(watch, async move {
            let done = deadline.limit(work).await;
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
        Admission::new(&AdmissionOptions { threads: 1, slots, slot_wait, deadline }).unwrap()
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

    #[tokio::test]
    async fn a_task_that_nobody_waits_for_ends_and_frees_its_slot() {
        let admission = admission(1, Duration::from_secs(60));
        let (work, dropped) = endless();
        let task = admission.start(1, work).await.unwrap();
        assert_eq!(admission.start(1, async { Ok(1) }).await.err(), Some(QueryError::NoSlot));
        drop(task);
        assert!(dropped.await.is_err());
        let mut again = admission.start(1, async { Ok(2) }).await;
        while matches!(again, Err(QueryError::NoSlot)) {
            again = admission.start(1, async { Ok(2) }).await;
        }
        assert_eq!(again.unwrap().await, Ok(2));
    }

    #[tokio::test]
    async fn a_task_ends_at_its_deadline_and_with_its_error() {
        let admission = admission(1, Duration::from_millis(10));
        let (work, dropped) = endless();
        let task = admission.start(2, work).await.unwrap();
        assert_eq!(task.await, Err(QueryError::Deadline { seconds: 0 }));
        assert!(dropped.await.is_err());
        let failed = admission.start(1, async { Err::<(), _>(QueryError::Internal("x".into())) }).await.unwrap();
        assert_eq!(failed.await, Err(QueryError::Internal("x".into())));
        let panicked = admission.spawn(async { if true { panic!("a bug") } else { Ok(()) } });
        assert!(matches!(panicked.await, Err(QueryError::Internal(cause)) if cause.contains("ended")));
    }
}
