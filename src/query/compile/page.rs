//! Queries whose rows are stored rows: where they lie, what they are sorted by and their narrow columns.

use datafusion::error::Result;
use datafusion::logical_expr::Expr;

use super::columns::{Columns, is_whole_json};
use super::filter;
use super::order::{SortColumn, push_key};
use super::source::{SizedPlan, Source};
use crate::query::dsl::{ColumnExpr, FieldRef, Filter, Query};
use crate::query::functions;
use crate::query::scan::column::ScanColumn;

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
    /// Absent where no stored column is read.
    pub(crate) address: Option<AddressColumns>,
}

/// The columns of a page plan that say where a row lies, by their positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressColumns {
    pub(crate) source: usize,
    pub(crate) row: usize,
}

/// The output of a plan; an expression that is asked for twice is one column. Scan columns keep their names: by it
/// a scan knows in which order to read files and row groups.
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

    /// Adds where each row lies.
    fn address(&mut self, columns: &mut Columns) -> AddressColumns {
        AddressColumns {
            source: self.position(columns.add(ScanColumn::Source)),
            row: self.position(columns.add(ScanColumn::Row)),
        }
    }

    fn into_exprs(self) -> Vec<Expr> {
        let named =
            |(expr, name): (Expr, String)| if matches!(expr, Expr::Column(_)) { expr } else { expr.alias(name) };
        self.0.into_iter().map(named).collect()
    }
}

/// The rows of one page, without their order and limit. Raw JSON and what is looked up are not carried through the
/// sort: they are read afterwards.
pub(crate) fn page(query: &Query, source: &Source) -> Result<PagePlan> {
    let mut columns = Columns::default();
    let fields = query.columns.iter().map(|column| match &column.expr {
        ColumnExpr::Field(reference) => Ok(reference),
        _ => datafusion::common::internal_err!("an aggregated column in a query without groups"),
    });
    let fields = fields.collect::<Result<Vec<&FieldRef>>>()?;
    let is_elsewhere = |reference: &FieldRef| reference.field.looked_up && reference.path.is_empty();
    let wide = fields.iter().any(|reference| is_whole_json(reference) || is_elsewhere(reference));
    let mut output = Output::default();
    let mut page_columns = Vec::new();
    for reference in fields {
        let is_stored = reference.field.stored || reference.field.looked_up;
        page_columns.push(if wide && reference.path.is_empty() && is_stored {
            PageColumn::Stored(reference.field.name)
        } else {
            PageColumn::Page(output.position(columns.field(reference)))
        });
    }
    let address = wide.then(|| output.address(&mut columns));
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

/// Addresses of the rows that match, by plain fields in order (`true`: descending).
pub(crate) fn rows(filter: &Filter, order: &[(&'static str, bool)], source: &Source) -> Result<PagePlan> {
    ordered(source, order, |columns| Some(filter::compile(filter, columns)))
}

/// Addresses of the rows for which a predicate holds.
pub(crate) fn ordered(
    source: &Source,
    fields: &[(&'static str, bool)],
    predicate: impl FnOnce(&mut Columns) -> Option<Expr>,
) -> Result<PagePlan> {
    let mut columns = Columns::default();
    let mut output = Output::default();
    let address = output.address(&mut columns);
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
