//! A start with a log: groups that nothing has flushed, over a store of many files and alone.
//!
//! `cargo bench --bench replay`; `CONVOLAKE_BENCH_FILES` (default 400) and `CONVOLAKE_BENCH_GROUPS` (default 1655). Half of
//! the groups replace a conversation of a file, where there are files. Medians of five starts, in turn.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a failure is to end the bench"
)]

mod support;

use std::path::Path;

use convolake::cli::sample;
use support::{Client, Server, create_key, machine, median};

const ROWS_OF_A_FILE: u64 = 50;
const BYTES: usize = 2_000;
const STARTS: usize = 5;

fn main() {
    let files = usize::try_from(number("CONVOLAKE_BENCH_FILES", 400)).expect("a count");
    let groups = number("CONVOLAKE_BENCH_GROUPS", 1_655);
    let folder = tempfile::tempdir().expect("a temporary folder");
    println!("machine: {}", machine());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stores = [folder.path().join("alone"), folder.path().join("files")];
    let mut opening = Vec::new();
    for (store, files) in stores.iter().zip([0, files]) {
        let key = create_key(store, &["--kind", "org", "--organization", "default"]);
        if files > 0 {
            let rows = ROWS_OF_A_FILE.to_string();
            let server = Server::start(store, &["--flush-rows", &rows, "--flush-seconds", "3600"]);
            runtime.block_on(fill(&server, &key, store, files));
            server.stop();
            opening.extend((0..STARTS).map(|_| ready_after(store)));
        }
        let server = Server::start(store, &["--flush-seconds", "3600"]);
        runtime.block_on(log(&server, &key, groups));
        // Dropped, so killed: the log keeps what was not flushed.
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..STARTS {
        for (store, times) in stores.iter().zip(&mut times) {
            times.push(ready_after(store));
        }
    }
    let [alone, over_files] = times.each_mut().map(|times| median(times));
    println!("ready after {groups} groups alone: {alone:.0} ms");
    let opening = median(&mut opening);
    println!("after {} files without groups: {opening:.0} ms", count_files(&stores[1]));
    let replay = (over_files - opening) / alone;
    println!("after both: {over_files:.0} ms; the groups take {replay:.2} times what they take alone");
}

/// Milliseconds from the start of the process.
fn ready_after(store: &Path) -> f64 {
    Server::start(store, &["--flush-seconds", "3600"]).ready_after.as_secs_f64() * 1e3
}

/// Until there are so many files.
async fn fill(server: &Server, key: &str, store: &Path, files: usize) {
    let mut client = Client::connect(&server.address).await;
    let mut number = 0;
    while count_files(store) < files {
        for _ in 0..ROWS_OF_A_FILE {
            post(&mut client, key, 43, number).await;
            number += 1;
        }
    }
}

/// One group each.
async fn log(server: &Server, key: &str, groups: u64) {
    let mut client = Client::connect(&server.address).await;
    for number in 0..groups {
        let target = if number % 2 == 0 { number * 7 } else { 10_000_000 + number };
        post(&mut client, key, 44, target).await;
    }
}

async fn post(client: &mut Client, key: &str, seed: u64, number: u64) {
    let body = sample::document(seed, number, 100_000, BYTES);
    let (status, answer) = client.send("POST", "/conversations", key, body.as_bytes()).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
}

fn count_files(store: &Path) -> usize {
    std::fs::read_dir(store.join("conversations/data")).map_or(0, |entries| entries.count())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
