//! Exact decimals from number tokens, without big numbers: order, plain text, nearest double.

use std::borrow::Cow;
use std::cmp::Ordering;

/// Longest plain text that [`plain`] writes out; parsed tokens are far below (contract A2: 1,100).
const MAX_PLAIN: usize = 20_000;

/// A number token in its parts: optional sign, digits with an optional point, optional exponent.
struct Parts<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    /// Saturated far beyond what a double can have.
    exponent: i64,
    has_exponent: bool,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Self {
        let bytes = token.as_bytes();
        let (negative, bytes) = match bytes.split_first() {
            Some((b'-', rest)) => (true, rest),
            Some((b'+', rest)) => (false, rest),
            _ => (false, bytes),
        };
        let split_at = |bytes: &'a [u8], wanted: fn(&u8) -> bool| match bytes.iter().position(wanted) {
            Some(at) => (bytes.get(..at).unwrap_or_default(), bytes.get(at + 1..)),
            None => (bytes, None),
        };
        let (mantissa, exponent_text) = split_at(bytes, |byte| matches!(byte, b'e' | b'E'));
        let (whole, fraction) = split_at(mantissa, |byte| *byte == b'.');
        let mut exponent: i64 = 0;
        let exponent_bytes = exponent_text.unwrap_or_default();
        for byte in exponent_bytes.iter().filter(|byte| byte.is_ascii_digit()) {
            exponent = (exponent * 10 + i64::from(byte - b'0')).min(1_000_000_000_000);
        }
        if exponent_bytes.first() == Some(&b'-') {
            exponent = -exponent;
        }
        let fraction = fraction.unwrap_or_default();
        Self { negative, whole, fraction, exponent, has_exponent: exponent_text.is_some() }
    }

    /// Digits after the point in the plain text, as PostgreSQL's numeric keeps them.
    fn scale(&self) -> i64 {
        (self.fraction.len() as i64 - self.exponent).max(0)
    }
}

/// value = ±0.d1d2d3… × 10^magnitude, d1 ≠ 0 and the last digit ≠ 0; zero has no digits.
struct Normal<'a> {
    negative: bool,
    magnitude: i64,
    digits: [&'a [u8]; 2],
}

impl<'a> Normal<'a> {
    fn of(token: &'a str) -> Self {
        let parts = Parts::of(token);
        let leading = |digits: &[u8]| digits.iter().take_while(|digit| **digit == b'0').count();
        let trailing = |digits: &[u8]| digits.iter().rev().take_while(|digit| **digit == b'0').count();
        let mut whole = parts.whole.get(leading(parts.whole)..).unwrap_or_default();
        let mut fraction = parts.fraction;
        let mut magnitude = whole.len() as i64;
        if whole.is_empty() {
            let zeros = leading(fraction);
            fraction = fraction.get(zeros..).unwrap_or_default();
            magnitude = -(zeros as i64);
        }
        fraction = fraction.get(..fraction.len() - trailing(fraction)).unwrap_or_default();
        if fraction.is_empty() {
            whole = whole.get(..whole.len() - trailing(whole)).unwrap_or_default();
        }
        let zero = whole.is_empty() && fraction.is_empty();
        Self {
            negative: parts.negative && !zero,
            magnitude: if zero { 0 } else { magnitude + parts.exponent },
            digits: [whole, fraction],
        }
    }

    fn is_zero(&self) -> bool {
        self.digits.iter().all(|digits| digits.is_empty())
    }

    fn digits(&self) -> impl Iterator<Item = u8> + '_ {
        self.digits.iter().flat_map(|digits| digits.iter().copied())
    }

    fn sign(&self) -> i8 {
        if self.is_zero() {
            0
        } else if self.negative {
            -1
        } else {
            1
        }
    }
}

/// Exact order of two JSON number tokens; `-0`, `0` and `0.0` are equal.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    if let (Ok(a), Ok(b)) = (a.parse::<i64>(), b.parse::<i64>()) {
        return a.cmp(&b);
    }
    let (a, b) = (Normal::of(a), Normal::of(b));
    a.sign().cmp(&b.sign()).then_with(|| {
        let size = a.magnitude.cmp(&b.magnitude).then_with(|| a.digits().cmp(b.digits()));
        if a.negative { size.reverse() } else { size }
    })
}

/// Appends bytes whose order is [`compare`]; no encoding is a prefix of another.
pub(crate) fn write_sort_key(token: &str, out: &mut Vec<u8>) {
    let normal = Normal::of(token);
    let magnitude = normal.magnitude.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
    let biased = (magnitude as u32) ^ 0x8000_0000;
    match normal.sign() {
        0 => out.push(2),
        1 => {
            out.push(3);
            out.extend_from_slice(&biased.to_be_bytes());
            out.extend(normal.digits());
            out.push(0);
        }
        _ => {
            out.push(1);
            out.extend_from_slice(&(!biased).to_be_bytes());
            out.extend(normal.digits().map(|digit| !digit));
            out.push(0xff);
        }
    }
}

