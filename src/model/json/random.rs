//! Random JSON for tests, from a seed.

use super::value::Json;

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// xorshift64*
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    pub(crate) fn key(&mut self) -> String {
        if self.below(2) == 0 {
            return "a".into();
        }
        self.pick(&["a", "b", "aa", "é", "a\"b", "c\\d", "0", "-1", "", "a.b", "long key with some more text", "\n"])
            .into()
    }

    pub(crate) fn number(&mut self) -> String {
        let fixed = ["0", "-0", "-0.0", "0.0", "0e5", "1", "1.0", "1.10", "1e5", "1E+5", "100000", "1.5e1", "1.10e1"];
        match self.below(3) {
            0 => self.pick(&fixed).into(),
            1 => format!("{}", self.below(2000) as i64 - 1000),
            _ => format!(
                "{}{}.{}e{}",
                self.pick(&["", "-"]),
                self.below(30),
                self.pick(&["0", "5", "50", "05", "125"]),
                self.below(9) as i64 - 4
            ),
        }
    }

    pub(crate) fn json(&mut self, depth: usize) -> Json {
        match self.below(if depth == 0 { 5 } else { 9 }) {
            0 => Json::Null,
            1 => Json::Bool(self.below(2) == 0),
            2 | 3 => Json::Number(self.number()),
            4 => Json::String(
                self.pick(&["", "a", "aa", "b", "é€😀", "q\"\\/\u{8}\u{c}\n\r\t\u{1f}", "{\"a\":[1,2]}", "\u{7f}x]}"])
                    .into(),
            ),
            5 | 6 => Json::Array((0..self.below(5)).map(|_| self.json(depth - 1)).collect()),
            _ => {
                let mut members: Vec<(String, Json)> = Vec::new();
                for _ in 0..self.below(6) {
                    let key = self.key();
                    if members.iter().all(|(name, _)| *name != key) {
                        members.push((key, self.json(depth - 1)));
                    }
                }
                Json::Object(members)
            }
        }
    }

    pub(crate) fn path(&mut self) -> Vec<String> {
        (0..self.below(4))
            .map(|_| match self.below(3) {
                0 => (self.below(7) as i64 - 3).to_string(),
                _ => self.key(),
            })
            .collect()
    }
}
