//! The columns of `conversations`: one row each, all that is analysed, no messages.

use std::borrow::Cow;

use super::column::{Column, FlatRow, Set, TextList, fields, shown, shown_count};
use super::field::{Field, Values};
use crate::model::actor::user_text;
use crate::model::annotations::{Annotations, UNSET_STATE};
use crate::model::conversation::{Conversation, ConversationType, Visibility};
use crate::model::ids::{ConversationId, EpochMillis, IntegrationId, OrganizationId, ProjectId, WalPosition};
use crate::model::origin::{IdOrigin, Origin, SenderKind};
use crate::model::previous::Fingerprint;
use crate::storage::format::layout::{FormatVersion, JsonField};

pub(crate) static FIELDS: [&Field; Conversation::COLUMNS.len()] = fields::<Conversation, _>();
pub(crate) static SHOWN: [&Field; shown_count::<Conversation>()] = shown::<Conversation, _>();

/// What a re-log compares a document with: a [`Fingerprint`].
pub(crate) const PREVIOUS: &str = "_previous";
pub(crate) const ANNOTATIONS: &str = "_annotations";
pub(crate) const ID_ORIGIN: &str = "_id_origin";
pub(crate) const SENDER: &str = "_sender";
pub(crate) const SENDER_KEY: &str = "_sender_key";

type Entry = Column<Conversation>;

impl FlatRow for Conversation {
    /// Its messages lie in a file of their own.
    type Back = Conversation;

