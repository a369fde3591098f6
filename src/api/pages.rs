//! Lists of whole conversations, sent while they are read.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::future::try_join_all;

use super::http::body::sized;
use super::http::call::{Call, json};
use super::http::held::Holder;
use super::http::problem::Problem;
use super::services::Services;
use crate::model::conversation::Conversation;
use crate::model::rating::Ratings;
use crate::storage::read::snapshot::{RowAddress, Snapshot};
use crate::storage::read::text_search::ReadSize;
use crate::storage::store::{Store, StoreError};

/// `{"conversations":[`, the conversations at these addresses as `written`, and `tail`.
pub(crate) async fn stream_list(
    services: &Services,
    call: &Call,
    snapshot: Arc<Snapshot>,
    rows: &[RowAddress],
    tail: String,
    written: Arc<dyn Written>,
) -> Result<Response, Problem> {
    let pages = Pages {
        store: Arc::clone(&services.store),
        holder: call.holder().clone(),
        snapshot,
        rows: rows.to_vec().into(),
        size: ReadSize::default(),
        head: Some("{\"conversations\":["),
        tail: Some(tail),
        written,
    };
    // The first piece before the headers, so that a store that cannot read still answers 500.
    let Some((first, pages)) = pages.next().await? else { return Err(Problem::internal()) };
    let rest = futures::stream::try_unfold(pages, |pages| async {
        pages.next().await.map_err(|problem| std::io::Error::other(format!("{problem:?}")))
    });
    let first = futures::stream::iter([Ok::<_, std::io::Error>(first)]);
    Ok(json(Body::from_stream(futures::StreamExt::chain(first, rest))))
}

/// How a list shows a conversation.
pub(crate) trait Written: Send + Sync {
    /// The messages whose ratings it shows.
    fn rated<'a>(&self, conversation: &'a Conversation) -> Vec<&'a str>;
    /// Appends JSON.
    fn write(&self, conversation: &Conversation, ratings: &Ratings, out: &mut Vec<u8>);
}

/// The rest of a list's body, made piece by piece from one snapshot.
struct Pages {
    store: Arc<Store>,
    holder: Holder,
    snapshot: Arc<Snapshot>,
    rows: VecDeque<RowAddress>,
    size: ReadSize,
    head: Option<&'static str>,
    tail: Option<String>,
    written: Arc<dyn Written>,
}

impl Pages {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Problem> {
        if self.tail.is_none() {
            return Ok(None);
        }
        let rows: Vec<RowAddress> = self.rows.drain(..self.size.rows().min(self.rows.len())).collect();
        let turn = self.holder.turn_to_read().await?;
        let conversations = self.store.read_rows(&self.snapshot, &rows).await?;
        let mut held = self.holder.nothing();
        held.grow(conversations.iter().map(|conversation| conversation.memory_bytes()).sum()).await?;
        drop(turn);
        self.size.learn(conversations.iter().map(Arc::as_ref));
        let (head, tail) = (self.head.take(), if self.rows.is_empty() { self.tail.take() } else { None });
        let ratings = try_join_all(conversations.iter().map(|conversation| self.ratings(conversation))).await?;
        let bytes = conversations.iter().map(|conversation| conversation.text_bytes()).sum();
        let written = Arc::clone(&self.written);
        let piece = sized(bytes, move || {
            let mut piece = Vec::new();
            let mut first = head.is_some();
            piece.extend_from_slice(head.unwrap_or_default().as_bytes());
            for (conversation, ratings) in conversations.iter().zip(&ratings) {
                if !std::mem::take(&mut first) {
                    piece.push(b',');
                }
                written.write(conversation, ratings, &mut piece);
            }
            piece.extend_from_slice(tail.unwrap_or_default().as_bytes());
            piece
        });
        let piece = piece.await?;
        drop(held);
        Ok(Some((self.holder.counted(piece).await, self)))
    }

    async fn ratings(&self, conversation: &Conversation) -> Result<Ratings, StoreError> {
        let rated = self.written.rated(conversation);
        if rated.is_empty() { Ok(Ratings::default()) } else { self.snapshot.ratings(conversation, &rated).await }
    }
}
