//! The analytics API (contract Part A): the handlers, a file per resource.

pub(crate) mod conversations;
pub(crate) mod erasures;
pub(crate) mod events;
pub(crate) mod exports;
pub(crate) mod feedback;
pub(crate) mod projects;
pub(crate) mod properties;
pub(crate) mod queries;
pub(crate) mod search_analytics;
pub(crate) mod threads;
