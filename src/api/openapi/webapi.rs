//! `/webapi/v2` (contract part B).

use serde_json::{Map, Value, json};

use super::operation::{Answer, Content, Operation, Parameter};
use super::schema::{list_of, nullable, nullable_text, object, reference, text, whole};

const TAG: &str = "Conversation API";

const CHAT: &str = r#"{
  "id": "m-2", "sender": "BOT", "message": "In the settings.", "timestamp": 1724662800000,
  "citations": [{"clueId": null, "source": "DOCUMENT", "title": "Keys", "knowledgeBaseId": null, "pageNo": null,
                 "url": "https://docs.example.com/keys", "text": null}],
  "rating": true, "agentRating": null
}"#;

const CHATS: &str = r#"{"chats": [
  {"id": "m-1", "sender": "USER", "message": "How do I rotate a key?", "timestamp": 1724662800000,
   "citations": [], "rating": null, "agentRating": null}
]}"#;

const CONVERSATION: &str = r#"{
  "id": "c-1", "title": "How do I rotate a key?",
  "user": {"userId": "u1", "firstName": "", "lastName": ""},
  "createdAt": 1724662800000, "lastChatTime": 1724662800000, "isEnd": false,
  "state": "no", "assignee": null, "categories": [], "memo": "",
  "chats": [
    {"id": "m-1", "sender": "USER", "message": "How do I rotate a key?", "timestamp": 1724662800000,
     "citations": [], "rating": null, "agentRating": null}
  ],
  "chatCount": 2, "llmApp": {"id": "bot", "name": "", "description": ""}, "variables": {"plan": "pro"}
}"#;

const LIST: &str = r#"{"conversations": [], "cursor": null}"#;
const INFO: &str = r#"{"state": "open", "assignee": "ann@example.com", "title": "Rotating keys"}"#;
const TITLE: &str = r#"{"title": "Rotating keys"}"#;
const BULK: &str =
    r#"{"conversationIds": ["c-1"], "conversationInfo": {"state": "open", "assignee": "ann@example.com"}}"#;
const FEEDBACK: &str = r#"{"rating": true, "feedbackSelection": "accurate", "suggestedAnswer": null}"#;
const CATEGORY: &str = r#"{"categoryId": "01919f2b-6a40-7cc0-8000-3f6f8f1c2d4e", "name": "Billing"}"#;

const TEXT: &str = r#"{"type": "string"}"#;
const TEXTS: &str = r#"{"type": "array", "items": {"type": "string"}}"#;
const MILLIS: &str = r#"{"type": "number", "description": "Epoch milliseconds."}"#;
const FLAG: &str = r#"{"type": "boolean"}"#;

const fn optional(name: &'static str, schema: &'static str, description: &'static str) -> Parameter {
    Parameter { name, description, schema, required: false }
}

const VARIABLES: Parameter =
    optional("variables", TEXTS, "Names of properties to show in `variables`, repeated or with commas between.");

const LIST_PARAMETERS: &[Parameter] = &[
    optional("userIds", TEXTS, "Of these users; repeated or with commas between. Also `userIds[]`."),
    optional("llmAppId", TEXT, "Of this integration."),
    optional("categoryId", TEXT, "With this category."),
    optional("startedAt", MILLIS, "Last chat at this time or after."),
    optional("endAt", MILLIS, "Last chat at this time or before."),
    optional("firstChatStartedAt", MILLIS, "First chat at this time or after."),
    optional("firstChatEndAt", MILLIS, "First chat at this time or before."),
    optional("searchTerm", TEXT, "In the title, the user's names and ids or a message, case-insensitively."),
    optional("activeOnly", FLAG, "Only conversations that have not ended; default false."),
    optional("backgroundRunning", FLAG, "Only running ones, or only those that are not."),
    VARIABLES,
    optional(
        "order",
        r#"{"enum": ["CREATED_AT_ASC", "CREATED_AT_DESC", "MODIFIED_AT_ASC", "MODIFIED_AT_DESC", "LAST_CHAT_TIME_ASC", "LAST_CHAT_TIME_DESC"], "default": "LAST_CHAT_TIME_DESC"}"#,
        "The order.",
    ),
    optional(
        "pageSize",
        r#"{"type": "integer", "minimum": 1, "maximum": 50, "default": 50}"#,
        "Conversations in the answer at most.",
    ),
    optional("cursor", TEXT, "Of the page before; stays right while data arrives."),
];

const fn one(
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    description: &'static str,
) -> Operation {
    Operation {
        method,
        path,
        id,
        tag: TAG,
        summary,
        description,
        parameters: &[],
        request: None,
        answer: Answer::Empty,
        errors: &[400, 404, 503],
    }
}

const fn answer(schema: &'static str, example: &'static str) -> Answer {
    Answer::Json(Content { schema, example })
}

const fn body(schema: &'static str, example: &'static str) -> Option<Content> {
    Some(Content { schema, example })
}

