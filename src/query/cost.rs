//! What a question is likely to cost, before anything is planned: cheap ones have slots of their own, so that they wait for
//! no heavy one ([`super::admission`]).

use super::dsl::{AggregateFunction, ColumnExpr, FieldRef, Filter, KeyExpr, Query};
use super::execute::question::Question;
use super::view::FieldKind;

/// Values of columns that a cheap question may look at.
const CHEAP: u64 = 4_000_000;
/// A value at a path may have to be looked for, and whole JSON is parsed.
const PLAIN: u64 = 1;
const AT_PATH: u64 = 4;
const WHOLE_JSON: u64 = 64;
/// Beyond the value itself: a group for each.
const DISTINCT: u64 = 8;
/// Rows that are shown are fetched and written.
const SHOWN: u64 = 16;

/// Whether a question about a table of so many rows is cheap.
pub(crate) fn is_cheap(question: &Question, rows: u64) -> bool {
    match question {
        Question::Query(query) => of_query(query, rows) <= CHEAP,
        Question::SearchReport { .. } => rows.saturating_mul(DISTINCT) <= CHEAP,
        Question::Export(_) => false,
        Question::Properties(_) => rows.saturating_mul(WHOLE_JSON) <= CHEAP,
    }
}

/// Whether rows that match a filter are found cheaply.
pub(crate) fn is_cheap_list(filter: Option<&Filter>, rows: u64) -> bool {
    rows.saturating_mul(PLAIN + filter.map_or(0, of_filter)) <= CHEAP
}

fn of_query(query: &Query, rows: u64) -> u64 {
    let groups = query.groups.iter().map(|key| match key {
        KeyExpr::Field(reference) => DISTINCT + of_field(reference),
        KeyExpr::Bucket { .. } | KeyExpr::Part { .. } => DISTINCT,
        // Elements are looked at one by one, and what ranks highest is found first.
        KeyExpr::Derived(derived) => {
            2 * (DISTINCT + of_field(&derived.of)) + derived.unnest.iter().len() as u64 * WHOLE_JSON
        }
    });
    let aggregations = query.aggregations.iter().map(|one| {
        let argument = one.argument.as_ref().map_or(0, of_field);
        let kept = match one.function {
            AggregateFunction::CountDistinct | AggregateFunction::Percentile(_) | AggregateFunction::Median => DISTINCT,
            _ => 0,
        };
        argument + kept + one.filter.as_ref().map_or(0, of_filter)
    });
    let of_expr = |expr: &ColumnExpr| match expr {
        ColumnExpr::Field(reference) => of_field(reference),
        ColumnExpr::Group(_) | ColumnExpr::Aggregation(_) | ColumnExpr::Formula(_) => 0,
    };
    let order = query.order.iter().map(|order| of_expr(&order.expr));
    let looked_at = PLAIN + groups.chain(aggregations).chain(order).sum::<u64>();
    let filter = query.filter.as_ref().map_or(0, of_filter);
    let shown = query.columns.iter().map(|column| SHOWN * of_expr(&column.expr)).sum::<u64>();
    let shown = rows.min(query.limit as u64).saturating_mul(shown);
    rows.saturating_mul(looked_at + filter).saturating_add(shown)
}

fn of_filter(filter: &Filter) -> u64 {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().map(of_filter).sum(),
        Filter::Condition(condition) => condition.targets().iter().map(of_field).sum(),
    }
}

fn of_field(reference: &FieldRef) -> u64 {
    match (reference.field.kind, reference.path.is_empty()) {
        (FieldKind::Json, true) => WHOLE_JSON,
        (_, false) => AT_PATH,
        (_, true) => PLAIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::check::check;
    use crate::query::view::CONVERSATIONS;

    #[test]
    fn counts_are_cheap_and_whole_documents_are_not() {
        for (rows, request, cheap) in [
            (1_000_000, r#"{"select":[{"type":"aggregation","aggregation":"count"}]}"#, true),
            (10_000_000, r#"{"select":[{"type":"aggregation","aggregation":"count"}]}"#, false),
            (100_000, r#"{"groupBy":[{"field":"type"}]}"#, true),
            (100_000, r#"{"groupBy":[{"field":"properties","path":["plan"]}]}"#, true),
            (100_000, r#"{"groupBy":[{"field":"properties"}]}"#, false),
            (1_000_000, r#"{"groupBy":[{"field":"properties","path":["plan"]}]}"#, false),
            (20_000, r#"{}"#, false),
            (100, r#"{}"#, true),
            (1_000_000, r#"{"select":[{"type":"field","field":"id"}],"limit":10}"#, true),
        ] {
            let query = check(&CONVERSATIONS, request.as_bytes()).unwrap();
            assert_eq!(is_cheap(&Question::Query(query), rows), cheap, "{rows} {request}");
        }
    }
}
