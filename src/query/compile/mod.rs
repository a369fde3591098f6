//! A checked query as DataFusion logical plans, built through the expression API.
//!
//! Grouped: scan → filter → project keys and arguments → aggregate → project output and sort keys; the engine counts
//! the groups above that, then sorts. Not grouped: a page plan (the rows' sort keys, addresses and narrow columns,
//! limited) and a count plan.

mod filter;
mod literal;
mod texts;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::{count, max, min};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};
use datafusion::scalar::ScalarValue;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

pub(crate) use filter::json_field;
use literal::WholeBounds;
pub(crate) use texts::texts;

use super::dsl::{AggregateFunction, Aggregation, ColumnExpr, FieldRef, Filter, KeyExpr, Query, TimeUnit};
use super::functions;
use super::scan::{self, Form, ScanColumn, ScanOptions, Scope, SnapshotProvider};
use super::view::{self, FieldKind};
use crate::storage::format::layout::JsonField;
use crate::storage::read::snapshot::{Snapshot, Table};

/// Conjunction as a balanced tree: recursion over it stays shallow. Of nothing: true.
pub(crate) fn all_of(parts: Vec<Expr>) -> Expr {
    balanced(parts, &Expr::and).unwrap_or_else(|| lit(true))
}

/// Disjunction as a balanced tree. Of nothing: false.
pub(crate) fn any_of(parts: Vec<Expr>) -> Expr {
    balanced(parts, &Expr::or).unwrap_or_else(|| lit(false))
}

fn balanced(mut parts: Vec<Expr>, join: &impl Fn(Expr, Expr) -> Expr) -> Option<Expr> {
    if parts.len() <= 1 {
        return parts.pop();
    }
    let right = parts.split_off(parts.len() / 2);
    match (balanced(parts, join), balanced(right, join)) {
        (Some(left), Some(right)) => Some(join(left, right)),
        (one, other) => one.or(other),
    }
}

/// The scan columns that a plan names, in the order of their first use.
#[derive(Default)]
pub(crate) struct Columns(Vec<ScanColumn>);

impl Columns {
    pub(crate) fn add(&mut self, column: ScanColumn) -> Expr {
        let name = column.name();
        if !self.0.contains(&column) {
            self.0.push(column);
        }
        named(&name)
    }

    fn path(&mut self, field: JsonField, path: &[String], form: Form) -> Expr {
        self.add(ScanColumn::Path { field, path: path.to_vec(), form })
    }

    /// The value of a field: as it is grouped, and, but for a whole JSON field, as it is shown and ordered.
    fn field(&mut self, reference: &FieldRef) -> Expr {
        match (reference.field.kind, json_field(reference.field.name)) {
            (FieldKind::Json, Some(json)) if reference.path.is_empty() => self.add(ScanColumn::Whole(json)),
            (FieldKind::Json, Some(json)) => self.path(json, &reference.path, Form::Text),
            _ => self.add(ScanColumn::Plain(reference.field.name)),
        }
    }
}

fn named(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

fn is_whole_json(reference: &FieldRef) -> bool {
    reference.field.kind == FieldKind::Json && reference.path.is_empty()
}

/// What a plan scans.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) table: Table,
    pub(crate) scope: Scope,
}

/// Rows per batch where none carries JSON text.
const BATCH_ROWS: usize = 8192;

impl Source {
    fn scan(&self, columns: Columns, pushdown_filters: bool) -> Result<(LogicalPlanBuilder, usize)> {
        let batch_size = scan::batch_size(&self.snapshot, self.table, &columns.0, BATCH_ROWS);
        let provider = SnapshotProvider::new(
            Arc::clone(&self.snapshot),
            self.table,
            self.scope.clone(),
            columns.0,
            ScanOptions { pushdown_filters, batch_size },
        );
        let builder = LogicalPlanBuilder::scan("rows", provider_as_source(Arc::new(provider)), None)?;
        Ok((builder, batch_size))
    }
}

/// A column to sort by, nulls last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SortColumn {
    pub(crate) name: String,
    pub(crate) descending: bool,
}

impl SortColumn {
    fn new(name: impl Into<String>, descending: bool) -> Self {
        Self { name: name.into(), descending }
    }
}

/// Appends what is not there yet: an earlier key of the same column decides.
fn push_key(keys: &mut Vec<(Expr, bool)>, expr: Expr, descending: bool) {
    if !keys.iter().any(|(present, _)| *present == expr) {
        keys.push((expr, descending));
    }
}

/// A plan and how many rows its batches may have.
pub(crate) struct SizedPlan {
    pub(crate) plan: LogicalPlan,
    pub(crate) batch_size: usize,
}

