//! The text that a search looks through (contract Part B, `searchTerm`): title, user names and ids, and the text of
//! messages, whatever their case; and the conversation's id, which is found as a whole only.

use memchr::memmem::Finder;
use memchr::memrchr;

use super::actor::user_id_text;
use super::conversation::Conversation;
use super::json::raw;
use super::json::value::RawJson;

/// Ends each text of a conversation. No UTF-8 text has this byte, so no term is found across two texts.
pub(crate) const END_OF_TEXT: u8 = 0xff;

/// Begins a text that a term finds only if it is the whole of it. There is one at most, the last; no UTF-8 text has this
/// byte either.
pub(crate) const WHOLE_TEXT: u8 = 0xfe;

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
        let (parts, whole) = match memrchr(WHOLE_TEXT, search_text).and_then(|at| search_text.split_at_checked(at)) {
            Some((parts, [WHOLE_TEXT, whole @ .., END_OF_TEXT])) => (parts, whole),
            _ => (search_text, &[][..]),
        };
        whole == self.folded.as_bytes() || self.finder.find(parts).is_some()
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
        append(&user_name(properties, "id"));
        let names = [user_name(properties, "firstName"), user_name(properties, "lastName")];
        let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
        append(&names.join(" "));
        append(&user_id_text(properties).unwrap_or_default());
    }
    for message in &conversation.messages {
        append(&message.text());
    }
    out.push(WHOLE_TEXT);
    fold_into(conversation.id.as_str(), out);
    out.push(END_OF_TEXT);
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
    use crate::model::document;
    use crate::model::ids::{EpochMillis, OrganizationId, ProjectId};
    use crate::model::origin::{Reach, Sender};
    use crate::model::resolve::{Identity, resolve};

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

    #[test]
    fn an_id_is_found_as_a_whole_and_names_together() {
        let document = r#"{"id":"Case-42","type":"openai","userProperties":{"firstName":"Zoë","lastName":"Bo"},
            "messages":[{"role":"user","content":"hello"}]}"#;
        let identity = Identity {
            organization_id: OrganizationId::new("o"),
            project_id: ProjectId::new("p"),
            integration_id: None,
            sender: Sender::import(),
            reach: Reach::Everything,
        };
        let document = document::parse(document.as_bytes()).unwrap();
        let conversation = resolve(&document, &identity, None, EpochMillis(0), || "new".to_owned());
        let mut text = Vec::new();
        append_search_text(&conversation, &mut text);
        for (term, found) in [
            ("case-42", true),
            ("CASE-42", true),
            ("case-4", false),
            ("ase-42", false),
            ("zoë bo", true),
            ("oë B", true),
            ("bo zoë", false),
            ("ell", true),
            ("", true),
        ] {
            assert_eq!(SearchTerm::new(term).is_in(&text), found, "{term}");
        }
        assert!(!SearchTerm::new("x").is_in(b""));
    }
}
