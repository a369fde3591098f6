//! What the columns of an answer hold.

use std::collections::BTreeSet;

use crate::query::dsl::{AggregateFunction, Aggregation, ColumnExpr, FieldRef, JsonMode, KeyExpr, OutputColumn, Query};
use crate::query::view::{Field, FieldKind, View};

/// What a value means, and so which Arrow types a column has. Any may be null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResultKind {
    /// Strings.
    Text,
    /// Timestamps, shown as such.
    Time,
    /// Timestamps or numbers of milliseconds, shown as a number of milliseconds since 1970.
    EpochMillis,
    Integer,
    /// Integers or doubles.
    Number,
    Boolean,
    /// Strings that are JSON.
    Json,
    /// JSON objects, each value shown as text, nulls left out (contract A4, events).
    JsonTexts,
    /// Lists of strings.
    TextList,
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResultColumn {
    pub(crate) name: String,
    pub(crate) kind: ResultKind,
    /// Left out of the rows where it is null: the published types of `sum avg min max` and of some fields are not
    /// nullable.
    pub(crate) omit_null: bool,
    /// Of a whole JSON field that is shown part by part: the names that its parts have in any row.
    pub(crate) parts: Option<BTreeSet<String>>,
}

impl ResultColumn {
    pub(crate) fn new(name: impl Into<String>, kind: ResultKind) -> Self {
        Self { name: name.into(), kind, omit_null: false, parts: None }
    }
}

/// The columns of a query's rows, in order.
pub(crate) fn columns_of(query: &Query) -> Vec<ResultColumn> {
    let omits_null = |expr: &ColumnExpr| match expr {
        ColumnExpr::Aggregation(index) => query.aggregations.get(*index).is_some_and(|one| one.function.omits_null()),
        ColumnExpr::Formula(_) => true,
        expr => field_of(query, expr).is_some_and(|reference| reference.field.omit_null),
    };
    let column = |column: &OutputColumn| ResultColumn {
        omit_null: !query.shape.nulls && omits_null(&column.expr),
        ..ResultColumn::new(column.name.as_str(), kind_of(query, &column.expr))
    };
    query.columns.iter().map(column).collect()
}

/// The field that an output column shows whole, part by part.
pub(crate) fn unpacked(query: &Query, column: &OutputColumn) -> Option<&'static Field> {
    let reference = field_of(query, &column.expr)?;
    let is_whole = reference.field.kind == FieldKind::Json && reference.path.is_empty();
    (is_whole && column.json_mode == JsonMode::Unpack).then_some(reference.field)
}

/// What a column shows of a field, as it is or as a group key.
fn field_of<'a>(query: &'a Query, expr: &'a ColumnExpr) -> Option<&'a FieldRef> {
    match expr {
        ColumnExpr::Field(reference) => Some(reference),
        ColumnExpr::Group(index) => match query.groups.get(*index)? {
            KeyExpr::Field(reference) => Some(reference),
            KeyExpr::Derived(derived) if derived.unnest.is_none() && derived.bin.is_none() => Some(&derived.of),
            KeyExpr::Derived(_) => None,
            KeyExpr::Bucket { .. } | KeyExpr::Part { .. } => None,
        },
        ColumnExpr::Aggregation(_) | ColumnExpr::Formula(_) => None,
    }
}

fn kind_of(query: &Query, expr: &ColumnExpr) -> ResultKind {
    match expr {
        ColumnExpr::Field(reference) => of_field(query.view, reference),
        ColumnExpr::Group(index) => match query.groups.get(*index) {
            Some(KeyExpr::Field(reference)) => of_field(query.view, reference),
            Some(KeyExpr::Bucket { .. }) => ResultKind::Time,
            Some(KeyExpr::Part { .. }) => ResultKind::Integer,
            Some(KeyExpr::Derived(derived)) if derived.bin.is_some() => ResultKind::Number,
            Some(KeyExpr::Derived(derived)) if derived.unnest.is_some() => ResultKind::Text,
            Some(KeyExpr::Derived(derived)) => of_field(query.view, &derived.of),
            None => ResultKind::Text,
        },
        ColumnExpr::Aggregation(index) => {
            query.aggregations.get(*index).map_or(ResultKind::Integer, |one| of_aggregation(query.view, one))
        }
        ColumnExpr::Formula(_) => ResultKind::Number,
    }
}

