//! The object `FORMAT`: that a folder is a store, which version wrote it, and what it needs of a reader. It is read
//! before anything else, so that nothing in a folder of other things is touched, and so that an older version does not
//! take a newer store for a damaged one.

use std::ops::RangeInclusive;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStore, PutMode};
use serde::{Deserialize, Serialize};

use super::error::{CatalogError, read_object};
use crate::storage::error::{Cause, ErrorKind};
use crate::storage::format::hex::{Checksum, StoreId};
use crate::storage::objects::probe;

const OBJECT: &str = "FORMAT";
/// What this version writes.
const FORMAT: u32 = 1;
/// What it reads.
const READS: RangeInclusive<u32> = 1..=FORMAT;
/// Objects of a local folder that are there before the store is one.
const LOCK: &str = "LOCK";
/// Names of foreign objects that an error shows.
const SHOWN: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Marker {
    /// Of the store's layout and objects as a whole.
    pub(crate) format: u32,
    /// A version that reads no store format as high as this can't read the store.
    pub(crate) minimum_reader: u32,
    /// For people; nothing is decided by it.
    pub(crate) made_by: String,
    pub(crate) store: StoreId,
    /// Of all of the above: a flipped digit must not make a store look like one of another version.
    checksum: Checksum,
}

impl Marker {
    fn new(store: StoreId) -> Self {
        let made_by = format!("convolake {}", env!("CARGO_PKG_VERSION"));
        Marker { format: FORMAT, minimum_reader: FORMAT, made_by, store, checksum: Checksum::default() }.sealed()
    }

    fn sealed(mut self) -> Self {
        let Marker { format, minimum_reader, made_by, store, .. } = &self;
        self.checksum = Checksum::of(format!("{format} {minimum_reader} {store} {made_by}").as_bytes());
        self
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum MarkerError {
    #[error(
        "{location} is not a store: it has no object {OBJECT}, but {}; give an empty folder, or the right one. Nothing \
         in it was touched",
        found.join(", ")
    )]
    Foreign { location: String, found: Vec<String> },
    #[error("{location} is empty: there is no store to read")]
    Empty { location: String },
    #[error(
        "the store {location} was made by {made_by} and needs a version that reads store format {minimum_reader}; this \
         one reads formats {} to {}",
        READS.start(), READS.end()
    )]
    Newer { location: String, made_by: String, minimum_reader: u32 },
    #[error(
        "the store {location} has format {version}, made by {made_by}; this version can read it, but writes format \
         {FORMAT} only: start a newer one"
    )]
    ReadOnly { location: String, made_by: String, version: u32 },
    #[error("the store {location} has format {version}; this version reads formats {} to {}", READS.start(), READS.end())]
    Older { location: String, version: u32 },
    #[error("the store {location}: {source}")]
    Object { location: String, source: Box<CatalogError> },
}

impl Cause for MarkerError {
    fn kind(&self) -> ErrorKind {
        match self {
            MarkerError::Object { source, .. } => source.kind(),
            // Another folder, or another version of this program.
            _ => ErrorKind::Damaged,
        }
    }
}

/// What the store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Writes nothing, so that it works on a disk that is full or read-only.
    Reading,
    /// An empty store gets a marker, with this id.
    Writing { new_store: StoreId },
}

/// `location` is the folder or URL, for errors.
pub(crate) async fn open(objects: &dyn ObjectStore, location: &str, purpose: Purpose) -> Result<Marker, MarkerError> {
    let path = Path::from(OBJECT);
    let failed = |source| MarkerError::Object { location: location.to_owned(), source: Box::new(source) };
    if let Some(object) = read_object(objects, &path).await.map_err(failed)? {
        return check(&object, &path, location, purpose);
    }
    let found = foreign_objects(objects).await.map_err(failed)?;
    if !found.is_empty() {
        // Another process may have made the store between the two looks.
        if let Some(object) = read_object(objects, &path).await.map_err(failed)? {
            return check(&object, &path, location, purpose);
        }
        return Err(MarkerError::Foreign { location: location.to_owned(), found });
    }
    let Purpose::Writing { new_store } = purpose else {
        return Err(MarkerError::Empty { location: location.to_owned() });
    };
    let marker = Marker::new(new_store);
    let object = serde_json::to_vec_pretty(&marker).map_err(|error| failed(CatalogError::Bug(error.to_string())))?;
    match objects.put_opts(&path, object.into(), PutMode::Create.into()).await {
        Ok(_) => Ok(marker),
        // Another process was first, or this one's answer was lost.
        Err(Error::AlreadyExists { source, .. }) => match read_object(objects, &path).await.map_err(failed)? {
            Some(object) => check(&object, &path, location, purpose),
            // Some stores say so while another one's write is under way.
            None => Err(failed(CatalogError::unreadable(&path, Error::Generic { store: "marker", source }))),
        },
        Err(source) => Err(failed(CatalogError::Unwritable { object: path, source })),
    }
}

fn check(object: &Bytes, path: &Path, location: &str, purpose: Purpose) -> Result<Marker, MarkerError> {
    let location = location.to_owned();
    let damaged = |reason: String| MarkerError::Object {
        source: Box::new(CatalogError::damaged(path, reason)),
        location: location.clone(),
    };
    let marker: Marker = serde_json::from_slice(object).map_err(|error| damaged(error.to_string()))?;
    if marker != marker.clone().sealed() {
        return Err(damaged(format!("its checksum is not {}", marker.checksum)));
    }
    let Marker { format: version, minimum_reader, made_by, .. } = marker.clone();
    if minimum_reader > *READS.end() {
        return Err(MarkerError::Newer { location, made_by, minimum_reader });
    }
    if version < *READS.start() {
        return Err(MarkerError::Older { location, version });
    }
    if version > FORMAT && purpose != Purpose::Reading {
        return Err(MarkerError::ReadOnly { location, made_by, version });
    }
    Ok(marker)
}

/// Names of what lies in a folder without a marker; a folder without objects is nothing.
async fn foreign_objects(objects: &dyn ObjectStore) -> Result<Vec<String>, CatalogError> {
    let failed = |source| CatalogError::unreadable(&Path::from("/"), source);
    let listed = objects.list_with_delimiter(None).await.map_err(failed)?;
    let names = listed.objects.iter().map(|object| object.location.to_string()).filter(|name| name != LOCK);
    let mut found: Vec<String> = names.collect();
    // What a writer that was killed has left of its probe is nobody's.
    for folder in listed.common_prefixes.into_iter().filter(|folder| folder.as_ref() != probe::FOLDER) {
        if objects.list(Some(&folder)).try_next().await.map_err(failed)?.is_some() {
            found.push(format!("{folder}/"));
        }
    }
    found.sort();
    if found.len() > SHOWN {
        let more = found.len() - SHOWN;
        found.truncate(SHOWN);
        found.push(format!("and {more} more"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
