//! HTTP: the contract's routes on [`Store`] and [`QueryEngine`].
//!
//! - [`routes`]: the one table that the router is made from, and what a route is.
//! - [`gate`]: what every request passes: request id, key, kind of key, panic guard, CORS, problem+json, log line.
//! - [`access`]: which key may call what, and the only place that makes a [`Scope`](crate::query::engine::Scope) or an
//!   [`Identity`](crate::model::resolve::Identity).
//! - [`body`]: reading a body within the limits; [`parameters`]: the query string; [`problem`]: errors; [`cors`].
//! - [`conversations`], [`events`], [`feedback`], [`threads`], [`queries`], [`exports`], [`properties`],
//!   [`search_analytics`]: the handlers, a file per resource; [`webapi`]: those of the
//!   conversation API.
//! - [`openapi`]: what is said about each route, as `/openapi.json`; [`docs`]: the same as a page.
//! - [`listener`]: connections, their time-outs, and draining.
//!
//! Order of refusals: 404 unknown route, 405 method (neither needs a key), `OPTIONS` (204), 401, 403, then 415, 413 and
//! what the handler finds.

use std::sync::Arc;

use crate::query::engine::QueryEngine;
use crate::storage::store::Store;

pub mod access;
pub mod body;
mod conversations;
pub mod cors;
mod docs;
mod events;
mod exports;
mod feedback;
pub mod gate;
pub mod listener;
pub mod openapi;
pub mod parameters;
pub mod problem;
mod properties;
mod queries;
pub mod routes;
mod search_analytics;
mod threads;
pub mod webapi;

/// What the handlers work on.
pub struct Services {
    pub store: Arc<Store>,
    pub engine: Arc<QueryEngine>,
    pub conversation_api: Arc<webapi::ConversationApi>,
}

/// The whole API as one service.
pub fn router(gate: Arc<gate::Gate>, services: Arc<Services>) -> axum::Router {
    gate::router(gate, services, routes::ROUTES)
}
