//! Sentences of contract A3 as examples on a few documents, each asked of memory and of files. The differential test
//! compares everything else with an independent evaluation.

use serde_json::{Value, json};

use crate::site::{ORGANIZATION, PROJECT, Site};

fn log(site: &Site, key: &str, id: &str, members: &str) {
    let document = format!(
        r#"{{"id":"{id}","type":"openai",{members}"messages":[{{"role":"user","content":"q"}},{{"role":"assistant","content":"a"}}]}}"#
    );
    site.log(key, &document);
}

/// The ids that a filter finds, sorted.
fn ids(site: &Site, key: &str, filter: &str) -> Vec<String> {
    let request = format!(
        r#"{{"select":[{{"type":"field","field":"id"}}],"where":{filter},"orderBy":[{{"field":"id","direction":"asc"}}]}}"#
    );
    let data = site.query(key, &request);
    assert_eq!(data["total"], data["count"], "{filter}");
    data["result"].as_array().expect("rows").iter().map(|row| row["id"].as_str().expect("an id").to_string()).collect()
}

fn condition(field: &str, operator: &str, value: &str) -> String {
    format!(r#"{{"condition":{{"field":"{field}","operator":"{operator}","value":{value}}}}}"#)
}

fn at(operator: &str, path: &str, value: &str) -> String {
    condition("properties", operator, &format!(r#"{{"path":{path},"value":{value}}}"#))
}

/// Wrong answers of a table are shown together.
fn all_equal<T: PartialEq + std::fmt::Debug>(found: Vec<(String, T, T)>) {
    let wrong: Vec<String> = found
        .iter()
        .filter(|(_, found, expected)| found != expected)
        .map(|(what, found, expected)| format!("{what}\n  found    {found:?}\n  expected {expected:?}"))
        .collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn filters() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    for (id, properties) in [
        ("n5", r#"{"a":5}"#),
        ("n5.0", r#"{"a":5.0}"#),
        ("s5", r#"{"a":"5"}"#),
        ("true", r#"{"a":true}"#),
        ("null", r#"{"a":null}"#),
        ("none", r#"{"b":1}"#),
        ("list", r#"{"a":[1,"x",null,{"k":1,"l":2}]}"#),
        ("object", r#"{"a":{"k":[10,20,30],"0":"zero"}}"#),
        ("big", r#"{"a":9007199254740993}"#),
        ("empty", r#"{}"#),
    ] {
        log(&site, &key, id, &format!(r#""properties":{properties},"#));
    }
    log(&site, &key, "absent", r#""tags":["x","y"],"externalId":"e","createdAt":"2020-01-01T00:00:00Z","#);
    let a = r#"["a"]"#;
    let cases: Vec<(String, &[&str])> = vec![
        // By JSON type.
        (at("eq", a, "5"), &["n5", "n5.0"]),
        (at("eq", a, "5.00"), &["n5", "n5.0"]),
        (at("eq", a, r#""5""#), &["s5"]),
        (at("eq", a, "true"), &["true"]),
        (at("eq", a, "9007199254740993"), &["big"]),
        (at("eq", a, "9007199254740992"), &[]),
        (at("eq", a, r#"{"0":"zero","k":[10,20,3e1]}"#), &["object"]),
        // An absent value satisfies no comparison; only isNull.
        (at("neq", a, "5"), &["big", "list", "object", "s5", "true"]),
        (at("notIn", a, "[5,true]"), &["big", "list", "object", "s5"]),
        (at("notIn", a, "[5,null]"), &["big", "list", "object", "s5", "true"]),
        (at("notIn", a, "[]"), &["big", "list", "n5", "n5.0", "object", "s5", "true"]),
        (at("in", a, "[]"), &[]),
        (at("in", a, r#"["5",true]"#), &["s5", "true"]),
        (at("in", a, r#"["5",null]"#), &["absent", "empty", "none", "null", "s5"]),
        (at("eq", a, "null"), &["absent", "empty", "none", "null"]),
        (at("neq", a, "null"), &["big", "list", "n5", "n5.0", "object", "s5", "true"]),
        (condition("properties", "isNull", r#"{"path":["a"]}"#), &["absent", "empty", "none", "null"]),
        (condition("properties", "isNotNull", r#"{"path":["b"]}"#), &["none"]),
        (condition("properties", "isNull", "null"), &["absent"]),
        (condition("title", "isNotNull", "5"), &[]),
        // Numbers with numbers and strings with strings.
        (at("gt", a, "4"), &["big", "n5", "n5.0"]),
        (at("gte", a, "5"), &["big", "n5", "n5.0"]),
        (at("lt", a, "5"), &[]),
        (at("gt", a, "9007199254740992"), &["big"]),
        (at("lte", a, r#""5""#), &["s5"]),
        (at("gt", a, r#""4""#), &["s5"]),
        // Paths into lists.
        (at("eq", r#"["a","0"]"#, "1"), &["list"]),
        (at("eq", r#"["a","0"]"#, r#""zero""#), &["object"]),
        (at("eq", r#"["a","-1","k"]"#, "1"), &["list"]),
        (at("eq", r#"["a","k","-3"]"#, "10"), &["object"]),
        (at("eq", r#"["a","k","3"]"#, "10"), &[]),
        // JSON operators.
        (condition("properties", "eq", "{}"), &["empty"]),
        (condition("properties", "eq", r#"{"a":5}"#), &["n5", "n5.0"]),
        (condition("properties", "in", r#"[{"b":1.0},null]"#), &["absent", "none"]),
        (condition("properties", "jsonContains", r#"{"a":[1]}"#), &["list"]),
        (
            condition("properties", "jsonContains", "{}"),
            &["big", "empty", "list", "n5", "n5.0", "none", "null", "object", "s5", "true"],
        ),
        (condition("properties", "jsonContainedBy", r#"{"a":5,"b":1}"#), &["empty", "n5", "n5.0", "none"]),
        (
            condition("properties", "jsonHasKey", r#""a""#),
            &["big", "list", "n5", "n5.0", "null", "object", "s5", "true"],
        ),
        (condition("properties", "jsonHasAnyKey", r#"["b","c"]"#), &["none"]),
        (condition("properties", "jsonHasAllKeys", r#"["a","b"]"#), &[]),
        (
            condition("properties", "jsonHasAllKeys", "[]"),
            &["big", "empty", "list", "n5", "n5.0", "none", "null", "object", "s5", "true"],
        ),
        (at("jsonHasKey", a, r#""k""#), &["object"]),
        (at("jsonHasKey", a, r#""x""#), &["list"]),
        (at("jsonHasKey", a, r#""5""#), &["s5"]),
        (at("jsonContains", a, "1"), &["list"]),
        (at("jsonContains", r#"["a","k"]"#, "[20,10]"), &["object"]),
        (at("jsonArrayContainsObject", a, r#"{"k":1}"#), &["list"]),
        (at("jsonArrayContainsObject", a, r#"{"k":2}"#), &[]),
        (at("arrayContains", a, "1.0"), &["list"]),
        (at("arrayContains", a, r#"{"l":2,"k":1}"#), &["list"]),
        (at("arrayContains", a, r#"[1,"x"]"#), &["list"]),
        (at("arrayContains", a, r#"[1,"z"]"#), &[]),
        (condition("tags", "arrayContains", r#""x""#), &["absent"]),
        (condition("tags", "arrayContains", r#"["y","x"]"#), &["absent"]),
        (condition("tags", "eq", r#"["x","y"]"#), &["absent"]),
        (condition("tags", "eq", r#"["y","x"]"#), &[]),
        // Plain fields.
        (condition("externalId", "neq", r#""f""#), &["absent"]),
        (condition("createdAt", "lt", r#""2020-01-01T01:00:00+02:00""#), &[]),
        (condition("createdAt", "lt", r#""2020-01-01T00:00:00.001""#), &["absent"]),
        (condition("createdAt", "eq", "1577836800000"), &["absent"]),
        (condition("createdAt", "in", r#"["2020-01-01",null]"#), &["absent"]),
        (condition("type", "eq", r#""nothing""#), &[]),
        // Trees.
        (r#"{"or":[]}"#.into(), &[]),
        (
            format!(r#"{{"and":[{{"or":[{},{}]}},{}]}}"#, at("eq", a, "5"), at("eq", a, "true"), at("neq", a, "5")),
            &["true"],
        ),
    ];
    for round in 0..2 {
        let found = cases
            .iter()
            .map(|(filter, expected)| {
                let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
                (format!("round {round}: {filter}"), ids(&site, &key, filter), expected)
            })
            .collect();
        all_equal(found);
        assert_eq!(ids(&site, &key, r#"{"and":[]}"#).len(), 11);
        site.restart();
    }
}

#[test]
fn texts_at_a_path() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let values = [
        ("1e5", json!("100000")),
        ("1.10", json!("1.10")),
        ("-0.0", json!("0.0")),
        ("9007199254740993", json!("9007199254740993")),
        (r#""text \"q\"""#, json!("text \"q\"")),
        ("true", json!("true")),
        ("null", Value::Null),
        (r#"{"bb":1e2,"a":[1.50,null,"x"],"c":{}}"#, json!(r#"{"a": [1.50, null, "x"], "c": {}, "bb": 100}"#)),
        ("[ ]", json!("[]")),
        ("1.5e1", json!("15")),
    ];
    for (index, (value, _)) in values.iter().enumerate() {
        log(&site, &key, &format!("{index}"), &format!(r#""properties":{{"v":{value}}},"#));
    }
    for round in 0..2 {
        let rows = site.rows(&key, r#"{"select":[{"type":"field","field":"id"},{"type":"field","field":"properties","path":["v"]}],"orderBy":[{"field":"id","direction":"asc"}]}"#);
        let found = values
            .iter()
            .enumerate()
            .map(|(index, (value, expected))| {
                let row = json!({"id": index.to_string(), "properties.v": expected});
                (format!("round {round}: {value}"), rows[index].clone(), row)
            })
            .collect();
        all_equal(found);
        let row = &site.rows(&key, r#"{"select":[{"type":"aggregation","aggregation":"count","field":"properties","path":["v"]},{"type":"aggregation","aggregation":"countDistinct","field":"properties","path":["v"]}]}"#)[0];
        assert_eq!(*row, json!({"count_properties.v": 9, "countDistinct_properties.v": 9}), "round {round}");
        site.restart();
    }
}

#[test]
fn aggregates() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    for (index, value) in
        ["0.1", "0.2", "0.3", r#""0.4""#, r#"" 5""#, "true", "1e16", "-1e16", r#""1e-1""#, r#""x""#].iter().enumerate()
    {
        log(
            &site,
            &key,
            &format!("{index}"),
            &format!(r#""createdAt":"2024-01-0{}","properties":{{"n":{value},"g":"{}"}},"#, index % 9 + 1, index % 2),
        );
        if index == 4 {
            site.restart(); // half in files, half in memory
        }
    }
    let aggregation =
        |function: &str, more: &str| format!(r#"{{"type":"aggregation","aggregation":"{function}"{more}}}"#);
    let at_n = r#","field":"properties","path":["n"]"#;
    let all: Vec<String> =
        ["sum", "avg", "min", "max", "count"].iter().map(|function| aggregation(function, at_n)).collect();
    let total = 0.1f64 + 0.4 + 0.2 + 0.3 + 0.1; // 1.1 either way; the large ones cancel out exactly
    for round in 0..2 {
        let row =
            site.rows(&key, &format!(r#"{{"select":[{},{}]}}"#, all.join(","), aggregation("count", "")))[0].clone();
        let number = |name: &str| row[name].as_f64().unwrap_or_else(|| panic!("{name} in {row}"));
        assert_eq!(number("sum_properties.n"), total, "round {round}: exact, whatever the order");
        assert_eq!(number("avg_properties.n"), total / 7.0, "round {round}");
        assert_eq!((number("min_properties.n"), number("max_properties.n")), (-1e16, 1e16), "round {round}");
        assert_eq!((&row["count_properties.n"], &row["count"]), (&json!(10), &json!(10)), "round {round}");

        // Without any value they are left out, counts are 0, and there is always one row.
        let nothing = r#","field":"properties","path":["nothing"]"#;
        let select: Vec<String> = ["sum", "avg", "min", "max", "count", "countDistinct"]
            .iter()
            .map(|function| aggregation(function, nothing))
            .collect();
        let data = site.query(&key, &format!(r#"{{"select":[{}]}}"#, select.join(",")));
        assert_eq!(data["result"], json!([{"count_properties.nothing": 0, "countDistinct_properties.nothing": 0}]));
        assert_eq!(data["total"], 1);
        let none = condition("id", "eq", r#""nobody""#);
        let data = site.query(
            &key,
            &format!(
                r#"{{"select":[{},{}],"where":{none}}}"#,
                aggregation("count", ""),
                aggregation("max", r#","field":"createdAt""#)
            ),
        );
        assert_eq!(data["result"], json!([{"count": 0}]));
        let data = site.query(
            &key,
            &format!(r#"{{"select":[{}],"groupBy":[{{"field":"type"}}],"where":{none}}}"#, aggregation("count", "")),
        );
        assert_eq!((&data["result"], &data["total"]), (&json!([]), &json!(0)));

        // Times are epoch milliseconds.
        let row = site.rows(
            &key,
            &format!(
                r#"{{"select":[{},{},{}]}}"#,
                aggregation("min", r#","field":"firstMessageTime""#),
                aggregation("max", r#","field":"createdAt""#),
                aggregation("sum", r#","field":"userMessageCount""#)
            ),
        )[0]
        .clone();
        assert_eq!(row["min_firstMessageTime"].as_f64(), Some(1_704_067_200_000.0));
        assert_eq!(row["max_createdAt"].as_f64(), Some(1_704_758_400_000.0));
        assert_eq!(row["sum_userMessageCount"].as_f64(), Some(10.0));

        // The official client orders by count_id, which is not selected.
        let data = site.query(&key, &format!(r#"{{"select":[{}],"groupBy":[{{"field":"properties","path":["g"]}}],"orderBy":[{{"field":"count_id","direction":"desc"}}]}}"#, aggregation("count", "")));
        assert_eq!(data["result"], json!([{"count": 5, "properties.g": "0"}, {"count": 5, "properties.g": "1"}]));
        let filter = condition("id", "neq", r#""0""#);
        let data = site.query(&key, &format!(r#"{{"select":[{}],"where":{filter},"groupBy":[{{"field":"properties","path":["g"],"includeInSelect":false}}],"orderBy":[{{"field":"count_id","direction":"desc"}},{{"field":"properties.g","direction":"desc"}}]}}"#, aggregation("count", "")));
        assert_eq!(data["result"], json!([{"count": 5}, {"count": 4}]));
        site.restart();
    }
}

/// On times the aggregates of numbers work on epoch milliseconds; a row without the time counts for none of them.
#[test]
fn times_are_numbers_to_aggregates() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    // Of the first and of the last message.
    let texts = [
        ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.001Z"],
        ["2024-01-01T00:00:00.001Z", "2024-01-01T00:01:00Z"],
        ["2024-01-01T00:00:00.002Z", "2024-01-02T00:00:00Z"],
        ["9999-12-31T23:59:59.998Z", "9999-12-31T23:59:59.999Z"],
        ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00.001Z"],
    ];
    let times: [(i64, i64); 5] = [
        (-62_135_596_800_000, -62_135_596_799_999),
        (1_704_067_200_001, 1_704_067_260_000),
        (1_704_067_200_002, 1_704_153_600_000),
        (253_402_300_799_998, 253_402_300_799_999),
        (0, 1),
    ];
    for (number, [first, last]) in texts.into_iter().enumerate() {
        let document = json!({"id": format!("c{number}"), "type": "openai", "createdAt": first,
            "properties": {"half": number % 2}, "messages": [
                {"role": "user", "content": "q", "createdAt": first}, {"role": "assistant", "content": "a", "createdAt": last}]});
        site.log(&key, &document.to_string());
        if number == 2 {
            site.restart(); // some in files, some in memory
        }
    }
    let select: Vec<Value> = ["firstMessageTime", "lastMessageTime"]
        .iter()
        .flat_map(|field| {
            ["sum", "avg", "min", "max", "count"]
                .map(|function| json!({"type": "aggregation", "aggregation": function, "field": field}))
        })
        .collect();
    let expected = |of: &[usize]| -> Value {
        let mut row = serde_json::Map::new();
        for (name, values) in [
            ("firstMessageTime", of.iter().map(|number| times[*number].0).collect::<Vec<i64>>()),
            ("lastMessageTime", of.iter().map(|number| times[*number].1).collect()),
        ] {
            let sum: i64 = values.iter().sum();
            row.insert(format!("sum_{name}"), json!(sum as f64));
            row.insert(format!("avg_{name}"), json!(sum as f64 / values.len() as f64));
            row.insert(format!("min_{name}"), json!(*values.iter().min().expect("a time") as f64));
            row.insert(format!("max_{name}"), json!(*values.iter().max().expect("a time") as f64));
            row.insert(format!("count_{name}"), json!(values.len() as f64));
        }
        Value::Object(row)
    };
    let numbers = |row: &Value| -> Value {
        let row = row.as_object().expect("a row").iter();
        row.map(|(name, value)| (name.clone(), value.as_f64().map_or_else(|| value.clone(), |number| json!(number))))
            .collect()
    };
    for view in ["conversations", "semantic-threads"] {
        let data = site.query_view(view, &key, &json!({"select": select}).to_string());
        assert_eq!(numbers(&data["result"][0]), expected(&[0, 1, 2, 3, 4]), "{view}");
        let half = json!({"field": "properties", "path": ["half"], "includeInSelect": false});
        let grouped =
            json!({"select": select, "groupBy": [half], "orderBy": [{"field": "properties.half", "direction": "asc"}]});
        let data = site.query_view(view, &key, &grouped.to_string());
        let rows: Vec<Value> = data["result"].as_array().expect("rows").iter().map(numbers).collect();
        assert_eq!(rows, [expected(&[0, 2, 4]), expected(&[1, 3])], "{view}");
        let none =
            json!({"select": select, "where": {"condition": {"field": "id", "operator": "eq", "value": "nobody"}}});
        let data = site.query_view(view, &key, &none.to_string());
        assert_eq!(data["result"], json!([{"count_firstMessageTime": 0, "count_lastMessageTime": 0}]), "{view}");
    }
}

/// Zones whose rules reach beyond the last year that can be written.
#[test]
fn the_last_millisecond_has_its_day_in_every_zone() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, "last", r#""createdAt":"9999-12-31T23:59:59.999Z","#);
    for _ in 0..2 {
        for (zone, start) in [
            ("UTC", "9999-12-31T00:00:00.000Z"),
            ("Europe/Dublin", "9999-12-31T00:00:00.000Z"),
            ("Europe/Lisbon", "9999-12-31T00:00:00.000Z"),
            ("Australia/Lord_Howe", "9999-12-31T13:00:00.000Z"),
        ] {
            let day = json!({"select": [{"type": "aggregation", "aggregation": "count"}, {"type": "time", "timeUnit": "day"}],
                "timeZone": zone});
            assert_eq!(
                site.rows(&key, &day.to_string()),
                json!([{"count": 1, "firstMessageTime_day": start}]),
                "{zone}"
            );
        }
        site.restart();
    }
}

#[test]
fn time_buckets() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    for (index, time) in [
        "2024-08-26T03:59:59.999Z", // Monday; in New York still Sunday
        "2024-08-26T04:00:00Z",
        "2024-08-25T12:00:00Z",
        "2024-11-03T05:30:00Z", // New York 01:30, first time
        "2024-11-03T06:30:00Z", // and again
        "1969-12-31T23:00:00Z",
    ]
    .iter()
    .enumerate()
    {
        log(&site, &key, &index.to_string(), &format!(r#""createdAt":"{time}","#));
    }
    let cases = [
        (
            r#""timeUnit":"day""#,
            "",
            "day",
            vec![
                ("1969-12-31T00:00:00.000Z", 1),
                ("2024-08-25T00:00:00.000Z", 1),
                ("2024-08-26T00:00:00.000Z", 2),
                ("2024-11-03T00:00:00.000Z", 2),
            ],
        ),
        (
            r#""timeUnit":"day""#,
            r#","timeZone":"America/New_York""#,
            "day",
            vec![
                ("1969-12-31T05:00:00.000Z", 1),
                ("2024-08-25T04:00:00.000Z", 2),
                ("2024-08-26T04:00:00.000Z", 1),
                ("2024-11-03T04:00:00.000Z", 2),
            ],
        ),
        (
            r#""timeUnit":"hour""#,
            r#","timeZone":"America/New_York""#,
            "hour",
            vec![
                ("1969-12-31T23:00:00.000Z", 1),
                ("2024-08-25T12:00:00.000Z", 1),
                ("2024-08-26T03:00:00.000Z", 1),
                ("2024-08-26T04:00:00.000Z", 1),
                ("2024-11-03T05:00:00.000Z", 1),
                ("2024-11-03T06:00:00.000Z", 1),
            ],
        ),
        (
            r#""timeUnit":"week""#,
            "",
            "week",
            vec![
                ("1969-12-29T00:00:00.000Z", 1),
                ("2024-08-19T00:00:00.000Z", 1),
                ("2024-08-26T00:00:00.000Z", 2),
                ("2024-10-28T00:00:00.000Z", 2),
            ],
        ),
        (
            r#""timeUnit":"week""#,
            r#","weekStart":"sunday""#,
            "week",
            vec![("1969-12-28T00:00:00.000Z", 1), ("2024-08-25T00:00:00.000Z", 3), ("2024-11-03T00:00:00.000Z", 2)],
        ),
        (
            r#""timeUnit":"month""#,
            r#","timeZone":"Asia/Kathmandu""#,
            "month",
            vec![("1969-12-31T18:30:00.000Z", 1), ("2024-07-31T18:15:00.000Z", 3), ("2024-10-31T18:15:00.000Z", 2)],
        ),
    ];
    for round in 0..2 {
        let mut found = Vec::new();
        for (unit, more, name, expected) in &cases {
            let request = format!(
                r#"{{"select":[{{"type":"time",{unit},"field":"createdAt"}},{{"type":"aggregation","aggregation":"count"}}]{more}}}"#
            );
            let column = format!("createdAt_{name}");
            let expected: Vec<Value> =
                expected.iter().map(|(time, count)| json!({column.as_str(): time, "count": count})).collect();
            found.push((format!("round {round}: {request}"), site.rows(&key, &request), Value::Array(expected)));
        }
        let default = r#"{"select":[{"type":"time","timeUnit":"month"}]}"#;
        let months = json!([{"firstMessageTime_month": "1969-12-01T00:00:00.000Z"}, {"firstMessageTime_month": "2024-08-01T00:00:00.000Z"}, {"firstMessageTime_month": "2024-11-01T00:00:00.000Z"}]);
        found.push((default.into(), site.rows(&key, default), months));
        all_equal(found);
        site.restart();
    }
}

#[test]
fn rows_orders_and_pages() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    for index in 0..20 {
        let plan = ["\"pro\"", "\"free\"", "null", "7"][index % 4];
        log(
            &site,
            &key,
            &format!("c{index:02}"),
            &format!(
                r#""createdAt":"2024-01-{:02}","properties":{{"plan":{plan},"o":{{"b":1.0,"a":[1]}}}},"#,
                index / 2 + 1
            ),
        );
    }
    for round in 0..2 {
        // `{}`: all published fields, newest first, then id ascending.
        let data = site.query(&key, "{}");
        assert_eq!((&data["total"], &data["count"], &data["pageSize"]), (&json!(20), &json!(20), &json!(10_000)));
        assert_eq!(
            data["result"][0],
            json!({"id": "c18", "userMessageCount": 1, "organizationId": "acme", "projectId": "docs", "integrationId": "bot",
                "firstMessageTime": "2024-01-10T00:00:00.000Z", "type": "openai",
                "properties": {"plan": null, "o": {"b": 1.0, "a": [1]}}, "userProperties": null})
        );
        let order: Vec<&str> =
            data["result"].as_array().expect("rows").iter().filter_map(|row| row["id"].as_str()).collect();
        let expected: Vec<String> =
            (0..10).rev().flat_map(|day| [format!("c{:02}", day * 2), format!("c{:02}", day * 2 + 1)]).collect();
        assert_eq!(order, expected, "round {round}");

        // Pages of it; what is cut off shows as count < total.
        for (limit, offset) in [(1, 0), (7, 7), (7, 14), (100_000, 3), (5, 19), (5, 20), (5, 9_000_000)] {
            let page = site.query(&key, &format!(r#"{{"limit":{limit},"offset":{offset}}}"#));
            let expected: Vec<Value> =
                data["result"].as_array().expect("rows").iter().skip(offset).take(limit).cloned().collect();
            assert_eq!(
                (&page["total"], &page["pageSize"]),
                (&json!(20), &json!(limit)),
                "round {round}: {limit}, {offset}"
            );
            assert_eq!(page["result"], Value::Array(expected), "round {round}: {limit}, {offset}");
        }

        // Nulls are last both ways; numbers at a path group as their text.
        for (direction, expected) in [("asc", ["7", "free", "pro"]), ("desc", ["pro", "free", "7"])] {
            let request = format!(
                r#"{{"groupBy":[{{"field":"properties","path":["plan"]}}],"orderBy":[{{"field":"properties.plan","direction":"{direction}"}}]}}"#
            );
            let rows = site.rows(&key, &request);
            let mut all: Vec<Value> = expected.iter().map(|plan| json!({"properties.plan": plan})).collect();
            all.push(json!({"properties.plan": null}));
            assert_eq!(rows, Value::Array(all), "round {round}: {direction}");
        }
        // A whole JSON field groups by value, shown in jsonb key order without trailing zeros.
        let text = site.ok("POST", "/query/conversations", &key, Some(r#"{"select":[{"type":"aggregation","aggregation":"count"}],"groupBy":[{"field":"properties"}],"limit":1}"#)).text();
        assert!(text.contains(r#""a":[1],"b":1}"#) || text.contains(r#""a": [1], "b": 1}"#), "{text}");
        let data: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(
            (&data["data"]["total"], &data["data"]["count"], &data["data"]["result"][0]["count"]),
            (&json!(4), &json!(1), &json!(5))
        );

        // A column asked twice appears once; an aggregation beside its group keys; the same bytes each time.
        let request = r#"{"select":[{"type":"field","field":"type"},{"type":"field","field":"type"},{"type":"aggregation","aggregation":"count","field":"id"},{"type":"aggregation","aggregation":"count","field":"id"}],"groupBy":[{"field":"type"},{"field":"type"}],"notes":"ignored"}"#;
        let text = site.ok("POST", "/query/conversations", &key, Some(request)).text();
        assert_eq!(
            serde_json::from_str::<Value>(&text).expect("JSON")["data"]["result"],
            json!([{"type": "openai", "count_id": 20}])
        );
        assert_eq!(text.matches("\"count_id\"").count(), 1, "{text}");
        assert_eq!(text.matches("\"type\"").count(), 1, "{text}");
        assert_eq!(site.ok("POST", "/query/conversations", &key, Some(request)).text(), text);
        // All keys hidden: as many empty rows as groups.
        let data = site.query(&key, r#"{"groupBy":[{"field":"id","includeInSelect":false}]}"#);
        assert_eq!((&data["total"], &data["result"][0]), (&json!(20), &json!({})));
        // Fields that nothing has set yet.
        let row = &site.rows(&key, r#"{"select":[{"type":"field","field":"title"},{"type":"field","field":"state"},{"type":"field","field":"assignee"},{"type":"field","field":"isEnd"},{"type":"field","field":"tags"},{"type":"field","field":"categories"},{"type":"field","field":"messageCount"},{"type":"field","field":"visibility"}],"limit":1}"#)[0];
        assert_eq!(
            *row,
            json!({"title": null, "state": "no", "assignee": null, "isEnd": false, "tags": null, "categories": null, "messageCount": 2, "visibility": null})
        );
        site.restart();
    }
}

#[test]
fn durations_are_shown_when_they_are_asked_for() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let document = |id: &str, times: [&str; 3]| {
        let messages: Vec<String> =
            times.iter().map(|time| format!(r#"{{"role":"user","content":"q","createdAt":{time}}}"#)).collect();
        let messages = messages.join(",");
        format!(r#"{{"id":"{id}","type":"openai","createdAt":"2024-08-26T12:00:00Z","messages":[{messages}]}}"#)
    };
    // The times of messages alone count, in whatever order they stand.
    let minute = [r#""2024-08-26T10:01:00.250Z""#, r#""2024-08-26T10:00:30Z""#, r#""2024-08-26T10:00:00.000Z""#];
    site.log(&key, &document("minute", minute));
    site.log(&key, &document("one", ["null", r#""2024-08-20T10:00:00Z""#, "null"]));
    site.log(&key, &document("none", ["null"; 3]));
    for round in 0..2 {
        let request = r#"{"select":[{"type":"field","field":"id"},{"type":"field","field":"durationMs"}],
            "orderBy":[{"field":"durationMs","direction":"desc"},{"field":"id","direction":"asc"}]}"#;
        let expected = json!([{"id": "minute", "durationMs": 60_250}, {"id": "none", "durationMs": 0},
            {"id": "one", "durationMs": 0}]);
        assert_eq!(site.rows(&key, request), expected, "round {round}");
        assert_eq!(ids(&site, &key, &condition("durationMs", "gt", "60249.5")), ["minute"]);
        assert_eq!(ids(&site, &key, &condition("durationMs", "eq", "0")), ["none", "one"]);
        let totals = r#"{"select":[{"type":"aggregation","aggregation":"sum","field":"durationMs"},
            {"type":"aggregation","aggregation":"max","field":"durationMs"}]}"#;
        let totals = &site.rows(&key, totals)[0];
        assert_eq!(
            (totals["sum_durationMs"].as_f64(), totals["max_durationMs"].as_f64()),
            (Some(60_250.0), Some(60_250.0))
        );
        let csv = site.send("POST", "/query/conversations/export", &key, Some(request)).text();
        assert_eq!(csv, "id,durationMs\r\nminute,60250\r\nnone,0\r\none,0\r\n", "round {round}");
        // Nobody who does not name it sees it.
        assert!(site.rows(&key, "{}")[0].get("durationMs").is_none());
        site.restart();
    }
    let openapi = site.get("/openapi.json", &key);
    let schemas = &openapi["components"]["schemas"];
    assert_eq!(
        schemas["ConversationsRows"]["properties"]["data"]["properties"]["result"]["items"]["properties"]["durationMs"]
            ["type"],
        json!(["integer", "null"])
    );
    assert!(schemas["ConversationsFilter"].to_string().contains("\"durationMs\""));
}

/// What contract A5 derives of a conversation: its answers, and who asked.
#[test]
fn answers_and_users_are_shown_when_they_are_asked_for() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let message = |role: &str, second: &str| {
        let time = if second.is_empty() { "null".to_owned() } else { format!("\"2024-08-26T10:00:{second}Z\"") };
        format!(r#"{{"role":"{role}","content":"x","createdAt":{time}}}"#)
    };
    let document = |id: &str, user: &str, messages: &[(&str, &str)]| {
        let messages: Vec<String> = messages.iter().map(|(role, second)| message(role, second)).collect();
        format!(
            r#"{{"id":"{id}","type":"support_ticket","createdAt":"2024-08-26T09:00:00Z","userProperties":{user},
            "messages":[{}]}}"#,
            messages.join(",")
        )
    };
    // By time, not by place: the answer before the question, those without a time and the machinery's do not count.
    let mixed = [
        ("agent", "09"),
        ("tool", "03"),
        ("user", "02"),
        ("assistant", "01"),
        ("system", "04"),
        ("developer", "05"),
        ("assistant", ""),
        ("user", "06"),
        ("assistant", "07.250"),
    ];
    site.log(&key, &document("a", r#"{"userId":"u","id":"v"}"#, &mixed));
    // Of one time the place decides.
    site.log(
        &key,
        &document("b", r#"{"userId":null,"id":7.50}"#, &[("user", "01"), ("agent", "01"), ("user", "00.5")]),
    );
    site.log(&key, &document("c", r#"{"userId":"","id":"v"}"#, &[("agent", "01"), ("user", "01")]));
    site.log(&key, &document("d", r#"{"userId":9007199254740993}"#, &[("user", ""), ("assistant", "01")]));
    site.log(&key, &document("e", "null", &[("user", "01"), ("user", "02")]));
    let about = r#""createdAt":"2024-08-26T10:00:00Z","userProperties":{"id":"Ü"}}"#;
    let event = format!(r#"{{"id":"e","type":"t","entityType":"search","searchQuery":"q",{about}"#);
    site.ok("POST", "/events", &key, Some(&event));
    let rated = &site.get("/conversations/a", &key)["messages"][0]["id"];
    let feedback = format!(r#"{{"id":"f","type":"positive","messageId":{rated},{about}"#);
    site.ok("POST", "/feedback", &key, Some(&feedback));
    for round in 0..2 {
        let fields = ["id", "assistantMessageCount", "otherMessageCount", "firstResponseMs", "user"];
        let select: Vec<String> =
            fields.iter().map(|field| format!(r#"{{"type":"field","field":"{field}"}}"#)).collect();
        let request = format!(r#"{{"select":[{}],"orderBy":[{{"field":"id","direction":"asc"}}]}}"#, select.join(","));
        let row = |id: &str, assistant: u32, other: u32, first: Value, user: Value| {
            json!({"id": id, "assistantMessageCount": assistant, "otherMessageCount": other,
                "firstResponseMs": first, "user": user})
        };
        let expected = json!([
            row("a", 3, 1, json!(5_250), json!("u")),
            row("b", 0, 1, json!(500), json!("7.50")),
            row("c", 0, 1, Value::Null, json!("")),
            row("d", 1, 0, Value::Null, json!("9007199254740993")),
            row("e", 0, 0, Value::Null, Value::Null),
        ]);
        assert_eq!(site.rows(&key, &request), expected, "round {round}");
        assert_eq!(ids(&site, &key, &condition("firstResponseMs", "lte", "500")), ["b"]);
        assert_eq!(ids(&site, &key, &condition("user", "isNull", "true")), ["e"]);
        assert_eq!(ids(&site, &key, &condition("user", "in", r#"["u","7.50"]"#)), ["a", "b"]);
        for view in ["events", "feedback"] {
            let select = r#"{"select":[{"type":"field","field":"id"},{"type":"field","field":"user"}]}"#;
            assert_eq!(site.query_view(view, &key, select)["result"][0]["user"], "Ü", "{view}");
            assert!(site.query_view(view, &key, "{}")["result"][0].get("user").is_none(), "{view}");
        }
        site.restart();
    }
}

/// A web key stays with contract A3, wherever a query names what is beyond it (contract A5).
#[test]
fn web_keys_use_no_extension() {
    let site = Site::start(&[]);
    let (api, web) = (site.api_key(), site.key("web", ORGANIZATION, Some(PROJECT), &["query"]));
    log(&site, &api, "c", "");
    let of_conversations = ["durationMs", "assistantMessageCount", "otherMessageCount", "firstResponseMs", "user"];
    let fields = of_conversations.map(|field| ("conversations", field));
    for (view, field) in fields.into_iter().chain([("events", "user"), ("feedback", "user")]) {
        let filter = condition(field, "isNotNull", "true");
        for request in [
            format!(r#"{{"select":[{{"type":"field","field":"{field}"}}]}}"#),
            format!(r#"{{"select":[{{"type":"aggregation","aggregation":"countDistinct","field":"{field}"}}]}}"#),
            format!(r#"{{"groupBy":[{{"field":"{field}"}}]}}"#),
            format!(r#"{{"orderBy":[{{"field":"{field}","direction":"asc"}}]}}"#),
            format!(r#"{{"where":{{"or":[{{"and":[{filter}]}}]}}}}"#),
        ] {
            site.query_view(view, &api, &request);
            let detail = site.refused(403, "POST", &format!("/query/{view}"), &web, Some(&request));
            // Of the other views it may ask nothing at all.
            assert!(detail.contains(field) || view != "conversations", "{view}: {detail}");
        }
    }
    // Its keys, values and names.
    let count = r#"{"type":"aggregation","aggregation":"count"}"#;
    let of_count = |more: &str| format!(r#"{{"select":[{{"type":"aggregation","aggregation":"count",{more}}}]}}"#);
    let of_score =
        |more: &str| format!(r#"{{"select":[{{"type":"aggregation","field":"properties","path":["x"],{more}}}]}}"#);
    let of_time = |more: &str| format!(r#"{{"select":[{{"type":"time",{more}}}]}}"#);
    let of_key = |more: &str| format!(r#"{{"groupBy":[{{"field":"properties","path":["x"],{more}}}]}}"#);
    let mut requests = vec![
        of_count(r#""as":"n""#),
        of_count(r#""includeInSelect":true"#),
        of_count(r#""filter":{"and":[]}"#),
        format!(r#"{{"select":[{count},{{"type":"formula","formula":"count + 1"}}]}}"#),
        format!(r#"{{"select":[{count}],"having":{{"and":[]}}}}"#),
        of_time(r#""timeUnit":"hour","step":1"#),
        of_time(r#""timeUnit":"day","fill":true"#),
        of_time(r#""timeUnit":"day","fill":false"#),
        of_key(r#""as":"x""#),
        of_key(r#""unnest":true"#),
        of_key(r#""unnest":false"#),
        of_key(r#""bin":{"width":1}"#),
        of_key(r#""top":{"limit":1}"#),
        r#"{"select":[{"type":"field","field":"id","as":"i"}]}"#.to_owned(),
    ];
    requests.extend(["median", "stddev", "first", "last"].map(|one| of_score(&format!(r#""aggregation":"{one}""#))));
    requests.push(of_score(r#""aggregation":"percentile","p":0.5"#));
    let units = ["minute", "quarter", "year", "hourOfDay", "dayOfWeek", "dayOfMonth", "monthOfYear"];
    requests.extend(units.map(|unit| of_time(&format!(r#""timeUnit":"{unit}""#))));
    requests.extend(["nulls", "columns", "totals"].map(|key| format!(r#"{{"{key}":false}}"#)));
    for request in requests {
        site.query(&api, &request);
        site.refused(403, "POST", "/query/conversations", &web, Some(&request));
    }
    // What is invalid anyway stays so.
    let request = r#"{"select":[{"type":"field","field":"durationMs"}],"groupby":[]}"#;
    site.refused(422, "POST", "/query/conversations", &web, Some(request));
    site.query(&web, r#"{"select":[{"type":"field","field":"messageCount"}]}"#);
}
