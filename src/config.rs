//! Every option of the command line; each is also an environment variable `CONVOLAKE_…`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ipnet::IpNet;

use crate::auth::key::{KeyKind, KeyScope};
use crate::model::duration;
use crate::model::ids::{IntegrationId, OrganizationId, ProjectId};
use crate::model::project_limits::Age;

#[derive(Args, Clone, Debug)]
pub(crate) struct StoreArguments {
    /// Where everything durable lies: a folder (made if it is missing) or the URL of an object store
    #[arg(long, env = "CONVOLAKE_STORE", default_value = "data/store", value_name = "FOLDER_OR_URL")]
    pub(crate) store: String,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) store: StoreArguments,

    /// Host and port to listen on; port 0 takes a free one
    #[arg(long, env = "CONVOLAKE_LISTEN", default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    pub(crate) listen: String,

    /// Host and port of another listener, for who watches: GET /metrics; without it there is none
    #[arg(long, env = "CONVOLAKE_ADMIN_LISTEN", value_name = "HOST:PORT")]
    pub(crate) admin_listen: Option<String>,

    /// Networks of proxies whose X-Forwarded-For is believed, separated by commas
    #[arg(long, env = "CONVOLAKE_TRUSTED_PROXY", value_delimiter = ',', value_name = "CIDR")]
    pub(crate) trusted_proxy: Vec<IpNet>,

    /// Origins of web pages that may call with a web key, separated by commas
    #[arg(long, env = "CONVOLAKE_CORS_ORIGIN", default_value = "*", value_delimiter = ',', value_name = "ORIGIN")]
    pub(crate) cors_origin: Vec<String>,

    /// Time limit of one query, in seconds
    #[arg(long, env = "CONVOLAKE_QUERY_DEADLINE_SECONDS", default_value_t = 60, value_name = "SECONDS", value_parser = at_least_one())]
    pub(crate) query_deadline_seconds: u64,

    /// Memory of all parts of the server together, in bytes: the tail, requests, queries, caches, and what writing files
    /// needs; by default 60 % of what the cgroup or the machine has
    #[arg(long, env = "CONVOLAKE_MEMORY_BYTES", value_name = "BYTES", value_parser = at_least_one())]
    pub(crate) memory_bytes: Option<u64>,

    /// Memory of one query, in bytes; by default half of what is left for queries, at most 1 GiB
    #[arg(long, env = "CONVOLAKE_QUERY_MEMORY_BYTES", value_name = "BYTES", value_parser = at_least_one())]
    pub(crate) query_memory_bytes: Option<u64>,

    /// Queries that run at the same time, and as many cheap ones; more wait, then get 429 or 503 with Retry-After
    #[arg(long, env = "CONVOLAKE_QUERY_SLOTS", default_value_t = 8, value_name = "NUMBER", value_parser = at_least_one())]
    pub(crate) query_slots: u64,

    /// Exports that run at the same time, and other answers that slow clients take
    #[arg(long, env = "CONVOLAKE_EXPORT_SLOTS", default_value_t = 4, value_name = "NUMBER", value_parser = at_least_one())]
    pub(crate) export_slots: u64,

    /// Threads for queries; 0 is one per core
    #[arg(long, env = "CONVOLAKE_QUERY_THREADS", default_value_t = 0, value_name = "NUMBER")]
    pub(crate) query_threads: usize,

    /// How long a query waits for a slot, in seconds
    #[arg(long, env = "CONVOLAKE_QUERY_WAIT_SECONDS", default_value_t = 5, value_name = "SECONDS")]
    pub(crate) query_wait_seconds: u64,

    /// What one query may spill to disk, in bytes
    #[arg(long, env = "CONVOLAKE_SPILL_BYTES", default_value_t = 10 << 30, value_name = "BYTES")]
    pub(crate) spill_bytes: u64,

    /// Where queries spill to; by default the folder `spill` of a store that is a folder, else of the system's temporary
    /// folder
    #[arg(long, env = "CONVOLAKE_SPILL_FOLDER", value_name = "FOLDER")]
    pub(crate) spill_folder: Option<PathBuf>,

    /// Memory of what is logged but not in files yet, in bytes; when it is full, writers get 429 with Retry-After; by
    /// default 20 % of all, at most 512 MiB
    #[arg(long, env = "CONVOLAKE_TAIL_BYTES", value_name = "BYTES", value_parser = at_least_one())]
    pub(crate) tail_bytes: Option<u64>,

    /// Memory for what is read of the store's files again and again (footers, checksums, openings of indexes), in bytes; by
    /// default 10 % of all, at most 256 MiB
    #[arg(long, env = "CONVOLAKE_CACHE_BYTES", value_name = "BYTES")]
    pub(crate) cache_bytes: Option<u64>,

    /// Where files of a remote store (s3://, gs://, az://) are cached on the disk; by default a folder in the user's cache
    #[arg(long, env = "CONVOLAKE_CACHE_FOLDER", value_name = "FOLDER")]
    pub(crate) cache_folder: Option<PathBuf>,

    /// What that cache may hold, in bytes; 0 for none
    #[arg(long, env = "CONVOLAKE_DISK_CACHE_BYTES", default_value_t = 10 << 30, value_name = "BYTES")]
    pub(crate) disk_cache_bytes: u64,

    /// Age at which logged conversations become files, in seconds
    #[arg(long, env = "CONVOLAKE_FLUSH_SECONDS", default_value_t = 30, value_name = "SECONDS", value_parser = at_least_one())]
    pub(crate) flush_seconds: u64,

    /// Time after which files that merges have replaced, and what crashes have left, are deleted, in seconds
    #[arg(long, env = "CONVOLAKE_GC_GRACE_SECONDS", default_value_t = 3_600, value_name = "SECONDS", value_parser = at_least_one())]
    pub(crate) gc_grace_seconds: u64,

    /// Time within which what is deleted is gone from all files, the log and indexes as well: a number and s, m, h or d
    #[arg(long, env = "CONVOLAKE_ERASE_WITHIN", default_value = "24h", value_name = "DURATION", value_parser = some_time)]
    pub(crate) erase_within: Duration,

    /// Number of logged conversations that become files at once
    #[arg(long, env = "CONVOLAKE_FLUSH_ROWS", default_value_t = 50_000, value_name = "ROWS", value_parser = at_least_one())]
    pub(crate) flush_rows: u64,

    /// Open connections; where there are as many, the one that is idle for the longest makes room
    #[arg(long, env = "CONVOLAKE_MAX_CONNECTIONS", default_value_t = 4096, value_name = "NUMBER", value_parser = at_least_one())]
    pub(crate) max_connections: u64,

    /// What requests of all connections hold together, their bodies and their answers, in bytes; by default 20 % of all, at
    /// most 512 MiB
    #[arg(long, env = "CONVOLAKE_BODY_BYTES", value_name = "BYTES", value_parser = at_least_one())]
    pub(crate) body_bytes: Option<u64>,

    /// Longest time between two requests of a connection, in seconds; proxies keep connections for 60
    #[arg(long, env = "CONVOLAKE_KEEP_ALIVE_SECONDS", default_value_t = 75, value_name = "SECONDS", value_parser = at_least_one())]
    pub(crate) keep_alive_seconds: u64,

    /// Time for a request's headers, in seconds
    #[arg(long, env = "CONVOLAKE_HEADER_SECONDS", default_value_t = 10, value_name = "SECONDS", value_parser = at_least_one())]
    pub(crate) header_seconds: u64,

    /// Longest pause within a request's body (a whole body may take six times as long), in seconds
    #[arg(long, env = "CONVOLAKE_BODY_PAUSE_SECONDS", default_value_t = 10, value_name = "SECONDS", value_parser = at_least_one())]
    pub(crate) body_pause_seconds: u64,

    /// Bytes a second that a client has to take of its answer; one that is slower for longer than the write pause is cut off
    #[arg(long, env = "CONVOLAKE_MIN_READ_RATE", default_value_t = 4096, value_name = "BYTES", value_parser = at_least_one())]
    pub(crate) min_read_rate: u64,

    /// Longest time in which a client takes nothing of its answer, in seconds
    #[arg(long, env = "CONVOLAKE_WRITE_PAUSE_SECONDS", default_value_t = 30, value_name = "SECONDS", value_parser = at_least_one())]
    pub(crate) write_pause_seconds: u64,

    /// How long open requests may go on when the server is told to stop, in seconds
    #[arg(long, env = "CONVOLAKE_DRAIN_SECONDS", default_value_t = 20, value_name = "SECONDS")]
    pub(crate) drain_seconds: u64,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CompactArguments {
    #[command(flatten)]
    pub(crate) store: StoreArguments,

    /// Time within which what is deleted is gone from all files, the log and indexes as well: a number and s, m, h or d
    #[arg(long, env = "CONVOLAKE_ERASE_WITHIN", default_value = "24h", value_name = "DURATION", value_parser = some_time)]
    pub(crate) erase_within: Duration,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct GcArguments {
    #[command(flatten)]
    pub(crate) store: StoreArguments,

    /// Time within which what is deleted is gone from all files, the log and indexes as well: a number and s, m, h or d
    #[arg(long, env = "CONVOLAKE_ERASE_WITHIN", default_value = "24h", value_name = "DURATION", value_parser = some_time)]
    pub(crate) erase_within: Duration,

    /// How long nothing may have named what is deleted, in seconds
    #[arg(long, env = "CONVOLAKE_GC_GRACE_SECONDS", default_value_t = 3_600, value_name = "SECONDS", value_parser = at_least_one())]
    pub(crate) gc_grace_seconds: u64,

    /// Delete what is in no commit even where it is more than a crash leaves
    #[arg(long, env = "CONVOLAKE_GC_YES")]
    pub(crate) yes: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) store: StoreArguments,

    /// Print the JSON of GET /status
    #[arg(long, env = "CONVOLAKE_JSON")]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ImportArguments {
    #[command(flatten)]
    pub(crate) store: StoreArguments,

    /// The organization that the conversations belong to
    #[arg(long, env = "CONVOLAKE_ORGANIZATION", default_value = "default", value_name = "ID", value_parser = organization)]
    pub(crate) organization: OrganizationId,

    /// The project of documents that name none
    #[arg(long, env = "CONVOLAKE_PROJECT", value_name = "ID", value_parser = project)]
    pub(crate) project: Option<ProjectId>,

    /// The integration of documents that name none
    #[arg(long, env = "CONVOLAKE_INTEGRATION", value_name = "ID", value_parser = integration)]
    pub(crate) integration: Option<IntegrationId>,

    /// About how many conversations are written as one file, and acknowledged by one commit
    #[arg(long, env = "CONVOLAKE_IMPORT_BATCH_ROWS", default_value_t = 65_536, value_name = "ROWS", hide = true)]
    pub(crate) batch_rows: usize,

    /// NDJSON files, one document a line in the shape of POST /conversations; - is standard input
    #[arg(required = true, value_name = "FILES")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    pub(crate) store: StoreArguments,

    /// An id or any other text; every object is read for it, also while a server runs
    #[arg(long, env = "CONVOLAKE_CHECK_ABSENT", value_name = "ID_OR_TEXT", required = true)]
    pub(crate) absent: String,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct SetProjectArguments {
    #[command(flatten)]
    pub(crate) store: StoreArguments,

    /// The organization that the project belongs to
    #[arg(long, env = "CONVOLAKE_ORGANIZATION", default_value = "default", value_name = "ID", value_parser = organization)]
    pub(crate) organization: OrganizationId,

    /// The project's name
    #[arg(long, env = "CONVOLAKE_PROJECT", value_name = "ID", value_parser = project)]
    pub(crate) project: ProjectId,

    /// What is older is deleted: a number and s, m, h or d, or none; left as it is where this is not given
    #[arg(long, env = "CONVOLAKE_PROJECT_MAX_AGE", value_name = "DURATION|none", value_parser = or_none::<Age>)]
    pub(crate) max_age: Option<OrNone<Age>>,

    /// No document is taken while about so many bytes are stored, or none; left as it is where this is not given
    #[arg(long, env = "CONVOLAKE_PROJECT_MAX_BYTES", value_name = "BYTES|none", value_parser = or_none::<u64>)]
    pub(crate) max_bytes: Option<OrNone<u64>>,
}

/// What ends a limit is not the same as to say nothing of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrNone<T>(pub(crate) Option<T>);

#[derive(Args, Clone, Debug)]
pub(crate) struct ListProjectsArguments {
    #[command(flatten)]
    pub(crate) store: StoreArguments,

    /// Print JSON
    #[arg(long, env = "CONVOLAKE_JSON")]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CreateKeyArguments {
    #[command(flatten)]
    pub(crate) store: StoreArguments,

    /// api: all of its project; web: for web pages, logs and gets or deletes one conversation by id; org: all projects
    #[arg(long, env = "CONVOLAKE_KEY_KIND", value_enum)]
    pub(crate) kind: KeyKind,

    /// The organization that the key belongs to
    #[arg(long, env = "CONVOLAKE_KEY_ORGANIZATION", value_name = "ID", value_parser = organization)]
    pub(crate) organization: OrganizationId,

    /// The project that the key belongs to; needed unless the kind is org
    #[arg(long, env = "CONVOLAKE_KEY_PROJECT", value_name = "ID", value_parser = project)]
    pub(crate) project: Option<ProjectId>,

    /// The integration of what is logged with the key; needed unless the kind is org
    #[arg(long, env = "CONVOLAKE_KEY_INTEGRATION", value_name = "ID", value_parser = integration)]
    pub(crate) integration: Option<IntegrationId>,

    /// What a web key may do beyond its kind; may be repeated
    #[arg(long = "scope", env = "CONVOLAKE_KEY_SCOPE", value_enum, value_delimiter = ',', value_name = "SCOPE")]
    pub(crate) scopes: Vec<KeyScope>,

    /// For people, who the key is for
    #[arg(long, env = "CONVOLAKE_KEY_NAME", value_name = "TEXT")]
    pub(crate) name: Option<String>,

    /// How long the key works: a number and s, m, h or d; without it until it is revoked
    #[arg(long, env = "CONVOLAKE_KEY_EXPIRES", value_name = "DURATION", value_parser = some_time)]
    pub(crate) expires: Option<Duration>,

    /// Requests a second, twice as many at once, beyond which the key gets 429; web keys have 100 without it
    #[arg(long, env = "CONVOLAKE_KEY_RATE", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,

    /// A web key's externalIds select the conversations that it made, so that a widget can log again by externalId
    #[arg(long, env = "CONVOLAKE_KEY_EXTERNAL_IDS")]
    pub(crate) external_ids: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ListKeysArguments {
    #[command(flatten)]
    pub(crate) store: StoreArguments,

    /// Print JSON, one array
    #[arg(long, env = "CONVOLAKE_JSON")]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct KeyArguments {
    #[command(flatten)]
    pub(crate) store: StoreArguments,

    /// The key's id, as `keys list` shows it
    pub(crate) id: String,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RotateKeyArguments {
    #[command(flatten)]
    pub(crate) key: KeyArguments,

    /// How long the old key still works: a number and s, m, h or d
    #[arg(long, env = "CONVOLAKE_KEY_OVERLAP", default_value = "24h", value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) overlap: Duration,
}

fn at_least_one() -> clap::builder::RangedU64ValueParser {
    clap::builder::RangedU64ValueParser::new().range(1..)
}

fn organization(text: &str) -> Result<OrganizationId, String> {
    non_empty(text).map(OrganizationId::new)
}

fn project(text: &str) -> Result<ProjectId, String> {
    non_empty(text).map(ProjectId::new)
}

fn integration(text: &str) -> Result<IntegrationId, String> {
    non_empty(text).map(IntegrationId::new)
}

fn non_empty(text: &str) -> Result<&str, String> {
    if text.is_empty() { Err("an empty id is not allowed".to_owned()) } else { Ok(text) }
}

fn or_none<T: Limit>(text: &str) -> Result<OrNone<T>, String> {
    if text == "none" { Ok(OrNone(None)) } else { T::parse(text).map(|limit| OrNone(Some(limit))) }
}

trait Limit: Sized {
    fn parse(text: &str) -> Result<Self, String>;
}

impl Limit for Age {
    fn parse(text: &str) -> Result<Age, String> {
        Age::parse(text)
    }
}

impl Limit for u64 {
    fn parse(text: &str) -> Result<u64, String> {
        text.parse().map_err(|_| format!("`{text}` given, a whole number of bytes or none is needed"))
    }
}

fn some_time(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text)?;
    if duration.is_zero() { Err("it takes some time: at least 1s".to_owned()) } else { Ok(duration) }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct SampleArguments {
    /// Conversations to print
    #[arg(long, env = "CONVOLAKE_SAMPLE_ROWS", default_value_t = 1_000, value_name = "NUMBER")]
    pub(crate) rows: u64,

    /// About how long each is, in bytes of JSON; at least 1,500
    #[arg(long, env = "CONVOLAKE_SAMPLE_BYTES", default_value_t = 1_500, value_name = "BYTES")]
    pub(crate) bytes: usize,

    /// The same seed gives the same conversations
    #[arg(long, env = "CONVOLAKE_SAMPLE_SEED", default_value_t = 42, value_name = "NUMBER")]
    pub(crate) seed: u64,
}
