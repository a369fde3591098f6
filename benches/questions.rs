//! The 14 questions over a generated store, through HTTP, against the real binary.
//!
//! `cargo bench --bench questions`; `CONVOLAKE_BENCH_ROWS` (default 1,000,000) sets the size, `CONVOLAKE_BENCH_STORE`
//! a folder that keeps the store between runs; `CONVOLAKE_PYTHON` a Python with DuckDB, which then answers the same
//! questions over the same files (`duckdb_peer.py`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a failure is to end the bench"
)]

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use support::{Client, Server, create_key, import_sample, lookups, machine, median, questions};

const RUNS: usize = 15;

fn main() {
    let rows: u64 = std::env::var("CONVOLAKE_BENCH_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let kept = std::env::var_os("CONVOLAKE_BENCH_STORE").map(PathBuf::from);
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let store = kept.unwrap_or_else(|| temporary.path().join("store"));
    println!("machine: {}", machine());
    if !store.join("conversations").exists() {
        let import = import_sample(&store, 42, rows, 4_000);
        println!(
            "import: {rows} documents of about 4 KB in {:.1} s = {:.0} documents/s, peak memory {:.0} MiB",
            import.seconds,
            rows as f64 / import.seconds,
            import.peak_mib
        );
    }
    let key = create_key(&store, &["--kind", "org", "--organization", "default"]);
    let server = Server::start(&store, &[]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    println!("ready after {:.2} s; idle memory {:.0} MiB", server.ready_after.as_secs_f64(), server.resident_mib());

    let peer = duckdb(&store);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut client = Client::connect(&server.address).await;
        println!(
            "{:<52} {:>10} {:>10} {:>10} {:>10}  answer",
            "question (milliseconds at the client)", "first", "median", "worst", "DuckDB"
        );
        for (name, body) in questions() {
            let mut times = Vec::new();
            let mut answer = Vec::new();
            let mut first = 0.0;
            for run in 0..=RUNS {
                let started = Instant::now();
                let (status, bytes) = client.send("POST", "/query/conversations", &key, body.as_bytes()).await;
                let elapsed = started.elapsed().as_secs_f64() * 1e3;
                assert_eq!(status, 200, "{name}: {}", String::from_utf8_lossy(&bytes));
                if run == 0 {
                    first = elapsed
                } else {
                    times.push(elapsed)
                }
                answer = bytes;
            }
            report(name, first, &mut times, &peer, &answer);
        }
        for (name, path) in lookups(rows) {
            let mut times = Vec::new();
            let (mut first, mut answer) = (0.0, Vec::new());
            for run in 0..=RUNS {
                let started = Instant::now();
                let (status, bytes) = client.send("GET", &path, &key, b"").await;
                assert_eq!(status, 200);
                let elapsed = started.elapsed().as_secs_f64() * 1e3;
                if run == 0 {
                    first = elapsed
                } else {
                    times.push(elapsed)
                }
                answer = bytes;
            }
            report(name, first, &mut times, &peer, &answer);
        }
    });
    println!("memory after the questions: {:.0} MiB", server.resident_mib());
    server.stop();
}

/// Median milliseconds by a question's number; empty without DuckDB.
fn duckdb(store: &Path) -> HashMap<String, String> {
    let Some(python) = std::env::var_os("CONVOLAKE_PYTHON") else { return HashMap::new() };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/duckdb_peer.py");
    let output = Command::new(python).arg(script).arg(store).arg(RUNS.to_string()).output().expect("Python starts");
    if !output.status.success() {
        println!("no DuckDB: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let pair = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        Some((words.next()?, words.next()?))
    };
    text.lines().filter_map(pair).collect()
}

fn report(name: &str, first: f64, times: &mut [f64], peer: &HashMap<String, String>, answer: &[u8]) {
    let middle = median(times);
    let worst = times.last().copied().unwrap_or(f64::NAN);
    let text = String::from_utf8_lossy(answer);
    let shown: String = text.chars().skip(24).take(70).collect();
    let number = name.split(' ').next().unwrap_or_default();
    let peer = peer.get(number).map_or("", String::as_str);
    println!("{name:<52} {first:>10.2} {middle:>10.2} {worst:>10.2} {peer:>10}  {shown}");
}
