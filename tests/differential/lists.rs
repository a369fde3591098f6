//! Lists of the conversation API against [`oracle::lists`](crate::oracle::lists): random filters and orders over what
//! stays, and walks while conversations are logged, changed and deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::oracle::lists::{By, Conversation, Filters, Message, ORDERS, Order, User};
use crate::random::Random;
use crate::support::{Server, create_key, cut, percent_encode};
use crate::{requests_per_state, seed};

const ROOT: &str = "/webapi/v2/conversations";
const CATEGORIES: &str = "/webapi/v2/conversation_categories";
/// 2024-08-26T10:00:00Z
const TEN: i64 = 1_724_666_400_000;
const WORDS: [&str; 11] =
    ["invoice", "Docker", "ÉTÉ", "banana", "login", "日本", "refund", "x", "Straße", "ﬁle", "de\u{301}ja\u{300}"];
const TERMS: [&str; 14] = [
    "docker",
    "été",
    "ete",
    "INVOICE ban",
    "ann bo",
    "u1",
    "日",
    "c-7",
    "C-12",
    "nobody has it",
    "STRASSE",
    "file ﬁ",
    "déjà",
    "deja vu",
];
const PROJECTS: [&str; 2] = ["docs", "shop"];

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

fn time(at: i64) -> String {
    jiff::Timestamp::from_millisecond(at).expect("a time").to_string()
}

/// A server and what was sent to it.
struct Site {
    server: Server,
    folder: TempDir,
    random: Random,
    /// By project; the last is the organization's.
    keys: Vec<String>,
    /// Id and name, of the first project.
    categories: Vec<(String, String)>,
    all: BTreeMap<String, Conversation>,
    next: usize,
}

const ARGUMENTS: [&str; 4] = ["--flush-rows", "60", "--flush-seconds", "3600"];

impl Site {
    fn new(seed: u64) -> Site {
        let folder = TempDir::new().expect("a temporary folder");
        let key = |kind: &str, project: Option<&str>| {
            create_key(folder.path(), kind, "acme", project, project.map(|_| "bot"), &[])
        };
        let keys = vec![key("api", Some("docs")), key("api", Some("shop")), key("org", None)];
        let server = Server::start_on(folder.path(), &ARGUMENTS);
        let (random, categories) = (Random::new(seed), Vec::new());
        Site { server, folder, random, keys, categories, all: BTreeMap::new(), next: 0 }
    }

