//! A damaged, cut or missing object gives the same answers or an error that names it: never another number, never a
//! deletion.
//!
//! One small store has every kind of object. For each kind, bits are flipped, objects are cut and removed, each time in
//! a copy; a server is started on the copy and asked everything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, Server, create_key, cut};

/// Places of each kind of object whose bits are flipped.
const FLIPS: usize = 20;
const CUTS: usize = 4;
/// Servers at once.
const WORKERS: usize = 2;

/// Folders whose objects are not the store's own: locks, scratch space.
const OTHERS: [&str; 3] = [".staging", "spill", "LOCK"];

pub fn conversation(number: u64, version: u64) -> Value {
    let plan = ["free", "pro", "team"][number as usize % 3];
    json!({
        "id": format!("c-{number}"), "externalId": format!("x-{number}"), "type": "openai",
        "createdAt": format!("2026-03-{:02}T10:00:00Z", 1 + number % 28),
        "properties": {"plan": plan, "score": number as f64 / 8.0, "version": version, "nested": {"deep": [number, plan]},
            "wide": "x".repeat(200 + number as usize)},
        "userProperties": {"userId": format!("u-{}", number % 7)}, "tags": [plan, "all"],
        "messages": [
            {"id": format!("m-{number}-1"), "role": "user", "content": format!("How do I export report {number}, plan {plan}?")},
            {"id": format!("m-{number}-2"), "role": "assistant", "content": format!("Version {version} of the answer to {number}.")},
        ],
    })
}

/// A store with files of several flushes, deleted rows, events, feedback, annotations, text indexes and a log.
pub fn make_store(store: &Path) -> String {
    let key = create_key(store, "api", "acme", Some("damage"), Some("bot"), &[]);
    fill(store, &key);
    key
}

