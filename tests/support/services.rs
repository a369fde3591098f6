//! Object stores of others, on this machine, for tests: SeaweedFS, moto and Azurite.
//!
//! The variables that `.ci/run` sets name the programs; where one is missing, its tests skip themselves and say so. Each
//! program is started once per test process, on free ports of the loopback and in a temporary folder, and ends with the
//! process: a shell holds it, and ends it by its id when its own standard input is closed.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const READY_TIMEOUT: Duration = Duration::from_secs(3);
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Somebody may take a port between its choice and its use.
const START_TRIES: usize = 3;
pub const BUCKET: &str = "convolake";
/// What the services take, or do not look at.
pub const ACCESS_KEY: &str = "test-key";
pub const SECRET_KEY: &str = "test-secret";

pub struct Service {
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    shell: Child,
    folder: TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Speaks S3, with a bucket; its variable is `CONVOLAKE_WEED`.
pub fn seaweedfs() -> Option<&'static Service> {
    static STARTED: OnceLock<Option<Service>> = OnceLock::new();
    STARTED.get_or_init(|| started("CONVOLAKE_WEED", 8, make_bucket, weed)).as_ref()
}

fn weed(folder: &Path, ports: &[u16]) -> Vec<String> {
    let folder = folder.display();
    let [s3, rest @ ..] = ports else { return Vec::new() };
    // Other protocols of it have fixed ports.
    let fixed = "server -ip=127.0.0.1 -ip.bind=127.0.0.1 -filer -s3 -s3.port.iceberg=0 -s3.port.lance=0 \
                 -master.volumeSizeLimitMB=64 -volume.max=200";
    let mut arguments: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
    arguments.extend([format!("-dir={folder}"), format!("-s3.port={s3}")]);
    let of = [
        "s3.port.grpc",
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
    ];
    arguments.extend(of.iter().zip(rest).map(|(name, port)| format!("-{name}={port}")));
    arguments
}

/// The S3 of moto; its variable is `CONVOLAKE_MOTO`.
pub fn moto() -> Option<&'static Service> {
    static STARTED: OnceLock<Option<Service>> = OnceLock::new();
    let arguments = |_: &Path, ports: &[u16]| {
        let port = ports.first().map(u16::to_string).unwrap_or_default();
        ["-H", "127.0.0.1", "-p", &port].map(str::to_owned).to_vec()
    };
    STARTED.get_or_init(|| started("CONVOLAKE_MOTO", 1, make_bucket, arguments)).as_ref()
}

/// The blobs of Azurite; its variable is `CONVOLAKE_AZURITE`. The container is not made yet: that needs a signature.
pub fn azurite() -> Option<&'static Service> {
    static STARTED: OnceLock<Option<Service>> = OnceLock::new();
    let arguments = |folder: &Path, ports: &[u16]| {
        let (port, folder) = (ports.first().map(u16::to_string).unwrap_or_default(), folder.display().to_string());
        let arguments = ["--blobHost", "127.0.0.1", "--blobPort", &port, "--location", &folder];
        let arguments = arguments.into_iter().chain(["--silent", "--skipApiVersionCheck", "--disableTelemetry"]);
        arguments.map(str::to_owned).collect()
    };
    STARTED.get_or_init(|| started("CONVOLAKE_AZURITE", 1, answers, arguments)).as_ref()
}

fn started(
    variable: &str,
    ports: usize,
    ready: fn(&str) -> bool,
    arguments: impl Fn(&Path, &[u16]) -> Vec<String>,
) -> Option<Service> {
    let Some(program) = std::env::var_os(variable) else {
        eprintln!("skipped: {variable} names no program");
        return None;
    };
    for _ in 0..START_TRIES {
        let folder = TempDir::new().expect("a temporary folder");
        let ports = free_ports(ports);
        let endpoint = format!("http://127.0.0.1:{}", ports[0]);
        // Reads until its input ends, which it does when this process ends, however it ends.
        let script = r#""$0" "$@" </dev/null >/dev/null 2>&1 & id=$!; cat >/dev/null; kill -9 $id; wait"#;
        let shell = Command::new("sh")
            .args(["-c", script])
            .arg(&program)
            .args(arguments(folder.path(), &ports))
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let service = Service { endpoint, shell, folder };
        let begin = Instant::now();
        while begin.elapsed() < START_TIMEOUT {
            if ready(&service.endpoint) {
                return Some(service);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        eprintln!(
            "{} does not answer; its folder has {:?}",
            program.display(),
            std::fs::read_dir(service.folder.path())
        );
    }
    panic!("{variable} names a program that does not start: {}", program.display());
}

fn free_ports(count: usize) -> Vec<u16> {
    // All at once, so that they differ.
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("an address").port()).collect()
}

fn answers(endpoint: &str) -> bool {
    TcpStream::connect(endpoint.trim_start_matches("http://")).is_ok()
}

/// The imitations take requests without a signature where they have no keys configured. A bucket may be there before
/// anything can be put into it.
fn make_bucket(endpoint: &str) -> bool {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(READY_TIMEOUT)).build().into();
    let bucket = format!("{endpoint}/{BUCKET}");
    let taken = |answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>| {
        answer.is_ok_and(|answer| answer.status() == 200)
    };
    taken(agent.put(&bucket).send_empty()) && taken(agent.put(format!("{bucket}/ready")).send("ready"))
}
