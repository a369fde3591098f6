//! The shapes of conversations and queries. Those of queries are made from the views and the words that the checker
//! knows, so that they cannot lag behind.

use serde_json::{Map, Value, json};

use super::schema::{
    closed, list_of, nullable, nullable_text, nullable_texts, nullable_time, object, optional, reference, text, time,
    whole,
};
use crate::model::thread_annotations::ANNOTATIONS;
use crate::query::check::{Vocabulary, vocabulary};
use crate::query::view::{self, FieldKind, View};

/// The views that can be queried, by the prefix of their schemas' names.
static VIEWS: [(&str, &View); 4] = [
    ("Conversations", &view::CONVERSATIONS),
    ("Events", &view::EVENTS),
    ("Feedback", &view::FEEDBACK),
    ("SemanticThreads", &view::SEMANTIC_THREADS),
];

pub(crate) fn schemas() -> Map<String, Value> {
    let mut schemas = Map::new();
    let mut add = |name: &str, schema: Value| {
        schemas.insert(name.to_owned(), schema);
    };
    add("Problem", problem());
    add("Health", object(json!({"status": {"const": "ok"}}), &["status"]));
    add("Ready", object(json!({"status": {"const": "ready"}}), &["status"]));
    add("Status", status());
    add(
        "OpenApi",
        object(
            json!({"openapi": text(), "info": {"type": "object"}, "paths": {"type": "object"}}),
            &["openapi", "info", "paths"],
        ),
    );
    add("Deleted", object(json!({"success": {"const": true}, "message": {"type": "string"}}), &["success", "message"]));
    add("Properties", properties());
    add("UserProperties", user_properties());
    add("Link", link());
    add("ToolCall", tool_call());
    add("ContentPart", content_part());
    add("MessageInput", message_input());
    add("ConversationInput", conversation_input());
    add("Message", message());
    add("OpenAIMessage", openai_message());
    add("Conversation", conversation());
    add("ConversationList", conversation_list());
    let words = vocabulary();
    for (prefix, view) in VIEWS {
        add(&format!("{prefix}Query"), query(prefix, view, &words, false));
        add(&format!("{prefix}Export"), query(prefix, view, &words, true));
        add(&format!("{prefix}Filter"), filter(prefix, view, &words));
        add(&format!("{prefix}Rows"), rows(view));
    }
    add("Having", having());
    add("ThreadAnnotations", thread_annotations());
    add("SemanticThread", json!({"type": "object", "properties": fields(&view::SEMANTIC_THREADS)}));
    add("PropertyKeysRequest", property_request(&words, false));
    add("PropertyValuesRequest", property_request(&words, true));
    add("PropertyResults", object(json!({"results": {"type": "array", "items": {"type": "string"}}}), &["results"]));
    schemas
}

fn status() -> Value {
    let count = || json!({"type": "integer", "minimum": 0});
    let by_name = |of: Value| json!({"type": "object", "additionalProperties": of});
    let level = whole(json!({"files": count(), "bytes": count(), "rows": count()}));
    let table = object(
        json!({
            "files": count(), "bytes": count(), "rows": count(), "deletedRows": count(), "levels": by_name(level),
        }),
        &["files", "bytes", "rows", "levels"],
    );
    let work = object(
        json!({
            "since": time(), "flushedBytes": count(), "merges": count(), "mergedBytes": count(), "rewrites": count(),
            "rewrittenBytes": count(), "writeAmplification": {"type": "number", "minimum": 1},
            "collectedObjects": count(), "collectedBytes": count(),
            "merging": whole(json!({
                "table": text(), "files": count(), "level": count(), "rows": count(), "rowsDone": count(), "since": time(),
            })),
        }),
        &["since", "flushedBytes", "merges", "mergedBytes", "rewrites", "rewrittenBytes"],
    );
    let erasures = object(
        json!({"waiting": count(), "done": count(), "files": count(), "oldest": time(), "due": time()}),
        &["waiting", "done", "files"],
    );
    let cache = || whole(json!({"bytes": count(), "capacity": count()}));
    object(
        json!({
            "version": text(),
            "waitingFor": {"type": "string", "description": "Why no changes are taken; absent where they are."},
            "commit": count(), "commitTime": time(),
            "tables": by_name(table),
            "objects": by_name(whole(json!({"objects": count(), "bytes": count()}))),
            "tail": whole(json!({"rows": count(), "bytes": count()})),
            "imports": by_name(whole(json!({"lines": count(), "finished": {"type": "boolean"}}))),
            "erasures": erasures,
            "work": work,
            "requests": by_name(count()),
            "caches": object(json!({"memory": cache(), "disk": cache()}), &["memory"]),
        }),
        &["version", "commit", "tables", "objects", "tail", "imports", "erasures", "work", "requests", "caches"],
    )
}

