//! Writing: the [`committer`] groups changes and decides them, [`links`] ties events and feedback to conversations,
//! [`flush`] brings the tail into files, [`bulk`] loads history past the log, [`recovery`] opens a store.

pub mod bulk;
pub mod committer;
pub mod flush;
pub mod links;
pub mod recovery;
