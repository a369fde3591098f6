//! Delta deletion vectors: which rows of a data file are deleted (Delta protocol, "Deletion Vectors").
//!
//! Small ones stand inline in the table log, larger ones in a file of their own, beside the log.

use std::io::Cursor;

use crate::storage::error::{Cause, ErrorKind};
use bytes::Bytes;
#[cfg(test)]
use object_store::PutMode;
use object_store::path::Path;
use object_store::{Error, ObjectStore};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[cfg(test)]
use crate::environment::Environment;

/// First four bytes, little-endian, of a serialized vector.
const MAGIC: u32 = 1_681_511_377;
pub(super) const FILE_VERSION: u8 = 1;
/// Magic, count of 32-bit bitmaps (u64), key of the only one (u32).
const PREFIX_BYTES: usize = 16;
/// Larger vectors get a file. The log is read whole at every start, a file only when its rows are read.
pub(super) const INLINE_BYTES: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DeletionVectorError {
    #[error("deletion vector storage type {0:?} is not supported; inline (i) and relative (u) are")]
    StorageType(String),
    #[error("deletion vector {name} is damaged: {reason}")]
    Corrupt { name: String, reason: String },
    #[error("deletion vector {name} marks row {row}; a file has at most 4294967296 rows")]
    Row { name: String, row: u64 },
    #[error("a deletion vector of {bytes} bytes is too large; 2147483647 bytes are allowed")]
    Size { bytes: usize },
    #[error("deletion vector {name} cannot be read or written: {source}")]
    Store { name: String, source: Error },
}

impl Cause for DeletionVectorError {
    fn kind(&self) -> ErrorKind {
        match self {
            DeletionVectorError::StorageType(_)
            | DeletionVectorError::Corrupt { .. }
            | DeletionVectorError::Row { .. } => ErrorKind::Damaged,
            DeletionVectorError::Size { .. } => ErrorKind::Bug,
            DeletionVectorError::Store { source, .. } => source.kind(),
        }
    }
}

/// The log's reference to a deletion vector, as the protocol spells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeletionVectorDescriptor {
    /// `i` inline, `u` a file named by a UUID in the table's folder, `p` an absolute path (never written, not read).
    pub(crate) storage_type: String,
    pub(crate) path_or_inline_dv: String,
    /// Where in the file the vector's size field stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<i32>,
    /// Of the serialized vector, without size and checksum, before z85.
    pub(crate) size_in_bytes: i32,
    /// Rows it marks.
    pub(crate) cardinality: i64,
}

impl DeletionVectorDescriptor {
    /// With the data file's path it identifies a logical file: of two vectors of a file, one is live.
    pub(crate) fn unique_id(&self) -> String {
        let offset = self.offset.map(|offset| format!("@{offset}")).unwrap_or_default();
        format!("{}{}{offset}", self.storage_type, self.path_or_inline_dv)
    }

    /// The file it stands in; None when inline.
    pub(crate) fn file(&self, table: &Path) -> Result<Option<Path>, DeletionVectorError> {
        match self.storage_type.as_str() {
            "i" => Ok(None),
            "u" => {
                let corrupt = |reason: &str| DeletionVectorError::Corrupt {
                    name: self.path_or_inline_dv.clone(),
                    reason: reason.to_owned(),
                };
                let text = &self.path_or_inline_dv;
                let split = text.len().checked_sub(20).ok_or_else(|| corrupt("the name is too short"))?;
                let (folder, name) = text.split_at_checked(split).ok_or_else(|| corrupt("the name is not in z85"))?;
                let uuid = z85_decode(name).and_then(|bytes| Uuid::from_slice(&bytes).ok());
                let uuid = uuid.ok_or_else(|| corrupt("the name is not a uuid in z85"))?;
                let folder = if folder.is_empty() { table.clone() } else { table.clone().join(folder) };
                Ok(Some(folder.join(format!("deletion_vector_{}.bin", uuid.hyphenated()))))
            }
            other => Err(DeletionVectorError::StorageType(other.to_owned())),
        }
    }
}

