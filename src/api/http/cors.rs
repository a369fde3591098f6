//! Cross-origin answers on the routes that a web key may call (contract A1). Credentials are never allowed: the key is
//! in a header that the page sets.

use axum::body::Body;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;

/// Which pages may call: `*`, or a list of origins.
#[derive(Clone, Debug)]
pub(crate) struct CorsOrigins {
    any: bool,
    origins: Vec<HeaderValue>,
}

impl CorsOrigins {
    /// Fails on a text that is no header value.
    pub(crate) fn new(origins: &[String]) -> Result<Self, String> {
        let any = origins.iter().any(|origin| origin == "*");
        let parse = |origin: &String| {
            HeaderValue::from_str(origin).map_err(|_| format!("CORS origin `{origin}` is no origin like https://host"))
        };
        Ok(Self { any, origins: origins.iter().map(parse).collect::<Result<_, _>>()? })
    }

    /// A listed origin is answered by itself, any other by the first of the list, which the browser then refuses.
    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        if self.any {
            return Some(HeaderValue::from_static("*"));
        }
        let listed = origin.and_then(|origin| self.origins.iter().find(|listed| *listed == origin));
        listed.or(self.origins.first()).cloned()
    }

    /// Marks an answer, whatever its status.
    pub(crate) fn mark(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let Some(allowed) = self.allowed(origin) else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("x-request-id, Retry-After"));
        if !self.any {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
    }

    /// The answer to `OPTIONS` on a path where web keys may use these methods.
    pub(crate) fn preflight(&self, origin: Option<&HeaderValue>, methods: &[&Method]) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        self.mark(origin, headers);
        let methods = methods.iter().map(|method| method.as_str()).chain(["OPTIONS"]).collect::<Vec<_>>().join(", ");
        if let Ok(methods) = HeaderValue::from_str(&methods) {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        headers.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("authorization, content-type, content-encoding"),
        );
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        response
    }
}
