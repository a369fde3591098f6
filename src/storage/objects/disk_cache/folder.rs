//! Blocks of objects as files of one folder: `<object>/<number>`, each with what it is and a checksum. What is not as it
//! was written is dropped. Any number of processes may use one folder, and it may be deleted at any time: a block that
//! is not there is read from the store again.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::cache::Held;

const MAGIC: [u8; 8] = *b"CLBLOCK1";
const HEAD_BYTES: usize = 48;
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Other processes write too: after this part of the capacity was written here, the folder is looked through.
const LOOK_AFTER: u64 = 8;

/// An object by the hash of its name, and which of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) object: u128,
    pub(super) number: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    /// Of the whole object.
    pub(super) size: u64,
    pub(super) bytes: Bytes,
}

pub(super) struct BlockFolder {
    root: PathBuf,
    capacity: u64,
    known: Mutex<Known>,
    /// Names of files that are being written.
    next_file: AtomicU64,
}

/// The files in the order of their last use, as far as this process knows of them.
#[derive(Default)]
struct Known {
    files: HashMap<Place, (u64, u64)>,
    order: BTreeMap<u64, Place>,
    bytes: u64,
    next_use: u64,
    written: u64,
}

impl Known {
    fn used(&mut self, place: Place, bytes: u64) {
        self.forget(place);
        self.next_use += 1;
        self.files.insert(place, (self.next_use, bytes));
        self.order.insert(self.next_use, place);
        self.bytes += bytes;
    }

    fn forget(&mut self, place: Place) {
        if let Some((used, bytes)) = self.files.remove(&place) {
            self.order.remove(&used);
            self.bytes -= bytes;
        }
    }

    fn oldest(&self) -> Option<Place> {
        self.order.first_key_value().map(|(_, place)| *place)
    }
}

impl Held for BlockFolder {
    fn bytes(&self) -> u64 {
        self.known().bytes
    }

    fn capacity(&self) -> u64 {
        self.capacity
    }
}

impl BlockFolder {
    /// Nothing is read yet; what other processes have left in it is known after [`BlockFolder::look_through`].
    pub(super) fn new(root: PathBuf, capacity: u64) -> BlockFolder {
        BlockFolder { root, capacity, known: Mutex::default(), next_file: AtomicU64::new(0) }
    }

    pub(super) fn read(&self, place: Place) -> Option<Block> {
        let path = self.path(place);
        let stored = File::open(&path).and_then(|mut file| {
            let mut stored = Vec::new();
            file.read_to_end(&mut stored).map(|_| stored)
        });
        let Ok(stored) = stored else {
            self.known().forget(place);
            return None;
        };
        let bytes = stored.len() as u64;
        let block = decode(place, stored);
        match block {
            Some(_) => self.known().used(place, bytes),
            None => {
                tracing::warn!(file = %path.display(), "a damaged block of the cache is dropped");
                self.remove(place);
            }
        }
        block
    }

