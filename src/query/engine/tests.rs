mod latest;
mod stop;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use arrow::array::{Array, ArrayRef};
use arrow::util::display::array_value_to_string;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use roaring::RoaringBitmap;
use serde_json::{Value, json};

use super::*;
use crate::cache::Cache;
use crate::model::conversation::Conversation;
use crate::model::ids::{EpochMillis, OrganizationId, ProjectId, WalPosition};
use crate::query::check::check;
use crate::query::execute::columns::ResultKind;
use crate::query::scan::rows::RowReader;
use crate::query::view::CONVERSATIONS;
use crate::shares::Taker;
use crate::storage::catalog::files::FileSnapshot;
use crate::storage::format::checked::checksums;
use crate::storage::format::data_file::DataFile;
use crate::storage::format::file_id::FileId;
use crate::storage::format::flatten::test_support::conversation;
use crate::storage::format::layout::{ColumnKind, JsonField, Layout, PropertyColumn, RemainderPaths};
use crate::storage::format::parquet_file::{Blocks, ParquetFile};
use crate::storage::format::physical_name::property_column;
use crate::storage::format::registry::{ColumnRegistry, PathCounts};
use crate::storage::format::row_index::file::FileIndex;
use crate::storage::format::table::Table;
use crate::storage::format::tables::PerTable;
use crate::storage::format::writer::RowsWriter;
use crate::storage::tail::segment::{Segment, SegmentSnapshot};

type Rows = Vec<Arc<Conversation>>;

fn engine() -> &'static QueryEngine {
    static ENGINE: OnceLock<QueryEngine> = OnceLock::new();
    ENGINE.get_or_init(|| engine_with(1 << 30, Duration::from_secs(60)))
}

fn engine_with(memory_bytes: u64, deadline: Duration) -> QueryEngine {
    QueryEngine::new(QueryOptions {
        threads: 2,
        slots: 4,
        export_slots: 4,
        slot_wait: Duration::from_secs(60),
        memory_bytes,
        memory: Arc::new(Budget::new(usize::MAX)),
        spill_bytes: 1 << 30,
        spill_dir: std::env::temp_dir().join("convolake-engine-tests"),
        deadline,
    })
    .unwrap()
}

fn scope() -> Scope {
    let (organization_id, project_id) = (OrganizationId::new("org"), Some(ProjectId::new("project")));
    Scope { organization_id, project_id, asker: Taker::default() }
}

struct Builder {
    snapshot: Snapshot,
    number: u32,
}

impl Builder {
    fn new() -> Self {
        let snapshot = Snapshot {
            store: Arc::new(InMemory::new()),
            manifest: Arc::default(),
            tables: PerTable::default(),
            position: WalPosition(0),
            flush_generation: 0,
        };
        Builder { snapshot, number: 0 }
    }

    async fn file(&mut self, rows: &[Arc<Conversation>], columns: &Layout, deleted: RoaringBitmap, any: bool) {
        self.number += 1;
        let mut rows = rows.to_vec();
        let mut positions: Vec<usize> = (0..rows.len()).collect();
        positions.sort_by_key(|&position| key(&rows[position]));
        let deleted = positions.iter().enumerate().filter(|(_, old)| deleted.contains(**old as u32));
        let deleted: RoaringBitmap = deleted.map(|(new, _)| new as u32).collect();
        rows.sort_by_key(|row| key(row));
        let mut bytes = Vec::new();
        let mut writer = RowsWriter::new(&mut bytes, columns).unwrap();
        writer.write(&rows).unwrap();
        let mut written = writer.finish().unwrap();
        if any {
            written.layout.properties_remainder = RemainderPaths::Any;
            written.layout.user_properties_remainder = RemainderPaths::Any;
        }
        let path = Path::from(format!("conversations/data/{}.parquet", self.number));
        assert_eq!(bytes.len() as u64, written.file.size);
        let blocks = Blocks::Known(checksums(&bytes));
        self.snapshot.store.put(&path, bytes.into()).await.unwrap();
        let parquet = ParquetFile::new(path, written.file.size, blocks, &Cache::new(1 << 20));
        let (layout, statistics) = (written.layout, written.file.statistics);
        let file = DataFile::new(
            (FileId(uuid::Uuid::nil()), self.number),
            parquet,
            written.file.rows,
            layout,
            statistics,
            FileIndex::empty(),
            &Cache::new(1 << 20),
        );
        let file = FileSnapshot { file: Arc::new(file), deleted: Arc::new(deleted) };
        Arc::make_mut(&mut self.snapshot.tables.conversations.files).push(file);
    }

