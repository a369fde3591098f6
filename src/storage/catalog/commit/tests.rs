use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::model::ids::{OrganizationId, ProjectId};
use crate::storage::format::layout::{ColumnKind, JsonField, PropertyColumn};

pub(crate) const NOW: EpochMillis = EpochMillis(1_700_000_000_000);

pub(crate) fn id(number: u64) -> FileId {
    FileId(Uuid::from_u64_pair(0, number))
}

pub(crate) fn file(table: &str, number: u64, rows: u32) -> FileEntry {
    let id = id(number);
    FileEntry {
        id,
        path: format!("{table}/data/{id}.parquet"),
        size: 1000,
        checksum: Checksum(u128::from(number)),
        rows,
        level: 0,
        times: Some(Times { from: NOW, to: EpochMillis(NOW.0 + 5) }),
    }
}

pub(crate) fn column(name: &str, path: &[&str]) -> OwnedColumn {
    let column = PropertyColumn {
        field: JsonField::Properties,
        path: path.iter().map(|key| (*key).to_owned()).collect(),
        kind: ColumnKind::String,
        name: name.to_owned(),
    };
    OwnedColumn { organization_id: OrganizationId::new("o"), project_id: ProjectId::new("p"), column }
}

pub(crate) fn deletes(file: u64, total: u64, rows: impl IntoIterator<Item = u32>) -> BTreeMap<FileId, DeletionEdit> {
    BTreeMap::from([(id(file), DeletionEdit { rows: RowSet(rows.into_iter().collect()), total })])
}

/// At these positions, each ten milliseconds after the one before.
pub(crate) fn erases(file: u64, positions: std::ops::RangeInclusive<u64>) -> BTreeMap<FileId, Erased> {
    let moment = |position| Moment { position: WalPosition(position), at: EpochMillis(position as i64 * 10) };
    BTreeMap::from([(id(file), Erased { oldest: moment(*positions.start()), newest: moment(*positions.end()) })])
}

/// An edit that changes one table.
pub(crate) fn edit(table: &str, changes: TableEdit) -> Edit {
    Edit { tables: BTreeMap::from([(table.to_owned(), changes)]), ..Edit::default() }
}

pub(crate) fn adds(table: &str, files: impl IntoIterator<Item = u64>) -> Edit {
    let add = files.into_iter().map(|number| file(table, number, 10)).collect();
    edit(table, TableEdit { add, ..TableEdit::default() })
}

fn everything() -> Commit {
    let events = TableEdit {
        add: vec![file("events", 0xab, 20)],
        remove: vec![id(1)],
        deletions: deletes(2, 4, [3, 5]),
        erased: erases(2, 90..=98),
        columns: vec![column("properties_plan", &["plan"])],
    };
    let done = Some(ImportProgress { lines: 12, input: 1, input_lines: 5, finished: true });
    Commit {
        number: CommitNumber(7),
        previous: Checksum(6),
        epoch: Epoch(u64::MAX),
        writer: "w".to_owned(),
        nonce: 4,
        wal_position: WalPosition(99),
        time: NOW,
        imports: BTreeMap::from([("a".to_owned(), done), ("b".to_owned(), None)]),
        tables: BTreeMap::from([("events".to_owned(), events)]),
    }
}

#[test]
fn commits_come_back() {
    let empty = Commit { imports: BTreeMap::new(), tables: BTreeMap::new(), ..everything() };
    for commit in [everything(), empty] {
        let (object, checksum) = encode(&commit).unwrap();
        assert_eq!(decode(commit.number, &object).unwrap(), (commit, checksum));
    }
}

