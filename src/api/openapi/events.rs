//! `/events` and `/feedback` (contract A4).

use serde_json::{Map, Value, json};

use super::conversations::PROJECT;
use super::operation::{Answer, Content, Operation, Parameter};
use super::schema::{list_of, nullable, nullable_text, optional, reference, text, time, whole};

const EVENT: &str = r#"{
  "type": "link_clicked", "entityType": "message", "messageId": "m-2",
  "properties": {"url": "https://docs.example.com/keys"}, "userProperties": {"userId": "u1"}
}"#;

const STORED_EVENT: &str = r#"{
  "id": "01919f2b-6a40-7cc0-8000-3f6f8f1c2d4e", "type": "link_clicked", "entityType": "message", "messageId": "m-2",
  "createdAt": "2024-08-26T09:01:00.000Z", "projectId": "help", "integrationId": "bot",
  "properties": {"url": "https://docs.example.com/keys"}, "userProperties": {"userId": "u1"}
}"#;

const FEEDBACK: &str = r#"{
  "id": "f-1", "type": "positive", "messageId": "m-2",
  "reasons": [{"label": "accurate", "details": "It was in the settings."}]
}"#;

const STORED_FEEDBACK: &str = r#"{
  "id": "f-1", "type": "positive", "messageId": "m-2",
  "createdAt": "2024-08-26T09:02:00.000Z", "updatedAt": "2024-08-26T09:02:00.000Z",
  "reasons": [{"label": "accurate", "details": "It was in the settings."}], "details": null,
  "properties": null, "userProperties": null, "sources": null
}"#;

const NO_FEEDBACK: &str =
    r#"{"positiveFeedbackCount": 12, "negativeFeedbackCount": 3, "positiveFeedback": [], "negativeFeedback": []}"#;

pub(crate) static OPERATIONS: &[Operation] = &[
    Operation {
        method: "POST",
        path: "/events",
        id: "logEvent",
        tag: "Events",
        summary: "Log an event",
        description: "Upserts by `id`. Exactly one of `messageId`, `conversationId` and `searchQuery` is given: the one \
            that `entityType` names. What it names need not be stored yet.",
        parameters: &[],
        request: Some(Content { schema: "EventInput", example: EVENT }),
        answer: Answer::Json(Content { schema: "Event", example: STORED_EVENT }),
        errors: &[409],
    },
    Operation {
        method: "DELETE",
        path: "/events/{id}",
        id: "deleteEvent",
        tag: "Events",
        summary: "Delete an event",
        description: "It is gone from every answer at once, and from everything that is stored in time (`POST /erase`).",
        parameters: &[PROJECT],
        request: None,
        answer: Answer::Json(Content {
            schema: "Deleted",
            example: r#"{"success": true, "message": "Event deleted"}"#,
        }),
        errors: &[404, 409, 429, 503],
    },
    Operation {
        method: "POST",
        path: "/feedback",
        id: "logFeedback",
        tag: "Feedback",
        summary: "Log feedback on a message",
        description: "Upserts by `id`. The message must be one of a stored conversation.",
        parameters: &[],
        request: Some(Content { schema: "FeedbackInput", example: FEEDBACK }),
        answer: Answer::Json(Content { schema: "Feedback", example: STORED_FEEDBACK }),
        errors: &[409],
    },
    Operation {
        method: "GET",
        path: "/feedback",
        id: "listFeedback",
        tag: "Feedback",
        summary: "List feedback, newest first",
        description: "Counts are of the project; `limit` and `offset` page each of the two lists by itself. Each \
            feedback comes with its conversation and message.",
        parameters: &[
            Parameter {
                name: "limit",
                description: "Feedback in each list.",
                schema: r#"{"type": "integer", "minimum": 0, "maximum": 100, "default": 10}"#,
                required: false,
            },
            Parameter {
                name: "offset",
                description: "Feedback to skip in each list.",
                schema: r#"{"type": "integer", "minimum": 0, "maximum": 9223372036854775807, "default": 0}"#,
                required: false,
            },
        ],
        request: None,
        answer: Answer::Json(Content { schema: "FeedbackList", example: NO_FEEDBACK }),
        errors: &[400, 503],
    },
    Operation {
        method: "GET",
        path: "/feedback/{id}",
        id: "getFeedback",
        tag: "Feedback",
        summary: "Get feedback with its conversation and message",
        description: "Feedback whose message was dropped when its conversation was logged again is not found.",
        parameters: &[PROJECT],
        request: None,
        answer: Answer::Json(Content { schema: "FeedbackWithMessage", example: STORED_FEEDBACK }),
        errors: &[404],
    },
    Operation {
        method: "DELETE",
        path: "/feedback/{id}",
        id: "deleteFeedback",
        tag: "Feedback",
        summary: "Delete feedback",
        description: "It is gone from every answer at once.",
        parameters: &[PROJECT],
        request: None,
        answer: Answer::Json(Content {
            schema: "Deleted",
            example: r#"{"success": true, "message": "Feedback deleted"}"#,
        }),
        errors: &[404, 409, 429, 503],
    },
];