#[cfg(test)]
/// Makes `rows` durable as far as that needs a file of its own; the rest is the commit that carries the descriptor.
/// None for no rows: the file then has no vector.
pub(crate) async fn write(
    environment: &Environment,
    table: &Path,
    rows: &RoaringBitmap,
) -> Result<Option<DeletionVectorDescriptor>, DeletionVectorError> {
    if rows.is_empty() {
        return Ok(None);
    }
    let payload = serialize(rows)?;
    let size_in_bytes = i32::try_from(payload.len()).map_err(|_| DeletionVectorError::Size { bytes: payload.len() })?;
    let cardinality = rows.len() as i64;
    if payload.len() <= INLINE_BYTES {
        let path_or_inline_dv = z85_encode(&payload);
        let storage_type = "i".to_owned();
        let descriptor =
            DeletionVectorDescriptor { storage_type, path_or_inline_dv, offset: None, size_in_bytes, cardinality };
        return Ok(Some(descriptor));
    }
    let descriptor = DeletionVectorDescriptor {
        storage_type: "u".to_owned(),
        path_or_inline_dv: z85_encode(environment.ids.random().as_bytes()),
        offset: Some(1),
        size_in_bytes,
        cardinality,
    };
    let mut object = Vec::with_capacity(payload.len() + 9);
    object.push(FILE_VERSION);
    object.extend_from_slice(&size_in_bytes.to_be_bytes());
    object.extend_from_slice(&payload);
    object.extend_from_slice(&crc32fast::hash(&payload).to_be_bytes());
    if let Some(path) = descriptor.file(table)? {
        let put = environment.objects.put_opts(&path, object.into(), PutMode::Create.into()).await;
        put.map_err(|source| DeletionVectorError::Store { name: path.to_string(), source })?;
    }
    Ok(Some(descriptor))
}

pub(crate) async fn read(
    store: &dyn ObjectStore,
    table: &Path,
    descriptor: &DeletionVectorDescriptor,
) -> Result<RoaringBitmap, DeletionVectorError> {
    let (name, rows) = match descriptor.file(table)? {
        None => {
            let name = "(inline)".to_owned();
            let payload = z85_decode(&descriptor.path_or_inline_dv)
                .ok_or_else(|| DeletionVectorError::Corrupt { name: name.clone(), reason: "not z85".to_owned() })?;
            let size = usize::try_from(descriptor.size_in_bytes).unwrap_or_default();
            let payload = payload.get(..size).unwrap_or(&payload);
            let rows = deserialize(payload, &name)?;
            (name, rows)
        }
        Some(path) => {
            let name = path.to_string();
            let payload = read_file(store, &path, descriptor).await?;
            let rows = deserialize(&payload, &name)?;
            (name, rows)
        }
    };
    if i64::try_from(rows.len()) != Ok(descriptor.cardinality) {
        let reason = format!("it marks {} rows, {} are declared", rows.len(), descriptor.cardinality);
        return Err(DeletionVectorError::Corrupt { name, reason });
    }
    Ok(rows)
}

async fn read_file(
    store: &dyn ObjectStore,
    path: &Path,
    descriptor: &DeletionVectorDescriptor,
) -> Result<Bytes, DeletionVectorError> {
    let corrupt = |reason: String| DeletionVectorError::Corrupt { name: path.to_string(), reason };
    let offset = u64::try_from(descriptor.offset.unwrap_or(1)).map_err(|_| corrupt("negative offset".to_owned()))?;
    let size = u64::try_from(descriptor.size_in_bytes).map_err(|_| corrupt("negative size".to_owned()))?;
    let ranges = [0..1, offset..offset + size + 8];
    let parts = store.get_ranges(path, &ranges).await;
    let parts = parts.map_err(|source| DeletionVectorError::Store { name: path.to_string(), source })?;
    let [version, framed] = parts.as_slice() else { return Err(corrupt("it is cut".to_owned())) };
    if version.as_ref() != [FILE_VERSION] {
        return Err(corrupt(format!("version {version:?}, {FILE_VERSION} is supported")));
    }
    let (Some((stored_size, rest)), size) = (framed.split_first_chunk::<4>(), size as usize) else {
        return Err(corrupt("it is cut".to_owned()));
    };
    let Some((payload, checksum)) = rest.split_at_checked(size) else { return Err(corrupt("it is cut".to_owned())) };
    if u32::from_be_bytes(*stored_size) as usize != size {
        return Err(corrupt(format!("size {}, the log declares {size}", u32::from_be_bytes(*stored_size))));
    }
    if checksum != crc32fast::hash(payload).to_be_bytes() {
        return Err(corrupt("the checksum does not match".to_owned()));
    }
    Ok(framed.slice_ref(payload))
}

