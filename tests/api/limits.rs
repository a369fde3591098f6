//! Limits of queries (contract A1): a query over its time or memory answers 422 naming the limit; and documents of the largest size.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::site::{ORGANIZATION, PROJECT, Site, problem, text};

const LARGE: usize = 2_090_000;
const COUNT: usize = 30;

/// Documents of just under 2 MB, half of them in one property, half in many.
fn log_large(site: &Site, key: &str) {
    for index in 0..COUNT {
        let properties = if index % 2 == 0 {
            format!(r#"{{"blob":"{}"}}"#, format!("{index:02}").repeat(LARGE / 2))
        } else {
            let pairs: Vec<String> =
                (0..LARGE / 30).map(|key| format!(r#""k{key:08}":"{index:02}{key:08}""#)).collect();
            format!("{{{}}}", pairs.join(","))
        };
        let document = format!(
            r#"{{"id":"large{index:02}","type":"openai","createdAt":"2024-01-01","properties":{properties},"messages":[{{"role":"user","content":"{index}"}}]}}"#
        );
        assert!(document.len() < 2_097_152, "{}", document.len());
        let answer = site.send("POST", "/conversations", key, Some(&document));
        assert_eq!(answer.status, 200, "{}", crate::support::cut(&answer.text(), 500));
    }
}

fn check_large(site: &Site, key: &str) {
    let answer = site.ok("POST", "/query/conversations", key, Some("{}"));
    assert!(answer.body.len() > COUNT * LARGE * 9 / 10, "{} bytes", answer.body.len());
    let answer = answer.json();
    assert_eq!((&answer["data"]["total"], &answer["data"]["count"]), (&COUNT.into(), &COUNT.into()));
    let rows = answer["data"]["result"].as_array().expect("rows");
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(row["id"], format!("large{index:02}"));
        if index % 2 == 0 {
            assert_eq!(text(&row["properties"]["blob"]), format!("{index:02}").repeat(LARGE / 2));
        } else {
            assert_eq!(row["properties"].as_object().map(serde_json::Map::len), Some(LARGE / 30));
        }
    }
    let list = site.get("/conversations?limit=100", key);
    assert_eq!((&list["total"], &list["count"]), (&COUNT.into(), &COUNT.into()));
    let rows = site.rows(key, r#"{"select":[{"type":"aggregation","aggregation":"countDistinct","field":"properties","path":["blob"]},{"type":"aggregation","aggregation":"count","field":"properties","path":["k00000007"]}]}"#);
    assert_eq!(
        (&rows[0]["countDistinct_properties.blob"], &rows[0]["count_properties.k00000007"]),
        (&15.into(), &15.into())
    );
}

/// Many conditions, each of which reads every document.
fn slow_query() -> String {
    let conditions: Vec<String> = (0..1_000)
        .map(|index| {
            format!(
                r#"{{"condition":{{"field":"properties","operator":"jsonContains","value":{{"k{index:08}":"nothing"}}}}}}"#
            )
        })
        .collect();
    format!(r#"{{"where":{{"or":[{}]}}}}"#, conditions.join(","))
}

#[test]
fn large_documents_and_limits() {
    let mut site = Site::start(&["--flush-seconds", "3600"]);
    let key = site.api_key();
    log_large(&site, &key);
    check_large(&site, &key);
    site.restart();
    check_large(&site, &key);

    // Time.
    site.restart_with(&["--query-deadline-seconds", "1"]);
    let begin = Instant::now();
    let detail = site.refused(422, "POST", "/query/conversations", &key, Some(&slow_query()));
    assert!(detail.contains("1 second"), "{detail}");
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    site.query(&key, r#"{"select":[{"type":"aggregation","aggregation":"count"}]}"#);

    // Memory.
    site.restart_with(&["--query-memory-bytes", "1000000"]);
    for request in [
        r#"{"groupBy":[{"field":"properties"}]}"#,
        r#"{"groupBy":[{"field":"properties","path":["blob"]}]}"#,
        r#"{"select":[{"type":"aggregation","aggregation":"countDistinct","field":"properties","path":["blob"]}]}"#,
    ] {
        let answer = site.send("POST", "/query/conversations", &key, Some(request));
        // With spilling a query may still be answered within its memory.
        if answer.status != 200 {
            let detail = problem(&answer, 422, "/query/conversations");
            assert!(detail.contains("1000000"), "{request}: {detail}");
        }
    }
    site.query(&key, r#"{"select":[{"type":"aggregation","aggregation":"count"}]}"#);
    // Memory and disk both too small.
    site.restart_with(&["--query-memory-bytes", "1000000", "--spill-bytes", "1000"]);
    let request = r#"{"groupBy":[{"field":"properties","path":["blob"]}]}"#;
    let detail = site.refused(422, "POST", "/query/conversations", &key, Some(request));
    assert!(detail.contains("1000"), "{detail}");

    // Slots: a client that reads nothing of a large answer keeps nobody from asking for long.
    site.restart_with(&["--query-slots", "1", "--query-wait-seconds", "5"]);
    let mut stalled = TcpStream::connect(&site.server.address).expect("a connection");
    let request = format!(
        "POST /query/conversations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    stalled.write_all(request.as_bytes()).expect("sent");
    let mut head = [0u8; 12];
    stalled.read_exact(&mut head).expect("the answer begins");
    assert_eq!(&head, b"HTTP/1.1 200");
    let count = r#"{"select":[{"type":"aggregation","aggregation":"count"}]}"#;
    site.query(&key, count);
    let heavy = r#"{"groupBy":[{"field":"properties","path":["blob"]}]}"#;
    site.query(&key, heavy);
    drop(stalled);

    let other = site.key("web", ORGANIZATION, Some(PROJECT), &["query"]);
    assert_eq!(site.query(&other, count)["result"][0]["count"], COUNT);
}
