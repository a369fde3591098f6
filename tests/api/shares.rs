//! No key and no organization stops another (contract A1, shares and limits): slow bodies, slow readers, many connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::site::{Site, problem};

const BODY: usize = 2_097_152;
/// A little more than the largest request needs.
const BUDGET: &str = "67108864";

fn connect(site: &Site) -> TcpStream {
    let stream = TcpStream::connect(&site.server.address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    stream
}

/// A request without the end of its body.
fn begin(site: &Site, key: &str, announced: usize, body: &[u8]) -> TcpStream {
    let mut stream = connect(site);
    let head = format!(
        "POST /conversations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {announced}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body).expect("sent");
    stream
}

/// The status of an answer that has begun within a moment; None if there is none.
fn status(stream: &mut TcpStream, wait: Duration) -> Option<u16> {
    stream.set_read_timeout(Some(wait)).expect("a time-out");
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    std::str::from_utf8(&head[9..]).ok()?.parse().ok()
}

fn document(id: &str) -> String {
    json!({"id": id, "type": "openai", "messages": [{"role": "user", "content": "hi"}]}).to_string()
}

/// All of it answered 200, soon.
fn works(site: &Site, key: &str, times: usize) {
    for number in 0..times {
        let begin = Instant::now();
        site.log(key, &document(&format!("quick{number}")));
        site.get(&format!("/conversations/quick{number}"), key);
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
}

#[test]
fn bodies_that_are_announced_and_do_not_come_cost_nobody_anything() {
    let site = Site::start(&["--body-bytes", BUDGET]);
    let (web, other) = (site.web_key(&[]), site.key("api", "others", Some("shop"), &[]));
    let slow: Vec<TcpStream> = (0..135).map(|_| begin(&site, &web, BODY, b"{")).collect();
    works(&site, &other, 12);
    works(&site, &site.api_key(), 2);
    drop(slow);
}

#[test]
fn who_holds_much_is_refused_and_nobody_else() {
    let site = Site::start(&["--body-bytes", BUDGET]);
    let (api, other) = (site.api_key(), site.key("api", "others", Some("shop"), &[]));
    let large = json!({"id": "large", "type": "openai", "properties": {"x": "y".repeat(BODY - 200)},
        "messages": [{"role": "user", "content": "hi"}]});
    let large = large.to_string();
    let most = &large.as_bytes()[..large.len() - 10];
    let mut slow: Vec<TcpStream> = (0..24).map(|_| begin(&site, &api, large.len(), most)).collect();
    works(&site, &other, 3);
    // A refusal waits a moment for others, and then for what its client still sends.
    std::thread::sleep(Duration::from_secs(5));
    let refused = slow.iter_mut().filter_map(|stream| status(stream, Duration::from_millis(200))).collect::<Vec<_>>();
    assert!(refused.len() >= 4 && refused.iter().all(|status| *status == 429), "{refused:?}");
    drop(slow);

    // Answers too: of clients that read nothing.
    let begin = Instant::now();
    while site.send("POST", "/conversations", &api, Some(&large)).status != 200 {
        assert!(begin.elapsed() < Duration::from_secs(20), "what is over is not given back");
        std::thread::sleep(Duration::from_millis(100));
    }
    let ask = || {
        let mut stream = connect(&site);
        let head = format!("GET /conversations/large HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {api}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        stream
    };
    let mut unread: Vec<TcpStream> = (0..60).map(|_| ask()).collect();
    works(&site, &other, 3);
    let statuses: Vec<_> = unread.iter_mut().map(|stream| status(stream, Duration::from_secs(5))).collect();
    let count = |wanted: u16| statuses.iter().filter(|status| **status == Some(wanted)).count();
    assert!(count(200) >= 4 && count(429) >= 10 && count(200) + count(429) == 60, "{statuses:?}");
    // Who takes the answer gets all of it.
    let mut whole = Vec::new();
    let taken = unread.iter_mut().zip(&statuses).find(|(_, status)| **status == Some(200)).expect("one");
    taken.0.set_read_timeout(Some(Duration::from_millis(500))).expect("a time-out");
    // To the end of the answer: the connection stays.
    let _ = taken.0.read_to_end(&mut whole);
    assert!(whole.len() > BODY && whole.ends_with(b"0\r\n\r\n"), "{} bytes", whole.len());
}

#[test]
fn connections_without_requests_make_room_and_health_always_answers() {
    let site = Site::start(&["--max-connections", "20", "--header-seconds", "60"]);
    let (api, other) = (site.api_key(), site.key("api", "others", Some("shop"), &[]));
    let mut silent: Vec<TcpStream> = (0..20).map(|_| connect(&site)).collect();
    std::thread::sleep(Duration::from_millis(100));
    let ask = |path: &str, key: &str| {
        let mut stream = connect(&site);
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        status(&mut stream, Duration::from_secs(1))
    };
    assert_eq!(ask("/health", ""), Some(200));
    assert_eq!(ask("/conversations", &api), Some(200));
    // The oldest made room.
    let mut byte = [0];
    assert_eq!(silent[0].read(&mut byte).ok(), Some(0));
    drop(silent);

    // Requests on all of them: not all of one key.
    let busy: Vec<TcpStream> = (0..16).map(|_| begin(&site, &api, 100, b"{")).collect();
    std::thread::sleep(Duration::from_millis(100));
    let refused = site.send("GET", "/conversations", &api, None);
    problem(&refused, 429, "/conversations");
    let more: Vec<TcpStream> = (0..4).map(|_| begin(&site, &other, 100, b"{")).collect();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(ask("/health", ""), Some(200));
    assert_eq!(ask("/conversations", &other), Some(503));
    assert_eq!(ask("/health", ""), Some(200));
    drop((busy, more));
    let begin = Instant::now();
    while ask("/conversations", &other) != Some(200) {
        assert!(begin.elapsed() < Duration::from_secs(10), "the connections stay taken");
    }
}

/// Documents that a heavy question looks at long.
fn fill(site: &Site, key: &str) {
    for number in 0..40 {
        let pairs: Vec<String> = (0..20_000).map(|key| format!(r#""k{key:06}":"{number:02}{key:08}""#)).collect();
        let document = format!(
            r#"{{"id":"wide{number}","type":"openai","properties":{{{}}},"messages":[{{"role":"user","content":"x"}}]}}"#,
            pairs.join(",")
        );
        site.log(key, &document);
    }
}

fn heavy() -> String {
    let conditions: Vec<String> = (0..200)
        .map(|number| {
            let value = json!({format!("k{number:06}"): "nothing"});
            json!({"condition": {"field": "properties", "operator": "jsonContains", "value": value}}).to_string()
        })
        .collect();
    format!(r#"{{"where":{{"or":[{}]}}}}"#, conditions.join(","))
}

/// Before, who asked first was served first, however many there were.
#[test]
fn many_heavy_questions_of_one_keep_nobody_from_asking() {
    let site = Site::start(&["--query-slots", "3", "--query-wait-seconds", "30"]);
    let (api, other) = (site.api_key(), site.key("api", "others", Some("shop"), &[]));
    fill(&site, &api);
    site.log(&other, &document("mine"));
    let request = heavy();
    let done = std::sync::atomic::AtomicBool::new(false);
    let finished = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    while !done.load(finished) {
                        let answer = site.send("POST", "/query/conversations", &api, Some(&request));
                        assert!([200, 422, 429].contains(&answer.status), "{}", answer.text());
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs(1));
        let count = r#"{"select":[{"type":"aggregation","aggregation":"count"}]}"#;
        let begin = Instant::now();
        for _ in 0..10 {
            // Cheap, in lanes of their own; and one that is not, in turn.
            assert_eq!(site.query(&api, count)["result"][0]["count"], 40);
            assert_eq!(site.query(&other, count)["result"][0]["count"], 1);
            assert_eq!(site.query(&other, r#"{"groupBy":[{"field":"properties"}]}"#)["total"], 1);
        }
        let took = begin.elapsed();
        done.store(true, finished);
        clients.into_iter().for_each(|client| client.join().expect("a client"));
        assert!(took < Duration::from_secs(40), "{took:?}");
    });
}

#[test]
fn exports_that_nobody_reads_keep_only_their_own_organization_from_exports() {
    let site = Site::start(&["--export-slots", "2", "--query-wait-seconds", "1", "--query-slots", "2"]);
    let (api, other) = (site.api_key(), site.key("api", "others", Some("shop"), &[]));
    fill(&site, &api);
    site.log(&other, &document("mine"));
    let path = "/query/conversations/export";
    let body = r#"{"select":[{"type":"field","field":"properties","mode":"json"}]}"#;
    let export = || {
        let mut stream = connect(&site);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {api}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        assert_eq!(status(&mut stream, Duration::from_secs(10)), Some(200));
        stream
    };
    let unread = export();
    let mut refused = site.send("POST", path, &api, Some(body));
    for _ in 0..3 {
        if refused.status == 429 {
            break;
        }
        refused = site.send("POST", path, &api, Some(body));
    }
    problem(&refused, 429, path);
    // Neither a question of its own nor anything of others waits.
    site.query(&api, r#"{"groupBy":[{"field":"type"}]}"#);
    site.query(&other, r#"{"groupBy":[{"field":"properties"}]}"#);
    let answer = site.send("POST", path, &other, Some("{}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    drop(unread);
}
