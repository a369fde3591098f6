//! Reading a request's body within its limits (contract A1): size, also once decompressed; time; and the bytes that all
//! requests hold together.

use std::io::Read;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::held::Held;
use super::problem::Problem;

/// 2 MB (published), decompressed.
pub(crate) const MAX_BODY_BYTES: usize = 2_097_152;
/// Compressed bytes may be a little more than what they decompress to.
const MAX_COMPRESSED_BYTES: usize = MAX_BODY_BYTES + 65_536;
/// RFC 9659: the window that every zstd decoder for HTTP takes, and the most that it needs to.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Work on more bytes than this leaves the event loop.
const INLINE_BYTES: usize = 65_536;
/// What is read and thrown away after a refusal, so that a client that is still sending gets to read the answer.
const DRAIN_BYTES: usize = 8 * MAX_BODY_BYTES;
const DRAIN_TIME: Duration = Duration::from_secs(3);
/// A byte of a body counts as itself and as what is made of it.
const COPIES: usize = 2;
/// What is made of an object beyond its text, a message for example; and the shortest object that is one of many.
const OBJECT_BYTES: usize = 384;
const SHORTEST_OBJECT: usize = 28;
/// What the largest body comes to, whatever is in it.
pub(crate) const LARGEST_REQUEST: usize =
    COPIES * (MAX_BODY_BYTES + MAX_COMPRESSED_BYTES) + MAX_BODY_BYTES / SHORTEST_OBJECT * OBJECT_BYTES;
/// A step of decompression.
const DECOMPRESS_BYTES: usize = 256 << 10;

#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// For the next piece of a body; the whole may take six times as long.
    pause: Duration,
}

/// A whole body.
#[derive(Debug)]
pub(crate) struct Payload {
    bytes: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl BodyLimits {
    pub(crate) fn new(pause: Duration) -> Self {
        Self { pause }
    }

    /// A JSON body. 415 for another type or an unknown encoding, 413 beyond the limit, 400 for broken compression or a
    /// body that does not arrive, 429 and 503 when too much is held. `held` grows as the body arrives, never by what is
    /// announced, and by what will be made of it.
    pub(crate) async fn read_json(
        self,
        headers: &HeaderMap,
        body: &mut Body,
        held: &mut Held,
    ) -> Result<Payload, Problem> {
        check_content_type(headers)?;
        let encoding = encoding(headers)?;
        let limit = if encoding == Encoding::Identity { MAX_BODY_BYTES } else { MAX_COMPRESSED_BYTES };
        let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(Problem::too_large(MAX_BODY_BYTES));
        }
        let arrived = timeout(6 * self.pause, collect(body, limit, self.pause, held)).await;
        let mut bytes = arrived.unwrap_or_else(|_| Err(too_slow()))?;
        if encoding != Encoding::Identity {
            bytes = decompress(bytes, encoding, held).await?;
        }
        let objects = bytes.iter().filter(|byte| **byte == b'{').count();
        held.grow(objects.min(bytes.len() / SHORTEST_OBJECT) * OBJECT_BYTES).await?;
        Ok(Payload { bytes })
    }
}

impl Payload {
    /// Runs `work` on the bytes, away from the event loop if they are many.
    pub(crate) async fn parse<T: Send + 'static>(
        self,
        work: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let Payload { bytes } = self;
        sized(bytes.len(), move || work(&bytes)).await
    }
}

/// Runs work on about `bytes` bytes: at once, or away from the event loop if they are many.
pub(crate) async fn sized<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    if bytes > INLINE_BYTES { blocking(work).await } else { Ok(work()) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::internal())
}

/// Reads on for a moment after a refusal. Gives up silently: the connection closes then.
pub(crate) async fn drain(body: &mut Body) {
    let reading = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let read = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(read) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Time is up: nothing more to do for this client.
    let _ = timeout(DRAIN_TIME, reading).await;
}

