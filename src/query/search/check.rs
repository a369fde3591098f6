//! What only the conversations themselves tell.

use std::sync::Arc;

use crate::model::search_text::SearchTerm;
use crate::storage::error::StoreError;
use crate::storage::format::layout::FormatVersion;
use crate::storage::read::snapshot::{RowAddress, Snapshot};
use crate::storage::read::text_search::ReadSize;

#[derive(Clone, Debug, Default)]
pub(crate) struct Check {
    /// In the title or in the text of a message.
    pub(crate) term: Option<SearchTerm>,
    /// Whether an answer is on its way.
    pub(crate) running: Option<bool>,
}

impl Check {
    pub(crate) fn is_needed(&self) -> bool {
        self.term.is_some() || self.running.is_some()
    }

    /// Whether each of these rows passes, which the filters on columns have let pass.
    pub(crate) async fn pass(&self, snapshot: &Snapshot, rows: &[RowAddress]) -> Result<Vec<bool>, StoreError> {
        let mut passed = match &self.term {
            Some(term) => snapshot.have_text(rows, term).await?,
            None => vec![true; rows.len()],
        };
        let Some(running) = self.running else { return Ok(passed) };
        // The column was told already, but by files that are too old to have it.
        let files = snapshot.tables.conversations.files.iter();
        let old = files.filter(|entry| entry.file.layout.version < FormatVersion::RUNNING);
        let old: Vec<u32> = old.map(|entry| entry.file.number).collect();
        let left = rows.iter().zip(&mut passed).filter(|(row, has)| **has && old.contains(&row.source));
        let mut left: Vec<(&RowAddress, &mut bool)> = left.collect();
        let (mut left, mut size) = (left.as_mut_slice(), ReadSize::default());
        while !left.is_empty() {
            let (part, rest) = left.split_at_mut(size.rows().min(left.len()));
            let addresses: Vec<RowAddress> = part.iter().map(|(row, _)| **row).collect();
            let conversations = snapshot.read_rows(&addresses).await?;
            size.learn(conversations.iter().map(Arc::as_ref));
            for ((_, passes), conversation) in part.iter_mut().zip(conversations) {
                **passes = conversation.is_running() == running;
            }
            left = rest;
        }
        Ok(passed)
    }
}
