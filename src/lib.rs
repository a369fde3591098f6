//! convolake: a columnar analytics server for AI-support conversations.
//!
//! A map of the house. Imports go downward: each of these takes names only from those below it.
//!
//! - [`cli`]: the commands `serve`, `keys`, `import`, `demo`, `sample`.
//! - [`api`]: HTTP: routes, handlers, rows as JSON and CSV, problem+json.
//! - [`query`]: the JSON query language: request → checked form → DataFusion logical plan → rows.
//! - [`config`]: every option of the commands.
//! - [`auth`]: keys, what they may do, and the store's secrets.
//! - [`storage`]: the way of a document: write-ahead log → memory tail → flush → Parquet files and their catalog; and the
//!   immutable snapshot that every read works on.
//! - [`environment`]: the clock, ids, randomness and objects that all of this is given.
//! - [`cache`]: what of the objects stays in memory, bounded by bytes.
//! - [`memory`]: what the process has of it, and each part of the server.
//! - [`requests`]: how many the object store has got, by kind.
//! - [`model`]: conversations, events, feedback and threads, their validation and their JSON; JSON values with
//!   PostgreSQL's `jsonb` semantics.
//! - [`shares`]: what one of many who take from something bounded may have.
//!
//! Comments that cite "contract A2" mean `src/API.md`.
//!
//! ---
#![doc = include_str!("ARCHITECTURE.md")]

pub(crate) mod api;
pub(crate) mod auth;
pub(crate) mod cache;
pub mod cli;
pub(crate) mod config;
pub(crate) mod environment;
pub(crate) mod memory;
pub(crate) mod model;
pub(crate) mod query;
pub(crate) mod requests;
pub(crate) mod shares;
pub(crate) mod storage;
