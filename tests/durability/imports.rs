//! The commits of an import tell how far it is: all lines up to there are in the store, and none behind.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{BINARY, Server, create_key, run};

/// Of the two inputs. An import makes a commit of about 4,096 of them, if it is told to make small ones.
const LINES: [u64; 2] = [5_000, 13_000];

/// Each 100th line is none, each 101st is no document; what another line brings has its number among all of them.
fn line(number: u64) -> String {
    match number {
        _ if number.is_multiple_of(100) => String::new(),
        _ if number.is_multiple_of(101) => "{}".to_owned(),
        _ => json!({"id": format!("c-{number}"), "type": "openai", "properties": {"line": number},
            "messages": [{"role": "user", "content": "?"}]})
        .to_string(),
    }
}

fn brings(number: u64) -> bool {
    !number.is_multiple_of(100) && !number.is_multiple_of(101)
}

fn write_inputs(folder: &Path) -> [PathBuf; 2] {
    let mut number = 0;
    [0, 1].map(|input| {
        let path = folder.join(format!("{input}.ndjson"));
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("a file"));
        for _ in 0..LINES[input] {
            number += 1;
            writeln!(file, "{}", line(number)).expect("written");
        }
        file.flush().expect("written");
        path
    })
}

/// What the commits tell of imports, commit by commit.
fn told(store: &Path) -> Vec<(String, Value)> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(store.join("commits")).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut told = Vec::new();
    for path in paths {
        let object = std::fs::read(path).expect("read");
        let line = object.iter().position(|byte| *byte == b'\n').expect("a line");
        let commit: Value =
            serde_json::from_slice(&zstd::decode_all(&object[line + 1..]).expect("zstd")).expect("JSON");
        let imports = commit["imports"].as_object().cloned().unwrap_or_default();
        told.extend(imports);
    }
    told
}

fn import(store: &Path, inputs: &[PathBuf]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["import", "--organization", "acme", "--project", "imports", "--batch-rows", "1", "--store"]);
    command.arg(store).args(inputs).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The numbers of the lines that are stored.
fn stored(store: &Path, key: &str) -> Vec<u64> {
    let server = Server::start_on(store, &[]);
    let by_line = json!({"groupBy": [{"field": "properties", "path": ["line"]}], "limit": 100_000});
    let answer = server.expect_json(200, "POST", "/query/conversations", key, Some(&by_line));
    let rows = answer["data"]["result"].as_array().expect("rows");
    let mut lines: Vec<u64> = rows
        .iter()
        .map(|row| row["properties.line"].as_str().and_then(|text| text.parse().ok()).expect("a line"))
        .collect();
    lines.sort_unstable();
    lines
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn a_killed_import_is_told_by_its_commits() {
    let folder = TempDir::new().expect("a folder");
    let inputs = write_inputs(folder.path());
    let all: u64 = LINES.iter().sum();
    for (kill_after, point) in [(0, Some("commit:before")), (1, Some("commit:after")), (2, None)] {
        let store = TempDir::new().expect("a folder");
        let key = create_key(store.path(), "org", "acme", None, None, &[]);
        let mut command = import(store.path(), &inputs);
        let mut child = match point {
            Some(point) => command.env("CONVOLAKE_FAIL_AT", point).spawn(),
            None => command.spawn(),
        }
        .expect("it runs");
        let started = Instant::now();
        while point.is_none() && told(store.path()).len() < kill_after {
            assert!(started.elapsed() < Duration::from_secs(120), "no commits");
            std::thread::sleep(Duration::from_millis(5));
        }
        if point.is_none() {
            child.kill().expect("killed");
        }
        assert!(!child.wait().expect("ended").success());

        let commits = told(store.path());
        assert!(commits.len() >= kill_after && commits.iter().all(|(id, _)| *id == commits[0].0), "{commits:?}");
        let done = commits.last().map_or(0, |(_, told)| number(told, "lines"));
        let expected: Vec<u64> = (1..=done).filter(|line| brings(*line)).collect();
        assert_eq!(stored(store.path(), &key), expected, "{commits:?}");
        for (_, told) in &commits {
            let (lines, input) = (number(told, "lines"), number(told, "input"));
            let before: u64 = LINES.iter().take(input as usize).sum();
            assert_eq!(number(told, "inputLines"), lines - before, "{told}");
            assert!(lines < all && told.get("finished").is_none(), "{told}");
        }

        // Whoever goes on finds what is done unchanged, and says that nothing is left.
        let arguments = [store.path(), &inputs[0], &inputs[1]].map(|path| path.to_str().expect("UTF-8"));
        let [store_text, first, second] = arguments;
        let rest = ["import", "--organization", "acme", "--project", "imports", "--store", store_text, first, second];
        let report = run(&rest);
        assert!(report.contains(&format!("unchanged {},", expected.len())), "{report}");
        let (id, last) = told(store.path()).pop().expect("told");
        assert!(commits.iter().all(|(killed, _)| *killed != id));
        assert_eq!(last, json!({"lines": all, "input": 1, "inputLines": LINES[1], "finished": true}));
        assert_eq!(stored(store.path(), &key).len() as u64, (1..=all).filter(|line| brings(*line)).count() as u64);
    }
}
