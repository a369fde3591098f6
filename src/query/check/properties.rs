//! `POST /query/property-keys` and `POST /query/property-values` (contract A4).

use super::context::Context;
use super::filter::filter;
use super::reader::{At, Object, integer, list, parse, quoted, string, word};
use crate::model::json::value::Json;
use crate::query::dsl::{PropertyQuery, Query};
use crate::query::error::QueryError;
use crate::query::view::{self, FieldKind, View};

/// Every view by its name here. Known names without a view have no rows yet.
pub(crate) static VIEWS: [(&str, Option<&View>); 4] = [
    ("conversations_view", Some(&view::CONVERSATIONS)),
    ("events_view", Some(&view::EVENTS)),
    ("feedback_view", Some(&view::FEEDBACK)),
    ("semantic_threads_view", Some(&view::SEMANTIC_THREADS)),
];

const FIELDS: [(&str, &str); 2] = [("properties", "properties"), ("userProperties", "userProperties")];
const MOST_VIEWS: usize = 100;
const DEFAULT_LIMIT: usize = 100;
const LARGEST_LIMIT: u64 = 1_000;

/// # Errors
/// [`QueryError::Syntax`] if the body is not JSON, else [`QueryError::Invalid`].
pub(crate) fn check_property_keys(body: &[u8]) -> Result<PropertyQuery, QueryError> {
    let body = parse(body)?;
    let root = At::ROOT;
    let request = Object::read(&body, &root, &["field", "views", "where"])?;
    let (field, rows) = rows(&request, &root)?;
    Ok(PropertyQuery { rows, field, key: None, limit: usize::MAX })
}

/// # Errors
/// As [`check_property_keys`].
pub(crate) fn check_property_values(body: &[u8]) -> Result<PropertyQuery, QueryError> {
    let body = parse(body)?;
    let root = At::ROOT;
    let request = Object::read(&body, &root, &["field", "key", "views", "where", "limit"])?;
    let (field, rows) = rows(&request, &root)?;
    let key = string(request.required("key", "a key of the field")?, &root.key("key"))?.to_owned();
    let limit = match request.get("limit") {
        Some(limit) => integer(limit, &root.key("limit"), 1, LARGEST_LIMIT)?,
        None => DEFAULT_LIMIT,
    };
    Ok(PropertyQuery { rows, field, key: Some(key), limit })
}

fn rows(request: &Object<'_>, root: &At<'_>) -> Result<(&'static str, Vec<Query>), QueryError> {
    let field = request.required("field", "`properties` or `userProperties`")?;
    let field = word(field, &root.key("field"), "field", &FIELDS)?;
    let mut views = views(request, root)?;
    views.retain(|view| view.field(field).is_some_and(|field| field.kind == FieldKind::Json));
    let Some(condition) = request.get("where") else {
        return Ok((field, views.into_iter().map(|view| Query::of_rows(view, None)).collect()));
    };
    let at = root.key("where");
    let mut named = Vec::new();
    named_fields(condition, &mut named);
    let lacks = |view: &&'static View, name: &str| view.field(name).is_none();
    if let Some(name) = named.iter().find(|name| views.iter().all(|view| lacks(view, name)))
        && let Some(view) = views.first()
    {
        // In no chosen view. The filter's own check says where it stands.
        filter(view, condition, &at, &Context::utc())?;
        return Err(at.error(format!("{} is a field of no chosen view", quoted(name))));
    }
    views.retain(|view| !named.iter().any(|name| lacks(view, name)));
    let mut rows = Vec::with_capacity(views.len());
    for view in views {
        rows.push(Query::of_rows(view, filter(view, condition, &at, &Context::utc())?));
    }
    Ok((field, rows))
}

/// The chosen views that have rows, in the order of [`VIEWS`].
fn views(request: &Object<'_>, root: &At<'_>) -> Result<Vec<&'static View>, QueryError> {
    let at = root.key("views");
    let given = match request.get("views") {
        Some(given) => list(given, &at, MOST_VIEWS)?,
        None => &[],
    };
    let positions: Vec<(&str, usize)> = VIEWS.iter().enumerate().map(|(index, (name, _))| (*name, index)).collect();
    let mut chosen = Vec::with_capacity(given.len());
    for (index, name) in given.iter().enumerate() {
        chosen.push(word(name, &at.index(index), "view", &positions)?);
    }
    let is_chosen = |index: &usize| chosen.is_empty() || chosen.contains(index);
    Ok(VIEWS.iter().enumerate().filter(|(index, _)| is_chosen(index)).filter_map(|(_, (_, view))| *view).collect())
}

/// The field names of a filter's conditions, as far as it has the shape of one.
fn named_fields<'a>(filter: &'a Json, named: &mut Vec<&'a str>) {
    if let Some(Json::String(name)) = filter.get("condition").and_then(|condition| condition.get("field")) {
        named.push(name);
    }
    for key in ["and", "or"] {
        if let Some(Json::Array(parts)) = filter.get(key) {
            parts.iter().for_each(|part| named_fields(part, named));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> String {
        match check_property_values(body.as_bytes()) {
            Err(error) => error.to_string(),
            Ok(query) => panic!("{body} was taken: {query:?}"),
        }
    }

    #[test]
    fn what_is_asked() {
        let keys = check_property_keys(br#"{"field":"properties"}"#).expect("valid");
        assert_eq!((keys.rows.len(), keys.field, keys.key), (4, "properties", None));
        let values = check_property_values(
            br#"{"field":"userProperties","key":"","limit":1000,"views":[],"where":{"condition":{"field":"type","operator":"eq","value":"openai"}}}"#,
        );
        let values = values.expect("valid");
        assert_eq!((values.rows.len(), values.field, values.limit), (3, "userProperties", 1_000));
        assert_eq!(values.key.as_deref(), Some(""));
        assert!(values.rows.iter().all(|rows| rows.filter.is_some()));
        let twice = r#"{"field":"properties","views":["conversations_view","conversations_view"]}"#;
        assert_eq!(check_property_keys(twice.as_bytes()).expect("valid").rows.len(), 1);
    }

    #[test]
    fn what_is_refused() {
        for (body, part) in [
            ("{}", "field: missing"),
            (r#"{"field":"tags"}"#, "field: unknown field `tags`"),
            (r#"{"field":"properties"}"#, "key: missing"),
            (r#"{"field":"properties","key":5}"#, "key: number given"),
            (r#"{"field":"properties","key":"a","limit":0}"#, "limit: 0 given, an integer from 1 to 1000"),
            (r#"{"field":"properties","key":"a","limit":1001}"#, "limit: 1001 given"),
            (r#"{"field":"properties","key":"a","views":"conversations_view"}"#, "views: string given"),
            (r#"{"field":"properties","key":"a","views":["conversation_view"]}"#, "did you mean `conversations_view`?"),
            (r#"{"field":"properties","key":"a","where":{}}"#, "where"),
            (
                r#"{"field":"properties","key":"a","views":["conversations_view"],"where":{"condition":{"field":"nothing","operator":"isNull"}}}"#,
                "where.condition.field: unknown field `nothing`",
            ),
            (r#"{"field":"properties","key":"a","select":[]}"#, "select: unknown key"),
            ("[]", "array given"),
        ] {
            assert!(message(body).contains(part), "{body}: {}", message(body));
        }
        assert!(matches!(check_property_keys(b""), Err(QueryError::Syntax(_))));
    }
}
