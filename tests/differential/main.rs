//! The server against an oracle: the same documents, thousands of random requests, the same answers.
//!
//! - [`oracle`]: what the answers should be, from the API contract alone
//! - [`generate`], [`requests`]: random documents and requests
//! - [`compare`]: answers side by side, differing requests made small
//! - [`world`], [`attached`]: a server with keys and what was sent to it
//! - [`lists`]: lists of the conversation API, and walks through them while they change
//!
//! `CONVOLAKE_DIFFERENTIAL_REQUESTS` sets the number of requests per state (default 1,500),
//! `CONVOLAKE_DIFFERENTIAL_SEED` the seed, `CONVOLAKE_REAL_DATA=full` uses every real data set.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a failure is to end the test"
)]
#![allow(clippy::style, clippy::complexity, reason = "the evaluator is plain on purpose")]

mod attached;
mod compare;
mod generate;
mod lists;
mod oracle;
mod random;
mod requests;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use compare::{PATH, View};
use generate::TAGS;
use oracle::documents::{Documents, Identity, Stored};
use oracle::json::{self, Value, integer, object, string};
use oracle::views::{CONVERSATIONS, Record};
use support::{Server, create_key, cut, run};
use world::{World, ask_random, assert_alive, check, finish};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn requests_per_state() -> usize {
    setting("CONVOLAKE_DIFFERENTIAL_REQUESTS", 1_500) as usize
}

fn seed() -> u64 {
    setting("CONVOLAKE_DIFFERENTIAL_SEED", 1)
}

/// Several files with deleted rows, and a tail that replaces rows of files and its own.
#[test]
fn mixed_states_answer_as_the_oracle() {
    let count = requests_per_state();
    let mut world = World::new(seed(), &["--flush-rows", "120", "--flush-seconds", "3600"]);
    world.add(500);
    world.replace(80);
    world.delete(20);
    let files = world.wait_for_files(2);
    world.add(40);
    world.replace(25);
    world.delete(10);
    world.ask("files and tail", seed(), count);
    assert!(files >= 2, "only {files} Parquet files after 500 documents with --flush-rows 120");

    world.add(60);
    world.replace(120);
    world.delete(60);
    world.ask("after more writes", seed() + 1, count);

    world.restart(false);
    world.ask("after SIGTERM and a restart", seed() + 2, count);

    world.add(30);
    world.replace(20);
    world.delete(5);
    world.restart(true);
    world.ask("after SIGKILL and a restart", seed() + 3, count / 3);
    world.finish();
}

#[test]
fn tail_alone_answers_as_the_oracle() {
    let count = requests_per_state() / 3;
    let mut world = World::new(seed() + 10, &["--flush-rows", "1000000", "--flush-seconds", "3600"]);
    world.ask("empty store", seed() + 10, count / 10);
    world.add(200);
    world.replace(60);
    world.delete(20);
    assert_eq!(world.data_files(), 0, "files although nothing was to be flushed");
    world.ask("tail alone", seed() + 11, count);
    world.restart(true);
    world.ask("tail alone after SIGKILL", seed() + 12, count / 3);
    world.finish();
}

/// The other views, as conversations come, change and go.
#[test]
fn events_feedback_and_threads_answer_as_the_oracle() {
    let count = requests_per_state() / 12;
    let mut world = World::new(seed() + 70, &["--flush-rows", "150", "--flush-seconds", "3600"]);
    world.ask_attached("empty store", seed() + 70, count / 10);
    world.add(120);
    world.add_events(180);
    world.add_feedback(120);
    world.replace(40);
    world.delete(10);
    world.annotate(30);
    let files = world.wait_for_files(2);
    world.add(30);
    world.add_events(40);
    world.add_feedback(30);
    world.ask_attached("files and tail", seed() + 71, count);
    assert!(files >= 2, "only {files} Parquet files with --flush-rows 150");

    world.replace(60);
    world.delete(20);
    world.annotate(20);
    world.restart(true);
    world.ask_attached("after more writes and SIGKILL", seed() + 72, count);

    world.restart(false);
    world.add_events(20);
    world.replace(20);
    world.ask_attached("after SIGTERM and a restart", seed() + 73, count / 2);
    world.finish();
}

