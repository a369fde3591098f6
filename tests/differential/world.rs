//! A server, its keys, and the oracle's copy of all that was sent to it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::compare::{PATH, View, difference, report};
use crate::generate;
use crate::oracle::attached::Attachments;
use crate::oracle::documents::{Documents, Identity, Stored};
use crate::oracle::json::{self, Value, string};
use crate::oracle::threads::{Annotation, drop_annotations};
use crate::oracle::views::{self, Record};
use crate::random::Random;
use crate::requests::Vocabulary;
use crate::support::{Server, create_key, cut, percent_encode};

pub struct Key {
    pub secret: String,
    pub name: &'static str,
    pub identity: Identity,
}

pub struct World {
    // Declared before the folder, so that the process ends before its store goes.
    pub server: Server,
    store: TempDir,
    arguments: Vec<String>,
    pub keys: Vec<Key>,
    pub documents: Documents,
    pub attached: Attachments,
    /// By thread id.
    pub annotations: HashMap<String, Annotation>,
    pub random: Random,
    pub next_number: usize,
    /// What the server answered wrongly so far.
    pub failures: Vec<String>,
}

/// Differences shown at full length; the others are counted.
const SHOWN: usize = 4;

/// Requests that were once answered wrongly where random ones seldom are: a filter on a list beside one that a file
/// makes constant, over a scan that filters while decoding; and the largest of values that few documents have, beside
/// one that all have.
const KNOWN: [&str; 3] = [
    r#"{"groupBy":[{"field":"createdAt"}],"orderBy":[{"field":"count_properties","direction":"asc"}],"where":{"or":[{"and":[{"condition":{"operator":"notIn","value":{"path":["random","A","b"],"value":[9007199254740992.5]},"field":"userProperties"}},{"condition":{"field":"categories","operator":"eq","value":[]}}]},{"condition":{"field":"properties","operator":"eq","value":{}}}]}}"#,
    r#"{"select":[{"type":"aggregation","aggregation":"max","field":"createdAt"},{"type":"aggregation","aggregation":"max","field":"properties","path":["deep"]}]}"#,
    r#"{"select":[{"type":"aggregation","aggregation":"min","field":"createdAt"},{"type":"aggregation","aggregation":"min","field":"userProperties","path":["random"]}]}"#,
];

