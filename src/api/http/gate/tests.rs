//! The gate over a table of small routes, through the router.

use std::time::Duration;

use axum::http::StatusCode;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use object_store::memory::InMemory;

use super::*;
use crate::api::http::body::LARGEST_REQUEST;
use crate::api::http::call::json;
use crate::api::metrics::Counted;
use crate::auth::key::{KeyKind, KeyScope};
use crate::auth::key_store::{KeyStore, NewKey};
use crate::environment::Environment;
use crate::model::ids::{IntegrationId, OrganizationId, ProjectId};

fn echo_id<'a>(_: &'a (), call: &'a mut Call) -> futures::future::BoxFuture<'a, Result<Response, Problem>> {
    Box::pin(async { Ok(json(call.id()?.to_owned())) })
}

static ROUTES: &[Route<()>] = &[
    Route {
        method: Method::GET,
        path: "/open",
        access: Access::Public,
        handler: |_, _| Box::pin(async { Ok(json("{}")) }),
    },
    Route {
        method: Method::POST,
        path: "/things",
        access: Access::Everyone,
        handler: |_, call| {
            Box::pin(async {
                let text = call.read_json().await?.parse(|body| String::from_utf8_lossy(body).into_owned()).await?;
                Ok(json(text))
            })
        },
    },
    Route {
        method: Method::GET,
        path: "/things",
        access: Access::Readers,
        handler: |_, _| Box::pin(async { Ok(json("[]")) }),
    },
    Route { method: Method::GET, path: "/things/{id}", access: Access::Everyone, handler: echo_id },
    Route { method: Method::GET, path: "/things/external/{id}", access: Access::Readers, handler: echo_id },
    Route {
        method: Method::POST,
        path: "/query",
        access: Access::Queriers,
        handler: |_, _| Box::pin(async { Ok(json("{}")) }),
    },
    Route {
        method: Method::GET,
        path: "/panics",
        access: Access::Readers,
        handler: |_, _| Box::pin(async { panic!("a secret of the body") }),
    },
];

struct World {
    router: Router,
    api: String,
    web: String,
    web_query: String,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl World {
    async fn new(origins: &[&str]) -> Self {
        let environment = Environment::of_test(Arc::new(InMemory::new()));
        let store = KeyStore::new(environment.clone());
        let mut texts = Vec::new();
        for (kind, scopes) in [(KeyKind::Api, vec![]), (KeyKind::Web, vec![]), (KeyKind::Web, vec![KeyScope::Query])] {
            let (project, integration) = (ProjectId::new("docs"), IntegrationId::new("bot"));
            let new = NewKey::new(kind, OrganizationId::new("acme"), Some(project), Some(integration));
            let new = NewKey { scopes, ..new };
            texts.push(store.create(new).await.unwrap().text);
        }
        let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
        let gate = Gate {
            ids: environment.ids,
            keys: KeyRing::open(store).await.unwrap(),
            cors: CorsOrigins::new(&origins).unwrap(),
            bodies: BodyLimits::new(Duration::from_secs(1)),
            rates: Rates::new(),
            memory: RequestMemory::new(0, LARGEST_REQUEST),
            open: open_requests(100),
            proxies: TrustedProxies::default(),
            guesses: Guesses::default(),
            counted: Arc::new(Counted::new()),
        };
        let [api, web, web_query] = texts.try_into().unwrap();
        Self { router: router(Arc::new(gate), Arc::new(()), ROUTES), api, web, web_query }
    }

    async fn send(&self, method: &str, uri: &str, key: Option<&str>, body: &'static str) -> Answer {
        let mut request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("authorization", format!("bEARER {key}"));
        }
        let request = request.header("origin", "https://a.example").body(Body::from(body)).unwrap();
        let response = TowerToHyperService::new(self.router.clone()).call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}

#[tokio::test]
async fn refusals_come_in_order() {
    let world = World::new(&["*"]).await;
    let (api, web, web_query) = (Some(world.api.as_str()), Some(world.web.as_str()), Some(world.web_query.as_str()));
    let bad = Some("cl_api_0123456789abcdef_x");
    for (method, uri, key, status) in [
        ("GET", "/open", None, 200),
        ("GET", "/nothing", None, 404),
        ("GET", "/things/", api, 404),
        ("PATCH", "/things", None, 405),
        ("POST", "/things/x", None, 405),
        ("GET", "/things", None, 401),
        ("GET", "/things", bad, 401),
        ("GET", "/things", web, 403),
        ("GET", "/things", api, 200),
        ("GET", "/things/x", web, 200),
        ("GET", "/things/external/x", web, 403),
        ("POST", "/query", web, 403),
        ("POST", "/query", web_query, 200),
        ("POST", "/query", api, 200),
        ("GET", "/panics", api, 500),
    ] {
        let answer = world.send(method, uri, key, "").await;
        assert_eq!(answer.status, status, "{method} {uri}");
        let id = answer.headers["x-request-id"].to_str().unwrap();
        assert!(!id.is_empty());
        if status == 200 {
            assert_eq!(answer.headers["content-type"], "application/json");
            continue;
        }
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["instance"], uri);
        assert_eq!(problem["requestId"], id);
        assert!(!answer.body.contains("secret"));
        assert_eq!(answer.headers.contains_key("allow"), status == 405, "{method} {uri}");
    }
}