    /// What cannot be written is not cached.
    pub(super) fn write(&self, place: Place, block: &Block) -> io::Result<()> {
        let (path, number) = (self.path(place), self.next_file.fetch_add(1, Ordering::Relaxed));
        let new = path.with_extension(format!("{}-{number}", own_files()));
        let head = head(place, block);
        let bytes = (head.len() + block.bytes.len()) as u64;
        if bytes > self.capacity {
            return Ok(());
        }
        let written = self.write_new(&new, &[&head, &block.bytes]).and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            let _ = fs::remove_file(&new);
            return written;
        }
        let mut known = self.known();
        known.used(place, bytes);
        known.written += bytes;
        let mut leaving = Vec::new();
        while known.bytes > self.capacity
            && let Some(oldest) = known.oldest()
        {
            known.forget(oldest);
            leaving.push(oldest);
        }
        drop(known);
        leaving.into_iter().for_each(|place| self.remove(place));
        Ok(())
    }

    fn write_new(&self, path: &FilePath, parts: &[&[u8]]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(FILE_MODE);
        let mut file = match options.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let folder = path.parent().unwrap_or(&self.root);
                DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
                options.open(path)?
            }
            opened => opened?,
        };
        parts.iter().try_for_each(|part| file.write_all(part))
    }

    /// The whole object: it is deleted, or written again.
    pub(super) fn forget(&self, object: u128) {
        {
            let mut known = self.known();
            let places: Vec<Place> = known.files.keys().filter(|place| place.object == object).copied().collect();
            places.into_iter().for_each(|place| known.forget(place));
        }
        match fs::remove_dir_all(self.folder(object)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, "blocks of an object that is deleted stay in the cache");
            }
            _ => {}
        }
    }

    fn remove(&self, place: Place) {
        self.known().forget(place);
        let _ = fs::remove_file(self.path(place));
        // As long as it has other blocks, it stays.
        let _ = fs::remove_dir(self.folder(place.object));
    }

    /// Whether so much was written here that the folder is to be looked through again.
    pub(super) fn is_look_due(&self) -> bool {
        self.known().written >= self.capacity / LOOK_AFTER
    }

    /// Takes in what other processes have written, the longest unread first, and removes what they left unfinished.
    pub(super) fn look_through(&self) {
        self.known().written = 0;
        let mut found = Vec::new();
        for folder in entries(&self.root) {
            let Some(object) = folder.file_name().and_then(|name| u128::from_str_radix(name.to_str()?, 16).ok()) else {
                continue;
            };
            for file in entries(&folder) {
                let Some(metadata) = fs::metadata(&file).ok() else { continue };
                match file.file_name().and_then(|name| name.to_str()).map(str::parse) {
                    Some(Ok(number)) => {
                        found.push((metadata.modified().ok(), Place { object, number }, metadata.len()));
                    }
                    Some(Err(_)) if !is_own(&file) => {
                        let _ = fs::remove_file(&file);
                    }
                    _ => {}
                }
            }
        }
        found.sort();
        let mut known = self.known();
        let mut before = std::mem::take(&mut *known);
        for (_, place, bytes) in found {
            if !before.files.contains_key(&place) {
                known.used(place, bytes);
            }
        }
        // What this process has used is newer; what it wrote meanwhile is in no list of the folder yet.
        while let Some((_, place)) = before.order.pop_first() {
            if let Some((_, bytes)) = before.files.get(&place) {
                known.used(place, *bytes);
            }
        }
    }

    fn folder(&self, object: u128) -> PathBuf {
        self.root.join(format!("{object:032x}"))
    }

    fn path(&self, place: Place) -> PathBuf {
        self.folder(place.object).join(place.number.to_string())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ending of files that this process is writing begins so.
fn own_files() -> String {
    format!("new-{}", std::process::id())
}

fn is_own(file: &FilePath) -> bool {
    let ending = file.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ending.rsplit_once('-').is_some_and(|(owner, _)| owner == own_files()))
}

fn entries(folder: &FilePath) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).into_iter().flatten();
    read.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()
}

fn head(place: Place, block: &Block) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&place.object.to_le_bytes());
    head.extend_from_slice(&u64::from(place.number).to_le_bytes());
    head.extend_from_slice(&block.size.to_le_bytes());
    let checksum = checksum(&head, &block.bytes);
    head.extend_from_slice(&checksum.to_le_bytes());
    head
}

fn checksum(head: &[u8], bytes: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(head);
    hash.update(bytes);
    hash.digest()
}

/// None for what is not as [`BlockFolder::write`] has left it.
fn decode(place: Place, stored: Vec<u8>) -> Option<Block> {
    let stored = Bytes::from(stored);
    let size = stored.get(32..40).and_then(|size| size.try_into().ok()).map(u64::from_le_bytes)?;
    let block = Block { size, bytes: stored.slice(HEAD_BYTES.min(stored.len())..) };
    (stored.get(..HEAD_BYTES) == Some(head(place, &block).as_slice())).then_some(block)
}
