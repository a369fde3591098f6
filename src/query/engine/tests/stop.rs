//! Whatever is asked of large documents, a query looks whether it is to go on all the while, and stops when it is not.

use super::*;
use crate::query::check::{check_export, check_property_keys, check_property_values};
use crate::query::watch::{LOOK_EVERY, Watch};

const DOCUMENTS: usize = 6;

/// Some hundred kilobytes each, in columns, in the remainder and nested.
fn large_documents() -> Rows {
    let document = |number: usize| {
        let numbers = |from: usize| (from..from + 40).map(|n| format!("{n}.25")).collect::<Vec<_>>().join(",");
        let members = (0..500).map(|key| {
            format!(r#""k{key}":{{"x":[{}],"y":"text {}","z":[[{key}],{{"d":{number}}}]}}"#, numbers(key), key % 7)
        });
        let object = format!(r#"{{"n":{number},{}}}"#, members.collect::<Vec<_>>().join(","));
        let mut row = conversation(number, Some(&object), None);
        row.created_at = EpochMillis(1_724_630_400_000);
        Arc::new(row)
    };
    (0..DOCUMENTS).map(document).collect()
}

fn at(operator: &str, path: &[&str], value: Value) -> Value {
    condition("properties", operator, json!({ "path": path, "value": value }))
}

fn questions() -> Vec<(String, Question)> {
    let count = json!([{"type": "aggregation", "aggregation": "count"}]);
    let of = |aggregation: &str, path: Value| json!([{"type": "aggregation", "aggregation": aggregation, "field": "properties", "path": path}]);
    let ordered = |field: &str| json!({"select": [{"type": "field", "field": "id"}], "orderBy": [{"field": field, "direction": "asc"}]});
    let keys: Vec<String> = (0..30).map(|number| format!("k{number}")).collect();
    let many: Vec<Value> = (0..200).map(|number| at("eq", &[&format!("k{number}"), "y"], json!("no"))).collect();
    let filters = [
        condition("properties", "jsonContains", json!({"k7": {"x": [9.25]}})),
        condition("properties", "jsonContainedBy", json!({"k7": 1})),
        condition("properties", "eq", json!({"k7": 1})),
        condition("properties", "in", json!([{"k7": 1}, {"k8": 1}])),
        condition("properties", "jsonHasAllKeys", json!(keys)),
        at("eq", &["k7", "x"], json!([1])),
        at("in", &["k400", "y"], json!(["a", "b", 1, true, {}])),
        at("lt", &["k400", "x", "3"], json!(1)),
        at("gt", &["k400", "y"], json!("t")),
        at("isNull", &["k400", "none"], json!(null)),
        at("arrayContains", &["k400", "x"], json!([1, 2])),
        at("jsonArrayContainsObject", &["k400", "z"], json!({"d": 99})),
        at("jsonHasKey", &["k400"], json!("x")),
        json!({ "or": many }),
    ];
    let mut requests: Vec<Value> =
        filters.into_iter().map(|filter| json!({"select": count, "where": filter})).collect();
    requests.extend([
        ordered("properties"),
        ordered("properties.k400"),
        json!({"select": count, "groupBy": [{"field": "properties"}]}),
        json!({"select": count, "groupBy": [{"field": "properties", "path": ["k400"]}]}),
        json!({"select": [{"type": "aggregation", "aggregation": "countDistinct", "field": "properties"}]}),
        json!({ "select": of("countDistinct", json!(["k400", "x"])) }),
        json!({ "select": of("sum", json!(["k400", "x", "3"])) }),
        json!({ "select": of("max", json!(["k400", "x", "-1"])) }),
    ]);
    let mut all: Vec<(String, Question)> = requests
        .iter()
        .map(|request| {
            let body = request.to_string();
            let query = check(&CONVERSATIONS, body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"));
            (body.chars().take(200).collect(), Question::Query(query))
        })
        .collect();
    let export = check_export(&CONVERSATIONS, b"{}").unwrap();
    all.push(("an export".to_owned(), Question::Export(export.query)));
    let keys = check_property_keys(br#"{"field":"properties","views":["conversations_view"]}"#).unwrap();
    all.push(("keys".to_owned(), Question::Properties(keys)));
    let values = br#"{"field":"properties","key":"k400","views":["conversations_view"]}"#;
    all.push(("values".to_owned(), Question::Properties(check_property_values(values).unwrap())));
    all
}

async fn snapshots(rows: &Rows) -> [(&'static str, Arc<Snapshot>); 2] {
    let (mut files, mut tail) = (Builder::new(), Builder::new());
    files.file(rows, &chosen(rows), RoaringBitmap::new(), false).await;
    tail.segment(rows, &Layout::default(), RoaringBitmap::new());
    [("files", Arc::new(files.snapshot)), ("memory", Arc::new(tail.snapshot))]
}

async fn run(snapshot: &Arc<Snapshot>, question: &Question, watch: &Arc<Watch>) -> Result<Value, QueryError> {
    let execution = engine().execution(Arc::clone(snapshot), question.table(), scope());
    let question = match question {
        Question::Query(query) => Question::Query(query.clone()),
        Question::Export(query) => Question::Export(query.clone()),
        Question::Properties(query) => Question::Properties(query.clone()),
        Question::SearchReport { .. } => unreachable!(),
    };
    Arc::clone(watch).scope(async move { read(RowStream::open(execution, question).await?).await }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_stops_amid_its_work() {
    let rows = large_documents();
    let bytes: usize = rows.iter().map(|row| row.properties.as_ref().map_or(0, |json| json.get().len())).sum();
    let mut wrong = Vec::new();
    for (place, snapshot) in snapshots(&rows).await {
        for (what, question) in questions() {
            let whole = Watch::leaving_at(usize::MAX);
            run(&snapshot, &question, &whole).await.unwrap_or_else(|error| panic!("{what} in {place}: {error}"));
            let looks = whole.looks();
            // Each document is gone through at least once, or a file's columns tell without that.
            let least = if place == "memory" { bytes / LOOK_EVERY / 2 } else { 1 };
            if looks < least {
                wrong.push(format!("{looks} looks for {bytes} bytes: {what} in {place}"));
            }
            for leave_at in [1, looks / 2, looks].into_iter().filter(|at| *at > 0) {
                let watch = Watch::leaving_at(leave_at);
                let answer = run(&snapshot, &question, &watch).await;
                // Each of its threads may look once more.
                let more = watch.looks().saturating_sub(leave_at);
                if more > 4 || (answer.is_ok() && watch.looks() >= leave_at) {
                    wrong.push(format!("{more} looks after it was left at {leave_at} of {looks}: {what} in {place}"));
                }
            }
            let over = Watch::new(Some((std::time::Instant::now(), 7)));
            let answer = run(&snapshot, &question, &over).await;
            if answer != Err(QueryError::Deadline { seconds: 7 }) {
                wrong.push(format!("{answer:?} over its deadline: {what} in {place}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
