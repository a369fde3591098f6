//! Durations as texts: `90s`, `30m`, `24h`, `7d`.

use std::time::Duration;

/// Longest first.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// A whole number and `s`, `m`, `h` or `d`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let refusal = || format!("`{text}` given, a number and s, m, h or d is needed, such as 24h");
    let unit = text.chars().last().ok_or_else(refusal)?;
    let (_, seconds) = UNITS.into_iter().find(|(letter, _)| *letter == unit).ok_or_else(refusal)?;
    let digits = text.strip_suffix(unit).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let number: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(refusal)?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(refusal)
}

/// With the longest unit that it is a whole number of; what is beyond a second is left out.
pub(crate) fn render(duration: Duration) -> String {
    let whole = |(_, seconds): &(char, u64)| duration.as_secs().is_multiple_of(*seconds);
    let (letter, seconds) = UNITS.into_iter().find(whole).unwrap_or(('s', 1));
    match duration.as_secs() {
        0 => "0s".to_owned(),
        all => format!("{}{letter}", all / seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800), ("0s", 0)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in
            ["", "24", "h", "24 h", "1w", "-1h", "+1h", "1.5h", "99999999999999999999h", "18446744073709551615d", "1ĥ"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn they_are_written_as_people_would() {
        for (seconds, text) in [(0, "0s"), (90, "90s"), (120, "2m"), (86_400, "1d"), (90_000, "25h"), (604_800, "7d")] {
            assert_eq!(render(Duration::from_secs(seconds)), text);
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)));
        }
    }
}
