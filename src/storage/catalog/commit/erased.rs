//! What a commit tells of erasures (contract A7): which files hold something erased, and since when.

use serde::{Deserialize, Serialize};

use crate::model::ids::{EpochMillis, WalPosition};

/// Of a deletion. Positions order them, whatever the clock does; the time is for the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Moment {
    pub(crate) position: WalPosition,
    pub(crate) at: EpochMillis,
}

/// From when to when the deletions were whose rows a file may still hold. It tells of no row: one that was dead already,
/// an earlier version of what is erased, counts as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Erased {
    pub(crate) oldest: Moment,
    pub(crate) newest: Moment,
}

impl Erased {
    pub(crate) fn at(moment: Moment) -> Erased {
        Erased { oldest: moment, newest: moment }
    }

    pub(crate) fn merged(self, other: Option<Erased>) -> Erased {
        let Some(other) = other else { return self };
        let newest = if self.newest.position < other.newest.position { other.newest } else { self.newest };
        let position = self.oldest.position.min(other.oldest.position);
        // The clock may have gone back meanwhile.
        let at = self.oldest.at.min(other.oldest.at);
        Erased { oldest: Moment { position, at }, newest }
    }

    /// What is left of it in a file that was written without what was erased up to `done`.
    pub(crate) fn since(self, done: Option<Erased>) -> Option<Erased> {
        let Some(Erased { newest: done, .. }) = done else { return Some(self) };
        let position = WalPosition(done.position.0 + 1);
        (self.newest.position > done.position)
            .then(|| Erased { oldest: Moment { position, at: done.at.min(self.newest.at) }, newest: self.newest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(position: u64, at: i64) -> Moment {
        Moment { position: WalPosition(position), at: EpochMillis(at) }
    }

    #[test]
    fn erasures_of_a_file_are_one_span() {
        let (early, late) = (Erased::at(moment(3, 30)), Erased::at(moment(7, 70)));
        let both = Erased { oldest: moment(3, 30), newest: moment(7, 70) };
        assert_eq!((early.merged(Some(late)), late.merged(Some(early))), (both, both));
        assert_eq!(early.merged(None), early);
        let set_back = Erased::at(moment(9, 20));
        assert_eq!(both.merged(Some(set_back)), Erased { oldest: moment(3, 20), newest: moment(9, 20) });
    }

    #[test]
    fn what_came_while_a_file_was_written_again_is_left() {
        let (early, late) = (Erased::at(moment(3, 30)), Erased::at(moment(7, 70)));
        assert_eq!(early.since(Some(early)), None);
        assert_eq!(late.since(None), Some(late));
        let left = late.merged(Some(early)).since(Some(early)).unwrap();
        assert_eq!(left, Erased { oldest: moment(4, 30), newest: moment(7, 70) });
    }
}
