//! First instants of local minutes, hours, days, weeks, months, quarters and years, by integer arithmetic.
//!
//! Instants and local times are milliseconds since 1970-01-01T00:00:00 (UTC, or on the local clock). Calendar dates are
//! proleptic Gregorian.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::query::dsl::{TimePart, TimeStep, TimeUnit};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// Jiff 0.2 keeps offsets below 26 hours.
const MAX_OFFSET: i64 = 26 * HOUR;

/// The local time at which the bucket of `local` starts.
#[inline]
pub(crate) fn floor(local: i64, step: TimeStep, week_start: Weekday) -> i64 {
    let day = local.div_euclid(DAY);
    let start = match step.unit {
        // Steps are divisors of the hour and of the day.
        TimeUnit::Minute => return multiple_below(local, i64::from(step.count) * MINUTE),
        TimeUnit::Hour => return multiple_below(local, i64::from(step.count) * HOUR),
        TimeUnit::Day => day,
        // Day 0 was a Thursday, three days after a Monday.
        TimeUnit::Week => day - (day + 3 - i64::from(week_start.to_monday_zero_offset())).rem_euclid(7),
        TimeUnit::Month => month_start(day),
        TimeUnit::Quarter => {
            let (year, month, _) = date_of(day);
            day_of(year, (month - 1) / 3 * 3 + 1)
        }
        TimeUnit::Year => day_of(date_of(day).0, 1),
    };
    start.saturating_mul(DAY)
}

#[inline]
fn multiple_below(local: i64, width: i64) -> i64 {
    local.div_euclid(width).saturating_mul(width)
}

/// What the clock and the calendar show at a local time.
pub(crate) fn part(local: i64, part: TimePart) -> i64 {
    let day = local.div_euclid(DAY);
    match part {
        TimePart::HourOfDay => local.rem_euclid(DAY) / HOUR,
        TimePart::DayOfWeek => (day + 3).rem_euclid(7) + 1,
        TimePart::DayOfMonth => date_of(day).2,
        TimePart::MonthOfYear => date_of(day).1,
    }
}

/// Year, month and day of a day since 1970-01-01.
fn date_of(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day_of_month)
}

/// The first day of a month, as a day since 1970-01-01.
fn day_of(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The first day of the month of `day`, both as days since 1970-01-01. Years start in March here, so that the leap day
/// is the last of its year (Hinnant, "chrono-compatible low-level date algorithms").
fn month_start(day: i64) -> i64 {
    let day_of_era = (day + 719_468).rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    day - (day_of_year - (153 * month + 2) / 5)
}

/// A stretch of time with one offset, `start..end`; neighbours have other offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    start: i64,
    end: i64,
    offset: i64,
}

/// Local buckets of one time zone. Offset segments are asked of jiff once and kept in order of time.
#[derive(Clone, Debug)]
pub(crate) struct ZoneBuckets {
    zone: TimeZone,
    step: TimeStep,
    week_start: Weekday,
    segments: Vec<Segment>,
    /// Segment of the latest call: most neighbours in a file share it.
    current: Segment,
}

impl ZoneBuckets {
    pub(crate) fn new(zone: &TimeZone, step: TimeStep, week_start: Weekday, known: Vec<Segment>) -> Self {
        let current = Segment { start: 0, end: 0, offset: 0 };
        Self { zone: zone.clone(), step, week_start, segments: known, current }
    }

    pub(crate) fn into_segments(self) -> Vec<Segment> {
        self.segments
    }

    /// The first instant of the bucket that `instant` falls into.
    #[inline]
    pub(crate) fn first_instant(&mut self, instant: i64) -> i64 {
        let local = self.local(instant);
        let current = self.current;
        let local_start = floor(local, self.step, self.week_start);
        let start = local_start.saturating_sub(current.offset);
        if start.saturating_sub(2 * MAX_OFFSET) >= current.start {
            return start;
        }
        match self.step {
            TimeStep { unit: TimeUnit::Minute, .. } | TimeStep { unit: TimeUnit::Hour, count: 1 } => {
                self.first_instant_as_it_ran(local_start, current)
            }
            _ => self.first_instant_of_local(local_start),
        }
    }

    /// What the local clock shows.
    #[inline]
    pub(crate) fn local(&mut self, instant: i64) -> i64 {
        if instant < self.current.start || instant >= self.current.end {
            self.current = self.segment_at(instant);
        }
        instant.saturating_add(self.current.offset)
    }

    /// An hour that a clock change cuts by a jump forward is one bucket; where the clock is set back, a new bucket
    /// starts with what is repeated.
    fn first_instant_as_it_ran(&mut self, local_start: i64, mut segment: Segment) -> i64 {
        loop {
            let start = local_start.saturating_sub(segment.offset);
            if start >= segment.start {
                return start;
            }
            let previous = self.segment_at(segment.start - 1);
            let jumped_forward = previous.offset < segment.offset;
            let had_begun = local_start.saturating_sub(previous.offset) < segment.start;
            if !jumped_forward || !had_begun {
                return segment.start;
            }
            segment = previous;
        }
    }

