//! `/webapi/v2` (contract part B).

use serde_json::{Map, Value, json};

use super::conversations::PROJECT;
use super::operation::{Answer, Content, Operation, Parameter};
use super::schema::{list_of, nullable, nullable_text, reference, text, whole};

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
const INFO: &str =
    r#"{"state": "open", "assignee": "ann@example.com", "title": "Rotating keys", "memo": "Called back."}"#;
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
    optional(
        "userIds",
        TEXTS,
        "Of these users (`user.userId`); repeated or with commas between. `userIds[]=` is not split at commas, for ids \
            that have one.",
    ),
    optional("llmAppId", TEXT, "Of this integration; repeated or with commas between: of one of them."),
    optional("categoryId", TEXT, "With this category; repeated or with commas between: with one of them."),
    optional("startedAt", MILLIS, "`lastChatTime` at this time or after; a fraction is cut, here and below."),
    optional("endAt", MILLIS, "`lastChatTime` at this time or before."),
    optional("firstChatStartedAt", MILLIS, "The first chat's timestamp at this time or after."),
    optional("firstChatEndAt", MILLIS, "The first chat's timestamp at this time or before."),
    optional(
        "searchTerm",
        TEXT,
        "In the title, the user's id, first or last name or the two joined by a space, or the text of a message, in \
            any letter case; or the whole id of the conversation.",
    ),
    optional("activeOnly", FLAG, "Only conversations that have not ended; default false."),
    optional("backgroundRunning", FLAG, "Only running ones, or only those that are not (see `/running`)."),
    VARIABLES,
    optional(
        "order",
        r#"{"enum": ["CREATED_AT_ASC", "CREATED_AT_DESC", "MODIFIED_AT_ASC", "MODIFIED_AT_DESC", "LAST_CHAT_TIME_ASC", "LAST_CHAT_TIME_DESC"], "default": "LAST_CHAT_TIME_DESC"}"#,
        "By time, then by id in the same direction. `MODIFIED_AT` is the later of the document's `updatedAt` and of the \
            last change made through this API, stop and ratings among them.",
    ),
    optional(
        "pageSize",
        r#"{"type": "integer", "minimum": 1, "maximum": 50, "default": 50}"#,
        "Conversations in the answer at most.",
    ),
    optional(
        "cursor",
        TEXT,
        "Of the page before; the other parameters but `pageSize` and `variables` stay the same. It lives 24 hours and is \
            the project's; one given to an organization's key serves that key alone.",
    ),
    PROJECT,
];

const OF_ORGANIZATIONS: &[Parameter] = &[PROJECT];
const WITH_VARIABLES: &[Parameter] = &[VARIABLES, PROJECT];

/// Beside those that follow from a key and a body.
const READING: &[u16] = &[400, 404, 503];
/// An organization's key may find the id in several projects.
const CHANGING: &[u16] = &[400, 404, 409, 429, 503];

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
        parameters: OF_ORGANIZATIONS,
        request: None,
        answer: Answer::Empty,
        errors: READING,
    }
}

const fn answer(schema: &'static str, example: &'static str) -> Answer {
    Answer::Json(Content { schema, example })
}

const fn body(schema: &'static str, example: &'static str) -> Option<Content> {
    Some(Content { schema, example })
}

const CLEARING: &str = "Given fields replace, absent ones stay. Null or `\"\"` clears the assignee, the title and the \
    memo; null for `state` and `categoryIds` means absent. A blank state, an unknown category and an unknown key are \
    422, the last with a suggestion. This is no update of the document: `updatedAt` in `/conversations` stays, and \
    logging it again changes nothing that is set here.";

const fn update(method: &'static str, id: &'static str) -> Operation {
    Operation {
        request: body("ConversationInfo", INFO),
        parameters: WITH_VARIABLES,
        answer: answer("ApiConversation", CONVERSATION),
        errors: CHANGING,
        ..one(method, "/webapi/v2/conversations/{id}", id, "Change a conversation", CLEARING)
    }
}

