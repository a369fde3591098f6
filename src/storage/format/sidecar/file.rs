//! Writes and opens a sidecar.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutPayload};

use super::description::{Description, FileDescription};
use super::header::{HEADER_BYTES, Header, checksum};
use super::part::{BODY_BLOCK_BYTES, OpeningPlace, Part, Remade, Remake};
use crate::cache::Cache;
use crate::storage::format::checked::{BlockHasher, CheckedObject, ReadError, checksum_bytes, read_checksums};
use crate::storage::format::file_id::FileId;

pub(crate) const FOLDER: &str = "sidecars";
const ZSTD_LEVEL: i32 = 3;
/// Bounds what a reader allocates.
const MAX_DESCRIPTION_BYTES: usize = 1 << 30;
/// What the first read takes; one read is enough for some 20,000 rows.
const FIRST_READ: u64 = 64 << 10;

pub(crate) fn path(id: FileId) -> Path {
    Path::from_iter([FOLDER, &id.to_string()])
}

/// The row index in the two parts that a sidecar keeps apart.
#[derive(Debug, PartialEq)]
pub(crate) struct BuiltIndex {
    /// Read whole and kept while there is room.
    pub(crate) opening: Bytes,
    /// Read by ranges.
    pub(crate) body: Bytes,
}

/// A file of the group: what is known of it, and the checksums of its blocks.
pub(crate) struct DescribedFile {
    pub(crate) description: FileDescription,
    pub(crate) blocks: Vec<u64>,
}

/// An open sidecar.
pub(crate) struct Sidecar {
    pub(crate) description: Description,
    /// Of the row index.
    pub(crate) opening: Bytes,
    body: Part,
}

/// A sidecar in memory.
pub(crate) struct NewSidecar {
    path: Path,
    description: Description,
    /// All before the body.
    head: Bytes,
    opening: Bytes,
    body_checksums: Vec<u64>,
    index: Bytes,
    blocks: Bytes,
}

impl NewSidecar {
    /// An error is a bug.
    pub(crate) fn new(
        (table, id): (&str, FileId),
        files: BTreeMap<String, DescribedFile>,
        index: BuiltIndex,
    ) -> Result<NewSidecar, String> {
        let blocks: Vec<u64> = files.values().flat_map(|file| file.blocks.iter().copied()).collect();
        let blocks = checksum_bytes(&blocks);
        let description = Description {
            table: table.to_owned(),
            id,
            files: files.into_iter().map(|(table, file)| (table, file.description)).collect(),
            index_bytes: index.body.len() as u64,
        };
        let plain = serde_json::to_vec(&description).map_err(|error| error.to_string())?;
        if plain.len() > MAX_DESCRIPTION_BYTES {
            return Err(format!("a description of {} bytes, {MAX_DESCRIPTION_BYTES} are allowed", plain.len()));
        }
        let compressed = zstd::bulk::compress(&plain, ZSTD_LEVEL).map_err(|error| error.to_string())?;
        let mut hasher = BlockHasher::new(BODY_BLOCK_BYTES);
        [&index.body, &blocks].into_iter().for_each(|part| hasher.update(part));
        let body_checksums = hasher.finish();
        let checksums = checksum_bytes(&body_checksums);
        let header = Header {
            description: compressed.len() as u64,
            opening: index.opening.len() as u64,
            body: (index.body.len() + blocks.len()) as u64,
            blocks: checksums.len() as u64,
        };
        let rest = [compressed.as_slice(), &index.opening, &checksums];
        let head = [header.encode(&rest).as_slice(), &rest.concat()].concat().into();
        let BuiltIndex { opening, body: index } = index;
        Ok(NewSidecar { path: path(id), description, head, opening, body_checksums, index, blocks })
    }

    pub(crate) async fn write(&self, store: &dyn ObjectStore) -> Result<(), object_store::Error> {
        let payload = PutPayload::from_iter([&self.head, &self.index, &self.blocks].map(Bytes::clone));
        store.put(&self.path, payload).await.map(|_| ())
    }

    /// Once it is written.
    pub(crate) fn stored(self, remake: Arc<dyn Remake>, cache: &Arc<Cache>) -> Result<Sidecar, ReadError> {
        let (start, length) = (self.head.len() as u64, (self.index.len() + self.blocks.len()) as u64);
        let before_opening = start.saturating_sub((self.body_checksums.len() * 8 + self.opening.len()) as u64);
        let opening = OpeningPlace::new(before_opening, &self.opening);
        let body = CheckedObject::part((self.path, start), length, BODY_BLOCK_BYTES, self.body_checksums)?;
        let body = Part::stored(body, length, opening, remake, cache);
        Ok(Sidecar { description: self.description, opening: self.opening, body })
    }

