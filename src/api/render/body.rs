//! The body of an answer, which leaves while its rows are read.
//!
//! A task on the query threads reads the rows and encodes them into a short channel of chunks. A client that does not
//! read makes the task wait, so that a few chunks of its answer are in memory, however long the rows are; one that went
//! away drops the body, and with it the task. The headers go out after the first chunk, so that a limit that a query
//! hits before still gets its status; an error after that breaks the connection off, for a cut body must not look like
//! an answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use super::encoder::Encoder;
use crate::query::admission::Task;
use crate::query::error::QueryError;
use crate::query::execute::row_stream::RowStream;

/// A chunk is sent once it has this many bytes.
const CHUNK_BYTES: usize = 64 << 10;
/// Of a client that does not read.
const WAITING_CHUNKS: usize = 4;

/// Reads rows on the query threads.
pub(crate) type ReadRows = Box<dyn FnOnce(RowStream) -> BoxFuture<'static, Result<(), QueryError>> + Send>;

/// What encodes an answer, and where its chunks come out.
pub(crate) fn encode(encoder: impl Encoder) -> (ReadRows, Chunks) {
    let (sender, receiver) = mpsc::channel(WAITING_CHUNKS);
    (Box::new(move |rows| Box::pin(write(rows, encoder, sender))), Chunks(receiver))
}

async fn write(mut rows: RowStream, mut encoder: impl Encoder, sender: mpsc::Sender<Bytes>) -> Result<(), QueryError> {
    let send = async |chunk: &mut Vec<u8>| {
        let sent = sender.send(Bytes::from(std::mem::take(chunk))).await;
        sent.map_err(|_| QueryError::Internal("the client is gone".into()))
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
    encoder.close(rows.total(), &mut chunk);
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
