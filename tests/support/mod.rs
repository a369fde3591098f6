//! Drives the real binary over HTTP, as a client would.
//!
//! [`Server`] is one process on one store folder; dropping it kills it. Its standard error is kept, so that a failing
//! test can show what the server said ([`Server::stderr`]). [`create_key`] goes through the command line like an
//! operator does.
#![allow(dead_code)] // each test binary uses a part of this

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

mod services;

/// How long a start may take: a debug build that replays its log on a loaded machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a SIGTERM may take: it flushes the tail.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

pub const BINARY: &str = env!("CARGO_BIN_EXE_convolake");

/// One running server.
pub struct Server {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    store: PathBuf,
    stderr: Arc<Mutex<Vec<u8>>>,
    client: ureq::Agent,
    /// Set when the server owns its store folder.
    own_store: Option<TempDir>,
}

/// Whether the stores lie on SeaweedFS: `CONVOLAKE_TEST_STORE` is `s3`. Tests that look into a store's folder do not then.
pub fn is_remote() -> bool {
    remote().is_some()
}

fn remote() -> Option<&'static services::Service> {
    let asked = std::env::var("CONVOLAKE_TEST_STORE").is_ok_and(|store| store == "s3");
    asked.then(|| services::seaweedfs().expect("CONVOLAKE_WEED names SeaweedFS's program"))
}

/// Where the store of a folder lies: there, or under a prefix of its own.
pub fn location(store: &Path) -> String {
    let store = store.display();
    if is_remote() { format!("s3://{}/tests{store}", services::BUCKET) } else { store.to_string() }
}

/// What the binary has to know to get there.
fn settings() -> Vec<(&'static str, String)> {
    let Some(service) = remote() else { return Vec::new() };
    vec![
        ("AWS_ENDPOINT", service.endpoint.clone()),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_ACCESS_KEY_ID", services::ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", services::SECRET_KEY.to_owned()),
    ]
}

