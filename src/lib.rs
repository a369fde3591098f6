//! convolake: a columnar analytics server for AI-support conversations.
//!
//! A map of the house. Imports go downward.
//!
//! - [`model`]: conversations, their validation and their JSON; JSON values with PostgreSQL's `jsonb` semantics.

pub mod model;
