//! Every rule by which `POST /query/conversations` refuses a request (contract A3), and the limits just kept.

use crate::site::Site;
use crate::support::cut;

/// Body, place that the detail must name, and a part of what it must say.
type Case = (String, &'static str, &'static str);

const DOCUMENT: &str = r#"{"id":"c","externalId":"e","type":"openai","createdAt":"2024-08-26","tags":["a"],
    "properties":{"a":1,"l":[{"b":1}]},"messages":[{"role":"user","content":"hi"}]}"#;

fn condition(field: &str, operator: &str, value: &str) -> String {
    filter(&format!(r#""field":"{field}","operator":"{operator}","value":{value}"#))
}

fn filter(members: &str) -> String {
    format!(r#"{{"where":{{"condition":{{{members}}}}}}}"#)
}

fn select(selections: &str) -> String {
    format!(r#"{{"select":[{selections}]}}"#)
}

fn run(site: &Site, key: &str, cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for (body, place, part) in cases {
        let answer = site.send("POST", "/query/conversations", key, Some(&body));
        if answer.status != 422 {
            wrong.push(format!("{} for {}: {}", answer.status, cut(&body, 300), cut(&answer.text(), 200)));
            continue;
        }
        let detail = crate::site::problem(&answer, 422, "/query/conversations");
        if !detail.contains(place) || !detail.contains(part) {
            wrong.push(format!("`{detail}` for {}: `{place}` and `{part}` expected", cut(&body, 300)));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn all_taken(site: &Site, key: &str, bodies: &[String]) {
    let wrong: Vec<String> = bodies
        .iter()
        .map(|body| (body, site.send("POST", "/query/conversations", key, Some(body))))
        .filter(|(_, answer)| answer.status != 200)
        .map(|(body, answer)| format!("{} for {}: {}", answer.status, cut(body, 300), cut(&answer.text(), 300)))
        .collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn requests() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        (r#"{"groupby":[]}"#, "groupby", "groupBy"),
        (r#"{"orderby":[]}"#, "orderby", "orderBy"),
        (r#"{"selects":[]}"#, "selects", "select"),
        (r#"{"whree":{}}"#, "whree", "where"),
        (r#"{"timezone":"UTC"}"#, "timezone", "timeZone"),
        (r#"{"weekstart":"monday"}"#, "weekstart", "weekStart"),
        (r#"{"Limit":5}"#, "Limit", "limit"),
        (r#"{"completely_else":null}"#, "completely_else", "select"),
        (r#"{"select":{}}"#, "select", "list"),
        (r#"{"select":"id"}"#, "select", "list"),
        (r#"{"groupBy":{}}"#, "groupBy", "list"),
        (r#"{"orderBy":5}"#, "orderBy", "list"),
        (r#"{"where":[]}"#, "where", "object"),
        (r#"{"notes":5}"#, "notes", "string"),
        (r#"{"limit":0}"#, "limit", "100000"),
        (r#"{"limit":100001}"#, "limit", "100000"),
        (r#"{"limit":-1}"#, "limit", "100000"),
        (r#"{"limit":1.5}"#, "limit", "100000"),
        (r#"{"limit":"10"}"#, "limit", "100000"),
        (r#"{"offset":-1}"#, "offset", ""),
        (r#"{"offset":0.5}"#, "offset", ""),
        (r#"{"offset":"0"}"#, "offset", ""),
        (r#"{"timeZone":"Mars/Olympus"}"#, "timeZone", "Mars/Olympus"),
        (r#"{"timeZone":""}"#, "timeZone", ""),
        (r#"{"timeZone":5}"#, "timeZone", ""),
        (r#"{"weekStart":"Monday"}"#, "weekStart", "monday"),
        (r#"{"weekStart":"noday"}"#, "weekStart", "monday"),
        (r#"{"weekStart":0}"#, "weekStart", ""),
        (r#"{"where":{}}"#, "where", "condition"),
        (r#"{"where":{"and":[],"or":[]}}"#, "where", ""),
        (r#"{"where":{"not":[]}}"#, "where.not", ""),
        (r#"{"where":{"AND":[]}}"#, "where.AND", "and"),
        (r#"{"where":{"field":"id","operator":"eq","value":"x"}}"#, "where.", ""),
        (r#"{"where":{"and":{}}}"#, "where.and", "list"),
        (r#"{"where":{"and":[{}]}}"#, "where.and[0]", ""),
        (r#"{"where":{"or":[{"and":[]},null]}}"#, "where.or[1]", "object"),
        (r#"{"where":{"condition":[]}}"#, "where.condition", "object"),
        (r#"{"where":{"condition":{"operator":"eq","value":"x"}}}"#, "where.condition.field", ""),
        (r#"{"where":{"condition":{"field":"id","value":"x"}}}"#, "where.condition.operator", ""),
        (r#"{"where":{"condition":{"field":"id","operator":"eq","values":"x"}}}"#, "where.condition.values", "value"),
        (r#"{"where":{"condition":{"field":"id","operator":"eq","value":"x"},"and":[]}}"#, "where", ""),
    ]
    .map(|(body, place, part)| (body.to_string(), place, part))
    .into();
    cases.push((format!(r#"{{"notes":"{}"}}"#, "x".repeat(81)), "notes", "80"));
    cases.push((condition("idd", "eq", r#""x""#), "where.condition.field", "id"));
    cases.push((condition("properties.a", "eq", "1"), "where.condition.field", ""));
    cases.push((condition("id", "equals", r#""x""#), "where.condition.operator", ""));
    cases.push((condition("id", "notin", "[]"), "where.condition.operator", "notIn"));
    cases.push((condition("id", "like", r#""x""#), "where.condition.operator", ""));
    cases.push((
        r#"{"where":{"and":[{"condition":{"field":"id","operator":"eq","value":"a"}},{"or":[{"condition":{"field":"id","operator":"eq","value":7}}]}]}}"#.into(),
        "where.and[1].or[0].condition.value",
        "string",
    ));
    cases
}

fn condition_values() -> Vec<Case> {
    const VALUE: &str = "where.condition.value";
    let mut cases: Vec<Case> = Vec::new();
    for operator in ["eq", "neq", "gt", "gte", "lt", "lte", "in", "notIn"] {
        cases.push((filter(&format!(r#""field":"id","operator":"{operator}""#)), VALUE, "missing"));
    }
    for operator in [
        "arrayContains",
        "eq",
        "neq",
        "in",
        "gt",
        "jsonContains",
        "jsonContainedBy",
        "jsonHasKey",
        "jsonHasAnyKey",
        "jsonHasAllKeys",
        "jsonArrayContainsObject",
    ] {
        cases.push((condition("properties", operator, r#"{"path":["a"]}"#), VALUE, "missing"));
        if operator != "gt" && operator != "arrayContains" {
            cases.push((filter(&format!(r#""field":"properties","operator":"{operator}""#)), VALUE, "missing"));
        }
    }
    for (field, operator, value) in [
        // A value of the wrong type.
        ("id", "eq", "5"),
        ("id", "eq", "true"),
        ("id", "eq", r#"["a"]"#),
        ("id", "eq", "{}"),
        ("type", "neq", "1"),
        ("title", "gt", "5"),
        ("userMessageCount", "eq", r#""5""#),
        ("userMessageCount", "gt", r#""5""#),
        ("messageCount", "eq", "true"),
        ("isEnd", "eq", r#""true""#),
        ("isEnd", "neq", "1"),
        ("createdAt", "eq", "true"),
        ("createdAt", "gt", r#""yesterday""#),
        ("createdAt", "lt", r#""2024-13-01""#),
        ("firstMessageTime", "eq", "{}"),
        ("tags", "eq", r#""a""#),
        ("tags", "neq", "5"),
        ("tags", "eq", "[1]"),
        ("projectId", "lte", "5"),
        ("visibility", "eq", "[]"),
        ("state", "eq", "false"),
        // Lists.
        ("id", "in", r#""a""#),
        ("id", "in", "null"),
        ("id", "notIn", "{}"),
        ("id", "in", r#"["a",5]"#),
        ("userMessageCount", "in", r#"[1,"2"]"#),
        ("isEnd", "notIn", "[0]"),
        ("createdAt", "in", r#"[1,"x"]"#),
        ("tags", "in", r#"["a"]"#),
        ("properties", "in", "[5]"),
        ("properties", "notIn", r#"[{"a":1},"x"]"#),
        ("properties", "in", r#"{"path":["a"],"value":5}"#),
        ("properties", "notIn", r#"{"path":["a"],"value":null}"#),
        // gt and its like with what has no order.
        ("id", "gt", "null"),
        ("id", "gte", "true"),
        ("userMessageCount", "lt", "[]"),
        ("createdAt", "lte", "{}"),
        ("properties", "gt", r#"{"path":["a"],"value":true}"#),
        ("properties", "gte", r#"{"path":["a"],"value":null}"#),
        ("properties", "lt", r#"{"path":["a"],"value":[]}"#),
        ("properties", "lte", r#"{"path":["a"],"value":{}}"#),
        // Whole JSON fields.
        ("properties", "eq", "5"),
        ("properties", "eq", r#""x""#),
        ("properties", "neq", "[1]"),
        ("properties", "jsonContains", "5"),
        ("properties", "jsonContains", "[1]"),
        ("properties", "jsonContains", "null"),
        ("properties", "jsonContainedBy", "[]"),
        ("userProperties", "jsonContainedBy", r#""x""#),
        // Keys and objects, whole and at a path.
        ("properties", "jsonHasKey", "5"),
        ("properties", "jsonHasKey", r#"["a"]"#),
        ("properties", "jsonHasKey", "null"),
        ("properties", "jsonHasKey", r#"{"path":["a"],"value":1}"#),
        ("properties", "jsonHasAnyKey", r#""a""#),
        ("properties", "jsonHasAnyKey", "[1]"),
        ("properties", "jsonHasAllKeys", r#"["a",null]"#),
        ("properties", "jsonHasAllKeys", r#"{"path":["a"],"value":"b"}"#),
        ("properties", "jsonArrayContainsObject", "[{}]"),
        ("properties", "jsonArrayContainsObject", "null"),
        ("properties", "jsonArrayContainsObject", r#"{"path":["a"],"value":[{}]}"#),
        ("properties", "jsonArrayContainsObject", r#"{"path":["a"],"value":5}"#),
        ("tags", "arrayContains", "5"),
        ("tags", "arrayContains", r#"["a",1]"#),
        // A path on a field that has none.
        ("id", "eq", r#"{"path":["a"],"value":"x"}"#),
        ("tags", "eq", r#"{"path":["0"],"value":"x"}"#),
        ("createdAt", "gt", r#"{"path":["a"],"value":"2024-01-01"}"#),
    ] {
        cases.push((condition(field, operator, value), VALUE, ""));
    }
    cases
}

fn selections() -> Vec<Case> {
    const AGGREGATION: &str = r#""type":"aggregation","aggregation""#;
    let mut cases: Vec<Case> = Vec::new();
    for (selection, place, part) in [
        ("5".to_string(), "select[0]", "object"),
        ("null".into(), "select[0]", "object"),
        ("{}".into(), "select[0].type", ""),
        (r#"{"type":"sum"}"#.into(), "select[0].type", "aggregation"),
        (r#"{"field":"id"}"#.into(), "select[0].type", ""),
        (r#"{"type":"field"}"#.into(), "select[0].field", ""),
        (r#"{"type":"field","field":"idd"}"#.into(), "select[0].field", "id"),
        (r#"{"type":"field","field":"id","fields":"x"}"#.into(), "select[0].fields", "field"),
        (r#"{"type":"field","field":"id","path":["a"]}"#.into(), "select[0].path", ""),
        (r#"{"type":"field","field":"tags","path":["0"]}"#.into(), "select[0].path", ""),
        (r#"{"type":"field","field":"properties","path":"a"}"#.into(), "select[0].path", "list"),
        (r#"{"type":"field","field":"properties","path":[0]}"#.into(), "select[0].path[0]", "string"),
        (r#"{"type":"field","field":"properties","mode":"flat"}"#.into(), "select[0].mode", "unpack"),
        (r#"{"type":"field","field":"properties","path":["a"],"mode":"json"}"#.into(), "select[0].path", "json"),
        (r#"{"type":"time"}"#.into(), "select[0].timeUnit", ""),
        (r#"{"type":"time","timeUnit":"decade"}"#.into(), "select[0].timeUnit", "month"),
        (r#"{"type":"time","timeUnit":"Day"}"#.into(), "select[0].timeUnit", "day"),
        (r#"{"type":"time","timeUnit":"day","field":"id"}"#.into(), "select[0].field", "firstMessageTime"),
        (r#"{"type":"time","timeUnit":"day","field":"properties"}"#.into(), "select[0].field", ""),
        (format!("{{{AGGREGATION}:\"mean\"}}"), "select[0].aggregation", "sum"),
        (r#"{"type":"aggregation"}"#.into(), "select[0].aggregation", ""),
        (format!(r#"{{{AGGREGATION}:"count","field":"id","path":["a"]}}"#), "select[0].path", ""),
        (format!(r#"{{{AGGREGATION}:"count","path":["a"]}}"#), "select[0]", ""),
    ] {
        cases.push((select(&selection), place, part));
    }
    for function in ["sum", "avg", "min", "max", "countDistinct"] {
        cases.push((select(&format!(r#"{{{AGGREGATION}:"{function}"}}"#)), "select[0]", "field"));
        if function != "countDistinct" {
            for field in [
                "id",
                "type",
                "projectId",
                "organizationId",
                "integrationId",
                "externalId",
                "title",
                "state",
                "visibility",
                "tags",
                "categories",
                "isEnd",
                "properties",
                "userProperties",
            ] {
                let selection = format!(r#"{{{AGGREGATION}:"{function}","field":"{field}"}}"#);
                cases.push((select(&selection), "select[0]", field));
            }
        }
    }
    for (body, place, part) in [
        // Mixing.
        (
            r#"{"select":[{"type":"field","field":"id"},{"type":"aggregation","aggregation":"count"}]}"#,
            "select[0]",
            "id",
        ),
        (r#"{"select":[{"type":"time","timeUnit":"day"},{"type":"field","field":"type"}]}"#, "select[1]", "type"),
        (r#"{"select":[{"type":"field","field":"id"}],"groupBy":[{"field":"type"}]}"#, "select[0]", "id"),
        (
            r#"{"select":[{"type":"field","field":"properties","path":["a"]}],"groupBy":[{"field":"properties","path":["b"]}]}"#,
            "select[0]",
            "properties.a",
        ),
        (
            r#"{"select":[{"type":"field","field":"properties"}],"groupBy":[{"field":"properties","path":["b"]}]}"#,
            "select[0]",
            "properties",
        ),
        // Two columns of one name.
        (
            r#"{"select":[{"type":"field","field":"properties","path":["a.b"]},{"type":"field","field":"properties","path":["a","b"]}]}"#,
            "select[1]",
            "properties.a.b",
        ),
        (
            r#"{"groupBy":[{"field":"properties","path":["a.b"]},{"field":"properties","path":["a","b"]}]}"#,
            "groupBy[1]",
            "properties.a.b",
        ),
        // Group keys.
        (r#"{"groupBy":["type"]}"#, "groupBy[0]", "object"),
        (r#"{"groupBy":[null]}"#, "groupBy[0]", "object"),
        (r#"{"groupBy":[{}]}"#, "groupBy[0].field", ""),
        (r#"{"groupBy":[{"field":"typ"}]}"#, "groupBy[0].field", "type"),
        (r#"{"groupBy":[{"field":"type","path":["a"]}]}"#, "groupBy[0].path", ""),
        (r#"{"groupBy":[{"field":"type","includeInSelect":1}]}"#, "groupBy[0].includeInSelect", "boolean"),
        (r#"{"groupBy":[{"field":"type","includeInSelects":true}]}"#, "groupBy[0].includeInSelects", "includeInSelect"),
        // Orders.
        (r#"{"orderBy":["id"]}"#, "orderBy[0]", "object"),
        (r#"{"orderBy":[{"direction":"asc"}]}"#, "orderBy[0].field", ""),
        (r#"{"orderBy":[{"field":"id"}]}"#, "orderBy[0].direction", ""),
        (r#"{"orderBy":[{"field":"id","direction":"ASC"}]}"#, "orderBy[0].direction", "asc"),
        (r#"{"orderBy":[{"field":"id","direction":"up"}]}"#, "orderBy[0].direction", "asc"),
        (r#"{"orderBy":[{"field":"id","direction":"asc","path":["a"]}]}"#, "orderBy[0].path", ""),
        (r#"{"orderBy":[{"field":"nothing","direction":"asc"}]}"#, "orderBy[0].field", "firstMessageTime"),
        (r#"{"orderBy":[{"field":"id.a","direction":"asc"}]}"#, "orderBy[0].field", ""),
        (r#"{"orderBy":[{"field":"count","direction":"asc"}]}"#, "orderBy[0].field", ""),
        (r#"{"groupBy":[{"field":"type"}],"orderBy":[{"field":"id","direction":"asc"}]}"#, "orderBy[0].field", "type"),
        (
            r#"{"groupBy":[{"field":"type"}],"orderBy":[{"field":"sum_id","direction":"asc"}]}"#,
            "orderBy[0].field",
            "type",
        ),
        (
            r#"{"select":[{"type":"aggregation","aggregation":"count"}],"orderBy":[{"field":"firstMessageTime_day","direction":"asc"}]}"#,
            "orderBy[0].field",
            "count",
        ),
    ] {
        cases.push((body.to_string(), place, part));
    }
    cases
}

#[test]
fn invalid_requests_are_422_with_their_place() {
    let site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, DOCUMENT);
    run(&site, &key, requests());
    run(&site, &key, condition_values());
    run(&site, &key, selections());
}

#[test]
fn operators_and_kinds_of_fields() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, DOCUMENT);
    // Field, a value that fits, and whether it has an order, is a list, is JSON.
    let kinds = [
        ("id", r#""a""#, true, false, false),
        ("title", r#""a""#, true, false, false),
        ("userMessageCount", "1", true, false, false),
        ("createdAt", r#""2024-08-26""#, true, false, false),
        ("isEnd", "true", false, false, false),
        ("tags", r#"["a"]"#, false, true, false),
        ("properties", r#"{"a":1}"#, false, false, true),
        ("userProperties", "AT PATH", true, true, true),
    ];
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for (field, value, ordered, list, json) in kinds {
        for operator in [
            "eq",
            "neq",
            "gt",
            "gte",
            "lt",
            "lte",
            "in",
            "notIn",
            "arrayContains",
            "jsonContains",
            "jsonContainedBy",
            "jsonHasKey",
            "jsonArrayContainsObject",
            "jsonHasAnyKey",
            "jsonHasAllKeys",
            "isNull",
            "isNotNull",
        ] {
            let at_path = value == "AT PATH";
            let plain = if at_path { "5" } else { value };
            let (given, fits) = match operator {
                "gt" | "gte" | "lt" | "lte" => (plain.to_string(), ordered),
                "in" | "notIn" => (format!("[{plain},null]"), true),
                "arrayContains" => (r#""a""#.to_string(), list),
                "jsonContains" | "jsonContainedBy" => (r#"{"a":1}"#.to_string(), json),
                "jsonHasKey" => (r#""a""#.to_string(), json),
                "jsonArrayContainsObject" => (r#"{"a":1}"#.to_string(), json),
                "jsonHasAnyKey" | "jsonHasAllKeys" => (r#"["a","b"]"#.to_string(), json),
                _ => (plain.to_string(), true),
            };
            let given = if at_path { format!(r#"{{"path":["a"],"value":{given}}}"#) } else { given };
            let body = condition(field, operator, &given);
            if fits { taken.push(body) } else { refused.push((body, "where.condition", operator)) }
        }
    }
    assert_eq!((taken.len(), refused.len()), (82, 54), "the table itself");
    for _ in 0..2 {
        all_taken(&site, &key, &taken);
        run(&site, &key, refused.clone());
        site.restart();
    }
}

#[test]
fn limits() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, DOCUMENT);
    let list = |count: usize, element: &dyn Fn(usize) -> String| (0..count).map(element).collect::<Vec<_>>().join(",");
    let path = |count| list(count, &|_| r#""a""#.to_string());
    let at_path = |index: usize| format!(r#"{{"type":"field","field":"properties","path":["p{index}"]}}"#);
    let key_at = |index: usize| format!(r#"{{"field":"properties","path":["p{index}"]}}"#);
    let order_at = |index: usize| format!(r#"{{"field":"properties.p{index}","direction":"asc"}}"#);
    let one = |index: usize| format!(r#"{{"condition":{{"field":"messageCount","operator":"eq","value":{index}}}}}"#);
    let nested = |levels: usize| {
        let and = r#"{"and":["#.repeat(levels - 1);
        format!(
            r#"{{"where":{and}{{"condition":{{"field":"id","operator":"eq","value":"c"}}}}{}}}"#,
            "]}".repeat(levels - 1)
        )
    };
    let at_list = |count: usize| {
        condition(
            "properties",
            "in",
            &format!(r#"{{"path":["a"],"value":[{}]}}"#, list(count, &|index| index.to_string())),
        )
    };
    let strings = |count: usize| format!("[{}]", list(count, &|index| format!("\"{index}\"")));
    let cases: Vec<(String, String, &'static str, &'static str)> = vec![
        (nested(64), nested(65), "where.and[0]", "64"),
        (
            format!(r#"{{"where":{{"or":[{}]}}}}"#, list(1_000, &one)),
            format!(r#"{{"where":{{"or":[{}]}}}}"#, list(1_001, &one)),
            "where",
            "1000",
        ),
        (select(&list(100, &at_path)), select(&list(101, &at_path)), "select", "100"),
        (
            format!(r#"{{"groupBy":[{}]}}"#, list(32, &key_at)),
            format!(r#"{{"groupBy":[{}]}}"#, list(33, &key_at)),
            "groupBy",
            "32",
        ),
        (
            format!(r#"{{"orderBy":[{}]}}"#, list(32, &order_at)),
            format!(r#"{{"orderBy":[{}]}}"#, list(33, &order_at)),
            "orderBy",
            "32",
        ),
        (
            select(&format!(r#"{{"type":"field","field":"properties","path":[{}]}}"#, path(32))),
            select(&format!(r#"{{"type":"field","field":"properties","path":[{}]}}"#, path(33))),
            "select[0].path",
            "32",
        ),
        (
            format!(r#"{{"groupBy":[{{"field":"properties","path":[{}]}}]}}"#, path(32)),
            format!(r#"{{"groupBy":[{{"field":"properties","path":[{}]}}]}}"#, path(33)),
            "groupBy[0].path",
            "32",
        ),
        (
            condition("properties", "eq", &format!(r#"{{"path":[{}],"value":1}}"#, path(32))),
            condition("properties", "eq", &format!(r#"{{"path":[{}],"value":1}}"#, path(33))),
            "where.condition.value.path",
            "32",
        ),
        (
            format!(r#"{{"orderBy":[{{"field":"properties{}","direction":"asc"}}]}}"#, ".x".repeat(32)),
            format!(r#"{{"orderBy":[{{"field":"properties{}","direction":"asc"}}]}}"#, ".x".repeat(33)),
            "orderBy[0].field",
            "32",
        ),
        (
            condition("id", "in", &strings(10_000)),
            condition("id", "in", &strings(10_001)),
            "where.condition.value",
            "10000",
        ),
        (at_list(10_000), at_list(10_001), "where.condition.value.value", "10000"),
        (
            condition("tags", "arrayContains", &strings(10_000)),
            condition("tags", "arrayContains", &strings(10_001)),
            "where.condition.value",
            "10000",
        ),
        (
            condition("properties", "jsonHasAnyKey", &strings(10_000)),
            condition("properties", "jsonHasAnyKey", &strings(10_001)),
            "where.condition.value",
            "10000",
        ),
        (format!(r#"{{"notes":"{}"}}"#, "ü".repeat(80)), format!(r#"{{"notes":"{}"}}"#, "ü".repeat(81)), "notes", "80"),
        (r#"{"limit":100000}"#.into(), r#"{"limit":100001}"#.into(), "limit", "100000"),
    ];
    for _ in 0..2 {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (taken, refused, place, part) in &cases {
            good.push(taken.clone());
            bad.push((refused.clone(), *place, *part));
        }
        all_taken(&site, &key, &good);
        run(&site, &key, bad);
        site.restart();
    }
}

#[test]
fn absent_and_empty_keys() {
    let site = Site::start(&[]);
    let key = site.api_key();
    site.log(&key, DOCUMENT);
    let everything = site.ok("POST", "/query/conversations", &key, Some("{}")).text();
    for body in [
        r#"{"select":[],"groupBy":[],"orderBy":[]}"#,
        r#"{"select":null,"groupBy":null,"where":null,"orderBy":null,"notes":null,"limit":null,"offset":null,"timeZone":null,"weekStart":null}"#,
        r#"{"notes":"why"}"#,
        r#"{"offset":0,"timeZone":"UTC","weekStart":"sunday","where":{"and":[]}}"#,
    ] {
        assert_eq!(site.ok("POST", "/query/conversations", &key, Some(body)).text(), everything, "{body}");
    }
    all_taken(
        &site,
        &key,
        &[
            r#"{"groupBy":[{"field":"type","path":null,"includeInSelect":null}]}"#.to_string(),
            r#"{"select":[{"type":"aggregation","aggregation":"count","field":null,"path":null}]}"#.to_string(),
            r#"{"select":[{"type":"time","timeUnit":"day","field":null}]}"#.to_string(),
            r#"{"select":[{"type":"field","field":"tags","path":[],"mode":null}]}"#.to_string(),
            condition("id", "eq", "null"),
            condition("id", "neq", "null"),
            condition("type", "eq", r#""no_such_type""#),
        ],
    );
}
