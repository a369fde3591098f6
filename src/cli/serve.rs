//! `serve`: opens the store, answers until told to stop, writes out what is in memory.

use std::fs::DirBuilder;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::descriptors;
use super::error::CliError;
use crate::api;
use crate::api::http::address::TrustedProxies;
use crate::api::http::body::{BodyLimits, LARGEST_REQUEST};
use crate::api::http::connection::Pace;
use crate::api::http::cors::CorsOrigins;
use crate::api::http::gate::{self, Gate};
use crate::api::http::held::RequestMemory;
use crate::api::http::listener::{self, ListenerLimits, MAX_HEADER_BYTES};
use crate::api::metrics::{self, Counted, Watched};
use crate::api::services::Services;
use crate::api::webapi::ConversationApi;
use crate::auth::guesses::Guesses;
use crate::auth::key_ring::KeyRing;
use crate::auth::key_store::KeyStore;
use crate::auth::rates::Rates;
use crate::auth::secret::Secret;
use crate::config::ServeArguments;
use crate::environment::Environment;
use crate::memory::{self, Budget, Given, Plan};
use crate::query::engine::{QueryEngine, QueryOptions};
use crate::query::retention::Retention;
use crate::storage::maintain::eraser::Shares;
use crate::storage::objects::open::{cached_on_disk, open_environment};
use crate::storage::store::{Store, StoreOptions};

/// Connections of those who watch.
const WATCHERS: usize = 16;

pub(crate) async fn run(arguments: ServeArguments) -> Result<(), CliError> {
    log_to_stderr();
    let stop = stop_on_signal()?;
    descriptors::raise_limit();
    let listener = bind(&arguments).await?;
    let (environment, local_root) = open_environment(&arguments.store.store)?;
    let services = open(environment, local_root, &arguments).await?;
    listen(&arguments, listener, services, stop).await
}

/// Bound before the store is opened, so that a taken port fails at once; nothing is accepted until all is ready.
pub(crate) async fn bind(arguments: &ServeArguments) -> Result<TcpListener, CliError> {
    let failed = |error| CliError::Io { what: format!("listening on {}", arguments.listen), error };
    TcpListener::bind(arguments.listen.as_str()).await.map_err(failed)
}

/// The store, recovered, and the query engine on it.
pub(crate) async fn open(
    environment: Environment,
    local_root: Option<PathBuf>,
    arguments: &ServeArguments,
) -> Result<Services, CliError> {
    let plan = plan(arguments)?;
    let options = StoreOptions {
        tail_bytes: plan.tail,
        flush_rows: arguments.flush_rows as usize,
        flush_interval: Duration::from_secs(arguments.flush_seconds),
    };
    let environment = environment.with_cache_bytes(plan.cache);
    let folder = arguments.cache_folder.clone().unwrap_or_else(cache_folder);
    let environment = cached_on_disk(environment, folder, arguments.disk_cache_bytes);
    let store = Store::open(environment, local_root, &options).await?;
    let options = query_options(arguments, &plan, &store);
    if let (None, Some(root)) = (&arguments.spill_folder, store.local_root()) {
        clear_spill_folder(&root.join("spill"));
    }
    make_spill_folder(&options.spill_dir, arguments.spill_folder.is_some())?;
    let failed = |error| CliError::Io { what: "starting the query threads".to_owned(), error };
    let engine = Arc::new(QueryEngine::new(options).map_err(failed)?);
    let secret = Arc::new(Secret::open(store.environment()).await?);
    let conversation_api = Arc::new(ConversationApi::new(store.environment().clone(), secret.clone()));
    Ok(Services { store, engine, conversation_api, secret, reference: api::reference() })
}

/// Serves until told to stop, then drains and flushes.
pub(crate) async fn listen(
    arguments: &ServeArguments,
    listener: TcpListener,
    services: Services,
    stop: CancellationToken,
) -> Result<(), CliError> {
    let cors = CorsOrigins::new(&arguments.cors_origin).map_err(CliError::Argument)?;
    let failed = |error| CliError::Io { what: "listening".to_owned(), error };
    let address = listener.local_addr().map_err(failed)?;
    let store = Arc::clone(&services.store);
    let keys = KeyRing::open(KeyStore::new(store.environment().clone())).await?;
    let keys_at_end = Arc::clone(&keys);
    let pause = Duration::from_secs(arguments.body_pause_seconds);
    let ids = Arc::clone(&store.environment().ids);
    let plan = plan(arguments)?;
    tracing::info!(?plan, "memory");
    // Each may have a request's headers in memory.
    let wanted = arguments.max_connections.min((plan.total / 8 / MAX_HEADER_BYTES) as u64).max(1);
    let max_connections = descriptors::connections_that_fit(wanted) as usize;
    let (counted, memory) = (Counted::new(), RequestMemory::new(plan.requests, LARGEST_REQUEST));
    let open = gate::open_requests(max_connections);
    let gate = Gate {
        ids,
        keys,
        cors,
        bodies: BodyLimits::new(pause),
        rates: Rates::new(),
        memory: memory.clone(),
        open: Arc::clone(&open),
        proxies: TrustedProxies::new(&arguments.trusted_proxy),
        guesses: Guesses::default(),
        counted: Arc::new(counted.clone()),
    };
    if let Some(address) = &arguments.admin_listen {
        let (store, engine) = (Arc::clone(&services.store), Arc::clone(&services.engine));
        watch(address, Watched { counted, store, engine, memory, open, plan }, stop.clone()).await?;
    }
    let retention = Retention {
        store: Arc::clone(&store),
        engine: Arc::clone(&services.engine),
        within: arguments.erase_within,
        stop: store.ending(),
    };
    let router = api::router(Arc::new(gate), Arc::new(services));
    store.index_texts()?;
    let shares = Shares { within: arguments.erase_within };
    store.compact(shares)?;
    store.collect(Duration::from_secs(arguments.gc_grace_seconds), shares);
    store.erase(shares);
    tokio::spawn(retention.run());
    announce(&format!("listening on http://{address}"))?;
    let limits = ListenerLimits {
        max_connections,
        header_time: Duration::from_secs(arguments.header_seconds),
        keep_alive: Duration::from_secs(arguments.keep_alive_seconds),
        pace: Pace {
            pause: Duration::from_secs(arguments.write_pause_seconds),
            bytes_per_second: arguments.min_read_rate,
        },
        drain_time: Duration::from_secs(arguments.drain_seconds),
    };
    listener::serve(listener, router, limits, stop).await;
    tracing::info!("stopping");
    keys_at_end.write_uses().await;
    store.shutdown().await?;
    tracing::info!(requests = %store.environment().requests, "stopped");
    Ok(())
}

