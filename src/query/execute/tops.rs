//! The values of group keys that rank highest (contract A5, `top`): asked for before the groups are made.

use datafusion::scalar::ScalarValue;

use super::execution::Execution;
use super::groups::Groups;
use super::window::Window;
use crate::query::compile::grouped::{TopValues, grouped};
use crate::query::dsl::{ColumnExpr, KeyExpr, Order, OutputColumn, Query};
use crate::query::error::QueryError;

/// For each group key that asks for it.
pub(crate) async fn top_values(execution: &Execution, query: &Query) -> Result<Vec<Option<TopValues>>, QueryError> {
    let mut tops = Vec::with_capacity(query.groups.len());
    for key in &query.groups {
        tops.push(match ranking(query, key) {
            Some(ranking) => Some(values(execution, &ranking).await?),
            None => None,
        });
    }
    Ok(tops)
}

/// The query that ranks a key's values over all rows: ties by the key, what has no value to rank by last.
fn ranking(query: &Query, key: &KeyExpr) -> Option<Query> {
    let KeyExpr::Derived(derived) = key else { return None };
    let top = derived.top.as_ref()?;
    let mut alone = derived.clone();
    alone.top = None;
    let name = "value".to_owned();
    Some(Query {
        groups: vec![KeyExpr::Derived(alone)],
        columns: vec![OutputColumn { name, expr: ColumnExpr::Group(0), json_mode: Default::default() }],
        fill: None,
        having: None,
        order: vec![Order { expr: top.by.clone(), descending: true }],
        limit: top.limit,
        offset: 0,
        ..query.clone()
    })
}

async fn values(execution: &Execution, ranking: &Query) -> Result<TopValues, QueryError> {
    let plan = grouped(ranking, &[], &execution.source).map_err(|error| execution.error(error))?;
    let mut groups = Groups::open(execution.clone(), &plan, 1, Window::new(0, ranking.limit)).await?;
    let mut values = TopValues::default();
    while let Some(batch) = groups.next().await? {
        let Some(column) = batch.columns().first() else { continue };
        for row in 0..batch.num_rows() {
            let value = ScalarValue::try_from_array(column, row);
            values.0.push(value.map_err(|error| execution.error(error))?);
        }
    }
    Ok(values)
}
