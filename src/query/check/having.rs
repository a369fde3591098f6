//! `having`: a filter over the output columns of groups (contract A5).

use super::context::Context;
use super::filter::{LIST_VALUES, time_literal};
use super::reader::{At, Object, list, quoted, string, word};
use super::select::Columns;
use super::tree::{self, Tree};
use crate::model::json::decimal;
use crate::model::json::value::Json;
use crate::query::dsl::{AggregateFunction, ColumnExpr, Comparison, FieldRef, Having, KeyExpr, ShownValue};
use crate::query::error::QueryError;
use crate::query::view::FieldKind;

#[derive(Clone, Copy)]
enum Operator {
    Equal { negated: bool },
    Compare(Comparison),
    In { negated: bool },
    Null { negated: bool },
}

const OPERATORS: [(&str, Operator); 10] = [
    ("eq", Operator::Equal { negated: false }),
    ("neq", Operator::Equal { negated: true }),
    ("gt", Operator::Compare(Comparison::Gt)),
    ("gte", Operator::Compare(Comparison::Gte)),
    ("lt", Operator::Compare(Comparison::Lt)),
    ("lte", Operator::Compare(Comparison::Lte)),
    ("in", Operator::In { negated: false }),
    ("notIn", Operator::In { negated: true }),
    ("isNull", Operator::Null { negated: false }),
    ("isNotNull", Operator::Null { negated: true }),
];

/// What a column shows, and so which values it is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Number,
    Text,
    Boolean,
    Time,
    /// Lists and JSON.
    Opaque,
}

pub(crate) fn having(columns: &Columns, json: &Json, at: &At<'_>, context: &Context) -> Result<Having, QueryError> {
    context.uses("having");
    if !columns.grouped {
        return Err(at.error("only grouped requests take `having`; rows are filtered by `where`"));
    }
    let checker = Checker { columns, context };
    let condition = |json: &Json, at: &At<'_>| checker.condition(json, at);
    let tree = tree::Reader { context, keys: &["condition", "and", "or", "not"], condition }.read(json, at)?;
    Ok(having_of(tree))
}

fn having_of(tree: Tree<Having>) -> Having {
    match tree {
        Tree::And(parts) => Having::And(parts.into_iter().map(having_of).collect()),
        Tree::Or(parts) => Having::Or(parts.into_iter().map(having_of).collect()),
        Tree::Not(inner) => Having::Not(Box::new(having_of(*inner))),
        Tree::Condition(condition) => condition,
    }
}

struct Checker<'a> {
    columns: &'a Columns,
    context: &'a Context,
}

impl Checker<'_> {
    fn condition(&self, json: &Json, at: &At<'_>) -> Result<Having, QueryError> {
        let object = Object::read(json, at, &["field", "operator", "value"])?;
        let field_at = at.key("field");
        let name = string(object.required("field", "the name of an output column")?, &field_at)?;
        let Some(column) = self.columns.columns.iter().find(|column| column.name == name) else {
            return Err(field_at.unknown("column", name, self.columns.columns.iter().map(|one| one.name.as_str())));
        };
        let (column, shown) = (column.expr.clone(), self.shown(&column.expr));
        let operator_at = at.key("operator");
        let operator = word(object.required("operator", "an operator")?, &operator_at, "operator", &OPERATORS)?;
        if let Operator::Null { negated } = operator {
            return Ok(if negated { Having::IsNotNull(column) } else { Having::IsNull(column) });
        }
        if shown == Shown::Opaque {
            return Err(operator_at
                .error(format!("{} is a list or JSON, which only `isNull` and `isNotNull` take", quoted(name))));
        }
        let value_at = at.key("value");
        let Some(value) = object.given("value") else {
            return Err(value_at.error("missing; this operator needs a value"));
        };
        Ok(match (operator, value) {
            (Operator::Equal { negated: false }, Json::Null) => Having::IsNull(column),
            (Operator::Equal { negated: true }, Json::Null) => Having::IsNotNull(column),
            (Operator::Equal { negated }, value) => {
                let values = vec![self.value(shown, value, &value_at)?];
                Having::In { column, values, or_null: false, negated }
            }
            (Operator::In { negated }, value) => {
                let (mut values, mut has_null) = (Vec::new(), false);
                for (index, element) in list(value, &value_at, LIST_VALUES)?.iter().enumerate() {
                    match element {
                        Json::Null => has_null = true,
                        element => values.push(self.value(shown, element, &value_at.index(index))?),
                    }
                }
                Having::In { column, values, or_null: has_null && !negated, negated }
            }
            (Operator::Compare(_), _) if shown == Shown::Boolean => {
                return Err(operator_at.error(format!("{} is a boolean, which `eq` and `neq` take", quoted(name))));
            }
            (Operator::Compare(comparison), value) => {
                Having::Compare { column, comparison, value: self.value(shown, value, &value_at)? }
            }
            // Told above.
            (Operator::Null { .. }, _) => Having::IsNull(column),
        })
    }

    fn value(&self, shown: Shown, json: &Json, at: &At<'_>) -> Result<ShownValue, QueryError> {
        match (shown, json) {
            (Shown::Number, Json::Number(token)) => match decimal::double(token) {
                Some(value) => Ok(ShownValue::Number(value)),
                None => Err(at.error("a number beyond the finite doubles, which no column shows")),
            },
            (Shown::Text, Json::String(text)) => Ok(ShownValue::Text(text.clone())),
            (Shown::Boolean, Json::Bool(value)) => Ok(ShownValue::Boolean(*value)),
            (Shown::Time, value) => time_literal(value, at, self.context).map(ShownValue::Time),
            (Shown::Number, other) => Err(at.wrong_kind(other, "a number")),
            (Shown::Boolean, other) => Err(at.wrong_kind(other, "a boolean")),
            (Shown::Text | Shown::Opaque, other) => Err(at.wrong_kind(other, "a string")),
        }
    }

    fn shown(&self, expr: &ColumnExpr) -> Shown {
        match expr {
            ColumnExpr::Group(index) => match self.columns.groups.get(*index) {
                Some(KeyExpr::Field(reference)) => of_field(reference),
                Some(KeyExpr::Derived(derived)) if derived.bin.is_some() => Shown::Number,
                Some(KeyExpr::Derived(derived)) if derived.unnest.is_some() => Shown::Text,
                Some(KeyExpr::Derived(derived)) => of_field(&derived.of),
                Some(KeyExpr::Bucket { .. }) => Shown::Time,
                Some(KeyExpr::Part { .. }) | None => Shown::Number,
            },
            ColumnExpr::Aggregation(index) => match self.columns.aggregations.get(*index) {
                Some(one) if matches!(one.function, AggregateFunction::First | AggregateFunction::Last) => {
                    one.argument.as_ref().map_or(Shown::Opaque, of_field)
                }
                _ => Shown::Number,
            },
            ColumnExpr::Formula(_) => Shown::Number,
            ColumnExpr::Field(reference) => of_field(reference),
        }
    }
}

fn of_field(reference: &FieldRef) -> Shown {
    match reference.field.kind {
        FieldKind::Json if reference.path.is_empty() => Shown::Opaque,
        FieldKind::Json | FieldKind::Text => Shown::Text,
        FieldKind::Time => Shown::Time,
        FieldKind::Integer => Shown::Number,
        FieldKind::Boolean => Shown::Boolean,
        FieldKind::TextList | FieldKind::Binary => Shown::Opaque,
    }
}
