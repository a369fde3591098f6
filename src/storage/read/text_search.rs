//! Search for a text, whole words or not, in the conversations of a snapshot.
//!
//! Each data file of `conversations` gets a text index ([`crate::storage::format::text_index`]): which rows may have which n-grams of characters
//! and the folded texts themselves, so that a candidate is verified without its Parquet rows. An index is
//! no part of a commit: a background thread makes it once the file is there ([`crate::storage::maintain::text_indexer`]), and rows without one (of the
//! tail, of new files) are read whole. So a search finds all that a scan would find, only sooner.

use std::sync::Arc;

use futures::{StreamExt, stream};
use roaring::RoaringBitmap;

use super::row_filter::RowFilter;
use super::snapshot::{RowAddress, Snapshot};
use crate::model::conversation::Conversation;
use crate::model::search_text::{SearchTerm, append_search_text};
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::error::StoreError;

const FILES_AT_ONCE: usize = 8;

impl Snapshot {
    /// All rows but those that certainly do not have the term.
    pub(crate) async fn candidates(&self, term: &SearchTerm) -> RowFilter {
        let files = stream::iter(self.tables.conversations.files.to_vec()).map(|entry| self.candidates_in(entry, term));
        let found: Vec<(u32, Option<RoaringBitmap>)> = files.buffered(FILES_AT_ONCE).collect().await;
        let mut filter = RowFilter::default();
        for (file, rows) in found {
            if let Some(rows) = rows {
                filter.ask_only(file, rows);
            }
        }
        filter
    }

    /// All threads but those whose conversations certainly lack one of the terms.
    pub(crate) async fn thread_candidates(&self, terms: &[SearchTerm]) -> RowFilter {
        let files = stream::iter(self.tables.conversations.files.to_vec()).map(async |entry| {
            let mut all: Option<RoaringBitmap> = None;
            for term in terms {
                if let (_, Some(rows)) = self.candidates_in(entry.clone(), term).await {
                    all = Some(all.map_or_else(|| rows.clone(), |all| all & &rows));
                }
            }
            (entry, all)
        });
        let found: Vec<(FileSnapshot, Option<RoaringBitmap>)> = files.buffered(FILES_AT_ONCE).collect().await;
        let mut filter = RowFilter::default();
        for (FileSnapshot { file, .. }, rows) in found {
            // A scan of most rows is faster whole.
            if let (Some(threads), Some(rows)) = (&file.threads, rows)
                && rows.len() * 2 < u64::from(file.rows)
            {
                filter.ask_only(threads.file.number, threads.rows_of(&rows));
            }
        }
        filter
    }

    /// A file's number and its candidates; `None`: no index tells.
    async fn candidates_in(&self, entry: FileSnapshot, term: &SearchTerm) -> (u32, Option<RoaringBitmap>) {
        let number = entry.file.number;
        let kept = &entry.file.text_index;
        let candidates = async {
            let Some(index) = kept.get(self.store.as_ref()).await? else { return Ok(None) };
            index.candidates(self.store.as_ref(), term).await.map(Some)
        };
        match candidates.await.map_err(|error| kept.failed(error)) {
            Ok(candidates) => (number, candidates.map(|candidates| candidates - &*entry.deleted)),
            Err(error) => {
                tracing::warn!(%error, "a text index could not be read; its rows are read whole");
                (number, None)
            }
        }
    }

    /// Whether each of these rows has the term.
    pub(crate) async fn have_text(&self, rows: &[RowAddress], term: &SearchTerm) -> Result<Vec<bool>, StoreError> {
        let mut found = vec![false; rows.len()];
        let mut indexed = vec![false; rows.len()];
        for entry in self.tables.conversations.files.iter() {
            let mut wanted: Vec<(u32, usize)> = Vec::new();
            for (slot, address) in rows.iter().enumerate().filter(|(_, row)| row.source == entry.file.number) {
                wanted.push((address.row, slot));
            }
            if wanted.is_empty() {
                continue;
            }
            wanted.sort_unstable();
            let Ok(Some(index)) = entry.file.text_index.get(self.store.as_ref()).await else { continue };
            let numbers: Vec<u32> = wanted.iter().map(|(row, _)| *row).collect();
            let verified = index.verify(self.store.as_ref(), &numbers, term).await;
            let Ok(verified) = verified.map_err(|error| entry.file.text_index.failed(error)) else { continue };
            for ((_, slot), has) in wanted.into_iter().zip(verified) {
                if let (Some(found), Some(indexed)) = (found.get_mut(slot), indexed.get_mut(slot)) {
                    (*found, *indexed) = (has, true);
                }
            }
        }
        let others: Vec<RowAddress> =
            rows.iter().zip(&indexed).filter(|(_, indexed)| !**indexed).map(|(row, _)| *row).collect();
        let mut verified = Vec::with_capacity(others.len());
        let (mut text, mut size) = (Vec::new(), ReadSize::default());
        let mut left = others.as_slice();
        while !left.is_empty() {
            let (part, rest) = left.split_at(size.rows().min(left.len()));
            let conversations = self.read_rows(part).await?;
            size.learn(conversations.iter().map(Arc::as_ref));
            for conversation in conversations {
                text.clear();
                append_search_text(&conversation, &mut text);
                verified.push(term.is_in(&text));
            }
            left = rest;
        }
        let slots = found.iter_mut().zip(&indexed).filter(|(_, indexed)| !**indexed);
        slots.zip(verified).for_each(|((found, _), has)| *found = has);
        Ok(found)
    }
}

/// How many conversations to read at once: as many as have about 8 MB, judged by those read before, and at most four
/// times as many as then.
#[derive(Default)]
pub(crate) struct ReadSize {
    next: usize,
}

impl ReadSize {
    const BYTES: usize = 8 << 20;
    /// One that was imported may have 16 MB.
    const FIRST_ROWS: usize = 12;
    const GROWTH: usize = 4;
    const MAX_ROWS: usize = 128;

    pub(crate) fn rows(&self) -> usize {
        if self.next == 0 { Self::FIRST_ROWS } else { self.next }
    }

    pub(crate) fn learn<'a>(&mut self, read: impl ExactSizeIterator<Item = &'a Conversation>) {
        let rows = read.len().max(1);
        let bytes: usize = read.map(Conversation::text_bytes).sum();
        let fitting = Self::BYTES / (bytes / rows).max(1);
        self.next = fitting.clamp(1, self.rows().saturating_mul(Self::GROWTH).min(Self::MAX_ROWS));
    }
}
