//! The write-ahead log's objects: one group of operations each, under `wal/<number of 20 digits>`.
//!
//! ```text
//! magic (8) | compressed length (u64) | plain length (u64) | xxh3-64 of both lengths and the body (u64) | body
//! ```
//! Integers are little-endian. The body is zstd: a header as a JSON line, then an operation as a JSON line each.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use xxhash_rust::xxh3::Xxh3;

use crate::model::ids::WalPosition;
use crate::storage::error::{Cause, ErrorKind};

const FOLDER: &str = "wal";
const MAGIC: [u8; 8] = *b"CLWAL\x00\r\n";
const HEAD_BYTES: usize = 32;
/// What is written.
const FORMAT: u32 = 1;
const READS: RangeInclusive<u32> = 1..=FORMAT;
const ZSTD_LEVEL: i32 = 1;
/// Bounds what a reader allocates; a group is far smaller.
const MAX_PLAIN_BYTES: u64 = 4 << 30;
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub(crate) enum WalError {
    #[error("the log object is cut: it has {actual} bytes, {expected} are needed")]
    Truncated { expected: u64, actual: u64 },
    #[error("the log object is {actual} bytes long, {expected} are declared")]
    TooLong { expected: u64, actual: u64 },
    #[error("the object is not a log object: its first bytes are {found:02x?}")]
    Magic { found: Vec<u8> },
    #[error("the log object is damaged: checksum {actual:016x}, {expected:016x} is declared")]
    Checksum { expected: u64, actual: u64 },
    #[error("the log object has format {found}, this version reads formats {} to {}", READS.start(), READS.end())]
    Format { found: u32 },
    #[error("the log object is malformed: {0}")]
    Malformed(String),
    /// Another writer has taken over: nothing more may be acknowledged.
    #[error("log position {} was written by {writer_id} in epoch {epoch}: this writer is fenced", position.0)]
    Fenced { position: WalPosition, writer_id: String, epoch: u64 },
    /// Whether the object was written is unknown; only the same object may be tried at this position.
    #[error("the outcome of writing log position {} is unknown after {} ms: {source}", position.0, waited.as_millis())]
    Unknown { position: WalPosition, waited: Duration, source: Error },
    #[error("log position {} cannot be read: {source}", position.0)]
    Object { position: WalPosition, source: Box<WalError> },
    #[error("the log cannot be read: {0}")]
    Store(#[from] Error),
}

impl Cause for WalError {
    fn kind(&self) -> ErrorKind {
        match self {
            WalError::Truncated { .. }
            | WalError::TooLong { .. }
            | WalError::Magic { .. }
            | WalError::Checksum { .. }
            | WalError::Format { .. }
            | WalError::Malformed(_) => ErrorKind::Damaged,
            WalError::Fenced { .. } => ErrorKind::Fenced,
            WalError::Unknown { source, .. } if source.kind() == ErrorKind::Restart => ErrorKind::Restart,
            WalError::Unknown { .. } => ErrorKind::Retry,
            WalError::Object { source, .. } => source.kind(),
            WalError::Store(error) => error.kind(),
        }
    }
}

impl WalError {
    /// The bytes are as they were written, by a version that writes something else.
    pub(crate) fn is_of_another_version(&self) -> bool {
        match self {
            WalError::Format { .. } | WalError::Malformed(_) => true,
            WalError::Object { source, .. } => source.is_of_another_version(),
            _ => false,
        }
    }
}

/// Who wrote a group. The nonce tells the groups of one writer apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WalHeader {
    pub(crate) writer_id: String,
    pub(crate) epoch: u64,
    pub(crate) nonce: u64,
    /// The newest commit that the writer knew: a commit line that ends before it has lost its end.
    pub(crate) newest_commit: u64,
}

