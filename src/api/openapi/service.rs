//! What needs no key.

use super::operation::{Answer, Content, Operation};

const TAG: &str = "Service";

pub(crate) static OPERATIONS: &[Operation] = &[
    Operation {
        method: "GET",
        path: "/health",
        id: "health",
        tag: TAG,
        summary: "Whether the server answers",
        description: "For load balancers and probes.",
        parameters: &[],
        request: None,
        answer: Answer::Json(Content { schema: "Health", example: r#"{"status": "ok"}"# }),
        errors: &[],
    },
    Operation {
        method: "GET",
        path: "/openapi.json",
        id: "openapi",
        tag: TAG,
        summary: "This description, in OpenAPI 3.1",
        description: "Made from the routes that this server has.",
        parameters: &[],
        request: None,
        answer: Answer::Json(Content {
            schema: "OpenApi",
            example: r#"{"openapi": "3.1.0", "info": {}, "paths": {}}"#,
        }),
        errors: &[],
    },
    Operation {
        method: "GET",
        path: "/docs",
        id: "docs",
        tag: TAG,
        summary: "This reference as a page",
        description: "Needs nothing from elsewhere, so it works offline.",
        parameters: &[],
        request: None,
        answer: Answer::Html,
        errors: &[],
    },
];
