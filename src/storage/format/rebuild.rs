//! The row index of a file once more, out of its Parquet files alone.

use std::ops::Range;
use std::sync::Arc;

use object_store::ObjectStore;

use super::columns::column::{FlatRow, Set};
use super::columns::messages::MessageRow;
use super::entries::named;
use super::error::FileError;
use super::indexed::push;
use super::parquet_file::ParquetFile;
use super::reader::{read_back, read_columns};
use super::row_index::builder::{IndexBuilder, Siblings};
use super::sidecar::file::BuiltIndex;
use super::stored_key::StoredKey;
use super::table_row::{Reference, TableRow};
use crate::model::conversation::Conversation;
use crate::model::event::Event;
use crate::model::feedback::Feedback;
use crate::model::ids::{OrganizationId, ProjectId, lookup_hash};
use crate::model::thread::count_threads;

/// Rows that are read at once.
const CHUNK_ROWS: u32 = 2_048;

/// A file whose index is to be made again. All its objects are known to be sound.
pub(crate) struct Source<'a> {
    pub(crate) parquet: &'a Arc<ParquetFile>,
    pub(crate) rows: u32,
    /// Beside conversations.
    pub(crate) messages: Option<&'a Arc<ParquetFile>>,
}

impl Source<'_> {
    fn chunks(&self) -> impl Iterator<Item = Range<u32>> + use<> {
        let rows = self.rows;
        (0..rows).step_by(CHUNK_ROWS as usize).map(move |start| start..start.saturating_add(CHUNK_ROWS).min(rows))
    }
}

/// A table whose files tell their index.
pub(crate) trait Indexed: TableRow + FlatRow<Back = Self> {
    /// What [`super::indexed::build_index`] made when the file was written, byte for byte. A bounded number of rows is in memory.
    fn rebuild_index(
        store: &Arc<dyn ObjectStore>,
        source: Source<'_>,
    ) -> impl Future<Output = Result<BuiltIndex, FileError>> + Send {
        async move {
            let mut builder = IndexBuilder::new();
            for chunk in source.chunks() {
                let rows = read_back::<Self>(store, source.parquet, vec![chunk]).await?;
                rows.iter().for_each(|row| push(&mut builder, row));
            }
            Ok(builder.finish()?)
        }
    }
}

impl Indexed for Event {}

impl Indexed for Feedback {}

/// What the index has of a conversation.
struct IndexedRow {
    key: StoredKey,
    messages: i64,
}

/// And of a message.
struct IndexedMessage {
    id: String,
    role: String,
}

impl Indexed for Conversation {
    async fn rebuild_index(store: &Arc<dyn ObjectStore>, source: Source<'_>) -> Result<BuiltIndex, FileError> {
        let damaged = |reason: String| FileError::Damaged { path: source.parquet.path.clone(), reason };
        let messages = source.messages.ok_or_else(|| damaged("it has no messages beside it".to_owned()))?;
        let columns = [
            ("organizationId", Set::Text(|row: &mut IndexedRow, id| row.key.organization_id = OrganizationId::new(id))),
            ("projectId", Set::Text(|row, id| row.key.project_id = ProjectId::new(id))),
            ("id", Set::Text(|row, id| row.key.id = id.to_owned())),
            ("externalId", Set::Text(|row, id| row.key.external_id = Some(id.to_owned()))),
            ("messageCount", Set::Integer(|row, count| row.messages = count)),
        ];
        let message_columns = [
            ("id", Set::Text(|row: &mut IndexedMessage, id| row.id = id.to_owned())),
            ("role", Set::Text(|row, role| row.role = role.to_owned())),
        ];
        let (columns, message_columns) = (named::<Conversation, _>(&columns), named::<MessageRow, _>(&message_columns));
        let mut builder = IndexBuilder::new();
        let mut next = 0_u32;
        for chunk in source.chunks() {
            let blank = || IndexedRow { key: StoredKey::blank(), messages: 0 };
            let rows = read_columns(store, source.parquet, vec![chunk], &columns, blank).await?;
            let mut left = rows.as_slice();
            while !left.is_empty() {
                // As many conversations as have about a chunk of messages, and at least one.
                let (mut taken, mut end) = (0, next);
                for row in left {
                    let count = u32::try_from(row.messages).ok().and_then(|count| end.checked_add(count));
                    let after =
                        count.ok_or_else(|| damaged(format!("{} has {} messages", row.key.id, row.messages)))?;
                    if taken > 0 && after - next > CHUNK_ROWS {
                        break;
                    }
                    (taken, end) = (taken + 1, after);
                }
                let (part, rest) = left.split_at(taken);
                let wanted = std::iter::once(next..end).collect();
                let blank = || IndexedMessage { id: String::new(), role: String::new() };
                let read = read_columns(store, messages, wanted, &message_columns, blank).await?;
                let mut read = read.as_slice();
                for IndexedRow { key, messages } in part {
                    let (own, others) = read
                        .split_at_checked(usize::try_from(*messages).unwrap_or(usize::MAX))
                        .ok_or_else(|| damaged(format!("messages of {} are missing", key.id)))?;
                    read = others;
                    push_conversation(&mut builder, key, own);
                }
                (left, next) = (rest, end);
            }
        }
        Ok(builder.finish()?)
    }
}