#[tokio::test]
async fn ids_are_decoded_after_routing() {
    let world = World::new(&["*"]).await;
    for (path, expected) in [
        ("/things/a%2Fb%20%C3%A9", Some("a/b é")),
        ("/things/a%252Fb", Some("a%2Fb")),
        ("/things/external%2Fx", Some("external/x")),
        ("/things/external/x%2Fy", Some("x/y")),
        ("/things/external", Some("external")),
        ("/things/%FF", None),
    ] {
        let answer = world.send("GET", path, Some(&world.api), "").await;
        match expected {
            Some(id) => assert_eq!((answer.status, answer.body.as_str()), (200, id), "{path}"),
            None => assert_eq!(answer.status, 404, "{path}"),
        }
    }
}

#[tokio::test]
async fn paths_of_web_keys_answer_browsers() {
    let world = World::new(&["*"]).await;
    for (path, methods) in [("/things", "POST, OPTIONS"), ("/things/x", "GET, OPTIONS"), ("/query", "POST, OPTIONS")] {
        let answer = world.send("OPTIONS", path, None, "").await;
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{path}");
        assert_eq!(answer.headers["access-control-allow-methods"], methods);
        assert_eq!(answer.headers["access-control-allow-headers"], "authorization, content-type, content-encoding");
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    }
    for path in ["/open", "/things/external/x"] {
        let answer = world.send("OPTIONS", path, None, "").await;
        assert_eq!(answer.status, 405);
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    for (key, status) in [(None, 401), (Some(world.web.as_str()), 200)] {
        let answer = world.send("POST", "/things", key, "{}").await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        assert_eq!(answer.headers["access-control-expose-headers"], "x-request-id, Retry-After");
    }
}

#[tokio::test]
async fn configured_origins_are_answered() {
    let world = World::new(&["https://b.example", "https://a.example"]).await;
    let answer = world.send("OPTIONS", "/things", None, "").await;
    assert_eq!(answer.headers["access-control-allow-origin"], "https://a.example");
    assert_eq!(answer.headers["vary"], "Origin");
    let world = World::new(&["https://b.example"]).await;
    let answer = world.send("POST", "/things", Some(&world.web), "{}").await;
    assert_eq!(answer.headers["access-control-allow-origin"], "https://b.example");
}

#[tokio::test]
async fn bodies_need_their_type() {
    let world = World::new(&["*"]).await;
    for (content_type, status) in [("application/json; charset=utf-8", 200), ("text/plain", 415)] {
        let request = Request::post("/things")
            .header("content-type", content_type)
            .header("authorization", format!("Bearer {}", world.web))
            .body(Body::from("{}"))
            .unwrap();
        let response = TowerToHyperService::new(world.router.clone()).call(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::from_u16(status).unwrap(), "{content_type}");
    }
}