fn problem() -> Value {
    whole(json!({
        "title": text(),
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "The place in the request, and what is allowed there."},
        "instance": {"type": "string", "description": "The request's path."},
        "requestId": text(),
        "code": text(),
        "error": whole(json!({"code": text(), "message": text()})),
    }))
}

fn properties() -> Value {
    json!({
        "type": "object",
        "additionalProperties": true,
        "description": "Any JSON object of at most 32 levels. Comes back exactly as given, numbers as spelled.",
    })
}

fn user_properties() -> Value {
    let id = json!({"type": ["string", "number", "null"]});
    json!({
        "type": "object",
        "properties": {
            "id": id,
            "userId": id,
            "identificationType": nullable_text(),
            "supportAgentName": nullable_text(),
            "supportAgentEmail": nullable_text(),
            "userType": nullable_text(),
        },
        "additionalProperties": true,
        "description": "Who is talking. Any other key is allowed.",
    })
}

fn link() -> Value {
    json!({
        "type": "object",
        "properties": {
            "label": nullable_text(),
            "url": text(),
            "title": nullable_text(),
            "description": nullable_text(),
            "type": {"type": ["string", "null"], "examples": ["documentation", "site", "discourse_post", "github_issue",
                "github_discussion", "stackoverflow_question", "discord_forum_post", "discord_message",
                "custom_question_answer"]},
            "breadcrumbs": nullable_texts(),
        },
        "required": ["url"],
    })
}

fn tool_call() -> Value {
    let function = json!({"type": "object", "properties": {"name": text(), "arguments": {"type": "string",
        "description": "JSON text."}}, "required": ["name", "arguments"]});
    json!({
        "type": "object",
        "properties": {"id": text(), "type": {"const": "function"}, "function": function},
        "required": ["id", "type", "function"],
    })
}

fn content_part() -> Value {
    let url = json!({"type": ["object", "null"], "properties": {"url": text(), "detail": {"type": ["string", "null"],
        "enum": ["auto", "low", "high", null]}}, "required": ["url"]});
    json!({
        "type": "object",
        "properties": {"type": {"enum": ["text", "image_url"]}, "text": nullable_text(), "image_url": url},
        "required": ["type"],
    })
}

fn content() -> Value {
    json!({
        "oneOf": [{"type": "string"}, {"type": "array", "items": reference("ContentPart")}, {"type": "null"}],
        "description": "`openai`: a string or a list of parts. Support types: a string or null.",
    })
}

fn message_input() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": {"type": ["string", "null"], "description": "Made when absent; a message that is logged again keeps its own."},
            "type": {"type": ["string", "null"], "description": "The conversation's, if given."},
            "externalId": nullable_text(),
            "externalUrl": nullable_text(),
            "createdAt": nullable_time(),
            "updatedAt": nullable_time(),
            "role": {"type": "string", "description": "`openai`: `system`, `user` or `assistant`. Support types: any."},
            "content": content(),
            "name": nullable_text(),
            "links": {"type": ["array", "null"], "items": reference("Link")},
            "tool_calls": {"type": ["array", "null"], "items": reference("ToolCall"), "description": "`openai` only."},
            "properties": nullable("Properties"),
            "userProperties": nullable("UserProperties"),
        },
        "required": ["role"],
    })
}

