//! Writes a sidecar.

use super::error::IndexError;
use super::header::Header;
use super::keys::{Keys, write_entry};
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
    message_offsets: Vec<u32>,
    messages: u64,
    thread_offsets: Vec<u32>,
    threads: u32,
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
        self.message_offsets.push(self.messages as u32);
        self.messages += u64::from(siblings.messages);
        self.thread_offsets.push(self.threads);
        // No more than messages, whose count is checked.
        self.threads = self.threads.saturating_add(siblings.threads);
    }

    /// A further key of the row that was pushed last; other rows may have it too.
    pub(crate) fn push_reference(&mut self, hash: u128) {
        self.references.push((hash, (self.ids.len() as u32).saturating_sub(1)));
    }

    pub(crate) fn finish(mut self) -> Result<BuiltIndex, IndexError> {
        let counts = [
            ("rows", self.ids.len() as u64),
            ("messages", self.messages),
            ("references", self.references.len() as u64),
        ];
        for (what, count) in counts {
            if count > u64::from(u32::MAX) {
                return Err(IndexError::TooLarge { what, count });
            }
        }
        self.message_offsets.push(self.messages as u32);
        self.thread_offsets.push(self.threads);
        self.ids.sort_unstable();
        self.external_ids.sort_unstable();
        self.references.sort_unstable();
        self.references.dedup();

        let mut opening = Vec::new();
        for entries in [&self.ids, &self.external_ids, &self.references] {
            Keys::write_opening(entries, &mut opening);
        }
        let header = Header {
            rows: self.ids.len() as u64,
            external_ids: self.external_ids.len() as u64,
            references: self.references.len() as u64,
            messages: self.messages,
        };
        let mut start = Vec::new();
        header.write(&opening, &mut start);
        start.append(&mut opening);
        let mut object = Vec::with_capacity(header.places().end as usize);
        let entries = self.ids.iter().chain(&self.external_ids).chain(&self.references);
        entries.for_each(|entry| write_entry(entry, &mut object));
        let offsets = self.message_offsets.iter().chain(&self.thread_offsets);
        offsets.for_each(|offset| object.extend_from_slice(&offset.to_le_bytes()));
        debug_assert_eq!(object.len() as u64, header.places().end);
        Ok(BuiltIndex { opening: start.into(), body: object.into() })
    }
}
