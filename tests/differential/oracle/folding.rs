//! Which texts a search takes for the same (contract A5, "Folding"). By another way than the server's: tables of another
//! library, case by way of upper case, whole texts at a time.

use unicode_normalization::UnicodeNormalization;

/// What is ignored by default, of Unicode 17.
const IGNORED: [(u32, u32); 17] = [
    (0xad, 0xad),
    (0x34f, 0x34f),
    (0x61c, 0x61c),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x200b, 0x200f),
    (0x202a, 0x202e),
    (0x2060, 0x206f),
    (0x3164, 0x3164),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfff8),
    (0x1bca0, 0x1bca3),
    (0x1d173, 0x1d17a),
    (0xe0000, 0xe0fff),
];

/// As the contract lists them.
const STRIPPED: [(u32, u32); 10] = [
    (0x300, 0x36f),
    (0x610, 0x61a),
    (0x640, 0x640),
    (0x64b, 0x65f),
    (0x670, 0x670),
    (0x6d6, 0x6dc),
    (0x6df, 0x6e8),
    (0x6ea, 0x6ed),
    (0x8d3, 0x8e1),
    (0x8e3, 0x8ff),
];

fn is_among(ranges: &[(u32, u32)], character: char) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&u32::from(character)))
}

/// Where two characters have one upper case, they are one; but for `ı`, which is no `i`.
fn case(character: char) -> String {
    if character == 'ı' {
        return character.to_string();
    }
    let upper = character.to_lowercase().flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).collect()
}

pub fn fold(text: &str) -> String {
    let mut text = text.to_string();
    loop {
        let cased: String = text.nfd().map(case).collect();
        let plain: String = cased.nfkc().filter(|one| !is_among(&IGNORED, *one)).collect();
        if plain == text {
            return text.nfd().filter(|one| !is_among(&STRIPPED, *one)).nfc().collect();
        }
        text = plain;
    }
}

#[test]
fn folds_as_the_contract_says() {
    for (one, other) in
        [("é", "e"), ("ё", "е"), ("ß", "ss"), ("İ", "i"), ("ﬁle", "file"), ("か\u{3099}", "が"), ("Straße", "STRASSE")]
    {
        assert_eq!(fold(one), fold(other), "{one} {other}");
    }
    for (one, other) in [("が", "か"), ("ı", "i")] {
        assert_ne!(fold(one), fold(other), "{one} {other}");
    }
    assert!(!fold("한").contains(&fold("하")));
}
