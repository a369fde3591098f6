//! Figures for who watches the server (`GET /metrics` on `--admin-listen`, the text format of Prometheus).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use axum::{Router, http};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::http::gate::Counts;
use crate::api::http::held::RequestMemory;
use crate::cache::Held;
use crate::memory::Plan;
use crate::query::engine::QueryEngine;
use crate::shares::Shares;
use crate::storage::format::table::Table;
use crate::storage::store::Store;

type Labels = Vec<(&'static str, String)>;
type Figure = Family<Labels, Gauge<f64, AtomicU64>>;

/// Seconds.
const LATENCIES: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// What is counted as it happens.
#[derive(Clone)]
pub(crate) struct Counted {
    requests: Family<Labels, Counter>,
    latencies: Family<Labels, Histogram, fn() -> Histogram>,
    refusals: Family<Labels, Counter>,
    bad_keys: Counter,
}

impl Counted {
    pub(crate) fn new() -> Counted {
        Counted {
            requests: Family::default(),
            latencies: Family::new_with_constructor(|| Histogram::new(LATENCIES)),
            refusals: Family::default(),
            bad_keys: Counter::default(),
        }
    }
}

impl Counts for Counted {
    fn request(&self, method: &http::Method, route: &'static str, status: StatusCode, took: Duration) {
        let status = status.as_u16();
        let labels =
            vec![("method", method.as_str().to_owned()), ("route", route.to_owned()), ("status", status.to_string())];
        self.requests.get_or_create(&labels).inc();
        let labels = vec![("route", route.to_owned()), ("status", format!("{}xx", status / 100))];
        self.latencies.get_or_create(&labels).observe(took.as_secs_f64());
        if matches!(status, 401 | 403 | 429 | 503) {
            self.refusals.get_or_create(&vec![("status", status.to_string())]).inc();
        }
    }

    fn bad_key(&self) {
        self.bad_keys.inc();
    }
}

/// What is looked at when somebody asks.
pub(crate) struct Watched {
    pub(crate) counted: Counted,
    pub(crate) store: Arc<Store>,
    pub(crate) engine: Arc<QueryEngine>,
    pub(crate) memory: RequestMemory,
    pub(crate) open: Arc<Shares>,
    pub(crate) plan: Plan,
}

/// Answers on a listener of its own.
pub(crate) fn router(watched: Arc<Watched>) -> Router {
    let metrics = move || {
        let watched = Arc::clone(&watched);
        async move {
            let mut text = String::new();
            let encoded = encode(&mut text, &watched.registry());
            let mut response = Response::new(Body::from(text));
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            if encoded.is_err() {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            response
        }
    };
    Router::new().route("/metrics", get(metrics)).route("/health", get(async || "ok"))
}

impl Watched {
    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("convolake");
        let Counted { requests, latencies, refusals, bad_keys } = &self.counted;
        registry.register("requests", "Requests answered", requests.clone());
        registry.register("request_seconds", "How long answers took to begin", latencies.clone());
        registry.register("refusals", "Answers 401, 403, 429 and 503", refusals.clone());
        registry.register("bad_keys", "Keys that opened nothing", bad_keys.clone());
        let figure = |registry: &mut Registry, name: &str, help: &str, values: Vec<(Labels, f64)>| {
            let family = Figure::default();
            for (labels, value) in values {
                family.get_or_create(&labels).set(value);
            }
            registry.register(name, help, family);
        };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        figure(&mut registry, "build_info", "The version of the server", vec![(vec![("version", version)], 1.0)]);
        self.budgets(&mut registry, figure);
        self.slots(&mut registry, figure);
        self.stored(&mut registry, figure);
        registry
    }

    fn budgets(&self, registry: &mut Registry, figure: impl Fn(&mut Registry, &str, &str, Vec<(Labels, f64)>)) {
        let part = |name: &str| vec![("part", name.to_owned())];
        let snapshot = self.store.snapshot();
        let cache: &dyn Held = self.store.environment().cache.as_ref();
        let held = [
            ("tail", snapshot.tail_bytes(), self.plan.tail),
            ("requests", self.memory.shares().held().0, self.memory.shares().capacity()),
            ("queries", self.engine.memory().held().0, self.engine.memory().capacity()),
            ("cache", cache.bytes() as usize, cache.capacity() as usize),
        ];
        let now = held.iter().map(|(name, bytes, _)| (part(name), *bytes as f64)).collect();
        let most = held.iter().map(|(name, _, bytes)| (part(name), *bytes as f64)).collect();
        figure(registry, "memory_bytes", "What each part of the server holds", now);
        figure(registry, "memory_limit_bytes", "What each part may hold", most);
        let total = vec![(Labels::new(), self.plan.total as f64)];
        figure(registry, "memory_total_bytes", "What all parts together may hold", total);
        let of = |name: &str, shares: &Shares| {
            let by = shares.by_organization().into_iter().filter(|(organization, _)| !organization.is_empty());
            by.map(|(organization, held)| {
                (vec![("what", name.to_owned()), ("organization", organization.to_string())], held as f64)
            })
            .collect::<Vec<_>>()
        };
        let mut by_organization = of("request_bytes", self.memory.shares());
        by_organization.extend(of("open_requests", &self.open));
        for (name, turns) in self.engine.lanes() {
            by_organization.extend(of(&format!("{name}_slots"), turns.slots()));
        }
        figure(registry, "held", "What each organization holds of what is shared", by_organization);
    }

    fn slots(&self, registry: &mut Registry, figure: impl Fn(&mut Registry, &str, &str, Vec<(Labels, f64)>)) {
        let lane = |name: &str| vec![("lane", name.to_owned())];
        let lanes = self.engine.lanes();
        let taken = lanes.iter().map(|(name, turns)| (lane(name), turns.slots().held().0 as f64)).collect();
        let waiting = lanes.iter().map(|(name, turns)| (lane(name), turns.waiting() as f64)).collect();
        figure(registry, "query_slots_taken", "Queries that run", taken);
        figure(registry, "queries_waiting", "Queries that wait for a slot", waiting);
    }

    fn stored(&self, registry: &mut Registry, figure: impl Fn(&mut Registry, &str, &str, Vec<(Labels, f64)>)) {
        let snapshot = self.store.snapshot();
        let tables = [Table::Conversations, Table::Events, Table::Feedback];
        let of = |table: Table| vec![("table", table.name().to_owned())];
        let files = tables.map(|table| (of(table), snapshot.files_of(table).len() as f64));
        let rows = tables.map(|table| (of(table), snapshot.rows(table) as f64));
        figure(registry, "files", "Data files", files.to_vec());
        figure(registry, "rows", "Rows, deleted ones that are still in files among them", rows.to_vec());
        let groups = vec![(Labels::new(), snapshot.position.0 as f64)];
        figure(registry, "log_position", "Groups of changes that were committed to the log", groups);
        let requests = crate::requests::Request::ALL.into_iter();
        let environment = self.store.environment();
        let requests = requests
            .map(|request| (vec![("kind", request.name().to_owned())], environment.requests.of(request) as f64));
        figure(registry, "object_store_requests", "Requests to the object store", requests.collect());
        let ready = f64::from(u8::from(self.store.check_writable().is_ok()));
        figure(registry, "ready", "Whether changes are taken", vec![(Labels::new(), ready)]);
    }
}
