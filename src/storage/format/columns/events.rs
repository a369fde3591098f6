//! The columns of `events`. None is read back: the sidecar has the whole event.

use super::column::{Column, FlatRow, fields, shown, shown_count};
use super::field::{Field, Values};
use crate::model::actor::user_text;
use crate::model::event::Event;
use crate::model::ids::IntegrationId;
use crate::storage::format::layout::JsonField;

pub(crate) static FIELDS: [&Field; Event::COLUMNS.len()] = fields::<Event, _>();
pub(crate) static SHOWN: [&Field; shown_count::<Event>()] = shown::<Event, _>();

type Entry = Column<Event>;

impl FlatRow for Event {
    type Back = ();

    const COLUMNS: &'static [Column<Self>] = &[
        Entry::text("id", |e| Some(e.id.as_str())).required().values(Values::Unique).published(),
        Entry::text("organizationId", |e| Some(e.organization_id.as_str())).required().sorted().published(),
        Entry::text("messageId", Event::message_id).left_out(),
        Entry::text("conversationId", Event::conversation_id).values(Values::Unique).left_out(),
        Entry::time("createdAt", |e| Some(e.created_at)).required().sorted().published(),
        Entry::text("projectId", |e| Some(e.project_id.as_str())).required().sorted().published(),
        Entry::text("integrationId", |e| e.integration_id.as_ref().map(IntegrationId::as_str)).published(),
        Entry::text("eventType", |e| Some(e.entity_type.as_str())).required().published(),
        Entry::text("type", |e| Some(&e.event_type)).required().published(),
        Entry::text("searchQuery", Event::search_query).left_out(),
        Entry::spread_json(JsonField::Properties, |e| e.properties.as_ref()).published(),
        Entry::spread_json(JsonField::UserProperties, |e| e.user_properties.as_ref()).published(),
        Entry::made_text("user", |e| user_text(e.user_properties.as_ref()?)).extension(),
        Entry::remainder(JsonField::Properties),
        Entry::remainder(JsonField::UserProperties),
    ];

    fn blank() {}
}
