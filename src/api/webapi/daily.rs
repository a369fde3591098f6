//! Conversations by day.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use axum::response::Response;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};
use serde_json::json as value;

use super::{actor, filters};
use crate::api::http::call::{Call, json};
use crate::api::http::parameters::Parameters;
use crate::api::http::problem::Problem;
use crate::api::services::Services;
use crate::model::ids::EpochMillis;
use crate::query::check::check;
use crate::query::dsl::{Comparison, Filter};
use crate::query::error::QueryError;
use crate::query::execute::question::Question;
use crate::query::execute::row_stream::RowStream;
use crate::query::view;

const MAX_DAYS: i32 = 3_660;
const EPOCH: Date = Date::constant(1970, 1, 1);
const MILLIS_PER_DAY: i64 = 24 * 60 * 60 * 1_000;
/// Its columns are `createdAt_day` and `count`.
const QUERY: &[u8] = br#"{"select":[{"type":"time","timeUnit":"day","field":"createdAt"},
    {"type":"aggregation","aggregation":"count"}]}"#;

/// `GET /webapi/v2/conversations/daily_count`
pub(crate) async fn count(services: &Services, call: &mut Call) -> Result<Response, Problem> {
    let actor = actor::actor(call.headers())?;
    let Range { start, end, zone } = Range::read(&call.parameters)?;
    let mut counts = BTreeMap::new();
    if let Some(scope) = actor::scope(call)? {
        let mut query = check(&view::CONVERSATIONS, QUERY)?;
        let mut parts = filters::visible_to(&actor)?;
        if let Some(from) = first_instant(start, &zone) {
            parts.push(filters::time("createdAt", Comparison::Gte, from)?);
        }
        if let Some(to) = end.tomorrow().ok().and_then(|after| first_instant(after, &zone)) {
            parts.push(filters::time("createdAt", Comparison::Lt, to)?);
        }
        query.filter = Some(Filter::And(parts));
        query.time_zone = zone.clone();
        let read = move |rows| count_days(rows, zone);
        let question = Question::Query(query);
        counts = services.engine.ask(services.store.snapshot(), scope, question, read).await?.await?;
    }
    let days = start.series(1.day()).take_while(|day| *day <= end);
    let counts: Vec<serde_json::Value> = days
        .map(|day| value!({ "date": day.to_string(), "count": counts.get(&day).copied().unwrap_or_default() }))
        .collect();
    Ok(json(value!({ "counts": counts }).to_string()))
}

/// The rows of [`QUERY`].
async fn count_days(mut rows: RowStream, zone: TimeZone) -> Result<BTreeMap<Date, i64>, QueryError> {
    let wrong = || QueryError::Internal("a count by day has other columns".to_owned());
    let mut counts: BTreeMap<Date, i64> = BTreeMap::new();
    while let Some(batch) = rows.next().await? {
        let [days, numbers] = batch.columns() else { return Err(wrong()) };
        let days = days.as_primitive_opt::<TimestampMillisecondType>().ok_or_else(wrong)?;
        let numbers = numbers.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
        for (start, count) in days.iter().flatten().zip(numbers.values()) {
            if let Some(day) = local_date(start, &zone) {
                *counts.entry(day).or_default() += count;
            }
        }
    }
    Ok(counts)
}

#[derive(Debug)]
struct Range {
    start: Date,
    /// Inclusive.
    end: Date,
    zone: TimeZone,
}

impl Range {
    fn read(parameters: &Parameters) -> Result<Range, Problem> {
        let (start, end) = (date(parameters, "startDate")?, date(parameters, "endDate")?);
        let days = (end - start).get_days() + 1;
        if end < start {
            return Err(Problem::bad_request(format!("endDate: {end} is before startDate {start}")));
        }
        if days > MAX_DAYS {
            return Err(Problem::bad_request(format!("endDate: {days} days asked, at most {MAX_DAYS} are allowed")));
        }
        let zone = match parameters.text("timeZone") {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).ok().filter(|zone| !zone.is_unknown()).ok_or_else(|| {
                let shown: String = name.chars().take(40).collect();
                Problem::bad_request(format!(
                    "timeZone: `{shown}` given, an IANA name such as `Europe/Berlin` or `UTC` is needed"
                ))
            })?,
        };
        Ok(Range { start, end, zone })
    }
}