async fn collect(body: &mut Body, limit: usize, pause: Duration, held: &mut Held) -> Result<Bytes, Problem> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = timeout(pause, body.frame()).await.map_err(|_| too_slow())? {
        let frame = frame.map_err(|_| Problem::bad_request("the body broke off").closing())?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(Problem::too_large(MAX_BODY_BYTES));
        }
        held.grow(COPIES * data.len()).await?;
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

fn too_slow() -> Problem {
    Problem::bad_request("the body did not arrive in time").closing()
}

/// Never makes more than the limit, whatever the input says about its size.
async fn decompress(input: Bytes, encoding: Encoding, held: &mut Held) -> Result<Bytes, Problem> {
    let mut output = BytesMut::new();
    // In steps, each away from the event loop, so that each is counted before the next is made.
    let mut reader = decoder(input, encoding)?;
    loop {
        let (read, back) = blocking(move || {
            let mut step = Vec::new();
            let read = reader.by_ref().take(DECOMPRESS_BYTES as u64).read_to_end(&mut step);
            (read.map(|_| step), reader)
        })
        .await?;
        reader = back;
        let step = read.map_err(|_| broken())?;
        let is_last = step.len() < DECOMPRESS_BYTES;
        if output.len() + step.len() > MAX_BODY_BYTES {
            return Err(Problem::too_large(MAX_BODY_BYTES));
        }
        held.grow(COPIES * step.len()).await?;
        output.extend_from_slice(&step);
        if is_last {
            return Ok(output.freeze());
        }
    }
}

fn decoder(input: Bytes, encoding: Encoding) -> Result<Box<dyn Read + Send>, Problem> {
    let input = std::io::Cursor::new(input);
    Ok(match encoding {
        Encoding::Identity => Box::new(input),
        Encoding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(|_| broken())?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| broken())?;
            Box::new(decoder)
        }
    })
}

fn broken() -> Problem {
    Problem::bad_request("the body is not what its Content-Encoding says")
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    match single(headers, CONTENT_ENCODING)?.map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "identity") => Ok(Encoding::Identity),
        Some("gzip" | "x-gzip") => Ok(Encoding::Gzip),
        Some("zstd") => Ok(Encoding::Zstd),
        Some(_) => Err(Problem::unsupported("Content-Encoding: gzip, zstd or none is allowed")),
    }
}

/// `application/json`; of its parameters only a charset other than UTF-8 matters.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let refusal = || Problem::unsupported("Content-Type: application/json in UTF-8 is needed");
    let text = single(headers, CONTENT_TYPE)?.ok_or_else(refusal)?;
    let mut parts = text.split(';').map(str::trim);
    if !parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Err(refusal());
    }
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        if name.trim().eq_ignore_ascii_case("charset")
            && !value.eq_ignore_ascii_case("utf-8")
            && !value.eq_ignore_ascii_case("utf8")
        {
            return Err(refusal());
        }
    }
    Ok(())
}

