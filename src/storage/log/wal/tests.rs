use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use object_store::memory::InMemory;

use super::*;
use crate::storage::objects::faulty::{Fault, FlakyStore};

fn header(writer_id: &str, nonce: u64) -> WalHeader {
    WalHeader { writer_id: writer_id.to_owned(), epoch: 7, nonce, newest_commit: 3 }
}

#[test]
fn groups_round_trip() {
    let cases: [&[&str]; 4] = [&[], &[""], &["{}", "{\"a\":1}"], &["{\"ü\":\"\\n\"}", "[1,\r2]", "{}"]];
    for operations in cases {
        let operations: Vec<Vec<u8>> = operations.iter().map(|text| text.as_bytes().to_vec()).collect();
        let own = header("w", u64::MAX);
        let group = decode(&encode(&own, &operations).unwrap()).unwrap();
        assert_eq!(group.header, own);
        assert_eq!(group.operations, operations);
    }
    let spread = encode(&header("w", 1), &[b"{\n \"a\":\n1}".to_vec()]).unwrap();
    assert_eq!(decode(&spread).unwrap().operations, ["{  \"a\": 1}"]);
}

#[test]
fn no_cut_or_flipped_object_decodes() {
    let operations: Vec<Vec<u8>> = (0..40).map(|number| format!("{{\"number\":{number}}}").into_bytes()).collect();
    let object = encode(&header("writer", 3), &operations).unwrap();
    for length in 0..object.len() {
        let error = decode(&object[..length]).unwrap_err();
        assert!(matches!(error, WalError::Truncated { .. }), "{length}: {error}");
    }
    for index in 0..object.len() {
        for bit in 0..8 {
            let mut damaged = object.to_vec();
            damaged[index] ^= 1 << bit;
            assert!(decode(&damaged).is_err(), "byte {index}, bit {bit}");
        }
    }
    let mut longer = object.to_vec();
    longer.push(0);
    assert!(matches!(decode(&longer), Err(WalError::TooLong { .. })));
    assert!(matches!(decode(b"PAR1...."), Err(WalError::Magic { .. })));
}

#[test]
fn other_formats_are_told_from_damage() {
    let line = |format| HeaderLine { format, header: header("w", 1), operations: 0 };
    let parsed = |format| parse_lines([serde_json::to_vec(&line(format)).unwrap().as_slice(), b"\n"].concat().into());
    assert_eq!(parsed(FORMAT).unwrap().header, header("w", 1));
    for other in [READS.start() - 1, READS.end() + 1] {
        let error = parsed(other).unwrap_err();
        assert!(error.is_of_another_version());
        let (first, last) = (READS.start(), READS.end());
        assert!(
            error.to_string().ends_with(&format!("has format {other}, this version reads formats {first} to {last}"))
        );
    }
}

#[test]
fn paths() {
    assert_eq!(wal_path(WalPosition(42)).as_ref(), "wal/00000000000000000042");
    assert_eq!(parse_wal_path(&wal_path(WalPosition(u64::MAX))), Some(WalPosition(u64::MAX)));
    let foreign =
        ["wal/42", "wal/0000000000000000004x", "wal/00000000000000000042/x", "lake/00000000000000000042", "wal"];
    for path in foreign {
        assert_eq!(parse_wal_path(&Path::from(path)), None, "{path}");
    }
}

#[tokio::test]
async fn listing_is_sorted_and_skips_foreign_objects() {
    let store = InMemory::new();
    for position in [10, 9, 200, 1] {
        let own = header("w", position);
        let object = encode(&own, &[]).unwrap();
        put_group(&store, WalPosition(position), object, &own, Duration::ZERO).await.unwrap();
    }
    store.put(&Path::from("wal/readme"), "x".into()).await.unwrap();
    assert_eq!(list(&store).await.unwrap(), [1, 9, 10, 200].map(WalPosition));
    assert_eq!(list_after(&store, WalPosition(9)).await.unwrap(), [10, 200].map(WalPosition));
    assert_eq!(read(&store, WalPosition(200)).await.unwrap().header, header("w", 200));
}

/// (what goes wrong at each put, in order; the expected end)
#[tokio::test]
async fn a_lost_answer_is_not_a_lost_write() {
    let patience = Duration::from_millis(400);
    let cases: [(&[Fault], bool); 5] = [
        (&[], true),
        (&[Fault::AnswerLost], true),
        (&[Fault::NotWritten, Fault::NotWritten, Fault::AnswerLost, Fault::NotWritten], true),
        (&[Fault::NotWritten; 3], true),
        (&[Fault::NotWritten; 100], false),
    ];
    for (faults, succeeds) in cases {
        let store = FlakyStore::new(Arc::new(InMemory::new()), faults);
        let own = header("me", 5);
        let object = encode(&own, &[b"{}".to_vec()]).unwrap();
        let result = put_group(&store, WalPosition(3), object, &own, patience).await;
        if succeeds {
            result.unwrap();
            assert_eq!(read(&store, WalPosition(3)).await.unwrap().header, own);
        } else {
            assert!(matches!(result, Err(WalError::Unknown { position: WalPosition(3), .. })), "{result:?}");
        }
        assert!(list(&store).await.unwrap().len() <= 1, "never another number");
    }
}

#[tokio::test]
async fn another_writers_object_fences() {
    let store = InMemory::new();
    let tries = AtomicU32::new(0);
    for (other, fenced) in [(header("other", 5), true), (header("me", 6), true), (header("me", 5), false)] {
        let position = WalPosition(u64::from(tries.fetch_add(1, Ordering::Relaxed)) + 1);
        store.put(&wal_path(position), encode(&other, &[]).unwrap().into()).await.unwrap();
        let own = header("me", 5);
        let result = put_group(&store, position, encode(&own, &[]).unwrap(), &own, Duration::ZERO).await;
        assert_eq!(matches!(result, Err(WalError::Fenced { epoch: 7, .. })), fenced, "{result:?}");
        assert_eq!(result.is_ok(), !fenced);
    }
}
