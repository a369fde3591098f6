//! Durable single posts at 1, 16 and 256 connections: new conversations, and re-logs of which 80 % are in files.
//!
//! `cargo bench --bench ingest`; `CONVOLAKE_BENCH_SECONDS` (default 5) is the time of each row.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a failure is to end the bench"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use convolake::cli::sample;
use support::{Client, Server, create_key, import_sample, machine};

const STORED: u64 = 100_000;
const BYTES: usize = 4_000;

fn main() {
    let seconds: u64 = std::env::var("CONVOLAKE_BENCH_SECONDS").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
    let folder = tempfile::tempdir().expect("a temporary folder");
    println!("machine: {}", machine());
    println!("fsync of a 64 KiB file and its folder: median {:.2} ms", fsync_millis(folder.path()));
    let store = folder.path().join("store");
    let import = import_sample(&store, 42, STORED, BYTES);
    println!("import: {:.0} documents/s, peak memory {:.0} MiB", STORED as f64 / import.seconds, import.peak_mib);
    let key = create_key(&store, &["--kind", "org", "--organization", "default"]);
    let server = Server::start(&store, &[]);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let next = Arc::new(AtomicU64::new(STORED));
    println!(
        "{:<12} {:>12} {:>14} {:>10} {:>10} {:>10}",
        "posts", "connections", "documents/s", "p50 ms", "p99 ms", "refused"
    );
    for relog in [false, true] {
        for connections in [1_usize, 16, 256] {
            let (mut latencies, refused, elapsed) =
                runtime.block_on(run(&server.address, &key, connections, seconds, relog, &next));
            latencies.sort_by(f64::total_cmp);
            let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN);
            println!(
                "{:<12} {:>12} {:>14.0} {:>10.2} {:>10.2} {:>10}",
                if relog { "re-log 80 %" } else { "new" },
                connections,
                latencies.len() as f64 / elapsed,
                at(0.5),
                at(0.99),
                refused
            );
        }
    }
    println!("server memory: {:.0} MiB", server.resident_mib());
    server.stop();
}

async fn run(
    address: &str,
    key: &str,
    connections: usize,
    seconds: u64,
    relog: bool,
    next: &Arc<AtomicU64>,
) -> (Vec<f64>, u64, f64) {
    let until = Instant::now() + Duration::from_secs(seconds);
    let started = Instant::now();
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let (address, key, next) = (address.to_owned(), key.to_owned(), next.clone());
            tokio::spawn(async move {
                let mut client = Client::connect(&address).await;
                let mut latencies = Vec::new();
                let mut refused = 0;
                while Instant::now() < until {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let target = if relog && number % 5 != 0 { number.wrapping_mul(7_919) % STORED } else { number };
                    let body = sample::document(43, target, STORED, BYTES);
                    let sent = Instant::now();
                    let (status, answer) = client.send("POST", "/conversations", &key, body.as_bytes()).await;
                    match status {
                        200 => latencies.push(sent.elapsed().as_secs_f64() * 1e3),
                        429 | 503 => {
                            refused += 1;
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        _ => panic!("{status}: {}", String::from_utf8_lossy(&answer)),
                    }
                }
                (latencies, refused)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    let mut refused = 0;
    for task in tasks {
        let (part, count) = task.await.expect("a connection's task");
        latencies.extend(part);
        refused += count;
    }
    (latencies, refused, started.elapsed().as_secs_f64())
}

/// What the disk asks for one durable file: the bound of a group commit.
fn fsync_millis(folder: &std::path::Path) -> f64 {
    let mut times = Vec::new();
    for number in 0..100 {
        let started = Instant::now();
        let file = std::fs::File::create(folder.join(format!("fsync-{number}"))).expect("a file");
        std::io::Write::write_all(&mut &file, &[7; 64 << 10]).expect("written");
        file.sync_all().expect("synced");
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).expect("synced");
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    support::median(&mut times)
}
