//! The write-ahead log: its objects ([`wal`]), who writes them ([`writer`]) and what they hold ([`operation`]).

pub mod operation;
pub mod wal;
pub mod writer;
