//! JSON number tokens as decimals, and sums of doubles without rounding.

use std::cmp::Ordering;

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, FromPrimitive};

/// The text that PostgreSQL's `numeric` prints for a JSON number: `1e5` → `100000`, `1.10` → `1.10`, `-0.0` → `0.0`.
pub fn numeric_text(token: &str) -> String {
    let (negative, unsigned) = match token.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, token.strip_prefix('+').unwrap_or(token)),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().expect("an exponent")),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let scale = fraction.len() as i64 - exponent;
    let (whole, fraction) = if scale <= 0 {
        (format!("{digits}{}", "0".repeat(-scale as usize)), String::new())
    } else if scale as usize >= digits.len() {
        ("0".to_string(), format!("{}{digits}", "0".repeat(scale as usize - digits.len())))
    } else {
        let point = digits.len() - scale as usize;
        (digits[..point].to_string(), digits[point..].to_string())
    };
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        trimmed => trimmed,
    };
    let sign = if negative && digits.bytes().any(|digit| digit != b'0') { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// As [`numeric_text`], without the fraction's trailing zeros: equal texts exactly for equal numbers.
pub fn canonical_text(token: &str) -> String {
    let text = numeric_text(token);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_string() } else { text.to_string() }
}

/// Compares two JSON numbers as decimals.
pub fn compare(left: &str, right: &str) -> Ordering {
    fn parts(token: &str) -> (bool, String, String) {
        let text = canonical_text(token);
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.as_str()),
        };
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        (negative, whole.to_string(), fraction.to_string())
    }
    let (left_negative, left_whole, left_fraction) = parts(left);
    let (right_negative, right_whole, right_fraction) = parts(right);
    match (left_negative, right_negative) {
        (true, false) => return Ordering::Less,
        (false, true) => return Ordering::Greater,
        _ => {}
    }
    let magnitudes = left_whole
        .len()
        .cmp(&right_whole.len())
        .then_with(|| left_whole.cmp(&right_whole))
        .then_with(|| left_fraction.cmp(&right_fraction));
    if left_negative { magnitudes.reverse() } else { magnitudes }
}

/// The nearest finite double of a JSON number.
pub fn double(token: &str) -> Option<f64> {
    let value: f64 = token.parse().ok()?;
    value.is_finite().then_some(if value == 0.0 { 0.0 } else { value })
}

/// The double of a string that counts as a number: `^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$`.
pub fn double_of_string(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !all_digits(whole) || !all_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    if let Some(exponent) = exponent {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if digits.is_empty() || digits.len() > 3 || !all_digits(digits) {
            return None;
        }
    }
    double(text)
}

/// The lower bound of the bin that a numeral lies in, nearest double; None for any other text.
pub fn lower_bound(text: &str, width: &str, offset: &str) -> Option<f64> {
    double_of_string(text)?;
    let exact = |text: &str| numeric_text(text).parse::<BigDecimal>().expect("a decimal");
    let (value, width, offset) = (exact(text), exact(width), exact(offset));
    let distance = value - &offset;
    let scale = distance.fractional_digit_count().max(width.fractional_digit_count()).max(0);
    let whole = |decimal: &BigDecimal| decimal.with_scale(scale).into_bigint_and_exponent().0;
    let (distance, whole_width) = (whole(&distance), whole(&width));
    let mut bins = &distance / &whole_width;
    if &bins * &whole_width > distance {
        bins -= 1;
    }
    let bound = (BigDecimal::from(bins) * width + offset).to_string().parse::<f64>().ok()?;
    bound.is_finite().then_some(bound + 0.0)
}

/// The standard deviation of a sample, from its exact sum and the exact sum of its squares; None for fewer than two
/// values.
pub fn deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let exact = |value: &f64| BigDecimal::from_f64(*value).expect("a finite number");
    let count = BigDecimal::from(values.len() as u64);
    let sum: BigDecimal = values.iter().map(exact).sum();
    let squares: BigDecimal = values.iter().map(|value| exact(value).square()).sum();
    let spread = (&count * squares - sum.square()).with_prec(40);
    let variance = (spread / (&count * (&count - BigDecimal::from(1)))).with_prec(40);
    let deviation = variance.sqrt().expect("no negative number").with_prec(30);
    deviation.to_string().parse::<f64>().ok().filter(|deviation| deviation.is_finite())
}