pub(crate) struct GroupedPlan {
    /// Its first columns are the output columns, in order; then what only the order needs.
    pub(crate) plan: SizedPlan,
    pub(crate) order: Vec<SortColumn>,
}

/// The plan of a grouped query, without its order and limit: every row of it counts for `total`.
pub(crate) fn grouped(query: &Query, source: &Source) -> Result<GroupedPlan> {
    let mut columns = Columns::default();
    let mut inputs: Vec<Expr> = Vec::new();
    for (index, key) in query.groups.iter().enumerate() {
        inputs.push(group_key(query, key, &mut columns).alias(group_name(index)));
    }
    let mut aggregates = Vec::new();
    for (index, aggregation) in query.aggregations.iter().enumerate() {
        let argument = match aggregation.argument.as_ref() {
            Some(reference) => Some(argument(aggregation.function, reference, &mut columns)?),
            None => None,
        };
        let name = format!("v{index}");
        aggregates.push(aggregate(aggregation, argument.as_ref().map(|_| named(&name))).alias(aggregate_name(index)));
        inputs.extend(argument.map(|argument| argument.alias(name)));
    }
    let narrow = !columns.0.iter().any(reads_json);
    let predicate = query.filter.as_ref().map(|filter| filter::compile(filter, &mut columns));
    let (mut builder, batch_size) = source.scan(columns, predicate.is_some() && !narrow)?;
    if let Some(predicate) = predicate {
        builder = builder.filter(predicate)?;
    }
    let keys: Vec<Expr> = (0..query.groups.len()).map(|index| named(&group_name(index))).collect();
    builder = builder.project(inputs)?.aggregate(keys, aggregates)?;

    let mut output: Vec<Expr> = Vec::new();
    for (index, column) in query.columns.iter().enumerate() {
        output.push(grouped_value(&column.expr).alias(format!("o{index}")));
    }
    let mut sort_keys: Vec<(Expr, bool)> = Vec::new();
    for order in &query.order {
        push_key(&mut sort_keys, grouped_sort_key(query, &order.expr), order.descending);
    }
    for index in 0..query.groups.len() {
        push_key(&mut sort_keys, grouped_sort_key(query, &ColumnExpr::Group(index)), false);
    }
    let mut order = Vec::new();
    for (index, (expr, descending)) in sort_keys.into_iter().enumerate() {
        output.push(expr.alias(format!("s{index}")));
        order.push(SortColumn::new(format!("s{index}"), descending));
    }
    Ok(GroupedPlan { plan: SizedPlan { plan: builder.project(output)?.build()?, batch_size }, order })
}

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
            functions::time_bucket(TimeUnit::Week, TimeZone::UTC, Weekday::Monday).call(vec![created_at])
        }
    };
    let user_id = columns.path(JsonField::UserProperties, &["userId".to_owned()], Form::Text);
    let id = columns.path(JsonField::UserProperties, &["id".to_owned()], Form::Text);
    let user = when(user_id.clone().is_not_null(), user_id).otherwise(id)?;
    let (builder, batch_size) = source.scan(columns, false)?;
    let builder = builder.filter(predicate)?;
    let builder = match report {
        SearchReport::TopQueries => {
            builder.project([group.alias("g0")])?.aggregate([named("g0")], [count(lit(1_i64)).alias("a0")])?
        }
        SearchReport::WeeklyUsers => builder
            .project([group.alias("g0"), user.alias("v0")])?
            .filter(named("v0").is_not_null())?
            .aggregate([named("g0")], [functions::count_distinct().call(vec![named("v0")]).alias("a0")])?,
    };
    let shown = [
        named("g0").alias("o0"),
        cast(named("a0"), DataType::Utf8View).alias("o1"),
        named("a0").alias("s0"),
        named("g0").alias("s1"),
    ];
    let order = match report {
        SearchReport::TopQueries => vec![SortColumn::new("s0", true), SortColumn::new("s1", false)],
        SearchReport::WeeklyUsers => vec![SortColumn::new("s1", false)],
    };
    Ok(GroupedPlan { plan: SizedPlan { plan: builder.project(shown)?.build()?, batch_size }, order })
}

fn group_name(index: usize) -> String {
    format!("g{index}")
}

fn aggregate_name(index: usize) -> String {
    format!("a{index}")
}

