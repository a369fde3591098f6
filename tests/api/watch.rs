//! What is told of a server and of who uses it: figures, lines of the log, times of keys (contract A1 and A7).

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::site::{ORGANIZATION, Site, problem};
use crate::support::run;

const DOCUMENT: &str = r#"{"id":"c","type":"openai","messages":[{"role":"user","content":"hi"}]}"#;

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

fn figures(address: &str) -> String {
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().into();
    let mut answer = agent.get(format!("http://{address}/metrics")).call().expect("figures");
    answer.body_mut().read_to_string().expect("text")
}

#[test]
fn figures_are_told_to_who_watches() {
    let address = free_address();
    let site = Site::start(&["--admin-listen", &address]);
    let key = site.api_key();
    site.log(&key, DOCUMENT);
    site.query(&key, "{}");
    site.refused(404, "GET", "/conversations/secret-id", &key, None);
    site.refused(401, "GET", "/conversations", "cl_api_0123456789abcdef_guess", None);
    let text = figures(&address);
    for line in [
        r#"convolake_requests_total{method="POST",route="/conversations",status="200"} 1"#,
        r#"convolake_requests_total{method="GET",route="/conversations/{id}",status="404"} 1"#,
        r#"convolake_requests_total{method="GET",route="/conversations",status="401"} 1"#,
        r#"convolake_refusals_total{status="401"} 1"#,
        "convolake_bad_keys_total 1",
        r#"convolake_request_seconds_count{route="/query/conversations",status="2xx"} 1"#,
        r#"convolake_memory_bytes{part="requests"} 0"#,
        r#"convolake_query_slots_taken{lane="full"} 0"#,
        r#"convolake_rows{table="conversations"} 1"#,
        "convolake_ready{} 1",
    ] {
        assert!(text.lines().any(|one| one.starts_with(line)), "{line}\nin\n{text}");
    }
    assert!(text.contains("convolake_build_info{version=") && text.contains("convolake_log_position"), "{text}");
    assert!(text.contains(r#"convolake_memory_limit_bytes{part="tail"}"#), "{text}");
    // Neither what was asked for nor on the port that everybody reaches.
    assert!(!text.contains("secret-id"), "{text}");
    site.refused(404, "GET", "/metrics", &key, None);
}

#[test]
fn refusals_and_deletions_leave_lines_and_guesses_take_longer() {
    let site = Site::start(&["--trusted-proxy", "127.0.0.0/8"]);
    let (key, web) = (site.api_key(), site.web_key(&[]));
    site.log(&key, DOCUMENT);
    let guess = "cl_api_0123456789abcdef_secretguess";
    let ask = |address: &str, key: &str| {
        let begin = Instant::now();
        let authorization = format!("Bearer {key}");
        let headers = [("authorization", authorization.as_str()), ("x-forwarded-for", address)];
        let answer = site.server.request_with("GET", "/conversations", None, None, &headers);
        (answer, begin.elapsed())
    };
    let waits: Vec<Duration> = (0..30)
        .map(|_| {
            let (answer, wait) = ask("198.51.100.7", guess);
            problem(&answer, 401, "/conversations");
            wait
        })
        .collect();
    assert!(waits[29] >= Duration::from_millis(400) && waits[29] > waits[0], "{waits:?}");
    // Neither a good key from there waits, nor a first mistake of others.
    let (good, wait) = ask("198.51.100.7", &key);
    assert!(good.status == 200 && wait < Duration::from_millis(400), "{wait:?}");
    assert!(ask("198.51.100.8", guess).1 < Duration::from_millis(400));
    site.refused(403, "GET", "/conversations", &web, None);
    site.ok("DELETE", "/conversations/c", &key, None);
    let store = site.store().to_str().expect("UTF-8").to_owned();
    let made = site.web_key(&["--name", "the shop's"]);
    let begin = Instant::now();
    let logged = loop {
        let logged = site.server.stderr();
        if logged.contains("the shop's") {
            break logged;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{logged}");
        std::thread::sleep(Duration::from_millis(100));
    };
    for expected in
        ["0123456789abcdef", "198.51.100.7", "key refused", "audit", "deleted", "/conversations/c", "the shop's"]
    {
        assert!(logged.contains(expected), "{expected}\nin\n{logged}");
    }
    for secret in ["secretguess", &key, &web, &made] {
        assert!(!logged.contains(secret), "{logged}");
    }
    drop(store);
}

#[test]
fn keys_are_listed_for_programs_with_their_last_use() {
    let mut site = Site::start(&[]);
    let (key, short) =
        (site.web_key(&["--name", "shop", "--rate", "7", "--external-ids"]), site.web_key(&["--expires", "2s"]));
    site.log(&key, DOCUMENT);
    site.refused(404, "GET", "/conversations/none", &short, None);
    std::thread::sleep(Duration::from_millis(2_100));
    site.refused(401, "GET", "/conversations/none", &short, None);
    site.restart();
    let list = run(&["keys", "list", "--json", "--store", site.store().to_str().expect("UTF-8")]);
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let [one, other] = &list.as_array().expect("an array")[..] else { panic!("{list}") };
    assert_eq!(
        (&one["name"], &one["rate"], &one["externalIds"], &one["state"], &one["organizationId"], &one["expiresAt"]),
        (&json!("shop"), &json!(7), &json!(true), &json!("active"), &json!(ORGANIZATION), &Value::Null)
    );
    assert!(one["lastUsedAt"].as_str().is_some_and(|at| at >= one["createdAt"].as_str().unwrap_or("")), "{one}");
    assert_eq!((&other["state"], &other["rate"]), (&json!("expired"), &json!(100)));
    assert!(other["expiresAt"].is_string() && !list.to_string().contains("secret"), "{list}");
}