fn conversation_input() -> Value {
    json!({
        "type": "object",
        "description": "Every optional field may also be null, which means absent. Unknown fields are ignored.",
        "properties": {
            "id": {"type": ["string", "null"], "description": "At most 512 bytes. Made when absent."},
            "externalId": {"type": ["string", "null"], "description": "The conversation's id elsewhere; finds it where `id` is absent."},
            "externalUrl": nullable_text(),
            "type": {"enum": ["openai", "support_ticket", "support_copilot"]},
            "supportTicketConversationId": nullable_text(),
            "createdAt": nullable_time(),
            "updatedAt": nullable_time(),
            "projectId": {"type": ["string", "null"], "description": "The key's own; needed with an `org` key."},
            "integrationId": nullable_text(),
            "properties": nullable("Properties"),
            "userProperties": nullable("UserProperties"),
            "tags": nullable_texts(),
            "visibility": {"type": ["string", "null"], "enum": ["private", "public", null]},
            "messages": {"type": "array", "minItems": 1, "items": reference("MessageInput")},
        },
        "required": ["type", "messages"],
    })
}

fn message() -> Value {
    let mut message = whole(json!({
        "id": text(),
        "type": text(),
        "externalId": nullable_text(),
        "externalUrl": nullable_text(),
        "conversationId": text(),
        "createdAt": time(),
        "updatedAt": time(),
        "role": text(),
        "content": content(),
        "name": nullable_text(),
        "links": {"type": ["array", "null"], "items": reference("Link")},
        "properties": nullable("Properties"),
        "userProperties": nullable("UserProperties"),
        "tool_calls": {"type": ["array", "null"], "items": reference("ToolCall"), "description": "`openai` only."},
    }));
    optional(&mut message, "tool_calls");
    message
}

fn openai_message() -> Value {
    let mut message = whole(json!({
        "role": text(),
        "name": nullable_text(),
        "content": content(),
        "tool_calls": {"type": ["array", "null"], "items": reference("ToolCall")},
    }));
    optional(&mut message, "tool_calls");
    optional(&mut message, "name");
    message
}

fn conversation() -> Value {
    let mut conversation = whole(json!({
        "id": text(),
        "externalId": nullable_text(),
        "externalUrl": nullable_text(),
        "type": text(),
        "supportTicketConversationId": nullable_text(),
        "createdAt": time(),
        "updatedAt": time(),
        "projectId": text(),
        "integrationId": nullable_text(),
        "properties": nullable("Properties"),
        "userProperties": nullable("UserProperties"),
        "tags": nullable_texts(),
        "visibility": nullable_text(),
        "messages": list_of(reference("Message")),
        "messagesOpenAIFormat": {"type": "array", "items": reference("OpenAIMessage"), "description": "`openai` only."},
    }));
    optional(&mut conversation, "messagesOpenAIFormat");
    conversation
}

fn conversation_list() -> Value {
    whole(json!({
        "conversations": list_of(reference("Conversation")),
        "total": {"type": "integer", "description": "All there are."},
        "pageSize": {"type": "integer", "description": "The limit."},
        "count": {"type": "integer", "description": "Those in this answer."},
    }))
}

fn field_names(view: &View) -> Value {
    json!({"enum": view.fields.iter().map(|field| field.name).collect::<Vec<_>>()})
}

fn path() -> Value {
    json!({
        "type": ["array", "null"], "items": {"type": "string"}, "maxItems": 32,
        "description": "Into a JSON field: keys, and positions of lists (negative from the end).",
    })
}

