//! When a double says all that a JSON number's token says.

use crate::model::json::{decimal, jsonb};

/// Every integer or fraction of so many digits is told apart by a double, and its shortest decimal is the token.
const EXACT_DIGITS: usize = 15;

/// Whether `token` needs its text beside the double.
pub(crate) fn needs_text(token: &str) -> bool {
    if is_short_plain_decimal(token) {
        return false;
    }
    match decimal::double(token) {
        Some(double) => format!("{double}") != jsonb::number_text(token),
        None => true,
    }
}

/// The double of `token`, -0 as 0; `None` beyond a finite double.
pub(crate) fn double(token: &str) -> Option<f64> {
    decimal::double(token)
}

/// The common case: no exponent, few digits, no zeros to lose at the end, no minus zero.
fn is_short_plain_decimal(token: &str) -> bool {
    if token.len() > EXACT_DIGITS || token == "-0" {
        return false;
    }
    let mut fraction = false;
    for byte in token.bytes() {
        match byte {
            b'.' => fraction = true,
            b'e' | b'E' => return false,
            _ => {}
        }
    }
    !(fraction && token.ends_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_needed_where_the_double_prints_otherwise() {
        for (token, needed) in [
            ("0", false),
            ("-0", false),
            ("-0.0", true),
            ("1.10", true),
            ("1.1", false),
            ("100", false),
            ("1e5", false),
            ("1.50e1", true),
            ("9007199254740993", true),
            ("9007199254740992", false),
            ("0.1000000000000000055511151231257827", true),
            ("123456789012.25", false),
            ("1e-3", false),
        ] {
            assert_eq!(needs_text(token), needed, "{token}");
        }
    }
}
