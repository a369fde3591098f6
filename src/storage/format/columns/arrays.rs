//! Rows into arrays: a loop for each column.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Int64Array, ListBuilder, StringViewArray, StringViewBuilder,
    TimestampMillisecondArray, new_null_array,
};

use super::column::{Column, FlatRow, Get, TextList};
use crate::model::ids::EpochMillis;
use crate::storage::format::arrow_types::list_element;
use crate::storage::format::error::FlattenError;
use crate::storage::format::flatten::walk::unescape;

/// The arrays of the stored columns, in their order; `hidden` says whether of the hidden ones too.
pub(crate) fn arrays<R: FlatRow>(
    rows: &[Arc<R>],
    remainders: &[ArrayRef; 2],
    hidden: bool,
) -> Result<Vec<ArrayRef>, FlattenError> {
    let stored = R::COLUMNS.iter().filter(|column| column.field.stored && (hidden || !column.field.hidden));
    stored.map(|column| array(column, rows, remainders)).collect()
}

#[expect(clippy::indexing_slicing, reason = "only fields that are spread have a remainder, and there is one for each")]
fn array<R: FlatRow>(
    column: &Column<R>,
    rows: &[Arc<R>],
    remainders: &[ArrayRef; 2],
) -> Result<ArrayRef, FlattenError> {
    let rows = rows.iter().map(Arc::as_ref);
    Ok(match &column.get {
        Get::Text(get) => Arc::new(rows.map(get).collect::<StringViewArray>()),
        Get::MadeText(get) => Arc::new(rows.map(get).collect::<StringViewArray>()),
        Get::JsonString(get) => {
            let mut texts = StringViewBuilder::with_capacity(rows.len());
            for row in rows {
                let quoted = get(row).map(|json| json.get());
                let inner = quoted.map(|quoted| quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
                texts.append_option(inner.map(unescape).transpose()?);
            }
            Arc::new(texts.finish())
        }
        Get::Time(get) => times(rows.map(get)),
        Get::Integer(get) => Arc::new(rows.map(get).collect::<Int64Array>()),
        Get::Boolean(get) => Arc::new(rows.map(get).collect::<BooleanArray>()),
        Get::TextList(get) => lists(rows.map(get)),
        Get::Json(get) | Get::Spread(_, get) => {
            Arc::new(rows.map(|row| get(row).map(|raw| raw.get())).collect::<StringViewArray>())
        }
        Get::Bytes(get) => Arc::new(BinaryArray::from_iter_values(rows.map(get))),
        Get::Remainder(field) => Arc::clone(&remainders[*field as usize]),
        Get::Computed | Get::LookedUp(_) => new_null_array(&column.field.data_type(), rows.len()),
    })
}

fn times(times: impl Iterator<Item = Option<EpochMillis>>) -> ArrayRef {
    let array: TimestampMillisecondArray = times.map(|time| time.map(|time| time.0)).collect();
    Arc::new(array.with_timezone("UTC"))
}

fn lists<'a>(rows: impl Iterator<Item = Option<TextList<'a>>>) -> ArrayRef {
    let mut lists = ListBuilder::new(StringViewBuilder::new()).with_field(list_element());
    for row in rows {
        match row {
            Some(TextList::One(element)) => lists.values().append_value(element),
            Some(TextList::Many(elements)) => elements.iter().for_each(|element| lists.values().append_value(element)),
            None => {}
        }
        lists.append(row.is_some());
    }
    Arc::new(lists.finish())
}
