//! Times of documents and queries: ISO 8601 texts to epoch milliseconds and back (contract A2, A3).

use super::ids::EpochMillis;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 0001-01-01T00:00:00.000Z
const FIRST: i64 = -62_135_596_800_000;
/// 9999-12-31T23:59:59.999Z
pub(crate) const LAST: i64 = 253_402_300_799_999;

const ALLOWED: &str = "an ISO 8601 time with zone like 2024-08-26T12:30:00.000Z, or a date, in the years 0001 to 9999";

/// A text in its parts, before a rule about zones or years is applied.
struct Parsed<'a> {
    /// Whole milliseconds, below the exact time by what `finer` says.
    millis: i64,
    /// Fraction digits after the third.
    finer: &'a str,
    has_time: bool,
    has_zone: bool,
}

/// A time given in a document: with a zone, or a date alone (midnight UTC); cut to the millisecond.
pub(crate) fn parse_document_time(text: &str) -> Result<EpochMillis, String> {
    let shown: String = text.chars().take(64).collect();
    let Some(parsed) = parse(text) else {
        return Err(format!("{shown:?} given, which is no valid time; allowed: {ALLOWED}"));
    };
    if parsed.has_time && !parsed.has_zone {
        return Err(format!("{shown:?} given, which has no zone; allowed: {ALLOWED}"));
    }
    if !(FIRST..=LAST).contains(&parsed.millis) {
        return Err(format!("{shown:?} given, which is out of range; allowed: {ALLOWED}"));
    }
    Ok(EpochMillis(parsed.millis))
}

/// A time given in a query, as exact decimal epoch milliseconds; without a zone it is UTC. `None` if it is no time.
pub(crate) fn parse_query_time(text: &str) -> Option<String> {
    parse_local_time(text, |local| local, |local| local)
}

/// The same, where a time without a zone is one of a local clock: `date` and `time` give the instants of local dates
/// and date-times, all as milliseconds since 1970 (on the local clock, and in UTC).
pub(crate) fn parse_local_time(
    text: &str,
    date: impl FnOnce(i64) -> i64,
    time: impl FnOnce(i64) -> i64,
) -> Option<String> {
    let parsed = parse(text)?;
    let millis = match (parsed.has_time, parsed.has_zone) {
        (_, true) => parsed.millis,
        (false, false) => date(parsed.millis),
        (true, false) => time(parsed.millis),
    };
    let finer = parsed.finer.trim_end_matches('0');
    if finer.is_empty() {
        return Some(millis.to_string());
    }
    if millis >= 0 {
        return Some(format!("{millis}.{finer}"));
    }
    // Below the epoch the fraction leads towards zero: -5 and .25 make -4.75.
    let mut complement: Vec<u8> = finer.bytes().map(|digit| b'9' - digit + b'0').collect();
    if let Some(last) = complement.last_mut() {
        *last += 1;
    }
    let complement: String = complement.into_iter().map(char::from).collect();
    Some(format!("-{}.{complement}", -(millis + 1)))
}

/// `2024-08-26T00:00:00.000Z`.
pub(crate) fn render(time: EpochMillis) -> String {
    let (days, millis) = (time.0.div_euclid(DAY), time.0.rem_euclid(DAY));
    let (year, month, day) = date_of(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        millis / HOUR,
        millis / MINUTE % 60,
        millis / 1000 % 60,
        millis % 1000
    )
}

