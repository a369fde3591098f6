//! The API contract, rule by rule (sections A1 to A4, Part B), against the real binary over HTTP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a failure is to end the test"
)]

#[path = "../differential/oracle/folding.rs"]
mod folding;
#[path = "../support/mod.rs"]
mod support;

mod bad_documents;
mod bad_input;
mod bad_queries;
mod conversations;
mod cors;
mod erasures;
mod events;
mod export;
mod extensions;
mod feedback;
mod isolation;
mod keys;
mod limits;
mod openapi;
mod projects;
mod properties;
mod queries;
mod raw_data;
mod search;
mod shares;
mod site;
mod status;
mod takeover;
mod threads;
mod upsert;
mod views;
mod watch;
mod web_keys;
mod webapi;
mod webapi_bodies;
mod webapi_categories;
mod webapi_chats;
mod webapi_headers;
mod webapi_lists;
mod webapi_ratings;
mod webapi_real_data;
mod webapi_users;
mod webapi_walks;