/// Figures on a listener of their own, for few.
async fn watch(address: &str, watched: Watched, stop: CancellationToken) -> Result<(), CliError> {
    let failed = |error| CliError::Io { what: format!("listening on {address}"), error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    announce(&format!("figures on http://{address}/metrics"))?;
    let seconds = Duration::from_secs(10);
    let limits = ListenerLimits {
        max_connections: WATCHERS,
        header_time: seconds,
        keep_alive: 10 * seconds,
        pace: Pace { pause: seconds, bytes_per_second: 1_024 },
        drain_time: Duration::ZERO,
    };
    tokio::spawn(listener::serve(listener, metrics::router(Arc::new(watched)), limits, stop));
    Ok(())
}

/// What of the memory each part of the server has.
fn plan(arguments: &ServeArguments) -> Result<Plan, CliError> {
    let bytes = |given: Option<u64>| given.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let given = Given {
        total: bytes(arguments.memory_bytes),
        tail: bytes(arguments.tail_bytes),
        requests: bytes(arguments.body_bytes),
        query: bytes(arguments.query_memory_bytes),
        cache: bytes(arguments.cache_bytes),
    };
    Plan::new(given, memory::available(), LARGEST_REQUEST).map_err(CliError::Argument)
}

fn query_options(arguments: &ServeArguments, plan: &Plan, store: &Store) -> QueryOptions {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    QueryOptions {
        threads: if arguments.query_threads == 0 { cores } else { arguments.query_threads },
        slots: arguments.query_slots as usize,
        export_slots: arguments.export_slots as usize,
        slot_wait: Duration::from_secs(arguments.query_wait_seconds),
        memory_bytes: plan.query as u64,
        memory: Arc::new(Budget::new(plan.queries)),
        spill_bytes: arguments.spill_bytes,
        spill_dir: arguments.spill_folder.clone().unwrap_or_else(|| spill_folder(store)),
        deadline: Duration::from_secs(arguments.query_deadline_seconds),
    }
}

/// What queries of a process that was killed have left. The folder is the store's own, and the store is locked.
fn clear_spill_folder(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "old spill files could not be removed");
        }
        _ => {}
    }
}

/// The owner's alone: what queries spill are conversations. A store that can only be read has none.
fn make_spill_folder(folder: &Path, asked_for: bool) -> Result<(), CliError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        Err(error) if asked_for => Err(CliError::Io { what: format!("making {}", folder.display()), error }),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "queries cannot spill until this folder can be made");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Beside the data where the store is a folder: that disk is the one that was made large.
fn spill_folder(store: &Store) -> PathBuf {
    store.local_root().cloned().unwrap_or_else(|| std::env::temp_dir().join("convolake")).join("spill")
}

/// Where the user's programs keep what they can get again.
fn cache_folder() -> PathBuf {
    let named = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
    folder.unwrap_or_else(std::env::temp_dir).join("convolake")
}

/// Lines to stderr, by `RUST_LOG` (default `info`). A panic is logged by its place alone: its message could quote a body.
pub(crate) fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Fails only where a subscriber is set already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic");
    }));
}

/// Cancelled by the first Ctrl-C or SIGTERM. A second one ends the process at once: what was acknowledged is durable.
pub(crate) fn stop_on_signal() -> Result<CancellationToken, CliError> {
    let stop = CancellationToken::new();
    let token = stop.clone();
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| CliError::Io { what: "listening for SIGTERM".to_owned(), error })?;
    tokio::spawn(async move {
        for signal in 1.. {
            #[cfg(unix)]
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            #[cfg(not(unix))]
            if tokio::signal::ctrl_c().await.is_err() {
                return;
            }
            if signal > 1 {
                std::process::exit(1);
            }
            token.cancel();
        }
    });
    Ok(stop)
}

/// The one line on stdout: whoever started the server waits for it.
fn announce(line: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(|error| CliError::Io { what: "writing to stdout".to_owned(), error })
}
