//! A store that cannot be written is read, says so, and heals; log objects that cannot be read are told as what they are.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{BINARY, Server, create_key, run};
use crate::writers::document;

fn until_ready(server: &Server) {
    let begin = Instant::now();
    while server.request("GET", "/ready", None, None).status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(60), "never ready\n{}", server.stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// 503 with a reason that names no file; the process is alive, and what was acknowledged is read.
fn check_not_ready(server: &Server, key: &str) -> String {
    let answer = server.request("GET", "/ready", None, None);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    let reason = answer.json()["detail"].as_str().expect("a detail").to_owned();
    assert!(!reason.contains(server.store().to_str().expect("UTF-8")), "{reason}");
    assert_eq!(server.request("GET", "/health", None, None).status, 200);
    server.expect_json(200, "GET", "/conversations/a", key, None);
    let count = json!({"select": [{"type": "aggregation", "aggregation": "count"}]});
    let rows = server.expect_json(200, "POST", "/query/conversations", key, Some(&count));
    assert_eq!(rows["data"]["result"][0]["count"], 1, "{rows}");
    reason
}

fn check_refused(server: &Server, key: &str, reason: &str) {
    let refused = server.expect_json(503, "POST", "/conversations", key, Some(&document("b", 1)));
    assert_eq!(refused["detail"], reason);
    let list = run(&["keys", "list", "--store", server.store().to_str().expect("UTF-8")]);
    assert_eq!(list.lines().count(), 2, "{list}");
}

fn check_healed(server: &Server, key: &str) {
    until_ready(server);
    server.expect_json(200, "POST", "/conversations", key, Some(&document("b", 1)));
    server.expect_json(200, "GET", "/conversations/b", key, None);
}

/// A store with the conversation `a`, and its key.
fn filled(store: &Path) -> String {
    let key = create_key(store, "api", "acme", Some("ready"), Some("bot"), &[]);
    let mut server = Server::start_on(store, &[]);
    until_ready(&server);
    server.expect_json(200, "POST", "/conversations", &key, Some(&document("a", 1)));
    server.kill();
    key
}

/// With a file in place of the folder that every write begins in.
#[test]
fn a_store_that_cannot_be_written_is_read_and_heals() {
    let store = TempDir::new().expect("a folder");
    let key = filled(store.path());
    let (staging, away) = (store.path().join(".staging"), store.path().join("away"));
    let block = || {
        fs::rename(&staging, &away).expect("moved");
        fs::write(&staging, "").expect("written");
    };
    let unblock = || {
        fs::remove_file(&staging).expect("removed");
        fs::rename(&away, &staging).expect("moved");
    };
    block();
    let mut server = Server::start_on(store.path(), &[]);
    let reason = check_not_ready(&server, &key);
    check_refused(&server, &key, &reason);
    unblock();
    check_healed(&server, &key);
    server.expect_json(200, "DELETE", "/conversations/b", &key, None);

    // The same while it runs.
    block();
    server.expect_json(503, "POST", "/conversations", &key, Some(&document("b", 1)));
    check_not_ready(&server, &key);
    unblock();
    check_healed(&server, &key);
    assert!(server.terminate().success());
}

/// Without a lock nobody writes.
#[test]
fn a_store_whose_lock_cannot_be_taken_is_read_and_heals() {
    let store = TempDir::new().expect("a folder");
    let key = filled(store.path());
    let lock = store.path().join("LOCK");
    fs::remove_file(&lock).expect("removed");
    fs::create_dir(&lock).expect("made");
    let server = Server::start_on(store.path(), &[]);
    let reason = check_not_ready(&server, &key);
    check_refused(&server, &key, &reason);
    fs::remove_dir(&lock).expect("removed");
    check_healed(&server, &key);
}

struct Mount(PathBuf);

impl Mount {
    /// None where the machine does not let us.
    fn new(folder: &Path) -> Option<Mount> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(folder).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Mount(folder.to_owned()))
    }

    fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(status.expect("mount runs").success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_or_read_only_disk_is_read_and_heals() {
    let folder = TempDir::new().expect("a folder");
    let Some(mount) = Mount::new(folder.path()) else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let key = filled(folder.path());
    mount.remount("ro");
    let mut server = Server::start_on(folder.path(), &[]);
    let reason = check_not_ready(&server, &key);
    assert!(reason.contains("Read-only file system"), "{reason}");
    check_refused(&server, &key, &reason);
    mount.remount("rw");
    check_healed(&server, &key);
    server.expect_json(200, "DELETE", "/conversations/b", &key, None);
    assert!(server.terminate().success());

    let filler = folder.path().join("filler");
    let full = fs::write(&filler, vec![1; 16 << 20]);
    assert!(full.is_err(), "the disk is larger than it should be");
    let server = Server::start_on(folder.path(), &[]);
    let reason = check_not_ready(&server, &key);
    assert!(reason.contains("No space left"), "{reason}");
    check_refused(&server, &key, &reason);
    fs::remove_file(&filler).expect("removed");
    check_healed(&server, &key);
}

#[test]
fn writes_come_back_once_descriptors_are_free() {
    let store = TempDir::new().expect("a folder");
    let key = filled(store.path());
    let server = Server::start_limited(store.path(), 200);
    until_ready(&server);
    assert!(server.stderr().contains("fewer connections than asked for"), "{}", server.stderr());
    // More than it takes: the rest waits, and the store has its descriptors.
    let idle: Vec<TcpStream> = (0..300).map_while(|_| TcpStream::connect(&server.address).ok()).collect();
    assert_eq!(idle.len(), 300);
    server.expect_json(200, "POST", "/conversations", &key, Some(&document("b", 1)));
    drop(idle);
    server.expect_json(200, "DELETE", "/conversations/b", &key, None);

    let limit = |files: u32| {
        let process = server.process_id().to_string();
        let limit = format!("--nofile={files}:");
        Command::new("prlimit").args(["--pid", &process, &limit]).status().is_ok_and(|status| status.success())
    };
    if !limit(4) {
        eprintln!("skipped: no prlimit here");
        return;
    }
    // On the connection that is open.
    server.expect_json(503, "POST", "/conversations", &key, Some(&document("b", 1)));
    let answer = server.request("GET", "/ready", None, None);
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("Too many open files"), "{}", answer.text());
    assert!(limit(200));
    check_healed(&server, &key);
}

fn fails_to_start(store: &Path) -> String {
    let output: Output = Command::new(BINARY)
        .args(["serve", "--listen", "127.0.0.1:0", "--store"])
        .arg(store)
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_log_object_is_told_as_what_it_is() {
    let store = TempDir::new().expect("a folder");
    let key = filled(store.path());
    let mut objects: Vec<PathBuf> =
        fs::read_dir(store.path().join("wal")).expect("the log").map(|entry| entry.expect("an entry").path()).collect();
    objects.sort();
    let (first, last) = (&objects[0], &objects[objects.len() - 1]);
    assert_ne!(first, last);

    let sound = fs::read(last).expect("read");
    let mut damaged = sound.clone();
    let middle = damaged.len() - 5;
    damaged[middle] ^= 1;
    fs::write(last, &damaged).expect("written");
    let message = fails_to_start(store.path());
    let name = last.file_name().and_then(|name| name.to_str()).expect("a name");
    for part in [name, "is damaged", "sound copy", "were acknowledged", "keep them", "Nothing was changed"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    fs::write(last, &sound).expect("written");
    let server = Server::start_on(store.path(), &[]);
    server.expect_json(200, "GET", "/conversations/a", &key, None);
}