    const COLUMNS: &'static [Column<Self>] = &[
        Entry::text("id", |c| Some(c.id.as_str()))
            .required()
            .values(Values::Unique)
            .published()
            .set(Set::Text(|c, id| c.id = ConversationId::new(id))),
        Entry::integer("userMessageCount", |c| Some(c.user_message_count())).required().published(),
        Entry::text("organizationId", |c| Some(c.organization_id.as_str()))
            .required()
            .sorted()
            .published()
            .set(Set::Text(|c, id| c.organization_id = OrganizationId::new(id))),
        Entry::text("projectId", |c| Some(c.project_id.as_str()))
            .required()
            .sorted()
            .published()
            .set(Set::Text(|c, id| c.project_id = ProjectId::new(id))),
        Entry::text("integrationId", |c| c.integration_id.as_ref().map(IntegrationId::as_str))
            .published()
            .set(Set::Text(|c, id| c.integration_id = Some(IntegrationId::new(id)))),
        Entry::time("firstMessageTime", |c| Some(c.first_message_time())).required().sorted().published(),
        Entry::text("type", |c| Some(c.conversation_type.as_str())).required().published().set(Set::Checked(
            |c, name| {
                let found = TYPES.into_iter().find(|one| one.as_str() == name);
                found.map(|found| c.conversation_type = found).is_some()
            },
        )),
        Entry::spread_json(JsonField::Properties, |c| c.properties.as_ref())
            .published()
            .set(Set::Json(|c, json| c.properties = Some(json))),
        Entry::spread_json(JsonField::UserProperties, |c| c.user_properties.as_ref())
            .published()
            .set(Set::Json(|c, json| c.user_properties = Some(json))),
        Entry::text("externalId", |c| c.external_id.as_deref())
            .values(Values::Prefixed)
            .when_asked()
            .set(Set::Text(|c, id| c.external_id = Some(id.to_owned()))),
        Entry::text("externalUrl", |c| c.external_url.as_deref())
            .when_asked()
            .set(Set::Text(|c, url| c.external_url = Some(url.to_owned()))),
        Entry::text("supportTicketConversationId", |c| c.support_ticket_conversation_id.as_deref())
            .when_asked()
            .set(Set::Text(|c, id| c.support_ticket_conversation_id = Some(id.to_owned()))),
        Entry::time("createdAt", |c| Some(c.created_at))
            .required()
            .sorted()
            .when_asked()
            .set(Set::Time(|c, time| c.created_at = time)),
        Entry::time("updatedAt", |c| Some(c.updated_at))
            .required()
            .when_asked()
            .set(Set::Time(|c, time| c.updated_at = time)),
        Entry::time("lastMessageTime", |c| Some(c.last_message_time())).required().when_asked(),
        Entry::integer("messageCount", |c| Some(c.messages.len() as i64)).required().when_asked(),
        Entry::text_list("tags", |c| c.tags.as_deref().map(TextList::Many))
            .when_asked()
            .set(Set::TextList(|c, tags| c.tags = Some(tags))),
        Entry::text("visibility", |c| c.visibility.map(Visibility::as_str)).when_asked().set(Set::Checked(
            |c, name| {
                c.visibility = [Visibility::Private, Visibility::Public].into_iter().find(|one| one.as_str() == name);
                c.visibility.is_some()
            },
        )),
        Entry::text("title", |c| c.annotations.title.as_deref()).values(Values::Unique).when_asked(),
        Entry::text("state", |c| Some(c.annotations.state.as_deref().unwrap_or(UNSET_STATE))).required().when_asked(),
        Entry::text("assignee", |c| c.annotations.assignee.as_deref()).when_asked(),
        Entry::text_list("categories", |c| c.annotations.categories.as_deref().map(TextList::Many)).when_asked(),
        Entry::boolean("isEnd", |c| Some(c.annotations.is_end)).required().when_asked(),
        Entry::integer("durationMs", |c| Some(c.last_message_time().0 - c.first_message_time().0))
            .required()
            .values(Values::Unique)
            .extension(),
        Entry::integer("assistantMessageCount", |c| Some(c.assistant_message_count())).required().extension(),
        Entry::integer("otherMessageCount", |c| Some(c.other_message_count())).required().extension(),
        Entry::integer("firstResponseMs", Conversation::first_response_ms).values(Values::Unique).extension(),
        Entry::made_text("user", |c| user_text(c.user_properties.as_ref()?)).extension(),
        Entry::text("memo", |c| c.annotations.memo.as_deref()).values(Values::Unique).without_statistics(),
        // What Part B orders and narrows its lists by.
        Entry::time("firstChatTime", |c| Some(c.first_chat_time())).required(),
        Entry::time("lastChatTime", |c| Some(c.last_chat_time())).required(),
        Entry::time("modifiedAt", |c| Some(c.modified_at())).required(),
        Entry::integer("walPosition", |c| i64::try_from(c.wal_position.0).ok())
            .required()
            .set(Set::Integer(|c, position| c.wal_position = wal_position(position))),
        Entry::integer("firstWalPosition", |c| i64::try_from(c.first_wal_position.0).ok())
            .required()
            .set(Set::Integer(|c, position| c.first_wal_position = wal_position(position))),
        Entry::integer("movedWalPosition", |c| c.annotations.moved.and_then(|moved| i64::try_from(moved.0).ok()))
            .since(FormatVersion::MOVED),
        Entry::boolean("isRunning", |c| Some(c.is_running())).since(FormatVersion::RUNNING),
        Entry::remainder(JsonField::Properties),
        Entry::remainder(JsonField::UserProperties),
        Entry::hidden_bytes(PREVIOUS, |c| Fingerprint::of(c).encode()),
        // All of them, those that are columns too: a re-log, which keeps them, reads one column, and mostly of nulls.
        Entry::hidden_text(ANNOTATIONS, |c| c.annotations.to_json().map(Cow::Owned))
            .set(Set::Checked(|c, json| Annotations::from_json(json).map(|read| c.annotations = read).is_some())),
        Entry::origin(SENDER, |c| Some(c.origin.sender.kind.as_str())).required().set(Set::Checked(|c, text| {
            let found = SenderKind::of_str(text);
            found.map(|kind| c.origin.sender.kind = kind).is_some()
        })),
        Entry::origin(SENDER_KEY, |c| c.origin.sender.key.as_deref())
            .set(Set::Text(|c, key| c.origin.sender.key = Some(key.to_owned()))),
        Entry::origin(ID_ORIGIN, |c| Some(c.origin.id.as_str())).required().set(Set::Checked(|c, text| {
            let found = IdOrigin::of_str(text);
            found.map(|id| c.origin.id = id).is_some()
        })),
    ];

    fn blank() -> Conversation {
        Conversation {
            organization_id: OrganizationId::new(""),
            project_id: ProjectId::new(""),
            id: ConversationId::new(""),
            integration_id: None,
            conversation_type: ConversationType::Openai,
            external_id: None,
            external_url: None,
            support_ticket_conversation_id: None,
            created_at: EpochMillis(0),
            updated_at: EpochMillis(0),
            properties: None,
            user_properties: None,
            tags: None,
            visibility: None,
            messages: Vec::new(),
            wal_position: WalPosition::default(),
            first_wal_position: WalPosition::default(),
            origin: Origin::unknown(),
            annotations: Annotations::default(),
        }
    }
}

pub(crate) fn wal_position(stored: i64) -> WalPosition {
    WalPosition(u64::try_from(stored).unwrap_or_default())
}

const TYPES: [ConversationType; 3] =
    [ConversationType::Openai, ConversationType::SupportTicket, ConversationType::SupportCopilot];