fn query(prefix: &str, view: &View, words: &Vocabulary, export: bool) -> Value {
    let field = field_names(view);
    let times: Vec<_> = view.fields.iter().filter(|field| field.kind == FieldKind::Time).map(|one| one.name).collect();
    let shown_or_not = json!({"type": "boolean", "default": true,
        "description": "Without it the value can be used in formulas and `orderBy` only."});
    let some = json!({"anyOf": [reference(&format!("{prefix}Filter"))],
        "description": "The rows that it looks at. It removes no groups."});
    let aggregation = |names: Value, more: Value, required: &[&str]| {
        let mut members = json!({
            "type": {"const": "aggregation"}, "aggregation": names, "field": field, "path": path(), "as": name(),
            "filter": some, "includeInSelect": shown_or_not,
        });
        extend(&mut members, more);
        closed(members, required)
    };
    let plain: Vec<&str> = words.aggregations.iter().copied().filter(|name| *name != "percentile").collect();
    let plain = aggregation(json!({"enum": plain}), json!({}), &["type", "aggregation"]);
    let share = json!({"p": {"type": "number", "minimum": 0, "maximum": 1, "examples": [0.95]}});
    let percentile = aggregation(json!({"const": "percentile"}), share, &["type", "aggregation", "field", "p"]);
    let ends = closed(json!({"from": time_value(), "to": time_value()}), &["from", "to"]);
    let fill = json!({"oneOf": [{"type": "boolean"}, ends],
        "description": "Buckets without rows too, for every combination of the other keys: between the bounds of `where`, as far as the result reaches, or from `from` to before `to` (not for parts of a date). At most one in a request, and 100,000 rows."});
    let time = |units: Value, more: Value| {
        let mut members = json!({
            "type": {"const": "time"},
            "timeUnit": units,
            "field": {"enum": times, "default": view.default_time_field},
            "as": name(),
            "fill": fill,
        });
        extend(&mut members, more);
        closed(members, &["type", "timeUnit"])
    };
    let whole_units: Vec<&str> =
        words.time_units.iter().copied().filter(|unit| !["minute", "hour"].contains(unit)).collect();
    let units = time(json!({"enum": whole_units}), json!({}));
    let minutes =
        time(json!({"const": "minute"}), json!({"step": {"enum": [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60]}}));
    let hours = time(json!({"const": "hour"}), json!({"step": {"enum": [1, 2, 3, 4, 6, 8, 12, 24]}}));
    let formula = closed(
        json!({
            "type": {"const": "formula"},
            "formula": {"type": "string", "maxLength": 1000, "examples": ["solved / total"],
                "description": "`+ - * / ( )`, numbers, and names of numeric aggregations of `select` (in double quotes where a name is no plain word)."},
            "as": name(),
            "includeInSelect": shown_or_not,
        }),
        &["type", "formula"],
    );
    let mode = json!({
        "enum": ["unpack", "json"], "default": "unpack",
        "description": "In exports, of a whole JSON field: a column for each key, or one with its JSON text. Elsewhere without effect.",
    });
    let shown = closed(
        json!({"type": {"const": "field"}, "field": field, "path": path(), "mode": mode, "as": name()}),
        &["type", "field"],
    );
    let key = closed(
        json!({
            "field": field, "path": path(), "includeInSelect": {"type": "boolean", "default": true}, "as": name(),
            "unnest": {"oneOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}, "maxItems": 32}],
                "description": "A row counts once in each distinct element of the list, or in each value that the elements have at this path."},
            "bin": bin(),
            "top": top(),
        }),
        &["field"],
    );
    let order = closed(
        json!({
            "field": {"type": "string", "description": "An output column such as `count` or `properties.plan`, or what the query could show."},
            "direction": {"enum": ["asc", "desc"]},
        }),
        &["field", "direction"],
    );
    let limit = if export {
        json!({"type": "integer", "minimum": 1, "maximum": 100_000, "description": "All rows unless given."})
    } else {
        json!({"type": "integer", "minimum": 1, "maximum": 100_000, "default": 10_000})
    };
    let mut properties = json!({
        "select": {"type": "array", "maxItems": 100, "items": {"oneOf": [plain, percentile, units, minutes, hours, shown, formula]},
            "description": "The columns. Without `select` and `groupBy`: the published fields of each row."},
        "groupBy": {"type": "array", "maxItems": 32, "items": key},
        "where": reference(&format!("{prefix}Filter")),
        "having": reference("Having"),
        "nulls": {"type": "boolean", "default": false, "description": "Every column in every row, absent values as null."},
        "columns": {"type": "boolean", "default": false, "description": "Adds `data.columns`: names and types in order."},
        "orderBy": {"type": "array", "maxItems": 32, "items": order,
            "description": "Nulls are last; ties are broken by the group keys, or the newest first."},
        "notes": {"type": "string", "maxLength": 80, "description": "Ignored."},
        "limit": limit,
        "offset": {"type": "integer", "minimum": 0, "maximum": i64::MAX, "default": 0},
        "timeZone": {"type": "string", "default": "UTC", "description": "IANA name; time buckets are local to it.", "examples": ["Europe/Berlin"]},
        "weekStart": {"enum": words.weekdays, "default": "monday"},
    });
    if let (false, Some(members)) = (export, properties.as_object_mut()) {
        let totals = json!({"type": "boolean", "default": false,
            "description": "Adds `data.totals`: the aggregations and formulas over all rows that `where` left."});
        members.insert("totals".to_owned(), totals);
    }
    if let (true, Some(members)) = (export, properties.as_object_mut()) {
        let safe = json!({
            "type": "boolean", "default": false,
            "description": "Text cells that a spreadsheet would run as a formula (they begin with `=`, `+`, `-`, `@`, tab or carriage return) get a leading apostrophe.",
        });
        members.insert("csvFormulaSafe".to_owned(), safe);
    }
    if let (false, Some(members)) = (view.searched.is_empty(), properties.as_object_mut()) {
        let fields = view.searched.join(" or ");
        let words = json!({"type": "string", "description": format!(
            "Words that {fields} must contain, at most 100 and 3,000 characters together. Neither case nor accents nor compatibility forms count: `strasse` finds `Straße`, `deja` finds `déjà`."
        )});
        members.insert("query".to_owned(), words);
    }
    closed(properties, &[])
}

