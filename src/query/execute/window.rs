//! Which of the sorted rows an answer shows.

use std::ops::Range;

use arrow::array::RecordBatch;

/// Skips the first rows of a stream and ends after a number of rows.
pub(crate) struct Window {
    skip: usize,
    left: usize,
}

impl Window {
    /// A sort keeps at most this many rows in one heap; above that it sorts everything, which can spill.
    const MAX_TOP_ROWS: usize = 200_000;

    pub(crate) fn new(offset: usize, limit: usize) -> Window {
        Window { skip: offset, left: limit }
    }

    /// How many sorted rows it needs; `None`: too many for a heap, so all are sorted.
    pub(crate) fn fetch(&self) -> Option<usize> {
        self.skip.checked_add(self.left).filter(|&rows| rows <= Self::MAX_TOP_ROWS)
    }

    /// Whether it shows any of so many rows.
    pub(crate) fn reaches(&self, rows: u64) -> bool {
        self.left > 0 && (self.skip as u64) < rows
    }

    pub(crate) fn is_full(&self) -> bool {
        self.left == 0
    }

    /// The rows of the next batch that are in the window.
    pub(crate) fn cut(&mut self, batch: &RecordBatch) -> RecordBatch {
        let Range { start, end } = self.take(batch.num_rows());
        batch.slice(start, end - start)
    }

    fn take(&mut self, rows: usize) -> Range<usize> {
        let start = self.skip.min(rows);
        self.skip -= start;
        let end = start + self.left.min(rows - start);
        self.left -= end - start;
        start..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cut_batches() {
        let mut window = Window::new(5, 4);
        assert_eq!(window.take(3), 3..3);
        assert_eq!(window.take(3), 2..3);
        assert_eq!(window.take(2), 0..2);
        assert_eq!(window.take(9), 0..1);
        assert_eq!(window.take(9), 0..0);
    }
}
