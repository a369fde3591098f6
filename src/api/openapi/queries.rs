//! `/query/…` (contract A3 and A4).

use super::conversations::PROJECT;
use super::operation::{Answer, Content, Operation, Parameter};

const TAG: &str = "Queries";

const QUERY: &str = r#"{
  "select": [
    {"type": "aggregation", "aggregation": "count"},
    {"type": "aggregation", "aggregation": "avg", "field": "properties", "path": ["score"]}
  ],
  "groupBy": [{"field": "properties", "path": ["plan"]}],
  "where": {"condition": {"field": "type", "operator": "eq", "value": "openai"}},
  "orderBy": [{"field": "count", "direction": "desc"}]
}"#;

const ROWS: &str = r#"{
  "status": "ok",
  "data": {
    "result": [
      {"count": 812, "avg_properties.score": 0.8125, "properties.plan": "pro"},
      {"count": 77, "properties.plan": null}
    ],
    "total": 2, "pageSize": 10000, "count": 2
  }
}"#;

const EXPORT: &str = r#"{
  "select": [{"type": "field", "field": "id"}, {"type": "field", "field": "properties"}],
  "csvFormulaSafe": true
}"#;

const COUNT: &str = r#"{"select": [{"type": "aggregation", "aggregation": "count"}]}"#;
const COUNTED: &str =
    r#"{"status": "ok", "data": {"result": [{"count": 41}], "total": 1, "pageSize": 10000, "count": 1}}"#;
const ALL: &str = r#"{"select": [{"type": "field", "field": "id"}, {"type": "field", "field": "projectId"}]}"#;
const ALL_CSV: &str = "id,projectId\r\n1,help\r\n";

const ANNOTATIONS: &str = r#"{"isOnTopic": true, "subject": "API keys", "firstPartyEntities": ["dashboard"]}"#;
const ANNOTATED: &str = r#"{
  "id": "5f0c8e2f9d3a4b1c8e7f6a5b4c3d2e1f", "question": "How do I rotate the key?", "answer": "In the settings.",
  "isOnTopic": true, "subject": "API keys", "firstPartyEntities": ["dashboard"], "isClear": null
}"#;

const QUERY_TEXT: &str = "`select` names the columns, `groupBy` the groups, `where` the rows, `orderBy` their order; all are \
    optional, and `{}` gives every row's published fields.\n\n\
    - A path into a JSON field compares by JSON type, as PostgreSQL's `jsonb`; as a column it is text.\n\
    - Absent values satisfy no comparison, only `isNull`.\n\
    - `sum` and `avg` are exact sums rounded once: they do not depend on the order of rows.\n\
    - Time buckets are ISO, in UTC unless `timeZone` says otherwise, and shown as their first instant.\n\
    - A query over its deadline or memory limit is 422 and names the limit.";

const EXPORT_TEXT: &str = "The rows of the same query as CSV: RFC 4180, UTF-8, lines end in CR LF, a header line always, \
    no default limit, streamed.\n\n\
    - A whole JSON field is a column for each key (`properties.plan`), sorted by name; with `\"mode\": \"json\"` it is one \
    column with its JSON text. Lists and objects within are JSON text.\n\
    - Null is an empty cell, the empty string is `\"\"`. A line of one null cell is `\"\"` too.\n\
    - `csvFormulaSafe` puts an apostrophe before text cells that a spreadsheet would run as a formula.\n\
    - At most 10,000 columns. If the server fails on the way it breaks the connection off.";

const WEB_PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "after",
        description: "Events from this time or date on; all unless given.",
        schema: r#"{"type": "string", "format": "date-time"}"#,
        required: false,
    },
    Parameter {
        name: "project_id",
        description: "The key's own, or with an `org` key the one meant.",
        schema: r#"{"type": "string"}"#,
        required: false,
    },
];

const fn query(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    request: Content,
    answer: Content,
) -> Operation {
    let answer = Answer::Json(answer);
    Operation {
        method: "POST",
        path,
        id,
        tag: TAG,
        summary,
        description: QUERY_TEXT,
        parameters: &[],
        request: Some(request),
        answer,
        errors: &[503],
    }
}

const fn export(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    request: Content,
    example: &'static str,
) -> Operation {
    let answer = Answer::Csv { example };
    Operation {
        method: "POST",
        path,
        id,
        tag: TAG,
        summary,
        description: EXPORT_TEXT,
        parameters: &[],
        request: Some(request),
        answer,
        errors: &[503],
    }
}

