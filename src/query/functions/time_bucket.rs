//! Time buckets of a timestamp column.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, TimeUnit as ArrowTimeUnit, TimestampMillisecondType};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::logical_expr::ScalarUDF;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::scalar::{Arguments, Kernel, function, name, single};
use super::zone::{Segment, ZoneBuckets, floor};
use crate::query::dsl::TimeUnit;

/// Timestamp(ms, "UTC") → the first instant of its local bucket, of the same type. A day that starts in a gap starts at
/// the transition; one whose midnight comes twice, at the earlier. A repeated hour is two buckets.
pub(crate) fn time_bucket(unit: TimeUnit, zone: TimeZone, week_start: Weekday) -> Arc<ScalarUDF> {
    function(TimeBucket { unit, zone, week_start, segments: Mutex::default() })
}

#[derive(Debug)]
struct TimeBucket {
    unit: TimeUnit,
    zone: TimeZone,
    week_start: Weekday,
    /// Offset segments found so far, shared by all batches; not part of the function's identity.
    segments: Mutex<Vec<Segment>>,
}

impl PartialEq for TimeBucket {
    fn eq(&self, other: &Self) -> bool {
        self.unit == other.unit && self.zone == other.zone && self.week_start == other.week_start
    }
}

impl Eq for TimeBucket {}

impl Hash for TimeBucket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.unit.hash(state);
        self.zone.iana_name().hash(state);
        self.week_start.to_monday_zero_offset().hash(state);
    }
}

impl Kernel for TimeBucket {
    fn name(&self) -> String {
        let zone = self.zone.iana_name().map_or_else(|| format!("{:?}", self.zone), str::to_owned);
        name("time_bucket", &format!("{:?},{zone},{:?}", self.unit, self.week_start))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Any
    }

    fn return_type(&self) -> DataType {
        DataType::Timestamp(ArrowTimeUnit::Millisecond, Some("UTC".into()))
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let times = single(columns)?
            .as_primitive_opt::<TimestampMillisecondType>()
            .ok_or_else(|| internal_datafusion_err!("time_bucket needs milliseconds"))?;
        let buckets: PrimitiveArray<TimestampMillisecondType> = if self.zone == TimeZone::UTC {
            times.unary(|time| floor(time, self.unit, self.week_start))
        } else {
            self.local(times)
        };
        Ok(Arc::new(buckets.with_timezone("UTC")))
    }
}

impl TimeBucket {
    fn local(&self, times: &PrimitiveArray<TimestampMillisecondType>) -> PrimitiveArray<TimestampMillisecondType> {
        let known = self.segments.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let known_count = known.len();
        let mut zone = ZoneBuckets::new(&self.zone, self.unit, self.week_start, known);
        // A null's slot may hold anything, which is a valid instant too.

        let buckets: Vec<i64> = times.values().iter().map(|&time| zone.first_instant(time)).collect();
        let segments = zone.into_segments();
        if segments.len() > known_count {
            let mut shared = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
            if segments.len() > shared.len() {
                *shared = segments;
            }
        }
        PrimitiveArray::new(buckets.into(), times.nulls().cloned())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMillisecondArray;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn buckets_columns() {
        let times = ["2024-08-26T12:00:00Z", "2024-02-29T23:59:59.999Z", "0001-01-01T00:00:00Z"];
        let millis = times.map(|time| Some(time.parse::<Timestamp>().unwrap().as_millisecond()));
        let column: ArrayRef =
            Arc::new(TimestampMillisecondArray::from_iter(millis.into_iter().chain([None])).with_timezone("UTC"));
        let bucket = |unit, zone: &str, week_start| {
            let kernel =
                TimeBucket { unit, zone: TimeZone::get(zone).unwrap(), week_start, segments: Mutex::default() };
            let buckets = kernel.evaluate(&[Arc::clone(&column)]).unwrap();
            assert_eq!(buckets.data_type(), &kernel.return_type());
            assert!(buckets.is_null(3));
            let buckets = buckets.as_primitive::<TimestampMillisecondType>();
            (0..3).map(|row| Timestamp::from_millisecond(buckets.value(row)).unwrap().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            bucket(TimeUnit::Month, "UTC", Weekday::Monday),
            ["2024-08-01T00:00:00Z", "2024-02-01T00:00:00Z", "0001-01-01T00:00:00Z"]
        );
        assert_eq!(
            bucket(TimeUnit::Week, "UTC", Weekday::Sunday),
            ["2024-08-25T00:00:00Z", "2024-02-25T00:00:00Z", "0000-12-31T00:00:00Z"]
        );
        assert_eq!(
            bucket(TimeUnit::Day, "Asia/Tokyo", Weekday::Monday),
            ["2024-08-25T15:00:00Z", "2024-02-29T15:00:00Z", "0000-12-31T14:41:01Z"]
        );
    }

    #[test]
    fn identity_covers_constants() {
        let new_york = || TimeZone::get("America/New_York").unwrap();
        let bucket = time_bucket(TimeUnit::Week, new_york(), Weekday::Monday);
        assert_eq!(bucket, time_bucket(TimeUnit::Week, new_york(), Weekday::Monday));
        assert_ne!(bucket, time_bucket(TimeUnit::Week, new_york(), Weekday::Sunday));
        assert_ne!(bucket, time_bucket(TimeUnit::Day, new_york(), Weekday::Monday));
        assert_ne!(bucket, time_bucket(TimeUnit::Week, TimeZone::UTC, Weekday::Monday));
        assert_ne!(bucket.name(), time_bucket(TimeUnit::Week, TimeZone::UTC, Weekday::Monday).name());
    }
}