fn group_key(query: &Query, key: &KeyExpr, columns: &mut Columns) -> Expr {
    match key {
        KeyExpr::Field(reference) if is_whole_json(reference) => {
            functions::json_canonical().call(vec![columns.field(reference)])
        }
        KeyExpr::Field(reference) => columns.field(reference),
        KeyExpr::Bucket { field, unit } => {
            let time = columns.add(ScanColumn::Plain(field.name));
            functions::time_bucket(*unit, query.time_zone.clone(), query.week_start).call(vec![time])
        }
    }
}

fn grouped_value(expr: &ColumnExpr) -> Expr {
    match expr {
        ColumnExpr::Group(index) => named(&group_name(*index)),
        ColumnExpr::Aggregation(index) => named(&aggregate_name(*index)),
        // `check` makes every field of a grouped query a group key.
        ColumnExpr::Field(_) => lit(ScalarValue::Utf8View(None)),
    }
}

fn grouped_sort_key(query: &Query, expr: &ColumnExpr) -> Expr {
    let value = grouped_value(expr);
    match expr {
        ColumnExpr::Group(index) => match query.groups.get(*index) {
            Some(KeyExpr::Field(reference)) if is_whole_json(reference) => functions::json_sort_key().call(vec![value]),
            _ => value,
        },
        _ => value,
    }
}

/// What an aggregation reads of its field.
fn argument(function: AggregateFunction, reference: &FieldRef, columns: &mut Columns) -> Result<Expr> {
    let json = json_field(reference.field.name).filter(|_| reference.field.kind == FieldKind::Json);
    let at_path = json.filter(|_| !reference.path.is_empty());
    Ok(match (function, at_path) {
        (AggregateFunction::Count, Some(json)) => {
            when(columns.path(json, &reference.path, Form::Present), lit(1_i32)).end()?
        }
        (AggregateFunction::Count, None) => columns.field(reference),
        (AggregateFunction::CountDistinct, _) if is_whole_json(reference) => {
            functions::json_canonical().call(vec![columns.field(reference)])
        }
        (AggregateFunction::CountDistinct, _) => columns.field(reference),
        (_, Some(json)) => columns.path(json, &reference.path, Form::Numeric),
        (AggregateFunction::Sum | AggregateFunction::Avg, None) => {
            let value = columns.field(reference);
            match reference.field.kind {
                // Times are stored in microseconds and are whole milliseconds.
                FieldKind::Time => cast(cast(value, DataType::Int64) / lit(1000_i64), DataType::Float64),
                _ => cast(value, DataType::Float64),
            }
        }
        (AggregateFunction::Min | AggregateFunction::Max, None) => columns.field(reference),
    })
}

fn aggregate(aggregation: &Aggregation, argument: Option<Expr>) -> Expr {
    let Some(argument) = argument else { return count(lit(1_i64)) };
    match aggregation.function {
        AggregateFunction::Count => count(argument),
        AggregateFunction::CountDistinct => functions::count_distinct().call(vec![argument]),
        AggregateFunction::Sum => functions::exact_sum().call(vec![argument]),
        AggregateFunction::Avg => functions::exact_avg().call(vec![argument]),
        AggregateFunction::Min => min(argument),
        AggregateFunction::Max => max(argument),
    }
}

fn reads_json(column: &ScanColumn) -> bool {
    matches!(column, ScanColumn::Whole(_) | ScanColumn::Path { form: Form::Json | Form::Array, .. })
}

/// Where the cells of an output column of a page come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PageColumn {
    /// A column of the page plan, by its position.
    Page(usize),
    /// A stored column, read by row address after the page is known.
    Stored(&'static str),
}

pub(crate) struct PagePlan {
    pub(crate) plan: SizedPlan,
    pub(crate) order: Vec<SortColumn>,
    /// One for each output column of the query.
    pub(crate) columns: Vec<PageColumn>,
    /// Positions of the row's source and row number; absent where no stored column is read.
    pub(crate) address: Option<(usize, usize)>,
}

/// The output of a plan; an expression that is asked for twice is one column. Scan columns keep their names: by it
/// DataFusion knows in which order to read row groups.
#[derive(Default)]
struct Output(Vec<(Expr, String)>);

impl Output {
    fn position(&mut self, expr: Expr) -> usize {
        if let Some(position) = self.0.iter().position(|(present, _)| *present == expr) {
            return position;
        }
        let name = match &expr {
            Expr::Column(column) => column.name.clone(),
            _ => format!("o{}", self.0.len()),
        };
        self.0.push((expr, name));
        self.0.len() - 1
    }

    fn sort_column(&mut self, expr: Expr, descending: bool) -> SortColumn {
        let position = self.position(expr);
        SortColumn::new(self.0.get(position).map_or("", |(_, name)| name), descending)
    }

