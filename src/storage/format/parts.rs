//! The rows of a new file, in its order, for everybody who makes a part of it.
//!
//! A flush has its rows in memory. A compaction reads them while they are written: each part of them goes to all who
//! take it, and the next is read once they are near.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::table::Table;
use super::table_row::TableRow;

/// Parts that wait for the slowest.
const WAITING_PARTS: usize = 2;

/// For a blocking thread: the rows, part by part.
pub(crate) enum Parts<R> {
    Whole(Option<Arc<Vec<Arc<R>>>>),
    Fed(mpsc::Receiver<Arc<Vec<Arc<R>>>>),
}

impl<R> Iterator for Parts<R> {
    type Item = Arc<Vec<Arc<R>>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Parts::Whole(rows) => rows.take(),
            Parts::Fed(parts) => parts.blocking_recv(),
        }
    }
}

/// For each who makes a part of a file or of its siblings.
pub(crate) struct Takers<R> {
    pub(crate) index: Parts<R>,
    pub(crate) rows: Parts<R>,
    /// Of conversations.
    pub(crate) messages: Option<Parts<R>>,
    /// Of conversations, some of which may have threads.
    pub(crate) threads: Option<Parts<R>>,
    /// Of conversations whose texts are indexed with them, and how many they are.
    pub(crate) texts: Option<(u32, Parts<R>)>,
}

/// What is made of conversations, or can be left out.
#[derive(Clone, Copy)]
pub(crate) struct Extras {
    pub(crate) threads: bool,
    /// A text index of so many rows; it can also be made later.
    pub(crate) texts: Option<u32>,
}

impl<R: TableRow> Takers<R> {
    fn new(Extras { threads, texts }: Extras, mut parts: impl FnMut() -> Parts<R>) -> Takers<R> {
        let of_conversations = R::TABLE == Table::Conversations;
        Takers {
            index: parts(),
            rows: parts(),
            messages: of_conversations.then(&mut parts),
            threads: (of_conversations && threads).then(&mut parts),
            texts: texts.filter(|_| of_conversations).map(|rows| (rows, parts())),
        }
    }

    /// Of rows that are in memory; their texts are taken later.
    pub(crate) fn of(rows: &Arc<Vec<Arc<R>>>) -> Takers<R> {
        let threads = rows.iter().any(|row| row.siblings().threads > 0);
        Takers::new(Extras { threads, texts: None }, || Parts::Whole(Some(Arc::clone(rows))))
    }
}

/// Gives what it is fed with to all takers.
pub(crate) struct Feed<R>(Vec<mpsc::Sender<Arc<Vec<Arc<R>>>>>);

impl<R: TableRow> Feed<R> {
    pub(crate) fn new(extras: Extras) -> (Feed<R>, Takers<R>) {
        let mut senders = Vec::new();
        let takers = Takers::new(extras, || {
            let (sender, receiver) = mpsc::channel(WAITING_PARTS);
            senders.push(sender);
            Parts::Fed(receiver)
        });
        (Feed(senders), takers)
    }

    /// Once each has room for it. False if one takes no more: it has failed.
    pub(crate) async fn give(&self, part: Vec<Arc<R>>) -> bool {
        let part = Arc::new(part);
        for taker in &self.0 {
            if taker.send(Arc::clone(&part)).await.is_err() {
                return false;
            }
        }
        true
    }
}
