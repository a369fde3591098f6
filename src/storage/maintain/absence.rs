//! Proves that a text is in no object of a store (contract A7): all of them are read, whoever they belong to, as bytes
//! and as what they hold. It relies on nothing that the store says about itself, so it finds what an erasure forgot.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path as FilePath, PathBuf};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::TryStreamExt;
use memchr::memmem::{Finder, find_iter};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::task::spawn_blocking;

use crate::environment::Environment;
use crate::model::fold::fold;
use crate::storage::error::StoreError;
use crate::storage::format::text_index::file::FOLDER as TEXT_INDEXES;

const PARQUET: &[u8] = b"PAR1";
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Of what a compressed part may hold; a log object holds the most.
const MAX_PLAIN_BYTES: u64 = 4 << 30;
/// Compressed parts within compressed parts.
const MAX_DEPTH: u32 = 3;
const BATCH_ROWS: usize = 1_024;
/// An object that comes while the others are read is read too; a store that is written all the time has always more.
const ROUNDS: usize = 20;

/// What was read, and where the text is.
#[derive(Debug, Default)]
pub(crate) struct Absence {
    pub(crate) objects: usize,
    pub(crate) bytes: u64,
    /// By object: where in it.
    pub(crate) found: Vec<(String, BTreeSet<String>)>,
    /// Objects about which nothing can be said, and why.
    pub(crate) unread: Vec<(String, String)>,
}

/// Reads every object, and in the folder of a local store every file that is no object as well. Nothing is written and
/// no lock is taken: a server may run.
pub(crate) async fn look_for(
    environment: &Environment,
    folder: Option<&FilePath>,
    text: &str,
) -> Result<Absence, StoreError> {
    let mut absence = Absence::default();
    let mut seen: BTreeSet<Path> = BTreeSet::new();
    for _ in 0..ROUNDS {
        let listed = environment.objects.list(None).map_ok(|object| object.location);
        let listed: Vec<Path> =
            listed.try_collect().await.map_err(|error| StoreError::caused("the store could not be listed", error))?;
        let new: Vec<Path> = listed.into_iter().filter(|path| !seen.contains(path)).collect();
        if new.is_empty() {
            break;
        }
        for path in new {
            match read(environment, &path).await {
                Ok(Some(object)) => absence.look_into(path.to_string(), object, text).await,
                // It has gone meanwhile.
                Ok(None) => {}
                Err(error) => absence.unread.push((path.to_string(), error.to_string())),
            }
            seen.insert(path);
        }
    }
    for file in folder.map(files_of).unwrap_or_default() {
        let name = folder.and_then(|folder| file.strip_prefix(folder).ok()).unwrap_or(&file).display().to_string();
        if seen.iter().any(|path| path.as_ref() == name) {
            continue;
        }
        match std::fs::read(&file) {
            Ok(object) => absence.look_into(name, object.into(), text).await,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => absence.unread.push((name, error.to_string())),
        }
    }
    Ok(absence)
}

