//! The plan behind the distinct keys and values of properties.

use datafusion::error::Result;

use super::columns::Columns;
use super::filter;
use super::source::{SizedPlan, Source};
use crate::query::dsl::Query;
use crate::query::scan::column::ScanColumn;

/// The wanted columns of every row that passes the query's filter, in no order.
pub(crate) fn texts(query: &Query, wanted: Vec<ScanColumn>, source: &Source) -> Result<SizedPlan> {
    let mut columns = Columns::default();
    let shown: Vec<_> = wanted.into_iter().map(|column| columns.add(column)).collect();
    let predicate = query.filter.as_ref().map(|filter| filter::compile(filter, &mut columns));
    let (mut builder, batch_size) = source.scan(columns, true)?;
    if let Some(predicate) = predicate {
        builder = builder.filter(predicate)?;
    }
    Ok(SizedPlan { plan: builder.project(shown)?.build()?, batch_size })
}