/// Length of [`plain`] without writing it.
pub(crate) fn plain_length(token: &str) -> usize {
    let parts = Parts::of(token);
    let normal = Normal::of(token);
    let whole = normal.magnitude.max(1);
    let scale = parts.scale();
    let point = i64::from(scale > 0);
    let length = i64::from(normal.negative).saturating_add(whole).saturating_add(point).saturating_add(scale);
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// Plain decimal text as PostgreSQL's numeric prints it: `1e5` → `100000`, `1.10e1` → `11.0`, `-0.0` → `0.0`.
pub(crate) fn plain(token: &str) -> Cow<'_, str> {
    let parts = Parts::of(token);
    if !parts.has_exponent && !parts.negative {
        return Cow::Borrowed(token);
    }
    let normal = Normal::of(token);
    if !parts.has_exponent {
        let unsigned = token.strip_prefix('-').unwrap_or(token);
        return Cow::Borrowed(if normal.is_zero() { unsigned } else { token });
    }
    let length = plain_length(token);
    if length > MAX_PLAIN {
        return Cow::Borrowed(token);
    }
    let mut out = String::with_capacity(length);
    if normal.negative {
        out.push('-');
    }
    let mut digits = normal.digits().map(char::from);
    if normal.magnitude > 0 {
        out.extend((0..normal.magnitude).map(|_| digits.next().unwrap_or('0')));
    } else {
        out.push('0');
    }
    let scale = parts.scale();
    if scale > 0 {
        out.push('.');
        let zeros = (-normal.magnitude).clamp(0, scale);
        out.extend((0..zeros).map(|_| '0'));
        out.extend((zeros..scale).map(|_| digits.next().unwrap_or('0')));
    }
    Cow::Owned(out)
}

/// The nearest double of a number token; `None` when that is not finite. Negative zero is zero.
pub(crate) fn double(token: &str) -> Option<f64> {
    let value: f64 = token.parse().ok()?;
    value.is_finite().then_some(if value == 0.0 { 0.0 } else { value })
}

/// The number a string stands for in `sum avg min max` (contract A3): the string matches
/// `^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$` and is a finite double.
pub(crate) fn numeric_text(text: &str) -> Option<f64> {
    let unsigned = |bytes: &'_ [u8]| usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let bytes = text.as_bytes();
    let mut rest = bytes.get(unsigned(bytes)..)?;
    let whole = digits(rest);
    rest = rest.get(whole..)?;
    let mut fraction = 0;
    if rest.first() == Some(&b'.') {
        fraction = digits(rest.get(1..)?);
        rest = rest.get(1 + fraction..)?;
    }
    if whole == 0 && fraction == 0 {
        return None;
    }
    if let Some(b'e' | b'E') = rest.first() {
        rest = rest.get(1..)?;
        rest = rest.get(unsigned(rest)..)?;
        let exponent = digits(rest);
        if !(1..=3).contains(&exponent) {
            return None;
        }
        rest = rest.get(exponent..)?;
    }
    if rest.is_empty() { double(text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_what_postgresql_prints() {
        let cases = [
            ("1e5", "100000"),
            ("1E+5", "100000"),
            ("1.10", "1.10"),
            ("-0.0", "0.0"),
            ("-0", "0"),
            ("-0e0", "0"),
            ("0e5", "0"),
            ("0e-3", "0.000"),
            ("-0.0e-2", "0.000"),
            ("1.5e1", "15"),
            ("1.10e1", "11.0"),
            ("1.10e2", "110"),
            ("1.10e3", "1100"),
            ("1e-3", "0.001"),
            ("-12.5e-1", "-1.25"),
            ("-12.50e-3", "-0.01250"),
            ("0.001e2", "0.1"),
            ("0.001e5", "100"),
            ("0.010e1", "0.10"),
            ("100e-2", "1.00"),
            ("1230e-1", "123.0"),
            ("9007199254740993", "9007199254740993"),
            ("10.00e-1", "1.000"),
        ];
        for (token, expected) in cases {
            assert_eq!(plain(token), expected, "{token}");
            assert_eq!(plain_length(token), expected.len(), "{token}");
        }
    }

    #[test]
    fn order_is_exact() {
        let ascending = [
            "-1e308",
            "-1.5",
            "-1.25",
            "-1e-300",
            "0",
            "1e-308",
            "1.00e-3",
            "0.1",
            "0.10000000000000000000000000001",
            "0.2",
            "9.99",
            "10",
            "99",
            "100",
            "9007199254740992",
            "9007199254740993",
            "9007199254740993.5",
            "1e100",
            "1e308",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
                let key = |token| {
                    let mut out = Vec::new();
                    write_sort_key(token, &mut out);
                    out
                };
                assert_eq!(key(a).cmp(&key(b)), i.cmp(&j), "{a} {b}");
            }
        }
        for (a, b) in [("1", "1.000"), ("1e2", "100"), ("-0", "0.0"), ("0e9", "0"), ("12e-1", "1.2"), ("0.001e3", "1")]
        {
            assert!(compare(a, b).is_eq() && compare(b, a).is_eq(), "{a} {b}");
        }
        assert!(compare("1e999999999999999999", "1e999").is_gt());
    }

    #[test]
    fn numeric_texts() {
        let good = [
            ("5", 5.0),
            ("+5", 5.0),
            ("-5.", -5.0),
            (".5", 0.5),
            ("007.50", 7.5),
            ("1e3", 1000.0),
            ("1E-003", 0.001),
            ("1e+2", 100.0),
            ("-0", 0.0),
        ];
        for (text, expected) in good {
            let found = numeric_text(text);
            assert_eq!(found, Some(expected), "{text}");
            assert!(found.is_some_and(|value| value.is_sign_positive() || value < 0.0));
        }
        for text in [
            "", " 5", "5 ", "5\n", ".", "+", "+.", "e5", "1e", "1e+", "1e1234", "1e309", "--1", "1,5", "1_000", "0x10",
            "inf", "nan", "Infinity", "٣", "1.2.3", "1e5.0", "$5",
        ] {
            assert_eq!(numeric_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn doubles_are_nearest_and_finite() {
        assert_eq!(double("0.1"), Some(0.1));
        assert_eq!(double("9007199254740993"), Some(9007199254740992.0));
        assert_eq!(double("-0.0").map(f64::to_bits), Some(0));
        assert_eq!(double("1e-5000"), Some(0.0));
        assert_eq!(double("1e309"), None);
    }
}
