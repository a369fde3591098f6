//! Which files are merged next.
//!
//! Files of one level, which counts the merges that their rows have behind them, are merged once there are enough of
//! them: neighbours in time, so that files stay narrow, and none larger than the others together, so that a large one is
//! not written again for the sake of a few small ones. Every row is written once a level, and levels end at
//! [`MAX_LEVEL`]: what a store writes is bounded by what it takes in, however long it lives. A file of which too much is
//! deleted is rewritten alone, whatever its size, and before all else one that holds what was erased, once its deadline
//! comes near.

use crate::model::ids::EpochMillis;
use crate::storage::format::file_id::FileId;

/// Merges that a row can have behind it.
pub(crate) const MAX_LEVEL: u32 = 4;
/// Files that are merged at once.
pub(crate) const MIN_FILES: usize = 8;
/// As [`MIN_FILES`].
pub(crate) const MAX_FILES: usize = 12;
/// A file that is larger is merged no more. With its siblings.
pub(crate) const TARGET_BYTES: u64 = 256 << 20;
/// As [`TARGET_BYTES`].
pub(crate) const TARGET_ROWS: u64 = 4_000_000;
/// Deleted rows of a hundred above which a file is rewritten alone.
pub(crate) const MAX_DELETED_PERCENT: u64 = 10;
/// Of a file that a merge takes up sooner or later, which drops its deleted rows as well.
const MAX_DELETED_PERCENT_UNMERGED: u64 = 50;

/// A file as the choice sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: FileId,
    pub(crate) level: u32,
    pub(crate) rows: u64,
    pub(crate) deleted: u64,
    /// With those of its siblings.
    pub(crate) bytes: u64,
    /// The earliest of its rows.
    pub(crate) from: EpochMillis,
    /// Since when it holds something erased that has to be gone soon (contract A7).
    pub(crate) erasure_due: Option<EpochMillis>,
}

impl Candidate {
    fn is_full(&self) -> bool {
        self.level >= MAX_LEVEL || self.bytes >= TARGET_BYTES || self.rows >= TARGET_ROWS
    }

    fn has_more_deleted_than(&self, percent: u64) -> bool {
        self.deleted * 100 > self.rows * percent
    }
}

/// Chooses among the files of a table.
pub(crate) type Policy = fn(&[Candidate]) -> Option<Choice>;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// In the order of their rows' times; one of them if it is rewritten alone.
    pub(crate) files: Vec<FileId>,
    /// Of the file that comes of them.
    pub(crate) level: u32,
}

/// None where nothing is due.
pub(crate) fn choose(files: &[Candidate]) -> Option<Choice> {
    erase(files).or_else(|| merge(files)).or_else(|| rewrite(files))
}

/// The file that has waited longest, alone and whatever its size: an erasure has a deadline.
fn erase(files: &[Candidate]) -> Option<Choice> {
    let due = files.iter().filter_map(|file| Some((file.erasure_due?, file)));
    let (_, file) = due.min_by_key(|(since, file)| (*since, file.id))?;
    Some(Choice { files: vec![file.id], level: file.level })
}

/// Of the lowest level that has enough files: those are the smallest, and the most.
fn merge(files: &[Candidate]) -> Option<Choice> {
    (0..MAX_LEVEL).find_map(|level| {
        let mut of_level: Vec<&Candidate> =
            files.iter().filter(|file| file.level == level && !file.is_full()).collect();
        if of_level.len() < MIN_FILES {
            return None;
        }
        of_level.sort_by_key(|file| (file.from, file.id));
        let window = best_window(&of_level)?;
        Some(Choice { files: window.iter().map(|file| file.id).collect(), level: level + 1 })
    })
}

/// The longest run of neighbours that makes one good file, of equally long ones the smallest.
fn best_window<'a>(sorted: &[&'a Candidate]) -> Option<Vec<&'a Candidate>> {
    let mut best: Option<(usize, u64, &[&Candidate])> = None;
    for start in 0..sorted.len() {
        let (mut bytes, mut rows, mut largest) = (0, 0, 0);
        let run = sorted.get(start..).unwrap_or_default();
        for (before, file) in run.iter().take(MAX_FILES).enumerate() {
            (bytes, rows, largest) = (bytes + file.bytes, rows + file.rows, largest.max(file.bytes));
            if bytes > TARGET_BYTES * 2 || rows > TARGET_ROWS * 2 {
                break;
            }
            let length = before + 1;
            // A full file does not wait for as many neighbours.
            let full = length >= 2 && (bytes >= TARGET_BYTES || rows >= TARGET_ROWS);
            if (length < MIN_FILES && !full) || largest > bytes - largest {
                continue;
            }
            if best.is_none_or(|(files, smallest, _)| length > files || (length == files && bytes < smallest)) {
                best = run.get(..length).map(|window| (length, bytes, window));
            }
        }
    }
    best.map(|(_, _, window)| window.to_vec())
}

