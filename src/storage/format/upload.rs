//! From a writer on a blocking thread to the object store.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use xxhash_rust::xxh3::Xxh3;

use super::checked::{BlockHasher, DATA_BLOCK_BYTES};
use super::error::FileError;
use crate::storage::error::{Cause, ErrorKind};

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
    let (mut hash, mut blocks, mut size) = (Xxh3::new(), BlockHasher::new(DATA_BLOCK_BYTES), 0);
    while let Some(chunk) = receiver.recv().await {
        hash.update(&chunk);
        blocks.update(&chunk);
        size += chunk.len() as u64;
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
            Err(source) => match settled(store, &path, size, source).await {
                Ok(()) => Ok(Uploaded { content: value, checksum: hash.digest128(), blocks: blocks.finish() }),
                Err(source) => Err(FileError::Write { path, source }),
            },
        },
        (stored, encoded) => {
            // Nothing refers to what was stored of it; garbage collection takes what an abort leaves behind.
            let _ = object.abort().await;
            stored?;
            encoded.and(Err(FileError::Aborted { path }))
        }
    }
}

/// An object that is written in parts is there whole or not at all, and nobody else has its name: where it is there, only
/// the answer was lost. (S3 says that there is no such upload when its end is asked for again.)
async fn settled(store: &Arc<dyn ObjectStore>, path: &Path, size: u64, failure: io::Error) -> Result<(), io::Error> {
    if Cause::kind(&failure) == ErrorKind::Restart {
        return Err(failure);
    }
    match store.head(path).await {
        Ok(found) if found.size == size => {
            tracing::warn!(object = %path, error = %failure, "written, though the store's answer was lost");
            Ok(())
        }
        // A missing upload says nothing of what is stored.
        _ if Cause::kind(&failure) == ErrorKind::Damaged => Err(io::Error::other(failure.to_string())),
        _ => Err(failure),
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

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::storage::objects::faulty::{Fault, FlakyStore};

    /// More than goes in one request.
    const LARGE: usize = 25 << 20;

    async fn uploaded(fault: Fault, length: usize) -> (Arc<dyn ObjectStore>, Result<Uploaded<()>, FileError>) {
        let store: Arc<dyn ObjectStore> = Arc::new(FlakyStore::new(Arc::new(InMemory::new()), &[fault]));
        let write = move |mut writer: ChannelWriter| {
            writer
                .write_all(&vec![7; length])
                .and_then(|()| writer.flush())
                .map_err(|_| FileError::Aborted { path: Path::from("x") })
        };
        let uploaded = upload(&store, Path::from("events/data/a.parquet"), write).await;
        (store, uploaded)
    }

    #[tokio::test]
    async fn an_end_whose_answer_was_lost_is_an_end() {
        for fault in [Fault::AnswerLost, Fault::MetAgain] {
            let (store, uploaded) = uploaded(fault, LARGE).await;
            assert_eq!(uploaded.unwrap().blocks.len(), LARGE.div_ceil(DATA_BLOCK_BYTES as usize), "{fault:?}");
            assert_eq!(store.head(&Path::from("events/data/a.parquet")).await.unwrap().size, LARGE as u64);
        }
    }

    #[tokio::test]
    async fn an_end_that_did_not_come_is_tried_again_by_whoever_wants_the_file() {
        let (_, uploaded) = uploaded(Fault::NotWritten, LARGE).await;
        assert_eq!(uploaded.err().unwrap().kind(), ErrorKind::Retry);
    }
}
