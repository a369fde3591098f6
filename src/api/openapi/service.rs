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
        path: "/status",
        id: "status",
        tag: TAG,
        summary: "What the store holds, and what is done to it",
        description: "For an organization's key. Of the whole store, whatever organization the rows are of: files by \
                      table and by the number of merges behind them (`levels`), objects by what they are for (counted \
                      at most every 30 seconds), what waits in memory (`tail`), imports by their ids; `erasures`: how many of \
                      `POST /erase` wait to be gone from every object and are, how many files hold rows of any deletion, \
                      since when the oldest waits and when it is due; `work`: what this process has written since \
                      `since`, and what it is `merging`; `requests` to the object store by kind, and `caches`. Sizes \
                      are in bytes. `deletedRows` are still in their files, which are written again without them.",
        parameters: &[],
        request: None,
        answer: Answer::Json(Content {
            schema: "Status",
            example: r#"{"version": "0.1.0", "commit": 812, "commitTime": "2026-07-01T08:00:00.000Z", "tables": {"conversations": {"files": 2, "bytes": 9100, "rows": 61, "deletedRows": 3, "levels": {"0": {"files": 1, "bytes": 4000, "rows": 20}, "1": {"files": 1, "bytes": 5100, "rows": 41}}}}, "objects": {"data": {"objects": 6, "bytes": 30100}}, "tail": {"rows": 4, "bytes": 12288}, "imports": {}, "erasures": {"waiting": 1, "done": 4, "files": 1, "oldest": "2026-07-01T07:00:00.000Z", "due": "2026-07-02T07:00:00.000Z"}, "requests": {"put": 93, "part": 0, "get": 41, "head": 2, "list": 14, "delete": 60, "copy": 0}, "caches": {"memory": {"bytes": 61440, "capacity": 268435456}}, "work": {"since": "2026-07-01T06:00:00.000Z", "flushedBytes": 20100, "merges": 1, "mergedBytes": 10000, "rewrites": 0, "rewrittenBytes": 0, "writeAmplification": 1.498, "collectedObjects": 24, "collectedBytes": 10400}}"#,
        }),
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
