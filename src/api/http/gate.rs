//! What every request passes on its way to a handler, and every answer on its way back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::http::header::{EXPECT, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter};
use futures::FutureExt;
use hyper::body::Body as _;

use super::access;
use super::address::TrustedProxies;
use super::body::{self, BodyLimits};
use super::call::Call;
use super::cors::CorsOrigins;
use super::held::{Holder, Kept, RequestMemory, holding};
use super::listener::{OverLimit, Peer};
use super::parameters::Parameters;
use super::problem::Problem;
use super::route::Route;
use crate::auth::guesses::Guesses;
use crate::auth::key_ring::KeyRing;
use crate::auth::rates::Rates;
use crate::auth::scopes::{Access, Caller};
use crate::environment::Ids;
use crate::shares::{Over, Part, Share, Shares, Sizes, Taker};

/// Of what deletes, the one that is no `DELETE`.
const ERASE: &str = "/erase";
/// Is answered also where there is no connection left for anything else.
const HEALTH: &str = "/health";
/// Requests that everybody may have open as long as there are connections.
const FEW_REQUESTS: usize = 16;
/// Of an address, in a row.
const LOGGED_GUESSES: u32 = 10;
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is checked before a handler runs.
pub(crate) struct Gate {
    pub(crate) ids: Arc<Ids>,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) cors: CorsOrigins,
    pub(crate) bodies: BodyLimits,
    pub(crate) rates: Rates,
    pub(crate) memory: RequestMemory,
    /// Connections with a request whose answer is not sent yet.
    pub(crate) open: Arc<Shares>,
    pub(crate) proxies: TrustedProxies,
    pub(crate) guesses: Guesses,
    pub(crate) counted: Arc<dyn Counts>,
}

/// Told of what is answered.
pub(crate) trait Counts: Send + Sync {
    /// `route` is a path of the table of routes, not what a client has sent.
    fn request(&self, method: &Method, route: &'static str, status: StatusCode, took: Duration);

    fn bad_key(&self);
}

/// As `route` of what no route is meant by.
const NO_ROUTE: &str = "none";
/// What keeps those apart who wait for a refusal.
const STRANGERS: &str = "";

/// A quarter of the connections for one key that is alone, and some for everybody where there are few.
pub(crate) fn open_requests(max_connections: usize) -> Arc<Shares> {
    Shares::new(Sizes {
        capacity: max_connections,
        floor: FEW_REQUESTS,
        organization_part: Part(1, 1),
        key_part: Some(Part(1, 2)),
    })
}

/// The router of a table of routes; `S` is what their handlers work on.
pub(crate) fn router<S: Send + Sync + 'static>(
    gate: Arc<Gate>,
    services: Arc<S>,
    routes: &'static [Route<S>],
) -> Router {
    let mut paths: BTreeMap<&'static str, Vec<&'static Route<S>>> = BTreeMap::new();
    for route in routes {
        paths.entry(route.path).or_default().push(route);
    }
    let mut router = Router::new();
    for (path, routes) in paths {
        let cors = routes.iter().any(|route| route.access.admits_web_keys());
        let mut methods: MethodRouter = MethodRouter::new();
        for route in &routes {
            let Ok(filter) = MethodFilter::try_from(route.method.clone()) else {
                debug_assert!(false, "no route has the method {}", route.method);
                continue;
            };
            let (gate, services, route) = (Arc::clone(&gate), Arc::clone(&services), *route);
            methods = methods.on(filter, move |request: Request| async move {
                pass(&gate, route.path, cors, request, async |parts, body| {
                    call(&gate, &*services, route, parts, body).await
                })
                .await
            });
        }
        if cors {
            let gate = Arc::clone(&gate);
            let open: Vec<&'static Method> =
                routes.iter().filter(|route| route.access.admits_web_keys()).map(|route| &route.method).collect();
            methods = methods
                .options(move |headers: HeaderMap| async move { gate.cors.preflight(headers.get(ORIGIN), &open) });
        }
        let gate = Arc::clone(&gate);
        router = router.route(
            path,
            methods.fallback(move |request: Request| async move {
                pass(&gate, path, cors, request, async |_, body| (body, None, Err(Problem::method_not_allowed()))).await
            }),
        );
    }
    router.fallback(move |request: Request| async move {
        pass(&gate, NO_ROUTE, false, request, async |_, body| {
            (body, None, Err(Problem::not_found("there is no such route")))
        })
        .await
    })
}

/// The rest of the body, the key's id, and the answer.
type Outcome = (Body, Option<String>, Result<Response, Problem>);

/// Of one request: whose it is, and what counts as its until the answer is sent.
struct Admitted {
    caller: Option<Caller>,
    holder: Holder,
    open: Option<Share>,
}

