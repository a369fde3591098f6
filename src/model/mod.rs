//! Conversations, events and feedback, their validation and their JSON; JSON values with PostgreSQL's `jsonb` semantics.

pub mod annotation;
pub mod conversation;
pub mod document;
pub mod event;
pub mod feedback;
pub mod ids;
pub mod json;
pub mod language;
pub mod output;
pub mod rating;
pub mod resolve;
pub mod search_text;
pub mod thread;
pub mod time;
