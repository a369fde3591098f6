use std::path::Path as FilePath;

use object_store::memory::InMemory;
use object_store::{Error, ObjectStoreExt};
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use tempfile::TempDir;

use super::*;
use crate::requests::{Request, Requests};
use crate::storage::objects::counted::CountedStore;

const BLOCK: usize = BLOCK_BYTES as usize;

/// A store, what is asked of it, and a cache before it.
struct Cached {
    memory: Arc<InMemory>,
    requests: Arc<Requests>,
    cache: CachedStore,
}

async fn cached(folder: &TempDir, memory: &Arc<InMemory>, capacity: u64) -> Cached {
    let counted = CountedStore::new(memory.clone());
    let requests = counted.requests();
    let cache = CachedStore::new(Arc::new(counted), "s3://bucket/a", folder.path().to_owned(), capacity);
    cache.blocks.look_through();
    Cached { memory: memory.clone(), requests, cache }
}

impl Cached {
    fn gets(&self) -> u64 {
        self.requests.of(Request::Get)
    }

    async fn read(&self, path: &Path, range: Range<u64>) -> Bytes {
        self.cache.get_range(path, range).await.unwrap()
    }
}

fn random_bytes(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SmallRng::seed_from_u64(length as u64).fill_bytes(&mut bytes);
    bytes
}

fn data(name: &str) -> Path {
    Path::from(format!("conversations/data/{name}.parquet"))
}

type Files = Vec<(PathBuf, u64)>;

