use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use rand::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_128;

use super::builder::{IndexBuilder, Siblings};
use super::error::IndexError;
use super::file::FileIndex;
use super::header::HEADER_BYTES;
use crate::cache::Cache;
use crate::model::ids::{OrganizationId, ProjectId, key_hash};
use crate::storage::format::sidecar::file::BuiltIndex;
use crate::storage::format::sidecar::part::{Part, Remade};

fn siblings(messages: u32, threads: u32) -> Siblings {
    Siblings { messages, threads }
}

fn hash(number: u32) -> u128 {
    xxh3_128(&number.to_le_bytes())
}

fn external(number: u32) -> Option<u128> {
    (number % 3 == 0).then(|| hash(number / 30 + 1_000_000_000))
}

fn build(rows: u32) -> BuiltIndex {
    let mut builder = IndexBuilder::new();
    for row in 0..rows {
        builder.push(hash(row), external(row), siblings(row % 5, row % 3));
    }
    builder.finish().unwrap()
}

fn open_parts(opening: Bytes, body: Bytes) -> Result<FileIndex, IndexError> {
    let parts = Remade { opening: opening.clone(), body };
    FileIndex::open(&opening, Part::in_memory(Path::from("a"), parts), &Cache::new(8 << 20))
}

fn open(built: &BuiltIndex) -> Result<FileIndex, IndexError> {
    open_parts(built.opening.clone(), built.body.clone())
}

fn stored(rows: u32) -> (InMemory, FileIndex) {
    (InMemory::new(), open(&build(rows)).unwrap())
}

#[tokio::test]
async fn every_row_is_found() {
    for rows in [0, 1, 127, 128, 129, 1000, 30_000] {
        let (store, index) = stored(rows);
        let most = size_of::<FileIndex>() + 8 * rows as usize + 400;
        assert_eq!((index.rows(), index.memory_bytes() < most), (rows, true));
        let offsets = index.message_offsets(&store).await.unwrap();
        assert_eq!(offsets.len(), rows as usize + 1);
        for row in (0..rows).step_by(1 + rows as usize / 300).chain(rows.checked_sub(1)) {
            let found = index.find_id(&store, hash(row)).await.unwrap();
            assert!(found.contains(&row) && found.len() < 3 && found.is_sorted(), "{row}: {found:?}");
            let messages = index.message_ranges(&store, &[row]).await.unwrap().remove(0);
            assert_eq!(messages, offsets[row as usize]..offsets[row as usize + 1]);
            assert_eq!(messages.len(), row as usize % 5);
            if let Some(key) = external(row) {
                let expected: Vec<u32> = (0..rows).filter(|other| external(*other) == Some(key)).collect();
                let found = index.find_external_id(&store, key).await.unwrap();
                assert!(
                    expected.iter().all(|row| found.contains(row)) && found.len() < expected.len() + 3,
                    "{found:?}"
                );
            }
        }
        assert!(matches!(index.message_ranges(&store, &[rows]).await, Err(IndexError::Row { .. })));
    }
}

