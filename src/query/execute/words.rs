//! Which threads may have the words of a query's `query`: the text indexes of their conversations tell, so that the
//! messages of few are read.

use std::sync::Arc;

use super::execution::Execution;
use super::question::Question;
use crate::model::search_text::SearchTerm;
use crate::query::compile::source::Source;
use crate::query::dsl::{Condition, Filter, Query};
use crate::storage::format::table::Table;

/// Each is looked for in every index; the longest leave out the most.
const LOOKED_UP_WORDS: usize = 8;

/// The execution of a question, with only the rows that may have the words.
pub(crate) async fn narrowed(execution: Execution, question: &Question) -> Execution {
    let (Question::Query(query) | Question::Export(query)) = question else { return execution };
    let words = words(query);
    if words.is_empty() || execution.source.filter.is_some() {
        return execution;
    }
    let terms: Vec<SearchTerm> = words.iter().map(|word| SearchTerm::of_folded(word)).collect();
    let filter = Some(Arc::new(execution.source.snapshot.thread_candidates(&terms).await));
    Execution { source: Source { filter, ..execution.source }, ..execution }
}

/// All of which a row has to have in its question or its answer.
fn words(query: &Query) -> Vec<&str> {
    let parts = match &query.filter {
        Some(Filter::And(parts)) => parts.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let mut words: Vec<&str> = parts.iter().flat_map(|part| words_of(query, part)).collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words.truncate(LOOKED_UP_WORDS);
    words
}

/// A question and an answer are messages with paragraphs between them, so a text without a space lies in one message.
/// (A word may fold to some with spaces.)
fn words_of<'a>(query: &Query, filter: &'a Filter) -> impl Iterator<Item = &'a str> {
    let words = match filter {
        Filter::Condition(Condition::ContainsWords { targets, words })
            if query.view.table == Table::SemanticThreads
                && targets.iter().all(|target| query.view.searched.contains(&target.field.name)) =>
        {
            words.as_slice()
        }
        _ => &[],
    };
    words.iter().map(String::as_str).filter(|word| !word.is_empty() && !word.contains(char::is_whitespace))
}