fn files(folder: &TempDir) -> Files {
    let mut found = Vec::new();
    for object in std::fs::read_dir(folder.path()).unwrap() {
        for file in std::fs::read_dir(object.unwrap().path()).unwrap() {
            let file = file.unwrap();
            found.push((file.path(), file.metadata().unwrap().len()));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn what_was_read_once_is_not_asked_for_again() {
    let (folder, memory) = (TempDir::new().unwrap(), Arc::new(InMemory::new()));
    let bytes = random_bytes(5 * BLOCK + 1_000);
    memory.put(&data("a"), bytes.clone().into()).await.unwrap();
    let cached = cached(&folder, &memory, 1 << 30).await;
    // One request for blocks that lie together.
    let whole = cached.read(&data("a"), 0..bytes.len() as u64).await;
    assert!(whole == bytes);
    assert_eq!(cached.gets(), 1);
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..100 {
        let ranges: Vec<Range<u64>> = (0..random.random_range(1..4))
            .map(|_| {
                let from = random.random_range(0..bytes.len() as u64);
                from..random.random_range(from + 1..=bytes.len() as u64)
            })
            .collect();
        let read = cached.cache.get_ranges(&data("a"), &ranges).await.unwrap();
        let expected = ranges.iter().map(|range| &bytes[range.start as usize..range.end as usize]);
        assert!(read.iter().eq(expected), "{ranges:?}");
    }
    assert_eq!(cached.gets(), 1);
    let beyond = GetRange::Bounded(bytes.len() as u64 - 10..bytes.len() as u64 + 10);
    let options = GetOptions { range: Some(beyond), ..GetOptions::default() };
    let got = cached.cache.get_opts(&data("a"), options).await.unwrap();
    assert_eq!((got.meta.size, got.range.end), (bytes.len() as u64, bytes.len() as u64));
    assert_eq!(got.bytes().await.unwrap(), bytes[bytes.len() - 10..]);
    assert_eq!(cached.gets(), 1);
    // Another process begins with what is there.
    let other = super::tests::cached(&folder, &memory, 1 << 30).await;
    assert!(other.read(&data("a"), 0..BLOCK as u64 * 2).await == bytes[..BLOCK * 2]);
    assert_eq!(other.gets(), 0);
    let on_disk: u64 = files(&folder).iter().map(|(_, bytes)| bytes).sum();
    assert!(on_disk > 0);
    assert_eq!((cached.cache.held().bytes(), cached.cache.held().capacity()), (on_disk, 1 << 30));
}

#[tokio::test]
async fn a_damaged_block_is_read_again() {
    let (folder, memory) = (TempDir::new().unwrap(), Arc::new(InMemory::new()));
    let bytes = random_bytes(2 * BLOCK);
    for name in ["a", "b"] {
        memory.put(&data(name), bytes.clone().into()).await.unwrap();
    }
    let cached = cached(&folder, &memory, 1 << 30).await;
    for name in ["a", "b"] {
        cached.read(&data(name), 0..bytes.len() as u64).await;
    }
    let asked = cached.gets();
    let damage: [fn(&Files); 5] = [
        |files| flip(&files[0].0, 10),
        |files| flip(&files[0].0, 3_000),
        |files| std::fs::write(&files[1].0, "").unwrap(),
        // Blocks of other places.
        |files| _ = std::fs::copy(&files[0].0, &files[1].0).unwrap(),
        |files| _ = std::fs::copy(&files[0].0, &files[2].0).unwrap(),
    ];
    for (number, damage) in (1..).zip(damage) {
        damage(&files(&folder));
        for name in ["a", "b"] {
            assert!(cached.read(&data(name), 0..bytes.len() as u64).await == bytes, "damage {number}");
        }
        assert_eq!(cached.gets(), asked + number, "damage {number}");
    }
}

fn flip(file: &FilePath, at: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn the_folder_may_go_at_any_time() {
    let (folder, memory) = (TempDir::new().unwrap(), Arc::new(InMemory::new()));
    memory.put(&data("a"), random_bytes(BLOCK).into()).await.unwrap();
    let cached = cached(&folder, &memory, 1 << 30).await;
    for round in 1..4 {
        cached.read(&data("a"), 0..10).await;
        assert_eq!(cached.gets(), round);
        assert_eq!(files(&folder).len(), 1);
        std::fs::remove_dir_all(folder.path()).unwrap();
    }
    // Where it cannot be written, all is read from the store.
    std::fs::write(folder.path(), "a file").unwrap();
    cached.read(&data("a"), 0..10).await;
    cached.read(&data("a"), 0..10).await;
    assert_eq!(cached.gets(), 5);
    std::fs::remove_file(folder.path()).unwrap();
    std::fs::create_dir(folder.path()).unwrap();
}

#[tokio::test]
async fn it_is_bounded_and_keeps_what_was_used_last() {
    let (folder, memory) = (TempDir::new().unwrap(), Arc::new(InMemory::new()));
    for name in 0..10 {
        memory.put(&data(&name.to_string()), random_bytes(BLOCK).into()).await.unwrap();
    }
    let cached = cached(&folder, &memory, 4 * BLOCK_BYTES).await;
    for name in 0..10 {
        cached.read(&data(&name.to_string()), 0..10).await;
        cached.read(&data("0"), 0..10).await;
        assert!(files(&folder).iter().map(|(_, bytes)| bytes).sum::<u64>() <= 4 * BLOCK_BYTES);
    }
    let asked = cached.gets();
    assert_eq!(asked, 10, "the first one was used all the time");
    cached.read(&data("9"), 0..10).await;
    assert_eq!(cached.gets(), asked);
    cached.read(&data("1"), 0..10).await;
    assert_eq!(cached.gets(), asked + 1);
    // Another process that finds too much makes room when it writes.
    let other = super::tests::cached(&folder, &memory, 2 * BLOCK_BYTES).await;
    other.read(&data("5"), 0..10).await;
    assert!(files(&folder).len() <= 1);
    // Empty folders of objects do not stay.
    assert!(std::fs::read_dir(folder.path()).unwrap().count() <= 1);
}

#[tokio::test]
async fn what_is_deleted_or_written_again_is_not_cached() {
    let (folder, memory) = (TempDir::new().unwrap(), Arc::new(InMemory::new()));
    let cached = cached(&folder, &memory, 1 << 30).await;
    let other = super::tests::cached(&folder, &memory, 1 << 30).await;
    for path in [data("a"), Path::from("sidecars/a"), Path::from("text_index/a")] {
        cached.cache.put(&path, "first".into()).await.unwrap();
        assert_eq!(cached.read(&path, 0..5).await, "first");
        assert_eq!(other.read(&path, 0..5).await, "first");
        cached.cache.put(&path, "other".into()).await.unwrap();
        for reader in [&cached, &other] {
            assert_eq!(reader.read(&path, 0..5).await, "other");
        }
        cached.cache.delete(&path).await.unwrap();
        assert!(files(&folder).is_empty());
        for reader in [&cached, &other] {
            assert!(matches!(reader.cache.get_range(&path, 0..5).await, Err(Error::NotFound { .. })));
        }
    }
    for path in ["commits/1", "wal/1", "keys/a.json", "FORMAT", "conversations/_delta_log/0.json"] {
        let path = Path::from(path);
        cached.cache.put(&path, "first".into()).await.unwrap();
        assert_eq!(cached.read(&path, 0..5).await, "first");
        cached.memory.put(&path, "other".into()).await.unwrap();
        assert_eq!(cached.read(&path, 0..5).await, "other");
    }
    assert!(files(&folder).is_empty());
}

#[tokio::test]
async fn errors_are_the_stores_own() {
    let (folder, memory) = (TempDir::new().unwrap(), Arc::new(InMemory::new()));
    memory.put(&data("a"), random_bytes(100).into()).await.unwrap();
    let cached = cached(&folder, &memory, 1 << 30).await;
    for range in [50..200, 90..101, 100..110, BLOCK_BYTES..BLOCK_BYTES + 1] {
        for _ in 0..2 {
            let ranges = std::slice::from_ref(&range);
            let (read, direct) =
                (cached.cache.get_ranges(&data("a"), ranges).await, memory.get_ranges(&data("a"), ranges).await);
            assert_eq!(read.map_err(|error| error.to_string()), direct.map_err(|error| error.to_string()));
        }
    }
    assert!(matches!(cached.cache.get_range(&data("b"), 0..5).await, Err(Error::NotFound { .. })));
    assert!(cached.cache.get_ranges(&data("a"), &[]).await.unwrap().is_empty());
}
