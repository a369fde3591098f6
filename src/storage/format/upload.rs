//! From a writer on a blocking thread to the object store.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use xxhash_rust::xxh3::Xxh3;

use super::checked::{BlockHasher, DATA_BLOCK_BYTES};
use super::error::FileError;

/// What an object's writer gave, the xxh3-128 of the object, and the checksums of its blocks.
pub(crate) struct Uploaded<T> {
    pub(crate) content: T,
    pub(crate) checksum: u128,
    pub(crate) blocks: Vec<u64>,
}

/// Runs `write` on a blocking thread and stores what it writes under `path`, once it has succeeded.
pub(crate) async fn upload<T: Send + 'static>(
    store: &Arc<dyn ObjectStore>,
    path: Path,
    write: impl FnOnce(ChannelWriter) -> Result<T, FileError> + Send + 'static,
) -> Result<Uploaded<T>, FileError> {
    let (sender, mut receiver) = mpsc::channel(CHANNEL_CHUNKS);
    let encoding = tokio::task::spawn_blocking(move || write(ChannelWriter { sender, buffer: Vec::new() }));
    let mut object = BufWriter::new(store.clone(), path.clone());
    let mut stored = Ok(());
    let (mut hash, mut blocks) = (Xxh3::new(), BlockHasher::new(DATA_BLOCK_BYTES));
    while let Some(chunk) = receiver.recv().await {
        hash.update(&chunk);
        blocks.update(&chunk);
        stored = object.put(chunk).await;
        if stored.is_err() {
            break;
        }
    }
    // Ends the encoding too when storing failed.
    drop(receiver);
    let encoded = encoding.await.unwrap_or_else(|_| Err(FileError::Aborted { path: path.clone() }));
    match (stored, encoded) {
        (Ok(()), Ok(value)) => match object.shutdown().await {
            Ok(()) => Ok(Uploaded { content: value, checksum: hash.digest128(), blocks: blocks.finish() }),
            Err(source) => Err(FileError::Write { path, source }),
        },
        (stored, encoded) => {
            // Nothing refers to what was stored of it; garbage collection takes what an abort leaves behind.
            let _ = object.abort().await;
            stored?;
            encoded.and(Err(FileError::Aborted { path }))
        }
    }
}

const CHANNEL_CHUNKS: usize = 4;
const CHUNK_BYTES: usize = 1 << 20;

/// Hands bytes from a blocking thread to [`upload()`]; waits while the store is slower.
pub(crate) struct ChannelWriter {
    sender: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
}

impl ChannelWriter {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender.blocking_send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    /// The last bytes leave here: the Parquet writer flushes after its footer.
    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}
