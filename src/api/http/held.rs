//! What requests hold in memory, counted: their bodies as they arrive, what is made of them, and their answers until the
//! last byte is sent (contract A1, shares). A slow client costs its own share and nobody else's.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;
use crate::shares::{Over, Part, Share, Shares, Sizes, Taker};

/// How long a request waits for others to give something back.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longer than any query lasts: its deadline ends the wait.
const AS_LONG_AS_IT_LASTS: Duration = Duration::from_secs(86_400);
/// A piece of an answer as it goes to the connection: what is counted is given back while it is sent.
const SLICE_BYTES: usize = 64 << 10;
/// What one read of a conversation may need before it is known how large it is.
const READ_BYTES: usize = 16 << 20;
const READS: std::ops::RangeInclusive<usize> = 2..=64;

/// What all requests together may hold.
#[derive(Clone)]
pub(crate) struct RequestMemory {
    shares: Arc<Shares>,
    reads: Arc<Semaphore>,
}

impl RequestMemory {
    /// `largest`: what the largest single request needs, which everybody may have as long as it is there.
    pub(crate) fn new(bytes: usize, largest: usize) -> RequestMemory {
        let capacity = bytes.max(largest);
        let shares =
            Shares::new(Sizes { capacity, floor: largest, organization_part: Part(1, 1), key_part: Some(Part(1, 2)) });
        let reads = (capacity / READ_BYTES).clamp(*READS.start(), *READS.end());
        RequestMemory { shares, reads: Arc::new(Semaphore::new(reads)) }
    }

    pub(crate) fn shares(&self) -> &Arc<Shares> {
        &self.shares
    }

    pub(crate) fn of(&self, taker: Taker) -> Holder {
        Holder { memory: self.clone(), taker }
    }
}

/// What one caller's requests take from.
#[derive(Clone)]
pub(crate) struct Holder {
    memory: RequestMemory,
    taker: Taker,
}

impl Holder {
    pub(crate) fn nothing(&self) -> Held {
        Held(self.memory.shares.empty(self.taker.clone()))
    }

    /// At once or not at all.
    pub(crate) fn take(&self, bytes: usize) -> Result<Held, Problem> {
        let mut held = self.nothing();
        held.0.try_grow(bytes).map(|()| held).map_err(refusal)
    }

    /// A chunk of an answer that counts until its last byte is sent; waits as long as whoever asks does.
    pub(crate) async fn counted(&self, chunk: Vec<u8>) -> Bytes {
        let mut held = self.nothing();
        // The wait ends with the query or the connection, long before.
        let _ = held.0.grow(chunk.capacity(), AS_LONG_AS_IT_LASTS).await;
        Bytes::from_owner(Owned { bytes: chunk.into(), _kept: Arc::new(Kept { held: vec![held], open: None }) })
    }

    /// Of all that read whole conversations, whose size is known only then, few do so at once.
    pub(crate) async fn turn_to_read(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.memory.reads).acquire_owned().await.map_err(|_| Problem::internal())
    }
}

/// Bytes that a request holds.
pub(crate) struct Held(Share);

impl Held {
    /// Waits a little for others.
    pub(crate) async fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        self.0.grow(bytes, PATIENCE).await.map_err(refusal)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.amount() == 0
    }
}

fn refusal(over: Over) -> Problem {
    match over {
        Over::Own => Problem::too_many(
            "the requests of this key, or of its organization or address, hold as much memory as their share is",
            PATIENCE,
        ),
        Over::All => Problem::unavailable("the requests of all together hold all the memory that there is for them", 1),
    }
}

/// What is kept until the last byte of an answer is sent.
pub(crate) struct Kept {
    pub(crate) held: Vec<Held>,
    /// The connection's, of those with a request.
    pub(crate) open: Option<Share>,
}

struct Owned {
    bytes: Bytes,
    _kept: Arc<Kept>,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pub(crate) fn holding(body: Body, kept: Kept) -> Body {
    if kept.held.is_empty() && kept.open.is_none() {
        return body;
    }
    Body::new(Sent { body, left: Bytes::new(), kept: Arc::new(kept) })
}

struct Sent {
    body: Body,
    /// Of a frame, what is not handed on yet.
    left: Bytes,
    kept: Arc<Kept>,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.left.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.left = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.left.len().min(SLICE_BYTES);
        let bytes = self.left.split_to(length);
        // Whoever has these bytes in a buffer holds what they cost.
        let bytes = Bytes::from_owner(Owned { bytes, _kept: Arc::clone(&self.kept) });
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (left, inner) = (self.left.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(left));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(left));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn taker(key: &str) -> Taker {
        Taker { organization: key.into(), key: key.into(), address: None }
    }

    #[tokio::test]
    async fn what_is_held_counts_until_its_last_byte_is_gone() {
        let memory = RequestMemory::new(1_000_000, 1_000);
        let mut held = memory.of(taker("a")).nothing();
        held.grow(200_000).await.unwrap();
        let mut body = holding(Body::from(vec![b'x'; 150_000]), Kept { held: vec![held], open: None });
        assert_eq!(hyper::body::Body::size_hint(&body).exact(), Some(150_000));
        let mut buffered = Vec::new();
        while let Some(frame) = body.frame().await {
            buffered.push(frame.unwrap().into_data().unwrap());
            assert!(buffered.last().is_some_and(|slice| slice.len() <= SLICE_BYTES));
        }
        drop(body);
        assert_eq!(buffered.iter().map(Bytes::len).sum::<usize>(), 150_000);
        buffered.truncate(1);
        assert_eq!(memory.shares().held().0, 200_000);
        buffered.clear();
        assert_eq!(memory.shares().held().0, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_that_is_over_is_told_from_all_that_is() {
        let memory = RequestMemory::new(1_200, 10);
        let (one, other) = (memory.of(taker("a")), memory.of(taker("b")));
        let held = one.take(300).unwrap();
        let status = |refused: Result<Held, Problem>| refused.err().map(|problem| problem.status().as_u16());
        assert_eq!(status(one.take(100)), Some(429));
        assert_eq!(status(other.take(1_000)), Some(503));
        assert_eq!(status(other.take(200)), None);
        let chunk = one.counted(vec![0; 10]);
        tokio::pin!(chunk);
        assert!(futures::poll!(&mut chunk).is_pending());
        drop(held);
        drop(chunk.await);
        assert_eq!(memory.shares().held().0, 0);
    }
}
