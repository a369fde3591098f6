//! Pages of `GET /webapi/v2/conversations`, with and without `searchTerm`, through HTTP, against the real binary.
//!
//! `cargo bench --bench search`: over the real conversations in `../shared/data`, where they are, and over a generated
//! store; `CONVOLAKE_BENCH_ROWS` (default 1,000,000) sets its size, `CONVOLAKE_BENCH_STORE` a folder that keeps it
//! between runs (the same as that of `questions`); `CONVOLAKE_PYTHON` a Python with DuckDB, which then searches the
//! same files by `contains(lower(…))`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a failure is to end the bench"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use support::{Client, Server, create_key, import_sample, machine, median, wait_for_indexes};

const RUNS: usize = 15;
/// From what most conversations have to what nobody has.
const REAL_TERMS: [&str; 10] = [
    "the",
    "docker",
    "Traceback (most recent",
    "fedora commons",
    "é",
    "日本",
    "qq",
    "the banana",
    "cannot reproduce this on my machine",
    "nobody has this",
];
const GENERATED_TERMS: [&str; 6] =
    ["billing", "older VERSIONS of", "conv-1", "user-47", "the guide nobody signed", "zqxjk"];

fn main() {
    println!("machine: {}", machine());
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    if let Ok(entries) = std::fs::read_dir(&real) {
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "zst"));
        let store = temporary.path().join("real");
        let output = Command::new(support::BINARY)
            .args(["import", "--organization", "default", "--store"])
            .arg(&store)
            .args(&files)
            .output()
            .expect("import runs");
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("real conversations: {}", report.lines().last().unwrap_or_default());
        search(&store, &REAL_TERMS);
    } else {
        println!("real conversations: skipped, {} is absent", real.display());
    }
    let rows: u64 = std::env::var("CONVOLAKE_BENCH_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let kept = std::env::var_os("CONVOLAKE_BENCH_STORE").map(PathBuf::from);
    let store = kept.unwrap_or_else(|| temporary.path().join("store"));
    if !store.join("conversations").exists() {
        import_sample(&store, 42, rows, 4_000);
    }
    println!("generated conversations: {rows} of about 4 KB");
    search(&store, &GENERATED_TERMS);
}

fn search(store: &Path, terms: &[&str]) {
    let key = create_key(store, &["--kind", "org", "--organization", "default"]);
    let server = Server::start(store, &[]);
    let seconds = wait_for_indexes(store);
    let folder = |name: &str| bytes_in(&store.join(name)) as f64 / f64::from(1 << 20);
    println!(
        "indexed after {seconds:.1} s; text_index {:.0} MiB beside {:.0} MiB of messages and conversations; memory {:.0} MiB",
        folder("text_index"),
        folder("messages/data") + folder("conversations/data"),
        server.resident_mib()
    );
    let peer = duckdb(store, terms);
    println!(
        "{:<44} {:>6} {:>9} {:>9} {:>9} {:>9}",
        "page of 50, milliseconds", "rows", "first", "median", "worst", "DuckDB"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut client = Client::connect(&server.address).await;
        let page = [None].into_iter().chain(terms.iter().map(Some));
        for (number, term) in page.enumerate() {
            let term = term.copied();
            let encoded = term.map(|term| utf8_percent_encode(term, NON_ALPHANUMERIC).to_string());
            let path = format!(
                "/webapi/v2/conversations{}",
                encoded.map(|term| format!("?searchTerm={term}")).unwrap_or_default()
            );
            let (mut times, mut rows) = (Vec::new(), 0);
            for _ in 0..=RUNS {
                let started = Instant::now();
                let (status, bytes) = client.send("GET", &path, &key, b"").await;
                times.push(started.elapsed().as_secs_f64() * 1e3);
                assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&bytes));
                let answer: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
                rows = answer["conversations"].as_array().map_or(0, Vec::len);
            }
            let first = times.remove(0);
            let middle = median(&mut times);
            let worst = times.last().copied().unwrap_or(f64::NAN);
            let name = term.map_or("the newest".to_owned(), |term| format!("{term:?}"));
            let peer = peer.get(number).map_or("", String::as_str);
            println!("{name:<44} {rows:>6} {first:>9.1} {middle:>9.1} {worst:>9.1} {peer:>9}");
        }
    });
    server.stop();
}

fn bytes_in(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|file| file.len()).sum()
}

/// Median milliseconds of the newest page and of each term; empty without DuckDB.
fn duckdb(store: &Path, terms: &[&str]) -> Vec<String> {
    let Some(python) = std::env::var_os("CONVOLAKE_PYTHON") else { return Vec::new() };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/duckdb_search.py");
    let output = Command::new(python).arg(script).arg(store).args(terms).output().expect("Python starts");
    if !output.status.success() {
        println!("no DuckDB: {}", String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