/// The exact sum of doubles, rounded once; None when that is beyond a finite double.
///
/// Every finite double is a whole multiple of 2^-1074. The sum of these multiples is exact; it is written out as a
/// decimal and read back, and reading rounds to the nearest double.
pub fn exact_sum(values: &[f64]) -> Option<f64> {
    let mut multiples = BigInt::from(0);
    for value in values {
        let bits = value.to_bits();
        let exponent = (bits >> 52) & 0x7ff;
        let fraction = bits & ((1 << 52) - 1);
        let (significand, shift) = if exponent == 0 { (fraction, 0) } else { (fraction | (1 << 52), exponent - 1) };
        let multiple = BigInt::from(significand) << shift;
        if value.is_sign_negative() {
            multiples -= multiple;
        } else {
            multiples += multiple;
        }
    }
    let Some(zeros) = multiples.trailing_zeros() else { return Some(0.0) };
    let text = if zeros >= 1074 {
        (multiples >> 1074u32).to_string()
    } else {
        let places = 1074 - zeros as u32;
        format!("{}e-{places}", (multiples >> zeros) * BigInt::from(5).pow(places))
    };
    let sum: f64 = text.parse().expect("a decimal");
    sum.is_finite().then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_numeric() {
        for (token, text) in [
            ("1e5", "100000"),
            ("1.10", "1.10"),
            ("-0.0", "0.0"),
            ("-0", "0"),
            ("1.5e1", "15"),
            ("1.10e1", "11.0"),
            ("1e-3", "0.001"),
            ("0e5", "0"),
            ("0e-3", "0.000"),
            ("12.345E+1", "123.45"),
            ("-12.5e-2", "-0.125"),
            ("9007199254740993", "9007199254740993"),
        ] {
            assert_eq!(numeric_text(token), text, "{token}");
        }
        for (token, text) in [("1.10", "1.1"), ("5.00", "5"), ("-0.00", "0"), ("100", "100"), ("1e2", "100")] {
            assert_eq!(canonical_text(token), text, "{token}");
        }
    }

    #[test]
    fn compares_decimals() {
        use Ordering::{Equal, Greater, Less};
        for (left, right, order) in [
            ("1", "1.0", Equal),
            ("9007199254740993", "9007199254740992", Greater),
            ("-2", "-10", Greater),
            ("-0", "0.0", Equal),
            ("0.1", "0.10000000000000000001", Less),
            ("1e308", "1e-308", Greater),
            ("-1", "1", Less),
            ("10", "9", Greater),
            ("-0.5", "-0.25", Less),
        ] {
            assert_eq!(compare(left, right), order, "{left} {right}");
            assert_eq!(compare(right, left), order.reverse(), "{right} {left}");
        }
    }

    #[test]
    fn reads_numeric_strings() {
        for (text, value) in [
            ("5", Some(5.0)),
            ("+7", Some(7.0)),
            ("5.", Some(5.0)),
            (".5", Some(0.5)),
            ("-2.5e1", Some(-25.0)),
            ("1E-003", Some(0.001)),
            ("", None),
            (".", None),
            ("e5", None),
            (" 5", None),
            ("5 ", None),
            ("1e", None),
            ("1e1234", None),
            ("1e999", None),
            ("0x1", None),
            ("NaN", None),
            ("inf", None),
            ("1_0", None),
            ("٣", None),
            ("+-5", None),
            ("1.2.3", None),
        ] {
            assert_eq!(double_of_string(text), value, "{text:?}");
        }
    }

    #[test]
    fn sums_exactly() {
        assert_eq!(exact_sum(&[]), Some(0.0));
        assert_eq!(exact_sum(&[0.1; 10]), Some(1.0));
        assert_eq!(exact_sum(&[1e308, 1.0, -1e308]), Some(1.0));
        assert_eq!(exact_sum(&[f64::MAX, f64::MAX]), None);
        assert_eq!(exact_sum(&[f64::MAX, f64::MAX, -f64::MAX]), Some(f64::MAX));
        assert_eq!(exact_sum(&[5e-324, 5e-324]), Some(1e-323));
        assert_eq!(exact_sum(&[9007199254740992.0, 1.0, 1.0]), Some(9007199254740994.0));
        assert_eq!(exact_sum(&[-2.5, 2.5]), Some(0.0));
    }
}
