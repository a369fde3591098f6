//! Makes the log objects of one writer and puts them into the write-ahead log.

use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStore;
use uuid::Uuid;

use super::wal::{self, WalError, WalHeader};
use crate::model::ids::WalPosition;

/// How long one object is tried before those who wait for it are told that its outcome is unknown.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) struct LogWriter {
    writer_id: String,
    epoch: u64,
    next_nonce: u64,
    newest_commit: u64,
}

impl LogWriter {
    /// `writer_id` is nobody else's.
    pub(crate) fn new(writer_id: Uuid, epoch: u64) -> LogWriter {
        LogWriter { writer_id: writer_id.to_string(), epoch, next_nonce: 0, newest_commit: 0 }
    }

    pub(crate) fn writer_id(&self) -> &str {
        &self.writer_id
    }

    /// Objects made from now on name this commit.
    pub(crate) fn knows_commit(&mut self, number: u64) {
        self.newest_commit = self.newest_commit.max(number);
    }

    /// The object of one group for `position`; nothing is written yet. No operations: a fence.
    pub(crate) fn object(&mut self, position: WalPosition, operations: &[Vec<u8>]) -> Result<LogObject, WalError> {
        let header = WalHeader {
            writer_id: self.writer_id.clone(),
            epoch: self.epoch,
            nonce: self.next_nonce,
            newest_commit: self.newest_commit,
        };
        self.next_nonce += 1;
        let bytes = wal::encode(&header, operations)?;
        Ok(LogObject { position, header, bytes })
    }
}

/// A group as it stands in the log, once [`LogObject::put`] has succeeded. After [`WalError::Unknown`] only the same
/// object may be put again.
pub(crate) struct LogObject {
    position: WalPosition,
    header: WalHeader,
    bytes: Bytes,
}

impl LogObject {
    /// Returns once the group is durable.
    pub(crate) async fn put(&self, store: &dyn ObjectStore, patience: Duration) -> Result<(), WalError> {
        wal::put_group(store, self.position, self.bytes.clone(), &self.header, patience).await
    }
}
