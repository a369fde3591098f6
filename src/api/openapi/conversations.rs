//! `/conversations` (contract A2).

use super::operation::{Answer, Content, Operation, Parameter};

const TAG: &str = "Conversations";

const INPUT: &str = r#"{
  "id": "c-1",
  "externalId": "t-1",
  "type": "openai",
  "createdAt": "2024-08-26T09:00:00Z",
  "properties": {"plan": "pro", "score": 0.93},
  "userProperties": {"userId": "u1"},
  "tags": ["keys"],
  "messages": [
    {"id": "m-1", "role": "user", "content": "How do I rotate a key?"},
    {"id": "m-2", "role": "assistant", "content": "In the settings.",
     "links": [{"url": "https://docs.example.com/keys", "type": "documentation", "title": "Keys"}]}
  ]
}"#;

pub(crate) const STORED: &str = r#"{
  "id": "c-1", "externalId": "t-1", "externalUrl": null, "type": "openai", "supportTicketConversationId": null,
  "createdAt": "2024-08-26T09:00:00.000Z", "updatedAt": "2024-08-26T09:00:04.120Z",
  "projectId": "help", "integrationId": "bot",
  "properties": {"plan": "pro", "score": 0.93}, "userProperties": {"userId": "u1"},
  "tags": ["keys"], "visibility": null,
  "messages": [
    {"id": "m-1", "type": "openai", "externalId": null, "externalUrl": null, "conversationId": "c-1",
     "createdAt": "2024-08-26T09:00:00.000Z", "updatedAt": "2024-08-26T09:00:00.000Z",
     "role": "user", "content": "How do I rotate a key?", "name": null, "links": null,
     "properties": null, "userProperties": null, "tool_calls": null},
    {"id": "m-2", "type": "openai", "externalId": null, "externalUrl": null, "conversationId": "c-1",
     "createdAt": "2024-08-26T09:00:00.000Z", "updatedAt": "2024-08-26T09:00:00.000Z",
     "role": "assistant", "content": "In the settings.", "name": null,
     "links": [{"url": "https://docs.example.com/keys", "type": "documentation", "title": "Keys"}],
     "properties": null, "userProperties": null, "tool_calls": null}
  ],
  "messagesOpenAIFormat": [
    {"role": "user", "name": null, "content": "How do I rotate a key?", "tool_calls": null},
    {"role": "assistant", "name": null, "content": "In the settings.", "tool_calls": null}
  ]
}"#;

const EMPTY_LIST: &str = r#"{"conversations": [], "total": 128, "pageSize": 0, "count": 0}"#;
const DELETED: &str = r#"{"success": true, "message": "Conversation deleted"}"#;

/// Of routes that take an id.
pub(crate) const PROJECT: Parameter = Parameter {
    name: "projectId",
    description: "With an `org` key: the project meant.",
    schema: r#"{"type": "string"}"#,
    required: false,
};

pub(crate) static OPERATIONS: &[Operation] = &[
    Operation {
        method: "POST",
        path: "/conversations",
        id: "logConversation",
        tag: TAG,
        summary: "Log a conversation",
        description: "Upserts by `id`, else by `externalId`: the new document replaces the stored one, messages keep \
            their ids. Answers the whole stored conversation once it is durable; every later read and query sees it.",
        parameters: &[],
        request: Some(Content { schema: "ConversationInput", example: INPUT }),
        answer: Answer::Json(Content { schema: "Conversation", example: STORED }),
        errors: &[409, 429, 503],
    },
    Operation {
        method: "GET",
        path: "/conversations",
        id: "listConversations",
        tag: TAG,
        summary: "List conversations, newest first",
        description: "By `createdAt`, then `id`, both descending. `limit=0` only counts.",
        parameters: &[
            Parameter {
                name: "limit",
                description: "Conversations in the answer.",
                schema: r#"{"type": "integer", "minimum": 0, "maximum": 100, "default": 20}"#,
                required: false,
            },
            Parameter {
                name: "offset",
                description: "Conversations to skip.",
                schema: r#"{"type": "integer", "minimum": 0, "maximum": 9223372036854775807, "default": 0}"#,
                required: false,
            },
        ],
        request: None,
        answer: Answer::Json(Content { schema: "ConversationList", example: EMPTY_LIST }),
        errors: &[400, 503],
    },
    Operation {
        method: "GET",
        path: "/conversations/{id}",
        id: "getConversation",
        tag: TAG,
        summary: "Get a conversation",
        description: "With an `org` key and no `projectId`, of several projects' conversations the newest.",
        parameters: &[PROJECT],
        request: None,
        answer: Answer::Json(Content { schema: "Conversation", example: STORED }),
        errors: &[404],
    },
    Operation {
        method: "DELETE",
        path: "/conversations/{id}",
        id: "deleteConversation",
        tag: TAG,
        summary: "Delete a conversation",
        description: "It is gone from every answer at once, with its feedback and events.",
        parameters: &[PROJECT],
        request: None,
        answer: Answer::Json(Content { schema: "Deleted", example: DELETED }),
        errors: &[404, 409, 429, 503],
    },
    Operation {
        method: "GET",
        path: "/conversations/external/{externalId}",
        id: "getConversationByExternalId",
        tag: TAG,
        summary: "Get a conversation by its external id",
        description: "`externalId` is the one it was logged with.",
        parameters: &[PROJECT],
        request: None,
        answer: Answer::Json(Content { schema: "Conversation", example: STORED }),
        errors: &[404],
    },
];
