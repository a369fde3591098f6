//! The columns of `events`; an event is read back whole.

use super::column::{Column, FlatRow, Set, fields, shown, shown_count};
use super::field::{Field, Values};
use crate::model::actor::user_text;
use crate::model::event::{EntityType, Event};
use crate::model::ids::{EpochMillis, EventId, IntegrationId, OrganizationId, ProjectId};
use crate::model::origin::{IdOrigin, Origin, SenderKind};
use crate::storage::format::layout::JsonField;

pub(crate) static FIELDS: [&Field; Event::COLUMNS.len()] = fields::<Event, _>();
pub(crate) static SHOWN: [&Field; shown_count::<Event>()] = shown::<Event, _>();

type Entry = Column<Event>;

impl FlatRow for Event {
    type Back = Event;

    const COLUMNS: &'static [Column<Self>] = &[
        Entry::text("id", |e| Some(e.id.as_str()))
            .required()
            .values(Values::Unique)
            .published()
            .set(Set::Text(|e, id| e.id = EventId::new(id))),
        Entry::text("organizationId", |e| Some(e.organization_id.as_str()))
            .required()
            .sorted()
            .published()
            .set(Set::Text(|e, id| e.organization_id = OrganizationId::new(id))),
        Entry::text("messageId", Event::message_id).left_out().set(Set::Text(|e, id| e.entity = id.to_owned())),
        Entry::text("conversationId", Event::conversation_id).values(Values::Unique).left_out().set(Set::Text(
            // What is about a message has got it just before, and ids are never empty.
            |e, id| match e.entity.is_empty() {
                true => e.entity = id.to_owned(),
                false => e.owner_id = Some(id.to_owned()),
            },
        )),
        Entry::time("createdAt", |e| Some(e.created_at))
            .required()
            .sorted()
            .published()
            .set(Set::Time(|e, time| e.created_at = time)),
        Entry::text("projectId", |e| Some(e.project_id.as_str()))
            .required()
            .sorted()
            .published()
            .set(Set::Text(|e, id| e.project_id = ProjectId::new(id))),
        Entry::text("integrationId", |e| e.integration_id.as_ref().map(IntegrationId::as_str))
            .published()
            .set(Set::Text(|e, id| e.integration_id = Some(IntegrationId::new(id)))),
        Entry::text("eventType", |e| Some(e.entity_type.as_str())).required().published().set(Set::Checked(
            |e, name| {
                let found = EntityType::ALL.into_iter().find(|one| one.as_str() == name);
                found.map(|found| e.entity_type = found).is_some()
            },
        )),
        Entry::text("type", |e| Some(&e.event_type))
            .required()
            .published()
            .set(Set::Text(|e, name| e.event_type = name.to_owned())),
        Entry::text("searchQuery", Event::search_query).left_out().set(Set::Text(|e, text| e.entity = text.to_owned())),
        Entry::spread_json(JsonField::Properties, |e| e.properties.as_ref())
            .published()
            .set(Set::Json(|e, json| e.properties = Some(json))),
        Entry::spread_json(JsonField::UserProperties, |e| e.user_properties.as_ref())
            .published()
            .set(Set::Json(|e, json| e.user_properties = Some(json))),
        Entry::made_text("user", |e| user_text(e.user_properties.as_ref()?)).extension(),
        Entry::remainder(JsonField::Properties),
        Entry::remainder(JsonField::UserProperties),
        // The owner of one that is detached, which `conversationId` does not show.
        Entry::text("_detached_from", |e| e.owner_id.as_deref().filter(|_| e.detached)).hidden().set(Set::Text(
            |e, id| {
                e.owner_id = Some(id.to_owned());
                e.detached = true;
            },
        )),
        Entry::origin("_sender", |e| Some(e.origin.sender.kind.as_str())).required().set(Set::Checked(|e, text| {
            let found = SenderKind::of_str(text);
            found.map(|kind| e.origin.sender.kind = kind).is_some()
        })),
        Entry::origin("_sender_key", |e| e.origin.sender.key.as_deref())
            .set(Set::Text(|e, key| e.origin.sender.key = Some(key.to_owned()))),
        Entry::origin("_id_origin", |e| Some(e.origin.id.as_str())).required().set(Set::Checked(|e, text| {
            let found = IdOrigin::of_str(text);
            found.map(|id| e.origin.id = id).is_some()
        })),
    ];

    fn blank() -> Event {
        Event {
            organization_id: OrganizationId::new(""),
            project_id: ProjectId::new(""),
            id: EventId::new(""),
            integration_id: None,
            event_type: String::new(),
            entity_type: EntityType::Message,
            entity: String::new(),
            owner_id: None,
            detached: false,
            created_at: EpochMillis(0),
            properties: None,
            user_properties: None,
            origin: Origin::unknown(),
        }
    }
}
