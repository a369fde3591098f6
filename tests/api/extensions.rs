//! Sentences of contract A5 as examples on a few documents, each asked of memory and of files.

use serde_json::{Value, json};

use crate::site::Site;

/// (id, day of May 2024 and time, type, properties)
const DOCUMENTS: [(&str, &str, &str, &str); 7] = [
    ("a", "01T23:30:00Z", "openai", r#"{"plan":"pro","ms":10}"#),
    ("b", "02T08:00:00Z", "openai", r#"{"plan":"pro","ms":20,"solved":true}"#),
    ("c", "02T08:59:59.999Z", "support_ticket", r#"{"plan":"free","ms":"30"}"#),
    ("d", "05T12:00:00Z", "openai", r#"{"plan":"free","ms":40,"solved":true}"#),
    ("e", "05T12:07:00Z", "openai", r#"{"plan":"free","ms":90}"#),
    ("f", "06T00:00:00Z", "openai", r#"{"ms":7}"#),
    ("g", "31T10:00:00Z", "openai", r#"{"plan":"team"}"#),
];

fn site() -> (Site, String) {
    let site = Site::start(&[]);
    let key = site.api_key();
    for (id, time, kind, properties) in DOCUMENTS {
        let document = format!(
            r#"{{"id":"{id}","type":"{kind}","createdAt":"2024-05-{time}","properties":{properties},
                "messages":[{{"role":"user","content":"q"}},{{"role":"assistant","content":"a"}}]}}"#
        );
        site.log(&key, &document);
    }
    (site, key)
}

/// Every request gives the expected part of `data`, before and after a flush; all that do not are shown together.
fn check(cases: &[(Value, Value)]) {
    let (mut site, key) = site();
    for round in ["in memory", "in files"] {
        let mut wrong = Vec::new();
        for (request, expected) in cases {
            let data = site.query(&key, &request.to_string());
            for (part, expected) in expected.as_object().expect("parts of data") {
                if data[part] != *expected {
                    wrong.push(format!("{request}\n  {part}  found    {}\n  {part}  expected {expected}", data[part]));
                }
            }
        }
        assert!(wrong.is_empty(), "{round}, {} wrong:\n{}", wrong.len(), wrong.join("\n"));
        site.restart();
    }
}

fn aggregation(aggregation: &str) -> Value {
    json!({"type": "aggregation", "aggregation": aggregation, "field": "properties", "path": ["ms"]})
}

fn with(mut base: Value, more: Value) -> Value {
    base.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    base
}

fn at(path: &str, operator: &str, value: Value) -> Value {
    json!({"condition": {"field": "properties", "operator": operator, "value": {"path": [path], "value": value}}})
}

#[test]
fn aggregations() {
    let by_plan = json!([{"field": "properties", "path": ["plan"], "as": "plan"}]);
    check(&[
        (
            json!({"select": [
                aggregation("median"), with(aggregation("percentile"), json!({"p": 0.25})),
                with(aggregation("percentile"), json!({"p": 0.999, "as": "slow"})), aggregation("stddev"),
                aggregation("first"), aggregation("last"),
                {"type": "aggregation", "aggregation": "last", "field": "firstMessageTime"},
                {"type": "aggregation", "aggregation": "first", "field": "properties"},
            ]}),
            json!({"result": [{
                "median_properties.ms": 25, "p25_properties.ms": 12.5, "slow": 89.75,
                "stddev_properties.ms": 30.596_840_795_524_404,
                "first_properties.ms": "10", "last_properties.ms": "7",
                "last_firstMessageTime": "2024-05-31T10:00:00.000Z", "first_properties": {"plan": "pro", "ms": 10},
            }], "total": 1}),
        ),
        // Without a value absent, also of one value; null group keys last.
        (
            json!({"select": [aggregation("stddev"), aggregation("median"), aggregation("last")], "groupBy": by_plan}),
            json!({"result": [
                {"plan": "free", "stddev_properties.ms": 32.145_502_536_643_18, "median_properties.ms": 40, "last_properties.ms": "90"},
                {"plan": "pro", "stddev_properties.ms": 7.071_067_811_865_475_5, "median_properties.ms": 15, "last_properties.ms": "20"},
                {"plan": "team"},
                {"plan": null, "median_properties.ms": 7, "last_properties.ms": "7"},
            ]}),
        ),
        // A filter removes no groups; formulas are absent where something of them is.
        (
            json!({
                "select": [
                    {"type": "aggregation", "aggregation": "count", "as": "all", "includeInSelect": false},
                    {"type": "aggregation", "aggregation": "count", "filter": at("solved", "eq", json!(true)), "as": "solved"},
                    with(aggregation("avg"), json!({"filter": at("solved", "eq", json!(true)), "as": "average of solved"})),
                    {"type": "formula", "formula": "solved / all * 100", "as": "share"},
                    {"type": "formula", "formula": "1/(all-1) + -\"average of solved\""},
                ],
                "groupBy": by_plan, "orderBy": [{"field": "all", "direction": "desc"}, {"field": "share", "direction": "asc"}],
            }),
            json!({"result": [
                {"plan": "free", "solved": 1, "average of solved": 40, "share": 1.0 / 3.0 * 100.0, "1/(all-1) + -\"average of solved\"": -39.5},
                {"plan": "pro", "solved": 1, "average of solved": 20, "share": 50, "1/(all-1) + -\"average of solved\"": -19},
                {"plan": "team", "solved": 0, "share": 0},
                {"plan": null, "solved": 0, "share": 0},
            ]}),
        ),
        // A filter that matches nothing.
        (
            json!({"select": [with(aggregation("max"), json!({"filter": {"or": []}})), {"type": "aggregation", "aggregation": "count", "filter": {"and": []}}]}),
            json!({"result": [{"count": 7}]}),
        ),
        (
            json!({"select": [{"type": "formula", "formula": "(2+3)*-2.5e1"}]}),
            json!({"result": [{"(2+3)*-2.5e1": -125}]}),
        ),
    ]);
}

#[test]
fn times() {
    let count = json!({"type": "aggregation", "aggregation": "count"});
    let by = |unit: &str, more: Value| {
        let time = with(json!({"type": "time", "timeUnit": unit, "as": "t"}), more);
        json!({"select": [time, count.clone()]})
    };
    let rows = |rows: &[(Value, u64)]| -> Value {
        json!({"result": rows.iter().map(|(time, count)| json!({"t": time, "count": count})).collect::<Vec<_>>()})
    };
    let time = |text: &str| json!(format!("2024-{text}:00.000Z"));
    check(&[
        (by("year", json!({})), rows(&[(time("01-01T00:00"), 7)])),
        (by("quarter", json!({})), rows(&[(time("04-01T00:00"), 7)])),
        (
            by("minute", json!({"step": 15})),
            rows(&[
                (time("05-01T23:30"), 1),
                (time("05-02T08:00"), 1),
                (time("05-02T08:45"), 1),
                (time("05-05T12:00"), 2),
                (time("05-06T00:00"), 1),
                (time("05-31T10:00"), 1),
            ]),
        ),
        // Six hours of the local clock, and the local calendar.
        (
            with(by("hour", json!({"step": 6})), json!({"timeZone": "Europe/Berlin"})),
            rows(&[
                (time("05-01T22:00"), 1),
                (time("05-02T04:00"), 2),
                (time("05-05T10:00"), 2),
                (time("05-05T22:00"), 1),
                (time("05-31T10:00"), 1),
            ]),
        ),
        (
            by("dayOfWeek", json!({})),
            rows(&[(json!(1), 1), (json!(3), 1), (json!(4), 2), (json!(5), 1), (json!(7), 2)]),
        ),
        (
            with(by("dayOfWeek", json!({})), json!({"timeZone": "Europe/Berlin", "weekStart": "sunday"})),
            rows(&[(json!(1), 1), (json!(4), 3), (json!(5), 1), (json!(7), 2)]),
        ),
        (
            by("hourOfDay", json!({})),
            rows(&[(json!(0), 1), (json!(8), 2), (json!(10), 1), (json!(12), 2), (json!(23), 1)]),
        ),
        (
            by("dayOfMonth", json!({})),
            rows(&[(json!(1), 1), (json!(2), 2), (json!(5), 2), (json!(6), 1), (json!(31), 1)]),
        ),
        (by("monthOfYear", json!({})), rows(&[(json!(5), 7)])),
        // Times without a zone are of the local clock.
        (
            json!({"timeZone": "Europe/Berlin", "select": [count.clone()], "where": {"and": [
                {"condition": {"field": "firstMessageTime", "operator": "gte", "value": "2024-05-02"}},
                {"condition": {"field": "firstMessageTime", "operator": "lt", "value": "2024-05-06T02:00"}}]}}),
            json!({"result": [{"count": 5}]}),
        ),
    ]);
}

#[test]
fn shapes() {
    let by_plan = json!([{"field": "properties", "path": ["plan"]}]);
    let select = json!([{"type": "aggregation", "aggregation": "count"}, aggregation("stddev")]);
    let having = |having: Value| json!({"select": [{"type": "aggregation", "aggregation": "count"}], "groupBy": by_plan, "having": having});
    let condition = |field: &str, operator: &str, value: Value| json!({"condition": {"field": field, "operator": operator, "value": value}});
    let plans = |plans: &[Value]| {
        let rows = plans.iter().map(|plan| {
            let count = match plan.as_str() {
                Some("free") => 3,
                Some("pro") => 2,
                _ => 1,
            };
            json!({"count": count, "properties.plan": plan})
        });
        json!({"result": rows.collect::<Vec<_>>(), "total": plans.len()})
    };
    check(&[
        (
            json!({"select": select, "groupBy": by_plan, "limit": 1, "offset": 2, "nulls": true, "columns": true, "totals": true}),
            json!({
                "result": [{"count": 1, "stddev_properties.ms": null, "properties.plan": "team"}],
                "total": 4,
                "totals": {"count": 7, "stddev_properties.ms": 30.596_840_795_524_404},
                "columns": [
                    {"name": "count", "type": "number"}, {"name": "stddev_properties.ms", "type": "number"},
                    {"name": "properties.plan", "type": "string"},
                ],
            }),
        ),
        (
            json!({"totals": true, "columns": true, "limit": 1, "where": {"or": []}}),
            json!({"result": [], "totals": {}, "columns": [
                {"name": "id", "type": "string"}, {"name": "userMessageCount", "type": "number"},
                {"name": "organizationId", "type": "string"}, {"name": "projectId", "type": "string"},
                {"name": "integrationId", "type": "string"}, {"name": "firstMessageTime", "type": "time"},
                {"name": "type", "type": "string"}, {"name": "properties", "type": "json"},
                {"name": "userProperties", "type": "json"},
            ]}),
        ),
        (having(condition("count", "gt", json!(1))), plans(&[json!("free"), json!("pro")])),
        (having(condition("properties.plan", "neq", json!("free"))), plans(&[json!("pro"), json!("team")])),
        (
            having(json!({"not": condition("properties.plan", "eq", json!("free"))})),
            plans(&[json!("pro"), json!("team")]),
        ),
        (having(condition("properties.plan", "in", json!(["free", null]))), plans(&[json!("free"), json!(null)])),
        (
            having(json!({"not": condition("properties.plan", "in", json!(["free", null]))})),
            plans(&[json!("pro"), json!("team")]),
        ),
        (having(condition("properties.plan", "in", json!([]))), plans(&[])),
        (
            having(condition("properties.plan", "notIn", json!([]))),
            plans(&[json!("free"), json!("pro"), json!("team")]),
        ),
        (
            having(
                json!({"or": [condition("properties.plan", "gte", json!("q")), {"and": [condition("count", "eq", json!(3)), {"and": []}]}]}),
            ),
            plans(&[json!("free"), json!("team")]),
        ),
        (
            json!({"select": [{"type": "time", "timeUnit": "month", "as": "month"}, aggregation("median")], "having": {"and": [
                condition("month", "gte", json!("2024-05-01")), condition("month", "lt", json!("2024-05-01T00:00:00.001Z")),
                condition("median_properties.ms", "lte", json!(25))]}}),
            json!({"result": [{"month": "2024-05-01T00:00:00.000Z", "median_properties.ms": 25}], "total": 1}),
        ),
    ]);
}

#[test]
fn filled_buckets() {
    let count = json!({"type": "aggregation", "aggregation": "count"});
    let day = |fill: Value| json!({"type": "time", "timeUnit": "day", "as": "day", "fill": fill});
    let date = |day: u8| json!(format!("2024-05-{day:02}T00:00:00.000Z"));
    let counts = |counts: &[(u8, u64)]| -> Value {
        counts.iter().map(|(day, count)| json!({"day": date(*day), "count": count})).collect()
    };
    let between = |from: &str, to: &str| {
        json!({"and": [
            {"condition": {"field": "firstMessageTime", "operator": "gte", "value": from}},
            {"condition": {"field": "firstMessageTime", "operator": "lt", "value": to}}]})
    };
    check(&[
        // As far as the result reaches.
        (
            json!({"select": [day(json!(true)), count, aggregation("median"), {"type": "formula", "formula": "count + 1", "as": "f"}],
                "where": {"condition": {"field": "firstMessageTime", "operator": "lt", "value": "2024-05-06"}}}),
            json!({"result": [
                {"day": date(1), "count": 1, "median_properties.ms": 10, "f": 2}, {"day": date(2), "count": 2, "median_properties.ms": 25, "f": 3},
                {"day": date(3), "count": 0, "f": 1}, {"day": date(4), "count": 0, "f": 1},
                {"day": date(5), "count": 2, "median_properties.ms": 65, "f": 3},
            ], "total": 5}),
        ),
        (
            json!({"select": [day(json!(true)), count], "where": between("2024-05-03", "2024-05-06T00:00:00.001Z")}),
            json!({"result": counts(&[(3, 0), (4, 0), (5, 2), (6, 1)])}),
        ),
        (
            json!({"select": [day(json!(true)), count], "where": between("2024-05-03", "2024-05-05")}),
            json!({"result": counts(&[(3, 0), (4, 0)])}),
        ),
        (
            json!({"select": [day(json!(true)), count], "where": between("2024-05-05", "2024-05-03")}),
            json!({"result": []}),
        ),
        (
            json!({"select": [day(json!({"from": "2024-04-30", "to": "2024-05-03"})), count], "having": {"condition": {"field": "count", "operator": "eq", "value": 0}}}),
            json!({"result": [{"day": "2024-04-30T00:00:00.000Z", "count": 0}], "total": 1}),
        ),
        // Every combination of the other keys that has a row.
        (
            json!({"select": [day(json!({"from": "2024-05-01", "to": "2024-05-03"})), count], "groupBy": [{"field": "type"}],
                "where": between("2024-05-01", "2024-05-03")}),
            json!({"result": [
                {"day": date(1), "count": 1, "type": "openai"}, {"day": date(1), "count": 0, "type": "support_ticket"},
                {"day": date(2), "count": 1, "type": "openai"}, {"day": date(2), "count": 1, "type": "support_ticket"},
            ]}),
        ),
        (
            json!({"timeZone": "Europe/Berlin", "select": [{"type": "time", "timeUnit": "month", "as": "m", "fill": {"from": "2024-02-10", "to": "2024-05-01"}}, count],
                "where": {"or": []}}),
            json!({"result": [
                {"m": "2024-01-31T23:00:00.000Z", "count": 0}, {"m": "2024-02-29T23:00:00.000Z", "count": 0},
                {"m": "2024-03-31T22:00:00.000Z", "count": 0},
            ]}),
        ),
        (
            json!({"select": [{"type": "time", "timeUnit": "dayOfWeek", "as": "d", "fill": true}, count]}),
            json!({"result": [
                {"d": 1, "count": 1}, {"d": 2, "count": 0}, {"d": 3, "count": 1}, {"d": 4, "count": 2}, {"d": 5, "count": 1},
                {"d": 6, "count": 0}, {"d": 7, "count": 2},
            ]}),
        ),
    ]);
}

#[test]
fn keys_made_of_values() {
    let count = json!({"type": "aggregation", "aggregation": "count"});
    let ms = |more: Value| with(json!({"field": "properties", "path": ["ms"], "as": "ms"}), more);
    let plan = |more: Value| with(json!({"field": "properties", "path": ["plan"], "as": "plan"}), more);
    check(&[
        (
            json!({"select": [count], "groupBy": [ms(json!({"bin": {"width": 25}}))], "columns": true}),
            json!({"result": [{"count": 3, "ms": 0}, {"count": 2, "ms": 25}, {"count": 1, "ms": 75}, {"count": 1, "ms": null}],
                "columns": [{"name": "count", "type": "number"}, {"name": "ms", "type": "number"}]}),
        ),
        (
            json!({"select": [count], "groupBy": [ms(json!({"bin": {"width": 0.5, "offset": 0.25}}))], "limit": 2}),
            json!({"result": [{"count": 1, "ms": 6.75}, {"count": 1, "ms": 9.75}]}),
        ),
        (
            json!({"select": [count], "groupBy": [plan(json!({"top": {"limit": 1}}))]}),
            json!({"result": [{"count": 3, "plan": "free"}], "total": 1}),
        ),
        (
            json!({"select": [count], "groupBy": [plan(json!({"top": {"limit": 1, "other": "the rest"}}))], "totals": true}),
            json!({"result": [{"count": 3, "plan": "free"}, {"count": 4, "plan": "the rest"}], "totals": {"count": 7}}),
        ),
        // Ranked by what is not shown; absent last, ties by the key.
        (
            json!({"select": [count, with(aggregation("min"), json!({"as": "least", "includeInSelect": false}))],
                "groupBy": [plan(json!({"top": {"limit": 2, "by": "least", "other": "pro"}}))]}),
            json!({"result": [{"count": 3, "plan": "free"}, {"count": 4, "plan": "pro"}]}),
        ),
        (
            json!({"select": [count], "groupBy": [plan(json!({"top": {"limit": 3, "by": "max_properties.ms"}}))]}),
            json!({"result": [{"count": 3, "plan": "free"}, {"count": 2, "plan": "pro"}, {"count": 1, "plan": null}]}),
        ),
        (
            json!({"select": [count], "groupBy": [ms(json!({"bin": {"width": 50}, "top": {"limit": 1}}))]}),
            json!({"result": [{"count": 5, "ms": 0}]}),
        ),
        // Tags, which these documents do not have; texts count as lists of themselves.
        (json!({"select": [count], "groupBy": [{"field": "tags", "unnest": true}]}), json!({"result": [], "total": 0})),
        (
            json!({"select": [count], "groupBy": [plan(json!({"unnest": true, "top": {"limit": 1, "other": "x"}}))]}),
            json!({"result": [{"count": 3, "plan": "free"}, {"count": 3, "plan": "x"}]}),
        ),
    ]);
    let site = Site::start(&[]);
    let key = site.api_key();
    for (id, tags, list) in [
        ("a", r#"["x","y","x"]"#, r#"[1,2,"2",2.0,{"n":"k"}]"#),
        ("b", r#"["y"]"#, r#"[{"n":"k"},{"n":"l"},{"n":"k"}]"#),
        ("c", "null", "7"),
    ] {
        let document = format!(
            r#"{{"id":"{id}","type":"openai","tags":{tags},"properties":{{"list":{list}}},"messages":[{{"role":"user","content":"q"}}]}}"#
        );
        site.log(&key, &document);
    }
    for (request, expected) in [
        (
            json!({"select": [count], "groupBy": [{"field": "tags", "unnest": true}]}),
            json!([{"count": 1, "tags": "x"}, {"count": 2, "tags": "y"}]),
        ),
        (
            json!({"select": [count], "groupBy": [{"field": "properties", "path": ["list"], "unnest": true, "as": "e"}]}),
            json!([{"count": 1, "e": "1"}, {"count": 1, "e": "2"}, {"count": 1, "e": "2.0"}, {"count": 1, "e": "7"}, {"count": 2, "e": "{\"n\": \"k\"}"}, {"count": 1, "e": "{\"n\": \"l\"}"}]),
        ),
        (
            json!({"select": [count], "groupBy": [{"field": "properties", "path": ["list"], "unnest": ["n"], "as": "e"}]}),
            json!([{"count": 2, "e": "k"}, {"count": 1, "e": "l"}]),
        ),
        (
            json!({"select": [count], "groupBy": [{"field": "properties", "path": ["list"], "unnest": true, "as": "e", "bin": {"width": 5}}]}),
            json!([{"count": 1, "e": 0}, {"count": 1, "e": 5}, {"count": 2, "e": null}]),
        ),
        (
            json!({"select": [count], "groupBy": [{"field": "tags", "unnest": true}, {"field": "properties", "path": ["list"], "unnest": ["n"], "as": "e"}]}),
            json!([{"count": 1, "tags": "x", "e": "k"}, {"count": 2, "tags": "y", "e": "k"}, {"count": 1, "tags": "y", "e": "l"}]),
        ),
    ] {
        assert_eq!(site.query(&key, &request.to_string())["result"], expected, "{request}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let (site, key) = site();
    let count = json!({"type": "aggregation", "aggregation": "count"});
    let cases = [
        (
            json!({"select": [with(aggregation("percentile"), json!({"p": 1.5}))]}),
            "select[0].p: 1.5 given, a number from 0 to 1",
        ),
        (json!({"select": [aggregation("percentile")]}), "select[0].p: missing; a number from 0 to 1"),
        (
            json!({"select": [with(aggregation("avg"), json!({"p": 0.5}))]}),
            "select[0].p: only `percentile` takes a `p`",
        ),
        (
            json!({"select": [with(aggregation("median"), json!({"field": "type", "path": []}))]}),
            "select[0].field: `median` does not take `type`",
        ),
        (json!({"select": [with(count.clone(), json!({"filter": {}}))]}), "select[0].filter: a filter needs one of"),
        (
            json!({"select": [with(count.clone(), json!({"filter": at("x", "==", json!(1))}))]}),
            "select[0].filter.condition.operator: unknown operator `==`",
        ),
        (
            json!({"select": [{"type": "time", "timeUnit": "minute", "step": 7}]}),
            "select[0].step: 7 given, a divisor of 60 is needed: 1, 2, 3",
        ),
        (
            json!({"select": [{"type": "time", "timeUnit": "day", "step": 2}]}),
            "select[0].step: only `minute` and `hour`",
        ),
        (
            json!({"select": [{"type": "time", "timeUnit": "hourOfDay", "step": 2}]}),
            "select[0].step: only `minute` and `hour`",
        ),
        (json!({"select": [with(count.clone(), json!({"as": ""}))]}), "select[0].as: 0 characters given"),
        (json!({"select": [with(count.clone(), json!({"as": "x\ny"}))]}), "select[0].as: control characters"),
        (
            json!({"select": [with(count.clone(), json!({"as": "x"})), with(aggregation("sum"), json!({"as": "x"}))]}),
            "select[1]: a second column named `x`; give one of them another name by `as`",
        ),
        (
            json!({"select": [with(count.clone(), json!({"as": "x", "includeInSelect": false})), with(aggregation("sum"), json!({"as": "x"}))]}),
            "select[1]: a second column named `x`",
        ),
        (
            json!({"select": [count.clone(), {"type": "formula", "formula": "cuont / 2"}]}),
            "select[1].formula: `cuont` is no numeric aggregation of `select`; did you mean `count`?",
        ),
        (
            json!({"select": [{"type": "formula", "formula": "1 + * 2"}]}),
            "select[0].formula: `*` at character 5, a number, a name, `-` or `(` is needed",
        ),
        (
            json!({"select": [{"type": "formula", "formula": "(1 + 2"}]}),
            "select[0].formula: the formula ends at character 7, an operator or `)` is needed",
        ),
        (
            json!({"select": [{"type": "formula", "formula": "(".repeat(65) + "1" + &")".repeat(65)}]}),
            "select[0].formula: parentheses and signs nest over 64 levels deep",
        ),
        (
            json!({"select": [{"type": "formula", "formula": "1".repeat(1001)}]}),
            "select[0].formula: 1001 characters given",
        ),
        (
            json!({"select": [aggregation("first"), {"type": "formula", "formula": "\"first_properties.ms\""}]}),
            "is no numeric aggregation",
        ),
        (
            json!({"having": {"condition": {"field": "id", "operator": "eq", "value": "x"}}}),
            "having: only grouped requests",
        ),
        (
            json!({"select": [count.clone()], "having": {"condition": {"field": "cuont", "operator": "eq", "value": 1}}}),
            "having.condition.field: unknown column `cuont`; did you mean `count`?",
        ),
        (
            json!({"select": [count.clone()], "having": {"condition": {"field": "count", "operator": "eq", "value": "1"}}}),
            "having.condition.value: string given, a number is needed",
        ),
        (
            json!({"select": [count.clone()], "groupBy": [{"field": "tags"}], "having": {"condition": {"field": "tags", "operator": "eq", "value": []}}}),
            "`tags` is a list or JSON",
        ),
        (
            json!({"select": [{"type": "time", "timeUnit": "day", "fill": {"from": "2024-05-02", "to": "2024-05-02"}}]}),
            "select[0].fill: `from` must be before `to`",
        ),
        (
            json!({"select": [{"type": "time", "timeUnit": "day", "fill": {"from": "2024-05-02"}}]}),
            "select[0].fill.to: missing; a time is needed",
        ),
        (
            json!({"select": [{"type": "time", "timeUnit": "hourOfDay", "fill": {"from": 1, "to": 2}}]}),
            "select[0].fill: object given, a boolean is needed",
        ),
        (
            json!({"select": [{"type": "time", "timeUnit": "minute", "fill": {"from": "1970-01-01", "to": "2024-05-02"}}]}),
            "select[0].fill: over 100000 rows from 1970-01-01T00:00:00.000Z to 2024-05-01T23:59:00.000Z after filling",
        ),
        (
            json!({"select": [{"type": "time", "timeUnit": "day", "fill": true}, {"type": "time", "timeUnit": "hour", "fill": true}]}),
            "select[1].fill: a second `fill`",
        ),
        (
            json!({"groupBy": [{"field": "type", "unnest": true}]}),
            "groupBy[0].unnest: `type` is no list and no JSON field",
        ),
        (
            json!({"groupBy": [{"field": "properties", "unnest": true}]}),
            "groupBy[0].unnest: the whole JSON field `properties` is no list; give a `path`",
        ),
        (json!({"groupBy": [{"field": "type", "bin": {"width": 1}}]}), "groupBy[0].bin: `type` is no number"),
        (
            json!({"groupBy": [{"field": "messageCount", "bin": {"width": 0}}]}),
            "groupBy[0].bin.width: 0 given, a number above 0 is needed",
        ),
        (json!({"groupBy": [{"field": "type", "top": {"limit": 1001}}]}), "groupBy[0].top.limit: 1001 given"),
        (
            json!({"groupBy": [{"field": "messageCount", "top": {"limit": 1, "other": "x"}}]}),
            "groupBy[0].top.other: only a text key takes a label",
        ),
        (
            json!({"groupBy": [{"field": "type", "top": {"limit": 1, "by": "cuont"}}]}),
            "groupBy[0].top.by: `cuont` is no aggregation or formula",
        ),
        (json!({"select": [count], "totals": 1}), "totals: number given, a boolean is needed"),
    ];
    for (request, expected) in cases {
        let answer =
            site.server.request("POST", "/query/conversations", Some(&key), Some(request.to_string().as_bytes()));
        assert_eq!(answer.status, 422, "{request}: {}", answer.text());
        let detail = answer.json()["detail"].as_str().expect("a detail").to_owned();
        assert!(detail.contains(expected), "{request}\n  found    {detail}\n  expected {expected}");
    }
}
