//! `/erase` (contract A7).

use serde_json::{Map, Value, json};

use super::conversations::PROJECT;
use super::operation::{Answer, Content, Operation};
use super::schema::{text, whole};

const TAG: &str = "Erasure";

const HIDDEN: &str = r#"{
  "id": "01919f2b-6a40-7cc0-8000-3f6f8f1c2d4e", "conversations": 12, "events": 40, "feedback": 3, "state": "hidden"
}"#;

const ERASED: &str = r#"{
  "id": "01919f2b-6a40-7cc0-8000-3f6f8f1c2d4e", "conversations": 12, "events": 40, "feedback": 3, "state": "erased"
}"#;

pub(crate) static OPERATIONS: &[Operation] = &[
    Operation {
        method: "POST",
        path: "/erase",
        id: "erase",
        tag: TAG,
        summary: "Erase a user, or conversations or events by their ids",
        description: "Exactly one of `userId`, `conversationIds` and `eventIds`. Of a user it takes everything: the \
            conversations whose `user` it is (`userProperties.userId`, else `id`), with their messages, threads, \
            feedback and events, and the events whose `user` it is. Ids that are not there count nothing. All of it is \
            gone from every answer when this returns, and from every object of the store, earlier versions, log and \
            indexes included, within the server's `--erase-within`. What was asked for is kept as a keyed hash only; an \
            erased id may be logged anew. With an `org` key and no `projectId` a user is erased in all projects; an id \
            that several projects have is 409.",
        parameters: &[PROJECT],
        request: Some(Content { schema: "EraseRequest", example: r#"{"userId": "u1"}"# }),
        answer: Answer::Json(Content { schema: "Erasure", example: HIDDEN }),
        errors: &[409, 429, 503],
    },
    Operation {
        method: "GET",
        path: "/erase/{id}",
        id: "getErasure",
        tag: TAG,
        summary: "Whether an erasure is done",
        description: "`hidden`: gone from every answer. `erased`: no object of the store has a byte of it any more. \
            Told for 90 days after that, then 404.",
        parameters: &[PROJECT],
        request: None,
        answer: Answer::Json(Content { schema: "Erasure", example: ERASED }),
        errors: &[404],
    },
];

pub(crate) fn schemas() -> Map<String, Value> {
    let ids = || json!({"type": "array", "items": text(), "minItems": 1, "maxItems": 10_000});
    let only = |name: &str, schema: Value| json!({"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": false});
    let request = json!({"oneOf": [
        only("userId", json!({"type": "string", "minLength": 1})),
        only("conversationIds", ids()),
        only("eventIds", ids()),
    ]});
    let count = json!({"type": "integer", "minimum": 0});
    let erasure = whole(json!({
        "id": text(), "conversations": count, "events": count, "feedback": count, "state": {"enum": ["hidden", "erased"]},
    }));
    Map::from_iter([("EraseRequest".to_owned(), request), ("Erasure".to_owned(), erasure)])
}