    fn send(&self, method: &str, path: &str, key: &str, body: Option<&Value>) -> Value {
        let body = body.map(Value::to_string);
        let answer = self.server.request(method, path, Some(key), body.as_ref().map(String::as_bytes));
        assert_eq!(answer.status, 200, "{method} {path} {body:?}: {}", cut(&answer.text(), 1000));
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    fn key_of(&self, id: &str) -> &str {
        &self.keys[PROJECTS.iter().position(|project| *project == self.all[id].project).expect("a project")]
    }

    fn restart(&mut self, kill: bool) {
        if kill {
            self.server.kill();
        } else {
            assert!(self.server.terminate().success(), "{}", self.server.stderr());
        }
        self.server = Server::start_on(self.folder.path(), &ARGUMENTS);
    }

    fn text(&mut self) -> String {
        let words = 1 + self.random.below(3);
        (0..words).map(|_| *self.random.pick(&WORDS)).collect::<Vec<_>>().join(" ")
    }

    fn message(&mut self, number: usize) -> Message {
        let role = *self.random.pick(&["user", "user", "assistant", "system"]);
        // Few times, so that many are equal; some before the conversation's.
        let time = self.random.percent(60).then(|| TEN + 60_000 * (self.random.below(30) as i64 - 5));
        Message { id: format!("m{number}"), role, text: self.text(), time }
    }

    fn add(&mut self) -> String {
        let id = format!("c-{}", self.next);
        self.next += 1;
        let project = PROJECTS[usize::from(self.random.percent(25))];
        let created = TEN + 60_000 * self.random.below(20) as i64;
        let user = match self.random.below(5) {
            0 => None,
            n => Some(User {
                id: ["", "u1", "u2", "7"][n - 1],
                first_name: *self.random.pick(&["Ann", "", "Zoë"]),
                last_name: *self.random.pick(&["Bo", ""]),
            }),
        };
        // One of whom nothing is known is none.
        let user = user.filter(|user| [user.id, user.first_name, user.last_name].iter().any(|text| !text.is_empty()));
        let most = if self.random.percent(10) { 30 } else { 4 };
        let count = 1 + self.random.below(most);
        let messages = (0..count).map(|number| self.message(number)).collect();
        let integration = *self.random.pick(&["bot", "cli"]);
        let conversation = Conversation {
            id: id.clone(),
            project,
            created,
            updated: created + 60_000 * self.random.below(40) as i64,
            integration,
            user,
            messages,
            title: None,
            state: None,
            assignee: None,
            memo: None,
            categories: Vec::new(),
            is_end: false,
            stopped: None,
            changed: None,
        };
        self.all.insert(id.clone(), conversation);
        self.log(&id);
        id
    }

    /// Sends what the conversation is as a document.
    fn log(&mut self, id: &str) {
        let one = &self.all[id];
        let message = |message: &Message| {
            json!({"id": message.id, "role": message.role, "content": message.text,
                "createdAt": message.time.map(time)})
        };
        let user = one.user.as_ref().map(|user| {
            // A number is the id that it spells; an id may stand in the other place, beside an empty one.
            let id = user.id.parse::<i64>().map_or_else(|_| json!(user.id), |number| json!(number));
            let mut properties = json!({"firstName": user.first_name, "lastName": user.last_name, "userId": id});
            if self.next % 2 == 0 {
                properties["userId"] = json!("");
                properties["id"] = id;
            }
            properties
        });
        let document = json!({"id": id, "type": "openai", "createdAt": time(one.created),
            "updatedAt": time(one.updated), "integrationId": one.integration, "userProperties": user,
            "messages": one.messages.iter().map(message).collect::<Vec<_>>()});
        self.send("POST", "/conversations", self.key_of(id), Some(&document));
    }

    /// A call that changes conversations, and the change.
    fn change(&mut self, path: &str, body: Option<Value>, ids: &[String], apply: impl Fn(&mut Conversation)) {
        let method = if body.is_some() && !path.ends_with("bulk_update") { "PATCH" } else { "POST" };
        let Some(first) = ids.first() else { return };
        let key = self.key_of(first).to_owned();
        let before = now();
        self.send(method, &format!("{ROOT}/{path}"), &key, body.as_ref());
        let after = now();
        for id in ids {
            let Some(one) = self.all.get_mut(id) else { continue };
            let old = one.shown();
            let stopped = one.stopped.clone();
            apply(one);
            if old != one.shown() || stopped != one.stopped {
                one.changed = Some((before, after));
            }
        }
    }

    /// A change of one conversation, or of some; the ids of those that are other than before.
    fn change_some(&mut self, id: &str) -> Vec<String> {
        let mark = format!("mark {}", self.random.below(1_000_000_000));
        let before = self.all.clone();
        let one = [id.to_owned()];
        match self.random.below(9) {
            0 | 1 => {
                // A new message, or an old one less; a document's time is anything.
                let conversation = self.all[id].clone();
                let number = 1_000 + self.random.below(1_000_000);
                let message = self.message(number);
                let updated = conversation.created + 60_000 * self.random.below(60) as i64;
                let conversation = self.all.get_mut(id).expect("stored");
                conversation.updated = updated;
                if conversation.messages.len() > 2 {
                    conversation.messages.remove(0);
                }
                conversation.messages.push(message);
                self.log(id);
            }
            2 => {
                let body = json!({"state": mark, "title": mark.replace("mark", "Banana")});
                self.change(id, Some(body), &one, |one| {
                    one.state = Some(mark.clone());
                    one.title = Some(mark.replace("mark", "Banana"));
                });
            }
            3 => self.change(id, Some(json!({"memo": mark, "title": null})), &one, |one| {
                one.memo = Some(mark.clone());
                one.title = None;
            }),
            4 => self.change(&format!("{id}/end"), None, &one, |one| one.is_end = true),
            5 => self.change(&format!("{id}/stop"), None, &one, Conversation::stop),
            6 if self.all[id].project == "docs" && !self.categories.is_empty() => {
                let (category, name) = self.random.pick(&self.categories.clone()).clone();
                let body = json!({"categoryIds": [category], "assignee": mark});
                self.change(id, Some(body), &one, |one| {
                    one.categories = vec![name.clone()];
                    one.assignee = Some(mark.clone());
                });
            }
            7 => {
                let project = self.all[id].project;
                let user = self.all[id].user.as_ref().map_or("", |user| user.id).to_owned();
                if user.is_empty() {
                    return Vec::new();
                }
                let filters = Filters {
                    users: vec![user.clone()],
                    active_only: false,
                    project: Some(project),
                    ..Filters::default()
                };
                let ids: Vec<String> = self.matching(&filters).into_iter().map(|one| one.id.clone()).collect();
                let body = json!({"userIds": [user], "conversationInfo": {"assignee": mark}});
                // The first one's key is the project's.
                self.change("bulk_update", Some(body), &ids, |one| one.assignee = Some(mark.clone()));
            }
            _ => self.change(id, Some(json!({"assignee": mark})), &one, |one| one.assignee = Some(mark.clone())),
        }
        let changed = self.all.iter().filter(|(id, one)| before.get(*id).is_none_or(|old| differ(old, one)));
        changed.map(|(id, _)| id.clone()).collect()
    }

    fn make_category(&mut self, name: &str) {
        let made = self.send("POST", CATEGORIES, &self.keys[0], Some(&json!({ "name": name })));
        self.categories.push((made["categoryId"].as_str().expect("an id").to_owned(), name.to_owned()));
    }

    fn delete_category(&mut self) {
        let Some((id, name)) = self.categories.pop() else { return };
        let before = now();
        self.send("DELETE", &format!("{CATEGORIES}/{id}"), &self.keys[0], None);
        let after = now();
        for one in self.all.values_mut().filter(|one| one.categories.contains(&name)) {
            one.categories.retain(|one| *one != name);
            one.changed = Some((before, after));
        }
    }

    fn delete(&mut self, id: &str) {
        self.send("DELETE", &format!("{ROOT}/{id}"), self.key_of(id), None);
        self.all.remove(id);
    }

    fn any(&mut self) -> String {
        let ids: Vec<String> = self.all.keys().cloned().collect();
        self.random.pick(&ids).clone()
    }

    fn matching(&self, filters: &Filters) -> Vec<&Conversation> {
        self.all.values().filter(|one| filters.hold(one)).collect()
    }

    /// A list: which key asks, the query without order, and what it means.
    fn filters(&mut self) -> (String, String, Filters) {
        let mut filters = Filters::default();
        let mut query = Vec::new();
        let key = *self.random.pick(&[0, 0, 0, 1, 2]);
        filters.project = PROJECTS.get(key).copied();
        if key == 2 && self.random.percent(30) {
            filters.project = Some("docs");
            query.push("projectId=docs".to_owned());
        }
        let bound = |random: &mut Random| Some(TEN + 60_000 * (random.below(30) as i64 - 5));
        for _ in 0..self.random.below(3) {
            match self.random.below(8) {
                0 if filters.users.is_empty() => {
                    filters.users =
                        ["u1", "7"].iter().take(1 + self.random.below(2)).map(|id| (*id).to_owned()).collect();
                    query.push(format!("userIds={}", filters.users.join(",")));
                }
                1 => {
                    filters.integration = Some("bot".to_owned());
                    query.push("llmAppId=bot".to_owned());
                }
                2 if filters.category.is_none() && filters.project == Some("docs") && !self.categories.is_empty() => {
                    let (id, name) = self.random.pick(&self.categories.clone()).clone();
                    filters.category = Some(name);
                    query.push(format!("categoryId={id}"));
                }
                3 if filters.last_chat == (None, None) => {
                    filters.last_chat = (bound(&mut self.random), None);
                    query.push(format!("startedAt={}.5", filters.last_chat.0.unwrap_or_default()));
                    if self.random.percent(50) {
                        filters.last_chat.1 = bound(&mut self.random);
                        query.push(format!("endAt={}", filters.last_chat.1.unwrap_or_default()));
                    }
                }
                4 if filters.first_chat == (None, None) => {
                    filters.first_chat = (bound(&mut self.random), bound(&mut self.random));
                    let (from, to) = filters.first_chat;
                    query.push(format!("firstChatStartedAt={}", from.unwrap_or_default()));
                    query.push(format!("firstChatEndAt={}", to.unwrap_or_default()));
                }
                5 => {
                    filters.active_only = true;
                    query.push("activeOnly=true".to_owned());
                }
                6 if filters.running.is_none() => {
                    filters.running = Some(self.random.percent(50));
                    query.push(format!("backgroundRunning={}", filters.running == Some(true)));
                }
                7 if filters.term.is_none() => {
                    let term = *self.random.pick(&TERMS);
                    filters.term = Some(term.to_owned());
                    query.push(format!("searchTerm={}", percent_encode(term)));
                }
                _ => {}
            }
        }
        // What is not given.
        if self.random.percent(20) {
            query.push("cursor=null&searchTerm=".to_owned());
            query.retain(|part| filters.term.is_none() || !part.starts_with("cursor"));
        }
        (self.keys[key].clone(), query.join("&"), filters)
    }

    /// One page; every row must be in the list as it is now, and look as it should.
    fn page(&self, key: &str, path: &str, filters: &Filters) -> (Vec<String>, Option<String>) {
        let list = self.send("GET", path, key, None);
        let mut ids = Vec::new();
        for row in list["conversations"].as_array().expect("a list") {
            let id = row["id"].as_str().expect("an id");
            let one = self.all.get(id).unwrap_or_else(|| panic!("{path}: {id} is not there"));
            assert!(filters.hold(one), "{path}: {id} does not belong there: {row}");
            assert_eq!(*row, one.shown(), "{path}");
            assert!(!ids.contains(&one.id), "{path}: {id} twice on a page");
            ids.push(one.id.clone());
        }
        (ids, list["cursor"].as_str().map(str::to_owned))
    }

    /// Pages over what stays: everything once, in order.
    fn check_list(&mut self) {
        let (key, query, filters) = self.filters();
        let (order, size) = (*self.random.pick(&ORDERS), *self.random.pick(&[1, 7, 20, 50, 50]));
        let base = format!("{ROOT}?order={}&pageSize={size}&{query}", order.name);
        let (mut found, mut path): (Vec<String>, String) = (Vec::new(), base.clone());
        loop {
            let (ids, next) = self.page(&key, &path, &filters);
            found.extend(ids);
            let Some(next) = next else { break };
            path = with_cursor(&base, &next);
        }
        let expected: BTreeSet<&str> = self.matching(&filters).iter().map(|one| one.id.as_str()).collect();
        assert_eq!(found.len(), expected.len(), "{base}: {found:?}");
        assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected, "{base}");
        for (place, first) in found.iter().enumerate() {
            for second in &found[place + 1..] {
                let allowed = order.allows(&self.all[first], &self.all[second]);
                assert!(allowed, "{base}: {first} before {second}: {:?}", (&self.all[first], &self.all[second]));
            }
        }
    }

