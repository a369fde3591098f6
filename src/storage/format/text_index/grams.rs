//! n-grams: every run of one, two and three characters of a folded text, hashed to one of a power of two of buckets.
//! Characters, not bytes, so that three of them tell as much in Greek or Japanese as in English; and short runs too, so
//! that a term of one or two characters needs no other way. Two n-grams in one bucket only make more candidates.

use std::collections::BTreeSet;

use crate::model::search_text::{END_OF_TEXT, WHOLE_TEXT};

/// The longest n-gram, in characters.
const LENGTH: usize = 3;

/// Calls `take` with the bucket of every n-gram of a search text, some of them more than once.
pub(crate) fn for_each_bucket(search_text: &[u8], bits: u32, mut take: impl FnMut(u32)) {
    for text in search_text.split(|byte| *byte == END_OF_TEXT) {
        let Ok(text) = std::str::from_utf8(text.strip_prefix(&[WHOLE_TEXT]).unwrap_or(text)) else { continue };
        // The two characters before.
        let mut last: [Option<char>; LENGTH - 1] = [None; LENGTH - 1];
        for character in text.chars() {
            take(bucket(&[character], bits));
            if let Some(one) = last[1] {
                take(bucket(&[one, character], bits));
                if let Some(two) = last[0] {
                    take(bucket(&[two, one, character], bits));
                }
            }
            last = [last[1], Some(character)];
        }
    }
}

/// Of a term; more of them would hardly leave out more rows.
const MAX_TERM_GRAMS: usize = 256;

/// Buckets that every text with this term has.
pub(crate) fn term_buckets(folded: &str, bits: u32) -> BTreeSet<u32> {
    let characters: Vec<char> = folded.chars().take(MAX_TERM_GRAMS).collect();
    let length = LENGTH.min(characters.len()).max(1);
    characters.windows(length).map(|gram| bucket(gram, bits)).collect()
}

fn bucket(gram: &[char], bits: u32) -> u32 {
    let key = gram.iter().fold(1_u64, |key, character| (key << 21) | u64::from(u32::from(*character)));
    // Multiplicative hashing; the multiplier is 2^64 divided by the golden ratio.
    let hash = (key ^ (key >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> (64 - bits)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_the_buckets_of_every_term_in_it() {
        let text = "ein größerer text, 日本語 und 😀";
        let mut all = BTreeSet::new();
        for_each_bucket(text.as_bytes(), 16, |bucket| {
            all.insert(bucket);
        });
        let characters: Vec<char> = text.chars().collect();
        for start in 0..characters.len() {
            for end in start + 1..=characters.len() {
                let term: String = characters.get(start..end).unwrap().iter().collect();
                assert!(term_buckets(&term, 16).is_subset(&all), "{term}");
            }
        }
        assert!(!term_buckets("missing", 16).is_subset(&all));
        assert!(term_buckets("", 16).is_empty());
    }

    #[test]
    fn no_n_gram_goes_over_two_texts() {
        let mut buckets = BTreeSet::new();
        for_each_bucket(b"ab\xffcd\xff", 18, |bucket| {
            buckets.insert(bucket);
        });
        assert!(!term_buckets("bc", 18).is_subset(&buckets));
        assert!(term_buckets("cd", 18).is_subset(&buckets));
    }
}
