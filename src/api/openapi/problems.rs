//! The errors that routes share (contract A1).

use serde_json::{Map, Value, json};

use super::schema;

struct Kind {
    status: u16,
    /// Of the component.
    name: &'static str,
    title: &'static str,
    code: &'static str,
    when: &'static str,
    detail: &'static str,
}

const fn kind(
    status: u16,
    name: &'static str,
    title: &'static str,
    code: &'static str,
    when: &'static str,
    detail: &'static str,
) -> Kind {
    Kind { status, name, title, code, when, detail }
}

static KINDS: [Kind; 11] = [
    kind(
        400,
        "BadRequest",
        "Bad Request",
        "bad_request",
        "The body is not JSON, or a query parameter is wrong.",
        "the body is not JSON: a value is needed at byte 0",
    ),
    kind(
        401,
        "Unauthorized",
        "Unauthorized",
        "unauthorized",
        "No key, or one that is unknown, expired or revoked.",
        "the key is unknown, expired or revoked",
    ),
    kind(
        403,
        "Forbidden",
        "Forbidden",
        "forbidden",
        "A key of this kind may not do this, or another project than the key's (for web keys: another integration) is named.",
        "a key of kind web may not do this",
    ),
    kind(
        404,
        "NotFound",
        "Not Found",
        "not_found",
        "Nothing of this name in the projects that the key reaches.",
        "no such conversation",
    ),
    kind(
        409,
        "Conflict",
        "Conflict",
        "conflict",
        "The request names several things that are not one, or (web keys) an id or externalId that the key does not reach.",
        "id and externalId belong to two conversations",
    ),
    kind(
        413,
        "PayloadTooLarge",
        "Payload Too Large",
        "payload_too_large",
        "The body has over 2,097,152 bytes, perhaps only once decompressed.",
        "the body is larger than the limit of 2097152 bytes",
    ),
    kind(
        415,
        "UnsupportedMediaType",
        "Unsupported Media Type",
        "unsupported_media_type",
        "The body's `Content-Type` is not `application/json`, or its `Content-Encoding` is unknown.",
        "Content-Type: application/json in UTF-8 is needed",
    ),
    kind(
        422,
        "UnprocessableEntity",
        "Unprocessable Entity",
        "unprocessable_entity",
        "JSON, but against a rule; `detail` names the place and what is allowed there. Also a query over its time or memory limit.",
        "where.condition.operator: unknown operator `equals`; did you mean `eq`? allowed: `eq`, `neq`, …",
    ),
    kind(
        429,
        "TooManyRequests",
        "Too Many Requests",
        "too_many_requests",
        "The key or its organization has its share or its rate, or more is being logged than the store takes.",
        "more is being logged than the store takes; try again later",
    ),
    kind(
        500,
        "InternalServerError",
        "Internal Server Error",
        "internal_server_error",
        "The server failed.",
        "the server failed; its log has the requestId",
    ),
    kind(
        503,
        "ServiceUnavailable",
        "Service Unavailable",
        "service_unavailable",
        "Nothing is free for anybody now (query slots, memory, connections), or the store is unavailable; `detail` says which.",
        "all query slots are taken",
    ),
];

/// A reference to the component of this status.
pub(crate) fn reference(status: u16) -> Value {
    let name = KINDS.iter().find(|kind| kind.status == status).map_or("InternalServerError", |kind| kind.name);
    json!({ "$ref": format!("#/components/responses/{name}") })
}

pub(crate) fn responses() -> Map<String, Value> {
    KINDS.iter().map(|kind| (kind.name.to_owned(), response(kind))).collect()
}

fn response(kind: &Kind) -> Value {
    let mut headers = json!({"x-request-id": {"$ref": "#/components/headers/x-request-id"}});
    if let (429 | 503, Some(headers)) = (kind.status, headers.as_object_mut()) {
        headers.insert("Retry-After".to_owned(), json!({"$ref": "#/components/headers/Retry-After"}));
    }
    let example = json!({
        "title": kind.title,
        "status": kind.status,
        "detail": kind.detail,
        "instance": "/query/conversations",
        "requestId": "1f0e6a3c-8f57-4c55-9b0e-3f6f8f1c2d4e",
        "code": kind.code,
        "error": {"code": kind.code, "message": kind.detail},
    });
    let schema = schema::reference("Problem");
    json!({
        "description": kind.when,
        "headers": headers,
        "content": {"application/problem+json": {"schema": schema, "example": example}},
    })
}