fn fill(store: &Path, key: &str) {
    let post = |server: &Server, path: &str, body: &Value| server.expect_json(200, "POST", path, key, Some(body));
    for round in 0..3 {
        let mut server = Server::start_on(store, &["--flush-seconds", "600"]);
        for number in round * 40..round * 40 + 50 {
            post(&server, "/conversations", &conversation(number, round));
        }
        for number in round * 40..round * 40 + 12 {
            post(
                &server,
                "/events",
                &json!({"id": format!("e-{number}"), "type": "click", "entityType": "message",
                "messageId": format!("m-{number}-2"), "properties": {"place": number % 3}}),
            );
            post(
                &server,
                "/feedback",
                &json!({"id": format!("f-{number}"), "type": "positive", "details": "fine",
                "messageId": format!("m-{number}-2"), "reasons": [{"label": "clear", "details": ""}]}),
            );
        }
        server.expect_json(200, "DELETE", &format!("/conversations/c-{}", round * 40 + 5), key, None);
        server.expect_json(200, "DELETE", &format!("/feedback/f-{}", round * 40 + 7), key, None);
        let title = json!({"title": format!("Round {round}"), "state": "open"});
        server.expect_json(200, "PATCH", &format!("/webapi/v2/conversations/c-{}", round * 40 + 9), key, Some(&title));
        let category = post(&server, "/webapi/v2/conversation_categories", &json!({"name": format!("k{round}")}));
        let set = json!({"categoryIds": [category["categoryId"]]});
        server.expect_json(200, "PATCH", &format!("/webapi/v2/conversations/c-{}", round * 40 + 11), key, Some(&set));
        assert!(server.terminate().success(), "{}", server.stderr());
    }
    let mut server = Server::start_on(store, &["--flush-seconds", "600"]);
    let begin = Instant::now();
    while objects(store).keys().filter(|path| path.starts_with("text_index")).count() < 3 {
        assert!(begin.elapsed() < Duration::from_secs(60), "no text indexes: {}", server.stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
    for number in 200..210 {
        post(&server, "/conversations", &conversation(number, 9));
    }
    server.kill();
}

/// A store with what else there can be: erasures that wait and that are done, and the limits of a project.
struct World {
    store: TempDir,
    key: String,
    operator: String,
    erasures: [String; 2],
}

impl World {
    fn make() -> World {
        let store = TempDir::new().expect("a folder");
        let key = create_key(store.path(), "api", "acme", Some("damage"), Some("bot"), &[]);
        let operator = create_key(store.path(), "org", "acme", None, None, &[]);
        let erase = |server: &Server, user: &str| -> String {
            let erased = server.expect_json(200, "POST", "/erase", &key, Some(&json!({"userId": user})));
            assert!(erased["conversations"].as_u64() > Some(0), "{erased}");
            erased["id"].as_str().expect("an id").to_owned()
        };
        let mut server = Server::start_on(store.path(), &["--flush-seconds", "1", "--erase-within", "4s"]);
        server.expect_json(200, "POST", "/conversations", &key, Some(&conversation(1_000, 1)));
        let done = erase(&server, &format!("u-{}", 1_000 % 7));
        let begin = Instant::now();
        while server.expect_json(200, "GET", &format!("/erase/{done}"), &key, None)["state"] != "erased" {
            assert!(begin.elapsed() < Duration::from_secs(120), "nothing is erased: {}", server.stderr());
            std::thread::sleep(Duration::from_millis(100));
        }
        let limits = json!({"maxAge": "36500d", "maxBytes": 1_000_000_000_u64});
        server.expect_json(200, "PUT", "/projects/damage", &operator, Some(&limits));
        assert!(server.terminate().success(), "{}", server.stderr());
        fill(store.path(), &key);
        let mut server = Server::start_on(store.path(), &["--flush-seconds", "600"]);
        let waits = erase(&server, "u-6");
        server.kill();
        World { store, key, operator, erasures: [done, waits] }
    }

    fn ask(&self, server: &Server) -> Vec<(String, Result<Answer, String>)> {
        let mut answers = ask(server, &self.key);
        let erasures = self.erasures.iter().map(|id| (format!("/erase/{id}"), &self.key));
        for (path, key) in erasures.chain([("/projects/damage".to_owned(), &self.operator)]) {
            let answer = server.try_request("GET", &path, Some(key), None, &[]);
            answers.push((format!("GET {path}"), answer.map_err(|error| error.to_string())));
        }
        answers
    }

    /// What is gone with the whole object of a key, of a project's limits or of an erasure: nothing else names it.
    fn is_gone(&self, question: &str, path: &str, answer: &Answer) -> bool {
        let Some((folder, name)) = path.rsplit_once('/') else { return false };
        let of_key = folder == "keys" && [&self.key, &self.operator].iter().any(|key| key.contains(name));
        (of_key && answer.status == 401)
            || (folder.starts_with("erasures") && question.ends_with(name) && answer.status == 404)
            || (folder.starts_with("projects") && question == "GET /projects/damage" && answer.status == 200)
    }
}

/// Everything that may go wrong unseen: reads by key, lists, aggregations, exports, searches, each of all tables.
pub fn questions() -> Vec<(&'static str, String, Option<Value>)> {
    let mut questions = vec![];
    for number in [0, 5, 9, 39, 44, 79, 95, 119, 205] {
        questions.push(("GET", format!("/conversations/c-{number}"), None));
    }
    questions.push(("GET", "/conversations/external/x-44".to_owned(), None));
    questions.push(("GET", "/conversations?limit=100".to_owned(), None));
    questions.push(("GET", "/feedback/f-3".to_owned(), None));
    questions.push(("GET", "/feedback?limit=100".to_owned(), None));
    let count = json!({"type": "aggregation", "aggregation": "count"});
    for view in ["conversations", "events", "feedback", "semantic-threads"] {
        questions.push(("POST", format!("/query/{view}"), Some(json!({"limit": 100_000}))));
        questions.push(("POST", format!("/query/{view}"), Some(json!({"select": [count]}))));
        questions.push(("POST", format!("/query/{view}/export"), Some(json!({}))));
    }
    let sum = json!({"type": "aggregation", "aggregation": "sum", "field": "properties", "path": ["score"]});
    let plan = json!({"field": "properties", "path": ["plan"]});
    questions.push((
        "POST",
        "/query/conversations".to_owned(),
        Some(json!({"select": [count, sum], "groupBy": [plan]})),
    ));
    let day = json!({"type": "time", "timeUnit": "day"});
    questions.push(("POST", "/query/conversations".to_owned(), Some(json!({"select": [count, day]}))));
    questions.push(("POST", "/query/property-keys".to_owned(), Some(json!({"field": "properties"}))));
    questions.push(("GET", "/webapi/v2/conversations?pageSize=50".to_owned(), None));
    questions.push(("GET", "/webapi/v2/conversations?searchTerm=report%204".to_owned(), None));
    questions.push(("GET", "/webapi/v2/conversations/c-44/chats".to_owned(), None));
    questions.push(("GET", "/webapi/v2/conversation_categories".to_owned(), None));
    questions
}

pub fn ask(server: &Server, key: &str) -> Vec<(String, Result<Answer, String>)> {
    let asked = questions().into_iter().map(|(method, path, body)| {
        let name = format!("{method} {path} {}", body.as_ref().map(Value::to_string).unwrap_or_default());
        let body = body.map(|body| body.to_string().into_bytes());
        let answer = server.try_request(method, &path, Some(key), body.as_deref(), &[]);
        (name, answer.map_err(|error| error.to_string()))
    });
    asked.collect()
}

/// Paths from the store's root, with sizes.
pub fn objects(store: &Path) -> BTreeMap<String, u64> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, u64>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            if OTHERS.iter().any(|other| name.split('/').next() == Some(other)) {
                continue;
            }
            match path.is_dir() {
                true => walk(root, &path, found),
                false => drop(found.insert(name, entry.metadata().map_or(0, |metadata| metadata.len()))),
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(store, store, &mut found);
    found
}

/// The folder that tells what an object is.
fn kind(path: &str) -> String {
    let folders: Vec<&str> = path.split('/').collect();
    match folders.as_slice() {
        [file] => (*file).to_owned(),
        [folders @ .., file] => {
            let ending = file.rsplit_once('.').map_or("", |(_, ending)| ending);
            format!("{}/*.{ending}", folders.join("/"))
        }
        [] => String::new(),
    }
}

pub fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().expect("a folder");
    for path in objects(from).keys() {
        let target = to.path().join(path);
        std::fs::create_dir_all(target.parent().expect("a parent")).expect("a folder");
        std::fs::copy(from.join(path), target).expect("copied");
    }
    to
}

#[derive(Clone, Debug)]
enum Damage {
    Flip { at: usize, bit: u8 },
    Cut { to: usize },
    Remove,
}

impl Damage {
    fn apply(&self, file: &Path) {
        let mut bytes = std::fs::read(file).expect("read");
        match *self {
            Damage::Flip { at, bit } => bytes[at] ^= 1 << bit,
            Damage::Cut { to } => bytes.truncate(to),
            Damage::Remove => return std::fs::remove_file(file).expect("removed"),
        }
        std::fs::write(file, bytes).expect("written");
    }
}

/// An answer without what differs each time: the ids of requests, and cursors, which tell the time.
pub fn plain(answer: &Answer) -> Vec<u8> {
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(mut value) => {
            if let Some(object) = value.as_object_mut() {
                object.retain(|key, _| !["requestId", "nextCursor", "cursor"].contains(&key.as_str()));
            }
            value.to_string().into_bytes()
        }
        Err(_) => answer.body.clone(),
    }
}