impl WalHeader {
    fn is_same_write(&self, other: &WalHeader) -> bool {
        self.writer_id == other.writer_id && self.nonce == other.nonce
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeaderLine {
    format: u32,
    #[serde(flatten)]
    header: WalHeader,
    operations: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WalGroup {
    pub(crate) header: WalHeader,
    /// JSON texts, slices of one buffer. A fence has none.
    pub(crate) operations: Vec<Bytes>,
}

pub(crate) fn wal_path(position: WalPosition) -> Path {
    Path::from_iter([FOLDER, &format!("{:020}", position.0)])
}

/// None for objects that are not the log's.
pub(crate) fn parse_wal_path(path: &Path) -> Option<WalPosition> {
    let mut parts = path.parts();
    let (folder, name) = (parts.next()?, parts.next()?);
    let name = name.as_ref();
    let is_number = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    if folder.as_ref() != FOLDER || !is_number || parts.next().is_some() {
        return None;
    }
    name.parse().ok().map(WalPosition)
}

/// `operations` are JSON texts. A line break in one can only stand between tokens, so it is written as a space.
pub(crate) fn encode(header: &WalHeader, operations: &[Vec<u8>]) -> Result<Bytes, WalError> {
    let line = HeaderLine { format: FORMAT, header: header.clone(), operations: operations.len() as u64 };
    let mut plain = Vec::with_capacity(256 + operations.iter().map(|operation| operation.len() + 1).sum::<usize>());
    serde_json::to_writer(&mut plain, &line).map_err(|error| WalError::Malformed(error.to_string()))?;
    plain.push(b'\n');
    for operation in operations {
        let start = plain.len();
        plain.extend_from_slice(operation);
        for byte in plain.iter_mut().skip(start).filter(|byte| **byte == b'\n') {
            *byte = b' ';
        }
        plain.push(b'\n');
    }
    if plain.len() as u64 > MAX_PLAIN_BYTES {
        return Err(WalError::Malformed(format!("{} bytes, {MAX_PLAIN_BYTES} are allowed", plain.len())));
    }
    let body = zstd::bulk::compress(&plain, ZSTD_LEVEL).map_err(|error| WalError::Malformed(error.to_string()))?;
    let lengths = Lengths { compressed: body.len() as u64, plain: plain.len() as u64 };
    let mut object = Vec::with_capacity(HEAD_BYTES + body.len());
    object.extend_from_slice(&MAGIC);
    object.extend_from_slice(&lengths.compressed.to_le_bytes());
    object.extend_from_slice(&lengths.plain.to_le_bytes());
    object.extend_from_slice(&lengths.checksum(&body).to_le_bytes());
    object.extend_from_slice(&body);
    Ok(object.into())
}

struct Lengths {
    compressed: u64,
    plain: u64,
}

impl Lengths {
    fn checksum(&self, body: &[u8]) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(&self.compressed.to_le_bytes());
        hash.update(&self.plain.to_le_bytes());
        hash.update(body);
        hash.digest()
    }
}

pub(crate) fn decode(object: &[u8]) -> Result<WalGroup, WalError> {
    let actual = object.len() as u64;
    let cut = |expected| WalError::Truncated { expected, actual };
    let found = object.get(..MAGIC.len().min(object.len())).unwrap_or_default();
    if !MAGIC.starts_with(found) {
        return Err(WalError::Magic { found: found.to_vec() });
    }
    let (head, body) = object.split_at_checked(HEAD_BYTES).ok_or_else(|| cut(HEAD_BYTES as u64))?;
    let number = |index: usize| {
        let bytes = head.get(index * 8..index * 8 + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_le_bytes).ok_or_else(|| cut(HEAD_BYTES as u64))
    };
    let lengths = Lengths { compressed: number(1)?, plain: number(2)? };
    let declared = lengths.compressed.saturating_add(HEAD_BYTES as u64);
    if actual < declared {
        return Err(cut(declared));
    }
    if actual > declared {
        return Err(WalError::TooLong { expected: declared, actual });
    }
    let (expected, computed) = (number(3)?, lengths.checksum(body));
    if expected != computed {
        return Err(WalError::Checksum { expected, actual: computed });
    }
    if lengths.plain > MAX_PLAIN_BYTES {
        return Err(WalError::Malformed(format!("{} bytes, {MAX_PLAIN_BYTES} are allowed", lengths.plain)));
    }
    let plain =
        zstd::bulk::decompress(body, lengths.plain as usize).map_err(|error| WalError::Malformed(error.to_string()))?;
    parse_lines(plain.into())
}

fn parse_lines(plain: Bytes) -> Result<WalGroup, WalError> {
    let mut lines = plain.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let text = line.strip_suffix(b"\n").ok_or_else(|| WalError::Malformed("the last line is cut".to_owned()))?;
        Ok(plain.slice_ref(text))
    });
    let first = lines.next().unwrap_or_else(|| Err(WalError::Malformed("the header is missing".to_owned())))?;
    let line: HeaderLine =
        serde_json::from_slice(&first).map_err(|error| WalError::Malformed(format!("header: {error}")))?;
    if !READS.contains(&line.format) {
        return Err(WalError::Format { found: line.format });
    }
    let operations = lines.collect::<Result<Vec<Bytes>, WalError>>()?;
    if operations.len() as u64 != line.operations {
        let message = format!("{} operations, {} are declared", operations.len(), line.operations);
        return Err(WalError::Malformed(message));
    }
    Ok(WalGroup { header: line.header, operations })
}

