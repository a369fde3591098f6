//! What a re-log needs to know of the stored conversation (contract A2, upsert).

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::annotations::Annotations;
use super::conversation::Conversation;
use super::document::Document;
use super::ids::{ConversationKey, EpochMillis, IntegrationId, MessageId, WalPosition};
use super::json::value::RawJson;
use super::origin::Origin;

/// The stored conversation without its texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Previous {
    pub(crate) key: ConversationKey,
    pub(crate) external_id: Option<String>,
    pub(crate) created_at: EpochMillis,
    pub(crate) updated_at: EpochMillis,
    pub(crate) first_wal_position: WalPosition,
    pub(crate) origin: Origin,
    /// See [`document_hash`].
    pub(crate) document_hash: u64,
    pub(crate) annotations: Annotations,
    pub(crate) messages: Vec<PreviousMessage>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PreviousMessage {
    pub(crate) id: MessageId,
    pub(crate) external_id_hash: Option<u64>,
    /// Of role and content.
    pub(crate) content_hash: u32,
    /// As given, or kept from an earlier version.
    pub(crate) created_at: Option<EpochMillis>,
}

impl Previous {
    pub(crate) fn of(conversation: &Conversation) -> Self {
        let Fingerprint { document_hash, content_hashes } = Fingerprint::of(conversation);
        let messages =
            conversation.messages.iter().zip(content_hashes).map(|(message, content_hash)| PreviousMessage {
                id: message.id.clone(),
                external_id_hash: message.external_id.as_deref().map(text_hash),
                content_hash,
                created_at: message.created_at,
            });
        Self {
            key: conversation.key(),
            external_id: conversation.external_id.clone(),
            created_at: conversation.created_at,
            updated_at: conversation.updated_at,
            first_wal_position: conversation.first_wal_position,
            origin: conversation.origin.clone(),
            document_hash,
            annotations: conversation.annotations.clone(),
            messages: messages.collect(),
        }
    }

    /// Whether logging `document`, resolved to `resolved`, would change nothing but a defaulted `updatedAt`.
    pub(crate) fn is_unchanged_by(&self, document: &Document, resolved: &Conversation) -> bool {
        document.updated_at.is_none_or(|time| time == self.updated_at) && self.document_hash == document_hash(resolved)
    }
}

/// What of a [`Previous`] only the whole conversation tells. Files keep it in a column, so that a re-log reads no texts
/// but ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// See [`document_hash`].
    pub(crate) document_hash: u64,
    /// See [`content_hash`].
    pub(crate) content_hashes: Vec<u32>,
}

/// First byte of a stored [`Fingerprint`]. Behind it the document's hash and those of the messages, little-endian.
const VERSION: u8 = 1;

impl Fingerprint {
    pub(crate) fn of(conversation: &Conversation) -> Self {
        let hashes = conversation.messages.iter().map(|one| content_hash(&one.role, one.content.as_ref()));
        Self { document_hash: document_hash(conversation), content_hashes: hashes.collect() }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(9 + self.content_hashes.len() * 4);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.document_hash.to_le_bytes());
        self.content_hashes.iter().for_each(|hash| bytes.extend_from_slice(&hash.to_le_bytes()));
        bytes
    }

    /// `None` of what is none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.strip_prefix(&[VERSION])?;
        let (document_hash, rest) = bytes.split_first_chunk::<8>()?;
        let (hashes, []) = rest.as_chunks::<4>() else { return None };
        let content_hashes = hashes.iter().map(|hash| u32::from_le_bytes(*hash)).collect();
        Some(Self { document_hash: u64::from_le_bytes(*document_hash), content_hashes })
    }
}

pub(crate) fn text_hash(text: &str) -> u64 {
    xxh3_64(text.as_bytes())
}

/// Of role and content. It is compared with that of one other message, at the same place of a later version of the
/// document, so that four bytes are enough: one in four billion changed messages keeps its id and time.
pub(crate) fn content_hash(role: &str, content: Option<&RawJson>) -> u32 {
    let mut hash = ContentHash::new();
    hash.text(Some(role));
    hash.raw(content);
    hash.0.digest() as u32
}

/// Hash (XXH3, 64 bits; it is compared with that of one other version) of everything a document sets, ids and kept times included; without `updatedAt`, which is the
/// time of logging when not given, and without what Part B sets.
pub(crate) fn document_hash(conversation: &Conversation) -> u64 {
    let mut hash = ContentHash::new();
    hash.text(Some(conversation.organization_id.as_str()));
    hash.text(Some(conversation.project_id.as_str()));
    hash.text(Some(conversation.id.as_str()));
    hash.text(conversation.integration_id.as_ref().map(IntegrationId::as_str));
    hash.text(Some(conversation.conversation_type.as_str()));
    hash.text(conversation.external_id.as_deref());
    hash.text(conversation.external_url.as_deref());
    hash.text(conversation.support_ticket_conversation_id.as_deref());
    hash.time(Some(conversation.created_at));
    hash.raw(conversation.properties.as_ref());
    hash.raw(conversation.user_properties.as_ref());
    hash.count(conversation.tags.as_ref().map(Vec::len));
    for tag in conversation.tags.iter().flatten() {
        hash.text(Some(tag));
    }
    hash.text(conversation.visibility.map(|visibility| visibility.as_str()));
    hash.count(Some(conversation.messages.len()));
    for message in &conversation.messages {
        hash.text(Some(message.id.as_str()));
        hash.text(message.external_id.as_deref());
        hash.text(message.external_url.as_deref());
        hash.time(message.created_at);
        hash.time(message.updated_at);
        hash.text(Some(&message.role));
        hash.text(message.name.as_deref());
        for raw in
            [&message.content, &message.links, &message.tool_calls, &message.properties, &message.user_properties]
        {
            hash.raw(raw.as_ref());
        }
    }
    hash.0.digest()
}

/// Feeds fields so that different ones never run together: each with a presence mark and its length.
struct ContentHash(Xxh3);

impl ContentHash {
    fn new() -> Self {
        Self(Xxh3::new())
    }

    fn count(&mut self, count: Option<usize>) {
        self.0.update(&count.map_or(0, |count| count as u64 + 1).to_le_bytes());
    }

    fn text(&mut self, text: Option<&str>) {
        self.count(text.map(str::len));
        self.0.update(text.unwrap_or_default().as_bytes());
    }

    fn raw(&mut self, raw: Option<&RawJson>) {
        self.text(raw.map(|raw| raw.get()));
    }

    fn time(&mut self, time: Option<EpochMillis>) {
        self.0.update(&[u8::from(time.is_some())]);
        self.0.update(&time.map_or(0, |time| time.0).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, RngCore, SeedableRng};

    use super::*;

    #[test]
    fn fingerprints_come_back_and_other_bytes_are_refused() {
        let mut random = StdRng::seed_from_u64(3);
        for messages in 0..40 {
            let content_hashes = (0..messages).map(|_| random.random()).collect();
            let stored = Fingerprint { document_hash: random.random(), content_hashes };
            let bytes = stored.encode();
            assert_eq!(Fingerprint::decode(&bytes), Some(stored));
            for end in (0..bytes.len()).filter(|end| end % 4 != 1 || *end < 9) {
                assert_eq!(Fingerprint::decode(&bytes[..end]), None, "{end} bytes of {}", bytes.len());
            }
        }
        for _ in 0..10_000 {
            let mut bytes = vec![0; random.random_range(0..80)];
            random.fill_bytes(&mut bytes);
            if let Some(found) = Fingerprint::decode(&bytes) {
                assert_eq!(found.encode(), bytes);
            }
        }
    }
}