/// What is wrong with a store after a damage, if anything.
fn faults(store: &Path, world: &World, path: &str, damage: &Damage, expected: &[(String, Answer)]) -> Vec<String> {
    let before: BTreeSet<PathBuf> = objects(store).into_keys().map(PathBuf::from).collect();
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut faults = Vec::new();
    match Server::attempt(store, &["--flush-seconds", "600"]) {
        // It stops, and says which object.
        Err(message) if message.contains(name) || message.contains(&path.replace('/', "%2F")) => {}
        Err(message) => faults.push(format!("the start names no object: {}", cut(&message, 1_500))),
        Ok(server) => {
            let answers = world.ask(&server);
            let said = server.stderr();
            for ((question, expected), (_, answer)) in expected.iter().zip(answers) {
                match answer {
                    Ok(answer) if answer.status == expected.status && plain(&answer) == plain(expected) => {}
                    Ok(answer) if matches!(damage, Damage::Remove) && world.is_gone(question, path, &answer) => {}
                    // Refused, and the log says why, or will.
                    Ok(answer) if answer.status >= 500 && (said.contains(name) || answer.text().contains(name)) => {}
                    Err(_) if said.contains(name) => {}
                    Ok(answer) => faults.push(format!(
                        "{question}: {} {} instead of {} {}",
                        answer.status,
                        cut(&answer.text(), 300),
                        expected.status,
                        cut(&expected.text(), 300)
                    )),
                    Err(error) => faults.push(format!("{question}: {error}; {}", cut(&said, 1_500))),
                }
            }
        }
    }
    let after: BTreeSet<PathBuf> = objects(store).into_keys().map(PathBuf::from).collect();
    let is_data =
        |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "parquet") || path.starts_with("commits");
    let gone: Vec<_> = before.difference(&after).filter(is_data).collect();
    if !gone.is_empty() {
        faults.push(format!("the server deleted {gone:?}"));
    }
    faults
}