#[tokio::test]
async fn references_find_all_their_rows_once() {
    let mut builder = IndexBuilder::new();
    for row in 0..2_000 {
        builder.push(hash(row), None, siblings(2, 1));
        // Twice the same, one that many rows share, one of its own.
        for reference in [row % 7, row % 7, 1_000 + row] {
            builder.push_reference(hash(10_000 + reference));
        }
    }
    let (store, index) = (InMemory::new(), open(&builder.finish().unwrap()).unwrap());
    for shared in 0..7 {
        let expected: Vec<u32> = (0..2_000).filter(|row| row % 7 == shared).collect();
        assert_eq!(index.find_reference(&store, hash(10_000 + shared)).await.unwrap(), expected);
    }
    for row in (0..2_000).step_by(13) {
        let found = index.find_reference(&store, hash(11_000 + row)).await.unwrap();
        assert!(found.contains(&row) && found.len() < 3, "{row}: {found:?}");
        assert_eq!(index.message_ranges(&store, &[row]).await.unwrap().remove(0), row * 2..row * 2 + 2);
    }
    assert!(index.find_reference(&store, hash(1)).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_conversation_costs_some_40_bytes() {
    let mut builder = IndexBuilder::new();
    for row in 0..50_000 {
        builder.push(hash(row), Some(hash(row ^ 0x8000_0000)), siblings(5, 2));
        (0..5).for_each(|message| builder.push_reference(hash(1_000_000 + row * 5 + message)));
    }
    let built = builder.finish().unwrap();
    let bytes = built.opening.len() + built.body.len();
    assert!(bytes < 42 * 50_000, "{} bytes a conversation", bytes as f64 / 50_000.0);
}

/// Damage of what no checksum covers gives other rows, or an error.
#[tokio::test]
async fn a_damaged_body_never_panics() {
    let (store, BuiltIndex { opening, body }) = (InMemory::new(), build(700));
    for seed in 0..200 {
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let body: Vec<u8> = body.iter().map(|byte| byte ^ random.random::<u8>()).collect();
        let index = open_parts(opening.clone(), body.into()).unwrap();
        for row in (0..700).step_by(37) {
            let found = index.find_id(&store, hash(row)).await;
            assert!(found.is_err() || found.is_ok_and(|rows| rows.iter().all(|row| *row < 700)));
            let _ = index.message_ranges(&store, &[row]).await;
        }
        let _ = index.message_ranges(&store, &[1; 50]).await;
        let _ = index.thread_offsets(&store).await;
    }
}

#[tokio::test]
async fn absent_keys_are_not_found_and_seldom_read() {
    let (store, index) = stored(20_000);
    let absent = 50_000..100_000;
    let seeming = absent.clone().filter(|number| index.may_contain_id(hash(*number))).count();
    assert!(seeming < 1_000, "{seeming} of 50000 absent keys seem present");
    for number in absent.filter(|number| index.may_contain_id(hash(*number))) {
        assert!(index.find_id(&store, hash(number)).await.unwrap().len() < 2);
    }
    assert!(!index.may_contain_external_id(hash(7)));
}

/// Equal hashes that fill several blocks, and fence posts that equal a hash only in the upper half.
#[tokio::test]
async fn equal_hashes_across_blocks() {
    let mut builder = IndexBuilder::new();
    let key = |row: u32| (u128::from(row / 300) << 120) | u128::from((row % 3) << 7) | 0x5555_0000_0000;
    for row in 0..1500 {
        builder.push(key(row), None, Siblings::default());
    }
    let (store, index) = (InMemory::new(), open(&builder.finish().unwrap()).unwrap());
    for row in (0..1500).step_by(7) {
        // What differs in the lower half alone is told apart by the rows.
        let expected: Vec<u32> = (0..1500).filter(|other| key(*other) >> 64 == key(row) >> 64).collect();
        assert_eq!(index.find_id(&store, key(row)).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_million_rows_fit_in_8_mb() {
    let mut builder = IndexBuilder::new();
    for row in 0..1_000_000 {
        builder.push(hash(row), Some(hash(row ^ 0x8000_0000)), siblings(1, 1));
    }
    let index = open(&builder.finish().unwrap()).unwrap();
    assert!(index.memory_bytes() < 8 << 20, "{} bytes", index.memory_bytes());
}

#[test]
fn a_damaged_opening_is_refused() {
    let BuiltIndex { opening, body } = build(300);
    let open = |opening: &[u8], body: Bytes| open_parts(Bytes::copy_from_slice(opening), body);
    for index in 0..opening.len() {
        let mut damaged = opening.to_vec();
        damaged[index] ^= 4;
        let result = open(&damaged, body.clone());
        assert!(matches!(result, Err(IndexError::Corrupt { .. })), "byte {index}");
    }
    for length in [0, 5, HEADER_BYTES, opening.len() - 1] {
        assert!(open(&opening[..length], body.clone()).is_err(), "{length} bytes");
    }
    assert!(open(&opening, body.slice(1..)).is_err());
}

#[test]
fn keys_of_other_parts_differ() {
    let hash = |organization: &str, project: &str, id: &str| {
        key_hash(&OrganizationId::new(organization), &ProjectId::new(project), id)
    };
    let keys = [("a", "b", "c"), ("ab", "", "c"), ("", "ab", "c"), ("a", "bc", ""), ("a", "", "bc")];
    for (number, (organization, project, id)) in keys.iter().enumerate() {
        let same = keys.iter().filter(|key| hash(key.0, key.1, key.2) == hash(organization, project, id)).count();
        assert_eq!(same, 1, "{number}");
    }
    // It stands in files, so it may never change.
    assert_eq!(hash("a", "b", "c"), 123_901_051_403_331_717_176_519_081_376_268_818_236);
}
