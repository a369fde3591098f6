//! Statistics of a file's columns: out of the Parquet footer, and to and from the table log.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::scalar::ScalarValue;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::arrow_types::{kind_type, timestamp_type};
use super::columns::column::FlatRow;
use super::layout::{ColumnKind, Layout};
use crate::model::ids::EpochMillis;
use crate::model::time;

/// Property columns of a file whose statistics stand in the table log.
const MAX_PROPERTY_COLUMNS: usize = 32;

/// `min` and `max` are bounds (strings may be cut, the maximum rounded up), not necessarily values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ColumnStatistics {
    pub(crate) min: Option<ScalarValue>,
    pub(crate) max: Option<ScalarValue>,
    pub(crate) null_count: Option<u64>,
}

pub(crate) fn rows_statistics<R: FlatRow>(
    metadata: &ParquetMetaData,
    layout: &Layout,
) -> BTreeMap<String, ColumnStatistics> {
    let plain = R::COLUMNS.iter().map(|column| &column.field).filter(|field| field.stored && field.statistics);
    let mut statistics: BTreeMap<String, ColumnStatistics> =
        plain.map(|field| (field.column(), of_column(metadata, &field.column(), &field.data_type()))).collect();
    // The order of a number's text is not the number's.
    let properties = layout.columns.iter().filter(|column| column.kind != ColumnKind::NumberText);
    let mut properties: Vec<_> =
        properties.map(|column| (&column.name, of_column(metadata, &column.name, &kind_type(column.kind)))).collect();
    properties.sort_by_key(|(name, statistics)| (statistics.null_count.unwrap_or(u64::MAX), *name));
    statistics.extend(properties.into_iter().take(MAX_PROPERTY_COLUMNS).map(|(name, found)| (name.clone(), found)));
    statistics
}

fn of_column(metadata: &ParquetMetaData, name: &str, data_type: &DataType) -> ColumnStatistics {
    let mut whole = ColumnStatistics { min: None, max: None, null_count: Some(0) };
    let descriptors = metadata.file_metadata().schema_descr().columns();
    let index = descriptors.iter().position(|column| matches!(column.path().parts(), [only] if only == name));
    let unknown = ColumnStatistics { min: None, max: None, null_count: None };
    let Some(index) = index else { return unknown };
    let mut bounded = true;
    for row_group in metadata.row_groups() {
        let Some(statistics) = row_group.columns().get(index).and_then(|chunk| chunk.statistics()) else {
            return unknown;
        };
        let nulls = statistics.null_count_opt();
        whole.null_count = whole.null_count.zip(nulls).map(|(sum, nulls)| sum + nulls);
        if nulls == Some(row_group.num_rows() as u64) {
            continue;
        }
        match bounds(statistics, data_type) {
            Some((min, max)) => {
                whole.min = Some(extreme(whole.min.take(), min, true));
                whole.max = Some(extreme(whole.max.take(), max, false));
            }
            None => bounded = false,
        }
    }
    if !bounded {
        (whole.min, whole.max) = (None, None);
    }
    whole
}

fn extreme(known: Option<ScalarValue>, new: ScalarValue, least: bool) -> ScalarValue {
    match known {
        Some(known) => match known.partial_cmp(&new) {
            Some(order) if order.is_le() == least => known,
            _ => new,
        },
        None => new,
    }
}

fn bounds(statistics: &Statistics, data_type: &DataType) -> Option<(ScalarValue, ScalarValue)> {
    let (min, max) = match statistics {
        Statistics::Boolean(s) => (ScalarValue::from(*s.min_opt()?), ScalarValue::from(*s.max_opt()?)),
        Statistics::Int32(s) => (ScalarValue::from(*s.min_opt()?), ScalarValue::from(*s.max_opt()?)),
        Statistics::Int64(s) => (integer(*s.min_opt()?, data_type), integer(*s.max_opt()?, data_type)),
        Statistics::Double(s) => (ScalarValue::from(*s.min_opt()?), ScalarValue::from(*s.max_opt()?)),
        Statistics::ByteArray(s) => {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(|text| text_scalar(text.to_owned()));
            (text(s.min_bytes_opt()?)?, text(s.max_bytes_opt()?)?)
        }
        _ => return None,
    };
    Some((min, max))
}

fn text_scalar(text: String) -> ScalarValue {
    ScalarValue::Utf8View(Some(text))
}

fn integer(value: i64, data_type: &DataType) -> ScalarValue {
    match data_type {
        DataType::Timestamp(TimeUnit::Millisecond, zone) => {
            ScalarValue::TimestampMillisecond(Some(value), zone.clone())
        }
        _ => ScalarValue::Int64(Some(value)),
    }
}