    fn into_exprs(self) -> Vec<Expr> {
        let named =
            |(expr, name): (Expr, String)| if matches!(expr, Expr::Column(_)) { expr } else { expr.alias(name) };
        self.0.into_iter().map(named).collect()
    }
}

/// The rows of one page, without their order and limit. Raw JSON is not carried through the sort: it is read afterwards.
pub(crate) fn page(query: &Query, source: &Source) -> Result<PagePlan> {
    let mut columns = Columns::default();
    let fields = query.columns.iter().map(|column| match &column.expr {
        ColumnExpr::Field(reference) => Ok(reference),
        _ => datafusion::common::internal_err!("an aggregated column in a query without groups"),
    });
    let fields = fields.collect::<Result<Vec<&FieldRef>>>()?;
    let wide = fields.iter().any(|reference| is_whole_json(reference));
    let mut output = Output::default();
    let mut page_columns = Vec::new();
    for reference in fields {
        page_columns.push(if wide && reference.path.is_empty() && !view::is_computed(reference.field.name) {
            PageColumn::Stored(reference.field.name)
        } else {
            PageColumn::Page(output.position(columns.field(reference)))
        });
    }
    let address =
        wide.then(|| (output.position(columns.add(ScanColumn::Source)), output.position(columns.add(ScanColumn::Row))));
    let mut keys = Vec::new();
    for order in &query.order {
        if let ColumnExpr::Field(reference) = &order.expr {
            let value = columns.field(reference);
            let key = if is_whole_json(reference) { functions::json_sort_key().call(vec![value]) } else { value };
            push_key(&mut keys, key, order.descending);
        }
    }
    push_key(&mut keys, columns.add(ScanColumn::Plain(query.view.default_time_field)), true);
    push_key(&mut keys, columns.add(ScanColumn::Plain("id")), false);
    // A scope has one organization, so that the last tie-breaker never decides.
    if source.scope.project_id.is_none() {
        push_key(&mut keys, columns.add(ScanColumn::Plain("projectId")), false);
    }
    let order = keys.into_iter().map(|(expr, descending)| output.sort_column(expr, descending)).collect();
    let predicate = query.filter.as_ref().map(|filter| filter::compile(filter, &mut columns));
    let (mut builder, batch_size) = source.scan(columns, true)?;
    if let Some(predicate) = predicate {
        builder = builder.filter(predicate)?;
    }
    let plan = builder.project(output.into_exprs())?.build()?;
    Ok(PagePlan { plan: SizedPlan { plan, batch_size }, order, columns: page_columns, address })
}

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

/// Addresses of the rows that match, by plain fields in order (`true`: descending).
pub(crate) fn rows(filter: &Filter, order: &[(&'static str, bool)], source: &Source) -> Result<PagePlan> {
    ordered(source, order, |columns| Some(filter::compile(filter, columns)))
}

fn ordered(
    source: &Source,
    fields: &[(&'static str, bool)],
    predicate: impl FnOnce(&mut Columns) -> Option<Expr>,
) -> Result<PagePlan> {
    let mut columns = Columns::default();
    let mut output = Output::default();
    let address = (output.position(columns.add(ScanColumn::Source)), output.position(columns.add(ScanColumn::Row)));
    let mut order = Vec::new();
    for (name, descending) in fields {
        order.push(output.sort_column(columns.add(ScanColumn::Plain(name)), *descending));
    }
    let predicate = predicate(&mut columns);
    let (mut builder, batch_size) = source.scan(columns, true)?;
    if let Some(predicate) = predicate {
        builder = builder.filter(predicate)?;
    }
    let plan = builder.project(output.into_exprs())?.build()?;
    Ok(PagePlan { plan: SizedPlan { plan, batch_size }, order, columns: Vec::new(), address: Some(address) })
}

/// Live rows of the scope.
pub(crate) fn row_count(source: &Source) -> Result<SizedPlan> {
    let (builder, batch_size) = source.scan(Columns::default(), false)?;
    let plan = builder.aggregate(Vec::<Expr>::new(), [count(lit(1_i64))])?.build()?;
    Ok(SizedPlan { plan, batch_size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(expr: &Expr) -> usize {
        match expr {
            Expr::BinaryExpr(binary) => 1 + depth(&binary.left).max(depth(&binary.right)),
            _ => 1,
        }
    }

    #[test]
    fn a_thousand_conditions_make_a_shallow_tree() {
        let tree = all_of((0..1000).map(lit).collect());
        assert_eq!(depth(&tree), 11);
        assert_eq!(all_of(Vec::new()), lit(true));
        assert_eq!(any_of(Vec::new()), lit(false));
    }
}
