//! Two builds side by side: imports, durable posts and the 14 questions in turn, so that the machine's moods meet both.
//!
//! `CONVOLAKE_OTHER=BINARY cargo bench --bench compare` prints this build's times divided by those of the other binary.
//! Each works on a store of its own making. `CONVOLAKE_BENCH_ROWS` (default 200,000) sets the size,
//! `CONVOLAKE_BENCH_ROUNDS` (default 15) how often each question is asked.
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
use support::{BINARY, Client, Server, create_key_of, import_sample_of, lookups, machine, median, questions};

const IMPORTS: usize = 3;
const POST_ROUNDS: usize = 5;
const POST_SECONDS: Duration = Duration::from_secs(2);
const CONNECTIONS: usize = 16;
const BYTES: usize = 4_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let Ok(other) = std::env::var("CONVOLAKE_OTHER") else {
        println!("CONVOLAKE_OTHER names the binary to compare with");
        return;
    };
    let (rows, rounds) = (number("CONVOLAKE_BENCH_ROWS", 200_000), number("CONVOLAKE_BENCH_ROUNDS", 15));
    println!("machine: {}; {rows} documents of about 4 KB; times of this build ÷ those of {other}", machine());
    let binaries = [BINARY, other.as_str()];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = |side: usize, round: usize| folder.path().join(format!("store-{side}-{round}"));
    let mut ratios = Vec::new();

    let mut imports = [Vec::new(), Vec::new()];
    let mut peaks = [0.0_f64; 2];
    for round in 0..IMPORTS {
        for side in [round % 2, 1 - round % 2] {
            let import = import_sample_of(binaries[side], &store(side, round), 42, rows, BYTES);
            imports[side].push(import.seconds * 1e3);
            peaks[side] = peaks[side].max(import.peak_mib);
            if round > 0 {
                std::fs::remove_dir_all(store(side, round)).expect("a store goes");
            }
        }
    }
    report("import", &mut imports, &mut ratios);
    println!("{:<52} {:>10.0} {:>10.0} {:>10.2}", "import, peak memory (MiB)", peaks[0], peaks[1], peaks[0] / peaks[1]);

    let organization = ["--kind", "org", "--organization", "default"];
    let keys: Vec<String> = (0..2).map(|side| create_key_of(binaries[side], &store(side, 0), &organization)).collect();
    let servers: Vec<Server> = (0..2).map(|side| Server::start_of(binaries[side], &store(side, 0), &[])).collect();
    std::thread::sleep(Duration::from_secs(number("CONVOLAKE_BENCH_SETTLE", 20)));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");

    let asked = questions().into_iter().map(|(name, body)| (name, "POST", "/query/conversations".to_owned(), body));
    let asked = asked.chain(lookups(rows).into_iter().map(|(name, path)| (name, "GET", path, String::new())));
    for (name, method, path, body) in asked {
        let mut times = [Vec::new(), Vec::new()];
        runtime.block_on(async {
            for round in 0..=rounds {
                let mut answers = Vec::new();
                for side in [round as usize % 2, 1 - round as usize % 2] {
                    let mut client = Client::connect(&servers[side].address).await;
                    let started = Instant::now();
                    let (status, answer) = client.send(method, &path, &keys[side], body.as_bytes()).await;
                    let elapsed = started.elapsed().as_secs_f64() * 1e3;
                    assert_eq!(status, 200, "{name}: {}", String::from_utf8_lossy(&answer));
                    if round > 0 {
                        times[side].push(elapsed);
                    }
                    answers.push(answer);
                }
                if method == "POST" && !name.starts_with("14") {
                    assert!(answers[0] == answers[1], "{name}: the answers differ");
                }
            }
        });
        report(name, &mut times, &mut ratios);
    }

    let next = Arc::new(AtomicU64::new(rows));
    for (name, relog) in [("posts, new conversations (ms each)", false), ("posts, 80 % re-logs (ms each)", true)] {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..POST_ROUNDS {
            for side in [round % 2, 1 - round % 2] {
                let posted = runtime.block_on(post(&servers[side].address, &keys[side], relog, rows, &next));
                times[side].push(POST_SECONDS.as_secs_f64() * 1e3 / posted.max(1) as f64);
            }
        }
        report(name, &mut times, &mut ratios);
    }
    let geometric = (ratios.iter().map(|ratio: &f64| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    println!("geometric mean {geometric:.3}, worst {:.2}", ratios.iter().copied().fold(0.0, f64::max));
    servers.into_iter().for_each(Server::stop);
}

fn report(name: &str, times: &mut [Vec<f64>; 2], ratios: &mut Vec<f64>) {
    let [ours, theirs] = times.each_mut().map(|times| median(times));
    println!("{name:<52} {ours:>10.2} {theirs:>10.2} {:>10.2}", ours / theirs);
    ratios.push(ours / theirs);
}

/// How many posts are acknowledged in [`POST_SECONDS`].
async fn post(address: &str, key: &str, relog: bool, stored: u64, next: &Arc<AtomicU64>) -> u64 {
    let until = Instant::now() + POST_SECONDS;
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (address, key, next) = (address.to_owned(), key.to_owned(), next.clone());
            tokio::spawn(async move {
                let mut client = Client::connect(&address).await;
                let mut posted = 0;
                while Instant::now() < until {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let target = if relog && number % 5 != 0 { number.wrapping_mul(7_919) % stored } else { number };
                    let body = sample::document(43, target, stored, BYTES);
                    let (status, answer) = client.send("POST", "/conversations", &key, body.as_bytes()).await;
                    match status {
                        200 => posted += 1,
                        429 | 503 => tokio::time::sleep(Duration::from_millis(50)).await,
                        _ => panic!("{status}: {}", String::from_utf8_lossy(&answer)),
                    }
                }
                posted
            })
        })
        .collect();
    let mut posted = 0;
    for task in tasks {
        posted += task.await.expect("a connection's task");
    }
    posted
}
