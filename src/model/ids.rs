//! A type for each idea that could be mixed up with another.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub(crate) struct $name(Arc<str>);

        impl $name {
            pub(crate) fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// The tenant that owns projects.
    OrganizationId
);
text_id!(
    /// A project's name; it means something only within its organization.
    ProjectId
);
text_id!(
    /// The assistant or desk that logged a conversation.
    IntegrationId
);
text_id!(
    /// A conversation's id; unique only within its project.
    ConversationId
);
text_id!(
    /// A message's id; unique within its conversation.
    MessageId
);

text_id!(
    /// An event's id; unique only within its project.
    EventId
);
text_id!(
    /// A feedback's id; unique only within its project.
    FeedbackId
);
text_id!(
    /// A thread's id: a hash of what it belongs to.
    ThreadId
);

/// Identity of what is stored: (organization, project, id), contract A1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key<I> {
    pub(crate) organization_id: OrganizationId,
    pub(crate) project_id: ProjectId,
    pub(crate) id: I,
}

pub(crate) type ConversationKey = Key<ConversationId>;
pub(crate) type EventKey = Key<EventId>;
pub(crate) type FeedbackKey = Key<FeedbackId>;

/// Milliseconds since 1970-01-01T00:00:00Z; years 0001 to 9999.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct EpochMillis(pub(crate) i64);

impl EpochMillis {
    pub(crate) fn minus(self, duration: Duration) -> EpochMillis {
        EpochMillis(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    pub(crate) fn plus(self, duration: Duration) -> EpochMillis {
        EpochMillis(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// Number of a WAL object: one line of numbers that never restarts. 0 is "nothing yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct WalPosition(pub(crate) u64);

/// Hash of a conversation's key, for its id as well as for its external id. Parts carry their lengths, so that no two
/// keys are the same text.
pub(crate) fn key_hash(organization: &OrganizationId, project: &ProjectId, id: &str) -> u128 {
    let parts = [organization.as_str(), project.as_str(), id];
    let mut text = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    xxh3_128(&text)
}

/// The same id or externalId in all projects of an organization has one hash, so that a key of the organization finds
/// it without knowing the project; the rows tell the projects apart.
pub(crate) fn lookup_hash(organization_id: &OrganizationId, text: &str) -> u128 {
    lookup_hash_of((key_hash(organization_id, &ProjectId::new(""), text) >> 64) as u64)
}

/// The one with this upper half. It tells all, so that an id that leads to a row by it can be short.
pub(crate) fn lookup_hash_of(upper: u64) -> u128 {
    u128::from(upper) << 64 | u128::from(upper.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