/// An HTTP answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics with the body's beginning when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("status {}, no JSON ({error}): {}", self.status, cut(&self.text(), 600)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Server {
    /// A server on a new, empty store of its own.
    pub fn start() -> Server {
        let folder = TempDir::new().expect("a temporary folder");
        let mut server = Server::start_on(folder.path(), &[]);
        server.own_store = Some(folder);
        server
    }

    /// A server on `store`, with further arguments of `convolake serve`.
    pub fn start_on(store: &Path, arguments: &[&str]) -> Server {
        Server::try_start(store, arguments, &[]).unwrap_or_else(|message| panic!("{message}"))
    }

    /// A server that aborts at a place of a flush. None if it has aborted before it was ready: what its log still
    /// holds may start a flush at once.
    pub fn start_to_abort(store: &Path, arguments: &[&str], point: &str) -> Option<Server> {
        match Server::try_start(store, arguments, &[("CONVOLAKE_FAIL_AT", point)]) {
            Ok(server) => Some(server),
            Err(message) if message.contains(&format!("aborting at {point}")) => None,
            Err(message) => panic!("{message}"),
        }
    }

    /// A server, or what it said when it ended before it was ready.
    pub fn attempt(store: &Path, arguments: &[&str]) -> Result<Server, String> {
        Server::try_start(store, arguments, &[])
    }

    /// A server that may open so many files.
    pub fn start_limited(store: &Path, open_files: u32) -> Server {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {open_files} && exec \"$0\" \"$@\""), BINARY]);
        Server::try_command(shell, store, &[], &[]).unwrap_or_else(|message| panic!("{message}"))
    }

    fn try_start(store: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Server, String> {
        Server::try_command(Command::new(BINARY), store, arguments, environment)
    }

    fn try_command(
        mut command: Command,
        store: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Server, String> {
        let mut child = command
            .arg("serve")
            .arg("--store")
            .arg(location(store))
            .envs(settings())
            .env("CONVOLAKE_CACHE_FOLDER", store.join("cache"))
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the convolake binary starts");
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let draining = drain(child.stderr.take().expect("piped"), Arc::clone(&stderr));
        let (sender, receiver) = mpsc::channel();
        let stdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on http://") {
                    let _ = sender.send(address.trim().trim_end_matches('/').to_string());
                }
            }
        });
        let address = match receiver.recv_timeout(START_TIMEOUT) {
            Ok(address) => address,
            Err(reason) => {
                let _ = child.kill();
                let status = child.wait();
                let _ = draining.join();
                return Err(format!(
                    "no line `listening on http://ADDRESS` on stdout ({reason}), exit {status:?}, arguments {arguments:?}, stderr:\n{}",
                    String::from_utf8_lossy(&stderr.lock().expect("lock"))
                ));
            }
        };
        let client = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(180)))
            .http_status_as_error(false)
            .max_redirects(0)
            .allow_non_standard_methods(true)
            // The server closes what is idle for ten seconds.
            .max_idle_age(Duration::from_secs(5))
            .build()
            .new_agent();
        Ok(Server { child, address, store: store.to_path_buf(), stderr, client, own_store: None })
    }

    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    pub fn store(&self) -> &Path {
        &self.store
    }

    /// SIGKILL: what a power cut leaves, except for the page cache.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, then waits for the exit.
    pub fn terminate(&mut self) -> ExitStatus {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success(), "SIGTERM could not be sent: the server is gone already?\n{}", self.stderr());
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            if begin.elapsed() > STOP_TIMEOUT {
                self.kill();
                panic!("no exit within {STOP_TIMEOUT:?} after SIGTERM, stderr:\n{}", self.stderr());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What the server wrote to its standard error so far (the last 20,000 bytes).
    pub fn stderr(&self) -> String {
        let bytes = self.stderr.lock().expect("lock");
        let from = bytes.len().saturating_sub(20_000);
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }

    /// Sends one request; panics with the server's standard error when no answer comes.
    pub fn request(&self, method: &str, path: &str, key: Option<&str>, body: Option<&[u8]>) -> Answer {
        self.request_with(method, path, key, body, &[])
    }

    pub fn request_with(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&[u8]>,
        headers: &[(&str, &str)],
    ) -> Answer {
        match self.try_request(method, path, key, body, headers) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error}\nserver's stderr:\n{}", self.stderr()),
        }
    }

    /// As [`Server::request_with`], for tests that expect a connection to break.
    pub fn try_request(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&[u8]>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, ureq::Error> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", "application/json");
        }
        let mut answer = match body {
            Some(body) => self.client.run(request.body(body)?)?,
            // Of length zero; without any, they would be sent in chunks.
            None if ["POST", "PUT", "PATCH"].contains(&method) => self.client.run(request.body(&[0_u8; 0][..])?)?,
            None => self.client.run(request.body(())?)?,
        };
        let status = answer.status().as_u16();
        let headers = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let body = answer.body_mut().with_config().limit(u64::MAX).read_to_vec()?;
        Ok(Answer { status, headers, body })
    }

    /// A request with a JSON body that must be answered with `status`; gives the answer's JSON.
    pub fn expect_json(
        &self,
        status: u16,
        method: &str,
        path: &str,
        key: &str,
        body: Option<&serde_json::Value>,
    ) -> serde_json::Value {
        let bytes = body.map(|body| body.to_string().into_bytes());
        let answer = self.request(method, path, Some(key), bytes.as_deref());
        assert_eq!(answer.status, status, "{method} {path}: {}", cut(&answer.text(), 2_000));
        answer.json()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn drain(mut source: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut buffer = [0u8; 4096];
        while let Ok(read) = source.read(&mut buffer) {
            if read == 0 {
                break;
            }
            into.lock().expect("lock").extend_from_slice(&buffer[..read]);
        }
    })
}

/// Runs a command of the binary to its end; gives its standard output. Panics when it fails.
pub fn run(arguments: &[&str]) -> String {
    let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_string()).collect();
    if let Some(store) = arguments.iter().position(|argument| argument == "--store") {
        arguments[store + 1] = location(Path::new(&arguments[store + 1]));
    }
    let output = Command::new(BINARY).args(&arguments).envs(settings()).stdin(Stdio::null()).output();
    let output = output.expect("the convolake binary runs");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "convolake {arguments:?}: {}\nstdout: {stdout}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    stdout
}

/// Makes a key; `kind` is `api`, `web` or `org`. The secret is the last word that the command prints.
pub fn create_key(
    store: &Path,
    kind: &str,
    organization: &str,
    project: Option<&str>,
    integration: Option<&str>,
    scopes: &[&str],
) -> String {
    let store = store.to_str().expect("UTF-8");
    let mut arguments = vec!["keys", "create", "--store", store, "--kind", kind, "--organization", organization];
    for (flag, value) in [("--project", project), ("--integration", integration)] {
        if let Some(value) = value {
            arguments.extend([flag, value]);
        }
    }
    for scope in scopes {
        arguments.extend(["--scope", scope]);
    }
    let printed = run(&arguments);
    printed.split_whitespace().last().unwrap_or_else(|| panic!("`keys create` printed nothing")).to_string()
}

/// `text` with everything outside RFC 3986's unreserved characters percent-encoded, for ids in paths.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The beginning of a long text, for failure reports.
pub fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_string(),
        Some((end, _)) => format!("{} … ({} bytes in all)", &text[..end], text.len()),
    }
}