/// The parts of a Delta `add` action's `stats` that name columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeltaStatistics {
    pub(crate) min_values: Map<String, Value>,
    pub(crate) max_values: Map<String, Value>,
    pub(crate) null_count: Map<String, Value>,
}

impl DeltaStatistics {
    pub(crate) fn new(statistics: &BTreeMap<String, ColumnStatistics>) -> Self {
        let mut delta = Self::default();
        for (name, column) in statistics {
            if let (Some(min), Some(max)) = (to_json(column.min.as_ref()), to_json(column.max.as_ref())) {
                delta.min_values.insert(name.clone(), min);
                delta.max_values.insert(name.clone(), max);
            }
            if let Some(nulls) = column.null_count {
                delta.null_count.insert(name.clone(), nulls.into());
            }
        }
        delta
    }

    /// The same back, given each column's type. What is missing or of another type is unknown.
    pub(crate) fn read<'a>(
        &self,
        columns: impl IntoIterator<Item = (&'a str, &'a DataType)>,
    ) -> BTreeMap<String, ColumnStatistics> {
        let mut statistics = BTreeMap::new();
        for (name, data_type) in columns {
            let column = ColumnStatistics {
                min: self.min_values.get(name).and_then(|value| from_json(value, data_type, true)),
                max: self.max_values.get(name).and_then(|value| from_json(value, data_type, false)),
                null_count: self.null_count.get(name).and_then(Value::as_u64),
            };
            if column.min.is_some() || column.max.is_some() || column.null_count.is_some() {
                statistics.insert(name.to_owned(), column);
            }
        }
        statistics
    }
}

fn to_json(value: Option<&ScalarValue>) -> Option<Value> {
    match value? {
        ScalarValue::Boolean(Some(value)) => Some((*value).into()),
        ScalarValue::Int32(Some(value)) => Some((*value).into()),
        ScalarValue::Int64(Some(value)) => Some((*value).into()),
        ScalarValue::Float64(Some(value)) => Number::from_f64(*value).map(Value::Number),
        ScalarValue::Utf8View(Some(value)) => Some(value.clone().into()),
        ScalarValue::TimestampMillisecond(Some(value), _) => Some(time::render(EpochMillis(*value)).into()),
        _ => None,
    }
}

fn from_json(value: &Value, data_type: &DataType, is_min: bool) -> Option<ScalarValue> {
    match data_type {
        DataType::Boolean => value.as_bool().map(ScalarValue::from),
        DataType::Int32 => value.as_i64().and_then(|value| i32::try_from(value).ok()).map(ScalarValue::from),
        DataType::Int64 => value.as_i64().map(ScalarValue::from),
        // serde_json 1 may read a double one step off; a bound may be wider, never narrower.
        DataType::Float64 => {
            value.as_f64().map(|value| ScalarValue::from(if is_min { value.next_down() } else { value.next_up() }))
        }
        DataType::Utf8View => value.as_str().map(|text| text_scalar(text.to_owned())),
        other if *other == timestamp_type() => {
            let millis = time::parse_document_time(value.as_str()?).ok()?;
            Some(ScalarValue::TimestampMillisecond(Some(millis.0), Some("UTC".into())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_what_it_is_given() {
        let time = |millis: i64| ScalarValue::TimestampMillisecond(Some(millis), Some("UTC".into()));
        let of = |min, max| ColumnStatistics { min: Some(min), max: Some(max), null_count: Some(3) };
        let given: BTreeMap<String, ColumnStatistics> = [
            ("id".to_owned(), of(text_scalar("a".into()), text_scalar("é".into()))),
            ("created_at".to_owned(), of(time(-62_135_596_800_000), time(1_724_630_400_123))),
            ("message_count".to_owned(), of(ScalarValue::from(1i64), ScalarValue::from(i64::MAX))),
            ("properties_x_number".to_owned(), of(ScalarValue::from(-0.1), ScalarValue::from(f64::MAX))),
            ("is_end".to_owned(), of(ScalarValue::from(false), ScalarValue::from(true))),
        ]
        .into();
        let types = [
            ("id", DataType::Utf8View),
            ("created_at", timestamp_type()),
            ("message_count", DataType::Int64),
            ("properties_x_number", DataType::Float64),
            ("is_end", DataType::Boolean),
            ("unknown", DataType::Int64),
        ];
        let delta = DeltaStatistics::new(&given);
        assert_eq!(delta.min_values["created_at"], "0001-01-01T00:00:00.000Z");
        let mut read = delta.read(types.iter().map(|(name, data_type)| (*name, data_type)));
        let number = read.remove("properties_x_number").unwrap();
        assert!(number.min <= given["properties_x_number"].min && number.max >= given["properties_x_number"].max);
        let mut given = given;
        given.remove("properties_x_number");
        assert_eq!(read, given);
    }
}
