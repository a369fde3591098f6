//! A sum of doubles without rounding, so that neither row order nor partitioning shows (contract A3).
#![expect(clippy::indexing_slicing, reason = "positions are below the number of limbs")]

/// Units of 2^-64 in `ExactSum::fixed`.
const FIXED_FRACTION_BITS: i32 = 64;
/// 2,098 bits from the least subnormal to the greatest double, and 64 bits for as many rows as there can be.
const LIMBS: usize = 70;
const LIMB_BITS: usize = 32;
const LIMB_MASK: i64 = 0xffff_ffff;
/// Position of bit 0 of `ExactSum::fixed` in a [`Wide`], whose own unit is 2^-1074.
const FIXED_SHIFT: usize = 1074 - 64;
/// A limb grows by less than 2^32 per addition; carries are due long before it overflows.
const ADDITIONS_BETWEEN_CARRIES: u32 = 1 << 30;

const NARROW_BYTES: usize = 16;
const WIDE_BYTES: usize = LIMBS * 4;

/// The exact sum is `fixed * 2^-64` plus `wide`. Most values (integers, money, scores) are multiples of 2^-64 and stay
/// in the integer; `wide` is made for others, and when the integer overflows.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExactSum {
    fixed: i128,
    wide: Option<Box<Wide>>,
}

impl ExactSum {
    /// Adds a finite value.
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        debug_assert!(value.is_finite());
        match fixed_point(value) {
            Some(fixed) => self.add_fixed(fixed),
            None => self.wide().add_double(value),
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.add_fixed(other.fixed);
        if let Some(wide) = &other.wide {
            self.wide().merge(wide);
        }
    }

    /// The nearest double, ties to even; none beyond the finite doubles.
    pub(crate) fn round(&self) -> Option<f64> {
        match &self.wide {
            None => {
                // Both steps are exact or correctly rounded: the conversion rounds to nearest even, the scale is 2^-64.
                let magnitude = self.fixed.unsigned_abs() as f64 * 2f64.powi(-FIXED_FRACTION_BITS);
                Some(if self.fixed < 0 { -magnitude } else { magnitude })
            }
            Some(wide) => {
                let mut total = wide.clone();
                total.add_fixed(self.fixed);
                total.round()
            }
        }
    }

    /// Heap memory beside the struct itself.
    pub(crate) fn heap_size(&self) -> usize {
        if self.wide.is_some() { size_of::<Wide>() } else { 0 }
    }

    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        match &self.wide {
            None => bytes.extend_from_slice(&self.fixed.to_le_bytes()),
            Some(wide) => {
                let mut total = wide.clone();
                total.add_fixed(self.fixed);
                total.carry();
                for limb in total.limbs {
                    // Two's complement over all limbs: only the last may be negative, and fits an i32.
                    bytes.extend_from_slice(&(limb as i32).to_le_bytes());
                }
            }
        }
    }

    /// Inverse of [`Self::write`]; none if `bytes` is no such state.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        if let Ok(narrow) = <[u8; NARROW_BYTES]>::try_from(bytes) {
            return Some(Self { fixed: i128::from_le_bytes(narrow), wide: None });
        }
        if bytes.len() != WIDE_BYTES {
            return None;
        }
        let mut wide = Box::new(Wide::default());
        let (words, _) = bytes.as_chunks::<4>();
        for (index, (limb, word)) in wide.limbs.iter_mut().zip(words).enumerate() {
            let word = i32::from_le_bytes(*word);
            *limb = if index == LIMBS - 1 { i64::from(word) } else { i64::from(word as u32) };
        }
        Some(Self { fixed: 0, wide: Some(wide) })
    }

    #[inline]
    fn add_fixed(&mut self, value: i128) {
        match self.fixed.checked_add(value) {
            Some(sum) => self.fixed = sum,
            None => {
                let full = std::mem::replace(&mut self.fixed, value);
                self.wide().add_fixed(full);
            }
        }
    }

    fn wide(&mut self) -> &mut Wide {
        self.wide.get_or_insert_default()
    }
}

/// `value` in units of 2^-64, if that is an integer well inside an `i128`.
#[inline]
fn fixed_point(value: f64) -> Option<i128> {
    let (mantissa, exponent) = decode(value);
    if mantissa == 0 {
        return Some(0);
    }
    let shift = exponent as i32 - 1074 + FIXED_FRACTION_BITS;
    let magnitude = if (0..=72).contains(&shift) {
        i128::from(mantissa) << shift
    } else if shift < 0 && mantissa.trailing_zeros() >= shift.unsigned_abs() {
        i128::from(mantissa >> shift.unsigned_abs())
    } else {
        return None;
    };
    Some(if value < 0.0 { -magnitude } else { magnitude })
}

/// `|value|` = mantissa * 2^(exponent - 1074).
#[inline]
fn decode(value: f64) -> (u64, u32) {
    let bits = value.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    match (bits >> 52) as u32 & 0x7ff {
        0 => (fraction, 0),
        exponent => (fraction | 1 << 52, exponent - 1),
    }
}

