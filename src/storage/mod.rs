//! The way of a document, room by room: [`write`](mod@write) decides and acknowledges a change, [`log`] makes it durable,
//! [`tail`] holds it in memory, a flush lays it down as files of [`format`](mod@format), [`catalog`] commits them;
//! [`read`] is the one immutable snapshot that every read works on, [`maintain`] what runs beside all that, [`objects`]
//! the object store below.

pub(crate) mod catalog;
pub(crate) mod categories;
pub(crate) mod erasures;
pub(crate) mod error;
pub(crate) mod format;
pub(crate) mod log;
pub(crate) mod maintain;
pub(crate) mod objects;
pub(crate) mod projects;
pub(crate) mod read;
pub(crate) mod readiness;
pub(crate) mod store;
pub(crate) mod tail;
pub(crate) mod write;