#[test]
fn a_damaged_object_gives_the_same_answer_or_an_error_that_names_it() {
    let world = World::make();
    let store = &world.store;
    let expected: Vec<(String, Answer)> = {
        let server = Server::start_on(store.path(), &["--flush-seconds", "600"]);
        world.ask(&server).into_iter().map(|(name, answer)| (name, answer.expect("an answer"))).collect()
    };
    let mut kinds: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
    for (path, size) in objects(store.path()) {
        kinds.entry(kind(&path)).or_default().push((path, size));
    }
    for kind in ["erasures/done/", "erasures/waiting/", "projects/", "categories/", "keys/", "text_index/", "wal/"] {
        assert!(kinds.keys().any(|found| found.starts_with(kind)), "nothing in {kind}: {:?}", kinds.keys());
    }
    let only = std::env::var("CONVOLAKE_DAMAGE_ONLY").ok();
    let mut random = SmallRng::seed_from_u64(29);
    let mut cases: Vec<(String, Damage)> = Vec::new();
    for (kind, objects) in &kinds {
        if only.as_ref().is_some_and(|only| !kind.contains(only.as_str())) {
            continue;
        }
        let any = |random: &mut SmallRng| objects[random.random_range(0..objects.len())].clone();
        for _ in 0..FLIPS {
            let (path, size) = any(&mut random);
            if size > 0 {
                let at = random.random_range(0..size as usize);
                cases.push((path, Damage::Flip { at, bit: random.random_range(0..8) }));
            }
        }
        for _ in 0..CUTS {
            let (path, size) = any(&mut random);
            if size > 0 {
                cases.push((path, Damage::Cut { to: random.random_range(0..size as usize) }));
            }
        }
        for (path, _) in [objects.first(), objects.last()].into_iter().flatten() {
            // The one exemption: of a whole log object that is gone nothing is left that could tell.
            if !(kind.starts_with("wal/") && objects.last().is_some_and(|(last, _)| last == path)) {
                cases.push((path.clone(), Damage::Remove));
            }
        }
    }
    assert!(only.is_some() || cases.len() > 100, "only {} cases of {:?}", cases.len(), kinds.keys());
    let (count, cases, failures) = (cases.len(), Mutex::new(cases), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some((path, damage)) = cases.lock().expect("lock").pop() else { return };
                    let copy = copy(store.path());
                    damage.apply(&copy.path().join(&path));
                    let faults = faults(copy.path(), &world, &path, &damage, &expected);
                    if !faults.is_empty() {
                        failures.lock().expect("lock").push(format!("{path}, {damage:?}:\n  {}", faults.join("\n  ")));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("lock");
    assert!(failures.is_empty(), "{} of {count} cases:\n{}", failures.len(), failures.join("\n"));
}