async fn read(environment: &Environment, path: &Path) -> Result<Option<Bytes>, Error> {
    match environment.objects.get(path).await {
        Ok(object) => object.bytes().await.map(Some),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// All files below a folder.
fn files_of(folder: &FilePath) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort_unstable();
    files
}

impl Absence {
    async fn look_into(&mut self, name: String, object: Bytes, text: &str) {
        self.objects += 1;
        self.bytes += object.len() as u64;
        let search = Search::new(text, name.starts_with(TEXT_INDEXES));
        // A damaged footer makes parquet 59.3 panic.
        match spawn_blocking(move || search.object(&object)).await {
            Ok(Ok(places)) if places.is_empty() => {}
            Ok(Ok(places)) => self.found.push((name, places)),
            Ok(Err(reason)) => self.unread.push((name, reason)),
            Err(error) => self.unread.push((name, error.to_string())),
        }
    }
}

struct Search {
    /// The text as it is, as JSON spells it, and folded where the object holds folded texts.
    finders: Vec<Finder<'static>>,
    plain: Finder<'static>,
}

impl Search {
    fn new(text: &str, folded: bool) -> Search {
        let mut spellings = BTreeSet::from([text.to_owned()]);
        let json = serde_json::Value::from(text).to_string();
        spellings.insert(json.trim_matches('"').to_owned());
        if folded {
            spellings.insert(fold(text));
            // As text indexes of older versions hold them, up to when they are made again.
            let cased = text.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase);
            spellings.insert(cased.flat_map(char::to_lowercase).collect());
        }
        let finder = |text: &str| Finder::new(text.as_bytes()).into_owned();
        Search { finders: spellings.iter().map(|text| finder(text)).collect(), plain: finder(text) }
    }

    /// Where in an object the text is.
    fn object(&self, object: &Bytes) -> Result<BTreeSet<String>, String> {
        let mut places = BTreeSet::new();
        if self.is_in(object, MAX_DEPTH) {
            places.insert("its bytes".to_owned());
        }
        if object.starts_with(PARQUET) {
            let reader = ParquetRecordBatchReaderBuilder::try_new(object.clone()).map_err(|error| error.to_string())?;
            let reader = reader.with_batch_size(BATCH_ROWS).build().map_err(|error| error.to_string())?;
            for batch in reader {
                self.batch(&batch.map_err(|error| error.to_string())?, &mut places);
            }
        }
        Ok(places)
    }

    fn batch(&self, batch: &RecordBatch, places: &mut BTreeSet<String>) {
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            if self.is_in_array(column) {
                places.insert(format!("the column {}", field.name()));
            }
        }
    }

    /// Value by value, so that what is none is not found across two.
    fn is_in_array(&self, array: &ArrayRef) -> bool {
        let mut found = false;
        let mut look =
            |value: Option<&[u8]>| found |= !found && value.is_some_and(|value| self.is_in(value, MAX_DEPTH));
        match array.data_type() {
            DataType::Utf8 => array.as_string::<i32>().iter().for_each(|value| look(value.map(str::as_bytes))),
            DataType::LargeUtf8 => array.as_string::<i64>().iter().for_each(|value| look(value.map(str::as_bytes))),
            DataType::Utf8View => array.as_string_view().iter().for_each(|value| look(value.map(str::as_bytes))),
            DataType::Binary => array.as_binary::<i32>().iter().for_each(look),
            DataType::LargeBinary => array.as_binary::<i64>().iter().for_each(look),
            DataType::BinaryView => array.as_binary_view().iter().for_each(look),
            DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().iter().for_each(look),
            DataType::Dictionary(..) => return self.is_in_array(array.as_any_dictionary().values()),
            DataType::List(_) => return self.is_in_array(array.as_list::<i32>().values()),
            DataType::LargeList(_) => return self.is_in_array(array.as_list::<i64>().values()),
            DataType::FixedSizeList(..) => return self.is_in_array(array.as_fixed_size_list().values()),
            DataType::Struct(_) => return array.as_struct().columns().iter().any(|column| self.is_in_array(column)),
            DataType::Map(..) => {
                let map = array.as_map();
                return self.is_in_array(map.keys()) || self.is_in_array(map.values());
            }
            // Numbers, times and truth values hold no text.
            _ => {}
        }
        found
    }

    /// As bytes, in what they hold compressed, and in strings of JSON that spell it in another way.
    fn is_in(&self, bytes: &[u8], depth: u32) -> bool {
        if self.finders.iter().any(|finder| finder.find(bytes).is_some()) {
            return true;
        }
        if memchr::memchr(b'\\', bytes).is_some() && self.plain.find(&unescaped(bytes)).is_some() {
            return true;
        }
        let Some(deeper) = depth.checked_sub(1) else { return false };
        let mut begins = find_iter(bytes, &ZSTD);
        begins.any(|begin| bytes.get(begin..).and_then(decompressed).is_some_and(|plain| self.is_in(&plain, deeper)))
    }
}

/// What a frame holds, and those that follow it directly; as far as it goes, since any bytes may look like the beginning
/// of one.
fn decompressed(frame: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let decoder = zstd::stream::Decoder::with_buffer(frame).ok()?.single_frame();
    let read = decoder.take(MAX_PLAIN_BYTES).read_to_end(&mut plain);
    (read.is_ok() || !plain.is_empty()).then_some(plain)
}

/// With the escapes of JSON strings resolved wherever they stand; other bytes stay.
fn unescaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, escape) = rest.split_at(at);
        out.extend_from_slice(before);
        let (text, length) = resolve(escape);
        match text {
            Some(text) => {
                let mut buffer = [0; 4];
                out.extend_from_slice(text.encode_utf8(&mut buffer).as_bytes());
            }
            None => out.extend_from_slice(escape.get(..length).unwrap_or(escape)),
        }
        rest = escape.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// The character of the escape at the beginning, and how long the escape is.
