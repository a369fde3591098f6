//! The body of an answer, which leaves while its rows are read.
//!
//! A task on the query threads reads the rows and encodes them into a short channel of chunks. A client that does not
//! read makes the task wait, so that a few chunks of its answer are in memory, however long the rows are; one that went
//! away drops the body, and with it the task. The headers go out after the first chunk, so that a limit that a query
//! hits before still gets its status; an error after that breaks the connection off, for a cut body must not look like
//! an answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::encoder::{Encoder, End};
use crate::api::http::held::Holder;
use crate::query::admission::{Slot, Task};
use crate::query::error::QueryError;
use crate::query::execute::row_stream::RowStream;

/// A chunk is sent once it has this many bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// Of a client that does not read.
const WAITING_CHUNKS: usize = 4;
/// A client that lets an answer wait for longer keeps no other from asking.
const SLOW: Duration = Duration::from_secs(1);

/// Reads rows on the query threads.
pub(crate) type ReadRows = Box<dyn FnOnce(RowStream) -> BoxFuture<'static, Result<(), QueryError>> + Send>;

/// What encodes an answer, and where its chunks come out, which count as `holder`'s until they are sent.
pub(crate) fn encode(encoder: impl Encoder, holder: Holder) -> (ReadRows, Chunks) {
    let (sender, receiver) = mpsc::channel(WAITING_CHUNKS);
    (Box::new(move |rows| Box::pin(write(rows, encoder, holder, sender))), Chunks(receiver))
}

async fn write(
    mut rows: RowStream,
    mut encoder: impl Encoder,
    holder: Holder,
    sender: mpsc::Sender<Bytes>,
) -> Result<(), QueryError> {
    let slot = rows.slot().cloned();
    let send = async |chunk: &mut Vec<u8>| {
        let place = sender.reserve();
        let mut place = std::pin::pin!(place);
        let place = match timeout(SLOW, place.as_mut()).await {
            Ok(place) => place,
            Err(_) => {
                slot.iter().for_each(Slot::waits_for_its_client);
                place.await
            }
        };
        let place = place.map_err(|_| QueryError::Internal("the client is gone".into()))?;
        place.send(holder.counted(std::mem::take(chunk)).await);
        Ok::<_, QueryError>(())
    };
    let mut chunk = Vec::new();
    encoder.open(rows.columns(), &mut chunk)?;
    while let Some(batch) = rows.next().await? {
        let (mut next, end) = (0, batch.num_rows());
        while next < end {
            next = encoder.write_batch(&batch, &mut chunk, next..end, CHUNK_BYTES)?;
            if chunk.len() > CHUNK_BYTES {
                send(&mut chunk).await?;
            }
        }
    }
    encoder.close(End { total: rows.total(), totals: rows.totals() }, &mut chunk)?;
    if chunk.is_empty() { Ok(()) } else { send(&mut chunk).await }
}

/// The chunks of an answer whose task has not been started yet.
pub(crate) struct Chunks(mpsc::Receiver<Bytes>);

impl Chunks {
    /// The body, once its first chunk is there. `what` is answered, for the log.
    pub(crate) async fn body(self, task: Task<()>, what: &'static str) -> Result<Body, QueryError> {
        let mut chunks = Answer { chunks: self.0, task: Some(task) };
        let first = match chunks.next().await {
            Some(first) => first?,
            None => return Err(QueryError::Internal(format!("the {what} gave no output"))),
        };
        let rest = chunks.inspect_err(move |error| tracing::warn!(%error, "{what} failed after its first byte"));
        Ok(Body::from_stream(futures::stream::iter([Ok(first)]).chain(rest)))
    }
}

/// The chunks of a task, and its error as the last item.
struct Answer {
    chunks: mpsc::Receiver<Bytes>,
    /// `None` once it has ended.
    task: Option<Task<()>>,
}

impl Stream for Answer {
    type Item = Result<Bytes, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(chunk) = ready!(self.chunks.poll_recv(context)) {
            return Poll::Ready(Some(Ok(chunk)));
        }
        let Some(task) = &mut self.task else { return Poll::Ready(None) };
        let ended = ready!(Pin::new(task).poll(context));
        self.task = None;
        Poll::Ready(ended.err().map(Err))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt;

    use super::*;
    use crate::query::admission::{Admission, AdmissionOptions};

    fn admission() -> Admission {
        let (slot_wait, deadline) = (Duration::from_secs(60), Duration::from_secs(60));
        Admission::new(&AdmissionOptions { threads: 1, slots: 1, export_slots: 1, slot_wait, deadline }).unwrap()
    }

    /// A task that sends so many chunks and ends like that, and how many it has sent.
    fn answer(
        admission: &Admission,
        chunks: usize,
        end: Result<(), QueryError>,
    ) -> (Chunks, Task<()>, Arc<AtomicUsize>) {
        let (sender, receiver) = mpsc::channel(WAITING_CHUNKS);
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let task = admission.spawn(async move {
            for _ in 0..chunks {
                sender.send(Bytes::from_static(b"chunk")).await.map_err(|_| QueryError::NoMemory)?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            end
        });
        (Chunks(receiver), task, sent)
    }

    #[tokio::test]
    async fn an_error_before_the_first_chunk_is_the_answer() {
        let admission = admission();
        let (chunks, task, _) = answer(&admission, 0, Err(QueryError::Deadline { seconds: 3 }));
        assert_eq!(chunks.body(task, "query").await.err(), Some(QueryError::Deadline { seconds: 3 }));
        let (chunks, task, _) = answer(&admission, 0, Ok(()));
        assert!(matches!(chunks.body(task, "query").await.err(), Some(QueryError::Internal(_))));
    }

    #[tokio::test]
    async fn an_error_after_the_first_chunk_breaks_the_body_off() {
        let admission = admission();
        let (chunks, task, _) = answer(&admission, 9, Err(QueryError::Deadline { seconds: 3 }));
        assert!(chunks.body(task, "query").await.unwrap().collect().await.is_err());
        let (chunks, task, _) = answer(&admission, 9, Ok(()));
        let whole = chunks.body(task, "query").await.unwrap().collect().await.unwrap().to_bytes();
        assert_eq!(whole, "chunk".repeat(9));
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_holds_a_few_chunks_and_one_that_left_ends_the_task() {
        let admission = admission();
        let (chunks, task, sent) = answer(&admission, 1_000, Ok(()));
        let body = chunks.body(task, "query").await.unwrap();
        while sent.load(Ordering::Relaxed) <= WAITING_CHUNKS {
            tokio::task::yield_now().await;
        }
        // Nothing that runs later on the one query thread finds more of them.
        let sent_by_then = Arc::clone(&sent);
        let then = admission.spawn(async move { Ok(sent_by_then.load(Ordering::Relaxed)) });
        assert_eq!(then.await, Ok(WAITING_CHUNKS + 1));
        drop(body);
        while Arc::strong_count(&sent) > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(sent.load(Ordering::Relaxed), WAITING_CHUNKS + 1);
    }
}
