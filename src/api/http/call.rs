//! A request as its handler sees it, and the plainest answer.

use std::sync::{Mutex, PoisonError};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use hyper::body::Body as _;

use super::body::{BodyLimits, Payload};
use super::held::{Held, Holder};
use super::parameters::Parameters;
use super::problem::Problem;
use crate::auth::scopes::Caller;

/// One request, as a handler sees it.
pub(crate) struct Call {
    pub(crate) parameters: Parameters,
    /// The path's parameters, percent-decoded.
    ids: Vec<String>,
    caller: Option<Caller>,
    headers: HeaderMap,
    /// A mutex only because a body is not `Sync`; it is never locked.
    body: Mutex<Body>,
    bodies: BodyLimits,
    holder: Holder,
    /// A mutex as above.
    held: Mutex<Vec<Held>>,
}

impl Call {
    pub(super) fn new(
        parameters: Parameters,
        ids: Vec<String>,
        caller: Option<Caller>,
        headers: HeaderMap,
        body: Body,
        bodies: BodyLimits,
        holder: Holder,
    ) -> Self {
        Self { parameters, ids, caller, headers, body: Mutex::new(body), bodies, holder, held: Mutex::default() }
    }

    /// The rest of the body, and what was held for the call.
    pub(super) fn into_parts(self) -> (Body, Vec<Held>) {
        let body = self.body.into_inner().unwrap_or_else(PoisonError::into_inner);
        (body, self.held.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// What more than this call holds is taken from.
    pub(crate) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Counts bytes that are in memory until the answer is sent.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), Problem> {
        self.keep(self.holder.take(bytes)?);
        Ok(())
    }

    pub(super) fn keep(&self, held: Held) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(held);
    }

    /// Who called; a route that needs it is not `Access::Public`.
    pub(crate) fn caller(&self) -> Result<&Caller, Problem> {
        self.caller.as_ref().ok_or_else(Problem::internal)
    }

    /// The first parameter of the path, percent-decoded.
    pub(crate) fn id(&self) -> Result<&str, Problem> {
        self.ids.first().map(String::as_str).ok_or_else(Problem::internal)
    }

    /// The second parameter of the path, percent-decoded.
    pub(crate) fn second_id(&self) -> Result<&str, Problem> {
        self.ids.get(1).map(String::as_str).ok_or_else(Problem::internal)
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Whether the request has a body that is not known to be empty.
    pub(crate) fn has_body(&mut self) -> bool {
        !self.body.get_mut().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    pub(crate) async fn read_json(&mut self) -> Result<Payload, Problem> {
        let mut held = self.holder.nothing();
        let body = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        let payload = self.bodies.read_json(&self.headers, body, &mut held).await?;
        self.keep(held);
        Ok(payload)
    }
}

/// 200 with a JSON body.
pub(crate) fn json(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
