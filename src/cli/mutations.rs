//! Whatever bytes reach a parser: an error or a value, never a panic, and memory in proportion.
//!
//! `CONVOLAKE_MUTATIONS` sets how many there are of each kind, `CONVOLAKE_SEED` where they begin; the seed is printed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path as FilePath;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::api::webapi::cursor;
use crate::auth::secret::Secret;
use crate::cache::Cache;
use crate::model::ids::EpochMillis;
use crate::model::search_text::SearchTerm;
use crate::model::{document, erasure_request, event, feedback, thread_annotations};
use crate::query::check;
use crate::query::view::{CONVERSATIONS, EVENTS, FEEDBACK, SEMANTIC_THREADS};
use crate::storage::catalog::checkpoint;
use crate::storage::catalog::commit::{self, CommitNumber};
use crate::storage::catalog::manifest::Manifest;
use crate::storage::error::StoreError;
use crate::storage::format::file_id::FileId;
use crate::storage::format::row_index::file::FileIndex;
use crate::storage::format::sidecar::file::{self as sidecar, Sidecar};
use crate::storage::format::sidecar::part::{Remade, Remake};
use crate::storage::format::text_index::file::{TextIndex, TextIndexBuilder};
use crate::storage::log::operation::Operation;
use crate::storage::log::wal;
use crate::storage::objects::frame::{self, Kind};

/// More than any of these inputs is worth, in this process and in all that runs beside it.
const MAX_MEMORY_BYTES: u64 = 4 << 30;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// What is likely to matter somewhere.
const PIECES: [&str; 34] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\udc00\\ud800",
    "null",
    "true",
    "-",
    "-0",
    "1e400",
    "1e-99999999999999999999",
    "9223372036854775808",
    "0.1e",
    "\u{301}",
    "\u{feff}",
    "\u{fdfa}",
    "\u{1}",
    "id",
    "messages",
    "properties",
    "path",
    "value",
    "2024-02-30T25:61:61.999999999999Z",
    "+999999-01-01",
    "/..",
    "%00",
    " ",
    "\n",
];

