//! `searchTerm` (contract Part B, row 1) over the tail, over files whose texts are not indexed yet and over text
//! indexes: always what a scan of the texts would find.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::site::{Site, text};
use crate::support::percent_encode;
use crate::webapi::ROOT;

const TERMS: [&str; 18] = [
    "a",
    "ZQ",
    "hello",
    "HELLO WORLD",
    "world 1",
    "1",
    "日",
    "本語",
    "日本語",
    "straße",
    "STRASSE",
    "ünïcode",
    "\u{212a}",
    "nobody has this",
    "😀",
    "été 7",
    "refund the banana",
    "%",
];
const WORDS: [&str; 12] = [
    "hello",
    "World",
    "日本語",
    "Straße",
    "STRASSE",
    "ÜNÏCODE",
    "5 Kelvin",
    "😀",
    "été",
    "refund",
    "the banana",
    "100 %",
];

/// The texts of conversation `n` in its version: of two messages and a first name.
fn texts(n: usize, version: usize) -> Vec<String> {
    let word = |at: usize| WORDS[(n * 7 + version * 5 + at * (n % 3 + 1)) % WORDS.len()];
    vec![format!("{} {} {n}", word(0), word(1)), format!("{} {n}", word(2)), format!("name {}", word(3))]
}

fn log(site: &Site, key: &str, n: usize, version: usize) {
    let texts = texts(n, version);
    let document = json!({"id": format!("c{n}"), "type": "openai", "createdAt": format!("2024-08-26T10:{:02}:{:02}Z", n / 60, n % 60),
        "userProperties": {"firstName": texts[2]},
        "messages": [{"role": "user", "content": texts[0]},
                     {"role": "assistant", "content": [{"type": "text", "text": texts[1]}]}]});
    site.log(key, &document.to_string());
}

fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// Newest first.
fn expected(versions: &[Option<usize>], term: &str) -> Vec<String> {
    let has = |n: usize, version: usize| texts(n, version).iter().any(|text| folded(text).contains(&folded(term)));
    let rows = versions.iter().enumerate().rev();
    rows.filter(|(n, version)| version.is_some_and(|version| has(*n, version))).map(|(n, _)| format!("c{n}")).collect()
}

fn found(site: &Site, key: &str, term: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut cursor = String::new();
    for _ in 0..1_000 {
        let path = format!("{ROOT}?pageSize=7&searchTerm={}{cursor}", percent_encode(term));
        let list: Value = site.get(&path, key);
        ids.extend(list["conversations"].as_array().expect("a list").iter().map(|one| text(&one["id"]).to_owned()));
        match &list["cursor"] {
            Value::Null => return ids,
            next => cursor = format!("&cursor={}", percent_encode(text(next))),
        }
    }
    panic!("the list does not end");
}

fn verify(site: &Site, key: &str, versions: &[Option<usize>], when: &str) {
    for term in TERMS {
        assert_eq!(found(site, key, term), expected(versions, term), "{term:?} {when}");
    }
}

fn files(site: &Site, folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(site.store().join(folder)) else { return Vec::new() };
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// Indexes are made when nothing else wants the processor: other tests do, for a while.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until every file has its text index.
fn indexed(site: &Site) -> Vec<PathBuf> {
    let begin = Instant::now();
    loop {
        let indexes = files(site, "text_index");
        if indexes.len() == files(site, "conversations/data").len() {
            return indexes;
        }
        assert!(begin.elapsed() < PATIENCE, "{indexes:?}\n{}", site.server.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_search_finds_all_in_the_tail_in_files_and_in_indexes() {
    if crate::support::is_remote() {
        return;
    }
    let mut site = Site::start(&["--flush-rows", "40", "--flush-seconds", "600", "--gc-grace-seconds", "1"]);
    let key = site.api_key();
    let mut versions: Vec<Option<usize>> = vec![Some(0); 100];
    (0..100).for_each(|n| log(&site, &key, n, 0));
    verify(&site, &key, &versions, "while files are being indexed");
    indexed(&site);
    verify(&site, &key, &versions, "in indexes and the tail");
    for n in (0..100).step_by(3) {
        log(&site, &key, n, 1);
        versions[n] = Some(1);
    }
    for n in (0..100).step_by(10) {
        site.server.request("DELETE", &format!("/conversations/c{n}"), Some(&key), None);
        versions[n] = None;
    }
    verify(&site, &key, &versions, "after changes");
    site.restart();
    let indexes = indexed(&site);
    verify(&site, &key, &versions, "after a restart");

    // A damaged index, a missing one, and one of no file.
    let (damaged, missing) = (&indexes[0], &indexes[1]);
    let mut bytes = std::fs::read(damaged).expect("an index");
    bytes.iter_mut().skip(64).for_each(|byte| *byte ^= 0x55);
    std::fs::remove_file(missing).expect("removed");
    verify(&site, &key, &versions, "without an index's object");
    std::fs::write(damaged, &bytes).expect("written");
    let stale = site.store().join("text_index/00000000-0000-4000-8000-000000000000.ngrams");
    std::fs::write(&stale, &bytes).expect("written");
    verify(&site, &key, &versions, "with a damaged index");
    site.restart();
    verify(&site, &key, &versions, "while an index is made again");
    let begin = Instant::now();
    while !missing.exists() || stale.exists() || std::fs::read(damaged).is_ok_and(|now| now == bytes) {
        assert!(begin.elapsed() < PATIENCE, "{}", site.server.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
    verify(&site, &key, &versions, "after an index is made again");
}

/// A title that is set is searched, also where the rest of its conversation is in an older file.
#[test]
fn titles_and_user_ids_are_searched() {
    if crate::support::is_remote() {
        return;
    }
    let mut site = Site::start(&[]);
    let key = site.api_key();
    (0..3).for_each(|n| log(&site, &key, n, 0));
    site.restart();
    indexed(&site);
    let title = json!({"title": "Billing QUESTION"}).to_string();
    site.ok("PUT", &format!("{ROOT}/c1/title"), &key, Some(&title));
    let document = json!({"id": "other", "type": "openai", "userProperties": {"userId": 4711, "id": "Anna"},
        "messages": [{"role": "user", "content": "4 7 1 1"}]});
    site.log(&key, &document.to_string());
    for _ in 0..2 {
        assert_eq!(found(&site, &key, "billing q"), ["c1"]);
        assert_eq!(found(&site, &key, "4711"), ["other"]);
        assert_eq!(found(&site, &key, "aNNa"), ["other"]);
        // Not over the end of one text into the next.
        assert_eq!(found(&site, &key, "anna4711"), [""; 0]);
        site.restart();
        indexed(&site);
    }
}