/// More common paths than columns are allowed.
#[test]
fn more_paths_than_columns_answer_as_the_oracle() {
    let count = requests_per_state() / 5;
    let mut world = World::new(seed() + 20, &["--flush-rows", "60", "--flush-seconds", "3600"]);
    world.add_wide(150);
    let files = world.wait_for_files(2);
    world.ask("1,300 paths", seed() + 20, count);
    assert!(files >= 2, "only {files} Parquet files after 150 documents with --flush-rows 60");
    world.add(60);
    world.wait_for_files(3);
    world.ask("1,300 paths, then others", seed() + 21, count);
    world.finish();
}

/// Files come and go while requests run: `--flush-seconds 1` and writes in between.
#[test]
fn flushes_between_requests_change_nothing() {
    let count = requests_per_state() / 5;
    let mut world = World::new(seed() + 30, &["--flush-rows", "40", "--flush-seconds", "1"]);
    for round in 0..4 {
        world.add(60);
        world.replace(30);
        world.delete(10);
        world.ask("just written", seed() + 31 + round, count / 4);
    }
    world.finish();
}

#[test]
fn the_same_request_gives_the_same_bytes() {
    let mut world = World::new(seed() + 40, &["--flush-rows", "60", "--flush-seconds", "3600"]);
    world.add(350);
    world.replace(50);
    world.wait_for_files(3);
    let requests = [
        r#"{"select":[{"type":"aggregation","aggregation":"sum","field":"properties","path":["score"]},
            {"type":"aggregation","aggregation":"avg","field":"properties","path":["ratio"]},
            {"type":"aggregation","aggregation":"countDistinct","field":"properties","path":["nested"]}],
            "groupBy":[{"field":"properties","path":["plan"]}]}"#,
        r#"{"select":[{"type":"aggregation","aggregation":"sum","field":"properties","path":["numerals"]},
            {"type":"aggregation","aggregation":"count"}]}"#,
        r#"{"groupBy":[{"field":"properties"}],"limit":50}"#,
        r#"{"where":{"condition":{"field":"properties","operator":"isNotNull","value":{"path":["score"]}}},
            "orderBy":[{"field":"type","direction":"desc"}],"limit":40}"#,
    ];
    for request in requests {
        let key = &world.keys[2].secret;
        let ask = || world.server.request("POST", PATH, Some(key), Some(request.as_bytes()));
        let first = ask();
        assert_eq!(first.status, 200, "{request}: {}", cut(&first.text(), 1_000));
        for time in 2..=200 {
            let answer = ask();
            assert!(
                answer.body == first.body,
                "time {time} differs: {request}\nfirst: {}\nthen:  {}",
                cut(&first.text(), 2_000),
                cut(&answer.text(), 2_000)
            );
        }
    }
    world.finish();
}

fn condition(number: usize) -> Value {
    let form = object(vec![
        ("path", Value::Array(vec![string(["n", "plan", "score", "active"][number % 4])])),
        (
            "value",
            match number % 4 {
                0 => integer((number % 12) as i64),
                1 => string(["free", "pro", "é"][number % 3]),
                2 => integer((number % 6) as i64),
                _ => Value::Bool(number % 8 > 3),
            },
        ),
    ]);
    let operator = if number % 4 == 0 { "gte" } else { ["eq", "neq"][number % 2] };
    object(vec![(
        "condition",
        object(vec![("field", string("properties")), ("operator", string(operator)), ("value", form)]),
    )])
}

/// `levels` filter objects one in the other, the innermost a condition; `conditions` of them in all.
fn nested_filter(levels: usize, conditions: usize) -> Value {
    let mut filter = condition(0);
    let mut used = 1;
    for level in 1..levels {
        let left = conditions - used;
        let here = if level + 1 == levels { left } else { left.min(conditions / levels) };
        let mut parts: Vec<Value> = (used..used + here).map(condition).collect();
        used += here;
        parts.insert(parts.len() / 2, filter);
        filter = object(vec![(if level % 2 == 0 { "and" } else { "or" }, Value::Array(parts))]);
    }
    filter
}

/// What a path may hold, of every JSON type and in other spellings, `count` values of it.
fn many_values(count: usize) -> Value {
    let value = |number: usize| match number % 6 {
        0 => integer((number / 6) as i64 - 20),
        1 => string(["free", "pro", "é", "PRO"][number / 6 % 4]),
        2 => Value::Number(format!("{}.{}0", number / 6 % 7, number % 10)),
        3 => Value::Array(vec![integer((number % 5) as i64)]),
        4 => Value::Number(["1e400", "-1e400", "9007199254740993", "1e-400"][number / 6 % 4].to_string()),
        _ if number % 4 == 1 => Value::Bool(number % 8 == 1),
        _ => string(&format!("no {number}")),
    };
    Value::Array((0..count).map(value).collect())
}

