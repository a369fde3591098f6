//! `POST /query/conversations/export` (contract A4): CSV that any RFC 4180 reader takes, from memory and from files.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::site::{Site, problem};
use crate::support::{Answer, Server, cut};

const PATH: &str = "/query/conversations/export";

/// The records of a CSV document, strictly after RFC 4180; `None` is an empty cell without quotes.
fn parse(text: &str) -> Vec<Vec<Option<String>>> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let cell = if let Some(quoted) = rest.strip_prefix('"') {
            let mut cell = String::new();
            let mut left = quoted;
            loop {
                let end = left.find('"').unwrap_or_else(|| panic!("an open quote: {}", cut(rest, 200)));
                cell.push_str(&left[..end]);
                left = &left[end + 1..];
                match left.strip_prefix('"') {
                    Some(more) => {
                        cell.push('"');
                        left = more;
                    }
                    None => break,
                }
            }
            rest = left;
            Some(cell)
        } else {
            let end = rest.find([',', '\r', '\n']).expect("a line ends");
            let cell = &rest[..end];
            assert!(!cell.contains('"'), "a quote inside a bare cell: {}", cut(rest, 200));
            rest = &rest[end..];
            (!cell.is_empty()).then(|| cell.to_string())
        };
        record.push(cell);
        if let Some(next) = rest.strip_prefix(',') {
            rest = next;
        } else {
            rest = rest.strip_prefix("\r\n").unwrap_or_else(|| panic!("no CR LF: {:?}", cut(rest, 200)));
            records.push(std::mem::take(&mut record));
        }
    }
    assert!(record.is_empty(), "the last line has no end");
    let width = records.first().map(Vec::len);
    assert!(records.iter().all(|record| Some(record.len()) == width), "lines of different widths: {}", cut(text, 500));
    records
}

fn export(site: &Site, key: &str, request: &str) -> Answer {
    let answer = site.send("POST", PATH, key, Some(request));
    assert_eq!(answer.status, 200, "{request}: {}\n{}", cut(&answer.text(), 1000), site.server.stderr());
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()));
    answer
}

/// Header and rows, null as `None`.
fn table(site: &Site, key: &str, request: &str) -> (Vec<String>, Vec<Vec<Option<String>>>) {
    let text = String::from_utf8(export(site, key, request).body).expect("UTF-8");
    let mut records = parse(&text).into_iter();
    let header = records.next().unwrap_or_else(|| panic!("no header: {request}"));
    (header.into_iter().map(Option::unwrap_or_default).collect(), records.collect())
}