/// What is written once must be read for ever: whoever changes this text raises the format.
#[test]
fn the_text_of_a_commit() {
    let expected = json!({
        "number": 7, "previous": "00000000000000000000000000000006", "epoch": u64::MAX, "writer": "w", "nonce": 4,
        "walPosition": 99, "time": NOW.0,
        "imports": {"a": {"lines": 12, "input": 1, "inputLines": 5, "finished": true}, "b": null},
        "tables": {"events": {
            "add": [{
                "id": "00000000-0000-0000-0000-0000000000ab",
                "path": "events/data/00000000-0000-0000-0000-0000000000ab.parquet", "size": 1000,
                "checksum": "000000000000000000000000000000ab", "rows": 20, "level": 0,
                "times": {"from": NOW.0, "to": NOW.0 + 5},
            }],
            "remove": ["00000000-0000-0000-0000-000000000001"],
            "deletions": {
                "00000000-0000-0000-0000-000000000002": {"rows": "OjAAAAEAAAAAAAEAEAAAAAMABQA", "total": 4},
            },
            "erased": {"00000000-0000-0000-0000-000000000002": {
                "oldest": {"position": 90, "at": 900}, "newest": {"position": 98, "at": 980},
            }},
            "columns": [{
                "organizationId": "o", "projectId": "p",
                "column": {"field": "properties", "path": ["plan"], "kind": "string", "name": "properties_plan"},
            }],
        }},
    });
    assert_eq!(serde_json::to_value(everything()).unwrap(), expected);
}

#[test]
fn every_flip_and_cut_of_a_commit_names_it() {
    let (object, _) = encode(&everything()).unwrap();
    let number = CommitNumber(7);
    for index in 0..object.len() {
        let mut flipped = object.clone();
        flipped[index] ^= 1 << (index % 8);
        for damaged in [&flipped, &object[..index]] {
            let error = decode(number, damaged).unwrap_err();
            assert!(matches!(&error, CatalogError::Damaged { object, .. } if *object == number.path()), "{error}");
        }
    }
    let error = decode(CommitNumber(8), &object).unwrap_err().to_string();
    assert!(error.contains("commits/00000000000000000008 is damaged: it is commit 7"), "{error}");
}

#[test]
fn a_newer_commit_is_not_damaged() {
    let (object, _) = frame::encode(&Kind { format: 4, ..KIND }, &json!({"unheard": "of"})).unwrap();
    let error = decode(CommitNumber(7), &object).unwrap_err();
    assert!(matches!(error, CatalogError::Format { found: 4, .. }));
    assert!(error.to_string().contains("has format 4, this version reads formats 1 to 3"), "{error}");
}

#[test]
fn what_a_version_does_not_know_is_refused() {
    for place in ["", "/tables/events", "/tables/events/add/0", "/tables/events/deletions/ID", "/imports/a"] {
        let mut value = serde_json::to_value(everything()).unwrap();
        let place = place.replace("ID", &id(2).to_string());
        value.pointer_mut(&place).unwrap()["unknown"] = Value::from(1);
        let (object, _) = frame::encode(&KIND, &value).unwrap();
        let error = decode(CommitNumber(7), &object).unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{place}: {error}");
    }
}

#[test]
fn ids_and_rows_have_one_spelling() {
    let text = serde_json::to_value(id(0xab)).unwrap();
    assert_eq!(serde_json::from_value::<FileId>(text.clone()).unwrap(), id(0xab));
    let text = text.as_str().unwrap();
    for wrong in [text.to_uppercase(), text.replace('-', ""), format!("{{{text}}}"), String::new()] {
        assert!(serde_json::from_value::<FileId>(wrong.clone().into()).is_err(), "{wrong}");
    }
    let rows = RowSet((0..100_000).step_by(7).collect());
    let text = serde_json::to_value(&rows).unwrap();
    assert_eq!(serde_json::from_value::<RowSet>(text.clone()).unwrap(), rows);
    let text = text.as_str().unwrap();
    for wrong in [format!("{text}AAAA"), text[4..].to_owned(), text[..text.len() - 4].to_owned(), "ä".to_owned()] {
        assert!(serde_json::from_value::<RowSet>(wrong.into()).is_err());
    }
}

#[test]
fn numbers_and_their_paths() {
    assert_eq!(CommitNumber(42).path().as_ref(), "commits/00000000000000000042");
    assert_eq!(CommitNumber::of_path(FOLDER, &CommitNumber(u64::MAX).path()), Some(CommitNumber(u64::MAX)));
    let foreign = ["commits/42", "commits/0000000000000000004x", "commits/00000000000000000042/x", "commits"];
    for path in foreign.into_iter().chain(["checkpoints/00000000000000000042", "commits/+0000000000000000042"]) {
        assert_eq!(CommitNumber::of_path(FOLDER, &Path::from(path)), None, "{path}");
    }
}
