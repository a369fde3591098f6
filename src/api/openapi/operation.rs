//! What is said about one route, and how that looks in OpenAPI.

use serde_json::{Map, Value, json};

use super::problems;
use super::schema::{parsed, reference};
use crate::auth::scopes::Access;

pub(crate) struct Operation {
    pub(crate) method: &'static str,
    /// As in the routes' table.
    pub(crate) path: &'static str,
    /// `operationId`, unique.
    pub(crate) id: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) summary: &'static str,
    /// Markdown: paragraphs, lists and code.
    pub(crate) description: &'static str,
    /// Of the query string; those of the path follow from it.
    pub(crate) parameters: &'static [Parameter],
    pub(crate) request: Option<Content>,
    pub(crate) answer: Answer,
    /// Beyond 401, 403, 429, 500 and 503, which follow from the route, and 400, 413, 415 and 422, which follow from a body.
    pub(crate) errors: &'static [u16],
}

pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// JSON Schema as text.
    pub(crate) schema: &'static str,
    pub(crate) required: bool,
}

/// A JSON body: the name of its schema, and an example as text.
pub(crate) struct Content {
    pub(crate) schema: &'static str,
    pub(crate) example: &'static str,
}

pub(crate) enum Answer {
    Json(Content),
    Csv {
        example: &'static str,
    },
    Html,
    /// 200 with an empty body.
    Empty,
}

/// Of every route of the conversation API.
const HEADERS: [&str; 3] = ["AGENT-EMAIL", "USER-EMAIL", "OWN-USER-ID"];

/// The headers as components, by their names.
pub(crate) fn header_parameters() -> Map<String, Value> {
    let texts = [
        "The agent on whose behalf the call is; recorded on what it changes. Non-ASCII as `base64:<base64>`; invalid \
            base64, an empty value or the header twice is 400, with all three headers.",
        "Limits the call to the conversations of the user with this email, in any letter case: others are 404, and in no \
            list and no count. Non-ASCII as `base64:<base64>`.",
        "Limits the call to the conversations of this user (`userProperties.userId`, else `id`): others are 404, and in \
            no list and no count. The vendor's pages say only that it identifies the user. Non-ASCII as \
            `base64:<base64>`.",
    ];
    let parameter = |(name, text): (&str, &str)| {
        let parameter =
            json!({"name": name, "in": "header", "required": false, "schema": {"type": "string"}, "description": text});
        (name.to_owned(), parameter)
    };
    HEADERS.into_iter().zip(texts).map(parameter).collect()
}

impl Content {
    fn to_json(&self) -> Value {
        json!({"application/json": {"schema": reference(self.schema), "example": parsed(self.example)}})
    }
}

impl Operation {
    #[cfg(test)]
    pub(crate) fn examples(&self) -> Vec<&'static str> {
        let answer = match &self.answer {
            Answer::Json(content) => Some(content),
            _ => None,
        };
        let schemas = self.parameters.iter().map(|parameter| parameter.schema);
        self.request.iter().chain(answer).map(|content| content.example).chain(schemas).collect()
    }

    pub(crate) fn to_json(&self, access: Access) -> Value {
        let mut responses = Map::new();
        responses.insert("200".to_owned(), self.success());
        for status in self.statuses(access) {
            responses.insert(status.to_string(), problems::reference(status));
        }
        let mut operation = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.description,
            "x-keys": keys(access),
            "responses": responses,
        });
        let parameters = self.all_parameters();
        if let Some(members) = operation.as_object_mut() {
            if !parameters.is_empty() {
                members.insert("parameters".to_owned(), Value::Array(parameters));
            }
            if let Some(request) = &self.request {
                members.insert("requestBody".to_owned(), json!({"required": true, "content": request.to_json()}));
            }
            if access == Access::Public {
                members.insert("security".to_owned(), json!([]));
            } else if self.is_conversation_api() {
                members.insert("security".to_owned(), json!([{"bearer": []}, {"apiKey": []}]));
            }
        }
        operation
    }

    fn is_conversation_api(&self) -> bool {
        self.path.starts_with("/webapi/")
    }

    fn success(&self) -> Value {
        let headers = json!({"x-request-id": {"$ref": "#/components/headers/x-request-id"}});
        match &self.answer {
            Answer::Json(content) => json!({"description": "Done.", "headers": headers, "content": content.to_json()}),
            Answer::Csv { example } => json!({
                "description": "The rows, streamed.",
                "headers": headers,
                "content": {"text/csv": {"schema": {"type": "string"}, "example": example}},
            }),
            Answer::Html => json!({
                "description": "A page.",
                "headers": headers,
                "content": {"text/html": {"schema": {"type": "string"}}},
            }),
            Answer::Empty => json!({"description": "Done; the body is empty.", "headers": headers}),
        }
    }

    fn statuses(&self, access: Access) -> Vec<u16> {
        let mut statuses = vec![500];
        if access != Access::Public {
            statuses.extend([401, 403, 429, 503]);
        }
        if self.request.is_some() {
            statuses.extend([400, 413, 415, 422]);
        }
        statuses.extend(self.errors);
        statuses.sort_unstable();
        statuses.dedup();
        statuses
    }

    fn all_parameters(&self) -> Vec<Value> {
        let in_path = self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let in_path = in_path.map(|name| {
            json!({
                "name": name, "in": "path", "required": true, "schema": {"type": "string"},
                "description": "Percent-encoded.",
            })
        });
        let headers: &[&str] = if self.is_conversation_api() { &HEADERS } else { &[] };
        let in_header = headers.iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }));
        let in_query = self.parameters.iter().map(|parameter| {
            json!({
                "name": parameter.name, "in": "query", "required": parameter.required,
                "schema": parsed(parameter.schema), "description": parameter.description,
            })
        });
        in_path.chain(in_query).chain(in_header).collect()
    }
}

/// The kinds of keys that may call a route.
fn keys(access: Access) -> Value {
    match access {
        Access::Public => json!([]),
        Access::Everyone => json!(["web", "api", "org"]),
        Access::Queriers => json!(["api", "org", "web with scope query"]),
        Access::Operators => json!(["org"]),
        Access::Readers | Access::ConversationApi => json!(["api", "org"]),
    }
}
