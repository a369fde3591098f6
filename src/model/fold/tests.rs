use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_64;

use super::*;

#[test]
fn what_people_take_for_the_same_is_the_same() {
    for (one, other) in [
        ("Hello", "hELLO"),
        ("strasse", "straße"),
        ("STRAẞE", "straße"),
        ("file", "ﬁle"),
        ("deja vu", "déjà vu"),
        ("DÉJÀ", "de\u{301}ja\u{300}"),
        ("é", "e"),
        ("ё", "е"),
        ("İ", "i"),
        ("İSTANBUL", "istanbul"),
        ("ΟΔΟΣ", "οδος"),
        ("ΌΔΟΣ", "οδος"),
        ("ᾳ", "αι"),
        ("ǅ", "dž"),
        ("5 \u{212a}", "5 k"),
        ("２４", "24"),
        ("①", "1"),
        ("ｶﾞ", "ガ"),
        ("か\u{3099}", "が"),
        ("co\u{ad}operate", "cooperate"),
        ("a\u{200d}b\u{fe0f}", "ab"),
        ("\u{1112}\u{1161}\u{11ab}", "한"),
        ("كِتَاب", "كتاب"),
        ("كـتاب", "كتاب"),
        ("…", "..."),
        ("日本語", "日本語"),
        ("ꭰ", "Ꭰ"),
    ] {
        assert_eq!(fold(one), fold(other), "{one} {other}");
    }
    for (text, term) in [("か", "が"), ("が", "か"), ("한", "하"), ("ı", "i"), ("i", "ı"), ("abc", "abd"), ("o", "ø")]
    {
        assert!(!fold(text).contains(&fold(term)), "{text} {term}");
    }
    assert_eq!(fold("\u{301}\u{ad}\u{640}"), "");
    assert_eq!(fold("Straße DÉJÀ 日本"), "strasse deja 日本");
}

fn characters() -> impl Iterator<Item = char> {
    ('\0'..=char::MAX).filter(|character| !('\u{e000}'..='\u{f8ff}').contains(character) && *character < '\u{f0000}')
}

/// The definition over a whole text, without pages and runs.
fn by_definition(text: &str) -> String {
    let mapped: String = text.chars().map(nfkc_casefold).collect();
    let stripped: String =
        NFD.normalize(&NFC.normalize(&mapped)).chars().filter(|character| !is_stripped(*character)).collect();
    NFC.normalize(&stripped).into_owned()
}

#[test]
fn any_text_folds_as_the_definition_says_however_it_is_normalized() {
    let blocks: [std::ops::RangeInclusive<char>; 19] = [
        ' '..='~',
        '\u{c0}'..='\u{24f}',
        '\u{300}'..='\u{36f}',
        '\u{370}'..='\u{3ff}',
        '\u{400}'..='\u{4ff}',
        '\u{5b0}'..='\u{5ea}',
        '\u{600}'..='\u{6ff}',
        '\u{8a0}'..='\u{8ff}',
        '\u{900}'..='\u{97f}',
        '\u{980}'..='\u{9ff}',
        '\u{e00}'..='\u{e7f}',
        '\u{f00}'..='\u{fff}',
        '\u{1100}'..='\u{11ff}',
        '\u{1e00}'..='\u{1fff}',
        '\u{2000}'..='\u{22ff}',
        '\u{3040}'..='\u{30ff}',
        '\u{ac00}'..='\u{ad00}',
        '\u{fb00}'..='\u{ffff}',
        '\u{1d100}'..='\u{1d7ff}',
    ];
    let mut random = SmallRng::seed_from_u64(11);
    for _ in 0..30_000 {
        let mut text = String::new();
        for _ in 0..random.random_range(0..8) {
            let block = blocks.choose(&mut random).unwrap();
            text.push(random.random_range(block.clone()));
        }
        let folded = fold(&text);
        assert_eq!(folded, by_definition(&text), "{text:?}");
        // Unicode's property takes no text apart first, so an iota below a letter is a letter or a mark with what follows.
        if NFD.normalize(&text).contains('\u{345}') {
            continue;
        }
        for other in [NFC.normalize(&text), NFD.normalize(&text)] {
            assert_eq!(fold(&other), folded, "{text:?} as {other:?}");
        }
        assert_eq!(fold(&folded), folded, "{text:?} twice");
    }
}

#[test]
fn ascii_beside_a_character_changes_nothing() {
    for character in characters() {
        assert_eq!(fold(&format!("A{character}b")), format!("a{}b", fold(&character.to_string())), "{character:?}");
    }
}

/// What is folded in another way than before has to be made anew.
#[test]
fn the_folding_has_the_number_of_this_table() {
    let mut table = String::new();
    for character in characters() {
        table.push(character);
        fold_into(&character.to_string(), &mut table);
    }
    let found = (FOLDING, xxh3_64(table.as_bytes()));
    assert_eq!(found, (2, 6_657_510_251_591_868_433), "raise FOLDING with every other table");
}