impl World {
    /// Two projects of one organization, its organization key, and a stranger with the same project name.
    pub fn new(seed: u64, arguments: &[&str]) -> World {
        let store = TempDir::new().expect("a temporary folder");
        let folder = store.path();
        let key =
            |kind: &str, name: &'static str, organization: &str, project: Option<&str>, integration: Option<&str>| {
                Key {
                    secret: create_key(folder, kind, organization, project, integration, &[]),
                    name,
                    identity: Identity {
                        organization: organization.to_string(),
                        project: project.map(str::to_string),
                        integration: integration.map(str::to_string),
                    },
                }
            };
        let keys = vec![
            key("api", "api key of acme/support", "acme", Some("support"), Some("widget")),
            key("api", "api key of acme/Docs", "acme", Some("Docs"), Some("cli")),
            key("org", "org key of acme", "acme", None, None),
            key("api", "api key of other/support", "other", Some("support"), Some("widget")),
        ];
        let server = Server::start_on(folder, arguments);
        World {
            server,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            store,
            keys,
            documents: Documents::default(),
            attached: Attachments::default(),
            annotations: HashMap::new(),
            random: Random::new(seed),
            next_number: 0,
            failures: Vec::new(),
        }
    }

    /// Stops the server with SIGTERM, or with SIGKILL, and starts it again on the same store.
    pub fn restart(&mut self, kill: bool) {
        if kill {
            self.server.kill();
        } else {
            let status = self.server.terminate();
            assert!(status.success(), "SIGTERM: {status}, stderr:\n{}", self.server.stderr());
        }
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.server = Server::start_on(self.store.path(), &arguments);
    }

    /// Posts `count` new conversations, some of them under one id in two projects.
    pub fn add(&mut self, count: usize) {
        let mut batch = Vec::new();
        for _ in 0..count {
            let key = [0, 0, 1, 1, 2, 3][self.random.below(6)];
            if !self.random.percent(15) {
                self.next_number += 1;
            }
            // A number that comes again: another project, or else another id.
            let project = match key {
                2 => *self.random.pick(&["support", "Docs", "third project"]),
                0 | 3 => "support",
                _ => "Docs",
            };
            let organization = if key == 3 { "other" } else { "acme" };
            let mut document = generate::document(&mut self.random, self.next_number);
            let taken = |documents: &[(usize, Value)], all: &[Stored]| {
                let clash =
                    |id: Option<&Value>, external: Option<&Value>, other_id: &str, other_external: Option<&str>| {
                        id.and_then(Value::as_str) == Some(other_id)
                            || external.is_some() && external.and_then(Value::as_str) == other_external
                    };
                let (id, external) = (document.given("id"), document.given("externalId"));
                all.iter().any(|stored| {
                    stored.organization == organization
                        && stored.project == project
                        && clash(id, external, &stored.id, stored.external_id.as_deref())
                }) || documents.iter().any(|(_, other)| {
                    other.get("#project").and_then(Value::as_str) == Some(project)
                        && other.get("#organization").and_then(Value::as_str) == Some(organization)
                        && clash(
                            id,
                            external,
                            other.given("id").and_then(Value::as_str).unwrap_or("\0"),
                            other.given("externalId").and_then(Value::as_str),
                        )
                })
            };
            if taken(&batch, &self.documents.all) {
                self.next_number += 1;
                document = generate::document(&mut self.random, self.next_number);
            }
            if key == 2 || self.random.percent(10) {
                document = generate::with(document, "projectId", string(project));
            }
            // Unknown fields, ignored by the server; they say here what a number was used for.
            document = generate::with(document, "#project", string(project));
            document = generate::with(document, "#organization", string(organization));
            batch.push((key, document));
        }
        self.post(batch);
    }

    pub fn add_wide(&mut self, count: usize) {
        let batch = (0..count)
            .map(|_| {
                self.next_number += 1;
                (0, generate::wide_document(&mut self.random, self.next_number))
            })
            .collect();
        self.post(batch);
    }

    /// Logs `count` of the stored conversations again, changed.
    pub fn replace(&mut self, count: usize) {
        let mut places: Vec<usize> = (0..self.documents.all.len()).collect();
        self.random.shuffle(&mut places);
        let mut batch = Vec::new();
        for place in places.into_iter().take(count) {
            let stored = self.documents.all[place].clone();
            let key = self.key_for(&stored);
            self.next_number += 1;
            let mut document = generate::replacement(&mut self.random, &stored, self.next_number);
            if self.keys[key].identity.project.is_none() {
                document = generate::with(document, "projectId", string(&stored.project));
            }
            batch.push((key, document));
        }
        self.post(batch);
    }

    pub fn delete(&mut self, count: usize) {
        for _ in 0..count.min(self.documents.all.len()) {
            let place = self.random.below(self.documents.all.len());
            let stored = self.documents.all[place].clone();
            let key = &self.keys[self.key_for(&stored)];
            let mut path = format!("/conversations/{}", percent_encode(&stored.id));
            if key.identity.project.is_none() {
                path.push_str(&format!("?projectId={}", percent_encode(&stored.project)));
            }
            let answer = self.server.request("DELETE", &path, Some(&key.secret), None);
            if answer.status != 200 {
                self.failures.push(format!("DELETE {path}: {} {}\n", answer.status, cut(&answer.text(), 500)));
                continue;
            }
            self.documents.delete(&stored.organization, &stored.project, &stored.id);
            self.attached.delete_conversation(&stored.organization, &stored.project, &stored.id);
        }
    }

    /// A key that may write the conversation: its project's, where there is one.
    pub fn key_for(&self, stored: &Stored) -> usize {
        let own = self.keys.iter().position(|key| {
            key.identity.organization == stored.organization && key.identity.project.as_ref() == Some(&stored.project)
        });
        let organization =
            |key: &Key| key.identity.organization == stored.organization && key.identity.project.is_none();
        own.or_else(|| self.keys.iter().position(organization)).expect("a key for every document")
    }

    /// Sends documents that do not depend on each other's order, eight at a time; one by one, where links of events
    /// and feedback depend on it.
    fn post(&mut self, batch: Vec<(usize, Value)>) {
        let texts: Vec<(usize, String)> =
            batch.iter().map(|(key, document)| (*key, generate::spell(document, &mut self.random))).collect();
        let next = AtomicUsize::new(0);
        let answers = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..if self.attached.is_empty() { 8 } else { 1 } {
                scope.spawn(|| {
                    loop {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        let Some((key, text)) = texts.get(place) else { break };
                        let secret = &self.keys[*key].secret;
                        let answer = self.server.request("POST", "/conversations", Some(secret), Some(text.as_bytes()));
                        answers.lock().unwrap_or_else(PoisonError::into_inner).push((place, answer));
                    }
                });
            }
        });
        for (place, answer) in answers.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let (key, text) = &texts[place];
            let problem = if answer.status != 200 {
                Err(format!("status {}: {}", answer.status, cut(&answer.text(), 600)))
            } else {
                let parsed = json::parse_answer(&answer.text());
                let document = json::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
                parsed.and_then(|parsed| self.log(*key, &document, &parsed))
            };
            if let Err(problem) = problem {
                let text = cut(text, 1_500);
                self.failures
                    .push(format!("POST /conversations with the {}: {problem}\n  {text}\n", self.keys[*key].name));
            }
        }
    }

    fn log(&mut self, key: usize, document: &Value, answer: &Value) -> Result<(), String> {
        let identity = &self.keys[key].identity;
        let id = answer.given("id").and_then(Value::as_str).unwrap_or_default();
        let messages = |documents: &Documents| -> Vec<String> {
            let of_id = documents.all.iter().filter(|stored| stored.id == id);
            of_id.flat_map(|stored| &stored.messages).map(|message| message.id.clone()).collect()
        };
        let before = messages(&self.documents);
        let wrong = self.documents.log(identity, document, Some(answer));
        let changed = [before, messages(&self.documents)].concat();
        self.attached.follow(&self.documents, &changed);
        for stored in self.documents.all.iter().filter(|stored| stored.id == id) {
            drop_annotations(&mut self.annotations, stored);
        }
        wrong
    }

    /// Waits until the flushed files are there; gives their number.
    pub fn wait_for_files(&self, wanted: usize) -> usize {
        let begin = Instant::now();
        loop {
            let files = self.data_files();
            if files >= wanted || begin.elapsed() > Duration::from_secs(30) {
                return files;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Parquet files of conversations in the store.
    pub fn data_files(&self) -> usize {
        fn count(folder: &Path) -> usize {
            let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
            let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
            paths
                .map(|path| {
                    if path.is_dir() {
                        count(&path)
                    } else {
                        usize::from(path.extension().is_some_and(|end| end == "parquet"))
                    }
                })
                .sum()
        }
        count(&self.store.path().join("conversations").join("data"))
    }

    pub fn view(&self, key: usize) -> View<'_> {
        self.view_of(key, &views::CONVERSATIONS, self.documents.records())
    }

    /// Those of all rows of a view that a key sees.
    pub fn view_of(&self, key: usize, of: &'static views::View, mut records: Vec<Record>) -> View<'_> {
        let key = &self.keys[key];
        records.retain(|record| {
            let project = record.text("projectId");
            record.text("organizationId") == Some(&key.identity.organization)
                && key.identity.project.as_deref().is_none_or(|own| Some(own) == project)
        });
        View { server: &self.server, key: &key.secret, name: key.name, of, records }
    }

    /// Compares `count` random requests, spread over the keys.
    pub fn ask(&mut self, state: &str, seed: u64, count: usize) {
        let begin = Instant::now();
        let views: Vec<View> = (0..self.keys.len()).map(|key| self.view(key)).collect();
        let mut failures = ask_random(&views, state, seed, count);
        for request in KNOWN {
            failures.extend([0, 2].iter().filter_map(|&key| check(&views[key], request)));
        }
        println!(
            "{state}: {count} requests, {} documents, {} files, {} failures, {:.1} s",
            self.documents.all.len(),
            self.data_files(),
            failures.len(),
            begin.elapsed().as_secs_f64()
        );
        self.failures.extend(failures);
    }

    /// Fails with all that went wrong.
    pub fn finish(self) {
        finish(&self.server, &self.failures);
    }
}

/// Fails, if anything went wrong, with the first reports and the server's standard error.
pub fn finish(server: &Server, failures: &[String]) {
    if failures.is_empty() {
        return;
    }
    let shown: Vec<&str> = failures.iter().filter(|failure| !failure.is_empty()).take(12).map(String::as_str).collect();
    let stderr = server.stderr();
    let last: Vec<&str> = stderr.lines().rev().take(15).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    panic!(
        "{} failures, the first:\n\n{}\nserver's stderr ends:\n{}",
        failures.len(),
        shown.join("\n"),
        last.join("\n")
    );
}

/// Gives one text for each difference; only the first few are worked out.
pub fn ask_random(views: &[View], state: &str, seed: u64, count: usize) -> Vec<String> {
    let vocabularies: Vec<Vocabulary> = views.iter().map(|view| Vocabulary::of(view.of, &view.records)).collect();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
                    // Mostly the first and the third key: a project and its organization.
                    let place = [0, 2, 0, 2, 1, 3][number % 6] % views.len();
                    let request = vocabularies[place].request(&mut random);
                    let Some(found) = difference(&views[place], &request) else { continue };
                    let first = {
                        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                        failures.push(String::new());
                        failures.len() <= SHOWN
                    };
                    if first {
                        let text = format!(
                            "{state}, seed {seed}, request {number}\n{}",
                            report(&views[place], &request, &found)
                        );
                        failures.lock().unwrap_or_else(PoisonError::into_inner).insert(0, text);
                        failures.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Compares one request; gives the report of a difference.
pub fn check(view: &View, request: &str) -> Option<String> {
    let request = json::parse(request).unwrap_or_else(|error| panic!("{error}: {request}"));
    difference(view, &request).map(|found| report(view, &request, &found))
}

/// Whether the server still answers queries.
pub fn assert_alive(world: &mut World, after: &str) {
    assert!(world.server.is_running(), "the process is gone after {after}:\n{}", world.server.stderr());
    let answer = world.server.request("POST", PATH, Some(&world.keys[0].secret), Some(b"{\"limit\":1}"));
    assert_eq!(answer.status, 200, "after {after}: {}", cut(&answer.text(), 500));
}
