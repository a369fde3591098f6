//! Connections: how many, how slow they may be, and how they end. HTTP/1.1.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const MAX_HEADER_BYTES: usize = 65_536;
const MAX_HEADERS: usize = 100;
/// After a failed accept (no file descriptor left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenerLimits {
    pub(crate) max_connections: usize,
    /// From the end of an answer (or the connect) to the end of the next request's headers.
    pub(crate) header_time: Duration,
    /// How long a client may take nothing of an answer.
    pub(crate) write_pause: Duration,
    /// How long open requests may go on after `stop`.
    pub(crate) drain_time: Duration,
}

/// Serves until `stop`, then lets open requests end.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: ListenerLimits, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(limits.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let connections = TaskTracker::new();
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, stream) = tokio::select! {
            () = stop.cancelled() => break,
            (slot, accepted) = accepted => match accepted {
                Ok((stream, _)) => (slot, stream),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let connection = connection(stream, router.clone(), limits, stop.clone());
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    connections.close();
    if timeout(limits.drain_time, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections are still open after the drain time");
    }
}

async fn connection(stream: TcpStream, router: Router, limits: ListenerLimits, stop: CancellationToken) {
    // Only latency is lost where this fails.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(WriteGuard::new(stream, limits.write_pause));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_time)
            .max_buf_size(MAX_HEADER_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(io, TowerToHyperService::new(router))
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// A stream whose writes fail when the peer takes nothing for too long: a client that stops reading must not hold an
/// answer's memory, or a query, for ever.
struct WriteGuard<T> {
    stream: T,
    pause: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> WriteGuard<T> {
    fn new(stream: T, pause: Duration) -> Self {
        Self { stream, pause, stalled: None }
    }

    fn watch<R>(&mut self, context: &mut Context<'_>, progress: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if progress.is_ready() {
            self.stalled = None;
            return progress;
        }
        let pause = self.pause;
        let sleep = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + pause)));
        match sleep.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client stopped reading"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WriteGuard<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WriteGuard<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(context, buf);
        self.watch(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(context, bufs);
        self.watch(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use bytes::Bytes;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    const LIMITS: ListenerLimits = ListenerLimits {
        max_connections: 2,
        header_time: Duration::from_millis(300),
        write_pause: Duration::from_millis(300),
        drain_time: Duration::from_millis(600),
    };

    /// A handler that says when it has begun, and ends when it is told to.
    #[derive(Default)]
    struct Held {
        begun: Notify,
        end: Notify,
    }

    impl Held {
        async fn answer(self: Arc<Self>) -> &'static str {
            self.begun.notify_one();
            self.end.notified().await;
            "held"
        }

        /// Fails after the first byte.
        async fn break_off(self: Arc<Self>) -> Body {
            let failure = async move {
                self.end.notified().await;
                Err(io::Error::other("failed"))
            };
            let pieces = futures::stream::iter([Ok(Bytes::from("[1,"))]);
            Body::from_stream(futures::StreamExt::chain(pieces, futures::stream::once(failure)))
        }
    }

    struct Server {
        address: SocketAddr,
        held: Arc<Held>,
        stop: CancellationToken,
        serving: JoinHandle<()>,
    }

    async fn endless() -> Body {
        let zeros = Bytes::from(vec![0; 65_536]);
        Body::from_stream(futures::stream::repeat_with(move || Ok::<_, io::Error>(zeros.clone())))
    }

    async fn start(limits: ListenerLimits) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let held = Arc::new(Held::default());
        let (answer, break_off) = (Arc::clone(&held), Arc::clone(&held));
        let router = Router::new()
            .route("/quick", get(async || "quick"))
            .route("/held", get(move || answer.answer()))
            .route("/endless", get(endless))
            .route("/broken", get(move || break_off.break_off()));
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, router, limits, stop.clone()));
        Server { address, held, stop, serving }
    }

    async fn ask(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// The answer up to and with `wanted`.
    async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
        let mut text = String::new();
        while !text.contains(wanted) {
            let mut bytes = [0; 1_024];
            let read = timeout(Duration::from_secs(5), stream.read(&mut bytes)).await.unwrap().unwrap();
            assert_ne!(read, 0, "the connection ends: {text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        text
    }

    async fn read_all(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes)).await;
        assert!(read.is_ok(), "the connection stays open");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn slow_headers_end_the_connection_and_free_its_slot() {
        let Server { address, .. } = start(LIMITS).await;
        let mut stalled = Vec::new();
        for _ in 0..LIMITS.max_connections {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /quick HTTP/1.1\r\nx-a: ").await.unwrap();
            stalled.push(stream);
        }
        // Waits for a slot.
        assert!(read_all(ask(address, "/quick").await).await.ends_with("quick"));
        for stream in stalled {
            assert!(!read_all(stream).await.contains("200 OK"));
        }
    }

    #[tokio::test]
    async fn a_client_that_stops_reading_is_cut_off() {
        let limits = ListenerLimits { drain_time: Duration::from_secs(60), ..LIMITS };
        let Server { address, stop, serving, .. } = start(limits).await;
        let mut unread = ask(address, "/endless").await;
        read_until(&mut unread, "200 OK").await;
        stop.cancel();
        timeout(Duration::from_secs(5), serving).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_error_after_the_first_byte_leaves_no_whole_body() {
        let Server { address, held, .. } = start(LIMITS).await;
        let mut open = ask(address, "/broken").await;
        let begin = read_until(&mut open, "[1,").await;
        held.end.notify_one();
        let answer = begin + &read_all(open).await;
        assert!(answer.contains("200 OK"), "{answer}");
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn open_requests_end_before_the_server_does() {
        let Server { address, held, stop, serving } = start(LIMITS).await;
        let open = ask(address, "/held").await;
        held.begun.notified().await;
        stop.cancel();
        // Stopping: no connection is taken any more.
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        held.end.notify_one();
        let answer = read_all(open).await;
        assert!(answer.ends_with("held"), "{answer}");
        serving.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