fn time_value() -> Value {
    json!({"type": ["string", "number"], "description": "ISO 8601, without a zone in `timeZone`; or epoch milliseconds."})
}

fn bin() -> Value {
    let mut bin = closed(
        json!({"width": {"type": "number", "exclusiveMinimum": 0}, "offset": {"type": "number", "default": 0}}),
        &["width"],
    );
    extend(&mut bin, json!({"description": "Of numbers: the lower bound of the bin that they lie in."}));
    bin
}

fn top() -> Value {
    let mut top = closed(
        json!({
            "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
            "by": {"type": "string", "default": "count", "description": "An aggregation or a formula."},
            "other": {"type": "string", "maxLength": 128, "description": "What the others are together, of text keys; without it they are left out."},
        }),
        &["limit"],
    );
    extend(&mut top, json!({"description": "The values that rank highest over all rows that `where` left."}));
    top
}

/// What `as` gives.
fn name() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 128, "description": "The column's name instead of the default one."})
}

fn extend(members: &mut Value, more: Value) {
    if let (Some(members), Value::Object(more)) = (members.as_object_mut(), more) {
        members.extend(more);
    }
}

fn having() -> Value {
    let operators = ["eq", "neq", "gt", "gte", "lt", "lte", "in", "notIn", "isNull", "isNotNull"];
    let condition = closed(
        json!({
            "field": {"type": "string", "description": "The name of an output column."},
            "operator": {"enum": operators},
            "value": {"description": "Of the column's type; a list for `in` and `notIn`."},
        }),
        &["field", "operator"],
    );
    let parts = json!({"type": "array", "items": reference("Having")});
    json!({
        "description": "Which groups are left: a filter over output columns, with three truth values. Exactly one of the four.",
        "oneOf": [
            closed(json!({"condition": condition}), &["condition"]),
            closed(json!({"and": parts}), &["and"]),
            closed(json!({"or": parts}), &["or"]),
            closed(json!({"not": reference("Having")}), &["not"]),
        ],
    })
}