    /// A walk while conversations come, change and go, by the rules of "Decided at a second reading".
    fn check_walk(&mut self, order: Order) {
        let (key, query, filters) = self.filters();
        let size = 1 + self.random.below(6);
        let base = format!("{ROOT}?order={}&pageSize={size}&{query}", order.name);
        // In the list all the time.
        let mut stays: BTreeSet<String> = self.matching(&filters).into_iter().map(|one| one.id.clone()).collect();
        let old: BTreeSet<String> = self.all.keys().cloned().collect();
        let mut touched: BTreeSet<String> = BTreeSet::new();
        let mut walked: Vec<String> = Vec::new();
        let mut page_of: Vec<usize> = Vec::new();
        let (mut path, mut pages, mut changes) = (base.clone(), 0, 1 + self.random.below(4));
        let begins_with = stays.len();
        let mut early = true;
        loop {
            let (ids, next) = self.page(&key, &path, &filters);
            page_of.extend(ids.iter().map(|_| pages));
            walked.extend(ids);
            let Some(next) = next else { break };
            path = with_cursor(&base, &next);
            pages += 1;
            assert!(pages < 500, "{base}: the walk does not end");
            if changes > 0 && self.random.percent(70) {
                changes -= 1;
                for _ in 0..1 + self.random.below(5) {
                    match self.random.below(8) {
                        0 => drop(self.add()),
                        1 => {
                            let id = self.any();
                            self.delete(&id);
                            stays.remove(&id);
                        }
                        _ => {
                            let id = self.any();
                            if old.contains(&id) {
                                touched.extend(self.change_some(&id));
                            }
                        }
                    }
                }
                stays.retain(|id| filters.hold(&self.all[id]));
                // Of the second part of a walk nobody knows when it begins; not before this much was shown.
                early &= pages * size + touched.len() < begins_with;
            }
        }
        let context = || format!("{base}\nwalked {walked:?}\ntouched {touched:?}");
        let times = |id: &String| walked.iter().filter(|one| *one == id).count();
        for id in &stays {
            let allowed = if order.by == By::Created || !touched.contains(id) { 1..=1 } else { 1..=3 };
            assert!(allowed.contains(&times(id)), "{id} {} times\n{}", times(id), context());
        }
        for id in walked.iter().filter(|id| !touched.contains(*id)) {
            assert_eq!(times(id), 1, "{id} did not change\n{}", context());
        }
        if order.by == By::Created || !early {
            return;
        }
        // What changed comes after all that did not, but for what the page where both parts of a walk meet shows already.
        let last = |id: &String| walked.iter().rposition(|one| one == id).map(|place| page_of[place]);
        let unchanged = walked.iter().rposition(|id| old.contains(id) && !touched.contains(id));
        let unchanged = unchanged.map(|place| page_of[place]);
        for id in stays.iter().filter(|id| touched.contains(*id)) {
            assert!(last(id) >= unchanged, "{id} is not at the end\n{}", context());
        }
    }
}

