//! Number literals against columns of whole numbers.

/// Beyond every stored whole number (milliseconds of the years 1 to 9999, counts).
const LIMIT: i64 = 9_000_000_000_000_000;

/// The whole numbers around a decimal, cut to ±9e15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WholeBounds {
    pub(crate) floor: i64,
    pub(crate) ceil: i64,
}

impl WholeBounds {
    /// Of a JSON number token.
    pub(crate) fn of(token: &str) -> WholeBounds {
        let (negative, unsigned) = match token.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, token),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent),
            None => (unsigned, "0"),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: String = format!("{whole}{fraction}");
        let significant = digits.trim_start_matches('0');
        if significant.is_empty() {
            return WholeBounds { floor: 0, ceil: 0 };
        }
        // Digits before the point; an exponent that is no i32 is far beyond either way.
        let exponent = exponent.parse::<i32>().unwrap_or(if exponent.starts_with('-') { i32::MIN } else { i32::MAX });
        let leading = i64::try_from(digits.len() - significant.len()).unwrap_or(0);
        let point = i64::try_from(whole.len()).unwrap_or(0) - leading + i64::from(exponent);
        let (magnitude, exact) = match usize::try_from(point) {
            Err(_) | Ok(0) => (0, false),
            Ok(16..) => return if negative { Self::whole(-LIMIT) } else { Self::whole(LIMIT) },
            Ok(point) => {
                let integral: String = significant.chars().chain(std::iter::repeat('0')).take(point).collect();
                let rest = significant.get(point..).unwrap_or_default();
                (integral.parse::<i64>().unwrap_or(LIMIT).min(LIMIT), rest.bytes().all(|digit| digit == b'0'))
            }
        };
        match (negative, exact) {
            (_, true) => Self::whole(if negative { -magnitude } else { magnitude }),
            (false, false) => WholeBounds { floor: magnitude, ceil: magnitude + 1 },
            (true, false) => WholeBounds { floor: -magnitude - 1, ceil: -magnitude },
        }
    }

    fn whole(value: i64) -> WholeBounds {
        WholeBounds { floor: value, ceil: value }
    }

    /// The number itself, if it is whole and can be stored.
    pub(crate) fn exact(self) -> Option<i64> {
        (self.floor == self.ceil && self.floor.abs() < LIMIT).then_some(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_bounds_round_outwards() {
        for (token, floor, ceil) in [
            ("5", 5, 5),
            ("5.0", 5, 5),
            ("5.5", 5, 6),
            ("-5.5", -6, -5),
            ("-0.0", 0, 0),
            ("0.001", 0, 1),
            ("-1e-300", -1, 0),
            ("1e3", 1000, 1000),
            ("12.5e1", 125, 125),
            ("0.00125e4", 12, 13),
            ("1724630400000.25", 1_724_630_400_000, 1_724_630_400_001),
            ("1e300", LIMIT, LIMIT),
            ("-1e99999999999", -LIMIT, -LIMIT),
            ("1e-99999999999", 0, 1),
            ("9999999999999999", LIMIT, LIMIT),
        ] {
            assert_eq!(WholeBounds::of(token), WholeBounds { floor, ceil }, "{token}");
        }
        assert_eq!(WholeBounds::of("5.5").exact(), None);
        assert_eq!(WholeBounds::of("1e300").exact(), None);
        assert_eq!(WholeBounds::of("-7").exact(), Some(-7));
    }
}