    /// The first instant at which the local clock shows `local` (the earlier of two), or else the one at which it
    /// jumps over it.
    pub(crate) fn first_instant_of_local(&mut self, local: i64) -> i64 {
        let mut segment = self.segment_at(local.saturating_sub(MAX_OFFSET));
        loop {
            let instant = local.saturating_sub(segment.offset);
            if instant < segment.start {
                return segment.start;
            }
            if instant < segment.end || segment.end == i64::MAX {
                return instant;
            }
            segment = self.segment_at(segment.end);
        }
    }

    /// The instant of a local time; one that the clock skips or shows twice has the smaller offset, as in PostgreSQL.
    pub(crate) fn instant_of_local(&mut self, local: i64) -> i64 {
        let mut segment = self.segment_at(local.saturating_sub(MAX_OFFSET));
        let mut found: Option<i64> = None;
        loop {
            let instant = local.saturating_sub(segment.offset);
            if instant < segment.start {
                // Skipped between the segment before and this one: that with the smaller offset is later.
                return found.unwrap_or_else(|| {
                    let before = self.segment_at(segment.start - 1);
                    instant.max(local.saturating_sub(before.offset))
                });
            }
            if instant < segment.end || segment.end == i64::MAX {
                found = found.max(Some(instant));
            }
            if segment.end == i64::MAX {
                return found.unwrap_or(instant);
            }
            segment = self.segment_at(segment.end);
        }
    }

    fn segment_at(&mut self, instant: i64) -> Segment {
        let next = self.segments.partition_point(|segment| segment.end <= instant);
        if let Some(segment) = self.segments.get(next)
            && segment.start <= instant
        {
            return *segment;
        }
        let segment = find_segment(&self.zone, instant);
        self.segments.insert(next, segment);
        segment
    }
}

/// The rules of a zone repeat with the calendar, every 400 years.
const CALENDAR_CYCLE: i64 = 146_097 * DAY;
/// 9998-01-01T00:00:00Z. From here on the rule is asked one cycle earlier: jiff 0.2 loses a rule whose summer begins in
/// one year and ends in the next where that would be 10000 (Dublin, the southern half), and its timestamps end at
/// 9999-12-30T22:00.
const LATE: i64 = 253_339_228_800 * SECOND;

fn find_segment(zone: &TimeZone, instant: i64) -> Segment {
    if instant < LATE {
        return segment_of_rule(zone, instant);
    }
    let segment = segment_of_rule(zone, instant - CALENDAR_CYCLE);
    let later = |at: i64| if at == i64::MIN || at == i64::MAX { at } else { at + CALENDAR_CYCLE };
    Segment { start: later(segment.start), end: later(segment.end), offset: segment.offset }
}

fn segment_of_rule(zone: &TimeZone, instant: i64) -> Segment {
    let clamped = instant.clamp(Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond());
    let timestamp = Timestamp::from_millisecond(clamped).unwrap_or(Timestamp::UNIX_EPOCH);
    let offset = zone.to_offset(timestamp);
    let mut start = i64::MIN;
    // A transition may change a name only; and one exactly at `timestamp` belongs to this segment.
    let just_after = timestamp.checked_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(timestamp);
    for transition in zone.preceding(just_after) {
        let at = transition.timestamp();
        let before = at.checked_sub(jiff::SignedDuration::from_nanos(1)).unwrap_or(at);
        if zone.to_offset(before) != offset {
            start = at.as_millisecond();
            break;
        }
    }
    let end = zone
        .following(timestamp)
        .find(|transition| transition.offset() != offset)
        .map_or(i64::MAX, |transition| transition.timestamp().as_millisecond());
    Segment { start, end, offset: i64::from(offset.seconds()) * SECOND }
}

#[cfg(test)]
mod tests {
    use jiff::civil::{Date, DateTime, date};
    use jiff::{ToSpan, Zoned};

    use super::*;

