//! convolake: a columnar analytics server for AI-support conversations.
//!
//! A map of the house. Imports go downward: `cli` and `api` use `query`, which uses `storage`, which uses `model`.
//!
//! - [`cli`]: the commands `serve`, `keys`, `import`, `demo`.
//! - [`api`]: HTTP routes, keys and scopes, problem+json.
//! - [`config`]: their options.
//! - [`query`]: the JSON query language: request → checked form → DataFusion logical plan → rows.
//! - [`storage`]: the way of a document: write-ahead log → memory tail → flush → Parquet and Delta table log; and the
//!   immutable snapshot that every read works on.
//! - [`model`]: conversations, their validation and their JSON; JSON values with PostgreSQL's `jsonb` semantics.

pub(crate) mod api;
pub(crate) mod auth;
pub mod cli;
pub(crate) mod config;
pub(crate) mod model;
pub(crate) mod query;
pub(crate) mod storage;
