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
    let terms: Vec<SearchTerm> = words.iter().map(|word| SearchTerm::new(word)).collect();
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
    let mut words: Vec<&str> = parts.iter().filter_map(|part| word(query, part)).collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words.truncate(LOOKED_UP_WORDS);
    words
}

/// A question and an answer are messages with paragraphs between them, so a text without a space lies in one message.
fn word<'a>(query: &Query, filter: &'a Filter) -> Option<&'a str> {
    let Filter::Condition(Condition::ContainsText { targets, text }) = filter else { return None };
    let in_messages = query.view.table == Table::SemanticThreads
        && targets.iter().all(|target| query.view.searched.contains(&target.field.name));
    (in_messages && !text.contains(char::is_whitespace)).then_some(text)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Scalar, StringArray};
    use arrow::compute::kernels::comparison::ilike;

    use crate::model::search_text::fold;

    /// The filter compares without case as regular expressions do, the text index as searches do: what the filter finds
    /// has to be among the candidates.
    #[test]
    fn what_the_filter_takes_for_the_same_the_index_does_too() {
        let cased: Vec<String> = ('\0'..=char::MAX)
            .filter(|one| !one.to_lowercase().eq([*one]) || !one.to_uppercase().eq([*one]))
            .map(String::from)
            .collect();
        let all = StringArray::from(cased.clone());
        let mut same = 0;
        for one in &cased {
            let found = ilike(&all, &Scalar::new(StringArray::from(vec![one.as_str()]))).unwrap();
            for (other, _) in cased.iter().zip(found.values().iter()).filter(|(_, found)| *found) {
                assert_eq!(fold(one), fold(other), "{one} {other}");
                same += 1;
            }
        }
        assert!(same > 2 * cased.len() - 500, "{same} of {}", cased.len());
    }
}
