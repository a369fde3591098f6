//! Writes a sidecar.

use super::error::IndexError;
use super::header::Header;
use super::keys::{Keys, Shape};
use super::offsets::Offsets;
use crate::storage::format::sidecar::file::BuiltIndex;

/// How many rows a conversation has in the sibling files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Siblings {
    pub(crate) messages: u32,
    pub(crate) threads: u32,
}

/// Takes the rows in the file's order.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    ids: Vec<(u128, u32)>,
    external_ids: Vec<(u128, u32)>,
    references: Vec<(u128, u32)>,
    /// Rows in the sibling files, of each row.
    messages: Vec<u32>,
    threads: Vec<u32>,
}

impl IndexBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// `siblings` is how many rows the conversation has in the sibling files of messages and of threads, which start where
    /// those of the row before end.
    pub(crate) fn push(&mut self, id: u128, external_id: Option<u128>, siblings: Siblings) {
        // A count beyond u32 is reported by `finish`.
        let row = self.ids.len() as u32;
        self.ids.push((id, row));
        self.external_ids.extend(external_id.map(|hash| (hash, row)));
        self.messages.push(siblings.messages);
        self.threads.push(siblings.threads);
    }

    /// A further key of the row that was pushed last; other rows may have it too.
    pub(crate) fn push_reference(&mut self, hash: u128) {
        self.references.push((hash, (self.ids.len() as u32).saturating_sub(1)));
    }

    pub(crate) fn finish(mut self) -> Result<BuiltIndex, IndexError> {
        self.ids.sort_unstable();
        self.external_ids.sort_unstable();
        self.references.sort_unstable();
        self.references.dedup();
        let rows = self.ids.len() as u64;
        let header = Header {
            rows,
            shapes: [&self.ids, &self.external_ids, &self.references].map(|entries| Shape::of(entries, rows)),
            messages: Offsets::of(&self.messages),
            threads: Offsets::of(&self.threads),
        };
        let counts = [
            ("rows", header.rows),
            ("messages", header.messages.total),
            ("threads", header.threads.total),
            ("references", self.references.len() as u64),
        ];
        for (what, count) in counts {
            if count > u64::from(u32::MAX) {
                return Err(IndexError::TooLarge { what, count });
            }
        }
        let (mut opening, mut body) = (Vec::new(), Vec::with_capacity(header.places().end as usize));
        let keys = [&self.ids, &self.external_ids, &self.references];
        for (entries, shape) in keys.into_iter().zip(header.shapes) {
            Keys::write(entries, shape, &mut opening, &mut body);
        }
        header.messages.write(&self.messages, &mut body);
        header.threads.write(&self.threads, &mut body);
        debug_assert_eq!((opening.len() as u64, body.len() as u64), (header.opening_bytes(), header.places().end));
        let mut start = Vec::new();
        header.write(&opening, &mut start);
        start.append(&mut opening);
        Ok(BuiltIndex { opening: start.into(), body: body.into() })
    }
}
