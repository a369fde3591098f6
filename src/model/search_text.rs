//! The text that a search looks through (contract Part B, `searchTerm`): title, user names and ids, and the text of
//! messages, whatever their case.

use memchr::memmem::Finder;

use super::actor::user_id_text;
use super::conversation::Conversation;
use super::json::raw;
use super::json::value::RawJson;

/// Ends each text of a conversation. No UTF-8 text has this byte, so no term is found across two texts.
pub(crate) const END_OF_TEXT: u8 = 0xff;

/// Names of a user property each, besides the id.
const USER_NAMES: [&str; 3] = ["id", "firstName", "lastName"];

/// What is searched for, folded.
#[derive(Clone, Debug)]
pub(crate) struct SearchTerm {
    folded: String,
    finder: Finder<'static>,
}

impl SearchTerm {
    pub(crate) fn new(term: &str) -> SearchTerm {
        let folded = fold(term);
        let finder = Finder::new(folded.as_bytes()).into_owned();
        SearchTerm { folded, finder }
    }

    pub(crate) fn folded(&self) -> &str {
        &self.folded
    }

    /// Whether a text as [`append_search_text`] makes it has the term.
    pub(crate) fn is_in(&self, search_text: &[u8]) -> bool {
        self.finder.find(search_text).is_some()
    }
}

/// Appends the texts of a conversation, folded, each with [`END_OF_TEXT`] behind it. A title that is not set is the
/// beginning of a message, so it is not among them.
pub(crate) fn append_search_text(conversation: &Conversation, out: &mut Vec<u8>) {
    let mut append = |text: &str| {
        if !text.is_empty() {
            fold_into(text, out);
            out.push(END_OF_TEXT);
        }
    };
    if let Some(title) = &conversation.annotations.title {
        append(title);
    }
    if let Some(properties) = &conversation.user_properties {
        for name in USER_NAMES {
            append(&user_name(properties, name));
        }
        append(&user_id_text(properties).unwrap_or_default());
    }
    for message in &conversation.messages {
        append(&message.text());
    }
}

/// The name that a user property holds, `""` without one.
pub(crate) fn user_name(properties: &RawJson, name: &str) -> String {
    raw::text_at(properties.get(), &[name.to_owned()]).map(|text| text.into_owned()).unwrap_or_default()
}

/// Case away, character by character: to lower case (for `ẞ`), to upper and to lower again, so that `ß`, `ſ` and `ς` meet
/// `SS`, `S` and `Σ`.
pub(crate) fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(folded).collect()
}

fn folded(character: char) -> impl Iterator<Item = char> {
    character.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

fn fold_into(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(other) = rest.bytes().position(|byte| !byte.is_ascii()) {
        let (ascii, others) = rest.split_at(other);
        let end = others.bytes().position(|byte| byte.is_ascii()).unwrap_or(others.len());
        let (others, after) = others.split_at(end);
        append_lower(ascii, out);
        let mut buffer = [0; 4];
        for folded in others.chars().flat_map(folded) {
            out.extend_from_slice(folded.encode_utf8(&mut buffer).as_bytes());
        }
        rest = after;
    }
    append_lower(rest, out);
}

fn append_lower(ascii: &str, out: &mut Vec<u8>) {
    out.extend(ascii.bytes().map(|byte| byte.to_ascii_lowercase()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_count() {
        for (text, term) in [
            ("Hello", "hELLO"),
            ("STRASSE", "straße"),
            ("STRAẞE", "straße"),
            ("Strasse", "ẞ"),
            ("straße", "STRASSE"),
            ("ΟΔΟΣ", "οδος"),
            ("οδος", "ΟΔΟΣ"),
            ("ÉCOLE", "école"),
            ("İstanbul", "i̇STANBUL"),
            ("ДОМ", "дом"),
            ("日本語", "本"),
            ("😀a", "😀A"),
            ("ǅ", "ǆ"),
            ("5 \u{212a}", "5 k"),
        ] {
            assert!(fold(text).contains(&fold(term)), "{text} {term}");
            let mut folded = Vec::new();
            fold_into(text, &mut folded);
            assert_eq!(folded, fold(text).as_bytes(), "{text}");
            assert!(SearchTerm::new(term).is_in(&folded), "{text} {term}");
        }
        assert!(!fold("abc").contains(&fold("abd")));
    }
}
