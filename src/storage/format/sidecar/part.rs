//! A part of a sidecar's body: what is read of it is verified, and made again where it is damaged.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::sync::OnceCell;

use crate::storage::error::{Cause, ErrorKind, StoreError};
use crate::storage::format::checked::{CheckedObject, ReadError};

/// A lookup reads one or two.
pub(crate) const BODY_BLOCK_BYTES: u64 = 4 << 10;

/// Ranges count from its start.
#[derive(Clone)]
pub(crate) struct Part {
    body: Arc<Body>,
    range: Range<u64>,
}

enum Body {
    Stored(Stored),
    /// Of a sidecar that could not be written, and of tests.
    Memory(Path, Bytes),
}

struct Stored {
    object: CheckedObject,
    length: u64,
    remake: Arc<dyn Remake>,
    /// Once it was damaged.
    remade: OnceCell<Bytes>,
}

/// Makes a sidecar again from its files, and stores it where that can be done.
#[async_trait]
pub(crate) trait Remake: Send + Sync {
    /// The whole body.
    async fn body(&self) -> Result<Bytes, StoreError>;
}

impl Part {
    /// All of a body.
    pub(crate) fn stored(object: CheckedObject, length: u64, remake: Arc<dyn Remake>) -> Part {
        let body = Body::Stored(Stored { object, length, remake, remade: OnceCell::new() });
        Part { body: Arc::new(body), range: 0..length }
    }

    pub(crate) fn in_memory(path: Path, bytes: Bytes) -> Part {
        let range = 0..bytes.len() as u64;
        Part { body: Arc::new(Body::Memory(path, bytes)), range }
    }

    pub(crate) fn none() -> Part {
        Part::in_memory(Path::default(), Bytes::new())
    }

    /// A part of this one; None where it ends before.
    pub(crate) fn part(&self, range: Range<u64>) -> Option<Part> {
        let range = self.absolute(range)?;
        Some(Part { body: Arc::clone(&self.body), range })
    }

    pub(crate) fn length(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Of the sidecar.
    pub(crate) fn path(&self) -> &Path {
        match self.body.as_ref() {
            Body::Stored(stored) => stored.object.path(),
            Body::Memory(path, _) => path,
        }
    }

    pub(crate) async fn read(&self, store: &dyn ObjectStore, range: Range<u64>) -> Result<Bytes, ReadError> {
        let beyond = || {
            let reason = format!("bytes {range:?} are asked of a part of {}", self.length());
            ReadError::Damaged { object: self.path().clone(), reason }
        };
        let absolute = self.absolute(range.clone()).ok_or_else(beyond)?;
        let cut = |bytes: &Bytes| {
            let inside = absolute.end <= bytes.len() as u64;
            inside.then(|| bytes.slice(absolute.start as usize..absolute.end as usize)).ok_or_else(beyond)
        };
        match self.body.as_ref() {
            Body::Memory(_, bytes) => cut(bytes),
            Body::Stored(stored) => match stored.remade.get() {
                Some(bytes) => cut(bytes),
                None => match stored.object.read(store, std::slice::from_ref(&absolute)).await {
                    Ok(mut read) => read.pop().ok_or_else(beyond),
                    Err(error) if error.kind() == ErrorKind::Damaged => cut(stored.made_again(error).await?),
                    Err(error) => Err(error),
                },
            },
        }
    }

    fn absolute(&self, range: Range<u64>) -> Option<Range<u64>> {
        let (start, end) = (self.range.start.checked_add(range.start)?, self.range.start.checked_add(range.end)?);
        (start <= end && end <= self.range.end).then_some(start..end)
    }
}

impl Stored {
    async fn made_again(&self, damage: ReadError) -> Result<&Bytes, ReadError> {
        self.remade.get_or_try_init(|| self.make_again(damage)).await
    }

    /// The checksums in memory are sound: the body that is made again has to have the same.
    async fn make_again(&self, damage: ReadError) -> Result<Bytes, ReadError> {
        tracing::warn!(%damage, "a sidecar is damaged; it is made again");
        let not_remade = |source| ReadError::NotRemade { object: self.object.path().clone(), source: Box::new(source) };
        let body = self.remake.body().await.map_err(not_remade)?;
        self.object.verify(&(0..self.length), &body)?;
        Ok(body)
    }
}
