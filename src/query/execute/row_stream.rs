//! Rows out of the engine.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringViewArray};
use arrow::datatypes::Schema;

use super::columns::{ResultColumn, ResultKind, columns_of, unpacked};
use super::execution::Execution;
use super::fill;
use super::groups::Groups;
use super::page::Page;
use super::question::Question;
use super::texts;
use super::tops;
use super::window::Window;
use super::words;
use crate::query::admission::Slot;
use crate::query::compile::columns::json_field;
use crate::query::compile::report::SearchReport;
use crate::query::compile::{grouped, report};
use crate::query::dsl::Query;
use crate::query::error::QueryError;

/// Rows of the report on search texts (contract A4).
const TOP_SEARCH_QUERIES: usize = 100;

/// The rows of an answer, batch by batch, read while they are asked for. Only the query threads read them: they have
/// the stack that deep plans need, and decoding keeps no request waiting.
pub(crate) struct RowStream {
    columns: Vec<ResultColumn>,
    rows: Rows,
    totals: Option<Totals>,
    slot: Option<Slot>,
}

/// Aggregations over all rows that a query's filter left (contract A5).
pub(crate) struct Totals {
    pub(crate) columns: Vec<ResultColumn>,
    /// It has one row.
    pub(crate) row: RecordBatch,
}

enum Rows {
    /// Nothing of them is read yet.
    Asked(Box<(Execution, Question)>),
    Groups(Box<Groups>),
    Page(Box<Page>),
    Texts(Option<RecordBatch>),
}

impl RowStream {
    /// The columns are known; no row is read before the first is asked for.
    pub(crate) async fn open(execution: Execution, question: Question) -> Result<RowStream, QueryError> {
        let execution = words::narrowed(execution, &question).await;
        let columns = match &question {
            Question::Query(query) => columns_of(query),
            Question::Export(query) => export_columns(&execution, query).await?,
            Question::SearchReport { report: SearchReport::TopQueries, .. } => {
                vec![ResultColumn::new("search_query", ResultKind::Text), ResultColumn::new("count", ResultKind::Text)]
            }
            Question::SearchReport { report: SearchReport::WeeklyUsers, .. } => {
                vec![ResultColumn::new("week", ResultKind::Time), ResultColumn::new("unique_users", ResultKind::Text)]
            }
            Question::Properties(_) => vec![ResultColumn::new("results", ResultKind::Text)],
        };
        Ok(RowStream { columns, rows: Rows::Asked(Box::new((execution, question))), totals: None, slot: None })
    }

    /// Whose slot this is read in.
    pub(crate) fn in_slot(self, slot: Slot) -> RowStream {
        RowStream { slot: Some(slot), ..self }
    }

    pub(crate) fn slot(&self) -> Option<&Slot> {
        self.slot.as_ref()
    }

    pub(crate) fn columns(&self) -> &[ResultColumn] {
        &self.columns
    }

    /// The next rows, few enough to hold in memory; the batch has the columns of [`Self::columns`], in order. `None`
    /// after the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, QueryError> {
        if matches!(self.rows, Rows::Asked(_))
            && let Rows::Asked(asked) = std::mem::replace(&mut self.rows, Rows::Texts(None))
        {
            let (execution, question) = *asked;
            if let Question::Query(query) = &question
                && query.shape.totals
            {
                self.totals = Some(totals(&execution, query).await?);
            }
            self.rows = Rows::start(execution, &question, self.columns.len()).await?;
        }
        match &mut self.rows {
            Rows::Groups(groups) => groups.next().await,
            Rows::Page(page) => page.next().await,
            Rows::Texts(batch) => Ok(batch.take()),
            Rows::Asked(_) => Ok(None),
        }
    }

    /// How many rows match in all, whatever the answer shows of them; known once the first batch is there. `None` where
    /// they are not counted.
    pub(crate) fn total(&self) -> Option<u64> {
        match &self.rows {
            Rows::Groups(groups) => Some(groups.total()),
            Rows::Page(page) => page.total(),
            Rows::Texts(_) | Rows::Asked(_) => None,
        }
    }

    /// Known once the first batch is there; `None` where the query does not ask for them.
    pub(crate) fn totals(&self) -> Option<&Totals> {
        self.totals.as_ref()
    }
}

/// The query's aggregations and formulas over all rows that its filter leaves, as one group.
async fn totals(execution: &Execution, query: &Query) -> Result<Totals, QueryError> {
    let query = query.totals();
    let columns = columns_of(&query);
    let nothing = || {
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)
    };
    if columns.is_empty() {
        let row = nothing().map_err(|error| QueryError::Internal(error.to_string()))?;
        return Ok(Totals { columns, row });
    }
    let plan = grouped::grouped(&query, &[], &execution.source).map_err(|error| execution.error(error))?;
    let mut groups = Groups::open(execution.clone(), &plan, columns.len(), Window::new(0, 1)).await?;
    match groups.next().await? {
        Some(row) => Ok(Totals { columns, row }),
        None => Err(QueryError::Internal("totals gave no row".into())),
    }
}

impl Rows {
    async fn start(execution: Execution, question: &Question, columns: usize) -> Result<Rows, QueryError> {
        let counts = !matches!(question, Question::Export(_));
        match question {
            Question::Query(query) | Question::Export(query) if query.grouped => {
                let tops = tops::top_values(&execution, query).await?;
                let plan = match &query.fill {
                    Some(fill) => {
                        let (groups, batch_size) = fill::filled(&execution, query, fill, &tops).await?;
                        grouped::shown(query, groups, batch_size)
                    }
                    None => grouped::grouped(query, &tops, &execution.source),
                };
                let plan = plan.map_err(|error| execution.error(error))?;
                let window = Window::new(query.offset, query.limit);
                Ok(Rows::Groups(Box::new(Groups::open(execution, &plan, columns, window).await?)))
            }
            Question::Query(query) | Question::Export(query) => {
                Ok(Rows::Page(Box::new(Page::open(execution, query, counts).await?)))
            }
            Question::SearchReport { report, after } => {
                let plan = report::search_report(*report, after.as_deref(), &execution.source);
                let plan = plan.map_err(|error| execution.error(error))?;
                let limit = match report {
                    SearchReport::TopQueries => TOP_SEARCH_QUERIES,
                    SearchReport::WeeklyUsers => usize::MAX,
                };
                Ok(Rows::Groups(Box::new(Groups::open(execution, &plan, columns, Window::new(0, limit)).await?)))
            }
            Question::Properties(query) => {
                let texts = texts::properties(&execution, query).await?;
                let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
                let batch = RecordBatch::try_from_iter([("results", texts)]);
                batch.map(|batch| Rows::Texts(Some(batch))).map_err(|error| QueryError::Internal(error.to_string()))
            }
        }
    }
}

/// A query's columns, with the parts of the whole JSON fields that are shown part by part.
async fn export_columns(execution: &Execution, query: &Query) -> Result<Vec<ResultColumn>, QueryError> {
    let mut columns = columns_of(query);
    let mut fields = Vec::new();
    let mut whole = Vec::new();
    for (asked, column) in query.columns.iter().zip(&mut columns) {
        if let Some(field) = unpacked(query, asked).and_then(|field| json_field(field.name)) {
            fields.push(field);
            whole.push(column);
        }
    }
    for (column, parts) in whole.into_iter().zip(texts::parts(execution, query, &fields).await?) {
        column.parts = Some(parts);
    }
    Ok(columns)
}
