//! SIGKILL at random moments under concurrent writes, again and again on one store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::erasure::wait_until_absent;
use crate::support::{Server, create_key};
use crate::writers::{Ledger, verify, write};

const WRITERS: usize = 6;

/// Merges, collections and erasures all the time, so that kills meet them too.
fn arguments(rows: &str) -> [&str; 8] {
    ["--flush-rows", rows, "--flush-seconds", "1", "--gc-grace-seconds", "1", "--erase-within", "3s"]
}

/// `CONVOLAKE_KILL_ROUNDS` overrides the number of rounds.
fn rounds() -> u64 {
    std::env::var("CONVOLAKE_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

#[test]
fn acknowledged_changes_survive_sigkill() {
    let store = TempDir::new().expect("a folder");
    let key = create_key(store.path(), "api", "acme", Some("kill"), Some("bot"), &[]);
    let mut ledgers: Vec<Ledger> = vec![Ledger::new(); WRITERS];
    let mut random = SmallRng::seed_from_u64(11);
    for round in 0..rounds() {
        // Small flushes, so that kills meet every state of the files.
        let rows = random.random_range(5..120).to_string();
        let mut server = Server::start_on(store.path(), &arguments(&rows));
        verify_all(&server, &key, &mut ledgers);
        let stop = AtomicBool::new(false);
        let pause = Duration::from_millis(random.random_range(20..900));
        let process = server.process_id();
        std::thread::scope(|scope| {
            for (writer, ledger) in ledgers.iter_mut().enumerate() {
                let (server, key, stop) = (&server, &key, &stop);
                let seed = round * 100 + writer as u64;
                scope.spawn(move || write(server, key, &format!("w{writer}"), ledger, seed, stop));
            }
            std::thread::sleep(pause);
            // While the writers write: what they have in flight is in doubt.
            let killed = std::process::Command::new("kill").args(["-KILL", &process.to_string()]).status();
            assert!(killed.is_ok_and(|status| status.success()));
            stop.store(true, Ordering::Relaxed);
        });
        server.kill();
    }
    let mut server = Server::start_on(store.path(), &arguments("10"));
    verify_all(&server, &key, &mut ledgers);
    // What was deleted before is gone by itself, whatever was killed on the way.
    let all = ledgers.iter().flatten();
    let deleted = all.filter(|(_, known)| known.acknowledged.is_none()).map(|(id, _)| id);
    for id in deleted.take(3) {
        wait_until_absent(&server, store.path(), &format!("ext-{id}\""));
    }
    verify_all(&server, &key, &mut ledgers);
    let changed: usize = ledgers.iter().map(|ledger| ledger.len()).sum();
    assert!(changed > 100, "only {changed} conversations were written: the test tests nothing");
    assert!(server.terminate().success());
}

/// The writers' conversations are apart, the query sees them together.
fn verify_all(server: &Server, key: &str, ledgers: &mut [Ledger]) {
    let mut all: Ledger = ledgers.iter().flat_map(|ledger| ledger.clone()).collect();
    verify(server, key, &mut all);
    for known in ledgers.iter_mut().flat_map(|ledger| ledger.iter_mut()) {
        if let Some(settled) = all.get(known.0) {
            *known.1 = settled.clone();
        }
    }
}
