//! Reads an index.

use std::ops::Range;

use object_store::ObjectStore;

use super::error::IndexError;
use super::header::{HEADER_BYTES, Header, Places};
use super::keys::{Keys, Shape};
use super::offsets::Offsets;
use crate::storage::format::sidecar::part::Part;

/// Rows whose messages are looked up one by one; of more, those of all rows are read at once.
const SINGLE_LOOKUPS: usize = 32;

/// An open index: its opening is in memory, its body in a sidecar.
pub(crate) struct FileIndex {
    body: Part,
    header: Header,
    places: Places,
    ids: Keys,
    external_ids: Keys,
    references: Keys,
}

impl FileIndex {
    /// Of no rows: for files whose rows are found by those of a sibling.
    pub(crate) fn empty() -> Self {
        let (messages, threads) = (Offsets::of(&[]), Offsets::of(&[]));
        let header = Header { rows: 0, shapes: [Shape::declared(0, 0, 0); 3], messages, threads };
        let (ids, external_ids, references) = (Keys::none(), Keys::none(), Keys::none());
        Self { body: Part::none(), places: header.places(), header, ids, external_ids, references }
    }

    pub(crate) fn open(opening: &[u8], body: Part) -> Result<Self, IndexError> {
        let corrupt = |reason: String| IndexError::Corrupt { path: body.path().clone(), reason };
        let (header, declared) = Header::read(opening, body.length()).map_err(corrupt)?;
        let mut opening = opening
            .get(HEADER_BYTES..HEADER_BYTES + header.opening_bytes() as usize)
            .ok_or_else(|| corrupt("its opening is cut".to_owned()))?;
        let checksum = header.checksum(opening);
        if checksum != declared {
            return Err(corrupt(format!("checksum {checksum:016x}, {declared:016x} is declared")));
        }
        let places = header.places();
        let [ids, external_ids, references] = header.shapes;
        let [ids_at, external_ids_at, references_at] = places.entries;
        let ids = Keys::read(&mut opening, ids, ids_at);
        let external_ids = Keys::read(&mut opening, external_ids, external_ids_at);
        let references = Keys::read(&mut opening, references, references_at);
        Ok(Self { body, header, places, ids, external_ids, references })
    }

    pub(crate) fn rows(&self) -> u32 {
        self.header.rows as u32
    }

    /// What it holds in memory.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> usize {
        let keys = [&self.ids, &self.external_ids, &self.references];
        size_of::<Self>() + keys.into_iter().map(Keys::memory_bytes).sum::<usize>()
    }

    /// False is certain; reads nothing.
    #[cfg(test)]
    pub(crate) fn may_contain_id(&self, hash: u128) -> bool {
        self.ids.may_contain(hash)
    }

    /// False is certain; reads nothing.
    #[cfg(test)]
    pub(crate) fn may_contain_external_id(&self, hash: u128) -> bool {
        self.external_ids.may_contain(hash)
    }

    /// Rows, ascending, whose id may have this hash; deleted ones too. The caller compares the ids: an entry keeps some
    /// bits of a hash. At most one read.
    pub(crate) async fn find_id(&self, store: &dyn ObjectStore, hash: u128) -> Result<Vec<u32>, IndexError> {
        self.find(store, &self.ids, hash).await
    }

    /// As [`FileIndex::find_id`].
    pub(crate) async fn find_external_id(&self, store: &dyn ObjectStore, hash: u128) -> Result<Vec<u32>, IndexError> {
        self.find(store, &self.external_ids, hash).await
    }

    /// As [`FileIndex::find_id`].
    pub(crate) async fn find_reference(&self, store: &dyn ObjectStore, hash: u128) -> Result<Vec<u32>, IndexError> {
        self.find(store, &self.references, hash).await
    }

    async fn find(&self, store: &dyn ObjectStore, keys: &Keys, hash: u128) -> Result<Vec<u32>, IndexError> {
        let Some(range) = keys.range(hash) else { return Ok(Vec::new()) };
        let rows = keys.rows_of(&self.body.read(store, range).await?, hash);
        match rows.iter().find(|row| **row >= self.rows()) {
            None => Ok(rows),
            Some(row) => Err(self.corrupt(format!("an entry names row {row} of {}", self.rows()))),
        }
    }

    /// Rows of conversations in the sibling messages file. One read.
    pub(crate) async fn message_ranges(
        &self,
        store: &dyn ObjectStore,
        rows: &[u32],
    ) -> Result<Vec<Range<u32>>, IndexError> {
        let beyond = |row: u32| self.corrupt(format!("the messages of row {row} lie beyond the last"));
        rows.iter().try_for_each(|row| self.check_row(*row))?;
        if rows.len() > SINGLE_LOOKUPS {
            let offsets = self.message_offsets(store).await?;
            let range = |row: &u32| {
                let (start, end) = offsets.get(*row as usize).zip(offsets.get(*row as usize + 1))?;
                Some(*start..*end)
            };
            return rows.iter().map(|row| range(row).ok_or_else(|| beyond(*row))).collect();
        }
        let start = self.places.message_offsets;
        let blocks = rows.iter().map(|row| self.header.messages.block(*row));
        let blocks: Vec<Range<u64>> = blocks.map(|block| start + block.start..start + block.end).collect();
        let blocks = self.body.read_all(store, &blocks).await?;
        let ranges = rows.iter().zip(blocks).map(|(row, block)| {
            let range = self.header.messages.range(&block, *row);
            range.ok_or_else(|| beyond(*row))
        });
        ranges.collect()
    }

    /// First message row of every conversation, then the count of message rows. One read of about a byte per row.
    pub(crate) async fn message_offsets(&self, store: &dyn ObjectStore) -> Result<Vec<u32>, IndexError> {
        self.offsets(store, &self.header.messages, self.places.message_offsets).await
    }

    /// The same of threads.
    pub(crate) async fn thread_offsets(&self, store: &dyn ObjectStore) -> Result<Vec<u32>, IndexError> {
        self.offsets(store, &self.header.threads, self.places.thread_offsets).await
    }

    async fn offsets(&self, store: &dyn ObjectStore, offsets: &Offsets, start: u64) -> Result<Vec<u32>, IndexError> {
        let bytes = self.body.read(store, start..start + offsets.bytes()).await?;
        offsets.all(&bytes).ok_or_else(|| self.corrupt("offsets do not ascend to their count".to_owned()))
    }

    fn check_row(&self, row: u32) -> Result<(), IndexError> {
        let rows = self.rows();
        if row < rows { Ok(()) } else { Err(IndexError::Row { path: self.body.path().clone(), row, rows }) }
    }

    fn corrupt(&self, reason: String) -> IndexError {
        IndexError::Corrupt { path: self.body.path().clone(), reason }
    }
}
