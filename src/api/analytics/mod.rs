//! The analytics API (contract Part A): the handlers, a file per resource.

pub mod conversations;
pub mod events;
pub mod exports;
pub mod feedback;
pub mod properties;
pub mod queries;
pub mod search_analytics;
pub mod threads;