/// A few changes of the bytes: flips, cuts, repeats, pieces, and parts of another input.
fn mutated(random: &mut SmallRng, from: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = from.to_vec();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(0..40)).min(bytes.len());
        match random.random_range(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = PIECES.choose(random).unwrap();
                bytes.splice(at..at, piece.bytes());
            }
            3 => {
                let part: Vec<u8> = bytes[at..end].repeat(random.random_range(1..60));
                bytes.splice(at..at, part);
            }
            4 => {
                let start = random.random_range(0..=other.len());
                let stop = (start + random.random_range(0..200)).min(other.len());
                bytes.splice(at..end, other[start..stop].iter().copied());
            }
            5 => {
                // A number becomes another one.
                if let Some(digit) = bytes[at..].iter().position(u8::is_ascii_digit) {
                    bytes[at + digit] = b'0' + random.random_range(0..10);
                }
            }
            _ if random.random_bool(0.05) => {
                let open = *[b'[', b'{'].choose(random).unwrap();
                bytes.splice(at..at, std::iter::repeat_n(open, 400));
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

/// Whether the bytes are taken.
type Read = Box<dyn Fn(&[u8]) -> bool>;

/// One kind of input: good ones, and who reads them.
struct Target {
    name: &'static str,
    good: Vec<Vec<u8>>,
    read: Read,
}

fn target(name: &'static str, good: Vec<Vec<u8>>, read: impl Fn(&[u8]) -> bool + 'static) -> Target {
    Target { name, good, read: Box::new(read) }
}

fn texts(good: &[&str]) -> Vec<Vec<u8>> {
    good.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn bodies() -> Vec<Target> {
    let documents = texts(&[
        r#"{"id":"a","externalId":"x","type":"openai","createdAt":"2024-08-26T10:00:00+02:00","tags":["a","b"],"properties":{"n":1.10,"deep":{"a":[1,null,{"b":"ü"}]}},"userProperties":{"userId":7},"messages":[{"role":"user","content":"Hi 😀","createdAt":"2024-08-26"},{"role":"assistant","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"u","detail":"low"}}],"tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}],"links":[{"url":"u","breadcrumbs":["a"]}]}]}"#,
        r#"{"type":"support_ticket","visibility":"private","messages":[{"role":"agent","content":null}]}"#,
    ]);
    let queries = texts(&[
        r#"{"select":[{"type":"aggregation","aggregation":"sum","field":"properties","path":["n"]},{"type":"time","timeUnit":"week"}],"groupBy":[{"field":"properties","path":["a","0"]}],"where":{"and":[{"condition":{"field":"properties","operator":"in","value":{"path":["n"],"value":[1,"a",null,{"a":1e400}]}}},{"or":[{"condition":{"field":"firstMessageTime","operator":"gte","value":"2024-08-26T10:00"}},{"condition":{"field":"properties","operator":"jsonContains","value":{"a":[1]}}}]}]},"orderBy":[{"field":"sum_properties.n","direction":"desc"}],"limit":10,"timeZone":"Europe/Berlin","weekStart":"sunday"}"#,
        r#"{"query":"two words","where":{"condition":{"field":"id","operator":"isNull"}},"orderBy":[{"field":"id","direction":"asc"}],"csvFormulaSafe":true}"#,
        r#"{"field":"properties","key":"a","views":["conversations_view"],"where":{"and":[]},"limit":5}"#,
    ]);
    vec![
        target("documents", documents, |bytes| document::parse(bytes).is_ok()),
        target(
            "events",
            texts(&[
                r#"{"id":"e","type":"t","entityType":"search","searchQuery":"q","createdAt":1724630400000,"properties":{"a":1}}"#,
            ]),
            |bytes| event::parse(bytes).is_ok(),
        ),
        target(
            "feedback",
            texts(&[
                r#"{"type":"positive","messageId":"m","reasons":[{"label":"l","details":"d"}],"sources":[{"type":null,"title":"t"}]}"#,
            ]),
            |bytes| feedback::parse(bytes).is_ok(),
        ),
        target("erasures", texts(&[r#"{"userId":"u"}"#, r#"{"conversationIds":["a","b"]}"#]), |bytes| {
            erasure_request::parse(bytes).is_ok()
        }),
        target(
            "annotations",
            texts(&[r#"{"isOnTopic":true,"firstPartyEntities":["a","b"],"subject":null}"#]),
            |bytes| thread_annotations::parse_update(bytes).is_ok(),
        ),
        target("queries", queries, |bytes| {
            let views = [&CONVERSATIONS, &EVENTS, &FEEDBACK, &SEMANTIC_THREADS];
            let taken = views.map(|view| check::check(view, bytes).is_ok() | check::check_export(view, bytes).is_ok());
            taken.contains(&true)
                | check::check_property_keys(bytes).is_ok()
                | check::check_property_values(bytes).is_ok()
        }),
        target("cursors", vec![good_cursor()], |bytes| {
            cursor::read(&secret(), &String::from_utf8_lossy(bytes), "list", EpochMillis(0)).is_ok()
        }),
    ]
}

fn secret() -> Secret {
    Secret::of([7; 32])
}

fn good_cursor() -> Vec<u8> {
    let progress =
        serde_json::from_str(r#"{"began":5,"again":false,"place":{"time":1,"id":"a","project":"p"}}"#).unwrap();
    cursor::write(&secret(), progress, "list", EpochMillis(0)).unwrap().into_bytes()
}

/// The objects of a store of each version that has one, by the beginning of their names.
fn objects(folder: &str) -> Vec<Vec<u8>> {
    let root = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/1/store").join(folder);
    let files = std::fs::read_dir(root).unwrap().flatten().filter(|file| file.path().is_file());
    let mut files: Vec<_> = files.map(|file| file.path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn stored() -> Vec<Target> {
    let mut targets = vec![
        target("log objects", objects("wal"), |bytes| wal::decode(bytes).is_ok()),
        target("commits", objects("commits"), |bytes| {
            (1..11).any(|number| commit::decode(CommitNumber(number), bytes).is_ok())
        }),
        target("checkpoints", vec![good_checkpoint()], |bytes| checkpoint::decode(CommitNumber(0), bytes).is_ok()),
        target("sidecars", objects("sidecars"), |bytes| names("sidecars").iter().any(|name| is_sidecar(name, bytes))),
        target("text indexes", [objects("text_index"), vec![good_text_index()]].concat(), |bytes| {
            TextIndex::from_bytes(Path::from("a.ngrams"), bytes).is_ok() | searched(bytes)
        }),
    ];
    // What is inside the checksums.
    let groups: Vec<wal::WalGroup> = objects("wal").iter().map(|object| wal::decode(object).unwrap()).collect();
    let header = groups.first().unwrap().header.clone();
    let operations = groups.into_iter().flat_map(|group| group.operations).map(|operation| operation.to_vec());
    targets.push(target("operations", operations.collect(), move |bytes| {
        let Ok(object) = wal::encode(&header, &[bytes.to_vec()]) else { return false };
        let Ok(group) = wal::decode(&object) else { return false };
        group.operations.iter().all(|operation| serde_json::from_slice::<Operation>(operation).is_ok())
    }));
    for (name, kind, good) in [
        ("commits inside", commit::KIND, objects("commits")),
        ("checkpoints inside", checkpoint::KIND, vec![good_checkpoint()]),
    ] {
        targets.push(target(name, contents(&kind, good), move |bytes| {
            let Ok(content) = serde_json::from_slice::<Value>(bytes) else { return false };
            let Ok((object, _)) = frame::encode(&kind, &content) else { return false };
            (0..11).any(|number| {
                let number = CommitNumber(number);
                commit::decode(number, &object).is_ok() | checkpoint::decode(number, &object).is_ok()
            })
        }));
    }
    targets
}

fn good_checkpoint() -> Vec<u8> {
    checkpoint::encode(&Manifest::default()).unwrap()
}

fn good_text_index() -> Vec<u8> {
    let mut builder = TextIndexBuilder::new(40).unwrap();
    for row in 0..40 {
        builder.push(format!("door {row} of the house\u{e9}").as_bytes()).unwrap();
    }
    builder.finish().unwrap().to_vec()
}

fn contents(kind: &Kind, objects: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let decoded = objects.into_iter().filter_map(|object| frame::decode::<Value>(kind, &object).ok());
    decoded.map(|(content, _)| content.to_string().into_bytes()).collect()
}

fn names(folder: &str) -> Vec<String> {
    let root = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/1/store").join(folder);
    let names = std::fs::read_dir(root).unwrap().flatten();
    names.map(|file| file.file_name().into_string().unwrap()).collect()
}

/// Opens it as it lies in a store, for the file of this name, with its row index.
fn is_sidecar(name: &str, bytes: &[u8]) -> bool {
    let id = FileId(name.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (store, cache) = (InMemory::new(), Cache::new(1 << 20));
        store.put(&sidecar::path(id), bytes.to_vec().into()).await.unwrap();
        let Ok(sidecar) = Sidecar::open(&store, id, Arc::new(Nothing), &cache).await else { return false };
        let Ok(body) = sidecar.index_body() else { return false };
        let Ok(index) = FileIndex::open(&sidecar.opening, body, &cache) else { return false };
        index.find_id(&store, 7).await.is_ok()
    })
}

/// What is damaged stays so.
struct Nothing;

#[async_trait]
impl Remake for Nothing {
    async fn again(&self) -> Result<Remade, StoreError> {
        Err(StoreError::Damaged("not made again".to_owned()))
    }
}

/// Opens it as it lies in a store, and searches.
fn searched(bytes: &[u8]) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (store, path) = (InMemory::new(), Path::from("a.ngrams"));
        store.put(&path, bytes.to_vec().into()).await.unwrap();
        let store: &dyn ObjectStore = &store;
        let Ok(Some(index)) = TextIndex::open(store, path).await else { return false };
        let term = SearchTerm::new("door");
        let Ok(rows) = index.candidates(store, &term).await else { return false };
        let rows: Vec<u32> = rows.into_iter().collect();
        index.verify(store, &rows, &term).await.is_ok()
    })
}

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    peak.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) << 10
}

#[test]
fn any_bytes_are_an_error_or_a_value() {
    let seed = number("CONVOLAKE_SEED", 9);
    let count = number("CONVOLAKE_MUTATIONS", 400);
    println!("CONVOLAKE_SEED={seed} CONVOLAKE_MUTATIONS={count}");
    let mut random = SmallRng::seed_from_u64(seed);
    for Target { name, good, read } in bodies().into_iter().chain(stored()) {
        assert!(!good.is_empty(), "no {name}");
        let mut taken = 0;
        for round in 0..count {
            let from = good.choose(&mut random).unwrap();
            let other = good.choose(&mut random).unwrap();
            // The good ones themselves come first.
            let bytes = if let Some(good) = good.get(round as usize) {
                good.clone()
            } else {
                mutated(&mut random, from, other)
            };
            match catch_unwind(AssertUnwindSafe(|| read(&bytes))) {
                Ok(is_taken) => taken += u64::from(is_taken),
                Err(_) => panic!("{name} of seed {seed}: {:?}", String::from_utf8_lossy(&bytes)),
            }
        }
        println!("{name}: {taken} of {count} taken");
        assert!(taken > 0, "no {name} are taken, not even good ones");
    }
    let peak = peak_bytes();
    assert!(peak < MAX_MEMORY_BYTES, "{peak} bytes of memory");
}
