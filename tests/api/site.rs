//! One server on a folder that outlives it, and what every answer of the API must look like.

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Answer, Server, create_key, cut, run};

pub const ORGANIZATION: &str = "acme";
pub const PROJECT: &str = "docs";
pub const INTEGRATION: &str = "bot";

pub struct Site {
    pub server: Server,
    folder: TempDir,
    arguments: Vec<String>,
}

impl Site {
    pub fn start(arguments: &[&str]) -> Site {
        let folder = TempDir::new().expect("a temporary folder");
        let server = Server::start_on(folder.path(), arguments);
        Site { server, folder, arguments: arguments.iter().map(|argument| (*argument).to_string()).collect() }
    }

    pub fn store(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// After this, everything that was logged lies in files.
    pub fn restart(&mut self) {
        let arguments: Vec<String> = self.arguments.clone();
        self.restart_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// After a test has ended the server itself.
    pub fn start_again(&mut self) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.server = Server::start_on(self.folder.path(), &arguments);
    }

    pub fn restart_with(&mut self, arguments: &[&str]) {
        let status = self.server.terminate();
        assert!(status.success(), "exit {status}\n{}", self.server.stderr());
        self.server = Server::start_on(self.folder.path(), arguments);
        self.arguments = arguments.iter().map(|argument| (*argument).to_string()).collect();
    }

    /// A key of the project that most tests use.
    pub fn api_key(&self) -> String {
        self.key("api", ORGANIZATION, Some(PROJECT), &[])
    }

    pub fn key(&self, kind: &str, organization: &str, project: Option<&str>, scopes: &[&str]) -> String {
        create_key(self.store(), kind, organization, project, project.map(|_| INTEGRATION), scopes)
    }

    /// A web key of that project, with further arguments of `keys create`.
    pub fn web_key(&self, arguments: &[&str]) -> String {
        let store = self.store().to_str().expect("UTF-8");
        let mut all = vec!["keys", "create", "--store", store, "--kind", "web", "--organization", ORGANIZATION];
        all.extend(["--project", PROJECT, "--integration", INTEGRATION]);
        all.extend(arguments);
        run(&all).trim().to_owned()
    }

    pub fn send(&self, method: &str, path: &str, key: &str, body: Option<&str>) -> Answer {
        self.server.request(method, path, Some(key), body.map(str::as_bytes))
    }

    /// The answer to a request that must succeed.
    pub fn ok(&self, method: &str, path: &str, key: &str, body: Option<&str>) -> Answer {
        let answer = self.send(method, path, key, body);
        assert_eq!(
            answer.status,
            200,
            "{method} {path} {}: {}\n{}",
            cut(body.unwrap_or(""), 500),
            cut(&answer.text(), 1000),
            self.server.stderr()
        );
        assert_eq!(answer.header("content-type"), Some("application/json"), "{method} {path}");
        assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()), "{method} {path}: x-request-id");
        answer
    }

    pub fn get(&self, path: &str, key: &str) -> Value {
        self.ok("GET", path, key, None).json()
    }

    /// Logs a document; gives the stored conversation.
    pub fn log(&self, key: &str, document: &str) -> Value {
        self.ok("POST", "/conversations", key, Some(document)).json()
    }

    /// The data of a query's answer: `result`, `total`, `pageSize`, `count`.
    pub fn query(&self, key: &str, request: &str) -> Value {
        self.query_view("conversations", key, request)
    }

    /// The same of another view.
    pub fn query_view(&self, view: &str, key: &str, request: &str) -> Value {
        let answer = self.ok("POST", &format!("/query/{view}"), key, Some(request)).json();
        assert_eq!(answer["status"], "ok", "{request}");
        assert_eq!(answer.as_object().map(serde_json::Map::len), Some(2), "{answer}");
        let data = answer["data"].clone();
        assert_eq!(data["count"].as_u64(), data["result"].as_array().map(|rows| rows.len() as u64), "{request}");
        data
    }

    /// The rows of a query.
    pub fn rows(&self, key: &str, request: &str) -> Value {
        self.query(key, request)["result"].clone()
    }

    /// A request that must be refused with this status; gives `detail`.
    pub fn refused(&self, status: u16, method: &str, path: &str, key: &str, body: Option<&str>) -> String {
        let answer = self.send(method, path, key, body);
        assert!(answer.status < 500 || answer.status == status, "{path}: {}\n{}", answer.text(), self.server.stderr());
        problem(&answer, status, path)
    }
}

/// Checks that an answer is a problem document of this status (contract A1); gives its `detail`.
pub fn problem(answer: &Answer, status: u16, path: &str) -> String {
    let text = cut(&answer.text(), 1000);
    assert_eq!(answer.status, status, "{path}: {text}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}: {text}");
    let (code, title) = match status {
        400 => ("bad_request", "Bad Request"),
        401 => ("unauthorized", "Unauthorized"),
        403 => ("forbidden", "Forbidden"),
        404 => ("not_found", "Not Found"),
        405 => ("method_not_allowed", "Method Not Allowed"),
        409 => ("conflict", "Conflict"),
        413 => ("payload_too_large", "Payload Too Large"),
        415 => ("unsupported_media_type", "Unsupported Media Type"),
        422 => ("unprocessable_entity", "Unprocessable Entity"),
        429 => ("too_many_requests", "Too Many Requests"),
        503 => ("service_unavailable", "Service Unavailable"),
        other => panic!("{path}: status {other}: {text}"),
    };
    let body = answer.json();
    let detail = body["detail"].as_str().unwrap_or_else(|| panic!("no detail: {text}")).to_string();
    let instance = path.split('?').next().unwrap_or(path);
    let request_id = answer.header("x-request-id").unwrap_or_else(|| panic!("no x-request-id: {text}"));
    let expected = serde_json::json!({
        "title": title, "status": status, "detail": detail, "instance": instance, "requestId": request_id, "code": code,
        "error": {"code": code, "message": detail},
    });
    assert_eq!(body, expected, "{path}");
    assert!(!detail.is_empty() && !request_id.is_empty(), "{text}");
    if status == 503 || status == 429 {
        let seconds = answer.header("retry-after").and_then(|text| text.parse::<u64>().ok());
        assert!(seconds.is_some_and(|seconds| seconds >= 1), "Retry-After: {:?}", answer.headers);
    }
    detail
}

/// An id of the stored answer, or of one of its messages.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a string is expected: {value}"))
}