fn of_field(view: &View, reference: &FieldRef) -> ResultKind {
    match reference.field.kind {
        FieldKind::Json if !reference.path.is_empty() => ResultKind::Text,
        FieldKind::Json if view.shows_texts => ResultKind::JsonTexts,
        FieldKind::Json => ResultKind::Json,
        FieldKind::Text | FieldKind::Binary => ResultKind::Text,
        FieldKind::Time => ResultKind::Time,
        FieldKind::Integer => ResultKind::Integer,
        FieldKind::Boolean => ResultKind::Boolean,
        FieldKind::TextList => ResultKind::TextList,
    }
}

fn of_aggregation(view: &View, aggregation: &Aggregation) -> ResultKind {
    let of_time = aggregation.argument.as_ref().is_some_and(|argument| argument.field.kind == FieldKind::Time);
    match aggregation.function {
        AggregateFunction::Count | AggregateFunction::CountDistinct => ResultKind::Integer,
        AggregateFunction::Min | AggregateFunction::Max if of_time => ResultKind::EpochMillis,
        AggregateFunction::First | AggregateFunction::Last => {
            aggregation.argument.as_ref().map_or(ResultKind::Text, |argument| of_field(view, argument))
        }
        AggregateFunction::Min
        | AggregateFunction::Max
        | AggregateFunction::Sum
        | AggregateFunction::Avg
        | AggregateFunction::Percentile(_)
        | AggregateFunction::Median
        | AggregateFunction::Stddev => ResultKind::Number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::check::check;
    use crate::query::view::CONVERSATIONS;

    #[test]
    fn kinds_of_columns() {
        let shown = |body: &str| -> Vec<(String, ResultKind, bool)> {
            let query = check(&CONVERSATIONS, body.as_bytes()).expect("valid");
            columns_of(&query).into_iter().map(|column| (column.name, column.kind, column.omit_null)).collect()
        };
        let expected = |columns: &[(&str, ResultKind, bool)]| -> Vec<(String, ResultKind, bool)> {
            columns.iter().map(|(name, format, omit)| ((*name).to_owned(), *format, *omit)).collect()
        };
        assert_eq!(
            shown("{}"),
            expected(&[
                ("id", ResultKind::Text, false),
                ("userMessageCount", ResultKind::Integer, false),
                ("organizationId", ResultKind::Text, false),
                ("projectId", ResultKind::Text, false),
                ("integrationId", ResultKind::Text, false),
                ("firstMessageTime", ResultKind::Time, false),
                ("type", ResultKind::Text, false),
                ("properties", ResultKind::Json, false),
                ("userProperties", ResultKind::Json, false),
            ])
        );
        assert_eq!(
            shown(
                r#"{"select":[
                    {"type":"time","timeUnit":"week"},
                    {"type":"aggregation","aggregation":"count"},
                    {"type":"aggregation","aggregation":"countDistinct","field":"id"},
                    {"type":"aggregation","aggregation":"sum","field":"firstMessageTime"},
                    {"type":"aggregation","aggregation":"avg","field":"properties","path":["score"]},
                    {"type":"aggregation","aggregation":"min","field":"createdAt"},
                    {"type":"aggregation","aggregation":"max","field":"messageCount"}],
                   "groupBy":[{"field":"properties","path":["plan"]},{"field":"tags"},{"field":"isEnd"}]}"#
            ),
            expected(&[
                ("firstMessageTime_week", ResultKind::Time, false),
                ("count", ResultKind::Integer, false),
                ("countDistinct_id", ResultKind::Integer, false),
                ("sum_firstMessageTime", ResultKind::Number, true),
                ("avg_properties.score", ResultKind::Number, true),
                ("min_createdAt", ResultKind::EpochMillis, true),
                ("max_messageCount", ResultKind::Number, true),
                ("properties.plan", ResultKind::Text, false),
                ("tags", ResultKind::TextList, false),
                ("isEnd", ResultKind::Boolean, false),
            ])
        );
    }
}
