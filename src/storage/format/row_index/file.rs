//! Reads an index.

use std::ops::Range;
use std::sync::Arc;

use object_store::ObjectStore;

use super::error::IndexError;
use super::header::{HEADER_BYTES, Header, Places};
use super::keys::{Keys, Shape};
use super::offsets::Offsets;
use crate::cache::{Cache, Slot};
use crate::storage::format::sidecar::part::Part;

/// Rows whose messages are looked up one by one; of more, those of all rows are read at once.
const SINGLE_LOOKUPS: usize = 32;

/// An open index: its header is in memory, its opening while there is room, its body in a sidecar.
pub(crate) struct FileIndex {
    body: Part,
    header: Header,
    /// Of the opening, as the header declares it.
    checksum: u64,
    places: Places,
    /// None of an index of no keys.
    opened: Option<Slot<Opened>>,
}

/// What an opening tells.
struct Opened {
    ids: Keys,
    external_ids: Keys,
    references: Keys,
}

impl Opened {
    /// Of an opening that is as long as the header says.
    fn read(header: &Header, mut opening: &[u8]) -> Opened {
        let [ids, external_ids, references] = header.shapes;
        let [ids_at, external_ids_at, references_at] = header.places().entries;
        Opened {
            ids: Keys::read(&mut opening, ids, ids_at),
            external_ids: Keys::read(&mut opening, external_ids, external_ids_at),
            references: Keys::read(&mut opening, references, references_at),
        }
    }

    fn memory_bytes(&self) -> usize {
        let keys = [&self.ids, &self.external_ids, &self.references];
        size_of::<Self>() + keys.into_iter().map(Keys::memory_bytes).sum::<usize>()
    }
}

impl FileIndex {
    /// Of no rows: for files whose rows are found by those of a sibling.
    pub(crate) fn empty() -> Self {
        let (messages, threads) = (Offsets::of(&[]), Offsets::of(&[]));
        let header = Header { rows: 0, shapes: [Shape::declared(0, 0, 0); 3], messages, threads };
        Self { body: Part::none(), places: header.places(), header, checksum: header.checksum(&[]), opened: None }
    }

    pub(crate) fn open(opening: &[u8], body: Part, cache: &Arc<Cache>) -> Result<Self, IndexError> {
        let corrupt = |reason: String| IndexError::Corrupt { path: body.path().clone(), reason };
        let (header, declared) = Header::read(opening, body.length()).map_err(corrupt)?;
        let index = Self { body, places: header.places(), header, checksum: declared, opened: Some(cache.slot()) };
        index.keep(opening)?;
        Ok(index)
    }

    pub(crate) fn rows(&self) -> u32 {
        self.header.rows as u32
    }

    fn keep(&self, opening: &[u8]) -> Result<Arc<Opened>, IndexError> {
        let end = HEADER_BYTES + self.header.opening_bytes() as usize;
        let opening = opening.get(HEADER_BYTES..end).ok_or_else(|| self.corrupt("its opening is cut".to_owned()))?;
        let checksum = self.header.checksum(opening);
        if checksum != self.checksum {
            return Err(self.corrupt(format!("checksum {checksum:016x}, {:016x} is declared", self.checksum)));
        }
        let opened = Arc::new(Opened::read(&self.header, opening));
        if let Some(slot) = &self.opened {
            slot.set(Arc::clone(&opened), opened.memory_bytes());
        }
        Ok(opened)
    }

    /// Read again if there was no room for it.
    async fn opened(&self, store: &dyn ObjectStore) -> Result<Option<Arc<Opened>>, IndexError> {
        let Some(slot) = &self.opened else { return Ok(None) };
        match slot.get() {
            Some(opened) => Ok(Some(opened)),
            None => self.keep(&self.body.opening(store).await?).map(Some),
        }
    }

    /// What of it is in memory.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> usize {
        let opened = self.opened.as_ref().and_then(Slot::get);
        size_of::<Self>() + opened.map_or(0, |opened| opened.memory_bytes())
    }

    /// False is certain.
    #[cfg(test)]
    pub(crate) fn may_contain_id(&self, hash: u128) -> bool {
        self.opened.as_ref().and_then(Slot::get).is_some_and(|opened| opened.ids.may_contain(hash))
    }

    /// False is certain.
    #[cfg(test)]
    pub(crate) fn may_contain_external_id(&self, hash: u128) -> bool {
        self.opened.as_ref().and_then(Slot::get).is_some_and(|opened| opened.external_ids.may_contain(hash))
    }

    /// Rows, ascending, whose id may have this hash; deleted ones too. The caller compares the ids: an entry keeps some
    /// bits of a hash. At most one read, if the opening is in memory.
    pub(crate) async fn find_id(&self, store: &dyn ObjectStore, hash: u128) -> Result<Vec<u32>, IndexError> {
        self.find(store, |opened| &opened.ids, hash).await
    }

    /// As [`FileIndex::find_id`].
    pub(crate) async fn find_external_id(&self, store: &dyn ObjectStore, hash: u128) -> Result<Vec<u32>, IndexError> {
        self.find(store, |opened| &opened.external_ids, hash).await
    }

    /// As [`FileIndex::find_id`].
    pub(crate) async fn find_reference(&self, store: &dyn ObjectStore, hash: u128) -> Result<Vec<u32>, IndexError> {
        self.find(store, |opened| &opened.references, hash).await
    }

    async fn find(
        &self,
        store: &dyn ObjectStore,
        keys: fn(&Opened) -> &Keys,
        hash: u128,
    ) -> Result<Vec<u32>, IndexError> {
        let Some(opened) = self.opened(store).await? else { return Ok(Vec::new()) };
        let keys = keys(&opened);
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
