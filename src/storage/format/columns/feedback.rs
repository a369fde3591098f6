//! The columns of `feedback`. None is read back: the sidecar has the whole feedback.

use super::column::{Column, FlatRow, fields, shown, shown_count};
use super::field::{Field, Values};
use crate::model::actor::user_text;
use crate::model::feedback::Feedback;
use crate::model::ids::IntegrationId;
use crate::storage::format::layout::JsonField;

pub(crate) static FIELDS: [&Field; Feedback::COLUMNS.len()] = fields::<Feedback, _>();
pub(crate) static SHOWN: [&Field; shown_count::<Feedback>()] = shown::<Feedback, _>();

type Entry = Column<Feedback>;

impl FlatRow for Feedback {
    type Back = ();

    const COLUMNS: &'static [Column<Self>] = &[
        Entry::text("id", |f| Some(f.id.as_str())).required().values(Values::Unique).published(),
        Entry::text("type", |f| Some(f.feedback_type.as_str())).required().published(),
        Entry::text("messageId", |f| Some(&f.message_id)).required().published(),
        Entry::time("createdAt", |f| Some(f.created_at)).required().sorted().published(),
        Entry::time("updatedAt", |f| Some(f.updated_at)).required().published(),
        Entry::text("organizationId", |f| Some(f.organization_id.as_str())).required().sorted().published(),
        Entry::json(JsonField::Reasons.name(), |f| f.reasons.as_ref()).list().published(),
        Entry::json(JsonField::Sources.name(), |f| f.sources.as_ref()).list().published(),
        Entry::text("details", |f| f.details.as_deref()).published(),
        Entry::spread_json(JsonField::Properties, |f| f.properties.as_ref()).published(),
        Entry::spread_json(JsonField::UserProperties, |f| f.user_properties.as_ref()).published(),
        Entry::text("conversationId", Feedback::conversation_id).values(Values::Unique).left_out(),
        Entry::text("projectId", |f| Some(f.project_id.as_str())).required().sorted().published(),
        Entry::text("integrationId", |f| f.integration_id.as_ref().map(IntegrationId::as_str)).published(),
        Entry::made_text("user", |f| user_text(f.user_properties.as_ref()?)).extension(),
        Entry::remainder(JsonField::Properties),
        Entry::remainder(JsonField::UserProperties),
    ];

    fn blank() {}
}
