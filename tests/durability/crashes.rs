//! Crashes at named points of one flush, leftovers, damaged log objects, a second writer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{BINARY, Server, create_key};
use crate::writers::{Ledger, document, verify, write};

/// The places of a flush at which a debug build can be told to abort (`CONVOLAKE_FAIL_AT`).
pub const FAIL_POINTS: [&str; 5] =
    ["flush:before-files", "flush:after-files", "commit:before", "commit:after", "flush:before-log-cleaning"];

#[test]
fn a_crash_at_any_point_of_a_flush_loses_and_doubles_nothing() {
    let store = TempDir::new().expect("a folder");
    let key = create_key(store.path(), "api", "acme", Some("crash"), Some("bot"), &[]);
    let mut ledger = Ledger::new();
    // Twice: the second time there are files whose rows are being replaced.
    for (round, point) in FAIL_POINTS.iter().chain(&FAIL_POINTS).enumerate() {
        let server = Server::start_on(store.path(), &["--flush-seconds", "600"]);
        verify(&server, &key, &mut ledger);
        drop(server);
        let arguments = ["--flush-rows", "25", "--flush-seconds", "600"];
        let Some(mut server) = Server::start_to_abort(store.path(), &arguments, point) else { continue };
        write(&server, &key, "c", &mut ledger, round as u64, &AtomicBool::new(false));
        let begin = Instant::now();
        while server.is_running() {
            assert!(begin.elapsed() < Duration::from_secs(20), "{point} was never reached");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let server = Server::start_on(store.path(), &[]);
    verify(&server, &key, &mut ledger);
}

fn data_files(store: &Path, folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(store.join(folder)).expect("the folder");
    entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension().is_some()).collect()
}

/// The places of a merge of files.
const COMPACTION_POINTS: [&str; 2] = ["compaction:before-commit", "compaction:after-commit"];

#[test]
fn a_crash_at_any_point_of_a_compaction_loses_and_doubles_nothing() {
    let store = TempDir::new().expect("a folder");
    let key = create_key(store.path(), "api", "acme", Some("merge"), Some("bot"), &[]);
    let mut ledger = Ledger::new();
    let arguments = ["--flush-rows", "10", "--flush-seconds", "600"];
    // Each round makes more files than a merge takes.
    for (round, point) in COMPACTION_POINTS.iter().chain(&COMPACTION_POINTS).enumerate() {
        let server = Server::start_on(store.path(), &["--flush-seconds", "600"]);
        verify(&server, &key, &mut ledger);
        drop(server);
        let Some(mut server) = Server::start_to_abort(store.path(), &arguments, point) else { continue };
        write(&server, &key, "c", &mut ledger, round as u64, &AtomicBool::new(false));
        let begin = Instant::now();
        while server.is_running() {
            assert!(begin.elapsed() < Duration::from_secs(60), "{point} was never reached");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let server = Server::start_on(store.path(), &arguments);
    verify(&server, &key, &mut ledger);
    // Merging goes on where it was, and changes no answer.
    let begin = Instant::now();
    while !server.stderr().contains("files are merged") {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing was merged: {}", server.stderr());
        let mut more = Ledger::new();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| write(&server, &key, "d", &mut more, 9, &stop));
            std::thread::sleep(Duration::from_millis(300));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        ledger.retain(|id, _| !id.starts_with("d-"));
        ledger.extend(more);
    }
    verify(&server, &key, &mut ledger);
}

#[test]
fn a_torn_staging_file_is_ignored() {
    let store = TempDir::new().expect("a folder");
    let key = create_key(store.path(), "api", "acme", Some("torn"), Some("bot"), &[]);
    let mut server = Server::start_on(store.path(), &[]);
    server.expect_json(200, "POST", "/conversations", &key, Some(&document("a", 1)));
    server.kill();
    let staging = store.path().join(".staging");
    std::fs::create_dir_all(&staging).expect("a folder");
    std::fs::write(staging.join("torn"), b"half a log obj").expect("written");
    let server = Server::start_on(store.path(), &[]);
    server.expect_json(200, "GET", "/conversations/a", &key, None);
}

#[test]
fn a_damaged_final_log_object_stops_the_start_with_its_name() {
    let store = TempDir::new().expect("a folder");
    let key = create_key(store.path(), "api", "acme", Some("damage"), Some("bot"), &[]);
    let mut server = Server::start_on(store.path(), &[]);
    server.expect_json(200, "POST", "/conversations", &key, Some(&document("a", 1)));
    server.expect_json(200, "POST", "/conversations", &key, Some(&document("b", 1)));
    server.kill();
    let mut objects: Vec<PathBuf> = std::fs::read_dir(store.path().join("wal"))
        .expect("the log")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    objects.sort();
    let last = objects.last().expect("a log object");
    let mut bytes = std::fs::read(last).expect("read");
    let middle = bytes.len() - 5;
    bytes[middle] ^= 0x40;
    std::fs::write(last, &bytes).expect("written");

    let output = Command::new(BINARY)
        .args(["serve", "--listen", "127.0.0.1:0", "--store"])
        .arg(store.path())
        .output()
        .expect("serve runs");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "a damaged log object must stop the start");
    let name = last.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(message.contains(name), "the message names no object: {message}");
    assert!(message.contains("move"), "the message does not tell what to do: {message}");

    // The documented way: move the object away; all that older objects hold is there.
    std::fs::rename(last, store.path().join("damaged-log-object")).expect("moved");
    let server = Server::start_on(store.path(), &[]);
    server.expect_json(200, "GET", "/conversations/a", &key, None);
    let answer = server.request("GET", "/conversations/b", Some(&key), None);
    assert_eq!(answer.status, 404);
}

#[test]
fn a_second_writer_is_refused() {
    let store = TempDir::new().expect("a folder");
    let _server = Server::start_on(store.path(), &[]);
    let input = store.path().join("one.ndjson");
    std::fs::write(&input, document("a", 1).to_string()).expect("written");
    for arguments in [vec!["serve", "--listen", "127.0.0.1:0"], vec!["import", "--project", "p"]] {
        let mut command = Command::new(BINARY);
        command.args(&arguments).arg("--store").arg(store.path());
        if arguments[0] == "import" {
            command.arg(&input);
        }
        let output = command.output().expect("it runs");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{arguments:?} was not refused");
        assert!(message.contains("another process"), "{arguments:?}: {message}");
    }
}

#[test]
fn a_stop_flushes_and_exits_cleanly() {
    let store = TempDir::new().expect("a folder");
    let key = create_key(store.path(), "api", "acme", Some("stop"), Some("bot"), &[]);
    let mut server = Server::start_on(store.path(), &[]);
    for version in 1..30 {
        server.expect_json(200, "POST", "/conversations", &key, Some(&document(&format!("s-{version}"), version)));
    }
    assert!(server.terminate().success(), "{}", server.stderr());
    assert_eq!(data_files(store.path(), "conversations/data").len(), 1, "the tail was not flushed");
    let server = Server::start_on(store.path(), &[]);
    server.expect_json(200, "GET", "/conversations/s-7", &key, None);
}
