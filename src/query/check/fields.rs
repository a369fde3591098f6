//! Names of fields and paths into them.

use super::reader::{At, Object, list, string};
use crate::model::json::value::Json;
use crate::query::dsl::FieldRef;
use crate::query::error::QueryError;
use crate::query::view::{Field, FieldKind, View};

pub(crate) const PATH_ELEMENTS: usize = 32;

pub(crate) fn field(view: &'static View, json: &Json, at: &At<'_>) -> Result<&'static Field, QueryError> {
    let name = string(json, at)?;
    view.field(name).ok_or_else(|| at.unknown("field", name, view.fields.iter().map(|field| field.name)))
}

/// The `field` of an object and its `path`.
pub(crate) fn field_ref(view: &'static View, object: &Object<'_>, at: &At<'_>) -> Result<FieldRef, QueryError> {
    let field = field(view, object.required("field", "a field name")?, &at.key("field"))?;
    let path = match object.get("path") {
        Some(given) => path(given, &at.key("path"), field)?,
        None => Vec::new(),
    };
    Ok(FieldRef { field, path })
}

/// An empty path counts as absent, also on a field that takes none.
pub(crate) fn path(json: &Json, at: &At<'_>, field: &Field) -> Result<Vec<String>, QueryError> {
    let elements = list(json, at, PATH_ELEMENTS)?;
    if !elements.is_empty() && field.kind != FieldKind::Json {
        return Err(at.error(format!("`{}` is not a JSON field and takes no path", field.name)));
    }
    let mut path = Vec::with_capacity(elements.len());
    for (index, element) in elements.iter().enumerate() {
        path.push(string(element, &at.index(index))?.to_owned());
    }
    Ok(path)
}
