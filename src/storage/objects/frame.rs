//! How commits, checkpoints of them, keys, lists of categories and secrets lie in their objects: one line of ASCII, then
//! zstd of a JSON text.
//!
//! ```text
//! convolake commit 1 <xxh3-128 in 32 hex digits> <count of bytes after this line>\n
//! ```
//! The line keeps its shape in every format. The checksum is over all else in the object, the format in the line too:
//! a flipped digit must not make a damaged object look like one of a newer version.

use std::io::Read;
use std::ops::RangeInclusive;

use object_store::path::Path;
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3;

use crate::storage::error::{Cause, ErrorKind};

const MAGIC: &str = "convolake";
const ZSTD_LEVEL: i32 = 3;
/// Bounds what a reader allocates. The checkpoint of a million files has a tenth of it.
const MAX_PLAIN_BYTES: u64 = 8 << 30;
/// Longer than any line that is one: the rest of a foreign object is not searched for its end.
const MAX_LINE_BYTES: usize = 128;

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("is damaged: {0}")]
    Damaged(String),
    #[error(
        "has format {found}, this version reads formats {} to {}; start a version that reads it",
        reads.start(), reads.end()
    )]
    Format { found: u32, reads: RangeInclusive<u32> },
}

/// An object that can't be used as it is, and why. What could only not be read now is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{object} {error}")]
pub(crate) struct Unsound {
    pub(crate) object: Path,
    pub(crate) error: FrameError,
}

impl Unsound {
    pub(crate) fn damaged(object: &Path, reason: impl Into<String>) -> Unsound {
        Unsound { object: object.clone(), error: damaged(reason) }
    }

    /// And not of another format, which another version reads.
    pub(crate) fn is_damaged(&self) -> bool {
        matches!(self.error, FrameError::Damaged(_))
    }
}

impl Cause for Unsound {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Damaged
    }

    fn object(&self) -> Option<&Path> {
        Some(&self.object)
    }
}

fn damaged(reason: impl Into<String>) -> FrameError {
    FrameError::Damaged(reason.into())
}

/// A kind of object with this frame.
#[derive(Clone)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// What is written.
    pub(crate) format: u32,
    pub(crate) reads: RangeInclusive<u32>,
}

fn checksum(kind: &str, format: u32, body: &[u8]) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(format!("{MAGIC} {kind} {format} {} ", body.len()).as_bytes());
    hash.update(body);
    hash.digest128()
}

/// The object, and its checksum.
pub(crate) fn encode(kind: &Kind, content: &impl Serialize) -> Result<(Vec<u8>, u128), String> {
    let plain = serde_json::to_vec(content).map_err(|error| error.to_string())?;
    if plain.len() as u64 > MAX_PLAIN_BYTES {
        return Err(format!("{} bytes of JSON, {MAX_PLAIN_BYTES} are allowed", plain.len()));
    }
    let body = zstd::bulk::compress(&plain, ZSTD_LEVEL).map_err(|error| error.to_string())?;
    let checksum = checksum(kind.name, kind.format, &body);
    let mut object = format!("{MAGIC} {} {} {checksum:032x} {}\n", kind.name, kind.format, body.len()).into_bytes();
    object.extend_from_slice(&body);
    Ok((object, checksum))
}

