//! What two writers and a failing store do to a line.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::storage::catalog::commit::tests::{column, edit, id as file_id};
use crate::storage::catalog::commit::{self, TableEdit};
use crate::storage::catalog::manifest::tests::commit;
use crate::storage::error::{Cause, ErrorKind};

fn removes(id: u64) -> Edit {
    edit("events", TableEdit { remove: vec![file_id(id)], ..TableEdit::default() })
}

#[tokio::test]
async fn a_lost_answer_is_not_a_lost_commit() {
    let cases: [(&[Fault], bool); 5] = [
        (&[], true),
        (&[Fault::AnswerLost], true),
        (&[Fault::NotWritten, Fault::AnswerLost, Fault::NotWritten], true),
        (&[Fault::NotWritten; 2], true),
        (&[Fault::NotWritten; 60], false),
    ];
    for (faults, succeeds) in cases {
        let store = memory();
        let first = begun(&store, 1).await;
        let flaky: Arc<dyn ObjectStore> = Arc::new(FlakyStore::new(Arc::clone(&store), faults));
        drop(first);
        let writer = Writer { patience: Duration::from_millis(300), ..writer(2) };
        match CommitWriter::begin(opened(&flaky).await, writer, NOW).await {
            Ok(writer) => {
                assert!(succeeds);
                assert_eq!(opened(&store).await.manifest(), writer.manifest());
                assert_eq!(writer.manifest().number, CommitNumber(2));
            }
            Err(error) => {
                assert!(!succeeds && matches!(error, AppendError::Unknown { number: CommitNumber(2), .. }), "{error}");
                assert_eq!(names(&store).await.len(), 1);
            }
        }
    }
}

// The clock stands while anything can go on, so that the call is dropped between two tries, however busy the machine is.
#[tokio::test(start_paused = true)]
async fn an_unknown_commit_is_settled_first_and_once() {
    let memory = memory();
    let flaky = Arc::new(FlakyStore::new(Arc::clone(&memory), &[]));
    let store: Arc<dyn ObjectStore> = flaky.clone();
    for (fault, written) in [(Fault::NotWritten, 0), (Fault::AnswerLost, 1)] {
        let before = names(&memory).await.len();
        let mut writer = begun(&store, before as u64 + 1).await;
        let manifest = Arc::clone(writer.manifest());
        let id = manifest.number.0 * 10;
        // Every put fails; those that are written are read back, unless reading fails too.
        flaky.fail(Some(("commits/", Fault::NotWritten)));
        if fault == Fault::AnswerLost {
            // The first put is written and its answer is lost; the call is dropped before it asks again.
            flaky.fail(Some(("commits/", Fault::AnswerLost)));
            let edit = file(id);
            let dropped = tokio::time::timeout(Duration::from_millis(5), writer.append(&edit, NOW)).await;
            assert!(dropped.is_err());
        } else {
            let unknown = writer.append(&file(id), NOW).await.unwrap_err();
            assert!(matches!(unknown, AppendError::Unknown { .. }), "{unknown}");
        }
        assert_eq!(writer.manifest(), &manifest, "what is unknown is not in the manifest");
        assert_eq!(names(&memory).await.len(), before + 1 + written);
        let unsettled = writer.append(&file(id + 1), NOW).await.unwrap_err();
        assert!(matches!(unsettled, AppendError::Unsettled { number } if number == manifest.number.next()));
        flaky.fail(None);
        let settled = writer.append(&file(id), EpochMillis(NOW.0 + 99)).await.unwrap();
        assert_eq!(settled.number, manifest.number.next());
        assert_eq!(settled.time, Some(NOW), "the same bytes, with the time of the first try");
        writer.append(&file(id + 1), NOW).await.unwrap();
        assert_eq!(opened(&memory).await.manifest(), writer.manifest());
        assert_eq!(names(&memory).await.len(), before + 3);
    }
}

#[tokio::test]
async fn a_fenced_writer_changes_nothing() {
    let store = memory();
    let mut old = line_of(&store, 3).await;
    let mut new = begun(&store, 5).await;
    let before = names(&store).await;
    let manifest = Arc::clone(old.manifest());
    for _ in 0..2 {
        let fenced = old.append(&file(100), NOW).await.unwrap_err();
        assert!(
            matches!(&fenced, AppendError::Fenced { number: CommitNumber(4), writer, epoch: Epoch(5) } if writer == "w5"),
            "{fenced}"
        );
    }
    assert_eq!(old.manifest(), &manifest);
    assert_eq!(names(&store).await, before);
    new.append(&file(100), NOW).await.unwrap();
    let same = CommitWriter::begin(opened(&store).await, writer(5), NOW).await;
    assert!(matches!(same, Err(AppendError::Fenced { .. })), "an epoch is used once");
}

#[tokio::test]
async fn an_older_writers_commit_is_passed() {
    let store = memory();
    let mut old = line_of(&store, 3).await;
    let line = opened(&store).await;
    old.append(&file(50), NOW).await.unwrap();
    old.append(&removes(2), NOW).await.unwrap();
    let mut new = CommitWriter::begin(line, writer(2), NOW).await.unwrap();
    assert_eq!(new.manifest().number, CommitNumber(6));
    assert_eq!(opened(&store).await.manifest(), new.manifest());
    // What was removed meanwhile cannot be removed again.
    let wrong = new.append(&removes(2), NOW).await.unwrap_err();
    assert!(matches!(wrong, AppendError::Outdated { number: CommitNumber(5), .. }), "{wrong}");
    new.append(&removes(50), NOW).await.unwrap();
    assert_eq!(opened(&store).await.manifest(), new.manifest());
}

fn adds_column(name: &str, path: &[&str]) -> Edit {
    edit("events", TableEdit { columns: vec![column(name, path)], ..TableEdit::default() })
}

