//! A sidecar that is damaged or missing is made again from its data files: nobody notices but the log.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::damage::{ask, conversation, copy, make_store, objects, plain};
use crate::support::{Answer, Server};

const ARGUMENTS: [&str; 2] = ["--flush-seconds", "600"];

type Asked = Vec<(String, Answer)>;

fn answers(server: &Server, key: &str) -> Asked {
    let told = |error: String| panic!("{error}\n{}", server.stderr());
    ask(server, key).into_iter().map(|(question, answer)| (question, answer.unwrap_or_else(told))).collect()
}

fn assert_same(answers: &Asked, expected: &Asked, case: &str) {
    for ((question, answer), (_, expected)) in answers.iter().zip(expected) {
        assert_eq!((answer.status, plain(answer)), (expected.status, plain(expected)), "{case}: {question}");
    }
}

fn sidecars(store: &Path) -> BTreeMap<String, Vec<u8>> {
    let paths = objects(store).into_keys().filter(|path| path.starts_with("sidecars/"));
    paths.map(|path| (path.clone(), std::fs::read(store.join(&path)).expect("read"))).collect()
}

fn data_files(store: &Path) -> Vec<String> {
    objects(store).into_keys().filter(|path| path.ends_with(".parquet")).collect()
}

/// Where the body starts, whose first part is the entries of the row index; its length stands in the header.
fn body_start(sidecar: &[u8]) -> usize {
    sidecar.len() - u64::from_le_bytes(sidecar[32..40].try_into().expect("8 bytes")) as usize
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[at] ^= 1 << (at % 8);
    std::fs::write(path, bytes).expect("written");
}

/// How many rows of an id queries show, and the status of a look by the id.
fn seen(server: &Server, key: &str, id: &str) -> (usize, u16) {
    let rows = json!({"select": [{"type": "field", "field": "id"}],
        "where": {"condition": {"field": "id", "operator": "eq", "value": id}}});
    let rows = server.expect_json(200, "POST", "/query/conversations", key, Some(&rows));
    let rows = rows["data"]["result"].as_array().map(Vec::len).unwrap_or_else(|| panic!("no rows: {rows}"));
    (rows, server.request("GET", &format!("/conversations/{id}"), Some(key), None).status)
}

/// Re-logs and deletes find the rows of files.
fn assert_changes(server: &Server, key: &str, case: &str) {
    for number in [1, 46, 91] {
        let id = format!("c-{number}");
        assert_eq!(seen(server, key, &id), (1, 200), "{case}: {id}");
        server.expect_json(200, "POST", "/conversations", key, Some(&conversation(number, 99)));
        assert_eq!(seen(server, key, &id), (1, 200), "{case}: {id} logged again");
        server.expect_json(200, "DELETE", &format!("/conversations/{id}"), key, None);
        assert_eq!(seen(server, key, &id), (0, 404), "{case}: {id} deleted");
    }
    let before: Value = server.expect_json(200, "GET", "/feedback/f-3", key, None);
    assert!(before.to_string().contains("\"f-3\""), "{case}: {before}");
    server.expect_json(200, "DELETE", "/feedback/f-3", key, None);
    assert_eq!(server.request("GET", "/feedback/f-3", Some(key), None).status, 404, "{case}");
}