    const UNITS: [TimeUnit; 6] =
        [TimeUnit::Hour, TimeUnit::Day, TimeUnit::Week, TimeUnit::Month, TimeUnit::Quarter, TimeUnit::Year];
    const WEEK_STARTS: [Weekday; 7] = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];

    fn one(unit: TimeUnit) -> TimeStep {
        TimeStep { unit, count: 1 }
    }

    struct Random(u64);

    impl Random {
        fn between(&mut self, from: &str, to: &str) -> Timestamp {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let (from, to): (Timestamp, Timestamp) = (from.parse().unwrap(), to.parse().unwrap());
            let span = to.as_millisecond() - from.as_millisecond();
            Timestamp::from_millisecond(from.as_millisecond() + (self.0 >> 1) as i64 % span).unwrap()
        }
    }

    fn first_date(date: Date, unit: TimeUnit, week_start: Weekday) -> Date {
        match unit {
            TimeUnit::Week => date.checked_sub(i64::from(date.weekday().since(week_start)).days()).unwrap(),
            TimeUnit::Month => date.first_of_month(),
            TimeUnit::Quarter => Date::new(date.year(), (date.month() - 1) / 3 * 3 + 1, 1).unwrap(),
            TimeUnit::Year => date.first_of_year(),
            TimeUnit::Minute | TimeUnit::Hour | TimeUnit::Day => date,
        }
    }

    #[test]
    fn utc_equals_jiff() {
        let mut random = Random(42);
        for round in 0..40_000 {
            let time = match round {
                0 => "0001-01-01T00:00:00Z".parse().unwrap(),
                1 => "1970-01-01T00:00:00Z".parse().unwrap(),
                2 => "1969-12-31T23:59:59.999Z".parse().unwrap(),
                _ => random.between("0001-01-08T00:00:00Z", "9999-12-30T00:00:00Z"),
            };
            let civil = TimeZone::UTC.to_datetime(time);
            for unit in UNITS {
                let week_start = WEEK_STARTS[round % 7];
                let expected: DateTime = match unit {
                    TimeUnit::Hour => civil.date().at(civil.hour(), 0, 0, 0),
                    _ => first_date(civil.date(), unit, week_start).into(),
                };
                let expected = TimeZone::UTC.to_timestamp(expected).unwrap().as_millisecond();
                assert_eq!(
                    floor(time.as_millisecond(), one(unit), week_start),
                    expected,
                    "{time} {unit:?} {week_start:?}"
                );
            }
        }
    }

    /// By search instead of arithmetic: the earliest instant whose local date is the wanted one or later.
    fn first_instant_of_date(zone: &TimeZone, wanted: Date) -> Timestamp {
        let midnight = TimeZone::UTC.to_timestamp(wanted.into()).unwrap();
        let from = midnight.checked_sub(27.hours()).unwrap();
        let until = midnight.checked_add(27.hours()).unwrap();
        let mut edges = vec![from];
        edges.extend(zone.following(from).map(|transition| transition.timestamp()).take_while(|at| *at < until));
        edges.push(until);
        for pair in edges.windows(2) {
            let local = zone.to_datetime(pair[0]);
            if local.date() >= wanted {
                return pair[0];
            }
            let reached = Timestamp::from_millisecond(
                midnight.as_millisecond() - i64::from(zone.to_offset(pair[0]).seconds()) * SECOND,
            )
            .unwrap();
            if reached < pair[1] {
                return reached;
            }
        }
        panic!("{wanted} never begins");
    }

    #[test]
    fn zones_equal_jiff() {
        let zones = [
            "America/New_York",
            "America/Sao_Paulo",
            "America/St_Johns",
            "America/Toronto",
            "Australia/Lord_Howe",
            "Asia/Kathmandu",
            "Pacific/Apia",
            "Pacific/Kiritimati",
            "Africa/Monrovia",
            "Africa/Cairo",
            "Africa/Casablanca",
            "Europe/Berlin",
            "Europe/Dublin",
            "Asia/Tehran",
            "Antarctica/Troll",
            "Asia/Manila",
            "UTC",
        ];
        let mut random = Random(7);
        for name in zones {
            let zone = TimeZone::get(name).unwrap();
            let mut times: Vec<Timestamp> =
                (0..1_500).map(|_| random.between("1840-01-01T00:00:00Z", "2100-01-01T00:00:00Z")).collect();
            times.extend((0..50).map(|_| random.between("0001-02-01T00:00:00Z", "9999-11-30T00:00:00Z")));
            let start: Timestamp = "1840-01-01T00:00:00Z".parse().unwrap();
            for transition in zone.following(start).take(400) {
                for minutes in [-1500, -61, -31, -1, 0, 1, 29, 31, 59, 61, 90, 1500] {
                    times.push(transition.timestamp().checked_add(minutes.minutes()).unwrap());
                }
                times.push(transition.timestamp().checked_sub(1.millisecond()).unwrap());
            }
            for unit in UNITS {
                let mut buckets = ZoneBuckets::new(&zone, one(unit), Weekday::Monday, Vec::new());
                for (index, time) in times.iter().enumerate() {
                    let week_start = WEEK_STARTS[index % 7];
                    buckets.week_start = week_start;
                    let local = zone.to_datetime(*time);
                    let got = Timestamp::from_millisecond(buckets.first_instant(time.as_millisecond())).unwrap();
                    if unit == TimeUnit::Hour {
                        check_hour(&zone, *time, got);
                    } else {
                        let expected = first_instant_of_date(&zone, first_date(local.date(), unit, week_start));
                        assert_eq!(got, expected, "{name} {time} {unit:?} {week_start:?}");
                    }
                }
            }
        }
    }

    fn check_hour(zone: &TimeZone, time: Timestamp, got: Timestamp) {
        let hour = |at: Timestamp| zone.to_datetime(at).date().at(zone.to_datetime(at).hour(), 0, 0, 0);
        assert!(got <= time && hour(got) == hour(time), "{zone:?} {time}: {got}");
        // Between the start and the instant the clock is never set back.
        for transition in zone.following(got).take_while(|transition| transition.timestamp() <= time) {
            let before = transition.timestamp().checked_sub(1.nanosecond()).unwrap();
            assert!(zone.to_offset(before) <= transition.offset(), "{zone:?} {time}: {got}");
        }
        // Before the start it is another hour, or the clock is set back there.
        let before = got.checked_sub(1.nanosecond()).unwrap();
        let set_back = zone.to_offset(before) > zone.to_offset(got);
        assert!(hour(before) != hour(time) || set_back, "{zone:?} {time}: {got}");
    }

    #[test]
    fn known_buckets() {
        let cases = [
            ("America/New_York", TimeUnit::Day, "2024-08-26T12:00:00Z", "2024-08-26T04:00:00Z"),
            ("America/New_York", TimeUnit::Hour, "2024-11-03T05:30:00Z", "2024-11-03T05:00:00Z"),
            ("America/New_York", TimeUnit::Hour, "2024-11-03T06:30:00Z", "2024-11-03T06:00:00Z"),
            ("America/Sao_Paulo", TimeUnit::Day, "2017-10-15T12:00:00Z", "2017-10-15T03:00:00Z"),
            ("America/Toronto", TimeUnit::Day, "1919-03-31T12:00:00Z", "1919-03-31T04:30:00Z"),
            ("Pacific/Apia", TimeUnit::Day, "2011-12-31T09:00:00Z", "2011-12-30T10:00:00Z"),
            ("Australia/Lord_Howe", TimeUnit::Hour, "2024-10-05T15:40:00Z", "2024-10-05T15:30:00Z"),
            ("Asia/Kathmandu", TimeUnit::Hour, "2024-01-01T00:00:00Z", "2023-12-31T23:15:00Z"),
            ("Africa/Monrovia", TimeUnit::Day, "1960-05-05T12:00:00Z", "1960-05-05T00:44:30Z"),
            // As PostgreSQL 15 has them, at the end of all times.
            ("Europe/Dublin", TimeUnit::Day, "9999-12-30T12:00:00Z", "9999-12-30T00:00:00Z"),
            ("Australia/Sydney", TimeUnit::Day, "9999-12-30T12:00:00Z", "9999-12-29T13:00:00Z"),
        ];
        for (name, unit, time, expected) in cases {
            let zone = TimeZone::get(name).unwrap();
            let mut buckets = ZoneBuckets::new(&zone, one(unit), Weekday::Monday, Vec::new());
            let time: Timestamp = time.parse().unwrap();
            let got = Timestamp::from_millisecond(buckets.first_instant(time.as_millisecond())).unwrap();
            assert_eq!(got.to_string(), expected, "{name} {time}");
        }
    }

    #[test]
    fn edges_of_time_do_not_overflow() {
        let zone = TimeZone::get("America/New_York").unwrap();
        for unit in UNITS {
            let mut buckets = ZoneBuckets::new(&zone, one(unit), Weekday::Sunday, Vec::new());
            for instant in [i64::MIN, -62_135_596_800_000, 253_402_300_799_999, i64::MAX] {
                assert!(buckets.first_instant(instant) <= instant.saturating_add(MAX_OFFSET));
            }
        }
        let last_millisecond = 253_402_300_799_999;
        for (name, start) in [
            ("Europe/Dublin", 253_402_214_400_000),
            ("Europe/Lisbon", 253_402_214_400_000),
            ("Australia/Lord_Howe", 253_402_261_200_000),
            ("Asia/Kolkata", 253_402_281_000_000),
            ("UTC", 253_402_214_400_000),
        ] {
            let zone = TimeZone::get(name).unwrap();
            let mut buckets = ZoneBuckets::new(&zone, one(TimeUnit::Day), Weekday::Monday, Vec::new());
            assert_eq!(buckets.first_instant(last_millisecond), start, "{name}");
        }
        let last: Zoned = date(9999, 12, 1).to_zoned(zone.clone()).unwrap();
        let mut buckets = ZoneBuckets::new(&zone, one(TimeUnit::Month), Weekday::Monday, Vec::new());
        assert_eq!(buckets.first_instant(253_402_300_799_999), last.timestamp().as_millisecond());
    }
}