/// `YYYY-MM-DD`, optionally with `T`, `t` or a space, `hh:mm[:ss[.fraction]]` and `Z`, `±hh`, `±hhmm` or `±hh:mm`.
fn parse(text: &str) -> Option<Parsed<'_>> {
    let mut reader = Reader { bytes: text.as_bytes(), position: 0 };
    let year = reader.number(4)?;
    reader.expect(b'-')?;
    let month = reader.number(2)?;
    reader.expect(b'-')?;
    let day = reader.number(2)?;
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let mut parsed = Parsed { millis: days_of(year, month, day) * DAY, finer: "", has_time: false, has_zone: false };
    if reader.at_end() {
        return Some(parsed);
    }
    parsed.has_time = true;
    if !matches!(reader.next()?, b'T' | b't' | b' ') {
        return None;
    }
    let hour = reader.number(2)?;
    reader.expect(b':')?;
    let minute = reader.number(2)?;
    let mut second = 0;
    if reader.take(b':') {
        second = reader.number(2)?;
        if reader.take(b'.') || reader.take(b',') {
            let start = reader.position;
            reader.skip_digits();
            let digits = text.get(start..reader.position)?;
            let mut thousandths = digits.bytes().chain(std::iter::repeat(b'0'));
            for unit in [100, 10, 1] {
                parsed.millis += i64::from(thousandths.next()? - b'0') * unit;
            }
            if digits.is_empty() {
                return None;
            }
            parsed.finer = digits.get(3..).unwrap_or_default();
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    parsed.millis += hour * HOUR + minute * MINUTE + second * 1000;
    if reader.at_end() {
        return Some(parsed);
    }
    parsed.has_zone = true;
    let sign = match reader.next()? {
        b'Z' | b'z' => 0,
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    if sign != 0 {
        let hours = reader.number(2)?;
        let minutes = if reader.take(b':') || !reader.at_end() { reader.number(2)? } else { 0 };
        if hours > 23 || minutes > 59 {
            return None;
        }
        parsed.millis -= sign * (hours * HOUR + minutes * MINUTE);
    }
    reader.at_end().then_some(parsed)
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Reader<'_> {
    fn at_end(&self) -> bool {
        self.position >= self.bytes.len()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.position)?;
        self.position += 1;
        Some(byte)
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.bytes.get(self.position) == Some(&wanted);
        self.position += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        self.take(wanted).then_some(())
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        let text = self.bytes.get(self.position..self.position + digits)?;
        self.position += digits;
        text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
    }

    fn skip_digits(&mut self) {
        while self.bytes.get(self.position).is_some_and(u8::is_ascii_digit) {
            self.position += 1;
        }
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible low-level
/// date algorithms").
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_of`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_times() {
        let good = [
            ("2024-08-26", 1_724_630_400_000),
            ("2024-08-26T00:00:00Z", 1_724_630_400_000),
            ("2024-08-26T02:00:00.000+02:00", 1_724_630_400_000),
            ("2024-08-25t19:00:00.000-0500", 1_724_630_400_000),
            ("2024-08-26 01:00+01", 1_724_630_400_000),
            ("2024-08-26T00:00:00.1Z", 1_724_630_400_100),
            ("2024-08-26T00:00:00,0019999z", 1_724_630_400_001),
            ("1970-01-01T00:00:00-00:00", 0),
            ("1969-12-31T23:59:59.9999Z", -1),
            ("2000-02-29", 951_782_400_000),
            ("0001-01-01", FIRST),
            ("9999-12-31T23:59:59.999999Z", LAST),
            ("0000-12-31T23:00:00-01:00", FIRST),
        ];
        for (text, millis) in good {
            assert_eq!(parse_document_time(text), Ok(EpochMillis(millis)), "{text}");
        }
        for text in [
            "",
            "2024",
            "2024-08",
            "2024-8-26",
            "20240826",
            "2024-08-32",
            "2024-13-01",
            "2024-00-10",
            "2024-01-00",
            "2023-02-29",
            "1900-02-29",
            "2024-08-26T",
            "2024-08-26T00",
            "2024-08-26T00:00",
            "2024-08-26T00:00:00",
            "2024-08-26T24:00:00Z",
            "2024-08-26T00:60:00Z",
            "2024-08-26T00:00:60Z",
            "2024-08-26T00:00:00.Z",
            "2024-08-26T00:00:00Zx",
            "2024-08-26Z",
            "2024-08-26T00:00:00+1",
            "2024-08-26T00:00:00+24:00",
            "2024-08-26T00:00:00+01:60",
            "2024-08-26T00:00:00+01:",
            "2024-08-26T00:00:00 Z",
            " 2024-08-26",
            "2024-08-26 ",
            "yesterday",
            "1724630400000",
            "0000-12-31",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "10000-01-01",
            "-001-01-01",
            "2024-08-26T00:00:00[UTC]",
            "２024-08-26",
            "2024-08-26é",
        ] {
            assert!(parse_document_time(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn query_times_are_exact() {
        let cases = [
            ("2024-08-26", Some("1724630400000")),
            ("2024-08-26T00:00", Some("1724630400000")),
            ("2024-08-26T00:00:00", Some("1724630400000")),
            ("2024-08-26T02:00:00+02:00", Some("1724630400000")),
            ("2024-08-26T00:00:00.00010Z", Some("1724630400000.1")),
            ("1970-01-01T00:00:00.0005Z", Some("0.5")),
            ("1969-12-31T23:59:59.99925Z", Some("-0.75")),
            ("1969-12-31T23:59:59.9901Z", Some("-9.9")),
            ("1969-12-31T23:59:59.990", Some("-10")),
            ("0000-01-01", Some("-62167219200000")),
            ("today", None),
            ("2024-08-26T25:00", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_query_time(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn rendering_inverts_parsing() {
        assert_eq!(render(EpochMillis(FIRST)), "0001-01-01T00:00:00.000Z");
        assert_eq!(render(EpochMillis(LAST)), "9999-12-31T23:59:59.999Z");
        assert_eq!(render(EpochMillis(-1)), "1969-12-31T23:59:59.999Z");
        let mut time = FIRST;
        while time < LAST {
            assert_eq!(parse_document_time(&render(EpochMillis(time))), Ok(EpochMillis(time)));
            time += 37 * DAY + 12_345_678;
        }
    }
}
