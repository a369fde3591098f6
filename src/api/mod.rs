//! HTTP: the contract's routes on [`Store`] and [`QueryEngine`].
//!
//! - [`routes`]: the one table that the router is made from, and what a route is.
//! - [`http`]: what every request passes and how it is read, answered and refused, whatever its route.
//! - [`analytics`], [`webapi`]: the handlers of the two APIs.
//! - [`openapi`]: what is said about each route, as `/openapi.json`; [`docs`]: the same as a page.
//!
//! Order of refusals: 404 unknown route, 405 method (neither needs a key), `OPTIONS` (204), 401, 403, then 415, 413 and
//! what the handler finds.

use std::sync::Arc;

use self::http::gate::{self, Gate};
use crate::query::engine::QueryEngine;
use crate::storage::store::Store;

pub(crate) mod analytics;
mod docs;
pub(crate) mod http;
pub(crate) mod openapi;
pub(crate) mod routes;
pub(crate) mod webapi;

/// What the handlers work on.
pub(crate) struct Services {
    pub(crate) store: Arc<Store>,
    pub(crate) engine: Arc<QueryEngine>,
    pub(crate) conversation_api: Arc<webapi::ConversationApi>,
}

/// The whole API as one service.
pub(crate) fn router(gate: Arc<Gate>, services: Arc<Services>) -> axum::Router {
    gate::router(gate, services, routes::ROUTES)
}
