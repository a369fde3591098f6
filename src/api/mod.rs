//! HTTP: the contract's routes on [`Store`](crate::storage::store::Store) and
//! [`QueryEngine`](crate::query::engine::QueryEngine).
//!
//! - [`routes`]: the one table that the router is made from; [`services`]: what its handlers work on.
//! - [`analytics`], [`webapi`]: the handlers of the two APIs; [`public`]: those that need no key.
//! - [`lookup`], [`pages`]: what several handlers need; [`metrics`]: figures for who watches.
//! - [`openapi`]: what is said about each route, as JSON; [`docs`]: the same as a page.
//! - [`http`]: what every request passes and how it is read, answered and refused, whatever its route.
//! - [`render`]: rows of a query as JSON and CSV.
//!
//! Order of refusals: 404 unknown route, 405 method (neither needs a key), `OPTIONS` (204), 401, 403, then 415, 413 and
//! what the handler finds.

use std::sync::Arc;

use self::http::gate::{self, Gate};
use self::services::{Reference, Services};

pub(crate) mod analytics;
mod docs;
pub(crate) mod http;
mod lookup;
pub(crate) mod metrics;
pub(crate) mod openapi;
mod pages;
mod public;
pub(crate) mod render;
pub(crate) mod routes;
pub(crate) mod services;
pub(crate) mod webapi;

/// The whole API as one service.
pub(crate) fn router(gate: Arc<Gate>, services: Arc<Services>) -> axum::Router {
    gate::router(gate, services, routes::ROUTES)
}

/// What is said about the whole API.
pub(crate) fn reference() -> Reference {
    Reference::of(routes::ROUTES)
}