pub(crate) static OPERATIONS: &[Operation] = &[
    query(
        "/query/conversations",
        "queryConversations",
        "Query conversations",
        Content { schema: "ConversationsQuery", example: QUERY },
        Content { schema: "ConversationsRows", example: ROWS },
    ),
    query(
        "/query/events",
        "queryEvents",
        "Query events",
        Content { schema: "EventsQuery", example: COUNT },
        Content { schema: "EventsRows", example: COUNTED },
    ),
    query(
        "/query/feedback",
        "queryFeedback",
        "Query feedback",
        Content { schema: "FeedbackQuery", example: COUNT },
        Content { schema: "FeedbackRows", example: COUNTED },
    ),
    query(
        "/query/semantic-threads",
        "querySemanticThreads",
        "Query threads: a user's question and the answer to it",
        Content { schema: "SemanticThreadsQuery", example: COUNT },
        Content { schema: "SemanticThreadsRows", example: COUNTED },
    ),
    export(
        "/query/conversations/export",
        "exportConversations",
        "Export conversations as CSV",
        Content { schema: "ConversationsExport", example: EXPORT },
        "id,properties.plan,properties.score\r\nc-1,pro,0.93\r\nc-2,,\r\n",
    ),
    export(
        "/query/events/export",
        "exportEvents",
        "Export events as CSV",
        Content { schema: "EventsExport", example: ALL },
        ALL_CSV,
    ),
    export(
        "/query/feedback/export",
        "exportFeedback",
        "Export feedback as CSV",
        Content { schema: "FeedbackExport", example: ALL },
        ALL_CSV,
    ),
    export(
        "/query/semantic-threads/export",
        "exportSemanticThreads",
        "Export threads as CSV",
        Content { schema: "SemanticThreadsExport", example: ALL },
        ALL_CSV,
    ),
    Operation {
        method: "PATCH",
        path: "/semantic-threads/{id}",
        id: "annotateSemanticThread",
        tag: TAG,
        summary: "Set what people or models say of a thread",
        description: "Sets the given fields, null clears. What is set stays when the conversation is logged again with \
            the same question and answer. The answer is the thread's row.",
        parameters: &[PROJECT],
        request: Some(Content { schema: "ThreadAnnotations", example: ANNOTATIONS }),
        answer: Answer::Json(Content { schema: "SemanticThread", example: ANNOTATED }),
        errors: &[404, 429, 503],
    },
    Operation {
        method: "POST",
        path: "/query/property-keys",
        id: "listPropertyKeys",
        tag: TAG,
        summary: "List the keys of properties",
        description: "The distinct top-level keys of the rows that match, sorted by code point.",
        parameters: &[],
        request: Some(Content { schema: "PropertyKeysRequest", example: r#"{"field": "properties"}"# }),
        answer: Answer::Json(Content { schema: "PropertyResults", example: r#"{"results": ["plan", "score"]}"# }),
        errors: &[503],
    },
    Operation {
        method: "POST",
        path: "/query/property-values",
        id: "listPropertyValues",
        tag: TAG,
        summary: "List the values of a property",
        description: "The distinct values at a top-level key, as text, without null: the first `limit` by code point.",
        parameters: &[],
        request: Some(Content {
            schema: "PropertyValuesRequest",
            example: r#"{"field": "properties", "key": "plan", "limit": 10}"#,
        }),
        answer: Answer::Json(Content { schema: "PropertyResults", example: r#"{"results": ["free", "pro"]}"# }),
        errors: &[503],
    },
    Operation {
        method: "GET",
        path: "/query/top-search-queries",
        id: "topSearchQueries",
        tag: TAG,
        summary: "The most frequent searches",
        description: "Over events of entityType `search`: exact text, by count descending, then by text; at most 100. \
            `count` is a string.",
        parameters: WEB_PARAMETERS,
        request: None,
        answer: Answer::Json(Content {
            schema: "TopSearchQueries",
            example: r#"{"data": {"result": [{"search_query": "rotate key", "count": "17"}], "total": 1}}"#,
        }),
        errors: &[400, 503],
    },
    Operation {
        method: "GET",
        path: "/query/weekly-search-users",
        id: "weeklySearchUsers",
        tag: TAG,
        summary: "How many users searched, week by week",
        description: "ISO weeks, ascending. A user is `userProperties.userId`, else `id`; events without one do not \
            count. `unique_users` is a string.",
        parameters: WEB_PARAMETERS,
        request: None,
        answer: Answer::Json(Content {
            schema: "WeeklySearchUsers",
            example: r#"{"data": {"result": [{"week": "2024-08-26T00:00:00.000Z", "unique_users": "5"}], "total": 1}}"#,
        }),
        errors: &[400, 503],
    },
];