/// Two writers give one name to two columns, because neither could know of the other's.
#[tokio::test]
async fn a_name_that_a_fenced_writer_took_with_its_last_commit_ends_the_writing() {
    let store = memory();
    let mut old = line_of(&store, 3).await;
    let line = opened(&store).await;
    old.append(&adds_column("plan", &["plan"]), NOW).await.unwrap();
    let mut new = CommitWriter::begin(line, writer(2), NOW).await.unwrap();
    let error = new.append(&adds_column("plan", &["Plan"]), NOW).await.unwrap_err();
    assert!(
        matches!(&error, AppendError::Outdated { number: CommitNumber(4), writer, .. } if writer == "w1"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Restart);
    // A clash with what this writer knows is its own fault.
    let error = new.append(&removes(99), NOW).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug);
    new.append(&adds_column("plan_2", &["Plan"]), NOW).await.unwrap();
    let error = new.append(&adds_column("PLAN", &["x"]), NOW).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Bug);

    // Nor is a writer wrong that has been overtaken and does not know it.
    let _newest = CommitWriter::begin(opened(&store).await, writer(3), NOW).await.unwrap();
    for _ in 0..2 {
        let error = new.append(&adds_column("PLAN", &["x"]), NOW).await.unwrap_err();
        assert!(matches!(error, AppendError::Fenced { epoch: Epoch(3), .. }), "{error}");
    }
}

/// One that began a moment before another, and one that has not begun yet.
#[tokio::test]
async fn of_two_starting_writers_the_higher_epoch_stays() {
    for newer_first in [true, false] {
        let store = memory();
        line_of(&store, 3).await;
        let line = opened(&store).await;
        let begin = |epoch| CommitWriter::begin(line.clone(), writer(epoch), NOW);
        if newer_first {
            let mut newer = begin(5).await.unwrap();
            assert!(matches!(begin(4).await, Err(AppendError::Fenced { epoch: Epoch(5), .. })));
            newer.append(&file(50), NOW).await.unwrap();
        } else {
            let mut older = begin(4).await.unwrap();
            let mut newer = begin(5).await.unwrap();
            assert!(matches!(older.append(&file(50), NOW).await, Err(AppendError::Fenced { epoch: Epoch(5), .. })));
            newer.append(&file(50), NOW).await.unwrap();
        }
    }
}

/// No sound writer makes one.
#[tokio::test]
async fn a_commit_of_an_older_writer_after_a_newer_ones_is_damage() {
    let store = memory();
    let mut writer = line_of(&store, 3).await;
    let older = Commit { epoch: Epoch(0), ..commit(writer.manifest(), Edit::default()) };
    let (object, _) = commit::encode(&older).unwrap();
    store.put(&older.number.path(), object.into()).await.unwrap();
    let error = writer.append(&file(50), NOW).await.unwrap_err();
    assert!(matches!(error, AppendError::Catalog(CatalogError::Damaged { .. })), "{error}");
    assert!(matches!(refused(&store, &Evidence::default()).await, CatalogError::Damaged { .. }));
}

struct Racer {
    epoch: u64,
    /// None once it is fenced, or where it could not begin.
    writer: Option<CommitWriter>,
    /// The file whose commit it does not know the outcome of.
    pending: Option<u64>,
}

/// Writers that start, append and stall in any order, over a store that loses puts and answers: each number has one
/// commit, what was answered is in the line, and what was not is there once or not at all.
#[tokio::test]
async fn races_leave_one_line() {
    for seed in 0..15 {
        let mut random = StdRng::seed_from_u64(seed);
        let memory = memory();
        let flaky = Arc::new(FlakyStore::new(Arc::clone(&memory), &[]));
        flaky.fail_often(seed, 0.3);
        let store: Arc<dyn ObjectStore> = flaky;
        let mut writers: Vec<Racer> = Vec::new();
        let (mut next_epoch, mut next_id) = (1, 1);
        let (mut answered, mut tried) = (Vec::new(), Vec::new());
        for _ in 0..120 {
            if writers.is_empty() || random.random_bool(0.08) {
                let line = opened(&store).await;
                let patience = Duration::from_millis(if random.random_bool(0.5) { 0 } else { 60 });
                let begun = CommitWriter::begin(line, Writer { patience, ..writer(next_epoch) }, NOW).await;
                writers.push(Racer { epoch: next_epoch, writer: begun.ok(), pending: None });
                next_epoch += 1;
                continue;
            }
            let index = random.random_range(0..writers.len());
            let Racer { epoch, writer: slot, pending } = &mut writers[index];
            let Some(writer) = slot else { continue };
            let id = pending.unwrap_or_else(|| {
                next_id += 1;
                next_id
            });
            tried.push(id);
            match writer.append(&adds("events", [id]), NOW).await {
                Ok(manifest) => {
                    *pending = None;
                    assert_eq!(manifest.epoch, Epoch(*epoch));
                    answered.push(id);
                }
                Err(AppendError::Unknown { .. }) => *pending = Some(id),
                Err(AppendError::Fenced { .. }) => *slot = None,
                Err(other) => panic!("seed {seed}: {other}"),
            }
        }
        let line = opened(&memory).await;
        let files = line.manifest().tables.get("events").map(|table| table.files.clone()).unwrap_or_default();
        for id in &answered {
            assert!(files.contains_key(&file_id(*id)), "seed {seed}: {id} was answered");
        }
        assert!(files.keys().all(|id| tried.contains(&id.0.as_u64_pair().1)));
        assert!(!answered.is_empty() && next_epoch > 3, "seed {seed} tests nothing");
        assert_eq!(names(&memory).await.len() as u64, line.manifest().number.0, "one object a commit");
    }
}
