//! What the benches share: the real binary on a store of its own, a light HTTP/1.1 client, medians.

#![allow(dead_code, reason = "each bench uses its part")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const BINARY: &str = env!("CARGO_BIN_EXE_convolake");

pub struct Server {
    child: Child,
    pub address: String,
    /// From the start of the process to the line that says it listens.
    pub ready_after: Duration,
}

impl Server {
    pub fn start(store: &Path, arguments: &[&str]) -> Server {
        Server::start_of(BINARY, store, arguments)
    }

    pub fn start_of(binary: &str, store: &Path, arguments: &[&str]) -> Server {
        let started = Instant::now();
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--store"])
            .arg(store)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on http://").expect("the address").to_owned();
        Server { child, address, ready_after: started.elapsed() }
    }

    /// Resident memory now, in MiB.
    pub fn resident_mib(&self) -> f64 {
        status_mib(self.child.id(), "VmRSS:")
    }

    pub fn stop(mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A memory figure of a running process from `/proc`, in MiB; NaN where there is none.
pub fn status_mib(process: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<f64>().ok()).map_or(f64::NAN, |kib| kib / 1024.0)
}

pub fn create_key(store: &Path, arguments: &[&str]) -> String {
    create_key_of(BINARY, store, arguments)
}

pub fn create_key_of(binary: &str, store: &Path, arguments: &[&str]) -> String {
    let output = Command::new(binary)
        .args(["keys", "create", "--store"])
        .arg(store)
        .args(arguments)
        .output()
        .expect("keys create runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

pub struct Import {
    pub seconds: f64,
    pub peak_mib: f64,
    pub output: String,
}

/// Pipes `count` sample documents into `convolake import -`.
pub fn import_sample(store: &Path, seed: u64, count: u64, bytes: usize) -> Import {
    import_sample_of(BINARY, store, seed, count, bytes)
}

pub fn import_sample_of(binary: &str, store: &Path, seed: u64, count: u64, bytes: usize) -> Import {
    let lines = (0..count).map(|number| convolake::cli::sample::document(seed, number, count, bytes));
    import_lines_of(binary, store, lines)
}

/// Pipes documents into `convolake import -`.
pub fn import_lines(store: &Path, lines: impl Iterator<Item = String>) -> Import {
    import_lines_of(BINARY, store, lines)
}

fn import_lines_of(binary: &str, store: &Path, lines: impl Iterator<Item = String>) -> Import {
    let started = Instant::now();
    let mut child = Command::new(binary)
        .args(["import", "--store"])
        .arg(store)
        .args(["--organization", "default", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("import starts");
    let mut input = std::io::BufWriter::with_capacity(1 << 20, child.stdin.take().expect("stdin"));
    for line in lines {
        writeln!(input, "{line}").expect("import reads");
    }
    input.into_inner().expect("flushed");
    let mut peak_mib = f64::NAN;
    while child.try_wait().expect("import runs").is_none() {
        let now = status_mib(child.id(), "VmHWM:");
        if !now.is_nan() {
            peak_mib = now;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("import ends");
    assert!(output.status.success());
    Import {
        seconds: started.elapsed().as_secs_f64(),
        peak_mib,
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}

/// Until every data file has its text index; seconds.
pub fn wait_for_indexes(store: &Path) -> f64 {
    let started = Instant::now();
    let count = |folder: &str| std::fs::read_dir(store.join(folder)).map_or(0, Iterator::count);
    while count("text_index") < count("conversations/data") {
        assert!(started.elapsed() < Duration::from_secs(1_800), "the texts are not indexed");
        std::thread::sleep(Duration::from_millis(50));
    }
    // The last one is taken into use right after it is written.
    std::thread::sleep(Duration::from_millis(500));
    started.elapsed().as_secs_f64()
}

/// One keep-alive connection.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).await.expect("the server accepts");
        stream.set_nodelay(true).expect("nodelay");
        Client { stream, buffer: Vec::with_capacity(64 << 10) }
    }

    /// Sends one request and returns (status, body).
    pub async fn send(&mut self, method: &str, path: &str, key: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await.expect("sent");
        self.buffer.clear();
        let (head_end, status, length) = loop {
            self.fill().await;
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
                let status = head[9..12].parse().expect("a status");
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .map(|length| length.trim().parse::<usize>().expect("a length"));
                break (end + 4, status, length);
            }
        };
        match length {
            Some(length) => {
                while self.buffer.len() < head_end + length {
                    self.fill().await;
                }
                (status, self.buffer[head_end..head_end + length].to_vec())
            }
            None => {
                while !self.buffer.ends_with(b"\r\n0\r\n\r\n") {
                    self.fill().await;
                }
                (status, unchunk(&self.buffer[head_end..]))
            }
        }
    }

    async fn fill(&mut self) {
        let read = self.stream.read_buf(&mut self.buffer).await.expect("an answer");
        assert!(read > 0, "the server closed the connection");
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn unchunk(mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = find(text, b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&text[..end]), 16).expect("a chunk size");
        if size == 0 {
            break;
        }
        out.extend_from_slice(&text[end + 2..end + 2 + size]);
        text = &text[end + 4 + size..];
    }
    out
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Cores, memory and kernel, for the head of a report.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_start_matches([' ', '\t', ':']);
    format!("{cores} cores ({model}), {:.0} GiB", total.unwrap_or(0.0) / 1_048_576.0)
}

/// The questions on `POST /query/conversations` of the 14; 12 and 13 are look-ups by [`lookups`].
pub fn questions() -> Vec<(&'static str, String)> {
    let count = r#"{"type":"aggregation","aggregation":"count"}"#;
    let users = r#"{"type":"aggregation","aggregation":"countDistinct","field":"userProperties","path":["userId"]}"#;
    let from = "2026-05-20T00:00:00Z";
    vec![
        ("1 total count", format!(r#"{{"select":[{count}]}}"#)),
        ("2 count by day", format!(r#"{{"select":[{{"type":"time","timeUnit":"day"}},{count}]}}"#)),
        ("3 count by type", format!(r#"{{"select":[{count}],"groupBy":[{{"field":"type"}}]}}"#)),
        (
            "4 count by integration, support tickets",
            format!(
                r#"{{"select":[{count}],"groupBy":[{{"field":"integrationId"}}],
                "where":{{"condition":{{"field":"type","operator":"eq","value":"support_ticket"}}}}}}"#
            ),
        ),
        ("5 distinct users by month", format!(r#"{{"select":[{{"type":"time","timeUnit":"month"}},{users}]}}"#)),
        ("6 distinct users", format!(r#"{{"select":[{users}]}}"#)),
        (
            "7 user messages by week and type, 30 days",
            format!(
                r#"{{"select":[{{"type":"time","timeUnit":"week"}},
                {{"type":"aggregation","aggregation":"sum","field":"userMessageCount"}},
                {{"type":"aggregation","aggregation":"avg","field":"userMessageCount"}},
                {{"type":"aggregation","aggregation":"min","field":"userMessageCount"}},
                {{"type":"aggregation","aggregation":"max","field":"userMessageCount"}}],
                "groupBy":[{{"field":"type"}}],
                "where":{{"condition":{{"field":"firstMessageTime","operator":"gte","value":"{from}"}}}}}}"#
            ),
        ),
        (
            "8 top 20 urls",
            format!(
                r#"{{"select":[{count}],"groupBy":[{{"field":"properties","path":["url"]}}],
                "orderBy":[{{"field":"count","direction":"desc"}}],"limit":20}}"#
            ),
        ),
        (
            "9 by region where plan = pro and score > 0.8",
            format!(
                r#"{{"select":[{count}],"groupBy":[{{"field":"properties","path":["region"]}}],"where":{{"and":[
                {{"condition":{{"field":"properties","operator":"eq","value":{{"path":["plan"],"value":"pro"}}}}}},
                {{"condition":{{"field":"properties","operator":"gt","value":{{"path":["score"],"value":0.8}}}}}}]}}}}"#
            ),
        ),
        (
            "10 per agent: count, distinct users",
            format!(
                r#"{{"select":[{count},{users}],"groupBy":[{{"field":"userProperties","path":["supportAgentName"]}}],
                "where":{{"condition":{{"field":"userProperties","operator":"isNotNull",
                "value":{{"path":["supportAgentName"]}}}}}}}}"#
            ),
        ),
        (
            "11 has key experiment",
            format!(
                r#"{{"select":[{count}],
                "where":{{"condition":{{"field":"properties","operator":"jsonHasKey","value":"experiment"}}}}}}"#
            ),
        ),
        (
            "14 latest 50 of a project",
            format!(
                r#"{{"where":{{"condition":{{"field":"projectId","operator":"eq","value":"{}"}}}},
                "orderBy":[{{"field":"firstMessageTime","direction":"desc"}}],"limit":50}}"#,
                convolake::cli::sample::PROJECTS[1]
            ),
        ),
    ]
}

/// Questions 12 and 13: one conversation by its id and by its externalId.
pub fn lookups(rows: u64) -> [(&'static str, String); 2] {
    let middle = rows / 2;
    [
        ("12 by id (GET /conversations/{id})", format!("/conversations/{}", convolake::cli::sample::id(middle))),
        (
            "13 by externalId (GET /conversations/external/…)",
            format!("/conversations/external/{}", convolake::cli::sample::external_id(middle)),
        ),
    ]
}