/// Whether a change shows, also where only times tell it.
fn differ(old: &Conversation, new: &Conversation) -> bool {
    old.shown() != new.shown() || old.stopped != new.stopped || old.updated != new.updated || old.changed != new.changed
}

fn with_cursor(base: &str, cursor: &str) -> String {
    // Instead of one that is not given.
    let base = base.replace("cursor=null&searchTerm=", "");
    format!("{base}&cursor={}", percent_encode(cursor))
}

#[test]
fn lists_and_walks_answer_as_the_oracle() {
    let count = requests_per_state() / 15;
    for round in 0..2 {
        let mut site = Site::new(seed() + 90 + round);
        for name in ["Sales", "Billing", "Other"] {
            site.make_category(name);
        }
        for _ in 0..90 {
            site.add();
            if site.random.percent(40) {
                let id = site.any();
                site.change_some(&id);
            }
        }
        for state in 0..3 {
            for _ in 0..count {
                site.check_list();
                if site.random.percent(10) {
                    let id = site.any();
                    site.change_some(&id);
                }
            }
            for number in 0..count {
                site.check_walk(ORDERS[number % ORDERS.len()]);
                while site.all.len() < 90 {
                    site.add();
                }
            }
            site.delete_category();
            site.restart(state == 1);
        }
    }
}
