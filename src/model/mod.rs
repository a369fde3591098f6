//! Conversations, events and feedback, their validation and their JSON; JSON values with PostgreSQL's `jsonb` semantics.

pub(crate) mod actor;
pub(crate) mod annotation_change;
pub(crate) mod annotations;
pub(crate) mod conversation;
pub(crate) mod document;
pub(crate) mod duration;
pub(crate) mod erasure_request;
pub(crate) mod event;
pub(crate) mod feedback;
pub(crate) mod fields;
pub(crate) mod fold;
pub(crate) mod ids;
pub(crate) mod json;
pub(crate) mod language;
pub(crate) mod origin;
pub(crate) mod output;
pub(crate) mod previous;
pub(crate) mod project_limits;
pub(crate) mod rating;
pub(crate) mod resolve;
pub(crate) mod scope;
pub(crate) mod search_text;
pub(crate) mod thread;
pub(crate) mod thread_annotations;
pub(crate) mod time;
