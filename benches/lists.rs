//! Lists, searches that find nothing and the removal of a category in the conversation API, through HTTP, against the
//! real binary, for a key that sees a quarter of all conversations and one that sees few.
//!
//! `cargo bench --bench lists`: over a generated store; `CONVOLAKE_BENCH_ROWS` (default 1,000,000) sets its size,
//! `CONVOLAKE_BENCH_LISTS_STORE` a folder that keeps it between runs.
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
use std::time::Instant;

use convolake::cli::sample::{self, PROJECTS};
use serde_json::{Value, json};
use support::{Client, Server, create_key, import_lines, machine, median, wait_for_indexes};

const RUNS: usize = 15;
const ROOT: &str = "/webapi/v2/conversations";
const CATEGORIES: &str = "/webapi/v2/conversation_categories";
/// Of every so many conversations one is in the small project: 7,519 of a million.
const SMALL_EVERY: u64 = 133;
const SMALL: &str = "small";
/// What a category is taken off.
const CATEGORIZED: u64 = 10_000;

fn main() {
    println!("machine: {}", machine());
    let rows: u64 = std::env::var("CONVOLAKE_BENCH_ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let kept = std::env::var_os("CONVOLAKE_BENCH_LISTS_STORE").map(PathBuf::from);
    let store = kept.unwrap_or_else(|| temporary.path().join("store"));
    let is_new = !store.join("conversations").exists();
    if is_new {
        import_lines(&store, (0..rows).map(|number| line(number, rows)));
    }
    println!("generated conversations: {rows} of about 4 KB");
    let key = |project: &str| {
        create_key(&store, &["--kind", "api", "--organization", "default", "--project", project, "--integration", "i"])
    };
    let keys = [("many", key(PROJECTS[0])), ("few", key(SMALL))];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let server = Server::start(&store, &[]);
        if is_new {
            println!("\nwhile indexes are made");
            let mut client = Client::connect(&server.address).await;
            for (name, key) in &keys {
                time(&mut client, name, key, "searchTerm=nobody%20has%20this").await;
            }
        }
        println!("\nindexed after {:.1} s", wait_for_indexes(&store));
        let mut client = Client::connect(&server.address).await;
        for (name, key) in &keys {
            pages(&mut client, name, key).await;
        }
        server.stop();
        categories(&store, &keys[0].1, rows).await;
    });
}

fn is_small(number: u64) -> bool {
    number % SMALL_EVERY == 0
}

fn line(number: u64, rows: u64) -> String {
    let line = sample::document(42, number, rows, 4_000);
    if !is_small(number) {
        return line;
    }
    let project = PROJECTS[(number % PROJECTS.len() as u64) as usize];
    line.replacen(&format!(r#""projectId":"{project}""#), &format!(r#""projectId":"{SMALL}""#), 1)
}

/// Prints the times of one page; gives its cursor.
async fn time(client: &mut Client, name: &str, key: &str, query: &str) -> Option<String> {
    let (mut times, mut rows, mut cursor) = (Vec::new(), 0, None);
    for _ in 0..=RUNS {
        let started = Instant::now();
        let answer = get(client, key, &format!("{ROOT}?{query}")).await;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        rows = answer["conversations"].as_array().map_or(0, Vec::len);
        cursor = answer["cursor"].as_str().map(str::to_owned);
    }
    let first = times.remove(0);
    let middle = median(&mut times);
    let worst = times.last().copied().unwrap_or(f64::NAN);
    let shown: String = query.chars().take(60).collect();
    println!("{name:<6} {shown:<62} {rows:>4} {first:>9.1} {middle:>9.1} {worst:>9.1}");
    cursor
}

async fn get(client: &mut Client, key: &str, path: &str) -> Value {
    let (status, bytes) = client.send("GET", path, key, b"").await;
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&bytes));
    serde_json::from_slice(&bytes).expect("JSON")
}

async fn pages(client: &mut Client, name: &str, key: &str) {
    println!("{:<69} {:>4} {:>9} {:>9} {:>9}", "\npage of 50, milliseconds", "rows", "first", "median", "worst");
    for time_of in ["CREATED_AT", "MODIFIED_AT", "LAST_CHAT_TIME"] {
        for direction in ["ASC", "DESC"] {
            let query = format!("order={time_of}_{direction}");
            let cursor = time(client, name, key, &query).await;
            // The twentieth page of one of them.
            if query == "order=LAST_CHAT_TIME_DESC" {
                let mut cursor = cursor.expect("more than a page");
                for _ in 0..18 {
                    let page = get(client, key, &format!("{ROOT}?{query}&cursor={cursor}")).await;
                    cursor = page["cursor"].as_str().expect("more pages").to_owned();
                }
                time(client, name, key, &format!("{query}&cursor={cursor}")).await;
            }
        }
    }
    let year = 1_750_000_000_000_u64;
    for query in [
        "activeOnly=true".to_owned(),
        "llmAppId=zendesk".to_owned(),
        "userIds=nobody".to_owned(),
        format!("startedAt={year}&endAt={}", year + 86_400_000),
        "backgroundRunning=true".to_owned(),
        "searchTerm=nobody%20has%20this".to_owned(),
        "searchTerm=zqxjk".to_owned(),
        "searchTerm=billing".to_owned(),
    ] {
        time(client, name, key, &query).await;
    }
}

/// A category that many conversations of a project get and that is then deleted: while they are in memory, and once they
/// are in files.
async fn categories(store: &Path, key: &str, rows: u64) {
    let of_project = (0..rows).step_by(PROJECTS.len()).filter(|number| !is_small(*number));
    // From all over the files.
    let count = CATEGORIZED.min(rows / 8);
    let step = (rows / PROJECTS.len() as u64 / count / 2).max(1) as usize;
    let ids: Vec<String> = of_project.step_by(step).take(count as usize).map(sample::id).collect();
    println!("\na category on {} conversations, seconds {:>16} {:>9}", ids.len(), "set", "deleted");
    for (name, restarts) in [("in memory", false), ("in files", true), ("in memory", false), ("in files", true)] {
        let server = Server::start(store, &[]);
        let mut client = Client::connect(&server.address).await;
        let made = json!({ "name": name }).to_string();
        let (status, made) = client.send("POST", CATEGORIES, key, made.as_bytes()).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&made));
        let made: Value = serde_json::from_slice(&made).expect("JSON");
        let id = made["categoryId"].as_str().expect("an id");
        let body = json!({"conversationIds": ids, "conversationInfo": {"categoryIds": [id]}}).to_string();
        let started = Instant::now();
        let (status, answer) = client.send("POST", &format!("{ROOT}/bulk_update"), key, body.as_bytes()).await;
        let set = started.elapsed().as_secs_f64();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        let mut server = server;
        if restarts {
            server.stop();
            server = Server::start(store, &[]);
            client = Client::connect(&server.address).await;
        }
        let started = Instant::now();
        let (status, answer) = client.send("DELETE", &format!("{CATEGORIES}/{id}"), key, b"").await;
        let deleted = started.elapsed().as_secs_f64();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        let left = get(&mut client, key, &format!("{ROOT}?categoryId={id}")).await;
        assert_eq!(left["conversations"].as_array().map(Vec::len), Some(0));
        println!("{name:<50} {set:>9.2} {deleted:>9.2}");
        server.stop();
    }
}