/// 415 if the header is there twice or is no text.
fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(&name).iter();
    let (first, second) = (values.next(), values.next());
    match (first.map(|value| value.to_str()), second) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text)),
        _ => Err(Problem::unsupported(format!("{name}: one plain value is allowed"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::held::RequestMemory;
    use crate::shares::Taker;
    use axum::http::HeaderValue;
    use std::io::Write;

    fn limits() -> BodyLimits {
        BodyLimits::new(Duration::from_millis(100))
    }

    fn memory() -> RequestMemory {
        RequestMemory::new(4 * LARGEST_REQUEST, LARGEST_REQUEST)
    }

    fn held(memory: &RequestMemory) -> Held {
        memory.of(Taker::default()).nothing()
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    async fn read(encoding: &str, bytes: Vec<u8>) -> Result<usize, u16> {
        let headers = headers(&[(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, encoding)]);
        let mut held = held(&memory());
        let payload = limits().read_json(&headers, &mut Body::from(bytes), &mut held).await;
        payload.map(|payload| payload.bytes.len()).map_err(|problem| problem.status().as_u16())
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn the_limit_holds_on_the_decompressed_size() {
        for (size, expected) in [
            (0, Ok(0)),
            (MAX_BODY_BYTES, Ok(MAX_BODY_BYTES)),
            (MAX_BODY_BYTES + 1, Err(413)),
            (50 * MAX_BODY_BYTES, Err(413)),
        ] {
            let plain = vec![b' '; size];
            assert_eq!(read("gzip", gzip(&plain)).await, expected, "gzip {size}");
            assert_eq!(read("ZSTD", zstd::encode_all(&plain[..], 1).unwrap()).await, expected, "zstd {size}");
            assert_eq!(read("identity", plain).await, expected, "plain {size}");
        }
    }

    #[tokio::test]
    async fn broken_compression_is_a_bad_request() {
        let mut cut = gzip(&[b'x'; 10_000]);
        cut.truncate(cut.len() - 4);
        let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        wide.window_log(27).unwrap();
        wide.write_all(b"{}").unwrap();
        let wide = wide.finish().unwrap();
        for (encoding, bytes) in
            [("gzip", b"{}".to_vec()), ("gzip", cut), ("zstd", b"{}".to_vec()), ("zstd", wide), ("gzip", Vec::new())]
        {
            assert_eq!(read(encoding, bytes).await, Err(400), "{encoding}");
        }
        assert_eq!(read("br", b"{}".to_vec()).await, Err(415));
        assert_eq!(read("gzip, gzip", b"{}".to_vec()).await, Err(415));
    }

    #[tokio::test]
    async fn only_json_in_utf_8_is_taken() {
        for (value, allowed) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json;charset=\"utf-8\"", true),
            ("application/json; charset=latin1", false),
            ("application/problem+json", false),
            ("text/plain", false),
            ("", false),
        ] {
            assert_eq!(check_content_type(&headers(&[(CONTENT_TYPE, value)])).is_ok(), allowed, "{value}");
        }
        assert!(check_content_type(&HeaderMap::new()).is_err());
    }

    #[tokio::test]
    async fn a_stalled_body_is_given_up() {
        let stalled = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        let headers = headers(&[(CONTENT_TYPE, "application/json")]);
        let mut held = held(&memory());
        let read = limits().read_json(&headers, &mut Body::from_stream(stalled), &mut held).await;
        let problem = read.unwrap_err();
        assert_eq!(problem.status().as_u16(), 400);
    }

    /// Nothing is counted of what is announced, and all of what has arrived.
    #[tokio::test]
    async fn bodies_count_as_they_arrive() {
        let memory = memory();
        let two_mb = MAX_BODY_BYTES.to_string();
        let headers = headers(&[(CONTENT_TYPE, "application/json"), (CONTENT_LENGTH, &two_mb)]);
        let (sender, receiver) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();
        let mut body = Body::from_stream(receiver);
        let mut held = held(&memory);
        let mut reading = Box::pin(limits().read_json(&headers, &mut body, &mut held));
        for arrived in 0..3 {
            assert!(futures::poll!(&mut reading).is_pending());
            assert_eq!(memory.shares().held().0, COPIES * 10 * arrived);
            sender.unbounded_send(Ok(Bytes::from_static(b"0123456789"))).unwrap();
        }
        drop(sender);
        assert_eq!(reading.await.unwrap().bytes.len(), 30);
    }

    /// Many small objects take more memory than their text.
    #[tokio::test]
    async fn what_is_made_of_a_body_counts() {
        let memory = memory();
        let headers = headers(&[(CONTENT_TYPE, "application/json")]);
        let messages = br#"{"role":"user","content":""},"#.repeat(MAX_BODY_BYTES / 29);
        let mut held = held(&memory);
        limits().read_json(&headers, &mut Body::from(messages), &mut held).await.unwrap();
        let all = memory.shares().held().0;
        assert!((30_000_000..=LARGEST_REQUEST).contains(&all), "{all}");
        drop(held);
        assert_eq!(memory.shares().held().0, 0);
    }
}
