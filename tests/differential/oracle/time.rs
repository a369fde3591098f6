//! Times: ISO 8601 texts, `date_trunc` buckets in a time zone, rendering.

use chrono::{
    DateTime, Datelike, Days, LocalResult, Months, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone,
    Timelike,
};
use chrono_tz::Tz;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl Unit {
    pub fn parse(text: &str) -> Option<Unit> {
        Some(match text {
            "minute" => Unit::Minute,
            "hour" => Unit::Hour,
            "day" => Unit::Day,
            "week" => Unit::Week,
            "month" => Unit::Month,
            "quarter" => Unit::Quarter,
            "year" => Unit::Year,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Unit::Minute => "minute",
            Unit::Hour => "hour",
            Unit::Day => "day",
            Unit::Week => "week",
            Unit::Month => "month",
            Unit::Quarter => "quarter",
            Unit::Year => "year",
        }
    }
}

/// The number of a lower-case day name, Monday being 0.
pub fn weekday(name: &str) -> Option<u32> {
    let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    days.iter().position(|day| *day == name).map(|day| day as u32)
}

/// An ISO 8601 text as (whole milliseconds, digits after the milliseconds). What has no zone is local.
fn parse(text: &str, zone_needed: bool, zone: Tz) -> Option<(i64, String)> {
    let date = NaiveDate::parse_from_str(text.get(..10)?, "%Y-%m-%d").ok()?;
    let rest = &text[10..];
    if rest.is_empty() {
        return Some((first_instant(date.and_time(NaiveTime::MIN), zone), String::new()));
    }
    let clock = rest.get(1..9)?;
    let time = NaiveTime::parse_from_str(clock, "%H:%M:%S").ok()?;
    let mut rest = &rest[9..];
    let mut fraction = String::new();
    if let Some(digits) = rest.strip_prefix('.') {
        let end = digits.find(|character: char| !character.is_ascii_digit()).unwrap_or(digits.len());
        fraction = digits[..end].to_string();
        rest = &digits[end..];
    }
    let offset = match rest {
        "" if zone_needed => return None,
        "" => {
            let local = zoned(date.and_time(time), zone);
            date.and_time(time).and_utc().timestamp_millis() - local
        }
        "Z" => 0,
        _ => {
            let sign = if rest.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = rest[1..].split_once(':')?;
            sign * (hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?) * 60_000
        }
    };
    while fraction.len() < 3 {
        fraction.push('0');
    }
    let milliseconds: i64 = fraction[..3].parse().ok()?;
    let whole = date.and_time(time).and_utc().timestamp_millis() + milliseconds - offset;
    Some((whole, fraction[3..].to_string()))
}

/// A document's time in epoch milliseconds, cut.
pub fn parse_document_time(text: &str) -> Option<i64> {
    parse(text, true, chrono_tz::UTC).map(|(milliseconds, _)| milliseconds)
}

/// A time in a request as epoch milliseconds, an exact decimal; without a zone it is one of this zone.
pub fn parse_query_time(text: &str, zone: Tz) -> Option<String> {
    let (milliseconds, extra) = parse(text, false, zone)?;
    let digits = extra.trim_end_matches('0');
    let scale = 10i128.pow(digits.len() as u32);
    let scaled = i128::from(milliseconds) * scale + if digits.is_empty() { 0 } else { digits.parse::<i128>().ok()? };
    Some(format!("{scaled}e-{}", digits.len()))
}

pub fn render(milliseconds: i64) -> String {
    let time = DateTime::from_timestamp_millis(milliseconds).expect("a time between the years 1 and 9999");
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// What the local clock or calendar shows.
pub fn part(milliseconds: i64, part: &str, zone: Tz) -> i64 {
    let local = zone.timestamp_millis_opt(milliseconds).single().expect("an instant");
    i64::from(match part {
        "hourOfDay" => local.hour(),
        "dayOfWeek" => local.weekday().number_from_monday(),
        "dayOfMonth" => local.day(),
        "monthOfYear" => local.month(),
        other => panic!("no part {other}"),
    })
}

/// An instant of a local time; of two, or where the clock jumps over it, that of the smaller offset.
fn zoned(local: NaiveDateTime, zone: Tz) -> i64 {
    let offset = |at: NaiveDateTime| i64::from(zone.offset_from_utc_datetime(&at).fix().local_minus_utc());
    match zone.from_local_datetime(&local) {
        LocalResult::Single(instant) => instant.timestamp_millis(),
        LocalResult::Ambiguous(one, other) => one.timestamp_millis().max(other.timestamp_millis()),
        LocalResult::None => {
            let day = TimeDelta::days(1);
            local.and_utc().timestamp_millis() - offset(local - day).min(offset(local + day)) * 1_000
        }
    }
}

/// The first instant of the local bucket of so many units that holds the time.
pub fn bucket(milliseconds: i64, unit: Unit, step: i64, zone: Tz, week_start: u32) -> i64 {
    let local = zone.timestamp_millis_opt(milliseconds).single().expect("an instant");
    let date = local.date_naive();
    let first_day = match unit {
        Unit::Minute => {
            let gone = i64::from(local.minute()) % step * 60_000 + i64::from(local.second()) * 1_000;
            return milliseconds - gone - milliseconds.rem_euclid(1_000);
        }
        Unit::Hour if step > 1 => {
            let hour = i64::from(local.hour()) / step * step;
            return first_instant(date.and_time(NaiveTime::MIN) + TimeDelta::hours(hour), zone);
        }
        // Back to the full hour in the offset of now: a repeated hour is two buckets. The zones asked here change
        // their clocks by whole hours at full hours only.
        Unit::Hour => {
            let gone = i64::from(local.minute()) * 60_000 + i64::from(local.second()) * 1_000;
            return milliseconds - gone - milliseconds.rem_euclid(1_000);
        }
        Unit::Day => date,
        Unit::Week => {
            let gone = (date.weekday().num_days_from_monday() + 7 - week_start) % 7;
            date - Days::new(u64::from(gone))
        }
        Unit::Month => date.with_day(1).expect("every month has a first day"),
        Unit::Quarter => NaiveDate::from_ymd_opt(date.year(), date.month0() / 3 * 3 + 1, 1).expect("a first day"),
        Unit::Year => NaiveDate::from_ymd_opt(date.year(), 1, 1).expect("a first day"),
    };
    first_instant(first_day.and_time(NaiveTime::MIN), zone)
}

/// The starts of the buckets from one to another, at most so many.
pub fn buckets(first: i64, last: i64, unit: Unit, step: i64, zone: Tz, most: usize) -> Vec<i64> {
    let mut starts = Vec::new();
    // Hours and minutes are added as they run; other buckets begin at a local midnight, or where the clock jumps over it.
    let mut local = zone.timestamp_millis_opt(first).single().expect("an instant").naive_local();
    if !matches!(unit, Unit::Minute | Unit::Hour) {
        local = local.date().and_time(NaiveTime::MIN);
    }
    let mut start = first;
    while start <= last && starts.len() < most {
        starts.push(start);
        if matches!(unit, Unit::Minute | Unit::Hour) {
            start += step * if unit == Unit::Hour { 3_600_000 } else { 60_000 };
            continue;
        }
        while first_instant(local, zone) <= start {
            local = match unit {
                Unit::Day => local + TimeDelta::days(1),
                Unit::Week => local + TimeDelta::days(7),
                Unit::Month => local.checked_add_months(Months::new(1)).expect("a month"),
                Unit::Quarter => local.checked_add_months(Months::new(3)).expect("a quarter"),
                _ => local.checked_add_months(Months::new(12)).expect("a year"),
            };
        }
        start = first_instant(local, zone);
    }
    starts
}

/// The earliest instant at a local time, or, where the clock jumps over it, the first one after.
fn first_instant(local: NaiveDateTime, zone: Tz) -> i64 {
    let mut local = local;
    loop {
        if let Some(instant) = zone.from_local_datetime(&local).earliest() {
            return instant.timestamp_millis();
        }
        local += TimeDelta::minutes(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        parse_document_time(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn reads_times() {
        assert_eq!(at("1970-01-01"), 0);
        assert_eq!(at("1970-01-01T00:00:00.1239Z"), 123);
        assert_eq!(at("1969-12-31T23:59:59.9999Z"), -1);
        assert_eq!(at("2024-01-01T02:30:00+02:30"), at("2024-01-01T00:00:00Z"));
        assert_eq!(at("2023-12-31T22:00:00-02:00"), at("2024-01-01"));
        assert_eq!(parse_document_time("2024-01-01T00:00:00"), None);
        assert_eq!(parse_document_time("2024-02-30"), None);
        assert_eq!(parse_query_time("1970-01-01T00:00:00.0015", chrono_tz::UTC).as_deref(), Some("15e-1"));
        assert_eq!(parse_query_time("1969-12-31T23:59:59.9995Z", chrono_tz::Asia::Tokyo).as_deref(), Some("-5e-1"));
        assert_eq!(render(at("2024-08-26T01:02:03.004Z")), "2024-08-26T01:02:03.004Z");
        assert_eq!(render(at("0001-01-08")), "0001-01-08T00:00:00.000Z");
    }

    #[test]
    fn buckets() {
        for (time, unit, zone, week_start, expected) in [
            ("2024-08-28T10:59:59.999Z", Unit::Hour, "UTC", "monday", "2024-08-28T10:00:00.000Z"),
            ("2024-08-28T10:59:59.999Z", Unit::Week, "UTC", "monday", "2024-08-26T00:00:00.000Z"),
            ("2024-08-28T10:59:59.999Z", Unit::Week, "UTC", "sunday", "2024-08-25T00:00:00.000Z"),
            ("2024-08-28T10:59:59.999Z", Unit::Week, "UTC", "wednesday", "2024-08-28T00:00:00.000Z"),
            ("2024-08-28T10:59:59.999Z", Unit::Month, "UTC", "monday", "2024-08-01T00:00:00.000Z"),
            ("1969-12-31T23:59:59.999Z", Unit::Hour, "UTC", "monday", "1969-12-31T23:00:00.000Z"),
            ("2024-08-28T03:59:59Z", Unit::Day, "America/New_York", "monday", "2024-08-27T04:00:00.000Z"),
            // The hour from 01:00 comes twice on this day in New York.
            ("2024-11-03T05:30:00Z", Unit::Hour, "America/New_York", "monday", "2024-11-03T05:00:00.000Z"),
            ("2024-11-03T06:30:00Z", Unit::Hour, "America/New_York", "monday", "2024-11-03T06:00:00.000Z"),
            ("2024-11-04T04:59:00Z", Unit::Day, "America/New_York", "monday", "2024-11-03T04:00:00.000Z"),
            // This day begins at 01:00 in São Paulo.
            ("2018-11-04T12:00:00Z", Unit::Day, "America/Sao_Paulo", "monday", "2018-11-04T03:00:00.000Z"),
            ("2024-01-01T00:10:00Z", Unit::Hour, "Asia/Kathmandu", "monday", "2023-12-31T23:15:00.000Z"),
            // Apia had no 30 December 2011, a Friday.
            ("2011-12-31T12:00:00Z", Unit::Week, "Pacific/Apia", "friday", "2011-12-30T10:00:00.000Z"),
        ] {
            let zone: Tz = zone.parse().expect("a zone");
            let start = weekday(week_start).expect("a day");
            assert_eq!(render(bucket(at(time), unit, 1, zone, start)), expected, "{time} {unit:?} {zone}");
        }
    }
}