/// Positions that exist, ascending.
pub(crate) async fn list(store: &dyn ObjectStore) -> Result<Vec<WalPosition>, WalError> {
    list_after(store, WalPosition(0)).await
}

/// Positions above `position` that exist, ascending.
pub(crate) async fn list_after(store: &dyn ObjectStore, position: WalPosition) -> Result<Vec<WalPosition>, WalError> {
    let objects = store.list_with_offset(Some(&Path::from(FOLDER)), &wal_path(position));
    // Not every store begins where it is told to.
    let found =
        objects.try_filter_map(async |object| Ok(parse_wal_path(&object.location).filter(|found| *found > position)));
    let mut positions: Vec<WalPosition> = found.try_collect().await?;
    positions.sort_unstable();
    Ok(positions)
}

pub(crate) async fn read(store: &dyn ObjectStore, position: WalPosition) -> Result<WalGroup, WalError> {
    let object = store.get(&wal_path(position)).await?.bytes().await?;
    decode(&object).map_err(|source| WalError::Object { position, source: Box::new(source) })
}

/// Durably writes `object`, which is [`encode`]d with the header `own`, at `position`, and only there.
///
/// A lost answer shows on the next try as an object that exists already: it is read back, and is one's own or another
/// writer's. After `patience` without an outcome the answer is [`WalError::Unknown`]; the caller may only call again
/// with the same object.
pub(crate) async fn put_group(
    store: &dyn ObjectStore,
    position: WalPosition,
    object: Bytes,
    own: &WalHeader,
    patience: Duration,
) -> Result<(), WalError> {
    let path = wal_path(position);
    let start = Instant::now();
    let mut pause = FIRST_RETRY;
    loop {
        let outcome = store.put_opts(&path, PutPayload::from(object.clone()), PutMode::Create.into()).await;
        let error = match outcome {
            Ok(_) => return Ok(()),
            Err(Error::AlreadyExists { .. }) => match read(store, position).await {
                Ok(group) if group.header.is_same_write(own) => return Ok(()),
                Ok(WalGroup { header: WalHeader { writer_id, epoch, .. }, .. }) => {
                    return Err(WalError::Fenced { position, writer_id, epoch });
                }
                Err(WalError::Store(error)) => error,
                Err(error) => return Err(error),
            },
            Err(error @ (Error::NotImplemented { .. } | Error::NotSupported { .. })) => return Err(error.into()),
            // To try again would change nothing.
            Err(error) if error.kind() == ErrorKind::Restart => {
                return Err(WalError::Unknown { position, waited: start.elapsed(), source: error });
            }
            Err(error) => error,
        };
        let waited = start.elapsed();
        if waited + pause > patience {
            return Err(WalError::Unknown { position, waited, source: error });
        }
        tracing::warn!(position = position.0, %error, "writing the log object again");
        sleep(pause).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}

#[cfg(test)]
mod tests;
