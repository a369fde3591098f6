//! `/projects` (contract A1).

use serde_json::{Map, Value, json};

use super::operation::{Answer, Content, Operation};
use super::schema::{text, whole};

const TAG: &str = "Projects";

const PROJECT: &str = r#"{"id": "docs", "maxAge": "90d", "maxBytes": null}"#;

pub(crate) static OPERATIONS: &[Operation] = &[
    Operation {
        method: "PUT",
        path: "/projects/{id}",
        id: "setProject",
        tag: TAG,
        summary: "Set how long a project's data is kept, and how much it may be",
        description: "Both are set anew; absent and null are no limit. `maxAge`, a number and `s`, `m`, `h` or `d`: \
            conversations whose last message is older are deleted with all that hangs on them, and events and feedback \
            that were made before, within minutes, as `DELETE` would (within a 32nd of the server's `--erase-within`, \
            at most 10 minutes). `maxBytes`: while about so many bytes of the project are stored, after compression, \
            documents, events and feedback get 429; deleting makes room. It is looked at every 10 seconds.",
        parameters: &[],
        request: Some(Content { schema: "ProjectLimits", example: r#"{"maxAge": "90d"}"# }),
        answer: Answer::Json(Content { schema: "Project", example: PROJECT }),
        errors: &[503],
    },
    Operation {
        method: "GET",
        path: "/projects/{id}",
        id: "getProject",
        tag: TAG,
        summary: "What is set of a project",
        description: "Nulls where nothing is set, also of a project that has nothing yet.",
        parameters: &[],
        request: None,
        answer: Answer::Json(Content { schema: "Project", example: PROJECT }),
        errors: &[422],
    },
];

pub(crate) fn schemas() -> Map<String, Value> {
    let age = || json!({"type": ["string", "null"], "pattern": "^[0-9]+[smhd]$"});
    let bytes = || json!({"type": ["integer", "null"], "minimum": 0, "maximum": 9_007_199_254_740_991_u64});
    let limits =
        json!({"type": "object", "properties": {"maxAge": age(), "maxBytes": bytes()}, "additionalProperties": false});
    let project = whole(json!({"id": text(), "maxAge": age(), "maxBytes": bytes()}));
    Map::from_iter([("ProjectLimits".to_owned(), limits), ("Project".to_owned(), project)])
}