/// `YYYY-MM-DD`, and nothing else that a date parser takes.
fn date(parameters: &Parameters, name: &str) -> Result<Date, Problem> {
    let text = parameters.text(name).unwrap_or_default();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').collect();
    let date = match parts.as_slice() {
        [year, month, day]
            if (year.len(), month.len(), day.len()) == (4, 2, 2) && digits(year) && digits(month) && digits(day) =>
        {
            match (year.parse(), month.parse(), day.parse()) {
                (Ok(year), Ok(month), Ok(day)) => Date::new(year, month, day).ok().filter(|date| date.year() >= 1),
                _ => None,
            }
        }
        _ => None,
    };
    date.ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Problem::bad_request(format!("{name}: `{shown}` given, a date YYYY-MM-DD is needed"))
    })
}

/// The day of an instant in milliseconds. jiff's instants end a day before the year 9999 does; what holds at their end
/// holds after it. `None` where the day is in no year of four digits.
fn local_date(millis: i64, zone: &TimeZone) -> Option<Date> {
    let seconds = millis.div_euclid(1_000).min(Timestamp::MAX.as_second());
    let instant = Timestamp::from_second(seconds).ok()?;
    let local = millis.saturating_add(i64::from(zone.to_offset(instant).seconds()) * 1_000);
    EPOCH.checked_add(Span::new().try_days(local.div_euclid(MILLIS_PER_DAY)).ok()?).ok()
}

/// `None` beyond jiff's range, so beyond any stored time.
fn first_instant(date: Date, zone: &TimeZone) -> Option<EpochMillis> {
    let start = zone.to_ambiguous_zoned(date.at(0, 0, 0, 0)).compatible().ok()?;
    Some(EpochMillis(start.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time;

    #[test]
    fn ranges_are_checked() {
        for (query, allowed) in [
            ("startDate=2024-01-01&endDate=2024-01-01", true),
            ("startDate=2024-02-29&endDate=2024-03-01&timeZone=Europe/Berlin", true),
            ("startDate=2014-01-01&endDate=2024-01-08", true),
            ("startDate=2014-01-01&endDate=2024-01-09", false),
            ("startDate=0001-01-01&endDate=9999-12-31", false),
            ("startDate=9999-12-31&endDate=9999-12-31", true),
            ("startDate=2024-01-02&endDate=2024-01-01", false),
            ("startDate=2024-01-01", false),
            ("endDate=2024-01-01", false),
            ("startDate=2023-02-29&endDate=2024-01-01", false),
            ("startDate=20240101&endDate=2024-01-01", false),
            ("startDate=2024-1-1&endDate=2024-01-01", false),
            ("startDate=2024-01-01T00:00&endDate=2024-01-01", false),
            ("startDate=0000-01-01&endDate=0000-01-02", false),
            ("startDate=2024-01-01&endDate=2024-01-01&timeZone=Mars", false),
            ("startDate=2024-01-01&endDate=2024-01-01&timeZone=", false),
        ] {
            let read = Range::read(&Parameters::parse(Some(query)));
            assert_eq!(read.is_ok(), allowed, "{query}");
            assert!(read.err().is_none_or(|problem| problem.status().as_u16() == 400));
        }
    }

    #[test]
    fn instants_have_their_day_in_all_years() {
        let zone = |name: &str| TimeZone::get(name).unwrap();
        for (instant, name, expected) in [
            ("0001-01-01T00:00:00Z", "UTC", Some(Date::constant(1, 1, 1))),
            ("2024-03-30T23:00:00Z", "europe/berlin", Some(Date::constant(2024, 3, 31))),
            ("9999-12-31T23:59:59.999Z", "UTC", Some(Date::constant(9999, 12, 31))),
            ("9999-12-31T23:59:59.999Z", "America/New_York", Some(Date::constant(9999, 12, 31))),
            ("9999-12-31T03:00:00Z", "America/New_York", Some(Date::constant(9999, 12, 30))),
            ("9999-12-31T23:00:00Z", "Europe/Berlin", None),
        ] {
            let millis = time::parse_document_time(instant).unwrap().0;
            assert_eq!(local_date(millis, &zone(name)), expected, "{instant} {name}");
        }
    }
}