fn resolve(escape: &[u8]) -> (Option<char>, usize) {
    let one = |letter| (Some(letter), 2);
    match escape.get(1) {
        Some(b'n') => one('\n'),
        Some(b't') => one('\t'),
        Some(b'r') => one('\r'),
        Some(b'b') => one('\u{8}'),
        Some(b'f') => one('\u{c}'),
        Some(letter @ (b'"' | b'\\' | b'/')) => one(char::from(*letter)),
        Some(b'u') => match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
                let pair = char::decode_utf16([high, low]).next().and_then(Result::ok);
                (pair, 12)
            }
            (Some(unit), _) => (char::from_u32(u32::from(unit)), 6),
            (None, _) => (None, 2),
        },
        _ => (None, 1),
    }
}

/// Of `\u` and four digits.
fn unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BinaryArray, DictionaryArray, StringArray};
    use arrow::datatypes::{Field, Int32Type, Schema};
    use object_store::PutPayload;
    use object_store::memory::InMemory;
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn finds(text: &str, object: &[u8]) -> bool {
        !Search::new(text, false).object(&Bytes::copy_from_slice(object)).unwrap().is_empty()
    }

    fn packed(plain: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(plain, 3).unwrap()
    }

    #[test]
    fn a_text_is_found_however_it_is_spelled_or_packed() {
        for text in ["c-1", "Grüße an \"Eva\"\n", "🦀 \\ /"] {
            let json = serde_json::Value::from(text).to_string();
            let ascii: String = json
                .encode_utf16()
                .map(|unit| match char::from_u32(u32::from(unit)) {
                    Some(letter) if letter.is_ascii() => letter.to_string(),
                    _ => format!("\\u{unit:04x}"),
                })
                .collect();
            let filler = [b"filler ".repeat(50), text.as_bytes().to_vec()].concat();
            for holder in [text.as_bytes(), json.as_bytes(), ascii.as_bytes(), &filler] {
                let once = [b"head", packed(holder).as_slice(), b"tail"].concat();
                for object in [holder, &once, &[b"x", packed(&once).as_slice()].concat()] {
                    assert!(finds(text, object), "{text} in {object:?}");
                    assert!(!finds("c-2", object));
                }
            }
        }
        assert!(!finds("ab", b"a\\qb"));
        assert!(!finds("x", &ZSTD));
    }

    #[test]
    fn values_of_parquet_files_are_read_one_by_one() {
        let mut dictionary: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec!["one secret", "two"]))];
        dictionary.push(Arc::new(BinaryArray::from_vec(vec![&packed(b"packed secret"), b"plain"])));
        dictionary.push(Arc::new(["a", "b"].into_iter().collect::<DictionaryArray<Int32Type>>()));
        let fields: Vec<Field> = ["texts", "blobs", "names"]
            .into_iter()
            .zip(&dictionary)
            .map(|(name, array)| Field::new(name, array.data_type().clone(), true))
            .collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), dictionary).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let object = Bytes::from(writer.into_inner().unwrap());
        let places = |text| Search::new(text, false).object(&object).unwrap();
        assert!(places("packed secret").contains("the column blobs"));
        assert!(places("one secret").contains("the column texts"));
        assert!(places("secrettwo").is_empty());
        assert!(places("nowhere").is_empty());
        assert!(Search::new("x", false).object(&object.slice(..object.len() - 9)).is_err(), "it is cut");
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told() {
        let environment = Environment::of_test(Arc::new(InMemory::new()));
        let put = async |path: &str, object: &[u8]| {
            environment.objects.put(&Path::from(path), PutPayload::from(object.to_vec())).await.unwrap();
        };
        put("a/sound", b"nothing").await;
        put("text_index/x", &packed(b"the secret")).await;
        put("events/data/y", b"PAR1 and no more").await;
        let absence = look_for(&environment, None, "The Secret").await.unwrap();
        assert_eq!(absence.objects, 3);
        assert_eq!(absence.found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["text_index/x"]);
        assert_eq!(absence.unread.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["events/data/y"]);
    }
}
