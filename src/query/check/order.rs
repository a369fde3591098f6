//! `orderBy`: a column name is an output column, or something that the same query could show.

use super::names::{split_aggregation, split_field};
use super::reader::{At, Object, list, quoted, string, word};
use super::select::{Columns, position_or_push};
use super::suggest::nearest;
use crate::model::json::value::Json;
use crate::query::dsl::{ColumnExpr, FieldRef, KeyExpr, Order};
use crate::query::error::QueryError;
use crate::query::view::View;

const ORDERS: usize = 32;

/// Adds to `columns.aggregations` what only the order needs. An expression already ordered by is left out.
pub(crate) fn orders(
    view: &'static View,
    json: &Json,
    at: &At<'_>,
    columns: &mut Columns,
) -> Result<Vec<Order>, QueryError> {
    let mut orders: Vec<Order> = Vec::new();
    for (index, element) in list(json, at, ORDERS)?.iter().enumerate() {
        let at = at.index(index);
        let object = Object::read(element, &at, &["field", "direction"])?;
        let field_at = at.key("field");
        let name = string(object.required("field", "a column name")?, &field_at)?;
        let direction = object.required("direction", "`asc` or `desc`")?;
        let descending = word(direction, &at.key("direction"), "direction", &[("asc", false), ("desc", true)])?;
        let expr = resolve(view, name, columns).ok_or_else(|| field_at.error(not_orderable(view, name, columns)))?;
        if !orders.iter().any(|order| order.expr == expr) {
            orders.push(Order { expr, descending });
        }
    }
    Ok(orders)
}

fn resolve(view: &'static View, name: &str, columns: &mut Columns) -> Option<ColumnExpr> {
    if let Some(column) = columns.columns.iter().find(|column| column.name == name) {
        return Some(column.expr.clone());
    }
    if let Some((_, expr)) = columns.hidden.iter().find(|(hidden, _)| hidden == name) {
        return Some(expr.clone());
    }
    let reference = split_field(view, name);
    if !columns.grouped {
        return reference.map(ColumnExpr::Field);
    }
    let named = columns.hidden_keys.iter().find(|(hidden, _)| hidden == name).map(|(_, position)| *position);
    if let Some(position) = named.or_else(|| hidden_group(name, reference, &columns.groups)) {
        return Some(ColumnExpr::Group(position));
    }
    let aggregation = split_aggregation(view, name)?;
    Some(ColumnExpr::Aggregation(position_or_push(&mut columns.aggregations, &aggregation)))
}

/// A group key that is not included. The path split at dots wins over a key that has the dots in itself.
fn hidden_group(name: &str, reference: Option<FieldRef>, groups: &[KeyExpr]) -> Option<usize> {
    groups
        .iter()
        .position(|group| reference.is_some() && group.field() == reference.as_ref())
        .or_else(|| groups.iter().position(|group| group.column_name() == name))
}

fn not_orderable(view: &View, name: &str, columns: &Columns) -> String {
    let mut allowed: Vec<String> = columns.columns.iter().map(|column| column.name.clone()).collect();
    if columns.grouped {
        allowed.extend(columns.groups.iter().map(KeyExpr::column_name).filter(|key| !columns.shows(key)));
    } else {
        allowed.extend(view.fields.iter().map(|field| field.name.to_owned()).filter(|field| !columns.shows(field)));
    }
    let hint = match nearest(name, allowed.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {}? ", quoted(near)),
        None => String::new(),
    };
    let list = allowed.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(", ");
    let rest = if columns.grouped {
        "aggregations such as `count`, `count_id` or `sum_<JSON field>.<path>`"
    } else {
        "`<JSON field>.<path>` of at most 32 path elements"
    };
    let comma = if list.is_empty() { "" } else { ", " };
    format!("this query cannot order by {}; {hint}allowed: {list}{comma}{rest}", quoted(name))
}

impl Columns {
    fn shows(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }
}
