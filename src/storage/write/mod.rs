//! Writing: the [`committer`] groups changes and decides them, [`links`] ties events and feedback to conversations,
//! [`flush`] brings the tail into files, [`bulk`] loads history past the log, [`recovery`] opens a store.

pub(crate) mod bulk;
pub(crate) mod committer;
pub(crate) mod flush;
pub(crate) mod links;
pub(crate) mod recovery;