pub(crate) fn decode<T: DeserializeOwned>(kind: &Kind, object: &[u8]) -> Result<(T, u128), FrameError> {
    let line = object.iter().take(MAX_LINE_BYTES).position(|byte| *byte == b'\n');
    let (line, body) = line
        .and_then(|end| object.split_at_checked(end))
        .and_then(|(line, rest)| Some((std::str::from_utf8(line).ok()?, rest.get(1..)?)))
        .ok_or_else(|| damaged(format!("its first line does not end within {MAX_LINE_BYTES} bytes of text")))?;
    let fields: Vec<&str> = line.split(' ').collect();
    let [MAGIC, name, format, declared, length] = fields.as_slice() else {
        return Err(damaged(format!("its first line is {line:?}")));
    };
    if *name != kind.name {
        return Err(damaged(format!("it is a {name:?}, a {} is needed", kind.name)));
    }
    let number = |what: &str, text: &str| {
        let number = text.parse::<u64>().ok().filter(|number| number.to_string() == text);
        number.ok_or_else(|| damaged(format!("its {what} is {text:?}")))
    };
    let length = number("length", length)?;
    if length != body.len() as u64 {
        return Err(damaged(format!("{} bytes follow its first line, which declares {length}", body.len())));
    }
    let format = number("format", format)?;
    let format = u32::try_from(format).map_err(|_| damaged(format!("its format is {format}")))?;
    let found = checksum(name, format, body);
    if *declared != format!("{found:032x}") {
        return Err(damaged(format!("its checksum is {found:032x}, its first line declares {declared}")));
    }
    if !kind.reads.contains(&format) {
        return Err(FrameError::Format { found: format, reads: kind.reads.clone() });
    }
    let plain = decompress(body).map_err(|error| damaged(format!("it cannot be decompressed: {error}")))?;
    let content = serde_json::from_slice(&plain).map_err(|error| damaged(error.to_string()))?;
    Ok((content, found))
}

fn decompress(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    zstd::stream::Decoder::with_buffer(body)?.take(MAX_PLAIN_BYTES).read_to_end(&mut plain)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Kind = Kind { name: "commit", format: 1, reads: 1..=1 };

    fn object() -> Vec<u8> {
        encode(&ONE, &["a", "b"]).unwrap().0
    }

    fn decoded(kind: &Kind, object: &[u8]) -> Result<Vec<String>, FrameError> {
        decode(kind, object).map(|(content, _)| content)
    }

    #[test]
    fn what_is_framed_comes_back() {
        let (object, checksum) = encode(&ONE, &["a", "b"]).unwrap();
        let (content, same) = decode::<Vec<String>>(&ONE, &object).unwrap();
        assert_eq!((content, same), (vec!["a".to_owned(), "b".to_owned()], checksum));
        let line = object.split(|byte| *byte == b'\n').next().unwrap();
        assert!(std::str::from_utf8(line).unwrap().starts_with(&format!("convolake commit 1 {checksum:032x} ")));
    }

    #[test]
    fn every_flip_and_cut_is_damage() {
        let object = object();
        for index in 0..object.len() {
            for bit in 0..8 {
                let mut flipped = object.clone();
                flipped[index] ^= 1 << bit;
                let error = decoded(&ONE, &flipped).unwrap_err();
                assert!(matches!(error, FrameError::Damaged(_)), "byte {index}, bit {bit}: {error:?}");
            }
            assert!(matches!(decoded(&ONE, &object[..index]), Err(FrameError::Damaged(_))), "{index} bytes");
        }
        let longer = [object.as_slice(), b"x"].concat();
        assert!(decoded(&ONE, &longer).unwrap_err().to_string().contains("which declares"));
        for foreign in [&b""[..], b"PAR1", b"convolake commit 1 0 0\n", b"convolake  commit 1 0 0 0\n"] {
            assert!(matches!(decoded(&ONE, foreign), Err(FrameError::Damaged(_))));
        }
        let long = vec![b'x'; 1 << 20];
        assert!(decoded(&ONE, &long).is_err());
    }

    #[test]
    fn other_formats_and_kinds_are_told_from_damage() {
        let three = Kind { format: 3, ..ONE };
        let (object, _) = encode(&three, &["a"]).unwrap();
        assert_eq!(decoded(&ONE, &object), Err(FrameError::Format { found: 3, reads: 1..=1 }));
        let range = Kind { reads: 2..=4, ..ONE };
        assert_eq!(decoded(&range, &object).unwrap(), ["a"]);
        assert_eq!(decoded(&range, &self::object()), Err(FrameError::Format { found: 1, reads: 2..=4 }));
        let checkpoint = Kind { name: "checkpoint", ..ONE };
        assert!(decoded(&checkpoint, &object).unwrap_err().to_string().contains("a checkpoint is needed"));
    }
}
