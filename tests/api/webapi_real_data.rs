//! Part B over every real conversation of `../shared/data`: days, lists, searches and single conversations are what a
//! count over the files themselves says ([`raw_data`](crate::raw_data)).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use chrono::{DateTime, Days, NaiveDate};
use chrono_tz::Tz;
use serde_json::{Value, json};

use crate::raw_data::{self, Known};
use crate::site::text;
use crate::support::{Server, create_key, cut, percent_encode, run};
use crate::webapi::ROOT;

const ORGANIZATION: &str = "default";
/// The most that one request may ask.
const MAX_DAYS: u64 = 3_660;

/// The server with all the data, and the data.
struct World {
    server: Server,
    _store: tempfile::TempDir,
    conversations: Vec<Known>,
    /// By project; `""` is the key of the whole organization.
    keys: BTreeMap<String, String>,
}

/// A name, and what is compared.
type Part = (&'static str, fn(&World));

/// A list: whose key (`""` for the organization's), and what it asks for.
#[derive(Clone, Copy)]
struct List<'a> {
    project: &'a str,
    order: &'a str,
    page_size: usize,
    /// Further parameters.
    query: &'a str,
    variables: &'a [&'a str],
    /// Whether a page may end early, because something is looked for that no column tells.
    is_scanned: bool,
}

const NEWEST: List =
    List { project: "", order: "LAST_CHAT_TIME_DESC", page_size: 50, query: "", variables: &[], is_scanned: false };

#[test]
fn real_conversations_are_counted_listed_and_found() {
    let files = raw_data::files();
    if files.is_empty() {
        return;
    }
    let mut world = World::import(&files);
    world.change_some();
    let (world, begin) = (&world, Instant::now());
    let parts: [Part; 5] = [
        ("days", World::days),
        ("orders", World::orders),
        ("filters", World::filters),
        ("searches", World::searches),
        ("single conversations", World::single_conversations),
    ];
    // Two at a time, as a test of one core would be slow.
    std::thread::scope(|scope| {
        for half in [&parts[..2], &parts[2..]] {
            scope.spawn(move || {
                for (name, part) in half {
                    part(world);
                    println!("{name}: after {:.1} s", begin.elapsed().as_secs_f64());
                }
            });
        }
    });
}

impl World {
    fn import(files: &[std::path::PathBuf]) -> World {
        let folder = tempfile::TempDir::new().expect("a temporary folder");
        let store = folder.path();
        let mut arguments = vec!["import", "--store", store.to_str().expect("UTF-8")];
        arguments.extend(files.iter().map(|file| file.to_str().expect("UTF-8")));
        let conversations = std::thread::scope(|scope| {
            let conversations = scope.spawn(|| raw_data::read(files));
            run(&arguments);
            conversations.join().expect("the files are read")
        });
        let server = Server::start_on(store, &[]);
        let mut keys = BTreeMap::from([(String::new(), create_key(store, "org", ORGANIZATION, None, None, &[]))]);
        for project in conversations.iter().map(|one| one.project.as_str()).collect::<BTreeSet<_>>() {
            keys.insert(project.into(), create_key(store, "api", ORGANIZATION, Some(project), Some("x"), &[]));
        }
        let mut world = World { server, _store: folder, conversations, keys };
        world.learn_ids();
        world
    }

    /// The ids that the server made.
    fn learn_ids(&mut self) {
        let rows = self.rows(&["id", "projectId", "externalId"]);
        let mut ids: HashMap<(&str, &str), &str> =
            rows.iter().map(|row| ((text(&row["projectId"]), text(&row["externalId"])), text(&row["id"]))).collect();
        assert_eq!(ids.len(), rows.len());
        for one in &mut self.conversations {
            let id = ids.remove(&(one.project.as_str(), one.external_id.as_str()));
            one.id = id.unwrap_or_else(|| panic!("{} of {} is not there", one.external_id, one.project)).to_owned();
        }
        assert!(ids.is_empty(), "more than was imported: {ids:?}");
    }

