//! Reports on search events (contract A4).

use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{cast, lit, when};
use datafusion::scalar::ScalarValue;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::columns::Columns;
use super::filter;
use super::grouped::GroupedPlan;
use super::literal::WholeBounds;
use super::order::SortColumn;
use super::source::{SizedPlan, Source};
use crate::query::dsl::{TimeStep, TimeUnit};
use crate::query::expr::column;
use crate::query::functions;
use crate::query::scan::column::{Form, ScanColumn};
use crate::storage::format::layout::JsonField;

/// What is made of search events (contract A4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SearchReport {
    /// Texts that were searched for, the most frequent first.
    TopQueries,
    /// Distinct users of each ISO week, in UTC.
    WeeklyUsers,
}

/// The groups of a report, and as text their counts. `after`: epoch milliseconds, possibly with a fraction.
pub(crate) fn search_report(report: SearchReport, after: Option<&str>, source: &Source) -> Result<GroupedPlan> {
    let mut columns = Columns::default();
    let search = lit(ScalarValue::Utf8View(Some("search".to_owned())));
    let mut predicate = columns.add(ScanColumn::Plain("eventType")).eq(search);
    let created_at = columns.add(ScanColumn::Plain("createdAt"));
    if let Some(after) = after {
        predicate = predicate.and(created_at.clone().gt_eq(filter::time(WholeBounds::of(after).ceil)));
    }
    let group = match report {
        SearchReport::TopQueries => columns.add(ScanColumn::Plain("searchQuery")),
        SearchReport::WeeklyUsers => {
            functions::time_bucket(TimeStep { unit: TimeUnit::Week, count: 1 }, TimeZone::UTC, Weekday::Monday)
                .call(vec![created_at])
        }
    };
    let user_id = columns.path(JsonField::UserProperties, &["userId".to_owned()], Form::Text);
    let id = columns.path(JsonField::UserProperties, &["id".to_owned()], Form::Text);
    let user = when(user_id.clone().is_not_null(), user_id).otherwise(id)?;
    let (builder, batch_size) = source.scan(columns, false)?;
    let builder = builder.filter(predicate)?;
    let builder = match report {
        SearchReport::TopQueries => {
            builder.project([group.alias("g0")])?.aggregate([column("g0")], [count(lit(1_i64)).alias("a0")])?
        }
        SearchReport::WeeklyUsers => builder
            .project([group.alias("g0"), user.alias("v0")])?
            .filter(column("v0").is_not_null())?
            .aggregate([column("g0")], [functions::count_distinct().call(vec![column("v0")]).alias("a0")])?,
    };
    let shown = [
        column("g0").alias("o0"),
        cast(column("a0"), DataType::Utf8View).alias("o1"),
        column("a0").alias("s0"),
        column("g0").alias("s1"),
    ];
    let order = match report {
        SearchReport::TopQueries => vec![SortColumn::new("s0", true), SortColumn::new("s1", false)],
        SearchReport::WeeklyUsers => vec![SortColumn::new("s1", false)],
    };
    Ok(GroupedPlan { plan: SizedPlan { plan: builder.project(shown)?.build()?, batch_size }, order })
}
