//! Numbers of a fixed count of bits, one behind the other, lowest bit first.

/// Bits that numbers up to `greatest` need.
pub(super) fn bits_for(greatest: u64) -> u32 {
    u64::BITS - greatest.leading_zeros()
}

/// What `count` numbers of `width` bits take.
pub(super) fn packed_bytes(count: u64, width: u32) -> u64 {
    (count * u64::from(width)).div_ceil(8)
}

/// Appends numbers that fit in `width` bits; they begin and end at whole bytes.
pub(super) fn pack(numbers: impl Iterator<Item = u64>, width: u32, to: &mut Vec<u8>) {
    let (mut pending, mut bits) = (0_u128, 0);
    for number in numbers {
        debug_assert!(bits_for(number) <= width, "{number} in {width} bits");
        pending |= u128::from(number) << bits;
        bits += width;
        while bits >= 8 {
            to.push(pending as u8);
            pending >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        to.push(pending as u8);
    }
}

/// Packed numbers.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) width: u32,
}

impl Packed<'_> {
    /// 0 of no width; what lies behind the end reads as zeros.
    pub(super) fn get(&self, index: usize) -> u64 {
        let first = index * self.width as usize;
        let mut window = [0; 16];
        let bytes = self.bytes.get(first / 8..).unwrap_or_default();
        window.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let number = (u128::from_le_bytes(window) >> (first % 8)) as u64;
        if self.width < u64::BITS { number & ((1 << self.width) - 1) } else { number }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn numbers_of_every_width_come_back() {
        let mut random = StdRng::seed_from_u64(1);
        for width in 0..=64 {
            for count in [0, 1, 7, 8, 9, 128, 131] {
                let number = |random: &mut StdRng| if width == 0 { 0 } else { random.random::<u64>() >> (64 - width) };
                let numbers: Vec<u64> = (0..count).map(|_| number(&mut random)).collect();
                let mut bytes = Vec::new();
                pack(numbers.iter().copied(), width, &mut bytes);
                assert_eq!(bytes.len() as u64, packed_bytes(count as u64, width));
                let packed = Packed { bytes: &bytes, width };
                assert!(numbers.iter().enumerate().all(|(at, number)| packed.get(at) == *number), "{width} bits");
                assert_eq!(packed.get(count + 1_000), 0);
            }
        }
        assert_eq!([0, 1, 2, 255, 256].map(bits_for), [0, 1, 2, 8, 9]);
    }
}