fn of_path(path: &str, operator: &str, value: Value) -> Value {
    let form = object(vec![("path", Value::Array(vec![string(path)])), ("value", value)]);
    let condition = object(vec![("field", string("properties")), ("operator", string(operator)), ("value", form)]);
    object(vec![("condition", condition)])
}

fn of_field(field: &str, operator: &str, value: Value) -> Value {
    let condition = object(vec![("field", string(field)), ("operator", string(operator)), ("value", value)]);
    object(vec![("condition", condition)])
}

/// Filters of as many values and paths as are allowed.
fn wide_filters() -> Vec<(&'static str, Value)> {
    let mut filters = Vec::new();
    for operator in ["in", "notIn"] {
        for path in ["n", "score", "list"] {
            filters.push(("10,000 values at a path", of_path(path, operator, many_values(10_000))));
        }
        let numbers = Value::Array((0..10_000).map(integer).collect());
        filters.push(("10,000 numbers", of_field("messageCount", operator, numbers.clone())));
        filters.push(("10,000 times", of_field("createdAt", operator, numbers)));
        let texts = Value::Array((0..10_000).map(|number| string(&format!("c-{number}"))).collect());
        filters.push(("10,000 texts", of_field("id", operator, texts.clone())));
        let lists = (0..5_000).map(|number| Value::Array(vec![string(TAGS[number % TAGS.len()])]));
        filters.push(("5,000 lists", of_field("tags", operator, Value::Array(lists.collect()))));
        filters.push(("10,000 texts in a list", of_field("tags", "arrayContains", texts)));
    }
    let one_by_one = |path: &'static str, operator: &'static str| {
        let Value::Array(values) = many_values(1_000) else { unreachable!() };
        values.into_iter().map(move |value| of_path(path, operator, value)).collect()
    };
    filters.push(("or of 1,000 eq", object(vec![("or", Value::Array(one_by_one("n", "eq")))])));
    filters.push(("and of 1,000 neq", object(vec![("and", Value::Array(one_by_one("score", "neq")))])));
    for operator in ["eq", "neq", "lt", "jsonContains", "jsonContainedBy", "arrayContains", "isNotNull", "in"] {
        let paths = (0..1_000).map(|number| {
            // Those that are there among those that are not.
            let path = match number % 100 {
                there @ 0..5 => ["n", "plan", "score", "list", "active"][there].to_string(),
                _ => format!("p{number}"),
            };
            let values = [integer(number as i64 / 100), string("pro"), Value::Bool(true)];
            let value = values[number / 100 % if operator == "lt" { 2 } else { 3 }].clone();
            of_path(&path, operator, if operator == "in" { Value::Array(vec![value, Value::Null]) } else { value })
        });
        let paths: Vec<Value> = paths.collect();
        filters.push(("or of 1,000 paths", object(vec![("or", Value::Array(paths.clone()))])));
        filters.push(("and of 1,000 paths", object(vec![("and", Value::Array(paths))])));
    }
    let keys = Value::Array((0..5_000).map(|number| string(&format!("k{number}"))).chain([string("n")]).collect());
    filters.push(("5,001 keys", of_field("properties", "jsonHasAnyKey", keys.clone())));
    filters.push(("5,001 keys at a path", of_path("list", "jsonHasAllKeys", keys)));
    filters
}

#[test]
fn large_filters_are_right_up_to_the_limits_and_refused_beyond() {
    let mut world = World::new(seed() + 50, &["--flush-rows", "60", "--flush-seconds", "3600"]);
    world.add(150);
    let select = Value::Array(vec![object(vec![("type", string("field")), ("field", string("id"))])]);
    let request = |filter: Value| object(vec![("select", select.clone()), ("where", filter)]);
    let flat =
        |name: &'static str, count: usize| object(vec![(name, Value::Array((0..count).map(condition).collect()))]);
    for (what, filter) in [
        ("64 levels, 1,000 conditions", nested_filter(64, 1_000)),
        ("64 levels, 1 condition a level", nested_filter(64, 64)),
        ("and of 1,000", flat("and", 1_000)),
        ("or of 1,000", flat("or", 1_000)),
    ]
    .into_iter()
    .chain(wide_filters())
    {
        if let Some(found) = check(&world.view(2), &request(filter).to_text()) {
            world.failures.push(format!("{what}\n{found}"));
        }
    }
    for (what, filter) in [
        // 65 levels of and/or around the condition: too many however one counts the condition.
        ("66 levels", nested_filter(66, 66)),
        ("1,001 conditions", flat("and", 1_001)),
        ("1,001 conditions in 20 levels", nested_filter(20, 1_001)),
    ] {
        let body = request(filter).to_text();
        let answer = world.server.request("POST", PATH, Some(&world.keys[2].secret), Some(body.as_bytes()));
        if answer.status != 422 {
            world.failures.push(format!(
                "{what}: status {}, should be 422: {}\n",
                answer.status,
                cut(&answer.text(), 500)
            ));
        }
    }
    world.finish();
}

