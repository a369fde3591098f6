use super::*;
use crate::storage::catalog::commit::tests::{NOW, adds, column, deletes, edit, erases, file, id};
use crate::storage::catalog::commit::{Commit, Times};

/// The commit that makes the edit, on top of this manifest.
pub(crate) fn commit(manifest: &Manifest, edit: Edit) -> Commit {
    Commit {
        number: manifest.number.next(),
        previous: manifest.checksum,
        epoch: manifest.epoch,
        writer: "w".to_owned(),
        nonce: manifest.number.0,
        wal_position: edit.wal_position.unwrap_or(manifest.wal_position),
        time: NOW,
        imports: edit.imports,
        tables: edit.tables,
    }
}

fn progress(lines: u64) -> ImportProgress {
    ImportProgress { lines, input: 0, input_lines: lines, finished: false }
}

pub(crate) fn applied(edits: impl IntoIterator<Item = Edit>) -> Manifest {
    edits.into_iter().fold(Manifest::default(), |manifest, edit| {
        manifest.check(&edit).unwrap();
        let commit = commit(&manifest, edit);
        manifest.apply(&commit, Checksum::of(&commit.number.0.to_le_bytes())).unwrap()
    })
}

fn events(changes: TableEdit) -> Edit {
    edit("events", changes)
}

#[test]
fn commits_add_up() {
    let manifest = applied([
        Edit::default(),
        adds("events", [1, 2]),
        Edit { wal_position: Some(WalPosition(5)), ..adds("messages", [1]) },
        events(TableEdit { deletions: deletes(1, 2, [1, 3]), ..TableEdit::default() }),
        events(TableEdit { deletions: deletes(1, 3, [4]), ..TableEdit::default() }),
        events(TableEdit {
            add: vec![file("events", 3, 10)],
            remove: vec![id(2)],
            deletions: deletes(3, 1, [9]),
            erased: erases(3, 4..=4),
            columns: vec![column("plan", &["plan"]), column("plan_2", &["Plan"])],
        }),
        events(TableEdit { erased: erases(3, 5..=6), ..TableEdit::default() }),
    ]);
    assert_eq!((manifest.number, manifest.wal_position, manifest.time), (CommitNumber(7), WalPosition(5), Some(NOW)));
    assert_eq!(manifest.tables.keys().collect::<Vec<_>>(), ["events", "messages"]);
    let events = &manifest.tables["events"];
    let files = events.files.values().map(|file| (file.entry.id, file.deleted.iter().collect::<Vec<_>>()));
    assert_eq!(files.collect::<Vec<_>>(), [(id(1), vec![1, 3, 4]), (id(3), vec![9])]);
    assert_eq!(events.files[&id(1)].erased, None);
    assert_eq!(events.files[&id(3)].erased, erases(3, 4..=6).remove(&id(3)));
    let names = events.columns.values().map(|owned| owned.column.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["plan_2", "plan"]);
}

/// A snapshot holds one manifest, and the next must not copy what stays.
#[test]
fn manifests_share_what_is_the_same() {
    let before = applied([adds("events", [1, 2]), adds("messages", [1])]);
    let edit = events(TableEdit { deletions: deletes(1, 1, [1]), ..TableEdit::default() });
    let after = before.apply(&commit(&before, edit), Checksum::default()).unwrap();
    let file = |manifest: &Manifest, number| Arc::clone(&manifest.tables["events"].files[&id(number)]);
    assert!(Arc::ptr_eq(&file(&before, 2), &file(&after, 2)));
    assert!(Arc::ptr_eq(&file(&before, 1).entry, &file(&after, 1).entry));
    assert!(before.tables["messages"].files.ptr_eq(&after.tables["messages"].files));
    assert_eq!(file(&before, 1).deleted.len(), 0);
}

