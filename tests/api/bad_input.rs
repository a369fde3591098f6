//! What is wrong with a request before its content is looked at (contract A1): bodies, encodings, parameters, routes.

use std::io::Write;

use crate::site::{Site, problem};
use crate::support::Answer;

const LIMIT: usize = 2_097_152;
const ROUTES: [&str; 3] = ["/conversations", "/query/conversations", "/query/conversations/export"];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("to memory");
    encoder.finish().expect("to memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("to memory")
}

fn document(size: usize) -> Vec<u8> {
    let empty = r#"{"id":"large","type":"openai","messages":[{"role":"user","content":""}]}"#;
    let (head, tail) = empty.split_at(empty.len() - 4);
    format!("{head}{}{tail}", "x".repeat(size - empty.len())).into_bytes()
}

/// A request whose body is padded with spaces to this size.
fn padded(size: usize) -> Vec<u8> {
    let mut bytes = br#"{"limit":1}"#.to_vec();
    bytes.resize(size, b' ');
    bytes
}

fn post(site: &Site, path: &str, key: &str, body: &[u8], headers: &[(&str, &str)]) -> Answer {
    site.server.request_with("POST", path, Some(key), Some(body), headers)
}

#[test]
fn bodies() {
    let site = Site::start(&[]);
    let key = site.api_key();

    let syntax: [&[u8]; 13] = [
        b"",
        b"{",
        b"{]",
        b"hello",
        b"{\"a\":1,}",
        b"{'a':1}",
        b"{\"a\":NaN}",
        b"{\"a\":01}",
        b"{} {}",
        b"{\"a\":\"\n\"}",
        b"{\"a\":\"\xff\"}",
        b"\x00",
        b"{\"a\" 1}",
    ];
    for path in ROUTES {
        for body in syntax {
            problem(&post(&site, path, &key, body, &[]), 400, path);
        }
        for body in ["[]", "null", "5", "\"x\"", "true"] {
            let detail = problem(&post(&site, path, &key, body.as_bytes(), &[]), 422, path);
            assert!(detail.contains("object"), "{detail}");
        }
        // Closed and not closed; the server must live on.
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"{"where":{"and":["#, "")] {
            let depth = LIMIT / 20;
            let body = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let answer = post(&site, path, &key, body.as_bytes(), &[]);
            assert!(matches!(answer.status, 400 | 422), "{}", answer.status);
            problem(&answer, answer.status, path);
        }
    }

    // Types.
    for path in ROUTES {
        for value in [
            "text/plain",
            "application/problem+json",
            "application/x-www-form-urlencoded",
            "application/json; charset=latin1",
            "application/jsonx",
        ] {
            problem(&post(&site, path, &key, b"{}", &[("content-type", value)]), 415, path);
        }
        problem(&site.server.request("POST", path, Some(&key), None), 415, path);
    }
    for value in
        ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;charset=UTF-8"]
    {
        let answer = post(&site, "/query/conversations", &key, b"{}", &[("content-type", value)]);
        assert_eq!(answer.status, 200, "{value}: {}", answer.text());
    }

    // Encodings.
    for path in ROUTES {
        for value in ["br", "deflate", "compress", "gzip, br", "nonsense"] {
            problem(&post(&site, path, &key, b"{}", &[("content-encoding", value)]), 415, path);
        }
        let cut = gzip(&padded(5_000));
        for (encoding, body) in [
            ("gzip", b"{}".to_vec()),
            ("zstd", b"{}".to_vec()),
            ("gzip", cut[..cut.len() - 5].to_vec()),
            ("zstd", gzip(b"{}")),
            ("gzip", zstd(b"{}")),
        ] {
            problem(&post(&site, path, &key, &body, &[("content-encoding", encoding)]), 400, path);
        }
    }

    // Size, as sent and decompressed.
    for (encoding, encode) in [
        ("identity", (|bytes: &[u8]| bytes.to_vec()) as fn(&[u8]) -> Vec<u8>),
        ("gzip", gzip),
        ("zstd", zstd),
        ("GZIP", gzip),
    ] {
        let headers = [("content-encoding", encoding)];
        for (path, make) in [(ROUTES[0], document as fn(usize) -> Vec<u8>), (ROUTES[1], padded)] {
            let detail = problem(&post(&site, path, &key, &encode(&make(LIMIT + 1)), &headers), 413, path);
            assert!(detail.contains("2097152"), "{detail}");
            let taken = post(&site, path, &key, &encode(&make(LIMIT)), &headers);
            assert_eq!(taken.status, 200, "{encoding} {path}: {}", crate::support::cut(&taken.text(), 300));
        }
        site.ok("DELETE", "/conversations/large", &key, None);
    }
    let bomb = vec![b' '; 300 << 20];
    for (encoding, body) in [("gzip", gzip(&bomb)), ("zstd", zstd(&bomb))] {
        for path in ROUTES {
            problem(&post(&site, path, &key, &body, &[("content-encoding", encoding)]), 413, path);
        }
    }
    assert_eq!(site.get("/conversations", &key)["total"], 0);
}

#[test]
fn parameters_and_routes() {
    let site = Site::start(&[]);
    let key = site.api_key();
    for (name, values) in [
        ("limit", &["101", "-1", "x", "1.5", "", "%2B1", "1e1", "99999999999999999999999", "null"][..]),
        ("offset", &["-1", "x", "0.5", "", "99999999999999999999999"][..]),
    ] {
        for value in values {
            let path = format!("/conversations?{name}={value}");
            let detail = site.refused(400, "GET", &path, &key, None);
            assert!(detail.contains(name), "{path}: {detail}");
        }
    }
    for query in ["", "?limit=0", "?limit=100", "?offset=0", "?limit=1&offset=1000000", "?unknown=1"] {
        site.ok("GET", &format!("/conversations{query}"), &key, None);
    }
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("POST", "/conversations/a/b"),
        ("GET", "/conversation"),
        ("POST", "/query"),
        ("GET", "/conversations/none"),
        ("DELETE", "/conversations/none"),
        ("GET", "/conversations/external/none"),
        ("GET", "/conversations/%FF"),
    ] {
        site.refused(404, method, path, &key, None);
    }
    for (method, path) in [
        ("PUT", "/conversations"),
        ("DELETE", "/conversations"),
        ("PATCH", "/conversations/a"),
        ("POST", "/conversations/a"),
        ("DELETE", "/conversations/external/a"),
        ("GET", "/query/conversations"),
    ] {
        site.refused(405, method, path, &key, None);
    }
}

#[test]
fn request_ids_differ() {
    let site = Site::start(&[]);
    let key = site.api_key();
    let id = || site.ok("GET", "/conversations", &key, None).header("x-request-id").map(str::to_string);
    assert_ne!(id(), id());
}