    /// Where it cannot be written.
    pub(crate) fn in_memory(self) -> Sidecar {
        let (path, opening, description) = (self.path.clone(), self.opening.clone(), self.description.clone());
        Sidecar { description, opening, body: Part::in_memory(path, self.parts()) }
    }

    pub(crate) fn parts(self) -> Remade {
        Remade { opening: self.opening, body: [self.index.as_ref(), self.blocks.as_ref()].concat().into() }
    }
}

impl Sidecar {
    /// One read, or two of large indexes.
    pub(crate) async fn open(
        store: &dyn ObjectStore,
        id: FileId,
        remake: Arc<dyn Remake>,
        cache: &Arc<Cache>,
    ) -> Result<Sidecar, ReadError> {
        let path = path(id);
        let damaged = |reason: String| ReadError::Damaged { object: path.clone(), reason };
        let failed = |source| ReadError::Store { object: path.clone(), source };
        let options = GetOptions { range: Some(GetRange::Bounded(0..FIRST_READ)), ..GetOptions::default() };
        let first = match store.get_opts(&path, options).await {
            Ok(first) => first,
            // Stores refuse a range of an empty object.
            Err(source) => match store.head(&path).await {
                Ok(found) if found.size == 0 => return Err(damaged("it is empty".to_owned())),
                _ => return Err(failed(source)),
            },
        };
        let size = first.meta.size;
        let first = first.bytes().await.map_err(failed)?;
        let (header, declared) = Header::decode(&first, size, BODY_BLOCK_BYTES).map_err(&damaged)?;
        let head_bytes = header.head_bytes().unwrap_or(u64::MAX);
        let head = if head_bytes <= first.len() as u64 {
            first
        } else {
            let rest = store.get_range(&path, first.len() as u64..head_bytes).await.map_err(failed)?;
            [first, rest].concat().into()
        };
        let part = |start: u64, length: u64| {
            let end = start.checked_add(length).filter(|end| *end <= head.len() as u64);
            end.map(|end| head.slice(start as usize..end as usize)).ok_or_else(|| damaged("it is cut".to_owned()))
        };
        let compressed = part(HEADER_BYTES, header.description)?;
        let opening = part(HEADER_BYTES + header.description, header.opening)?;
        let checksums = part(HEADER_BYTES + header.description + header.opening, header.blocks)?;
        let found = checksum(&head, &[&compressed, &opening, &checksums]);
        if found != declared {
            return Err(damaged(format!("its opening has the checksum {found:016x}, {declared:016x} is declared")));
        }
        let plain = zstd::bulk::decompress(&compressed, MAX_DESCRIPTION_BYTES);
        let plain = plain.map_err(|error| damaged(error.to_string()))?;
        let description: Description = serde_json::from_slice(&plain).map_err(|error| damaged(error.to_string()))?;
        if description.id != id {
            return Err(damaged(format!("it is of the file {}", description.id)));
        }
        let checksums = read_checksums(&checksums);
        let body = CheckedObject::part((path.clone(), head_bytes), header.body, BODY_BLOCK_BYTES, checksums)?;
        let place = OpeningPlace::new(HEADER_BYTES + header.description, &opening);
        Ok(Sidecar { description, opening, body: Part::stored(body, header.body, place, remake, cache) })
    }

    /// Of the row index.
    pub(crate) fn index_body(&self) -> Result<Part, ReadError> {
        self.part(0, self.description.index_bytes)
    }

    /// The checksums of the blocks of a table's file.
    pub(crate) fn blocks_of(&self, table: &str) -> Result<Part, ReadError> {
        let before = self.description.files.iter().take_while(|(name, _)| name.as_str() < table);
        let before = before.map(|(_, file)| file.blocks_bytes());
        let start = before.fold(self.description.index_bytes, u64::saturating_add);
        self.part(start, self.description.files.get(table).map_or(0, FileDescription::blocks_bytes))
    }

    fn part(&self, start: u64, length: u64) -> Result<Part, ReadError> {
        self.body.part(start..start.saturating_add(length)).ok_or_else(|| {
            let reason = "its parts do not fit into it".to_owned();
            ReadError::Damaged { object: self.body.path().clone(), reason }
        })
    }
}