pub(crate) fn schemas() -> Map<String, Value> {
    let given_text = json!({"type": ["string", "null"]});
    let reason =
        json!({"type": "object", "properties": {"label": text(), "details": text()}, "required": ["label", "details"]});
    let source = json!({
        "type": "object",
        "properties": {"type": {"enum": ["positive", "negative", "new", null]}, "title": nullable_text(), "url": nullable_text()},
    });
    let mut event = json!({
        "id": text(), "type": text(), "entityType": text(), "messageId": text(), "conversationId": text(),
        "searchQuery": text(), "createdAt": time(), "projectId": nullable_text(), "integrationId": nullable_text(),
        "properties": nullable("Properties"), "userProperties": nullable("UserProperties"),
    });
    event = whole(event);
    for one in ["messageId", "conversationId", "searchQuery"] {
        optional(&mut event, one);
    }
    let feedback = json!({
        "id": text(), "type": {"enum": ["positive", "negative"]}, "messageId": text(), "createdAt": time(),
        "updatedAt": time(), "reasons": {"type": ["array", "null"], "items": reason}, "details": nullable_text(),
        "properties": nullable("Properties"), "userProperties": nullable("UserProperties"),
        "sources": {"type": ["array", "null"], "items": source},
    });
    let mut with_message = feedback.clone();
    if let Some(members) = with_message.as_object_mut() {
        members.insert("conversation".to_owned(), reference("Conversation"));
        members.insert("message".to_owned(), reference("Message"));
    }
    let count = json!({"type": "integer"});
    let entities = ["messageId", "conversationId", "searchQuery"];
    let entity_kinds: Vec<Value> = ["message", "conversation", "search"]
        .iter()
        .zip(entities)
        .map(|(kind, wanted)| {
            let of = |name: &str| json!({"type": if name == wanted { "string" } else { "null" }});
            let mut properties: Map<String, Value> =
                entities.iter().map(|name| ((*name).to_owned(), of(name))).collect();
            properties.insert("entityType".to_owned(), json!({"const": kind}));
            json!({"properties": properties, "required": [wanted]})
        })
        .collect();
    let all = [
        (
            "EventInput",
            json!({
                "type": "object",
                "properties": {
                    "id": given_text, "type": text(), "entityType": {"enum": ["message", "conversation", "search"]},
                    "messageId": given_text, "conversationId": given_text, "searchQuery": given_text,
                    "createdAt": given_text, "projectId": given_text, "integrationId": given_text,
                    "properties": nullable("Properties"), "userProperties": nullable("UserProperties"),
                },
                "required": ["type", "entityType"],
                "oneOf": entity_kinds,
            }),
        ),
        ("Event", event),
        (
            "FeedbackInput",
            json!({
                "type": "object",
                "properties": {
                    "id": given_text, "type": {"enum": ["positive", "negative"]}, "messageId": text(),
                    "createdAt": given_text, "updatedAt": given_text,
                    "reasons": {"type": ["array", "null"], "items": reason}, "details": given_text,
                    "properties": nullable("Properties"), "userProperties": nullable("UserProperties"),
                    "sources": {"type": ["array", "null"], "items": source},
                },
                "required": ["type", "messageId"],
            }),
        ),
        ("Feedback", whole(feedback)),
        ("FeedbackWithMessage", json!({"type": "object", "properties": with_message})),
        (
            "FeedbackList",
            whole(json!({
                "positiveFeedbackCount": count, "negativeFeedbackCount": count,
                "positiveFeedback": list_of(reference("FeedbackWithMessage")),
                "negativeFeedback": list_of(reference("FeedbackWithMessage")),
            })),
        ),
        ("TopSearchQueries", counted(whole(json!({"search_query": text(), "count": text()})))),
        ("WeeklySearchUsers", counted(whole(json!({"week": time(), "unique_users": text()})))),
    ];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn counted(row: Value) -> Value {
    whole(json!({"data": whole(json!({"result": list_of(row), "total": {"type": "integer"}}))}))
}
