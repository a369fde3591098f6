//! Tables of requests: one case per rule, with the error's path and a part of its message, or the checked form.

mod filter;

use super::*;
use crate::query::dsl::{AggregateFunction, ColumnExpr, KeyExpr, TimeStep, TimeUnit};
use crate::query::view::CONVERSATIONS;

fn checked(body: &str) -> Query {
    check(&CONVERSATIONS, body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"))
}

fn rejected(body: &str) -> (String, String) {
    match check(&CONVERSATIONS, body.as_bytes()) {
        Err(QueryError::Invalid { path, message }) => (path, message),
        other => panic!("{body}: {other:?}"),
    }
}

/// (request, path of the error, part of its message)
fn all_rejected(cases: &[(&str, &str, &str)]) {
    for (body, path, part) in cases {
        let (given_path, message) = rejected(body);
        assert_eq!(given_path, *path, "{body}: {message}");
        assert!(message.contains(part), "{body}: {message}");
    }
}

fn names(query: &Query) -> Vec<&str> {
    query.columns.iter().map(|column| column.name.as_str()).collect()
}

fn where_condition(condition: &str) -> String {
    format!(r#"{{"where":{{"condition":{condition}}}}}"#)
}

#[test]
fn not_json_is_a_syntax_error() {
    for body in ["", "{", "select", "{\"select\":[}", "{} {}", "{'a':1}"] {
        assert!(matches!(check(&CONVERSATIONS, body.as_bytes()), Err(QueryError::Syntax(_))), "{body}");
    }
    assert!(matches!(check(&CONVERSATIONS, b"{\"notes\":\"\xff\"}"), Err(QueryError::Syntax(_))));
}

#[test]
fn requests() {
    all_rejected(&[
        ("[]", "", "array given, an object is needed"),
        ("null", "", "null given"),
        ("5", "", "number given"),
        (r#"{"groupby":[]}"#, "groupby", "did you mean `groupBy`?"),
        (r#"{"order_by":[]}"#, "order_by", "did you mean `orderBy`?"),
        (r#"{"whatever":null}"#, "whatever", "allowed: `select`, `groupBy`"),
        (r#"{"select":{}}"#, "select", "object given, a list is needed"),
        (r#"{"groupBy":"id"}"#, "groupBy", "string given, a list is needed"),
        (r#"{"orderBy":true}"#, "orderBy", "boolean given, a list is needed"),
        (r#"{"notes":5}"#, "notes", "a string is needed"),
        (r#"{"limit":0}"#, "limit", "an integer from 1 to 100000"),
        (r#"{"limit":100001}"#, "limit", "100001 given"),
        (r#"{"limit":1.5}"#, "limit", "1.5 given"),
        (r#"{"limit":-1}"#, "limit", "-1 given"),
        (r#"{"limit":"10"}"#, "limit", "string given"),
        (r#"{"limit":1e300}"#, "limit", "1e300 given"),
        (r#"{"offset":-1}"#, "offset", "an integer from 0"),
        (r#"{"offset":9007199254740992}"#, "offset", "an integer from 0"),
        (r#"{"timeZone":"Europe/Atlantis"}"#, "timeZone", "unknown time zone `Europe/Atlantis`"),
        (r#"{"timeZone":""}"#, "timeZone", "unknown time zone"),
        (r#"{"timeZone":"Etc/Unknown"}"#, "timeZone", "unknown time zone"),
        (r#"{"timeZone":"+02:00"}"#, "timeZone", "unknown time zone"),
        (r#"{"timeZone":2}"#, "timeZone", "number given"),
        (r#"{"weekStart":"Monday"}"#, "weekStart", "did you mean `monday`?"),
        (r#"{"weekStart":1}"#, "weekStart", "number given"),
        (r#"{"notes":"a\u0000b"}"#, "notes", "NUL"),
        (r#"{"notes":"\ud800"}"#, "notes", "surrogate"),
    ]);
    let query = checked("{}");
    assert_eq!((query.limit, query.offset), (10_000, 0));
    assert_eq!(query.time_zone, TimeZone::UTC);
    assert_eq!(query.week_start, Weekday::Monday);
    assert!(query.filter.is_none() && query.order.is_empty() && !query.grouped);
    assert!(query.groups.is_empty() && query.aggregations.is_empty());
    let published = [
        "id",
        "userMessageCount",
        "organizationId",
        "projectId",
        "integrationId",
        "firstMessageTime",
        "type",
        "properties",
        "userProperties",
    ];
    assert_eq!(names(&query), published);
    let absent = r#"{"select":null,"groupBy":null,"where":null,"orderBy":null,"notes":null,"limit":null,
        "offset":null,"timeZone":null,"weekStart":null}"#;
    assert_eq!(names(&checked(absent)), published);
    assert_eq!(names(&checked(r#"{"select":[],"groupBy":[],"orderBy":[]}"#)), published);
    let query =
        checked(r#"{"limit":1e2,"offset":20.0,"timeZone":"America/New_York","weekStart":"sunday","notes":"why not"}"#);
    assert_eq!((query.limit, query.offset), (100, 20));
    assert_eq!(query.time_zone.iana_name(), Some("America/New_York"));
    assert_eq!(query.week_start, Weekday::Sunday);
    assert_eq!(checked(r#"{"limit":100000,"offset":-0}"#).limit, 100_000);
}

#[test]
fn notes_count_characters() {
    checked(&format!(r#"{{"notes":"{}"}}"#, "ü".repeat(80)));
    let (path, message) = rejected(&format!(r#"{{"notes":"{}"}}"#, "x".repeat(81)));
    assert_eq!((path.as_str(), message.as_str()), ("notes", "81 characters given, at most 80 are allowed"));
}

#[test]
fn long_client_words_are_cut_in_errors() {
    let word = "x".repeat(1_000_000);
    for body in [
        format!(r#"{{"{word}":1}}"#),
        format!(r#"{{"select":[{{"type":"{word}"}}]}}"#),
        format!(r#"{{"timeZone":"{word}"}}"#),
        format!(r#"{{"orderBy":[{{"field":"{word}","direction":"asc"}}]}}"#),
        format!(r#"{{"select":[{{"type":"field","field":"properties","path":["{word}"],"mode":"json"}}]}}"#),
        where_condition(&format!(r#"{{"field":"createdAt","operator":"eq","value":"{word}"}}"#)),
    ] {
        let (path, message) = rejected(&body);
        assert!(path.len() + message.len() < 2_000, "{} {}", path.len(), message.len());
    }
}

#[test]
fn selections() {
    let select = |selections: &str| format!(r#"{{"select":[{selections}]}}"#);
    for (selection, path, part) in [
        ("null", "select[0]", "null given, an object is needed"),
        (r#""id""#, "select[0]", "string given, an object is needed"),
        ("{}", "select[0].type", "missing"),
        (r#"{"type":null}"#, "select[0].type", "missing"),
        (r#"{"type":"fields"}"#, "select[0].type", "did you mean `field`?"),
        (r#"{"type":1}"#, "select[0].type", "number given"),
        (r#"{"type":"field","feild":"id"}"#, "select[0].feild", "did you mean `field`?"),
        (r#"{"type":"field"}"#, "select[0].field", "missing"),
        (r#"{"type":"field","field":"idd"}"#, "select[0].field", "did you mean `id`?"),
        (r#"{"type":"field","field":5}"#, "select[0].field", "number given"),
        (r#"{"type":"field","field":"id","path":["a"]}"#, "select[0].path", "not a JSON field"),
        (r#"{"type":"field","field":"tags","path":["0"]}"#, "select[0].path", "not a JSON field"),
        (r#"{"type":"field","field":"properties","path":"a"}"#, "select[0].path", "string given, a list"),
        (r#"{"type":"field","field":"properties","path":["a",1]}"#, "select[0].path[1]", "number given"),
        (r#"{"type":"field","field":"properties","path":[null]}"#, "select[0].path[0]", "null given"),
        (r#"{"type":"field","field":"id","timeUnit":"day"}"#, "select[0].timeUnit", "unknown key"),
        (r#"{"type":"field","field":"properties","mode":"jsn"}"#, "select[0].mode", "did you mean `json`?"),
        (r#"{"type":"field","field":"properties","path":["a"],"mode":"json"}"#, "select[0].path", "mode `json`"),
        (r#"{"type":"time"}"#, "select[0].timeUnit", "missing"),
        (r#"{"type":"time","timeUnit":"days"}"#, "select[0].timeUnit", "did you mean `day`?"),
        (r#"{"type":"time","timeUnit":"day","field":"id"}"#, "select[0].field", "`id` is no time field"),
        (r#"{"type":"time","timeUnit":"day","field":"nope"}"#, "select[0].field", "unknown field"),
        (r#"{"type":"time","timeUnit":"day","path":["a"]}"#, "select[0].path", "unknown key"),
        (r#"{"type":"aggregation"}"#, "select[0].aggregation", "missing"),
        (r#"{"type":"aggregation","aggregation":"mean"}"#, "select[0].aggregation", "allowed: `sum`"),
        (r#"{"type":"aggregation","aggregation":"count","mode":"json"}"#, "select[0].mode", "unknown key"),
        (r#"{"type":"aggregation","aggregation":"count","path":["a"]}"#, "select[0].path", "without `field`"),
        (r#"{"type":"aggregation","aggregation":"countDistinct"}"#, "select[0].field", "`countDistinct` needs"),
        (r#"{"type":"aggregation","aggregation":"sum"}"#, "select[0].field", "`sum` needs a field"),
        (r#"{"type":"aggregation","aggregation":"avg","field":null}"#, "select[0].field", "`avg` needs a field"),
        (r#"{"type":"aggregation","aggregation":"sum","field":"id"}"#, "select[0].field", "`sum` does not take `id`"),
        (r#"{"type":"aggregation","aggregation":"min","field":"type"}"#, "select[0].field", "does not take `type`"),
        (r#"{"type":"aggregation","aggregation":"max","field":"isEnd"}"#, "select[0].field", "does not take `isEnd`"),
        (r#"{"type":"aggregation","aggregation":"avg","field":"tags"}"#, "select[0].field", "does not take `tags`"),
        (r#"{"type":"aggregation","aggregation":"sum","field":"properties"}"#, "select[0].field", "needs a `path`"),
        (
            r#"{"type":"aggregation","aggregation":"sum","field":"properties","path":[]}"#,
            "select[0].field",
            "needs a `path`",
        ),
        (
            r#"{"type":"aggregation","aggregation":"count","field":"id","path":["a"]}"#,
            "select[0].path",
            "not a JSON field",
        ),
    ] {
        all_rejected(&[(&select(selection), path, part)]);
    }
    let query = checked(&select(
        r#"{"type":"aggregation","aggregation":"count"},
           {"type":"aggregation","aggregation":"count","field":"properties","path":["plan"]},
           {"type":"aggregation","aggregation":"countDistinct","field":"properties"},
           {"type":"aggregation","aggregation":"countDistinct","field":"tags","path":[]},
           {"type":"aggregation","aggregation":"sum","field":"userMessageCount","path":null},
           {"type":"aggregation","aggregation":"avg","field":"properties","path":["a","b.c"]},
           {"type":"aggregation","aggregation":"min","field":"firstMessageTime"},
           {"type":"aggregation","aggregation":"count"},
           {"type":"time","timeUnit":"week"},
           {"type":"time","timeUnit":"hour","field":"createdAt"}"#,
    ));
    assert!(query.grouped);
    let expected = [
        "count",
        "count_properties.plan",
        "countDistinct_properties",
        "countDistinct_tags",
        "sum_userMessageCount",
        "avg_properties.a.b.c",
        "min_firstMessageTime",
        "firstMessageTime_week",
        "createdAt_hour",
    ];
    assert_eq!(names(&query), expected);
    assert_eq!(query.aggregations.len(), 7);
    assert!(
        matches!(query.groups[0], KeyExpr::Bucket { step: TimeStep { unit: TimeUnit::Week, count: 1 }, field } if field.name == "firstMessageTime")
    );
    assert_eq!(query.columns[7].expr, ColumnExpr::Group(0));
    assert_eq!(query.columns[0].expr, ColumnExpr::Aggregation(0));

    let query = checked(&select(
        r#"{"type":"field","field":"properties","mode":"json"},{"type":"field","field":"properties","path":[]},
           {"type":"field","field":"properties","path":["a"],"mode":"unpack"},{"type":"field","field":"title"}"#,
    ));
    assert!(!query.grouped);
    assert_eq!(names(&query), ["properties", "properties.a", "title"]);
}

#[test]
fn columns_of_one_name() {
    all_rejected(&[
        (
            r#"{"select":[{"type":"field","field":"properties","path":["a.b"]},
                          {"type":"field","field":"properties","path":["a","b"]}]}"#,
            "select[1]",
            "a second column named `properties.a.b`",
        ),
        (
            r#"{"groupBy":[{"field":"properties","path":["a.b"]},{"field":"properties","path":["a","b"]}]}"#,
            "groupBy[1]",
            "a second column",
        ),
    ]);
    let hidden = checked(
        r#"{"groupBy":[{"field":"properties","path":["a.b"]},
                       {"field":"properties","path":["a","b"],"includeInSelect":false}],
            "orderBy":[{"field":"properties.a.b","direction":"asc"}]}"#,
    );
    assert_eq!((names(&hidden), hidden.groups.len()), (vec!["properties.a.b"], 2));
    assert_eq!(hidden.order[0].expr, ColumnExpr::Group(0), "the output column comes first");
}

#[test]
fn group_keys() {
    all_rejected(&[
        (r#"{"groupBy":["id"]}"#, "groupBy[0]", "string given, an object is needed"),
        (r#"{"groupBy":[null]}"#, "groupBy[0]", "null given"),
        (r#"{"groupBy":[{}]}"#, "groupBy[0].field", "missing"),
        (r#"{"groupBy":[{"field":"typ"}]}"#, "groupBy[0].field", "did you mean `type`?"),
        (r#"{"groupBy":[{"field":"id","path":["a"]}]}"#, "groupBy[0].path", "not a JSON field"),
        (r#"{"groupBy":[{"field":"id","includeInSelect":"yes"}]}"#, "groupBy[0].includeInSelect", "a boolean"),
        (r#"{"groupBy":[{"field":"id","include":true}]}"#, "groupBy[0].include", "unknown key"),
        (
            r#"{"select":[{"type":"field","field":"id"},{"type":"aggregation","aggregation":"count"}]}"#,
            "select[0].field",
            "`id` is selected beside",
        ),
        (
            r#"{"select":[{"type":"time","timeUnit":"day"},{"type":"field","field":"firstMessageTime"}]}"#,
            "select[1].field",
            "`firstMessageTime` is selected",
        ),
        (
            r#"{"select":[{"type":"field","field":"properties","path":["a"]}],"groupBy":[{"field":"properties"}]}"#,
            "select[0].field",
            "`properties.a` is selected",
        ),
    ]);
    let query = checked(
        r#"{"select":[{"type":"field","field":"type"},{"type":"aggregation","aggregation":"count"},
                      {"type":"time","timeUnit":"day"}],
            "groupBy":[{"field":"properties","path":["plan"],"includeInSelect":null},{"field":"type"},
                       {"field":"projectId","includeInSelect":false},{"field":"type","path":[]}]}"#,
    );
    assert_eq!(names(&query), ["type", "count", "firstMessageTime_day", "properties.plan"]);
    let groups: Vec<String> = query.groups.iter().map(KeyExpr::column_name).collect();
    assert_eq!(groups, ["firstMessageTime_day", "properties.plan", "type", "projectId"]);
    assert_eq!(query.columns[0].expr, ColumnExpr::Group(2));

    let hidden = checked(r#"{"groupBy":[{"field":"id","includeInSelect":false}]}"#);
    assert!(hidden.grouped && hidden.columns.is_empty() && hidden.groups.len() == 1);
    let both = checked(r#"{"groupBy":[{"field":"id","includeInSelect":false},{"field":"id"}]}"#);
    assert_eq!((names(&both), both.groups.len()), (vec!["id"], 1));
}

#[test]
fn counts_of_things() {
    let many = |element: &dyn Fn(usize) -> String, count: usize| (0..count).map(element).collect::<Vec<_>>().join(",");
    let key = |index: usize| format!(r#"{{"field":"properties","path":["p{index}"]}}"#);
    let selection = |index: usize| format!(r#"{{"type":"field","field":"properties","path":["p{index}"]}}"#);
    let order = |index: usize| format!(r#"{{"field":"properties.p{index}","direction":"asc"}}"#);
    let element = |index: usize| format!(r#""e{index}""#);
    let condition =
        |index: usize| format!(r#"{{"condition":{{"field":"messageCount","operator":"eq","value":{index}}}}}"#);
    let select = |count| format!(r#"{{"select":[{}]}}"#, many(&selection, count));
    let group_by = |count| format!(r#"{{"groupBy":[{}]}}"#, many(&key, count));
    let order_by = |count| format!(r#"{{"orderBy":[{}]}}"#, many(&order, count));
    let path =
        |count| format!(r#"{{"select":[{{"type":"field","field":"properties","path":[{}]}}]}}"#, many(&element, count));
    let ordered_path =
        |count| format!(r#"{{"orderBy":[{{"field":"properties{}","direction":"asc"}}]}}"#, ".x".repeat(count));
    let filter_path = |count| {
        where_condition(&format!(
            r#"{{"field":"properties","operator":"isNull","value":{{"path":[{}]}}}}"#,
            many(&element, count)
        ))
    };
    let conditions = |count| format!(r#"{{"where":{{"or":[{}]}}}}"#, many(&condition, count));
    let values = |operator: &str, field: &str, count: usize| {
        where_condition(&format!(
            r#"{{"field":"{field}","operator":"{operator}","value":[{}]}}"#,
            many(&element, count)
        ))
    };
    for (good, bad, path) in [
        (select(100), select(101), "select"),
        (group_by(32), group_by(33), "groupBy"),
        (order_by(32), order_by(33), "orderBy"),
        (path(32), path(33), "select[0].path"),
        (ordered_path(32), ordered_path(33), "orderBy[0].field"),
        (filter_path(32), filter_path(33), "where.condition.value.path"),
        (conditions(1_000), conditions(1_001), "where.or[1000].condition"),
        (values("in", "id", 10_000), values("in", "id", 10_001), "where.condition.value"),
        (values("notIn", "id", 10_000), values("notIn", "id", 10_001), "where.condition.value"),
        (values("arrayContains", "tags", 10_000), values("arrayContains", "tags", 10_001), "where.condition.value"),
        (values("eq", "tags", 10_000), values("eq", "tags", 10_001), "where.condition.value"),
        (
            values("jsonHasAnyKey", "properties", 10_000),
            values("jsonHasAnyKey", "properties", 10_001),
            "where.condition.value",
        ),
    ] {
        checked(&good);
        assert_eq!(rejected(&bad).0, path);
    }
    let mixed = format!(r#"{{"select":[{{"type":"time","timeUnit":"day"}}],"groupBy":[{}]}}"#, many(&key, 32));
    assert_eq!(rejected(&mixed).0, "groupBy");
}

#[test]
fn orders() {
    all_rejected(&[
        (r#"{"orderBy":["id"]}"#, "orderBy[0]", "an object is needed"),
        (r#"{"orderBy":[{"direction":"asc"}]}"#, "orderBy[0].field", "missing"),
        (r#"{"orderBy":[{"field":"id"}]}"#, "orderBy[0].direction", "missing"),
        (r#"{"orderBy":[{"field":"id","direction":null}]}"#, "orderBy[0].direction", "missing"),
        (r#"{"orderBy":[{"field":"id","direction":"ASC"}]}"#, "orderBy[0].direction", "did you mean `asc`?"),
        (r#"{"orderBy":[{"field":"id","dir":"asc"}]}"#, "orderBy[0].dir", "unknown key"),
        (r#"{"orderBy":[{"field":"idd","direction":"asc"}]}"#, "orderBy[0].field", "did you mean `id`?"),
        (r#"{"orderBy":[{"field":"count_id","direction":"asc"}]}"#, "orderBy[0].field", "allowed: `id`"),
        (r#"{"orderBy":[{"field":"firstMessageTime_day","direction":"asc"}]}"#, "orderBy[0].field", "allowed"),
        (r#"{"orderBy":[{"field":"id.x","direction":"asc"}]}"#, "orderBy[0].field", "cannot order by `id.x`"),
        (
            r#"{"groupBy":[{"field":"type"}],"orderBy":[{"field":"id","direction":"asc"}]}"#,
            "orderBy[0].field",
            "allowed: `type`, aggregations such as `count`",
        ),
        (
            r#"{"groupBy":[{"field":"type"}],"orderBy":[{"field":"sum_id","direction":"asc"}]}"#,
            "orderBy[0].field",
            "cannot order by `sum_id`",
        ),
        (
            r#"{"groupBy":[{"field":"type"}],"orderBy":[{"field":"sum_properties","direction":"asc"}]}"#,
            "orderBy[0].field",
            "cannot order by",
        ),
        (
            r#"{"groupBy":[{"field":"type"}],"orderBy":[{"field":"sum","direction":"asc"}]}"#,
            "orderBy[0].field",
            "cannot order by",
        ),
        (
            r#"{"groupBy":[{"field":"type"}],"orderBy":[{"field":"firstMessageTime_day","direction":"asc"}]}"#,
            "orderBy[0].field",
            "cannot order by",
        ),
    ]);
    let query = checked(
        r#"{"select":[{"type":"field","field":"properties","path":["a.b"]}],
            "orderBy":[{"field":"properties.a.b","direction":"desc"},{"field":"properties.c.d","direction":"asc"},
                       {"field":"userProperties","direction":"asc"},{"field":"tags","direction":"asc"},
                       {"field":"properties.a.b","direction":"asc"}]}"#,
    );
    let fields: Vec<(String, usize, bool)> = query
        .order
        .iter()
        .map(|order| match &order.expr {
            ColumnExpr::Field(reference) => (reference.column_name(), reference.path.len(), order.descending),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        ("properties.a.b".to_owned(), 1, true),
        ("properties.c.d".to_owned(), 2, false),
        ("userProperties".to_owned(), 0, false),
        ("tags".to_owned(), 0, false),
    ];
    assert_eq!(fields, expected);

    let query = checked(
        r#"{"select":[{"type":"aggregation","aggregation":"count"}],
            "groupBy":[{"field":"type"},{"field":"properties","path":["a","b"],"includeInSelect":false},
                       {"field":"properties","path":["x.y"],"includeInSelect":false}],
            "orderBy":[{"field":"count_id","direction":"desc"},{"field":"properties.a.b","direction":"asc"},
                       {"field":"properties.x.y","direction":"asc"},{"field":"sum_properties.score","direction":"asc"},
                       {"field":"count","direction":"asc"},{"field":"type","direction":"desc"}]}"#,
    );
    let exprs: Vec<ColumnExpr> = query.order.iter().map(|order| order.expr.clone()).collect();
    let expected = [
        ColumnExpr::Aggregation(1),
        ColumnExpr::Group(1),
        ColumnExpr::Group(2),
        ColumnExpr::Aggregation(2),
        ColumnExpr::Aggregation(0),
        ColumnExpr::Group(0),
    ];
    assert_eq!(exprs, expected);
    assert_eq!(names(&query), ["count", "type"]);
    let functions: Vec<AggregateFunction> = query.aggregations.iter().map(|one| one.function).collect();
    assert_eq!(functions, [AggregateFunction::Count, AggregateFunction::Count, AggregateFunction::Sum]);
}

#[test]
fn errors_read_well() {
    let error = check(&CONVERSATIONS, b"[]").expect_err("rejected");
    assert_eq!(error.to_string(), "request body: array given, an object is needed");
    let error = check(&CONVERSATIONS, br#"{"limit":0}"#).expect_err("rejected");
    assert_eq!(error.to_string(), "limit: 0 given, an integer from 1 to 100000 is needed");
}
