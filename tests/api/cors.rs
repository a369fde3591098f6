//! Browsers with web keys (contract A1): preflights and exposed headers on the routes of web keys, nothing elsewhere.

use crate::site::Site;
use crate::support::Answer;

const ORIGIN: (&str, &str) = ("origin", "https://shop.example");
const DOCUMENT: &str = r#"{"id":"c","externalId":"e","type":"openai","messages":[{"role":"user","content":"hi"}]}"#;

fn preflight(site: &Site, path: &str, method: &str, origin: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", method),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    site.server.request_with("OPTIONS", path, None, None, &headers)
}

fn words(answer: &Answer, name: &str) -> Vec<String> {
    answer.header(name).unwrap_or("").split(',').map(|word| word.trim().to_ascii_lowercase()).collect()
}

/// What a browser reads before it shows an answer to the page.
fn grants(answer: &Answer, origin: &str) -> bool {
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    answer.header("access-control-allow-origin").is_some_and(|allowed| allowed == "*" || allowed == origin)
}

#[test]
fn preflights_of_web_routes() {
    let site = Site::start(&[]);
    for (path, methods) in [
        ("/conversations", &["post"][..]),
        ("/conversations/c", &["get", "delete"]),
        ("/conversations/a%2Fb", &["get", "delete"]),
        ("/query/conversations", &["post"]),
    ] {
        for method in methods {
            let answer = preflight(&site, path, &method.to_uppercase(), ORIGIN.1);
            assert_eq!((answer.status, answer.body.len()), (204, 0), "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
            assert!(grants(&answer, ORIGIN.1));
            let allowed = words(&answer, "access-control-allow-methods");
            assert!(allowed.iter().any(|allowed| allowed == method), "{path}: {allowed:?}");
            let headers = words(&answer, "access-control-allow-headers");
            for header in ["authorization", "content-type", "content-encoding"] {
                assert!(headers.iter().any(|allowed| allowed == header), "{path}: {headers:?}");
            }
        }
    }
    // GET /conversations is not for web keys, though POST on the same path is.
    let allowed = words(&preflight(&site, "/conversations", "GET", ORIGIN.1), "access-control-allow-methods");
    assert!(!allowed.iter().any(|method| method == "get"), "{allowed:?}");
    for path in ["/conversations/external/e", "/nothing"] {
        let answer = preflight(&site, path, "GET", ORIGIN.1);
        assert!(answer.status >= 400, "{path}: {}", answer.status);
        assert!(!grants(&answer, ORIGIN.1), "{path}");
    }
}

#[test]
fn answers_and_errors_expose_their_headers() {
    let site = Site::start(&[]);
    let (web, api) = (site.key("web", "acme", Some("docs"), &[]), site.api_key());
    let large = vec![b' '; 2_097_153];
    for (status, method, path, key, body) in [
        (200, "POST", "/conversations", Some(&web), Some(DOCUMENT.as_bytes())),
        (200, "GET", "/conversations/c", Some(&web), None),
        (404, "GET", "/conversations/none", Some(&web), None),
        (401, "GET", "/conversations/c", None, None),
        (401, "POST", "/conversations", None, Some(&b"{}"[..])),
        (403, "POST", "/query/conversations", Some(&web), Some(b"{}")),
        (200, "POST", "/query/conversations", Some(&api), Some(b"{}")),
        (400, "POST", "/conversations", Some(&web), Some(b"{")),
        (422, "POST", "/conversations", Some(&web), Some(b"{}")),
        (413, "POST", "/conversations", Some(&web), Some(&large)),
        (415, "POST", "/conversations", Some(&web), None),
        (405, "PATCH", "/conversations/c", Some(&web), None),
        (200, "DELETE", "/conversations/c", Some(&web), None),
    ] {
        let answer = site.server.request_with(method, path, key.map(String::as_str), body, &[ORIGIN]);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert!(grants(&answer, ORIGIN.1), "{status} {method} {path}: {:?}", answer.headers);
        let exposed = words(&answer, "access-control-expose-headers");
        for header in ["x-request-id", "retry-after"] {
            assert!(exposed.iter().any(|exposed| exposed == header), "{status} {method} {path}: {exposed:?}");
        }
    }
    // Routes of api keys alone.
    site.log(&api, DOCUMENT);
    for (status, path) in [(200, "/conversations/external/e"), (404, "/conversations/external/x"), (404, "/nothing")] {
        let answer = site.server.request_with("GET", path, Some(&api), None, &[ORIGIN]);
        assert_eq!(answer.status, status, "{path}");
        assert!(!grants(&answer, ORIGIN.1), "{path}: {:?}", answer.headers);
    }
}

#[test]
fn only_configured_origins() {
    let site = Site::start(&["--cors-origin", "https://shop.example,https://help.example"]);
    let web = site.key("web", "acme", Some("docs"), &[]);
    for (origin, granted) in [
        ("https://shop.example", true),
        ("https://help.example", true),
        ("https://evil.example", false),
        ("https://shop.example.evil.example", false),
        ("http://shop.example", false),
        ("null", false),
    ] {
        let preflight = preflight(&site, "/conversations", "POST", origin);
        assert_eq!(preflight.status, 204, "{origin}");
        let answer = site.server.request_with(
            "POST",
            "/conversations",
            Some(&web),
            Some(DOCUMENT.as_bytes()),
            &[("origin", origin)],
        );
        assert_eq!(answer.status, 200, "{origin}");
        for answer in [preflight, answer] {
            assert_eq!(grants(&answer, origin), granted, "{origin}: {:?}", answer.headers);
            assert_ne!(answer.header("access-control-allow-origin"), Some("*"));
            // A cache must not give one page's answer to another.
            assert!(words(&answer, "vary").iter().any(|name| name == "origin"), "{:?}", answer.headers);
        }
    }
}
