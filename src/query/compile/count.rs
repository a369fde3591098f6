//! How many rows there are.

use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, lit};

use super::columns::Columns;
use super::filter;
use super::source::{SizedPlan, Source};
use crate::query::dsl::Query;

/// One row: the number of matches.
pub(crate) fn matches(query: &Query, source: &Source) -> Result<SizedPlan> {
    let mut columns = Columns::default();
    let predicate = query.filter.as_ref().map(|filter| filter::compile(filter, &mut columns));
    let (mut builder, batch_size) = source.scan(columns, false)?;
    if let Some(predicate) = predicate {
        builder = builder.filter(predicate)?;
    }
    let plan = builder.aggregate(Vec::<Expr>::new(), [count(lit(1_i64))])?.build()?;
    Ok(SizedPlan { plan, batch_size })
}

/// Live rows of the scope.
pub(crate) fn row_count(source: &Source) -> Result<SizedPlan> {
    let (builder, batch_size) = source.scan(Columns::default(), false)?;
    let plan = builder.aggregate(Vec::<Expr>::new(), [count(lit(1_i64))])?.build()?;
    Ok(SizedPlan { plan, batch_size })
}