fn log(site: &Site, key: &str, id: &str, members: &str) {
    site.log(key, &format!(r#"{{"id":"{id}","type":"openai",{members}"messages":[{{"role":"user","content":"q"}}]}}"#));
}

fn some(cells: &[&str]) -> Vec<Option<String>> {
    cells.iter().map(|cell| Some((*cell).to_string())).collect()
}

#[test]
fn awkward_texts_come_back() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let texts = [
        "plain",
        "",
        "a,b",
        "say \"hi\"",
        "\"",
        "\"\"",
        "two\nlines",
        "two\r\nlines",
        "\r",
        "\n",
        ",",
        " edges ",
        "大家 🙂",
        "tab\there",
        "=1+1",
        "'",
        "\u{1}",
        "null",
        "é\u{301}",
    ];
    for (index, text) in texts.iter().enumerate() {
        let properties = json!({"text": text, "nested": {"text": text}, text.to_string(): index});
        log(&site, &key, &format!("c{index:02}"), &format!(r#""properties":{properties},"tags":{},"#, json!([text])));
    }
    let select = r#"{"select":[{"type":"field","field":"id"},{"type":"field","field":"properties","path":["text"]},{"type":"field","field":"tags"},{"type":"field","field":"properties","mode":"json"}],"orderBy":[{"field":"id","direction":"asc"}]}"#;
    for round in 0..2 {
        let (header, rows) = table(&site, &key, select);
        assert_eq!(header, ["id", "properties.text", "tags", "properties"]);
        assert_eq!(rows.len(), texts.len());
        for (row, text) in rows.iter().zip(texts) {
            assert_eq!(row[1].as_deref(), Some(text), "round {round}");
            assert_eq!(serde_json::from_str::<Value>(row[2].as_deref().expect("tags")).expect("JSON"), json!([text]));
            let properties: Value = serde_json::from_str(row[3].as_deref().expect("properties")).expect("JSON");
            assert_eq!(properties["nested"]["text"], text, "round {round}");
        }
        // Unpacked: a column for each key, sorted by name.
        let (header, rows) = table(&site, &key, &select.replace(r#","mode":"json""#, ""));
        let mut expected: Vec<String> = texts.iter().map(|text| format!("properties.{text}")).collect();
        expected.push("properties.nested".into());
        expected.sort_unstable();
        assert_eq!(header[3..], expected);
        for (index, (row, text)) in rows.iter().zip(texts).enumerate() {
            let column = header.iter().position(|name| *name == format!("properties.{text}")).expect("a column");
            assert_eq!(row[column].as_deref(), Some(index.to_string().as_str()), "round {round}: {text:?}");
            assert_eq!(row.iter().flatten().count(), 5, "round {round}: {row:?}");
        }
        // With a safe export no cell begins a formula.
        let safe = format!(r#"{},"csvFormulaSafe":true}}"#, select.strip_suffix('}').expect("an object"));
        let (_, rows) = table(&site, &key, &safe);
        assert_eq!(rows[14][1].as_deref(), Some("'=1+1"), "round {round}");
        assert_eq!(rows[8][1].as_deref(), Some("'\r"), "round {round}");
        assert_eq!(rows[15][1].as_deref(), Some("'"), "round {round}");
        site.restart();
    }
}

#[test]
fn unpack_json_and_null() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    log(
        &site,
        &key,
        "a",
        r#""createdAt":"2024-08-26","properties":{"plan":"pro","n":1.10,"big":9007199254740993,"flag":true,"gone":null,"o":{"b":1.0,"a":[1]}},"userProperties":{"userId":7},"tags":["x","y, z"],"#,
    );
    log(&site, &key, "b", r#""createdAt":"2024-08-25","properties":{"plan":"","list":[]},"#);
    log(&site, &key, "c", r#""createdAt":"2024-08-24","#);
    for round in 0..2 {
        // `{}`: the published fields, both JSON fields unpacked, newest first.
        let (header, rows) = table(&site, &key, "{}");
        assert_eq!(
            header,
            [
                "id",
                "userMessageCount",
                "organizationId",
                "projectId",
                "integrationId",
                "firstMessageTime",
                "type",
                "properties.big",
                "properties.flag",
                "properties.gone",
                "properties.list",
                "properties.n",
                "properties.o",
                "properties.plan",
                "userProperties.userId",
            ],
            "round {round}"
        );
        let plain =
            |id: &str, day: &str| some(&[id, "1", "acme", "docs", "bot", &format!("{day}T00:00:00.000Z"), "openai"]);
        let mut expected = vec![plain("a", "2024-08-26"), plain("b", "2024-08-25"), plain("c", "2024-08-24")];
        expected[0].extend(some(&["9007199254740993", "true"]));
        expected[0].extend([None, None]);
        expected[0].extend(some(&["1.10", r#"{"a": [1], "b": 1.0}"#, "pro", "7"]));
        expected[1].extend([None, None, None, Some("[]".into()), None, None, Some(String::new()), None]);
        expected[2].extend(vec![None; 8]);
        assert_eq!(rows, expected, "round {round}");

        // Only the keys of matching rows have columns.
        let b = r#""where":{"condition":{"field":"id","operator":"eq","value":"b"}}"#;
        let (header, rows) = table(
            &site,
            &key,
            &format!(r#"{{"select":[{{"type":"field","field":"properties","mode":"unpack"}}],{b}}}"#),
        );
        assert_eq!((header, rows), (vec!["properties.list".into(), "properties.plan".into()], vec![some(&["[]", ""])]));
        let (header, rows) = table(
            &site,
            &key,
            r#"{"select":[{"type":"field","field":"properties","mode":"json"},{"type":"field","field":"tags"}],"limit":2}"#,
        );
        assert_eq!(header, ["properties", "tags"]);
        assert_eq!(
            rows[0],
            some(&[
                r#"{"plan":"pro","n":1.10,"big":9007199254740993,"flag":true,"gone":null,"o":{"b":1.0,"a":[1]}}"#,
                r#"["x","y, z"]"#
            ])
        );
        assert_eq!(rows[1], [Some(r#"{"plan":"","list":[]}"#.to_string()), None]);
        // One null cell is no empty line.
        let text = export(&site, &key, r#"{"select":[{"type":"field","field":"title"}]}"#).text();
        assert_eq!(text, "title\r\n\"\"\r\n\"\"\r\n\"\"\r\n");
        // The same bytes each time.
        assert_eq!(export(&site, &key, "{}").body, export(&site, &key, "{}").body);
        site.restart();
    }
}

#[test]
fn empty_and_grouped() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    for round in 0..2 {
        let (header, rows) = table(&site, &key, "{}");
        assert_eq!((header.len(), rows.len()), (7, 0), "no row has a property, round {round}");
        let counted = r#"{"select":[{"type":"aggregation","aggregation":"count"},{"type":"aggregation","aggregation":"sum","field":"properties","path":["n"]}]}"#;
        assert_eq!(export(&site, &key, counted).text(), "count,sum_properties.n\r\n0,\r\n");
        site.restart();
    }
    for index in 0..30 {
        let plan = ["pro", "free", "a,b"][index % 3];
        log(
            &site,
            &key,
            &format!("c{index}"),
            &format!(r#""createdAt":"2024-08-{:02}","properties":{{"plan":"{plan}","n":{index}.5}},"#, 1 + index % 2),
        );
    }
    for round in 0..2 {
        let request = r#"{"select":[{"type":"time","timeUnit":"day"},{"type":"aggregation","aggregation":"count"},{"type":"aggregation","aggregation":"avg","field":"properties","path":["n"]},{"type":"aggregation","aggregation":"max","field":"createdAt"}],"groupBy":[{"field":"properties","path":["plan"]}],"orderBy":[{"field":"properties.plan","direction":"asc"}],"offset":1,"limit":2}"#;
        let text = export(&site, &key, request).text();
        let expected = "firstMessageTime_day,count,avg_properties.n,max_createdAt,properties.plan\r\n\
            2024-08-02T00:00:00.000Z,5,17.5,1722556800000,\"a,b\"\r\n\
            2024-08-01T00:00:00.000Z,5,16.5,1722470400000,free\r\n";
        // Both days of `free` have 5; the day decides.
        assert_eq!(text, expected, "round {round}");
        // A whole JSON field as group key is unpacked, or one column.
        let grouped = |mode: &str| {
            let of_c0 = r#""where":{"condition":{"field":"id","operator":"eq","value":"c0"}}"#;
            format!(
                r#"{{"select":[{{"type":"field","field":"properties"{mode}}}],"groupBy":[{{"field":"properties"}}],{of_c0}}}"#
            )
        };
        assert_eq!(export(&site, &key, &grouped("")).text(), "properties.n,properties.plan\r\n0.5,pro\r\n");
        let json = export(&site, &key, &grouped(r#","mode":"json""#)).text();
        assert_eq!(json, "properties\r\n\"{\"\"n\"\": 0.5, \"\"plan\"\": \"\"pro\"\"}\"\r\n");
        site.restart();
    }
}

#[test]
fn twenty_thousand_rows() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    let mut lines = String::new();
    for index in 0..20_000 {
        let _ = writeln!(
            lines,
            r#"{{"id":"c{index:05}","type":"openai","projectId":"docs","createdAt":"2024-01-01","properties":{{"k{}":"v{index}","text":"{}"}},"messages":[{{"role":"user","content":"q"}}]}}"#,
            index % 40,
            "x".repeat(index % 300)
        );
    }
    let status = site.server.terminate();
    assert!(status.success());
    let file = site.store().join("rows.ndjson");
    std::fs::write(&file, lines).expect("written");
    let store = site.store().to_str().expect("UTF-8").to_string();
    let file = file.to_str().expect("UTF-8");
    crate::support::run(&["import", "--store", &store, "--organization", "acme", file]);
    site.server = Server::start_on(site.store(), &[]);
    for index in 20_000..20_010 {
        log(&site, &key, &format!("c{index}"), r#""createdAt":"2024-01-01","properties":{"late":1},"#);
    }
    let (header, rows) =
        table(&site, &key, r#"{"select":[{"type":"field","field":"id"},{"type":"field","field":"properties"}]}"#);
    assert_eq!((header.len(), rows.len()), (43, 20_010), "no default limit");
    assert_eq!((header[1].as_str(), header[42].as_str()), ("properties.k0", "properties.text"));
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row[0].as_deref(), Some(format!("c{index:05}").as_str()));
        if index < 20_000 {
            let column =
                header.iter().position(|name| *name == format!("properties.k{}", index % 40)).expect("a column");
            assert_eq!(row[column].as_deref(), Some(format!("v{index}").as_str()));
            assert_eq!(row[42].as_ref().map(String::len), Some(index % 300));
        }
        assert_eq!(row.iter().flatten().count(), if index < 20_000 { 3 } else { 2 });
    }
    let (_, rows) = table(&site, &key, r#"{"select":[{"type":"field","field":"id"}],"limit":5,"offset":19999}"#);
    assert_eq!(
        rows.iter().map(|row| row[0].as_deref().unwrap_or("")).collect::<Vec<_>>(),
        ["c19999", "c20000", "c20001", "c20002", "c20003"]
    );
}

#[test]
fn what_is_refused() {
    let site = Site::start(&[]);
    let key = site.api_key();
    log(&site, &key, "a", r#""properties":{"p":1},"#);
    for (body, place, part) in [
        (
            r#"{"select":[{"type":"field","field":"properties","path":["a"],"mode":"json"}]}"#,
            "select[0].path",
            "mode `json`",
        ),
        (r#"{"select":[{"type":"field","field":"properties","mode":"xml"}]}"#, "select[0].mode", "unpack"),
        (
            r#"{"select":[{"type":"field","field":"properties","mode":"json"},{"type":"field","field":"properties"}]}"#,
            "select[1].mode",
            "another mode",
        ),
        (r#"{"csvFormulaSafe":"yes"}"#, "csvFormulaSafe", "boolean"),
        (r#"{"csvformulasafe":true}"#, "csvformulasafe", "csvFormulaSafe"),
        (r#"{"limit":0}"#, "limit", "100000"),
        (r#"{"limit":100001}"#, "limit", "100000"),
        (r#"{"where":{}}"#, "where", "condition"),
        (r#"{"groupby":[]}"#, "groupby", "groupBy"),
        (
            r#"{"select":[{"type":"field","field":"id"},{"type":"aggregation","aggregation":"count"}]}"#,
            "select[0]",
            "group key",
        ),
    ] {
        let detail = problem(&site.send("POST", PATH, &key, Some(body)), 422, PATH);
        assert!(detail.contains(place) && detail.contains(part), "{detail}: `{place}` and `{part}` expected");
    }
    let detail = site.refused(422, "POST", "/query/conversations", &key, Some(r#"{"csvFormulaSafe":true}"#));
    assert!(detail.contains("csvFormulaSafe"), "{detail}");
    // What an export cannot show does not concern a query.
    let both =
        r#"{"select":[{"type":"field","field":"properties","mode":"json"},{"type":"field","field":"properties"}]}"#;
    assert_eq!(site.rows(&key, both), json!([{"properties": {"p": 1}}]));
}

#[test]
fn events_and_feedback() {
    let mut site = Site::start(&[]);
    let key = site.api_key();
    site.log(
        &key,
        r#"{"id":"c","type":"openai","messages":[{"id":"m","role":"user","content":"q"},{"id":"n","role":"assistant","content":"a"}]}"#,
    );
    let event = r#"{"id":"e","type":"shared","entityType":"message","messageId":"m","createdAt":"2024-08-26","properties":{"n":5,"text":"a\nb","none":null,"o":{"k":[1]}},"userProperties":{"userId":7}}"#;
    site.ok("POST", "/events", &key, Some(event));
    let feedback = r#"{"id":"f","type":"negative","messageId":"n","createdAt":"2024-08-26","updatedAt":"2024-08-27","reasons":[{"label":"wrong, quite","details":"\"no\""},{"label":"slow","details":""}],"sources":[{"type":"new","url":"https://a"}]}"#;
    site.ok("POST", "/feedback", &key, Some(feedback));
    let rows = |site: &Site, view: &str, body: &str| {
        let path = format!("/query/{view}/export");
        let answer = site.send("POST", &path, &key, Some(body));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let disposition = format!("attachment; filename=\"{view}.csv\"");
        assert_eq!(answer.header("content-disposition"), Some(disposition.as_str()));
        answer.text()
    };
    for round in 0..2 {
        let columns = r#"{"select":[{"type":"field","field":"id"},{"type":"field","field":"searchQuery"},{"type":"field","field":"conversationId"},{"type":"field","field":"properties"},{"type":"field","field":"userProperties"}]}"#;
        let expected = "id,searchQuery,conversationId,properties.n,properties.none,properties.o,properties.text,userProperties.userId\r\n\
            e,,c,5,,\"{\"\"k\"\": [1]}\",\"a\nb\",7\r\n";
        assert_eq!(rows(&site, "events", columns), expected, "round {round}");
        let json = r#"{"select":[{"type":"field","field":"id"},{"type":"field","field":"properties","mode":"json"}]}"#;
        let text = rows(&site, "events", json);
        let cells = parse(&text);
        let properties: Value = serde_json::from_str(cells[1][1].as_deref().expect("properties")).expect("JSON");
        assert_eq!(properties["text"], "a\nb", "round {round}");
        let all = parse(&rows(&site, "events", "{}"));
        assert_eq!((all.len(), all[0][0].as_deref()), (2, Some("id")), "round {round}");

        let columns = r#"{"select":[{"type":"field","field":"id"},{"type":"field","field":"reasons"},{"type":"field","field":"sources","mode":"json"}]}"#;
        let expected = "id,reasons.0.details,reasons.0.label,reasons.1.details,reasons.1.label,sources\r\n\
            f,\"\"\"no\"\"\",\"wrong, quite\",\"\",slow,";
        let text = rows(&site, "feedback", columns);
        assert!(text.starts_with(expected), "round {round}: {text}");
        let sources: Value = serde_json::from_str(parse(&text)[1][5].as_deref().expect("sources")).expect("JSON");
        assert_eq!(sources[0]["url"], "https://a", "round {round}");
        let all = parse(&rows(&site, "feedback", "{}"));
        assert!(all[0].iter().flatten().any(|name| name == "sources.0.type"), "round {round}: {:?}", all[0]);
        let counted = r#"{"select":[{"type":"aggregation","aggregation":"count"}],"groupBy":[{"field":"reasons"}]}"#;
        let text = rows(&site, "feedback", counted);
        assert_eq!(parse(&text)[0].iter().flatten().collect::<Vec<_>>()[..2], ["count", "reasons.0.details"], "{text}");
        site.restart();
    }
}