const fn title(method: &'static str, id: &'static str) -> Operation {
    let path = "/webapi/v2/conversations/{id}/title";
    let about = "Null or `\"\"` clears it: the title is then that of the first user message by time, cut to 80 characters. \
        Unknown keys are 422.";
    Operation {
        request: body("ConversationTitle", TITLE),
        parameters: WITH_VARIABLES,
        answer: answer("ApiConversation", CONVERSATION),
        errors: CHANGING,
        ..one(method, path, id, "Set a conversation's title", about)
    }
}

pub(crate) static OPERATIONS: &[Operation] = &[
    Operation {
        parameters: LIST_PARAMETERS,
        answer: answer("ApiConversationList", LIST),
        errors: READING,
        ..one(
            "GET",
            "/webapi/v2/conversations",
            "apiListConversations",
            "List conversations",
            "Page by page; `cursor` is null at the end. A page may hold fewer than `pageSize` and still have a cursor.\n\n\
                While data arrives, every conversation that was there at the first page and is not deleted is shown: \
                with `CREATED_AT_ASC` and `CREATED_AT_DESC` exactly once, with the other orders at least once. What \
                moved behind the cursor since the first page comes once more at the end of the walk, so keep the last \
                copy by id; by `CREATED_AT` only a re-log with another `createdAt` moves one.\n\n\
                The text `null` of any parameter means that it is not given, and so does nothing as that of \
                `searchTerm`, `userIds` or `cursor`; nothing as that of another is 400. Unknown parameters are ignored.",
        )
    },
    Operation {
        request: body("BulkUpdate", BULK),
        errors: CHANGING,
        ..one(
            "POST",
            "/webapi/v2/conversations/bulk_update",
            "apiBulkUpdate",
            "Change many conversations at once",
            "Filters combine with AND, and at least one must have a value. The change is atomic. Given fields of \
                `conversationInfo` replace, absent ones stay; null or `\"\"` clears the assignee and the title, null for \
                `state` and `categoryIds` means absent. A memo is set on one conversation only.\n\n\
                Unknown keys, a misspelt filter among them, are 422 with a suggestion. With an organization's key, \
                matches in several projects are 409 that lists them; `projectId` then names one.",
        )
    },
    Operation {
        parameters: &[
            Parameter {
                name: "startDate",
                description: "The first day, of the years 0001 to 9999.",
                schema: r#"{"type": "string", "format": "date", "examples": ["2024-08-26"]}"#,
                required: true,
            },
            Parameter {
                name: "endDate",
                description: "The last day; at most 3,660 days.",
                schema: r#"{"type": "string", "format": "date", "examples": ["2024-08-27"]}"#,
                required: true,
            },
            optional("timeZone", TEXT, "IANA name in any letter case; days are local to it. Default UTC."),
            PROJECT,
        ],
        answer: answer("DailyCounts", r#"{"counts": [{"date": "2024-08-26", "count": 17}]}"#),
        errors: READING,
        ..one(
            "GET",
            "/webapi/v2/conversations/daily_count",
            "apiDailyCount",
            "Count conversations day by day",
            "By `createdAt`; days without conversations are 0.",
        )
    },
    Operation {
        parameters: WITH_VARIABLES,
        answer: answer("ApiConversation", CONVERSATION),
        errors: READING,
        ..one(
            "GET",
            "/webapi/v2/conversations/{id}",
            "apiGetConversation",
            "Get a conversation with its most recent 20 chats",
            "Times are epoch milliseconds. `variables` holds the named properties only. The chats are the latest 20 by \
                time, ascending.",
        )
    },
    update("PUT", "apiUpdateConversation"),
    update("PATCH", "apiPatchConversation"),
    Operation {
        errors: CHANGING,
        ..one(
            "DELETE",
            "/webapi/v2/conversations/{id}",
            "apiDeleteConversation",
            "Delete a conversation",
            "It is gone from every answer at once.",
        )
    },
    Operation {
        parameters: &[
            optional("pageNo", r#"{"type": "integer", "minimum": 1, "default": 1}"#, "From 1. Pages have 100 chats."),
            PROJECT,
        ],
        answer: answer("ChatList", CHATS),
        errors: READING,
        ..one(
            "GET",
            "/webapi/v2/conversations/{id}/chats",
            "apiListChats",
            "List the chats of a conversation",
            "Ascending by time. A message without a time takes that of the message before it in the document, the first \
                one the conversation's `createdAt`; messages of one time stay in the document's order.",
        )
    },
    Operation {
        answer: answer("Chat", CHAT),
        errors: READING,
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
        errors: CHANGING,
        ..one(
            "POST",
            "/webapi/v2/conversations/{id}/chats/{chatId}/feedback",
            "apiRateChat",
            "Rate a chat",
            "The same feedback as that of `/feedback`: true is positive, false negative; `feedbackSelection` is its \
                reason's label, `suggestedAnswer` its details. With the header `AGENT-EMAIL` it is the agent's rating.\n\n\
                There is one rating of each agent (`AGENT-EMAIL`) and of each user (`OWN-USER-ID`, else the caller's \
                key); `rating` and `agentRating` show the newest. Null removes only what this API gave for that agent or \
                user, and the newest one left shows; feedback logged by `POST /feedback` is never removed.\n\n\
                `userProperties` of the feedback are `{userId, email}` as the headers say, by an agent also \
                `supportAgentEmail` and `userType: \"agent\"`, so `/query/feedback` can tell them apart.",
        )
    },
    Operation {
        answer: answer("Running", r#"{"isRunning": false}"#),
        errors: READING,
        ..one(
            "GET",
            "/webapi/v2/conversations/{id}/running",
            "apiIsRunning",
            "Whether a conversation waits for an answer",
            "It has not ended, its last message by time is the user's, and it was not stopped since.",
        )
    },
    Operation {
        errors: CHANGING,
        ..one(
            "POST",
            "/webapi/v2/conversations/{id}/stop",
            "apiStopConversation",
            "Stop a running conversation",
            "It no longer counts as running until the user's next message. One that does not run: 200.",
        )
    },
    Operation {
        errors: CHANGING,
        ..one(
            "POST",
            "/webapi/v2/conversations/{id}/end",
            "apiEndConversation",
            "End a conversation",
            "It is then no longer active. A second time: 200.",
        )
    },
    title("PUT", "apiSetTitle"),
    title("POST", "apiPostTitle"),
    title("PATCH", "apiPatchTitle"),
    Operation {
        answer: answer("CategoryList", r#"{"categories": []}"#),
        errors: READING,
        ..one(
            "GET",
            "/webapi/v2/conversation_categories",
            "apiListCategories",
            "List the categories",
            "Those of the key's project; an organization's key names one.",
        )
    },
    Operation {
        request: body("CategoryInput", r#"{"name": "Billing"}"#),
        answer: answer("Category", CATEGORY),
        errors: CHANGING,
        ..one(
            "POST",
            "/webapi/v2/conversation_categories",
            "apiCreateCategory",
            "Create a category",
            "At most 100 in a project; names have at most 50 characters. A name that is blank or taken is 422.",
        )
    },
    Operation {
        errors: CHANGING,
        ..one(
            "DELETE",
            "/webapi/v2/conversation_categories/{categoryId}",
            "apiDeleteCategory",
            "Delete a category",
            "It is taken off its conversations, which count as modified by it.",
        )
    },
];

/// A body: an unknown key is 422.
fn only(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

pub(crate) fn schemas() -> Map<String, Value> {
    let millis = json!({"type": "integer", "description": "Epoch milliseconds."});
    let texts = json!({"type": ["array", "null"], "items": text(), "maxItems": 10_000});
    let short = json!({"type": ["string", "null"], "maxLength": 2_000});
    let rating = json!({"type": ["boolean", "null"]});
    let title = json!({"type": ["string", "null"], "description": "The link's title, else its label."});
    let citation = whole(json!({
        "clueId": nullable_text(), "source": {"enum": ["DOCUMENT", "FAQ", "WEB"]}, "title": title,
        "knowledgeBaseId": nullable_text(), "pageNo": {"type": ["integer", "null"]}, "url": nullable_text(),
        "text": nullable_text(),
    }));
    let chat = whole(json!({
        "id": text(), "sender": {"enum": ["USER", "BOT", "AGENT"]}, "message": text(), "timestamp": millis,
        "citations": list_of(citation), "rating": rating, "agentRating": rating,
    }));
    let conversation = whole(json!({
        "id": text(),
        "title": {"type": "string", "description": "The set one, else that of the first user message by time, cut to 80 characters."},
        "user": nullable("ApiUser"),
        "createdAt": millis,
        "lastChatTime": {"type": "integer", "description": "Epoch milliseconds: the greatest timestamp of its chats."},
        "isEnd": {"type": "boolean"},
        "state": {"type": "string", "description": "`no` until one is set."},
        "assignee": nullable_text(),
        "categories": {"type": "array", "items": {"type": "string"}, "description": "Names."},
        "memo": {"type": "string", "description": "Empty until one is set."},
        "chats": {"type": "array", "items": reference("Chat"), "description": "The most recent 20, ascending."},
        "chatCount": {"type": "integer"},
        "llmApp": nullable("LlmApp"),
        "variables": {"type": "object", "additionalProperties": true},
    }));
    let mut user = whole(json!({"userId": text(), "firstName": text(), "lastName": text()}));
    if let Some(members) = user.as_object_mut() {
        let about = "`userId` of the document's user, else `id`, an empty one counting as absent. Null where neither an id \
            nor a name is given.";
        members.insert("description".to_owned(), json!(about));
    }
    let state = json!({"type": ["string", "null"], "minLength": 1, "maxLength": 2_000, "description": "Not blank."});
    let of_many = json!({"state": state, "assignee": short, "title": short, "categoryIds": texts});
    let mut of_one = of_many.clone();
    if let Some(members) = of_one.as_object_mut() {
        members.insert("memo".to_owned(), short.clone());
    }
    let all = [
        ("Chat", chat),
        ("ChatList", whole(json!({"chats": list_of(reference("Chat"))}))),
        ("ApiUser", user),
        ("LlmApp", whole(json!({"id": text(), "name": text(), "description": text()}))),
        ("ApiConversation", conversation),
        (
            "ApiConversationList",
            whole(json!({"conversations": list_of(reference("ApiConversation")), "cursor": nullable_text()})),
        ),
        ("ConversationInfo", only(of_one, &[])),
        ("ConversationTitle", only(json!({ "title": short }), &["title"])),
        (
            "BulkUpdate",
            only(
                json!({
                    "userIds": texts, "llmAppIds": texts, "categoryIds": texts, "conversationIds": texts,
                    "conversationInfo": reference("BulkInfo"),
                }),
                &["conversationInfo"],
            ),
        ),
        ("BulkInfo", only(of_many, &[])),
        (
            "ChatFeedback",
            only(
                json!({"rating": rating, "feedbackSelection": short, "suggestedAnswer": nullable_text()}),
                &["rating"],
            ),
        ),
        ("Running", whole(json!({"isRunning": {"type": "boolean"}}))),
        (
            "DailyCounts",
            whole(json!({"counts": list_of(whole(json!({"date": text(), "count": {"type": "integer"}})))})),
        ),
        ("Category", whole(json!({"categoryId": text(), "name": text()}))),
        (
            "CategoryInput",
            only(
                json!({"name": {"type": "string", "minLength": 1, "maxLength": 50, "description": "Not blank."}}),
                &["name"],
            ),
        ),
        ("CategoryList", whole(json!({"categories": list_of(reference("Category"))}))),
    ];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}
