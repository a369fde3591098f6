//! What needs no key.

use super::operation::{Answer, Content, Operation};

const TAG: &str = "Service";

pub(crate) static OPERATIONS: &[Operation] = &[
    Operation {
        method: "GET",
        path: "/health",
        id: "health",
        tag: TAG,
        summary: "Whether the process is alive",
        description: "200 as long as it answers at all: for probes that start it anew. Load balancers ask `/ready`.",
        parameters: &[],
        request: None,
        answer: Answer::Json(Content { schema: "Health", example: r#"{"status": "ok"}"# }),
        errors: &[],
    },
    Operation {
        method: "GET",
        path: "/ready",
        id: "ready",
        tag: TAG,
        summary: "Whether changes are taken and reads are current",
        description: "200 only while both are so, else 503; `detail` says why and what to do. Most reasons heal by \
                      themselves: a full disk, say. Reads are answered all the same, from what was acknowledged; they \
                      may be out of date only where another process has taken the store over.",
        parameters: &[],
        request: None,
        answer: Answer::Json(Content { schema: "Ready", example: r#"{"status": "ready"}"# }),
        errors: &[503],
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