const CLEARING: &str = "Given fields replace, absent ones stay; null or `\"\"` clears the assignee and the title. An \
    unknown category is 422.";

const fn update(method: &'static str, id: &'static str) -> Operation {
    Operation {
        request: body("ConversationInfo", INFO),
        answer: answer("ApiConversation", CONVERSATION),
        errors: &[400, 404, 429, 503],
        ..one(method, "/webapi/v2/conversations/{id}", id, "Change a conversation", CLEARING)
    }
}

const fn title(method: &'static str, id: &'static str) -> Operation {
    let path = "/webapi/v2/conversations/{id}/title";
    let about = "Null or `\"\"` clears it: the title is then the beginning of the first user message.";
    Operation {
        request: body("ConversationTitle", TITLE),
        answer: answer("ApiConversation", CONVERSATION),
        errors: &[400, 404, 429, 503],
        ..one(method, path, id, "Set a conversation's title", about)
    }
}

pub(crate) static OPERATIONS: &[Operation] = &[
    Operation {
        parameters: LIST_PARAMETERS,
        answer: answer("ApiConversationList", LIST),
        errors: &[400, 503],
        ..one(
            "GET",
            "/webapi/v2/conversations",
            "apiListConversations",
            "List conversations",
            "Page by page; `cursor` is null at the end. A page may hold fewer than `pageSize` and still have a cursor.",
        )
    },
    Operation {
        request: body("BulkUpdate", BULK),
        errors: &[400, 429, 503],
        ..one(
            "POST",
            "/webapi/v2/conversations/bulk_update",
            "apiBulkUpdate",
            "Change many conversations at once",
            "Filters combine with AND, and at least one must have a value. The change is atomic. Given fields of \
                `conversationInfo` replace, absent ones stay; null or `\"\"` clears the assignee and the title.",
        )
    },
    Operation {
        parameters: &[
            Parameter {
                name: "startDate",
                description: "The first day.",
                schema: r#"{"type": "string", "format": "date", "examples": ["2024-08-26"]}"#,
                required: true,
            },
            Parameter {
                name: "endDate",
                description: "The last day; at most 3,660 days.",
                schema: r#"{"type": "string", "format": "date", "examples": ["2024-08-27"]}"#,
                required: true,
            },
            optional("timeZone", TEXT, "IANA name; days are local to it. Default UTC."),
        ],
        answer: answer("DailyCounts", r#"{"counts": [{"date": "2024-08-26", "count": 17}]}"#),
        errors: &[400, 503],
        ..one(
            "GET",
            "/webapi/v2/conversations/daily_count",
            "apiDailyCount",
            "Count conversations day by day",
            "By `createdAt`; days without conversations are 0.",
        )
    },
    Operation {
        parameters: &[VARIABLES],
        answer: answer("ApiConversation", CONVERSATION),
        errors: &[400, 404],
        ..one(
            "GET",
            "/webapi/v2/conversations/{id}",
            "apiGetConversation",
            "Get a conversation with its most recent 20 chats",
            "Times are epoch milliseconds. `variables` holds the named properties only.",
        )
    },
    update("PUT", "apiUpdateConversation"),
    update("PATCH", "apiPatchConversation"),
    Operation {
        errors: &[400, 404, 429, 503],
        ..one(
            "DELETE",
            "/webapi/v2/conversations/{id}",
            "apiDeleteConversation",
            "Delete a conversation",
            "It is gone from every answer at once.",
        )
    },
    Operation {
        parameters: &[optional(
            "pageNo",
            r#"{"type": "integer", "minimum": 1, "default": 1}"#,
            "Pages have 100 chats.",
        )],
        answer: answer("ChatList", CHATS),
        errors: &[400, 404],
        ..one(
            "GET",
            "/webapi/v2/conversations/{id}/chats",
            "apiListChats",
            "List the chats of a conversation",
            "Ascending by time.",
        )
    },
    Operation {
        answer: answer("Chat", CHAT),
        errors: &[400, 404],
        ..one(
            "GET",
            "/webapi/v2/conversations/{id}/chats/{chatId}",
            "apiGetChat",
            "Get a chat",
            "A chat is a message of the conversation.",
        )
    },
    Operation {
        request: body("ChatFeedback", FEEDBACK),
        answer: answer("Chat", CHAT),
        errors: &[400, 404, 429, 503],
        ..one(
            "POST",
            "/webapi/v2/conversations/{id}/chats/{chatId}/feedback",
            "apiRateChat",
            "Rate a chat",
            "The same feedback as that of `/feedback`: true is positive, false negative, null removes it. With the \
                header `AGENT-EMAIL` it is the agent's rating.",
        )
    },
    Operation {
        answer: answer("Running", r#"{"isRunning": false}"#),
        errors: &[400, 404],
        ..one(
            "GET",
            "/webapi/v2/conversations/{id}/running",
            "apiIsRunning",
            "Whether a conversation waits for an answer",
            "It has not ended, its last message is the user's, and it was not stopped since.",
        )
    },
    Operation {
        errors: &[400, 404, 429, 503],
        ..one(
            "POST",
            "/webapi/v2/conversations/{id}/stop",
            "apiStopConversation",
            "Stop a running conversation",
            "It no longer counts as running until the user's next message.",
        )
    },
    Operation {
        errors: &[400, 404, 429, 503],
        ..one(
            "POST",
            "/webapi/v2/conversations/{id}/end",
            "apiEndConversation",
            "End a conversation",
            "It is then no longer active.",
        )
    },
    title("PUT", "apiSetTitle"),
    title("POST", "apiPostTitle"),
    title("PATCH", "apiPatchTitle"),
    Operation {
        answer: answer("CategoryList", r#"{"categories": []}"#),
        errors: &[400],
        ..one(
            "GET",
            "/webapi/v2/conversation_categories",
            "apiListCategories",
            "List the categories",
            "Those of the key's project.",
        )
    },
    Operation {
        request: body("CategoryInput", r#"{"name": "Billing"}"#),
        answer: answer("Category", CATEGORY),
        errors: &[400, 429, 503],
        ..one(
            "POST",
            "/webapi/v2/conversation_categories",
            "apiCreateCategory",
            "Create a category",
            "At most 100 in a project; names have at most 50 characters.",
        )
    },
    Operation {
        errors: &[400, 404, 429, 503],
        ..one(
            "DELETE",
            "/webapi/v2/conversation_categories/{categoryId}",
            "apiDeleteCategory",
            "Delete a category",
            "It is taken off its conversations.",
        )
    },
];

pub(crate) fn schemas() -> Map<String, Value> {
    let millis = json!({"type": "integer", "description": "Epoch milliseconds."});
    let texts = list_of(text());
    let rating = json!({"type": ["boolean", "null"]});
    let citation = whole(json!({
        "clueId": nullable_text(), "source": {"enum": ["DOCUMENT", "FAQ", "WEB"]}, "title": nullable_text(),
        "knowledgeBaseId": nullable_text(), "pageNo": {"type": ["integer", "null"]}, "url": nullable_text(),
        "text": nullable_text(),
    }));
    let chat = whole(json!({
        "id": text(), "sender": {"enum": ["USER", "BOT", "AGENT"]}, "message": text(), "timestamp": millis,
        "citations": list_of(citation), "rating": rating, "agentRating": rating,
    }));
    let conversation = whole(json!({
        "id": text(),
        "title": {"type": "string", "description": "The set one, else the beginning of the first user message."},
        "user": nullable("ApiUser"),
        "createdAt": millis,
        "lastChatTime": {"type": ["integer", "null"], "description": "Epoch milliseconds."},
        "isEnd": {"type": "boolean"},
        "state": text(),
        "assignee": nullable_text(),
        "categories": {"type": "array", "items": {"type": "string"}, "description": "Names."},
        "memo": text(),
        "chats": {"type": "array", "items": reference("Chat"), "description": "The most recent 20."},
        "chatCount": {"type": "integer"},
        "llmApp": nullable("LlmApp"),
        "variables": {"type": "object", "additionalProperties": true},
    }));
    let info = json!({
        "type": "object",
        "properties": {"state": text(), "assignee": nullable_text(), "title": nullable_text(), "categoryIds": texts},
    });
    let all = [
        ("Chat", chat),
        ("ChatList", whole(json!({"chats": list_of(reference("Chat"))}))),
        ("ApiUser", whole(json!({"userId": text(), "firstName": text(), "lastName": text()}))),
        ("LlmApp", whole(json!({"id": text(), "name": text(), "description": text()}))),
        ("ApiConversation", conversation),
        (
            "ApiConversationList",
            whole(json!({"conversations": list_of(reference("ApiConversation")), "cursor": nullable_text()})),
        ),
        ("ConversationInfo", info),
        ("ConversationTitle", object(json!({"title": nullable_text()}), &["title"])),
        (
            "BulkUpdate",
            object(
                json!({
                    "userIds": texts, "llmAppIds": texts, "categoryIds": texts, "conversationIds": texts,
                    "conversationInfo": reference("ConversationInfo"),
                }),
                &["conversationInfo"],
            ),
        ),
        (
            "ChatFeedback",
            object(
                json!({"rating": rating, "feedbackSelection": nullable_text(), "suggestedAnswer": nullable_text()}),
                &["rating"],
            ),
        ),
        ("Running", whole(json!({"isRunning": {"type": "boolean"}}))),
        (
            "DailyCounts",
            whole(json!({"counts": list_of(whole(json!({"date": text(), "count": {"type": "integer"}})))})),
        ),
        ("Category", whole(json!({"categoryId": text(), "name": text()}))),
        ("CategoryInput", object(json!({"name": {"type": "string", "maxLength": 50}}), &["name"])),
        ("CategoryList", whole(json!({"categories": list_of(reference("Category"))}))),
    ];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}
