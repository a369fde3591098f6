//! What a store takes, of generated conversations: large ones take no more of a conversation than small ones.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::commit_line::files;
use crate::support::{BINARY, run};

const ROWS: u64 = 10_000;
/// Of a conversation: the whole store without its text index, and what finds its row and checks its blocks.
const MOST: u64 = 370;
const MOST_SIDECAR: u64 = 64;

fn bytes(folder: &Path) -> u64 {
    files(folder).values().map(|object| object.len() as u64).sum()
}

#[test]
fn a_store_of_generated_conversations_is_small() {
    let store = TempDir::new().expect("a folder");
    let lines = run(&["sample", "--rows", &ROWS.to_string()]);
    let mut import = Command::new(BINARY)
        .args(["import", "--organization", "acme", "--store"])
        .arg(store.path())
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("an import");
    import.stdin.take().expect("stdin").write_all(lines.as_bytes()).expect("written");
    assert!(import.wait().expect("it ends").success());
    let of = |folder: &str| bytes(&store.path().join(folder));
    let whole = bytes(store.path()) - of("text_index");
    assert!(whole < MOST * ROWS, "{whole} bytes for {ROWS} conversations");
    assert!((1..MOST_SIDECAR * ROWS).contains(&of("sidecars")), "{} bytes of sidecars", of("sidecars"));
    let (threads, messages) = (of("semantic_threads/data"), of("messages/data"));
    assert!(threads > 0 && threads * 2 <= messages, "{threads} bytes of threads, {messages} of messages");
}
