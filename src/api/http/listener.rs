//! Connections: how many, how slow they may be, and how they end. HTTP/1.1.
//!
//! A connection without a request is nobody's ([`super::connection`]): where there are as many as there may be, the one
//! that has been idle for the longest makes room for a new one. Where all of them have requests, one more is taken, on
//! which only `/health` is answered.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Connections, Guard, Pace};

/// What a connection may have of a request in memory before it is read.
pub(crate) const MAX_HEADER_BYTES: usize = 65_536;
const MAX_HEADERS: usize = 100;
/// After a failed accept (no file descriptor left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenerLimits {
    pub(crate) max_connections: usize,
    /// From the connect, or from a request's first byte, to the end of its headers.
    pub(crate) header_time: Duration,
    /// From the end of an answer to the first byte of the next request.
    pub(crate) keep_alive: Duration,
    /// How slowly a client may take an answer.
    pub(crate) pace: Pace,
    /// How long open requests may go on after `stop`.
    pub(crate) drain_time: Duration,
}

/// From where a request comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Marks a request on the connection beyond the limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverLimit;

/// Serves until `stop`, then lets open requests end.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: ListenerLimits, stop: CancellationToken) {
    let open = Connections::new(limits.max_connections.max(1));
    let tasks = TaskTracker::new();
    loop {
        let accepted = async {
            let accepted = listener.accept().await;
            if accepted.is_ok() {
                open.room().await;
            }
            accepted
        };
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => match accepted {
                Ok((stream, address)) => (stream, Peer(address.ip().to_canonical())),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let connection = open.take();
        tasks.spawn(serve_one(stream, peer, connection, router.clone(), limits, stop.clone()));
    }
    drop(listener);
    tasks.close();
    if timeout(limits.drain_time, tasks.wait()).await.is_err() {
        tracing::warn!(open = tasks.len(), "connections are still open after the drain time");
    }
}

async fn serve_one(
    stream: TcpStream,
    peer: Peer,
    connection: Connection,
    router: Router,
    limits: ListenerLimits,
    stop: CancellationToken,
) {
    // Only latency is lost where this fails.
    let _ = stream.set_nodelay(true);
    let (state, is_over_limit) = (Arc::clone(connection.state()), connection.is_over_limit());
    let io = TokioIo::new(Guard::new(stream, Arc::clone(&state), limits.header_time, limits.keep_alive, limits.pace));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        if is_over_limit {
            request.extensions_mut().insert(OverLimit);
        }
        let busy = state.begin_request();
        let answer = hyper::service::Service::call(&router, request);
        async move { answer.await.map(|response| response.map(|body| busy.until_sent(body))) }
    });
    let mut serving = pin!(
        http1::Builder::new()
            // The guard of the stream knows how long is too long.
            .header_read_timeout(None)
            .max_buf_size(MAX_HEADER_BYTES)
            .max_headers(MAX_HEADERS)
            .serve_connection(io, service)
    );
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        // Another connection needs the place.
        () = connection.displaced() => return,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use axum::body::Body;
    use axum::routing::get;
    use bytes::Bytes;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    const LIMITS: ListenerLimits = ListenerLimits {
        max_connections: 2,
        header_time: Duration::from_millis(300),
        keep_alive: Duration::from_millis(300),
        pace: Pace { pause: Duration::from_millis(300), bytes_per_second: 1_000 },
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

    /// What the kernel takes for a client that does not read ends some time.
    #[tokio::test]
    async fn a_client_that_reads_too_slowly_is_cut_off() {
        let pace = Pace { pause: Duration::from_millis(300), bytes_per_second: 10_000_000 };
        let Server { address, .. } = start(ListenerLimits { pace, ..LIMITS }).await;
        let mut slow = ask(address, "/endless").await;
        let begin = Instant::now();
        let mut bytes = [0; 16_384];
        while slow.read(&mut bytes).await.is_ok_and(|read| read > 0) {
            assert!(begin.elapsed() < Duration::from_secs(30), "it reads on and on");
            sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn the_one_that_is_idle_longest_makes_room() {
        let pace = Pace { pause: Duration::from_secs(60), ..LIMITS.pace };
        let long = Duration::from_secs(60);
        let limits = ListenerLimits { header_time: long, keep_alive: long, pace, ..LIMITS };
        let Server { address, held, .. } = start(limits).await;
        let first = TcpStream::connect(address).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        let mut second = ask(address, "/quick").await;
        read_until(&mut second, "quick").await;
        let mut third = ask(address, "/quick").await;
        read_until(&mut third, "quick").await;
        assert_eq!(read_all(first).await, "", "the first one is closed");
        // Those that are used stay.
        for stream in [&mut second, &mut third] {
            stream.write_all(b"GET /quick HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            read_until(stream, "quick").await;
        }
        // With a request on each of them, one more is taken.
        for stream in [&mut second, &mut third] {
            stream.write_all(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            held.begun.notified().await;
        }
        let mut beyond = ask(address, "/quick").await;
        read_until(&mut beyond, "quick").await;
        held.end.notify_one();
        held.end.notify_one();
    }

    /// Proxies keep connections longer than a request's headers may take.
    #[tokio::test]
    async fn an_idle_connection_outlives_the_time_for_headers() {
        let limits = ListenerLimits { keep_alive: Duration::from_secs(2), ..LIMITS };
        let Server { address, .. } = start(limits).await;
        let mut stream = ask(address, "/quick").await;
        read_until(&mut stream, "quick").await;
        sleep(Duration::from_millis(800)).await;
        stream.write_all(b"GET /quick HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        read_until(&mut stream, "quick").await;
        let begin = Instant::now();
        stream.write_all(b"GET /quick HTTP/1.1\r\nx-a: ").await.unwrap();
        read_all(stream).await;
        assert!(begin.elapsed() < Duration::from_millis(1_500), "its next headers took {:?}", begin.elapsed());
        let mut idle = ask(address, "/quick").await;
        read_until(&mut idle, "quick").await;
        let begin = Instant::now();
        read_all(idle).await;
        assert!(begin.elapsed() > Duration::from_millis(1_500), "closed after {:?}", begin.elapsed());
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
