//! The cells of one column of one batch, typed once so that rows cost no type dispatch on the array.

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, LargeListArray, LargeStringArray, ListArray,
    StringArray, StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, TimeUnit};

use super::text::{write_double, write_integer, write_string};
use crate::model::ids::EpochMillis;
use crate::model::json::jsonb;
use crate::model::json::parser;
use crate::model::json::value::Json;
use crate::model::time;
use crate::query::error::QueryError;
use crate::query::execute::columns::ResultKind;

pub(crate) enum Cells<'a> {
    /// A column without any value.
    Null,
    Text(Strings<'a>),
    Json(Strings<'a>),
    JsonTexts(Strings<'a>),
    Time(Times<'a>),
    EpochMillis(Times<'a>),
    Integer(Integers<'a>),
    Double(&'a Float64Array),
    Boolean(&'a BooleanArray),
    TextList(&'a ListArray),
    LargeTextList(&'a LargeListArray),
}

pub(crate) enum Strings<'a> {
    View(&'a StringViewArray),
    Small(&'a StringArray),
    Large(&'a LargeStringArray),
}

pub(crate) enum Integers<'a> {
    I64(&'a Int64Array),
    I32(&'a Int32Array),
    U64(&'a UInt64Array),
}

/// Timestamps of any unit, cut to milliseconds.
pub(crate) enum Times<'a> {
    Seconds(&'a TimestampSecondArray),
    Millis(&'a TimestampMillisecondArray),
    Micros(&'a TimestampMicrosecondArray),
    Nanos(&'a TimestampNanosecondArray),
}

impl<'a> Cells<'a> {
    pub(crate) fn new(kind: ResultKind, array: &'a dyn Array) -> Result<Self, QueryError> {
        let data_type = array.data_type();
        if *data_type == DataType::Null {
            return Ok(Cells::Null);
        }
        let mismatch = || QueryError::Internal(format!("a column of type {data_type} cannot be shown as {kind:?}"));
        let cells = match kind {
            ResultKind::Text => Strings::new(array).map(Cells::Text),
            ResultKind::Json => Strings::new(array).map(Cells::Json),
            ResultKind::JsonTexts => Strings::new(array).map(Cells::JsonTexts),
            ResultKind::Time => Times::new(array).map(Cells::Time),
            ResultKind::EpochMillis => match Times::new(array) {
                Some(millis) => Some(Cells::EpochMillis(millis)),
                None => Self::number(array),
            },
            ResultKind::Integer => Integers::new(array).map(Cells::Integer),
            ResultKind::Number => Self::number(array),
            ResultKind::Boolean => downcast(array).map(Cells::Boolean),
            ResultKind::TextList => Self::text_list(array),
        };
        cells.ok_or_else(mismatch)
    }

    fn number(array: &'a dyn Array) -> Option<Self> {
        downcast(array).map(Cells::Double).or_else(|| Integers::new(array).map(Cells::Integer))
    }

    fn text_list(array: &'a dyn Array) -> Option<Self> {
        let holds_strings = |values: &ArrayRef| Strings::new(values).is_some() || values.data_type().is_null();
        if let Some(list) = downcast::<ListArray>(array) {
            return holds_strings(list.values()).then_some(Cells::TextList(list));
        }
        downcast::<LargeListArray>(array).filter(|list| holds_strings(list.values())).map(Cells::LargeTextList)
    }

    /// A double that is not finite is no JSON number and counts as null.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        match self {
            Cells::Null => true,
            Cells::Text(strings) | Cells::Json(strings) | Cells::JsonTexts(strings) => strings.array().is_null(row),
            Cells::Time(millis) | Cells::EpochMillis(millis) => millis.array().is_null(row),
            Cells::Integer(integers) => integers.array().is_null(row),
            Cells::Double(array) => array.is_null(row) || !array.value(row).is_finite(),
            Cells::Boolean(array) => array.is_null(row),
            Cells::TextList(array) => array.is_null(row),
            Cells::LargeTextList(array) => array.is_null(row),
        }
    }

    /// Writes a cell that is not null.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Cells::Null => out.extend_from_slice(b"null"),
            Cells::Text(strings) => write_string(strings.value(row), out),
            Cells::Json(strings) => out.extend_from_slice(strings.value(row).as_bytes()),
            Cells::JsonTexts(strings) => write_texts(strings.value(row), out),
            Cells::Time(millis) => {
                out.push(b'"');
                out.extend_from_slice(time::render(EpochMillis(millis.value(row))).as_bytes());
                out.push(b'"');
            }
            Cells::EpochMillis(millis) => write_integer(millis.value(row), out),
            Cells::Integer(Integers::I64(array)) => write_integer(array.value(row), out),
            Cells::Integer(Integers::I32(array)) => write_integer(array.value(row).into(), out),
            Cells::Integer(Integers::U64(array)) => out.extend_from_slice(array.value(row).to_string().as_bytes()),
            Cells::Double(array) => write_double(array.value(row), out),
            Cells::Boolean(array) => {
                out.extend_from_slice(if array.value(row) { &b"true"[..] } else { &b"false"[..] });
            }
            Cells::TextList(array) => write_list(&array.value(row), out),
            Cells::LargeTextList(array) => write_list(&array.value(row), out),
        }
    }
}

impl Cells<'_> {
    /// A cell as a value; null also where it is no JSON that this server writes.
    pub(crate) fn json(&self, row: usize) -> Json {
        if self.is_null(row) {
            return Json::Null;
        }
        let mut json = Vec::new();
        self.write(row, &mut json);
        parser::parse(&json, MAX_LEVELS).unwrap_or(Json::Null)
    }
}

/// An object's values as the text at their keys, nulls left out.
fn write_texts(object: &str, out: &mut Vec<u8>) {
    let Ok(Json::Object(members)) = parser::parse(object.as_bytes(), MAX_LEVELS) else {
        return out.extend_from_slice(object.as_bytes());
    };
    out.push(b'{');
    let texts = members.iter().filter_map(|(key, value)| Some((key, jsonb::text(value)?)));
    for (index, (key, text)) in texts.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(key, out);
        out.push(b':');
        write_string(&text, out);
    }
    out.push(b'}');
}

/// Deeper than any stored JSON field.
const MAX_LEVELS: usize = 256;

fn write_list(values: &ArrayRef, out: &mut Vec<u8>) {
    let strings = Strings::new(values);
    out.push(b'[');
    for index in 0..values.len() {
        if index > 0 {
            out.push(b',');
        }
        match &strings {
            Some(strings) if !values.is_null(index) => write_string(strings.value(index), out),
            _ => out.extend_from_slice(b"null"),
        }
    }
    out.push(b']');
}

fn downcast<T: 'static>(array: &dyn Array) -> Option<&T> {
    array.as_any().downcast_ref()
}

impl<'a> Strings<'a> {
    fn new(array: &'a dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Utf8View => Strings::View(downcast(array)?),
            DataType::Utf8 => Strings::Small(downcast(array)?),
            DataType::LargeUtf8 => Strings::Large(downcast(array)?),
            _ => return None,
        })
    }

    fn array(&self) -> &dyn Array {
        match self {
            Strings::View(array) => array,
            Strings::Small(array) => array,
            Strings::Large(array) => array,
        }
    }

    pub(crate) fn value(&self, row: usize) -> &str {
        match self {
            Strings::View(array) => array.value(row),
            Strings::Small(array) => array.value(row),
            Strings::Large(array) => array.value(row),
        }
    }
}

impl<'a> Integers<'a> {
    fn new(array: &'a dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Int64 => Integers::I64(downcast(array)?),
            DataType::Int32 => Integers::I32(downcast(array)?),
            DataType::UInt64 => Integers::U64(downcast(array)?),
            _ => return None,
        })
    }

    fn array(&self) -> &dyn Array {
        match self {
            Integers::I64(array) => array,
            Integers::I32(array) => array,
            Integers::U64(array) => array,
        }
    }
}

impl<'a> Times<'a> {
    fn new(array: &'a dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => Times::Seconds(downcast(array)?),
            DataType::Timestamp(TimeUnit::Millisecond, _) => Times::Millis(downcast(array)?),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Times::Micros(downcast(array)?),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Times::Nanos(downcast(array)?),
            _ => return None,
        })
    }

    fn array(&self) -> &dyn Array {
        match self {
            Times::Seconds(array) => array,
            Times::Millis(array) => array,
            Times::Micros(array) => array,
            Times::Nanos(array) => array,
        }
    }

    pub(crate) fn value(&self, row: usize) -> i64 {
        match self {
            Times::Seconds(array) => array.value(row).saturating_mul(1_000),
            Times::Millis(array) => array.value(row),
            Times::Micros(array) => array.value(row).div_euclid(1_000),
            Times::Nanos(array) => array.value(row).div_euclid(1_000_000),
        }
    }
}
