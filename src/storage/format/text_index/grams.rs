//! n-grams: every run of one, two and three characters of a folded text, and around every space the three characters on
//! either side of it; each hashed to one of a power of two of buckets. Characters, not bytes, so that three of them tell
//! as much in Greek or Japanese as in English; short runs too, so that a term of one or two characters needs no other
//! way; and where words meet, because a phrase of frequent words has nothing but frequent runs of three. Two n-grams in
//! one bucket only make more candidates.

use std::collections::BTreeSet;

use crate::model::search_text::{END_OF_TEXT, WHOLE_TEXT};

/// The longest n-gram that lies anywhere, in characters.
const LENGTH: usize = 3;
/// One that has a space in its middle. They have buckets of their own, as many, behind the others: what is in most texts
/// would hide in one bucket that a phrase is in none.
const MEETING: usize = 2 * LENGTH + 1;

/// Calls `take` with the bucket of every n-gram of a search text, some of them more than once.
pub(crate) fn for_each_bucket(search_text: &[u8], bits: u32, mut take: impl FnMut(u32)) {
    for text in search_text.split(|byte| *byte == END_OF_TEXT) {
        let Ok(text) = std::str::from_utf8(text.strip_prefix(&[WHOLE_TEXT]).unwrap_or(text)) else { continue };
        // The last characters, this one behind them; NUL before the first.
        let (mut last, mut count) = (['\0'; MEETING], 0);
        for character in text.chars() {
            last.copy_within(1.., 0);
            last[MEETING - 1] = character;
            count += 1;
            for length in 1..=LENGTH.min(count) {
                take(bucket(last.get(MEETING - length..).unwrap_or_default(), bits));
            }
            if count >= MEETING && is_meeting(&last) {
                take(meeting_bucket(&last, bits));
            }
        }
    }
}

fn is_meeting(gram: &[char]) -> bool {
    gram.get(LENGTH).is_some_and(|middle| middle.is_whitespace())
}

/// Of a term; more of them would hardly leave out more rows.
const MAX_TERM_GRAMS: usize = 256;

/// Buckets that every text with this term has.
pub(crate) fn term_buckets(folded: &str, bits: u32) -> BTreeSet<u32> {
    let characters: Vec<char> = folded.chars().take(MAX_TERM_GRAMS).collect();
    let length = LENGTH.min(characters.len()).max(1);
    let meetings = characters.windows(MEETING).filter(|gram| is_meeting(gram));
    let meetings = meetings.map(|gram| meeting_bucket(gram, bits));
    characters.windows(length).map(|gram| bucket(gram, bits)).chain(meetings).collect()
}

/// Of both kinds.
pub(crate) fn buckets(bits: u32) -> usize {
    2 << bits
}

fn meeting_bucket(gram: &[char], bits: u32) -> u32 {
    (1 << bits) + bucket(gram, bits)
}

fn bucket(gram: &[char], bits: u32) -> u32 {
    // Multiplicative hashing; the multiplier is 2^64 divided by the golden ratio.
    let mixed = |key: u64| (key ^ (key >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let key = |gram: &[char], start: u64| {
        gram.iter().fold(start, |key, character| (key << 21) | u64::from(u32::from(*character)))
    };
    // A key has room for three characters.
    let hash = gram.rchunks(LENGTH).fold(1, |hash: u64, part| mixed(key(part, 1) ^ hash.rotate_left(17)));
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
        // Of runs that are all there.
        assert!(!term_buckets("text, ein", 16).is_subset(&all));
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
