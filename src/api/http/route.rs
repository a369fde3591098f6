//! What a route is. The table of them stands on top of the handlers ([`crate::api::routes`]).

use axum::http::Method;
use axum::response::Response;
use futures::future::BoxFuture;

use super::call::Call;
use super::problem::Problem;
use crate::auth::scopes::Access;

/// `S` is what handlers work on.
pub(crate) type Handler<S> = for<'a> fn(&'a S, &'a mut Call) -> BoxFuture<'a, Result<Response, Problem>>;

pub(crate) struct Route<S: 'static> {
    pub(crate) method: Method,
    /// Its parameters are percent-decoded after routing.
    pub(crate) path: &'static str,
    /// Also decides CORS: a path that a web key may call answers browsers.
    pub(crate) access: Access,
    pub(crate) handler: Handler<S>,
}