/// The portable format of 64-bit roaring bitmaps behind Delta's magic number; all rows are below 2^32, so it holds one
/// 32-bit bitmap.
pub(super) fn serialize(rows: &RoaringBitmap) -> Result<Vec<u8>, DeletionVectorError> {
    let mut rows = rows.clone();
    rows.optimize();
    let mut payload = Vec::with_capacity(PREFIX_BYTES + rows.serialized_size());
    payload.extend_from_slice(&MAGIC.to_le_bytes());
    payload.extend_from_slice(&1u64.to_le_bytes());
    payload.extend_from_slice(&0u32.to_le_bytes());
    rows.serialize_into(&mut payload)
        .map_err(|error| DeletionVectorError::Corrupt { name: "(new)".to_owned(), reason: error.to_string() })?;
    Ok(payload)
}

fn deserialize(payload: &[u8], name: &str) -> Result<RoaringBitmap, DeletionVectorError> {
    let corrupt = |reason: String| DeletionVectorError::Corrupt { name: name.to_owned(), reason };
    let cut = || corrupt("it is cut".to_owned());
    let (magic, rest) = payload.split_first_chunk::<4>().ok_or_else(cut)?;
    if u32::from_le_bytes(*magic) != MAGIC {
        return Err(corrupt(format!("magic number {}, {MAGIC} is needed", u32::from_le_bytes(*magic))));
    }
    let (count, mut rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let mut all = RoaringBitmap::new();
    for _ in 0..u64::from_le_bytes(*count) {
        let (key, bitmap) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let mut reader = Cursor::new(bitmap);
        let rows = RoaringBitmap::deserialize_from(&mut reader).map_err(|error| corrupt(error.to_string()))?;
        match (u32::from_le_bytes(*key), rows.min()) {
            (0, _) => all |= rows,
            (_, None) => {}
            (key, Some(row)) => {
                let row = (u64::from(key) << 32) | u64::from(row);
                return Err(DeletionVectorError::Row { name: name.to_owned(), row });
            }
        }
        rest = bitmap.get(reader.position() as usize..).ok_or_else(cut)?;
    }
    Ok(all)
}

/// ZeroMQ's base 85 (RFC 32/Z85), which Delta uses.
const Z85: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// Pads with zeros to a multiple of four bytes.
#[expect(clippy::indexing_slicing, reason = "a remainder of 85 indexes 85 digits")]
pub(super) fn z85_encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(4) * 5);
    for chunk in bytes.chunks(4) {
        let mut word = [0; 4];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        let word = u32::from_be_bytes(word);
        for power in [85 * 85 * 85 * 85, 85 * 85 * 85, 85 * 85, 85, 1] {
            text.push(char::from(Z85[(word / power % 85) as usize]));
        }
    }
    text
}

