//! What the server should answer, worked out the slow way from the documents as they were sent.
//!
//! Written from the API contract's A2, A3, A4 and Part B alone; it shares no code with the server. Every request walks over every
//! document, every value is a JSON tree with its numbers as spelled, every comparison is of decimal digits.
//!
//! - [`json`]: parser, printer, and PostgreSQL's `jsonb` rules (text, equality, containment, order)
//! - [`number`]: decimals, doubles and the exact sum
//! - [`time`]: ISO 8601, buckets, rendering
//! - [`folding`]: texts that a search takes for the same
//! - [`documents`]: what is stored after upserts and deletions
//! - [`attached`], [`threads`]: what hangs on them, and what is made of them
//! - [`views`]: their fields, and their rows
//! - [`lists`]: those of the conversation API (Part B), by themselves
//! - [`request`]: a request as columns, keys, filter and order
//! - [`formula`], [`having`]: parts of it (contract A5)
//! - [`query`]: its answer
//! - `postgresql`: the rules held against a PostgreSQL, where there is one

pub mod attached;
pub mod documents;
pub mod folding;
pub mod formula;
pub mod having;
pub mod json;
pub mod lists;
pub mod number;
#[cfg(test)]
mod postgresql;
pub mod query;
pub mod request;
pub mod threads;
pub mod time;
pub mod views;