#[test]
fn wrong_commits_are_refused() {
    let manifest = applied([
        Edit { wal_position: Some(WalPosition(5)), ..adds("events", [1, 2]) },
        events(TableEdit {
            columns: vec![column("plan", &["plan"])],
            deletions: deletes(2, 2, [1, 3]),
            ..TableEdit::default()
        }),
        Edit { imports: BTreeMap::from([("i".to_owned(), Some(progress(9)))]), ..Edit::default() },
    ]);
    let moved = FileEntry { path: "messages/data/3.parquet".to_owned(), ..file("events", 3, 10) };
    let unnamed = FileEntry { path: "events/data/3.parquet".to_owned(), ..file("events", 3, 10) };
    let backwards = Times { from: NOW, to: EpochMillis(0) };
    let backwards = FileEntry { times: Some(backwards), ..file("events", 3, 10) };
    let add = |entry: FileEntry| events(TableEdit { add: vec![entry], ..TableEdit::default() });
    let deletions = |deletions| events(TableEdit { deletions, ..TableEdit::default() });
    let columns = |column| events(TableEdit { columns: vec![column], ..TableEdit::default() });
    let lines = |lines| Edit { imports: BTreeMap::from([("i".to_owned(), Some(progress(lines)))]), ..Edit::default() };
    let cases = [
        (adds("events", [1]), "twice"),
        (adds("events", [3, 3]), "twice"),
        (events(TableEdit { remove: vec![id(1)], add: vec![file("events", 1, 10)], ..TableEdit::default() }), "twice"),
        (events(TableEdit { remove: vec![id(3)], ..TableEdit::default() }), "removes the file"),
        (events(TableEdit { remove: vec![id(1), id(1)], ..TableEdit::default() }), "removes the file"),
        (edit("messages", TableEdit { remove: vec![id(1)], ..TableEdit::default() }), "\"messages\": it removes"),
        (deletions(deletes(3, 1, [1])), "deletes rows of the file"),
        (
            events(TableEdit { remove: vec![id(1)], deletions: deletes(1, 1, [1]), ..TableEdit::default() }),
            "deletes rows of the file",
        ),
        (deletions(deletes(2, 4, [2])), "2 deleted rows and 1 new ones make 3, not 4"),
        (deletions(deletes(2, 3, [3])), "2 deleted rows and 1 new ones make 2, not 3"),
        (deletions(deletes(2, 2, [3])), "2 deleted rows and 1 new ones make 2, not 2"),
        (deletions(deletes(2, 3, [10])), "its row 10 is deleted, of 10 rows"),
        (add(moved), "is not in the table's folder"),
        (add(unnamed), "does not name it"),
        (add(backwards), "end before they begin"),
        (columns(column("plan2", &["plan"])), "is there already, as \"plan\""),
        (columns(column("PLAN", &["x"])), "only the case differs"),
        (Edit { wal_position: Some(WalPosition(4)), ..Edit::default() }, "goes back from log position 5 to 4"),
        (lines(8), "goes back from line 9 to 8"),
    ];
    for (edit, expected) in cases {
        let error = manifest.check(&edit).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
        let error = manifest.apply(&commit(&manifest, edit), Checksum::default()).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    manifest.check(&lines(9)).unwrap();
    let forgotten = Edit { imports: BTreeMap::from([("i".to_owned(), None)]), ..Edit::default() };
    let forgotten = manifest.apply(&commit(&manifest, forgotten), Checksum::default()).unwrap();
    assert!(forgotten.imports.is_empty());
    forgotten.check(&lines(1)).unwrap();
}

#[test]
fn the_imports_not_heard_of_for_longest_are_forgotten() {
    let mut manifest = Manifest::default();
    for (time, id) in [(1, "b"), (2, "a"), (3, "c"), (4, "b")] {
        let imports = BTreeMap::from([(id.to_owned(), Some(progress(time)))]);
        let next = Commit { time: EpochMillis(time as i64), ..commit(&manifest, Edit { imports, ..Edit::default() }) };
        manifest = manifest.apply(&next, Checksum::default()).unwrap();
    }
    assert_eq!(manifest.imports["b"], StoredImport { progress: progress(4), time: EpochMillis(4) });
    assert_eq!(manifest.old_imports(3), Vec::<&String>::new());
    assert_eq!(manifest.old_imports(1), ["a", "c"]);
}

#[test]
fn commits_follow_one_another() {
    let manifest = applied([Edit::default(), Edit::default()]);
    let next = commit(&manifest, Edit::default());
    let higher = Commit { epoch: Epoch(3), ..next.clone() };
    let manifest = manifest.apply(&higher, Checksum::of(b"3")).unwrap();
    assert_eq!((manifest.number, manifest.epoch), (CommitNumber(3), Epoch(3)));
    let next = commit(&manifest, Edit::default());
    for (wrong, expected) in [
        (Commit { number: CommitNumber(5), ..next.clone() }, "commit 5 does not follow commit 3"),
        (Commit { number: CommitNumber(3), ..next.clone() }, "commit 3 does not follow commit 3"),
        (Commit { previous: Checksum::of(b"x"), ..next.clone() }, "with the checksum"),
        (Commit { epoch: Epoch(2), ..next.clone() }, "its epoch 2 is below 3"),
    ] {
        let error = manifest.apply(&wrong, Checksum::default()).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    manifest.apply(&next, Checksum::default()).unwrap();
}