/// Fixed-point number over the whole range of doubles in units of 2^-1074, with carries put off: limbs are signed and
/// may exceed 32 bits between carries.
#[derive(Clone, Debug)]
struct Wide {
    limbs: [i64; LIMBS],
    additions: u32,
}

impl Default for Wide {
    fn default() -> Self {
        Self { limbs: [0; LIMBS], additions: 0 }
    }
}

impl Wide {
    fn add_double(&mut self, value: f64) {
        let (mantissa, exponent) = decode(value);
        self.add_bits(mantissa, exponent as usize, value < 0.0);
    }

    fn add_fixed(&mut self, value: i128) {
        let magnitude = value.unsigned_abs();
        self.add_bits(magnitude as u64, FIXED_SHIFT, value < 0);
        self.add_bits((magnitude >> 64) as u64, FIXED_SHIFT + 64, value < 0);
    }

    /// Adds `bits << shift`; `shift` is at most 2,045.
    fn add_bits(&mut self, bits: u64, shift: usize, negative: bool) {
        self.count_addition();
        let spread = u128::from(bits) << (shift % LIMB_BITS);
        for (index, limb) in self.limbs.iter_mut().skip(shift / LIMB_BITS).take(3).enumerate() {
            let part = (spread >> (index * LIMB_BITS)) as i64 & LIMB_MASK;
            *limb += if negative { -part } else { part };
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count_addition();
        let mut other = other.clone();
        other.carry();
        for (limb, added) in self.limbs.iter_mut().zip(other.limbs) {
            *limb += added;
        }
    }

    fn count_addition(&mut self) {
        if self.additions >= ADDITIONS_BETWEEN_CARRIES {
            self.carry();
        }
        self.additions += 1;
    }

    /// Leaves every limb in 0..2^32 but the last, which carries the sign.
    fn carry(&mut self) {
        let mut carry = 0;
        for limb in &mut self.limbs[..LIMBS - 1] {
            let value = *limb + carry;
            carry = value >> LIMB_BITS;
            *limb = value & LIMB_MASK;
        }
        self.limbs[LIMBS - 1] += carry;
        self.additions = 1;
    }

    fn round(mut self) -> Option<f64> {
        self.carry();
        let negative = self.limbs[LIMBS - 1] < 0;
        if negative {
            for limb in &mut self.limbs {
                *limb = -*limb;
            }
            self.carry();
        }
        let Some(top) = self.limbs.iter().rposition(|&limb| limb != 0) else {
            return Some(0.0);
        };
        let highest_bit = top * LIMB_BITS + self.limbs[top].ilog2() as usize;
        // In units of 2^-1074 the bits of a subnormal, or of a number up to 2^53, are the number itself.
        let dropped_bits = highest_bit.saturating_sub(52);
        let mantissa = self.bits_from(dropped_bits);
        let mut bits =
            if dropped_bits == 0 { mantissa } else { ((dropped_bits as u64 + 1) << 52) + (mantissa - (1 << 52)) };
        if dropped_bits > 0 && self.bit(dropped_bits - 1) {
            let tie = !self.any_bit_below(dropped_bits - 1);
            if !tie || mantissa & 1 == 1 {
                // A carry out of the mantissa moves into the exponent by itself.
                bits += 1;
            }
        }
        let magnitude = f64::from_bits(bits.min(f64::INFINITY.to_bits()));
        magnitude.is_finite().then_some(if negative { -magnitude } else { magnitude })
    }

    /// The 53 bits from position `from` up; nothing is set above them.
    fn bits_from(&self, from: usize) -> u64 {
        let mut window = 0u128;
        for (index, limb) in self.limbs.iter().skip(from / LIMB_BITS).take(3).enumerate() {
            window |= (*limb as u128) << (index * LIMB_BITS);
        }
        (window >> (from % LIMB_BITS)) as u64
    }

    fn bit(&self, position: usize) -> bool {
        self.limbs[position / LIMB_BITS] >> (position % LIMB_BITS) & 1 == 1
    }

    fn any_bit_below(&self, position: usize) -> bool {
        let limb = position / LIMB_BITS;
        self.limbs[limb] & ((1 << (position % LIMB_BITS)) - 1) != 0 || self.limbs[..limb].iter().any(|&limb| limb != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[f64]) -> Option<f64> {
        let mut sum = ExactSum::default();
        values.iter().for_each(|&value| sum.add(value));
        sum.round()
    }

    #[test]
    fn rounds_once() {
        let ulp_half = 2f64.powi(-53);
        let cases: &[(&[f64], Option<f64>)] = &[
            (&[], Some(0.0)),
            (&[-0.0, -0.0], Some(0.0)),
            (&[0.1, 0.2], Some(0.30000000000000004)),
            (&[0.1; 10], Some(1.0)),
            (&[1e308, 1e308], None),
            (&[-1e308, -1e308], None),
            (&[1e308, 1e308, -1e308], Some(1e308)),
            (&[1e308, 1.0, -1e308], Some(1.0)),
            (&[1e308, 5e-324, -1e308], Some(5e-324)),
            (&[1e308, -5e-324, -1e308], Some(-5e-324)),
            (&[1.0, ulp_half], Some(1.0)),
            (&[1.0, ulp_half, 5e-324], Some(1.0 + 2.0 * ulp_half)),
            (&[1.0, ulp_half, -5e-324], Some(1.0)),
            (&[1.0 + 2.0 * ulp_half, ulp_half], Some(1.0 + 4.0 * ulp_half)),
            (&[-1.0, -ulp_half, -5e-324], Some(-1.0 - 2.0 * ulp_half)),
            (&[f64::MAX, 2f64.powi(969)], Some(f64::MAX)),
            (&[f64::MAX, 2f64.powi(970)], None),
            (&[f64::MAX, 2f64.powi(970), -5e-324], Some(f64::MAX)),
            (&[f64::MIN_POSITIVE, -5e-324], Some(2.225073858507201e-308)),
            (&[2.225073858507201e-308, 5e-324], Some(f64::MIN_POSITIVE)),
            (&[9007199254740993.0, 1.0], Some(9007199254740992.0)),
            (&[9007199254740992.0, 1.0, 1.0], Some(9007199254740994.0)),
        ];
        for (values, expected) in cases {
            assert_eq!(sum(values).map(f64::to_bits), expected.map(f64::to_bits), "{values:?}");
        }
    }

    #[test]
    fn integer_overflow_moves_into_the_wide_sum() {
        let value = 4503599627370497.0 * 256.0;
        let mut sum = ExactSum::default();
        for _ in 0..100_000 {
            sum.add(value);
        }
        assert!(sum.wide.is_some());
        let exact = 4503599627370497i128 * 256 * 100_000;
        assert_eq!(sum.round(), Some(exact as f64));
    }

    #[test]
    fn state_survives_writing() {
        for values in [vec![], vec![1.5, -2.0], vec![-1e300, 3.0, 1e-300], vec![-5e-324, -0.1], vec![1e308; 9]] {
            let mut sum = ExactSum::default();
            values.iter().for_each(|&value| sum.add(value));
            let mut bytes = Vec::new();
            sum.write(&mut bytes);
            let read = ExactSum::read(&bytes).unwrap();
            assert_eq!(read.round(), sum.round(), "{values:?}");
        }
        assert!(ExactSum::read(&[0; 17]).is_none());
    }

    /// Shewchuk's exact partial sums, rounded by adding the partials from the greatest down with a correction for ties:
    /// the algorithm of Python's `math.fsum`.
    fn fsum(values: &[f64]) -> f64 {
        let mut partials: Vec<f64> = Vec::new();
        for &value in values {
            let mut x = value;
            let mut kept = Vec::new();
            for &partial in &partials {
                let (big, small) = if x.abs() < partial.abs() { (partial, x) } else { (x, partial) };
                let high = big + small;
                let low = small - (high - big);
                if low != 0.0 {
                    kept.push(low);
                }
                x = high;
            }
            kept.push(x);
            partials = kept;
        }
        let mut high = partials.pop().unwrap_or(0.0);
        let mut low = 0.0;
        while let Some(partial) = partials.pop() {
            let x = high;
            high = x + partial;
            low = partial - (high - x);
            if low != 0.0 {
                break;
            }
        }
        if let Some(&next) = partials.last()
            && ((low < 0.0 && next < 0.0) || (low > 0.0 && next > 0.0))
        {
            let doubled = low * 2.0;
            let x = high + doubled;
            if doubled == x - high {
                high = x;
            }
        }
        high
    }

    #[test]
    fn equals_fsum_however_it_is_split() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..2_000 {
            let spread = [3, 40, 200, 900][round % 4];
            let mut values: Vec<f64> = (0..random() % 60 + 1)
                .map(|_| {
                    let exponent = 1023 - spread / 2 + random() % spread;
                    f64::from_bits(random() & (1 << 63) | exponent << 52 | random() >> 12)
                })
                .collect();
            // Cancellation down to what is left over.
            if round % 3 == 0 {
                let negated: Vec<f64> = values.iter().skip(1).map(|value| -value).collect();
                values.extend(negated);
            }
            let expected = fsum(&values);
            assert_eq!(sum(&values), Some(expected), "{values:?}");

            let mut parts = vec![ExactSum::default(); 5];
            for value in values.iter().rev() {
                parts[random() as usize % 5].add(*value);
            }
            let mut merged = ExactSum::default();
            for part in &parts {
                let mut bytes = Vec::new();
                part.write(&mut bytes);
                merged.merge(&ExactSum::read(&bytes).unwrap());
            }
            assert_eq!(merged.round(), Some(expected), "{values:?}");
        }
    }
}
