//! What changes have to know of stored rows, out of their files: few columns of the rows asked for, in one read.

use std::sync::Arc;

use object_store::ObjectStore;

use super::columns::column::{FlatRow, Set};
use super::columns::conversations::{ANNOTATIONS, ID_ORIGIN, PREVIOUS, SENDER, SENDER_KEY, wal_position};
use super::columns::messages::MessageRow;
use super::data_file::DataFile;
use super::error::FileError;
use super::reader::{Read, read_back, read_columns};
use super::stored_key::StoredKey;
use crate::model::annotations::Annotations;
use crate::model::conversation::Conversation;
use crate::model::ids::{
    ConversationId, ConversationKey, EpochMillis, MessageId, OrganizationId, ProjectId, WalPosition,
};
use crate::model::origin::{IdOrigin, Origin, SenderKind};
use crate::model::previous::{Fingerprint, Previous, PreviousMessage, text_hash};

/// A column by its name, and what its values do to a row.
pub(super) type Named<B> = (&'static str, Set<B>);

const KEY: [Named<StoredKey>; 4] = [
    ("organizationId", Set::Text(|key, id| key.organization_id = OrganizationId::new(id))),
    ("projectId", Set::Text(|key, id| key.project_id = ProjectId::new(id))),
    ("id", Set::Text(|key, id| key.id = id.to_owned())),
    ("externalId", Set::Text(|key, id| key.external_id = Some(id.to_owned()))),
];

/// The keys of rows, in the order given.
pub(crate) async fn read_keys<R: FlatRow>(
    store: &Arc<dyn ObjectStore>,
    file: &DataFile,
    rows: &[u32],
) -> Result<Vec<StoredKey>, FileError> {
    let wanted = rows.iter().map(|row| *row..row.saturating_add(1)).collect();
    read_columns(store, &file.parquet, wanted, &named::<R, _>(&KEY), StoredKey::blank).await
}

/// Those that the table has.
pub(super) fn named<'a, R: FlatRow, B>(columns: &'a [Named<B>]) -> Vec<Read<'a, B>> {
    let found = columns.iter().filter_map(|(name, set)| {
        let column = R::COLUMNS.iter().find(|column| column.field.name == *name)?;
        Some(Read { field: &column.field, set })
    });
    found.collect()
}

/// Whole rows, in the order given.
pub(crate) async fn read_whole<R: FlatRow>(
    store: &Arc<dyn ObjectStore>,
    file: &DataFile,
    rows: &[u32],
) -> Result<Vec<R::Back>, FileError> {
    let wanted = rows.iter().map(|row| *row..row.saturating_add(1)).collect();
    read_back::<R>(store, &file.parquet, wanted).await
}

/// Of a [`Previous`] what lies in the file of conversations.
struct PreviousRow {
    key: StoredKey,
    created_at: EpochMillis,
    updated_at: EpochMillis,
    first_wal_position: WalPosition,
    origin: Origin,
    fingerprint: Fingerprint,
    annotations: Annotations,
}

const PREVIOUS_ROW: [Named<PreviousRow>; 12] = [
    ("organizationId", Set::Text(|row, id| row.key.organization_id = OrganizationId::new(id))),
    ("projectId", Set::Text(|row, id| row.key.project_id = ProjectId::new(id))),
    ("id", Set::Text(|row, id| row.key.id = id.to_owned())),
    ("externalId", Set::Text(|row, id| row.key.external_id = Some(id.to_owned()))),
    ("createdAt", Set::Time(|row, time| row.created_at = time)),
    ("updatedAt", Set::Time(|row, time| row.updated_at = time)),
    ("firstWalPosition", Set::Integer(|row, position| row.first_wal_position = wal_position(position))),
    (SENDER, Set::Checked(|row, text| SenderKind::of_str(text).map(|read| row.origin.sender.kind = read).is_some())),
    (SENDER_KEY, Set::Text(|row, key| row.origin.sender.key = Some(key.to_owned()))),
    (ID_ORIGIN, Set::Checked(|row, text| IdOrigin::of_str(text).map(|read| row.origin.id = read).is_some())),
    (PREVIOUS, Set::Bytes(|row, bytes| Fingerprint::decode(bytes).map(|read| row.fingerprint = read).is_some())),
    (ANNOTATIONS, Set::Checked(|row, json| Annotations::from_json(json).map(|read| row.annotations = read).is_some())),
];

