//! The way of a document, in its order: [`store`] looks up what a change needs to know, [`committer`] groups changes
//! into the write-ahead log ([`wal`], [`log_writer`]) and applies them to the memory tail ([`tail`]); [`flush`] writes
//! the tail to files ([`flatten`], [`columns`], [`parquet_file`], [`index`]), messages and threads beside their
//! conversations, and commits them ([`tables`], [`table_log`], [`deletion_vector`]). Every read works on one immutable
//! [`snapshot`] ([`rows`] for point reads, [`text_index`] for texts). Events and feedback go the same way ([`table_row`]:
//! what all rows have in common) into tables of their own; [`links`] ties them to their conversations. [`recovery`]
//! opens a store, [`bulk`] loads history past the log, [`durable`] makes local files durable. [`keys`], [`secret`] and
//! [`categories`] are small objects of their own.

pub mod bulk;
pub mod categories;
pub mod columns;
pub mod committer;
pub mod deletion_vector;
pub mod durable;
pub mod error;
pub mod fail_point;
#[cfg(test)]
mod flaky_store;
pub mod flatten;
pub mod flush;
pub mod index;
pub mod keys;
pub mod layout;
pub mod links;
pub mod log_writer;
pub mod operation;
pub mod parquet_file;
pub mod ratings;
pub mod recovery;
pub mod rows;
pub mod schema;
pub mod secret;
pub mod snapshot;
pub mod statistics;
pub mod store;
pub mod table_log;
pub mod table_row;
pub mod tables;
pub mod tail;
pub mod text_index;
pub mod wal;
