//! A part of a sidecar's body: what is read of it is verified.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;

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
    Stored(CheckedObject),
    /// Of a sidecar that could not be written, and of tests.
    Memory(Path, Bytes),
}

impl Part {
    /// All of a body.
    pub(crate) fn stored(object: CheckedObject, length: u64) -> Part {
        Part { body: Arc::new(Body::Stored(object)), range: 0..length }
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
            Body::Stored(object) => object.path(),
            Body::Memory(path, _) => path,
        }
    }

    pub(crate) async fn read(&self, store: &dyn ObjectStore, range: Range<u64>) -> Result<Bytes, ReadError> {
        let beyond = || {
            let reason = format!("bytes {range:?} are asked of a part of {}", self.length());
            ReadError::Damaged { object: self.path().clone(), reason }
        };
        let absolute = self.absolute(range.clone()).ok_or_else(beyond)?;
        match self.body.as_ref() {
            Body::Stored(object) => {
                let mut read = object.read(store, std::slice::from_ref(&absolute)).await?;
                read.pop().ok_or_else(beyond)
            }
            Body::Memory(_, bytes) => {
                let inside = absolute.end <= bytes.len() as u64;
                inside.then(|| bytes.slice(absolute.start as usize..absolute.end as usize)).ok_or_else(beyond)
            }
        }
    }

    fn absolute(&self, range: Range<u64>) -> Option<Range<u64>> {
        let (start, end) = (self.range.start.checked_add(range.start)?, self.range.start.checked_add(range.end)?);
        (start <= end && end <= self.range.end).then_some(start..end)
    }
}