#[test]
fn hostile_bodies_never_end_the_process() {
    const LIMIT: usize = 2_097_152;
    let mut world = World::new(seed() + 60, &[]);
    world.add(5);
    let repeat = |unit: &str, close: &str, head: &str, tail: &str| {
        let times = (LIMIT - head.len() - tail.len() - 16) / (unit.len() + close.len());
        format!("{head}{}1{}{tail}", unit.repeat(times), close.repeat(times))
    };
    let bodies = [
        ("brackets, not closed", repeat("[", "", "", "")),
        ("brackets", repeat("[", "]", "", "")),
        ("braces", repeat("{\"a\":", "}", "", "")),
        ("and", repeat("{\"and\":[", "]}", "{\"where\":", "}")),
        ("and, not closed", repeat("{\"and\":[", "", "{\"where\":", "")),
        ("or", repeat("{\"or\":[", "]}", "{\"where\":", "}")),
        (
            "a deep value",
            repeat(
                "[",
                "]",
                "{\"where\":{\"condition\":{\"field\":\"properties\",\"operator\":\"eq\",\"value\":{\"path\":[\"a\"],\"value\":",
                "}}}}",
            ),
        ),
        ("select", repeat("[", "]", "{\"select\":", "}")),
        (
            "properties",
            repeat(
                "{\"a\":",
                "}",
                "{\"type\":\"openai\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"properties\":",
                "}",
            ),
        ),
        ("wide and", repeat("{\"and\":[]},", "", "{\"where\":{\"and\":[", "]}}")),
        ("a long number", repeat("1", "", "", "")),
    ];
    for (what, body) in &bodies {
        assert!(body.len() <= LIMIT);
        for path in [PATH, "/conversations"] {
            let sent = world.server.try_request("POST", path, Some(&world.keys[0].secret), Some(body.as_bytes()), &[]);
            match sent {
                Ok(answer) if answer.status == 400 || answer.status == 422 => {}
                Ok(answer) => {
                    world.failures.push(format!("{what} to {path}: {} {}\n", answer.status, cut(&answer.text(), 300)))
                }
                Err(error) => world.failures.push(format!("{what} to {path}: {error}\n")),
            }
            assert_alive(&mut world, &format!("{what} to {path}"));
        }
    }
    world.finish();
}

/// The data sets lie beside the repository; they are no part of it.
fn real_data() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let small = ["ncar-zulip", "oasst-eval", "star"];
    let full = std::env::var("CONVOLAKE_REAL_DATA").is_ok_and(|value| value == "full");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
        .unwrap_or_default();
    files.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_suffix(".ndjson.zst").is_some_and(|set| full || small.contains(&set))
    });
    files.sort();
    if files.is_empty() {
        println!("SKIPPED: no *.ndjson.zst in {}", folder.display());
    }
    files
}

#[test]
fn real_conversations_answer_as_the_oracle() {
    let files = real_data();
    if files.is_empty() {
        return;
    }
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let store = folder.path();
    let mut arguments = vec!["import", "--store", store.to_str().expect("UTF-8")];
    arguments.extend(files.iter().map(|file| file.to_str().expect("UTF-8")));
    run(&arguments);
    let key = create_key(store, "org", "default", None, None, &[]);

    let identity = Identity { organization: "default".to_string(), project: None, integration: None };
    let mut documents = Documents::default();
    // A document that comes again replaces the first; looked up here, as the oracle's own search is for small sets.
    let mut known: HashMap<(String, String), Value> = HashMap::new();
    let mut order = Vec::new();
    for file in &files {
        let packed = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let text = zstd::decode_all(packed.as_slice()).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let text = String::from_utf8(text).expect("UTF-8");
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let document = json::parse(line).unwrap_or_else(|error| panic!("{error}: {}", cut(line, 500)));
            let part = |key: &str| {
                document.get(key).and_then(Value::as_str).expect("a project and an external id").to_string()
            };
            let place = (part("projectId"), part("externalId"));
            match known.insert(place.clone(), document.clone()) {
                None => order.push(place),
                Some(_) => println!("twice in the data: {place:?}"),
            }
        }
    }
    for place in &order {
        let mut one = Documents::default();
        one.log(&identity, &known[place], None).unwrap_or_else(|error| panic!("{place:?}: {error}"));
        documents.all.append(&mut one.all);
    }

    let server = Server::start_on(store, &[]);
    adopt_ids(&server, &key, &mut documents, &known);
    let view = View {
        server: &server,
        key: &key,
        name: "org key of default",
        of: &CONVERSATIONS,
        records: documents.records(),
    };
    println!("{} files, {} conversations", files.len(), view.records.len());
    let mut failures: Vec<String> = real_requests().iter().filter_map(|request| check(&view, request)).collect();
    println!("{} chosen requests, {} failures", real_requests().len(), failures.len());
    failures.extend(ask_random(std::slice::from_ref(&view), "real data", seed(), requests_per_state() / 10));
    finish(&server, &failures);
}

