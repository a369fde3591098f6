//! One folding for every search (contract A5, "Folding"): `NFC(strip(NFD(NFKC_Casefold(text))))`. Two texts that people
//! take for the same become the same: `STRASSE` and `straße`, `ﬁle` and `file`, `déjà` and `deja`, composed or not.
//!
//! `NFKC_Casefold` maps character by character (Unicode 16, D147), and so does what is stripped, so a folded text is the
//! NFC of what each character becomes. That is kept in pages of 256 characters, made when the first of them is met.

use std::sync::OnceLock;

use icu_casemap::{CaseMapper, CaseMapperBorrowed};
use icu_normalizer::{
    ComposingNormalizer, ComposingNormalizerBorrowed, DecomposingNormalizer, DecomposingNormalizerBorrowed,
};
use icu_properties::CodePointSetData;
use icu_properties::props::DefaultIgnorableCodePoint;

/// Of the folding. It goes up with whatever folds a character in another way, a newer Unicode included (a test tells):
/// what was made of folded texts is made again then.
pub(crate) const FOLDING: u32 = 2;

const CASES: CaseMapperBorrowed<'static> = CaseMapper::new();
const NFC: ComposingNormalizerBorrowed<'static> = ComposingNormalizer::new_nfc();
const NFD: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizer::new_nfd();
const NFKC: ComposingNormalizerBorrowed<'static> = ComposingNormalizer::new_nfkc();

/// Marks that do not count: accents, and the signs that Arabic is mostly written without.
fn is_stripped(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36f}' | '\u{610}'..='\u{61a}' | '\u{640}' | '\u{64b}'..='\u{65f}' | '\u{670}'
        | '\u{6d6}'..='\u{6dc}' | '\u{6df}'..='\u{6e8}' | '\u{6ea}'..='\u{6ed}' | '\u{8d3}'..='\u{8e1}'
        | '\u{8e3}'..='\u{8ff}')
}

pub(crate) fn fold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    fold_into(text, &mut out);
    out
}

/// Appends the folded text. No ASCII character composes with one beside it once marks are stripped, so runs of ASCII are
/// folded by themselves.
pub(crate) fn fold_into(text: &str, out: &mut String) {
    let mut rest = text;
    let mut pieces = String::new();
    while !rest.is_empty() {
        let ascii = rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
        let (ascii, others) = rest.split_at(ascii);
        let start = out.len();
        out.push_str(ascii);
        if let Some(appended) = out.get_mut(start..) {
            appended.make_ascii_lowercase();
        }
        let end = others.bytes().position(|byte| byte.is_ascii()).unwrap_or(others.len());
        let (others, after) = others.split_at(end);
        pieces.clear();
        others.chars().for_each(|character| append_piece(character, &mut pieces));
        out.push_str(&NFC.normalize(&pieces));
        rest = after;
    }
}

const PAGE: usize = 256;
const PAGES: usize = (char::MAX as usize + 1) / PAGE;

/// What the characters of a page become; none where each stays as it is.
static PIECES: [OnceLock<Option<Box<Page>>>; PAGES] = [const { OnceLock::new() }; PAGES];

/// Where the text of each ends, the first of which starts at 0.
struct Page {
    ends: [u16; PAGE],
    texts: String,
}

fn append_piece(character: char, out: &mut String) {
    let code = character as usize;
    let page = PIECES.get(code / PAGE).and_then(|page| page.get_or_init(|| page_of(code / PAGE)).as_deref());
    match page.and_then(|page| page.text(code % PAGE)) {
        Some(text) => out.push_str(text),
        None => out.push(character),
    }
}

impl Page {
    fn text(&self, place: usize) -> Option<&str> {
        let start = place.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.texts.get(usize::from(start)..usize::from(*self.ends.get(place)?))
    }
}

fn page_of(number: usize) -> Option<Box<Page>> {
    let mut page = Box::new(Page { ends: [0; PAGE], texts: String::new() });
    let mut differs = false;
    for (code, end) in (number * PAGE..).zip(&mut page.ends) {
        // Surrogates are in no text.
        if let Some(character) = u32::try_from(code).ok().and_then(char::from_u32) {
            let text = folded(character);
            differs |= !text.chars().eq([character]);
            page.texts.push_str(&text);
        }
        *end = u16::try_from(page.texts.len()).ok()?;
    }
    differs.then_some(page)
}

/// What one character becomes, by the definition.
fn folded(character: char) -> String {
    let mapped = nfkc_casefold(character);
    let stripped: String = NFD.normalize(&mapped).chars().filter(|one| !is_stripped(*one)).collect();
    NFC.normalize(&stripped).into_owned()
}

/// The property `NFKC_Casefold`: compatibility forms, case and default-ignorable characters away, until nothing changes.
fn nfkc_casefold(character: char) -> String {
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let mut text = character.to_string();
    loop {
        let cased = CASES.fold_string(&NFD.normalize(&text)).into_owned();
        let cased = CASES.fold_string(&NFKC.normalize(&cased)).into_owned();
        let next: String = NFKC.normalize(&cased).chars().filter(|one| !ignorable.contains(*one)).collect();
        if next == text {
            return text;
        }
        text = next;
    }
}

#[cfg(test)]
mod tests;