/// The file that gains most by losing its deleted rows.
fn rewrite(files: &[Candidate]) -> Option<Choice> {
    let due = files.iter().filter(|file| {
        let allowed = if file.is_full() || file.level > 0 { MAX_DELETED_PERCENT } else { MAX_DELETED_PERCENT_UNMERGED };
        file.has_more_deleted_than(allowed)
    });
    let worst = due.max_by_key(|file| (file.deleted * 1_000 / file.rows.max(1), file.id))?;
    Some(Choice { files: vec![worst.id], level: worst.level })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;

    fn file(number: u128, level: u32, rows: u64, from: i64) -> Candidate {
        let id = FileId(Uuid::from_u128(number));
        Candidate { id, level, rows, deleted: 0, bytes: rows * 300, from: EpochMillis(from), erasure_due: None }
    }

    #[test]
    fn neighbours_in_time_of_one_level_are_merged_once_there_are_enough() {
        let mut files: Vec<Candidate> = (0..7).map(|n| file(n, 0, 100, 100 - n as i64)).collect();
        assert_eq!(choose(&files), None);
        files.push(file(100, 1, 100, 50));
        assert_eq!(choose(&files), None, "one of another level does not count");
        files.push(file(7, 0, 100, 0));
        let choice = choose(&files).unwrap();
        let ids: Vec<u128> = choice.files.iter().map(|id| id.0.as_u128()).collect();
        assert_eq!((ids, choice.level), (vec![7, 6, 5, 4, 3, 2, 1, 0], 1));
    }

    #[test]
    fn a_large_file_is_not_written_again_for_small_ones() {
        let mut files: Vec<Candidate> = (0..9).map(|n| file(n, 0, 10, n as i64)).collect();
        files.push(file(9, 0, 10_000, 9));
        let choice = choose(&files).unwrap();
        assert!(!choice.files.contains(&FileId(Uuid::from_u128(9))), "{choice:?}");
        files.truncate(7);
        files.push(file(9, 0, 10_000, 9));
        assert_eq!(choose(&files), None);
    }

    #[test]
    fn what_is_full_or_has_been_merged_often_is_left() {
        let full: Vec<Candidate> = (0..20).map(|n| file(n, 0, TARGET_ROWS, n as i64)).collect();
        assert_eq!(choose(&full), None);
        let merged: Vec<Candidate> = (0..20).map(|n| file(n, MAX_LEVEL, 100, n as i64)).collect();
        assert_eq!(choose(&merged), None);
    }

    #[test]
    fn a_file_with_many_deleted_rows_is_rewritten_alone_and_keeps_its_level() {
        let mut files = vec![file(1, 2, 1_000, 0), file(2, 3, TARGET_ROWS, 0), file(3, 0, 1_000, 0)];
        (files[0].deleted, files[1].deleted, files[2].deleted) = (100, TARGET_ROWS / 9, 300);
        assert_eq!(choose(&files), Some(Choice { files: vec![files[1].id], level: 3 }));
        files[1].deleted = 0;
        assert_eq!(choose(&files), None, "10 % is allowed, and a new file is merged soon");
        files[2].deleted = 501;
        assert_eq!(choose(&files), Some(Choice { files: vec![files[2].id], level: 0 }));
        files[0].rows = 0;
        files[0].deleted = 0;
        assert_eq!(choose(&files[..1]), None);
    }

    #[test]
    fn a_file_with_an_erasure_due_is_written_again_alone_before_all_else() {
        let mut files: Vec<Candidate> = (0..9).map(|n| file(n, 0, 100, n as i64)).collect();
        files.push(file(20, MAX_LEVEL, 2 * TARGET_ROWS, 0));
        files.push(file(21, 1, 100, 0));
        assert_eq!(choose(&files).unwrap().files.len(), 9);
        (files[9].erasure_due, files[10].erasure_due) = (Some(EpochMillis(5)), Some(EpochMillis(7)));
        assert_eq!(choose(&files), Some(Choice { files: vec![files[9].id], level: MAX_LEVEL }), "one row is enough");
        files[9].erasure_due = None;
        assert_eq!(choose(&files), Some(Choice { files: vec![files[10].id], level: 1 }));
    }

    /// Flushes of equal and of very different sizes: what is written, and how many files are left.
    #[test]
    fn what_is_written_and_what_is_left_is_bounded() {
        for (name, size) in [("equal", (|_| 200) as fn(u64) -> u64), ("unequal", |n| 1 + (n * 7_919) % 1_000)] {
            let mut files: BTreeMap<FileId, Candidate> = BTreeMap::new();
            let (mut next, mut taken, mut written) = (0_u128, 0_u64, 0_u64);
            for flush in 0..2_000_u64 {
                let new = file(next, 0, size(flush), flush as i64);
                next += 1;
                taken += new.bytes;
                files.insert(new.id, new);
                while let Some(choice) = choose(&files.values().cloned().collect::<Vec<_>>()) {
                    let merged: Vec<Candidate> = choice.files.iter().map(|id| files.remove(id).unwrap()).collect();
                    assert!(choice.level <= MAX_LEVEL);
                    let rows = merged.iter().map(|file| file.rows).sum();
                    let whole = file(next, choice.level, rows, merged[0].from.0);
                    next += 1;
                    written += whole.bytes;
                    files.insert(whole.id, whole);
                }
            }
            let rows: u64 = files.values().map(|file| file.rows).sum();
            assert_eq!(rows * 300, taken);
            assert!(files.len() <= 60, "{name}: {} files", files.len());
            for level in 0..MAX_LEVEL {
                let count = files.values().filter(|file| file.level == level).count();
                assert!(count <= MAX_FILES, "{name}: {count} files of level {level}");
            }
            let amplification = written as f64 / taken as f64;
            assert!(amplification <= f64::from(MAX_LEVEL), "{name}: {amplification}");
        }
    }
}
