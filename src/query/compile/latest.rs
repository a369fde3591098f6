//! The lists of the newest rows (contracts A2, A4).

use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, lit};
use datafusion::scalar::ScalarValue;

use super::columns::Columns;
use super::page::{PagePlan, ordered};
use super::source::{SizedPlan, Source};
use crate::query::scan::column::ScanColumn;

/// Addresses of the newest rows: by `createdAt`, then id, both descending, then project (contract A2).
pub(crate) fn latest(source: &Source) -> Result<PagePlan> {
    newest(source, None)
}

/// The same of feedback of a type whose message is there (contract A4, `GET /feedback`).
pub(crate) fn latest_feedback(source: &Source, feedback_type: &str) -> Result<PagePlan> {
    newest(source, Some(feedback_type))
}

/// The number of all feedback of a type whose message is there.
pub(crate) fn feedback_count(source: &Source, feedback_type: &str) -> Result<SizedPlan> {
    let mut columns = Columns::default();
    let predicate = visible_feedback(&mut columns, feedback_type);
    let (builder, batch_size) = source.scan(columns, false)?;
    let plan = builder.filter(predicate)?.aggregate(Vec::<Expr>::new(), [count(lit(1_i64))])?.build()?;
    Ok(SizedPlan { plan, batch_size })
}

fn visible_feedback(columns: &mut Columns, feedback_type: &str) -> Expr {
    let wanted = lit(ScalarValue::Utf8View(Some(feedback_type.to_owned())));
    let has_message = columns.add(ScanColumn::Plain("conversationId")).is_not_null();
    columns.add(ScanColumn::Plain("type")).eq(wanted).and(has_message)
}

/// The order of `GET /conversations` and `GET /feedback` (contracts A2, A4).
const LATEST_FIRST: [(&str, bool); 3] = [("createdAt", true), ("id", true), ("projectId", false)];

fn newest(source: &Source, feedback_type: Option<&str>) -> Result<PagePlan> {
    let predicate = |columns: &mut Columns| feedback_type.map(|feedback_type| visible_feedback(columns, feedback_type));
    ordered(source, &LATEST_FIRST, predicate)
}