/// Takes over the ids and times that the server made up, so that the oracle's order by id is the server's.
fn adopt_ids(server: &Server, key: &str, documents: &mut Documents, sent: &HashMap<(String, String), Value>) {
    let fields = ["id", "projectId", "externalId", "createdAt", "updatedAt"];
    let select = fields.map(|field| object(vec![("type", string("field")), ("field", string(field))]));
    let request = object(vec![("select", Value::Array(select.to_vec())), ("limit", integer(100_000))]);
    let answer = server.request("POST", PATH, Some(key), Some(request.to_text().as_bytes()));
    assert_eq!(answer.status, 200, "{}", cut(&answer.text(), 1_000));
    let body = json::parse_answer(&answer.text()).expect("JSON");
    let rows = body.get("data").and_then(|data| data.get("result")).and_then(Value::as_array).expect("rows");
    let text = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    let rows: HashMap<(String, String), &Value> =
        rows.iter().map(|row| ((text(row, "projectId"), text(row, "externalId")), row)).collect();
    assert_eq!(rows.len(), documents.all.len(), "conversations after the import");
    for stored in &mut documents.all {
        let place = (stored.project.clone(), stored.external_id.clone().unwrap_or_default());
        let row = rows.get(&place).unwrap_or_else(|| panic!("{place:?} is not there after the import"));
        let time = |key: &str| oracle::time::parse_document_time(&text(row, key)).expect("a time");
        stored.id = text(row, "id");
        if sent[&place].given("createdAt").is_none() {
            stored.created_at = time("createdAt");
        }
        if sent[&place].given("updatedAt").is_none() {
            stored.updated_at = time("updatedAt");
        }
    }
}

