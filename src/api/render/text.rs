//! JSON strings and numbers as bytes.
#![expect(
    clippy::indexing_slicing,
    reason = "a byte indexes a table of 256, its halves one of 16; digits are counted down from their buffer"
)]

use std::io::Write;

/// What follows the backslash of a byte's escape: 0 for bytes that stand for themselves, `u` for `\u00XX`.
static ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

const HEX: [u8; 16] = *b"0123456789abcdef";

/// A JSON string with its quotes; runs without escapes are copied whole.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut rest = bytes;
    while let Some(length) = rest.iter().position(|&byte| ESCAPES[usize::from(byte)] != 0) {
        let (run, tail) = rest.split_at(length);
        out.extend_from_slice(run);
        let Some((&byte, tail)) = tail.split_first() else { break };
        match ESCAPES[usize::from(byte)] {
            b'u' => {
                out.extend_from_slice(br"\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            escape => out.extend_from_slice(&[b'\\', escape]),
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

pub(crate) fn write_integer(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    let mut left = value.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[start..]);
}

/// The shortest form that reads back as the same double; integers without a fraction, -0 as 0.
pub(crate) fn write_double(value: f64, out: &mut Vec<u8>) {
    const EXACT: f64 = 1e15;
    if value.fract() == 0.0 && value.abs() < EXACT {
        return write_integer(value as i64, out);
    }
    let start = out.len();
    // Writing to a vector does not fail. `{:?}` is Rust's shortest form, with an exponent where that is long.
    let _ = write!(out, "{value:?}");
    if out.ends_with(b".0") && !out[start..].contains(&b'e') {
        out.truncate(out.len() - 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn strings() {
        for (text, expected) in [
            ("", r#""""#),
            ("plain", r#""plain""#),
            ("\"", r#""\"""#),
            ("a\\b\"c", r#""a\\b\"c""#),
            ("\u{8}\t\n\u{c}\r", r#""\b\t\n\f\r""#),
            ("\u{0}\u{1}\u{1f}\u{7f}", "\"\\u0000\\u0001\\u001f\u{7f}\""),
            ("大家 🙂 \u{2028}", "\"大家 🙂 \u{2028}\""),
        ] {
            let json = written(|out| write_string(text, out));
            assert_eq!(json, expected);
            assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
        }
    }

    #[test]
    fn integers() {
        for value in [0, 1, -1, 10, 1_724_630_400_000, i64::MAX, i64::MIN] {
            assert_eq!(written(|out| write_integer(value, out)), value.to_string());
        }
    }

    #[test]
    fn doubles() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (3.0, "3"),
            (-12.0, "-12"),
            (0.1, "0.1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (999_999_999_999_999.0, "999999999999999"),
            (1e15, "1000000000000000"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (1e300, "1e300"),
            (1.5e-7, "1.5e-7"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e308"),
        ] {
            let json = written(|out| write_double(value, out));
            assert_eq!(json, expected);
            assert_eq!(json.parse::<f64>().expect("a double"), value);
        }
    }
}