#[test]
fn a_damaged_or_missing_sidecar_is_made_again() {
    let store = TempDir::new().expect("a folder");
    let key = make_store(store.path());
    let expected = answers(&Server::start_on(store.path(), &ARGUMENTS), &key);
    let sound = sidecars(store.path());
    assert!(sound.len() >= 9, "{:?}", sound.keys());
    let flip_all = |store: &Path, place: &dyn Fn(&[u8]) -> usize| {
        sound.iter().for_each(|(path, bytes)| flip(&store.join(path), place(bytes)));
    };
    let remove = |store: &Path, path: &str| std::fs::remove_file(store.join(path)).expect("removed");
    let entries = |place: usize| move |bytes: &[u8]| body_start(bytes) + place.min(bytes.len() - body_start(bytes) - 1);
    type Damage<'a> = Box<dyn Fn(&Path) + 'a>;
    let cases: Vec<(&str, Damage<'_>)> = vec![
        ("the first entries", Box::new(|store| flip_all(store, &entries(0)))),
        ("later entries", Box::new(|store| flip_all(store, &entries(40)))),
        ("the last byte", Box::new(|store| flip_all(store, &|bytes| bytes.len() - 1))),
        ("the description", Box::new(|store| flip_all(store, &|_| 60))),
        ("the header", Box::new(|store| flip_all(store, &|_| 9))),
        ("the first is removed", Box::new(|store| remove(store, sound.keys().next().expect("a sidecar")))),
        ("the last is removed", Box::new(|store| remove(store, sound.keys().next_back().expect("a sidecar")))),
        ("all are removed", Box::new(|store| sound.keys().for_each(|path| remove(store, path)))),
    ];
    for (case, damage) in cases {
        let copy = copy(store.path());
        let files = data_files(copy.path());
        damage(copy.path());
        let mut server = Server::start_on(copy.path(), &ARGUMENTS);
        assert_same(&answers(&server, &key), &expected, case);
        assert!(server.stderr().contains("is made again"), "{case}: {}", server.stderr());
        assert_eq!(sidecars(copy.path()), sound, "{case}");
        assert_changes(&server, &key, case);
        assert!(server.terminate().success(), "{case}: {}", server.stderr());
        let left = data_files(copy.path());
        assert!(files.iter().all(|file| left.contains(file)), "{case}: {files:?}, then {left:?}");
        let server = Server::start_on(copy.path(), &ARGUMENTS);
        assert_eq!(seen(&server, &key, "c-46"), (0, 404), "{case}: after a restart");
        assert!(!server.stderr().contains("is made again"), "{case}: {}", server.stderr());
    }
}

#[test]
fn a_sidecar_that_is_damaged_while_it_is_read_is_made_again() {
    let store = TempDir::new().expect("a folder");
    let key = make_store(store.path());
    // Blocks that were read would be found in memory.
    let server = Server::start_on(store.path(), &[ARGUMENTS.as_slice(), &["--cache-bytes", "0"]].concat());
    let (expected, sound) = (answers(&server, &key), sidecars(store.path()));
    for (path, bytes) in &sound {
        std::fs::write(store.path().join(path), &bytes[..body_start(bytes)]).expect("cut");
    }
    assert_same(&answers(&server, &key), &expected, "bodies are cut");
    assert_changes(&server, &key, "bodies are cut");
    assert!(server.stderr().contains("it is made again"), "{}", server.stderr());
}

/// What is made of a damaged file would make the damage the truth.
#[test]
fn no_sidecar_is_made_of_a_damaged_data_file() {
    let store = TempDir::new().expect("a folder");
    let key = make_store(store.path());
    for table in ["conversations", "messages", "semantic_threads", "events", "feedback"] {
        let copy = copy(store.path());
        let folder = format!("{table}/data");
        let file = data_files(copy.path()).into_iter().find(|path| path.starts_with(&folder)).expect("a file");
        let id = Path::new(&file).file_stem().expect("a name").to_string_lossy().into_owned();
        let sidecar = copy.path().join("sidecars").join(&id);
        std::fs::remove_file(&sidecar).expect("removed");
        let before = data_files(copy.path());
        let size = std::fs::metadata(copy.path().join(&file)).expect("there").len() as usize;
        flip(&copy.path().join(&file), size / 2);
        let message = Server::attempt(copy.path(), &ARGUMENTS).err().expect("the start stops");
        assert!(message.contains(&file) && message.contains("damaged"), "{message}");
        assert!(!sidecar.exists(), "{table}");
        assert_eq!(data_files(copy.path()), before, "{table}");
        // Sound again, all is.
        flip(&copy.path().join(&file), size / 2);
        let server = Server::start_on(copy.path(), &ARGUMENTS);
        assert_eq!(seen(&server, &key, "c-1"), (1, 200), "{table}");
        assert!(sidecar.exists(), "{table}");
    }
}