fn real_requests() -> Vec<String> {
    let aggregations = r#"{"type":"aggregation","aggregation":"count"},
        {"type":"aggregation","aggregation":"sum","field":"userMessageCount"},
        {"type":"aggregation","aggregation":"avg","field":"messageCount"},
        {"type":"aggregation","aggregation":"countDistinct","field":"integrationId"},
        {"type":"aggregation","aggregation":"min","field":"firstMessageTime"},
        {"type":"aggregation","aggregation":"max","field":"lastMessageTime"}"#;
    let mut requests = vec![
        "{}".to_string(),
        format!(r#"{{"select":[{aggregations}]}}"#),
        format!(r#"{{"select":[{aggregations}],"groupBy":[{{"field":"type"}}]}}"#),
        format!(r#"{{"select":[{aggregations}],"groupBy":[{{"field":"projectId"}},{{"field":"type"}}],"orderBy":[{{"field":"count","direction":"desc"}}]}}"#),
        format!(r#"{{"select":[{{"type":"time","timeUnit":"month"}},{aggregations}]}}"#),
        format!(r#"{{"select":[{{"type":"time","timeUnit":"month"}},{{"type":"aggregation","aggregation":"count"}}],"groupBy":[{{"field":"type"}}]}}"#),
        format!(r#"{{"select":[{{"type":"time","timeUnit":"day"}},{aggregations}],"timeZone":"America/New_York","limit":100}}"#),
        format!(r#"{{"select":[{{"type":"time","timeUnit":"week","field":"lastMessageTime"}},{aggregations}],"timeZone":"Europe/Berlin","weekStart":"sunday"}}"#),
        r#"{"groupBy":[{"field":"tags"}]}"#.to_string(),
        r#"{"select":[{"type":"field","field":"externalId"},{"type":"field","field":"properties"}],"limit":500,"offset":1000,
            "where":{"condition":{"field":"properties","operator":"jsonHasAnyKey","value":["topic","happy","model"]}}}"#
            .to_string(),
        r#"{"select":[{"type":"aggregation","aggregation":"count"}],"where":{"or":[
            {"condition":{"field":"properties","operator":"arrayContains","value":{"path":["domains"],"value":"bank"}}},
            {"condition":{"field":"properties","operator":"gt","value":{"path":["derived","spanDays"],"value":1.5}}},
            {"condition":{"field":"properties","operator":"jsonContains","value":{"samplingParams":{"top_k":40}}}}]},
            "groupBy":[{"field":"projectId"}]}"#
            .to_string(),
    ];
    let paths = [
        r#"["completionLevel"]"#,
        r#"["happy"]"#,
        r#"["domains"]"#,
        r#"["domains","0"]"#,
        r#"["derived","apiCalls"]"#,
        r#"["derived"]"#,
        r#"["scenario","wizardTask"]"#,
        r#"["status"]"#,
        r#"["priority"]"#,
        r#"["derived","openDays"]"#,
        r#"["channel"]"#,
        r#"["participantCount"]"#,
        r#"["resolved"]"#,
        r#"["stream","name"]"#,
        r#"["stream","id"]"#,
        r#"["derived","firstReplyMinutes"]"#,
        r#"["model"]"#,
        r#"["samplingParams","temperature"]"#,
        r#"["args","max_input_len"]"#,
        r#"["chars","answer"]"#,
        r#"["questionnaire","user","0","answer"]"#,
        r#"["missing"]"#,
    ];
    for path in paths {
        requests.push(format!(
            r#"{{"select":[{{"type":"aggregation","aggregation":"count"}},
                {{"type":"aggregation","aggregation":"countDistinct","field":"id"}},
                {{"type":"aggregation","aggregation":"sum","field":"properties","path":["derived","durationSeconds"]}}],
                "groupBy":[{{"field":"properties","path":{path}}}],"limit":2000}}"#
        ));
        let numbers: Vec<String> = ["sum", "avg", "min", "max", "count", "countDistinct"]
            .iter()
            .map(|kind| {
                format!(r#"{{"type":"aggregation","aggregation":"{kind}","field":"properties","path":{path}}}"#)
            })
            .collect();
        requests.push(format!(
            r#"{{"select":[{}],"groupBy":[{{"field":"projectId"}}],"orderBy":[{{"field":"projectId","direction":"asc"}}]}}"#,
            numbers.join(",")
        ));
        requests.push(format!(
            r#"{{"select":[{{"type":"field","field":"id"}}],"limit":200,
                "where":{{"condition":{{"field":"properties","operator":"isNotNull","value":{{"path":{path}}}}}}}}}"#
        ));
    }
    requests
}

/// The generators alone: every request is one that the oracle can answer, and most find something.
#[test]
fn requests_find_documents() {
    let mut random = random::Random::new(3);
    let mut documents = Documents::default();
    let identity = Identity { organization: "o".into(), project: Some("p".into()), integration: Some("i".into()) };
    for number in 0..150 {
        let document = generate::document(&mut random, number);
        documents.log(&identity, &document, None).expect("a valid document");
    }
    for _ in 0..40 {
        let stored: Stored = random.pick(&documents.all).clone();
        let document = generate::replacement(&mut random, &stored, 1_000);
        documents.log(&identity, &document, None).expect("a valid document");
    }
    assert_eq!(documents.all.len(), 150);
    let records = documents.records();
    let visible: Vec<&Record> = records.iter().collect();
    let vocabulary = requests::Vocabulary::of(&CONVERSATIONS, &records);
    let (mut some, mut several, mut operators) = (0, 0, HashMap::new());
    for _ in 0..600 {
        let request = vocabulary.request(&mut random);
        let parsed = oracle::request::Request::parse(&CONVERSATIONS, &request).expect("a valid request");
        let answer = oracle::query::answer(&visible, &parsed);
        some += usize::from(answer.total > 0);
        several += usize::from(answer.rows.len() > 2);
        for part in request.to_text().split("\"operator\":\"").skip(1) {
            *operators.entry(part.split('"').next().unwrap_or_default().to_string()).or_insert(0) += 1;
        }
    }
    println!("600 requests: {some} with a result, {several} with three rows or more, operators {operators:?}");
    assert!(some > 400 && several > 200, "{some} {several}");
    assert_eq!(operators.len(), 17, "{operators:?}");
}