    /// Part A shows the time of the document, whatever was changed here.
    fn expect_times_of_documents(&self) {
        let rows = self.rows(&["id", "updatedAt"]);
        let times: HashMap<&str, i64> =
            rows.iter().map(|row| (text(&row["id"]), raw_data::millis(text(&row["updatedAt"])))).collect();
        for one in &self.conversations {
            assert_eq!(times[one.id.as_str()], one.updated, "{}", one.external_id);
        }
    }

    /// These fields of every conversation.
    fn rows(&self, fields: &[&str]) -> Vec<Value> {
        let select: Vec<Value> = fields.iter().map(|field| json!({"type": "field", "field": field})).collect();
        let request = json!({"select": select, "limit": 100_000});
        let mut answer = self.server.expect_json(200, "POST", "/query/conversations", &self.keys[""], Some(&request));
        let Value::Array(rows) = answer["data"]["result"].take() else { panic!("no rows") };
        rows
    }

    fn get(&self, project: &str, path: &str, headers: &[(&str, &str)]) -> Value {
        let answer = self.server.request_with("GET", path, Some(&self.keys[project]), None, headers);
        assert_eq!(answer.status, 200, "{path}: {}\n{}", cut(&answer.text(), 1_000), self.server.stderr());
        answer.json()
    }

    /// The conversations that a key sees.
    fn of<'a>(&'a self, project: &'a str) -> impl Iterator<Item = &'a Known> {
        self.conversations.iter().filter(move |one| project.is_empty() || one.project == project)
    }

    /// So that there is something to find, and memory and deleted rows are beside the files.
    fn change_some(&mut self) {
        let mut changes = [0; 3];
        for place in 0..self.conversations.len() {
            let one = &self.conversations[place];
            let does = [
                one.project == "C2LC" && place % 7 == 0,
                one.is_running() && place % 5 == 0,
                one.project == "ncar-zulip" && place % 40 == 0,
            ];
            let title = format!("Über {place}");
            let body = json!({ "title": title }).to_string();
            for (does, (method, route, body)) in does.iter().zip([
                ("POST", "end", None),
                ("POST", "stop", None),
                ("PUT", "title", Some(body.as_bytes())),
            ]) {
                if *does {
                    let (path, key) = (format!("{ROOT}/{}/{route}", one.id), &self.keys[&one.project]);
                    let answer = self.server.request(method, &path, Some(key), body);
                    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                }
            }
            if does.contains(&true) {
                // No two changes within one millisecond: their order is that of their times.
                std::thread::sleep(std::time::Duration::from_millis(2));
                self.conversations[place].changed = Some(chrono::Utc::now().timestamp_millis());
            }
            let one = &mut self.conversations[place];
            (one.is_ended, one.is_stopped) = (does[0], does[1]);
            one.set_title = does[2].then_some(title);
            changes = std::array::from_fn(|kind| changes[kind] + i32::from(does[kind]));
        }
        assert!(changes.iter().all(|count| *count > 10), "{changes:?}");
        self.expect_times_of_documents();
    }

    // ------------------------------------------------------------------------------------------------------ days

    /// Days of a daylight-saving change among them, also such as begin at one o'clock (São Paulo until 2018) and with a
    /// change of half an hour (Lord Howe).
    fn days(&self) {
        for zone in ["", "UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe"] {
            self.days_of("", zone, None);
        }
        for (place, project) in self.keys.keys().filter(|project| !project.is_empty()).enumerate() {
            self.days_of(project, ["", "America/New_York", "Europe/Berlin"][place % 3], None);
        }
        self.days_of("", "Europe/Berlin", Some("Justin Obara"));
    }

