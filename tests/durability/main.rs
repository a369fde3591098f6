//! What is acknowledged survives: SIGKILL under concurrent writes, crashes between the commits of one flush, torn and
//! damaged files, a second writer. And the tables are read by somebody else's reader.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a failure is to end the test"
)]

#[path = "../support/mod.rs"]
mod support;

mod commit_line;
mod crashes;
mod damage;
mod damaged_files;
mod damaged_keys;
mod erasure;
mod foreign_questions;
mod foreign_readers;
mod foreign_vacuum;
mod imports;
mod kill;
mod large_threads;
mod ready;
mod records;
mod sidecars;
mod sizes;
mod stores;
mod threads;
mod writers;