fn filter(prefix: &str, view: &View, words: &Vocabulary) -> Value {
    let condition = closed(
        json!({
            "field": field_names(view),
            "operator": {"enum": words.operators},
            "value": {"description": "Of the field's type; a list for `in` and `notIn`. For JSON fields a JSON value, or `{\"path\": [...], \"value\": ...}` to look at a path. Not needed for `isNull` and `isNotNull`."},
        }),
        &["field", "operator"],
    );
    let parts = json!({"type": "array", "items": reference(&format!("{prefix}Filter"))});
    json!({
        "description": "Exactly one of the three, nested at will: at most 64 levels and 1,000 conditions.",
        "oneOf": [
            closed(json!({"condition": condition}), &["condition"]),
            closed(json!({"and": parts}), &["and"]),
            closed(json!({"or": parts}), &["or"]),
        ],
    })
}

/// Rows hold what was asked for; here are the fields by their plain names.
fn fields(view: &View) -> Map<String, Value> {
    view.fields
        .iter()
        .map(|field| {
            let schema = match field.kind {
                FieldKind::Text | FieldKind::Binary => nullable_text(),
                FieldKind::Time => json!({"type": ["string", "null"], "format": "date-time"}),
                FieldKind::Integer => json!({"type": ["integer", "null"]}),
                FieldKind::Boolean => json!({"type": ["boolean", "null"]}),
                FieldKind::TextList => nullable_texts(),
                FieldKind::Json => json!({"type": ["object", "array", "null"]}),
            };
            (field.name.to_owned(), schema)
        })
        .collect()
}

/// What is set of a thread.
fn thread_annotations() -> Value {
    let of_threads = fields(&view::SEMANTIC_THREADS);
    let known = ANNOTATIONS.iter().filter_map(|(name, _)| Some(((*name).to_owned(), of_threads.get(*name)?.clone())));
    closed(Value::Object(known.collect()), &[])
}

fn rows(view: &View) -> Value {
    let fields = fields(view);
    let row = json!({
        "type": "object",
        "properties": fields,
        "additionalProperties": {"type": ["string", "number", "boolean", "array", "object", "null"]},
        "description": "The selected columns: `<field>`, `<field>.<path>`, `<field>_<unit>`, `<aggregation>` or `<aggregation>_<field>[.<path>]`. Aggregations but `count` and `countDistinct` are left out where there was nothing to compute.",
    });
    let column = whole(json!({
        "name": text(), "type": {"enum": ["string", "number", "boolean", "time", "json", "list"]},
    }));
    let mut data = whole(json!({
        "totals": {"type": "object", "description": "If asked for."},
        "columns": list_of(column),
        "result": list_of(row),
        "total": {"type": "integer", "description": "All results that match."},
        "pageSize": {"type": "integer", "description": "The limit."},
        "count": {"type": "integer", "description": "The rows in this answer; fewer than `total` if it was cut."},
    }));
    optional(&mut data, "totals");
    optional(&mut data, "columns");
    whole(json!({"status": {"const": "ok"}, "data": data}))
}

fn property_request(words: &Vocabulary, values: bool) -> Value {
    let mut properties = json!({
        "field": {"enum": ["properties", "userProperties"]},
        "views": {"type": "array", "items": {"enum": words.views}, "description": "All unless given. One that lacks a field of `where` is left out."},
        "where": reference("ConversationsFilter"),
    });
    if let (true, Some(members)) = (values, properties.as_object_mut()) {
        members.insert("key".to_owned(), json!({"type": "string", "description": "A top-level key of the field."}));
        members.insert("limit".to_owned(), json!({"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100}));
    }
    closed(properties, if values { &["field", "key"] } else { &["field"] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::check::request_keys;

    #[test]
    fn queries_document_every_key() {
        let words = vocabulary();
        for export in [false, true] {
            let schema = query("Conversations", &view::CONVERSATIONS, &words, export);
            let documented: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            let mut keys: Vec<&str> = request_keys(export).collect();
            keys.sort_unstable();
            assert_eq!(documented, keys);
        }
    }
}
