//! The write-ahead log: its objects ([`wal`]), who writes them ([`writer`]) and what they hold ([`operation`]).

pub(crate) mod operation;
pub(crate) mod wal;
pub(crate) mod writer;