/// None where it is not z85. Padding stays.
fn z85_decode(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(5) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 5 * 4);
    for chunk in text.as_bytes().chunks(5) {
        let mut word = 0u64;
        for character in chunk {
            let digit = Z85.iter().position(|known| known == character)?;
            word = word * 85 + digit as u64;
        }
        bytes.extend_from_slice(&u32::try_from(word).ok()?.to_be_bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn z85_of_the_specification() {
        let bytes = [0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B];
        assert_eq!(z85_encode(&bytes), "HelloWorld");
        assert_eq!(z85_decode("HelloWorld").unwrap(), bytes);
        for wrong in ["Hello ", "Hell", "#####", "Hell\"", "ö0000"] {
            assert_eq!(z85_decode(wrong), None, "{wrong}");
        }
        assert_eq!(z85_decode(&z85_encode(&[1, 2, 3, 4, 5])).unwrap(), [1, 2, 3, 4, 5, 0, 0, 0]);
    }

    /// The vector is delta-kernel-rs' test case (that in the protocol's text has an older magic number); the file names
    /// are the protocol's.
    #[tokio::test]
    async fn foreign_examples() {
        let mut descriptor = DeletionVectorDescriptor {
            storage_type: "i".to_owned(),
            path_or_inline_dv: "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L".to_owned(),
            offset: None,
            size_in_bytes: 44,
            cardinality: 6,
        };
        let store = InMemory::new();
        let rows = read(&store, &Path::from("t"), &descriptor).await.unwrap();
        assert_eq!(rows.iter().collect::<Vec<_>>(), [3, 4, 7, 11, 18, 29]);
        descriptor.storage_type = "u".to_owned();
        descriptor.path_or_inline_dv = "ab^-aqEH.-t@S}K{vb[*k^".to_owned();
        let file = descriptor.file(&Path::from("t")).unwrap().unwrap();
        assert_eq!(file.as_ref(), "t/ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin");
        descriptor.storage_type = "p".to_owned();
        assert!(matches!(descriptor.file(&Path::from("t")), Err(DeletionVectorError::StorageType(_))));
    }

    fn scattered(count: u32) -> RoaringBitmap {
        (0..count).map(|row| row.wrapping_mul(2_654_435_761)).collect()
    }

    #[tokio::test]
    async fn vectors_round_trip() {
        let environment = Environment::of_test(Arc::new(InMemory::new()));
        let (store, table) = (environment.objects.as_ref(), Path::from("conversations"));
        let mut full = RoaringBitmap::new();
        full.insert_range(0..1_000_000);
        let cases = [
            (RoaringBitmap::from_iter([0]), "i"),
            (RoaringBitmap::from_iter([0, u32::MAX]), "i"),
            (full, "i"),
            (scattered(50), "i"),
            (scattered(20_000), "u"),
        ];
        for (rows, kind) in cases {
            let descriptor = write(&environment, &table, &rows).await.unwrap().unwrap();
            assert_eq!(descriptor.storage_type, kind, "{} rows", rows.len());
            assert_eq!(read(store, &table, &descriptor).await.unwrap(), rows);
        }
        assert_eq!(write(&environment, &table, &RoaringBitmap::new()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn damage_is_seen() {
        let environment = Environment::of_test(Arc::new(InMemory::new()));
        let (store, table) = (environment.objects.as_ref(), Path::from("conversations"));
        let descriptor = write(&environment, &table, &scattered(5_000)).await.unwrap().unwrap();
        let path = descriptor.file(&table).unwrap().unwrap();
        let whole = store.get(&path).await.unwrap().bytes().await.unwrap();
        for index in (0..20).chain((20..whole.len()).step_by(97)).chain(whole.len() - 4..whole.len()) {
            let mut damaged = whole.to_vec();
            damaged[index] ^= 0x10;
            store.put(&path, damaged.into()).await.unwrap();
            assert!(read(store, &table, &descriptor).await.is_err(), "byte {index}");
        }
        store.put(&path, whole.slice(..whole.len() / 2).into()).await.unwrap();
        assert!(read(store, &table, &descriptor).await.is_err());

        let inline = write(&environment, &table, &scattered(50)).await.unwrap().unwrap();
        let miscounted = DeletionVectorDescriptor { cardinality: 51, ..inline.clone() };
        assert!(matches!(read(store, &table, &miscounted).await, Err(DeletionVectorError::Corrupt { .. })));
        let cut = DeletionVectorDescriptor { size_in_bytes: 30, ..inline };
        assert!(read(store, &table, &cut).await.is_err());
    }
}
