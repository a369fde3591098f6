//! The way of a document, room by room: [`write`] decides and acknowledges a change, [`log`] makes it durable, [`tail`]
//! holds it in memory, a flush lays it down as files of [`format`](mod@format), [`catalog`] commits them; [`read`] is the one immutable
//! snapshot that every read works on, [`maintain`] what runs beside all that, [`objects`] the object store below.

pub mod catalog;
pub mod categories;
pub mod error;
pub mod format;
pub mod log;
pub mod maintain;
pub mod objects;
pub mod read;
pub mod store;
pub mod tail;
pub mod write;