/// Key and access, then rate and share.
async fn admit(gate: &Gate, access: Access, parts: &Parts) -> Result<Admitted, (Option<String>, Problem)> {
    if access == Access::Public {
        return Ok(Admitted { caller: None, holder: gate.memory.of(Taker::default()), open: None });
    }
    let address = parts.extensions.get::<Peer>().map(|peer| gate.proxies.client(peer.0, &parts.headers));
    let caller = match access::authenticate(&gate.keys, &parts.headers, access).await {
        Ok(caller) => caller.at(address),
        Err(problem) => {
            if problem.is_unauthorized() {
                refuse_key(gate, address, &parts.headers).await;
            }
            return Err((None, problem));
        }
    };
    let key_id = || Some(caller.key_id().to_owned());
    caller.check(access).map_err(|denied| {
        tracing::warn!(key = caller.key_id(), address = shown(address), %denied, "key refused");
        (key_id(), denied.into())
    })?;
    let rate = gate.rates.take(caller.key());
    rate.map_err(|wait| (key_id(), Problem::too_many("the key has its rate of requests; try again later", wait)))?;
    let taker = caller.taker();
    let open = gate.open.try_take(&taker, 1).map_err(|over| {
        let problem = match over {
            Over::Own => Problem::too_many(
                "the key, or its organization or address, has as many requests open as its share is",
                Duration::from_secs(1),
            ),
            Over::All => Problem::unavailable("as many requests are open as there may be", 1),
        };
        (key_id(), problem)
    })?;
    Ok(Admitted { holder: gate.memory.of(taker), open: Some(open), caller: Some(caller) })
}

/// Logs a bad key, by its id and never more of it, and lets its sender wait the longer the more there were.
async fn refuse_key(gate: &Gate, address: Option<IpAddr>, headers: &HeaderMap) {
    // What has not even the form of a key is no guess, and costs nothing to refuse.
    let Some(key) = access::claimed_id(headers) else { return };
    gate.counted.bad_key();
    let Some(address) = address else { return };
    let (in_a_row, wait) = gate.guesses.bad(address);
    // A guesser does not fill the log either.
    if in_a_row <= LOGGED_GUESSES || in_a_row.is_multiple_of(LOGGED_GUESSES) {
        tracing::warn!(key, %address, in_a_row, "no such key, or one that is expired or revoked");
    }
    if wait.is_zero() {
        return;
    }
    // Those who wait take no connections from others.
    let taker = Taker { organization: STRANGERS.into(), key: STRANGERS.into(), address: Some(address) };
    if let Ok(_open) = gate.open.try_take(&taker, 1) {
        tokio::time::sleep(wait).await;
    }
}

fn shown(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "-".to_owned(), |address| address.to_string())
}

async fn call<S>(gate: &Gate, services: &S, route: &Route<S>, mut parts: Parts, body: Body) -> Outcome {
    let Admitted { caller, holder, open } = match admit(gate, route.access, &parts).await {
        Ok(admitted) => admitted,
        Err((key_id, problem)) => return (body, key_id, Err(problem)),
    };
    let key_id = caller.as_ref().map(|caller| caller.key_id().to_owned());
    let ids = match RawPathParams::from_request_parts(&mut parts, &()).await {
        Ok(parameters) => parameters.iter().map(|(_, value)| value.to_owned()).collect(),
        // An id is UTF-8, so nothing is stored under this one.
        Err(_) => return (body, key_id, Err(Problem::not_found("the path is not UTF-8"))),
    };
    let parameters = Parameters::parse(parts.uri.query());
    let mut call = Call::new(parameters, ids, caller, parts.headers, body, gate.bodies, holder);
    let handled = AssertUnwindSafe((route.handler)(services, &mut call)).catch_unwind().await;
    let result = handled.unwrap_or_else(|_| Err(Problem::internal()));
    let (rest, mut held) = call.into_parts();
    held.retain(|held| !held.is_empty());
    let result = result.map(|response| response.map(|body| holding(body, Kept { held, open })));
    (rest, key_id, result)
}

/// Gives the request its id, and the answer its headers, its problem document and its line in the log.
async fn pass(
    gate: &Gate,
    route: &'static str,
    cors: bool,
    request: Request,
    answer: impl AsyncFnOnce(Parts, Body) -> Outcome,
) -> Response {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let request_id = gate.ids.random().to_string();
    let address = parts.extensions.get::<Peer>().map(|peer| gate.proxies.client(peer.0, &parts.headers));
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let origin = parts.headers.get(ORIGIN).cloned();
    let waits_for_continue = parts.headers.contains_key(EXPECT);
    let is_over = parts.extensions.get::<OverLimit>().is_some() && path != HEALTH;
    let (mut rest, key_id, result) = match is_over {
        true => (body, None, Err(Problem::unavailable("all connections are taken", 1).closing())),
        false => answer(parts, body).await,
    };
    let mut response = result.unwrap_or_else(|problem| problem.into_response(&path, &request_id));
    if response.status().is_client_error() && !rest.is_end_stream() && !waits_for_continue {
        body::drain(&mut rest).await;
    }
    let headers = response.headers_mut();
    // No browser is to guess that an answer is a page.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID.clone(), value);
    }
    if cors {
        gate.cors.mark(origin.as_ref(), headers);
    }
    let took = started.elapsed();
    gate.counted.request(&method, route, response.status(), took);
    let (status, millis) = (response.status().as_u16(), took.as_millis() as u64);
    let key = key_id.as_deref().unwrap_or("-");
    if status == 200 && (method == Method::DELETE || route == ERASE) {
        tracing::info!(target: "audit", %method, path, key, address = shown(address), request_id, "deleted");
    }
    if status >= 500 {
        tracing::warn!(%method, path, status, millis, request_id, key, "request failed");
    } else {
        tracing::debug!(%method, path, status, millis, request_id, key, "request");
    }
    response
}

#[cfg(test)]
mod tests;
