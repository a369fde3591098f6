//! One connection: whether it has a request, for how long it may be silent, and how slowly it may take an answer.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::task::AtomicWaker;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// All open connections, and how many there may be.
pub(crate) struct Connections {
    limit: usize,
    open: Mutex<Open>,
    /// That one has ended or become idle.
    changed: Notify,
}

#[derive(Default)]
struct Open {
    next: u64,
    states: BTreeMap<u64, Arc<State>>,
}

/// One of them, as long as it is open.
pub(crate) struct Connection {
    all: Arc<Connections>,
    number: u64,
    state: Arc<State>,
    is_over_limit: bool,
}

/// What is known of a connection.
pub(crate) struct State {
    phase: Mutex<Phase>,
    /// Of who waits for the next request.
    reader: AtomicWaker,
    displaced: CancellationToken,
    all: Arc<Connections>,
}

#[derive(Clone, Copy, Debug)]
struct Phase {
    /// Requests whose answers are not sent.
    requests: usize,
    /// The end of the last one, or of the connect.
    since: Instant,
    /// Requests that it has had.
    begun: u64,
}

impl Connections {
    pub(crate) fn new(limit: usize) -> Arc<Connections> {
        Arc::new(Connections { limit, open: Mutex::default(), changed: Notify::new() })
    }

    /// Returns once one more may be taken: below the limit, in the place of one that is idle, or beyond it for `/health`.
    pub(crate) async fn room(&self) {
        loop {
            let changed = self.changed.notified();
            if self.make_room() {
                return;
            }
            changed.await;
        }
    }

    fn make_room(&self) -> bool {
        let mut open = self.open();
        if open.states.len() < self.limit {
            return true;
        }
        let idle = open.states.iter().filter_map(|(number, state)| Some((state.idle_since()?, *number))).min();
        if let Some((_, number)) = idle {
            if let Some(state) = open.states.remove(&number) {
                state.displaced.cancel();
            }
            return true;
        }
        open.states.len() == self.limit
    }

    pub(crate) fn take(self: &Arc<Self>) -> Connection {
        let phase = Phase { requests: 0, since: Instant::now(), begun: 0 };
        let displaced = CancellationToken::new();
        let state =
            Arc::new(State { phase: Mutex::new(phase), reader: AtomicWaker::new(), displaced, all: Arc::clone(self) });
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.states.insert(number, Arc::clone(&state));
        let is_over_limit = open.states.len() > self.limit;
        Connection { all: Arc::clone(self), number, state, is_over_limit }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Nothing in here panics halfway.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Whether it was taken beyond the limit.
    pub(crate) fn is_over_limit(&self) -> bool {
        self.is_over_limit
    }

    /// Returns when its place was given to another.
    pub(crate) async fn displaced(&self) {
        self.state.displaced.cancelled().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.open().states.remove(&self.number);
        self.all.changed.notify_one();
    }
}

impl State {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_since(&self) -> Option<Instant> {
        let phase = self.phase();
        (phase.requests == 0).then_some(phase.since)
    }

    pub(crate) fn begin_request(self: &Arc<Self>) -> Busy {
        let mut phase = self.phase();
        (phase.requests, phase.begun) = (phase.requests + 1, phase.begun + 1);
        drop(phase);
        Busy(Arc::clone(self))
    }
}

/// A request is open.
pub(crate) struct Busy(Arc<State>);

impl Busy {
    /// To the last byte of its answer.
    pub(crate) fn until_sent(self, body: Body) -> Answering {
        Answering { body, _busy: self }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut phase = self.0.phase();
        (phase.requests, phase.since) = (phase.requests.saturating_sub(1), Instant::now());
        drop(phase);
        self.0.reader.wake();
        self.0.all.changed.notify_one();
    }
}

pub(crate) struct Answering {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How slowly a client may take what it is sent: after waiting for it for `pause` in all, a connection ends; what it takes
/// buys it time again, at this rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) pause: Duration,
    pub(crate) bytes_per_second: u64,
}

/// A stream that ends when its peer is silent or slow for too long: it must not hold an answer's memory, or a query, for
/// ever.
pub(crate) struct Guard<T> {
    stream: T,
    state: Arc<State>,
    header_time: Duration,
    keep_alive: Duration,
    /// Which request's headers arrive, and since when.
    headers: Option<(u64, Instant)>,
    silent: Option<(Instant, Pin<Box<Sleep>>)>,
    pace: Pace,
    /// How much longer it may be waited for.
    patience: Duration,
    stalled: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<T> Guard<T> {
    pub(crate) fn new(
        stream: T,
        state: Arc<State>,
        header_time: Duration,
        keep_alive: Duration,
        pace: Pace,
    ) -> Guard<T> {
        Guard {
            stream,
            state,
            header_time,
            keep_alive,
            headers: None,
            silent: None,
            pace,
            patience: pace.pause,
            stalled: None,
        }
    }

    /// Until when something has to arrive; `None` while a request is open, whose body has limits of its own.
    fn read_until(&self) -> Option<Instant> {
        let phase = *self.state.phase();
        if phase.requests > 0 {
            return None;
        }
        match self.headers {
            Some((request, since)) if request == phase.begun => Some(since + self.header_time),
            _ if phase.begun == 0 => Some(phase.since + self.header_time),
            _ => Some(phase.since + self.keep_alive),
        }
    }

    fn watch_silence(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Before the look, so that the end of a request after it wakes.
        self.state.reader.register(context.waker());
        let Some(until) = self.read_until() else {
            self.silent = None;
            return Poll::Pending;
        };
        let (_, sleep) = match &mut self.silent {
            Some(silent) if silent.0 == until => silent,
            silent => silent.insert((until, Box::pin(sleep_until(until)))),
        };
        match sleep.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no request came in time"))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn watch_pace(&mut self, context: &mut Context<'_>, progress: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        if let Some((since, _)) = &self.stalled
            && progress.is_ready()
        {
            self.patience = self.patience.saturating_sub(now - *since);
            self.stalled = None;
        }
        match &progress {
            Poll::Ready(Ok(bytes)) => {
                let bought = Duration::from_secs_f64(*bytes as f64 / self.pace.bytes_per_second.max(1) as f64);
                self.patience = self.patience.saturating_add(bought).min(self.pace.pause);
                progress
            }
            Poll::Ready(Err(_)) => progress,
            Poll::Pending => {
                let patience = self.patience;
                let (_, sleep) = self.stalled.get_or_insert_with(|| (now, Box::pin(sleep_until(now + patience))));
                match sleep.as_mut().poll(context) {
                    Poll::Ready(()) => {
                        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly")))
                    }
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buf) {
            Poll::Ready(Ok(())) => {
                // What comes while a request is open is its body, or the next one's begin.
                let phase = *self.state.phase();
                let is_known = self.headers.is_some_and(|(request, _)| request == phase.begun);
                if phase.requests == 0 && buf.filled().len() > before && !is_known {
                    self.headers = Some((phase.begun, Instant::now()));
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => self.watch_silence(context),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(context, buf);
        self.watch_pace(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(context, bufs);
        self.watch_pace(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(context).map_ok(|()| 0);
        self.watch_pace(context, progress).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(context).map_ok(|()| 0);
        self.watch_pace(context, progress).map_ok(|_| ())
    }
}