impl PreviousRow {
    fn blank() -> Self {
        PreviousRow {
            key: StoredKey::blank(),
            created_at: EpochMillis(0),
            updated_at: EpochMillis(0),
            first_wal_position: WalPosition::default(),
            origin: Origin::unknown(),
            fingerprint: Fingerprint::default(),
            annotations: Annotations::default(),
        }
    }
}

/// And what lies in the file of messages.
struct PreviousMessageRow {
    id: String,
    external_id_hash: Option<u64>,
    created_at: Option<EpochMillis>,
}

const MESSAGE_ROW: [Named<PreviousMessageRow>; 3] = [
    ("id", Set::Text(|row, id| row.id = id.to_owned())),
    ("externalId", Set::Text(|row, id| row.external_id_hash = Some(text_hash(id)))),
    ("createdAt", Set::Time(|row, time| row.created_at = Some(time))),
];

/// What re-logs of conversations have to know, in the order given.
pub(crate) async fn read_previous(
    store: &Arc<dyn ObjectStore>,
    file: &DataFile,
    rows: &[u32],
) -> Result<Vec<Previous>, FileError> {
    let damaged = |reason: String| FileError::Damaged { path: file.path().clone(), reason };
    let (columns, message_columns) = (named::<Conversation, _>(&PREVIOUS_ROW), named::<MessageRow, _>(&MESSAGE_ROW));
    let own = rows.iter().map(|row| *row..row.saturating_add(1)).collect();
    let own = read_columns(store, &file.parquet, own, &columns, PreviousRow::blank);
    let of_messages = async {
        let messages = file.messages.as_ref().ok_or_else(|| damaged("it has no messages beside it".to_owned()))?;
        let ranges = file.index.message_ranges(store.as_ref(), rows).await?;
        let blank = || PreviousMessageRow { id: String::new(), external_id_hash: None, created_at: None };
        let read = read_columns(store, messages, ranges.clone(), &message_columns, blank).await?;
        Ok::<_, FileError>((ranges, read))
    };
    let (own, (ranges, of_messages)) = futures::try_join!(own, of_messages)?;
    let mut of_messages = of_messages.into_iter();
    let mut found = Vec::with_capacity(own.len());
    for (row, range) in own.into_iter().zip(ranges) {
        let PreviousRow { key, created_at, updated_at, first_wal_position, origin, fingerprint, annotations } = row;
        if fingerprint.content_hashes.len() != range.len() {
            let (told, stored) = (fingerprint.content_hashes.len(), range.len());
            return Err(damaged(format!("{} has {stored} messages, its row tells of {told}", key.id)));
        }
        let messages = of_messages.by_ref().take(range.len()).zip(fingerprint.content_hashes);
        let messages = messages.map(|(message, content_hash)| PreviousMessage {
            id: MessageId::new(message.id),
            external_id_hash: message.external_id_hash,
            content_hash,
            created_at: message.created_at,
        });
        found.push(Previous {
            messages: messages.collect(),
            key: ConversationKey {
                organization_id: key.organization_id,
                project_id: key.project_id,
                id: ConversationId::new(key.id),
            },
            external_id: key.external_id,
            created_at,
            updated_at,
            first_wal_position,
            origin,
            document_hash: fingerprint.document_hash,
            annotations,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::cache::Cache;
    use crate::model::actor::Actor;
    use crate::model::annotations::{Changed, Stopped};
    use crate::model::event::{EntityType, Event};
    use crate::model::feedback::{Feedback, FeedbackType};
    use crate::model::ids::{EventId, FeedbackId, IntegrationId};
    use crate::model::origin::Sender;
    use crate::storage::format::columns::column::FlatRow;
    use crate::storage::format::file_id::FileId;
    use crate::storage::format::flatten::test_support::{random_conversation, raw};
    use crate::storage::format::layout::Layout;
    use crate::storage::format::parquet_file::{Blocks, ParquetFile};
    use crate::storage::format::parts::Parts;
    use crate::storage::format::row_index::builder::IndexBuilder;
    use crate::storage::format::row_index::file::FileIndex;
    use crate::storage::format::sidecar::part::{Part, Remade};
    use crate::storage::format::table_row::TableRow;
    use crate::storage::format::upload::Uploaded;
    use crate::storage::format::writer::{SiblingPaths, WrittenRows, sibling_parts, write_rows, write_siblings};

    fn file(path: &str, written: &Uploaded<WrittenRows>) -> ParquetFile {
        let blocks = Blocks::Known(written.blocks.clone());
        ParquetFile::new(path.into(), written.content.file.size, blocks, &Cache::new(1 << 20))
    }

    fn data_file(parquet: ParquetFile, rows: u32, index: FileIndex) -> DataFile {
        let id = FileId(uuid::Uuid::nil());
        DataFile::new((id, 1), parquet, rows, Layout::default(), BTreeMap::new(), index, &Cache::new(1 << 20))
    }

    #[tokio::test]
    async fn what_re_logs_need_comes_back() {
        let mut rng = StdRng::seed_from_u64(11);
        let mut stored: Vec<Arc<Conversation>> = Vec::new();
        for number in 0..3_000 {
            let mut conversation = random_conversation(number, &mut rng);
            if rng.random_bool(0.3) {
                let last_message_id = conversation.messages[0].id.clone();
                conversation.annotations.memo = Some("a memo".to_owned());
                conversation.annotations.stopped = Some(Stopped { at: EpochMillis(5), last_message_id });
                conversation.annotations.changed = Some(Changed { at: EpochMillis(6), by: Actor::default() });
            } else if rng.random_bool(0.5) {
                conversation.annotations = Annotations::default();
            }
            stored.push(Arc::new(conversation));
        }
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let paths = SiblingPaths { conversations: "c".into(), messages: "m".into(), threads: "t".into() };
        let written =
            write_siblings(&store, paths, sibling_parts(&Arc::new(stored.clone())), Layout::default()).await.unwrap();
        let mut builder = IndexBuilder::new();
        stored.iter().enumerate().for_each(|(row, one)| builder.push(row as u128, None, one.siblings()));
        let built = builder.finish().unwrap();
        let parts = Remade { opening: built.opening.clone(), body: built.body };
        let body = Part::in_memory(Path::from("i"), parts);
        let index = FileIndex::open(&built.opening, body, &Cache::new(1 << 20)).unwrap();
        let mut main = data_file(file("c", &written.conversations), 3_000, index);
        main.messages = Some(Arc::new(file("m", &written.messages)));
        for count in [1, 7, 100] {
            let rows: Vec<u32> = (0..count).map(|_| rng.random_range(0..3_000)).collect();
            let read = read_previous(&store, &main, &rows).await.unwrap();
            let keys = read_keys::<Conversation>(&store, &main, &rows).await.unwrap();
            assert_eq!((read.len(), keys.len()), (rows.len(), rows.len()));
            for ((read, key), row) in read.iter().zip(&keys).zip(rows) {
                let conversation = &stored[row as usize];
                assert_eq!(*read, Previous::of(conversation));
                assert_eq!((&key.organization_id, &key.project_id), (&read.key.organization_id, &read.key.project_id));
                assert_eq!((key.id.as_str(), &key.external_id), (read.key.id.as_str(), &conversation.external_id));
            }
        }
        let all: Vec<u32> = (0..3_000).collect();
        let whole = read_whole::<Conversation>(&store, &main, &all).await.unwrap();
        assert!(
            whole
                .iter()
                .zip(&stored)
                .all(|(read, stored)| { (&read.annotations, &read.origin) == (&stored.annotations, &stored.origin) })
        );
        assert!(read_previous(&store, &main, &[3_000]).await.is_err());
        // Small pages are kept.
        let read = read_keys::<Conversation>(&store, &main, &[7, 2_500]).await.unwrap();
        store.delete(&Path::from("c")).await.unwrap();
        let again = read_keys::<Conversation>(&store, &main, &[7, 2_500]).await.unwrap();
        assert!(read.iter().zip(&again).all(|(read, again)| read.id == again.id));
    }

    async fn come_back<R: TableRow + FlatRow<Back = R>>(rows: Vec<R>) {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let rows: Vec<Arc<R>> = rows.into_iter().map(Arc::new).collect();
        let written = write_rows(&store, "x".into(), Parts::Whole(Some(Arc::new(rows.clone()))), Layout::default())
            .await
            .unwrap();
        let file = data_file(file("x", &written), rows.len() as u32, FileIndex::empty());
        let wanted: Vec<u32> = (0..rows.len() as u32).rev().collect();
        let read = read_whole::<R>(&store, &file, &wanted).await.unwrap();
        for (read, stored) in read.iter().rev().zip(&rows) {
            assert_eq!(serde_json::to_string(read).unwrap(), serde_json::to_string(stored.as_ref()).unwrap());
        }
    }

    fn origin(number: usize) -> Origin {
        let kinds = [SenderKind::Web, SenderKind::Api, SenderKind::Org, SenderKind::Import];
        let sender = Sender { kind: kinds[number % 4], key: (number % 3 > 0).then(|| format!("k{}", number % 3)) };
        Origin { sender, id: [IdOrigin::Client, IdOrigin::Server][number / 4 % 2] }
    }

    fn properties(number: usize) -> Option<crate::model::json::value::RawJson> {
        [None, Some(raw("{}")), Some(raw(r#"{"a":1.50,"b":["\u00e9"]}"#))].into_iter().nth(number % 3).flatten()
    }

    #[tokio::test]
    async fn events_come_back_whole() {
        let mut events = Vec::new();
        for number in 0..60 {
            let entity_type = EntityType::ALL[number % 3];
            let linked = entity_type == EntityType::Message && number % 2 == 0;
            events.push(Event {
                organization_id: OrganizationId::new("o"),
                project_id: ProjectId::new(format!("p{}", number % 2)),
                id: EventId::new(format!("e{number}")),
                integration_id: (number % 5 == 0).then(|| IntegrationId::new("i")),
                event_type: format!("t{}", number % 4),
                entity_type,
                // A search may be for nothing.
                entity: if number % 9 == 2 { String::new() } else { format!("x{number}") },
                owner_id: linked.then(|| format!("c{number}")),
                detached: linked && number % 4 == 0,
                created_at: EpochMillis(number as i64 * 1_000 - 5),
                properties: properties(number),
                user_properties: properties(number / 3),
                origin: origin(number),
            });
        }
        come_back(events).await;
    }

    #[tokio::test]
    async fn feedback_comes_back_whole() {
        let mut given = Vec::new();
        for number in 0..60 {
            let agent = Actor { agent_email: Some("a@x".to_owned()), ..Actor::default() };
            given.push(Feedback {
                organization_id: OrganizationId::new("o"),
                project_id: ProjectId::new("p"),
                id: FeedbackId::new(format!("f{number}")),
                integration_id: (number % 5 == 0).then(|| IntegrationId::new("i")),
                feedback_type: if number % 2 == 0 { FeedbackType::Positive } else { FeedbackType::Negative },
                message_id: format!("m{number}"),
                owner_id: format!("c{}", number % 7),
                detached: number % 3 == 0,
                created_at: EpochMillis(number as i64),
                updated_at: EpochMillis(number as i64 + 1),
                reasons: (number % 4 == 0).then(|| raw(r#"[{"label":"l","details":"d"}]"#)),
                details: (number % 4 == 1).then(|| "not\n\"helpful\"".to_owned()),
                properties: properties(number),
                user_properties: properties(number / 3),
                sources: (number % 4 == 2).then(|| raw(r#"[{"type":null,"url":"u"}]"#)),
                origin: origin(number),
                rated_by: [None, Some(Actor::default()), Some(agent)].into_iter().nth(number % 3).flatten(),
            });
        }
        come_back(given).await;
    }
}