fn push_conversation(builder: &mut IndexBuilder, key: &StoredKey, messages: &[IndexedMessage]) {
    let StoredKey { organization_id, project_id, id, external_id } = key;
    let threads = count_threads(messages.iter().map(|message| message.role.as_str()));
    let siblings = Siblings { messages: messages.len() as u32, threads: threads as u32 };
    let external_id = external_id.as_deref().map(|text| lookup_hash(organization_id, text));
    builder.push(lookup_hash(organization_id, id), external_id, siblings);
    for message in messages {
        builder.push_reference(Reference::Message(&message.id).hash(organization_id, project_id));
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::cache::Cache;
    use crate::model::thread::SemanticThread;
    use crate::storage::format::flatten::test_support::random_conversation;
    use crate::storage::format::indexed::build_index;
    use crate::storage::format::layout::Layout;
    use crate::storage::format::parquet_file::Blocks;
    use crate::storage::format::parts::Parts;
    use crate::storage::format::writer::{SiblingPaths, sibling_parts, write_siblings};

    #[tokio::test]
    async fn the_index_of_conversations_is_the_same_again() {
        let mut random = StdRng::seed_from_u64(4);
        for count in [1, 2_048, 5_000] {
            let mut stored: Vec<Arc<Conversation>> = Vec::new();
            for number in 0..count {
                let mut conversation = random_conversation(number, &mut random);
                if number == count / 2 {
                    // More than a chunk.
                    let one = conversation.messages[0].clone();
                    conversation.messages = vec![one; 3_000];
                }
                for message in &mut conversation.messages {
                    message.role = ["user", "assistant", "system"][random.random_range(0..3)].to_owned();
                }
                let roles = conversation.messages.iter().map(|message| message.role.as_str());
                assert_eq!(count_threads(roles), SemanticThread::derive(&Arc::new(conversation.clone())).len());
                stored.push(Arc::new(conversation));
            }
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let paths = SiblingPaths { conversations: "c".into(), messages: "m".into(), threads: "t".into() };
            let written = write_siblings(&store, paths, sibling_parts(&Arc::new(stored.clone())), Layout::default())
                .await
                .unwrap();
            // Footers are read from the store.
            let cache = Cache::new(1 << 20);
            let open = |path: &str, size, blocks: &[u64]| {
                Arc::new(ParquetFile::new(path.into(), size, Blocks::Known(blocks.to_vec()), &cache))
            };
            let (main, messages) = (&written.conversations, &written.messages);
            let parquet = open("c", main.content.file.size, &main.blocks);
            let messages = open("m", messages.content.file.size, &messages.blocks);
            let source = Source { parquet: &parquet, rows: count as u32, messages: Some(&messages) };
            let again = Conversation::rebuild_index(&store, source).await.unwrap();
            assert!(
                again == build_index(Parts::Whole(Some(Arc::new(stored.clone())))).unwrap(),
                "{count} conversations"
            );
        }
    }
}
