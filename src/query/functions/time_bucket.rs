//! Time buckets of a timestamp column, and what clock and calendar show at its times.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray};
use arrow::datatypes::{DataType, TimeUnit as ArrowTimeUnit, TimestampMillisecondType};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::logical_expr::ScalarUDF;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use super::scalar::{Arguments, Kernel, function, name, single};
use super::zone::{Segment, ZoneBuckets, floor, part};
use crate::query::dsl::{TimePart, TimeStep, TimeUnit};

/// Timestamp(ms, "UTC") → the first instant of its local bucket, of the same type. A day that starts in a gap starts at
/// the transition; one whose midnight comes twice, at the earlier. A repeated hour is two buckets.
pub(crate) fn time_bucket(step: TimeStep, zone: TimeZone, week_start: Weekday) -> Arc<ScalarUDF> {
    function(TimeBucket { step, zone, week_start, segments: Mutex::default() })
}

#[derive(Debug)]
struct TimeBucket {
    step: TimeStep,
    zone: TimeZone,
    week_start: Weekday,
    /// Offset segments found so far, shared by all batches; not part of the function's identity.
    segments: Mutex<Vec<Segment>>,
}

impl PartialEq for TimeBucket {
    fn eq(&self, other: &Self) -> bool {
        self.step == other.step && self.zone == other.zone && self.week_start == other.week_start
    }
}

impl Eq for TimeBucket {}

impl Hash for TimeBucket {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.step.hash(state);
        self.zone.iana_name().hash(state);
        self.week_start.to_monday_zero_offset().hash(state);
    }
}

impl Kernel for TimeBucket {
    fn name(&self) -> String {
        let zone = self.zone.iana_name().map_or_else(|| format!("{:?}", self.zone), str::to_owned);
        name("time_bucket", &format!("{:?} {:?},{zone},{:?}", self.step.count, self.step.unit, self.week_start))
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
            times.unary(|time| floor(time, self.step, self.week_start))
        } else {
            self.local(times)
        };
        Ok(Arc::new(buckets.with_timezone("UTC")))
    }
}

impl TimeBucket {
    fn local(&self, times: &PrimitiveArray<TimestampMillisecondType>) -> PrimitiveArray<TimestampMillisecondType> {
        let known = self.segments.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let zone = ZoneBuckets::new(&self.zone, self.step, self.week_start, known);
        let buckets = mapped(times, zone, &self.segments, ZoneBuckets::first_instant);
        PrimitiveArray::new(buckets.into(), times.nulls().cloned())
    }
}

/// A number for each time. Offset segments that are found on the way are kept for other batches.
fn mapped(
    times: &PrimitiveArray<TimestampMillisecondType>,
    mut zone: ZoneBuckets,
    known: &Mutex<Vec<Segment>>,
    number: impl Fn(&mut ZoneBuckets, i64) -> i64,
) -> Vec<i64> {
    // A null's slot may hold anything, which is a valid instant too.
    let numbers: Vec<i64> = times.values().iter().map(|&time| number(&mut zone, time)).collect();
    let found = zone.into_segments();
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if found.len() > known.len() {
        *known = found;
    }
    numbers
}

/// Timestamp(ms, "UTC") → what the local clock or calendar shows then; Int64.
pub(crate) fn time_part(part: TimePart, zone: TimeZone) -> Arc<ScalarUDF> {
    function(TimePartOf { part, zone, segments: Mutex::default() })
}

#[derive(Debug)]
struct TimePartOf {
    part: TimePart,
    zone: TimeZone,
    /// As of [`TimeBucket`].
    segments: Mutex<Vec<Segment>>,
}

impl PartialEq for TimePartOf {
    fn eq(&self, other: &Self) -> bool {
        self.part == other.part && self.zone == other.zone
    }
}

impl Eq for TimePartOf {}

impl Hash for TimePartOf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.part.hash(state);
        self.zone.iana_name().hash(state);
    }
}

impl Kernel for TimePartOf {
    fn name(&self) -> String {
        let zone = self.zone.iana_name().map_or_else(|| format!("{:?}", self.zone), str::to_owned);
        name("time_part", &format!("{:?},{zone}", self.part))
    }

    fn arguments(&self) -> Arguments {
        Arguments::Any
    }

    fn return_type(&self) -> DataType {
        DataType::Int64
    }

    fn evaluate(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let times = single(columns)?
            .as_primitive_opt::<TimestampMillisecondType>()
            .ok_or_else(|| internal_datafusion_err!("time_part needs milliseconds"))?;
        let known = self.segments.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let day = TimeStep { unit: TimeUnit::Day, count: 1 };
        let zone = ZoneBuckets::new(&self.zone, day, Weekday::Monday, known);
        let parts = mapped(times, zone, &self.segments, |zone, time| part(zone.local(time), self.part));
        Ok(Arc::new(Int64Array::new(parts.into(), times.nulls().cloned())))
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
            let kernel = TimeBucket {
                step: TimeStep { unit, count: 1 },
                zone: TimeZone::get(zone).unwrap(),
                week_start,
                segments: Mutex::default(),
            };
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

    fn one(unit: TimeUnit) -> TimeStep {
        TimeStep { unit, count: 1 }
    }

    #[test]
    fn identity_covers_constants() {
        let new_york = || TimeZone::get("America/New_York").unwrap();
        let bucket = time_bucket(one(TimeUnit::Week), new_york(), Weekday::Monday);
        assert_eq!(bucket, time_bucket(one(TimeUnit::Week), new_york(), Weekday::Monday));
        assert_ne!(bucket, time_bucket(one(TimeUnit::Week), new_york(), Weekday::Sunday));
        assert_ne!(bucket, time_bucket(one(TimeUnit::Day), new_york(), Weekday::Monday));
        assert_ne!(bucket, time_bucket(one(TimeUnit::Week), TimeZone::UTC, Weekday::Monday));
        assert_ne!(bucket.name(), time_bucket(one(TimeUnit::Week), TimeZone::UTC, Weekday::Monday).name());
    }
}