    fn segment(&mut self, rows: &[Arc<Conversation>], columns: &Layout, deleted: RoaringBitmap) {
        self.number += 1;
        let segment = Segment {
            number: self.number,
            rows: rows.to_vec(),
            sequences: (1..=rows.len() as u64).collect(),
            flat: OnceLock::new(),
            threads: OnceLock::new(),
            columns: Arc::new(columns.clone()),
        };
        let segment = SegmentSnapshot { segment: Arc::new(segment), deleted: Arc::new(deleted) };
        Arc::make_mut(&mut self.snapshot.tables.conversations.segments).push(segment);
    }
}

fn key(row: &Conversation) -> (OrganizationId, ProjectId, i64, String) {
    (row.organization_id.clone(), row.project_id.clone(), row.created_at.0, row.id.as_str().to_owned())
}

fn chosen(rows: &[Arc<Conversation>]) -> Layout {
    let registry = ColumnRegistry::default();
    let mut counts = PathCounts::new(&registry);
    for row in rows {
        // As if all were one project's: the rows are in no order.
        let project = (OrganizationId::new("o"), ProjectId::new("p"));
        counts.add(&project, row.as_ref()).unwrap();
    }
    registry.choose(counts.finish()).layout
}

async fn ask(snapshot: &Arc<Snapshot>, body: &Value) -> Value {
    let query = check(&CONVERSATIONS, body.to_string().as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"));
    let task = engine().ask(Arc::clone(snapshot), scope(), Question::Query(query), read).await.unwrap();
    task.await.unwrap_or_else(|error| panic!("{body}: {error}"))
}

/// The rows as objects, and how many match in all.
async fn read(mut rows: RowStream) -> Result<Value, QueryError> {
    let mut result = Vec::new();
    while let Some(batch) = rows.next().await? {
        assert_eq!(batch.num_columns(), rows.columns().len());
        for row in 0..batch.num_rows() {
            let columns = rows.columns().iter().zip(batch.columns());
            let values = columns.map(|(column, array)| (column.name.clone(), value(column.kind, array, row)));
            result.push(Value::Object(values.collect()));
        }
    }
    Ok(json!({"data": {"result": result, "total": rows.total()}}))
}

fn value(kind: ResultKind, array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    let shown = array_value_to_string(array, row).unwrap();
    match kind {
        ResultKind::Json | ResultKind::JsonTexts | ResultKind::Boolean | ResultKind::Integer => {
            serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{shown}: {error}"))
        }
        ResultKind::Number | ResultKind::EpochMillis if shown.ends_with(".0") => {
            serde_json::from_str(shown.trim_end_matches(".0")).unwrap()
        }
        ResultKind::Number => serde_json::from_str(&shown).unwrap_or(Value::String(shown)),
        _ => Value::String(shown),
    }
}

/// Documents with every JSON type at the same few paths.
fn documents(count: usize) -> Rows {
    let mut rng = StdRng::seed_from_u64(7);
    let scalars = [
        "\"pro\"",
        "\"pro\"",
        "\"free\"",
        "5",
        "5",
        "1.1",
        "9007199254740993",
        "true",
        "true",
        "{\"x\":5}",
        "{\"x\":1}",
        "\"pro\"",
        "\"free\"",
        "\"\"",
        "\"5\"",
        "\" 5\"",
        "\"1e2\"",
        "\"tr\\u00fce\"",
        "5",
        "5.0",
        "1.10",
        "1.1",
        "1e2",
        "9007199254740993",
        "9007199254740992",
        "-0.0",
        "1e-7",
        "true",
        "false",
        "null",
        "[]",
        "{}",
        "[1,\"a\",null]",
        "[{\"x\":1},{\"x\":2}]",
        "[\"pro\",5]",
        "{\"x\":1}",
        "{\"x\":{\"y\":\"z\"}}",
        "{\"0\":\"zero\"}",
        "{\"x\":null}",
        "[[\"deep\"]]",
        "{\"x\":5,\"w\":[1]}",
    ];
    let value = |rng: &mut StdRng| scalars[rng.random_range(0..scalars.len())];
    (0..count)
        .map(|number| {
            let mut object = String::from("{");
            for name in ["plan", "score", "0", "odd key"] {
                if rng.random_bool(0.7) {
                    let text = value(&mut rng);
                    let comma = if object.len() > 1 { "," } else { "" };
                    object.push_str(&format!("{comma}\"{name}\":{text}"));
                }
            }
            let comma = if object.len() > 1 { "," } else { "" };
            object.push_str(&format!("{comma}\"region\":\"r{}\"}}", rng.random_range(0..4)));
            let user = rng.random_bool(0.5).then(|| format!("{{\"id\":\"u{}\"}}", rng.random_range(0..30)));
            let mut row = conversation(number, rng.random_bool(0.9).then_some(object.as_str()), user.as_deref());
            row.created_at = EpochMillis(1_724_630_400_000 + rng.random_range(0..40) * 7_200_000);
            if rng.random_bool(0.1) {
                row.project_id = ProjectId::new("other");
            }
            if rng.random_bool(0.5) {
                row.tags = Some((0..rng.random_range(0..3)).map(|n| format!("t{n}")).collect());
            }
            if rng.random_bool(0.5) {
                row.external_id = Some(format!("e{}", number % 7));
            }
            Arc::new(row)
        })
        .collect()
}

fn is_deleted(row: &Conversation) -> bool {
    row.id.as_str().ends_with('3')
}

fn deleted_of(rows: &[Arc<Conversation>]) -> RoaringBitmap {
    let deleted = rows.iter().enumerate().filter(|(_, row)| is_deleted(row));
    deleted.map(|(position, _)| position as u32).collect()
}

/// The same live rows in several arrangements.
async fn arrangements(rows: &Rows) -> BTreeMap<&'static str, Arc<Snapshot>> {
    let live: Rows = rows.iter().filter(|row| !is_deleted(row)).cloned().collect();
    let columns = chosen(rows);
    assert!(columns.columns.len() > 8, "{:?}", columns.columns);
    let none = Layout::default();
    let mut found = BTreeMap::new();

    let mut builder = Builder::new();
    builder.segment(&live, &none, RoaringBitmap::new());
    found.insert("tail without columns", Arc::new(builder.snapshot));

    let mut builder = Builder::new();
    builder.segment(rows, &columns, deleted_of(rows));
    found.insert("tail with columns and deleted rows", Arc::new(builder.snapshot));

    let mut builder = Builder::new();
    builder.file(rows, &columns, deleted_of(rows), false).await;
    found.insert("file with columns and deleted rows", Arc::new(builder.snapshot));

    let mut builder = Builder::new();
    builder.file(&live, &none, RoaringBitmap::new(), true).await;
    found.insert("file without columns, unknown remainder", Arc::new(builder.snapshot));

    let mut builder = Builder::new();
    let (first, rest) = rows.split_at(rows.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    let one = column(&["plan"], ColumnKind::String);
    let two = column(&["plan", "x"], ColumnKind::Number);
    builder.file(first, &Layout { columns: vec![one, two], ..Layout::default() }, deleted_of(first), true).await;
    builder.file(second, &columns, deleted_of(second), false).await;
    let (third, fourth) = third.split_at(third.len() / 2);
    builder.segment(third, &columns, deleted_of(third));
    builder.segment(fourth, &none, deleted_of(fourth));
    found.insert("mixed", Arc::new(builder.snapshot));
    found
}

fn column(path: &[&str], kind: ColumnKind) -> PropertyColumn {
    let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
    let name = property_column(JsonField::Properties, &path, kind);
    PropertyColumn { field: JsonField::Properties, path, kind, name }
}

fn condition(field: &str, operator: &str, value: Value) -> Value {
    json!({"condition": {"field": field, "operator": operator, "value": value}})
}

fn requests() -> Vec<Value> {
    let at = |path: &[&str], value: Value| json!({"path": path, "value": value});
    let paths: [&[&str]; 8] = [
        &["plan"],
        &["score"],
        &["0"],
        &["plan", "x"],
        &["score", "0"],
        &["plan", "-1", "x"],
        &["odd key", "x", "y"],
        &["none"],
    ];
    let mut wheres = Vec::new();
    for path in paths {
        for value in
            [json!("pro"), json!(5), json!(true), json!([]), json!({"x": 1}), json!("5"), json!([1, "a", null])]
        {
            wheres.push(condition("properties", "eq", at(path, value.clone())));
            wheres.push(condition("properties", "neq", at(path, value.clone())));
            wheres.push(condition("properties", "jsonContains", at(path, value.clone())));
            wheres.push(condition("properties", "jsonContainedBy", at(path, value.clone())));
            wheres.push(condition("properties", "arrayContains", at(path, value)));
        }
        wheres.push(condition("properties", "eq", at(path, json!(null))));
        wheres.push(condition("properties", "neq", at(path, json!(null))));
        wheres.push(condition("properties", "in", at(path, json!(["pro", 5, 1.1, true, [], {"x": 1}, null]))));
        wheres.push(condition("properties", "notIn", at(path, json!(["pro", 5, 1.1, true, [], {"x": 1}, null]))));
        wheres.push(condition("properties", "in", at(path, json!([]))));
        wheres.push(condition("properties", "notIn", at(path, json!([]))));
        for operator in ["gt", "gte", "lt", "lte"] {
            for value in [json!("free"), json!(1.1), json!(9_007_199_254_740_993_u64), json!(5)] {
                wheres.push(condition("properties", operator, at(path, value)));
            }
        }
        wheres.push(condition("properties", "jsonHasKey", at(path, json!("x"))));
        wheres.push(condition("properties", "jsonHasAnyKey", at(path, json!(["x", "pro"]))));
        wheres.push(condition("properties", "jsonHasAllKeys", at(path, json!([]))));
        wheres.push(condition("properties", "jsonArrayContainsObject", at(path, json!({"x": 1}))));
        wheres.push(json!({"condition": {"field": "properties", "operator": "isNull", "value": {"path": path}}}));
        wheres.push(json!({"condition": {"field": "properties", "operator": "isNotNull", "value": {"path": path}}}));
    }
    for value in [
        json!({"plan": "pro"}),
        json!({"plan": {"x": 1}}),
        json!({"plan": {}}),
        json!({"score": 5, "plan": null}),
        json!({}),
        json!({"0": {"0": "zero"}}),
        json!({"score": [5]}),
    ] {
        wheres.push(condition("properties", "jsonContains", value.clone()));
        wheres.push(condition("properties", "jsonContainedBy", value.clone()));
        wheres.push(condition("properties", "eq", value.clone()));
        wheres.push(condition("properties", "neq", value));
    }
    for (operator, value) in [
        ("jsonHasKey", json!("plan")),
        ("jsonHasKey", json!("none")),
        ("jsonHasAllKeys", json!(["plan", "score"])),
        ("jsonHasAnyKey", json!(["plan", "0"])),
        ("jsonHasAllKeys", json!([])),
        ("jsonHasAnyKey", json!([])),
    ] {
        wheres.push(condition("properties", operator, value));
    }
    wheres.push(condition("tags", "arrayContains", json!("t1")));
    wheres.push(condition("tags", "arrayContains", json!(["t0", "t1"])));
    wheres.push(condition("tags", "eq", json!(["t0"])));
    wheres.push(condition("tags", "neq", json!(["t0"])));
    wheres.push(condition("tags", "eq", json!(null)));
    wheres.push(condition("externalId", "notIn", json!(["e1", null])));
    wheres.push(condition("externalId", "in", json!(["e1", "e2", null])));
    wheres.push(condition("userMessageCount", "gte", json!(0.5)));
    wheres.push(condition("userMessageCount", "eq", json!(1.5)));
    wheres.push(condition("isEnd", "eq", json!(false)));
    wheres.push(condition("firstMessageTime", "gte", json!("2024-08-27T00:00:00Z")));
    wheres.push(condition("firstMessageTime", "lt", json!(1_724_716_800_000.5)));
    wheres.push(condition("firstMessageTime", "lt", json!("2024-08-27")));
    wheres.push(json!({"and": []}));
    wheres.push(json!({"or": []}));
    wheres.push(json!({"or": [condition("properties", "eq", at(&["plan"], json!("pro"))), {"and": [
        condition("properties", "gt", at(&["score"], json!(1))), condition("type", "eq", json!("openai"))]}]}));

    let mut requests: Vec<Value> = wheres
        .into_iter()
        .enumerate()
        .map(|(number, filter)| match number % 3 {
            0 => json!({"where": filter, "select": [{"type": "aggregation", "aggregation": "count"},
                {"type": "aggregation", "aggregation": "countDistinct", "field": "id"}]}),
            1 => json!({"where": filter, "limit": 7, "offset": 2, "select": [{"type": "field", "field": "id"},
                {"type": "field", "field": "properties", "path": ["plan"]}]}),
            _ => json!({"where": filter, "limit": 5}),
        })
        .collect();
    for path in paths {
        let aggregation =
            |name: &str| json!({"type": "aggregation", "aggregation": name, "field": "properties", "path": path});
        let all = ["sum", "avg", "min", "max", "count", "countDistinct"].map(aggregation);
        requests.push(json!({"select": all}));
        requests.push(json!({"select": all, "groupBy": [{"field": "properties", "path": ["region"]}]}));
        let name = format!("properties.{}", path.join("."));
        requests.push(json!({"select": [{"type": "aggregation", "aggregation": "count"}], "limit": 4,
            "groupBy": [{"field": "properties", "path": path}], "orderBy": [{"field": "count", "direction": "desc"}]}));
        requests.push(json!({"groupBy": [{"field": "properties", "path": path}, {"field": "type"}]}));
        if !name.contains("0") && !name.contains("-1") {
            requests.push(json!({"select": [{"type": "field", "field": "id"}],
                "orderBy": [{"field": name, "direction": "desc"}], "limit": 20, "offset": 3}));
        }
    }
    for aggregation in ["sum", "avg", "min", "max", "count", "countDistinct"] {
        for field in ["firstMessageTime", "userMessageCount"] {
            requests.push(json!({"select": [{"type": "aggregation", "aggregation": aggregation, "field": field}]}));
        }
    }
    requests.extend([
        json!({}),
        json!({"select": [{"type": "aggregation", "aggregation": "count"}]}),
        json!({"select": [{"type": "field", "field": "properties"}], "limit": 500}),
        json!({"orderBy": [{"field": "properties", "direction": "asc"}], "limit": 50}),
        json!({"groupBy": [{"field": "properties"}], "limit": 50}),
        json!({"groupBy": [{"field": "tags"}, {"field": "externalId"}]}),
        json!({"select": [{"type": "time", "timeUnit": "day"}, {"type": "aggregation", "aggregation": "count", "field": "id"}]}),
        json!({"select": [{"type": "time", "timeUnit": "week"}, {"type": "aggregation", "aggregation": "countDistinct",
            "field": "userProperties", "path": ["id"]}], "timeZone": "America/New_York"}),
        json!({"select": [{"type": "aggregation", "aggregation": "countDistinct", "field": "tags"},
            {"type": "aggregation", "aggregation": "countDistinct", "field": "properties"},
            {"type": "aggregation", "aggregation": "count", "field": "tags"}]}),
        json!({"select": [{"type": "field", "field": "tags"}, {"type": "field", "field": "isEnd"},
            {"type": "field", "field": "createdAt"}], "orderBy": [{"field": "tags", "direction": "desc"}], "limit": 30}),
    ]);
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_does_not_depend_on_where_rows_and_values_lie() {
    let arranged = arrangements(&documents(1200)).await;
    let mut nonempty = 0;
    for request in requests() {
        let mut first: Option<(&str, Value)> = None;
        for (name, snapshot) in &arranged {
            let answer = ask(snapshot, &request).await;
            match &first {
                None => first = Some((name, answer)),
                Some((other, expected)) => assert_eq!(answer, *expected, "{name} and {other}: {request}"),
            }
        }
        nonempty += usize::from(first.is_some_and(|(_, answer)| answer["data"]["total"] != json!(0)));
    }
    assert!(nonempty > 100, "{nonempty}");
}

fn total(answer: &Value) -> u64 {
    answer["data"]["total"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_agree_with_a_count_by_hand() {
    let rows = documents(1200);
    let in_scope = |row: &&Arc<Conversation>| !is_deleted(row) && row.project_id.as_str() == "project";
    let count = |holds: &dyn Fn(&Value) -> bool| {
        let of = |row: &&Arc<Conversation>| {
            let properties = row.properties.as_ref().map_or("null", |raw| raw.get());
            holds(&serde_json::from_str(properties).unwrap())
        };
        rows.iter().filter(in_scope).filter(of).count() as u64
    };
    let arranged = arrangements(&rows).await;
    type Holds = Box<dyn Fn(&Value) -> bool>;
    let cases: Vec<(Value, Holds)> = vec![
        (json!({"and": []}), Box::new(|_| true)),
        (condition("properties", "eq", json!({"path": ["plan"], "value": "pro"})), Box::new(|p| p["plan"] == "pro")),
        (
            condition("properties", "neq", json!({"path": ["plan"], "value": "pro"})),
            Box::new(|p| !p["plan"].is_null() && p["plan"] != "pro"),
        ),
        (
            condition("properties", "gt", json!({"path": ["score"], "value": 5})),
            Box::new(|p| p["score"].as_f64().is_some_and(|score| score > 5.0)),
        ),
        (condition("properties", "jsonHasKey", json!("plan")), Box::new(|p| p.get("plan").is_some())),
        (
            condition("properties", "jsonContains", json!({"plan": {"x": 1}})),
            Box::new(|p| p["plan"].is_object() && p["plan"]["x"] == 1),
        ),
        (
            json!({"condition": {"field": "properties", "operator": "isNull", "value": {"path": ["plan", "x"]}}}),
            Box::new(|p| !p["plan"].is_object() || p["plan"]["x"].is_null()),
        ),
    ];
    for (filter, holds) in cases {
        for (name, snapshot) in &arranged {
            let request = json!({"where": filter, "limit": 1, "select": [{"type": "field", "field": "id"}]});
            assert_eq!(total(&ask(snapshot, &request).await), count(&*holds), "{name}: {filter}");
        }
    }
    for (name, snapshot) in &arranged {
        let (newest, total) = engine().latest(Arc::clone(snapshot), scope(), 5, 1).await.unwrap();
        assert_eq!(total, count(&|_| true), "{name}");
        let mut expected: Vec<_> = rows.iter().filter(in_scope).collect();
        expected.sort_by_key(|row| std::cmp::Reverse((row.created_at, row.id.clone())));
        let times = expected.iter().skip(1).take(5).map(|row| row.id.as_str()).collect::<Vec<_>>();
        let mut reader = RowReader::new(Arc::clone(snapshot), Table::Conversations, vec!["id"]).unwrap();
        let ids = reader.next_chunk(&newest).await.unwrap();
        let ids = ids.column(0).as_any().downcast_ref::<arrow::array::StringArray>().unwrap();
        assert_eq!(ids.iter().flatten().collect::<Vec<_>>(), times, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_nested_conditions_run() {
    let arranged = arrangements(&documents(1200)).await;
    let leaf = |number: u64| condition("properties", "eq", json!({"path": ["score"], "value": number}));
    let wide = json!({"or": (0..900).map(leaf).collect::<Vec<_>>()});
    let mut deep = leaf(5);
    for level in 0..60 {
        deep = if level % 2 == 0 { json!({"and": [deep]}) } else { json!({"or": [deep, leaf(level)]}) };
    }
    let request = json!({"where": {"and": [wide, deep]}, "select": [{"type": "aggregation", "aggregation": "count"}]});
    for snapshot in arranged.values() {
        ask(snapshot, &request).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_end_a_query_before_its_first_row() {
    let rows: Rows = (0..20_000)
        .map(|number| Arc::new(conversation(number, Some(&format!("{{\"k\":\"{number:050}\"}}")), None)))
        .collect();
    let mut builder = Builder::new();
    builder.segment(&rows, &Layout::default(), RoaringBitmap::new());
    let snapshot = Arc::new(builder.snapshot);
    let body = json!({"select": [{"type": "aggregation", "aggregation": "countDistinct", "field": "properties", "path": ["k"]}]});
    let query = check(&CONVERSATIONS, body.to_string().as_bytes()).unwrap();
    let small = engine_with(64 << 10, Duration::from_secs(60));
    let ask = async |engine: &QueryEngine| {
        let question = Question::Query(query.clone());
        engine.ask(Arc::clone(&snapshot), scope(), question, read).await.unwrap().await.err()
    };
    assert_eq!(ask(&small).await, Some(QueryError::Memory { bytes: 64 << 10 }));
    let late = engine_with(1 << 30, Duration::ZERO);
    assert_eq!(ask(&late).await, Some(QueryError::Deadline { seconds: 0 }));
}

/// Ranges of the file go to different partitions, row groups are read in the order of the sort, and the deletions hold
/// all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_split_and_keeps_its_deleted_rows_out() {
    let rows: Rows = (0..100_000)
        .map(|number| {
            let properties = format!("{{\"k\":\"{:x}\",\"n\":{}}}", number * 7919 % 1_000_003, number % 100);
            let mut row = conversation(number, Some(&properties), None);
            row.created_at = EpochMillis(1_724_630_400_000 + number as i64 * 60_000);
            Arc::new(row)
        })
        .collect();
    let deleted = |number: &u32| number.is_multiple_of(3) || (40_000..80_000).contains(number);
    let mut builder = Builder::new();
    builder.file(&rows, &chosen(&rows), (0..100_000).filter(deleted).collect(), false).await;
    let snapshot = Arc::new(builder.snapshot);
    let live: Vec<u32> = (0..100_000).filter(|number| !deleted(number)).collect();

    let count = json!({"select": [{"type": "aggregation", "aggregation": "count"}]});
    assert_eq!(ask(&snapshot, &count).await["data"]["result"][0]["count"], live.len());
    let sum = json!({"select": [{"type": "aggregation", "aggregation": "sum", "field": "properties", "path": ["n"]}]});
    let expected: u32 = live.iter().map(|number| number % 100).sum();
    assert_eq!(ask(&snapshot, &sum).await["data"]["result"][0]["sum_properties.n"], expected);
    for (direction, expected) in [("desc", live.iter().rev().collect::<Vec<_>>()), ("asc", live.iter().collect())] {
        let page = json!({"limit": 300, "offset": 26_000, "orderBy": [{"field": "firstMessageTime", "direction": direction}],
            "select": [{"type": "field", "field": "id"}, {"type": "field", "field": "properties"}]});
        let answer = ask(&snapshot, &page).await;
        assert_eq!(total(&answer), live.len() as u64);
        let ids: Vec<String> = expected.iter().skip(26_000).take(300).map(|number| format!("c{number}")).collect();
        let found = answer["data"]["result"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap());
        assert_eq!(found.collect::<Vec<_>>(), ids, "{direction}");
    }
}

/// A choice of rows narrows a scan of files, deleted rows stay out, and the snapshot shows all rows as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_choice_of_rows_stands_beside_the_snapshot() {
    let rows: Rows = (0..30).map(|number| Arc::new(conversation(number, None, None))).collect();
    let mut builder = Builder::new();
    builder.file(&rows[..10], &Layout::default(), RoaringBitmap::from([2, 3]), false).await;
    builder.file(&rows[10..20], &Layout::default(), RoaringBitmap::new(), false).await;
    builder.segment(&rows[20..], &Layout::default(), RoaringBitmap::from([0]));
    let snapshot = Arc::new(builder.snapshot);
    let mut filter = RowFilter::default();
    filter.ask_only(1, RoaringBitmap::from([1, 2, 5]));
    filter.ask_only(2, RoaringBitmap::new());
    let found = async |filter: Option<Arc<RowFilter>>| {
        let (all, order) = (Filter::And(Vec::new()), vec![("id", false)]);
        let found = engine().rows_among(Arc::clone(&snapshot), scope(), filter, all, order, 100).await.unwrap();
        let mut addresses: Vec<_> = found.addresses.iter().map(|row| (row.source, row.row)).collect();
        addresses.sort_unstable();
        addresses
    };
    let segment = (1..10).map(|row| (3, row));
    let file = |number: u32, rows: &[u32]| rows.iter().map(|row| (number, *row)).collect::<Vec<_>>();
    let chosen: Vec<_> = file(1, &[1, 5]).into_iter().chain(segment.clone()).collect();
    assert_eq!(found(Some(Arc::new(filter))).await, chosen);
    let all: Vec<_> = file(1, &[0, 1, 4, 5, 6, 7, 8, 9]).into_iter().chain((0..10).map(|row| (2, row))).collect();
    assert_eq!(found(None).await, all.into_iter().chain(segment).collect::<Vec<_>>());
}