    fn days_of(&self, project: &str, zone: &str, user: Option<&str>) {
        let tz: Tz = if zone.is_empty() { Tz::UTC } else { zone.parse().expect("a zone") };
        let day = |at: i64| DateTime::from_timestamp_millis(at).expect("a time").with_timezone(&tz).date_naive();
        let mut expected: BTreeMap<NaiveDate, u64> = BTreeMap::new();
        for one in self.of(project).filter(|one| user.is_none_or(|user| one.user_id() == user)) {
            *expected.entry(day(one.created)).or_default() += 1;
        }
        let headers: Vec<(&str, &str)> = user.iter().map(|user| ("OWN-USER-ID", *user)).collect();
        let parameter = if zone.is_empty() { String::new() } else { format!("&timeZone={}", percent_encode(zone)) };
        let last = day(self.conversations.iter().map(|one| one.created).max().expect("conversations"));
        let mut start = day(self.conversations.iter().map(|one| one.created).min().expect("conversations"));
        let (mut found, mut days) = (BTreeMap::new(), 0);
        while start <= last {
            let end = start + Days::new(MAX_DAYS - 1);
            let path = format!("{ROOT}/daily_count?startDate={start}&endDate={end}{parameter}");
            let answer = self.get(project, &path, &headers);
            let mut date = start;
            for count in answer["counts"].as_array().expect("a list") {
                assert_eq!(text(&count["date"]), date.to_string(), "{path}");
                let number = count["count"].as_u64().expect("a number");
                if number > 0 {
                    found.insert(date, number);
                }
                (date, days) = (date + Days::new(1), days + 1);
            }
            assert_eq!(date, end + Days::new(1), "{path}");
            start = date;
        }
        let of = |counts: &BTreeMap<NaiveDate, u64>, day: &NaiveDate| counts.get(day).copied().unwrap_or_default();
        let differ = found.keys().chain(expected.keys()).find(|day| of(&found, day) != of(&expected, day));
        if let Some(day) = differ {
            let (found, expected) = (of(&found, day), of(&expected, day));
            panic!("project `{project}`, zone `{zone}`, user {user:?}: {found} on {day}, {expected} expected");
        }
        assert!(days > MAX_DAYS && !found.is_empty(), "project `{project}`: {days} days");
    }

    // ----------------------------------------------------------------------------------------------------- lists

    fn orders(&self) {
        let orders = ["CREATED_AT", "LAST_CHAT_TIME", "MODIFIED_AT"]
            .map(|time| ["ASC", "DESC"].map(|way| format!("{time}_{way}")));
        for order in orders.iter().flatten() {
            let variables = &["key", "derived", "resolved", "nothing"];
            let list = List { order, variables, ..NEWEST };
            self.check(List { project: "ncar-zulip", page_size: 37, ..list }, |_| true);
            self.check(List { project: "C2LC", ..list }, |_| true);
            // Of several projects: the first months of 2021.
            let (from, to) = (1_609_459_200_000, 1_617_235_200_000);
            let query = format!("firstChatStartedAt={from}&firstChatEndAt={to}");
            let found = self.check(List { query: &query, ..list }, |one| (from..=to).contains(&one.first_chat()));
            assert!(found > 100, "{found}");
        }
        // Many of one time.
        let list = List { project: "open-assistant", order: "CREATED_AT_DESC", ..NEWEST };
        assert_eq!(self.check(list, |_| true), 2_880);
    }

