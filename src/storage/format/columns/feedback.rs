//! The columns of `feedback`; it is read back whole.

use std::borrow::Cow;

use super::column::{Column, FlatRow, Set, fields, shown, shown_count};
use super::field::{Field, Values};
use crate::model::actor::{Actor, user_text};
use crate::model::feedback::{Feedback, FeedbackType};
use crate::model::ids::{EpochMillis, FeedbackId, IntegrationId, OrganizationId, ProjectId};
use crate::model::origin::{IdOrigin, Origin, SenderKind};
use crate::storage::format::layout::JsonField;

pub(crate) static FIELDS: [&Field; Feedback::COLUMNS.len()] = fields::<Feedback, _>();
pub(crate) static SHOWN: [&Field; shown_count::<Feedback>()] = shown::<Feedback, _>();

type Entry = Column<Feedback>;

impl FlatRow for Feedback {
    type Back = Feedback;

    const COLUMNS: &'static [Column<Self>] = &[
        Entry::text("id", |f| Some(f.id.as_str()))
            .required()
            .values(Values::Unique)
            .published()
            .set(Set::Text(|f, id| f.id = FeedbackId::new(id))),
        Entry::text("type", |f| Some(f.feedback_type.as_str())).required().published().set(Set::Checked(|f, name| {
            let found = [FeedbackType::Positive, FeedbackType::Negative].into_iter().find(|one| one.as_str() == name);
            found.map(|found| f.feedback_type = found).is_some()
        })),
        Entry::text("messageId", |f| Some(&f.message_id))
            .required()
            .published()
            .set(Set::Text(|f, id| f.message_id = id.to_owned())),
        Entry::time("createdAt", |f| Some(f.created_at))
            .required()
            .sorted()
            .published()
            .set(Set::Time(|f, time| f.created_at = time)),
        Entry::time("updatedAt", |f| Some(f.updated_at))
            .required()
            .published()
            .set(Set::Time(|f, time| f.updated_at = time)),
        Entry::text("organizationId", |f| Some(f.organization_id.as_str()))
            .required()
            .sorted()
            .published()
            .set(Set::Text(|f, id| f.organization_id = OrganizationId::new(id))),
        Entry::json(JsonField::Reasons.name(), |f| f.reasons.as_ref())
            .list()
            .published()
            .set(Set::Json(|f, json| f.reasons = Some(json))),
        Entry::json(JsonField::Sources.name(), |f| f.sources.as_ref())
            .list()
            .published()
            .set(Set::Json(|f, json| f.sources = Some(json))),
        Entry::text("details", |f| f.details.as_deref())
            .published()
            .set(Set::Text(|f, details| f.details = Some(details.to_owned()))),
        Entry::spread_json(JsonField::Properties, |f| f.properties.as_ref())
            .published()
            .set(Set::Json(|f, json| f.properties = Some(json))),
        Entry::spread_json(JsonField::UserProperties, |f| f.user_properties.as_ref())
            .published()
            .set(Set::Json(|f, json| f.user_properties = Some(json))),
        Entry::text("conversationId", Feedback::conversation_id)
            .values(Values::Unique)
            .left_out()
            .set(Set::Text(|f, id| f.owner_id = id.to_owned())),
        Entry::text("projectId", |f| Some(f.project_id.as_str()))
            .required()
            .sorted()
            .published()
            .set(Set::Text(|f, id| f.project_id = ProjectId::new(id))),
        Entry::text("integrationId", |f| f.integration_id.as_ref().map(IntegrationId::as_str))
            .published()
            .set(Set::Text(|f, id| f.integration_id = Some(IntegrationId::new(id)))),
        Entry::made_text("user", |f| user_text(f.user_properties.as_ref()?)).extension(),
        Entry::remainder(JsonField::Properties),
        Entry::remainder(JsonField::UserProperties),
        // The owner of what is detached, which `conversationId` does not show.
        Entry::text("_detached_from", |f| f.detached.then_some(&f.owner_id)).hidden().set(Set::Text(|f, id| {
            f.owner_id = id.to_owned();
            f.detached = true;
        })),
        Entry::hidden_text("_rated_by", |f| f.rated_by.as_ref().and_then(Actor::to_json).map(Cow::Owned))
            .set(Set::Checked(|f, json| Actor::from_json(json).map(|by| f.rated_by = Some(by)).is_some())),
        Entry::origin("_sender", |f| Some(f.origin.sender.kind.as_str())).required().set(Set::Checked(|f, text| {
            let found = SenderKind::of_str(text);
            found.map(|kind| f.origin.sender.kind = kind).is_some()
        })),
        Entry::origin("_sender_key", |f| f.origin.sender.key.as_deref())
            .set(Set::Text(|f, key| f.origin.sender.key = Some(key.to_owned()))),
        Entry::origin("_id_origin", |f| Some(f.origin.id.as_str())).required().set(Set::Checked(|f, text| {
            let found = IdOrigin::of_str(text);
            found.map(|id| f.origin.id = id).is_some()
        })),
    ];

    fn blank() -> Feedback {
        Feedback {
            organization_id: OrganizationId::new(""),
            project_id: ProjectId::new(""),
            id: FeedbackId::new(""),
            integration_id: None,
            feedback_type: FeedbackType::Positive,
            message_id: String::new(),
            owner_id: String::new(),
            detached: false,
            created_at: EpochMillis(0),
            updated_at: EpochMillis(0),
            reasons: None,
            details: None,
            properties: None,
            user_properties: None,
            sources: None,
            rated_by: None,
            origin: Origin::unknown(),
        }
    }
}
