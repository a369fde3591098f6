use std::collections::BTreeMap;

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use super::*;
use crate::storage::catalog::commit::tests::{adds, column, deletes, edit, erases, file};
use crate::storage::catalog::commit::{Edit, TableEdit};
use crate::storage::catalog::manifest::tests::applied;

fn manifest() -> Manifest {
    let events = TableEdit {
        add: vec![file("events", 3, 70_000)],
        deletions: deletes(3, 2, [5, 69_999]),
        erased: erases(3, 7..=9),
        columns: vec![column("plan", &["plan"]), column("other", &["a.b", "c"])],
        ..TableEdit::default()
    };
    let mut manifest = applied([
        Edit { wal_position: Some(WalPosition(5)), ..adds("events", [1, 2]) },
        edit("events", events),
        Edit {
            imports: BTreeMap::from([(
                "i".to_owned(),
                Some(ImportProgress { lines: 9, input: 1, input_lines: 3, finished: true }),
            )]),
            ..adds("messages", [1])
        },
    ]);
    manifest.epoch = Epoch(3);
    manifest
}

#[test]
fn manifests_come_back() {
    for manifest in [manifest(), applied([Edit::default()])] {
        let object = encode(&manifest).unwrap();
        assert_eq!(decode(manifest.number, &object).unwrap(), manifest);
        assert_eq!(encode(&manifest).unwrap(), object, "the same manifest is the same object");
    }
}

#[test]
fn every_flip_and_cut_of_a_checkpoint_names_it() {
    let object = encode(&manifest()).unwrap();
    let number = CommitNumber(3);
    for index in 0..object.len() {
        let mut flipped = object.clone();
        flipped[index] ^= 1 << (index % 8);
        for damaged in [&flipped, &object[..index]] {
            let error = decode(number, damaged).unwrap_err();
            assert!(matches!(&error, CatalogError::Damaged { object, .. } if *object == path(number)), "{error}");
        }
    }
    let error = decode(CommitNumber(4), &object).unwrap_err().to_string();
    assert!(error.contains("checkpoints/00000000000000000004 is damaged: it is checkpoint 3"), "{error}");
}

#[test]
fn what_contradicts_itself_is_damage() {
    let content = || serde_json::to_value(frame::decode::<Content>(&KIND, &encode(&manifest()).unwrap()).unwrap().0);
    type Change = fn(&mut serde_json::Value);
    let cases: [(Change, &str); 4] = [
        (
            |value| value["tables"]["events"]["files"][2]["entry"]["rows"] = 3.into(),
            "its row 69999 is deleted, of 3 rows",
        ),
        (
            |value| {
                let first = value["tables"]["events"]["files"][0].clone();
                value["tables"]["events"]["files"][1] = first;
            },
            "twice",
        ),
        (|value| value["tables"]["events"]["columns"][0]["column"]["name"] = "PLAN".into(), "only the case differs"),
        (|value| value["tables"]["events"]["more"] = 1.into(), "unknown field"),
    ];
    for (change, expected) in cases {
        let mut value = content().unwrap();
        change(&mut value);
        let (object, _) = frame::encode(&KIND, &value).unwrap();
        let error = decode(CommitNumber(3), &object).unwrap_err();
        assert!(matches!(error, CatalogError::Damaged { .. }));
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn listing_is_sorted_and_skips_foreign_objects() {
    let store = InMemory::new();
    for name in ["00000000000000000300", "00000000000000000100", "12", "00000000000000000300/x", "_last"] {
        store.put(&Path::from(format!("{FOLDER}/{name}")), "x".into()).await.unwrap();
    }
    assert_eq!(list(&store).await.unwrap(), [CommitNumber(100), CommitNumber(300)]);
}