    /// What `list` asks for; gives how many conversations that are.
    fn check(&self, list: List, holds: impl Fn(&Known) -> bool) -> usize {
        let List { project, order, page_size, query, variables, is_scanned } = list;
        let time = |one: &Known| match order.rsplit_once('_').expect("an order").0 {
            "CREATED_AT" => one.created,
            "MODIFIED_AT" => one.changed.unwrap_or(one.updated),
            _ => one.last_chat(),
        };
        let mut expected: Vec<&Known> = self.of(project).filter(|one| holds(one)).collect();
        expected.sort_by_key(|one| (time(one), &one.id));
        if order.ends_with("DESC") {
            expected.reverse();
        }
        let names = if variables.is_empty() { String::new() } else { format!("&variables={}", variables.join(",")) };
        let path = format!("{ROOT}?order={order}&pageSize={page_size}{names}&{query}");
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let mut answer = self.get(project, &format!("{path}{cursor}"), &[]);
            let Value::Array(mut page) = answer["conversations"].take() else { panic!("{path}: no list") };
            assert!(page.len() <= page_size, "{path}: {} on a page", page.len());
            found.append(&mut page);
            assert!(found.len() <= expected.len(), "{path}: more than {}", expected.len());
            match &answer["cursor"] {
                Value::Null => break,
                next => cursor = format!("&cursor={}", percent_encode(text(next))),
            }
            assert!(is_scanned || found.len() % page_size == 0, "{path}: a page that is not full and has a cursor");
        }
        let ids: Vec<&str> = found.iter().map(|one| text(&one["id"])).collect();
        let first = ids.iter().zip(&expected).position(|(id, one)| *id != one.id).unwrap_or(ids.len());
        assert!(
            first == expected.len(),
            "{path} with the key of `{project}`: {} conversations, {} expected, the first difference is at {first}",
            ids.len(),
            expected.len()
        );
        for (mut shown, one) in found.into_iter().zip(&expected) {
            take_chat_ids(&mut shown["chats"]);
            assert_eq!(shown, one.shown(variables), "{path}");
        }
        expected.len()
    }

    fn filters(&self) {
        // Without any parameter: the fifty of the latest chats.
        let mut latest: Vec<&Known> = self.of("FLUID").collect();
        latest.sort_by_key(|one| std::cmp::Reverse((one.last_chat(), &one.id)));
        let list = self.get("FLUID", ROOT, &[]);
        let ids: Vec<&str> =
            list["conversations"].as_array().expect("a list").iter().map(|one| text(&one["id"])).collect();
        assert_eq!(ids, latest[..50].iter().map(|one| one.id.as_str()).collect::<Vec<_>>());

        let check = |project, query: String, holds: &dyn Fn(&Known) -> bool| {
            let is_scanned = query.contains("backgroundRunning");
            self.check(List { project, query: &query, is_scanned, ..NEWEST }, holds)
        };
        let some = |found: usize| assert!(found > 0, "a filter that finds nothing tells nothing");
        let user = |one: &Known, names: &[&str]| names.contains(&one.user_id().as_str());
        some(check("FLUID", "userIds=Antranig%20Basman".into(), &|one| user(one, &["Antranig Basman"])));
        let both = ["Antranig Basman", "Daphne Ogle"];
        some(check("FLUID", "userIds[]=Antranig+Basman&userIds[]=Daphne+Ogle".into(), &|one| user(one, &both)));
        some(check("FLUID", "userIds=Daphne+Ogle,nobody&activeOnly=true".into(), &|one| user(one, &["Daphne Ogle"])));
        some(check("", "userIds=Javier+Hern%C3%A1ndez".into(), &|one| user(one, &["Javier Hernández"])));
        assert_eq!(check("FLUID", "userIds=antranig%20basman".into(), &|_| false), 0);

        some(check("", "llmAppId=zulip".into(), &|one| one.integration == "zulip"));
        assert_eq!(check("ncar-zulip", "llmAppId=irc".into(), &|_| false), 0);
        let irc = |one: &Known| one.integration == "irc" && user(one, &["mdiggory"]);
        some(check("", "llmAppId=irc&userIds=mdiggory".into(), &irc));

        some(check("C2LC", "activeOnly=true".into(), &|one| !one.is_ended));
        some(check("C2LC", "activeOnly=false".into(), &|_| true));

        // Bounds are times that some have, so that it shows that they are inclusive.
        let mut lasts: Vec<i64> = self.of("C2LC").map(Known::last_chat).collect();
        let mut firsts: Vec<i64> = self.of("C2LC").map(Known::first_chat).collect();
        lasts.sort_unstable();
        firsts.sort_unstable();
        let (from, to) = (lasts[100], lasts[300]);
        some(check("C2LC", format!("startedAt={from}"), &|one| one.last_chat() >= from));
        some(check("C2LC", format!("endAt={to}.75"), &|one| one.last_chat() <= to));
        let between = |one: &Known| (from..=to).contains(&one.last_chat());
        some(check("C2LC", format!("startedAt={from}&endAt={to}&activeOnly=true"), &|one| {
            between(one) && !one.is_ended
        }));
        let (from, to) = (firsts[100], firsts[300]);
        some(check("C2LC", format!("firstChatStartedAt={from}"), &|one| one.first_chat() >= from));
        some(check("C2LC", format!("firstChatEndAt={to}"), &|one| one.first_chat() <= to));
        let mixed = |one: &Known| one.first_chat() >= from && one.last_chat() <= to;
        some(check("C2LC", format!("firstChatStartedAt={from}&endAt={to}"), &mixed));
        assert_eq!(check("C2LC", format!("firstChatStartedAt={to}&firstChatEndAt={from}"), &|_| false), 0);

        let running = |one: &Known| one.integration == "wizard-of-oz" && one.is_running();
        some(check("star", "backgroundRunning=true&llmAppId=wizard-of-oz".into(), &running));
        some(check("C2LC", "backgroundRunning=false".into(), &|one| !one.is_running()));
    }

    fn searches(&self) {
        for (project, term, is_known) in [
            ("FLUID", "UPloader", true),
            ("FLUID", "SCREEN Reader", true),
            ("FLUID", "daphne OGLE", true),
            ("FLUID", "\"Type\"", true),
            ("FLUID", "nobody has this", false),
            ("C2LC", "unknown", true),
            ("C2LC", "100%", true),
            ("C2LC", "“", true),
            ("C2LC", "k%board", false),
            ("ncar-zulip", "jupyterHUB", true),
            ("ncar-zulip", "KeyError", true),
            ("ncar-zulip", "über ", true),
            ("FLUID", "🙂", true),
            ("ncar-zulip", "_", true),
            ("open-assistant", "ÜBER", true),
            ("open-assistant", "日本", true),
            ("open-assistant", "ПРИВЕТ", true),
            ("open-assistant", "É", true),
            ("", "пРИВЕТ", true),
        ] {
            let query = format!("searchTerm={}", percent_encode(term));
            let list = List { project, query: &query, is_scanned: true, ..NEWEST };
            let found = self.check(list, |one| one.has(term));
            assert_eq!(found > 0, is_known, "`{term}` in `{project}`");
        }
        let query = "searchTerm=keyboard&userIds=unknown&activeOnly=true";
        let list = List { project: "C2LC", order: "CREATED_AT_ASC", page_size: 3, query, is_scanned: true, ..NEWEST };
        let holds = |one: &Known| one.has("keyboard") && one.user_id() == "unknown" && !one.is_ended;
        assert!(self.check(list, holds) > 10);
    }

    fn single_conversations(&self) {
        let longest = self.conversations.iter().max_by_key(|one| one.chat_count()).expect("conversations");
        assert!(longest.chat_count() > 700);
        for one in self.conversations.iter().step_by(149).chain([longest]) {
            let path = format!("{ROOT}/{}", one.id);
            let project = one.project.as_str();
            let mut shown = self.get(project, &format!("{path}?variables=channel,derived,nothing"), &[]);
            let recent = take_chat_ids(&mut shown["chats"]);
            assert_eq!(shown, one.shown(&["channel", "derived", "nothing"]), "{path}");

            let (mut ids, mut chats) = (Vec::new(), Vec::new());
            for page in 1.. {
                let mut answer = self.get(project, &format!("{path}/chats?pageNo={page}"), &[]);
                ids.extend(take_chat_ids(&mut answer["chats"]));
                let Value::Array(mut part) = answer["chats"].take() else { panic!("{path}: no chats") };
                assert_eq!(part.len(), (one.chat_count() - chats.len()).min(100), "{path}, page {page}");
                chats.append(&mut part);
                if chats.len() == one.chat_count() && page * 100 > chats.len() {
                    break;
                }
            }
            assert_eq!(chats, one.chats(), "{path}");
            assert_eq!(recent, ids[ids.len().saturating_sub(20)..], "{path}");
            assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{path}");

            let mut last = self.get(project, &format!("{path}/chats/{}", ids[ids.len() - 1]), &[]);
            last.as_object_mut().and_then(|chat| chat.remove("id"));
            assert_eq!(Some(&last), chats.last(), "{path}");
            assert_eq!(self.get(project, &format!("{path}/running"), &[]), json!({"isRunning": one.is_running()}));
            // Another project's key does not know it.
            let other = if project == "star" { "FLUID" } else { "star" };
            assert_eq!(self.server.request("GET", &path, Some(&self.keys[other]), None).status, 404);
        }
    }
}

/// Takes the ids out, as the files have none.
fn take_chat_ids(chats: &mut Value) -> Vec<String> {
    let chats = chats.as_array_mut().expect("chats");
    let id = |chat: &mut Value| chat.as_object_mut().and_then(|chat| chat.remove("id")).expect("an id");
    chats.iter_mut().map(|chat| text(&id(chat)).to_owned()).collect()
}
