//! The 14 questions over a generated store, through HTTP, against the real binary.
//!
//! `cargo bench --bench questions`; `CONVOLAKE_BENCH_ROWS` (default 1,000,000) sets the size, `CONVOLAKE_BENCH_STORE`
//! a folder that keeps the store between runs; `CONVOLAKE_PYTHON` a Python with DuckDB, which then answers the same
//! questions over the same files (`duckdb_peer.py`).

mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use convolake::cli::sample;
use support::{Client, Server, create_key, import_sample, machine, median};

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
        let middle = rows / 2;
        for (name, path) in [
            ("12 by id (GET /conversations/{id})", format!("/conversations/{}", sample::id(middle))),
            (
                "13 by externalId (GET /conversations/external/…)",
                format!("/conversations/external/{}", sample::external_id(middle)),
            ),
        ] {
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

fn questions() -> Vec<(&'static str, String)> {
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
                sample::PROJECTS[1]
            ),
        ),
    ]
}
