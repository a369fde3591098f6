//! Ids and texts of the messages of threads.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringArray, StringViewBuilder};
use datafusion::error::{DataFusionError, Result};

use crate::model::conversation::{Message, text_of_parts};
use crate::model::thread::ThreadTexts;
use crate::query::scan::column::ScanColumn;
use crate::storage::format::arrow_types::list_element;
use crate::storage::format::columns::messages::{CONTENT, CONTENT_PARTS, ID, ROLE};
use crate::storage::format::columns::threads::{ANSWER, MESSAGE_IDS, QUESTION};
use crate::storage::format::error::FileError;
use crate::storage::format::physical_name::snake_case;
use crate::storage::format::points::Points;

/// What of them is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    ids: bool,
    texts: bool,
}

impl Wanted {
    pub(super) fn add(&mut self, column: &ScanColumn) {
        match column {
            ScanColumn::Plain(MESSAGE_IDS) => self.ids = true,
            ScanColumn::Plain(QUESTION | ANSWER) => self.texts = true,
            _ => {}
        }
    }

    pub(super) fn is_none(self) -> bool {
        !self.ids && !self.texts
    }

    /// The columns that are read of the messages' file.
    pub(super) fn columns(self) -> Vec<String> {
        let ids = if self.ids { [ID].as_slice() } else { &[] };
        let texts = if self.texts { [ROLE, CONTENT, CONTENT_PARTS].as_slice() } else { &[] };
        ids.iter().chain(texts).map(|name| snake_case(name)).collect()
    }
}

/// What threads have of their messages, thread after thread.
pub(super) struct MessageColumns {
    wanted: Wanted,
    ids: ListBuilder<StringViewBuilder>,
    questions: StringViewBuilder,
    answers: StringViewBuilder,
    bytes: usize,
}

impl MessageColumns {
    pub(super) fn new(wanted: Wanted) -> Self {
        MessageColumns {
            wanted,
            ids: ListBuilder::new(StringViewBuilder::new()).with_field(list_element()),
            questions: StringViewBuilder::new(),
            answers: StringViewBuilder::new(),
            bytes: 0,
        }
    }

    /// Of a thread whose messages are these rows of the messages' file.
    pub(super) fn push_stored(&mut self, read: &Points, messages: Range<u32>) -> Result<()> {
        let start = read.index(messages.start).map_err(failed)?;
        let places = start..start + messages.len();
        let column = |name: &str| {
            let array = read.batch.column_by_name(&snake_case(name)).and_then(|array| array.as_string_opt::<i32>());
            let array = array.filter(|array| array.len() >= places.end);
            array.ok_or_else(|| failed(read.damaged(format!("its {name} is of another type"))))
        };
        if self.wanted.ids {
            let ids = column(ID)?;
            places.clone().for_each(|place| self.push_id(ids.value(place)));
            self.ids.append(true);
        }
        if self.wanted.texts {
            let (roles, contents, parts) = (column(ROLE)?, column(CONTENT)?, column(CONTENT_PARTS)?);
            let messages = places.map(|place| (roles.value(place), text(contents, parts, place)));
            self.push_texts(ThreadTexts::of(messages))?;
        }
        Ok(())
    }

    /// Of a thread whose messages are in memory.
    pub(super) fn push(&mut self, messages: &[Message]) -> Result<()> {
        if self.wanted.ids {
            messages.iter().for_each(|message| self.push_id(message.id.as_str()));
            self.ids.append(true);
        }
        if self.wanted.texts {
            self.push_texts(ThreadTexts::of_messages(messages))?;
        }
        Ok(())
    }

    fn push_id(&mut self, id: &str) {
        self.bytes += id.len();
        self.ids.values().append_value(id);
    }

    fn push_texts(&mut self, texts: ThreadTexts<'_>) -> Result<()> {
        let columns = [(&mut self.questions, texts.question), (&mut self.answers, texts.answer)];
        for (column, text) in columns {
            self.bytes += text.as_ref().map_or(0, |text| text.len());
            match text {
                Some(text) => column.try_append_value(&text)?,
                None => column.append_null(),
            }
        }
        Ok(())
    }

    /// Of all texts so far.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn finish(mut self) -> MessageArrays {
        MessageArrays {
            ids: Arc::new(self.ids.finish()),
            questions: Arc::new(self.questions.finish()),
            answers: Arc::new(self.answers.finish()),
        }
    }
}

/// Empty where they are not wanted.
pub(super) struct MessageArrays {
    ids: ArrayRef,
    questions: ArrayRef,
    answers: ArrayRef,
}

impl MessageArrays {
    pub(super) fn column(&self, column: &ScanColumn) -> Option<&ArrayRef> {
        match column {
            ScanColumn::Plain(MESSAGE_IDS) => Some(&self.ids),
            ScanColumn::Plain(QUESTION) => Some(&self.questions),
            ScanColumn::Plain(ANSWER) => Some(&self.answers),
            _ => None,
        }
    }
}

fn failed(error: FileError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What a stored message says.
fn text<'a>(contents: &'a StringArray, parts: &'a StringArray, place: usize) -> Cow<'a, str> {
    if contents.is_valid(place) {
        Cow::Borrowed(contents.value(place))
    } else if parts.is_valid(place) {
        Cow::Owned(text_of_parts(parts.value(place)))
    } else {
        Cow::Borrowed("")
    }
}
