//! The distinct texts that exports and property lists are made of.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::AsArray;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::execute_stream_partitioned;
use futures::StreamExt;
use tokio::task::JoinSet;

use super::execution::Execution;
use super::parts::each_part;
use super::session::{Limits, query_error};
use crate::query::compile::columns::json_field;
use crate::query::compile::source::Source;
use crate::query::compile::texts;
use crate::query::dsl::{PropertyQuery, Query};
use crate::query::error::QueryError;
use crate::query::scan::column::{Form, ScanColumn};
use crate::query::watch::{self, Pace};
use crate::storage::format::layout::JsonField;

/// What a text that is kept takes beside its bytes, about.
const ENTRY_BYTES: usize = 64;

/// What is gathered of the texts of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gather {
    /// The names of a JSON value's parts.
    Keys,
    /// The first texts of a number, by code point.
    First(usize),
}

/// The names of the parts that each of these whole fields has in the rows that pass the query's filter.
pub(crate) async fn parts(
    execution: &Execution,
    query: &Query,
    fields: &[JsonField],
) -> Result<Vec<BTreeSet<String>>, QueryError> {
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    let columns = fields.iter().map(|field| ScanColumn::Whole(*field)).collect();
    distinct(execution, query, &execution.source, columns, Gather::Keys).await
}

/// The property keys or values that a request asks for, sorted by code point.
pub(crate) async fn properties(execution: &Execution, query: &PropertyQuery) -> Result<Vec<String>, QueryError> {
    let mut found = BTreeSet::new();
    let Some(field) = json_field(query.field) else { return Ok(Vec::new()) };
    for rows in &query.rows {
        let (column, gather) = match &query.key {
            None => (ScanColumn::Whole(field), Gather::Keys),
            Some(key) => {
                (ScanColumn::Path { field, path: vec![key.clone()], form: Form::Text }, Gather::First(query.limit))
            }
        };
        let source = Source { table: rows.view.table, ..execution.source.clone() };
        let texts = distinct(execution, rows, &source, vec![column], gather).await?;
        found.extend(texts.into_iter().flatten());
    }
    Ok(found.into_iter().take(query.limit).collect())
}

/// The distinct texts of each column, over the rows that pass the query's filter. What is kept at a time is bounded
/// by the query's memory limit.
async fn distinct(
    execution: &Execution,
    query: &Query,
    source: &Source,
    columns: Vec<ScanColumn>,
    gather: Gather,
) -> Result<Vec<BTreeSet<String>>, QueryError> {
    let width = columns.len();
    let failed = |error| execution.error(error);
    let plan = texts::texts(query, columns, source).map_err(failed)?;
    let session = execution.session(plan.batch_size)?;
    let physical = session.plan(&plan.plan).await.map_err(failed)?;
    let streams = execute_stream_partitioned(physical, session.task()).map_err(failed)?;
    let limits = &execution.limits;
    let budget = Arc::new(AtomicUsize::new(usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX)));
    let mut tasks = JoinSet::new();
    for stream in streams {
        let gathering = gather_texts(stream, width, gather, Arc::clone(&budget), Arc::clone(limits));
        tasks.spawn(watch::handed_on(gathering, watch::current()));
    }
    let mut found = vec![BTreeSet::new(); width];
    while let Some(part) = tasks.join_next().await {
        let part = part.map_err(|error| QueryError::Internal(format!("a query's task ended: {error}")))??;
        for (all, texts) in found.iter_mut().zip(part) {
            all.extend(texts);
        }
    }
    Ok(found)
}

async fn gather_texts(
    mut stream: SendableRecordBatchStream,
    width: usize,
    gather: Gather,
    budget: Arc<AtomicUsize>,
    limits: Arc<Limits>,
) -> Result<Vec<BTreeSet<String>>, QueryError> {
    let mut found = vec![Texts { texts: BTreeSet::new(), budget: &budget, exceeded: false }; width];
    let mut pace = Pace::current();
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| query_error(&error, &limits))?;
        for (texts, column) in found.iter_mut().zip(batch.columns()) {
            let Some(column) = column.as_string_view_opt() else {
                return Err(QueryError::Internal(format!("a text column is of type {}", column.data_type())));
            };
            for text in column.iter().flatten() {
                pace.step(text.len())?;
                match gather {
                    Gather::Keys => each_part(text, |key, _| texts.add(key)),
                    Gather::First(most) => texts.add_first(text, most),
                }
            }
            if texts.exceeded {
                return Err(QueryError::Memory { bytes: limits.memory_bytes });
            }
        }
    }
    Ok(found.into_iter().map(|texts| texts.texts).collect())
}

/// Distinct texts whose bytes are taken from a budget that several sets share.
#[derive(Clone)]
struct Texts<'a> {
    texts: BTreeSet<String>,
    budget: &'a AtomicUsize,
    exceeded: bool,
}

impl Texts<'_> {
    fn add(&mut self, text: &str) {
        if self.exceeded || self.texts.contains(text) {
            return;
        }
        let bytes = text.len() + ENTRY_BYTES;
        match self.budget.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)) {
            Ok(_) => {
                self.texts.insert(text.to_owned());
            }
            Err(_) => self.exceeded = true,
        }
    }

    fn add_first(&mut self, text: &str, most: usize) {
        if self.texts.len() >= most && self.texts.last().is_some_and(|last| last.as_str() <= text) {
            return;
        }
        self.add(text);
        if self.texts.len() > most
            && let Some(last) = self.texts.pop_last()
        {
            self.budget.fetch_add(last.len() + ENTRY_BYTES, Ordering::Relaxed);
        }
    }
}
